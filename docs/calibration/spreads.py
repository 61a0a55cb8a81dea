"""Credit spreads: reversion, volatility, jumps, their tie to equity; and the regimes of the funding window."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from . import estimators as est
from .credit import HIGH_YIELD
from .report import Data, Fit, Section, shipped

MODERN = "1950"  # before it the bond market was another one
TREND = 120  # months whose median is the normal spread
LIMITS = ((1.25, 1.75), (1.35, 2.0), (1.5, 2.0), (1.5, 2.25))
"""Spread over its normal from which funding counts as tight, and as shut."""


def spread(data: Data) -> pd.Series:
    """BAA less AAA, monthly averages of daily yields, per cent."""
    name = "moodys_aaa_baa_monthly_1919_2018.csv"
    return data.read(name, parse_dates=["Date"], index_col="Date")["BAA_minus_AAA"]


def level(data: Data) -> tuple[list[Fit], list[str]]:
    log = np.log(spread(data))
    spans = {"1919-2018": log, f"{MODERN}-2018": log[MODERN:], "1986-2018": log["1986":]}
    found = {k: est.fit_ou(x.to_numpy(), 1 / 12) for k, x in spans.items()}
    main = found[f"{MODERN}-2018"]
    late = found["1986-2018"]
    sigma = {k: f.sigma * float(np.sqrt(est.AVERAGED)) for k, f in found.items()}
    ranges = [est.volatility_interval(sigma[k], round(f.years * 12)) for k, f in found.items()]
    fits = [
        Fit(
            "funding.spread_volatility", "1/year^0.5", sigma[f"{MODERN}-2018"], min(r[0] for r in ranges),
            max(r[1] for r in ranges), "95 % intervals of three samples together",
            f"Moody's BAA less AAA, {MODERN} to 2018, {round(main.years * 12)} months",
            "residual of the autoregression of the log, times 1.22 as monthly averages hide a third of the variance "
            "(Working 1960): " + ", ".join(f"{k} {s:.2f}" for k, s in sigma.items()),
            "the fact is of high-yield spreads 1996-2025, which the model means; the longer investment-grade series "
            "agrees with it",
        ),
        Fit(
            "funding.spread_half_life", "year", late.half_life, float(np.log(2)) / late.interval[1],
            max(f.half_life for f in found.values()),
            "two standard errors of 1986-2018 at the quick end, the longest sample at the slow one",
            "the same series",
            "Ornstein-Uhlenbeck of the log by maximum likelihood, uncorrected and less the bias of 4/T: "
            + ", ".join(
                f"{k} {np.log(2) / f.kappa_ml:.1f} and {f.half_life:.1f} y" for k, f in found.items()
            ),
            "20 months, of high-yield spreads, is also the uncorrected value of 1986-2018; slower shocks would keep the "
            "window shut for longer, so the shipped value is the mild end",
            digits=2,
        ),
    ]  # fmt: skip
    return fits, []


def jumps(data: Data) -> list[Fit]:
    """Widenings over two months (a jump within a month shows in two averages) beyond three robust deviations."""
    log = np.log(spread(data))
    wide = log.diff(2).dropna()
    robust = 1.4826 * float((wide - wide.median()).abs().median())
    hits = wide[wide > 3 * robust]
    sizes = np.array(est.episodes(list(hits.index), list(hits), 0.55))
    years = len(wide) / 12
    rate = len(sizes) / years
    mean, deviation = float(sizes.mean()), float(sizes.std(ddof=1))
    error = deviation / np.sqrt(len(sizes))
    data_is = f"Moody's BAA less AAA, 1919 to 2018: {len(sizes)} episodes in {years:.0f} years"
    largest = ", ".join(f"{x:.2f}" for x in sorted(sizes)[-4:])
    return [
        Fit(
            "funding.jump_rate", "1/year", rate, *est.poisson_interval(len(sizes), years), "exact Poisson interval",
            data_is, "two-month widenings of the log above three robust standard deviations, half a year apart",
            "once in ten years counts the large ones only, and their mean is set larger to match",
            digits=2,
        ),
        Fit(
            "funding.jump_mean", "log", mean, mean - 2 * error, mean + 2 * error, "two standard errors",
            data_is, f"mean of the widest two months of each episode; largest four: {largest}",
            "a high-yield spread jumps further than BAA less AAA; only investment-grade data are here",
            digits=2,
        ),
        Fit(
            "funding.jump_spread", "log", deviation, *est.volatility_interval(deviation, len(sizes) - 1),
            "95 % of chi-square", data_is, "standard deviation of these sizes",
            "as the mean",
            because=f"sizes under {3 * robust:.2f} are not seen; cut off there, the shipped law has "
            f"{cut_off(3 * robust):.2f}",
            digits=2,
        ),
    ]  # fmt: skip


def cut_off(least: float) -> float:
    """Standard deviation of the shipped jumps that are larger than ``least``."""
    mean, deviation = shipped("funding.jump_mean"), shipped("funding.jump_spread")
    return float(stats.truncnorm.std((least - mean) / deviation, np.inf, mean, deviation))


def home(data: Data) -> Fit:
    """The arithmetic mean spread that the shipped law implies, against the fact's 4.8 %."""
    kappa = np.log(2) / shipped("funding.spread_half_life")
    rate, m, s = (shipped(f"funding.jump_{k}") for k in ("rate", "mean", "spread"))
    shift = rate * m / kappa
    variance = (shipped("funding.spread_volatility") ** 2 + rate * (m * m + s * s)) / (2 * kappa)
    implied = shipped("funding.spread_mean") * float(np.exp(shift + variance / 2))
    error = implied * float(np.sqrt(np.expm1(variance) * 2 / (kappa * 29)))
    log = np.log(spread(data)[MODERN:])
    ratio = float(np.exp(log.mean()) / np.exp(log).mean())
    return Fit(
        "mean high-yield spread in the long run, implied", "1/year", HIGH_YIELD, HIGH_YIELD - 2 * error, HIGH_YIELD + 2 * error,
        "two standard errors of a mean over 29 years of so slow a series",
        f"note of the fact spread_vol, 1996 to 2025; for comparison BAA less AAA since {MODERN}: geometric over arithmetic "
        f"mean {ratio:.2f}",
        "spread_mean times e to (jump_rate x jump_mean / kappa + variance / 2), variance of the stationary law with jumps",
        "spread_mean itself is where spreads go back to between jumps, not their average; how far back is a judgement",
        value=implied,
        digits=2,
    )  # fmt: skip


def tie(data: Data) -> Fit:
    close = data.read("nasdaq_close_daily_1999_2018.csv", parse_dates=["Date"], index_col="Date")[
        "Close"
    ]
    stocks = np.log(close.resample("MS").mean()).diff()
    both = pd.DataFrame({"e": stocks, "s": np.log(spread(data)).diff()}).dropna()

    def correlation(x: pd.DataFrame) -> float:
        return float(np.corrcoef(x["e"], x["s"])[0, 1])

    all_time, crisis = correlation(both), correlation(both["2007":"2010"])
    error = (1 - all_time**2) / np.sqrt(len(both))
    return Fit(
        "shocks.correlation[5][6]", "1", all_time, crisis, all_time + 2 * error, "2007-10, to two standard errors above",
        f"monthly changes of log NASDAQ and log BAA less AAA, {len(both)} months, 1999 to 2018",
        f"correlation of changes of monthly averages; in 2007-10 {crisis:.2f}",
        "the value of a crisis is taken: it is in crises that the tie matters here",
        digits=2,
    )  # fmt: skip


def chain(moves: NDArray[np.float64], stays: NDArray[np.float64]) -> dict[str, float]:
    """Yearly rates of the four moves and shares of the states, of counts of moves (3 x 3) and months in a state."""
    events = {
        "tighten": (moves[0, 1:].sum(), 0),
        "shut": (moves[1, 2], 1),
        "ease": (moves[1, 0], 1),
        "reopen": (moves[2, :2].sum(), 2),
    }
    made = {k: float(12 * n / stays[i]) for k, (n, i) in events.items()}
    made |= {
        f"{k} low": est.poisson_interval(int(n), float(stays[i]) / 12)[0]
        for k, (n, i) in events.items()
    }
    made |= {
        f"{k} high": est.poisson_interval(int(n), float(stays[i]) / 12)[1]
        for k, (n, i) in events.items()
    }
    return made | {f"share {i}": float(stays[i] / stays.sum()) for i in range(3)}


def regimes(ratio: NDArray[np.float64], tight: float, shut: float) -> dict[str, float]:
    """The chain of a spread that is open up to ``tight``, tight up to ``shut``, shut above."""
    state = (ratio > tight).astype(int) + (ratio > shut)
    moves = np.zeros((3, 3))
    np.add.at(moves, (state[:-1], state[1:]), 1)
    return chain(moves, np.bincount(state[:-1], minlength=3).astype(float))


def implied(paths: int = 2000, years: int = 60, seed: int = 0) -> dict[str, float]:
    """The same figures of the shipped chain in the long run, moved by spreads alone (no drawdown, no losses)."""
    p = {k: shipped(f"funding.{k}") for k in (
        "tighten", "shut", "ease", "reopen", "spread_half_life", "spread_volatility", "spread_mean", "spread_start",
        "jump_rate", "jump_mean", "jump_spread",
    )}  # fmt: skip
    weight, low, high = (
        shipped(f"funding.{k}") for k in ("strain[0]", "strain_bounds[0]", "strain_bounds[1]")
    )
    rng = np.random.default_rng(seed)
    dt = 1 / 12
    kappa = np.log(2) / p["spread_half_life"]
    keep = np.exp(-kappa * dt)
    step = p["spread_volatility"] * np.sqrt((1 - keep**2) / (2 * kappa))
    centre = np.log(p["spread_mean"] / p["spread_start"])
    x, state = np.full(paths, centre), np.zeros(paths, dtype=int)
    moves, stay = np.zeros((3, 3)), np.zeros(3)
    for month in range(years * 12):
        jump = rng.random(paths) < p["jump_rate"] * dt
        x = centre + (x - centre) * keep + step * rng.standard_normal(paths)
        x += jump * (p["jump_mean"] + p["jump_spread"] * rng.standard_normal(paths))
        v = np.clip(weight * x, low, high)
        up = np.select(
            [state == 0, state == 1], [p["tighten"] * np.exp(v), p["shut"] * np.exp(v)], 0.0
        )
        down = np.select(
            [state == 1, state == 2], [p["ease"] * np.exp(-v), p["reopen"] * np.exp(-v / 2)], 0.0
        )
        u = rng.random(paths)
        leave = 1 - np.exp(-(up + down) * dt)
        share = up / np.maximum(up + down, 1e-12)
        new = state + np.where(u < leave * share, 1, np.where(u < leave, -1, 0))
        if month >= 120:  # the first ten years still remember the start
            np.add.at(moves, (state, new), 1)
            stay += np.bincount(state, minlength=3)
        state = new
    return chain(moves, stay)


def shares(figures: dict[str, float]) -> str:
    return " ".join(f"{figures[f'share {i}']:.2f}" for i in range(3))


def window(data: Data) -> tuple[list[Fit], list[str]]:
    series = spread(data)
    ratio = (series / series.rolling(TREND).median().shift(1)).dropna().to_numpy()
    seen = {limit: regimes(ratio, *limit) for limit in LIMITS}
    mine = implied()
    middle = seen[LIMITS[-1]]
    fits = []
    for name, what, why in (
        ("tighten", "open to tight", "higher than its shipped rate at today's spread, as strain v averages above zero"),
        ("shut", "tight to shut", "monthly spreads cannot tell a shut market from a dear one"),
        ("ease", "tight to open", "e^-v makes it slow just when spreads are wide"),
        ("reopen", "shut to tight", "spreads fall below a limit within months; issuers return later than that"),
    ):  # fmt: skip
        fits.append(
            Fit(
                f"{what}, implied by funding.{name}", "1/year", middle[name],
                min(s[f"{name} low"] for s in seen.values()), max(s[f"{name} high"] for s in seen.values()),
                "Poisson intervals of four pairs of limits together",
                f"BAA less AAA over its ten-year median, 1929 to 2018; tight from {LIMITS[-1][0]:g}, shut from {LIMITS[-1][1]:g} times",
                f"moves over time in the state; shipped: the chain with v of spreads alone, simulated in the long run; "
                f"funding.{name} itself, {shipped('funding.' + name):g}, holds at today's spread",
                why,
                because="the slow end is taken on purpose: a market that is dear for two months, as most shut spells of the "
                "data are, does not stop a firm that needs money once a year" if name == "reopen" else "",
                value=mine[name],
                digits=2,
            )
        )  # fmt: skip
    notes = [
        "Share of months open, tight, shut: data "
        + "; ".join(f"limits {a:g} and {b:g}: {shares(s)}" for (a, b), s in seen.items())
        + f"; shipped chain {shares(mine)}"
    ]
    return fits, notes


def fit(data: Data) -> Section:
    fits, _ = level(data)
    moves, notes = window(data)
    return Section(
        "spreads", "Credit spreads and the funding window",
        [*fits, *jumps(data), home(data), tie(data), *moves], notes,
    )  # fmt: skip
