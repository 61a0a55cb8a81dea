"""Has it settled? The blocks of even number against those of odd number, beside what noise would do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .estimate import z_of
from .functionals import parse_functional
from .metric import Metric
from .statistics import Statistics

COMPARED = ("mean", "sd", "p50", "p99", "es99")
ALARM = 0.01
"""The chance that a sound run of independent paths alarms, over all that is compared."""


@dataclass(frozen=True)
class Drift:
    """A statistic of the even and of the odd blocks; ``z`` is their difference in its standard errors."""

    metric: str
    statistic: str
    even: float
    odd: float
    z: float


def drifts(statistics: Statistics, compared: Sequence[str] = COMPARED) -> list[Drift]:
    """The statistics of all metrics by halves, the largest difference first; empty with fewer than two blocks.

    What has no standard error, or does not vary, is left out.
    """
    found = []
    for name in statistics.names:
        even, odd = (half[name] for half in statistics.halves)
        if not (even.count and odd.count):
            continue
        for text in compared:
            functional = parse_functional(text)
            assert functional is not None, text
            a, b = functional.estimate(even), functional.estimate(odd)
            if functional.kind == "quantile":
                z = _by_share(even, odd, statistics.metric(name).quantile(functional.level))
            else:
                noise = math.hypot(a.se, b.se)
                z = (a.value - b.value) / noise if noise > 0 else math.nan
            if math.isfinite(z):
                found.append(Drift(name, text, a.value, b.value, z))
    return sorted(found, key=lambda d: -abs(d.z))


def _by_share(even: Metric, odd: Metric, threshold: float) -> float:
    """Two shares up to a threshold, compared: that holds for any law, also where values come in lumps."""
    shares = [m.probability("<=", threshold) for m in (even, odd)]
    whole = (shares[0] * even.count + shares[1] * odd.count) / (even.count + odd.count)
    noise = math.sqrt(max(whole * (1.0 - whole), 0.0) * (1.0 / even.count + 1.0 / odd.count))
    return (shares[1] - shares[0]) / noise if noise > 0 else math.nan


def limit(count: int) -> float:
    """What |z| of the largest of ``count`` differences exceeds with probability ALARM at most (Bonferroni)."""
    return z_of(1.0 - ALARM / max(count, 1))
