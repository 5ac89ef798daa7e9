"""Data for training: loaders, splits and what is done to data before."""

from nnbackend.data.arrays import (
    Batch,
    Dataset,
    as_dataset,
    move,
    require_finite,
    require_weight,
    split,
    to_array,
    weigh_classes,
)
from nnbackend.data.feeding import ArrayFeed, Feed, LoaderFeed, loader_of, place, sent
from nnbackend.data.loader import DataLoader
from nnbackend.data.preparing import MinMaxScaler, Standardizer, one_hot, scale_images
from nnbackend.data.sampling import balanced_order, order
from nnbackend.data.sources import is_stream
from nnbackend.data.splitting import k_fold, stratified_k_fold, train_test_split
from nnbackend.data.windows import Alphabet, pad_sequences, sequence_windows, text_windows

__all__ = [
    "Alphabet",
    "ArrayFeed",
    "Batch",
    "DataLoader",
    "Dataset",
    "Feed",
    "LoaderFeed",
    "MinMaxScaler",
    "Standardizer",
    "as_dataset",
    "balanced_order",
    "is_stream",
    "k_fold",
    "loader_of",
    "move",
    "one_hot",
    "order",
    "pad_sequences",
    "place",
    "require_finite",
    "require_weight",
    "scale_images",
    "sent",
    "sequence_windows",
    "split",
    "stratified_k_fold",
    "text_windows",
    "to_array",
    "train_test_split",
    "weigh_classes",
]
