"""What training makes small and what is measured beside it: losses and metrics, for one output or for several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nnbackend import losses
from nnbackend import metrics as measures
from nnbackend.backend import Backend, namespace, plain
from nnbackend.losses import Loss
from nnbackend.metrics import Metric
from nnbackend.metrics.base import Logits
from nnbackend.typing import Tree

__all__ = ["Objective", "in_order"]

#: What ``compile`` takes for a loss.
LossLike = str | Loss | Callable[..., Any]


class Objective:
    """The losses and metrics of a model's outputs, under the names that they are reported by.

    Parameters
    ----------
    loss : str, Loss or callable; or a list or dict of them
        One for the only output, or for each of several; None in a list or dict leaves an output without one.
    metrics : str, Metric or callable, or a sequence of them; for several outputs a list or dict of sequences
        What is reported beside the loss.
    loss_weights : list or dict of float, optional
        How much each output's loss counts in the sum; 1 without it.
    names : sequence of str, optional
        The names of several outputs; None where there is one, or where they are not known.

    Raises
    ------
    ValueError, TypeError
        If the parts do not belong together, or two numbers would be reported by one name.
    """

    def __init__(
        self, loss: Any, metrics: Any, loss_weights: Any = None, names: Sequence[str] | None = None
    ) -> None:
        self.names = _names(loss, names)
        if self.names is None:
            self.losses: list[Loss | None] = [losses.get(loss)]
            self.metrics: list[list[Metric]] = [_metrics(metrics)]
            self.weights = [1.0]
            if loss_weights is not None:
                raise TypeError("compile takes loss_weights for several outputs; this loss is for one.")
        else:
            several = isinstance(loss, (list, tuple, dict))
            given = self._spread("loss", loss if several else dict.fromkeys(self.names, loss), None)
            self.losses = [None if one is None else losses.get(one) for one in given]
            one_for_all = not isinstance(metrics, dict) and not any(
                isinstance(m, (list, tuple)) or m is None for m in _listed(metrics)
            )
            spread = dict.fromkeys(self.names, metrics) if one_for_all else metrics
            self.metrics = [_metrics(one) for one in self._spread("metrics", spread, ())]
            self.weights = [float(w) for w in self._spread("loss_weights", loss_weights or {}, 1.0)]
        if all(one is None for one in self.losses):
            raise TypeError("compile expects a loss for at least one output.")
        for one in self.losses:
            if one is not None and one.reduction == "none":
                raise ValueError(
                    f"compile expects a loss that is one number, but {one.name} has reduction='none'. Leave it out."
                )
        reported = ["loss", *self._loss_names().values(), *(name for _, name, _ in self._measured())]
        for name in reported:
            if reported.count(name) > 1:
                raise ValueError(
                    f"Two numbers would be reported as {name!r}. Give metrics names of their own: name=."
                )

    @property
    def loss(self) -> Loss | None:
        """The loss of the only output; None for several."""
        return self.losses[0] if self.names is None else None

    def arguments(self) -> dict[str, Any]:
        """Return what ``compile`` makes an objective like this one from."""
        if self.names is None:
            return {"loss": self.losses[0], "metrics": self.metrics[0], "loss_weights": None}
        spread = zip(self.names, self.losses, self.metrics, self.weights, strict=True)
        by_name = {name: (loss, metrics, weight) for name, loss, metrics, weight in spread}
        return {
            argument: {name: parts[index] for name, parts in by_name.items()}
            for index, argument in enumerate(("loss", "metrics", "loss_weights"))
        }

    def _spread(self, argument: str, given: Any, missing: Any) -> list[Any]:
        """Return one item for each output, of a list in their order or a dict by their names."""
        assert self.names is not None
        if isinstance(given, Mapping):
            unknown = [name for name in given if name not in self.names]
            if unknown:
                raise ValueError(
                    f"compile got {argument} for the output {unknown[0]!r}; the outputs are {', '.join(self.names)}."
                )
            return [given.get(name, missing) for name in self.names]
        items = list(given)
        if len(items) != len(self.names):
            raise ValueError(
                f"compile expects {argument} for each of the {len(self.names)} outputs {', '.join(self.names)}, got "
                f"{len(items)}."
            )
        return [missing if item is None else item for item in items]

    def _loss_names(self) -> dict[int, str]:
        """Return the names under which the losses of several outputs are reported, by output."""
        if self.names is None:
            return {}
        return {i: f"{name}_loss" for i, name in enumerate(self.names) if self.losses[i] is not None}

    def _measured(self) -> list[tuple[int, str, Metric]]:
        """Return output, name and metric of each metric."""
        prefix = [""] if self.names is None else [f"{name}_" for name in self.names]
        return [
            (i, prefix[i] + metric.name, metric) for i, chosen in enumerate(self.metrics) for metric in chosen
        ]

    def metric_names(self) -> list[str]:
        """Return the names of the metrics."""
        return [name for _, name, _ in self._measured()]

    def in_order(self, what: str, values: Any) -> list[Any]:
        """Return one value for each output, of what a model, a user or a batch gives."""
        return in_order(what, values, self.names)

    # What a step computes

    def check_targets(self, y: Any, output_shape: Any) -> None:
        """Refuse targets that do not fit outputs of these shapes, and tell the metrics the shapes.

        Raises
        ------
        ValueError
            With what was expected, what came, and the cure.
        """
        targets, shapes = self.in_order("targets", y), self.in_order("outputs", output_shape)
        for loss, target, shape in zip(self.losses, targets, shapes, strict=True):
            if loss is not None:
                loss.check_targets(target, shape)
        for i, _, metric in self._measured():
            metric.check_targets(targets[i], shapes[i])
            metric.build(shapes[i])

    def check_weights(self, owner: str, weight: Any, output_shape: Any) -> None:
        """Refuse weights that are not one for each sample, or for each step of each sample.

        Raises
        ------
        ValueError
            With the shape that is expected and the one that came.
        """
        if weight is None:
            return
        shapes = self.in_order("outputs", output_shape)
        given = (
            self.in_order("weights", weight) if isinstance(weight, (list, dict)) else [weight] * len(shapes)
        )
        for each, shape in zip(given, shapes, strict=True):
            came, count = tuple(each.shape), each.shape[0]
            whole = (count, *shape)
            if came != whole[: len(came)] or len(came) > max(1, len(shape)):
                steps = f", or {whole[:-1]}, one for each step" if len(shape) > 1 else ""
                raise ValueError(
                    f"{owner} expects sample_weight of shape ({count},), one number for each sample{steps}, got {came}."
                )

    def weights_of(self, weight: Any, mask: Any) -> list[Any]:
        """Return for each output the weight of each sample, or of each step that its mask leaves."""
        count = len(self.losses)
        given = (
            [weight] * count
            if not isinstance(weight, (list, tuple, dict))
            else self.in_order("weights", weight)
        )
        masks = [mask] * count if not isinstance(mask, (list, tuple, dict)) else self.in_order("masks", mask)
        return [losses.combine_weights(w, m) for w, m in zip(given, masks, strict=True)]

    def value(self, y: Any, output: Any, weights: Sequence[Any]) -> tuple[Any, list[Any]]:
        """Return the weighted sum of the losses, and the loss of each output."""
        outputs = self.in_order("outputs", output)
        parts: list[Any] = []
        total: Any = None
        for loss, target, out, weight, share in zip(
            self.losses, self.in_order("targets", y), outputs, weights, self.weights, strict=True
        ):
            if loss is None:
                parts.append(None)
                continue
            value = loss(loss.cast_targets(target, out), out, weight)
            parts.append(value)
            scaled = value if share == 1.0 else value * share
            total = scaled if total is None else total + scaled
        return total, parts

    def logits(self, output: Any) -> list[Logits]:
        """Tell of each output whether it is taken for logits, and of what; asked while it remembers what made it."""
        return [
            _outputs_logits(loss, out)
            for loss, out in zip(self.losses, self.in_order("outputs", output), strict=True)
        ]

    # Sums over batches

    def init(self, backend: Backend) -> dict[str, Tree]:
        """Return the sums before any batch."""
        names = ["loss", *self._loss_names().values()]
        zeros: dict[str, Tree] = {name: measures.MeanMetric().init(backend) for name in names}
        return zeros | {name: metric.init(backend) for _, name, metric in self._measured()}

    def update(
        self,
        state: Mapping[str, Tree],
        y: Any,
        output: Any,
        value: Any,
        parts: Sequence[Any],
        weights: Sequence[Any],
        logits: Sequence[Logits],
    ) -> dict[str, Tree]:
        """Add a batch to the sums."""
        outputs, targets = self.in_order("outputs", output), self.in_order("targets", y)
        counts = [
            _count(loss, target, out, weight)
            for loss, target, out, weight in zip(self.losses, targets, outputs, weights, strict=True)
        ]
        new = {"loss": _add(state["loss"], value, counts[0])}
        for i, name in self._loss_names().items():
            new[name] = _add(state[name], parts[i], counts[i])
        for i, name, metric in self._measured():
            new[name] = metric.update(state[name], targets[i], outputs[i], weights[i], logits=logits[i])
        return new

    def numbers(self, state: Mapping[str, Tree]) -> dict[str, Any]:
        """Read the sums from the device, and return what is reported."""
        mean = measures.MeanMetric()
        found = {name: mean.result(state[name]) for name in ["loss", *self._loss_names().values()]}
        return found | {name: metric.result(state[name]) for _, name, metric in self._measured()}


def in_order(what: str, values: Any, names: Sequence[str] | None) -> list[Any]:
    """Return one value for each of several outputs or inputs: a dict's by their names, a list's as they stand.

    Raises
    ------
    ValueError
        If there are more or fewer, or names differ.
    """
    if names is None:
        return [values]
    if isinstance(values, Mapping):
        if set(values) != set(names):
            raise ValueError(f"Expected {what} by the names {', '.join(names)}, got {', '.join(values)}.")
        return [values[name] for name in names]
    if not isinstance(values, (list, tuple)) or len(values) != len(names):
        came = f"{len(values)}" if isinstance(values, (list, tuple)) else "one"
        raise ValueError(
            f"Expected a list or dict of {len(names)} {what} ({', '.join(names)}), got {came}. Give one for each."
        )
    return list(values)


def _names(loss: Any, names: Sequence[str] | None) -> list[str] | None:
    """Return the names of several outputs, or None for a single one."""
    if names is not None and len(names) > 1:
        return list(names)
    if isinstance(loss, Mapping):
        return list(loss) if names is None else list(names)
    if isinstance(loss, (list, tuple)):
        return [f"output_{number}" for number in range(len(loss))] if names is None else list(names)
    return None


def _listed(metrics: Any) -> list[Any]:
    if metrics is None:
        return []
    return [metrics] if isinstance(metrics, (str, Metric)) or callable(metrics) else list(metrics)


def _metrics(given: Any) -> list[Metric]:
    return [measures.get(metric) for metric in _listed(given)]


def _outputs_logits(loss: Loss | None, output: Any) -> Logits:
    outputs_logits = getattr(loss, "outputs_logits", None)
    if outputs_logits is None or not outputs_logits(output):
        return False
    link: Logits = getattr(loss, "link", True)
    return link


def _count(loss: Loss | None, target: Any, output: Any, weight: Any) -> Any:
    """Return how much a batch weighs."""
    if loss is not None:
        output = plain(output)
        return loss.batch_weight(loss.cast_targets(target, output), output, weight)
    return float(output.shape[0]) if weight is None else namespace(weight).sum(weight)


def _add(state: Tree, value: Any, count: Any) -> Tree:
    """Add a batch's mean to the sums of a mean."""
    value = plain(value)
    xp = namespace(value)
    return {
        "total": state["total"] + xp.astype(value, xp.float64) * count,
        "weight": state["weight"] + count,
    }
