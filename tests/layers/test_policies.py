"""Layers that compute in 16 bits: what they read, what comes out, and how near it is to float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import agreement
from nnbackend.backend import host
from nnbackend.cases.base import LayerCase, in_16_bits

CASES = [case for case in agreement.CASES if isinstance(case, LayerCase)]
#: The error allowed in units in the last place of float16 of the largest element: layers round several times.
BOUND = 8.0


@pytest.fixture(params=["float16", "bfloat16"])
def half(request: pytest.FixtureRequest, backend: Any) -> str:
    """Each dtype of 16 bits that the backend has."""
    if request.param not in backend.dtypes:
        pytest.skip(f"{backend.name} has no {request.param}")
    return str(request.param)


class _InHalf:
    """A case whose layer computes in 16 bits, its inputs and weights rounded to them."""

    def __init__(self, case: LayerCase, half: str) -> None:
        self.case, self.half = case, half
        self.given = [self._rounded(array) for array in case.arguments()]
        self.weights = {path: self._rounded(array) for path, array in case.weights().items()}

    def _rounded(self, array: Any) -> Any:
        return in_16_bits(array, self.half) if array.dtype == np.float32 else array

    def compute(self, backend: Any, dtype: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        build = LayerCase.build
        with monkeypatch.context() as patch:
            patch.setattr(LayerCase, "arguments", lambda case: self.given)
            patch.setattr(LayerCase, "weights", lambda case: self.weights)
            if dtype.startswith("mixed"):
                put = LayerCase.put_weights
                patch.setattr(LayerCase, "build", lambda case, where, _: build(case, where, dtype))
                patch.setattr(LayerCase, "put_weights", lambda case, where, _: put(case, where, "float32"))
                return self.case.compute(backend, self.half)
            return self.case.compute(backend, dtype)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_layer_computes_in_float16_near_to_float64(case, backend, monkeypatch):
    if "float16" not in backend.dtypes or backend.name == "jax":
        pytest.skip("no float16" if backend.name != "jax" else "each case is compiled")
    both = _InHalf(case, "float16")
    found = both.compute(backend, "mixed_float16", monkeypatch)
    exact = both.compute(host(), "float64", monkeypatch)
    assert found.keys() == exact.keys()
    for part, wanted in exact.items():
        if part.startswith("value"):
            assert found[part].dtype in (
                np.float16,
                wanted.dtype if wanted.dtype.kind != "f" else np.float16,
            ), part
        error = agreement._error(found[part], wanted, agreement.EPSILON["float16"])
        assert error <= BOUND, f"{part} is off by {error:.3g} units"
    weights = [
        kind
        for part, kind in ((p, a.dtype) for p, a in found.items())
        if part.startswith(("gradient ", "new "))
    ]
    assert all(kind == np.float32 for kind in weights if kind.kind == "f")


def test_weights_are_read_in_16_bits_within_the_layer_and_in_float32_outside(backend, put, half):
    class Looking(nn.Layer):
        def build(self, input_shape):
            self.w = self.add_weight("w", (input_shape[-1],), "ones")
            self.count = self.add_weight("count", (), "zeros", trainable=False)

        def forward(self, x):
            seen.append((x.dtype, (self.w + 0.0).dtype))
            self.count.assign(self.count + 1.0)
            return x * self.w

    seen: list[Any] = []
    layer = Looking(dtype=f"mixed_{half}")
    y = layer(put(np.ones((2, 3)), "float32"))
    kind = backend.dtype(half)
    assert seen[-1] == (kind, kind)
    assert y.dtype == kind
    assert [nn.to_numpy(w).dtype for w in layer.parameters] == [np.float32] * 2
    assert layer.compute_dtype == half


def test_layers_with_statistics_compute_in_float32_and_answer_in_16_bits(backend, put, half):
    layer = nn.BatchNormalization(dtype=f"mixed_{half}", momentum=0.5)
    x = put(300.0 + np.arange(64.0).reshape(32, 2) * 8.0, "float32")  # whose squares are beyond float16
    y = layer(x, training=True)
    assert y.dtype == backend.dtype(half)
    mean, variance = (np.asarray(w) for w in layer.get_weights()[2:])
    exact = nn.to_numpy(x).astype(float)
    np.testing.assert_allclose(mean, 0.5 * exact.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(variance, 0.5 + 0.5 * exact.var(axis=0), rtol=1e-6)


def test_an_embedding_looks_up_indices_beyond_16_bits(backend, put, half):
    class Own(nn.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.vectors = nn.Embedding(5000, 1, embeddings_initializer="zeros")

        def forward(self, x):
            return self.vectors(x)

    model = Own(dtype=f"mixed_{half}", backend=backend)
    model.build((1,))
    model.set_weights([np.arange(5000.0)[:, None] % 7])
    answer = model.predict(np.asarray([[4999], [4998], [2049]]))
    assert answer.reshape(-1).tolist() == [4999 % 7, 4998 % 7, 2049 % 7]


def test_gradients_of_an_embedding_add_up_in_float32(backend, half):
    model = nn.Sequential([nn.Embedding(2, 1)], dtype=f"mixed_{half}", backend=backend)
    model.build((1,))
    indices = backend.from_host(np.ones((3001, 1), np.int64))

    def total(parameters: Any) -> Any:
        return nn.functional.sum(nn.functional.astype(model.apply(parameters, indices), "float32"))

    (gradient,) = nn.grad(total)(model.get_parameters()).values()
    assert nn.to_numpy(gradient).tolist() == [[0.0], [3001.0]]  # which is no number of 16 bits


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        ("mean", np.full(5000, 60.0), 60.0),
        ("var", np.tile([200.0, -200.0], 50), 40000.0),
        ("std", np.tile([300.0, -300.0], 50), 300.0),
        ("sum", np.full(5000, 0.125), 625.0),
        ("logsumexp", np.zeros(5000), np.log(5000.0)),
    ],
)
def test_sums_of_many_terms_and_of_squares_are_taken_in_float32(rule, values, expected, backend, put, half):
    found = getattr(nn.functional, rule)(put(values, half))
    assert found.dtype == backend.dtype(half)
    np.testing.assert_allclose(float(found), expected, rtol=0.004)


def test_means_of_pictures_do_not_overflow(backend, put, half):
    if backend.name == "jax":
        pytest.skip("each window is compiled")
    x = put(np.full((1, 40, 40, 2), 100.0), half)
    for y in (nn.functional.global_average_pool(x), nn.functional.average_pool(x, pool_size=40)):
        assert y.dtype == backend.dtype(half)
        assert set(nn.to_numpy(backend.xp.astype(y, backend.xp.float32)).reshape(-1)) == {100.0}


def test_gradients_of_biases_add_up_in_float32(backend, put, half):
    x, bias = put(np.zeros((3000, 2)), half), put(np.zeros(2), half)
    gradient = nn.grad(lambda b: nn.functional.sum(nn.functional.add(x, b)))(bias)
    np.testing.assert_allclose(
        nn.to_numpy(backend.xp.astype(gradient, backend.xp.float32)), 3000.0, rtol=0.004
    )


def test_a_penalty_on_what_comes_out_is_computed_in_float32(backend, half):
    layer = nn.Dense(1, kernel_initializer="ones", activity_regularizer=nn.regularizers.L2(1.0))
    model = nn.Sequential([layer], dtype=f"mixed_{half}", backend=backend)
    model.compile("sgd", "mse")
    loss = model.train_on_batch(np.full((2, 4), 100.0), np.full((2, 1), 400.0))["loss"]
    assert loss == pytest.approx(400.0**2 / 2, rel=1e-6) or loss == pytest.approx(400.0**2, rel=1e-6)
