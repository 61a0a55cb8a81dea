"""The difference between two runs in one quantity, with an interval that knows which paths they share.

Runs of one seed draw the same numbers on the same path, so most of the noise is in both and cancels. Marginal
variances come from all paths of each run; what cancels, from the paths that both samples hold. Where those are
not all, a sample may have missed the few paths on which the runs part. That is never taken for agreement: the
bounds below allow for it, at a share UNSEEN of the interval's error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compare_pairs import Array, Sides
from .estimate import FEWEST, of_mean, z_of
from .functionals import Functional
from .histogram import rank_of
from .metric import Metric

Flags = NDArray[np.bool_]

UNSEEN = 0.1
"""The share of an interval's error that is spent on what the sampled pairs may not show."""
_ANGLES = 720  # points on the ellipse of two ranks


@dataclass(frozen=True)
class Difference:
    """A quantity in A and in B, and the interval of B - A; ``how`` names its method.

    An end that the paths say nothing about is infinite.
    """

    a: float
    b: float
    low: float
    high: float
    how: str

    @property
    def value(self) -> float:
        return self.b - self.a


def difference(f: Functional, sides: Sides, alpha: float) -> Difference:
    """B - A, with an interval that errs with probability ``alpha`` at most, on both sides together.

    Raises ConfigError for a quantity without a standard error, as the skewness.
    """
    if not (sides.a.count and sides.b.count):
        return Difference(math.nan, math.nan, -math.inf, math.inf, "no paths")
    if f.kind == "quantile":
        return _of_quantile(f, sides, alpha)
    if f.kind == "es":
        return _of_shortfall(f, sides, alpha)
    if f.kind == "probability":
        return _of_share(f, sides, alpha)
    return _of_moment(f, sides, alpha)


# ---- means, deviations and expected shortfalls: sums over paths
def _of_moment(f: Functional, sides: Sides, alpha: float) -> Difference:
    """A mean or a standard deviation, by its influence values (Hampel 1974)."""
    a, b = f.estimate(sides.a), f.estimate(sides.b)
    terms = f.influence(sides.x, sides.a), f.influence(sides.y, sides.b)
    return _by_sums(sides, (a.value, a.se), (b.value, b.se), terms, alpha)


def _of_shortfall(f: Functional, sides: Sides, alpha: float) -> Difference:
    """Expected shortfall, by what lies beyond a reference: its mean over the share (Manistre and Hancock 2005)."""
    share = min(f.level, 1.0 - f.level)
    value_a, value_b = (m.expected_shortfall(f.level) for m in (sides.a, sides.b))
    if min(sides.a.count, sides.b.count) * share < FEWEST:
        why = f"fewer than {FEWEST} values beyond"
        return Difference(value_a, value_b, -math.inf, math.inf, why)
    sign = 1.0 if f.level >= 0.5 else -1.0
    errors, terms = [], []
    for metric, values, ordered in zip(
        (sides.a, sides.b), (sides.x, sides.y), sides.ordered, strict=True
    ):
        reference = _reference(metric, ordered, f.level, alpha)
        terms.append(sign * np.maximum(sign * (values - reference), 0.0) / share)
        errors.append(_error_of_shortfall(metric, reference, f.level))
    found = (value_a, errors[0]), (value_b, errors[1])
    return _by_sums(sides, *found, (terms[0], terms[1]), alpha)


def _reference(metric: Metric, ordered: Array | None, level: float, alpha: float) -> float:
    """The value that expected shortfall is counted from: the quantile.

    Where several values are equal to it, as at a cap, nothing may lie beyond, although with a few paths more or
    less it would be another value; there, the far end of the quantile's own interval.
    """
    n = metric.count
    rank = rank_of(level, n)
    least, most = _at_ranks(metric, ordered, np.clip([rank - 1, rank, rank + 1], 1, n))
    if most[0] < least[1] and most[1] < least[2]:
        return metric.quantile(level) if ordered is None else float(least[1])
    away = z_of(1.0 - alpha) * math.sqrt(n * level * (1.0 - level))
    far = rank - away if level >= 0.5 else rank + away
    least, most = _at_ranks(metric, ordered, np.clip([round(far)], 1, n))
    return float(least[0] if level >= 0.5 else most[0])


def _error_of_shortfall(metric: Metric, reference: float, level: float) -> float:
    """The standard error, from all paths: the variance of what lies beyond the reference."""
    upper, n = level >= 0.5, metric.count
    share = 1.0 - level if upper else level
    beyond = metric.probability(">=" if upper else "<=", reference)
    values, counts = metric.worst(min(max(beyond, share), 1.0), upper)
    excess = np.maximum(values - reference if upper else reference - values, 0.0)
    first, second = (math.fsum(counts * excess**k) / n for k in (1, 2))
    return math.sqrt(max(second - first * first, 0.0) / n) / share


def _by_sums(
    sides: Sides,
    a: tuple[float, float],
    b: tuple[float, float],
    terms: tuple[Array, Array],
    alpha: float,
) -> Difference:
    """The interval of a difference of sums over paths; ``a`` and ``b`` are (value, standard error).

    That of a mean of skewed values (see estimate). Its shape is that of what each path adds to the difference;
    where few paths differ, their fourth moment leaves few degrees of freedom.
    """
    p, value = sides.pairing, b[0] - a[0]
    if min(sides.a.count, sides.b.count) < FEWEST:
        return Difference(a[0], b[0], -math.inf, math.inf, f"fewer than {FEWEST} paths")
    if not math.isfinite(value + a[1] + b[1]):
        return Difference(a[0], b[0], -math.inf, math.inf, "no standard error")
    adds, weights = _additions(sides, terms)
    total, paths = float((weights * adds * adds).sum()), float(weights.sum())
    variance = total if p.complete else _variance(sides, a[1], b[1], terms)
    if not p.complete and p.common:
        variance += _unseen(sides, a[1], b[1], terms, UNSEEN * alpha)
        alpha *= 1.0 - UNSEEN
    if variance == 0.0:
        return Difference(a[0], b[0], value, value, p.how)
    skew, kurtosis = 0.0, 3.0
    if total > 0.0:
        adds = adds / math.sqrt(total)  # so that powers of small terms do not vanish
        skew = math.sqrt(paths) * float((weights * adds**2 * adds).sum())
        kurtosis = paths * float((weights * adds**2 * adds**2).sum())
    e = of_mean(value, math.sqrt(variance), skew, kurtosis, round(paths), 1.0 - alpha, p.how)
    return Difference(a[0], b[0], e.low, e.high, p.how)


def _additions(sides: Sides, terms: tuple[Array, Array]) -> tuple[Array, Array]:
    """What each sampled path adds to the difference, and how many paths it stands for.

    A path of both runs adds what it adds to B less what it adds to A.
    """
    p, n_a, n_b = sides.pairing, sides.a.count, sides.b.count
    to_a, to_b = ((t - t.mean()) / n for t, n in zip(terms, (n_a, n_b), strict=True))
    parts = [
        (to_b[p.at_b] - to_a[p.at_a], p.common),
        (np.delete(-to_a, p.at_a), n_a - p.common),
        (np.delete(to_b, p.at_b), n_b - p.common),
    ]
    weights = [np.full(len(c), n / max(len(c), 1)) for c, n in parts]
    return np.concatenate([c for c, _ in parts]), np.concatenate(weights)


def _variance(sides: Sides, se_a: float, se_b: float, terms: tuple[Array, Array]) -> float:
    """From both standard errors and the correlation r of the terms on the sampled pairs, w the runs' overlap.

    Var(B - A) = (s_A - s_B)^2 + 2 s_A s_B (1 - w r).
    """
    if not sides.pairing.common:
        return se_a**2 + se_b**2
    f, g = (v - v.mean() if len(v) else v for v in sides.paired(*terms))
    return (se_a - se_b) ** 2 + 2.0 * se_a * se_b * (1.0 - sides.overlap * (1.0 - _apart(f, g)))


def _unseen(
    sides: Sides, se_a: float, se_b: float, terms: tuple[Array, Array], alpha: float
) -> float:
    """What the variance may have beyond that of the sampled pairs.

    All but a share p of the paths differ by no more than the k sampled ones do, but for a chance alpha = (1 - p)^k
    (Wilks 1941). Of that share the worst is assumed.
    """
    p, n_a, n_b = sides.pairing, sides.a.count, sides.b.count
    if p.sampled >= p.common:
        return 0.0
    f, g = (v - v.mean() if len(v) else v for v in sides.paired(*terms))
    share = -math.expm1(math.log(alpha) / max(p.sampled, 1))
    return _worst(f, g, share, se_a**2 * n_a, se_b**2 * n_b) * p.common / (n_a * n_b)


def _apart(f: Array, g: Array) -> float:
    """1 - r, r the correlation of centred terms, without cancelling where they are nearly the same."""
    sizes = [math.sqrt(float((v * v).sum())) for v in (f, g)]
    if not all(sizes):
        return 1.0
    return 0.5 * float(((f / sizes[0] - g / sizes[1]) ** 2).sum())


def _worst(f: Array, g: Array, share: float, of_f: float, of_g: float) -> float:
    """What pairs of this share of the paths may add to the variance of g - f, whose own are ``of_f`` and ``of_g``.

    The share's paths may be the extreme ones of both runs: |g - f| is then at most |f| + |g|, and at most the larger
    of the two where both are counted from their least values, or from their greatest. The least of the three.
    """
    if not len(f):
        return (math.sqrt(of_f) + math.sqrt(of_g)) ** 2
    around, above, below = (
        [
            _top(v, share, centred, whole)
            for v, centred, whole in zip(shifted, (f, g), (of_f, of_g), strict=True)
        ]
        for shifted in ((f, g), (f - f.min(), g - g.min()), (f - f.max(), g - g.max()))
    )
    return min((math.sqrt(around[0]) + math.sqrt(around[1])) ** 2, sum(above), sum(below))


def _top(values: Array, share: float, centred: Array, whole: float) -> float:
    """The largest part of the mean square of ``values`` that such a share of them can make up.

    In the measure in which the variance of the same, centred, is ``whole``; all of that where they do not vary.
    """
    variance = float((centred * centred).mean())
    if variance == 0.0:
        return whole
    count = min(math.ceil(share * len(values)), len(values))
    top = np.partition(np.abs(values), len(values) - count)[len(values) - count :]
    return whole / variance * float((top * top).sum()) / len(values)


# ---- quantiles: ranks
def _of_quantile(f: Functional, sides: Sides, alpha: float) -> Difference:
    """A quantile, between order statistics of both runs: no assumption on the laws, lumps of equal values included.

    The number of values up to the true quantile is binomial in each run; the two numbers are correlated by the
    paths that are up to it in both. Their errors lie in an ellipse with probability 1 - alpha, and the difference
    between its least and its greatest value there (as Thompson 1936 for one run). Ties are broken in both runs
    alike, by the number of the path.
    """
    q, p = f.level, sides.pairing
    correlation = 0.0
    if p.common:
        x, y = sides.paired(sides.x, sides.y)
        flips = int(np.count_nonzero(_up_to(x, q) != _up_to(y, q)))
        share = upper_share(flips, p.sampled, UNSEEN * alpha)
        correlation = sides.overlap * max(1.0 - share / (2.0 * q * (1.0 - q)), -1.0)
        alpha *= 1.0 - UNSEEN
    angle = np.linspace(0.0, 2.0 * math.pi, _ANGLES, endpoint=False)
    radius = math.sqrt(-2.0 * math.log(alpha))  # of chi-squared with two degrees of freedom
    off_a = radius * np.cos(angle)
    off_b = correlation * off_a + radius * math.sqrt(1.0 - correlation**2) * np.sin(angle)
    (value_a, low_a, high_a), (value_b, low_b, high_b) = (
        _between(m, ordered, q, off)
        for m, ordered, off in zip((sides.a, sides.b), sides.ordered, (off_a, off_b), strict=True)
    )
    low, high = float((low_b - high_a).min()), float((high_b - low_a).max())
    return Difference(value_a, value_b, low, high, p.how)


def _up_to(values: Array, q: float) -> Flags:
    """Which values (k,) are among the ceil(k q) lowest; of equal ones, the first."""
    found = np.zeros(len(values), bool)
    if not len(values):
        return found
    count = rank_of(q, len(values))
    edge = np.partition(values, count - 1)[count - 1]
    found[values < edge] = True
    ties = np.flatnonzero(values == edge)
    found[ties[: count - int(np.count_nonzero(found))]] = True
    return found


def _between(
    metric: Metric, ordered: Array | None, q: float, off: Array
) -> tuple[float, Array, Array]:
    """The quantile, and its bounds where the number of values up to it errs by ``off`` standard deviations.

    Binomial, with the second term of its Cornish-Fisher expansion.
    """
    n = metric.count
    rank = n * q + off * math.sqrt(n * q * (1.0 - q)) + (1.0 - 2.0 * q) * (off**2 - 1.0) / 6.0
    below = np.floor(rank).astype(np.int64)
    least, most = _at_ranks(metric, ordered, np.clip([below, below + 1], 1, n))
    low = np.where(below >= 1, least[0], -math.inf)
    high = np.where(below + 1 <= n, most[1], math.inf)
    value = metric.quantile(q) if ordered is None else float(ordered[rank_of(q, n) - 1])
    return value, low, high


def _at_ranks(metric: Metric, ordered: Array | None, ranks: Any) -> tuple[Array, Array]:
    """Bounds of the values at these ranks: equal where all values, or the tail, are at hand, else the bin's ends."""
    if ordered is not None:
        return ordered[ranks - 1], ordered[ranks - 1]
    h = metric.histogram
    at = np.searchsorted(np.cumsum(h.count), ranks)
    least, most = h.least[at], h.most[at]
    if metric.tails is not None:
        (upper, _), (lower, _) = metric.tails.upper, metric.tails.lower
        for tail, place in ((upper, metric.count - ranks), (lower, ranks - 1)):
            inside = place < len(tail)
            least[inside] = most[inside] = tail[place[inside]]
    return least, most


# ---- shares: counts of paths
def _of_share(f: Functional, sides: Sides, alpha: float) -> Difference:
    """A probability, by exact binomial bounds (Clopper and Pearson 1934) of what was counted."""
    p, metrics = sides.pairing, (sides.a, sides.b)
    shares = [m.probability(f.sign, f.threshold) for m in metrics]
    held = [
        f.influence(v, m) + s > 0.5
        for v, m, s in zip((sides.x, sides.y), metrics, shares, strict=True)
    ]
    if p.complete and p.common and not p.same:
        terms = held[0].astype(np.float64), held[1].astype(np.float64)
        return _by_sums(sides, (shares[0], 0.0), (shares[1], 0.0), terms, alpha)
    if p.same:
        before, after = held[0][p.at_a], held[1][p.at_b]
        differ = int(np.count_nonzero(before != after))
        n, more = sides.a.count, round((shares[1] - shares[0]) * sides.a.count)
        if not p.complete:
            share = upper_share(differ, p.sampled, UNSEEN * alpha)
            differ = max(abs(more), min(math.ceil(n * share), n))
            alpha *= 1.0 - UNSEEN
        low, high = paired_shares((differ + more) / 2.0, (differ - more) / 2.0, n, alpha)
        return Difference(shares[0], shares[1], low, high, p.how)
    low, high = _unpaired_shares(shares, [m.count for m in metrics], p.common > 0, alpha)
    how = "independent" if not p.common else "any dependence"
    return Difference(shares[0], shares[1], low, high, how)


def paired_shares(gained: float, lost: float, n: int, alpha: float) -> tuple[float, float]:
    """Bounds of a difference of probabilities on n pairs, ``gained`` with the event in B only, ``lost`` in A only.

    The share of pairs that differ and, of those, the share gained, each at half of ``alpha``: both bounds are
    exact, so theirs is on the safe side for any n. It leaves 0 out only where the exact test of McNemar (1947)
    would at alpha / 2.
    """
    differ = gained + lost
    shares = lower_share(differ, n, alpha / 4.0), upper_share(differ, n, alpha / 4.0)
    if differ == 0:
        return -shares[1], shares[1]
    least = 2.0 * lower_share(gained, differ, alpha / 4.0) - 1.0
    most = 2.0 * upper_share(gained, differ, alpha / 4.0) - 1.0
    return min(least * s for s in shares), max(most * s for s in shares)


def _unpaired_shares(
    shares: list[float], counts: list[int], dependent: bool, alpha: float
) -> tuple[float, float]:
    """Bounds of a difference from those of the two: their arms squared and added where they are independent
    (Newcombe 1998), else added, each at half of alpha."""
    each = alpha / 4.0 if dependent else alpha / 2.0
    arms = []
    for s, n in zip(shares, counts, strict=True):
        low, high = lower_share(round(s * n), n, each), upper_share(round(s * n), n, each)
        arms.append((s - low, high - s))
    (down_a, up_a), (down_b, up_b) = arms
    add = (lambda u, v: u + v) if dependent else math.hypot
    value = shares[1] - shares[0]
    return value - add(down_b, up_a), value + add(up_b, down_a)


def upper_share(k: float, n: float, alpha: float) -> float:
    """The largest share of which k of n or fewer have probability ``alpha`` (Clopper and Pearson 1934)."""
    from scipy.special import betaincinv

    return 1.0 if k >= n else float(betaincinv(k + 1.0, n - k, 1.0 - alpha))


def lower_share(k: float, n: float, alpha: float) -> float:
    """The smallest share of which k of n or more have probability ``alpha``."""
    from scipy.special import betaincinv

    return 0.0 if k <= 0 else float(betaincinv(k, n - k + 1.0, alpha))
