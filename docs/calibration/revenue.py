"""Revenue of the laboratories: run-rates against calendar years, growth, volatility."""

from __future__ import annotations

import numpy as np
import pandas as pd

from . import estimators as est
from .report import Data, Fit, Section, shipped

FACTS = {"OpenAI": 10.0, "Anthropic": 4.5}
"""Calendar 2025, USD bn: fact openai_revenue_2025, and what ships for Anthropic."""
MONTH = 1 / 12


def readings(data: Data) -> pd.DataFrame:
    """All readings, USD bn a year."""
    table = data.read("ai_lab_revenue_run_rate.csv", parse_dates=["date"])
    table["rate"] = table["annualized_revenue_usd"] / 1e9
    return table.sort_values(["company", "date", "rate"])


def run_rates(data: Data) -> dict[str, pd.Series]:
    """Run-rates by company. A reading under an earlier one is a period's average (calendar year, half, quarter).

    OpenAI's first reading, of the end of 2022, is the calendar year's too.
    """
    made = {}
    for company, g in readings(data).groupby("company"):
        best = g.groupby("date")["rate"].max()
        best = best[best >= best.cummax()]
        made[str(company)] = best.iloc[1:] if company == "OpenAI" else best
    return made


def path(rates: pd.Series) -> pd.Series:
    """Daily run-rate, log-linear between readings."""
    log = np.log(rates).resample("D").last()
    filled: pd.Series = np.exp(log.interpolate("time"))
    return filled


def calendar_sum(rates: pd.Series, year: int) -> float:
    """Revenue of a calendar year, run-rate added up by day; the year must lie between readings."""
    daily = path(rates)[str(year)]
    if len(daily) < 365:
        raise ValueError(f"the readings cover {len(daily)} days of {year}")
    return float(daily.mean())


def spread_of_changes(rates: pd.Series) -> est.Diffusion:
    """Diffusion of the log run-rate; readings closer than a month are one."""
    years = (rates.index - rates.index[0]).days.to_numpy() / 365.25
    keep = [0]
    for i in range(1, len(years)):
        if years[i] - years[keep[-1]] >= MONTH:
            keep.append(i)
    return est.fit_diffusion(years[keep], np.log(rates.to_numpy())[keep])


def growth(data: Data) -> tuple[list[Fit], list[str]]:
    rates = run_rates(data)
    pair = [rates["OpenAI"], rates["Anthropic"]]
    two = sum(float(path(r)["2025-12-31"]) for r in pair) / sum(
        float(path(r)["2024-01-01"]) for r in pair
    )
    alone = float(path(pair[0])["2025-12-31"] / path(pair[0])["2024-01-01"])
    ends = readings(data)
    ends = ends[
        (ends["company"] == "OpenAI") & (ends["date"].dt.month == 12) & (ends["date"].dt.day == 31)
    ]
    ratios = {
        d.year: float(g.max() / g.min()) for d, g in ends.groupby("date")["rate"] if len(g) > 1
    }
    sums = {k: calendar_sum(rates[k], 2025) for k in FACTS}
    # how far the same sum missed OpenAI's calendar 2024
    miss = abs(
        float(
            np.log(
                calendar_sum(rates["OpenAI"], 2024)
                / ends.loc[ends["date"].dt.year == 2024, "rate"].min()
            )
        )
    )
    start, multiple = shipped("revenue.revenue_2025"), shipped("revenue.growth_2y")
    linear = 1 + (1 - 1 / multiple) / 4
    g = np.log(multiple) / 2
    fits = [
        Fit(
            "revenue.growth_2y",
            "multiple in two years",
            two,
            min(two, alone),
            max(two, alone),
            "OpenAI alone to both",
            "run-rates of OpenAI and Anthropic together, end of 2023 to end of 2025",
            f"ratio of the sums; {np.log(two) / 2:.2f} a year in logs, the fact's nine-fold {g:.2f}",
            "none: the value is a fact, and this its cross-check",
            because="the fact is of all direct AI revenue, of which the two that grow fastest are a quarter",
            digits=2,
        ),
        Fit(
            "December rate over the year's sum, exponential reading",
            "ratio",
            ratios[2024],
            linear,
            max(ratios.values()),
            "linear reading to the faster year 2023",
            "OpenAI, run-rate and calendar revenue of the same year: "
            + ", ".join(f"{y} {r:.2f}" for y, r in ratios.items()),
            "ratio at the end of 2024; the shipped exponential law has g / (1 - e^-g), a linear one of the "
            f"same growth {linear:.2f}",
            "that the market's ratio is OpenAI's; the linear scenario ships the other reading",
            value=float(g / (1 - np.exp(-g))),
            digits=3,
        ),
    ]
    for name in FACTS:
        key = name.lower()
        fits.append(
            Fit(
                f"revenue.company.{key}.revenue_2025", "USD bn/year", sums[name],
                sums[name] * np.exp(-2 * miss), sums[name] * np.exp(2 * miss),
                f"twice the miss of the same sum for OpenAI's 2024, {miss:.0%}",
                f"{len(rates[name])} run-rates of {name}",
                "calendar 2025 of the run-rate, log-linear between readings",
                "announced run-rates are the best month times twelve, of which less may be collected",
                because="the fact openai_revenue_2025 says 10, less than its own run-rates add up to" if name == "OpenAI" else "",
                digits=2,
            )
        )  # fmt: skip
    return fits, [
        f"Calendar 2025 from run-rates: {', '.join(f'{k} {v:.1f}' for k, v in sums.items())} USD bn of the {start:g} of all",
        f"Run-rate at the end of 2025: {', '.join(f'{k} {r.iloc[-1]:.1f}' for k, r in rates.items())} USD bn a year",
    ]  # fmt: skip


def volatility(data: Data) -> tuple[list[Fit], list[str]]:
    rates = {k: r["2023-10":] for k, r in run_rates(data).items()}
    found = {k: spread_of_changes(r) for k, r in rates.items()}
    quarter = pd.date_range("2024-03-31", "2025-12-31", freq="QE")
    logs = {k: np.log(path(rates[k])[quarter].to_numpy()) for k in FACTS}
    left = np.diff(sum(logs[k] * FACTS[k] for k in FACTS) / sum(FACTS.values()))
    both = float(left.std(ddof=1) * 2)
    low, high = est.volatility_interval(both, len(left) - 1)
    weights = np.array([FACTS[k] for k in FACTS]) / sum(FACTS.values())
    # shares: half of the log ratio of two companies moves each score
    apart = np.diff(logs["Anthropic"] - logs["OpenAI"])
    own = float(apart.std(ddof=1) * 2 / np.sqrt(2))
    own_low, own_high = est.volatility_interval(own, len(apart) - 1)
    return [
        Fit(
            "revenue.volatility", "1/year^0.5", both, low, high, "95 % of chi-square",
            f"OpenAI and Anthropic together, quarters of 2024 and 2025, {len(left)} changes",
            f"standard deviation of quarterly changes of the log run-rate, weighted {weights[0]:.2f} and {weights[1]:.2f}",
            "readings are rounded and interpolated; the market of 60 has more sellers than these two, so it is calmer",
            digits=2,
        ),
        Fit(
            "revenue.company.openai.volatility", "1/year^0.5", own, own_low, own_high, "95 % of chi-square",
            f"log ratio of Anthropic's run-rate to OpenAI's, {len(apart)} quarterly changes",
            "standard deviation a year over the square root of two, as each of two scores moves the ratio",
            "two years of one pair",
            digits=2,
        ),
    ], [
        "Growth and volatility of log run-rates since October 2023: "
        + "; ".join(f"{k} {f.drift:.2f} and {f.sigma:.2f} ({f.changes} changes)" for k, f in found.items())
    ]  # fmt: skip


def shape(data: Data) -> list[str]:
    """Exponential against linear, by the same error law: log readings about either curve, since October 2023."""
    lines = []
    for name, rates in run_rates(data).items():
        rates = rates["2023-10":]
        if len(rates) < 5:
            continue
        t = (rates.index - rates.index[0]).days.to_numpy() / 365.25
        y = np.log(rates.to_numpy())
        straight = y - np.polyval(np.polyfit(t, y, 1), t)
        # the line that fits best in logs, by its intercept and slope on a grid
        start = np.linspace(0.02, 1.5, 149)[:, None, None] * np.exp(y[0])
        rise = np.linspace(0.02, 2.0, 199)[None, :, None] * np.exp(y[-1]) / t[-1]
        bent = ((y - np.log(start + rise * t)) ** 2).sum(axis=2).min()
        lines.append(
            f"{name} {np.sqrt(straight @ straight / (len(t) - 2)):.2f} and {np.sqrt(bent / (len(t) - 2)):.2f}"
        )
    return [f"Residual of log run-rates about an exponential and about a line: {'; '.join(lines)}"]


def fit(data: Data) -> Section:
    grown, first = growth(data)
    moved, second = volatility(data)
    return Section(
        "revenue", "Revenue of the laboratories", [*grown, *moved], [*first, *second, *shape(data)]
    )
