"""Values against declarations, with pydantic: every problem at once, each naming field, value and remedy."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    create_model,
)

from .system import Declared, Parameter, Row, Rows, Setting

MOST = 1000
"""Problems of one kind that are told, and values of one list: a file of a million is no less wrong at the first."""
_LONGEST = 4000  # characters of a line; a whole matrix that is offered has 3,000


class ConfigError(ValueError):
    """Bad input. ``problems`` are lines for the user, each about one field."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = [one_line(p) for p in problems]
        super().__init__("\n".join(self.problems))


def one_line(text: str, most: int = _LONGEST) -> str:
    """A text as it is safe to print: nothing that a terminal obeys, no line ends, cut where it is long."""
    cut = text if len(text) <= most else f"{text[: most - 3]}..."
    return cut if cut.isprintable() else "".join(map(_printed, cut))


def visible(text: str) -> str:
    """A text whose control characters are spelt out, line ends apart: a terminal obeys none of them."""
    return "\n".join(
        line if line.isprintable() else "".join(map(_printed, line)) for line in text.split("\n")
    )


def _printed(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]


def twice(names: Iterable[str]) -> dict[str, int]:
    """The names that stand more than once, and how often; the first MOST of them."""
    found = ((name, count) for name, count in Counter(names).items() if count > 1)
    return dict(islice(found, MOST))


_FORBID = ConfigDict(extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)
NAME = r"^[a-z][a-z0-9_]*$"
NAME_WANTED = "small letters, digits and underscores, beginning with a letter"
_LISTED = 40  # names that a message lists at most
_FEW = 21  # elements of a value that a message shows at most
_models: dict[type, type[BaseModel]] = {}


def schema(cls: type) -> type[BaseModel]:
    """The pydantic model of a system's or row's fields."""
    if cls not in _models:
        declared: dict[str, Any] = {name: _field(d) for name, d in cls.fields.items()}  # type: ignore[attr-defined]
        if issubclass(cls, Row):
            declared["name"] = (Annotated[str, Strict(), Field(pattern=NAME)], ...)
        _models[cls] = create_model(cls.__name__, __config__=_FORBID, **declared)
    return _models[cls]


def _field(declared: Declared) -> Any:
    if isinstance(declared, Parameter):
        return (
            _number_type(declared.default, declared.bounds),
            Field(default=declared.default_value()),
        )
    if isinstance(declared, Rows):
        row = schema(declared.row)
        checked = Annotated[list[row], Field(min_length=declared.least)]  # type: ignore[valid-type]
        return (checked, Field(default=declared.default_value(), validate_default=True))
    assert isinstance(declared, Setting)
    kind: Any = type(declared.default)
    if declared.choices:
        kind = Literal[declared.choices]
    elif declared.bounds:
        kind = Annotated[kind, Strict(), _limits(declared.bounds)]
    else:
        kind = Annotated[kind, Strict()]
    if declared.optional:
        kind = kind | None
    return (kind, Field(default=declared.default_value()))


def _number_type(default: Any, bounds: dict[str, float]) -> Any:
    if isinstance(default, list | tuple):
        inner = _number_type(default[0], bounds)
        return Annotated[list[inner], Field(min_length=len(default), max_length=len(default))]  # type: ignore[valid-type]
    return Annotated[float, Strict(), BeforeValidator(_no_bool), _limits(bounds)]


def _limits(bounds: dict[str, Any]) -> Any:
    return Field(**bounds)


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")
    return value


def check_values(cls: type, values: dict[str, Any], where: str = "") -> dict[str, Any]:
    """The values of a system or row, defaults filled in. Raises ConfigError with every problem."""
    problems: list[str] = []
    checked = collect(cls, values, where or cls.__name__, problems)
    if problems:
        raise ConfigError(problems)
    return checked


def collect(cls: type, values: dict[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
    """As check_values, adding to ``problems`` instead of raising."""
    try:
        done = schema(cls)(**values).model_dump()
    except ValidationError as error:
        errors = error.errors(include_url=False)
        problems += [explain(e, where, cls, values) for e in errors[:MOST]]
        if len(errors) > MOST:
            problems.append(f"{where}: {len(errors) - MOST:,} problems more")
        return {}
    for name, declared in cls.fields.items():  # type: ignore[attr-defined]
        if isinstance(declared, Rows):
            names = twice(r["name"] for r in done[name])
            problems += [
                f"{where}.{name}: the name {shown(n)} stands {names[n]} times; names should differ"
                for n in sorted(names)
            ]
    return done


def explain(error: Any, where: str, cls: type | None = None, values: Any = None) -> str:
    """One line of a pydantic error: field, value, what would be right. Rows go by their names."""
    path, fields, declared, at = where, getattr(cls, "fields", {}), None, values
    depth = 0  # within a vector or matrix
    for part in error["loc"]:
        if isinstance(part, str):
            declared, depth = fields.get(part), 0
            path += f".{key_text(part)}" if path else key_text(part)
        elif isinstance(declared, Rows):
            fields, declared = declared.row.fields, None
            path += f".{_row_name(at, part)}"
        else:
            path += f"[{part}]"
            depth += 1
        at = _inside(at, part)
    kind, value = error["type"], error.get("input")
    if kind == "extra_forbidden":
        return f"{path}: unknown key{near(str(error['loc'][-1]), list(fields))}"
    if kind == "missing":
        return f"{path}: missing; every row should have a {error['loc'][-1]}"
    return f"{path} = {shown(value)}: should be {_wanted(declared, str(error['loc'][-1]), path, depth, value)}"


def _inside(at: Any, part: str | int) -> Any:
    try:
        return at[part]
    except (KeyError, IndexError, TypeError):
        return None


def _row_name(rows: Any, index: int) -> str:
    row = _inside(rows, index)
    name = row.get("name") if isinstance(row, dict) else None
    return key_text(name) if isinstance(name, str) else "?"


def _wanted(declared: Declared | None, name: str, path: str, depth: int, value: Any) -> str:
    """What a declared field takes, in words."""
    if isinstance(declared, Parameter):
        default = declared.default
        for _ in range(depth):
            default = default[0]
        unit = "" if declared.unit == "1" else f" ({declared.unit})"
        text = f"{_shape(default)}{_range(declared.bounds)}{unit}"
        if (
            isinstance(default, list | tuple)
            and isinstance(value, list)
            and len(value) != len(default)
        ):
            text += f"; it has {len(value)}"
        return text
    if isinstance(declared, Rows):
        if isinstance(value, list):
            return f"at least {declared.least} row{'s' if declared.least > 1 else ''}, each under [[{path}]]"
        return f"rows, each under [[{path}]] in double brackets"
    if isinstance(declared, Setting):
        if name == "name" and declared.default == "":
            return f"a name in quotes: {NAME_WANTED}"
        if declared.choices:
            return " or ".join(map(shown, declared.choices)) + near(
                value, list(declared.choices), listed=False
            )
        if isinstance(declared.default, bool):
            return "true or false"
        if isinstance(declared.default, int):
            return f"a whole number{_range(declared.bounds)}"
        return "text in quotes"
    return f"a row with a name, under [[{path.rpartition('.')[0]}]] in double brackets"


def _shape(default: Any) -> str:
    if not isinstance(default, list | tuple):
        return "a finite number"
    if isinstance(default[0], list | tuple):
        return f"{len(default)} lists of {len(default[0])} finite numbers"
    return f"a list of {len(default)} finite numbers"


def _range(bounds: dict[str, float]) -> str:
    if "ge" in bounds and "le" in bounds:
        return f" from {bounds['ge']:,} to {bounds['le']:,}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    parts = [f"{word} {bounds[key]:,}" for key, word in words.items() if key in bounds]
    return f" {' and '.join(parts)}" if parts else ""


def near(given: Any, known: list[str], *, listed: bool = True) -> str:
    """``; did you mean 'x'?``, or what is known where nothing is near."""
    close = get_close_matches(given.lower(), known, n=1) if isinstance(given, str) else []
    if close:
        return f"; did you mean {shown(close[0])}?"
    if not known or not listed:
        return ""
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return f"; known are {', '.join(known[:_LISTED])}{more}"


def key_text(key: str) -> str:
    """A key as TOML would spell it, on one line and cut where it is long."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]{1,80}", key) else shown(key)


def shown(value: Any, most: int = 60) -> str:
    """A value as TOML would spell it, on one line and cut where it is long."""
    text = _spelt(value, most)
    return text if len(text) <= most else text[: most - 3] + "..."


def _spelt(value: Any, most: int, depth: int = 3) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return repr(value[: most + 1])
    if isinstance(value, int) and abs(value) >= 10**most:
        return f"a whole number of {value.bit_length()} bits"
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return (
            f"[{', '.join(_spelt(v, most, depth - 1) for v in value[:_FEW])}]" if depth else "[...]"
        )
    if isinstance(value, dict):
        if not depth:
            return "{...}"
        pairs = (f"{k!s:.60} = {_spelt(v, most, depth - 1)}" for k, v in list(value.items())[:_FEW])
        text = f"{{{', '.join(pairs)}}}"
        return text if text.isprintable() else repr(text)
    return repr(value)
