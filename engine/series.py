"""Variables by month, over a run's first paths: what is kept of them are mean and quantiles."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.backends.base import thread_count

SERIES_PATHS = 1 << 14
"""Series by month describe this many paths, the first ones: their bands err by about a percent of their width."""

SERIES_LEVELS = {"p05": 0.05, "p25": 0.25, "p50": 0.50, "p75": 0.75, "p95": 0.95}

Rows = list[dict[str, float]]
"""Of a variable, by month: ``month``, ``mean`` and a quantile for each of SERIES_LEVELS."""


def series_rows(names: Sequence[str], parts: Iterable[NDArray[Any]]) -> dict[str, Rows]:
    """The rows of each variable of a record (months, variables, paths) that came in parts, in the order of paths."""
    held = list(parts)

    def rows(i: int) -> Rows:
        return rows_by_month(np.concatenate([p[:, i] for p in held], axis=-1))

    # the interpreter is free while NumPy sorts; each thread holds a variable or two
    with ThreadPoolExecutor(min(thread_count(), 8)) as pool:
        return dict(zip(names, pool.map(rows, range(len(names))), strict=True))


def rows_by_month(values: NDArray[Any]) -> Rows:
    """Of a variable (months, paths), by month: mean and quantiles of what is finite."""
    rows = []
    every = np.isfinite(values).all()
    for month, ordered in enumerate(np.sort(values, axis=1), start=1):
        finite = ordered if every else ordered[np.isfinite(ordered)]
        row = {
            "month": month,
            "mean": float(finite.mean(dtype=np.float64)) if len(finite) else math.nan,
        }
        row |= {name: _quantile(finite, level) for name, level in SERIES_LEVELS.items()}
        rows.append(row)
    return rows


def _quantile(ordered: NDArray[Any], level: float) -> float:
    if not len(ordered):
        return math.nan
    return float(ordered[min(max(math.ceil(len(ordered) * level), 1), len(ordered)) - 1])
