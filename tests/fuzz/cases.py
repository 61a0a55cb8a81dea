"""The kinds of cases: what is drawn, and what has to hold of it. Each check says whether the case was accepted."""

from __future__ import annotations

import atexit
import contextlib
import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from overbuilt import ConfigError, load, simulate
from overbuilt.engine import checkpoint, system
from overbuilt.engine.book import COLUMNS, read_book
from overbuilt.engine.economy import SYSTEMS
from overbuilt.engine.locate import CONFIGS
from overbuilt.engine.overrides import parse_event, parse_override
from overbuilt.engine.places import places as numbers_of
from overbuilt.engine.run_store import load_run
from overbuilt.engine.system import Rows
from overbuilt.engine.validate import collect

from .mutate import JUNK, NAMES, edited, misspelt, scrambled
from .oracle import differences, meant
from .sources import Raw, documents, text, texts, toml

JARGON = (
    "input should", "extra inputs", "validation", "pydantic", "nonetype", "errno", "traceback", "instance of",
    "valueerror", "typeerror", "keyerror", "object has no attribute", "not subscriptable",
)  # fmt: skip
LONG = 1500  # characters of a line; only a matrix that is offered instead of one that is wrong takes more


@dataclass(frozen=True)
class Kind:
    """``drawn`` makes the cases; ``check(case, folder)`` raises AssertionError where what should hold does not."""

    drawn: st.SearchStrategy[Any]
    check: Callable[[Any, Path], bool]
    share: int
    """How many of every 100 cases are of this kind."""


def sound_lines(error: ConfigError, names: tuple[str, ...] = ()) -> list[str]:
    """The lines of a refusal, each of them one that may be shown to anyone."""
    lines = error.problems
    assert lines, "refused without a reason"
    assert str(error) == "\n".join(lines)
    for line in lines:
        assert line.strip(), "an empty line"
        assert line.isprintable(), f"not printable: {line!r}"
        assert len(line) <= LONG or "positive definite" in line, f"{len(line)} characters: {line}"
        assert not any(w in line.lower() for w in JARGON), f"jargon: {line}"
        head = line.partition(":")[0]
        assert head != line, f"names nothing: {line}"
        assert any(n in line for n in (*_KNOWN, *names)), f"names no field and no file: {line}"
    return lines


_KNOWN = (
    "title", "as_of", "months", "systems", "extends", "limit", "scenario", "--set", "--event", ".toml", ".csv",
    "unknown key", *SYSTEMS,
)  # fmt: skip


def loaded(path: Path, names: tuple[str, ...] = ()) -> Any:
    """The scenario, or None where it is refused as it should be."""
    try:
        return load(path)
    except ConfigError as error:
        sound_lines(error, names)
        return None


def as_meant(path: Path) -> bool:
    """An accepted config holds what its text says, and nothing else."""
    scenario = loaded(path)
    if scenario is None:
        return False
    wrong = differences(scenario.values, meant(path))
    assert not wrong, f"accepted, but not as written: {wrong[:5]}"
    return True


# ---- configs
DOCUMENTS = st.sampled_from(sorted(documents())) | st.sampled_from(
    ("base", "textbook", "price_war")
)


def config(case: tuple[dict[str, Any], list[str]], folder: Path) -> bool:
    document, _ = case
    path = folder / "mine.toml"
    path.write_text(toml(document), encoding="utf-8", newline="")
    return as_meant(path)


def typing_error(case: tuple[dict[str, Any], str], folder: Path) -> bool:
    """A key that nobody declares is always refused."""
    document, key = case
    path = folder / "mine.toml"
    path.write_text(toml(document), encoding="utf-8")
    try:
        load(path)
    except ConfigError as error:
        lines = sound_lines(error)
        assert any(key in line for line in lines), f"{key} is not named: {lines[:3]}"
        return False
    raise AssertionError(f"accepted with an unknown key {key!r}")


def config_bytes(case: bytes, folder: Path) -> bool:
    path = folder / "mine.toml"
    path.write_bytes(case)
    return as_meant(path)


# ---- files that extend each other
TARGETS = (
    "a.toml", "b.toml", "./b.toml", "c.toml", "../case/a.toml", "below/d.toml", "base", "price_war", "textbook",
    "bsae", "", ".", "..", ".toml", "missing.toml", "folder.toml", "pipe.toml", "loop.toml", "link.toml",
    "/etc/passwd", "/dev/zero.toml", "/etc/hostname", "../../../../etc/passwd", "a.toml\x00", "\x1b[2J.toml",
    "http://x/a.toml", "file:///etc/passwd", "x" * 300 + ".toml", "x" * 5000, Raw("7"), Raw("['a.toml']"), Raw("{}"),
)  # fmt: skip
BODIES = (
    "", "months = 36\n", 'title = "a"\n', "[revenue]\nvolatility = 0.2\n", "[revenue]\nvolatlity = 0.2\n",
    '[[stress.event]]\nname = "price_war"\non = true\n', '[[stress.event]]\nname = "price_war"\nremove = true\n',
    '[[rental.generation]]\nname = "hopper"\nprice = 2.0\n', '[[limit]]\nmetric = "private_credit.loss"\nmax = 9.0\n',
    'systems = ["private_credit"]\n', "[revenue\n",
)  # fmt: skip
CHAINS = st.lists(
    st.tuples(st.sampled_from(("", *TARGETS[:9], *TARGETS)), st.sampled_from(BODIES)),
    min_size=1,
    max_size=4,
)


def chain(case: list[tuple[str, str]], folder: Path) -> bool:
    place = folder / "case"
    shutil.rmtree(place, ignore_errors=True)
    (place / "below").mkdir(parents=True)
    (place / "folder.toml").mkdir()
    os.mkfifo(place / "pipe.toml")
    (place / "loop.toml").symlink_to("loop.toml")
    (place / "link.toml").symlink_to("b.toml")
    names = ("a.toml", "b.toml", "c.toml", "below/d.toml")
    for name, (target, body) in zip(names, case, strict=False):
        head = "" if target == "" else f"extends = {text(target)}\n"
        (place / name).write_text(head + body, encoding="utf-8")
    return as_meant(place / "a.toml")


# ---- arguments
@cache
def base_values() -> dict[str, Any]:
    return load("base").values


@cache
def _numbers() -> dict[str, float]:
    return {p.name: p.value for p in numbers_of(load("base").economy)}


@cache
def keys() -> tuple[str, ...]:
    """What --set can name: numbers of the base world, tables, rows, and what is near them."""
    known = list(_numbers())
    tables = sorted({k.rpartition(".")[0] for k in known} | {k.split(".")[0] for k in known})
    return (
        *known,
        *tables,
        "title",
        "months",
        "as_of",
        "systems",
        "extends",
        "limit",
        "limit.x.max",
    )


NEAR = st.tuples(
    st.sampled_from(keys()[: len(_numbers())]), st.sampled_from((0.5, 0.9, 1.0, 1.01, 1.5))
)
SETS = NEAR.map(lambda x: (x[0], "=", repr(_number(x[0]) * x[1]))) | st.tuples(
    st.sampled_from(NAMES)
    | st.builds(
        lambda a, b: a + b,
        st.sampled_from(keys()),
        st.sampled_from(("", "", "", "", "", "x", ".", ".x", " ", "[0]", "\x00")),
    ),
    st.sampled_from(("=", "=", "=", "=", " = ", "", "==")),
    JUNK.map(text)
    | st.sampled_from(
        ("0,2", "0.2", "on", "'a", '"', "[", "{", "1\nmonths = 2", "  ", "{on = true}", "0.2 # x")
    ),
)


def _number(key: str) -> float:
    return _numbers().get(key, 0.5)


def setting(case: tuple[str, str, str], folder: Path) -> bool:
    """``--set`` changes what it names and nothing else."""
    argument = "".join(case)
    try:
        key, value = parse_override(argument)
        scenario = load("base", {key: value})
    except ConfigError as error:
        sound_lines(error)
        return False
    changed = differences(scenario.values, base_values())
    if key.partition(".")[0] in ("systems", "limit") or key.endswith(".name"):
        return True
    elsewhere = [d for d in changed if not _within(d, key)]
    assert not elsewhere, f"--set {argument!r} changed {elsewhere[:5]}"
    if not isinstance(value, dict) and not (
        isinstance(value, list) and value and isinstance(value[0], dict)
    ):
        at = _at(scenario.values, key)
        assert not differences(at, value), f"--set {argument!r} gave {at!r}"
    return True


def _within(difference: str, key: str) -> bool:
    rest = difference.removeprefix(f".{key}")
    return rest != difference and rest[:1] in ("", ".", "[")


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = (
            next(r for r in values if r["name"] == part)
            if isinstance(values, list)
            else values[part]
        )
    return values


EVENTS = st.tuples(
    st.sampled_from(("price_war", "power_crunch"))
    | st.sampled_from(("price_war ", "pricewar", "a.b", *NAMES)),
    st.sampled_from(("@", "@", "@", "@", "", "@@")),
    st.sampled_from(("18", "1", "60", "61", "0", "-1", "1.5", " 7 ", "\u0661\u0668", "\u00b2", "9" * 5000, "x", "", "1e1", "0x1")),
    st.sampled_from(("", "", "", ":", ":-0.3", ":0.5", ":nan", ":inf", ":1e400", ":x", ":-1", ":0x1", ":1_0", ":0.1:2")),
)  # fmt: skip


def event(case: tuple[str, ...], folder: Path) -> bool:
    """``--event`` changes the event that it names and nothing else."""
    argument = "".join(case)
    try:
        wanted = parse_event(argument)
        scenario = load("base", wanted)
    except ConfigError as error:
        sound_lines(error)
        return False
    ((key, given),) = wanted.items()
    changed = differences(scenario.values, base_values())
    assert all(_within(d, key) for d in changed), f"--event {argument!r} changed {changed[:5]}"
    row = _at(scenario.values, key)
    assert {k: row[k] for k in given} == given
    return True


# ---- the loan book
@cache
def books() -> dict[str, bytes]:
    """The head of each shipped book: its columns and some loans."""
    names = ("book.csv", "book_new.csv")
    return {n: b"".join((CONFIGS / n).read_bytes().splitlines(keepends=True)[:25]) for n in names}


CELLS = ("", " ", "nan", "inf", "-1", "0", "1", "1e400", "1_0", "\u0661", "0x1", "1,5", '"', "=1+1", "x" * 200, "\x1b[31m", "9" * 5000, "1e-320", "0.5", "12", "+3", " 0.2 ")  # fmt: skip


@st.composite
def cells_changed(draw: st.DrawFn) -> bytes:
    """A book in which some cells, columns or rows are others."""
    name = draw(st.sampled_from(sorted(books())))
    rows = list(csv.reader(io.StringIO(books()[name].decode())))
    for _ in range(draw(st.integers(1, 3))):
        i, j = draw(st.integers(0, len(rows) - 1)), draw(st.integers(0, len(COLUMNS) - 1))
        what = draw(st.sampled_from(("cell", "cell", "cell", "copy", "drop", "short", "long")))
        if what == "cell" and j < len(rows[i]):
            rows[i][j] = draw(st.sampled_from(CELLS))
        elif what == "copy":
            rows.insert(i, list(rows[draw(st.integers(0, len(rows) - 1))]))
        elif what == "drop" and len(rows) > 1:
            del rows[i]
        elif what == "short":
            rows[i] = rows[i][:j]
        elif what == "long":
            rows[i] = [*rows[i], draw(st.sampled_from(CELLS))]
    made = io.StringIO()
    csv.writer(made, lineterminator="\n").writerows(rows)
    return made.getvalue().encode()


BOOKS = cells_changed() | st.sampled_from(sorted(books())).flatmap(lambda n: scrambled(books()[n]))


def book(case: bytes, folder: Path) -> bool:
    """Accepted loans are the file's rows, cell for cell, none of them left out."""
    path = folder / "loans.csv"
    path.write_bytes(case)
    values = base_values()["private_credit"]
    sectors = {r["name"] for r in values["sector"]}
    ratings = {r["name"].upper() for r in values["rating"]}
    loans, problems = read_book(path, sectors, ratings)
    if problems:
        sound_lines(ConfigError(problems), ("private_credit",))
        return False
    head, *rows = [r for r in csv.reader(io.StringIO(case.decode("utf-8-sig"), newline="")) if r]
    assert len(rows) == len(loans), f"{len(rows)} rows, {len(loans)} loans"
    for row, loan in zip(rows, loans, strict=True):
        cell = dict(zip(head, row, strict=True))
        numbers = (loan.exposure, loan.pd, loan.rho, loan.lgd, *loan.betas, loan.start, loan.end)
        assert all(float(cell[c]) == x for c, x in zip(COLUMNS[3:13], numbers, strict=True))
        names = (cell["loan"].strip(), cell["sector"], cell["rating"])
        assert (loan.loan, loan.sector, loan.rating) == names
        assert "_" not in "".join(cell[c] for c in COLUMNS[3:13]), "a number with an underscore"
    return True


# ---- tables that ship
@cache
def tables() -> dict[str, tuple[str, str, Any]]:
    """The shipped tables of rows: file, system and field, and the class of their rows."""
    found = {}
    for key, kind in SYSTEMS.items():
        for name, declared in kind.fields.items():
            if isinstance(declared, Rows):
                for path in sorted(CONFIGS.glob("*.csv")):
                    with contextlib.suppress(ValueError):
                        if system.table(declared.row, path.name) == list(declared.default):
                            found[path.name] = (key, name, declared.row)
    return found


TABLES = st.sampled_from(sorted(tables())).flatmap(
    lambda n: st.tuples(st.just(n), scrambled((CONFIGS / n).read_bytes()))
)


@contextlib.contextmanager
def configs_in(folder: Path) -> Iterator[None]:
    """Shipped tables are read from this folder."""
    before = system.CONFIGS
    system.CONFIGS = folder
    try:
        yield
    finally:
        system.CONFIGS = before


def table(case: tuple[str, bytes], folder: Path) -> bool:
    """Rows, or an error that names the file; and rows go through the same checks as a config's."""
    name, data = case
    (folder / name).write_bytes(data)
    key, field, row = tables()[name]
    with configs_in(folder):
        try:
            rows = system.table(row, name)
        except ValueError as error:
            if name not in str(error):
                raise AssertionError(f"does not name the file: {error}") from None
            return False
    problems: list[str] = []
    collect(SYSTEMS[key], {field: rows}, key, problems)
    if problems:
        sound_lines(ConfigError(problems))
    return not problems


# ---- runs
@cache
def run() -> tuple[Path, bytes]:
    """A small run on disk, and a checkpoint of it."""
    place = tempfile.mkdtemp(prefix="overbuilt-fuzz-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    result = simulate(load("textbook", {"private_credit.loans": 5}), 40, 1, "numpy", months=2, tail=5, sample=5)  # fmt: skip
    folder = Path(place) / "run"
    result.save(folder)
    return folder, checkpoint.pack(result.statistics, 1.0)


PACKED = st.deferred(lambda: scrambled(run()[1]))


def packed(case: bytes, folder: Path) -> bool:
    try:
        statistics, seconds = checkpoint.unpack(case)
    except ValueError:
        return False
    assert statistics.names, seconds
    return True


MANIFESTS = st.deferred(
    lambda: (
        edited(json.loads((run()[0] / "manifest.json").read_text()))
        | scrambled((run()[0] / "manifest.json").read_bytes())
    )
)


def manifest(case: Any, folder: Path) -> bool:
    """A run whose manifest is not what was written is refused; or gives a scenario, if one at all, of its own files."""
    place = folder / "run"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(run()[0], place)
    data = case if isinstance(case, bytes) else json.dumps(_plain(case[0])).encode()
    (place / "manifest.json").write_bytes(data)
    try:
        scenario = load_run(place).scenario
    except ConfigError as error:
        for line in error.problems:
            assert line.isprintable(), repr(line)
            assert len(line) <= LONG, line
        return False
    outside = [p for p in scenario.files().values() if p.resolve().parent != place.resolve()]
    assert not outside, f"reads {outside}"
    return True


def _plain(value: Any) -> Any:
    """For JSON: odd TOML as text."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value


KINDS = {
    "config": Kind(DOCUMENTS.flatmap(lambda n: edited(documents()[n])), config, 34),
    "misspelt key": Kind(st.sampled_from(("base", "textbook", "price_war")).flatmap(lambda n: misspelt(documents()[n])), typing_error, 10),
    "config bytes": Kind(st.sampled_from(sorted(texts())).flatmap(lambda n: scrambled(texts()[n].encode())), config_bytes, 18),
    "extends": Kind(CHAINS, chain, 6),
    "--set": Kind(SETS, setting, 10),
    "--event": Kind(EVENTS, event, 4),
    "book": Kind(BOOKS, book, 8),
    "table": Kind(TABLES, table, 4),
    "checkpoint": Kind(PACKED, packed, 3),
    "manifest": Kind(MANIFESTS, manifest, 3),
}  # fmt: skip
