"""The soak: ``python -m tests.faults.soak --minutes 30``: a long run under a cap on memory, whose memory stays flat.

The run is stopped by its deadline, so it ends with exit code 3 and a folder that can be resumed. Memory counts as flat
where the most of the last third is at most 1 % and 2 MiB over the most of the second third; the first third is left
out, as tails and samples fill and allocators settle; so is the writing of the results, which is told by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from .runs import ROOT

PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Soaked:
    """What a soak found. ``most``: MiB resident at most in each third of the time before its deadline; ``saving``:
    after it, while the results were written."""

    minutes: float
    paths: int
    most: tuple[float, float, float]
    saving: float
    code: int
    errors: str
    cap: int

    @property
    def flat(self) -> bool:
        return self.most[2] <= 1.01 * self.most[1] + 2.0

    @property
    def wrong(self) -> str:
        """What is wrong with it; empty where nothing is."""
        if self.code != 3:
            return f"exit {self.code}, not the 3 of a deadline: {self.errors[-300:]}"
        return "" if self.flat else "memory grew"

    def line(self) -> str:
        first, second, third = self.most
        return (
            f"{self.minutes:.1f} minutes of base under a cap of {self.cap:,} MiB: {self.paths:,} paths; resident at most "
            f"{first:.1f} MiB in the first third, {second:.1f} in the second, {third:.1f} in the last, {self.saving:.1f} "
            f"while the results were written: {self.wrong or 'flat'}"
        )


def soak(minutes: float, cap: int, folder: Path) -> Soaked:
    """Run base for so long into ``folder``, with an address space of ``cap`` MiB."""
    out = folder / "run"
    command = [
        sys.executable, "-c", "from overbuilt.cli import main; main(prog_name='overbuilt')", "run", "base", "--paths", "1000000000", "--out", str(out),
        "--deadline", f"{max(1, round(60 * minutes))}s", "--backend", "native", "--format", "json",
    ]  # fmt: skip
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    text, errors = folder / "out", folder / "errors"
    began, readings = time.monotonic(), []
    with text.open("wb") as to, errors.open("wb") as wrong:
        process = subprocess.Popen(
            ["bash", "-c", f'ulimit -v {cap * 1024}; exec "$@"', "bash", *command],
            stdout=to, stderr=wrong, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        while process.poll() is None:
            try:
                pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
                readings.append((time.monotonic() - began, pages * PAGE / 2**20))
            except (OSError, IndexError):  # it ended meanwhile
                pass
            time.sleep(min(1.0, minutes))
    ended, limit = time.monotonic() - began, 60 * minutes
    thirds = [[m for t, m in readings if i <= 3 * t / limit < i + 1] for i in range(4)]
    first, second, third, saving = (max(found, default=0.0) for found in thirds)
    found = json.loads(text.read_text() or "{}")
    return Soaked(
        ended / 60, found.get("paths", 0), (first, second, third), saving, process.returncode,
        errors.read_text(), cap,
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--cap", type=int, default=3000, help="MiB of address space")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = soak(asked.minutes, asked.cap, Path(place))
    print(found.line())
    return 1 if found.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
