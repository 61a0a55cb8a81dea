"""The bytes of a stored run, computed again on its own backend, where that and its compiler are here."""

from __future__ import annotations

import hashlib

import numpy as np

from ..kernels import backends
from .result import Result
from .series import SERIES_PATHS, series_rows
from .simulate import Plan, plan
from .statistics import BLOCK, Statistics
from .system import Economy

_NAMED = 5


def own_plan(run: Result, economy: Economy) -> tuple[Plan | None, str]:
    """The run's own backend, or None and why its bytes cannot be computed here."""
    if run.used:
        return None, "several backends computed it"
    status = backends.status(run.backend)
    if not status.works:
        return None, f"{run.backend} is not here: {status.why}"
    made = plan(economy, run.backend, run.dtype, run.months)
    differ = [
        k
        for k in {**made.kernel.stamp, **run.stamp}
        if made.kernel.stamp.get(k) != run.stamp.get(k)
    ]
    if differ:
        return None, f"another {' and '.join(sorted(differ))} computed it"
    if run.identity.get("program") != hashlib.sha256(str(made.program).encode()).hexdigest():
        return None, "the model is another program now"
    return made, ""


def block_again(made: Plan, run: Result, seed: int) -> tuple[int, str]:
    """A random block computed again: its number, and what is wrong."""
    stored = run.statistics.hashes
    number = int(np.random.default_rng(seed).choice(sorted(stored)))
    first = number * BLOCK
    output = made.run(run.seed, first, min(BLOCK, run.path_count - first))
    again = Statistics(made.economy.metrics, tail=1, sample_size=0)
    again.add(number, output.metrics, output.bad)
    if again.hashes[number] == stored[number]:
        return number, ""
    return (
        number,
        f"block {number}: its {output.metrics.shape[1]:,} paths have another SHA-256 than blocks.parquet says",
    )


def series_again(made: Plan, run: Result) -> list[str]:
    """The variables by month, computed again from the paths that they describe."""
    output = made.run(run.seed, 0, min(SERIES_PATHS, run.path_count), series=True)
    again = series_rows(run.series_names, [output.series] if output.series is not None else [])
    lines = []
    for name in run.series_names:
        for a, b in zip(run.series_rows(name), again[name], strict=True):
            column = next(
                (k for k in b if a[k] != b[k] and not (np.isnan(a[k]) and np.isnan(b[k]))), None
            )
            if column:
                lines.append(
                    f"series.parquet: {column} of {name} in month {b['month']} is {a[column]:.9g}; computed again "
                    f"{b[column]:.9g}"
                )
                break
    return lines[:_NAMED]
