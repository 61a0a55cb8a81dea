"""Stop rules: run until intervals are as narrow as was asked, and still cover what they say.

Who looks at an interval again and again and stops when it is narrow errs more often than the interval says. Looks
are therefore few: at path counts that grow by a quarter, whatever the clock says, so a run that stops on precision
is the same run each time. A miss at the stop is a miss at one of some looks I, or the stop lies outside of I:

    P(miss at the stop) <= P(miss at any look of I) + P(the stop is not in I)        for any fixed I.

Take for I the three looks about the path count at which the true standard error would be narrow enough. The
half-width shrinks by 11 % from look to look; a target whose half-width itself errs by more than 5 % (fewer than
STEADY degrees of freedom) does not hold yet; so the last term is small. The term before it is bounded by the
joint normal law of the three estimates, whose correlations are the roots of the ratios of their path counts:
the recursion of Armitage, McPherson and Rowe (1969), with one constant for all looks as in Pocock (1977). That
asks for 1.3 times the paths of an interval looked at once, and the schedule for up to a quarter more. Spending
alpha / (k (k + 1)) at look k, which needs no thought about I, asks for nearly 4 times at look 20. As the wanted
width goes to 0, looking costs nothing at all (Chow and Robbins 1965), so the bound is a cautious one: between 2 and
3.5 % of runs miss where 5 % may (tests/test_stop.py).

Several targets share alpha evenly (Bonferroni).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.philox import MAX_PATHS
from .estimate import LEVEL, Estimate, z_of
from .functionals import Quantity, parse_quantity
from .metric import Metric
from .statistics import BLOCK, Event, Statistics
from .validate import ConfigError, shown

GROWTH = 1.25
"""From look to look, rounded up to whole blocks."""
WINDOW = 3
"""The stop falls into so many adjacent looks, all but surely: the error of any of them is what is bounded."""
STEADY = 200.0
"""Degrees of freedom that a standard error needs: it then errs by 1 / sqrt(2 * 200) = 5 %."""
FEWEST_EVENTS = 30
"""A probability within a share of itself needs so many paths with the event, and without."""


# ---- targets, as text
@dataclass(frozen=True)
class Target:
    """A quantity, and the half-width its interval should have: ``width`` in its unit, or a share of its size."""

    quantity: Quantity
    width: float
    relative: bool
    text: str

    def wanted(self, value: float) -> float:
        """The half-width wanted where ``value`` is estimated."""
        return self.width * abs(value) if self.relative else self.width


_TARGET = re.compile(r"^\s*(?P<what>\S.*?)\s+within\s+(?P<width>[^\s%]+)\s*(?P<percent>%?)\s*$")
_LIKE = "METRIC.es99 within 1%, or within 0.002 in the metric's unit"


def parse_target(text: str, names: Iterable[str]) -> Target:
    """``private_credit.loss.es99 within 1%``, ``within 0.002``, ``private_credit.loss > 200 within 5%``.

    A percentage is a share of the estimate's size, for a probability too: 1 % of a probability of 4 % is 0.0004,
    so ``within 0.001`` is what a tenth of a percentage point is. Raises ConfigError.
    """
    found = _TARGET.match(text)
    if found is None:
        raise ConfigError([f"target {shown(text)}: should be like {_LIKE}"])
    try:
        width = float(found["width"])
    except ValueError:
        width = math.nan
    relative = bool(found["percent"])
    if not 0.0 < width < (100.0 if relative else math.inf):
        wanted = "above 0 and below 100 %" if relative else "a number above 0"
        raise ConfigError(
            [
                f"target {shown(text)}: the width {shown(found['width'] + found['percent'])} should be {wanted}"
            ]
        )
    quantity = parse_quantity(found["what"], names)
    if quantity.functional.kind in ("skew", "kurtosis"):
        raise ConfigError(
            [
                f"target {shown(text)}: {quantity.functional.kind} has no interval; should be the mean, sd, a "
                "quantile, es or a probability"
            ]
        )
    return Target(quantity, width / 100.0 if relative else width, relative, " ".join(text.split()))


_DURATION = re.compile(
    r"^\s*(?:(?P<h>\d+(?:\.\d+)?)\s*h)?\s*(?:(?P<m>\d+(?:\.\d+)?)\s*m)?\s*(?:(?P<s>\d+(?:\.\d+)?)\s*s)?\s*$"
)


def parse_duration(text: str) -> float:
    """Seconds of ``90s``, ``30m``, ``2h`` or ``1h30m``. Raises ConfigError."""
    found = _DURATION.match(text)
    parts = [float(found[k] or 0.0) for k in "hms"] if found else [0.0]
    seconds = sum(x * unit for x, unit in zip(parts, (3600.0, 60.0, 1.0), strict=False))
    if not 0.0 < seconds < math.inf:
        raise ConfigError([f"duration {shown(text)}: should be like 90s, 30m, 2h or 1h30m"])
    return seconds


# ---- when to look, and at which level
def _next(blocks: int) -> int:
    return max(blocks + 1, math.ceil(blocks * GROWTH))


def error_of_look(blocks: int, alpha: float) -> float:
    """The error that the interval of one look may have, so that WINDOW adjacent ones err with ``alpha`` at most.

    The look is the first at ``blocks`` or more. It belongs to several windows and takes the strictest.
    """
    counts = [1]
    while counts[-1] < blocks:
        counts.append(_next(counts[-1]))
    last = len(counts) - 1
    for _ in range(WINDOW - 1):
        counts.append(_next(counts[-1]))
    first = max(last - WINDOW + 1, 0)
    windows = [tuple(counts[i : i + WINDOW]) for i in range(first, last + 1)]
    return min(_error_within(w, alpha) for w in windows)


@lru_cache(maxsize=1024)
def _error_within(window: tuple[int, ...], alpha: float) -> float:
    """The two-sided error of each look, when that of any of them is ``alpha``; by bisection."""
    low, high = alpha / len(window), alpha
    for _ in range(50):
        middle = 0.5 * (low + high)
        if any_miss(window, z_of(1.0 - middle)) > alpha:
            high = middle
        else:
            low = middle
    return low


def any_miss(counts: Sequence[int], bound: float) -> float:
    """The probability that |Z_k| > bound for any k, where Z_k is the standardized mean of counts[k] values.

    By recursion over the looks (Armitage, McPherson and Rowe 1969), with Gauss-Legendre quadrature.
    """
    nodes, weights = _legendre()
    z, w = bound * nodes, bound * weights
    density = np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    for before, after in pairwise(counts):
        rho, rest = math.sqrt(before / after), math.sqrt(1.0 - before / after)
        step = np.exp(-0.5 * ((z[:, None] - rho * z[None, :]) / rest) ** 2)
        density = step @ (w * density) / (rest * math.sqrt(2.0 * math.pi))
    return 1.0 - float(w @ density)


@lru_cache(maxsize=1)
def _legendre() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.polynomial.legendre.leggauss(48)


# ---- looking
@dataclass(frozen=True)
class Row:
    """A target at a look. ``estimate`` has the level that the correction asks for.

    ``needed`` paths in all are predicted to make it hold, and ``left`` seconds; None where nothing can be said.
    ``note`` says why it does not hold, or what to know.
    """

    target: Target
    estimate: Estimate
    wanted: float
    held: bool
    needed: int | None
    left: float | None
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        e = self.estimate
        return {
            "target": self.target.text,
            **e.as_json(),
            "half": _plain(e.half),
            "wanted": _plain(self.wanted),
            "relative": self.target.relative,
            "held": self.held,
            "needed_paths": self.needed,
            "seconds_left": self.left,
            "note": self.note,
        }


@dataclass(frozen=True)
class Look:
    """All targets after so many paths and seconds."""

    rows: list[Row]
    paths: int
    seconds: float
    bad: int

    @property
    def held(self) -> bool:
        return all(r.held for r in self.rows)

    @property
    def paths_needed(self) -> int | None:
        """In all, to make every target hold, as predicted; None where one cannot be predicted."""
        known = [r.needed for r in self.rows if r.needed is not None]
        return max(known) if len(known) == len(self.rows) else None

    @property
    def seconds_left(self) -> float | None:
        """Until then, as predicted."""
        known = [r.left for r in self.rows if r.left is not None]
        return max(known) if len(known) == len(self.rows) else None


@dataclass(frozen=True)
class StopOutcome:
    """How a run ended: ``why`` is "targets held", "max paths" or "deadline".

    A run that a deadline ended has as many paths as the clock allowed; any other is the same run each time.
    """

    held: bool
    why: str
    look: Look
    rule: StopRule

    @property
    def rows(self) -> list[Row]:
        return self.look.rows

    def as_json(self) -> dict[str, Any]:
        """What the manifest keeps and ``--format json`` prints; stop_table shows it."""
        return {
            "held": self.held,
            "why": self.why,
            "reproducible": self.why != "deadline",
            "paths": self.look.paths,
            "seconds": round(self.look.seconds, 3),
            "max_paths": self.rule.max_paths,
            "deadline_seconds": self.rule.deadline_seconds,
            "level": self.rule.level,
            "bad_paths": self.look.bad,
            "targets": [r.as_json() for r in self.rows],
        }


@dataclass
class StopRule:
    """Run until every target holds, or ``max_paths`` are done, or ``deadline_seconds`` have passed.

    All intervals at the stop hold together with probability ``level``. ``block`` is the paths of a block. Raises
    ConfigError where there is no target, or a limit is none.
    """

    targets: Sequence[Target]
    level: float = LEVEL
    max_paths: int = MAX_PATHS
    deadline_seconds: float | None = None
    block: int = BLOCK
    last: Look | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        problems = []
        if not self.targets:
            problems.append(f"until: should name a target, like {_LIKE}")
        if not 0.5 <= self.level < 1.0:
            problems.append(f"level = {shown(self.level)}: should be from 0.5 to below 1")
        if not 1 <= self.max_paths <= MAX_PATHS:
            problems.append(f"max_paths = {shown(self.max_paths)}: should be from 1 to 2^48")
        if self.deadline_seconds is not None and not 0.0 < self.deadline_seconds < math.inf:
            problems.append(f"deadline = {shown(self.deadline_seconds)}: should be seconds above 0")
        if problems:
            raise ConfigError(problems)
        intervals = {(t.quantity.metric, t.quantity.functional) for t in self.targets}
        self._alpha = (1.0 - self.level) / len(intervals)

    @property
    def events(self) -> tuple[Event, ...]:
        """The thresholds that Statistics should count, so that probabilities are exact."""
        found = [
            (t.quantity.metric, f.sign, f.threshold)
            for t in self.targets
            if (f := t.quantity.functional).kind == "probability"
        ]
        return tuple(dict.fromkeys(found))

    def next_look(self, paths: int) -> int:
        """After how many paths in all to look again, when ``paths`` are done."""
        blocks = 1
        while blocks * self.block <= paths:
            blocks = _next(blocks)
        return min(blocks * self.block, self.max_paths)

    def look_level(self, paths: int) -> float:
        """The level of each target's interval at a look after so many paths."""
        return 1.0 - error_of_look(max(math.ceil(paths / self.block), 1), self._alpha)

    def look(self, statistics: Statistics, paths: int, seconds: float = 0.0) -> Look:
        """Judge all targets. ``paths`` are done, the non-finite ones too; ``seconds`` only serve to predict."""
        level = self.look_level(paths)
        rows = [self._row(t, statistics, paths, seconds, level) for t in self.targets]
        self.last = Look(rows, paths, seconds, statistics.bad_count)
        return self.last

    def outcome(self, late: bool = False) -> StopOutcome:
        """How the run ended, with its last look; ``late`` says that the deadline ended it.

        Targets may hold at a look that a deadline put off the schedule: why is then the deadline. Raises
        ValueError where nothing was looked at, or the run should have gone on.
        """
        last = self.last
        if last is None:
            raise ValueError("a stop rule ends with a look")
        if last.held and last.paths == self.next_look(last.paths - 1):
            why = "targets held"
        elif last.paths >= self.max_paths:
            why = "max paths"
        elif late:
            why = "deadline"
        else:
            raise ValueError(f"{last.paths} paths: no target, no limit, no deadline stops here")
        return StopOutcome(last.held, why, last, self)

    def _row(
        self, target: Target, statistics: Statistics, paths: int, seconds: float, level: float
    ) -> Row:
        metric = statistics.metric(target.quantity.metric)
        estimate = target.quantity.functional.estimate(metric, level)
        wanted = target.wanted(estimate.value)
        note, ripe = _obstacle(target, estimate, metric)
        held = not note and estimate.half <= wanted
        needed = paths if held else None
        if not held and ripe > 0.0:
            needed = self._predict(paths, estimate.half, wanted, level, paths / ripe)
        left = None if needed is None else seconds * (needed - paths) / paths
        return Row(target, estimate, wanted, held, needed, left, note)

    def _first_look(self, paths: float) -> int | None:
        """The first look after at least so many paths, not minding max_paths; None beyond what can be run."""
        if not paths <= MAX_PATHS:
            return None
        blocks = 1
        while blocks * self.block < paths:
            blocks = _next(blocks)
        return blocks * self.block

    def _predict(
        self, paths: int, half: float, wanted: float, level: float, least: float
    ) -> int | None:
        """Paths at which a half-width that falls as 1 / sqrt(paths) will be narrow, at that look's own level."""
        if not (math.isfinite(half) and wanted > 0.0):
            return None
        least = max(least, paths + 1)
        asked = paths * (half / wanted) ** 2
        found = self._first_look(max(asked, least))
        if found is None:
            return None
        then = z_of(self.look_level(found)) / z_of(level)
        return self._first_look(max(asked * then * then, least))


def _obstacle(target: Target, e: Estimate, metric: Metric) -> tuple[str, float]:
    """Why a target cannot hold whatever its interval's width, and how much of what is missing is there.

    Nothing stands in the way: ("", 1). More paths need not help, or nothing can be said: a share of 0.
    """
    kind, n = target.quantity.functional.kind, metric.count
    if not n:
        return "no path with a finite state", 0.0
    if kind == "probability":
        return _rare(e, n) if target.relative else ("", 1.0)
    if metric.rank(1) == metric.rank(n):
        return "the same value on every path so far", 0.0
    if not math.isfinite(e.half):
        return "too few values beyond it" if kind == "quantile" else e.how, 0.0
    if target.relative and e.value == 0.0:
        return "the estimate is 0, which has no share; say a width in its unit", 0.0
    # the spacings that a quantile's width is made of do not hang together with its error, so they may be few
    if kind == "quantile" or e.freedom >= STEADY:
        return "", 1.0
    unsteady = "its own error is not known well enough yet"
    return unsteady if e.freedom > 0.0 else e.how, e.freedom / STEADY


def _rare(e: Estimate, n: int) -> tuple[str, float]:
    """As _obstacle, of a probability within a share of itself."""
    k = round(e.value * n)
    if k == 0:
        return f"happened on no path: below {e.high:.2g}, but no share of it", 0.0
    few = min(k, n - k)
    if few < FEWEST_EVENTS:
        have = "have it" if k == few else "do not have it"
        return f"only {few:,} of {n:,} paths {have}", few / FEWEST_EVENTS
    return "", 1.0


def _plain(x: float) -> float | None:
    return x if math.isfinite(x) else None  # JSON has no NaN
