"""numba.cuda peer of the trio workload: one thread a path, order statistics, Philox4x32-10, fastmath, float32.

What peer_numba does on a processor, as a kernel: the exposures that are left are a local array of a thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from gpu_peers import LAST
from numba import cuda, float32, uint32, uint64
from peer_numba import (
    BETA,
    DECAY,
    DECLINE,
    DRIFT0,
    DRIFT1,
    DT,
    FACTOR,
    HALF,
    HAZARD,
    HIGH,
    JUMP,
    JUMP_MEAN,
    JUMP_SD,
    L10,
    L11,
    L20,
    L21,
    L22,
    LEAVE0,
    LEAVE1,
    LGD_BASE,
    LGD_HIGH,
    LGD_LOW,
    LGD_SLOPE,
    LOW,
    MONTHS,
    OWN,
    REVENUE_SD,
    ROOT_HALF,
    SD1,
    SD2,
    STRESS_BETA,
    TREND,
    TURN,
    A,
    B,
    D,
    N,
    P,
    Q,
    T,
)
from trio_spec import exposures

THREADS = 128
F = np.float32
device = cuda.jit(device=True, fastmath=True, inline=True)


@device
def philox(path, month, stream, block, key0, key1):
    c0, c1, c2, c3 = uint32(path), uint32(month), uint32(stream), uint32(block)
    k0, k1 = uint32(key0), uint32(key1)
    for _ in range(10):
        p, q = uint64(0xD2511F53) * uint64(c0), uint64(0xCD9E8D57) * uint64(c2)
        c0, c1 = uint32(q >> uint64(32)) ^ c1 ^ k0, uint32(q)
        c2, c3 = uint32(p >> uint64(32)) ^ c3 ^ k1, uint32(p)
        k0, k1 = uint32(k0 + uint32(0x9E3779B9)), uint32(k1 + uint32(0xBB67AE85))
    return c0, c1, c2, c3


@device
def unit(word):
    return float32(word >> uint32(8)) * float32(2.0**-24) + float32(2.0**-25)


@device
def normals(a, b):
    r, angle = math.sqrt(F(-2) * math.log(unit(a))), TURN * unit(b)
    return r * math.cos(angle), r * math.sin(angle)


@device
def ndtr(x):
    return HALF * math.erfc(-x * ROOT_HALF)


@device
def ndtri(p):
    q = p - HALF
    if abs(q) <= F(0.425):
        r = F(0.180625) - q * q
        top = ((A[3] * r + A[2]) * r + A[1]) * r + A[0]
        return q * top / (((B[3] * r + B[2]) * r + B[1]) * r + B[0])
    r = math.sqrt(-math.log(min(p, F(1) - p)))
    if r <= F(5):
        s = r - F(1.6)
        x = (((P[3] * s + P[2]) * s + P[1]) * s + P[0]) / ((Q[2] * s + Q[1]) * s + Q[0])
    else:
        s = r - F(5)
        x = (((T[3] * s + T[2]) * s + T[1]) * s + T[0]) / ((D[2] * s + D[1]) * s + D[0])
    return -x if q < F(0) else x


@cuda.jit(fastmath=True)
def simulate(key0, key1, exposure, out):
    path = cuda.grid(1)
    if path >= out.size:
        return
    left = cuda.local.array(N, float32)
    for i in range(N):
        left[i] = exposure[i]
    w0, w1, w2, w3 = philox(path, 0, 0, 0, key0, key1)
    market, _ = normals(w0, w1)
    level = -math.log(unit(w2)) / F(N)  # the first default's, as a hazard
    second, gone = False, 0
    revenue, x1, x2, hazard, loss = F(0), F(0), F(0), F(0), F(0)
    for t in range(MONTHS):
        years = F(t + 1) * DT
        w0, w1, w2, w3 = philox(path, t + 1, 1, 0, key0, key1)
        z0, z1 = normals(w0, w1)
        z2, _ = normals(w2, w3)
        w0, w1, w2, w3 = philox(path, t + 1, 1, 1, key0, key1)
        if unit(w0) < (LEAVE1 if second else LEAVE0):
            second = not second
        revenue += (DRIFT1 if second else DRIFT0) + REVENUE_SD * z0
        fair = BETA * (revenue - TREND * years) - DECLINE * years
        x1 = fair + (x1 - fair) * DECAY + SD1 * (L10 * z0 + L11 * z1)
        x2 = fair + (x2 - fair) * DECAY + SD2 * (L20 * z0 + L21 * z1 + L22 * z2)
        jumps1, jumps2 = unit(w1) < JUMP, unit(w2) < JUMP
        if jumps1 or jumps2:
            w0, w1, w2, w3 = philox(path, t + 1, 2, 0, key0, key1)
            z1, z2 = normals(w0, w1)
            x1 += JUMP_MEAN + JUMP_SD * z1 if jumps1 else F(0)
            x2 += JUMP_MEAN + JUMP_SD * z2 if jumps2 else F(0)
        stress = -HALF * (x1 + x2) - DECLINE * years
        hazard += HAZARD * math.exp(min(max(STRESS_BETA * stress, LOW), HIGH))
        lgd = min(max(LGD_BASE + LGD_SLOPE * stress, LGD_LOW), LGD_HIGH)
        x = ndtri(F(1) - math.exp(-hazard)) - FACTOR * market
        reached = -math.log(F(1) - ndtr(x * OWN))
        while gone < N and level < reached:
            w0, w1, w2, w3 = philox(path, 0, 3, gone, key0, key1)
            i = gone + min(int(unit(w1) * F(N - gone)), N - gone - 1)
            loss += left[i] * lgd
            left[i] = left[gone]
            gone += 1
            level -= math.log(unit(w0)) / F(max(N - gone, 1))
    out[path] = loss


def build(paths: int) -> Callable[[int], float]:
    """Return ``call(seed)``, milliseconds by CUDA events."""
    if not cuda.is_available():
        raise ImportError("numba finds no GPU")
    exposure = cuda.to_device(exposures().astype(np.float32))
    out = cuda.device_array(paths, np.float32)
    blocks = -(-paths // THREADS)

    def call(seed: int) -> float:
        start, end = cuda.event(), cuda.event()
        start.record()
        simulate[blocks, THREADS](np.uint32(seed), np.uint32(0), exposure, out)
        end.record()
        end.synchronize()
        LAST[:] = [out]
        return float(cuda.event_elapsed_time(start, end))

    return call
