"""Pictures of models and their training, drawn with matplotlib, which is imported once a picture is asked for.

Each function draws on the axes that it is given, or on those of a new figure, and returns them; ``ax.figure`` is the
picture as a whole, with ``savefig``. Nothing is shown and no state of pyplot is touched: to have a picture on the
screen, draw on pyplot's own axes (``ax=pyplot.gca()``) and call ``pyplot.show()``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbackend.lazy import lazily

if TYPE_CHECKING:
    from nnbackend.plotting.curves import *
    from nnbackend.plotting.images import *
    from nnbackend.plotting.network import *
    from nnbackend.plotting.regions import *

lazily(
    __name__,
    {
        "curves": ["gradient_flow", "history", "learning_rate", "learning_rate_range", "monitor"],
        "images": ["activations", "filters", "weights"],
        "network": ["model_graph"],
        "regions": ["confusion_matrix", "decision_regions"],
    },
)
