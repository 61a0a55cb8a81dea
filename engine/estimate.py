"""Estimates with intervals: what a statistic of so many paths says about the law that they came from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np

from .metric import Metric
from .proportions import wilson

LEVEL = 0.95
FEWEST = 30
"""Fewer values in a tail than this say too little about its mean: the interval is open."""


@dataclass(frozen=True)
class Estimate:
    """A value and its interval at confidence ``level``; ``how`` names the method.

    An end that the paths say nothing about is infinite. ``se`` is the standard error, NaN where the interval
    comes without one.
    """

    value: float
    low: float
    high: float
    se: float
    level: float
    how: str

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
    """The mean, by the central limit theorem, its interval moved for skewness (Johnson 1978)."""
    n, value = m.count, m.mean()
    if n < 2:
        return unknown(value, level, "one path")
    sd, skew = m.sd(), m.skew()
    se = sd / math.sqrt(n)
    shift = _johnson(skew, sd, n)
    reach = _t_of(level, n - 1) * se
    return Estimate(value, value - reach + shift, value + reach + shift, se, level, "normal")


def _johnson(skew: float, sd: float, n: float) -> float:
    """What Johnson (1978) moves the interval of a skewed mean by: mu3 / (6 sd^2 n)."""
    return skew * sd / (6.0 * n) if math.isfinite(skew) else 0.0


@lru_cache(maxsize=1024)
def _t_of(level: float, freedom: int) -> float:
    if freedom > 10_000:
        return z_of(level)
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + level / 2.0))


def sd(m: Metric, level: float = LEVEL) -> Estimate:
    """The standard deviation: Var(s^2) = sigma^4 (kurtosis - 1) / n, and the interval of its logarithm."""
    value, kurtosis = m.sd(), m.kurtosis()
    if value == 0:
        return Estimate(0.0, 0.0, 0.0, 0.0, level, "no spread")
    if not math.isfinite(kurtosis):
        return unknown(value, level, "no fourth moment")
    se = value / 2.0 * math.sqrt(max(kurtosis - 1.0, 0.0) / m.count)
    factor = math.exp(z_of(level) * se / value)
    return Estimate(value, value / factor, value * factor, se, level, "delta method")


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
    # r: the largest with P(Bin <= r - 1) <= alpha; s: the smallest with P(Bin >= s) <= alpha
    low = _first(lambda k: bdtr(k, n, q) > alpha, int(n * q - reach), int(n * q + reach))
    high = _first(lambda k: bdtrc(k - 1, n, q) <= alpha, int(n * q - reach), int(n * q + reach))
    return max(min(low, n), 0), max(min(high, n + 1), 1)


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

    The interval is moved for the skewness of what lies beyond (Johnson 1978).
    """
    value = m.expected_shortfall(q)
    upper = q >= 0.5
    share = 1.0 - q if upper else q
    n = m.count
    if n * share < FEWEST:
        return unknown(value, level, f"fewer than {FEWEST} values beyond")
    values, counts = m.worst(share, upper)
    excess = np.abs(values - values[-1])
    first, second, third = (math.fsum(counts * excess**k) / n for k in (1, 2, 3))
    variance = max(second - first * first, 0.0)
    se = math.sqrt(variance / n) / share
    if se == 0:
        return Estimate(value, value, value, 0.0, level, "no spread beyond")
    skew = (third - 3.0 * first * second + 2.0 * first**3) / variance**1.5
    shift = _johnson(skew, math.sqrt(variance), n) / share
    reach = z_of(level) * se
    low, high = value - reach + shift, value + reach + shift
    if not upper:
        low, high = value - reach - shift, value + reach - shift
    return Estimate(value, low, high, se, level, "asymptotic")


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
