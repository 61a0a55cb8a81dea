"""Hostile input: files and names that somebody made to read, write, run or exhaust what is not theirs.

Nothing here is a statistical test. What is refused is refused in lines that may be shown on any terminal.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import overbuilt
from overbuilt import System, load, output, parameter, simulate
from overbuilt.engine.export import write_csv
from overbuilt.engine.scenario import parse_event, parse_override
from overbuilt.kernels.backends import status

from .refusals import ESCAPES, checked, harmless, refusal

PACKAGE = Path(overbuilt.__file__).parent


# ---- paths
@pytest.mark.parametrize("name", ["/etc/passwd", "../../../../../../../../etc/passwd", "link.csv"])
def test_a_book_that_is_another_file_is_refused_and_not_shown(tmp_path: Path, name: str) -> None:
    (tmp_path / "link.csv").symlink_to("/etc/passwd")
    text = f'extends = "textbook"\n[private_credit]\nbook = "{name}"\nloans = 10\n'
    lines = checked(tmp_path, text)
    assert lines[0].startswith(f"{Path(name).name if name != 'link.csv' else name}: column loan missing")  # fmt: skip
    secret = Path("/etc/passwd").read_text().split("\n")[0]
    assert not any(secret in line or "root" in line for line in lines)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/stdin", "pipe.csv", "folder.csv", "nul\\u0000.csv"])  # fmt: skip
def test_a_book_that_never_ends_is_not_read(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    text = f'extends = "textbook"\n[private_credit]\nbook = "{name}"\n'
    (line,) = checked(tmp_path, text)
    assert line.startswith("private_credit.book = ")


def test_a_book_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    head = (PACKAGE / "configs" / "book.csv").read_bytes().splitlines(keepends=True)[0]
    with (tmp_path / "large.csv").open("wb") as file:
        file.write(head)
        file.truncate(10 << 30)  # it takes no room on disk
    text = 'extends = "textbook"\n[private_credit]\nbook = "large.csv"\n'
    (line,) = checked(tmp_path, text)
    assert "should be smaller than" in line


def test_a_book_whose_every_cell_is_wrong_is_told_in_part(tmp_path: Path) -> None:
    head, first = (PACKAGE / "configs" / "book.csv").read_text().splitlines()[:2]
    wrong = ",".join("?" * len(first.split(",")))
    (tmp_path / "wrong.csv").write_text("\n".join([head, *[wrong] * 20_000]))
    text = 'extends = "textbook"\n[private_credit]\nbook = "wrong.csv"\n'
    lines = refusal(lambda: load(_config(tmp_path, text)))
    assert 1000 < len(lines) < 1100
    assert "reading stopped here" in lines[-1]


def test_a_quote_that_never_closes_hides_no_loans(tmp_path: Path) -> None:
    """Without a check of the form, everything behind it would be one field of a column that nobody reads."""
    shipped = (PACKAGE / "configs" / "book.csv").read_text().splitlines()
    head, *loans = shipped[:9]
    rows = [f"{head},note", f'{loans[0]},"open', *(f"{loan},x" for loan in loans[1:])]
    (tmp_path / "notes.csv").write_text("\n".join(rows))
    text = 'extends = "textbook"\n[private_credit]\nbook = "notes.csv"\n'
    (line,) = checked(tmp_path, text)
    assert "cannot be read" in line


@pytest.mark.parametrize("number", ["1_0", "\u0661", "0x1", "1e", "inf", "--1", "1 0"])
def test_a_number_is_one_as_other_programs_read_it(tmp_path: Path, number: str) -> None:
    shipped = (PACKAGE / "configs" / "book.csv").read_text()
    rows = list(csv.reader(io.StringIO(shipped)))[:3]
    for column in ("exposure_usd_bn", "end_month"):
        changed = [list(row) for row in rows]
        changed[2][rows[0].index(column)] = number
        with (tmp_path / "mine.csv").open("w", newline="") as file:
            csv.writer(file).writerows(changed)
        text = 'extends = "textbook"\n[private_credit]\nbook = "mine.csv"\n'
        (line,) = checked(tmp_path, text)
        assert line.startswith(f"mine.csv line 3: {column} = ")


def _config(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


# ---- what reads files
FORBIDDEN_MODULES = {
    "pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "jsonpickle", "tarfile",
    "imp", "code", "codeop", "telnetlib", "xmlrpc", "_pickle", "serialize_executable",
}  # fmt: skip
FORBIDDEN_CALLS = {"eval", "exec", "__import__"}
FORBIDDEN_METHODS = {
    "read_pickle", "to_pickle", "extract", "extractall", "unsafe_load", "mktemp", "system", "popen",
    "register_extension_type", "PyExtensionType", "read_feather", "from_buffers", "unpack_archive", "loadtxt",
    "genfromtxt", "literal_eval", "read_html", "read_csv", "to_csv", "deserialize_and_load", "read_hdf",
    "deserialize_executable", "load_pickle", "Unpickler",
}  # fmt: skip
ALLOWED = {("engine/export.py", "to_csv")}


def problems_in(tree: ast.AST, file: str) -> list[str]:
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [part for alias in node.names for part in alias.name.split(".")]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [*str(node.module).split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Attribute):  # a library's own pickle
            names = [node.attr] if node.attr in ("pickle", "serialize_executable") else []
        elif isinstance(node, ast.Constant):  # import_module("pickle")
            names = [node.value] if node.value in ("pickle", "_pickle", "marshal") else []
        found += [f"{file}:{node.lineno}: imports {n}" for n in names if n in FORBIDDEN_MODULES]  # type: ignore[attr-defined]
        if not isinstance(node, ast.Call):
            continue
        where, call = f"{file}:{node.lineno}", node.func
        if isinstance(call, ast.Name) and call.id in FORBIDDEN_CALLS | FORBIDDEN_METHODS:
            found.append(f"{where}: calls {call.id}")
        if (
            isinstance(call, ast.Attribute)
            and call.attr in FORBIDDEN_METHODS
            and (file, call.attr) not in ALLOWED
        ):
            found.append(f"{where}: calls {call.attr}")
        for k in node.keywords:
            on = not (isinstance(k.value, ast.Constant) and k.value.value is False)
            if k.arg in ("allow_pickle", "shell") and on:
                found.append(f"{where}: {k.arg}")
        # NumPy's own loader unpickles only where it is told to, but nothing here is in its format
        if isinstance(call, ast.Attribute) and call.attr in ("load", "loads"):
            base = call.value.id if isinstance(call.value, ast.Name) else ""
            if base in ("np", "numpy", "torch"):
                found.append(f"{where}: calls {base}.{call.attr}")
    return found


def test_nothing_in_the_package_runs_what_it_reads() -> None:
    """No pickle, no eval, no shell, no archive unpacked to disk; tables go out as CSV in one place alone."""
    files = [
        p
        for p in sorted(PACKAGE.rglob("*.py"))
        if p.relative_to(PACKAGE).parts[0] in ("engine", "kernels", "cli.py", "__init__.py")
    ]
    assert len(files) > 100
    found = [
        problem
        for path in files
        for problem in problems_in(
            ast.parse(path.read_text(encoding="utf-8")), path.relative_to(PACKAGE).as_posix()
        )
    ]
    assert not found


@pytest.mark.parametrize(
    "text",
    ["import pickle", "from pickle import loads", "import yaml", "eval(x)", "exec(x)", "np.load(x)",
     "subprocess.run(x, shell=True)", "archive.extractall(x)", "f.load(x, allow_pickle=True)", "frame.to_csv(x)",
     "os.system(x)", "serialize_executable.deserialize_and_load(x, a, b)", "deserialize_and_load(x, a, b)",
     "from jax.experimental import serialize_executable", "import_module('pickle')", "pd.io.pickle.x",
     "from jax.experimental.serialize_executable import x", "from six.moves import cPickle", "pickle.Unpickler(x)"],
)  # fmt: skip
def test_what_would_run_it_is_seen(text: str) -> None:
    assert problems_in(ast.parse(text), "x.py")


UNPICKLING = """
import sys
def watch(event, given):
    if event == "pickle.find_class":
        sys.stderr.write(f"unpickled {given}\\n")
        sys.stderr.flush()
        os._exit(9)
import os
sys.addaudithook(watch)
"""
COMMANDS = """
from overbuilt.cli import main
for words in {commands!r}:
    try:
        main(words)
    except SystemExit as end:
        print("ended", words[0], end.code)
"""


def in_a_watched_process(code: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """A process that ends with 9 where a pickle names a class or function: without one it can run nothing."""
    environment = os.environ | {"OVERBUILT_CACHE": str(cache)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    return subprocess.run(
        [sys.executable, "-c", UNPICKLING + code], capture_output=True, text=True, env=environment
    )


def test_unpickling_is_seen(tmp_path: Path) -> None:
    done = in_a_watched_process("import pickle; pickle.loads(pickle.dumps(print))", tmp_path)
    assert done.returncode == 9
    assert "unpickled" in done.stderr


def test_no_file_is_unpickled_by_a_run_that_reads_all_that_it_wrote(tmp_path: Path) -> None:
    """The cache, a checkpoint, a run's tables: by us, or by a library that we call."""
    out, whole = str(tmp_path / "run"), str(tmp_path / "whole")
    backends = [b for b in ("numpy", "jax", "native") if status(b).works]
    start = ["run", "textbook", "--months", "2", "--paths", "131072", "--backend"]
    runs = [[*start, b, "--paths", "1000"] for b in backends for _ in range(2)]
    first = [*start, backends[-1], "--range", "0..65535", "--out", out]
    after = [["merge", out, "--out", whole], ["run", "--resume", whole], ["show", whole]]
    code = COMMANDS.format(commands=[*runs, first, *after])
    done = in_a_watched_process(code, tmp_path / "cache")
    assert done.returncode == 0, done.stderr[-2000:]
    ends = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("ended")]
    want = [*[["run", "0"]] * (len(runs) + 1), ["merge", "3"], ["run", "0"], ["show", "0"]]
    assert ends == want, done.stderr[-2000:]


# ---- numbers and bombs
def test_a_huge_whole_number_is_refused_everywhere(tmp_path: Path) -> None:
    digits = "9" * 5000
    (line,) = checked(tmp_path, f"months = {digits}")
    assert line.endswith("mine.toml: not TOML: a whole number has too many digits; it should have 64 bits")  # fmt: skip
    (line,) = checked(tmp_path, f"months = 0x{'f' * 5000}")
    assert line == "months = a whole number of 20000 bits: should be a whole number from 1 to 240"
    (line,) = refusal(lambda: load("base", dict([parse_override(f"months={digits}")])))
    assert line.startswith("months = '999")
    (line,) = refusal(lambda: parse_event(f"price_war@{digits}"))
    assert "is no month of a run" in line
    lines = refusal(lambda: load("base", parse_event(f"price_war@{'9' * 90}")))
    assert lines[0].startswith("stress.event.price_war.month = ")


TOML_BOMBS = {
    "brackets": b"a = " + b"[" * 100_000,
    "closed brackets": b"a = " + b"[" * 100_000 + b"]" * 100_000,
    "tables": b"a = " + b"{a = " * 100_000,
    "keys with dots": b"[revenue]\n" + b".".join([b"a"] * 200_000) + b" = 1",
    "quoted keys with dots": b".".join([b'"a,b"'] * 100_000) + b" = 1",
    "keys with line separators": ".".join(['"\u2028"'] * 100_000).encode() + b" = 1",
    "a deep header over many keys": b"[" + b".".join([b"a"] * 1000) + b"]\n" + b"".join(b"k%d = 1\n" % i for i in range(90_000)),
    "a header": b"[" + b".".join([b"a"] * 200_000) + b"]",
    "a million keys": b"".join(b"k%d = 1\n" % i for i in range(1_000_000)),
}  # fmt: skip


@pytest.mark.parametrize("what", TOML_BOMBS)
def test_a_bomb_is_refused_in_a_line(tmp_path: Path, what: str) -> None:
    (tmp_path / "mine.toml").write_bytes(TOML_BOMBS[what])
    (line,) = refusal(lambda: load(tmp_path / "mine.toml"))
    assert "deep at most" in line or "should be smaller than 1,048,576 bytes" in line


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "mine.toml").open("wb") as file:
        file.truncate(200 << 20)
    (line,) = refusal(lambda: load(tmp_path / "mine.toml"))
    assert line.endswith("should be smaller than 1,048,576 bytes, as configs are")


MANY = {
    "unknown keys": "".join(f"k{i} = 1\n" for i in range(80_000)),
    "unknown fields": "[revenue]\n" + "".join(f"k{i} = 1\n" for i in range(80_000)),
    "systems": f"systems = {[f's{i}' for i in range(80_000)]}",
    "systems again and again": f"systems = {['shocks'] * 80_000}",
    "rows": '[[limit]]\nname = "a"\n' * 40_000,
    "metrics": "".join(f'[[limit]]\nmetric = "m{i}"\nmax = 1\n' for i in range(25_000)),
    "a list of rows": f"[[rental.generation]]\nname = [{'{}, ' * 100_000}]",
}  # fmt: skip


@pytest.mark.parametrize("what", MANY)
def test_what_stands_too_often_is_told_in_part(tmp_path: Path, what: str) -> None:
    """Told in full it would be tens of thousands of lines; rows were once counted in time with the square of that."""
    lines = refusal(lambda: load(_config(tmp_path, MANY[what])))
    assert len(lines) <= 3100


def test_a_number_with_a_point_is_no_key(tmp_path: Path) -> None:
    """A long line of numbers is no key with many dots."""
    matrix = load("base").values["shocks"]["correlation"]
    text = f"[shocks]\ncorrelation = {[[float(x) for x in row] for row in matrix]}  # 0.5, 0.5\n"
    assert text.count(".") > 64
    assert load(_config(tmp_path, text)).values["shocks"]["correlation"] == matrix


# ---- formulas
def is_formula(cell: str) -> bool:
    """As a spreadsheet sees it: a number is none."""
    try:
        float(cell)
    except ValueError:
        return cell.strip(" ")[:1] in ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d")
    return False


NAMES = ("=cmd|' /C calc'!A0", "+1", "-1+1", "@sum(1)", "\t=1", "\uff1d1")


@pytest.mark.parametrize("name", NAMES)
def test_no_name_is_a_formula_in_any_csv(tmp_path: Path, name: str) -> None:
    """Names that a model has, and units: in what a run stores, and in a path that is replayed."""

    class Evil(System):
        system_name = name
        pull = parameter(0.5, "=1", "assumption: any")
        level = output("@sum(1)", "=1+1")

        def init(self, xp: Any, draw: Any) -> dict[str, Any]:
            return {"level": 0.0}

        def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
            return {"level": s.level + self.pull * draw.normal("noise")}

    from overbuilt.engine.replay import replay, write_table

    result = simulate(Evil(), 30, 1, "numpy", months=2)
    folder = result.save(tmp_path / "run")
    write_table([replay(Evil(), 3, seed=1, backend="numpy", months=2)], str(tmp_path / "path.csv"))
    files = [*Path(folder).glob("*.csv"), tmp_path / "path.csv"]
    assert {p.name for p in files} == {"summary.csv", "intervals.csv", "path.csv"}
    for path in files:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        assert any(name in cell for row in rows for cell in row), path
        assert not [cell for row in rows for cell in row if is_formula(cell)], path


@pytest.mark.parametrize("name", NAMES)
def test_a_table_with_such_names_is_text(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({name: [name, "x"], "n": [-1.5, 2.0]}, index=pd.Index([name, "y"], name=name))  # fmt: skip
    write_csv(frame, str(tmp_path / "x.csv"), index=True)
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert cells.count(f"'{name}") == 4
    assert not [c for c in cells if is_formula(c)]
    assert "-1.5" in cells


# ---- terminals
def spelt() -> str:
    """The escapes as TOML spells them."""
    return "".join(f"\\u{ord(c):04x}" for c in ESCAPES)


def test_a_title_with_control_characters_is_refused(tmp_path: Path) -> None:
    (line,) = checked(tmp_path, f'title = "{spelt()}"')
    assert line.startswith(r"title = '\x1b[31mred")
    assert line.endswith("should be 500 characters at most, none of them a control character")
    (line,) = checked(tmp_path, f'title = "{"x" * 501}"')
    assert "500 characters at most" in line


def test_a_file_with_control_characters_in_its_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "\x1b[31mred.toml"
    path.write_text("")
    lines = refusal(lambda: load(path))
    assert lines == [r"scenario '\x1b[31mred': should be a file's name, without .toml"]


def test_texts_in_tables_are_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    """A claim's title, a unit, a folder's name: in a line, a cell or a heading."""
    from rich.table import Table

    from overbuilt.engine.tables import console

    screen, table = console(), Table(title=f"{ESCAPES} title")
    table.add_column(f"{ESCAPES} head", no_wrap=True)
    table.add_row(f"[bold]{ESCAPES}[/] cell")
    screen.print(f"{ESCAPES} line", markup=False)
    screen.print(table)
    said = capsys.readouterr().out
    assert harmless(said), repr(said)
    assert said.count(r"\x1b[31mred") == 4
    assert "[bold]" not in said


def test_a_log_is_one_line_an_event(tmp_path: Path) -> None:
    from overbuilt.engine.log import JsonLog

    path = tmp_path / "log"
    with JsonLog(str(path)) as log:
        log("warning", {"message": f"a\nb{ESCAPES}"})
    lines = path.read_text().splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    assert json.loads(lines[0])["message"] == f"a\nb{ESCAPES}"
