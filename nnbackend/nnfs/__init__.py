"""The names of the book "Neural Networks from Scratch in Python", as a thin face over this library.

A program of the book runs with its import changed, on any backend:

>>> from nnbackend import nnfs
>>> from nnbackend.nnfs import Activation_ReLU, Layer_Dense, spiral_data
>>> nnfs.init(private=True)
>>> X, y = spiral_data(samples=100, classes=3)
>>> dense1, activation1 = Layer_Dense(2, 3), Activation_ReLU()
>>> dense1.forward(X)
>>> activation1.forward(dense1.output)
>>> dense1.output[1]
array([-1.0475188e-04,  1.1395361e-04, -4.7983500e-05], dtype=float32)

The mathematics is that of `nnbackend.functional`, `nnbackend.optimizers` and `nnbackend.regularizers`; here are the
book's attributes, printed lines and order of random numbers. The book's peculiarities, such as its gradients at kinks
and bounds, are said in each class's notes. Files are safetensors and JSON, where the book has pickles.

References
----------
H. Kinsley and D. Kukiela, "Neural Networks from Scratch in Python", 2020, https://nnfs.io
"""

from nnbackend.nnfs.accuracies import Accuracy, Accuracy_Categorical, Accuracy_Regression
from nnbackend.nnfs.activations import (
    Activation_Linear,
    Activation_ReLU,
    Activation_Sigmoid,
    Activation_Softmax,
    Activation_Softmax_Loss_CategoricalCrossentropy,
)
from nnbackend.nnfs.datasets import sine_data, spiral_data, vertical_data
from nnbackend.nnfs.layers import Layer_Dense, Layer_Dropout, Layer_Input
from nnbackend.nnfs.losses import (
    Loss,
    Loss_BinaryCrossentropy,
    Loss_CategoricalCrossentropy,
    Loss_MeanAbsoluteError,
    Loss_MeanSquaredError,
)
from nnbackend.nnfs.model import Model
from nnbackend.nnfs.optimizers import (
    Optimizer_Adagrad,
    Optimizer_Adam,
    Optimizer_RMSprop,
    Optimizer_SGD,
)
from nnbackend.nnfs.settings import init, randn

__all__ = [
    "Accuracy",
    "Accuracy_Categorical",
    "Accuracy_Regression",
    "Activation_Linear",
    "Activation_ReLU",
    "Activation_Sigmoid",
    "Activation_Softmax",
    "Activation_Softmax_Loss_CategoricalCrossentropy",
    "Layer_Dense",
    "Layer_Dropout",
    "Layer_Input",
    "Loss",
    "Loss_BinaryCrossentropy",
    "Loss_CategoricalCrossentropy",
    "Loss_MeanAbsoluteError",
    "Loss_MeanSquaredError",
    "Model",
    "Optimizer_Adagrad",
    "Optimizer_Adam",
    "Optimizer_RMSprop",
    "Optimizer_SGD",
    "init",
    "randn",
    "sine_data",
    "spiral_data",
    "vertical_data",
]
