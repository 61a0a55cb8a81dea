"""NumPy peer of the trio workload, as shipped: float32 arrays over chunks, a thread for each core.

SFC64's own normals and uniforms, SciPy's ``ndtr`` and ``ndtri``; whatever is not recursive in time
is computed for all months at once. NumPy and SciPy release the interpreter lock inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from machine import cores
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from trio_spec import TRIO, exposures

ALGORITHMS: tuple[str, ...] = ("monthly", "once", "order")

S, F = TRIO, np.float32
F32 = NDArray[np.float32]
CHUNK = {"monthly": 512, "once": 512, "order": 512}


def _uniform(rng: np.random.Generator, *shape: int) -> F32:
    return rng.random(shape, dtype=np.float32)


def _nonzero(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """np.nonzero of a matrix, twenty times faster where few are True."""
    return np.divmod(np.flatnonzero(mask), mask.shape[1])


def _recursion(x: F32, decay: float) -> F32:
    """x[t] += decay x[t - 1], in place."""
    for t in range(1, len(x)):
        x[t] += F(decay) * x[t - 1]
    return x


def _factors(rng: np.random.Generator, n: int) -> tuple[F32, F32]:
    """Default probability given the market factor, and loss given default; both (months, n)."""
    months = S.months
    years = (np.arange(1, months + 1) * S.dt).astype(np.float32)[:, None]
    z = rng.standard_normal((3, months, n), dtype=np.float32)
    chol = S.cholesky().astype(np.float32)

    u = _uniform(rng, months, n)
    leave = [F(p) for p in S.switch_prob()]
    regimes = np.empty((months, n), bool)
    second = np.zeros(n, bool)
    for t in range(months):
        second = second ^ (u[t] < np.where(second, leave[1], leave[0]))
        regimes[t] = second
    drift = [F((g - S.revenue_vol**2 / 2) * S.dt) for g in S.growth]
    steps = np.where(regimes, drift[1], drift[0]) + F(S.revenue_vol * math.sqrt(S.dt)) * z[0]
    revenue = np.cumsum(steps, axis=0)

    fair = F(S.revenue_beta) * (revenue - F(S.revenue_trend) * years) - F(S.price_decline) * years
    pull = F(1.0 - S.reversion()) * fair
    total = np.zeros((months, n), np.float32)
    for i in (1, 2):
        shock = chol[i, 0] * z[0] + chol[i, 1] * z[1]
        if i == 2:
            shock += chol[2, 2] * z[2]
        x = pull + F(S.price_step_sd()[i - 1]) * shock
        jumps = _nonzero(_uniform(rng, months, n) < F(S.jump_prob()))
        sizes = rng.standard_normal(len(jumps[0]), dtype=np.float32)
        x[jumps] += F(S.jump_mean) + F(S.jump_sd) * sizes
        total += _recursion(x, S.reversion())

    stress = F(-0.5) * total - F(S.price_decline) * years
    lgd = np.clip(F(S.lgd_base) + F(S.lgd_slope) * stress, *map(F, S.lgd_clip))
    response = np.exp(np.clip(F(S.stress_beta) * stress, *map(F, S.stress_clip)))
    hazard = np.cumsum(F(S.hazard * S.dt) * response, axis=0)
    market = F(math.sqrt(S.rho)) * rng.standard_normal(n, dtype=np.float32)
    p = ndtr((ndtri(-np.expm1(-hazard)) - market) * F(1.0 / math.sqrt(1.0 - S.rho)))
    return p, lgd


def _sum_by_path(path: NDArray[np.intp], value: F32, n: int) -> F32:
    return np.bincount(path, weights=value, minlength=n).astype(np.float32)


def _months(p: F32, path: NDArray[np.intp], u: F32) -> NDArray[np.intp]:
    """The month in which each (path, uniform) defaults: one search, path i's values in [i, i + 1)."""
    line = (p.T.astype(np.float64) + np.arange(p.shape[1])[:, None]).ravel()
    return np.searchsorted(line, path + u.astype(np.float64), side="right") - path * len(p)


def _monthly(rng: np.random.Generator, p: F32, lgd: F32, e: F32) -> F32:
    """A uniform for each loan and month; a loan in default has exposure 0 from then on."""
    before = np.vstack([np.zeros_like(p[:1]), p[:-1]])
    odds = (p - before) / (1 - before)
    n = p.shape[1]
    alive = np.ones((n, len(e)), bool)
    loss = np.zeros(n, np.float32)
    u = np.empty((n, len(e)), np.float32)
    for t in range(len(p)):
        rng.random(out=u, dtype=np.float32)
        path, loan = _nonzero((u < odds[t][:, None]) & alive)
        alive[path, loan] = False
        loss += lgd[t] * _sum_by_path(path, e[loan], n)
    return loss


def _once(rng: np.random.Generator, p: F32, lgd: F32, e: F32) -> F32:
    """A uniform for each loan; those below the last month's probability default."""
    n = p.shape[1]
    u = _uniform(rng, n, len(e))
    path, loan = _nonzero(u < p[-1][:, None])
    month = _months(p, path, u[path, loan])
    return _sum_by_path(path, e[loan] * lgd[month, path], n)


def _order(rng: np.random.Generator, p: F32, lgd: F32, e: F32) -> F32:
    """The ordered uniforms by exponential gaps; victims by a random permutation of each path."""
    n, loans = p.shape[1], len(e)
    gaps = rng.standard_exponential((n, loans), dtype=np.float32)
    gaps /= np.arange(loans, 0, -1, dtype=np.float32)
    level = -np.expm1(-np.cumsum(gaps, axis=1))
    victims = np.argsort(_uniform(rng, n, loans), axis=1)
    path, k = _nonzero(level < p[-1][:, None])
    month = _months(p, path, level[path, k])
    return _sum_by_path(path, e[victims[path, k]] * lgd[month, path], n)


def build(algorithm: str) -> Callable[[int, int], F32]:
    """Return ``simulate(paths, seed) -> losses`` for one of ``ALGORITHMS``."""
    loans = {"monthly": _monthly, "once": _once, "order": _order}[algorithm]
    e = exposures().astype(np.float32)
    size = CHUNK[algorithm]
    pool = ThreadPoolExecutor(cores())

    def one(child: np.random.SeedSequence) -> F32:
        rng = np.random.Generator(np.random.SFC64(child))
        return loans(rng, *_factors(rng, size), e)

    def simulate(paths: int, seed: int) -> F32:
        seeds = np.random.SeedSequence(seed).spawn(-(-paths // size))
        return np.concatenate(list(pool.map(one, seeds)))[:paths]

    return simulate
