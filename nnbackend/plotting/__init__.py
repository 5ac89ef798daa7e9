"""Pictures of models and their training, drawn with matplotlib, which is imported once a picture is asked for.

Each function draws on the axes that it is given, or on those of a new figure, and returns them; ``ax.figure`` is the
picture as a whole, with ``savefig``. Nothing is shown and no state of pyplot is touched: to have a picture on the
screen, draw on pyplot's own axes (``ax=pyplot.gca()``) and call ``pyplot.show()``.
"""

from nnbackend.plotting.curves import gradient_flow, history, learning_rate, learning_rate_range, monitor
from nnbackend.plotting.images import activations, filters, weights
from nnbackend.plotting.network import model_graph
from nnbackend.plotting.regions import confusion_matrix, decision_regions

__all__ = [
    "activations",
    "confusion_matrix",
    "decision_regions",
    "filters",
    "gradient_flow",
    "history",
    "learning_rate",
    "learning_rate_range",
    "model_graph",
    "monitor",
    "weights",
]
