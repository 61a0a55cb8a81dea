"""The two readings of AI revenue, for certain: the run's own scenario with growth that stays exponential, or linear."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..result import Result
    from ..scenario import Scenario

READINGS = ("exponential", "linear")
PATHS, QUICK_PATHS = 8_192, 2_048
_FIELDS = ("reading", "start", "generator")


def worlds(result: Result, quick: bool = False) -> list[Result]:
    """The run's scenario under either reading, on the run's draws; empty where it has no such readings."""
    from ..evidence.source import backend_here
    from ..simulate import simulate
    from ..validate import ConfigError

    if result.config is None or not isinstance(result.config.get("revenue"), dict):
        return []
    try:
        scenarios = [_with(result.scenario, name) for name in READINGS]
    except ConfigError:  # revenue of another kind
        return []
    paths = min(max(result.path_count, 1), QUICK_PATHS if quick else PATHS)
    backend = backend_here(result)
    return [
        simulate(s, paths, result.seed, backend, dtype=result.dtype, months=result.months, tail=100)
        for s in scenarios
    ]


def _with(scenario: Scenario, reading: str) -> Scenario:
    from ..scenario import load, restore

    values = copy.deepcopy(scenario.values)
    known = load(reading).values["revenue"]
    values["revenue"] |= {k: copy.deepcopy(known[k]) for k in _FIELDS}
    made = restore(values, reading, scenario.folder or Path("."))
    return replace(made, name=reading)
