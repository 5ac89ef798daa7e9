"""What functions take is found as `inspect.signature` finds it, whatever they are."""

import functools
import inspect

import numpy as np
import pytest

import nnbackend as nn
from nnbackend.arguments import parameters_of


def plain(a, b=1, /, c=2, *more, d, e=3, **others): ...
def nothing(): ...
def only_more(*more): ...
def only_others(**others): ...


@functools.wraps(plain)
def wrapped(*arguments, **options): ...


@functools.wraps(wrapped)
def wrapped_twice(*arguments, **options): ...


def says(*arguments): ...


says.__signature__ = inspect.signature(plain)


@functools.wraps(says)
def wraps_one_that_says(*arguments): ...


class Owner:
    def method(self, x, *, y=1): ...
    @functools.wraps(method)
    def wrapped_method(self, *arguments, **options): ...
    @classmethod
    def of_class(cls, x): ...
    @staticmethod
    def static(x, y=2): ...
    def __call__(self, x, *more): ...
    def _run(self, x, *, factor, training=False): ...

    partial_method = functools.partialmethod(_run, factor=3.0)


FUNCTIONS = [
    plain,
    nothing,
    only_more,
    only_others,
    wrapped,
    wrapped_twice,
    says,
    wraps_one_that_says,
    Owner,
    Owner(),
    Owner.method,
    Owner().method,
    Owner.wrapped_method,
    Owner().wrapped_method,
    Owner.of_class,
    Owner.static,
    Owner.partial_method,
    Owner().partial_method,
    functools.partial(plain, 1, d=4),
    functools.lru_cache(plain),
    lambda x, *y: x,
    nn.functional.conv,
    nn.Dense,
    nn.Dense.__init__,
    nn.Dense.build,
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: getattr(f, "__qualname__", type(f).__name__))
def test_parameters_are_those_of_the_signature(function):
    known = inspect.signature(function).parameters.values()
    takes = parameters_of(function)
    assert takes.names == [p.name for p in known]
    assert takes.positional == {p.name: p.default for p in known if p.kind in (0, 1)}
    assert list(takes.more) == [p.name for p in known if p.kind is p.VAR_POSITIONAL]
    assert takes.named == {p.name: p.default for p in known if p.kind is p.KEYWORD_ONLY}
    assert list(takes.others) == [p.name for p in known if p.kind is p.VAR_KEYWORD]


def test_what_is_not_callable_is_refused():
    with pytest.raises(TypeError, match="not a callable"):
        parameters_of(3)


def test_what_wraps_itself_is_refused():
    def circle(): ...

    circle.__wrapped__ = circle
    with pytest.raises(ValueError, match="wrapper loop"):
        parameters_of(circle)


def test_a_layer_may_have_a_partial_method_for_its_forward():
    class Scaled(nn.Layer):
        def _run(self, x, *, factor, training=False):
            return x * (factor if training else 1.0)

        forward = functools.partialmethod(_run, factor=3.0)

    x = np.ones((2, 2))
    assert float(Scaled()(x, training=True)[0, 0]) == 3.0
    assert float(Scaled()(x, training=False)[0, 0]) == 1.0


def test_a_layer_may_have_a_base_with_an_odd_init():
    class Mixin:
        def _make(self, *, name=None, size=1): ...

        __init__ = functools.partialmethod(_make, size=2)

    class NotMade:
        __init__ = None

    class Unmade(nn.Layer, NotMade):
        def forward(self, x):
            return x

    class Mixed(nn.Layer, Mixin):
        def forward(self, x):
            return x

    class Listed(nn.Layer, list):
        def forward(self, x):
            return x

    assert {"size", "name"} <= Mixed._configured
    assert "name" in Listed._configured
    assert "name" in Unmade._configured


def test_masks_go_by_the_places_of_their_inputs():
    class Takes(nn.Layer):
        def forward(self, x, *more, value=None, value_mask=None, more_mask=None):
            return x

    assert Takes._mask_arguments == {"more_mask": 1, "value_mask": 2}


def test_a_rule_may_be_a_method_that_is_wrapped():
    class Rules:
        def rule(self, a, b):
            return a * b, lambda dy, needs: (dy * b, dy * a)

        @functools.wraps(rule)
        def logged(self, *arguments):
            return self.rule(*arguments)

    product = nn.differentiable(Rules().logged)
    assert float(nn.grad(lambda x: product(x, x))(np.asarray(3.0))) == 6.0
