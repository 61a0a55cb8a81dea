"""Audit: every identity, every month, on a sample of paths in float64."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from .arguments import check_run
from .figures import Array, Identity, Reading
from .identities import FINITE, IDENTITIES
from .record import record
from .scenario import Scenario
from .simulate import as_economy
from .system import Economy, System
from .tables import GRID, console, number

BLOCK = 1024
"""Paths that are held at a time."""

KEPT = 20
"""Violations of an identity that are kept; all are counted."""


@dataclass(frozen=True)
class Violation:
    """An identity that does not hold: where, on which path, in which month, and by how much."""

    identity: str
    row: str
    path: int
    month: int
    size: float

    def __str__(self) -> str:
        row = f", {self.row}" if self.row else ""
        return f"{self.identity}{row}: off by {self.size:.3g} on path {self.path} in month {self.month}"


@dataclass
class AuditResult:
    """What an audit found. ``counts`` is by identity; of each the first KEPT violations are listed."""

    name: str
    paths: int
    months: int
    seed: int
    identities: list[str] = field(default_factory=list)
    checks: int = 0
    """Comparisons: identities times rows, paths and months."""
    counts: dict[str, int] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.counts

    def as_json(self) -> dict[str, Any]:
        """What ``--format json`` prints; a gap that is no number is null."""
        return {
            "paths": self.paths,
            "months": self.months,
            "seed": self.seed,
            "identities": self.identities,
            "checks": self.checks,
            "holds": self.holds,
            "counts": self.counts,
            "violations": [
                asdict(v) | {"size": v.size if np.isfinite(v.size) else None}
                for v in self.violations
            ],
        }

    def add(
        self, identity: str, rows: Sequence[str], first: int, month: int, gap: Array, bad: Any
    ) -> None:
        """The violations of one identity in one month; gap and bad are (rows, paths)."""
        self.checks += bad.size
        found = np.argwhere(bad)
        if not len(found):
            return
        before = self.counts.get(identity, 0)
        self.counts[identity] = before + len(found)
        for row, path in found[: max(KEPT - before, 0)]:
            size = float(gap[row, path])
            self.violations.append(Violation(identity, rows[row], first + int(path), month, size))


def audit(
    model: Scenario | Economy | System, paths: int = 256, seed: int = 0, months: int | None = None
) -> AuditResult:
    """Record ``paths`` paths month by month in float64, and check every identity whose systems are there.

    ``months``: the scenario's if None. Raises ConfigError for bad arguments.
    """
    economy = as_economy(model)
    months = economy.months if months is None else months
    check_run(paths, seed, months, "float64", "numpy")
    held = [i for i in IDENTITIES if i.applies(economy)]
    result = AuditResult(economy.name, paths, months, seed, [FINITE, *map(title, held)])
    for first in range(0, paths, BLOCK):
        count = min(BLOCK, paths - first)
        for m in readings(economy, seed, first, count, months):
            _finite(result, first, m)
            for identity in held:
                gap, bad = identity.gap(m)
                rows = identity.rows(economy, len(gap))
                result.add(title(identity), rows, first, m.month.number, gap, bad)
    result.violations.sort(key=lambda v: (v.month, v.path))
    return result


def title(identity: Identity) -> str:
    return f"{identity.system}: {identity.title}" if identity.system else identity.title


def readings(economy: Economy, seed: int, first: int, count: int, months: int) -> Iterator[Reading]:
    last: dict[str, Any] = {}
    for month in record(economy, seed, first, count, months):
        yield Reading(economy, count, month, last)
        last = month.seen


def _finite(result: AuditResult, first: int, m: Reading) -> None:
    for name in m.month.seen:
        bad = ~np.isfinite(np.atleast_2d(m.now(name)))
        result.add(
            FINITE, [name] * len(bad), first, m.month.number, np.where(bad, np.inf, 0.0), bad
        )


def print_audit(result: AuditResult) -> None:
    """A line of what was checked; a row for each identity that does not hold, with its first violation."""
    screen = console()
    screen.print(
        f"{result.name}: {len(result.identities)} identities, {result.checks:,} comparisons on "
        f"{result.paths:,} paths, {result.months} months, seed {result.seed}, float64",
        highlight=False, markup=False,
    )  # fmt: skip
    if result.holds:
        screen.print("all hold", highlight=False, style="green")
        return
    table = Table(**GRID)
    table.add_column("violated")
    for name in ("first on path", "month", "off by", "times"):
        table.add_column(name, justify="right", no_wrap=True)
    for identity, times in result.counts.items():
        v = next(v for v in result.violations if v.identity == identity)
        where = f"\n[dim]{escape(v.row)}[/]" if v.row else ""
        table.add_row(
            f"{escape(identity)}{where}", f"{v.path}", f"{v.month}", number(v.size), f"{times:,}"
        )
    screen.print(table)
