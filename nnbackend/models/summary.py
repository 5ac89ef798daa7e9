"""A model in words: its layers, their shapes and parameters, and how it is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nnbackend.autodiff import counting_multiply_adds
from nnbackend.layers.base import Layer, current_layer
from nnbackend.layers.graph import TYPICAL_LENGTH

if TYPE_CHECKING:
    from nnbackend.models.model import Model

__all__ = ["multiply_adds", "shape_words", "summarize", "table"]


def table(rows: list[tuple[str, ...]], header: tuple[str, ...]) -> list[str]:
    """Lay rows out under a header, each column as wide as it must be."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in [header, *rows]
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return [lines[0].rstrip(), rule, *(line.rstrip() for line in lines[1:]), rule]


def _walk(layer: Layer, depth: int, costs: Mapping[Layer, int]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each layer inside, with what it and the layers inside it have."""
    for child in layer.sublayers():
        held = sum(p.size for p in child.parameters)
        cost = f"{sum(costs.get(inner, 0) for inner in child.family()):,}" if costs else "?"
        name = "  " * depth + layer.child_name(child)
        yield name, type(child).__name__, shape_words(child.output_shape), f"{held:,}", cost
        yield from _walk(child, depth + 1, costs)


def shape_words(shape: Any) -> str:
    """Write a shape, or several, with n for the samples."""
    if shape is None:
        return "?"
    if isinstance(shape, dict):
        return ", ".join(f"{name} {shape_words(item)}" for name, item in shape.items())
    if isinstance(shape, list):
        return ", ".join(map(shape_words, shape))
    return f"({', '.join(['n', *map(str, shape)])})"


def multiply_adds(model: Model) -> dict[Layer, int]:
    """Count the products with an addition that each layer takes for one sample, apart from the layers inside it.

    Rules say what they cost (`nnbackend.differentiable`); they are found by running the model on zeros.
    """
    counts: Counter[Layer] = Counter(dict.fromkeys(model.family(), 0))

    def count(number: int) -> None:
        layer = current_layer()
        if layer is not None:
            counts[layer] += number

    with counting_multiply_adds(count):
        model._try_out(model.input_shape)
    samples = next((layer.batch_size for layer in model.family() if getattr(layer, "stateful", False)), 1)
    return {layer: number // samples for layer, number in counts.items()}


def summarize(model: Model) -> Iterator[str]:  # numpydoc ignore=YD01
    """Return the lines of `Model.summary`, one after the other."""
    declared = model.declared_shape()
    if not model.built and declared is not None:
        model.build(declared)
    costs = multiply_adds(model) if model.built and model.input_shape is not None else {}
    yield f"{type(model).__name__} on {model.backend.name}, {model.dtype or 'float32'}"
    header = ("Layer", "Type", "Output shape", "Parameters", "Multiply-adds")
    yield from table(list(_walk(model, 0, costs)), header)
    if model.takes_any_length:
        yield f"Where Input says None, shapes and multiply-adds are those for a length of {TYPICAL_LENGTH}."
    if any(layer.sublayers() for layer in model.sublayers()):
        yield "The rows of layers that hold others include these; the sums count each once."
    if not model.built:
        yield (
            "Not built: shapes and parameters are known after build(input_shape), with an nn.Input at first, or once "
            "it has seen data."
        )
    else:
        counts = {True: 0, False: 0}
        for _, parameter, trains in model.named_parameters():
            counts[trains] += parameter.size
        yield f"Parameters: {sum(counts.values()):,} ({counts[True]:,} trained, {counts[False]:,} not)"
        yield f"Multiply-adds: {sum(costs.values()):,} for one sample"
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
