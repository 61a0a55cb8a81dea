"""The running estimates of a run's headline quantities, while it runs: values, intervals, how far these have shrunk."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .estimate import Estimate
from .functionals import Quantity, parse_quantity
from .statistics import Statistics
from .tables import number

HEADLINES = ("rental.hopper.p50", "private_credit.loss", "private_credit.loss.es99", "cycle.bust")
"""What is shown of a scenario that has it; of another one, the means of its first metrics."""
MOST = 4
"""Quantities that are shown; those with a target come first."""
OFTEN = 0.25
"""Seconds from one estimate to the next, at least."""
SHARE = 0.005
"""Of the time, at most, that estimating takes: where it takes long, it is done less often."""


@dataclass(frozen=True)
class Row:
    """A quantity as it is known now; ``first`` is its interval when it was first known, what later ones are held to."""

    label: str
    unit: str
    estimate: Estimate
    first: tuple[float, float]


class Running:
    """Told the statistics after each block, gives ``rows``: those of the last time that it looked.

    ``units`` are those of the metrics, ``quantities`` what has a target, as ``private_credit.loss.es99``.
    """

    def __init__(
        self,
        units: Mapping[str, str],
        quantities: Sequence[str] = (),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.units = units
        self.quantities = chosen(tuple(units), quantities)
        self.rows: list[Row] = []
        self.paths = 0
        self._clock = clock
        self._due = -math.inf
        self._first: dict[str, tuple[float, float]] = {}

    def __call__(self, statistics: Statistics) -> None:
        began = self._clock()
        if began < self._due:
            return
        again = bool(self.rows)
        self.rows = [self._row(q, statistics) for q in self.quantities]
        self.paths = statistics.paths
        ended = self._clock()
        # the first time loads libraries, and says nothing of the next
        self._due = ended + max(OFTEN, (ended - began) / SHARE if again else 0.0)

    def _row(self, quantity: Quantity, statistics: Statistics) -> Row:
        e = quantity.functional.estimate(statistics.metric(quantity.metric))
        first = self._first.get(quantity.text)
        if first is None and math.isfinite(e.half) and e.half > 0.0:
            first = self._first[quantity.text] = (e.low, e.high)
        unit = self.units[quantity.metric]
        event = unit == "0 or 1" or quantity.functional.kind == "probability"
        return Row(label(quantity, unit), "" if event else unit, e, first or (math.nan, math.nan))


def chosen(names: tuple[str, ...], wanted: Sequence[str] = ()) -> list[Quantity]:
    """What is wanted, then the headlines, then means of the first metrics: MOST in all, none twice."""
    found: dict[tuple[str, object], Quantity] = {}
    texts = [*wanted, *(h for h in HEADLINES if h in names or h.rpartition(".")[0] in names)]
    for text in [*texts, *(names if len(texts) < 2 else ())]:
        q = parse_quantity(text, names)
        found.setdefault((q.metric, q.functional), q)
    return list(found.values())[:MOST]


def label(quantity: Quantity, unit: str = "") -> str:
    """``rental.hopper, median``; ``cycle.bust, share`` of paths; an event as it was written."""
    f = quantity.functional
    if f.kind == "probability":
        return quantity.text
    share = f"{100.0 * f.level:.6g} %"
    said = {
        "mean": "share" if unit == "0 or 1" else "mean",
        "quantile": "median" if f.level == 0.5 else f"quantile {share}",
        "es": f"ES {share}",
    }
    return f"{quantity.metric}, {said.get(f.kind, f.kind)}"


def digits(e: Estimate) -> tuple[str, str]:
    """The value, and the ends of its interval, to two digits of its half-width."""
    if not math.isfinite(e.half):
        return number(e.value), "no interval yet"
    if e.half == 0.0:
        return number(e.value), ""
    places = max(1 - math.floor(math.log10(e.half)), 0)
    texts = [f"{x:,.{places}f}" for x in (e.value, e.low, e.high)]
    if max(map(len, texts)) > 10:  # nobody reads so many digits at a glance
        texts = [f"{x:.5g}" for x in (e.value, e.low, e.high)]
    return texts[0], f"{texts[1]}..{texts[2]}"


def interval(row: Row, cells: int, plain: bool = False) -> str:
    """The interval on the axis of the first one: ``cells`` wide at first, ever narrower, the value marked.

    Where the estimate has left the first interval, that side is cut at the edge. ``plain`` draws in ASCII.
    """
    low, high = row.first
    e = row.estimate
    if not (high > low and math.isfinite(e.low) and math.isfinite(e.high)):
        return " " * cells

    def cell(x: float) -> int:
        return min(max(int((x - low) / (high - low) * cells), 0), cells - 1)

    line, mark = ("-", "|") if plain else ("━", "┃")
    a, b, at = cell(e.low), cell(e.high), cell(e.value)
    return "".join(mark if k == at else line if a <= k <= b else " " for k in range(cells))
