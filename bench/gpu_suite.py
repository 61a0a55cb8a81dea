"""The GPU suite: what the engine and its peers need for the same work, by turns, warm, on one GPU.

Usage: ``python bench/gpu_suite.py [rng trio trio_jax loans base whole sweep]``

Kernels are timed by CUDA events; JAX, which has streams of its own, by the clock until its results are on the host,
and so is a run of ours. A contestant that is not here, or fails, is a row that says so. gpu_run adds what share of the
GPU's issue limit ours is.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import gpu_peers
import gpu_rows
from gpu_check import SEED, SHAPES, made
from gpu_models import SUMMED

ROUNDS = 7
ENOUGH = 8.0  # seconds for a contestant
KERNEL, TO_HOST = "kernel", "to the host"
Call = Callable[[int], float]


@dataclass
class Contestant:
    """``call(seed)`` does the work once and returns milliseconds; ``work`` is how much of ``unit`` that is."""

    name: str
    make: Callable[[], Call]
    work: float
    about: dict[str, Any] = field(default_factory=dict)
    timed: str = KERNEL


Ready = tuple[Contestant, Call]


def contest(
    case: str, unit: str, engine: Sequence[Contestant], rivals: Sequence[Contestant] = (), same: bool = False
) -> None:  # fmt: skip
    """The engine's contestants first, then each rival by turns with them; a row for each as soon as it is measured.

    A rival has the ratio of the rate of the engine's kernel to its own, and that of the engine's run to the host.
    ``same``: all compute one law, so their means are compared with the first one's, within four standard errors.
    """
    ready = [r for c in engine if (r := begun(case, c, same, True)) is not None]

    def told(c: Contestant, times: list[float], others: list[list[float]]) -> None:
        best = min(times)
        rate = c.work / best * 1e3
        row: dict[str, Any] = {"ms": best, "median_ms": median(times), "rounds": len(times), "rate": rate, "unit": f"{unit}/s", "timed": c.timed}  # fmt: skip
        for (o, _), of_it in zip(ready, others, strict=True):
            if o is not c:
                field = "ours_over_it" if o.timed == KERNEL else "our_run_over_it"
                row[field] = o.work / min(of_it) * 1e3 / rate
        if same and ready and c is not ready[0][0]:
            first = ready[0][0].about
            off = abs(first["mean"] - c.about["mean"])
            row["passed"] = off <= 4.0 * math.hypot(first["mean_se"], c.about["mean_se"])
        gpu_rows.write(case=case, contestant=c.name, work=c.work, **row, **c.about)

    of_engine = rounds(ready)
    for (c, _), times in zip(ready, of_engine, strict=True):
        told(c, times, of_engine)
    for rival in rivals:
        if (found := begun(case, rival, same, False)) is not None:
            *others, times = rounds([*ready, found])
            told(rival, times, others)


def begun(case: str, c: Contestant, same: bool, must: bool) -> Ready | None:
    """Made, and called once; None, and a row, where it fails, or is not here and need not be."""
    start = time.perf_counter()
    try:
        call = c.make()
        call(SEED)
        if same:
            c.about["mean"], c.about["mean_se"] = gpu_peers.mean_of_last()
    except Exception as error:
        absent = isinstance(error, ImportError) and not must
        why = {"left_out": str(error)[:300]} if absent else {"error": f"{type(error).__name__}: {error}"[:600]}  # fmt: skip
        gpu_rows.write(case=case, contestant=c.name, **why)
        return None
    c.about["first_s"] = round(time.perf_counter() - start, 2)
    return c, call


def rounds(ready: Sequence[Ready]) -> list[list[float]]:
    """The milliseconds of each: one call of each in a round."""
    times: list[list[float]] = [[] for _ in ready]
    start = time.perf_counter()
    for k in range(ROUNDS):
        if k > 1 and time.perf_counter() - start > ENOUGH:
            break
        for found, (_, call) in zip(times, ready, strict=True):
            found.append(call(SEED + 1 + k))
    return times


def ours(
    kernel: str, paths: int, work: float, name: str = "overbuilt cuda", shape: tuple[int, int] = (128, 0)
) -> Contestant:  # fmt: skip
    """The engine's kernel alone, on one stream: its results stay on the GPU."""
    about: dict[str, Any] = {"paths": paths, "threads": shape[0], "residents": shape[1]}

    def make() -> Call:
        import cupy

        from overbuilt.kernels.backends import cuda
        from overbuilt.kernels.backends.base import pack_many

        economy, found = made(kernel, "float32", shape)
        about["path_months"] = paths * economy.months
        about.update({k: int(found.stamp[k]) for k in ("registers", "local_bytes")})
        about["kernel"] = kernel
        about["processors"] = cupy.cuda.Device().attributes["MultiProcessorCount"]
        stream, piece = found._lanes[0].stream, cuda._Piece(0, 1, 0, paths)
        with stream:
            inputs = [cupy.asarray(a) for a in pack_many(found.program, [economy], "float32")]

        def call(seed: int) -> float:
            with stream:
                return gpu_peers.elapsed(
                    lambda: found._launch(inputs, seed, 0, piece, economy.months)
                )

        return call

    return Contestant(name, make, work, about)


def from_start_to_end(kernel: str, paths: int, work: float) -> Contestant:
    """A run as the engine makes it: pieces on two streams, results on the host."""

    def make() -> Call:
        economy, found = made(kernel)

        def call(seed: int) -> float:
            start = time.perf_counter()
            gpu_peers.LAST[:] = [found.run(economy, seed, 0, paths, economy.months, False).metrics]
            return (time.perf_counter() - start) * 1e3

        return call

    return Contestant("overbuilt cuda, results on the host", make, work, {"paths": paths}, TO_HOST)


def rival(name: str, make: Callable[[], Call], work: float, **about: Any) -> Contestant:
    return Contestant(name, make, work, about, TO_HOST if name.startswith("JAX") else KERNEL)


# ---- cases
def rng() -> None:
    paths, array = 1 << 21, 1 << 28
    work = float(paths * SUMMED)
    for kind, unit in (("normal", "normals"), ("uniform", "uniforms"), ("below", "tests")):
        engine = [ours(f"rng {kind}", paths, work), from_start_to_end(f"rng {kind}", paths, work)]
        peers = gpu_peers.numbers(kind, paths, array)
        contest(f"rng {kind}", unit, engine, [rival(n, make, much) for n, (make, much) in peers.items()])  # fmt: skip


def trio() -> None:
    _trio("trio", gpu_peers.trio())


def trio_jax() -> None:
    """A case of its own: JAX takes long to compile."""
    _trio("trio, JAX", gpu_peers.trio_jax())


def _trio(case: str, peers: gpu_peers.Peers) -> None:
    paths = 1 << 20
    work = float(paths)
    rivals = [rival(n, partial(make, paths), work, paths=paths) for n, make in peers.items()]
    engine = [ours("trio", paths, work), from_start_to_end("trio", paths, work)]
    contest(case, "paths", engine, rivals, same=True)


def base() -> None:
    paths = 1_000_000
    contest("base", "paths", [ours("base", paths, float(paths)), from_start_to_end("base", paths, float(paths))])  # fmt: skip


def loans() -> None:
    """Every loan tested every month by a uniform of its own; and order statistics, counted as the tests they save."""
    from trio_spec import TRIO

    paths = 1 << 19
    tests = float(paths * TRIO.months * TRIO.loans)
    order = ours("trio", paths, tests, "overbuilt cuda, order statistics")
    contest("loans", "loan tests", [ours("loans", paths, tests)], [order], same=True)


def whole() -> None:
    """A whole run of base with its statistics, by phase: the statistics are the host's work."""
    import overbuilt

    scenario = overbuilt.load("base")
    overbuilt.simulate(scenario, 65_536, backend="cuda")
    for paths in (65_536, 2_000_000):
        start = time.perf_counter()
        result = overbuilt.simulate(scenario, paths, 1, backend="cuda")
        spent = time.perf_counter() - start
        gpu_rows.write(case="whole run of base", contestant="overbuilt cuda", paths=paths, s=spent, phases=result.seconds, rate=paths / spent, unit="paths/s")  # fmt: skip


def sweep() -> None:
    """Threads a block, and bounds on registers: what base takes with each."""
    paths = 1 << 19
    named = [(f"{t} threads, {r or 'free'} residents", (t, r)) for t, r in SHAPES]
    all_shapes = [ours("base", paths, float(paths), name, shape) for name, shape in named]
    contest("sweep of base", "paths", all_shapes[1:2], [*all_shapes[:1], *all_shapes[2:]])


CASES = {f.__name__: f for f in (rng, trio, trio_jax, loans, base, whole, sweep)}

if __name__ == "__main__":
    sys.exit(gpu_rows.each(CASES, sys.argv[1:], "case"))
