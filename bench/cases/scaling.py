"""How the time of ``base`` grows with paths, months, threads and scenarios of one launch, on native.

``paths`` are whole runs in a process of their own, statistics included, with its peak memory; the others time
launches alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from contest import Contender, Row, Say, contest
from table import Column

from . import Found

TITLE = "scaling: base on native"
COLUMNS = (
    Column("what", "what"),
    Column("value", "number", "whole"),
    Column("paths", "paths", "whole"),
    Column("best_s", "best", "seconds"),
    Column("median_s", "median", "seconds"),
    Column("per_s", "paths/s", "count"),
    Column("unit_cost", "cost of a unit", "ratio"),
    Column("of_limit", "of limit", "percent"),
    Column("peak_mib", "peak MiB", "whole"),
)
RUN = """
import json, resource, sys, time, overbuilt
scenario = overbuilt.load("base")
overbuilt.simulate(scenario, 1000, backend="native")
start, busy = time.perf_counter(), time.process_time()
overbuilt.simulate(scenario, int(sys.argv[1]), 1, "native").metrics
seconds, busy = time.perf_counter() - start, time.process_time() - busy
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "cpu_s": busy, "peak_mib": peak}))
"""


def run(quick: bool, say: Say) -> Found:
    """Rows by what grows; a unit's cost is its time over that of the first row's unit.

    A unit is a path, a month of a path, a path on all threads together (so 1 is a perfect speed-up), a path of one
    scenario.
    """
    import instructions

    cores = instructions.cores()
    rounds = 1 if quick else 3
    rows, skipped = contest(_launches(quick, cores), rounds, say)
    for row in rows:
        same = next(r for r in rows if r["what"] == row["what"])
        ours, first = (r["best_s"] / r["paths"] * r["units"] for r in (row, same))
        row["unit_cost"] = ours / first
    sizes = (1_000, 10_000) if quick else (10_000, 100_000, 1_000_000)
    try:
        rows = [*_runs(sizes, min(rounds, 2), say), *rows]
    except subprocess.CalledProcessError as error:
        skipped.append(f"paths skipped: {error.stderr.strip().splitlines()[-1]}")
    with instructions.Counter(cores) as counter:
        for row in rows:
            options = (("months", row["value"]),) if row["what"] == "months" else ()
            if row["what"] != "scenarios":
                say(f"counting instructions, {row['what']} {row['value']}")
                counter.add_fraction(row, "base", options, paths=1024)
    return Found(rows, skipped + counter.trouble)


def _launches(quick: bool, cores: int) -> list[Contender]:
    paths = 4_096 if quick else 32_768
    made = []

    def add(
        what: str, value: int, units: float, arguments: tuple[Any, ...], **environment: str
    ) -> None:
        row = {"what": what, "value": value, "units": units, "algorithm": f"{what} {value}"}
        module = "ours_many" if what == "scenarios" else "ours"
        made.append(
            Contender("our native", module, arguments, paths, row, tuple(environment.items()))
        )

    for months in (12, 60) if quick else (12, 30, 60, 120, 240):
        add("months", months, 1 / months, ("base", (("months", months),)))
    for threads in sorted({1, cores} | ({2, cores // 2} if cores > 3 else set())):
        add("threads", threads, threads, ("base",), OVERBUILT_THREADS=str(threads))
    for scenarios in (1, 4) if quick else (1, 4, 16, 64):
        add("scenarios", scenarios, 1, (scenarios,))
    return made


def _runs(sizes: tuple[int, ...], rounds: int, say: Say) -> list[Row]:
    """Whole runs: the first of each size is a warm-up's, compiled before."""
    found: dict[int, list[Row]] = {n: [] for n in sizes}
    for turn in range(1, rounds + 1):
        for n in sizes:
            say(f"round {turn} of {rounds}: {n:,} paths")
            command = [sys.executable, "-c", RUN, str(n)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[n].append(json.loads(done.stdout))
    rows = []
    for n, runs in found.items():
        seconds = sorted(r["seconds"] for r in runs)
        rows.append(
            {
                "what": "paths",
                "value": n,
                "paths": n,
                "seconds": seconds,
                "best_s": seconds[0],
                "median_s": seconds[len(seconds) // 2],
                "cpu_s": min(r["cpu_s"] for r in runs),
                "per_s": n / seconds[0],
                "peak_mib": max(r["peak_mib"] for r in runs),
            }
        )
    for row in rows:
        row["unit_cost"] = rows[0]["per_s"] / row["per_s"]
    return rows
