"""Scenarios: a TOML file, what it extends, and overrides, checked as a whole before anything runs."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError

from . import limits
from .config_file import MAX_NESTING, deeper, find_config, is_rows, merge, read_config, shipped
from .economy import FLOW, SYSTEMS
from .locate import find_file, is_plain_file
from .overrides import override, parse_event, parse_override
from .system import MAX_MONTHS, Economy, Rows, System
from .validate import MOST, ConfigError, collect, key_text, near, shown

__all__ = ["Head", "Scenario", "load", "parse_event", "parse_override", "restore", "shipped"]

_MAX_TITLE = 500


class Head(BaseModel):
    """The top level of a config, beside the systems' own tables."""

    model_config = ConfigDict(extra="forbid")
    title: Annotated[
        str,
        Strict(),
        # a title is printed: no control characters, which a terminal obeys
        Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", max_length=_MAX_TITLE),
    ] = ""
    as_of: Annotated[str, Strict(), Field(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")] = "2025-12"
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
    path = find_config(str(name_or_path))
    raw = read_config(path, (), problems)
    for key, value in (overrides or {}).items():
        override(raw, key, copy.deepcopy(value), problems)
    systems = raw.get("systems", Head().systems)
    if also and isinstance(systems, list):
        raw["systems"] = [*systems, *(s for s in also if s not in systems)]
    scenario = _check(path.stem, path.parent, raw, problems)
    if problems or scenario is None:
        raise ConfigError(problems)
    return scenario


def restore(values: dict[str, Any], name: str, folder: Path) -> Scenario:
    """The scenario of a whole config, as ``Scenario.values`` holds it; files that it names lie in ``folder``.

    Raises ConfigError where it is not sound, or names a file that lies elsewhere.
    """
    if deeper(values, MAX_NESTING):
        raise ConfigError([f"{folder}: tables should be nested {MAX_NESTING} deep at most"])
    problems: list[str] = []
    scenario = _check(name, folder, copy.deepcopy(values), problems, whole=True)
    if problems or scenario is None:
        raise ConfigError(problems)
    return scenario


def _fill_rows(key: str, table: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Rows in the config edit and add to the default rows of the same table, by name."""
    filled = dict(table)
    for name, declared in SYSTEMS[key].fields.items():
        given = table.get(name)
        if not isinstance(declared, Rows) or not isinstance(given, list):
            continue
        named = [r for r in given if is_rows([r])]
        merged = merge({"r": [dict(r) for r in declared.default]}, {"r": named})["r"]
        for row in named:
            where = f"{key}.{name}.{key_text(row['name'])}"
            if not isinstance(row.get("remove", False), bool):
                problems.append(f"{where}.remove = {shown(row['remove'])}: should be true or false")
        kept = [
            {k: v for k, v in r.items() if k != "remove"}
            for r in merged
            if r.get("remove") is not True
        ]
        filled[name] = kept + [r for r in given if not is_rows([r])]
    return filled


_HEAD_WANTED = {
    "title": "text in quotes",
    "as_of": 'a month in quotes, such as "2025-12"',
    "months": f"a whole number from 1 to {MAX_MONTHS}",
    "systems": "a list of names in quotes, at least one",
}
_TITLE_WANTED = f"{_MAX_TITLE} characters at most, none of them a control character"


def _check_head(raw: dict[str, Any], problems: list[str]) -> Head:
    """The top level; what is wrong there takes its default, so that the rest is checked too."""
    given = {k: v for k, v in raw.items() if k not in SYSTEMS and k != limits.KEY}
    try:
        return Head(**given)
    except ValidationError as error:
        wrong: dict[str, None] = {}
        errors = error.errors(include_url=False)
        for number, e in enumerate(errors):
            key = str(e["loc"][0])
            if key not in Head.model_fields and number > MOST:
                wrong[key] = None
                continue
            if e["type"] == "extra_forbidden":
                problems.append(
                    f"{key_text(key)}: unknown key{near(key, [*Head.model_fields, limits.KEY, *SYSTEMS])}"
                )
            elif key not in wrong:
                text = key == "title" and isinstance(given[key], str)
                wanted = _TITLE_WANTED if text else _HEAD_WANTED[key]
                problems.append(f"{key} = {shown(given[key])}: should be {wanted}")
            wrong[key] = None
    return Head(**{k: v for k, v in given.items() if k not in wrong})


def _check(
    name: str, folder: Path, raw: dict[str, Any], problems: list[str], whole: bool = False
) -> Scenario | None:
    """The scenario, or None and ``problems``; a ``whole`` config has its default rows, or had them removed."""
    if not name.isprintable() or "/" in name or name in ("", ".", ".."):
        problems.append(f"scenario {shown(name)}: should be a file's name, without .toml")
    tables = {k: v for k, v in raw.items() if k in SYSTEMS}
    head = _check_head(raw, problems)
    bounds, wrong = limits.checked(raw.get(limits.KEY, []))
    unknown = list(dict.fromkeys(s for s in head.systems if s not in SYSTEMS))[:MOST]
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
            system.folder, system.months = folder, head.months
            outside = _outside(key, system, folder) if whole else []
            problems += outside
            if not outside:
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
    scenario = Scenario(name, head.title, head.as_of, head.months, values, folder)
    problems += _unusable(scenario) or limits.unknown(bounds, scenario.economy.metrics)
    problems += wrong
    return None if problems else scenario


def _outside(key: str, system: System, folder: Path) -> list[str]:
    """A line for each file of a system that does not lie in the folder itself."""
    return [
        f"{key}.{field} = {shown(name)}: should be a file that lies in {folder}"
        for field, name in system.files().items()
        if Path(name).name != name or not is_plain_file(folder / name)
    ]


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
