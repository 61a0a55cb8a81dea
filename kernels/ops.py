"""The operations table: one row says what an operation is in NumPy, in JAX and in C.

Everything a model may compute is a row here or a composite of rows (``special.py``, ``philox.py``).
Kinds of value: ``f`` real, ``i`` 32-bit signed, ``u`` 32-bit unsigned (bits), ``m`` mask.
In a signature ``T`` stands for any one of the kinds listed in ``over``.

The array spelling is a function of the library, ``numpy`` or ``jax.numpy``, which agree on these names;
the C spelling is a template in which ``{p}`` becomes ``v_`` for a per-path value and ``s_`` for a uniform.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

KINDS = {"f": "real", "i": "integer", "u": "bits", "m": "mask"}
"""The kinds in words."""


def kind_of(number: Any) -> str:
    """The kind of a Python number: i, m or f."""
    return {int: "i", bool: "m"}.get(type(number), "f")


@dataclass(frozen=True, slots=True)
class Op:
    """One operation: signature (argument kinds, result kind), array spelling, C template."""

    name: str
    args: str
    result: str
    array: Callable[..., Any]
    c: str
    over: str = ""

    def signature(self, kinds: tuple[str, ...]) -> str | None:
        """The kind of the result for these argument kinds, or None if they do not fit."""
        if len(kinds) != len(self.args):
            return None
        bound: str | None = None
        for want, got in zip(self.args, kinds, strict=True):
            if want == "T":
                if got not in self.over or (bound is not None and got != bound):
                    return None
                bound = got
            elif want != got:
                return None
        if self.result == "T":
            return bound
        return self.result


def _to_int(np: Any, x: Any) -> Any:
    # Clamped, and NaN to the lower bound, so that every backend converts alike.
    safe = np.where(x > -1.0e9, np.minimum(x, x.dtype.type(1.0e9)), x.dtype.type(-1.0e9))
    return safe.astype(np.int32)


def _popcount(np: Any, x: Any) -> Any:
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(x).astype(np.int32)
    raise NotImplementedError("bitwise_count needs NumPy 2 or a JAX that has it")


def _uniform(np: Any, x: Any, real: Any) -> Any:
    # (x + 1/2) 2^-32; in float32 the largest words round up to 1, which no uniform may be.
    scale, half, top = real(2.0**-32), real(2.0**-33), real(1.0 - 2.0**-24)
    u = x.astype(real) * scale + half
    return np.minimum(u, top) if real(0.0).itemsize == 4 else u


ALL = (
    # arithmetic
    Op("add", "TT", "T", lambda np, a, b: a + b, "({0} + {1})", "fiu"),
    Op("sub", "TT", "T", lambda np, a, b: a - b, "({0} - {1})", "fiu"),
    Op("mul", "TT", "T", lambda np, a, b: a * b, "({0} * {1})", "fi"),
    Op("div", "ff", "f", lambda np, a, b: a / b, "({0} / {1})"),
    Op("neg", "T", "T", lambda np, a: -a, "(-{0})", "fi"),
    Op("minimum", "TT", "T", lambda np, a, b: np.minimum(a, b), "{p}min({0}, {1})", "fi"),
    Op("maximum", "TT", "T", lambda np, a, b: np.maximum(a, b), "{p}max({0}, {1})", "fi"),
    Op("abs", "f", "f", lambda np, a: np.abs(a), "{p}abs({0})"),
    Op("sqrt", "f", "f", lambda np, a: np.sqrt(a), "{p}sqrt({0})"),
    Op("floor", "f", "f", lambda np, a: np.floor(a), "{p}floor({0})"),
    Op("exp", "f", "f", lambda np, a: np.exp(a), "{p}exp({0})"),
    Op("log", "f", "f", lambda np, a: np.log(a), "{p}log({0})"),
    # sine and cosine of a whole turn times u, u in [0, 1): what Box-Muller needs
    Op("sin2pi", "f", "f", lambda np, a: _turn(np, a, np.sin, 0), "{p}sin2pi({0})"),
    Op("cos2pi", "f", "f", lambda np, a: _turn(np, a, np.cos, 1), "{p}cos2pi({0})"),
    # comparison
    Op("lt", "TT", "m", lambda np, a, b: a < b, "{p}lt({0}, {1})", "fi"),
    Op("le", "TT", "m", lambda np, a, b: a <= b, "{p}le({0}, {1})", "fi"),
    Op("eq", "TT", "m", lambda np, a, b: a == b, "{p}eq({0}, {1})", "fiu"),
    Op("ne", "TT", "m", lambda np, a, b: a != b, "{p}ne({0}, {1})", "fiu"),
    # masks
    Op("logical_and", "mm", "m", lambda np, a, b: a & b, "({0} & {1})"),
    Op("logical_or", "mm", "m", lambda np, a, b: a | b, "({0} | {1})"),
    Op("logical_not", "m", "m", lambda np, a: ~a, "{p}not({0})"),
    Op("where", "mTT", "T", lambda np, m, a, b: np.where(m, a, b), "{p}sel({0}, {1}, {2})", "fium"),
    # conversions
    Op("to_real", "i", "f", None, "{p}real({0})"),  # type: ignore[arg-type]  # needs the dtype
    Op("to_int", "f", "i", _to_int, "{p}int({0})"),
    Op("to_bits", "i", "u", lambda np, a: a.astype(np.uint32), "{p}bits({0})"),
    Op("from_bits", "u", "i", lambda np, a: a.astype(np.int32), "{p}signed({0})"),
    Op("uniform", "u", "f", _uniform, "{p}uniform({0})"),
    # bits
    Op("bit_and", "uu", "u", lambda np, a, b: a & b, "({0} & {1})"),
    Op("bit_or", "uu", "u", lambda np, a, b: a | b, "({0} | {1})"),
    Op("bit_xor", "uu", "u", lambda np, a, b: a ^ b, "({0} ^ {1})"),
    Op("bit_not", "u", "u", lambda np, a: ~a, "(~{0})"),
    # shift counts lie in 0..31: C leaves the rest undefined
    Op("shift_left", "ui", "u", lambda np, a, n: a << n.astype(np.uint32), "{p}shl({0}, {1})"),
    Op("shift_right", "ui", "u", lambda np, a, n: a >> n.astype(np.uint32), "{p}shr({0}, {1})"),
    Op("popcount", "u", "i", _popcount, "{p}popcount({0})"),
)


def _turn(np: Any, u: Any, function: Callable[[Any], Any], is_cosine: int) -> Any:
    # Reduce to an eighth of a turn first: 2 pi u itself is rounded, and its error would be the result's.
    half_pi = u.dtype.type(1.5707963267948966)
    quarter = np.floor(u * 4 + u.dtype.type(0.5))
    angle = (u - quarter * u.dtype.type(0.25)) * 4 * half_pi
    turn = (quarter.astype(np.int32) + is_cosine) & 3
    sine, cosine = np.sin(angle), np.cos(angle)
    value = np.where((turn & 1) == 0, sine, cosine)
    return np.where(turn >= 2, -value, value)


OPS: dict[str, Op] = {op.name: op for op in ALL}


@cache
def result_kind(name: str, kinds: tuple[str, ...]) -> str | None:
    """As the operation's ``signature``; a program asks the same few hundred questions thousands of times."""
    return OPS[name].signature(kinds)


# Operations that are not rows because they are not elementwise: the emitter and the namespaces
# each have one function for them.
SPECIAL = ("const", "param", "iparam", "month", "take", "philox", "array", "get", "set")
