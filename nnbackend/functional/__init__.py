"""The mathematics: differentiable functions of arrays and tensors, by the array API standard's names."""

from __future__ import annotations

import sys

from nnbackend import autodiff
from nnbackend.functional.elementary import *  # noqa: F403
from nnbackend.functional.linear import *  # noqa: F403
from nnbackend.functional.reduction import *  # noqa: F403
from nnbackend.functional.shaping import *  # noqa: F403

autodiff.set_namespace(sys.modules[__name__])
