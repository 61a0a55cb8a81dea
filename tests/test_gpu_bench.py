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
    import gpu_page
    import gpu_rows
    import gpu_run
    import gpu_suite

    return SimpleNamespace(
        check=gpu_check, compile=gpu_compile, models=gpu_models, page=gpu_page, rows=lambda: gpu_rows.read(place), run=gpu_run,
        suite=gpu_suite,
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
    assert [r["check"] for r in rows] == [
        *["shapes"] * 2, *["pieces"] * 2, "memory", "devices", *["tiny"] * 3
    ]  # fmt: skip
    assert all(r["passed"] for r in rows), rows
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

    rivals = [contestant("ours", 2.0, 100.0), bench.suite.Contestant("absent", absent, 1.0), contestant("slow", 4.0, 20.0)]  # fmt: skip
    bench.suite.contest("case", "paths", rivals)
    missing, ours, slow = bench.rows()
    assert calls == ["ours", "slow"] * (1 + bench.suite.ROUNDS)  # each is called once before
    assert missing["contestant"] == "absent"
    assert missing["error"] == "ImportError: no such library"
    assert (ours["rate"], slow["rate"]) == (50_000.0, 5_000.0)
    assert slow["ours_over_it"] == pytest.approx(10.0)
    assert slow["rounds"] == bench.suite.ROUNDS


def test_our_kernel_is_timed(bench: Any, small: Callable[..., Box]) -> None:
    box = small()
    from_start = bench.suite.from_start_to_end("base", 400, 400.0)
    other = bench.suite.from_start_to_end("loans", 400, 400.0)
    bench.suite.contest("base", "paths", [bench.suite.ours("base", 500, 500.0), from_start, other], same=True)  # fmt: skip
    row, whole, wrong = bench.rows()
    assert row["ms"] > 0
    assert row["passed"]
    assert whole["passed"]
    assert not wrong["passed"]  # another law
    assert (row["paths"], row["path_months"], row["kernel"]) == (500, 1000, "base")
    assert [x.count for x in box.launches if x.count == 500] == [500] * (1 + bench.suite.ROUNDS)


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
        step_of(bench, "hangs", hangs, seconds=3),
        step_of(bench, "dies", "import gpu_rows, os; gpu_rows.write(check='second'); os.abort()"),
        step_of(bench, "absent", "", needs="no-such-tool"),
        step_of(bench, "good", "import gpu_rows; gpu_rows.write(check='third'); print('said')"),
    ]
    kept: list[int] = []
    began = time.monotonic()
    done = bench.run.perform(plan, tmp_path, 1.0, lambda rows: kept.append(len(rows)))
    assert time.monotonic() - began < 40
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
    sass.write_text(json.dumps({"rows": [{"kernel": "rng normal", "month": 2000}, {"kernel": "base", "error": "x"}]}))  # fmt: skip
    row = {"kernel": "rng normal", "processors": 132, "path_months": 1e7, "ms": 1.0}
    other = {"kernel": "base", "processors": 132, "path_months": 1e7, "ms": 1.0}
    done = [{"step": "a", "rows": [row, other]}, {"step": "b", "left out": "no time"}]
    bench.run.shares(done, sass, [{"clocks.max.sm": "1980 MHz"}])
    assert row["limit"] == pytest.approx(3.345e13, rel=1e-3)
    assert row["share"] == pytest.approx(2000 * 1e10 / 3.345e13, rel=1e-3)
    assert "share" not in other


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
        {"case": "trio", "contestant": "JAX", "ms": 9.0, "rate": 1e8, "unit": "paths/s", "ours_over_it": 5.0},
        {"case": "trio", "contestant": "absent", "error": "ImportError: no"},
    ]  # fmt: skip
    result = {
        "machine": {"gpus": [{"name": "NVIDIA H200", "driver_version": "580"}]}, "commit": "abc", "command": "bench/gpu.sh",
        "steps": [{"step": "one", "late": False, "rows": rows}, {"step": "two", "left out": "no time was left"}],
    }  # fmt: skip
    (tmp_path / "nvidia-h200.json").write_text(json.dumps(result))
    text = bench.page.page(tmp_path)
    assert "## NVIDIA H200\n" in text
    assert "driver_version 580; commit abc; `bench/gpu.sh`. Checks: 1 passed, 1 failed (pieces base)." in text  # fmt: skip
    assert "Not done, or not to the end: two." in text
    assert "| trio | ours | 2 | 5.000e+08 | paths |  | 61 % |" in text
    assert "| trio | JAX | 9 | 1.000e+08 | paths | 5 |  |" in text
    assert "| trio | absent | ImportError: no |" in text
    assert "Nothing yet" not in text
    assert "Nothing yet" in bench.page.page(tmp_path / "empty")


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
