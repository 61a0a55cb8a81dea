"""A batch of cases in this process, of bounded memory, each for a bounded time; what was found as JSON.

``python -m tests.fuzz.child KIND COUNT SEED``. The same arguments give the same cases. Before a case is tried it is
written down, so that whoever started this process can say which one it was that never came back.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from .cases import KINDS

SECONDS = 20  # of processor time for a case: none takes one
MEMORY = 1 << 30  # bytes that a batch may take beyond what the package itself does
KEPT = 10  # failures that are told


class TooSlow(BaseException):
    """A case took longer than any should; no handler of Exception may swallow it."""


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlow


def batch(name: str, count: int, start: int, note: Path) -> dict[str, Any]:
    """Try so many cases of a kind."""
    kind = KINDS[name]
    found: dict[str, Any] = {
        "kind": name,
        "tried": 0,
        "accepted": 0,
        "failures": [],
        "slowest": 0.0,
    }

    @seed(start)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=kind.drawn)
    def one(case: Any) -> None:
        note.write_text(repr(case), encoding="utf-8", errors="backslashreplace")
        began = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            found["accepted"] += kind.check(case, folder)
        except AssertionError as error:
            _failed(found, case, str(error))
        except TooSlow:
            _failed(found, case, f"took {SECONDS} s")
        except Exception:
            _failed(found, case, traceback.format_exc(limit=-6))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        found["tried"] += 1
        found["slowest"] = max(found["slowest"], time.process_time() - began)

    with tempfile.TemporaryDirectory(prefix="overbuilt-fuzz-") as place:
        folder = Path(place)
        one()
    return found


def _failed(found: dict[str, Any], case: Any, why: str) -> None:
    if len(found["failures"]) < KEPT:
        # the end of a traceback and of a file's text say most
        found["failures"].append({"why": why[:200] + why[200:][-1800:], "case": repr(case)[-600:]})
    found["failed"] = found.get("failed", 0) + 1


def _used() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def main(jobs: list[tuple[str, int, int]], note: Path) -> None:
    signal.signal(signal.SIGPROF, _too_slow)
    for name, _, _ in jobs:
        KINDS[name].drawn.validate()
    limit = _used() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for name, count, start in jobs:
        print(json.dumps(batch(name, count, start, note)), flush=True)


if __name__ == "__main__":
    wanted = [(n, int(c), int(s)) for n, c, s in (job.split(":") for job in sys.argv[2:])]
    main(wanted, Path(sys.argv[1]))
