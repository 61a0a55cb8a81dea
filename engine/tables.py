"""Tables for the terminal: results, scenarios, backends. 100 columns at most."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..kernels import backends
from ..kernels.backends import native
from ..kernels.passes import optimize
from ..kernels.trace import trace
from .limits import Limit, Verdict, limits_of
from .path_ranges import told
from .plain_text import make_plain
from .result import Result
from .sanity import Finding
from .scenario import Scenario
from .sparkline import sparkline
from .table_fit import fitted, screen_width
from .validate import visible

WIDTH = 100
SPARK = 15
"""Cells of a line over time: of five years, four months each."""
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


class Screen(Console):
    """A console that obeys no control character of what it prints: names and titles come from files.

    Tables are made to fit: see table_fit.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(fitted(o, self.width) for o in objects), **options)


def console(stderr: bool = False) -> Screen:
    """Standard output, or standard error, as a screen: as wide as the terminal, WIDTH at most."""
    make_plain(sys.stderr if stderr else sys.stdout)
    found = Console(stderr=stderr)
    return Screen(stderr=stderr, width=screen_width(found, WIDTH), emoji=False)


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


def print_result(
    result: Result,
    title: str,
    out: str | None = None,
    statistics: Sequence[str] = COLUMNS,
    intervals: bool = False,
) -> None:
    """The by-year table, the metrics, and lines that say how it was run, and whether it has settled."""
    screen = console()
    screen.print(title or result.name, highlight=False, markup=False, style="bold")
    shown = [v for v in BY_YEAR if v in result.series_names] or list(result.series_names[:5])
    years = list(range(12, result.months + 1, 12)) or [result.months]
    if shown and result.by_month:
        screen.print("\nby month: median, and from 5 % to 95 %", highlight=False)
        screen.print(_by_year(result, shown, years[:10]))
    screen.print("\nafter the last month", highlight=False)
    screen.print(_metrics(result, statistics, intervals))
    if result.probabilities:
        screen.print("\nprobabilities", highlight=False)
        screen.print(_probabilities(result))
    if result.limits:
        screen.print("\nlimits", highlight=False)
        screen.print(limits_table(result.limits, result.units))
    if result.stop and result.stop["targets"]:
        from .stop_table import stop_table

        screen.print()
        screen.print(stop_table(result.stop))
    screen.print()
    for line in [*_settled(result), *_how(result)]:
        screen.print(line, highlight=False, style="dim", markup=False)
    if out is not None:
        # a path is there to be copied: never broken over lines
        screen.print(
            f"written to {out}", highlight=False, style="dim", markup=False, soft_wrap=True
        )


def _probabilities(result: Result) -> Table:
    table = Table(**_PLAIN)
    for name in ("event", "probability", "from", "to", "how"):
        table.add_column(
            name, justify="left" if name in ("event", "how") else "right", no_wrap=True
        )
    for text, e in result.probabilities.items():
        table.add_row(escape(text), number(e.value), number(e.low), number(e.high), e.how)
    return table


def limits_table(verdicts: Sequence[Verdict], units: Mapping[str, str]) -> Table:
    """A row for each limit: what is estimated, what is allowed, and whether it is."""
    table = Table(**_PLAIN)
    table.add_column("limit", max_width=36, overflow="fold")
    table.add_column("unit", no_wrap=True, max_width=10, overflow="ellipsis", style="dim")
    for name in ("estimate", "from", "to", "allowed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for v in verdicts:
        limit, e = v.limit, v.estimate
        text = limit.quantity.text
        name = escape(limit.name) + (f"\n[dim]{escape(text)}[/]" if text != limit.name else "")
        unit = (
            "" if limit.quantity.functional.kind == "probability" else units[limit.quantity.metric]
        )
        said = "[bold]BREACHED[/]" if v.breached else "kept"
        said += "" if v.told_apart else "\n[dim]not told apart[/]"
        cells = [number(x) for x in (e.value, e.low, e.high)]
        table.add_row(name, escape(unit), *cells, allowed(limit), said)
    return table


def allowed(limit: Limit) -> str:
    """``up to 40``, ``3 to 40``, ``from 3``."""
    if not math.isfinite(limit.low):
        return f"up to {number(limit.high)}"
    if not math.isfinite(limit.high):
        return f"from {number(limit.low)}"
    return f"{number(limit.low)} to {number(limit.high)}"


def _settled(result: Result) -> list[str]:
    """Even blocks against odd ones, in a line; more where they differ by more than noise."""
    from .convergence import ALARM, limit

    found = result.drifts
    if not found:
        return []
    bound = limit(len(found))
    over = [d for d in found if abs(d.z) > bound]
    if not over:
        return [
            f"even and odd blocks agree: {len(found)} statistics differ by {abs(found[0].z):.1f} standard errors "
            f"at most; noise stays below {bound:.1f} ({1 - ALARM:.0%})"
        ]
    return [
        f"not settled: {d.metric}.{d.statistic} is {number(d.even)} on even blocks, {number(d.odd)} on odd ones: "
        f"{abs(d.z):.1f} standard errors; noise stays below {bound:.1f}"
        for d in over[:5]
    ]


def _by_year(result: Result, variables: list[str], months: list[int]) -> Table:
    """Median and band by year; the median over all months as a line of blocks, which goes first where it is narrow."""
    table = Table(**_PLAIN)
    table.add_column("variable", no_wrap=True)
    for month in months:
        table.add_column(f"{month}", justify="right", no_wrap=True)
    if cells := min(result.months // 2, SPARK):
        table.add_column("median", no_wrap=True, style="dim")
    for name in variables:
        rows = result.series_rows(name)
        cut = [rows[month - 1] for month in months]
        band = [f"{number(r['p50'])}\n[dim]{_short(r['p05'])}..{_short(r['p95'])}[/]" for r in cut]
        line = [sparkline([r["p50"] for r in rows], cells)] if cells else []
        table.add_row(f"{name}\n[dim]{escape(result.units[name])}[/]", *band, *line)
    return table


def _short(x: float) -> str:
    return f"{x:.3g}" if abs(x) < 1000 else f"{x:,.0f}"


def _metrics(result: Result, statistics: Sequence[str], intervals: bool) -> Table:
    """A column for each statistic; with ``intervals`` a second line: half the 95 % interval, at its longer side."""
    table = Table(**_PLAIN)
    table.add_column("metric", no_wrap=True)
    table.add_column("unit", no_wrap=True, max_width=10, overflow="ellipsis", style="dim")
    for name in statistics:
        table.add_column(name, justify="right", no_wrap=True)
    estimated = [s for s in statistics if s != "se"]
    known = intervals or not all(s in next(iter(result.metrics.values())) for s in estimated)
    found = result.estimates(estimated) if known else {}
    for name, values in result.metrics.items():
        cells = []
        for s in statistics:
            text = number(
                found[name][s].value if known and s != "se" else values[s], 2 if s == "se" else 4
            )
            if intervals:
                half = found[name][s].half if s != "se" else math.nan
                text += "\n" + (f"[dim]±{number(half, 2)}[/]" if math.isfinite(half) else "")
            cells.append(text)
        table.add_row(name, escape(result.units[name]), *cells)
    return table


def _how(result: Result) -> list[str]:
    simulate = result.seconds.get("simulate", 0.0)
    rate = result.path_count / simulate if simulate else math.nan
    phases = ", ".join(f"{k} {v:.2f}" for k, v in result.seconds.items())
    part = f" ({told(result.ranges)} of {result.paths_wanted:,})" if result.is_part else ""
    lines = [
        f"{result.path_count:,} paths{part}, {result.months} months, seed {result.seed}, {result.backend} "
        f"{result.dtype}, {rate:,.0f} paths/s",
        f"seconds: {phases}; digest {result.digest[:16]}",
    ]
    if result.bad_count:
        lines.append(_bad(result))
    lines += result.lost
    if result.cluster:
        count, hosts = result.cluster["workers"], result.cluster["hosts"]
        where = ", ".join(hosts[:4]) + (f" and {len(hosts) - 4} more" if len(hosts) > 4 else "")
        who = f"{count:,} worker{'s' if count != 1 else ''} of {result.cluster['cluster']}"
        lines.append(f"computed by {who} on {where}")
    if result.used:
        lines.append(_by_backend(result.used))
    if result.passed_over:
        lines += [f"passed over {why}" for why in result.passed_over]
    return lines


def scenario_json(scenario: Scenario) -> dict[str, Any]:
    """What a checked scenario holds."""
    economy = scenario.economy
    return {
        "scenario": scenario.name,
        "title": scenario.title,
        "as_of": scenario.as_of,
        "months": scenario.months,
        "systems": list(economy.systems),
        "parameters": len(economy.reals),
        "metrics": {name: economy.unit(name) for name in economy.metrics},
        "limits": scenario.values.get("limit", []),
    }


def _bad(result: Result) -> str:
    """How many paths are left out, and the first of them."""
    from .quarantine import line_of, share_text

    share = share_text(result.bad_count / result.path_count)
    first = ", ".join(line_of(q) for q in result.quarantined[:3])
    more = ", ..." if result.bad_count > 3 else ""
    return f"left out, as not finite: {result.bad_count:,} paths ({share}): {first}{more}"


def _by_backend(used: Sequence[Mapping[str, Any]]) -> str:
    """Which backend gave which paths."""
    parts = [
        f"{name} {told((u['first'], u['first'] + u['paths'] - 1) for u in used if u['backend'] == name)}"
        for name in dict.fromkeys(u["backend"] for u in used)
    ]
    return (
        f"paths by backend: {'; '.join(parts)}; backends differ in the last digits, so the digest is "
        "of them together"
    )


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
    for limit in limits_of(scenario.values, economy.metrics):
        screen.print(f"limit {limit.label} {allowed(limit)}", highlight=False, markup=False)


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
    screen = console()
    table = Table(box=None, pad_edge=False)
    for name in ("backend", "here", "what was found", escape(f"kernel of {scenario.name}")):
        table.add_column(name, no_wrap=name in ("backend", "here"))
    for row in backend_rows(scenario):
        mark = "[green]yes[/]" if row["works"] else "[red]no[/]"
        if row["chosen"]:
            mark += " (auto)"
        table.add_row(row["backend"], mark, escape(row["found"]), row["kernel"])
    screen.print(table)


def backend_rows(scenario: Scenario) -> list[dict[str, Any]]:
    """Each backend: whether it works here, what was found, whether auto takes it, the state of its kernel."""
    chosen, _ = backends.choose()
    rows = []
    for name in backends.NAMES:
        found = backends.status(name)
        kernel = _kernel_state(name, found.works, scenario)
        rows.append({"backend": name, "works": found.works, "found": found.why,
                     "chosen": name == chosen, "kernel": kernel})  # fmt: skip
    return rows


def _kernel_state(name: str, works: bool, scenario: Scenario) -> str:
    if not works:
        return "-"
    if name == "native":
        program = optimize(trace(scenario.economy, float64=False))
        return (
            "compiled" if native.is_cached(program, "float32") else "compiled on first use (2-5 s)"
        )
    return "none needed" if name == "numpy" else "compiled on first use"
