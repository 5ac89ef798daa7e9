"""Pictures: what is drawn in them, and that nothing else is touched."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import plotting

pytest.importorskip("matplotlib", reason='needs matplotlib: pip install "nnbackend[plot]"')

RANDOM = np.random.default_rng(0)


@pytest.fixture
def classifier(backend):
    model = nn.Sequential(
        [nn.Dense(8, activation="tanh"), nn.Dense(3, activation="softmax")], backend=backend, seed=0
    )
    model.compile(nn.optimizers.Adam(0.05), "sparse_categorical_crossentropy", ["accuracy"])
    return model


def draw(ax):
    """Render the picture to the last stroke; what does not fit its layout warns, and warnings are errors."""
    ax.figure.canvas.draw()


def words(ax):
    return [text.get_text() for text in ax.texts]


# Curves


def test_a_history_has_a_picture_for_each_number_with_training_and_validation(classifier):
    x, y = RANDOM.normal(size=(30, 2)), RANDOM.integers(0, 3, 30)
    history = classifier.fit(x, y, epochs=4, validation_split=0.2, verbose=0)
    drawn = plotting.history(history)
    assert [(ax.get_xlabel(), ax.get_ylabel()) for ax in drawn] == [("epoch", "loss"), ("epoch", "accuracy")]
    training, validation = drawn[0].lines
    assert list(training.get_xdata()) == [1, 2, 3, 4]
    assert list(training.get_ydata()) == history.history["loss"]
    assert list(validation.get_ydata()) == history.history["val_loss"]
    assert [text.get_text() for text in drawn[0].get_legend().get_texts()] == ["training", "validation"]
    draw(drawn[0])


def test_a_history_is_drawn_where_it_is_told_to():
    axes = plotting.figure.new_figure(6, 3).subplots(1, 2)
    run = {"loss": [2.0, 1.0], "mae": [3.0, 2.0], "matrix": [np.eye(2), np.eye(2)]}
    assert plotting.history(run, ax=axes) == list(axes)  # a matrix is no curve
    (only,) = plotting.history(run, "mae", ax=axes[0])
    assert only is axes[0]
    with pytest.raises(ValueError, match="draws 2 pictures, got 1 axes"):
        plotting.history(run, ax=axes[0])
    with pytest.raises(ValueError, match="no single numbers named 'lost'; it has loss, mae"):
        plotting.history(run, "lost")


def test_learning_rates_are_those_of_the_schedule():
    schedule = nn.optimizers.schedules.CosineDecay(0.1, decay_steps=20)
    optimizer = nn.optimizers.SGD(0.5, decay=0.1)
    ax = plotting.learning_rate({"cosine": schedule, "decay": optimizer, "own": lambda i: 0.1 / (i + 1)}, 20)
    cosine, decay, own = (line.get_ydata() for line in ax.lines)
    np.testing.assert_allclose(cosine, [schedule(step) for step in range(20)])
    np.testing.assert_allclose(decay, [0.5 / (1 + 0.1 * step) for step in range(20)])
    np.testing.assert_allclose(own, [0.1 / (step + 1) for step in range(20)])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "learning rate")
    assert plotting.learning_rate(schedule, 5).get_legend() is None
    draw(ax)


def test_a_range_test_shows_the_suggestion_and_not_the_run_away():
    losses = [*np.linspace(2.0, 0.5, 15), 1.0, 1e3, 1e9, np.inf, np.nan]
    found = SimpleNamespace(rates=np.logspace(-5, 1, 20), losses=losses, smoothed=losses, suggestion=1e-3)
    ax = plotting.learning_rate_range(found)
    assert ax.get_xscale() == "log"
    low, high = ax.get_ylim()
    assert low < 0.5 < 2.0 < high < 5.0
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "loss of each batch",
        "smoothed",
        "suggested: 0.001",
    ]
    assert list(ax.lines[2].get_xdata()) == [1e-3, 1e-3]
    draw(ax)


@pytest.fixture
def monitor(backend):
    tiny = nn.initializers.RandomNormal(stddev=0.02)
    layers = [nn.Dense(16, activation="tanh", kernel_initializer=tiny) for _ in range(4)]
    model = nn.Sequential([*layers, nn.Dense(2, activation="softmax")], backend=backend, seed=0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    monitor = nn.callbacks.GradientMonitor()
    model.fit(RANDOM.normal(size=(16, 4)), [0, 1] * 8, epochs=3, callbacks=[monitor], verbose=0)
    return monitor


def test_gradient_flow_draws_the_first_and_the_last_epoch_and_marks_what_is_found(monitor):
    ax = plotting.gradient_flow(monitor)
    first, last, marks = ax.lines
    assert [line.get_label() for line in (first, last, marks)] == ["epoch 1", "epoch 3", "vanishing"]
    for line, epoch in ((first, 0), (last, 2)):
        measured = [lists["gradient_norm"][epoch] for lists in monitor.history.values()]
        np.testing.assert_allclose(line.get_ydata(), measured)
    names = list(monitor.history)
    (finding,) = monitor.findings()
    assert [names[place] for place in marks.get_xdata()] == list(finding.layers)
    assert [label.get_text() for label in ax.get_xticklabels()] == names
    assert ax.get_yscale() == "log"
    draw(ax)


def test_gradient_flow_puts_marks_at_the_foot_where_zero_has_no_place_on_a_logarithmic_axis(backend):
    dead = nn.Dense(4, activation="relu", bias_initializer=nn.initializers.Constant(-9.0), name="dead")
    model = nn.Sequential(
        [nn.Dense(4, name="before"), dead, nn.Dense(1, name="last")], backend=backend, seed=0
    )
    model.compile("sgd", "mse")
    monitor = nn.callbacks.GradientMonitor()
    model.fit([[0.1], [0.2]], [1.0, 2.0], callbacks=[monitor], verbose=0)
    marked = {line.get_label(): line for line in plotting.gradient_flow(monitor).lines}
    assert monitor.history["before"]["gradient_norm"] == [0.0]
    assert list(marked["vanishing"].get_xdata()) == [0]
    assert list(marked["vanishing"].get_ydata()) == [0.03]
    draw(plotting.gradient_flow(monitor))


def test_a_monitor_draws_a_picture_of_each_measure(monitor):
    figure = monitor.plot()
    assert [ax.get_ylabel() for ax in figure.axes] == [
        "norm of the gradient at the output",
        "spread of the output",
        "update / weight",
        "share of saturated outputs",
    ]
    assert [len(ax.lines) for ax in monitor.plot(epochs=[1]).axes] == [2, 2, 2, 2]
    figure.canvas.draw()
    with pytest.raises(ValueError, match="one of gradient_norm"):
        plotting.gradient_flow(monitor, "size")


# Regions


def test_a_confusion_matrix_shows_its_numbers_and_shares_of_the_true_class(put):
    matrix = put([[6.0, 2.0, 0.0], [1.0, 9.0, 0.0], [0.0, 0.0, 0.0]])
    ax = plotting.confusion_matrix(matrix, ["cat", "dog", "horse"])
    assert words(ax) == ["6", "2", "0", "1", "9", "0", "0", "0", "0"]
    np.testing.assert_allclose(
        ax.images[0].get_array(), [[0.75, 0.25, 0.0], [0.1, 0.9, 0.0], [0.0, 0.0, 0.0]]
    )
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "dog", "horse"]
    assert words(plotting.confusion_matrix(matrix, normalize=True))[:2] == ["0.75", "0.25"]
    assert words(plotting.confusion_matrix(np.eye(30))) == []  # no room
    draw(ax)


def test_a_confusion_matrix_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"shape \(k, k\), got \(2, 3\)"):
        plotting.confusion_matrix(np.ones((2, 3)))
    with pytest.raises(ValueError, match="expects 2 labels"):
        plotting.confusion_matrix(np.eye(2), ["a"])


def test_decision_regions_have_the_colour_of_what_the_model_says_there(classifier, put):
    x, y = RANDOM.normal(size=(40, 2)).astype("float32"), RANDOM.integers(0, 3, 40)
    classifier.fit(x, y, epochs=5, verbose=0)
    ax = plotting.decision_regions(classifier, put(x), put(y), resolution=30)
    picture = np.asarray(ax.images[0].get_array())
    assert picture.shape == (30, 30, 3)
    left, right, bottom, top = ax.images[0].get_extent()
    assert left < x[:, 0].min() < x[:, 0].max() < right
    corner = nn.to_numpy(classifier.predict(np.asarray([[left, bottom], [right, top]], "float32")))
    from matplotlib.colors import to_rgb

    palette = np.asarray([to_rgb(color) for color in plotting.figure.COLORS[:3]])
    np.testing.assert_allclose(picture[[0, -1], [0, -1]], 1.0 - 0.5 * (1.0 - corner @ palette), atol=1e-5)
    assert [len(points.get_offsets()) for points in ax.collections if points.get_label() in "012"] == [
        int((y == label).sum()) for label in range(3)
    ]
    draw(ax)


def test_decision_regions_of_one_output_split_at_the_threshold(backend):
    model = nn.Sequential([nn.Dense(1)], backend=backend, seed=0)  # logits
    model.build((2,))
    model.layers[0].set_weights([np.asarray([[100.0], [0.0]]), np.asarray([0.0])])
    ax = plotting.decision_regions(model, [[-1.0, -1.0], [1.0, 1.0]], [0, 1], threshold=0.0, resolution=20)
    picture = np.asarray(ax.images[0].get_array())
    blue = picture[..., 2] > picture[..., 0]
    assert np.array_equal(blue, np.broadcast_to(np.arange(20) < 10, (20, 20)))  # the first class left of zero
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["0", "1"]
    draw(ax)


def test_decision_regions_of_a_model_that_knows_one_answer_have_no_border(backend):
    model = nn.Sequential([nn.Dense(2, kernel_initializer="zeros")], backend=backend, seed=0)
    draw(plotting.decision_regions(model, [[0.0, 1.0], [1.0, 0.0]], resolution=10))
    with pytest.raises(ValueError, match=r"shape \(n, 2\), got \(1, 3\)"):
        plotting.decision_regions(model, [[0.0, 1.0, 2.0]])
    with pytest.raises(ValueError, match="expects 2 labels"):
        plotting.decision_regions(model, [[0.0, 1.0]], [1], labels=["one"], resolution=10)


# Images


def test_weights_are_drawn_as_they_stand(backend, put):
    layer = nn.Dense(3)
    layer(put(np.ones((1, 5)), "float32"))
    ax = plotting.weights(layer)
    image = ax.images[0]
    assert np.array_equal(image.get_array(), layer.get_weights()[0])
    low, high = image.get_clim()
    assert low == -high  # zero has the colour in the middle
    assert ax.get_title() == "dense/kernel"
    assert plotting.weights(layer, "bias").images[0].get_array().shape == (1, 3)
    assert plotting.weights(np.ones((2, 3, 4))).images[0].get_array().shape == (6, 4)
    draw(ax)
    with pytest.raises(ValueError, match="has no weight 'weight'; it has kernel, bias"):
        plotting.weights(layer, "weight")
    with pytest.raises(RuntimeError, match="has no weights yet"):
        plotting.weights(nn.Dense(3))


def test_filters_stand_side_by_side_each_scaled_to_its_largest_weight():
    kernel = RANDOM.normal(size=(3, 3, 1, 4))
    picture = np.asarray(plotting.filters(kernel).images[0].get_array())
    assert picture.shape == (7, 7)  # two by two, with a gap of one
    for number, (row, column) in enumerate([(0, 0), (0, 4), (4, 0), (4, 4)]):
        filter_ = kernel[:, :, 0, number]
        np.testing.assert_allclose(
            picture[row : row + 3, column : column + 3], filter_ / np.abs(filter_).max(), rtol=1e-6
        )


@pytest.mark.parametrize(
    ("kernel", "options", "shape"),
    [
        ((5, 5, 3, 1), {}, (5, 5, 3)),  # three channels are colours
        ((5, 5, 3, 1), {"channel": 1}, (5, 5)),
        ((5, 5, 8, 1), {}, (5, 5)),
        ((7, 4, 1), {}, (4, 7)),  # over time: channels are rows
        ((12, 1), {"shape": (4, 3)}, (4, 3)),
    ],
)
def test_filters_of_every_kind_have_their_picture(kernel, options, shape):
    ax = plotting.filters(RANDOM.normal(size=kernel), **options)
    assert ax.images[0].get_array().shape == shape
    draw(ax)


def test_what_is_no_filter_is_refused():
    with pytest.raises(ValueError, match=r"shape=\(h, w\)"):
        plotting.filters(np.ones((4, 2)))
    with pytest.raises(ValueError, match="channels 0 to 2, got channel=3"):
        plotting.filters(np.ones((5, 5, 3, 1)), channel=3)
    with pytest.raises(ValueError, match="are not what a kernel"):
        plotting.filters(np.ones((5, 2)), shape=(2, 2))


def test_activations_are_those_of_the_layer_on_the_sample(backend):
    layers = [nn.Conv2D(4, 3, activation="relu"), nn.Flatten(), nn.Dense(5)]
    model = nn.Sequential(layers, backend=backend, seed=0)
    x = RANDOM.normal(size=(2, 8, 8, 1)).astype("float32")
    model.predict(x)
    bars = plotting.activations(model, "dense", x[0])  # one sample alone
    np.testing.assert_allclose(
        [bar.get_height() for bar in bars.patches], nn.to_numpy(model.predict(x))[0], rtol=1e-5, atol=1e-6
    )
    images = plotting.activations(model, layers[0], x)
    assert images.images[0].get_array().shape == (13, 13)
    assert images.get_title() == "conv2d: 4 channels of 6 x 6"
    draw(bars)
    draw(images)
    with pytest.raises(ValueError, match="no layer 'lstm' on this sample; it called conv2d, flatten, dense"):
        plotting.activations(model, "lstm", x)


def test_activations_leave_a_stateful_model_as_it_was(backend):
    layer = nn.SimpleRNN(3, return_sequences=True, stateful=True, batch_size=1)
    model = nn.Sequential([layer], backend=backend, seed=0)
    x = RANDOM.normal(size=(1, 6, 2)).astype("float32")
    model.build((6, 2))
    before = [nn.to_numpy(weight) for weight in model.get_weights()]
    ax = plotting.activations(model, layer, x)
    assert ax.images[0].get_array().shape == (3, 6)
    assert all(np.array_equal(a, nn.to_numpy(b)) for a, b in zip(before, model.get_weights(), strict=True))


# Graphs


def boxes(ax):
    """Return each box's words by its name, with the place of its middle."""
    from matplotlib.patches import FancyBboxPatch

    found = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    names = [text for text in ax.texts if text.get_fontweight() == "bold"]
    places = [(patch.get_x(), patch.get_y(), patch.get_width(), patch.get_height()) for patch in found]
    return dict(zip([name.get_text() for name in names], places, strict=True))


def overlap(first, second):
    return (
        first[0] < second[0] + second[2]
        and second[0] < first[0] + first[2]
        and first[1] < second[1] + second[3]
        and second[1] < first[1] + first[3]
    )


def arrows(ax):
    from matplotlib.patches import FancyArrowPatch

    return [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]


def test_a_sequence_is_a_column_with_shapes():
    model = nn.Sequential([nn.Dense(16, activation="relu"), nn.Dense(3)], input_shape=(4,), seed=0)
    ax = plotting.model_graph(model)
    assert words(ax) == ["input", "(n, 4)", "dense", "Dense relu (n, 16)", "dense_1", "Dense (n, 3)"]
    places = list(boxes(ax).values())
    middles = [x + wide / 2 for x, _, wide, _ in places]
    assert middles == pytest.approx([middles[0]] * 3)
    assert [y for _, y, _, _ in places] == sorted(y for _, y, _, _ in places)
    assert len(arrows(ax)) == 2
    draw(ax)


def branched():
    image, table = nn.Input((6, 6, 2), name="image"), nn.Input((5,), name="table")
    hidden = nn.Conv2D(4, 3, padding="same", name="stem")(image)
    for number in range(2):
        inner = nn.Conv2D(4, 3, padding="same", activation="relu", name=f"conv_{number}")(hidden)
        hidden = nn.functional.relu(hidden + inner)
    joined = nn.Concatenate(name="join")([nn.GlobalAveragePooling2D(name="mean")(hidden), table])
    outputs = [nn.Dense(2, name="kind")(joined), nn.Dense(1, name="size")(joined)]
    return nn.Model([image, table], outputs, seed=0)


def test_a_graph_has_an_arrow_for_each_use_and_no_box_on_another():
    ax = plotting.model_graph(branched())
    drawn = boxes(ax)
    assert set(drawn) == {
        *("image", "table", "stem", "conv_0", "conv_1", "add", "relu", "mean", "join", "kind", "size")
    }
    assert len(arrows(ax)) == 14
    places = [
        (patch.get_x(), patch.get_y(), patch.get_width(), patch.get_height())
        for patch in ax.patches
        if hasattr(patch, "get_boxstyle")
    ]
    assert len(places) == 13  # add and relu stand twice
    assert not any(overlap(a, b) for n, a in enumerate(places) for b in places[:n])
    draw(ax)


def test_letters_fit_their_boxes():
    ax = plotting.model_graph(branched())
    ax.figure.canvas.draw()
    frames = [patch.get_window_extent() for patch in ax.patches if hasattr(patch, "get_boxstyle")]
    for text in ax.texts:
        extent = text.get_window_extent()
        assert any(
            frame.x0 <= extent.x0
            and extent.x1 <= frame.x1
            and frame.y0 <= extent.y0 + 1
            and extent.y1 - 1 <= frame.y1
            for frame in frames
        ), text.get_text()


def test_arrows_go_around_the_boxes_that_they_pass():
    ax = plotting.model_graph(branched())
    frames = [
        (patch.get_x(), patch.get_y(), patch.get_width(), patch.get_height())
        for patch in ax.patches
        if hasattr(patch, "get_boxstyle")
    ]
    for arrow in arrows(ax):
        points = arrow.get_path().to_polygons(closed_only=False)[0]  # the rest is its head
        for x, y in points[2:-2]:  # its ends touch the boxes it joins
            assert not any(
                left + 0.02 < x < left + wide - 0.02 and top + 0.02 < y < top + high - 0.02
                for left, top, wide, high in frames
            )


class Block(nn.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.inner = nn.Dense(4)

    def forward(self, x):
        return x + self.inner(x)


class Own(nn.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.block = Block()
        self.tail = nn.Sequential([nn.Dense(3), nn.Dropout(0.1)])

    def forward(self, x):
        return self.tail(self.block(x))


def test_models_of_ones_own_are_followed_as_deep_as_asked():
    model = Own(seed=0)
    model.build((4,))
    shallow = plotting.model_graph(model)
    assert list(boxes(shallow)) == ["input", "block", "sequential"]
    deep = plotting.model_graph(model, depth=2)
    assert [text.get_text() for text in deep.texts if text.get_fontweight() == "bold"] == [
        "input",
        "dense",
        "add",
        "dense",
        "dropout",
    ]
    assert {"block  Block", "sequential  Sequential"} <= set(words(deep))
    draw(deep)


def test_weights_that_stand_in_a_formula_are_no_obstacle(backend):
    class Scaled(Own):
        def build(self, input_shape):
            self.scale = self.add_weight("scale", input_shape, "ones")
            super().build(input_shape)

        def forward(self, x):
            return super().forward(x * self.scale)

    model = Scaled(backend=backend, seed=0)
    model.predict(np.ones((1, 4), "float32"))
    ax = plotting.model_graph(model)
    assert list(boxes(ax)) == ["input", "multiply", "block", "sequential"]
    assert {arrow.get_linestyle() for arrow in arrows(ax)} == {"-"}


def test_a_model_that_looks_at_values_has_its_layers_in_order_with_dotted_arrows():
    class Looking(Own):
        def forward(self, x):
            if float(nn.functional.sum(x).detach().value) > 1.0:
                x = x * 2.0
            return super().forward(x)

    model = Looking(seed=0)
    model.build((4,))
    ax = plotting.model_graph(model)
    assert list(boxes(ax)) == ["input", "block", "sequential"]
    assert {arrow.get_linestyle() for arrow in arrows(ax)} == {":"}
    assert {arrow.get_linestyle() for arrow in arrows(plotting.model_graph(branched()))} == {"-"}


def test_a_graph_in_small_axes_has_small_letters():
    model = branched()
    own = plotting.model_graph(model)
    given = plotting.figure.new_figure(2, 2).subplots()
    assert plotting.model_graph(model, ax=given) is given
    assert given.texts[0].get_fontsize() < 0.5 * own.texts[0].get_fontsize()


def test_a_model_that_is_not_built_is_refused():
    with pytest.raises(RuntimeError, match="has no weights yet"):
        plotting.model_graph(nn.Sequential([nn.Dense(1)]))


# All of them


def test_nothing_is_imported_before_a_picture_is_asked_for_and_pyplot_never():
    program = (
        "import sys, nnbackend as nn; assert 'matplotlib' not in sys.modules;"
        "nn.plotting.history({'loss': [1.0]}); assert 'matplotlib' in sys.modules;"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    paths = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=paths, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_without_matplotlib_it_says_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "nnbackend\[plot\]"'):
        plotting.history({"loss": [1.0]})
