"""What differs between how two runs were made: their arguments, their configs, the files these name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .result import Result
from .run_store import sha256
from .validate import ConfigError, shown

ARGUMENTS = ("months", "seed", "path_count", "dtype", "backend")
_SPELT = {"path_count": "paths"}
_NONE = "-"


@dataclass(frozen=True)
class Change:
    """A parameter, in A and in B, as TOML would spell it; ``-`` where it is not set."""

    key: str
    a: str
    b: str


def changes(a: Result, b: Result) -> list[Change]:
    """The arguments first, then the config by dotted key, rows of a table by their names.

    Files are compared by what they hold. Runs made in Python without a config have only arguments.
    """
    found = [
        Change(_SPELT.get(name, name), shown(getattr(a, name)), shown(getattr(b, name)))
        for name in ARGUMENTS
        if getattr(a, name) != getattr(b, name)
    ]
    if a.config is None or b.config is None:
        return found
    flat = [flatten({k: v for k, v in r.config.items() if k not in ("title", "months")})
            for r in (a, b) if r.config is not None]  # fmt: skip
    files = [_files(r) for r in (a, b)]
    for key in dict.fromkeys([*flat[0], *flat[1]]):
        held = [f.get(key) for f in files]
        if held[0] and held[1]:
            if held[0] != held[1]:
                texts = [
                    f"{shown(c[key])}, SHA-256 {h[:8]}"
                    for c, h in zip(flat, held, strict=True)
                    if h
                ]
                found.append(Change(key, texts[0], texts[1]))
        elif key not in flat[0] or key not in flat[1] or flat[0][key] != flat[1][key]:
            found.append(Change(key, *(shown(c[key]) if key in c else _NONE for c in flat)))
    return found


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """A config as dotted keys; a list of numbers or of texts is one value."""
    if isinstance(values, dict):
        parts = list(values.items())
    elif (
        isinstance(values, list)
        and values
        and all(isinstance(v, dict) and "name" in v for v in values)
    ):
        parts = [(row["name"], {k: v for k, v in row.items() if k != "name"}) for row in values]
    else:
        return {prefix: values}
    flat: dict[str, Any] = {}
    for name, value in parts:
        flat |= flatten(value, f"{prefix}.{name}" if prefix else str(name))
    return flat


def _files(r: Result) -> dict[str, str]:
    """The SHA-256 of each file that a run's config names, by key; none where the config can no longer be read."""
    try:
        named = r.scenario.files()
        return {f"{system}.{field}": sha256(Path(p)) for (system, field), p in named.items()}
    except (ConfigError, OSError):
        return {}
