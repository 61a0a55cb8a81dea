"""Does memory grow with the paths? One long run of the trio workload, its memory read as it goes.

Usage: ``python bench/memory.py [--paths 1000000000] [--method order] [--json FILE]``

Resident memory is read about once a second. The slope is that of a straight line through the second half of the
readings (least squares), in bytes a million paths; a run that kept a float for each path would show 4,000,000.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from trio import METHODS, Trio

from overbuilt.engine.simulate import simulate

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Bytes of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


class Readings:
    """Memory by paths done, read at most once a second, and at the end."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int]] = []
        self.last = 0.0

    def __call__(self, done: int, paths: int, seconds: float) -> None:
        if seconds - self.last >= 1.0 or done == paths:
            self.rows.append((done, resident()))
            self.last = seconds

    def slope(self) -> float:
        """Bytes a million paths over the second half of the run."""
        rows = np.array(self.rows[len(self.rows) // 2 :], float)
        return float(np.polyfit(rows[:, 0] / 1e6, rows[:, 1], 1)[0]) if len(rows) > 2 else np.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--paths", type=int, default=1_000_000_000)
    parser.add_argument("--method", choices=METHODS, default="order")
    parser.add_argument("--json", help="write the readings there")
    asked = parser.parse_args()
    readings = Readings()
    start = time.perf_counter()
    result = simulate(
        Trio(method=asked.method), asked.paths, 1, "native", months=60, progress=readings
    )
    seconds = time.perf_counter() - start
    es = result.estimate("trio.loss.es999")
    found: dict[str, Any] = {
        "paths": asked.paths,
        "seconds": round(seconds, 1),
        "paths_a_second": round(asked.paths / seconds),
        "simulate": round(result.seconds["simulate"], 1),
        "statistics": round(result.seconds["reduce"], 1),
        "mib_at_first": round(readings.rows[0][1] / 2**20, 1),
        "mib_at_half": round(readings.rows[len(readings.rows) // 2][1] / 2**20, 1),
        "mib_at_end": round(readings.rows[-1][1] / 2**20, 1),
        "bytes_a_million_paths": round(readings.slope()),
        "es999": [round(x, 4) for x in (es.value, es.low, es.high)],
        "digest": result.digest,
    }
    for name, value in found.items():
        print(f"{name:22} {value}")
    if asked.json:
        Path(asked.json).write_text(json.dumps(found | {"readings": readings.rows}) + "\n")


if __name__ == "__main__":
    main()
