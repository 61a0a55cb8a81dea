"""What the expert code in Numba is made of: a hash of a counter, and float32 polynomials that LLVM vectorises."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from trio_spec import COSINE_COEFFICIENTS, SINE_COEFFICIENTS

GOLDEN = 0x9E3779B97F4A7C15
MUL1, MUL2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
f, i32, u32, u64 = np.float32, np.int32, np.uint32, np.uint64
S0, S1, S2, S3, S4 = (f(c) for c in SINE_COEFFICIENTS)
C0, C1, C2, C3, C4, C5 = (f(c) for c in COSINE_COEFFICIENTS)

fast = njit(fastmath=True, error_model="numpy", nogil=True)


@fast
def mix(z):
    """SplitMix64 finaliser."""
    z = (z ^ (z >> u64(30))) * MUL1
    z = (z ^ (z >> u64(27))) * MUL2
    return z ^ (z >> u64(31))


@fast
def log_(x):
    """Natural logarithm of a positive normal float32, within 1 ulp or so."""
    i = f(x).view(i32)
    e = i32(i - i32(0x3F2AAAAB)) >> i32(23)
    d = i32(i - i32(e << i32(23))).view(f) - f(1)
    q = d * d
    r = f(-0.130310059) * q + f(-0.121483512)
    t = f(0.140869141) * q + f(0.139814854)
    r = r * q + f(-0.166846126)
    t = t * q + f(0.200120345)
    r = r * q + f(-0.249996200)
    r = t * d + r
    r = r * d + f(0.333331972)
    r = r * d + f(-0.5)
    return f(e) * f(0.693147182) + (r * q + d)


@fast
def normals(a, b):
    """Box-Muller: the angle within half a turn, the other half by the radius's sign bit."""
    u = f(u32(a)) * f(2.3283064e-10) + f(1.1641532e-10)
    radius = f(math.sqrt(f(-2) * log_(u)))
    radius = i32(radius.view(i32) | i32(i32(b) << i32(31))).view(f)
    v = f(i32(b)) * f(4.656612873e-10)
    w = v * v
    sine = (((S4 * w + S3) * w + S2) * w + S1) * w + S0
    cosine = ((((C5 * w + C4) * w + C3) * w + C2) * w + C1) * w + C0
    return radius * cosine, radius * sine * v
