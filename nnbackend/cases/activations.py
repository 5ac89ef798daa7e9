"""Activations, the error function, and their layers."""

from __future__ import annotations

from nnbackend.cases.base import Case, LayerCase, flag, real
from nnbackend.layers import ELU, GLU, Activation, LeakyReLU, PReLU, ReLU, Softmax

__all__ = ["CASES"]

_REAL = real(4, 5)
_MIDDLE = real(6, 10, low=-4.0, high=4.0)
_LOGITS = real(6, 10, low=-8.0, high=8.0)
_LARGE = real(6, 10, low=-1e4, high=1e4)

CASES: tuple[Case | LayerCase, ...] = (
    Case("celu", (_REAL,), {"alpha": 0.5}),
    Case("elu", (_REAL,), {"alpha": 1.5}),
    Case("erf", (_MIDDLE,)),
    Case("erfc", (_MIDDLE,)),
    Case("gelu", (_MIDDLE,)),
    Case("gelu", (_LARGE,), variant="large"),
    Case("gelu", (_MIDDLE,), {"approximate": True}, "approximate"),
    Case("glu", (real(4, 6),)),
    Case("glu", (real(4, 5),), {"axis": 0}, "axis 0"),
    Case("hard_shrink", (_REAL,)),
    Case("hard_sigmoid", (_LOGITS,)),
    Case("hard_silu", (_LOGITS,)),
    Case("hard_tanh", (_REAL,)),
    Case("log_sigmoid", (_LOGITS,)),
    Case("log_sigmoid", (_LARGE,), variant="large"),
    Case("log_softmax", (_LOGITS,)),
    Case("log_softmax", (_LARGE,), variant="large"),
    Case("mish", (_LOGITS,)),
    Case("mish", (_LARGE,), variant="large"),
    Case("prelu", (_REAL, real(5, low=0.1, high=0.4))),
    Case("relu", (_REAL,)),
    Case("relu", (_REAL,), {"negative_slope": 0.1, "max_value": 1.0, "threshold": 0.3}, "with all options"),
    Case("selu", (_REAL,)),
    Case("sigmoid", (_LOGITS,)),
    Case("sigmoid", (real(20, 50, low=-100.0, high=100.0),), variant="wide"),
    Case("silu", (_LOGITS,)),
    Case("silu", (_LARGE,), variant="large"),
    Case("soft_shrink", (_REAL,)),
    Case("softmax", (_LOGITS,)),
    Case("softmax", (_LOGITS,), {"axis": 0}, "axis 0"),
    Case("softmax", (_LARGE,), variant="large"),
    Case("softmin", (_LOGITS,)),
    Case("softplus", (_LOGITS,)),
    Case("softplus", (_LARGE,), variant="large"),
    Case("softsign", (_REAL,)),
    Case("tanh_shrink", (_REAL,)),
    Case("threshold", (_REAL,), {"threshold": 0.5, "default_value": -1.0}),
    LayerCase(lambda: Activation("sigmoid"), (_REAL,)),
    LayerCase(lambda: Activation("leaky_relu", negative_slope=0.1), (_REAL,), "with an option"),
    LayerCase(lambda: Activation("gelu", approximate=True), (_REAL,), "with a flag"),
    LayerCase(lambda: Activation("glu"), (real(4, 6),), "that halves"),
    LayerCase(lambda: ELU(0.5), (_REAL,)),
    LayerCase(lambda: GLU(), (real(4, 3, 6),)),
    LayerCase(lambda: GLU(axis=1), (real(3, 4, 5),), "axis 1"),
    LayerCase(lambda: LeakyReLU(), (_REAL,)),
    LayerCase(lambda: PReLU(), (real(3, 4, 2),)),
    LayerCase(lambda: PReLU("ones", shared_axes=(1,)), (real(3, 4, 2),), "shared"),
    LayerCase(lambda: ReLU(), (_REAL,)),
    LayerCase(lambda: ReLU(1.0, 0.1, 0.3), (_REAL,), "with all options"),
    LayerCase(lambda: Softmax(), (real(3, 4, 5),)),
    LayerCase(lambda: Softmax(1), (real(3, 4, 5),), "axis 1"),
    LayerCase(lambda: Softmax(), (real(3, 5),), "masked", mask=flag(3, 5)),
    LayerCase(lambda: Softmax(), (real(3, 4, 5),), "of masked steps", mask=flag(3, 4)),
)
