"""Every operation, loop and per-path array on every backend, against the array reference.

Expected values of the elementwise operations come from the table's array spelling, called here on whole
NumPy columns of operands: the kernels must find the same bits with their own spelling, for operands that
differ by path (``v_`` in C), that are uniform (``s_``), and for a mix of both. Exempt are

- NaN payloads and signs, everywhere;
- the sign of zero where minimum or maximum meet zeros of both signs: IEEE 754-2008 leaves it open, and
  NumPy's own answer depends on the instruction it picked;
- exp, log, sin2pi and cos2pi: they may differ by a few units in the last place, and the last two are
  compared on [-1, 1] alone, where the table promises them (beyond, NumPy's reduction loses bits);
- rows with a subnormal operand or result, on JAX, as XLA flushes subnormal numbers to zero on CPUs, and
  in float32 on CUDA, as CuPy compiles with -ftz=true.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overbuilt.kernels import ops
from overbuilt.kernels.backends import Output, cuda
from overbuilt.kernels.emit import emit, source
from overbuilt.kernels.passes import optimize
from overbuilt.kernels.trace import trace

from .helpers import (
    DTYPES,
    EVERYWHERE,
    Array,
    FunctionModel,
    assert_same,
    bits,
    halves,
    random_row,
    run,
    why_not,
)

ROW_BITS = 9
ROWS = 1 << ROW_BITS
PATHS = (
    8192  # a path misses a given row with probability e^-16: the test asserts that none is missed
)
FIXED = 137  # the row whose operands are uniform where operands are mixed
# NumPy documents up to 4 ulp for float32 (it uses its own SIMD versions); native ones err by up to 1.7.
ULPS = 6.0
NEARLY = ("exp", "log", "sin2pi", "cos2pi")
WAYS = ("varying", "uniform", "mixed")


@dataclass(frozen=True)
class Case:
    """A row of the table for one kind of its ``T``."""

    op: ops.Op
    kinds: str
    result: str

    @property
    def name(self) -> str:
        return f"{self.op.name}_{self.kinds}"

    @property
    def outputs(self) -> tuple[str, ...]:
        """Integers and words are reported as two halves."""
        return (self.name,) if self.result in "fm" else (f"{self.name}.high", f"{self.name}.low")


def cases() -> tuple[Case, ...]:
    found = []
    for op in ops.ALL:
        for kind in op.over or " ":
            kinds = op.args.replace("T", kind)
            result = op.signature(tuple(kinds))
            assert result is not None
            found.append(Case(op, kinds, result))
    return tuple(found)


CASES = cases()


# ---- operands
def real_points(dtype: str) -> list[float]:
    info = np.finfo(dtype)
    low, tiny, top = float(info.smallest_subnormal), float(info.tiny), float(info.max)
    return [
        np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, low, -1000 * low, tiny, -tiny, top, -top, 0.1,
        -2.5, 0.5, 1e9, -1.5e9, 3e10, 0.7071, 16777217.0, -0.3125,
    ]  # fmt: skip


INT_POINTS = (
    0, 1, -1, 2, -3, 7, 31, 32, 255, -1000, 46341, 65535, 65536, 16777217, 123456789, -987654321,
    1431655765, 2**31 - 2, 2**31 - 1, -(2**31), -(2**31) + 1, -65537,
)  # fmt: skip


def pairs(points: Array) -> tuple[Array, Array]:
    """Every ordered pair of points, then a few of the first ones again to fill the rows."""
    a, b = np.repeat(points, len(points)), np.tile(points, len(points))
    return np.resize(a, ROWS), np.resize(b, ROWS)


@cache
def operands(dtype: str) -> dict[str, Array]:
    """Columns by kind and position: f0, f1, i0, ... Words are stored as integers of the same bits."""
    rng = np.random.default_rng(5)
    f0, f1 = pairs(np.array(real_points(dtype), dtype))
    i0, i1 = pairs(np.array(INT_POINTS, np.int32))
    return {
        "f0": f0,
        "f1": f1,
        "i0": i0,
        "i1": i1,
        "turn": np.where(np.arange(ROWS) < 30, np.resize(f0[:: len(real_points(dtype))], ROWS),
                         rng.uniform(-1, 1, ROWS)).astype(dtype),
        "shift": rng.permutation(ROWS).astype(np.int32) & 31,
        "m0": rng.integers(0, 2, ROWS, np.int32),
        "m1": rng.integers(0, 2, ROWS, np.int32),
        "m2": rng.integers(0, 2, ROWS, np.int32),
    }  # fmt: skip


def column(case: Case, k: int) -> str:
    """The operand column of argument k."""
    if case.op.name in ("sin2pi", "cos2pi"):
        return "turn"
    if case.op.name.startswith("shift_") and k == 1:
        return "shift"
    # the values that `where` picks from are its arguments 1 and 2; masks have a column each
    kind = case.kinds[k]
    number = k if kind == "m" or case.op.name != "where" else k - 1
    return f"{'i' if kind == 'u' else kind}{number}"


# ---- the model: every case at once
def apply(xp: Any, inputs: dict[str, Any], case: Case, rows: tuple[Any, ...]) -> tuple[Any, ...]:
    """The case's operation on the operands of these rows, one row number an argument."""
    args = []
    for k, (kind, row) in enumerate(zip(case.kinds, rows, strict=True)):
        value = inputs[column(case, k)][row]
        args.append(value != 0 if kind == "m" else xp.to_bits(value) if kind == "u" else value)
    got = getattr(xp, case.op.name)(*args)
    if case.result == "f":
        return (got,)
    if case.result == "m":
        return (xp.where(got, 1.0, 0.0),)
    return halves(xp, xp.to_bits(got) if case.result == "i" else got)


def spelled(name: str, way: str) -> str:
    return f"{name} {way}"


def step(xp: Any, inputs: dict[str, Any], state: Any, month: Any) -> dict[str, Any]:
    row = random_row(xp, ROW_BITS)
    seen = {"row": xp.to_real(row)}
    for case in CASES:
        n = len(case.kinds)
        for way, rows in (
            ("varying", (row,) * n),
            ("mixed", (row,) * (n - 1) + (inputs["fixed"],)),
        ):
            for name, value in zip(case.outputs, apply(xp, inputs, case, rows), strict=True):
                seen[spelled(name, way)] = value

    def body(i: Any, c: Any) -> dict[str, Any]:
        # Uniform operands: each path keeps the result of its own row as the loop comes by.
        new = {}
        for at, case in enumerate(CASES):
            for j, value in enumerate(apply(xp, inputs, case, (i,) * len(case.kinds))):
                key = f"v{at}_{j}"
                new[key] = xp.where(i == row, value, getattr(c, key))
        return new

    start = {f"v{at}_{j}": 0.0 for at, case in enumerate(CASES) for j in range(len(case.outputs))}
    done = xp.loop(0, ROWS, body, **start)
    for at, case in enumerate(CASES):
        for j, name in enumerate(case.outputs):
            seen[spelled(name, "uniform")] = getattr(done, f"v{at}_{j}")
    return seen


NAMES = tuple(spelled(name, way) for case in CASES for name in case.outputs for way in WAYS)


def every_operation(dtype: str) -> FunctionModel:
    return FunctionModel(step, ("row", *NAMES), ints={"fixed": FIXED}, columns=operands(dtype))


@cache
def results(backend: str, dtype: str) -> tuple[Array, dict[str, Array]]:
    """The row of each path and every result."""
    got = run(backend, every_operation(dtype), dtype, PATHS).metrics
    assert got.dtype == dtype
    return got[0].astype(int), dict(zip(NAMES, got[1:], strict=True))


# ---- the expected values
def reference(case: Case, dtype: str, way: str) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """The operands of every row, and the results of the array spelling in the form that is reported."""
    real = np.dtype(dtype).type
    columns = operands(dtype)
    args: list[Array] = []
    for k, kind in enumerate(case.kinds):
        value = columns[column(case, k)]
        if way == "mixed" and k == len(case.kinds) - 1:
            value = np.full(ROWS, value[FIXED])
        args.append(value != 0 if kind == "m" else value.view(np.uint32) if kind == "u" else value)
    with np.errstate(all="ignore"):
        if case.op.name == "to_real":
            got = args[0].astype(real)
        elif case.op.name == "uniform":
            got = case.op.array(np, args[0], real)
        else:
            got = case.op.array(np, *args)
    if case.result in "fm":
        return tuple(args), (got.astype(real),)
    word = got.view(np.uint32)
    return tuple(args), ((word >> 16).astype(real), (word & 0xFFFF).astype(real))


def subnormal(x: Array) -> Array:
    if x.dtype.kind != "f":
        return np.zeros(x.shape, bool)
    return (x != 0) & (np.abs(x) < np.finfo(x.dtype).tiny)


def exempt(case: Case, args: tuple[Array, ...], want: Array, backend: str) -> Array:
    """Rows that are not compared; the module's docstring says why."""
    free = np.zeros(ROWS, bool)
    if case.kinds == "ff" and case.op.name in ("minimum", "maximum"):
        free |= (args[0] == 0) & (args[1] == 0)
    if case.op.name in ("sin2pi", "cos2pi"):
        free |= np.isfinite(args[0]) & (np.abs(args[0]) > 1)
    flushes = backend == "jax" or (backend == "cuda" and want.dtype == np.float32)
    if flushes and "f" in case.kinds + case.result:
        free |= subnormal(want) | np.any([subnormal(a) for a in args], axis=0)
    return free


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", EVERYWHERE)
def test_every_operation(backend: str, dtype: str) -> None:
    if reason := why_not(backend):
        pytest.skip(reason)
    row, got = results(backend, dtype)
    assert set(row) == set(range(ROWS))
    wrong = []
    for case in CASES:
        for way in WAYS:
            args, want = reference(case, dtype, way)
            skip = exempt(case, args, want[0], backend)[row]
            for name, expected in zip(case.outputs, want, strict=True):
                a, b = got[spelled(name, way)], expected[row]
                same = bits(a) == bits(b)
                if case.op.name in NEARLY:
                    with np.errstate(all="ignore"):
                        same |= np.abs(a.astype(float) - b) <= ULPS * np.spacing(np.abs(b))
                at = np.flatnonzero(~same & ~skip)
                if len(at):
                    r = row[at[0]]
                    wrong.append(
                        f"{name} {way} {[x[r] for x in args]}: {a[at[0]]!r}, not {b[at[0]]!r}"
                    )
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", EVERYWHERE)
def test_the_three_ways_agree(backend: str, dtype: str) -> None:
    """A uniform and a per-path value are computed alike, bit for bit, exp and its like included."""
    if reason := why_not(backend):
        pytest.skip(reason)
    row, got = results(backend, dtype)
    for case in CASES:
        args, want = reference(case, dtype, "varying")
        skip = exempt(case, args, want[0], backend)[row]
        if case.op.name in NEARLY and not backend.startswith("g++"):
            # NumPy and XLA may take another routine for scalars than for arrays; clang turns what it
            # knows to be uniform into scalar code and fuses other products there: an ulp of difference.
            continue
        for name in case.outputs:
            a, b = got[spelled(name, "varying")], got[spelled(name, "uniform")]
            assert np.array_equal(bits(a)[~skip], bits(b)[~skip]), name


def test_the_table_is_covered() -> None:
    assert {case.op.name for case in CASES} == set(ops.OPS)
    assert {case.kinds for case in CASES if case.op.name == "where"} == {"mff", "mii", "muu", "mmm"}


# ---- values from elsewhere than the table: hand-made, or from Python's own arithmetic
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", ["numpy", "g++ -march=native"])
def test_known_values(backend: str, dtype: str) -> None:
    if reason := why_not(backend):
        pytest.skip(reason)
    top = 1 - 2.0**-24 if dtype == "float32" else 1 - 2.0**-33
    middle = float(np.dtype(dtype).type(0.5 + 2.0**-33))
    nan, inf = np.nan, np.inf
    known: dict[str, list[tuple[tuple[float, ...], float]]] = {
        "minimum": [((nan, 1), nan), ((1, nan), nan), ((nan, nan), nan), ((-inf, nan), nan),
                    ((2, 1), 1), ((1, 2), 1), ((inf, -inf), -inf)],
        "maximum": [((nan, 1), nan), ((1, nan), nan), ((nan, nan), nan), ((inf, nan), nan),
                    ((2, 1), 2), ((1, 2), 2), ((inf, -inf), inf)],
        # clamped to +-10^9, NaN to the lower end; truncated towards zero between
        "to_int": [((nan,), -1e9), ((inf,), 1e9), ((-inf,), -1e9), ((1e20,), 1e9), ((-1e20,), -1e9),
                   ((2.75,), 2), ((-2.75,), -2), ((-0.0,), 0), ((0.999,), 0)],
        "floor": [((-0.5,), -1), ((2.5,), 2), ((-inf,), -inf), ((nan,), nan), ((1e30,), 1e30)],
        "lt": [((nan, nan), 0), ((nan, 1), 0), ((1, nan), 0), ((1, 2), 1), ((0.0, -0.0), 0)],
        "le": [((nan, nan), 0), ((1, nan), 0), ((0.0, -0.0), 1), ((inf, inf), 1)],
        "eq": [((nan, nan), 0), ((0.0, -0.0), 1), ((inf, inf), 1)],
        "ne": [((nan, nan), 1), ((nan, 1), 1), ((0.0, -0.0), 0), ((1, 2), 1)],
        "div": [((1, 0.0), inf), ((1, -0.0), -inf), ((0.0, 0.0), nan), ((inf, inf), nan)],
        "sub": [((inf, inf), nan), ((0.0, 0.0), 0.0)],
        "mul": [((0.0, inf), nan), ((-1, 0.0), -0.0)],
        "neg": [((0.0,), -0.0), ((-0.0,), 0.0)],
        "abs": [((-0.0,), 0.0), ((-inf,), inf)],
        "sqrt": [((-1,), nan), ((-0.0,), -0.0), ((inf,), inf), ((2.25,), 1.5)],
        "exp": [((0.0,), 1), ((-inf,), 0), ((inf,), inf), ((1e5,), inf), ((-1e5,), 0), ((nan,), nan)],
        "log": [((0.0,), -inf), ((-0.0,), -inf), ((1,), 0), ((inf,), inf), ((-1,), nan), ((nan,), nan)],
        "sin2pi": [((0.0,), 0), ((0.25,), 1), ((0.75,), -1)],
        "cos2pi": [((0.0,), 1), ((0.5,), -1), ((1.0,), 1)],
        # u is never 0 or 1, and every word's is (x + 1/2) 2^-32, at the top as near 1 as the format has
        "uniform": [((0,), 2.0**-33), ((2**32 - 1,), top), ((2**31,), middle)],
        "popcount": [((x,), bin(x).count("1")) for x in (0, 1, 2**32 - 1, 2**31, 0xAAAAAAAA, 0xDEADBEEF)],
    }  # fmt: skip
    flat = [(name, args, want) for name, rows in known.items() for args, want in rows]
    words = [name in ("uniform", "popcount") for name, _, _ in flat]
    reals = {
        f"{k}.{j}": float(a)
        for k, (_, args, _) in enumerate(flat)
        for j, a in enumerate(args)
        if not words[k]
    }
    ints = {
        f"{k}.0": int(np.uint32(args[0]).view(np.int32))
        for k, (_, args, _) in enumerate(flat)
        if words[k]
    }
    columns = {k: np.array([v]) for k, v in reals.items()} | {
        k: np.array([v], np.int32) for k, v in ints.items()
    }

    def values(xp: Any, inputs: dict[str, Any], state: Any, month: Any) -> dict[str, Any]:
        seen = {}
        nought = random_row(xp, 1) * 0  # a per-path zero: the operands become per-path
        for k, (name, args, _) in enumerate(flat):
            for way, at in (("v", nought), ("s", month - month)):
                operands = [inputs[f"{k}.{j}"][at] for j in range(len(args))]
                got = getattr(xp, name)(*(xp.to_bits(o) if words[k] else o for o in operands))
                if name in ("lt", "le", "eq", "ne"):
                    got = xp.where(got, 1.0, 0.0)
                if name in ("to_int", "popcount"):
                    got = xp.to_real(got)
                seen[f"{k}{way}"] = got
        return seen

    metrics = [f"{k}{way}" for k in range(len(flat)) for way in "vs"]
    model = FunctionModel(values, metrics, columns=columns)
    got = run(backend, model, dtype, 5).metrics
    for k, (name, args, want) in enumerate(flat):
        expected = np.full(5, want, dtype)
        for row in got[2 * k : 2 * k + 2]:
            assert np.array_equal(bits(row), bits(expected)), (
                f"{name}{args}: {row[0]!r}, not {want!r}"
            )
        if name == "uniform":
            assert 0 < got[2 * k, 0] < 1


# ---- tables, arrays and loops: exact on every backend, so the reference is compared bit for bit
LENGTH = 5
TABLE = np.array([0.5, -1.25, 3.0, 8.0, 0.125, 64.0, -2.0])
TAKEN = (-(2**30), -1, 0, 3, 6, 7, 2**30)


def index(xp: Any) -> Any:
    """A per-path integer from -8 to 7: on both sides of every table here."""
    return random_row(xp, 4) - 8


def take_model() -> FunctionModel:
    """Tables at per-path and uniform indices, inside and outside."""

    def step(xp: Any, inputs: dict[str, Any], state: Any, month: Any) -> dict[str, Any]:
        i = index(xp)
        seen = {
            "real": inputs["real"][i],
            "int": xp.to_real(inputs["int"][i]),
            "one": inputs["one"][i],
        }
        for k in TAKEN:
            seen[f"real at {k}"] = inputs["real"][k]
            seen[f"month {k}"] = xp.to_real(inputs["int"][month - 1 + k])
        return seen

    keys = [f"{w} {k}" for k in TAKEN for w in ("real at", "month")]
    columns = {"one": np.array([2.5]), "int": np.arange(10, 17, dtype=np.int32), "real": TABLE}
    return FunctionModel(step, ["real", "int", "one", *keys], columns=columns)


def array_model() -> FunctionModel:
    """Arrays in the state and in loops, read and written at clamped indices of both sorts."""

    def init(xp: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        start = xp.set(xp.array(LENGTH, 1.5), 2, xp.to_real(index(xp)))
        words = xp.set(xp.bits_array(3), 1, xp.philox("test.word", None, 0)[1])
        return {
            "a": start,
            "w": words,
            "k": xp.array(2, xp.to_int(4.0)),
            "long": xp.array(100, 0.25),
        }

    def step(xp: Any, inputs: dict[str, Any], state: Any, month: Any) -> dict[str, Any]:
        i = index(xp)
        a = xp.set(state["a"], i, xp.get(state["a"], 0) + 1.0)
        a = xp.set(a, month, 0.5)
        a = xp.set(a, 99, xp.get(a, i) * 2.0)
        a = xp.set(a, -7, xp.get(a, 3) - 2.0)
        long = xp.set(state["long"], i * 20, 7.0)
        w = xp.set(state["w"], i, xp.bit_xor(xp.get(state["w"], 1), xp.to_bits(i)))
        ints = xp.set(state["k"], i, xp.get(state["k"], 1) + month)

        def fill(j: Any, c: Any) -> dict[str, Any]:
            # in a loop with uniform bounds: both sorts of index once more
            b = xp.set(c.b, j, xp.get(c.b, j - 1) + 1.0)
            b = xp.set(b, j + i, 0.25)
            return {"b": b, "total": c.total + xp.get(b, i)}

        filled = xp.loop(0, 7, fill, b=a, total=0.0)

        def grow(c: Any) -> dict[str, Any]:
            # in a while loop: only the paths that still run may write
            b = xp.set(c.b, c.n, 100.0 + xp.to_real(c.n))
            b = xp.set(b, 1, xp.get(b, 1) + 1.0)
            own = xp.set(xp.array(2, 0.0), c.n, 3.0)
            return {"b": b, "n": c.n + 1, "x": c.x + xp.get(own, 1)}

        grown = xp.while_any(lambda c: c.n < i, grow, b=filled.b, n=-2, x=0.0)
        high, low = halves(xp, xp.get(w, i))
        seen = {
            "total": filled.total,
            "n": xp.to_real(grown.n),
            "x": grown.x,
            "high": high,
            "low": low,
        }
        seen |= {"int": xp.to_real(xp.get(ints, i)), "first": xp.to_real(xp.get(ints, 0))}
        seen |= {f"a{j}": xp.get(grown.b, j) for j in range(-1, LENGTH + 1)}
        seen |= {
            "clamped": xp.get(grown.b, i),
            "far": xp.get(long, i * 20),
            "end": xp.get(long, 99),
        }
        return {"a": grown.b, "w": w, "k": ints, "long": long, **seen}

    names = ["total", "n", "x", "high", "low", "int", "first", "clamped", "far", "end"]
    names += [f"a{j}" for j in range(-1, LENGTH + 1)]
    return FunctionModel(step, names, init=init, series=names)


def loop_model() -> FunctionModel:
    """Loops: rounds from none to many, uniform and per-path carries, swaps, loops in loops."""

    def step(xp: Any, inputs: dict[str, Any], state: Any, month: Any) -> dict[str, Any]:
        i = index(xp)
        x = xp.to_real(i)

        def count(j: Any, c: Any) -> dict[str, Any]:
            return {"n": c.n + 1, "x": c.x + xp.to_real(j), "sum": c.sum + j}

        seen = {}
        for name, first, last in (
            ("none", 3, 3), ("backwards", 5, -5), ("some", -2, 4), ("month", 0, month),
            ("ints", inputs["three"], inputs["three"] + 2),
        ):  # fmt: skip
            got = xp.loop(first, last, count, n=0, x=x, sum=0)
            seen |= {
                f"{name} n": xp.to_real(got.n),
                f"{name} x": got.x,
                f"{name} sum": xp.to_real(got.sum),
            }

        # Swapped carries: every new value is read before any variable is overwritten.
        def swap(j: Any, c: Any) -> dict[str, Any]:
            return {"a": c.b, "b": c.c, "c": c.a, "m": ~c.m, "u": c.v, "v": c.u + 1}

        got = xp.loop(0, 5, swap, a=x, b=x + 100.0, c=7.0, m=i < 0, u=1, v=10)
        seen |= {"a": got.a, "b": got.b, "c": got.c, "m": xp.where(got.m, 1.0, 0.0)}
        seen |= {"u": xp.to_real(got.u), "v": xp.to_real(got.v)}
        turned = xp.while_any(
            lambda c: c.n < i, lambda c: {"a": c.b, "b": c.a, "n": c.n + 1}, a=x, b=-50.0, n=-8
        )
        seen |= {"ta": turned.a, "tb": turned.b}

        # A uniform carry that the body makes per-path, and one that only another carry does.
        got = xp.loop(0, 3, lambda j, c: {"p": c.q, "q": c.r, "r": c.r + x}, p=0.0, q=0.0, r=0.0)
        seen |= {"p": got.p, "q": got.q, "r": got.r}

        # Draws in loops: the k-th try.
        def draw(j: Any, c: Any) -> dict[str, Any]:
            u = xp.uniform(xp.philox("test.try", month, j)[0])
            v = xp.uniform(xp.philox("test.own", month, i + j)[2])
            return {"s": c.s + u, "t": c.t + v}

        got = xp.loop(0, 4, draw, s=0.0, t=0.0)
        seen |= {"s": got.s, "t": got.t}

        # Nested while loops: on a path where the outer one has ended, the inner condition stays true
        # for ever; only the outer mask stops it. (`guard` bounds a failure: the test then fails, it
        # does not hang.) What an idle path carries is thrown away, but an array is written in place.
        def inner(c: Any) -> dict[str, Any]:
            b = xp.set(c.b, 1, xp.get(c.b, 1) + 1.0)
            return {"k": c.k + 1.0, "guard": c.guard + 1, "b": b}

        def outer(c: Any) -> dict[str, Any]:
            done = c.n >= i
            got = xp.while_any(
                lambda d: (done | (d.k < 3.0)) & (d.guard < 1000), inner, k=0.0, guard=0, b=c.b
            )
            return {"n": c.n + 1, "k": c.k + got.k, "b": got.b}

        got = xp.while_any(lambda c: c.n < i, outer, n=-4, k=0.0, b=xp.array(2, 0.0))
        seen |= {"nested n": xp.to_real(got.n), "nested k": got.k, "written": xp.get(got.b, 1)}

        # A loop in a while loop, and a while loop in a loop.
        got = xp.while_any(
            lambda c: c.n < i,
            lambda c: {"n": c.n + 2, "x": xp.loop(0, 3, lambda j, d: {"y": d.y + x}, y=c.x).y},
            n=0,
            x=1.0,
        )
        seen |= {"while loop": got.x}
        got = xp.loop(
            0,
            4,
            lambda j, c: {
                "x": xp.while_any(lambda d: d.y < x, lambda d: {"y": d.y + 1.0}, y=c.x).y - 1.0
            },
            x=-3.0,
        )
        seen |= {"loop while": got.x}
        never = xp.while_any(lambda c: c.n < c.n, lambda c: {"n": c.n + 1}, n=i)
        seen |= {"never": xp.to_real(never.n)}
        return seen

    names = [
        f"{a} {b}"
        for a in ("none", "backwards", "some", "month", "ints")
        for b in ("n", "x", "sum")
    ]
    names += [
        "a",
        "b",
        "c",
        "m",
        "u",
        "v",
        "ta",
        "tb",
        "p",
        "q",
        "r",
        "s",
        "t",
        "nested n",
        "nested k",
    ]
    names += ["written", "while loop", "loop while", "never"]
    return FunctionModel(step, names, ints={"three": 3})


MODELS = {"take": take_model, "array": array_model, "loop": loop_model}


def all_models() -> FunctionModel:
    """The three as one, so that a backend compiles once."""
    made = {name: make() for name, make in MODELS.items()}

    def init(xp: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        return made["array"].init(xp, inputs)

    def step(xp: Any, inputs: dict[str, Any], state: Any, month: Any) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for name, model in made.items():
            new, got = model.step(xp, inputs, state if name == "array" else {}, month)
            seen |= new | {f"{name} {k}": got[k] for k in model.metrics}
        return seen

    keys = [f"{name} {k}" for name, model in made.items() for k in model.metrics]
    columns, ints = made["take"].columns, made["loop"].ints
    return FunctionModel(step, keys, init=init, series=keys, columns=columns, ints=ints)


@cache
def reference_output(dtype: str) -> Output:
    return run("numpy", all_models(), dtype, 500, 4, series=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", [b for b in EVERYWHERE if b != "numpy"])
def test_tables_arrays_and_loops(backend: str, dtype: str) -> None:
    if reason := why_not(backend):
        pytest.skip(reason)
    model = all_models()
    got = run(backend, model, dtype, 500, 4, series=True)
    assert_same(got, reference_output(dtype), model.metrics, backend)
    assert not got.bad.any()


# ---- CUDA: compiled here without a device; test_every_operation runs it where there is one
def nvrtc() -> Any:
    """NVIDIA's run-time compiler as its wheel installs it, or None."""
    try:
        import nvidia
    except ImportError:
        return None
    found = [p for folder in nvidia.__path__ for p in Path(folder).glob("*/lib/libnvrtc.so.*")]
    return ctypes.CDLL(str(found[0])) if found else None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["operations", "the rest"])
def test_the_cuda_text_compiles(name: str, dtype: str) -> None:
    library = nvrtc()
    if library is None:
        pytest.skip("NVRTC is not installed")
    model = every_operation(dtype) if name == "operations" else all_models()
    text = emit(optimize(trace(model, dtype == "float64")))
    handle = ctypes.c_void_p()
    full = source(text, "cuda", dtype == "float64").encode()
    assert library.nvrtcCreateProgram(ctypes.byref(handle), full, b"kernel.cu", 0, None, None) == 0
    flags = [f.encode() for f in (*cuda.FLAGS, "-arch=compute_80")]
    status = library.nvrtcCompileProgram(handle, len(flags), (ctypes.c_char_p * len(flags))(*flags))
    size = ctypes.c_size_t()
    library.nvrtcGetProgramLogSize(handle, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value + 1)
    library.nvrtcGetProgramLog(handle, log)
    library.nvrtcDestroyProgram(ctypes.byref(handle))
    assert status == 0, log.value.decode()
