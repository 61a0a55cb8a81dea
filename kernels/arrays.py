"""The array namespace: a model's ``xp`` on whole NumPy arrays, computed at once.

Per-path values are arrays of shape (paths,); uniform ones are scalars; a per-path array of length L has
shape (L, paths).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .namespace import Fields, Namespace
from .ops import OPS, Op, kind_of
from .philox import philox4x32, stream_id


class ArrayColumn:
    """A table column; the index is clamped, as in the kernels."""

    def __init__(self, np: Any, data: Any) -> None:
        self.np, self.data = np, data

    def __getitem__(self, i: Any) -> Any:
        last = self.data.shape[0] - 1
        return self.data[_within(i, last) if _is_number(i) else self.np.clip(i, 0, last)]


def _is_number(i: Any) -> bool:
    """Whether an index is one known number: it is then held within its array without array operations."""
    return isinstance(i, int | np.integer)


def _within(i: Any, last: int) -> int:
    return min(max(int(i), 0), last)


class ArrayNamespace(Namespace):
    """``np`` is numpy; ``path`` the path numbers as two uint32 arrays (low word, high word)."""

    def __init__(self, np: Any, float64: bool, path: tuple[Any, Any], seed: Any) -> None:
        self.np = np
        self.float64 = float64
        self.real = np.float64 if float64 else np.float32
        self.path = path
        self.seed = seed
        self.paths = path[0].shape[0]
        self._enclosing: list[Any] = []
        self._dtype = {"f": self.real, "i": np.int32, "u": np.uint32, "m": np.bool_}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        op = OPS.get(name)
        if op is None:
            raise AttributeError(f"xp has no {name!r}")
        return lambda *args: self._apply(op, args)

    def _apply(self, op: Op, args: tuple[Any, ...]) -> Any:
        if op.name == "to_real":
            return self._scalar(args[0], "i").astype(self.real)
        if op.name == "uniform":
            return op.array(self.np, args[0], self.real)
        like = next(
            (
                a.dtype
                for a, k in zip(args, op.args, strict=True)
                if k == "T" and hasattr(a, "dtype")
            ),
            None,
        )
        filled = [
            a
            if hasattr(a, "dtype")
            else (
                self.np.asarray(a, like)
                if k == "T" and like is not None
                else self._scalar(a, "f" if k == "T" else k)
            )
            for a, k in zip(args, op.args, strict=True)
        ]
        return op.array(self.np, *filled)

    def _scalar(self, x: Any, kind: str) -> Any:
        return x if hasattr(x, "dtype") else self.np.asarray(x, self._dtype[kind])

    def philox(self, stream: str, month: Any, index: Any, salt: Any = None) -> tuple[Any, ...]:
        np = self.np
        word = np.asarray(stream_id(stream), np.uint32)
        if salt is not None:
            word = word ^ self._scalar(salt, "i").astype(np.uint32)
        low, high = self.path
        tick = np.asarray(0 if month is None else month, np.uint32)
        block = self._scalar(index, "i").astype(np.uint32)
        counter = (
            low,
            (high << np.uint32(16)) | tick,
            word,
            block,
        )
        return philox4x32(np, counter, self.seed)

    # ---- per-path arrays
    def array(self, length: int, fill: Any = 0.0) -> Any:
        start = self._scalar(fill, "f")
        return self.np.broadcast_to(start, (length, self.paths)) + self.np.zeros((), start.dtype)

    def bits_array(self, length: int) -> Any:
        return self.np.zeros((length, self.paths), self.np.uint32)

    def get(self, array: Any, i: Any) -> Any:
        if _is_number(i):
            return array[_within(i, array.shape[0] - 1)]
        i = self.np.clip(self._scalar(i, "i"), 0, array.shape[0] - 1)
        if i.ndim == 0:
            return array[i]
        return self.np.take_along_axis(array, i[None, :], axis=0)[0]

    def set(self, array: Any, i: Any, x: Any) -> Any:
        i = self.np.clip(self._scalar(i, "i"), 0, array.shape[0] - 1)
        return self._replace(array, i, self.np.asarray(x, array.dtype))

    def _replace(self, array: Any, i: Any, x: Any) -> Any:
        new = array.copy()
        new[i if i.ndim == 0 else (i, self.np.arange(self.paths))] = x
        return new

    # ---- loops, eagerly
    def loop(
        self, first: Any, last: Any, body: Callable[..., dict[str, Any]], **carry: Any
    ) -> Fields:
        values = self._carry(carry)
        for i in range(int(first), int(last)):
            values = self._carry(body(self.np.int32(i), Fields(values, "loop value")))
        return Fields(values, "loop value")

    def loop_while(
        self,
        first: Any,
        last: Any,
        cond: Callable[[Any, Any], Any],
        body: Callable[[Any, Any], dict[str, Any]],
        **carry: Any,
    ) -> Fields:
        values = self._carry(carry)
        active = self._active(self.np.bool_(True))
        for i in range(int(first), int(last)):
            active = active & cond(self.np.int32(i), Fields(values, "loop value"))
            if not active.any():
                break
            self._enclosing.append(active)
            new = self._carry(body(self.np.int32(i), Fields(values, "loop value")))
            self._enclosing.pop()
            values = {k: self.merge(active, new[k], v) for k, v in values.items()}
        return Fields(values, "loop value")

    def while_any(
        self, cond: Callable[[Any], Any], body: Callable[[Any], dict[str, Any]], **carry: Any
    ) -> Fields:
        values = self._carry(carry)
        while True:
            active = self._active(cond(Fields(values, "loop value")))
            if not active.any():
                return Fields(values, "loop value")
            self._enclosing.append(active)
            new = self._carry(body(Fields(values, "loop value")))
            self._enclosing.pop()
            values = {k: self.merge(active, new[k], v) for k, v in values.items()}

    def sparse(
        self,
        first: Any,
        last: Any,
        most: int,
        cond: Callable[[Any, Any], Any],
        body: Callable[[Any, Any], dict[str, Any]],
        arrays: dict[str, Any],
        sums: dict[str, Any],
    ) -> Fields:
        last = min(int(last), int(first) + most)
        # in each round every path takes up the first of its events that are left
        given = Fields(self._carry(arrays), "array")
        asked = [self._active(cond(self.np.int32(i), given)) for i in range(int(first), last)]
        waiting = self.np.array(asked, bool).reshape(len(asked), self.paths)
        values = self._carry(arrays | sums)
        while (active := waiting.any(axis=0)).any():
            at = waiting.argmax(axis=0)
            self._enclosing.append(active)
            held = Fields({k: values[k] for k in arrays}, "array")
            event = (int(first) + at).astype(self.np.int32)
            new = self._carry(body(event, held))
            self._enclosing.pop()
            new |= {k: values[k] + new[k] for k in sums}
            values = {k: self.merge(active, new[k], v) for k, v in values.items()}
            waiting[at, self.np.arange(self.paths)] = False
        return Fields(values, "loop value")

    def _active(self, mask: Any) -> Any:
        mask = self.np.broadcast_to(mask, (self.paths,))
        return mask & self._enclosing[-1] if self._enclosing else mask

    def merge(self, mask: Any, new: Any, old: Any) -> Any:
        return old if new is old else self.np.where(mask, new, old)

    def _carry(self, carry: dict[str, Any]) -> dict[str, Any]:
        return {k: self._scalar(v, kind_of(v)) for k, v in carry.items()}

    def full(self, x: Any) -> Any:
        """A per-path value of a uniform one."""
        x = self._scalar(x, kind_of(x))
        return x if x.ndim else self.np.broadcast_to(x, (self.paths,))
