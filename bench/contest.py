"""Timings by turns: each contender in a process of its library's own, one call of each in every round.

So compile time stays apart, thread pools do not meet, and what drifts in the machine hits all alike.
"""

from __future__ import annotations

import importlib
import math
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

Row = dict[str, Any]
Say = Callable[[str], None]
PATIENCE = 600  # seconds for a call, a compilation with it
CACHES = ("OVERBUILT_CACHE", "TORCHINDUCTOR_CACHE_DIR", "NUMBA_CACHE_DIR", "WARP_CACHE_PATH")


@dataclass(frozen=True)
class Contender:
    """Who runs what: ``module.build(*arguments)`` gives ``simulate(count, seed) -> one value a path``,
    or (values, paths).

    ``count`` is the number of paths of a timed call; ``row`` what the table says of it. Contenders of the same
    ``process`` and environment share one.
    """

    process: str
    module: str
    arguments: tuple[Any, ...]
    count: int
    row: Row = field(default_factory=dict, hash=False)
    environment: tuple[tuple[str, str], ...] = ()


class Missing(RuntimeError):
    """A library is not installed."""


class Worker:
    """A fresh process that runs functions of modules by name."""

    def __init__(self, environment: dict[str, str]) -> None:
        context = multiprocessing.get_context("spawn")
        self.caches = tempfile.mkdtemp(prefix="overbuilt-bench-")  # no compiled code from earlier
        caches = {name: os.path.join(self.caches, name.lower()) for name in CACHES}
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, caches | environment), daemon=True
        )
        self.process.start()
        theirs.close()

    def call(self, module: str, function: str, *arguments: Any) -> Any:
        """What the function returns there; Missing or RuntimeError where it raised."""
        try:
            self.pipe.send((module, function, arguments))
            if not self.pipe.poll(PATIENCE):
                self.process.kill()
                raise RuntimeError(f"no answer within {PATIENCE} seconds")
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(5)
            raise RuntimeError(
                f"the process ended with exit code {self.process.exitcode}"
            ) from None
        if kind == "missing":
            raise Missing(value)
        if kind == "error":
            raise RuntimeError(value)
        return value

    def close(self) -> None:
        self.pipe.close()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
        shutil.rmtree(self.caches, ignore_errors=True)


def _serve(pipe: Any, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    silent = os.open(os.devnull, os.O_WRONLY)  # libraries say hello; what matters comes by the pipe
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    while True:
        try:
            module, function, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = ("good", getattr(importlib.import_module(module), function)(*arguments))
        except ImportError as error:
            answer = ("missing", str(error))
        except Exception as error:
            answer = ("error", f"{type(error).__name__}: {error}"[:300])
        pipe.send(answer)


_BUILT: dict[tuple[str, tuple[Any, ...]], Any] = {}
_VALUES: dict[tuple[str, tuple[Any, ...]], list[Any]] = {}


def first(module: str, arguments: tuple[Any, ...], count: int) -> float:
    """In a worker: build, call once; seconds of that, the library's import not among them."""
    made = importlib.import_module(module).build
    start = time.perf_counter()
    simulate = _BUILT[module, arguments] = made(*arguments)
    simulate(count, 0)
    return time.perf_counter() - start


def again(module: str, arguments: tuple[Any, ...], count: int, seed: int) -> tuple[float, float]:
    """In a worker: one timed call; seconds by the clock, and of processors."""
    simulate = _BUILT[module, arguments]
    start, busy = time.perf_counter(), time.process_time()
    values = simulate(count, seed)
    spent = time.perf_counter() - start, time.process_time() - busy
    _VALUES.setdefault((module, arguments), []).append(values)
    return spent


def summary(module: str, arguments: tuple[Any, ...], how: str) -> dict[str, float]:
    """In a worker: the summary of all values of the timed calls, by the function ``how`` (module:function)."""
    where, _, name = how.partition(":")
    values = np.concatenate(_VALUES.pop((module, arguments)), axis=-1)
    found: dict[str, float] = getattr(importlib.import_module(where), name)(values)
    return found


def mean(values: Any) -> dict[str, float]:
    """Mean and its standard error."""
    x = np.asarray(values, np.float64)
    return {"mean": float(x.mean()), "mean_se": float(x.std(ddof=1) / math.sqrt(x.size))}


def moments(values: Any) -> dict[str, float]:
    """Mean and variance with their standard errors, the variance's as for normal values."""
    x = np.asarray(values, np.float64)
    variance = float(x.var(ddof=1))
    error = variance * math.sqrt(2.0 / (x.size - 1))
    return mean(x) | {"variance": variance, "variance_se": error}


def contest(
    contenders: Sequence[Contender], rounds: int, say: Say, how: str = "contest:mean"
) -> tuple[list[Row], list[str]]:
    """A row for each contender that ran, and a line for each that did not.

    A row has what its contender's has, ``paths``, ``compile_s``, ``seconds`` (of each round), ``best_s``,
    ``median_s``, ``cpu_s`` (least processor seconds), ``per_s`` (paths a second of the best round), and the
    summary of its values.
    """
    workers: dict[Any, Worker] = {}
    firsts: dict[int, float] = {}
    spent: dict[int, list[tuple[float, float]]] = {}
    skipped: list[str] = []

    def attempt(k: int, function: str, *arguments: Any) -> Any:
        c = contenders[k]
        try:
            worker = workers[c.process, c.environment]
            return worker.call("contest", function, c.module, c.arguments, *arguments)
        except (Missing, RuntimeError) as error:
            firsts.pop(k, None)
            text = f"{c.process} {c.row.get('algorithm', '')}".strip()
            skipped.append(f"{text} skipped: {error}")
            return None

    try:
        for k, c in enumerate(contenders):
            if (c.process, c.environment) not in workers:
                workers[c.process, c.environment] = Worker(dict(c.environment))
            say(f"compiling {c.process} {c.row.get('algorithm', '')}")
            seconds = attempt(k, "first", c.count)
            if seconds is not None:
                firsts[k] = seconds
        for turn in range(1, rounds + 1):
            for k in list(firsts):
                c = contenders[k]
                say(f"round {turn} of {rounds}: {c.process} {c.row.get('algorithm', '')}")
                pair = attempt(k, "again", c.count, turn)
                if pair is not None:
                    spent.setdefault(k, []).append(pair)
        rows = []
        for k in list(firsts):
            c = contenders[k]
            found = attempt(k, "summary", how)
            if found is not None:
                clock = [round(s, 6) for s, _ in spent[k]]
                rows.append(
                    c.row
                    | {
                        "paths": c.count,
                        "compile_s": max(0.0, firsts[k] - min(clock)),
                        "seconds": clock,
                        "best_s": min(clock),
                        "median_s": median(clock),
                        "cpu_s": min(busy for _, busy in spent[k]),
                        "per_s": c.count / min(clock),
                    }
                    | found
                )
        return rows, skipped
    finally:
        for worker in workers.values():
            worker.close()


def agrees(one: Row, other: Row, measures: Sequence[str] = ("mean",), errors: float = 4.0) -> bool:
    """Whether each measure of two rows lies within so many combined standard errors."""
    return all(
        abs(one[m] - other[m]) <= errors * math.hypot(one[f"{m}_se"], other[f"{m}_se"])
        for m in measures
    )
