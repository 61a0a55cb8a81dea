"""The normal distribution and its inverse as native runs them: the emitted text, not NumPy.

Reference: mpmath in 60 digits, on the operand as the precision holds it. Errors in units in the last place.
Results below the smallest normal number are left out: they have fewer digits to be right in.
"""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest

from .helpers import DTYPES, VARIANTS, FunctionModel, compile_on

COUNT, BOUND = 4096, 6.0  # operands a function; the bound on native, in ulp


def operands(name: str, dtype: str) -> np.ndarray:
    """Both tails down to the smallest normal result, and the centre."""
    rng = np.random.default_rng(11)
    deep = 13.0 if dtype == "float32" else 37.4
    if name == "ndtr":
        return np.concatenate(
            [rng.uniform(-deep, 6.0, COUNT // 2), rng.normal(0.0, 1.0, COUNT // 2)]
        )
    least = 37.9 if dtype == "float32" else 307.0
    tail = 10.0 ** -rng.uniform(0.31, least, COUNT // 2)
    return np.concatenate([tail, rng.uniform(1e-6, 1.0 - 1e-6, COUNT // 2)])


def exact(name: str, x: float) -> float:
    with mpmath.workdps(60):
        if name == "ndtr":
            return float(mpmath.erfc(-mpmath.mpf(x) / mpmath.sqrt(2)) / 2)
        # one step of Newton from SciPy's answer doubles its digits
        from scipy.special import ndtri

        y, p = mpmath.mpf(float(ndtri(x))), mpmath.mpf(x)
        for _ in range(2):
            y -= (mpmath.erfc(-y / mpmath.sqrt(2)) / 2 - p) / mpmath.npdf(y)
        return float(y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["ndtr", "ndtri"])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_few_ulp_on_native(variant: Any, name: str, dtype: str) -> None:
    if variant.missing():
        pytest.skip(variant.missing())
    x = operands(name, dtype).astype(dtype)

    def step(xp: Any, inputs: dict[str, Any], state: dict[str, Any], month: Any) -> dict[str, Any]:
        # month t reads row t; the operand differs by path as far as the compiler can know
        row = month - 1 + 0 * xp.from_bits(xp.shift_right(xp.philox("t.x", None, 0)[0], 31))
        return {"y": getattr(xp, name)(inputs["x"][row])}

    model = FunctionModel(step, ["y"], series=["y"], columns={"x": x.astype(np.float64)})
    record = compile_on(str(variant), model, dtype).run(model, 0, 0, 1, COUNT, True).series
    assert record is not None
    got = record[:, 0, 0]
    want = np.array([exact(name, float(v)) for v in x])
    normal = np.abs(want) >= np.finfo(dtype).tiny
    ulp = np.spacing(np.abs(want[normal]).astype(dtype)).astype(np.float64)
    error = np.abs(got[normal].astype(np.float64) - want[normal]) / ulp
    print(f"{variant} {dtype} {name}: {error.max():.2f} ulp")
    assert normal.mean() > 0.95
    assert error.max() < BOUND
