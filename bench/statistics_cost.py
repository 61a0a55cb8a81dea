"""What the statistics cost beside the simulation, on native: seconds of a processor, both.

Usage: ``python bench/statistics_cost.py [SCENARIO] [--paths 1048576]``

One thread simulates (OVERBUILT_THREADS=1 is set here), then the same blocks are reduced: so both are seconds of one
processor, and neither hides behind the other. Five rounds by turns; the medians are printed. The first blocks cost
more, as every value is among the extreme ones and every bin is new: a last line says what a block costs after them.
"""

from __future__ import annotations

import argparse
import os
import time
from statistics import median

os.environ["OVERBUILT_THREADS"] = "1"

import overbuilt
from overbuilt.engine.simulate import plan
from overbuilt.engine.statistics import BLOCK, Statistics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("scenario", nargs="?", default="base")
    parser.add_argument("--paths", type=int, default=1 << 20)
    asked = parser.parse_args()
    made = plan(overbuilt.load(asked.scenario), "native")
    made.run(1, 0, 4096)
    blocks = max(asked.paths // BLOCK, 1)
    simulated, reduced = [], []
    for _ in range(5):
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
    s, r = median(simulated), median(reduced)
    paths = blocks * BLOCK
    print(f"{asked.scenario}: {len(made.economy.metrics)} metrics, {paths:,} paths, one thread")
    print(f"simulate {s:.2f} s ({1e6 * s / paths:.2f} us a path)")
    print(f"statistics {r:.2f} s ({1e6 * r / paths:.2f} us a path): {100 * r / s:.1f} % of it")
    later = []
    for block in range(
        blocks, blocks + 12
    ):  # the values of the last block once more, under other numbers
        start = time.process_time()
        statistics.add(block, output.metrics, output.bad)
        later.append(1e6 * (time.process_time() - start) / BLOCK)
    u = median(later)
    print(f"a later block {u:.2f} us a path: {100 * u * paths / (1e6 * s):.1f} % of it")


if __name__ == "__main__":
    main()
