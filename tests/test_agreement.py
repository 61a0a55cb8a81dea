"""The four backends on the same paths: one economy, one answer.

The reference is NumPy in float64, which shares no generated code with the others. Tolerances are the
project's own promise (README): float64 within 1e-9, float32 within 1e-4 relative on paths where no decision
flipped, and fewer flips than 1e-5 of decisions.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from overbuilt.engine.scenario import load
from overbuilt.engine.simulate import plan
from overbuilt.kernels.backends.base import Output
from overbuilt.kernels.emit import emit, source
from overbuilt.kernels.passes import optimize
from overbuilt.kernels.trace import trace

SEED = 7
# decisions that a rounding error can flip: a default, a change of regime, a price war
DECISIONS = ("private_credit.defaults", "revenue.regime", "rental.wars")

CASES: dict[str, tuple[str, dict[str, Any], int]] = {
    "base": ("base", {}, 2048),
    "tight": (
        "base",
        {"conditions.window": 1.0, "conditions.spread_ratio": 1.8, "months": 36},
        1024,
    ),
    "each": ("base", {"private_credit.method": "each", "months": 12}, 256),
    "student": ("textbook", {"private_credit.copula": "student_t", "private_credit.nu": 4.5}, 4096),
    "frailty": ("base", {"private_credit.copula": "frailty", "months": 24}, 1024),
}


@cache
def run(case: str, backend: str, dtype: str) -> Output:
    name, overrides, paths = CASES[case]
    made = plan(load(name, overrides), backend, dtype)
    return made.run(SEED, 0, paths, series=True)


def loans(case: str) -> int:
    name, overrides, _ = CASES[case]
    return len(load(name, overrides).economy.columns["private_credit.loan_exposure"])


def flipped(case: str, a: Output, b: Output) -> np.ndarray:
    """(months, paths): where a decision came out differently, that month or before."""
    names = load(CASES[case][0]).economy.series
    assert a.series is not None
    assert b.series is not None
    rows = [names.index(d) for d in DECISIONS if d in names]
    return np.asarray((a.series[:, rows] != b.series[:, rows]).any(axis=1))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("backend", ["native", "jax"])
def test_float64_agrees_with_the_reference(case: str, backend: str) -> None:
    ours, reference = run(case, backend, "float64"), run(case, "numpy", "float64")
    assert ours.series is not None
    assert reference.series is not None
    scale = np.abs(reference.series).mean(axis=2, keepdims=True) + 1e-300
    assert not flipped(case, ours, reference).any()
    assert (
        np.abs(ours.series - reference.series) / np.maximum(np.abs(reference.series), scale)
    ).max() < 1e-9
    assert np.array_equal(ours.bad, reference.bad)
    assert not reference.bad.any()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("backend", ["native", "jax", "numpy"])
def test_float32_agrees_but_for_counted_flips(case: str, backend: str) -> None:
    ours, reference = run(case, backend, "float32"), run(case, "numpy", "float64")
    assert ours.series is not None
    assert reference.series is not None
    flips = flipped(case, ours, reference)
    decisions = flips.size * loans(case)
    first_flips = int((flips & ~np.vstack([np.zeros_like(flips[:1]), flips[:-1]])).sum())
    assert first_flips < max(1e-5 * decisions, 1), f"{first_flips} flips in {decisions} decisions"
    steady = ~flips.any(axis=0)
    assert steady.mean() > 0.99
    scale = np.abs(reference.series).mean(axis=2, keepdims=True) + 1e-30
    error = np.abs(ours.series - reference.series) / np.maximum(np.abs(reference.series), scale)
    assert error[:, :, steady].max() < 1e-4


def test_cuda_compiles_the_text_that_native_runs() -> None:
    """The kernel follows the dialect's head, byte for byte, in both."""
    program = optimize(trace(load("base").economy, float64=False))
    text = emit(program)
    for dialect in ("native", "cuda"):
        assert source(text, dialect, float64=False).endswith(text)
    assert "OB_KERNEL(OB_ARGUMENTS)" in text


def test_one_path_alone_is_the_path_in_a_block() -> None:
    made = plan(load("base"), "native", "float32")
    block = made.run(SEED, 0, 1000)
    for path in (0, 17, 999):
        alone = made.run(SEED, path, 1)
        assert np.array_equal(alone.metrics[:, 0], block.metrics[:, path])
