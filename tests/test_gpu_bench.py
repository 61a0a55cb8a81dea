"""bench/gpu.sh and what it runs, without a GPU: its dry run, its checks on a CuPy that computes on the CPU, its time limits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from overbuilt.kernels.backends import cuda

from .fake_cupy import Box, fake

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The suite's modules, and the rows that they write."""
    monkeypatch.syspath_prepend(str(BENCH))
    place = tmp_path / "rows"
    monkeypatch.setenv("OVERBUILT_BENCH_ROWS", str(place))
    import gpu_check
    import gpu_compile
    import gpu_models
    import gpu_needs
    import gpu_page
    import gpu_peers
    import gpu_rows
    import gpu_run
    import gpu_suite

    return SimpleNamespace(
        check=gpu_check, compile=gpu_compile, models=gpu_models, needs=gpu_needs, page=gpu_page, peers=gpu_peers,
        rows=lambda: gpu_rows.read(place), run=gpu_run, suite=gpu_suite,
    )  # fmt: skip


@pytest.fixture
def small(bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Box]:
    """The checks on small models, and on a box of GPUs."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ here")
    for name, value in (("MONTHS", 2), ("DRAWS", 4)):
        monkeypatch.setattr(bench.models, name, value)
    for name, kind in (("trio", "normal"), ("base", "below"), ("loans", "uniform")):
        monkeypatch.setitem(bench.compile.KERNELS, name, ("rng", {"kind": kind}))
    monkeypatch.setattr(bench.check, "PATHS", 140_000)
    monkeypatch.delenv(cuda.DEVICES_VARIABLE, raising=False)
    monkeypatch.setattr(cuda.importlib.util, "find_spec", lambda name: object())

    def make(*kinds: str) -> Box:
        box = Box(tmp_path, list(kinds or ("90",)))
        monkeypatch.setitem(sys.modules, "cupy", fake(box))
        return box

    return make


# ---- the checks can pass, and fail
def test_the_checks_pass_where_all_is_well(bench: Any, small: Callable[..., Box]) -> None:
    box = small("90", "90")
    for name in ("shapes", "pieces", "memory", "devices", "tiny"):
        bench.check.CHECKS[name]()
    rows = bench.rows()
    checks, ran = rows[:6], rows[6:]
    assert [r["check"] for r in checks] == [*["shapes"] * 2, *["pieces"] * 2, "memory", "devices"]
    assert all(r["passed"] for r in checks), checks
    assert ran == [{"ran": name} for name in ("trio", "loans", "base")]  # no check
    assert {x.threads for x in box.launches} == {32, 64, 96, 128, 256}


@pytest.mark.parametrize("name", ["shapes", "pieces", "memory", "devices"])
def test_the_checks_fail_where_a_launch_is_wrong(
    bench: Any, small: Callable[..., Box], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A GPU whose results hang on how many launches there were before."""
    box = small("90", "90")
    launched = cuda.CudaKernel._launch

    def wrong(self: Any, *given: Any) -> Any:
        metrics, bad = launched(self, *given)
        metrics[...] = len(box.launches)
        box.current[-1].synchronize()
        metrics[..., -1] = len(box.launches)
        return metrics, bad

    monkeypatch.setattr(cuda.CudaKernel, "_launch", wrong)
    bench.check.CHECKS[name]()
    assert not any(r["passed"] for r in bench.rows())


def test_the_agreement_of_backends(
    bench: Any, small: Callable[..., Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    small()
    monkeypatch.setattr("overbuilt.kernels.backends.jax.status", lambda: SimpleNamespace(works=False))  # fmt: skip
    bench.check.agree()
    good = bench.rows()
    assert {(r["model"], r["backend"], r["dtype"]) for r in good if r["backend"] == "cuda"} == {
        (m, "cuda", d) for m in ("trio", "base") for d in ("float32", "float64")
    }
    assert all(r["passed"] for r in good), good
    monkeypatch.setattr(bench.check, "TOLERANCE", {"float32": 1e-12, "float64": -1.0})
    bench.check.agree()
    later = [r for r in bench.rows()[len(good) :] if r["model"] == "trio"]
    assert later
    assert not any(r["passed"] for r in later)


# ---- the suite
def test_contestants_take_turns(bench: Any) -> None:
    calls: list[str] = []

    def contestant(name: str, ms: float, work: float) -> Any:
        def call(seed: int) -> float:
            calls.append(name)
            return ms

        return bench.suite.Contestant(name, lambda: call, work)

    def absent() -> Any:
        raise ImportError("no such library")

    def broken() -> Any:
        raise RuntimeError("no kernel")

    host = contestant("ours to the host", 5.0, 100.0)
    host.timed = bench.suite.TO_HOST
    rivals = [bench.suite.Contestant("absent", absent, 1.0), contestant("slow", 4.0, 20.0), bench.suite.Contestant("broken", broken, 1.0)]  # fmt: skip
    bench.suite.contest("case", "paths", [contestant("ours", 2.0, 100.0), host], rivals)
    ours, run, missing, slow, failed = bench.rows()
    engine = ["ours", "ours to the host"]
    rounds = bench.suite.ROUNDS
    assert calls == [*engine * (1 + rounds), "slow", *[*engine, "slow"] * rounds]  # once before
    assert missing == {"case": "case", "contestant": "absent", "left_out": "no such library"}
    assert failed["error"] == "RuntimeError: no kernel"
    assert (ours["rate"], run["rate"], slow["rate"]) == (50_000.0, 20_000.0, 5_000.0)
    assert (ours["timed"], run["timed"], slow["timed"]) == ("kernel", "to the host", "kernel")
    assert slow["ours_over_it"] == pytest.approx(10.0)
    assert slow["our_run_over_it"] == pytest.approx(4.0)
    assert slow["rounds"] == rounds


def test_there_are_no_ratios_where_ours_fails(bench: Any) -> None:
    def broken() -> Any:
        raise ImportError("no kernel")

    rival = bench.suite.Contestant("rival", lambda: lambda seed: 2.0, 10.0)
    bench.suite.contest("case", "paths", [bench.suite.Contestant("ours", broken, 1.0)], [rival])
    failed, row = bench.rows()
    assert failed["error"] == "ImportError: no kernel"  # ours is not left out
    assert row["rate"] == 5000.0
    assert not {"ours_over_it", "our_run_over_it"} & row.keys()


def test_all_contestants_of_trio_have_the_same_paths(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []
    monkeypatch.setattr(bench.suite, "contest", lambda case, unit, engine, rivals=(), same=False: found.append((engine, rivals, same)))  # fmt: skip
    for case in ("trio", "trio_jax", "loans"):
        bench.suite.CASES[case]()
    for engine, rivals, same in found:
        assert same
        assert len({(c.work, c.about["paths"]) for c in (*engine, *rivals)}) == 1
        assert rivals
    assert all(r.timed == bench.suite.TO_HOST for r in found[1][1])
    assert any("expert" in r.name for r in found[1][1])


def test_our_kernel_is_timed(bench: Any, small: Callable[..., Box]) -> None:
    box = small()
    from_start = bench.suite.from_start_to_end("base", 400, 400.0)
    other = bench.suite.from_start_to_end("loans", 400, 400.0)
    bench.suite.contest("base", "paths", [bench.suite.ours("base", 500, 500.0), from_start], [other], same=True)  # fmt: skip
    row, whole, wrong = bench.rows()
    assert row["ms"] > 0
    assert "passed" not in row  # all others are compared with it
    assert whole["passed"]
    assert not wrong["passed"]  # another law
    assert (row["paths"], row["path_months"], row["kernel"]) == (500, 1000, "base")
    assert [x.count for x in box.launches if x.count == 500] == [500] * (1 + 2 * bench.suite.ROUNDS)


# ---- steps
def step_of(bench: Any, name: str, code: str, seconds: int = 20, **more: Any) -> Any:
    return bench.run.Step(name, (sys.executable, "-c", code), seconds, **more)


def gone(process: int) -> bool:
    """Whether it ends within ten seconds; one that only waits to be taken away has ended."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


def test_steps_end_in_time_and_keep_their_rows(bench: Any, tmp_path: Path) -> None:
    """A step that hangs is stopped with its children, and what it found before stays."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("no /proc here")
    child = tmp_path / "child"
    hangs = (
        "import gpu_rows, subprocess, sys, time; gpu_rows.write(check='first', passed=True); "
        f"p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); open({str(child)!r}, 'w').write(str(p.pid)); "
        "time.sleep(600)"
    )
    plan = [
        step_of(bench, "behind", "import gpu_rows; gpu_rows.write(check='behind')", behind=True),
        step_of(bench, "hangs", hangs, seconds=15),
        step_of(bench, "dies", "import gpu_rows, os; gpu_rows.write(check='second'); os.abort()"),
        step_of(bench, "absent", "", needs="no-such-tool"),
        step_of(bench, "good", "import gpu_rows; gpu_rows.write(check='third'); print('said')"),
    ]
    kept: list[int] = []
    done = bench.run.perform(plan, tmp_path, 5.0, lambda rows: kept.append(len(rows)))
    assert kept == [1, 2, 3, 4, 5]
    by = {s["step"]: s for s in done}
    assert by["hangs"]["late"]
    assert by["hangs"]["rows"] == [{"check": "first", "passed": True}]
    assert gone(int(child.read_text()))
    assert by["dies"]["exit"] < 0
    assert by["dies"]["rows"] == [{"check": "second"}]
    assert by["absent"] == {"step": "absent", "left out": "no-such-tool is not here"}
    assert by["good"]["exit"] == 0
    assert "said" in by["good"]["tail"]
    assert by["behind"]["rows"] == [{"check": "behind"}]


def test_what_there_is_no_time_for_is_left_out(bench: Any, tmp_path: Path) -> None:
    plan = [step_of(bench, "one", "pass"), step_of(bench, "two", "pass")]
    done = bench.run.perform(plan, tmp_path, 0.01, lambda rows: None)
    assert [s["left out"] for s in done] == ["no time was left"] * 2


def test_the_share_of_the_issue_limit(bench: Any, tmp_path: Path) -> None:
    """132 multiprocessors at 1.98 GHz issue 3.345e13 thread instructions a second."""
    sass = tmp_path / "sass.json"
    sass.write_text(json.dumps({"rows": [{"kernel": "rng normal", "month": 2000}, {"kernel": "trio", "month": 900}, {"kernel": "base", "error": "x"}]}))  # fmt: skip
    row = {"kernel": "rng normal", "processors": 132, "path_months": 1e7, "ms": 1.0}
    other = {"kernel": "base", "processors": 132, "path_months": 1e7, "ms": 1.0}
    loops = {"kernel": "trio", "processors": 132, "path_months": 1e7, "ms": 1.0}
    done = [{"step": "a", "rows": [row, other, loops]}, {"step": "b", "left out": "no time"}]
    bench.run.shares(done, sass, [{"clocks.max.sm": "1980 MHz"}])
    assert row["limit"] == pytest.approx(3.345e13, rel=1e-3)
    assert row["share"] == pytest.approx(2000 * 1e10 / 3.345e13, rel=1e-3)
    assert "share" not in other
    assert "share" not in loops  # its month is not straight code
    assert loops["month_instructions"] == 900
    assert "loops" in loops["no_share"]


def test_machine_names(bench: Any) -> None:
    one = {"name": "NVIDIA H200"}
    assert bench.run.named([one]) == "nvidia-h200"
    assert bench.run.named([one, one]) == "nvidia-h200-x-2"
    assert bench.run.named([]) == "no-gpu"


# ---- the page
def test_the_page_shows_the_files_that_are_kept(bench: Any) -> None:
    assert bench.page.PAGE.read_text(encoding="utf-8") == bench.page.page()


def test_a_gpu_on_the_page(bench: Any, tmp_path: Path) -> None:
    """What it did, what failed, and what there was no time for."""
    rows = [
        {"check": "pieces", "model": "base", "passed": False},
        {"check": "probe", "passed": True},
        {"case": "trio", "contestant": "ours", "ms": 2.0, "rate": 5e8, "unit": "paths/s", "share": 0.61},
        {"case": "trio", "contestant": "JAX", "timed": "to the host", "ms": 9.0, "rate": 1e8, "unit": "paths/s", "ours_over_it": 5.0, "our_run_over_it": 4.0},
        {"case": "trio", "contestant": "absent", "left_out": "no library"},
        {"case": "trio", "contestant": "broken", "error": "RuntimeError: no"},
        {"compiled": "base", "seconds": 3.0},
    ]  # fmt: skip
    result = {
        "machine": {"gpus": [{"name": "NVIDIA H200", "driver_version": "580"}]}, "commit": "abc", "command": "bench/gpu.sh",
        "steps": [
            {"step": "one", "exit": 0, "late": False, "rows": rows}, {"step": "two", "left out": "no time was left"},
            {"step": "replay", "exit": 1, "late": False, "rows": []}, {"step": "slow", "exit": -9, "late": True, "rows": []},
        ],
    }  # fmt: skip
    (tmp_path / "nvidia-h200.json").write_text(json.dumps(result))
    text = bench.page.page(tmp_path)
    assert "## NVIDIA H200\n" in text
    assert "driver_version 580; commit abc; `bench/gpu.sh`. Checks: 1 passed, 1 failed (pieces base)." in text  # fmt: skip
    assert "**Failed steps:** replay (exit 1)." in text
    assert "Out of time: slow." in text
    assert "Left out: two (no time was left)." in text
    assert "| trio | ours |  | 2 | 5.000e+08 | paths |  |  | 61 % |" in text
    assert "| trio | JAX | to the host | 9 | 1.000e+08 | paths | 5 | 4 |  |" in text
    assert "| trio | absent | left out: no library |" in text
    assert "| trio | broken | RuntimeError: no |" in text
    assert "Nothing yet" not in text
    assert "Nothing yet" in bench.page.page(tmp_path / "empty")


# ---- what is missing
def test_the_packages_of_what_is_missing(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"numpy", "nvdisasm"}
    monkeypatch.setattr(bench.needs, "has", lambda name: name in there)
    needed = bench.needs.packages(bench.needs.NEEDED)
    assert "numpy" not in needed
    assert {"pyarrow", "pandas", "cupy-cuda13x>=14", "cuda-toolkit[cudart,nvrtc]==13.*"} <= set(needed)  # fmt: skip
    wanted = bench.needs.packages(bench.needs.WANTED)
    assert wanted == ["pytest", "pytest-xdist", "cuda-toolkit[cccl,curand]==13.*"]  # none for JAX


def test_headers_are_those_of_wheels_or_of_a_toolkit(
    bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "site-packages" / "nvidia" / "cu13" / "include"
    place.mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site-packages")])
    with pytest.raises(ImportError, match="of_no_toolkit"):
        bench.peers.headers("of_no_toolkit.h")
    (place / "of_no_toolkit.h").touch()
    assert bench.peers.headers("of_no_toolkit.h") == [str(place), str(place / "cccl")]


# ---- the machine code
LISTING = """
.text.ob_run:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
.L_x_1:
        /*0010*/                   IMAD.WIDE.U32 R2, R5, UR4, R2 ;
.L_x_2:
        /*0020*/               @P0 FFMA R4, R4, R5, R6 ;
        /*0030*/                   LDL R7, [R1+0x10] ;
        /*0040*/                   MUFU.RSQ R8, R7 ;
        /*0050*/              @!P1 BRA `(.L_x_2) ;
        /*0060*/                   BRA `(.L_x_3) ;
.L_x_3:
        /*0070*/               @P2 BRA `(.L_x_1) ;
        /*0080*/                   EXIT ;
"""


def test_the_month_is_the_innermost_large_loop(bench: Any) -> None:
    found = bench.compile.listed(LISTING)
    assert [i.address for i in found] == list(range(0, 0x90, 0x10))
    assert [i.target for i in found if i.target is not None] == [0x20, 0x70, 0x10]
    assert [i.address for i in bench.compile.month(found)] == [0x20, 0x30, 0x40, 0x50]
    kinds = [bench.compile.kind(i.name) for i in found]
    assert kinds == ["memory", "wide multiply", "float32", "local", "special", *["control"] * 4]


def test_what_was_counted_in_the_same_text_is_known(bench: Any, tmp_path: Path) -> None:
    row = {"text": "ab", "arch": "sm_90", "dtype": "float32", "threads": 128, "residents": 0}
    counts = {"instructions": 9, "month": 5, "by class": {"integer": 5}}
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"rows": [row, row | counts]}))
    assert bench.compile.known(row, report) == counts | {"counted": "report.json"}
    assert bench.compile.known(row | {"text": "other"}, report) == {}
    assert bench.compile.known(row | {"arch": "sm_80"}, report) == {}
    assert bench.compile.known(row, tmp_path / "none.json") == {}


def test_the_dry_run_compiles_without_a_gpu(bench: Any) -> None:
    if bench.compile.compiler() is None:
        pytest.skip("no CUDA compiler here")
    done = subprocess.run(
        ["bash", str(BENCH / "gpu.sh"), "--dry-run", "--only", "rng uniform"],
        capture_output=True, text=True, timeout=300, check=False, env=os.environ | {"PYTHON": sys.executable},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "warm: compile all kernels" in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.startswith("| rng uniform | sm_90 |")]
    assert len(rows) == 2
    for row in rows:
        registers, stack, stores, loads = (int(c.replace(",", "")) for c in row.split("|")[4:8])
        assert 16 <= registers <= 255
        assert (stack, stores, loads) == (0, 0, 0)
