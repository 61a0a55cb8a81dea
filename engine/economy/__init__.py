"""The economy, one file per system, in the order of flow of a month."""

from __future__ import annotations

from ..system import System
from .compute import Compute
from .conditions import Conditions
from .private_credit import PrivateCredit
from .rental import Rental
from .revenue import Revenue
from .shocks import Shocks

FLOW: tuple[type[System], ...] = (Shocks, Revenue, Compute, Rental, PrivateCredit, Conditions)
"""Each month the systems run once, in this order."""

SYSTEMS: dict[str, type[System]] = {s.key(): s for s in FLOW}

__all__ = [
    "FLOW",
    "SYSTEMS",
    "Compute",
    "Conditions",
    "PrivateCredit",
    "Rental",
    "Revenue",
    "Shocks",
]
