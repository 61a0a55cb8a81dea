"""Limits: what a run's estimates have to stay within. The config declares them, and they are judged after the run.

    [[limit]]
    name = "bank_loss"
    metric = "holders.loss_banks.es99"
    max = 40

A limit is judged by the estimate alone, so the same run is always judged the same; where the limit lies within the
estimate's interval, that is said. A limit whose quantity is no number is breached: nobody knows that it is kept.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .estimate import Estimate
from .functionals import Quantity, parse_quantity
from .statistics import Event, Statistics
from .validate import MOST, NAME, NAME_WANTED, ConfigError, key_text, near, shown, twice

KEY = "limit"
"""The table of rows in the config; a row goes by its name, or by its metric where it has none."""
FIELDS = {
    "name": "what the limit is called; its metric if left out",
    "metric": "what is limited: a metric (its mean), METRIC.es99, METRIC.p95, or a probability, 'METRIC > 200'",
    "min": "the least that is allowed, in the metric's unit",
    "max": "the most that is allowed, in the metric's unit",
}
_ROWS = "rows, each under [[limit]] in double brackets"


# ---- in the config
def name_rows(raw: dict[str, Any]) -> None:
    """Give rows without a name their metric's, so that rows of several files merge by name."""
    rows = raw.get(KEY)
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and "name" not in row and isinstance(row.get("metric"), str):
            row["name"] = row["metric"]


def split(key: str, rows: Any) -> list[str]:
    """``limit.NAME.max`` as its three parts; NAME may have dots, where it is a metric."""
    if key == KEY:
        return [KEY]
    inner = key.removeprefix(f"{KEY}.")
    names = [r.get("name") for r in rows if isinstance(r, dict)] if isinstance(rows, list) else []
    name, dot, last = inner.rpartition(".")
    return [KEY, inner] if inner in names or not dot else [KEY, name, last]


def checked(rows: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows as the config would spell them, without those removed; and what is wrong with them."""
    if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
        return [], [f"{KEY} = {shown(rows)}: should be {_ROWS}"]
    name_rows({KEY: rows})
    problems: list[str] = []
    kept = []
    for row in rows:
        if len(problems) >= MOST:
            problems.append(f"{KEY}: has more rows, which were not looked at")
            break
        where = _where(row)
        if not isinstance(row.get("remove", False), bool):
            problems.append(f"{where}.remove = {shown(row['remove'])}: should be true or false")
        if row.get("remove") is True:
            continue
        problems += _problems(row, where)
        if isinstance(row.get("name"), str) and isinstance(row.get("metric"), str):
            numbers = {k: float(row[k]) for k in ("min", "max") if k in row and _finite(row[k])}
            kept.append({"name": row["name"], "metric": row["metric"], **numbers})
    problems += [
        f"{KEY}: the name {shown(name)} stands {count} times; names should differ"
        for name, count in twice(r["name"] for r in kept).items()
    ]
    return kept, problems


def _where(row: dict[str, Any]) -> str:
    name = row.get("name")
    return f"{KEY}.{name if isinstance(name, str) and name.isprintable() else '?':.60}"


def _problems(row: dict[str, Any], where: str) -> list[str]:
    """What is wrong with a row by itself."""
    known = [*FIELDS, "remove"]
    problems = [
        f"{where}.{key_text(k)}: unknown key{near(k, known)}" for k in row if k not in known
    ]
    name, metric = row.get("name"), row.get("metric")
    if "metric" not in row:
        problems.append(f"{where}.metric: missing; every limit should have a metric")
    elif not isinstance(metric, str):
        problems.append(f"{where}.metric = {shown(metric)}: should be text in quotes")
    if (
        "name" in row
        and name != metric
        and not (isinstance(name, str) and re.fullmatch(NAME, name))
    ):
        problems.append(
            f"{where}.name = {shown(name)}: should be a name in quotes: {NAME_WANTED}; or left out"
        )
    bounds = {k: row[k] for k in ("min", "max") if k in row}
    wrong = [k for k, v in bounds.items() if not _finite(v)]
    problems += [f"{where}.{k} = {shown(bounds[k])}: should be a finite number" for k in wrong]
    if not bounds:
        problems.append(f"{where}: has neither max nor min; it should have one of them, or both")
    elif len(bounds) == 2 and not wrong and bounds["min"] > bounds["max"]:
        problems.append(
            f"{where}.min = {shown(bounds['min'])}: should be max = {shown(bounds['max'])} at most"
        )
    return problems


def _finite(value: Any) -> bool:
    try:
        return (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and math.isfinite(float(value))
        )
    except OverflowError:  # a whole number beyond what a float holds
        return False


def unknown(rows: Sequence[dict[str, Any]], metrics: Iterable[str]) -> list[str]:
    """A line for each checked row whose metric the economy does not report."""
    names = list(metrics)
    problems: list[str] = []
    for row in rows:
        if len(problems) == MOST:
            break
        try:
            parse_quantity(row["metric"], names)
        except ConfigError as error:
            problems += [f"{_where(row)}.metric: {line}" for line in error.problems]
    return problems


# ---- judged
@dataclass(frozen=True)
class Limit:
    """A quantity and the range that its estimate has to lie in, both ends allowed."""

    name: str
    quantity: Quantity
    low: float = -math.inf
    high: float = math.inf

    @property
    def label(self) -> str:
        """Its name and what it limits; once where they are the same."""
        text = self.quantity.text
        return text if text == self.name else f"{self.name}: {text}"


@dataclass(frozen=True)
class Verdict:
    """A limit, and what a run estimates."""

    limit: Limit
    estimate: Estimate

    @property
    def breached(self) -> bool:
        return not self.limit.low <= self.estimate.value <= self.limit.high

    @property
    def told_apart(self) -> bool:
        """Whether the interval lies beyond the limit that is breached; or within all, where none is."""
        e = self.estimate
        if math.isnan(e.value):
            return False
        if e.low == e.high:
            return True
        bounds = [b for b in (self.limit.low, self.limit.high) if math.isfinite(b)]
        return not any(e.low <= b <= e.high for b in bounds)

    def line(self) -> str:
        """``limit bank_loss: holders.loss_banks.es99 is 43.1 (42.2 to 44.0), above 40``."""
        low, high, value = self.limit.low, self.limit.high, self.estimate.value
        head = f"limit {self.limit.label}"
        if math.isnan(value):
            return f"{head} is unknown ({self.estimate.how}); nobody knows whether it is kept"
        bound = (high if value > high else low) if self.breached else self._nearest
        side = "above" if value > bound else "below" if value < bound else "at"
        digits = _digits(value, bound)
        said = f"{head} is {value:,.{digits}f} ({self._interval(digits)}), {side} {_plain(bound)}"
        return said if self.told_apart else f"{said}, but not told apart from it"

    @property
    def _nearest(self) -> float:
        low, high, value = self.limit.low, self.limit.high, self.estimate.value
        return high if high - value <= value - low else low

    def _interval(self, digits: int) -> str:
        e = self.estimate
        if not (math.isfinite(e.low) and math.isfinite(e.high)):
            return f"no interval: {e.how}"
        return f"{e.low:,.{digits}f} to {e.high:,.{digits}f}"

    def as_json(self) -> dict[str, Any]:
        low, high = (b if math.isfinite(b) else None for b in (self.limit.low, self.limit.high))
        return {
            "name": self.limit.name,
            "quantity": self.limit.quantity.text,
            "min": low,
            "max": high,
            **self.estimate.as_json(),
            "breached": self.breached,
            "told_apart": self.told_apart,
        }


def _digits(value: float, bound: float) -> int:
    """Decimals that show four figures of a value, and more where it takes them to lie on its side of the bound."""
    if value == 0.0 or not math.isfinite(value):
        return 3
    size = math.floor(math.log10(abs(value)))
    for digits in range(max(3 - size, 0), 20):
        shown_as = float(f"{value:.{digits}f}")
        if (shown_as > bound, shown_as < bound) == (value > bound, value < bound):
            return digits
    return 20


def _plain(bound: float) -> str:
    return f"{bound:,}".removesuffix(".0")


def limits_of(values: dict[str, Any] | None, metrics: Iterable[str]) -> list[Limit]:
    """The limits of a config. Raises ConfigError where one is not sound, or its metric unknown."""
    rows, problems = checked((values or {}).get(KEY, []))
    names = list(metrics)
    problems += unknown(rows, names)
    if problems:
        raise ConfigError(problems)
    return [
        Limit(
            r["name"], parse_quantity(r["metric"], names),
            r.get("min", -math.inf), r.get("max", math.inf),
        )
        for r in rows
    ]  # fmt: skip


def judge(limits: Iterable[Limit], statistics: Statistics) -> list[Verdict]:
    """What a run's statistics say of each limit."""
    return [
        Verdict(x, x.quantity.functional.estimate(statistics.metric(x.quantity.metric)))
        for x in limits
    ]


def events_of(limits: Iterable[Limit]) -> tuple[Event, ...]:
    """The events whose probability is limited: a run counts them exactly."""
    found = [(x.quantity.metric, x.quantity.functional) for x in limits]
    return tuple((metric, f.sign, f.threshold) for metric, f in found if f.kind == "probability")
