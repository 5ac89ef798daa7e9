"""Losses and metrics within training: arrays in the logs, steps of sequences, masks, classes and several reductions."""

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.backend import namespace

LABELS = np.array([0, 1, 2, 1, 0, 2, 2])
X = np.eye(3)[LABELS] + np.random.default_rng(0).normal(size=(7, 3)) * 0.4


class Padded(nn.Layer):
    """Says that steps of zeros are padding."""

    def compute_mask(self, x, mask=None):
        xp = namespace(x)
        return xp.any(x != 0.0, axis=-1)

    def forward(self, x):
        return x

    def compute_output_shape(self, input_shape):
        return input_shape


def classifier(backend, loss="sparse_categorical_crossentropy", metrics=(), **options):
    model = nn.Sequential([nn.Dense(3)], backend=backend, seed=0, dtype="float64")
    model.compile("sgd", loss, metrics, **options)
    return model


def test_metrics_that_give_arrays_stand_in_the_history(backend, capsys):
    chosen = [nn.metrics.ConfusionMatrix(), nn.metrics.F1Score(), "auc"]
    model = classifier(backend, metrics=chosen)
    history = model.fit(X, LABELS, epochs=2, batch_size=3, validation_data=(X, LABELS), verbose=2)
    for prefix in ("", "val_"):
        matrix = history.history[f"{prefix}confusion_matrix"][-1]
        assert matrix.shape == (3, 3)
        assert matrix.sum() == 7
        assert history.history[f"{prefix}f1_score"][-1].shape == (3,)
    measured = model.evaluate(X, LABELS, batch_size=2)
    said = nn.to_numpy(model.predict(X)).argmax(-1)
    expected = np.zeros((3, 3))
    np.add.at(expected, (LABELS, said), 1)
    np.testing.assert_array_equal(measured["confusion_matrix"], expected)
    printed = capsys.readouterr().out
    assert "confusion_matrix 3 x 3 numbers" in printed
    assert "f1_score [" in printed
    assert "confusion_matrix" in repr(history)


def test_a_bar_shows_arrays(backend, capsys):
    classifier(backend, metrics=["f1_score"]).fit(X, LABELS, verbose=1)
    assert "f1_score [" in capsys.readouterr().out


def sequences(rng):
    x = rng.normal(size=(5, 4, 2))
    mask = np.arange(4) < np.array([[4], [2], [3], [1], [4]])
    x[~mask] = 0.0
    return x, rng.integers(0, 3, (5, 4)), mask


def test_padding_counts_neither_in_the_loss_nor_in_metrics(backend, rng):
    x, labels, mask = sequences(rng)
    model = nn.Sequential([Padded(), nn.Dense(3)], backend=backend, seed=0, dtype="float64")
    names = ["accuracy", "sparse_categorical_crossentropy", "perplexity", "precision", "confusion_matrix"]
    model.compile("sgd", "sparse_categorical_crossentropy", names)
    measured = model.evaluate(x, labels, batch_size=2)
    logits = nn.to_numpy(model.predict(x))
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    values = -np.take_along_axis(logs, labels[..., None], -1)[..., 0][mask]
    right = (logits.argmax(-1) == labels)[mask]
    assert measured["loss"] == pytest.approx(values.mean())
    assert measured["sparse_categorical_crossentropy"] == pytest.approx(values.mean())
    assert measured["perplexity"] == pytest.approx(np.exp(values.mean()))
    assert measured["accuracy"] == pytest.approx(right.mean())
    assert measured["precision"] == pytest.approx(right.mean())
    assert measured["confusion_matrix"].sum() == mask.sum()
    sample = np.array([1.0, 2.0, 0.0, 1.0, 3.0])
    weight = (sample[:, None] * mask)[mask]
    measured = model.evaluate(x, labels, batch_size=2, sample_weight=sample)
    assert measured["loss"] == pytest.approx((values * weight).sum() / weight.sum())
    assert measured["accuracy"] == pytest.approx((right * weight).sum() / weight.sum())


def test_training_does_not_see_what_stands_at_padding(backend, rng):
    x, labels, mask = sequences(rng)
    results = []
    for fill in (0, 2):
        model = nn.Sequential([Padded(), nn.Dense(3)], backend=backend, seed=0, dtype="float64")
        model.compile("sgd", "sparse_categorical_crossentropy", ["accuracy"])
        history = model.fit(x, np.where(mask, labels, fill), epochs=2, batch_size=2, verbose=0)
        results.append((history.history, [nn.to_numpy(w) for w in model.get_weights()]))
    assert results[0][0] == results[1][0]
    for first, second in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_array_equal(first, second)


def test_class_weights_of_sequences_are_those_of_their_steps(backend, rng):
    x, labels, _ = sequences(rng)
    given = np.array([1.0, 2.0, 1.0, 0.5, 1.0])
    weights = np.where(labels == 1, 4.0, 1.0) * given[:, None]
    losses = []
    for options in ({"class_weight": {1: 4.0}, "sample_weight": given}, {"sample_weight": weights}):
        model = nn.Sequential([nn.Dense(3)], backend=backend, seed=0, dtype="float64")
        model.compile("sgd", "sparse_categorical_crossentropy")
        losses.append(model.train_on_batch(x, labels, **options)["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_the_loss_of_an_epoch_leaves_out_the_class_to_ignore(backend):
    labels = np.where(np.arange(7) % 3 == 0, -1, LABELS)
    loss = nn.losses.SparseCategoricalCrossentropy(ignore_class=-1)
    model = classifier(backend, loss)
    whole = model.evaluate(X, labels, batch_size=7)["loss"]
    assert model.evaluate(X, labels, batch_size=2)["loss"] == pytest.approx(whole, rel=1e-12)
    kept = labels >= 0
    plain = classifier(backend)
    assert plain.evaluate(X[kept], labels[kept])["loss"] == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean_with_sample_weight"])
def test_means_are_those_of_the_whole_with_each_reduction(backend, reduction):
    weight = np.array([1.0, 0.0, 2.0, 0.5, 0.5, 3.0, 1.0])
    model = classifier(backend, nn.losses.SparseCategoricalCrossentropy(reduction=reduction))
    whole = model.evaluate(X, LABELS, batch_size=7, sample_weight=weight)["loss"]
    parts = model.evaluate(X, LABELS, batch_size=3, sample_weight=weight)["loss"]
    assert parts == pytest.approx(whole, rel=1e-12)


def test_a_sum_is_the_mean_of_batches_by_their_size(backend):
    model = classifier(backend, nn.losses.SparseCategoricalCrossentropy(reduction="sum"))
    first, second = (model.evaluate(X[rows], LABELS[rows])["loss"] for rows in (slice(0, 4), slice(4, 7)))
    found = model.evaluate(X, LABELS, batch_size=4)["loss"]
    assert found == pytest.approx((4 * first + 3 * second) / 7, rel=1e-12)


def test_a_loss_without_a_reduction_cannot_be_trained(backend):
    with pytest.raises(ValueError, match=r"one number, but huber has reduction='none'"):
        classifier(backend, nn.losses.Huber(reduction=None))


@pytest.mark.parametrize(
    "name", ["huber", "categorical_focal_crossentropy", "tversky", "kl_divergence", "triplet"]
)
def test_losses_by_name_train_and_are_saved(backend, name, tmp_path):
    last = nn.Dense(3) if name in ("huber", "triplet") else nn.Dense(3, activation="softmax")
    model = nn.Sequential([last], backend=backend, seed=0)
    model.compile(nn.optimizers.Adam(0.05), name, ["mae"] if name != "triplet" else [])
    y = LABELS if name == "triplet" else np.eye(3)[LABELS]
    history = model.fit(X, y, epochs=15, batch_size=7, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    model.save(tmp_path / "model.safetensors")
    loaded = nn.load_model(tmp_path / "model.safetensors", backend=backend)
    assert loaded.evaluate(X, y) == model.evaluate(X, y)


def test_ctc_learns_to_spell(backend, rng):
    labels = np.array([[1, 2], [2, 1], [1, 1]])
    x = np.zeros((3, 6, 3))
    for row, (a, b) in enumerate(labels):
        x[row, 1, a], x[row, 4, b] = 1.0, 1.0
    model = nn.Sequential([nn.Dense(3)], backend=backend, seed=0)
    model.compile(nn.optimizers.Adam(0.1), "ctc")
    history = model.fit(x, labels, epochs=30, batch_size=3, verbose=0)
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
    path = nn.to_numpy(model.predict(x)).argmax(-1)
    assert [[k for k in row if k] for row in path.tolist()] == labels.tolist()


def test_thresholds_of_softmax_outputs_and_of_its_logits_are_the_same(backend):
    y = np.eye(3)[LABELS]
    found = []
    for activation in (None, "softmax"):
        model = nn.Sequential([nn.Dense(3, activation=activation)], backend=backend, seed=0, dtype="float64")
        model.compile("sgd", "categorical_crossentropy", ["precision", "recall", "auc"])
        found.append(model.evaluate(X, y))
    for name in found[0]:
        assert found[0][name] == pytest.approx(found[1][name], rel=1e-9), name
