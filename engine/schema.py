"""The config as a JSON Schema, for editors: names, types, bounds, choices, units, and the basis of every value.

A schema says of each value by itself whether it may stand there. What hangs on several values, on other files or on
``--set`` (the order of the systems, a limit whose metric nobody reports, sums that have to be 1) is left to ``load``.
"""

from __future__ import annotations

from typing import Any

from .economy import SYSTEMS
from .limits import FIELDS, KEY
from .scenario import Head, shipped
from .system import Declared, Parameter, Row, Rows, Setting, System
from .validate import NAME

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_REMOVE = {
    "type": "boolean",
    "description": "true: the row of this name in the file that is extended, or a default one, is left out",
}

Schema = dict[str, Any]


def config_schema() -> Schema:
    """The schema of a config file, as JSON holds it."""
    head = Head.model_json_schema()["properties"]
    said = {
        "title": "what the scenario is, in a line",
        "as_of": "the month before the first, such as 2025-12",
        "months": "how many months are simulated",
        "systems": "the systems that run, in the order of flow; the others are left out",
    }
    properties: Schema = {
        "extends": {
            "type": "string",
            "anyOf": [{"enum": shipped()}, {"pattern": r"\.toml$"}],
            "description": "a shipped scenario by name, or a TOML file beside this one: what is not set here is there",
        },
        **{key: {**head[key], "description": text} for key, text in said.items()},
        KEY: _limits(),
        **{key: _system(system) for key, system in SYSTEMS.items()},
    }
    properties["systems"]["items"] = {"enum": list(SYSTEMS)}
    properties["systems"]["uniqueItems"] = True
    for key in said:
        properties[key].pop("title", None)
    return {
        "$schema": DIALECT,
        "title": "overbuilt scenario",
        "description": "A scenario of overbuilt: what is left out has its default.",
        **_table(properties),
        # a limit of a file that extends none stands alone; else it may change the one of its name
        "if": {"not": {"required": ["extends"]}},
        "then": {
            "properties": {
                KEY: {
                    "items": {
                        "required": ["metric"],
                        "anyOf": [{"required": ["max"]}, {"required": ["min"]}],
                    }
                }
            }
        },
    }


def _table(properties: Schema, required: tuple[str, ...] = ()) -> Schema:
    made: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return made | ({"required": list(required)} if required else {})


def _system(system: type[System]) -> Schema:
    lines = (system.__doc__ or "").strip().splitlines()
    about = {"description": system.title or lines[0]} if system.title or lines else {}
    return about | _table({name: _field(d) for name, d in system.fields.items()})


def _field(declared: Declared) -> Schema:
    if isinstance(declared, Rows):
        return {"type": "array", "items": _row(declared.row), "description": declared.basis}
    if isinstance(declared, Parameter):
        unit = "" if declared.unit == "1" else f" ({declared.unit})"
        return {
            **_number(declared.default, declared.bounds),
            "default": declared.default_value(),
            "description": f"{declared.basis}{unit}",
        }
    assert isinstance(declared, Setting)
    return {
        **_setting(declared),
        "default": declared.default_value(),
        "description": declared.basis,
    }


def _row(row: type[Row]) -> Schema:
    fields = {name: _field(d) for name, d in row.fields.items() if name != "name"}
    name = {
        "type": "string",
        "pattern": NAME,
        "description": "which row: one of this name is changed, another added",
    }
    return _table({"name": name, **fields, "remove": _REMOVE}, ("name",))


def _number(default: Any, bounds: dict[str, float]) -> Schema:
    """A number; or a vector, a matrix of the default's shape."""
    if isinstance(default, list | tuple):
        size = len(default)
        inner = _number(default[0], bounds)
        return {"type": "array", "items": inner, "minItems": size, "maxItems": size}
    return {"type": "number", **_bounded(bounds)}


def _bounded(bounds: dict[str, float]) -> Schema:
    return {_BOUNDS[key]: bound for key, bound in bounds.items()}


def _setting(declared: Setting) -> Schema:
    if declared.choices:
        return {"enum": list(declared.choices)}
    kind = {bool: "boolean", int: "integer", float: "number"}.get(type(declared.default), "string")
    return {"type": kind, **_bounded(declared.bounds)}


def _limits() -> Schema:
    number = {"type": "number"}
    kinds: Schema = {
        "name": {"type": "string", "pattern": NAME},
        "metric": {
            "type": "string",
            "pattern": r"^\s*[A-Za-z_]\w*\.[\w.]+(\s*(<=|>=|<|>)\s*\S+)?\s*$",
            "examples": [
                "private_credit.loss.es99",
                "holders.loss_banks.p99",
                "private_credit.loss > 200",
            ],
        },
        "min": number,
        "max": number,
    }
    fields = {key: {**kinds[key], "description": text} for key, text in FIELDS.items()}
    row = _table({**fields, "remove": _REMOVE})
    row["anyOf"] = [{"required": ["name"]}, {"required": ["metric"]}]
    return {
        "type": "array",
        "items": row,
        "description": "what the estimates have to stay within: a run that breaches one ends with exit code 4",
    }
