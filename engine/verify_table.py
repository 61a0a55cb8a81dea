"""What verify prints: each backend beside the reference, its worst variables, and what is wrong."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .rounding import Row
from .tables import GRID, console, number
from .verify import REFERENCE, Checked, Verification
from .verify_run import RunVerification

SHOWN = 6
"""Variables of a backend that are listed unless all are asked for."""
_FLIPS = 3


def print_verification(found: Verification, replayed: str, everything: bool = False) -> None:
    """Backends, their variables, and the problems; ``replayed`` is the scenario as the command line names it."""
    screen = console()
    title = f"{found.name}: {found.paths:,} paths of {found.months} months, seed {found.seed}, {found.dtype}"
    screen.print(
        f"{title}, beside {' '.join(REFERENCE)}", highlight=False, markup=False, style="bold"
    )
    screen.print()
    screen.print(_backends(found, screen.width < 90))
    for c in found.checked:
        if c.rows:
            screen.print()
            screen.print(_variables(c, found, everything))
    screen.print()
    print_problems(screen, found.lines())
    for c in found.checked:
        for f in c.flips[:_FLIPS] if c.ok else []:
            _plainly(
                screen, f"flipped on {c.backend}: {f.variable} is {f.value:g}, not {f.reference:g}, on path {f.path} in "
                f"month {f.month}",
            )  # fmt: skip
        if c.replay:
            line = f"to see one: overbuilt replay {replayed} {c.replay}"
            screen.print(line, highlight=False, markup=False, soft_wrap=True)
    for line in _legend(found):
        _plainly(screen, line)


def print_problems(screen: Console, lines: list[str]) -> None:
    """What is wrong, a line each."""
    for line in lines:
        screen.print(line, highlight=False, markup=False, style="red", soft_wrap=True)


def _plainly(screen: Console, line: str, style: str = "dim") -> None:
    screen.print(line, highlight=False, markup=False, style=style)


def size(x: float) -> str:
    """A difference in two figures."""
    if not math.isfinite(x):
        return "-" if math.isnan(x) else "inf"
    return f"{x:.1e}".replace("e-0", "e-").replace("e+0", "e").replace(".0e", "e") if x else "0"


def _backends(found: Verification, narrow: bool) -> Table:
    line = "\n" if narrow else " "
    table = Table(**GRID)
    table.add_column("backend", no_wrap=True)
    for name in (
        "operations",
        "paths",
        f"> {size(found.allowed.tolerance)} off",
        "flipped",
        "largest",
        f"median{line}path",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    reference = [
        f"{REFERENCE[0]} (reference)",
        _operations(found.reference),
        f"{found.paths:,}",
        "",
        "",
        "",
    ]
    rounding = f"{size(found.yardstick)}" if math.isfinite(found.yardstick) else ""
    table.add_row(*reference, rounding and f"{rounding}{line}in {found.dtype}", "")
    for c in found.checked:
        verdict = "agrees" if c.ok else "[bold red]DIFFERS[/]"
        if not c.rows:
            table.add_row(
                c.backend, _operations(c.probe), "", "", "", "", "", "[bold red]NOT RUN[/]"
            )
            continue
        row: list[Any] = [
            c.backend,
            _operations(c.probe),
            f"{c.paths:,}",
            f"{c.blurred:,}",
            f"{c.flipped:,}",
        ]
        table.add_row(*row, size(c.rows[0].largest), size(c.typical), verdict)
    return table


def _operations(probe: Any) -> str:
    broken = len(probe.faults)
    return f"{broken} broken" if broken else f"{len(probe.tried)} right"


def _variables(c: Checked, found: Verification, everything: bool) -> Table:
    rows = c.rows if everything else c.rows[:SHOWN]
    table = Table(**GRID)
    table.add_column(
        f"{c.backend}: worst variables" if rows is not c.rows else f"{c.backend}: variables",
        no_wrap=True,
    )
    for name in ("largest", "path", "month", c.backend, REFERENCE[0], "> tol.", "flips"):
        table.add_column(name, justify="right", no_wrap=True)
    for r in rows:
        table.add_row(escape(r.variable), *_cells(r, found))
    return table


def _cells(r: Row, found: Verification) -> list[str]:
    if r.path < 0:
        return ["0", "", "", "", "", "", f"{r.flips or ''}"]
    largest = size(r.largest)
    if r.largest > found.allowed.tolerance:
        largest = f"[bold]{largest}[/]"
    at = [f"{r.path}", f"{r.month}", _digits(r.value, r.reference), _digits(r.reference, r.value)]
    return [largest, *at, f"{r.beyond or ''}", f"{r.flips or ''}"]


def _digits(x: float, other: float) -> str:
    """A value in as many figures as tell it from the other one."""
    if not (math.isfinite(x) and math.isfinite(other)):
        return number(x) if math.isfinite(x) else str(x)
    scale = max(abs(x), abs(other))
    figures = (
        4 if x == other else min(max(2 - math.floor(math.log10(abs(x - other) / scale)), 4), 12)
    )
    return f"{x:.{figures}g}"


def _legend(found: Verification) -> list[str]:
    a = found.allowed
    blurred, flipped = (f"{100 * x:g} % may" if x else "none may" for x in (a.blurred, a.flipped))
    lines = [
        f"> {size(a.tolerance)} off: paths with a variable so far off, of its size or its mean size ({blurred})",
        f"flipped: paths where a decision fell the other way ({flipped}); what follows is not compared",
    ]
    if math.isfinite(found.yardstick):
        lines.append(
            f"median path: its largest difference; rounding alone does what NumPy has ({a.typical:g} times that may)"
        )
    if all(c.ok for c in found.checked):
        lines.append("bytes are the same for other batches, another start, and one path alone")
    seconds = "; ".join(
        f"{c.backend} " + ", ".join(f"{k} {v:.2f}" for k, v in c.seconds.items())
        for c in found.checked
        if c.seconds
    )
    return [*lines, f"{found.seconds:.1f} s in all; seconds: {seconds}"]


# ---- a stored run
def print_run_verification(found: RunVerification, everything: bool = False) -> None:
    """What was checked of a stored run, what is wrong, and what was written down."""
    screen = console()
    run = found.run
    how = (
        f": {run.name}, {run.path_count:,} paths of {run.months} months, seed {run.seed}, {run.backend} {run.dtype}"
        if run is not None
        else ""
    )
    screen.print(f"{found.folder}{how}", highlight=False, markup=False, style="bold")
    if found.sampled:
        _plainly(
            screen, f"computed again: {found.sampled:,} random paths (--seed {found.sample_seed}), and the "
            f"{found.worst:,} worst by one metric or another",
        )  # fmt: skip
    screen.print()
    table = Table(**GRID)
    for name in ("check", "", "of what"):
        table.add_column(name, no_wrap=name == "check")
    for c in found.checks:
        state = "[dim]skipped[/]" if c.skipped else "holds" if c.ok else "[bold red]FAILS[/]"
        table.add_row(escape(c.name), state, escape(c.skipped or c.what))
    screen.print(table)
    if found.rows:
        screen.print()
        screen.print(_metrics(found, everything))
    screen.print()
    print_problems(screen, found.lines())
    verdict = "holds" if found.ok else "DOES NOT HOLD"
    _plainly(
        screen, f"the run {verdict}; written to verification.json: {found.signed['sha256'][:16]}, of manifest "
        f"{found.signed['manifest_sha256'][:16]}; {found.seconds:.1f} s",
    )  # fmt: skip


def _metrics(found: RunVerification, everything: bool) -> Table:
    rows = found.rows if everything else found.rows[:SHOWN]
    table = Table(**GRID)
    table.add_column("metric, the worst first", no_wrap=True)
    for name in ("on", "largest", "path", "stored", "computed", "> tol.", "flips"):
        table.add_column(name, justify="right", no_wrap=True)
    for r in rows:
        cells = [
            size(r.largest),
            f"{r.path}",
            _digits(r.value, r.reference),
            _digits(r.reference, r.value),
        ]
        shown = cells if r.path >= 0 else ["0", "", "", ""]
        table.add_row(
            escape(r.variable), r.backend, *shown, f"{r.beyond or ''}", f"{r.flips or ''}"
        )
    return table
