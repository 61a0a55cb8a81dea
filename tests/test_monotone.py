"""What should not help does not: worse events and less collateral never lower mean credit losses.

On common random numbers, native in float32, 16,384 paths: a difference of means has an error far below that of
the means. All runs share one kernel: every event is part of it, with probability 0 unless a test says otherwise, and
sizes, months and tables are read at run time. Fixed seed: what passes keeps passing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from overbuilt.engine.scenario import load
from overbuilt.engine.simulate import Plan, plan
from overbuilt.engine.system import Economy
from overbuilt.kernels import backends

PATHS, SEED = 16_384, 7
EVENTS = (
    "price_war",
    "funding_freeze",
    "hopper_glut",
    "rate_shock",
    "spread_shock",
    "demand_slump",
    "loan_recall",
)
LOSSES = ("holders.loss", "private_credit.loss")
GPU = ("gpu_loans.loss",)


def economy(changed: dict[str, Any]) -> Economy:
    off: dict[str, Any] = {}
    for e in EVENTS:
        off |= {f"stress.event.{e}.on": True, f"stress.event.{e}.probability": 0.0}
    return load("base", off | changed).economy


@cache
def compiled() -> Plan:
    found = backends.status("native")
    if not found.works:
        pytest.skip(found.why)
    return plan(economy({}), "native", "float32")


@cache
def losses(changed: tuple[tuple[str, Any], ...]) -> dict[str, NDArray[np.float64]]:
    """By metric, (paths,)."""
    made, model = compiled(), economy(dict(changed))
    assert model.metrics == made.economy.metrics
    output = made.kernel.run(model, SEED, 0, PATHS, 60, False)
    assert not output.bad.any()
    return {k: output.metrics[model.metrics.index(k)].astype(np.float64) for k in (*LOSSES, *GPU)}


def never_less(worse: Sequence[dict[str, Any]], metrics: Sequence[str] = LOSSES) -> None:
    """From each to the next, means do not fall; from the first to the last they rise beyond doubt."""
    runs = [losses(tuple(c.items())) for c in worse]
    for metric in metrics:
        means = [r[metric].mean() for r in runs]
        assert np.all(np.diff(means) >= 0.0), (metric, means)
        rise = runs[-1][metric] - runs[0][metric]
        assert rise.mean() > 5.0 * rise.std() / np.sqrt(PATHS), (metric, means)


def event(name: str, **values: Any) -> dict[str, Any]:
    path = f"stress.event.{name}"
    return {f"{path}.probability": 1.0} | {f"{path}.{k}": v for k, v in values.items()}


def test_an_event_of_size_nothing_changes_nothing() -> None:
    base = losses(())
    for name in (
        "price_war",
        "rate_shock",
        "spread_shock",
        "demand_slump",
        "loan_recall",
        "funding_freeze",
    ):
        same = losses(tuple(event(name, size=0.0).items()))
        assert all(np.array_equal(base[k], same[k]) for k in base), name


def test_a_larger_price_war() -> None:
    never_less([event("price_war", size=s) for s in (0.0, -0.3, -0.6, -0.9)], LOSSES + GPU)


def test_a_deeper_glut_of_hoppers() -> None:
    never_less([event("hopper_glut", size=s) for s in (0.0, -0.35, -0.7, -1.4)])


def test_a_window_that_is_shut_longer() -> None:
    never_less([{}, *(event("funding_freeze", lasting=n) for n in (3, 6, 9, 18, 36))])


def test_a_window_that_is_tight_and_then_shut() -> None:
    never_less([event("funding_freeze", size=s, lasting=12) for s in (0.0, 1.0, 2.0)])


def test_higher_rates() -> None:
    never_less([event("rate_shock", size=s) for s in (0.0, 0.01, 0.02, 0.04)])


def test_wider_spreads() -> None:
    never_less([event("spread_shock", size=s) for s in (0.0, 0.35, 0.7, 1.4)])


def test_customers_who_use_less() -> None:
    never_less([event("demand_slump", size=s) for s in (0.0, -0.25, -0.5, -1.0)])


def test_lenders_who_call_more() -> None:
    never_less([event("loan_recall", size=s) for s in (0.0, 0.3, 0.6)])


CHIPS: list[dict[str, Any]] = load("base").values["fleet"]["chip"]
PLEDGES: list[dict[str, Any]] = load("base").values["gpu_loans"]["pledge"]


def worth_less(factor: float) -> dict[str, Any]:
    """What a used unit fetches, of all generations. Below 0.83 loans would be in breach at the start."""
    return {f"fleet.chip.{c['name']}.resale_start": factor * c["resale_start"] for c in CHIPS}


def pledged(factor: float) -> dict[str, Any]:
    return {f"gpu_loans.pledge.{p['name']}.units": factor * p["units"] for p in PLEDGES}


def test_collateral_that_is_worth_less() -> None:
    never_less([worth_less(f) for f in (1.6, 1.4, 1.2, 1.0, 0.9, 0.85)], LOSSES + GPU)


def test_fewer_units_pledged() -> None:
    """GPU lenders always lose more; all others, too, around the shipped tables.

    Where loans are covered more than 1.2 times as well, a further unit adds to what a default dumps on the market
    (a called loan sells all, and hands back the rest): other borrowers of the same chips then lose more by
    its price than its lender gains. From 1.2 to 2.5 times the units mean losses rise by half a percent.
    """
    never_less([pledged(f) for f in (2.5, 1.5, 1.2, 1.0, 0.9, 0.85)], GPU)
    never_less([pledged(f) for f in (1.1, 1.0, 0.9, 0.85)])


def test_a_market_that_absorbs_less() -> None:
    depth = [
        {f"gpu_loans.market.{c['name']}.impact": x for c in CHIPS} for x in (0.0, 0.05, 0.2, 0.5)
    ]
    never_less(depth, LOSSES + GPU)
