"""What the statistics cost beside the simulation, on native: seconds of a processor, both.

Usage: ``python bench/statistics_cost.py [SCENARIO] [--paths 1048576] [--rounds 5]``

One thread simulates (OVERBUILT_THREADS=1 is set here), then the same blocks are reduced: so both are seconds of one
processor, and neither hides behind the other. Rounds by turns; the medians are printed. The first blocks cost
more, as every value is among the extreme ones and every bin is new: a last line says what a block costs after them.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from statistics import median
from typing import Any

os.environ["OVERBUILT_THREADS"] = "1"

import numpy as np

import overbuilt
from overbuilt.engine.simulate import plan
from overbuilt.engine.statistics import BLOCK, Statistics

LATER = 12  # blocks after those of a run


def measure(scenario: str, blocks: int, rounds: int) -> dict[str, Any]:
    """Processor seconds: ``simulation`` and ``statistics`` of so many blocks, by round; ``later``, of the statistics
    of a block after them, and ``numpy``, of NumPy's mean, standard deviation and five quantiles of it, by block."""
    made = plan(overbuilt.load(scenario), "native")
    made.run(1, 0, 4096)
    simulated, reduced = [], []
    for _ in range(rounds):
        statistics = Statistics(made.economy.metrics)
        spent = [0.0, 0.0]
        for block in range(blocks):
            start = time.process_time()
            output = made.run(1, block * BLOCK, BLOCK)
            middle = time.process_time()
            statistics.add(block, output.metrics, output.bad)
            spent[0] += middle - start
            spent[1] += time.process_time() - middle
        simulated.append(spent[0])
        reduced.append(spent[1])
    later = [  # the values of the last block once more, under other numbers
        _timed(lambda b=block: statistics.add(b, output.metrics, output.bad))
        for block in range(blocks, blocks + LATER)
    ]
    numpy = [_timed(lambda: _reduce(output.metrics)) for _ in range(3)]
    found = {"simulation": simulated, "statistics": reduced, "later": later, "numpy": numpy}
    return found | {"paths": blocks * BLOCK, "block": BLOCK, "metrics": len(made.economy.metrics)}


def _timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _reduce(metrics: Any) -> None:
    metrics.mean(axis=1, dtype=np.float64)
    metrics.std(axis=1, dtype=np.float64)
    np.quantile(metrics, [0.05, 0.25, 0.5, 0.95, 0.99], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("scenario", nargs="?", default="base")
    parser.add_argument("--paths", type=int, default=1 << 20)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    found = measure(asked.scenario, max(asked.paths // BLOCK, 1), asked.rounds)
    paths = found["paths"]
    s, r = median(found["simulation"]), median(found["statistics"])
    print(f"{asked.scenario}: {found['metrics']} metrics, {paths:,} paths, one thread")
    print(f"simulate {s:.2f} s ({1e6 * s / paths:.2f} us a path)")
    print(f"statistics {r:.2f} s ({1e6 * r / paths:.2f} us a path): {100 * r / s:.1f} % of it")
    u = 1e6 * median(found["later"]) / BLOCK
    print(f"a later block {u:.2f} us a path: {100 * u * paths / (1e6 * s):.1f} % of it")


if __name__ == "__main__":
    main()
