"""The words of charts: questions, units, numbers, months and sources."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..estimate import Estimate
from ..replay import calendar
from ..series import SERIES_PATHS

if TYPE_CHECKING:
    from ..result import Result

QUESTIONS = {
    "revenue.rate": "How much do customers pay for AI?",
    "revenue.headline": "What run-rate does the industry announce?",
    "revenue.collected": "How much of the announced run-rate is collected?",
    "compute.demand": "How much power would customers use?",
    "compute.installed": "How much power is built?",
    "compute.tightness": "Is there too much compute, or too little?",
    "compute.gap": "How much demand finds no power?",
    "compute.utilisation": "How much of what is built is used?",
    "compute.capex": "How long does the spending go on?",
    "rental.hopper": "How far do H100 rental prices fall?",
    "rental.blackwell": "How far do Blackwell rental prices fall?",
    "rental.rubin": "How far do Rubin rental prices fall?",
    "rental.next": "What does the generation after Rubin rent for?",
    "fleet.impairment": "How much is written off on chips?",
    "fleet.earnings_added": "How much profit comes from the longer life of chips?",
    "firms.ai_debt": "How much do the firms owe for AI?",
    "firms.bankrupt": "How many firms fail?",
    "firms.debt_loss": "What is lost on the firms' own debt?",
    "gpu_loans.loss": "What do lenders lose on loans against GPUs?",
    "private_credit.loss": "What does private credit lose?",
    "private_credit.loss_share": "What share of its loans does private credit lose?",
    "structured.abs_loss": "What is written down on asset-backed securities?",
    "structured.spv_loss": "What is lost on the debt of leased sites?",
    "holders.loss": "What do all holders lose together?",
    "funding.window": "Does the market still lend?",
    "funding.equity": "What becomes of AI shares?",
    "funding.spread": "What do weak borrowers pay above the short rate?",
    "macro.growth": "What does it do to US growth?",
    "macro.gdp": "How much larger is US GDP?",
    "macro.displacement": "How many jobs does AI displace?",
}
"""By variable; one that is not here is asked about by its own words."""

NOUNS = {
    "private_credit.loss": "loss of private credit",
    "holders.loss": "loss of all holders",
    "gpu_loans.loss": "loss on loans against GPUs",
    "firms.bankrupt": "firms in default",
    "rental.hopper": "H100 rental price",
    "macro.gdp": "US GDP over its start",
}
"""Metrics as a sentence calls them; one that is not here goes by its name."""

LEVELS = {
    "compute.tightness": (1.0, "demand = supply"),
    "macro.growth": (0.0, "no growth"),
    "funding.equity": (1.0, "the start"),
    "macro.gdp": (1.0, "the start"),
    "cycle.breakeven": (1.0, "the start"),
}
"""A level to hold a variable against, and what it is."""

LOW_IS_BAD = (
    "rental.",
    "revenue.",
    "macro.growth",
    "macro.gdp",
    "funding.equity",
    "compute.utilisation",
)
"""Variables whose bad end is the lower one."""


@dataclass(frozen=True)
class Unit:
    """How values of a unit are written."""

    name: str
    percent: bool = False

    @property
    def factor(self) -> float:
        return 100.0 if self.percent else 1.0

    def say(self, x: float) -> str:
        """With its unit: ``1.32 USD/GPU-hour``, ``4 %``."""
        return f"{self.bare(x)}{' %' if self.percent and math.isfinite(x) else ''} {self.after}".rstrip()

    def bare(self, x: float) -> str:
        """Three figures, without the unit."""
        return written(self.factor * x)

    @property
    def after(self) -> str:
        return (
            ""
            if self.name in ("ratio", "share", "probability", "1", "log")
            else _AFTER.get(self.name, self.name)
        )

    @property
    def title(self) -> str:
        """Of an axis."""
        return _AXIS.get(self.name, self.name)

    def title_of(self, doc: str) -> str:
        """Of an axis; a unit that does not say what is measured is told of what it is."""
        vague = self.percent or self.name in ("ratio", "log", "count", "1")
        return f"{self.title} ({doc})" if vague and doc else self.title


_AFTER = {"1/year": "a year", "USD bn/year": "USD bn a year", "count": "", "0 or 1": ""}
_AXIS = {"1/year": "% a year", "USD bn/year": "USD bn a year", "share": "%", "probability": "%"}


def states_of(unit: str) -> dict[int, str]:
    """What the numbers of a unit of states stand for: of "0 open, 1 tight, 2 shut"; none for other units."""
    if unit == "0 or 1":
        return {0: "no", 1: "yes"}
    parts = [re.fullmatch(r"(\d+) (.+)", part.strip()) for part in unit.split(",")]
    return {int(p[1]): p[2] for p in parts if p} if len(parts) > 1 and all(parts) else {}


def unit_of(result: Result, name: str) -> Unit:
    """The unit of a variable or metric; shares and rates are written in per cent."""
    unit = result.units.get(name, "")
    return Unit(unit, unit in ("share", "probability", "1/year"))


def written(x: float, figures: int = 3) -> str:
    """``figures`` significant figures; ``1.2e+12`` only where it must be; a dash for what is no number."""
    if not math.isfinite(x):
        return "-" if math.isnan(x) else ("-" if x < 0 else "") + "infinity"
    if x == 0:
        return "0"
    size = math.floor(math.log10(abs(x)))
    if not -4 <= size < 9:
        digits, power = f"{x:.{figures - 1}e}".split("e")
        return f"{digits.rstrip('0').rstrip('.') if '.' in digits else digits}e{int(power)}"
    rounded = round(x, figures - 1 - size)
    places = max(figures - 1 - size, 0)
    text = f"{rounded:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def ladder(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, 20, ... from ``low`` to ``high``, or fewer of them where those are many: ticks of a log axis."""
    for steps, every in (((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), 2), ((1,), 5), ((1,), 10)):
        powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
        found = [float(f"{k}e{p}") for p in powers if p % every == 0 for k in steps]
        found = [x for x in found if low <= x <= high]
        if len(found) <= 8:
            break
    return found


def tick(values: Any) -> str:
    """The format of an axis' labels (d3): plain digits where they are few, else powers of ten."""
    x = np.abs(np.asarray(values, np.float64))
    x = x[np.isfinite(x)]
    top = float(x.max()) if len(x) else 0.0
    return ",.6~f" if top == 0.0 or 1e-3 <= top < 1e9 else ".3~g"


def interval(e: Estimate, unit: Unit) -> str:
    """``251 USD bn (95 % interval 249 to 253)``."""
    if not (math.isfinite(e.low) and math.isfinite(e.high)):
        return f"{unit.say(e.value)} (too few paths for an interval)"
    return f"{unit.say(e.value)} ({100 * e.level:g} % interval {unit.bare(e.low)} to {unit.bare(e.high)})"


def probability(p: float, figures: int = 3) -> str:
    """A share of paths: ``12 %``, ``0.003 %``."""
    return f"{written(100.0 * p, figures)} %"


def question(name: str, verb: str) -> str:
    """The question that a variable's chart answers; one that is not in ``QUESTIONS`` is asked how it does ``verb``."""
    return QUESTIONS.get(name, f"How does {name} {verb}?")


def about(result: Result, name: str) -> str:
    """What a variable is, as the beginning of a caption; nothing where the question says it."""
    told = result.docs.get(name, "")
    return f"{name}: {told}. " if told and name not in QUESTIONS else ""


def source(results: Sequence[Result], series: bool = False) -> str:
    """How many paths of what, by which seed; those of the first 16,384 paths where it is by month."""
    return "; ".join(dict.fromkeys(_source(r, series) for r in results))


def _source(r: Result, series: bool) -> str:
    counted = f"{r.path_count:,} path{'s' if r.path_count != 1 else ''}"
    if series and r.path_count > SERIES_PATHS:
        counted = f"the first {SERIES_PATHS:,} of {counted}"
    bad = f", {r.bad_count:,} left out as not finite" if r.bad_count else ""
    return f"{counted} of {r.name}, seed {r.seed}{bad}"


def as_of(result: Result) -> str:
    """The month before the first, ``2025-12``; empty where the run does not say."""
    found = (result.config or {}).get("as_of", getattr(result.model, "as_of", ""))
    return found if isinstance(found, str) and re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", found) else ""


def labels(results: Sequence[Result]) -> list[str]:
    """A name for each: the scenario's, with the seed or a number where others have the same."""
    found: list[str] = []
    for r in results:
        name = label_of(r, results)
        again = sum(f == name or f.startswith(f"{name} (") for f in found)
        found.append(f"{name} ({again + 1})" if again else name)
    return found


def label_of(result: Result, others: Sequence[Result] = ()) -> str:
    """Its name; with the seed where another has the same."""
    twin = any(o is not result and o.name == result.name for o in others)
    return f"{result.name}, seed {result.seed}" if twin else result.name


def date(start: str, month: int) -> str:
    """The first day of a month, ``2026-01-01T00:00:00`` for month 1 of ``2025-12``.

    With a time of day, which browsers then take for the reader's own; a date alone they take for that of Greenwich,
    and show the month before it in America.
    """
    return f"{calendar(start, month)}-01T00:00:00"


def spoken(start: str, month: int) -> str:
    """``December 2030``; ``month 60`` where there is no calendar."""
    if not start:
        return f"month {month}"
    year, number = calendar(start, month).split("-")
    return f"{_MONTHS[int(number) - 1]} {year}"


_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def stem(*parts: str) -> str:
    """A file name and id of these words: small letters, digits and underscores."""
    made = re.sub(r"[^a-z0-9]+", "_", "_".join(parts).lower()).strip("_")
    return made[:80] or "chart"
