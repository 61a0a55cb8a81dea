"""Payments: an economy that adds up what each contract of the network pays, and each kind of flow of each firm.

The firms' own step gives sums by payer; what a contract gets of them is known only inside it. Here the step is the
same, to the byte, and sums stand beside it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..economy.firms import Firms
from ..economy.settlement import LEDGER
from ..system import Economy, Output

SETTLED = "settled_{}"
BOOKED = "booked_{}_{}"

_PAID = LEDGER.index("contracts_paid")
_LEAST = 1e-30  # USD bn owed, below any that is


class Edge(NamedTuple):
    """From whom, to whom, for what."""

    payer: str
    payee: str
    kind: str


IN = {
    "customers": Edge("outside customers", "", "sales"),
    "debt": Edge("outside lenders", "", "new debt"),
    "equity": Edge("outside shareholders", "", "new equity"),
    "state": Edge("outside state", "", "support"),
}
"""Flows of the ledger that a firm gets from outside the network; its name goes where there is none."""

OUT = {
    "interest": Edge("", "outside lenders", "debt service"),
    "principal": Edge("", "outside lenders", "debt service"),
    "collateral": Edge("", "outside lenders", "debt service"),  # of GPU loans, and guarantees
    "shareholders": Edge("", "outside shareholders", "dividends"),
    "suppliers": Edge("", "outside suppliers", "operating cost"),
    "capex": Edge("", "outside suppliers", "capex"),
    "leases": Edge("", "outside landlords", "leases"),
    "bankruptcy": Edge("", "outside courts", "cost of bankruptcy"),
}
"""Flows that it pays to the outside."""


class Paying(Firms):
    """The firms, and what was paid so far by contract and by kind of flow, USD bn: metrics, no series."""

    system_name = "firms"

    def outputs(self) -> dict[str, Output]:
        found = super().outputs()
        kept = {
            n: Output("USD bn", f"paid on {n} so far", series=False) for n in self._cash_terms()
        }
        found |= {SETTLED.format(n): o for n, o in kept.items()}
        for f in self.firm:
            for kind in LEDGER:
                found[BOOKED.format(kind, f.name)] = Output(
                    "USD bn", f"{kind}, {f.name}", series=False
                )
        return found

    def _cash_terms(self) -> dict[str, Any]:
        """The contracts that cash is paid on. Warrants and round trips move none in the model."""
        return {c.name: c for c in self.contract if c.kind not in ("warrants", "round_trip")}

    def edges(self) -> dict[str, Edge]:
        """By metric, who pays whom for what: contracts between firms, and the firms' flows from and to outside."""
        found = {
            f"firms.{SETTLED.format(n)}": Edge(c.payer, c.payee, c.kind.replace("_", " "))
            for n, c in self._cash_terms().items()
        }
        for f in self.firm:
            for kind, edge in (IN | OUT).items():
                name = f"firms.{BOOKED.format(kind, f.name)}"
                found[name] = Edge(edge.payer or f.name, edge.payee or f.name, edge.kind)
        return found

    # ---- the path
    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return super().init(xp, draw) | {
            "settled": xp.array(max(len(self.owed), 1), 0.0),
            "booked": xp.array(len(self.firm) * len(LEDGER), 0.0),
        }

    def _due(self, xp: Any, s: Any, market: Any, work: Any) -> Any:
        self._asked = super()._due(xp, s, market, work)
        return self._asked

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        got = super().step(xp, s, up, draw)
        ledger, due = got["ledger"], self._asked

        def contract(k: Any, a: Any) -> dict[str, Any]:
            i = self.payer[k]
            # a payer pays all its contracts the same share
            share = xp.get(ledger, i * len(LEDGER) + _PAID) / xp.maximum(
                xp.get(due.owes, i), _LEAST
            )
            paid = xp.get(due.due, k) * share
            return {"settled": xp.set(a.settled, k, xp.get(a.settled, k) + paid)}

        def flow(q: Any, a: Any) -> dict[str, Any]:
            return {"booked": xp.set(a.booked, q, xp.get(a.booked, q) + xp.get(ledger, q))}

        settled = xp.loop(0, len(self.owed), contract, settled=s.settled).settled
        booked = xp.loop(0, len(self.firm) * len(LEDGER), flow, booked=s.booked).booked
        owed = {c.name: k for k, c in enumerate(self.owed)}
        rows = {c.name: k for k, c in enumerate(self.contract)}
        seen = {
            SETTLED.format(n): xp.get(settled, owed[n])
            if n in owed
            else xp.get(got["given"], rows[n])
            for n in self._cash_terms()
        }
        for i, f in enumerate(self.firm):
            for j, kind in enumerate(LEDGER):
                seen[BOOKED.format(kind, f.name)] = xp.get(booked, i * len(LEDGER) + j)
        return got | seen | {"settled": settled, "booked": booked}


def paying(economy: Economy) -> Economy:
    """The economy with its firms adding up what they pay. They must be among its systems."""
    firms = economy.systems[Firms.key()]
    made = Paying._trusted(firms.values())
    made.folder, made.months = firms.folder, firms.months
    systems = {**economy.systems, Firms.key(): made}
    return Economy(*systems.values(), months=economy.months, name=economy.name)
