"""Scenarios: a TOML file, what it extends, and overrides, checked as a whole before anything runs."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from .economy import FLOW, SYSTEMS
from .library import CONFIGS
from .system import MAX_MONTHS, Economy, System
from .validate import ConfigError, collect, explain

_MAX_DEPTH = 8  # of extends
_MAX_BYTES = 1 << 20  # of a config file


class _Head(BaseModel):
    """The top level of a config, beside the systems' own tables."""

    model_config = ConfigDict(extra="forbid")
    title: Annotated[str, Strict()] = ""
    as_of: Annotated[str, Strict(), Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")] = "2025-12"
    months: Annotated[int, Strict(), Field(ge=1, le=MAX_MONTHS)] = 60
    systems: list[Annotated[str, Strict()]] = Field(default_factory=lambda: [s.key() for s in FLOW])


@dataclass(frozen=True)
class Scenario:
    """A checked scenario. ``values`` is the whole config, defaults filled in, as TOML would spell it."""

    name: str
    title: str
    as_of: str
    months: int
    values: dict[str, Any] = field(repr=False)
    folder: Path | None = field(default=None, repr=False)

    @cached_property
    def economy(self) -> Economy:
        """The systems of this scenario in their order of flow."""
        made = []
        for key in self.values["systems"]:
            system = SYSTEMS[key]._trusted(self.values[key])
            system.folder = self.folder
            made.append(system)
        return Economy(*made, months=self.months, name=self.name)


def shipped() -> list[str]:
    """The names of the scenarios that ship with the package."""
    return sorted(p.stem for p in CONFIGS.glob("*.toml"))


def load(name_or_path: str | Path, overrides: dict[str, Any] | None = None) -> Scenario:
    """Read a scenario: a shipped one by name, or a TOML file by path.

    ``overrides`` maps dotted keys to values: ``{"revenue.volatility": 0.2, "months": 36}``; a row of a
    table is named: ``"rental.generation.hopper.price"``. Raises ConfigError, whose ``problems`` list
    everything that is wrong.
    """
    path = _find(str(name_or_path))
    raw = _read(path, ())
    problems: list[str] = []
    for key, value in (overrides or {}).items():
        _override(raw, key, value, problems)
    scenario = _check(path, raw, problems)
    if problems or scenario is None:
        raise ConfigError(problems)
    return scenario


def _find(name: str) -> Path:
    if not name.endswith(".toml"):
        if name in shipped():
            return CONFIGS / f"{name}.toml"
        from difflib import get_close_matches

        close = get_close_matches(name, shipped(), n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"shipped are {', '.join(shipped())}"
        raise ConfigError([f"scenario {name!r}: unknown; {hint} (a file's name ends in .toml)"])
    return Path(name)


def _read(path: Path, children: tuple[Path, ...]) -> dict[str, Any]:
    """The config with everything it extends merged underneath."""
    if path in children:
        chain = " -> ".join(p.name for p in (*children, path))
        raise ConfigError([f"extends: {chain} goes in a circle"])
    if len(children) > _MAX_DEPTH:
        raise ConfigError([f"extends: more than {_MAX_DEPTH} files deep at {path.name}"])
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError([f"{path}: larger than {_MAX_BYTES} bytes; a config should be smaller"])
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: cannot be read ({error})"]) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError([f"{path}: not TOML: {error}"]) from None
    parent = raw.pop("extends", None)
    if parent is None:
        return raw
    if not isinstance(parent, str):
        raise ConfigError([f"{path.name}: extends = {parent!r}: should be a scenario's name or a .toml file"])
    base = path.parent / parent
    below = _read(base if parent.endswith(".toml") else _find(parent), (*children, path))
    return _merge(below, raw)


def _merge(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """Tables merge key by key; a table of named rows merges by name, and a new name adds a row."""
    merged = dict(base)
    for key, value in top.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _merge(old, value)
        elif _is_rows(old) and _is_rows(value):
            rows = {r["name"]: r for r in old}
            for r in value:
                rows[r["name"]] = _merge(rows.get(r["name"], {}), r)
            merged[key] = list(rows.values())
        else:
            merged[key] = value
    return merged


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(r, dict) and isinstance(r.get("name"), str) for r in value)


def parse_override(text: str) -> tuple[str, Any]:
    """``key=value`` of the command line; the value is TOML, or a bare word taken as a string."""
    key, sign, value = text.partition("=")
    key = key.strip()
    if not sign or not key:
        raise ConfigError([f"--set {text!r}: should be key=value, for example revenue.volatility=0.2"])
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return key, value.strip()


def _override(raw: dict[str, Any], key: str, value: Any, problems: list[str]) -> None:
    parts = key.split(".")
    at: Any = raw
    for i, part in enumerate(parts[:-1]):
        if isinstance(at, dict) and (part not in at or isinstance(at[part], dict | list)):
            if part not in at:
                at[part] = _default_rows(parts[: i + 1]) or {}
            at = at[part]
        elif _is_rows(at) and part in (names := [r["name"] for r in at]):
            at = at[names.index(part)]
        else:
            problems.append(f"--set {key}: {'.'.join(parts[: i + 1])} is no table of the config")
            return
    if not isinstance(at, dict):
        problems.append(f"--set {key}: name a row first, for example {parts[0]}.{parts[-2]}.NAME.{parts[-1]}")
        return
    at[parts[-1]] = value


def _default_rows(path: list[str]) -> list[dict[str, Any]] | None:
    """The default rows of a table that the config does not spell out."""
    from .system import Rows

    if len(path) == 2 and path[0] in SYSTEMS:
        declared = SYSTEMS[path[0]].fields.get(path[1])
        if isinstance(declared, Rows):
            return [dict(r) for r in declared.default]
    return None


def _fill_rows(key: str, table: dict[str, Any]) -> dict[str, Any]:
    """Rows in the config edit and add to the default rows of the same table, by name."""
    from .system import Rows

    filled = dict(table)
    for name, declared in SYSTEMS[key].fields.items():
        if isinstance(declared, Rows) and _is_rows(table.get(name)):
            filled[name] = _merge({"r": [dict(r) for r in declared.default]}, {"r": table[name]})["r"]
            dropped = {r["name"] for r in table[name] if r.get("remove") is True}
            filled[name] = [
                {k: v for k, v in r.items() if k != "remove"} for r in filled[name] if r["name"] not in dropped
            ]
    return filled


def _check(path: Path, raw: dict[str, Any], problems: list[str]) -> Scenario | None:
    tables = {k: v for k, v in raw.items() if k in SYSTEMS}
    try:
        head = _Head(**{k: v for k, v in raw.items() if k not in SYSTEMS})
    except ValidationError as error:
        known = [*_Head.model_fields, *SYSTEMS]
        problems += [_explain_head(e, known) for e in error.errors()]
        head = _Head()
    unknown = [s for s in head.systems if s not in SYSTEMS]
    problems += [f"systems: {s!r} is unknown; known are {', '.join(SYSTEMS)}" for s in unknown]
    order = [s for s in SYSTEMS if s in head.systems]
    if not unknown and order != head.systems:
        problems.append(f"systems = {head.systems}: should be in the order of flow, each once: {order}")
    values: dict[str, Any] = head.model_dump()
    made: list[tuple[str, System]] = []
    for key in order:
        table = tables.pop(key, {})
        if not isinstance(table, dict):
            problems.append(f"{key} = {table!r}: should be a table, [{key}]")
            continue
        found: list[str] = []
        checked = collect(SYSTEMS[key], _fill_rows(key, table), key, found)
        problems += found
        if not found:
            values[key] = checked
            system = SYSTEMS[key]._trusted(checked)
            system.folder = path.parent
            made.append((key, system))
    problems += [f"{k}: set, but not among systems = {head.systems}" for k in tables]
    for key, system in made:
        problems += system.check()
        problems += [
            f"systems: {key} reads {need}, which is missing; add it to systems"
            for need in system.needs()
            if need not in order
        ]
    if problems:
        return None
    return Scenario(path.stem, head.title, head.as_of, head.months, values, path.parent)


def _explain_head(error: Any, known: list[str]) -> str:
    if error["type"] == "extra_forbidden":
        from difflib import get_close_matches

        close = get_close_matches(str(error["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
        return f"{error['loc'][-1]}: unknown key; {hint}"
    return explain(error, "")
