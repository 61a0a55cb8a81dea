"""A metric that is one of a few states: on how many paths each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..proportions import wilson
from . import style, words
from .axes import Span
from .figure import Figure

if TYPE_CHECKING:
    import pandas as pd

    from ..result import Result


def states(result: Result, metric: str) -> Figure:
    """The share of paths that end in each state, with its 95 % interval."""
    import altair as alt

    table = _table(result, metric)
    drawn = table.assign(text=[words.probability(s) for s in table["share"]])
    span = Span(0.0, min(1.14 * max(float(drawn["high"].max()), 0.05), 1.14))
    x = alt.X("share:Q", scale=span.scale(), axis=span.axis("share of paths", True))
    y = alt.Y("state:N", sort=None, axis=alt.Axis(title=None, grid=False))
    tips = [alt.Tooltip("state:N")]
    tips += [alt.Tooltip(f"{c}:Q", format=".3~%") for c in ("share", "low", "high")]
    base = alt.Chart(drawn.assign(zero=0.0)).encode(y=y)
    chart: Any = alt.layer(
        base.mark_bar(color=style.BLUE, opacity=0.75, height={"band": 0.6}).encode(
            x=x, x2="zero:Q", tooltip=tips
        ),
        base.mark_rule(strokeWidth=1.5, color=style.INK).encode(x=_at("low", x), x2="high:Q"),
        base.mark_text(align="left", dx=6, fontWeight=600).encode(x=_at("high", x), text="text:N"),
    ).properties(height=44 * len(table) + 10)
    rows: list[Any] = list(table.itertuples())
    told = ", ".join(
        f"{r.state} {words.probability(r.share)} ({words.probability(r.low)} to {words.probability(r.high)})"
        for r in rows
    )
    doc = result.docs.get(metric, metric)
    end = words.spoken(words.as_of(result), result.months)
    return Figure(
        name=words.stem("states", metric),
        title=words.QUESTIONS.get(metric, f"{doc[:1].upper()}{doc[1:]}: how often?"),
        caption=f"By {end}: {told}; in brackets and as lines, 95 % intervals (Wilson).",
        source=words.source([result]),
        data=table.rename(
            columns={"share": "share of paths", "low": "low 95 %", "high": "high 95 %"}
        ),
        chart=chart,
    )


def _at(field: str, x: Any) -> Any:
    made = x.copy()
    made.shorthand = f"{field}:Q"
    return made


def _table(result: Result, metric: str) -> pd.DataFrame:
    import pandas as pd

    found = result.statistics.metric(metric)
    named = words.states_of(result.units[metric])
    n = found.count
    seen = {
        float(v): int(c) for v, c in zip(found.histogram.least, found.histogram.count, strict=True)
    }
    rows = []
    for value in sorted({*map(float, named), *seen}):
        k = seen.get(value, 0)
        low, high = wilson(k, n)
        name = named.get(int(value), f"{value:g}") if value == int(value) else f"{value:g}"
        rows.append((metric, name, k / n if n else 0.0, low, high))
    return pd.DataFrame(rows, columns=["metric", "state", "share", "low", "high"])
