"""Estimators: mean reversion, volatility, jumps, counts, indices of a changing panel. NumPy arrays in and out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

AVERAGED = 1.5
"""Variance of the true changes over that of changes of period averages (Working 1960)."""


@dataclass(frozen=True)
class OrnsteinUhlenbeck:
    """dx = kappa (mean - x) dt + sigma dW, as ``fit_ou`` found it."""

    kappa_ml: float
    kappa: float
    """Less the bias of Tang and Chen (2009); at or below zero no reversion can be told from chance."""
    error: float
    mean: float
    sigma: float
    years: float

    @property
    def interval(self) -> tuple[float, float]:
        """Two standard errors each way, not below zero."""
        return max(self.kappa - 2 * self.error, 0.0), max(self.kappa + 2 * self.error, 0.0)

    @property
    def half_life(self) -> float:
        """Years; infinite where no reversion was found."""
        return float(np.log(2) / self.kappa) if self.kappa > 0 else np.inf


def fit_ou(x: Array, dt: float) -> OrnsteinUhlenbeck:
    """Conditional maximum likelihood on equidistant data: an AR(1) by least squares.

    The estimate of kappa is biased upwards by about 4 / years (Tang and Chen 2009, J. Econometrics 149, unknown
    mean); the error is the asymptotic one. Raises ValueError where neighbours are not positively correlated.
    """
    a, b = x[:-1], x[1:]
    slope, cut = (float(c) for c in np.polyfit(a, b, 1))
    if slope <= 0:
        raise ValueError(
            f"autoregression {slope:.3g}: no mean reversion that a longer step could show"
        )
    left = b - cut - slope * a
    n = len(left)
    kappa = -np.log(slope) / dt
    years = n * dt
    grown = np.exp(kappa * dt)
    bias = (5.0 + 2.0 * grown + grown**2) / (2.0 * years)
    error = np.sqrt(max(grown**2 - 1.0, 2.0 * dt / years) / n) / dt
    variance = float(left @ left) / (n - 2)
    sigma2 = variance * (2.0 * kappa / (1.0 - slope**2) if abs(kappa * dt) > 1e-9 else 1.0 / dt)
    return OrnsteinUhlenbeck(
        float(kappa),
        float(kappa - bias),
        float(error),
        cut / (1.0 - slope),
        float(np.sqrt(sigma2)),
        years,
    )


@dataclass(frozen=True)
class Diffusion:
    """dx = drift dt + sigma dW."""

    drift: float
    drift_error: float
    sigma: float
    low: float
    high: float
    changes: int


def fit_diffusion(years: Array, x: Array) -> Diffusion:
    """Maximum likelihood with any spacing; the range of sigma is the 95 % interval of chi-square."""
    dt, dx = np.diff(years), np.diff(x)
    span = float(years[-1] - years[0])
    drift = float(x[-1] - x[0]) / span
    n = len(dx)
    sigma = float(np.sqrt(np.sum((dx - drift * dt) ** 2 / dt) / (n - 1)))
    return Diffusion(drift, sigma / np.sqrt(span), sigma, *volatility_interval(sigma, n - 1), n)


def volatility_interval(sigma: float, freedom: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of a standard deviation of normal data."""
    upper, lower = (float(stats.chi2.ppf(p, freedom)) for p in ((1 + level) / 2, (1 - level) / 2))
    return sigma * float(np.sqrt(freedom / upper)), sigma * float(np.sqrt(freedom / lower))


def poisson_interval(count: int, years: float, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a yearly rate (Garwood 1936)."""
    tail = (1 - level) / 2
    low = stats.chi2.ppf(tail, 2 * count) / 2 if count else 0.0
    return float(low) / years, float(stats.chi2.ppf(1 - tail, 2 * count + 2)) / 2 / years


def chain_index(log_prices: pd.DataFrame, step: int = 1) -> pd.Series:
    """Log index of a panel (dates x series): mean change of the series quoted on both dates, added up.

    A series that enters or leaves moves nothing. ``step`` takes every so-manieth day; gaps of up to
    three days are filled.
    """
    daily = log_prices.asfreq("D").ffill(limit=3).iloc[::step]
    return daily.diff().mean(axis=1).fillna(0.0).cumsum()


def within_slope(series: Sequence[str], t: Array, y: Array) -> float:
    """Slope of y on t with a level of its own for each series (fixed effects)."""
    frame = pd.DataFrame({"s": list(series), "t": t, "y": y})
    centred = frame[["t", "y"]] - frame.groupby("s")[["t", "y"]].transform("mean")
    a, b = centred["t"].to_numpy(), centred["y"].to_numpy()
    return float(a @ b / (a @ a))


def cluster_bootstrap(
    series: Sequence[str],
    statistic: Callable[[NDArray[np.int64]], float],
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % range of a statistic of row numbers, whole series drawn with replacement."""
    rng = np.random.default_rng(seed)
    labels = np.array(series)
    rows = [np.flatnonzero(labels == s) for s in np.unique(labels)]
    found = [
        statistic(np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))]))
        for _ in range(draws)
    ]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def episodes(dates: Sequence[pd.Timestamp], sizes: Sequence[float], apart: float) -> list[float]:
    """Largest size (in absolute value) of each run of dates that lie within ``apart`` years of the one before."""
    runs: list[list[float]] = []
    last = None
    for date, size in zip(dates, sizes, strict=True):
        if last is None or (date - last).days > apart * 365.25:
            runs.append([])
        runs[-1].append(size)
        last = date
    return [max(r, key=abs) for r in runs]


def half_recovery(gap: Array, within: int) -> float:
    """Steps from the deepest of the first ``within`` gaps until half of it is made up; infinite if it never is."""
    bottom = int(np.argmin(gap[:within]))
    back = np.flatnonzero(gap[bottom:] >= gap[bottom] / 2)
    return float(back[0]) if len(back) else np.inf
