"""Tranches beside their ratings: how often each is written down, against the default rate that its rating promises."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..validate import ConfigError
from . import style, words
from .axes import Span
from .figure import Figure

if TYPE_CHECKING:
    import pandas as pd

    from ..result import Result

HIT = 1e-6
"""Of its notional: below it a tranche lost nothing, as in the system structured."""
FIVE_YEARS = 60


def tranches(result: Result) -> Figure:
    """The share of paths that write each tranche down, beside the five-year default rate of its rating.

    Raises ConfigError where the scenario has no tranches, or the run came from Python without a config.
    """
    system = result.scenario.economy.systems.get("structured")
    known = [
        t for t in getattr(system, "tranche", ()) if _metric(t.name) in result.statistics.names
    ]
    if not known:
        raise ConfigError([f"tranches: {result.name} has no tranches of asset-backed securities"])
    table = _table(result, known)
    end = words.spoken(words.as_of(result), result.months)
    return Figure(
        name="tranches",
        title="Do the tranches keep what their ratings promise?",
        caption=_caption(result, table, end),
        source=f"{words.source([result])}; promised default rates: configs, S&P transitions 1981-2016"
        if _promised_by_sp(known)
        else words.source([result]),
        data=table.rename(columns=_COLUMNS),
        chart=_chart(table, result),
    )


_COLUMNS = {
    "hit": "share of paths with a write-down",
    "low": "low 95 %",
    "high": "high 95 %",
    "promised": "promised by the rating, five years",
    "expected": "expected write-down, share of notional",
    "expected_low": "expected, low 95 %",
    "expected_high": "expected, high 95 %",
}


def _spaced(name: object) -> str:
    return str(name).replace("_", " ")


def _metric(tranche: str) -> str:
    return f"structured.writedown_{tranche}"


def _promised_by_sp(known: list[Any]) -> bool:
    return any("sp_transition_1981_2016" in t.source for t in known)


def _table(result: Result, known: list[Any]) -> pd.DataFrame:
    """A row a tranche, the most senior of each pool first."""
    import pandas as pd

    pools = list(dict.fromkeys(t.pool for t in known))
    order = sorted(known, key=lambda t: (pools.index(t.pool), -float(t.attach)))
    rows = []
    for t in order:
        hit = result.estimate(f"{_metric(t.name)} > {HIT!r}")
        mean = result.estimate(_metric(t.name))
        promised = float(t.promised) if float(t.promised) > 0.0 else math.nan
        rows.append(
            (t.pool, t.name, str(t.rating), float(t.attach), float(t.detach), hit.value, hit.low, hit.high,
             promised, mean.value, mean.low, mean.high)
        )  # fmt: skip
    columns = ["pool", "tranche", "rating", "attach", "detach", *_COLUMNS]
    return pd.DataFrame(rows, columns=columns)


def _chart(table: pd.DataFrame, result: Result) -> Any:
    import altair as alt

    drawn = table.copy()
    drawn["label"] = [f"{_spaced(r.tranche)} · {r.rating}" for r in table.itertuples()]
    drawn["text"] = [_text(r) for r in table.itertuples()]
    # the scale ends a decade below the smallest rate; a rate of 0 has its interval alone
    rates = table[["hit", "high", "promised"]].to_numpy(float)
    rates = rates[(rates > 0.0)]
    floor = max(min([*rates, 0.01]) / 2.0, 0.3 / max(result.path_count, 1), 1e-9)
    span = Span(floor, 1.0, True)
    drawn["low"] = drawn["low"].clip(lower=floor)
    drawn["seen"] = drawn["hit"].where(drawn["hit"] > 0.0)
    axis = span.axis("probability (log axis)", True)
    axis.values = [10.0**-k for k in range(10) if 10.0**-k >= floor]
    x = alt.X("seen:Q", scale=span.scale(), axis=axis)
    y = alt.Y("label:N", sort=None, axis=alt.Axis(title=None, grid=True, gridDash=[1, 2]))
    base = alt.Chart(drawn.astype(object).where(drawn.notna(), None)).encode(y=y)
    tips: list[Any] = [alt.Tooltip("tranche:N"), alt.Tooltip("rating:N"), alt.Tooltip("pool:N")]
    tips += [
        alt.Tooltip(f"{c}:Q", title=_COLUMNS[c], format=".3~%")
        for c in ("hit", "low", "high", "promised", "expected")
    ]
    low, promised = x.copy(), x.copy()
    low.shorthand, promised.shorthand = "low:Q", "promised:Q"
    return alt.layer(
        base.mark_rule(strokeWidth=1.4, color=style.FAINT, strokeDash=[2, 2]).encode(x=x, x2="promised:Q"),
        base.mark_rule(strokeWidth=5, color=style.BLUE, opacity=0.35).encode(x=low, x2="high:Q"),
        base.mark_point(size=110, shape="diamond", filled=False, color=style.INK, strokeWidth=2, opacity=1)
        .encode(x=promised, tooltip=tips),
        base.mark_point(size=110, filled=True, color=style.BLUE, opacity=1).encode(x=x, tooltip=tips),
        *_named(drawn, x, promised, y),
        base.mark_text(align="left", dx=14, dy=-6, lineBreak="\n", fontSize=11.5).encode(x=alt.value("width"), text="text:N"),
    ).properties(height=34 * len(table) + 20)  # fmt: skip


def _named(drawn: pd.DataFrame, seen: Any, promised: Any, y: Any) -> list[Any]:
    """What the marks are, written over the first row that has both, clear of each other."""
    import altair as alt

    both = drawn[drawn["promised"].notna() & drawn["seen"].notna()].head(1)
    if not len(both):
        return []
    more = bool(both["seen"].iloc[0] > both["promised"].iloc[0])
    sides: Any = ("right", "left") if more else ("left", "right")
    base = alt.Chart(both).encode(y=y)
    return [
        base.mark_text(align=side, dy=-13, dx=6 if side == "right" else -6, color=colour, fontWeight=600)
        .encode(x=x, text=alt.value(text))
        for x, side, text, colour in (
            (promised, sides[0], "promised", style.INK),
            (seen, sides[1], "simulated", style.BLUE),
        )
    ]  # fmt: skip


def _text(r: Any) -> str:
    """Beside a row: how many times its promise, and what is lost of it on average."""
    lost = f"loses {words.probability(r.expected, 2)}"
    if not math.isfinite(r.promised):
        return f"unrated\n{lost}"
    if r.hit == 0.0:
        return f"never hit\n{lost}"
    return f"{words.written(r.hit / r.promised, 2)} x its promise\n{lost}"


def _caption(result: Result, table: pd.DataFrame, end: str) -> str:
    rated = table[table["promised"].notna()]
    above = rated[rated["low"] > rated["promised"]]
    said = f"Of {len(rated)} rated tranches {len(above)} {'is' if len(above) == 1 else 'are'} written down more often than promised"
    if len(rated):
        worst = rated.iloc[int(np.argmax(rated["hit"] / rated["promised"]))]
        said += (
            f"; furthest off is {_spaced(worst['tranche'])} ({worst['rating']}), written down on "
            f"{words.probability(worst['hit'])} of paths (95 % interval {words.probability(worst['low'])} to "
            f"{words.probability(worst['high'])}), promised {words.probability(worst['promised'])}, "
            f"with {words.probability(worst['expected'])} of it lost on average"
        )
    horizon = (
        ""
        if result.months == FIVE_YEARS
        else f" The promise is for five years, the run ends in {end}."
    )
    return f"{said}. Dots: share of paths with a write-down, with its interval; diamonds: the rating's five-year default rate; right: what a tranche loses on average.{horizon}"
