"""The table of a comparison for the terminal: what moved, what is too noisy to say, and how sure that is."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .compare import Comparison, Row
from .result import Result
from .tables import console, number

NAME, STATISTIC, VALUE, SHARE, VERDICT = 31, 9, 8, 6, 14  # widths of columns
CHANGES = 10  # parameters shown that differ
NAMES = 6  # metrics named that only one run has


def print_comparison(c: Comparison, every: bool = False, screen: Console | None = None) -> None:
    """Rows that moved, then those that are too noisy to say; with ``every`` all others too."""
    screen = screen or console()
    for line in _heads(c):
        screen.print(line, highlight=False, markup=False)
    wanted = ("moved", "unclear", "equivalent", "equal") if every else ("moved", "unclear")
    rows = [r for verdict in wanted for r in c.having(verdict)]
    if rows:
        screen.print()
        screen.print(_table(rows))
    screen.print()
    screen.print(_counts(c), highlight=False, markup=False)
    if not every and c.counts["equivalent"] + c.counts["equal"]:
        screen.print("--all also shows what is equivalent or equal.", highlight=False, style="dim")
    for line in _legend(c):
        screen.print(line, highlight=False, markup=False, style="dim")


def _heads(c: Comparison) -> list[str]:
    """Which runs, and what differs between how they were made."""
    lines = [f"{side}: {_run(r)}" for side, r in (("A", c.a), ("B", c.b))]
    if c.a.months != c.b.months:
        lines.append(
            f"not of the same length: values after {c.a.months} months in A, after {c.b.months} in B"
        )
    config = [x for x in c.changes if x.key not in ("paths", "seed", "months", "dtype", "backend")]
    lines += [f"{x.key}: {x.a} in A, {x.b} in B" for x in config[:CHANGES]]
    if len(config) > CHANGES:
        lines.append(f"and {len(config) - CHANGES} more parameters that differ (--format json)")
    for side, names in (("A", c.only_a), ("B", c.only_b)):
        if names:
            rest = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
            lines.append(f"only in {side}: {', '.join(names[:NAMES])}{rest}")
    return lines


def _run(r: Result) -> str:
    bad = f", {r.bad_count:,} of them left out (non-finite)" if r.bad_count else ""
    where = f" in {r.folder}" if r.folder else ""
    return (
        f"{r.name}{where}: {r.path_count:,} paths{bad}, {r.months} months, seed {r.seed}, "
        f"{r.backend} {r.dtype}"
    )


def _table(rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("metric", max_width=NAME, no_wrap=True, overflow="ellipsis")
    table.add_column("", max_width=STATISTIC, no_wrap=True, overflow="ellipsis")
    right: dict[str, Any] = {"justify": "right", "no_wrap": True}
    for name in ("A", "B", "B - A", "±"):
        table.add_column(name, min_width=VALUE, **right)
    table.add_column("%", min_width=SHARE, **right)
    table.add_column("verdict", min_width=VERDICT, no_wrap=True)
    for r in rows:
        style = "bold" if r.verdict == "moved" else ""
        table.add_row(
            escape(r.metric), escape(r.statistic), number(r.a), number(r.b), number(r.difference, 3),
            "?" if math.isinf(r.half) else number(r.half, 2), _per_cent(r), verdict_text(r), style=style,
        )  # fmt: skip
    return table


def _per_cent(r: Row) -> str:
    """The difference in per cent of A's value, as far as its interval says."""
    if math.isnan(r.relative):
        return ""
    share = 100.0 * r.relative
    if not share:
        return "0"
    form = "+.0f" if abs(share) >= 100 else "+.2g" if abs(share) >= 0.1 else "+.2f"
    return format(share, form)


def verdict_text(r: Row) -> str:
    """The verdict, with how many paths would give one, or whether it may be within the margin."""
    if r.verdict == "unclear":
        return f"unclear ({short(r.needed)})" if math.isfinite(r.needed) else "unclear"
    return "moved (little?)" if r.verdict == "moved" and not r.beyond else r.verdict


def short(count: float) -> str:
    """A number of paths, rounded: 250k, 3.1M, 2e+12."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size <= count < 1000 * size:
            return f"{float(f'{count / size:.2g}'):g}{letter}"
    return f"{count:.1g}" if count >= 1e12 else f"{count:.0f}"


def _counts(c: Comparison) -> str:
    words = {
        "moved": "moved", "unclear": "too noisy to say", "equivalent": f"equivalent within {margin(c)}",
        "equal": "equal on every path",
    }  # fmt: skip
    found = [f"{n} {words[v]}" for v, n in c.counts.items() if n]
    return f"{len(c.rows)} figures: {', '.join(found) or 'none'}"


def margin(c: Comparison) -> str:
    """The margin in words."""
    more = [f"{size:g} {unit}" for unit, size in c.absolute.items()]
    return " or ".join([f"{100 * c.margin:g} % of A's value", *more])


def _legend(c: Comparison) -> list[str]:
    p = c.pairing
    if c.a.seed != c.b.seed:
        lines = [
            f"independent runs, seeds {c.a.seed} and {c.b.seed}: no paths in common, wider intervals."
        ]
    elif p.complete and p.same:
        lines = [f"common random numbers, path by path: all {p.common:,} paths are paired."]
    else:
        lines = [
            f"common random numbers on {p.common:,} paths, of which {p.sampled:,} are at hand as pairs."
        ]
    if c.judged:
        lines.append(
            f"±: intervals for all {c.judged} figures together (Bonferroni): all verdicts are right with "
            f"{100 * c.level:g} % confidence."
        )
    if any(r.verdict == "moved" and not r.beyond for r in c.rows):
        lines.append("little?: moved, perhaps by less than the margin.")
    if any(math.isfinite(r.needed) for r in c.having("unclear")):
        lines.append(
            "(number): about how many paths of either run would decide, its difference being what it is."
        )
    if any(r.a == 0.0 and not c.absolute for r in c.having("unclear")):
        lines.append("where A is 0, only an absolute margin can be met: --margin '0.1 USD bn'.")
    return lines
