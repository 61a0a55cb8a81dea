"""The report: one HTML page of a stored run of 65,536 paths, with its sensitivities and stresses."""

from __future__ import annotations

import tempfile
from pathlib import Path

from contest import Row, Say
from table import Column

from . import Found
from .start import kept_in, timed

TITLE = "report: a page of a stored run, whole processes"
COLUMNS = (
    Column("command", "command"),
    Column("cache", "kernel cache"),
    Column("best_s", "seconds", "seconds"),
    Column("cpu_s", "CPU s", "seconds"),
    Column("mib", "MiB", "number"),
)


def run(quick: bool, say: Say) -> Found:
    """Rows: the run itself, its report with kernels to compile, and again with all of them there."""
    scenario, paths = ("textbook", 4_096) if quick else ("base", 65_536)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="overbuilt-bench-") as folder:
        run_, page = Path(folder) / "run", Path(folder) / "page.html"
        environment = kept_in(Path(folder))
        simulate = f"overbuilt run {scenario} --paths {paths} --out RUN"
        write = "overbuilt report RUN" + (" --quick" if quick else "")
        for command, cache in ((simulate, "empty"), (write, "the run's"), (write, "warm")):
            say(f"{command}, kernel cache {cache}")
            full = command.replace("RUN", str(run_))
            seconds, busy = timed(
                full + (f" --out {page}" if command == write else ""), environment
            )
            row = {
                "command": command,
                "cache": cache,
                "seconds": [seconds],
                "best_s": seconds,
                "cpu_s": busy,
            }
            rows.append(row | ({"mib": page.stat().st_size / 2**20} if command == write else {}))
    return Found(rows)
