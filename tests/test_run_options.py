"""What ``run`` can be asked for: when to stop, which statistics, which events; and what it refuses.

A run that stops on precision is the plain run of as many paths, to the byte. Nothing here is a statistical test.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

import overbuilt
from overbuilt.engine.run_store import load_run
from overbuilt.engine.statistics import BLOCK

from .refusals import overbuilt as command
from .refusals import refused

NATIVE = ("run", "textbook", "--backend", "native")
ES = "private_credit.loss.es99"


def told(*arguments: str, code: int = 0) -> dict[str, Any]:
    done = command(*NATIVE, *arguments, "--format", "json")
    assert done.exit_code == code, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_it_stops_when_the_target_holds_and_not_before() -> None:
    got = told("--until", f"{ES} within 1%", "--max-paths", "3000000")
    (row,) = got["stop"]["targets"]
    assert (got["stop"]["held"], got["stop"]["why"]) == (True, "targets held")
    assert row["half"] <= 0.01 * row["value"]
    assert got["paths"] % BLOCK == 0
    assert BLOCK < got["paths"] < 3_000_000
    plain = told("--paths", str(got["paths"]))
    assert plain["digest"] == got["digest"]
    assert plain["metrics"] == got["metrics"]


def test_a_target_that_cannot_hold_ends_with_code_3() -> None:
    got = told("--until", f"{ES} within 0.001%", "--max-paths", "150000", code=3)
    (row,) = got["stop"]["targets"]
    assert (got["stop"]["held"], got["stop"]["why"], row["held"]) == (False, "max paths", False)
    assert row["needed_paths"] > 150_000
    assert got["paths"] == 150_000


def test_a_deadline_ends_with_whole_blocks_and_code_3() -> None:
    got = told("--paths", "100000000", "--deadline", "1s", code=3)
    assert got["stop"]["why"] == "deadline"
    assert got["paths"] % BLOCK == 0
    assert 0 < got["paths"] < 100_000_000
    late = told("--until", f"{ES} within 0.0001%", "--deadline", "0.5s", code=3)
    assert late["stop"]["why"] == "deadline"


def test_a_deadline_that_is_not_reached_changes_nothing() -> None:
    got, plain = told("--paths", "70000", "--deadline", "10m"), told("--paths", "70000")
    assert got["digest"] == plain["digest"]
    assert "stop" not in got


def test_what_a_run_reached_is_stored(tmp_path: Path) -> None:
    got = told("--until", f"{ES} within 2%", "--out", str(tmp_path / "run"))
    again = load_run(tmp_path / "run")
    assert again.stop == got["stop"]
    assert again.path_count == got["paths"]


def test_events_are_counted_exactly() -> None:
    got = told("--paths", "70000", "--probability", "private_credit.loss > 2.1")["probabilities"]
    values = overbuilt.simulate(overbuilt.load("textbook"), 70_000, 0, "native").paths()
    share = float((values["private_credit.loss"] > 2.1).mean())
    assert got["private_credit.loss > 2.1"]["value"] == share
    assert (
        got["private_credit.loss > 2.1"]["low"] < share < got["private_credit.loss > 2.1"]["high"]
    )


def test_the_table_shows_the_statistics_asked_for() -> None:
    done = command(*NATIVE, "--paths", "2000", "--stats", "mean,kurtosis,es975", "--intervals")
    assert done.exit_code == 0, done.output
    head = next(x for x in done.stdout.splitlines() if x.startswith("metric"))
    assert head.split() == ["metric", "unit", "mean", "kurtosis", "es975"]
    assert "±" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_halves_are_compared() -> None:
    text = command(*NATIVE, "--paths", "140000").stdout
    assert "even and odd blocks agree" in " ".join(text.split())
    assert "even and odd" not in command(*NATIVE, "--paths", "60000").stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("--until 'private_credit.loss.es99 within 1%' --paths 5000", "--paths 5000"),
        ("--max-paths 100", "--max-paths 100"),
        ("--until 'private_credit.loss.es99'", "within 1%"),
        ("--until 'private_credit.los.es99 within 1%'", "private_credit.loss"),
        ("--until 'private_credit.loss.es99 within 0%'", "0%"),
        ("--until 'private_credit.loss.es99 within 1%' --max-paths 0", "paths = 0"),
        ("--deadline soon", "soon"),
        ("--deadline 0s", "0s"),
        ("--stats mean,nonsense", "nonsense"),
        ("--stats ,", "names 0"),
        ("--probability private_credit.loss", "private_credit.loss > 200"),
        ("--probability 'private_credit.loss > many'", "many"),
        ("--tail 0", "tail = 0"),
    ],
)
def test_bad_options_are_refused_in_a_line(arguments: str, named: str) -> None:
    lines = refused("run", "textbook", *shlex.split(arguments))
    assert len(lines) == 1
    assert named in lines[0]


def test_a_run_needs_a_scenario_or_a_folder() -> None:
    done = command("run")
    assert done.exit_code == 2
    assert "SCENARIO" in done.stderr
    assert "--resume" in done.stderr


def test_all_that_is_wrong_is_said_at_once() -> None:
    lines = refused(
        "run", "textbook", "--stats", "x", "--tail", "-1", "--deadline", "x", "--seed", "-1"
    )
    assert len(lines) == 4
