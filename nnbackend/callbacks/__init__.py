"""Callbacks: what is told how training goes."""

from nnbackend.callbacks.base import Callback, Callbacks, Logs
from nnbackend.callbacks.history import History
from nnbackend.callbacks.progress import EpochLines, ProgressBar

__all__ = ["Callback", "Callbacks", "EpochLines", "History", "Logs", "ProgressBar"]
