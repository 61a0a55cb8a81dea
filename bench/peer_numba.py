"""Numba peer of the trio workload, as shipped: ``prange`` over paths, ``fastmath``, float32.

Scalar code by path, the C library's ``log``, ``cos``, ``erfc``; AS 241 for the normal quantile.
Random numbers are counter-based (Philox4x32-10: any path can be computed alone) or, in algorithms
that end in ``np.random``, Numba's own, seeded for each chunk of paths.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray
from trio_spec import TRIO, exposures

LOANS = {"monthly": 0, "once": 1, "order": 2}
ALGORITHMS: tuple[str, ...] = (*LOANS, *(f"{name} np.random" for name in LOANS))

S, F, U32, U64 = TRIO, np.float32, np.uint32, np.uint64
CHUNK, BATCH = 256, 32  # paths between two seedings of np.random; defaults drawn at a time
MONTHS, N, DT, HALF = S.months, S.loans, F(S.dt), F(0.5)
C = S.cholesky().astype(np.float32)
L10, L11, L20, L21, L22 = C[1, 0], C[1, 1], C[2, 0], C[2, 1], C[2, 2]
LEAVE0, LEAVE1 = (F(p) for p in S.switch_prob())
DRIFT0, DRIFT1 = (F((g - S.revenue_vol**2 / 2) * S.dt) for g in S.growth)
REVENUE_SD, SD1, SD2 = F(S.revenue_vol * math.sqrt(S.dt)), *(F(v) for v in S.price_step_sd())
JUMP, JUMP_MEAN, JUMP_SD = F(S.jump_prob()), F(S.jump_mean), F(S.jump_sd)
BETA, TREND, DECLINE = F(S.revenue_beta), F(S.revenue_trend), F(S.price_decline)
DECAY, STRESS_BETA, HAZARD = F(S.reversion()), F(S.stress_beta), F(S.hazard * S.dt)
(LOW, HIGH), (LGD_LOW, LGD_HIGH) = map(F, S.stress_clip), map(F, S.lgd_clip)
LGD_BASE, LGD_SLOPE = F(S.lgd_base), F(S.lgd_slope)
FACTOR, OWN = F(math.sqrt(S.rho)), F(1.0 / math.sqrt(1.0 - S.rho))
ROOT_HALF, TURN = F(math.sqrt(0.5)), F(2.0 * math.pi)

# AS 241 (Wichura 1988), the seven-figure version PPND7.
A = tuple(map(F, (3.3871327179, 50.434271938, 159.29113202, 59.109374720)))
B = tuple(map(F, (1.0, 17.895169469, 78.757757664, 67.187563600)))
P = tuple(map(F, (1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103)))
Q = tuple(map(F, (1.0, 0.73700164250, 0.12021132975)))
T = tuple(map(F, (6.6579051150, 3.0812263860, 0.42868294337, 0.017337203997)))
D = tuple(map(F, (1.0, 0.24197894225, 0.012258202635)))

fast = njit(fastmath=True, error_model="numpy", inline="always")


@fast
def philox(path, month, stream, block, key0, key1):
    """Philox4x32-10 of Salmon et al. (2011): four words for a counter and a key."""
    c0, c1, c2, c3 = U32(path), U32(month), U32(stream), U32(block)
    k0, k1 = U32(key0), U32(key1)
    for _ in range(10):
        p, q = U64(0xD2511F53) * U64(c0), U64(0xCD9E8D57) * U64(c2)
        c0, c1 = U32(q >> U64(32)) ^ c1 ^ k0, U32(q)
        c2, c3 = U32(p >> U64(32)) ^ c3 ^ k1, U32(p)
        k0, k1 = U32(k0 + U32(0x9E3779B9)), U32(k1 + U32(0xBB67AE85))
    return c0, c1, c2, c3


@fast
def unit(word):
    """A float32 inside (0, 1)."""
    return F(word >> U32(8)) * F(2.0**-24) + F(2.0**-25)


@fast
def ndtr(x):
    return HALF * math.erfc(-x * ROOT_HALF)


@fast
def ndtri(p):
    q = p - HALF
    if abs(q) <= F(0.425):
        r = F(0.180625) - q * q
        x = (((A[3] * r + A[2]) * r + A[1]) * r + A[0]) / (
            ((B[3] * r + B[2]) * r + B[1]) * r + B[0]
        )
        return q * x
    r = math.sqrt(-math.log(min(p, F(1) - p)))
    s, top, low = (r - F(1.6), P, Q) if r <= F(5) else (r - F(5), T, D)
    x = (((top[3] * s + top[2]) * s + top[1]) * s + top[0]) / ((low[2] * s + low[1]) * s + low[0])
    return -x if q < F(0) else x


def _make(kind: int, counter: bool) -> Callable[..., None]:
    """The compiled loop over paths for one kind of loans and one kind of random numbers."""

    @fast
    def fill(u, n, path, month, stream, key0, key1):
        """n uniforms: the counter's, four to a block, or the library's."""
        if counter:
            for b in range((n + 3) // 4):
                w0, w1, w2, w3 = philox(path, month, stream, b, key0, key1)
                u[4 * b], u[4 * b + 1] = unit(w0), unit(w1)
                u[4 * b + 2], u[4 * b + 3] = unit(w2), unit(w3)
            return
        for i in range(n):
            u[i] = max(F(np.random.random()), F(2.0**-25))

    @fast
    def normals(a, b):
        r, angle = math.sqrt(F(-2) * math.log(a)), TURN * b
        return r * math.cos(angle), r * math.sin(angle)

    @fast
    def one_path(path, key0, key1, exposure, u, left, p, lgd):
        fill(left, 2, path, 0, 0, key0, key1)
        market, _ = normals(left[0], left[1])
        fill(u, 8 * MONTHS, path, 0, 1, key0, key1)
        second = False
        revenue, x1, x2, hazard = F(0), F(0), F(0), F(0)
        for t in range(MONTHS):
            years = F(t + 1) * DT
            k = 8 * t
            z0, z1 = normals(u[k], u[k + 1])
            z2, _ = normals(u[k + 2], u[k + 3])
            if u[k + 4] < (LEAVE1 if second else LEAVE0):
                second = not second
            revenue += (DRIFT1 if second else DRIFT0) + REVENUE_SD * z0
            fair = BETA * (revenue - TREND * years) - DECLINE * years
            x1 = fair + (x1 - fair) * DECAY + SD1 * (L10 * z0 + L11 * z1)
            x2 = fair + (x2 - fair) * DECAY + SD2 * (L20 * z0 + L21 * z1 + L22 * z2)
            jumps1, jumps2 = u[k + 5] < JUMP, u[k + 6] < JUMP
            if jumps1 or jumps2:
                fill(left, 2, path, t + 1, 2, key0, key1)
                z1, z2 = normals(left[0], left[1])
                x1 += JUMP_MEAN + JUMP_SD * z1 if jumps1 else F(0)
                x2 += JUMP_MEAN + JUMP_SD * z2 if jumps2 else F(0)
            stress = F(-0.5) * (x1 + x2) - DECLINE * years
            hazard += HAZARD * math.exp(min(max(STRESS_BETA * stress, LOW), HIGH))
            p[t] = ndtr((ndtri(-math.expm1(-hazard)) - FACTOR * market) * OWN)
            lgd[t] = min(max(LGD_BASE + LGD_SLOPE * stress, LGD_LOW), LGD_HIGH)

        loss, before, t, k = F(0), F(0), 0, 0
        if kind == 0:  # monthly: a uniform for each survivor
            left[:] = exposure
            n = N
            for t in range(MONTHS):
                odds, before = (p[t] - before) / (F(1) - before), p[t]
                fill(u, n, path, t + 1, 3, key0, key1)
                dead, k = F(0), 0
                for i in range(n):
                    e, hit = left[i], u[i] < odds
                    left[k] = e
                    dead += e if hit else F(0)
                    k += 0 if hit else 1
                n = k
                loss += dead * lgd[t]
        elif kind == 1:  # once: a uniform for each loan, its month by bisection
            fill(u, N, path, 0, 3, key0, key1)
            for i in range(N):
                if u[i] < p[MONTHS - 1]:
                    loss += exposure[i] * lgd[np.searchsorted(p, u[i], side="right")]
        else:  # order: exponential gaps between the defaults, a victim by Fisher and Yates
            left[:] = exposure
            for t in range(MONTHS):
                p[t] = -math.log1p(-p[t])
            gap, t = F(0), 0
            while k < N:
                if k % BATCH == 0:
                    fill(u, 2 * BATCH, path, k, 3, key0, key1)
                gap -= math.log(u[k % BATCH]) / F(N - k)
                while t < MONTHS and p[t] <= gap:
                    t += 1
                if t == MONTHS:
                    break
                i = k + min(int(u[BATCH + k % BATCH] * F(N - k)), N - k - 1)
                loss += left[i] * lgd[t]
                left[i] = left[k]
                k += 1
        return loss

    @njit(parallel=True, fastmath=True, error_model="numpy")
    def run(paths, key0, key1, exposure, out):
        for c in prange((paths + CHUNK - 1) // CHUNK):
            if not counter:
                np.random.seed(philox(c, 0, 0, 0, key0, key1)[0])
            u, left = np.empty(max(N, 8 * MONTHS), F), np.empty(N, F)
            p, lgd = np.empty(MONTHS, F), np.empty(MONTHS, F)
            for path in range(c * CHUNK, min(paths, (c + 1) * CHUNK)):
                out[path] = one_path(path, key0, key1, exposure, u, left, p, lgd)

    return run


def build(algorithm: str) -> Callable[[int, int], NDArray[np.float32]]:
    """Return ``simulate(paths, seed) -> losses`` for one of ``ALGORITHMS``."""
    kind, _, generator = algorithm.partition(" ")
    run = _make(LOANS[kind], generator == "")
    exposure = exposures().astype(np.float32)

    def simulate(paths: int, seed: int) -> NDArray[np.float32]:
        out = np.empty(paths, np.float32)
        run(paths, U32(seed & 0xFFFFFFFF), U32(seed >> 32), exposure, out)
        return out

    return simulate
