"""What the statistics cost beside the simulation, on native: seconds of a processor, both.

Usage: ``python bench/statistics.py [SCENARIO] [--paths 1048576]``

One thread simulates (OVERBUILT_THREADS=1 is set here), then the same blocks are reduced: so both are seconds of one
processor, and neither hides behind the other. Five rounds by turns; the medians are printed.
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
            start = time.perf_counter()
            output = made.run(1, block * BLOCK, BLOCK)
            middle = time.perf_counter()
            statistics.add(block, output.metrics, output.bad)
            spent[0] += middle - start
            spent[1] += time.perf_counter() - middle
        simulated.append(spent[0])
        reduced.append(spent[1])
    s, r = median(simulated), median(reduced)
    paths = blocks * BLOCK
    print(f"{asked.scenario}: {len(made.economy.metrics)} metrics, {paths:,} paths, one thread")
    print(f"simulate {s:.2f} s ({1e6 * s / paths:.2f} us a path)")
    print(f"statistics {r:.2f} s ({1e6 * r / paths:.2f} us a path): {100 * r / s:.1f} % of it")


if __name__ == "__main__":
    main()
