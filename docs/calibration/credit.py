"""Hazards by rating, what private-credit indices say, loss given default, and CoreWeave's CDS."""

from __future__ import annotations

import csv
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import optimize, stats

from overbuilt.engine.locate import CONFIGS

from .report import Data, Fit, Section, shipped

RATINGS = {"BBB": "BBB", "BB": "BB", "B": "B", "CCC": "CCC_C"}
RHO = 0.06  # fact asset_correlation_sp
YEARS = 36  # 1981 to 2016
PREMIUM = (1.2, 2.3, 3.0)
"""Risk-neutral over real intensity, low, middle, high. Middle: Driessen (2005), 2.3 on average; low end: B in Hull,
Predescu and White (2005), where Ba has 2.1 and the ratio falls with the rating; high end: a judgement."""
CDS_YEARS = 5.0
HIGH_YIELD = 0.048  # mean spread 1996-2025, of the note of the fact spread_vol


def buckets() -> pd.DataFrame:
    with (CONFIGS / "book_buckets.csv").open(newline="", encoding="utf-8") as file:
        table = pd.DataFrame(list(csv.DictReader(file)))
    numbers = ["count", "exposure_usd_bn", "pd_1y", "lgd", "rho_residual"]
    return table.astype(dict.fromkeys(numbers, float))


def b_hazard(data: Data) -> float:
    """Hazard of a B name, from the raw one-year rate."""
    moves = data.read("sp_transition_1981_2016.csv").set_index(["years", "from"])["to_D"]
    return -float(np.log1p(-moves.to_dict()[1, "B"] / 100))


def year_to_year(pd_: float, rho: float) -> float:
    """Standard deviation of the yearly default rate of a large pool (Vasicek)."""
    c = float(stats.norm.ppf(pd_))
    both = stats.multivariate_normal.cdf([c, c], mean=[0, 0], cov=[[1, rho], [rho, 1]])
    return float(np.sqrt(max(float(both) - pd_**2, 0.0)))


def hazards(data: Data) -> tuple[list[Fit], list[str]]:
    """Default hazards by rating at one and five years, with and without those whose rating was withdrawn."""
    table = data.read("sp_transition_1981_2016.csv")
    cells = table.set_index(["years", "from"])[["to_D", "to_NR"]].astype(float) / 100
    defaulted, withdrawn = cells["to_D"].to_dict(), cells["to_NR"].to_dict()
    book = buckets()
    fits, lines = [], []
    for name, row in RATINGS.items():
        found = {}
        for years in (1, 5):
            lost, gone = defaulted[years, row], withdrawn[years, row]
            # withdrawn ratings: half the time at risk, or none of it
            for how, at_risk in (("raw", 1.0), ("half", 1 - gone / 2), ("full", 1 - gone)):
                found[years, how] = float(-np.log1p(-lost / at_risk)) / years
        ours = float(book.loc[book["rating"] == name, "pd_1y"].mean())
        error = year_to_year(ours, RHO) / np.sqrt(YEARS)
        fits.append(
            Fit(
                f"pd_1y of {name} in the loan book", "1/year", -float(np.expm1(-found[1, "half"])),
                max(min(-float(np.expm1(-h)) for h in found.values()) - 2 * error, 0.0),
                max(-float(np.expm1(-h)) for h in found.values()) + 2 * error,
                "one and five years, three treatments of withdrawn ratings, and two s.e. of the mean over 36 years",
                f"S&P transitions 1981-2016, {row}",
                "withdrawn names at risk for half the time; hazard a year: "
                + ", ".join(f"{y} y {how} {h:.4f}" for (y, how), h in found.items())
                + f"; s.e. {error:.4f} at asset correlation {RHO:g}",
                "the raw one-year rate ships, as rating agencies print it; hazards are constant over a loan's life"
                + (", while weak names that survive grow safer" if name == "CCC" else ", while names migrate down"),
                value=ours,
            )
        )  # fmt: skip
        lines.append(f"{name} {found[1, 'raw']:.4f} and {found[5, 'raw']:.4f}")
    columns = [c for c in table.columns if c.startswith("to_") and c != "to_NR"]
    first, fifth = table[table["years"] == 1], table[table["years"] == 5]
    matrix = np.vstack([first[columns].to_numpy(), 100 * np.eye(8)[-1]])
    matrix = matrix / matrix.sum(axis=1, keepdims=True)  # withdrawn ratings shared out
    chained = np.linalg.matrix_power(matrix, 5)[:-1, -1]
    seen = (fifth["to_D"] / (100 - fifth["to_NR"])).to_numpy()
    return fits, [
        f"Raw hazards a year, from one and from five years: {'; '.join(lines)}",
        "Five-year default, withdrawn ratings shared out, a Markov chain of the one-year matrix against what was seen: "
        + ", ".join(
            f"{r} {100 * chained[i]:.1f} and {100 * seen[i]:.1f} %"
            for i, r in enumerate(fifth["from"])
            if r in RATINGS.values()
        ),
    ]


def indices(data: Data) -> tuple[list[Fit], list[str]]:
    table = data.read("private_credit_default_indices.csv")
    table = table[table["period"].str[:4] >= "2024"]
    means = table.groupby(table["index"].str.split(",").str[0])["rate_pct"].mean() / 100
    private = {k: float(v) for k, v in means.items() if str(k).startswith(("Proskauer", "Fitch"))}
    book = buckets()
    weighted = float(np.average(book["pd_1y"], weights=book["exposure_usd_bn"]))
    without = book[book["rating"] != "CCC"]
    calm = float(np.average(without["pd_1y"], weights=without["exposure_usd_bn"]))
    low, high = min(private.values()), max(private.values())
    span = float(np.log(high / low))
    name = "exposure-weighted one-year default probability of the loan book"
    return [
        Fit(
            name, "1/year", float(np.exp(np.mean(np.log(list(private.values()))))), low, high, "lowest to highest index",
            "; ".join(f"{k} {100 * v:.1f} %" for k, v in private.items()) + "; means of 2024 and 2025",
            "geometric mean of the private-credit indices",
            f"Proskauer counts payment defaults and covenant breaches of senior loans, Fitch's monitored ratings small weak "
            f"borrowers; the book lies between them; without its CCC names it has {100 * calm:.1f} %",
            value=weighted,
            digits=2,
        ),
        Fit(
            "private_credit.opacity", "log", span / 4, span / 6, span / 2,
            "the distance as six to two standard deviations",
            f"the same indices: the highest is {np.exp(span):.1f} times the lowest",
            "log distance between definitions, read as four standard deviations of true over stated hazard",
            "that definitions differ does not say which is true; more than the middle is taken, as the lender's own "
            "marks are the stated ones",
            digits=2,
        ),
    ], [
        "Index means 2024 and 2025: " + "; ".join(f"{k} {100 * v:.2f} %" for k, v in means.items())
    ]  # fmt: skip


def losses(data: Data) -> tuple[list[Fit], list[str]]:
    """Loss given default: bank loans, producers of the shale bust, and the cyclical range."""
    gcd = data.read("gcd_bank_loan_lgd.csv").set_index("key")
    bust = data.read("bust_analogue_anchors.csv").set_index("quantity")["value"].astype(float)
    years = gcd[gcd["cut"] == "year"]
    mean = float(np.average(years["lgd_pct"], weights=years["defaulted_borrowers"])) / 100
    calm, wild = float(years["lgd_pct"].min()) / 100, float(years["lgd_pct"].max()) / 100
    lgd = (gcd["lgd_pct"].astype(float) / 100).to_dict()
    secured, junior = lgd["secured"], lgd["unsecured_subordinated"]
    worst = years["lgd_pct"].idxmax()
    everyone = 1 - bust["firm-wide recovery, all corporates"] / 100
    shale = 1 - bust["firm-wide recovery, 15 E&P bankruptcies of 2015"] / 100
    book = buckets()
    weighted = float(np.average(book["lgd"], weights=book["exposure_usd_bn"]))
    by_sector = {
        str(k): float(np.average(g["lgd"], weights=g["exposure_usd_bn"]))
        for k, g in book.groupby("sector")
    }
    top = max(by_sector, key=lambda k: by_sector[k])
    hard = {k: v for k, v in by_sector.items() if k in ("data_centre", "power_onsite")}
    b = book[(book["sector"] == "software") & (book["rating"] == "B")].iloc[0]
    shift = (stats.norm.ppf(b["pd_1y"]) - stats.norm.ppf(b["pd_1y"] * b["lgd"])) / np.sqrt(
        1 - b["rho_residual"]
    )

    def frye_jacobs(rate: float) -> float:
        return float(stats.norm.cdf(stats.norm.ppf(rate) - shift) / rate)

    crisis = frye_jacobs(3 * b["pd_1y"]) / b["lgd"]
    return [
        Fit(
            "exposure-weighted LGD of the loan book", "share", (secured + everyone) / 2, secured, everyone,
            "secured bank loans to all claims on a firm",
            f"Global Credit Data, {int(years['defaulted_borrowers'].sum())} defaulted borrowers 2000-16: secured "
            f"{secured:.2f}, all {mean:.2f}, subordinated {junior:.2f}; firm-wide, all corporates 1987-2015 {everyone:.2f}",
            "middle between secured bank loans and firm-wide losses",
            "a unitranche loan takes the place of both the bank's and the junior piece",
            value=weighted, digits=2,
        ),
        Fit(
            f"largest sector LGD, {top}", "share", (everyone + shale) / 2, everyone, shale,
            "all corporates to producers of the shale bust",
            f"firm-wide recoveries, all corporates and 15 shale bankruptcies of 2015 (LGD {shale:.2f})",
            "middle of the two", "no laboratory has defaulted: few assets that another could use", value=by_sector[top],
            digits=2,
        ),
        Fit(
            "LGD of hard collateral, data centres and on-site power", "share", mean, calm, wild,
            "best to worst year", "Global Credit Data, bank loans, years 2000 to 2016", "mean weighted by defaults",
            "a site with a tenant is taken as a secured bank loan", value=float(np.mean(list(hard.values()))), digits=2,
        ),
        Fit(
            "LGD at thrice the default rate over its mean (Frye-Jacobs)", "ratio", wild / mean, 1.0, wild / mean + 0.1,
            "none to the worst year and a tenth", f"the same: worst year {wild:.2f} ({worst}), {lgd['2008']:.2f} in 2008",
            "worst year over mean", "the one-factor law moves LGD less than the worst year did; collateral adds the rest where there is any",
            value=crisis, digits=3,
        ),
    ], [
        "LGD by sector: " + ", ".join(f"{k} {v:.2f}" for k, v in by_sector.items())
    ]  # fmt: skip


def par_spread(hazard: float, lgd: float, rate: float, years: float = CDS_YEARS) -> float:
    """Fair spread of a CDS with quarterly premiums, accrued on default, flat hazard and interest rate."""
    ends = np.arange(1, round(4 * years) + 1) / 4
    total = hazard + rate
    alive = np.exp(-total * ends)
    # default within a quarter: what is paid at its moment, and the premium accrued since the quarter began
    starts = np.exp(-total * (ends - 0.25))
    paid = hazard / total * (starts - alive)
    accrued = hazard * starts * (1 - np.exp(-total * 0.25) * (1 + total * 0.25)) / total**2
    return float(lgd * paid.sum() / (0.25 * alive.sum() + accrued.sum()))


def flat_hazard(spread: float, lgd: float, rate: float, years: float = CDS_YEARS) -> float:
    """The flat hazard that a par spread implies."""

    def gap(h: float) -> float:
        return par_spread(h, lgd, rate, years) - spread

    return float(optimize.brentq(gap, 1e-8, 10.0, xtol=1e-12))


def coreweave(data: Data) -> tuple[list[Fit], list[str]]:
    table = data.read("ai_infra_credit_anchors.csv")
    cds = table.loc[table["instrument"] == "CoreWeave 5y CDS", "value"].to_numpy() / 1e4
    rate = shipped("funding.rate_mean")
    lines = []
    for s in cds:
        words = []
        for lgd in (0.6, 0.4):
            h = flat_hazard(float(s), lgd, rate)
            words.append(
                f"LGD {lgd:g}: triangle {s / lgd:.3f}, flat hazard {h:.3f}, five-year default {1 - np.exp(-CDS_YEARS * h):.2f}"
            )
        lines.append(f"CDS {1e4 * s:.0f} bp, risk-neutral: " + "; ".join(words))
    low, middle, high = (flat_hazard(float(s), 0.6, rate) for s in cds)
    cautious, usual, steep = PREMIUM
    # a high-yield index by itself: mean spread over LGD against the B hazard
    own = HIGH_YIELD / 0.6 / b_hazard(data)
    loans = table[
        table["measure"].isin(["effective rate pct", "coupon pct"]) & (table["date"] >= "2025-06")
    ]
    balance = loans["note"].str.extract(r"([\d.]+)bn")[0].astype(float)
    rates = loans["value"] / 100
    return [
        Fit(
            "firms.firm.coreweave.coupon", "1/year", float(np.average(rates, weights=balance)), float(rates.min()),
            float(rates.max()), "cheapest to dearest",
            f"{len(loans)} loans and notes of 2025, USD {balance.sum():.1f} bn of its debt", "mean weighted by balance",
            "the rest of its debt, vendors and revolver, is taken at the same rate",
        ),
        Fit(
            "firms.firm.coreweave.hazard", "1/year", middle / usual, low / steep, high / cautious,
            "368 bp at the dearest premium to 881 bp at the cheapest",
            "CoreWeave five-year CDS, October to December 2025: " + ", ".join(f"{1e4 * s:.0f}" for s in cds) + " bp",
            f"flat risk-neutral hazard at LGD 0.6 ({middle:.3f} at 643 bp) over a risk premium of {usual:g}; five-year default "
            f"{1 - np.exp(-5 * middle / usual):.0%} in the real world, {1 - np.exp(-5 * middle):.0%} risk-neutral",
            f"the premium is from the literature; mean high-yield spreads over LGD and the hazard of B give {own:.1f}. Arrears and "
            "the barrier of the firms' system add defaults to this intensity, so the run's default rate is higher",
            digits=2,
        )
    ], [
        *lines,
        "CoreWeave loans and notes, effective rates: "
        + ", ".join(f"{i.removeprefix('CoreWeave ')} {v:.0f} %" for i, v in zip(loans["instrument"], loans["value"], strict=True))
        + f"; over a short rate of {100 * shipped('funding.rate_start'):.1f} % and at LGD 0.6 the dearest means a hazard of "
        f"{(loans['value'].max() / 100 - shipped('funding.rate_start')) / 0.6:.2f}",
    ]  # fmt: skip


Part = Callable[[Data], tuple[list[Fit], list[str]]]
PARTS: tuple[Part, ...] = (hazards, indices, losses, coreweave)


def fit(data: Data) -> Section:
    fits, notes = [], []
    for part in PARTS:
        found, said = part(data)
        fits += found
        notes += said
    return Section("credit", "Default, loss given default, CoreWeave", fits, notes)
