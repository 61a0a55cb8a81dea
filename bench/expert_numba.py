"""Numba peer of the trio workload: ``njit(parallel, fastmath)``, float32, blocks of 64 paths.

What makes this the fastest form found:

* Paths run in blocks whose state is a handful of arrays in the first-level cache.  The inner loops
  go over the block's paths without branches, so LLVM vectorises all of the factor model.
* Random bits come from a counter (the SplitMix64 finaliser over a per-block start), filled into a
  buffer in a loop of its own: 64-bit lanes there, 32-bit lanes in the float32 code.  Numba's
  ``np.random`` (a Mersenne twister behind a call) is not vectorised: its 24,000 monthly draws alone
  allow 29,000 paths per second on two cores, a small fraction of the rate of ``monthly`` here.
* Logarithm, exponential, sine, cosine, the probit and the normal distribution function are float32
  polynomials written inline, since calls into the C library stop the vectoriser.
* Regime switches and jumps come from geometric gaps, a few scalar draws per path.
* ``monthly`` fills the 400 uniforms of a month and then compares in a branch-free loop over the
  exposures still alive.
* ``once`` keeps, without a branch, the loans whose uniform is below the last month's probability,
  then sums exposures below each month's threshold over those alone, four months at a time (three
  times as fast as the same sums over all 400 loans).
* ``order`` draws its exponential gaps in vectorised blocks of 64 and swaps exposures in place; a
  shuffled array stays a uniform start, so nothing is restored between paths.

Splitting each loan's uniform into 16 bits now and 16 more for the loans that pass the first
comparison made no measurable difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from trio_spec import (
    LOGIT_PHI_COEFFICIENTS,
    LOGIT_PHI_LIMIT,
    PROBIT_CENTRE,
    PROBIT_COEFFICIENTS,
    PROBIT_SCALE,
    TRIO,
    exposures,
)

ALGORITHMS: tuple[str, ...] = ("monthly", "once", "order")

BLOCK = 64  # paths of a block
GAPS = 64  # exponential gaps drawn at a time


def build(algorithm: str) -> Callable[[int, int], NDArray[np.float32]]:
    """Return ``simulate(paths, seed) -> losses`` for one of ``ALGORITHMS``."""
    if algorithm not in ALGORITHMS:
        raise ValueError(f"unknown algorithm {algorithm!r}")
    from numba import int64, njit, prange, uint64
    from numba_math import GOLDEN, log_, mix, normals

    options = {"fastmath": True, "error_model": "numpy", "nogil": True}
    s = TRIO
    f = np.float32
    u32, i32, u64 = np.uint32, np.int32, np.uint64

    months, loans, block, gaps = s.months, s.loans, BLOCK, GAPS
    golden = u64(GOLDEN)
    scale32 = f(4294967040.0)
    chol = s.cholesky()
    l10, l11 = f(chol[1, 0]), f(chol[1, 1])
    l20, l21, l22 = f(chol[2, 0]), f(chol[2, 1]), f(chol[2, 2])
    drift0, drift1 = (f((g - s.revenue_vol**2 / 2) * s.dt) for g in s.growth)
    revenue_sd = f(s.revenue_vol * math.sqrt(s.dt))
    gap_leave0, gap_leave1 = (f(1.0 / (q * s.dt)) for q in s.switch_rate)
    gap_jump = f(1.0 / (s.jump_rate * s.dt))
    jump_mean, jump_sd = f(s.jump_mean), f(s.jump_sd)
    beta, trend = f(s.revenue_beta), float(s.revenue_beta * s.revenue_trend * s.dt)
    decline = float(s.price_decline * s.dt)
    decay = f(s.reversion())
    sd1, sd2 = (f(v) for v in s.price_step_sd())
    stress_beta, base_hazard = f(s.stress_beta), f(s.hazard * s.dt)
    stress_low, stress_high = (f(v) for v in s.stress_clip)
    lgd_base, lgd_slope = f(s.lgd_base), f(s.lgd_slope)
    lgd_low, lgd_high = (f(v) for v in s.lgd_clip)
    market_weight = f(math.sqrt(s.rho / (1.0 - s.rho)))
    own_scale = f(1.0 / math.sqrt(1.0 - s.rho))
    centre, inverse_scale = f(PROBIT_CENTRE), f(1.0 / PROBIT_SCALE)
    limit = f(LOGIT_PHI_LIMIT)
    a0, a1, a2, a3, a4, a5, a6, a7, a8 = (f(c) for c in PROBIT_COEFFICIENTS)
    b0, b1, b2, b3, b4, b5, b6, b7, b8 = (f(c) for c in LOGIT_PHI_COEFFICIENTS)

    @njit(**options)
    def fill(words, n, state):
        """Fill the first n words; return the counter after them."""
        for i in range(n):
            words[i] = mix(state + u64(i) * golden)
        return state + u64(n) * golden

    @njit(**options)
    def exp_(x):
        """Exponential for |x| < 80, relative error about 1e-7."""
        a = x * f(1.44269504)
        k = i32(a + f(128.5)) - i32(128)
        d = a - f(k)
        r = f(0.00134004322) * d + f(0.0096760371)
        r = r * d + f(0.0555032721)
        r = r * d + f(0.240221074)
        r = r * d + f(0.693147207)
        r = r * d + f(1.0)
        return r * i32(i32(k + i32(127)) << i32(23)).view(f)

    @njit(**options)
    def logit_probability(hazard, shift):
        """Logit of the default probability given the market factor."""
        x = (log_(hazard) - centre) * inverse_scale
        x = ((((((((a8 * x + a7) * x + a6) * x + a5) * x + a4) * x + a3) * x + a2) * x) + a1) * x
        x = min(max((x + a0) * own_scale - shift, -limit), limit)
        w = x * x
        r = (((((((b8 * w + b7) * w + b6) * w + b5) * w + b4) * w + b3) * w + b2) * w) + b1
        return (r * w + b0) * x

    @njit(**options)
    def open_uniform(state):
        return f(u32(mix(state) >> u64(40))) * f(2.0**-24) + f(2.0**-25)

    @njit(**options)
    def months_until(state, mean_gap):
        """Months skipped before the next success of a monthly Bernoulli trial."""
        return int64(-log_(open_uniform(state)) * mean_gap)

    @njit(**options)
    def events(jump, switch, state):
        """Place the block's jumps and regime switches; their tables come in cleared."""
        for j in range(block):
            for k in range(2):
                state += golden
                t = months_until(state, gap_jump)
                while t < months:
                    state += golden
                    z = mix(state)
                    size, _ = normals(u32(z & u64(0xFFFFFFFF)), i32(z >> u64(32)))
                    jump[k, t, j] = jump_mean + jump_sd * size
                    state += golden
                    t += 1 + months_until(state, gap_jump)
            state += golden
            t = months_until(state, gap_leave0)
            first = False
            while t < months:
                switch[t, j] = 1
                state += golden
                t += 1 + months_until(state, gap_leave0 if first else gap_leave1)
                first = not first
        return state + golden

    @njit(**options)
    def factors(jump, switch, level, lgd, words, state):
        """Fill level (logit of the default probability) and lgd, both (months, block)."""
        z = np.empty(6 * block, f)
        revenue, x1, x2 = np.zeros(block, f), np.zeros(block, f), np.zeros(block, f)
        hazard, shift, regime = np.zeros(block, f), np.empty(block, f), np.zeros(block, i32)
        bits = words.view(u32)
        state = fill(words, block, state)
        for j in range(block):
            z0, _ = normals(bits[j], i32(bits[block + j]))
            shift[j] = z0 * market_weight
        for pair in range(months // 2):
            state = fill(words, 3 * block, state)
            for q in range(3 * block):
                z[q], z[3 * block + q] = normals(bits[q], i32(bits[3 * block + q]))
            for half in range(2):
                t = 2 * pair + half
                fall = f(decline * (t + 1))
                level_trend = f((decline + trend) * (t + 1))
                at = 3 * block * half
                for j in range(block):
                    z0, z1, z2 = z[at + j], z[at + block + j], z[at + 2 * block + j]
                    now = regime[j] ^ switch[t, j]
                    regime[j] = now
                    r = revenue[j] + (drift1 if now != 0 else drift0) + revenue_sd * z0
                    revenue[j] = r
                    fair = beta * r - level_trend
                    p = fair + (x1[j] - fair) * decay + sd1 * (l10 * z0 + l11 * z1)
                    q = fair + (x2[j] - fair) * decay + sd2 * (l20 * z0 + l21 * z1 + l22 * z2)
                    p += jump[0, t, j]
                    q += jump[1, t, j]
                    x1[j] = p
                    x2[j] = q
                    stress = f(-0.5) * (p + q) - fall
                    power = min(max(stress_beta * stress, stress_low), stress_high)
                    h = hazard[j] + base_hazard * exp_(power)
                    hazard[j] = h
                    lgd[t, j] = min(max(lgd_base + lgd_slope * stress, lgd_low), lgd_high)
                    level[t, j] = logit_probability(h, shift[j])
        return state

    @njit(**options)
    def to_probability(level):
        for t in range(months):
            for j in range(block):
                level[t, j] = f(1) / (f(1) + exp_(-level[t, j]))

    @njit(**options)
    def monthly(level, lgd, words, e, rest, out, state):
        """A fresh uniform per loan and month."""
        to_probability(level)
        for t in range(months - 1, 0, -1):
            for j in range(block):
                level[t, j] = (level[t, j] - level[t - 1, j]) / (f(1) - level[t - 1, j])
        alive = np.empty(loans, f)
        bits = words.view(u32)
        for j in range(block):
            for i in range(loans):
                alive[i] = e[i]
            total = f(0)
            for t in range(months):
                state = fill(words, loans // 2, state)
                here = u32(level[t, j] * scale32)
                dead = f(0)
                for i in range(loans):
                    v = alive[i]
                    hit = v if bits[i] < here else f(0)
                    dead += hit
                    alive[i] = v - hit
                total += dead * lgd[t, j]
            out[j] = total

    @njit(**options)
    def once(level, lgd, words, e, rest, out, state):
        """One uniform per loan: sum by parts over the months' thresholds."""
        to_probability(level)
        kept, kept_e = np.empty(loans + 16, u32), np.empty(loans + 16, f)
        bits = words.view(u32)
        for j in range(block):
            state = fill(words, loans // 2, state)
            top = u32(level[months - 1, j] * scale32)
            n = 0
            for i in range(loans):
                kept[n] = bits[i]
                kept_e[n] = e[i]
                n += int64(bits[i] < top)
            padded = (n + 15) & ~15
            for i in range(n, padded):
                kept[i] = u32(0xFFFFFFFF)
                kept_e[i] = f(0)
            total = f(0)
            for t in range(0, months, 4):
                h0, h1 = u32(level[t, j] * scale32), u32(level[t + 1, j] * scale32)
                h2, h3 = u32(level[t + 2, j] * scale32), u32(level[t + 3, j] * scale32)
                d0, d1, d2, d3 = f(0), f(0), f(0), f(0)
                for i in range(padded):
                    u, v = kept[i], kept_e[i]
                    d0 += v if u < h0 else f(0)
                    d1 += v if u < h1 else f(0)
                    d2 += v if u < h2 else f(0)
                    d3 += v if u < h3 else f(0)
                g1, g2, g3 = lgd[t + 1, j], lgd[t + 2, j], lgd[t + 3, j]
                g4 = lgd[t + 4, j] if t + 4 < months else f(0)
                total += d0 * (lgd[t, j] - g1) + d1 * (g1 - g2) + d2 * (g2 - g3) + d3 * (g3 - g4)
            out[j] = total

    @njit(**options)
    def order(level, lgd, words, e, rest, out, state):
        """Sorted default times by exponential gaps; victims by a partial Fisher-Yates shuffle."""
        for t in range(months):
            for j in range(block):
                level[t, j] = log_(f(1) + exp_(level[t, j]))
        remaining = e.copy()
        gap = np.empty(gaps, f)
        bits = words.view(u32)
        for j in range(block):
            last = level[months - 1, j]
            k, t = 0, 0
            at, total = f(0), f(0)
            while k < loans and at < last:
                n = min(gaps, loans - k)
                state = fill(words, gaps, state)
                for i in range(n):
                    u = f(u32(bits[i] >> u32(8))) * f(2.0**-24) + f(2.0**-25)
                    gap[i] = -log_(u) * rest[k + i]
                for i in range(n):
                    at += gap[i]
                    if at >= last:
                        break
                    while level[t, j] <= at:
                        t += 1
                    r = k + int64((uint64(bits[gaps + i]) * uint64(loans - k)) >> u64(32))
                    v = remaining[r]
                    remaining[r] = remaining[k]
                    remaining[k] = v
                    total += v * lgd[t, j]
                    k += 1
            out[j] = total

    loan_stage = {"monthly": monthly, "once": once, "order": order}[algorithm]

    @njit(parallel=True, **options)
    def run(blocks, seed, e, rest, out):
        start = mix(u64(seed) * golden + u64(1))
        for c in prange(blocks):
            jump = np.zeros((2, months, block), f)
            switch = np.zeros((months, block), i32)
            level = np.empty((months, block), f)
            lgd = np.empty((months, block), f)
            words = np.empty(max(3 * block, loans // 2), u64)
            state = events(jump, switch, mix(start + u64(c) * golden))
            state = factors(jump, switch, level, lgd, words, state)
            loan_stage(level, lgd, words, e, rest, out[c * block : (c + 1) * block], state)

    e = exposures().astype(np.float32)
    rest = (1.0 / np.arange(loans, 0, -1)).astype(np.float32)

    def simulate(paths: int, seed: int) -> NDArray[np.float32]:
        blocks = -(-paths // block)
        out = np.empty(blocks * block, dtype=np.float32)
        run(blocks, seed, e, rest, out)
        return out[:paths]

    return simulate
