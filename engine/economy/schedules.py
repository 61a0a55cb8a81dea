"""Monthly schedules of the network, computed once on the host: contracts, leases, ladders, cash flows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..system import MAX_MONTHS

PERIODS = MAX_MONTHS + 1  # entries of a schedule: months 0 (nothing), 1, ..., 240
_MONTHS = np.arange(PERIODS)
_FOLLOWS = {"take_or_pay": 0, "compute": 1, "grows": 2, "put": 3, "chip_order": 4}
_RESOLD = (
    "take_or_pay",
    "compute",
    "grows",
)  # capacity that others can rent when its customer is gone


def level(total: float, first: int, lasting: int, ramp: int) -> NDArray[np.float64]:
    """Monthly amounts (PERIODS,) that sum to ``total``: a linear ramp over ``ramp`` months, then level."""
    into = _MONTHS - first + 1
    weight = np.clip(into / max(ramp, 1), 0.0, 1.0) * ((into >= 1) & (into <= lasting))
    whole = np.clip(np.arange(1, lasting + 1) / max(ramp, 1), 0.0, 1.0).sum()
    return np.asarray(total * weight / whole)


def schedules(firms: Any) -> dict[str, Any]:
    """Columns and numbers that ``Firms.prepare`` gives the kernel."""
    rows = firms.firm
    columns: dict[str, Any] = {
        f"firm_{k}": np.array([getattr(f, k) for f in rows])
        for k in (
            "cash", "debt", "coupon", "capex", "dividend", "ai_revenue", "margin", "cost_elasticity", "equity", "capacity",
            "equity_share", "hazard", "spread", "lgd", "equity_beta", "volatility", "rental_beta", "window_beta", "capex_yield",
        )
    }  # fmt: skip
    laddered = {r.firm for r in firms.ladder if r.reading in ("both", firms.ladder_reading)}
    has_ladder = np.array([int(f.name in laddered) for f in rows], np.int32)
    columns |= {
        "firm_value": np.array([f.equity + f.debt for f in rows]),
        "firm_leverage": np.array([f.debt / (f.equity + f.debt) for f in rows]),
        "firm_cost": np.array([max(-f.ocf, 0.0) if f.kind == "lab" else 0.0 for f in rows]),
        "firm_follows": np.array([int(f.ocf_follows_capex) for f in rows], np.int32),
        "firm_has_ladder": has_ladder,
        "firm_roll": np.where(has_ladder, 0.0, [1.0 / (12.0 * f.life) for f in rows]),
        "firm_target": np.array([f.cash if f.kind in ("cloud", "vendor") else 1e9 for f in rows]),
        "firm_network": np.array([float(f.kind in ("lab", "neocloud")) for f in rows]),
        "firm_old_debt": np.array([f.debt if f.kind in ("cloud", "vendor") else 0.0 for f in rows]),
        "firm_supported": np.array([float(f.name == firms.backstop_firm) for f in rows]),
        "firm_ocf_path": np.concatenate([_operations(f) for f in rows]),
        "firm_lease": np.concatenate([_leases(f, firms) for f in rows]),
        "ladder_due": np.concatenate([_ladder(f, firms) for f in rows]),
        "capex_start": float(sum(f.capex for f in rows)) / 12.0,
        "backstop_hazard": float(-np.log1p(-firms.backstop)),
    }
    return columns | _contracts(firms)


def _operations(firm: Any) -> NDArray[np.float64]:
    """Cash flow from operations before AI revenue, annual rate by month; a laboratory's cost is apart."""
    if firm.kind == "lab":
        return np.zeros(PERIODS)
    return np.asarray(firm.ocf * np.exp(firm.ocf_growth * _MONTHS / 12.0))


def _leases(firm: Any, firms: Any) -> NDArray[np.float64]:
    if firms.lease_reading == "atlantic" and firm.leases_due > 0:
        return level(firm.leases_due, 1, 36, 0)
    # begun over three years, each running for lease_years: the rate grows, stays, and falls again
    months = 12.0 * firms.lease_years
    began = np.clip(_MONTHS / 36.0, 0.0, 1.0) - np.clip((_MONTHS - months) / 36.0, 0.0, 1.0)
    return np.asarray(firm.leases * began / months)


def _ladder(firm: Any, firms: Any) -> NDArray[np.float64]:
    due = np.zeros(PERIODS)
    for rung in firms.ladder:
        if rung.firm == firm.name and rung.reading in ("both", firms.ladder_reading):
            inside = (rung.first_month <= _MONTHS) & (rung.last_month >= _MONTHS)
            due += rung.balance / (rung.last_month - rung.first_month + 1) * inside
    return due


def _contracts(firms: Any) -> dict[str, Any]:
    """Columns of the contracts that are owed, and of gifts (equity, round trips) by their row."""
    names = {f.name: i for i, f in enumerate(firms.firm)}
    owed = firms.owed
    plans = [firms.firm[names[c.payer]].plan for c in owed]
    neoclouds = {f.name for f in firms.firm if f.kind == "neocloud"}
    due = [level(c.total, c.first_month, c.lasting, c.ramp) for c in owed]
    left = np.zeros(PERIODS)
    for c, path in zip(owed, due, strict=True):
        if c.payee in neoclouds and c.kind == "take_or_pay":
            left += path.sum() - np.cumsum(path)
    plan = [
        p ** np.minimum(_MONTHS / 24.0, 1.0) * np.exp(0.25 * np.maximum(_MONTHS - 24, 0) / 12.0)
        if p > 1.0
        else np.full(PERIODS, 1e-3)
        for p in plans
    ]
    gifts = [
        level(c.total, c.first_month, c.lasting, c.ramp)
        if c.kind in ("equity", "round_trip")
        else np.zeros(PERIODS)
        for c in firms.contract
    ]
    return {
        "payer": np.array([names[c.payer] for c in owed], np.int32),
        "payee": np.array([names[c.payee] for c in owed], np.int32),
        "contract_kind": np.array([_FOLLOWS[c.kind] for c in owed], np.int32),
        "contract_firmness": np.array([0.0 if c.kind == "put" else c.firmness for c in owed]),
        "contract_relet": np.array([float(c.kind in _RESOLD) for c in owed]),
        "contract_chips": np.array([float(c.kind == "chip_order") for c in owed]),
        "contract_due": np.concatenate(due),
        "contract_plan": np.concatenate(plan),
        "committed": left,
        "gift_due": np.concatenate(gifts),
        "gift_total": np.array([c.total for c in firms.contract]),
    }
