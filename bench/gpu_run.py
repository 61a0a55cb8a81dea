"""Everything a GPU box is asked, in order of importance, within a time; one result file, whatever fails.

Usage: ``bench/gpu.sh [--dry-run] [--out FILE] [--minutes 8] [--only STEP ...]``

Each step is a process with a time limit. Its rows are kept as they come, so a step that hangs or dies loses only what it
had not found yet. The dry run needs no GPU: it prints the plan, compiles every Python file of the suite and every
kernel for sm_80, sm_90 and sm_100, and writes bench/results/gpu/compile_sm.json.
"""

from __future__ import annotations

import argparse
import json
import os
import py_compile
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import gpu_rows
import machine
from gpu_compile import COMPILED, KERNELS, RESULTS
from gpu_needs import NEEDED, WANTED, has

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PACKAGES = ("numpy", "cupy-cuda13x", "cupy-cuda12x", "jax", "jaxlib", "jax-cuda13-plugin", "jax-cuda12-plugin", "numba", "numba-cuda", "cuda-bindings", "nvidia-cuda-nvrtc", "nvidia-curand", "torch", "warp-lang")  # fmt: skip
FACTS = ("name", "driver_version", "compute_cap", "memory.total", "power.limit", "clocks.sm", "clocks.max.sm", "clocks.mem", "clocks.max.mem", "temperature.gpu")  # fmt: skip
ISSUE = 32 * 4
"""Thread instructions that a multiprocessor issues a cycle: four schedulers, a warp of 32 each."""
STRAIGHT = "rng"
"""The model whose month is straight code: each of its instructions is run once a month."""
SPENT = "OVERBUILT_BENCH_SPENT"
"""Seconds that were used before, to install what was missing."""
LEAST = 5.0  # seconds: a step is not begun with less


@dataclass(frozen=True)
class Step:
    """``command`` runs in bench/ and writes rows; ``seconds`` is the most it may take; ``needs`` a tool or a module."""

    name: str
    command: tuple[str, ...]
    seconds: int
    needs: str = ""
    behind: bool = False
    """Runs beside the steps that follow."""


def python(file: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, str(HERE / file), *arguments)


def overbuilt(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", "from overbuilt.cli import main; main()", *arguments)


def steps(work: Path) -> list[Step]:
    """In order of importance; ``work`` is a folder for what one leaves to another."""
    run = str(work / "run")
    sass = ("--dtype", "float32", "--json", str(work / "sass.json"), "--arch", architecture())
    return [
        Step("instructions of the kernels", python("gpu_compile.py", *sass), 200, behind=True),
        Step("warm: compile all kernels", python("gpu_check.py", "warm"), 240),
        Step("check small", python("gpu_check.py", "probe", "shapes", "pieces", "memory"), 60),
        Step("suite: rng", python("gpu_suite.py", "rng"), 60),
        Step("suite: trio", python("gpu_suite.py", "trio"), 75),
        Step("suite: loans", python("gpu_suite.py", "loans"), 30),
        Step("suite: base", python("gpu_suite.py", "base"), 60),
        Step("suite: JAX", python("gpu_suite.py", "trio_jax"), 90, "jax"),
        Step("check: all backends agree", python("gpu_check.py", "agree"), 90),
        Step("run, to be replayed", overbuilt("run", "base", "--paths", "200000", "--backend", "cuda", "--out", run), 40, "pyarrow"),
        Step("replay on the CPU", overbuilt("verify", run, "--paths", "50"), 60, "pyarrow"),
        Step("suite: whole run", python("gpu_suite.py", "whole"), 40),
        Step("suite: launch shapes", python("gpu_suite.py", "sweep"), 45),
        Step("check: several devices", python("gpu_check.py", "devices"), 30),
        Step("memcheck", ("compute-sanitizer", "--tool", "memcheck", "--error-exitcode", "9", *python("gpu_check.py", "tiny")), 60, "compute-sanitizer"),
        Step("initcheck", ("compute-sanitizer", "--tool", "initcheck", "--error-exitcode", "9", *python("gpu_check.py", "tiny")), 60, "compute-sanitizer"),
        Step("the repository's tests", (sys.executable, "-m", "pytest", "-q", "-n0", "-x", "tests/test_agreement.py", "tests/test_ops.py", "-k", "cuda"), 90, "xdist"),
    ]  # fmt: skip


# ---- the machine
def smi() -> list[dict[str, str]]:
    """What nvidia-smi says of each GPU; empty where there is none."""
    said = machine.output("nvidia-smi", f"--query-gpu={','.join(FACTS)}", "--format=csv,noheader")
    rows = (line.split(", ") for line in (said or "").splitlines() if line.strip())
    return [dict(zip(FACTS, row, strict=False)) for row in rows]


def architecture() -> str:
    """Of the first GPU, as compilers name it; sm_90 where there is none."""
    found = smi()
    digits = re.sub(r"\D", "", found[0].get("compute_cap", "")) if found else ""
    return f"sm_{digits or '90'}"


def named(gpus: list[dict[str, str]]) -> str:
    """The machine's name as a file's: nvidia-h200, with a number where there are several."""
    text = f"{gpus[0]['name']} {f'x {len(gpus)}' if len(gpus) > 1 else ''}" if gpus else "no gpu"
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


# ---- running
class Running:
    """A step under way: its output in a file, its rows in another, its children in a group of its own."""

    def __init__(self, step: Step, work: Path, seconds: float) -> None:
        stem = re.sub(r"\W+", "-", step.name)
        self.step, self.rows, self.log = step, work / f"{stem}.rows", work / f"{stem}.log"
        self.until = time.monotonic() + seconds
        self.began = time.monotonic()
        environment = os.environ | {
            gpu_rows.VARIABLE: str(self.rows),
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # JAX would take most of the memory
            "PYTHONPATH": os.pathsep.join(
                [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                step.command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def finish(self) -> dict[str, Any]:
        """Wait, but no longer than its time; what became of it."""
        late = False
        try:
            self.process.wait(max(0.1, self.until - time.monotonic()))
        except subprocess.TimeoutExpired:
            late = True
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        said = self.log.read_text(encoding="utf-8", errors="replace")
        return {
            "step": self.step.name, "exit": self.process.returncode, "late": late,
            "seconds": round(time.monotonic() - self.began, 1), "rows": gpu_rows.read(self.rows),
            "tail": said[-1500:],
        }  # fmt: skip


def perform(plan: list[Step], work: Path, minutes: float, keep: Any) -> list[dict[str, Any]]:
    """All steps while there is time; ``keep(done)`` after each."""
    end = time.monotonic() + 60.0 * minutes
    done: list[dict[str, Any]] = []
    behind: list[Running] = []
    for step in plan:
        left = end - time.monotonic()
        why = f"{step.needs} is not here" if step.needs and not has(step.needs) else ""
        why = why or ("no time was left" if left < LEAST else "")
        if why:
            done.append({"step": step.name, "left out": why})
        else:
            print(f"{step.name} ...", flush=True)
            running = Running(step, work, min(step.seconds, left))
            if step.behind:
                behind.append(running)
                continue
            done.append(running.finish())
            print(told(done[-1]), flush=True)
        keep(done)
    done += [r.finish() for r in behind]
    keep(done)
    return done


def told(step: dict[str, Any]) -> str:
    """A line for a step, and one for each row that says that something is wrong."""
    if "left out" in step:
        return f"{step['step']}: left out, {step['left out']}"
    wrong = [r for r in step["rows"] if "error" in r or r.get("passed") is False]
    state = "out of time" if step["late"] else f"exit {step['exit']}"
    lines = [f"{step['step']}: {state}, {len(step['rows'])} rows, {step['seconds']} s"]
    return "\n".join([*lines, *(f"  {json.dumps(r)[:300]}" for r in wrong)])


def shares(done: list[dict[str, Any]], sass: Path, gpus: list[dict[str, str]]) -> None:
    """Add to our rows the share of the GPU's issue limit: instructions of a month times path-months a second.

    Only where each instruction of the month is run once: elsewhere the count says nothing of what ran.
    """
    try:
        rows = json.loads(sass.read_text(encoding="utf-8"))["rows"]
        months = {r["kernel"]: r["month"] for r in rows if r.get("month")}
        clock = float(gpus[0]["clocks.max.sm"].split()[0]) * 1e6
    except (OSError, ValueError, LookupError):
        return
    for row in (r for s in done for r in s.get("rows", ())):
        if "processors" in row and (month := months.get(row.get("kernel", ""))):
            limit = row["processors"] * ISSUE * clock
            row |= {"month_instructions": month, "limit": limit}
            if KERNELS[row["kernel"]][0] == STRAIGHT:
                row["share"] = month * row["path_months"] / row["ms"] * 1e3 / limit
            else:
                row["no_share"] = "loops and branches in its month: its instructions were not counted as they ran"  # fmt: skip


def write(place: Path, whole: dict[str, Any]) -> None:
    """Whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_suffix(".part")
    part.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    part.replace(place)


def dry(only: list[str]) -> int:
    """What can be done without a GPU; 1 if something of it fails."""
    failed = 0
    for step in steps(Path("WORK")):
        print(f"{step.seconds:4d} s  {step.name}: {' '.join(step.command)}")
    for name in (*NEEDED, *WANTED, "compute-sanitizer", "nvidia-smi"):
        print(f"{'here' if has(name) else 'not here':9} {name}")
    for file in sorted(HERE.glob("gpu_*.py")):
        try:
            with tempfile.TemporaryDirectory() as folder:
                py_compile.compile(str(file), str(Path(folder, "out.pyc")), doraise=True)
        except py_compile.PyCompileError as error:
            failed = 1
            print(f"error: {error}", file=sys.stderr)
    command = [sys.executable, "bench/gpu_compile.py"]  # from the root: the report has the command
    if only:  # short, and nothing is written
        command += ["--only", *only, "--arch", "sm_90"]
    else:
        command += ["--json", str(COMPILED.relative_to(ROOT))]
    return failed or subprocess.run(command, cwd=ROOT, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument(
        "--out", type=Path, help="default: bench/results/gpu/ and the machine's name, .json"
    )
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument(
        "--only", nargs="+", default=[], help="steps whose name has this; kernels of a dry run"
    )
    asked = parser.parse_args()
    if asked.dry_run:
        return dry(asked.only)
    gpus, spent = smi(), float(os.environ.get(SPENT, 0))
    place = asked.out or RESULTS / f"{named(gpus)}.json"
    about: dict[str, Any] = {
        "machine": machine.machine() | {"gpus": gpus}, "versions": versions(), "commit": machine.commit(),
        "command": "bench/gpu.sh " + " ".join(sys.argv[1:]), "missing": [n for n in (*NEEDED, *WANTED) if not has(n)],
        "installing_s": spent,
    }  # fmt: skip
    print(json.dumps(about, indent=1), flush=True)
    with tempfile.TemporaryDirectory(prefix="overbuilt-gpu-") as folder:
        work = Path(folder)
        os.environ.setdefault("CUPY_CACHE_DIR", str(work / "cupy"))  # compile times are of this run
        plan = [s for s in steps(work) if not asked.only or any(o in s.name for o in asked.only)]

        def keep(done: list[dict[str, Any]]) -> None:
            shares(done, work / "sass.json", gpus)
            write(place, about | {"steps": done})

        done = perform(plan, work, asked.minutes - spent / 60.0, keep)
    about["gpus_after"] = smi()
    write(place, about | {"steps": done})
    print(f"written: {place}")
    ok = all(
        "left out" in s
        or (s["exit"] == 0 and not any("error" in r or r.get("passed") is False for r in s["rows"]))
        for s in done
    )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
