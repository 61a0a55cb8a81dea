"""By month: one run of a few thousand paths that records what a report shows of each month.

Of each path only a handful of numbers a month is read, and of those counts and sums are kept: default, the phase of
the cycle, rounds and units of forced sales, and what was paid in all (see payments).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import check_run
from ..economy.firms import Firms
from ..proportions import wilson
from ..replay import calendar
from ..result import Result
from ..scenario import Scenario
from ..simulate import as_economy, plan
from ..system import Economy, System
from ..validate import ConfigError
from .payments import Edge, Paying, paying
from .source import backend_here, said

if TYPE_CHECKING:
    import pandas as pd

    from ...kernels.backends.base import Output

PATHS = 1 << 14
LAUNCH = 1 << 14
"""Paths of a launch: over five years of a dozen numbers they take 60 MB."""

PHASES = ("build-out", "late boom", "bust", "efficiency")
ROUNDS = ("no sale", "1", "2", "3 to 5", "6 or more")
_FROM = (1, 2, 3, 6)  # rounds with which each class after the first begins
_PHASE, _SALE_ROUNDS, _SOLD = "cycle.phase", "gpu_loans.rounds", "gpu_loans.sold"

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Recorded:
    """What was recorded of the paths of a run whose state stayed finite, ``paths`` of them; ``bad`` are the others.

    ``defaulted``: paths on which a firm has defaulted, (months, firms). ``phase``: paths in each of PHASES, (months,
    4). ``rounds``: paths whose forced sales took as many as each of ROUNDS, (months, 5). ``units``: units sold by
    force, (months, paths). ``paid``: USD bn over the whole run, mean over paths. What the economy has no system
    for is None; where that is all, no path was run.
    """

    name: str
    as_of: str
    seed: int
    months: int
    paths: int
    bad: int
    firms: tuple[str, ...] = ()
    defaulted: Counts | None = None
    phase: Counts | None = None
    rounds: Counts | None = None
    units: NDArray[Any] | None = None
    paid: dict[Edge, float] | None = None

    @property
    def said(self) -> str:
        """What it is of: ``"16,384 paths of base, seed 0"``."""
        return said(self.paths, self.name, self.seed)

    def dates(self) -> list[str]:
        """The calendar months ``2026-01``, ...; empty where the model has no date."""
        return [calendar(self.as_of, m) for m in range(1, self.months + 1)]


def by_month(
    model: Result | Scenario | Economy | System,
    paths: int = PATHS,
    *,
    seed: int = 0,
    backend: str = "auto",
    dtype: str = "float32",
    months: int | None = None,
) -> Recorded:
    """Record the first ``paths`` paths of a model; or of a run, of which the rest of the arguments are then taken.

    Of a run no more paths are taken than the first stretch of it has. Raises ConfigError for bad arguments, BackendError
    where the backend cannot be used, TraceError where the model cannot be traced.
    """
    first = 0
    as_of = getattr(model, "as_of", "")
    if isinstance(model, Result):
        seed, dtype, months, backend = model.seed, model.dtype, model.months, backend_here(model)
        if not model.ranges:
            raise ConfigError([f"{model.name}: has no paths yet"])
        start, last = model.ranges[0]
        first, paths = start, min(paths, last - start + 1)
        scenario = model.scenario
        model, as_of = scenario, scenario.as_of
    economy = as_economy(model)
    check_run(paths, seed, economy.months if months is None else months, dtype, backend)
    watched, edges = _watching(economy)
    if not watched.metrics and not watched.series:
        return Recorded(economy.name, as_of, int(seed), months or economy.months, 0, 0)
    made = plan(watched, backend, dtype, months)
    counting = _Counting(watched, edges)
    for at in range(first, first + paths, LAUNCH):
        counting.add(made.run(int(seed), at, min(LAUNCH, first + paths - at), series=True))
    return counting.found(economy.name, as_of, int(seed), made.months)


def _watching(economy: Economy) -> tuple[Economy, dict[str, Edge]]:
    """The economy reporting only what is counted here, and who pays whom by metric."""
    edges: dict[str, Edge] = {}
    series = [n for n in (_PHASE, _SALE_ROUNDS, _SOLD) if n in economy.reported]
    if Firms.key() in economy.systems:
        economy = paying(economy)
        firms = economy.systems[Firms.key()]
        assert isinstance(firms, Paying)
        edges = firms.edges()
        series += [f"firms.defaulted_{f.name}" for f in firms.firm]
    made = copy.copy(economy)
    made.metrics, made.series = tuple(edges), tuple(series)
    made.reported = {n: economy.reported[n] for n in (*edges, *series)}
    return made, edges


class _Counting:
    """Counts and sums over launches: of whole numbers the order of adding changes nothing."""

    def __init__(self, economy: Economy, edges: dict[str, Edge]) -> None:
        self.rows = {n: k for k, n in enumerate(economy.series)}
        firms = economy.systems.get(Firms.key())
        self.firms = tuple(f.name for f in firms.firm) if firms else ()
        self.edges = edges
        self.paths = self.bad = 0
        self.counts: dict[str, Counts] = {}
        self.units: list[NDArray[Any]] = []
        self.sums = np.zeros(len(edges))

    def add(self, output: Output) -> None:
        good = output.bad == 0
        self.paths += int(np.count_nonzero(good))
        self.bad += len(good) - int(np.count_nonzero(good))
        assert output.series is not None
        series = output.series[:, :, good]
        if self.firms:
            rows = [self.rows[f"firms.defaulted_{f}"] for f in self.firms]
            self._count("defaulted", np.stack([series[:, r] > 0.5 for r in rows], axis=1))
            self.sums += output.metrics[:, good].sum(axis=1, dtype=np.float64)
        if _PHASE in self.rows:
            phase = np.rint(series[:, self.rows[_PHASE]])[:, None]
            self._count("phase", phase == np.arange(len(PHASES))[:, None])
        if _SALE_ROUNDS in self.rows:
            of = np.searchsorted(np.array(_FROM) - 0.5, series[:, self.rows[_SALE_ROUNDS]])[:, None]
            self._count("rounds", of == np.arange(len(ROUNDS))[:, None])
            self.units.append(series[:, self.rows[_SOLD]])

    def _count(self, name: str, happened: NDArray[np.bool_]) -> None:
        """``happened``: (months, classes, paths)."""
        counted = np.count_nonzero(happened, axis=2).astype(np.int64)
        self.counts[name] = self.counts.get(name, np.zeros_like(counted)) + counted

    def found(self, name: str, as_of: str, seed: int, months: int) -> Recorded:
        """All of it. Raises ConfigError where no path stayed finite."""
        if not self.paths:
            raise ConfigError(
                [f"{name}: none of {self.bad:,} paths had a state that stayed finite"]
            )
        paid: dict[Edge, float] = {}
        for edge, total in zip(self.edges.values(), self.sums.tolist(), strict=True):
            paid[edge] = paid.get(edge, 0.0) + total / self.paths
        return Recorded(
            name, as_of, seed, months, self.paths, self.bad, self.firms, self.counts.get("defaulted"),
            self.counts.get("phase"), self.counts.get("rounds"),
            np.concatenate(self.units, axis=1) if self.units else None,
            paid if self.firms else None,
        )  # fmt: skip


# ---- tables
def survival(recorded: Recorded) -> pd.DataFrame:
    """month, date, firm, alive, low, high: the share of paths on which a firm has not defaulted, with its 95 %
    interval (Wilson 1927). Raises ConfigError where the model has no firms."""
    if recorded.defaulted is None:
        raise ConfigError([f"{recorded.name}: has no firms"])
    n = recorded.paths
    rows = []
    for month, date, counts in _months(recorded, recorded.defaulted):
        for firm, dead in zip(recorded.firms, counts, strict=True):
            low, high = wilson(n - dead, n)
            row = {"month": month, "date": date, "firm": firm, "alive": (n - dead) / n}
            rows.append(row | {"low": low, "high": high})
    return _frame(rows)


def phases(recorded: Recorded) -> pd.DataFrame:
    """month, date, phase (of PHASES), share of paths. Raises ConfigError where the model has no cycle."""
    if recorded.phase is None:
        raise ConfigError([f"{recorded.name}: has no cycle"])
    return _shares(recorded, recorded.phase, "phase", PHASES)


def rounds(recorded: Recorded) -> pd.DataFrame:
    """month, date, rounds (of ROUNDS), share of paths. Raises ConfigError where the model has no GPU loans."""
    if recorded.rounds is None:
        raise ConfigError([f"{recorded.name}: has no GPU loans, and so no forced sales"])
    return _shares(recorded, recorded.rounds, "rounds", ROUNDS)


def sales(recorded: Recorded) -> pd.DataFrame:
    """month, date, mean_units, p99_units: sold by force, over all paths, with sales or without.

    Raises ConfigError where the model has no GPU loans.
    """
    if recorded.units is None:
        raise ConfigError([f"{recorded.name}: has no GPU loans, and so no forced sales"])
    rank = int(np.ceil(0.99 * recorded.paths)) - 1
    ordered = np.partition(recorded.units, rank, axis=1)
    means = recorded.units.mean(axis=1, dtype=np.float64)
    return _frame(
        [
            {"month": m, "date": date, "mean_units": float(mean), "p99_units": float(p99)}
            for m, date, mean, p99 in zip(
                range(1, recorded.months + 1),
                recorded.dates(),
                means,
                ordered[:, rank],
                strict=True,
            )
        ]
    )


def _shares(
    recorded: Recorded, counts: Counts, name: str, classes: tuple[str, ...]
) -> pd.DataFrame:
    return _frame(
        [
            {"month": month, "date": date, name: text, "share": count / recorded.paths}
            for month, date, row in _months(recorded, counts)
            for text, count in zip(classes, row, strict=True)
        ]
    )


def _months(recorded: Recorded, counts: Counts) -> list[tuple[int, str, list[int]]]:
    return list(zip(range(1, recorded.months + 1), recorded.dates(), counts.tolist(), strict=True))


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows)
