"""Replay: one path again, alone, month by month, with everything that the systems gave."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.philox import MAX_PATHS
from .agreement import Agreement, compare, tolerance
from .arguments import check_run
from .recording import Recording, Values, recording
from .result import Result
from .scenario import Scenario
from .simulate import Plan, as_economy, plan
from .system import Economy, System
from .validate import ConfigError, near, shown

if TYPE_CHECKING:
    import pandas as pd

Model = Scenario | Economy | System | Result

LANES = 32
"""Paths that JAX computes where one is asked for: a launch of its usual size would record them all."""


@dataclass(frozen=True)
class Replayed:
    """One path. ``values`` by ``system.name``: (months,), or (months, length) for a per-path array, in the run's
    precision, masks and integers as reals, words of bits as uint32; states before the rest, in the order of flow.

    ``start`` is the state before the first month, by name, computed on the reference. ``metrics`` are what the
    recording kernel gives after the last month, ``kernel_metrics`` what the kernel of ordinary runs does: a
    compiler may round the two differently. ``bad_month`` is the first with a non-finite state, 0 without.
    ``left_out`` names arrays that their systems write over, which no kernel can show.
    """

    name: str
    path: int
    seed: int
    backend: str
    dtype: str
    months: int
    as_of: str
    values: Values = field(repr=False)
    start: Values = field(repr=False)
    units: dict[str, str] = field(repr=False)
    metrics: dict[str, float] = field(repr=False)
    kernel_metrics: dict[str, float] = field(repr=False)
    bad_month: int
    left_out: tuple[str, ...]
    economy: Economy = field(repr=False)
    stamp: dict[str, str] = field(repr=False)
    seconds: dict[str, float] = field(repr=False)
    passed_over: list[str] = field(repr=False)

    @property
    def rounding(self) -> tuple[str, float]:
        """The metric in which recording differs most from the ordinary kernel, and by how much, relative to its
        size; ("", 0) where all are equal to the byte."""
        worst = ("", 0.0)
        for name, a in self.metrics.items():
            b = self.kernel_metrics[name]
            if a != b and not (np.isnan(a) and np.isnan(b)):
                by = abs(a - b) / max(abs(a), abs(b))
                worst = max(worst, (name, by), key=lambda w: w[1])
        return worst

    def date(self, month: int) -> str:
        """The calendar month, ``2027-03``; empty where the model has no date. Month 0 is the start."""
        return calendar(self.as_of, month)

    def value(self, name: str, month: int) -> Any:
        """A variable after a month, month 0 for a state before the first; None where there is none."""
        if month == 0:
            return self.start.get(name)
        found = self.values.get(name)
        return None if found is None else found[month - 1]

    def columns(self) -> dict[str, NDArray[Any]]:
        """Every number by name, elements of arrays as ``name[i]``: (months + 1,), NaN where the start has none."""
        found: dict[str, NDArray[Any]] = {}
        for name, values in self.values.items():
            first = self.start.get(name, np.full(values.shape[1:], np.nan, self.dtype))
            whole = np.concatenate([np.asarray(first)[None], values])
            if whole.ndim == 1:
                found[name] = whole
            else:
                found |= {f"{name}[{i}]": whole[:, i] for i in range(whole.shape[1])}
        return found

    def frame(self) -> pd.DataFrame:
        """A row a month from 0, the start, where only states are known; a column a variable or an array's element."""
        import pandas as pd

        table = pd.DataFrame(self.columns())
        table.index.name = "month"
        return table

    def shown(self, patterns: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Those of ``columns`` that a pattern names, arrays with all elements; ``firms.cash[3]`` is one element."""
        return {
            k: v for k, v in self.columns().items() if any(matches(k, text) for text in patterns)
        }

    def against(self, other: Replayed) -> Agreement:
        """Where the two part, and by how much, beside the tolerance of their precisions (see agreement)."""
        return compare(self.values, other.values, tolerance(self.dtype, other.dtype))

    def as_json(self) -> dict[str, Any]:
        """What ``--format json`` prints of the path itself."""
        metric, by = self.rounding
        return {
            "scenario": self.name,
            "path": self.path,
            "seed": self.seed,
            "months": self.months,
            "as_of": self.as_of,
            "backend": self.backend,
            "dtype": self.dtype,
            "variables": len(self.values),
            "left_out": list(self.left_out),
            "bad_month": self.bad_month,
            "equal_to_run": not metric,
            "largest_difference_to_run": {"metric": metric, "relative": by} if metric else None,
            "seconds": {k: round(v, 4) for k, v in self.seconds.items()},
            "metrics": {k: plain(v) for k, v in self.metrics.items()},
        }


def matches(column: str, pattern: str) -> bool:
    """Whether a pattern with stars names a column, by itself or by the array that it is an element of."""
    return column == pattern or fnmatchcase(column.partition("[")[0], pattern)


def plain(x: Any) -> float | int | None:
    """A number as JSON has it; null for what is not finite."""
    if isinstance(x, np.integer):
        return int(x)
    return float(x) if np.isfinite(x) else None


def calendar(as_of: str, month: int) -> str:
    """The calendar month that lies ``month`` months after ``as_of`` ("2025-12"); empty for an empty one."""
    if not as_of:
        return ""
    year, first = (int(part) for part in as_of.split("-"))
    whole = year * 12 + first - 1 + month
    return f"{whole // 12}-{whole % 12 + 1:02d}"


# ---- replaying
@dataclass
class Replayer:
    """A model's kernels, compiled: the one that records, and that of ordinary runs. Any path is then soon there."""

    economy: Recording
    as_of: str
    seed: int
    recorder: Plan
    ordinary: Plan

    def path(self, number: int) -> Replayed:
        """One path. Raises ConfigError where the number is none."""
        check_path(number)
        began = time.perf_counter()
        made = self.recorder
        got = made.run(self.seed, number, 1, series=True)
        assert got.series is not None
        # the reference calls the model's own functions either way: there is nothing to round differently
        run = got if made.backend == "numpy" else self.ordinary.run(self.seed, number, 1)
        names = self.economy.metrics
        seconds = {k: v + self.ordinary.seconds[k] for k, v in made.seconds.items()}
        seconds["replay"] = time.perf_counter() - began
        return Replayed(
            name=self.economy.name,
            path=int(number),
            seed=self.seed,
            backend=made.backend,
            dtype=made.dtype,
            months=made.months,
            as_of=self.as_of,
            values=self.economy.unpack(made.program, got.series[:, :, 0]),
            start=self.economy.start(self.seed, number, made.dtype),
            units={k: o.unit for k, o in self.economy.reported.items()},
            metrics=dict(zip(names, got.metrics[:, 0].tolist(), strict=True)),
            kernel_metrics=dict(zip(names, run.metrics[:, 0].tolist(), strict=True)),
            bad_month=int(got.bad[0]),
            left_out=self.economy.left_out,
            economy=self.economy,
            stamp=made.kernel.stamp,
            seconds=seconds,
            passed_over=made.passed_over,
        )


def replayer(
    model: Model,
    *,
    seed: int | None = None,
    backend: str | None = None,
    dtype: str | None = None,
    months: int | None = None,
) -> Replayer:
    """Compile a model, or the model of a run, to replay paths of it.

    What is None is the run's own, else 0, auto, float32 and the scenario's months. Raises ConfigError for bad
    arguments, BackendError where the backend cannot be used, TraceError where the model cannot be traced.
    """
    run = model if isinstance(model, Result) else None
    model = run.scenario if run else model
    seed = seed if seed is not None else run.seed if run else 0
    backend = backend or (run.backend if run else "auto")
    dtype = dtype or (run.dtype if run else "float32")
    months = months if months is not None else run.months if run else None
    economy = as_economy(model)  # type: ignore[arg-type]
    check_run(1, seed, economy.months if months is None else months, dtype, backend)
    ordinary = plan(economy, backend, dtype, months)
    whole = recording(economy)
    recorder = plan(whole, ordinary.backend, dtype, months)
    if recorder.backend == "jax":
        recorder.kernel.chunk = LANES
    recorder.passed_over = ordinary.passed_over
    as_of = getattr(model, "as_of", "")
    return Replayer(whole, as_of, int(seed), recorder, ordinary)


def replay(
    model: Model,
    path: int,
    *,
    seed: int | None = None,
    backend: str | None = None,
    dtype: str | None = None,
    months: int | None = None,
) -> Replayed:
    """One path of a scenario, an economy, a system or a run, month by month, on any backend.

    >>> replay(load("base"), 999_999_999, seed=7).frame()["rental.hopper"]

    Arguments and errors as of ``replayer``; the path is a number from 0 to 2^48 - 1, and of a run one that it has.
    """
    if isinstance(model, Result):
        check_path(path, model.last_path + 1)
    else:
        check_path(path)
    return replayer(model, seed=seed, backend=backend, dtype=dtype, months=months).path(path)


def check_path(path: Any, of: int | None = None) -> None:
    """Raise ConfigError unless this is a path number, and one ``of`` so many where that is given."""
    most = (MAX_PATHS if of is None else of) - 1
    whole = isinstance(path, int | np.integer) and not isinstance(path, bool)
    if not whole or not 0 <= path <= most:
        limit = "2^48 - 1" if of is None else f"{most:,}, as the run has"
        raise ConfigError([f"path = {shown(path)}: should be a whole number from 0 to {limit}"])


# ---- the worst paths of a run
@dataclass(frozen=True)
class Ranked:
    """A path of a run by its value of a metric; rank 1 is the most extreme."""

    rank: int
    path: int
    metric: str
    value: float


def extremes(result: Result, metric: str, count: int, least: bool = False) -> list[Ranked]:
    """The paths with the largest values of a metric, or the ``least``, from what the run kept of its tails.

    Raises ConfigError where there is no such metric, or not so many paths are kept.
    """
    names = list(result.statistics.names)
    if metric not in names:
        raise ConfigError([f"--metric {shown(metric)}: unknown{near(metric, names)}"])
    tails = result.statistics.metric(metric).tails
    if tails is None:
        raise ConfigError([f"--metric {metric}: this run kept no tails"])
    values, paths = tails.lower if least else tails.upper
    if not 1 <= count <= len(paths):
        raise ConfigError(
            [f"--worst {count}: should be from 1 to {len(paths):,}, the paths that the run kept"]
        )
    pairs = zip(paths[:count].tolist(), values[:count].tolist(), strict=True)
    return [Ranked(i, p, metric, v) for i, (p, v) in enumerate(pairs, start=1)]


# ---- files
SUFFIXES = (".csv", ".parquet")


def check_file(path: str) -> None:
    """Raise ConfigError unless a table may be written there; leaves nothing behind."""
    folder, name = os.path.split(os.path.abspath(path))
    said = f"--out {shown(path)}"
    if os.path.splitext(path)[1] not in SUFFIXES:
        raise ConfigError([f"{said}: should be a file that ends in {' or '.join(SUFFIXES)}"])
    if os.path.isdir(path):
        raise ConfigError([f"{said}: is a folder; it should be a file"])
    if not os.path.isdir(folder):
        raise ConfigError([f"{said}: there is no folder {shown(folder)}"])
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{name}."):
            pass
    except OSError as error:
        raise ConfigError([f"{said}: cannot be written ({error.strerror})"]) from None


def write_table(replayed: list[Replayed], path: str) -> None:
    """All months of all paths as CSV or Parquet, each with its path, month and date; whole or not at all."""
    import pandas as pd

    from .export import write_csv
    from .run_store import write_whole

    parts = []
    for r in replayed:
        table = r.frame().reset_index()
        table.insert(0, "path", np.uint64(r.path))
        table.insert(2, "date", [r.date(m) for m in range(r.months + 1)])
        parts.append(table)
    whole = pd.concat(parts, ignore_index=True)
    write: Callable[[str], Any] = (
        (lambda p: write_csv(whole, p))
        if path.endswith(".csv")
        else (lambda p: _write_parquet(whole, replayed[0], p))
    )
    write_whole(Path(path), write)


def _write_parquet(table: pd.DataFrame, r: Replayed, path: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from .export import described

    made = pa.Table.from_pandas(table, preserve_index=False)
    how = {"scenario": r.name, "seed": str(r.seed), "backend": r.backend, "dtype": r.dtype}
    pq.write_table(described(made, _COLUMNS, how, r.units), path)


_COLUMNS = {
    "path": {"unit": "1", "doc": "number of the path"},
    "month": {"unit": "month", "doc": "0 before the first"},
    "date": {"doc": "year and month"},
}
