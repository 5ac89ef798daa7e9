"""JAX: the whole step under jit, its state donated, with optax or, where it is missing, the same by hand.

In mixed precision the weights and the optimizer stay in float32, and what the model computes is cast; float16 is not
scaled, as its peers scale it, since these losses do not underflow.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.case import Case, Run
from benchmarks.competitors.fitting import fits

_HAS_OPTAX = importlib.util.find_spec("optax") is not None
optax: Any = importlib.import_module("optax" if _HAS_OPTAX else "benchmarks.competitors.jax_optimizers")

#: JAX's words for precisions; without one a GPU takes TF32.
_MATMUL = {"highest": "highest", "high": "tensorfloat32"}


def _computing_in(model: Callable[..., Any], precision: str) -> Callable[..., Any]:
    """Let a model compute in the precision of the case; what it returns is float32."""
    if precision in _MATMUL:
        jax.config.update("jax_default_matmul_precision", _MATMUL[precision])
        return model
    dtype = jnp.dtype(precision.removeprefix("mixed_"))

    def computed(parameters: Any, x: Any) -> Any:
        return model(jax.tree.map(lambda p: p.astype(dtype), parameters), x.astype(dtype)).astype(jnp.float32)

    return computed


def peak_device_memory() -> int:
    """Return the most bytes that arrays held."""
    return int((jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0))


def _optimizer(case: Case) -> Any:
    given = case.optimizer
    if "momentum" in given:
        return optax.sgd(given["learning_rate"], given["momentum"])
    return optax.adam(given["learning_rate"], given["beta_1"], given["beta_2"], given["epsilon"])


def _cross_entropy(logits: Any, y: Any) -> Any:
    chosen = jnp.take_along_axis(logits, y[:, None], axis=-1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - chosen)


def _squared_error(output: Any, y: Any) -> Any:
    return jnp.mean((output - y) ** 2)


def _step_of(model: Callable[..., Any], loss_of: Callable[..., Any], optimizer: Any) -> Callable[..., Any]:
    @partial(jax.jit, donate_argnums=(0, 1))
    def step(parameters: Any, state: Any, x: Any, y: Any) -> Any:
        loss, gradients = jax.value_and_grad(lambda p: loss_of(model(p, x), y))(parameters)
        updates, state = optimizer.update(gradients, state, parameters)
        return optax.apply_updates(parameters, updates), state, loss

    return step


def _trains(
    model: Callable[..., Any], loss_of: Callable[..., Any], case: Case, parameters: Any = None
) -> Run:
    optimizer = _optimizer(case)
    parameters = jax.tree.map(jnp.array, case.weights if parameters is None else parameters)
    state = optimizer.init(parameters)
    step = _step_of(_computing_in(model, case.setting.precision), loss_of, optimizer)
    x, y = jnp.array(case.x), jnp.array(case.y.astype(np.int32) if case.y.dtype == np.int64 else case.y)

    def run(steps: int) -> float:
        nonlocal parameters, state
        for _ in range(steps):
            parameters, state, loss = step(parameters, state, x, y)
        return float(loss)

    return run


def _network(layers: Any, x: Any) -> Any:
    for kernel, bias in layers[:-1]:
        x = jax.nn.relu(x @ kernel + bias)
    kernel, bias = layers[-1]
    return x @ kernel + bias


def mlp(case: Case) -> Run:
    return _trains(_network, _cross_entropy, case, case.layers)


def _convolve(x: Any, kernel: Any, padding: str) -> Any:
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def cnn(case: Case) -> Run:
    def model(layers: Any, x: Any) -> Any:
        for kernel, bias in layers[:2]:
            x = jax.nn.relu(_convolve(x, kernel, "VALID") + bias)
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return _network(layers[2:], x.reshape(x.shape[0], -1))

    return _trains(model, _cross_entropy, case, case.layers)


def lstm(case: Case) -> Run:
    def model(weights: Any, x: Any) -> Any:
        kernel, recurrent, bias, dense, dense_bias = weights
        projected = jnp.swapaxes(x @ kernel + bias, 0, 1)

        def advance(carry: Any, z: Any) -> Any:
            h, c = carry
            i, f, g, o = jnp.split(z + h @ recurrent, 4, axis=1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

        zeros = jnp.zeros((x.shape[0], recurrent.shape[0]), x.dtype)
        (h, _), _ = lax.scan(advance, (zeros, zeros), projected)
        return h @ dense + dense_bias

    return _trains(model, _cross_entropy, case, list(case.weights.values()))


def _normalized(x: Any, axes: Any, gamma: Any, beta: Any) -> Any:
    mean, variance = jnp.mean(x, axes, keepdims=True), jnp.var(x, axes, keepdims=True)
    return (x - mean) * lax.rsqrt(variance + 1e-5) * gamma + beta


def transformer(case: Case) -> Run:
    def model(given: Any, x: Any) -> Any:
        def weights(name: str) -> Any:
            return given[f"{name}/kernel"], given[f"{name}/bias"]

        def normalized(name: str, x: Any) -> Any:
            return _normalized(x, -1, given[f"{name}/gamma"], given[f"{name}/beta"])

        def heads(name: str) -> Any:
            kernel, bias = weights(f"self_attention_layer/{name}")
            return jnp.einsum("btc,chd->bthd", x, kernel) + bias

        query, key, value = map(heads, ("query", "key", "value"))
        kernel, bias = weights("self_attention_layer/attention_output")
        attended = jax.nn.dot_product_attention(query, key, value)
        z = normalized("self_attention_layer_norm", x + jnp.einsum("bthd,hdc->btc", attended, kernel) + bias)
        inner = [weights("feedforward_intermediate_dense"), weights("feedforward_output_dense")]
        return normalized("feedforward_layer_norm", z + _network(inner, z))

    given = {path.partition("/")[2]: array for path, array in case.weights.items()}
    return _trains(model, _squared_error, case, given)


def residual(case: Case) -> Run:
    # the running statistics, which the others update, too, leave the step beside the loss
    if case.setting.precision not in _MATMUL:
        raise NotImplementedError("is not written in mixed precision")
    _computing_in(_network, case.setting.precision)

    def block(given: Any, x: Any) -> Any:
        y, moments = x, []
        for number in (1, 2):
            y = _convolve(y, given[f"conv_{number}/kernel"], "SAME")
            moments.append((jnp.mean(y, (0, 1, 2)), jnp.var(y, (0, 1, 2))))
            mean, variance = moments[-1]
            y = (y - mean) * lax.rsqrt(variance + 1e-5) * given[f"norm_{number}/gamma"]
            y = y + given[f"norm_{number}/beta"]
            y = jax.nn.relu(y if number == 1 else x + y)
        return y, moments

    optimizer = _optimizer(case)
    x, y = jnp.array(case.x), jnp.array(case.y)
    parameters = {path: jnp.array(a) for path, a in case.weights.items() if "moving" not in path}
    state = optimizer.init(parameters)
    running = [(jnp.zeros(x.shape[-1]), jnp.ones(x.shape[-1])) for _ in range(2)]

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(parameters: Any, state: Any, running: Any, x: Any, y: Any) -> Any:
        def loss_of(parameters: Any) -> Any:
            output, moments = block(parameters, x)
            return _squared_error(output, y), moments

        (loss, moments), gradients = jax.value_and_grad(loss_of, has_aux=True)(parameters)
        updates, state = optimizer.update(gradients, state, parameters)
        running = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, running, moments)
        return optax.apply_updates(parameters, updates), state, running, loss

    def run(steps: int) -> float:
        nonlocal parameters, state, running
        for _ in range(steps):
            parameters, state, running, loss = step(parameters, state, running, x, y)
        return float(loss)

    return run


def inference(case: Case) -> Run:
    layers, x = jax.tree.map(jnp.array, case.layers), jnp.array(case.x)
    predict = jax.jit(_computing_in(_network, case.setting.precision))

    def run(steps: int) -> float:
        for _ in range(steps):
            output = predict(layers, x).block_until_ready()
        return float(output[0, 0] - output[0, 1])

    return run


def update(case: Case) -> Run:
    optimizer = _optimizer(case)
    parameter, gradient = jnp.array(case.x), jnp.array(case.y)
    state = optimizer.init(parameter)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(parameter: Any, state: Any, gradient: Any) -> Any:
        updates, state = optimizer.update(gradient, state, parameter)
        return optax.apply_updates(parameter, updates), state

    def run(steps: int) -> float:
        nonlocal parameter, state
        for _ in range(steps):
            parameter, state = step(parameter, state, gradient)
        return float(parameter[0])

    return run


def fit(case: Case) -> Run:
    optimizer = _optimizer(case)
    parameters = jax.tree.map(jnp.array, case.layers)
    state = optimizer.init(parameters)
    network = _computing_in(_network, case.setting.precision)
    step = _step_of(network, _cross_entropy, optimizer)
    loss_of = jax.jit(lambda layers, x, y: _cross_entropy(network(layers, x), y))

    def train(x: Any, y: Any) -> None:
        nonlocal parameters, state
        parameters, state, _ = step(parameters, state, x, y)

    labelled = replace(case, y=case.y.astype(np.int32))
    return fits(labelled, train, lambda x, y: loss_of(parameters, x, y), place=jnp.array)


KINDS = {
    "mlp": mlp,
    "cnn": cnn,
    "lstm": lstm,
    "transformer": transformer,
    "residual": residual,
    "inference": inference,
    "update": update,
    "fit": fit,
}
