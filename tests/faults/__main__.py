"""The fault table: ``python -m tests.faults --tries 50``, from the folder of the repository.

Each kind of fault happens to a run so many times, at random moments; a run survives if it ends with the bytes of the
run that nothing happened to, or says in a line what it cannot do and has lost nothing.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from .kinds import KINDS, Reference, Unavailable


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--tries", type=int, default=50, help="of each kind")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only this one")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    failed = 0
    print(f"{'fault':32}{'tries':>6}{'survived':>10}")
    with tempfile.TemporaryDirectory() as place:
        reference = Reference.make(Path(place))
        for kind in asked.kind or KINDS:
            rng = random.Random(f"{asked.seed} {kind}")
            survived, lines = 0, []
            for number in range(asked.tries):
                folder = Path(place) / f"run{number}"
                try:
                    wrong = KINDS[kind](reference, rng, folder)
                except Unavailable as error:
                    lines.append(f"    {error}")
                    break
                survived += not wrong
                lines += [f"    try {number}: {wrong}"] if wrong else []
                shutil.rmtree(folder, ignore_errors=True)
            tries = asked.tries if not lines or lines[0].startswith("    try") else 0
            failed += tries - survived
            print(f"{kind:32}{tries:>6}{survived:>10}", *lines, sep="\n" if lines else "")
            sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
