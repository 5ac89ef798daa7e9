r"""Normalisation: zero mean and unit variance, or unit length, over some axes.

Batch, layer, group and instance normalisation are one rule, `standardize`, over different axes. Its statistics hold
for large means and many elements: sums run in float64 (or by pairs, along rows), and the mean is kept as the sum of
two numbers, so that what is left of ``x - mean`` is right to the last place even where the mean is 10,000 times the
deviation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from nnbackend.autodiff import differentiable
from nnbackend.backend import namespace, plain
from nnbackend.elementwise import elementwise, rowwise
from nnbackend.functional.rules import normalize_axes, normalize_axis, reduced_size, without_gradient, zeros
from nnbackend.functional.shaping import moveaxis, reshape
from nnbackend.typing import Array, Backward, Shape

__all__ = [
    "batch_norm",
    "batch_norm_inference",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "power_iteration",
    "rms_norm",
    "spectral_norm",
    "standardize",
    "unit_norm",
]

#: The least length that `unit_norm`, `power_iteration` and `spectral_norm` divide by.
_LEAST = 1e-12


@rowwise
def _standardized_rows(x: Array, gamma: Array, beta: Array, *, epsilon: float) -> Any:
    xp = namespace(x)
    mean = xp.mean(x, axis=-1, keepdims=True)
    rest = xp.mean(x - mean, axis=-1, keepdims=True)  # what rounding took from the mean
    centred = (x - mean) - rest
    variance = xp.mean(xp.square(centred), axis=-1, keepdims=True)
    y = centred * (1.0 / xp.sqrt(variance + epsilon)) * gamma + beta
    return y, mean + rest, variance


def _row_slopes(
    x: Array, gamma: Array, dy: Array, by_mean: Array, by_variance: Array, epsilon: float
) -> tuple[Array, Array]:
    """Return the gradient of x, and the elements of that of gamma; for programs over rows."""
    xp = namespace(dy)
    mean = xp.mean(x, axis=-1, keepdims=True)
    rest = xp.mean(x - mean, axis=-1, keepdims=True)
    centred = (x - mean) - rest
    r = 1.0 / xp.sqrt(xp.mean(xp.square(centred), axis=-1, keepdims=True) + epsilon)
    z = centred * r
    g = dy * gamma
    along = xp.mean(g * z, axis=-1, keepdims=True)
    dx = r * (g - xp.mean(g, axis=-1, keepdims=True) - z * along) + (by_mean + centred * by_variance)
    return dx, dy * z


@rowwise
def _standardized_rows_gradient(
    x: Array, gamma: Array, dy: Array, by_mean: Array, by_variance: Array, *, epsilon: float
) -> Any:
    return _row_slopes(x, gamma, dy, by_mean, by_variance, epsilon)


@rowwise
def _standardized_rows_gradients(
    x: Array, gamma: Array, dy: Array, by_mean: Array, by_variance: Array, *, epsilon: float
) -> Any:
    """Return the gradients of x, and of a scale and an offset that have one number for each row."""
    xp = namespace(dy)
    dx, product = _row_slopes(x, gamma, dy, by_mean, by_variance, epsilon)
    return dx, xp.sum(product, axis=-1, keepdims=True), xp.sum(dy, axis=-1, keepdims=True)


def _shares(by_mean: Any, by_variance: Any, width: int) -> tuple[Any, Any]:
    """Return what the gradients of the statistics of a row are to each of its elements, for `_row_slopes`."""
    return by_mean * (1.0 / width), by_variance * (2.0 / width)


@elementwise
def _squared_distance(x: Array, mean: Array) -> Any:
    return namespace(x).square(x - mean)


@elementwise
def _scaled(x: Array, mean: Array, scale: Array, offset: Array) -> Any:
    return (x - mean) * scale + offset


@elementwise
def _normal_and_product(x: Array, mean: Array, r: Array, offset: Array, dy: Array) -> Any:
    z = (x - mean) * r + offset
    return z, dy * z


@elementwise
def _combined(dy: Array, z: Array, a: Array, b: Array, c: Array) -> Any:
    return dy * a + (z * b + c)


@elementwise
def _combined_where(mask: Array, dy: Array, z: Array, a: Array, b: Array, c: Array) -> Any:
    return dy * a + namespace(dy).where(mask, z * b + c, 0.0)


def _total(x: Any, axes: tuple[int, ...]) -> Any:
    """Sum in float64 over axes, which stay with length one."""
    xp = namespace(x)
    last = x.ndim - 1
    if last in axes and len(axes) > 1:  # the last axis by itself: NumPy is slow at a short one among others
        x, axes = (
            xp.sum(x, axis=tuple(a for a in axes if a != last), keepdims=True, dtype=xp.float64),
            (last,),
        )
    return xp.sum(x, axis=axes, keepdims=True, dtype=xp.float64)


def _drawn_out(statistic: Any, width: int) -> Any:
    """Repeat what has one number along the last axis, so that passes over it go in long strides."""
    xp = namespace(statistic)
    if statistic.shape[-1] == width:
        return statistic
    return xp.broadcast_to(statistic, (*statistic.shape[:-1], width)) + 0.0


def _cast(x: Any, like: Any) -> Any:
    return x if x.dtype == like.dtype else namespace(x).astype(x, like.dtype)


def _spread_axes(parameter: Any, shape: Shape) -> tuple[int, ...]:
    """Return the axes of an array of this shape along which a parameter is repeated."""
    lead = len(shape) - len(parameter.shape)
    held = (1,) * lead + tuple(parameter.shape)
    return tuple(axis for axis, size in enumerate(held) if size == 1)


def _gradient_of(parameter: Any, elements: Any) -> Any:
    """Sum the elements of a gradient to the shape and dtype of the parameter that was broadcast to them."""
    axes = _spread_axes(parameter, tuple(elements.shape))
    total = _total(elements, axes) if axes else elements
    return _cast(namespace(total).reshape(total, tuple(parameter.shape)), parameter)


def _check_parameter(owner: str, name: str, parameter: Any, shape: Shape) -> None:
    if parameter is None:
        return
    came = tuple(parameter.shape)
    ends = shape[len(shape) - len(came) :]
    if len(came) > len(shape) or any(size not in (1, full) for size, full in zip(came, ends, strict=True)):
        raise ValueError(f"{owner} expects a {name} that broadcasts to the shape of x, {shape}, got {came}.")


@differentiable(wide=True)
def standardize(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    mask: Array | None = None,
    *,
    axis: int | tuple[int, ...] = -1,
    epsilon: float = 1e-3,
) -> tuple[tuple[Array, Array, Array], Backward]:
    r"""Give x zero mean and unit variance over axes, then scale and shift it.

    .. math:: \mu = \frac1n \sum_i x_i, \quad \sigma^2 = \frac1n \sum_i (x_i - \mu)^2, \quad
              r = \frac{1}{\sqrt{\sigma^2 + \epsilon}}, \quad z = (x - \mu)\, r, \quad y = \gamma z + \beta

    .. math:: \frac{\partial L}{\partial x} = r \left(g - \overline{g} - z\, \overline{g z}\right), \quad
              g = \gamma \frac{\partial L}{\partial y}, \qquad
              \frac{\partial L}{\partial \gamma} = \sum \frac{\partial L}{\partial y} z, \qquad
              \frac{\partial L}{\partial \beta} = \sum \frac{\partial L}{\partial y}

    with means over the axes; the derivatives of the mean and the variance are added where those are used.

    Parameters
    ----------
    x : array of any shape
        Floating.
    gamma, beta : array whose shape broadcasts to that of `x`, optional
        Scale and offset; one and zero without them.
    mask : boolean array whose shape broadcasts to that of `x`, optional
        Which elements make the statistics; all without it. All are normalised.
    axis : int or tuple of int
        Over which axes the statistics are taken.
    epsilon : float
        :math:`\epsilon`, added to the variance.

    Returns
    -------
    y : array of the shape of `x`
        The normalised elements.
    mean, variance : array
        The statistics, with length one on the axes; the variance is the mean square (divided by n, not n - 1). Zero
        where the mask holds nothing.

    Raises
    ------
    ValueError
        If an axis does not exist, or a parameter does not broadcast to `x`.

    Notes
    -----
    The mean is used as the sum of two numbers of the dtype of `x`, its rounded value and what the rounding took.

    Kept for the gradient are x and the statistics.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.get_backend("numpy").xp.asarray([[1.0, 3.0], [5.0, 5.0]])
    >>> y, mean, variance = nn.functional.standardize(x, epsilon=0.0001)
    >>> nn.to_numpy(y).round(3) + 0.0, nn.to_numpy(variance)
    (array([[-1.,  1.],
           [ 0.,  0.]]), array([[1.],
           [0.]]))
    """
    axes = normalize_axes(axis, x.ndim)
    shape = tuple(x.shape)
    for name, parameter in (("gamma", gamma), ("beta", beta), ("mask", mask)):
        _check_parameter("standardize", name, parameter, shape)
    if mask is None and axes == (x.ndim - 1,) and shape[-1] > 0:
        return _over_rows(x, gamma, beta, float(epsilon))
    return _over_axes(x, gamma, beta, plain(mask), axes, float(epsilon))


def _over_rows(x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[tuple[Any, Any, Any], Backward]:
    """Standardise along the last axis: one pass over memory each way."""
    width = x.shape[-1]
    scale = zeros((1,) * x.ndim, x) + 1.0 if gamma is None else gamma
    offset = zeros((1,) * x.ndim, x) if beta is None else beta

    def backward(gradients: tuple[Array, ...], needs: tuple[bool, ...]) -> tuple[Any, ...]:
        dy, by_mean, by_variance = gradients
        dx = dgamma = dbeta = None
        if needs[0] or needs[1]:
            shares = _shares(by_mean, by_variance, width)
            dx, product = _standardized_rows_gradient(x, scale, dy, *shares, epsilon=epsilon)
            dgamma = _gradient_of(gamma, product) if needs[1] else None
        if needs[2]:
            dbeta = _gradient_of(beta, dy)
        return dx, dgamma, dbeta, None

    return _standardized_rows(x, scale, offset, epsilon=epsilon), backward


def _over_axes(
    x: Any, gamma: Any, beta: Any, mask: Any, axes: tuple[int, ...], epsilon: float
) -> tuple[tuple[Any, Any, Any], Backward]:
    """Standardise over any axes, of the elements that a mask holds."""
    xp = namespace(x)
    shape = tuple(x.shape)
    count: Any = float(max(reduced_size(shape, axes), 1))
    if mask is not None:
        own = namespace(mask)
        held = own.broadcast_to(mask, shape)
        count = own.sum(own.astype(held, own.float64), axis=axes, keepdims=True)
        count = own.maximum(count, own.ones_like(count))

    def only(values: Any) -> Any:
        return values if mask is None else namespace(values).where(mask, values, 0.0)

    exact = _total(only(x), axes) / count
    mean = _cast(exact, x)
    if x.dtype == exact.dtype:  # no wider dtype tells what rounding took, so it is summed up
        rest = _total(only(x - mean), axes) / count
    else:
        rest = exact - xp.astype(mean, exact.dtype)
    squares = _total(only(_squared_distance(x, _drawn_out(mean, shape[-1]))), axes) / count
    exact_variance = squares - xp.square(rest)
    rest, variance = _cast(rest, x), _cast(exact_variance, x)
    r = _cast(1.0 / xp.sqrt(exact_variance + epsilon), x)
    # (x - mean - rest) r, with what is left of the mean in the offset
    centre, factor, low = (_drawn_out(statistic, shape[-1]) for statistic in (mean, r, -rest * r))
    scale = factor if gamma is None else factor * gamma
    offset = low if gamma is None else low * gamma
    y = _scaled(x, centre, scale, offset if beta is None else offset + beta)

    def backward(gradients: tuple[Array, ...], needs: tuple[bool, ...]) -> tuple[Any, ...]:
        dy, by_mean, by_variance = gradients
        dbeta = _gradient_of(beta, dy) if needs[2] else None
        if not (needs[0] or needs[1]):
            return None, None, dbeta, None
        z, product = _normal_and_product(x, centre, factor, low, dy)
        dgamma = _gradient_of(gamma, product) if needs[1] else None
        if not needs[0]:
            return None, dgamma, dbeta, None
        if gamma is None or set(axes) <= set(_spread_axes(gamma, shape)):  # constant over the axes
            weight = 1.0 if gamma is None else gamma
            total, along = _total(dy, axes) * weight, _total(product, axes) * weight
        else:
            total, along = _total(dy * gamma, axes), _total(product * gamma, axes)
        # x - mean = z / r
        b = (by_variance * 2.0 / r - r * along) / count
        c = (by_mean - r * total) / count
        b, c = (_drawn_out(_cast(statistic, x), shape[-1]) for statistic in (b, c))
        parts = dy, z, scale, b, c
        dx = _combined(*parts) if mask is None else _combined_where(mask, *parts)
        return dx, dgamma, dbeta, None

    return (y, mean + rest, variance), backward


def _on_axis(parameter: Any, axis: int, ndim: int) -> Any:
    """Give a parameter of one number for each channel the shape in which it broadcasts along its axis."""
    if parameter is None or axis == ndim - 1:
        return parameter
    return namespace(parameter).reshape(parameter, (-1,) + (1,) * (ndim - 1 - axis))


def _check_channels(owner: str, channels: int, **parameters: Any) -> None:
    for name, parameter in parameters.items():
        if parameter is not None and tuple(parameter.shape) != (channels,):
            raise ValueError(
                f"{owner} expects {name} of shape ({channels},), one number for each channel, got "
                f"{tuple(parameter.shape)}."
            )


def batch_norm(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    mask: Array | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-3,
) -> tuple[Array, Array, Array]:
    r"""Normalise each channel over a batch, as in training: `standardize` over all axes but that of the channels.

    .. math:: y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    Parameters
    ----------
    x : array of shape (n, ..., c)
        Floating.
    gamma, beta : array of shape (c,), optional
        Scale and offset; one and zero without them.
    mask : boolean array of shape (n, ...), optional
        Which elements make the statistics, such as the steps (n, t) that are no padding. It needs the channels last.
    axis : int
        The axis of the channels.
    epsilon : float
        Added to the variance. PyTorch's default is 1e-5.

    Returns
    -------
    y : array of the shape of `x`
        The normalised elements.
    mean, variance : array of shape (c,)
        The batch's, for running statistics; the variance is divided by n, as in Keras. PyTorch divides by n - 1 for its
        running variance.

    Raises
    ------
    ValueError
        If a shape does not fit.

    References
    ----------
    S. Ioffe, C. Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate
    shift", ICML 2015, arXiv:1502.03167.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.get_backend("numpy").xp.asarray([[1.0], [3.0]])
    >>> y, mean, variance = nn.functional.batch_norm(x, epsilon=0.0)
    >>> y, mean, variance
    (array([[-1.],
           [ 1.]]), array([2.]), array([1.]))
    """
    ndim, shape = x.ndim, tuple(x.shape)
    axis = normalize_axis(axis, ndim)
    _check_channels("batch_norm", shape[axis], gamma=gamma, beta=beta)
    if mask is not None:
        lead = tuple(mask.shape)
        if axis != ndim - 1 or not 1 <= len(lead) < ndim or lead != shape[: len(lead)]:
            raise ValueError(
                f"batch_norm expects a mask of the first axes of x, of shape {shape}, with the channels last, got a "
                f"mask of shape {lead} and the channels on axis {axis}."
            )
        mask = reshape(mask, (*lead, *(1,) * (ndim - len(lead))))
    y, mean, variance = standardize(
        x,
        _on_axis(gamma, axis, ndim),
        _on_axis(beta, axis, ndim),
        mask,
        axis=tuple(other for other in range(ndim) if other != axis),
        epsilon=epsilon,
    )
    return y, reshape(mean, (shape[axis],)), reshape(variance, (shape[axis],))


@differentiable(wide=True)
def batch_norm_inference(
    x: Array,
    mean: Array,
    variance: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-3,
) -> tuple[Array, Backward]:
    r"""Normalise each channel by given statistics.

    .. math:: z = (x - \mu)\, r, \quad r = \frac{1}{\sqrt{\sigma^2 + \epsilon}}, \quad y = \gamma z + \beta, \qquad
              \frac{\partial L}{\partial x} = \gamma r \frac{\partial L}{\partial y}, \quad
              \frac{\partial L}{\partial \mu} = -\sum \gamma r \frac{\partial L}{\partial y}, \quad
              \frac{\partial L}{\partial \sigma^2} = -\tfrac12 \sum \gamma r^2 z \frac{\partial L}{\partial y}

    and :math:`\gamma` and :math:`\beta` as in `standardize`.

    Parameters
    ----------
    x : array of shape (n, ..., c)
        Floating.
    mean, variance : array of shape (c,)
        The statistics.
    gamma, beta : array of shape (c,), optional
        Scale and offset; one and zero without them.
    axis : int
        The axis of the channels.
    epsilon : float
        Added to the variance.

    Returns
    -------
    array of the shape of `x`
        The normalised elements.

    Raises
    ------
    ValueError
        If a shape does not fit.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.batch_norm_inference(
    ...     xp.asarray([[5.0]]), xp.asarray([1.0]), xp.asarray([4.0]), epsilon=0.0
    ... )
    array([[2.]])
    """
    ndim = x.ndim
    axis = normalize_axis(axis, ndim)
    _check_channels(
        "batch_norm_inference", x.shape[axis], mean=mean, variance=variance, gamma=gamma, beta=beta
    )
    xp = namespace(x)
    r = 1.0 / xp.sqrt(variance + epsilon)
    scale = r if gamma is None else r * gamma
    nothing = zeros((1,) * ndim, x)
    offset = nothing if beta is None else _on_axis(beta, axis, ndim)
    centre = _on_axis(mean, axis, ndim)
    y = _scaled(x, centre, _on_axis(scale, axis, ndim), offset)
    others = tuple(other for other in range(ndim) if other != axis)

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)

        def of_channels(elements: Any) -> Any:
            return _cast(xp.sum(elements, axis=others, dtype=xp.float64), x)

        dx = dy * _on_axis(scale, axis, ndim) if needs[0] else None
        dmean = dvariance = dgamma = dbeta = None
        if needs[1] or needs[4]:
            total = of_channels(dy)
            dmean = -scale * total if needs[1] else None
            dbeta = total if needs[4] else None
        if needs[2] or needs[3]:
            _, product = _normal_and_product(x, centre, _on_axis(r, axis, ndim), nothing, dy)
            along = of_channels(product)
            dvariance = -0.5 * scale * r * along if needs[2] else None
            dgamma = along if needs[3] else None
        return dx, dmean, dvariance, dgamma, dbeta

    return y, backward


def _rows(x: Any, axes: tuple[int, ...]) -> tuple[Any, Callable[[Any], Any]]:
    """Bring axes to the end and make them one; return what undoes that as well."""
    ndim = x.ndim
    ends = tuple(range(ndim - len(axes), ndim))
    moved = x if axes == ends else moveaxis(x, axes, ends)
    shape = tuple(moved.shape)
    rows = moved if len(axes) == 1 else reshape(moved, (*shape[: ends[0]], math.prod(shape[ends[0] :])))

    def undo(y: Any) -> Any:
        y = y if len(axes) == 1 else reshape(y, shape)
        return y if axes == ends else moveaxis(y, ends, axes)

    return rows, undo


def _row_parameter(owner: str, name: str, parameter: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """Check a parameter that has the axes' shape, and make it one row."""
    if parameter is None:
        return None
    expected = tuple(x.shape[axis] for axis in axes)
    if tuple(parameter.shape) != expected:
        raise ValueError(
            f"{owner} expects {name} of shape {expected}, that of x on the axes, got {tuple(parameter.shape)}."
        )
    return parameter if len(axes) == 1 else reshape(parameter, (math.prod(expected),))


def _axes_in_order(owner: str, axis: int | tuple[int, ...], x: Any) -> tuple[int, ...]:
    axes = normalize_axes(tuple(axis) if isinstance(axis, (list, tuple)) else axis, x.ndim)
    if not axes or len(set(axes)) != len(axes):
        raise ValueError(f"{owner} expects one axis or several different ones, got {axis}.")
    axes = tuple(sorted(axes))
    if any(x.shape[number] == 0 for number in axes):
        raise ValueError(f"{owner} expects axes that are not empty, got shape {tuple(x.shape)}.")
    return axes


def layer_norm(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    axis: int | tuple[int, ...] = -1,
    epsilon: float = 1e-3,
) -> Array:
    r"""Normalise each sample over its features: `standardize` with parameters of the axes' shape.

    .. math:: y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    with :math:`\mu` and :math:`\sigma^2` over the axes.

    Parameters
    ----------
    x : array of shape (..., c)
        Floating.
    gamma, beta : array of shape (c,), or the shape of `x` on the axes, optional
        Scale and offset; one and zero without them. The axes count in the order in which `x` has them.
    axis : int or tuple of int
        The axes of the features.
    epsilon : float
        Added to the variance. PyTorch's default is 1e-5.

    Returns
    -------
    array of the shape of `x`
        The normalised elements.

    Raises
    ------
    ValueError
        If a shape does not fit, or an axis is empty or named twice.

    References
    ----------
    J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", 2016, arXiv:1607.06450.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.layer_norm(nn.get_backend("numpy").xp.asarray([[1.0, 3.0]]), epsilon=0.0)
    array([[-1.,  1.]])
    """
    axes = _axes_in_order("layer_norm", axis, x)
    gamma = _row_parameter("layer_norm", "gamma", gamma, x, axes)
    beta = _row_parameter("layer_norm", "beta", beta, x, axes)
    rows, undo = _rows(x, axes)
    result: Array = undo(standardize(rows, gamma, beta, axis=-1, epsilon=epsilon)[0])
    return result


def group_norm(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    groups: int,
    axis: int = -1,
    epsilon: float = 1e-3,
) -> Array:
    r"""Normalise each sample over groups of channels and all places: `standardize` over both.

    .. math:: y = \gamma \frac{x - \mu_g}{\sqrt{\sigma_g^2 + \epsilon}} + \beta

    Parameters
    ----------
    x : array of shape (n, ..., c)
        Floating.
    gamma, beta : array of shape (c,), optional
        Scale and offset; one and zero without them.
    groups : int
        How many groups; it divides c. One is layer normalisation over all axes, c is instance normalisation.
    axis : int
        The axis of the channels.
    epsilon : float
        Added to the variance. PyTorch's default is 1e-5.

    Returns
    -------
    array of the shape of `x`
        The normalised elements.

    Raises
    ------
    ValueError
        If `groups` does not divide the number of channels, or a shape does not fit.

    References
    ----------
    Y. Wu, K. He, "Group normalization", ECCV 2018, arXiv:1803.08494.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.get_backend("numpy").xp.asarray([[1.0, 3.0, 10.0, 30.0]])
    >>> nn.functional.group_norm(x, groups=2, epsilon=0.0)
    array([[-1.,  1., -1.,  1.]])
    """
    ndim, shape = x.ndim, tuple(x.shape)
    axis = normalize_axis(axis, ndim)
    channels = shape[axis]
    if axis == 0:
        raise ValueError(
            "group_norm expects the axis of samples first and that of channels after it, got axis 0."
        )
    if groups < 1 or channels % groups:
        raise ValueError(
            f"group_norm expects a number of groups that divides the {channels} channels, got {groups}."
        )
    _check_channels("group_norm", channels, gamma=gamma, beta=beta)
    parts = (groups, channels // groups)

    def split(parameter: Any) -> Any:
        return None if parameter is None else reshape(parameter, (*parts, *(1,) * (ndim - 1 - axis)))

    y, _, _ = standardize(
        reshape(x, (*shape[:axis], *parts, *shape[axis + 1 :])),
        split(gamma),
        split(beta),
        axis=tuple(other for other in range(1, ndim + 1) if other != axis),
        epsilon=epsilon,
    )
    result: Array = reshape(y, shape)
    return result


def instance_norm(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-3,
) -> Array:
    r"""Normalise each channel of each sample over its places: `group_norm` with groups of one channel.

    .. math:: y = \gamma \frac{x - \mu_c}{\sqrt{\sigma_c^2 + \epsilon}} + \beta

    Parameters
    ----------
    x : array of shape (n, ..., c)
        Floating.
    gamma, beta : array of shape (c,), optional
        Scale and offset; one and zero without them.
    axis : int
        The axis of the channels.
    epsilon : float
        Added to the variance. PyTorch's default is 1e-5.

    Returns
    -------
    array of the shape of `x`
        The normalised elements.

    Raises
    ------
    ValueError
        If a shape does not fit.

    References
    ----------
    D. Ulyanov, A. Vedaldi, V. Lempitsky, "Instance normalization: the missing ingredient for fast stylization", 2016,
    arXiv:1607.08022.

    Examples
    --------
    >>> import nnbackend as nn
    >>> x = nn.get_backend("numpy").xp.asarray([[[1.0, 10.0], [3.0, 30.0]]])
    >>> nn.functional.instance_norm(x, epsilon=0.0)
    array([[[-1., -1.],
            [ 1.,  1.]]])
    """
    return group_norm(x, gamma, beta, groups=x.shape[axis], axis=axis, epsilon=epsilon)


@rowwise
def _rms_rows(x: Array, gamma: Array, *, epsilon: float) -> Any:
    xp = namespace(x)
    return x * (1.0 / xp.sqrt(xp.mean(xp.square(x), axis=-1, keepdims=True) + epsilon)) * gamma


@rowwise
def _rms_rows_gradient(x: Array, gamma: Array, dy: Array, *, epsilon: float) -> Any:
    """Return the gradient of x, and the elements of that of gamma."""
    xp = namespace(dy)
    r = 1.0 / xp.sqrt(xp.mean(xp.square(x), axis=-1, keepdims=True) + epsilon)
    z = x * r
    g = dy * gamma
    return r * (g - z * xp.mean(g * z, axis=-1, keepdims=True)), dy * z


@differentiable(wide=True)
def _rms_norm(x: Array, gamma: Array | None = None, *, epsilon: float) -> tuple[Array, Backward]:
    scale = zeros((1,) * x.ndim, x) + 1.0 if gamma is None else gamma

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        dx, product = _rms_rows_gradient(x, scale, dy, epsilon=epsilon)
        return dx, _gradient_of(gamma, product) if needs[1] else None

    return _rms_rows(x, scale, epsilon=epsilon), backward


def rms_norm(
    x: Array, gamma: Array | None = None, *, axis: int | tuple[int, ...] = -1, epsilon: float = 1e-6
) -> Array:
    r"""Divide by the root mean square over axes, then scale.

    .. math:: r = \frac{1}{\sqrt{\frac1n \sum_i x_i^2 + \epsilon}}, \quad z = x r, \quad y = \gamma z, \qquad
              \frac{\partial L}{\partial x} = r \left(g - z\, \overline{g z}\right), \quad
              g = \gamma \frac{\partial L}{\partial y}, \quad
              \frac{\partial L}{\partial \gamma} = \sum \frac{\partial L}{\partial y} z

    Parameters
    ----------
    x : array of shape (..., c)
        Floating.
    gamma : array of shape (c,), or the shape of `x` on the axes, optional
        Scale; one without it. The axes count in the order in which `x` has them.
    axis : int or tuple of int
        The axes of the features.
    epsilon : float
        Added to the mean square. PyTorch's default is the spacing of the dtype at 1.

    Returns
    -------
    array of the shape of `x`
        With mean square :math:`\gamma^2`.

    Raises
    ------
    ValueError
        If a shape does not fit, or an axis is empty or named twice.

    References
    ----------
    B. Zhang, R. Sennrich, "Root mean square layer normalization", NeurIPS 2019, arXiv:1910.07467.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.rms_norm(nn.get_backend("numpy").xp.asarray([[1.0, 7.0]]), epsilon=0.0)
    array([[0.2, 1.4]])
    """
    axes = _axes_in_order("rms_norm", axis, x)
    gamma = _row_parameter("rms_norm", "gamma", gamma, x, axes)
    rows, undo = _rows(x, axes)
    result: Array = undo(_rms_norm(rows, gamma, epsilon=float(epsilon)))
    return result


@rowwise
def _unit_rows(x: Array, *, epsilon: float) -> Any:
    xp = namespace(x)
    largest = xp.max(xp.abs(x), axis=-1, keepdims=True)
    unit = xp.where(largest > 0, largest, 1.0)  # so that no square overflows or vanishes
    length = unit * xp.sqrt(xp.sum(xp.square(x / unit), axis=-1, keepdims=True))
    return x / xp.maximum(length, epsilon), length


@rowwise
def _unit_rows_gradient(y: Array, length: Array, dy: Array, *, epsilon: float) -> Any:
    xp = namespace(dy)
    along = xp.where(length > epsilon, xp.sum(dy * y, axis=-1, keepdims=True), 0.0)
    return (dy - y * along) / xp.maximum(length, epsilon)


@differentiable(wide=True)
def _unit_norm(x: Array, *, epsilon: float) -> tuple[Array, Backward]:
    y, length = _unit_rows(x, epsilon=epsilon)
    return y, lambda dy, needs: (_unit_rows_gradient(y, length, dy, epsilon=epsilon),)


def unit_norm(x: Array, *, axis: int | tuple[int, ...] = -1, epsilon: float = _LEAST) -> Array:
    r"""Divide by the Euclidean length over axes.

    .. math:: y = \frac{x}{\max(\lVert x \rVert, \epsilon)}, \qquad
              \frac{\partial L}{\partial x} = \frac{1}{\lVert x \rVert}
              \left(\frac{\partial L}{\partial y} - y \sum \frac{\partial L}{\partial y} y\right)
              \text{ for } \lVert x \rVert > \epsilon, \text{ else } \frac{1}{\epsilon} \frac{\partial L}{\partial y}

    Parameters
    ----------
    x : array of shape (..., c)
        Floating.
    axis : int or tuple of int
        The axes over which the length is taken.
    epsilon : float
        The least length that is divided by.

    Returns
    -------
    array of the shape of `x`
        Of length 1; zero where `x` is.

    Raises
    ------
    ValueError
        If an axis is empty or named twice.

    Notes
    -----
    The length is right for elements of any size, since they are divided by the largest before they are squared.

    Examples
    --------
    >>> import nnbackend as nn
    >>> nn.functional.unit_norm(nn.get_backend("numpy").xp.asarray([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    rows, undo = _rows(x, _axes_in_order("unit_norm", axis, x))
    result: Array = undo(_unit_norm(rows, epsilon=float(epsilon)))
    return result


def _matrix(owner: str, kernel: Any, u: Any) -> Any:
    """Return a kernel (..., in, out) as a matrix of one column for each output."""
    if kernel.ndim < 2 or tuple(u.shape) != (kernel.shape[-1],):
        raise ValueError(
            f"{owner} expects a kernel of shape (..., m) and u of shape (m,), got {tuple(kernel.shape)} and "
            f"{tuple(u.shape)}."
        )
    return namespace(kernel).reshape(kernel, (-1, kernel.shape[-1]))


def _unit(x: Any) -> Any:
    xp = namespace(x)
    length = xp.sqrt(xp.sum(xp.square(x)))
    return x / xp.maximum(length, xp.full_like(length, _LEAST))


@without_gradient
def power_iteration(kernel: Array, u: Array, *, iterations: int = 1) -> Array:
    r"""Bring a vector nearer to the direction that a kernel stretches most.

    .. math:: v = \frac{W u}{\lVert W u \rVert}, \qquad u' = \frac{W^\top v}{\lVert W^\top v \rVert}

    as often as is asked for; W is the kernel as a matrix, with its last axis for columns. It has no gradient.

    Parameters
    ----------
    kernel : array of shape (..., m)
        W, such as (in, out) or (h, w, in, out).
    u : array of shape (m,)
        Where to start.
    iterations : int
        How often.

    Returns
    -------
    array of shape (m,)
        u' of length 1; after many iterations the first right singular vector of W.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> u = nn.functional.power_iteration(
    ...     xp.asarray([[3.0, 0.0], [0.0, 1.0]]), xp.asarray([1.0, 1.0]), iterations=20
    ... )
    >>> u.round(6)
    array([1., 0.])
    """
    matrix = _matrix("power_iteration", kernel, u)
    xp = namespace(kernel)
    for _ in range(iterations):
        v = _unit(xp.matmul(matrix, u))
        u = _unit(xp.matmul(matrix.T, v))
    return u


@differentiable(wide=True)
def spectral_norm(kernel: Array, u: Array) -> tuple[Array, Backward]:
    r"""Divide a kernel by how far it stretches a vector: by its largest singular value, if u is the singular vector.

    .. math:: \sigma = \lVert W u \rVert, \quad Y = \frac{W}{\sigma}, \qquad
              \frac{\partial L}{\partial W} = \frac{1}{\sigma} \left(\frac{\partial L}{\partial Y}
              - s\, v u^\top\right), \quad
              \frac{\partial L}{\partial u} = -\frac{s}{\sigma} W^\top v, \quad
              v = \frac{W u}{\sigma}, \; s = \sum \frac{\partial L}{\partial Y} Y

    Parameters
    ----------
    kernel : array of shape (..., m)
        W, such as (in, out) or (h, w, in, out); as a matrix, its last axis is that of columns.
    u : array of shape (m,)
        A vector of length 1, such as `power_iteration` gives.

    Returns
    -------
    array of the shape of `kernel`
        Zero where the kernel is.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    References
    ----------
    T. Miyato, T. Kataoka, M. Koyama, Y. Yoshida, "Spectral normalization for generative adversarial networks", ICLR
    2018, arXiv:1802.05957.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.functional.spectral_norm(xp.asarray([[4.0, 0.0], [0.0, 1.0]]), xp.asarray([1.0, 0.0]))
    array([[1.  , 0.  ],
           [0.  , 0.25]])
    """
    xp = namespace(kernel)
    matrix = _matrix("spectral_norm", kernel, u)
    image = xp.matmul(matrix, u)
    sigma = xp.sqrt(xp.sum(xp.square(image)))
    sigma = xp.maximum(sigma, xp.full_like(sigma, _LEAST))
    y = kernel / sigma

    def backward(dy: Array, needs: tuple[bool, ...]) -> tuple[Any, ...]:
        xp = namespace(dy)
        v, s = image / sigma, xp.sum(dy * y)
        dkernel = du = None
        if needs[0]:
            stretched = xp.reshape(xp.expand_dims(v, axis=1) * xp.expand_dims(u, axis=0), kernel.shape)
            dkernel = (dy - s * stretched) / sigma
        if needs[1]:
            du = xp.matmul(matrix.T, v) * (-s / sigma)
        return dkernel, du

    return y, backward
