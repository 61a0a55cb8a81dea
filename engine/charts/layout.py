"""What the charts of tables share: places of labels that do not overlap, per cent, dates, a chart of nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import style
from .figure import Figure

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd


def spread(
    wanted: Sequence[float], gap: float, low: float = -math.inf, high: float = math.inf
) -> list[float]:
    """Places as near to ``wanted`` as can be, by least squares, ``gap`` or more apart and within low and high.

    Where they do not fit between the bounds they are evenly apart there. Less i gaps, the i-th from below may not
    fall: an isotonic regression, by pooling adjacent violators (Barlow et al. 1972).
    """
    count = len(wanted)
    if count > 1 and high - low < gap * (count - 1):
        gap = (high - low) / (count - 1)
    order = sorted(range(count), key=lambda i: (wanted[i], i))
    pools: list[tuple[float, int]] = []  # mean, how many
    for rank, i in enumerate(order):
        mean, size = wanted[i] - rank * gap, 1
        while pools and pools[-1][0] >= mean:
            before, many = pools.pop()
            mean, size = (before * many + mean * size) / (many + size), many + size
        pools.append((mean, size))
    level = [min(max(m, low), high - gap * (count - 1)) for m, size in pools for _ in range(size)]
    found = [0.0] * count
    for rank, i in enumerate(order):
        found[i] = level[rank] + rank * gap
    return found


def per_cent(share: float, places: int = 0) -> str:
    """``84 %``; with a digit where it is next to 0 or 1; ``under 0.1 %`` for what is rarer still."""
    if not math.isfinite(share):
        return "-"
    percent = 100.0 * share
    if 0.0 < percent < 0.1:
        return "under 0.1 %"
    if 99.9 < percent < 100.0:
        return "over 99.9 %"
    near = percent < 1.0 or percent > 99.0
    whole = percent in (0.0, 100.0)
    return f"{percent:.{0 if whole else max(places, 1) if near else places}f} %"


def many(count: int, what: str) -> str:
    """``1 firm``, ``3 firms``."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """``a, b and c``; beyond ``most`` ``a, b and 5 more``."""
    names = list(names)
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def shortened(name: str, width: int = 18) -> str:
    """The name, its middle cut out where it is longer than ``width`` characters."""
    name = " ".join(name.split())
    if len(name) <= width:
        return name
    head = (width - 1) // 2
    return name[:head] + "…" + name[len(name) - (width - 1 - head) :]


def down(height: float, **more: Any) -> alt.Y:
    """The y axis of a chart laid out in pixels: ``y`` from 0 at the top to ``height``."""
    import altair as alt

    return alt.Y("y:Q", scale=alt.Scale(domain=[height, 0], nice=False), axis=None, **more)


PERCENT_AXIS: dict[str, Any] = {
    "values": [0, 25, 50, 75, 100],
    "labelExpr": "datum.label + ' %'",
    "title": None,
}
"""Of an axis from 0 to 100."""


def dated(table: pd.DataFrame) -> pd.DataFrame:
    """The table by month, ``date`` as a date; as the number of the month where a date is none."""
    import pandas as pd

    found: pd.DataFrame = table.sort_values("month", kind="stable").reset_index(drop=True)
    dates = pd.to_datetime(found["date"], errors="coerce", format="mixed")
    found["date"] = found["month"].astype(float) if dates.isna().any() else dates
    return found


def is_dated(table: pd.DataFrame) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_datetime64_any_dtype(table["date"]))


def date_axis(table: pd.DataFrame, **more: Any) -> alt.X:
    """The x axis of a table from ``dated``."""
    import altair as alt

    if not is_dated(table):
        return alt.X("date:Q", title="month", scale=alt.Scale(nice=False, zero=False), **more)
    # where a year has room for a label of its own, years alone are clearer than months
    span = (table["date"].max() - table["date"].min()).days
    every = 12 if span > 800 else 6 if span > 370 else 3 if span > 130 else 1
    axis = alt.Axis(
        format="%Y" if every == 12 else "%b %Y",
        tickCount=alt.TimeIntervalStep(interval="month", step=every),
    )
    return alt.X("date:T", title=None, axis=axis, scale=alt.Scale(nice=False), **more)


def date_tip(table: pd.DataFrame) -> alt.Tooltip:
    import altair as alt

    if is_dated(table):
        return alt.Tooltip("date:T", title="month", format="%B %Y")
    return alt.Tooltip("date:Q", title="month")


def when(rows: pd.DataFrame, month: Any) -> str:
    """A month of a table from ``dated`` in words: ``March 2029``, ``month 39``."""
    at = rows.loc[rows["month"] == month, "date"].iloc[0]
    return str(at.strftime("%B %Y")) if is_dated(rows) else f"month {int(month)}"


def until_end(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its last month again where that month ends: what holds for a month is drawn as long as it is."""
    import pandas as pd

    last = table[table["month"] == table["month"].max()].copy()
    last["date"] += pd.DateOffset(months=1) if is_dated(table) else 1.0
    both: pd.DataFrame = pd.concat([table, last], ignore_index=True)
    return both


def nothing(
    name: str, title: str, why: str, source: str, table: pd.DataFrame, height: int = 60
) -> Figure:
    """A figure that says why nothing is drawn."""
    import altair as alt
    import pandas as pd

    text = alt.Chart(pd.DataFrame({"said": [why], "x": [0.0], "y": [height / 2]}))
    chart = text.mark_text(align="left", color=style.FAINT, fontSize=13, limit=320).encode(
        x=alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, 1])), y=down(height), text="said:N"
    )
    return Figure(name, title, why, source, table, chart.properties(height=height))
