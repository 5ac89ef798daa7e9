"""Losses of classes: cross-entropies and their kin, from logits or from probabilities."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from nnbackend import functional
from nnbackend.arguments import shown
from nnbackend.autodiff import Operators, Tensor
from nnbackend.backend import backend_of, host, namespace, plain
from nnbackend.losses.base import Loss, as_columns, check_classes, check_same_shape
from nnbackend.typing import Shape

__all__ = [
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "NegativeLogLikelihood",
    "SparseCategoricalCrossentropy",
]

#: How far the sum of target probabilities may be from 1: half precision has three digits.
_SUM_TOLERANCE = 1e-2

#: Rules that make probabilities of logits.
_LINKS = ("sigmoid", "softmax")

_MEAN = "mean_with_sample_weight"


class _Crossentropy(Loss):
    """What cross-entropies share: the choice between logits and probabilities.

    Parameters
    ----------
    from_logits : bool, optional
        Whether outputs are logits (True) or probabilities (False). Without it, what made the output decides: after
        softmax or sigmoid the loss takes that function's input; other outputs, plain arrays among them, are taken
        for logits.
    name : str, optional
        Its name in tables.
    reduction : str or None
        As of `Loss`.
    """

    #: The rule whose input is logits.
    link = "softmax"

    def __init__(
        self, from_logits: bool | None = None, name: str | None = None, reduction: str | None = _MEAN
    ) -> None:
        super().__init__(name, reduction)
        self.from_logits = from_logits
        self._has_warned = False

    def __call__(
        self, y_true: Any, y_pred: Any, sample_weight: Any | None = None, mask: Any | None = None
    ) -> Any:
        """Return the loss of a batch, as `Loss` does; warn where what is taken for logits looks like probabilities.

        Only arrays of the host are looked at, and only if `from_logits` is not given: a training step gives tensors,
        which know what made them.
        """
        if self.from_logits is None and not isinstance(y_pred, Operators) and self._looks_normalized(y_pred):
            warnings.warn(
                f"{self.label} takes these outputs for logits, but they look like probabilities. Say "
                "from_logits=False if they are; from_logits=True if they are logits.",
                UserWarning,
                stacklevel=2,
            )
        return super().__call__(y_true, y_pred, sample_weight, mask)

    def _looks_normalized(self, outputs: Any) -> bool:
        """Tell whether an array of the host holds what softmax or sigmoid could have made."""
        if not host().owns(outputs) or not hasattr(outputs, "__array_interface__"):
            return False  # a step that is recorded or traced has no values to look at
        if 0 in outputs.shape or not outputs.shape:
            return False
        xp = host().xp
        if not bool(xp.all((outputs >= 0.0) & (outputs <= 1.0))) or not bool(xp.any(outputs)):
            return False
        if self.link == "sigmoid":
            return True
        return outputs.ndim > 1 and bool(xp.all(xp.abs(xp.sum(outputs, axis=-1) - 1.0) <= _SUM_TOLERANCE))

    def of_logits(self, logits: Any, targets: Any) -> Any:
        """Return the loss of each row of logits."""
        raise NotImplementedError(f"{type(self).__name__} must define of_logits(logits, targets).")

    def of_probabilities(self, probabilities: Any, targets: Any) -> Any:
        """Return the loss of each row of probabilities."""
        raise NotImplementedError(
            f"{type(self).__name__} must define of_probabilities(probabilities, targets)."
        )

    def logits(self, y_pred: Any) -> Any | None:
        """Return the logits behind an output, or None where it is to be taken for probabilities.

        Raises
        ------
        ValueError
            If the output is made by another function than the loss's own: it holds no logits.
        """
        origin: tuple[Any, ...] | None = y_pred.origin if isinstance(y_pred, Tensor) else None
        if self.from_logits is True:
            if origin is not None and origin[0] == self.link:
                self._warn_of_link()
            return y_pred
        if self.from_logits is False:
            return None
        if origin is None or origin[0] not in _LINKS:
            return y_pred
        rule, arguments = origin[:2]
        axis = origin[2].get("axis", -1) if len(origin) > 2 else -1
        if rule != self.link or axis not in (-1, len(y_pred.shape) - 1):
            over = "" if axis == -1 else f" over axis {axis}"
            raise ValueError(
                f"{self.label} expects outputs of {self.link} over the last axis, or logits, got the output of "
                f"{rule}{over}. Change the activation, or say from_logits=False."
            )
        return arguments[0]

    def _warn_of_link(self) -> None:
        """Warn, once, that an output is what logits become."""
        if self._has_warned:
            return
        self._has_warned = True
        warnings.warn(
            f"{self.label} has from_logits=True, but gets the output of {self.link}, which holds probabilities. Leave "
            f"out {self.link} at the end of the model, or from_logits.",
            UserWarning,
            stacklevel=2,
        )

    def per_sample(self, y_true: Any, y_pred: Any) -> Any:
        """Return the cross-entropy of each sample."""
        logits = self.logits(y_pred)
        outputs = y_pred if logits is None else logits
        if len(outputs.shape) == 1:
            outputs, y_true = as_columns(outputs), as_columns(y_true)
        return self.of_probabilities(outputs, y_true) if logits is None else self.of_logits(outputs, y_true)

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


def _share(owner: str, label_smoothing: float) -> float:
    """Return a share of the labels that is spread over all classes, if it is one."""
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"{owner} expects label_smoothing from 0 to 1, got {label_smoothing!r}.")
    return float(label_smoothing)


def _smoothed(targets: Any, like: Any, share: float, uniform: float) -> Any:
    """Return  (1 - s) t + s u:  targets of which a share is spread evenly."""
    if share == 0.0:
        return targets
    if targets.dtype != like.dtype:
        targets = functional.astype(targets, like.dtype)
    return targets * (1.0 - share) + share * uniform


class CategoricalCrossentropy(_Crossentropy):  # numpydoc ignore=PR02
    r"""Cross-entropy with one-hot targets or target probabilities,  :math:`-\sum_j t_j \ln p_j`.

    Parameters
    ----------
    from_logits : bool, optional
        Whether outputs are logits or probabilities. Without it, what made the output decides, and plain arrays are
        taken for **logits**: say False for probabilities.
    label_smoothing : float
        The share s of each target that is spread evenly over all k classes: :math:`(1 - s) t + s/k`.
    name : str, optional
        Its name in tables.
    reduction : str or None
        As of `Loss`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> loss = nn.losses.CategoricalCrossentropy(from_logits=False)
    >>> round(float(loss(xp.asarray([[0.0, 1.0]]), xp.asarray([[0.5, 0.5]]))), 6)
    0.693147
    """

    def __init__(
        self,
        from_logits: bool | None = None,
        label_smoothing: float = 0.0,
        name: str | None = None,
        reduction: str | None = _MEAN,
    ) -> None:
        super().__init__(from_logits, name, reduction)
        self.label_smoothing = _share(type(self).__name__, label_smoothing)

    def smoothed(self, targets: Any, like: Any) -> Any:
        """Return targets of which a share is spread evenly."""
        return _smoothed(targets, like, self.label_smoothing, 1.0 / like.shape[-1])

    def of_logits(self, logits: Any, targets: Any) -> Any:
        """Return the cross-entropy of each row."""
        return functional.softmax_crossentropy(logits, self.smoothed(targets, logits))

    def of_probabilities(self, probabilities: Any, targets: Any) -> Any:
        """Return the cross-entropy of each row."""
        return functional.categorical_crossentropy(probabilities, self.smoothed(targets, probabilities))

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets that are not one row of class probabilities per output."""
        check_classes(self.label, output_shape, "binary_crossentropy")
        if tuple(y.shape[1:]) == tuple(output_shape):
            self._check_probabilities(y)
            return
        cure = (
            "For whole-number labels use the loss 'sparse_categorical_crossentropy'."
            if len(y.shape) == len(output_shape)
            else f"Give the last layer {y.shape[-1]} units."
        )
        raise ValueError(
            f"{self.label} expects one-hot targets of shape {shown(output_shape)}, got "
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
                f"{self.label} expects targets of zero or more that sum to 1 in each row, got sums from "
                f"{low:g} to {high:g} and the least target {least:g}. Divide each row by its sum; for several yes-or-"
                "no targets per sample use sigmoid outputs and the loss 'binary_crossentropy'."
            )


class _OfLabels(Loss):
    """What losses of whole-number labels share: their form, their range, and the label that does not count."""

    #: The label of targets that do not count.
    ignore_class: int | None = None

    def counted(self, y_true: Any) -> Any | None:
        """Return which labels are not the one to ignore."""
        if self.ignore_class is None:
            return None
        labels = plain(y_true)
        xp = namespace(labels)
        return xp.astype(labels, xp.int64) != self.ignore_class

    def per_label(self, labels: Any, y_pred: Any) -> Any:
        """Return the loss of each label, all of which are classes."""
        return super().per_sample(labels, y_pred)

    def per_sample(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each label, 0 where it does not count."""
        counted = self.counted(y_true)
        if counted is None:
            return self.per_label(y_true, y_pred)
        labels = plain(y_true)
        values = self.per_label(functional.where(counted, labels, functional.zeros_like(labels)), y_pred)
        return functional.where(counted, values, 0.0)

    def cast_targets(self, y: Any, like: Any) -> Any:
        """Return labels of shape (n, ...), without a last axis of length one."""
        if len(y.shape) == len(like.shape) and y.shape[-1] == 1:
            y = namespace(y).squeeze(y, axis=-1)
        xp = namespace(y)
        return y if "float" not in str(y.dtype) else xp.astype(y, xp.int64)

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse labels of the wrong shape, labels that are not whole, and labels out of range."""
        check_classes(self.label, output_shape, "binary_crossentropy")
        classes = output_shape[-1]
        shape = tuple(y.shape[1:])
        if shape not in (tuple(output_shape[:-1]), (*output_shape[:-1], 1)):
            cure = (
                "For one-hot targets use the loss 'categorical_crossentropy'."
                if shape == tuple(output_shape)
                else "Give one label for each output row; for one a sample, put Flatten before the last layer."
            )
            raise ValueError(
                f"{self.label} expects whole-number labels of shape {shown(output_shape[:-1])}, got "
                f"{tuple(y.shape)}. {cure}"
            )
        array = plain(y)
        backend = backend_of(array)
        with backend.scope():
            xp = backend.xp
            if self.ignore_class is not None:
                array = xp.where(self.counted(array), array, xp.zeros_like(array))
            if "float" in str(array.dtype) and not bool(xp.all(xp.floor(array) == array)):
                raise ValueError(f"{self.label} expects whole-number labels, got fractions in {array.dtype}.")
            if 0 in array.shape:
                return
            low, high = int(xp.min(array)), int(xp.max(array))
        if low < 0:
            cure = (
                f"Number the classes from 0; where {low} marks padding or what is not known, say ignore_class={low}, "
                "or put a class there and give it a sample_weight of 0."
            )
        elif high >= classes:
            cure = (
                f"Number the classes from 0, or give the last layer {high + 1} units; a label of padding is "
                "ignore_class=."
            )
        else:
            return
        raise ValueError(
            f"{self.label} expects labels from 0 to {classes - 1}, since the outputs have {classes} "
            f"classes, got labels from {low} to {high}. {cure}"
        )


class SparseCategoricalCrossentropy(_OfLabels, _Crossentropy):  # numpydoc ignore=PR02
    r"""Cross-entropy with whole-number labels,  :math:`-\ln p_t`.

    Parameters
    ----------
    from_logits : bool, optional
        Whether outputs are logits or probabilities. Without it, what made the output decides, and plain arrays are
        taken for **logits**: say False for probabilities.
    ignore_class : int, optional
        Targets with this label do not count, such as -1 for padding or 255 for the edges of regions.
    label_smoothing : float
        The share of each target that is spread evenly over all classes.
    name : str, optional
        Its name in tables.
    reduction : str or None
        As of `Loss`.

    Notes
    -----
    A label that is no class, such as -1, is refused by a model and gives NaN where the loss is called by hand, unless
    it is the one to ignore, or its weight is 0: `ignore_class` is PyTorch's `ignore_index`, which is -100 there.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> loss = nn.losses.SparseCategoricalCrossentropy()
    >>> round(float(loss(xp.asarray([1]), xp.asarray([[0.0, 0.0]]))), 6)
    0.693147
    """

    def __init__(
        self,
        from_logits: bool | None = None,
        ignore_class: int | None = None,
        label_smoothing: float = 0.0,
        name: str | None = None,
        reduction: str | None = _MEAN,
    ) -> None:
        super().__init__(from_logits, name, reduction)
        self.ignore_class = ignore_class
        self.label_smoothing = _share(type(self).__name__, label_smoothing)

    def of_logits(self, logits: Any, targets: Any) -> Any:
        """Return the cross-entropy of each row."""
        hard = functional.sparse_softmax_crossentropy(logits, targets)
        return self._with_even(hard, functional.softmax_crossentropy, logits)

    def of_probabilities(self, probabilities: Any, targets: Any) -> Any:
        """Return the cross-entropy of each row."""
        hard = functional.sparse_categorical_crossentropy(probabilities, targets)
        return self._with_even(hard, functional.categorical_crossentropy, probabilities)

    def _with_even(self, hard: Any, rule: Any, outputs: Any) -> Any:
        """Mix in the cross-entropy of even targets, which is that of smoothed labels."""
        share = self.label_smoothing
        if share == 0.0:
            return hard
        even = functional.full_like(plain(outputs), 1.0 / outputs.shape[-1])
        return hard * (1.0 - share) + rule(outputs, even) * share


class BinaryCrossentropy(_Crossentropy):  # numpydoc ignore=PR02
    r"""Cross-entropy of yes-or-no targets, mean over the last axis,
    :math:`-t \ln p - (1 - t) \ln (1 - p)`.

    Parameters
    ----------
    from_logits : bool, optional
        Whether outputs are logits or probabilities. Without it, what made the output decides, and plain arrays are
        taken for **logits**: say False for probabilities.
    label_smoothing : float
        The share s of each target that is drawn towards the middle: :math:`(1 - s) t + s/2`.
    name : str, optional
        Its name in tables.
    reduction : str or None
        As of `Loss`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> round(float(nn.losses.BinaryCrossentropy()(xp.asarray([[1.0]]), xp.asarray([[0.0]]))), 6)
    0.693147
    """

    link = "sigmoid"

    def __init__(
        self,
        from_logits: bool | None = None,
        label_smoothing: float = 0.0,
        name: str | None = None,
        reduction: str | None = _MEAN,
    ) -> None:
        super().__init__(from_logits, name, reduction)
        self.label_smoothing = _share(type(self).__name__, label_smoothing)

    def smoothed(self, targets: Any, like: Any) -> Any:
        """Return targets of which a share is drawn towards the middle."""
        return _smoothed(targets, like, self.label_smoothing, 0.5)

    def of_logits(self, logits: Any, targets: Any) -> Any:
        """Return the mean cross-entropy of each row."""
        return functional.sigmoid_binary_crossentropy(logits, self.smoothed(targets, logits))

    def of_probabilities(self, probabilities: Any, targets: Any) -> Any:
        """Return the mean cross-entropy of each row."""
        return functional.binary_crossentropy(probabilities, self.smoothed(targets, probabilities))

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets of another shape than the outputs', and outside of 0 to 1."""
        check_same_shape(self.label, y, output_shape)
        array = plain(y)
        backend = backend_of(array)
        if 0 in array.shape or "bool" in str(array.dtype):
            return
        with backend.scope():
            low, high = float(backend.xp.min(array)), float(backend.xp.max(array))
        if not (low >= 0.0 and high <= 1.0):  # NaN as well
            raise ValueError(
                f"{self.label} expects targets from 0 to 1, got values from {low:g} to {high:g}. For labels -1 "
                "and 1 use (y + 1) / 2; for several classes 'sparse_categorical_crossentropy'."
            )


class CategoricalGeneralizedCrossEntropy(_OfLabels, _Crossentropy):  # numpydoc ignore=PR02
    r"""Cross-entropy that is bounded, for labels some of which are wrong,  :math:`(1 - p_t^q) / q`.

    Parameters
    ----------
    q : float
        Above 0 and at most 1: towards 0 it is the cross-entropy, at 1 half the absolute error.
    from_logits : bool, optional
        Whether outputs are logits or probabilities. Without it, what made the output decides, and plain arrays are
        taken for **logits**: say False for probabilities.
    name : str, optional
        Its name in tables.
    reduction : str or None
        As of `Loss`.

    Notes
    -----
    Targets are whole-number labels, as in Keras, which takes probabilities only.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> loss = nn.losses.CategoricalGeneralizedCrossEntropy(from_logits=False)
    >>> round(float(loss(xp.asarray([1]), xp.asarray([[0.75, 0.25]]))), 6)
    1.0
    """

    def __init__(
        self,
        q: float = 0.5,
        from_logits: bool | None = None,
        name: str | None = None,
        reduction: str | None = _MEAN,
    ) -> None:
        super().__init__(from_logits, name, reduction)
        if not 0.0 < q <= 1.0:
            raise ValueError(f"{self.label} expects q above 0 and at most 1, got {q!r}.")
        self.q = q

    def of_logits(self, logits: Any, targets: Any) -> Any:
        """Return the loss of each row."""
        return functional.generalized_crossentropy(
            functional.sparse_softmax_crossentropy(logits, targets), q=self.q
        )

    def of_probabilities(self, probabilities: Any, targets: Any) -> Any:
        """Return the loss of each row."""
        return functional.generalized_crossentropy(
            functional.sparse_categorical_crossentropy(probabilities, targets), q=self.q
        )


class NegativeLogLikelihood(_OfLabels):
    r"""Negative logarithm of the label's probability, for outputs that are logarithms already,  :math:`-z_t`.

    Parameters
    ----------
    ignore_class : int, optional
        Targets with this label do not count, such as -1 for padding.
    name : str, optional
        Its name in tables.
    reduction : str or None
        As of `Loss`.

    Notes
    -----
    PyTorch's NLLLoss. After log_softmax it is `SparseCategoricalCrossentropy`, which takes the logits themselves.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> float(nn.losses.NegativeLogLikelihood()(xp.asarray([1]), xp.asarray([[-0.5, -1.0]])))
    1.0
    """

    def __init__(
        self, ignore_class: int | None = None, name: str | None = None, reduction: str | None = _MEAN
    ) -> None:
        super().__init__(name, reduction)
        self.ignore_class = ignore_class

    def per_label(self, labels: Any, y_pred: Any) -> Any:
        """Return the loss of each label."""
        return functional.negative_log_likelihood(y_pred, labels)


class BinaryFocalCrossentropy(BinaryCrossentropy):  # numpydoc ignore=PR02
    r"""Binary cross-entropy b that looks away from what is right already, mean over the last axis,
    :math:`\alpha_t\, q^\gamma\, b` with the share  :math:`q = t (1 - p) + (1 - t) p`  that is missed.

    Parameters
    ----------
    apply_class_balancing : bool
        Whether targets of 1 weigh `alpha` and those of 0 weigh 1 - `alpha`.
    alpha : float
        The weight of targets of 1.
    gamma : float
        How much it looks away; 0 gives the cross-entropy.
    from_logits : bool, optional
        Whether outputs are logits or probabilities. Without it, what made the output decides, and plain arrays are
        taken for **logits**: say False for probabilities.
    label_smoothing : float
        The share s of each target that is drawn towards the middle: :math:`(1 - s) t + s/2`.
    name : str, optional
        Its name in tables.
    reduction : str or None
        As of `Loss`.

    References
    ----------
    Lin et al., Focal loss for dense object detection, 2017. arXiv 1708.02002.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> round(float(nn.losses.BinaryFocalCrossentropy()(xp.asarray([[1.0]]), xp.asarray([[0.0]]))), 6)
    0.173287
    """

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool | None = None,
        label_smoothing: float = 0.0,
        name: str | None = None,
        reduction: str | None = _MEAN,
    ) -> None:
        super().__init__(from_logits, label_smoothing, name, reduction)
        self.alpha = alpha if apply_class_balancing else None
        self.gamma = gamma

    def of_logits(self, logits: Any, targets: Any) -> Any:
        """Return the mean focal loss of each row."""
        smoothed = self.smoothed(targets, logits)
        return functional.sigmoid_focal_crossentropy(logits, smoothed, gamma=self.gamma, alpha=self.alpha)

    def of_probabilities(self, probabilities: Any, targets: Any) -> Any:
        """Return the mean focal loss of each row."""
        smoothed = self.smoothed(targets, probabilities)
        return functional.binary_focal_crossentropy(
            probabilities, smoothed, gamma=self.gamma, alpha=self.alpha
        )


class CategoricalFocalCrossentropy(CategoricalCrossentropy):  # numpydoc ignore=PR02
    r"""Cross-entropy that looks away from what is right already,
    :math:`-\sum_j \alpha_j (1 - p_j)^\gamma\, t_j \ln p_j`.

    Parameters
    ----------
    alpha : float or sequence of float
        The weight of all classes, or one for each.
    gamma : float
        How much it looks away.
    from_logits : bool, optional
        Whether outputs are logits or probabilities. Without it, what made the output decides, and plain arrays are
        taken for **logits**: say False for probabilities.
    label_smoothing : float
        The share s of each target that is spread evenly over all k classes: :math:`(1 - s) t + s/k`.
    name : str, optional
        Its name in tables.
    reduction : str or None
        As of `Loss`.

    References
    ----------
    Lin et al., Focal loss for dense object detection, 2017. arXiv 1708.02002.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> loss = nn.losses.CategoricalFocalCrossentropy(alpha=1.0)
    >>> round(float(loss(xp.asarray([[0.0, 1.0]]), xp.asarray([[0.0, 0.0]]))), 6)
    0.173287
    """

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        from_logits: bool | None = None,
        label_smoothing: float = 0.0,
        name: str | None = None,
        reduction: str | None = _MEAN,
    ) -> None:
        super().__init__(from_logits, label_smoothing, name, reduction)
        self.alpha = alpha if isinstance(alpha, (int, float)) else tuple(alpha)
        self.gamma = gamma

    def of_logits(self, logits: Any, targets: Any) -> Any:
        """Return the focal loss of each row."""
        smoothed = self.smoothed(targets, logits)
        return functional.softmax_focal_crossentropy(logits, smoothed, gamma=self.gamma, alpha=self.alpha)

    def of_probabilities(self, probabilities: Any, targets: Any) -> Any:
        """Return the focal loss of each row."""
        smoothed = self.smoothed(targets, probabilities)
        return functional.categorical_focal_crossentropy(
            probabilities, smoothed, gamma=self.gamma, alpha=self.alpha
        )
