"""Tables in narrow terminals: words are shortened, columns set apart; a number is never cut.

In this order, until the table fits: units are shortened, gaps closed, texts wrapped, long names shortened in their
middle, bars left out, other names shortened. What then still is too wide is printed as several tables, with the same names, whole, and further columns.
"""

from __future__ import annotations

import copy
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

BARS = set(" █▉▊▋▌▍▎▏░▒▓│▁▂▃▄▅▆▇")
UNIT, SHORTEST_UNIT = 8, 6
NAME, SHORTEST_NAME = 28, 20
WORDS = 16
"""Characters that units, names and a column of words are left; names more, as long as bars may go instead."""
SHORT = 8
"""A word of so many characters is not cut."""


def fitted(shown: RenderableType, width: int) -> RenderableType:
    """Something to print in so many columns: tables, and groups of them, made to fit; all else as it is."""
    if isinstance(shown, Group):
        return Group(*(fitted(part, width) for part in shown.renderables))
    if not isinstance(shown, Table) or any(c.ratio is not None for c in shown.columns):
        return shown
    table = _Fit(shown)
    if table.over(width) <= 0:
        return shown
    return table.fit(width)


class _Fit:
    """A copy of a table, whose columns are given widths."""

    def __init__(self, table: Table) -> None:
        self.table = copy.copy(table)
        self.table.columns = [copy.copy(c) for c in table.columns]
        for column in self.table.columns:
            column._cells = list(column._cells)
        self.widths = [_natural(c) for c in self.table.columns]

    @property
    def gap(self) -> int:
        _, right, _, left = self.table.padding
        return right + left

    def over(self, width: int) -> int:
        """By how much it is too wide."""
        return sum(self.widths) + self.gap * (len(self.widths) - 1) - width

    def fit(self, width: int) -> RenderableType:
        self._free()
        self._narrow(width, NAME)
        if self.over(width) > 0:
            self._keep([k for k, kind in enumerate(self._kinds()) if kind != "bar"])
            self._free()
            self._narrow(width, SHORTEST_NAME)
        kinds = self._kinds()
        if self.over(width) > 0:
            self._whole_names(width, kinds)
        for column, kind, size in zip(self.table.columns, kinds, self.widths, strict=True):
            column.width, column.min_width, column.max_width = size, None, None
            if kind == "name":
                column._cells = [_cut(cell, size) for cell in column._cells]
        return self._parts(width, kinds)

    def _whole_names(self, width: int, kinds: list[str]) -> None:
        """Several tables have room for whole names, as long as each column has room beside them."""
        keys, words = _keys(kinds), range(len(kinds))
        for k in words:
            if kinds[k] in ("name", "unit"):
                self.widths[k] = _natural(self.table.columns[k])
        room = width - max((self.widths[k] + self.gap for k in words if k >= keys), default=0)
        for kind, least in (("unit", SHORTEST_UNIT), ("name", SHORT)):
            for k in range(keys):
                over = sum(self.widths[:keys]) + self.gap * (keys - 1) - room
                if kinds[k] == kind and over > 0:
                    self.widths[k] = max(self.widths[k] - over, least)

    def _kinds(self) -> list[str]:
        return [_kind(c) for c in self.table.columns]

    def _free(self) -> None:
        """Give each column what it holds; what it asks for beyond that is given up first."""
        for column in self.table.columns:
            column.min_width = None
        self.widths = [_natural(c) for c in self.table.columns]

    def _narrow(self, width: int, name: int) -> None:
        self._shrink(width, "unit", UNIT)
        if self.over(width) > 0:
            self.table.padding = (0, 1, 0, 0)
        self._shrink(width, "words", WORDS)
        self._shrink(width, "unit", SHORTEST_UNIT)
        self._shrink(width, "name", name)

    def _shrink(self, width: int, kind: str, least: int) -> None:
        """Narrow the columns of a kind, the widest first."""
        kinds = self._kinds()
        while self.over(width) > 0:
            wide = [k for k, at in enumerate(kinds) if at == kind and self.widths[k] > least]
            if not wide:
                return
            self.widths[max(wide, key=lambda k: self.widths[k])] -= 1

    def _keep(self, kept: list[int]) -> None:
        self.table.columns = [self.table.columns[k] for k in kept]
        self.widths = [self.widths[k] for k in kept]
        for k, column in enumerate(self.table.columns):
            column._index = k

    def _parts(self, width: int, kinds: list[str]) -> RenderableType:
        """The table; or several, each with the first columns, up to the first with numbers, and some of the others."""
        if self.over(width) <= 0:
            return self.table
        keys = _keys(kinds)
        used = sum(self.widths[:keys]) + self.gap * (keys - 1)
        groups: list[list[int]] = [[]]
        room = width - used
        for k in range(keys, len(kinds)):
            need = self.widths[k] + self.gap
            if need > room and groups[-1]:
                groups.append([])
                room = width - used
            groups[-1].append(k)
            room -= need
        parts: list[RenderableType] = []
        for group in groups:
            part = _Fit(self.table)
            part._keep([*range(keys), *group])
            parts += [Text(), part.table] if parts else [part.table]
        return Group(*parts)


def _keys(kinds: list[str]) -> int:
    """How many columns stand before the first with numbers: they say what a row is about. At least one."""
    return next((k for k, kind in enumerate(kinds) if kind == "number" and k), 1)


def _lines(cell: Any) -> list[str]:
    if isinstance(cell, str) and "[" not in cell and ":" not in cell:
        return cell.split("\n")  # no markup in it, which is slow to read
    text = cell if isinstance(cell, Text) else Text.from_markup(str(cell))
    return text.plain.split("\n")


def _size(line: str) -> int:
    """The characters that a line takes on a screen."""
    return len(line) if line.isascii() and line.isprintable() else Text(line).cell_len


def _natural(column: Column) -> int:
    """The characters that a column takes where there is room."""
    cells = [line for cell in [column.header, *column._cells] for line in _lines(cell)]
    size = max(map(_size, cells), default=0)
    if column.width is not None:
        return column.width
    size = max(size, column.min_width or 0)
    return min(size, column.max_width) if column.max_width is not None else size


def _kind(column: Column) -> str:
    """unit, name, words, bar or number; a short word counts as a number."""
    cells = [line for cell in column._cells for line in _lines(cell)]
    if any(line.strip() for line in cells) and all(set(line) <= BARS for line in cells):
        return "bar"
    if column.justify == "right" or _natural(column) <= SHORT:
        return "number"
    if not column.no_wrap:
        return "words"
    return "unit" if column.header == "unit" else "name"


def _cut(cell: Any, width: int) -> Text:
    """Each line of a cell, its middle cut out where it is too long: both ends of a name say the most."""
    text = cell if isinstance(cell, Text) else Text.from_markup(str(cell))
    return Text("\n").join(_shortened(line, width) for line in text.split("\n", allow_blank=True))


def _shortened(line: Text, width: int) -> Text:
    if line.cell_len <= width or ", " in line.plain:  # a list is cut at its end, as it is printed
        return line
    head = (width - 1) // 2
    whole = len(line.plain)
    return line[:head] + Text("…") + line[whole - (width - 1 - head) :]


def screen_width(console: Console, most: int) -> int:
    """The columns that a console has: ``most`` where it is no terminal and COLUMNS does not say otherwise."""
    said = console._environ.get("COLUMNS", "")
    if not console.is_terminal and not (said.isdigit() and int(said) > 0):
        return most
    return max(min(console.width, most), LEAST)


LEAST = 40
"""Columns that a table is made for, however few there are."""
