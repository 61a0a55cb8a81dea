"""JAX peer of the trio workload, as shipped: ``jax.random``, ``lax.scan`` over months, jit, CPU.

A chunk of paths is one call of a jitted function; a thread for each core calls it. Of the
generators, threefry2x32 and rbg, the faster one for each algorithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random
from jax.scipy.special import ndtr, ndtri
from machine import cores
from numpy.typing import NDArray
from trio_spec import TRIO, exposures

ALGORITHMS: tuple[str, ...] = ("monthly", "once", "order")

S = TRIO
GENERATOR = {"monthly": "threefry2x32", "once": "threefry2x32", "order": "threefry2x32"}
CHUNK = {"monthly": 256, "once": 256, "order": 256}  # paths
Pair = tuple[Any, Any]


def factors(key: Any, n: int) -> Pair:
    """Default probability given the market factor, and loss given default; both (months, n)."""
    keys = random.split(key, 4)
    chol = S.cholesky()
    sd = S.price_step_sd()
    leave = S.switch_prob()
    drift = [(g - S.revenue_vol**2 / 2) * S.dt for g in S.growth]
    years = (jnp.arange(S.months, dtype=jnp.float32) + 1) * S.dt
    z = random.normal(keys[0], (S.months, 5, n))
    u = random.uniform(keys[1], (S.months, 3, n))
    market = random.normal(keys[2], (n,))

    def month(state: Any, draws: Any) -> Pair:
        second, revenue, x1, x2, hazard = state
        years, z, u = draws
        second = second ^ (u[0] < jnp.where(second, leave[1], leave[0]))
        step = jnp.where(second, drift[1], drift[0])
        revenue = revenue + step + S.revenue_vol * math.sqrt(S.dt) * z[0]
        fair = S.revenue_beta * (revenue - S.revenue_trend * years) - S.price_decline * years
        jumps = jnp.where(u[1:] < S.jump_prob(), S.jump_mean + S.jump_sd * z[3:], 0.0)
        shock1 = chol[1, 0] * z[0] + chol[1, 1] * z[1]
        shock2 = chol[2, 0] * z[0] + chol[2, 1] * z[1] + chol[2, 2] * z[2]
        x1 = fair + (x1 - fair) * S.reversion() + sd[0] * shock1 + jumps[0]
        x2 = fair + (x2 - fair) * S.reversion() + sd[1] * shock2 + jumps[1]
        stress = -0.5 * (x1 + x2) - S.price_decline * years
        response = jnp.exp(jnp.clip(S.stress_beta * stress, *S.stress_clip))
        hazard = hazard + S.hazard * S.dt * response
        lgd = jnp.clip(S.lgd_base + S.lgd_slope * stress, *S.lgd_clip)
        return (second, revenue, x1, x2, hazard), (hazard, lgd)

    zero = jnp.zeros(n)
    start = (jnp.zeros(n, bool), zero, zero, zero, zero)
    _, (hazard, lgd) = lax.scan(month, start, (years, z, u))
    x = ndtri(-jnp.expm1(-hazard)) - math.sqrt(S.rho) * market
    return ndtr(x / math.sqrt(1.0 - S.rho)), lgd


def monthly(key: Any, p: Any, lgd: Any, e: Any) -> Any:
    """A uniform for each loan and month; a loan in default has no exposure from then on."""
    before = jnp.concatenate([jnp.zeros_like(p[:1]), p[:-1]])
    odds = (p - before) / (1.0 - before)
    n = p.shape[1]

    def month(state: Pair, now: Any) -> tuple[Pair, None]:
        left, loss = state
        key, odds, lgd = now
        hit = random.uniform(key, (S.loans, n)) < odds
        loss = loss + lgd * jnp.sum(jnp.where(hit, left, 0.0), axis=0)
        return (jnp.where(hit, 0.0, left), loss), None

    start = (jnp.broadcast_to(e[:, None], (S.loans, n)), jnp.zeros(n))
    (_, loss), _ = lax.scan(month, start, (random.split(key, S.months), odds, lgd))
    return loss


def once(key: Any, p: Any, lgd: Any, e: Any) -> Any:
    """A uniform for each loan: what is in default by each month, and summation by parts."""
    u = random.uniform(key, (S.loans, p.shape[1]))
    fall = lgd - jnp.concatenate([lgd[1:], jnp.zeros_like(lgd[:1])])

    def month(loss: Any, now: Pair) -> tuple[Any, None]:
        p, fall = now
        return loss + fall * jnp.sum(jnp.where(u < p, e[:, None], 0.0), axis=0), None

    loss, _ = lax.scan(month, jnp.zeros(p.shape[1]), (p, fall))
    return loss


def order(key: Any, p: Any, lgd: Any, e: Any) -> Any:
    """The ordered uniforms by exponential gaps; victims by a random permutation of each path."""
    n = p.shape[1]
    keys = random.split(key)
    gaps = random.exponential(keys[0], (S.loans, n)) / jnp.arange(S.loans, 0, -1)[:, None]
    level = -jnp.expm1(-jnp.cumsum(gaps, axis=0))
    victims = jnp.argsort(random.bits(keys[1], (S.loans, n)), axis=0)
    value = jnp.take(e, victims)
    fall = lgd - jnp.concatenate([lgd[1:], jnp.zeros_like(lgd[:1])])

    def month(loss: Any, now: Pair) -> tuple[Any, None]:
        p, fall = now
        return loss + fall * jnp.sum(jnp.where(level < p, value, 0.0), axis=0), None

    loss, _ = lax.scan(month, jnp.zeros(n), (p, fall))
    return loss


def build(algorithm: str) -> Callable[[int, int], NDArray[np.float32]]:
    """Return ``simulate(paths, seed) -> losses`` for one of ``ALGORITHMS``."""
    loans = {"monthly": monthly, "once": once, "order": order}[algorithm]
    e = jnp.asarray(exposures(), jnp.float32)
    size = CHUNK[algorithm]
    pool = ThreadPoolExecutor(cores())

    @jax.jit
    def chunk(seed: Any, index: Any) -> Any:
        key = random.fold_in(random.key(seed, impl=GENERATOR[algorithm]), index)
        first, second = random.split(key)
        return loans(second, *factors(first, size), e)

    def simulate(paths: int, seed: int) -> NDArray[np.float32]:
        calls = range(-(-paths // size))
        parts = pool.map(lambda index: np.asarray(chunk(np.uint32(seed), np.uint32(index))), calls)
        return np.concatenate(list(parts))[:paths]

    return simulate
