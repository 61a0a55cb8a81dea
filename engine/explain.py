"""Explain: what a system assumes and whence, and what it reads and writes, as plain data.

Who reads what is recorded while the economy is traced once, every loop's body included, so it cannot
drift from the code. A system reads of those above it what they wrote this month, and of those below it
the state that they had last month. tables_explain prints it, graph draws it.
"""

from __future__ import annotations

import csv
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

from ..kernels.namespace import Fields
from ..kernels.ops import KINDS, kind_of
from ..kernels.symbol import Symbol
from ..kernels.trace import trace
from .locate import CONFIGS
from .scenario import Scenario
from .simulate import as_economy
from .system import Declared, Economy, Parameter, Row, Rows, Setting, System
from .validate import ConfigError, near, shown

Model = Scenario | Economy | System


# ---- facts
@dataclass(frozen=True)
class Fact:
    """A line of configs/facts.csv; numbers that it leaves open are None."""

    id: str
    quantity: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    as_of: str
    source: str
    note: str

    def backs(self, x: float) -> bool:
        """Whether x is the value, or lies within low..high; an open end is the value itself."""
        if self.value is None:
            return False
        low = self.value if self.low is None else min(self.low, self.value)
        high = self.value if self.high is None else max(self.high, self.value)
        return low - 1e-9 * abs(low) <= x <= high + 1e-9 * abs(high)

    def text(self) -> str:
        """In one line: quantity, value, range, source, date."""
        value = "" if self.value is None else f" {plain(self.value)}"
        ends = [plain(x) if x is not None else "" for x in (self.low, self.high)]
        span = f" ({ends[0]}..{ends[1]})" if any(ends) else ""
        return f"{self.quantity}:{value}{span} {self.unit}, {self.source}, {self.as_of}"


@cache
def facts() -> dict[str, Fact]:
    """configs/facts.csv by id."""
    with (CONFIGS / "facts.csv").open(newline="", encoding="utf-8") as file:
        return {r["id"]: _fact(r) for r in csv.DictReader(file)}


def _fact(record: dict[str, str]) -> Fact:
    numbers = {k: float(record[k]) if record[k] else None for k in ("value", "low", "high")}
    return Fact(**(record | numbers))  # type: ignore[arg-type]


def plain(x: float) -> str:
    """Six figures, without an exponent where the number is below 1e9."""
    return f"{x:,.6g}" if abs(x) < 1e9 else f"{x:g}"


def cited(text: str) -> list[str]:
    """The ids of facts that a basis or a source names.

    Any word that is an id, and what is claimed to be one: ``fact: id, id``, ``fact id_of_it``, ``id (fact)``.
    """
    runs = re.findall(r"\bfact: *(\w+(?:, \w+_\w+)*)|\bfact (\w+_\w+)|\b(\w+) \(fact\)", text)
    claimed = [x for run in runs for x in "".join(run).split(", ")]
    return list(dict.fromkeys([*claimed, *(w for w in re.findall(r"\w+", text) if w in facts())]))


def fact_problems(model: Model) -> dict[str, str]:
    """What is wrong with the facts that the systems lean on, by the place of the figure.

    A fact that configs/facts.csv does not have; or a default whose basis is a fact, and which is neither
    its value nor within its low..high. A scenario may move a figure on purpose, so defaults are compared.
    """
    found: dict[str, str] = {}
    for key, system in as_economy(model).systems.items():
        for where, declared, value in _defaults(type(system), key):
            ids = cited(declared.basis if isinstance(declared, Parameter | Setting) else value)
            for name in ids:
                if name not in facts():
                    found[where] = f"fact {name} is not in facts.csv{near(name, list(facts()))}"
            if isinstance(declared, Parameter | Setting) and declared.basis.startswith("fact:"):
                fact = facts().get(ids[0]) if ids else None
                wrong = [x for x in numbers(value) if fact and not fact.backs(x)]
                if fact and wrong:
                    found[where] = f"{plain(wrong[0])} is not what {fact.id} says: {fact.text()}"
    return found


def _defaults(cls: Any, key: str) -> Iterator[tuple[str, Declared | None, Any]]:
    """(place, declaration, default) of every figure; for a text that cites facts the declaration is None."""
    for name, declared in cls.fields.items():
        if not isinstance(declared, Rows):
            yield f"{key}.{name}", declared, declared.default_value()
            continue
        yield f"{key}.{name}", None, declared.basis
        for row in declared.default:
            for column, inner in declared.row.fields.items():
                value = row.get(column, inner.default_value())
                yield f"{key}.{name}.{row['name']}.{column}", inner, value
                if isinstance(value, str):
                    yield f"{key}.{name}.{row['name']}.{column}", None, value


def numbers(value: Any) -> list[float]:
    """The numbers of a value, of a vector or of a matrix; none where it is a text, a switch or nothing."""
    if isinstance(value, list | tuple):
        return [x for v in value for x in numbers(v)]
    return [] if isinstance(value, bool | str) or value is None else [float(value)]


# ---- what is read and written
@dataclass
class Traffic:
    """What a system reads of others and writes: variables by system, and kinds by variable."""

    above: dict[str, list[str]] = field(default_factory=dict)
    """Of systems above it, as written this month."""
    below: dict[str, list[str]] = field(default_factory=dict)
    """Of systems below it, their state of last month."""
    state: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    """What it returns beside its state."""

    def reads(self) -> set[str]:
        return {*self.above, *self.below}


class _Heard(Fields):
    """Fields that tell which of their names are read."""

    def __init__(self, fields: Fields, tell: Callable[[str], None]) -> None:
        super().__init__(fields._values, fields._what)
        self.__dict__["_tell"] = tell

    def __getattr__(self, name: str) -> Any:
        value = super().__getattr__(name)
        self._tell(name)
        return value


class _Watched:
    """A system whose step is listened to."""

    def __init__(self, system: System, own: str, order: list[str], traffic: Traffic) -> None:
        self.system, self.own, self.order, self.traffic = system, own, order, traffic

    def init(self, xp: Any, draw: Any) -> Any:
        return self.system.init(xp, draw)

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> Any:
        heard = {
            k: _Heard(v, lambda name, k=k: self._note(k, name)) if isinstance(v, Fields) else v  # type: ignore[misc]
            for k, v in up._values.items()
        }
        got = self.system.step(xp, s, Fields(heard, up._what), draw)
        if isinstance(got, dict):
            for name, value in got.items():
                into = self.traffic.state if name in s._values else self.traffic.outputs
                into[name] = _kind(value)
        return got

    def _note(self, key: str, name: str) -> None:
        at, mine = self.order.index(key), self.order.index(self.own)
        if at != mine:
            side = self.traffic.above if at < mine else self.traffic.below
            names = side.setdefault(key, [])
            if name not in names:
                names.append(name)


class _Listening(Economy):
    """The economy with a listener at every system."""

    def _bind(self, inputs: dict[str, Any]) -> dict[str, Any]:
        order = list(self.systems)
        self.traffic = {key: Traffic() for key in order}
        bound = super()._bind(inputs)
        return {k: _Watched(bound[k], k, order, self.traffic[k]) for k in order}


def _kind(value: Any) -> str:
    if not isinstance(value, Symbol):
        return KINDS[kind_of(value)]
    length = value.value.length
    return KINDS[value.value.kind] + (f"[{length}]" if length else "")


def observe(model: Model) -> dict[str, Traffic]:
    """What each system reads and writes, recorded in one trace; in the order of flow."""
    economy = as_economy(model)
    listening = _Listening(*economy.systems.values(), months=economy.months, name=economy.name)
    trace(listening, float64=True)
    return listening.traffic


def read_problems(model: Model) -> dict[str, str]:
    """Where a system's declared reads are not what it reads, by system."""
    found = {}
    economy = as_economy(model)
    for key, traffic in observe(economy).items():
        declared, real = set(economy.systems[key].needs()), traffic.reads()
        wrong = [f"declares {n} and reads nothing of it" for n in sorted(declared - real)]
        wrong += [f"reads {n} and does not declare it" for n in sorted(real - declared)]
        if wrong:
            found[key] = "; ".join(wrong)
    return found


# ---- a system and all systems, as data
def describe(model: Model, key: str) -> dict[str, Any]:
    """Everything there is to say of one system, as plain values for JSON. ConfigError if it is unknown."""
    economy = as_economy(model)
    if key not in economy.systems:
        have = list(economy.systems)
        raise ConfigError(
            [f"system {shown(key)}: not in {economy.name}{near(key, have, listed=False)}; "
             f"it has {', '.join(have)}"]
        )  # fmt: skip
    system, traffic = economy.systems[key], observe(economy)[key]
    made: dict[str, Any] = {
        "system": key,
        "title": system.title,
        "text": (inspect.getdoc(type(system)) or "").split("\n\n")[0].replace("\n", " "),
        "parameters": [],
        "settings": [],
        "tables": [],
    }
    for name, declared in system.fields.items():
        value = system._values[name]
        if isinstance(declared, Rows):
            made["tables"].append(_table(name, declared, value))
        else:
            line = _field(name, declared) | {"value": value}
            if value != declared.default_value():
                line["default"] = declared.default_value()
            made["parameters" if isinstance(declared, Parameter) else "settings"].append(line)
    made["reports"] = [{"name": n, **asdict(o)} for n, o in system.outputs().items()]
    return made | asdict(traffic)


def _field(name: str, declared: Declared) -> dict[str, Any]:
    """Name, unit or choices, basis and the facts that it names."""
    assert isinstance(declared, Parameter | Setting)
    line: dict[str, Any] = {"name": name, "basis": declared.basis}
    if isinstance(declared, Parameter):
        line["unit"] = declared.unit
    elif declared.choices:
        line["choices"] = list(declared.choices)
    if declared.bounds:
        line["bounds"] = dict(declared.bounds)
    known = [facts()[i] for i in cited(declared.basis) if i in facts()]
    return line | ({"facts": [asdict(f) for f in known]} if known else {})


def _table(name: str, declared: Rows, rows: list[Row]) -> dict[str, Any]:
    """A table's fields and rows; ``changed`` holds the defaults of what this scenario moved."""
    before = {r["name"]: declared.row._trusted(_filled(declared.row, r)) for r in declared.default}
    changed: dict[str, Any] = {}
    for row in rows:
        old = before[row.name].values() if row.name in before else {}
        moved = [k for k, v in row.values().items() if v != old.get(k)]
        changed |= {f"{row.name}.{k}": old.get(k) for k in moved}
    gone = [n for n in before if n not in [r.name for r in rows]]
    return {
        "name": name,
        "basis": declared.basis,
        "fields": [_field(k, d) for k, d in declared.row.fields.items() if k != "name"],
        "rows": [r.values() for r in rows],
        "changed": changed,
        "removed": gone,
    }


def _filled(row: type[Row], given: dict[str, Any]) -> dict[str, Any]:
    return {k: given.get(k, d.default_value()) for k, d in row.fields.items()}


def overview(model: Model) -> list[dict[str, Any]]:
    """A line for each system: figures and their bases counted, what it reads, what it writes.

    ``facts`` and ``assumptions`` divide the system's own parameters by their basis; ``figures`` are the
    numbers in its tables, and ``cited`` the facts that their sources and bases name. ``read_by_others`` are
    its variables that others read.
    """
    economy = as_economy(model)
    traffic = observe(economy)
    lines = []
    for key, system in economy.systems.items():
        own = [d for d in system.fields.values() if isinstance(d, Parameter)]
        backed = sum(d.basis.startswith("fact:") for d in own)
        t = traffic[key]
        used = [
            n
            for n in {**t.state, **t.outputs}
            if any(n in o.above.get(key, []) or n in o.below.get(key, []) for o in traffic.values())
        ]
        lines.append(
            {
                "system": key,
                "title": system.title,
                "parameters": len(own),
                "facts": backed,
                "assumptions": len(own) - backed,
                **_figures(system),
                "reads": t.above,
                "feedback": t.below,
                "state": list(t.state),
                "outputs": list(t.outputs),
                "read_by_others": used,
            }
        )
    return lines


def _figures(system: System) -> dict[str, int]:
    count, ids = 0, set()
    for name, declared in system.fields.items():
        if isinstance(declared, Rows):
            inner = declared.row.fields.values()
            texts = [
                declared.basis,
                *(d.basis for d in inner if isinstance(d, Parameter | Setting)),
            ]
            for row in system._values[name]:
                count += sum(isinstance(d, Parameter) for d in inner)
                texts += [v for v in row.values().values() if isinstance(v, str)]
            ids |= {i for text in texts for i in cited(text)}
    return {"figures": count, "cited": len(ids)}


# ---- names in little room
def row_names(economy: Economy, first: str) -> dict[str, list[str]]:
    """The names of the rows of each table, those of one system first."""
    found: dict[str, list[str]] = {}
    for key in [first, *economy.systems]:
        system = economy.systems[key]
        for name, declared in system.fields.items():
            if isinstance(declared, Rows):
                found.setdefault(name, [r.name for r in system._values[name]])
    return found


def folded(names: Iterable[str], tables: dict[str, list[str]]) -> dict[str, str]:
    """What to show for each name: those that go through a table's rows, as cash_openai, are cash_<firm>."""
    short = {n: n for n in names}
    for table, rows in tables.items():
        if len(rows) < 3:
            continue
        word = re.compile(f"(?<![^_]){re.escape(rows[0])}(?![^_])")  # between underscores or ends
        for name in list(short):
            found = word.search(name)
            if found is None:
                continue
            pre, post = name[: found.start()], name[found.end() :]
            every = [pre + r + post for r in rows]
            if all(short.get(n) == n for n in every):
                short |= dict.fromkeys(every, f"{pre}<{table}>{post}")
    return short


def short_names(names: Iterable[str], tables: dict[str, list[str]]) -> list[str]:
    """What ``folded`` shows, each once."""
    return list(dict.fromkeys(folded(names, tables).values()))
