"""The whole economy's accounts, every month on every path of a sample, in every shipped scenario and beside them.

The identities are those of ``engine/identities.py``: cash in = cash out, payments made = payments received, losses borne
= losses suffered, balances never negative, probabilities within [0, 1], every value finite. Within 1e-9, in float64.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overbuilt.engine.audit import audit
from overbuilt.engine.record import record
from overbuilt.engine.scenario import load, shipped

PATHS = 128
NOT_WHOLE = ("textbook",)  # its one system is audited in test_audit.py, its law in test_textbook.py


@pytest.mark.parametrize("name", [s for s in shipped() if s not in NOT_WHOLE])
def test_the_accounts_of_a_scenario_hold(name: str) -> None:
    result = audit(load(name), PATHS)
    assert result.months == 60
    assert len(result.identities) > 170
    assert result.holds, "\n".join(map(str, result.violations))


CHANGED: dict[str, dict[str, Any]] = {
    "the other reading, default costs, no grace, a state that supports": {
        "firms.ladder_reading": "atlantic", "firms.lease_reading": "atlantic", "firms.alpha": 0.5, "firms.beta": 0.3,
        "firms.grace": 0.0, "firms.backstop": 0.5,
    },
    "firms without cash, a window that stays shut, endless patience": {
        "funding.window_start": 2.0, "funding.reopen": 0.0, "firms.grace": 60.0, "firms.barrier": 0.0,
    } | {f"firms.firm.{f}.cash": 0.1 for f in ("oracle", "meta", "alphabet", "nvidia", "openai", "xai", "coreweave")},
    "guarantees beyond any cash, pools that fail": {
        "structured.spv.short_lease_neocloud.guarantee": 1.0, "structured.spv.short_lease_neocloud.exit": 12,
        "structured.spv.short_lease_neocloud.every": 6, "structured.spv.hyperion.lease_start": 1,
        "structured.spv.hyperion.exit": 10, "structured.spv.hyperion.every": 3, "structured.cover": 0.0,
        "structured.pool.data_centre.pd_5y": 0.6, "structured.pool.neocloud_gpu.pd_5y": 0.9,
        "structured.pool.neocloud_gpu.amortisation": 0.3, "structured.tranche.gpu_junior.coupon": 0.5,
    },
    "fire sales of two rounds, debt that buys chips": {
        "gpu_loans.loan.coreweave_ddtl_1.ltv_covenant": 0.76, "gpu_loans.loan.coreweave_ddtl_2.ltv_covenant": 0.76,
        "gpu_loans.most_rounds": 2.0, "gpu_loans.market.hopper.impact": 2.0, "gpu_loans.impact_law": "linear",
        "gpu_loans.loan.coreweave_ddtl_3.share_of_new_debt": 1.0, "gpu_loans.loan.lambda_gpu.growth": 1.5,
        "gpu_loans.loan.nebius_secured.share_of_new_debt": 1.0,
    },
    "wild markets, a Student copula": {
        "revenue.volatility": 1.0, "rental.generation.hopper.volatility": 1.5, "compute.demand_volatility": 0.8,
        "rental.war_rate": 2.0, "rental.war_rate_glut": 2.0, "private_credit.copula": "student_t",
    },
    "sales that collapse, a frailty, loan by loan": {
        "revenue.start": [0.0, 0.0, 1.0], "revenue.generator": [[0.0] * 3] * 3, "revenue.stall_drift": -2.0,
        "private_credit.copula": "frailty", "private_credit.method": "each",
    },
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGED)
def test_the_accounts_hold_far_from_base(case: str) -> None:
    result = audit(load("base", CHANGED[case] | {"months": 40}), 64, seed=1)
    assert result.holds, "\n".join(map(str, result.violations))


CIRCLE = """
extends = "base"
[[firms.contract]]
name = "oracle_openai"
payer = "oracle"
payee = "openai"
total = 200.0
[[firms.contract]]
name = "coreweave_meta"
payer = "coreweave"
payee = "meta"
total = 60.0
[[firms.contract]]
name = "nebius_microsoft"
payer = "nebius"
payee = "microsoft"
total = 20.0
"""

EVENTS = """
extends = "base"
""" + "".join(
    f'[[stress.event]]\nname = "{name}"\non = true\n{more}\n'
    for name, more in {
        "price_war": "probability = 0.5",
        "loan_recall": "size = 0.8",
        "recall_again": 'what = "recall"\nmonth = 12\nsize = 0.9',
        "renewal_boom": 'what = "renewals"\nmonth = 3\nlasting = 30\nsize = 1.2',
        "window_shut": "lasting = 40",
        "coreweave_gone": 'what = "default"\ntarget = "coreweave"\nmonth = 20\nsize = 1.0',
        "meta_gone": 'what = "default"\ntarget = "meta"\nmonth = 30\nsize = 1.0',
        "xai_gone": 'what = "default"\ntarget = "xai"\nmonth = 25\nsize = 1.0',
    }.items()
)


@pytest.mark.parametrize(("name", "text"), [("circle", CIRCLE), ("events", EVENTS)])
def test_the_accounts_hold_in_a_circle_of_debts_and_among_events(
    name: str, text: str, tmp_path: Path
) -> None:
    """Contracts that close circles, which clearing has to solve; calls, renewals and defaults on top of each other."""
    path = tmp_path / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    result = audit(load(path, {"months": 36}), 64, seed=2)
    assert result.holds, "\n".join(map(str, result.violations))


def test_does_the_circle_hold_without_outside_money() -> None:
    """The panel's test: with the window shut throughout, firms raise what a shut window leaves, and no more.

    On the same paths it is never more than the firms' capacity leaves; more is left unpaid, more firms default, and
    the network's own payments stand for more of what labs and neoclouds live on.
    """
    raised, unpaid, gone = {}, {}, {}
    for shut in (False, True):
        changed = {"stress.event.window_shut.on": shut, "stress.event.window_shut.lasting": 60}
        economy = load("base", changed).economy
        total, open_sums = 0.0, 0.0
        for month in record(economy, 4, 0, 256, 36):
            total = total + np.asarray(month.seen["firms.debt_raised"])
            open_sums = open_sums + month.seen["firms.unpaid"].sum(axis=0)
            assert np.all(month.seen["funding.window"] == 2.0) or not shut
        raised[shut], unpaid[shut] = np.mean(total), np.mean(open_sums)
        gone[shut] = np.mean(np.asarray(month.seen["firms.bankrupt"]))
    assert raised[True] < 0.9 * raised[False]
    assert unpaid[True] > unpaid[False]
    assert gone[True] > gone[False] + 0.1
