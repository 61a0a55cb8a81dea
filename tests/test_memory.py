"""Peak memory does not grow with the number of paths: results are reduced block by block.

Until the tails are full and every bin of the histograms has been met, it grows a little; bench/memory.py shows the
slope of a long run.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from overbuilt.kernels.backends import native

_RUN = """
import resource, sys, overbuilt
r = overbuilt.simulate(overbuilt.load("base"), int(sys.argv[1]), 1, "native", months=12)
r.metrics
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(paths: int) -> int:
    """Peak resident memory of a process of its own, in the system's unit (KiB on Linux)."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(paths)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(native.compiler() is None, reason="no C++ compiler here")
def test_ten_times_the_paths_the_same_memory() -> None:
    peak(1000)  # compile first: the compiler's child does not count, but reading its output does
    small, large = peak(300_000), peak(3_000_000)
    assert large < 1.25 * small  # a float of each metric for each path would be four times as much
