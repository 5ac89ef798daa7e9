"""Callbacks: what is told how training goes."""

from nnbackend.callbacks.base import Callback, Callbacks, Logs
from nnbackend.callbacks.checkpoints import BackupAndRestore, ModelCheckpoint
from nnbackend.callbacks.functions import LambdaCallback
from nnbackend.callbacks.history import History
from nnbackend.callbacks.logging import CSVLogger, TensorBoard
from nnbackend.callbacks.monitor import Finding, GradientMonitor
from nnbackend.callbacks.progress import EpochLines, ProgressBar
from nnbackend.callbacks.rates import LearningRateScheduler, ReduceLROnPlateau
from nnbackend.callbacks.starting import LSUV
from nnbackend.callbacks.stopping import EarlyStopping, TerminateOnNaN

__all__ = [
    "LSUV",
    "BackupAndRestore",
    "CSVLogger",
    "Callback",
    "Callbacks",
    "EarlyStopping",
    "EpochLines",
    "Finding",
    "GradientMonitor",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "Logs",
    "ModelCheckpoint",
    "ProgressBar",
    "ReduceLROnPlateau",
    "TensorBoard",
    "TerminateOnNaN",
]
