"""What a stop rule found, for the terminal: each target, how near it is, and what it would take."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from .tables import GRID, number

if TYPE_CHECKING:
    from .stop import Look


def stop_table(stop: dict[str, Any]) -> Group:
    """Of StopOutcome.as_json(), or of what a stored run kept of it: a row for each target, and why it ended."""
    table = Table(**GRID)
    table.add_column("target", max_width=44, overflow="fold")
    for name in ("estimate", "reached", "wanted", "held", "needs about"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in stop["targets"]:
        held = "yes" if row["held"] else "[bold]no[/]"
        cells = [number(_float(row["value"])), _arm(row["half"]), _arm(row["wanted"])]
        table.add_row(escape(row["target"]), *cells, held, _needs(row))
        if row["note"]:
            table.add_row(f"[dim]{escape(row['note'])}[/]")
    return Group(table, *(Text(line, "dim") for line in _legend(stop)))


def _float(x: float | None) -> float:
    return math.nan if x is None else x


def _arm(x: float | None) -> str:
    if x is None:
        return "-"
    return f"±{number(x, 3)}" if x >= 0.01 or x == 0.0 else f"±{x:.3g}"


def _needs(row: dict[str, Any]) -> str:
    if row["held"]:
        return ""
    if row["needed_paths"] is None:
        return "unknown"
    return f"{count(row['needed_paths'])} paths, {duration(row['seconds_left'])} more"


def _legend(stop: dict[str, Any]) -> list[str]:
    lines = [
        f"{stop['why']} after {stop['paths']:,} paths; ±: the longer arm of the interval, widened for the looks so "
        f"that all hold together with {100 * stop['level']:g} % confidence"
    ]
    if not stop["reproducible"]:
        lines.append("the clock ended the run: another one may have more paths or fewer")
    if stop["bad_paths"]:
        lines.append(
            f"{stop['bad_paths']:,} paths had a non-finite state and are left out: the intervals are of the others"
        )
    return lines


def look_line(look: Look) -> str:
    """How near a run is, in a line for the progress bar."""
    open_ = [r for r in look.rows if not r.held]
    if not open_:
        return "all targets hold"
    worst = max(open_, key=lambda r: r.estimate.half / r.wanted if r.wanted > 0 else math.inf)
    if worst.note:
        return f"{worst.target.quantity.text}: {worst.note}"
    near = f"{worst.target.quantity.text} {_arm(_finite(worst.estimate.half))} of {_arm(_finite(worst.wanted))}"
    if look.paths_needed is None or look.seconds_left is None:
        return near
    return f"{near}; about {count(look.paths_needed)} paths, {duration(look.seconds_left)} left"


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


def count(paths: int) -> str:
    """Paths to two figures: 65k, 1.2M, 3.4bn."""
    for size, unit in ((1e12, "tn"), (1e9, "bn"), (1e6, "M"), (1e3, "k")):
        if paths >= 0.9995 * size:
            x = paths / size
            return f"{x:.0f}{unit}" if x >= 9.95 else f"{x:.1f}{unit}"
    return str(paths)


def duration(seconds: float) -> str:
    """A time to about two figures: 40 s, 12 min, 3 h 20 min, 5 days."""
    if seconds < 100.0:
        return f"{max(math.ceil(seconds), 1)} s"
    minutes = round(seconds / 60.0)
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    days = minutes / 1440.0
    return f"{days:,.0f} days"
