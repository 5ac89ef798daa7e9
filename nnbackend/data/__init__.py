"""Data for training: loaders, splits and what is done to data before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbackend.lazy import lazily

if TYPE_CHECKING:
    from nnbackend.data.arrays import Batch as Batch
    from nnbackend.data.arrays import Dataset as Dataset
    from nnbackend.data.arrays import as_dataset as as_dataset
    from nnbackend.data.arrays import move as move
    from nnbackend.data.arrays import require_finite as require_finite
    from nnbackend.data.arrays import require_weight as require_weight
    from nnbackend.data.arrays import split as split
    from nnbackend.data.arrays import to_array as to_array
    from nnbackend.data.arrays import weigh_classes as weigh_classes
    from nnbackend.data.feeding import *
    from nnbackend.data.loader import *
    from nnbackend.data.preparing import *
    from nnbackend.data.sampling import balanced_order as balanced_order
    from nnbackend.data.sampling import order as order
    from nnbackend.data.sources import is_stream as is_stream
    from nnbackend.data.splitting import *
    from nnbackend.data.windows import *

lazily(
    __name__,
    {
        "arrays": [
            "Batch",
            "Dataset",
            "as_dataset",
            "move",
            "require_finite",
            "require_weight",
            "split",
            "to_array",
            "weigh_classes",
        ],
        "feeding": ["ArrayFeed", "Feed", "LoaderFeed", "loader_of", "place", "sent"],
        "loader": ["DataLoader"],
        "preparing": ["MinMaxScaler", "Standardizer", "one_hot", "scale_images"],
        "sampling": ["balanced_order", "order"],
        "sources": ["is_stream"],
        "splitting": ["k_fold", "stratified_k_fold", "train_test_split"],
        "windows": ["Alphabet", "pad_sequences", "sequence_windows", "text_windows"],
    },
)
