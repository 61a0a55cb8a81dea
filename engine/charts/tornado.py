"""The tornado: what moving each parameter a little does to a quantity, the largest first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from . import style
from .figure import Figure
from .layout import down, nothing, shortened
from .words import tick, written

if TYPE_CHECKING:
    import pandas as pd

HEAD, LANE, PAD = 18, 11, 7
"""Pixels of a row: its parameter, a bar for up and one for down, and what parts it from the next."""
UP, DOWN = "parameter up", "parameter down"
LOOKS = {UP: style.BLUE, DOWN: style.SHADES[2]}
"""Dark and light; bars of what is not told apart from noise are hollow."""


def tornado(table: pd.DataFrame, metric: str = "", unit: str = "", source: str = "") -> Figure:
    """Two bars for each parameter: where moving it up and moving it down by a step takes the metric.

    table: parameter, unit, value, step, down, up, effect, low, high (the effect's 95 % interval), elasticity,
    told_apart. ``metric`` and its ``unit`` are named on the axis.
    """
    import altair as alt

    of = metric or "the result"
    title = f"Which parameters move {shortened(of, 60)} most?"
    if table.empty:
        return nothing("tornado", title, "No parameter moves it.", source, _told(table))
    marks, heads = layout(table, unit)
    height = float(heads["bottom"].max())
    named = f"change of {shortened(of, 40)}{'' if unit in ('', '1') else f', {unit}'}"
    chart = alt.layer(
        _stripes(heads, height), _bars(marks, height, named), _zero(height), _whiskers(marks, height),
        alt.Chart(heads[["label", "y"]]).mark_text(align="left", x=0, fontSize=12, limit=300).encode(
            y=down(height), text="label:N"
        ),
    ).properties(height=height)  # fmt: skip
    return Figure("tornado", title, caption(table, unit), source, _told(table), chart)


def layout(table: pd.DataFrame, unit: str = "") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Marks, two for each row of the table; heads, one. ``y`` in pixels from the top."""
    import pandas as pd

    step = HEAD + 2 * LANE + PAD
    marks, heads = [], []
    for k, row in enumerate(table.to_dict("records")):
        top = float(k * step)
        name, after = str(row["parameter"]), _unit(str(row["unit"]))
        heads.append({"label": name, "y": top + HEAD / 2.0 + 1.0, "top": top, "bottom": top + step})
        told = {
            "parameter": name,
            "value": f"{written(float(row['value']))} {after}".strip(),
            "moved": f"±{written(abs(float(row['step'])))} {after}".strip(),
            "interval": f"{signed(float(row['low']))} to {signed(float(row['high']))}",
            "elasticity": written(float(row["elasticity"])),
            "certain": bool(row["told_apart"]),
        }
        for lane, (side, change) in enumerate(((UP, row["up"]), (DOWN, row["down"]))):
            change = float(change)
            known = math.isfinite(change)
            marks.append({
                **told, "side": side, "change": change, "y": top + HEAD + lane * LANE + 1.0,
                "y2": top + HEAD + (lane + 1) * LANE - 1.0,
                "said": f"{signed(change)} {_unit(unit)}".strip() if known else "cannot be moved there",
                "low": float(row["low"]) if side == UP and known else math.nan,
                "high": float(row["high"]) if side == UP and known else math.nan,
            })  # fmt: skip
    return pd.DataFrame(marks), pd.DataFrame(heads)


def signed(x: float) -> str:
    return ("+" if x > 0 else "") + written(x)


def _unit(unit: str) -> str:
    return "" if unit in ("1", "share", "ratio") else unit


def _across(field: str, marks: pd.DataFrame | None = None, title: str = "") -> Any:
    import altair as alt

    scale = alt.Scale(zero=True, nice=True)
    if marks is None:
        return alt.X(f"{field}:Q", scale=scale)
    axis = alt.Axis(orient="top", grid=True, format=tick(marks["change"]), tickCount=5, title=title)
    return alt.X(f"{field}:Q", scale=scale, axis=axis)


def _stripes(heads: pd.DataFrame, height: float) -> Any:
    import altair as alt

    odd = heads.iloc[1::2][["top", "bottom"]].rename(columns={"top": "y"})
    return (
        alt.Chart(odd)
        .mark_rect(color="#F3F3F3", x=0, x2="width")
        .encode(y=down(height), y2="bottom:Q")
    )


def _bars(marks: pd.DataFrame, height: float, title: str) -> Any:
    import altair as alt

    colour = alt.Scale(domain=list(LOOKS), range=list(LOOKS.values()))
    shown = (
        marks[marks["change"].map(math.isfinite)].drop(columns=["low", "high"]).assign(start=0.0)
    )
    return alt.Chart(shown).mark_rect(strokeWidth=1.2).encode(
        x=_across("start", marks, title), x2="change", y=down(height), y2="y2",
        fill=alt.Fill("side:N", scale=colour, legend=alt.Legend(title=None, symbolType="square")),
        stroke=alt.value(style.BLUE),
        fillOpacity=alt.condition("datum.certain", alt.value(1), alt.value(0)),
        tooltip=[
            alt.Tooltip("parameter:N"), alt.Tooltip("value:N", title="its value"),
            alt.Tooltip("moved:N", title="moved by"), alt.Tooltip("side:N", title="this bar"),
            alt.Tooltip("said:N", title="change"), alt.Tooltip("interval:N", title="effect, 95 % interval"),
            alt.Tooltip("elasticity:N"), alt.Tooltip("certain:N", title="told apart from noise"),
        ],
    )  # fmt: skip


def _zero(height: float) -> Any:
    import altair as alt
    import pandas as pd

    line = pd.DataFrame({"x": [0.0], "y": [0.0], "y2": [height]})
    return (
        alt.Chart(line)
        .mark_rule(color=style.INK, strokeWidth=1.2)
        .encode(x=_across("x"), y=down(height), y2="y2")
    )


def _whiskers(marks: pd.DataFrame, height: float) -> Any:
    """The interval of the effect, at the end of the bar for up."""
    import altair as alt

    shown = marks.dropna(subset=["low", "high"])[["low", "high", "y", "y2"]].copy()
    shown["y"] = (shown["y"] + shown["y2"]) / 2.0
    return (
        alt.Chart(shown[["low", "high", "y"]])
        .mark_rule(color=style.INK, strokeWidth=1.6)
        .encode(x=_across("low"), x2="high", y=down(height))
    )


def caption(table: pd.DataFrame, unit: str = "") -> str:
    """The largest effect, and how many are told apart from noise."""
    apart = table[table["told_apart"].astype(bool)]
    after = _unit(unit)
    marks = (
        "Bars are changes by a step up and down; lines the 95 % interval of the effect, half of the difference of the "
        "two; hollow: within noise."
    )
    if apart.empty:
        return f"None of these {len(table)} effects is told apart from noise. {marks}"
    most = max(apart.to_dict("records"), key=lambda r: abs(float(r["effect"])))
    change = f"{signed(float(most['effect']))} {after}".strip()
    step = f"{written(abs(float(most['step'])))} {_unit(str(most['unit']))}".strip()
    of = f"{len(apart)} of the {len(table)} largest effects are" if len(table) > 1 else "It is"
    return f"{shortened(str(most['parameter']), 60)}: {change} for {step} more. {of} told apart from noise. {marks}"


def _told(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(
        columns={
            "unit": "unit of the parameter",
            "down": "change, parameter down",
            "up": "change, parameter up",
            "low": "effect, low (95 %)",
            "high": "effect, high (95 %)",
            "told_apart": "told apart from noise",
        }
    )
