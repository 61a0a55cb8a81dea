"""Copulas turned round: from a loan's uniform to the cumulative hazard at which it defaults, and back."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from ...kernels.special import horner

NEVER = 1.0e30  # a threshold that no hazard reaches; finite, so that the watch for infinities stays quiet
_STEP = 1.0 / 32.0


def gaussian_threshold(xp: Any, x: Any) -> Any:
    """-log(1 - Phi(x)), accurate in both tails with one logarithm."""
    tail = xp.ndtr(-xp.abs(x))
    rest = 1.0 - tail
    below = x < 0.0
    # what 1 - tail lost to rounding, as log1p would put back
    lost = xp.where(below, (tail - (1.0 - rest)) / rest, 0.0)
    return lost - xp.log(xp.where(below, rest, tail))


_LOWEST, _HIGHEST = -14.0, 3.0  # log hazards between which the polynomial holds


@cache
def _hazard_polynomial(degree: int) -> tuple[float, ...]:
    """Power coefficients over [-1, 1] of Phi^-1(1 - exp(-e^x)), interpolated at Chebyshev's points."""
    quantile = NormalDist().inv_cdf

    def f(t: float) -> float:
        hazard = math.exp(_LOWEST + (t + 1.0) * (_HIGHEST - _LOWEST) / 2.0)
        return quantile(-math.expm1(-hazard)) if hazard < 0.7 else -quantile(math.exp(-hazard))

    fitted = chebyshev.chebinterpolate(np.vectorize(f), degree)
    return tuple(float(c) for c in chebyshev.cheb2poly(fitted))


def hazard_quantile(xp: Any, log_hazard: Any) -> Any:
    """The normal quantile of the default probability 1 - exp(-hazard), from the hazard's logarithm.

    A polynomial, as an expm1 and a normal quantile cost four times as much: error below 5e-6 in float32 and
    1e-10 in float64 for hazards from 1e-6 to 20, beyond which the argument is held.
    """
    held = xp.clip(log_hazard, _LOWEST, _HIGHEST)
    t = (held - 0.5 * (_LOWEST + _HIGHEST)) * (2.0 / (_HIGHEST - _LOWEST))
    coefficients = _hazard_polynomial(30 if xp.float64 else 16)
    square = t * t
    even, odd = coefficients[::2], coefficients[1::2]
    return horner(square, even) + t * horner(square, odd)


def frye_jacobs_shift(pd: float, lgd: float, rho: float) -> float:
    """k of LGD(rate) = Phi(Phi^-1(rate) - k) / rate (Frye and Jacobs 2012), from PD, LGD and correlation."""
    quantile = (
        NormalDist().inv_cdf
    )  # the standard library's: SciPy takes longer to import than to run
    return (quantile(pd) - quantile(pd * lgd)) / math.sqrt(1.0 - rho)


def frye_jacobs_lgd(xp: Any, quantile: Any, shift: Any) -> Any:
    """LGD when the default rate is Phi(quantile)."""
    # below -10 both terms underflow in float32; the ratio no longer moves there
    held = xp.maximum(quantile, -10.0)
    return xp.ndtr_plain(held - shift) / xp.ndtr_plain(held)


def student_tables(nu: float) -> dict[str, Any]:
    """Tables of the Student t copula, as cubic Hermite splines with step 1/32.

    ``log_threshold`` over z = asinh(x / sqrt(nu)) is log(-log(1 - T(x))); ``quantile`` over log hazard is
    asinh(T^-1(1 - e^-hazard) / sqrt(nu)). Both are smooth and nearly straight at their ends, so the
    splines' relative error stays below 1e-7. T from SciPy.
    """
    from scipy.special import stdtr, stdtrit
    from scipy.stats import t

    z = np.arange(-12.0, 6.0 + _STEP, _STEP) if nu > 20 else np.arange(-30.0, 20.0 + _STEP, _STEP)
    x = np.sqrt(nu) * np.sinh(z)
    upper = np.clip(stdtr(nu, -x), 1e-300, 1.0)
    lower = np.clip(stdtr(nu, x), 1e-300, 1.0)
    hazard = np.where(x < 0, -np.log1p(-lower), -np.log(upper))
    slope = t.pdf(x, nu) * np.sqrt(nu) * np.cosh(z) / (upper * hazard)
    log_hazard = np.arange(-40.0, 5.0 + _STEP, _STEP)
    level = np.exp(log_hazard)
    back = np.where(level < 0.7, stdtrit(nu, -np.expm1(-level)), -stdtrit(nu, np.exp(-level)))
    quantile = np.arcsinh(back / np.sqrt(nu))
    density = np.maximum(t.pdf(back, nu), 1e-300)
    gradient = level * np.exp(-level) / density / np.sqrt(nu + back * back)
    return {
        "table_z": np.log(hazard),
        "table_z_slope": slope * _STEP,
        "table_z_first": float(z[0]),
        "table_z_last": len(z) - 2,
        "table_h": quantile,
        "table_h_slope": gradient * _STEP,
        "table_h_first": float(log_hazard[0]),
        "table_h_last": len(log_hazard) - 2,
    }


def hermite(xp: Any, values: Any, slopes: Any, first: Any, last: Any, x: Any) -> Any:
    """A cubic Hermite spline with step 1/32 at x; beyond the table its first or last value."""
    place = xp.clip((x - first) * (1.0 / _STEP), 0.0, xp.to_real(last) + 1.0)
    i = xp.minimum(xp.to_int(xp.floor(place)), last)
    f = place - xp.to_real(i)
    y0, y1, d0, d1 = values[i], values[i + 1], slopes[i], slopes[i + 1]
    rise = y1 - y0
    return y0 + f * (d0 + f * ((3.0 * rise - 2.0 * d0 - d1) + f * (d0 + d1 - 2.0 * rise)))


def chi_square(xp: Any, draw: Any, nu: Any) -> Any:
    """A chi-square variable with nu >= 2 degrees of freedom: Marsaglia and Tsang (2000)."""
    d = 0.5 * nu - 1.0 / 3.0
    c = 1.0 / xp.sqrt(9.0 * d)

    def propose(s: Any) -> dict[str, Any]:
        words = draw.words("chi_square", index=s.k)
        r = xp.sqrt(-2.0 * xp.log(xp.uniform(words[0])))
        x = r * xp.cos2pi(xp.uniform(words[1]))
        root = 1.0 + c * x
        v = root * root * root
        safe = xp.maximum(v, 1e-30)
        fits = xp.log(xp.uniform(words[2])) < 0.5 * x * x + d * (1.0 - safe + xp.log(safe))
        good = fits & (root > 0.0)
        return {"value": xp.where(good, 2.0 * d * safe, s.value), "k": s.k + 1, "open": ~good}

    return xp.while_any(lambda s: s.open, propose, value=nu, k=0, open=True).value
