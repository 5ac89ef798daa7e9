"""The graph of a model, drawn in layers: each box below all that it is computed from.

The drawing follows Sugiyama's scheme: ranks by the longest way from the inputs, an order within each rank that has
few crossings (each box near the mean of its neighbours), then places. Arrows that pass ranks by go around the boxes
there. What stands inside a box is arranged first, and is then a box of its size.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nnbackend import tree
from nnbackend.backend import use_backend
from nnbackend.layers.base import Layer, map_shapes
from nnbackend.layers.graph import Symbol
from nnbackend.models import Sequential
from nnbackend.models.graph import Graph, in_order_of_use
from nnbackend.models.summary import shape_words
from nnbackend.plotting.figure import axes_for, new_figure

if TYPE_CHECKING:
    from nnbackend.models import Model

__all__ = ["model_graph"]

# All lengths are inches, at the size that a new figure gives them.
_LETTER = 0.076
_POINTS = 9.0
_HIGH = 0.5
_GAP_ACROSS, _GAP_DOWN = 0.3, 0.38
_FRAME, _TITLE = 0.18, 0.3


@dataclass(eq=False)
class _Box:
    """A box, a frame with boxes inside, or a place where an arrow passes."""

    name: str = ""
    words: str = ""
    face: str = ""
    inside: _Level | None = None
    wide: float = 0.0
    high: float = 0.0
    rank: int = 0
    x: float = 0.0
    y: float = 0.0

    @property
    def passing(self) -> bool:
        """Whether it is only a place on the way of an arrow."""
        return not self.name

    def port(self, number: int) -> float:
        """Return where across the picture arrows come in (0) and go out (-1): of a frame, where they do so inside."""
        if self.inside is None:
            return self.x
        return self.x + self.inside.ranks[number][0].x - self.inside.wide / 2

    def measure(self) -> None:
        """Find its size: that of its words, or of what is inside."""
        if self.inside is not None:
            wide, high = self.inside.arrange()
            title = _LETTER * len(f"{self.name}  {self.words}") + 0.3
            self.wide, self.high = max(wide + 2 * _FRAME, title), high + _TITLE
        elif not self.passing:
            self.wide = max(1.1, _LETTER * max(len(self.name) * 1.1, len(self.words)) + 0.25)
            self.high = _HIGH if self.words else 0.36


@dataclass(eq=False)
class _Level:
    """Boxes that stand side by side, and the arrows between them."""

    boxes: list[_Box] = field(default_factory=list)
    arrows: list[tuple[_Box, _Box]] = field(default_factory=list)
    #: False where it is not known what is computed from what, and the order is that of the layers.
    known: bool = True
    chains: list[list[_Box]] = field(default_factory=list)
    ranks: list[list[_Box]] = field(default_factory=list)
    wide: float = 0.0

    def add(self, box: _Box, sources: Iterable[_Box]) -> _Box:
        """Add a box with arrows from others."""
        self.boxes.append(box)
        self.arrows.extend((source, box) for source in dict.fromkeys(sources))
        return box

    def arrange(self) -> tuple[float, float]:
        """Give each box its place and return the size of the whole."""
        for box in self.boxes:
            box.measure()
        sources: dict[_Box, list[_Box]] = {box: [] for box in self.boxes}
        for source, target in self.arrows:
            sources[target].append(source)
        for box in self.boxes:  # they stand in the order of computation
            box.rank = max((source.rank + 1 for source in sources[box]), default=0)
        self.ranks = [[] for _ in range(max((box.rank for box in self.boxes), default=0) + 1)]
        for box in self.boxes:
            self.ranks[box.rank].append(box)
        self.chains = []
        for source, target in self.arrows:
            passed = [_Box(rank=rank) for rank in range(source.rank + 1, target.rank)]
            for place in passed:
                self.ranks[place.rank].append(place)
            self.chains.append([source, *passed, target])
        above, below = self._neighbours()
        self._order(above, below)
        self.wide, high = self._place(above, below)
        return self.wide, high

    def _neighbours(self) -> tuple[dict[_Box, list[_Box]], dict[_Box, list[_Box]]]:
        above: dict[_Box, list[_Box]] = {box: [] for rank in self.ranks for box in rank}
        below: dict[_Box, list[_Box]] = {box: [] for rank in self.ranks for box in rank}
        for chain in self.chains:
            for first, second in itertools.pairwise(chain):
                above[second].append(first)
                below[first].append(second)
        return above, below

    def _order(self, above: dict[_Box, list[_Box]], below: dict[_Box, list[_Box]]) -> None:
        """Move each box near the mean of its neighbours in the rank before, downwards and upwards in turn."""
        for sweep in range(8):
            ranks, neighbours = (self.ranks, above) if sweep % 2 == 0 else (self.ranks[::-1], below)
            for before, rank in itertools.pairwise(ranks):
                place = {box: number for number, box in enumerate(before)}
                own = {box: number for number, box in enumerate(rank)}
                near = {box: _mean([place[other] for other in neighbours[box]], own[box]) for box in rank}
                rank.sort(key=near.__getitem__)

    def _place(self, above: dict[_Box, list[_Box]], below: dict[_Box, list[_Box]]) -> tuple[float, float]:
        """Find where boxes stand, in their order, as straight below one another as there is room."""
        for rank in self.ranks:
            along = 0.0
            for box in rank:
                box.x = along + box.wide / 2
                along += box.wide + _GAP_ACROSS
            for box in rank:
                box.x -= along / 2
        for sweep in range(24):
            ranks, neighbours = (self.ranks, above) if sweep % 2 == 0 else (self.ranks[::-1], below)
            for rank in ranks[1:]:
                wanted = [self._wanted(box, neighbours[box], sweep % 2 == 0) for box in rank]
                for box, x in zip(rank, _apart(wanted, [box.wide for box in rank]), strict=True):
                    box.x = x
        left = min((box.x - box.wide / 2 for rank in self.ranks for box in rank), default=0.0)
        right = max((box.x + box.wide / 2 for rank in self.ranks for box in rank), default=0.0)
        down = 0.0
        for rank in self.ranks:
            high = max(box.high for box in rank)
            for box in rank:
                box.x -= left
                box.y = down + high / 2
                if box.passing:
                    box.high = high
            down += high + _GAP_DOWN
        return right - left, down - _GAP_DOWN

    @staticmethod
    def _wanted(box: _Box, neighbours: Sequence[_Box], downwards: bool) -> float:
        """Return where a box has its arrows straight: those that come in, or those that go out."""
        into, out_of = (0, -1) if downwards else (-1, 0)
        return _mean([other.port(out_of) for other in neighbours], box.port(into)) + box.x - box.port(into)


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _apart(wanted: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Return places near those wanted, in their order and with gaps between: the mean of pushing right and left."""
    need = [(a + b) / 2 + _GAP_ACROSS for a, b in itertools.pairwise(widths)]
    right, left = list(wanted), list(wanted)
    for number, gap in enumerate(need):
        right[number + 1] = max(right[number + 1], right[number] + gap)
    for number, gap in reversed(list(enumerate(need))):
        left[number] = min(left[number], left[number + 1] - gap)
    return [(a + b) / 2 for a, b in zip(right, left, strict=True)]


# What is in a model

_FACES = {"input": "#e8e8e8", "trained": "#cfe3f5", "layer": "#f3f7fb", "function": "#fdf1d8"}


def model_graph(model: Model, *, depth: int = 1, ax: Any = None) -> Any:
    """Draw a model as boxes and arrows, with the shape of what each layer gives.

    Parameters
    ----------
    model : Model
        Built, or with the shape of its inputs declared.
    depth : int
        How deep to look into layers that are made of others: 1 draws the model's own layers, each as one box.
    ax : matplotlib.axes.Axes, optional
        Where to draw, and letters are made to fit; a new figure of the size needed without it.

    Returns
    -------
    matplotlib.axes.Axes
        Dark boxes have weights, yellow ones are functions. Arrows are dotted where a model's ``forward`` cannot be
        followed, as when it looks at values: its layers then stand in the order of its attributes.

    Raises
    ------
    RuntimeError
        If the model has not been built.

    References
    ----------
    Sugiyama, Tagawa and Toda, Methods for Visual Understanding of Hierarchical System Structures, 1981. DOI
    10.1109/TSMC.1981.4308636.

    Examples
    --------
    >>> import nnbackend as nn
    >>> model = nn.Sequential([nn.Dense(16, activation="relu"), nn.Dense(3)], input_shape=(4,), seed=0)
    >>> ax = nn.plotting.model_graph(model)
    >>> [text.get_text() for text in ax.texts][:2]
    ['input', '(n, 4)']
    """
    model._require_built("model_graph")
    with use_backend(model.backend):  # where the layers are tried whose shapes are found by trying
        level = _level_of(model, depth, outermost=True)
    wide, high = level.arrange()
    margin = 0.15
    if ax is None:
        figure = new_figure(wide + 2 * margin, high + 2 * margin, layout=None)
        ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    ax = axes_for(ax)
    ax.set_xlim(-margin, wide + margin)
    ax.set_ylim(high + margin, -margin)
    ax.set_aspect("equal")
    ax.set_axis_off()
    room = ax.get_window_extent()
    dots = ax.figure.dpi
    scale = min(room.width / dots / (wide + 2 * margin), room.height / dots / (high + 2 * margin))
    _draw(ax, level, 0.0, 0.0, _POINTS * min(1.0, scale))
    return ax


def _level_of(layer: Layer, depth: int, *, outermost: bool) -> _Level:
    """Return what is inside a layer: boxes for what it calls, with the way in and out."""
    if isinstance(layer, Sequential):
        return _chain(layer, layer.layers, depth, outermost, known=True)
    if isinstance(layer, Graph):
        return _graph(layer, layer._inputs, layer._outputs, depth, outermost, layer.input_names)
    traced = _traced(layer)
    if traced is None:
        return _chain(layer, layer.sublayers(), depth, outermost, known=False)
    return _graph(layer, *traced, depth, outermost)


def _traced(layer: Layer) -> tuple[list[Symbol], list[Symbol]] | None:
    """Return inputs and outputs of the graph that a layer's ``forward`` makes of symbols; None where it makes none."""
    inputs = map_shapes(Symbol, layer.input_shape)
    try:
        outputs = tree.leaves(_without_mask(layer.forward(inputs)))
    except Exception:  # it is the user's code, that may do with symbols what cannot be done
        return None
    return (tree.leaves(inputs), outputs) if all(isinstance(o, Symbol) for o in outputs) else None


def _without_mask(y: Any) -> Any:
    return y.value if hasattr(y, "mask") and hasattr(y, "value") else y


def _chain(layer: Layer, layers: Sequence[Layer], depth: int, outermost: bool, *, known: bool) -> _Level:
    level = _Level(known=known)
    last = level.add(_entry("input", layer.input_shape, outermost), ())
    for child in layers:
        last = level.add(_box(child, layer.child_name(child), child.output_shape, depth), [last])
    if not outermost:
        level.add(_Box(), [last])
    return level


def _graph(
    layer: Layer,
    inputs: Sequence[Symbol],
    outputs: Sequence[Symbol],
    depth: int,
    outermost: bool,
    names: Sequence[str] | None = None,
) -> _Level:
    level = _Level()
    made: dict[int, _Box] = {}
    names = names or (["input"] if len(inputs) == 1 else [f"input_{number}" for number in range(len(inputs))])
    for symbol, name in zip(inputs, names, strict=True):
        made[id(symbol)] = level.add(_entry(name, symbol.sample_shape, outermost), ())
    for node in in_order_of_use(inputs, outputs):
        results = tree.leaves(node.outputs)
        shape = [symbol.sample_shape for symbol in results]
        shown = shape[0] if len(shape) == 1 else shape
        if isinstance(node.function, Layer):
            box = _box(node.function, layer.child_name(node.function), shown, depth)
        else:
            name = str(getattr(node.function, "__name__", node.function)).strip("_")
            box = _Box(name, shape_words(shown), _FACES["function"])
        level.add(box, [made[id(source)] for source in node.sources()])
        made |= {id(symbol): box for symbol in results}
    if not outermost:
        level.add(_Box(), [made[id(symbol)] for symbol in outputs])
    return level


def _entry(name: str, shape: Any, outermost: bool) -> _Box:
    return _Box(name, shape_words(shape), _FACES["input"]) if outermost else _Box()


def _box(layer: Layer, name: str, shape: Any, depth: int) -> _Box:
    """Return the box of a layer; with what is inside, where there is more to see."""
    kind = type(layer).__name__
    if depth > 1 and layer.sublayers() and layer.input_shape is not None:
        inside = _level_of(layer, depth - 1, outermost=False)
        if inside.known:
            return _Box(name, kind, inside=inside)
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    words = kind if activation == "linear" else f"{kind} {activation}"
    trained = any(True for _ in layer.named_parameters())
    return _Box(name, f"{words} {shape_words(shape)}", _FACES["trained" if trained else "layer"])


# Ink


def _draw(ax: Any, level: _Level, left: float, top: float, points: float) -> None:
    """Draw a level whose upper left corner is here."""
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
    from matplotlib.path import Path

    for box in level.boxes:
        if box.passing:
            continue
        x, y = left + box.x - box.wide / 2, top + box.y - box.high / 2
        frame = box.inside is not None
        ax.add_patch(
            FancyBboxPatch(
                (x, y),
                box.wide,
                box.high,
                boxstyle="round,pad=0,rounding_size=0.06",
                facecolor="none" if frame else box.face,
                edgecolor="#9aa5b1" if frame else "#44546a",
                linewidth=0.9 * points / _POINTS,
                linestyle="--" if frame else "-",
            )
        )
        _write(ax, box, x, y, points)
        if box.inside is not None:
            spare = box.wide - 2 * _FRAME - box.inside.wide
            _draw(ax, box.inside, x + _FRAME + spare / 2, y + _TITLE, points)
    coming: dict[_Box, list[float]] = {}
    for chain in level.chains:
        coming.setdefault(chain[-1], []).append(chain[-2].x)
    for chain in level.chains:
        source, target = chain[0], chain[-1]
        among = sorted(coming[target])
        rank = among.index(chain[-2].x) - (len(among) - 1) / 2
        spread = rank * min(0.3, 0.6 * target.wide / len(among)) if not target.passing else 0.0
        points_along = [(source.port(-1), source.y + source.high / 2)]
        for place in chain[1:-1]:
            points_along += [(place.x, place.y - place.high / 2), (place.x, place.y + place.high / 2)]
        points_along.append((target.port(0) + spread, target.y - target.high / 2))
        vertices, codes = [points_along[0]], [Path.MOVETO]
        for number, ((x0, y0), (x1, y1)) in enumerate(itertools.pairwise(points_along)):
            if number % 2:  # past a rank: straight down
                vertices.append((x1, y1))
                codes.append(Path.LINETO)
            else:
                middle = (y0 + y1) / 2
                vertices += [(x0, middle), (x1, middle), (x1, y1)]
                codes += [Path.CURVE4] * 3
        ax.add_patch(
            FancyArrowPatch(
                path=Path([(left + x, top + y) for x, y in vertices], codes),
                arrowstyle="-" if target.passing else "-|>",
                mutation_scale=9.0 * points / _POINTS,
                linewidth=1.0 * points / _POINTS,
                linestyle="-" if level.known else ":",
                color="#44546a",
                shrinkA=0.0,
                shrinkB=0.0,
            )
        )


def _write(ax: Any, box: _Box, x: float, y: float, points: float) -> None:
    """Write name and words of a box."""
    if box.inside is not None:
        ax.text(
            x + 0.1,
            y + _TITLE / 2,
            f"{box.name}  {box.words}",
            fontsize=points * 0.9,
            va="center",
            color="#44546a",
        )
        return
    middle = x + box.wide / 2
    rows = [(box.name, "bold"), (box.words, "normal")] if box.words else [(box.name, "bold")]
    for number, (text, weight) in enumerate(rows):
        ax.text(
            middle,
            y
            + box.high
            * (number + 0.5 + (0.1 if number == 0 and len(rows) > 1 else -0.05 * number))
            / len(rows),
            text,
            ha="center",
            va="center",
            fontsize=points if weight == "bold" else points * 0.9,
            fontweight=weight,
        )
