"""Metrics: what is reported beside the loss, exact over batches of any size.

A metric's state is a tree of 0-d float64 arrays on the device; it is part of the training state, so that counting
needs no transfer to the host. `Metric.result` is read when somebody looks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from nnbackend import functional
from nnbackend.backend import Backend, backend_of, namespace, plain, to_numpy
from nnbackend.config import Configurable, find, snake_case
from nnbackend.losses import as_columns, check_classes, check_returned, check_same_shape, match_targets
from nnbackend.typing import Shape, Tree

__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "FunctionMetric",
    "MeanAbsoluteError",
    "MeanMetric",
    "MeanSquaredError",
    "Metric",
    "SparseCategoricalAccuracy",
    "get",
]


def zero(backend: Backend) -> Any:
    """Return a float64 zero on the backend's device."""
    return backend.from_host(0.0, "float64")


class Metric(Configurable):
    """What a metric is; subclasses define `init`, `update` and `result`.

    Parameters
    ----------
    name : str, optional
        Its name in tables and in History.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name or snake_case(type(self).__name__)

    def init(self, backend: Backend) -> Tree:
        """Return the state before any sample."""
        raise NotImplementedError(f"{type(self).__name__} must define init(backend).")

    def update(
        self, state: Tree, y_true: Any, y_pred: Any, weight: Any | None, *, logits: bool = False
    ) -> Tree:
        """Return the state after one more batch; array code without Python branches on values.

        Parameters
        ----------
        state : tree of array
            The state before.
        y_true, y_pred : array
            Targets and outputs.
        weight : array of shape (n,), or None
            The samples' weights.
        logits : bool
            Whether the outputs are logits rather than probabilities.
        """
        raise NotImplementedError(f"{type(self).__name__} must define update(state, y_true, y_pred, weight).")

    def result(self, state: Tree) -> float:
        """Read the state and return the metric as a number."""
        raise NotImplementedError(f"{type(self).__name__} must define result(state).")

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets that do not fit outputs of this shape (without the axis of samples).

        Raises
        ------
        ValueError
            With what was expected, what came, and the cure.
        """

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any | None = None) -> float:
        """Return the metric of one set of targets and outputs."""
        backend = backend_of(plain(y_pred))
        with backend.scope():
            return self.result(self.update(self.init(backend), plain(y_true), plain(y_pred), sample_weight))


class MeanMetric(Metric):
    """The weighted mean of a value for each sample; subclasses define `per_sample`."""

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: bool) -> Any:
        """Return the value of each sample, of shape (n,) or (n, ...)."""
        raise NotImplementedError(
            f"{type(self).__name__} must define per_sample(y_true, y_pred, logits=...)."
        )

    def init(self, backend: Backend) -> Tree:
        """Return sums of zero."""
        return {"total": zero(backend), "weight": zero(backend)}

    def update(
        self, state: Tree, y_true: Any, y_pred: Any, weight: Any | None, *, logits: bool = False
    ) -> Tree:
        """Add the batch to the sums."""
        return add_mean(state, self.per_sample(y_true, y_pred, logits=logits), weight)

    def result(self, state: Tree) -> float:
        """Return the mean so far, or nan before any sample."""
        weight = float(to_numpy(state["weight"]))
        return float(to_numpy(state["total"])) / weight if weight else float("nan")


def add_mean(state: Tree, values: Any, weight: Any | None) -> Tree:
    """Add values of each sample to the sums of a mean."""
    xp = namespace(values)
    values = xp.astype(values, xp.float64)
    if len(values.shape) > 1:
        values = xp.mean(values, axis=tuple(range(1, len(values.shape))))
    if weight is None:
        return {"total": state["total"] + xp.sum(values), "weight": state["weight"] + float(values.shape[0])}
    weight = xp.astype(weight, xp.float64)
    return {"total": state["total"] + xp.sum(values * weight), "weight": state["weight"] + xp.sum(weight)}


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

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: bool) -> Any:
        """Return 1 where output and target agree."""
        threshold = self.threshold if self.threshold is not None else 0.0 if logits else 0.5
        xp = namespace(y_pred)
        if len(y_true.shape) == len(y_pred.shape) - 1:
            y_true = xp.expand_dims(y_true, axis=-1)
        wanted = y_true if "bool" in str(y_true.dtype) else y_true > _half(y_true)
        return xp.astype((y_pred > threshold) == wanted, xp.float64)

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

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: bool) -> Any:
        """Return 1 where the sample is right."""
        xp = namespace(y_pred)
        return xp.astype(xp.argmax(y_pred, axis=-1) == xp.argmax(y_true, axis=-1), xp.float64)

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets that are not one-hot."""
        check_classes(f"The metric {self.name}", output_shape, "binary_accuracy")
        _check_same_shape(self, y, output_shape, "For whole-number labels use 'sparse_categorical_accuracy'.")


class SparseCategoricalAccuracy(MeanMetric):
    """Share of samples whose largest output is that of the label.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.SparseCategoricalAccuracy()(xp.asarray([1]), xp.asarray([[0.2, 0.8]]))
    1.0
    """

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: bool) -> Any:
        """Return 1 where the sample is right."""
        xp = namespace(y_pred)
        if len(y_true.shape) == len(y_pred.shape):
            y_true = xp.squeeze(y_true, axis=-1)
        best = xp.argmax(y_pred, axis=-1)
        return xp.astype(best == xp.astype(y_true, best.dtype), xp.float64)

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets that are not one label for each row of outputs."""
        check_classes(f"The metric {self.name}", output_shape, "binary_accuracy")
        rows, shape = tuple(output_shape[:-1]), tuple(y.shape[1:])
        if shape not in (rows, (*rows, 1)):
            raise ValueError(
                f"The metric {self.name} expects whole-number labels of shape {('n', *rows)}, got {tuple(y.shape)}. "
                "For one-hot targets use 'categorical_accuracy'."
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

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: bool) -> Any:
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


class _Error(MeanMetric):
    """What metrics share that compare outputs with targets of the same shape, number by number."""

    #: The rule that gives the error of each row.
    rule: ClassVar[Callable[[Any, Any], Any]]

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: bool) -> Any:
        """Return the mean error of each sample."""
        return type(self).rule(as_columns(y_pred), as_columns(match_targets(y_true, y_pred)))

    def check_targets(self, y: Any, output_shape: Shape) -> None:
        """Refuse targets of another shape than the outputs'."""
        check_same_shape(f"The metric {self.name}", y, output_shape)


class MeanSquaredError(_Error):
    """Mean squared error.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.MeanSquaredError()(xp.asarray([[1.0], [2.0]]), xp.asarray([[1.0], [4.0]]))
    2.0
    """

    rule = functional.mean_squared_error


class MeanAbsoluteError(_Error):
    """Mean absolute error.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> nn.metrics.MeanAbsoluteError()(xp.asarray([[1.0], [2.0]]), xp.asarray([[1.0], [4.0]]))
    1.0
    """

    rule = functional.mean_absolute_error


class FunctionMetric(MeanMetric):
    """A metric of one's own: the mean of a function of targets and outputs.

    Parameters
    ----------
    function : callable
        Takes ``(y_true, y_pred)``, the targets in the outputs' dtype as a loss gets them; returns a value for each
        sample.
    name : str, optional
        Its name in tables.
    """

    def __init__(self, function: Callable[[Any, Any], Any], name: str | None = None) -> None:
        super().__init__(name or getattr(function, "__name__", "metric"))
        self.function = function

    def per_sample(self, y_true: Any, y_pred: Any, *, logits: bool) -> Any:
        """Return what the function returns."""
        values = self.function(match_targets(y_true, y_pred), y_pred)
        check_returned(f"The metric {self.name}", values)
        if tuple(values.shape[:1]) != tuple(y_pred.shape[:1]):
            raise ValueError(
                f"The metric {self.name} must return one value for each of {y_pred.shape[0]} samples, got shape "
                f"{tuple(values.shape)}. Leave out the mean over samples: the metric takes it over all batches."
            )
        return values


_BY_NAME: dict[str, Callable[..., Metric]] = {
    snake_case(cls.__name__): cls
    for cls in (
        Accuracy,
        BinaryAccuracy,
        CategoricalAccuracy,
        MeanAbsoluteError,
        MeanSquaredError,
        SparseCategoricalAccuracy,
    )
}
_BY_NAME |= {"acc": Accuracy, "mse": MeanSquaredError, "mae": MeanAbsoluteError}


def get(which: str | Metric | Callable[..., Any]) -> Metric:
    """Return a metric by its name, such as ``"accuracy"``; a Metric as it is; a function as a metric.

    Raises
    ------
    ValueError
        If the name is unknown; the nearest known one is named.
    TypeError
        If it is a class.
    """
    if isinstance(which, Metric):
        return which
    if callable(which) and not isinstance(which, type):
        return FunctionMetric(which)
    return find("metric", which, _BY_NAME)(name=which)
