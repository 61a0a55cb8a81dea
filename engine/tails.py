"""The extreme values of a metric, exact and with their paths; and a random sample of the paths."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .narrow import narrow

Paths = NDArray[np.uint64]
PIECES = 64
"""As how many arrays, at most, what came since the last selection is held."""


class Tail:
    """The ``keep`` largest values (``sign`` 1) or smallest (-1), by value, then by path number.

    Mergeable in any order: what is kept is a function of the set of paths seen. Values that cannot be
    among them any more are dropped now and then, not at each block.
    """

    def __init__(self, keep: int, sign: int) -> None:
        self.keep, self.sign = keep, sign
        self._values: list[NDArray[Any]] = []  # times sign: the largest are kept
        self._paths: list[Paths] = []
        self._held = 0
        self._bound: Any = None  # the least value kept, once there are enough
        self._edge = 0  # the last path kept at that value

    @classmethod
    def restored(cls, keep: int, sign: int, values: NDArray[np.float64], paths: Paths) -> Tail:
        """One that found these."""
        made = cls(keep, sign)
        made._hold(sign * narrow(values), paths)
        return made

    def add(self, values: NDArray[Any], paths: Paths) -> None:
        """Add values of ascending paths."""
        if self._bound is None:
            sound = ~np.isnan(values)  # what is not a number is never among the extreme
            if not sound.all():
                values, paths = values[sound], paths[sound]
            x = self.sign * values
            # ties with the least go later, by path
            wanted = x >= (_largest(x, self.keep) if len(x) > self.keep else -np.inf)
        else:
            edge = self.sign * self._bound
            wanted = values > edge if self.sign > 0 else values < edge
            if len(paths) and paths[0] < self._edge:
                wanted |= (values == edge) & (paths < np.uint64(self._edge))
        at = np.flatnonzero(wanted)
        if len(at):
            self._hold(self.sign * values[at], paths[at])

    def merge(self, other: Tail) -> None:
        """Add what another tail of the same size and side kept."""
        other._compress()
        for x, paths in zip(other._values, other._paths, strict=True):
            self._hold(x, paths)

    def found(self) -> tuple[NDArray[np.float64], Paths]:
        """(values, paths), the most extreme first, of equal values the lowest path first."""
        self._compress()
        if not self._values:
            return np.zeros(0), np.zeros(0, np.uint64)
        x, paths = self._values[0], self._paths[0]
        order = np.lexsort((paths, -x))
        return self.sign * x[order].astype(np.float64) + 0.0, paths[order]  # -0 becomes 0

    def _hold(self, x: NDArray[Any], paths: Paths) -> None:
        self._values.append(x)
        self._paths.append(paths)
        self._held += len(x)
        # now and then, for each time costs as much as a sort; many small pieces would take more than what they hold
        if self._held > 1.25 * self.keep or len(self._values) > PIECES:
            self._compress()

    def _compress(self) -> None:
        if len(self._values) < 2 and self._held <= self.keep:
            return
        x, paths = np.concatenate(self._values), np.concatenate(self._paths)
        if len(x) > self.keep:
            bound = _largest(x, self.keep)
            over = np.flatnonzero(x > bound)
            ties = np.flatnonzero(x == bound)
            ties = ties[np.argsort(paths[ties])[: self.keep - len(over)]]
            chosen = np.concatenate([over, ties])
            self._bound, self._edge = bound, int(paths[ties].max())
            x, paths = x[chosen], paths[chosen]
        elif len(x) == self.keep:
            self._bound = x.min()
            self._edge = int(paths[x == self._bound].max())
        self._values, self._paths, self._held = [x], [paths], len(x)


def _largest(x: NDArray[Any], rank: int) -> Any:
    """The value of this rank, 1 for the largest.

    A sample says between which two values it lies, as in Floyd and Rivest (1975), so that few are left to select from.
    """
    some = np.sort(x[:: max(len(x) // 1024, 1)])
    place = round(len(some) * (1.0 - rank / len(x)))
    low, high = some[max(place - 48, 0)], some[min(place + 48, len(some) - 1)]
    inside = x[(x >= low) & (x <= high)]
    left = rank - int(np.count_nonzero(x > high))
    if not 0 < left <= len(inside):
        inside, left = x, rank
    elif low == high:
        return low
    return np.partition(inside, len(inside) - left)[len(inside) - left]


def mixed(paths: Paths) -> Paths:
    """Path numbers, shuffled: the finalizer of SplitMix64 (Steele, Lea, Flood 2014), one to one."""
    z = paths + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class Sample:
    """At most ``keep`` paths, all equally likely: those whose number comes first when shuffled.

    A bottom-k sample (Cohen and Kaplan 2007): merging in any order keeps the same paths, and two runs over the
    same paths keep the same ones, so that their values can be paired.
    """

    def __init__(self, keep: int, metrics: int) -> None:
        self.keep, self.metrics = keep, metrics
        self._paths: list[Paths] = []
        self._values: list[NDArray[Any]] = []
        self._held = 0
        self._bound: Any = None

    @classmethod
    def restored(cls, keep: int, paths: Paths, values: NDArray[Any]) -> Sample:
        """One that kept these."""
        made = cls(keep, len(values))
        made._paths, made._values, made._held = [paths], [values], len(paths)
        return made

    def add(self, values: NDArray[Any], paths: Paths) -> None:
        """Add values (metrics, paths) of these paths."""
        if not self.keep:
            return
        order = mixed(paths)
        if self._bound is not None:
            at = np.flatnonzero(order < self._bound)
        elif len(paths) > self.keep:
            at = np.sort(np.argpartition(order, self.keep - 1)[: self.keep])
        else:
            at = np.arange(len(paths))
        if len(at):
            self._paths.append(paths[at])
            self._values.append(values[:, at])
            self._held += len(at)
            if self._held > 1.25 * self.keep or len(self._paths) > PIECES:
                self._compress()

    def merge(self, other: Sample) -> None:
        """Add another sample of the same size."""
        if other._held:
            self.add(other.values, other.paths)

    @property
    def paths(self) -> Paths:
        """The sampled path numbers, ascending: (k,)."""
        self._compress()
        return self._paths[0] if self._paths else np.zeros(0, np.uint64)

    @property
    def values(self) -> NDArray[Any]:
        """Their values: (metrics, k)."""
        self._compress()
        return self._values[0] if self._values else np.zeros((self.metrics, 0))

    def _compress(self) -> None:
        if len(self._paths) < 2 and self._held <= self.keep:
            return
        paths = np.concatenate(self._paths)
        order = mixed(paths)
        if len(paths) > self.keep:
            chosen = np.argpartition(order, self.keep - 1)[: self.keep]
            self._bound = order[chosen].max()
        else:
            chosen = np.arange(len(paths))
        chosen = chosen[np.argsort(paths[chosen])]
        values = np.empty((self.metrics, len(chosen)), np.result_type(*self._values))
        for k, row in enumerate(values):  # of one metric at a time, for the sample is large
            row[:] = np.concatenate([piece[k] for piece in self._values])[chosen]
        self._paths, self._values, self._held = [paths[chosen]], [values], len(chosen)
