"""The mathematics: differentiable functions of arrays and tensors, by the array API standard's names.

Given arrays they return arrays, of the same library; given tensors they return tensors and are recorded. It is the
namespace of `Tensor`, so that ordinary array API code differentiates.
"""

from __future__ import annotations

import sys

from nnbackend import autodiff
from nnbackend.functional import activations as _activations
from nnbackend.functional import attention as _attention
from nnbackend.functional import convolution as _convolution
from nnbackend.functional import dropout as _dropout
from nnbackend.functional import dtypes as _dtypes
from nnbackend.functional import einsum as _einsum
from nnbackend.functional import elementary as _elementary
from nnbackend.functional import embedding as _embedding
from nnbackend.functional import gates as _gates
from nnbackend.functional import indexing as _indexing
from nnbackend.functional import linear as _linear  # loaded before the activation of that name is bound
from nnbackend.functional import logic as _logic
from nnbackend.functional import losses as _losses
from nnbackend.functional import normalization as _normalization
from nnbackend.functional import pooling as _pooling
from nnbackend.functional import positions as _positions
from nnbackend.functional import rectifiers as _rectifiers
from nnbackend.functional import recurrent as _recurrent
from nnbackend.functional import reduction as _reduction
from nnbackend.functional import resampling as _resampling
from nnbackend.functional import shaping as _shaping
from nnbackend.functional import special as _special
from nnbackend.functional.activations import *  # noqa: F403
from nnbackend.functional.attention import *  # noqa: F403
from nnbackend.functional.convolution import *  # noqa: F403
from nnbackend.functional.dropout import *  # noqa: F403
from nnbackend.functional.dtypes import *  # noqa: F403
from nnbackend.functional.einsum import *  # noqa: F403
from nnbackend.functional.elementary import *  # noqa: F403
from nnbackend.functional.embedding import *  # noqa: F403
from nnbackend.functional.gates import *  # noqa: F403
from nnbackend.functional.indexing import *  # noqa: F403
from nnbackend.functional.linear import *  # noqa: F403
from nnbackend.functional.logic import *  # noqa: F403
from nnbackend.functional.losses import *  # noqa: F403
from nnbackend.functional.normalization import *  # noqa: F403
from nnbackend.functional.pooling import *  # noqa: F403
from nnbackend.functional.positions import *  # noqa: F403
from nnbackend.functional.rectifiers import *  # noqa: F403
from nnbackend.functional.recurrent import *  # noqa: F403
from nnbackend.functional.reduction import *  # noqa: F403
from nnbackend.functional.resampling import *  # noqa: F403
from nnbackend.functional.shaping import *  # noqa: F403
from nnbackend.functional.special import *  # noqa: F403

__all__: list[str] = []
__all__ += _activations.__all__
__all__ += _attention.__all__
__all__ += _convolution.__all__
__all__ += _dropout.__all__
__all__ += _dtypes.__all__
__all__ += _einsum.__all__
__all__ += _elementary.__all__
__all__ += _embedding.__all__
__all__ += _gates.__all__
__all__ += _indexing.__all__
__all__ += _linear.__all__
__all__ += _logic.__all__
__all__ += _losses.__all__
__all__ += _normalization.__all__
__all__ += _pooling.__all__
__all__ += _positions.__all__
__all__ += _rectifiers.__all__
__all__ += _recurrent.__all__
__all__ += _reduction.__all__
__all__ += _resampling.__all__
__all__ += _shaping.__all__
__all__ += _special.__all__

autodiff.set_namespace(sys.modules[__name__])
