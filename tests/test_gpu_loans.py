"""GPU loans in an economy of stand-ins, whose prices, cash and defaults are known or random as a test needs.

The fire sale itself is tested in test_fire_sale.py; here a month of the kernels must be its arithmetic.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import stats

from overbuilt.engine.economy.fire_sale import fire_sale
from overbuilt.engine.economy.fleet import Fleet as RealFleet
from overbuilt.engine.economy.gpu_loans import GpuLoans
from overbuilt.engine.economy.rental import Rental as RealRental
from overbuilt.engine.simulate import plan
from overbuilt.engine.system import DT, Economy, Output, Row, System, rows, setting
from overbuilt.engine.validate import ConfigError

FIRMS = ("coreweave", "xai", "nebius")
START = {"hopper": 18_750.0, "blackwell": 38_380.0, "rubin": 60_000.0, "next": 95_000.0}
LOANS: list[dict[str, Any]] = GpuLoans().values()["loan"]
PLEDGES: list[dict[str, Any]] = GpuLoans().values()["pledge"]
NAMES = [x["name"] for x in LOANS]
MORE = [f"{k}_{f}" for f in FIRMS for k in ("balance", "margin", "principal", "repaid")]
MORE += ["spv_balance_xai", *(k for k, o in GpuLoans().outputs().items() if not o.series)]


def monthly(name: str, **values: Any) -> System:
    """A system that gives each value: a number, or one for each month from the first."""
    columns = {k: np.broadcast_to(np.asarray(v, float), 61).copy() for k, v in values.items()}

    class Monthly(System):
        system_name = name

        def prepare(self) -> dict[str, Any]:
            return {f"column_{k}": v for k, v in columns.items()}

        def init(self, xp: Any, draw: Any) -> dict[str, Any]:
            return dict.fromkeys(columns, 0.0)

        def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
            return {k: getattr(self, f"column_{k}")[up.month - 1] for k in columns}

    return Monthly()


class Probe(System):
    """Reports what firms would read, and what is not reported by month."""

    def outputs(self) -> dict[str, Output]:
        return {k: Output("USD bn", "of gpu_loans", metric=False) for k in MORE}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        return {k: getattr(up.gpu_loans, k, 0.0) for k in MORE}


def calm(loans: list[dict[str, Any]] = LOANS) -> list[dict[str, Any]]:
    """The loans with hazards so low that nobody outside the firms defaults."""
    return [x | {"hazard": 1e-12 if x["hazard"] else 0.0} for x in loans]


def run(
    months: int = 12,
    *,
    price: Any = 1.0,
    cash: Any = 100.0,
    raised: Any = 0.0,
    default: dict[str, int] | None = None,
    window: Any = 0.0,
    newest: Any = 1.0,
    shortfall: Any = 0.0,
    paths: int = 1,
    **loans: Any,
) -> dict[str, Any]:
    """Series by name, (months, paths), of NumPy in float64.

    price: over its start, for all generations or by name. default: the month in which a firm fails.
    """
    prices = (
        dict.fromkeys(START, 1.0) | price
        if isinstance(price, dict)
        else dict.fromkeys(START, price)
    )
    firms: dict[str, Any] = {}
    for f in FIRMS:
        fails = np.zeros(61)
        if default and f in default:
            fails[default[f] - 1] = 1.0
        firms |= {f"defaults_now_{f}": fails, f"cash_{f}": cash, f"raised_debt_{f}": raised}
    economy = Economy(
        monthly("rental", newest_index=newest, shortfall=shortfall),
        monthly("fleet", **{f"resale_{g}": np.asarray(prices[g]) * v for g, v in START.items()}),
        monthly("firms", **firms),
        GpuLoans(**{"loan": calm(), "hazard_bounds": [-50.0, 50.0]} | loans),
        Probe(),
        monthly("funding", window=window),
        months=months,
    )
    got = plan(economy, "numpy", "float64").run(1, 0, paths, series=True)
    assert not got.bad.any()
    assert got.series is not None
    short = [k.replace("gpu_loans.", "").replace("probe.", "") for k in economy.series]
    return {k: got.series[:, j] for j, k in enumerate(short)}


def steps(*levels: tuple[int, float]) -> Any:
    """A level from each month on."""
    found = np.ones(61)
    for month, level in levels:
        found[month - 1 :] = level
    return found


def units_of(name: str, width: int = 4) -> Any:
    found = np.zeros(width)
    for p in PLEDGES:
        if p["loan"] == name:
            found[list(START).index(p["generation"])] += p["units"]
    return found


def sale_of(
    month: int, price: float, called: tuple[str, ...] = (), *, cash: float = 100.0, **more: Any
) -> Any:
    """The month's fire sale by the NumPy function, instalments paid until then; shipped market and reserves."""
    market = GpuLoans().values()["market"]
    left = [x["balance"] * max(1.0 - month / x["end"], 0.0) for x in LOANS]
    payers, paid = list(FIRMS), dict.fromkeys(FIRMS, 0.0)
    owner, none = [], len(FIRMS)
    for x in LOANS:
        firm = x["borrower"] in FIRMS
        owner.append(payers.index(x["borrower"]) if firm and not x["spv"] else none)
        if firm and month <= x["end"]:
            paid[x["borrower"]] += x["balance"] / x["end"]
    spend = [0.0 if f in called else 0.5 * max(cash - paid[f], 0.0) for f in FIRMS]
    return fire_sale(
        left, np.stack([units_of(n) for n in NAMES]), [1e-9 * price * v for v in START.values()],
        [x["ltv_covenant"] for x in LOANS], [m["impact"] for m in market],
        [m["stock"] * m["turnover"] for m in market], cash=[*spend, 0.0], borrower=owner,
        reserve=[x["reserve"] * x["balance"] for x in LOANS], called=[x["borrower"] in called for x in LOANS],
        **{"floor": 0.10, "tolerance": 1e-3} | more,
    )  # fmt: skip


# ---- the shipped tables
def test_balances_sum_to_the_books() -> None:
    total = {
        k: sum(x["balance"] for x in LOANS if x["in_book"] == k) for k in ("legacy", "new", "none")
    }
    assert total == pytest.approx({"legacy": 16.0, "new": 12.5, "none": 1.5})
    assert sum(x["balance"] for x in LOANS if x["borrower"] == "coreweave") == pytest.approx(10.0)


@pytest.mark.parametrize("name", NAMES)
def test_loan_to_value_is_three_quarters_at_the_start(name: str) -> None:
    resale = {c.name: c.resale_start for c in RealFleet().chip}
    assert {k: resale[k] for k in ("hopper", "blackwell")} == {
        k: START[k] for k in ("hopper", "blackwell")
    }
    value = 1e-9 * float(units_of(name) @ [resale[g] for g in START])
    loan = next(x for x in LOANS if x["name"] == name)
    assert loan["balance"] / value == pytest.approx(0.75, abs=1e-4)


def test_every_row_says_where_its_figures_come_from() -> None:
    for row in LOANS + PLEDGES + GpuLoans().values()["market"]:
        assert any(
            w in row["source"] for w in ("fact", "data", "common knowledge", "assumption", "as ")
        ), row


# ---- the month
def test_instalments_are_straight_lines() -> None:
    got = run(60)
    month = np.arange(1, 61)
    want = sum(x["balance"] * np.maximum(1.0 - month / x["end"], 0.0) for x in LOANS)
    assert got["balance"][:, 0] == pytest.approx(want, abs=1e-12)
    assert got["balance"][-1, 0] == 0.0  # the last instalment takes what rounding left
    mine = [x for x in LOANS if x["borrower"] == "coreweave"]
    due = sum(np.where(month <= x["end"], x["balance"] / x["end"], 0.0) for x in mine)
    assert got["principal_coreweave"][:, 0] == pytest.approx(due, abs=1e-12)
    assert got["repaid_coreweave"] == pytest.approx(got["principal_coreweave"])
    assert not got["rounds"].any()
    interest = sum(x["rate"] * x["balance"] * (1.0 - 1.0 / x["end"]) for x in LOANS)
    assert got["interest"][0, 0] == pytest.approx(interest)


def test_a_vehicle_owes_beside_its_sponsor() -> None:
    """xAI's own books show none of the 12.5; its instalments are what the sponsor pays as rent."""
    got = run(3)
    assert not got["balance_xai"].any()
    assert not got["repaid_xai"].any()
    assert got["spv_balance_xai"][:, 0] == pytest.approx(12.5 * (1.0 - np.arange(1, 4) / 60.0))
    assert got["principal_xai"][:, 0] == pytest.approx(12.5 / 60.0)


def test_instalments_stop_where_there_is_no_cash() -> None:
    got = run(6, cash=steps((3, 0.05)))
    paid = got["principal_coreweave"][:, 0]
    assert paid[:2] == pytest.approx(1.6 / 27 + 4.7 / 41 + 1.0 / 55 + 2.7 / 12)
    assert paid[2:] == pytest.approx(0.05)
    assert got["balance_coreweave"][-1, 0] == pytest.approx(10.0 - paid.sum())


def test_chips_buy_chips_while_the_window_is_open() -> None:
    """A bn a month raised, 0.6 of it under ddtl_3, until funding shuts (read a month later)."""
    got = run(8, raised=1.0, window=steps((1, 0.0), (4, 1.0)), newest=steps((1, 1.0), (3, 2.0)))
    plain = run(8)
    extra = (got["balance_coreweave"] - plain["balance_coreweave"])[:, 0]
    drawn = np.array([0.6 * min(m, 4) for m in range(1, 9)])
    # a draw of month m has paid an instalment in m and in each month since
    repaid = np.array(
        [sum(0.6 / 60.0 * (m - d + 1) for d in range(1, min(m, 4) + 1)) for m in range(1, 9)]
    )
    assert extra == pytest.approx(drawn - repaid)
    pledged = (got["collateral"] - plain["collateral"])[:, 0]
    both = 0.6 + 0.4  # Nebius draws 0.4 of its own
    assert pledged == pytest.approx([both / 0.75 * min(m, 4) for m in range(1, 9)])
    # bought at half the price, twice the units
    cheap = run(2, raised=steps((1, 0.0), (2, 1.0)), price=steps((2, 0.98), (3, 1.0)))
    assert (cheap["collateral"] - plain["collateral"][:2] * [[1.0], [0.98]])[1, 0] == pytest.approx(
        both / 0.75
    )


@pytest.mark.parametrize(("newest", "bought"), [(1.0, "blackwell"), (2.0, "rubin"), (7.0, "next")])
def test_new_chips_are_of_the_newest_generation(newest: float, bought: str) -> None:
    """A bn raised by each firm buys chips for (0.6 + 0.4)/0.75 bn: they follow that generation's price alone.

    A newer generation than the table has counts as the last row.
    """
    before = run(2, newest=newest, raised=steps((1, 1.0), (2, 0.0)))["collateral"]
    assert before[1, 0] - run(2)["collateral"][1, 0] == pytest.approx(1.0 / 0.75)
    for g in START:
        dearer = {g: steps((2, 1.01))}
        with_new = run(2, newest=newest, raised=steps((1, 1.0), (2, 0.0)), price=dearer)
        gain = with_new["collateral"] - run(2, price=dearer)["collateral"]
        assert gain[1, 0] == pytest.approx((1.01 if g == bought else 1.0) / 0.75)


def test_a_default_sells_all_and_the_fire_sale_is_the_function() -> None:
    got = run(8, default={"coreweave": 6}, floor=0.0)
    want = sale_of(6, 1.0, ("coreweave",), floor=0.0)
    mine = [i for i, x in enumerate(LOANS) if x["borrower"] == "coreweave"]
    assert got["rounds"][5, 0] == want.rounds
    assert got["breaches"][5, 0] == want.breached.sum() >= 4
    assert got["sold"][5, 0] == pytest.approx(want.sold.sum(), rel=1e-9)
    assert got["loss"][5, 0] == pytest.approx(want.loss.sum(), rel=1e-9)
    assert got["balance"][5, 0] == pytest.approx(want.balances.sum(), rel=1e-9)
    assert got["balance_coreweave"][5, 0] == 0.0
    assert got["margin_coreweave"][5, 0] == pytest.approx(-want.surplus[mine].sum(), abs=1e-12)
    fell = got["balance_coreweave"][4, 0] - got["principal_coreweave"][5, 0]
    assert got["repaid_coreweave"][5, 0] == pytest.approx(fell + got["principal_coreweave"][5, 0])
    market = want.prices / np.array([1e-9 * v for v in START.values()])
    for g, ratio in zip(START, market, strict=True):
        assert got[f"impact_{g}"][5, 0] == pytest.approx(-np.log(ratio), abs=1e-12)
        assert got[f"impact_{g}"][6, 0] == pytest.approx(
            -np.log(ratio) * 2.0 ** (-1 / 6), abs=1e-12
        )
    assert market[0] < 1.0
    assert got["units_sold"][7, 0] == pytest.approx(got["sold"].sum())


@pytest.mark.parametrize("cash", [100.0, 1.0, 0.0])
@pytest.mark.parametrize("law", ["exponential", "linear"])
def test_a_fall_of_prices_is_the_function(cash: float, law: str) -> None:
    """A fall to 0.74 in month 2: cash, then sales, in as many rounds as the function needs."""
    got = run(3, price=steps((2, 0.74)), cash=steps((2, cash)), impact_law=law)
    if cash > 0.5:
        want = sale_of(2, 0.74, cash=cash, law=law)
        assert got["rounds"][1, 0] == want.rounds >= 2
        assert got["sold"][1, 0] == pytest.approx(want.sold.sum(), rel=1e-9)
        assert got["sold_round2"][1, 0] == pytest.approx(want.sold_later, rel=1e-9, abs=1e-6)
        assert got["loss"][1, 0] == pytest.approx(want.loss.sum(), rel=1e-9)
        assert got["balance"][1, 0] == pytest.approx(want.balances.sum(), rel=1e-9)
        mine = [i for i, x in enumerate(LOANS) if x["borrower"] == "coreweave"]
        cured = want.cash_paid[mine].sum() - sum(
            min(0.05 * LOANS[i]["balance"], want.cash_paid[i]) for i in mine
        )
        surplus = want.surplus[mine].sum()
        assert got["margin_coreweave"][1, 0] == pytest.approx(cured - surplus, abs=1e-9)
    paid = got["principal_coreweave"] + np.maximum(got["margin_coreweave"], 0.0)
    assert (paid[1:] <= cash + 1e-12).all()
    assert (got["sold"][1] > 0.0).all()


def test_a_draw_fills_the_reserve_and_a_cure_shortens_instalments() -> None:
    """Of 1 + 1 bn, less a first instalment, against 3 bn of chips; then chips lose half.

    Owed 2 - 2/60 less the same again, worth 1.5: x = B - 0.9 x 1.5 is paid from a reserve of 0.05 x 2, then by the firm.
    """
    loans = [{"name": "one", "borrower": "nebius", "balance": 1.0, "share_of_new_debt": 1.0}]
    units = (3.0 - 1.0 / 0.75) / (1e-9 * START["blackwell"])
    pledges = [{"name": "p", "loan": "one", "generation": "blackwell", "units": units}]
    got = run(
        3, loan=loans, pledge=pledges, raised=steps((2, 0.0)), price=steps((2, 0.5), (3, 1.0))
    )
    excess = 2.0 - 4.0 / 60.0 - 0.9 * 1.5
    assert got["balance"][:, 0] == pytest.approx(
        [2.0 - 2.0 / 60.0, 1.35, 1.35 - got["principal_nebius"][2, 0]]
    )
    # what the draw puts in the reserve is the firm's cash, too
    assert got["margin_nebius"][:, 0] == pytest.approx([0.05, excess - 0.1, 0.0])
    assert not got["sold"].any()
    kept = 1.35 / (1.35 + excess)
    assert got["principal_nebius"][:, 0] == pytest.approx(
        [2.0 / 60.0, 2.0 / 60.0, kept * 2.0 / 60.0]
    )
    assert got["repaid_nebius"][1, 0] == pytest.approx(excess + 2.0 / 60.0)


def test_losses_are_parted_by_who_bears_them() -> None:
    """At half price all is sold at once; losses in the book and of banks are those of their rows."""
    got, want = run(2, price=steps((2, 0.5)), cash=1.0), sale_of(2, 0.5, cash=1.0)
    book = np.array([x["in_book"] != "none" for x in LOANS])
    banks = np.array([x["lender"] == "banks" for x in LOANS])
    assert (want.loss[book] > 0.0).any()
    assert (want.loss[banks] > 0.0).any()
    assert got["loss_in_book"][1, 0] == pytest.approx(want.loss[book].sum(), rel=1e-9)
    assert got["loss_banks"][1, 0] == pytest.approx(want.loss[banks].sum(), rel=1e-9)
    assert got["loss"][1, 0] == pytest.approx(want.loss.sum(), rel=1e-9)


def test_without_impact_one_round() -> None:
    market = [{"name": g, "impact": 0.0} for g in START]
    got = run(12, price=np.exp(-0.03 * np.arange(61)), cash=0.0, market=market)
    assert got["rounds"].max() == 1.0
    assert not got["spirals"].any()
    assert not got["sold_round2"].any()


def test_what_the_rounds_leave_open_is_reported() -> None:
    got = run(2, price=steps((2, 0.74)), cash=steps((2, 1.0)), most_rounds=1.0)
    want = sale_of(2, 0.74, cash=1.0, most_rounds=1)
    assert got["rounds"][1, 0] == 1.0
    assert got["residual"][1, 0] == pytest.approx(want.residual, rel=1e-9)
    assert got["residual"][1, 0] > 0.0
    assert run(2, price=steps((2, 0.74)), cash=steps((2, 1.0)))["residual"][1, 0] == 0.0


def test_impact_is_not_counted_twice() -> None:
    """What a sale fetches hangs on fleet's value and its own size, not on a sale of the month before: that one
    lowers rentals, which rental and fleet pass on. The impact reported for rentals does add up.
    """
    terms = {"rate": 0.1, "end": 60, "reserve": 0.0}
    loans = [
        {"name": "first", "borrower": "xai", "balance": 2.0, **terms},
        {"name": "second", "borrower": "nebius", "balance": 2.0, **terms},
    ]
    pledges = [
        {"name": n, "loan": n, "generation": "hopper", "units": 200_000.0}
        for n in ("first", "second")
    ]
    alone = run(5, loan=loans, pledge=pledges, default={"nebius": 4})
    after = run(5, loan=loans, pledge=pledges, default={"xai": 3, "nebius": 4})
    assert after["impact_hopper"][2, 0] > 0.1
    for name in ("margin_nebius", "balance_nebius", "repaid_nebius"):
        assert after[name] == pytest.approx(alone[name], rel=1e-12)
    added = after["impact_hopper"][3, 0] - after["impact_hopper"][2, 0] * 2.0 ** (-1 / 6)
    assert added == pytest.approx(alone["impact_hopper"][3, 0], rel=1e-9)


# ---- borrowers outside the firms
def outside(hazard: float, beta: float = 0.0, **change: Any) -> dict[str, Any]:
    return {
        "hazard": hazard,
        "hazard_beta": beta,
        "in_book": "none",
        "balance": 0.1,
        "borrower": "",
    } | change


def test_defaults_outside_the_firms_follow_the_hazard() -> None:
    """P(no default by T) = e^-Lambda, Lambda = h T e^(beta x shortfall); and loans of one borrower go together."""
    loans = [
        outside(0.3, 1.0, name="one"),
        outside(0.3, 1.0, name="two", borrower="pair"),
        outside(0.3, 1.0, name="three", borrower="pair"),
    ]
    pledges = [
        {"name": f"p{i}", "loan": n, "generation": "hopper", "units": 40_000.0}
        for i, n in enumerate(("one", "two", "three"))
    ]
    paths = 4000
    got = run(12, loan=loans, pledge=pledges, shortfall=0.4, paths=paths)
    left = got["balance"][-1] / (0.1 * (1.0 - 12.0 / 60.0))
    alive = np.exp(-0.3 * np.exp(0.4))
    counts = [(np.abs(left - k) < 1e-6).sum() for k in (0, 1, 2, 3)]
    assert sum(counts) == paths  # nothing else can happen
    odds = np.array([(1 - alive) ** 2, alive * (1 - alive), alive * (1 - alive), alive**2])
    assert stats.chisquare(counts, odds * paths).pvalue > 1e-5


def test_a_new_loan_leaves_the_other_draws_alone() -> None:
    loans = [outside(0.5, name="one"), outside(0.5, name="two")]
    pledges = [
        {"name": n, "loan": n, "generation": "hopper", "units": 40_000.0}
        for n in ("one", "two", "zero")
    ]
    base = run(6, loan=loans, pledge=pledges[:2], paths=200)
    more = run(6, loan=[outside(1e-12, name="zero"), *loans], pledge=pledges, paths=200)
    assert more["balance"] - 0.1 * (1 - np.arange(1, 7)[:, None] / 60) == pytest.approx(
        base["balance"], abs=1e-12
    )


def test_a_loan_outside_grows_while_the_window_is_open() -> None:
    loans = [outside(1e-12, name="one", growth=0.6)]
    pledges = [{"name": "p", "loan": "one", "generation": "hopper", "units": 40_000.0}]
    got = run(2, loan=loans, pledge=pledges)["balance"][:, 0]
    first = 0.1 * (1.0 + 0.6 * DT) - (0.1 + 0.1 * 0.6 * DT) / 60.0
    assert got[0] == pytest.approx(first)
    shut = run(2, loan=loans, pledge=pledges, window=2.0)["balance"][:, 0]
    assert shut[1] < got[1]  # the window of month 1 is read in month 2


def test_only_outside_borrowers_need_no_firms() -> None:
    model = GpuLoans(
        loan=[outside(0.1, name="one")],
        pledge=[{"name": "p", "loan": "one", "generation": "hopper", "units": 40_000.0}],
    )
    assert model.check() == []
    assert model.needs() == ("rental", "fleet", "funding")
    assert GpuLoans().needs() == GpuLoans.reads
    economy = Economy(
        monthly("rental", newest_index=0.0, shortfall=0.0),
        monthly("fleet", **{f"resale_{g}": v for g, v in START.items()}),
        model,
        monthly("funding", window=0.0),
    )
    got = plan(economy, "numpy", "float64", 2).run(1, 0, 4)
    assert np.isfinite(got.metrics).all()


# ---- random paths on every backend
class RandomRental(System):
    system_name = "rental"

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"x": 0.0, "newest_index": 1.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        x = s.x + 0.10 * draw.normal("shock") - 0.015
        newest = xp.where(up.month > 9, 2.0, 1.0)
        return {"x": x, "shortfall": -x - 0.01 * xp.to_real(up.month), "newest_index": newest}


class RandomFleet(System):
    system_name = "fleet"

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        return {f"resale_{g}": v * xp.exp(up.rental.x) for g, v in START.items()}


class RandomFirms(System):
    system_name = "firms"

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {f"gone_{f}": 0.0 for f in FIRMS}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        u = draw.uniform("fails", 4)
        for i, f in enumerate(FIRMS):
            gone = getattr(s, f"gone_{f}")
            now = xp.where((u[i] < 0.01) & (gone < 0.5), 1.0, 0.0)
            found[f"defaults_now_{f}"], found[f"gone_{f}"] = now, gone + now
            found[f"cash_{f}"] = (1.0 - gone - now) * (0.2 + u[3])
            found[f"raised_debt_{f}"] = (1.0 - gone - now) * 0.3 * u[3]
        return found


class RandomFunding(System):
    system_name = "funding"

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"window": 0.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        return {"window": xp.where(draw.uniform("window") < 0.2, 1.0, 0.0)}


def random_economy(law: str = "exponential") -> Economy:
    return Economy(
        RandomRental(), RandomFleet(), RandomFirms(), GpuLoans(impact_law=law), Probe(), RandomFunding(),
        months=24,
    )  # fmt: skip


@cache
def random_run(backend: str, dtype: str, law: str = "exponential") -> Any:
    got = plan(random_economy(law), backend, dtype).run(5, 0, 1024, series=True)
    assert not got.bad.any()
    return got.series


def test_money_is_conserved_on_random_paths() -> None:
    names = [k.split(".")[1] for k in random_economy().series]
    got = dict(zip(names, np.moveaxis(random_run("numpy", "float64"), 1, 0), strict=True))
    assert (got["loss"] == 0.0).any()
    assert (got["loss"][-1] > 0.0).mean() > 0.2
    parts = got["loss_in_book"] + got["loss_banks"] + got["loss_other"]
    assert parts == pytest.approx(got["loss"], abs=1e-9)
    assert (np.diff(got["loss"], axis=0) >= 0.0).all()
    assert (got["sold_round2"] <= got["sold"] * (1 + 1e-12)).all()
    assert ((got["rounds"] > 0.0) == (got["breaches"] > 0.0)).all()
    assert not got["residual"].any()
    assert got["units_sold"][-1] == pytest.approx(got["sold"].sum(axis=0))
    assert got["spirals"][-1] == pytest.approx((got["sold_round2"] > 0.0).sum(axis=0))
    before = np.vstack([np.full((1, 1024), 10.0), got["balance_coreweave"][:-1]])
    drawn = got["balance_coreweave"] - before + got["repaid_coreweave"]
    assert (drawn >= -1e-9).all()
    assert (drawn <= 0.6 * 0.3 + 1e-9).all()
    assert drawn.max() > 0.1
    for f in FIRMS:
        assert (got[f"principal_{f}"] >= 0.0).all()
        assert (got[f"margin_{f}"] + got[f"principal_{f}"] <= 1.2 + 1e-9).all()


@pytest.mark.parametrize(
    ("backend", "law"), [("native", "exponential"), ("native", "linear"), ("jax", "exponential")]
)
def test_float64_agrees_with_the_reference(backend: str, law: str) -> None:
    ours, reference = random_run(backend, "float64", law), random_run("numpy", "float64", law)
    scale = np.abs(reference).max(axis=(0, 2), keepdims=True) + 1e-300
    assert (np.abs(ours - reference) / scale).max() < 1e-9


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_float32_agrees_but_for_counted_flips(backend: str) -> None:
    """A flip is another number of rounds or breaches. A sale is ten times a small difference of balance and collateral,
    and where a collapse begins each round doubles that: so errors are held to the largest value of their series, and
    one path in a hundred may err by up to a thousandth of it."""
    ours, reference = random_run(backend, "float32"), random_run("numpy", "float64")
    names = random_economy().series
    decisions = [names.index(f"gpu_loans.{k}") for k in ("rounds", "breaches")]
    flips = (ours[:, decisions] != reference[:, decisions]).any(axis=(0, 1))
    assert flips.sum() <= 5  # of 24 x 9 x 1024 tests of a covenant, and the rounds after
    steady = ~flips
    scale = np.abs(reference).max(axis=(0, 2), keepdims=True) + 1e-30
    errors = (np.abs(ours - reference) / scale)[:, :, steady].max(axis=(0, 1))
    assert (errors < 1e-4).mean() > 0.99
    assert errors.max() < 1e-3


# ---- bad input
class NamedFirm(Row):
    source = setting("", "none")


class Firms(System):
    firm = rows(NamedFirm, [{"name": f} for f in FIRMS], "the borrowers")


def changed(name: str, **change: Any) -> list[dict[str, Any]]:
    return [x | change if x["name"] == name else x for x in LOANS]


def test_the_shipped_tables_fit() -> None:
    assert GpuLoans().check() == []
    assert GpuLoans().fits({"firms": Firms(), "rental": RealRental(), "fleet": RealFleet()}) == []


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"loan": changed("nebius_secured", ltv_new=0.95)}, "gpu_loans.loan.nebius_secured.ltv_new = 0.95: new debt"),
        ({"loan": changed("coreweave_ddtl_3", in_book="new")}, "coreweave_ddtl_3.in_book = 'new': the book is private"),
        ({"loan": changed("nebius_secured", borrower="")}, "nebius_secured.borrower = '': should be a firm, or hazard"),
        ({"loan": changed("lambda_gpu", share_of_new_debt=0.1)}, "lambda_gpu.share_of_new_debt = 0.1: only a firm"),
        ({"loan": changed("nebius_secured", growth=0.1)}, "nebius_secured.growth = 0.1: a firm's loan grows by"),
        ({"loan": changed("lambda_gpu", spv=True)}, "lambda_gpu.spv = true: a vehicle of a firm"),
        ({"loan": changed("crusoe_gpu", borrower="lambda")}, "crusoe_gpu.hazard = 0.035: loans of one borrower"),
        ({"pledge": PLEDGES[1:]}, "gpu_loans.loan.coreweave_ddtl_1: no collateral; add [[gpu_loans.pledge]]"),
        ({"pledge": [*PLEDGES, PLEDGES[0] | {"name": "x", "loan": "nebius_secure"}]},
         "gpu_loans.pledge.x.loan = 'nebius_secure': should be a row of gpu_loans.loan; did you mean 'nebius_secured'?"),
        ({"pledge": [*PLEDGES, PLEDGES[0] | {"name": "x", "generation": "hoper"}]},
         "gpu_loans.pledge.x.generation = 'hoper': should be a row of gpu_loans.market; did you mean 'hopper'?"),
        ({"hazard_bounds": [1.0, 0.0]}, "gpu_loans.hazard_bounds = [1.0, 0.0]: the first should be the lower one"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(values: dict[str, Any], wanted: str) -> None:
    assert any(wanted in line for line in GpuLoans(**values).check()), GpuLoans(**values).check()


@pytest.mark.parametrize(
    ("field", "value"),
    [("balance", 0.0), ("ltv_covenant", 1.0), ("ltv_covenant", 0.0), ("end", 0), ("lender", "bank"), ("in_book", "old")],
)  # fmt: skip
def test_a_value_out_of_range_is_named(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"nebius_secured\.{field} = "):
        GpuLoans(loan=changed("nebius_secured", **{field: value}))


def test_an_impossible_covenant_is_named() -> None:
    model = GpuLoans(loan=changed("xai_colossus_2", ltv_covenant=0.74, ltv_new=0.7))
    assert model.check() == []
    (line,) = model.fits({"fleet": RealFleet()})
    assert line.startswith(
        "gpu_loans.loan.xai_colossus_2.ltv_covenant = 0.74: impossible at the unit values"
    )
    assert line.endswith("should be above 0.75, the loan to value there")


def test_all_that_does_not_fit_is_named_at_once() -> None:
    market = [{"name": g} for g in ("hopper", "rubin", "blackwell")]
    loans = [
        x | ({"borrower": "nebbius"} if x["name"] == "nebius_secured" else {})
        | ({"borrower": "xai"} if x["name"] == "lambda_gpu" else {})
        for x in LOANS
    ]  # fmt: skip
    lines = GpuLoans(loan=loans, market=market).fits(
        {"firms": Firms(), "rental": RealRental(), "fleet": RealFleet()}
    )
    assert [line.split(":")[0] for line in lines] == [
        "gpu_loans.loan.lambda_gpu.hazard = 0.04",
        "gpu_loans.loan.nebius_secured.borrower = 'nebbius'",
        "gpu_loans.market = ['hopper', 'rubin', 'blackwell']",
    ]
    assert "did you mean 'nebius'?" in lines[1]
    assert "hopper, blackwell, rubin, next" in lines[2]


def test_without_a_row_for_its_chips_in_fleet() -> None:
    lines = GpuLoans(market=[{"name": g} for g in (*START, "later")]).fits({"fleet": RealFleet()})
    assert lines == [
        "gpu_loans.market.later: should be a row of fleet.chip, which values its units"
    ]
