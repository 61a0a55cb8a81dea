"""Symbols: what a model's values are while it is traced, and what they refuse.

A symbol refuses whatever the kernels could not do the same way: Python's ``if``, ``and`` and ``max`` on a
value that differs by path, NumPy's functions, ``**``. Each refusal says what to write instead, and where.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from .program import Value

if TYPE_CHECKING:
    from .trace import Tracer

_HERE = os.path.dirname(os.path.abspath(__file__))

OUTER: set[CodeType] = set()
"""Functions that call the model: what is outside of them is none of its lines."""


class TraceError(TypeError):
    """The model does something that a kernel cannot; the message names file and line."""


@cache
def _is_ours(filename: str) -> bool:
    return os.path.dirname(os.path.abspath(filename)) == _HERE


def model_line() -> str:
    """``file:line`` of the innermost frame outside this package: the model's own line.

    What the tracer adds itself, a parameter that is read, has none: who called it is not part of the model.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_ours(frame.f_code.co_filename):
        frame = frame.f_back if frame.f_code not in OUTER else None
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
