"""What was built: chips by generation, power, cost of sites, work per watt."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .report import Data, Fit, Section, shipped

GENERATION = {
    "A100": "ampere", "A800": "ampere", "H100": "hopper", "H800": "hopper", "H20": "hopper", "B200": "blackwell",
    "B300": "blackwell",
}  # fmt: skip
AMPERE_KW = (
    0.8  # not in the tables: a chip of 0.4 kW with its share of the site, as Hopper's 1.4 for 0.7
)
# sites whose chips are of one generation, which the table does not say: common knowledge
SITES = {
    "hopper": ["xAI Colossus 1 Memphis Tennessee"],
    "blackwell": [
        "xAI Colossus 2 Memphis Tennessee",
        "OpenAI-Oracle Stargate Abilene Texas",
        "Microsoft Fairwater Fayetteville Georgia",
    ],
}


def chips(data: Data) -> pd.DataFrame:
    table = data.read("epoch_nvidia_chips_quarterly.csv", parse_dates=["start", "end"])
    kw = {g: shipped(f"rental.generation.{g}.power") for g in ("hopper", "blackwell")} | {
        "ampere": AMPERE_KW
    }
    table["generation"] = table["chip"].map(GENERATION)
    table["gw"] = table["units"] * table["generation"].map(kw) / 1e6
    return table


def installed(table: pd.DataFrame) -> pd.DataFrame:
    """GW by generation at the end of each quarter, everything shipped so far."""
    return (
        table.pivot_table(index="end", columns="generation", values="gw", aggfunc="sum")
        .fillna(0)
        .cumsum()
    )


def hopper_share(stock: pd.DataFrame, quarter: int) -> float:
    row = stock.iloc[quarter]
    return float(row["hopper"] / (row["hopper"] + row["blackwell"]))


def stocks(data: Data) -> tuple[list[Fit], list[str]]:
    table = chips(data)
    stock, west = installed(table), installed(table[table["chip"] != "H20"])
    shares = [hopper_share(s, q) for s in (stock, west) for q in (-1, -2)]
    total = stock.sum(axis=1)
    year = [float(np.log(total.iloc[-1 - 4 * k] / total.iloc[-5 - 4 * k])) for k in range(2)]
    mean = float(np.log(total.iloc[-1] / total.iloc[3]) / 3)
    weaver = data.read("epoch_coreweave_cumulative.csv").set_index("end")
    cw = float(np.log(weaver["MW"].iloc[-1] / weaver["MW"].iloc[-5]))
    fits = [
        Fit(
            "rental.generation.hopper.installed", "share", float(np.mean(shares)), min(shares), max(shares),
            "with and without H20, shipped by the end of 2025 or a quarter before",
            f"Nvidia units by quarter, 2022 to 2025: {table['units'].sum() / 1e6:.1f} million",
            "units times kW of the generation table, Hopper over Hopper and Blackwell: "
            f"all shipped {shares[0]:.2f}, a quarter's delay {shares[1]:.2f}, without H20 {shares[2]:.2f} and {shares[3]:.2f}",
            "chips stand a quarter or so before they run, and H20 is in China: both, at the older end, give what ships; "
            "Ampere and other makers' chips have no row",
            digits=2,
        ),
        Fit(
            "compute.past_growth", "1/year", mean, min(*year, cw), max(*year, cw),
            "slowest to fastest of Nvidia's last two years and CoreWeave's last",
            f"the same units in GW at the end of 2022 {total.iloc[3]:.1f}, 2023 {total.iloc[7]:.1f}, 2024 "
            f"{total.iloc[11]:.1f}, 2025 {total.iloc[15]:.1f}; CoreWeave's MW",
            f"log growth a year over three years; last two years {year[1]:.2f} and {year[0]:.2f}; CoreWeave in 2025 {cw:.2f}",
            "it sets only how much five-year-old capacity is replaced, which no table shows",
            because=f"it must reach back five years, to sites that ran other chips and other work: at {mean:.2f} a year the "
            f"{shipped('compute.installed_start'):g} GW would have been {shipped('compute.installed_start') * np.exp(-5 * mean):.1f} at the end of "
            f"2020, at the shipped rate they were {shipped('compute.installed_start') * np.exp(-5 * shipped('compute.past_growth')):.1f}",
            digits=2,
        ),
    ]  # fmt: skip
    return fits, [
        f"Nvidia chips shipped since 2022, world, at these kW: {total.iloc[-1]:.1f} GW at the end of 2025 "
        f"({float(stock['blackwell'].iloc[-1]):.1f} Blackwell), of which the last quarter "
        f"{total.iloc[-1] - total.iloc[-2]:.1f}; shipped for compute.installed_start, US, all makers: "
        f"{shipped('compute.installed_start'):g} GW",
        f"Nvidia's last four quarters: {total.iloc[-1] - total.iloc[-5]:.1f} GW; shipped power cap for the US "
        f"{shipped('compute.power_cap'):g} GW a year",
        f"CoreWeave at the end of 2025: {weaver['h100e'].iloc[-1]:,.0f} H100-equivalents on {weaver['MW'].iloc[-1]:.0f} MW",
    ]


def work(data: Data) -> tuple[list[Fit], list[str]]:
    table = chips(data)
    per_unit = (
        table.groupby("generation")["h100e"].sum() / table.groupby("generation")["units"].sum()
    )
    b200 = table[table["chip"] == "B200"]
    jump = float((b200["h100e"] / b200["units"]).mean())
    kw = {g: shipped(f"rental.generation.{g}.power") for g in ("hopper", "blackwell")}
    per_kw = float(np.log(jump * kw["hopper"] / kw["blackwell"]))
    cost = shipped("fleet.chip.hopper.unit_cost") / shipped("fleet.chip.blackwell.unit_cost")
    per_cost = float(np.log(jump * cost))
    weaver = data.read("epoch_coreweave_cumulative.csv")
    fleet = weaver["h100e"] / weaver["MW"]
    cw = float(np.log(fleet.iloc[-1] / fleet.iloc[-5]))
    fits = [
        Fit(
            "rental.generation.blackwell.efficiency", "log", per_kw, per_cost, float(np.log(jump)),
            "work per cost to work per chip",
            f"H100-equivalents per B200 {jump:.2f}; kW and unit cost of the shipped tables",
            f"log of work per kW over Hopper's; per dollar {per_cost:.2f}, per chip {np.log(jump):.2f}",
            "H100-equivalents count dense arithmetic; that the next two generations bring as much again is an assumption",
            digits=2,
        ),
        Fit(
            "compute.efficiency_growth", "1/year", per_kw / 2, cw, per_kw, "CoreWeave's fleet to a full generation a year",
            f"the same, at two years from Hopper (late 2022) to Blackwell (late 2024); CoreWeave's fleet 2025 {cw:.2f}",
            "log of work per kW of new chips, a year",
            "software adds to what chips bring; nothing in the data measures it",
            digits=2,
        ),
    ]  # fmt: skip
    return fits, [
        "H100-equivalents per unit: " + ", ".join(f"{g} {v:.2f}" for g, v in per_unit.items())
    ]


def sites(data: Data) -> tuple[list[Fit], list[str]]:
    table = data.read("epoch_data_centers.csv")
    table = table[table["mw"] > 0].assign(
        cost=lambda t: 1e3 * t["capex_2025usd_bn"] / t["mw"],
        kw=lambda t: 1e3 * t["mw"] / t["h100e"],
        each=lambda t: 1e9 * t["capex_2025usd_bn"] / t["h100e"],
    )
    low, high = (float(x) for x in table["cost"].quantile([0.1, 0.9]))
    jump = chips(data).query("chip == 'B200'")
    units = {"hopper": 1.0, "blackwell": float((jump["h100e"] / jump["units"]).mean())}
    weaver = data.read("epoch_coreweave_cumulative.csv")
    bare = {
        "hopper": 1e3 * float(weaver["MW"].iloc[0] / weaver["h100e"].iloc[0]),
        "blackwell": 1e3
        * float((weaver["MW"].iloc[-1] - weaver["MW"].iloc[-5]) / (weaver["h100e"].iloc[-1] - weaver["h100e"].iloc[-5]))
        * units["blackwell"],
    }  # fmt: skip
    fits = [
        Fit(
            "compute.site_cost", "USD bn/GW", float(table["cost"].median()), low, high, "a tenth to nine tenths of sites",
            f"{len(table)} sites with power, USD m per MW", "median",
            "site cost at full build; chips dearer than today's are in site_inflation",
        )
    ]  # fmt: skip
    for g, names in SITES.items():
        found = table.loc[table["site"].isin(names), "kw"] * units[g]
        fits.append(
            Fit(
                f"rental.generation.{g}.power", "kW", (bare[g] * float(found.max())) ** 0.5, bare[g], float(found.max()),
                "chip alone to facility",
                f"CoreWeave's MW per chip {bare[g]:.2f}; sites of one generation "
                + ", ".join(f"{x:.2f}" for x in found),
                f"MW over units (H100-equivalents over {units[g]:.2f}); geometric mean of the ends",
                "CoreWeave's MW are the chips' own, a site's MW hold cooling and what is not yet filled; which site runs "
                "which chip is common knowledge, not data",
                digits=2,
            )
        )  # fmt: skip
    share = shipped("compute.replaced_share")
    fits.append(
        Fit(
            "fleet.chip.hopper.unit_cost", "USD", share * float(table["each"].median()),
            share * float(table["each"].quantile(0.1)), share * float(table["each"].quantile(0.9)),
            "a tenth to nine tenths of sites",
            f"capital cost per H100-equivalent of {len(table)} sites, median {table['each'].median():,.0f} USD",
            f"times the share of chips in a site's cost, {share:g}", "the share is a judgement",
        )
    )  # fmt: skip
    return fits, []


def fit(data: Data) -> Section:
    fits, notes = [], []
    for part in (stocks, work, sites):
        found, said = part(data)
        fits += found
        notes += said
    return Section("build_out", "The build-out: chips, power, sites", fits, notes)
