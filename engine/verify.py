"""Verify: every path on every backend, beside the reference.

The reference is NumPy in float64, which shares no generated code with the others. First each backend's operations are
probed, one by one; then it computes the same paths, month by month, and what differs is sorted into rounding, decisions
that rounding turned (a default on the threshold), and errors. Last, no byte may hang on how the paths are cut.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..kernels import backends
from ..kernels.backends.base import Output
from ..kernels.probe import Probe, probe
from .arguments import check_run
from .rounding import ALLOWED, Allowance, Array, Flip, Row, Tally, decides, lines_of, mean_sizes
from .runner import Progress
from .scenario import Scenario
from .simulate import Plan, as_economy, plan
from .statistics import Statistics
from .system import Economy, System
from .validate import ConfigError, near, shown

REFERENCE = ("numpy", "float64")
PATHS = 4096
_RECORD_BYTES = 1 << 27  # of the series of a chunk in float64
_YARDSTICK = 512  # paths that NumPy repeats in float32, to see what rounding alone does
_PARTS = (17, 39)  # launches that the first paths are cut into again
_ALONE = 37  # and a path that is computed alone


def plain(x: float) -> float | None:
    """A number as JSON has it; null for what is not finite."""
    return float(x) if math.isfinite(x) else None


# ---- what is found
@dataclass
class Checked:
    """A backend beside the reference.

    ``flipped`` and ``blurred``: paths with a decision that turned, and others with a variable out of tolerance.
    ``typical``: the median over the paths of each one's largest difference. ``problems``: what is out of tolerance, a line
    each; empty where all is well. ``rows`` is empty where the backend was not run, its operations being broken.
    """

    backend: str
    dtype: str
    probe: Probe
    paths: int = 0
    rows: list[Row] = field(default_factory=list)
    flipped: int = 0
    blurred: int = 0
    typical: float = math.nan
    flips: list[Flip] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    replay: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    stamp: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not (self.problems or self.probe.faults)

    def as_json(self) -> dict[str, Any]:
        """Its part of what ``--format json`` prints: the rows with the worst first."""
        numbers = ("largest", "value", "reference")
        rows = [asdict(r) | {k: plain(getattr(r, k)) for k in numbers} for r in self.rows]
        return {
            "backend": self.backend,
            "ok": self.ok,
            "operations": {
                "tried": len(self.probe.tried),
                "broken": [
                    asdict(f) | {k: plain(getattr(f, k)) for k in ("got", "right", "off")}
                    for f in self.probe.faults
                ],
                "not_judged": list(self.probe.unjudged),
            },
            "paths": self.paths,
            "flipped": self.flipped,
            "blurred": self.blurred,
            "typical": plain(self.typical),
            "flips": [asdict(f) | {"value": plain(f.value)} for f in self.flips],
            "replay": self.replay,
            "stamp": self.stamp,
            "seconds": {k: round(v, 4) for k, v in self.seconds.items()},
            "variables": rows,
        }


@dataclass
class Verification:
    """Backends beside the reference on the same paths. ``yardstick``: the median path under NumPy in the same precision."""

    name: str
    paths: int
    seed: int
    months: int
    dtype: str
    allowed: Allowance
    reference: Probe
    checked: list[Checked]
    yardstick: float = math.nan
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return not self.reference.faults and all(c.ok for c in self.checked)

    def lines(self) -> list[str]:
        """What is wrong, a line each: broken operations first."""
        probes = [self.reference, *(c.probe for c in self.checked)]
        found = [str(f) for p in probes for f in p.faults]
        return list(dict.fromkeys(found)) + [p for c in self.checked for p in c.problems]

    def as_json(self) -> dict[str, Any]:
        """What ``--format json`` prints."""
        return {
            "scenario": self.name,
            "paths": self.paths,
            "seed": self.seed,
            "months": self.months,
            "dtype": self.dtype,
            "ok": self.ok,
            "reference": {"backend": REFERENCE[0], "dtype": REFERENCE[1]},
            "allowed": {k: plain(v) for k, v in asdict(self.allowed).items()},
            "rounding_alone": plain(self.yardstick),
            "seconds": round(self.seconds, 3),
            "problems": self.lines(),
            "backends": [c.as_json() for c in self.checked],
        }


# ---- verifying
def verify(
    model: Scenario | Economy | System,
    paths: int = PATHS,
    seed: int = 0,
    names: Sequence[str] | None = None,
    dtype: str = "float32",
    *,
    months: int | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Compute paths 0, ..., paths - 1 on the reference and on each backend of ``names`` (default: all that work here).

    ``progress(done, total, seconds)`` counts paths over all backends. Raises ConfigError for bad arguments,
    BackendError where a backend cannot be used, TraceError where the model cannot be traced.
    """
    economy = as_economy(model)
    months = economy.months if months is None else months
    check_run(paths, seed, months, dtype, "auto")
    chosen = choose(names, dtype)
    began = time.perf_counter()
    found = Verification(
        economy.name, paths, seed, months, dtype, ALLOWED[dtype], probe(*REFERENCE),
        [Checked(name, dtype, probe(name, dtype)) for name in chosen],
    )  # fmt: skip
    if not found.reference.grave:
        _Work(economy, found, progress).run()
    found.seconds = time.perf_counter() - began
    return found


def choose(names: Sequence[str] | None, dtype: str) -> list[str]:
    """The backends to verify. Raises ConfigError where one is unknown, named twice, not here, or the reference itself."""
    if names is None:
        here = [n for n in backends.NAMES if n != "numpy" and backends.status(n).works]
        names = here or (["numpy"] if dtype != REFERENCE[1] else [])
        if not names:
            raise ConfigError(
                ["--backends: none but the reference works here; overbuilt backends says why"]
            )
        return names
    if problems := backend_problems(names, dtype):
        raise ConfigError(problems)
    return list(names)


def backend_problems(names: Sequence[str], dtype: str = "") -> list[str]:
    """A line for each backend that is unknown, named twice, not here, or in this ``dtype`` the reference itself."""
    problems = [] if names else ["--backends: should name at least one backend"]
    for name in dict.fromkeys(names):
        if name not in backends.NAMES:
            problems.append(f"--backends {shown(name)}: unknown{near(name, list(backends.NAMES))}")
        elif names.count(name) > 1:
            problems.append(f"--backends {name}: is named {names.count(name)} times; once will do")
        elif (name, dtype) == REFERENCE:
            problems.append(
                f"--backends {name}: is the reference in {dtype}; name others, or say --dtype float32"
            )
        elif not (status := backends.status(name)).works:
            problems.append(f"--backends {name}: cannot be used here: {status.why}")
    return problems


class _Work:
    """The paths of a verification, a chunk at a time."""

    def __init__(self, economy: Economy, found: Verification, progress: Progress | None) -> None:
        self.economy, self.found, self.progress = economy, found, progress
        rows = len(set(economy.series) | set(economy.metrics))
        self.chunk = min(max(_RECORD_BYTES // (8 * rows * found.months), 256), 4096)
        self.right = plan(economy, *REFERENCE, found.months)
        self.sound = [c for c in found.checked if not c.probe.grave]
        self.plans = {c.backend: self._plan(c) for c in self.sound}
        self.tallies = {c.backend: Tally(economy, found.months, found.allowed) for c in self.sound}
        self.whole: Array | None = None
        self.sizes: list[Array] = []
        self.done, self.began = 0, time.perf_counter()

    def _plan(self, c: Checked) -> Plan:
        made = plan(self.economy, c.backend, c.dtype, self.found.months)
        if made.backend == "jax":  # it computes whole chunks, and would record them all
            made.kernel.chunk = min(made.kernel.chunk, self.chunk)
        c.stamp, c.seconds = made.kernel.stamp, dict(made.seconds)
        return made

    def run(self) -> None:
        for first in range(0, self.found.paths, self.chunk):
            count = min(self.chunk, self.found.paths - first)
            right = self._launch(self.right, first, count)
            self._learn(right)
            if not first:
                self._yardstick(right)
            for c in self.sound:
                start = time.perf_counter()
                got = self._launch(self.plans[c.backend], first, count)
                c.seconds["simulate"] = c.seconds.get("simulate", 0.0) + time.perf_counter() - start
                assert self.whole is not None
                self.tallies[c.backend].add(first, got, right, self.sizes, self.whole)
                if not first:
                    c.problems += cut_problems(self.plans[c.backend], self.found.seed, got)
        for c in self.sound:
            self._conclude(c, self.tallies[c.backend])

    def _launch(self, made: Plan, first: int, count: int) -> Output:
        output = made.run(self.found.seed, first, count, series=True)
        self.done += count
        if self.progress is not None:
            total = self.found.paths * (1 + len(self.sound))
            self.progress(min(self.done, total), total, time.perf_counter() - self.began)
        return output

    def _learn(self, right: Output) -> None:
        """Which variables decide, from all paths so far; what differences are scaled by, from the first ones."""
        months = self.found.months
        tally = Tally(self.economy, months, self.found.allowed)
        rows = [tally.rows_of(right, m) for m in range(1, months + 1)]
        assert right.series is not None
        extra = right.metrics[tally.extra][None]
        whole = np.concatenate([decides(right.series), decides(extra)])
        self.whole = whole if self.whole is None else self.whole & whole
        self.sizes = self.sizes or [mean_sizes(r) for r in rows]

    def _yardstick(self, right: Output) -> None:
        """What rounding alone does: NumPy in the same precision on the first paths."""
        found = self.found
        if not math.isfinite(found.allowed.typical) or not self.sound:
            return
        made = self.plans.get("numpy") or plan(self.economy, "numpy", found.dtype, found.months)
        count = min(_YARDSTICK, right.metrics.shape[1])
        tally = Tally(self.economy, found.months, found.allowed)
        assert self.whole is not None
        got = made.run(found.seed, 0, count, series=True)
        tally.add(0, got, _part(right, 0, count), self.sizes, self.whole)
        found.yardstick = tally.typical()

    def _conclude(self, c: Checked, tally: Tally) -> None:
        c.rows = tally.rows(c.backend, lines_of(self.plans[c.backend].program))
        c.paths, c.flipped, c.blurred = tally.paths, tally.flipped, tally.blurred
        c.typical, c.flips = tally.typical(), tally.flips
        found = judge(c, self.found.allowed, self.found.yardstick)
        if tally.bad:
            found.append(
                f"{c.backend} {c.dtype}: {tally.bad} paths have a state that is not finite on one side only"
            )
        c.problems = found + c.problems
        at = next((r.path for r in c.rows if r.beyond), None)
        at = c.flips[0].path if at is None and c.flips else at
        if at is not None:
            c.replay = (
                f"--seed {self.found.seed} --path {at} --backend {c.backend} --dtype {c.dtype} "
                f"--against {':'.join(REFERENCE)}"
            )


_NAMED = 5  # variables out of tolerance that are told one by one


def judge(c: Checked, allowed: Allowance, yardstick: float) -> list[str]:
    """What is out of tolerance on a backend, the worst variables by name."""
    head, found = f"{c.backend} {c.dtype}", []
    if c.blurred > allowed.blurred_paths(c.paths):
        found.append(
            f"{head}: {c.blurred:,} of {c.paths:,} paths are more than {allowed.tolerance:g} off; "
            f"{math.floor(allowed.blurred_paths(c.paths)):,} may be"
        )
        found += [
            f"{r.variable} on {head}: {r.largest:.2g} off on path {r.path} in month {r.month}: {r.value:.9g}, "
            f"not {r.reference:.9g}" + (f" ({r.line})" if r.line else "")
            for r in c.rows[:_NAMED]
            if r.beyond
        ]
    if c.flipped > allowed.flipped_paths(c.paths):
        found.append(
            f"{head}: on {c.flipped:,} of {c.paths:,} paths a decision fell the other way; on "
            f"{math.floor(allowed.flipped_paths(c.paths)):,} it may"
        )
        found += [
            f"{f.variable} on {head}: {f.value:.9g}, not {f.reference:.9g}, on path {f.path} in month {f.month}"
            for f in c.flips[:_NAMED]
        ]
    limit = max(allowed.typical * yardstick, 10.0 * float(np.finfo(c.dtype).eps))
    if c.typical > limit:
        found.append(
            f"{head}: the median path is {c.typical:.2g} off, under NumPy in {c.dtype} {yardstick:.2g}: more than "
            "rounding does"
        )
    return found


# ---- the bytes
def cut_problems(made: Plan, seed: int, whole: Output) -> list[str]:
    """What hangs on how paths are cut: the first ones in other launches, from another start, and one alone.

    ``whole`` is the launch of paths 0, 1, ... that they must equal to the byte, with series.
    """
    n = min(sum(_PARTS), whole.metrics.shape[1])
    cut = min(_PARTS[0], n)
    launches = [(0, cut), (cut, n - cut), (min(_ALONE, n - 1), 1)]
    found, outputs = [], []
    for first, count in launches:
        if count:
            got = made.run(seed, first, count, series=True)
            outputs.append(got)
            found += _unequal(made, _part(whole, first, count), got, first)
    together = [
        _digest(made.economy, _part(whole, 0, n)),
        _digest(made.economy, _joined(outputs[:-1])),
    ]
    if len(set(together)) > 1 and not found:
        found.append("the digest hangs on the launches")
    found += _last_month(made, whole)
    return [f"{made.backend} {made.dtype}: {line}" for line in found]


def _unequal(made: Plan, whole: Output, got: Output, first: int) -> list[str]:
    count = got.metrics.shape[1]
    paths = f"paths {first} to {first + count - 1}" if count > 1 else f"path {first}"
    for what, a, b in (("bad", got.bad, whole.bad), ("series", got.series, whole.series),
                       ("metrics", got.metrics, whole.metrics)):  # fmt: skip
        if (
            a is not None
            and b is not None
            and not np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        ):
            return [f"{paths} computed apart give other {what} than in one launch"]
    return []


def _last_month(made: Plan, whole: Output) -> list[str]:
    """A metric that is also a series is its value after the last month."""
    assert whole.series is not None
    series = made.economy.series
    for k, name in enumerate(made.economy.metrics):
        if name in series:
            last = whole.series[-1, series.index(name)]
            if not np.array_equal(last, whole.metrics[k], equal_nan=True):
                return [f"{name} after the last month is not the metric {name}"]
    return []


def _digest(economy: Economy, output: Output) -> str:
    made = Statistics(economy.metrics)
    made.add(0, output.metrics, output.bad)
    return made.digest()


def _part(output: Output, first: int, count: int) -> Output:
    cut = slice(first, first + count)
    series = None if output.series is None else output.series[:, :, cut]
    return Output(output.metrics[:, cut], series, output.bad[cut])


def _joined(outputs: list[Output]) -> Output:
    return Output(
        np.concatenate([o.metrics for o in outputs], axis=1), None,
        np.concatenate([o.bad for o in outputs]),
    )  # fmt: skip
