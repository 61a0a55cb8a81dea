"""What a Dask worker does for a run: plans it once, says who it is, computes ranges of its blocks.

These functions are all that a client calls. They take and give plain values: text, numbers, and the bytes of
``checkpoint.pack``. What goes wrong comes back as lines, not as an exception that would have to be pickled.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import tempfile
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__ as __version__
from ..kernels.backends.base import BackendError
from ..kernels.backends.cuda import DEVICES_VARIABLE
from ..kernels.symbol import TraceError
from .checkpoint import pack
from .log import silent
from .quarantine import BadPaths, named
from .run_folder import identity_of
from .run_loop import work
from .runner import Runner
from .scenario import Scenario, restore
from .simulate import Plan, plan
from .statistics import BLOCK, Statistics
from .tails import Sample, Tail, mixed
from .validate import ConfigError

Answer = dict[str, Any]
"""What a function here gives; with ``lines`` it says why there is nothing else, and with ``kind`` of what kind that is."""

UNKNOWN, FAILED = "unknown", "failed"
_KEPT = 4
"""Runs that a worker keeps the plans of: a cluster may serve several at once."""


@dataclass
class _Prepared:
    """A run's plan in this process; ``batch`` is what the memory was found to hold."""

    scenario: Scenario
    plan: Plan
    asked: dict[str, Any]
    batch: int

    def statistics(self) -> Statistics:
        a = self.asked
        events = tuple((str(m), str(sign), float(t)) for m, sign, t in a["events"])
        return Statistics(self.plan.economy.metrics, a["tail"], a["sample"], events)


_prepared: dict[str, _Prepared] = {}
_working = threading.Lock()
"""One task at a time, however many threads Dask gives a worker: a kernel takes the whole device by itself."""


def dask_setup(worker: Any) -> None:
    """As a Dask preload: Ctrl-C reaches every process of a terminal, and only the client is to hear it."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def prepare(key: str, asked: str, books: dict[str, bytes]) -> Answer:
    """Plan a run and keep it under ``key``: its identity here, what auto chose, what it cost, and the host's name.

    ``asked`` is JSON: the config, and the arguments of simulate; ``books`` are the files that the config names,
    compressed.
    """
    try:
        with _working:
            made = _prepared.get(key) or _prepare(asked, books)
            _prepared[key] = made
            while len(_prepared) > _KEPT:
                del _prepared[next(iter(_prepared))]
    except ConfigError as error:
        return _sorry(FAILED, error.problems)
    except (BackendError, TraceError) as error:
        return _sorry(FAILED, str(error).splitlines())
    except MemoryError:
        return _sorry(FAILED, ["out of memory"])
    a, p = made.asked, made.plan
    return {
        "identity": identity_of(p, a["paths"], a["seed"], a["until"], made.statistics()),
        "chunk": p.kernel.chunk,
        "passed_over": p.passed_over,
        "seconds": p.seconds,
        "host": socket.gethostname(),
    }


def _prepare(asked: str, books: dict[str, bytes]) -> _Prepared:
    a = json.loads(asked)
    os.environ.setdefault(DEVICES_VARIABLE, "0")  # a worker's own GPU; the others have workers too
    with tempfile.TemporaryDirectory(prefix="overbuilt-") as place:
        for name, data in books.items():
            (Path(place) / Path(name).name).write_bytes(zlib.decompress(data))
        scenario = restore(a["config"], a["scenario"], Path(place))
        made = plan(scenario, a["backend"], a["dtype"], a["months"])
    return _Prepared(scenario, made, a, a["batch"] or max(made.kernel.chunk, BLOCK))


def compute(key: str, first: int, end: int, bounds: Answer | None) -> Answer:
    """The statistics of blocks first, ..., end - 1, packed, without what is beyond ``bounds``."""
    with _working:
        made = _prepared.get(key)
        if made is None:
            return _sorry(UNKNOWN, ["it does not know the run; its process was started again"])
        a = made.asked
        statistics = made.statistics()
        try:
            runner = Runner(
                made.plan, a["seed"], min(end * BLOCK, a["paths"]), made.batch, first=first * BLOCK
            )
            work(runner, statistics, None, None, None, silent, BadPaths())
            made.batch = runner.batch
            if bounds is not None:
                prune(statistics, bounds)
            return {"packed": pack(statistics, runner.elapsed), "seconds": runner.elapsed}
        except BackendError as error:
            return _sorry(FAILED, str(error).splitlines())
        except MemoryError:
            return _sorry(FAILED, ["out of memory"])


def series(key: str, paths: int) -> Answer:
    """The series of a run of so many paths by month: the rows of each variable, as ``Result.by_month``."""
    with _working:
        made = _prepared.get(key)
        if made is None:
            return _sorry(UNKNOWN, ["it does not know the run; its process was started again"])
        try:
            runner = Runner(made.plan, made.asked["seed"], paths, made.batch)
            return {"rows": runner.series()}
        except BackendError as error:
            return _sorry(FAILED, str(error).splitlines())
        except MemoryError:
            return _sorry(FAILED, ["out of memory"])


def name_bad(key: str, bad: dict[int, int]) -> Answer:
    """The first paths with a non-finite state, and the variable of each: see quarantine."""
    with _working:
        made = _prepared.get(key)
        if made is None:
            return _sorry(UNKNOWN, ["it does not know the run; its process was started again"])
        p = made.plan
        how = {
            "seed": made.asked["seed"],
            "backend": p.backend,
            "dtype": p.dtype,
            "months": p.months,
        }
        return {"bad": named(made.scenario, how, bad)}


def _sorry(kind: str, lines: list[str]) -> Answer:
    return {"kind": kind, "lines": lines, "host": socket.gethostname()}


# ---- what need not be sent
def bounds_of(statistics: Statistics) -> Answer:
    """The last value and path of each tail that is full, and how late a path may come in the sample if that is."""
    tails: dict[str, list[tuple[float, int] | None]] = {}
    for name, pair in statistics.tails.items():
        found = [tail.found() for tail in pair]
        tails[name] = [
            (float(values[-1]), int(paths[-1])) if len(values) == statistics.tail else None
            for values, paths in found
        ]
    paths = statistics.sample.paths
    full = len(paths) == statistics.sample_size
    return {"tails": tails, "sample": int(mixed(paths).max()) if full else None}


def prune(statistics: Statistics, bounds: Answer) -> None:
    """Drop what cannot be kept once these statistics are merged with those that the bounds are of.

    That is what comes after the last that those keep, by value and then by path; so the merged statistics are the
    same.
    """
    for name, pair in bounds["tails"].items():
        upper, lower = (
            tail if bound is None else _before(tail, *bound)
            for tail, bound in zip(statistics.tails[name], pair, strict=True)
        )
        statistics.tails[name] = (upper, lower)
    if bounds["sample"] is not None:
        paths, values = statistics.sample.paths, statistics.sample.values
        at = np.flatnonzero(mixed(paths) < np.uint64(bounds["sample"]))
        statistics.sample = Sample.restored(statistics.sample_size, paths[at], values[:, at])


def _before(tail: Tail, value: float, path: int) -> Tail:
    values, paths = tail.found()
    more = tail.sign * values > tail.sign * value
    kept = more | ((values == value) & (paths < np.uint64(path)))
    return Tail.restored(tail.keep, tail.sign, values[kept], paths[kept])
