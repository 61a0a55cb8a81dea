"""Mutations, as Hypothesis draws them: of values and keys of a config, of lines and bytes of a file, of arguments."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from overbuilt.engine.economy import SYSTEMS
from overbuilt.engine.system import Rows

from .sources import Raw

Document = dict[str, Any]
Path = tuple[str | int, ...]

NAMES = (
    "", "x", "base", "openai", "hopper", "price_war", "name", "remove", "title", "months", "limit", "extends",
    "__class__", "self", "cls", "model_config", "fields", "a.b", "a b", "µ", "=1+1", "../../etc/passwd",
    "/etc/passwd", "book.csv", "book_new.csv", "/dev/zero", "nan", "\x1b[31mred\x1b[0m", "\x00", "\u202e", "\n",
    "x" * 300, "x" * 5000, "{0}", "%s", "[bold]", "NULL", "-1",
)  # fmt: skip
NUMBERS: tuple[Any, ...] = (
    math.nan, math.inf, -math.inf, -0.0, 0.0, 0, 1, -1, 1e308, -1e308, 5e-324, 1e-300, 1e16, 0.5, 1 + 2**-52,
    2**31, 2**53 + 1, 2**63, -(2**63), 2**64, 10**400, -(10**400), True, False,
)  # fmt: skip
ODD = (
    Raw("1979-05-27"), Raw("1979-05-27T07:32:00Z"), Raw("07:32:00"), Raw("0x" + "f" * 5000), Raw("9" * 5000),
    Raw("+nan"), Raw("-0"), Raw("1e400"), Raw("0b1"), Raw("1_000"), Raw('"""a\nb"""'), Raw("''"), Raw("{}"),
    Raw("[[[[[[[[[[[[1]]]]]]]]]]]]"), Raw("[]"), Raw("[[]]"), Raw("{a = {b = {c = [1]}}}"), Raw("[1, 'a', {}]"),
    Raw("1 # x"), Raw("1\nmonths = 3"),
)  # fmt: skip
JUNK: st.SearchStrategy[Any] = (
    st.sampled_from(NUMBERS)
    | st.sampled_from(NAMES)
    | st.sampled_from(ODD)
    | st.floats(width=64)
    | st.floats(-2, 2)
    | st.integers(-(2**70), 2**70)
    | st.text(max_size=12)
    | st.lists(st.floats(-1, 1), max_size=4)
)


# ---- of a document
def places(document: Any, at: Path = ()) -> list[Path]:
    """Where its values lie: tables, rows, elements and all."""
    inner = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    found: list[Path] = [at] if at else []
    for key, value in inner:
        found += places(value, (*at, key))
    return found


def inside(document: Any, path: Path) -> Any:
    for part in path:
        document = document[part]
    return document


@st.composite
def edited(draw: st.DrawFn, document: Document) -> tuple[Document, list[str]]:
    """A document with one to three edits, and what they were."""
    made, log = copy.deepcopy(document), []
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        known = places(made)
        if not known:
            break
        path = known[draw(st.integers(0, len(known) - 1))]
        kind = draw(st.sampled_from(tuple(EDITS)))
        EDITS[kind](draw, made, path)
        log.append(f"{kind} {'.'.join(map(str, path))}")
    return made, log


def _replace(draw: st.DrawFn, made: Document, path: Path) -> None:
    inside(made, path[:-1])[path[-1]] = draw(JUNK)


def _scale(draw: st.DrawFn, made: Document, path: Path) -> None:
    """A number beside what it was: these are accepted most often."""
    at, key = inside(made, path[:-1]), path[-1]
    number = isinstance(at[key], int | float) and not isinstance(at[key], bool)
    if (number and not isinstance(at[key], int)) or (number and abs(at[key]) < 2**70):
        factor = draw(st.sampled_from((0.5, 0.9, 1.001, 1.1, 2.0, -1.0, 10.0)))
        at[key] = round(at[key] * factor) if isinstance(at[key], int) else at[key] * factor
    else:
        at[key] = draw(JUNK)


def _drop(draw: st.DrawFn, made: Document, path: Path) -> None:
    del inside(made, path[:-1])[path[-1]]


def _rename(draw: st.DrawFn, made: Document, path: Path) -> None:
    at, key = inside(made, path[:-1]), path[-1]
    if isinstance(at, dict):
        at[draw(st.sampled_from(NAMES) | st.text(max_size=8))] = at.pop(key)


def _repeat(draw: st.DrawFn, made: Document, path: Path) -> None:
    """An element or row once more, or a value under another key beside it."""
    at, key = inside(made, path[:-1]), path[-1]
    if isinstance(at, list):
        at.insert(draw(st.integers(0, len(at))), copy.deepcopy(at[key]))  # type: ignore[index]
    else:
        at[draw(st.sampled_from(NAMES))] = copy.deepcopy(at[key])


def _swap(draw: st.DrawFn, made: Document, path: Path) -> None:
    """Two values of one table, or two elements, change places."""
    at = inside(made, path[:-1])
    keys = list(at) if isinstance(at, dict) else range(len(at))
    other = draw(st.sampled_from(list(keys)))
    at[path[-1]], at[other] = at[other], at[path[-1]]


def _move(draw: st.DrawFn, made: Document, path: Path) -> None:
    """A value stands somewhere else instead."""
    known = places(made)
    other = known[draw(st.integers(0, len(known) - 1))]
    inside(made, other[:-1])[other[-1]] = copy.deepcopy(inside(made, path))


EDITS: dict[str, Callable[[st.DrawFn, Document, Path], None]] = {
    "replace": _replace,
    "scale": _scale,
    "drop": _drop,
    "rename": _rename,
    "repeat": _repeat,
    "swap": _swap,
    "move": _move,
}


# ---- of a key
def known_beside(path: Path) -> set[str]:
    """The keys that may stand where this one does."""
    if len(path) == 1:
        return {"title", "as_of", "months", "systems", "limit", "extends", *SYSTEMS}
    if path[0] == "limit":
        return {"name", "metric", "min", "max", "remove"}
    fields = SYSTEMS[str(path[0])].fields
    if len(path) == 2:
        return set(fields)
    declared = fields[str(path[1])]
    assert isinstance(declared, Rows)
    return {*declared.row.fields, "remove"}


@st.composite
def misspelt(draw: st.DrawFn, document: Document) -> tuple[Document, str]:
    """A document in which one key has a letter too few, too many, or another one; and that key."""
    made = copy.deepcopy(document)
    keys = [p for p in places(made) if isinstance(p[-1], str)]
    path = keys[draw(st.integers(0, len(keys) - 1))]
    old, letter = str(path[-1]), draw(st.sampled_from("aeiou_sxS2-"))
    at = draw(st.integers(0, len(old) - 1))
    new = draw(
        st.sampled_from(
            (old[:at] + old[at + 1 :], old[:at] + letter + old[at:], old[:at] + letter + old[at + 1 :],
             old.upper(), old + "s", old + " ", old[:at] + old[at:][1:2] + old[at] + old[at + 2 :])
        )
    )  # fmt: skip
    if not new or new in known_beside(path):
        new = f"{old}_x"
    table = inside(made, path[:-1])
    table[new] = table.pop(old)
    return made, new


# ---- of bytes
PIECES = (
    b"\x00", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xc3", b"\xed\xa0\x80", b"\r", b"\n", b"\r\n", b"\t", b" ",
    b'"', b"'", b'"""', b"#", b"=", b"[", b"]", b"[[", b"{", b"}", b",", b".", b"-", b"e", b"_", b"0", b"9" * 30,
    b"nan", b"inf", b"true", b"\\", b"\\u0000", b"\x1b[2J", b"\xe2\x80\xae", b"[" * 200, b"a." * 100,
)  # fmt: skip


@st.composite
def scrambled(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes with one to four changes."""
    for _ in range(draw(st.sampled_from((1, 1, 2, 4)))):
        size = len(data)
        at = draw(st.integers(0, max(size - 1, 0)))
        kind = draw(
            st.sampled_from(("flip", "digit", "insert", "cut", "truncate", "lines", "whole"))
        )
        if kind == "flip" and size:
            data = data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
        elif kind == "digit":
            digits = [i for i, b in enumerate(data) if 48 <= b <= 57]
            if digits:
                at = digits[draw(st.integers(0, len(digits) - 1))]
                data = data[:at] + draw(st.sampled_from((b"0", b"1", b"7", b"-", b""))) + data[at + 1 :]  # fmt: skip
        elif kind == "insert":
            data = data[:at] + draw(st.sampled_from(PIECES)) + data[at:]
        elif kind == "cut":
            data = data[:at] + data[at + draw(st.sampled_from((1, 1, 3, 20, 400))) :]
        elif kind == "truncate":
            data = data[:at]
        elif kind == "lines":
            data = _lines(draw, data)
        else:
            data = draw(st.sampled_from(WHOLE))(data)
    return data


def _lines(draw: st.DrawFn, data: bytes) -> bytes:
    lines = data.split(b"\n")
    a, b = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    if draw(st.booleans()):
        lines[a], lines[b] = lines[b], lines[a]
    else:
        lines.insert(a, lines[b])
    return b"\n".join(lines)


WHOLE: tuple[Callable[[bytes], bytes], ...] = (
    lambda data: data.replace(b"\n", b"\r\n"),
    lambda data: data.replace(b"\n", b"\r"),
    lambda data: b"\xef\xbb\xbf" + data,
    lambda data: data.decode("utf-8", "replace").encode("utf-16"),
    lambda data: data + data,
    lambda data: data.rstrip(b"\n"),
    lambda data: b"",
)
