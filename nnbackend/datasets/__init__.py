"""Data sets: toy problems, the book's, scikit-learn's, and well-known images; all as arrays on the host."""

from nnbackend.datasets.book import legacy_random, sine_data, spiral_data, vertical_data
from nnbackend.datasets.bundled import breast_cancer, diabetes, digits, iris, wine
from nnbackend.datasets.files import image_folder, read_cifar, read_idx, read_npz
from nnbackend.datasets.images import CIFAR10_CLASSES, FASHION_MNIST_CLASSES, cifar10, fashion_mnist, mnist
from nnbackend.datasets.toy import adding, copying, moons, xor

__all__ = [
    "CIFAR10_CLASSES",
    "FASHION_MNIST_CLASSES",
    "adding",
    "breast_cancer",
    "cifar10",
    "copying",
    "diabetes",
    "digits",
    "fashion_mnist",
    "image_folder",
    "iris",
    "legacy_random",
    "mnist",
    "moons",
    "read_cifar",
    "read_idx",
    "read_npz",
    "sine_data",
    "spiral_data",
    "vertical_data",
    "wine",
    "xor",
]
