"""The tape: what wires rules together, whatever the rules are."""

import gc
import operator
import weakref
from typing import NamedTuple

import numpy as np
import pytest

import nnbackend as nn
from nnbackend import functional as fn
from nnbackend.autodiff import maker_of, metering, watch
from nnbackend.backend import namespace


def close(found, expected):
    np.testing.assert_allclose(nn.to_numpy(found), expected, rtol=1e-12)


def cube(x):
    return fn.sum(x * x * x)


class Pair(NamedTuple):
    first: object
    second: object


def test_a_tensor_used_several_times_adds_its_gradients_up(put):
    x = put([2.0, 3.0])
    close(nn.grad(lambda x: fn.sum(x * x + x + 3.0 * x))(x), [8.0, 10.0])


def test_branches_and_skips(put):
    def f(x):
        h = fn.tanh(x)
        left, right = fn.exp(h), fn.square(h)
        return fn.sum((left + right) * h + x)

    nn.gradcheck(f, put([0.3, -0.7]))


def test_shared_weights(put, rng):
    w, x, product = put(rng.normal(size=(3, 3))), put(rng.normal(size=(2, 3))), fn.matmul
    nn.gradcheck(lambda w: fn.sum(product(fn.tanh(product(fn.tanh(product(x, w)), w)), w)), w)


def test_a_deep_graph_does_not_exhaust_the_stack(put):
    def f(x):
        y = x
        for _ in range(5000):
            y = y + 0.0
        return fn.sum(y)

    close(nn.grad(f)(put([1.0])), [1.0])


def test_trees_go_in_and_gradients_of_the_same_structure_come_out(put):
    tree = {"w": [put([1.0]), put([2.0])], "pair": Pair(put([3.0]), None), "t": (put([4.0]),)}

    def f(tree):
        return fn.sum(tree["w"][0] * tree["w"][1] + tree["pair"].first * tree["t"][0])

    value, gradient = nn.value_and_grad(f)(tree)
    assert float(nn.to_numpy(value)) == 14.0
    assert isinstance(gradient["pair"], Pair)
    assert gradient["pair"].second is None
    close(gradient["w"][0], [2.0])
    close(gradient["pair"].first, [4.0])
    close(gradient["t"][0], [3.0])


def test_argnums_choose_the_arguments(put):
    a, b = put([2.0]), put([5.0])
    f = lambda a, b: fn.sum(fn.multiply(a, fn.square(b)))  # noqa: E731
    close(nn.grad(f, argnums=1)(a, b), [20.0])
    close(nn.grad(f, argnums=-1)(a, b), [20.0])
    both = nn.grad(f, argnums=(1, 0))(a, b)
    close(both[0], [20.0])
    close(both[1], [25.0])


def test_auxiliary_results_pass_through_without_a_gradient(put):
    def f(x):
        hidden = 2.0 * x
        return fn.sum(hidden), {"hidden": hidden, "name": "h"}

    (value, auxiliary), gradient = nn.value_and_grad(f, has_aux=True)(put([1.0]))
    assert not isinstance(value, nn.Tensor)
    assert not isinstance(auxiliary["hidden"], nn.Tensor)
    close(auxiliary["hidden"], [2.0])
    assert auxiliary["name"] == "h"
    close(gradient, [2.0])
    gradient, auxiliary = nn.grad(f, has_aux=True)(put([1.0]))
    close(auxiliary["hidden"], [2.0])


def test_auxiliary_results_must_be_a_pair(put):
    with pytest.raises(TypeError, match=r"must return a pair \(value, auxiliary\)"):
        nn.grad(lambda x: fn.sum(x), has_aux=True)(put([1.0]))


def test_what_does_not_depend_on_an_argument_has_gradient_zero(put, backend):
    gradients = nn.grad(lambda a, b: fn.sum(b), argnums=(0, 1))(put([1.0, 2.0], "float32"), put([1.0]))
    close(gradients[0], [0.0, 0.0])
    assert gradients[0].dtype == backend.xp.float32
    close(nn.grad(lambda x: fn.sum(nn.Tensor(put([1.0]))))(put([7.0])), [0.0])


def test_no_grad_makes_constants(put):
    def f(x):
        with nn.no_grad():
            weight = x * x
            assert isinstance(weight, nn.Tensor)
        return fn.sum(weight * x)

    close(nn.grad(f)(put([3.0])), [9.0])


def test_a_gradient_inside_no_grad_is_a_gradient(put):
    with nn.no_grad():
        close(nn.grad(cube)(put([2.0])), [12.0])


def test_a_gradient_inside_no_grad_inside_a_gradient_is_a_constant(put):
    def f(x):
        with nn.no_grad():
            slope = nn.grad(cube)(x)
        return fn.sum(slope * x)

    close(nn.grad(f)(put([2.0])), [12.0])


def test_detach_cuts(put):
    close(nn.grad(lambda x: fn.sum(x.detach() * x))(put([3.0])), [3.0])


def test_detach_cuts_at_every_level(put):
    def f(x):
        return fn.sum(nn.grad(lambda z: fn.sum(z.detach() * z))(x))

    close(nn.grad(f)(put([1.0, 2.0, 3.0])), [0.0, 0.0, 0.0])


def test_gradients_nest_three_times(put):
    def derivative(f):
        return lambda x: fn.sum(nn.grad(f)(x))

    x = put([1.5])
    quartic = lambda x: fn.sum(x**4)  # noqa: E731
    close(nn.grad(quartic)(x), [4 * 1.5**3])
    close(nn.grad(derivative(quartic))(x), [12 * 1.5**2])
    close(nn.grad(derivative(derivative(quartic)))(x), [24 * 1.5])


def test_inner_gradients_see_outer_variables(put):
    def f(a):
        inner = nn.grad(lambda x: fn.sum(a * a * x * x))(put([3.0]))  # 2 a^2 x
        return fn.sum(inner * a)  # 6 a^3

    close(nn.grad(f)(put([2.0])), [72.0])


def test_inner_gradients_do_not_confuse_levels(put):
    """d/dx x * d/dy (x + y) = 1, not 2."""
    f = lambda x: fn.sum(x * nn.grad(lambda y: fn.sum(x + y))(put([1.0])))  # noqa: E731
    close(nn.grad(f)(put([5.0])), [1.0])


def test_mixed_second_derivatives_commute(put, rng):
    a, b = put(rng.normal(size=3)), put(rng.normal(size=3))
    f = lambda a, b: fn.sum(fn.tanh(a * b) * fn.exp(a))  # noqa: E731
    one = nn.grad(lambda b: fn.sum(nn.grad(f)(a, b)))(b)
    other = nn.grad(lambda a: fn.sum(nn.grad(f, argnums=1)(a, b)))(a)
    close(one, nn.to_numpy(other))


def test_a_second_pull_through_a_freed_tape_is_refused(put):
    value, pullback = nn.vjp(fn.exp, put([1.0]))
    pullback(value)
    with pytest.raises(nn.GradientError, match="called before: its tape is freed"):
        pullback(value)


def test_a_tensor_that_outlived_its_gradient_is_refused(put):
    kept = []
    nn.grad(lambda x: (kept.append(2.0 * x), fn.sum(x))[1])(put([1.0]))
    with pytest.raises(
        nn.GradientError, match=r"gradient computation that has ended. Keep tensor.detach\(\)"
    ):
        kept[0] + 1.0


def test_integer_arguments_have_no_gradient(put):
    _, pullback = nn.vjp(lambda x, i: fn.take(x, i, axis=0), put([1.0, 2.0]), put([1, 1]))
    gradients = pullback(put([1.0, 1.0]))
    close(gradients[0], [0.0, 2.0])
    assert gradients[1] is None
    with pytest.raises(TypeError, match=r"with respect to floating arrays, got .*int64.* in argument 0"):
        nn.grad(lambda i: fn.sum(i))(put([1, 2]))


def test_what_is_no_scalar_has_no_gradient(put):
    with pytest.raises(TypeError, match=r"0-d array; the function returned shape \(2,\)"):
        nn.grad(fn.exp)(put([1.0, 2.0]))
    with pytest.raises(TypeError, match="the function returned float"):
        nn.grad(lambda x: 1.0)(put([1.0]))


def test_argnums_beyond_the_arguments_are_refused(put):
    with pytest.raises(TypeError, match="names argument 1, but the call has 1"):
        nn.grad(fn.exp, argnums=1)(put([1.0]))


def test_argnums_may_not_name_an_argument_twice(put):
    with pytest.raises(TypeError, match=r"argnums \(0, -1\) names argument 0 twice. Name each argument once"):
        nn.grad(fn.sum, argnums=(0, -1))(put([1.0]))


def test_complex_numbers_are_refused(put, backend):
    with pytest.raises(nn.GradientError, match=r"astype gives .*complex64 while it is being differentiated"):
        nn.grad(lambda x: fn.sum(fn.astype(fn.astype(x, "complex64"), "float32")))(put([1.0]))
    z = backend.from_host([1.0 + 2.0j])
    with pytest.raises(TypeError, match=r"real floating arrays, got one of .*complex128. Pass its real and"):
        nn.vjp(lambda z: z, z)


@pytest.mark.parametrize(
    ("cotangents", "error", "wording"),
    [
        (lambda put: {"y": put([1.0, 1.0])}, ValueError, "expected a dict of 'y', 'z', got a dict of 'y'"),
        (
            lambda put: {"y": put([1.0]), "z": put(1.0)},
            ValueError,
            r"gradient of output 0 .* is to have the output's shape \(2,\), got \(1,\). Broadcast or reshape",
        ),
        (
            lambda put: {"y": put([1.0, 1.0], "float32"), "z": put(1.0)},
            TypeError,
            "output's dtype .*float64, got .*float32. Cast it with astype",
        ),
        (
            lambda put: {"y": put([1.0, 1.0]), "z": 1.0},
            TypeError,
            r"gradient of output 1 .* is to be an array of shape \(\), got float. Make an array",
        ),
        (
            lambda put: {"y": put([1.0, 1.0]), "z": None},
            ValueError,
            "each of the 2 arrays of the value, got 1",
        ),
    ],
)
def test_a_pullback_takes_gradients_like_the_value(cotangents, error, wording, put):
    _, pullback = nn.vjp(lambda x: {"y": 2.0 * x, "z": fn.sum(x)}, put([1.0, 2.0]))
    with pytest.raises(error, match=wording):
        pullback(cotangents(put))
    close(pullback({"z": put(1.0), "y": put([1.0, 1.0])})[0], [3.0, 3.0])  # a refusal costs nothing


@pytest.mark.parametrize(
    "f",
    [
        lambda a, b: fn.sum((a + b) * 2.0),
        lambda a, b: fn.sum(a) + fn.sum(b),
        lambda a, b: fn.mean(a + fn.reshape(fn.reshape(b, (1, 2)), (2,))),
        lambda a, b: fn.sum(fn.concat([a, b])),
        lambda a, b: a[0] + fn.squeeze(b[1:], axis=0),
    ],
)
def test_gradients_are_arrays_of_their_own(f, backend):
    if not backend.writable:
        pytest.skip("arrays that cannot be written to may share their memory")
    a, b = backend.from_host([1.0, 2.0]), backend.from_host([3.0, 4.0])
    first, second = nn.grad(f, argnums=(0, 1))(a, b)
    kept = nn.to_numpy(second)
    first[...] = 7.0
    close(second, kept)
    second[0] = 5.0
    close(second, [5.0, kept[1]])
    close(first, [7.0, 7.0])


def test_gradients_do_not_share_the_memory_of_what_came_in(backend):
    if not backend.writable:
        pytest.skip("arrays that cannot be written to may share their memory")
    x, dy = backend.from_host([[1.0, 2.0]]), backend.from_host([[3.0, 4.0]])
    for f in (lambda x: x, lambda x: fn.reshape(fn.positive(x), (2,)), lambda x: x.T):
        value, pullback = nn.vjp(f, x)
        cotangent = backend.xp.reshape(dy, tuple(value.shape))
        (gradient,) = pullback(cotangent)
        gradient[...] = 9.0
        close(cotangent, np.reshape([3.0, 4.0], value.shape))
        close(x, [[1.0, 2.0]])


def test_a_gradient_that_nothing_shares_is_not_copied(backend):
    made = []

    @nn.differentiable
    def watched(x):
        def backward(dy, needs):
            made.append(2.0 * dy)
            return (made[-1],)

        return 2.0 * x, backward

    gradient = nn.grad(lambda x: fn.sum(watched(x)))(backend.from_host([1.0, 2.0]))
    assert gradient is made[0]


@pytest.mark.parametrize("nested", [False, True])
def test_a_gradient_leaves_nothing_to_the_garbage_collector(nested, put):
    def f(tree):
        h = fn.softmax(tree["w"] @ tree["w"]) + tree["b"]
        return fn.sum(fn.concat([h, fn.relu(h)])), {"h": h}

    def run():
        gradient_of = nn.value_and_grad(f, has_aux=True)
        if nested:
            nn.grad(lambda b: fn.sum(gradient_of({"w": w, "b": b})[1]["w"]))(b)
        else:
            gradient_of({"w": w, "b": b})
            nn.vjp(f, {"w": w, "b": b}, has_aux=True)

    w, b = put([[1.0, 2.0], [3.0, 4.0]]), put([0.5, 0.5])
    run()  # what is made once, at first use, is left alone
    gc.collect()
    gc.disable()
    try:
        run()
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_reference_is_not_changed_in_place():
    class Handle(nn.autodiff.Reference):
        __slots__ = ()

    handle = Handle()
    with pytest.raises(
        TypeError, match=r"A Handle is not changed by .* \+=.*self.w.assign\(self.w \+ change\)"
    ):
        handle += 1.0
    with pytest.raises(TypeError, match="not changed by an operator in place"):
        handle **= 2


def test_a_gradient_needs_an_array():
    with pytest.raises(TypeError, match="at least one array to be taken with respect to, got an empty tree"):
        nn.vjp(lambda x: x, {})
    with pytest.raises(TypeError, match="floating arrays, got float in argument 0"):
        nn.grad(lambda x: x)(2.0)


def test_a_float_of_a_tracked_tensor_is_refused_and_of_a_constant_is_not(put):
    def f(x):
        assert float(fn.sum(x.detach())) == 3.0
        assert bool(x.detach()[0] == 1.0)
        return fn.sum(x) * float(fn.sum(x))

    with pytest.raises(
        TypeError, match=r"float\(\) of a tensor that is being differentiated.*float\(x.detach\(\)\)"
    ):
        nn.grad(f)(put([1.0, 2.0]))


def test_no_silent_conversion_to_an_array(put):
    with pytest.raises(TypeError, match="not converted to an array on its own"):
        np.asarray(nn.Tensor(put([1.0])))


def test_a_tensor_holds_an_array():
    with pytest.raises(TypeError, match="Tensor expects an array, got list"):
        nn.Tensor([1.0])


def test_arrays_of_two_libraries_are_refused(put, backend):
    if backend.name == "numpy":
        other = pytest.importorskip("array_api_strict").asarray([1.0])
    else:
        other = np.asarray([1.0])
    for function in (fn.add, fn.greater):
        with pytest.raises(TypeError, match="got arrays of two libraries"):
            function(put([1.0]), other)
    with pytest.raises(TypeError, match="add got arrays of two libraries"):
        nn.grad(lambda x: fn.sum(fn.add(x, other)))(put([1.0]))


def test_a_rule_needs_an_array():
    with pytest.raises(TypeError, match="exp expects at least one array, got float"):
        fn.exp(1.0)


def test_arguments_are_bound_by_position_and_by_name(put):
    x = put([[1.0, 2.0]])
    assert tuple(fn.reshape(x, (2, 1)).shape) == tuple(fn.reshape(x, shape=(2, 1)).shape) == (2, 1)
    close(fn.dense(x, kernel=put([[1.0], [1.0]])), [[3.0]])
    with pytest.raises(TypeError, match="dense is missing the argument 'kernel'"):
        fn.dense(x)
    with pytest.raises(TypeError, match=r"exp takes 1 array arguments \(x\) and 0 static ones, got 2"):
        fn.exp(x, x)
    with pytest.raises(TypeError, match="reshape got the argument 'shape' twice"):
        fn.reshape(x, (2, 1), shape=(2, 1))


@nn.differentiable
def two_gradients_for_one(x):
    return 2.0 * x, lambda dy, needs: (dy, dy)


@nn.differentiable
def forgetful(x):
    return 2.0 * x, lambda dy, needs: (None,)


@nn.differentiable
def wrong(x):
    return x * x, lambda dy, needs: (dy * x,)


@nn.differentiable
def misshapen(x):
    return x * x, lambda dy, needs: (namespace(dy).sum(dy),)


@nn.differentiable
def divided(x, *, by):
    """Quotient and sign; the second output has no gradient."""
    xp = namespace(x)
    return (x / by, xp.astype(x > 0, xp.int64)), lambda dy, needs: (dy[0] / by,)


@nn.differentiable
def both_ways(x):
    xp = namespace(x)
    s, c = xp.sin(x), xp.cos(x)
    return (s, c), lambda dy, needs: (dy[0] * c - dy[1] * s,)


def test_a_backward_must_answer_once_for_each_argument(put):
    with pytest.raises(nn.GradientError, match="two_gradients_for_one answered with 2 gradients for its 1"):
        nn.grad(lambda x: fn.sum(two_gradients_for_one(x)))(put([1.0]))


def test_a_backward_may_not_answer_none_where_a_gradient_is_needed(put):
    with pytest.raises(
        nn.GradientError, match="forgetful answered None for an argument whose gradient is needed"
    ):
        nn.grad(lambda x: fn.sum(forgetful(x)))(put([1.0]))


def test_rules_of_several_outputs(put):
    x = put([0.3, -0.4])
    nn.gradcheck(both_ways, x)
    nn.gradcheck(lambda x: both_ways(x)[1], x)  # the other output's gradient is zero
    nn.gradcheck(nn.grad(lambda x: fn.sum(both_ways(x)[0] ** 2)), x)
    quotient, sign = divided(x, by=2.0)
    assert not isinstance(quotient, nn.Tensor)
    nn.gradcheck(lambda x: divided(x, by=2.0)[0], x)
    close(sign, [1, 0])


def test_several_outputs_get_zeros_in_a_nested_gradient_too(put):
    def f(x):
        return fn.sum(nn.grad(lambda y: fn.sum(both_ways(y * x)[0]))(x))

    nn.gradcheck(f, put([0.3, -0.4]))


def test_gradcheck_finds_a_wrong_derivative(put):
    with pytest.raises(
        nn.GradientError, match=r"wrong: the gradient of argument 0 is .* central differences give"
    ):
        nn.gradcheck(wrong, put([1.0, 2.0]))
    with pytest.raises(
        nn.GradientError,
        match=r"The backward of misshapen answered a gradient of shape \(\) for an argument of shape \(2,\)",
    ):
        nn.gradcheck(misshapen, put([1.0, 2.0]))


def test_gradcheck_wants_float64(put):
    with pytest.raises(TypeError, match=r"compares in float64, got an argument of .*float32"):
        nn.gradcheck(fn.exp, put([1.0], "float32"))
    with pytest.raises(TypeError, match="needs at least one floating array"):
        nn.gradcheck(fn.exp, put([1]))


def test_gradcheck_takes_trees_and_static_arguments(put):
    nn.gradcheck(lambda tree, *, power: {"y": tree["x"] ** power}, {"x": put([1.5])}, power=3)


def test_gradients_that_nobody_needs_are_not_asked_for(put):
    asked = []

    @nn.differentiable
    def product(a, b):
        def backward(dy, needs):
            asked.append(needs)
            return tuple(dy * other if need else None for other, need in zip((b, a), needs, strict=True))

        return a * b, backward

    nn.grad(lambda a: fn.sum(product(a, put([2.0]))))(put([1.0]))
    assert asked == [(True, False)]


def test_what_no_gradient_reaches_is_not_pulled_back(put):
    called = []

    @nn.differentiable
    def watched(x):
        return 2.0 * x, lambda dy, needs: called.append("back") or (2.0 * dy,)

    nn.grad(lambda x: (watched(x), fn.sum(x))[1])(put([1.0]))
    assert called == []


def test_the_tape_frees_what_it_no_longer_needs_during_backward(put):
    alive = []

    class Payload:
        """Stands for the arrays that a backward keeps."""

    @nn.differentiable
    def holder(x):
        payload = Payload()
        reference = weakref.ref(payload)

        def backward(dy, needs):
            alive.append([r() is not None for r in references])
            return (dy + 0.0 * bool(payload),)

        references.append(reference)
        return x + 0.0, backward

    references = []
    gc.disable()  # freed by reference counts alone, at once
    try:
        nn.grad(lambda x: fn.sum(holder(holder(holder(x)))))(put([1.0]))
        assert alive == [[True, True, True], [True, True, False], [True, False, False]]
        assert [r() is None for r in references] == [True, True, True]
    finally:
        gc.enable()


def test_a_function_that_fails_leaves_recording_as_it_was(put):
    def fails(x):
        raise RuntimeError("on purpose")

    with nn.no_grad(), pytest.raises(RuntimeError, match="on purpose"):
        nn.grad(fails)(put([1.0]))
    close(nn.grad(cube)(put([1.0])), [3.0])


def test_shape_length_and_iteration_of_tensors(put):
    t = nn.Tensor(put([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    assert (t.shape, t.ndim, t.size, len(t)) == ((3, 2), 2, 6, 3)
    assert tuple(t.T.shape) == tuple(t.mT.shape) == (2, 3)
    assert [float(fn.sum(row)) for row in t] == [3.0, 7.0, 11.0]
    assert "Tensor(" in repr(t)
    with pytest.raises(TypeError, match="len"):
        len(nn.Tensor(put(1.0)))


def test_transposes_are_differentiated(put, rng):
    nn.gradcheck(
        lambda x: (x.T if isinstance(x, nn.Tensor) else nn.Tensor(x).T) @ x, put(rng.normal(size=(3, 2)))
    )


def test_a_compiled_step_differentiates(put, backend):
    step = backend.compile(lambda state, batch: (state, nn.value_and_grad(cube)(batch)))
    _, (value, gradient) = step((), put([1.0, 2.0]))
    assert float(nn.to_numpy(value)) == 9.0
    close(gradient, [3.0, 12.0])


def test_a_rule_without_a_backward_is_refused_by_name(put):
    @nn.differentiable
    def forgetful(x):
        return x * x

    for argument in (put([1.0, 2.0]), nn.Tensor(put([1.0, 2.0]))):
        with pytest.raises(TypeError, match="The rule forgetful must return its value and its backward"):
            forgetful(argument)


def test_a_gradient_of_the_wrong_shape_is_refused_by_name(put):
    with pytest.raises(
        nn.GradientError, match=r"The backward of misshapen answered a gradient of shape \(\)"
    ):
        nn.grad(lambda x: fn.sum(misshapen(x)))(put([1.0, 2.0]))


def test_watching_hears_the_whole_gradient_and_changes_nothing(put):
    heard = []

    def f(x, watching):
        y = fn.tanh(x)
        if watching:
            watch(y, lambda gradient: heard.append(nn.to_numpy(gradient)))
        return fn.sum(y * y + 3.0 * y)  # two paths lead to y

    x = put([0.5, -1.0])
    plain = nn.grad(lambda x: f(x, False))(x)
    watched = nn.grad(lambda x: f(x, True))(x)
    assert np.array_equal(nn.to_numpy(plain), nn.to_numpy(watched))
    assert len(heard) == 1
    np.testing.assert_allclose(heard[0], 2.0 * np.tanh([0.5, -1.0]) + 3.0, rtol=1e-12)


def test_watching_one_of_several_results_hears_its_own_gradient(put):
    heard = []

    def f(x):
        first, second = fn.unstack(x, axis=0)
        watch(second, lambda gradient: heard.append(nn.to_numpy(gradient)))
        return fn.sum(first) + fn.sum(5.0 * second)

    nn.grad(f)(put([[1.0, 2.0], [3.0, 4.0]]))
    assert [gradient.tolist() for gradient in heard] == [[5.0, 5.0]]


def test_watching_hears_nothing_where_no_gradient_arrives(put):
    heard = []

    def f(x):
        watch(fn.exp(x), heard.append)  # leads nowhere
        watch(x.detach(), heard.append)
        return fn.sum(x * x)

    nn.grad(f)(put([1.0]))
    assert heard == []


def test_a_tensor_tells_the_rule_that_made_it(put):
    made = []

    def f(x):
        made.extend([maker_of(x), maker_of(fn.tanh(x)), maker_of(x.detach())])
        return fn.sum(x)

    nn.grad(f)(put([1.0]))
    assert made == [None, "tanh", None]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (
            np.exp,
            r"NumPy's exp does not take a Tensor, .*nn.functional.exp, or .* xp = x.__array_namespace__\(\)",
        ),
        (np.sum, r"NumPy's add.reduce does not take a Tensor, .*Use nn.functional, or"),
        (np.cbrt, r"NumPy's cbrt does not take a Tensor, .*Use nn.functional, or"),
        (np.mean, "not converted to an array on its own"),
        (lambda x: np.add(np.ones(2), x, out=np.ones(2)), r"a = a \+ x in place of a \+= x"),
    ],
)
def test_numpys_functions_refuse_tensors_and_name_ours(call, match):
    with pytest.raises(TypeError, match=match):
        nn.grad(lambda x: nn.functional.sum(call(x)))(np.asarray([1.0, 2.0]))


@pytest.mark.parametrize("name", "add sub mul truediv floordiv mod pow matmul lt le eq ne gt ge".split())
def test_numpys_operators_with_an_array_on_the_left_are_the_rules(name):
    left, right = np.asarray([1.5, 2.0]), np.asarray([2.0, 2.0])
    apply = getattr(operator, name)
    result = apply(left, nn.Tensor(right))
    assert isinstance(result, nn.Tensor)
    np.testing.assert_array_equal(result.value, apply(left, right))


def test_a_meter_runs_each_rule_and_may_stand_around_its_backward(put):
    heard = []

    def meter(run, arguments):
        value, backward = run()
        heard.append(("forward", tuple(argument.shape for argument in arguments)))

        def measured(dy, needs):
            heard.append(("backward", tuple(dy.shape)))
            return backward(dy, needs)

        return value, measured

    def f(x):
        return fn.sum(fn.exp(x))

    x = put([1.0, 2.0], "float32")
    with metering(meter):
        inside = nn.grad(f)(x)
    outside = nn.grad(f)(x)
    assert heard == [("forward", ((2,),)), ("forward", ((2,),)), ("backward", ()), ("backward", (2,))]
    np.testing.assert_array_equal(nn.to_numpy(inside), nn.to_numpy(outside))
