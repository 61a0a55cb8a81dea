"""The sections of one run's report, in the order in which a reader asks: the answer, the charts, how it was made."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..charts.figure import Figure
from ..charts.words import NOUNS, as_of, spoken
from ..validate import ConfigError
from .answer import answers, headlines, limits_table, what_was_run
from .how import again, how_rows
from .page import Page
from .parts import Cards, Event, Part, Section, Stories, Story, Text, table
from .words import counted
from .worlds import worlds

if TYPE_CHECKING:
    import pandas as pd

    from ..evidence.gather import Evidence
    from ..result import Result

Draw = Callable[[], Figure]


def single(
    result: Result, evidence: Evidence, day: str, quick: bool, tell: Callable[[str], None]
) -> Page:
    """The report of a run. Charts are not drawn yet."""
    tell("the two worlds of revenue")
    sections = [
        _short(result),
        _claims(evidence),
        _revenue(result, quick),
        _compute(result),
        *_losses(result, evidence),
        _cycle(result, evidence),
        _sensitivity(result, evidence),
        _stories(evidence),
        _stress(evidence),
        _data(result, evidence),
        _how(result),
    ]
    return Page(
        kind="run report",
        title=_title(result),
        what=what_was_run(result),
        made=f"Made on {day}. Every chart gives its data as CSV. Nothing here is a forecast: these are the "
        "consequences of stated assumptions.",
        sections=[s for s in sections if s.parts or s.lead],
        footer=f"overbuilt, run digest {result.digest[:16]}. This page holds all that it shows and loads nothing.",
        warnings=_warnings(result),
    )


def _title(result: Result) -> str:
    told = str((result.config or {}).get("title") or result.name)
    head = told.partition(": ")[2] or told if told.startswith(f"{result.name}: ") else told
    return f"{result.name}: {head}" if head != result.name else result.name


def _warnings(result: Result) -> list[str]:
    found = []
    if result.failure:
        found.append(f"This run failed: {result.failure}. Its figures should not be used.")
    if result.status == "stopped" and result.stop:
        found.append(
            f"This run was stopped by {result.stop['why']} before it reached what was asked for."
        )
    if result.is_part:
        found.append("This is a part of a run: a range of its paths.")
    if result.path_count < 1000:
        found.append(
            f"Only {counted(result.path_count, 'path')}: intervals are wide or open, and tails say little."
        )
    if result.bad_count:
        found.append(
            f"{counted(result.bad_count, 'path')} had a value that is not finite and are left out."
        )
    return found


# ---- helpers
def tried(draw: Draw, what: str) -> Part:
    """The figure, or a line that says why there is none."""
    try:
        return draw()
    except ConfigError as error:
        return left_out(what, "; ".join(error.problems))


def drawn(
    evidence: Evidence, name: str, what: str, draw: Callable[[pd.DataFrame, str], Figure]
) -> Part:
    """The figure of a table of evidence, or a line that says why there is none."""
    found = getattr(evidence, name)
    if found is None or not len(found):
        return left_out(what, evidence.left_out.get(name, "nothing was found"))
    return tried(lambda: draw(found, evidence.used.get(name, "")), what)


def left_out(what: str, why: str) -> Text:
    """A line in place of what is missing."""
    return Text(f"{what}: not shown ({why.strip().rstrip('.')}).", "gap")


def spelt(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The table with firms as they write themselves."""
    from ..watches import named

    def spell(name: object) -> str:
        return str(name) if str(name).startswith("outside ") else named(str(name))

    return frame.assign(**{c: [spell(x) for x in frame[c]] for c in columns})


def has(result: Result, *names: str) -> bool:
    return any(n in result.series_names or n in result.statistics.names for n in names)


def prose(metric: str) -> str:
    """A metric in a sentence."""
    return NOUNS.get(metric, metric)


# ---- sections
def _short(result: Result) -> Section:
    parts: list[Part] = [Cards(headlines(result))]
    if result.limits:
        parts.append(limits_table(result))
    return Section("short", "In short", parts, answers(result), breaks=False)


def _claims(e: Evidence) -> Section:
    from ..charts.claims import forest

    lead = [
        "The two sides of the dispute make claims that can be true or false on a path. Each mark is the share of paths on which a claim holds."
    ]
    return Section("claims", "Which claims hold", [drawn(e, "claims", "Claims", forest)], lead)


def _revenue(result: Result, quick: bool) -> Section:
    from ..charts.fan import fan

    if not has(result, "revenue.rate"):
        return Section("revenue", "AI revenue", [Text("This economy has no AI revenue.", "gap")])
    parts: list[Part] = [tried(lambda: fan(result, "revenue.rate", log=True), "Revenue")]
    found = worlds(result, quick)
    if len(found) == 2:
        both = tried(
            lambda: fan(found[0], "revenue.rate", log=True, others=found[1:]),
            "Exponential against linear",
        )
        parts.append(
            _renamed(
                both, "revenue_worlds", "What if revenue surely is exponential, or surely linear?"
            )
        )
    return Section("revenue", "AI revenue", parts)


def _renamed(part: Part, name: str, title: str) -> Part:
    from dataclasses import replace

    return replace(part, name=name, title=title) if isinstance(part, Figure) else part


def _compute(result: Result) -> Section:
    from ..charts.fan import fan, fans

    if not has(result, "rental.hopper", "compute.tightness", "compute.gap"):
        gap: list[Part] = [Text("This economy has no market for compute.", "gap")]
        return Section("compute", "GPU prices and power", gap)
    parts = [
        tried(lambda v=v: fan(result, v), v)  # type: ignore[misc]
        for v in ("rental.hopper", "rental.blackwell")
        if has(result, v)
    ]
    later = [v for v in ("rental.rubin", "rental.next") if v in result.series_names]
    if later:
        parts.append(tried(lambda: fans(result, later), "Later generations"))
    parts += [
        tried(lambda v=v: fan(result, v), v)  # type: ignore[misc]
        for v in ("compute.tightness", "compute.gap")
        if has(result, v)
    ]
    return Section("compute", "GPU prices and power", parts)


def _losses(result: Result, e: Evidence) -> list[Section]:
    """Of the book, of firms, of who is tied to them, of collateral, of securities, and who bears them."""
    from ..charts.fire_sale import rounds, sales
    from ..charts.holders import holders
    from ..charts.loss import loss
    from ..charts.network import network
    from ..charts.survival import survival
    from ..charts.tranches import tranches

    metric = "private_credit.loss" if has(result, "private_credit.loss") else ""
    book: Part = (
        tried(lambda: loss(result, metric), "Loss distribution")
        if metric
        else Text("This economy has no private-credit book.", "gap")
    )
    return [
        Section("credit", "Losses of private credit", [book]),
        Section(
            "firms",
            "Which firms survive",
            [
                drawn(
                    e,
                    "survival",
                    "Survival of the firms",
                    lambda t, s: survival(spelt(t, "firm"), s),
                )
            ],
        ),
        Section(
            "network",
            "Who owes whom",
            [
                drawn(
                    e,
                    "flows",
                    "Payments between firms",
                    lambda t, s: network(spelt(t, "payer", "payee"), s),
                )
            ],
        ),
        Section(
            "sales",
            "Fire sales of pledged GPUs",
            [
                drawn(e, "rounds", "Rounds of fire sales", rounds),
                drawn(e, "sales", "GPUs sold", sales),
            ],
        ),
        Section(
            "tranches",
            "Securities and their ratings",
            [tried(lambda: tranches(result), "ABS tranches")],
        ),
        Section(
            "holders", "Who bears the loss", [tried(lambda: holders(result), "Losses by holder")]
        ),
    ]


def _cycle(result: Result, e: Evidence) -> Section:
    from ..charts.fan import fan
    from ..charts.phases import phases

    parts = [drawn(e, "phases", "Phase of the cycle", phases)]
    if has(result, "macro.gdp"):
        parts.append(tried(lambda: fan(result, "macro.gdp"), "GDP"))
    return Section("cycle", "The cycle and the economy", parts)


def _sensitivity(result: Result, e: Evidence) -> Section:
    from ..charts.tornado import tornado

    lead = [
        "Each bar moves one assumption and leaves all draws as they are, so differences are of the assumption alone."
    ]
    unit = result.units.get(e.metric, "")
    part = drawn(e, "tornado", "Sensitivities", lambda t, s: tornado(t, prose(e.metric), unit, s))
    return Section(
        "sensitivity", "Which assumptions matter", [part], lead if isinstance(part, Figure) else []
    )


def _stories(e: Evidence) -> Section:
    if e.stories is None or e.stories.empty:
        why = e.left_out.get("stories", "nothing was found")
        return Section("stories", "Two paths told", [left_out("Stories", why)])
    told = [
        Story(
            f"{'The worst path' if str(which).startswith('worst') else 'A median path'} by {prose(e.metric)}",
            f"Path {int(rows['path'].iloc[0]):,}, month by month.",
            [
                Event(_when(d, m), str(t))
                for d, m, t in zip(rows["date"], rows["month"], rows["text"], strict=True)
            ],
        )
        for which, rows in e.stories.groupby("which", sort=False)
    ]
    lead = [
        "The worst path and a median one, as the model's own log tells them. Any path can be told: overbuilt replay."
    ]
    more = table(e.stories, "Both stories as a table", "stories", folded=True)
    return Section("stories", "Two paths told", [Stories(told), more], lead)


def _when(date: Any, month: Any) -> str:
    text = str(date)
    return (
        f"{spoken(text[:7], 0)}, month {int(month)}"
        if len(text) >= 7 and text[4] == "-"
        else f"month {int(month)}"
    )


def _stress(e: Evidence) -> Section:
    from ..charts.stress import stress

    part = drawn(e, "stress", "Stress scenarios", stress)
    lead = ["Each stress happens for certain, all else as in the run. Scenarios share their draws."]
    return Section(
        "stress", "Stress scenarios side by side", [part], lead if isinstance(part, Figure) else []
    )


def _data(result: Result, e: Evidence) -> Section:
    parts: list[Part] = []
    for name, title in (
        ("facts", "Facts"),
        ("assumptions", "Values of this run, and what each rests on"),
    ):
        found = getattr(e, name)
        if found is None or found.empty:
            parts.append(left_out(title, e.left_out.get(name, "none")))
            continue
        parts.append(
            table(
                found,
                f"{title} ({len(found):,})",
                name,
                folded=True,
                prints=name == "facts",
                most=1500,
            )
        )
    lead = [_basis(e)] if e.assumptions is not None else []
    start = as_of(result)
    if start:
        lead.append(f"The data are as of {spoken(start, 0)}.")
    return Section("data", "Data and assumptions", parts, lead)


def _basis(e: Evidence) -> str:
    found = e.assumptions
    assert found is not None
    n = len(found)
    facts = int((found["basis"].astype(str) == "fact").sum())
    if not n:
        return "This run has no parameters."
    share = f"{counted(facts, 'value')} rest on a published fact, {n - facts:,} are assumptions"
    return f"Of the {counted(n, 'value')} that this run takes, {share}; each is named with its source below."


def _how(result: Result) -> Section:
    import pandas as pd

    rows = pd.DataFrame(how_rows(result), columns=["what", "value"])
    facts = table(rows, "", "how_it_was_computed", label="How it was computed")
    facts.table.style = "how"
    parts: list[Part] = [facts, again(result)]
    if result.folder is not None:
        parts.append(Text(f"The run is stored in {result.folder}; overbuilt verify checks it."))
    metrics = _metrics(result)
    parts.append(
        table(metrics, f"All {len(metrics):,} metrics after the last month", "metrics", folded=True)
    )
    return Section("how", "How it was computed", parts)


def _metrics(result: Result) -> pd.DataFrame:
    frame = result.summary().reset_index()
    frame.insert(2, "what", [result.docs.get(m, "") for m in frame["metric"]])
    numbers = [c for c in frame.columns if frame[c].dtype.kind == "f"]
    return frame[["metric", "unit", "what", *numbers]]
