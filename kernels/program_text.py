"""A program as a text and back.

The grammar of program.py is the format: a node is a list of its class's place in CLASSES and its fields in their
order; a value is its place in a table of all values. What a kind of field looks like is said by its annotation, so a
class that the grammar gains is written too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import astuple, fields
from typing import Any, get_args

from .program import Block, Program, Statement, Value

CLASSES: tuple[type, ...] = (Program, Block, *get_args(Statement))
_KINDS = {c: [str(f.type) for f in fields(c)] for c in CLASSES}
_PLACES = {c: i for i, c in enumerate(CLASSES)}


def to_text(program: Program) -> str:
    """The program as JSON. KeyError where a field is annotated in a way that is not known here."""
    writer = _Writer()
    told = writer.node(program)
    values = [astuple(v) for v in writer.places]
    return json.dumps([values, told], separators=(",", ":"))


def from_text(text: str) -> Program:
    """The program that ``to_text`` wrote."""
    values, told = json.loads(text)
    made: Program = _Reader(values).node(told)
    return made


class _Writer:
    def __init__(self) -> None:
        self.places: dict[Value, int] = {}
        self.by_kind: dict[str, Callable[[Any], Any]] = {
            "Value": self.value,
            "tuple[Value, ...]": lambda vs: [self.value(v) for v in vs],
            "Block": self.node,
            "Block | None": lambda b: None if b is None else self.node(b),
            "tuple[Statement, ...]": lambda ss: [self.node(s) for s in ss],
            "tuple[Op, ...]": lambda ss: [self.node(s) for s in ss],
            **dict.fromkeys((*_PLAIN, *_TUPLES), lambda x: x),
        }

    def value(self, v: Value) -> int:
        return self.places.setdefault(v, len(self.places))

    def node(self, x: Any) -> list[Any]:
        parts = zip(fields(x), _KINDS[type(x)], strict=True)
        return [_PLACES[type(x)], *[self.by_kind[kind](getattr(x, f.name)) for f, kind in parts]]


class _Reader:
    def __init__(self, values: list[Any]) -> None:
        table = [Value(*v) for v in values]
        by_kind: dict[str, Callable[[Any], Any]] = {
            "Value": table.__getitem__,
            "tuple[Value, ...]": lambda places: tuple([table[i] for i in places]),
            "Block": self.node,
            "Block | None": lambda told: None if told is None else self.node(told),
            "tuple[Statement, ...]": lambda told: tuple([self.node(s) for s in told]),
            "tuple[Op, ...]": lambda told: tuple([self.node(s) for s in told]),
            **dict.fromkeys(_PLAIN, lambda x: x),
            **dict.fromkeys(_TUPLES, _tuples),
        }
        self.readers = [[by_kind[kind] for kind in _KINDS[c]] for c in CLASSES]

    def node(self, told: list[Any]) -> Any:
        place, *parts = told
        readers = self.readers[place]
        return CLASSES[place](*[read(x) for read, x in zip(readers, parts, strict=True)])


_PLAIN = ("bool", "float", "int", "str")
_TUPLES = ("Any", "tuple[str, ...]", "tuple[tuple[str, str], ...]", "tuple[tuple[str, int], ...]")


def _tuples(x: Any) -> Any:
    """JSON has no tuples; a program has no lists."""
    return tuple(map(_tuples, x)) if type(x) is list else x
