"""Recording: an economy that reports everything its systems give, every month, on any backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.arrays import ArrayNamespace
from ..kernels.backends.base import path_words
from ..kernels.backends.numpy import bind
from ..kernels.outline import Shape, outline
from ..kernels.program import Program
from .system import Economy

Values = dict[str, NDArray[Any]]

_HALVES = (":high", ":low")  # a 32-bit word is reported as two reals that float32 holds exactly
_HALF = 1 << 16


class Recording(Economy):
    """An economy whose series are all that its steps give: states first, in the order of flow.

    ``variables``: shape by name, ``system.key``. ``left_out``: arrays that no kernel can report, as a system writes
    over them after it showed them.
    """

    array_series = True

    def __init__(self, economy: Economy) -> None:
        self.__dict__ |= economy.__dict__
        self._economy = economy
        state, given = outline(economy)
        inside = {k: i for i, k in enumerate(economy.systems)}
        ordered = sorted(given, key=lambda k: (inside[_system(k)], k not in state))
        self.states = tuple(k for k in ordered if k in state)
        self.variables: dict[str, Shape] = {k: given[k] for k in ordered if not given[k].stale}
        self.left_out = tuple(k for k in ordered if given[k].stale)
        self.series = tuple(n for k, s in self.variables.items() for n in _series_names(k, s))

    def init(self, xp: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        return self._economy.init(xp, inputs)

    def step(
        self, xp: Any, inputs: dict[str, Any], state: dict[str, Any], month: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        new, seen = self._economy.step(xp, inputs, state, month)
        reported = {
            name: value
            for k, shape in self.variables.items()
            for name, value in _as_reals(xp, k, seen[k], shape).items()
        }
        return new, seen | reported

    def unpack(self, program: Program, series: NDArray[Any]) -> Values:
        """By variable, (months,) or (months, length) of one path's record (months, rows): reals of the run's
        precision, and uint32 for words of bits."""
        rows = dict(zip(program.series, program.series_rows(), strict=True))
        found: Values = {}
        for k, shape in self.variables.items():
            parts = [series[:, rows[n]] for n in _series_names(k, shape)]
            whole = parts[0] if len(parts) == 1 else _word(*parts)
            found[k] = np.ascontiguousarray(whole if shape.length else whole[:, 0])
        return found

    def start(self, seed: int, path: int, dtype: str) -> Values:
        """The state before the first month, () or (length,), computed on the reference in the precision of the run."""
        xp = ArrayNamespace(np, dtype == "float64", path_words(path, 1), seed)
        with np.errstate(all="ignore"):
            made = self.init(xp, bind(self, xp, np.dtype(dtype).type))
        return {k: np.asarray(xp.full(made[k]))[..., 0] for k in self.states}


def recording(economy: Economy) -> Recording:
    """The economy with every variable of every system as a series. Raises TraceError where it cannot be traced."""
    return Recording(economy)


def _system(name: str) -> str:
    return name.partition(".")[0]


def _series_names(name: str, shape: Shape) -> tuple[str, ...]:
    return tuple(name + half for half in _HALVES) if shape.kind == "u" else (name,)


def _word(high: NDArray[Any], low: NDArray[Any]) -> NDArray[np.uint32]:
    return high.astype(np.uint32) * np.uint32(_HALF) + low.astype(np.uint32)


def _as_reals(xp: Any, name: str, value: Any, shape: Shape) -> dict[str, Any]:
    """What a variable of any kind is reported as; integers and reals stay as they are."""
    if shape.kind == "u":
        high, low = _HALVES
        return {
            name + high: _each(xp, value, shape, lambda w: _real(xp, xp.shift_right(w, 16))),
            name + low: _each(xp, value, shape, lambda w: _real(xp, w & (_HALF - 1))),
        }
    if shape.kind == "m":
        return {name: _each(xp, value, shape, lambda m: xp.where(m, 1.0, 0.0))}
    return {name: value}


def _real(xp: Any, word: Any) -> Any:
    return xp.to_real(xp.from_bits(word))


def _each(xp: Any, value: Any, shape: Shape, convert: Callable[[Any], Any]) -> Any:
    """``convert`` by element: at once where the namespace computes with whole arrays, else in a loop."""
    if not shape.length or isinstance(xp, ArrayNamespace):
        return convert(value)

    def element(i: Any, a: Any) -> dict[str, Any]:
        return {"made": xp.set(a.made, i, convert(xp.get(value, i)))}

    return xp.loop(0, shape.length, element, made=xp.array(shape.length, 0.0)).made
