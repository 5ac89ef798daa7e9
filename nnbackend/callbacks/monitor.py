"""A diagnosis of training: what flows through each layer, forwards and backwards, and what that means."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple, TypeAlias

from nnbackend import tree
from nnbackend.arguments import positive_integer
from nnbackend.autodiff import Tensor, is_floating, maker_of, watch
from nnbackend.backend import backend_of, plain, to_numpy
from nnbackend.callbacks.base import Callback, Logs
from nnbackend.data import Batch
from nnbackend.layers.base import Layer
from nnbackend.placement import copy_of

__all__ = ["Finding", "GradientMonitor"]

#: The ends of what activations that flatten out there give, by the name of their rule.
_RANGES = {
    "hard_sigmoid": (0.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "softsign": (-1.0, 1.0),
    "tanh": (-1.0, 1.0),
}
#: Activations that give zero, and let no gradient through, on a whole side.
_CUT_OFF = {"hard_shrink", "hard_silu", "relu", "relu6", "soft_shrink", "threshold"}
#: How near to an end, as a share of the range, an output counts as saturated.
_NEAR = 0.01

_CURES = {
    "vanishing": (
        "Initialise with Glorot (tanh, sigmoid) or He (ReLU), put normalisation before the activations, use ReLU and "
        "its kin, or lead skip connections past the layers."
    ),
    "exploding": (
        "Initialise with smaller weights (Glorot, He), clip the gradients (global_clipnorm of the optimizer), lower "
        "the learning rate, or normalise between the layers."
    ),
    "dying": (
        "Lower the learning rate, start with biases at zero and He's weights, or use LeakyReLU, ELU or GELU, which let "
        "gradients through everywhere."
    ),
    "saturated": (
        "Standardise the inputs, initialise with smaller weights (Glorot), lower the learning rate, normalise before "
        "the activation, or use ReLU and its kin."
    ),
    "not finite": (
        "Lower the learning rate, clip the gradients (global_clipnorm of the optimizer), and look for NaN in the data "
        "(fit with check_finite=True)."
    ),
}


class Finding(NamedTuple):
    """Something that is wrong with layers that follow on one another.

    Attributes
    ----------
    kind : {"vanishing", "exploding", "dying", "saturated", "not finite"}
        What is wrong.
    layers : tuple of str
        The paths of the layers.
    text : str
        What was measured, and the usual cure.
    """

    kind: str
    layers: tuple[str, ...]
    text: str


class _Moments:
    """Sizes of one or several arrays together: their Euclidean norm and the deviation of their elements."""

    def __init__(self) -> None:
        self.count = 0
        self.squares = self.mean = self.scatter = 0.0

    def add(self, array: Any) -> None:
        """Add an array, in one look at the device."""
        backend = backend_of(array)
        xp = backend.xp
        with backend.scope():
            wide = xp.astype(array, xp.float64)  # squares of float32 would soon be zero or infinite
            if not bool(to_numpy(xp.all(xp.isfinite(wide)))):
                self.count, self.squares, self.scatter = 1, math.nan, math.nan
                return
            mean = xp.mean(wide)
            found = xp.stack([mean, xp.sum((wide - mean) ** 2), xp.sum(wide**2)])
        mean, scatter, squares = (float(value) for value in to_numpy(found))
        count = math.prod(array.shape)
        apart = mean - self.mean
        total = self.count + count
        self.scatter += scatter + apart**2 * self.count * count / total
        self.mean += apart * count / total
        self.squares += squares
        self.count = total

    def numbers(self) -> tuple[float | None, float | None]:
        """Return norm and deviation; None where nothing was added."""
        return (_root(self.squares), _root(self.scatter / self.count)) if self.count else (None, None)


def _root(value: float) -> float:
    return math.sqrt(value) if value >= 0.0 else math.nan


class _Seen:
    """What one layer did in a pass, in all its calls."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.outputs, self.gradients, self.behind = _Moments(), _Moments(), _Moments()
        self.makers: set[str] = set()
        self.saturated: list[tuple[float, int]] = []
        self.alive: list[bool] | None = None
        self.fed: list[bool] | None = None

    def call(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """Measure a call, and arrange for its gradients to be measured when they arrive."""
        cut = [plain(y) for y in outputs if maker_of(y) in _CUT_OFF]
        if cut:
            self.alive = _either(self.alive, map(_alive, cut))
            self.fed = _either(self.fed, (_alive(plain(x)) for x in inputs))
        for y in outputs:
            self.outputs.add(plain(y))
            watch(y, self.gradients.add)
            logits = None if y.origin is None else next(iter(y.origin[1]), None)
            if isinstance(
                logits, Tensor
            ):  # a loss that takes these leaves the output itself without a gradient
                watch(logits, self.behind.add)
            maker = maker_of(y)
            if maker in _RANGES:
                self.makers.add(maker)
                self.saturated.append(_saturated(plain(y), *_RANGES[maker]))

    @property
    def starved(self) -> bool:
        """Whether it was called on nothing but zeros, so that zeros tell nothing of itself."""
        return self.fed is not None and not any(self.fed)

    def newly_dead(self) -> float:
        """Return the share of units that died here: not those that an activation alone was called on."""
        if self.alive is None or self.starved:
            return 0.0
        units = self.alive
        if self.fed is not None and len(self.fed) == len(units) and not self.layer.own_parameters():
            units = [alive or not fed for alive, fed in zip(units, self.fed, strict=True)]
        return 1.0 - _mean(units)

    def numbers(self) -> dict[str, float | None]:
        """Return what was measured of activations and gradients."""
        norm, spread = self.outputs.numbers()
        gradient, gradient_spread = (self.gradients if self.gradients.count else self.behind).numbers()
        among = sum(count for _, count in self.saturated)
        return {
            "activation_norm": norm,
            "activation_spread": spread,
            "gradient_norm": gradient,
            "gradient_spread": gradient_spread,
            "dead": None if self.alive is None else 1.0 - _mean(self.alive),
            "saturated": sum(share * count for share, count in self.saturated) / among if among else None,
        }

    @property
    def at_the_loss(self) -> bool:
        """Whether the loss takes the logits behind its output, so that its activation cannot hold a gradient back."""
        return not self.gradients.count and self.behind.count > 0


def _alive(array: Any) -> list[bool]:
    """Tell of each unit, along the last axis, whether it is other than zero anywhere."""
    backend = backend_of(array)
    xp = backend.xp
    with backend.scope():
        rows = xp.reshape(array, (-1, array.shape[-1] if array.ndim > 1 else 1))
        return [bool(unit) for unit in to_numpy(xp.any(rows != 0, axis=0))]


def _either(before: list[bool] | None, arrays: Iterable[list[bool]]) -> list[bool] | None:
    """Return which units are alive in any call; where calls have units of other numbers, one after the other."""
    for units in arrays:
        if before is not None and len(before) == len(units):
            before = [a or b for a, b in zip(before, units, strict=True)]
        else:
            before = [*(before or ()), *units]
    return before


def _mean(units: Sequence[bool]) -> float:
    return sum(units) / len(units)


def _saturated(array: Any, low: float, high: float) -> tuple[float, int]:
    """Return the share of outputs near the ends of their range, and how many there are."""
    backend = backend_of(array)
    xp = backend.xp
    near = _NEAR * (high - low)
    with backend.scope():
        flat = (array < low + near) | (array > high - near)
        share = float(to_numpy(xp.mean(xp.astype(flat, xp.float64))))
    return share, math.prod(array.shape)


def _measurable(values: Any) -> list[Tensor]:
    """Return the tensors of real numbers among inputs or outputs; not those that a compiler's stand-ins are in."""
    return [
        value
        for value in tree.leaves(values)
        if isinstance(value, Tensor)
        and is_floating(value)
        and value.size
        and backend_of(plain(value)).device(plain(value)) is not None
    ]


class GradientMonitor(Callback):
    """Looks into each layer once in an epoch, and says which ones vanish, explode, die or saturate.

    Before the first step of an epoch it runs the model forwards and backwards on a probe batch, uncompiled and layer by
    layer, and measures every layer's output and the gradient of the loss that arrives at it. The pass changes nothing:
    a run that is watched gives the same numbers, bit by bit, as one that is not.

    Parameters
    ----------
    data : tuple of (x, y) or (x, y, sample_weight), optional
        The probe batch; the first batch of each epoch without it.
    every : int
        Look at every so many epochs.
    vanishing, exploding : float
        A layer vanishes whose gradient has less than this share of the last layer's norm, and explodes at more.
    dying : float
        A layer dies where more than this share of its units gives zero for every sample.
    saturated : float
        A layer is saturated where more than this share of its outputs lies at the ends of their range.
    verbose : bool
        Whether to print at once what is found anew.

    Attributes
    ----------
    epoch : list of int
        The epochs looked at.
    loss : list of float
        The loss of the probe batch, with penalties.
    history : dict of str to dict of str to list
        For each layer, by its path and in the order of the calls, and each measure one number an epoch, None where
        there is none:

        - ``activation_norm``, ``activation_spread``: the Euclidean norm of its output on the whole batch, and the
          standard deviation of the output's elements;
        - ``gradient_norm``, ``gradient_spread``: the same of the gradient that arrives at the output;
        - ``update_ratio``: the norm of what the step after the probe adds to its weights, divided by theirs;
        - ``dead``: of ReLU and its like, the share of units (along the last axis) that give zero for every sample;
        - ``saturated``: of tanh, sigmoid and their like, the share of outputs in the outer hundredth of the range,
          where the derivative is below a twenty-fifth of its largest.

    Notes
    -----
    Layers within layers are listed too, by their paths, and a layer around them where its output is not that of one
    inside. What functions compute between layers is not seen. Where a loss is computed from the logits behind a softmax
    or sigmoid, as cross-entropies are, the gradient is that at the logits. Layers after a dead one, which get nothing
    but zeros, are not said to die.

    What to call vanishing is a convention. Gradients should keep their size from layer to layer (Glorot and Bengio; He
    et al. for ReLU); three orders of magnitude between the ends of a network leave one of them standing still. Half of
    the outputs of a layer in saturation is what Glorot and Bengio saw bring sigmoid networks to a halt. Of a sound ReLU
    layer half the units are zero for each sample, and in deep networks, whose samples grow alike, many are for all;
    above nine tenths it is dying (Lu et al.). The ratio of update to weight is about 1e-3 in healthy training.

    References
    ----------
    Glorot and Bengio, Understanding the difficulty of training deep feedforward neural networks, AISTATS 2010.
    He et al., Delving Deep into Rectifiers, ICCV 2015, arXiv:1502.01852. Lu et al., Dying ReLU and Initialization:
    Theory and Numerical Examples, 2019, arXiv:1903.06733. Karpathy, CS231n, "Babysitting the learning process".

    Examples
    --------
    >>> import nnbackend as nn
    >>> tiny = nn.initializers.RandomNormal(stddev=0.01)
    >>> hidden = [nn.Dense(32, activation="tanh", kernel_initializer=tiny) for _ in range(5)]
    >>> model = nn.Sequential([*hidden, nn.Dense(2, activation="softmax")], seed=0)
    >>> model.compile("sgd", "sparse_categorical_crossentropy")
    >>> monitor = nn.callbacks.GradientMonitor()
    >>> _ = model.fit([[0.0, 1.0], [1.0, 0.0]] * 8, [0, 1] * 8, callbacks=[monitor], verbose=0)
    >>> for finding in monitor.findings():
    ...     print(finding.kind, finding.layers)
    vanishing ('dense', 'dense_1')
    """

    def __init__(
        self,
        data: tuple[Any, ...] | None = None,
        *,
        every: int = 1,
        vanishing: float = 1e-3,
        exploding: float = 1e3,
        dying: float = 0.9,
        saturated: float = 0.5,
        verbose: bool = False,
    ) -> None:
        if data is not None and len(data) not in (2, 3):
            raise TypeError("GradientMonitor expects data=(x, y) or (x, y, sample_weight).")
        if not 0.0 <= vanishing < 1.0 < exploding:
            raise ValueError(
                f"GradientMonitor expects vanishing below 1 and exploding above it, got {vanishing} and {exploding}."
            )
        for name, share in (("dying", dying), ("saturated", saturated)):
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"GradientMonitor expects {name} between 0 and 1, got {share}.")
        self.data = data
        self.every = positive_integer("GradientMonitor", "every", every)
        self.vanishing, self.exploding = vanishing, exploding
        self.dying, self.saturated = dying, saturated
        self.verbose = verbose
        self.epoch: list[int] = []
        self.loss: list[float] = []
        self.history: dict[str, dict[str, list[float | None]]] = {}
        self._findings: list[list[Finding]] = []
        self._samples: list[int] = []
        self._batch: Batch | None = None
        self._epoch = 0
        self._before: dict[str, list[tuple[Any, Any]]] | None = None

    # While training runs

    def on_train_begin(self, parameters: dict[str, Any]) -> None:
        """Bring the probe batch to the model's backend, where one was given."""
        if self.data is not None:
            given = self.model._dataset("GradientMonitor", *self.data)
            checked = self.model._checked("GradientMonitor", given, False)
            self._batch = Batch(checked.x, checked.y, checked.weight)

    def on_epoch_begin(self, epoch: int) -> None:
        """Note which epoch it is."""
        self._epoch = epoch

    def on_resume(self, epoch: int, batch: int) -> None:
        """Note which epoch goes on."""
        self._epoch = epoch

    def on_batch_begin(self, batch: int, data: Batch) -> None:
        """Look into the model before the first step of an epoch."""
        if batch == 0 and self._epoch % self.every == 0:
            self._look(data if self._batch is None else self._batch)

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Compare the weights with those before the step."""
        if self._before is not None:
            for path, pairs in self._before.items():
                self.history[path]["update_ratio"][-1] = _update_ratio(pairs)
            self._before = None

    def on_train_end(self) -> None:
        """Let go of what is of no use after training."""
        self._before = self._batch = None

    def get_state(self) -> dict[str, Any]:
        """Return all that was measured and found."""
        return {
            "epoch": list(self.epoch),
            "loss": list(self.loss),
            "samples": list(self._samples),
            "history": {
                path: {name: list(values) for name, values in lists.items()}
                for path, lists in self.history.items()
            },
            "findings": [
                [[kind, list(layers), text] for kind, layers, text in each] for each in self._findings
            ],
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `get_state` returned."""
        self.epoch, self.loss, self._samples = (list(state[name]) for name in ("epoch", "loss", "samples"))
        self.history = {
            path: {name: list(values) for name, values in lists.items()}
            for path, lists in state["history"].items()
        }
        self._findings = [
            [Finding(kind, tuple(layers), text) for kind, layers, text in each] for each in state["findings"]
        ]

    def _look(self, batch: Batch) -> None:
        from nnbackend.models.probing import probe

        seen: dict[str, _Seen] = {}
        paths: dict[int, str] = {}
        made: list[Any] = []  # kept until the end, so that no other output gets the place of one in memory

        def observe(layer: Layer, path: str, inputs: tuple[Any, ...], output: Any) -> None:
            outputs = _measurable(output)
            inner = layer.sublayers() and all(any(y is other for other in made) for y in outputs)
            made.extend(outputs)
            if outputs and not inner:
                path = paths.setdefault(id(layer), path or layer.name)
                if path not in seen:
                    seen[path] = _Seen(layer)
                seen[path].call(_measurable(inputs), outputs)

        found = probe(self.model, batch, observe)
        self.epoch.append(self._epoch)
        self.loss.append(float(to_numpy(plain(found.loss))))
        self._samples.append(int(tree.leaves(batch.x)[0].shape[0]))
        self._before = self._weights(paths)
        numbers = {path: one.numbers() for path, one in seen.items()}
        self._record(numbers | {path: {} for path in self._before if path not in numbers})
        self._findings.append(list(self._find(seen, numbers)))
        if self.verbose:
            known = {(kind, layers) for kind, layers, _ in self._findings[-2]} if len(self.epoch) > 1 else ()
            for finding in self._findings[-1]:
                if finding[:2] not in known:
                    print(f"Epoch {self._epoch + 1}, {finding.kind}: {finding.text}")

    def _weights(self, paths: Mapping[int, str]) -> dict[str, list[tuple[Any, Any]]]:
        """Return copies of the trained weights with their handles, by the layers that they belong to."""
        found: dict[str, list[tuple[Any, Any]]] = {}
        for path, parameter, around in self.model._placed:
            if parameter.trainable and all(layer.trainable for layer in around):
                owner = paths.get(id(around[-1]), path.rpartition("/")[0] or around[-1].name)
                found.setdefault(owner, []).append((parameter, copy_of(parameter._array)))
        return found

    def _record(self, numbers: Mapping[str, Mapping[str, float | None]]) -> None:
        """Append an epoch's numbers; layers that are new were not there before."""
        for path in numbers:
            if path not in self.history:
                self.history[path] = {name: [None] * (len(self.epoch) - 1) for name in _MEASURES}
        for path, lists in self.history.items():
            for name, values in lists.items():
                values.append(numbers.get(path, {}).get(name))

    # What is wrong

    def _find(
        self, seen: Mapping[str, _Seen], numbers: Mapping[str, Mapping[str, float | None]]
    ) -> Iterator[Finding]:
        """Yield what is wrong: each kind of trouble, for each run of layers that have it."""
        gradients = {
            path: norm for path, each in numbers.items() if (norm := each["gradient_norm"]) is not None
        }
        last = next(reversed(gradients), "")
        shares = {path: _ratio(norm, gradients[last]) for path, norm in gradients.items()}
        kinds = {path: self._kinds(one, numbers[path], shares.get(path, 1.0)) for path, one in seen.items()}
        for kind, cure in _CURES.items():
            for layers in _runs([path for path in kinds if kind in kinds[path]], list(kinds)):
                text = _WORDS[kind](_subject(layers), [(path, seen[path], numbers[path]) for path in layers])
                if kind in ("vanishing", "exploding"):
                    ends = [shares[path] for path in layers]
                    extreme = min(ends) if kind == "vanishing" else max(ends)
                    text += f" {extreme:.0e} of that of the last layer, {last!r}." if extreme else " zero."
                guilty = _guilty(layers, kinds) if kind == "vanishing" else None
                if guilty is not None:
                    trouble = "dying" if "dying" in kinds[guilty] else "saturated"
                    cure = f"It is lost in {guilty!r}, which is {trouble}: cure that first."
                yield Finding(kind, layers, f"{text} {cure}")

    def _kinds(self, one: _Seen, numbers: Mapping[str, float | None], share: float) -> set[str]:
        """Return what is wrong with a layer, whose gradient is such a share of the last layer's."""
        if any(value is not None and not math.isfinite(value) for value in numbers.values()):
            return {"not finite"}
        kinds = set()
        if one.newly_dead() > self.dying:
            kinds.add("dying")
        elif share < self.vanishing and not one.starved:
            kinds.add("vanishing")
        if share > self.exploding:
            kinds.add("exploding")
        saturated = numbers["saturated"]
        if saturated is not None and saturated > self.saturated and not one.at_the_loss:
            kinds.add("saturated")
        return kinds

    def findings(self, epoch: int | None = None) -> list[Finding]:
        """Return what is wrong, in the order of the layers.

        Parameters
        ----------
        epoch : int, optional
            The epoch, from 0; the last one looked at without it.

        Returns
        -------
        list of Finding
            Empty where every layer is sound.

        Raises
        ------
        ValueError
            If the epoch was not looked at.
        """
        return list(self._findings[self.index(epoch)])

    def index(self, epoch: int | None = None) -> int:
        """Return where the numbers of an epoch, the last one without a word, stand in the lists of ``history``."""
        if not self.epoch:
            raise ValueError("GradientMonitor has seen no epoch yet: model.fit(..., callbacks=[monitor]).")
        if epoch is None:
            return len(self.epoch) - 1
        if epoch not in self.epoch:
            raise ValueError(f"GradientMonitor looked at the epochs {_listed(self.epoch)}, got {epoch}.")
        return len(self.epoch) - 1 - self.epoch[::-1].index(epoch)

    def report(self, epoch: int | None = None) -> str:
        """Return a table of what was measured, and in words what is wrong and the usual cure.

        Parameters
        ----------
        epoch : int, optional
            The epoch, from 0; the last one looked at without it.

        Returns
        -------
        str
            Several lines.

        Raises
        ------
        ValueError
            If the epoch was not looked at.
        """
        from nnbackend.models.summary import table

        at = self.index(epoch)
        rows = [
            (path, *(_shown(lists[name][at], name) for name in _MEASURES))
            for path, lists in self.history.items()
        ]
        findings = self._findings[at]
        head = (
            f"Epoch {self.epoch[at] + 1}, probed with {self._samples[at]} samples, loss {self.loss[at]:.4g}"
        )
        words = [f"{finding.kind.upper()}: {finding.text}" for finding in findings]
        return "\n".join([head, *table(rows, _HEADER), *(words or ["All layers are sound."])])

    def plot(self, *, epochs: Sequence[int] | None = None) -> Any:
        """Draw what was measured, layer by layer; see `nnbackend.plotting.monitor`.

        Parameters
        ----------
        epochs : sequence of int, optional
            Which epochs, from 0; the first and the last one looked at without it.

        Returns
        -------
        matplotlib.figure.Figure
            Of one picture for each measure.
        """
        from nnbackend import plotting

        return plotting.monitor(self, epochs=epochs)


#: What is measured of a layer, in the order of the columns.
_MEASURES = (
    "activation_norm",
    "activation_spread",
    "gradient_norm",
    "gradient_spread",
    "update_ratio",
    "dead",
    "saturated",
)
_HEADER = (
    "Layer",
    "Activation norm",
    "Spread",
    "Gradient norm",
    "Spread",
    "Update/weight",
    "Dead",
    "Saturated",
)


def _update_ratio(pairs: Sequence[tuple[Any, Any]]) -> float | None:
    """Return the norm of what weights changed by, divided by their norm before; None where that was zero."""
    changes, weights = _Moments(), _Moments()
    for parameter, before in pairs:
        with parameter.backend.scope():
            change = parameter._array - before
        changes.add(change)
        weights.add(before)
    norm = weights.numbers()[0]
    change_norm = changes.numbers()[0]
    return None if not norm or change_norm is None else change_norm / norm


def _ratio(value: float, whole: float) -> float:
    """Return a share of the last layer's gradient; 1 where that has none, since then nothing can be said."""
    return value / whole if whole else 1.0


def _shown(value: float | None, measure: str) -> str:
    if value is None:
        return "-"
    return f"{value:.0%}" if measure in ("dead", "saturated") else f"{value:.2e}"


def _guilty(layers: Sequence[str], kinds: Mapping[str, set[str]]) -> str | None:
    """Return the first layer, from the last of these on, that holds gradients back."""
    order = list(kinds)
    after = order[order.index(layers[-1]) :]
    return next((path for path in after if kinds[path] & {"dying", "saturated"}), None)


#: Layers that have the same trouble: their paths, what was seen of them, and the numbers.
_Troubled: TypeAlias = "Sequence[tuple[str, _Seen, Mapping[str, float | None]]]"


def _runs(chosen: Sequence[str], order: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield the chosen layers, those that follow on one another together."""
    for _, run in groupby(enumerate(chosen), lambda item: order.index(item[1]) - item[0]):
        yield tuple(path for _, path in run)


def _subject(layers: Sequence[str]) -> tuple[str, bool]:
    """Return the layers in words, and whether they are several."""
    if len(layers) == 1:
        return repr(layers[0]), False
    return f"{layers[0]!r} to {layers[-1]!r} ({len(layers)} layers)", True


def _not_finite_words(subject: tuple[str, bool], layers: _Troubled) -> str:
    """Say where what is not finite comes from: the first in the activations, or the last in the gradients."""
    name, several = subject
    text = f"{name} {'have' if several else 'has'} NaN or infinity; it begins in the"
    for path, _, numbers in layers:
        if not math.isfinite(numbers["activation_norm"] or 0.0):
            return f"{text} activations of {path!r}."
    path = next(path for path, _, n in reversed(layers) if not math.isfinite(n["gradient_norm"] or 0.0))
    return f"{text} gradient at {path!r}."


def _dying_words(subject: tuple[str, bool], layers: _Troubled) -> str:
    name, several = subject
    share = max(one.newly_dead() for _, one, _ in layers)
    return f"{name} {'are' if several else 'is'} dying: {share:.0%} of the units give zero for every sample."


def _saturated_words(subject: tuple[str, bool], layers: _Troubled) -> str:
    name, several = subject
    share = max(numbers["saturated"] or 0.0 for _, _, numbers in layers)
    makers = ", ".join(sorted({maker for _, one, _ in layers for maker in one.makers}))
    return (
        f"{name} {'are' if several else 'is'} saturated: {share:.0%} of the outputs lie at the ends of {makers}, where "
        "hardly any gradient passes."
    )


_WORDS: Mapping[str, Callable[[tuple[str, bool], _Troubled], str]] = {
    "vanishing": lambda subject, _: f"{subject[0]} vanish{'' if subject[1] else 'es'}: the gradient falls to",
    "exploding": lambda subject, _: f"{subject[0]} explode{'' if subject[1] else 's'}: the gradient grows to",
    "dying": _dying_words,
    "saturated": _saturated_words,
    "not finite": _not_finite_words,
}


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) if len(numbers) <= 10 else f"{numbers[0]} ... {numbers[-1]}"
