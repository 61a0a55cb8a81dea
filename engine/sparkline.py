"""A line of blocks: how a quantity goes over time, in a few characters."""

from __future__ import annotations

import math
from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
FLAT = 1e-3
"""What moves by less than this share of its size is drawn flat."""


def sparkline(values: Sequence[float], cells: int) -> str:
    """``values`` in order, a cell for the mean of as many as fall into it, from the lowest block to the highest.

    The scale is the line's own: lowest to highest mean. What moves by less than FLAT of its size is flat, at half
    height; a cell without a finite value is blank. No more cells than values.
    """
    cells = min(cells, len(values))
    means = [
        _mean(values[k * len(values) // cells : (k + 1) * len(values) // cells])
        for k in range(cells)
    ]
    known = [x for x in means if math.isfinite(x)]
    if not known:
        return " " * cells
    low, high = min(known), max(known)
    flat = high - low <= FLAT * max(abs(low), abs(high))
    return "".join(
        " " if not math.isfinite(x) else BLOCKS[3] if flat else BLOCKS[_level(x, low, high)]
        for x in means
    )


def _mean(values: Sequence[float]) -> float:
    finite = [x for x in values if math.isfinite(x)]
    return math.fsum(finite) / len(finite) if finite else math.nan


def _level(x: float, low: float, high: float) -> int:
    return round((x - low) / (high - low) * (len(BLOCKS) - 1))
