"""Tables of rows: for a terminal of 100 columns, and for bench/README.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """``key`` of a row under ``heading``; ``form`` is text, count, seconds, ratio, percent, number or yes."""

    key: str
    heading: str
    form: str = "text"

    def cell(self, row: Row) -> str:
        return _FORMS[self.form](row[self.key]) if row.get(self.key) is not None else ""


def count(x: float) -> str:
    """A rate or a number in four figures at least: 1,234, 12.3 k, 1.68 M, 1.2 G."""
    for scale, letter in ((1e9, " G"), (1e6, " M"), (1e5, " k")):
        if abs(x) >= scale:
            by = scale if scale != 1e5 else 1e3
            return f"{x / by:.{2 if x / by < 10 else 1 if x / by < 100 else 0}f}{letter}"
    return f"{x:,.0f}"


def seconds(x: float) -> str:
    return f"{x:.0f}" if x >= 100 else f"{x:.3g}" if x >= 0.001 else f"{x:.1g}"


_FORMS = {
    "text": str,
    "count": count,
    "whole": lambda x: f"{x:,.0f}",
    "seconds": seconds,
    "ratio": lambda x: f"{x:.2f}" if x < 100 else f"{x:.0f}",
    "percent": lambda x: f"{100 * x:.0f} %" if x >= 0.1 else f"{100 * x:.1f} %",
    "number": lambda x: f"{x:,.4g}",
    "yes": lambda x: "yes" if x else "NO",
}


def markdown(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """A table without the columns that no row fills."""
    used = _used(columns, rows)
    lines = ["| " + " | ".join(c.heading for c in used) + " |"]
    lines.append("|" + "|".join("---" if c.form == "text" else "---:" for c in used) + "|")
    lines += ["| " + " | ".join(c.cell(row) for c in used) + " |" for row in rows]
    return "\n".join(lines)


def show(title: str, columns: Sequence[Column], rows: Sequence[Row], console: Any) -> None:
    """Print the table, 100 columns wide at most."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    used = _used(columns, rows)
    for c in used:
        left = c.form == "text"
        table.add_column(c.heading, justify="left" if left else "right", no_wrap=not left)
    for row in rows:
        table.add_row(*(c.cell(row) for c in used))
    console.print(table)


def _used(columns: Sequence[Column], rows: Sequence[Row]) -> list[Column]:
    return [c for c in columns if any(c.cell(row) for row in rows)]
