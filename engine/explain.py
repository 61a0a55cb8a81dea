"""Explain: what a system assumes and whence, what it reads and writes; and the systems as a picture.

Who reads what is recorded while the economy is traced once, every loop's body included, so it cannot
drift from the code. A system reads of those above it what they wrote this month, and of those below it
the state that they had last month.
"""

from __future__ import annotations

import csv
import inspect
import math
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cache
from html import escape as _escape
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from ..kernels.namespace import Fields
from ..kernels.trace import Symbol, trace
from .locate import CONFIGS
from .scenario import Scenario
from .simulate import as_economy
from .system import Declared, Economy, Parameter, Row, Rows, Setting, System
from .tables import WIDTH, console
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
        value = "" if self.value is None else f" {_plain(self.value)}"
        ends = [_plain(x) if x is not None else "" for x in (self.low, self.high)]
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


def cited(text: str) -> list[str]:
    """The ids of facts that a basis or a source names: ``fact: id``, ``fact id_of_it``, ``id (fact)``."""
    found = re.findall(r"\bfact: *(\w+)|\bfact (\w+_\w+)|\b(\w+) \(fact\)", text)
    return list(dict.fromkeys(x for groups in found for x in groups if x))


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
                wrong = [x for x in _numbers(value) if fact and not fact.backs(x)]
                if fact and wrong:
                    found[where] = f"{_plain(wrong[0])} is not what {fact.id} says: {fact.text()}"
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


def _numbers(value: Any) -> list[float]:
    if isinstance(value, list | tuple):
        return [x for v in value for x in _numbers(v)]
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
    words = {"f": "real", "i": "integer", "u": "bits", "m": "mask"}
    if not isinstance(value, Symbol):
        return {int: "integer", bool: "mask"}.get(type(value), "real")
    length = value.value.length
    return words[value.value.kind] + (f"[{length}]" if length else "")


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


# ---- printed
_GRID: dict[str, Any] = {"box": None, "pad_edge": False, "padding": (0, 2, 0, 0)}


def _plain(x: float) -> str:
    return f"{x:,.6g}" if abs(x) < 1e9 else f"{x:g}"


def _value(x: Any) -> str:
    """A value in little room: a matrix has a line for each row."""
    if isinstance(x, list | tuple):
        inner = isinstance(x[0], list | tuple) if x else False
        return ("\n" if inner else ", ").join(map(_value, x)) if x else "none"
    if isinstance(x, bool):
        return "true" if x else "false"
    if isinstance(x, int | float):
        return _plain(x) if math.isfinite(x) else str(x)
    return str(x) if x not in ("", None) else "-"


def print_overview(model: Model) -> None:
    """A line for each system, 100 columns."""
    screen = console()
    table = Table(**_GRID)
    table.add_column("system")
    for name in ("own", "facts", "tables", "cited"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("reads", ratio=5)
    table.add_column("is read for", ratio=6)
    for line in overview(model):
        used, every = line["read_by_others"], len(line["state"]) + len(line["outputs"])
        now = ", ".join(map(escape, line["reads"]))
        after = f"[dim]of last month: {', '.join(map(escape, line['feedback']))}[/]"
        table.add_row(
            f"{escape(line['system'])}\n[dim]{escape(line['title'])}[/]",
            str(line["parameters"]),
            str(line["facts"]),
            str(line["figures"] or "-"),
            str(line["cited"] or "-"),
            "\n".join([*filter(None, [now]), *([after] if line["feedback"] else [])]) or "-",
            f"{escape(_few(used, 4)) or '-'} [dim]of {every}[/]",
        )
    screen.print(table)
    screen.print(
        "\nown: the system's own parameters, and how many of them are facts (the rest are assumptions); "
        "tables: figures in its tables, and the facts that these cite. In full: explain SYSTEM",
        style="dim",
        highlight=False,
    )


def _few(names: list[str], most: int) -> str:
    left = len(names) - most
    return ", ".join(names[:most]) + (f", {left} more" if left > 0 else "")


def print_system(model: Model, key: str) -> None:
    """Everything of ``describe``, 100 columns."""
    about = describe(model, key)
    screen = console()
    heading = f"{about['system']}: {about['title']}"
    screen.print(heading, style="bold", markup=False, highlight=False)
    screen.print(about["text"], markup=False, highlight=False)
    for kind in ("parameters", "settings"):
        if about[kind]:
            _section(screen, kind)
            screen.print(_fields(about[kind]))
    for table in about["tables"]:
        _section(screen, f"table {table['name']}", table["basis"])
        _print_rows(screen, table)
    if about["reports"]:
        _section(screen, "reports")
        grid = Table(**_GRID, show_header=False)
        for o in about["reports"]:
            when = [w for w, on in (("at the end", o["metric"]), ("by month", o["series"])) if on]
            grid.add_row(*map(escape, (o["name"], o["unit"], o["doc"], ", ".join(when))))
        screen.print(grid)
    for heading, side in (("reads of this month", "above"), ("reads of last month", "below")):
        _section(screen, heading)
        grid = Table(**_GRID, show_header=False)
        for system, names in about[side].items():
            grid.add_row(*map(escape, (system, ", ".join(names))))
        screen.print(grid if about[side] else "nothing", style="" if about[side] else "dim")
    for heading, what in (("state", "state"), ("writes beside it", "outputs")):
        _section(screen, heading)
        kinds = about[what].items()
        text = ", ".join(n if k == "real" else f"{n} ({k})" for n, k in kinds) or "nothing"
        screen.print(text, markup=False, highlight=False)


def _section(screen: Console, heading: str, more: str = "") -> None:
    tail = f"  [dim]{escape(more)}[/]" if more else ""
    screen.print(f"\n[bold]{escape(heading)}[/]{tail}", highlight=False)


def _fields(lines: list[dict[str, Any]]) -> Table:
    """Parameters or settings: name, value, unit or choices, basis; the default where it is another."""
    grid = Table(**_GRID, show_header=False)
    for share in (None, None, None, 1):
        grid.add_column(ratio=share, no_wrap=share is None)
    for line in lines:
        moved = "default" in line
        value = escape(_value(line["value"]))
        if moved:
            value = f"[bold]{value}[/]\n[dim]default {escape(_value(line['default']))}[/]"
        grid.add_row(escape(line["name"]), value, escape(_unit(line)), _basis(line))
    return grid


def _unit(line: dict[str, Any]) -> str:
    if "choices" in line:
        return "\n".join(map(str, line["choices"]))
    return "\n".join(textwrap.wrap(line.get("unit", ""), 18))


def _basis(line: dict[str, Any]) -> str:
    known = "\n".join(escape(Fact(**f).text()) for f in line.get("facts", ()))
    return escape(line["basis"]) + (f"\n[dim]{known}[/]" if known else "")


def _print_rows(screen: Console, table: dict[str, Any]) -> None:
    """A line a row, in as many blocks as the columns need; then units and bases, then where rows come from."""
    names = [f["name"] for f in table["fields"] if f["name"] != "source"]
    width = {n: _width(n, [_value(r[n]) for r in table["rows"]]) for n in names}
    first = _width("name", [r["name"] for r in table["rows"]])
    while names:
        used = first
        block: list[str] = []
        while names and (not block or used + width[names[0]] <= WIDTH):
            used += width[names[0]]
            block.append(names.pop(0))
        grid = Table(**_GRID, header_style="dim")
        for n in ("name", *block):
            right = all(_numbers(r[n]) for r in table["rows"])
            grid.add_column(n.replace("_", "_\n"), justify="right" if right else "left")
        for r in table["rows"]:
            cells = (_moved(table, r, n) for n in block)
            grid.add_row(escape(r["name"]), *cells)
        screen.print(grid)
    if table["changed"] or table["removed"]:
        gone = f"; without {', '.join(table['removed'])}" if table["removed"] else ""
        screen.print(f"bold: not the default{gone}", style="dim", markup=False, highlight=False)
    fields = [f | {"value": ""} for f in table["fields"] if f["name"] != "source"]
    screen.print(Padding(_legend(fields), (0, 0, 0, 2)), style="dim")
    sources = [(r["name"], r["source"]) for r in table["rows"] if r.get("source")]
    if sources:
        grid = Table(**_GRID, show_header=False)
        for name, text in sources:
            grid.add_row(escape(name), escape(text))
        screen.print(Padding(grid, (0, 0, 0, 2)), style="dim")


def _moved(table: dict[str, Any], row: dict[str, Any], name: str) -> str:
    text = escape(_value(row[name]))
    return f"[bold]{text}[/]" if f"{row['name']}.{name}" in table["changed"] else text


def _width(heading: str, cells: list[str]) -> int:
    parts = [*heading.replace("_", "_\n").split("\n"), *(x for c in cells for x in c.split("\n"))]
    return max(map(len, parts)) + 2


def _legend(fields: list[dict[str, Any]]) -> Table:
    grid = Table(**_GRID, show_header=False)
    for line in fields:
        grid.add_row(escape(line["name"]), escape(_unit(line)), _basis(line))
    return grid


# ---- the picture: systems down the diagonal, what one reads of another where row and column meet
_NOW, _FED = "#27598c", "#b0531a"  # in grey they are told apart by the dashes
_BOX, _INK, _SOFT = "#e6eef7", "#1b2733", "#5c6873"
_SHOWN = 3  # variables that a label names at most
_WIDTHS = (("fijlrtI.,:;'|!() ", 0.34), ("mwMW@%", 0.9), ("ABCDEFGHKLNOPQRSTUVXYZ", 0.7))
_LEFT, _BOLD = ' text-anchor="start"', ' font-weight="bold"'
_HOW = (
    "A month runs from the top left to the bottom right. A system writes along its row and reads along its "
    "column; lines that cross without a label do not meet."
)
_STYLE = "font-family:Helvetica,Arial,'Liberation Sans',sans-serif"


def graph_svg(model: Model) -> str:
    """The systems as an SVG picture, light, and wide rather than high.

    Boxes stand on the diagonal in the order of flow. What a system writes leaves along its row, to the
    right for systems that run later this month and, dashed, to the left for those that read it next month;
    what a system reads comes along its column. A label where the two meet names the variables.
    """
    economy = as_economy(model)
    return _Picture(economy, observe(economy)).svg()


class _Picture:
    """Places first, then text: columns as wide and rows as high as what stands in them."""

    def __init__(self, economy: Economy, traffic: dict[str, Traffic]) -> None:
        self.economy, self.keys = economy, list(economy.systems)
        self.cells: dict[tuple[int, int], list[str]] = {}  # (writer, reader)
        for reader, t in enumerate(traffic.values()):
            for writer, names in {**t.above, **t.below}.items():
                self.cells[self.keys.index(writer), reader] = names
        self.titles = [_wrap(s.title, 20, 3) for s in economy.systems.values()]
        self.box = list(map(_box, self.keys, self.titles))
        self.label = {at: _size(_lines(names), 14, 7) for at, names in self.cells.items()}
        wide = self._spans(0, 1, 16)
        high = self._spans(1, 0, 14)
        self.x = [24 + sum(wide[:i]) + w / 2 for i, w in enumerate(wide)]
        self.y = [92 + sum(high[:i]) + h / 2 for i, h in enumerate(high)]
        self.width, self.height = 48 + max(sum(wide), _room(_HOW, 11)), 104 + sum(high)

    def _spans(self, side: int, along: int, gap: float) -> list[float]:
        """How wide each column is (side 0, along 1), or how high each row (1, 0)."""
        spans = [size[side] for size in self.box]
        for at, size in self.label.items():
            spans[at[along]] = max(spans[at[along]], size[side])
        return [span + gap for span in spans]

    def svg(self) -> str:
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:.0f} {self.height:.0f}" '
            f'width="{self.width:.0f}" height="{self.height:.0f}" style="{_STYLE}">',
            '<rect width="100%" height="100%" fill="white"/>',
            *self._head(),
            *(line for i in range(len(self.keys)) for line in self._wires(i)),
            *(line for at in self.cells for line in self._label(at)),
            *(line for i in range(len(self.keys)) for line in self._system(i)),
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    def _head(self) -> list[str]:
        name = self.economy.name
        return [
            _text(24, 34, f"{name}: what each system reads", 19, _INK, _LEFT + _BOLD),
            _text(24, 53, _HOW, 11, _SOFT, _LEFT),
            _line([(24, 72), (58, 72)], _NOW) + _tip(58, 72, _NOW, 0),
            _text(68, 76, "written this month, read further down", 11, _INK, _LEFT),
            _line([(310, 72), (344, 72)], _FED, dashed=True) + _tip(344, 72, _FED, 0),
            _text(354, 76, "fed back: the state of last month, read further up", 11, _INK, _LEFT),
        ]

    def _wires(self, i: int) -> Iterator[str]:
        """The row that system i writes along and the column that it reads along, on either side of its box."""
        x, y, (w, h) = self.x[i], self.y[i], self.box[i]
        readers = [j for a, j in self.cells if a == i]
        writers = [a for a, j in self.cells if j == i]
        if any(j > i for j in readers):
            yield _line([(x + w / 2, y), (self.x[max(readers)], y)], _NOW)
        if any(j < i for j in readers):
            yield _line([(x - w / 2, y), (self.x[min(readers)], y)], _FED, dashed=True)
        if any(a < i for a in writers):
            yield _line([(x, self.y[min(writers)]), (x, y - h / 2 - 6)], _NOW)
            yield _tip(x, y - h / 2, _NOW, 90)
        if any(a > i for a in writers):
            yield _line([(x, self.y[max(writers)]), (x, y + h / 2 + 6)], _FED, dashed=True)
            yield _tip(x, y + h / 2, _FED, -90)

    def _label(self, at: tuple[int, int]) -> Iterator[str]:
        (writer, reader), names = at, self.cells[at]
        (w, h), x, y = self.label[at], self.x[reader], self.y[writer]
        now = reader > writer
        colour, fill = (_NOW, "#f5f9fd") if now else (_FED, "#fdf6f0")
        when = "of this month" if now else "of last month"
        hint = f"{self.keys[reader]} reads {self.keys[writer]}, {when}: {', '.join(names)}"
        yield f"<g><title>{_safe(hint)}</title>"
        dash = "" if now else ' stroke-dasharray="4 2"'
        look = f'fill="{fill}" stroke="{colour}" stroke-width="0.8"{dash}'
        yield _rect((x, y), (w, h), h / 2 if h < 20 else 8, look)
        lines = _lines(names)
        for k, line in enumerate(lines):
            yield _text(x, y + 3.3 + 11 * (k - (len(lines) - 1) / 2), line, 9.5, colour)
        yield "</g>"

    def _system(self, i: int) -> Iterator[str]:
        x, y, (w, h) = self.x[i], self.y[i], self.box[i]
        yield _rect((x, y), (w, h), 5, f'fill="{_BOX}" stroke="{_NOW}" stroke-width="1.4"')
        top = y - h / 2 + 17
        yield _text(x, top, self.keys[i], 12.5, _INK, _BOLD)
        for k, line in enumerate(self.titles[i]):
            yield _text(x, top + 12 + 11 * k, line, 9.5, _SOFT)


def _lines(names: list[str]) -> list[str]:
    if len(names) <= _SHOWN:
        return [_cut(n, 22) for n in names]
    return [*(_cut(n, 22) for n in names[: _SHOWN - 1]), f"and {len(names) - _SHOWN + 1} more"]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _wrap(text: str, width: int, most: int) -> list[str]:
    lines = textwrap.wrap(text, width)
    return lines if len(lines) <= most else [*lines[: most - 1], _cut(lines[most - 1] + "…", width)]


def _room(text: str, size: float) -> float:
    """The width of a text, near enough; fonts that stand in for Helvetica are wider."""
    return size * sum(next((w for set_, w in _WIDTHS if c in set_), 0.6) for c in text)


def _size(lines: list[str], across: float, down: float) -> tuple[float, float]:
    return max((_room(line, 9.5) for line in lines), default=0.0) + across, 11 * len(lines) + down


def _box(key: str, title: list[str]) -> tuple[float, float]:
    w, h = _size(title, 18, 26)
    return max(w, 1.12 * _room(key, 12.5) + 18, 78), h


def _safe(text: str) -> str:
    """Text for XML: escaped, and without the characters that XML has not."""
    return _escape(re.sub("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text))


def _text(x: float, y: float, text: str, size: float, fill: str = _INK, more: str = "") -> str:
    """Centred on x, unless ``more`` says otherwise."""
    anchor = "" if "text-anchor" in more else ' text-anchor="middle"'
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}"{anchor}{more}>{_safe(text)}</text>'


def _line(points: list[tuple[float, float]], colour: str, *, dashed: bool = False) -> str:
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dash = ' stroke-dasharray="5 3"' if dashed else ""
    return f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="1.3" stroke-opacity="0.75"{dash}/>'


def _tip(x: float, y: float, colour: str, turn: int) -> str:
    return f'<path d="M0,0 L-8,-4 L-8,4 Z" fill="{colour}" transform="translate({x:.1f} {y:.1f}) rotate({turn})"/>'


def _rect(at: tuple[float, float], size: tuple[float, float], round: float, look: str) -> str:
    """Centred on ``at``."""
    (x, y), (w, h) = at, size
    place = f'x="{x - w / 2:.1f}" y="{y - h / 2:.1f}" width="{w:.1f}" height="{h:.1f}"'
    return f'<rect {place} rx="{round:.1f}" {look}/>'


def graph_text(model: Model) -> str:
    """The same for a terminal: a matrix of who reads whom, then the variables; 100 columns."""
    economy = as_economy(model)
    traffic, keys = observe(economy), list(economy.systems)
    wide = max(map(len, keys))
    lines = [
        f"{economy.name}: a row's system is read by the columns' systems",
        "v what it wrote this month, ^ fed back: its state of last month",
        "",
        " " * (wide + 5) + "".join(f"{j + 1:>3}" for j in range(len(keys))),
    ]
    for i, writer in enumerate(keys):
        marks = [_mark(writer, reader, t) for reader, t in traffic.items()]
        lines.append(f"{i + 1:>3}  {writer:<{wide}}" + "".join(f"{m:>3}" for m in marks))
    for i, (reader, t) in enumerate(traffic.items()):
        lines += ["", f"{i + 1:>3}  {reader}"]
        for writer, names in {**t.above, **t.below}.items():
            head = f"     {_mark(writer, reader, t)} {writer:<{wide}}  "
            lines += textwrap.wrap(
                head + ", ".join(names), WIDTH, subsequent_indent=" " * len(head)
            )
    return "\n".join(lines) + "\n"


def _mark(writer: str, reader: str, traffic: Traffic) -> str:
    if writer == reader:
        return "\\"
    return "v" if writer in traffic.above else "^" if writer in traffic.below else "."
