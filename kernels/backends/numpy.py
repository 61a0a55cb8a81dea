"""The reference: the model's own functions, called eagerly on NumPy arrays.

A ``breakpoint()`` in a model's step stops here with whole arrays to look at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrays import ArrayColumn, ArrayNamespace
from ..program import Program
from ..trace import Model
from .base import BackendError, Output, Status, check_same, split

CHUNK = 4096  # paths at a time: the month's arrays stay in the cache


def status() -> Status:
    return Status("numpy", True, f"NumPy {np.__version__}, the reference")


class NumpyKernel:
    chunk = CHUNK

    def __init__(self, program: Program, dtype: str) -> None:
        self.program, self.dtype = program, dtype
        self.stamp = {"backend": "numpy", "library": f"numpy {np.__version__}"}

    def run(
        self, model: Model, seed: int, first: int, count: int, months: int, series: bool
    ) -> Output:
        paths = np.arange(first, first + count, dtype=np.uint64)
        return self.run_paths(model, seed, paths, months, series)

    def run_paths(
        self, model: Model, seed: int, paths: NDArray[np.uint64], months: int, series: bool
    ) -> Output:
        """As ``run``, for any paths in any order."""
        parts = [
            self._chunk(model, seed, paths[at : at + CHUNK], months, series)
            for at in range(0, len(paths), CHUNK)
        ]
        return Output(
            np.concatenate([p.metrics for p in parts], axis=1),
            np.concatenate([p.series for p in parts if p.series is not None], axis=2)
            if series
            else None,
            np.concatenate([p.bad for p in parts]),
        )

    def run_many(
        self, models: Sequence[Model], seed: int, first: int, count: int, months: int
    ) -> list[Output]:
        check_same(self.program, models)
        return [self.run(model, seed, first, count, months, False) for model in models]

    def _chunk(
        self, model: Model, seed: int, paths: NDArray[np.uint64], months: int, series: bool
    ) -> Output:
        count = len(paths)
        real = np.float64 if self.dtype == "float64" else np.float32
        xp = ArrayNamespace(np, self.dtype == "float64", split(paths), seed)
        inputs = bind(model, xp, real)
        rows = self.program.series_rows()
        record = np.empty((months, self.program.row_count(), count), real) if series else None
        bad = np.zeros(count, np.int32)
        with np.errstate(all="ignore"):
            state = {k: xp.full(v) for k, v in model.init(xp, inputs).items()}
            kinds = {k: v.dtype for k, v in state.items()}
            seen: dict[str, Any] = {}
            for month in range(1, months + 1):
                new, seen = model.step(xp, inputs, state, np.int32(month))
                state = {k: xp.full(new[k]) for k in state}
                _check_kinds(state, kinds, month)
                reals = [v for v in state.values() if v.dtype == real and v.ndim == 1]
                if month == months:
                    reals += [
                        a for v in state.values() if v.ndim == 2 and v.dtype == real for a in v
                    ]
                    reals += [xp.full(seen[k]) for k in model.metrics]
                for v in reals:
                    bad[(bad == 0) & ~np.isfinite(v)] = month
                if record is not None:
                    for at, name in zip(rows, model.series, strict=True):
                        record[month - 1, at] = seen[name]
            metrics = np.stack([xp.full(seen[k]).astype(real) for k in model.metrics])
        return Output(metrics, record, bad)


def bind(model: Model, xp: ArrayNamespace, real: Any) -> dict[str, Any]:
    """The model's inputs as arrays of the run's precision."""
    inputs: dict[str, Any] = {k: real(v) for k, v in model.reals.items()}
    inputs |= {k: xp.np.int32(v) for k, v in model.ints.items()}
    for name, data in model.columns.items():
        kind = real if data.dtype.kind == "f" else np.int32
        inputs[name] = ArrayColumn(xp.np, xp.np.asarray(data, kind))
    return inputs


def _check_kinds(state: dict[str, Any], kinds: dict[str, Any], month: int) -> None:
    # NumPy promotes float32 to float64 without a word; a kernel would not.
    for name, value in state.items():
        if value.dtype != kinds[name]:
            raise BackendError(
                f"state {name} turned from {kinds[name]} to {value.dtype} in month {month}: "
                "a NumPy number entered the step; use plain Python numbers"
            )


def compile(model: Model, program: Program, dtype: str) -> NumpyKernel:
    return NumpyKernel(program, dtype)
