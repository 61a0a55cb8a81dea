"""``python -m tests.fuzz [--cases N] [--seed N]``: a table of the cases by kind; exit code 1 where one failed."""

from __future__ import annotations

import argparse
import sys
import time

from .campaign import campaign


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).split(": ", 1)[1])
    parser.add_argument("--cases", type=int, default=10_500)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    began, tried, failed = time.monotonic(), 0, 0
    print(f"{'kind':14}{'tried':>8}{'accepted':>10}{'failed':>8}{'slowest, s':>12}")
    for f in campaign(asked.cases, asked.seed):
        print(f"{f.kind:14}{f.tried:8,}{f.accepted:10,}{f.failed:8}{f.slowest:12.2f}", flush=True)
        for failure in f.failures:
            print(f"  {failure['why']}\n  case: {failure['case']}", flush=True)
        tried, failed = tried + f.tried, failed + f.failed
    print(f"{tried:,} cases, {failed} failed, {time.monotonic() - began:,.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
