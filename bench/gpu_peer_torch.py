"""PyTorch on the GPU: the functions of peer_torch, the month's functions by torch.compile.

All paths at once, or in equal parts where the GPU's memory does not hold that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import peer_torch
import torch
from gpu_peers import LAST
from trio_spec import exposures

Call = Callable[[int], float]
PATH_BYTES = 30_000
"""The most that a path takes: 400 numbers of eight bytes, sorted beside a copy."""


def trio(algorithm: str, paths: int, device: str = "cuda", compiled: bool = True) -> Call:
    """``call(seed)``: milliseconds by CUDA events."""
    here(device)
    loans = getattr(peer_torch, algorithm)
    e = torch.from_numpy(exposures().astype(np.float32)).to(device)
    eager = (peer_torch.factor_month, peer_torch.monthly_month)
    month, lost = (torch.compile(f, dynamic=False) for f in eager) if compiled else eager

    free = torch.cuda.mem_get_info()[0] if device != "cpu" else paths * PATH_BYTES
    size = paths
    while size > 1 and size % 2 == 0 and size * PATH_BYTES > free:
        size //= 2

    def work(seed: int) -> Any:
        generator = torch.Generator(device).manual_seed(seed)
        parts = [loans(generator, *peer_torch.factors(generator, size, month), e, lost) for _ in range(paths // size)]  # fmt: skip
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    return _timed(work, device)


def numbers(kind: str, count: int, fused: bool, device: str = "cuda") -> Call:
    """``fused``: drawn and added up by one compiled kernel; else written to memory."""
    here(device)
    draw = torch.randn if kind == "normal" else torch.rand

    def total() -> Any:
        return draw(count, device=device).sum()

    made = torch.compile(total, dynamic=False) if fused else lambda: draw(count, device=device)

    def work(seed: int) -> Any:
        torch.manual_seed(seed)
        return made()

    return _timed(work, device)


def here(device: str) -> None:
    if device != "cpu" and not torch.cuda.is_available():
        raise ImportError("PyTorch finds no GPU")


def _timed(work: Callable[[int], Any], device: str) -> Call:
    @torch.no_grad()
    def call(seed: int) -> float:
        if device == "cpu":
            LAST[:] = [work(seed)]
            return 0.0
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with torch.device(device):  # where peer_torch makes its tensors
            start.record()
            found = work(seed)
            end.record()
        end.synchronize()
        LAST[:] = [found.cpu()]
        return float(start.elapsed_time(end))

    return call
