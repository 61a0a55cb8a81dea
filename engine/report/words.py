"""Numbers in words, as a report's text and tables say them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from typing import Any

from ..charts.words import Unit, spoken, written
from ..estimate import Estimate


def day(today: date) -> str:
    """``24 November 2026``."""
    return f"{today.day} {spoken(f'{today.year}-{today.month:02d}', 0)}"


def unit_of(name: str) -> Unit:
    """How values of a unit are written: what is 0 or 1 on a path is a share of the paths."""
    return Unit(name, name in ("share", "probability", "1/year", "0 or 1"))


@dataclass(frozen=True)
class Said:
    """A value, its unit and its interval as text."""

    value: str
    unit: str
    interval: str

    def __str__(self) -> str:
        return f"{self.value} {self.unit}".rstrip()


def said(e: Estimate, unit: Unit) -> Said:
    """An estimate with as many decimals as its interval leaves sense: ``78.7``, ``USD bn``, ``77.0 to 80.3 (95 %)``."""
    value, low, high = (unit.factor * x for x in (e.value, e.low, e.high))
    mark = " %" if unit.percent else ""
    if not math.isfinite(value):
        return Said("-", unit.after, f"no value: {e.how}")
    if not (math.isfinite(low) and math.isfinite(high)):
        why = "too few paths" if e.how == "order statistics" else e.how
        return Said(f"{written(value)}{mark}", unit.after, f"no interval: {why}")
    if low == high:
        return Said(f"{written(value)}{mark}", unit.after, "the same on every path")
    digits = decimals(value, max(high - value, value - low))
    return Said(
        f"{amount(value, digits)}{mark}", unit.after,
        f"{amount(low, digits)} to {amount(high, digits)}{mark} ({100 * e.level:g} % interval)",
    )  # fmt: skip


def amount(x: float, digits: int) -> str:
    """With so many decimals; very large and very small ones as a power of ten."""
    if x and not 1e-6 <= abs(x) < 1e9:
        return written(x)
    return f"{x:,.{digits}f}"


def decimals(x: float, arm: float) -> int:
    """Decimals that show three figures, not beyond the second figure of the interval's arm, and always its first."""
    if not (math.isfinite(x) and x):
        return 1
    wanted = 2 - math.floor(math.log10(abs(x)))
    if math.isfinite(arm) and arm > 0.0:
        first = -math.floor(math.log10(arm))
        wanted = max(min(wanted, first + 1), first)
    return max(0, min(wanted, 7))


def listed(words: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    if len(words) < 2:
        return words[0] if words else "none"
    return f"{', '.join(words[:-1])} and {words[-1]}"


def counted(n: int, what: str) -> str:
    """``1 path``, ``200,000 paths``."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def cell(x: Any) -> str:
    """A value in a table."""
    kind = type(x).__name__
    if x is None or kind in ("NaTType", "NAType"):
        return "-"
    if kind in ("bool", "bool_"):
        return "yes" if x else "no"
    if kind == "Timestamp":
        return str(x)[:10]
    if kind.startswith(("int", "uint")):
        return f"{int(x):,}"
    if kind.startswith("float"):
        return "-" if math.isnan(x) else written(float(x), 4)
    return str(x)
