"""Cases of every kind, in child processes that are stopped where one hangs, and a table of what came of them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .cases import KINDS

ROOT = Path(__file__).parents[2]
BATCH = 500  # cases in a process at most: what it remembers of them is memory too
ALLOWED = 1800.0  # seconds for a process, on the slowest machine


@dataclass
class Found:
    """What came of the cases of one kind."""

    kind: str
    tried: int = 0
    accepted: int = 0
    failed: int = 0
    slowest: float = 0.0
    failures: list[dict[str, str]] = field(default_factory=list)

    def add(self, told: dict[str, Any]) -> None:
        self.tried += told["tried"]
        self.accepted += told["accepted"]
        self.failed += told.get("failed", 0)
        self.slowest = max(self.slowest, told["slowest"])
        self.failures += told["failures"]


def campaign(cases: int, seed: int = 0) -> Iterator[Found]:
    """So many cases, shared among the kinds; the same number and seed give the same ones."""
    total = sum(kind.share for kind in KINDS.values())
    wanted = {name: -(-cases * kind.share // total) for name, kind in KINDS.items()}
    if cases <= BATCH:  # one process for all: most of the time would be its start
        yield from _batch([(name, count, seed) for name, count in wanted.items()])
        return
    for name, count in wanted.items():
        whole = Found(name)
        for k, start in enumerate(range(0, count, BATCH)):
            (part,) = _batch([(name, min(BATCH, count - start), seed + k)])
            whole.add(vars(part))
        yield whole


def _batch(jobs: list[tuple[str, int, int]]) -> list[Found]:
    with tempfile.TemporaryDirectory(prefix="overbuilt-fuzz-") as place:
        note = Path(place) / "case"
        command = [sys.executable, "-m", "tests.fuzz.child", str(note)]
        try:
            done = subprocess.run(
                [*command, *(f"{n}:{c}:{s}" for n, c, s in jobs)],
                cwd=ROOT, capture_output=True, text=True, timeout=ALLOWED, check=False,
            )  # fmt: skip
            trouble = "" if done.returncode == 0 else f"exit {done.returncode}: {done.stderr[-2000:]}"  # fmt: skip
            lines = done.stdout.splitlines()
        except subprocess.TimeoutExpired as error:
            trouble = f"hangs: nothing came back in {ALLOWED:g} s"
            lines = (error.stdout or b"").decode().splitlines()
        found = []
        for line in lines:
            one = Found("")
            told = json.loads(line)
            one.kind = told["kind"]
            one.add(told)
            found.append(one)
        if trouble:
            case = note.read_text(encoding="utf-8")[-2000:] if note.exists() else "before the first"
            name = jobs[len(found)][0] if len(found) < len(jobs) else jobs[-1][0]
            found.append(Found(name, failed=1, failures=[{"why": trouble, "case": case}]))
        return found
