"""The sanity list: what the shipped scenarios should give, row by row, in range or out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scenario import Scenario, load
from .simulate import plan
from .statistics import BLOCK
from .validate import ConfigError

SCENARIOS = ("exponential", "linear", "base")
HYPERSCALERS = ("microsoft", "alphabet", "amazon", "meta")

Values = dict[str, NDArray[Any]]
"""Metrics after the last month, by name, each (paths,)."""


@dataclass(frozen=True)
class Check:
    """A row: a figure of one scenario, and the range it should lie in."""

    title: str
    scenario: str
    unit: str
    low: float
    high: float
    figure: Callable[[dict[str, Values]], float]


@dataclass(frozen=True)
class Finding:
    """A check and what the engine gave."""

    check: Check
    value: float

    @property
    def holds(self) -> bool:
        return self.check.low <= self.value <= self.check.high


def _fall(scenario: str) -> Callable[[dict[str, Values]], float]:
    """How fast the median H100 rental falls, percent a year over five years."""
    return lambda v: 100.0 * (1.0 - (np.median(v[scenario]["rental.hopper"]) / 2.1) ** 0.2)


def _quantile(scenario: str, name: str, level: float, scale: float = 1.0) -> Any:
    return lambda v: scale * float(np.quantile(v[scenario][name], level))


def _mean(scenario: str, name: str, scale: float = 100.0) -> Any:
    return lambda v: scale * float(v[scenario][name].mean(dtype=np.float64))


def _any_hyperscaler(scenario: str) -> Any:
    def share(v: dict[str, Values]) -> float:
        gone = [v[scenario][f"firms.defaulted_{f}"] > 0.5 for f in HYPERSCALERS]
        return 100.0 * float(np.any(gone, axis=0).mean())

    return share


def _bust_gap(v: dict[str, Values]) -> float:
    return float(
        v["exponential"]["cycle.bust"].mean() / max(v["linear"]["cycle.bust"].mean(), 1e-9)
    )


NEEDED = (
    "rental.hopper", "compute.gap", "cycle.bust", "private_credit.loss_share", "holders.loss_banks",
    *(f"firms.defaulted_{f}" for f in ("coreweave", "oracle", "openai", *HYPERSCALERS)),
)  # fmt: skip

CHECKS: tuple[Check, ...] = (
    Check("H100 falls a year, median", "exponential", "%", -3, 6, _fall("exponential")),
    Check("H100 falls a year, median", "linear", "%", 20, 35, _fall("linear")),
    Check("H100 falls a year, median", "base", "%", 8, 20, _fall("base")),
    Check("power gap, lower quartile", "exponential", "GW", 50, 100, _quantile("exponential", "compute.gap", 0.25)),
    Check("power gap, upper quartile", "exponential", "GW", 50, 100, _quantile("exponential", "compute.gap", 0.75)),
    Check("power gap, upper quartile", "linear", "GW", 0, 20, _quantile("linear", "compute.gap", 0.75)),
    Check("a bust by 2030", "base", "%", 25, 60, _mean("base", "cycle.bust")),
    Check("bust, exponential over linear", "both", "ratio", 0, 0.5, _bust_gap),
    Check("private-credit loss, mean", "base", "%", 4, 12, _mean("base", "private_credit.loss_share")),
    Check("private-credit loss, 99 %", "base", "%", 15, 40, _quantile("base", "private_credit.loss_share", 0.99, 100.0)),
    Check("CoreWeave defaults", "base", "%", 20, 50, _mean("base", "firms.defaulted_coreweave")),
    Check("Oracle defaults", "base", "%", 1, 8, _mean("base", "firms.defaulted_oracle")),
    Check("OpenAI defaults", "base", "%", 5, 30, _mean("base", "firms.defaulted_openai")),
    Check("a hyperscaler defaults", "base", "%", 0, 1, _any_hyperscaler("base")),
    Check("bank losses, median", "base", "USD bn", 0, 20, _quantile("base", "holders.loss_banks", 0.5)),
    Check("bank losses, 99.9 %", "base", "USD bn", 20, 400, _quantile("base", "holders.loss_banks", 0.999)),
)  # fmt: skip


def sanity(
    paths: int = 200_000,
    seed: int = 0,
    backend: str = "auto",
    overrides: dict[str, Any] | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> list[Finding]:
    """Simulate the three worlds on the same paths and judge every row of the list.

    ``overrides`` change all three, as ``--set`` does. Raises ConfigError where they leave the list undecided.
    """
    scenarios = {name: load(name, overrides) for name in SCENARIOS}
    for name, scenario in scenarios.items():
        missing = [m for m in NEEDED if m not in scenario.economy.metrics]
        if missing or scenario.months != 60:
            raise ConfigError(
                [
                    f"sanity: {name} should run 60 months with all systems; missing: {', '.join(missing) or 'none'}"
                ]
            )
    values, done = {}, 0
    for name, scenario in scenarios.items():
        values[name], done = _values(scenario, paths, seed, backend, done, progress)
    return [Finding(c, float(c.figure(values))) for c in CHECKS]


def as_json(findings: list[Finding]) -> list[dict[str, Any]]:
    """What ``--format json`` prints: a record a row."""
    return [
        {
            "title": f.check.title, "scenario": f.check.scenario, "unit": f.check.unit, "value": f.value,
            "low": f.check.low, "high": f.check.high, "holds": f.holds,
        }
        for f in findings
    ]  # fmt: skip


def _values(
    scenario: Scenario, paths: int, seed: int, backend: str, done: int, progress: Any
) -> tuple[Values, int]:
    made = plan(scenario, backend)
    rows = [made.economy.metrics.index(m) for m in NEEDED]
    parts = []
    for first in range(0, paths, BLOCK):
        count = min(BLOCK, paths - first)
        output = made.run(seed, first, count)
        parts.append(output.metrics[rows][:, output.bad == 0])
        done += count
        if progress is not None:
            progress(done, paths * len(SCENARIOS), 0.0)
    table = np.concatenate(parts, axis=1)
    return dict(zip(NEEDED, table, strict=True)), done
