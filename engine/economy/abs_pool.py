"""Pools of loans and their tranches: the tables, and what may be wrong with them together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from ..system import Row, parameter, setting
from ..validate import near, shown

_CLOSE = 1e-9
_LATEST = 1200  # months: a date far beyond any run
_SOURCE = "assumption: unless the row's source names a fact"


class Pool(Row):
    """A pool of loans that are alike."""

    notional = parameter(10.0, "USD bn", _SOURCE, gt=0)
    names = setting(40, "assumption: loans in the pool, of one size", ge=1, le=10_000)
    pd_5y = parameter(0.1, "probability", "assumption: five-year default, no stress", gt=0, lt=1)
    lgd = parameter(0.4, "share", "assumption: loss given default at today's rentals", gt=0, le=1)
    rho = parameter(
        0.2, "share", "assumption: whole asset correlation; used with stress off", ge=0, lt=1
    )
    rho_residual = parameter(
        0.08, "share", "assumption: what stress leaves; used with stress on", ge=0, lt=1
    )
    beta_rental = parameter(0.0, "1", "assumption: of the log hazard to the rental shortfall")
    beta_spread = parameter(0.0, "1", "assumption: of the log hazard to the log spread ratio")
    beta_window = parameter(0.0, "1", "assumption: of the log hazard to the funding window")
    collateral = parameter(
        0.0, "1", "assumption: elasticity of recovery to GPU rentals", ge=0, le=5
    )
    coupon = parameter(0.07, "1/year", "assumption: the loans', net of servicing", ge=0, lt=1)
    amortisation = parameter(
        0.0,
        "1/year",
        "assumption: share of each loan's first balance repaid in a year",
        ge=0,
        le=12,
    )
    maturity = setting(60, "assumption: month when the loans repay the rest", ge=1, le=_LATEST)
    source = setting("", "where the figures come from")


class Tranche(Row):
    """A tranche of a pool: it bears the pool's loss between two points."""

    pool = setting("", "the pool it belongs to")
    rating = setting("NR", "its rating at issue")
    attach = parameter(0.0, "share", "assumption: pool loss where its own begins", ge=0, le=1)
    detach = parameter(1.0, "share", "assumption: pool loss where it is gone", ge=0, le=1)
    coupon = parameter(0.0, "1/year", "assumption: at issue", ge=0, lt=1)
    promised = parameter(
        0.0, "probability", "assumption: five-year default of its rating; 0: unrated", ge=0, lt=1
    )
    source = setting("", "where the figures come from")


def check_pools(pools: Sequence[Any], tranches: Sequence[Any]) -> list[str]:
    """A line for each problem: a tranche of no pool or of no thickness, a pool not covered from 0 to 1."""
    names = [p.name for p in pools]
    problems = []
    for t in tranches:
        where = f"structured.tranche.{t.name}"
        if t.pool not in names:
            problems.append(
                f"{where}.pool = {shown(t.pool)}: should be a pool{near(t.pool, names)}"
            )
        if t.detach <= t.attach:
            problems.append(
                f"{where}.detach = {t.detach:g}: should be above its attach, {t.attach:g}"
            )
    for name in names:
        problems += _check_stack(name, [t for t in tranches if t.pool == name])
    return problems


def _check_stack(pool: str, tranches: Sequence[Any]) -> list[str]:
    """Its tranches cover a pool's losses from 0 to 1, each once."""
    # those of no thickness have a line of their own
    stack = sorted((t for t in tranches if t.attach < t.detach), key=lambda t: (t.attach, t.detach))
    if not tranches:
        return [f"structured.pool.{pool}: no tranche; tranches should cover it from 0 to 1"]
    if not stack:
        return []
    problems = []
    thin = [t.attach for t in tranches if t.attach >= t.detach]
    first, last = stack[0], max(stack, key=lambda t: t.detach)
    if abs(first.attach) > _CLOSE:
        problems.append(
            f"structured.tranche.{first.name}.attach = {first.attach:g}: the lowest of {pool} should attach at 0"
        )
    for a, b in itertools.pairwise(stack):
        filled = any(a.detach <= attach < b.attach for attach in thin)
        if abs(b.attach - a.detach) > _CLOSE and not filled:
            fault = "leaves a gap above" if b.attach > a.detach else "overlaps"
            problems.append(
                f"structured.tranche.{b.name}.attach = {b.attach:g}: {fault} {a.name}; should be {a.detach:g}"
            )
    if abs(last.detach - 1.0) > _CLOSE:
        problems.append(
            f"structured.tranche.{last.name}.detach = {last.detach:g}: the highest of {pool} should detach at 1"
        )
    return problems
