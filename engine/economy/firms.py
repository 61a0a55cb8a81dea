"""Firms: who owes whom, who pays, who defaults.

A month has four passes. Contracts fall due; each firm plans its month and raises what it lacks, as far as
the window lets it; the network is cleared; each firm settles, in the order of seniority: operating cost, contracts,
leases, interest, maturities, then capex, which is cut first, and shareholders.
"""

from __future__ import annotations

import math
from typing import Any

from ...kernels.namespace import Fields
from ..system import DT, Output, System, output, parameter, rows, setting, table
from . import firm_checks
from .clearing import Network, clear_contracts
from .firm_tables import OWED, Contract, Firm, Rung
from .schedules import PERIODS, schedules
from .settlement import carry_over, settle, shares_of

DOUBTED = 0.004  # a year's default intensity from which a firm's spread is reported by month
STATE = (
    "cash", "debt", "coupon", "fresh", "value", "hazard", "limit", "overdue", "late", "alive",
)  # fmt: skip


class Firms(System):
    """Twelve firms and their contracts: cash, debt, funding, clearing, default.

    Clearing is the greatest Eisenberg-Noe vector (2001); default costs (Rogers and Veraart 2013) fall due only
    when a default is declared, and until then unpaid sums are arrears. A default is declared on arrears beyond
    the grace period, on assets below a barrier (Black and Cox 1976), or by a Cox intensity on leverage,
    drawdown, window and rentals (Duffie, Saita and Wang 2007).
    """

    title = "who owes whom"
    reads = ("stress", "revenue", "compute", "rental", "gpu_loans", "structured", "funding")

    firm = rows(Firm, table(Firm, "firms.csv"), "each row says where its figures come from")
    contract = rows(
        Contract, table(Contract, "contracts.csv"), "each row says where its figures come from"
    )
    ladder = rows(
        Rung, table(Rung, "ladder.csv"), "each row says where its figures come from", least=0
    )
    ladder_reading = setting(
        "filings",
        "CoreWeave's maturities: filings, most in 2028-31 (data); atlantic, half within a year (coreweave_due_1y)",
        choices=("filings", "atlantic"),
    )
    lease_reading = setting(
        "filings",
        "CoreWeave's leases: filings, they begin by 2028 and run 15 years; atlantic, due by 2028 (coreweave_leases)",
        choices=("filings", "atlantic"),
    )
    lease_years = parameter(
        15.0, "year", "assumption: that leases run, begun over three years", gt=0
    )
    grace = parameter(3.0, "month", "assumption: arrears beyond which a default is declared", ge=0)
    alpha = parameter(
        0.9, "share", "assumption: of its own assets that a declared default keeps", ge=0, le=1
    )
    beta = parameter(0.9, "share", "assumption: of payments due to it that it keeps", ge=0, le=1)
    barrier = parameter(
        0.5, "share", "assumption: assets over debt at which owners give up", ge=0, le=1
    )
    distress = parameter(
        [1.0, 1.0, 0.2, 0.4],
        "1",
        "assumption: weight in log intensity of leverage, equity drawdown, window, rental shortfall",
        ge=0,
    )
    distress_bounds = parameter([-1.5, 3.5], "log", "assumption: least and most that they move it")
    appetite = parameter(
        [1.0, 0.7, 0.15],
        "share",
        "assumption: of outside money when funding is open, tight, shut",
        ge=0,
        le=1,
    )
    liquidity = parameter(
        0.15, "share", "assumption: of starting cash that is kept in hand", ge=0, le=1
    )
    prudence = parameter(
        0.8,
        "share",
        "assumption: of starting cash that a firm raises money to keep, while it can",
        ge=0,
        le=2,
    )
    payout = parameter(0.25, "share", "assumption: of excess cash paid out in a month", ge=0, le=1)
    running_cost = parameter(
        0.25, "share", "assumption: of contract revenue that serving it costs", ge=0, le=1
    )
    capacity_life = parameter(6.0, "year", "fact: accounting_life_new", ge=0.1)
    spend_2025 = parameter(400.0, "USD bn/year", "fact: datacenter_spend_2025", gt=0)
    backstop = parameter(
        0.0, "probability", "assumption: a month, of state support while the window is shut and it is in arrears",
        ge=0, lt=1,
    )  # fmt: skip
    backstop_firm = setting("openai", "whom the state would support")

    debt_loss = output("USD bn", "lost on firm debt outside gpu_loans and structured")
    ai_debt = output("USD bn", "AI debt of firms")
    network_share = output("share", "of labs' and neoclouds' inflow that firms of the network paid")
    outside_share = output("share", "of capex financed by outside debt, lately")
    state_support = output("USD bn", "paid by the state", metric=False, series=False)
    bankrupt = output("count", "firms in default")

    def outputs(self) -> dict[str, Output]:
        found = super().outputs()
        for f in self.firm:
            found[f"defaulted_{f.name}"] = Output("0 or 1", f"{f.name} has defaulted", series=False)
            doubted = f.hazard >= DOUBTED  # by month only where a default is in question
            found[f"spread_{f.name}"] = Output(
                "bp", f"credit spread of {f.name}", metric=False, series=doubted
            )
        return found

    def check(self) -> list[str]:
        return firm_checks.alone(self)

    def fits(self, others: dict[str, System]) -> list[str]:
        return firm_checks.beside(self, others)

    def prepare(self) -> dict[str, Any]:
        self.names = [f.name for f in self.firm]
        self.owed = [c for c in self.contract if c.kind in OWED]
        self.network = Network(
            [self.names.index(c.payer) for c in self.owed],
            [self.names.index(c.payee) for c in self.owed],
            len(self.names),
        )
        return schedules(self) | self.network.columns()

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        n = len(self.firm)
        tries: list[Any] = []
        for i in range(-(-n // 4)):
            tries += draw.uniform("default", 4, index=i)
        columns = {
            "cash": self.firm_cash, "debt": self.firm_debt, "coupon": self.firm_coupon,
            "value": self.firm_value,
        }  # fmt: skip
        made = {k: xp.array(n, 1.0 if k == "alive" else 0.0) for k in STATE}
        for i in range(n):
            for k, column in columns.items():
                made[k] = xp.set(made[k], i, column[i])
            made["limit"] = xp.set(made["limit"], i, -xp.log(tries[i]))
        return {
            **made, "patience": -xp.log(draw.uniform("patience")), "pressure": 0.0, "unpaid": xp.array(max(len(self.owed), 1), 0.0),
            "given": xp.array(len(self.contract), 0.0), "equity_before": 0.0, "debt_loss": 0.0,
            "state_support": 0.0, "raised_lately": 0.0, "capex_lately": self.capex_start,
        }  # fmt: skip

    # ---- the month
    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        n = len(self.firm)
        market = self._market(xp, s, up)
        work = self._operations(xp, s, up, market, draw)
        due = self._due(xp, s, market, work)
        gifts = self._vendor_equity(xp, s, market, work)
        plan = self._plan(xp, s, up, market, work, due, gifts)
        paid = clear_contracts(
            xp,
            self.network,
            self,
            due.due,
            plan.outside,
            plan.keep_own,
            plan.keep_paid,
            always=True,
        )
        done = settle(xp, self, s, market, work, due, gifts, plan, paid)
        unpaid = carry_over(xp, self, s, due, done, paid)

        new = {
            k: getattr(done, k)
            for k in ("cash", "debt", "coupon", "fresh", "value", "overdue", "late", "alive")
        }
        seen: dict[str, Any] = {}
        for i, f in enumerate(self.names):
            dead = 1.0 - xp.get(done.alive, i)
            seen[f"defaulted_{f}"] = dead
            seen[f"defaults_now_{f}"] = xp.get(done.fell, i)
            seen[f"cash_{f}"] = xp.get(done.cash, i)
            seen[f"arrears_{f}"] = xp.get(done.late, i)
            seen[f"debt_{f}"] = xp.get(done.debt, i)
            seen[f"raised_debt_{f}"] = xp.get(done.raised_debt, i)
            seen[f"spread_{f}"] = xp.get(plan.spread, i)
            seen[f"spread_{f}_start"] = self.firm_spread[i]
            seen[f"surplus_{f}"] = xp.get(plan.surplus, i)
            seen[f"value_{f}"] = xp.get(done.value, i)
            seen[f"maturing_{f}"] = xp.get(plan.maturing, i)
        shares = shares_of(xp, self, s, done)
        return {
            **new, **seen, **shares, **unpaid, "hazard": plan.hazard, "limit": s.limit,
            "patience": s.patience, "pressure": plan.pressure,
            "given": gifts.given, "equity_before": market.log_equity,
            "debt_loss": s.debt_loss + done.lost, "state_support": s.state_support + plan.support,
            "paid_share": done.paid / xp.maximum(done.due, 1e-9),
            "ledger": done.ledger, "residual": paid.residual, "bankrupt": float(n) - done.standing,
            "take_or_pay": self.committed[up.month],
        }  # fmt: skip

    def _market(self, xp: Any, s: Any, up: Any) -> Any:
        window = up.funding.window
        per_kw = xp.exp(up.rental.log_per_kw)
        use = up.compute.utilisation
        return Fields(
            {
                "month": up.month,
                "window": window,
                "appetite": xp.where(
                    window < 0.5, self.appetite[0],
                    xp.where(window < 1.5, self.appetite[1], self.appetite[2]),
                ),
                "log_equity": up.funding.log_equity,
                "moved": up.funding.log_equity - s.equity_before,
                "premium": xp.exp(up.funding.log_spread),
                "rate": up.funding.rate,
                "strain": self.distress[1] * up.funding.drawdown + self.distress[2] * window,
                "shortfall": self.distress[3] * up.rental.shortfall,
                "multiple0": up.revenue.multiple0,
                "building": up.compute.capex / self.spend_2025,
                "delivering": up.compute.delivery / up.compute.delivery0,
                "unsold": xp.clip(1.0 - use, 0.0, 1.0),
                "relet": xp.minimum(per_kw, 1.0) * use,
                "rented": per_kw * use / up.compute.utilisation0,
            }
        )  # fmt: skip

    def _operations(self, xp: Any, s: Any, up: Any, market: Any, draw: Any) -> Any:
        """By firm: AI revenue, its multiple, a laboratory's cost, own news, GPU loans, forced defaults."""
        n = len(self.firm)
        made = {
            k: xp.array(n, 0.0)
            for k in ("revenue", "multiple", "cost", "news", "gpu", "repaid", "called", "forced")
        }
        news = draw.normal("assets", n)
        for i, f in enumerate(self.firm):
            multiple: Any = getattr(up.revenue, f"{f.seller}_multiple") if f.seller else 1.0
            values: dict[str, Any] = {
                "multiple": multiple,
                "revenue": self.firm_ai_revenue[i] * multiple,
                "news": news[i] if n > 1 else news,
                "gpu": getattr(up.gpu_loans, f"balance_{f.name}", None),
                "repaid": getattr(up.gpu_loans, f"repaid_{f.name}", None),
                "called": self._called(up, f.name),
                "forced": getattr(up.stress, f"default_{f.name}", None),
            }
            if f.kind == "lab":
                values["cost"] = self.firm_cost[i] * xp.pow(multiple, self.firm_cost_elasticity[i])
            for k, v in values.items():
                if v is not None:
                    made[k] = xp.set(made[k], i, v)
        return Fields(made)

    def _called(self, up: Any, firm: str) -> Any:
        """Cash that collateral, GPU loans and guarantees took last month, due now; None where there is none."""
        parts = [
            getattr(up.gpu_loans, f"margin_{firm}", None),
            getattr(up.gpu_loans, f"principal_{firm}", None),
            getattr(up.structured, f"guarantee_{firm}", None),
        ]
        found = [p for p in parts if p is not None]
        return sum(found[1:], found[0]) if found else None

    def _due(self, xp: Any, s: Any, market: Any, work: Any) -> Any:
        """Contracts that fall due, with what was left unpaid, by contract and by firm."""
        n, t = len(self.firm), market.month

        def contract(k: Any, a: Any) -> dict[str, Any]:
            payer, payee, kind = self.payer[k], self.payee[k], self.contract_kind[k]
            multiple, firm = xp.get(work.multiple, payer), self.contract_firmness[k]
            behind = xp.minimum(multiple / self.contract_plan[k * PERIODS + t], 1.0)
            grown = multiple / market.multiple0
            follows = xp.where(
                kind == 0, behind, xp.where(kind == 2, grown, xp.where(kind == 3, market.unsold, market.delivering))
            )  # fmt: skip
            share = xp.where(kind == 1, 1.0, firm + (1.0 - firm) * follows)
            amount = self.contract_due[k * PERIODS + t] * share
            both = xp.get(s.alive, payer) * xp.get(s.alive, payee)
            owed = (amount + xp.get(s.unpaid, k)) * both
            # a customer that is gone leaves capacity to others, at the market's price
            again = amount * market.relet * (xp.get(s.alive, payee) - both) * self.contract_relet[k]
            return {
                "due": xp.set(a.due, k, owed),
                "owes": xp.set(a.owes, payer, xp.get(a.owes, payer) + owed),
                "gets": xp.set(a.gets, payee, xp.get(a.gets, payee) + owed),
                "relet": xp.set(a.relet, payee, xp.get(a.relet, payee) + again),
                "chips": xp.set(
                    a.chips, payer, xp.get(a.chips, payer) + owed * self.contract_chips[k]
                ),
            }

        start = {k: xp.array(n, 0.0) for k in ("owes", "gets", "relet", "chips")}
        return xp.loop(
            0, len(self.owed), contract, due=xp.array(max(len(self.owed), 1), 0.0), **start
        )

    def _vendor_equity(self, xp: Any, s: Any, market: Any, work: Any) -> Any:
        """Equity that one firm gives another, in tranches as capacity comes on, and round trips."""
        n, t = len(self.firm), market.month
        got, gave, round_trip = xp.array(n, 0.0), xp.array(n, 0.0), xp.array(n, 0.0)
        given = s.given
        for k, c in enumerate(self.contract):
            if c.kind not in ("equity", "round_trip"):
                continue
            i = self.names.index(c.payer)
            tranche = self.gift_due[k * PERIODS + t] * xp.get(s.alive, i)
            if c.kind == "round_trip":
                round_trip = xp.set(round_trip, i, xp.get(round_trip, i) + tranche)
                continue
            j = self.names.index(c.payee)
            left = xp.maximum(self.gift_total[k] - xp.get(given, k), 0.0)
            fallen = xp.get(s.value, j) < 0.5 * self.firm_value[j]
            pays = xp.where((market.window > 1.5) & fallen, 0.0, xp.get(s.alive, j))
            tranche = xp.minimum(tranche * market.delivering, left) * pays
            tranche = xp.minimum(
                tranche, 0.5 * xp.maximum(xp.get(s.cash, i) - xp.get(gave, i), 0.0)
            )
            got = xp.set(got, j, xp.get(got, j) + tranche)
            gave = xp.set(gave, i, xp.get(gave, i) + tranche)
            given = xp.set(given, k, xp.get(given, k) + tranche)
        return Fields({"got": got, "gave": gave, "given": given, "round_trip": round_trip})

    def _plan(self, xp: Any, s: Any, up: Any, market: Any, work: Any, due: Any, gifts: Any) -> Any:
        """By firm: whether it declares default, what it owes outside the network, what it raises."""
        n, t = len(self.firm), market.month

        def firm(i: Any, a: Any) -> dict[str, Any]:
            live, debt, cash = xp.get(s.alive, i), xp.get(s.debt, i), xp.get(s.cash, i)
            v, beta = self.firm_volatility[i], self.firm_equity_beta[i]
            move = (
                beta * market.moved + v * (math.sqrt(DT) * xp.get(work.news, i)) - 0.5 * v * v * DT
            )
            value = xp.get(s.value, i) * xp.exp(move)
            leverage = debt / xp.maximum(value, 1e-3)
            log_odds = xp.clip(
                self.distress[0] * (leverage - self.firm_leverage[i]) + beta * market.strain
                + self.firm_rental_beta[i] * market.shortfall,
                self.distress_bounds[0], self.distress_bounds[1],
            )  # fmt: skip
            raised_odds = xp.exp(log_odds)
            hazard = xp.get(a.hazard, i) + self.firm_hazard[i] * raised_odds * DT
            fails = (hazard >= xp.get(s.limit, i)) | (value < self.barrier * debt)
            fails = fails | (xp.get(s.late, i) > self.grace) | (xp.get(work.forced, i) > 0.5)
            declares = fails & (live > 0.5)

            revenue = xp.get(work.revenue, i)
            old = self.firm_ocf_path[i * PERIODS + t] * xp.where(
                self.firm_follows[i] == 1, market.building, 1.0
            )
            fresh = self.firm_capex_yield[i] * xp.get(s.fresh, i) * market.rented
            customers = (xp.maximum(old, 0.0) + revenue + fresh) * DT + xp.get(due.relet, i)
            gets, owes = xp.get(due.gets, i), xp.get(due.owes, i)
            cost = (
                xp.maximum(-old, 0.0) + xp.get(work.cost, i) + revenue * (1.0 - self.firm_margin[i])
            )
            cost = cost * DT + self.running_cost * gets
            # what GPU loans repaid last month leaves the debt now
            own = xp.maximum(debt - xp.get(work.gpu, i) - xp.get(work.repaid, i), 0.0)
            rung = self.ladder_due[i * PERIODS + t]
            maturing = xp.minimum(
                xp.where(self.firm_has_ladder[i] == 1, rung, 0.0) + own * self.firm_roll[i], own
            )
            interest = debt * xp.get(s.coupon, i) * DT
            lease = self.firm_lease[i * PERIODS + t]
            # chips on order are part of what it builds
            capex = xp.maximum(
                self.firm_capex[i] * market.building * DT - xp.get(due.chips, i), 0.0
            )
            gave = xp.get(gifts.gave, i)
            taken = xp.get(work.called, i)
            called = xp.minimum(taken, cash - gave)
            senior = cost + taken + gave
            owed = lease + interest + maturing + xp.get(s.overdue, i)
            in_hand = (
                cash - self.prudence * self.firm_cash[i] + customers + gets + xp.get(gifts.got, i)
            )
            dividend = self.firm_dividend[i] * xp.maximum(old, 0.0) * DT
            need = senior + owes + owed + capex + dividend - in_hand
            worth = xp.clip((value - debt) / self.firm_equity[i], 0.0, 2.0)
            access = 1.0 - self.firm_window_beta[i] * (1.0 - market.appetite)
            limit = self.firm_capacity[i] * DT * access * worth
            raised = xp.where(declares, 0.0, xp.clip(need, 0.0, limit))
            cover = cash + customers + raised + xp.get(gifts.got, i) - gave - called
            outside = xp.maximum(cover - cost, 0.0) * live
            # what cash does not reach is overdue, before leases and interest
            short = xp.maximum(cost - cover, 0.0) + (taken - called)
            held = xp.where(declares, 1.0, 0.0)
            return {
                "value": xp.set(a.value, i, value), "hazard": xp.set(a.hazard, i, hazard),
                "declares": xp.set(a.declares, i, held), "customers": xp.set(a.customers, i, customers * live),
                "cost": xp.set(a.cost, i, xp.minimum(cost, xp.maximum(cover, 0.0)) * live),
                "short": xp.set(a.short, i, short * live),
                "maturing": xp.set(a.maturing, i, maturing * live), "interest": xp.set(a.interest, i, interest * live),
                "lease": xp.set(a.lease, i, lease * live), "capex": xp.set(a.capex, i, capex * live),
                "dividend": xp.set(a.dividend, i, dividend * live),
                "called": xp.set(a.called, i, called * live), "raised": xp.set(a.raised, i, raised * live),
                "outside": xp.set(a.outside, i, outside),
                "keep_own": xp.set(a.keep_own, i, 1.0 - held * (1.0 - self.alpha)),
                "keep_paid": xp.set(a.keep_paid, i, 1.0 - held * (1.0 - self.beta)),
                "spread": xp.set(a.spread, i, self.firm_spread[i] * raised_odds * market.premium),
                "surplus": xp.set(a.surplus, i, (customers - cost - owes - interest) / DT * live),
                "unfunded": xp.set(a.unfunded, i, xp.maximum(need - capex - dividend - raised, 0.0)),
            }  # fmt: skip

        kinds = (
            "value", "declares", "customers", "cost", "short", "maturing", "interest", "lease", "capex",
            "dividend", "called", "raised", "outside", "keep_own", "keep_paid", "spread", "surplus", "unfunded",
        )  # fmt: skip
        start = {k: xp.array(n, 0.0) for k in kinds}
        made = xp.loop(0, n, firm, **start, hazard=s.hazard)
        return self._with_backstop(xp, s, market, made)

    def _with_backstop(self, xp: Any, s: Any, market: Any, plan: Any) -> Any:
        """The state's support: a firm in arrears while the window is shut is given what it lacks.

        Patience is exponential: with a chance p a month, -log(1 - p) of it is used up in each such month.
        """
        kinds = {k: getattr(plan, k) for k in dir(plan)}
        i = self.names.index(self.backstop_firm)
        waits = (xp.get(s.late, i) > 0.5) & (market.window > 1.5)
        pressure = s.pressure + xp.where(waits, self.backstop_hazard, 0.0)
        gives = waits & (pressure > s.patience) & (xp.get(plan.declares, i) < 0.5)
        support = xp.where(gives, xp.get(plan.unfunded, i), 0.0)
        kinds["outside"] = xp.set(plan.outside, i, xp.get(plan.outside, i) + support)
        return Fields(kinds | {"support": support, "pressure": pressure, "supported": i})
