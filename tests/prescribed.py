"""Systems that say what a test prescribes, in the place of those that one system reads; and what it then gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overbuilt.engine.record import record
from overbuilt.engine.system import MAX_MONTHS, Economy, System

Array = NDArray[np.float64]
STANDARD_ERRORS = 4.0
"""A right engine is outside with probability 6.3e-5."""


def prescribed(system: str, *, below: bool = False, **values: Any) -> System:
    """A system called ``system`` whose variables, a number or one a month, are what others read in that month.

    Past its end an array holds its last value. ``below``: the system runs after its readers, who see its state.
    """
    columns: dict[str, Array] = {}
    for name, value in values.items():
        given = np.atleast_1d(np.asarray(value, np.float64))[: MAX_MONTHS + 1]
        columns[name] = np.concatenate([given, np.full(MAX_MONTHS + 1 - len(given), given[-1])])

    class Prescribed(System):
        system_name = system

        def prepare(self) -> dict[str, Any]:
            return {f"path_{k}": v for k, v in columns.items()}

        def init(self, xp: Any, draw: Any) -> dict[str, Any]:
            return {k: float(v[0]) for k, v in columns.items()}

        def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
            at = up.month if below else up.month - 1
            return {k: getattr(self, f"path_{k}")[at] for k in columns}

    return Prescribed()


def history(
    systems: Sequence[System],
    names: Sequence[str],
    *,
    paths: int = 1,
    months: int = 60,
    seed: int = 1,
) -> dict[str, Array]:
    """Variables by month, (months, paths), or (months, rows, paths) for an array; NumPy in float64."""
    economy = Economy(*systems, months=months)
    kept: dict[str, list[Array]] = {n: [] for n in names}
    for month in record(economy, seed, 0, paths, months):
        for n in names:
            value = np.asarray(month.seen[n], np.float64)
            kept[n].append(np.broadcast_to(value, (*value.shape[:-1], paths)))
    return {n: np.stack(v) for n, v in kept.items()}


def hold(values: Array, mean: Any, variance: Any) -> None:
    """Mean and variance over paths (the last axis), by month, at four standard errors.

    Standard error of a variance: Kendall and Stuart (1977), chapter 10.
    """
    n = values.shape[-1]
    off = values - values.mean(axis=-1, keepdims=True)
    found, fourth = (off**2).mean(axis=-1), (off**4).mean(axis=-1)
    assert np.all(
        np.abs(values.mean(axis=-1) - mean) <= STANDARD_ERRORS * np.sqrt(found / n) + 1e-12
    )
    error = np.sqrt(np.maximum(fourth - found**2, 0.0) / n)
    assert np.all(np.abs(found - variance) <= STANDARD_ERRORS * error + 1e-12)


def reverting(kappa: float, volatility: float, years: Any) -> Any:
    """Variance of an Ornstein-Uhlenbeck process that began at its home."""
    return volatility**2 * -np.expm1(-2.0 * kappa * years) / (2.0 * kappa)
