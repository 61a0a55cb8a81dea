"""Start-up: what a command takes before it does anything, and a whole run of 65,536 paths, cold and warm.

Cold is with an empty kernel cache: the run traces and compiles. Every call is a process of its own. Python may keep
bytecode, as on any machine: in a temporary folder, filled by a first round that is not timed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from contest import Row, Say
from table import Column

from . import Found

TITLE = "start: whole processes, seconds by the clock"
COLUMNS = (
    Column("command", "command"),
    Column("cache", "kernel cache"),
    Column("best_s", "best", "seconds"),
    Column("median_s", "median", "seconds"),
    Column("cpu_s", "CPU s", "seconds"),
    Column("goal_s", "goal s", "seconds"),
    Column("per_s", "paths/s", "count"),
)
PYTHON = 'python -c ""'


def run(quick: bool, say: Say) -> Found:
    """Rows by command; Python's own start is there to compare with."""
    scenario, paths = ("textbook", 4_096) if quick else ("base", 65_536)
    simulate = f"overbuilt run {scenario} --paths {paths}"
    commands = (
        (PYTHON, "", None, None),
        ("overbuilt --help", "", 0.2, None),
        (simulate, "empty", None, paths),
        (simulate, "warm", 2.0 if not quick else None, paths),
    )
    spent: dict[int, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="overbuilt-bench-") as folder:
        cache = Path(folder) / "cache"
        environment = kept_in(Path(folder))
        for turn in range(2 if quick else 7):
            for k, (command, state, _, _) in enumerate(commands):
                if state == "empty":
                    if turn > 2:  # it is slow, and each is alike
                        continue
                    shutil.rmtree(cache, ignore_errors=True)
                say(f"round {turn}: {command} {state}")
                now = timed(command, environment)
                if turn:
                    spent.setdefault(k, []).append(now)
    rows: list[Row] = []
    for k, (command, state, goal, paths_) in enumerate(commands):
        clock = [s for s, _ in spent[k]]
        row: Row = {
            "command": command,
            "cache": state,
            "seconds": clock,
            "best_s": min(clock),
            "median_s": median(clock),
            "cpu_s": min(busy for _, busy in spent[k]),
            "goal_s": goal,
        }
        rows.append(row | ({"paths": paths_, "per_s": paths_ / min(clock)} if paths_ else {}))
    return Found(rows)


def kept_in(folder: Path) -> dict[str, str]:
    """This environment, with kernels in ``cache`` and bytecode in ``bytecode`` of the folder."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    names = {"OVERBUILT_CACHE": "cache", "PYTHONPYCACHEPREFIX": "bytecode"}
    return kept | {name: str(folder / place) for name, place in names.items()}


def words_of(command: str) -> list[str]:
    """The words of a command, this Python's own programs by their paths."""
    first, *rest = command.replace('""', "pass").split()
    script = shutil.which("overbuilt", path=str(Path(sys.executable).parent)) or "overbuilt"
    return [{"python": sys.executable, "overbuilt": script}[first], *rest]


def timed(command: str, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of a process by the clock, and of processors, its children's among them."""
    words = words_of(command)
    before, start = os.times(), time.perf_counter()
    subprocess.run(
        words,
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    seconds, after = time.perf_counter() - start, os.times()
    busy = after.children_user + after.children_system
    return seconds, busy - before.children_user - before.children_system
