"""The forest of claims: how probable each is in each scenario, with its interval."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from . import style
from .figure import Figure
from .layout import PERCENT_AXIS, down, many, nothing, per_cent, shortened

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right",
          "triangle-left")  # fmt: skip
HEAD, LANE, PAD = 17, 12, 6
"""Pixels of a row: its title, a lane for each scenario, and what parts it from the next."""
TITLE = "How probable is each claim, by scenario?"


def forest(table: pd.DataFrame, source: str = "") -> Figure:
    """Claims down the page: the share of paths on which each holds, and its 95 % interval, by scenario.

    table: claim, title, scenario, given (the share is of the paths on which something else happens), probability,
    low, high (shares; NaN where a scenario does not decide the claim), paths.
    """
    import altair as alt

    title = TITLE if table["scenario"].nunique() != 1 else "How probable is each claim?"
    if table.empty:
        return nothing(
            "claims", title, "No claim was put to these scenarios.", source, _told(table)
        )
    scenarios = list(dict.fromkeys(table["scenario"].astype(str)))
    named = titles(table)
    views = [_panel(part, scenarios, named) for part in panels(table)]
    chart = views[0] if len(views) == 1 else alt.concat(*views)
    return Figure("claims", title, caption(table), source, _told(table), chart)


def panels(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The table in parts that fill one, two and three columns, where it has many claims.

    What belongs to the claim above it, and so begins with dots, stays below it.
    """
    keys, named = _keys(table), titles(table)
    parts = 1 if len(keys) <= 8 else 2 if len(keys) <= 20 else 6
    most = -(-len(keys) // parts)
    part_of, head = {}, 0
    for k, key in enumerate(keys):
        head = head if named[key].startswith("...") else k
        part_of[key] = min(head // most, parts - 1)
    part = [part_of[key] for key in _key_of_rows(table)]
    return [found for _, found in table.groupby(part, sort=True)]


def _key_of_rows(table: pd.DataFrame) -> list[tuple[Any, Any, Any]]:
    return list(zip(table["claim"], table["given"], table["title"], strict=True))


def _keys(table: pd.DataFrame) -> list[tuple[Any, Any, Any]]:
    return list(dict.fromkeys(_key_of_rows(table)))


def layout(
    table: pd.DataFrame, scenarios: list[str], named: dict[tuple[Any, Any, Any], str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Marks, a row for each of the table's; heads, one for each claim. ``y`` in pixels from the top."""
    import pandas as pd

    rows = table.copy()
    rows["scenario"] = rows["scenario"].astype(str)
    step = HEAD + LANE * len(scenarios) + PAD
    keys = _keys(rows)
    at = {key: k for k, key in enumerate(keys)}
    rows["y"] = [
        float(step * at[key] + HEAD + LANE * (scenarios.index(name) + 0.5))
        for key, name in zip(_key_of_rows(rows), rows["scenario"], strict=True)
    ]
    for name, share in (("percent", "probability"), ("from", "low"), ("to", "high")):
        rows[name] = 100.0 * rows[share].astype(float)
    rows["chance"] = [_brief(p) for p in rows["percent"]]
    rows["interval"] = [
        f"{a:.1f} to {b:.1f} %" if math.isfinite(a) and math.isfinite(b) else "-"
        for a, b in zip(rows["from"], rows["to"], strict=True)
    ]
    rows["kind"] = ["where the condition holds" if g else "of all paths" for g in rows["given"]]
    tops = [float(step * k) for k in range(len(keys))]
    heads = pd.DataFrame(
        {
            "title": [named[key] for key in keys],
            "y": [top + HEAD / 2 + 1 for top in tops],
            "top": tops,
            "bottom": [top + step for top in tops],
        }
    )
    return rows, heads


def _panel(
    table: pd.DataFrame, scenarios: list[str], named: dict[tuple[Any, Any, Any], str]
) -> Any:
    import altair as alt

    marks, heads = layout(table, scenarios, named)
    height = float(heads["bottom"].max())
    return alt.layer(
        _stripes(heads, height), _intervals(marks, height), _points(marks, height, scenarios),
        *_texts(heads, marks, height),
    ).properties(height=height)  # fmt: skip


def titles(table: pd.DataFrame) -> dict[tuple[Any, Any, Any], str]:
    """By claim as it stands in a row: what is written above it. What is conditional stands below the claim itself and
    repeats nothing of it: ``... given a bust``."""
    found = {}
    plain = {key[0]: str(key[2]) for key in _keys(table) if not key[1]}
    for key in _keys(table):
        name, given, title = str(key[0]), key[1], str(key[2])
        before = plain.get(key[0], "") if given else ""
        if before and title.startswith(f"{before}, "):
            title = f"... {title.removeprefix(f'{before}, ')}"
        found[key] = title if title.strip() else name
    return found


def _brief(percent: float) -> str:
    if not math.isfinite(percent):
        return "not decided"
    if 0.0 < percent < 0.1:
        return "<0.1 %"
    if 99.9 < percent < 100.0:
        return ">99.9 %"
    near = 0.0 < percent < 1.0 or 99.0 < percent < 100.0
    return f"{percent:.{1 if near else 0}f} %"


def _stripes(heads: pd.DataFrame, height: float) -> Any:
    import altair as alt

    return (
        alt.Chart(heads.iloc[1::2][["top", "bottom"]].rename(columns={"top": "y"}))
        .mark_rect(color="#F3F3F3", x=0, x2="width")
        .encode(y=down(height), y2="bottom:Q")
    )


def _across(field: str) -> alt.X:
    """From 0 to 100 %, said above the first claim."""
    import altair as alt

    axis = alt.Axis(
        **PERCENT_AXIS, orient="top", grid=True, domain=False, tickSize=0, labelFlush=True
    )
    return alt.X(f"{field}:Q", scale=alt.Scale(domain=[0, 100]), axis=axis)


def _intervals(marks: pd.DataFrame, height: float) -> Any:
    import altair as alt

    shown = marks.dropna(subset=["from", "to"])[["from", "to", "y"]]
    return alt.Chart(shown).mark_rule(strokeWidth=2, color=style.INK).encode(
        x=_across("from"), x2="to:Q", y=down(height)
    )  # fmt: skip


def _columns(scenarios: list[str]) -> int:
    """Of the legend, so that it fits a phone."""
    longest = max(len(name) for name in scenarios)
    return 3 if longest <= 11 else 2 if longest <= 18 else 1


def _points(marks: pd.DataFrame, height: float, scenarios: list[str]) -> Any:
    import altair as alt

    shapes = [SHAPES[k % len(SHAPES)] for k in range(len(scenarios))]
    looks: dict[str, Any] = style.colour_scale(scenarios)
    colours = alt.Scale(**looks)
    legend = (
        alt.Legend(title=None, columns=_columns(scenarios), labelLimit=260)
        if len(scenarios) > 1
        else None
    )
    shown = marks.dropna(subset=["percent"])
    keep = ["title", "scenario", "percent", "chance", "interval", "kind", "paths", "y"]
    return alt.Chart(shown[keep]).mark_point(
        filled=True, size=75, opacity=1, stroke="white", strokeWidth=0.8
    ).encode(
        x=_across("percent"), y=down(height),
        fill=alt.Fill("scenario:N", scale=colours, legend=legend),
        shape=alt.Shape("scenario:N", scale=alt.Scale(domain=scenarios, range=shapes), legend=legend),
        tooltip=[
            alt.Tooltip("title:N", title="claim"), alt.Tooltip("scenario:N"),
            alt.Tooltip("chance:N", title="holds on"), alt.Tooltip("interval:N", title="95 % interval"),
            alt.Tooltip("kind:N", title="share"), alt.Tooltip("paths:Q", format=","),
        ],
    )  # fmt: skip


def _texts(heads: pd.DataFrame, marks: pd.DataFrame, height: float) -> list[Any]:
    """Titles above, and each share to the right of its lane."""
    import altair as alt

    titles, values = alt.Chart(heads[["title", "y"]]), alt.Chart(marks[["chance", "y"]])
    return [
        titles.mark_text(align="left", x=0, fontSize=12, limit=300).encode(y=down(height), text="title:N"),
        values.mark_text(align="left", x="width", dx=9, fontSize=11, limit=68, color=style.FAINT).encode(
            y=down(height), text="chance:N"
        ),
    ]  # fmt: skip


def caption(table: pd.DataFrame) -> str:
    """How many claims are likelier than not, and where scenarios differ most."""
    told = table.dropna(subset=["probability"])
    plain = told[~told["given"].astype(bool)]
    if plain.empty:
        return "None of these claims is decided within the horizon."
    scenarios = list(dict.fromkeys(plain["scenario"].astype(str)))
    counts = [
        (name, int((rows["probability"] > 0.5).sum()), len(rows))
        for name in scenarios
        for rows in [plain[plain["scenario"].astype(str) == name]]
    ]
    if len(scenarios) == 1:
        name, likely, of = counts[0]
        text = f"In {shortened(name, 30)}, {likely} of {many(of, 'claim')} {'is' if of == 1 else 'are'} likelier than not."
    else:
        parts = ", ".join(
            f"{likely} of {of} in {shortened(name, 30)}" for name, likely, of in counts[:4]
        )
        text = f"Likelier than not: {parts}. {_widest(plain)}"
    return f"{text.strip()} Marks are shares of paths, lines their 95 % intervals."


def _widest(plain: pd.DataFrame) -> str:
    least: dict[Any, tuple[float, str]] = {}
    most: dict[Any, tuple[float, str]] = {}
    for row in plain.to_dict("records"):
        key, found = (row["claim"], row["title"]), (float(row["probability"]), str(row["scenario"]))
        least[key] = min(least.get(key, found), found, key=lambda x: x[0])
        most[key] = max(most.get(key, found), found, key=lambda x: x[0])
    key = max(most, key=lambda k: most[k][0] - least[k][0])
    if most[key][0] <= least[key][0]:
        return ""
    name = str(key[1]).removeprefix("... ")
    told = ", ".join(f"{per_cent(p)} in {shortened(who, 30)}" for p, who in (least[key], most[key]))
    return f"They differ most on “{shortened(name, 60)}”: {told}."


def _told(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(
        columns={
            "given": "given something else",
            "probability": "probability (share of paths)",
            "low": "low (95 %)",
            "high": "high (95 %)",
        }
    )
