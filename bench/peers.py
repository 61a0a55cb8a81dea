"""The trio workload: the engine against peers in NumPy, Numba, JAX and PyTorch.

Usage: ``python bench/peers.py [--quick] [--only numpy numba] [--json FILE]``

Two tiers of peers. ``plain``: what a strong quant writes and ships with the library's own random
numbers and special functions. ``expert``: tuned by hand to the limit, with generators and
polynomials of its own. Every row runs in a fresh process, without compiled code from earlier runs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from trio_spec import summary

HERE = Path(__file__).resolve().parent
LIBRARIES = ("numpy", "numba", "jax", "torch")
MEASURES = ("mean", "var99", "es99")
SAME = {"order": "order", "once": "each", "each": "each", "monthly": "monthly"}
"""Our method that is a peer's algorithm."""
REPEATS = 3
REFERENCE_PATHS, REFERENCE_SEED = 1_000_000, 20_001
QUICK = 10  # so many times fewer paths
Row = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """One row to be: who runs what, and how many paths a timed call has (about a second)."""

    tier: str
    peer: str
    algorithm: str
    paths: int


OURS = (
    Entry("ours", "native", "order", 1_000_000),
    Entry("ours", "native", "each", 600_000),
    Entry("ours", "native", "monthly", 250_000),
    Entry("ours", "jax", "order", 50_000),
    Entry("ours", "jax", "each", 200_000),
)
PATHS: dict[tuple[str, str], dict[str, int]] = {
    ("plain", "numpy"): {"monthly": 50_000, "once": 200_000, "order": 120_000},
    ("plain", "numba"): {
        "monthly": 80_000,
        "once": 300_000,
        "order": 300_000,
        "monthly np.random": 15_000,
        "once np.random": 100_000,
        "order np.random": 200_000,
    },
    ("plain", "jax"): {"monthly": 30_000, "once": 300_000, "order": 40_000},
    ("plain", "torch"): {"monthly": 30_000, "once": 200_000, "order": 60_000},
    ("expert", "numpy"): {
        "monthly": 60_000,
        "once": 300_000,
        "order": 120_000,
        "binomial": 180_000,
    },
    ("expert", "numba"): {"monthly": 800_000, "once": 3_000_000, "order": 2_000_000},
    ("expert", "jax"): {"monthly": 300_000, "once": 2_000_000},
    ("expert", "torch"): {"monthly": 200_000, "once": 1_000_000},
}


def build(entry: Entry) -> Any:
    """The entry's ``simulate(paths, seed) -> losses``."""
    if entry.tier == "ours":
        return importlib.import_module("trio").build(entry.algorithm, entry.peer)
    head = {"plain": "peer", "expert": "expert"}[entry.tier]
    return importlib.import_module(f"{head}_{entry.peer}").build(entry.algorithm)


def measure(entry: Entry) -> Row:
    """Timings and summary of one entry; compiled code goes to an empty folder."""
    with tempfile.TemporaryDirectory() as empty:
        for variable in ("OVERBUILT_CACHE", "TORCHINDUCTOR_CACHE_DIR", "NUMBA_CACHE_DIR"):
            os.environ[variable] = os.path.join(empty, variable.lower())
        simulate = build(entry)
        start = time.perf_counter()
        simulate(entry.paths, 0)
        first = time.perf_counter() - start
        warm, samples = math.inf, []
        for seed in range(1, REPEATS + 1):
            start = time.perf_counter()
            samples.append(simulate(entry.paths, seed))
            warm = min(warm, time.perf_counter() - start)
    return {
        "tier": entry.tier,
        "peer": entry.peer,
        "algorithm": entry.algorithm,
        "paths": entry.paths,
        "compile_s": max(0.0, first - warm),
        "warm_s": warm,
        "paths_per_s": entry.paths / warm,
        **summary(np.concatenate(samples)),
    }


def reference(paths: int) -> dict[str, float]:
    """The summary that every row is compared with: our native order."""
    return summary(build(OURS[0])(paths, REFERENCE_SEED))


def isolated(function: Any, argument: Any) -> Any:
    """The function's result from a fresh process, so that thread pools do not meet."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, argument).result()


def agrees(one: Row, other: Row, name: str) -> bool:
    """Whether two summaries lie within four combined standard errors of each other."""
    return abs(one[name] - other[name]) <= 4.0 * math.hypot(one[f"{name}_se"], other[f"{name}_se"])


def add_ratios(rows: list[Row]) -> None:
    """Our paths per second over the row's: as shipped, and with the row's algorithm."""
    native = {r["algorithm"]: r for r in good(rows, "ours", "native")}
    for row in good(rows):
        shipped = native.get("order")
        same = native.get(SAME.get(row["algorithm"].split()[0], ""))
        row["as_shipped"] = shipped and shipped["paths_per_s"] / row["paths_per_s"]
        row["same_algorithm"] = same and same["paths_per_s"] / row["paths_per_s"]


def good(rows: list[Row], tier: str = "", peer: str = "") -> list[Row]:
    """The rows that ran, of a tier and a peer."""
    ran = (r for r in rows if "error" not in r)
    return [r for r in ran if tier in ("", r["tier"]) and peer in ("", r["peer"])]


def summaries(rows: list[Row]) -> dict[str, Any]:
    """The fastest peers and our ratios to them."""

    def fastest(found: list[Row]) -> Row | None:
        keys = ("tier", "peer", "algorithm", "paths_per_s", "as_shipped", "same_algorithm")
        best = max(found, key=lambda r: r["paths_per_s"], default=None)
        return best and {k: best[k] for k in keys}

    plain, ours = good(rows, "plain"), good(rows, "ours", "jax")
    same = {}
    for method in ("order", "each", "monthly"):
        rivals = [r for r in plain if SAME[r["algorithm"].split()[0]] == method]
        if rivals:
            same[method] = fastest(rivals)
    jax = fastest(good(rows, "plain", "jax"))
    if jax and ours:
        best = max(ours, key=lambda r: r["paths_per_s"])
        jax["our_jax_ratio"] = best["paths_per_s"] / jax["paths_per_s"]
        jax["our_jax_algorithm"] = best["algorithm"]
    return {
        "plain": fastest(plain),
        "plain_same_algorithm": same,
        "expert": fastest(good(rows, "expert")),
        "jax": jax,
    }


def lines(found: dict[str, Any]) -> list[str]:
    """The summaries in words; a ratio above 1 means that we are faster."""

    def one(row: Row, ratio: str) -> str:
        rate = f"{row['paths_per_s']:,.0f} paths/s"
        return f"{row['peer']} {row['algorithm']}, {rate}: {row[ratio]:.2f} x"

    text = []
    if found["plain"]:
        text.append(f"fastest plain peer    {one(found['plain'], 'as_shipped')} (native order)")
    for method, row in found["plain_same_algorithm"].items():
        text.append(f"  same algorithm      {one(row, 'same_algorithm')} (native {method})")
    if found["expert"]:
        text.append(f"fastest expert peer   {one(found['expert'], 'as_shipped')} (native order)")
    if found["jax"] and "our_jax_ratio" in found["jax"]:
        ours = f"(our JAX {found['jax']['our_jax_algorithm']})"
        text.append(f"fastest plain JAX     {one(found['jax'], 'our_jax_ratio')} {ours}")
    return text


COLUMNS = (
    *("tier", "peer", "algorithm", "compile s", "warm s", "paths/s"),
    *("mean", "VaR 99", "ES 99", "agrees", "as shipped", "same algorithm"),
)


def cells(row: Row) -> list[str]:
    """Text of a row's columns."""
    head = [row["tier"], row["peer"], row["algorithm"]]
    if "error" in row:
        return [*head, row["error"][:60], *[""] * (len(COLUMNS) - 4)]
    outside = [m for m in MEASURES if not row["agrees"][m]]
    return [
        *head,
        f"{row['compile_s']:.1f}",
        f"{row['warm_s']:.2f}",
        f"{row['paths_per_s']:,.0f}",
        *(f"{row[m]:.3f} ± {row[f'{m}_se']:.3f}" for m in MEASURES),
        f"NO: {', '.join(outside)}" if outside else "yes",
        *(f"{row[k]:.2f}" if row[k] else "" for k in ("as_shipped", "same_algorithm")),
    ]


def show(rows: list[Row]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    title = "trio: 60 months, 400 loans, float32; ratios are our native paths/s over the row's"
    table = Table(title=title)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in COLUMNS[:3] else "right", no_wrap=True)
    for k, row in enumerate(rows):
        last = k + 1 == len(rows) or rows[k + 1]["tier"] != row["tier"]
        table.add_row(*cells(row), end_section=last)
    console = Console()
    Console(width=max(console.width, 170)).print(table)


def machine() -> dict[str, Any]:
    """The processor and how busy it was."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        info = []
    names = (x.partition(":")[2].strip() for x in info if x.startswith("model name"))
    model = next(names, platform.processor())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = list(os.getloadavg()) if hasattr(os, "getloadavg") else None
    return {"processor": model, "cores": cores, "system": platform.system(), "load": load}


def versions() -> dict[str, str]:
    """Of Python, of the libraries that are installed, and of the C++ compiler."""
    import overbuilt

    found = {"python": platform.python_version(), "overbuilt": overbuilt.__version__}
    for name in ("numpy", "scipy", "numba", "jax", "jaxlib", "torch"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    compiler = output(os.environ.get("CXX", "g++"), "-dumpfullversion")
    return found | ({"compiler": compiler} if compiler else {})


def commit() -> str | None:
    """The repository's commit, marked if files differ from it."""
    number = output("git", "-C", str(HERE), "rev-parse", "HEAD")
    changed = output("git", "-C", str(HERE), "status", "--porcelain")
    return number and number + (" with changes" if changed else "")


def output(*command: str) -> str | None:
    """What a command prints, None if it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; exit status 1 if a row disagrees with the reference or does not run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} times fewer paths")
    parser.add_argument("--only", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    parser.add_argument("--json", type=Path, help="write machine, versions and rows to this file")
    options = parser.parse_args(arguments)
    shrink = QUICK if options.quick else 1

    about = {"machine": machine(), "versions": versions(), "commit": commit()}
    wanted = isolated(reference, REFERENCE_PATHS // shrink)
    theirs = [
        Entry(tier, peer, algorithm, paths)
        for (tier, peer), algorithms in PATHS.items()
        if peer in options.only
        for algorithm, paths in algorithms.items()
    ]
    rows: list[Row] = []
    for e in (*OURS, *theirs):
        small = Entry(e.tier, e.peer, e.algorithm, max(1_000, e.paths // shrink))
        print(f"{e.tier} {e.peer} {e.algorithm} ...", file=sys.stderr, flush=True)
        try:
            row = isolated(measure, small)
            row["agrees"] = {m: agrees(row, wanted, m) for m in MEASURES}
        except (ImportError, RuntimeError) as error:  # a library or a compiler that is not here
            row = {"tier": e.tier, "peer": e.peer, "algorithm": e.algorithm, "error": str(error)}
        rows.append(row)
    add_ratios(rows)
    show(rows)
    found = summaries(rows)
    print("\n".join(lines(found)))
    if options.json:
        whole = {**about, "reference": wanted, "rows": rows, "summaries": found}
        options.json.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    ok = all("error" not in r and all(r["agrees"].values()) for r in rows)
    return 0 if ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
