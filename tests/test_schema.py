"""The JSON Schema of a config: judged by jsonschema, against what ``load`` and pydantic take.

A schema cannot say everything that ``load`` checks, but what it refuses ``load`` refuses too, and every bound, choice
and shape that a system declares is in it: values are taken from the declarations and put one step beyond.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

import overbuilt
from overbuilt import ConfigError
from overbuilt.engine.commands.schema import schema as command
from overbuilt.engine.economy import SYSTEMS
from overbuilt.engine.locate import CONFIGS
from overbuilt.engine.schema import config_schema
from overbuilt.engine.system import Declared, Parameter, Rows, Setting
from overbuilt.engine.validate import check_values

SCHEMA = config_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
README = Path(overbuilt.__file__).parent / "README.md"


def holds(config: dict[str, Any]) -> bool:
    return VALIDATOR.is_valid(config)


def test_it_is_a_schema_of_the_2020_12_draft() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    assert json.loads(json.dumps(SCHEMA, allow_nan=False)) == SCHEMA


@pytest.mark.parametrize("name", overbuilt.shipped())
def test_every_shipped_config_is_valid(name: str) -> None:
    config = tomllib.loads((CONFIGS / f"{name}.toml").read_text(encoding="utf-8"))
    VALIDATOR.validate(config)


@pytest.mark.parametrize("name", overbuilt.shipped())
def test_every_shipped_config_with_its_defaults_is_valid(name: str) -> None:
    """All rows of all tables, from the CSV files too."""
    VALIDATOR.validate(overbuilt.load(name).values)


def test_the_examples_of_the_readme_are_valid() -> None:
    found = re.findall(r"^```toml\n(.*?)^```$", README.read_text(encoding="utf-8"), re.M | re.S)
    assert found
    for text in found:
        VALIDATOR.validate(tomllib.loads(text))


GOOD = [
    "",
    'extends = "mine.toml"',
    'extends = "base"\n[[limit]]\nname = "tail"\nmax = 3',  # changes the row below
    '[[limit]]\nmetric = "private_credit.loss.es99"\nmax = 3.5',
    '[[limit]]\nname = "often"\nmetric = "private_credit.loss > 2e2"\nmin = -1\nmax = 1',
    '[[stress.event]]\nname = "price_war"\nremove = true',
    '[[stress.event]]\nname = "price_war"\non = true\nmonth = 18',
    "[revenue]\nvolatility = 0",
]


@pytest.mark.parametrize("text", GOOD)
def test_a_sound_config_is_valid(text: str) -> None:
    VALIDATOR.validate(tomllib.loads(text))


BAD = [
    "nonsense = 1",
    "title = 3",
    'as_of = "2025-13"',
    "as_of = 2025-12-01",
    "months = 0",
    "months = 241",
    "months = 1.5",
    "months = true",
    'months = "60"',
    "systems = []",
    'systems = "revenue"',
    'systems = ["revenu"]',
    'systems = ["revenue", "revenue"]',
    'extends = "bse"',
    "extends = 1",
    "revenue = 3",
    "[revenu]",
    "[revenue]\nvolatilty = 0.2",
    '[revenue]\nvolatility = "high"',
    "[revenue]\nvolatility = true",
    "[revenue]\nvolatility = -0.1",
    "[revenue]\nstart = [0.0, 1.0]",
    "[revenue]\nstart = [0.0, 1.0, 0.0, 0.0]",
    "[revenue]\nstart = 1.0",
    '[revenue]\nreading = "linaer"',
    "[private_credit]\nbook = 3",
    '[private_credit]\nstress = "yes"',
    "[stress]\nevent = 3",
    "[[stress.event]]\non = true",
    '[[stress.event]]\nname = "Price War"',
    '[[stress.event]]\nname = "price_war"\nmonth = 0',
    '[[stress.event]]\nname = "price_war"\nremove = 1',
    '[[stress.event]]\nname = "price_war"\nmnth = 3',
    "limit = 3",
    "[[limit]]\nmax = 3",
    '[[limit]]\nmetric = "private_credit.loss"',
    '[[limit]]\nname = "tail"\nmax = 3',  # extends nothing: there is no row below
    '[[limit]]\nmetric = "private_credit.loss"\nmax = "3"',
    '[[limit]]\nmetric = "private_credit.loss"\nmx = 3',
    '[[limit]]\nmetric = "private credit loss"\nmax = 3',
    '[[limit]]\nmetric = "private_credit.loss >"\nmax = 3',
    '[[limit]]\nname = "Tail"\nmetric = "private_credit.loss"\nmax = 3',
]


@pytest.mark.parametrize("text", BAD)
def test_a_bad_config_is_not_valid(text: str, tmp_path: Path) -> None:
    assert not holds(tomllib.loads(text))
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        overbuilt.load(path)


# ---- the schema against the declarations
def declarations() -> Iterator[tuple[str, tuple[str, ...], Declared]]:
    """Every field: its system, the way to it, what is declared."""
    for key, system in SYSTEMS.items():
        for name, declared in system.fields.items():
            yield key, (name,), declared
            if isinstance(declared, Rows):
                for inner, field in declared.row.fields.items():
                    if inner != "name":
                        yield key, (name, inner), field


FIELDS = list(declarations())


def judged(key: str, way: tuple[str, ...], value: Any) -> tuple[bool, bool]:
    """Whether the schema takes a value there, and whether what ``load`` checks it with does."""
    table = {way[0]: value} if len(way) == 1 else {way[0]: [{"name": "x", way[1]: value}]}
    cls = SYSTEMS[key]
    if len(way) == 1:
        model, values = cls, table
    else:
        declared = cls.fields[way[0]]
        assert isinstance(declared, Rows)
        model, values = declared.row, table[way[0]][0]
    try:
        check_values(model, values)
        taken = True
    except ConfigError:
        taken = False
    return holds({key: table}), taken


def of_shape(default: Any, number: Any) -> Any:
    if isinstance(default, list | tuple):
        return [of_shape(d, number) for d in default]
    return number


def candidates(declared: Declared) -> Iterator[Any]:
    """Values at the edge of what is declared, and beyond; of other kinds."""
    yield from (declared.default_value(), True, 1, 0.5, "text", [], {})
    bounds = getattr(declared, "bounds", {})
    whole = isinstance(declared, Setting)
    for bound in bounds.values():
        steps = (bound - 1, bound, bound + 1)
        near = () if whole else (math.nextafter(bound, -math.inf), math.nextafter(bound, math.inf))
        for number in (*steps, *near):
            yield number if whole else of_shape(declared.default, float(number))
    if isinstance(declared, Setting):
        yield from (*declared.choices, *(f"{c}x" for c in declared.choices))
    if isinstance(declared, Parameter) and isinstance(declared.default, list | tuple):
        yield declared.default[0]
        yield declared.default_value()[:-1]
        yield [*declared.default_value(), declared.default_value()[0]]


def test_every_field_is_in_the_schema_with_its_unit_and_basis() -> None:
    assert len(FIELDS) > 300
    for key, way, declared in FIELDS:
        found = SCHEMA["properties"][key]["properties"][way[0]]
        found = found["items"]["properties"][way[1]] if len(way) > 1 else found
        assert declared.basis in found["description"]  # type: ignore[attr-defined]
        if isinstance(declared, Parameter) and declared.unit != "1":
            assert found["description"].endswith(f"({declared.unit})")
        if not isinstance(declared, Rows):
            assert found["default"] == declared.default_value()


@pytest.mark.parametrize("key", SYSTEMS)
def test_bounds_choices_and_shapes_are_those_of_the_system(key: str) -> None:
    mine = [(way, d) for k, way, d in FIELDS if k == key and not isinstance(d, Rows)]
    refused = taken = 0
    for way, declared in mine:
        for value in candidates(declared):
            ours, theirs = judged(key, way, value)
            if isinstance(value, float) and value.is_integer() and isinstance(declared, Setting):
                continue  # to a schema 1.0 is whole
            assert ours == theirs, (key, way, value)
            refused, taken = refused + (not ours), taken + ours
    assert refused >= len(mine)
    assert taken >= len(mine)


def test_a_row_needs_its_name_and_may_be_removed() -> None:
    tables = [(k, way[0]) for k, way, d in FIELDS if isinstance(d, Rows)]
    assert len(tables) > 10
    for key, table in tables:
        assert holds({key: {table: [{"name": "x", "remove": True}]}})
        assert not holds({key: {table: [{"remove": True}]}})
        assert not holds({key: {table: [{"name": "x", "nonsense": 1}]}})


# ---- the command
def test_the_command_prints_it() -> None:
    done = CliRunner().invoke(command, [])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == SCHEMA


def test_the_command_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "overbuilt.schema.json"
    done = CliRunner().invoke(command, ["--out", str(path)])
    assert done.stdout == f"written to {path}\n"
    assert json.loads(path.read_text(encoding="utf-8")) == SCHEMA
    done = CliRunner().invoke(command, ["--out", str(path), "--format", "json"])
    assert json.loads(done.stdout) == {"written": str(path)}
    done = CliRunner().invoke(command, ["--out", str(tmp_path / "none" / "x.json")])
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
