"""Fire sales: how many rounds of forced GPU sales a month sees, and how many GPUs are sold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import style
from .bands import bands, hover, stacked
from .figure import Figure
from .layout import date_axis, dated, nothing, per_cent, until_end, when
from .words import written

if TYPE_CHECKING:
    import pandas as pd

NO_SALE = "no sale"
LOOKS = {
    "6 or more": (style.SHADES[0], "white"),
    "3 to 5": (style.SHADES[1], "white"),
    "2": (style.SHADES[2], style.INK),
    "1": (style.SHADES[3], style.INK),
}
"""The more rounds the darker, from the bottom; months without a sale are the room above."""
ROUNDS = "How often do forced sales of GPUs feed on themselves?"
SALES = "How many GPUs are sold by force?"


def rounds(table: pd.DataFrame, source: str = "") -> Figure:
    """table: month, date, rounds ("no sale", "1", "2", "3 to 5", "6 or more"), share of paths."""
    if table.empty:
        return nothing(
            "rounds", ROUNDS, "There are no GPU loans in this run.", source, _told(table)
        )
    if not table.loc[table["rounds"] != NO_SALE, "share"].astype(float).max() > 0.0:
        why = "No lender sells a GPU by force, on any path, in any month."
        return nothing("rounds", ROUNDS, why, source, _told(table))
    rows = stacked(table, "rounds", list(LOOKS))
    chart = bands(
        rows,
        "rounds",
        LOOKS,
        240,
        "% of paths with a forced sale in the month",
        inside=False,
        legend_title="rounds:",
    )
    return Figure("rounds", ROUNDS, _rounds_caption(table), source, _told(table), chart)


def _rounds_caption(table: pd.DataFrame) -> str:
    rows = dated(table)
    rows = rows[rows["rounds"] != NO_SALE]
    sold, again = (
        part.groupby("month")["share"].sum().astype(float)
        for part in (rows, rows[rows["rounds"] != "1"])
    )
    peak: Any = sold.idxmax()
    share = float(again.get(peak, 0.0)) / sold.max()
    return (
        f"In {when(rows, peak)}, the worst month, lenders sell on {per_cent(sold.max(), 1)} of the paths; on "
        f"{per_cent(share)} of those the price that they get sets off a second round or more. Darker: more rounds in "
        "the month; white: no sale."
    )


def sales(table: pd.DataFrame, source: str = "") -> Figure:
    """table: month, date, mean_units, p99_units (GPUs sold in the month: mean, and 99 % quantile over the paths)."""
    import altair as alt
    import pandas as pd

    told = table.rename(columns={"mean_units": "mean (GPUs)", "p99_units": "99 % quantile (GPUs)"})
    if table.empty:
        return nothing("sales", SALES, "There are no GPU loans in this run.", source, told)
    if not table[["mean_units", "p99_units"]].astype(float).max().max() > 0.0:
        return nothing("sales", SALES, "No GPU is sold by force, on any path.", source, told)
    rows = dated(table)
    lines = {"mean": "mean_units", "1 path in 100 sells more": "p99_units"}
    long = pd.concat(
        [rows.assign(line=k, units=rows[c].astype(float)) for k, c in lines.items()],
        ignore_index=True,
    )
    long["said"] = [f"{written(x)} GPUs" for x in long["units"]]
    drawn = until_end(long)[["date", "line", "units"]]
    legend = alt.Legend(title=None, offset=24)
    colours: dict[str, Any] = style.colour_scale(lines)
    dashes: dict[str, Any] = style.dash_scale(lines)
    chart = alt.Chart(drawn).mark_line(interpolate="step-after").encode(
        x=date_axis(drawn),
        y=alt.Y("units:Q", title="GPUs a month", scale=alt.Scale(zero=True),
                axis=alt.Axis(format=",.6~f", tickCount=5)),
        color=alt.Color("line:N", legend=legend, scale=alt.Scale(**colours)),
        strokeDash=alt.StrokeDash("line:N", legend=legend, scale=alt.Scale(**dashes)),
    )  # fmt: skip
    total = float(rows["mean_units"].astype(float).sum())
    text = (
        f"{written(total)} GPUs over the whole run, on the average path. {_worst(rows)} A line is for each month: "
        "the mean over all paths, and what one path in a hundred exceeds."
    )
    layers = alt.layer(chart, hover(long, "line", list(lines))).properties(height=220)
    return Figure("sales", SALES, text, source, told, layers)


def _worst(rows: pd.DataFrame) -> str:
    units = rows.set_index("month")["p99_units"].astype(float)
    if not units.max() > 0.0:
        return "In no month does one path in a hundred sell any."
    return f"In {when(rows, units.idxmax())} alone one path in a hundred sells more than {written(units.max())}."


def _told(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns={"share": "share of paths"})
