"""Launches of any size in, whole blocks out; and what to do when a launch does not fit, or a device is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.backends.base import BackendError, LaunchError, OutOfMemory, Output
from .series import SERIES_PATHS, Rows, series_rows
from .statistics import BLOCK, Statistics

if TYPE_CHECKING:
    from .simulate import Plan

Progress = Callable[[int, int, float], None]


@dataclass(frozen=True, slots=True)
class Block:
    """What a whole block gave: values (metrics, paths) and bad (paths,), and the backend that all of it is of."""

    number: int
    values: NDArray[Any]
    bad: NDArray[np.int32]
    backend: str

    @property
    def bad_count(self) -> int:
        return int(np.count_nonzero(self.bad))

    def into(self, statistics: Statistics) -> None:
        """Add it."""
        statistics.add(self.number, self.values, self.bad, self.backend)


class Runner:
    """Simulates blocks that are not done yet; ``stop`` is asked after each launch whether to end, and why.

    What a stop leaves of a block that is not whole is dropped. A launch that the memory does not hold is halved: no
    result depends on it. ``on_lost`` gives another plan where a backend fails in the middle, or raises; the block is
    then computed again, so that all its paths are of one backend. The run's paths are ``first`` to ``paths`` - 1.
    """

    def __init__(
        self,
        plan: Plan,
        seed: int,
        paths: int,
        batch: int,
        *,
        first: int = 0,
        progress: Progress | None = None,
        stop: Callable[[], str] = lambda: "",
        on_lost: Callable[[BackendError], Plan] | None = None,
    ) -> None:
        self.plan, self.seed, self.paths, self.batch = plan, seed, paths, batch
        self.first, self.size = first, paths - first
        self.progress, self.stop, self.on_lost = progress, stop, on_lost
        self.expected = self.size
        self.done = 0
        self.why = ""
        self.seconds = 0.0
        self.began = time.perf_counter()
        self.lost: list[str] = []
        """A line for each backend that failed."""
        self._series: dict[
            int, NDArray[Any]
        ] = {}  # records of the first paths, until all are there
        self._by_month: dict[str, Rows] = {}
        self._series_batch = SERIES_PATHS

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self.began

    def blocks(self, finished: Collection[int], goal: int) -> Iterator[Block]:
        """The blocks below path ``goal`` that are not finished; fewer where ``stop`` says so."""
        for first, last in missing(finished, goal, self.first):
            yield from self._range(first, min(last, goal))
            if self.why:
                return

    def _range(self, first: int, goal: int) -> Iterator[Block]:
        waiting: list[Output] = []
        number, held = first // BLOCK, 0
        while first < goal and not self.why:
            try:
                waiting.append(self._launch(first, goal))
            except BackendError as error:
                self._go_on(error, first)
                first, self.done = first - held, self.done - held
                waiting, held = [], 0
                if not number:
                    self._forget()
                continue
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
                    yield Block(number, values[:, at:end], bad[at:end], self.plan.backend)
                    number += 1
                rest = Output(values[:, whole:], None, bad[whole:])
                waiting, held = ([rest], held - whole) if whole < held else ([], 0)
                self.why = self.stop()

    def _launch(self, first: int, goal: int) -> Output:
        """The next paths; those with series are launches of their own."""
        series = bool(self.plan.economy.series) and first < SERIES_PATHS
        while True:
            if series:
                most = min(self.batch, self._series_batch)
                count = min(most, SERIES_PATHS - first, goal - first)
            else:  # launches end on multiples of the batch, so large ones hold whole blocks
                count = min(self.batch - first % self.batch, goal - first)
            start = time.perf_counter()
            try:
                output = self.plan.run(self.seed, first, count, series=series)
            except (OutOfMemory, MemoryError) as error:
                if count < 2:
                    raise OutOfMemory("the memory does not hold a single path") from error
                if series:  # what a record of all months takes says nothing of other launches
                    self._series_batch = count // 2
                else:
                    self.batch = count // 2
                continue
            self.seconds += time.perf_counter() - start
            if output.series is not None:
                self._series[first] = output.series
                self._reduce_series()
            return output

    def _reduce_series(self) -> None:
        """Once the first paths are all there, their rows: a record of all months is large, and goes."""
        if sum(s.shape[-1] for s in self._series.values()) == min(self.paths, SERIES_PATHS):
            names = self.plan.economy.series
            self._by_month = series_rows(names, (self._series[k] for k in sorted(self._series)))
            self._series.clear()

    def _forget(self) -> None:
        self._series.clear()
        self._by_month = {}

    def _go_on(self, error: BackendError, first: int) -> None:
        """Another backend after one that failed. Raises LaunchError where there is none, or it is not allowed."""
        failed = f"failed at path {first:,} ({error})"
        if self.on_lost is None:
            raise LaunchError(f"backend {self.plan.backend} {failed}") from error
        lost = self.plan.backend
        try:
            self.plan = self.on_lost(error)
        except BackendError:
            raise LaunchError(
                f"backend {lost} {failed}, and no other that works can go on"
            ) from error
        self.lost.append(f"backend {lost} {failed}; {self.plan.backend} went on")
        self.batch = min(self.batch, max(self.plan.kernel.chunk, BLOCK))

    def series(self) -> dict[str, Rows]:
        """By variable, its rows by month over the first paths; they are computed again where a run was resumed."""
        wanted, first = min(self.paths, SERIES_PATHS), 0
        while self.plan.economy.series and not self._by_month:
            if not first:
                self._series.clear()
            try:
                first += self._launch(first, wanted).bad.shape[0]
            except BackendError as error:
                self._go_on(error, first)
                first = 0
        return self._by_month

    def name_bad(self, bad: dict[int, int]) -> list[dict[str, Any]]:
        """Nothing: they are replayed here, once they are asked for."""
        return []


def missing(finished: Collection[int], goal: int, start: int = 0) -> list[tuple[int, int]]:
    """The ranges of paths from ``start`` to ``goal`` whose blocks are not finished, each from the start of a block."""
    ranges: list[tuple[int, int]] = []
    for block in range(start // BLOCK, -(-goal // BLOCK)):
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
