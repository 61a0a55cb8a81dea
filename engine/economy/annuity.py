"""Level debt: present value factor, payment, and what is still owed.

Each function takes NumPy arrays or plain numbers; inside a step, ``xp`` as the last argument.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_FLAT = 1e-15  # below this rate a sum of discounted payments equals their number to the last digit


def annuity(rate: Any, periods: Any, xp: Any = np) -> Any:
    """Present value of 1 at the end of each of ``periods`` periods, at ``rate`` (above -1) a period.

    (1 - (1 + rate)^-periods) / rate, without cancellation at small rates; ``periods`` at rate 0.
    """
    flat = xp.maximum(rate, -rate) < _FLAT
    safe = xp.where(flat, 1.0, rate)
    return xp.where(flat, periods * 1.0, -xp.expm1(-periods * xp.log1p(safe)) / safe)


def level_payment(principal: Any, rate: Any, periods: Any, xp: Any = np) -> Any:
    """What repays ``principal`` with interest in ``periods`` (above 0) equal payments."""
    return principal / annuity(rate, periods, xp)


def outstanding(principal: Any, rate: Any, periods: Any, paid: Any, xp: Any = np) -> Any:
    """What is owed after ``paid`` of ``periods`` level payments: the present value of the others."""
    left = xp.minimum(xp.maximum(periods - paid, 0.0), periods * 1.0)
    return principal * (annuity(rate, left, xp) / annuity(rate, periods, xp))
