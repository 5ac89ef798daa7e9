"""The error function and its complement, written once for every array library, accurate to a few units everywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import namespace
from nnbackend.elementwise import elementwise
from nnbackend.typing import Array, Backward

__all__ = ["erf", "erfc"]

#: Polynomials, from the constant on. `_TAIL` gives q in (1 + 2a) exp(a^2) erfc(a) = 1 + (1 + t) q(t) for a from 0 to
#: infinity, with t = (a - k) / (a + k) and k = 3.75, the variable of Shepherd and Laframboise; `_CENTRE` gives
#: erf(a) / a in a^2 for a from 0 to 1. They are Chebyshev interpolants computed with 50 digits, for single precision
#: shorter ones: of relative error 2e-17 and 3e-8 in the tail, 7e-18 and 2e-9 in the centre.
_TAIL = (
    0.2375126308378276,
    -0.37775322942337447,
    0.38133864490883945,
    -0.299061906418698,
    0.19025797627692506,
    -0.09795365511644935,
    0.03926025652726195,
    -0.010897979109484429,
    0.0011513995471219751,
    0.0006042263136325654,
    -0.0003105126233902508,
    2.0358510840847573e-05,
    3.129049915894401e-05,
    -8.906176289162434e-06,
    -2.5377589500280127e-06,
    1.564055542378069e-06,
    1.872480254967044e-07,
    -2.4430586154991615e-07,
    -1.4013279886896224e-08,
    3.716423101679934e-08,
    1.2794185869069422e-09,
    -4.9786056362865576e-09,
    -1.0712376305196166e-10,
    4.104370087008405e-10,
)
_TAIL_SINGLE = (
    0.23751261905074308,
    -0.3777532186172447,
    0.38133949985911036,
    -0.29906225497333533,
    0.19024789804155637,
    -0.09795054790315816,
    0.03930393215925118,
    -0.010909721045625464,
    0.0010649484812200348,
    0.0006260049872626389,
    -0.0002295862923810848,
)
_CENTRE = (
    1.1283791670955126,
    -0.37612638903183543,
    0.1128379167094513,
    -0.026866170643256995,
    0.005223977607269946,
    -0.0008548325982543225,
    0.00012055295112667001,
    -1.4924740785377576e-05,
    1.6447471190594618e-06,
    -1.6208829856810202e-07,
    1.3721520406351094e-08,
    -7.798543850549947e-10,
)
_CENTRE_SINGLE = (
    1.1283791658815026,
    -0.3761262690358044,
    0.11283597463488053,
    -0.026854328796067244,
    0.005189311942686617,
    -0.0008018854992786387,
    7.882497110086663e-05,
)
_K = 3.75
_SLOPE = 2.0 / math.sqrt(math.pi)


def is_single(x: Array) -> bool:
    """Tell whether the shorter polynomials do: for every dtype but float64."""
    return "float64" not in str(x.dtype)


def _polynomial(coefficients: Sequence[float], x: Any) -> Any:
    *rest, total = coefficients
    for coefficient in reversed(rest):
        total = total * x + coefficient
    return total


def _upper(a: Any, single: bool) -> Any:
    """Return erfc(a) for a >= 0."""
    xp = namespace(a)
    a = xp.minimum(a, 30.0)  # from there on it is zero in every dtype
    u = 2.0 * a / (a + _K)
    scaled = 1.0 + u * _polynomial(_TAIL_SINGLE if single else _TAIL, u - 1.0)
    near = 0.0625 * xp.trunc(16.0 * a)  # its square is exact, so that exp(-a^2) keeps its digits
    # the exponentials must not stand side by side: XLA makes one of their product
    return xp.exp(-(near * near)) * (scaled / (1.0 + 2.0 * a)) * xp.exp((near - a) * (near + a))


@elementwise
def _erf(x: Array, *, single: bool) -> Any:
    xp = namespace(x)
    a = xp.abs(x)
    inner = xp.minimum(a, 1.0)
    centre = inner * _polynomial(_CENTRE_SINGLE if single else _CENTRE, inner * inner)
    return xp.copysign(xp.where(a < 1.0, centre, 1.0 - _upper(a, single)), x)


@elementwise
def _erfc(x: Array, *, single: bool) -> Any:
    xp = namespace(x)
    upper = _upper(xp.abs(x), single)
    return xp.where(x < 0.0, 2.0 - upper, upper)


@elementwise
def _erf_gradient(x: Array, dy: Array) -> Any:
    return dy * (_SLOPE * namespace(dy).exp(-(x * x)))


@differentiable
def erf(x: Array) -> tuple[Array, Backward]:
    r"""Error function.

    .. math:: y = \frac{2}{\sqrt\pi} \int_0^x e^{-t^2} dt, \qquad y' = \frac{2}{\sqrt\pi}\, e^{-x^2}

    Parameters
    ----------
    x : array of any shape
        Floating.

    Returns
    -------
    array of the shape of `x`
        Between -1 and 1; accurate to two units in the last place.

    Notes
    -----
    For :math:`|x| < 1` it is x times a polynomial in :math:`x^2`, beyond that :math:`1 - \operatorname{erfc} |x|` with
    the sign of x. PyTorch's and JAX's own are used on their arrays.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.erf(nn.get_backend("numpy").xp.asarray([-1e4, 0.0, 0.5]))
    array([-1.        ,  0.        ,  0.52049988])
    """
    return _erf(x, single=is_single(x)), lambda dy, needs: (_erf_gradient(x, dy),)


@differentiable
def erfc(x: Array) -> tuple[Array, Backward]:
    r"""Complementary error function.

    .. math:: y = 1 - \operatorname{erf} x = \frac{2}{\sqrt\pi} \int_x^\infty e^{-t^2} dt, \qquad
              y' = -\frac{2}{\sqrt\pi}\, e^{-x^2}

    Parameters
    ----------
    x : array of any shape
        Floating.

    Returns
    -------
    array of the shape of `x`
        Between 0 and 2. Small values, at large `x`, are accurate to a few units in their own last place.

    Notes
    -----
    For :math:`x \ge 0` it is :math:`e^{-x^2} (1 + (1 + t)\, q(t)) / (1 + 2x)` with a polynomial in
    :math:`t = (x - k)/(x + k)`, which maps all of :math:`[0, \infty]` to :math:`[-1, 1]`; below,
    :math:`2 - \operatorname{erfc}(-x)`. The exponential is taken in two factors, of a number whose square is exact and
    of the small rest (Cody). PyTorch's own is used on its tensors.

    References
    ----------
    M. M. Shepherd and J. G. Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x in 0 <= x < infinity",
    Mathematics of Computation 36 (1981), 249-253, https://doi.org/10.1090/S0025-5718-1981-0595058-X

    W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of Computation 23 (1969),
    631-637, https://doi.org/10.1090/S0025-5718-1969-0247736-4

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.erfc(nn.get_backend("numpy").xp.asarray([-1e4, 0.0, 10.0]))
    array([2.00000000e+00, 1.00000000e+00, 2.08848758e-45])
    """
    return _erfc(x, single=is_single(x)), lambda dy, needs: (_erf_gradient(x, -dy),)


# The seam at |x| = 1 and the kink of |x| have no derivative of their own; under a gradient the rules serve.
_erf.is_value_of(lambda x, *, single: erf(x))
_erfc.is_value_of(lambda x, *, single: erfc(x))
_erf.may_be("erf")
_erfc.may_be("erfc")
