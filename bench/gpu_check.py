"""Whether a GPU computes what it should: each check writes rows with ``check`` and ``passed``.

Usage: ``python bench/gpu_check.py [warm probe agree shapes pieces memory devices tiny]``

``warm`` compiles everything that checks and suite need, in processes of its own, into CuPy's cache. ``tiny`` is for
compute-sanitizer: a few launches, without a comparison. Both are no checks: they only fail.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import pairwise
from multiprocessing import get_context
from typing import Any

import gpu_rows
from gpu_compile import KERNELS
from gpu_models import model

SEED, PATHS = 11, 200_000
SHAPES = ((64, 0), (128, 0), (256, 0), (128, 2), (128, 3), (128, 4), (128, 6))
"""Threads a block, and blocks that a multiprocessor should hold: 0 leaves that to the compiler."""
WORKERS = 12  # that compile: each has a context on the GPU
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
FLIPPED = {"float32": 0.01, "float64": 0.0005}
"""Share of paths that may be off: rounding turned a decision of theirs (a default on the threshold)."""


def made(kernel: str, dtype: str = "float32", shape: tuple[int, int] = (128, 0)) -> tuple[Any, Any]:
    """A model of gpu_compile.KERNELS, and its kernel on the GPU."""
    from overbuilt.kernels.backends.cuda import CudaKernel
    from overbuilt.kernels.passes import optimize
    from overbuilt.kernels.trace import trace

    economy = model(*KERNELS[kernel])
    return economy, CudaKernel(optimize(trace(economy, dtype == "float64")), dtype, *shape)


def digest(output: Any) -> str:
    found = hashlib.sha256(output.metrics.tobytes())
    found.update(output.bad.tobytes())
    return found.hexdigest()


def run(economy: Any, kernel: Any, paths: int = 0, first: int = 0) -> Any:
    return kernel.run(economy, SEED, first, paths or PATHS, economy.months, False)


# ---- compile once
def _warm(what: tuple[str, str, tuple[int, int]]) -> dict[str, Any]:
    start = time.perf_counter()
    kernel = made(*what)[1]
    return dict(zip(("compiled", "dtype", "shape"), what, strict=True)) | {
        "seconds": round(time.perf_counter() - start, 1),
        "registers": int(kernel.stamp["registers"]),
        "local_bytes": int(kernel.stamp["local_bytes"]),
        "paths_at_once": kernel.piece,
    }


def warm() -> None:
    """The longest first; the shapes of base last, as they are the least needed."""
    first = [("base", d, (128, 0)) for d in ("float32", "float64")]
    first += [(k, d, (128, 0)) for d in ("float32", "float64") for k in KERNELS if k != "base"]
    first += [("trio", "float32", s) for s in SHAPES[:3]]
    first += [("base", "float32", s) for s in SHAPES if s != (128, 0)]
    with ProcessPoolExecutor(
        min(os.cpu_count() or 1, WORKERS), mp_context=get_context("spawn")
    ) as pool:
        under_way = {pool.submit(_warm, what): what for what in first}
        failed = []
        for done in as_completed(under_way):
            if error := done.exception():
                failed.append(f"{under_way[done]}: {error}")
            else:
                gpu_rows.write(**done.result())
    if failed:
        raise RuntimeError("\n".join(failed))


# ---- checks
def probe() -> None:
    """Every operation beside its exact value."""
    from overbuilt.kernels.probe import probe as probed

    for dtype in TOLERANCE:
        found = probed("cuda", dtype)
        faults = [str(f) for f in found.faults]
        gpu_rows.write(check="probe", dtype=dtype, passed=not faults, faults=faults, tried=len(found.tried))  # fmt: skip


def agree() -> None:
    """All backends that are here beside NumPy in float64, path by path."""
    import numpy as np

    from overbuilt.engine.simulate import plan
    from overbuilt.kernels import backends

    others = [n for n in ("cuda", "native", "jax") if backends.status(n).works]
    for name, paths in (("trio", 2048), ("base", 1024)):
        economy = model(*KERNELS[name])
        right = plan(economy, "numpy", "float64").run(SEED, 0, paths).metrics
        scale = np.abs(right).mean(axis=1, keepdims=True) + np.abs(right)
        for dtype in ("float64", "float32"):
            for backend in others:
                if backend == "jax" and (name, dtype) == ("base", "float64"):
                    continue  # it takes long to compile, and float32 shows the same
                got = plan(economy, backend, dtype).run(SEED, 0, paths).metrics
                with np.errstate(all="ignore"):
                    off = np.abs(got - right) / np.where(scale > 0, scale, 1.0)
                worst = off.max(axis=0)
                share = float(np.mean(~(worst <= TOLERANCE[dtype])))
                gpu_rows.write(
                    check="agree", model=name, backend=backend, dtype=dtype, paths=paths, off_share=share,
                    median=float(np.median(worst)), passed=share <= FLIPPED[dtype],
                )  # fmt: skip


def shapes() -> None:
    """The same bytes whatever the threads of a block. Other compiles are told, as they may fuse other products."""
    for name in ("trio", "base"):
        found, compiles = {}, {}
        economy, kernel = made(name)
        for threads in (128, 96, 64, 32):
            kernel.threads = threads
            found[threads] = digest(run(economy, kernel))
        for shape in SHAPES[:3] if name == "trio" else ():
            compiles[str(shape)] = digest(run(*made(name, "float32", shape)))
        gpu_rows.write(
            check="shapes", model=name, digests=found, passed=len(set(found.values())) == 1,
            compiles_agree=len(set(compiles.values())) <= 1,
        )  # fmt: skip


def pieces() -> None:
    """The same bytes whatever the paths of a launch and of a run's part, and when it is done again."""
    import numpy as np

    for name in ("trio", "base"):
        economy, kernel = made(name)
        want = digest(run(economy, kernel))
        usual, same = kernel.piece, {"again": digest(run(economy, kernel)) == want}
        for piece in (1000, 65_536, 1 << 20):
            kernel.piece = piece
            same[f"pieces of {piece}"] = digest(run(economy, kernel)) == want
        kernel.piece = usual
        cuts = [0, 1, 777, 65_536, 100_000, PATHS]
        parts = [run(economy, kernel, b - a, a) for a, b in pairwise(cuts)]
        whole = type(parts[0])(
            np.concatenate([p.metrics for p in parts], axis=1), None, np.concatenate([p.bad for p in parts])
        )  # fmt: skip
        same["in parts"] = digest(whole) == want
        many = kernel.run_many([economy, economy], SEED, 0, 5000, economy.months)
        alone = digest(run(economy, kernel, 5000))
        same["two models in a launch"] = {digest(o) for o in many} == {alone}
        gpu_rows.write(check="pieces", model=name, same=same, passed=all(same.values()))


def memory() -> None:
    """Where the device's memory does not hold a launch it is halved, and the result has the same bytes."""
    import cupy

    from overbuilt.engine.runner import Runner
    from overbuilt.engine.simulate import plan
    from overbuilt.engine.statistics import BLOCK

    made_plan = plan(model(*KERNELS["trio"]), "cuda")
    pool = cupy.get_default_memory_pool()

    def blocks() -> tuple[list[str], int]:
        runner = Runner(made_plan, SEED, 3 * BLOCK, 4 * BLOCK)
        found = [
            hashlib.sha256(b.values.tobytes()).hexdigest() for b in runner.blocks((), 3 * BLOCK)
        ]
        return found, runner.batch

    want, _ = blocks()
    pool.free_all_blocks()
    try:
        pool.set_limit(size=pool.used_bytes() + 4 * BLOCK - 1000)  # less than a block's
        got, batch = blocks()
    finally:
        pool.set_limit(size=0)
    gpu_rows.write(check="memory", passed=got == want and batch < 3 * BLOCK, batch=batch)


def devices() -> None:
    """The same bytes on one device and on all."""
    import cupy

    from overbuilt.kernels.backends import cuda

    found = {}
    for asked in ("0", "all"):
        os.environ[cuda.DEVICES_VARIABLE] = asked
        economy, kernel = made("trio")
        found[asked] = digest(run(economy, kernel, 2_000_000))
    count = cupy.cuda.runtime.getDeviceCount()
    gpu_rows.write(check="devices", devices=count, passed=len(set(found.values())) == 1)


def tiny() -> None:
    for name in ("trio", "loans", "base"):
        economy, kernel = made(name)
        kernel.piece = 128
        run(economy, kernel, 300)
        gpu_rows.write(ran=name)


CHECKS = {f.__name__: f for f in (warm, probe, agree, shapes, pieces, memory, devices, tiny)}

if __name__ == "__main__":
    sys.exit(gpu_rows.each(CHECKS, sys.argv[1:], "check"))
