"""Stress: the scenario beside itself with one forced event after another, on common random numbers.

All events are compiled into one program, those that the scenario does not have on with a probability of nothing: a
stress is then a parameter, and all of them run in one launch. Draws are named, so that an event leaves those of the
others as they were.
"""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import check_run
from ..claims import with_systems
from ..locate import CONFIGS
from ..proportions import Z
from ..scenario import Scenario
from ..simulate import Plan, plan
from ..system import Economy
from ..validate import ConfigError
from ..variants import reporting

if TYPE_CHECKING:
    import pandas as pd

PATHS = 1 << 13
LAUNCH = 1 << 16  # paths of a launch, over its variants
METRICS = (
    "private_credit.loss", "holders.loss", "gpu_loans.loss", "firms.bankrupt", "rental.hopper", "macro.gdp",
)  # fmt: skip
"""What is compared, as far as a scenario has it."""


@dataclass(frozen=True)
class Stressed:
    """A scenario and an event that is forced on it; no event for the scenario as it is."""

    scenario: Scenario
    event: str = ""

    @property
    def name(self) -> str:
        clash = self.event == self.scenario.name
        return f"{self.event} (forced)" if clash else self.event or self.scenario.name

    @property
    def title(self) -> str:
        if not self.event:
            return self.scenario.title or self.scenario.name
        return _title(self.event, self.scenario.economy.systems["stress"])


def stresses(scenario: Scenario, months: int | None = None) -> list[Stressed]:
    """The scenario as it is, and with each event of its stress table that is off and begins within ``months``.

    Raises ConfigError where there is none.
    """
    system = scenario.economy.systems.get("stress")
    months = scenario.months if months is None else months
    found = [
        Stressed(scenario, e.name)
        for e in (system.event if system else [])
        if not e.on and e.month <= months and not _problems(_armed(system, [e.name]), scenario)
    ]
    if not found:
        raise ConfigError([f"{scenario.name}: has no stress event that could be switched on"])
    return [Stressed(scenario), *found]


def _title(event: str, system: Any) -> str:
    """That of the shipped scenario of the event's name where the event is as shipped, else what its source says."""
    row = next(e for e in system.event if e.name == event)
    shipped: dict[str, Any] = next(
        (r for r in type(system).fields["event"].default if r["name"] == event), {}
    )
    file = CONFIGS / f"{event}.toml"
    as_shipped = all(row.values().get(k) == v for k, v in shipped.items())
    if shipped and as_shipped and file.is_file():
        return str(tomllib.loads(file.read_text(encoding="utf-8")).get("title", event))
    text = re.sub(
        r" *\((fact|data|livestream|atlantic)[^)]*\)", "", row.source.removeprefix("assumption: ")
    )
    return f"{event.replace('_', ' ')}: {text}" if text else event.replace("_", " ")


def stress(
    wanted: Sequence[Stressed],
    metrics: Sequence[str] = METRICS,
    paths: int = PATHS,
    seed: int = 0,
    backend: str = "auto",
    dtype: str = "float32",
    months: int | None = None,
) -> pd.DataFrame:
    """scenario, title, metric, unit, mean, p50, p95, low, high: of each metric after the last month; low and high are
    the 95 % interval of the mean. ``scenario`` is the event, or the scenario's own name where it is as it is.

    All are of one scenario, on the same paths. Metrics that it lacks are left out. Raises ConfigError for bad arguments.
    """
    import pandas as pd

    scenario = wanted[0].scenario
    economy = scenario.economy
    metrics = [m for m in metrics if m in economy.metrics]
    if not metrics:
        raise ConfigError(
            [f"{scenario.name}: reports none of the metrics that stresses are compared by"]
        )
    check_run(paths, seed, economy.months if months is None else months, dtype, backend)
    if events := [s.event for s in wanted if s.event]:
        system = _armed(economy.systems["stress"], events)
        if problems := _problems(system, scenario):
            raise ConfigError(problems)
        economy = with_systems(economy, system)
    armed = reporting(economy, metrics)
    made = plan(armed, backend, dtype, months)
    values = _values(made, [_forced(armed, s) for s in wanted], paths, int(seed))
    rows = [
        {
            "scenario": s.name,
            "title": s.title,
            "metric": m,
            "unit": economy.unit(m),
            **_summary(row),
        }
        for s, found in zip(wanted, values, strict=True)
        for m, row in zip(metrics, found, strict=True)
    ]
    return pd.DataFrame(rows)


def _armed(system: Any, events: Sequence[str]) -> Any:
    """The system with these events on, with a probability of nothing."""
    values = system.values()
    for row in values["event"]:
        if row["name"] in events and not row["on"]:
            row |= {"on": True, "probability": 0.0}
    made = type(system)._trusted(values)
    made.folder, made.months = system.folder, system.months
    return made


def _problems(system: Any, scenario: Scenario) -> list[str]:
    return [*system.check(), *system.fits(scenario.economy.systems)]


def _forced(armed: Economy, stressed: Stressed) -> Economy:
    """The armed economy in which the event happens, with the probability that its row gives it."""
    made = copy.copy(armed)
    for row in stressed.scenario.economy.systems["stress"].event if stressed.event else []:
        if row.name == stressed.event:
            made.reals = armed.reals | {f"stress.event.{row.name}.probability": row.probability}
    return made


def _values(
    made: Plan, economies: list[Economy], paths: int, seed: int
) -> list[list[NDArray[Any]]]:
    """By economy and metric, the values of the paths that stayed finite."""
    size = max(1, LAUNCH // len(economies))
    parts = [
        made.run_many(economies, seed, at, min(size, paths - at)) for at in range(0, paths, size)
    ]
    return [
        list(np.concatenate([o.metrics[:, o.bad == 0] for o in outputs], axis=1))
        for outputs in zip(*parts, strict=True)
    ]


def _summary(values: NDArray[Any]) -> dict[str, float]:
    """mean, p50, p95 by rank, and the normal interval of the mean; NaN where there is no value, or only one."""
    n = len(values)
    if not n:
        return dict.fromkeys(("mean", "p50", "p95", "low", "high"), float("nan"))
    ordered = np.sort(values.astype(np.float64))
    mean = float(ordered.mean())
    half = Z * float(ordered.std(ddof=1)) / n**0.5 if n > 1 else float("nan")
    ranks = {f"p{q}": float(ordered[-(-n * q // 100) - 1]) for q in (50, 95)}
    return {"mean": mean, **ranks, "low": mean - half, "high": mean + half}
