"""Figures read off a recorded month, and identities between them: what ``identities`` is written in.

``now("holders.loss")`` is what the systems gave, ``was("holders.loss")`` the state that the month began with;
sums, differences and products of figures are figures.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .record import Month
from .system import Economy

Array = NDArray[np.float64]
Names = Callable[[Economy], Sequence[str]]

SMALL = 1e-9
"""What a figure may be off by: relative, or in its unit where it is below one."""


@dataclass
class Reading:
    """A month as identities read it."""

    economy: Economy
    paths: int
    month: Month
    last: dict[str, Any]
    """What the systems gave the month before; nothing in the first."""
    missing: set[str] = field(default_factory=set)
    """Variables asked for in vain."""

    def now(self, name: str) -> Array:
        return self._get(name, self.month.seen)

    def was(self, name: str) -> Array:
        return self._get(name, self.month.before, self.last)

    def _get(self, name: str, *places: dict[str, Any]) -> Array:
        """(paths,) or (rows, paths); 0 where there is no such variable: not every firm has a GPU loan."""
        place = next((p for p in places if name in p), None)
        if place is None:
            self.missing.add(name)
            return np.zeros(self.paths)
        found = np.asarray(place[name], np.float64)
        return np.broadcast_to(found, (*found.shape[:-1], self.paths))

    def rows(self, table: str) -> list[Any]:
        """The rows of a table of the config, ``firms.firm``."""
        return rows_of(self.economy, table)


def rows_of(economy: Economy, table: str) -> list[Any]:
    system, _, name = table.partition(".")
    return list(getattr(economy.systems[system], name))


@dataclass(frozen=True)
class Figure:
    """Something read off a month: (paths,), or (rows, paths)."""

    read: Callable[[Reading], Any]

    def _with(self, other: Any, make: Callable[[Any, Any], Any]) -> Figure:
        second = figure(other)
        return Figure(lambda m: make(self.read(m), second.read(m)))

    def __add__(self, other: Any) -> Figure:
        return self._with(other, operator.add)

    def __sub__(self, other: Any) -> Figure:
        return self._with(other, operator.sub)

    def __mul__(self, other: Any) -> Figure:
        return self._with(other, operator.mul)

    def total(self) -> Figure:
        """Summed over the rows."""
        return Figure(lambda m: self.read(m).sum(axis=0))

    def __rsub__(self, other: Any) -> Figure:
        return figure(other) - self

    def above(self, other: Any) -> Figure:
        """1 where it is larger, beyond rounding; else 0."""
        return self._with(other, lambda x, y: np.where(x - y > SMALL * _scale(x, y), 1.0, 0.0))


def _scale(x: Any, y: Any) -> Any:
    return np.maximum(np.maximum(np.abs(x), np.abs(y)), 1.0)


def figure(x: Any) -> Figure:
    return x if isinstance(x, Figure) else Figure(lambda m: np.full(m.paths, float(x)))


def now(name: str) -> Figure:
    return Figure(lambda m: m.now(name))


def was(name: str) -> Figure:
    return Figure(lambda m: m.was(name))


def each(table: str, pattern: str, *, before: bool = False) -> Figure:
    """A row for each of a table's: ``each("firms.firm", "gpu_loans.margin_{}")``."""

    def read(m: Reading) -> Array:
        get = m.was if before else m.now
        found = [get(pattern.format(r.name)) for r in m.rows(table)]
        return np.stack(found) if found else np.zeros((0, m.paths))

    return Figure(read)


def given(table: str, field_: str) -> Figure:
    """A field of a table, (rows, 1)."""
    return Figure(lambda m: np.array([[float(getattr(r, field_))] for r in m.rows(table)]))


def set_value(name: str) -> Figure:
    """A value of the config, ``fleet.scrap``."""
    system, _, key = name.partition(".")
    return Figure(lambda m: np.full(m.paths, getattr(m.economy.systems[system], key)))


def lesser(a: Any, b: Any) -> Figure:
    return figure(a)._with(b, np.minimum)


def greater(a: Any, b: Any) -> Figure:
    return figure(a)._with(b, np.maximum)


@dataclass(frozen=True)
class Identity:
    """``left`` and ``right`` are equal, or left is at most right (``<=``) or below it (``<``)."""

    system: str
    title: str
    left: Figure
    relation: str
    right: Figure
    reads: tuple[str, ...] = ()
    """Other systems that must be there."""
    names: Names | None = None
    """What the rows of the figures are called."""

    def gap(self, m: Reading) -> tuple[Array, NDArray[np.bool_]]:
        """By row and path: how far it is off, and whether that is too far. What is no number is."""
        with np.errstate(all="ignore"):
            left, right = np.broadcast_arrays(
                *(np.atleast_2d(f.read(m)) for f in (self.left, self.right))
            )
            gap = np.abs(left - right) if self.relation == "=" else left - right
            held = left < right if self.relation == "<" else gap <= SMALL * _scale(left, right)
        return gap, ~held

    def rows(self, economy: Economy, count: int) -> list[str]:
        """What each of ``count`` rows is called."""
        names = list(self.names(economy)) if self.names is not None else []
        return (
            names
            if len(names) == count
            else [f"row {i}" if count > 1 else "" for i in range(count)]
        )

    def applies(self, economy: Economy) -> bool:
        return all(s in economy.systems for s in (self.system, *self.reads) if s)


def rows_called(table: str) -> Names:
    return lambda economy: [r.name for r in rows_of(economy, table)]


def _make(title: str, left: Any, relation: str, right: Any, names: Any, reads: Any) -> Identity:
    system, _, text = title.partition(": ")
    called = rows_called(names) if isinstance(names, str) else names
    return Identity(system, text, figure(left), relation, figure(right), tuple(reads), called)


def equal(
    title: str, left: Any, right: Any, names: Any = None, *, reads: Sequence[str] = ()
) -> Identity:
    """``title`` begins with the system's name and a colon."""
    return _make(title, left, "=", right, names, reads)


def at_most(
    title: str, left: Any, right: Any, names: Any = None, *, reads: Sequence[str] = ()
) -> Identity:
    return _make(title, left, "<=", right, names, reads)


def below(
    title: str, left: Any, right: Any, names: Any = None, *, reads: Sequence[str] = ()
) -> Identity:
    return _make(title, left, "<", right, names, reads)


def never_falls(system: str, *names: str, by: Any = None) -> list[Identity]:
    return [
        at_most(f"{system}: {n} never falls", was(f"{system}.{n}"), now(f"{system}.{n}"), by)
        for n in names
    ]


def never_negative(system: str, *names: str, by: Any = None) -> list[Identity]:
    return [
        at_most(f"{system}: {n} is never negative", 0.0, now(f"{system}.{n}"), by) for n in names
    ]


def above_zero(system: str, *names: str) -> list[Identity]:
    return [below(f"{system}: {n} is above 0", 0.0, now(f"{system}.{n}")) for n in names]


def within(system: str, name: str, low: float, high: float) -> list[Identity]:
    x, title = now(f"{system}.{name}"), f"{system}: {name} is at"
    return [at_most(f"{title} least {low:g}", low, x), at_most(f"{title} most {high:g}", x, high)]


def whole(system: str, name: str, most: int) -> Identity:
    x = now(f"{system}.{name}")
    rounded = Figure(lambda m: np.clip(np.round(x.read(m)), 0, most))
    return equal(f"{system}: {name} is a whole number from 0 to {most}", x, rounded)


def reported(units: Sequence[str], but: Sequence[str] = ()) -> tuple[Figure, Names]:
    """All reported variables declared with one of these units, and their names."""

    def names(economy: Economy) -> list[str]:
        return [k for k, o in economy.reported.items() if o.unit in units and k not in but]

    def read(m: Reading) -> Array:
        found = [m.now(k) for k in names(m.economy)]
        return np.stack(found) if found else np.zeros((0, m.paths))

    return Figure(read), names
