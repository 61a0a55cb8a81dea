"""Parts of a run and what they make; the list of runs; what is shown of one.

Merged parts must be the run of all their paths, file by file, in whatever order they are named: statistics over blocks
merge exactly. Nothing here is a statistical test.
"""

from __future__ import annotations

import fcntl
import json
import random
import shutil
import threading
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from click.testing import Result as Done

import overbuilt
from overbuilt import ConfigError, Result, System, output
from overbuilt.engine.checkpoint import LEDGER
from overbuilt.engine.commands.runs import merge as merge_command
from overbuilt.engine.commands.runs import runs as runs_command
from overbuilt.engine.commands.runs import show as show_command
from overbuilt.engine.merge import check_out, merge, write
from overbuilt.engine.path_ranges import check_range, gaps_of, parse_range, ranges_of
from overbuilt.engine.run_folder import LOCK, RunFolder
from overbuilt.engine.run_list import age_text, find_runs, newest, size_text
from overbuilt.engine.run_store import MANIFEST, load_run, read_manifest, sha256
from overbuilt.engine.statistics import BLOCK, Statistics

from .refusals import overbuilt as command

PATHS = 4 * BLOCK + 5000
EVENTS = ("private_credit.loss > 2",)
RANGES = [(0, BLOCK - 1), (BLOCK, 3 * BLOCK - 1), (3 * BLOCK, PATHS - 1)]


def part(out: Path | None, path_range: tuple[int, int] | None = None, **options: Any) -> Result:
    given: dict[str, Any] = {"paths": PATHS, "seed": 4, "probabilities": EVENTS, "tail": 3000}
    model = options.pop("model", None) or overbuilt.load("textbook", {"private_credit.rho": 0.3})
    return overbuilt.simulate(
        model, **(given | options), backend="native", out=out, path_range=path_range
    )


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and its three parts."""
    place = tmp_path_factory.mktemp("parts")
    part(place / "whole")
    for number, path_range in enumerate(RANGES):
        part(place / f"part{number}", path_range)
    return place


@pytest.fixture
def place(stored: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(stored, tmp_path / "runs"))


def files_of(folder: Path) -> dict[str, str]:
    return {p.name: sha256(p) for p in folder.iterdir() if p.name not in (MANIFEST, LOCK)}


def invoke(which: Any, *arguments: str | Path) -> Done:
    return CliRunner().invoke(which, [str(a) for a in arguments])


def refused(which: Any, *arguments: str | Path, code: int = 2) -> list[str]:
    done = invoke(which, *arguments)
    assert done.exit_code == code, done.output
    assert done.stdout == ""
    return [line.removeprefix("error: ") for line in done.stderr.splitlines()]


# ---- ranges
def test_ranges_as_text() -> None:
    assert parse_range("0..65535") == (0, 65535)
    assert parse_range(" 65536 .. 131071 ") == (65536, 131071)
    for text in (
        "",
        "5",
        "5..",
        "..5",
        "5-6",
        "-1..5",
        "0x0..5",
        "1e3..2e3",
        "1...2",
        "9" * 20 + "..1",
    ):
        with pytest.raises(ConfigError, match=r"FIRST\.\.LAST"):
            parse_range(text)


@pytest.mark.parametrize(
    ("path_range", "nearest"),
    [
        ((1, BLOCK - 1), f"0..{BLOCK - 1}"),
        ((0, BLOCK), f"0..{BLOCK - 1}"),
        ((40_000, 2 * BLOCK), f"{BLOCK}..{2 * BLOCK - 1}"),
        ((5, 6), f"0..{BLOCK - 1}"),
        ((2 * BLOCK, PATHS - 2), f"{2 * BLOCK}..{PATHS - 1}"),
        ((PATHS - 3, PATHS - 2), f"{4 * BLOCK}..{PATHS - 1}"),
    ],
)
def test_a_range_that_cuts_a_block_is_refused_with_the_nearest(
    path_range: tuple[int, int], nearest: str
) -> None:
    (line,) = check_range(path_range, PATHS)
    assert f"the nearest is {nearest}" in line
    assert not check_range(parse_range(nearest), PATHS)


def test_the_nearest_range_is_one() -> None:
    rng = random.Random(1)
    for _ in range(2000):
        paths = rng.randint(1, 5 * BLOCK)
        first = rng.randrange(paths)
        wanted = (first, rng.randrange(first, paths))
        for line in check_range(wanted, paths):
            assert not check_range(parse_range(line.rpartition(" is ")[2]), paths)


@pytest.mark.parametrize(
    "path_range", [(-1, 5), (5, 4), (0, PATHS), (0.0, 5), (True, 5), "ab", 7, (1, 2, 3)]
)
def test_what_is_no_range_is_refused(path_range: Any) -> None:
    assert len(check_range(path_range, PATHS)) == 1
    with pytest.raises(ConfigError):
        part(None, path_range)


def test_blocks_as_ranges() -> None:
    assert ranges_of([], PATHS) == []
    assert ranges_of([3, 0, 1, 4], PATHS) == [(0, 2 * BLOCK - 1), (3 * BLOCK, PATHS - 1)]
    rng = random.Random(2)
    for _ in range(300):
        paths = rng.randint(1, 6 * BLOCK)
        blocks = {b for b in range(-(-paths // BLOCK)) if rng.random() < 0.5}
        both = [*ranges_of(blocks, paths), *gaps_of(blocks, paths)]
        inside = sorted(p for first, last in both for p in (first, last))
        assert (inside[0], inside[-1]) == (0, paths - 1)
        assert sum(last - first + 1 for first, last in both) == paths


def test_until_and_a_range_do_not_go_together() -> None:
    target = "private_credit.loss.es99 within 1%"
    with pytest.raises(ConfigError, match="until"):
        part(None, RANGES[0], until=[target])
    done = command("run", "textbook", "--until", target, "--range", "0..65535")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "range" in done.stderr


def test_the_command_line_refuses_a_range_in_a_line() -> None:
    for text, named in (
        ("5", "FIRST..LAST"),
        ("0..70000", "the nearest is 0..65535"),
        ("0..99999999", "99999"),
    ):
        done = command("run", "textbook", "--paths", "100000", "--range", text)
        assert done.exit_code == 2
        (line,) = done.stderr.splitlines()
        assert named in line


# ---- a part
def test_a_part_has_its_paths_and_says_so(stored: Path) -> None:
    whole = load_run(stored / "whole")
    for number, path_range in enumerate(RANGES):
        run = load_run(stored / f"part{number}")
        assert run.ranges == [path_range]
        assert run.path_count == path_range[1] - path_range[0] + 1
        assert (run.status, run.paths_wanted) == ("finished", PATHS)
        assert bool(run.series_names) == (number == 0)
        for block, digest in run.statistics.hashes.items():
            assert digest == whole.statistics.hashes[block]
        assert run.as_json()["ranges"] == [path_range]
        text = invoke(show_command, stored / f"part{number}").stdout
        assert f"paths ({path_range[0]}..{path_range[1]} of {PATHS:,})" in " ".join(text.split())
    assert "ranges" not in whole.as_json()


def test_the_paths_of_a_part_are_those_of_the_run(tmp_path: Path) -> None:
    run, first = part(tmp_path / "part", RANGES[2]), 3 * BLOCK
    table = run.paths(["private_credit.loss"])
    assert (table.index[0], table.index[-1]) == (first, PATHS - 1)
    whole = part(None).paths(["private_credit.loss"])
    assert table.equals(whole.loc[first:])
    done = command("replay", str(tmp_path / "part"), "--path", str(PATHS - 1), "--format", "json")
    (path,) = json.loads(done.stdout)["paths"]
    assert path["metrics"]["private_credit.loss"] == pytest.approx(
        float(whole["private_credit.loss"].iloc[-1]), rel=1e-5
    )


def test_a_range_of_all_paths_is_the_run(stored: Path, tmp_path: Path) -> None:
    part(tmp_path / "all", (0, PATHS - 1))
    assert files_of(tmp_path / "all") == files_of(stored / "whole")
    assert "range" not in read_manifest(tmp_path / "all")["identity"]


@pytest.mark.parametrize("number", [1, 0])
def test_a_part_that_was_cut_goes_on(stored: Path, tmp_path: Path, number: int) -> None:
    """Stopped after its first block; with another range, it is another run."""
    path_range = (0, 3 * BLOCK - 1) if number == 0 else RANGES[1]
    cut = part(tmp_path / "run", path_range, batch=BLOCK, interrupted=lambda: "SIGTERM")
    assert (cut.status, cut.path_count) == ("stopped", BLOCK)
    assert cut.stop is not None
    assert cut.stop["max_paths"] == path_range[1] - path_range[0] + 1
    with pytest.raises(ConfigError, match="range of paths"):
        part(tmp_path / "run", RANGES[2], resume=True)
    done = command("run", "--resume", str(tmp_path / "run"))
    assert done.exit_code == 0, done.output
    part(tmp_path / "want", path_range)
    assert files_of(tmp_path / "run") == files_of(tmp_path / "want")


# ---- merged
def without_seconds(folder: Path) -> dict[str, Any]:
    return {k: v for k, v in read_manifest(folder).items() if k != "seconds"}


def test_merged_in_any_order_they_are_the_run(stored: Path, tmp_path: Path) -> None:
    """Every file, and the manifest but for its seconds; and of all orders the same manifest."""
    want, manifests = files_of(stored / "whole"), set()
    for number, order in enumerate(permutations(range(3))):
        out = tmp_path / f"merged{number}"
        parts = [stored / f"part{i}" for i in order]
        done = invoke(merge_command, *parts, "--out", out, "--max-bad", "100%")
        assert done.exit_code == 0, done.output
        assert done.stderr == ""
        assert files_of(out) == want
        assert without_seconds(out) == without_seconds(stored / "whole")
        manifests.add((out / MANIFEST).read_bytes())
    assert len(manifests) == 1
    seconds = [read_manifest(stored / f"part{i}")["seconds"]["simulate"] for i in range(3)]
    assert read_manifest(out)["seconds"]["simulate"] == pytest.approx(sum(seconds), rel=1e-12)


def test_merged_in_steps_they_are_the_run(stored: Path, tmp_path: Path) -> None:
    for parts, out in ((("part2", "part0"), "two"), (("part1", "two"), "three")):
        folders = [str((tmp_path if p == "two" else stored) / p) for p in parts]
        write(merge(folders), str(tmp_path / out))
    assert files_of(tmp_path / "three") == files_of(stored / "whole")


def test_gaps_are_named_and_can_be_computed(stored: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged"
    done = invoke(merge_command, stored / "part2", stored / "part0", "--out", out)
    assert done.exit_code == 3
    gap = f"{RANGES[1][0]}..{RANGES[1][1]}"
    assert f"paths {gap} of {PATHS:,} are in none of the runs" in done.stderr
    assert f"overbuilt run --resume {out}" in done.stderr
    assert f"--range {gap}" in done.stderr
    assert (load_run(out).status, load_run(out).ranges) == ("stopped", [RANGES[0], RANGES[2]])
    done = command("run", "--resume", str(out))
    assert done.exit_code == 0, done.output
    assert files_of(out) == files_of(stored / "whole")


def test_without_the_first_block_there_is_no_series(stored: Path, tmp_path: Path) -> None:
    """Its first paths have it; where they come later, by a merge or a resume, it is there."""
    write(merge([stored / "part1", stored / "part2"]), str(tmp_path / "late"))
    late = load_run(tmp_path / "late")
    assert (late.series_names, late.ranges) == ((), [(BLOCK, PATHS - 1)])
    assert command("run", "--resume", str(tmp_path / "late")).exit_code == 0
    assert files_of(tmp_path / "late") == files_of(stored / "whole")


def test_merged_json(stored: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged"
    done = invoke(merge_command, stored / "part0", "--out", out, "--format", "json")
    assert done.exit_code == 3
    got = json.loads(done.stdout)
    assert got["gaps"] == [[BLOCK, PATHS - 1]]
    assert (got["status"], got["paths"]) == ("stopped", BLOCK)


def test_parts_from_python_merge_too(tmp_path: Path) -> None:
    """They have no config; their bad paths are those of the run."""
    options: dict[str, Any] = {"months": 12, "paths": 2 * BLOCK, "tail": 100}
    for name, path_range in (("whole", None), ("a", (0, BLOCK - 1)), ("b", (BLOCK, 2 * BLOCK - 1))):
        part(tmp_path / name, path_range, model=Unlucky(), probabilities=(), **options)
    merged = merge([tmp_path / "b", tmp_path / "a"], max_bad=0.0001)
    write(merged, str(tmp_path / "merged"))
    whole = load_run(tmp_path / "whole")
    assert files_of(tmp_path / "merged") == files_of(tmp_path / "whole")
    assert merged.result.quarantined == whole.quarantined
    assert len(whole.quarantined) == 10
    assert merged.result.bad_count == whole.bad_count
    assert (load_run(tmp_path / "merged").status, whole.status) == ("failed", "finished")
    done = invoke(merge_command, tmp_path / "a", tmp_path / "b", "--out", tmp_path / "again")
    assert done.exit_code == 1
    assert "more than --max-bad 0.1 %" in done.stderr


class Unlucky(System):
    """About two paths in a thousand are not a number from month 3 on."""

    value = output("1")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"u": draw.uniform("which")}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        value = xp.log(xp.where((up.month >= 3) & (s.u < 0.002), -1.0, 1.0))
        return {"u": s.u + value, "value": s.u}


# ---- what does not merge
def test_paths_in_two_parts_are_refused(stored: Path, place: Path, tmp_path: Path) -> None:
    part(place / "other", (2 * BLOCK, PATHS - 1))
    lines = refused(
        merge_command, *(place / n for n in ("part0", "part1", "part2", "other")),
        "--out", tmp_path / "x",
    )  # fmt: skip
    assert lines == [
        f"{place / 'part1'} and {place / 'other'}: both have paths {2 * BLOCK}..{3 * BLOCK - 1}",
        f"{place / 'part2'} and {place / 'other'}: both have paths {3 * BLOCK}..{PATHS - 1}",
    ]
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"seed": 5}, "seed: 4 in "),
        ({"dtype": "float64"}, "dtype: "),
        ({"months": 11}, "months: 12 in "),
        ({"tail": 2999}, "tail: 3000 in "),
        ({"sample": 100}, "sample: "),
        ({"probabilities": ()}, "events: "),
        ({"paths": PATHS + 1}, f"paths: {PATHS} in "),
        (
            {"model": overbuilt.load("textbook", {"private_credit.rho": 0.31})},
            "parameters and books: ",
        ),
        ({"model": overbuilt.load("textbook", {"private_credit.loans": 7})}, "program: "),
    ],
)
def test_parts_of_another_run_are_refused(
    stored: Path, tmp_path: Path, options: dict[str, Any], named: str
) -> None:
    part(tmp_path / "other", RANGES[1], **options)
    with pytest.raises(ConfigError) as caught:
        merge([stored / "part0", tmp_path / "other"])
    assert any(named in line for line in caught.value.problems), caught.value.problems
    assert all(str(tmp_path / "other") in line for line in caught.value.problems)


def test_a_part_of_another_compiler_is_refused(place: Path) -> None:
    manifest = read_manifest(place / "part1")
    manifest["identity"]["stamp"]["target"] = "-march=other"
    (place / "part1" / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="compiler and target"):
        merge([place / "part0", place / "part1"])


def test_damaged_parts_are_all_named(place: Path) -> None:
    data = bytearray((place / "part0" / "tails.parquet").read_bytes())
    data[len(data) // 2] ^= 1
    (place / "part0" / "tails.parquet").write_bytes(data)
    (place / "part1" / "blocks.parquet").unlink()
    (place / "part2" / MANIFEST).write_text("{")
    lines = refused(
        merge_command, *(place / f"part{i}" for i in range(3)), place / "none", "--out", place / "x"
    )
    assert ["damaged" in lines[0], "missing" in lines[1], "damaged" in lines[2]] == [True] * 3
    assert "no run lies there" in lines[3]
    assert len(lines) == 4


def test_a_part_that_is_not_finished_is_refused(place: Path) -> None:
    running(place / "part1")
    with pytest.raises(ConfigError, match="is not finished; go on with overbuilt run --resume"):
        merge([place / "part0", place / "part1"])


def test_a_run_that_found_its_own_number_of_paths_has_no_parts(tmp_path: Path) -> None:
    part(tmp_path, until=["private_credit.loss within 50%"])
    with pytest.raises(ConfigError, match="until its targets held"):
        merge([tmp_path])


def test_a_part_is_not_replaced(place: Path) -> None:
    before = files_of(place / "part0")
    same = place / "x" / ".." / "part0"
    (place / "x").mkdir()
    (line,) = refused(merge_command, place / "part0", place / "part1", "--out", same)
    assert "is one of the runs to merge" in line
    assert files_of(place / "part0") == before
    with pytest.raises(ConfigError, match="one of the runs"):
        check_out("memory://a/", ["memory://a"])


def test_an_unfinished_run_is_not_replaced(place: Path) -> None:
    running(place / "other")
    lines = refused(
        merge_command, *(place / f"part{i}" for i in range(3)), "--out", place / "other"
    )
    assert "not finished" in lines[0]


# ---- runs that are being written
def running(folder: Path, blocks: int = 0, **options: Any) -> RunFolder:
    """The folder of a run that has done so many blocks, as a process leaves it that is killed."""
    shutil.rmtree(folder, ignore_errors=True)
    done = part(None, **options)
    manifest = {
        "scenario": "textbook", "config": done.config, "units": done.units, "docs": done.docs,
        "bad_policy": {},
    }  # fmt: skip
    made = RunFolder.create(folder, done.identity, manifest, {})
    if blocks:
        statistics = Statistics(done.statistics.names, 3000, 16384, done.statistics.events)
        kernel = overbuilt.engine.simulate.plan(done.scenario, "native")
        for block in range(blocks):
            got = kernel.run(4, block * BLOCK, BLOCK)
            statistics.add(block, got.metrics, got.bad, "native")
        made.checkpoint(statistics, 1.5)
    made.close()
    return made


def test_a_run_that_is_being_written_is_shown(tmp_path: Path) -> None:
    running(tmp_path / "run", 2)
    result, line = newest(str(tmp_path / "run"))
    assert line.startswith("cut off: as of its newest checkpoint")
    assert f"{2 * BLOCK:,} of {PATHS:,} paths" in line
    want = part(None, paths=2 * BLOCK)
    assert result.digest == want.digest
    assert repr(result.metrics) == repr(want.metrics)
    with open(tmp_path / "run" / LOCK) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = invoke(show_command, tmp_path / "run")
        told = json.loads(invoke(show_command, tmp_path / "run", "--format", "json").stdout)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("running: as of its newest checkpoint")
    assert "private_credit.loss" in done.stdout
    assert (told["status"], told["paths"]) == ("running", 2 * BLOCK)
    assert "newest checkpoint" in told["checkpoint"]


def test_a_run_without_a_checkpoint_has_nothing_to_show(tmp_path: Path) -> None:
    running(tmp_path / "run")
    (line,) = refused(show_command, tmp_path / "run")
    assert "has no checkpoint yet" in line
    running(tmp_path / "run", 1)
    for file in (tmp_path / "run").glob("checkpoint-*.zip"):
        file.write_bytes(b"no archive")
    (line,) = refused(show_command, tmp_path / "run")
    assert "damaged" in line


def test_a_resumed_run_is_shown_as_far_as_it_is(place: Path) -> None:
    """Its folder still says what it had when it stopped; its checkpoint says more."""
    cut = place / "cut"
    part(cut, batch=BLOCK, interrupted=lambda: "SIGTERM")
    assert newest(str(cut))[1] == ""
    running(place / "further", 3)
    for file in [*(place / "further").glob("checkpoint-*"), place / "further" / LEDGER]:
        shutil.copy(file, cut)
    result, line = newest(str(cut))
    assert (result.path_count, line != "") == (3 * BLOCK, True)


# ---- show
def test_a_stored_run_is_shown_as_it_was_printed(tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    options = ("--stats", "mean,kurtosis,es975", "--intervals")
    given = ("textbook", "--paths", "140000", "--backend", "native", "--seed", "3")
    printed = command("run", *given, "--probability", EVENTS[0], "--out", out, *options)
    shown = invoke(show_command, out, *options)
    assert shown.exit_code == 0, shown.output
    assert shown.stdout == printed.stdout
    told = json.loads(invoke(show_command, out, "--format", "json").stdout)
    again = json.loads(
        command("run", *given, "--probability", EVENTS[0], "--format", "json").stdout
    )
    assert told | {"seconds": 0} == again | {"seconds": 0}


def test_what_cannot_be_shown_is_said_in_a_line(place: Path) -> None:
    (line,) = refused(show_command, place)
    assert "no run lies there" in line
    (line,) = refused(show_command, place / "part0", "--stats", "nonsense")
    assert "nonsense" in line
    (place / "part0" / "moments.parquet").write_bytes(b"")
    (line,) = refused(show_command, place / "part0")
    assert "moments.parquet: is damaged" in line


# ---- the list
def test_the_list_of_runs(place: Path) -> None:
    """Each with its state; only a run whose lock is held is running."""
    (place / "deep" / "er").mkdir(parents=True)
    (place / "part0").rename(place / "deep" / "er" / "part0")
    part(place / "stopped", batch=BLOCK, interrupted=lambda: "SIGTERM")
    running(place / "cut", 2)
    running(place / "busy", 1)
    lines = {e.folder: e for e in find_runs(str(place))}
    assert list(lines) == sorted(
        ["busy", "cut", "deep/er/part0", "part1", "part2", "stopped", "whole"]
    )
    with open(place / "busy" / LOCK) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lines = {e.folder: e for e in find_runs(str(place))}
        table = invoke(runs_command, place)
    states = {name: (e.status, e.paths, e.wanted) for name, e in lines.items()}
    assert states == {
        "busy": ("running", BLOCK, PATHS),
        "cut": ("cut off", 2 * BLOCK, PATHS),
        "deep/er/part0": ("finished", BLOCK, BLOCK),
        "part1": ("finished", 2 * BLOCK, 2 * BLOCK),
        "part2": ("finished", PATHS - 3 * BLOCK, PATHS - 3 * BLOCK),
        "stopped": ("stopped", BLOCK, PATHS),
        "whole": ("finished", PATHS, PATHS),
    }
    assert not any(e.problem for e in lines.values())
    whole = load_run(place / "whole").metrics["private_credit.loss"]
    entry = lines["whole"]
    assert (entry.seed, entry.backend, entry.scenario) == (4, "native", "textbook")
    assert (entry.metric, entry.mean, entry.es99) == (
        "private_credit.loss", whole["mean"], whole["es99"],
    )  # fmt: skip
    assert lines["busy"].mean == part(None, paths=BLOCK).metrics["private_credit.loss"]["mean"]
    assert entry.size == sum(f.stat().st_size for f in (place / "whole").iterdir())
    assert table.exit_code == 0, table.output
    for text in ("deep/er/part0", "131k of 267k", "cut off", "running"):
        assert text in table.stdout
    assert max(map(len, table.stdout.splitlines())) <= 100


def test_what_cannot_be_read_is_named_with_why(place: Path) -> None:
    (place / "part0" / "sample.parquet").write_bytes(b"short")
    (place / "part1" / MANIFEST).write_text('{"format": 2}')
    (place / "part2" / MANIFEST).unlink()
    done = invoke(runs_command, place)
    assert done.exit_code == 0, done.output
    lines = [x for x in done.stdout.splitlines() if x.startswith("cannot be read: ")]
    assert [x.split(": ")[1] for x in lines] == ["part0", "part1", "part2"]
    assert "sample.parquet: is damaged" in lines[0]
    assert "is damaged" in lines[1]
    assert "no run lies there" in lines[2]
    assert "whole" in done.stdout
    told = json.loads(invoke(runs_command, place, "--format", "json").stdout)["runs"]
    assert [bool(r.get("problem")) for r in told] == [True, True, True, False]


def test_a_folder_without_runs(tmp_path: Path) -> None:
    done = invoke(runs_command, tmp_path)
    assert (done.exit_code, done.stdout) == (0, f"no runs in {tmp_path}\n")
    (line,) = refused(runs_command, tmp_path / "nowhere")
    assert line == f"{tmp_path / 'nowhere'}: no such folder"
    (line,) = refused(runs_command, "memory://here")
    assert "should be a folder here" in line


def test_the_list_takes_no_lock_from_a_run(place: Path) -> None:
    """Whoever asks whether a lock is held has it for a moment, which a run that begins waits for."""
    with open(place / "whole" / LOCK) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        threading.Timer(0.05, fcntl.flock, (lock, fcntl.LOCK_UN)).start()
        RunFolder.create(place / "whole", {}, {}, {}).close()
    with open(place / "part0" / LOCK) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        with pytest.raises(ConfigError, match="is writing a run there"):
            RunFolder.create(place / "part0", {}, {}, {})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.9, "59 s"), (60, "1 min"), (7199, "1 h"), (86_400 * 3.9, "3 d")],
)
def test_ages(seconds: float, text: str) -> None:
    assert age_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_345, "12 kB"),
        (9.96e6, "10 MB"),
        (2e15, "2,000.0 TB"),
    ],
)
def test_sizes(size: float, text: str) -> None:
    assert size_text(size) == text
