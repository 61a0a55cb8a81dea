"""The answer first: what was run in a sentence, what came out in a few, headline numbers, and limits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from ..charts.words import as_of, probability, spoken
from ..tables import allowed
from ..watches import named
from .parts import Card, Row, Table, table
from .words import counted, listed, said, unit_of

if TYPE_CHECKING:
    from ..result import Result

HEADLINES = (
    ("Expected loss of private credit", "private_credit.loss", "mean over all paths"),
    ("Loss of private credit in the worst 1 % of paths", "private_credit.loss.es99", "their mean: expected shortfall, ES 99 %"),
    ("Expected loss of all holders", "holders.loss", "mean over all paths"),
    ("Chance of a systemic loss", "holders.systemic", "a holder loses more of its capital than the system bears"),
    ("Chance of a bust", "cycle.bust", "rental prices halve, or funding shuts amid losses"),
    ("Firms in default", "firms.bankrupt", "mean number"),
    ("AI revenue, median", "revenue.rate.p50", "collected, annual rate"),
    ("H100 rental, median", "rental.hopper.p50", "on demand"),
)  # fmt: skip
"""Label, quantity, and what it means."""


def what_was_run(r: Result) -> str:
    """One sentence: how many paths of what, from when to when."""
    start = as_of(r)
    span = f"from {spoken(start, 1)} to {spoken(start, r.months)}" if start else "ahead"
    head = f"{counted(r.path_count, 'path')} of the scenario “{r.name}”"
    verb = "was" if r.path_count == 1 else "were"
    return f"{head} {verb} simulated over {counted(r.months, 'month')} {span}, seed {r.seed}, on {r.backend} in {r.dtype}."


def headlines(r: Result) -> list[Card]:
    """Eight numbers with intervals; of an economy without them its first metrics."""
    names = r.statistics.names
    wanted = [(label, q, note) for label, q, note in HEADLINES if _metric(q) in names]
    if len(wanted) < 4:
        told = {_metric(q) for _, q, _ in wanted}
        wanted += [(m, m, r.docs.get(m, "")) for m in names if m not in told][: 8 - len(wanted)]
    when = spoken(as_of(r), r.months)
    cards = []
    for label, quantity, note in wanted:
        e = r.estimate(quantity)
        told_ = said(e, unit_of(r.units.get(_metric(quantity), "")))
        text = f"{note[:1].upper()}{note[1:]}. By {when}." if note else f"By {when}."
        cards.append(Card(label, told_.value, told_.unit, told_.interval, text))
    return cards


def _metric(quantity: str) -> str:
    head, _, last = quantity.rpartition(".")
    return head if last in ("es99", "p50") else quantity


# ---- in a few sentences
def answers(r: Result) -> list[str]:
    """What the run says, most important first; none of an economy that it does not know."""
    names = r.statistics.names
    when = spoken(as_of(r), r.months)
    if r.path_count - r.bad_count < 2:
        return [
            "With a single path there is nothing to say of chances; what happens on it is told below."
        ]
    told = []
    if "private_credit.loss" in names:
        told.append(_credit(r))
    if "cycle.bust" in names:
        told.append(_bust(r, when))
    if "revenue.rate" in names:
        told.append(_spread(r, "revenue.rate", f"AI revenue in {when}"))
    if "firms.bankrupt" in names and (firms := _firms(r)):
        told.append(firms)
    breached = [v for v in r.limits if v.breached]
    if r.limits:
        told.insert(
            0,
            f"{len(breached)} of {counted(len(r.limits), 'limit')} {'is' if len(breached) == 1 else 'are'} breached."
            if breached
            else f"No limit is breached ({len(r.limits)} judged).",
        )
    return [" ".join(told)] if told else []


def _credit(r: Result) -> str:
    unit = unit_of(r.units.get("private_credit.loss", ""))
    mean, worst = (r.estimate(q).value for q in ("private_credit.loss", "private_credit.loss.es99"))
    text = f"Private credit loses {unit.say(mean)} on average"
    if "private_credit.loss_share" in r.statistics.names:
        text += f" ({probability(r.estimate('private_credit.loss_share').value)} of what was lent)"
    if not mean:
        return "Private credit loses nothing on any path."
    return f"{text}, and {unit.say(worst)} on average in the worst 1 % of paths."


def _bust(r: Result, when: str) -> str:
    share = r.estimate("cycle.bust").value
    if not share:
        return f"On no path the build-out ends in a bust by {when}."
    return f"The build-out ends in a bust by {when} on {probability(share)} of the paths."


def _spread(r: Result, name: str, what: str) -> str:
    unit = unit_of(r.units.get(name, ""))
    low, middle, high = (r.estimate(f"{name}.{p}").value for p in ("p05", "p50", "p95"))
    if not math.isfinite(middle):
        return ""
    return f"{what} has a median of {unit.say(middle)}; nine paths in ten lie between {unit.bare(low)} and {unit.bare(high)}."


def _firms(r: Result) -> str:
    head = "firms.defaulted_"
    shares = {
        n.removeprefix(head): r.estimate(n).value for n in r.statistics.names if n.startswith(head)
    }
    worst = sorted(((p, n) for n, p in shares.items() if p > 0.0), reverse=True)[:3]
    if not shares:
        return ""
    if not worst:
        return "No firm defaults on any path."
    return f"Most often in default: {listed([f'{named(n)} ({probability(p)})' for p, n in worst])}."


# ---- limits
def limits_table(r: Result) -> Table:
    """Each limit of the config: what is estimated, what is allowed, and whether it is kept."""
    rows = []
    for v in r.limits:
        quantity = v.limit.quantity
        name = (
            "probability"
            if quantity.functional.kind == "probability"
            else r.units.get(quantity.metric, "")
        )
        found = said(v.estimate, unit_of(name))
        verdict = ("breached" if v.breached else "kept") + (
            "" if v.told_apart else ", but not told apart from the limit"
        )
        rows.append(
            (v.limit.name, quantity.text, str(found), found.interval, allowed(v.limit), verdict)
        )
    head = ["limit", "of", "estimate", "interval", "allowed", "verdict"]
    made = table(pd.DataFrame(rows, columns=head), "Limits", "limits")
    made.table.rows = [
        Row(x.cells, v.breached) for x, v in zip(made.table.rows, r.limits, strict=True)
    ]
    return made
