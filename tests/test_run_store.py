"""Runs on disk: what is read again is what was found, and what was damaged is named.

A loaded run must say what the run itself says, to the last bit; and saved again, give the same files. Nothing here is
a statistical test.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import overbuilt
from overbuilt import ConfigError, Result, System, output
from overbuilt.engine import run_store
from overbuilt.engine.checkpoint import pack
from overbuilt.engine.run_store import MANIFEST, is_run, load_run, read_manifest, sha256

EVENTS = ["private_credit.loss > 3", "private_credit.defaults <= 1"]


@pytest.fixture(scope="module")
def result() -> Result:
    """Three blocks of the textbook, the last one short."""
    return overbuilt.simulate(
        overbuilt.load("textbook", {"private_credit.rho": 0.3}), 140_000, 5, "native",
        probabilities=EVENTS, tail=2000, sample=900,
    )  # fmt: skip


@pytest.fixture(scope="module")
def stored(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return result.save(tmp_path_factory.mktemp("run") / "textbook")


@pytest.fixture
def folder(stored: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(stored, tmp_path / "run"))


def test_a_loaded_run_says_the_same(result: Result, stored: Path) -> None:
    assert is_run(str(stored))
    assert not is_run(str(stored.parent))
    assert not is_run("x" * 5000)
    again = load_run(stored)
    assert repr(again.metrics) == repr(result.metrics)
    assert repr(again.estimates()) == repr(result.estimates())
    assert repr(again.probabilities) == repr(result.probabilities)
    assert repr(again.drifts) == repr(result.drifts)
    assert (again.digest, again.path_count, again.seed) == (result.digest, 140_000, 5)
    for name in result.series_names:
        assert again.series(name).equals(result.series(name))
    ours, theirs = (r.statistics.sample for r in (again, result))
    assert ours.paths.tobytes() == theirs.paths.tobytes()
    assert ours.values.tobytes() == theirs.values.tobytes()
    for name in result.statistics.names:
        tails = again.statistics.metric(name).tails, result.statistics.metric(name).tails
        assert repr(tails[0]) == repr(tails[1])


def test_saved_again_it_gives_the_same_files(stored: Path, tmp_path: Path) -> None:
    copy = load_run(stored).save(tmp_path / "copy")
    names = sorted(p.name for p in stored.iterdir())
    assert sorted(p.name for p in copy.iterdir()) == names
    for name in names:
        if name != MANIFEST:
            assert sha256(copy / name) == sha256(stored / name), name


def test_tables_of_many_row_groups_are_read_as_of_one(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_run(stored)
    monkeypatch.setattr(run_store, "ROWS", 100)
    again = load_run(whole.save(tmp_path / "cut"))
    with pq.ParquetFile(tmp_path / "cut" / "histograms.parquet") as file:
        assert file.num_row_groups > 1
    assert repr(again.metrics) == repr(whole.metrics)
    assert pack(again.statistics, 0.0) == pack(whole.statistics, 0.0)


def test_its_scenario_gives_the_same_paths(result: Result, stored: Path) -> None:
    again = load_run(stored)
    scenario = again.scenario
    assert scenario.values == result.scenario.values
    assert scenario.economy.reals["private_credit.rho"] == 0.3
    done = overbuilt.simulate(scenario, 70_000, again.seed, "native")
    first = {b: h for b, h in result.statistics.hashes.items() if b == 0}
    assert done.statistics.hashes[0] == first[0]


def test_two_halves_merge_to_the_whole(result: Result) -> None:
    """Blocks told to two statistics, saved and merged, are those of one."""
    from overbuilt.engine.simulate import plan
    from overbuilt.engine.statistics import BLOCK, Statistics

    made = plan(result.scenario, "native")
    events = result.statistics.events
    parts = [Statistics(result.statistics.names, 2000, 900, events) for _ in range(2)]
    for block, part in ((0, 1), (1, 0), (2, 1)):
        done = made.run(5, block * BLOCK, min(BLOCK, 140_000 - block * BLOCK))
        parts[part].add(block, done.metrics, done.bad)
    parts[0].merge(parts[1])
    assert parts[0].digest() == result.digest
    assert repr(parts[0].summary()) == repr(result.metrics)


def test_the_books_of_a_run_lie_beside_it(tmp_path: Path) -> None:
    """And are read from there when its own are gone, or changed."""
    mine = tmp_path / "mine"
    mine.mkdir()
    shipped = (Path(overbuilt.__file__).parent / "configs" / "book.csv").read_text()
    head, *loans = shipped.splitlines(keepends=True)
    (mine / "loans.csv").write_text("".join([head, *reversed(loans)]))
    config = mine / "desk.toml"
    config.write_text('extends = "base"\n[private_credit]\nbook = "loans.csv"\n')
    scenario = overbuilt.load(config)
    result = overbuilt.simulate(scenario, 50, 1, "numpy", months=6)
    folder = result.save(tmp_path / "run")
    assert (folder / "book.csv").read_bytes() == (mine / "loans.csv").read_bytes()
    assert (folder / "new_book.csv").exists()
    shutil.rmtree(mine)
    again = load_run(folder).scenario
    assert again.values["private_credit"]["book"] == "book.csv"
    assert overbuilt.simulate(again, 50, 1, "numpy", months=6).digest == result.digest


def test_rows_that_were_removed_stay_removed(tmp_path: Path) -> None:
    config = tmp_path / "fewer.toml"
    config.write_text('extends = "base"\n[[stress.event]]\nname = "price_war"\nremove = true\n')
    scenario = overbuilt.load(config)
    folder = overbuilt.simulate(scenario, 8, 1, "numpy", months=3).save(tmp_path / "run")
    names = [e["name"] for e in load_run(folder).scenario.values["stress"]["event"]]
    assert "price_war" not in names
    assert names == [e["name"] for e in scenario.values["stress"]["event"]]


class Still(System):
    """Says nothing new."""

    value = output("1", "always the same")

    def step(self, xp: object, s: object, up: object, draw: object) -> dict[str, float]:
        return {"value": 2.5}


def test_a_run_from_python_loads_but_has_no_scenario(tmp_path: Path) -> None:
    result = overbuilt.simulate(Still(), 100, 0, "numpy", months=2)
    again = load_run(result.save(tmp_path))
    assert again.metrics["still.value"]["mean"] == 2.5
    with pytest.raises(ConfigError, match="from Python"):
        _ = again.scenario


# ---- damage
def refused(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_run(folder)
    (line,) = caught.value.problems
    return line


@pytest.mark.parametrize("how", ["missing", "truncated", "flipped"])
@pytest.mark.parametrize(
    "name",
    [
        "blocks",
        "histograms",
        "moments",
        "sample",
        "series",
        "tails",
        "summary.csv",
        "intervals.csv",
    ],
)
def test_a_damaged_file_is_named(folder: Path, name: str, how: str) -> None:
    path = folder / (name if "." in name else f"{name}.parquet")
    data = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    line = refused(folder)
    assert path.name in line
    assert ("missing" if how == "missing" else "damaged") in line


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"format": 1}', '{"format": 2}', "\udcff"])
def test_a_damaged_manifest_is_named(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_bytes(text.encode(errors="surrogateescape"))
    assert MANIFEST in refused(folder)


def test_a_changed_manifest_is_named(folder: Path) -> None:
    manifest = read_manifest(folder)
    manifest["digest"] = "0" * 64
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert "digest" in refused(folder)
    manifest["files"]["../outside"] = "0" * 64
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert "missing" in refused(folder)


def test_no_run_there(tmp_path: Path) -> None:
    assert "no run lies there" in refused(tmp_path)
    assert "no run lies there" in refused(tmp_path / "nowhere")


def test_nothing_is_unpickled(folder: Path) -> None:
    """The folder holds text and Parquet alone."""
    kinds = {p.suffix for p in folder.iterdir()}
    assert kinds == {".json", ".csv", ".parquet"}
    assert np.isfinite(load_run(folder).metrics["private_credit.loss"]["mean"])
