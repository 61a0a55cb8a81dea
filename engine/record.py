"""Record: every variable of every month on a few paths, computed eagerly on the reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..kernels.arrays import ArrayColumn, ArrayNamespace
from ..kernels.backends.base import path_words
from .system import Economy


@dataclass(frozen=True)
class Month:
    """What the systems gave in a month, by ``system.name``: (paths,), or (length, paths) for an array.

    ``before`` is the state that the month began with.
    """

    number: int
    before: dict[str, Any]
    seen: dict[str, Any]


def record(economy: Economy, seed: int, first: int, count: int, months: int) -> Iterator[Month]:
    """The months of paths first, ..., first + count - 1, in float64, one after another."""
    xp = ArrayNamespace(np, True, path_words(first, count), seed)
    inputs: dict[str, Any] = {k: np.float64(v) for k, v in economy.reals.items()}
    inputs |= {k: np.int32(v) for k, v in economy.ints.items()}
    inputs |= {k: ArrayColumn(np, np.asarray(v)) for k, v in economy.columns.items()}
    with np.errstate(all="ignore"):
        start = economy.init(xp, inputs)
        state = {k: xp.full(v) if np.ndim(v) < 2 else v for k, v in start.items()}
        for number in range(1, months + 1):
            before = {k: np.array(v) for k, v in state.items()}
            new, seen = economy.step(xp, inputs, dict(state), np.int32(number))
            state = {k: xp.full(v) if np.ndim(v) < 2 else v for k, v in new.items()}
            yield Month(number, before, {k: np.asarray(v) for k, v in seen.items()})
