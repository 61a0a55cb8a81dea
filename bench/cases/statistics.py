"""What the statistics cost beside the simulation, in seconds of a processor, on native.

One thread simulates a block of 65,536 paths of ``base``, then its metrics are reduced; beside it, what NumPy takes
for less: mean, standard deviation and five quantiles of each metric, without tails, intervals or a digest.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

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
    """Rows: the simulation, our statistics of it, NumPy's."""
    worker = Worker({"OVERBUILT_THREADS": "1"})
    try:
        say("compiling base, then rounds by turns")
        scenario = "textbook" if quick else "base"
        measured = worker.call(
            "cases.statistics", "measure", scenario, 1 if quick else 3, 1 if quick else 4
        )
    except (Missing, RuntimeError) as error:
        return Found([], [f"statistics skipped: {error}"])
    finally:
        worker.close()
    rows: list[Row] = [
        {
            "what": what,
            "paths": measured["paths"],
            "seconds": spent,
            "best_s": min(spent),
            "median_s": median(spent),
            "cpu_s": min(spent),
            "per_s": measured["paths"] / min(spent),
        }
        for what, spent in measured["spent"].items()
    ]
    for row in rows[1:]:
        row["share"] = row["median_s"] / rows[0]["median_s"]
        row["native_over_it"] = row["best_s"] / rows[1]["best_s"]
    return Found(rows, [], [f"{measured['metrics']} metrics of {scenario}, one thread."])


def measure(scenario: str, rounds: int, blocks: int) -> dict[str, Any]:
    """In a worker: processor seconds by round."""
    import numpy as np

    from overbuilt import load
    from overbuilt.engine.simulate import plan
    from overbuilt.engine.statistics import BLOCK, Statistics

    made = plan(load(scenario), "native")
    made.run(1, 0, BLOCK)
    names = ("simulation", "our statistics", "NumPy, in part")
    spent: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        statistics = Statistics(made.economy.metrics)
        now = dict.fromkeys(names, 0.0)
        for block in range(blocks):
            marks = [time.process_time()]
            output = made.run(1, block * BLOCK, BLOCK)
            marks.append(time.process_time())
            statistics.add(block, output.metrics, output.bad)
            marks.append(time.process_time())
            output.metrics.mean(axis=1, dtype=np.float64)
            output.metrics.std(axis=1, dtype=np.float64)
            np.quantile(output.metrics, [0.05, 0.25, 0.5, 0.95, 0.99], axis=1)
            marks.append(time.process_time())
            for name, start, end in zip(names, marks, marks[1:], strict=False):
                now[name] += end - start
        for name in names:
            spent[name].append(now[name])
    return {"paths": blocks * BLOCK, "spent": spent, "metrics": len(made.economy.metrics)}
