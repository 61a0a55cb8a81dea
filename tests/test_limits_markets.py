"""Revenue, rental and funding by themselves: without stress each is its textbook process.

What a system reads is prescribed; the rest is NumPy in float64. Sampled means and variances are held to four
standard errors: a right engine fails a check of a fresh seed with probability 6.3e-5, and one of the some 100
checks here in 160 runs. The seeds are fixed, so what passes keeps passing.

References: Uhlenbeck and Ornstein (1930) and Vasicek (1977) for mean reversion, Norris (1997) for Markov chains.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import linalg

from overbuilt.engine.economy.funding import Funding
from overbuilt.engine.economy.rental import Rental
from overbuilt.engine.economy.revenue import Revenue
from overbuilt.engine.economy.shocks import Shocks
from overbuilt.engine.system import DT

from .prescribed import STANDARD_ERRORS, Array, history, hold, prescribed, reverting

PATHS = 40_000
MONTHS = np.arange(1, 61)
CALM = prescribed("stress", rental=0.0, rate=0.0, spread=0.0, window=0.0)
ROWS: list[dict[str, Any]] = Rental().values()["generation"]
GENERATIONS = [r["name"] for r in ROWS]


# ---- revenue
def revenue(paths: int = 1, months: int = 60, **values: Any) -> dict[str, Array]:
    stress = prescribed("stress", renewals=1.0)
    systems = [stress, Shocks(), Revenue(**values), prescribed("compute", below=True, served=1.0)]
    names = ("headline", "full", "promo", "rate", "regime", "slope")
    found = history(systems, [f"revenue.{n}" for n in names], paths=paths, months=months)
    return {k.partition(".")[2]: v for k, v in found.items()}


STAY = [[0.0] * 3] * 3


@pytest.mark.parametrize("regime", [0, 1, 2])
def test_sales_without_noise_follow_the_law_of_their_regime(regime: int) -> None:
    """Towards a ceiling far off: nine-fold in two years. Linear: 60 (1 - 1/9)/2 more a year, of cash over 0.7.
    Stall: a tenth less a year."""
    start = [float(k == regime) for k in range(3)]
    found = revenue(volatility=0.0, ceiling=1e15, start=start, generator=STAY)["headline"][:, 0]
    first = 60.0 * (math.log(9.0) / 2.0) / (1.0 - 1.0 / 3.0) / 0.70
    law = (
        first * 9.0 ** (MONTHS / 24.0),
        first + 60.0 * (1.0 - 1.0 / 9.0) / 2.0 / 0.70 * MONTHS * DT,
        first * np.exp(-0.1 * MONTHS * DT),
    )[regime]
    assert found == pytest.approx(law, rel=1e-9)


def test_sales_never_fall_below_nothing() -> None:
    """Slopes that were negative when they froze, and falls below what is promised for months: twenty years, any path."""
    chain = [[-1.0, 1.0, 0.0], [0.3, -0.6, 0.3], [0.3, 0.3, -0.6]]
    found = revenue(500, 240, volatility=0.6, ceiling=150.0, generator=chain, start=[1.0, 0.0, 0.0])
    assert (found["slope"][found["regime"] == 1] < -20.0).any()
    assert found["headline"].min() > 0.0
    assert found["rate"].min() > 0.0
    assert found["full"].min() >= 0.0
    assert (found["full"] == 0.0).any()


# ---- rental
def rentals(paths: int = 1, months: int = 60, tight: Any = 1.5, **values: Any) -> dict[str, Array]:
    names = [f"log_{g}" for g in GENERATIONS] + ["war", "wars", "newest_index", "log_per_kw"]
    compute = prescribed(
        "compute", tightness=tight, tight0=1.5, delivery=10.0, installed=100.0, utilisation=0.9
    )
    systems = [CALM, Shocks(), compute, Rental(**values), prescribed("gpu_loans", none=0.0)]
    found = history(systems, [f"rental.{n}" for n in names], paths=paths, months=months)
    return {k.partition(".")[2]: v for k, v in found.items()}


QUIET: dict[str, Any] = {
    "war_rate": 0.0,
    "war_rate_glut": 0.0,
    "scarcity_lift": 0.0,
    "obsolescence": 0.0,
}


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
    compute = prescribed(
        "compute", tightness=tight, tight0=tight, delivery=1.0, installed=9.0, utilisation=1.0
    )
    model = Rental(
        generation=rows, **(QUIET | {"obsolescence": omega, "shelter": phi, "reversion": 50.0})
    )
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
def funding(
    paths: int = PATHS, months: int = 60, loss: Any = 0.0, rate: Any = 1.0, **values: Any
) -> dict[str, Array]:
    names = (
        "rate",
        "log_spread",
        "window",
        "log_equity",
        "drawdown",
        "shut_run",
        "loss_rate",
        "mood",
    )
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
    found = funding(strain=[0.0, 0.0, 0.0])["window"]
    law, chain = np.array([1.0, 0.0, 0.0]), monthly_moves(GENERATOR)
    for month in range(60):
        law = law @ chain
        share = np.array([(found[month] == k).mean() for k in range(3)])
        if month in (0, 11, 59):
            error = np.sqrt(law * (1 - law) / PATHS)
            assert np.all(np.abs(share - law) <= STANDARD_ERRORS * error + 1e-12)
    exact = stationary(linalg.expm(GENERATOR * DT))
    assert law == pytest.approx(stationary(chain), abs=1e-3)
    assert np.abs(stationary(chain) - exact).max() < 0.01


@pytest.mark.parametrize("strain", [0.0, 2.0])
def test_strain_moves_the_window(strain: float) -> None:
    """Eight times a loss rate v/8: rates to the worse times e^v, tight to open e^-v, shut to tight e^-v/2."""
    loss = 1000.0 * strain / 8.0 * DT * MONTHS
    found = funding(loss=loss, strain=[0.0, 0.0, 8.0], strain_bounds=[-3.0, 2.0])
    assert found["loss_rate"][-1] == pytest.approx(strain / 8.0, rel=1e-6)
    late = found["window"][35:]
    worse = math.exp(strain)
    rates = GENERATOR * [[1.0, worse, 1.0], [1.0 / worse, 1.0, worse], [1.0, worse**-0.5, 1.0]]
    np.fill_diagonal(rates, 0.0)
    chain = monthly_moves(rates - np.diag(rates.sum(axis=1)))
    for a in range(3):
        was = late[:-1] == a
        for b in range(3):
            p, n = chain[a, b], was.sum()
            error = math.sqrt(p * (1 - p) / n)
            assert abs((late[1:][was] == b).mean() - p) <= STANDARD_ERRORS * error + 1e-12


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
    stress = prescribed(
        "stress", rental=0.0, rate=[0.0] * 12 + [0.02], spread=[0.0] * 12 + [0.7], window=0.0
    )
    quiet = dict.fromkeys(
        ("mood_volatility", "rate_volatility", "spread_volatility", "jump_rate", "cut_odds"), 0.0
    )
    names = ["funding.log_equity", "funding.drawdown"]
    flat = Funding(
        **quiet, rate_mean=0.0388, spread_mean=0.032, earnings_base=0.0, earnings_start=0.0
    )
    systems = [stress, Shocks(), prescribed("revenue", rate=1.0, rate0=1.0), prescribed("private_credit", lent=1.0),
               prescribed("holders", loss=0.0), flat]  # fmt: skip
    found = history(systems, names, months=24)
    fall = 6.0 * 0.02 + 0.25 * 0.7
    assert found[names[0]][:12] == pytest.approx(0.0, abs=1e-12)
    assert found[names[0]][12:] == pytest.approx(-fall, abs=1e-12)
    assert found[names[1]][12:] == pytest.approx(-math.expm1(-fall), abs=1e-12)
