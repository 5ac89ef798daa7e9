"""Callbacks: what is told how training goes."""

from nnbackend.callbacks.base import Callback, Callbacks, Logs
from nnbackend.callbacks.checkpoints import BackupAndRestore, ModelCheckpoint
from nnbackend.callbacks.history import History
from nnbackend.callbacks.progress import EpochLines, ProgressBar
from nnbackend.callbacks.rates import LearningRateScheduler, ReduceLROnPlateau
from nnbackend.callbacks.stopping import EarlyStopping

__all__ = [
    "BackupAndRestore",
    "Callback",
    "Callbacks",
    "EarlyStopping",
    "EpochLines",
    "History",
    "LearningRateScheduler",
    "Logs",
    "ModelCheckpoint",
    "ProgressBar",
    "ReduceLROnPlateau",
]
