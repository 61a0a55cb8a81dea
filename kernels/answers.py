"""Right answers for the probe, and the operands that it asks about.

They are NumPy's and the standard library's, or spelt here a second time: nothing of the operations table, of the
composites or of the Philox generator that the backends run is used for them.
"""

from __future__ import annotations

import math
import statistics
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Where:
    """The paths that answers are wanted for, and their month and seed, which draws hang on; the type of reals."""

    paths: NDArray[np.uint64]
    month: int
    seed: int
    real: Any


# ---- elementary functions
def turn(u: Array, is_cosine: int) -> Array:
    """Sine or cosine of a whole turn times u: of an eighth of a turn at most, to which the way is exact."""
    quarters = np.rint(4.0 * u)
    angle = 2.0 * np.pi * (u - quarters / 4.0)
    quadrant = np.remainder(quarters + is_cosine, 4.0)
    value = np.where(quadrant % 2.0 == 1.0, np.cos(angle), np.sin(angle))
    return np.asarray(np.where(quadrant >= 2.0, -value, value))


def to_int(x: Array) -> Array:
    """Whole numbers towards zero, held within 10^9; NaN to the lower end."""
    return np.asarray(np.trunc(np.clip(np.nan_to_num(x, nan=-1e9), -1e9, 1e9)), np.int32)


def power(x: Array, y: Array) -> Array:
    """x to the power y for x >= 0; below, NaN but for y = 0."""
    return np.where((x < 0.0) & (y != 0.0), np.nan, np.abs(x) ** y)


def lowest_bit(words: Array) -> Array:
    return np.array([(int(w) & -int(w)).bit_length() - 1 if w else 32 for w in words])


# ---- the normal distribution, a number at a time
def each(function: Callable[[float], float]) -> Callable[[Array], Array]:
    """The function over an array."""
    return lambda x: np.array([function(float(v)) for v in x])


def _tail(y: float) -> float:
    """1 - N(y) for y >= 0 by the C library's erfc; what rounding z = y / sqrt(2) lost is put back."""
    if not y < 38.4:
        return 0.0 if y > 0.0 else math.nan
    z = y / math.sqrt(2.0)
    value = math.erfc(z)
    if value > 0.0 and z > 0.5:
        (a, b), (c, d) = y.as_integer_ratio(), z.as_integer_ratio()
        lost = (a * a * d * d - 2 * b * b * c * c) / (2 * b * b * d * d)  # y^2 / 2 - z^2, exactly
        hazard = 2.0 / math.sqrt(math.pi) * math.exp(-z * z) / value
        value *= 1.0 - hazard * lost / (2.0 * z)
    return 0.5 * value


def normal(x: float) -> float:
    """The normal distribution function."""
    return _tail(-x) if x < 0.0 else 1.0 - _tail(x)


def log_normal(x: float) -> float:
    """Its logarithm."""
    if x < 0.0:
        tail = _tail(-x)
        return math.log(tail) if tail else -math.inf
    return math.log1p(-_tail(x)) if x >= 0.0 else math.nan


def quantile(p: float) -> float:
    """The normal quantile: Wichura's algorithm AS 241, as the standard library has it."""
    if p in (0.0, 1.0):
        return math.copysign(math.inf, p - 0.5)
    return statistics.NormalDist().inv_cdf(p) if 0.0 < p < 1.0 else math.nan


# ---- draws
def philox(
    where: Where, stream: str, month: int, index: Any, salt: int = 0
) -> list[NDArray[np.uint32]]:
    """Four words of Philox4x32-10 for each path (Salmon et al. 2011, section 3.3)."""
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    c = [
        where.paths & mask,
        (where.paths >> half << np.uint64(16)) + np.uint64(month),
        np.full(len(where.paths), zlib.crc32(stream.encode()) ^ salt, np.uint64),
        np.broadcast_to(index, where.paths.shape).astype(np.uint32).astype(np.uint64),
    ]
    key = [where.seed % 2**32, where.seed >> 32]
    for _ in range(10):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        first, third = (
            (b >> half) ^ c[1] ^ np.uint64(key[0]),
            (a >> half) ^ c[3] ^ np.uint64(key[1]),
        )
        c = [first, b & mask, third, a & mask]
        key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
    return [word.astype(np.uint32) for word in c]


def uniform(words: Array, real: Any) -> Array:
    """(x + 1/2) 2^-32, kept below 1 in float32."""
    if real == np.float64:
        return np.asarray((words.astype(np.float64) + 0.5) * 2.0**-32)
    rounded = words.astype(np.float32) * np.float32(2.0**-32) + np.float32(2.0**-33)
    return np.asarray(np.minimum(rounded, np.float32(1.0 - 2.0**-24)))


def normals(words: list[Any], real: Any) -> list[Array]:
    """Two pairs of normals of four words, by Box and Muller (1958)."""
    u = [uniform(w, real).astype(np.float64) for w in words]
    pairs = [(np.sqrt(-2.0 * np.log(r)), a) for r, a in ((u[0], u[1]), (u[2], u[3]))]
    return [r * turn(a, which) for r, a in pairs for which in (1, 0)]


# ---- operands
_REALS = (0.0, -0.0, 1.0, -1.0, 0.1, -2.5, 0.5, 1e9, -1.5e9, 3e10, 0.7071, 16777217.0, -0.3125,
          math.inf, -math.inf, math.nan)  # fmt: skip
_INTS = (0, 1, -1, 2, -3, 7, 31, 32, 255, -1000, 46341, 65535, 65536, 123456789, -987654321, 2**31 - 1,
         -(2**31))  # fmt: skip
_EDGES: dict[str, tuple[float, ...]] = {
    "exponent": (0.0, 1.0, math.inf, -math.inf, math.nan, 1e30, -1e30, 1.25),
    "positive": (0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 1e30, 1e-30),
    "turn": (0.0, 0.25, 0.5, 0.75, 1.0, -0.25, 0.125, math.inf, math.nan),
    "deviate": (0.0, math.inf, math.nan, 1.0, -1.0),
    "share": (0.0, 1.0, 0.5, -0.001, 1.5, math.nan),
    "above": (0.0, -1.0, -1.5, math.inf, math.nan),
    "signed": (0.0, math.inf, math.nan, 1e-20, -1e-20),
    "base": (0.0, 0.0, 0.0, -1.0, 1.0),
    "power": (1.0, 0.0, -1.0, 2.0, 0.0),
}


def operands(dtype: str, rows: int) -> dict[str, Array]:
    """Columns of operands by name: edge values first, then numbers of the sizes that each function meets.

    Reals are float64 that ``dtype`` holds; masks are integers 0 and 1, words integers of the same bits.
    """
    rng = np.random.default_rng(5)
    found: dict[str, Array] = {}
    for name, values in _drawn(rng, dtype == "float32", rows).items():
        edges = _EDGES.get(name, ())
        values[: len(edges)] = edges
        found[name] = values
    size = rng.choice([-1, 1], (2, rows)) * 10.0 ** rng.uniform(-3, 3, (2, rows))
    found |= dict(zip(("real0", "real1"), _paired(_REALS, size), strict=True))
    found = {k: v.astype(dtype).astype(np.float64) for k, v in found.items()}
    whole = rng.integers(-(2**31), 2**31, (2, rows))
    ints = dict(zip(("int0", "int1"), _paired(_INTS, whole), strict=True))
    ints |= {"index": rng.integers(-8, 8, rows), "shift": rng.integers(0, 32, rows)}
    ints |= {"month": rng.integers(0, 241, rows)}
    ints |= {f"mask{k}": rng.integers(0, 2, rows) for k in range(3)}
    return found | {k: v.astype(np.int32) for k, v in ints.items()}


def _drawn(rng: np.random.Generator, single: bool, n: int) -> dict[str, Array]:
    def sizes(low: float, high: float) -> Array:
        return 10.0 ** rng.uniform(low, high, n)

    def either(a: Array, b: Array) -> Array:
        return np.where(rng.random(n) < 0.5, a, b)

    sign, low = rng.choice([-1.0, 1.0], n), rng.normal(size=n)
    return {
        "exponent": either(rng.uniform(-87, 88, n), rng.uniform(-1, 1, n)),
        "positive": either(sizes(-37, 38), rng.uniform(0.5, 2, n)),
        "turn": rng.uniform(-1, 1, n),
        "deviate": either(rng.uniform(-12.9 if single else -37.0, 9, n), rng.normal(size=n)),
        "share": either(sizes(-37 if single else -300, -0.3), rng.random(n)),
        "above": either(rng.uniform(-1, 3, n), sign * sizes(-30, -1)),
        "signed": either(rng.uniform(-20, 80, n), sign * sizes(-30, 0.5)),
        "base": np.exp(rng.uniform(-5, 5, n)),
        "power": rng.uniform(-8, 8, n),
        "low": low,
        "high": low + rng.exponential(size=n),
    }


def _paired(points: tuple[float, ...], rest: Array) -> Array:
    """Every ordered pair of points, then the rest: (2, rows)."""
    pairs = np.array([(a, b) for a in points for b in points]).T
    return np.concatenate([pairs, rest[:, pairs.shape[1] :]], axis=1)
