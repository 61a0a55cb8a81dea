"""The economy, one file per system, in the order of flow of a month."""

from __future__ import annotations

from ..system import System
from .claims import Claims
from .compute import Compute
from .cycle import Cycle
from .firms import Firms
from .fleet import Fleet
from .funding import Funding
from .gpu_loans import GpuLoans
from .holders import Holders
from .macro import Macro
from .private_credit import PrivateCredit
from .rental import Rental
from .revenue import Revenue
from .shocks import Shocks
from .stress import Stress
from .structured import Structured

FLOW: tuple[type[System], ...] = (
    Stress,
    Shocks,
    Revenue,
    Compute,
    Rental,
    Fleet,
    Firms,
    GpuLoans,
    PrivateCredit,
    Structured,
    Holders,
    Funding,
    Macro,
    Cycle,
    Claims,
)
"""Each month the systems run once, in this order."""

SYSTEMS: dict[str, type[System]] = {s.key(): s for s in FLOW}

__all__ = [
    "FLOW",
    "SYSTEMS",
    "Claims",
    "Compute",
    "Cycle",
    "Firms",
    "Fleet",
    "Funding",
    "GpuLoans",
    "Holders",
    "Macro",
    "PrivateCredit",
    "Rental",
    "Revenue",
    "Shocks",
    "Stress",
    "Structured",
]
