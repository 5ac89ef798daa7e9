"""L-BFGS: against PyTorch and SciPy, on functions with known minima, and on models."""

import itertools
import math

import numpy as np
import pytest

import nnbackend as nn

LBFGS = nn.optimizers.LBFGS
xp = nn.functional


def rosenbrock(w):
    a, b = w["w"][:-1], w["w"][1:]
    return xp.sum(100.0 * xp.square(b - xp.square(a)) + xp.square(1.0 - a))


def numpy_rosenbrock(w):
    a, b = w[:-1], w[1:]
    slope = np.zeros_like(w)
    slope[:-1] += -400.0 * a * (b - a**2) - 2.0 * (1.0 - a)
    slope[1:] += 200.0 * (b - a**2)
    return (100.0 * (b - a**2) ** 2 + (1.0 - a) ** 2).sum(), slope


def on_host(put, function):
    """Return a function on a tree that is computed by NumPy."""

    def call(parameters):
        value, slope = function(nn.to_numpy(parameters["w"]))
        return put(np.float64(value)), {"w": put(slope)}

    return call


@pytest.mark.parametrize("size", [2, 10])
def test_it_finds_the_end_of_rosenbrocks_valley(put, size):
    found = LBFGS().minimize(nn.value_and_grad(rosenbrock), {"w": put(np.full(size, -1.0))})
    assert found.converged
    assert found.message == "the gradient is small enough"
    assert found.gradient <= 1e-7
    np.testing.assert_allclose(nn.to_numpy(found.parameters["w"]), np.ones(size), rtol=1e-6)
    assert found.evaluations < 40 * math.sqrt(size)


def test_a_square_of_many_widths_is_searched_in_few_steps(put):
    scale = np.logspace(0, 3, 30)
    found = LBFGS(history_size=30).minimize(
        on_host(put, lambda w: (0.5 * (scale * (w - 1.0) ** 2).sum(), scale * (w - 1.0))),
        {"w": put(np.zeros(30))},
    )
    np.testing.assert_allclose(nn.to_numpy(found.parameters["w"]), np.ones(30), atol=1e-7)
    assert found.iterations < 180  # SciPy takes 160


def test_parameters_are_a_tree_and_keep_their_shapes(put, dtype):
    def bowl(p):
        return xp.sum(xp.square(p["a"] - 1.0)) + xp.sum(xp.square(p["b"][0] + 2.0))

    start = {"a": put(np.zeros((2, 3)), dtype), "b": [put(np.zeros(()), dtype)]}
    found = LBFGS(gradient_tolerance=1e-5).minimize(nn.value_and_grad(bowl), start)
    a, b = nn.to_numpy(found.parameters["a"]), nn.to_numpy(found.parameters["b"][0])
    assert (a.shape, b.shape, a.dtype, b.dtype) == ((2, 3), (), dtype, dtype)
    np.testing.assert_allclose(a, 1.0, atol=1e-5)
    np.testing.assert_allclose(b, -2.0, atol=1e-5)
    np.testing.assert_array_equal(nn.to_numpy(start["a"]), np.zeros((2, 3)))


def test_steps_without_a_search_are_pytorchs(backend, put):
    if backend.name not in ("numpy", "torch"):
        pytest.skip("the oracle is PyTorch's own optimizer: two backends are enough")
    torch = pytest.importorskip("torch")
    scale = np.array([1.0, 3.0, 0.5, 2.0])
    weight = torch.tensor(np.array([2.0, -1.0, 3.0, 0.5]), requires_grad=True)
    oracle = torch.optim.LBFGS(
        [weight], lr=0.7, max_iter=1, history_size=3, tolerance_grad=0, tolerance_change=0
    )

    def function(w):
        return np.sum(scale * np.log(np.cosh(w))), scale * np.tanh(w)

    def closure():
        oracle.zero_grad()
        value = (torch.from_numpy(scale) * torch.log(torch.cosh(weight))).sum()
        value.backward()
        return value

    seen = []
    for number in range(1, 9):
        oracle.step(closure)
        seen.append(weight.detach().numpy().copy())
        found = LBFGS(0.7, number, 3, "none", gradient_tolerance=0.0, max_evaluations=100).minimize(
            on_host(put, function), {"w": put([2.0, -1.0, 3.0, 0.5])}
        )
        np.testing.assert_allclose(nn.to_numpy(found.parameters["w"]), seen[-1], rtol=1e-9, atol=1e-12)
        assert found.iterations == number


def test_the_search_needs_about_as_many_evaluations_as_scipys(backend, put):
    if backend.name != "numpy":
        pytest.skip("the count is the same on each backend")
    optimize = pytest.importorskip("scipy.optimize")
    start = np.array([-1.2, 1.0, -1.2, 1.0, -1.2, 1.0])
    theirs = optimize.minimize(
        numpy_rosenbrock, start, jac=True, method="L-BFGS-B", options={"maxcor": 10, "gtol": 1e-7, "ftol": 0}
    )
    ours = LBFGS().minimize(on_host(put, numpy_rosenbrock), {"w": put(start)})
    assert ours.converged
    assert ours.value <= theirs.fun + 1e-12
    assert ours.evaluations <= 1.5 * theirs.nfev


def test_each_step_fulfils_the_wolfe_conditions(put):
    seen = []

    def watched(parameters):
        value, slope = numpy_rosenbrock(nn.to_numpy(parameters["w"]))
        seen.append((nn.to_numpy(parameters["w"]), value, slope))
        return put(np.float64(value)), {"w": put(slope)}

    taken = []
    LBFGS(max_iterations=15).minimize(watched, {"w": put([-1.2, 1.0])}, lambda number, f: taken.append(f))
    assert len(taken) == 15
    points = [next(p for p in seen if p[1] == value) for value in [seen[0][1], *taken]]
    for (w, f, g), (new_w, new_f, new_g) in itertools.pairwise(points):
        step = new_w - w
        assert new_f <= f + 1e-4 * g @ step + 1e-12
        assert abs(new_g @ step) <= 0.9 * abs(g @ step) + 1e-12


def test_steps_into_what_is_not_finite_are_shortened(put):
    def barrier(w):
        with np.errstate(invalid="ignore", divide="ignore"):
            return (w - np.log(w)).sum(), 1.0 - 1.0 / w

    found = LBFGS(50.0).minimize(on_host(put, barrier), {"w": put([0.05, 8.0])})
    np.testing.assert_allclose(nn.to_numpy(found.parameters["w"]), [1.0, 1.0], rtol=1e-6)


def test_limits_end_a_search(put):
    few = LBFGS(max_iterations=3).minimize(on_host(put, numpy_rosenbrock), {"w": put([-1.2, 1.0])})
    assert (few.iterations, few.converged, few.message) == (3, False, "3 steps were taken")
    seldom = LBFGS(max_evaluations=4).minimize(on_host(put, numpy_rosenbrock), {"w": put([-1.2, 1.0])})
    assert not seldom.converged
    assert "was computed" in seldom.message


def test_a_minimum_at_the_start_is_left_alone(put):
    found = LBFGS().minimize(on_host(put, lambda w: ((w**2).sum(), 2 * w)), {"w": put([0.0, 0.0])})
    assert (found.iterations, found.evaluations, found.converged) == (0, 1, True)


def test_a_function_without_a_minimum_does_not_hang(put):
    found = LBFGS(max_iterations=20).minimize(
        on_host(put, lambda w: (w.sum(), np.ones_like(w))), {"w": put([0.0])}
    )
    assert not found.converged


def test_a_model_is_trained_on_all_samples_at_once(backend):
    random = np.random.default_rng(0)
    x = random.normal(size=(40, 3))
    y = x @ [[1.0], [2.0], [-1.0]] + 0.3 + 0.1 * random.normal(size=(40, 1))
    model = nn.Sequential([nn.Dense(1)], backend=backend, seed=0, dtype="float64")
    model.compile(loss="mse")
    found = model.minimize(x, y, LBFGS(gradient_tolerance=1e-9))
    best = np.linalg.lstsq(np.c_[x, np.ones(40)], y, rcond=None)[0]
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(np.r_[kernel, bias[None]], best, rtol=1e-8)
    assert found.converged
    assert model.evaluate(x, y)["loss"] == pytest.approx(found.value, rel=1e-12)


def test_frozen_layers_stay_and_dropout_holds_still(backend):
    x = np.random.default_rng(0).normal(size=(30, 3))
    model = nn.Sequential([nn.Dense(4, "tanh"), nn.Dropout(0.3), nn.Dense(1)], backend=backend, seed=0)
    model.compile(loss="mse")
    model.build((3,))
    model.layers[0].trainable = False
    before = model.layers[0].kernel.numpy()
    found = model.minimize(x, x[:, :1], LBFGS(max_iterations=10))
    np.testing.assert_array_equal(model.layers[0].kernel.numpy(), before)
    assert found.iterations > 1
    assert set(found.parameters) == {path for path in model.handles() if path.startswith("dense_1")}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda put: LBFGS(0.0), ValueError, "expects learning_rate above zero"),
        (lambda put: LBFGS(gradient_tolerance=-1.0), ValueError, "gradient_tolerance of zero or more"),
        (lambda put: LBFGS(line_search="strong-wolfe"), ValueError, "Did you mean 'strong_wolfe'"),
        (lambda put: LBFGS().minimize(None, {}), ValueError, "nothing to change"),
        (
            lambda put: LBFGS().minimize(None, [put([1.0], "float32"), put([1.0], "float64")]),
            ValueError,
            "parameters of one dtype",
        ),
        (
            lambda put: LBFGS().minimize(on_host(put, lambda w: (np.nan, w)), {"w": put([1.0])}),
            ValueError,
            "a finite value",
        ),
        (
            lambda put: nn.Sequential([nn.Dense(1)]).compile(LBFGS(), "mse"),
            TypeError,
            r"call model.minimize\(x, y, LBFGS\(\)\)",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(put, make, error, message):
    with pytest.raises(error, match=message):
        make(put)
