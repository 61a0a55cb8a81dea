"""Explain in the terminal: the systems in a table, and one system in full. 100 columns."""

from __future__ import annotations

import math
import re
import textwrap
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from .explain import Fact, Model, describe, folded, numbers, overview, plain, row_names, short_names
from .simulate import as_economy
from .tables import GRID, WIDTH, console


def _value(x: Any) -> str:
    """A value in little room: a matrix has a line for each row."""
    if isinstance(x, list | tuple):
        inner = isinstance(x[0], list | tuple) if x else False
        return ("\n" if inner else ", ").join(map(_value, x)) if x else "none"
    if isinstance(x, bool):
        return "true" if x else "false"
    if isinstance(x, int | float):
        return plain(x) if math.isfinite(x) else str(x)
    return str(x) if x not in ("", None) else "-"


def print_overview(model: Model) -> None:
    """A line for each system, 100 columns."""
    screen = console()
    table = Table(**GRID)
    table.add_column("system")
    for name in ("own", "facts", "tables", "cited"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("reads", ratio=5)
    table.add_column("is read for", ratio=6)
    for line in overview(model):
        used = short_names(line["read_by_others"], row_names(as_economy(model), line["system"]))
        every = len(line["state"]) + len(line["outputs"])
        now = ", ".join(map(escape, line["reads"]))
        after = f"[dim]of last month: {', '.join(map(escape, line['feedback']))}[/]"
        table.add_row(
            f"{escape(line['system'])}\n[dim]{escape(line['title'])}[/]",
            str(line["parameters"]),
            str(line["facts"]),
            str(line["figures"] or "-"),
            str(line["cited"] or "-"),
            "\n".join([*filter(None, [now]), *([after] if line["feedback"] else [])]) or "-",
            f"{escape(_few(used, 4)) or '-'} [dim]of {every}[/]",
        )
    screen.print(table)
    screen.print(
        "\nown: the system's own parameters, and how many of them are facts (the rest are assumptions); "
        "tables: figures in its tables, and the facts that these cite. In full: explain SYSTEM",
        style="dim",
        highlight=False,
    )


def _few(names: list[str], most: int) -> str:
    left = len(names) - most
    return ", ".join(names[:most]) + (f", {left} more" if left > 0 else "")


def print_system(model: Model, key: str) -> None:
    """Everything of ``describe``, 100 columns."""
    about, tables = describe(model, key), row_names(as_economy(model), key)
    screen = console()
    heading = f"{about['system']}: {about['title']}"
    screen.print(heading, style="bold", markup=False, highlight=False)
    screen.print(about["text"], markup=False, highlight=False)
    for kind in ("parameters", "settings"):
        if about[kind]:
            _section(screen, kind)
            screen.print(_fields(about[kind]))
    for table in about["tables"]:
        _section(screen, f"table {table['name']}", table["basis"])
        _print_rows(screen, table)
    if about["reports"]:
        _section(screen, "reports")
        grid = Table(**GRID, show_header=False)
        for line in _reports(about["reports"], tables):
            grid.add_row(*map(escape, line))
        screen.print(grid)
    for heading, side in (("reads of this month", "above"), ("reads of last month", "below")):
        _section(screen, heading)
        grid = Table(**GRID, show_header=False)
        for system, names in about[side].items():
            grid.add_row(*map(escape, (system, ", ".join(short_names(names, tables)))))
        screen.print(grid if about[side] else "nothing", style="" if about[side] else "dim")
    for heading, what in (("state", "state"), ("writes beside it", "outputs")):
        _section(screen, heading)
        short = folded(about[what], tables)
        kinds = {short[n]: k for n, k in about[what].items()}.items()
        text = ", ".join(n if k == "real" else f"{n} ({k})" for n, k in kinds) or "nothing"
        screen.print(text, markup=False, highlight=False)


def _reports(lines: list[dict[str, Any]], tables: dict[str, list[str]]) -> list[tuple[str, ...]]:
    """A line for each variable; one for all rows of a table where theirs do not differ."""
    short = folded([o["name"] for o in lines], tables)
    told = list(dict.fromkeys(_report(o, short) for o in lines))
    heads = [line[0] for line in told]
    plain = {n: n if heads.count(s) > 1 else s for n, s in short.items()}
    return list(dict.fromkeys(_report(o, plain) for o in lines))


def _report(line: dict[str, Any], short: dict[str, str]) -> tuple[str, ...]:
    """Name, unit, text and when; a name that stands for a table's rows has no row's name in its text."""
    name, doc = short[line["name"]], line["doc"]
    if name != line["name"]:
        pre, rows, post = re.split("(<.*>)", name)
        doc = doc.replace(line["name"][len(pre) : len(line["name"]) - len(post)], rows)
    when = [w for w, on in (("at the end", line["metric"]), ("by month", line["series"])) if on]
    return name, line["unit"], doc, ", ".join(when)


def _section(screen: Console, heading: str, more: str = "") -> None:
    tail = f"  [dim]{escape(more)}[/]" if more else ""
    screen.print(f"\n[bold]{escape(heading)}[/]{tail}", highlight=False)


def _fields(lines: list[dict[str, Any]]) -> Table:
    """Parameters or settings: name, value, unit or choices, basis; the default where it is another."""
    grid = Table(**GRID, show_header=False)
    for share in (None, None, None, 1):
        grid.add_column(ratio=share, no_wrap=share is None)
    for line in lines:
        moved = "default" in line
        value = escape(_value(line["value"]))
        if moved:
            value = f"[bold]{value}[/]\n[dim]default {escape(_value(line['default']))}[/]"
        grid.add_row(escape(line["name"]), value, escape(_unit(line)), _basis(line))
    return grid


def _unit(line: dict[str, Any]) -> str:
    if "choices" in line:
        return "\n".join(map(str, line["choices"]))
    return "\n".join(textwrap.wrap(line.get("unit", ""), 18))


def _basis(line: dict[str, Any]) -> str:
    known = "\n".join(escape(Fact(**f).text()) for f in line.get("facts", ()))
    return escape(line["basis"]) + (f"\n[dim]{known}[/]" if known else "")


def _print_rows(screen: Console, table: dict[str, Any]) -> None:
    """A line a row, in as many blocks as the columns need; then units and bases, then where rows come from."""
    names = [f["name"] for f in table["fields"] if f["name"] != "source"]
    width = {n: _width(n, [_value(r[n]) for r in table["rows"]]) for n in names}
    first = _width("name", [r["name"] for r in table["rows"]])
    while names:
        used = first
        block: list[str] = []
        while names and (not block or used + width[names[0]] <= WIDTH):
            used += width[names[0]]
            block.append(names.pop(0))
        grid = Table(**GRID, header_style="dim")
        for n in ("name", *block):
            right = all(numbers(r[n]) for r in table["rows"])
            grid.add_column(n.replace("_", "_\n"), justify="right" if right else "left")
        for r in table["rows"]:
            cells = (_moved(table, r, n) for n in block)
            grid.add_row(escape(r["name"]), *cells)
        screen.print(grid)
    if table["changed"] or table["removed"]:
        gone = f"; without {', '.join(table['removed'])}" if table["removed"] else ""
        screen.print(f"bold: not the default{gone}", style="dim", markup=False, highlight=False)
    fields = [f | {"value": ""} for f in table["fields"] if f["name"] != "source"]
    screen.print(Padding(_legend(fields), (0, 0, 0, 2)), style="dim")
    sources = [(r["name"], r["source"]) for r in table["rows"] if r.get("source")]
    if sources:
        grid = Table(**GRID, show_header=False)
        for name, text in sources:
            grid.add_row(escape(name), escape(text))
        screen.print(Padding(grid, (0, 0, 0, 2)), style="dim")


def _moved(table: dict[str, Any], row: dict[str, Any], name: str) -> str:
    text = escape(_value(row[name]))
    return f"[bold]{text}[/]" if f"{row['name']}.{name}" in table["changed"] else text


def _width(heading: str, cells: list[str]) -> int:
    parts = [*heading.replace("_", "_\n").split("\n"), *(x for c in cells for x in c.split("\n"))]
    return max(map(len, parts)) + 2


def _legend(fields: list[dict[str, Any]]) -> Table:
    grid = Table(**GRID, show_header=False)
    for line in fields:
        grid.add_row(escape(line["name"]), escape(_unit(line)), _basis(line))
    return grid
