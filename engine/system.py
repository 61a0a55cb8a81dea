"""How a model is written: systems with declared parameters and outputs, composed into an economy.

    class Price(System):
        '''A mean-reverting log price.'''

        kappa = parameter(1.5, "1/year", "assumption: half-life of five months", gt=0)
        price = output("USD/hour", "price of a GPU-hour")

        def init(self, xp, draw):
            return dict(x=0.0)

        def step(self, xp, s, up, draw):
            x = s.x * xp.exp(-self.kappa * DT) + 0.05 * draw.normal("shock")
            return dict(x=x, price=xp.exp(x))

``init`` names the state. ``step`` returns the new state, and whatever else others may see. Each month the
systems run once, in order: a system reads through ``up`` what the systems above it wrote this month, and the
state that those below it had last month (``up.month`` is the month, 1 for the first).
"""

from __future__ import annotations

import copy
import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..kernels.namespace import Fields
from ..kernels.philox import Draws
from .locate import CONFIGS

DT = 1.0 / 12.0
"""One month, in years."""

MAX_MONTHS = 240
"""The longest run."""


@dataclass(frozen=True, slots=True)
class Output:
    """Something a system reports: in the summary (its value after the last month), by month, or both."""

    unit: str
    doc: str = ""
    metric: bool = True
    series: bool = True


def output(unit: str, doc: str = "", *, metric: bool = True, series: bool = True) -> Any:
    """Declare a reported variable; the class attribute's name is the key that ``step`` returns."""
    return Output(unit, doc, metric, series)


class Declared:
    """A field of a system or of a table row: what the config may set."""

    name: str

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else instance._values[self.name]

    def default_value(self) -> Any:
        raise NotImplementedError


@dataclass(eq=False)
class Parameter(Declared):
    """A number, a vector or a matrix of numbers: read at run time, so changing it recompiles nothing."""

    default: Any
    unit: str
    basis: str
    bounds: dict[str, float] = field(default_factory=dict)
    size: int | None = None

    def default_value(self) -> Any:
        return copy.deepcopy(self.default)


@dataclass(eq=False)
class Setting(Declared):
    """A choice that shapes the program: changing it compiles another kernel."""

    default: Any
    basis: str
    choices: tuple[Any, ...] = ()
    bounds: dict[str, float] = field(default_factory=dict)
    optional: bool = False
    pattern: str | None = None

    def default_value(self) -> Any:
        return copy.deepcopy(self.default)


@dataclass(eq=False)
class Rows(Declared):
    """A table in the config: a list of rows, each with fields of its own and a unique name."""

    row: type[Row]
    default: Sequence[dict[str, Any]]
    basis: str
    least: int = 1

    def default_value(self) -> Any:
        return [dict(r) for r in self.default]


def parameter(default: Any, unit: str, basis: str, **bounds: float) -> Any:
    """Declare a parameter: default, unit, and the fact or assumption behind it.

    Bounds are ``ge``, ``gt``, ``le``, ``lt``. A list makes a vector, a list of lists a matrix; the config
    must then keep the shape.
    """
    if not basis.startswith(("fact:", "assumption:")):
        raise ValueError(
            f"the basis of a parameter starts with 'fact:' or 'assumption:', not {basis!r}"
        )
    return Parameter(default, unit, basis, bounds)


def setting(
    default: Any,
    basis: str,
    *,
    choices: tuple[Any, ...] = (),
    optional: bool = False,
    **bounds: float,
) -> Any:
    """Declare a setting: a string among ``choices``, a whole number within bounds, a switch, a file name."""
    return Setting(default, basis, choices, bounds, optional)


def rows(row: type[Row], default: Sequence[dict[str, Any]], basis: str, least: int = 1) -> Any:
    """Declare a table of rows; in the config ``[[system.name]]``."""
    return Rows(row, default, basis, least)


def table(row: type[Row], file: str) -> list[dict[str, Any]]:
    """Default rows from a CSV file that ships with the package.

    Columns are the row's fields; an empty cell takes the field's default. Raises ValueError where a column
    is none of them, or a cell is no value of its kind.
    """
    try:
        with (CONFIGS / file).open(newline="", encoding="utf-8") as opened:
            records = list(csv.DictReader(opened, strict=True))
    except (ValueError, csv.Error) as error:  # ValueError: no text in UTF-8
        raise ValueError(f"{file}: cannot be read ({error})") from None
    return [{k: _cell(row, file, k, text) for k, text in r.items() if text} for r in records]


def _cell(row: type[Row], file: str, column: str, text: str) -> Any:
    declared = row.fields.get(column)
    kind = type(getattr(declared, "default", None))
    if kind is bool and text in ("true", "false"):
        return text == "true"
    if kind in (float, int, str):
        try:
            return kind(text)
        except ValueError:
            pass
    raise ValueError(f"{file}: {column} = {text!r} is no value of {row.__name__}")


class _Declaring:
    """What systems and rows share: declared fields, validated values, binding to a kernel's inputs."""

    fields: ClassVar[dict[str, Declared]] = {}
    _values: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        found: dict[str, Declared] = {}
        for base in reversed(cls.__mro__):
            found |= {k: v for k, v in vars(base).items() if isinstance(v, Declared)}
        cls.fields = found

    def __init__(self, **values: Any) -> None:
        from .validate import check_values  # here: pydantic is not needed to import a model

        self._values = check_values(type(self), values)
        self._wrap_rows()

    def _wrap_rows(self) -> None:
        for name, declared in self.fields.items():
            if isinstance(declared, Rows):
                self._values[name] = [
                    r if isinstance(r, Row) else declared.row._trusted(r)
                    for r in self._values[name]
                ]

    @classmethod
    def _trusted(cls, values: dict[str, Any]) -> Any:
        """An instance of values that were checked as part of a larger whole."""
        made = cls.__new__(cls)
        made._values = dict(values)
        made._wrap_rows()
        return made

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            have = ", ".join(self._values)
            raise AttributeError(
                f"{type(self).__name__} has no parameter or prepared value {name!r}; it has {have}"
            ) from None

    def values(self) -> dict[str, Any]:
        """The values as the config would spell them."""
        plain: dict[str, Any] = {}
        for name, declared in self.fields.items():
            value = self._values[name]
            plain[name] = (
                [r.values() for r in value] if isinstance(declared, Rows) else copy.deepcopy(value)
            )
        return plain

    def _flatten(self, prefix: str) -> dict[str, float]:
        flat: dict[str, float] = {}
        for name, declared in self.fields.items():
            value = self._values[name]
            if isinstance(declared, Parameter):
                flat |= _flat(f"{prefix}.{name}", value)
            elif isinstance(declared, Rows):
                for r in value:
                    flat |= r._flatten(f"{prefix}.{name}.{r.name}")
        return flat

    def _bound(self, prefix: str, inputs: dict[str, Any]) -> Any:
        made = copy.copy(self)
        made._values = dict(self._values)
        for name, declared in self.fields.items():
            value = self._values[name]
            if isinstance(declared, Parameter):
                made._values[name] = _unflat(f"{prefix}.{name}", value, inputs)
            elif isinstance(declared, Rows):
                made._values[name] = [r._bound(f"{prefix}.{name}.{r.name}", inputs) for r in value]
        return made


class Row(_Declaring):
    """A row of a table in the config: a generation of chips, a firm, a contract."""

    fields: ClassVar[dict[str, Declared]] = {}
    name = setting("", "the row's name, unique in its table")


def reserved(
    table: str, found: Sequence[Row], own: Sequence[str], prefixes: Sequence[str] = ()
) -> list[str]:
    """Rows become variables beside the system's own, as they are or after a prefix: those names are taken."""
    return [
        f"{table}.{r.name}: {r.name!r} is a variable of the system itself; another name is needed"
        for r in found
        if any(f"{p}{r.name}" in own for p in ("", *prefixes))
    ]


class System(_Declaring):
    """One system of the economy."""

    fields: ClassVar[dict[str, Declared]] = {}
    title: ClassVar[str] = ""
    on_request: ClassVar[bool] = False
    """Whether it runs only in scenarios that name it among their systems."""
    reads: ClassVar[tuple[str, ...]] = ()
    """The systems that ``step`` reads; a config must name them."""
    folder: Path | None = None
    """Where files that the values name are looked for first: the folder of the config."""
    months: int = 60
    """The horizon of the scenario that the system is part of."""

    @classmethod
    def key(cls) -> str:
        """The system's name in configs, metrics and streams: the class name in snake case."""
        return (
            cls.__dict__.get("system_name")
            or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
        )

    def files(self) -> dict[str, str]:
        """The files that the values name, by field."""
        return {}

    def prepare(self) -> dict[str, Any]:
        """What is computed once, on the host, from the parameters: numbers and one-dimensional arrays.

        In ``init`` and ``step`` a number is then ``self.name``; an array a table column, ``self.name[i]``.
        """
        return {}

    def check(self) -> list[str]:
        """What is wrong with the values together: lines that name field, value and what would be right."""
        return []

    def fits(self, others: dict[str, System]) -> list[str]:
        """What is wrong with the values beside those of the other systems: lines as of ``check``."""
        return []

    def needs(self) -> tuple[str, ...]:
        """The systems that ``step`` reads with these values."""
        return self.reads

    def outputs(self) -> dict[str, Output]:
        """Reported variables by key: the class attributes made by ``output``."""
        found: dict[str, Output] = {}
        for base in reversed(type(self).__mro__):
            found |= {k: v for k, v in vars(base).items() if isinstance(v, Output)}
        return found

    def init(self, xp: Any, draw: Draws) -> dict[str, Any]:
        """The state before the first month."""
        return {}

    def step(self, xp: Any, s: Any, up: Any, draw: Draws) -> dict[str, Any]:
        """One month: the new state and everything that others may see."""
        raise NotImplementedError(f"{type(self).__name__} has no step")


def _flat(name: str, value: Any) -> dict[str, float]:
    if isinstance(value, list | tuple):
        flat: dict[str, float] = {}
        for i, v in enumerate(value):
            flat |= _flat(f"{name}[{i}]", v)
        return flat
    return {name: float(value)}


def _unflat(name: str, value: Any, inputs: dict[str, Any]) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_unflat(f"{name}[{i}]", v, inputs) for i, v in enumerate(value))
    return inputs[name]


class EconomyError(ValueError):
    """The systems do not fit together."""


class Economy:
    """Systems in their order of flow: what the kernels call a model.

    Raises EconomyError where two systems share a name.
    """

    def __init__(self, *systems: System, months: int = 60, name: str = "economy") -> None:
        self.systems = {type(s).key(): s for s in systems}
        if len(self.systems) != len(systems):
            raise EconomyError(f"two systems share a name: {[type(s).key() for s in systems]}")
        if not systems:
            raise EconomyError("an economy has at least one system")
        self.months, self.name = months, name
        self.reals: dict[str, float] = {}
        self.ints: dict[str, int] = {}
        self.columns: dict[str, Any] = {}
        self._prepared: dict[str, tuple[str, ...]] = {}
        self.reported: dict[str, Output] = {}
        for key, system in self.systems.items():
            self.reals |= system._flatten(key)
            prepared = system.prepare()
            self._prepared[key] = tuple(prepared)
            for name_, value in prepared.items():
                self._add(f"{key}.{name_}", value)
            self.reported |= {f"{key}.{k}": o for k, o in system.outputs().items()}
        self.metrics = tuple(k for k, o in self.reported.items() if o.metric)
        self.series = tuple(k for k, o in self.reported.items() if o.series)

    def _add(self, name: str, value: Any) -> None:
        if isinstance(value, bool | np.bool_):
            raise EconomyError(f"{name}: prepare gives numbers and arrays, not {value!r}")
        if isinstance(value, int | np.integer):
            self.ints[name] = int(value)
        elif isinstance(value, float | np.floating):
            self.reals[name] = float(value)
        else:
            data = np.asarray(value)
            if data.ndim != 1 or data.size == 0 or data.dtype.kind not in "fiu":
                raise EconomyError(
                    f"{name}: a column is a one-dimensional array of numbers, not {value!r}"
                )
            self.columns[name] = data.astype(np.float64 if data.dtype.kind == "f" else np.int32)

    def unit(self, name: str) -> str:
        return self.reported[name].unit

    def silent(self) -> list[str]:
        """A line where nothing is reported: there is then nothing to run for."""
        if self.metrics or self.series:
            return []
        return [f"systems = [{', '.join(self.systems)}]: report nothing; add one that does"]

    # ---- the model that the kernels trace
    def _bind(self, inputs: dict[str, Any]) -> dict[str, System]:
        bound = {}
        for key, system in self.systems.items():
            made = system._bound(key, inputs)
            made._values |= {n: inputs[f"{key}.{n}"] for n in self._prepared[key]}
            bound[key] = made
        return bound

    def draws(self, xp: Any, key: str, inputs: dict[str, Any], month: Any = None) -> Draws:
        """What a system draws, in a month or before the first."""
        return Draws(xp, key, month)

    def init(self, xp: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        state: dict[str, Any] = {}
        for key, system in self._bind(inputs).items():
            own = system.init(xp, self.draws(xp, key, inputs))
            _expect_dict(key, "init", own)
            state |= {f"{key}.{k}": v for k, v in own.items()}
        return state

    def step(
        self, xp: Any, inputs: dict[str, Any], state: dict[str, Any], month: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        own = {key: _of(state, key) for key in self.systems}
        views: dict[str, Any] = {
            key: Fields(values, f"state of {key}, which runs later in the month,")
            for key, values in own.items()
        }
        seen: dict[str, Any] = {}
        new: dict[str, Any] = {}
        for key, system in self._bind(inputs).items():
            up = Fields(views | {"month": month}, "system")
            draw = self.draws(xp, key, inputs, month)
            got = system.step(xp, Fields(own[key], f"state of {key}"), up, draw)
            _expect_dict(key, "step", got)
            missing = [k for k in own[key] if k not in got]
            if missing:
                raise EconomyError(f"{key}.step does not return its state {', '.join(missing)}")
            views[key] = Fields(got, f"output of {key}")
            new |= {f"{key}.{k}": got[k] for k in own[key]}
            seen |= {f"{key}.{k}": v for k, v in got.items()}
        lost = [k for k in self.reported if k not in seen]
        if lost:
            raise EconomyError(f"declared as output but not returned by a step: {', '.join(lost)}")
        return new, seen


def _of(state: dict[str, Any], key: str) -> dict[str, Any]:
    head = f"{key}."
    return {k[len(head) :]: v for k, v in state.items() if k.startswith(head)}


def _expect_dict(key: str, method: str, got: Any) -> None:
    if not isinstance(got, dict):
        raise EconomyError(
            f"{key}.{method} returns a dict of named values, not {type(got).__name__}"
        )


Factory = Callable[..., System]
