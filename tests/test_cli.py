"""The command line: what it prints, where, what it writes, and how fast it answers."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import overbuilt
from overbuilt.cli import main
from overbuilt.engine.result import JSON_COLUMNS
from overbuilt.kernels import backends

from .terminals import PROGRAM, environment

SMALL = ("run", "textbook", "--paths", "500", "--backend", "numpy")


def command(*arguments: str, env: dict[str, str | None] | None = None) -> Result:
    """The command line, in this process."""
    plain = dict.fromkeys(("NO_COLOR", "FORCE_COLOR", "COLUMNS"))
    return CliRunner().invoke(main, list(arguments), env={**plain, **(env or {})})


def printed(*arguments: str, env: dict[str, str | None] | None = None) -> str:
    """What a command that succeeds prints; it has nothing else to say."""
    done = command(*arguments, env=env)
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    return done.stdout


def process(
    *arguments: str, code: str = PROGRAM, **changes: str
) -> subprocess.CompletedProcess[str]:
    """The command line, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
        check=False,
    )


# ---- help
def test_help_comes_at_once() -> None:
    """In processor time: the clock's hangs on what else the machine does."""
    took = []
    for _ in range(5):
        before = os.times()
        assert process("--help").returncode == 0
        after = os.times()
        took.append(after.children_user + after.children_system)
        took[-1] -= before.children_user + before.children_system
    assert min(took) < 0.3


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom overbuilt.cli import main\n"
        "try:\n    main(['run', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'pydantic', 'pandas', 'pyarrow', 'rich', 'scipy', 'jax', 'cupy'} & set(sys.modules)\n"
        "print('heavy:', sorted(heavy))"
    )
    done = process(code=code)
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_the_package_imports_nothing_heavy() -> None:
    code = "import sys, overbuilt; print({'numpy', 'pydantic', 'pandas', 'jax'} & set(sys.modules))"
    assert process(code=code).stdout == "set()\n"


def test_nothing_needs_an_accelerator_library_to_run() -> None:
    code = (
        "import sys\nfrom overbuilt.cli import main\n"
        "try:\n    main(['check', 'base'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'jax', 'cupy', 'pandas', 'torch', 'numba'} & set(sys.modules)))"
    )
    assert process(code=code).stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", ["", *main.commands])
def test_help_has_an_example_and_fits(name: str) -> None:
    text = printed(*filter(None, [name]), "--help")
    assert "Example" in text
    assert f"overbuilt {name or 'run'}" in text
    assert max(map(len, text.splitlines())) <= 100
    assert printed(*filter(None, [name]), "-h") == text


def test_help_lists_the_commands_in_the_order_of_their_use() -> None:
    text = printed("--help")
    places = [text.index(f"\n  {name} ") for name in ("run", "check", "backends")]
    assert places == sorted(places)


def test_help_names_every_backend() -> None:
    assert all(name in printed("run", "--help") for name in ("auto", *backends.NAMES))


FILES = [
    "blocks.parquet", "histograms.parquet", "intervals.csv", "manifest.json", "moments.parquet",
    "sample.parquet", "series.parquet", "summary.csv", "tails.parquet",
]  # fmt: skip
"""What a run's folder holds, without the files that a config names."""


# ---- json
def test_json_holds_the_run_and_every_metric() -> None:
    got = json.loads(printed(*SMALL, "--seed", "7", "--dtype", "float64", "--format", "json"))
    assert got["scenario"] == "textbook"
    assert (got["paths"], got["seed"]) == (500, 7)
    assert (got["backend"], got["dtype"], got["months"]) == ("numpy", "float64", 12)
    assert re.fullmatch(r"[0-9a-f]{64}", got["digest"])
    assert set(got["seconds"]) == {"trace", "compile", "simulate", "reduce"}
    assert all(x >= 0 for x in got["seconds"].values())
    assert list(got["metrics"]) == list(overbuilt.load("textbook").economy.metrics)
    for metric in got["metrics"].values():
        assert tuple(metric) == JSON_COLUMNS
        assert {"mean", "se", "sd", "skew", "kurtosis", "p05", "p50", "p99", "es99"} < set(metric)
        assert metric["p05"] <= metric["p50"] <= metric["p95"] <= metric["p99"] <= metric["es99"]


def test_json_says_what_python_says() -> None:
    got = json.loads(printed(*SMALL, "--seed", "3", "--format", "json"))
    result = overbuilt.simulate(overbuilt.load("textbook"), 500, 3, "numpy")
    assert got["digest"] == result.digest
    for name, metric in got["metrics"].items():
        assert metric == {c: result.metrics[name][c] for c in JSON_COLUMNS}


def test_base_runs_as_a_newcomer_asks_for_it() -> None:
    got = json.loads(printed("run", "base", "--paths", "20000", "--format", "json"))
    assert (got["scenario"], got["paths"], got["months"]) == ("base", 20_000, 60)
    for metric, values in got["metrics"].items():
        shape = set() if values["sd"] else {"skew", "kurtosis"}  # what does not vary has none
        assert {k for k, x in values.items() if x is None or not math.isfinite(x)} == shape, metric


@pytest.mark.parametrize("name", overbuilt.shipped())
def test_every_shipped_scenario_runs_by_its_name(name: str) -> None:
    """On NumPy, which compiles nothing; until a month after the latest event, OpenAI's default in month 24."""
    arguments = ("--paths", "8", "--months", "25", "--backend", "numpy", "--format", "json")
    got = json.loads(printed("run", name, *arguments))
    assert (got["scenario"], got["paths"], got["months"]) == (name, 8, 25)
    assert list(got["metrics"]) == list(overbuilt.load(name).economy.metrics)


def test_an_event_on_the_command_line_is_the_shipped_scenario() -> None:
    arguments = ("--paths", "8", "--months", "13", "--backend", "numpy", "--format", "json")
    runs = [
        json.loads(printed("run", *how, *arguments))
        for how in (("price_war",), ("base", "--event", "price_war@12"), ("base",))
    ]
    assert runs[0]["metrics"] == runs[1]["metrics"] != runs[2]["metrics"]


def test_a_run_again_gives_the_same_bytes() -> None:
    def run(*more: str) -> dict[str, Any]:
        got = json.loads(printed(*SMALL, "--format", "json", *more))
        del got["seconds"]
        return dict(got)

    assert run() == run() == run("--seed", "0")
    assert run()["digest"] != run("--seed", "1")["digest"]
    assert run()["digest"] != run("--paths", "501")["digest"]


def test_the_largest_seed_is_a_seed() -> None:
    got = json.loads(printed(*SMALL, "--seed", str(2**64 - 1), "--format", "json"))
    assert got["seed"] == 2**64 - 1


def test_overrides_and_months_reach_the_run() -> None:
    def loss(*more: str) -> float:
        got = json.loads(printed(*SMALL, "--format", "json", *more))
        return float(got["metrics"]["private_credit.loss"]["mean"])

    assert loss("--set", "private_credit.pd=0.1") > 2 * loss()
    assert loss("--months", "36") > 2 * loss()
    assert loss("--set", "months=36") == loss("--months", "36")
    copula = ("--set", "private_credit.copula=student_t", "--set", "private_credit.loans=50")
    assert loss(*copula) != loss()


def test_nothing_but_the_result_is_on_standard_output() -> None:
    done = process(*SMALL, "--format", "json")
    assert done.returncode == 0
    json.loads(done.stdout)
    assert done.stderr == ""


# ---- tables
FAST = "native" if backends.status("native").works else "numpy"


@pytest.mark.parametrize("name", ["base", "linear", "textbook"])
def test_the_table_fits_and_says_how_it_was_run(name: str) -> None:
    text = printed("run", name, "--paths", "60", "--backend", FAST, "--seed", "5")
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith(name)
    for metric, value in overbuilt.load(name).economy.reported.items():
        if value.metric:
            assert metric in text
    for word in ("60 paths", "months", "seed 5", f"{FAST} float32", "paths/s", "digest"):
        assert word in text
    for column in ("mean", "se", "p05", "p50", "p95", "p99", "es99"):
        assert column in text
    assert "\x1b" not in text


@pytest.mark.parametrize("months", ["1", "5", "130"])
def test_the_table_fits_whatever_the_horizon(months: str) -> None:
    arguments = ("run", "base", "--paths", "8", "--backend", FAST, "--months", months)
    assert max(map(len, printed(*arguments).splitlines())) <= 100


def test_the_table_fits_where_the_numbers_are_large() -> None:
    override = ("--set", "private_credit.exposure=123456789.0", "--set", "title=" + "long " * 60)
    assert max(map(len, printed(*SMALL, *override).splitlines())) <= 100


def test_a_single_path_has_a_table() -> None:
    assert "1 paths" in printed(*SMALL[:-4], "--paths", "1", "--backend", "numpy")
    got = json.loads(
        printed("run", "textbook", "--paths", "1", "--backend", "numpy", "--format", "json")
    )
    assert (
        got["metrics"]["private_credit.loss"]["se"] is None
        or got["metrics"]["private_credit.loss"]["se"] == 0
    )


@pytest.mark.parametrize("title", ["[/red] [bold]x", "[red]", ":smile: [link=x]y"])
def test_a_title_is_text_and_no_markup(title: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'extends = "textbook"\ntitle = "{title}"')
    assert title in printed("check", str(path))
    assert title in printed("run", str(path), *SMALL[2:])


# ---- check
@pytest.mark.parametrize("name", overbuilt.shipped())
def test_check_says_that_a_scenario_is_sound(name: str) -> None:
    text = printed("check", name)
    assert max(map(len, text.splitlines())) <= 100
    assert f"{name}: " in text
    scenario = overbuilt.load(name)
    plain = " ".join(text.split())
    assert f"{scenario.months} months" in plain
    assert all(key in plain for key in scenario.values["systems"])


def test_check_takes_overrides() -> None:
    assert "36 months" in printed("check", "base", "--set", "months=36")


# ---- backends
def test_backends_lists_all_and_marks_the_one_that_auto_takes() -> None:
    text = printed("backends")
    assert max(map(len, text.splitlines())) <= 100
    for name in backends.NAMES:
        assert len(re.findall(rf"^\s*{name}\b", text, re.MULTILINE)) == 1, name
    chosen = backends.choose()[0]
    (line,) = re.findall(rf"^\s*{chosen}\b.*$", text, re.MULTILINE)
    assert "auto" in line
    for name in backends.NAMES:
        if not backends.status(name).works:
            assert backends.status(name).why.split()[0] in text


# ---- output files
def test_out_writes_what_is_needed_to_run_it_again(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "run"
    override = "private_credit.rho=0.2"
    text = printed(*SMALL, "--seed", "9", "--set", override, "--out", str(out))
    assert str(out) in text.replace("\n", "")
    assert sorted(p.name for p in out.iterdir() if p.name[0] != ".") == FILES
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    scenario = overbuilt.load("textbook", {"private_credit.rho": 0.2})
    assert manifest["config"] == scenario.values
    assert (manifest["seed"], manifest["paths"], manifest["backend"]) == (9, 500, "numpy")
    assert (manifest["dtype"], manifest["months"]) == ("float32", 12)
    assert set(manifest["seconds"]) == {"trace", "compile", "simulate", "reduce"}
    assert {"python", "numpy", "platform"} <= set(manifest["versions"])
    assert manifest["bad_paths"] == 0
    again = overbuilt.simulate(scenario, manifest["paths"], manifest["seed"], manifest["backend"])
    assert again.digest == manifest["digest"]


def test_the_summary_and_the_series_carry_units(tmp_path: Path) -> None:
    import pandas as pd
    import pyarrow.parquet as pq

    printed(*SMALL, "--out", str(tmp_path), "--format", "json")
    with (tmp_path / "summary.csv").open(newline="", encoding="utf-8") as file:
        rows = {r["metric"]: r for r in csv.DictReader(file)}
    economy = overbuilt.load("textbook").economy
    assert list(rows) == list(economy.metrics)
    assert {name: r["unit"] for name, r in rows.items()} == {
        m: economy.unit(m) for m in economy.metrics
    }
    table = pq.read_table(tmp_path / "series.parquet")
    units = json.loads(table.schema.metadata[b"units"])
    assert units == {name: economy.unit(name) for name in economy.series}
    frame = pd.read_parquet(tmp_path / "series.parquet")
    assert set(frame["variable"]) == set(economy.series)
    assert set(frame["month"]) == set(range(1, 13))
    last = frame[(frame["variable"] == "private_credit.loss") & (frame["month"] == 12)]
    assert float(last["mean"].iloc[0]) == pytest.approx(
        float(rows["private_credit.loss"]["mean"]), rel=1e-5
    )


def test_out_replaces_an_older_run_and_leaves_other_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for seed in ("1", "2"):
        printed(*SMALL, "--seed", seed, "--out", str(tmp_path))
    names = sorted(p.name for p in tmp_path.iterdir() if p.name[0] != ".")
    assert names == sorted([*FILES, "notes.txt"])
    assert json.loads((tmp_path / "manifest.json").read_text())["seed"] == 2


# ---- exit codes
def test_an_error_goes_to_standard_error_with_code_2() -> None:
    done = process("check", "bsae")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "error: scenario 'bsae': unknown; did you mean 'base'? (a file's name ends in .toml)\n"
    )


def test_an_interrupt_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    from overbuilt.engine import simulate

    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(simulate, "simulate", interrupted)
    done = command(*SMALL)
    assert done.exit_code == 130
    assert done.stderr == "error: interrupted\n"
    assert done.stdout == ""


@pytest.mark.parametrize(
    "where", ["overbuilt.engine.scenario.load", "overbuilt.engine.tables.print_result"]
)
def test_an_interrupt_beside_the_work_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A second Ctrl-C may come while the results are printed, or one before anything is computed."""

    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupted)
    done = command(*SMALL)
    assert done.exit_code == 130
    assert done.stderr == "error: interrupted\n"


def test_a_disk_that_fails_is_no_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from overbuilt import Result as RunResult

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunResult, "save", full)
    done = command(*SMALL, "--out", str(tmp_path))
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: {tmp_path}: No space left on device; ")
    assert "private_credit.loss" in done.stdout  # what was found is not lost


def test_a_reader_that_leaves_is_no_traceback() -> None:
    running = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *SMALL],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    errors = running.stderr.read()
    running.stderr.close()
    running.wait()
    assert "Traceback" not in errors
