"""Data for training: arrays of any library, lists and tables, cut into batches."""

from nnbackend.data.arrays import (
    Batch,
    Dataset,
    as_dataset,
    move,
    order,
    require_finite,
    split,
    to_array,
    weigh_classes,
)

__all__ = [
    "Batch",
    "Dataset",
    "as_dataset",
    "move",
    "order",
    "require_finite",
    "split",
    "to_array",
    "weigh_classes",
]
