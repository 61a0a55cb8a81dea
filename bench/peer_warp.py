"""Warp peer of the trio workload: a plain kernel, a thread of Warp's for each path, ``wp.randf`` and ``wp.randn``.

On a processor Warp runs the threads of a launch one after the other; so threads of Python, one
for each core, launch chunks of paths whose arrays fit the cache. Special functions are Warp's ``erfc`` and AS 241 (Wichura 1988, PPND7) for the normal quantile.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import warp as wp
from machine import cores
from numpy.typing import NDArray
from trio_spec import TRIO as S
from trio_spec import exposures

wp.config.quiet = True
wp.init()

ALGORITHMS: tuple[str, ...] = ("once", "order")
CHUNK = 1024  # paths; from 512 on, up to all at once, processor seconds differ by 5 %

MONTHS, LOANS = wp.constant(S.months), wp.constant(S.loans)
CHOLESKY = S.cholesky()
L10, L11 = wp.constant(float(CHOLESKY[1, 0])), wp.constant(float(CHOLESKY[1, 1]))
L20, L21 = wp.constant(float(CHOLESKY[2, 0])), wp.constant(float(CHOLESKY[2, 1]))
L22 = wp.constant(float(CHOLESKY[2, 2]))
LEAVE0, LEAVE1 = (wp.constant(p) for p in S.switch_prob())
DRIFT0, DRIFT1 = (wp.constant((g - S.revenue_vol**2 / 2) * S.dt) for g in S.growth)
REVENUE_SD = wp.constant(S.revenue_vol * math.sqrt(S.dt))
SD1, SD2 = (wp.constant(v) for v in S.price_step_sd())
JUMP, JUMP_MEAN, JUMP_SD = (wp.constant(v) for v in (S.jump_prob(), S.jump_mean, S.jump_sd))
DT, BETA, TREND = wp.constant(S.dt), wp.constant(S.revenue_beta), wp.constant(S.revenue_trend)
DECLINE, DECAY = wp.constant(S.price_decline), wp.constant(S.reversion())
HAZARD, STRESS_BETA = wp.constant(S.hazard * S.dt), wp.constant(S.stress_beta)
LOW, HIGH = (wp.constant(v) for v in S.stress_clip)
LGD_BASE, LGD_SLOPE = wp.constant(S.lgd_base), wp.constant(S.lgd_slope)
LGD_LOW, LGD_HIGH = (wp.constant(v) for v in S.lgd_clip)
FACTOR, OWN = wp.constant(math.sqrt(S.rho)), wp.constant(1.0 / math.sqrt(1.0 - S.rho))
ROOT_HALF = wp.constant(math.sqrt(0.5))
LEAST = wp.constant(2.0**-25)


@wp.func
def ndtri(p: float) -> float:
    q = p - 0.5
    if wp.abs(q) <= 0.425:
        r = 0.180625 - q * q
        x = ((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179
        return q * x / (((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1.0)
    r = wp.sqrt(-wp.log(wp.min(p, 1.0 - p)))
    x = float(0.0)
    if r <= 5.0:
        s = r - 1.6
        x = ((0.17023821103 * s + 1.3067284816) * s + 2.7568153900) * s + 1.4234372777
        x = x / ((0.12021132975 * s + 0.73700164250) * s + 1.0)
    else:
        s = r - 5.0
        x = ((0.017337203997 * s + 0.42868294337) * s + 3.0812263860) * s + 6.6579051150
        x = x / ((0.012258202635 * s + 0.24197894225) * s + 1.0)
    return wp.where(q < 0.0, -x, x)


@wp.func
def factors(
    state: wp.uint32,
    i: int,
    p: wp.array2d(dtype=wp.float32),
    lgd: wp.array2d(dtype=wp.float32),
) -> wp.uint32:
    """Fill row i: the default probability given the market factor, and the loss given default, by month."""
    market = wp.randn(state)
    second = int(0)
    revenue = float(0.0)
    x1 = float(0.0)
    x2 = float(0.0)
    hazard = float(0.0)
    for t in range(MONTHS):
        years = float(t + 1) * DT
        z0 = wp.randn(state)
        z1 = wp.randn(state)
        z2 = wp.randn(state)
        if wp.randf(state) < wp.where(second == 1, LEAVE1, LEAVE0):
            second = 1 - second
        revenue += wp.where(second == 1, DRIFT1, DRIFT0) + REVENUE_SD * z0
        fair = BETA * (revenue - TREND * years) - DECLINE * years
        x1 = fair + (x1 - fair) * DECAY + SD1 * (L10 * z0 + L11 * z1)
        x2 = fair + (x2 - fair) * DECAY + SD2 * (L20 * z0 + L21 * z1 + L22 * z2)
        if wp.randf(state) < JUMP:
            x1 += JUMP_MEAN + JUMP_SD * wp.randn(state)
        if wp.randf(state) < JUMP:
            x2 += JUMP_MEAN + JUMP_SD * wp.randn(state)
        stress = -0.5 * (x1 + x2) - DECLINE * years
        hazard += HAZARD * wp.exp(wp.clamp(STRESS_BETA * stress, LOW, HIGH))
        x = (ndtri(1.0 - wp.exp(-hazard)) - FACTOR * market) * OWN
        p[i, t] = 0.5 * wp.erfc(-x * ROOT_HALF)
        lgd[i, t] = wp.clamp(LGD_BASE + LGD_SLOPE * stress, LGD_LOW, LGD_HIGH)
    return state


@wp.kernel
def once(
    seed: int,
    first: int,
    exposure: wp.array(dtype=wp.float32),
    p: wp.array2d(dtype=wp.float32),
    lgd: wp.array2d(dtype=wp.float32),
    left: wp.array2d(dtype=wp.float32),
    out: wp.array(dtype=wp.float32),
):
    """A uniform for each loan, its month by bisection."""
    i = wp.tid()
    state = factors(wp.rand_init(seed, first + i), i, p, lgd)
    most = p[i, MONTHS - 1]
    loss = float(0.0)
    for loan in range(LOANS):
        u = wp.randf(state)
        if u < most:
            low = int(0)
            high = int(MONTHS - 1)
            while low < high:
                middle = (low + high) // 2
                if u < p[i, middle]:
                    high = middle
                else:
                    low = middle + 1
            loss += exposure[loan] * lgd[i, low]
    out[i] = loss


@wp.kernel
def order(
    seed: int,
    first: int,
    exposure: wp.array(dtype=wp.float32),
    p: wp.array2d(dtype=wp.float32),
    lgd: wp.array2d(dtype=wp.float32),
    left: wp.array2d(dtype=wp.float32),
    out: wp.array(dtype=wp.float32),
):
    """Exponential gaps between the defaults, a victim by Fisher and Yates."""
    i = wp.tid()
    state = factors(wp.rand_init(seed, first + i), i, p, lgd)
    for loan in range(LOANS):
        left[i, loan] = exposure[loan]
    loss = float(0.0)
    gap = -wp.log(wp.max(wp.randf(state), LEAST)) / float(LOANS)
    k = int(0)
    t = int(0)
    reached = -wp.log(1.0 - p[i, 0])
    while k < LOANS and t < MONTHS:
        if reached <= gap:
            t += 1
            if t < MONTHS:
                reached = -wp.log(1.0 - p[i, t])
        else:
            victim = k + wp.min(int(wp.randf(state) * float(LOANS - k)), LOANS - k - 1)
            loss += left[i, victim] * lgd[i, t]
            left[i, victim] = left[i, k]
            k += 1
            gap -= wp.log(wp.max(wp.randf(state), LEAST)) / float(wp.max(LOANS - k, 1))
    out[i] = loss


def build(algorithm: str) -> Callable[[int, int], NDArray[np.float32]]:
    """Return ``simulate(paths, seed) -> losses`` for one of ``ALGORITHMS``."""
    kernel = {"once": once, "order": order}[algorithm]
    pool = ThreadPoolExecutor(cores())
    exposure = wp.array(exposures().astype(np.float32), dtype=wp.float32, device="cpu")

    def part(seed: int, first: int, count: int) -> Any:
        p, lgd = (wp.empty((count, S.months), dtype=wp.float32, device="cpu") for _ in range(2))
        left = wp.empty((count, S.loans), dtype=wp.float32, device="cpu")
        out = wp.empty(count, dtype=wp.float32, device="cpu")
        inputs = [seed, first, exposure, p, lgd, left]
        wp.launch(kernel, dim=count, inputs=inputs, outputs=[out], device="cpu")
        return np.array(out.numpy())

    def simulate(paths: int, seed: int) -> NDArray[np.float32]:
        firsts = range(0, paths, CHUNK)
        parts = pool.map(lambda first: part(seed, first, min(CHUNK, paths - first)), firsts)
        return np.concatenate(list(parts))

    return simulate
