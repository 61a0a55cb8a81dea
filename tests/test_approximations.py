"""Cheaper functions that the loan book uses, against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from overbuilt.engine.economy.thresholds import hazard_quantile
from overbuilt.kernels.arrays import ArrayNamespace

PATHS = (np.zeros(1, np.uint32), np.zeros(1, np.uint32))


def namespace(dtype: str) -> ArrayNamespace:
    return ArrayNamespace(np, dtype == "float64", PATHS, 0)


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-10), ("float32", 5e-6)])
def test_the_hazard_s_quantile_is_the_normal_one(dtype: str, bound: float) -> None:
    """Phi^-1(1 - exp(-e^x)) on all of the polynomial's range, and held beyond it."""
    x = np.linspace(-14.0, 3.0, 100_001).astype(dtype)
    hazard = np.exp(x.astype(np.float64))
    exact = np.where(hazard < 0.7, ndtri(-np.expm1(-hazard)), -ndtri(np.exp(-hazard)))
    got = hazard_quantile(namespace(dtype), x)
    assert got.dtype == np.dtype(dtype)
    assert np.abs(got - exact).max() < bound
    ends = hazard_quantile(namespace(dtype), np.array([-30.0, -14.0, 3.0, 9.0], dtype))
    assert ends[0] == ends[1]
    assert ends[2] == ends[3]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_plain_normal_distribution_errs_as_it_says(dtype: str) -> None:
    """Relative error at most 6 + x^2 units in the last place, down to -9."""
    x = np.linspace(-9.0, 9.0, 200_001).astype(dtype)
    exact = ndtr(x.astype(np.float64))
    got = namespace(dtype).ndtr_plain(x).astype(np.float64)
    wide = x.astype(np.float64)
    ulp = np.finfo(dtype).eps * (6.0 + wide * wide)
    assert (np.abs(got / exact - 1.0) <= ulp).all()
