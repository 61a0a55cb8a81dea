"""The GPU suite: what the engine and its peers need for the same work, by turns, warm, on one GPU.

Usage: ``python bench/gpu_suite.py [rng trio trio_jax base loans whole sweep]``

Kernels are timed by CUDA events, JAX by the clock, as it has streams of its own: a call of it takes milliseconds at
least. A contestant that is not here, or fails, is a row that says so. gpu_run adds what share of the GPU's issue limit
ours is.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import gpu_peers
import gpu_rows
from gpu_check import SEED, SHAPES, made
from gpu_models import SUMMED

ROUNDS = 7
ENOUGH = 20.0  # seconds for a case


@dataclass
class Contestant:
    """``call(seed)`` does the work once and returns milliseconds; ``work`` is how much of ``unit`` that is."""

    name: str
    make: Callable[[], Callable[[int], float]]
    work: float
    about: dict[str, Any] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)


def contest(case: str, unit: str, contestants: list[Contestant], same: bool = False) -> None:
    """All are made and called once; then one call of each in a round. Writes a row for each, the first is ours.

    ``same``: all compute one law, so their means are compared, within four standard errors.
    """
    ready: list[tuple[Contestant, Callable[[int], float]]] = []
    for c in contestants:
        start = time.perf_counter()
        try:
            call = c.make()
            call(SEED)
            if same:
                c.about["mean"], c.about["mean_se"] = gpu_peers.mean_of_last()
            ready.append((c, call))
            c.about["first_s"] = round(time.perf_counter() - start, 2)
        except Exception as error:  # it is not installed, or cannot do it here
            gpu_rows.write(case=case, contestant=c.name, error=f"{type(error).__name__}: {error}"[:600])  # fmt: skip
    start = time.perf_counter()
    for k in range(ROUNDS):
        if k > 1 and time.perf_counter() - start > ENOUGH:
            break
        for c, call in ready:
            c.times.append(call(SEED + 1 + k))
    ours = ready[0][0] if ready else None
    for c, _ in ready:
        best = min(c.times)
        rate = c.work / best * 1e3
        row = {"ms": best, "median_ms": median(c.times), "rounds": len(c.times), "rate": rate, "unit": f"{unit}/s"}  # fmt: skip
        if ours is not None and c is not ours:
            row["ours_over_it"] = ours.work / min(ours.times) * 1e3 / rate
        if same and ours is not None:
            a, b = ours.about, c.about
            off = abs(a["mean"] - b["mean"])
            row["passed"] = off <= 4.0 * math.hypot(a["mean_se"], b["mean_se"])
        gpu_rows.write(case=case, contestant=c.name, work=c.work, **row, **c.about)


def ours(
    kernel: str, paths: int, work: float, name: str = "overbuilt cuda", shape: tuple[int, int] = (128, 0)
) -> Contestant:  # fmt: skip
    """The engine's kernel alone, on one stream: its results stay on the GPU."""
    about: dict[str, Any] = {"paths": paths, "threads": shape[0], "residents": shape[1]}

    def make() -> Callable[[int], float]:
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

    def make() -> Callable[[int], float]:
        economy, found = made(kernel)

        def call(seed: int) -> float:
            start = time.perf_counter()
            gpu_peers.LAST[:] = [found.run(economy, seed, 0, paths, economy.months, False).metrics]
            return (time.perf_counter() - start) * 1e3

        return call

    return Contestant("overbuilt cuda, results on the host", make, work, {"paths": paths})


# ---- cases
def rng() -> None:
    paths = 1 << 21
    work = float(paths * SUMMED)
    array = 1 << 28
    for kind, unit in (("normal", "normals"), ("uniform", "uniforms"), ("below", "tests")):
        peers = gpu_peers.numbers(kind, array) if kind != "below" else {}
        rivals = [Contestant(n, make, float(array)) for n, make in peers.items()]
        contest(f"rng {kind}", unit, [ours(f"rng {kind}", paths, work), *rivals])


def trio() -> None:
    _trio(gpu_peers.trio())


def trio_jax() -> None:
    """A case of its own: JAX takes long to compile."""
    _trio(gpu_peers.trio_jax())


def _trio(peers: dict[str, Callable[[int], Callable[[int], float]]]) -> None:
    paths, fewer = 1 << 20, 1 << 17
    rivals = [
        Contestant(n, partial(make, fewer), float(fewer), {"paths": fewer})
        for n, make in peers.items()
    ]
    engine = [ours("trio", paths, float(paths)), from_start_to_end("trio", paths, float(paths))]
    contest("trio", "paths", [*engine, *rivals], same=True)


def base() -> None:
    paths = 1_000_000
    contest("base", "paths", [ours("base", paths, float(paths)), from_start_to_end("base", paths, float(paths))])  # fmt: skip


def loans() -> None:
    """Every loan tested every month by a uniform of its own; and order statistics, counted as the tests they save."""
    from trio_spec import TRIO

    paths = 1 << 19
    tests = float(paths * TRIO.months * TRIO.loans)
    contest("loans", "loan tests", [ours("loans", paths, tests), ours("trio", paths, tests, "overbuilt cuda, order statistics")])  # fmt: skip


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
    contest(
        "sweep of base", "paths",
        [ours("base", paths, float(paths), f"{t} threads, {r or 'free'} residents", (t, r)) for t, r in SHAPES],
    )  # fmt: skip


CASES = {f.__name__: f for f in (rng, trio, trio_jax, base, loans, whole, sweep)}

if __name__ == "__main__":
    sys.exit(gpu_rows.each(CASES, sys.argv[1:], "case"))
