"""A run's whole config as TOML: what the report hands out, so that the run can be made again."""

from __future__ import annotations

import json
import re
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml(values: dict[str, Any]) -> str:
    """The text of a config, a table for each system; rows stand on lines of their own.

    Raises TypeError for what a config cannot hold.
    """
    plain = {k: v for k, v in values.items() if not isinstance(v, dict)}
    lines = [f"{_key(k)} = {_value(v, rows=True)}" for k, v in plain.items()]
    for name, table in values.items():
        if isinstance(table, dict):
            lines += ["", f"[{_key(name)}]"]
            lines += [f"{_key(k)} = {_value(v, rows=True)}" for k, v in table.items()]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    """A basic string: JSON's escapes are TOML's, but for DEL, which JSON leaves as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any, rows: bool = False) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        inner = [_value(v) for v in value]
        if rows and value and isinstance(value[0], dict):
            return "[\n" + "".join(f"  {v},\n" for v in inner) + "]"
        return f"[{', '.join(inner)}]"
    raise TypeError(f"{value!r} in a config")
