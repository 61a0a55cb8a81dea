"""Launches of any size in, whole blocks out; and what to do when a launch does not fit, or a device is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.backends.base import BackendError, OutOfMemory, Output
from .statistics import BLOCK

if TYPE_CHECKING:
    from .simulate import Plan

SERIES_PATHS = 1 << 14
"""Series by month describe this many paths, the first ones: their bands err by about a percent of their width."""

Progress = Callable[[int, int, float], None]
Block = tuple[int, NDArray[Any], NDArray[np.int32]]


class Runner:
    """Simulates blocks that are not done yet; ``stop`` is asked after each launch whether to end, and why.

    What a stop leaves of a block that is not whole is dropped. A launch that a device's memory does not hold is
    halved: no result depends on it. ``on_lost`` gives another plan where a backend fails in the middle, or raises.
    """

    def __init__(
        self,
        plan: Plan,
        seed: int,
        paths: int,
        batch: int,
        *,
        progress: Progress | None = None,
        stop: Callable[[], str] = lambda: "",
        on_lost: Callable[[BackendError], Plan] | None = None,
    ) -> None:
        self.plan, self.seed, self.paths, self.batch = plan, seed, paths, batch
        self.progress, self.stop, self.on_lost = progress, stop, on_lost
        self.expected = paths
        self.done = 0
        self.why = ""
        self.seconds = 0.0
        self.began = time.perf_counter()
        self.used: list[dict[str, Any]] = []
        self._series: dict[int, NDArray[Any]] = {}

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self.began

    def blocks(self, finished: Collection[int], goal: int) -> Iterator[Block]:
        """The blocks of the first ``goal`` paths that are not finished; fewer where ``stop`` says so."""
        for first, last in missing(finished, goal):
            yield from self._range(first, min(last, goal))
            if self.why:
                return

    def _range(self, first: int, goal: int) -> Iterator[Block]:
        waiting: list[Output] = []
        number, held = first // BLOCK, 0
        while first < goal and not self.why:
            waiting.append(self._launch(first, goal))
            count = waiting[-1].bad.shape[0]
            first, held, self.done = first + count, held + count, self.done + count
            if self.progress is not None:
                self.progress(self.done, max(self.expected, self.done), self.elapsed)
            if held >= BLOCK or first == goal:
                values = joined([o.metrics for o in waiting])
                bad = joined([o.bad for o in waiting])
                whole = held if first == goal else held // BLOCK * BLOCK
                for at in range(0, whole, BLOCK):
                    end = min(at + BLOCK, whole)
                    yield number, values[:, at:end], bad[at:end]
                    number += 1
                rest = Output(values[:, whole:], None, bad[whole:])
                waiting, held = ([rest], held - whole) if whole < held else ([], 0)
                self.why = self.stop()

    def _launch(self, first: int, goal: int) -> Output:
        """The next paths; those with series are launches of their own."""
        series = bool(self.plan.economy.series) and first < SERIES_PATHS
        while True:
            if series:
                count = min(self.batch, SERIES_PATHS - first, goal - first)
            else:  # launches end on multiples of the batch, so large ones hold whole blocks
                count = min(self.batch - first % self.batch, goal - first)
            start = time.perf_counter()
            try:
                output = self.plan.run(self.seed, first, count, series=series)
            except OutOfMemory:
                if count < 2:
                    raise
                self.batch = count // 2
                continue
            except BackendError as error:
                if self.on_lost is None:
                    raise
                self.plan = self.on_lost(error)
                continue
            self.seconds += time.perf_counter() - start
            if output.series is not None:
                self._series[first] = output.series
            self._note(first, count)
            return output

    def _note(self, first: int, count: int) -> None:
        """Which backend gave which paths, adjacent launches as one."""
        last = self.used[-1] if self.used else None
        if last and last["backend"] == self.plan.backend and last["first"] + last["paths"] == first:
            last["paths"] += count
        else:
            self.used.append({"backend": self.plan.backend, "first": first, "paths": count})

    def record(self, paths: int) -> NDArray[Any] | None:
        """Series (months, variables, paths) of the first paths, computed again where a run was resumed."""
        if not self.plan.economy.series or not paths:
            return None
        wanted = min(paths, SERIES_PATHS)
        held = sum(s.shape[-1] for s in self._series.values())
        if held < wanted:
            self._series.clear()
            first = 0
            while first < wanted:
                first += self._launch(first, wanted).bad.shape[0]
        found: NDArray[Any] = joined([self._series[k] for k in sorted(self._series)])
        return found


def missing(finished: Collection[int], goal: int) -> list[tuple[int, int]]:
    """The ranges of paths below ``goal`` whose blocks are not finished, each from the start of a block."""
    ranges: list[tuple[int, int]] = []
    for block in range(-(-goal // BLOCK)):
        if block in finished:
            continue
        first, last = block * BLOCK, (block + 1) * BLOCK
        if ranges and ranges[-1][1] == first:
            ranges[-1] = (ranges[-1][0], last)
        else:
            ranges.append((first, last))
    return ranges


def joined(parts: list[Any]) -> Any:
    """Arrays one after another along their paths."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
