"""Rounding: a backend's paths beside the reference's, and what of their differences rounding may explain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.backends.base import Output
from ..kernels.program import Program, walk
from .agreement import TOLERANCES, scaled_difference
from .system import Economy

Array = NDArray[Any]

_KEPT = 20  # flips that are named


# ---- the policy
@dataclass(frozen=True, slots=True)
class Allowance:
    """What rounding may do to many paths, by precision.

    ``tolerance``: the scaled difference of a variable on a path where no decision turned. In float32 some paths lie
    beyond it, up to the share ``blurred``: where a fire sale collapses, each round's price decides how much the next
    one sells, and what is left of two large sums is small. On a share ``flipped`` a decision may turn; a path beyond
    ``gross`` is one of them, whether or not a variable shows which decision it was. ``spare``: so many paths more of
    each. ``typical``: how many times the median path may differ as much as under NumPy in the same precision, which
    shows what rounding alone does.
    """

    tolerance: float
    blurred: float = 0.0
    flipped: float = 0.0
    gross: float = math.inf
    spare: int = 0
    typical: float = math.inf

    def blurred_paths(self, paths: int) -> float:
        """How many of the paths may be beyond the tolerance."""
        return self.spare + self.blurred * paths

    def flipped_paths(self, paths: int) -> float:
        """On how many of the paths a decision may turn."""
        return self.spare + self.flipped * paths


ALLOWED = {
    "float64": Allowance(TOLERANCES["float64"]),
    "float32": Allowance(TOLERANCES["float32"], 0.01, 0.005, 2e-2, 2, 4.0),
}
"""Of 80,000 paths, 8,192 of each shipped scenario, one in two hundred was beyond 1e-4 in float32, the worst by 1e-2."""


def mean_sizes(values: Array) -> Array:
    """What differences are scaled by, beside the values themselves: (..., paths) to (..., 1), the mean of |values|."""
    with np.errstate(all="ignore"):
        return np.asarray(np.nanmean(np.abs(values), axis=-1, keepdims=True)) + 1e-30


# ---- what is found
@dataclass(frozen=True)
class Row:
    """A variable on a backend. ``largest``: its largest scaled difference on paths where no decision had turned by
    then, with the path, the month and both values; path -1 where none differs. ``beyond``: paths out of tolerance.
    ``flips``: paths on which this was the first decision to turn. ``line``: where the model computes it."""

    backend: str
    variable: str
    largest: float
    path: int
    month: int
    value: float
    reference: float
    beyond: int
    flips: int
    line: str


@dataclass(frozen=True)
class Flip:
    """A decision that fell the other way: the first on its path."""

    path: int
    month: int
    variable: str
    value: float
    reference: float


# ---- the tally of a backend
class Tally:
    """Differences of one backend over chunks of paths.

    ``names``: the reported variables, series first; a metric that is no series is compared after the last month.
    """

    def __init__(self, economy: Economy, months: int, allowed: Allowance) -> None:
        extra = [m for m in economy.metrics if m not in economy.series]
        self.names = [*economy.series, *extra]
        self.extra = [economy.metrics.index(m) for m in extra]
        self.months, self.allowed = months, allowed
        n = len(self.names)
        self.largest = np.zeros(n)
        self.where = np.zeros((n, 2), np.int64) - 1
        self.pair = np.full((n, 2), np.nan)
        self.beyond, self.flip_count = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self.flips: list[Flip] = []
        self.paths = self.flipped = self.blurred = self.bad = 0
        self.worst: list[Array] = []  # of each path where no decision turned

    def rows_of(self, output: Output, month: int) -> Array:
        """The variables after a month: (variables, paths); what is a metric only, once the last month is over."""
        assert output.series is not None
        values: Array = output.series[month - 1]
        if month < self.months or not self.extra:
            return values
        return np.concatenate([values, output.metrics[self.extra]])

    def add(self, first: int, got: Output, right: Output, sizes: list[Array], whole: Array) -> None:
        """Paths from ``first``; ``sizes`` by month as of ``mean_sizes``, ``whole`` tells which variables decide."""
        count = got.metrics.shape[1]
        turned = np.zeros(count, bool)
        worst = np.zeros(count)
        over = np.zeros((len(self.names), count), bool)
        for month in range(1, self.months + 1):
            a, b = (self.rows_of(o, month).astype(np.float64) for o in (got, right))
            n = len(a)
            scaled = scaled_difference(a, b, sizes[month - 1])
            decided = whole[:n, None] & (b == np.round(b)) & (np.abs(a - b) >= 0.5)
            turns = np.where(decided.any(axis=0), decided, scaled > self.allowed.gross) & ~turned
            self._flips(first, month, turns, a, b)
            turned |= turns.any(axis=0)
            scaled[:, turned] = -1.0
            self._largest(first, month, scaled, a, b)
            worst = np.maximum(worst, scaled.max(axis=0, initial=0.0))
            over[:n] |= scaled > self.allowed.tolerance
        over[:, turned] = False
        self.beyond += over.sum(axis=1)
        self.paths += count
        self.flipped += int(turned.sum())
        self.blurred += int(over.any(axis=0).sum())
        self.bad += int(np.count_nonzero((got.bad == 0) != (right.bad == 0)))
        self.worst.append(worst[~turned].astype(np.float32))

    def _flips(self, first: int, month: int, turns: Array, a: Array, b: Array) -> None:
        for path in np.flatnonzero(turns.any(axis=0)).tolist():
            which = np.flatnonzero(turns[:, path])
            self.flip_count[which] += 1
            k = int(which[0])
            if len(self.flips) < _KEPT:
                values = float(a[k, path]), float(b[k, path])
                self.flips.append(Flip(first + path, month, self.names[k], *values))

    def _largest(self, first: int, month: int, scaled: Array, a: Array, b: Array) -> None:
        at = scaled.argmax(axis=1)
        k = np.arange(len(scaled))
        for j in np.flatnonzero(scaled[k, at] > self.largest[: len(scaled)]).tolist():
            path = int(at[j])
            self.largest[j] = scaled[j, path]
            self.where[j] = first + path, month
            self.pair[j] = a[j, path], b[j, path]

    def rows(self, backend: str, lines: dict[str, str]) -> list[Row]:
        """A row a variable, the worst first."""
        made = [
            Row(
                backend, name, float(self.largest[k]), int(self.where[k, 0]), int(self.where[k, 1]),
                float(self.pair[k, 0]), float(self.pair[k, 1]), int(self.beyond[k]),
                int(self.flip_count[k]), lines.get(name, ""),
            )
            for k, name in enumerate(self.names)
        ]  # fmt: skip
        return sorted(made, key=lambda r: (-r.largest, -r.flips))

    def typical(self) -> float:
        """The median of the paths' largest differences."""
        values = np.concatenate(self.worst) if self.worst else np.zeros(0)
        return float(np.median(values)) if len(values) else math.nan


def decides(values: Array) -> Array:
    """Which variables, of (months, variables, paths), are whole numbers throughout: these decide something."""
    return np.asarray((np.isfinite(values) & (values == np.round(values))).all(axis=(0, 2)))


def lines_of(program: Program) -> dict[str, str]:
    """File and line of the model that each reported variable comes from."""
    made = {v.id: s.line for s in walk(program.step) for v in s.results}
    values = (*program.metric_values(), *program.series_values())
    names = (*program.metrics, *program.series)
    return {name: made.get(v.id, "") for name, v in zip(names, values, strict=True)}
