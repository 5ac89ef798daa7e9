"""A model in words: its layers, their shapes and parameters, and how it is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nnbackend.layers.base import Layer

if TYPE_CHECKING:
    from nnbackend.models.model import Model

__all__ = ["summarize", "table"]


def table(rows: list[tuple[str, ...]], header: tuple[str, ...]) -> list[str]:
    """Lay rows out under a header, each column as wide as it must be."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in [header, *rows]
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return [lines[0].rstrip(), rule, *(line.rstrip() for line in lines[1:]), rule]


def _walk(layer: Layer, depth: int) -> Iterator[tuple[str, ...]]:
    for child in layer.sublayers():
        shape = child.output_shape
        shown = "?" if shape is None else f"({', '.join(['n', *map(str, shape)])})"
        own = sum(p.size for p in child.own_parameters())
        yield "  " * depth + layer.child_name(child), type(child).__name__, shown, f"{own:,}"
        yield from _walk(child, depth + 1)


def summarize(model: Model) -> Iterator[str]:  # numpydoc ignore=YD01
    """Return the lines of `Model.summary`, one after the other."""
    yield f"{type(model).__name__} on {model.backend.name}, {model.dtype or 'float32'}"
    yield from table(list(_walk(model, 0)), ("Layer", "Type", "Output shape", "Parameters"))
    if not model.built:
        yield "Not built: shapes and parameters are known after build(input_shape), or once it has seen data."
    else:
        counts = {True: 0, False: 0}
        for _, parameter, trains in model.named_parameters():
            counts[trains] += parameter.size
        yield f"Parameters: {sum(counts.values()):,} ({counts[True]:,} trained, {counts[False]:,} not)"
    if model.objective is None:
        yield "Not compiled: call compile(optimizer, loss)."
        return
    yield f"Optimizer: {model.optimizer!r}"
    yield f"Loss: {_loss_words(model)}"
    if model.objective.metric_names():
        yield f"Metrics: {', '.join(model.objective.metric_names())}"


def _loss_words(model: Model) -> str:
    """Say what the loss does with the model's output, from one sample of zeros."""
    objective = model.objective
    assert objective is not None
    if not model.built or model.input_shape is None:
        return ", ".join(loss.name for loss in objective.losses if loss is not None)
    outputs = objective.in_order("outputs", model._try_out(model.input_shape))
    words = [
        (name, loss.describe(output))
        for name, loss, output in zip(objective.names or [""], objective.losses, outputs, strict=True)
        if loss is not None
    ]
    return "; ".join(f"{name}: {text}" if name else text for name, text in words)
