"""The tables of the network: firms, who owes whom, and when debt falls due."""

from __future__ import annotations

from ..system import MAX_MONTHS, Row, parameter, setting

KINDS = ("take_or_pay", "compute", "grows", "put", "chip_order", "equity", "warrants", "round_trip")
OWED = (
    "take_or_pay",
    "compute",
    "grows",
    "put",
    "chip_order",
)  # obligations, which clearing settles


class Firm(Row):
    """A firm of the network. Money is USD bn, flows are per year."""

    kind = setting(
        "cloud",
        "what its revenue and cost hang on",
        choices=("cloud", "neocloud", "lab", "vendor"),
    )
    seller = setting("", "the row of revenue.company that its AI revenue is part of; '' for none")
    cash = parameter(0.0, "USD bn", "assumption: cash and securities at the start", ge=0)
    debt = parameter(0.0, "USD bn", "assumption: reported debt at the start", ge=0)
    ocf = parameter(0.0, "USD bn/year", "assumption: cash from operations before AI revenue")
    ocf_growth = parameter(
        0.05, "1/year", "assumption: of that cash flow, or of a cost", ge=-0.5, le=1
    )
    ocf_follows_capex = setting(False, "whether it grows with world AI capex instead: a vendor's")
    dividend = parameter(
        0.0,
        "share",
        "assumption: of operating cash flow that shareholders are used to get",
        ge=0,
        le=1,
    )
    capex = parameter(0.0, "USD bn/year", "assumption: in 2025", ge=0)
    ai_revenue = parameter(0.0, "USD bn/year", "assumption: direct AI revenue in 2025", ge=0)
    margin = parameter(
        0.5, "share", "assumption: of AI revenue that is left after its cost", ge=0, le=1
    )
    cost_elasticity = parameter(
        0.0, "1", "assumption: of a laboratory's cost to its revenue multiple", ge=0, le=1.5
    )
    plan = parameter(
        1.0,
        "multiple",
        "assumption: of 2025 revenue two years on, which its contracts rest on",
        gt=0,
    )
    leases = parameter(0.0, "USD bn", "assumption: lease payments that have not begun", ge=0)
    leases_due = parameter(
        0.0, "USD bn", "assumption: of them due by the end of 2028, one reading", ge=0
    )
    guarantees = parameter(0.0, "USD bn", "assumption: given for SPVs", ge=0)
    equity = parameter(1.0, "USD bn", "assumption: market value at the start", gt=0)
    capacity = parameter(
        1.0, "USD bn/year", "assumption: outside money it can raise while the window is open", ge=0
    )
    equity_share = parameter(
        0.0, "share", "assumption: of outside money that is equity", ge=0, le=1
    )
    coupon = parameter(0.05, "1/year", "assumption: average rate on its debt", ge=0, le=0.5)
    life = parameter(8.0, "year", "assumption: average life of debt without a ladder", gt=0)
    hazard = parameter(0.01, "1/year", "assumption: default intensity at the start", gt=0, le=1)
    spread = parameter(200.0, "bp", "assumption: credit spread at the start", ge=0)
    lgd = parameter(
        0.6, "share", "assumption: loss given default of its unsecured debt", gt=0, le=1
    )
    equity_beta = parameter(1.0, "1", "assumption: of its assets' value to AI equity", ge=0, le=4)
    volatility = parameter(0.3, "1/year^0.5", "assumption: own, of its assets' value", ge=0, le=2)
    rental_beta = parameter(
        0.0, "1", "assumption: of its hazard to rentals that fall short", ge=0, le=4
    )
    window_beta = parameter(
        1.0, "1", "assumption: how far a window that closes cuts its outside money; small for the strong",
        ge=0, le=1,
    )  # fmt: skip
    capex_yield = parameter(
        0.0,
        "1/year",
        "assumption: rentals less running cost that a dollar of new capacity brings",
        ge=0,
    )
    source = setting("", "where the figures come from")


class Contract(Row):
    """A contract between firms. ``total`` is paid level over ``lasting`` months after a linear ramp."""

    payer = setting("", "the firm that owes it")
    payee = setting("", "a firm; for a round trip any name outside the network")
    kind = setting("compute", "what decides its monthly amount", choices=KINDS)
    total = parameter(0.0, "USD bn", "assumption: over its life", ge=0)
    first_month = setting(1, "month of its first payment", ge=1, le=MAX_MONTHS)
    lasting = setting(60, "months that it lasts", ge=1, le=MAX_MONTHS)
    ramp = setting(0, "months over which it grows to its level", ge=0, le=MAX_MONTHS)
    firmness = parameter(
        1.0,
        "share",
        "assumption: that stands however far the payer's revenue is behind its plan",
        ge=0,
        le=1,
    )
    source = setting("", "where the figures come from")


class Rung(Row):
    """A rung of a debt ladder: level repayment from its first to its last month."""

    firm = setting("", "the firm that repays it")
    balance = parameter(0.0, "USD bn", "assumption: to be repaid", ge=0)
    first_month = setting(1, "of repayment", ge=1, le=10 * MAX_MONTHS)
    last_month = setting(1, "of repayment", ge=1, le=10 * MAX_MONTHS)
    reading = setting(
        "filings", "the reading it belongs to", choices=("filings", "atlantic", "both")
    )
    source = setting("", "where the figures come from")
