"""A histogram of integer counts whose bins are the leading bits of a float: mergeable, in any order."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .narrow import narrow

MANTISSA_BITS = 11  # of a bin: 2048 bins an octave, so a quantile errs by 0.05 % at the very most
_SHIFT = 23 - MANTISSA_BITS
_ZERO = np.int32(1 << (31 - _SHIFT))  # the bin of 0
_ROUND = 1 << 10
"""Columns are given room in steps of so many bins, so that what one leaves is what another needs."""
_WINDOW = 1 << 15
"""Bins that are counted at once: sixteen octaves, few enough for a fast memory."""

Bins = tuple[NDArray[np.int32], NDArray[Any], NDArray[Any], NDArray[Any]]
"""Ascending keys; count, least and greatest value of each."""


def _keys(values: NDArray[Any]) -> NDArray[np.int32]:
    """Bin numbers that rise with the value: the leading bits of a float, order made monotone."""
    with np.errstate(over="ignore"):  # float64 values beyond float32 share the outermost bin
        bits = values.astype(np.float32, copy=False).view(np.int32)
    if bits.min(initial=0) < 0:
        bits = np.where(bits < 0, np.int32(-(2**31)) - bits, bits)
    keys: NDArray[np.int32] = bits >> _SHIFT
    keys += _ZERO
    return keys


class Desk:
    """Room for the work on a block: made once, used for each block and metric."""

    def __init__(self, kind: np.dtype[Any]) -> None:
        self.kind = kind
        self.count = np.empty(_WINDOW + 1, np.uint32)
        self.least, self.most = np.empty(_WINDOW + 1, kind), np.empty(_WINDOW + 1, kind)


class Histogram:
    """Counts by bin, and the least and greatest value seen in each, so that single values stay exact.

    Only bins that hold something are kept, in ascending order of ``keys``; and as narrow as they may be, for a run has
    millions: reading a column makes it wide.
    """

    def __init__(self, keys: Any = (), count: Any = (), least: Any = (), most: Any = ()) -> None:
        self._keys = np.array(keys, np.int32)
        self._count = np.array(count, np.int64)
        if self._count.max(initial=0) < 1 << 32:
            self._count = self._count.astype(np.uint32)
        self._least, self._most = narrow(least), narrow(most)

    @classmethod
    def restored(cls, keys: Any, count: Any, least: Any, most: Any) -> Histogram:
        """One that had these columns. Raises ValueError where none can have them."""
        if not (len(keys) == len(count) == len(least) == len(most)):
            raise ValueError("columns of different lengths")
        if np.any(np.diff(keys) < 1) or np.any(keys < 0) or np.any(keys >= 2 * int(_ZERO)):
            raise ValueError("bins that are none, or out of order")
        if np.any(count < 1):
            raise ValueError("a bin that holds nothing")
        return cls(keys, count, least, most)

    @property
    def keys(self) -> NDArray[np.int64]:
        """The number of each bin, ascending."""
        return self._keys.astype(np.int64)

    @property
    def count(self) -> NDArray[np.int64]:
        """How many values are in each bin."""
        return self._count.astype(np.int64)

    @property
    def least(self) -> NDArray[np.float64]:
        """The smallest value of each bin."""
        return self._least.astype(np.float64)

    @property
    def most(self) -> NDArray[np.float64]:
        """The largest value of each bin."""
        return self._most.astype(np.float64)

    def __len__(self) -> int:
        """The number of bins."""
        return len(self._keys)

    def add(self, values: NDArray[Any], desk: Desk | None = None) -> None:
        """Add values, at least one, in any order; ``desk`` is one for their dtype."""
        if (two := _of_two(values)) is not None:
            return self.merge(two)
        values = values + values.dtype.type(0.0)  # -0 becomes 0
        keys = _keys(values)
        first, last = int(keys.min()), int(keys.max())
        desk = desk or Desk(values.dtype)
        if last - first >= _WINDOW:  # mostly zeros, and a few that are small beside the others
            first = last - _WINDOW + 1
            zero, below = values == 0.0, keys < first
            if (zeros := int(np.count_nonzero(zero))) and int(_ZERO) < first:
                self.merge(Histogram([int(_ZERO)], [zeros], [0.0], [0.0]))
                below &= ~zero
            if len(rest := np.flatnonzero(below)):
                self.add(values[rest], desk)
            np.maximum(keys, np.int32(first - 1), out=keys)
        with np.errstate(invalid="ignore"):  # of a value that is not a number, which has a bin too
            self._count_in(values, keys, first, last, desk)

    def _count_in(
        self, values: NDArray[Any], keys: NDArray[np.int32], first: int, last: int, desk: Desk
    ) -> None:
        """Add the values whose keys are from ``first`` to ``last``; those of ``first`` - 1 are passed over."""
        self._widen(values.dtype, len(values))
        keys -= np.int32(first - 1)
        at, size = keys.astype(np.intp), last - first + 2
        a, b = np.searchsorted(self._keys, np.array([first, last + 1], np.int32))
        held, known = slice(a, b), (self._keys[a:b] - np.int32(first - 1)).astype(np.intp)
        count, least, most = desk.count[:size], desk.least[:size], desk.most[:size]
        count.fill(0)
        least.fill(np.inf)
        most.fill(-np.inf)
        np.add.at(count, at, np.uint32(1))
        if len(known):  # then most values change neither end of their bins
            least[0], most[0] = -np.inf, np.inf
            least[known], most[known] = self._least[held], self._most[held]
            lower = np.flatnonzero(~(values >= least.take(at, mode="clip")))
            higher = np.flatnonzero(~(values <= most.take(at, mode="clip")))
            np.minimum.at(least, at[lower], values[lower])
            np.maximum.at(most, at[higher], values[higher])
            self._count[held] += count.take(known)
            self._least[held], self._most[held] = least.take(known), most.take(known)
            count[known] = 0
        else:
            np.minimum.at(least, at, values)
            np.maximum.at(most, at, values)
        count[0] = 0
        new = np.flatnonzero(count != 0)
        bins = new.astype(np.int32) + np.int32(first - 1), count[new], least[new], most[new]
        self._insert(bins)

    def merge(self, other: Histogram) -> None:
        """Add the values of another."""
        self._widen(other._least.dtype, other.total())
        at = np.searchsorted(self._keys, other._keys)
        known = np.append(self._keys, np.int32(-1))[at] == other._keys
        bins = other._keys, other._count, other._least, other._most
        held = at[known]
        self._count[held] += other._count[known].astype(self._count.dtype, copy=False)
        self._least[held] = np.minimum(self._least[held], other._least[known])
        self._most[held] = np.maximum(self._most[held], other._most[known])
        keys, count, least, most = (column[~known] for column in bins)
        self._insert((keys, count, least, most))

    def _widen(self, kind: np.dtype[Any], more: int) -> None:
        """Make room for values of this kind, and for so many more of them."""
        if int(self._count.max(initial=0)) + more >= 1 << 32:
            self._count = self._count.astype(np.int64, copy=False)
        kind = np.promote_types(self._least.dtype, kind)
        self._least, self._most = (x.astype(kind, copy=False) for x in (self._least, self._most))

    def _insert(self, bins: Bins) -> None:
        """Put bins that are new, ascending, between those that are there."""
        if not len(bins[0]):
            return
        at = np.searchsorted(self._keys, bins[0]) + np.arange(len(bins[0]))
        old = np.ones(len(self._keys) + len(at), bool)
        old[at] = False
        for name, new in zip(("_keys", "_count", "_least", "_most"), bins, strict=True):
            column = getattr(self, name)
            wider = np.empty(-(-len(old) // _ROUND) * _ROUND, column.dtype)[: len(old)]
            wider[old], wider[at] = column, new
            setattr(self, name, wider)

    def copy(self) -> Histogram:
        """Another that may be added to."""
        made = Histogram()
        made.merge(self)
        return made

    def total(self) -> int:
        return int(self._count.sum())

    def rank(self, k: int) -> float:
        """The k-th smallest value, 1 for the first: straight between the least and greatest of its bin."""
        upto = np.cumsum(self._count, dtype=np.int64)
        at = int(np.searchsorted(upto, k))
        inside = int(self._count[at])
        place = (k - (int(upto[at]) - inside) - 1) / (inside - 1) if inside > 1 else 0.0
        low, high = float(self._least[at]), float(self._most[at])
        return low + (high - low) * place

    def above(self, threshold: float) -> float:
        """How many values lie above: whole where no bin spans the threshold, else straight inside its bin."""
        least, most = self.least, self.most
        over = least > threshold
        found = float(self._count[over].sum())
        for at in np.flatnonzero(~over & (most > threshold)):
            low, high = float(least[at]), float(most[at])
            found += float(self._count[at]) * (high - threshold) / (high - low)
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


def _of_two(values: NDArray[Any]) -> Histogram | None:
    """The histogram of values that are all one or the other of two, as an indicator's are; else None."""
    if len(set(values[:8].tolist())) > 2:
        return None
    ends = np.array([values.min(), values.max()]) + values.dtype.type(0.0)
    counts = [int(np.count_nonzero(values == end)) for end in ends]
    if ends[0] == ends[1]:
        ends, counts = ends[:1], counts[:1]
    keys = _keys(ends)
    if sum(counts) < len(values) or len(set(keys.tolist())) < len(keys):
        return None
    return Histogram(keys, counts, ends, ends)


def rank_of(level: float, total: int) -> int:
    """The rank of a quantile: ceil(n q), from 1 to n (definition 1 of Hyndman and Fan 1996).

    Of the level as it is written: 0.07 of 100 is 7, though the product of the floats is above.
    """
    return min(max(math.ceil(Fraction(repr(float(level))) * total), 1), total)
