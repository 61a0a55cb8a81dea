"""The peers of the GPU suite, each with its best honest code: CuPy, cuRAND, JAX, and numba.cuda (gpu_peer_numba).

Everything here is float32. A peer's function is made by ``make(...)`` and called with a seed; it returns milliseconds.
Results stay on the GPU, ours too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from trio_spec import TRIO, exposures

Call = Callable[[int], float]
LAST: list[Any] = []
"""What the last call computed."""
S = TRIO


def elapsed(work: Callable[[], object]) -> float:
    """Milliseconds between two events on the current stream, before and after what the function queues."""
    import cupy

    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    start.record()
    kept = work()  # its memory is not given back before the end
    end.record()
    end.synchronize()
    LAST[:] = [kept]
    return float(cupy.cuda.get_elapsed_time(start, end))


def clocked(work: Callable[[], Any]) -> float:
    """Milliseconds of a JAX call, until its result is there."""
    start = time.perf_counter()
    LAST[:] = [work().block_until_ready()]
    return (time.perf_counter() - start) * 1e3


def mean_of_last() -> tuple[float, float]:
    """Of what the last call computed for each path: the mean, and its standard error."""
    found = LAST.pop()
    found = found[0] if isinstance(found, tuple) else found  # ours comes with the bad paths
    to_host = next((getattr(found, m) for m in ("get", "copy_to_host") if hasattr(found, m)), None)
    values = np.asarray(to_host() if to_host else found, np.float64)
    return float(values.mean()), float(values.std() / math.sqrt(values.size))


# ---- random numbers: written to memory by those that can do nothing else, added up by JAX
def numbers(kind: str, count: int) -> dict[str, Callable[[], Call]]:
    """Peers that draw so many normals or uniforms."""

    def generator(name: str) -> Call:
        import cupy

        random = cupy.random.Generator(getattr(cupy.random, name)(1))
        draw = random.standard_normal if kind == "normal" else random.random
        return lambda seed: elapsed(lambda: draw(count, dtype="float32"))

    def curand() -> Call:
        import cupy

        def draw(seed: int) -> Any:
            if kind == "normal":
                return cupy.random.standard_normal(count, dtype="float32")
            return cupy.random.random_sample(count, dtype="float32")

        return lambda seed: elapsed(lambda: draw(seed))

    def jax(name: str) -> Call:
        import jax
        from jax import random

        on_gpu(jax)
        draw = random.normal if kind == "normal" else random.uniform
        total = jax.jit(lambda seed: draw(random.key(seed, impl=name), (count,)).sum())
        return lambda seed: clocked(lambda: total(seed))

    return {
        "CuPy Philox4x3210": partial(generator, "Philox4x3210"),
        "CuPy XORWOW": partial(generator, "XORWOW"),
        "cuRAND through CuPy": curand,
        "JAX threefry2x32": partial(jax, "threefry2x32"),
        "JAX rbg": partial(jax, "rbg"),
    }


def on_gpu(jax: Any) -> None:
    if jax.default_backend() != "gpu":
        raise RuntimeError(f"JAX runs on {jax.default_backend()} here")


# ---- trio
Peers = dict[str, Callable[[int], Call]]


def trio() -> Peers:
    """Peers of the trio workload: ``make(paths)``."""
    return {
        "CuPy elementwise, once": lambda paths: cupy_trio(paths, curand=False),
        "cuRAND + CuPy, once": lambda paths: cupy_trio(paths, curand=True),
        "numba.cuda, order": numba_trio,
    }


def trio_jax() -> Peers:
    """JAX by algorithm and generator."""
    pairs = [(a, g) for a in ("once", "order") for g in ("threefry2x32", "rbg")]
    return {f"JAX {g}, {a}": partial(jax_trio, a, g) for a, g in [*pairs, ("monthly", "rbg")]}


def jax_trio(algorithm: str, generator: str, paths: int) -> Call:
    """peer_jax's hand-written functions, as one jitted call on as many paths as suit a GPU."""
    import jax
    import jax.numpy as jnp
    import peer_jax
    from jax import lax, random

    on_gpu(jax)
    size = {"once": 1 << 15, "order": 1 << 13, "monthly": 1 << 14}[algorithm]
    loans = getattr(peer_jax, algorithm)
    e = jnp.asarray(exposures(), jnp.float32)

    def chunk(key: Any) -> Any:
        first, second = random.split(key)
        return loans(second, *peer_jax.factors(first, size), e)

    @jax.jit
    def run(seed: Any) -> Any:
        return lax.map(chunk, random.split(random.key(seed, impl=generator), paths // size))

    return lambda seed: clocked(lambda: run(seed))


def numba_trio(paths: int) -> Call:
    from gpu_peer_numba import build

    return build(paths)


def cupy_trio(paths: int, *, curand: bool) -> Call:
    """A month at a time, all paths at once; elementwise work in fused kernels, so that nothing goes to memory twice.

    ``curand``: cuRAND's generator, else CuPy's own (Philox). The loans of a month are one reduction, of a uniform for
    each loan and path that is drawn once.
    """
    import cupy

    exposure = cupy.asarray(exposures(), "float32")[:, None]
    chol, sd = S.cholesky(), S.price_step_sd()
    leave, jump = S.switch_prob(), S.jump_prob()
    drift = [(g - S.revenue_vol**2 / 2) * S.dt for g in S.growth]
    month = cupy.ElementwiseKernel(
        "raw float32 z, raw float32 u, float32 years, int64 n",
        "int32 second, float32 revenue, float32 x1, float32 x2, float32 hazard, float32 stress",
        f"""
        if (u[i] < (second ? {leave[1]}f : {leave[0]}f)) second = !second;
        revenue += (second ? {drift[1]}f : {drift[0]}f) + {S.revenue_vol * math.sqrt(S.dt)}f * z[i];
        const float fair = {S.revenue_beta}f * (revenue - {S.revenue_trend}f * years) - {S.price_decline}f * years;
        const float z0 = z[i], z1 = z[i + n], z2 = z[i + 2 * n];
        const float j1 = u[i + n] < {jump}f ? {S.jump_mean}f + {S.jump_sd}f * z[i + 3 * n] : 0.0f;
        const float j2 = u[i + 2 * n] < {jump}f ? {S.jump_mean}f + {S.jump_sd}f * z[i + 4 * n] : 0.0f;
        x1 = fair + (x1 - fair) * {S.reversion()}f + {sd[0]}f * ({chol[1, 0]}f * z0 + {chol[1, 1]}f * z1) + j1;
        x2 = fair + (x2 - fair) * {S.reversion()}f
             + {sd[1]}f * ({chol[2, 0]}f * z0 + {chol[2, 1]}f * z1 + {chol[2, 2]}f * z2) + j2;
        stress = -0.5f * (x1 + x2) - {S.price_decline}f * years;
        const float response = fminf(fmaxf({S.stress_beta}f * stress, {S.stress_clip[0]}f), {S.stress_clip[1]}f);
        hazard += {S.hazard * S.dt}f * expf(response);
        """,
        "trio_month",
    )
    probability = cupy.ElementwiseKernel(
        "float32 hazard, float32 market, float32 stress",
        "float32 p, float32 lgd",
        f"""
        p = normcdff((normcdfinvf(-expm1f(-hazard)) - {math.sqrt(S.rho)}f * market) * {1 / math.sqrt(1 - S.rho)}f);
        lgd = fminf(fmaxf({S.lgd_base}f + {S.lgd_slope}f * stress, {S.lgd_clip[0]}f), {S.lgd_clip[1]}f);
        """,
        "trio_probability",
    )
    defaulted = cupy.ReductionKernel(
        "float32 u, float32 p, float32 e", "float32 gone", "u < p ? e : 0.0f", "a + b", "gone = a", "0", "trio_defaulted"
    )  # fmt: skip
    random = cupy.random.Generator(cupy.random.Philox4x3210(1))
    if curand:
        normal = partial(cupy.random.standard_normal, dtype="float32")
        uniform = partial(cupy.random.random_sample, dtype="float32")
    else:
        normal = partial(random.standard_normal, dtype="float32")
        uniform = partial(random.random, dtype="float32")

    def work() -> Any:
        state = [cupy.zeros(paths, "int32"), *(cupy.zeros(paths, "float32") for _ in range(5))]
        market, u = normal((paths,)), uniform((S.loans, paths))
        gone, loss = cupy.zeros(paths, "float32"), cupy.zeros(paths, "float32")
        for t in range(1, S.months + 1):
            month(normal((5, paths)), uniform((3, paths)), t * S.dt, paths, *state)
            p, lgd = probability(state[4], market, state[5])
            now = defaulted(u, p, exposure, axis=0)
            loss += lgd * (now - gone)
            gone = now
        return loss

    return lambda seed: elapsed(work)
