"""JAX peer of the trio workload: jit, ``lax.scan`` over months, CPU, float32.

What makes this the fastest form found:

* Random numbers come from a counter hash in ``jnp.uint32`` arithmetic, keyed per path by 64 bits of
  ``jax.random``.  XLA fuses it with its consumer into one vectorised loop.  Within ``jax.random``,
  threefry gave a third of that factor rate and rbg / unsafe_rbg an eighth; in the same form of the
  monthly algorithm threefry was 5 times slower and unsafe_rbg 20 times.
* Box-Muller with polynomial sine and cosine, the probit of the hazard and the normal distribution
  function as polynomials: five times the factor rate of ``jnp.cos``, ``jnp.sin`` and ``lax.erfc``.
* Loans are the outer loop and months an unrolled chain of selects inside it, so a loan's state
  lives in registers.  The scan over months with a (loans, paths) array and a reduction each month
  was ten times slower for ``once``.
* ``once`` treats eight loans per iteration, which shares the loads of the thresholds.
* A chunk is not a power of two of paths: the rows of the threshold table would otherwise fall into
  the same cache sets (a factor of two to three).
* One thread per core calls the jitted function on its own chunks; XLA alone leaves a core idle.

The ``order`` algorithm is left out: as array code it needs a gather and a scatter per default for
every lane, some 260 predicated steps per path when gaps and months are merged.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from machine import cores
from numpy.typing import NDArray
from trio_spec import (
    COSINE_COEFFICIENTS,
    LOGIT_PHI_COEFFICIENTS,
    LOGIT_PHI_LIMIT,
    PROBIT_CENTRE,
    PROBIT_COEFFICIENTS,
    PROBIT_SCALE,
    SINE_COEFFICIENTS,
    TRIO,
    exposures,
)

ALGORITHMS: tuple[str, ...] = ("monthly", "once")

LANES = {"monthly": 272, "once": 528}  # paths of a chunk
CHUNKS = {"monthly": 16, "once": 32}  # chunks of one call
BLOCK = {"monthly": 1, "once": 8}  # loans of one iteration
GOLDEN = 0x9E3779B9
LOAN_COUNTER = 4096


def build(algorithm: str) -> Callable[[int, int], NDArray[np.float32]]:
    """Return ``simulate(paths, seed) -> losses`` for one of ``ALGORITHMS``."""
    if algorithm not in ALGORITHMS:
        raise ValueError(f"unknown algorithm {algorithm!r}")
    import jax
    import jax.numpy as jnp
    from jax import lax

    s = TRIO
    f = np.float32
    u = np.uint32
    months, loans = s.months, s.loans
    lanes, chunks, block = LANES[algorithm], CHUNKS[algorithm], BLOCK[algorithm]
    e = jnp.asarray(exposures().astype(np.float32))
    chol = s.cholesky().astype(np.float32)
    leave = [f(p) for p in s.switch_prob()]
    drift = [f((g - s.revenue_vol**2 / 2) * s.dt) for g in s.growth]
    decay = f(s.reversion())
    sd = [f(v) for v in s.price_step_sd()]

    def mix(x: Any) -> Any:
        """One round of a 32-bit finaliser."""
        x = x ^ (x >> 16)
        x = x * u(0x21F0AAAD)
        x = x ^ (x >> 15)
        x = x * u(0xD35A2D97)
        return x ^ (x >> 15)

    def polynomial(x: Any, coefficients: tuple[float, ...]) -> Any:
        r = f(coefficients[-1])
        for c in coefficients[-2::-1]:
            r = r * x + f(c)
        return r

    def uniform(bits: Any) -> Any:
        return (bits >> 8).astype(jnp.int32).astype(jnp.float32) * f(2**-24) + f(2**-25)

    def normals(a: Any, b: Any) -> tuple[Any, Any]:
        """Box-Muller: the angle within half a turn, the other half by the sign of the radius."""
        radius = jnp.sqrt(-2 * jnp.log(uniform(a)))
        radius = jnp.where((b & 1) == 1, -radius, radius)
        v = lax.bitcast_convert_type(b, jnp.int32).astype(jnp.float32) * f(2**-31)
        w = v * v
        cosine = polynomial(w, COSINE_COEFFICIENTS)
        return radius * cosine, radius * v * polynomial(w, SINE_COEFFICIENTS)

    def default_probability(hazard: Any, shift: Any) -> Any:
        x = (jnp.log(hazard) - f(PROBIT_CENTRE)) * f(1 / PROBIT_SCALE)
        x = (polynomial(x, PROBIT_COEFFICIENTS) - shift) * f(1 / math.sqrt(1 - s.rho))
        x = jnp.clip(x, -LOGIT_PHI_LIMIT, LOGIT_PHI_LIMIT)
        return 1 / (1 + jnp.exp(-x * polynomial(x * x, LOGIT_PHI_COEFFICIENTS)))

    def chunk(key: Any) -> Any:
        keys = jax.random.bits(key, (2, lanes), jnp.uint32)

        def draw(counter: Any) -> Any:
            return mix(mix(counter * u(GOLDEN) + keys[0]) + keys[1])

        zero = jnp.zeros(lanes, jnp.float32)
        shift = normals(draw(u(0)), draw(u(1)))[0] * f(math.sqrt(s.rho))

        def month(state: Any, t: Any) -> tuple[Any, Any]:
            second, revenue, x1, x2, hazard, before = state
            time = (t + 1).astype(jnp.float32) * f(s.dt)
            base = (t.astype(jnp.uint32) + 1) * u(16)
            bits = [draw(base + u(k)) for k in range(9)]
            z0, z1 = normals(bits[0], bits[1])
            z2, size1 = normals(bits[2], bits[3])
            size2, _ = normals(bits[4], bits[5])

            def jump(bit: Any, size: Any) -> Any:
                hit = uniform(bit) < f(s.jump_prob())
                return jnp.where(hit, f(s.jump_mean) + f(s.jump_sd) * size, 0)

            switch = uniform(bits[6]) < jnp.where(second, leave[1], leave[0])
            second = second ^ switch
            step = jnp.where(second, drift[1], drift[0])
            revenue = revenue + step + f(s.revenue_vol * math.sqrt(s.dt)) * z0
            fair = f(s.revenue_beta) * (revenue - f(s.revenue_trend) * time)
            fair = fair - f(s.price_decline) * time
            shock1 = chol[1, 0] * z0 + chol[1, 1] * z1
            shock2 = chol[2, 0] * z0 + chol[2, 1] * z1 + chol[2, 2] * z2
            x1 = fair + (x1 - fair) * decay + sd[0] * shock1 + jump(bits[7], size1)
            x2 = fair + (x2 - fair) * decay + sd[1] * shock2 + jump(bits[8], size2)
            stress = -0.5 * (x1 + x2) - f(s.price_decline) * time
            response = jnp.clip(f(s.stress_beta) * stress, *map(f, s.stress_clip))
            hazard = hazard + f(s.hazard * s.dt) * jnp.exp(response)
            p = default_probability(hazard, shift)
            lgd = jnp.clip(f(s.lgd_base) + f(s.lgd_slope) * stress, *map(f, s.lgd_clip))
            level = (p - before) / (1 - before) if algorithm == "monthly" else p
            level = (level * f(4294967040.0)).astype(jnp.uint32)
            return (second, revenue, x1, x2, hazard, p), (level, lgd)

        start = (jnp.zeros(lanes, bool), zero, zero, zero, zero, zero)
        _, (level, lgd) = lax.scan(month, start, jnp.arange(months, dtype=jnp.int32))

        def some_loans(i: Any, loss: Any) -> Any:
            first = i * block
            bits = [draw(u(LOAN_COUNTER) + (first + k).astype(jnp.uint32)) for k in range(block)]
            given = [zero] * block
            for t in range(months - 1, -1, -1):  # the earliest month that hits wins
                here, value = level[t], lgd[t]
                if algorithm == "monthly":
                    fresh = [mix(b + u(t * GOLDEN & 0xFFFFFFFF)) for b in bits]
                else:
                    fresh = bits
                given = [jnp.where(b < here, value, g) for b, g in zip(fresh, given, strict=True)]
            for k in range(block):
                loss = loss + e[first + k] * given[k]
            return loss

        return lax.fori_loop(0, loans // block, some_loans, zero)

    @jax.jit
    def batch(seed: Any, index: Any) -> Any:
        key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), index)
        return lax.map(chunk, jax.random.split(key, chunks))

    workers = cores()
    pool = ThreadPoolExecutor(workers)
    size = lanes * chunks

    def simulate(paths: int, seed: int) -> NDArray[np.float32]:
        def one(index: int) -> NDArray[np.float32]:
            return np.asarray(batch(u(seed), u(index))).reshape(-1)

        return np.concatenate(list(pool.map(one, range(-(-paths // size)))))[:paths]

    return simulate
