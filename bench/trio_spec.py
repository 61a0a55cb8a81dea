"""The "trio" workload in one place: its constants, its exposures and its summary of losses.

Three correlated factors (a two-regime revenue and two mean-reverting log prices with jumps) drive
a cumulative hazard for 60 months; 400 loans default against it under a one-factor Gaussian copula.
Every peer reads its numbers from here and returns one loss per path.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TrioSpec:
    """Constants of the workload; rates are per year."""

    months: int = 60
    dt: float = 1.0 / 12.0
    correlation: tuple[tuple[float, float, float], ...] = (
        (1.0, 0.3, 0.3),
        (0.3, 1.0, 0.6),
        (0.3, 0.6, 1.0),
    )
    # Revenue: start level, log-growth of each regime, volatility, switching rates 0->1 and 1->0.
    revenue0: float = 60.0
    growth: tuple[float, float] = (math.log(9.0) / 2.0, 0.10)
    revenue_vol: float = 0.15
    switch_rate: tuple[float, float] = (0.30, 0.10)
    # Prices: start levels, mean reversion to a fair level that moves with revenue, jumps.
    price0: tuple[float, float] = (2.1, 4.7)
    price_decline: float = 0.12
    revenue_beta: float = 0.3
    revenue_trend: float = 0.5
    kappa: float = 1.5
    price_vol: tuple[float, float] = (0.18, 0.30)
    jump_rate: float = 0.05
    jump_mean: float = -0.3
    jump_sd: float = 0.15
    # Hazard: base rate and the clipped response of its logarithm to the stress.
    hazard: float = 0.04
    stress_beta: float = 1.2
    stress_clip: tuple[float, float] = (-1.5, 2.5)
    # Loans: number, copula correlation, loss given default, exposures.
    loans: int = 400
    rho: float = 0.07
    lgd_base: float = 0.40
    lgd_slope: float = 0.25
    lgd_clip: tuple[float, float] = (0.10, 0.90)
    exposure_seed: int = 7
    exposure_sd: float = 0.8
    exposure_cap: float = 5.0
    exposure_total: float = 450.0

    def cholesky(self) -> NDArray[np.float64]:
        """Lower Cholesky factor of the correlation of the three monthly normals."""
        return np.linalg.cholesky(np.array(self.correlation))

    def switch_prob(self) -> tuple[float, float]:
        """Monthly probability of leaving regime 0 and regime 1."""
        return (
            -math.expm1(-self.switch_rate[0] * self.dt),
            -math.expm1(-self.switch_rate[1] * self.dt),
        )

    def jump_prob(self) -> float:
        """Monthly probability of a jump in one price."""
        return -math.expm1(-self.jump_rate * self.dt)

    def reversion(self) -> float:
        """Monthly decay of a price's distance from its fair level."""
        return math.exp(-self.kappa * self.dt)

    def price_step_sd(self) -> tuple[float, float]:
        """Standard deviation of each log price's monthly shock."""
        scale = math.sqrt(-math.expm1(-2.0 * self.kappa * self.dt) / (2.0 * self.kappa))
        return (self.price_vol[0] * scale, self.price_vol[1] * scale)


TRIO = TrioSpec()

PROBIT_CENTRE = -3.2
PROBIT_SCALE = 4.4
PROBIT_COEFFICIENTS: tuple[float, ...] = (
    -1.7513532,
    2.00050168,
    0.717273406,
    0.405043596,
    0.229489145,
    0.118363592,
    0.0538936426,
    0.0198835538,
    0.00414689579,
)
"""Phi^-1(1 - exp(-L)) as a polynomial (constant first) in s = (ln L - centre) / scale.

The error is below 1.1e-6 in float32 for ln L in [-7.6, 1.2]; the clipped stress keeps ln L of every
month within [-7.3, 0.9].  It replaces a logarithm, an exponential and a general probit, so every
peer that gains from it uses it.
"""

LOGIT_PHI_LIMIT = 5.6
LOGIT_PHI_COEFFICIENTS: tuple[float, ...] = (
    1.59577064,
    0.0726555381,
    -5.0290277e-05,
    -0.000117535454,
    9.35924145e-06,
    -4.09678722e-07,
    1.07455081e-08,
    -1.57450503e-10,
    9.90661213e-13,
)
"""logit(Phi(x)) / x as a polynomial (constant first) in x^2, for |x| <= LOGIT_PHI_LIMIT.

The logistic function of it is Phi(x) with an absolute error below 3e-7.
"""

SINE_COEFFICIENTS: tuple[float, ...] = (
    1.57079632,
    -0.64596376,
    0.0796899226,
    -0.00467415067,
    0.000151675118,
)
"""sin(pi v / 2) / v as a polynomial (constant first) in v^2, |v| <= 1; error below 1e-8."""

COSINE_COEFFICIENTS: tuple[float, ...] = (
    1.0,
    -1.23370053,
    0.253669322,
    -0.0208626875,
    0.000917723882,
    -2.38245355e-05,
)
"""cos(pi v / 2) as a polynomial (constant first) in v^2, |v| <= 1; error below 1e-9."""


def exposures(spec: TrioSpec = TRIO) -> NDArray[np.float64]:
    """Exposure of each loan; they add up to ``spec.exposure_total``."""
    rng = np.random.default_rng(spec.exposure_seed)
    e = np.exp(spec.exposure_sd * rng.standard_normal(spec.loans))
    e = np.minimum(e, spec.exposure_cap * e.mean())
    return e * (spec.exposure_total / e.sum())


def summary(loss: NDArray[np.floating]) -> dict[str, float]:
    """Mean, VaR 99 % and ES 99 % of a loss sample, each with its standard error.

    The error of VaR is half the distance of the order statistics one standard deviation of the
    binomial count away; that of ES is the asymptotic one, from the tail's variance and its excess
    over VaR.
    """
    x = np.sort(np.asarray(loss, dtype=np.float64))
    n = x.size
    if n < 2_000:
        raise ValueError(f"need at least 2000 losses, got {n}")
    level, share = 0.99, 0.01
    worst = x[n - max(1, round(share * n)) :]
    var99, es99 = float(np.quantile(x, level)), float(worst.mean())
    spread = math.sqrt(n * share * level)
    low, high = (min(n - 1, round(n * level + k * spread)) for k in (-1.0, 1.0))
    es_variance = (float(worst.var(ddof=1)) + level * (es99 - var99) ** 2) / (n * share)
    return {
        "mean": float(x.mean()),
        "mean_se": float(x.std(ddof=1) / math.sqrt(n)),
        "var99": var99,
        "var99_se": float(x[high] - x[low]) / 2.0,
        "es99": es99,
        "es99_se": math.sqrt(es_variance),
    }
