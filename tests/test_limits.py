"""Each system of the economy by itself: without stress it is its textbook process, and by hand it is its rule.

What a system reads is prescribed; the rest is NumPy in float64. Sampled means and variances are held to four
standard errors: a right engine fails a check of a fresh seed with probability 6.3e-5, and one of the some 140
checks here in a hundred runs. The seeds are fixed, so what passes keeps passing.

References: Uhlenbeck and Ornstein (1930) and Vasicek (1977) for mean reversion, Norris (1997) for Markov chains,
quadrature by SciPy for values. They share no code with the engine.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import integrate, linalg

from overbuilt.engine.economy.cycle import Cycle
from overbuilt.engine.economy.fleet import Fleet
from overbuilt.engine.economy.funding import Funding
from overbuilt.engine.economy.holders import Holders
from overbuilt.engine.economy.macro import Macro
from overbuilt.engine.economy.rental import Rental
from overbuilt.engine.economy.shocks import Shocks
from overbuilt.engine.system import DT

from .prescribed import Array, history, prescribed

PATHS = 40_000
STANDARD_ERRORS = 4.0
MONTHS = np.arange(1, 61)
CALM = prescribed("stress", rental=0.0, rate=0.0, spread=0.0, window=0.0)
ROWS: list[dict[str, Any]] = Rental().values()["generation"]
GENERATIONS = [r["name"] for r in ROWS]


def hold(values: Array, mean: Any, variance: Any) -> None:
    """Mean and variance over paths (the last axis), by month, at four standard errors.

    Standard error of a variance: Kendall and Stuart (1977), chapter 10.
    """
    n = values.shape[-1]
    off = values - values.mean(axis=-1, keepdims=True)
    found, fourth = (off**2).mean(axis=-1), (off**4).mean(axis=-1)
    assert np.all(np.abs(values.mean(axis=-1) - mean) <= STANDARD_ERRORS * np.sqrt(found / n) + 1e-12)
    error = np.sqrt(np.maximum(fourth - found**2, 0.0) / n)
    assert np.all(np.abs(found - variance) <= STANDARD_ERRORS * error + 1e-12)


def reverting(kappa: float, volatility: float, years: Any) -> Any:
    """Variance of an Ornstein-Uhlenbeck process that began at its home."""
    return volatility**2 * -np.expm1(-2.0 * kappa * years) / (2.0 * kappa)


# ---- rental
def rentals(paths: int = 1, months: int = 60, tight: Any = 1.5, **values: Any) -> dict[str, Array]:
    names = [f"log_{g}" for g in GENERATIONS] + ["war", "wars", "newest_index", "log_per_kw"]
    compute = prescribed(
        "compute", tightness=tight, tight0=1.5, delivery=10.0, installed=100.0, utilisation=0.9
    )
    systems = [CALM, Shocks(), compute, Rental(**values), prescribed("gpu_loans", none=0.0)]
    found = history(systems, [f"rental.{n}" for n in names], paths=paths, months=months)
    return {k.partition(".")[2]: v for k, v in found.items()}


QUIET: dict[str, Any] = {"war_rate": 0.0, "war_rate_glut": 0.0, "scarcity_lift": 0.0, "obsolescence": 0.0}


def still(**changes: Any) -> list[dict[str, Any]]:
    return [r | {"volatility": 0.0} | changes for r in ROWS]


def test_rentals_stay_where_nothing_moves_them() -> None:
    """Without noise, wars, scarcity and obsolescence a rental is what it was, however tight compute is."""
    tight = 0.2 + np.abs(np.sin(MONTHS)) * 5.0
    found = rentals(8, tight=tight, generation=still(), **QUIET)
    for row in ROWS:
        assert found[f"log_{row['name']}"] == pytest.approx(math.log(row["price"]), abs=1e-12)


def test_rentals_follow_scarcity_by_its_elasticity() -> None:
    """ln P settles at ln P0 + theta ln(T/T0), and goes there at rate kappa."""
    theta, kappa = 0.8, 1.5
    found = rentals(tight=3.0, generation=still(), **(QUIET | {"scarcity_lift": theta}))
    want = math.log(2.1) + theta * math.log(2.0) * -np.expm1(-kappa * MONTHS * DT)
    assert found["log_hopper"][:, 0] == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize(("tight", "shelter"), [(0.5, 0.0), (1.125, 0.5), (9.0, 1.0)])
def test_newer_chips_press_old_prices_unless_compute_is_short(tight: float, shelter: float) -> None:
    """A lead that grows by ln 2 at once costs old chips omega ln 2 (1 - phi s): s 0, a half, 1."""
    rows = [ROWS[0] | {"volatility": 0.0, "installed": 1.0},
            ROWS[1] | {"volatility": 0.0, "installed": 0.0, "efficiency": math.log(2.0), "release": 1.0, "delay": 0.0}]  # fmt: skip
    names, phi, omega = ["hopper", "blackwell"], 0.85, 0.9
    compute = prescribed("compute", tightness=tight, tight0=tight, delivery=1.0, installed=9.0, utilisation=1.0)
    model = Rental(generation=rows, **(QUIET | {"obsolescence": omega, "shelter": phi, "reversion": 50.0}))
    systems = [CALM, Shocks(), compute, model, prescribed("gpu_loans", none=0.0)]
    found = history(systems, [f"rental.log_{n}" for n in names])
    want = math.log(2.1) - omega * math.log(2.0) * (1.0 - phi * shelter)
    assert found["rental.log_hopper"][-1] == pytest.approx(want, abs=1e-9)
    assert found["rental.log_blackwell"] == pytest.approx(math.log(4.7), abs=1e-9)


def test_log_rental_is_an_ornstein_uhlenbeck_process() -> None:
    """Mean, variance and common part, at months 1, 6, 24 and 60."""
    found, at = rentals(PATHS, **QUIET), [0, 5, 23, 59]
    years = MONTHS[at] * DT
    moved = {}
    for row in ROWS[:2]:
        x = found[f"log_{row['name']}"][at] - math.log(row["price"])
        hold(x, 0.0, reverting(1.5, row["volatility"], years))
        moved[row["name"]] = x / np.sqrt(reverting(1.5, row["volatility"], years))[:, None]
    product = moved["hopper"] * moved["blackwell"]
    error = product.std(axis=1) / math.sqrt(PATHS)
    assert np.all(np.abs(product.mean(axis=1) - 0.6) < STANDARD_ERRORS * error)


@pytest.mark.parametrize(("tight", "rate"), [(1.5, 0.04), (0.8, 0.19)])
def test_price_wars_come_at_their_rate_and_fade(tight: float, rate: float) -> None:
    """Months with a war are independent, of odds 1 - e^-rate/12; a cut halves in two years."""
    found = rentals(PATHS, tight=tight)
    odds = -math.expm1(-rate * DT)
    at = [11, 59]
    hold(found["wars"][at], odds * MONTHS[at], odds * (1 - odds) * MONTHS[at])
    keep = 0.5 ** (DT / 2.0)
    total, squares = ((1 - keep ** (k * MONTHS[at])) / (1 - keep**k) for k in (1, 2))
    cut, second = -0.5, 0.5**2 + 0.25**2
    hold(found["war"][at], odds * cut * total, (odds * second - (odds * cut) ** 2) * squares)


def test_releases_come_after_a_delay_and_in_order() -> None:
    """Rubin is out after its earliest month and an exponential delay; no successor before it."""
    found = rentals(PATHS)
    out = found["newest_index"] >= 2.0
    p = -np.expm1(-np.maximum(MONTHS - 9.0, 0.0) / 4.0)
    error = np.sqrt(p * (1 - p) / PATHS)
    assert np.all(np.abs(out.mean(axis=1) - p) <= STANDARD_ERRORS * error)
    assert np.all(np.diff(found["newest_index"], axis=0) >= 0)


# ---- funding
def funding(paths: int = PATHS, months: int = 60, loss: Any = 0.0, rate: Any = 1.0, **values: Any) -> dict[str, Array]:
    names = ("rate", "log_spread", "window", "log_equity", "drawdown", "shut_run", "loss_rate", "mood")
    systems = [
        CALM, Shocks(), prescribed("revenue", rate=rate, rate0=1.0), prescribed("private_credit", lent=1000.0),
        prescribed("holders", loss=loss), Funding(**values),
    ]  # fmt: skip
    found = history(systems, [f"funding.{n}" for n in names], paths=paths, months=months)
    return {k.partition(".")[2]: v for k, v in found.items()}


def test_short_rate_is_vasicek_s() -> None:
    """From 3.88 %, or a quarter point less with even odds, towards 3.25 %."""
    at = [0, 11, 59]
    found = funding()["rate"][at]
    keep = np.exp(-0.25 * MONTHS[at] * DT)
    mean = 0.0325 + (0.0388 - 0.5 * 0.0025 - 0.0325) * keep
    hold(found, mean, reverting(0.25, 0.009, MONTHS[at] * DT) + 0.25 * (0.0025 * keep) ** 2)


@pytest.mark.parametrize("jump_rate", [0.0, 1.0])
def test_log_spread_reverts_and_jumps(jump_rate: float) -> None:
    """An Ornstein-Uhlenbeck process; each month with odds 1 - e^-rate/12 a normal jump, which then decays."""
    at = [0, 11, 59]
    kappa, home, n = math.log(2.0) / 1.667, math.log(0.034 / 0.032), MONTHS[at]
    found = funding(jump_rate=jump_rate)["log_spread"][at]
    odds, keep = -math.expm1(-jump_rate * DT), math.exp(-kappa * DT)
    total, squares = ((1 - keep ** (k * n)) / (1 - keep**k) for k in (1, 2))
    mean = home * -np.expm1(-kappa * n * DT) + odds * 0.45 * total
    jumps = odds * (0.45**2 + 0.15**2) - (odds * 0.45) ** 2
    hold(found, mean, reverting(kappa, 0.36, n * DT) + jumps * squares)


GENERATOR = np.array([[-0.2, 0.2, 0.0], [1.5, -1.7, 0.2], [0.0, 1.5, -1.5]])


def monthly_moves(generator: Array) -> Array:
    """One move a month at most: it comes with 1 - e^-q/12, and goes by the share of the rates."""
    leaving = -np.diag(generator)
    jump = generator / leaving[:, None] + np.eye(3)
    stay = np.exp(-leaving * DT)
    return np.asarray((1.0 - stay)[:, None] * jump + np.diag(stay))


def stationary(matrix: Array) -> Array:
    """The left eigenvector of eigenvalue 1."""
    values, vectors = linalg.eig(matrix.T)
    found = np.real(vectors[:, np.argmin(np.abs(values - 1.0))])
    return np.asarray(found / found.sum())


def test_window_without_strain_is_its_markov_chain() -> None:
    """Its law by month is that of at most one move a month; the generator's own, to a hundredth."""
    found = funding(strain=[0.0, 0.0, 0.0], months=120)["window"]
    law, chain = np.array([1.0, 0.0, 0.0]), monthly_moves(GENERATOR)
    for month in range(120):
        law = law @ chain
        share = np.array([(found[month] == k).mean() for k in range(3)])
        if month in (0, 11, 59, 119):
            assert np.all(np.abs(share - law) <= STANDARD_ERRORS * np.sqrt(law * (1 - law) / PATHS) + 1e-12)
    exact = stationary(linalg.expm(GENERATOR * DT))
    assert law == pytest.approx(stationary(chain), abs=1e-5)
    assert np.abs(law - exact).max() < 0.01


def test_strain_moves_the_window_by_its_weights() -> None:
    """A loss rate of a quarter makes v = 2: rates to the worse times e^2, to the better times e^-2, e^-1."""
    loss = 1000.0 * 0.25 * DT * MONTHS
    found = funding(loss=loss, strain=[0.0, 0.0, 8.0], strain_bounds=[-3.0, 2.0])
    assert found["loss_rate"][-1] == pytest.approx(0.25, rel=1e-6)
    late, worse = found["window"][35:], math.exp(2.0)
    rates = np.array([[0.0, 0.2 * worse, 0.0], [1.5 / worse, 0.0, 0.2 * worse], [0.0, 1.5 / math.sqrt(worse), 0.0]])
    chain = monthly_moves(rates - np.diag(rates.sum(axis=1)))
    for a in range(3):
        was = late[:-1] == a
        for b in range(3):
            p, n = chain[a, b], was.sum()
            assert abs((late[1:][was] == b).mean() - p) <= STANDARD_ERRORS * math.sqrt(p * (1 - p) / n) + 1e-12


def test_equity_grows_with_earnings_alone() -> None:
    """AI revenue growing as before, no mood, rate and spread at their start: earnings at the start's 20 %."""
    steady = np.exp(1.0986 * MONTHS * DT)
    found = funding(
        2, rate=steady, mood_volatility=0.0, rate_volatility=0.0, rate_mean=0.0388, cut_odds=0.0,
        spread_volatility=0.0, spread_mean=0.032, jump_rate=0.0,
    )  # fmt: skip
    assert found["log_equity"][:, 0] == pytest.approx(0.20 * MONTHS * DT, abs=1e-12)
    assert not found["drawdown"].any()


def test_multiple_falls_with_rate_and_spread() -> None:
    """ln PE moves by -6 for a point of rate and -0.25 for one of log spread; the drawdown is from the peak."""
    stress = prescribed("stress", rental=0.0, rate=[0.0] * 12 + [0.02], spread=[0.0] * 12 + [0.7], window=0.0)
    quiet = dict.fromkeys(("mood_volatility", "rate_volatility", "spread_volatility", "jump_rate", "cut_odds"), 0.0)
    names = ["funding.log_equity", "funding.drawdown"]
    flat = Funding(**quiet, rate_mean=0.0388, spread_mean=0.032, earnings_base=0.0, earnings_start=0.0)
    systems = [stress, Shocks(), prescribed("revenue", rate=1.0, rate0=1.0), prescribed("private_credit", lent=1.0),
               prescribed("holders", loss=0.0), flat]  # fmt: skip
    found = history(systems, names, months=24)
    fall = 6.0 * 0.02 + 0.25 * 0.7
    assert found[names[0]][:12] == pytest.approx(0.0, abs=1e-12)
    assert found[names[0]][12:] == pytest.approx(-fall, abs=1e-12)
    assert found[names[1]][12:] == pytest.approx(-math.expm1(-fall), abs=1e-12)


# ---- macro
def macro(paths: int = 1, months: int = 60, **given: Any) -> dict[str, Array]:
    """``given``: revenue, capex, loss, window, log_equity by month; the rest are values of the system."""
    path = {"revenue": 100.0, "capex": 400.0, "loss": 0.0, "window": 0.0, "log_equity": 0.0} | given
    values = {k: path.pop(k) for k in list(path) if k not in ("revenue", "capex", "loss", "window", "log_equity")}
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
def cycle(per_kw: Any, shut: Any = 0.0, losses: Any = 0.0, outside: Any = 0.0, **values: Any) -> dict[str, Array]:
    systems = [
        prescribed("rental", log_per_kw=np.log(per_kw)), prescribed("firms", outside_share=outside),
        prescribed("funding", shut_run=shut, loss_trend=losses), Cycle(learning_spread=0.0, **values),
    ]  # fmt: skip
    found = history(systems, [f"cycle.{n}" for n in ("bust", "bust_month", "phase", "breakeven", "peak")])
    return {k.partition(".")[2]: v[:, 0] for k, v in found.items()}


def test_a_halving_from_the_faded_peak_is_a_bust() -> None:
    """A peak of 2 in month 6 has faded to 2 e^-.2 x 6/12 in month 12; half of that is 0.905."""
    faded = 2.0 * math.exp(-0.2 * 0.5)
    price = np.where(MONTHS < 6, 1.0, np.where(MONTHS < 12, 2.0 * np.exp(-0.2 * (MONTHS - 6) * DT), 0.501 * faded))
    assert not cycle(price)["bust"].any()
    price[11:] = 0.499 * faded
    found = cycle(price)
    assert np.array_equal(found["bust"], MONTHS >= 12)
    assert np.array_equal(found["bust_month"], np.where(MONTHS >= 12, 12.0, 0.0))
    assert np.array_equal(found["phase"], np.where(MONTHS < 12, 0.0, np.where(MONTHS < 36, 2.0, 3.0)))
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
    names = [f"resale_{g}" for g in GENERATIONS] + ["book", "impairment", "impairment_us", "earnings_added"]
    found = history(systems, [f"fleet.{n}" for n in names], months=months)
    return {k.partition(".")[2]: v[:, 0] for k, v in found.items()}


def worth(price: float, tier: float, opex: float, left: float) -> float:
    """What a unit earns over its running cost, discounted at 12 %, while it earns more; by quadrature."""
    a, c = 8766.0 * 0.9 * tier * price, 8766.0 * opex
    stop = min(left, max(math.log(a / c) / 0.20, 0.0))
    flows = integrate.quad(lambda t: (a * math.exp(-0.2 * t) - c) * math.exp(-0.12 * t), 0.0, stop, epsabs=1e-9)
    return float(flows[0])


@pytest.mark.parametrize("level", [1.5, 1.0, 0.6])
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
    found = fleet(price, capex=np.where(MONTHS <= 12, 300.0, 0.0), past_growth=60.0, spend_2025=1e-9)
    chip, tier = Fleet().values()["chip"][1], 1.0
    spent, value = 0.6 * 300.0, {}
    for age in (0.5, 1.5):
        value[age] = spent * worth(0.5 * ROWS[1]["price"], tier, chip["opex"], 7.0 - age) / chip["unit_cost"]
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
