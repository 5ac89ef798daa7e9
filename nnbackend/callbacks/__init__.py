"""Callbacks: what is told how training goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbackend.lazy import lazily

if TYPE_CHECKING:
    from nnbackend.callbacks.base import *
    from nnbackend.callbacks.checkpoints import *
    from nnbackend.callbacks.functions import *
    from nnbackend.callbacks.history import *
    from nnbackend.callbacks.logging import *
    from nnbackend.callbacks.monitor import *
    from nnbackend.callbacks.progress import *
    from nnbackend.callbacks.rates import *
    from nnbackend.callbacks.starting import *
    from nnbackend.callbacks.stopping import *

lazily(
    __name__,
    {
        "base": ["Callback", "Callbacks", "Logs"],
        "checkpoints": ["BackupAndRestore", "ModelCheckpoint"],
        "functions": ["LambdaCallback"],
        "history": ["History"],
        "logging": ["CSVLogger", "TensorBoard"],
        "monitor": ["Finding", "GradientMonitor"],
        "progress": ["EpochLines", "ProgressBar"],
        "rates": ["LearningRateScheduler", "ReduceLROnPlateau"],
        "starting": ["LSUV"],
        "stopping": ["EarlyStopping", "TerminateOnNaN"],
    },
)
