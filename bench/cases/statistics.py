"""What the statistics cost beside the simulation, in seconds of a processor, on native (``statistics_cost``).

One thread simulates blocks of 65,536 paths of ``base``, then their metrics are reduced. The first blocks cost more
than a later one does, so both are shown: the whole run, and a block after it. Beside that, what NumPy takes for less:
mean, standard deviation and five quantiles of each metric, without tails, intervals or a digest.
"""

from __future__ import annotations

from statistics import median

from contest import Missing, Row, Say, Worker
from table import Column

from . import Found

TITLE = "statistics: seconds of a processor beside the simulation of base"
COLUMNS = (
    Column("what", "what"),
    Column("paths", "paths", "whole"),
    Column("best_s", "best", "seconds"),
    Column("median_s", "median", "seconds"),
    Column("per_s", "paths/s", "count"),
    Column("share", "of simulation", "percent"),
    Column("native_over_it", "ours over it", "ratio"),
)


def run(quick: bool, say: Say) -> Found:
    """Rows: the simulation, our statistics of it and of a later block, NumPy's of a block."""
    scenario, blocks, rounds = ("textbook", 2, 1) if quick else ("base", 16, 1)
    worker = Worker({})
    try:
        say(f"compiling {scenario}, then rounds by turns")
        found = worker.call("statistics_cost", "measure", scenario, blocks, rounds)
    except (Missing, RuntimeError) as error:
        return Found([], [f"statistics skipped: {error}"])
    finally:
        worker.close()
    paths, block = found["paths"], found["block"]
    rows = [
        _row("simulation", paths, found["simulation"]),
        _row("our statistics, whole run", paths, found["statistics"]),
        _row("our statistics, a later block", block, found["later"]),
        _row("NumPy, in part, a block", block, found["numpy"]),
    ]
    cost = [row["median_s"] / row["paths"] for row in rows]
    for row, spent in zip(rows[1:], cost[1:], strict=True):
        row["share"] = spent / cost[0]
    rows[3]["native_over_it"] = rows[2]["per_s"] / rows[3]["per_s"]
    note = f"{found['metrics']} metrics of {scenario}, one thread, {blocks} blocks."
    return Found(rows, [], [note])


def _row(what: str, paths: int, spent: list[float]) -> Row:
    best = min(spent)
    row: Row = {"what": what, "paths": paths, "seconds": spent, "best_s": best}
    return row | {"median_s": median(spent), "cpu_s": best, "per_s": paths / best}
