"""Time the peer implementations of the trio workload and check that their losses agree.

Usage: ``python bench/peers.py [--paths N] [--only numpy numba] [--json FILE]``
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from numpy.typing import NDArray
from trio_spec import summary

Simulate = Callable[[int, int], NDArray[np.floating]]

# Paths per timed call, for about one to three seconds on two cores.
PATHS: dict[str, dict[str, int]] = {
    "numpy": {"monthly": 50_000, "once": 250_000, "order": 150_000, "binomial": 200_000},
    "numba": {"monthly": 600_000, "once": 4_000_000, "order": 3_000_000},
    "jax": {"monthly": 300_000, "once": 2_000_000},
    "torch": {"monthly": 200_000, "once": 1_000_000},
}
MEASURES = ("mean", "var99", "es99")
REPEATS = 3
REFERENCE_PATHS = 400_000
REFERENCE_SEED = 20_001


def reference_losses() -> NDArray[np.floating]:
    """Loss sample that every peer is compared with."""
    simulate: Simulate = importlib.import_module("peer_numba").build("monthly")
    return simulate(REFERENCE_PATHS, REFERENCE_SEED)


def agrees(one: dict[str, float], other: dict[str, float], measure: str) -> bool:
    """Whether two summaries lie within four combined standard errors of each other."""
    error = math.hypot(one[f"{measure}_se"], other[f"{measure}_se"])
    return abs(one[measure] - other[measure]) <= 4.0 * error


def measure_peer(
    peer: str, algorithm: str, paths: int, reference: dict[str, float] | None
) -> dict[str, object]:
    """One row of the table: timings of one peer and algorithm, and its summary."""
    simulate: Simulate = importlib.import_module(f"peer_{peer}").build(algorithm)
    start = time.perf_counter()
    simulate(paths, 0)
    first = time.perf_counter() - start
    warm = math.inf
    samples = []
    for seed in range(1, REPEATS + 1):
        start = time.perf_counter()
        samples.append(simulate(paths, seed))
        warm = min(warm, time.perf_counter() - start)
    found = summary(np.concatenate(samples))
    row: dict[str, object] = {
        "peer": peer,
        "algorithm": algorithm,
        "paths": paths,
        "compile_s": max(0.0, first - warm),
        "warm_s": warm,
        "paths_per_s": paths / warm,
        **found,
    }
    if reference is not None:
        row["agrees"] = {m: agrees(found, reference, m) for m in MEASURES}
    return row


def isolated(
    peer: str, algorithm: str, paths: int, reference: dict[str, float] | None
) -> dict[str, object]:
    """``measure_peer`` in a fresh process, so that the peers' thread pools do not meet."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure_peer, peer, algorithm, paths, reference).result()


def cells(row: dict[str, object]) -> list[str]:
    """Text of a row's columns."""
    if "error" in row:
        return [str(row["peer"]), str(row["algorithm"]), str(row["error"]), *[""] * 6]
    agreement = row.get("agrees")
    if not isinstance(agreement, dict):
        verdict = "?"
    else:
        verdict = ", ".join(m for m in MEASURES if not agreement[m]) or "yes"
        verdict = verdict if verdict == "yes" else f"NO: {verdict}"
    return [
        str(row["peer"]),
        str(row["algorithm"]),
        f"{row['compile_s']:.1f}",
        f"{row['warm_s']:.2f}",
        f"{row['paths_per_s']:,.0f}",
        *(f"{row[m]:.3f} ± {row[f'{m}_se']:.3f}" for m in MEASURES),
        verdict,
    ]


COLUMNS = (
    "peer",
    "algorithm",
    "compile s",
    "warm s",
    "paths/s",
    "mean",
    "VaR 99",
    "ES 99",
    "agrees",
)


def show(rows: list[dict[str, object]]) -> None:
    """Print the table, with rich if it is installed."""
    body = [cells(row) for row in rows]
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        widths = [max(len(line[k]) for line in (list(COLUMNS), *body)) for k in range(len(COLUMNS))]
        for line in (list(COLUMNS), *body):
            print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)))
        return
    table = Table(title="trio: 60 months, 400 loans, float32")
    for k, name in enumerate(COLUMNS):
        table.add_column(name, justify="right" if 2 <= k < 8 else "left")
    for line in body:
        table.add_row(*line)
    console = Console()
    Console(width=max(console.width, 120)).print(table)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; exit status 1 if a peer disagrees with the reference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--paths", type=int, help="paths of each timed call (default: per peer)")
    parser.add_argument("--only", nargs="+", choices=tuple(PATHS), default=list(PATHS))
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args(arguments)

    try:
        reference: dict[str, float] | None = summary(reference_losses())
    except ImportError as error:
        print(f"no reference sample: {error}", file=sys.stderr)
        reference = None
    rows: list[dict[str, object]] = []
    for peer in options.only:
        for algorithm, default in PATHS[peer].items():
            try:
                row = isolated(peer, algorithm, options.paths or default, reference)
            except ImportError as error:
                row = {"peer": peer, "algorithm": algorithm, "error": f"missing: {error}"}
            rows.append(row)
    show(rows)
    if options.json:
        options.json.write_text(json.dumps({"reference": reference, "rows": rows}, indent=1) + "\n")
    verdicts = [row["agrees"] for row in rows if "agrees" in row]
    failed = [v for v in verdicts if isinstance(v, dict) and not all(v.values())]
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
