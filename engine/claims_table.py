"""The table of claims for the terminal: what each scenario says, and where scenarios differ beyond noise."""

from __future__ import annotations

import math

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .claims import LEVEL, Answer, ClaimsResult
from .economy.claims import Claim

TITLE = 40  # characters of a claim's title
ACROSS = 3  # scenarios side by side; each further group stands below, beside the first scenario
NUMBER, SHARE, CHANGE = 3, 12, 7  # widths of columns
_PLACES = 3  # after the point, at most


def print_claims(result: ClaimsResult, screen: Console | None = None) -> None:
    """Claims by scenario in per cent of paths, and how they were computed."""
    if screen is None:
        from .tables import console

        screen = console()
    first, *others = result.scenarios
    groups = [others[i : i + ACROSS - 1] for i in range(0, len(others), ACROSS - 1)] or [[]]
    for group in groups:
        screen.print(_table(result, [first, *group]))
        screen.print()
    for line in _legend(result):
        screen.print(line, highlight=False, markup=False, style="dim")


def _table(result: ClaimsResult, scenarios: list[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", justify="right", width=NUMBER)
    table.add_column("claim, % of paths", width=TITLE)
    for k, name in enumerate(scenarios):
        table.add_column(escape(name), justify="right", width=SHARE, no_wrap=True)
        if k:
            table.add_column("diff. ", justify="right", width=CHANGE, no_wrap=True)
    for c in result.claims:
        answers = [result.answers.get((c.name, name)) for name in scenarios]
        table.add_row(escape(c.number), escape(c.title or c.name), *_shares(answers))
        for line, cells in _more(c, answers):
            table.add_row("", f"[dim]  {escape(line)}[/]", *cells)
    return table


def _shares(answers: list[Answer | None]) -> list[str]:
    cells = []
    for k, a in enumerate(answers):
        cells.append("-" if a is None else share(a.probability, a.interval))
        if k:
            cells.append(_change(a))
    return cells


def _change(a: Answer | None) -> str:
    """The difference to the first scenario in points, with a star where it is told apart from noise."""
    if a is None or a.difference is None:
        return ""
    points = 100.0 * a.difference
    if abs(points) >= 0.05:
        text = f"{points:+.1f}"
    elif abs(points) >= 0.0005:
        text = f"{points:+.3f}"
    else:
        text = f"{points:+.0e}".replace("e-0", "e-") if points else "0"
    return f"[bold]{text}[/]*" if a.told_apart else f"[dim]{text} [/]"


def _more(claim: Claim, answers: list[Answer | None]) -> list[tuple[str, list[str]]]:
    """Indented lines: the probability where something else happens, and what was forced."""
    lines = []
    if claim.given:
        cells: list[str] = []
        for k, a in enumerate(answers):
            interval = a.conditional_interval if a else None
            text = share(a.conditional, interval) if a and interval else "-"
            cells += [f"[dim]{text}[/]", ""] if k else [f"[dim]{text}[/]"]
        lines.append((f"given {claim.given_title or claim.given}", cells))
    if claim.forced:
        lines.append((f"with {claim.forced} forced", [""] * (2 * len(answers) - 1)))
    return lines


def share(p: float | None, interval: tuple[float, float]) -> str:
    """A probability in per cent, with half of its interval; that one's bound where it is next to 0 or 1."""
    if p is None:
        return "-"
    low, high = 100.0 * interval[0], 100.0 * interval[1]
    half, least = (high - low) / 2.0, 10.0**-_PLACES
    if half >= 100.0 * p:
        return f"<{max(_rounded(high), least):g}"
    if half >= 100.0 * (1.0 - p):
        return f">{100.0 - max(_rounded(100.0 - low), least):g}"
    places = min(max(-math.floor(math.log10(half / 2.0)), 0), _PLACES)
    text = f"{100.0 * p:.{places}f} ±{max(half, least):.{places}f}"
    return text if len(text) <= SHARE else text.replace(" ", "")


def _rounded(x: float) -> float:
    return float(f"{x:.2g}")


def _never_given(a: Answer) -> bool:
    return a.conditional_interval is not None and a.conditional is None


def _legend(result: ClaimsResult) -> list[str]:
    lines = [
        "±: half of the 95 % interval (Wilson); < and >: its bound, where next to none or all of the paths have it "
        "(rule of three for none and all)."
    ]
    if result.tests:
        lines += [
            f"diff.: points more than {result.scenarios[0]}, on the same random numbers; *: told apart from noise, by "
            f"McNemar's exact test at {100 * LEVEL:g} % over all {result.tests} differences (Holm); given lines are not "
            "tested.",
        ]
    if result.why or any(_never_given(a) for a in result.answers.values()):
        lines.append(
            f"-: not decided within {result.months} months, about what a scenario lacks, or given what never "
            "happened."
        )
    lines += [
        f"{name}: {count:,} of {result.path_count:,} paths had a non-finite state and are left out."
        for name, count in result.bad.items()
        if count
    ]
    seconds = ", ".join(f"{k} {v:.2f}" for k, v in result.seconds.items())
    lines.append(
        f"{result.path_count:,} paths a scenario, {result.months} months, seed {result.seed}, "
        f"{result.backend} {result.dtype}; seconds: {seconds}"
    )
    return lines
