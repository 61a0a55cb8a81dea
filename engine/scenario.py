"""Scenarios: a TOML file, what it extends, and overrides, checked as a whole before anything runs."""

from __future__ import annotations

import copy
import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeGuard

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from . import limits
from .economy import FLOW, SYSTEMS
from .locate import CONFIGS, find_file
from .system import MAX_MONTHS, Economy, Rows, System
from .validate import ConfigError, collect, key_text, near, shown

_MAX_DEPTH = 8  # of extends
_MAX_NESTING = 8  # of tables and lists in a file; a config needs five
_MAX_BYTES = 1 << 20  # of a config file


class Head(BaseModel):
    """The top level of a config, beside the systems' own tables."""

    model_config = ConfigDict(extra="forbid")
    title: Annotated[str, Strict()] = ""
    as_of: Annotated[str, Strict(), Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")] = "2025-12"
    months: Annotated[int, Strict(), Field(ge=1, le=MAX_MONTHS)] = 60
    systems: list[Annotated[str, Strict()]] = Field(
        default_factory=lambda: [s.key() for s in FLOW if not s.on_request], min_length=1
    )


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
            system.folder, system.months = self.folder, self.months
            made.append(system)
        return Economy(*made, months=self.months, name=self.name)

    def files(self) -> dict[tuple[str, str], Path]:
        """The files that the values name, by system and field."""
        return {
            (key, field): find_file(name, self.folder)
            for key, system in self.economy.systems.items()
            for field, name in system.files().items()
        }


def shipped() -> list[str]:
    """The names of the scenarios that ship with the package."""
    return sorted(p.stem for p in CONFIGS.glob("*.toml"))


def load(
    name_or_path: str | Path,
    overrides: dict[str, Any] | None = None,
    *,
    also: tuple[str, ...] = (),
) -> Scenario:
    """Read a scenario: a shipped one by name, or a TOML file by path.

    ``also`` adds systems that run on request: ``("claims",)``.

    ``overrides`` maps dotted keys to values: ``{"revenue.volatility": 0.2, "months": 36}``; a row of a
    table is named: ``"rental.generation.hopper.price"``. Raises ConfigError, whose ``problems`` list
    everything that is wrong.
    """
    problems: list[str] = []
    path = _find(str(name_or_path))
    raw = _read(path, (), problems)
    for key, value in (overrides or {}).items():
        _override(raw, key, copy.deepcopy(value), problems)
    systems = raw.get("systems", Head().systems)
    if also and isinstance(systems, list):
        raw["systems"] = [*systems, *(s for s in also if s not in systems)]
    scenario = _check(path, raw, problems)
    if problems or scenario is None:
        raise ConfigError(problems)
    return scenario


def restore(values: dict[str, Any], name: str, folder: Path) -> Scenario:
    """The scenario of a whole config, as ``Scenario.values`` holds it; files that it names lie in ``folder``.

    Raises ConfigError where it is not sound.
    """
    problems: list[str] = []
    scenario = _check(folder / f"{name}.toml", copy.deepcopy(values), problems, whole=True)
    if problems or scenario is None:
        raise ConfigError(problems)
    return scenario


def _find(name: str, told_by: str = "") -> Path:
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


def _read(path: Path, children: tuple[Path, ...], problems: list[str]) -> dict[str, Any]:
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
            else _find(parent, f"{path.name}: extends: ")
        )
        below = _read(base, (*children, path), problems)
    for at, rows in _tables_of_rows(raw):
        problems += _check_rows(at, rows, below, path.name)
    return _merge({limits.KEY: []} | below, raw)  # rows of one name, said above, become one


def _parse(path: Path, told_by: str) -> dict[str, Any]:
    """The text of a file as TOML gives it; ConfigError where it cannot be read."""
    try:
        if path.exists() and not path.is_file():
            raise ConfigError([f"{told_by}{path}: no file; it should be a TOML file"])
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(
                [f"{told_by}{path}: should be smaller than {_MAX_BYTES:,} bytes, as configs are"]
            )
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        if _deeper(raw, _MAX_NESTING):
            raise ConfigError(
                [f"{told_by}{path}: tables should be nested {_MAX_NESTING} deep at most"]
            )
    except ConfigError:
        raise
    except FileNotFoundError:
        raise ConfigError([f"{told_by}{path}: no such file"]) from None
    except OSError as error:
        raise ConfigError(
            [f"{told_by}{path}: cannot be read ({error.strerror or error})"]
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(
            [f"{told_by}{path}: not text in UTF-8; it should be a TOML file"]
        ) from None
    except RecursionError:
        raise ConfigError(
            [f"{told_by}{path}: lists and tables should be nested {_MAX_NESTING} deep at most"]
        ) from None
    except ValueError as error:  # of TOML, with its line; or of a number too long
        raise ConfigError([f"{told_by}{path}: not TOML: {error}"]) from None
    return raw


def _deeper(value: Any, levels: int) -> bool:
    """Whether tables and lists are nested deeper than this; never deep in recursion itself."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(v, levels - 1) for v in inner)


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
    names = [r["name"] for r in rows if _is_rows([r])]
    found = [
        f"{where}: the name {shown(n)} stands {names.count(n)} times in {file}; names should differ"
        for n in dict.fromkeys(names)
        if names.count(n) > 1
    ]
    if _is_table_of_rows(at):
        under: Any = below
        for part in at:
            under = under.get(part) if isinstance(under, dict) else None
        there = _row_names(under if isinstance(under, list) else [], at)
        found += [
            f"{where}.{key_text(r['name'])}: there is no such row to remove{near(r['name'], there)}"
            for r in rows
            if _is_rows([r]) and r.get("remove") is True and r["name"] not in there
        ]
    return found


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


def _is_rows(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and all(
        isinstance(r, dict) and isinstance(r.get("name"), str) for r in value
    )


def parse_override(text: str) -> tuple[str, Any]:
    """``key=value`` of the command line; the value is TOML, or a bare word taken as a string."""
    key, sign, value = text.partition("=")
    key = key.strip()
    if not sign or not key:
        raise ConfigError(
            [f"--set {shown(text)}: should be KEY=VALUE, for example revenue.volatility=0.2"]
        )
    try:
        parsed = tomllib.loads(f"value = {value}")
    except (ValueError, RecursionError):
        return key, value.strip()
    return key, parsed["value"] if len(parsed) == 1 else value.strip()


def parse_event(text: str) -> dict[str, Any]:
    """``NAME@MONTH`` or ``NAME@MONTH:SIZE`` of the command line, as overrides of the stress event of that name."""
    name, at, rest = text.partition("@")
    month, colon, size = rest.partition(":")
    example = "price_war@18, or price_war@18:-0.3 with a size"
    if not at or not name.strip() or not month.strip().isdecimal():
        raise ConfigError([f"--event {shown(text)}: should be NAME@MONTH, for example {example}"])
    event: dict[str, Any] = {"on": True, "month": int(month)}
    if colon:
        try:
            event["size"] = float(size)
        except ValueError:
            raise ConfigError(
                [f"--event {shown(text)}: {shown(size)} is no number; should be {example}"]
            ) from None
    return {f"stress.event.{name.strip()}": event}


def _override(raw: dict[str, Any], key: str, value: Any, problems: list[str]) -> None:
    where, parts = f"--set {key}", key.split(".")
    if parts[0] == limits.KEY:
        parts = limits.split(key, raw.get(limits.KEY))
    if key == "extends":
        problems.append(f"{where}: only a file can extend another; run the other scenario instead")
        return
    if _deeper(value, _MAX_NESTING):
        problems.append(f"{where}: lists should be nested {_MAX_NESTING} deep at most")
        return
    at: Any = raw
    for i, part in enumerate(parts[:-1]):
        so_far = ".".join(parts[: i + 1])
        if isinstance(at, dict):
            if part not in at:
                at[part] = [] if _is_table_of_rows(parts[: i + 1]) else {}
            at = at[part]
        else:
            row = _row(at, parts[:i], part)
            if row is None:
                rows = _row_names(at, parts[:i])
                problems.append(f"{where}: there is no row {so_far}{near(part, rows)}")
                return
            at = row
        if not isinstance(at, dict) and not (
            isinstance(at, list) and _is_table_of_rows(parts[: i + 1])
        ):
            problems.append(
                f"{where}: {so_far} is one value, not a table; set it whole, {so_far}=..."
            )
            return
    if isinstance(at, dict):
        at[parts[-1]] = value
        return
    rows = _row_names(at, parts[:-1])
    if isinstance(value, dict):  # a whole row, merged into the one of that name
        row = _row(at, parts[:-1], parts[-1])
        if row is None:
            problems.append(f"{where}: there is no row {key}{near(parts[-1], rows)}")
        else:
            row.update(value)
        return
    example = f"{'.'.join(parts[:-1])}.{rows[0] if rows else 'NAME'}.{parts[-1]}"
    problems.append(
        f"{where}: should name a row first, for example {example}; rows are {', '.join(rows)}"
    )


def _row(rows: list[Any], table: list[str], name: str) -> dict[str, Any] | None:
    """The named row; a default row that the config does not mention is added to be changed."""
    for row in rows:
        if isinstance(row, dict) and row.get("name") == name:
            return row
    if name not in _default_rows(table):
        return None
    added: dict[str, Any] = {"name": name}
    rows.append(added)
    return added


def _row_names(rows: list[Any], table: list[str]) -> list[str]:
    return list(dict.fromkeys([*_default_rows(table), *(r["name"] for r in rows if _is_rows([r]))]))


def _is_table_of_rows(path: list[str]) -> bool:
    return path == [limits.KEY] or (
        len(path) == 2
        and path[0] in SYSTEMS
        and isinstance(SYSTEMS[path[0]].fields.get(path[1]), Rows)
    )


def _default_rows(path: list[str]) -> list[str]:
    """The names of the default rows of a table."""
    if path == [limits.KEY]:
        return []
    declared = SYSTEMS[path[0]].fields[path[1]]
    return [r["name"] for r in declared.default] if isinstance(declared, Rows) else []


def _fill_rows(key: str, table: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Rows in the config edit and add to the default rows of the same table, by name."""
    filled = dict(table)
    for name, declared in SYSTEMS[key].fields.items():
        given = table.get(name)
        if not isinstance(declared, Rows) or not isinstance(given, list):
            continue
        named = [r for r in given if _is_rows([r])]
        merged = _merge({"r": [dict(r) for r in declared.default]}, {"r": named})["r"]
        for row in named:
            where = f"{key}.{name}.{key_text(row['name'])}"
            if not isinstance(row.get("remove", False), bool):
                problems.append(f"{where}.remove = {shown(row['remove'])}: should be true or false")
        kept = [
            {k: v for k, v in r.items() if k != "remove"}
            for r in merged
            if r.get("remove") is not True
        ]
        filled[name] = kept + [r for r in given if not _is_rows([r])]
    return filled


_HEAD_WANTED = {
    "title": "text in quotes",
    "as_of": 'a month in quotes, such as "2025-12"',
    "months": f"a whole number from 1 to {MAX_MONTHS}",
    "systems": "a list of names in quotes, at least one",
}


def _check_head(raw: dict[str, Any], problems: list[str]) -> Head:
    """The top level; what is wrong there takes its default, so that the rest is checked too."""
    given = {k: v for k, v in raw.items() if k not in SYSTEMS and k != limits.KEY}
    try:
        return Head(**given)
    except ValidationError as error:
        wrong: dict[str, None] = {}
        for e in error.errors():
            key = str(e["loc"][0])
            if e["type"] == "extra_forbidden":
                problems.append(
                    f"{key_text(key)}: unknown key{near(key, [*Head.model_fields, limits.KEY, *SYSTEMS])}"
                )
            elif key not in wrong:
                problems.append(f"{key} = {shown(given[key])}: should be {_HEAD_WANTED[key]}")
            wrong[key] = None
    return Head(**{k: v for k, v in given.items() if k not in wrong})


def _check(
    path: Path, raw: dict[str, Any], problems: list[str], whole: bool = False
) -> Scenario | None:
    """The scenario, or None and ``problems``; a ``whole`` config has its default rows, or had them removed."""
    tables = {k: v for k, v in raw.items() if k in SYSTEMS}
    head = _check_head(raw, problems)
    bounds, wrong = limits.checked(raw.get(limits.KEY, []))
    unknown = [s for s in head.systems if s not in SYSTEMS]
    problems += [f"systems: {shown(s)} is unknown{near(s, list(SYSTEMS))}" for s in unknown]
    order = [s for s in SYSTEMS if s in head.systems]
    if not unknown and order != head.systems:
        problems.append(
            f"systems = [{', '.join(head.systems)}]: should be in the order of flow, each once: [{', '.join(order)}]"
        )
    values: dict[str, Any] = head.model_dump()
    made: list[tuple[str, System]] = []
    # a table of a system that runs on request is checked with the rest, whether it runs or not
    for key in [s for s in SYSTEMS if s in order or (SYSTEMS[s].on_request and s in tables)]:
        table = tables.pop(key, {})
        if not isinstance(table, dict):
            problems.append(f"{key} = {shown(table)}: should be a table, [{key}]")
            continue
        found: list[str] = []
        filled = table if whole else _fill_rows(key, table, found)
        checked = collect(SYSTEMS[key], filled, key, found)
        problems += found
        if not found:
            values[key] = checked
            system = SYSTEMS[key]._trusted(checked)
            system.folder, system.months = path.parent, head.months
            made.append((key, system))
    problems += [
        f"{k}: set, but not among systems; add it there or leave [{k}] out" for k in tables
    ]
    systems = dict(made)
    missing = [
        f"systems: {key} reads {need}, which is missing; add it to systems"
        for key, system in made
        for need in system.needs()
        if need not in order and key in order
    ]
    problems += [line for system in systems.values() for line in system.check()] + missing
    if not missing and all(key in systems for key in order):
        sound = not problems
        for system in systems.values():
            # a system on request may trace the others, which then have to be sound
            if sound or not system.on_request:
                problems += system.fits(systems)
    if problems:
        problems += wrong
        return None
    values = {k: v for k, v in values.items() if k not in SYSTEMS or k in order}
    if bounds:
        values[limits.KEY] = bounds
    scenario = Scenario(path.stem, head.title, head.as_of, head.months, values, path.parent)
    problems += _unusable(scenario) or limits.unknown(bounds, scenario.economy.metrics)
    problems += wrong
    return None if problems else scenario


def _unusable(scenario: Scenario) -> list[str]:
    """What is wrong with values that are each within bounds, but together give no finite numbers."""
    with np.errstate(all="ignore"):
        try:
            economy = scenario.economy
        except ConfigError as error:
            return error.problems
        except (ArithmeticError, ValueError) as error:
            return [
                f"{scenario.name}: its values give no finite start ({error}); some should be less extreme"
            ]
    found = {**economy.reals, **economy.columns}
    return economy.silent() + [
        f"{name}: not finite as computed from {name.partition('.')[0]}'s values; some should be less extreme"
        for name, value in found.items()
        if not np.isfinite(value).all()
    ]
