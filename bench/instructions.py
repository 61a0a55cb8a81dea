"""How many vector instructions a kernel runs, and how many a second the machine can run.

The count is exact: the kernel is built once more with a counter in every basic block (``counting_cxx``), and
runs a chunk of real paths. The machine's limit is measured, not taken from a data sheet: independent
multiply-adds and integer additions on whole vectors, in registers, on all threads at once. A kernel's
fraction of the limit is then

    (vector instructions that compute) / (vector instructions a second) / (time)

Moves (loads, stores, spills, broadcasts) and instructions on single numbers are not forgiven: they are not in
the count, and make the fraction smaller. Nor is it forgiven that a division or a gather takes longer than an
addition: each counts as one.

Usage: ``python bench/instructions.py SCENARIO|trio|rng [KEY=VALUE ...] [--dtype float64]``
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from contest import Missing, Worker
from counting_cxx import CLASSES
from machine import cores

HERE = Path(__file__).resolve().parent
COMPUTING = ("arithmetic", "mask", "gather", "divide")
PATHS = 4096
Options = tuple[tuple[str, Any], ...]
Row = dict[str, Any]

PEAK = r"""
#include <stdint.h>
#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX2__)
#define BYTES 32
#else
#define BYTES 16
#endif
typedef float F __attribute__((vector_size(BYTES)));
typedef int32_t I __attribute__((vector_size(BYTES)));
#if defined(__x86_64__)
#define KEEP(x) __asm__ volatile("" : "+v"(x))
#else
#define KEEP(x) __asm__ volatile("" : "+w"(x))
#endif
extern "C" __attribute__((visibility("default"))) float peak(long rounds) {
  F f[10], a = F{} + 0.5f, b = F{} + 0.25f;
  I i[10], one = I{} + 1;
#pragma GCC unroll 10
  for (int k = 0; k < 10; ++k) f[k] = F{} + (float)k, i[k] = I{} + k;
  KEEP(a); KEEP(b); KEEP(one);
  for (long r = 0; r < rounds; ++r) {
#pragma GCC unroll 10
    for (int k = 0; k < 10; ++k) {
      f[k] = f[k] * a + b;
      KEEP(f[k]);
      i[k] = i[k] + one;
      KEEP(i[k]);
    }
  }
  float sum = 0;
#pragma GCC unroll 10
  for (int k = 0; k < 10; ++k) sum += f[k][0] + (float)i[k][0];
  return sum;
}
"""
_EACH = 20  # vector instructions of a round


def peak(threads: int, seconds: float = 0.1, tries: int = 5) -> float:
    """Vector instructions in a second of a processor while so many run, the best of some tries."""
    from overbuilt.kernels.backends import native

    with tempfile.TemporaryDirectory() as folder:
        unit, to = Path(folder) / "peak.cpp", Path(folder) / "peak.so"
        unit.write_text(PEAK)
        flags = ("-O2", "-shared", "-fPIC", "-ffp-contract=fast", *native.target_flags())
        subprocess.run([native.compiler() or "g++", *flags, str(unit), "-o", str(to)], check=True)
        run = ctypes.CDLL(str(to)).peak
        run.argtypes, run.restype = [ctypes.c_long], ctypes.c_float

    def timed(rounds: int) -> float:
        start = time.thread_time()  # other jobs of the machine do not count
        run(rounds)
        return time.thread_time() - start

    rounds = 1 << 20
    while (spent := timed(rounds)) < seconds / 4:
        rounds *= 2
    rounds = max(1, round(rounds * seconds / spent))
    with ThreadPoolExecutor(threads) as pool:
        return _EACH * rounds / min(pool.map(timed, [rounds] * threads * tries))


class Counter:
    """Counts instructions of native kernels, in a process whose compiler counts; one for several kernels.

    ``peak`` is that of so many threads, measured now. ``trouble`` has a line for each kernel that could not be
    counted, as on another processor.
    """

    def __init__(self, threads: int) -> None:
        from overbuilt.kernels.backends import native

        real = native.compiler() or "g++"
        compilers = {"BENCH_CXX": real, "CXX": str(HERE / "counting_cxx.py")}
        self.worker = Worker(compilers | {"OVERBUILT_THREADS": "1"})
        self.trouble: list[str] = []
        try:
            self.peak = peak(threads)
        except (OSError, subprocess.CalledProcessError) as error:
            self.peak = float("nan")
            self.trouble.append(f"the machine's limit is not known: {error}")

    def __enter__(self) -> Counter:
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.close()

    def counts(
        self, what: str, options: Options = (), dtype: str = "float32", paths: int = PATHS
    ) -> dict[str, float]:
        """Instructions of a path by class; RuntimeError where none can be counted."""
        arguments = (what, options, dtype, paths)
        found: dict[str, float] = self.worker.call("instructions", "count_here", *arguments)
        return found

    def add_fraction(
        self, row: Row, what: str, options: Options = (), dtype: str = "float32", paths: int = PATHS
    ) -> None:
        """Give the row of a contest ``vector``, computing instructions a path, and ``of_limit``.

        Both times are of processors: the limit's instructions by ``peak``, and what the contender took.
        """
        try:
            row["vector"] = computing(self.counts(what, options, dtype, paths))
        except (Missing, RuntimeError) as error:
            self.trouble.append(f"instructions of {what} are not counted: {error}")
            return
        if self.peak == self.peak:
            row["of_limit"] = row["paths"] * row["vector"] / self.peak / row["cpu_s"]


def count_here(what: str, options: Options, dtype: str, paths: int) -> dict[str, float]:
    """In a worker whose compiler counts: see Counter.counts."""
    from ours import made

    if platform.machine() != "x86_64":
        raise RuntimeError(f"instructions are counted on x86-64 only, not on {platform.machine()}")
    plan, _ = made(what, dict(options), "native", dtype)
    plan.run(1, 0, 1)
    spent: dict[str, float] = dict.fromkeys(CLASSES, 0.0)
    libraries = [Counted(path) for path in _loaded()]
    if not libraries:
        raise RuntimeError("no library of the kernel cache is loaded")
    for library in libraries:
        library.clear()
    plan.run(1, 0, paths)
    for library in libraries:
        for name, number in library.read().items():
            spent[name] += number / paths
    return spent


class Counted:
    """A loaded library that ``counting_cxx`` made."""

    def __init__(self, path: str) -> None:
        library = ctypes.CDLL(path)
        text = ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(library, "bench_blocks")))
        lines = text.decode().split()
        self.table = np.array([[int(x) for x in line.split(",")] for line in lines], float)
        self.counts = (ctypes.c_uint64 * len(lines)).in_dll(library, "bench_counts")

    def clear(self) -> None:
        ctypes.memset(self.counts, 0, ctypes.sizeof(self.counts))

    def read(self) -> dict[str, float]:
        """Instructions that ran, by class."""
        ran = np.array(self.counts, float) @ self.table
        return dict(zip(CLASSES, ran.tolist(), strict=True))


def _loaded() -> set[str]:
    """The libraries of this process that come from the kernel cache."""
    cache = os.environ["OVERBUILT_CACHE"]
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {line[line.index(cache) :] for line in lines if cache in line and line.endswith(".so")}


def computing(found: dict[str, float]) -> float:
    """The vector instructions that compute."""
    return sum(found[name] for name in COMPUTING)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", help="a scenario, trio or rng")
    parser.add_argument("options", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--paths", type=int, default=PATHS)
    asked = parser.parse_args()
    options: Options = tuple((k, v) for k, _, v in (o.partition("=") for o in asked.options))
    with Counter(cores()) as counter:
        found, most = counter.counts(asked.what, options, asked.dtype, asked.paths), counter.peak
    print(f"instructions of a path of {asked.what}, mean of {asked.paths:,} paths, {asked.dtype}")
    for name, number in found.items():
        print(f"  {name:11}{number:12,.1f}")
    print(f"  {'computing':11}{computing(found):12,.1f}  ({', '.join(COMPUTING)})")
    print(f"a core can run {most / 1e9:.2f} billion vector instructions a second:")
    print(f"{most / computing(found):,.0f} paths a second and core at most")


if __name__ == "__main__":
    main()
