"""Firms and forced events by themselves: default times against closed forms, settlement and stress by hand.

What firms read is prescribed. Default probabilities come from native in float64, 100,000 paths, and are held to
four standard errors: a right engine fails one of the 20 such checks in 800 runs of fresh seeds. The rest is exact.

References: Cox intensity, 1 - e^-hT (Lando 1998); Black and Cox (1976) with the barrier watched monthly, by
recursive quadrature, as the closed form with a continuous watch errs by a seventh here (Broadie, Glasserman
and Kou 1997).
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy import stats

from overbuilt.engine.economy.firms import Firms
from overbuilt.engine.economy.settlement import IN, LEDGER, OUT
from overbuilt.engine.economy.stress import WHAT, Stress
from overbuilt.engine.scenario import load
from overbuilt.engine.simulate import plan
from overbuilt.engine.system import DT, Economy
from overbuilt.engine.validate import ConfigError
from overbuilt.kernels import backends

from .prescribed import STANDARD_ERRORS, Array, history, prescribed

PATHS = 100_000
MONTHS = np.arange(1, 61)

FIRM: dict[str, Any] = {
    "cash": 100.0, "equity": 1000.0, "hazard": 1e-12, "volatility": 0.0, "equity_beta": 0.0, "capacity": 0.0,
    "spread": 0.0, "coupon": 0.0, "life": 1e9, "lgd": 0.6, "ai_revenue": 0.0,
}  # fmt: skip
PLAIN: dict[str, Any] = {
    "distress": [0.0, 0.0, 0.0, 0.0], "barrier": 0.0, "grace": 1e9, "liquidity": 0.0, "prudence": 0.0,
    "payout": 0.0, "running_cost": 0.0, "lease_reading": "atlantic", "ladder": [],
}  # fmt: skip


def economy(
    firm: dict[str, dict[str, Any]], contract: list[dict[str, Any]], /, **given: Any
) -> Economy:
    """``given``: stress, gpu_loans, structured, funding, compute as variables by month; the rest are Firms' values."""
    systems = {
        "stress": {"none": 0.0},
        "revenue": {"multiple0": 1.0},
        "compute": {
            "utilisation": 0.5,
            "utilisation0": 0.5,
            "capex": 400.0,
            "delivery": 10.0,
            "delivery0": 10.0,
        },
        "rental": {"log_per_kw": 0.0, "shortfall": 0.0},
    }
    below: dict[str, dict[str, Any]] = {
        "gpu_loans": {"none": 0.0}, "structured": {"none": 0.0},
        "funding": {"window": 0.0, "log_equity": 0.0, "log_spread": 0.0, "rate": 0.04, "drawdown": 0.0},
    }  # fmt: skip
    for name, variables in (systems | below).items():
        variables.update(given.pop(name, {}))
    names = list(firm)
    owed = contract or [
        {"name": "none", "payer": names[0], "payee": names[1], "kind": "compute", "total": 0.0}
    ]
    model = Firms(
        firm=[FIRM | v | {"name": k} for k, v in firm.items()], contract=owed, backstop_firm=names[0],
        **(PLAIN | given),
    )  # fmt: skip
    assert not model.check()
    above = [prescribed(k, **v) for k, v in systems.items()]
    return Economy(
        *above, model, *(prescribed(k, below=True, **v) for k, v in below.items()), months=60
    )


def by_hand(
    firm: dict[str, dict[str, Any]], contract: list[dict[str, Any]], months: int, **given: Any
) -> Any:
    """Each firm's state and flows by month, as ``found["payer"]["cash"]``; and the system's sums."""
    model = economy(firm, contract, **given)
    state = ("cash", "debt", "overdue", "late", "alive", "ledger", "unpaid", "debt_loss", "value")
    got = history(list(model.systems.values()), [f"firms.{n}" for n in state], months=months)
    table = {k.partition(".")[2]: v[..., 0] for k, v in got.items()}
    found: dict[str, Any] = {k: table[k] for k in ("unpaid", "debt_loss")}
    for i, name in enumerate(firm):
        flows = {kind: table["ledger"][:, i * len(LEDGER) + j] for j, kind in enumerate(LEDGER)}
        found[name] = flows | {
            k: table[k][:, i] for k in ("cash", "overdue", "late", "alive", "value")
        }
        found[name]["owed"] = table["debt"][:, i]
    return found


# ---- when firms default
@cache
def compiled(kind: str) -> Any:
    found = backends.status("native")
    if not found.works:
        pytest.skip(found.why)
    model = {"intensity": intensity, "barrier": barrier}[kind]()
    return plan(model, "native", "float64"), model


def defaults(kind: str, months: int) -> Array:
    """(firms, paths), 1 where it has defaulted by then."""
    made, model = compiled(kind)
    output = made.kernel.run(model, 11, 0, PATHS, months, False)
    assert not output.bad.any()
    rows = [k for k, n in enumerate(model.metrics) if n.startswith("firms.defaulted_")]
    return np.asarray(output.metrics[rows])


HAZARDS = (0.002, 0.01, 0.042, 0.2, 1.0)


def intensity() -> Economy:
    return economy({f"f{i}": {"hazard": h} for i, h in enumerate(HAZARDS)}, [])


@pytest.mark.parametrize("months", [1, 12, 60])
def test_without_stress_defaults_are_exponential(months: int) -> None:
    found = defaults("intensity", months)
    for gone, hazard in zip(found, HAZARDS, strict=True):
        p = -math.expm1(-hazard * months * DT)
        assert abs(gone.mean() - p) < STANDARD_ERRORS * math.sqrt(p * (1.0 - p) / PATHS)


def test_without_stress_defaults_are_independent() -> None:
    found = defaults("intensity", 60)
    both, p = (found[2] * found[3]).mean(), [-math.expm1(-HAZARDS[i] * 5.0) for i in (2, 3)]
    assert abs(both - p[0] * p[1]) < STANDARD_ERRORS * math.sqrt(p[0] * p[1] / PATHS)


VOLATILITY, LEVEL = 0.45, math.log(0.5 * 60.0 / 100.0)


def barrier() -> Economy:
    row = {"debt": 60.0, "equity": 40.0, "volatility": VOLATILITY}
    return economy({"f0": row, "f1": row | {"volatility": 0.0}}, [], barrier=0.5)


def first_passage(months: int, steps: int = 40) -> float:
    """P(a monthly walk of log assets has been below the barrier), trapezoid rule from month to month."""
    deviation = VOLATILITY * math.sqrt(DT)
    drift, h = -0.5 * VOLATILITY**2 * DT, deviation / steps
    x = LEVEL + h * np.arange(int(6.0 / h))
    density = stats.norm.pdf(x, drift, deviation)
    reach = np.arange(-8 * steps, 8 * steps + 1) * h
    kernel = stats.norm.pdf(reach, drift, deviation) * h
    for _ in range(months - 1):
        weighted = density.copy()
        weighted[0] *= 0.5
        density = np.convolve(weighted, kernel, "same")
    return float(1.0 - h * (density.sum() - 0.5 * density[0]))


@pytest.mark.parametrize("months", [6, 24, 60])
def test_owners_give_up_at_the_barrier(months: int) -> None:
    """Black and Cox, watched monthly: log assets from 0, barrier at ln 0.3, volatility 0.45, no drift."""
    p = first_passage(months)
    assert p == pytest.approx(first_passage(months, 80), abs=2e-4)
    found = defaults("barrier", months)
    assert abs(found[0].mean() - p) < STANDARD_ERRORS * math.sqrt(p * (1.0 - p) / PATHS) + 2e-4
    assert not found[1].any()


def test_distress_raises_the_hazard_by_its_weights() -> None:
    """Hazard 0.3 e^(2 x 0.25 + 0.2 x 2 + 0.4 x 0.5), with drawdown, window and shortfall held: by month, exactly."""
    firm = {"a": {"hazard": 0.3, "equity_beta": 1.0, "rental_beta": 1.0}, "b": {}}
    held = {"funding": {"drawdown": 0.25, "window": 2.0}, "rental": {"shortfall": 0.5}}
    model = economy(firm, [], distress=[1.0, 2.0, 0.2, 0.4], **held)
    found = history(list(model.systems.values()), ["firms.hazard"], months=12)["firms.hazard"][
        :, 0, 0
    ]
    assert found == pytest.approx(
        0.3 * math.exp(0.5 + 0.4 + 0.2) * np.arange(1, 13) * DT, rel=1e-12
    )


# ---- settlement, by hand
def owes(total: float, lasting: int, kind: str = "compute", **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "name": "c",
            "payer": "payer",
            "payee": "payee",
            "kind": kind,
            "total": total,
            "lasting": lasting,
            **more,
        }
    ]


def test_a_customer_without_income_pays_till_its_cash_is_gone() -> None:
    """Cash 3.5, 1 due a month: arrears from month 4, default when they are older than the grace; then re-letting."""
    firm = {"payer": {"cash": 3.5}, "payee": {"cash": 0.0}}
    found = by_hand(firm, owes(24.0, 24), 9, grace=2.0)
    assert found["payer"]["cash"][:5] == pytest.approx([2.5, 1.5, 0.5, 0.0, 0.0])
    assert found["payee"]["contracts"][:7] == pytest.approx([1.0, 1.0, 1.0, 0.5, 0.0, 0.0, 0.0])
    assert found["unpaid"][:7, 0] == pytest.approx([0.0, 0.0, 0.0, 0.5, 1.5, 2.5, 0.0])
    assert found["payer"]["alive"] == pytest.approx([1.0] * 6 + [0.0] * 3)
    # half of what stands empty is let at the same price, and half of it used
    assert found["payee"]["customers"] == pytest.approx([0.0] * 7 + [0.5, 0.5])
    assert found["payee"]["cash"][-1] == pytest.approx(4.5)


def test_a_declared_default_costs_and_its_lenders_lose() -> None:
    """Cash 10, alpha 0.5: 5 of the 6 due are paid, 5 are lost; of debt 20 six tenths are lost, once."""
    firm = {"payer": {"cash": 10.0, "debt": 20.0}, "payee": {"cash": 0.0}}
    stress = {"stress": {"default_payer": [0.0, 1.0, 0.0]}}
    found = by_hand(firm, owes(6.0, 1, first_month=2), 4, alpha=0.5, beta=0.3, **stress)
    assert found["payer"]["bankruptcy"] == pytest.approx([0.0, 5.0, 0.0, 0.0])
    assert found["payee"]["contracts"] == pytest.approx([0.0, 5.0, 0.0, 0.0])
    assert found["debt_loss"] == pytest.approx([0.0, 12.0, 12.0, 12.0], rel=1e-6)
    assert found["payer"]["owed"] == pytest.approx([20.0, 0.0, 0.0, 0.0], rel=1e-6)


def test_what_a_bankrupt_debtor_leaves_goes_to_its_lenders() -> None:
    stress = {"stress": {"default_payer": [0.0, 1.0, 0.0]}}
    found = by_hand({"payer": {"cash": 10.0, "debt": 20.0}, "payee": {}}, owes(6.0, 1, first_month=2), 2,
                    alpha=1.0, beta=1.0, **stress)  # fmt: skip
    assert found["payer"]["principal"][1] == pytest.approx(4.0)
    assert found["payer"]["cash"][1] == 0.0


def test_leases_interest_and_maturities_come_before_building() -> None:
    """Lease 1, interest 1, maturity 4, capex 5 a month; cash 8.5 is enough for the first three and half of the last."""
    firm = {"payer": {"cash": 8.5, "debt": 120.0, "coupon": 0.1, "leases": 36.0, "leases_due": 36.0, "capex": 60.0},
            "payee": {}}  # fmt: skip
    rung = {
        "name": "r",
        "firm": "payer",
        "balance": 120.0,
        "first_month": 1,
        "last_month": 30,
        "reading": "both",
    }
    payer = by_hand(firm, [], 3, ladder=[rung])["payer"]
    kinds = ("leases", "interest", "principal", "capex")
    assert [payer[k][0] for k in kinds] == pytest.approx([1.0, 1.0, 4.0, 2.5], rel=1e-6)
    assert [payer[k][1] for k in kinds] == pytest.approx([0.0] * 4, abs=1e-12)
    # what a maturity leaves unpaid is no longer debt, but overdue
    assert payer["owed"] == pytest.approx([116.0, 112.0, 108.0])
    interest = 116.0 * 0.1 / 12.0, 112.0 * 0.1 / 12.0
    assert payer["overdue"] == pytest.approx(
        [0.0, 5.0 + interest[0], 10.0 + sum(interest)], rel=1e-6
    )
    assert payer["late"] == pytest.approx([0.0, 1.0, 2.0])


def test_outside_money_is_what_the_window_leaves() -> None:
    """Capacity 12 a year; open, tight and shut leave 1, 0.7, 0.15; a firm half exposed loses half of it."""
    window = {"funding": {"window": [0.0, 1.0, 2.0]}}
    row = {"cash": 0.0, "capacity": 12.0, "equity_share": 0.25, "capex": 1200.0}
    found = by_hand({"weak": row, "strong": row | {"window_beta": 0.5}}, [], 3, **window)
    for name, beta in (("weak", 1.0), ("strong", 0.5)):
        access = 1.0 - beta * (1.0 - np.array([1.0, 0.7, 0.15]))
        worth = (found[name]["value"] - found[name]["owed"]) / 1000.0  # new equity adds to it
        before = np.array([1.0, *worth[:-1]])
        assert found[name]["debt"] == pytest.approx(0.75 * access * before, rel=1e-9)
        assert found[name]["equity"] == pytest.approx(0.25 * access * before, rel=1e-9)
        spent = sum(found[name][k] for k in ("capex", "interest", "principal"))
        assert spent == pytest.approx(access * before, rel=1e-9)


def test_what_collateral_and_guarantees_took_is_paid_first_and_the_rest_is_overdue() -> None:
    """Cash 5; 3 for a margin and 4 for a guarantee: 5 are paid, 2 stay overdue, and are paid once there is money."""
    taken = {
        "gpu_loans": {"margin_payer": [3.0, 0.0]},
        "structured": {"guarantee_payer": [4.0, 0.0]},
    }
    firm = {
        "payer": {"cash": 5.0, "seller": "sales", "ai_revenue": 12.0, "margin": 1.0},
        "payee": {},
    }
    sales = {"revenue": {"sales_multiple": [0.0, 0.0, 1.0]}}
    payer = by_hand(firm, [], 4, **taken, **sales)["payer"]
    assert payer["collateral"] == pytest.approx([5.0, 0.0, 0.0, 0.0])
    assert payer["principal"] == pytest.approx([0.0, 0.0, 1.0, 1.0])
    assert payer["overdue"] == pytest.approx([2.0, 2.0, 1.0, 0.0])


def test_debt_that_gpu_loans_repaid_is_not_lost_again() -> None:
    """Debt 30, of it 10 in a GPU loan that was sold out the month before the default: 0.6 x 20 is lost here."""
    loans = {
        "gpu_loans": {
            "balance_payer": [10.0, 10.0, 10.0, 0.0],
            "repaid_payer": [0.0, 0.0, 0.0, 10.0, 0.0],
        }
    }
    stress = {"stress": {"default_payer": [0.0, 0.0, 0.0, 1.0, 0.0]}}
    found = by_hand({"payer": {"debt": 30.0}, "payee": {}}, [], 5, **loans, **stress)
    assert found["debt_loss"] == pytest.approx([0.0, 0.0, 0.0, 12.0, 12.0], rel=1e-6)


def test_vendor_equity_comes_in_tranches_until_it_is_pointless() -> None:
    """1 a month, as capacity comes on; none once the window is shut and the receiver has lost half its value."""
    firm = {
        "giver": {"cash": 100.0, "equity_beta": 0.0},
        "taker": {"cash": 0.0, "equity": 100.0, "equity_beta": 1.0},
    }
    gift = [{"name": "e", "payer": "giver", "payee": "taker", "kind": "equity", "total": 12.0, "lasting": 12},
            {"name": "c", "payer": "taker", "payee": "giver", "kind": "compute", "total": 0.0}]  # fmt: skip
    falls = {"funding": {"window": [0.0] * 3 + [2.0], "log_equity": [0.0] * 7 + [-1.0]}}
    pace = {"compute": {"delivery": [10.0, 5.0] + [10.0] * 3}}
    found = by_hand(firm, gift, 9, **falls, **pace)
    # the value of assets falls in month 8, which next month's tranche looks at
    assert found["taker"]["vendor_equity"] == pytest.approx(
        [1.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    )
    assert found["giver"]["vendor_equity_given"] == pytest.approx(found["taker"]["vendor_equity"])


def test_a_ledger_has_two_sides() -> None:
    assert len(set(LEDGER)) == len(LEDGER) == len(IN) + len(OUT)


# ---- forced events
NEUTRAL = {k: 1.0 if k == "renewals" else 0.0 for k in WHAT if k != "default"}
SIZES = {"renewals": 0.4, "window": 2.0, "recall": 0.3, "rate": 0.02}


def felt(*events: dict[str, Any], paths: int = 1, names: Any = tuple(NEUTRAL)) -> dict[str, Array]:
    rows = [{"on": True, "probability": 1.0} | e | {"name": f"e{i}"} for i, e in enumerate(events)]
    found = history([Stress(event=rows)], [f"stress.{n}" for n in names], paths=paths, months=24)
    return {k.partition(".")[2]: v for k, v in found.items()}


def of_kind(what: str, **more: Any) -> dict[str, Any]:
    return {"what": what, "month": 7, "lasting": 4, "size": SIZES.get(what, -0.5), **more}


@pytest.mark.parametrize("what", list(NEUTRAL))
def test_an_event_acts_in_its_months_on_its_kind_alone(what: str) -> None:
    found, month = felt(of_kind(what)), np.arange(1, 25)
    for kind, neutral in NEUTRAL.items():
        inside = (month >= 7) & (month < 11) & (kind == what)
        assert np.array_equal(
            found[kind][:, 0], np.where(inside, SIZES.get(what, -0.5), neutral)
        ), kind
    none = felt(of_kind(what, probability=0.0), paths=1000)
    assert all((none[kind] == neutral).all() for kind, neutral in NEUTRAL.items())


@pytest.mark.parametrize("what", list(NEUTRAL))
def test_an_event_of_even_odds_hits_half_the_paths(what: str) -> None:
    """The same paths in all its months; their number at four standard errors."""
    hit = felt(of_kind(what, probability=0.5), paths=PATHS, names=[what])[what] != NEUTRAL[what]
    assert abs(hit[6].mean() - 0.5) < STANDARD_ERRORS * 0.5 / math.sqrt(PATHS)
    assert (hit[6:10] == hit[6]).all()
    assert not hit[:6].any()
    assert not hit[10:].any()


def test_a_target_is_hit_alone_and_a_default_once() -> None:
    events = [of_kind("rental", target="hopper"), of_kind("default", target="openai", size=1.0)]
    found = felt(*events, names=("rental", "rental_hopper", "default_openai"))
    assert not found["rental"].any()
    assert np.flatnonzero(found["rental_hopper"][:, 0]).tolist() == [6, 7, 8, 9]
    assert np.flatnonzero(found["default_openai"][:, 0]).tolist() == [6]


def test_events_of_a_kind_add_up_as_their_kind_does() -> None:
    found = felt(*(of_kind(k) for k in NEUTRAL), *(of_kind(k, month=9) for k in NEUTRAL))
    month = {k: v[:, 0] for k, v in found.items()}
    assert month["rental"][[6, 8, 10, 12]] == pytest.approx([-0.5, -1.0, -0.5, 0.0])
    assert month["renewals"][[6, 8, 10, 12]] == pytest.approx([0.4, 0.16, 0.4, 1.0])
    assert month["window"][[6, 8, 10, 12]] == pytest.approx([2.0, 2.0, 2.0, 0.0])
    # two calls of 0.3 leave 0.7 x 0.7
    assert month["recall"][[6, 8, 10, 12]] == pytest.approx([0.3, 0.51, 0.3, 0.0])


@pytest.mark.parametrize("months", [12, 60])
def test_an_event_after_the_horizon_is_an_error(months: int) -> None:
    changed = {
        "months": months,
        "stress.event.price_war.on": True,
        "stress.event.price_war.month": months + 1,
    }
    with pytest.raises(
        ConfigError, match=f"price_war.month = {months + 1}: after the horizon; .* at most {months}"
    ):
        load("base", changed)
    load("base", changed | {"stress.event.price_war.month": months})
