"""Callbacks: what is told how training goes."""

from nnbackend.callbacks.base import Callback, Callbacks, Logs
from nnbackend.callbacks.history import History
from nnbackend.callbacks.monitor import Finding, GradientMonitor
from nnbackend.callbacks.progress import EpochLines, ProgressBar

__all__ = [
    "Callback",
    "Callbacks",
    "EpochLines",
    "Finding",
    "GradientMonitor",
    "History",
    "Logs",
    "ProgressBar",
]
