"""Estimates with intervals: what a statistic of so many paths says about the law that they came from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .metric import Metric
from .proportions import wilson

LEVEL = 0.95
FEWEST = 30
"""Fewer values in a tail than this say too little about its mean: the interval is open."""


@dataclass(frozen=True)
class Estimate:
    """A value and its interval at confidence ``level``; ``how`` names the method.

    An end that the paths say nothing about is infinite. ``se`` is the standard error, NaN where the interval
    comes without one. ``freedom`` are its degrees of freedom: se^2 itself errs by a share sqrt(2 / freedom).
    """

    value: float
    low: float
    high: float
    se: float
    level: float
    how: str
    freedom: float = math.inf

    @property
    def half(self) -> float:
        """The longer arm of the interval; infinite where an end is open, or the value no number."""
        reach = max(self.high - self.value, self.value - self.low)
        return reach if math.isfinite(reach) else math.inf

    def as_json(self) -> dict[str, Any]:
        plain = {
            k: v if math.isfinite(v) else None
            for k, v in (("value", self.value), ("low", self.low), ("high", self.high))
        }
        return {**plain, "level": self.level, "how": self.how}


def unknown(value: float, level: float, why: str) -> Estimate:
    """A value about whose error nothing can be said."""
    return Estimate(value, -math.inf, math.inf, math.nan, level, why)


@lru_cache(maxsize=256)
def z_of(level: float) -> float:
    """The normal quantile of a two-sided interval."""
    return NormalDist().inv_cdf(0.5 + level / 2.0)


def mean(m: Metric, level: float = LEVEL) -> Estimate:
    """The mean, by the central limit theorem, corrected for skewness."""
    n, value = m.count, m.mean()
    if n < 2:
        return unknown(value, level, "one path" if n else "no paths")
    sd = m.sd()
    if sd == 0:
        return Estimate(value, value, value, 0.0, level, "no spread", 0.0)
    if not math.isfinite(m.kurtosis()):
        return unknown(value, level, "no fourth moment")
    return of_mean(value, sd / math.sqrt(n), m.skew(), m.kurtosis(), n, level, "normal, for skew")


def of_mean(
    value: float, se: float, skew: float, kurtosis: float, n: int, level: float, how: str
) -> Estimate:
    """The interval of a mean of n values of such a skew and kurtosis.

    The studentized mean of a skewed law errs more often to one side. Hall's (1992) cubic transformation of it
    is symmetric to the next order; it is held against Student's t, whose degrees of freedom match the
    variance of the squared standard error, 2 n / (kurtosis - 1) (Satterthwaite 1946).
    """
    freedom = min(2.0 * n / (kurtosis - 1.0) if kurtosis > 1.0 else math.inf, n - 1.0)
    t, a = _t_of(level, freedom), skew / math.sqrt(n)
    low, high = value - se * _untransformed(t, a), value - se * _untransformed(-t, a)
    return Estimate(value, low, high, se, level, how, freedom)


def _untransformed(t: float, a: float) -> float:
    """The studentized mean that Hall's transformation x + a x^2 / 3 + a^2 x^3 / 27 + a / 6 takes to t."""
    x = t - a / 6.0
    if abs(a * x) < 1e-5:
        return x - a * x * x / 3.0
    return 3.0 / a * (math.cbrt(1.0 + a * x) - 1.0)


@lru_cache(maxsize=1024)
def _t_of(level: float, freedom: float) -> float:
    if freedom > 10_000:
        return z_of(level)
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + level / 2.0))


def sd(m: Metric, level: float = LEVEL) -> Estimate:
    """The standard deviation: the root of the interval of the mean of (x - mean)^2, corrected for its skewness.

    Var(s^2) = sigma^4 (kurtosis - 1) / n. Where a law has no fourth moment (Student's t with 4 degrees of freedom,
    or fewer) no interval covers what it says.
    """
    value, kurtosis, n = m.sd(), m.kurtosis(), m.count
    if value == 0:
        return Estimate(0.0, 0.0, 0.0, 0.0, level, "no spread", 0.0)
    if not math.isfinite(kurtosis):
        return unknown(value, level, "no fourth moment" if n > 1 else "one path")
    se = value * value * math.sqrt(max(kurtosis - 1.0, 0.0) / n)
    values, counts = m.worst(1.0)
    _, skew, wide = _shape((values - m.mean()) ** 2, counts, n)
    e = of_mean(value * value, se, skew, wide, n, level, "delta method, for skew")
    low, high = math.sqrt(max(e.low, 0.0)), math.sqrt(max(e.high, 0.0))
    return Estimate(value, low, high, se / (2.0 * value), level, e.how, e.freedom)


def _shape(
    values: NDArray[np.float64], counts: NDArray[np.float64], n: int
) -> tuple[float, float, float]:
    """Deviation, skew and kurtosis of n values: those given are not negative, all others are 0."""
    top = float(values.max())
    x = values / top if 0.0 < top < math.inf else np.zeros(1)
    m1, m2, m3, m4 = (math.fsum(counts * x**k) / n for k in (1, 2, 3, 4))
    variance = m2 - m1 * m1
    if not variance > 0.0:
        return 0.0, 0.0, 3.0
    skew = (m3 - 3.0 * m1 * m2 + 2.0 * m1**3) / variance**1.5
    kurtosis = (m4 - 4.0 * m1 * m3 + 6.0 * m1 * m1 * m2 - 3.0 * m1**4) / variance**2
    return top * math.sqrt(variance), skew, kurtosis


# ---- quantiles
@lru_cache(maxsize=4096)
def quantile_ranks(n: int, q: float, level: float = LEVEL) -> tuple[int, int]:
    """Ranks (r, s) between whose values the quantile lies with probability ``level`` at least.

    Whatever the law: the number of values below the quantile is binomial (Thompson 1936; Wilks 1941). r = 0 and
    s = n + 1 stand for an open end. Each side errs with half of 1 - level at most.
    """
    from scipy.special import bdtr, bdtrc

    alpha = (1.0 - level) / 2.0
    spread = math.sqrt(n * q * (1.0 - q))
    reach = max(8.0 * spread, 40.0)
    start, end = int(n * q - reach), int(n * q + reach)
    # r: the largest with P(Bin <= r - 1) <= alpha; s: the smallest with P(Bin >= s) <= alpha
    low = _first(lambda k: bdtr(k, n, q) > alpha, start, min(end, n))
    high = _first(lambda k: bdtrc(k - 1, n, q) <= alpha, start, min(end, n + 1))
    return max(low, 0), max(high, 1)


def _first(holds: Any, low: int, high: int) -> int:
    """The first whole number for which ``holds``, which is false below it and true from it on."""
    while low < high:
        middle = (low + high) // 2
        if middle >= 0 and holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def quantile(m: Metric, q: float, level: float = LEVEL) -> Estimate:
    """A quantile, between order statistics: no assumption on the law."""
    n, value = m.count, m.quantile(q)
    if not n:
        return unknown(value, level, "no paths")
    r, s = quantile_ranks(n, q, level)
    low = m.rank(r) if r >= 1 else -math.inf
    high = m.rank(s) if s <= n else math.inf
    se = (high - low) / (2.0 * z_of(level))
    return Estimate(
        value, low, high, se if math.isfinite(se) else math.nan, level, "order statistics"
    )


# ---- expected shortfall
def expected_shortfall(m: Metric, q: float, level: float = LEVEL) -> Estimate:
    """ES: the mean beyond a quantile, by the variance of max(x - VaR, 0) (Manistre and Hancock 2005).

    Those are mostly zeros and very skewed, so the interval is corrected for that as a mean's is.
    """
    value = m.expected_shortfall(q)
    upper = q >= 0.5
    share = 1.0 - q if upper else q
    n = m.count
    if n * share < FEWEST:
        return unknown(value, level, f"fewer than {FEWEST} values beyond")
    values, counts = m.worst(share, upper)
    spread, skew, kurtosis = _shape(np.abs(values - values[-1]), counts, n)
    if spread == 0:
        return Estimate(value, value, value, 0.0, level, "no spread beyond", 0.0)
    se = spread / math.sqrt(n) / share
    return of_mean(value, se, skew if upper else -skew, kurtosis, n, level, "asymptotic, for skew")


# ---- probabilities
def probability(m: Metric, sign: str, threshold: float, level: float = LEVEL) -> Estimate:
    """A probability: Wilson's interval; where none or all of the paths have it, the exact bound."""
    n = m.count
    if not n:
        return unknown(math.nan, level, "no paths")
    value = m.probability(sign, threshold)
    k = round(value * n)
    if k in (0, n):
        # (1 - p)^n = 1 - level: at 95 % and many paths, the rule of three
        far = -math.expm1(math.log1p(-level) / n)
        low, high = (0.0, far) if k == 0 else (1.0 - far, 1.0)
        return Estimate(value, low, high, math.nan, level, "rule of three")
    low, high = wilson(k, n, z_of(level))
    return Estimate(value, low, high, math.sqrt(value * (1.0 - value) / n), level, "Wilson")
