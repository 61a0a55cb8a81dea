"""Sums of floats that are exact, so that the order of adding, and of merging, does not matter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction


@dataclass
class ExactSum:
    """A sum of floats and of their products, kept whole: ``top`` / 2^``shift``.

    Floats are whole numbers over powers of two, so their sums and products are too. A value that is not finite
    makes the sum NaN, in whatever order it comes.
    """

    top: int = 0
    shift: int = 0
    finite: bool = True

    def add(self, *factors: float | int) -> None:
        """Add the product of the factors, without rounding."""
        top, shift = 1, 0
        for factor in factors:
            if not math.isfinite(factor):
                self.finite = False
                return
            over, under = whole(factor)
            top *= over
            shift += under
        self.add_whole(top, shift)

    def merge(self, other: ExactSum) -> None:
        """Add another sum."""
        self.finite = self.finite and other.finite
        self.add_whole(other.top, other.shift)

    def add_whole(self, top: int, shift: int) -> None:
        """Add ``top`` / 2^``shift``."""
        if shift > self.shift:
            self.top <<= shift - self.shift
            self.shift = shift
        self.top += top << (self.shift - shift)

    def exact(self) -> Fraction:
        """The sum itself. Raises ValueError where it is not finite."""
        if not self.finite:
            raise ValueError("the sum of a value that is not finite")
        return Fraction(self.top, 1 << self.shift)

    def value(self) -> float:
        """The sum, rounded once; NaN beyond what a float holds."""
        return as_float(self.exact()) if self.finite else math.nan

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExactSum):
            return NotImplemented
        if not (self.finite and other.finite):
            return self.finite == other.finite
        return self.exact() == other.exact()

    def text(self) -> str:
        """As text: ``top/2^shift`` in hexadecimal, in lowest terms; the same for equal sums."""
        if not self.finite:
            return "nan"
        spare = min((self.top & -self.top).bit_length() - 1, self.shift) if self.top else self.shift
        return f"{self.top >> spare:x}/{self.shift - spare:x}"

    @classmethod
    def parse(cls, text: str) -> ExactSum:
        """The sum that ``text`` gave. Raises ValueError where it is none."""
        if text == "nan":
            return cls(finite=False)
        top, slash, shift = text.partition("/")
        if not slash or len(shift) > 8:
            raise ValueError(f"{text[:40]!r} is no exact sum")
        return cls(int(top, 16), int(shift, 16))


def whole(x: float | int) -> tuple[int, int]:
    """A finite number as a whole one over a power of two: (top, shift)."""
    over, under = x.as_integer_ratio()
    return over, under.bit_length() - 1


def as_float(x: Fraction) -> float:
    """A fraction as a float, rounded once; NaN where it is beyond one."""
    try:
        return float(x)
    except OverflowError:
        return math.nan
