"""How charts look: colours that differ in lightness too, dashes, and type that can be read on a phone.

The colours are those of Okabe and Ito (2008), told apart by people with any common colour vision. Their order
here alternates dark and light, so that neighbours also differ on a grey print; each comes with a dash of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

BLUE, ORANGE, BLACK, GREEN = "#0072B2", "#E69F00", "#000000", "#009E73"
VERMILLION, SKY, PURPLE, YELLOW = "#D55E00", "#56B4E9", "#CC79A7", "#F0E442"
INK, FAINT, GRID, PAPER = "#222222", "#595959", "#E3E3E3", "#FFFFFF"
FONT = "Arial, 'Liberation Sans', 'Helvetica Neue', Roboto, 'Segoe UI', sans-serif"

PALETTE = (BLUE, ORANGE, BLACK, GREEN, VERMILLION, SKY, PURPLE, YELLOW)
_TEXT = (BLUE, "#8A5F00", BLACK, "#006B4E", "#A34700", "#1F6E9C", "#94466F", "#6B6400")
"""The same hues, dark enough for text on white: a contrast of 4.5 at least (WCAG 2.2, 1.4.3)."""
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [10, 4], [4, 2, 1, 2], [1, 3], [12, 2, 2, 2])
SHADES = ("#0B3C5D", "#3D7EA6", "#A3C7DE", "#DDEAF2")
"""One hue from dark to light, for what is ordered."""


@dataclass(frozen=True)
class Look:
    """How one of several things beside each other is drawn."""

    colour: str
    text: str
    """The colour of its label."""
    dash: list[int]


def look(number: int) -> Look:
    """Of the first thing (0), the second, ...; after the eighth, again from the first with another dash."""
    k, round_ = number % len(PALETTE), number // len(PALETTE)
    return Look(PALETTE[k], _TEXT[k], list(DASHES[(k + 3 * round_) % len(DASHES)]))


def scenario_style(names: Iterable[str]) -> dict[str, Look]:
    """A look for each name, in the order given."""
    return {name: look(k) for k, name in enumerate(dict.fromkeys(names))}


def colour_scale(names: Iterable[str]) -> dict[str, list[Any]]:
    """``alt.Scale(**colour_scale(names))``."""
    found = scenario_style(names)
    return {"domain": list(found), "range": [s.colour for s in found.values()]}


def dash_scale(names: Iterable[str]) -> dict[str, list[Any]]:
    """``alt.Scale(**dash_scale(names))`` for strokeDash."""
    found = scenario_style(names)
    return {"domain": list(found), "range": [s.dash for s in found.values()]}


CONFIG: dict[str, Any] = {
    "font": FONT,
    "background": PAPER,
    "view": {"stroke": None},
    "axis": {
        "labelFontSize": 12,
        "labelColor": INK,
        "titleFontSize": 12,
        "titleColor": INK,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "gridColor": GRID,
        "gridWidth": 0.7,
        "domainColor": FAINT,
        "tickColor": FAINT,
        "tickSize": 4,
        "labelLimit": 220,
    },
    "axisX": {"grid": False},
    "axisY": {
        "titleAngle": 0,
        "titleAlign": "left",
        "titleAnchor": "end",
        "titleBaseline": "bottom",
        "titleX": 0,
        "titleY": -8,
        "domain": False,
        "ticks": False,
    },
    "header": {"labelFontSize": 13, "labelColor": INK, "titleFontSize": 13, "labelFontWeight": 600},
    "legend": {
        "labelFontSize": 12,
        "titleFontSize": 12,
        "labelColor": INK,
        "titleColor": INK,
        "titleFontWeight": "normal",
        "orient": "top",
        "direction": "horizontal",
        "symbolStrokeWidth": 2.5,
        "symbolSize": 160,
        "labelLimit": 240,
    },
    "line": {"strokeWidth": 2.2},
    "rule": {"color": FAINT},
    "text": {"fontSize": 12, "color": INK, "font": FONT},
    "title": {
        "anchor": "start",
        "color": INK,
        "fontSize": 17,
        "fontWeight": 600,
        "subtitleColor": FAINT,
        "subtitleFontSize": 12.5,
        "subtitlePadding": 6,
        "subtitleLineHeight": 17,
        "offset": 14,
    },
}
"""Vega-Lite's ``config``, which ``Figure.spec`` adds. The y axis has its title above it, across."""
