"""Accuracies: the share of right answers; NaN where an output is NaN."""

from __future__ import annotations

from typing import Any

from nnbackend.arguments import shown
from nnbackend.backend import backend_of, namespace
from nnbackend.losses.base import check_classes, check_same_shape, combine_weights
from nnbackend.metrics.base import Logits, MeanMetric, Metric, require_whole, where_known
from nnbackend.typing import Shape, Tree

__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
]


class BinaryAccuracy(MeanMetric):
    """Share of outputs on the target's side of a threshold.

    Parameters
    ----------
    threshold : float, optional
        Above it an output means 1. Without it, 0.5, or 0 where the outputs are logits.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.BinaryAccuracy()(xp.asarray([[1.0], [0.0]]), xp.asarray([[0.9], [0.8]]))
    0.5
    """

    def __init__(self, threshold: float | None = None, name: str | None = None) -> None:
        super().__init__(name)
        self.threshold = threshold

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: Logits) -> Any:
        """Return 1 where output and target agree."""
        threshold = self.threshold if self.threshold is not None else 0.0 if logits else 0.5
        xp = namespace(y_pred)
        if len(y_true.shape) == len(y_pred.shape) - 1:
            y_true = xp.expand_dims(y_true, axis=-1)
        wanted = y_true if "bool" in str(y_true.dtype) else y_true > _half(y_true)
        return where_known(xp.astype((y_pred > threshold) == wanted, xp.float64), y_pred)

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets of another shape than the outputs'."""
        _check_same_shape(self, y, output_shape, "For several classes use 'accuracy'.")


def _half(y: Any) -> float | int:
    return 0.5 if "float" in str(y.dtype) else 0


class CategoricalAccuracy(MeanMetric):
    """Share of samples whose largest output stands where the one-hot target is largest.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.CategoricalAccuracy()(xp.asarray([[0.0, 1.0]]), xp.asarray([[0.2, 0.8]]))
    1.0
    """

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: Logits) -> Any:
        """Return 1 where the sample is right."""
        xp = namespace(y_pred)
        right = xp.argmax(y_pred, axis=-1) == xp.argmax(y_true, axis=-1)
        return where_known(xp.astype(right, xp.float64), y_pred)

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets that are not one-hot."""
        check_classes(f"The metric {self.name}", output_shape, "binary_accuracy")
        _check_same_shape(self, y, output_shape, "For whole-number labels use 'sparse_categorical_accuracy'.")


class _OfLabels(MeanMetric):
    """What accuracies of whole-number labels share: the label that does not count."""

    def __init__(self, name: str | None = None, *, ignore_class: int | None = None) -> None:
        super().__init__(name)
        self.ignore_class = ignore_class

    def update(
        self, state: Tree, y_true: Any, y_pred: Any, weight: Any | None, *, logits: Logits = False
    ) -> Tree:
        """Add the batch to the sums, without the labels that do not count."""
        if self.ignore_class is not None:
            weight = combine_weights(weight, _one_for_each_row(y_true, y_pred) != self.ignore_class)
        return super().update(state, y_true, y_pred, weight, logits=logits)


def _one_for_each_row(labels: Any, outputs: Any) -> Any:
    """Return labels without a last axis of length one."""
    return namespace(labels).squeeze(labels, axis=-1) if len(labels.shape) == len(outputs.shape) else labels


class SparseCategoricalAccuracy(_OfLabels):  # numpydoc ignore=PR02
    """Share of samples whose largest output is that of the label.

    Parameters
    ----------
    name : str, optional
        Its name in tables.
    ignore_class : int, optional
        Targets with this label do not count, such as -1 for padding.

    Notes
    -----
    A label that is no class, such as -1, counts as wrong unless it is the one to ignore, or its weight is 0.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.SparseCategoricalAccuracy()(xp.asarray([1]), xp.asarray([[0.2, 0.8]]))
    1.0
    """

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: Logits) -> Any:
        """Return 1 where the sample is right."""
        xp = namespace(y_pred)
        best = xp.argmax(y_pred, axis=-1)
        right = best == xp.astype(_one_for_each_row(y_true, y_pred), best.dtype)
        return where_known(xp.astype(right, xp.float64), y_pred)

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets that are not one label for each row of outputs."""
        _check_labels(self, y, output_shape, "categorical_accuracy")


def _check_labels(metric: Metric, y: Any, output_shape: Shape, one_hot: str) -> None:
    check_classes(f"The metric {metric.name}", output_shape, "binary_accuracy")
    rows, shape = tuple(output_shape[:-1]), tuple(y.shape[1:])
    if shape not in (rows, (*rows, 1)):
        raise ValueError(
            f"The metric {metric.name} expects whole-number labels of shape {shown(rows)}, got {tuple(y.shape)}. "
            f"For one-hot targets use {one_hot!r}."
        )


def _check_same_shape(metric: Metric, y: Any, output_shape: Shape, cure: str) -> None:
    try:
        check_same_shape(f"The metric {metric.name}", y, output_shape)
    except ValueError as error:
        raise ValueError(f"{error} {cure}") from None


class Accuracy(MeanMetric):
    """Share of right answers, whatever form the targets have.

    One output: `BinaryAccuracy`. One-hot targets: `CategoricalAccuracy`. Labels: `SparseCategoricalAccuracy`.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.Accuracy()(xp.asarray([1, 1]), xp.asarray([[0.2, 0.8], [0.9, 0.1]]))
    0.5
    """

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: Logits) -> Any:
        """Return 1 where the sample is right."""
        kind = _kind_of_accuracy(tuple(y_true.shape[1:]), tuple(y_pred.shape[1:]))
        return kind.per_sample(y_true, y_pred, logits=logits)

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets that no accuracy takes with these outputs."""
        _kind_of_accuracy(tuple(y.shape[1:]), tuple(output_shape)).check_targets(y, output_shape)


_BINARY, _CATEGORICAL, _SPARSE = BinaryAccuracy(), CategoricalAccuracy(), SparseCategoricalAccuracy()


def _kind_of_accuracy(target_shape: Shape, output_shape: Shape) -> MeanMetric:
    if not output_shape or output_shape[-1] == 1:
        return _BINARY
    return _CATEGORICAL if target_shape == output_shape else _SPARSE


class SparseTopKCategoricalAccuracy(_OfLabels):
    """Share of samples whose label's output is among the k largest.

    Parameters
    ----------
    k : int
        How many outputs count as right.
    name : str, optional
        Its name in tables.
    ignore_class : int, optional
        Targets with this label do not count, such as -1 for padding.

    Notes
    -----
    An output that is as large as the label's does not push it out, as in Keras. A label that is no class, such as -1,
    counts as wrong unless it is the one to ignore, or its weight is 0.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> metric = nn.metrics.SparseTopKCategoricalAccuracy(k=2)
    >>> metric(xp.asarray([0, 2]), xp.asarray([[0.3, 0.5, 0.2], [0.3, 0.5, 0.2]]))
    0.5
    """

    def __init__(self, k: int = 5, name: str | None = None, *, ignore_class: int | None = None) -> None:
        super().__init__(name, ignore_class=ignore_class)
        require_whole(f"The metric {self.name}", "k", k, 1)
        self.k = k

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: Logits) -> Any:
        """Return 1 where the sample is right."""
        return _is_among(_one_for_each_row(y_true, y_pred), y_pred, self.k)

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets that are not one label for each row of outputs."""
        _check_labels(self, y, output_shape, "top_k_categorical_accuracy")


class TopKCategoricalAccuracy(SparseTopKCategoricalAccuracy):  # numpydoc ignore=PR02
    """Share of samples where the output of the one-hot target's class is among the k largest.

    Parameters
    ----------
    k : int
        How many outputs count as right.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> metric = nn.metrics.TopKCategoricalAccuracy(k=2)
    >>> metric(xp.asarray([[1, 0, 0], [0, 0, 1]]), xp.asarray([[0.3, 0.5, 0.2], [0.3, 0.5, 0.2]]))
    0.5
    """

    def __init__(self, k: int = 5, name: str | None = None) -> None:
        super().__init__(k, name)

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: Logits) -> Any:
        """Return 1 where the sample is right."""
        return _is_among(namespace(y_true).argmax(y_true, axis=-1), y_pred, self.k)

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets that are not one-hot."""
        check_classes(f"The metric {self.name}", output_shape, "binary_accuracy")
        _check_same_shape(
            self, y, output_shape, "For whole-number labels use 'sparse_top_k_categorical_accuracy'."
        )


def _is_among(labels: Any, outputs: Any, k: int) -> Any:
    """Return 1 where the label is a class and fewer than k outputs of its row are above its own."""
    xp = namespace(outputs)
    labels = xp.expand_dims(xp.astype(labels, xp.int64), axis=-1)
    classes = xp.arange(outputs.shape[-1], dtype=xp.int64, device=backend_of(outputs).device(outputs))
    chosen = xp.sum(xp.where(classes == labels, outputs, 0.0), axis=-1, keepdims=True)
    above = xp.sum(xp.astype(outputs > chosen, xp.int64), axis=-1)
    right = (above < k) & xp.any(classes == labels, axis=-1)
    return where_known(xp.astype(right, xp.float64), outputs)
