"""Adam and SGD with momentum for JAX as optax has them, for machines without optax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Optimizer(NamedTuple):
    """Two functions, called as optax's are."""

    init: Callable[[Any], Any]
    update: Callable[..., tuple[Any, Any]]


def apply_updates(parameters: Any, updates: Any) -> Any:
    return jax.tree.map(lambda parameter, update: parameter + update, parameters, updates)


def sgd(learning_rate: float, momentum: float) -> Optimizer:
    def update(gradients: Any, trace: Any, parameters: Any = None) -> tuple[Any, Any]:
        trace = jax.tree.map(lambda g, t: g + momentum * t, gradients, trace)
        return jax.tree.map(lambda t: -learning_rate * t, trace), trace

    return Optimizer(lambda parameters: jax.tree.map(jnp.zeros_like, parameters), update)


def adam(learning_rate: float, b1: float, b2: float, eps: float) -> Optimizer:
    def init(parameters: Any) -> Any:
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        return jnp.zeros((), jnp.int32), zeros, jax.tree.map(jnp.zeros_like, parameters)

    def update(gradients: Any, state: Any, parameters: Any = None) -> tuple[Any, Any]:
        count, mean, square = state
        count = count + 1
        mean = jax.tree.map(lambda g, m: b1 * m + (1 - b1) * g, gradients, mean)
        square = jax.tree.map(lambda g, v: b2 * v + (1 - b2) * g**2, gradients, square)

        def step(m: Any, v: Any) -> Any:
            return -learning_rate * (m / (1 - b1**count)) / (jnp.sqrt(v / (1 - b2**count)) + eps)

        return jax.tree.map(step, mean, square), (count, mean, square)

    return Optimizer(init, update)
