"""Macro, cycle, fleet, holders and the loan book by themselves: by hand each is its rule, and its values are quadrature's.

What a system reads is prescribed; the rest is NumPy in float64. Sampled means and variances are held to four
standard errors: a right engine fails a check of a fresh seed with probability 6.3e-5; the seeds are fixed.

References share no code with the engine: quadrature by SciPy; Uhlenbeck and Ornstein (1930) for mean reversion.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import integrate

from overbuilt.engine.economy.cycle import Cycle
from overbuilt.engine.economy.fleet import Fleet
from overbuilt.engine.economy.holders import Holders
from overbuilt.engine.economy.macro import Macro
from overbuilt.engine.economy.private_credit import PrivateCredit
from overbuilt.engine.economy.rental import Rental
from overbuilt.engine.locate import CONFIGS
from overbuilt.engine.system import DT, Economy

from .prescribed import Array, history, hold, prescribed

PATHS = 40_000
MONTHS = np.arange(1, 61)
ROWS: list[dict[str, Any]] = Rental().values()["generation"]
GENERATIONS = [r["name"] for r in ROWS]


# ---- macro
def macro(paths: int = 1, months: int = 60, **given: Any) -> dict[str, Array]:
    """``given``: revenue, capex, loss, window, log_equity by month; the rest are values of the system."""
    path = {"revenue": 100.0, "capex": 400.0, "loss": 0.0, "window": 0.0, "log_equity": 0.0} | given
    values = {
        k: path.pop(k)
        for k in list(path)
        if k not in ("revenue", "capex", "loss", "window", "log_equity")
    }
    systems = [
        prescribed("revenue", rate=path["revenue"], rate0=100.0), prescribed("compute", capex=path["capex"]),
        prescribed("holders", loss=path["loss"]),
        prescribed("funding", window=path["window"], log_equity=path["log_equity"]), Macro(**values),
    ]  # fmt: skip
    names = ("growth", "log_gdp", "other", "productivity", "displacement")
    found = history(systems, [f"macro.{n}" for n in names], paths=paths, months=months)
    return {k.partition(".")[2]: v for k, v in found.items()}


BASE_GROWTH = 0.02 - 0.70 * 0.50 * 0.20 * 400.0 / 30_500.0


def test_growth_without_news_is_what_the_first_half_of_2025_leaves() -> None:
    found = macro(noise=0.0)
    assert found["growth"] == pytest.approx(BASE_GROWTH, abs=1e-15)
    assert found["log_gdp"][:, 0] == pytest.approx(BASE_GROWTH * MONTHS * DT, abs=1e-12)
    assert macro(noise=0.0, split="ex_it")["growth"] == pytest.approx(0.001, abs=1e-15)


def test_building_adds_its_change_net_of_imports() -> None:
    """Over its average of a year, over GDP; a fifth more a year gives back what the reading took out, 2 %."""
    capex = 400.0 * np.exp(0.2 * MONTHS * DT)
    found = macro(noise=0.0, capex=capex)
    average, log_gdp = capex[0], 0.0
    for month, now in enumerate(capex):
        average += (now - average) * DT
        want = BASE_GROWTH + 0.70 * 0.50 * (now - average) / 30_500.0 * math.exp(-log_gdp)
        log_gdp += want * DT
        assert found["growth"][month, 0] == pytest.approx(want, abs=1e-12)
    assert found["growth"][-1] == pytest.approx(0.02, abs=0.001)


def test_other_growth_is_an_ornstein_uhlenbeck_process() -> None:
    at = [0, 11, 59]
    found = macro(PATHS)["other"][at]
    hold(found, 0.0, 0.012**2 * -np.expm1(-2.0 * MONTHS[at] * DT))


def test_a_credit_loss_and_a_window_that_closes_take_growth_away() -> None:
    loss = np.where(MONTHS < 10, 0.0, 20.0)
    window = np.where(MONTHS < 20, 0.0, np.where(MONTHS < 30, 1.0, 2.0))
    found = macro(noise=0.0, loss=loss, window=window)["growth"][:, 0] - BASE_GROWTH
    assert found[:9] == pytest.approx(0.0, abs=1e-15)
    assert found[9] == pytest.approx(-1.5 * 20.0 / 30_500.0 * 12.0, abs=1e-12)
    assert found[10:19] == pytest.approx(0.0, abs=1e-12)
    assert found[19:29] == pytest.approx(-0.004, abs=1e-12)
    assert found[29:] == pytest.approx(-0.02, abs=1e-12)


def test_work_is_displaced_as_revenue_is_learnt() -> None:
    """A step of revenue is learnt at rate 1/2 a year; the share it displaces is one on average over paths."""
    found = macro(PATHS, noise=0.0, revenue=1100.0)
    learnt = 1000.0 * -np.expm1(-0.5 * MONTHS * DT)
    assert found["productivity"][:, 0] == pytest.approx(0.8 * learnt / 30_500.0, rel=1e-12)
    want = 0.35 * learnt / 30_500.0
    hold(found["displacement"], want, want**2 * math.expm1(0.25))


# ---- cycle
def cycle(
    per_kw: Any, shut: Any = 0.0, losses: Any = 0.0, outside: Any = 0.0, **values: Any
) -> dict[str, Array]:
    systems = [
        prescribed("rental", log_per_kw=np.log(per_kw)), prescribed("firms", outside_share=outside),
        prescribed("funding", shut_run=shut, loss_trend=losses), Cycle(learning_spread=0.0, **values),
    ]  # fmt: skip
    found = history(
        systems, [f"cycle.{n}" for n in ("bust", "bust_month", "phase", "breakeven", "peak")]
    )
    return {k.partition(".")[2]: v[:, 0] for k, v in found.items()}


def test_a_halving_from_the_faded_peak_is_a_bust() -> None:
    """A peak of 2 in month 6 has faded to 2 e^-.2 x 6/12 in month 12; half of that is 0.905."""
    faded = 2.0 * math.exp(-0.2 * 0.5)
    price = np.where(
        MONTHS < 6,
        1.0,
        np.where(MONTHS < 12, 2.0 * np.exp(-0.2 * (MONTHS - 6) * DT), 0.501 * faded),
    )
    assert not cycle(price)["bust"].any()
    price[11:] = 0.499 * faded
    found = cycle(price)
    assert np.array_equal(found["bust"], MONTHS >= 12)
    assert np.array_equal(found["bust_month"], np.where(MONTHS >= 12, 12.0, 0.0))
    assert np.array_equal(
        found["phase"], np.where(MONTHS < 12, 0.0, np.where(MONTHS < 36, 2.0, 3.0))
    )
    learnt = np.exp(-0.22 * np.maximum(MONTHS - 12, 0) * DT)
    assert found["breakeven"] == pytest.approx(np.maximum(learnt, 0.35), rel=1e-12)


def test_a_slow_decline_is_no_bust() -> None:
    assert not cycle(np.exp(-0.2 * MONTHS * DT))["bust"].any()
    assert cycle(np.exp(-0.9 * MONTHS * DT))["bust"].any()


def test_a_shut_window_with_losses_is_a_bust_and_neither_alone() -> None:
    shut = np.maximum(MONTHS - 20, 0)
    both = cycle(1.0, shut=shut, losses=0.05)
    assert np.array_equal(both["bust_month"], np.where(MONTHS >= 23, 23.0, 0.0))
    assert not cycle(1.0, shut=shut, losses=0.039)["bust"].any()
    assert not cycle(1.0, shut=2.0, losses=0.5)["bust"].any()


def test_borrowed_building_is_the_late_boom() -> None:
    phase = cycle(1.0, outside=np.where(MONTHS > 10, 0.51, 0.49))["phase"]
    assert np.array_equal(phase, np.where(MONTHS > 10, 1.0, 0.0))


def test_learning_stops_at_the_floor() -> None:
    price = np.where(MONTHS < 2, 1.0, 0.1)
    assert cycle(price, learning=2.0)["breakeven"][-1] == pytest.approx(0.35, rel=1e-12)


# ---- fleet
def fleet(price: Any = 1.0, capex: Any = 0.0, months: int = 60, **values: Any) -> dict[str, Array]:
    """``price``: over the start's, for all generations."""
    quotes = {r["name"]: np.asarray(price) * r["price"] for r in ROWS}
    starts = {f"{r['name']}_start": r["price"] for r in ROWS}
    systems = [
        prescribed("compute", capex=capex, utilisation=0.9, utilisation0=0.9),
        prescribed("rental", newest_index=1.0, newest_index0=1.0, **quotes, **starts), Fleet(**values),
    ]  # fmt: skip
    names = [f"resale_{g}" for g in GENERATIONS] + [
        "book",
        "impairment",
        "impairment_us",
        "earnings_added",
    ]
    found = history(systems, [f"fleet.{n}" for n in names], months=months)
    return {k.partition(".")[2]: v[:, 0] for k, v in found.items()}


def worth(price: float, tier: float, opex: float, left: float) -> float:
    """What a unit earns over its running cost, discounted at 12 %, while it earns more; by quadrature."""
    a, c = 8766.0 * 0.9 * tier * price, 8766.0 * opex
    stop = min(left, max(math.log(a / c) / 0.20, 0.0))
    flows = integrate.quad(
        lambda t: (a * math.exp(-0.2 * t) - c) * math.exp(-0.12 * t), 0.0, stop, epsabs=1e-9
    )
    return float(flows[0])


@pytest.mark.parametrize("level", [1.5, 1.0, 0.6, 0.35])
def test_a_unit_is_worth_what_it_will_earn(level: float) -> None:
    """Resale over its start = value in use over its start, by age and tier."""
    found = fleet(level)
    chips: list[dict[str, Any]] = Fleet().values()["chip"]
    for i, tier in ((0, 0.85), (1, 1.0)):  # one newer generation is out; the newest is first tier
        chip, price = chips[i], ROWS[i]["price"]
        for month in (1, 12, 36):
            age = max(chip["age_start"] + month * DT, 0.0)
            now = max(worth(level * price, tier, chip["opex"], 7.0 - age), 0.03 * chip["unit_cost"])
            start = worth(price, tier, chip["opex"], 7.0 - max(chip["age_start"], 0.0))
            resale = found[f"resale_{chip['name']}"][month - 1]
            assert resale == pytest.approx(chip["resale_start"] * now / start, rel=1e-9)


def test_a_unit_is_worth_its_scrap_when_it_earns_nothing() -> None:
    found = fleet(1e-3)
    chip, price = Fleet().values()["chip"][1], ROWS[1]["price"]
    start = worth(price, 1.0, chip["opex"], 7.0 - max(chip["age_start"], 0.0))
    want = chip["resale_start"] * 0.03 * chip["unit_cost"] / start
    assert found["resale_blackwell"] == pytest.approx(want, rel=1e-9)


PAST = 0.6 * 400.0 * np.exp(-0.70 * np.arange(6))
"""Chips bought in 2025, 2024, ..., USD bn."""


def aged(life: float, age: Any) -> Any:
    return np.clip(age / life, 0.0, 1.0)


def test_net_book_is_a_straight_line() -> None:
    """While chips earn well nothing is written off: book = cost less age over life, bought in mid-year."""
    found = fleet(50.0, capex=300.0)
    for years in range(1, 6):
        old = PAST * (1.0 - aged(6.0, np.arange(6) + 0.5 + years))
        new = 0.6 * 300.0 * (1.0 - aged(6.0, np.arange(years) + 0.5))
        assert found["book"][12 * years - 1] == pytest.approx(old.sum() + new.sum(), rel=1e-12)
    assert not found["impairment"].any()
    assert not found["impairment_us"].any()


def test_the_longer_life_moves_earnings_and_adds_none() -> None:
    """A year's purchases: by either life the whole cost is charged in the end; meanwhile by the difference."""
    capex = np.where(np.arange(1, 181) <= 12, 300.0, 0.0)
    found = fleet(50.0, capex=capex, months=180)["earnings_added"]
    for years in (1, 3, 15):
        old = sum(PAST @ (aged(life, np.arange(6) + 0.5 + years) - aged(life, np.arange(6) + 0.5)) * sign
                  for life, sign in ((4.0, 1.0), (6.0, -1.0)))  # fmt: skip
        age = years - 0.5
        new = 0.6 * 300.0 * (aged(4.0, age) - aged(6.0, age))
        assert found[12 * years - 1] == pytest.approx(old + new, rel=1e-9)


def test_a_write_down_is_to_value_in_use_and_then_depreciates_with_the_rest() -> None:
    """Rentals fall at once and then hold: a second year's test finds book below value, not above it."""
    price = np.where(MONTHS < 7, 50.0, 0.5)
    found = fleet(
        price, capex=np.where(MONTHS <= 12, 300.0, 0.0), past_growth=60.0, spend_2025=1e-9
    )
    chip, tier = Fleet().values()["chip"][1], 1.0
    spent, value = 0.6 * 300.0, {}
    for age in (0.5, 1.5):
        value[age] = (
            spent * worth(0.5 * ROWS[1]["price"], tier, chip["opex"], 7.0 - age) / chip["unit_cost"]
        )
    plain = spent * (1.0 - 0.5 / 6.0)
    assert value[0.5] < plain
    assert found["impairment"][11] == pytest.approx(plain - value[0.5], rel=1e-9)
    carried = value[0.5] * (1.0 - 1.5 / 6.0) / (1.0 - 0.5 / 6.0)
    assert found["book"][11] == pytest.approx(value[0.5], rel=1e-9)
    assert found["book"][23] == pytest.approx(min(carried, value[1.5]), rel=1e-9)


# ---- holders
def test_bank_lines_are_the_integral_of_what_funds_cannot_bear() -> None:
    """Of 32 % of assets E = 800, what losses spread log-normally over funds take beyond 40 % of them."""
    shares = np.array([0.001, 0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.7, 1.0])
    loss = np.zeros(12)
    loss[: len(shares)], loss[len(shares) :] = 800.0 * shares, 800.0
    none = {"loss_banks": 0.0, "loss_other": 0.0}
    systems = [prescribed("firms", debt_loss=0.0), prescribed("gpu_loans", **none),
               prescribed("private_credit", loss=loss, lent=800.0),
               prescribed("structured", abs_loss=0.0, spv_loss=0.0), Holders()]  # fmt: skip
    found = history(systems, ["holders.loss_banks", "holders.loss"], months=12)
    for month, share in enumerate(shares):
        edge = (math.log(0.40 / share) + 0.18) / 0.6

        def beyond(z: float, share: float = share) -> float:
            spread = math.exp(0.6 * z - 0.18 - 0.5 * z * z) / math.sqrt(2.0 * math.pi)
            return share * spread - 0.40 * math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)

        want = 0.32 * 800.0 * integrate.quad(beyond, edge, max(edge, 0.0) + 12.0, epsabs=1e-14)[0]
        assert found["holders.loss_banks"][month, 0] == pytest.approx(want, rel=1e-8, abs=1e-9)
        assert found["holders.loss"][month, 0] == pytest.approx(800.0 * share, rel=1e-12)


# ---- private credit under stress; without it, test_textbook.py
BOOKS = ("book.csv", "book_new.csv")


def credit(
    window: Any = 0.0, paths: int = 1, months: int = 36, **given: Any
) -> tuple[Economy, dict[str, Array]]:
    """The shipped book; given: shortfall, log_spread, displacement, recall by month."""
    path = {"shortfall": 0.0, "log_spread": 0.0, "displacement": 0.0, "recall": 0.0} | given
    systems = [
        prescribed("stress", recall=path["recall"]),
        prescribed("rental", shortfall=path["shortfall"]),
        prescribed("gpu_loans", loss_in_book=0.0),
        PrivateCredit(book=BOOKS[0], new_book=BOOKS[1]),
        prescribed("funding", below=True, log_spread=path["log_spread"], window=window),
        prescribed("macro", below=True, displacement=path["displacement"]),
    ]
    names = [f"private_credit.{n}" for n in ("hazard", "lent", "opacity", "stated", "loss")]
    found = history(systems, names, paths=paths, months=months)
    return Economy(*systems), {k.partition(".")[2]: v for k, v in found.items()}


def test_stress_moves_the_clock_of_hazards_by_the_betas_of_the_book() -> None:
    """A month adds e^(beta y)/12, beta y held within -1.5 and 2.5; a call of 0.3 brings 0.3 x 1.5 years forward."""
    month = np.arange(36)
    y = {
        "shortfall": 0.2 * np.sin(month) + 0.02 * month,
        "log_spread": 0.5 * np.cos(month),
        "window": month % 3.0,
        "displacement": 0.001 * month,
    }
    recall = np.where(month == 20, 0.3, 0.0)
    economy, found = credit(recall=recall, **y)
    beta = [
        economy.columns[f"private_credit.beta_{k}"]
        for k in ("rental", "spread", "window", "displacement")
    ]
    moved = sum(b[:, None] * v for b, v in zip(beta, y.values(), strict=True))
    want = np.cumsum(np.exp(np.clip(moved, -1.5, 2.5)) * DT + 1.5 * recall, axis=1)
    assert found["hazard"][:, :, 0] == pytest.approx(want.T, rel=1e-12)
    assert (moved > 2.5).any()


@pytest.mark.parametrize(("window", "share"), [(0.0, 1.0), (1.0, 0.8), (2.0, 0.35)])
def test_what_is_lent_is_what_the_window_lets_through(window: float, share: float) -> None:
    """Loans to come are made as planned while it is open, four fifths while tight, a third and a bit while shut."""
    old, new = (list(csv.DictReader((CONFIGS / f).read_text().splitlines())) for f in BOOKS)
    now, due = (
        sum(
            float(x["exposure_usd_bn"])
            for x in new
            if (x["loss_computed_by"] == "gpu_loans") is linked
        )
        for linked in (True, False)
    )
    now += sum(float(x["exposure_usd_bn"]) for x in old)
    lent = credit(window)[1]["lent"][-1, 0]
    assert lent == pytest.approx(now + share * due, rel=1e-9)


def test_opacity_is_lognormal_with_mean_one_and_lasts() -> None:
    """True hazards are stated ones times e^(xi/2 - 1/8), one draw a path."""
    found = credit(paths=4000, months=2)[1]["opacity"]
    assert (found == found[0]).all()
    hold(np.log(found[:1]), -0.125, 0.25)


def test_loans_that_are_added_leave_the_others_alone(tmp_path: Path) -> None:
    """``each`` finds a loan's draws by its id, in default and in refinancing: what is added only adds its own losses,
    however its maturities fall between the others'."""
    text = (CONFIGS / "book.csv").read_text().splitlines()
    old = [line for line in text[1:] if line.endswith(",private_credit")][:60]
    added = [
        ",".join((f"NEW{n}", *line.split(",")[1:12], str(2 + 3 * n), "private_credit"))
        for n, line in enumerate(old[:8])
    ]

    def losses(lines: list[str]) -> Array:
        file = tmp_path / "mine.csv"
        file.write_text("\n".join([text[0], *lines]) + "\n")
        systems = [
            prescribed("stress", recall=0.0), prescribed("rental", shortfall=0.2),
            prescribed("gpu_loans", loss_in_book=0.0),
            PrivateCredit(book=str(file), method="each"),
            prescribed("funding", below=True, log_spread=0.3, window=2.0),
            prescribed("macro", below=True, displacement=0.0),
        ]  # fmt: skip
        return history(systems, ["private_credit.loss"], paths=400, months=48)[
            "private_credit.loss"
        ][-1]

    more = losses([*old, *added]) - losses(old)
    most = sum(float(line.split(",")[3]) for line in added)
    assert more.min() > -1e-9
    assert (more > 0.01).mean() > 0.05
    assert more.max() < most
