"""A run that is killed and started again ends as if nothing had happened, bit by bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import callbacks as cb
from nnbackend.models import saving

SCRIPT = Path(__file__).with_name("killed_run.py")
X = np.sin(np.arange(36.0)).reshape(12, 3).astype("float32")
Y = np.arange(12) % 2

#: How many processes are killed for each kind of data: starting one takes seconds with the large libraries.
KILLS = {"numpy": 9, "torch": 3, "strict": 3, "jax": 2}


def start(folder: Path, backend: Any, kind: str, ticks: int, **environment: str) -> subprocess.Popen[str]:
    """Start the run in a process of its own; a warning that the backup does not fit is an error."""
    command = [sys.executable, "-W", "error:BackupAndRestore", str(SCRIPT), str(folder), backend.name, kind]
    return subprocess.Popen(
        [*command, str(ticks)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | environment,
    )


def finish(process: subprocess.Popen[str]) -> int:
    _, said = process.communicate(timeout=300)
    assert process.returncode in (0, -9), said
    return process.returncode


def outcome(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("kind", ["array", "loader", "stream"])
def test_a_run_that_is_killed_again_and_again_ends_as_if_nothing_had_happened(tmp_path, backend, kind):
    if backend.name == "jax" and kind != "array":
        pytest.skip("once is enough: a process of JAX takes long to start")
    whole = tmp_path / "whole"
    whole.mkdir()
    assert finish(start(whole, backend, kind, 0)) == 0
    expected = outcome(whole)
    total = sum(expected["ticks"].values())
    rng = np.random.default_rng([len(kind), len(backend.name)])
    ends, left = 0, KILLS.get(backend.name, 2)
    while left or not ends:
        folder = tmp_path / f"killed{ends}"
        folder.mkdir()
        ticks = [int(rng.integers(1, total // 3)) for _ in range(4)]
        if ends == 0:  # at the end, when backups are being deleted
            ticks = [total - int(rng.integers(0, 12)), 2]
        for limit in ticks[: max(1, left)]:
            if finish(start(folder, backend, kind, limit)) == 0:
                break
            left -= 1
        else:
            assert finish(start(folder, backend, kind, 0)) == 0
        ends += 1
        assert outcome(folder)["result"] == expected["result"]
        left = max(0, left)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_run_that_is_killed_from_outside_ends_as_if_nothing_had_happened(tmp_path, backend):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    assert finish(start(whole, backend, "array", 0)) == 0
    for lines in (2, 5, 3) if backend.name == "numpy" else (4,):
        process = start(killed, backend, "array", 0, NNBACKEND_TELL="1")
        assert process.stdout is not None
        for _ in range(lines):
            assert process.stdout.readline() == "batch\n"
        process.kill()
        assert finish(process) == -9
    assert finish(start(killed, backend, "array", 0)) == 0
    assert outcome(killed)["result"] == outcome(whole)["result"]


# Within one process


class Break(cb.Callback):
    """Breaks a run off after so many batches."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_batch_end(self, batch: int, logs: Any) -> None:
        self.after -= 1
        if self.after == 0:
            raise InterruptedError


def small(backend: Any, seed: int | None = 4, rate: Any = 0.1, units: int = 4, **options: Any) -> nn.Model:
    layers = [nn.Dense(units, activation="tanh"), nn.Dropout(0.4), nn.Dense(2)]
    model = nn.Sequential(layers, backend=backend, seed=seed, **options)
    model.compile(nn.optimizers.SGD(rate, momentum=0.9), "sparse_categorical_crossentropy", ["accuracy"])
    return model


def fit(model: nn.Model, folder: Path, *others: cb.Callback, **options: Any) -> nn.History:
    backup = cb.BackupAndRestore(folder, options.pop("save_freq", 1), options.pop("delete", True))
    given = options.pop("given", (X, Y))
    if isinstance(given, tuple):
        options.setdefault("batch_size", 4)
    else:
        given = (given,)
    return model.fit(
        *given, epochs=options.pop("epochs", 3), verbose=0, callbacks=[*others, backup], **options
    )


def broken(model: nn.Model, folder: Path, after: int, *others: cb.Callback, **options: Any) -> nn.Model:
    with pytest.raises(InterruptedError):
        fit(model, folder, *others, Break(after), **options)
    return model


def assert_same(model: nn.Model, other: nn.Model) -> None:
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("after", [1, 3, 4, 8])
def test_what_is_broken_off_goes_on(light, tmp_path, after):
    whole, again = small(light), small(light)
    history = fit(whole, tmp_path / "whole")
    broken(small(light), tmp_path / "broken", after)
    assert fit(again, tmp_path / "broken").history == history.history
    assert_same(whole, again)
    assert not (tmp_path / "broken").exists()


def test_a_model_without_a_seed_gets_that_of_the_backup(backend, tmp_path):
    first = broken(small(backend, seed=None), tmp_path / "broken", 4)
    again, whole = small(backend, seed=None), small(backend, seed=first.seed)
    fit(again, tmp_path / "broken")
    fit(whole, tmp_path / "whole")
    assert again.seed == first.seed
    assert_same(whole, again)


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty"])
def test_a_damaged_backup_is_skipped_for_the_one_before(light, tmp_path, damage):
    whole, again = small(light), small(light)
    history = fit(whole, tmp_path / "whole")
    broken(small(light), tmp_path / "broken", 5)
    kept = sorted((tmp_path / "broken").iterdir())
    assert len(kept) == 2
    good = kept[1].read_bytes()
    middle = len(good) - 3
    flipped = good[:middle] + bytes([good[middle] ^ 4]) + good[middle + 1 :]
    kept[1].write_bytes({"torn": good[: len(good) // 2], "flipped": flipped, "empty": b""}[damage])
    with pytest.warns(UserWarning, match="skips a backup: .*00000004"):
        assert fit(again, tmp_path / "broken").history == history.history
    assert_same(whole, again)


def test_where_all_backups_are_damaged_the_run_begins_anew(light, tmp_path):
    whole, again = small(light), small(light)
    fit(whole, tmp_path / "whole")
    broken(small(light), tmp_path / "broken", 5)
    for path in (tmp_path / "broken").iterdir():
        path.write_bytes(b"no")
    with pytest.warns(UserWarning, match="skips a backup") as told:
        fit(again, tmp_path / "broken")
    assert len(told) == 2
    assert_same(whole, again)


def test_what_a_killed_write_left_is_cleared_away(light, tmp_path):
    from nnbackend.interop.safetensors import _machine

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = f".backup-00000003.safetensors.{_machine()}-{gone.pid}-0123456789abcdef.tmp"
    (tmp_path / left).write_bytes(b"half")
    fit(small(light), tmp_path, delete=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "backup-00000009.safetensors",
        "backup-00000010.safetensors",
    ]


def test_another_folder_content_is_left_alone(light, tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    fit(small(light), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_finished_run_whose_backups_are_kept_returns_its_history_and_can_be_prolonged(light, tmp_path):
    model, again, longer, whole = (small(light) for _ in range(4))
    history = fit(model, tmp_path / "kept", delete=False)
    assert fit(again, tmp_path / "kept", delete=False).history == history.history
    assert_same(model, again)
    fit(longer, tmp_path / "kept", delete=False, epochs=5)
    fit(whole, tmp_path / "whole", epochs=5)
    assert_same(longer, whole)


@pytest.mark.parametrize("save_freq", ["epoch", 2, 4])
def test_it_goes_on_from_the_last_backup_however_rare_they_are(light, tmp_path, save_freq):
    whole, again = small(light), small(light)
    history = fit(whole, tmp_path / "whole", save_freq=save_freq)
    broken(small(light), tmp_path / "broken", 8, save_freq=save_freq)
    seen: list[int] = []
    tell = cb.LambdaCallback(on_batch_end=lambda batch, logs: seen.append(batch))
    assert fit(again, tmp_path / "broken", tell, save_freq=save_freq).history == history.history
    assert_same(whole, again)
    assert len(seen) == {"epoch": 3, 2: 3, 4: 5}[save_freq]  # the others were not taken again


def test_other_options_and_versions_are_warned_about(light, tmp_path):
    broken(small(light), tmp_path, 2)
    model = small(light)
    model.compile(
        nn.optimizers.SGD(0.1, momentum=0.9, nesterov=True), "sparse_categorical_crossentropy", ["accuracy"]
    )
    with pytest.warns(
        UserWarning, match="not all is as it was.*: optimizer.nesterov: not given then, True now."
    ):
        broken(model, tmp_path, 1)
    with pytest.warns(UserWarning, match=r"shuffle: True then, False now"):
        broken(small(light), tmp_path, 1, shuffle=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_weight": np.ones(12)}, "sample_weight: None then, 'given' now"),
        ({"class_weight": {0: 2.0}}, r"class_weight: None then, \{'0': 2.0\} now"),
        ({"given": (X[::-1].copy(), Y)}, "data.x.content: '[0-9a-f]{16}' then, '[0-9a-f]{16}' now"),
        ({"given": (X, 1 - Y)}, "data.y.content: .* then, .* now"),
        ({"given": (X[:11], Y[:11])}, "samples: 12 then, 11 now"),
        ({"validation_data": (X[:4], Y[:4])}, "validation data: None then"),
    ],
)
def test_other_data_and_weights_are_warned_about(light, tmp_path, options, message):
    broken(small(light), tmp_path, 2)
    with pytest.warns(UserWarning, match=message):
        broken(small(light), tmp_path, 1, **options)


def test_other_data_of_a_loader_and_of_a_stream_are_warned_about(light, tmp_path):
    def stream(x=X):
        yield x[:4], Y[:4]

    for number, make in enumerate(
        (lambda x: nn.data.DataLoader(x, Y, batch_size=4, shuffle=True), lambda x: lambda: stream(x))
    ):
        folder = tmp_path / str(number)
        broken(small(light, seed=None), folder, 1, given=make(X))
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # an order drawn from another seed is no other data
            broken(small(light, seed=None), folder, 1, given=make(X))
        with pytest.warns(UserWarning, match="data.x.content"):
            broken(small(light, seed=None), folder, 1, given=make(X + 1.0))


def test_other_data_to_validate_on_are_warned_about(light, tmp_path):
    broken(small(light), tmp_path, 2, validation_data=(X[:4], Y[:4]))
    with pytest.warns(UserWarning, match="validation data.x.content"):
        broken(small(light), tmp_path, 1, validation_data=(X[4:8], Y[:4]))


def test_a_folder_that_two_trainings_share_is_warned_about(light, tmp_path):
    model = small(light)
    fit(model, tmp_path)
    broken(model, tmp_path, 2)  # the second phase
    with pytest.warns(UserWarning, match="epochs trained before: 3 then, 0 now"):
        fit(small(light), tmp_path)


def test_another_machine_is_warned_about(light, tmp_path, monkeypatch):
    broken(small(light), tmp_path, 2)
    monkeypatch.setattr("nnbackend.models.run.platform.python_version", lambda: "4.0.0")
    monkeypatch.setattr("nnbackend.models.run._processor", lambda: "Abacus")
    with pytest.warns(
        UserWarning, match=r"Python: '3.* then, '4.0.0' now; .*processor: .* then, 'Abacus' now"
    ):
        fit(small(light), tmp_path)


def test_other_callbacks_are_warned_about_and_begin_anew(light, tmp_path):
    broken(small(light), tmp_path, 4, cb.ReduceLROnPlateau("loss"))
    with pytest.warns(
        UserWarning, match="callback EarlyStopping: not there before; callback ReduceLROnPlateau: not"
    ):
        fit(small(light), tmp_path, cb.EarlyStopping("loss"))


def test_the_same_run_is_not_warned_about(light, tmp_path):
    broken(small(light), tmp_path, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(small(light), tmp_path)


def test_the_backup_of_another_model_is_refused(light, tmp_path):
    broken(small(light), tmp_path, 4)
    model = small(light, units=5)
    with pytest.raises(ValueError, match="backup of another model: .*delete"):
        fit(model, tmp_path)
    with pytest.raises(ValueError, match="is of float32, the model of float64"):
        fit(small(light, dtype="float64"), tmp_path)


def test_data_that_can_be_read_only_once_are_refused_before_training(light, tmp_path):
    def stream():
        yield X[:4], Y[:4]

    model = small(light)
    with pytest.raises(ValueError, match="whose data can be read only once. Give a function"):
        fit(model, tmp_path, given=stream())
    with pytest.raises(ValueError, match="whose validation data can be read only once"):
        fit(model, tmp_path, validation_data=stream())
    assert model._training.optimizer is None
    assert model.run is None
    fit(model, tmp_path, given=stream)
    fit(model, tmp_path, validation_data=stream)


def test_a_backup_is_a_file_of_the_model_too(light, tmp_path):
    model = broken(small(light), tmp_path, 6)
    newest = max(tmp_path.iterdir())
    other = nn.load_model(newest, backend=light)
    assert other.epochs_trained == 1
    assert other.optimizer.get_config() == model.optimizer.get_config()
    other.save(tmp_path / "model.safetensors")
    with pytest.raises(saving.ModelFileError, match="is a model, not the backup of a run"):
        saving.read_backup(tmp_path / "model.safetensors")


def test_a_model_of_classes_that_are_not_registered_comes_back_as_well(light, tmp_path):
    class Doubled(nn.Model):
        def __init__(self, **options):
            super().__init__(**options)
            self.out = nn.Dense(2)

        def forward(self, x):
            return 2.0 * self.out(x)

    def make():
        model = Doubled(backend=light, seed=1)
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

    whole, again = make(), make()
    fit(whole, tmp_path / "whole")
    broken(make(), tmp_path / "broken", 4)
    with pytest.raises(saving.ModelFileError, match="classes or functions that are not registered"):
        nn.load_model(max((tmp_path / "broken").iterdir()))
    fit(again, tmp_path / "broken")
    assert_same(whole, again)


def test_an_epoch_that_goes_on_is_not_begun_again(light, tmp_path):
    told: list[Any] = []

    class Tell(cb.Callback):
        def on_epoch_begin(self, epoch):
            told.append(("begin", epoch))

        def on_resume(self, epoch, batch):
            told.append(("resume", epoch, batch))

    halve = cb.LearningRateScheduler(lambda epoch, rate: rate / 2)
    broken(small(light), tmp_path, 6, halve)
    history = fit(small(light), tmp_path, halve, Tell())
    assert told == [("resume", 1, 2), ("begin", 2)]
    assert history.history["learning_rate"] == [0.05, 0.025, 0.0125]


def test_what_a_callback_cannot_remember_is_said(light, tmp_path):
    class Odd(cb.Callback):
        def get_state(self):
            return {"when": object()}

    with pytest.raises(TypeError, match="run/callbacks/0/1/when: expected numbers.*got a object"):
        fit(small(light), tmp_path, Odd())


def test_frozen_layers_and_a_changed_rate_come_back(backend, tmp_path):
    class Thaw(cb.Callback):
        def on_epoch_begin(self, epoch):
            self.model.layers[0].trainable = epoch > 0
            self.model.optimizer.learning_rate = 0.1 / (epoch + 1)

    whole, again = small(backend), small(backend)
    fit(whole, tmp_path / "whole", Thaw())
    broken(small(backend), tmp_path / "broken", 2, Thaw())
    fit(again, tmp_path / "broken", Thaw())
    assert_same(whole, again)


def test_a_monitor_of_gradients_goes_on_with_what_it_saw(light, tmp_path):
    monitors = [cb.GradientMonitor() for _ in range(3)]
    fit(small(light), tmp_path / "whole", monitors[0])
    broken(small(light), tmp_path / "broken", 4, monitors[1])
    fit(small(light), tmp_path / "broken", monitors[2])
    assert monitors[2].history == monitors[0].history
    assert monitors[2].report() == monitors[0].report()
    assert [monitors[2].findings(epoch) for epoch in range(3)] == [monitors[0].findings(e) for e in range(3)]


def test_numbers_that_are_not_finite_are_kept_in_the_history(light, tmp_path):
    infinite = cb.LambdaCallback(
        on_epoch_end=lambda epoch, logs: logs.update(worst=float("nan"), big=float("inf"))
    )
    broken(small(light), tmp_path, 5, infinite)
    history = fit(small(light), tmp_path, infinite).history
    assert history["big"] == [float("inf")] * 3
    assert np.isnan(history["worst"]).all()
