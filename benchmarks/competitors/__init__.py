"""Who takes part: one module for each library, in it one function for each kind of work."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType

__all__ = ["COMPETITORS", "Competitor"]


@dataclass(frozen=True)
class Competitor:
    """One library in one mode.

    Attributes
    ----------
    name : str
        As in the table.
    module : str
        Where its functions are: ``KINDS`` maps the kind of work to a function of the case and `options`.
    requires : tuple of str
        The modules that must be installed.
    options : mapping
        The mode.
    compiled : bool
        Whether it counts among those that the fastest is taken of: PyTorch in any mode, JAX and Keras.
    environment : mapping of str to str
        Set before its process starts.
    only : frozenset of str
        The kinds of work that its mode makes a difference to; all without it.
    devices : frozenset of str
        Where it can run.
    yardstick : bool
        Whether it moves memory only, so that what it "computes" is compared with nobody's.
    """

    name: str
    module: str
    requires: tuple[str, ...]
    options: Mapping[str, object] = field(default_factory=dict)
    compiled: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    only: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset({"cpu"})
    yardstick: bool = False

    def missing(self) -> str:
        """Return why it cannot take part, or an empty string."""
        gone = [name for name in self.requires if importlib.util.find_spec(name) is None]
        return f"not installed: {', '.join(gone)}" if gone else ""

    def load(self) -> ModuleType:
        """Import its functions, and with them its library."""
        return importlib.import_module(self.module)

    def takes_part(self, kind: str, device: str) -> bool:
        """Tell whether it belongs into the table of such work there."""
        return device in self.devices and (not self.only or kind in self.only)


_HERE = __name__
_OURS, _TORCH, _JAX, _KERAS = (f"{_HERE}.{name}" for name in ("ours", "pytorch", "jax_optax", "keras_fit"))
_ANYWHERE, _CUDA = frozenset({"cpu", "cuda"}), frozenset({"cuda"})
_TRAININGS = frozenset({"mlp", "cnn", "lstm", "transformer", "residual", "update", "fit"})
_BY_ADAM = _TRAININGS - {"cnn", "residual"}
#: In the order of the table.
COMPETITORS = {
    competitor.name: competitor
    for competitor in (
        Competitor("nnbackend numpy", _OURS, (), {"backend": "numpy"}),
        Competitor("nnbackend numpy, numba", _OURS, ("numba",), {"backend": "numpy", "compiler": "numba"}),
        Competitor("nnbackend cupy", _OURS, ("cupy",), {"backend": "cupy"}, devices=_CUDA),
        Competitor(
            "nnbackend cupy, cuDNN",
            _OURS,
            ("cupy", "cudnn"),
            {"backend": "cupy", "convolution": "cudnn"},
            only=frozenset({"cnn", "residual"}),
            devices=_CUDA,
        ),
        Competitor(
            "nnbackend cupy, run eagerly",
            _OURS,
            ("cupy",),
            {"backend": "cupy", "run_eagerly": True},
            only=_TRAININGS,
            devices=_CUDA,
        ),
        Competitor("nnbackend torch", _OURS, ("torch",), {"backend": "torch"}, devices=_ANYWHERE),
        Competitor("nnbackend jax", _OURS, ("jax",), {"backend": "jax"}, devices=_ANYWHERE),
        Competitor("PyTorch eager", _TORCH, ("torch",), {"mode": "eager"}, compiled=True, devices=_ANYWHERE),
        Competitor(
            "PyTorch eager, fused Adam",
            _TORCH,
            ("torch",),
            {"mode": "fused"},
            compiled=True,
            only=_BY_ADAM,
            devices=_ANYWHERE,
        ),
        Competitor(
            "torch.compile", _TORCH, ("torch",), {"mode": "compile"}, compiled=True, devices=_ANYWHERE
        ),
        Competitor(
            "torch.compile, reduce-overhead",
            _TORCH,
            ("torch",),
            {"mode": "reduce-overhead"},
            compiled=True,
            devices=_CUDA,
        ),
        Competitor(
            "PyTorch DataLoader",
            _TORCH,
            ("torch",),
            {"mode": "loader"},
            compiled=True,
            only=frozenset({"fit"}),
        ),
        Competitor("JAX jit, optax", _JAX, ("jax",), compiled=True, devices=_ANYWHERE),
        Competitor(
            "Keras on JAX", _KERAS, ("keras", "jax"), compiled=True, environment={"KERAS_BACKEND": "jax"}
        ),
        Competitor(
            "Keras on PyTorch",
            _KERAS,
            ("keras", "torch"),
            compiled=True,
            environment={"KERAS_BACKEND": "torch"},
        ),
        Competitor("scikit-learn", f"{_HERE}.scikit_learn", ("sklearn",)),
        Competitor("Thinc", f"{_HERE}.thinc_model", ("thinc",)),
        Competitor("plain NumPy", f"{_HERE}.plain_numpy", ()),
        Competitor(
            "copy of as many bytes",
            _TORCH,
            ("torch",),
            {"mode": "copy"},
            only=frozenset({"update"}),
            devices=_CUDA,
            yardstick=True,
        ),
    )
}
