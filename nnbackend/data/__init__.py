"""Data for training: loaders, splits and what is done to data before."""

from nnbackend.data.arrays import (
    Batch,
    Dataset,
    as_dataset,
    move,
    require_finite,
    split,
    to_array,
    weigh_classes,
)
from nnbackend.data.feeding import ArrayFeed, Feed, LoaderFeed, loader_of
from nnbackend.data.loader import DataLoader
from nnbackend.data.sampling import balanced_order, order
from nnbackend.data.sources import is_stream

__all__ = [
    "ArrayFeed",
    "Batch",
    "DataLoader",
    "Dataset",
    "Feed",
    "LoaderFeed",
    "as_dataset",
    "balanced_order",
    "is_stream",
    "loader_of",
    "move",
    "order",
    "require_finite",
    "split",
    "to_array",
    "weigh_classes",
]
