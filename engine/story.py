"""The story of a path: the months that mattered, in words and numbers.

What counts is in the table of ``watches``. A system that has no watch is told by what it declares: its switches and
counters.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from .replay import Replayed
from .watches import (
    PHASES,
    REGIMES,
    WATCHES,
    WINDOWS,
    Array,
    Look,
    Watch,
    clause,
    counted,
    figure,
    hourly,
    money,
    moves,
    percent,
    state,
    yearly,
)


@dataclass(frozen=True)
class Event:
    """Something that happened in a month (0: before the first): in which system, in words; the variable that says
    so, and its value after that month."""

    month: int
    system: str
    text: str
    variable: str
    value: float


_SWITCHES = ("0 or 1", "count")  # units of outputs that tell a system without a watch
_WATCHED = {w.variable.partition(".")[0] for w in WATCHES}


def story(replayed: Replayed) -> list[Event]:
    """What happened on a path, by month and then in the order of flow; months with nothing are left out.

    The first event, of month 0, says how the path starts, the last how it ends; their system is "start" and "end".
    """
    systems = list(replayed.economy.systems)
    found: list[tuple[int, int, Event]] = []
    for watch, variable, name in _watched(replayed):
        series = _with_start(replayed, variable, watch.neutral)
        for month in (np.flatnonzero(watch.when(series)) + 1).tolist():
            if text := watch.say(Look(replayed, month, series, name)):
                system = variable.partition(".")[0]
                event = Event(month, system, text, variable, float(series[month]))
                found.append((month, systems.index(system), event))
    found.sort(key=lambda f: f[:2])
    return [_opening(replayed), *(event for _, _, event in found), _closing(replayed)]


def _watched(replayed: Replayed) -> Iterator[tuple[Watch, str, str]]:
    """Each watch with each variable that it fits, and what its star stands for."""
    numbers = [k for k, v in replayed.values.items() if v.ndim == 1]
    for watch in WATCHES:
        head, star, _ = watch.variable.partition("*")
        for variable in fnmatch.filter(numbers, watch.variable):
            yield watch, variable, variable.removeprefix(head) if star else ""
    for variable, output in replayed.economy.reported.items():
        told = variable.partition(".")[0] in _WATCHED
        if not told and output.unit in _SWITCHES and variable in numbers:
            say = partial(_switched, output.doc or variable)
            yield Watch(variable, moves, say, neutral=0.0), variable, ""


def _switched(doc: str, c: Look) -> str:
    return f"{doc}: {figure(c.before)} to {figure(c.now)}"


def _with_start(replayed: Replayed, variable: str, neutral: float) -> Array:
    first = float(replayed.start.get(variable, neutral))
    return np.concatenate([[first], replayed.values[variable].astype(np.float64)])


def _opening(replayed: Replayed) -> Event:
    c = Look(replayed, 1, np.zeros(2))
    parts = [
        clause("revenue {}", c("revenue.rate0"), of=yearly),
        f"growth {state(REGIMES, c('revenue.regime', 1))}"
        if "revenue.regime" in replayed.start
        else "",
        clause("{} GW of AI power installed", c("compute.installed", 1)),
        clause("H100 {}", c("rental.hopper_start"), of=hourly),
        clause("private credit {}", c("private_credit.lent_start"), of=money),
        f"funding {state(WINDOWS, c('funding.window', 1))}"
        if "funding.window" in replayed.start
        else "",
    ]
    return Event(0, "start", _joined(parts, "it starts"), "revenue.rate0", c("revenue.rate0"))


def _closing(replayed: Replayed) -> Event:
    c = Look(replayed, replayed.months, np.zeros(replayed.months + 1))
    lost = c("private_credit.loss")
    parts = [
        clause("revenue {}", c("revenue.rate"), of=yearly),
        clause("H100 {}", c("rental.hopper"), of=hourly),
        clause("private credit lost {}", lost, of=money)
        + clause(" ({})", c("private_credit.loss_share"), of=percent),
        clause("all holders lost {}", c("holders.loss"), of=money),
        f"{counted(n, 'firm')} in default" if (n := c("firms.bankrupt")) == n else "",
        state(PHASES, c("cycle.phase")) if "cycle.phase" in replayed.values else "",
    ]
    known = [(k, v) for k, v in replayed.metrics.items() if k.partition(".")[0] not in _WATCHED]
    parts += [f"{k} {figure(v, replayed.units[k])}" for k, v in known[:5]]
    return Event(replayed.months, "end", _joined(parts, "it ends"), "private_credit.loss", lost)


def _joined(parts: list[str], otherwise: str) -> str:
    return ", ".join(p for p in parts if p) or otherwise
