"""Waterfalls: who of a pool's tranches is paid, and who bears its losses.

Each function takes NumPy arrays or plain numbers; inside a step, ``xp`` as the last argument. They use only
sums, differences, products, least and greatest, so amounts in whole cents stay exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


def tranche_loss(pool_loss: Any, attach: Any, detach: Any, xp: Any = np) -> Any:
    """The part of a pool's loss that lies between two points; all as shares of the pool."""
    return xp.minimum(xp.maximum(pool_loss - attach, 0.0), detach - attach)


class Payments(NamedTuple):
    """One payment date. Lists run from the most senior tranche to the most junior, the equity."""

    interest: list[Any]
    """Paid on interest due and owed."""
    principal: list[Any]
    """Paid on balances."""
    writedown: list[Any]
    """Taken off balances without payment."""
    balance: list[Any]
    """What is left of them."""
    owed: list[Any]
    """Interest due but not yet paid, now and before."""
    residual: Any
    """Cash to the equity beyond its interest and principal."""


def waterfall(
    balance: Sequence[Any],
    owed: Sequence[Any],
    due: Sequence[Any],
    interest: Any,
    principal: Any,
    loss: Any,
    cover: Any = 1.0,
    xp: Any = np,
) -> Payments:
    """Pay one date's interest and principal to tranches, the most senior first, and write off its loss.

    ``balance``, ``owed`` (interest left unpaid before, which bears none) and ``due`` (interest of this
    date) are by tranche, at least one; ``interest`` and ``principal`` are what the pool paid, recoveries
    among the principal; ``loss`` is what it will never pay. In this order:

    1. Interest goes to what each tranche is owed and due, one tranche after the other.
    2. What is left is the excess spread. The share ``cover`` of it stands in for this date's loss, as far
       as that goes, and is paid as principal. The rest is the equity's: it is not kept for later dates.
    3. Principal repays the tranches one after the other. Before the equity gets any, it pays interest
       still owed above it; as that principal is then missing, the equity is written down by as much.
    4. The loss that is not covered is written down from the equity up.

    Always: interest + principal = all interest and principal paid + residual; and by tranche old balance
    = principal + write-down + new balance. Where principal + loss is at most the sum of the balances,
    that sum falls by just the two; principal beyond it goes to the equity, loss beyond it to nobody.
    """
    paid, unpaid = [], []
    for before, now in zip(owed, due, strict=True):
        claim = before + now
        got = xp.minimum(interest, claim)
        interest = interest - got
        paid.append(got)
        unpaid.append(claim - got)
    covered = xp.minimum(interest * cover, loss)
    residual = interest - covered
    cash = principal + covered

    repaid, left = [], []
    for b in balance[:-1]:
        got = xp.minimum(cash, b)
        cash = cash - got
        repaid.append(got)
        left.append(b - got)
    diverted: Any = 0.0
    for i in range(len(unpaid) - 1):
        got = xp.minimum(cash, unpaid[i])
        cash, diverted = cash - got, diverted + got
        paid[i], unpaid[i] = paid[i] + got, unpaid[i] - got
    got = xp.minimum(cash, balance[-1])
    residual = residual + (cash - got)
    repaid.append(got)
    left.append(balance[-1] - got)

    uncovered = loss - covered + xp.minimum(diverted, left[-1])
    written, after = [], []
    for b in reversed(left):
        cut = xp.minimum(uncovered, b)
        uncovered = uncovered - cut
        written.append(cut)
        after.append(b - cut)
    return Payments(paid, repaid, written[::-1], after[::-1], unpaid, residual)
