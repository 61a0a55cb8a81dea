"""What must hold every month on every path: short declarations, system by system.

They are written over the variables, not over the systems' formulas, so that a formula that is wrong does not
prove itself right. Money is USD bn; a ledger's flows are of the month.
"""

from __future__ import annotations

import numpy as np

from .economy.settlement import IN, LEDGER, OUT
from .figures import (
    Array,
    Figure,
    Identity,
    Reading,
    above_zero,
    at_most,
    below,
    each,
    equal,
    given,
    greater,
    lesser,
    never_falls,
    never_negative,
    now,
    reported,
    set_value,
    was,
    whole,
    within,
)
from .system import DT

FINITE = "every value is finite"

# ---- what is reported, by the unit that it is declared with
UNBOUNDED = ("firms.outside_share",)  # a share of something else than its whole
SIGNED = ("fleet.earnings_added", "fleet.margin_hopper")  # money that may be lost or gained
AMOUNTS = (
    "USD bn", "USD bn/year", "USD", "USD/GPU-hour", "units", "GW", "count", "month", "bp", "ratio",
)  # fmt: skip

_shares, _share_names = reported(("share", "probability"), UNBOUNDED)
_flags, _flag_names = reported(("0 or 1", "probability"))

REPORTED = (
    at_most(": shares and probabilities are at least 0", 0.0, _shares, _share_names),
    at_most(": shares and probabilities are at most 1", _shares, 1.0, _share_names),
    equal(": an event has happened or not", _flags * (1.0 - _flags), 0.0, _flag_names),
    at_most(": amounts are never negative", 0.0, *reported(AMOUNTS, SIGNED)),
)

# ---- stress, revenue, compute, rental, fleet
STRESS = (*within("stress", "window", 0, 2), *within("stress", "recall", 0, 1))

REVENUE = (
    equal("revenue: sales at full price and promotional ones sum to the headline",
          now("revenue.full") + now("revenue.promo"), now("revenue.headline")),
    equal("revenue: cohorts sum to promotional sales", now("revenue.cohorts").total(), now("revenue.promo")),
    equal("revenue: companies sum to the rate", each("revenue.company", "revenue.{}").total(), now("revenue.rate")),
    at_most("revenue: no more is renewed than was due", now("revenue.promo_kept"), now("revenue.promo_due")),
    *never_negative("revenue", "full", "promo", "cohorts", "year_so_far", "renewed"),
    *above_zero("revenue", "headline", "rate"),
    whole("revenue", "regime", 2),
)  # fmt: skip

COMPUTE = (
    equal("compute: what is installed grows by what is delivered",
          now("compute.installed"), was("compute.installed") + now("compute.delivery") * DT),
    equal("compute: spending adds up",
          now("compute.capex_total"), was("compute.capex_total") + now("compute.capex") * DT),
    at_most("compute: only what was under construction is delivered",
            now("compute.delivery") * DT, was("compute.pipeline")),
    *above_zero("compute", "installed", "utilisation", "served"),
    *never_negative("compute", "pipeline", "delivery"),
)  # fmt: skip

_power = each("rental.generation", "rental.power_{}")

RENTAL = (
    below("rental: rentals are above 0", 0.0, each("rental.generation", "rental.{}"), "rental.generation"),
    equal("rental: generations share all that is installed", _power.total(), 1.0),
    at_most("rental: no generation has less than nothing", 0.0, _power, "rental.generation"),
    *never_falls("rental", "wars", "newest_index"),
)  # fmt: skip

_bought = set_value("fleet.chip_share") * now("compute.capex") * DT

FLEET = (
    equal("fleet: the gross book grows by the chips that are bought",
          now("fleet.gross").total(), was("fleet.gross").total() + _bought, reads=["compute"]),
    at_most("fleet: no more is written off a vintage than it cost", now("fleet.written"), now("fleet.gross")),
    at_most("fleet: nor by the American rules", now("fleet.written_us"), now("fleet.gross")),
    at_most("fleet: the net book is at most the gross one", now("fleet.book"), now("fleet.gross").total()),
    below("fleet: a unit is worth something", 0.0, each("fleet.chip", "fleet.resale_{}"), "fleet.chip"),
    *never_negative("fleet", "written", "written_us"),
    *never_falls("fleet", "gross", "impairment", "impairment_us"),
)  # fmt: skip


# ---- firms
def flow(*kinds: str) -> Figure:
    """Flows of these kinds, summed, by firm."""

    def read(m: Reading) -> Array:
        ledger = m.now("firms.ledger").reshape(-1, len(LEDGER), m.paths)
        return np.asarray(ledger[:, [LEDGER.index(k) for k in kinds]].sum(axis=1))

    return Figure(read)


def _by_payer(m: Reading) -> Array:
    """What contracts left unpaid, by payer."""
    owed = np.zeros((len(m.rows("firms.firm")), m.paths))
    np.add.at(owed, m.economy.columns["firms.payer"], m.now("firms.unpaid"))
    return owed


def _to_the_dead(m: Reading) -> Array:
    """What contracts leave open where a side is in default."""
    alive = m.now("firms.alive")
    both = alive[m.economy.columns["firms.payer"]] * alive[m.economy.columns["firms.payee"]]
    return np.asarray(m.now("firms.unpaid") * (1.0 - both))


def _firm(pattern: str, *, before: bool = False) -> Figure:
    return each("firms.firm", pattern, before=before)


_alive, _lived = now("firms.alive"), was("firms.alive")
_gpu, _repaid = (
    _firm("gpu_loans.balance_{}", before=True),
    _firm("gpu_loans.repaid_{}", before=True),
)
_taken = (
    _firm("gpu_loans.margin_{}", before=True) + _firm("gpu_loans.principal_{}", before=True)
    + _firm("structured.guarantee_{}", before=True)
)  # fmt: skip
_in_hand = greater(was("firms.cash") - flow("vendor_equity_given"), 0.0)
_contracts_open = Figure(_by_payer).above(1e-6) * _alive
_debts_open = now("firms.overdue").above(1e-6)
_junior = flow("leases", "interest", "principal")
_last = flow("capex", "shareholders")

FIRMS = (
    equal("firms: cash = cash before + what came in - what went out",
          now("firms.cash"), was("firms.cash") + flow(*IN) - flow(*OUT), "firms.firm"),
    equal("firms: payments made on contracts = payments received",
          flow("contracts_paid").total(), flow("contracts").total()),
    equal("firms: vendor equity given = vendor equity received",
          flow("vendor_equity_given").total(), flow("vendor_equity").total()),
    equal("firms: vendor equity counts against its contracts", now("firms.given").total(),
          was("firms.given").total() + flow("vendor_equity").total()),
    at_most("firms: no more vendor equity than was promised",
            now("firms.given"), given("firms.contract", "total"), "firms.contract"),
    equal("firms: what the state pays is received",
          now("firms.state_support") - was("firms.state_support"), flow("state").total()),
    *(at_most(f"firms: {k} are never negative", 0.0, flow(k), "firms.firm") for k in LEDGER if k != "collateral"),
    equal("firms: debt = debt before - maturing - GPU loans repaid + new debt; none after default",
          now("firms.debt"),
          (was("firms.debt") - _firm("firms.maturing_{}") - _repaid + flow("debt")) * _alive, "firms.firm"),
    at_most("firms: lenders lose no more than was owed to them beside the GPU loans",
            now("firms.debt_loss") - was("firms.debt_loss"),
            ((was("firms.debt") - _gpu - _repaid + was("firms.overdue")) * (_lived - _alive)).total()),
    equal("firms: what GPU loans and guarantees took last month is paid, as far as cash goes",
          flow("collateral"), lesser(_taken, _in_hand) * _lived, "firms.firm"),
    at_most("firms: and the rest is in arrears, or paid now",
            (_taken - flow("collateral")) * _alive, now("firms.overdue") + flow("principal"), "firms.firm"),
    equal("firms: who owes on contracts pays nothing that ranks below them, and keeps nothing",
          (_junior + _last + now("firms.cash")) * _contracts_open, 0.0, "firms.firm"),
    equal("firms: who owes lenders or lessors builds nothing and pays shareholders nothing",
          _last * _debts_open, 0.0, "firms.firm"),
    equal("firms: in default since before, nothing flows", flow(*LEDGER) * (1.0 - _lived), 0.0, "firms.firm"),
    equal("firms: in default, nothing is left or owed", (1.0 - _alive) * (
          now("firms.cash") + now("firms.debt") + now("firms.overdue") + now("firms.late")), 0.0, "firms.firm"),
    equal("firms: contracts with a firm in default have ended", Figure(_to_the_dead), 0.0),
    at_most("firms: a default is for good", _alive, _lived, "firms.firm"),
    equal("firms: a firm is in default or not", _alive * (1.0 - _alive), 0.0, "firms.firm"),
    equal("firms: a default is declared once",
          _firm("firms.defaults_now_{}"), _lived - _alive, "firms.firm"),
    equal("firms: firms in default are counted", now("firms.bankrupt"), (1.0 - _alive).total()),
    equal("firms: debts sum to the reported debt", now("firms.reported_debt"), now("firms.debt").total()),
    at_most("firms: clearing leaves no residual", now("firms.residual"), 0.0),
    *within("firms", "paid_share", 0, 1),
    *never_negative("firms", "cash", "debt", "coupon", "overdue", "late", "fresh", "value", by="firms.firm"),
    *never_negative("firms", "unpaid", "given"),
    *never_falls("firms", "debt_loss", "state_support"),
    *never_falls("firms", "hazard", by="firms.firm"),
)  # fmt: skip


# ---- GPU loans
def _per_loan(field: str) -> Figure:
    return given("gpu_loans.loan", field)


def _raised(m: Reading) -> Array:
    """New debt of each loan's borrower this month."""
    none = np.zeros(m.paths)
    table = m.rows("gpu_loans.loan")
    return np.stack([none if x.hazard else m.now(f"firms.raised_debt_{x.borrower}") for x in table])


def _by_firm(m: Reading, values: Array) -> Array:
    """Summed over the loans of each firm and its vehicles."""
    names = [f.name for f in m.rows("firms.firm")]
    total = np.zeros((len(names), m.paths))
    for i, x in enumerate(m.rows("gpu_loans.loan")):
        if x.borrower in names:
            total[names.index(x.borrower)] += values[i]
    return total


def _value_after(m: Reading) -> Array:
    """Of each loan's collateral, at prices after the month's sales."""
    table, generations = m.rows("gpu_loans.loan"), m.rows("gpu_loans.market")
    fade = 0.5 ** (DT / m.economy.systems["gpu_loans"].impact_half_life)
    units = m.now("gpu_loans.units").reshape(len(table), len(generations), m.paths)
    value = np.zeros((len(table), m.paths))
    for g, row in enumerate(generations):
        sold = m.now(f"gpu_loans.impact_{row.name}") - fade * m.was(f"gpu_loans.impact_{row.name}")
        value += units[:, g] * (1e-9 * m.now(f"fleet.resale_{row.name}") * np.exp(-sold))
    return value


_owed, _owed_before = now("gpu_loans.owed"), was("gpu_loans.owed")
_owed_by_firm = Figure(lambda m: _by_firm(m, m.now("gpu_loans.owed")))
_saved = Figure(lambda m: _by_firm(m, m.now("gpu_loans.reserve") - m.was("gpu_loans.reserve")))
_no_sale = 1.0 - now("gpu_loans.sold").above(0.0)
_open = 1.0 - was("funding.window").above(0.5)
_most_drawn = (
    _per_loan("share_of_new_debt") * Figure(_raised) + _owed_before * _per_loan("growth") * DT
) * _open  # fmt: skip
_drawn = _firm("gpu_loans.balance_{}") + _firm("gpu_loans.repaid_{}") - _gpu
_kept_units, _had_units = (
    now("gpu_loans.units").total() + now("gpu_loans.sold"), was("gpu_loans.units").total(),
)  # fmt: skip
_no_draws = 1.0 - _most_drawn.total().above(0.0)
_covenant = _per_loan("ltv_covenant") + set_value("gpu_loans.tolerance")
_left_open = now("gpu_loans.residual") - was("gpu_loans.residual")

GPU_LOANS = (
    equal("gpu_loans: loans sum to the balance", _owed.total(), now("gpu_loans.balance")),
    equal("gpu_loans: loans of a firm and its vehicles sum to its balances", _owed_by_firm,
          _firm("gpu_loans.balance_{}") + _firm("gpu_loans.spv_balance_{}"), "firms.firm", reads=["firms"]),
    at_most("gpu_loans: a loan grows by new debt alone", _owed, _owed_before + _most_drawn, "gpu_loans.loan"),
    at_most("gpu_loans: balance = balance before - repaid + new, and new is not negative",
            0.0, _drawn, "firms.firm", reads=["firms"]),
    at_most("gpu_loans: new loans are part of the firm's new debt, while the window is open",
            _drawn, _firm("firms.raised_debt_{}") * _open, "firms.firm", reads=["firms"]),
    at_most("gpu_loans: lenders lose no more than balances fall by", now("gpu_loans.loss"),
            was("gpu_loans.loss") + (_owed_before + _most_drawn - _owed).total()),
    equal("gpu_loans: losses by lender sum to the loss", now("gpu_loans.loss"),
          now("gpu_loans.loss_in_book") + now("gpu_loans.loss_banks") + now("gpu_loans.loss_other")),
    at_most("gpu_loans: covenants hold after the cure, but for the residual that is reported",
            _owed, _covenant * Figure(_value_after) + _left_open, "gpu_loans.loan", reads=["fleet"]),
    equal("gpu_loans: of a firm in default nothing is outstanding",
          _owed_by_firm * (1.0 - _alive), 0.0, "firms.firm", reads=["firms"]),
    at_most("gpu_loans: instalments and cures take no more than the firm's cash",
            _firm("gpu_loans.margin_{}") + _firm("gpu_loans.principal_{}"), now("firms.cash"),
            "firms.firm", reads=["firms"]),
    at_most("gpu_loans: what goes into a reserve is paid by the borrower", _saved * _no_sale,
            _firm("gpu_loans.margin_{}") * _no_sale, "firms.firm", reads=["firms"]),
    equal("gpu_loans: a loan that is repaid holds no reserve",
          now("gpu_loans.reserve") * (1.0 - _owed_before.above(0.0)) * (1.0 - _owed.above(0.0)), 0.0, "gpu_loans.loan"),
    at_most("gpu_loans: units = units before - sold + bought, and bought is not negative", _had_units, _kept_units),
    equal("gpu_loans: without new loans no units come", _kept_units * _no_draws, _had_units * _no_draws),
    equal("gpu_loans: units sold add up",
          now("gpu_loans.units_sold"), was("gpu_loans.units_sold") + now("gpu_loans.sold")),
    at_most("gpu_loans: what is sold in later rounds is sold", now("gpu_loans.sold_round2"), now("gpu_loans.sold")),
    at_most("gpu_loans: rounds are bounded", now("gpu_loans.rounds"), set_value("gpu_loans.most_rounds")),
    *never_negative("gpu_loans", "owed", "due", "reserve", by="gpu_loans.loan"),
    *never_negative("gpu_loans", "units"),
    *never_falls("gpu_loans", "loss", "loss_in_book", "loss_banks", "loss_other", "residual", "spirals"),
)  # fmt: skip

# ---- private credit
_exposure = Figure(
    lambda m: np.full(m.paths, m.economy.columns["private_credit.loan_exposure"].max())
)
_loans = Figure(lambda m: np.full(m.paths, m.economy.columns["private_credit.loan_exposure"].size))
_new_defaults = now("private_credit.defaults") - was("private_credit.defaults")

PRIVATE_CREDIT = (
    equal("private_credit: loss = drawn here + that of GPU loans in the book", now("private_credit.loss"),
          now("private_credit.drawn") + now("gpu_loans.loss_in_book") * set_value("private_credit.stress")),
    at_most("private_credit: no more is lost than was lent", now("private_credit.loss"), now("private_credit.lent")),
    at_most("private_credit: no loss without a default", now("private_credit.drawn"),
            was("private_credit.drawn") + _exposure * _new_defaults),
    at_most("private_credit: no more defaults than loans", now("private_credit.defaults"), _loans),
    equal("private_credit: defaults are whole",
          now("private_credit.defaults"), Figure(lambda m: np.round(m.now("private_credit.defaults")))),
    equal("private_credit: loss share = loss over what was lent",
          now("private_credit.loss_share") * now("private_credit.lent"), now("private_credit.loss")),
    *never_falls("private_credit", "drawn", "defaults", "lent", "stated", "hazard", "loss"),
)  # fmt: skip


# ---- structured
def _tranches(m: Reading, pattern: str, weigh: str = "") -> Array:
    """Summed over the tranches of each pool; ``weigh`` by thickness, in money."""
    total = np.zeros((len(m.rows("structured.pool")), m.paths))
    for p, pool in enumerate(m.rows("structured.pool")):
        for t in m.rows("structured.tranche"):
            if t.pool == pool.name:
                weight = pool.notional * (t.detach - t.attach) if weigh else 1.0
                total[p] += weight * m.now(pattern.format(t.name))
    return total


def _equity(m: Reading) -> Array:
    """What is left of each pool's lowest tranche."""
    lowest = {t.pool: t.name for t in m.rows("structured.tranche") if t.attach <= 0.0}
    return np.stack(
        [m.now(f"structured.balance_{lowest[p.name]}") for p in m.rows("structured.pool")]
    )


def _out_of_turn(m: Reading) -> Array:
    """By tranche, its write-down while one below it is not gone."""
    table = m.rows("structured.tranche")
    found = np.zeros((len(table), m.paths))
    for k, t in enumerate(table):
        for junior in table:
            if junior.pool == t.pool and junior.detach <= t.attach:
                left = 1.0 - m.now(f"structured.writedown_{junior.name}")
                found[k] = np.maximum(found[k], m.now(f"structured.writedown_{t.name}") * left)
    return found


def _sites_left(m: Reading) -> Array:
    own = [not v.linked for v in m.rows("structured.spv")]
    return np.asarray((1.0 - m.now("structured.standing"))[own].sum(axis=0))


_pool, _pool_loss = (
    each("structured.pool", "structured.balance_{}"),
    each("structured.pool", "structured.loss_{}"),
)
_stack = Figure(lambda m: _tranches(m, "structured.balance_{}"))
_balances = "structured.balance_{}"

STRUCTURED = (
    equal("structured: what pools collect is paid out", now("structured.collected"), now("structured.paid")),
    at_most("structured: tranches owe no less than the pool holds", _pool, _stack, "structured.pool"),
    equal("structured: and no more, while the equity stands",
          _stack * Figure(_equity).above(0.0), _pool * Figure(_equity).above(0.0), "structured.pool"),
    equal("structured: write-downs of tranches sum to the pool's loss",
          Figure(lambda m: _tranches(m, "structured.writedown_{}", "money")), _pool_loss, "structured.pool"),
    equal("structured: losses come from the equity up", Figure(_out_of_turn), 0.0, "structured.tranche"),
    equal("structured: pools sum to the loss", now("structured.abs_loss"), _pool_loss.total()),
    equal("structured: sites sum to the loss",
          now("structured.spv_loss"), each("structured.spv", "structured.loss_{}").total()),
    at_most("structured: a site loses no more than its debt",
            now("structured.lost"), given("structured.spv", "debt"), "structured.spv"),
    equal("structured: guarantees are paid by sponsors", now("structured.guarantees_paid"),
          was("structured.guarantees_paid") + _firm("structured.guarantee_{}").total(), reads=["firms"]),
    equal("structured: sites without a tenant are counted",
          now("structured.exits") + now("structured.spv_defaults"), Figure(_sites_left)),
    at_most("structured: a tenant that left does not come back",
            now("structured.standing"), was("structured.standing"), "structured.spv"),
    at_most("structured: balances of tranches never rise", each("structured.tranche", _balances),
            each("structured.tranche", _balances, before=True), "structured.tranche"),
    at_most("structured: nor do those of pools", _pool, each("structured.pool", _balances, before=True),
            "structured.pool"),
    at_most("structured: nothing is owed to nobody", 0.0, each("structured.tranche", "structured.owed_{}"),
            "structured.tranche"),
    at_most("structured: balances are never negative", 0.0, each("structured.tranche", _balances),
            "structured.tranche"),
    *never_falls("structured", "abs_loss", "spv_loss", "guarantees_paid", "exits", "spv_defaults"),
)  # fmt: skip

# ---- holders
_by_holder = each("holders.holder", "holders.loss_{}")
_by_instrument = Figure(lambda m: np.stack([m.now(i.loss) for i in m.rows("holders.instrument")]))
_lender = Figure(lambda m: m.now(f"holders.loss_{m.economy.systems['holders'].lender}"))

HOLDERS = (
    equal("holders: losses borne = losses suffered", _by_holder.total(), _by_instrument.total()),
    equal("holders: and both are the loss", _by_holder.total(), now("holders.loss")),
    at_most("holders: nobody's loss falls", each("holders.holder", "holders.loss_{}", before=True), _by_holder,
            "holders.holder"),
    at_most("holders: nobody gains from a loss", 0.0, _by_holder, "holders.holder"),
    at_most("holders: banks bear what funds could not", now("holders.funds_loss"), _lender),
    *never_falls("holders", "loss", "funds_loss", "systemic"),
)  # fmt: skip

# ---- funding, macro, cycle
_shut = now("funding.window").above(1.5)
_bust, _phase = now("cycle.bust"), now("cycle.phase")

FUNDING = (
    whole("funding", "window", 2),
    at_most("funding: the window is no wider than stress leaves it",
            now("stress.window"), now("funding.window"), reads=["stress"]),
    equal("funding: months shut in a row are counted",
          now("funding.shut_run"), (was("funding.shut_run") + 1.0) * _shut),
    below("funding: equity is never all gone", now("funding.drawdown"), 1.0),
    at_most("funding: equity is at most its peak", now("funding.log_equity"), now("funding.peak")),
    *above_zero("funding", "spread", "equity"),
    *never_falls("funding", "peak"),
)  # fmt: skip

MACRO = (
    equal("macro: growth adds up", now("macro.log_gdp"), was("macro.log_gdp") + now("macro.growth") * DT),
    *above_zero("macro", "gdp", "taste"),
)  # fmt: skip

CYCLE = (
    equal("cycle: a bust has a month", now("cycle.bust_month").above(0.5), _bust),
    at_most("cycle: and it has come", now("cycle.bust_month"), Figure(lambda m: np.full(m.paths, m.month.number))),
    equal("cycle: bust and efficiency follow a bust, the others do not", _phase.above(1.5), _bust),
    at_most("cycle: learning never raises the break-even", now("cycle.breakeven"), was("cycle.breakeven")),
    at_most("cycle: nor lowers it below the floor", set_value("cycle.floor"), now("cycle.breakeven")),
    *never_falls("cycle", "bust", "bust_month"),
    *above_zero("cycle", "peak"),
    whole("cycle", "phase", 3),
)  # fmt: skip

IDENTITIES: tuple[Identity, ...] = (
    *REPORTED, *STRESS, *REVENUE, *COMPUTE, *RENTAL, *FLEET, *FIRMS, *GPU_LOANS, *PRIVATE_CREDIT,
    *STRUCTURED, *HOLDERS, *FUNDING, *MACRO, *CYCLE,
)  # fmt: skip
