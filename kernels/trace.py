"""The tracer: runs a model's functions once on symbols and writes down what they do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .namespace import Fields, Namespace
from .ops import KINDS, OPS, kind_of, result_kind
from .philox import stream_id
from .program import (
    ArrayError,
    Block,
    Loop,
    Op,
    Program,
    Sparse,
    Statement,
    Value,
    While,
    verify,
)
from .symbol import OUTER, Symbol, TracedColumn, TraceError, model_line, refuse


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

    def sparse(
        self,
        first: Any,
        last: Any,
        most: Any,
        cond: Callable[[Any, Any], Any],
        body: Callable[[Any, Any], dict[str, Any]],
        arrays: dict[str, Any],
        sums: dict[str, Any],
    ) -> Fields:
        """``for i in [first, last): if cond(i, arrays): ...``, for events that few paths have at a time.

        ``cond`` is asked for all i first. Then ``body(i, arrays)``, i by path, is computed for those where it held; it
        returns the arrays, which it reads and sets at i alone, and under the names of ``sums`` what is added to
        each. Indices are ``most`` at most, a Python number. A kernel packs the events of many paths and indices
        together, so that hardly a lane is idle.
        """
        lo, hi = self._bounds(first, last)
        held, totals = self._carry(arrays), self._carry(sums)
        if not isinstance(most, int) or most < 1:
            refuse(f"xp.sparse needs a Python integer above 0 for most, not {most!r}")
        if any(not s.value.length for s in held.values()):
            refuse("the arrays that xp.sparse carries are made by xp.array; sums are numbers")
        if any(s.value.length or s.value.kind != "f" for s in totals.values()):
            refuse("what xp.sparse sums up is a real")
        inner = self._views(held, dict.fromkeys(held, True))
        index, event = self._value("i", False), self._value("i", True)
        views = Fields(inner, "array")
        test = self._condition(lambda: cond(Symbol(self, index), views))
        self.blocks.append([])
        outs = self._returned(body(Symbol(self, event), views), held | totals)
        block = Block(tuple(self.blocks.pop()), _ids(outs))
        results = self._views(held | totals, dict.fromkeys(outs, True))
        self.blocks[-1].append(
            Sparse(
                _ids(results), lo, hi, most, index, event, _ids(held | totals), _ids(inner), test, block, model_line(),
            )
        )  # fmt: skip
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


OUTER.add(trace.__code__)
