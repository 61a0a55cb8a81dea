"""QuantLib beside the trio workload: the factors alone, by its own multi-path generator.

``GaussianMultiPathGenerator`` over an array of three correlated processes, monthly for five years: a geometric
Brownian motion for revenue, two Ornstein-Uhlenbeck processes for the log prices. Regimes, jumps, fair levels that
move and loans have no counterpart there, so this is a part of the work, not the whole. One thread: the Python
bindings hold the interpreter. What it gives is the second log price at the end, whose mean is 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import QuantLib as ql
from numpy.typing import NDArray
from trio_spec import TRIO as S

ALGORITHMS: tuple[str, ...] = ("prices",)


def build(algorithm: str) -> Callable[[int, int], NDArray[np.float32]]:
    """Return ``simulate(paths, seed) -> the second log price after the last month``."""
    if algorithm not in ALGORITHMS:
        raise ValueError(f"unknown algorithm {algorithm!r}")
    processes = [
        ql.GeometricBrownianMotionProcess(S.revenue0, S.growth[0], S.revenue_vol),
        *(ql.OrnsteinUhlenbeckProcess(S.kappa, vol, 0.0, 0.0) for vol in S.price_vol),
    ]
    every = ql.StochasticProcessArray(processes, [list(row) for row in S.correlation])
    grid = list(ql.TimeGrid(S.months * S.dt, S.months))

    def simulate(paths: int, seed: int) -> NDArray[np.float32]:
        bits = ql.UniformRandomGenerator(seed + 1)
        uniforms = ql.UniformRandomSequenceGenerator(3 * S.months, bits)
        rsg = ql.GaussianRandomSequenceGenerator(uniforms)
        generator = ql.GaussianMultiPathGenerator(every, grid, rsg, False)
        return np.array([generator.next().value()[2].back() for _ in range(paths)], np.float32)

    return simulate
