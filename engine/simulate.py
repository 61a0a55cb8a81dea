"""Simulate: paths in blocks, a backend for each, statistics of the metrics. The only caller of kernels/."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..kernels import backends
from ..kernels.backends.base import DTYPES, BackendError, Kernel, Output
from ..kernels.passes import optimize
from ..kernels.philox import MAX_PATHS
from ..kernels.program import Program
from ..kernels.trace import trace
from .functionals import Quantity, parse_quantity
from .result import Result
from .scenario import Scenario
from .statistics import BLOCK, SAMPLE, TAIL, Event, Statistics
from .system import MAX_MONTHS, Economy, System
from .validate import ConfigError, shown

if TYPE_CHECKING:
    from .stop import Look, StopRule, Target

SERIES_PATHS = 1 << 14
"""Series by month describe this many paths, the first ones: their bands err by about a percent of their width."""

Progress = Callable[[int, int, float], None]


@dataclass
class Plan:
    """A compiled model and what it cost to get there; ``seconds`` by phase."""

    economy: Economy
    program: Program
    kernel: Kernel
    backend: str
    dtype: str
    months: int
    passed_over: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, seed: int, first: int, count: int, series: bool = False) -> Output:
        """Paths first, ..., first + count - 1."""
        return self.kernel.run(self.economy, seed, first, count, self.months, series)

    def run_many(
        self, economies: Sequence[Economy], seed: int, first: int, count: int
    ) -> list[Output]:
        """The same paths of economies that differ from the plan's in parameters alone, in one launch."""
        return self.kernel.run_many(economies, seed, first, count, self.months)


def as_economy(model: Scenario | Economy | System) -> Economy:
    if isinstance(model, Scenario):
        return model.economy
    if isinstance(model, System):
        return Economy(model, name=type(model).key())
    return model


def check_run(paths: Any, seed: Any, months: Any, dtype: str, backend: str) -> None:
    """Raise ConfigError with everything that is wrong with a run's arguments."""
    problems = []
    if not _whole(paths) or not 1 <= paths <= MAX_PATHS:
        problems.append(f"paths = {paths!r}: should be a whole number from 1 to 2^48")
    if not _whole(seed) or not 0 <= seed < 1 << 64:
        problems.append(f"seed = {seed!r}: should be a whole number from 0 to 2^64 - 1")
    if not _whole(months) or not 1 <= months <= MAX_MONTHS:
        problems.append(f"months = {months!r}: should be a whole number from 1 to {MAX_MONTHS}")
    if dtype not in DTYPES:
        problems.append(f"dtype = {dtype!r}: should be {' or '.join(DTYPES)}")
    if backend not in ("auto", *backends.NAMES):
        problems.append(f"backend = {backend!r}: should be auto, {', '.join(backends.NAMES)}")
    if problems:
        raise ConfigError(problems)


def _whole(x: Any) -> bool:
    return isinstance(x, int | np.integer) and not isinstance(x, bool)


def _check_model(economy: Economy, dtype: str) -> None:
    """Raise ConfigError where nothing is reported, or a parameter is beyond what float32 holds."""
    if problems := economy.silent():
        raise ConfigError(problems)
    if dtype != "float32":
        return
    limits = np.finfo(np.float32)
    low, high = float(limits.smallest_normal), float(limits.max)
    given = {k: v for key, s in economy.systems.items() for k, v in s._flatten(key).items()}
    problems = [
        f"{name} = {value:g}: float32 holds 0 and sizes from {low:.2g} to {high:.2g}; should be one of them, or "
        "dtype float64"
        for name, value in given.items()
        if value and not low <= abs(value) <= high
    ]
    problems = problems or [
        f"{name}: computes to {value:.2g}, beyond float32's {high:.2g}; values should be less extreme, or dtype "
        "float64"
        for name, data in {**economy.reals, **economy.columns}.items()
        if name not in given and (value := float(np.abs(data).max())) > high
    ]
    if problems:
        raise ConfigError(problems)


def plan(
    model: Scenario | Economy | System,
    backend: str = "auto",
    dtype: str = "float32",
    months: int | None = None,
) -> Plan:
    """Trace and compile. Raises BackendError where the backend cannot be used."""
    economy = as_economy(model)
    months = economy.months if months is None else months
    check_run(1, 0, months, dtype, backend)
    _check_model(economy, dtype)
    passed: list[str] = []
    if backend == "auto":
        backend, skipped = backends.choose()
        passed = [f"{s.name}: {s.why}" for s in skipped]
    else:
        found = backends.status(backend)
        if not found.works:
            raise BackendError(f"backend {backend} cannot be used: {found.why}")
    start = time.perf_counter()
    program = optimize(trace(economy, dtype == "float64"))
    traced = time.perf_counter()
    kernel = backends.compile(backend, economy, program, dtype)
    seconds = {"trace": traced - start, "compile": time.perf_counter() - traced}
    return Plan(economy, program, kernel, backend, dtype, months, passed, seconds)


def simulate(
    model: Scenario | Economy | System,
    paths: int,
    seed: int = 0,
    backend: str = "auto",
    dtype: str = "float32",
    *,
    months: int | None = None,
    batch: int | None = None,
    progress: Progress | None = None,
    until: Sequence[str] = (),
    deadline: float | None = None,
    on_look: Callable[[Look], None] | None = None,
    probabilities: Sequence[str] = (),
    tail: int = TAIL,
    sample: int = SAMPLE,
) -> Result:
    """Simulate ``paths`` paths of a scenario, an economy or a single system.

    With ``until``, as ``["private_credit.loss.es99 within 1%"]``, it stops at the first look at which every target
    holds, after ``paths`` paths at most; ``deadline`` ends it after so many seconds. ``result.stop`` then says what
    was reached, and ``on_look`` is told at each look. ``probabilities``, as ``["private_credit.loss > 200"]``, are
    counted exactly. ``tail`` is the number of extreme values kept of each metric, ``sample`` that of whole paths.

    ``batch`` is the number of paths a launch takes (default: the backend's choice); no result depends on
    it. ``progress(done, paths, seconds)`` is called as paths are done. Raises ConfigError for bad
    arguments, BackendError where the backend cannot be used, TraceError where the model cannot be traced.
    """
    economy = as_economy(model)
    check_run(paths, seed, economy.months if months is None else months, dtype, backend)
    targets, events = check_asked(
        economy.metrics, until, probabilities, deadline, batch=batch, tail=tail, sample=sample
    )
    rule = None
    if targets:
        from .stop import StopRule

        rule = StopRule(targets, max_paths=paths, deadline_seconds=deadline)
    made = plan(model, backend, dtype, months)
    statistics = Statistics(economy.metrics, tail, sample, events)
    runner = _Runner(made, seed, paths, batch or max(made.kernel.chunk, BLOCK), progress, deadline)
    with ThreadPoolExecutor(1) as background:  # a block is reduced while the next is simulated
        reduce = 0.0
        while runner.going:
            runner.goal = min(rule.next_look(runner.first), paths) if rule else paths
            pending: Future[float] | None = None
            for number, values, bad in runner.blocks():
                if pending is not None:
                    reduce += pending.result()
                pending = background.submit(_timed, statistics, number, values, bad)
            if pending is not None:
                reduce += pending.result()
            if rule is not None:
                look = rule.look(statistics, statistics.paths, runner.elapsed)
                runner.expected = min(look.paths_needed or paths, paths)
                if on_look is not None:
                    on_look(look)
                if look.held:
                    break
    made.seconds |= {"simulate": runner.seconds, "reduce": reduce}
    done = statistics.paths
    return Result(
        name=economy.name,
        path_count=done,
        seed=seed,
        backend=made.backend,
        dtype=dtype,
        months=made.months,
        statistics=statistics,
        units={name: o.unit for name, o in economy.reported.items()},
        docs={name: o.doc for name, o in economy.reported.items()},
        series_names=economy.series,
        record=runner.record,
        seconds=made.seconds,
        stamp=made.kernel.stamp,
        passed_over=made.passed_over,
        config=model.values if isinstance(model, Scenario) else None,
        model=model if isinstance(model, Scenario) else None,
        recompute=_recompute(made, seed, done),
        stop=_outcome(rule, runner, paths),
    )


def check_asked(
    names: tuple[str, ...],
    until: Sequence[str],
    probabilities: Sequence[str],
    deadline: float | None = None,
    **sizes: int | None,
) -> tuple[list[Target], tuple[Event, ...]]:
    """The targets, and the events to count. Raises ConfigError with everything that is wrong."""
    problems = [
        f"{name} = {size!r}: should be a whole number above 0"
        for name, size in sizes.items()
        if size is not None and (not _whole(size) or size < 1)
    ]
    if deadline is not None and not deadline > 0:
        problems.append(f"deadline = {deadline!r}: should be above 0 seconds")
    targets: list[Target] = []
    quantities: list[Quantity] = []
    for text in until:
        from .stop import parse_target

        try:
            targets.append(parse_target(text, names))
        except ConfigError as error:
            problems += error.problems
    for text in probabilities:
        try:
            quantities.append(parse_quantity(text, names))
        except ConfigError as error:
            problems += error.problems
    problems += [
        f"probability {shown(q.text)}: should be like {q.metric} > 200"
        for q in quantities
        if q.functional.kind != "probability"
    ]
    if problems:
        raise ConfigError(problems)
    counted = [
        (q.metric, q.functional.sign, q.functional.threshold)
        for q in [*quantities, *(t.quantity for t in targets)]
        if q.functional.kind == "probability"
    ]
    return targets, tuple(dict.fromkeys(counted))


def _timed(
    statistics: Statistics, number: int, values: NDArray[Any], bad: NDArray[np.int32]
) -> float:
    start = time.perf_counter()
    statistics.add(number, values, bad)
    return time.perf_counter() - start


class _Runner:
    """Launches of any size in, whole blocks out: to ``goal``, which may be moved on, or the deadline.

    What a deadline leaves of a block that is not whole is dropped: a run's paths are always the first ones.
    """

    def __init__(
        self,
        plan: Plan,
        seed: int,
        paths: int,
        batch: int,
        progress: Progress | None,
        deadline: float | None,
    ) -> None:
        self.plan, self.seed, self.paths, self.batch = plan, seed, paths, batch
        self.progress, self.deadline = progress, deadline
        self.goal = self.expected = paths
        self.first = self.number = 0
        self.late = False
        self.seconds = 0.0
        self.began = time.perf_counter()
        self._series: list[NDArray[Any]] = []

    @property
    def going(self) -> bool:
        return self.first < self.paths and not self.late

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self.began

    @property
    def record(self) -> NDArray[Any] | None:
        return _join(self._series) if self._series else None

    def _launch(self) -> Output:
        """The next paths; those with series are launches of their own."""
        first, goal = self.first, self.goal
        series = bool(self.plan.economy.series) and first < SERIES_PATHS
        if series:
            count = min(self.batch, SERIES_PATHS - first, goal - first)
        else:  # launches end on multiples of the batch, so large ones hold whole blocks
            count = min(self.batch - first % self.batch, goal - first)
        start = time.perf_counter()
        output = self.plan.run(self.seed, first, count, series=series)
        self.seconds += time.perf_counter() - start
        if output.series is not None:
            self._series.append(output.series)
        self.first += count
        return output

    def blocks(self) -> Iterator[tuple[int, NDArray[Any], NDArray[np.int32]]]:
        """The blocks up to the goal."""
        waiting: list[Output] = []
        held = 0
        while self.first < self.goal and not self.late:
            waiting.append(self._launch())
            held += waiting[-1].bad.shape[0]
            if self.progress is not None:
                self.progress(self.first, max(self.expected, self.goal), self.elapsed)
            done = self.first == self.goal
            if held >= BLOCK or done:
                values = _join([o.metrics for o in waiting])
                bad = _join([o.bad for o in waiting])
                whole = held if done else held // BLOCK * BLOCK
                for at in range(0, whole, BLOCK):
                    end = min(at + BLOCK, whole)
                    yield self.number, values[:, at:end], bad[at:end]
                    self.number += 1
                rest = Output(values[:, whole:], None, bad[whole:])
                waiting, held = ([rest], held - whole) if whole < held else ([], 0)
                self.late = self.deadline is not None and self.elapsed > self.deadline


def _outcome(rule: StopRule | None, runner: _Runner, paths: int) -> dict[str, Any] | None:
    """What ``result.stop`` says: of the targets, or of a deadline that came first."""
    if rule is not None:
        return rule.outcome(runner.late).as_json()
    if runner.deadline is None:
        return None
    cut = runner.number * BLOCK < paths
    return {"held": not cut, "why": "deadline" if cut else "all paths", "targets": []}


def _join(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


def _recompute(plan: Plan, seed: int, paths: int) -> Callable[[list[str]], dict[str, NDArray[Any]]]:
    """Per-path values of some metrics, computed again: cheaper than keeping them all for everyone."""

    def values(names: list[str]) -> dict[str, NDArray[Any]]:
        rows = [plan.economy.metrics.index(name) for name in names]
        parts = []
        for first in range(0, paths, BLOCK):
            output = plan.run(seed, first, min(BLOCK, paths - first))
            parts.append(
                np.concatenate([output.metrics[rows], output.bad[None, :].astype(plan.dtype)])
            )
        table = np.concatenate(parts, axis=1)
        return dict(zip([*names, "first_bad_month"], table, strict=True))

    return values
