"""Stacked shares by month: each share as long as its month, labelled within where there is room."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import style
from .layout import date_axis, date_tip, dated, is_dated, per_cent, shortened, until_end

if TYPE_CHECKING:
    import pandas as pd

ROOM = 20
"""Pixels of height that a label within a band needs."""
NARROW = 290
"""Pixels of width of the plot on a phone."""


def stacked(table: pd.DataFrame, column: str, order: Sequence[str]) -> pd.DataFrame:
    """month, date, the column, share, and ``bottom`` and ``top`` of each band in per cent, the first of ``order`` lowest."""
    rows = dated(table)
    rows[column] = rows[column].astype(str)
    rows = rows[rows[column].isin(list(order))].copy()
    rows["rank"] = [list(order).index(name) for name in rows[column]]
    rows = rows.sort_values(["month", "rank"], kind="stable").reset_index(drop=True)
    rows["share"] = rows["share"].astype(float)
    rows["top"] = 100.0 * rows.groupby("month")["share"].cumsum()
    rows["bottom"] = rows["top"] - 100.0 * rows["share"]
    rows["said"] = [per_cent(x, 1) for x in rows["share"]]
    return rows


def bands(
    rows: pd.DataFrame,
    column: str,
    looks: dict[str, tuple[str, str]],
    height: int,
    title: str,
    inside: bool = True,
    legend_title: str | None = None,
) -> Any:
    """rows: of ``stacked``. looks: by name, the lowest first, the fill and the colour of a label on it.

    ``inside``: bands are labelled where there is room, and only the others in a legend.
    """
    import altair as alt

    highest = float(rows["top"].max())
    top = 100.0 if highest > 50.0 else max(highest, 1e-3)
    y = alt.Scale(domain=[0, top], nice=False)
    labels = places(rows, column, looks, height, top) if inside else rows.iloc[:0]
    unlabelled = [name for name in looks if name not in set(labels[column])]
    legend = alt.Legend(
        title=legend_title,
        titleOrient="left",
        values=unlabelled,
        columns=4,
        symbolType="square",
        labelLimit=110,
        offset=24,
    )
    scale = alt.Scale(domain=list(looks), range=[fill for fill, _ in looks.values()])
    axis = alt.Axis(labelExpr="datum.label + ' %'", title=title, tickCount=5)
    long = until_end(rows)
    area = alt.Chart(long[["date", column, "bottom", "top"]]).mark_area(
        interpolate="step-after", stroke="white", strokeWidth=0.7, fillOpacity=1
    ).encode(
        x=date_axis(long), y=alt.Y("bottom:Q", scale=y, axis=axis), y2="top:Q",
        fill=alt.Fill(f"{column}:N", scale=scale, legend=legend if unlabelled else None), detail=f"{column}:N",
    )  # fmt: skip
    layers: list[Any] = [area]
    for name, (_, ink) in looks.items():
        own = labels[labels[column] == name]
        if len(own):
            layers.append(
                alt.Chart(own[["date", column, "middle"]])
                .mark_text(color=ink, fontSize=12, fontWeight=600)
                .encode(x=date_axis(long), y=alt.Y("middle:Q", scale=y), text=f"{column}:N")
            )
    return alt.layer(*layers, hover(rows, column, list(looks))).properties(height=height)


def places(
    rows: pd.DataFrame, column: str, looks: dict[str, tuple[str, str]], height: int, top: float
) -> pd.DataFrame:
    """Where labels go, of a chart as wide as a phone: a band's thickest month away from the ends; none where the band is too thin around it."""
    import pandas as pd

    months = sorted(rows["month"].unique())
    margin = len(months) // 5
    inner = months[margin : len(months) - margin] or months
    found = []
    for name in looks:
        own = rows[rows[column] == name].set_index("month")
        reach = math.ceil(len(name) * 3.7 / (NARROW / len(months)))
        thick = {m: _room(own, m, reach) for m in inner if m in own.index}
        if not thick or len(months) < 6:
            continue
        best = max(thick, key=lambda m: (round(thick[m], 6), -abs(m - months[len(months) // 2])))
        if thick[best] * height / top >= ROOM:
            at = own.loc[best]
            found.append((at["date"], name, (at["bottom"] + at["top"]) / 2.0))
    return pd.DataFrame(found, columns=["date", column, "middle"])


def _room(own: pd.DataFrame, month: Any, reach: int) -> float:
    """The height that a band has free at the level of its middle in this month, in all months within reach."""
    near = own[(own.index >= month - reach) & (own.index <= month + reach)]
    middle = (own.loc[month, "bottom"] + own.loc[month, "top"]) / 2.0
    return float(2.0 * min(middle - near["bottom"].max(), near["top"].min() - middle))


def hover(rows: pd.DataFrame, column: str, names: Sequence[str], lasting: bool = True) -> Any:
    """The month under the pointer, shaded, which tells what ``said`` says of each of ``names`` there.

    rows: month, date, the column, said. ``lasting``: what is drawn holds for the whole of a month, and is not a point
    at its beginning. Strips that lie side by side, not the nearest of some points: there Vega-Lite tells texts as
    ``undefined``.
    """
    import altair as alt
    import pandas as pd

    wide = rows.pivot_table(index="date", columns=column, values="said", aggfunc="first")
    names = [n for n in names if n in wide]
    # names come from a config, so they are titles here and no names of fields
    strips = pd.DataFrame({f"s{k}": wide[n] for k, n in enumerate(names)}, index=wide.index)
    strips = strips.reset_index()
    if lasting:
        strips["from"] = strips["date"]
        strips["to"] = [*strips["date"].iloc[1:], until_end(rows)["date"].max()]
    else:
        half = (strips["date"].shift(-1) - strips["date"]) / 2
        middle = strips["date"] + half.fillna(half.iloc[0] * 0)
        strips["from"], strips["to"] = middle.shift(1).fillna(strips["date"]), middle
    point = alt.selection_point(name="under", on="pointerover", empty=False, fields=["date"], clear="pointerout")  # fmt: skip
    kind = "T" if is_dated(rows) else "Q"
    return alt.Chart(strips).mark_rect(color=style.INK, y=0, y2="height").encode(
        x=alt.X(f"from:{kind}"), x2="to",
        fillOpacity=alt.condition(point, alt.value(0.16), alt.value(0)),
        tooltip=[date_tip(rows), *(alt.Tooltip(f"s{k}:N", title=_key(n)) for k, n in enumerate(names))],
    ).add_params(point)  # fmt: skip


def _key(name: str) -> str:
    """A name as the title of a line in a tooltip.

    Vega-Lite writes titles into an expression and does not escape a backslash there; and a bare number would come
    before all other lines.
    """
    name = shortened(name.replace("\\", "/"), 40)
    return f"{name} " if name.isdigit() else name
