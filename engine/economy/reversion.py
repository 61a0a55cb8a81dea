"""Mean reversion over a month, exact: what every Ornstein-Uhlenbeck process of the economy shares."""

from __future__ import annotations

import math
from typing import Any

from ..system import DT


def decay(xp: Any, kappa: Any) -> tuple[Any, Any]:
    """What a month keeps of a deviation, e^(-kappa dt), and the deviation that unit volatility adds to it.

    ``kappa`` is a rate a year, above 0. x' = home + (x - home) keep + volatility spread z has the moments of
    dx = kappa (home - x) dt + volatility dW, whatever the step (Uhlenbeck and Ornstein 1930).
    """
    keep = xp.exp(-kappa * DT)
    return keep, xp.sqrt((1.0 - keep * keep) / (2.0 * kappa))


def rate_of_half_life(years: Any) -> Any:
    """The rate of reversion of which half is left after ``years``."""
    return math.log(2.0) / years
