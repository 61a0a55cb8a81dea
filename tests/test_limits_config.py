"""Limits: how a config declares them, how files and --set merge them, how a run is judged, with which exit code.

That a limit is judged by the estimate alone, and that its interval only says how sure that is, is checked on numbers
written down here; what is estimated, against ``Result.estimate``. Nothing here is a statistical test.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import overbuilt
from overbuilt import ConfigError
from overbuilt.cli import main
from overbuilt.engine.commands.run import exit_code
from overbuilt.engine.commands.runs import merge
from overbuilt.engine.estimate import Estimate
from overbuilt.engine.functionals import parse_quantity
from overbuilt.engine.limits import Limit, Verdict, events_of, judge, limits_of
from overbuilt.engine.run_store import load_run
from overbuilt.engine.statistics import Statistics

ES, P99 = "private_credit.loss.es99", "private_credit.loss.p99"
BELOW_0 = "private_credit.loss < 0"
BASE = f"""
extends = "textbook"
[[limit]]
name = "tail"
metric = "{ES}"
max = 8
[[limit]]
metric = "{P99}"
max = 9
"""


def wrote(folder: Path, text: str, name: str = "desk.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def rows(source: Path | str, **overrides: Any) -> list[dict[str, Any]]:
    return overbuilt.load(source, overrides).values.get("limit", [])


def problems(source: Path | str, overrides: dict[str, Any] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        overbuilt.load(source, overrides)
    return caught.value.problems


# ---- in the config
def test_a_row_without_a_name_goes_by_its_metric(tmp_path: Path) -> None:
    assert rows(wrote(tmp_path, BASE)) == [
        {"name": "tail", "metric": ES, "max": 8.0},
        {"name": P99, "metric": P99, "max": 9.0},
    ]
    assert all(type(r["max"]) is float for r in rows(tmp_path / "desk.toml"))
    assert "limit" not in overbuilt.load("textbook").values


def test_what_extends_changes_adds_and_removes_rows_by_name(tmp_path: Path) -> None:
    wrote(tmp_path, BASE, "below.toml")
    top = wrote(
        tmp_path,
        f"""extends = "below.toml"
[[limit]]
name = "tail"
max = 500
min = 1
[[limit]]
metric = "{P99}"
remove = true
[[limit]]
name = "defaults"
metric = "private_credit.defaults"
min = 2
""",
    )
    assert rows(top) == [
        {"name": "tail", "metric": ES, "min": 1.0, "max": 500.0},
        {"name": "defaults", "metric": "private_credit.defaults", "min": 2.0},
    ]


def test_set_reaches_into_rows_whose_names_have_dots(tmp_path: Path) -> None:
    path = wrote(tmp_path, BASE)
    got = rows(path, **{"limit.tail.max": 1, f"limit.{P99}.max": 2, f"limit.{P99}.min": -2})
    assert [r["max"] for r in got] == [1.0, 2.0]
    assert got[1]["min"] == -2.0
    assert rows(path, **{f"limit.{P99}": {"max": 3}})[1]["max"] == 3.0
    assert [r["name"] for r in rows(path, **{"limit.tail.remove": True})] == [P99]
    assert rows(path, limit=[]) == []
    one = [{"metric": BELOW_0, "max": 0.01}]
    assert rows("textbook", limit=one) == [{"name": BELOW_0, "metric": BELOW_0, "max": 0.01}]


def test_limits_are_there_again_in_a_restored_scenario(tmp_path: Path) -> None:
    from overbuilt.engine.scenario import restore

    scenario = overbuilt.load(wrote(tmp_path, BASE))
    assert restore(scenario.values, "desk", tmp_path).values == scenario.values


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ('metric = "private_credit.los.es99"\nmax = 1', "did you mean 'private_credit.loss'?"),
        ('metric = "private_credit.loss.es"\nmax = 1', "should be mean, sd"),
        ('metric = "private_credit.loss > many"\nmax = 1', "'many' is no number"),
        (f'metric = "{ES}"', "neither max nor min"),
        (f'metric = "{ES}"\nmin = 3\nmax = 2', "min = 3: should be max = 2 at most"),
        (f'metric = "{ES}"\nmax = nan', "max = nan: should be a finite number"),
        (f'metric = "{ES}"\nmin = -inf', "min = -inf: should be a finite number"),
        (f'metric = "{ES}"\nmax = true', "max = true: should be a finite number"),
        (f'metric = "{ES}"\nmax = "40"', "max = '40': should be a finite number"),
        (f'metric = "{ES}"\nmax = 1{"0" * 400}', "should be a finite number"),
        (f'metric = "{ES}"\nmax = 1\nmx = 2', "mx: unknown key; did you mean 'max'?"),
        ("name = 'tail'\nmax = 1", "limit.tail.metric: missing"),
        ("metric = 7\nmax = 1", "limit.?.metric = 7: should be text in quotes"),
        (f'name = "Tail Loss"\nmetric = "{ES}"\nmax = 1', "name = 'Tail Loss': should be a name"),
        (f'name = "tail\\n"\nmetric = "{ES}"\nmax = 1', "should be a name in quotes"),
        (f'name = ""\nmetric = "{ES}"\nmax = 1', "name = '': should be a name in quotes"),
        (f'name = 5\nmetric = "{ES}"\nmax = 1', "name = 5: should be a name in quotes"),
        (f'metric = "{ES}"\nmax = 1\nremove = "yes"', "remove = 'yes': should be true or false"),
        (f'name = "x"\nmetric = "{ES}"\nremove = true', "limit.x: there is no such row to remove"),
    ],
)
def test_a_row_that_is_not_sound_is_refused_in_a_line(tmp_path: Path, row: str, named: str) -> None:
    (line,) = problems(wrote(tmp_path, f'extends = "textbook"\n[[limit]]\n{row}\n'))
    assert named in line
    assert line.startswith("limit.")


@pytest.mark.parametrize("value", ["5", '"tail"', "[1, 2]", "{max = 3}"])
def test_limit_is_a_table_of_rows(tmp_path: Path, value: str) -> None:
    (line,) = problems(wrote(tmp_path, f'extends = "textbook"\nlimit = {value}\n'))
    assert "should be rows, each under [[limit]]" in line


@pytest.mark.parametrize("name", ['name = "a"', ""])
def test_a_name_stands_once_in_a_file(tmp_path: Path, name: str) -> None:
    row = f'[[limit]]\n{name}\nmetric = "{ES}"\nmax = 1\n'
    (line,) = problems(wrote(tmp_path, f'extends = "textbook"\n{row}{row}'))
    assert "stands 2 times" in line


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = f"""extends = "textbook"
months = 0
[[limit]]
metric = "{ES}"
[[limit]]
metric = "private_credit.los"
max = true
"""
    found = problems(wrote(tmp_path, text))
    assert [x.partition(" ")[0] for x in found] == [
        "months",
        f"limit.{ES}:",
        "limit.private_credit.los.max",
    ]
    found = problems(wrote(tmp_path, text.replace("months = 0\n", "")))
    assert sum("unknown" in x for x in found) == 1
    assert len(found) == 3


@pytest.mark.parametrize(
    ("key", "named"),
    [("limit.tial.max", "did you mean 'tail'?"), ("limit.max", "for example limit.tail.max")],
)
def test_set_of_a_row_that_is_not_there(tmp_path: Path, key: str, named: str) -> None:
    (line,) = problems(wrote(tmp_path, BASE), {key: 3})
    assert named in line


# ---- judged
NAN, INF = math.nan, math.inf


def verdict(low: float, high: float, value: float, least: float, most: float) -> Verdict:
    limit = Limit("tail", parse_quantity(ES, ["private_credit.loss"]), low, high)
    return Verdict(limit, Estimate(value, least, most, 1.0, 0.95, "asymptotic"))


@pytest.mark.parametrize(
    ("limit", "estimate", "breached", "told", "line"),
    [
        ((-INF, 40), (43.1, 42.2, 44.0), True, True, "43.10 (42.20 to 44.00), above 40"),
        ((-INF, 40), (40.3, 39.1, 41.5), True, False, "40.30 (39.10 to 41.50), above 40, but"),
        ((-INF, 40), (39.9, 39.1, 41.5), False, False, "39.90 (39.10 to 41.50), below 40, but"),
        ((-INF, 40), (38.0, 37.1, 39.5), False, True, "38.00 (37.10 to 39.50), below 40"),
        ((-INF, 40), (40.0, 39.0, 41.0), False, False, "40.00 (39.00 to 41.00), at 40, but"),
        ((-INF, 40), (40.0, 40.0, 40.0), False, True, "40.00 (40.00 to 40.00), at 40"),
        ((3, 40), (2.0, 1.5, 2.5), True, True, "2.000 (1.500 to 2.500), below 3"),
        ((3, 40), (2.0, 1.5, 3.5), True, False, "2.000 (1.500 to 3.500), below 3, but"),
        ((3, 40), (20.0, 2.5, 30.0), False, False, "20.00 (2.50 to 30.00), above 3, but"),
        ((3, 40), (30.0, 20.0, 41.0), False, False, "30.00 (20.00 to 41.00), below 40, but"),
        ((3, 40), (30.0, 20.0, 39.0), False, True, "30.00 (20.00 to 39.00), below 40"),
        ((-INF, 0), (0.0, 0.0, 0.01), False, False, "0.000 (0.000 to 0.010), at 0, but"),
        ((-INF, 40), (41.0, -INF, INF), True, False, "41.00 (no interval: asymptotic), above 40, but"),
        ((-INF, 40), (40.00001, 39.0, 41.0), True, False, "40.00001 (39.00000 to 41.00000), above"),
        ((-INF, 1.5e9), (2345678901.0, 2e9, 3e9), True, True, "2,345,678,901 (2,000,000,000 to"),
        ((-INF, 40), (NAN, -INF, INF), True, False, "is unknown (asymptotic)"),
        ((-INF, 40), (INF, -INF, INF), True, False, "is inf (no interval: asymptotic), above 40"),
    ],
)  # fmt: skip
def test_a_limit_is_judged_by_the_estimate(
    limit: tuple[float, float],
    estimate: tuple[float, float, float],
    breached: bool,
    told: bool,
    line: str,
) -> None:
    found = verdict(*limit, *estimate)
    assert (found.breached, found.told_apart) == (breached, told)
    assert line in found.line()
    assert found.line().startswith(f"limit tail: {ES} is ")
    assert found.line().endswith("but not told apart from it") == (
        not told and not math.isnan(estimate[0])
    )
    assert json.loads(json.dumps(found.as_json(), allow_nan=False))["breached"] is breached


def test_a_limit_without_a_name_is_named_once() -> None:
    limit = Limit(ES, parse_quantity(ES, ["private_credit.loss"]), high=40.0)
    found = Verdict(limit, Estimate(43.1, 42.2, 44.0, 1.0, 0.95, ""))
    assert found.line() == f"limit {ES} is 43.10 (42.20 to 44.00), above 40"


def test_nobody_knows_whether_a_limit_is_kept_where_no_path_is_finite() -> None:
    empty = Statistics(("a.b",))
    empty.add(0, np.full((1, 4), np.nan), np.ones(4, np.int32))
    (limit,) = limits_of({"limit": [{"name": "x", "metric": "a.b.p99", "max": 1.0}]}, ["a.b"])
    (found,) = judge([limit], empty)
    assert found.breached
    assert "nobody knows" in found.line()


def test_a_run_is_judged_on_what_it_estimates(tmp_path: Path) -> None:
    config = wrote(
        tmp_path, BASE + f'[[limit]]\nname = "often"\nmetric = "{BELOW_0[:-1]}3"\nmin = 0.9\n'
    )
    result = overbuilt.simulate(overbuilt.load(config), 3000, 4, "native")
    assert [v.limit.name for v in result.limits] == ["tail", P99, "often"]
    for found in result.limits:
        assert found.estimate == result.estimate(found.limit.quantity.text)
    # a probability with a limit is counted, not read off a histogram
    assert result.statistics.events == (("private_credit.loss", "<", 3.0),)
    values = result.paths(["private_credit.loss"])["private_credit.loss"]
    assert result.limits[2].estimate.value == float((values < 3.0).mean())
    again = load_run(result.save(tmp_path / "run"))
    assert again.limits == result.limits
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["limits"] == [v.as_json() for v in result.limits]
    assert manifest["config"]["limit"][0] == {"name": "tail", "metric": ES, "max": 8.0}


def test_a_model_from_python_has_no_limits() -> None:
    textbook = overbuilt.load("textbook").economy
    assert overbuilt.simulate(textbook, 50, 0, "numpy").limits == []
    assert events_of([]) == ()


# ---- the command line
def command(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def run(config: Path, *arguments: str) -> Result:
    return command("run", str(config), "--backend", "native", "--paths", "3000", *arguments)


def test_a_breach_is_exit_code_4_and_a_line(tmp_path: Path) -> None:
    config = wrote(tmp_path, BASE)
    kept = run(config)
    assert (kept.exit_code, kept.stderr) == (0, "")
    done = run(config, "--set", "limit.tail.max=4", "--format", "json")
    assert done.exit_code == 4
    found = json.loads(done.stdout)["limits"]
    assert [v["breached"] for v in found] == [True, False]
    assert done.stderr.splitlines() == [
        f"limit tail: {ES} is {found[0]['value']:.3f} ({found[0]['low']:.3f} to {found[0]['high']:.3f}), above 4"
    ]


def test_a_limit_within_the_interval_is_said_and_judged_by_the_estimate(tmp_path: Path) -> None:
    config = wrote(tmp_path, BASE)
    value = json.loads(run(config, "--format", "json").stdout)["limits"][0]["value"]
    for bound, code, side in ((value * 1.001, 0, "below"), (value * 0.999, 4, "above")):
        done = run(config, "--set", f"limit.tail.max={bound}")
        assert done.exit_code == code
        (line,) = done.stderr.splitlines()
        assert side in line
        assert line.endswith("but not told apart from it")
        assert "not told apart" in done.stdout


def test_the_table_shows_limits_in_100_columns(tmp_path: Path) -> None:
    long = "a_limit_with_a_very_long_name_that_no_desk_would_give_it_but_one_did"
    text = BASE + f'[[limit]]\nname = "{long}"\nmetric = "{ES}"\nmin = 1234567.25\nmax = 98765432\n'
    done = run(wrote(tmp_path, text))
    lines = done.stdout.splitlines()
    assert "limits" in lines
    assert max(map(len, lines)) <= 100
    assert sum("BREACHED" in x for x in lines) == 1
    assert sum("up to 8" in x for x in lines) == 1
    checked = command("check", str(tmp_path / "desk.toml"))
    assert f"limit tail: {ES} up to 8" in checked.stdout


def test_a_breach_goes_before_precision_that_was_not_reached(tmp_path: Path) -> None:
    options = ("--backend", "native", "--until", f"{ES} within 0.01%", "--max-paths", "66000")
    done = command("run", str(wrote(tmp_path, BASE)), *options, "--set", "limit.tail.max=4")
    assert done.exit_code == 4
    assert "warning: stopped by max paths" in done.stderr
    assert command("run", str(tmp_path / "desk.toml"), *options).exit_code == 3


def test_a_run_that_fails_goes_before_a_breach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, folder: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(overbuilt.Result, "save", full)
    done = run(wrote(tmp_path, BASE), "--set", "limit.tail.max=4", "--out", str(tmp_path / "run"))
    assert done.exit_code == 1
    lines = done.stderr.splitlines()
    assert any(x.startswith("limit tail:") for x in lines)
    assert "No space left on device" in lines[-1]


@pytest.mark.parametrize(
    ("cut", "signal_code", "breached", "code"),
    [
        (True, 143, True, 143), (True, 130, False, 130), (True, 0, True, 4), (True, 0, False, 3),
        (False, 143, True, 4),  # the signal came after the last block: nothing was cut
        (False, 143, False, 0), (False, 0, True, 4), (False, 0, False, 0),
    ],
)  # fmt: skip
def test_which_exit_code_goes_first(cut: bool, signal_code: int, breached: bool, code: int) -> None:
    assert exit_code(cut, signal_code, breached) == code


def test_a_signal_goes_before_a_breach_and_the_resumed_run_is_judged(tmp_path: Path) -> None:
    config, out = wrote(tmp_path, BASE), tmp_path / "run"
    line = f"run {config} --backend native --paths 100000000 --set limit.tail.max=4 --out {out}"
    program = "from overbuilt.cli import main; main(prog_name='overbuilt')"
    root = str(Path(overbuilt.__file__).parent.parent)
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    with subprocess.Popen(
        [sys.executable, "-c", program, *shlex.split(line), "--log-json"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert json.loads(process.stderr.readline())["event"] == "start"
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        events = [json.loads(x) for x in process.stderr]
    assert process.returncode == 143
    assert [e["breached"] for e in events if e["event"] == "limit"] == [True, False]
    assert events[-1]["exit_code"] == 143
    done = command("run", "--resume", str(out), "--deadline", "0.1s")
    assert done.exit_code == 4
    assert "limit tail" in done.stderr


def test_a_part_of_a_run_is_judged_when_it_is_merged(tmp_path: Path) -> None:
    config, bound = wrote(tmp_path, BASE), ("--set", "limit.tail.max=4")
    parts = [str(tmp_path / "a"), str(tmp_path / "b")]
    for part, last in zip(("0..65535", "65536..131071"), parts, strict=True):
        options = ("--backend", "native", "--paths", "131072", "--range", part, "--out", last)
        done = command("run", str(config), *options, *bound)
        assert (done.exit_code, done.stderr) == (0, "")
    merged = CliRunner().invoke(merge, [*parts, "--out", str(tmp_path / "whole")])
    assert merged.exit_code == 4
    assert merged.stderr.startswith(f"limit tail: {ES} is ")
