"""NumPy peer of the trio workload: chunked float32 arrays, one chunk per thread at a time.

NumPy releases the interpreter lock in its generators, its sorts and its ufuncs, so a thread pool
over chunks uses every core; chunks are small enough that their arrays stay in cache.

What makes this the fastest form found:

* SFC64 filled as uint64 and viewed as uint32: 0.9 ns per 32-bit uniform, against 1.2 ns for
  ``integers(uint32)`` and 1.4 ns for ``random(float32)``.
* Regime switches and jumps are placed by geometric gaps (a few draws per path) rather than by three
  uniforms per month; the law of monthly Bernoulli trials is the same.
* The conditional default probability uses polynomials: ``scipy.special.ndtri`` and ``ndtr`` cost
  11 ns and 3 ns per value.
* ``monthly`` keeps the alive mask out of the 24,000-element pass: it compares, lists the hits
  (0.3 % of the elements) and looks only those up.
* ``once`` compares with the last month's probability first and searches the month of the defaulted
  loans only, all paths in one ``searchsorted``.
* ``order`` draws the ordered default times by exponential gaps and takes the victims from a
  row-wise sort of random 64-bit keys whose low nine bits name the loan, since a Fisher-Yates
  shuffle per path is not an array operation.
* ``binomial`` replaces the gaps by the number of defaults of each month given the survivors.
  Both lose to ``once``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from machine import cores
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

ALGORITHMS: tuple[str, ...] = ("monthly", "once", "order", "binomial")

F = np.float32
F32 = NDArray[np.float32]
CHUNK = {"monthly": 256, "once": 512, "order": 512, "binomial": 512}
SCALE32 = F(4294967040.0)


def _polynomial(x: F32, coefficients: tuple[float, ...]) -> F32:
    """Evaluate a polynomial (constant first) in float32, in place in one work array."""
    r = x * F(coefficients[-1])
    for c in coefficients[-2:0:-1]:
        r += F(c)
        r *= x
    r += F(coefficients[0])
    return r


def _bits(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.uint32]:
    """Uniform 32-bit integers; the row length must be even."""
    words = rng.integers(0, 2**64 - 1, (shape[0], shape[1] // 2), dtype=np.uint64, endpoint=True)
    return words.view(np.uint32)


def _places(rng: np.random.Generator, p: float, size: int) -> NDArray[np.int64]:
    """Indices of the successes among ``size`` Bernoulli(p) trials, by geometric gaps."""
    expected = p * size
    block = int(expected + 6.0 * math.sqrt(expected) + 16)
    at = np.cumsum(rng.geometric(p, block)) - 1
    while at[-1] < size:
        at = np.concatenate((at, at[-1] + np.cumsum(rng.geometric(p, block))))
    return at[: np.searchsorted(at, size)]


def _factors(rng: np.random.Generator, n: int) -> tuple[F32, F32]:
    """Logit of the default probability and loss given default, each of shape (months, n)."""
    s = TRIO
    t = s.months
    chol = s.cholesky().astype(np.float32)
    z = rng.standard_normal((3, t, n), dtype=np.float32)

    leave0, leave1 = s.switch_prob()
    flips = np.zeros((t, n), dtype=bool)
    when = rng.geometric(leave0, n) - 1
    paths = np.flatnonzero(when < t)
    when = when[paths]
    regime = 1
    while paths.size:
        flips[when, paths] = True
        when = when + rng.geometric(leave1 if regime else leave0, paths.size)
        keep = when < t
        paths, when = paths[keep], when[keep]
        regime ^= 1
    second = np.logical_xor.accumulate(flips, axis=0)
    drift = [(g - s.revenue_vol**2 / 2) * s.dt for g in s.growth]
    revenue = z[0] * F(s.revenue_vol * math.sqrt(s.dt))
    revenue += F(drift[0])
    revenue += second * F(drift[1] - drift[0])
    for m in range(1, t):
        revenue[m] += revenue[m - 1]

    time = (np.arange(1, t + 1) * s.dt).astype(np.float32)[:, None]
    fair = revenue
    fair *= F(s.revenue_beta)
    fair -= F(s.revenue_beta * s.revenue_trend + s.price_decline) * time
    decay = F(s.reversion())
    sd = s.price_step_sd()
    total: F32 | None = None
    for i in (1, 2):
        x = z[0] * F(sd[i - 1] * chol[i, 0])
        for k in range(1, i + 1):
            x += z[k] * F(sd[i - 1] * chol[i, k])
        at = _places(rng, s.jump_prob(), t * n)
        jump = rng.standard_normal(at.size, dtype=np.float32)
        x.reshape(-1)[at] += F(s.jump_mean) + F(s.jump_sd) * jump
        x += fair * (F(1) - decay)
        for m in range(1, t):
            x[m] += decay * x[m - 1]
        total = x if total is None else total + x
    assert total is not None
    stress = total * F(-0.5)
    stress -= F(s.price_decline) * time

    lgd = np.clip(F(s.lgd_base) + F(s.lgd_slope) * stress, F(s.lgd_clip[0]), F(s.lgd_clip[1]))
    stress *= F(s.stress_beta)
    hazard = np.exp(np.clip(stress, F(s.stress_clip[0]), F(s.stress_clip[1])))
    hazard *= F(s.hazard * s.dt)
    for m in range(1, t):
        hazard[m] += hazard[m - 1]
    log_hazard = np.log(hazard)
    log_hazard -= F(PROBIT_CENTRE)
    log_hazard *= F(1.0 / PROBIT_SCALE)
    x = _polynomial(log_hazard, PROBIT_COEFFICIENTS)
    x -= rng.standard_normal(n, dtype=np.float32) * F(math.sqrt(s.rho))
    x *= F(1.0 / math.sqrt(1.0 - s.rho))
    np.clip(x, F(-LOGIT_PHI_LIMIT), F(LOGIT_PHI_LIMIT), out=x)
    x *= _polynomial(x * x, LOGIT_PHI_COEFFICIENTS)
    return x, lgd


def _probability(logit: F32) -> F32:
    """Logistic function in float32."""
    return F(1) / (F(1) + np.exp(-logit))


def _from_counts(
    rng: np.random.Generator, counts: NDArray[np.int64], lgd: F32, e: F32
) -> NDArray[np.float32]:
    """Loss when ``counts[path, month]`` loans, drawn without replacement, default."""
    n, _t = counts.shape
    dead = counts.sum(axis=1)
    keys = rng.integers(0, 2**64 - 1, (n, TRIO.loans), dtype=np.uint64, endpoint=True)
    keys &= np.uint64(0xFFFFFFFFFFFFFE00)
    keys |= np.arange(TRIO.loans, dtype=np.uint64)
    keys.sort(axis=1)
    victims = (keys[:, : max(1, int(dead.max()))] & np.uint64(511)).astype(np.int64)
    taken = victims[np.arange(victims.shape[1]) < dead[:, None]]
    value = e[taken] * np.repeat(np.ascontiguousarray(lgd.T).reshape(-1), counts.reshape(-1))
    path = np.repeat(np.arange(n), dead)
    return np.bincount(path, weights=value, minlength=n).astype(np.float32)


def _chunk(algorithm: str, rng: np.random.Generator, n: int, e: F32) -> NDArray[np.float32]:
    """Losses of ``n`` paths."""
    t, loans = TRIO.months, TRIO.loans
    logit, lgd = _factors(rng, n)
    if algorithm == "order":
        # Sorted uniforms in the cumulative-hazard scale -log(1 - U), a block of gaps at a time.
        hazard = np.log1p(np.exp(logit)).T.astype(np.float64)
        width = 128
        last = float(hazard[:, -1].max())
        rest = 1.0 / np.arange(loans, 0, -1)
        times = np.cumsum(rng.standard_exponential((n, width)) * rest[:width], axis=1)
        while times.shape[1] < loans and times[:, -1].min() < last:
            have = times.shape[1]
            more = rng.standard_exponential((n, min(width, loans - have)))
            more *= rest[have : have + more.shape[1]]
            times = np.hstack((times, times[:, -1:] + np.cumsum(more, axis=1)))
        offset = np.arange(n)[:, None] * 64.0
        line = (np.minimum(times, 63.0) + offset).reshape(-1)
        below = np.searchsorted(line, (hazard + offset).reshape(-1)).reshape(n, t)
        below -= np.arange(n)[:, None] * times.shape[1]
        return _from_counts(rng, np.diff(below, axis=1, prepend=0), lgd, e)

    p = _probability(logit)
    if algorithm == "once":
        u = _bits(rng, (n, loans))
        threshold = np.ascontiguousarray((p * SCALE32).T.astype(np.uint32))
        hit = np.flatnonzero(u < threshold[:, -1:])
        path, loan = np.divmod(hit.astype(np.int32), np.int32(loans))
        base = np.arange(n, dtype=np.uint64)[:, None] << np.uint64(32)
        line = (base | threshold).reshape(-1)
        query = (path.astype(np.uint64) << np.uint64(32)) | u.reshape(-1)[hit]
        month_at = np.searchsorted(line, query, side="right")
        value = e[loan] * np.ascontiguousarray(lgd.T).reshape(-1)[month_at]
        return np.bincount(path, weights=value, minlength=n).astype(np.float32)

    given = p.copy()
    given[1:] = (p[1:] - p[:-1]) / (F(1) - p[:-1])
    if algorithm == "binomial":
        counts = np.empty((n, t), dtype=np.int64)
        left = np.full(n, loans, dtype=np.int64)
        for m in range(t):
            counts[:, m] = rng.binomial(left, given[m])
            left -= counts[:, m]
        return _from_counts(rng, counts, lgd, e)

    alive = np.ones(n * loans, dtype=bool)
    loss = np.zeros(n)
    level = (given * SCALE32).astype(np.uint32)
    for m in range(t):
        hit = np.flatnonzero(_bits(rng, (n, loans)) < level[m][:, None])
        hit = hit[alive[hit]]
        alive[hit] = False
        path, loan = np.divmod(hit, loans)
        loss += np.bincount(path, weights=e[loan], minlength=n) * lgd[m]
    return loss.astype(np.float32)


def build(algorithm: str) -> Callable[[int, int], NDArray[np.float32]]:
    """Return ``simulate(paths, seed) -> losses`` for one of ``ALGORITHMS``."""
    if algorithm not in ALGORITHMS:
        raise ValueError(f"unknown algorithm {algorithm!r}")
    e = exposures().astype(np.float32)
    size = CHUNK[algorithm]
    workers = cores()
    pool = ThreadPoolExecutor(workers)

    def simulate(paths: int, seed: int) -> NDArray[np.float32]:
        chunks = -(-paths // size)
        seeds = np.random.SeedSequence(seed).spawn(chunks)

        def one(child: np.random.SeedSequence) -> NDArray[np.float32]:
            return _chunk(algorithm, np.random.Generator(np.random.SFC64(child)), size, e)

        return np.concatenate(list(pool.map(one, seeds)))[:paths]

    return simulate
