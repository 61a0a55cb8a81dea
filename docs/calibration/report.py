"""What a fit says, beside the value that ships, and how it is printed."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd

from overbuilt.engine.system import Rows, System

WIDTH = 100
NO_REASON = "no reason is known: the value or the fit is wrong"


class MissingDataError(Exception):
    """A file of the data folder is not there."""


@dataclass(frozen=True)
class Data:
    """The data folder."""

    folder: Path

    def read(self, name: str, **options: Any) -> pd.DataFrame:
        path = self.folder / name
        if not path.is_file():
            raise MissingDataError(f"{path}: no such file; --data names the folder that holds it")
        table: pd.DataFrame = pd.read_csv(path, **options)
        return table


def shipped(path: str) -> float:
    """A default as the engine declares it: ``system.field``, ``system.field[0][1]``, ``system.table.row.field``."""
    system, *names = re.findall(r"[^.\[\]]+", path)
    module = import_module(f"overbuilt.engine.economy.{system}")
    found = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, System) and c is not System and c.key() == system
    ]
    declared = found[0].fields[names[0]]
    value: Any = declared.default_value()
    if isinstance(declared, Rows):
        row = next(r for r in value if r["name"] == names[1])
        value = row.get(names[2], declared.row.fields[names[2]].default_value())
        names = names[2:]
    for i in names[1:]:
        value = value[int(i)]
    return float(value)


@dataclass(frozen=True)
class Fit:
    """One estimate with its range, the data and method behind it, and the shipped value that it judges.

    ``parameter`` is a path of ``shipped``, or a name when ``value`` gives what the shipped parameters imply.
    """

    parameter: str
    unit: str
    estimate: float
    low: float
    high: float
    range_is: str
    data: str
    method: str
    judged: str
    """What stayed a judgement, and why."""
    because: str = ""
    """Why a shipped value outside the range stands nevertheless."""
    value: float | None = None
    digits: int = 3

    @property
    def shipped(self) -> float:
        return shipped(self.parameter) if self.value is None else self.value

    @property
    def agrees(self) -> bool:
        return self.low <= self.shipped <= self.high

    def number(self, x: float) -> str:
        return f"{x:.{self.digits}g}" if abs(x) < 10**self.digits else f"{x:,.0f}"

    @property
    def result(self) -> str:
        low, high = self.number(self.low), self.number(self.high)
        return f"{self.number(self.estimate)} ({low} to {high})"

    def lines(self) -> list[str]:
        verdict = "agrees" if self.agrees else "differs"
        head = f"{self.parameter} ({self.unit}): shipped {self.number(self.shipped)}, {verdict}"
        body = [
            ("fit", f"{self.result}; range: {self.range_is}"),
            ("data", self.data),
            ("method", self.method),
            ("judgement", self.judged),
        ]
        if not self.agrees:
            body.append(("differs because", self.because or NO_REASON))
        return [head, *(line for k, text in body for line in wrapped(f"{k}: {text}"))]


@dataclass(frozen=True)
class Section:
    """The fits of one part of the economy, and figures that no parameter carries."""

    key: str
    title: str
    fits: Sequence[Fit]
    notes: Sequence[str] = field(default_factory=tuple)

    def text(self) -> str:
        lines = [self.title, "=" * len(self.title)]
        for note in self.notes:
            lines += textwrap.wrap(note, WIDTH, subsequent_indent="  ")
        for fit in self.fits:
            lines += ["", *fit.lines()]
        return "\n".join(lines)

    def markdown(self) -> str:
        """The table of docs/calibration.md."""
        lines = [
            "| parameter | shipped | fit (range) | data and method | what stayed a judgement |",
            "|---|---|---|---|---|",
        ]
        for f in self.fits:
            mark = "" if f.agrees else " (differs)"
            cells = (
                f"`{f.parameter}`, {f.unit}" if f.value is None else f"{f.parameter}, {f.unit}",
                f"{f.number(f.shipped)}{mark}",
                f"{f.result}, {f.range_is}",
                f"{f.data}. {f.method[0].upper()}{f.method[1:]}",
                f.judged if f.agrees else f"{f.judged}. Differs because {f.because or NO_REASON}",
            )
            lines.append("| " + " | ".join(c.replace("|", "/") for c in cells) + " |")
        return "\n".join(lines)


def wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="        ")


def summary(sections: Sequence[Section]) -> str:
    """How many shipped values agree, and which do not."""
    fits = [f for s in sections for f in s.fits]
    out = [f for f in fits if not f.agrees]
    lines = [f"{len(fits)} shipped values beside a fit: {len(fits) - len(out)} lie in its range"]
    lines += [
        f"    outside: {f.parameter}, shipped {f.number(f.shipped)}, fit {f.result}" for f in out
    ]
    return "\n".join(lines)
