"""Processes written as user systems, against their closed-form moments.

Every process is sampled exactly, so the only difference left is sampling error (and rounding, which is
orders of magnitude below it). Each check compares a sample mean or variance with its closed form at four
standard errors: if the engine is right, a check with a fresh seed fails with probability 6.3e-5 (two-sided
normal tail); its 132 checks make that one run in a hundred. The seed is fixed, so a run that passes
keeps passing.

Sources are named at each process; Glasserman, "Monte Carlo Methods in Financial Engineering" (2003)
covers all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, linalg, stats

from overbuilt import DT, Result, System, output, parameter, simulate
from overbuilt.kernels import backends

SEED = 20_251
STANDARD_ERRORS = 4.0
MONTHS = 24
YEARS = MONTHS * DT

RUNS = (
    ("native", "float32", 1_000_000),
    ("native", "float64", 1_000_000),
    ("numpy", "float64", 20_000),
    ("jax", "float32", 20_000),
)


@dataclass(frozen=True)
class Moments:
    """The closed forms of a metric: its mean, and its variance where the check makes sense."""

    mean: float
    variance: float | None = None


class GeometricBrownian(System):
    """dS = mu S dt + sigma S dW (Black and Scholes 1973): log S is normal at any time."""

    start = parameter(100.0, "USD", "assumption: a test", gt=0)
    drift = parameter(0.06, "1/year", "assumption: a test")
    volatility = parameter(0.25, "1/year^0.5", "assumption: a test", ge=0)

    price = output("USD", "price")
    square = output("USD^2", "its square")
    log_price = output("log", "log price")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"growth": 0.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        sigma = self.volatility
        growth = s.growth + (self.drift - 0.5 * sigma * sigma) * DT
        growth = growth + sigma * xp.sqrt(DT) * draw.normal("shock")
        price = self.start * xp.exp(growth)
        return {
            "growth": growth,
            "price": price,
            "square": price * price,
            "log_price": xp.log(price),
        }


def geometric_brownian() -> dict[str, Moments]:
    start, drift, sigma = 100.0, 0.06, 0.25
    mean = start * math.exp(drift * YEARS)
    square = mean * mean * math.exp(sigma * sigma * YEARS)
    log_mean = math.log(start) + (drift - 0.5 * sigma * sigma) * YEARS
    return {
        "price": Moments(mean, square - mean * mean),
        "square": Moments(square),
        "log_price": Moments(log_mean, sigma * sigma * YEARS),
    }


KAPPA, SIGMA, LOG_START = 1.5, 0.30, 0.7
JUMP_RATE, JUMP_MEAN, JUMP_SPREAD = 2.0, -0.25, 0.15
KEEP = math.exp(-KAPPA * DT)
SHOCK = SIGMA * math.sqrt((1.0 - KEEP * KEEP) / (2.0 * KAPPA))
JUMP_CHANCE = 1.0 - math.exp(-JUMP_RATE * DT)


class MonthlyJumps(System):
    """A mean-reverting log price with at most one jump a month, at its end.

    x' = a x + v Z + B J: an exact Ornstein-Uhlenbeck step (Uhlenbeck and Ornstein 1930), B Bernoulli and
    J normal. The reference is exact for this recursion, not for the continuous process.
    """

    log_price = output("log", "log price")
    price = output("USD", "price")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"x": LOG_START}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        shock, size = draw.normal("shock", 2)
        jump = xp.where(draw.uniform("jump") < JUMP_CHANCE, JUMP_MEAN + JUMP_SPREAD * size, 0.0)
        x = KEEP * s.x + SHOCK * shock + jump
        return {"x": x, "log_price": x, "price": xp.exp(x)}


def _jump_transform(u: float) -> float:
    """E[exp(u J)] of one normal jump."""
    return math.exp(JUMP_MEAN * u + 0.5 * (JUMP_SPREAD * u) ** 2)


def monthly_jumps() -> dict[str, Moments]:
    """x_n = a^n x_0 + sum of a^(n-j) (v Z_j + B_j J_j): independent terms, geometric sums.

    Mean of a term p m, variance v^2 + p (m^2 + s^2) - (p m)^2; E[exp x_n] is the product of the terms'
    moment generating functions at a^(n-j).
    """
    p, m, s = JUMP_CHANCE, JUMP_MEAN, JUMP_SPREAD
    left = KEEP**MONTHS
    mean = left * LOG_START + p * m * (1.0 - left) / (1.0 - KEEP)
    each = SHOCK**2 + p * (m * m + s * s) - (p * m) ** 2
    variance = each * (1.0 - left**2) / (1.0 - KEEP**2)
    price = math.exp(left * LOG_START)
    for j in range(MONTHS):
        weight = KEEP**j
        price *= math.exp(0.5 * (SHOCK * weight) ** 2) * (1.0 - p + p * _jump_transform(weight))
    return {"log_price": Moments(mean, variance), "price": Moments(price)}


class PoissonJumps(System):
    """The continuous process, sampled exactly: dx = -kappa x dt + sigma dW + dJ, J compound Poisson.

    Within a month jumps come after exponential waits, and each decays for the rest of the month
    (Glasserman 2003, section 3.5).
    """

    log_price = output("log", "log price")
    price = output("USD", "price")
    jumps = output("count", "jumps so far")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"x": LOG_START, "jumps": 0.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        def wait(k: Any) -> Any:
            return -xp.log(draw.uniform("wait", index=k)) / JUMP_RATE

        def jump(a: Any) -> dict[str, Any]:
            size = JUMP_MEAN + JUMP_SPREAD * draw.normal("size", index=a.k)
            grown = a.total + size * xp.exp(-KAPPA * (DT - a.at))
            return {"at": a.at + wait(a.k + 1), "total": grown, "k": a.k + 1}

        done = xp.while_any(lambda a: a.at < DT, jump, at=wait(0), total=0.0, k=0)
        x = KEEP * s.x + SHOCK * draw.normal("shock") + done.total
        jumps = s.jumps + xp.to_real(done.k)
        return {"x": x, "jumps": jumps, "log_price": x, "price": xp.exp(x)}


def poisson_jumps() -> dict[str, Moments]:
    """Campbell's theorem for the moments; E[exp x] by the transform of Duffie, Pan and Singleton (2000)."""
    left = math.exp(-KAPPA * YEARS)
    mean = LOG_START * left + JUMP_RATE * JUMP_MEAN * (1.0 - left) / KAPPA
    power = SIGMA**2 + JUMP_RATE * (JUMP_MEAN**2 + JUMP_SPREAD**2)
    variance = power * (1.0 - left**2) / (2.0 * KAPPA)
    jumps, _ = integrate.quad(lambda t: _jump_transform(math.exp(-KAPPA * t)) - 1.0, 0.0, YEARS)
    normal = 0.5 * SIGMA**2 * (1.0 - left**2) / (2.0 * KAPPA)
    return {
        "log_price": Moments(mean, variance),
        "price": Moments(math.exp(LOG_START * left + normal + JUMP_RATE * jumps)),
        "jumps": Moments(JUMP_RATE * YEARS, JUMP_RATE * YEARS),
    }


GROWTH = (0.8, -0.2)
LEAVE = (0.9, 0.6)
NOISE = 0.15


class MonthlyRegimes(System):
    """Two-state growth (Hamilton 1989); the regime of a month is drawn at the end of the last one."""

    grown = output("1", "level over its start")
    square = output("1", "its square")
    boom = output("share", "1 in the first regime")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"second": False, "log_level": 0.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        rate = xp.where(s.second, GROWTH[1], GROWTH[0]) * DT
        log_level = s.log_level + rate + NOISE * math.sqrt(DT) * draw.normal("noise")
        leave = xp.where(s.second, 1.0 - math.exp(-LEAVE[1] * DT), 1.0 - math.exp(-LEAVE[0] * DT))
        turns = draw.uniform("turn") < leave
        second = (s.second & ~turns) | (~s.second & turns)
        return {
            "second": second,
            "log_level": log_level,
            "grown": xp.exp(log_level),
            "square": xp.exp(2.0 * log_level),
            "boom": xp.where(second, 0.0, 1.0),
        }


def monthly_regimes() -> dict[str, Moments]:
    """E[exp(u L)] = start (D_u P)^n 1, P the monthly transitions and D_u the growth by regime."""
    leave = [1.0 - math.exp(-rate * DT) for rate in LEAVE]
    turn = np.array([[1.0 - leave[0], leave[0]], [leave[1], 1.0 - leave[1]]])

    def moment(u: float) -> float:
        rates = u * np.array(GROWTH) + 0.5 * (u * NOISE) ** 2
        month = np.diag(np.exp(rates * DT)) @ turn
        return float(np.linalg.matrix_power(month, MONTHS)[0].sum())

    boom = float(np.linalg.matrix_power(turn, MONTHS)[0, 0])
    return {
        "grown": Moments(moment(1.0), moment(2.0) - moment(1.0) ** 2),
        "square": Moments(moment(2.0)),
        "boom": Moments(boom, boom * (1.0 - boom)),
    }


class ContinuousRegimes(System):
    """The same in continuous time, sampled exactly: exponential stays, switches within the month."""

    grown = output("1", "level over its start")
    square = output("1", "its square")
    boom = output("share", "1 in the first regime")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"second": False, "log_level": 0.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        def stay(k: Any, second: Any) -> Any:
            return -xp.log(draw.uniform("stay", index=k)) / xp.where(second, LEAVE[1], LEAVE[0])

        def switch(a: Any) -> dict[str, Any]:
            growth = xp.where(a.second, GROWTH[1], GROWTH[0])
            next_stay = stay(a.k + 1, ~a.second)
            return {
                "left": a.left - a.stay,
                "stay": next_stay,
                "total": a.total + growth * a.stay,
                "second": ~a.second,
                "k": a.k + 1,
            }

        first = stay(0, s.second)
        done = xp.while_any(
            lambda a: a.stay < a.left, switch, left=DT, stay=first, total=0.0, second=s.second, k=0
        )
        total = done.total + xp.where(done.second, GROWTH[1], GROWTH[0]) * done.left
        log_level = s.log_level + total + NOISE * math.sqrt(DT) * draw.normal("noise")
        return {
            "second": done.second,
            "log_level": log_level,
            "grown": xp.exp(log_level),
            "square": xp.exp(2.0 * log_level),
            "boom": xp.where(done.second, 0.0, 1.0),
        }


def continuous_regimes() -> dict[str, Moments]:
    """E[exp(u L)] = start exp((Q + G_u) T) 1, Q the generator (Elliott, Aggoun and Moore 1995)."""
    generator = np.array([[-LEAVE[0], LEAVE[0]], [LEAVE[1], -LEAVE[1]]])

    def moment(u: float) -> float:
        rates = np.diag(u * np.array(GROWTH) + 0.5 * (u * NOISE) ** 2)
        return float(linalg.expm((generator + rates) * YEARS)[0].sum())

    boom = float(linalg.expm(generator * YEARS)[0, 0])
    return {
        "grown": Moments(moment(1.0), moment(2.0) - moment(1.0) ** 2),
        "square": Moments(moment(2.0)),
        "boom": Moments(boom, boom * (1.0 - boom)),
    }


RATE_START, RATE_MEAN, RATE_KAPPA, RATE_SIGMA = 0.03, 0.06, 1.2, 0.30
DEGREES = 4.0 * RATE_KAPPA * RATE_MEAN / RATE_SIGMA**2  # 3.2
SCALE = RATE_SIGMA**2 * (1.0 - math.exp(-RATE_KAPPA * DT)) / (4.0 * RATE_KAPPA)


class SquareRootRate(System):
    """dr = kappa (theta - r) dt + sigma sqrt(r) dW (Cox, Ingersoll and Ross 1985), sampled exactly.

    r' = c X, X non-central chi-square with d > 1 degrees of freedom: (Z + sqrt(lambda))^2 plus a
    chi-square with d - 1 (Johnson, Kotz and Balakrishnan 1995; Glasserman 2003, section 3.4), which is a
    gamma variable, by the rejection of Marsaglia and Tsang (2000).
    """

    rate = output("1/year", "short rate")
    root = output("1/year^0.5", "its square root")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"r": RATE_START}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        d = 0.5 * (DEGREES - 1.0) - 1.0 / 3.0
        c = 1.0 / math.sqrt(9.0 * d)

        def propose(a: Any) -> dict[str, Any]:
            z = draw.normal("gamma", index=a.k)
            root = xp.maximum(1.0 + c * z, 1e-6)
            v = root * root * root
            fits = xp.log(draw.uniform("accept", index=a.k)) < 0.5 * z * z + d * (
                1.0 - v + xp.log(v)
            )
            good = fits & (1.0 + c * z > 0.0)
            return {"gamma": xp.where(good, d * v, a.gamma), "k": a.k + 1, "open": ~good}

        gamma = xp.while_any(lambda a: a.open, propose, gamma=0.0, k=0, open=True).gamma
        shift = xp.sqrt(s.r * (math.exp(-RATE_KAPPA * DT) / SCALE))
        z = draw.normal("shock") + shift
        r = SCALE * (z * z + 2.0 * gamma)
        return {"r": r, "rate": r, "root": xp.sqrt(r)}


def _square_root_law() -> tuple[Any, float]:
    """The law of r_T over its scale."""
    left = math.exp(-RATE_KAPPA * YEARS)
    scale = RATE_SIGMA**2 * (1.0 - left) / (4.0 * RATE_KAPPA)
    return stats.ncx2(DEGREES, RATE_START * left / scale), scale


def square_root_rate() -> dict[str, Moments]:
    """Mean and variance of Cox, Ingersoll and Ross (1985), equation 19; E[sqrt r] from the law."""
    left = math.exp(-RATE_KAPPA * YEARS)
    mean = RATE_START * left + RATE_MEAN * (1.0 - left)
    variance = RATE_START * RATE_SIGMA**2 / RATE_KAPPA * (left - left**2)
    variance += RATE_MEAN * RATE_SIGMA**2 / (2.0 * RATE_KAPPA) * (1.0 - left) ** 2
    law, scale = _square_root_law()
    root, _ = integrate.quad(
        lambda y: 2.0 * y * y * law.pdf(y * y), 0.0, math.sqrt(law.ppf(1 - 1e-13))
    )
    root *= math.sqrt(scale)
    return {"rate": Moments(mean, variance), "root": Moments(root, mean - root * root)}


PROCESSES: dict[type[System], Callable[[], dict[str, Moments]]] = {
    GeometricBrownian: geometric_brownian,
    MonthlyJumps: monthly_jumps,
    PoissonJumps: poisson_jumps,
    MonthlyRegimes: monthly_regimes,
    ContinuousRegimes: continuous_regimes,
    SquareRootRate: square_root_rate,
}


@cache
def simulated(process: type[System], backend: str, dtype: str, paths: int) -> Result:
    found = backends.status(backend)
    if not found.works:
        pytest.skip(found.why)
    return simulate(process(), paths, SEED, backend, dtype, months=MONTHS)


def errors_of(values: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Mean and variance, each followed by its standard error (Kendall and Stuart 1977, chapter 10)."""
    n = len(values)
    mean = float(values.mean())
    off = values - mean
    variance = float((off**2).sum() / (n - 1))
    fourth = float((off**4).mean())
    return mean, math.sqrt(variance / n), variance, math.sqrt((fourth - variance**2) / n)


@pytest.mark.parametrize(("backend", "dtype", "paths"), RUNS)
@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.__name__)
def test_moments(process: type[System], backend: str, dtype: str, paths: int) -> None:
    """Means and variances at four standard errors (6.3e-5 a check)."""
    result = simulated(process, backend, dtype, paths)  # type: ignore[arg-type]  # classes do hash
    assert result.bad_count == 0
    table = result.paths()
    for name, want in PROCESSES[process]().items():
        metric = f"{process.key()}.{name}"
        mean, mean_error, variance, variance_error = errors_of(table[metric].to_numpy(np.float64))
        assert abs(mean - want.mean) < STANDARD_ERRORS * mean_error, (
            metric,
            mean,
            want,
            mean_error,
        )
        if want.variance is not None:
            gap = abs(variance - want.variance)
            assert gap < STANDARD_ERRORS * variance_error, (metric, variance, want, variance_error)
        # what the summary says is what the paths say
        told = result.metrics[metric]
        assert told["mean"] == pytest.approx(mean, rel=1e-12, abs=1e-12)
        assert told["sd"] == pytest.approx(math.sqrt(variance), rel=1e-9)
        assert told["se"] == pytest.approx(mean_error, rel=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_square_root_law(dtype: str) -> None:
    """The whole law of the square-root rate: Kolmogorov's distance of 100,000 paths, at 1e-5."""
    result = simulated(SquareRootRate, "native", dtype, 1_000_000)
    rates = result.paths(["square_root_rate.rate"])["square_root_rate.rate"].to_numpy(np.float64)
    law, scale = _square_root_law()
    found = stats.kstest(rates[:100_000] / scale, law.cdf)
    assert found.pvalue > 1e-5, found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal_laws(dtype: str) -> None:
    """Log price of the geometric Brownian motion: Kolmogorov's distance of 1,000,000 paths, at 1e-5."""
    result = simulated(GeometricBrownian, "native", dtype, 1_000_000)
    values = result.paths(["geometric_brownian.log_price"])["geometric_brownian.log_price"]
    want = geometric_brownian()["log_price"]
    assert want.variance is not None
    law = stats.norm(want.mean, math.sqrt(want.variance))
    found = stats.kstest(values.to_numpy(np.float64), law.cdf)
    assert found.pvalue > 1e-5, found


def test_mean_by_month() -> None:
    """Each month's mean over the series' paths, at four standard errors of the exact law (24 checks)."""
    result = simulated(GeometricBrownian, "native", "float64", 1_000_000)
    table = result.series("geometric_brownian.price")
    assert list(table.index) == list(range(1, MONTHS + 1))
    years = table.index.to_numpy() * DT
    mean = 100.0 * np.exp(0.06 * years)
    error = mean * np.sqrt(np.expm1(0.25**2 * years) / (1 << 14))
    assert np.all(np.abs(table["mean"] - mean) < STANDARD_ERRORS * error)
