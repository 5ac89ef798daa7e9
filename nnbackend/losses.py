"""Losses: what training makes small.

A loss has a value for each sample; that of a batch is their mean, weighted by the samples' weights. A cross-entropy
that is not told ``from_logits`` looks at what made the output: after softmax or sigmoid it takes that function's
input, which is exact where probabilities have run into 0 or 1; anything else is taken for logits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from nnbackend import functional
from nnbackend.autodiff import Operators, Tensor
from nnbackend.backend import backend_of, is_array, namespace, plain
from nnbackend.config import Configurable, find, snake_case
from nnbackend.typing import Shape

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "FunctionLoss",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "get",
    "weighted_mean",
]


def weighted_mean(values: Any, weights: Any | None) -> Any:
    r"""Mean of per-sample values,  :math:`\sum_i w_i v_i / \sum_i w_i`  (0 where all weights are 0).

    Keras divides by the number of samples instead; here weights that are all equal change nothing, and a sample of
    weight 0 is as if it were not there.
    """
    if weights is None:
        return functional.mean(values)
    total = functional.sum(weights)
    safe = functional.where(total > 0, total, 1.0)
    return functional.sum(values * weights) / safe


class Loss(Configurable):
    """What a loss is; subclasses define `per_sample`.

    Parameters
    ----------
    name : str, optional
        Its name in tables.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name or snake_case(type(self).__name__)

    def per_sample(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each sample, of shape (n,) or (n, ...)."""
        raise NotImplementedError(f"{type(self).__name__} must define per_sample(y_true, y_pred).")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any | None = None) -> Any:
        """Return the mean loss of a batch, a 0-d array.

        Parameters
        ----------
        y_true : array
            The targets.
        y_pred : array or Tensor
            The outputs.
        sample_weight : array of shape (n,), optional
            The weight of each sample.
        """
        with backend_of(plain(y_pred)).scope():
            if isinstance(y_pred, Operators) and is_array(y_true):
                y_true = Tensor(y_true)  # not every library's operators leave room for a tensor on the right
            values = self.per_sample(y_true, y_pred)
            if len(values.shape) > 1:
                values = functional.mean(values, axis=tuple(range(1, len(values.shape))))
            if sample_weight is not None and tuple(values.shape) != tuple(sample_weight.shape):
                raise ValueError(
                    f"The loss {self.name} gives values of shape {tuple(values.shape)}, which weights of shape "
                    f"{tuple(sample_weight.shape)} do not fit. Return one value for each sample."
                )
            return weighted_mean(values, sample_weight)

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
    raise ValueError(
        f"{owner} expects targets shaped like the outputs, {('n', *output_shape)}, got {tuple(y.shape)}. Give "
        f"the last layer {shape[-1] if shape else 1} units, or reshape the targets."
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


#: How far the sum of target probabilities may be from 1: half precision has three digits.
_SUM_TOLERANCE = 1e-2

#: Rules that make probabilities of logits.
_LINKS = ("sigmoid", "softmax")


class _Error(Loss):
    """What losses share that compare outputs with targets of the same shape, number by number."""

    #: The rule that gives the loss of each row.
    rule: ClassVar[Callable[[Any, Any], Any]]

    def per_sample(self, y_true: Any, y_pred: Any) -> Any:
        """Return the mean error of each sample."""
        return type(self).rule(as_columns(y_pred), as_columns(y_true))

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets of another shape than the outputs'."""
        check_same_shape(f"The loss {self.name}", y, output_shape)


class MeanSquaredError(_Error):
    r"""Mean squared error over the last axis,  :math:`\frac1k \sum_j (\hat y_j - y_j)^2`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> float(nn.losses.MeanSquaredError()(xp.asarray([[0.0], [2.0]]), xp.asarray([[1.0], [2.0]])))
    0.5
    """

    rule = functional.mean_squared_error


class MeanAbsoluteError(_Error):
    r"""Mean absolute error over the last axis,  :math:`\frac1k \sum_j |\hat y_j - y_j|`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> float(nn.losses.MeanAbsoluteError()(xp.asarray([[0.0], [2.0]]), xp.asarray([[1.0], [2.0]])))
    0.5
    """

    rule = functional.mean_absolute_error


class _Crossentropy(Loss):
    """What cross-entropies share: the choice between logits and probabilities.

    Parameters
    ----------
    from_logits : bool, optional
        Whether outputs are logits (True) or probabilities (False). Without it, what made the output decides: after
        softmax or sigmoid the loss takes that function's input; other outputs are taken for logits.
    name : str, optional
        Its name in tables.
    """

    #: The rule whose input is logits.
    link = "softmax"
    #: The rules that give the loss of each row, from logits and from probabilities.
    of_logits: ClassVar[Callable[[Any, Any], Any]]
    of_probabilities: ClassVar[Callable[[Any, Any], Any]]

    def __init__(self, from_logits: bool | None = None, name: str | None = None) -> None:
        super().__init__(name)
        self.from_logits = from_logits

    def logits(self, y_pred: Any) -> Any | None:
        """Return the logits behind an output, or None where it is to be taken for probabilities.

        Raises
        ------
        ValueError
            If the output is made by another function than the loss's own: it holds no logits.
        """
        if self.from_logits is True:
            return y_pred
        if self.from_logits is False:
            return None
        origin: tuple[Any, ...] | None = y_pred.origin if isinstance(y_pred, Tensor) else None
        if origin is None or origin[0] not in _LINKS:
            return y_pred
        rule, arguments = origin[:2]
        axis = origin[2].get("axis", -1) if len(origin) > 2 else -1
        if rule != self.link or axis not in (-1, len(y_pred.shape) - 1):
            over = "" if axis == -1 else f" over axis {axis}"
            raise ValueError(
                f"The loss {self.name} expects outputs of {self.link} over the last axis, or logits, got the output of "
                f"{rule}{over}. Change the activation, or say from_logits=False."
            )
        return arguments[0]

    def per_sample(self, y_true: Any, y_pred: Any) -> Any:
        """Return the cross-entropy of each sample."""
        logits = self.logits(y_pred)
        rule, outputs = (
            (type(self).of_probabilities, y_pred) if logits is None else (type(self).of_logits, logits)
        )
        if len(outputs.shape) == 1:
            outputs, y_true = as_columns(outputs), as_columns(y_true)
        return rule(outputs, y_true)

    def outputs_logits(self, y_pred: Any) -> bool:
        """Tell whether the output itself, as the model gives it, is logits."""
        return self.logits(y_pred) is y_pred

    def describe(self, y_pred: Any) -> str:
        """Say whether it works on logits or probabilities, and why."""
        logits = self.logits(y_pred)
        if logits is None:
            return f"{self.name} on probabilities (from_logits=False)"
        if logits is y_pred:
            if self.from_logits:
                return f"{self.name} on logits (from_logits=True)"
            return (
                f"{self.name} on logits (no softmax or sigmoid at the end); if the output holds probabilities, say "
                "from_logits=False"
            )
        return f"{self.name} on the logits that the last {self.link} is given"


class CategoricalCrossentropy(_Crossentropy):  # numpydoc ignore=PR02
    r"""Cross-entropy with one-hot targets or target probabilities,  :math:`-\sum_j t_j \ln p_j`.

    Parameters
    ----------
    from_logits : bool, optional
        Whether outputs are logits or probabilities; without it, what made the output decides.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> loss = nn.losses.CategoricalCrossentropy(from_logits=False)
    >>> round(float(loss(xp.asarray([[0.0, 1.0]]), xp.asarray([[0.5, 0.5]]))), 6)
    0.693147
    """

    of_probabilities = functional.categorical_crossentropy
    of_logits = functional.softmax_crossentropy

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets that are not one row of class probabilities per output."""
        check_classes(f"The loss {self.name}", output_shape, "binary_crossentropy")
        if tuple(y.shape[1:]) == tuple(output_shape):
            self._check_probabilities(y)
            return
        cure = (
            "For whole-number labels use the loss 'sparse_categorical_crossentropy'."
            if len(y.shape) == len(output_shape)
            else f"Give the last layer {y.shape[-1]} units."
        )
        raise ValueError(
            f"The loss {self.name} expects one-hot targets of shape {('n', *output_shape)}, got "
            f"{tuple(y.shape)}. {cure}"
        )

    def _check_probabilities(self, y: Any) -> None:
        """Refuse rows of targets that are negative, not finite, or do not sum to 1."""
        array = plain(y)
        if 0 in array.shape:
            return
        backend = backend_of(array)
        with backend.scope():
            xp = backend.xp
            values = xp.astype(array, xp.float64)
            sums = xp.sum(values, axis=-1)
            least, low, high = float(xp.min(values)), float(xp.min(sums)), float(xp.max(sums))
        if not (least >= 0.0 and low >= 1.0 - _SUM_TOLERANCE and high <= 1.0 + _SUM_TOLERANCE):  # NaN as well
            raise ValueError(
                f"The loss {self.name} expects targets of zero or more that sum to 1 in each row, got sums from "
                f"{low:g} to {high:g} and the least target {least:g}. Divide each row by its sum; for several yes-or-"
                "no targets per sample use sigmoid outputs and the loss 'binary_crossentropy'."
            )


class SparseCategoricalCrossentropy(_Crossentropy):  # numpydoc ignore=PR02
    r"""Cross-entropy with whole-number labels,  :math:`-\ln p_t`.

    Parameters
    ----------
    from_logits : bool, optional
        Whether outputs are logits or probabilities; without it, what made the output decides.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> loss = nn.losses.SparseCategoricalCrossentropy()
    >>> round(float(loss(xp.asarray([1]), xp.asarray([[0.0, 0.0]]))), 6)
    0.693147
    """

    of_probabilities = functional.sparse_categorical_crossentropy
    of_logits = functional.sparse_softmax_crossentropy

    def cast_targets(self, y: Any, like: Any) -> Any:
        """Return labels of shape (n, ...), without a last axis of length one."""
        if len(y.shape) == len(like.shape) and y.shape[-1] == 1:
            y = namespace(y).squeeze(y, axis=-1)
        xp = namespace(y)
        return y if "float" not in str(y.dtype) else xp.astype(y, xp.int64)

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse labels of the wrong shape, labels that are not whole, and labels out of range."""
        check_classes(f"The loss {self.name}", output_shape, "binary_crossentropy")
        classes = output_shape[-1]
        shape = tuple(y.shape[1:])
        if shape not in (tuple(output_shape[:-1]), (*output_shape[:-1], 1)):
            cure = (
                "For one-hot targets use the loss 'categorical_crossentropy'."
                if shape == tuple(output_shape)
                else "Give one label for each output row."
            )
            raise ValueError(
                f"The loss {self.name} expects whole-number labels of shape {('n', *output_shape[:-1])}, got "
                f"{tuple(y.shape)}. {cure}"
            )
        array = plain(y)
        backend = backend_of(array)
        with backend.scope():
            xp = backend.xp
            if "float" in str(array.dtype) and not bool(xp.all(xp.floor(array) == array)):
                raise ValueError(
                    f"The loss {self.name} expects whole-number labels, got fractions in {array.dtype}."
                )
            if 0 in array.shape:
                return
            low, high = int(xp.min(array)), int(xp.max(array))
        if low < 0 or high >= classes:
            raise ValueError(
                f"The loss {self.name} expects labels from 0 to {classes - 1}, since the outputs have {classes} "
                f"classes, got labels from {low} to {high}. Number the classes from 0, or give the last layer "
                f"{high + 1} units."
            )


class BinaryCrossentropy(_Crossentropy):  # numpydoc ignore=PR02
    r"""Cross-entropy of yes-or-no targets, mean over the last axis,
    :math:`-t \ln p - (1 - t) \ln (1 - p)`.

    Parameters
    ----------
    from_logits : bool, optional
        Whether outputs are logits or probabilities; without it, what made the output decides.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> round(float(nn.losses.BinaryCrossentropy()(xp.asarray([[1.0]]), xp.asarray([[0.0]]))), 6)
    0.693147
    """

    link = "sigmoid"

    of_probabilities = functional.binary_crossentropy
    of_logits = functional.sigmoid_binary_crossentropy

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets of another shape than the outputs', and outside of 0 to 1."""
        check_same_shape(f"The loss {self.name}", y, output_shape)
        array = plain(y)
        backend = backend_of(array)
        if 0 in array.shape or "bool" in str(array.dtype):
            return
        with backend.scope():
            low, high = float(backend.xp.min(array)), float(backend.xp.max(array))
        if not (low >= 0.0 and high <= 1.0):  # NaN as well
            raise ValueError(
                f"The loss {self.name} expects targets from 0 to 1, got values from {low:g} to {high:g}. For labels -1 "
                "and 1 use (y + 1) / 2; for several classes 'sparse_categorical_crossentropy'."
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
    """

    def __init__(self, function: Callable[[Any, Any], Any], name: str | None = None) -> None:
        super().__init__(name or getattr(function, "__name__", "loss"))
        self.function = function

    def per_sample(self, y_true: Any, y_pred: Any) -> Any:
        """Return what the function returns."""
        values = self.function(y_true, y_pred)
        check_returned(f"The loss {self.name}", values)
        return values if values.shape else functional.reshape(values, (1,))


_BY_NAME: dict[str, Callable[[], Loss]] = {
    snake_case(cls.__name__): cls
    for cls in (
        BinaryCrossentropy,
        CategoricalCrossentropy,
        MeanAbsoluteError,
        MeanSquaredError,
        SparseCategoricalCrossentropy,
    )
}
_BY_NAME |= {"mse": MeanSquaredError, "mae": MeanAbsoluteError}


def get(which: Any) -> Loss:
    """Return a loss by its name, such as ``"mean_squared_error"``; a Loss as it is; a function as a loss.

    Raises
    ------
    ValueError
        If the name is unknown; the nearest known one is named.
    TypeError
        If it is a class.
    """
    if isinstance(which, Loss):
        return which
    if callable(which) and not isinstance(which, type):
        return FunctionLoss(which)
    return find("loss", which, _BY_NAME)()
