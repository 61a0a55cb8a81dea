"""Stress scenarios side by side: a panel for each metric, each with an axis of its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from . import style
from .figure import Figure
from .layout import down, listed, many, nothing, shortened
from .words import NOUNS, Unit, tick, written

if TYPE_CHECKING:
    import pandas as pd

HEAD, LANE, PAD = 14, 10, 4
"""Pixels of a row: the scenario's name, its marks, and what parts it from the next."""
MEAN, TAIL = "mean, 95 % interval", "median to 95 %"
TITLE = "What does each stress do, beside the base?"


def stress(table: pd.DataFrame, source: str = "") -> Figure:
    """A dot with its interval for each scenario's mean, a light bar from the median to the 95 % quantile.

    table: scenario, title, metric, unit, mean, p50, p95, low, high (95 % interval of the mean). The first scenario is
    the base: a rule through each panel marks its mean.
    """
    import altair as alt

    if table.empty:
        return nothing("stress", TITLE, "No stress was run.", source, _told(table))
    metrics = list(dict.fromkeys(table["metric"].astype(str)))
    scenarios = list(dict.fromkeys(table["scenario"].astype(str)))
    views = [_panel(table[table["metric"].astype(str) == m], scenarios) for m in metrics]
    chart: Any = views[0] if len(views) == 1 else alt.concat(*views).resolve_scale(x="independent")
    return Figure("stress", TITLE, caption(table), source, _told(table), chart)


def layout(table: pd.DataFrame, scenarios: list[str]) -> pd.DataFrame:
    """The rows of a metric as drawn: ``name_y`` and ``y`` in pixels from the top, shares and rates in per cent."""
    import pandas as pd

    step = HEAD + LANE + PAD
    rows = table.copy()
    rows["scenario"] = rows["scenario"].astype(str)
    rows["name"] = [plain(s) for s in rows["scenario"]]
    unit = unit_of(rows)
    for name in ("mean", "p50", "p95", "low", "high"):
        rows[name] = pd.to_numeric(rows[name], errors="coerce").astype(float) * unit.factor
    place = [scenarios.index(s) for s in rows["scenario"]]
    rows["name_y"] = [step * k + HEAD / 2.0 + 1.0 for k in place]
    rows["y"] = [step * k + HEAD + LANE / 2.0 for k in place]
    after = f" {unit.title}"
    rows["short"] = [written(x) + (" %" if unit.percent else "") for x in rows["mean"]]
    rows["said"] = [written(x) + after for x in rows["mean"]]
    rows["interval"] = [
        f"{written(a)} to {written(b)}" for a, b in zip(rows["low"], rows["high"], strict=True)
    ]
    rows["median"], rows["tail"] = ([written(x) + after for x in rows[k]] for k in ("p50", "p95"))
    return rows


def unit_of(rows: pd.DataFrame) -> Unit:
    name = str(rows["unit"].iloc[0])
    return Unit(name, name in ("share", "probability", "1/year"))


def noun(rows: pd.DataFrame) -> str:
    """The metric in words."""
    name = str(rows["metric"].iloc[0])
    return NOUNS.get(name, name)


def plain(scenario: str) -> str:
    """A scenario's name as words."""
    return scenario.replace("_", " ")


def _panel(table: pd.DataFrame, scenarios: list[str]) -> Any:
    import altair as alt

    rows = layout(table, scenarios)
    height = float((HEAD + LANE + PAD) * len(scenarios))
    unit = unit_of(rows)
    metric = noun(rows)
    base = rows[rows["scenario"] == scenarios[0]]
    values = rows[["low", "high", "p50", "p95"]]
    axis = alt.Axis(grid=True, title=f"{shortened(metric, 34)}, {unit.title}" if unit.title else shortened(metric, 34),
                    format=tick(values), tickCount=4, orient="top", titleFontWeight=600,
                    domain=False, tickSize=0)  # fmt: skip
    scale = alt.Scale(zero=_zero(values), nice=True)

    def across(field: str, axis: Any = alt.Undefined) -> Any:
        return alt.X(f"{field}:Q", scale=scale, axis=axis)

    tips = [
        alt.Tooltip("name:N", title="scenario"), alt.Tooltip("title:N", title="what it is"), alt.Tooltip("said:N", title="mean"),
        alt.Tooltip("interval:N", title="95 % interval"), alt.Tooltip("median:N"), alt.Tooltip("tail:N", title="95 %"),
    ]  # fmt: skip
    looks = alt.Scale(domain=[MEAN, TAIL], range=[style.INK, "#B9CFE0"])
    drawn = alt.Chart(rows.drop(columns=["metric", "unit"]))
    # a piece in each lane, so that it crosses no name
    lanes = rows[["y"]].assign(y2=rows["y"] + LANE / 2.0 + 1.0, y=rows["y"] - LANE / 2.0 - 1.0)
    lanes["base"] = float(base["mean"].iloc[0]) if len(base) else math.nan
    rule = alt.Chart(lanes.dropna()).mark_rule(color=style.VERMILLION, strokeWidth=1.6)
    return alt.layer(
        drawn.transform_calculate(what=f"'{TAIL}'").mark_rule(strokeWidth=8).encode(
            x=across("p50", axis), x2="p95", y=down(height), tooltip=tips,
            stroke=alt.Stroke("what:N", scale=looks, title=None),
        ),
        rule.encode(x=across("base"), y=down(height), y2="y2"),
        drawn.mark_rule(strokeWidth=1.8, color=style.INK).encode(x=across("low"), x2="high", y=down(height)),
        drawn.transform_calculate(what=f"'{MEAN}'").mark_point(filled=True, size=70, opacity=1).encode(
            x=across("mean"), y=down(height), tooltip=tips, color=alt.Color("what:N", scale=looks, title=None),
        ),
        alt.Chart(rows[["name", "name_y"]].rename(columns={"name_y": "y"})).mark_text(
            align="left", x=0, fontSize=11.5, limit=200
        ).encode(y=down(height), text="name:N"),
        alt.Chart(rows[["short", "y"]]).mark_text(
            align="left", x="width", dx=8, fontSize=11, color=style.FAINT, limit=68
        ).encode(y=down(height), text="short:N"),
    ).properties(height=height)  # fmt: skip


def _zero(values: pd.DataFrame) -> bool:
    """Whether the axis begins at 0: not where all is far from it and near to each other."""
    least, most = float(values.min().min()), float(values.max().max())
    return not (math.isfinite(least) and least > 0.0 and most < 2.5 * least)


def caption(table: pd.DataFrame) -> str:
    """For the first metrics, the scenario that moves it most, if by more than noise."""
    scenarios = list(dict.fromkeys(table["scenario"].astype(str)))
    base = plain(scenarios[0])
    marks = f"Dots are means with 95 % intervals, bars reach from the median to the 95 % quantile; upright: the mean of {shortened(base, 30)}."
    if len(scenarios) == 1:
        return f"Only {base} was run. {marks}"
    parts = [
        p
        for m in dict.fromkeys(table["metric"])
        if (p := _most(table[table["metric"] == m], scenarios[0]))
    ]
    if not parts:
        return f"None of {many(len(scenarios) - 1, 'stress')} moves a mean beyond noise. {marks}"
    return f"Furthest from {shortened(base, 30)}: {listed(parts[:3])}. {marks}"


def _most(rows: pd.DataFrame, base: str) -> str:
    unit = unit_of(rows)
    own = rows[rows["scenario"].astype(str) == base]
    others = rows[rows["scenario"].astype(str) != base].dropna(subset=["mean", "low", "high"])
    if own.empty or others.empty or not math.isfinite(float(own["mean"].iloc[0])):
        return ""
    first = own.iloc[0]
    apart = others[(others["low"] > first["high"]) | (others["high"] < first["low"])]
    if apart.empty:
        return ""
    row = apart.loc[(apart["mean"] - first["mean"]).abs().idxmax()]
    # from and to in the same unit, said once
    by = shortened(plain(str(row["scenario"])), 30)
    return f"{noun(rows)} under {by} ({unit.bare(first['mean'])} to {unit.say(row['mean'])})"


def _told(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(
        columns={
            "p50": "median",
            "p95": "95 %",
            "low": "mean, low (95 %)",
            "high": "mean, high (95 %)",
        }
    )
