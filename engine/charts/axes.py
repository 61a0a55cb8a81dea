"""Axes of numbers: a range that fits what is drawn, linear or log, and marks where people look for them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import words

TIGHT = 0.6
"""Of the largest value: where the smallest is above this share of it, a linear axis does not begin at zero."""


@dataclass(frozen=True)
class Span:
    """The range of an axis."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def of(cls, values: Any, log: bool = False, zero: bool = False) -> Span:
        """What holds all values that are finite; zero too where they come near it, or it is asked for."""
        x = np.asarray(values, np.float64).ravel()
        x = x[np.isfinite(x)]
        if log:
            x = x[x > 0.0]
            if not len(x):
                return cls(0.1, 1.0, True)
            low, high = float(x.min()), float(x.max())
            room = max((high / low) ** 0.04, 1.05) if low < high else 2.0
            return cls(low / room, high * room, True)
        if not len(x):
            return cls(0.0, 1.0)
        low, high = float(x.min()), float(x.max())
        if low == high:
            return cls(min(0.0, 2.0 * low), max(0.0, 2.0 * low)) if low else cls(0.0, 1.0)
        room = 0.04 * (high - low)
        near_zero = zero or low < TIGHT * high if high > 0.0 else zero or high > TIGHT * low
        if near_zero:
            low, high = min(low, 0.0), max(high, 0.0)
        return cls(low - room if low else 0.0, high + room if high else 0.0)

    def place(self, x: float) -> float:
        """How far along the axis a value lies, 0 to 1."""
        if self.log:
            return math.log(x / self.low) / math.log(self.high / self.low) if x > 0.0 else -1.0
        return (x - self.low) / (self.high - self.low)

    def scale(self) -> Any:
        import altair as alt

        domain = [self.low, self.high]
        if self.log:
            return alt.Scale(type="log", domain=domain, nice=False)
        return alt.Scale(type="linear", domain=domain, nice=False, zero=False)

    def axis(self, title: str | None, percent: bool = False, count: int = 5) -> Any:
        """Its labels; ``percent`` writes a share 0.05 as 5 %."""
        import altair as alt

        factor = 100.0 if percent else 1.0
        form = words.tick([factor * self.low, factor * self.high])
        more: dict[str, Any] = {"format": form, "tickCount": count}
        if percent:
            more["labelExpr"] = f"format(100 * datum.value, '{form}') + ' %'"
            more.pop("format")
        steps = words.ladder(self.low, self.high) if self.log else []
        if len(steps) > 1:  # a count would thin these out
            more.pop("tickCount")
            more |= {"values": steps, "labelOverlap": False}
        return alt.Axis(title=title, **more)
