"""Verify a stored run: a sound one holds; whatever is altered in it is found, also where all hashes were made to fit.

Alterations are made in the files themselves, then every SHA-256 in the manifest is computed anew, so that only the
counts, the tables, or computing paths again can tell.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from overbuilt.engine import attestation
from overbuilt.engine import verify_run as verifying
from overbuilt.engine.commands.verify import verify as command
from overbuilt.engine.rounding import ALLOWED
from overbuilt.engine.run_store import load_run, sha256
from overbuilt.engine.scenario import load
from overbuilt.engine.simulate import as_economy, plan, simulate
from overbuilt.engine.system import System, output, parameter
from overbuilt.engine.tails import Tail
from overbuilt.engine.validate import ConfigError
from overbuilt.engine.verify_run import Picked, RunVerification, moved, pick, verify_run
from overbuilt.kernels import backends
from overbuilt.kernels.probe import Fault, Probe

PATHS = 3000
SEED = 11
LOSS = "private_credit.loss"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the textbook on NumPy in float32, as --out writes it."""
    folder = tmp_path_factory.mktemp("runs") / "textbook"
    simulate(load("textbook"), PATHS, SEED, "numpy", "float32", tail=100, sample=2000).save(folder)
    return folder


@pytest.fixture
def run(stored: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stored, tmp_path / "run"))


@pytest.fixture(autouse=True)
def unprobed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe of operations has tests of its own, which take their time."""
    monkeypatch.setattr(verifying, "probe", lambda name, dtype: Probe(name, dtype))


def rehash(folder: Path, **changes: Any) -> None:
    """Make the manifest fit the files again; ``changes`` to the manifest itself."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | changes
    manifest["files"] = {name: sha256(folder / name) for name in manifest["files"]}
    path.write_text(json.dumps(manifest))


def alter(folder: Path, file: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change columns of a Parquet file, and make the manifest fit."""
    table = pq.read_table(folder / file)
    columns = {n: table.column(n).to_numpy().copy() for n in table.column_names}
    change(columns)
    arrays = [pa.array(columns[n]).cast(table.schema.field(n).type) for n in table.column_names]
    pq.write_table(pa.Table.from_arrays(arrays, schema=table.schema), folder / file)
    rehash(folder)


def elsewhere(folder: Path) -> None:
    """As if the run came from a machine whose compiler is not here."""
    manifest = json.loads((folder / "manifest.json").read_text())
    rehash(folder, stamp=manifest["stamp"] | {"library": "numpy 1.0"})


def checks(found: RunVerification) -> dict[str, bool]:
    return {c.name: c.ok for c in found.checks}


# ---- a sound run
def test_a_sound_run_holds_and_is_signed(run: Path) -> None:
    found = verify_run(run, 150, 4)
    assert found.ok, found.lines()
    assert list(checks(found)) == [
        "files",
        "counts",
        "summaries",
        "numpy float64",
        "numpy float32, to the byte",
    ]
    assert not any(c.skipped for c in found.checks)
    assert (found.sampled, found.out) == (150, {"numpy": 0})
    assert found.rows[0].largest < 1e-6
    (entry,) = attestation.read(run)
    assert entry == found.signed
    assert entry["ok"] is True
    assert entry["manifest_sha256"] == sha256(run / "manifest.json")
    assert entry["sampled_paths"] == 150
    assert entry["run_digest"] == load_run(run).digest
    json.dumps(found.as_json(), allow_nan=False)


def test_native_recomputes_a_block_and_the_series(tmp_path: Path) -> None:
    if not (status := backends.status("native")).works:
        pytest.skip(status.why)
    folder = tmp_path / "run"
    simulate(load("textbook"), PATHS, SEED, "native", "float32").save(folder)
    found = verify_run(folder, 50)
    assert found.ok, found.lines()
    own = found.checks[-1]
    assert own.what.endswith("all of block 0, 4 variables by month")

    def change(columns: dict[str, Any]) -> None:
        columns["mean"][7] *= 1 + 1e-12

    alter(folder, "series.parquet", change)
    (line,) = verify_run(folder, 50).lines()
    assert line.startswith("series.parquet: mean of private_credit.loss in month 8 is ")

    blocks = tmp_path / "blocks"
    simulate(load("textbook"), PATHS, SEED, "native", "float32").save(blocks)
    result = load_run(blocks)
    alter(blocks, "blocks.parquet", lambda c: c["sha256"].__setitem__(0, "0" * 64))
    assert result.statistics.hashes[0] != "0" * 64
    rehash(blocks, digest=_digest(blocks))
    lines = verify_run(blocks, 50).lines()
    assert lines == ["block 0: its 3,000 paths have another SHA-256 than blocks.parquet says"]


def _digest(folder: Path) -> str:
    """The digest that the altered table of blocks gives."""
    import hashlib

    table = pq.read_table(folder / "blocks.parquet").to_pydict()
    total = hashlib.sha256()
    for block, digest in zip(table["block"], table["sha256"], strict=True):
        total.update(f"{block}:{digest}\n".encode())
    return total.hexdigest()


def test_a_run_from_the_gpu_box_is_verified_without_one(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = backends.Status("cuda", False, "no CUDA device")
    monkeypatch.setattr(backends.cuda, "status", lambda: gone)
    rehash(run, backend="cuda", stamp={"backend": "cuda", "target": "sm_90"})
    found = verify_run(run, 100)
    assert found.ok, found.lines()
    assert found.checks[-2].name == "numpy float64"
    assert found.checks[-1].skipped == "cuda is not here: no CUDA device"


def test_the_sample_is_random_fixed_by_the_seed_and_has_the_worst(stored: Path) -> None:
    result = load_run(stored)
    a, b, c = pick(result, 100, 1), pick(result, 100, 1), pick(result, 100, 2)
    assert np.array_equal(a.paths, b.paths)
    assert not np.array_equal(a.paths, c.paths)
    tails = result.statistics.metric(LOSS).tails
    assert tails is not None
    values, paths = tails.upper
    at = np.searchsorted(a.paths, paths[: verifying.WORST])
    assert np.array_equal(a.paths[at], paths[: verifying.WORST])
    k = result.statistics.names.index(LOSS)
    assert np.array_equal(a.values[k, at], values[: verifying.WORST])
    assert np.all(np.diff(a.paths.astype(np.int64)) > 0)
    everything = pick(result, 10**6, 1)
    assert everything.sampled == len(result.statistics.sample.paths)


# ---- a run that was altered, its hashes made to fit
def one_value(folder: Path, by: float) -> int:
    """A path of the sample with a loss that is ``by`` of itself off."""
    result = load_run(folder)
    losses = result.statistics.sample.values[result.statistics.names.index(LOSS)]
    at = int(np.argsort(losses)[len(losses) * 3 // 4])  # in no tail
    alter(folder, "sample.parquet", lambda c: c[LOSS].__setitem__(at, c[LOSS][at] * (1 + by)))
    return int(result.statistics.sample.paths[at])


@pytest.mark.parametrize("by", [0.5, 3e-3, 3e-4])
def test_one_altered_value_is_found_on_the_reference_alone(run: Path, by: float) -> None:
    """Far less is in it than what float32 allows of many paths: but rounding cannot do it on that path."""
    path = one_value(run, by)
    elsewhere(run)
    found = verify_run(run, 2000)
    assert checks(found) == {
        "files": True, "counts": True, "summaries": True, "numpy float64": False, "numpy float32, to the byte": True,
    }  # fmt: skip
    assert found.checks[-1].skipped == "another library computed it"
    (line,) = found.lines()
    assert line.startswith(f"{LOSS} on path {path}: ")
    assert "rounding does not explain it" in line
    assert found.signed["ok"] is False


def test_an_altered_last_digit_is_found_on_the_own_backend(run: Path) -> None:
    path = one_value(run, 2e-7)
    found = verify_run(run, 2000)
    assert [name for name, ok in checks(found).items() if not ok] == ["numpy float32, to the byte"]
    (line,) = found.lines()
    assert line.startswith(f"{LOSS} on path {path}: ")
    assert line.endswith(" again")


def test_a_wrong_seed_is_found(run: Path) -> None:
    rehash(run, seed=SEED + 1)
    elsewhere(run)
    found = verify_run(run, 200)
    assert not checks(found)["numpy float64"]
    assert "paths are out of tolerance; " in found.lines()[0]
    assert found.signed["explained_by_rounding"] == {"numpy": 0}


def test_another_parameter_is_found(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    config = manifest["config"]
    config["private_credit"]["copula"] = "student_t"
    rehash(run, config=config)
    found = verify_run(run, 200)
    assert not checks(found)["numpy float64"]
    assert found.checks[-1].skipped == "the model is another program now"


def test_a_missing_block_a_shorter_tail_and_a_wrong_count_are_found(run: Path) -> None:
    def shorter(columns: dict[str, Any]) -> None:
        for name in columns:
            columns[name] = columns[name][:-1]

    alter(run, "tails.parquet", shorter)
    alter(run, "histograms.parquet", lambda c: c["count"].__setitem__(0, c["count"][0] + 1))
    lines = verify_run(run, 50).lines()
    assert any("tail does not hold" in line for line in lines)
    assert any("histogram count 3,001 paths, not 3,000" in line for line in lines)


def test_the_sample_and_the_tails_must_tell_the_same(run: Path) -> None:
    result = load_run(run)
    tails = result.statistics.metric(LOSS).tails
    assert tails is not None
    path = next(int(p) for p in tails.upper[1] if p in result.statistics.sample.paths)
    at = int(np.searchsorted(result.statistics.sample.paths, path))
    alter(run, "sample.parquet", lambda c: c[LOSS].__setitem__(at, c[LOSS][at] - 1))
    (line,) = verify_run(run, 50).lines()
    assert line == f"{LOSS}: path {path} has another value in the sample than in the upper tail"


def test_a_sample_beyond_the_histogram_is_found(run: Path) -> None:
    k = "private_credit.defaults"
    alter(run, "sample.parquet", lambda c: c[k].__setitem__(5, 1e6))
    (line,) = verify_run(run, 50).lines()
    assert line == f"{k}: the sample goes beyond the histogram"


def test_an_altered_summary_is_found(run: Path) -> None:
    text = (run / "summary.csv").read_text().splitlines()
    cells = text[1].split(",")
    cells[2] = repr(float(cells[2]) * (1 + 1e-15))
    (run / "summary.csv").write_text("\n".join([text[0], ",".join(cells), *text[2:]]) + "\n")
    rehash(run)
    (line,) = verify_run(run, 50).lines()
    assert line.startswith("summary.csv: mean of private_credit.loss is ")


def test_a_file_that_is_not_as_written_is_found_and_signed(run: Path) -> None:
    with (run / "sample.parquet").open("r+b") as file:
        file.seek(100)
        file.write(b"\0\0\0\0")
    found = verify_run(run, 50)
    assert checks(found) == {"files": False}
    assert "sample.parquet: is damaged" in found.lines()[0]
    (entry,) = attestation.read(run)
    assert entry["ok"] is False


def test_a_broken_reference_vouches_for_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = Fault("exp", "operation", "numpy", "float64", "x = 1", 1.0, 2.7, 0.6, 1e-15)
    monkeypatch.setattr(verifying, "probe", lambda name, dtype: Probe(name, dtype, [fault]))
    found = verify_run(run, 50)
    assert found.lines() == [str(fault)]


# ---- what rounding explains
class Threshold(System):
    """A hit where a normal number exceeds a level, and what it costs."""

    level = parameter(1.0, "1", "assumption: any")
    cost = output("USD", "what a hit costs")
    other = output("USD", "what has nothing to do with it")

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        z = draw.normal("z")
        return {"cost": xp.where(z > self.level, 5.0 + z, 0.1), "other": xp.exp(z)}


def explained(
    model: Threshold, result: Any, made: Any, path: int, stored: list[float], right: Any
) -> bool:
    """Whether these values of a path pass for what rounding does."""
    again = object.__new__(verifying._Again)
    again.run_, again.economy, again.allowed = result, as_economy(model), ALLOWED[result.dtype]
    again.sizes, again.progress, again.names = np.ones((2, 1)), None, ["numpy"]
    again.done, again.began = 0, 0.0
    again.picked = Picked(np.array([path], np.uint64), np.array([[x] for x in stored]), 1, 0)
    return again._explains(made, 0, right)


def test_what_is_rarer_than_flips_cannot_be_told_from_them() -> None:
    """A level that no path reaches: a hit on one of 3,000 may be a turned decision in float32, and never in float64."""
    model = Threshold(level=30.0)
    made = plan(as_economy(model), "numpy", "float64", 1)
    right = made.run(3, 0, 1).metrics[:, 0]
    for dtype, may in (("float32", True), ("float64", False)):
        result = simulate(model, 3000, 3, "numpy", dtype, months=1)
        assert explained(model, result, made, 0, [35.0, float(right[1])], right) is may
        assert not explained(model, result, made, 0, [35.0, float(right[1]) * 1.01], right)


def test_rounding_explains_a_near_hit_and_nothing_else() -> None:
    """A level that lies a part in 10^8 below a path's number: in float32 the hit may be missed, on that path."""
    drawn = plan(Threshold(level=-100.0), "numpy", "float64", 1).run(3, 0, 200)
    z = drawn.metrics[0] - 5.0
    near = int(np.argmin(np.abs(z - 0.7)))
    model = Threshold(level=float(z[near]) * (1 - 1e-8))
    economy = as_economy(model)
    made = plan(economy, "numpy", "float64", 1)
    result = simulate(model, 200, 3, "numpy", "float32", months=1)
    right = made.run(3, 0, 200).metrics

    def explains(path: int, cost: float, other: float) -> bool:
        return explained(model, result, made, path, [cost, other], right[:, path])

    other = float(right[1, near])
    assert right[0, near] > 5.0  # the reference hits
    assert explains(near, 0.1, other)
    assert not explains(near, 0.1, other * 1.01)
    assert not explains(near, 9.0, other)
    away = int(np.argmin(np.abs(z + 0.5)))
    assert explains(away, 0.1, float(right[1, away]))
    assert not explains(away, float(z[away]) + 5.0, float(right[1, away]))


def test_moved_inputs_are_moved_and_nothing_else() -> None:
    economy = load("textbook").economy
    made = moved(economy, 1e-6, np.random.default_rng(1))
    assert made.ints == economy.ints
    for name, value in economy.reals.items():
        assert abs(made.reals[name] - value) <= 6e-6 * abs(value)
        assert value == 0.0 or made.reals[name] != value
    for name, column in economy.columns.items():
        assert np.array_equal(made.columns[name], column) == (column.dtype.kind == "i")


# ---- the chain
def test_verifications_are_a_chain(run: Path) -> None:
    first = verify_run(run, 20).signed
    second = verify_run(run, 30, 1).signed
    assert (first["previous"], second["previous"]) == (None, first["sha256"])
    assert [e["sampled_paths"] for e in attestation.read(run)] == [20, 30]
    assert not list(run.glob(".verification*"))


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v[0].update(ok=False),
        lambda v: v.pop(0),
        lambda v: v.reverse(),
        lambda v: v[1].pop("previous"),
    ],
)
def test_an_altered_verification_is_found(run: Path, change: Callable[[Any], Any]) -> None:
    for k in (20, 30):
        verify_run(run, k)
    path = run / attestation.FILE
    whole = json.loads(path.read_text())
    change(whole["verifications"])
    path.write_text(json.dumps(whole))
    before = path.read_bytes()
    with pytest.raises(
        ConfigError, match=r"verification\.json: (entry \d is not as it was written|is damaged)"
    ):
        verify_run(run, 20)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 1}', '{"format": 7, "verifications": []}', "\xff"]
)
def test_a_file_that_is_no_chain_is_refused(run: Path, text: str) -> None:
    (run / attestation.FILE).write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError):
        attestation.read(run)


# ---- the command
def test_the_command_on_a_run(run: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(command, [str(run), "--paths", "40"])
    assert done.exit_code == 0, done.output
    assert "the run holds" in done.stdout
    assert "40 random paths (--seed 0)" in done.stdout
    done = runner.invoke(command, [str(run), "--paths", "40", "--format", "json"])
    assert json.loads(done.stdout)["ok"] is True
    one_value(run, 0.5)
    done = runner.invoke(command, [str(run), "--paths", "2000"])
    assert done.exit_code == 1
    assert "DOES NOT HOLD" in done.stdout
    assert "overbuilt replay" in done.stdout


def test_the_command_says_what_is_wrong_with_its_arguments(run: Path, tmp_path: Path) -> None:
    def lines(*options: str) -> list[str]:
        done = CliRunner().invoke(command, list(options))
        assert done.exit_code == 2
        return done.stderr.splitlines()

    folder = str(run)
    assert lines(
        folder, "--dtype", "float64", "--months", "3", "--paths", "0", "--backends", "cud"
    ) == [
        "error: --dtype: is the run's own; leave it out, or name a scenario",
        "error: --months: is the run's own; leave it out, or name a scenario",
        "error: paths = 0: should be a whole number above 0",
        "error: --backends 'cud': unknown; did you mean 'cuda'?",
    ]
    assert lines(folder, "--backends", "numpy,numpy") == [
        "error: --backends numpy: is named 2 times; once will do"
    ]
    assert lines(folder, "--backends", ",") == [
        "error: --backends: should name at least one backend"
    ]
    (run / "manifest.json").write_text("{")
    assert lines(folder)[0].endswith("manifest.json: is damaged; it should be JSON")


def test_a_run_from_python_has_nothing_to_compute_it_from(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    simulate(Threshold(), 100, 0, "numpy").save(folder)
    with pytest.raises(ConfigError, match="was run from Python"):
        verify_run(folder, 10)
    assert not (folder / attestation.FILE).exists()


def test_an_unfinished_run_is_refused(run: Path) -> None:
    rehash(run, status="running")
    with pytest.raises(ConfigError, match="is not finished; go on with overbuilt run --resume"):
        verify_run(run, 10)


def test_another_set_of_metrics_is_found(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = load_run(run)
    names = result.statistics.names
    other = load("textbook").economy
    other.metrics = names[:-1]
    found = RunVerification(str(run), result, 10, 0)
    again = verifying._Again(found, result, ["numpy"], None)
    again.economy = other
    again.run()
    assert found.lines() == ["the model reports other metrics now than when it was run"]


def test_a_run_without_a_finite_path_has_nothing_to_compute(run: Path) -> None:
    result = load_run(run)
    result.statistics.sample = type(result.statistics.sample)(10, 3)
    result.statistics.tails = {n: (Tail(5, 1), Tail(5, -1)) for n in result.statistics.names}
    found = RunVerification(str(run), result, 10, 0)
    verifying._Again(found, result, ["numpy"], None).run()
    assert found.lines() == [
        "no path of the run has a finite state: there is nothing to compute again"
    ]
