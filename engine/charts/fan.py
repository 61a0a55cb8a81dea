"""Fans: a variable by month, with the bands in which half and nine tenths of the paths lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..validate import ConfigError, near, shown
from . import words
from .axes import Span
from .fan_view import LEVELS, view
from .figure import Figure

if TYPE_CHECKING:
    import pandas as pd

    from ..result import Result

RENTALS = ("rental.hopper", "rental.blackwell", "rental.rubin", "rental.next")
BESIDE = 2
"""So many fans are laid over each other; more are small multiples."""
_NOT_LOG = "The axis is linear, as not all values are positive."
_SHORT = {
    "rental.hopper": "H100 (Hopper)",
    "rental.blackwell": "Blackwell",
    "rental.rubin": "Rubin",
    "rental.next": "the next one",
}


def fan(result: Result, variable: str, log: bool = False, others: Sequence[Result] = ()) -> Figure:
    """A variable by month; with ``others`` beside it, of which each must have the variable.

    ``log``: the axis is logarithmic, if all that is drawn is positive. Raises ConfigError for a variable that is
    not reported by month, naming those that look like it.
    """
    results = [result, *others]
    table = _table(results, [variable])
    unit = words.unit_of(result, variable)
    positive = _positive(table)
    span = Span.of(table[list(LEVELS)], log and positive)
    axis = unit.title_of(result.docs.get(variable, ""))
    level = words.LEVELS.get(variable)
    across = (unit.factor * level[0], level[1]) if level else None
    if len(results) <= BESIDE:
        chart: Any = view(table, span, axis, 300, across)
    else:
        parts = list(table.groupby("scenario", sort=False))
        chart = _beside(
            [view(t, span, axis, 210, across, str(name), k) for k, (name, t) in enumerate(parts)]
        )
    said = [words.about(result, variable) + _caption(results, table, unit)]
    if table["p50"].notna().any():
        said += [_marks(len(results)), *([_NOT_LOG] if log and not positive else [])]
    return Figure(
        name=words.stem("fan", variable, *(r.name for r in others)),
        title=words.question(variable, "develop"),
        caption=" ".join(said),
        source=words.source(results, series=True),
        data=_for_people(table),
        chart=chart,
        toggle="y" if positive else "",
    )


def fans(result: Result, variables: Sequence[str] = RENTALS, log: bool = False) -> Figure:
    """Small multiples, a fan each: the generations of GPUs, if nothing else is asked for.

    On a log axis those of one unit share it, so that equal falls look alike; else each has its own.
    """
    wanted = list(dict.fromkeys(variables))
    if tuple(variables) == RENTALS:
        wanted = [v for v in wanted if v in result.series_names]
    if not wanted:
        raise ConfigError([f"fans: {result.name} reports none of {', '.join(variables)} by month"])
    table = _table([result], wanted)
    units = {v: words.unit_of(result, v) for v in wanted}
    positive = _positive(table)
    common = log and positive and len({u.name for u in units.values()}) == 1
    views = []
    for k, v in enumerate(wanted):
        rows = table[table["variable"] == v]
        span = Span.of((table if common else rows)[list(LEVELS)], log and positive)
        axis = units[v].title_of(result.docs.get(v, ""))
        views.append(view(rows, span, axis, 210, title=_SHORT.get(v, v), number=k))
    ends = "; ".join(f"{_SHORT.get(v, v)} {_end(table, v, units[v])}" for v in wanted)
    when = words.spoken(words.as_of(result), result.months)
    scales = "" if common or len(wanted) == 1 else " Each panel has its own scale."
    rentals = all(v in _SHORT for v in wanted)
    return Figure(
        name=words.stem("fans", *(["rental"] if rentals else wanted)),
        title="How far do rental prices fall, from one generation of GPUs to the next?"
        if rentals
        else f"How do {_listed(wanted)} develop?",
        caption=f"Median (and 5 to 95 %) in {when}: {ends}. {_marks(1)}{scales}"
        + (f" {_NOT_LOG}" if log and not positive else ""),
        source=words.source([result], series=True),
        data=_for_people(table),
        chart=_beside(views),
        toggle="y" if positive else "",
    )


def _beside(views: Sequence[Any]) -> Any:
    import altair as alt

    return alt.concat(*views, columns=2, spacing=20)


# ---- data
def _table(results: Sequence[Result], variables: Sequence[str]) -> pd.DataFrame:
    """A row for each scenario, variable and month, in the unit that is drawn: shares in per cent."""
    import pandas as pd

    problems = [p for r in results for v in variables if (p := _problem(r, v))]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    parts = []
    for r, name in zip(results, words.labels(results), strict=True):
        start = words.as_of(r)
        for v in variables:
            rows = pd.DataFrame(r.series_rows(v))
            rows[["mean", *LEVELS]] *= words.unit_of(r, v).factor
            dates = [words.date(start, int(m)) if start else "" for m in rows["month"]]
            rows.insert(0, "date", dates)
            rows.insert(0, "variable", v)
            rows.insert(0, "scenario", name)
            rows["unit"] = words.unit_of(r, v).title
            parts.append(rows)
    table = pd.concat(parts, ignore_index=True)
    if (table["date"] == "").any():
        table["date"] = ""  # a calendar for all of them, or for none
    return table


def _problem(result: Result, variable: str) -> str:
    known = list(result.series_names)
    if variable in known:
        if variable in result.by_month:
            return ""
        return f"{variable}: {result.name} kept nothing by month"
    if variable in result.statistics.names:
        hint = "; it is known after the last month only: draw its loss"
    else:
        hint = near(variable, known, listed=len(known) <= 8)
    return f"{shown(variable)}: {result.name} does not report it by month{hint}"


def _for_people(table: pd.DataFrame) -> pd.DataFrame:
    names = {"p50": "median", "p05": "5 %", "p25": "25 %", "p75": "75 %", "p95": "95 %"}
    made = table.rename(columns=names)
    made["date"] = made["date"].str.slice(0, 7)
    return made


def _positive(table: pd.DataFrame) -> bool:
    """Whether a log axis can hold all of it."""
    found = table[list(LEVELS)].to_numpy(np.float64)
    found = found[np.isfinite(found)]
    return bool(len(found)) and bool((found > 0.0).all())


# ---- words
def _caption(results: Sequence[Result], table: pd.DataFrame, unit: words.Unit) -> str:
    variable = str(table["variable"].iloc[0])
    if table[list(LEVELS)].isna().all(axis=None):
        return "No path has a finite value in any month."
    when = words.spoken(words.as_of(results[0]), max(r.months for r in results))
    if len(results) == 1:
        low, middle, high = _last(table, variable, unit)
        if low == high:
            return f"In {when} nine paths in ten are at {unit.say(middle)}."
        return f"In {when} the median is {unit.say(middle)}; nine paths in ten lie between {unit.bare(low)} and {unit.say(high)}."
    told = []
    for name in words.labels(results):
        low, middle, high = _last(table[table["scenario"] == name], variable, unit)
        told.append(f"{unit.say(middle)} in {name} ({unit.bare(low)} to {unit.bare(high)})")
    return f"In {when} the median (and 5 to 95 % of paths) is {_listed(told)}."


def _last(table: pd.DataFrame, variable: str, unit: words.Unit) -> tuple[float, float, float]:
    """5 %, median and 95 % in the last month, not in per cent."""
    last = table[table["variable"] == variable].iloc[-1]
    low, middle, high = (float(last[p]) / unit.factor for p in ("p05", "p50", "p95"))
    return low, middle, high


def _end(table: pd.DataFrame, variable: str, unit: words.Unit) -> str:
    low, middle, high = _last(table, variable, unit)
    return f"{unit.bare(middle)} ({unit.bare(low)} to {unit.bare(high)})"


def _marks(fans_: int) -> str:
    if fans_ == 1:
        return "Line: median; dark band: half of the paths; light band: nine in ten (5 to 95 %)."
    return "Lines: medians; dark bands: half of the paths; light bands: nine in ten (5 to 95 %)."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
