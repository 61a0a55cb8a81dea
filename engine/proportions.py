"""Proportions, from counts: intervals, differences of paired ones, and tests of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

Z = 1.959963984540054
"""The normal quantile of a two-sided 95 % interval."""


def wilson(k: int, n: int, z: float = Z) -> tuple[float, float]:
    """The interval of a probability, k of n (Wilson 1927), at 95 % or that of the normal quantile ``z``.

    Where none or all of n have it, the rule of three.
    """
    if n == 0:
        return 0.0, 1.0
    if k in (0, n):
        far = min(3.0 / n, 1.0)
        return (0.0, far) if k == 0 else (1.0 - far, 1.0)
    p, z2 = k / n, z * z
    centre = (p + z2 / (2 * n)) / (1.0 + z2 / n)
    half = z / (1.0 + z2 / n) * math.sqrt(p * (1.0 - p) / n + z2 / (4.0 * n * n))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def paired_interval(gained: int, lost: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a difference of probabilities on n pairs (Agresti and Min 2005).

    ``gained`` pairs have the event in the second only, ``lost`` in the first only. Half a pair is added to each
    of the four counts, which keeps the coverage where few pairs differ.
    """
    if n == 0:
        return -1.0, 1.0
    b, c, m = gained + 0.5, lost + 0.5, n + 2.0
    centre = (b - c) / m
    half = Z * math.sqrt(max(b + c - (b - c) ** 2 / m, 0.0)) / m
    return max(centre - half, -1.0), min(centre + half, 1.0)


def sign_test(gained: int, lost: int) -> float:
    """McNemar's (1947) test, exact: the two-sided p-value of an even split of the pairs that differ."""
    from scipy.special import bdtr

    differ = gained + lost
    if differ == 0:
        return 1.0
    return min(2.0 * float(bdtr(min(gained, lost), differ, 0.5)), 1.0)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979): below a level with at most that chance of any error."""
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min((len(p_values) - rank) * p_values[i], 1.0))
        adjusted[i] = largest
    return adjusted
