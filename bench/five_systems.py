"""Five systems of base, for case ``base``: the engine's backends, and JAX by hand (``jax_economy``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from machine import cores
from numpy.typing import NDArray

CHUNK = 256  # paths of a call by hand: fastest of those tried there


def build(who: str) -> Callable[[int, int], NDArray[np.floating]]:
    """Return ``simulate(paths, seed) -> loss of private credit``, by a backend's name or ``by hand``."""
    from jax_economy import METRICS, by_hand, economy

    model = economy()
    if who == "by hand":
        run = by_hand(model, CHUNK, cores())
        row = METRICS.index("private_credit.loss")
        return lambda paths, seed: run(paths, seed)[row]
    from overbuilt.engine.simulate import plan

    made = plan(model, who)
    row = list(model.metrics).index("private_credit.loss")

    def simulate(paths: int, seed: int) -> Any:
        return made.run(seed, 0, paths).metrics[row]

    return simulate
