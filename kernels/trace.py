"""The tracer: runs a model's functions once on symbols and writes down what they do.

A symbol refuses whatever the kernels could not do the same way: Python's ``if``, ``and`` and ``max`` on a
value that differs by path, NumPy's functions, ``**``. Each refusal says what to write instead, and where.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import Any, NoReturn, Protocol

from .namespace import Fields, Namespace
from .ops import KINDS, OPS, kind_of, result_kind
from .philox import stream_id
from .program import ArrayError, Block, Loop, Op, Program, Statement, Value, While, verify

_HERE = os.path.dirname(os.path.abspath(__file__))


class TraceError(TypeError):
    """The model does something that a kernel cannot; the message names file and line."""


class Model(Protocol):
    """What the tracer and the backends need of a model. All names are flat, ``system.key``.

    A series is a number; where the model also has ``array_series = True`` it may be a per-path array of length L,
    which then takes L rows of the record (``Program.series_rows``).
    """

    reals: dict[str, float]
    ints: dict[str, int]
    columns: dict[str, Any]
    metrics: tuple[str, ...]
    series: tuple[str, ...]

    def init(self, xp: Any, inputs: dict[str, Any]) -> dict[str, Any]: ...

    def step(
        self, xp: Any, inputs: dict[str, Any], state: dict[str, Any], month: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]: ...


@cache
def _is_ours(filename: str) -> bool:
    return os.path.dirname(os.path.abspath(filename)) == _HERE


def model_line() -> str:
    """``file:line`` of the innermost frame outside this package: the model's own line.

    What ``trace`` adds itself, a parameter that is read, has none: who called it is not part of the model.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_ours(frame.f_code.co_filename):
        frame = frame.f_back if frame.f_code is not trace.__code__ else None
    if frame is None:
        return ""
    return _place(frame.f_code.co_filename, frame.f_lineno)


@cache
def _place(filename: str, line: int) -> str:
    """A line by its folder, its file and its number: each line of a model is met many times."""
    return f"{os.path.join(*filename.split(os.sep)[-2:])}:{line}"


def refuse(message: str) -> NoReturn:
    line = model_line()
    raise TraceError(f"{line}: {message}" if line else message)


class Symbol:
    """A value of the model while it is traced."""

    __slots__ = ("tracer", "value")
    __array_priority__ = 1000

    def __init__(self, tracer: Tracer, value: Value) -> None:
        self.tracer, self.value = tracer, value

    def __repr__(self) -> str:
        return f"<{self.value}>"

    def _binary(self, name: str, other: Any, swap: bool = False) -> Symbol:
        if not isinstance(other, Symbol | int | float):
            return NotImplemented  # type: ignore[no-any-return]
        args = (other, self) if swap else (self, other)
        if self.value.kind == "u" and name in _BITS:
            name = _BITS[name]
        return self.tracer.apply(name, *args)

    def __add__(self, o: Any) -> Symbol:
        return self._binary("add", o)

    def __radd__(self, o: Any) -> Symbol:
        return self._binary("add", o, swap=True)

    def __sub__(self, o: Any) -> Symbol:
        return self._binary("sub", o)

    def __rsub__(self, o: Any) -> Symbol:
        return self._binary("sub", o, swap=True)

    def __mul__(self, o: Any) -> Symbol:
        return self._binary("mul", o)

    def __rmul__(self, o: Any) -> Symbol:
        return self._binary("mul", o, swap=True)

    def __truediv__(self, o: Any) -> Symbol:
        return self._binary("div", o)

    def __rtruediv__(self, o: Any) -> Symbol:
        return self._binary("div", o, swap=True)

    def __neg__(self) -> Symbol:
        return self.tracer.apply("neg", self)

    def __lt__(self, o: Any) -> Symbol:
        return self._binary("lt", o)

    def __le__(self, o: Any) -> Symbol:
        return self._binary("le", o)

    def __gt__(self, o: Any) -> Symbol:
        return self._binary("lt", o, swap=True)

    def __ge__(self, o: Any) -> Symbol:
        return self._binary("le", o, swap=True)

    def __eq__(self, o: Any) -> Symbol:  # type: ignore[override]
        return self._binary("eq", o)

    def __ne__(self, o: Any) -> Symbol:  # type: ignore[override]
        return self._binary("ne", o)

    __hash__ = None  # type: ignore[assignment]

    def __and__(self, o: Any) -> Symbol:
        return self._binary("logical_and", o)

    def __or__(self, o: Any) -> Symbol:
        return self._binary("logical_or", o)

    def __xor__(self, o: Any) -> Symbol:
        return self._binary("bit_xor", o)

    def __invert__(self) -> Symbol:
        return self.tracer.apply("bit_not" if self.value.kind == "u" else "logical_not", self)

    def __abs__(self) -> Symbol:
        return self.tracer.apply("abs", self)

    # ---- what a kernel cannot do
    def __bool__(self) -> bool:
        refuse(
            "a value that differs by path has no single truth: write xp.where(mask, a, b) for `if`, "
            "`&` `|` `~` for `and` `or` `not`, xp.minimum/xp.maximum for min()/max(), "
            "and (a < b) & (b < c) for a < b < c"
        )

    def __pow__(self, o: Any) -> Any:
        refuse("`**` is not traced: write x * x, or xp.pow(x, y) for x >= 0")

    __rpow__ = __pow__

    def __mod__(self, o: Any) -> Any:
        refuse("`%` is not traced: write x - xp.floor(x / y) * y, or keep a counter in the state")

    __floordiv__ = __rfloordiv__ = __rmod__ = __mod__

    def __float__(self) -> float:
        refuse("a traced value is no Python number: use xp.exp, xp.log, ... instead of math.*")

    def __int__(self) -> int:
        refuse("a traced value is no Python number: write xp.to_int(x) for an integer by path")

    __index__ = __int__
    __round__ = __trunc__ = __float__

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        refuse("NumPy cannot take a traced value: use xp.exp, xp.where, ... instead of np.*")

    def __array_ufunc__(self, ufunc: Any, *args: Any, **kwargs: Any) -> Any:
        name = getattr(ufunc, "__name__", "this")
        refuse(f"np.{name} was called on a traced value: use xp.{name} and plain Python numbers")

    def __array_function__(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        name = getattr(function, "__name__", "this")
        refuse(f"np.{name} was called on a traced value: use xp.{name}")

    def __iter__(self) -> Any:
        refuse("a traced value is one number by path, not a sequence")

    def __getitem__(self, i: Any) -> Any:
        refuse("write xp.get(array, index) for a per-path array; columns of a table take [index]")

    def __setitem__(self, i: Any, v: Any) -> Any:
        refuse("in-place writes are not traced: write array = xp.set(array, index, value)")


_BITS = {"logical_and": "bit_and", "logical_or": "bit_or"}


class TracedColumn:
    """A table column: ``column[i]`` with an integer value; the index is clamped to the table."""

    def __init__(self, tracer: Tracer, index: int, kind: str) -> None:
        self.tracer, self.index, self.kind = tracer, index, kind

    def __getitem__(self, i: Any) -> Symbol:
        return self.tracer.take(self, i)


class Tracer(Namespace):
    """The namespace that records."""

    def __init__(self, float64: bool) -> None:
        self.float64 = float64
        self.count = 0
        self.blocks: list[list[Statement]] = []
        self.streams: dict[int, str] = {}
        self.month: Symbol | None = None
        self.stale: set[int] = (
            set()
        )  # arrays that were written over: their storage holds the new one

    # ---- values
    def _value(self, kind: str, varying: bool, length: int = 0) -> Value:
        self.count += 1
        return Value(self.count, kind, varying, length)

    def _emit(
        self, name: str, args: tuple[Value, ...], kinds: str, attr: Any = None, length: int = 0
    ) -> tuple[Symbol, ...]:
        varying = any(a.varying for a in args) or name in ("philox", "array", "get", "set")
        results = tuple(self._value(k, varying, length) for k in kinds)
        self.blocks[-1].append(Op(results, name, args, attr, model_line()))
        return tuple(Symbol(self, r) for r in results)

    def const(self, number: float | int | bool, kind: str) -> Symbol:
        if kind == "i" and (number != int(number) or not -(2**31) <= number < 2**31):
            refuse(f"{number!r} meets an integer value: write xp.to_real(i) first")
        if kind == "u" and (number != int(number) or not 0 <= number < 2**32):
            refuse(f"{number!r} meets 32 bits: only whole numbers from 0 to 2^32 - 1 fit")
        if kind == "m" and not isinstance(number, bool):
            refuse(f"{number!r} stands where a mask belongs: write a comparison")
        python = {"f": float, "i": int, "u": int, "m": bool}[kind]
        return self._emit("const", (), kind, python(number))[0]

    def _symbol(self, x: Any, kind: str) -> Symbol:
        if isinstance(x, Symbol):
            return x
        if isinstance(x, bool) or (isinstance(x, int | float) and not hasattr(x, "dtype")):
            return self.const(x, kind)
        refuse(
            f"{type(x).__name__} {x!r} is no value of the model: use xp and plain Python numbers"
        )

    def apply(self, name: str, *args: Any) -> Symbol:
        op = OPS[name]
        kinds = [a.value.kind if isinstance(a, Symbol) else None for a in args]
        if any(a.value.length for a in args if isinstance(a, Symbol)):
            refuse(f"{name} takes plain values: read the array with xp.get(array, index)")
        shared = next((k for k, w in zip(kinds, op.args, strict=False) if w == "T" and k), None)
        filled = []
        for a, want in zip(args, op.args, strict=True):
            kind = want if want != "T" else (shared or ("f" if "f" in op.over else op.over[0]))
            filled.append(self._symbol(a, kind))
        got = tuple(s.value.kind for s in filled)
        result = result_kind(name, got)
        if result is None:
            have = ", ".join(KINDS[k] for k in got)
            refuse(
                f"{name}({have}) does not fit: convert with xp.to_real, xp.to_int or xp.where first"
            )
        return self._emit(name, tuple(s.value for s in filled), result)[0]

    def __getattr__(self, name: str) -> Callable[..., Symbol]:
        if name in OPS:
            return lambda *args: self.apply(name, *args)
        raise AttributeError(
            f"xp has no {name!r}; it has {', '.join(sorted(OPS))} and the composites"
        )

    # ---- tables, draws, arrays
    def take(self, column: TracedColumn, i: Any) -> Symbol:
        index = self._symbol(i, "i")
        if index.value.kind != "i":
            refuse("a table is read at an integer: write column[xp.to_int(x)]")
        return self._emit("take", (index.value,), column.kind, column.index)[0]

    def philox(self, stream: str, month: Any, index: Any, salt: Any = None) -> tuple[Symbol, ...]:
        number = stream_id(stream)
        if self.streams.setdefault(number, stream) != stream:
            refuse(f"the streams {stream} and {self.streams[number]} collide: rename one draw")
        block = self._symbol(index, "i")
        if block.value.kind != "i":
            refuse("a draw's index is an integer value")
        args = [block.value]
        if salt is not None:
            args.append(self._symbol(salt, "i").value)
            if args[1].kind != "i" or args[1].varying:
                refuse("a stream's salt is an integer that is the same on every path")
        return self._emit("philox", tuple(args), "uuuu", (number, month is not None))

    def array(self, length: Any, fill: Any = 0.0) -> Symbol:
        """A per-path array of ``length`` numbers, all ``fill``."""
        if not isinstance(length, int) or length < 1:
            refuse(f"an array's length is a Python integer above 0, not {length!r}")
        start = self._symbol(fill, "f")
        return self._emit("array", (start.value,), start.value.kind, length, length)[0]

    def bits_array(self, length: int) -> Symbol:
        """A per-path array of ``length`` 32-bit words, all zero."""
        return self.array(length, self.const(0, "u"))

    def get(self, array: Symbol, i: Any) -> Symbol:
        """``array[i]``; the index is clamped."""
        index = self._check_array(array, i)
        return self._emit("get", (array.value, index.value), array.value.kind)[0]

    def set(self, array: Symbol, i: Any, x: Any) -> Symbol:
        """The array with ``array[i]`` replaced; the old one may not be used any more."""
        index, new = self._check_array(array, i), self._symbol(x, array.value.kind)
        if new.value.kind != array.value.kind:
            refuse("the new element is of another kind than the array")
        self.stale.add(array.value.id)
        args = (array.value, index.value, new.value)
        return self._emit("set", args, array.value.kind, None, array.value.length)[0]

    def _check_array(self, array: Any, i: Any) -> Symbol:
        if not isinstance(array, Symbol) or not array.value.length:
            refuse("xp.get and xp.set take an array made by xp.array")
        index = self._symbol(i, "i")
        if index.value.kind != "i":
            refuse("an array's index is an integer value: write xp.to_int(x)")
        return index

    # ---- loops
    def loop(
        self, first: Any, last: Any, body: Callable[..., dict[str, Any]], **carry: Any
    ) -> Fields:
        """``for i in [first, last): carry = body(i, carry)``; bounds are the same on every path."""
        lo, hi = self._bounds(first, last)
        start = self._carry(carry)
        varying = {k: s.value.varying for k, s in start.items()}
        while True:
            index = self._value("i", False)
            inner = self._views(start, varying)
            self.blocks.append([])
            outs = self._returned(body(Symbol(self, index), Fields(inner, "loop value")), start)
            statements = self.blocks.pop()
            wider = {k: varying[k] or outs[k].value.varying for k in outs}
            if wider == varying:
                break
            varying = wider
        results = self._views(start, varying)
        self.blocks[-1].append(
            Loop(
                _ids(results), lo, hi, index, _ids(start), _ids(inner),
                Block(tuple(statements), _ids(outs)), model_line(),
            )
        )  # fmt: skip
        return Fields(dict(results), "loop value")

    def loop_while(
        self,
        first: Any,
        last: Any,
        cond: Callable[[Any, Any], Any],
        body: Callable[[Any, Any], dict[str, Any]],
        **carry: Any,
    ) -> Fields:
        """As ``loop``, but a path stops for good at the first i where ``cond(i, carry)`` fails."""
        lo, hi = self._bounds(first, last)
        start = self._carry(carry)
        every = dict.fromkeys(start, True)
        inner = self._views(start, every)
        index = Symbol(self, self._value("i", False))
        test = self._condition(lambda: cond(index, Fields(inner, "loop value")))
        self.blocks.append([])
        outs = self._returned(body(index, Fields(inner, "loop value")), start)
        block = Block(tuple(self.blocks.pop()), _ids(outs))
        results = self._views(start, every)
        self.blocks[-1].append(
            Loop(
                _ids(results), lo, hi, index.value, _ids(start), _ids(inner), block, model_line(), test,
            )
        )  # fmt: skip
        return Fields(dict(results), "loop value")

    def _bounds(self, first: Any, last: Any) -> tuple[Value, Value]:
        lo, hi = self._symbol(first, "i").value, self._symbol(last, "i").value
        if lo.kind != "i" or hi.kind != "i" or lo.varying or hi.varying:
            refuse(
                "xp.loop's bounds are integers that are the same on every path; else use xp.while_any"
            )
        return lo, hi

    def _condition(self, cond: Callable[[], Any]) -> Block:
        self.blocks.append([])
        test = self._symbol(cond(), "m")
        if test.value.kind != "m":
            refuse("a loop's condition is a mask: write a comparison")
        return Block(tuple(self.blocks.pop()), (test.value,))

    def while_any(
        self, cond: Callable[[Any], Any], body: Callable[[Any], dict[str, Any]], **carry: Any
    ) -> Fields:
        """Repeat ``carry = body(carry)`` on the paths where ``cond(carry)`` holds, until on none."""
        start = self._carry(carry)
        every = dict.fromkeys(start, True)
        inner = self._views(start, every)
        test = self._condition(lambda: cond(Fields(inner, "loop value")))
        self.blocks.append([])
        outs = self._returned(body(Fields(inner, "loop value")), start)
        body_block = Block(tuple(self.blocks.pop()), _ids(outs))
        results = self._views(start, every)
        self.blocks[-1].append(
            While(_ids(results), _ids(start), _ids(inner), test, body_block, model_line())
        )
        return Fields(dict(results), "loop value")

    def _carry(self, carry: dict[str, Any]) -> dict[str, Symbol]:
        start = {k: self._symbol(v, kind_of(v)) for k, v in carry.items()}
        self.stale |= {s.value.id for s in start.values() if s.value.length}
        return start

    def _views(self, like: dict[str, Symbol], varying: dict[str, bool]) -> dict[str, Symbol]:
        return {
            k: Symbol(self, self._value(s.value.kind, varying[k], s.value.length))
            for k, s in like.items()
        }

    def _returned(self, out: Any, start: dict[str, Symbol]) -> dict[str, Symbol]:
        if not isinstance(out, dict) or set(out) != set(start):
            have = sorted(out) if isinstance(out, dict) else type(out).__name__
            refuse(
                f"a loop's body returns a dict of what it carries, {sorted(start)}; it returned {have}"
            )
        result = {k: self._symbol(out[k], start[k].value.kind) for k in start}
        for k, s in result.items():
            if (s.value.kind, s.value.length) != (start[k].value.kind, start[k].value.length):
                refuse(
                    f"the loop changes the kind of {k!r}: start it with a value of the same kind"
                )
        return result


def _ids(symbols: dict[str, Symbol]) -> tuple[Value, ...]:
    return tuple(s.value for s in symbols.values())


def _returned(xp: Tracer, name: str, x: Any, kind: str) -> Symbol:
    """What the model returns as ``name``; no line belongs to it, so what is wrong with it names the variable."""
    try:
        return xp._symbol(x, kind)
    except TraceError as error:
        raise TraceError(f"{name}: {error}") from None


def bind(xp: Tracer, model: Model) -> dict[str, Any]:
    """The model's inputs as symbols: parameters, then columns."""
    inputs: dict[str, Any] = {}
    for i, name in enumerate(model.reals):
        inputs[name] = xp._emit("param", (), "f", i)[0]
    for i, name in enumerate(model.ints):
        inputs[name] = xp._emit("iparam", (), "i", i)[0]
    for i, (name, kind) in enumerate(_columns(model)):
        inputs[name] = TracedColumn(xp, i, kind)
    return inputs


def _columns(model: Model) -> tuple[tuple[str, str], ...]:
    return tuple((k, "f" if c.dtype.kind == "f" else "i") for k, c in model.columns.items())


def _reported(xp: Tracer, model: Model, seen: dict[str, Any]) -> tuple[Value, ...]:
    """The metrics and series; TraceError where one is no number, nor an array that may be a series."""
    names = (*model.metrics, *model.series)
    values = tuple(_returned(xp, k, seen[k], "f").value for k in names)
    for at, (name, v) in enumerate(zip(names, values, strict=True)):
        array = at >= len(model.metrics) and getattr(model, "array_series", False)
        if v.kind not in "fi" or (v.length and not array):
            raise TraceError(
                f"{name}: what is reported is a number: write xp.where(mask, 1.0, 0.0) for a mask"
            )
        if v.id in xp.stale:
            raise TraceError(
                f"{name}: this array is written over later in the month: report what xp.set or the loop returned"
            )
    return values


def trace(model: Model, float64: bool) -> Program:
    """The model's program, verified but not yet optimized."""
    xp = Tracer(float64)
    xp.blocks.append([])
    inputs = bind(xp, model)
    start = {k: _returned(xp, k, x, kind_of(x)) for k, x in model.init(xp, inputs).items()}
    init = Block(tuple(xp.blocks.pop()), _ids(start))
    state = xp._views(start, dict.fromkeys(start, True))
    month = Symbol(xp, xp._value("i", False))
    xp.blocks.append([])
    new, seen = model.step(xp, inputs, dict(state), month)
    outs: dict[str, Symbol] = {}
    for name, old in start.items():
        outs[name] = _returned(xp, name, new[name], old.value.kind)
        if (outs[name].value.kind, outs[name].value.length) != (old.value.kind, old.value.length):
            raise TraceError(f"{name}: the step returns another kind of value than init")
    reported = _reported(xp, model, seen)
    step = Block(tuple(xp.blocks.pop()), _ids(outs) + reported)
    program = Program(
        init=init,
        step=step,
        state_names=tuple(start),
        state=_ids(state),
        month=month.value,
        metrics=tuple(model.metrics),
        series=tuple(model.series),
        reals=tuple(model.reals),
        ints=tuple(model.ints),
        columns=_columns(model),
        streams=tuple((name, number) for number, name in xp.streams.items()),
    )
    try:
        return verify(program)
    except ArrayError as error:
        raise TraceError(str(error)) from None
