"""Statistics of metrics over blocks of paths: mergeable, in any order, to the same bytes.

A block is 65,536 paths by path number. From each comes, for every metric: sums in float64 in a fixed order,
an integer histogram, and the extreme values with their paths. Sums over blocks are exact, counts are
integers, and what is kept of the tails hangs on the set of paths alone; so neither batch size, nor
threads, nor the order of merging changes a byte, and memory does not grow with the paths.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .histogram import Desk
from .metric import Metric, Tails
from .tails import Sample, Tail

BLOCK = 1 << 16
TAIL = 10_000
"""How many of the largest values of each metric are kept, and of the smallest: up to a million paths, all
that ES at 99 % is made of."""
SAMPLE = 1 << 14
"""How many paths are kept with the values of all metrics: a random sample of the run."""

Event = tuple[str, str, float]
"""A metric, a sign and a threshold: paths are counted where ``metric > threshold``."""

_COMPARE: dict[str, Any] = {
    ">": np.greater,
    ">=": np.greater_equal,
    "<": np.less,
    "<=": np.less_equal,
}


@dataclass
class Statistics:
    """All metrics over the blocks added so far; paths with a non-finite state are set aside.

    ``halves`` are the blocks of even and of odd number, apart: what differs between them by more than noise has
    not settled. ``events`` are counted exactly.
    """

    names: tuple[str, ...]
    tail: int = TAIL
    sample_size: int = SAMPLE
    events: tuple[Event, ...] = ()
    halves: tuple[dict[str, Metric], dict[str, Metric]] = field(init=False)
    tails: dict[str, tuple[Tail, Tail]] = field(init=False, repr=False)
    sample: Sample = field(init=False, repr=False)
    counted: dict[Event, int] = field(init=False)
    paths: int = 0
    bad: dict[int, int] = field(default_factory=dict)
    bad_count: int = 0
    hashes: dict[int, str] = field(default_factory=dict)
    backends: dict[int, str] = field(default_factory=dict)
    """Which backend gave a block, by its number."""

    KEPT_BAD = 100  # bad paths named; all are counted

    def __post_init__(self) -> None:
        self.halves = ({n: Metric() for n in self.names}, {n: Metric() for n in self.names})
        self.tails = {n: (Tail(self.tail, 1), Tail(self.tail, -1)) for n in self.names}
        self.sample = Sample(self.sample_size, len(self.names))
        self.counted = dict.fromkeys(self.events, 0)
        self._made: dict[str, Metric] = {}
        self._desk: Desk | None = None

    def add(
        self, block: int, values: NDArray[Any], bad: NDArray[np.int32], backend: str = ""
    ) -> None:
        """Add a block: values (metrics, paths), bad (paths,) the month of the first non-finite state."""
        if backend:
            self.backends[block] = backend
        digest = hashlib.sha256(np.ascontiguousarray(values).data)
        digest.update(np.ascontiguousarray(bad).data)
        self.hashes[block] = digest.hexdigest()
        self._made.clear()
        self.paths += values.shape[1]
        numbers = np.arange(values.shape[1], dtype=np.uint64) + np.uint64(block * BLOCK)
        good: Any = bad == 0
        if not good.all():
            self._set_aside(bad, numbers)
            values, numbers = values[:, good], numbers[good]
        if not values.shape[1]:
            return
        half = self.halves[block % 2]
        if self._desk is None or self._desk.kind != values.dtype:
            self._desk = Desk(values.dtype)
        desk = self._desk
        for row, name in zip(values, self.names, strict=True):
            half[name].add(row, desk)
            for tail in self.tails[name]:
                tail.add(row, numbers)
        for event in self.events:
            name, sign, threshold = event
            row = values[self.names.index(name)]
            self.counted[event] += int(np.count_nonzero(_COMPARE[sign](row, threshold)))
        self.sample.add(values, numbers)

    def _set_aside(self, bad: NDArray[np.int32], numbers: NDArray[np.uint64]) -> None:
        where = np.flatnonzero(bad)
        self.bad_count += len(where)
        self.bad |= {int(numbers[i]): int(bad[i]) for i in where[: self.KEPT_BAD]}
        self.bad = dict(sorted(self.bad.items())[: self.KEPT_BAD])

    def merge(self, other: Statistics) -> None:
        """Add another part of the same run; blocks may not be counted twice."""
        twice = self.hashes.keys() & other.hashes.keys()
        if twice:
            raise ValueError(f"block {min(twice)} is in both parts")
        self._made.clear()
        for mine, others in zip(self.halves, other.halves, strict=True):
            for name, metric in others.items():
                mine[name].merge(metric)
        for name, pair in other.tails.items():
            for mine_, other_ in zip(self.tails[name], pair, strict=True):
                mine_.merge(other_)
        self.sample.merge(other.sample)
        for event, count in other.counted.items():
            self.counted[event] += count
        self.paths += other.paths
        self.bad_count += other.bad_count
        self.bad = dict(sorted((self.bad | other.bad).items())[: self.KEPT_BAD])
        self.hashes |= other.hashes
        self.backends |= other.backends

    def metric(self, name: str) -> Metric:
        """A metric over all blocks, with its tails."""
        if name not in self._made:
            made = self.halves[0][name].copy()
            made.merge(self.halves[1][name])
            upper, lower = self.tails[name]
            made.tails = Tails(upper.found(), lower.found())
            made.events = {(s, t): n for (m, s, t), n in self.counted.items() if m == name}
            self._made[name] = made
        return self._made[name]

    def digest(self) -> str:
        """SHA-256 over the values of every path, block by block."""
        total = hashlib.sha256()
        for block in sorted(self.hashes):
            total.update(f"{block}:{self.hashes[block]}\n".encode())
        return total.hexdigest()

    def summary(self) -> dict[str, dict[str, float]]:
        return {name: self.metric(name).summary() for name in self.names}
