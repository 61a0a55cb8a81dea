"""Several scenarios of the engine in one launch: what case ``scaling`` times."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from overbuilt import load
from overbuilt.engine.simulate import plan


def build(scenarios: int) -> Callable[[int, int], NDArray[np.floating]]:
    """Return ``simulate(paths, seed)``: base in so many variants of one parameter, ``paths`` of all together."""
    models = [
        load("base", {"revenue.volatility": 0.15 + 0.001 * k}).economy for k in range(scenarios)
    ]
    made = plan(models[0], "native")
    row = list(made.economy.metrics).index("private_credit.loss")

    def simulate(paths: int, seed: int) -> NDArray[np.floating]:
        outputs = made.run_many(models, seed, 0, paths // scenarios)
        return np.concatenate([o.metrics[row] for o in outputs])

    return simulate
