"""What a backend is tried with: every operation, composite, draw, array and loop, and what each should give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import answers
from .answers import Array, Where, each
from .philox import Draws

SYSTEM = "probe"
SALT = 0x5A17
LENGTH = 5
"""Elements of the arrays that are tried; indices reach from -8 to 7."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One thing to try.

    ``operands``: (column, kind) each. ``build(xp, month, *operands)`` gives the value, of the kind ``result``;
    ``right(where, *operands)`` what it should be, per path. ``ulps``: how far a real may be from it, in units of the
    last place (a function of the operands for some). ``ways``: operands that differ by path, the same on all paths, or
    both. Of trials that share a ``chance`` one is enough: a fault elsewhere can spoil the others.
    """

    name: str
    what: str
    operands: tuple[tuple[str, str], ...]
    result: str
    build: Callable[..., Any]
    right: Callable[..., Array]
    ulps: float | Callable[..., Array] = 0.0
    ways: tuple[str, ...] = ("path", "uniform")
    chance: str = ""
    needs: frozenset[str] | None = None  # found by tracing, unless given


# ---- operations
_EXACT: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "neg": np.negative,
    "minimum": np.minimum,
    "maximum": np.maximum,
    "abs": np.abs,
    "floor": np.floor,
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_not": np.logical_not,
    "where": np.where,
    "to_bits": lambda i: i.view(np.uint32),
    "from_bits": lambda u: u.view(np.int32),
    "bit_and": np.bitwise_and,
    "bit_or": np.bitwise_or,
    "bit_xor": np.bitwise_xor,
    "bit_not": np.invert,
    "shift_left": lambda u, n: np.left_shift(u, n.astype(np.uint32)),
    "shift_right": lambda u, n: np.right_shift(u, n.astype(np.uint32)),
    "popcount": np.bitwise_count,
    "to_int": answers.to_int,
}
_NEARLY: dict[str, tuple[Callable[..., Array], float]] = {
    "div": (np.divide, 1.0),
    "sqrt": (np.sqrt, 1.0),
    "exp": (np.exp, 6.0),
    "log": (np.log, 6.0),
    "sin2pi": (lambda u: answers.turn(u, 0), 6.0),
    "cos2pi": (lambda u: answers.turn(u, 1), 6.0),
}
_COLUMNS = {"exp": "exponent", "log": "positive", "sin2pi": "turn", "cos2pi": "turn"}


def operations(table: dict[str, Any]) -> list[Trial]:
    """A trial for each row of the table and each kind that its operands may have."""
    found = []
    for name, op in table.items():
        for kind in op.over or " ":
            kinds = op.args.replace("T", kind)
            result = op.signature(tuple(kinds)) or op.result
            operands = tuple((_column(name, kinds, k), kind) for k, kind in enumerate(kinds))
            right, ulps = _answer(name, op)
            build = lambda xp, month, *a, name=name: getattr(xp, name)(*a)  # noqa: E731
            found += _told_apart(Trial(name, "operation", operands, result, build, right, ulps))
    return found


def _answer(name: str, op: Any) -> tuple[Callable[..., Array], float]:
    if name in _NEARLY:
        function, ulps = _NEARLY[name]
        return (lambda where, *a: function(*a)), ulps
    if name == "to_real":
        return (lambda where, i: i.astype(where.real)), 0.0
    if name == "uniform":
        return (lambda where, u: answers.uniform(u, where.real)), 0.0
    exact = _EXACT.get(name) or (lambda *a: op.array(np, *a))
    return (lambda where, *a: exact(*a)), 0.0


def _column(name: str, kinds: str, k: int) -> str:
    if name in _COLUMNS:
        return _COLUMNS[name]
    if name.startswith("shift_") and k == 1:
        return "shift"
    if kinds[k] == "m":
        return f"mask{k}"
    # what `where` picks from are its arguments 1 and 2
    return f"{'real' if kinds[k] == 'f' else 'int'}{k - 1 if name == 'where' else k}"


def _told_apart(t: Trial) -> list[Trial]:
    """Masks show through ``where`` and words through ``from_bits``: these two are tried on operands of several
    makes, so that a comparison that is broken is not taken for a broken ``where``."""
    take = frozenset({"take"})
    kinds = "".join(k for _, k in t.operands)
    if t.name == "where" and kinds == "mff":
        tests: tuple[Callable[..., Any], ...] = (
            lambda i, x: i != 0, lambda i, x: i == 1, lambda i, x: x < 0.5,
        )  # fmt: skip
        columns = (("mask0", "i"), ("real1", "f"), ("real0", "f"), ("real1", "f"))
        return [
            Trial(
                "where", t.what, columns, "f",
                lambda xp, month, i, x, a, b, test=test: xp.where(test(i, x), a, b),
                lambda where, i, x, a, b, test=test: np.asarray(np.where(test(i, x), a, b)),
                chance="where", needs=take,
            )
            for test in tests
        ]  # fmt: skip
    if t.name == "from_bits":
        # 2^n as a word, with no other conversion in it
        power = Trial(
            "from_bits", t.what, (("shift", "i"),), "i",
            lambda xp, month, n: xp.from_bits(xp.shift_left(1, n)),
            lambda where, n: (np.uint32(1) << n.astype(np.uint32)).view(np.int32),
        )  # fmt: skip
        return [replace(x, chance="from_bits", needs=take) for x in (t, power)]
    return [t]


# ---- composites
def _composite(
    name: str,
    columns: tuple[str, ...],
    right: Callable[..., Any],
    ulps: float | Callable[..., Array],
) -> Trial:
    """A function of reals."""
    return Trial(
        name, "function", tuple((c, "f") for c in columns), "f",
        lambda xp, month, *a: getattr(xp, name)(*a), lambda where, *a: right(*a), ulps,
    )  # fmt: skip


def composites() -> list[Trial]:
    """A trial for each function that the namespace puts together; two ulp are for the right answer itself."""
    return [
        _composite("clip", ("real0", "low", "high"), lambda x, a, b: np.minimum(np.maximum(x, a), b), 0.0),
        _composite("ndtr", ("deviate",), each(answers.normal), 8.0),
        Trial(
            "ndtr_plain", "function", (("deviate", "f"),), "f",
            lambda xp, month, x: xp.ndtr_plain(x),
            # documented to stay where it is beyond these
            lambda where, x: each(answers.normal)(np.maximum(x, -12.5 if where.real == np.float32 else -37.0)),
            lambda x: 8.0 + np.minimum(x * x, 1500.0),
        ),
        _composite("log_ndtr", ("deviate",), each(answers.log_normal), 8.0),
        _composite("ndtri", ("share",), each(answers.quantile), 8.0),
        _composite("log1p", ("above",), np.log1p, 6.0),
        _composite("expm1", ("signed",), np.expm1, 6.0),
        _composite("tanh", ("signed",), np.tanh, 6.0),
        _composite("asinh", ("signed",), np.arcsinh, 6.0),
        _composite(
            "pow", ("base", "power"), answers.power,
            lambda x, y: 6.0 + 2.0 * np.nan_to_num(np.abs(y * np.log(np.abs(x))), posinf=0.0),
        ),
        Trial(
            "clock", "function", (("month", "i"),), "i",
            lambda xp, month, i: xp.clock(i, 12), lambda where, i: i % 12,
        ),
        Trial(
            "lowest_bit", "function", (("int0", "u"),), "i",
            lambda xp, month, u: xp.lowest_bit(u),
            lambda where, u: answers.lowest_bit(u),
        ),
    ]  # fmt: skip


# ---- draws
def _word_trials() -> list[Trial]:
    """All 32 bits of words: once per path, monthly, of many blocks, and of a stream that is salted."""

    def trial(of: str, k: int, low: bool) -> Trial:
        def build(xp: Any, month: Any, i: Any) -> Any:
            draw = Draws(xp, SYSTEM, month, {f"{SYSTEM}.salted": SALT})
            words = (draw.once if of == "once" else draw).words(of, i if of == "index" else 0)
            return words[k] & 0xFFFF if low else words[k]

        def right(where: Where, i: Array) -> Array:
            month, index = 0 if of == "once" else where.month, i if of == "index" else 0
            salt = SALT if of == "salted" else 0
            word = answers.philox(where, f"{SYSTEM}.{of}", month, index, salt)[k]
            return word & np.uint32(0xFFFF) if low else word

        return Trial("philox", "generator", (("index", "i"),), "u", build, right, ways=("path",))

    return [trial(of, k, low) for of in ("once", "month", "index", "salted") for k in range(4)
            for low in (False, True)]  # fmt: skip


def _distribution_trials() -> list[Trial]:
    """Uniforms and normals: five of a name, which take two blocks, and the mixed ones of one."""

    def trial(name: str, k: int) -> Trial:
        def build(xp: Any, month: Any, i: Any) -> Any:
            draw = Draws(xp, SYSTEM, month)
            if name == "mixed":
                return draw.mixed("mixed", i)[k]
            return getattr(draw, name)(name, 5, i)[k]

        def right(where: Where, i: Array) -> Array:
            block = i if name == "mixed" else i * np.int32(2) + np.int32(k // 4)
            words = answers.philox(where, f"{SYSTEM}.{name}", where.month, block)
            uniforms = [answers.uniform(w, where.real) for w in words]
            normals = answers.normals([*words], where.real)
            drawn = {
                "uniform": uniforms,
                "normal": normals,
                "mixed": [*uniforms[:2], *normals[2:]],
            }
            return drawn[name][k % 4]

        ulps = 0.0 if name == "uniform" or (name == "mixed" and k < 2) else 16.0
        return Trial(
            f"draw.{name}", "function", (("index", "i"),), "f", build, right, ulps, ("path",)
        )

    return [trial(name, k) for name, last in (("uniform", 5), ("normal", 5), ("mixed", 4))
            for k in range(last)]  # fmt: skip


def draws() -> list[Trial]:
    return _word_trials() + _distribution_trials()


# ---- tables and arrays
def _filled(xp: Any) -> Any:
    """An array whose element k is k + 1."""
    return xp.loop(
        0,
        LENGTH,
        lambda k, c: {"a": xp.set(c.a, k, xp.to_real(k) + 1.0)},
        a=xp.array(LENGTH, 0.0),
    ).a


def _within(i: Array) -> Array:
    return np.clip(i, 0, LENGTH - 1)


def _after_set(xp: Any, month: Any, i: Any) -> Any:
    """All elements in one number: the sum of 8^k a_k."""
    a = xp.set(_filled(xp), i, 7.0)
    return sum(8.0**k * xp.get(a, k) for k in range(LENGTH))


def _set_right(where: Where, i: Array) -> Array:
    a = np.tile(np.arange(1.0, LENGTH + 1.0)[:, None], len(i))
    a[_within(i), np.arange(len(i))] = 7.0
    return (8.0 ** np.arange(LENGTH) @ a).astype(where.real)


def arrays() -> list[Trial]:
    """Columns of tables and per-path arrays, at indices inside and outside.

    Neither ``get`` nor ``set`` can be tried without the other: where both fail, both are named.
    """
    nothing: frozenset[str] = frozenset()
    index, filling = (("index", "i"),), frozenset({"take", "array", "to_real", "add"})
    return [
        *(
            Trial(
                "take", "function", ((column, kind),), kind, lambda xp, month, x: x,
                lambda where, x: x, needs=nothing,
            )
            for column, kind in (("real0", "f"), ("int0", "i"))
        ),
        Trial(
            "array", "function", (*index, ("real1", "f")), "f",
            lambda xp, month, i, x: xp.get(xp.array(LENGTH, x), i), lambda where, i, x: x,
        ),
        Trial(
            "bits_array", "function", (*index, ("int0", "u")), "u",
            lambda xp, month, i, u: xp.get(xp.set(xp.bits_array(LENGTH), i, u), i),
            lambda where, i, u: u,
        ),
        Trial(
            "get", "function", index, "f",
            lambda xp, month, i: xp.get(_filled(xp), i),
            lambda where, i: (_within(i) + 1).astype(where.real),
            needs=filling,
        ),
        Trial(
            "set", "function", index, "f", _after_set, _set_right, needs=filling | {"mul"}
        ),
    ]  # fmt: skip


# ---- loops
def _count_to(xp: Any, limit: Any) -> Any:
    """How often 1 is added to -8 until it is at ``limit``."""
    return xp.while_any(
        lambda c: (c.n < limit) & (c.guard < 99),
        lambda c: {"n": c.n + 1, "guard": c.guard + 1},
        n=-8,
        guard=0,
    ).guard


def _nested(xp: Any, month: Any, i: Any) -> Any:
    """Three inner rounds in each outer one; once the outer loop is done its mask must stop the inner one."""

    def outer(c: Any) -> dict[str, Any]:
        inner = xp.while_any(
            lambda d: ((c.n >= i) | (d.k < 3)) & (d.k < 99), lambda d: {"k": d.k + 1}, k=0
        )
        return {"n": c.n + 1, "sum": c.sum + inner.k}

    return xp.while_any(lambda c: (c.n < i) & (c.n < 99), outer, n=-8, sum=0).sum


def _triangle(where: Where, i: Array) -> Array:
    """The sum of the rounds 0, 1, ... of eight that are taken while below ``i``."""
    n = np.clip(i, 0, 8)
    return np.asarray(n * (n - 1) // 2)


def loops() -> list[Trial]:
    """Loops with fixed rounds; ``while_loops`` has those that a broken comparison could keep going for ever."""
    index = (("index", "i"),)
    return [
        Trial(
            "loop", "function", index, "i",
            lambda xp, month, i: xp.loop(
                -2, 5, lambda j, c: {"a": c.b + j, "b": c.a + i}, a=0, b=0
            ).a,
            lambda where, i: _swapped(i),
        ),
        Trial(
            "loop", "function", index, "i",
            lambda xp, month, i: xp.loop(0, month, lambda j, c: {"a": c.a + i}, a=0).a,
            lambda where, i: where.month * i,
        ),
        Trial(
            "loop_while", "function", index, "i",
            lambda xp, month, i: xp.loop_while(
                0, 8, lambda j, c: j < i, lambda j, c: {"s": c.s + j}, s=0
            ).s,
            _triangle,
        ),
        Trial(
            "sparse", "function", index, "i",
            lambda xp, month, i: xp.to_int(
                xp.sparse(
                    0, 8, 8, lambda j, a: j < i, lambda j, a: {"s": xp.to_real(j)}, arrays={}, sums={"s": 0.0}
                ).s
            ),
            _triangle,
        ),
    ]  # fmt: skip


def _swapped(i: Array) -> Array:
    a, b = np.zeros_like(i), np.zeros_like(i)
    for j in range(-2, 5):
        a, b = b + j, a + i
    return a


def while_loops() -> list[Trial]:
    index = (("index", "i"),)
    return [
        Trial(
            "while_any", "function", index, "i", lambda xp, month, i: _count_to(xp, i),
            lambda where, i: i + 8,
        ),
        Trial(
            "while_any", "function", index, "i", _nested, lambda where, i: 3 * (i + 8), ways=("path",)
        ),
    ]  # fmt: skip
