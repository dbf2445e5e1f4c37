"""What benchmarks share: quartiles of repeats, and the memory of a process. Needs NumPy alone."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence

import numpy as np


def quartiles(values: Sequence[float] | np.ndarray) -> list[float]:
    """Lower quartile, median, upper quartile."""
    return np.quantile(values, [0.25, 0.5, 0.75]).tolist()


def peak_mib() -> float:
    """The greatest memory of this process so far, libraries included."""
    try:
        # Of the process alone: ru_maxrss begins with that of the one that started it.
        with open("/proc/self/status", encoding="ascii") as file:
            return int(next(line.split()[1] for line in file if line.startswith("VmHWM"))) / 2**10
    except OSError:
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
