"""What this library is to reach: the ratio of its step to that of the fastest peer, by workload and setting.

On a processor for the NumPy backend, on a device for the CuPy backend; smaller is better.
"""

from __future__ import annotations

from benchmarks.case import Setting

#: On one and on two threads.
_PROCESSOR = {
    "W1": (1.2, 1.3),
    "W2": (1.15, 1.2),
    "W3": (1.1, 1.2),
    "W4": (1.1, 1.0),
    "W5": (1.35, 1.5),
    "W6": (1.05, 1.0),
    "W7": (1.25, 1.3),
    "W8-1": (0.6, 0.6),
    "W8-4096": (1.0, 1.0),
    "W9": (2.2, 3.7),
    "E1": (0.9, 0.9),
}
_DEVICE = {
    "W1": 1.0,
    "W2": 1.0,
    "W3": 1.05,
    "W3-4096-4096": 1.05,
    "W4": 1.15,
    "W5": 1.25,
    "W6": 1.1,
    "W7": 1.15,
}
#: Of the time that copying as many bytes takes: 80 % of the bandwidth.
OF_COPY = {"W9-large": 1.25}
#: How many times as long as a captured step the same step takes uncaptured, at least.
CAPTURED = {"W2": 5.0}


def target(workload: str, setting: Setting) -> float | None:
    """Return the ratio to be reached, or None where none is set."""
    if setting.device != "cpu":
        return _DEVICE.get(workload)
    ratios = _PROCESSOR.get(workload)
    return ratios[setting.threads - 1] if ratios and setting.threads <= len(ratios) else None
