"""Tornado: which parameters move the headline number most.

Hundreds of parameters on thousands of paths would take an hour. So all are moved on a few paths first, on random numbers
of their own, and only those that seem to matter on more: what is then found is free of the luck that chose them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..places import Place, places
from ..runner import Progress
from ..scenario import Scenario
from ..sensitivity import MOVED, Effect, sensitivity
from ..simulate import as_economy
from ..system import Economy, Rows, System
from ..validate import ConfigError
from .source import counted

if TYPE_CHECKING:
    import pandas as pd

BUMP = 0.1
"""Parameters move by a tenth: it is more than the distance between neighbouring paths, and as far as opinions differ."""
SCREEN = 128  # paths of the first look
PATHS = 2048
TRIED = 24  # parameters of the second look
SHOWN = 15
_TABLES = ("rental.generation", "revenue.company", "private_credit.sector")
_SEED = 0x5EED  # added to the run's for the first look

COLUMNS = (
    "parameter", "unit", "value", "step", "down", "up", "effect", "low", "high", "elasticity", "told_apart",
)  # fmt: skip


@dataclass(frozen=True)
class Tornado:
    """The table, and what it is of: ``tried`` parameters were moved, ``paths`` simulated for each that is shown."""

    table: pd.DataFrame
    metric: str
    value: float
    unit: str
    tried: int
    paths: int
    bump: float

    @property
    def said(self) -> str:
        """``193 parameters moved by 10 %; those shown on 2,048 paths``."""
        shown = counted(self.paths)
        return f"{self.tried:,} parameters moved by {100.0 * self.bump:g} %; those shown on {shown}"


def tornado(
    scenario: Scenario | Economy | System,
    metric: str,
    paths: int = PATHS,
    seed: int = 0,
    backend: str = "auto",
    dtype: str = "float32",
    months: int | None = None,
    progress: Progress | None = None,
) -> Tornado:
    """The 15 parameters whose moving by 10 % moves the metric's mean most, those told apart from nothing first.

    Tried are the systems' own parameters and the rows of a few tables, not what is elements of a matrix; overbuilt
    sensitivity moves all. Columns: parameter, unit, value, step; down and up, what taking and adding the step does, NaN
    where it is not allowed; effect, half of the way from down to up, with its 95 % interval low and high; elasticity;
    told_apart, at 5 % over all that are shown or nearly so. All in the metric's unit but step and value. Raises
    ConfigError for bad arguments, and where nothing moves the metric.
    """
    import pandas as pd

    economy = as_economy(scenario)
    names = [p.name for p in places(economy) if _is_tried(economy, p)]
    if not names:
        raise ConfigError([f"{economy.name}: has no parameters to move"])
    how: dict[str, Any] = {"bump": BUMP, "backend": backend, "dtype": dtype, "months": months}
    first = sensitivity(
        economy, metric, paths=min(SCREEN, paths), seed=(seed + _SEED) % 2**64, parameters=names,
        progress=_half(progress, 0), **how,
    )  # fmt: skip
    most = sorted(first.having(MOVED), key=lambda e: -abs(e.effect))[:TRIED]
    if not most:
        raise ConfigError([f"{economy.name}: none of {len(names)} parameters moves {metric}"])
    found = sensitivity(
        economy, metric, paths=paths, seed=seed, parameters=[e.parameter for e in most],
        progress=_half(progress, 1), **how,
    )  # fmt: skip
    rows = [_row(e) for e in found.having(MOVED)[:SHOWN]]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return Tornado(table, found.quantity, found.value, found.unit, len(names), paths, BUMP)


def _half(progress: Progress | None, which: int) -> Progress | None:
    """Progress over the first (0) or the second (1) half of the whole."""
    if progress is None:
        return None
    return lambda done, total, seconds: progress(which * total + done, 2 * total, seconds)


def _is_tried(economy: Economy, place: Place) -> bool:
    declared = type(economy.systems[place.system]).fields[str(place.path[0])]
    if isinstance(declared, Rows):
        return f"{place.system}.{place.path[0]}" in _TABLES
    return len(place.path) < 3


def _row(e: Effect) -> dict[str, object]:
    return {k: getattr(e, k) for k in COLUMNS}
