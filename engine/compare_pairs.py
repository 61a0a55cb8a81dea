"""Which paths two runs share, and a metric's values on them side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .metric import Metric
from .statistics import BLOCK, Statistics

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pairing:
    """The paths that two runs have in common, on the same draws.

    ``common`` of them are in both runs; the sampled ones lie at ``at_a`` and ``at_b`` in the runs' samples, in
    ascending order. ``complete``: the samples hold every path of both runs. ``same``: both runs are of the same
    paths, and no others.
    """

    common: int
    at_a: NDArray[np.intp]
    at_b: NDArray[np.intp]
    complete: bool
    same: bool

    @property
    def sampled(self) -> int:
        return len(self.at_a)

    @property
    def how(self) -> str:
        if not self.common:
            return "independent"
        return "all pairs" if self.complete else "sampled pairs"


def pair(a: Statistics, b: Statistics, one_seed: bool) -> Pairing:
    """What two runs share; nothing where their seeds differ."""
    good_a, good_b = a.paths - a.bad_count, b.paths - b.bad_count
    complete = len(a.sample.paths) == good_a and len(b.sample.paths) == good_b
    none = np.zeros(0, np.intp)
    if not one_seed:
        return Pairing(0, none, none, complete, False)
    _, at_a, at_b = np.intersect1d(
        a.sample.paths, b.sample.paths, assume_unique=True, return_indices=True
    )
    k = len(at_a)
    overlap = _overlap(a, b)
    # which of a run's bad paths the other lacks too is not known: fewer in common is the careful side
    common = k if complete else max(overlap - a.bad_count - b.bad_count, k)
    if complete:
        same = k == good_a == good_b
    else:
        same = overlap == a.paths == b.paths and a.bad_count == b.bad_count == 0
    return Pairing(common, at_a, at_b, complete, same)


def _overlap(a: Statistics, b: Statistics) -> int:
    """How many path numbers both runs have: only the last block of a run may be short."""
    sizes = [
        dict.fromkeys(s.hashes, BLOCK) | {max(s.hashes): s.paths - BLOCK * (len(s.hashes) - 1)}
        if s.hashes
        else {}
        for s in (a, b)
    ]
    return sum(min(size, sizes[1].get(block, 0)) for block, size in sizes[0].items())


@dataclass(frozen=True)
class Sides:
    """One metric in two runs: from all paths, and the values (paths,) of the sampled ones."""

    a: Metric
    b: Metric
    x: Array
    y: Array
    pairing: Pairing

    @property
    def overlap(self) -> float:
        """The correlation of two means over the runs' paths, where that of two values is 1."""
        return self.pairing.common / math.sqrt(self.a.count * self.b.count)

    @cached_property
    def ordered(self) -> tuple[Array, Array] | tuple[None, None]:
        """The values of either run, ascending; None where not all are at hand."""
        return (np.sort(self.x), np.sort(self.y)) if self.pairing.complete else (None, None)

    def paired(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Of arrays by sampled path, what belongs to the paths that both samples hold, side by side."""
        return x[self.pairing.at_a], y[self.pairing.at_b]
