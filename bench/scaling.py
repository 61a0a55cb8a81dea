"""How the cost of ``base`` grows on native: with the loans of the book, and with the paths.

Usage: ``python bench/scaling.py [--json FILE] [--paths 100000 1000000 10000000]``

Ten times the loans are the shipped book with each loan split in ten equal ones. Every row runs in a fresh
process; memory is the peak of that process, its start included.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RUN = """
import json, resource, sys, time, overbuilt
scenario = overbuilt.load("base", json.loads(sys.argv[2]))
overbuilt.simulate(scenario, 1000, backend="native")
start = time.perf_counter()
result = overbuilt.simulate(scenario, int(sys.argv[1]), 1, "native")
seconds = time.perf_counter() - start
mean = result.metrics["private_credit.loss"]["mean"]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "phases": result.seconds, "peak_mib": peak, "mean_loss": mean}))
"""


def run(paths: int, overrides: dict[str, Any]) -> dict[str, Any]:
    """Seconds, peak memory and mean loss of one run in a process of its own."""
    command = [sys.executable, "-c", RUN, str(paths), json.dumps(overrides)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def split_book(folder: Path, times: int) -> Path:
    """The shipped book with every loan split in ``times`` equal ones."""
    from overbuilt.engine.locate import CONFIGS

    with (CONFIGS / "book.csv").open(newline="", encoding="utf-8") as file:
        loans = list(csv.DictReader(file))
    target = folder / f"book_{times}.csv"
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(loans[0]))
        writer.writeheader()
        for loan in loans:
            share = float(loan["exposure_usd_bn"]) / times
            for j in range(times):
                writer.writerow(loan | {"loan": f"{loan['loan']}-{j}", "exposure_usd_bn": share})
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", help="write the rows there")
    parser.add_argument("--paths", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for method in ("order", "each"):
            for times in (1, 10):
                book = str(split_book(Path(folder), times))
                chosen = {"private_credit.method": method, "private_credit.book": book}
                row = {"what": "loans", "method": method, "loans": 400 * times, "paths": 131_072}
                rows.append(row | run(131_072, chosen))
        grown = {"what": "paths", "method": "order", "loans": 400}
        rows += [grown | {"paths": n} | run(n, {}) for n in arguments.paths]
    print(
        f"{'':6} {'method':6} {'loans':>6} {'paths':>10} {'seconds':>8} {'paths/s':>9} {'peak MiB':>9} {'mean loss':>10}"
    )
    for r in rows:
        print(
            f"{r['what']:6} {r['method']:6} {r['loans']:6} {r['paths']:10,} {r['seconds']:8.2f} "
            f"{r['paths'] / r['seconds']:9,.0f} {r['peak_mib']:9.0f} {r['mean_loss']:10.3f}"
        )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
