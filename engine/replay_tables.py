"""What replay prints: the story of a path, its variables by month, where two backends part, the worst paths."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .agreement import Agreement, Difference
from .replay import Ranked, Replayed
from .story import Event
from .tables import GRID, console, number

FIRST = 10
"""How many of the variables that part are listed."""

_WIDEST = 16  # characters of a column of values


def print_story(replayed: Replayed, events: list[Event], screen: Console | None = None) -> None:
    """A line an event: month, calendar month, system, and what happened with its numbers."""
    screen = screen or console()
    table = Table(**GRID)
    table.add_column("month", justify="right", no_wrap=True)
    if replayed.as_of:
        table.add_column("", no_wrap=True)
    table.add_column("system", no_wrap=True, style="dim")
    table.add_column("what happened")
    last = -1
    for e in events:
        when = ["", ""] if e.month == last else [f"{e.month}", replayed.date(e.month)]
        last = e.month
        table.add_row(*when[: 1 + bool(replayed.as_of)], e.system, escape(e.text))
    screen.print(_title(replayed), highlight=False, markup=False, style="bold")
    screen.print(table)
    screen.print()
    for line in how(replayed):
        screen.print(line, highlight=False, markup=False, style="dim")


def _title(r: Replayed) -> str:
    return f"{r.name}, path {r.path:,} of seed {r.seed}"


def how(r: Replayed) -> list[str]:
    """How the path was computed, and how far that can be trusted."""
    seconds = ", ".join(f"{k} {v:.2f}" for k, v in r.seconds.items())
    lines = [
        f"{len(r.values)} variables, {r.months} months, {r.backend} {r.dtype}; seconds: {seconds}"
    ]
    metric, by = r.rounding
    if metric:
        lines.append(
            f"recording is rounded a little otherwise than a run: metrics differ by up to {by:.1e} ({metric})"
        )
    else:
        lines.append("metrics equal those of a run, to the byte")
    if r.left_out:
        lines.append(f"not shown, as it is written over within the month: {', '.join(r.left_out)}")
    if r.bad_month:
        lines.append(
            f"from month {r.bad_month} the state is not finite: a run sets this path aside"
        )
    return lines + [f"passed over {why}" for why in r.passed_over]


def print_shown(replayed: Replayed, patterns: tuple[str, ...]) -> None:
    """Variables by month, as many side by side as fit; month 0 is the start, which only states have."""
    screen = console()
    columns = replayed.shown(patterns)
    screen.print(_title(replayed), highlight=False, markup=False, style="bold")
    group: dict[str, Any] = {}
    for name, values in columns.items():
        if group and _width(replayed, [*group, name]) > screen.width:
            screen.print(_months(replayed, group))
            group = {}
        group[name] = values
    screen.print(_months(replayed, group))
    for line in how(replayed):
        screen.print(line, highlight=False, markup=False, style="dim")


def _width(r: Replayed, names: list[str]) -> int:
    return sum(2 + max([len(part) for part in _head(r, n)] + [10]) for n in names) + 16


def _head(r: Replayed, name: str) -> list[str]:
    """The lines over a column: system, variable, unit where it is declared."""
    system, _, rest = name.partition(".")
    unit = r.units.get(name.partition("[")[0], "")
    return [system, rest, unit if len(unit) <= _WIDEST else unit[: _WIDEST - 3] + "..."]


def _months(r: Replayed, columns: dict[str, Any]) -> Table:
    table = Table(**GRID)
    table.add_column("\n\nmonth", justify="right", no_wrap=True)
    if r.as_of:
        table.add_column("", no_wrap=True)
    for name in columns:
        system, rest, unit = map(escape, _head(r, name))
        table.add_column(f"[dim]{system}[/]\n{rest}\n[dim]{unit}[/]", justify="right", no_wrap=True)
    for month in range(r.months + 1):
        when = [f"{month}", r.date(month)][: 1 + bool(r.as_of)]
        table.add_row(*when, *(_cell(values[month]) for values in columns.values()))
    return table


def _cell(x: Any) -> str:
    return f"{int(x)}" if isinstance(x, np.integer) else number(float(x), 5)


def print_agreement(a: Replayed, b: Replayed, found: Agreement) -> None:
    """The first month and variable in which two replays of a path part, those that follow, and the largest."""
    screen = console()
    sides = [f"{r.backend} {r.dtype}" for r in (a, b)]
    screen.print(
        f"{_title(a)}: {sides[0]} against {sides[1]}", highlight=False, markup=False, style="bold"
    )
    screen.print(
        f"{found.variables} variables, {found.months} months; tolerance {found.tolerance:.0e} of a variable's size, "
        "none for decisions",
        highlight=False, markup=False, style="dim",
    )  # fmt: skip
    if found.holds:
        screen.print("they agree", style="green")
    else:
        first = found.parted[0]
        screen.print(
            f"they part in month {first.month} ({first.variable})",
            highlight=False,
            markup=False,
            style="red",
        )
        screen.print(_parted(a, found.parted[:FIRST], sides))
        more = len(found.parted) - FIRST
        tail = f"; {more} more variables part later or after these" if more > 0 else ""
        screen.print(
            f"{found.beyond:,} pairs of variable and month beyond the tolerance, {len(found.flips)} variables in "
            f"which a decision flips{tail}",
            highlight=False, markup=False,
        )  # fmt: skip
    if found.largest is not None:
        d = found.largest
        screen.print(
            f"largest difference {d.scaled:.2g} of its size: {d.variable} in month {d.month}, {d.a:.9g} and {d.b:.9g}",
            highlight=False, markup=False,
        )  # fmt: skip
    if not found.holds and "float32" in (a.dtype, b.dtype):
        screen.print(
            "in float32 what is the difference of large sums may part by rounding alone; --dtype float64 tells",
            highlight=False, markup=False, style="dim",
        )  # fmt: skip


def _parted(r: Replayed, parted: list[Difference], sides: list[str]) -> Table:
    table = Table(**GRID)
    table.add_column("month", justify="right", no_wrap=True)
    table.add_column("variable", no_wrap=True, max_width=42, overflow="ellipsis")
    for side in sides:
        table.add_column(side, justify="right", no_wrap=True)
    table.add_column("differ by", justify="right", no_wrap=True)
    for d in parted:
        by = "flipped" if d.decision else f"{d.scaled:.1e}"
        table.add_row(f"{d.month}", escape(d.variable), f"{d.a:.9g}", f"{d.b:.9g}", by)
    return table


def print_ranks(ranked: list[Ranked], replayed: list[Replayed], unit: str, where: str) -> None:
    """The worst paths of a run: what the run kept of each, and what the replay says."""
    screen = console()
    table = Table(**GRID)
    for name in ("rank", "path", f"{ranked[0].metric}, {unit}", "replayed"):
        table.add_column(escape(name), justify="right", no_wrap=True)
    for rank, r in zip(ranked, replayed, strict=True):
        again = r.kernel_metrics[rank.metric]
        same = "the same" if again == rank.value else f"{again:.9g}"
        table.add_row(f"{rank.rank}", f"{rank.path:,}", f"{rank.value:.9g}", same)
    screen.print(where, highlight=False, markup=False, style="bold")
    screen.print(table)
    screen.print()
