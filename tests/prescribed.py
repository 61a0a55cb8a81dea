"""Systems that say what a test prescribes, in the place of those that one system reads; and what it then gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overbuilt.engine.record import record
from overbuilt.engine.system import MAX_MONTHS, Economy, System

Array = NDArray[np.float64]


def prescribed(system: str, **values: Any) -> System:
    """A system called ``system`` that gives these variables: a number, or an array with a value a month.

    What a name lacks is nothing for ``getattr`` with a default. As state they begin at their first value.
    """
    series = {k: np.full(MAX_MONTHS + 1, np.nan) for k in values}
    for k, v in values.items():
        by_month = np.atleast_1d(np.asarray(v, np.float64))
        series[k][: len(by_month)] = by_month
        series[k][len(by_month) :] = by_month[-1]

    class Prescribed(System):
        system_name = system

        def prepare(self) -> dict[str, Any]:
            return {f"path_{k}": v for k, v in series.items()}

        def init(self, xp: Any, draw: Any) -> dict[str, Any]:
            return {k: float(v[0]) for k, v in series.items()}

        def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
            return {k: getattr(self, f"path_{k}")[up.month - 1] for k in series}

    return Prescribed()


def history(
    systems: Sequence[System], names: Sequence[str], *, paths: int = 1, months: int = 60, seed: int = 1
) -> dict[str, Array]:
    """Variables by month, (months, paths), or (months, rows, paths) for an array; NumPy in float64."""
    economy = Economy(*systems, months=months)
    kept: dict[str, list[Array]] = {n: [] for n in names}
    for month in record(economy, seed, 0, paths, months):
        for n in names:
            value = np.asarray(month.seen[n], np.float64)
            kept[n].append(np.broadcast_to(value, (*value.shape[:-1], paths)))
    return {n: np.stack(v) for n, v in kept.items()}
