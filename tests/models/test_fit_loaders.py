"""Training, measuring and asking with loaders and streams in place of arrays."""

import itertools
import threading

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.data import ArrayFeed, DataLoader, as_dataset

ROWS = 21  # batches of 8 leave a last one of 5
X = np.sin(np.arange(ROWS * 3.0)).reshape(ROWS, 3)
Y = (np.arange(ROWS) * 7) % 3
WEIGHT = np.linspace(0.5, 2.0, ROWS)


def classifier(backend, **options):
    layers = [nn.Dense(4, activation="tanh"), nn.Dropout(0.2), nn.Dense(3)]
    model = nn.Sequential(layers, backend=backend, **({"seed": 7, "dtype": "float64"} | options))
    model.compile(nn.optimizers.SGD(0.1, momentum=0.5), "sparse_categorical_crossentropy", ["accuracy"])
    return model


def batches(start=0, stop=ROWS, size=8, weighted=False):
    for first in range(start, stop, size):
        rows = slice(first, min(first + size, stop))
        yield (X[rows], Y[rows], WEIGHT[rows]) if weighted else (X[rows], Y[rows])


def assert_same(model, other):
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def trained(backend, *given, **options):
    model = classifier(backend)
    history = model.fit(*given, **({"epochs": 2, "verbose": 0} | options)).history
    return model, history


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_loader_of_arrays_trains_as_the_arrays_do(backend, prefetch):
    plain, expected = trained(backend, X, Y, 8, sample_weight=WEIGHT)
    loader = DataLoader(X, Y, WEIGHT, batch_size=8, shuffle=True, prefetch=prefetch)
    model, history = trained(backend, loader)
    assert history == expected
    assert_same(model, plain)
    assert loader.state() == {"epoch": 2, "batch": 0, "pass": 2, "taken": 0}
    plain.fit(X, Y, 8, sample_weight=WEIGHT, verbose=0)
    model.fit(loader, verbose=0)
    assert_same(model, plain)


@pytest.mark.parametrize("weighted", [False, True])
def test_every_kind_of_stream_trains_as_the_arrays_do(backend, weighted):
    weight = WEIGHT if weighted else None
    plain, expected = trained(backend, X, Y, 8, sample_weight=weight, shuffle=False)

    class Batches:
        def __iter__(self):
            return batches(weighted=weighted)

    endless = itertools.cycle(batches(weighted=weighted))
    for given, options in (
        (lambda: batches(weighted=weighted), {}),
        (Batches(), {}),
        (endless, {"steps_per_epoch": 3}),
        (lambda: batches(weighted=weighted), {"steps_per_epoch": 3}),
    ):
        model, history = trained(backend, given, **options)
        assert history == expected
        assert_same(model, plain)


def test_nothing_is_taken_from_an_iterator_that_is_not_used(backend):
    endless = ((np.full((2, 3), float(number)), np.array([0, 1])) for number in itertools.count())
    model = classifier(backend)
    model.fit(endless, epochs=2, steps_per_epoch=3, verbose=0)
    assert next(endless)[0][0, 0] == 6.0
    model.evaluate(endless, steps=2)
    assert next(endless)[0][0, 0] == 9.0
    assert model.predict(endless, steps=2).shape == (4, 3)
    assert next(endless)[0][0, 0] == 12.0


def test_memory_mapped_arrays_train_as_arrays_in_memory_do(backend, tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    x, y = (np.load(tmp_path / name, mmap_mode="r") for name in ("x.npy", "y.npy"))
    options = {"validation_split": 0.25, "class_weight": {0: 2.0}}
    plain, expected = trained(backend, X, Y, 8, **options)
    model, history = trained(backend, x, y, 8, **options)
    assert history == expected
    assert_same(model, plain)
    assert model.evaluate(x, y, 8) == plain.evaluate(X, Y, 8)
    np.testing.assert_array_equal(model.predict(x, 8), plain.predict(X, 8))


def test_measuring_takes_each_sample_once_as_they_stand(backend):
    model, _ = trained(backend, X, Y, 8)
    expected = model.evaluate(X, Y, 8, sample_weight=WEIGHT)
    loader = DataLoader(
        X, Y, WEIGHT, batch_size=8, shuffle=True, balanced=True, drop_last=True, seed=3, prefetch=2
    )
    assert model.evaluate(loader) == expected
    np.testing.assert_array_equal(model.predict(loader), nn.to_numpy(model.predict(X, 8)))
    assert loader.state()["taken"] == 0
    assert model.evaluate(lambda: batches(weighted=True)) == expected
    assert model.evaluate(loader, steps=1) == model.evaluate(X[:8], Y[:8], 8, sample_weight=WEIGHT[:8])
    assert model.evaluate(X, Y, 8, steps=1) == model.evaluate(X[:8], Y[:8], 8)
    assert model.predict(X, 8, steps=2).shape == (16, 3)


@pytest.mark.parametrize(
    "validation",
    [
        lambda: DataLoader(X, Y, batch_size=8, shuffle=True),
        lambda: batches,
        lambda: itertools.cycle(batches()),
    ],
)
def test_validation_data_may_be_loaders_and_streams(backend, validation):
    options = {"validation_steps": 3, "batch_size": 8}
    plain, expected = trained(backend, X, Y, validation_data=(X, Y), **options)
    model, history = trained(backend, X, Y, validation_data=validation(), **options)
    assert history == expected
    assert_same(model, plain)


def test_validation_steps_and_batch_size_hold_for_arrays_too(backend):
    model, history = trained(
        backend, X, Y, 8, epochs=1, validation_data=(X, Y), validation_steps=2, validation_batch_size=5
    )
    assert history["val_loss"][0] == pytest.approx(model.evaluate(X[:10], Y[:10])["loss"], rel=1e-12)
    model, history = trained(backend, X, Y, 2, epochs=1, validation_split=0.3, validation_steps=2)
    assert history["val_loss"][0] == pytest.approx(model.evaluate(X[14:18], Y[14:18])["loss"], rel=1e-12)


def test_epochs_of_arrays_with_a_number_of_steps_follow_one_another(backend):
    plain, _ = trained(backend, X, Y, 8, epochs=2)
    model, history = trained(backend, X, Y, 8, epochs=3, steps_per_epoch=2)
    assert len(history["loss"]) == 3
    assert_same(model, plain)  # 2 passes of 3 batches


def test_class_weights_count_in_loaders_too(backend):
    plain, expected = trained(backend, X, Y, 8, class_weight={0: 3.0, 2: 0.5})
    model, history = trained(
        backend, DataLoader(X, Y, batch_size=8, shuffle=True), class_weight={0: 3.0, 2: 0.5}
    )
    assert history == expected
    assert_same(model, plain)


def test_callbacks_are_told_what_is_known_and_models_are_built_before(backend):
    told = []

    class Look(nn.callbacks.Callback):
        def on_train_begin(self, parameters):
            told.append((parameters["steps"], parameters["samples"], self.model.built))

    trained(backend, batches, callbacks=[Look()])
    trained(backend, DataLoader(X, Y, batch_size=8, drop_last=True), callbacks=[Look()])
    trained(backend, X, Y, 8, callbacks=[Look()])
    assert told == [(None, None, True), (2, 16, True), (3, 21, True)]


@pytest.mark.parametrize("kind", ["arrays", "loader", "stream"])
def test_the_feed_of_a_running_fit_tells_and_takes_the_position(backend, kind):
    def given():
        return {
            "arrays": (X, Y, 8),
            "loader": (DataLoader(X, Y, batch_size=8, shuffle=True, prefetch=2),),
            "stream": (batches,),
        }[kind]

    seen = []

    class Save(nn.callbacks.Callback):
        def on_batch_end(self, batch, logs):
            position = self.model.feed.state()
            assert position["batch"] == batch + 1
            seen.append((position, self.model.get_weights(), self.model._training))

    class GoTo(nn.callbacks.Callback):
        def on_train_begin(self, parameters):
            self.model.feed.restore({"epoch": 0, "batch": 2, "pass": 0, "taken": 2})

    def steps_after(callbacks):
        batch_numbers = []

        class Note(nn.callbacks.Callback):
            def on_batch_end(self, batch, logs):
                batch_numbers.append(batch)

        trained(backend, *given(), callbacks=[*callbacks, Note()])
        return batch_numbers

    assert steps_after([Save()]) == [0, 1, 2, 0, 1, 2]
    assert [position["taken"] for position, *_ in seen] == [1, 2, 3, 1, 2, 3]
    assert steps_after([GoTo()]) == [2, 0, 1, 2]


@pytest.mark.parametrize("given", [(X, Y, 8), (DataLoader(X, Y, batch_size=8, shuffle=True, prefetch=2),)])
def test_an_epoch_that_was_broken_off_begins_again(backend, given):
    class Break(nn.callbacks.Callback):
        def on_batch_end(self, batch, logs):
            if batch == 1:
                raise KeyboardInterrupt

    class Note(nn.callbacks.Callback):
        def on_batch_end(self, batch, logs):
            numbers.append(batch)

    numbers, before = [], set(threading.enumerate())
    model = classifier(backend)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*given, verbose=0, callbacks=[Break()])
    for thread in set(threading.enumerate()) - before:
        thread.join(30.0)  # those that read ahead end, too
        assert not thread.is_alive()
    model.fit(*given, verbose=0, callbacks=[Note()])
    assert numbers == [0, 1, 2]


def test_the_feed_is_there_while_fit_runs_only(backend):
    model, _ = trained(backend, X, Y, 8)
    assert model.feed is None


def test_a_feed_of_arrays_goes_on_from_its_position(backend):
    data = as_dataset(X, Y, None, backend=backend, input_dtype="float64", dtype="float64", owner="test")
    first, second = (ArrayFeed(data, 8, seed=3, epoch=4) for _ in range(2))
    whole = [nn.to_numpy(batch.x) for batch in first]
    next(iter(second))
    position = second.state()
    assert position == {"epoch": 4, "batch": 1, "pass": 4, "taken": 1}
    third = ArrayFeed(data, 8, seed=3)
    third.restore(position)
    for batch, expected in zip(third, whole[1:], strict=True):
        np.testing.assert_array_equal(nn.to_numpy(batch.x), expected)


def test_arrays_that_are_large_for_the_device_stay_on_the_host(backend, monkeypatch):
    def work():
        model = classifier(backend)
        data = {"batch_size": 8, "epochs": 2, "verbose": 0, "class_weight": {0: 2.0, 1: 1.0, 2: 0.5}}
        history = model.fit(X, Y, validation_data=(X, Y), sample_weight=WEIGHT, **data).history
        model.fit(X, Y, validation_split=0.3, shuffle=False, batch_size=8, verbose=0)
        return model, history, model.evaluate(X, Y, 8), nn.to_numpy(model.predict(X, 8))

    model, *expected = work()
    asked = []
    monkeypatch.setattr(type(backend), "holds", lambda self, count: asked.append(count), raising=False)
    other, *found = work()
    assert found[:2] == expected[:2]
    np.testing.assert_array_equal(found[2], expected[2])
    assert_same(other, model)
    if backend.name != "numpy":
        assert asked[:2] == [X.nbytes + Y.nbytes + WEIGHT.nbytes, X.nbytes + Y.nbytes]


def test_batches_come_to_the_device_when_they_are_asked_for(backend, monkeypatch):
    if backend.name == "numpy":
        pytest.skip("the host is the device")
    came = []
    usual = type(backend).sender

    def sender(self):
        send = usual(self)
        return lambda arrays: came.append([tuple(array.shape) for array in arrays]) or send(arrays)

    class Note(nn.callbacks.Callback):
        def on_batch_begin(self, batch, logs=None):
            assert len(came) == batch + 1
            assert self.model.feed.state()["batch"] == batch + 1

    monkeypatch.setattr(type(backend), "holds", lambda self, count: False)
    monkeypatch.setattr(type(backend), "sender", sender)
    trained(backend, X, Y, 8, epochs=1, callbacks=[Note()])
    assert came == [[(8, 3), (8,)], [(8, 3), (8,)], [(5, 3), (5,)]]


def test_graphs_of_several_inputs_and_outputs_take_loaders(backend):
    def graph():
        a, b = nn.Input((3,), name="a"), nn.Input((1,), name="b")
        shared = nn.Dense(2, name="one")(a)
        model = nn.Model([a, b], [shared, nn.Dense(1, name="two")(b)], backend=backend, seed=0)
        model.compile("sgd", ["mse", "mse"])
        return model

    x, y = {"a": X, "b": X[:, :1]}, [X[:, :2], X[:, 2:]]
    plain, loaded = graph(), graph()
    expected = plain.fit(x, y, 8, epochs=2, verbose=0).history
    loader = DataLoader(x, y, batch_size=8, shuffle=True)
    assert loaded.fit(loader, epochs=2, verbose=0).history == expected
    assert_same(loaded, plain)
    assert loaded.evaluate(loader) == plain.evaluate(x, y, 8)
    for a, b in zip(loaded.predict(loader), plain.predict(x, 8), strict=True):
        np.testing.assert_array_equal(a, nn.to_numpy(b))


def test_an_error_within_a_stream_reaches_the_caller_of_fit(backend):
    def broken():
        yield from batches(stop=8)
        raise ZeroDivisionError("in the stream")

    with pytest.raises(ZeroDivisionError, match="in the stream"):
        trained(backend, DataLoader(broken, batch_size=None, prefetch=2))


@pytest.mark.parametrize(
    ("given", "options", "error", "message"),
    [
        ((batches, Y), {}, TypeError, "fit takes y from the function"),
        ((batches,), {"sample_weight": WEIGHT}, TypeError, "fit takes sample_weight from the function"),
        ((DataLoader(X, Y), None, 8), {}, TypeError, "fit takes batch_size from the DataLoader"),
        ((DataLoader(X),), {}, TypeError, r"fit expects targets: fit\(x, y\), or batches \(x, y\)"),
        (
            (batches,),
            {"validation_split": 0.5},
            TypeError,
            "validation_split can split arrays only, not a st",
        ),
        ((lambda: [(X, Y + 1)],), {}, ValueError, "expects labels from 0 to 2.*got labels from 1 to 3"),
        ((lambda: [(X, Y[:3])],), {}, ValueError, "one row for each row of x, got 3 rows of y for 21 of x"),
        ((lambda: [],), {}, ValueError, "expects at least one batch"),
        ((X, Y), {"validation_data": "mine"}, TypeError, "a DataLoader or a stream of batches"),
        ((X, Y), {"validation_data": iter(())}, ValueError, "needs at least one batch, the data gave none"),
        ((X, Y), {"steps_per_epoch": 0}, ValueError, "steps_per_epoch to be at least 1"),
        ((X, Y), {"validation_steps": 1.5}, TypeError, "validation_steps to be a whole number"),
        (
            (iter([(X, Y)]),),
            {"steps_per_epoch": 2},
            ValueError,
            "expects 2 batches for epoch 0.*ended after 1",
        ),
    ],
)
def test_what_does_not_belong_together_is_refused(backend, given, options, error, message):
    with pytest.raises(error, match=message):
        trained(backend, *given, **options)


def test_finite_data_are_asked_of_each_batch(backend):
    bad = X.copy()
    bad[17, 0] = np.nan
    with pytest.raises(ValueError, match="x holds NaN or infinite values, first in row 1"):
        trained(backend, DataLoader(bad, Y, batch_size=8), check_finite=True)
    with pytest.raises(ValueError, match="x holds NaN or infinite values, first in row 1"):
        classifier(backend).predict(DataLoader(bad, batch_size=8), check_finite=True)


def test_a_progress_bar_goes_without_a_number_of_steps(backend, capsys):
    trained(backend, batches, epochs=1, verbose=1)
    assert "Epoch 1/1" in capsys.readouterr().out
