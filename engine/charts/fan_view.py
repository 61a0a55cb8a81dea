"""How a fan is drawn: bands, median, direct labels, and a line under the pointer that says the values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import style
from .axes import Span
from .layout import spread

if TYPE_CHECKING:
    import pandas as pd

LEVELS = ("p05", "p25", "p50", "p75", "p95")
_LABEL = 17.0
"""Pixels that labels lie apart at least."""


def view(
    table: pd.DataFrame,
    span: Span,
    axis_title: str,
    height: int,
    level: tuple[float, str] | None = None,
    title: str = "",
    number: int = 0,
) -> Any:
    """The fans of one variable, one for each scenario, over each other.

    ``table`` is in the axis' unit: scenario, month, date and the columns of ``LEVELS``. ``level`` is a line across
    and its name; ``number`` tells this view from others in one chart.
    """
    import altair as alt

    x, y = (
        _time(table),
        alt.Y("p50:Q", axis=span.axis(None if title else axis_title), scale=span.scale()),
    )
    drawn = table.astype(object).where(table.notna(), None)
    names = list(drawn["scenario"].unique())
    looks = style.scenario_style(names)
    ends = _ends(table, span, height)
    layers: list[Any] = []
    for name in names:
        rows = drawn[drawn["scenario"] == name]
        layers += _bands(rows, looks[name], x, y, len(names) > 1)
        layers += [_label(rows, looks[name], x, y, *end) for end in ends if end[0] == name]
    if level is not None and span.low < level[0] < span.high:
        layers += _across(drawn, *level, x, y)
    if table[list(LEVELS)].isna().all(axis=None):
        layers.append(nothing(drawn.head(1), "no finite value"))
    layers.append(_hover(drawn, x, len(names) > 1, number))
    made = alt.layer(*layers).properties(height=height)
    if not title:
        return made
    over = alt.TitleParams(
        title, subtitle=axis_title, fontSize=13, subtitleFontSize=12, subtitlePadding=3, offset=8
    )
    return made.properties(title=over)


def nothing(rows: Any, text: str) -> Any:
    """Words in the middle of a chart that has nothing to draw."""
    import altair as alt

    # without a place of its own, a text stands in the middle
    return alt.Chart(rows).mark_text(fontSize=14, color=style.FAINT).encode(text=alt.value(text))


def _time(table: pd.DataFrame) -> Any:
    import altair as alt

    months = int(table["month"].max())
    if table["date"].iloc[0]:
        step = 12 if months > 30 else (6 if months > 12 else 1)
        every: Any = {"interval": "month", "step": step}
        form = "%Y" if months > 30 else "%b %Y"
        return alt.X("date:T", axis=alt.Axis(title=None, format=form, tickCount=every))
    few: dict[str, Any] = {"values": list(range(1, months + 1))} if months <= 15 else {}
    axis = alt.Axis(title="month", format="d", **few)
    return alt.X("month:Q", axis=axis, scale=alt.Scale(nice=False, zero=False))


def _named(y: Any, field: str) -> Any:
    """The same axis for another column."""
    made = y.copy()
    made.shorthand = f"{field}:Q"
    return made


def _bands(rows: pd.DataFrame, look: style.Look, x: Any, y: Any, several: bool) -> list[Any]:
    import altair as alt

    base = alt.Chart(rows)
    wide, narrow = (0.16, 0.24) if several else (0.2, 0.35)
    if len(rows) == 1:  # a month alone has no width: bars
        bar: dict[str, Any] = {"strokeWidth": 14, "color": look.colour, "strokeDash": [1, 0]}
        marks = base.mark_rule(opacity=wide, **bar), base.mark_rule(opacity=narrow, **bar)
        middle = base.mark_point(size=90, filled=True, color=look.colour, opacity=1)
    else:
        marks = (
            base.mark_area(color=look.colour, opacity=wide),
            base.mark_area(color=look.colour, opacity=narrow),
        )
        middle = base.mark_line(color=look.colour, strokeDash=look.dash)
    made: list[Any] = [
        marks[0].encode(x=x, y=_named(y, "p05"), y2="p95:Q"),
        marks[1].encode(x=x, y=_named(y, "p25"), y2="p75:Q"),
    ]
    edge = base.mark_line(color=look.colour, strokeWidth=0.9, opacity=0.8, strokeDash=look.dash)
    if len(rows) > 1:  # the light band would be lost on a grey print
        made += [edge.encode(x=x, y=_named(y, name)) for name in ("p05", "p95")]
    return [*made, middle.encode(x=x, y=y)]


def _ends(table: pd.DataFrame, span: Span, height: int) -> list[tuple[str, str, str, float]]:
    """What is written at the last month: scenario, column, text, and by how many pixels it is moved down.

    Of labels that would touch, the edges of a band are left out, and names of scenarios moved apart.
    """
    last = table.groupby("scenario", sort=False).tail(1)
    last = last[last[list(LEVELS)].notna().all(axis=1)]
    if len(last) > 1:
        rows: list[Any] = list(last.itertuples())
        at = [height * (1.0 - span.place(float(r.p50))) for r in rows]
        moved = spread(at, _LABEL)
        return [
            (str(r.scenario), "p50", str(r.scenario), m - a)
            for r, a, m in zip(rows, at, moved, strict=True)
        ]
    found = []
    ends: list[Any] = list(last.itertuples())
    for r in ends:
        middle = span.place(float(r.p50))
        found.append((str(r.scenario), "p50", "median", 0.0))
        for column, text, value in (("p95", "95 %", r.p95), ("p05", "5 %", r.p05)):
            if abs(span.place(float(value)) - middle) * height >= _LABEL:
                found.append((str(r.scenario), column, text, 0.0))
    return found


def _label(
    rows: pd.DataFrame,
    look: style.Look,
    x: Any,
    y: Any,
    name: str,
    column: str,
    text: str,
    dy: float,
) -> Any:
    import altair as alt

    weight: Any = 600 if column == "p50" else 400
    return (
        alt.Chart(rows.tail(1))
        .mark_text(align="left", dx=8, dy=dy, color=look.text, fontWeight=weight, limit=170)
        .encode(x=x, y=_named(y, column), text=alt.value(text))
    )


def _across(rows: pd.DataFrame, level: float, text: str, x: Any, y: Any) -> list[Any]:
    """A line to hold the fans against."""
    import altair as alt

    at = rows.head(1)[["date", "month"]].assign(level=level)
    axis = _named(y, "level")
    return [
        alt.Chart(at).mark_rule(strokeDash=[3, 3], color=style.FAINT).encode(y=axis),
        alt.Chart(at)
        .mark_text(align="left", dx=4, dy=8, color=style.FAINT)
        .encode(x=x, y=axis, text=alt.value(text)),
    ]


def _hover(rows: pd.DataFrame, x: Any, several: bool, number: int) -> Any:
    import altair as alt

    under = alt.selection_point(
        name=f"month{number}", nearest=True, on="pointerover", fields=["month"], empty=False
    )
    tips: list[Any] = [alt.Tooltip("month:Q")]
    if rows["date"].iloc[0]:
        tips.append(alt.Tooltip("date:T", title="date", format="%b %Y"))
    if several:
        tips.insert(0, alt.Tooltip("scenario:N"))
    said = {"p95": "95 %", "p75": "75 %", "p50": "median", "p25": "25 %", "p05": "5 %"} | {
        "mean": "mean"
    }
    tips += [alt.Tooltip(f"{p}:Q", title=t, format=",.4~g") for p, t in said.items()]
    tips.append(alt.Tooltip("unit:N"))
    shown = alt.condition(under, alt.value(0.8), alt.value(0))
    return (
        alt.Chart(rows)
        .mark_rule(color=style.FAINT, strokeWidth=1)
        .encode(x=x, opacity=shown, tooltip=tips)
        .add_params(under)
    )
