"""PyTorch peer of the trio workload, as shipped: float32 on the CPU, a chunk of paths at a time.

``torch.randn`` and ``torch.rand`` with a Generator, ``torch.special.ndtr`` and ``ndtri``; the month
of the factors and that of the loans are functions for ``torch.compile``; without a working C++
compiler they run eagerly. A thread for each core works on chunks of its own: twice as fast as
``set_num_threads``, since PyTorch draws random numbers on one thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from machine import cores
from numpy.typing import NDArray
from torch import Tensor
from trio_spec import TRIO, exposures

ALGORITHMS: tuple[str, ...] = ("monthly", "once", "order")

S = TRIO
CHUNK = {"monthly": 4096, "once": 8192, "order": 4096}  # paths; once, order: best of 1,024 to 8,192
Stage = Callable[..., Any]


def factor_month(state: Any, years: Tensor, z: Tensor, u: Tensor) -> Any:
    """One month of the factors: the new state, cumulative hazard and loss given default."""
    second, revenue, x1, x2, hazard = state
    chol, sd, leave = S.cholesky().tolist(), S.price_step_sd(), S.switch_prob()
    drift = [(g - S.revenue_vol**2 / 2) * S.dt for g in S.growth]
    second = second ^ (u[0] < torch.where(second, leave[1], leave[0]))
    step = torch.where(second, drift[1], drift[0])
    revenue = revenue + step + S.revenue_vol * math.sqrt(S.dt) * z[0]
    fair = S.revenue_beta * (revenue - S.revenue_trend * years) - S.price_decline * years
    jump1 = torch.where(u[1] < S.jump_prob(), S.jump_mean + S.jump_sd * z[3], 0.0)
    jump2 = torch.where(u[2] < S.jump_prob(), S.jump_mean + S.jump_sd * z[4], 0.0)
    shock1 = chol[1][0] * z[0] + chol[1][1] * z[1]
    shock2 = chol[2][0] * z[0] + chol[2][1] * z[1] + chol[2][2] * z[2]
    x1 = fair + (x1 - fair) * S.reversion() + sd[0] * shock1 + jump1
    x2 = fair + (x2 - fair) * S.reversion() + sd[1] * shock2 + jump2
    stress = -0.5 * (x1 + x2) - S.price_decline * years
    response = torch.exp(torch.clamp(S.stress_beta * stress, *S.stress_clip))
    hazard = hazard + S.hazard * S.dt * response
    lgd = torch.clamp(S.lgd_base + S.lgd_slope * stress, *S.lgd_clip)
    return (second, revenue, x1, x2, hazard), hazard, lgd


def monthly_month(u: Tensor, left: Tensor, odds: Tensor, lgd: Tensor) -> tuple[Tensor, Tensor]:
    """What is left of each exposure after one month's uniforms, and the month's loss."""
    hit = torch.where(u < odds, left, 0.0)
    return left - hit, lgd * hit.sum(0)


def factors(generator: torch.Generator, n: int, stage: Stage) -> tuple[Tensor, Tensor]:
    """Default probability given the market factor, and loss given default; both (months, n)."""
    z = torch.randn(S.months, 5, n, generator=generator)
    u = torch.rand(S.months, 3, n, generator=generator)
    years = (torch.arange(S.months) + 1.0) * S.dt
    state: Any = (torch.zeros(n, dtype=torch.bool), *(torch.zeros(n) for _ in range(4)))
    hazard, lgd = torch.empty(S.months, n), torch.empty(S.months, n)
    for t in range(S.months):
        state, hazard[t], lgd[t] = stage(state, years[t], z[t], u[t])
    market = math.sqrt(S.rho) * torch.randn(n, generator=generator)
    x = (torch.special.ndtri(-torch.expm1(-hazard)) - market) / math.sqrt(1.0 - S.rho)
    return torch.special.ndtr(x), lgd


def monthly(generator: torch.Generator, p: Tensor, lgd: Tensor, e: Tensor, stage: Stage) -> Tensor:
    """A uniform for each loan and month; a loan in default has no exposure from then on."""
    before = torch.cat([torch.zeros_like(p[:1]), p[:-1]])
    odds = (p - before) / (1.0 - before)
    n = p.shape[1]
    left, loss = e[:, None].repeat(1, n), torch.zeros(n)
    u = torch.empty(S.loans, n)
    for t in range(S.months):
        left, lost = stage(u.uniform_(generator=generator), left, odds[t], lgd[t])
        loss += lost
    return loss


def once(generator: torch.Generator, p: Tensor, lgd: Tensor, e: Tensor, stage: Stage) -> Tensor:
    """A uniform for each loan; those below the last month's probability default."""
    u = torch.rand(p.shape[1], S.loans, generator=generator)
    path, loan = torch.nonzero(u < p[-1][:, None], as_tuple=True)
    return _losses(path, u[path, loan], e[loan], p, lgd)


def order(generator: torch.Generator, p: Tensor, lgd: Tensor, e: Tensor, stage: Stage) -> Tensor:
    """The ordered uniforms by exponential gaps; victims by a random permutation of each path."""
    n = p.shape[1]
    gaps = torch.empty(n, S.loans).exponential_(generator=generator)
    level = -torch.expm1(-torch.cumsum(gaps / torch.arange(S.loans, 0, -1), 1))
    victims = torch.rand(n, S.loans, generator=generator).argsort(1)
    path, k = torch.nonzero(level < p[-1][:, None], as_tuple=True)
    return _losses(path, level[path, k], e[victims[path, k]], p, lgd)


def _losses(path: Tensor, u: Tensor, exposure: Tensor, p: Tensor, lgd: Tensor) -> Tensor:
    """Sum by path; the month of every default by one search, path i's values in [i, i + 1)."""
    n = p.shape[1]
    line = (p.T.double() + torch.arange(n)[:, None]).flatten()
    month = torch.searchsorted(line, path + u.double(), right=True) - path * S.months
    return torch.zeros(n).index_add_(0, path, exposure * lgd[month, path])


def build(algorithm: str) -> Callable[[int, int], NDArray[np.float32]]:
    """Return ``simulate(paths, seed) -> losses`` for one of ``ALGORITHMS``."""
    loans = {"monthly": monthly, "once": once, "order": order}[algorithm]
    e = torch.from_numpy(exposures().astype(np.float32))
    size = CHUNK[algorithm]
    eager: list[Stage] = [factor_month, monthly_month]
    stages: list[Stage] = []
    pool = ThreadPoolExecutor(cores(), initializer=torch.set_num_threads, initargs=(1,))

    @torch.no_grad()
    def chunk(seed: np.uint64) -> Tensor:
        generator = torch.Generator().manual_seed(int(seed))
        return loans(generator, *factors(generator, size, stages[0]), e, stages[1])

    def prepare() -> None:
        """Compile in one thread, before the pool calls."""
        stages[:] = [torch.compile(f, dynamic=False) for f in eager]
        try:
            pool.submit(chunk, np.uint64(0)).result()
        except torch._dynamo.exc.BackendCompilerFailed:  # no usable compiler
            stages[:] = eager

    def simulate(paths: int, seed: int) -> NDArray[np.float32]:
        if not stages:
            prepare()
        seeds = np.random.SeedSequence(seed).generate_state(-(-paths // size), np.uint64)
        return torch.cat(list(pool.map(chunk, seeds))).numpy()[:paths]

    return simulate
