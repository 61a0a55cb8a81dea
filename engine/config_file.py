"""Config files: TOML text as values, with whatever the file extends merged underneath. Nothing is checked but the form.

What a file may cost is bounded before it is read: its bytes, the files it extends, how deep its tables are nested.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

from . import limits
from .economy import SYSTEMS
from .locate import CONFIGS
from .system import Rows
from .validate import ConfigError, key_text, near, one_line, shown, twice

MAX_NESTING = 8
"""Of tables and lists in a file; a config needs five."""
_MAX_DEPTH = 8  # of extends
_MAX_BYTES = 1 << 20
_MAX_PARTS = 64  # of a key with dots: the library takes time with the square of it


def shipped() -> list[str]:
    """The names of the scenarios that ship with the package."""
    return sorted(p.stem for p in CONFIGS.glob("*.toml"))


def find_config(name: str, told_by: str = "") -> Path:
    """The file of a scenario: a shipped one by name, or a path that ends in .toml. Raises ConfigError for neither."""
    if "://" in name:
        raise ConfigError(
            [f"{told_by}{shown(name)}: no run lies there, and scenarios are files here"]
        )
    if not name.endswith(".toml"):
        if name in shipped():
            return CONFIGS / f"{name}.toml"
        hint = near(name, shipped())
        raise ConfigError(
            [f"{told_by}scenario {shown(name)}: unknown{hint} (a file's name ends in .toml)"]
        )
    return Path(name)


def read_config(path: Path, children: tuple[Path, ...], problems: list[str]) -> dict[str, Any]:
    """The config with everything it extends merged underneath."""
    told_by = f"{children[-1].name}: extends: " if children else ""
    path = Path(os.path.abspath(path)) if children else path
    if any(os.path.abspath(path) == os.path.abspath(c) for c in children):
        chain = " -> ".join(p.name for p in (*children, path))
        raise ConfigError(
            [f"extends: {chain} goes in a circle; the last should extend none of the others"]
        )
    if len(children) > _MAX_DEPTH:
        raise ConfigError(
            [f"extends: more than {_MAX_DEPTH} files deep at {path.name}; it should be fewer"]
        )
    raw = _parse(path, told_by)
    limits.name_rows(raw)
    parent = raw.pop("extends", None)
    if parent is not None and not isinstance(parent, str):
        raise ConfigError(
            [
                f"{path.name}: extends = {shown(parent)}: should be a scenario's name or a .toml file, in quotes"
            ]
        )
    below: dict[str, Any] = {}
    if parent is not None:
        base = (
            path.parent / parent
            if parent.endswith(".toml")
            else find_config(parent, f"{path.name}: extends: ")
        )
        below = read_config(base, (*children, path), problems)
    for at, rows in _tables_of_rows(raw):
        problems += _check_rows(at, rows, below, path.name)
    return merge({limits.KEY: []} | below, raw)  # rows of one name, said above, become one


def _parse(path: Path, told_by: str) -> dict[str, Any]:
    """The text of a file as TOML gives it; ConfigError where it cannot be read."""
    where = f"{told_by}{one_line(str(path), 500)}"
    too_deep = [f"{where}: lists and tables should be nested {MAX_NESTING} deep at most"]
    try:
        text = _bytes(path, where).decode("utf-8-sig")
        if any(_long_key(line) for line in text.split("\n") if line.count(".") > _MAX_PARTS):
            raise ConfigError(too_deep)
        raw = tomllib.loads(text)
    except ConfigError:
        raise
    except UnicodeDecodeError:
        raise ConfigError([f"{where}: not text in UTF-8; it should be a TOML file"]) from None
    except RecursionError:
        raise ConfigError(too_deep) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{where}: not TOML: {error}"]) from None
    except ValueError:  # of int
        raise ConfigError(
            [f"{where}: not TOML: a whole number has too many digits; it should have 64 bits"]
        ) from None
    if deeper(raw, MAX_NESTING):
        raise ConfigError(too_deep)
    return raw


def _bytes(path: Path, where: str) -> bytes:
    """What is in a file that is small enough."""
    try:
        if path.exists() and not path.is_file():
            raise ConfigError([f"{where}: no file; it should be a TOML file"])
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError([f"{where}: no such file"]) from None
    except OSError as error:
        raise ConfigError([f"{where}: cannot be read ({error.strerror or error})"]) from None
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError([f"{where}: no name of a file"]) from None  # a zero byte in it
    if len(data) > _MAX_BYTES:
        raise ConfigError([f"{where}: should be smaller than {_MAX_BYTES:,} bytes, as configs are"])
    return data


_TOKEN = re.compile(r""""(?:[^"\\]|\\.)*+"?|'[^']*+'?|[\w+-]++|[ \t]++|.""")


def _long_key(line: str) -> bool:
    """Whether a key of a line has more parts than any that is meant, in time proportional to the line's length."""
    dots = 0
    for token in _TOKEN.finditer(line):
        text = token[0]
        if text == ".":
            dots += 1
        elif not (text[0] in "\"'_+- \t" or text[0].isalnum()):
            dots = 0
        if dots > _MAX_PARTS:
            return True
    return False


def deeper(value: Any, levels: int) -> bool:
    """Whether tables and lists are nested deeper than this; never deep in recursion itself."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(deeper(v, levels - 1) for v in inner)


def _tables_of_rows(raw: dict[str, Any]) -> Iterator[tuple[list[str], list[Any]]]:
    """Whatever a file holds in the form of rows, and where."""
    for key, table in raw.items():
        if key == limits.KEY and isinstance(table, list):
            yield [key], table
        for name, rows in table.items() if isinstance(table, dict) else ():
            if isinstance(rows, list):
                yield [key, name], rows


def _check_rows(at: list[str], rows: list[Any], below: dict[str, Any], file: str) -> list[str]:
    """One file names a row once (over files, rows of one name merge), and removes only what there is."""
    where = ".".join(map(key_text, at))
    names = [r["name"] for r in rows if is_rows([r])]
    found = [
        f"{where}: the name {shown(n)} stands {count} times in {file}; names should differ"
        for n, count in twice(names).items()
    ]
    if is_table_of_rows(at):
        under: Any = below
        for part in at:
            under = under.get(part) if isinstance(under, dict) else None
        there = row_names(under if isinstance(under, list) else [], at)
        found += [
            f"{where}.{key_text(r['name'])}: there is no such row to remove{near(r['name'], there)}"
            for r in rows
            if is_rows([r]) and r.get("remove") is True and r["name"] not in there
        ]
    return found


def merge(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """Tables merge key by key; a table of named rows merges by name, and a new name adds a row."""
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = merge(old, value)
        elif is_rows(old) and is_rows(value):
            rows = {r["name"]: r for r in old}
            for r in value:
                rows[r["name"]] = merge(rows.get(r["name"], {}), r)
            merged[key] = list(rows.values())
        else:
            merged[key] = value
    return merged


def is_rows(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and all(
        isinstance(r, dict) and isinstance(r.get("name"), str) for r in value
    )


def row_names(rows: list[Any], table: list[str]) -> list[str]:
    return list(dict.fromkeys([*default_rows(table), *(r["name"] for r in rows if is_rows([r]))]))


def is_table_of_rows(path: list[str]) -> bool:
    return path == [limits.KEY] or (
        len(path) == 2
        and path[0] in SYSTEMS
        and isinstance(SYSTEMS[path[0]].fields.get(path[1]), Rows)
    )


def default_rows(path: list[str]) -> list[str]:
    """The names of the default rows of a table."""
    if path == [limits.KEY]:
        return []
    declared = SYSTEMS[path[0]].fields[path[1]]
    return [r["name"] for r in declared.default] if isinstance(declared, Rows) else []
