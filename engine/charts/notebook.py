"""A result in a notebook: what was run, the headline numbers with their intervals, and how it was run."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ..estimate import Estimate
from . import words

if TYPE_CHECKING:
    from ..result import Result

HEADLINES = (
    "revenue.rate",
    "rental.hopper",
    "compute.tightness",
    "private_credit.loss",
    "holders.loss",
    "structured.abs_loss",
    "firms.bankrupt",
    "cycle.bust",
    "macro.growth",
)
_COLUMNS = ("mean", "p05", "p50", "p95", "p99", "es99")
_NAMES = ("mean", "5 %", "median", "95 %", "99 %", "ES 99 %")
_CELL = "text-align:right;padding:.15em .8em"


def as_html(result: Result) -> str:
    """A table of the headline metrics, or of the first eight where it has none of them; all text is escaped."""
    names = [n for n in HEADLINES if n in result.statistics.names] or list(
        result.statistics.names[:8]
    )
    end = words.spoken(words.as_of(result), result.months)
    more = len(result.statistics.names) - len(names)
    return "".join(
        [
            '<div class="overbuilt-result" style="overflow-x:auto">',
            f"<p><strong>{escape(_title(result))}</strong></p>",
            f"<p>{escape(_alarm(result))}</p>" if _alarm(result) else "",
            _table(result, names, end),
            f'<p style="font-size:90%">In brackets 95 % intervals. {escape(_counts(more))}</p>',
            f'<p style="font-size:90%">{escape(_how(result))}</p></div>',
        ]
    )


def _title(result: Result) -> str:
    title = str((result.config or {}).get("title", "")) or getattr(result.model, "title", "")
    return str(title) or result.name


def _alarm(result: Result) -> str:
    """What must not be overlooked."""
    told = []
    if result.failure:
        told.append(f"FAILED: {result.failure}.")
    elif result.status != "finished":
        told.append("Stopped before its targets held.")
    breached = [v.limit.label for v in result.limits if v.breached]
    if breached:
        told.append(f"BREACHED: {'; '.join(breached)}.")
    return " ".join(told)


def _table(result: Result, names: list[str], end: str) -> str:
    head = "".join(f'<th style="{_CELL}">{n}</th>' for n in _NAMES)
    rows = [
        f'<tr><th style="text-align:left">{escape(end)}</th><th style="text-align:left">unit</th>{head}</tr>'
    ]
    for name in names:
        unit = words.unit_of(result, name)
        states = words.states_of(result.units.get(name, ""))
        found = [result.estimate(f"{name}.{c}" if c != "mean" else name) for c in _COLUMNS]
        if states:  # of a state only how often it is says something
            unit, found = words.Unit("share", True), [found[0]] if set(states) == {0, 1} else []
        cells = "".join(f'<td style="{_CELL}">{_cell(e, unit)}</td>' for e in found)
        cells += "<td></td>" * (len(_COLUMNS) - len(found))
        of = "%" if states else unit.title
        rows.append(
            f'<tr><td style="text-align:left" title="{escape(result.docs.get(name, ""))}">{escape(name)}</td>'
            f'<td style="text-align:left">{escape(of)}</td>{cells}</tr>'
        )
    return f"<table>{''.join(rows)}</table>"


def _cell(e: Estimate, unit: words.Unit) -> str:
    if e.low == e.high or not (abs(e.low) < float("inf") and abs(e.high) < float("inf")):
        return escape(unit.bare(e.value))
    return f"{escape(unit.bare(e.value))}<br><small>({escape(unit.bare(e.low))} to {escape(unit.bare(e.high))})</small>"


def _counts(more: int) -> str:
    others = f"{more} more metrics: .summary(), .intervals(). " if more > 0 else ""
    return f'{others}Charts: .plot.fan("..."), .plot.loss("...").'


def _how(result: Result) -> str:
    seconds = result.seconds.get("simulate", 0.0)
    rate = f", {result.path_count / seconds:,.0f} paths a second" if seconds else ""
    left = f"; {result.bad_count:,} left out as not finite" if result.bad_count else ""
    return (
        f"{result.path_count:,} paths of {result.name}, {result.months} months, seed {result.seed}, "
        f"{result.backend} {result.dtype}{rate}; digest {result.digest[:16]}{left}"
    )
