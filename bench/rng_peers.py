"""Random numbers of other libraries: float32, summed as they come, so many to each "path".

``build(library, kind)`` gives ``simulate(paths, seed) -> the sum of SUMMED numbers for each path``. Each library's
fastest generator that is fit for a simulation, numbers in blocks that fit the cache, a thread for each core
wherever the library lets go of the interpreter.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from machine import cores
from numpy.typing import NDArray

SUMMED = 64 * 32  # as ours
BLOCK = 64  # paths of a block: half a megabyte of numbers
Simulate = Callable[[int, int], NDArray[np.float32]]


def build(library: str, kind: str) -> Simulate:
    """The library's simulate for ``normal`` or ``uniform``; ImportError where it is not installed."""
    make: Callable[[str], Simulate] = {
        "numpy SFC64": lambda kind: _numpy(kind, np.random.SFC64),
        "numpy Philox": lambda kind: _numpy(kind, np.random.Philox),
        "numba": _numba,
        "numba Philox": _numba_philox,
        "numba expert": _numba_expert,
        "jax": _jax,
        "torch": _torch,
        "quantlib": _quantlib,
        "warp": _warp,
    }[library]
    return make(kind)


def _by_blocks(one: Callable[[int, int], Any]) -> Simulate:
    """``one(seed, block)`` gives the sums of a block of paths; threads take the blocks."""
    pool = ThreadPoolExecutor(cores())

    def simulate(paths: int, seed: int) -> NDArray[np.float32]:
        blocks = range(-(-paths // BLOCK))
        return np.concatenate(list(pool.map(lambda block: one(seed, block), blocks)))[:paths]

    return simulate


def _numpy(kind: str, bits: Any) -> Simulate:
    def one(seed: int, block: int) -> Any:
        rng = np.random.Generator(bits(np.random.SeedSequence((seed, block))))
        draw = rng.standard_normal if kind == "normal" else rng.random
        return draw((BLOCK, SUMMED), dtype=np.float32).sum(axis=1)

    return _by_blocks(one)


def _numba(kind: str) -> Simulate:
    """Numba's own np.random: a Mersenne twister."""
    from numba import njit, prange

    normal = kind == "normal"

    @njit(parallel=True, fastmath=True)
    def run(paths, seed, out):
        for block in prange(paths // BLOCK):
            np.random.seed(seed * 1_000_003 + block)
            for i in range(BLOCK):
                total = np.float32(0)
                for _ in range(SUMMED):
                    total += np.float32(
                        np.random.standard_normal() if normal else np.random.random()
                    )
                out[block * BLOCK + i] = total

    return _filled(run)


def _numba_philox(kind: str) -> Simulate:
    """Philox4x32-10 and Box-Muller written in Numba, as in ``peer_numba``."""
    import math

    from numba import njit, prange
    from peer_numba import philox, unit

    normal, turn, two = kind == "normal", np.float32(2 * math.pi), np.float32(-2)

    @njit(parallel=True, fastmath=True, error_model="numpy")
    def run(paths, seed, out):
        for path in prange(paths):
            total = np.float32(0)
            for block in range(SUMMED // 4):
                words = philox(path, 0, 1, block, seed, 0)
                a, b, c, d = unit(words[0]), unit(words[1]), unit(words[2]), unit(words[3])
                if normal:
                    r, s = math.sqrt(two * math.log(a)), math.sqrt(two * math.log(c))
                    total += r * (math.cos(turn * b) + math.sin(turn * b))
                    total += s * (math.cos(turn * d) + math.sin(turn * d))
                else:
                    total += a + b + c + d
            out[path] = total

    return _filled(run)


def _numba_expert(kind: str) -> Simulate:
    """A hash of a counter and polynomials, as in ``expert_numba``: no Philox, no library's functions."""
    from numba import njit, prange
    from numba_math import GOLDEN, mix, normals

    normal, golden, u32, i32, u64 = (
        kind == "normal",
        np.uint64(GOLDEN),
        np.uint32,
        np.int32,
        np.uint64,
    )

    @njit(parallel=True, fastmath=True, error_model="numpy")
    def run(paths, seed, out):
        for path in prange(paths):
            words = np.empty(SUMMED // 2, np.uint64)
            state = mix(u64(seed) << u64(32) | u64(path))
            for i in range(SUMMED // 2):
                words[i] = mix(state + u64(i) * golden)
            total = np.float32(0)
            for i in range(SUMMED // 2):
                a, b = u32(words[i]), u32(words[i] >> u64(32))
                if normal:
                    one, two = normals(a, i32(b))
                    total += one + two
                else:
                    total += np.float32(a) * np.float32(2**-32) + np.float32(b) * np.float32(2**-32)
            out[path] = total

    return _filled(run)


def _filled(run: Any) -> Simulate:
    def simulate(paths: int, seed: int) -> NDArray[np.float32]:
        out = np.empty(-(-paths // BLOCK) * BLOCK, np.float32)
        run(len(out), np.uint32(seed), out)
        return out[:paths]

    return simulate


def _jax(kind: str) -> Simulate:
    """threefry2x32, JAX's default; rbg and unsafe_rbg took five times as long on a processor."""
    import jax

    draw = {"normal": jax.random.normal, "uniform": jax.random.uniform}[kind]

    @jax.jit
    def sums(seed: Any, block: Any) -> Any:
        key = jax.random.fold_in(jax.random.key(seed), block)
        return draw(key, (BLOCK, SUMMED)).sum(axis=1)

    return _by_blocks(lambda seed, block: np.asarray(sums(np.uint32(seed), np.uint32(block))))


def _torch(kind: str) -> Simulate:
    import torch

    torch.set_num_threads(1)  # a thread for each core, each with blocks of its own

    def one(seed: int, block: int) -> Any:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + block)
        numbers = torch.empty(BLOCK, SUMMED)
        if kind == "normal":
            numbers.normal_(generator=generator)
        else:
            numbers.uniform_(generator=generator)
        return numbers.sum(1).numpy()

    return _by_blocks(one)


def _quantlib(kind: str) -> Simulate:
    """Sequences of xoshiro256**, by ziggurat for normals: one thread, float64, numbers through Python."""
    import QuantLib as ql

    def simulate(paths: int, seed: int) -> NDArray[np.float32]:
        bits = ql.Xoshiro256StarStarUniformRng(seed + 1)
        if kind == "normal":
            rsg = ql.ZigguratXoshiro256StarStarGaussianRsg(
                SUMMED, ql.ZigguratXoshiro256StarStarGaussianRng(bits)
            )
        else:
            rsg = ql.Xoshiro256StarStarUniformRsg(SUMMED, bits)
        return np.array([sum(rsg.nextSequence().value()) for _ in range(paths)], np.float32)

    return simulate


def _warp(kind: str) -> Simulate:
    """A kernel with wp.randn or wp.randf; Warp runs a launch on one thread of a processor."""
    import rng_warp

    return _by_parts(rng_warp.run, kind)


def _by_parts(run: Callable[[str, int, int, int], Any], kind: str) -> Simulate:
    """A launch for each core, from threads of Python."""
    workers = cores()
    pool = ThreadPoolExecutor(workers)

    def simulate(paths: int, seed: int) -> NDArray[np.float32]:
        part = -(-paths // workers)
        jobs = range(0, paths, part)
        parts = pool.map(lambda first: run(kind, seed, first, min(part, paths - first)), jobs)
        return np.concatenate(list(parts))

    return simulate
