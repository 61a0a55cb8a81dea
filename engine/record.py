"""Record: every variable of every month on a few paths, computed eagerly on the reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..kernels.arrays import ArrayNamespace
from ..kernels.backends.base import path_words
from ..kernels.backends.numpy import bind
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
    inputs = bind(economy, xp, np.float64)
    with np.errstate(all="ignore"):
        state = {k: xp.full(v) for k, v in economy.init(xp, inputs).items()}
    for number in range(1, months + 1):
        before = {k: np.array(v) for k, v in state.items()}
        with np.errstate(all="ignore"):
            new, seen = economy.step(xp, inputs, dict(state), np.int32(number))
            state = {k: xp.full(v) for k, v in new.items()}
        yield Month(number, before, {k: np.asarray(v) for k, v in seen.items()})
