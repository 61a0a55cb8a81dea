"""A leased site: its table, what it owes and is worth, what its guarantee pays, and when the tenant leaves.

The functions of value take NumPy arrays or plain numbers; inside a step, ``xp`` as the last argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..system import DT, MAX_MONTHS, Row, parameter, setting
from .annuity import annuity, level_payment, outstanding

WIDTH = MAX_MONTHS + 2
"""Entries of a site in a schedule: months 0 to the one after the longest run."""

_CLOSE = 1e-9
_LATEST = 1200  # months: a date far beyond any run
_SOURCE = "assumption: unless the row's source names a fact"


class Spv(Row):
    """A site that a vehicle owns, mostly on debt, and a sponsor rents."""

    sponsor = setting("", "the firm that rents the site")
    cost = parameter(10.0, "USD bn", _SOURCE, gt=0)
    sponsor_share = parameter(
        0.0, "share", "assumption: of the cost, paid by the sponsor", ge=0, le=1
    )
    debt = parameter(8.0, "USD bn", _SOURCE, ge=0)
    chips = parameter(
        0.0, "share", "assumption: of the cost; the rest is shell and power", ge=0, le=1
    )
    rate = parameter(0.07, "1/year", "assumption: of the debt and within the rent", ge=0, lt=1)
    term = setting(
        180, "assumption: months of level payments, of rent and of debt", ge=1, le=_LATEST
    )
    lease_start = setting(1, "assumption: month of the first rent", ge=-_LATEST, le=_LATEST)
    exit = setting(
        60, "assumption: month when the sponsor may first leave", ge=-_LATEST, le=_LATEST
    )
    every = setting(
        0, "assumption: months between exit dates after it; 0: only one", ge=0, le=_LATEST
    )
    guarantee = parameter(
        0.0,
        "share",
        "assumption: of the debt at start, most that the sponsor pays on leaving",
        ge=0,
        le=1,
    )
    linked = setting(False, "whether gpu_loans holds its debt: it then counts for leverage only")
    source = setting("", "where the figures come from")


def site_value(
    shell: Any, chips: Any, log_market: Any, log_chips: Any, elasticity: Any, xp: Any = np
) -> Any:
    """Buildings and power at depreciated cost, which a weak rental market lowers, and chips at theirs.

    ``log_market`` is the log of what a kilowatt of the site earns over its start: the shell falls with it
    by ``elasticity``, and never sells above cost, since others may build. ``log_chips`` is the log of chip
    prices over what lenders expected.
    """
    return shell * xp.exp(elasticity * xp.minimum(log_market, 0.0)) + chips * xp.exp(log_chips)


def guarantee_due(debt: Any, value: Any, cap: Any, xp: Any = np) -> Any:
    """A residual value guarantee: what the site does not cover of the debt, up to a cap."""
    return xp.minimum(cap, xp.maximum(debt - value, 0.0))


def leaves(rent: Any, market: Any, guarantee: Any) -> Any:
    """Whether the tenant is better off elsewhere: the rent left costs more than the market's and the guarantee.

    ``rent`` is the present value of the rent left, ``market`` the market rent over the contract's.
    """
    return rent * (1.0 - market) > guarantee


def schedules(
    sites: Sequence[Any], sale_cost: float, shell_life: float, chip_life: float
) -> dict[str, Any]:
    """By site and month, flat: debt before the month's payment, and shell and chips at today's rents, USD bn.

    Shell and chips lose value in a straight line from the start of the lease, and the cost of a sale.
    """
    month = np.arange(WIDTH)
    made: dict[str, list[Any]] = {"site_debt": [], "site_shell": [], "site_chips": []}
    for v in sites:
        paid = np.clip(month - v.lease_start, 0, v.term)
        age = np.maximum(month - v.lease_start, 0) * DT
        worth = v.cost * (1.0 - sale_cost)
        shell, chips = (np.maximum(1.0 - age / life, 0.0) for life in (shell_life, chip_life))
        made["site_debt"].append(outstanding(v.debt, v.rate * DT, v.term, paid))
        made["site_shell"].append(worth * (1.0 - v.chips) * shell)
        made["site_chips"].append(worth * v.chips * chips)
    return {k: np.concatenate(x) for k, x in made.items()}


def exit_dates(v: Any) -> list[tuple[int, float]]:
    """The exit dates of a site within any run, each with the present value of the rent left, USD bn."""
    if v.linked:
        return []
    end = v.lease_start + v.term  # the first month without rent
    last = min(end, WIDTH)
    dates = range(v.exit, last, v.every) if v.every else range(v.exit, min(v.exit + 1, last))
    rate = v.rate * DT
    rent = level_payment(v.cost, rate, v.term)
    return [
        (m, float(rent * annuity(rate, min(end - m, v.every or end - m)))) for m in dates if m >= 1
    ]


def check_site(v: Any) -> list[str]:
    """A line for each problem of a row."""
    where = f"structured.spv.{v.name}"
    problems = []
    end = v.lease_start + v.term - 1
    if not v.lease_start <= v.exit <= end:
        when = "before the lease starts" if v.exit < v.lease_start else "after the last rent"
        problems.append(f"{where}.exit = {v.exit}: {when}; should be from {v.lease_start} to {end}")
    outside = v.cost * (1.0 - v.sponsor_share)
    if v.debt > v.cost * (1.0 + _CLOSE):
        problems.append(f"{where}.debt = {v.debt:g}: above the cost; should be at most {v.cost:g}")
    elif v.debt > outside * (1.0 + _CLOSE):
        problems.append(
            f"{where}.debt = {v.debt:g}: with sponsor_share = {v.sponsor_share:g} above the cost, {v.cost:g}; "
            f"should be at most {outside:g}"
        )
    return problems
