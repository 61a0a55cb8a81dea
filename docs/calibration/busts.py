"""Earlier busts: oil 2014-16, telecom and NASDAQ 2000-02, shale credit."""

from __future__ import annotations

import numpy as np
import pandas as pd

from . import estimators as est
from .credit import b_hazard
from .report import Data, Fit, Section, shipped

FALL = -0.5  # log; a month-end price so far under that of six months before is a collapse
APART = 2.0  # years between collapses
TROUGH = 30  # months from the start of a collapse within which its trough lies


def oil(data: Data) -> pd.Series:
    """WTI by day without the one negative price of April 2020."""
    table = data.read("wti_daily.csv", parse_dates=["Date"], index_col="Date")["Price"]
    return table[table > 0]


def recoveries(monthly: pd.Series) -> dict[str, float]:
    """Years from the trough of each collapse until half of the log fall was made up."""
    log = np.log(monthly)
    fall = log - log.shift(6)
    deep = fall[fall < FALL]
    found: dict[str, float] = {}
    last = None
    for date in deep.index:
        if last is None or (date - last).days > APART * 365.25:
            before = log[:date].iloc[-13:].max()
            gap = (log[date - pd.DateOffset(months=6) :] - before).to_numpy()
            found[str(date.year)] = est.half_recovery(gap, within=TROUGH) / 12
        last = date
    return found


def oil_fits(data: Data) -> tuple[list[Fit], list[str]]:
    daily = oil(data)
    monthly = daily.resample("MS").mean()
    ends = np.log(daily.resample("ME").last())
    years = len(monthly) / 12
    back = recoveries(monthly)
    rate = len(back) / years
    low, high = est.poisson_interval(len(back), years)
    level = np.log(monthly)
    gap = level["2016-02":"2019-12"] - level["2014-01":"2014-06"].mean()
    slope = np.polyfit(np.arange(len(gap)) / 12, np.log(-gap.to_numpy()), 1)[0]
    fading = -np.log(2) / slope
    ou = est.fit_ou(ends.to_numpy(), 1 / 12)
    wars = [
        Fit(
            "rental.war_half_life", "year", float(np.median(list(back.values()))), min(back.values()),
            float(fading), "quickest recovery to the slow one after 2016",
            f"WTI {daily.index[0].year} to {daily.index[-1].year}, {len(back)} collapses by half a log within six months: "
            + ", ".join(f"{k} {v:.1f} y" for k, v in back.items()),
            "median time from trough to half of the log fall regained; after 2014-16 the gap to early 2014 faded "
            f"with a half-life of {fading:.1f} y (log gap on time, February 2016 to 2019)",
            "oil is storable and its sellers have a cartel, compute is neither; 2 lies between the quick "
            "recoveries of 1986, 2008 and 2020 and the slow fading after 2014, when the new supply stayed; 1991 ends a spike",
            digits=2,
        ),
        Fit(
            "rental.war_rate_glut, oil", "1/year", rate, low, high, "exact Poisson interval",
            f"the same {len(back)} collapses in {years:.0f} years", "collapses a year, in scarcity and glut alike",
            "the mean of war_rate and war_rate_glut should come near it",
            value=shipped("rental.war_rate_glut"),
        ),
    ]  # fmt: skip
    peak, trough = daily["2014-06":"2014-07"].max(), daily["2015-06":"2016-06"].min()
    first, last = (
        pd.Timestamp(str(x))
        for x in (daily["2014-06":"2014-07"].idxmax(), daily["2015-06":"2016-06"].idxmin())
    )
    return (
        wars,
        [
            f"Oil 2014-16: {peak:.2f} to {trough:.2f} USD/bbl, ratio {trough / peak:.3f}, "
            f"{(last - first).days / 30.44:.0f} months; volatility of daily changes "
            f"{np.log(daily['2014-06':'2016-06']).diff().std() * np.sqrt(252):.2f} "
            f"against {np.log(daily['2009':'2013']).diff().std() * np.sqrt(252):.2f} in 2009-13",
            f"Oil, month ends, Ornstein-Uhlenbeck over {years:.0f} years: volatility {ou.sigma:.2f}, reversion "
            f"{ou.kappa_ml:.2f} a year, less bias {ou.kappa:.2f} (s.e. {ou.error:.2f}): half-life {ou.half_life:.1f} years",
        ],
    )


def equity(data: Data) -> tuple[list[Fit], list[str]]:
    close = data.read("nasdaq_close_daily_1999_2018.csv", parse_dates=["Date"], index_col="Date")[
        "Close"
    ]
    change = np.log(close).diff().dropna()
    years = {y: float(g.std() * np.sqrt(252)) for y, g in change.groupby(change.index.year)}
    calm, wild = (float(x) for x in np.quantile(list(years.values()), [0.1, 0.9]))
    bubble = close["1999":"2006"]
    peak = pd.Timestamp(str(bubble.idxmax()))
    after = bubble[peak:]
    trough = pd.Timestamp(str(after.idxmin()))
    fall = after.resample("YE").last() / bubble.max()
    all_time = float(change.std() * np.sqrt(252))
    mood = Fit(
        "funding.mood_volatility", "1/year^0.5", all_time, calm, wild, "a tenth to nine tenths of calendar years",
        f"NASDAQ, {len(close)} days, 1999 to 2018",
        f"standard deviation of daily log changes; {np.sqrt(change['1999':'2003'].var() * 252):.2f} in 1999-2003",
        "earnings and rates move AI equity besides its mood, so a little less than the whole is taken",
    )  # fmt: skip
    return [mood], [
        f"NASDAQ: peak {bubble.max():,.0f} on {peak.date()}, trough {after.min():,.0f} on {trough.date()}, ratio "
        f"{after.min() / bubble.max():.3f}, {(trough - peak).days / 30.44:.0f} months; year ends over the peak: "
        + ", ".join(f"{d.year} {x:.2f}" for d, x in fall.items())
    ]


def analogues(data: Data) -> tuple[list[Fit], list[str]]:
    """Default rates and prices of the telecom and shale busts."""
    table = data.read("bust_analogue_anchors.csv").set_index("quantity")["value"].astype(float)
    lease = table["US-UK STM-1 lease price 1999 -> 2001"]
    peaks = table[["Fitch E&P TTM HY default rate"]].to_numpy().ravel() / 100
    energy = float(table[["Fitch energy TTM HY default rate"]].max()) / 100
    # the hazard of a B borrower of the neocloud sector at the bound of stress, against the worst year of shale
    bound = shipped("private_credit.hazard_bounds[1]")
    hazard = b_hazard(data)
    need = float(np.log(-np.log1p(-peaks.max()) / hazard))
    low = float(np.log(-np.log1p(-energy) / hazard))
    fit = Fit(
        "private_credit.hazard_bounds[1]", "log", need, low, 3.0,
        "all energy at its peak, to a guard at twenty times",
        f"shale producers, trailing-year default rate {100 * peaks.min():.0f} to {100 * peaks.max():.0f} % in mid 2016, all "
        f"energy {100 * energy:.0f} %",
        f"log of the hazard at the peak over that of an average B name ({hazard:.4f})",
        f"the bound lets a B hazard reach {hazard * np.exp(bound):.0%} a year, beyond shale's worst year: room for a bust "
        "that hits one sector harder than shale, and a guard only",
        digits=2,
    )  # fmt: skip
    return [fit], [
        f"Telecom: lease price of a US-UK circuit {lease:.2f} of its 1999 level in 2001, "
        f"{-np.log(lease) / 2:.2f} a year in logs; defaults of {table['telecom bankruptcies 2001']:.0f} companies in 2001 "
        f"after {table['telecom bankruptcies 2000']:.0f} in 2000; high-yield debt at a discount of "
        f"{table['HY telecom debt price discount to face']:.0f} %",
        "Shale recoveries 2015 against before: firm-wide "
        f"{table['firm-wide recovery, 15 E&P bankruptcies of 2015']:.0f} and "
        f"{table['firm-wide recovery, E&P before 2015']:.0f} %, reserve-based loans "
        f"{table['reserve-based loan recovery 2015']:.0f} and {table['reserve-based loan recovery before']:.0f} %, bonds "
        f"{table['high-yield bond recovery 2015']:.0f} and {table['high-yield E&P bond recovery before']:.0f} %",
    ]


def fit(data: Data) -> Section:
    fits, notes = [], []
    for part in (oil_fits, equity, analogues):
        found, said = part(data)
        fits += found
        notes += said
    return Section("busts", "Earlier busts: oil, telecom, NASDAQ, shale", fits, notes)
