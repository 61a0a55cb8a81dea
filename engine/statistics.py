"""Statistics of metrics over blocks of paths: mergeable, in any order, to the same bytes.

A block is 65,536 paths by path number. From each comes, for every metric: sums in float64 in a fixed order,
an integer histogram, and the largest values. Sums over blocks are exact (Shewchuk 1997), counts are
integers, minima and maxima do not care about order; so neither batch size, nor threads, nor the order of
merging changes a byte.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 16
MANTISSA_BITS = 11  # of a bin: 2048 bins an octave, so a quantile errs by 0.05 % at the very most
_SHIFT = 23 - MANTISSA_BITS


class ExactSum:
    """A sum of floats kept exactly, as non-overlapping parts: the order of adding does not matter."""

    def __init__(self) -> None:
        self.parts: list[float] = []

    def add(self, x: float) -> None:
        kept = []
        for y in self.parts:
            if abs(x) < abs(y):
                x, y = y, x
            high = x + y
            low = y - (high - x)
            if low:
                kept.append(low)
            x = high
        kept.append(x)
        self.parts = kept

    def merge(self, other: ExactSum) -> None:
        for part in other.parts:
            self.add(part)

    def value(self) -> float:
        return math.fsum(self.parts)

    def exact(self) -> Fraction:
        """The sum itself; the parts must be finite."""
        return sum(map(Fraction, self.parts), Fraction(0))


def _keys(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Bin numbers that rise with the value: the leading bits of a float, order made monotone."""
    bits = values.view(np.int32)
    ordered = np.where(bits < 0, np.int32(-(2**31)) - bits, bits)
    return (ordered.astype(np.int64) + (1 << 31)) >> _SHIFT


@dataclass
class Histogram:
    """Counts by bin, and the least and greatest value seen in each, so that single values stay exact.

    Only bins that hold something are kept, in ascending order of ``keys``.
    """

    keys: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    count: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    least: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    most: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def add_sorted(self, values: NDArray[Any]) -> None:
        """Add ascending values."""
        with np.errstate(over="ignore"):  # float64 values beyond float32 share the outermost bin
            keys = _keys(values.astype(np.float32) + np.float32(0.0))  # -0 becomes 0
        starts = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
        ends = np.append(starts[1:], len(keys))
        low, high = values[starts].astype(np.float64), values[ends - 1].astype(np.float64)
        self.merge(Histogram(keys[starts], ends - starts, low, high))

    def merge(self, other: Histogram) -> None:
        if not len(self.keys):
            self.keys, self.count = other.keys, other.count
            self.least, self.most = other.least, other.most
            return
        keys = np.concatenate([self.keys, other.keys])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        starts = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
        self.keys = keys[starts]
        self.count = np.add.reduceat(np.concatenate([self.count, other.count])[order], starts)
        self.least = np.minimum.reduceat(np.concatenate([self.least, other.least])[order], starts)
        self.most = np.maximum.reduceat(np.concatenate([self.most, other.most])[order], starts)

    def quantiles(self, levels: list[float]) -> list[float]:
        """The ceil(n q)-th smallest value, straight between the least and greatest of its bin."""
        upto = np.cumsum(self.count)
        total = int(upto[-1]) if len(upto) else 0
        result = []
        for level in levels:
            if not total:
                result.append(math.nan)
                continue
            rank = min(max(math.ceil(total * level), 1), total)
            at = int(np.searchsorted(upto, rank))
            inside = int(self.count[at])
            place = (rank - (int(upto[at]) - inside) - 1) / (inside - 1) if inside > 1 else 0.0
            low, high = self.least[at], self.most[at]
            result.append(float(low + (high - low) * place))
        return result

    def expected_shortfall(self, level: float) -> float:
        """The mean of the worst (1 - level) of values, the boundary value counted in part."""
        total = int(self.count.sum())
        if not total:
            return math.nan
        tail = total * (1.0 - level)
        count = self.count[::-1].astype(np.float64)
        before = np.concatenate([[0.0], np.cumsum(count)[:-1]])
        taken = np.clip(tail - before, 0.0, count)
        low, high = self.least[::-1], self.most[::-1]
        # a bin taken in part gives its upper end
        centre = high - (high - low) * 0.5 * (taken / count)
        return float(math.fsum(taken * centre) / tail)


def _square_over(total: float, n: int) -> tuple[float, float]:
    """total^2 / n, as a float and what it lacks; not a number where a float cannot hold it."""
    if not abs(total) < 1e150:
        return math.nan, 0.0
    square = Fraction(total) ** 2 / n
    high = float(square)
    return high, float(square - Fraction(high))


@dataclass
class Metric:
    """Everything kept of one metric.

    Squares are summed about each block's own mean; what the blocks' means add is summed exactly. So the
    deviation keeps its digits however far from zero the values lie.
    """

    count: int = 0
    total: ExactSum = field(default_factory=ExactSum)
    within: ExactSum = field(default_factory=ExactSum)
    between: ExactSum = field(default_factory=ExactSum)
    histogram: Histogram = field(default_factory=Histogram)

    def add(self, values: NDArray[Any]) -> None:
        wide, n = values.astype(np.float64), len(values)
        with np.errstate(over="ignore", invalid="ignore"):
            total = float(wide.sum())
            within = float(np.square(wide - total / n).sum())
        self.count += n
        self.total.add(total)
        self.within.add(within)
        for part in _square_over(total, n):
            self.between.add(part)
        self.histogram.add_sorted(np.sort(values))

    def merge(self, other: Metric) -> None:
        self.count += other.count
        self.total.merge(other.total)
        self.within.merge(other.within)
        self.between.merge(other.between)
        self.histogram.merge(other.histogram)

    def variance(self) -> float:
        if self.count < 2:
            return math.nan
        within = self.within.value()
        if not (math.isfinite(within) and math.isfinite(self.between.value())):
            return math.nan
        between = self.between.exact() - self.total.exact() ** 2 / self.count
        return (within + float(max(between, Fraction(0)))) / (self.count - 1)

    def summary(self) -> dict[str, float]:
        """mean, standard error and deviation, quantiles, and the expected shortfall of the upper 1 %."""
        n = self.count
        mean = self.total.value() / n if n else math.nan
        spread = self.variance()
        low, mid, high, top, far = self.histogram.quantiles([0.05, 0.50, 0.95, 0.99, 0.999])
        return {
            "mean": mean,
            "se": math.sqrt(spread / n) if n else math.nan,
            "sd": math.sqrt(spread),
            "p05": low,
            "p50": mid,
            "p95": high,
            "p99": top,
            "p999": far,
            "es99": self.histogram.expected_shortfall(0.99),
        }


@dataclass
class Statistics:
    """All metrics over the blocks added so far; paths with a non-finite state are set aside."""

    names: tuple[str, ...]
    metrics: dict[str, Metric] = field(default_factory=dict)
    paths: int = 0
    bad: dict[int, int] = field(default_factory=dict)
    bad_count: int = 0
    hashes: dict[int, str] = field(default_factory=dict)

    KEPT_BAD = 100  # bad paths named; all are counted

    def __post_init__(self) -> None:
        self.metrics = self.metrics or {name: Metric() for name in self.names}

    def add(self, block: int, values: NDArray[Any], bad: NDArray[np.int32]) -> None:
        """Add a block: values (metrics, paths), bad (paths,) the month of the first non-finite state."""
        digest = hashlib.sha256(np.ascontiguousarray(values).tobytes())
        digest.update(np.ascontiguousarray(bad).tobytes())
        self.hashes[block] = digest.hexdigest()
        self.paths += values.shape[1]
        good: Any = bad == 0
        if not good.all():
            where = np.flatnonzero(bad)
            self.bad_count += len(where)
            self.bad |= {block * BLOCK + int(i): int(bad[i]) for i in where[: self.KEPT_BAD]}
            self.bad = dict(sorted(self.bad.items())[: self.KEPT_BAD])
            values = values[:, good]
        for row, name in zip(values, self.names, strict=True):
            if len(row):
                self.metrics[name].add(row)

    def merge(self, other: Statistics) -> None:
        """Add another part of the same run; blocks may not be counted twice."""
        twice = self.hashes.keys() & other.hashes.keys()
        if twice:
            raise ValueError(f"block {min(twice)} is in both parts")
        for name, metric in other.metrics.items():
            self.metrics[name].merge(metric)
        self.paths += other.paths
        self.bad_count += other.bad_count
        self.bad = dict(sorted((self.bad | other.bad).items())[: self.KEPT_BAD])
        self.hashes |= other.hashes

    def digest(self) -> str:
        """SHA-256 over the values of every path, block by block."""
        total = hashlib.sha256()
        for block in sorted(self.hashes):
            total.update(f"{block}:{self.hashes[block]}\n".encode())
        return total.hexdigest()

    def summary(self) -> dict[str, dict[str, float]]:
        return {name: self.metrics[name].summary() for name in self.names}
