"""Phases of the cycle: the share of paths in each, by month."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import style
from .bands import bands, stacked
from .figure import Figure
from .layout import dated, nothing, per_cent, when

if TYPE_CHECKING:
    import pandas as pd

LOOKS = {
    "build-out": ("#6BA6CC", style.INK),
    "late boom": ("#F3C677", style.INK),
    "bust": ("#7A1F0B", "white"),
    "efficiency": ("#DDEBE3", style.INK),
}
"""In the order of the cycle, from the bottom: the bust, which the eye should find, is the darkest."""
TITLE = "When does the boom end, and what follows?"


def phases(table: pd.DataFrame, source: str = "") -> Figure:
    """table: month, date, phase (build-out, late boom, bust, efficiency), share of paths."""
    if table.empty:
        return nothing("phases", TITLE, "This run has no cycle.", source, _told(table))
    rows = stacked(table, "phase", list(LOOKS))
    chart = bands(rows, "phase", LOOKS, 280, "% of paths")
    return Figure("phases", TITLE, caption(table), source, _told(table), chart)


def caption(table: pd.DataFrame) -> str:
    """When most paths are in a bust, and where they are at the end."""
    rows = dated(table)
    busts = rows[rows["phase"] == "bust"].set_index("month")["share"].astype(float)
    last = rows[rows["month"] == rows["month"].max()].set_index("phase")["share"].astype(float)
    ends = ", ".join(f"{per_cent(last[p])} in {p}" for p in LOOKS if p in last and last[p] > 0.0)
    text = f"At the end, of the paths: {ends}."
    if len(busts) and busts.max() > 0.0:
        worst: Any = busts.idxmax()
        text = f"The most paths at once in a bust are {per_cent(busts.max())}, in {when(rows, worst)}. {text}"
    else:
        text = f"No path sees a bust. {text}"
    return f"{text} Heights are shares of paths."


def _told(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns={"share": "share of paths"})
