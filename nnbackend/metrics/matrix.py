"""Metrics of classes against each other: the confusion matrix and what is made of it; NaN where an output is NaN.

Labels that are no classes, such as -1 for padding or 255 for the edges of regions, do not count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NoReturn

from nnbackend import functional
from nnbackend.arguments import shown
from nnbackend.backend import Backend, host, namespace, to_numpy
from nnbackend.config import snake_case
from nnbackend.metrics.base import (
    Logits,
    Metric,
    nan_of_rows,
    probabilities_of,
    ratio,
    require_whole,
    row_weights,
)
from nnbackend.typing import Shape, Tree

__all__ = [
    "BinaryIoU",
    "CohenKappa",
    "ConfusionMatrix",
    "IoU",
    "MatthewsCorrelation",
    "MeanIoU",
    "OneHotIoU",
    "OneHotMeanIoU",
]


class _OfMatrix(Metric):
    """What is made of the weighted counts of true (rows) and predicted (columns) classes."""

    #: What makes a class of a single output.
    threshold = 0.5

    def __init__(
        self, num_classes: int | None = None, ignore_class: int | None = None, name: str | None = None
    ) -> None:
        super().__init__(name)
        if num_classes is not None:
            require_whole(f"The metric {self.name}", "num_classes", num_classes, 2)
        self.num_classes = num_classes
        self.ignore_class = ignore_class
        self._found: int | None = None

    @property
    def _classes(self) -> int | None:
        """How many classes there are: as was said, or as was found."""
        return self._found if self.num_classes is None else self.num_classes

    def build(self, output_shape: Shape) -> None:
        """Take note of how many classes there are."""
        self._found = max(output_shape[-1], 2) if output_shape else 2

    def init(self, backend: Backend) -> Tree:
        """Return a matrix of zeros."""
        if self._classes is None:
            raise ValueError(f"The metric {self.name} needs num_classes, or build(output_shape) before init.")
        return {"matrix": backend.from_host(host().xp.zeros((self._classes, self._classes)), "float64")}

    def update(
        self, state: Tree, y_true: Any, y_pred: Any, weight: Any | None, *, logits: Logits = False
    ) -> Tree:
        """Count the batch; labels that are no classes do not count."""
        xp = namespace(y_pred)
        count = state["matrix"].shape[0]
        predicted = self._labels(y_true, y_pred, count, logits)
        steps = tuple(predicted.shape)
        if tuple(y_true.shape) == (*steps, count):
            true = xp.argmax(y_true, axis=-1)
        elif tuple(y_true.shape) in (steps, (*steps, 1)):
            true = y_true
        else:
            raise ValueError(
                f"The metric {self.name} expects labels of shape {steps}, or one-hot targets of shape "
                f"{(*steps, count)}, got {tuple(y_true.shape)}."
            )
        true, predicted = (xp.reshape(xp.astype(labels, xp.int64), (-1,)) for labels in (true, predicted))
        known = (true >= 0) & (true < count) & (predicted >= 0) & (predicted < count)
        if self.ignore_class is not None:
            known = known & (true != self.ignore_class)
        places = xp.where(known, true * count + predicted, xp.zeros_like(true))
        weights = xp.where(known, row_weights(steps, weight, y_pred), 0.0)
        counts = functional.scatter_add(weights, places, length=count * count)
        rows = xp.reshape(y_pred, (math.prod(steps), math.prod(y_pred.shape[len(steps) :])))
        return {"matrix": state["matrix"] + xp.reshape(counts, (count, count)) + nan_of_rows(rows, weights)}

    def _labels(self, y_true: Any, y_pred: Any, count: int, logits: Logits) -> Any:
        """Return the predicted classes: whole numbers as they are, the largest of several outputs, or 0 and 1."""
        xp = namespace(y_pred)
        if "float" not in str(y_pred.dtype):
            return y_pred
        if len(y_pred.shape) > 1 and y_pred.shape[-1] == count and not self._binary:
            return xp.argmax(y_pred, axis=-1)
        if len(y_pred.shape) > 1 and y_pred.shape[-1] == 1:
            y_pred = xp.squeeze(y_pred, axis=-1)
        elif len(y_pred.shape) > 1 and not self._binary and len(y_true.shape) < len(y_pred.shape):
            self._refuse_classes(y_pred.shape[-1])
        return xp.astype(probabilities_of(y_pred, bool(logits)) > self.threshold, xp.int64)

    #: Whether each output is a yes or no of its own.
    _binary = False

    def _refuse_classes(self, outputs: int) -> NoReturn:
        raise ValueError(
            f"The metric {self.name} expects {self._classes} outputs, one for each class, got {outputs}. Make "
            f"num_classes {outputs}, or leave it out."
        )

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets that are neither labels nor one-hot, and other outputs than one for each class."""
        whole, shape = tuple(output_shape), tuple(y.shape[1:])
        single = not whole or whole[-1] == 1 or self._binary
        if not single and self.num_classes not in (None, whole[-1]):
            self._refuse_classes(whole[-1])
        fitting = (whole, whole[:-1]) if single else (whole[:-1], (*whole[:-1], 1), whole)
        if shape not in fitting:
            raise ValueError(
                f"The metric {self.name} expects labels of shape {shown(fitting[0])}, or one-hot targets, got "
                f"{tuple(y.shape)}."
            )


class ConfusionMatrix(_OfMatrix):
    """How often each class was taken for each: true classes in rows, predicted ones in columns.

    Its result is a host array of shape (k, k). Labels that are no classes, such as -1, do not count.

    Parameters
    ----------
    num_classes : int, optional
        How many classes k; without it as many as outputs, and two for one output.
    normalize : {"true", "pred", "all"}, optional
        Divide by the sums of rows, of columns, or of all, as scikit-learn does.
    ignore_class : int, optional
        Targets with this label do not count.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.ConfusionMatrix()(xp.asarray([0, 1, 1]), xp.asarray([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]))
    array([[1., 0.],
           [1., 1.]])
    """

    def __init__(
        self,
        num_classes: int | None = None,
        normalize: str | None = None,
        ignore_class: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(num_classes, ignore_class, name)
        if normalize not in (None, "true", "pred", "all"):
            raise ValueError(
                f"The metric {self.name} expects normalize to be 'true', 'pred', 'all' or None, got {normalize!r}."
            )
        self.normalize = normalize

    def result(self, state: Tree) -> Any:
        """Return the matrix so far."""
        xp = host().xp
        matrix = xp.asarray(to_numpy(state["matrix"]))
        if self.normalize is None:
            return matrix
        axis = {"true": 1, "pred": 0, "all": None}[self.normalize]
        return ratio(matrix, xp.broadcast_to(xp.sum(matrix, axis=axis, keepdims=True), matrix.shape), 0.0)


class IoU(_OfMatrix):
    r"""Intersection over union of the regions of classes,  :math:`\frac{TP}{TP + FP + FN}`, mean over classes.

    Parameters
    ----------
    num_classes : int, optional
        How many classes; without it as many as outputs, and two for one output.
    target_class_ids : sequence of int, optional
        The classes that count; all without it.
    ignore_class : int, optional
        Targets with this label do not count.
    name : str, optional
        Its name in tables.

    Notes
    -----
    Targets are labels or one-hot; outputs are scores of the classes or, of integers, labels. Classes that are
    neither true nor predicted anywhere are left out of the mean, as in Keras.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> round(nn.metrics.IoU(2, target_class_ids=[0])(xp.asarray([0, 0, 1, 1]), xp.asarray([0, 1, 0, 1])), 6)
    0.333333
    """

    def __init__(
        self,
        num_classes: int | None = None,
        target_class_ids: Sequence[int] | None = None,
        ignore_class: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(num_classes, ignore_class, name or _iou_name(type(self).__name__))
        self.target_class_ids = None if target_class_ids is None else tuple(target_class_ids)

    def result(self, state: Tree) -> float:
        """Return the mean so far, or nan where no class was seen."""
        xp = host().xp
        matrix = xp.asarray(to_numpy(state["matrix"]))
        both = xp.linalg.diagonal(matrix)
        either = xp.sum(matrix, axis=0) + xp.sum(matrix, axis=1) - both
        chosen = [
            index
            for index in (range(matrix.shape[0]) if self.target_class_ids is None else self.target_class_ids)
            if float(either[index]) > 0.0
        ]
        if not chosen:
            return math.nan
        return sum(float(both[index]) / float(either[index]) for index in chosen) / len(chosen)


def _iou_name(name: str) -> str:
    """Return a name such as ``"mean_iou"``."""
    return snake_case(name.replace("IoU", "Iou"))


class MeanIoU(IoU):
    r"""Intersection over union of the regions of all classes,  :math:`\frac{TP}{TP + FP + FN}`, mean over classes.

    Parameters
    ----------
    num_classes : int, optional
        How many classes; without it as many as outputs, and two for one output.
    ignore_class : int, optional
        Targets with this label do not count.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.MeanIoU()(xp.asarray([0, 0, 1, 1]), xp.asarray([0.1, 0.1, 0.9, 0.8]))
    1.0
    """

    def __init__(
        self, num_classes: int | None = None, ignore_class: int | None = None, name: str | None = None
    ) -> None:
        super().__init__(num_classes, None, ignore_class, name)


class OneHotIoU(IoU):  # numpydoc ignore=PR02
    """`IoU`, by the name that Keras gives it for one-hot targets and scores of classes.

    Parameters
    ----------
    num_classes : int, optional
        How many classes; without it as many as outputs, and two for one output.
    target_class_ids : sequence of int, optional
        The classes that count; all without it.
    ignore_class : int, optional
        Targets with this label do not count.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.OneHotIoU()(xp.asarray([[1, 0], [0, 1]]), xp.asarray([[0.9, 0.1], [0.4, 0.6]]))
    1.0
    """


class OneHotMeanIoU(MeanIoU):  # numpydoc ignore=PR02
    """`MeanIoU`, by the name that Keras gives it for one-hot targets and scores of classes.

    Parameters
    ----------
    num_classes : int, optional
        How many classes; without it as many as outputs, and two for one output.
    ignore_class : int, optional
        Targets with this label do not count.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.OneHotMeanIoU()(xp.asarray([[1, 0], [0, 1]]), xp.asarray([[0.9, 0.1], [0.4, 0.6]]))
    1.0
    """


class BinaryIoU(IoU):
    r"""Intersection over union of yes-or-no regions, mean over no (class 0) and yes (class 1).

    Parameters
    ----------
    target_class_ids : sequence of int
        The classes that count.
    threshold : float
        Probabilities above it mean yes.
    name : str, optional
        Its name in tables.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.BinaryIoU(target_class_ids=(1,))(
    ...     xp.asarray([0, 1, 1, 1]), xp.asarray([0.9, 0.8, 0.7, 0.1])
    ... )
    0.5
    """

    _binary = True

    def __init__(
        self, target_class_ids: Sequence[int] = (0, 1), threshold: float = 0.5, name: str | None = None
    ) -> None:
        super().__init__(2, target_class_ids, None, name)
        self.threshold = threshold


class MatthewsCorrelation(_OfMatrix):  # numpydoc ignore=PR02
    r"""Correlation of true and predicted classes, from -1 to 1.

    .. math:: \frac{c s - \sum_k t_k p_k}{\sqrt{(s^2 - \sum_k p_k^2)(s^2 - \sum_k t_k^2)}}

    with c right of s samples, :math:`t_k` of which are and :math:`p_k` are taken for class k; 0 where all are, or are
    taken for, one class.

    Parameters
    ----------
    num_classes : int, optional
        How many classes; without it as many as outputs, and two for one output.
    ignore_class : int, optional
        Targets with this label do not count.
    name : str, optional
        Its name in tables.

    References
    ----------
    Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient, 2004. DOI
    10.1016/j.compbiolchem.2004.09.006.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> round(nn.metrics.MatthewsCorrelation()(xp.asarray([0, 0, 1, 1]), xp.asarray([0.1, 0.9, 0.9, 0.8])), 6)
    0.57735
    """

    def result(self, state: Tree) -> float:
        """Return the correlation so far."""
        xp = host().xp
        matrix = xp.asarray(to_numpy(state["matrix"]))
        total, right = float(xp.sum(matrix)), float(xp.sum(xp.linalg.diagonal(matrix)))
        true, predicted = xp.sum(matrix, axis=1), xp.sum(matrix, axis=0)
        spread = (total**2 - float(xp.sum(predicted**2))) * (total**2 - float(xp.sum(true**2)))
        if spread <= 0.0:
            return 0.0
        return (right * total - float(xp.sum(true * predicted))) / math.sqrt(spread)


class CohenKappa(_OfMatrix):
    r"""Agreement of true and predicted classes beyond chance,
    :math:`\kappa = 1 - \frac{\sum_{ij} d_{ij} m_{ij}}{\sum_{ij} d_{ij} t_i p_j / s}`.

    Parameters
    ----------
    num_classes : int, optional
        How many classes; without it as many as outputs, and two for one output.
    weightage : {"linear", "quadratic"}, optional
        How much :math:`d_{ij}` it matters how far classes are apart: :math:`|i - j|` or :math:`(i - j)^2`; without
        it all mistakes are alike.
    ignore_class : int, optional
        Targets with this label do not count.
    name : str, optional
        Its name in tables.

    References
    ----------
    Cohen, A coefficient of agreement for nominal scales, 1960. DOI 10.1177/001316446002000104.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.CohenKappa()(xp.asarray([0, 0, 1, 1]), xp.asarray([0.1, 0.9, 0.9, 0.8]))
    0.5
    """

    def __init__(
        self,
        num_classes: int | None = None,
        weightage: str | None = None,
        ignore_class: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(num_classes, ignore_class, name)
        if weightage not in (None, "linear", "quadratic"):
            raise ValueError(
                f"The metric {self.name} expects weightage to be 'linear', 'quadratic' or None, got {weightage!r}."
            )
        self.weightage = weightage

    def result(self, state: Tree) -> float:
        """Return the agreement so far, or nan where chance cannot fail."""
        xp = host().xp
        matrix = xp.asarray(to_numpy(state["matrix"]))
        numbers = xp.arange(matrix.shape[0], dtype=xp.float64)
        apart = xp.abs(xp.expand_dims(numbers, axis=1) - numbers)
        distance = {None: xp.minimum(apart, 1.0), "linear": apart, "quadratic": apart**2}[self.weightage]
        chance = xp.sum(matrix, axis=1, keepdims=True) * xp.sum(matrix, axis=0, keepdims=True)
        expected = float(xp.sum(distance * chance))
        return (
            1.0 - float(xp.sum(distance * matrix)) * float(xp.sum(matrix)) / expected
            if expected
            else math.nan
        )
