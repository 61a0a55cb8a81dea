"""The sections of a comparison: what moved from one run to the other, what differs between them, and both drawn at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from ..charts.words import label_of, written
from .answer import HEADLINES, what_was_run
from .how import again, how_rows
from .page import Page
from .parts import Part, Section, Text, table
from .sections import tried
from .words import counted, listed, unit_of

if TYPE_CHECKING:
    from ..compare import Comparison, Row
    from ..result import Result

FANS = (
    "revenue.rate", "rental.hopper", "rental.blackwell", "rental.rubin", "rental.next", "compute.tightness", "compute.gap",
    "private_credit.loss", "firms.bankrupt", "macro.gdp",
)  # fmt: skip
LOSSES = ("private_credit.loss", "holders.loss", "holders.loss_banks", "holders.loss_insurers")
LOG = ("revenue.rate",)
FEW = 6
"""Figures named in the answer."""


def compared(a: Result, b: Result, day: str, tell: Callable[[str, float], None]) -> Page:
    """The report of two runs. Raises ConfigError where they cannot be compared."""
    from ..compare import compare

    tell("comparing", 0.0)
    found = compare(a, b)
    names = label_of(a, [b]), label_of(b, [a])
    if names[0] == names[1]:
        names = f"{a.name} (A)", f"{b.name} (B)"
    return Page(
        kind="comparison of two runs",
        title=f"{names[0]} against {names[1]}",
        what=f"A: {what_was_run(a)} B: {what_was_run(b)}",
        made=f"Made on {day}. Every chart gives its data as CSV.",
        sections=[
            _short(found),
            _differs(found),
            _fans(a, b),
            _distributions(a, b),
            _verdicts(found),
            _how(a, b),
        ],
        footer=f"overbuilt, run digests {a.digest[:16]} and {b.digest[:16]}. This page holds all that it shows and loads nothing.",
        warnings=[f"Run {s} failed: {r.failure}." for s, r in (("A", a), ("B", b)) if r.failure],
    )


def _short(c: Comparison) -> Section:
    moved = c.having("moved")
    lead = [_counts(c)]
    parts: list[Part] = []
    if key := _key_rows(c):
        frame = pd.DataFrame([_told(r) for r in key], columns=_HEAD)
        parts.append(
            table(
                frame,
                "Headline numbers, side by side",
                "headlines",
                strong=[r.verdict == "moved" for r in key],
            )
        )
    if moved:
        largest = sorted(
            (r for r in moved if math.isfinite(r.relative)), key=lambda r: -abs(r.relative)
        )[:FEW]
        if largest:
            lead.append(f"Largest moves, as shares of A: {listed([_move(r) for r in largest])}.")
    lead.append(_paired(c))
    return Section("short", "In short", parts, lead, breaks=False)


def _move(r: Row) -> str:
    return f"{r.metric} ({r.statistic}) {100 * r.relative:+,.3g} %"


def _counts(c: Comparison) -> str:
    n = c.counts
    if not any(n[v] for v in ("moved", "unclear", "equivalent")):
        return f"Nothing differs: all {len(c.rows)} figures are equal on every path."
    from ..compare_table import margin

    return (
        f"Of {counted(len(c.rows), 'figure')}, {n['moved']} moved from A to B, {n['unclear']} are too noisy to say, "
        f"{n['equivalent']} are the same within {margin(c)}, and {n['equal']} are equal on every path. "
        f"All verdicts together are right with {100 * c.level:g} % confidence."
    )


def _paired(c: Comparison) -> str:
    p = c.pairing
    if not p.common:
        return "The runs are independent: no path is in both, so intervals are wide."
    if p.complete and p.same:
        return f"The runs share their draws: all {p.common:,} paths are compared one by one."
    return f"The runs share their draws on {p.common:,} paths, of which {p.sampled:,} are compared one by one."


_HEAD = ["metric", "statistic", "unit", "A", "B", "B less A", "from", "to", "verdict"]


def _told(r: Row) -> tuple[object, ...]:
    """A row, shares in per cent."""
    unit = unit_of(r.unit)
    f = unit.factor
    low, high = (f * x if math.isfinite(x) else math.nan for x in (r.low, r.high))
    name = "%" if unit.percent else r.unit if "," not in r.unit else "state"
    return (r.metric, r.statistic, name, f * r.a, f * r.b, f * r.difference, low, high, _verdict(r))


def _verdict(r: Row) -> str:
    if r.verdict == "unclear" and math.isfinite(r.needed):
        return f"unclear; about {written(r.needed, 2)} paths would tell"
    return "moved, perhaps by little" if r.verdict == "moved" and not r.beyond else r.verdict


def _key_rows(c: Comparison) -> list[Row]:
    wanted = []
    for _, quantity, _ in HEADLINES:
        head, _, last = quantity.rpartition(".")
        wanted.append((head, last) if last in ("es99", "p50") else (quantity, "mean"))
    by = {(r.metric, r.statistic): r for r in c.rows}
    return [by[k] for k in wanted if k in by] or c.rows[:8]


def _differs(c: Comparison) -> Section:
    parts: list[Part] = []
    if c.changes:
        frame = pd.DataFrame(
            [(x.key, x.a, x.b) for x in c.changes], columns=["parameter", "A", "B"]
        )
        parts.append(
            table(frame, "", "what_differs", most=200, label="What differs between the runs")
        )
    else:
        parts.append(Text("Nothing: both are of one config, and of the same arguments."))
    for side, names in (("A", c.only_a), ("B", c.only_b)):
        if names:
            parts.append(
                Text(
                    f"Only {side} has {listed(names[:12])}{' and others' if len(names) > 12 else ''}."
                )
            )
    return Section("differs", "What differs between the runs", parts, breaks=False)


def _fans(a: Result, b: Result) -> Section:
    from ..charts.fan import fan

    shared = [v for v in FANS if v in a.series_names and v in b.series_names]
    shared = shared or [v for v in a.series_names if v in b.series_names][:8]
    parts: list[Part] = [
        tried(lambda v=v: fan(a, v, log=v in LOG, others=[b]), v)  # type: ignore[misc]
        for v in shared
    ]
    if not parts:
        parts = [Text("The runs report no variable by month in common.", "gap")]
    return Section("fans", "Month by month", parts)


def _distributions(a: Result, b: Result) -> Section:
    from .overlay import exceedances

    shared = [m for m in LOSSES if m in a.statistics.names and m in b.statistics.names]
    shared = shared or [m for m in a.statistics.names if m in b.statistics.names][:4]
    parts: list[Part] = [tried(lambda m=m: exceedances([a, b], m), m) for m in shared]  # type: ignore[misc]
    return Section("distributions", "After the last month", parts)


def _verdicts(c: Comparison) -> Section:
    order = {"moved": 0, "unclear": 1, "equivalent": 2, "equal": 3}
    rows = sorted(c.rows, key=lambda r: order[r.verdict])
    first = [r for r in rows if r.verdict in ("moved", "unclear")]
    parts: list[Part] = []
    whole = pd.DataFrame([_told(r) for r in rows], columns=_HEAD)
    if first:
        part = pd.DataFrame([_told(r) for r in first], columns=_HEAD)
        parts.append(
            table(
                part,
                "Moved, or too noisy to say",
                "moved",
                strong=[r.verdict == "moved" for r in first],
            )
        )
    parts.append(table(whole, f"All {len(rows):,} figures", "verdicts", folded=True))
    lead = ["“from” and “to” bound the difference; the bounds of all rows hold together."]
    return Section("verdicts", "Verdicts", parts, lead)


def _how(a: Result, b: Result) -> Section:
    rows = dict(how_rows(a)), dict(how_rows(b))
    names = list(dict.fromkeys([*rows[0], *rows[1]]))
    frame = pd.DataFrame(
        [(n, rows[0].get(n, "-"), rows[1].get(n, "-")) for n in names], columns=["what", "A", "B"]
    )
    facts = table(frame, "", "how_they_were_computed", label="How they were computed")
    facts.table.style = "how"
    parts: list[Part] = [facts]
    for side, r in (("A", a), ("B", b)):
        code = again(r)
        parts.append(replace(code, text=f"{side}. {code.text}"))
    return Section("how", "How they were computed", parts)
