"""Parameters by name: every number of an economy that the config may set, and how large it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from statistics import median
from typing import Any

import numpy as np

from .system import Economy, Parameter, Rows
from .validate import ConfigError, near, shown

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """A number of the economy that the config may set.

    ``path`` leads to it through the values of its system: fields, rows and elements by number. ``name`` is
    dotted, as kernels know it: ``firms.firm.oracle.cash``, ``shocks.correlation[0][1]``.
    """

    name: str
    system: str
    path: Path
    value: float
    declared: Parameter

    @property
    def unit(self) -> str:
        return self.declared.unit

    def within(self, value: float) -> bool:
        """Whether the declared bounds allow the value."""
        b = self.declared.bounds
        return (
            value >= b.get("ge", -np.inf)
            and value > b.get("gt", -np.inf)
            and value <= b.get("le", np.inf)
            and value < b.get("lt", np.inf)
        )


def places(economy: Economy) -> list[Place]:
    """All numbers that parameters hold, those of rows, vectors and matrices included, in the systems' order."""
    return [
        Place(name, key, path, value, declared)
        for key, system in economy.systems.items()
        for name, path, value, declared in _leaves(type(system), system.values(), key, ())
    ]


def _leaves(
    cls: Any, values: dict[str, Any], name: str, path: Path
) -> Iterator[tuple[str, Path, float, Parameter]]:
    for field, declared in cls.fields.items():
        if isinstance(declared, Parameter):
            inside = _elements(values[field], f"{name}.{field}", (*path, field))
            yield from ((n, p, v, declared) for n, p, v in inside)
        elif isinstance(declared, Rows):
            for k, row in enumerate(values[field]):
                inner = f"{name}.{field}.{row['name']}"
                yield from _leaves(declared.row, row, inner, (*path, field, k))


def _elements(value: Any, name: str, path: Path) -> Iterator[tuple[str, Path, float]]:
    if isinstance(value, list | tuple):
        for k, v in enumerate(value):
            yield from _elements(v, f"{name}[{k}]", (*path, k))
    else:
        yield name, path, float(value)


def chosen(known: Sequence[Place], patterns: Sequence[str]) -> list[Place]:
    """Those that some pattern names; all where there is none. ``*`` and ``?`` stand for any letters.

    A vector's or a matrix's name stands for its elements. Raises ConfigError where a pattern names nothing.
    """
    if not patterns:
        return list(known)
    problems, kept = [], set()
    for pattern in patterns:
        # brackets are of elements, not of fnmatch
        plain = pattern.strip().replace("[", "[[]")
        hits = [
            p.name
            for p in known
            if fnmatchcase(p.name, plain) or fnmatchcase(p.name.partition("[")[0], plain)
        ]
        if not hits:
            names = [p.name for p in known]
            hint = near(pattern, names, listed=False) or "; overbuilt explain SYSTEM lists them"
            problems.append(f"parameter {shown(pattern)}: unknown{hint}")
        kept |= set(hits)
    if problems:
        raise ConfigError(problems)
    return [p for p in known if p.name in kept]


def scale(place: Place, known: Sequence[Place]) -> float:
    """How large the parameter is: what a relative change is relative to.

    Of zero: the median size of those beside it that are not zero (the vector's or matrix's other elements, else
    the same field of other rows), else that of its default, else 1.
    """
    if place.value:
        return abs(place.value)
    name, path = place.name.partition("[")[0], place.path
    own = [p for p in known if p.system == place.system and p.value]
    elements = [abs(p.value) for p in own if p.name.partition("[")[0] == name]
    # rows are numbered second in a path
    column = [
        abs(p.value)
        for p in own
        if len(path) > 2 and p.path[0] == path[0] and p.path[2:] == path[2:]
    ]
    default = place.declared.default
    usual = abs(float(default)) if isinstance(default, int | float) else 0.0
    return median(elements or column or [usual or 1.0])
