"""Warp on the GPU: the kernels of peer_warp and rng_warp, a thread a path, all paths in one launch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import peer_warp
import rng_warp
import warp as wp
from gpu_peers import LAST
from trio_spec import TRIO, exposures

Call = Callable[[int], float]


def trio(algorithm: str, paths: int, device: str = "cuda:0") -> Call:
    """``call(seed)``: milliseconds by CUDA events. A month's numbers of all paths lie side by side, as suits a GPU."""
    here(device)
    exposure = wp.array(exposures().astype(np.float32), dtype=wp.float32, device=device)

    def columns(rows: int) -> Any:
        return wp.empty((rows, paths), dtype=wp.float32, device=device).transpose()

    scratch = [exposure, columns(TRIO.months), columns(TRIO.months), columns(TRIO.loans)]
    return _timed(getattr(peer_warp, algorithm), paths, scratch, device)


def numbers(kind: str, paths: int, device: str = "cuda:0") -> Call:
    """Each path adds its numbers up in a register, as ours does."""
    here(device)
    return _timed(getattr(rng_warp, f"{kind}s"), paths, (), device)


def here(device: str) -> None:
    if device != "cpu" and not wp.is_cuda_available():
        raise ImportError("Warp finds no GPU")


def _timed(kernel: Any, paths: int, inputs: Sequence[Any], device: str) -> Call:
    out = wp.empty(paths, dtype=wp.float32, device=device)

    def launch(seed: int) -> None:
        wp.launch(kernel, dim=paths, inputs=[seed, 0, *inputs], outputs=[out], device=device)
        LAST[:] = [out]

    def call(seed: int) -> float:
        start, end = (wp.Event(device, enable_timing=True) for _ in range(2))
        wp.record_event(start)
        launch(seed)
        wp.record_event(end)
        return float(wp.get_event_elapsed_time(start, end))  # waits for the end

    def untimed(seed: int) -> float:
        launch(seed)
        return 0.0

    return untimed if device == "cpu" else call
