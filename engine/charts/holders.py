"""Who bears the loss: the holders, their mean loss and from 5 to 95 %, and what it is of their capital."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..validate import ConfigError
from . import style, words
from .axes import Span
from .fan_view import nothing
from .figure import Figure

if TYPE_CHECKING:
    import pandas as pd

    from ..result import Result

PREFIX = "holders.loss_"


def holders(result: Result) -> Figure:
    """Loss by holder after the last month. Raises ConfigError where the scenario has no holders."""
    names = [m.removeprefix(PREFIX) for m in result.statistics.names if m.startswith(PREFIX)]
    if not names:
        raise ConfigError([f"holders: {result.name} has no system holders, so no holder's loss"])
    table = _table(result, names)
    end = words.spoken(words.as_of(result), result.months)
    lost = table[table["mean"] > 0.0]
    return Figure(
        name="holders",
        title="Who bears the loss?",
        caption=_caption(lost, end),
        source=words.source([result]),
        data=table.rename(columns=_COLUMNS),
        chart=_chart(table, result.units.get(PREFIX + names[0], "USD bn")),
    )


_COLUMNS = {
    "mean": "mean, USD bn",
    "low": "mean, low 95 %, USD bn",
    "high": "mean, high 95 %, USD bn",
    "p05": "5 %, USD bn",
    "p95": "95 %, USD bn",
    "es99": "ES 99 %, USD bn",
    "capital": "capital, USD bn",
    "of_capital": "mean, share of capital",
    "p95_of_capital": "95 %, share of capital",
}


def _table(result: Result, names: list[str]) -> pd.DataFrame:
    """A row a holder, the largest mean first."""
    import pandas as pd

    capital = _capital(result)
    rows = []
    for name in names:
        metric = PREFIX + name
        mean = result.estimate(metric)
        p05, p95, es99 = (result.estimate(f"{metric}.{f}").value for f in ("p05", "p95", "es99"))
        own = capital.get(name, math.nan)
        own = own if own > 0.0 else math.nan
        rows.append(
            (
                name,
                mean.value,
                mean.low,
                mean.high,
                p05,
                p95,
                es99,
                own,
                mean.value / own,
                p95 / own,
            )
        )
    table = pd.DataFrame(rows, columns=["holder", *_COLUMNS])
    return table.sort_values(["mean", "holder"], ascending=[False, True], ignore_index=True)


def _capital(result: Result) -> dict[str, float]:
    """By holder, USD bn; nothing where the run came from Python without a config."""
    try:
        system = result.scenario.economy.systems.get("holders")
    except ConfigError:
        return {}
    return {h.name: float(h.capital) for h in getattr(system, "holder", ())}


def _chart(table: pd.DataFrame, unit: str) -> Any:
    import altair as alt

    drawn = table.assign(zero=0.0, name=[n.replace("_", " ") for n in table["holder"]])
    drawn["text"] = [_text(r) for r in drawn.itertuples()]
    reach = table[["mean", "p05", "p95"]]
    span = Span.of(reach, zero=True)
    x = alt.X("mean:Q", scale=span.scale(), axis=span.axis(f"loss, {unit}"))
    y = alt.Y("name:N", sort=None, axis=alt.Axis(title=None, grid=False))
    tips: list[Any] = [alt.Tooltip("name:N", title="holder")]
    tips += [alt.Tooltip(f"{c}:Q", format=",.3~g") for c in ("mean", "p05", "p95", "es99")]
    tips += [alt.Tooltip("of_capital:Q", format=".2~%", title="mean, share of capital")]
    base = alt.Chart(drawn.astype(object).where(drawn.notna(), None)).encode(y=y)
    low, end = x.copy(), x.copy()
    low.shorthand, end.shorthand = "p05:Q", "p95:Q"
    layers: list[Any] = [
        base.mark_bar(color=style.SKY, height={"band": 0.62}).encode(
            x=x, x2="zero:Q", tooltip=tips
        ),
        base.mark_rule(strokeWidth=2, color=style.INK).encode(x=low, x2="p95:Q"),
        base.mark_tick(thickness=2, size=12, color=style.INK).encode(x=low),
        base.mark_tick(thickness=2, size=12, color=style.INK).encode(x=end),
        *_said(drawn, y),
    ]
    if not (table["p95"].abs() > 0).any() and not (table["mean"].abs() > 0).any():
        layers.append(nothing(drawn.head(1)[["zero"]], "no losses on any path"))
    return alt.layer(*layers).properties(height=34 * len(table) + 20)


def _said(drawn: pd.DataFrame, y: Any) -> list[Any]:
    """At the right: the mean, and below it what it is of the holder's capital where that is known."""
    import altair as alt

    known = drawn["of_capital"].notna()
    made = []
    for rows, dy in ((drawn[known], -6), (drawn[~known], 0)):
        if len(rows):
            mark = alt.Chart(rows[["name", "text"]]).mark_text(
                align="left", dx=12, dy=dy, lineBreak="\n", fontSize=11.5
            )
            made.append(mark.encode(x=alt.value("width"), y=y, text="text:N"))
    return made


def _text(r: Any) -> str:
    of = words.probability(r.of_capital, 2)
    return f"{words.written(r.mean)} on average" + (
        f"\n{of} of capital" if math.isfinite(r.of_capital) else ""
    )


def _caption(lost: pd.DataFrame, end: str) -> str:
    if not len(lost):
        return f"No holder has lost anything by {end}, on any path."
    parts = []
    rows: list[Any] = list(lost.head(2).itertuples())
    for r in rows:
        of = (
            f", {words.probability(float(r.of_capital))} of their capital ({words.probability(float(r.p95_of_capital))} at 95 %)"
            if math.isfinite(float(r.of_capital))
            else ""
        )
        parts.append(
            f"{str(r.holder).replace('_', ' ')} {words.written(float(r.mean))} USD bn on average "
            f"({words.written(float(r.p05))} to {words.written(float(r.p95))}, 5 to 95 % of paths){of}"
        )
    return f"Most is lost, by {end}, by {'; then by '.join(parts)}. Bars: means; lines: 5 to 95 %; capital where it is known."
