"""What a loss is: values for each sample, weights, and the number that training makes small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnbackend import functional
from nnbackend.arguments import shown
from nnbackend.autodiff import Operators, Tensor
from nnbackend.backend import backend_of, is_array, namespace, plain
from nnbackend.config import Configurable, snake_case
from nnbackend.typing import Shape

__all__ = [
    "REDUCTIONS",
    "FunctionLoss",
    "Loss",
    "as_columns",
    "check_classes",
    "check_returned",
    "check_same_shape",
    "combine_weights",
    "match_targets",
    "weighted_mean",
]

#: How the losses of a batch become one number, by Keras's names.
REDUCTIONS = ("mean_with_sample_weight", "sum_over_batch_size", "mean", "sum", "none")


def weighted_mean(values: Any, weights: Any | None) -> Any:
    r"""Mean of per-sample values,  :math:`\sum_i w_i v_i / \sum_i w_i`  (0 where all weights are 0).

    Weights that are all equal change nothing, and a sample of weight 0 is as if it were not there, whatever its value.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> float(nn.losses.weighted_mean(xp.asarray([1.0, 5.0, 7.0]), xp.asarray([3.0, 1.0, 0.0])))
    2.0
    """
    if weights is None:
        return functional.mean(values)
    total = functional.sum(weights)
    safe = functional.where(total > 0, total, 1.0)
    return functional.sum(_weighted(values, weights)) / safe


def _weighted(values: Any, weights: Any) -> Any:
    return functional.where(weights == 0.0, 0.0, values) * weights


def combine_weights(first: Any | None, second: Any | None) -> Any | None:
    """Return the product of two weights or masks of the leading axes, such as (n,) and (n, t); None is 1.

    Parameters
    ----------
    first, second : array of floats or booleans, or None
        Of which one has the shape of the other, or of its leading axes.

    Returns
    -------
    array or None
        Floating, of the longer shape.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.losses.combine_weights(xp.asarray([1.0, 2.0]), xp.asarray([[True, False], [True, True]]))
    array([[1., 0.],
           [2., 2.]])
    """
    if first is None and second is None:
        return None
    weights = [plain(each) for each in (first, second) if each is not None]
    ndim = max(weight.ndim for weight in weights)
    backend = backend_of(weights[0])
    xp = backend.xp
    floating = next((w.dtype for w in weights if "float" in str(w.dtype)), xp.float32)
    product: Any = None
    with backend.scope():
        for weight in weights:
            wide = xp.reshape(xp.astype(weight, floating), (*weight.shape, *(1,) * (ndim - weight.ndim)))
            product = wide if product is None else product * wide
    return product


class Loss(Configurable):
    r"""What a loss is; subclasses define `per_sample`.

    Parameters
    ----------
    name : str, optional
        Its name in tables.
    reduction : str or None
        What becomes of the values :math:`v_i` of a batch with weights :math:`w_i`:
        ``"mean_with_sample_weight"``, the weighted mean :math:`\sum_i w_i v_i / \sum_i w_i`;
        ``"sum_over_batch_size"`` or ``"mean"``, :math:`\frac1n \sum_i w_i v_i` over all n values;
        ``"sum"``, :math:`\sum_i w_i v_i`; ``"none"`` or None, the weighted values as they are. Without weights
        the means are the same.

    Raises
    ------
    ValueError
        If the reduction is none of these.

    Notes
    -----
    The names are Keras's, whose default is ``"sum_over_batch_size"``. Here it is the weighted mean: weights that are
    all equal change nothing, and what has weight 0, such as padding, is as if it were not there.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> class Quartic(nn.losses.Loss):
    ...     def per_sample(self, y_true, y_pred):
    ...         return nn.functional.mean((y_pred - y_true) ** 4, axis=-1)
    >>> y, outputs, weights = xp.asarray([[0.0], [0.0]]), xp.asarray([[1.0], [2.0]]), xp.asarray([3.0, 1.0])
    >>> float(Quartic()(y, outputs, weights)), float(Quartic(reduction="sum")(y, outputs, weights))
    (4.75, 19.0)
    """

    #: What it is called in messages.
    kind: str = "loss"

    def __init__(self, name: str | None = None, reduction: str | None = "mean_with_sample_weight") -> None:
        self.name = name or snake_case(type(self).__name__)
        self.reduction = "none" if reduction is None else reduction
        if self.reduction not in REDUCTIONS:
            raise ValueError(
                f"The loss {self.name} expects reduction to be one of {', '.join(REDUCTIONS)}, got {reduction!r}."
            )

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"The {self.kind} {self.name}"

    def per_sample(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each sample, of shape (n,) or (n, ...)."""
        raise NotImplementedError(f"{type(self).__name__} must define per_sample(y_true, y_pred).")

    def __call__(
        self, y_true: Any, y_pred: Any, sample_weight: Any | None = None, mask: Any | None = None
    ) -> Any:
        """Return the loss of a batch, a 0-d array unless there is no reduction.

        Parameters
        ----------
        y_true : array
            The targets.
        y_pred : array or Tensor
            The outputs.
        sample_weight : array of shape (n,) or (n, t, ...), optional
            The weight of each sample, or of each step of a sequence: of the leading axes of the values.
        mask : boolean array of shape (n,) or (n, t, ...), optional
            What counts; the rest has weight 0, and may hold any targets.

        Raises
        ------
        ValueError
            If the weights do not fit the values.
        """
        with backend_of(plain(y_pred)).scope():
            if isinstance(y_pred, Operators) and is_array(y_true):
                y_true = Tensor(y_true)  # not every library's operators leave room for a tensor on the right
            values, weights = self.weighted_values(y_true, y_pred, combine_weights(sample_weight, mask))
            return self._reduce(values, weights)

    def weighted_values(self, y_true: Any, y_pred: Any, weights: Any | None) -> tuple[Any, Any | None]:
        """Return the values of `per_sample`, and their weights or None."""
        weights = self.weights(y_true, weights)
        if weights is not None:
            y_true = self.hide(y_true, weights)
        return self.per_sample(y_true, y_pred), weights

    def weights(self, y_true: Any, weights: Any | None) -> Any | None:
        """Return the weights of the values: those given, without the targets that do not count."""
        return combine_weights(weights, self.counted(y_true))

    def counted(self, y_true: Any) -> Any | None:
        """Return which targets count, as booleans of the leading axes of the values; None if all do."""
        return None

    def hide(self, y_true: Any, weights: Any) -> Any:
        """Put zeros for targets of weight 0, so that what stands there, be it NaN, reaches no gradient."""
        shape = tuple(weights.shape)
        if tuple(y_true.shape[: len(shape)]) != shape:
            return y_true
        wide = functional.reshape(weights, (*shape, *(1,) * (len(y_true.shape) - len(shape))))
        return functional.where(wide == 0.0, functional.zeros_like(y_true), y_true)

    def batch_weight(self, y_true: Any, y_pred: Any, sample_weight: Any | None = None) -> Any:
        """Return how much the loss of this batch weighs in the mean over batches of several sizes."""
        if self.reduction != "mean_with_sample_weight":
            return float(y_pred.shape[0])
        weights = self.weights(plain(y_true), sample_weight)
        if weights is None:
            return float(y_pred.shape[0])
        xp = namespace(weights)
        return xp.sum(xp.astype(weights, xp.float64))

    def _reduce(self, values: Any, weights: Any | None) -> Any:
        if weights is not None:
            weights = self._fitting(values, weights)
        if self.reduction == "mean_with_sample_weight":
            kept = 1 if weights is None else len(weights.shape)
            if len(values.shape) > kept:
                values = functional.mean(values, axis=tuple(range(kept, len(values.shape))))
            return weighted_mean(values, weights)
        if weights is not None:
            wide = (*weights.shape, *(1,) * (len(values.shape) - len(weights.shape)))
            values = _weighted(values, functional.reshape(weights, wide))
        if self.reduction == "none":
            return values
        return functional.sum(values) if self.reduction == "sum" else functional.mean(values)

    def _fitting(self, values: Any, weights: Any) -> Any:
        """Return weights of the leading axes of the values; a last axis of length one may be too many."""
        shape, given = tuple(values.shape), tuple(weights.shape)
        if len(given) == len(shape) + 1 and given[-1] == 1:
            weights, given = functional.reshape(weights, given[:-1]), given[:-1]
        if not given or shape[: len(given)] != given:
            raise ValueError(
                f"{self.label} gives values of shape {shape}, which weights of shape {given} do not fit. Return one "
                "value for each sample, and give one weight for each; or both for each step."
            )
        return weights

    def describe(self, y_pred: Any) -> str:
        """Say in words what it does with this output; `Model.summary` prints it."""
        return self.name

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets that do not fit outputs of this shape (without the axis of samples).

        Raises
        ------
        ValueError
            With what was expected, what came, and the cure.
        """

    def cast_targets(self, y: Any, like: Any) -> Any:
        """Return targets in the dtype and shape that `per_sample` takes with this output."""
        return match_targets(y, like)


def match_targets(y: Any, like: Any) -> Any:
    """Cast targets to the output's dtype, and give or take the last axis of length one that single numbers may have."""
    if y.dtype != like.dtype:
        y = namespace(y).astype(y, like.dtype)
    if len(y.shape) == len(like.shape) + 1 and y.shape[-1] == 1:
        return namespace(y).squeeze(y, axis=-1)
    if len(y.shape) == len(like.shape) - 1 and like.shape[-1] == 1:
        y = namespace(y).expand_dims(y, axis=-1)
    return y


def as_columns(values: Any) -> Any:
    """Give outputs of one number per sample, of shape (n,), a last axis of length one."""
    return functional.expand_dims(values, axis=-1) if len(values.shape) == 1 else values


def check_same_shape(owner: str, y: Any, output_shape: Shape) -> None:
    """Refuse targets of another shape than the outputs'; single numbers may lack the last axis of length one."""
    shape = tuple(y.shape[1:])
    if shape == tuple(output_shape) or (
        output_shape and output_shape[-1] == 1 and shape == tuple(output_shape[:-1])
    ):
        return
    units = shape[-1] if shape else 1
    raise ValueError(
        f"{owner} expects targets shaped like the outputs, {shown(output_shape)}, got {tuple(y.shape)}. Give "
        f"the last layer {units} unit{'' if units == 1 else 's'}, or reshape the targets."
    )


def check_classes(owner: str, output_shape: Shape, binary: str) -> None:
    """Refuse outputs that are not one for each of several classes; `binary` is what serves for yes or no."""
    if not output_shape or output_shape[-1] == 1:
        raise ValueError(
            f"{owner} expects one output for each of two or more classes, got one output. For yes or no use "
            f"{binary!r}; for classes give the last layer one unit per class."
        )


def check_returned(owner: str, values: Any) -> None:
    """Refuse what a function of one's own returned, if it is no array."""
    if not isinstance(values, Operators) and not is_array(values):
        raise TypeError(
            f"{owner} must return an array, got {type(values).__name__}. Return one value for each sample."
        )


class FunctionLoss(Loss):
    """A loss of one's own: a function of targets and outputs.

    Parameters
    ----------
    function : callable
        Takes ``(y_true, y_pred)``, returns a value for each sample; register it with `nnbackend.register` to save
        models that use it.
    name : str, optional
        Its name in tables.
    reduction : str or None
        As of `Loss`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> loss = nn.losses.FunctionLoss(lambda y, outputs: (outputs - y) ** 4)
    >>> float(loss(xp.asarray([[0.0], [0.0]]), xp.asarray([[1.0], [2.0]])))
    8.5
    """

    def __init__(
        self,
        function: Callable[[Any, Any], Any],
        name: str | None = None,
        reduction: str | None = "mean_with_sample_weight",
    ) -> None:
        super().__init__(name or getattr(function, "__name__", "loss"), reduction)
        self.function = function

    def per_sample(self, y_true: Any, y_pred: Any) -> Any:
        """Return what the function returns."""
        values = self.function(y_true, y_pred)
        check_returned(self.label, values)
        return values if values.shape else functional.reshape(values, (1,))
