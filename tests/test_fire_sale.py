"""The fire sale on NumPy arrays: closed-form fixed points, books that balance, and what must never happen.

Closed form, one lender, c the covenant, N units, price P, a = lambda/depth. Sales of n units in all, in however
many rounds, fetch P F(n) with F(n) = (1 - e^-an)/a (exponential) or n - a n^2/2 (linear): the price depends on
n alone. Rounds end where B - P F(n) = c (N - n) P F'(n), at the least n.

Exponential: with x = e^-an and A = aB/P - 1 this is A = x (c a N - 1 + c ln x); with y = ln x + q and
q = a N - 1/c, y e^y = (A/c) e^q, so y = W((A/c) e^q). Sales lower y from q, where a breach means that y e^y is
below what is wanted; y e^y rises as y falls only on the branch W_-1, so that is the one.
Linear: (1/2 - c) a n^2 - (1 - c - c a N) n + B/P - c N = 0, the least positive root.

Two lenders with one covenant, both in breach: their balances and values add up, and the sum obeys the same equation, so
price and total are those of one lender with both books. Without cash, and where nobody accelerates.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import lambertw

from overbuilt.engine.economy.fire_sale import FireSale, fire_sale

COVENANT = 0.85
UNITS, PRICE, DEPTH, IMPACT = 120.0, 2.0, 600.0, 0.25
SLOPE = IMPACT / DEPTH


def units_sold(law: str, balance: float, units: float = UNITS, price: float = PRICE) -> float:
    """n of the closed form."""
    a, c = SLOPE, COVENANT
    if law == "exponential":
        q = a * units - 1.0 / c
        y = lambertw((a * balance / price - 1.0) / c * math.exp(q), -1).real
        return float(-(y - q) / a)
    roots = np.roots([(0.5 - c) * a, -(1.0 - c - c * a * units), balance / price - c * units])
    return float(min(r.real for r in roots if abs(r.imag) < 1e-12 and r.real > 0))


def proceeds(law: str, n: float, price: float = PRICE) -> float:
    area = (1.0 - math.exp(-SLOPE * n)) / SLOPE if law == "exponential" else n - SLOPE * n * n / 2.0
    return price * area


def last_price(law: str, n: float, price: float = PRICE) -> float:
    return price * (math.exp(-SLOPE * n) if law == "exponential" else 1.0 - SLOPE * n)


def sale(balances: Any, units: Any, **more: Any) -> FireSale:
    return fire_sale(
        balances, units, [PRICE], COVENANT, IMPACT, DEPTH, **{"tolerance": 1e-13} | more
    )


# ---- closed forms
@pytest.mark.parametrize("law", ["exponential", "linear"])
@pytest.mark.parametrize("ltv", [0.851, 0.86, 0.87])
def test_one_lender_sells_to_the_fixed_point(law: str, ltv: float) -> None:
    balance = ltv * UNITS * PRICE
    got, n = sale([balance], [[UNITS]], law=law), units_sold(law, balance)
    assert got.sold == pytest.approx([n], rel=1e-9)
    assert got.prices == pytest.approx([last_price(law, n)], rel=1e-9)
    assert got.balances == pytest.approx([balance - proceeds(law, n)], rel=1e-9)
    assert got.balances[0] == pytest.approx(COVENANT * got.units[0, 0] * got.prices[0], rel=1e-9)
    assert got.rounds > 3
    assert got.loss[0] == 0.0


@pytest.mark.parametrize("law", ["exponential", "linear"])
def test_two_lenders_add_up_to_one(law: str) -> None:
    units, balances = np.array([70.0, 50.0]), np.array([0.858, 0.871]) * [140.0, 100.0]
    got, n = sale(balances, units[:, None], law=law), units_sold(law, balances.sum())
    assert got.sold == pytest.approx([n], rel=1e-9)
    assert got.prices == pytest.approx([last_price(law, n)], rel=1e-9)
    assert got.balances.sum() == pytest.approx(balances.sum() - proceeds(law, n), rel=1e-9)
    assert got.balances == pytest.approx(COVENANT * got.units[:, 0] * got.prices[0], rel=1e-9)


@pytest.mark.parametrize("law", ["exponential", "linear"])
def test_a_lender_that_the_price_drags_in(law: str) -> None:
    """The second keeps its covenant at today's price; the first one's sales break it, in a later round.

    In the first round the first lender sells (B - cV)/(1 - c) worth alone; the fixed point is again that of the sum.
    """
    units, balances = np.array([70.0, 50.0]), np.array([0.875 * 140.0, 0.8499 * 100.0])
    got, n = sale(balances, units[:, None], law=law), units_sold(law, balances.sum())
    assert got.breached.tolist() == [True, True]
    assert got.sold == pytest.approx([n], rel=1e-9)
    first = (balances[0] - COVENANT * 140.0) / (1.0 - COVENANT) / PRICE
    assert got.sold_later == pytest.approx(n - first, rel=1e-9)
    alone = sale(balances[1:], units[1:, None], law=law)
    assert alone.rounds == 0
    assert not alone.breached.any()


@pytest.mark.parametrize("law", ["exponential", "linear"])
def test_collapse(law: str) -> None:
    """B = 0.99 V: (B - cV)/(1 - c) = 0.93 V is above half of V, so all is sold, and the rest of B is lost.

    k = 0.25 x 120/600 = 0.05, so V fetches (1 - e^-0.05)/0.05 = 0.9754 of itself, or 0.975 (linear).
    """
    balance = 0.99 * UNITS * PRICE
    got = sale([balance], [[UNITS]], law=law)
    assert got.rounds == 1
    assert got.balances[0] == got.units[0, 0] == got.surplus[0] == 0.0
    assert got.loss == pytest.approx([balance - proceeds(law, UNITS)], rel=1e-12)
    average = 0.975411509985720 if law == "exponential" else 0.975
    assert got.loss == pytest.approx([(0.99 - average) * 240.0], rel=1e-12)
    assert got.sold[0] == UNITS


def test_collapse_after_rounds_of_small_sales() -> None:
    """Where impact is so strong that no fixed point exists, rounds grow until one of them is above half of V.

    A sale of dn lowers the price by a dn and so asks for aB/P/(1 - c) dn more: 2.28 dn, for a = 2/600.
    """
    balance = 0.855 * UNITS * PRICE
    got = fire_sale([balance], [[UNITS]], [PRICE], COVENANT, 2.0, DEPTH)
    a = 2.0 / DEPTH
    assert got.rounds > 2
    assert got.sold == pytest.approx([UNITS])
    assert got.loss == pytest.approx(
        [balance - PRICE * (1.0 - math.exp(-a * UNITS)) / a], rel=1e-12
    )


@pytest.mark.parametrize(
    ("law", "free", "area"),
    [
        # price 0.8 of its start at k = ln 1.25, or 0.2; until then the area under it is 1 - 0.8, or 0.2 - 0.02
        ("exponential", math.log(1.25), 0.2),
        ("linear", 0.2, 0.18),
    ],
)
def test_a_floor_under_the_price(law: str, free: float, area: float) -> None:
    """k = 120/600 * 2 = 0.4: the price falls to the floor of 0.8, and the rest is sold there."""
    got = fire_sale([300.0], [[UNITS]], [PRICE], COVENANT, 2.0, DEPTH, law=law, floor=0.8)
    average = (area + 0.8 * (0.4 - free)) / 0.4
    assert got.prices == pytest.approx([0.8 * PRICE], rel=1e-12)
    assert got.proceeds == pytest.approx([UNITS * PRICE * average], rel=1e-12)
    assert got.loss == pytest.approx([300.0 - UNITS * PRICE * average], rel=1e-12)


# ---- the law, step by step
def test_without_impact_one_round_restores_the_covenant() -> None:
    got = fire_sale([87.0, 60.0], [[100.0], [80.0]], [1.0], 0.85, 0.0, 1.0)
    assert got.rounds == 1
    assert got.sold == pytest.approx([2.0 / 0.15])
    assert got.balances == pytest.approx([87.0 - 2.0 / 0.15, 60.0])
    assert got.prices == pytest.approx([1.0])
    assert got.sold_later == 0.0
    assert got.breached.tolist() == [True, False]


def test_cash_comes_first_and_is_shared() -> None:
    """Both loans are 4 over. The first takes its reserve of 1 and 3 of the borrower's cash; the second finds 2 left
    and sells (4 - 2)/0.15."""
    got = fire_sale(
        [89.0, 89.0], [[100.0], [100.0]], [1.0], 0.85, 0.0, 1.0,
        reserve=[1.0, 0.0], cash=[5.0], borrower=[0, 0],
    )  # fmt: skip
    assert got.cash_paid == pytest.approx([4.0, 2.0])
    assert got.sold == pytest.approx([2.0 / 0.15])
    assert got.balances == pytest.approx([85.0, 89.0 - 2.0 - 2.0 / 0.15])


def test_a_called_loan_sells_all_and_takes_no_cash() -> None:
    """Its reserve of 2 serves; of 100 sold, 38 are owed, and 62 are the borrower's."""
    got = fire_sale([40.0], [[100.0]], [1.0], 0.85, 0.0, 1.0, reserve=2.0, cash=50.0, called=[True])
    assert got.cash_paid == pytest.approx([2.0])
    assert got.proceeds == pytest.approx([100.0])
    assert got.surplus == pytest.approx([62.0])
    assert got.units[0, 0] == got.balances[0] == got.loss[0] == 0.0
    assert got.rounds == 1


def test_a_called_loan_leaves_nothing_open_however_small() -> None:
    """A ten-thousandth of its collateral is no breach to cure, but a debt that default makes due."""
    sale = fire_sale([0.01], [[1.0]], [100.0], 0.9, 0.5, 10.0, called=True, tolerance=1e-3)
    assert sale.balances[0] == 0.0
    assert sale.loss[0] == 0.0
    assert sale.proceeds[0] - sale.surplus[0] == pytest.approx(0.01)
    calm = fire_sale([0.01], [[1.0]], [100.0], 0.9, 0.5, 10.0, tolerance=1e-3)
    assert calm.balances[0] == 0.01


def test_a_called_loan_that_its_reserve_just_covers_sells_nothing() -> None:
    """0.1 + 0.2 is above 0.3 by a rounding error: no reason to sell 100 units."""
    sale = fire_sale([0.1 + 0.2], [[100.0]], [1.0], 0.9, 0.5, 10.0, reserve=[0.3], called=[True])
    assert sale.sold[0] == sale.proceeds[0] == sale.balances[0] == 0.0
    assert sale.units[0, 0] == 100.0
    assert sale.cash_paid[0] == 0.3
    assert sale.loss[0] == 0.1 + 0.2 - 0.3
    assert sale.rounds == 1
    short = fire_sale([0.3], [[100.0]], [1.0], 0.9, 0.5, 10.0, reserve=[0.3 - 1e-9], called=[True])
    assert short.sold[0] == 100.0
    assert short.balances[0] == short.loss[0] == 0.0


def test_generations_are_sold_pro_rata() -> None:
    got = fire_sale([179.0], [[100.0, 50.0]], [1.0, 2.0], 0.85, 0.0, 1.0)
    assert got.sold == pytest.approx(np.array([100.0, 50.0]) * (9.0 / 0.15) / 200.0)


def test_loans_meet_only_in_the_price() -> None:
    """Against different generations they do not meet: each is as alone."""
    units = np.array([[100.0, 0.0], [0.0, 100.0]])
    both = fire_sale([86.0, 85.5], units, [1.0, 1.0], 0.85, 0.1, 500.0)
    for i in (0, 1):
        alone = fire_sale([[86.0, 85.5][i]], units[i : i + 1], [1.0, 1.0], 0.85, 0.1, 500.0)
        assert both.balances[i] == pytest.approx(alone.balances[0], rel=1e-12)
        assert both.units[i] == pytest.approx(alone.units[0], rel=1e-12)


def test_what_the_rounds_leave_is_reported() -> None:
    balance = 0.87 * UNITS * PRICE
    got = sale([balance], [[UNITS]], most_rounds=2)
    assert got.rounds == 2
    left = got.balances[0] - COVENANT * got.units[0, 0] * got.prices[0]
    assert got.residual == pytest.approx(left, rel=1e-9)
    assert got.residual > 0.0
    assert sale([balance], [[UNITS]]).residual == 0.0


def test_paths_are_independent() -> None:
    rng = np.random.default_rng(1)
    units, prices = rng.uniform(0.0, 100.0, (50, 3, 2)), rng.uniform(0.5, 2.0, (50, 2))
    balances = rng.uniform(0.5, 1.1, (50, 3)) * np.einsum("plg,pg->pl", units, prices)
    whole = fire_sale(balances, units, prices, 0.85, [0.2, 0.1], 300.0, cash=1.0)
    assert whole.rounds.shape == (50,)
    for p in range(50):
        alone = fire_sale(balances[p], units[p], prices[p], 0.85, [0.2, 0.1], 300.0, cash=1.0)
        for name in ("balances", "units", "prices", "loss", "rounds", "residual"):
            assert np.array_equal(getattr(whole, name)[p], getattr(alone, name)), name


# ---- properties
@st.composite
def books(draw: Any, most: int = 4) -> dict[str, Any]:
    """Loans, four at most, against two generations, on one path; loan to value from 0.3 to 1.2."""
    n = draw(st.integers(1, most))

    def numbers(low: float, high: float, *shape: int) -> Any:
        return draw(hnp.arrays(np.float64, shape, elements=st.floats(low, high)))

    units, prices = numbers(0.0, 100.0, n, 2) + 0.1, numbers(0.5, 2.0, 2)
    return {
        "balances": numbers(0.3, 1.2, n) * (units @ prices),
        "units": units,
        "prices": prices,
        "covenant": numbers(0.6, 0.95, n),
        "impact": numbers(0.0, 1.0, 2),
        "depth": 100.0,
        "cash": numbers(0.0, 5.0, n),
        "reserve": numbers(0.0, 5.0, n),
        "called": draw(hnp.arrays(np.bool_, n)),
        "law": draw(st.sampled_from(["exponential", "linear"])),
        "floor": draw(st.sampled_from([0.0, 0.3])),
    }


@settings(max_examples=200, deadline=None, derandomize=True)
@given(books())
def test_the_books_balance_and_the_covenant_holds(book: dict[str, Any]) -> None:
    if book["law"] == "linear":
        book["floor"] = 0.3  # its price would else turn negative
    got = fire_sale(**book, tolerance=1e-9, most_rounds=20_000)
    before, after = book["balances"], got.balances
    scale = before.sum() + 1.0
    settled = got.cash_paid + got.proceeds - got.surplus + got.loss
    assert after + settled == pytest.approx(before, abs=1e-12 * scale)
    assert got.units.sum(axis=0) + got.sold == pytest.approx(book["units"].sum(axis=0), rel=1e-12)
    for part in (after, got.units, got.cash_paid, got.proceeds, got.surplus, got.loss):
        assert (part >= 0.0).all()
    assert (got.cash_paid <= book["cash"] + book["reserve"] + 1e-12 * scale).all()
    value = got.units @ got.prices
    assert got.residual == 0.0
    assert (after <= (book["covenant"] + 1e-8) * value + 1e-12 * scale).all()
    assert (after[book["called"]] == 0.0).all()
    # a lender loses only where nothing is left to sell
    assert (got.units[got.loss > 0.0] == 0.0).all()
    assert (got.prices <= book["prices"] * (1.0 + 1e-12)).all()
    assert (got.prices >= book["floor"] * book["prices"] * (1.0 - 1e-12)).all()


def worse(book: dict[str, Any], cut: float, stronger: float) -> tuple[float, float, float]:
    """The loss of the book, with prices cut, and with a stronger impact."""
    book["floor"] = 0.3 if book["law"] == "linear" else book["floor"]
    cases = (
        {},
        {"prices": cut * book["prices"]},
        {"impact": stronger * book["impact"]},
    )
    losses = [
        fire_sale(**book | change, tolerance=1e-9, most_rounds=20_000).loss.sum()
        for change in cases
    ]
    return losses[0], losses[1], losses[2]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(books(most=1), st.floats(0.3, 1.0), st.floats(1.0, 4.0))
def test_a_worse_market_never_loses_one_lender_less(
    book: dict[str, Any], cut: float, stronger: float
) -> None:
    base, cheaper, thinner = worse(book, cut, stronger)
    slack = 1e-7 * (book["balances"].sum() + 1.0)
    assert cheaper >= base - slack
    assert thinner >= base - slack


@settings(max_examples=100, deadline=None, derandomize=True)
@given(books(), st.floats(0.3, 1.0), st.floats(1.0, 4.0))
def test_a_worse_market_never_loses_less_where_all_is_called(
    book: dict[str, Any], cut: float, stronger: float
) -> None:
    book["called"] = True
    base, cheaper, thinner = worse(book, cut, stronger)
    slack = 1e-9 * (book["balances"].sum() + 1.0)
    assert cheaper >= base - slack
    assert thinner >= base - slack


def test_several_lenders_may_lose_less_at_a_lower_price() -> None:
    """No error but the law: who must sell all at once shares the first round's price, who waits sells last.

    Found by hypothesis. At prices 3 % lower the loss is 0.045 in place of 0.062, of 130 lent.
    """
    book: dict[str, Any] = {
        "balances": np.array([45.825, 84.3]), "units": np.array([[0.1, 28.1], [28.1, 28.1]]),
        "covenant": 0.625, "impact": 1.0, "depth": 100.0, "reserve": 0.5,
    }  # fmt: skip
    dear = fire_sale(prices=[2.0, 2.0], **book)
    cheap = fire_sale(prices=[1.9375, 1.9375], **book)
    assert dear.loss.sum() == pytest.approx(0.0621, abs=1e-4)
    assert cheap.loss.sum() == pytest.approx(0.0452, abs=1e-4)
    assert cheap.rounds < dear.rounds
    assert cheap.sold.sum() >= dear.sold.sum()


# ---- bad input
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"balances": [-1.0]}, "balances = -1: should be finite, at least 0"),
        ({"balances": 1.0}, "balances of shape ()"),
        (
            {"prices": [1.0, 2.0]},
            "prices of shape (2,): should be numbers of shape (1,), or one number",
        ),
        ({"units": [[-2.0]]}, "units = -2: should be finite, at least 0"),
        ({"units": [[np.nan]]}, "units = nan: should be finite"),
        ({"prices": [0.0]}, "prices = 0: should be finite, above 0"),
        ({"covenant": 1.0}, "covenant = 1: should be finite, above 0 and below 1"),
        ({"covenant": [0.9, 0.8]}, "covenant of shape (2,): should be numbers of shape (1,)"),
        ({"impact": -0.1}, "impact = -0.1: should be finite, at least 0"),
        ({"depth": 0.0}, "depth = 0: should be finite, above 0"),
        ({"cash": -1.0}, "cash = -1: should be finite, at least 0"),
        ({"borrower": [0, 1]}, "borrower = [0, 1]: should be 1 whole numbers from 0"),
        ({"law": "cubic"}, "law = 'cubic': should be exponential or linear"),
        ({"floor": 1.0}, "floor = 1: should be finite, at least 0 and below 1"),
        ({"most_rounds": 0}, "most_rounds = 0: should be finite, at least 1"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "balances": [1.0], "units": [[1.0]], "prices": [1.0], "covenant": 0.9, "impact": 0.1,
        "depth": 1.0,
    }  # fmt: skip
    fire_sale(**good)
    with pytest.raises(ValueError, match=re.escape(message)):
        fire_sale(**good | change)


def test_every_problem_at_once() -> None:
    with pytest.raises(ValueError, match="covenant") as error:
        fire_sale([-1.0], [[1.0]], [0.0], 2.0, 0.1, 1.0)
    assert [line.split(" ")[0] for line in str(error.value).split("\n")] == [
        "balances", "prices", "covenant",
    ]  # fmt: skip
