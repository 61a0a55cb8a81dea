"""Tables for the terminal: results, scenarios, backends. 100 columns at most."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..kernels import backends
from ..kernels.backends import native
from ..kernels.passes import optimize
from ..kernels.trace import trace
from .result import Result
from .sanity import Finding
from .scenario import Scenario

WIDTH = 100
COLUMNS = ("mean", "se", "p05", "p50", "p95", "p99", "es99")
# what a newcomer looks at by year; only those that a scenario has are shown
BY_YEAR = (
    "revenue.rate",
    "compute.tightness",
    "rental.hopper",
    "rental.blackwell",
    "private_credit.loss",
)

GRID: dict[str, Any] = {"box": None, "pad_edge": False, "padding": (0, 2, 0, 0)}
_PLAIN: dict[str, Any] = {
    "title_justify": "left",
    "title_style": "",
    "box": None,
    "pad_edge": False,
}


def console() -> Console:
    wide = Console()
    return Console(width=min(wide.width, WIDTH) if wide.is_terminal else WIDTH, emoji=False)


def number(x: float, figures: int = 4) -> str:
    """Three or four significant figures, without an exponent where none is needed."""
    if not math.isfinite(x):
        return "-"
    if x == 0:
        return "0"
    size = math.floor(math.log10(abs(x)))
    if size >= 5 or size < -4:
        return f"{x:.2g}".replace("e+0", "e").replace("e-0", "e-")
    digits = max(min(figures, 4 if size >= 0 else 3) - 1 - size, 0)
    text = f"{x:,.{min(digits, 4 if figures > 2 else 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def print_result(result: Result, title: str, out: str | None) -> None:
    """The by-year table, the metrics, and a line that says how it was run."""
    screen = console()
    screen.print(title or result.name, highlight=False, markup=False, style="bold")
    shown = [v for v in BY_YEAR if v in result.series_names] or list(result.series_names[:5])
    years = list(range(12, result.months + 1, 12)) or [result.months]
    if shown and result.record is not None:
        screen.print("\nby month: median, and from 5 % to 95 %", highlight=False)
        screen.print(_by_year(result, shown, years[:10]))
    screen.print("\nafter the last month", highlight=False)
    screen.print(_metrics(result))
    screen.print()
    for line in _how(result):
        screen.print(line, highlight=False, style="dim", markup=False)
    if out is not None:
        screen.print(f"written to {out}", highlight=False, style="dim", markup=False)


def _by_year(result: Result, variables: list[str], months: list[int]) -> Table:
    table = Table(**_PLAIN)
    table.add_column("variable", no_wrap=True)
    for month in months:
        table.add_column(f"{month}", justify="right")
    for name in variables:
        rows = result.series_rows(name)
        cells = []
        for month in months:
            r = rows[month - 1]
            cells.append(f"{number(r['p50'])}\n[dim]{_short(r['p05'])}..{_short(r['p95'])}[/]")
        table.add_row(f"{name}\n[dim]{escape(result.units[name])}[/]", *cells)
    return table


def _short(x: float) -> str:
    return f"{x:.3g}" if abs(x) < 1000 else f"{x:,.0f}"


def _metrics(result: Result) -> Table:
    table = Table(**_PLAIN)
    table.add_column("metric", no_wrap=True)
    table.add_column("unit", no_wrap=True, max_width=10, overflow="ellipsis", style="dim")
    for name in COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for name, values in result.metrics.items():
        cells = [number(values[c], 2 if c == "se" else 4) for c in COLUMNS]
        table.add_row(name, escape(result.units[name]), *cells)
    return table


def _how(result: Result) -> list[str]:
    simulate = result.seconds.get("simulate", 0.0)
    rate = result.path_count / simulate if simulate else math.nan
    phases = ", ".join(f"{k} {v:.2f}" for k, v in result.seconds.items())
    lines = [
        f"{result.path_count:,} paths, {result.months} months, seed {result.seed}, {result.backend} "
        f"{result.dtype}, {rate:,.0f} paths/s",
        f"seconds: {phases}; digest {result.digest[:16]}",
    ]
    if result.passed_over:
        lines += [f"passed over {why}" for why in result.passed_over]
    return lines


def print_scenario(scenario: Scenario) -> None:
    """What a checked scenario holds."""
    economy = scenario.economy
    screen = console()
    screen.print(f"{scenario.name}: sound", highlight=False, markup=False, style="bold")
    screen.print(scenario.title, highlight=False, markup=False)
    screen.print(
        f"{scenario.months} months from {scenario.as_of}; systems {', '.join(economy.systems)}; "
        f"{len(economy.reals)} parameters, {len(economy.metrics)} metrics",
        highlight=False,
    )


def print_sanity(findings: list[Finding], paths: int, seed: int) -> None:
    """A row for each figure of the sanity list: what it is, what it should be, and whether it is."""
    screen = console()
    table = Table(**_PLAIN)
    table.add_column("figure after five years", no_wrap=True)
    table.add_column("world", no_wrap=True)
    for name in ("is", "from", "to"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("unit", style="dim", no_wrap=True)
    table.add_column("", no_wrap=True)
    for f in findings:
        c = f.check
        verdict = "in range" if f.holds else "[bold]OUT OF RANGE[/]"
        table.add_row(
            c.title, c.scenario, number(f.value, 3), f"{c.low:g}", f"{c.high:g}", c.unit, verdict
        )
    screen.print(table)
    out = sum(not f.holds for f in findings)
    screen.print(
        f"\n{len(findings) - out} of {len(findings)} in range; {paths:,} paths for each world, seed {seed}; "
        "docs/calibration.md says what was fitted",
        highlight=False,
        style="dim",
    )


def print_backends(scenario: Scenario) -> None:
    """A row for each backend: whether it works here, and what auto would take."""
    chosen, _ = backends.choose()
    screen = console()
    table = Table(box=None, pad_edge=False)
    for name in ("backend", "here", "what was found", escape(f"kernel of {scenario.name}")):
        table.add_column(name, no_wrap=name in ("backend", "here"))
    for name in backends.NAMES:
        found = backends.status(name)
        mark = "[green]yes[/]" if found.works else "[red]no[/]"
        if name == chosen:
            mark += " (auto)"
        table.add_row(name, mark, escape(found.why), _kernel_state(name, found.works, scenario))
    screen.print(table)


def _kernel_state(name: str, works: bool, scenario: Scenario) -> str:
    if not works:
        return "-"
    if name == "native":
        program = optimize(trace(scenario.economy, float64=False))
        return (
            "compiled" if native.is_cached(program, "float32") else "compiled on first use (2-5 s)"
        )
    return "none needed" if name == "numpy" else "compiled on first use"
