"""What is kept of one metric over all paths: moments, a histogram, and its extreme values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .exact import ExactSum, as_float, whole
from .histogram import Desk, Histogram, rank_of

# A block's count n, mean c, and sums S2, S3, S4 of powers about c, in the products that moments about any other
# point are made of: name -> (which sum, power of c).
_PRODUCTS = {
    "nc": ("n", 1), "ncc": ("n", 2), "nccc": ("n", 3), "ncccc": ("n", 4),
    "s2": ("s2", 0), "s2c": ("s2", 1), "s2cc": ("s2", 2), "s3": ("s3", 0), "s3c": ("s3", 1), "s4": ("s4", 0),
}  # fmt: skip


@dataclass
class Moments:
    """Count and powers up to the fourth, over blocks.

    Within a block, powers are summed about its own mean in float64, in a fixed order; what joins the blocks
    is summed exactly. So values far from zero keep their digits, and the order of merging changes no byte.
    """

    count: int = 0
    sums: dict[str, ExactSum] = field(
        default_factory=lambda: {name: ExactSum() for name in _PRODUCTS}
    )
    _known: dict[int, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def add(self, values: NDArray[Any]) -> None:
        """Add a block."""
        wide, n = values.astype(np.float64), len(values)
        with np.errstate(over="ignore", invalid="ignore"):
            centre = float(wide.sum()) / n
            wide -= centre
            square = wide * wide
            own = {"n": n, "s2": float(square.sum())}
            wide *= square
            square *= square
            own |= {"s3": float(wide.sum()), "s4": float(square.sum())}
        self._known.clear()
        self.count += n
        known = {name: whole(x) if math.isfinite(x) else None for name, x in own.items()}
        at = whole(centre) if math.isfinite(centre) else None
        for name, (which, power) in _PRODUCTS.items():
            first = known[which]
            if first is None or (power and at is None):
                self.sums[name].finite = False
            elif at is None or not power:
                self.sums[name].add_whole(*first)
            else:
                self.sums[name].add_whole(first[0] * at[0] ** power, first[1] + at[1] * power)

    def merge(self, other: Moments) -> None:
        """Add the blocks of another."""
        self._known.clear()
        self.count += other.count
        for name, total in other.sums.items():
            self.sums[name].merge(total)

    def mean(self) -> float:
        return self._mean(as_float) if self.count else math.nan

    def _mean(self, give: Any) -> Any:
        total = self.sums["nc"]
        return give(total.exact() / self.count) if total.finite else math.nan

    def central(self, power: int) -> float:
        """The mean of (x - mean)^power, for a power of 2, 3 or 4; NaN where a float could not hold it."""
        if power not in self._known:
            self._known[power] = self._central(power)
        return self._known[power]

    def _central(self, power: int) -> float:
        needed = {
            2: ("nc", "ncc", "s2"),
            3: ("nccc", "s2c", "s3"),
            4: ("ncccc", "s2cc", "s3c", "s4"),
        }
        names = [n for p, ns in needed.items() if p <= power for n in ns]
        if not self.count or not all(self.sums[n].finite for n in names):
            return math.nan
        e = {n: self.sums[n].exact() for n in names}
        m, n = e["nc"] / self.count, self.count
        if power == 2:
            total = e["s2"] + e["ncc"] - n * m * m
        elif power == 3:
            total = e["s3"] + 3 * (e["s2c"] - m * e["s2"])
            total += e["nccc"] - 3 * m * e["ncc"] + 2 * n * m**3
        else:
            total = e["s4"] + 4 * (e["s3c"] - m * e["s3"])
            total += 6 * (e["s2cc"] - 2 * m * e["s2c"] + m * m * e["s2"])
            total += e["ncccc"] - 4 * m * e["nccc"] + 6 * m * m * e["ncc"] - 3 * n * m**4
        return as_float(total / n if power == 3 else max(total, Fraction(0)) / n)


@dataclass(frozen=True)
class Tails:
    """The extreme values: each (values, paths), the most extreme first, of equal values the lowest path first."""

    upper: tuple[NDArray[np.float64], NDArray[np.uint64]]
    lower: tuple[NDArray[np.float64], NDArray[np.uint64]]


@dataclass
class Metric:
    """Moments and histogram of one metric; the tails, where they are kept, make far quantiles exact."""

    moments: Moments = field(default_factory=Moments)
    histogram: Histogram = field(default_factory=Histogram)
    tails: Tails | None = None
    events: dict[tuple[str, float], int] = field(default_factory=dict)
    """How many paths lie above (">") or below ("<", "<=" and ">=" likewise) a threshold, where it was counted."""

    @property
    def count(self) -> int:
        return self.moments.count

    def add(self, values: NDArray[Any], desk: Desk | None = None) -> None:
        """Add a block; ``desk`` as the histogram takes it."""
        self.moments.add(values)
        self.histogram.add(values, desk)

    def merge(self, other: Metric) -> None:
        """Add the blocks of another; tails and events are the statistics' own to merge."""
        self.moments.merge(other.moments)
        self.histogram.merge(other.histogram)

    def copy(self) -> Metric:
        """Another that may be merged into."""
        made = Metric(histogram=self.histogram.copy())
        made.moments.merge(self.moments)
        return made

    # ---- moments
    def mean(self) -> float:
        return self.moments.mean()

    def variance(self) -> float:
        """The sample variance, over n - 1; NaN for fewer than two values."""
        n = self.count
        return self.moments.central(2) * (n / (n - 1)) if n > 1 else math.nan

    def sd(self) -> float:
        return math.sqrt(self.variance())

    def skew(self) -> float:
        """Third moment about the mean over the cubed deviation (g1 of Joanes and Gill 1998); NaN without spread."""
        return self._standard(3)

    def kurtosis(self) -> float:
        """Fourth moment about the mean over the squared variance, 3 for a normal law; NaN without spread."""
        return self._standard(4)

    def _standard(self, power: int) -> float:
        spread = self.moments.central(2)
        if not spread > 0:
            return math.nan
        root = math.sqrt(spread)
        return self.moments.central(power) / root**power if root**power > 0 else math.nan

    # ---- order statistics
    def rank(self, k: int) -> float:
        """The k-th smallest value, 1 for the first: exact in the tails, elsewhere within 2^-11 of it."""
        if self.tails is not None:
            upper, lower = self.tails.upper[0], self.tails.lower[0]
            if k > self.count - len(upper):
                return float(upper[self.count - k])
            if k <= len(lower):
                return float(lower[k - 1])
        return self.histogram.rank(k)

    def quantile(self, level: float) -> float:
        """The ceil(n q)-th smallest value; NaN where there is none."""
        return self.rank(rank_of(level, self.count)) if self.count else math.nan

    def worst(
        self, share: float, upper: bool = True
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The largest n * share values, or the smallest: (values, counts), the most extreme first.

        Single values where the tail holds them all, else the centres of bins. The last count may be a part of one.
        """
        wanted = self.count * share
        if self.tails is not None:
            kept = (self.tails.upper if upper else self.tails.lower)[0]
            whole = math.ceil(wanted)
            if whole <= len(kept):
                counts = np.ones(whole)
                counts[-1:] = wanted - (whole - 1)
                return kept[:whole], counts
        if upper:
            return self.histogram.worst(wanted)
        h = self.histogram
        mirrored = Histogram(h.keys[::-1], h.count[::-1], -h.most[::-1], -h.least[::-1])
        centres, counts = mirrored.worst(wanted)
        return -centres, counts

    def expected_shortfall(self, level: float) -> float:
        """The mean of the worst 1 - level of values, the boundary value in part (Acerbi and Tasche 2002).

        Below a level of one half, the mean of the lowest ``level`` of values.
        """
        if not self.count:
            return math.nan
        upper = level >= 0.5
        values, counts = self.worst(1.0 - level if upper else level, upper)
        return float(math.fsum(values * counts) / math.fsum(counts))

    def probability(self, sign: str, threshold: float) -> float:
        """The share of values that lie so; exact where it was counted or the tail reaches there."""
        if (sign, threshold) in self.events:
            return self.events[sign, threshold] / self.count
        if sign in ("<", ">="):  # what lies above the next value below the threshold
            over = self._above(math.nextafter(threshold, -math.inf))
            return (self.count - over if sign == "<" else over) / self.count
        over = self._above(threshold)
        return (over if sign == ">" else self.count - over) / self.count

    def _above(self, threshold: float) -> float:
        if self.tails is not None:
            upper, lower = self.tails.upper[0], self.tails.lower[0]
            if len(upper) and upper[-1] <= threshold:
                return float(np.count_nonzero(upper > threshold))
            if len(lower) and lower[-1] > threshold:
                return float(self.count - np.count_nonzero(lower <= threshold))
        return self.histogram.above(threshold)

    def summary(self) -> dict[str, float]:
        """mean, standard error and deviation, skew, kurtosis, quantiles, and ES of the upper 1 %."""
        n, spread = self.count, self.variance()
        found = {
            "mean": self.mean(),
            "se": math.sqrt(spread / n) if n else math.nan,
            "sd": math.sqrt(spread),
            "skew": self.skew(),
            "kurtosis": self.kurtosis(),
        }
        levels = {"p05": 0.05, "p50": 0.50, "p95": 0.95, "p99": 0.99, "p999": 0.999}
        found |= {name: self.quantile(level) for name, level in levels.items()}
        return found | {"es99": self.expected_shortfall(0.99)}
