"""Values against declarations, with pydantic: every problem at once, each naming field, value and remedy."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError, create_model

from .system import Declared, Parameter, Row, Rows, Setting


class ConfigError(ValueError):
    """Bad input. ``problems`` are lines for the user, each about one field."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


_FORBID = ConfigDict(extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)
_models: dict[type, type[BaseModel]] = {}


def schema(cls: type) -> type[BaseModel]:
    """The pydantic model of a system's or row's fields."""
    if cls not in _models:
        declared: dict[str, Any] = {name: _field(d) for name, d in cls.fields.items()}  # type: ignore[attr-defined]
        if issubclass(cls, Row):
            declared["name"] = (Annotated[str, Strict(), Field(pattern=r"^[a-z][a-z0-9_]*$")], ...)
        _models[cls] = create_model(cls.__name__, __config__=_FORBID, **declared)
    return _models[cls]


def _field(declared: Declared) -> Any:
    if isinstance(declared, Parameter):
        return (_number_type(declared.default, declared.bounds), Field(default=declared.default_value()))
    if isinstance(declared, Rows):
        row = schema(declared.row)
        checked = Annotated[list[row], Field(min_length=declared.least)]  # type: ignore[valid-type]
        return (checked, Field(default=declared.default_value(), validate_default=True))
    assert isinstance(declared, Setting)
    kind: Any = type(declared.default)
    if declared.choices:
        kind = Literal[declared.choices]
    elif declared.bounds:
        kind = Annotated[kind, Strict(), Field(**declared.bounds)]  # type: ignore[arg-type]
    else:
        kind = Annotated[kind, Strict()]
    if declared.optional:
        kind = kind | None
    return (kind, Field(default=declared.default_value()))


def _number_type(default: Any, bounds: dict[str, float]) -> Any:
    if isinstance(default, list | tuple):
        inner = _number_type(default[0], bounds)
        return Annotated[list[inner], Field(min_length=len(default), max_length=len(default))]  # type: ignore[valid-type]
    return Annotated[float, Strict(), BeforeValidator(_no_bool), Field(**bounds)]  # type: ignore[arg-type]


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
        problems += [explain(e, where, cls) for e in error.errors()]
        return {}
    for name, declared in cls.fields.items():  # type: ignore[attr-defined]
        if isinstance(declared, Rows):
            names = [r["name"] for r in done[name]]
            problems += [
                f"{where}.{name}: the name {n!r} stands {names.count(n)} times; names should differ"
                for n in sorted({n for n in names if names.count(n) > 1})
            ]
    return done


def explain(error: Any, where: str, cls: type | None = None) -> str:
    """One line of a pydantic error: field, value, what would be right."""
    path = where
    for part in error["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    kind, value = error["type"], error.get("input")
    if kind == "extra_forbidden":
        return f"{path}: unknown key{_near(error['loc'], cls)}"
    if kind == "missing":
        return f"{path}: missing; it is required"
    message = str(error["msg"]).removeprefix("Value error, ")
    message = message.replace("Input should be", "should be").replace("Input should", "should")
    shown = repr(value)
    if len(shown) > 60:
        shown = shown[:57] + "..."
    return f"{path} = {shown}: {message}"


def _near(loc: tuple[Any, ...], cls: type | None) -> str:
    from difflib import get_close_matches

    fields: dict[str, Declared] = getattr(cls, "fields", {})
    for part in loc[:-1]:
        declared = fields.get(part) if isinstance(part, str) else None
        if isinstance(declared, Rows):
            fields = declared.row.fields
    close = get_close_matches(str(loc[-1]), list(fields), n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known are {', '.join(fields)}" if 0 < len(fields) <= 12 else ""
