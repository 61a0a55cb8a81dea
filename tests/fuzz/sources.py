"""What is mutated: the shipped scenarios as they are, and written out in full; and a writer of TOML that writes anything."""

from __future__ import annotations

from functools import cache
from typing import Any

from overbuilt import load, shipped
from overbuilt.engine.locate import CONFIGS

FULL = ("base", "textbook", "price_war")
LIMITS = [
    {"metric": "private_credit.loss", "max": 1e6},
    {"name": "tail", "metric": "private_credit.loss.es99", "min": 0.0, "max": 1e6},
    {"name": "likely", "metric": "private_credit.loss > 200", "max": 0.99},
]


class Raw(str):
    """TOML to be written as it is: a date, a number that Python does not spell so."""


@cache
def documents() -> dict[str, dict[str, Any]]:
    """Configs by name: shipped files that extend, and whole ones with every value in place."""
    short: dict[str, dict[str, Any]] = {
        f"{name} as shipped": {"extends": name, "title": name} for name in shipped()
    }
    whole: dict[str, dict[str, Any]] = {}
    for name in FULL:
        values = load(name, also=("claims",) if name == "base" else ()).values
        whole[name] = {**values, "limit": [dict(row) for row in LIMITS]}
    return {**whole, **short}


@cache
def texts() -> dict[str, str]:
    """The same as text, and the shipped files byte for byte."""
    files = {p.name: p.read_text(encoding="utf-8") for p in sorted(CONFIGS.glob("*.toml"))}
    return {**files, **{name: toml(documents()[name]) for name in FULL}}


def toml(document: dict[str, Any]) -> str:
    """A config as TOML: sections where its form has them, inline tables where it does not."""
    plain, sections = [], []
    for key, value in document.items():
        if isinstance(value, dict):
            sections.append(_section(key, value))
        elif _is_section(value):
            sections += [f"[[{word(key)}]]\n{_lines(row)}" for row in value]
        else:
            plain.append(f"{word(key)} = {text(value)}\n")
    return "".join([*plain, *sections])


def _section(key: str, table: dict[str, Any]) -> str:
    rows = {k: v for k, v in table.items() if _is_section(v)}
    parts = [f"[{word(key)}]\n{_lines({k: v for k, v in table.items() if k not in rows})}"]
    parts += [f"[[{word(key)}.{word(k)}]]\n{_lines(row)}" for k, v in rows.items() for row in v]
    return "".join(parts)


def _is_section(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(r, dict) for r in value)


def _lines(table: dict[str, Any]) -> str:
    return "".join(f"{word(k)} = {text(v)}\n" for k, v in table.items())


def word(key: Any) -> str:
    """A key."""
    plain = isinstance(key, str) and key and all(c.isascii() and (c.isalnum() or c in "_-") for c in key)  # fmt: skip
    return key if plain else text(str(key))


def text(value: Any) -> str:
    """A value."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        spelt = (f"\\U{ord(c):08x}" if c in '"\\' or not c.isprintable() else c for c in value)
        return f'"{"".join(spelt)}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{word(k)} = {text(v)}' for k, v in value.items())}}}"
    return repr(value)
