"""Survival: the share of paths on which each firm has not defaulted, by month."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from . import style
from .bands import hover
from .figure import Figure
from .layout import (
    date_axis,
    dated,
    is_dated,
    listed,
    many,
    nothing,
    per_cent,
    shortened,
    spread,
    until_end,
)

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

HEIGHT, GAP = 340, 14.5
"""Pixels: of the chart, and between the labels at the ends of its lines."""
SHOWN = 12
"""Firms with a line and a label of their own, the most endangered; the others are thin lines under one label."""
SOUND = 0.99
"""Firms that live on so many paths are told together, where others do not."""
NEVER = "no default"
TITLE = "Which firms survive, and how long?"


def survival(table: pd.DataFrame, source: str = "") -> Figure:
    """A line for each firm that defaults on some path; one for all that never do.

    table: month, date, firm, alive, low, high (shares of paths, 95 % interval).
    """
    import altair as alt

    if table.empty:
        return nothing("survival", TITLE, "There are no firms in this run.", source, _told(table))
    rows, ends = layout(table)
    bottom = floor(table)
    names = list(ends["line"])
    number = alt.Axis(labelExpr="datum.label + ' %'", title="still alive, % of paths", tickCount=5)
    y = alt.Scale(domain=[bottom, 100], nice=False)
    looks = {
        name: _look(k, own) for k, (name, own) in enumerate(zip(names, ends["own"], strict=True))
    }
    rows["colour"] = [looks[name].colour for name in rows["line"]]
    ends["ink"] = [looks[name].text for name in ends["line"]]
    colour = alt.Color("colour:N", scale=None)
    dashes = alt.Scale(domain=names, range=[s.dash for s in looks.values()])
    dash = alt.StrokeDash("line:N", legend=None, scale=dashes)
    lines = alt.Chart(rows.drop(columns=["said"]))
    layers: list[Any] = [
        lines.transform_filter("datum.own")
        .mark_area(opacity=0.13)
        .encode(
            x=date_axis(rows), y=alt.Y("from:Q", scale=y), y2="to:Q", fill=alt.Fill("colour:N", scale=None), detail="firm:N"
        ),
        lines.mark_line().encode(
            x=date_axis(rows), y=alt.Y("percent:Q", scale=y, axis=number), color=colour, strokeDash=dash,
            detail="firm:N", size=alt.condition("datum.own", alt.value(2.2), alt.value(1)),
        ),
        *_labels(ends, y, rows),
        hover(rows, "firm", list(ends.loc[ends["own"], "line"]), lasting=False),
    ]  # fmt: skip
    return Figure(
        "survival",
        TITLE,
        caption(table),
        source,
        _told(table),
        alt.layer(*layers).properties(height=HEIGHT),
    )


def layout(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The lines, in per cent; and their labels, a row each: line, text, date, percent at its end, label (its place)."""
    import pandas as pd

    rows = dated(table)
    rows = until_end(rows) if rows["month"].nunique() == 1 else rows
    rows["firm"] = rows["firm"].astype(str)
    last, own, sound, rest = _groups(rows)
    other, safe = f"{many(len(rest), 'other firm')}", _together(last, sound)
    line = {f: f for f in own} | dict.fromkeys(rest, other) | dict.fromkeys(sound, safe)
    rows["line"] = [line[f] for f in rows["firm"]]
    rows["own"] = rows["firm"].isin(own)
    rows["percent"] = 100.0 * rows["alive"].astype(float)
    rows["from"], rows["to"] = (100.0 * rows[k].astype(float) for k in ("low", "high"))
    rows["said"] = [
        f"{per_cent(p / 100.0, 1)} ({a:.1f} to {b:.1f})"
        for p, a, b in zip(rows["percent"], rows["from"], rows["to"], strict=True)
    ]
    end = rows[rows["month"] == rows["month"].max()]
    ends = end.groupby("line", sort=False)[["date", "percent"]].agg(
        {"date": "last", "percent": "mean"}
    )
    order = [f for f in [*own, other, safe] if f in ends.index]
    ends = ends.loc[order].reset_index()
    ends["own"] = [name in own for name in ends["line"]]
    text = {f: f"{shortened(f, 14)} {per_cent(float(last[f]))}" for f in own}
    text |= {other: other, safe: safe}
    ends["text"] = [text[name] for name in ends["line"]]
    bottom = floor(table)
    scale = (100.0 - bottom) / HEIGHT
    ends["label"] = spread(list(ends["percent"]), GAP * scale, bottom + 4 * scale, 100.0)
    keep = ["month", "date", "firm", "line", "own", "percent", "from", "to", "said"]
    return pd.DataFrame(rows[keep]).round({"percent": 3, "from": 3, "to": 3}), ends


def floor(table: pd.DataFrame) -> float:
    """Where the axis begins, in per cent: at 0, or nearer to what happens where that is near 100."""
    least = 100.0 * float(table["low"].astype(float).min())
    for start in (98.0, 90.0, 75.0, 50.0):
        if least >= start:
            return start
    return 0.0


def _groups(rows: pd.DataFrame) -> tuple[pd.Series[float], list[str], list[str], list[str]]:
    """The share alive at the end by firm; firms with a line of their own, the most endangered first; those that are
    sound; and the rest."""
    last = rows[rows["month"] == rows["month"].max()].groupby("firm")["alive"].last().astype(float)
    least = rows.groupby("firm")["alive"].min().astype(float)
    apart = SOUND if (last < SOUND).any() else 1.0
    order = [str(f) for f in last.sort_values(kind="stable").index]
    own = [f for f in order if last[f] < apart or (apart == 1.0 and least[f] < 1.0)]
    sound = [f for f in order if f not in own]
    return last, own[:SHOWN], sound, own[SHOWN:]


def _together(last: pd.Series[float], sound: list[str]) -> str:
    """``5 firms: no default``, ``5 firms: ≥ 99 %``."""
    if not sound:
        return ""
    who = sound[0] if len(sound) == 1 else f"{len(sound)} firms"
    least = min(float(last[f]) for f in sound)
    return (
        f"{shortened(who, 14)}: {NEVER}"
        if least >= 1.0
        else f"{shortened(who, 14)}: ≥ {math.floor(100 * least)} %"
    )


def _look(number: int, own: bool) -> style.Look:
    if not own:
        return style.Look(style.FAINT, style.FAINT, [1, 0])
    found = style.look(number)  # a thin line in yellow is lost on white
    return found if found.colour != style.YELLOW else style.Look(found.text, found.text, found.dash)


def _labels(ends: pd.DataFrame, y: alt.Scale, rows: pd.DataFrame) -> list[Any]:
    """At the ends of the lines, moved apart where they would overlap, each tied to its line."""
    import altair as alt

    base = alt.Chart(ends[["line", "text", "ink", "date", "percent", "label"]])
    kind = "T" if is_dated(rows) else "Q"
    return [
        base.mark_rule(strokeWidth=0.8, xOffset=3, x2Offset=16).encode(
            x=f"date:{kind}", x2="date", y=alt.Y("percent:Q", scale=y), y2="label:Q"
        ),
        base.mark_text(align="left", dx=19, x="width", fontSize=12, limit=140).encode(
            y=alt.Y("label:Q", scale=y), text="text:N", fill=alt.Fill("ink:N", scale=None)
        ),
    ]  # fmt: skip


def caption(table: pd.DataFrame) -> str:
    """The three most endangered, and those that hardly ever or never default."""
    rows = table.assign(firm=table["firm"].astype(str))
    last, own, sound, _ = _groups(rows)
    months = many(int(table["month"].max()), "month")
    marks = "Lines are shares of paths without default, bands 95 % intervals."
    if not own:
        who = (
            f"{sound[0]} defaults" if len(sound) == 1 else f"any of the {len(sound)} firms defaults"
        )
        return f"On none of these paths {who} within {months}. {marks}"
    worst = listed([f"{shortened(f, 30)} on {per_cent(1.0 - float(last[f]))}" for f in own[:3]])
    text = f"Within {months} {worst} of the paths default{'s' if len(own) == 1 else ''}"
    if sound:
        least = min(float(last[f]) for f in sound)
        text += f"; {'never' if least >= 1.0 else f'at most on {per_cent(1.0 - least, 1)}'}: {listed([shortened(f, 30) for f in sound], 8)}"
    return f"{text}. {marks}"


def _told(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(
        columns={"alive": "alive (share of paths)", "low": "low (95 %)", "high": "high (95 %)"}
    )
