"""The book's optimizers: those of `nnbackend.optimizers`, with their state on the layers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from nnbackend import functional, optimizers
from nnbackend.backend import backend_of
from nnbackend.config import Configurable
from nnbackend.nnfs.settings import dtype_name, real
from nnbackend.optimizers.schedules import InverseTimeDecay

__all__ = ["Optimizer_Adagrad", "Optimizer_Adam", "Optimizer_RMSprop", "Optimizer_SGD"]

#: What a layer calls its parameters, and the word for one of them.
PARAMETERS = {"weights": "weight", "biases": "bias"}


class _Optimizer(Configurable):
    """What the optimizers share: the learning rate, and the walk from a layer's attributes to the library and back."""

    #: The library's slots, and the book's words for them: ``velocity`` is a layer's ``weight_momentums``.
    _slots: ClassVar[Mapping[str, str]] = {}

    def __init__(self, learning_rate: float, decay: float) -> None:
        self.learning_rate = learning_rate
        self.current_learning_rate = learning_rate
        self.decay = decay
        self.iterations = 0

    def pre_update_params(self) -> None:
        """Compute `current_learning_rate`; to be called before the layers of a step."""
        if self.decay:
            # a factor, as in the book: so it prints the same last digit
            factor = _made(
                InverseTimeDecay, initial_learning_rate=1.0, decay_steps=1.0, decay_rate=self.decay
            )
            self.current_learning_rate = self.learning_rate * factor(self.iterations)

    def update_params(self, layer: Any) -> None:
        """Change a layer's weights and biases by its gradients.

        Parameters
        ----------
        layer : Layer_Dense
            After its ``backward``.
        """
        rule = self._rule()
        backend = backend_of(layer.weights)
        parameters = {name: getattr(layer, name) for name in PARAMETERS}
        gradients = {
            name: real(getattr(layer, f"d{name}"), backend, dtype_name(parameters[name]))
            for name in PARAMETERS
        }
        kept = {slot: _kept(layer, self._slots[slot], parameters) for slot in rule.slots}
        state = {
            "step": backend.from_host(self.iterations, "int64"),
            "learning_rate": backend.from_host(self.current_learning_rate, "float64"),
            "slots": kept,
        }
        parameters, state = rule.update(gradients, state, parameters)
        for name, single in PARAMETERS.items():
            setattr(layer, name, parameters[name])
            for slot in rule.slots:
                setattr(layer, f"{single}_{self._slots[slot]}", state["slots"][slot][name])

    def post_update_params(self) -> None:
        """Count the step; to be called after the layers of a step."""
        self.iterations += 1

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an optimizer like this one as it is now."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def _rule(self) -> Any:
        """Return the library's optimizer; its learning rate comes with the state."""
        raise NotImplementedError


@functools.lru_cache(maxsize=64)
def _made(kind: type, **options: float) -> Any:
    """Return an object of these arguments; it keeps no state, so a step needs no new one."""
    return kind(**options)


def _kept(layer: Any, word: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a layer keeps for each parameter, zeros at first."""
    kept = {}
    for name, single in PARAMETERS.items():
        held = getattr(layer, f"{single}_{word}", None)
        array = parameters[name]
        kept[name] = (
            functional.zeros_like(array) if held is None else real(held, backend_of(array), dtype_name(array))
        )
    return kept


class Optimizer_SGD(_Optimizer):
    """Stochastic gradient descent, `nnbackend.optimizers.SGD`.

    Parameters
    ----------
    learning_rate : float
        The learning rate of step 0.
    decay : float
        Step `i` has the rate ``learning_rate / (1 + decay * i)``.
    momentum : float
        From 0 to below 1.

    Attributes
    ----------
    current_learning_rate : float
        Of the present step.
    iterations : int
        How many steps were taken.

    Notes
    -----
    A layer's velocities are its ``weight_momentums`` and ``bias_momentums``.

    Examples
    --------
    >>> from nnbackend import nnfs
    >>> nnfs.init(private=True)
    >>> dense, optimizer = nnfs.Layer_Dense(1, 1), nnfs.Optimizer_SGD(learning_rate=0.5, decay=1.0)
    >>> for _ in range(2):
    ...     dense.dweights, dense.dbiases = [[0.0]], [[1.0]]
    ...     optimizer.pre_update_params()
    ...     optimizer.update_params(dense)
    ...     optimizer.post_update_params()
    >>> optimizer.current_learning_rate, dense.biases
    (0.25, array([[-0.75]], dtype=float32))
    """

    _slots = {"velocity": "momentums"}  # noqa: RUF012 - of the class, as declared above

    def __init__(self, learning_rate: float = 1.0, decay: float = 0.0, momentum: float = 0.0) -> None:
        super().__init__(learning_rate, decay)
        self.momentum = momentum

    def _rule(self) -> Any:
        return _made(optimizers.SGD, momentum=self.momentum)


class Optimizer_Adagrad(_Optimizer):
    """Adagrad, `nnbackend.optimizers.Adagrad`.

    Parameters
    ----------
    learning_rate, decay : float
        As of `Optimizer_SGD`.
    epsilon : float
        What is added to the root.

    Notes
    -----
    A layer's sums of squares are its ``weight_cache`` and ``bias_cache``.
    """

    _slots = {"accumulator": "cache"}  # noqa: RUF012 - of the class, as declared above

    def __init__(self, learning_rate: float = 1.0, decay: float = 0.0, epsilon: float = 1e-7) -> None:
        super().__init__(learning_rate, decay)
        self.epsilon = epsilon

    def _rule(self) -> Any:
        return _made(optimizers.Adagrad, epsilon=self.epsilon)


class Optimizer_RMSprop(_Optimizer):
    """RMSprop, `nnbackend.optimizers.RMSprop`.

    Parameters
    ----------
    learning_rate, decay : float
        As of `Optimizer_SGD`.
    epsilon : float
        What is added to the root.
    rho : float
        The share of the old mean of squares that stays.

    Notes
    -----
    A layer's means of squares are its ``weight_cache`` and ``bias_cache``.
    """

    _slots = {"second_moment": "cache"}  # noqa: RUF012 - of the class, as declared above

    def __init__(
        self, learning_rate: float = 0.001, decay: float = 0.0, epsilon: float = 1e-7, rho: float = 0.9
    ) -> None:
        super().__init__(learning_rate, decay)
        self.epsilon = epsilon
        self.rho = rho

    def _rule(self) -> Any:
        return _made(optimizers.RMSprop, rho=self.rho, epsilon=self.epsilon)


class Optimizer_Adam(_Optimizer):
    """Adam, `nnbackend.optimizers.Adam`.

    Parameters
    ----------
    learning_rate, decay : float
        As of `Optimizer_SGD`.
    epsilon : float
        What is added to the root.
    beta_1, beta_2 : float
        The shares of the old moments that stay.

    Notes
    -----
    A layer's moments are its ``weight_momentums`` and ``weight_cache``, ``bias_momentums`` and ``bias_cache``.
    """

    _slots = {"first_moment": "momentums", "second_moment": "cache"}  # noqa: RUF012 - of the class, as declared above

    def __init__(
        self,
        learning_rate: float = 0.001,
        decay: float = 0.0,
        epsilon: float = 1e-7,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
    ) -> None:
        super().__init__(learning_rate, decay)
        self.epsilon = epsilon
        self.beta_1 = beta_1
        self.beta_2 = beta_2

    def _rule(self) -> Any:
        return _made(optimizers.Adam, beta_1=self.beta_1, beta_2=self.beta_2, epsilon=self.epsilon)
