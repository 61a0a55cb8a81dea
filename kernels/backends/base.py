"""What a backend is: it compiles a traced model to a kernel, and the kernel runs ranges of paths."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..passes import host_values
from ..program import Program
from ..trace import Model

DTYPES = ("float32", "float64")
COLUMN_PADDING = (
    32  # entries after the last column: a short table may be loaded as two whole vectors
)


class BackendError(RuntimeError):
    """A backend cannot be used here; the message says why and what would help."""


class LaunchError(BackendError):
    """A backend that worked failed in the middle of a run; the message says how."""


class OutOfMemory(LaunchError):
    """A launch does not fit in the device's memory; a smaller one may."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a kernel gives for a range of paths.

    metrics: (metrics, paths) values after the last month. series: (months, rows, paths) or None; a series has
    one row, or those that its program's ``series_rows`` give it.
    bad: (paths,) the month of the first non-finite state, 0 where there was none.
    """

    metrics: NDArray[Any]
    series: NDArray[Any] | None
    bad: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Packed:
    """A run's inputs as flat arrays: parameters, and table columns one after the other.

    ``ints`` ends with (offset, length) of each column in ``column_reals`` or ``column_ints``.
    """

    reals: NDArray[Any]
    ints: NDArray[np.int32]
    column_reals: NDArray[Any]
    column_ints: NDArray[np.int32]


def pack(program: Program, model: Model, dtype: str) -> Packed:
    """The inputs of a run, the parameters that the host computes among them."""
    reals, ints = host_values(program, list(model.reals.values()), list(model.ints.values()))
    parts: dict[str, list[NDArray[Any]]] = {"f": [], "i": []}
    used = {"f": 0, "i": 0}
    for name, kind in program.columns:
        data = np.asarray(model.columns[name])
        ints += [used[kind], len(data)]
        parts[kind].append(data)
        used[kind] += len(data)
    padding = np.zeros(COLUMN_PADDING)
    return Packed(
        np.array([*reals, 0.0], dtype),
        np.array([*ints, 0], np.int32),
        np.concatenate([*parts["f"], padding]).astype(dtype),
        np.concatenate([*parts["i"], padding]).astype(np.int32),
    )


def pack_many(program: Program, models: Sequence[Model], dtype: str) -> tuple[NDArray[Any], ...]:
    """The inputs of several models of one program: as ``Packed``, each array (models, pitch), padded with zeros."""
    packed = [pack(program, model, dtype) for model in models]
    return (
        _stack([p.reals for p in packed]),
        _stack([p.ints for p in packed]),
        _stack([p.column_reals for p in packed]),
        _stack([p.column_ints for p in packed]),
    )


def _stack(rows: list[NDArray[Any]]) -> NDArray[Any]:
    made = np.zeros((len(rows), max(map(len, rows))), rows[0].dtype)
    for to, row in zip(made, rows, strict=True):
        to[: len(row)] = row
    return made


def check_same(program: Program, models: Sequence[Model]) -> None:
    """Raise BackendError where a model is not one of this program: its inputs or metrics have other names.

    Columns may differ in length.
    """
    for number, model in enumerate(models):
        columns = tuple((k, "f" if c.dtype.kind == "f" else "i") for k, c in model.columns.items())
        for what, has, wanted in (
            ("parameters", tuple(model.reals), program.reals),
            ("whole numbers", tuple(model.ints), program.ints),
            ("columns", columns, program.columns),
            ("metrics", tuple(model.metrics), program.metrics),
        ):
            if has != wanted:
                differ = [str(x) for x in (*wanted, *has) if (x in wanted) != (x in has)]
                raise BackendError(
                    f"model {number} of {len(models)}: its {what} are not those of the program that it should "
                    f"share: {', '.join(differ[:3]) or 'another order'}"
                )


class Kernel(Protocol):
    """A compiled model. ``seconds`` holds what compiling cost; ``stamp`` says with what it was made."""

    stamp: dict[str, str]
    chunk: int

    def run(
        self, model: Model, seed: int, first: int, count: int, months: int, series: bool
    ) -> Output: ...

    def run_many(
        self, models: Sequence[Model], seed: int, first: int, count: int, months: int
    ) -> list[Output]:
        """The same paths of several models of this program, that is several sets of its inputs; no series.

        Each output is that of ``run``. Raises BackendError where a model's inputs have other names.
        """
        ...


@dataclass(frozen=True, slots=True)
class Status:
    """Whether a backend works here; ``why`` says what it found, or what is missing and how to get it."""

    name: str
    works: bool
    why: str
    detail: dict[str, str] = field(default_factory=dict)


def thread_count() -> int:
    """Threads for CPU backends: OVERBUILT_THREADS, else the processors this process may use."""
    asked = os.environ.get("OVERBUILT_THREADS", "")
    if asked:
        if not asked.isdigit() or int(asked) < 1:
            raise BackendError(
                f"OVERBUILT_THREADS is {asked!r}; it should be a whole number above 0"
            )
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def path_words(first: int, count: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Path numbers first, first + 1, ... as low words and high words."""
    return split(np.arange(first, first + count, dtype=np.uint64))


def split(paths: NDArray[np.uint64]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Path numbers as low words and high words."""
    low = (paths & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    return low, (paths >> np.uint64(32)).astype(np.uint32)
