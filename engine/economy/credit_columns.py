"""The loan book as the kernel reads it: columns by group and loan, and what is lent when."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..book import Layout, Loan, streams
from ..system import DT, MAX_MONTHS
from .loan_draws import LAST_END
from .thresholds import frye_jacobs_shift

DRIVERS = ("rental", "spread", "window", "displacement")


def columns(credit: Any, book: Layout) -> dict[str, Any]:
    """The book by group and by loan; ``credit`` is a PrivateCredit that has laid out its groups."""
    loans = book.loans
    heads = [loans[i] for i in book.class_first]
    pd, rho = (np.array([getattr(x, k) for x in heads]) for k in ("pd", "rho"))
    made: dict[str, Any] = {
        "group_first": book.group_first,
        "group_size": book.group_size,
        "group_class": book.group_class,
        "group_pattern": book.class_pattern[book.group_class],
        "class_pattern": book.class_pattern,
        "class_hazard": -np.log1p(-pd),
        "class_factor": np.sqrt(rho),
        "class_own": np.sqrt(1.0 - rho),
        "class_lgd": np.array([x.lgd for x in heads]),
        "started": book.started,
        "loan_exposure": np.array([x.exposure for x in loans]),
        "loan_end": np.minimum([x.end for x in loans], LAST_END),
    }
    if credit.method == "each":
        made["loan_stream"] = streams([x.loan for x in loans])
    if credit.stress:
        collateral = {s.name: s.collateral for s in credit.sector}
        weight = {r.name.upper(): r.refinancing for r in credit.rating}
        made |= {
            **{f"beta_{k}": book.patterns[:, j].copy() for j, k in enumerate(DRIVERS)},
            "class_log_hazard": np.log(-np.log1p(-pd)),
            "class_collateral": np.array([collateral[x.sector] for x in heads]),
            "class_shift": np.array([frye_jacobs_shift(x.pd, x.lgd, x.rho) for x in heads]),
            "class_weight": np.array([weight[x.rating] for x in heads]),
            "matures": book.matures,
            "maturity_loan": book.maturity_loan,
            "batch_first": book.batch_first,
            "batch_group": book.batch_group,
        }
    return made


def lending(credit: Any, book: Layout, linked: list[Loan]) -> dict[str, Any]:
    """What is lent at the start, by each group, and the losses a month that stated hazards promise."""
    exposure = np.array([x.exposure for x in book.loans])
    by_group = np.add.reduceat(exposure, book.group_first)
    ai = {s.name for s in credit.sector if s.ai}
    loans = [*book.loans, *linked]
    old = sum(x.exposure for x in loans if x.start == 0)
    new = sum(x.exposure for x in loans if x.start > 0)
    made: dict[str, Any] = {
        "lent_start": float(old),
        "lent_linked": float(sum(x.exposure for x in linked if x.start > 0)),
        "ai_start": float(sum(x.exposure for x in loans if x.start == 0 and x.sector in ai)),
        "ai_new": float(sum(x.exposure for x in loans if x.start > 0 and x.sector in ai))
        / max(float(new), 1e-9),
    }
    if credit.vintages:
        made["group_exposure"] = by_group
        made["at_start"] = int((book.group_start == 0).sum())
    if credit.stress:
        ends = np.array([x.end for x in book.loans])
        group = np.repeat(np.arange(credit.groups), book.group_size)
        lgd = np.array([x.lgd for x in book.loans])
        hazard = -np.log1p(-np.array([x.pd for x in book.loans]))
        start = book.group_start[group]
        pattern = book.class_pattern[book.group_class[group]]
        stated = np.zeros((MAX_MONTHS + 1, credit.patterns))
        for t in range(1, MAX_MONTHS + 1):
            alive = (start < t) & (ends >= t) if credit.vintages else ends >= t
            left = alive * exposure * lgd * hazard * np.exp(-hazard * (t - start) * DT)
            np.add.at(stated[t], pattern, left)
        made["stated_rate"] = stated.ravel()
    return made
