"""GPU rentals: volatility, reversion, what generations share, decline, price wars, obsolescence."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from . import estimators as est
from .report import Data, Fit, Section, shipped

HYPERSCALERS = ("aws", "azure", "gcp", "oci", "oracle cloud")
PRICE = "usd_per_gpu_hour_median"
# one provider under two names, and offers that a source lists without their form
SAME = {
    "lambdalabs": "lambda",
    "runpod.io": "runpod",
    "oblivus cloud": "oblivus",
    "latitude.sh": "latitude",
}
HOPPER = ("H100", "H200")
BLACKWELL = pd.Period("2025Q1")  # its first full quarter on the market
CUT = 0.20  # a list price that falls by more than this within a month is a cut


def load(data: Data) -> pd.DataFrame:
    """Offers with ``key``, the series they belong to, and ``family``, the same offer across sources.

    Rows of source fsdl repeat a price until someone looks again: only the first date of a price is kept.
    """
    offers = data.read("gpu_rental_prices.csv", parse_dates=["date"])
    offers["variant"] = offers["variant"].fillna("")
    parts = ["source", "provider", "gpu", "variant", "market"]
    offers["key"] = offers[parts].agg("|".join, axis=1)
    offers = offers.sort_values(["key", "date"], ignore_index=True)
    repeats = offers.groupby("key")[PRICE].shift() == offers[PRICE]
    offers = offers[~(repeats & (offers["source"] == "fsdl"))].reset_index(drop=True)
    pcie = offers["variant"].str.contains("PCIe")
    # Lambda's one H100 offer of 2023 was PCIe
    pcie |= (
        (offers["source"] == "fsdl") & (offers["provider"] == "lambda") & (offers["gpu"] == "H100")
    )
    # H100 comes in two forms that differ in price; those of A100 differ little and older lists do not say
    form = pcie.map({True: " PCIe", False: " SXM"}).where(offers["gpu"] == "H100", "")
    memory = offers["variant"].str.contains("40 GB").map({True: " 40", False: ""})
    name = offers["provider"].replace(SAME)
    offers["family"] = name + " " + offers["gpu"] + memory + form
    return offers


def panel(offers: pd.DataFrame) -> pd.DataFrame:
    """Log prices, dates x series."""
    prices = offers.pivot_table(index="date", columns="key", values=PRICE)
    return prices.apply(np.log)


def neoclouds(offers: pd.DataFrame, gpu: str) -> pd.DataFrame:
    """The daily list prices of September 2024 to April 2025, hyperscalers left out."""
    own = (offers["source"] == "becloudready") & (offers["market"] == "on_demand")
    return offers[own & (offers["gpu"] == gpu) & ~offers["provider"].isin(HYPERSCALERS)]


def first_h100(offers: pd.DataFrame) -> pd.Timestamp:
    return pd.Timestamp(offers.loc[offers["gpu"] == "H100", "date"].min())


def anchors(data: Data, series: str) -> pd.DataFrame:
    """Published index levels: ``years`` since the first, at the middle of each period, and ``log``."""
    table = data.read("gpu_index_anchors.csv", parse_dates=["from", "to"])
    table = table[table["series"] == series].copy()
    middle = table["from"] + (table["to"] - table["from"]) / 2
    table["years"] = (middle - middle.iloc[0]).dt.days / 365.25
    table["log"] = np.log((table["usd_low"] + table["usd_high"]) / 2)
    return table


def volatility(data: Data, offers: pd.DataFrame) -> tuple[list[Fit], list[str]]:
    weekly = est.chain_index(panel(neoclouds(offers, "H100")), 7).diff().iloc[1:].to_numpy()
    sigma = float(weekly.std(ddof=1) * np.sqrt(365.25 / 7))
    low, high = est.volatility_interval(sigma, len(weekly) - 1)
    published = anchors(data, "SDH100RT neocloud")
    quoted = est.fit_diffusion(published["years"].to_numpy(), published["log"].to_numpy())
    own = panel(neoclouds(offers, "H100")).asfreq("D").ffill(limit=3).iloc[::7].diff()
    single = float(np.sqrt(np.nanmean(own.to_numpy() ** 2) * 365.25 / 7))
    hopper = Fit(
        "rental.generation.hopper.volatility", "1/year^0.5", sigma,
        min(low, quoted.low), max(high, quoted.high),
        "both 95 % intervals together",
        f"chain-linked index of {neoclouds(offers, 'H100')['key'].nunique()} neocloud H100 list prices, "
        f"{len(weekly)} weeks, September 2024 to April 2025; {quoted.changes + 1} published index levels",
        f"weekly changes {sigma:.2f} ({low:.2f} to {high:.2f}); diffusion through the published levels "
        f"{quoted.sigma:.2f} ({quoted.low:.2f} to {quoted.high:.2f})",
        f"list prices are steps: one provider's own price moves {single:.2f} a year, the index far less; the "
        "model prices the index",
    )  # fmt: skip
    month = offers[offers["source"] == "tugot17"]
    index = {
        g: est.chain_index(panel(month[month["gpu"] == g])).diff().iloc[1:].to_numpy()
        for g in ("A100", "H100", "H200", "B200")
    }
    daily = {g: float(x.std(ddof=1) * np.sqrt(365.25)) for g, x in index.items()}
    week = est.chain_index(panel(month[month["gpu"] == "B200"]), 7).diff().iloc[1:].to_numpy()
    slow = float(week.std(ddof=1) * np.sqrt(365.25 / 7))
    blackwell = Fit(
        "rental.generation.blackwell.volatility", "1/year^0.5", (slow * daily["B200"]) ** 0.5, slow, daily["B200"],
        "weekly to daily changes",
        "chain-linked index of five B200 offers, 29 days, October to November 2025",
        "geometric mean of the volatility of weekly changes (four of them) and of daily ones, which hold offers "
        "that came back within days",
        "29 days say little; the value for Rubin and its successor is Blackwell's, by assumption",
    )  # fmt: skip
    return [hopper, blackwell], [
        "Daily volatility of the chain-linked indices, 29 days of autumn 2025: "
        + ", ".join(f"{g} {v:.2f}" for g, v in daily.items())
    ]


def reversion(offers: pd.DataFrame) -> Fit:
    """No series is long enough; what can be fitted is shown with its error."""
    spot = offers[(offers["source"] == "becloudready") & (offers["market"] == "spot")]
    found = {}
    for name, prices in (
        ("index", est.chain_index(panel(neoclouds(offers, "H100")), 7)),
        ("AWS spot", panel(spot[spot["provider"] == "aws"]).asfreq("D").ffill().iloc[::7, 0]),
        ("DataCrunch spot", panel(spot[spot["provider"] == "datacrunch"]).asfreq("D").ffill().iloc[::7, 0]),
    ):  # fmt: skip
        found[name] = est.fit_ou(prices.to_numpy(dtype=np.float64), 7 / 365.25)
    best = found["index"]
    return Fit(
        "rental.reversion", "1/year", max(best.kappa, 0.0), 0.0, max(f.interval[1] for f in found.values()),
        "two standard errors, widest of the three series",
        f"weekly H100 index of neoclouds and two H100 spot prices, {best.years:.2f} years each",
        "Ornstein-Uhlenbeck by maximum likelihood less its bias of 4/T = "
        f"{best.kappa_ml - best.kappa:.1f} a year: "
        + ", ".join(f"{k} {f.kappa_ml:.1f} - bias = {f.kappa:.1f} (s.e. {f.error:.1f})" for k, f in found.items()),
        "half a year of data cannot tell any reversion from none; 1.5, a half-life of five and a half months, is a "
        "judgement: the time in which contracts of a few months reprice",
    )  # fmt: skip


def shared(offers: pd.DataFrame) -> Fit:
    """What generations have in common: mean correlation of A100, Hopper and B200 indices."""
    month = offers[offers["source"] == "tugot17"]
    groups = {"A100": ("A100",), "Hopper": HOPPER, "B200": ("B200",)}

    def mean_correlation(changes: pd.DataFrame) -> float:
        table = changes.corr().to_numpy()
        return float(np.mean([table[i, j] for i, j in combinations(range(len(table)), 2)]))

    def changes(step: int) -> pd.DataFrame:
        made = {
            k: est.chain_index(panel(month[month["gpu"].isin(v)]), step) for k, v in groups.items()
        }
        return pd.DataFrame(made).diff().iloc[1:]

    daily, weekly = changes(1), changes(7)
    rng = np.random.default_rng(0)
    drawn = [
        mean_correlation(daily.iloc[rng.integers(0, len(daily), len(daily))]) for _ in range(1000)
    ]
    low = float(np.nanquantile(drawn, 0.025))
    return Fit(
        "rental.common", "share", mean_correlation(daily), max(low, 0.0), mean_correlation(weekly),
        "bootstrap of days at the low end, weekly changes at the high end",
        f"chain-linked indices of A100, Hopper and B200 offers, {len(daily)} days of autumn 2025",
        f"mean correlation of three pairs, daily {mean_correlation(daily):.2f}, weekly "
        f"{mean_correlation(weekly):.2f} (four weeks)",
        "daily changes are dimmed by offers that come and go, weekly ones are four points; 0.6 lies between",
        digits=2,
    )  # fmt: skip


def matched(offers: pd.DataFrame, gpu: str) -> pd.DataFrame:
    """Quarterly mean log prices of neocloud offers that are seen at least half a year apart."""
    some = offers[
        (offers["gpu"] == gpu)
        & ~offers["provider"].isin(HYPERSCALERS)
        & (offers["market"] != "spot")
    ]
    some = some[some[PRICE] > 0.5]  # two quotes of 2023 far below any price asked since
    log = np.log(some[PRICE])
    quarter = some["date"].dt.to_period("Q").rename("quarter")
    table = log.groupby([some["family"], quarter]).mean().rename("log").reset_index()
    first = table["quarter"].min()
    table["years"] = [(q - first).n / 4 for q in table["quarter"]]
    span = table.groupby("family")["years"].transform(lambda t: t.max() - t.min())
    apart: pd.DataFrame = table[span >= 0.5].reset_index(drop=True)
    return apart


def decline(data: Data, offers: pd.DataFrame) -> tuple[list[Fit], list[str]]:
    table = matched(offers, "H100")
    names, t, y = list(table["family"]), table["years"].to_numpy(), table["log"].to_numpy()

    def slope(rows: np.ndarray) -> float:
        return est.within_slope([names[i] for i in rows], t[rows], y[rows])

    within = -slope(np.arange(len(names)))
    high, low = (-x for x in est.cluster_bootstrap(names, slope))
    published = anchors(data, "SDH100RT neocloud")
    quoted = est.fit_diffusion(published["years"].to_numpy(), published["log"].to_numpy())
    top = max(high, -quoted.drift + 2 * quoted.drift_error)
    aws = anchors(data, "AWS p5 on-demand us-east-1, before/after the cut").iloc[0]
    clouds = anchors(data, "hyperscaler on-demand")
    text = (
        f"{len(set(names))} neocloud H100 offers seen at least half a year apart, 2023 to 2025; "
        f"{len(published)} published index levels, October 2024 to December 2025"
    )
    how = (
        f"slope with a level for each offer {within:.2f}, offers bootstrapped ({low:.2f} to {high:.2f}); drift "
        f"of the index {-quoted.drift:.2f}, s.e. {quoted.drift_error:.2f}"
    )
    lenders = Fit(
        "rental.decline", "1/year", within, max(low, 0.0), top, "bootstrap and two s.e. of the index",
        text, how, "what lenders have priced is not seen; a slow decline is taken, so that what goes beyond it is news",
    )  # fmt: skip
    buyers = Fit(
        "fleet.decline", "1/year", -quoted.drift, max(low, 0.0), top, "as above",
        text, how, "what buyers of used chips expect is not seen; near the fall of the index in 2025",
    )  # fmt: skip
    by_year = published.assign(year=published["from"].dt.year).groupby("year")["log"]
    levels = by_year.agg(["first", "last"])
    notes = [
        "H100 at neoclouds, published index: "
        + "; ".join(f"{y} {np.exp(a):.2f} to {np.exp(b):.2f}" for y, a, b in levels.itertuples()),
        "H100 at hyperscalers: index "
        + ", ".join(f"{np.exp(x):.2f}" for x in clouds["log"])
        + f" (late 2023, early 2024); AWS {aws['usd_high']:.2f} to {aws['usd_low']:.2f} in one step on "
        f"{aws['from'].date()}, {100 * (1 - aws['usd_low'] / aws['usd_high']):.0f} %, flat before it",
        "Quarterly log change by offer: "
        + "; ".join(
            f"{name} {g['log'].iloc[-1] - g['log'].iloc[0]:+.2f} in {g['years'].iloc[-1] - g['years'].iloc[0]:.2g} y"
            for name, g in table.groupby("family")
        ),
    ]
    return [lenders, buyers], notes


def wars(data: Data, offers: pd.DataFrame) -> list[Fit]:
    """Cuts of single list prices, and falls of an index that deserve to be called a war."""
    listed = offers[(offers["source"] == "becloudready") & (offers["market"] == "on_demand")]
    cuts, years = [], 0.0
    for _, g in listed.groupby("key"):
        prices = g.set_index("date")[PRICE].asfreq("D").ffill()
        years += len(prices) / 365.25
        fall = np.log(prices / prices.rolling(30, min_periods=2).max())
        # it must last: the mean of the month that follows lies as low
        lasting = np.log(prices[::-1].rolling(30, min_periods=2).mean()[::-1] / prices) < 0.1
        deep = fall[(fall < np.log(1 - CUT)) & lasting]
        cuts += est.episodes(list(deep.index), list(deep), 0.25)
    aws = anchors(data, "AWS p5 on-demand us-east-1, before/after the cut").iloc[0]
    step = float(np.log(aws["usd_low"] / aws["usd_high"]))
    sizes = np.array([*cuts, step])
    first = first_h100(offers)
    span = float((pd.Timestamp("2025-12-31") - first).days) / 365.25
    low, high = est.poisson_interval(1, span)
    weekly = est.chain_index(panel(neoclouds(offers, "H100")), 7)
    published = anchors(data, "SDH100RT neocloud")
    quarter = 1 - np.exp(float(weekly.diff(13).min()))
    after = published[published["from"] >= aws["from"]]["log"].iloc[0]
    before = published[published["to"] < aws["from"]]["log"].iloc[-1]
    rate = [
        Fit(
            f"rental.{name}", "1/year", 1 / span, low, high, "exact Poisson interval of one event",
            f"H100 on the market since {first.date()}, {span:.1f} years",
            "one price war in that time, AWS's cut of June 2025; the chain-linked neocloud index fell by "
            f"{quarter:.0%} in its worst quarter",
            why,
        )
        for name, why in (
            ("war_rate", "one event; for scarce compute a rate far below it is taken, as that cut closed a gap to the "
             f"neoclouds, whose index was {1 - np.exp(after - before):.0%} lower two months later"),
            ("war_rate_glut", "no glut of compute is in the data; the rate at which oil collapsed is taken, see busts"),
        )
    ]  # fmt: skip
    size = Fit(
        "rental.war_size", "log", step, float(sizes.min()), float(sizes.max()), "all cuts found",
        f"AWS's cut of June 2025 and {len(cuts)} lasting cuts of {CUT:.0%} or more in {years:.1f} provider-years of list prices",
        "log of the price after over before: " + ", ".join(f"{x:.2f}" for x in sorted(sizes)),
        "cuts of single sellers; a war of all sellers has not been seen",
        digits=2,
    )  # fmt: skip
    # two cuts make a standard deviation with a wide interval
    spread = float(sizes.std(ddof=1))
    width = Fit(
        "rental.war_spread", "log", spread, *est.volatility_interval(spread, len(sizes) - 1), "95 % of chi-square",
        f"the same {len(sizes)} cuts", "standard deviation", "four cuts, and of single sellers, as for the size", digits=2,
    )  # fmt: skip
    return [*rate, size, width]


def obsolescence(data: Data, offers: pd.DataFrame) -> tuple[Fit, list[str]]:
    """What A100 and H100 lost while a newer generation took over, per unit of its efficiency lead."""
    lead = shipped("rental.generation.blackwell.efficiency")
    table = matched(offers, "A100")
    losses, names = [], []
    for name, g in table.groupby("family"):
        if g["quarter"].iloc[-1] < BLACKWELL:
            continue
        # an offer from before Hopper lived through two new generations, a later one through Blackwell
        passed = 2 if g["quarter"].iloc[0] <= first_h100(offers).to_period("Q") else 1
        losses.append(float(g["log"].iloc[0] - g["log"].iloc[-1]) / (passed * lead))
        names.append(f"{name} {losses[-1]:.2f}")
    published = anchors(data, "SDH100RT neocloud")["log"]
    hopper = float(published.iloc[0] - published.iloc[-1]) / lead
    values = np.array([*losses, hopper])
    mean = float(values.mean())
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    omega, phi = shipped("rental.obsolescence"), shipped("rental.shelter")
    fit = Fit(
        "rental.obsolescence (1 - rental.shelter / 2), at half scarcity", "1", mean, max(mean - 2 * error, 0.0),
        mean + 2 * error, "two s.e. between offers",
        f"A100 at {len(losses)} neoclouds 2022-23 to autumn 2025, H100 index October 2024 to December 2025",
        f"log price lost over log lead gained ({lead:g} a generation), s.e. {error:.2f}",
        f"omega, phi and scarcity s enter as one product omega (1 - phi s), so {omega:g} and {phi:g} are judgements; "
        f"with them the data mean s = {(1 - mean / omega) / phi:.2f}",
        value=omega * (1 - phi / 2),
        digits=2,
    )  # fmt: skip
    autumn = offers[offers["source"] == "tugot17"]
    middle = {
        g: float(autumn[autumn["gpu"] == g].groupby("family")[PRICE].median().median())
        for g in ("A100", "H100", "B200")
    }
    notes = [
        f"Lost over lead by offer: {'; '.join(names)}; H100 index {hopper:.2f}",
        "Rental ratios by median of offers, autumn 2025: "
        f"A100 to H100 {middle['A100'] / middle['H100']:.2f}, H100 to B200 {middle['H100'] / middle['B200']:.2f}",
    ]
    return fit, notes


def levels(offers: pd.DataFrame) -> list[Fit]:
    autumn = offers[offers["source"] == "tugot17"]
    made = []
    for name, gpu in (("hopper", "H100"), ("blackwell", "B200")):
        prices = autumn[autumn["gpu"] == gpu].groupby("provider")[PRICE].median()
        low, middle, high = (float(x) for x in prices.quantile([0.25, 0.5, 0.75]))
        note = "the fact, which ships, reads the published index beside it"
        if gpu == "B200":
            note = "few providers; the fact, which ships, leaves out one aggregator"
        found = Fit(
            f"rental.generation.{name}.price", "USD/GPU-hour", middle, low, high, "quartiles of providers",
            f"{gpu}, {len(prices)} marketplaces and neoclouds, October to November 2025",
            "median over providers of each one's median", note,
        )  # fmt: skip
        made.append(found)
    return made


def fit(data: Data) -> Section:
    offers = load(data)
    moves, daily = volatility(data, offers)
    falls, trend = decline(data, offers)
    aged, ratios = obsolescence(data, offers)
    fits = [
        *levels(offers),
        *moves,
        reversion(offers),
        shared(offers),
        *falls,
        *wars(data, offers),
        aged,
    ]
    return Section("rental", "Rentals of GPUs", fits, [*daily, *trend, *ratios])
