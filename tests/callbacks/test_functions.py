"""Functions as callbacks."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.callbacks import LambdaCallback

X = np.sin(np.arange(24.0)).reshape(8, 3)


def test_each_function_is_called_in_its_place(backend):
    told = []
    names = ["train_begin", "train_end", "epoch_begin", "epoch_end", "batch_begin", "batch_end"]
    names += ["train_batch_begin", "train_batch_end"]
    functions = {f"on_{name}": lambda *given, name=name: told.append((name, *given[:1])) for name in names}
    model = nn.Sequential([nn.Dense(1)], backend=backend, seed=0)
    model.compile("sgd", "mse")
    model.fit(X, X[:, :1], batch_size=4, epochs=2, verbose=0, callbacks=[LambdaCallback(**functions)])
    moments = ["batch_begin", "train_batch_begin", "batch_end", "train_batch_end"]
    epoch = [(name, batch) for batch in (0, 1) for name in moments]
    assert told[1:] == [
        *[("epoch_begin", 0), *epoch, ("epoch_end", 0)],
        *[("epoch_begin", 1), *epoch, ("epoch_end", 1)],
        ("train_end",),
    ]
    assert told[0][0] == "train_begin"


def test_functions_written_for_keras_get_its_logs(light):
    told = []
    tell = LambdaCallback(
        on_epoch_begin=lambda epoch, logs: told.append((epoch, logs)),
        on_epoch_end=lambda epoch, logs: told.append(sorted(logs)),
        on_train_end=lambda logs: told.append(logs),
    )
    model = nn.Sequential([nn.Dense(1)], backend=light, seed=0)
    model.compile("sgd", "mse")
    model.fit(X, X[:, :1], verbose=0, callbacks=[tell])
    assert told == [(0, {}), ["loss"], {}]


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match="on_epoch_end to be a function, got 3"):
        LambdaCallback(on_epoch_end=3)
