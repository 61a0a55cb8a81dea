"""GPU loans: collateral that rentals price, covenants, and the fire sale when they break."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...kernels.namespace import Fields
from ..book import streams
from ..system import DT, Output, System, output, parameter, rows, setting, table
from . import gpu_loan_tables
from .fire_sale import LAWS, Terms, excess, price_ratio, sell, worth
from .gpu_loan_tables import BN, MARKET, GpuLoan, Market, Pledge

_ENOUGH = 1e6  # USD bn: a borrower outside the firms pays its instalments until it defaults
_LAST = 1.001  # instalments: a balance up to this many is the last one
_ARRAYS = ("owed", "units", "due", "reserve")  # of the state: by loan; units also by generation
_LOSSES = ("loss", "loss_in_book", "loss_banks", "loss_other")
_FLOWS = ("margin", "principal", "repaid")  # by firm, of this month
_MONTH = ("rounds", "sold", "sold_round2", "breaches")


class GpuLoans(System):
    """Loans against GPUs: instalments, new pledges, covenants, defaults, and the fire sale of ``fire_sale``.

    A month draws new debt against chips of the newest generation on the market (chips buy chips), takes
    straight-line instalments, calls the loans of borrowers in default, and tests covenants at the resale values of
    fleet; the breaches meet in a fire sale. Prepayments shorten instalments in proportion, pledged units are
    never released before a loan is repaid, and a loan with nothing left to sell is written off.

    Impact is not counted twice. fleet values a chip by its rental, in which rental has by then
    taken up chi times ``impact_<generation>`` of the months before; so a month's sale starts from fleet's value
    and adds only what it sells itself. ``impact_<generation>`` adds up by how much, in logs, each month's sales
    lowered the price, and fades; it is for rental to read next month, and no price here is lowered by it again.

    A borrower that is no firm defaults when its cumulative hazard, raised by e^(beta x rental shortfall), passes
    an exponential threshold drawn once for each path (Cox); loans that name it default together.
    """

    title = "collateral, covenants, fire sale"
    reads = ("rental", "fleet", "firms", "funding")

    # fmt: off
    loan = rows(GpuLoan, table(GpuLoan, "gpu_loans.csv"), "each row says where its figures come from")
    pledge = rows(Pledge, table(Pledge, "gpu_pledges.csv"), "each row says where its figure comes from")
    market = rows(Market, MARKET, "generations in the order of rental; new debt is drawn against them")
    impact_law = setting("exponential", "price after a sale: P e^-k, or P (1 - k)", choices=LAWS)
    floor = parameter(
        0.10, "share", "assumption: of a month's price that buyers for parts pay for any number", ge=0, lt=1
    )
    impact_half_life = parameter(0.5, "year", "assumption: of the impact that rentals see", gt=0)
    cash_share = parameter(0.5, "share", "assumption: of the borrower's cash that may cure", ge=0, le=1)
    draw_life = parameter(60.0, "months", "assumption: over which a new draw is repaid", ge=1)
    hazard_bounds = parameter([-1.5, 2.5], "log", "assumption: least and most that rentals move a hazard")
    tolerance = parameter(
        0.001, "share", "assumption: of collateral, by which a breach is let pass", ge=1e-5, le=0.1
    )
    most_rounds = parameter(60.0, "count", "assumption: rounds of a month's fire sale at most", ge=1)
    # fmt: on

    loss = output("USD bn", "lost by lenders so far")
    loss_in_book = output(
        "USD bn", "of it on loans in the private-credit book", metric=False, series=False
    )
    loss_banks = output("USD bn", "of it by banks", metric=False, series=False)
    loss_other = output("USD bn", "of it by others outside the book", metric=False, series=False)
    balance = output("USD bn", "GPU loans outstanding")
    collateral = output(
        "USD bn", "value of what is pledged, before this month's sales", metric=False, series=False
    )
    interest = output("USD bn/year", "interest on the loans", metric=False, series=False)
    rounds = output("count", "rounds of this month's fire sale", metric=False)
    sold = output("units", "sold by force this month", metric=False)
    sold_round2 = output("units", "of them in round 2 or later", metric=False, series=False)
    breaches = output("count", "loans in breach or called this month", metric=False)
    units_sold = output("units", "sold by force so far", series=False)
    spirals = output("count", "months so far whose sales went into a second round", series=False)
    residual = output(
        "USD bn", "breaches that the rounds left open, summed over months", series=False
    )

    def check(self) -> list[str]:
        return gpu_loan_tables.alone(self)

    def fits(self, others: dict[str, System]) -> list[str]:
        return gpu_loan_tables.beside(self, others)

    # ---- the tables
    def prepare(self) -> dict[str, Any]:
        loans = self.loan
        self.generations = [m.name for m in self.market]
        self.firms = list(dict.fromkeys(x.borrower for x in loans if x.hazard == 0))
        outside = list(dict.fromkeys(x.borrower or x.name for x in loans if x.hazard > 0))
        self.first_outside, self.slots = len(self.firms), len(self.firms) + len(outside)
        # a line for each borrower, and one for the vehicles of each firm
        self.lines = self.slots + (len(self.firms) if any(x.spv for x in loans) else 0)
        self.drawers = [i for i, x in enumerate(loans) if x.share_of_new_debt > 0 or x.growth > 0]
        self.owing: dict[str, list[int]] = {f"balance_{name}": [] for name in self.firms}
        for i, x in enumerate(loans):
            if x.hazard == 0:
                key = f"{'spv_' * x.spv}balance_{x.borrower}"
                self.owing.setdefault(key, []).append(i)
        slot = {name: i for i, name in enumerate([*self.firms, *outside])}
        who = [slot[x.borrower or x.name] for x in loans]
        column = {f: np.array([getattr(x, f) for x in loans]) for f in GpuLoan.fields}
        cures = (column["hazard"] == 0) & ~column["spv"]
        made: dict[str, Any] = {
            "who": np.array(who),
            "payer": np.where(cures, who, self.slots),
            "ledger": np.where(column["spv"], self.slots + np.array(who), who),
            "start": column["balance"],
            "start_due": column["balance"] / column["end"],
            "start_units": self._pledged(),
            "loan_rate": column["rate"],
            "covenant": column["ltv_covenant"],
            "per_ltv": 1.0 / column["ltv_new"],
            "reserved": column["reserve"],
            "new_share": column["share_of_new_debt"],
            "monthly_growth": column["growth"] * DT,
            "drawer": np.array(self.drawers or [0]),
            "books": np.where(column["in_book"] == "none", 0.0, 1.0),
            "banks": np.where(column["lender"] == "banks", 1.0, 0.0),
            "fade": math.exp(-math.log(2.0) * DT / self.impact_half_life),
        }
        made |= {f"pressure_{m.name}": m.impact / (m.stock * m.turnover) for m in self.market}
        if outside:
            heads = [who.index(slot[name]) for name in outside]
            made["out_stream"] = streams(outside)
            made["out_hazard"] = column["hazard"][heads] * DT
            made["out_beta"] = column["hazard_beta"][heads]
        return made

    def _pledged(self) -> Any:
        """Units by loan and generation, one after the other: (loans * generations,)."""
        names = [x.name for x in self.loan]
        units = np.zeros((len(names), len(self.generations)))
        for p in self.pledge:
            units[names.index(p.loan), self.generations.index(p.generation)] += p.units
        return units.ravel()

    def needs(self) -> tuple[str, ...]:
        network = any(x.hazard == 0 for x in self.loan)
        return self.reads if network else ("rental", "fleet", "funding")

    def outputs(self) -> dict[str, Output]:
        found = super().outputs()
        for m in self.market:
            found[f"impact_{m.name}"] = Output(
                "log", f"impact of forced sales on {m.name}", metric=False, series=False
            )
        return found

    # ---- the path
    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        n, width = len(self.loan), len(self.generations)

        def loan(i: Any, a: Any) -> dict[str, Any]:
            units = a.units
            for g in range(width):
                units = xp.set(units, i * width + g, self.start_units[i * width + g])
            return {
                "owed": xp.set(a.owed, i, self.start[i]),
                "due": xp.set(a.due, i, self.start_due[i]),
                "reserve": xp.set(a.reserve, i, self.reserved[i] * self.start[i]),
                "units": units,
            }

        empty = {k: xp.array(n * width if k == "units" else n, 0.0) for k in _ARRAYS}
        filled = xp.loop(0, n, loan, **empty)
        state = {k: getattr(filled, k) for k in _ARRAYS}
        outside = self.slots - self.first_outside
        if outside:
            state["hazard"] = xp.array(outside, 0.0)

            def borrower(o: Any, a: Any) -> dict[str, Any]:
                u = draw.uniform("default", index=self.out_stream[o])
                return {"limit": xp.set(a.limit, o, -xp.log(u))}

            state["limit"] = xp.loop(0, outside, borrower, limit=xp.array(outside, 0.0)).limit
        state |= dict.fromkeys((*_LOSSES, "units_sold", "spirals", "residual"), 0.0)
        state |= {f"impact_{g}": 0.0 for g in self.generations}
        state |= {k: sum((self.start[i] for i in rows), 0.0) for k, rows in self.owing.items()}
        return state | {f"{k}_{f}": 0.0 for k in _FLOWS for f in self.firms}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        prices = [BN * getattr(up.fleet, f"resale_{g}") for g in self.generations]
        pressure = [getattr(self, f"pressure_{g}") for g in self.generations]
        terms = Terms(
            len(self.loan), len(prices), self.covenant, self.payer, pressure, self.impact_law,
            self.floor, self.tolerance, self.most_rounds,
        )  # fmt: skip
        borrowers, hazard = self._borrowers(xp, s, up)
        drawn = self._draw(xp, s, up, prices, borrowers)
        paid = self._pay(xp, terms, prices, drawn, borrowers)
        instalments = self._instalments(xp, paid.principal)
        sale = self._enforce(xp, terms, prices, s, drawn, paid, borrowers.called)
        new = {k: getattr(sale, k) for k in (*_ARRAYS, *_LOSSES, *_MONTH)}
        for g, name in enumerate(self.generations):
            old = getattr(s, f"impact_{name}")
            new[f"impact_{name}"] = old * self.fade + getattr(sale, f"k{g}")
        return {
            **new,
            **hazard,
            **instalments,
            **self._by_borrower(xp, sale),
            "units_sold": s.units_sold + sale.sold,
            "spirals": s.spirals + xp.where(sale.sold_round2 > 0.0, 1.0, 0.0),
            "residual": s.residual + sale.left_open,
            "balance": paid.balance - sale.fell,
            "collateral": paid.value,
            "interest": paid.interest,
        }

    def _borrowers(self, xp: Any, s: Any, up: Any) -> tuple[Any, dict[str, Any]]:
        """By borrower: cash, new debt, and whether it is in default; and the hazards of those outside the firms."""
        called, raised = xp.array(self.slots, 0.0), xp.array(self.slots, 0.0)
        cash = xp.array(self.slots, _ENOUGH)
        for i, f in enumerate(self.firms):
            cash = xp.set(cash, i, xp.maximum(getattr(up.firms, f"cash_{f}"), 0.0))
            raised = xp.set(raised, i, getattr(up.firms, f"raised_debt_{f}"))
            called = xp.set(called, i, getattr(up.firms, f"defaults_now_{f}"))
        outside = self.slots - self.first_outside
        if not outside:
            return Fields({"called": called, "raised": raised, "cash": cash}), {}
        low, high = self.hazard_bounds

        def borrower(o: Any, a: Any) -> dict[str, Any]:
            stress = xp.clip(self.out_beta[o] * up.rental.shortfall, low, high)
            so_far = xp.get(a.hazard, o) + self.out_hazard[o] * xp.exp(stress)
            fails = xp.where(so_far >= xp.get(s.limit, o), 1.0, 0.0)
            return {
                "hazard": xp.set(a.hazard, o, so_far),
                "called": xp.set(a.called, self.first_outside + o, fails),
            }

        done = xp.loop(0, outside, borrower, hazard=s.hazard, called=called)
        made = {"called": done.called, "raised": raised, "cash": cash}
        return Fields(made), {"hazard": done.hazard, "limit": s.limit}

    def _draw(self, xp: Any, s: Any, up: Any, prices: list[Any], borrowers: Any) -> Any:
        """New debt, while the window is open, buys chips of the newest generation and pledges them.

        What it puts in the reserve is the borrower's cash, as far as there is any.
        """
        arrays = {k: getattr(s, k) for k in _ARRAYS}
        arrays |= {"cash": borrowers.cash, "margin": xp.array(self.slots, 0.0)}
        if not self.drawers:
            return Fields(arrays)
        is_open = up.funding.window < 0.5
        width = len(prices)
        index = xp.minimum(up.rental.newest_index, float(width - 1))
        newest = [xp.abs(index - float(g)) < 0.5 for g in range(width)]
        price: Any = prices[0]
        for g in range(1, width):
            price = xp.where(newest[g], prices[g], price)
        per_price = 1.0 / price

        def drawer(d: Any, a: Any) -> dict[str, Any]:
            i = self.drawer[d]
            w, owed = self.who[i], xp.get(a.owed, i)
            wanted = self.new_share[i] * xp.get(borrowers.raised, w) + self.monthly_growth[i] * owed
            new = xp.where(is_open, wanted, 0.0)
            bought = new * per_price * self.per_ltv[i]
            cash = xp.get(a.cash, w)
            put = xp.minimum(self.reserved[i] * new, cash)
            units = a.units
            for g in range(width):
                more = xp.get(units, i * width + g) + xp.where(newest[g], bought, 0.0)
                units = xp.set(units, i * width + g, more)
            return {
                "owed": xp.set(a.owed, i, owed + new),
                "due": xp.set(a.due, i, xp.get(a.due, i) + new / self.draw_life),
                "reserve": xp.set(a.reserve, i, xp.get(a.reserve, i) + put),
                "cash": xp.set(a.cash, w, cash - put),
                "margin": xp.set(a.margin, w, xp.get(a.margin, w) + put),
                "units": units,
            }

        return xp.loop(0, len(self.drawers), drawer, **arrays)

    def _pay(self, xp: Any, terms: Any, prices: list[Any], drawn: Any, borrowers: Any) -> Any:
        """Instalments, as far as the borrower's cash goes; values; and what covenants and defaults call for."""

        def loan(i: Any, a: Any) -> dict[str, Any]:
            w, at = self.who[i], self.ledger[i]
            cash, owed = xp.get(a.cash, w), xp.get(a.owed, i)
            due = xp.get(drawn.due, i)
            # the last instalment takes what rounding has left, too
            pays = xp.minimum(xp.where(_LAST * due > owed, owed, due), cash)
            owed = owed - pays
            # the reserve of a loan that is repaid is its borrower's again
            reserve = xp.get(a.reserve, i)
            freed = xp.where(owed > 0.0, 0.0, reserve)
            value = worth(xp, terms, drawn.units, i, prices)
            called = xp.get(borrowers.called, w) > 0.5
            return {
                "owed": xp.set(a.owed, i, owed),
                "cash": xp.set(a.cash, w, cash - pays),
                "reserve": xp.set(a.reserve, i, reserve - freed),
                "margin": xp.set(a.margin, w, xp.get(a.margin, w) - freed),
                "principal": xp.set(a.principal, at, xp.get(a.principal, at) + pays),
                "balance": a.balance + owed,
                "value": a.value + xp.where(owed > 0.0, value, 0.0),
                "interest": a.interest + self.loan_rate[i] * owed,
                "over": a.over + excess(xp, terms, i, owed, value, called),
            }

        sums = dict.fromkeys(("balance", "value", "interest", "over"), 0.0)
        start = {k: getattr(drawn, k) for k in ("owed", "cash", "reserve", "margin")}
        start["principal"] = xp.array(self.lines, 0.0)
        return xp.loop(0, terms.loans, loan, **start, **sums)

    def _instalments(self, xp: Any, principal: Any) -> dict[str, Any]:
        """What each firm paid, on its own loans and on those of its vehicles."""
        found = {}
        for f, name in enumerate(self.firms):
            own = xp.get(principal, f)
            vehicles = xp.get(principal, self.slots + f) if self.lines > self.slots else 0.0
            found[f"principal_{name}"] = own + vehicles
        return found

    def _enforce(
        self, xp: Any, terms: Any, prices: Any, s: Any, drawn: Any, paid: Any, called: Any
    ) -> Any:
        """Cures and sales on the paths where a loan is in breach or called; the others do nothing."""
        changes = {k: getattr(drawn, k) for k in ("units", "due")}
        changes |= {k: getattr(paid, k) for k in ("owed", "reserve", "margin")}
        changes["repaid"] = paid.principal
        changes |= {k: getattr(s, k) for k in _LOSSES}
        market = tuple(f"k{g}" for g in range(terms.generations))
        none = dict.fromkeys((*_MONTH, *market, "fell", "left_open"), 0.0)

        def once(a: Any) -> dict[str, Any]:
            at = self._at_stake(xp, terms, paid.cash, called)
            sale = sell(
                xp, terms, prices, a.over, at.called,
                balance=a.owed, units=a.units, reserve=a.reserve, cash=at.cash,
            )  # fmt: skip
            sold = [getattr(sale, f"sold{g}") for g in range(terms.generations)]
            return {
                **self._settle(xp, sale, at.limit, a),
                **{k: getattr(sale, k) for k in ("units", "reserve", "rounds")},
                **{k: -xp.log(price_ratio(xp, terms, getattr(sale, k))) for k in market},
                "owed": sale.balance,
                "sold": sum(sold[1:], sold[0]),
                "sold_round2": sale.sold_later,
                "left_open": sale.residual,
                "over": 0.0,
            }

        # a loop of one round at most: nothing is computed where no path has a breach
        return xp.while_any(lambda a: a.over > 0.0, once, over=paid.over, **changes, **none)

    def _at_stake(self, xp: Any, terms: Any, cash: Any, called: Any) -> Any:
        """Which loans are called; by payer, the cash that may go into cures, to be spent and as its limit."""

        def loan(i: Any, a: Any) -> dict[str, Any]:
            return {"called": xp.set(a.called, i, xp.get(called, self.who[i]))}

        # the last place is the payer of loans that have no recourse: it has nothing
        spend, limit = xp.array(self.slots + 1, 0.0), xp.array(self.slots + 1, 0.0)
        for f in range(self.first_outside):
            may = self.cash_share * xp.get(cash, f)
            spend, limit = xp.set(spend, f, may), xp.set(limit, f, may)
        calls = xp.loop(0, terms.loans, loan, called=xp.array(terms.loans, 0.0)).called
        return Fields({"called": calls, "cash": spend, "limit": limit})

    def _settle(self, xp: Any, sale: Any, limit: Any, a: Any) -> dict[str, Any]:
        """After a sale: instalments shrink with the balance, losses by who bears them, cash by borrower."""
        margin = a.margin
        for f in range(self.first_outside):
            spent = xp.get(limit, f) - xp.get(sale.cash, f)
            margin = xp.set(margin, f, xp.get(margin, f) + spent)

        def loan(i: Any, b: Any) -> dict[str, Any]:
            w, at = self.who[i], self.ledger[i]
            left, lost = xp.get(sale.balance, i), xp.get(sale.lost, i)
            surplus = xp.get(sale.surplus, i)
            fell = xp.get(sale.paid, i) + (xp.get(sale.proceeds, i) - surplus) + lost
            kept = left / xp.maximum(left + fell, 1e-12)
            book, bank = lost * self.books[i], lost * self.banks[i]
            return {
                "due": xp.set(b.due, i, xp.get(b.due, i) * kept),
                "repaid": xp.set(b.repaid, at, xp.get(b.repaid, at) + fell),
                "margin": xp.set(b.margin, w, xp.get(b.margin, w) - surplus),
                "fell": b.fell + fell,
                "breaches": b.breaches + xp.get(sale.breached, i),
                "loss": b.loss + lost,
                "loss_in_book": b.loss_in_book + book,
                "loss_banks": b.loss_banks + bank,
                "loss_other": b.loss_other + (lost - book - bank),
            }

        carried = {k: getattr(a, k) for k in ("due", "repaid", *_LOSSES)}
        sums = dict.fromkeys(("fell", "breaches"), 0.0)
        done = xp.loop(0, len(self.loan), loan, margin=margin, **carried, **sums)
        return {k: getattr(done, k) for k in ("margin", *carried, *sums)}

    def _by_borrower(self, xp: Any, sale: Any) -> dict[str, Any]:
        """What firms read next month: what each owes, on its own books and through vehicles, and has to pay."""
        found: dict[str, Any] = {
            name: sum((xp.get(sale.owed, i) for i in rows), 0.0)
            for name, rows in self.owing.items()
        }
        for f, name in enumerate(self.firms):
            found[f"margin_{name}"] = xp.get(sale.margin, f)
            found[f"repaid_{name}"] = xp.get(sale.repaid, f)
        return found
