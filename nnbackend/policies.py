"""In which dtype layers compute, in which they keep their weights, and how small gradients survive 16 bits."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnbackend import tree
from nnbackend.backend import Backend, backend_of, known_dtypes, namespace, nearest, plain
from nnbackend.config import Configurable
from nnbackend.elementwise import dtype_name
from nnbackend.typing import Tree

__all__ = ["POLICIES", "DTypePolicy", "LossScale", "policy_of", "portable", "require"]


@dataclass(frozen=True)
class DTypePolicy:  # numpydoc ignore=PR02
    """What a layer computes in, and what it keeps its weights in.

    Models and layers take the name: ``nn.Dense(8, dtype="mixed_float16")``. The model's policy holds for all layers
    that have none of their own.

    Parameters
    ----------
    name : {"float32", "float64", "mixed_float16", "mixed_bfloat16"}
        The mixed ones compute in 16 bits and keep weights, running statistics and the optimizer's slots in float32.

    Attributes
    ----------
    compute_dtype : str
        What inputs are cast to, what weights are read as, and what comes out.
    variable_dtype : str
        What weights are kept, updated and saved in.
    scales_loss : bool
        Whether gradients are computed of a multiple of the loss (`LossScale`), since many of them would be zero in the
        dtype otherwise.

    Raises
    ------
    ValueError
        If there is no such policy.

    Examples
    --------
    >>> import nnbackend as nn
    >>> policy = nn.DTypePolicy("mixed_float16")
    >>> policy.compute_dtype, policy.variable_dtype, policy.scales_loss
    ('float16', 'float32', True)
    """

    name: str

    def __post_init__(self) -> None:
        if self.name not in _DTYPES:
            raise ValueError(f"DTypePolicy {_expectation(self.name)}")

    @property
    def compute_dtype(self) -> str:
        """The dtype that layers compute in."""
        return _DTYPES[self.name][0]

    @property
    def variable_dtype(self) -> str:
        """The dtype that weights are kept in."""
        return _DTYPES[self.name][1]

    @property
    def mixed(self) -> bool:
        """Whether these are two."""
        return self.compute_dtype != self.variable_dtype

    @property
    def scales_loss(self) -> bool:
        """Whether training scales the loss."""
        return self.compute_dtype == "float16"


#: name -> the dtype of computation and that of variables
_DTYPES = {
    "float32": ("float32", "float32"),
    "float64": ("float64", "float64"),
    "mixed_float16": ("float16", "float32"),
    "mixed_bfloat16": ("bfloat16", "float32"),
}
#: The policies by name.
POLICIES: Mapping[str, DTypePolicy] = {name: DTypePolicy(name) for name in _DTYPES}


def policy_of(owner: str, dtype: str | DTypePolicy) -> DTypePolicy:
    """Return the policy of that name.

    Raises
    ------
    ValueError
        With the owner's name, if there is none.
    """
    if isinstance(dtype, DTypePolicy):
        return dtype
    if dtype not in POLICIES:
        raise ValueError(f"{owner} {_expectation(dtype)}")
    return POLICIES[dtype]


def _expectation(dtype: object) -> str:
    *others, last = map(repr, _DTYPES)
    expected = f"expects dtype {', '.join(others)} or {last}, got {dtype!r}."
    if f"mixed_{dtype}" in _DTYPES:
        return f"{expected} 'mixed_{dtype}' computes in {dtype} and keeps weights in float32."
    return expected + (nearest(dtype, _DTYPES) if isinstance(dtype, str) else "")


def require(owner: str, policy: DTypePolicy, backend: Backend) -> None:
    """Refuse a policy whose dtype a backend has not.

    Raises
    ------
    ValueError
        With the backends that have it.
    """
    dtype = policy.compute_dtype
    if dtype in backend.dtypes:
        return
    having = [name for name, dtypes in known_dtypes().items() if dtype in dtypes]
    fitting = [name for name in POLICIES if POLICIES[name].compute_dtype in backend.dtypes]
    raise ValueError(
        f"{owner} has the dtype {policy.name!r}, which computes in {dtype}; the backend {backend.name!r} has "
        f"{', '.join(backend.dtypes)}. Choose a backend that has {dtype} ({', '.join(having)}), or dtype="
        f"{' or '.join(map(repr, fitting))}."
    )


def portable(arrays: Tree) -> Tree:
    """Return a tree of arrays with bfloat16, which not every library knows, widened to float32."""
    return tree.map(_portable, arrays)


def _portable(array: Any) -> Any:
    if dtype_name(array) != "bfloat16":
        return array
    backend = backend_of(array)
    with backend.scope():
        return backend.xp.astype(array, backend.xp.float32)


class LossScale(Configurable):
    r"""Dynamic loss scaling: the largest factor of the loss whose gradients are still finite in float16.

    Gradients are those of :math:`s L`, so that small ones are not rounded to zero on their way, and are divided by
    :math:`s` in float32. A step in which one is not finite is left out and halves :math:`s`; `growth_interval` good
    ones in a row double it. `Model.fit` does this by itself where layers compute in float16, as
    ``compile(loss_scale=nn.LossScale(...))`` says; a training loop written by hand uses this class. The state is a tree
    of arrays; nothing waits for the device.

    Parameters
    ----------
    initial : float
        The first :math:`s`.
    growth_interval : int
        After so many good steps in a row it is doubled.

    Raises
    ------
    ValueError
        If `initial` is not from 1 to 2**126, or `growth_interval` no whole number of 1 or more.

    References
    ----------
    P. Micikevicius et al., "Mixed precision training", ICLR 2018, arXiv:1710.03740.

    Examples
    --------
    >>> import nnbackend as nn
    >>> xp = nn.get_backend("numpy").xp
    >>> scaling, x = nn.LossScale(initial=8.0), xp.asarray([1.0, 2.0])
    >>> state = scaling.init(nn.get_backend("numpy"))
    >>> scaled = nn.grad(lambda x: scaling.scaled(nn.functional.sum(x * x), state))(x)
    >>> gradients, finite = scaling.unscaled({"x": scaled}, state)
    >>> gradients["x"], bool(finite)
    (array([2., 4.]), True)
    >>> state = scaling.updated(state, finite)
    >>> float(state["scale"]), int(state["good_steps"])
    (8.0, 1)
    """

    #: Between these the scale stays: what it is divided by, and what it is, are normal numbers of float32.
    least, most = 1.0, 2.0**126

    def __init__(self, initial: float = 2.0**15, growth_interval: int = 2000) -> None:
        given: object = initial
        if not isinstance(given, numbers.Real) or not self.least <= initial <= self.most:
            raise ValueError(f"LossScale expects initial from 1 to 2**126, got {initial!r}.")
        if type(growth_interval) is not int or growth_interval < 1:
            raise ValueError(
                f"LossScale expects growth_interval to be a whole number of 1 or more, got {growth_interval!r}."
            )
        self.initial = float(initial)
        self.growth_interval = growth_interval

    def init(self, backend: Backend) -> dict[str, Any]:
        """Return the state before the first step: ``scale`` (0-d float32) and ``good_steps`` (0-d int64)."""
        return {
            "scale": backend.from_host(self.initial, "float32"),
            "good_steps": backend.from_host(0, "int64"),
        }

    def scaled(self, loss: Any, state: Mapping[str, Any]) -> Any:
        """Return the loss times the scale, to be differentiated; in float32 or wider."""
        return loss * state["scale"]

    def unscaled(self, gradients: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
        """Return the gradients of the loss itself, and whether all of them are finite (0-d boolean).

        Where one is not, all are zero, so that an update by them, which is thrown away, raises no alarm.
        """
        scale = state["scale"]
        with backend_of(plain(scale)).scope():
            xp = namespace(scale)
            finite = xp.ones_like(scale, dtype=xp.bool)
            for gradient in gradients.values():
                finite = xp.logical_and(finite, xp.all(xp.isfinite(gradient)))
            found = {}
            for path, gradient in gradients.items():
                factor = xp.astype(1.0 / scale, gradient.dtype)
                found[path] = xp.where(finite, gradient * factor, xp.zeros_like(gradient))
        return found, finite

    def updated(self, state: Mapping[str, Any], finite: Any) -> dict[str, Any]:
        """Return the state after a step whose gradients were finite, or were not."""
        scale = state["scale"]
        with backend_of(plain(scale)).scope():
            xp = namespace(scale)
            good = state["good_steps"] + 1
            full = good >= self.growth_interval
            grown = xp.where(full, xp.minimum(scale * 2.0, xp.full_like(scale, self.most)), scale)
            shrunk = xp.maximum(scale * 0.5, xp.full_like(scale, self.least))
            none = xp.zeros_like(good)
            return {
                "scale": xp.where(finite, grown, shrunk),
                "good_steps": xp.where(xp.logical_and(finite, xp.logical_not(full)), good, none),
            }
