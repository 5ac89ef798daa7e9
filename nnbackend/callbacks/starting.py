"""Callbacks that prepare the model before the first step."""

from __future__ import annotations

from typing import Any

from nnbackend.callbacks.base import Callback

__all__ = ["LSUV"]


class LSUV(Callback):
    """Gives a model that has not been trained first weights from data (`nnbackend.lsuv`), when training begins.

    Parameters
    ----------
    x : array, list or table of shape (n, ...)
        Some inputs, such as a few hundred samples of those to train on.
    tolerance, iterations, orthogonal
        As of `nnbackend.lsuv`.

    Attributes
    ----------
    variances : dict of str to float
        The variances reached, by the layers' paths; empty where the model had been trained already.

    References
    ----------
    D. Mishkin and J. Matas, "All you need is a good init", ICLR 2016, https://arxiv.org/abs/1511.06422

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.random.Stream(0, "x").normal((64, 4))
    >>> model = nn.Sequential([nn.Dense(8, activation="tanh"), nn.Dense(1)], seed=0)
    >>> model.compile("sgd", "mse")
    >>> start = LSUV(x)
    >>> history = model.fit(x, x[:, :1], verbose=0, callbacks=[start])
    >>> sorted(start.variances)
    ['dense', 'dense_1']
    """

    def __init__(
        self, x: Any, *, tolerance: float = 0.1, iterations: int = 10, orthogonal: bool = True
    ) -> None:
        self.x = x
        self._options: dict[str, Any] = {
            "tolerance": tolerance,
            "iterations": iterations,
            "orthogonal": orthogonal,
        }
        self.variances: dict[str, float] = {}

    def on_train_begin(self, parameters: dict[str, Any]) -> None:
        """Set the weights, if no step was taken yet."""
        from nnbackend.models.variance import lsuv

        self.variances = {}
        if self.model._training.optimizer is None:
            self.variances = lsuv(self.model, self.x, **self._options)
