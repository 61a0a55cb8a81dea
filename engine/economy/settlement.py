"""How firms settle a month: in the order of seniority, and what stands in the ledger afterwards."""

from __future__ import annotations

from typing import Any

from ..system import DT

IN = ("customers", "contracts", "vendor_equity", "debt", "equity", "state")
OUT = (
    "suppliers", "contracts_paid", "vendor_equity_given", "collateral", "leases", "interest", "principal",
    "capex", "shareholders", "bankruptcy",
)  # fmt: skip
LEDGER = IN + OUT
"""Kinds of flow; ``ledger[i * len(LEDGER) + j]`` is kind j of firm i this month, USD bn."""

ARREARS = 1e-4  # USD bn that may stay open without being called arrears: rounding, in float32


def settle(
    xp: Any, firms: Any, s: Any, market: Any, work: Any, due: Any, gifts: Any, plan: Any, paid: Any
) -> Any:
    """Each firm pays operating cost and contracts (which clearing has fixed), then arrears and leases, interest,
    maturities, capex and shareholders, as far as its money goes; a declared default pays its lenders out.

    Returns the new state by firm, this month's ledger, and sums over firms.
    """
    n = len(firms.firm)

    def firm(i: Any, a: Any) -> dict[str, Any]:
        live, held = xp.get(a.alive, i), xp.get(plan.declares, i)
        outside, received = xp.get(plan.outside, i), xp.get(paid.received, i)
        owes = xp.get(due.owes, i)
        contracts = owes * xp.get(paid.share, i)
        kept = outside * xp.get(plan.keep_own, i) + received * xp.get(plan.keep_paid, i)
        left = xp.maximum(kept - contracts, 0.0)

        go_on = 1.0 - held
        overdue = (xp.get(a.overdue, i) + xp.get(plan.short, i)) * go_on
        lease = xp.get(plan.lease, i) * go_on
        interest = xp.get(plan.interest, i) * go_on
        maturing = xp.get(plan.maturing, i) * go_on
        paid_overdue = xp.minimum(left, overdue)
        left = left - paid_overdue
        paid_lease = xp.minimum(left, lease)
        left = left - paid_lease
        paid_interest = xp.minimum(left, interest)
        left = left - paid_interest
        paid_debt = xp.minimum(left, maturing)
        left = left - paid_debt
        open_sum = (
            (overdue - paid_overdue)
            + (lease - paid_lease)
            + (interest - paid_interest)
            + (maturing - paid_debt)
        )
        floor = firms.liquidity * firms.firm_cash[i]
        capex = xp.minimum(xp.get(plan.capex, i), xp.maximum(left - floor, 0.0)) * go_on
        left = left - capex
        dividend = xp.minimum(xp.get(plan.dividend, i), xp.maximum(left - floor, 0.0)) * go_on
        left = left - dividend
        payout = firms.payout * xp.maximum(left - firms.firm_target[i], 0.0) * go_on
        left = left - payout
        cash = left * go_on

        debt, gpu = xp.get(a.debt, i), xp.get(work.gpu, i)
        raised = xp.get(plan.raised, i)
        new_debt = raised * (1.0 - firms.firm_equity_share[i])
        repaid = xp.get(work.repaid, i)
        rest = xp.maximum(debt - maturing - repaid, 0.0)
        owed = (rest + new_debt) * go_on * live
        price = market.rate + 1e-4 * xp.get(plan.spread, i)
        coupon = (rest * xp.get(a.coupon, i) + new_debt * price) / xp.maximum(rest + new_debt, 1e-6)
        value = xp.get(plan.value, i) + raised + xp.get(gifts.got, i) - maturing - repaid
        own = xp.maximum(debt - gpu - repaid, 0.0)
        lost = firms.firm_lgd[i] * (own + xp.get(a.overdue, i)) * held
        late = open_sum + owes * (1.0 - xp.get(paid.share, i)) > ARREARS
        alive = live * go_on
        network = firms.firm_network[i]
        flows = {
            "customers": xp.get(plan.customers, i),
            "contracts": received,
            "vendor_equity": xp.get(gifts.got, i),
            "debt": new_debt,
            "equity": raised - new_debt,
            "state": plan.support * firms.firm_supported[i],
            "suppliers": xp.get(plan.cost, i),
            "contracts_paid": contracts,
            "vendor_equity_given": xp.get(gifts.gave, i),
            "collateral": xp.get(plan.called, i),
            "leases": paid_lease,
            "interest": paid_interest,
            "principal": paid_debt + paid_overdue + left * held,
            "capex": capex,
            "shareholders": dividend + payout,
            "bankruptcy": outside + received - kept,
        }
        ledger = a.ledger
        for j, kind in enumerate(LEDGER):
            ledger = xp.set(ledger, i * len(LEDGER) + j, flows[kind])
        return {
            "ledger": ledger,
            "cash": xp.set(a.cash, i, cash),
            "debt": xp.set(a.debt, i, owed),
            "coupon": xp.set(a.coupon, i, xp.where(rest + new_debt > 1e-6, coupon, xp.get(a.coupon, i))),
            "fresh": xp.set(a.fresh, i, (xp.get(a.fresh, i) * (1.0 - DT / firms.capacity_life) + capex) * alive),
            "value": xp.set(a.value, i, xp.maximum(value, 1e-3)),
            "overdue": xp.set(a.overdue, i, open_sum),
            "late": xp.set(a.late, i, xp.where(late, xp.get(a.late, i) + 1.0, 0.0) * alive),
            "alive": xp.set(a.alive, i, alive),
            "raised_debt": xp.set(a.raised_debt, i, new_debt),
            "lost": a.lost + lost,
            "fell": xp.set(a.fell, i, held * live),
            "standing": a.standing + alive,
            "ai_debt": a.ai_debt + xp.maximum(owed - firms.firm_old_debt[i] * alive, 0.0),
            "all_debt": a.all_debt + owed,
            "from_network": a.from_network + network * (received + flows["vendor_equity"]),
            "from_all": a.from_all
            + network * (received + flows["vendor_equity"] + flows["customers"]),
            "paid": a.paid + contracts,
            "due": a.due + owes,
            "borrowed": a.borrowed + new_debt,
            "built": a.built + capex,
        }  # fmt: skip

    sums = dict.fromkeys(
        (
            "lost",
            "standing",
            "ai_debt",
            "all_debt",
            "from_network",
            "from_all",
            "borrowed",
            "built",
            "paid",
            "due",
        ),
        0.0,
    )
    return xp.loop(
        0, n, firm,
        cash=s.cash, debt=s.debt, coupon=s.coupon, fresh=s.fresh, value=s.value, overdue=s.overdue,
        late=s.late, alive=s.alive, raised_debt=xp.array(n, 0.0),
        fell=xp.array(n, 0.0), ledger=xp.array(n * len(LEDGER), 0.0),
        **sums,
    )  # fmt: skip


def carry_over(xp: Any, firms: Any, s: Any, due: Any, done: Any, paid: Any) -> dict[str, Any]:
    """What contracts leave unpaid is due again next month, as long as both sides stand."""

    def contract(k: Any, a: Any) -> dict[str, Any]:
        payer, payee = firms.payer[k], firms.payee[k]
        both = xp.get(done.alive, payer) * xp.get(done.alive, payee)
        open_sum = xp.get(due.due, k) * (1.0 - xp.get(paid.share, payer)) * both
        return {"unpaid": xp.set(a.unpaid, k, xp.where(open_sum > 1e-6, open_sum, 0.0))}

    unpaid = xp.loop(0, len(firms.owed), contract, unpaid=s.unpaid).unpaid
    found = {f"short_{c.name}": xp.get(unpaid, k) for k, c in enumerate(firms.owed)}
    return {"unpaid": unpaid, **found}


def shares_of(xp: Any, firms: Any, s: Any, done: Any) -> dict[str, Any]:
    """Ratios over firms: who pays whom, and how far building rests on outside debt (a year's average)."""
    raised = s.raised_lately + (done.borrowed - s.raised_lately) * DT
    built = s.capex_lately + (done.built - s.capex_lately) * DT
    return {
        "network_share": done.from_network / xp.maximum(done.from_all, 1e-6),
        "raised_lately": raised,
        "capex_lately": built,
        "outside_share": raised / xp.maximum(built, 1e-6),
        "debt_raised": done.borrowed / DT,
        "capex_paid": done.built / DT,
        "ai_debt": done.ai_debt,
        "reported_debt": done.all_debt,
    }
