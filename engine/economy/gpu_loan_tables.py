"""The tables of GPU loans: loans, what is pledged, the market for used chips; and what may be wrong with them."""

from __future__ import annotations

from typing import Any

from ..system import MAX_MONTHS, Row, System, parameter, setting
from ..validate import near, shown

BN = 1e-9  # USD to USD bn
LATEST = 5 * MAX_MONTHS


# fmt: off
class GpuLoan(Row):
    """A loan, or a group of alike loans, against GPUs."""

    borrower = setting("", "a row of firms.firm; with a hazard of its own any other name, or ''")
    balance = parameter(1.0, "USD bn", "assumption: outstanding at the start", gt=0)
    in_book = setting(
        "none", "the book of private_credit that holds it: its loss is part of that book's",
        choices=("legacy", "new", "none"),
    )
    lender = setting("private_credit", "who lends: private credit, or banks themselves", choices=("private_credit", "banks"))
    spv = setting(False, "whether a vehicle owes it: no recourse to the borrower, nor in its reported debt")
    rate = parameter(0.12, "1/year", "assumption: interest, which the borrower pays", ge=0, le=1)
    ltv_covenant = parameter(0.90, "share", "assumption: most that is owed per value", gt=0, lt=1)
    ltv_new = parameter(0.75, "share", "assumption: that is lent per value of new chips", gt=0, lt=1)
    end = setting(60, "month of the last instalment", ge=1, le=LATEST)
    reserve = parameter(0.05, "share", "assumption: of what is lent, in a reserve account", ge=0, lt=1)
    share_of_new_debt = parameter(
        0.0, "share", "assumption: of the borrower's new debt that comes under this loan", ge=0, le=1
    )
    growth = parameter(
        0.0, "1/year", "assumption: with a hazard of its own; while the window is open", ge=0, le=2
    )
    hazard = parameter(0.0, "1/year", "assumption: of a borrower outside the firms, its default", ge=0, le=5)
    hazard_beta = parameter(0.0, "1", "assumption: of the log hazard to rentals that fall short", ge=0, le=10)
    source = setting("", "where the figures come from")


class Pledge(Row):
    """Units of a generation that secure a loan."""

    loan = setting("", "a row of gpu_loans.loan")
    generation = setting("", "a row of gpu_loans.market")
    units = parameter(1.0, "units", "assumption: pledged at the start", gt=0)
    source = setting("", "where the figure comes from")


class Market(Row):
    """The market for used chips of a generation. A month absorbs depth = stock times turnover."""

    stock = parameter(6_900_000.0, "units", "assumption: installed in the world", gt=0)
    turnover = parameter(
        0.005, "share", "assumption: of the stock that changes hands in a month; 6 % a year, as aircraft do",
        gt=0, le=1,
    )
    impact = parameter(
        0.05, "log",
        "assumption: lambda, fall of the price when a month's depth is sold at once; a fiftieth of the stock then "
        "costs 18 % at the end, 9 % on average: below the 14 % of Pulvino (1998) on aircraft",
        ge=0, le=5,
    )
    source = setting("", "where the figures come from")


_EPOCH = "data (epoch_nvidia_chips_quarterly)"
MARKET: list[dict[str, Any]] = [
    {"name": "hopper", "stock": 4_430_000.0, "source": f"stock: {_EPOCH}, H100 and H800 by the end of 2025"},
    {"name": "blackwell", "stock": 6_900_000.0, "source": f"stock: {_EPOCH}, B200 and B300: 3.42 million by the end "
     "of 2025; assumption: and three quarters more at the last one's pace of 1.16 million"},
    {"name": "rubin", "source": "stock: assumption, as Blackwell's"},
    {"name": "next", "source": "stock: assumption, as Blackwell's"},
]
# fmt: on


# ---- what may be wrong
def alone(loans: Any) -> list[str]:
    """Problems of the tables of loans, pledges and markets, a line each."""
    names, generations = [x.name for x in loans.loan], [m.name for m in loans.market]
    problems: list[str] = []
    for p in loans.pledge:
        at = f"gpu_loans.pledge.{p.name}"
        if p.loan not in names:
            wanted = f"should be a row of gpu_loans.loan{near(p.loan, names)}"
            problems.append(f"{at}.loan = {shown(p.loan)}: {wanted}")
        if p.generation not in generations:
            wanted = f"should be a row of gpu_loans.market{near(p.generation, generations)}"
            problems.append(f"{at}.generation = {shown(p.generation)}: {wanted}")
    secured = {p.loan for p in loans.pledge}
    problems += [
        f"gpu_loans.loan.{n}: no collateral; add [[gpu_loans.pledge]] with loan = {shown(n)}"
        for n in names
        if n not in secured
    ]
    for x in loans.loan:
        problems += _loan(x, loans.loan)
    if loans.hazard_bounds[0] >= loans.hazard_bounds[1]:
        wanted = "the first should be the lower one"
        problems.append(f"gpu_loans.hazard_bounds = {loans.hazard_bounds}: {wanted}")
    return problems


def _loan(x: Any, every: list[Any]) -> list[str]:
    outside = x.hazard > 0
    head = next(y for y in every if (y.borrower or y.name) == (x.borrower or x.name))
    rules = (
        (x.ltv_new >= x.ltv_covenant, "ltv_new",
         f"new debt would be in breach at once; should be below ltv_covenant, {x.ltv_covenant:g}"),
        (x.lender == "banks" and x.in_book != "none", "in_book",
         "the book is private credit's, and banks lend; should be 'none'"),
        (not x.borrower and not outside, "borrower", "should be a firm, or hazard above 0"),
        (x.spv and outside, "spv", "a vehicle of a firm; should be false where hazard is above 0"),
        (outside and x.share_of_new_debt > 0, "share_of_new_debt",
         "only a firm raises debt; should be 0, with growth in its place"),
        (not outside and x.growth > 0, "growth",
         "a firm's loan grows by share_of_new_debt; should be 0"),
        ((x.hazard, x.hazard_beta) != (head.hazard, head.hazard_beta), "hazard",
         f"loans of one borrower default together; hazard and hazard_beta should be those of "
         f"{head.name}, {head.hazard:g} and {head.hazard_beta:g}"),
    )  # fmt: skip
    return [
        f"gpu_loans.loan.{x.name}.{name} = {shown(getattr(x, name))}: {text}"
        for wrong, name, text in rules
        if wrong
    ]


def beside(loans: Any, others: dict[str, System]) -> list[str]:
    """Problems beside firms, rental and fleet."""
    problems: list[str] = []
    if "firms" in others:
        firms = [f.name for f in others["firms"].firm]
        for x in loans.loan:
            at = f"gpu_loans.loan.{x.name}"
            if x.hazard == 0 and x.borrower and x.borrower not in firms:
                wanted = f"should be a row of firms.firm, or have a hazard{near(x.borrower, firms)}"
                problems.append(f"{at}.borrower = {shown(x.borrower)}: {wanted}")
            if x.hazard > 0 and x.borrower in firms:
                wanted = f"firms decides when {x.borrower} defaults; should be 0"
                problems.append(f"{at}.hazard = {x.hazard:g}: {wanted}")
    if "rental" in others:
        have, known = ([g.name for g in t] for t in (loans.market, others["rental"].generation))
        if have != known[: len(have)]:
            problems.append(
                f"gpu_loans.market = {shown(have)}: should be the first rows of rental.generation, "
                f"in their order: {', '.join(known)}"
            )
    if "fleet" in others:
        problems += _value(loans, {c.name: c.resale_start for c in others["fleet"].chip})
    return problems


def _value(loans: Any, resale: dict[str, float]) -> list[str]:
    """Loans that would be in breach at the start; ``resale``: USD a unit, by generation."""
    unknown = sorted({m.name for m in loans.market} - set(resale))
    if unknown:
        wanted = "should be a row of fleet.chip, which values its units"
        return [f"gpu_loans.market.{name}: {wanted}" for name in unknown]
    problems = []
    for x in loans.loan:
        units = [(p.units, p.generation) for p in loans.pledge if p.loan == x.name]
        ltv = x.balance / max(BN * sum(n * resale.get(g, 0.0) for n, g in units), 1e-12)
        if units and all(g in resale for _, g in units) and ltv >= x.ltv_covenant:
            problems.append(
                f"gpu_loans.loan.{x.name}.ltv_covenant = {x.ltv_covenant:g}: impossible at the unit "
                f"values of the start; should be above {ltv:.4g}, the loan to value there"
            )
    return problems
