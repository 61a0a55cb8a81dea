"""How a distribution is drawn: bars with mean, VaR and ES, and beside them how rare its bad end is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..estimate import Estimate
from . import style, words
from .axes import Span
from .fan_view import nothing

if TYPE_CHECKING:
    import pandas as pd

RAREST = 1e-5
"""The least probability that the tail shows."""
WHOLE = 24
"""Up to so many distinct values, a bar for each, and steps in the tail."""
_HEIGHT = 280
_SOLID, _DOTTED, _DASHED = [1, 0], [2, 2], [7, 3]
_RUST = "#A34700"


@dataclass(frozen=True)
class Shown:
    """What is drawn of a metric.

    ``bars``: from, to, share. ``spike``: the share of paths at exactly 0, where it has no bar. ``tail``: value, share,
    low, high. ``flat``: all paths are alike, or there are none.
    """

    unit: words.Unit
    doc: str
    upper: bool
    """Whether the bad end is the upper one."""
    mean: Estimate
    var: Estimate
    es: Estimate
    bars: pd.DataFrame
    spike: float
    tail: pd.DataFrame
    flat: bool

    @property
    def names(self) -> tuple[str, str]:
        return ("VaR 99 %", "ES 99 %") if self.upper else ("VaR 1 %", "ES 1 %")

    @property
    def marks(self) -> list[tuple[Estimate, str]]:
        """Mean, VaR and ES, those that are numbers."""
        found = zip((self.mean, self.var, self.es), ("mean", *self.names), strict=True)
        return [(e, name) for e, name in found if math.isfinite(e.value)]

    @property
    def axis_title(self) -> str:
        return "" if self.unit.percent else self.unit.title


# ---- bars
def bars_view(s: Shown) -> Any:
    import altair as alt

    single = bool((s.bars["from"] == s.bars["to"]).all())
    reach = [*s.bars["from"], *s.bars["to"], *(e.value for e, _ in s.marks)]
    span = Span.of(np.array(reach, np.float64))
    if single and len(s.bars) > 1:
        room = 0.5 * float(np.diff(np.sort(s.bars["from"])).min())
        span = Span(min(reach) - room, max(reach) + room)
    top = float(s.bars["share"].max()) if len(s.bars) else 1.0
    tall = Span(0.0, 1.25 * top)
    width = 0.0 if single else float(s.bars["to"].iloc[0] - s.bars["from"].iloc[0])
    title = f"share of paths for each {s.unit.say(width)}" if width else "share of paths"
    axis = tall.axis(title, True)
    if tall.high > 1.0:
        axis.values = [0.0, 0.25, 0.5, 0.75, 1.0]
    across = ", ".join(part for part in (s.doc, s.axis_title) if part)
    x = alt.X("from:Q", scale=span.scale(), axis=span.axis(across, s.unit.percent))
    y = alt.Y("share:Q", scale=tall.scale(), axis=axis)
    layers: list[Any]
    if s.flat:
        layers = [_frame(x, y), nothing(_one(), _flat(s))]
    else:
        layers = [_body(s, single, x, y), *_rules(s, span, tall, x, y)]
    if s.spike:
        layers.append(_note(f"+ {words.probability(s.spike)} at 0"))
    return alt.layer(*layers).properties(height=_HEIGHT)


def _one() -> Any:
    import pandas as pd

    return pd.DataFrame({"from": [0.0], "value": [0.0], "share": [1.0]})


def _frame(x: Any, y: Any) -> Any:
    """Axes, where nothing else is drawn."""
    import altair as alt

    return alt.Chart(_one()).mark_point(opacity=0).encode(x=x, y=y)


def _flat(s: Shown) -> str:
    if not len(s.bars):
        return "no path has a finite value"
    value = float(s.bars["from"].iloc[0])
    return "no losses on any path" if value == 0.0 else f"{s.unit.say(value)} on every path"


def _body(s: Shown, single: bool, x: Any, y: Any) -> Any:
    import altair as alt

    tips = [alt.Tooltip("from:Q", format=",.4~g")]
    tips += [] if single else [alt.Tooltip("to:Q", format=",.4~g")]
    tips.append(alt.Tooltip("share:Q", format=".3~%", title="share of paths"))
    base = alt.Chart(s.bars.assign(zero=0.0))
    if single:
        stick = base.mark_rule(strokeWidth=16, color=style.BLUE, opacity=0.75)
        return stick.encode(x=x, y=y, y2="zero:Q", tooltip=tips)
    bar = base.mark_bar(color=style.BLUE, opacity=0.75, stroke="white", strokeWidth=0.5)
    return bar.encode(x=x, x2="to:Q", y=y, y2="zero:Q", tooltip=tips)


def _rules(s: Shown, span: Span, tall: Span, x: Any, y: Any) -> list[Any]:
    """Lines across at mean, VaR and ES, each named at a height of its own."""
    import altair as alt
    import pandas as pd

    looks = {
        "mean": (style.INK, style.INK, _DOTTED, 0.80),
        s.names[0]: (style.VERMILLION, _RUST, _SOLID, 0.87),
    }
    made: list[Any] = []
    texts: list[Any] = []
    for e, name in s.marks:
        colour, text, dash, height = looks.get(name, (style.INK, style.INK, _DASHED, 0.94))
        height *= 0.96 if s.spike else 1.0
        rows = pd.DataFrame({"from": [e.value], "share": [height * tall.high], "zero": [0.0]})
        rule = alt.Chart(rows).mark_rule(color=colour, strokeDash=dash, strokeWidth=1.6)
        made.append(rule.encode(x=x, y=y, y2="zero:Q"))
        left = span.place(e.value) > 0.5
        said = f"{name}: {s.unit.bare(e.value)}{' %' if s.unit.percent else ''}"
        texts += _text(rows, said, text, x, y, "right" if left else "left", -5 if left else 5, 0)
    return made + texts


def _text(
    rows: Any, said: str, colour: str, x: Any, y: Any, align: str, dx: float, dy: float
) -> list[Any]:
    """Words that can be read over lines and bars: white behind them."""
    import altair as alt

    base = alt.Chart(rows).encode(x=x, y=y, text=alt.value(said))
    how: dict[str, Any] = {"align": align, "dx": dx, "dy": dy, "fontWeight": 600}
    halo = base.mark_text(stroke="white", strokeWidth=4, strokeJoin="round", color="white", **how)
    return [halo, base.mark_text(color=colour, **how)]


def _note(text: str) -> Any:
    import altair as alt

    return (
        alt.Chart(_one())
        .mark_text(align="right", baseline="top", color=style.FAINT, fontWeight=600)
        .encode(x=alt.value("width"), y=alt.value(-6), text=alt.value(text))
    )


# ---- tail
def tail_view(s: Shown) -> Any:
    import altair as alt

    span = Span.of(np.array([*s.tail["value"], *([] if s.flat else [s.var.value, s.es.value])]))
    # whole decades down to what is rarest, 1 % at least
    least = float(s.tail["share"].min()) if len(s.tail) else 1.0
    decades = [10.0**-k for k in range(1 + max(2, math.ceil(-math.log10(least) - 1e-9)))]
    tall = Span(min(least, decades[-1]) / 1.3, 1.3, True)
    axis = tall.axis(
        f"share of paths with {'at least so much' if s.upper else 'so little or less'}", True
    )
    axis.values = decades
    x = alt.X("value:Q", scale=span.scale(), axis=span.axis(s.axis_title, s.unit.percent, 4))
    y = alt.Y("share:Q", scale=tall.scale(), axis=axis)
    if s.flat or len(s.tail) < 2:
        text = "no tail: all paths are alike" if len(s.tail) else "no path has a finite value"
        layers = [_frame(x, y), nothing(_one(), text)]
    else:
        layers = [*_curve(s, tall, x, y), *_marks(s, span, tall, x, y)]
    return alt.layer(*layers).properties(height=_HEIGHT)


def _curve(s: Shown, tall: Span, x: Any, y: Any) -> list[Any]:
    import altair as alt

    tips = [alt.Tooltip("value:Q", format=",.4~g")]
    named = (("share", "share of paths"), ("low", "from"), ("high", "to"))
    tips += [alt.Tooltip(f"{c}:Q", format=".3~%", title=t) for c, t in named]
    base = alt.Chart(s.tail.assign(low=s.tail["low"].clip(lower=tall.low)))
    low = y.copy()
    low.shorthand = "low:Q"
    # between points of a continuous law a straight line is nearer than a step
    steps: Any = ("step-before" if s.upper else "step-after") if len(s.tail) <= WHOLE else "linear"
    area = base.mark_area(color=style.BLUE, opacity=0.2, interpolate=steps, clip=True)
    line = base.mark_line(color=style.BLUE, interpolate=steps, clip=True)
    return [
        area.encode(x=x, y=low, y2="high:Q"),
        line.encode(x=x, y=y),
        base.mark_point(size=40, opacity=0).encode(x=x, y=y, tooltip=tips),
    ]


def _marks(s: Shown, span: Span, tall: Span, x: Any, y: Any) -> list[Any]:
    """VaR as a point at one path in a hundred; ES, which lies beyond, as a line down from there."""
    import altair as alt
    import pandas as pd

    made: list[Any] = []
    if math.isfinite(s.es.value):
        rows = pd.DataFrame({"value": [s.es.value], "share": [0.01], "floor": [tall.low]})
        rule = alt.Chart(rows).mark_rule(color=style.INK, strokeDash=_DASHED, strokeWidth=1.6)
        made.append(rule.encode(x=x, y=y, y2="floor:Q"))
        # on the side where the curve is not
        left = span.place(s.es.value) > 0.35 if s.upper else span.place(s.es.value) > 0.75
        foot = rows.assign(share=tall.low * 1.45)
        made += _text(
            foot, s.names[1], style.INK, x, y, "right" if left else "left", -6 if left else 6, 0
        )
    if math.isfinite(s.var.value):
        rows = pd.DataFrame({"value": [s.var.value], "share": [0.01]})
        point = alt.Chart(rows).mark_point(size=80, filled=True, color=style.VERMILLION, opacity=1)
        made.append(point.encode(x=x, y=y))
        left = span.place(s.var.value) > 0.45
        below = left == s.upper  # a falling curve has room below its left and above its right
        how = ("right", -9) if left else ("left", 9)
        made += _text(rows, s.names[0], _RUST, x, y, how[0], how[1], 9 if below else -9)
    return made
