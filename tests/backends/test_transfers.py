"""How often the host waits for the device in training: never within a step, and not for each batch beside it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import nnbackend as nn

xp = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
strict = pytest.importorskip("nnbackend_strict")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The times that a value on the pretended device was looked at, by method."""
    seen: list[str] = []
    array_type = type(xp.asarray(0.0))

    def counted(name: str, method: Any) -> Any:
        @functools.wraps(method)
        def count(array: Any, *arguments: Any, **options: Any) -> Any:
            stays = name == "to_device" and arguments and arguments[0] == array.device
            if array.device != xp.Device("CPU_DEVICE") and not stays:
                seen.append(name)
            return method(array, *arguments, **options)

        return count

    nn.get_backend("strict").compile(len)  # its guard goes inside
    for name in strict._TRANSFERS:
        monkeypatch.setattr(array_type, name, counted(name, getattr(array_type, name)))
    return seen


def _classifier() -> nn.Sequential:
    model = nn.Sequential([nn.Dense(4, activation="relu"), nn.Dense(3)], seed=0, backend="strict")
    model.compile("adam", nn.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model


def _tagger() -> nn.Sequential:
    layers = [nn.Embedding(5, 4), nn.GlobalAveragePooling1D(), nn.Dense(3, activation="softmax")]
    model = nn.Sequential(layers, seed=0, backend="strict")
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


_MODELS = {
    "labels": (_classifier, lambda n: np.ones((n, 2), "float32")),
    "indices and labels": (_tagger, lambda n: np.ones((n, 2), "int64")),
}


@pytest.mark.parametrize("name", _MODELS)
def test_labels_and_indices_are_looked_at_once_however_many_batches_there_are(
    name: str, looks: list[str]
) -> None:
    make, inputs = _MODELS[name]
    counts = []
    for batches in (2, 5):
        model, n = make(), 2 * batches
        model.fit(inputs(n), np.arange(n) % 3, epochs=1, batch_size=2, verbose=0)
        counts.append(len(looks))
        looks.clear()
    assert counts[0] == counts[1]


def test_labels_of_a_loader_are_looked_at_on_the_host(looks: list[str]) -> None:
    counts = []
    for batches in (2, 5):
        model, n = _classifier(), 2 * batches
        loader = nn.data.DataLoader(np.ones((n, 2), "float32"), np.arange(n) % 3, batch_size=2)
        model.fit(loader, epochs=1, verbose=0)
        counts.append(len(looks))
        looks.clear()
    assert counts[0] == counts[1]


def test_a_batch_from_the_host_is_looked_at_there(looks: list[str]) -> None:
    model = _classifier()
    given = np.ones((2, 2), "float32"), np.asarray([0, 2])
    model.train_on_batch(*given)
    looks.clear()
    model.train_on_batch(*given)
    assert set(looks) == {"to_device"}  # the loss and the metrics are read, and no label
    with pytest.raises(ValueError, match="labels from 0 to 2"):
        model.train_on_batch(given[0], np.asarray([0, 3]))
