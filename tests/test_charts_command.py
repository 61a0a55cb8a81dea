"""The command plot: what it writes, and how it refuses."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from overbuilt.cli import main
from overbuilt.engine.charts.kinds import KINDS
from overbuilt.engine.result import Result as Run
from overbuilt.engine.run_store import load_run
from overbuilt.engine.scenario import load
from overbuilt.engine.simulate import simulate

LOSS = "private_credit.loss"
SMALL = ("--paths", "200", "--backend", "numpy")


def plot(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["plot", *map(str, arguments)])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored run of the textbook: enough for loss and fan."""
    folder = tmp_path_factory.mktemp("plot") / "run"
    simulate(load("textbook"), 300, 3, "numpy").save(folder)
    return folder


def test_it_writes_what_the_suffixes_ask_for(run: Path, tmp_path: Path) -> None:
    outs = [tmp_path / f"loss{s}" for s in (".png", ".svg", ".csv", ".html", ".json")]
    done = plot(run, "loss", *(a for o in outs for a in ("-o", o)))
    assert done.exit_code == 0, done.output
    figure = load_run(run).plot.loss()
    assert done.stdout == f"{figure.title}\n{figure.caption}\nSource: {figure.source}\n"
    assert done.stderr == f"written to {', '.join(map(str, outs))}\n"
    assert outs[2].read_text() == figure.csv()
    assert outs[1].read_text() == figure.svg()
    assert sorted(os.listdir(tmp_path)) == sorted(o.name for o in outs)


def test_a_scenario_is_simulated(tmp_path: Path) -> None:
    out = tmp_path / "fan.csv"
    done = plot(
        "textbook",
        "fan",
        LOSS,
        "-o",
        out,
        *SMALL,
        "--seed",
        "5",
        "--months",
        "9",
        "--format",
        "json",
    )
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["source"] == "200 paths of textbook, seed 5"
    assert told["files"] == [str(out)]
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    made = simulate(load("textbook", {"months": 9}), 200, 5, "numpy")
    assert [float(r["median"]) for r in rows] == pytest.approx(list(made.series(LOSS)["p50"]))


def test_runs_are_drawn_beside_each_other(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "two.csv"
    done = plot(
        run, "fan", LOSS, "--against", "textbook", "--seed", "4", "--backend", "numpy", "-o", out
    )
    assert done.exit_code == 0, done.output
    with open(out, newline="") as file:
        assert {r["scenario"] for r in csv.DictReader(file)} == {
            "textbook, seed 3",
            "textbook, seed 4",
        }


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("los", "-o", "x.png"), "kind 'los': unknown; did you mean 'loss'?"),
        (("zzz", "-o", "x.png"), "kind 'zzz': unknown; known are fan, fans, "),
        (("loss", "private_credit.los", "-o", "x.png"), "no such metric"),
        (("loss", "private_credit.los", "-o", "x.png"), "'private_credit.loss'"),
        (("fan", "rental.hopper", "-o", "x.png"), "no such variable reported by month"),
        (("gap", "-o", "x.png"), "gap 'compute.gap': no such variable"),
        (("fan", "-o", "x.png"), "fan: takes 1 variable, not 0"),
        (("tranches", "a", "-o", "x.png"), "tranches: takes no variable, not 1"),
        (("tranches", "-o", "x.png"), "no tranches"),
        (("loss", "-o", "x.gif"), "-o x.gif: ends in .gif; should be .png, .svg"),
        (("loss", "-o", "none/x.png"), "there is no folder none"),
        (("loss", "-o", "."), "-o .: "),
        (("loss", "--log", "-o", "x.png"), "its axes are what they are"),
        (("loss", "--against", "textbook", "-o", "x.png"), "draws one run"),
        (("loss", "--width", "10", "-o", "x.png"), "--width 10: should be 320 to 2400"),
        (("loss", "--paths", "10", "-o", "x.png"), "--paths: is for scenarios"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = plot(run, *arguments)
    assert done.exit_code == 2, done.output
    assert problem in done.stderr
    assert all(line.startswith("error: ") for line in done.stderr.splitlines())
    assert not os.listdir(tmp_path)


def test_all_problems_are_told_at_once_and_before_anything_is_simulated(tmp_path: Path) -> None:
    done = plot("textbok", "los", "-o", tmp_path / "x.gif", "--paths", "10000000000")
    assert done.exit_code == 2
    for part in ("los", "textbok", ".gif"):
        assert part in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(run: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    done = plot(run, "loss", "-o", tmp_path / "locked" / "x.png")
    assert done.exit_code == 2
    assert "cannot be written" in done.stderr


def test_help_lists_each_kind_with_an_example() -> None:
    text = CliRunner().invoke(main, ["plot", "--help"]).stdout
    for name, kind in KINDS.items():
        assert f"  {name} " in text
        assert kind.example in text
        assert kind.example.split()[0] == name


@pytest.fixture(scope="module")
def base() -> Run:
    return simulate(load("base"), 200, 0, months=18)


@pytest.mark.parametrize("name", [k for k in KINDS if k not in ("claims", "tornado", "stress")])
def test_each_example_draws(
    base: Run, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kind = KINDS[name]
    words = kind.example.replace("--against linear ", "").split()
    variables = words[1 : words.index("-o")]
    figure = base.plot(name, *variables)
    assert figure.save(words[-1]).stat().st_size > 200
