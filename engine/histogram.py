"""A histogram of integer counts whose bins are the leading bits of a float: mergeable, in any order."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

MANTISSA_BITS = 11  # of a bin: 2048 bins an octave, so a quantile errs by 0.05 % at the very most
_SHIFT = 23 - MANTISSA_BITS


def _keys(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Bin numbers that rise with the value: the leading bits of a float, order made monotone."""
    bits = values.view(np.int32)
    ordered = np.where(bits < 0, np.int32(-(2**31)) - bits, bits)
    return (ordered.astype(np.int64) + (1 << 31)) >> _SHIFT


@dataclass
class Histogram:
    """Counts by bin, and the least and greatest value seen in each, so that single values stay exact.

    Only bins that hold something are kept, in ascending order of ``keys``.
    """

    keys: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    count: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    least: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    most: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def add_sorted(self, values: NDArray[Any]) -> None:
        """Add ascending values."""
        with np.errstate(over="ignore"):  # float64 values beyond float32 share the outermost bin
            keys = _keys(values.astype(np.float32) + np.float32(0.0))  # -0 becomes 0
        starts = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
        ends = np.append(starts[1:], len(keys))
        low, high = values[starts].astype(np.float64), values[ends - 1].astype(np.float64)
        self.merge(Histogram(keys[starts], ends - starts, low, high))

    def merge(self, other: Histogram) -> None:
        if not len(self.keys):
            self.keys, self.count = other.keys, other.count
            self.least, self.most = other.least, other.most
            return
        keys = np.concatenate([self.keys, other.keys])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        starts = np.flatnonzero(np.diff(keys, prepend=keys[0] - 1))
        self.keys = keys[starts]
        self.count = np.add.reduceat(np.concatenate([self.count, other.count])[order], starts)
        self.least = np.minimum.reduceat(np.concatenate([self.least, other.least])[order], starts)
        self.most = np.maximum.reduceat(np.concatenate([self.most, other.most])[order], starts)

    def copy(self) -> Histogram:
        """Merging replaces arrays and changes none, so a copy shares them."""
        return Histogram(self.keys, self.count, self.least, self.most)

    def total(self) -> int:
        return int(self.count.sum())

    def rank(self, k: int) -> float:
        """The k-th smallest value, 1 for the first: straight between the least and greatest of its bin."""
        upto = np.cumsum(self.count)
        at = int(np.searchsorted(upto, k))
        inside = int(self.count[at])
        place = (k - (int(upto[at]) - inside) - 1) / (inside - 1) if inside > 1 else 0.0
        low, high = self.least[at], self.most[at]
        return float(low + (high - low) * place)

    def above(self, threshold: float) -> float:
        """How many values lie above: whole where no bin spans the threshold, else straight inside its bin."""
        over = self.least > threshold
        found = float(self.count[over].sum())
        for at in np.flatnonzero(~over & (self.most > threshold)):
            low, high = float(self.least[at]), float(self.most[at])
            found += float(self.count[at]) * (high - threshold) / (high - low)
        return found

    def worst(self, wanted: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The largest values, ``wanted`` of them, as bins from above: (centres, counts).

        The last bin is counted in part, and then gives the upper end of its values.
        """
        count = self.count[::-1].astype(np.float64)
        before = np.concatenate([[0.0], np.cumsum(count)[:-1]])
        some = before < wanted
        taken = np.minimum(wanted - before[some], count[some])
        low, high = self.least[::-1][some], self.most[::-1][some]
        return high - (high - low) * 0.5 * (taken / count[some]), taken


def rank_of(level: float, total: int) -> int:
    """The rank of a quantile: ceil(n q), from 1 to n (definition 1 of Hyndman and Fan 1996).

    Of the level as it is written: 0.07 of 100 is 7, though the product of the floats is above.
    """
    return min(max(math.ceil(Fraction(repr(float(level))) * total), 1), total)
