"""What is wrong with the network's tables: by themselves, and beside the other systems."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..system import System
from ..validate import near, shown
from .firm_tables import OWED

LADDER_SLACK = 0.05  # USD bn by which a ladder may miss the debt it repays: rounding of its sources


def alone(firms: Any) -> list[str]:
    """Problems of the tables of firms, contracts and rungs, a line each."""
    names = [f.name for f in firms.firm]
    found = [line for c in firms.contract for line in _contract(c, names)]
    found += [line for r in firms.ladder for line in _rung(r, names)]
    found += [
        f"firms.firm.{f.name}.leases_due = {f.leases_due}: should be at most leases = {f.leases}"
        for f in firms.firm
        if f.leases_due > f.leases
    ]
    if firms.backstop_firm not in names:
        found.append(
            f"firms.backstop_firm = {shown(firms.backstop_firm)}: should be a firm"
            f"{near(firms.backstop_firm, names)}"
        )
    low, high = firms.distress_bounds
    if low >= high:
        found.append(
            f"firms.distress_bounds = {firms.distress_bounds}: the first should be the lower one"
        )
    if not any(c.kind in OWED for c in firms.contract):
        found.append("firms.contract: no contract that is owed; should have at least one")
    return found


def _contract(c: Any, names: list[str]) -> Iterator[str]:
    where = f"firms.contract.{c.name}"
    if c.payer not in names:
        yield f"{where}.payer = {shown(c.payer)}: should be a firm{near(c.payer, names)}"
    if c.kind != "round_trip" and c.payee not in names:
        yield f"{where}.payee = {shown(c.payee)}: should be a firm{near(c.payee, names)}"
    if c.payer and c.payer == c.payee:
        yield f"{where}.payee = {shown(c.payee)}: a firm cannot owe itself; should be another firm"
    if c.ramp > c.lasting:
        yield f"{where}.ramp = {c.ramp}: should be at most lasting = {c.lasting}"


def _rung(r: Any, names: list[str]) -> Iterator[str]:
    where = f"firms.ladder.{r.name}"
    if r.firm not in names:
        yield f"{where}.firm = {shown(r.firm)}: should be a firm{near(r.firm, names)}"
    if r.last_month < r.first_month:
        yield f"{where}.last_month = {r.last_month}: should be first_month = {r.first_month} or later"


def beside(firms: Any, others: dict[str, System]) -> list[str]:
    """Sellers of revenue, and ladders that with the GPU loans repay the reported debt."""
    found: list[str] = []
    if "revenue" in others:
        companies = {c.name: c.revenue_2025 for c in others["revenue"].company}
        found += [
            f"firms.firm.{f.name}.seller = {shown(f.seller)}: should be a row of revenue.company"
            f"{near(f.seller, list(companies))}"
            for f in firms.firm
            if f.seller and f.seller not in companies
        ]
        for name, whole in companies.items():
            parts = sum(f.ai_revenue for f in firms.firm if f.seller == name)
            if parts > whole * (1 + 1e-9):
                found.append(
                    f"firms.firm: ai_revenue of the sellers in {name} sums to {parts:g}; it should be at most "
                    f"revenue.company.{name}.revenue_2025 = {whole:g}"
                )
    return found + _ladders(firms, others)


def _ladders(firms: Any, others: dict[str, System]) -> list[str]:
    loans = others["gpu_loans"].loan if "gpu_loans" in others else []
    found = []
    for f in firms.firm:
        rungs = [
            r.balance
            for r in firms.ladder
            if r.firm == f.name and r.reading in ("both", firms.ladder_reading)
        ]
        gpu = sum(x.balance for x in loans if x.borrower == f.name)
        if rungs and loans and abs(sum(rungs) + gpu - f.debt) > LADDER_SLACK:
            found.append(
                f"firms.ladder: the rungs of {f.name} ({firms.ladder_reading}) sum to {sum(rungs):g} and its GPU "
                f"loans to {gpu:g}; together they should be its debt, {f.debt:g}"
            )
    return found
