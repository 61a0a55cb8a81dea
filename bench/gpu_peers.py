"""The peers of the GPU suite, each with its best honest code: CuPy, cuRAND, JAX; numba.cuda, Warp, PyTorch (gpu_peer_*).

Everything here is float32. A peer's function is made by ``make(...)`` and called with a seed; it returns milliseconds.
Results stay on the GPU, but JAX's: it is timed by the clock, until they are on the host. What is not here raises
ImportError.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gpu_models import DRAWS, MONTHS, THRESHOLD
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
    """Milliseconds of a JAX call, until its result is on the host."""
    start = time.perf_counter()
    LAST[:] = [np.asarray(work())]
    return (time.perf_counter() - start) * 1e3


def mean_of_last() -> tuple[float, float]:
    """Of what the last call computed for each path: the mean, and its standard error."""
    found = LAST.pop()
    found = found[0] if isinstance(found, tuple) else found  # ours comes with the bad paths
    to_host = next(
        (getattr(found, m) for m in ("get", "copy_to_host", "numpy") if hasattr(found, m)), None
    )
    values = np.asarray(to_host() if to_host else found, np.float64)
    return float(values.mean()), float(values.std() / math.sqrt(values.size))


# ---- random numbers
DEVICE_API = """
#include <curand_kernel.h>
extern "C" __global__ void total(unsigned long long seed, float* out) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  curandStatePhilox4_32_10_t state;
  curand_init(seed, i, 0, &state);
  float sum = 0.0f;
  for (int k = 0; k < ROUNDS; ++k) {
    const float4 x = DRAW(&state);
    sum += (VALUE(x.x) + VALUE(x.y)) + (VALUE(x.z) + VALUE(x.w));
  }
  out[i] = sum;
}
"""


def numbers(kind: str, paths: int, array: int) -> dict[str, tuple[Callable[[], Call], float]]:
    """Peers that draw normals or uniforms, or count uniforms under a threshold; and how many of them.

    Those that add up in registers, as ours does, draw ``MONTHS * DRAWS`` for each of ``paths``; the others ``array``.
    """
    summed = float(paths * MONTHS * DRAWS)

    def generator(name: str) -> Call:
        import cupy

        random = cupy.random.Generator(getattr(cupy.random, name)(1))
        draw = random.standard_normal if kind == "normal" else random.random
        return lambda seed: elapsed(lambda: draw(array, dtype="float32"))

    def curand() -> Call:
        import cupy

        def draw(seed: int) -> Any:
            if kind == "normal":
                return cupy.random.standard_normal(array, dtype="float32")
            return cupy.random.random_sample(array, dtype="float32")

        return lambda seed: elapsed(lambda: draw(seed))

    def jax(name: str) -> Call:
        import jax
        from jax import random

        on_gpu(jax)
        draw = random.normal if kind == "normal" else random.uniform
        total = jax.jit(lambda seed: draw(random.key(seed, impl=name), (array,)).sum())
        return lambda seed: clocked(lambda: total(seed))

    def warp() -> Call:
        from gpu_peer_warp import numbers

        return numbers(kind, paths)

    def torch(fused: bool) -> Call:
        from gpu_peer_torch import numbers

        return numbers(kind, array, fused)

    found = {"cuRAND in a kernel, summed": (partial(curand_kernel, kind, paths), summed)}
    if kind == "below":
        return found
    return found | {
        "Warp, summed": (warp, summed),
        "CuPy Philox4x3210, written": (partial(generator, "Philox4x3210"), float(array)),
        "CuPy XORWOW, written": (partial(generator, "XORWOW"), float(array)),
        "cuRAND through CuPy, written": (curand, float(array)),
        "JAX rbg, summed": (partial(jax, "rbg"), float(array)),
        "JAX threefry2x32, summed": (partial(jax, "threefry2x32"), float(array)),
        "PyTorch, written": (partial(torch, False), float(array)),
        "PyTorch compiled, summed": (partial(torch, True), float(array)),
    }


def curand_kernel(kind: str, paths: int, threads: int = 128) -> Call:
    """cuRAND's device functions, Philox4x32-10: the same work as ours, a thread a path."""
    import cupy

    draw = "curand_normal4" if kind == "normal" else "curand_uniform4"
    value = f"((x) < {THRESHOLD}f ? 1.0f : 0.0f)" if kind == "below" else "(x)"
    text = f"#define DRAW {draw}\n#define ROUNDS {MONTHS * DRAWS // 4}\n#define VALUE(x) {value}\n{DEVICE_API}"
    options = ("-std=c++17", *(f"-I{folder}" for folder in headers("curand_kernel.h")))
    kernel = cupy.RawKernel(text, "total", options=options, backend="nvrtc")
    out = cupy.empty(paths, "float32")

    def launch(seed: int) -> Any:
        kernel((paths // threads,), (threads,), (np.uint64(seed), out))
        return out

    return lambda seed: elapsed(lambda: launch(seed))


def headers(name: str) -> list[str]:
    """The folder that has a header of CUDA, and that of the library it includes."""
    toolkits = [Path(p, "include") for p in (os.environ.get("CUDA_PATH", ""), "/usr/local/cuda") if p]  # fmt: skip
    wheels = [f for p in sys.path if p.endswith("-packages") for f in Path(p).glob("nvidia/*/include")]  # fmt: skip
    for folder in (*wheels, *toolkits):
        if (folder / name).exists():
            return [str(folder), str(folder / "cccl")]
    raise ImportError(f"{name} is not here")


def on_gpu(jax: Any) -> None:
    if jax.default_backend() != "gpu":
        raise ImportError(f"JAX runs on {jax.default_backend()} here")


# ---- trio
Peers = dict[str, Callable[[int], Call]]


def trio() -> Peers:
    """Peers of the trio workload: ``make(paths)``."""

    def numba(paths: int) -> Call:
        from gpu_peer_numba import build

        return build(paths)

    def warp(algorithm: str, paths: int) -> Call:
        from gpu_peer_warp import trio

        return trio(algorithm, paths)

    def torch(algorithm: str, paths: int) -> Call:
        from gpu_peer_torch import trio

        return trio(algorithm, paths)

    return {
        "CuPy elementwise, once": lambda paths: cupy_trio(paths, curand=False),
        "cuRAND + CuPy, once": lambda paths: cupy_trio(paths, curand=True),
        "numba.cuda, order": numba,
        "Warp, once": partial(warp, "once"),
        "Warp, order": partial(warp, "order"),
        "PyTorch, once": partial(torch, "once"),
        "PyTorch, order": partial(torch, "order"),
    }


def trio_jax() -> Peers:
    """JAX by form, algorithm, generator and the paths of a chunk; those that are likely to be fast first."""
    few = 1 << 17
    found: Peers = {"JAX expert, once, all at once": partial(jax_expert, "once", 0)}
    for algorithm, generator in (("once", "rbg"), ("once", "threefry2x32"), ("order", "rbg")):
        found[f"JAX {generator}, {algorithm}, all at once"] = partial(jax_trio, algorithm, generator, 0)  # fmt: skip
        found[f"JAX {generator}, {algorithm}, {few:,} at once"] = partial(jax_trio, algorithm, generator, few)  # fmt: skip
    found[f"JAX expert, once, {few:,} at once"] = partial(jax_expert, "once", few)
    found[f"JAX threefry2x32, order, {few:,} at once"] = partial(jax_trio, "order", "threefry2x32", few)  # fmt: skip
    found[f"JAX rbg, monthly, {few:,} at once"] = partial(jax_trio, "monthly", "rbg", few)
    return found


def jax_trio(algorithm: str, generator: str, chunk: int, paths: int) -> Call:
    """peer_jax's functions as one jitted call, ``chunk`` paths after another; 0: all at once."""
    import jax
    import jax.numpy as jnp
    import peer_jax
    from jax import lax, random

    on_gpu(jax)
    size = min(chunk or paths, paths)
    loans = getattr(peer_jax, algorithm)
    e = jnp.asarray(exposures(), jnp.float32)

    def some(key: Any) -> Any:
        first, second = random.split(key)
        return loans(second, *peer_jax.factors(first, size), e)

    @jax.jit
    def run(seed: Any) -> Any:
        return lax.map(some, random.split(random.key(seed, impl=generator), paths // size))

    return lambda seed: clocked(lambda: run(seed))


def jax_expert(algorithm: str, chunk: int, paths: int) -> Call:
    """expert_jax, which draws by a hash of its own; one call, in chunks as above."""
    import expert_jax
    import jax

    on_gpu(jax)
    size = min(chunk or paths, paths)
    expert_jax.LANES[algorithm], expert_jax.CHUNKS[algorithm] = size, paths // size
    simulate = expert_jax.build(algorithm)
    return lambda seed: clocked(lambda: simulate(paths, seed))


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
