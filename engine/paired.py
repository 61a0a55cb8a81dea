"""The change of a quantity from one economy to another, estimated on common random numbers.

Both are simulated on the same draws, so a path's two values move together and most of the noise cancels
(Glasserman 2004, section 7.1). What is left is in the differences of the influence values, path by path.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .functionals import Functional
from .proportions import paired_interval, sign_test

Array = NDArray[np.float64]
LEVEL = 0.95


@dataclass(frozen=True)
class Change:
    """A change and its 95 % interval; ``p_value`` is that of no change.

    ``per_path`` holds what each path adds to the estimate, times the number of paths: its variance over n is the
    estimate's. ``moved`` counts the paths whose value is not the same in both.
    """

    value: float
    low: float
    high: float
    se: float
    p_value: float
    moved: int
    per_path: Array


def change(f: Functional, before: NDArray[Any], after: NDArray[Any], weight: float = 1.0) -> Change:
    """The quantity after, less that before, times ``weight``. Both are values by path: (paths,), two or more."""
    moved = int(np.count_nonzero(after != before))
    per_path: Array = weight * (f.influence(after) - f.influence(before))
    if not moved:
        return Change(0.0, 0.0, 0.0, 0.0, 1.0, 0, per_path)
    if f.kind == "probability":
        return _of_probability(f, before, after, weight, moved, per_path)
    value = weight * (f.of(after) - f.of(before))
    se, reach = standard_error(per_path)
    p = _p_value(value, se, freedom(per_path))
    return Change(value, value - reach, value + reach, se, p, moved, per_path)


def _of_probability(
    f: Functional,
    before: NDArray[Any],
    after: NDArray[Any],
    weight: float,
    moved: int,
    per_path: Array,
) -> Change:
    """From the paths that gained the event and those that lost it: exact where they are few."""
    here, there = f.holds(after), f.holds(before)
    gained, lost = int(np.count_nonzero(here & ~there)), int(np.count_nonzero(there & ~here))
    n = len(here)
    low, high = paired_interval(gained, lost, n)
    se, _ = standard_error(per_path)
    p = sign_test(gained, lost)
    return Change(weight * (gained - lost) / n, weight * low, weight * high, se, p, moved, per_path)


def freedom(per_path: Array) -> float:
    """Degrees of freedom of the variance of values: 2 n / (kurtosis - 1), 1 at least.

    Where a few paths make the difference, its variance is hardly known: that of a sample variance is
    sigma^4 (kurtosis - 1) / n, and matching it to a chi-square's (Satterthwaite 1946) gives this.
    """
    centred = per_path - per_path.mean()
    square = centred * centred
    second = float(square.mean())
    if not second > 0:
        return math.inf
    kurtosis = float((square * square).mean()) / second**2
    return max(2.0 * len(per_path) / max(kurtosis - 1.0, 1e-12), 1.0)


def standard_error(per_path: Array) -> tuple[float, float]:
    """Of the estimate that these make up, and how far its 95 % interval reaches to either side."""
    from scipy.special import stdtrit

    se = float(per_path.std(ddof=1)) / math.sqrt(len(per_path))
    if se == 0:
        return 0.0, 0.0
    return se, float(stdtrit(min(freedom(per_path), 1e9), 0.5 + LEVEL / 2.0)) * se


def _p_value(value: float, se: float, dof: float) -> float:
    from scipy.special import stdtr

    if se == 0:
        return 1.0 if value == 0 else 0.0
    return min(2.0 * float(stdtr(min(dof, 1e9), -abs(value) / se)), 1.0)
