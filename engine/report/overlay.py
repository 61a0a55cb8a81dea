"""Two runs' distributions of a metric in one chart: how likely is so much or more?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..charts import style, words
from ..charts.figure import Figure
from ..charts.loss import exceedance

if TYPE_CHECKING:
    import pandas as pd

    from ..result import Result

FROM = "share of paths"


def exceedances(results: Sequence[Result], metric: str) -> Figure:
    """The share of paths that reach a value or go beyond it, a line for each run, on a log axis.

    Of what is bad when low the share that falls to it or below.
    """
    import altair as alt
    import pandas as pd

    upper = not metric.startswith(words.LOW_IS_BAD)
    unit = words.unit_of(results[0], metric)
    names = [words.label_of(r, results) for r in results]
    if len(set(names)) < len(names):
        names = [f"{n} ({'AB'[k]})" for k, n in enumerate(names)]
    looks = style.scenario_style(names)
    parts = []
    for r, name in zip(results, names, strict=True):
        rows = exceedance(r.statistics.metric(metric), upper)
        rows[["value"]] *= unit.factor
        parts.append(rows.assign(run=name))
    table = pd.concat(parts, ignore_index=True)
    table["percent"] = 100.0 * table["share"]
    way = "or more" if upper else "or less"
    x = alt.X(
        "value:Q",
        axis=alt.Axis(title=unit.title, format=words.tick(table["value"])),
        scale=alt.Scale(nice=False),
    )
    y = alt.Y(
        "percent:Q",
        axis=alt.Axis(
            title=f"% of paths with so much {way}",
            format="~g",
            values=[10.0**k for k in range(2, -8, -1)],
        ),
        scale=alt.Scale(type="log"),
    )
    by_name = {name: table[table["run"] == name] for name in names}
    layers: list[Any] = [
        alt.Chart(rows)
        .mark_line(color=looks[name].colour, strokeDash=looks[name].dash, interpolate="step-before" if upper else "step-after")
        .encode(
            x=x, y=y,
            tooltip=[
                alt.Tooltip("run:N"), alt.Tooltip("value:Q", title=unit.title, format=",.4~g"),
                alt.Tooltip("percent:Q", title="% of paths", format=".3~g"),
            ],
        )
        for name, rows in by_name.items()
    ]  # fmt: skip
    layers += _labels(by_name, looks, x, y, upper)
    return Figure(
        name=words.stem("beyond", metric),
        title=f"{_what(results[0], metric)}: how likely is so much {way}?",
        caption=_caption(results, names, metric, unit, upper),
        source=words.source(results),
        data=_for_people(table, unit),
        chart=alt.layer(*layers).properties(height=300),
        toggle="y",
    )


def _what(result: Result, metric: str) -> str:
    known = {
        "private_credit.loss": "Losses of private credit",
        "holders.loss": "Losses of all holders",
    }
    doc = result.docs.get(metric, "") or metric
    return known.get(metric, f"{doc[:1].upper()}{doc[1:]}")


def _labels(
    by_name: dict[str, pd.DataFrame], looks: dict[str, style.Look], x: Any, y: Any, upper: bool
) -> list[Any]:
    """Each run's name where its line has come to about one path in three, on the side away from the other line."""
    import altair as alt

    at = {
        name: rows.iloc[[int((rows["share"] - 0.3).abs().to_numpy().argmin())]]
        for name, rows in by_name.items()
        if len(rows)
    }
    order = sorted(at, key=lambda name: float(at[name]["value"].iloc[0]))
    found = []
    for name, row in at.items():
        right = name == order[-1]
        below = right != upper
        mark = alt.Chart(row).mark_text(
            align="left" if right else "right", dx=8 if right else -8, dy=9 if below else -9,
            fontWeight=600, color=looks[name].text,
        )  # fmt: skip
        found.append(mark.encode(x=x, y=y, text=alt.value(name)))
    return found


def _caption(
    results: Sequence[Result], names: Sequence[str], metric: str, unit: words.Unit, upper: bool
) -> str:
    end = "99" if upper else "01"
    told = []
    for r, name in zip(results, names, strict=True):
        mean, var = (r.estimate(f"{metric}{q}").value for q in ("", f".p{end}"))
        told.append(
            f"{name}: mean {unit.say(mean)}, VaR {'99' if upper else '1'} % {unit.say(var)}"
        )
    return f"{'; '.join(told)}. Lines: share of the paths, on a log axis."


def _for_people(table: pd.DataFrame, unit: words.Unit) -> pd.DataFrame:
    name = f"value ({unit.title})" if unit.title else "value"
    made = table.rename(columns={"value": name, "low": "low (95 %)", "high": "high (95 %)"})
    return made[["run", name, "share", "low (95 %)", "high (95 %)"]].rename(
        columns={"share": "share of paths beyond"}
    )
