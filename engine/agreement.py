"""Agreement: by how much two runs of the same paths differ, beside what rounding explains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

TOLERANCES = {"float32": 1e-4, "float64": 1e-9}
"""The largest scaled difference that two backends may show, by precision.

Rounding differs by far less (1e-6 and 1e-13); but what is the difference of two large sums, such as the money
that a firm still has to raise, carries the rounding of the sums.
"""

MARKER = 1e12
"""Sizes from here on are no amounts: they stand for never."""

COUNTS = 1 << 20
"""Counters stay below it; float32 has nothing but whole numbers from 2^23 on."""

LEAST = 1e-3
"""Differences of what is smaller are judged as if it were this large: a million USD, a tenth of a per cent."""


def tolerance(*dtypes: str) -> float:
    """What a comparison of these precisions is held to: the coarsest of theirs."""
    return max(TOLERANCES[d] for d in dtypes)


def typical_size(values: Array) -> Array:
    """The size that differences of a variable are judged by, from its values (months,) or (months, length).

    A number's: the largest it takes. An element's of an array: its own largest, or the median element's if that is
    more, for what is small beside its neighbours is often the rest of a subtraction. At least LEAST. Shape () or
    (length,).
    """
    own = np.abs(values.astype(np.float64)).max(axis=0, initial=LEAST)
    if own.ndim == 0:
        return np.asarray(own)
    amounts = own[(own > LEAST) & (own < MARKER)]
    middle = float(np.median(amounts)) if len(amounts) else 0.0
    return np.asarray(np.maximum(own, middle))


def scaled_difference(a: Array, b: Array, size: Array | float = 0.0) -> Array:
    """|a - b| over the largest of |a|, |b| and ``size``; they broadcast.

    0 where both are equal, NaN included; infinite where only one is finite, or the two are not finite apart.
    """
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    with np.errstate(all="ignore"):
        scale = np.maximum(np.maximum(np.abs(a), np.abs(b)), size)
        relative = np.abs(a - b) / scale
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    finite = np.isfinite(a) & np.isfinite(b)
    return np.asarray(np.where(same, 0.0, np.where(finite, relative, np.inf)))


def is_decision(*values: Array) -> bool:
    """Whether these are whole numbers throughout: masks, counters, states, words of bits. Rounding leaves them
    alone; where they differ, something was decided the other way."""
    return all(v.dtype.kind in "biu" or _counts(v) for v in values)


def _counts(values: Array) -> bool:
    whole = (values == np.round(values)) & (np.abs(values) < COUNTS)
    return bool(whole.all())


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two runs of a path differ. ``scaled`` is |a - b| over the size of the variable (scaled_difference).

    ``variable`` names the element of an array, ``firms.cash[3]``. ``decision``: whole numbers, see is_decision.
    """

    month: int
    variable: str
    a: float
    b: float
    scaled: float
    decision: bool


@dataclass
class Agreement:
    """Two runs of one path, beside each other.

    ``parted``: of each variable that differs beyond ``tolerance`` (a decision: at all), the first month in which it
    does, and there the worst element; by month, then in the order of flow. ``beyond``: how many pairs of variable
    and month do. ``largest``: the largest scaled difference, whether within or beyond; None where none differs.
    """

    tolerance: float
    variables: int
    months: int
    parted: list[Difference] = field(default_factory=list)
    beyond: int = 0
    largest: Difference | None = None

    @property
    def holds(self) -> bool:
        return not self.parted

    @property
    def flips(self) -> list[Difference]:
        """The decisions among ``parted``."""
        return [d for d in self.parted if d.decision]


def compare(a: Mapping[str, Array], b: Mapping[str, Array], tolerance: float) -> Agreement:
    """Two records of a path, by variable (months,) or (months, length), in the order of flow; what both have."""
    names = [k for k in a if k in b and a[k].shape[1:] == b[k].shape[1:]]
    months = min((len(x[k]) for k in names for x in (a, b)), default=0)
    found = Agreement(tolerance, len(names), months)
    for k in names:
        _compare(found, k, a[k][:months], b[k][:months])
    found.parted.sort(key=lambda d: d.month)  # stable: within a month the order of flow stays
    return found


def _compare(found: Agreement, name: str, a: Array, b: Array) -> None:
    decision = is_decision(a, b)
    size = np.maximum(typical_size(a), typical_size(b))
    scaled = scaled_difference(a, b, size).reshape(len(a), -1)
    by_month = scaled.max(axis=1, initial=0.0)
    over = np.flatnonzero(by_month > (0.0 if decision else found.tolerance))

    def at(month: int) -> Difference:
        element = int(scaled[month].argmax())
        label = name if a.ndim == 1 else f"{name}[{element}]"
        x, y = (float(v.reshape(len(v), -1)[month, element]) for v in (a, b))
        return Difference(month + 1, label, x, y, float(scaled[month, element]), decision)

    if len(over):
        found.beyond += len(over)
        found.parted.append(at(int(over[0])))
    if len(by_month) and by_month.max() > (found.largest.scaled if found.largest else 0.0):
        found.largest = at(int(by_month.argmax()))
