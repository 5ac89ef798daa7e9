r"""Losses: how far predictions are from targets, one number for each sample.

Predictions come first, targets second. The last axis holds the classes or outputs and is reduced; means over
samples are left to the caller.
"""

from nnbackend.functional.losses import _shared, alignment, crossentropy, embeddings, errors, overlap
from nnbackend.functional.losses._shared import *  # noqa: F403
from nnbackend.functional.losses.alignment import *  # noqa: F403
from nnbackend.functional.losses.crossentropy import *  # noqa: F403
from nnbackend.functional.losses.embeddings import *  # noqa: F403
from nnbackend.functional.losses.errors import *  # noqa: F403
from nnbackend.functional.losses.overlap import *  # noqa: F403

__all__ = _shared.__all__ + alignment.__all__ + crossentropy.__all__ + embeddings.__all__ + errors.__all__
__all__ += overlap.__all__
