"""Runs on a Dask cluster give the bytes of one machine, whatever happens to the workers.

Nothing here is a statistical test. One cluster of two workers serves all tests but one; a test that interferes with
a worker does so by replacing functions in its process, and puts them back.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import overbuilt
from overbuilt.engine import cluster, cluster_client, cluster_runner, cluster_worker
from overbuilt.engine.checkpoint import pack, unpack
from overbuilt.engine.cluster_worker import bounds_of, prune
from overbuilt.engine.run_store import load_run
from overbuilt.engine.scenario import Scenario
from overbuilt.engine.statistics import BLOCK, Statistics
from overbuilt.engine.validate import ConfigError
from overbuilt.kernels.backends import native
from overbuilt.kernels.backends.base import BackendError, LaunchError

from .refusals import overbuilt as command
from .refusals import refused

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.skipif(native.compiler() is None, reason="no C++ compiler here")

PATHS = 9 * BLOCK + 1000
BOOK = """loan,sector,rating,exposure_usd_bn,pd_1y,rho_residual,lgd,beta_rental,beta_spread,beta_window,beta_displacement,start_month,end_month,loss_computed_by
"""
BOOK += "".join(
    f"L{i:02},software,BB,{1 + i % 5}.5,0.0{1 + i % 7},0.2,0.4,0.0,0.0,0.0,0.0,0,12,private_credit\n"
    for i in range(24)
)


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    """Two workers of a thread each, and what else a test needs to interfere with them."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0,
            silence_logs=60, env={"OVERBUILT_THREADS": "1"},
        ) as made,
        distributed.Client(made, set_as_default=False) as client,
    ):  # fmt: skip
        made.client = client
        yield made


@pytest.fixture
def altered(workers: Any, tmp_path: Path) -> Iterator[Callable[..., list[str]]]:
    """Replaces things in ``cluster_worker`` of the first ``count`` workers, whose addresses it gives.

    The code finds the module as ``w`` and a file's name as ``go``: what waits for the file goes on with the test's end.
    """
    go = tmp_path / "go"
    begin = "import os, time\nimport overbuilt.engine.cluster_worker as w\n"

    def alter(code: str, count: int = 1) -> list[str]:
        chosen = sorted(workers.client.nthreads())[:count]
        keep = "w.kept = dict(vars(w)) if not hasattr(w, 'kept') else w.kept\n"
        text = f"{begin}{keep}go = {str(go)!r}\n{code}"
        workers.client.run(exec, text, {}, workers=chosen)
        return chosen

    yield alter
    go.touch()
    undo = "w._prepared.clear()\nvars(w).update(getattr(w, 'kept', {}))\nvars(w).pop('kept', 0)\n"
    workers.client.run(exec, begin + undo, {})


SLOW = """
def wait(*given):
    while not os.path.exists(go): time.sleep(0.02)
    return w.kept["work"](*given)
w.work = wait
"""


SLOW_AT = """
def wait(runner, *given):
    while runner.first <= {block} * w.BLOCK < runner.paths and not os.path.exists(go): time.sleep(0.02)
    return w.kept["work"](runner, *given)
w.work = wait
"""


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return overbuilt.load("textbook")


@pytest.fixture(scope="module")
def whole(scenario: Scenario, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one machine."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    overbuilt.simulate(scenario, PATHS, 7, "native", out=folder)
    return folder


def run(scenario: Scenario, workers: Any, paths: int = PATHS, **more: Any) -> Any:
    more = {"backend": "native", "seed": 7} | more
    return overbuilt.simulate(scenario, paths, cluster=workers.scheduler_address, **more)


def files(folder: Path) -> dict[str, bytes]:
    """All that a finished run says, but how it was computed."""
    own = ("seconds", "cluster", "stop", "bad_policy", "lost", "passed_over")
    manifest = json.loads((folder / "manifest.json").read_text())
    kept = json.dumps({k: v for k, v in manifest.items() if k not in own}, sort_keys=True)
    found = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".lock"}
    assert len(found) >= 8
    return found | {"manifest.json": kept.encode()}


# ---- the same bytes
def test_local_workers_give_the_files_of_one_machine(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = command(
        "run", "textbook", "--paths", str(PATHS), "--seed", "7", "--backend", "native", "--out", str(folder),
        "--cluster", "local:2",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    assert " of local:2 on " in done.stdout
    assert files(folder) == files(whole)
    again = load_run(folder)
    assert again.cluster is not None
    assert again.cluster["cluster"] == "local:2"
    assert 1 <= again.cluster["workers"] <= 2  # one is enough where the other is slow to begin


def test_books_travel_and_nothing_is_compiled_here(
    workers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loans.csv").write_text(BOOK)
    config = '[private_credit]\nbook = "loans.csv"\n[[limit]]\nmetric = "private_credit.loss.es99"\nmax = 1e4\n'
    (tmp_path / "mine.toml").write_text(f'extends = "textbook"\n{config}')
    mine = overbuilt.load(tmp_path / "mine.toml")
    asked: dict[str, Any] = {"probabilities": ["private_credit.loss > 5"], "tail": 300}
    overbuilt.simulate(mine, PATHS, 7, "native", out=tmp_path / "plain", **asked)
    with monkeypatch.context() as here:
        here.setattr("overbuilt.kernels.backends.compile", lambda *_: pytest.fail("compiled here"))
        got = run(mine, workers, backend="auto", out=tmp_path / "run", **asked)
    assert files(tmp_path / "run") == files(tmp_path / "plain")
    assert got.path_count == PATHS
    plain = load_run(tmp_path / "plain")
    assert got.digest == plain.digest
    assert len(got.paths(["private_credit.loss"])) == PATHS  # only this needs the kernel here


def test_a_stop_rule_looks_where_one_machine_looks(scenario: Scenario, workers: Any) -> None:
    looks: list[list[int]] = [[], []]
    until: dict[str, Any] = {"until": ["private_credit.loss.es99 within 1%"]}
    plain = overbuilt.simulate(
        scenario, 3_000_000, 7, "native", on_look=lambda k: looks[0].append(k.paths), **until
    )
    got = run(scenario, workers, 3_000_000, on_look=lambda k: looks[1].append(k.paths), **until)
    assert looks[0] == looks[1]
    assert len(looks[0]) > 3
    assert got.digest == plain.digest
    assert [t["half"] for t in got.stop["targets"]] == [t["half"] for t in plain.stop["targets"]]


def test_a_range_of_the_paths(scenario: Scenario, workers: Any) -> None:
    part = {"path_range": (2 * BLOCK, 5 * BLOCK - 1)}
    plain = overbuilt.simulate(scenario, PATHS, 7, "native", **part)  # type: ignore[arg-type]
    got = run(scenario, workers, **part)
    assert got.digest == plain.digest
    assert got.series_names == ()


@pytest.mark.parametrize("values", ["reals", "ties"])
def test_what_cannot_be_kept_need_not_be_sent(values: str) -> None:
    rng = np.random.default_rng(1)
    names = ("a", "b")

    def block(number: int) -> Statistics:
        made = Statistics(names, 200, 1000)
        x = rng.normal(size=(2, BLOCK)).astype(np.float32)
        made.add(number, np.round(x) if values == "ties" else x, np.zeros(BLOCK, np.int32))
        return made

    parts = [block(number) for number in (3, 0, 2, 1)]
    plain, got = (Statistics(names, 200, 1000) for _ in range(2))
    sizes = []
    for part in parts:
        plain.merge(unpack(pack(part, 0.0))[0])
        if got.paths:
            prune(part, bounds_of(got))
        sizes.append(len(pack(part, 0.0)))
        got.merge(unpack(pack(part, 0.0))[0])
    assert pack(got, 0.0) == pack(plain, 0.0)
    # the fourth block adds a quarter of 200 to each tail, of 1000 to the sample; of ties, those of lower paths too
    if values == "reals":
        assert sizes[-1] < sizes[0]
        assert len(parts[-1].tails["a"][0].found()[0]) < 100
    assert len(parts[-1].sample.paths) < 350


# ---- workers that die, dawdle or fail
def test_two_workers_are_killed(
    scenario: Scenario, workers: Any, whole: Path, tmp_path: Path
) -> None:
    alive = list(workers.client.run(os.getpid).values())

    def kill(done: int, expected: int, seconds: float) -> None:
        if done >= (5 - 3 * (len(alive) - 1)) * BLOCK and alive:  # after two blocks, after five
            os.kill(alive.pop(), signal.SIGKILL)

    got = run(scenario, workers, progress=kill, out=tmp_path / "run")
    assert alive == []
    assert files(tmp_path / "run") == files(whole)
    assert 1 <= len(got.lost) <= 2  # the second may end the run before it is missed
    assert all("was lost" in line for line in got.lost)


def test_a_straggler_is_overtaken(
    scenario: Scenario, workers: Any, whole: Path, altered: Callable[..., list[str]], tmp_path: Path
) -> None:
    altered(SLOW)
    got = run(scenario, workers, out=tmp_path / "run")
    assert got.cluster["overtaken"] == 1
    assert got.cluster["workers"] == 1
    assert files(tmp_path / "run") == files(whole)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raise w.BackendError('the device fell off the bus')", "the device fell off the bus"),
        ("raise MemoryError", "out of memory"),
        ("raise ValueError('a fault of ours')", "ValueError: a fault of ours"),
    ],
)
def test_a_worker_that_fails_is_given_nothing_more(
    fault: str, said: str, scenario: Scenario, workers: Any, altered: Callable[..., list[str]]
) -> None:
    (failing,) = altered(f"def fail(*given):\n    {fault}\nw.work = fail")
    got = run(scenario, workers)
    assert got.digest == overbuilt.simulate(scenario, PATHS, 7, "native").digest
    (line,) = got.lost
    assert failing in line
    assert said in line


def test_where_all_fail_it_says_who_and_how_to_go_on(
    scenario: Scenario,
    workers: Any,
    whole: Path,
    altered: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "RESTART", 0.0)
    late = "def fail(runner, *given):\n    if runner.first: raise MemoryError\n"
    both = altered(f"{late}    return w.kept['work'](runner, *given)\nw.work = fail", 2)
    with pytest.raises(LaunchError) as refusal:
        run(scenario, workers, out=tmp_path / "run")
    said = str(refusal.value)
    assert all(worker in said for worker in both)
    assert f"overbuilt run --resume {tmp_path / 'run'}" in said
    done = command("run", "--resume", str(tmp_path / "run"))
    assert done.exit_code == 0, done.output
    assert files(tmp_path / "run") == files(whole)


def test_a_worker_that_was_started_again_plans_again(scenario: Scenario, workers: Any) -> None:
    forget = "import overbuilt.engine.cluster_worker as w\nw._prepared.clear()"
    told = []

    def progress(done: int, expected: int, seconds: float) -> None:
        if not told:
            told.append(workers.client.run(exec, forget, {}))

    got = run(scenario, workers, progress=progress)
    assert (got.path_count, got.lost) == (PATHS, [])


# ---- who may take part
def test_workers_that_would_give_other_bytes_are_refused(
    scenario: Scenario, workers: Any, altered: Callable[..., list[str]], tmp_path: Path
) -> None:
    code = "w.identity_of = lambda *given: {**w.kept['identity_of'](*given), 'version': '0.0.9'}"
    (other,) = altered(code)
    with pytest.raises(ConfigError) as refusal:
        run(scenario, workers, out=tmp_path / "run")
    (line,) = refusal.value.problems
    assert line.startswith(f"worker {other} on ")
    assert "version of overbuilt" in line
    assert "'0.0.9' on worker" in line
    assert not (tmp_path / "run").exists()


def test_workers_of_another_version_are_refused_before_they_plan(
    scenario: Scenario, workers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "__version__", "0.2.0")
    with pytest.raises(
        ConfigError, match=r"worker tcp://.*: has overbuilt .*, and here is 0\.2\.0"
    ):
        run(scenario, workers)


def test_workers_without_the_package_are_refused(
    scenario: Scenario, workers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "VERSION", "overbuilt_elsewhere:__version__")
    with pytest.raises(ConfigError, match="overbuilt is not installed there as it is here"):
        run(scenario, workers)


def test_a_backend_that_the_workers_lack(scenario: Scenario, workers: Any) -> None:
    with pytest.raises(ConfigError) as refusal:
        run(scenario, workers, backend="cuda")
    assert all(
        "worker tcp://" in line and "backend cuda" in line for line in refusal.value.problems
    )


def test_paths_are_not_computed_here_with_another_kernel(scenario: Scenario, workers: Any) -> None:
    got = run(scenario, workers, BLOCK)
    got.stamp["compiler"] = "another"
    with pytest.raises(BackendError, match="compiler another"):
        got.paths(["private_credit.loss"])


# ---- cut off, and taken up
def cut(done_blocks: int) -> tuple[Any, Any]:
    """What a run is told to be cut off with, once so many blocks are done."""
    seen = [0]

    def progress(done: int, expected: int, seconds: float) -> None:
        seen[0] = done

    return progress, lambda: "SIGTERM" if seen[0] >= done_blocks * BLOCK else ""


def test_a_run_cut_off_on_a_cluster_ends_on_one_machine(
    scenario: Scenario,
    workers: Any,
    whole: Path,
    altered: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster_runner, "GRACE", 0.1)
    monkeypatch.setattr(cluster_runner, "LATE", 1e9)
    altered(SLOW_AT.format(block=1), 2)
    progress, interrupted = cut(4)
    folder = tmp_path / "run"
    got = run(scenario, workers, progress=progress, interrupted=interrupted, out=folder)
    assert (got.status, got.is_part) == ("stopped", True)
    done = command("run", "--resume", str(folder))
    assert done.exit_code == 0, done.output
    assert files(folder) == files(whole)


def test_a_run_cut_off_on_one_machine_ends_on_a_cluster(
    scenario: Scenario, workers: Any, whole: Path, tmp_path: Path
) -> None:
    progress, interrupted = cut(3)
    asked: dict[str, Any] = {"progress": progress, "interrupted": interrupted}
    folder = tmp_path / "run"
    got = overbuilt.simulate(scenario, PATHS, 7, "native", out=folder, **asked)
    assert got.status == "stopped"
    done = command("run", "--resume", str(folder), "--cluster", workers.scheduler_address)
    assert done.exit_code == 0, done.output
    assert files(folder) == files(whole)


def test_a_stop_rule_with_a_gap_below_looks_at_whole_rounds(
    scenario: Scenario,
    workers: Any,
    altered: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster_runner, "GRACE", 0.1)
    monkeypatch.setattr(cluster_runner, "LATE", 1e9)
    altered(SLOW_AT.format(block=5), 2)  # of the round from 5 blocks to 7
    until: dict[str, Any] = {"until": ["private_credit.loss.es99 within 1%"]}
    progress, interrupted = cut(6)
    folder = tmp_path / "run"
    got = run(
        scenario,
        workers,
        3_000_000,
        progress=progress,
        interrupted=interrupted,
        out=folder,
        **until,
    )
    assert (got.status, got.stop["held"], got.is_part) == ("stopped", False, True)
    looks: list[int] = []
    again = overbuilt.simulate(
        scenario, 3_000_000, 7, "native", out=folder, resume=True,
        on_look=lambda look: looks.append(look.paths), **until,
    )  # fmt: skip
    plain = overbuilt.simulate(scenario, 3_000_000, 7, "native", **until)
    scheduled = {blocks * BLOCK for blocks in (1, 2, 3, 4, 5, 7, 9, 12, 15, 19, 24, 30, 38, 48)}
    assert set(looks) <= scheduled
    assert again.digest == plain.digest


# ---- what is refused
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("--cluster local:0", "local:0"),
        ("--cluster local:many", "local:many"),
        ("--cluster local:9999", "from 1 to 256"),
        ("--cluster tcp://here", "tcp://HOST:PORT"),
        ("--cluster here:8786", "tcp://HOST:PORT"),
        ("--cluster http://here:8786", "tcp://HOST:PORT"),
        ("--cluster local:2 --profile", "--profile"),
        ("--cluster local:2 --fallback", "--fallback"),
    ],
)
def test_bad_clusters_are_refused_in_a_line(arguments: str, named: str) -> None:
    (line,) = refused("run", "textbook", *arguments.split())
    assert named in line


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_client, "CONNECT", 0.3)
    (line,) = refused("run", "textbook", "--cluster", "tcp://127.0.0.1:9")
    assert line == "cluster tcp://127.0.0.1:9: no scheduler answers there within 0.3 seconds"


def test_a_scheduler_that_wants_certificates() -> None:
    (line,) = refused("run", "textbook", "--cluster", "tls://127.0.0.1:9")
    assert "no certificates" in line


def test_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_client.importlib.util, "find_spec", lambda _: None)
    (line,) = refused("run", "textbook", "--cluster", "local:2")
    assert "pip install 'overbuilt[cluster]'" in line


def test_a_model_in_python_is_refused() -> None:
    economy = overbuilt.load("textbook").economy
    with pytest.raises(ConfigError, match="takes a scenario"):
        overbuilt.simulate(economy, 1000, cluster="local:2")


def test_a_worker_says_what_is_wrong_with_a_config(scenario: Scenario) -> None:
    asked: dict[str, Any] = {
        "config": scenario.values | {"months": 0}, "scenario": "textbook", "paths": 1, "seed": 0,
        "backend": "native", "dtype": "float32", "months": 12, "batch": None, "until": [],
        "tail": 10, "sample": 10, "events": [],
    }  # fmt: skip
    answer = cluster_worker.prepare("a", json.dumps(asked), {})
    assert answer["lines"] == ["months = 0: should be a whole number from 1 to 240"]
    assert cluster_worker.compute("a", 0, 1, None)["kind"] == "unknown"
