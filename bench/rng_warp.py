"""Warp's kernels of case rng; apart, since Warp reads a kernel's source and the annotations in it."""

from typing import Any

import numpy as np
import warp as wp

wp.config.quiet = True
wp.init()
SUMMED = wp.constant(64 * 32)


@wp.kernel
def normals(seed: int, first: int, out: wp.array(dtype=wp.float32)):
    i = wp.tid()
    state = wp.rand_init(seed, first + i)
    total = float(0.0)
    for _ in range(SUMMED):
        total += wp.randn(state)
    out[i] = total


@wp.kernel
def uniforms(seed: int, first: int, out: wp.array(dtype=wp.float32)):
    i = wp.tid()
    state = wp.rand_init(seed, first + i)
    total = float(0.0)
    for _ in range(SUMMED):
        total += wp.randf(state)
    out[i] = total


def run(kind: str, seed: int, first: int, count: int) -> Any:
    """Sums of ``count`` paths from ``first`` on."""
    out = wp.empty(count, dtype=wp.float32, device="cpu")
    kernel = normals if kind == "normal" else uniforms
    wp.launch(kernel, dim=count, inputs=[seed, first], outputs=[out], device="cpu")
    return np.array(out.numpy())
