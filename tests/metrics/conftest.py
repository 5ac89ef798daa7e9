"""Metrics measured as training does it: in compiled steps, batch by batch."""

import pytest


@pytest.fixture
def measure(backend, put):
    """Measure host arrays in batches of these sizes, or at once."""

    def measured(metric, y, outputs, weight=None, sizes=None):
        metric.build(tuple(outputs.shape[1:]))
        step = backend.compile(lambda state, batch: (metric.update(state, *batch), {}))
        state, start = metric.init(backend), 0
        with backend.scope():
            for size in sizes or (len(outputs),):
                rows = slice(start, start + size)
                batch = put(y[rows]), put(outputs[rows]), None if weight is None else put(weight[rows])
                state, _ = step(state, batch)
                start += size
        return metric.result(state)

    return measured
