"""Bad input: a line for each problem, all of them at once, and never a traceback."""

from __future__ import annotations

import copy
import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from overbuilt import ConfigError, System, TraceError, load, output, parameter, shipped, simulate
from overbuilt.engine.economy.shocks import NAMES
from overbuilt.engine.locate import CONFIGS
from overbuilt.kernels.backends import native

from .refusals import JARGON, checked, overbuilt, refused

Config = dict[str, Any]


# ---- keys
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("titel = 'x'", "titel: unknown key; did you mean 'title'?"),
        ("revenu = 3", "revenu: unknown key; did you mean 'revenue'?"),
        ("[Revenue]\nvolatility = 0.1", "Revenue: unknown key; did you mean 'revenue'?"),
        (
            "[revenue]\nvolatilty = 0.1",
            "revenue.volatilty: unknown key; did you mean 'volatility'?",
        ),
        (
            "[shocks]\nqqq = 1",
            "shocks.qqq: unknown key; known are correlation",
        ),
        (
            "[[rental.generation]]\nname = 'hopper'\nprise = 3",
            "rental.generation.hopper.prise: unknown key; did you mean 'price'?",
        ),
        ('"two\\nlines" = 1', r"'two\nlines': unknown key; known are title, as_of, months,"),
        (
            "[revenue.volatility]\nx = 1",
            "revenue.volatility = {x = 1}: should be a finite number at least 0",
        ),
    ],
)
def test_an_unknown_key(tmp_path: Path, content: str, problem: str) -> None:
    (found,) = checked(tmp_path, content)
    assert found.startswith(problem)


# ---- values
@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("title", "3", "should be text in quotes"),
        ("as_of", "2025-12-31", 'should be a month in quotes, such as "2025-12"'),
        ("as_of", "'2025-13'", 'should be a month in quotes, such as "2025-12"'),
        ("months", "0", "should be a whole number from 1 to 240"),
        ("months", "-1", "should be a whole number from 1 to 240"),
        ("months", "241", "should be a whole number from 1 to 240"),
        ("months", "1.5", "should be a whole number from 1 to 240"),
        ("months", "true", "should be a whole number from 1 to 240"),
        ("months", "'60'", "should be a whole number from 1 to 240"),
        ("months", "nan", "should be a whole number from 1 to 240"),
        ("months", "0x" + "f" * 9000, "should be a whole number from 1 to 240"),
        ("systems", "'revenue'", "should be a list of names in quotes, at least one"),
        ("systems", "[]", "should be a list of names in quotes, at least one"),
        ("systems", "[1]", "should be a list of names in quotes, at least one"),
        ("revenue", "3", "should be a table, [revenue]"),
        ("revenue.volatility", "'0.2'", "should be a finite number at least 0 (1/year^0.5)"),
        ("revenue.volatility", "true", "should be a finite number at least 0 (1/year^0.5)"),
        ("revenue.volatility", "[0.2]", "should be a finite number at least 0 (1/year^0.5)"),
        ("revenue.volatility", "-0.1", "should be a finite number at least 0 (1/year^0.5)"),
        ("revenue.volatility", "nan", "should be a finite number at least 0 (1/year^0.5)"),
        ("revenue.volatility", "inf", "should be a finite number at least 0 (1/year^0.5)"),
        (
            "revenue.volatility",
            "1" + "0" * 400,
            "should be a finite number at least 0 (1/year^0.5)",
        ),
        ("revenue.cash_share", "1.0", "should be a finite number above 0 and below 1 (share)"),
        ("revenue.stall_drift", "-inf", "should be a finite number from -5 to 0 (1/year)"),
        (
            "funding.window_start",
            "3",
            "should be a finite number from 0 to 2 (0 open, 1 tight, 2 shut)",
        ),
        ("revenue.start", "1", "should be a list of 3 finite numbers from 0 to 1 (probability)"),
        (
            "revenue.start",
            "[0.5, 0.5]",
            "should be a list of 3 finite numbers from 0 to 1 (probability); it has 2",
        ),
        (
            "revenue.generator",
            "[[0.0, 0.0, 0.0]]",
            "should be 3 lists of 3 finite numbers (1/year); it has 1",
        ),
        ("revenue.reading", "'exponental'", "did you mean 'exponential'?"),
        ("revenue.reading", "3", "should be 'exponential' or 'linear'"),
        ("revenue.promo_months", "9.5", "should be a whole number from 1 to 36"),
        ("revenue.promo_months", "true", "should be a whole number from 1 to 36"),
        ("private_credit.stress", "'no'", "should be true or false"),
        ("private_credit.stress", "1", "should be true or false"),
        ("private_credit.book", "3", "should be text in quotes"),
        (
            "revenue.company",
            "3",
            "should be rows, each under [[revenue.company]] in double brackets",
        ),
        (
            "revenue.company",
            "{name = 'x'}",
            "should be rows, each under [[revenue.company]] in double brackets",
        ),
    ],
    ids=lambda x: x[:30] if isinstance(x, str) else None,
)
def test_a_wrong_value(tmp_path: Path, key: str, value: str, problem: str) -> None:
    (found,) = checked(tmp_path, f"{key} = {value}")
    assert found.startswith(f"{key} = ")
    assert found.endswith(problem)
    assert len(found) < 200


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("revenue.start = [0.5, '0.5', 0]", "revenue.start[1] = '0.5': should be a finite number from 0 to 1 (probability)"),
        ("revenue.start = [2, -1, 0]", "revenue.start[0] = 2: should be a finite number from 0 to 1 (probability)"),
        (
            "revenue.generator = [[0, 0, 0], [0, inf, 0], [0, 0, 0]]",
            "revenue.generator[1][1] = inf: should be a finite number (1/year)",
        ),
        (
            "[[rental.generation]]\nname = 'hopper'\nprice = 'cheap'",
            "rental.generation.hopper.price = 'cheap': should be a finite number above 0 (USD/GPU-hour)",
        ),
        (
            "[[rental.generation]]\nname = 'next'\nprice = nan",
            "rental.generation.next.price = nan: should be a finite number above 0 (USD/GPU-hour)",
        ),
        (
            "[[rental.generation]]\nname = 'H 100'",
            "rental.generation.'H 100'.name = 'H 100': should be a name in quotes: small letters, digits and "
            "underscores, beginning with a letter",
        ),
        ("[[rental.generation]]\nprice = 3", "rental.generation.?.name: missing; every row should have a name"),
        ("revenue.company = [7]", "revenue.company.? = 7: should be a row with a name, under [[revenue.company]]"),
        (
            "[[rental.generation]]\nname = 'hoper'\nremove = true",
            "rental.generation.hoper: there is no such row to remove; did you mean 'hopper'?",
        ),
        (
            "[[rental.generation]]\nname = 'hopper'\nremove = 'yes'",
            "rental.generation.hopper.remove = 'yes': should be true or false",
        ),
        (
            "[[rental.generation]]\nname = 'hopper'\n[[rental.generation]]\nname = 'hopper'",
            "rental.generation: the name 'hopper' stands 2 times in mine.toml; names should differ",
        ),
    ],
)  # fmt: skip
def test_a_wrong_element(tmp_path: Path, content: str, problem: str) -> None:
    found = checked(tmp_path, content)
    assert found[0].startswith(problem)


# ---- values that do not fit together
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("revenue.start = [0.5, 0.4, 0.0]", ["revenue.start = ", "0.9", "should sum to 1"]),
        (
            "revenue.generator = [[-0.3, 0.3, 0.0], [0.1, 0.1, 0.1], [0.0, 0.0, 0.0]]",
            ["revenue.generator[1] = ", "sum to 0"],
        ),
        ("revenue.revenue_2025 = 70.0", ["revenue.company", "60", "should be", "70"]),
        ("revenue.ceiling = 100.0", ["revenue.ceiling = 100.0", "should be above"]),
        ("private_credit.hazard_bounds = [1.0, 0.0]", ["private_credit.hazard_bounds = ", "lower"]),
        (
            "[[rental.generation]]\nname = 'hopper'\ninstalled = 0.5",
            ["rental.generation", "0.9", "should sum to 1"],
        ),
        (
            "[[rental.generation]]\nname = 'next'\nrelease = 3.0",
            ["release = 3.0", "rubin", "at least 9"],
        ),
        ("compute.pipeline_start = 5e-324\ncompute.replaced_share = 0", ["less extreme"]),
        (
            "revenue.generator = [[-1e300, 1e300, 0], [0, 0, 0], [0, 0, 0]]",
            ["revenue.", "less extreme"],
        ),
    ],
)
def test_values_that_do_not_fit_together(tmp_path: Path, content: str, words: list[str]) -> None:
    found = checked(tmp_path, content)
    assert all(word in found[0] for word in words), found


def correlation(change: Callable[[Any], None]) -> str:
    matrix = np.array(load("base").values["shocks"]["correlation"])
    change(matrix)
    return f"[shocks]\ncorrelation = {matrix.tolist()}\n"


def test_a_correlation_that_is_not_symmetric(tmp_path: Path) -> None:
    def change(m: Any) -> None:
        m[0, 1] = 0.5

    (found,) = checked(tmp_path, correlation(change))
    assert found.startswith("shocks.correlation[0][1] = 0.5: [1][0] is 0.3")
    assert "should be symmetric" in found


def test_a_correlation_with_a_diagonal_that_is_not_one(tmp_path: Path) -> None:
    def change(m: Any) -> None:
        m[2, 2] = 0.9

    (found,) = checked(tmp_path, correlation(change))
    assert found.startswith("shocks.correlation: the diagonal is [1.0, 1.0, 0.9,")
    assert found.endswith("should be all 1")


def test_a_correlation_that_is_not_positive_definite_is_offered_the_nearest(tmp_path: Path) -> None:
    def change(m: Any) -> None:
        m[0, 1] = m[1, 0] = -0.9
        m[0, 6] = m[6, 0] = m[1, 6] = m[6, 1] = 0.9

    (found,) = checked(tmp_path, correlation(change))
    assert found.startswith("shocks.correlation: not positive definite")
    offered = tomllib.loads(f"m = {found[found.index('[[') : found.index(']]') + 2]}")["m"]
    assert np.shape(offered) == (len(NAMES), len(NAMES))
    assert load("base", {"shocks.correlation": offered}).values["shocks"]["correlation"] == offered


# ---- systems
@pytest.mark.parametrize(
    ("systems", "problem"),
    [
        (
            '["private_credti"]',
            "systems: 'private_credti' is unknown; did you mean 'private_credit'?",
        ),
        (
            '["revenue", "shocks", "compute", "rental", "macro", "funding"]',
            "systems = [revenue, shocks, compute, rental, macro, funding]: should be in the order "
            "of flow, each once: [shocks, revenue, compute, rental, funding, macro]",
        ),
        (
            '["shocks", "shocks"]',
            "systems = [shocks, shocks]: should be in the order of flow, each once: [shocks]",
        ),
        (
            '["stress", "shocks", "compute", "rental", "private_credit", "funding"]',
            "systems: compute reads revenue, which is missing; add it to systems",
        ),
        (
            '["private_credit"]',
            "systems: private_credit reads rental, which is missing; add it to systems",
        ),
    ],
)
def test_systems_that_do_not_fit(tmp_path: Path, systems: str, problem: str) -> None:
    assert problem in checked(tmp_path, f"systems = {systems}")


def test_a_table_of_a_system_that_is_not_there(tmp_path: Path) -> None:
    found = checked(tmp_path, 'extends = "textbook"\n[revenue]\nvolatility = 0.1')
    assert found == ["revenue: set, but not among systems; add it there or leave [revenue] out"]


# ---- files
def test_all_problems_of_a_file_come_at_once(tmp_path: Path) -> None:
    content = """
        titel = "x"
        months = 0
        [revenue]
        volatility = "0.2"
        volatilty = 3
        cash_share = nan
        [rental]
        reversion = -1
        [[rental.generation]]
        name = "hopper"
        price = "cheap"
        [compute]
        foresight = [1, "a"]
        [shocks]
        correlation = 1
        [private_credit]
        book = "none.csv"
    """
    found = checked(tmp_path, content, "--set", "months", "--set", "funding.window_start=9")
    starts = (
        "titel: ", "months = 0", "revenue.volatility = ", "revenue.volatilty: ", "revenue.cash_share = ",
        "rental.reversion = ", "rental.generation.hopper.price = ", "compute.foresight[1] = ",
        "shocks.correlation = ", "private_credit.book = ", "--set 'months': ", "funding.window_start = 9",
    )  # fmt: skip
    assert len(found) == len(starts)
    for start in starts:
        assert sum(line.startswith(start) for line in found) == 1, start


def test_the_arguments_of_a_run_are_checked_along_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("months = 0")
    arguments = [
        "--paths",
        "0",
        "--seed",
        "-1",
        "--months",
        "241",
        "--backend",
        "cud",
        "--dtype",
        "float16",
    ]
    found = refused("run", str(path), *arguments, "--out", str(path))
    starts = (
        "months = 0: ",
        "paths = 0: ",
        "seed = -1: ",
        "months = 241: ",
        "dtype = ",
        "backend = ",
        "--out ",
    )
    assert len(found) == len(starts)
    for start in starts:
        assert sum(line.startswith(start) for line in found) == 1, start


def test_a_syntax_error_names_the_line(tmp_path: Path) -> None:
    (found,) = checked(tmp_path, "title = 'x'\n[revenue]\nvolatility = = 3\n")
    assert "mine.toml: not TOML: " in found
    assert "line 3" in found


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x00\x01\xff\xfe\x80", "should be a TOML file"),
        ("months = 60".encode("utf-16"), "should be a TOML file"),
        (b"title = '" + b"x" * (1 << 21) + b"'", "should be smaller than"),
        (b"a = " + b"[" * 10_000 + b"]" * 10_000, "deep at most"),
        (b"a = " + b"{b = " * 5_000 + b"1" + b"}" * 5_000, "deep at most"),
        (b"[" + b".".join([b"a"] * 20_000) + b"]", "deep at most"),
        (b"[revenue]\n" + b".".join([b"a"] * 3_000) + b" = 1", "deep at most"),
        (b"a = " + b"9" * 10_000, "not TOML"),
        (b"title = 'x", "not TOML"),
        (b"months = 1\nmonths = 2", "not TOML"),
        (
            b"extends = 3",
            "mine.toml: extends = 3: should be a scenario's name or a .toml file, in quotes",
        ),
    ],
    ids=[
        "bytes",
        "utf-16",
        "large",
        "lists",
        "tables",
        "header",
        "dotted",
        "digits",
        "open",
        "twice",
        "extends",
    ],
)
def test_a_file_that_is_no_config(tmp_path: Path, content: bytes, words: str) -> None:
    (found,) = checked(tmp_path, content)
    assert words in found
    assert len(found) < 400


def test_an_empty_config_is_all_defaults(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("")
    assert overbuilt("check", str(tmp_path / "mine.toml")).exit_code == 0


def test_many_unknown_keys_are_each_named(tmp_path: Path) -> None:
    found = checked(tmp_path, "".join(f"key{i} = {i}\n" for i in range(500)))
    assert len(found) == 500


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_scenario_that_is_not_there(tmp_path: Path, command: str) -> None:
    assert refused(command, "bsae") == [
        "scenario 'bsae': unknown; did you mean 'base'? (a file's name ends in .toml)"
    ]
    (found,) = refused(command, "moon")
    assert f"known are {', '.join(shipped())}" in found
    (found,) = refused(command, str(tmp_path / "none.toml"))
    assert found.endswith("none.toml: no such file")
    (tmp_path / "folder.toml").mkdir()
    (found,) = refused(command, str(tmp_path / "folder.toml"))
    assert found.endswith("folder.toml: no file; it should be a TOML file")
    (found,) = refused(command, "x" * 5000 + ".toml")
    assert "cannot be read" in found


# ---- extends
def test_extends_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text('extends = "../' + tmp_path.name + '/mine.toml"')
    (found,) = checked(tmp_path, 'extends = "b.toml"')
    assert found.startswith("extends: mine.toml -> b.toml -> mine.toml goes in a circle")
    (found,) = checked(tmp_path, 'extends = "mine.toml"')
    assert found.startswith("extends: mine.toml -> mine.toml goes in a circle")


def test_extends_of_what_is_missing(tmp_path: Path) -> None:
    (found,) = checked(tmp_path, 'extends = "none.toml"')
    assert found.startswith("mine.toml: extends: ")
    assert found.endswith("none.toml: no such file")
    (found,) = checked(tmp_path, 'extends = "liner"')
    assert found.startswith("mine.toml: extends: scenario 'liner': unknown; did you mean 'linear'?")


def test_extends_too_deep(tmp_path: Path) -> None:
    for i in range(30):
        (tmp_path / f"f{i}.toml").write_text(f'extends = "f{i + 1}.toml"')
    (found,) = checked(tmp_path, 'extends = "f0.toml"')
    assert "more than 8 files deep" in found


def test_problems_of_a_parent_are_found_too(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(
        "[revenue]\nvolatility = -1\n[[rental.generation]]\nname = 'x'\nremove = true"
    )
    found = checked(tmp_path, 'extends = "a.toml"\nmonths = 0')
    assert len(found) == 3


# ---- overrides
@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("months", "--set 'months': should be KEY=VALUE, for example revenue.volatility=0.2"),
        ("=3", "--set '=3': should be KEY=VALUE"),
        ("", "--set '': should be KEY=VALUE"),
        ("volatility=3", "volatility: unknown key"),
        ("revenue.volatilty=3", "revenue.volatilty: unknown key; did you mean 'volatility'?"),
        ("revenue.volatility=0,2", "revenue.volatility = '0,2': should be a finite number"),
        ("revenue.volatility=nan", "revenue.volatility = nan: should be a finite number"),
        ("revenue.volatility=", "revenue.volatility = '': should be a finite number"),
        ("months.x=3", "months.x: unknown key"),
        ("extends=linear", "--set extends: only a file can extend another"),
        (
            "rental.generation.price=3",
            "--set rental.generation.price: should name a row first, for example rental.generation.hopper.price; "
            "rows are hopper, blackwell, rubin, next",
        ),
        (
            "rental.generation.hoper.price=3",
            "--set rental.generation.hoper.price: there is no row rental.generation.hoper; did you mean 'hopper'?",
        ),
        (
            "rental.generation.hopper.prise=3",
            "rental.generation.hopper.prise: unknown key; did you mean 'price'?",
        ),
        ("revenue.start.0=1", "revenue.start = {0 = 1}: should be a list of 3 finite numbers"),
        ("title=" + "[" * 50 + "]" * 50, "--set title: lists should be nested 8 deep at most"),
        ("a.b.c.d=1", "a: unknown key"),
        (".=1", "'': unknown key"),
    ],
)
def test_an_override_that_is_wrong(override: str, problem: str) -> None:
    found = refused("check", "base", "--set", override)
    if override == "months.x=3":
        problem = "--set months.x: months is one value, not a table; set it whole, months=..."
    assert found[0].startswith(problem)
    assert len(found) == 1


def test_an_override_below_a_value_of_the_file() -> None:
    (found,) = refused("check", "linear", "--set", "revenue.start.0=1")
    assert (
        found
        == "--set revenue.start.0: revenue.start is one value, not a table; set it whole, revenue.start=..."
    )


# ---- the arguments of a run
@pytest.mark.parametrize(
    ("argument", "value", "problem"),
    [
        ("--paths", "0", "paths = 0: should be a whole number from 1 to 2^48"),
        ("--paths", "-5", "paths = -5: should be a whole number from 1 to 2^48"),
        (
            "--paths",
            str(2**48 + 1),
            f"paths = {2**48 + 1}: should be a whole number from 1 to 2^48",
        ),
        ("--seed", "-1", "seed = -1: should be a whole number from 0 to 2^64 - 1"),
        ("--seed", str(2**64), f"seed = {2**64}: should be a whole number from 0 to 2^64 - 1"),
        ("--months", "0", "months = 0: should be a whole number from 1 to 240"),
        ("--months", "-1", "months = -1: should be a whole number from 1 to 240"),
        ("--months", "241", "months = 241: should be a whole number from 1 to 240"),
        ("--dtype", "float16", "dtype = 'float16': should be float32 or float64"),
        ("--backend", "cdua", "backend = 'cdua': should be auto, cuda, jax, native, numpy"),
        ("--out", "", "--out '': should name a folder"),
    ],
)
def test_an_argument_out_of_range(tmp_path: Path, argument: str, value: str, problem: str) -> None:
    before = sorted(Path.cwd().iterdir())
    (found,) = refused("run", "textbook", argument, value)
    assert found.startswith(problem)
    assert sorted(Path.cwd().iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "textbook", "--paths", "many"), ["--paths", "'many'", "integer"]),
        (("run", "textbook", "--paths", "1e6"), ["--paths", "'1e6'", "integer"]),
        (("run", "textbook", "--months", "1.5"), ["--months", "'1.5'", "integer"]),
        (("run", "textbook", "--format", "xml"), ["--format", "'xml'", "table", "json"]),
        (("run", "textbook", "--path", "3"), ["--path", "--paths"]),
        (("run",), ["SCENARIO"]),
        (("rnu",), ["rnu"]),
    ],
)
def test_an_argument_that_is_not_understood(arguments: tuple[str, ...], words: list[str]) -> None:
    done = overbuilt(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert all(word in last for word in words), last


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"paths": 1.5}, "paths = 1.5: "),
        ({"paths": True}, "paths = True: "),
        ({"paths": "10"}, "paths = '10': "),
        ({"seed": 0.0}, "seed = 0.0: "),
        ({"seed": math.nan}, "seed = nan: "),
        ({"months": 12.0}, "months = 12.0: "),
        ({"batch": 0}, "batch = 0: "),
        ({"backend": "gpu"}, "backend = 'gpu': "),
        ({"dtype": "double"}, "dtype = 'double': "),
    ],
)
def test_an_argument_of_simulate(changes: Config, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        simulate(load("textbook"), **({"paths": 10, "backend": "numpy"} | changes))
    (found,) = caught.value.problems
    assert found.startswith(problem)


@pytest.mark.parametrize("where", ["a file", "below a file", "nowhere to write"])
def test_an_output_folder_that_cannot_be_written(tmp_path: Path, where: str) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    out = {
        "a file": file,
        "below a file": file / "x" / "y",
        "nowhere to write": Path("/proc/none/x"),
    }[where]
    if where == "nowhere to write" and not Path("/proc").is_dir():
        pytest.skip("no /proc here")
    (found,) = refused("run", "textbook", "--paths", "10", "--out", str(out))
    assert found.startswith(f"--out {out}: ")
    assert file.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [file]


def test_an_output_folder_with_a_name_too_long(tmp_path: Path) -> None:
    (found,) = refused("run", "textbook", "--paths", "10", "--out", str(tmp_path / ("x" * 300)))
    assert found.startswith("--out ")


# ---- the book
HEAD, FIRST, SECOND = (CONFIGS / "book.csv").read_text(encoding="utf-8").splitlines()[:3]


def edited(line: str, **changes: str) -> str:
    cells = dict(zip(HEAD.split(","), line.split(","), strict=True)) | changes
    return ",".join(cells.values())


def with_book(folder: Path, content: str | bytes) -> list[str]:
    (folder / "mine.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    return checked(folder, 'extends = "base"\n[private_credit]\nbook = "mine.csv"')


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"loan": "PC0001"}, "loan = 'PC0001': stands in line 2 already; ids should differ"),
        ({"loan": " "}, "loan = '': should be an id"),
        ({"sector": "bakeries"}, "sector = 'bakeries': unknown; known are ai_labs_apps, any,"),
        ({"rating": "AAA"}, "rating = 'AAA': unknown; known are ANY, B, BB, BBB, CCC"),
        ({"exposure_usd_bn": "-1"}, "exposure_usd_bn = '-1': should be a number above 0"),
        ({"exposure_usd_bn": "0"}, "exposure_usd_bn = '0': should be a number above 0"),
        ({"exposure_usd_bn": "nan"}, "exposure_usd_bn = 'nan': should be a number above 0"),
        ({"exposure_usd_bn": "inf"}, "exposure_usd_bn = 'inf': should be a number above 0"),
        ({"exposure_usd_bn": ""}, "exposure_usd_bn = '': should be a number above 0"),
        (
            {"exposure_usd_bn": "1.000.000"},
            "exposure_usd_bn = '1.000.000': should be a number above 0",
        ),
        (
            {"exposure_usd_bn": "1,299"},
            "more than the header's 14 fields; numbers should have no commas",
        ),
        ({"pd_1y": "0"}, "pd_1y = '0': should be a probability above 0 and below 1"),
        ({"pd_1y": "1.5"}, "pd_1y = '1.5': should be a probability above 0 and below 1"),
        ({"rho_residual": "1"}, "rho_residual = '1': should be a share from 0 to below 1"),
        ({"lgd": "45"}, "lgd = '45': should be a share above 0, at most 1"),
        ({"beta_spread": "x"}, "beta_spread = 'x': should be a number from -10 to 10"),
        ({"start_month": "1.5"}, "start_month = '1.5': should be a whole month from 0 to 10000"),
        ({"end_month": "-3"}, "end_month = '-3': should be a whole month from 0 to 10000"),
        (
            {"start_month": "12", "end_month": "6"},
            "end_month = 6: should be after start_month = 12",
        ),
        ({"start_month": "6", "end_month": "6"}, "end_month = 6: should be after start_month = 6"),
    ],
)
def test_a_loan_that_is_wrong(tmp_path: Path, changes: Config, problem: str) -> None:
    (found,) = with_book(tmp_path, "\n".join([HEAD, FIRST, edited(SECOND, **changes)]))
    assert found.startswith(f"mine.csv line 3: {problem}")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "mine.csv: empty; its first line should be loan,sector,rating,"),
        (HEAD, "mine.csv: no loans; there should be at least one row"),
        (
            "\n".join([HEAD.replace("lgd", "loss"), FIRST]),
            "mine.csv: column lgd missing; it should have loan, sector,",
        ),
        (
            "\n".join([f"{HEAD},lgd", f"{FIRST},1"]),
            "mine.csv: column lgd stands twice; it should stand once",
        ),
        (b"\x00\xff\xfe\x80" * 99, "private_credit.book = "),
    ],
)
def test_a_book_that_is_no_book(tmp_path: Path, content: str | bytes, problem: str) -> None:
    found = with_book(tmp_path, content)
    assert found[0].startswith(problem)
    assert len(found) == 1


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    (found,) = with_book(tmp_path, "\n".join([HEAD, "", FIRST, "", "", edited(SECOND, lgd="2")]))
    assert found.startswith("mine.csv line 6: lgd = '2'")


def test_all_problems_of_a_book_come_at_once(tmp_path: Path) -> None:
    lines = [
        HEAD,
        edited(FIRST, lgd="2", pd_1y="x"),
        edited(SECOND, sector="bakeries"),
        "PC9",
        FIRST,
    ]
    found = with_book(tmp_path, "\n".join(lines))
    assert [sum(f" line {n}: " in line for line in found) for n in (2, 3, 4, 5)] == [2, 1, 1, 1]


@pytest.mark.parametrize("book", ["none.csv", "x" * 300, "", "a\\u0000b", "/", "."])
def test_a_book_that_is_not_there(tmp_path: Path, book: str) -> None:
    content = f'[private_credit]\nbook = "{book}"'
    if book == "":  # a homogeneous book
        (tmp_path / "mine.toml").write_text(content)
        assert overbuilt("check", str(tmp_path / "mine.toml")).exit_code == 0
        return
    (found,) = checked(tmp_path, content)
    assert found.startswith("private_credit.book = ")
    assert "should name a CSV file" in found or "should be a CSV file" in found


# ---- backends
@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "")
    native.compiler.cache_clear()
    native.compiler_identity.cache_clear()


@pytest.fixture(autouse=True)
def _forget_compilers() -> Any:
    yield
    native.compiler.cache_clear()
    native.compiler_identity.cache_clear()


@pytest.mark.usefixtures("no_compiler")
def test_native_without_a_compiler_says_how_to_get_one() -> None:
    (found,) = refused("run", "textbook", "--paths", "10", "--backend", "native")
    assert found.startswith("backend native cannot be used: no C++ compiler: ")
    assert "install g++ or clang" in found
    assert "CXX" in found


@pytest.mark.usefixtures("no_compiler")
def test_auto_without_a_compiler_falls_back_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    from overbuilt.kernels import backends
    from overbuilt.kernels.backends import Status, cuda, jax

    monkeypatch.setattr(cuda, "status", lambda: Status("cuda", False, "no device"))
    monkeypatch.setattr(jax, "status", lambda: Status("jax", False, "JAX is not installed"))
    assert backends.choose()[0] == "numpy"
    done = overbuilt("run", "textbook", "--paths", "10")
    assert done.exit_code == 0
    text = " ".join(done.stdout.split())
    assert "numpy float32" in text
    assert "no device" in text
    assert "install g++ or clang" in text
    assert simulate(load("textbook"), 10).backend == "numpy"


def test_cuda_where_there_is_none_says_how_to_get_it() -> None:
    from overbuilt.kernels import backends

    if backends.status("cuda").works:
        pytest.skip("there is a CUDA device here")
    (found,) = refused("run", "textbook", "--paths", "10", "--backend", "cuda")
    assert found.startswith("backend cuda cannot be used: ")


# ---- a model that cannot be traced
class Branching(System):
    """Takes a branch that depends on the path."""

    level = parameter(1.0, "1", "assumption: any")
    x = output("1", "any")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"x": self.level}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        x = s.x + draw.normal("shock")
        if x > 0:
            x = x - 1.0
        return {"x": x}


def test_a_branch_in_a_model_is_refused_by_file_and_line() -> None:
    line = Branching.step.__code__.co_firstlineno + 2
    with pytest.raises(TraceError) as caught:
        simulate(Branching(), 10, backend="numpy")
    assert f"test_bad_input.py:{line}: " in str(caught.value)
    assert "xp.where" in str(caught.value)


def test_a_system_made_with_wrong_values_names_them() -> None:
    with pytest.raises(ConfigError) as caught:
        Branching(level="high", lvl=3)
    assert caught.value.problems == [
        "Branching.level = 'high': should be a finite number",
        "Branching.lvl: unknown key; did you mean 'level'?",
    ]


# ---- junk of any kind
def text(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return (
            '"'
            + "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}" for c in value)
            + '"'
        )
    if isinstance(value, list):
        return f"[{', '.join(map(text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{text(k)} = {text(v)}' for k, v in value.items())}}}"
    return repr(value)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a value holds values, itself left out; of a long list the first three."""
    inner = list(value.items()) if isinstance(value, dict) else []
    inner = list(enumerate(value))[:3] if isinstance(value, list) else inner
    found = []
    for key, below in inner:
        found += [(*path, key), *places(below, (*path, key))]
    return found


SOUND = {k: v for k, v in load("base").values.items() if k != "title"}
PLACES = sorted(places(SOUND), key=str)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
LEAVES = (
    st.integers(-(2**70), 2**70)
    | st.floats()
    | st.booleans()
    | WORDS
    | st.sampled_from(
        ["", "base", "true", "0.5", "\0", "\n", "x" * 300, 10**400, 0, 1, -1, 1e308, 5e-324]
    )
)
JUNK = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.just("name"), inner, max_size=3)
    ),
    max_leaves=8,
)
EDITS = st.tuples(
    st.sampled_from(["drop", "rename", "replace", "add"]), st.sampled_from(PLACES), WORDS, JUNK
)


def has(at: Any, key: Any) -> bool:
    """Whether ``at[key]`` is there; after another edit it may not be."""
    return key in at if isinstance(at, dict) else isinstance(at, list) and key in range(len(at))


def mutate(config: Config, kind: str, place: tuple[Any, ...], word: str, junk: Any) -> None:
    """Do one edit, where its place is still there."""
    *way, key = place
    at: Any = config
    for step in way:
        at = at[step] if has(at, step) else None
    if not has(at, key):
        return
    if kind == "replace":
        at[key] = junk
    elif kind == "add" and isinstance(at, dict):
        at[word] = junk
    elif kind == "add":
        at.append(junk)
    elif kind == "rename" and isinstance(at, dict):
        at[word] = at.pop(key)
    else:
        del at[key]


def loads_or_says_why(scenario: str | Path, overrides: Config | None = None) -> bool:
    """Load; True if that works. Anything but a ConfigError with lines for people is a failure."""
    try:
        economy = load(scenario, overrides).economy
    except ConfigError as error:
        problems = error.problems
    else:
        return bool(economy.metrics) or bool(economy.systems)
    if not problems:
        raise AssertionError("no problem is given")
    for line in problems:
        assert line.strip()
        assert line.isprintable()
        assert not any(word in line.lower() for word in JARGON), line
    return False


@settings(
    max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(edits=st.lists(EDITS, min_size=1, max_size=3))
@example(edits=[("replace", ("systems",), "", ["shocks"]), ("drop", ("private_credit",), "", 0)])
@example(edits=[("replace", ("compute", "pipeline_start"), "", 1e308)])
@example(
    edits=[
        ("replace", ("private_credit", "nu"), "", 200.0),
        ("replace", ("private_credit", "copula"), "", "student_t"),
    ]
)
@example(edits=[("replace", ("revenue", "growth_2y"), "", 1.0000000000000002)])
@example(edits=[("replace", ("private_credit", "book"), "", "x" * 300)])
def test_a_mutated_config_loads_or_says_why(
    tmp_path_factory: pytest.TempPathFactory, edits: list[Any]
) -> None:
    config = copy.deepcopy(SOUND)
    for edit in edits:
        mutate(config, *edit)
    path = tmp_path_factory.getbasetemp() / "mutated.toml"
    path.write_text(
        "".join(f"{text(k)} = {text(v)}\n" for k, v in config.items()), encoding="utf-8"
    )
    loads_or_says_why(path)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(key=st.sampled_from([".".join(map(str, p)) for p in PLACES]) | WORDS, value=JUNK | WORDS)
def test_any_override_loads_or_says_why(key: str, value: Any) -> None:
    loads_or_says_why("base", {key: value})
