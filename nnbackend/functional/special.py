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

#: Polynomials, from the constant on. `_TAIL` gives (1 + 2a) exp(a^2) erfc(a) for a from 0 to infinity in
#: t = (a - k) / (a + k), k = 3.75, the variable of Shepherd and Laframboise; `_CENTRE` gives erf(a) / a for a from 0
#: to 1 in a^2. They are Chebyshev interpolants computed with 50 digits (for single precision the shorter ones), of
#: relative error 6e-17 and 2e-8 in the tail, 7e-18 and 2e-9 in the centre.
_TAIL = (
    1.2375126308378275,
    -0.14024059858554697,
    0.0035854154854790257,
    0.0822767384901452,
    -0.10880393014244462,
    0.09230432116037748,
    -0.05869339857664934,
    0.028362277418956406,
    -0.009746579683265262,
    0.0017556258528952954,
    0.000293714378044958,
    -0.0002901540805408417,
    5.164652974177416e-05,
    2.238423915508223e-05,
    -1.1438048033346894e-05,
    -9.73559896736775e-07,
    1.7419821586224816e-06,
    -5.7218230603224086e-08,
    -2.4857126248016745e-07,
    2.3263508708859124e-08,
    3.197926671666804e-08,
    -3.744210080962018e-09,
    -2.623107347133476e-09,
    3.1114333809799254e-10,
)
_TAIL_SINGLE = (
    1.2375126192677,
    -0.1402406583213864,
    0.003586270394024618,
    0.08227841998347046,
    -0.10881427014905069,
    0.09229076959130378,
    -0.05864685873554614,
    0.02840925236412726,
    -0.009844494859674952,
    0.001675912217981131,
    0.0003963076129893627,
    -0.00022411674674416022,
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
    scaled = _polynomial(_TAIL_SINGLE if single else _TAIL, 1.0 - 2.0 * _K / (a + _K))
    near = 0.0625 * xp.trunc(16.0 * a)  # its square is exact, so that exp(-a^2) keeps its digits
    return xp.exp(-(near * near)) * xp.exp((near - a) * (near + a)) * (scaled / (1.0 + 2.0 * a))


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
    For :math:`x \ge 0` it is :math:`e^{-x^2} P(t) / (1 + 2x)` with a polynomial in :math:`t = (x - k)/(x + k)`, which
    maps all of :math:`[0, \infty]` to :math:`[-1, 1]`; below, :math:`2 - \operatorname{erfc}(-x)`. The exponential is
    taken in two factors, of a number whose square is exact and of the small rest (W. J. Cody 1969). PyTorch's and
    JAX's own are used on their arrays.

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
