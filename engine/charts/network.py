"""The network: who pays whom, with the payments that go round."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from . import style
from .figure import Figure
from .layout import down, nothing, per_cent, shortened
from .sankey import Layout, Link, lay_out, ribbon
from .words import written

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

TITLE = "Who pays whom, and where does the money go round?"
OUTSIDE = "outside "
"""How the names begin of those beyond the network: customers, lenders."""
RIBBONS, HEAD = 330.0, 26.0
"""Pixels: of all ribbons together, and of the line above them."""
MOST = 16
"""Firms on a side; the smallest beyond them are put together."""
BAR = 10
"""Pixels of a node's width; ribbons begin and end beneath it."""
ROUND, PLAIN, STRIPE = style.VERMILLION, "#B4BDC6", 5.0
"""Colours of ribbons; pixels between the stripes of those that go round, which a grey print tells apart too."""


def network(table: pd.DataFrame, source: str = "") -> Figure:
    """Ribbons from payer to payee, as wide as what is paid; striped where money can come back to its payer.

    table: payer, payee, kind, value (USD bn a year), circular. Payments from and to the outside, which would be most of
    what is drawn, are told in the caption; they are drawn where there is nothing else.
    """
    import altair as alt

    drawn = shown(table)
    if drawn.empty:
        return nothing("network", TITLE, "No firm pays another in this run.", source, _told(table))
    links = [Link(r["payer"], r["payee"], r["value"]) for r in drawn.to_dict("records")]
    found = lay_out(links, RIBBONS)
    height = found.height + HEAD
    ribbons, stripes = curves(drawn, found)
    nodes = bars(found)
    point = alt.selection_point(
        name="over", on="pointerover", fields=["link"], empty=True, clear="pointerout"
    )
    layers: list[Any] = [
        _ribbons(ribbons, height, point),
        _stripes(stripes, height),
        *_bars(nodes, height),
        *_labels(nodes, height),
    ]  # fmt: skip
    chart = alt.layer(*layers).properties(height=height)
    return Figure("network", TITLE, caption(table), source, _told(table), chart)


# ---- what is drawn
def shown(table: pd.DataFrame, most: int = MOST) -> pd.DataFrame:
    """The payments that are drawn: above zero, between firms if any are, of no more than ``most`` firms on a side."""
    import pandas as pd

    rows = table.copy()
    rows["value"] = pd.to_numeric(rows["value"], errors="coerce").astype(float)
    rows = rows[(rows["value"] > 0.0) & (rows["value"] < float("inf"))]
    for name in ("payer", "payee", "kind"):
        rows[name] = rows[name].astype(str)
    inside = rows[~_outside(rows)]
    rows = inside if len(inside) else rows
    for name in ("payer", "payee"):
        sums = rows.groupby(name)["value"].sum().sort_values(ascending=False)
        if len(sums) > most:
            small = set(sums.index[most - 1 :])
            rows[name] = [f"{len(small)} others" if n in small else n for n in rows[name]]
    rows["circular"] = rows["circular"].astype(bool)
    keys = ["payer", "payee", "kind", "circular"]
    summed = rows.groupby(keys, sort=False)["value"].sum().reset_index()
    return summed.sort_values("value", ascending=False, kind="stable").reset_index(drop=True)


def _outside(rows: pd.DataFrame) -> pd.Series[bool]:
    return rows["payer"].astype(str).str.startswith(OUTSIDE) | rows["payee"].astype(
        str
    ).str.startswith(OUTSIDE)


def curves(drawn: pd.DataFrame, found: Layout) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ribbons: x, y, y2 along each link. Stripes: lines along those that go round, at one distance."""
    import numpy as np
    import pandas as pd

    ribbons, stripes = [], []
    for k, row in enumerate(drawn.to_dict("records")):
        width = row["value"] * found.scale
        t, top = ribbon(found.starts[k] + HEAD, found.ends[k] + HEAD)
        told = {
            "link": k, "payer": row["payer"], "payee": row["payee"], "kind": row["kind"],
            "amount": f"{written(row['value'])} USD bn a year",
            "round": "yes" if row["circular"] else "no",
        }  # fmt: skip
        ribbons += [{**told, "x": a, "y": b, "y2": b + width} for a, b in zip(t, top, strict=True)]
        if row["circular"]:
            count = max(1, int(width / STRIPE))
            for j, offset in enumerate(width * (np.arange(count) + 0.5) / count):
                stripes += [
                    {"stripe": f"{k}.{j}", "x": a, "y": b + offset}
                    for a, b in zip(t, top, strict=True)
                ]
    columns = ["stripe", "x", "y"]
    return pd.DataFrame(ribbons).round({"x": 4, "y": 2, "y2": 2}), pd.DataFrame(
        stripes, columns=columns
    ).round({"x": 4, "y": 2})


def bars(found: Layout) -> pd.DataFrame:
    """Nodes: name, side, y, y2, middle (pixels), label, amount."""
    import pandas as pd

    rows = []
    for n in found.nodes:
        text = f"{shortened(n.name, 13)} {written(n.value)}"
        rows.append({
            "name": n.name, "side": n.side,
            "y": n.top + HEAD, "y2": n.bottom + HEAD, "middle": n.middle + HEAD, "label": text,
            "amount": f"{'pays' if n.side == 'left' else 'is paid'} {written(n.value)} USD bn a year",
        })  # fmt: skip
    return pd.DataFrame(rows)


# ---- marks
def _across(field: str) -> alt.X:
    import altair as alt

    return alt.X(f"{field}:Q", axis=None, scale=alt.Scale(domain=[0, 1], nice=False))


def _ribbons(ribbons: pd.DataFrame, height: float, point: Any) -> Any:
    import altair as alt

    colour = alt.Scale(domain=["yes", "no"], range=[ROUND, PLAIN])
    legend = alt.Legend(
        title=None, symbolType="square", columns=1,
        labelExpr="datum.label == 'yes' ? 'can come back (striped)' : 'cannot'",
    )  # fmt: skip
    return alt.Chart(ribbons).mark_area(line=False).encode(
        x=_across("x"), y=down(height), y2="y2", detail="link:N",
        fill=alt.Fill("round:N", scale=colour, legend=legend),
        fillOpacity=alt.condition(point, alt.value(0.72), alt.value(0.25)),
        stroke=alt.Stroke("round:N", scale=colour, legend=legend), strokeWidth=alt.value(0.8),
        tooltip=[alt.Tooltip("payer:N"), alt.Tooltip("payee:N"), alt.Tooltip("kind:N"),
                 alt.Tooltip("amount:N"), alt.Tooltip("round:N", title="goes round")],
    ).add_params(point)  # fmt: skip


def _stripes(stripes: pd.DataFrame, height: float) -> Any:
    import altair as alt

    return alt.Chart(stripes).mark_line(strokeWidth=1, color="#6B2A00").encode(
        x=_across("x"), y=down(height), detail="stripe:N", order="x:Q"
    )  # fmt: skip


def _bars(nodes: pd.DataFrame, height: float) -> list[Any]:
    import altair as alt

    tips = [alt.Tooltip("name:N", title="firm"), alt.Tooltip("amount:N")]
    sides: list[tuple[Any, ...]] = [("left", 0, BAR / 2), ("right", "width", -BAR / 2)]
    return [
        alt.Chart(nodes[nodes["side"] == side]).mark_rule(
            x=at, xOffset=shift, strokeWidth=BAR, color=style.INK
        ).encode(y=down(height), y2="y2", tooltip=tips)
        for side, at, shift in sides
    ]  # fmt: skip


def _labels(nodes: pd.DataFrame, height: float) -> list[Any]:
    import altair as alt
    import pandas as pd

    found = []
    sides: list[tuple[Any, ...]] = [("left", 0, "right", -6), ("right", "width", "left", 6)]
    grey: dict[str, Any] = {"color": style.FAINT, "fontStyle": "italic"}
    for side, at, align, dx in sides:
        own = nodes[nodes["side"] == side][["label", "middle"]].rename(columns={"middle": "y"})
        head = pd.DataFrame({"label": ["pays" if side == "left" else "is paid"], "y": [8.0]})
        for rows, more in ((own, {}), (head, grey)):
            found.append(
                alt.Chart(rows).mark_text(align=align, x=at, dx=dx, fontSize=12, limit=120, **more).encode(
                    y=down(height), text="label:N"
                )
            )  # fmt: skip
    return found


# ---- words
def caption(table: pd.DataFrame) -> str:
    """How much goes round and by which ways, and what comes from and goes outside."""
    drawn = shown(table)
    total = float(drawn["value"].sum())
    if (drawn["payer"].str.startswith(OUTSIDE) | drawn["payee"].str.startswith(OUTSIDE)).any():
        return (
            f"No firm pays another; {written(total)} USD bn a year come from or go to the outside."
        )
    around = float(drawn.loc[drawn["circular"], "value"].sum())
    text = f"Firms pay each other {written(total)} USD bn a year"
    if around > 0.0:
        found = circles(shown(table, len(table)))[:3]
        ways = [
            f"{' → '.join(shortened(n) for n in way)} ({written(least)})" for way, least in found
        ]
        text += f"; {written(around)} of it ({per_cent(around / total)}) is between firms whose money can come back"
        text += f": {'; '.join(ways)}, each with the least of its payments." if ways else "."
    else:
        text += ", and nothing goes round."
    return f"{text}{_beyond(table)} Widths are USD bn a year, means over paths and months."


def _beyond(table: pd.DataFrame) -> str:
    import pandas as pd

    rows = table[_outside(table)]
    value = pd.to_numeric(rows["value"], errors="coerce").astype(float)
    came = (
        value[rows["payer"].astype(str).str.startswith(OUTSIDE)]
        .groupby(rows["payer"].astype(str))
        .sum()
    )
    parts = [
        f"{written(v)} from {str(who).removeprefix(OUTSIDE)}" for who, v in came.items() if v > 0.0
    ]
    return f" Not drawn: {' and '.join(parts)}." if parts else ""


def circles(drawn: pd.DataFrame) -> list[tuple[list[str], float]]:
    """The shortest circle through each payment that goes round, its names and its least payment; the largest first."""
    pays: dict[str, dict[str, float]] = {}
    rows = drawn[drawn["circular"]]
    for r in rows.to_dict("records"):
        mine = pays.setdefault(r["payer"], {})
        mine[r["payee"]] = mine.get(r["payee"], 0.0) + r["value"]
    found: dict[frozenset[str], tuple[list[str], float]] = {}
    for payer, payees in pays.items():
        for payee in payees:
            back = _way(pays, payee, payer)
            if not back:
                continue
            way = [payer, *back]
            least = min(pays[a][b] for a, b in pairwise(way))
            found.setdefault(frozenset(way), (way, least))
    return sorted(found.values(), key=lambda c: -c[1])


def _way(pays: dict[str, dict[str, float]], start: str, end: str) -> list[str]:
    """The shortest way of payments from one to another, both named; the larger payments where several are."""
    before: dict[str, str] = {start: ""}
    waiting = deque([start])
    while waiting:
        name = waiting.popleft()
        if name == end:
            way = [name]
            while before[way[-1]]:
                way.append(before[way[-1]])
            return way[::-1]
        for payee in sorted(pays.get(name, {}), key=lambda p: -pays[name][p]):
            if payee not in before:
                before[payee] = name
                waiting.append(payee)
    return []


def _told(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns={"value": "USD bn a year", "circular": "goes round"})
