"""The tables of an attribution for the terminal: groups of streams by their share of the variance."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .attribution import Attribution, Share, Split
from .claims_table import share
from .tables import GRID, console, number

BAR = 20  # characters of the whole variance
STREAMS = 30
SMALL = 0.005
"""Groups whose total effect is surely below this share a line."""
IDLE = 0.01


def print_attribution(result: Attribution, screen: Console | None = None) -> None:
    """A table for each quantity, ranked by total effect, and what follows from it."""
    screen = screen or console()
    for split in result.splits:
        screen.print(_title(split), highlight=False, markup=False, style="bold")
        if math.isnan(split.firsts.value):
            screen.print("does not vary: there is nothing to attribute\n", highlight=False)
            continue
        screen.print(_table(split))
        for line in _closing(split):
            screen.print(line, highlight=False, markup=False)
        screen.print()
    for line in _legend(result):
        screen.print(line, highlight=False, markup=False, style="dim")


def _title(split: Split) -> str:
    q, n = split.quantity, max(split.paths, 1)
    unit = "" if split.unit == "1" else f" {split.unit}"
    spread = f"sd by path {number(split.sd)}{unit}, " if q.functional.kind == "mean" else ""
    error = number(split.sd / math.sqrt(n), 2)
    return f"{q.text}: {spread}standard error {error}{unit} with {n:,} paths"


def _table(split: Split) -> Table:
    table = Table(**GRID)
    table.add_column("group of streams", no_wrap=True)
    table.add_column("alone S, %", justify="right", no_wrap=True)
    table.add_column("in all T, %", justify="right", no_wrap=True)
    table.add_column("", width=BAR, no_wrap=True)
    table.add_column("streams", width=STREAMS, no_wrap=True, overflow="ellipsis", style="dim")
    small = [s for s in split.shares if s.total.high < SMALL]
    for s in split.shares:
        if s not in small:
            table.add_row(
                escape(s.group.name),
                share(s.first.value, (s.first.low, s.first.high)),
                share(s.total.value, (s.total.low, s.total.high)),
                bar(s),
                escape(short(s.group.streams)),
            )
    if small:
        names = ", ".join(s.group.name for s in small)
        table.add_row(
            "[dim]the rest[/]", f"<{100 * SMALL:g}", f"<{100 * SMALL:g}", "", escape(names)
        )
    table.add_section()
    e = split.interaction
    table.add_row("[dim]together only[/]", share(e.value, (e.low, e.high)), "", "", "1 - sum of S")
    return table


def bar(s: Share) -> str:
    """S in full, what T adds to it shaded; the whole variance is ``BAR`` characters long."""
    alone, all_ = (round(BAR * min(max(x, 0.0), 1.0)) for x in (s.first.value, s.total.value))
    return "█" * alone + "░" * (all_ - alone)


def short(streams: Sequence[str]) -> str:
    """``revenue.start, revenue.regime`` as ``revenue: start, regime``."""
    by_system: dict[str, list[str]] = {}
    for s in streams:
        system, _, name = s.partition(".")
        by_system.setdefault(system, []).append(name)
    return "; ".join(f"{system}: {', '.join(names)}" for system, names in by_system.items())


def _closing(split: Split) -> list[str]:
    """What to do with it: where the most variance is, and what working on it can save."""
    top = split.shares[0]
    meaning = f" ({top.group.meaning})" if top.group.meaning else ""
    s, t = (100.0 * min(max(x.value, 0.0), 1.0) for x in (top.first, top.total))
    lines = [
        f"Most variance is in {top.group.name}{meaning}. Paths saved at the same error: {s:.0f} % if these "
        f"draws are spread evenly (strata, a control variate), {t:.0f} % if each path averages over them."
    ]
    idle = sum(x.total.high < IDLE for x in split.shares)
    if idle:
        groups = "1 group has" if idle == 1 else f"{idle} groups have"
        lines.append(
            f"{groups} less than {100 * IDLE:g} % in all: more draws of such narrow nothing."
        )
    return lines


def _legend(result: Attribution) -> list[str]:
    lines = [
        "S: variance that goes when the group is known first (full bar). T: when it is known last, with all that it "
        "acts in together with others (shaded). ±: half of the 95 % interval; < and >: its bound.",
    ]
    if result.bad:
        lines.append(
            f"{result.bad:,} of {result.path_count:,} paths had a non-finite state and are left out."
        )
    seconds = ", ".join(f"{k} {v:.2f}" for k, v in result.seconds.items())
    lines.append(
        f"{result.path_count:,} paths in {result.runs} runs, {result.months} months, seed {result.seed}, "
        f"{result.backend} {result.dtype}; seconds: {seconds}"
    )
    lines += [f"passed over {why}" for why in result.passed_over]
    return lines
