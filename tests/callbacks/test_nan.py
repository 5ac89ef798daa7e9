"""Callbacks that go by a number which is NaN throughout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nnbackend as nn


def made(name: str, folder: Path) -> nn.callbacks.Callback:
    if name == "EarlyStopping":
        return nn.callbacks.EarlyStopping("loss", patience=9)
    if name == "ReduceLROnPlateau":
        return nn.callbacks.ReduceLROnPlateau("loss", patience=9)
    return nn.callbacks.ModelCheckpoint(folder / "a.safetensors", "loss", save_best_only=True)


@pytest.mark.parametrize("name", ["EarlyStopping", "ReduceLROnPlateau", "ModelCheckpoint"])
def test_a_number_that_is_nan_in_every_epoch_is_told(name, tmp_path, light):
    model = nn.Sequential([nn.Dense(1)], backend=light, seed=0)
    model.compile("sgd", "mse")
    x, y = np.full((4, 3), np.nan), np.ones(4)
    with pytest.warns(
        RuntimeWarning,
        match=rf"^{name} monitors 'loss', which was NaN in every epoch.*check_finite=True.*TerminateOnNaN",
    ) as caught:
        model.fit(x, y, epochs=3, verbose=0, callbacks=[made(name, tmp_path)])
    assert len(caught) == 1


@pytest.mark.parametrize("name", ["EarlyStopping", "ReduceLROnPlateau", "ModelCheckpoint"])
def test_a_number_that_became_nan_is_not_told(name, tmp_path, light):
    model = nn.Sequential([nn.Dense(1)], backend=light, seed=0)
    model.compile(nn.optimizers.SGD(1e30), "mse")
    with np.errstate(all="ignore"):
        history = model.fit(
            np.ones((4, 3)), np.full(4, 9.0), epochs=9, verbose=0, callbacks=[made(name, tmp_path)]
        )
    assert np.isfinite(history.history["loss"][0])
    assert np.isnan(history.history["loss"][-1])
