"""Gather: everything that a report says beyond what the run itself stored."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from ...kernels.backends.base import BackendError
from ..validate import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from ..result import Result
    from ..scenario import Scenario
    from .by_month import Recorded

Tell = Callable[[str, float], None]
"""Told what is being computed, and the share of all that is done."""


@dataclass
class Evidence:
    """Tables of a report; None where there is none, and ``left_out`` then says why, by the table's name.

    ``claims``: claim, title, scenario, given, probability, low, high, paths. ``survival``: month, date, firm,
    alive, low, high. ``phases``: month, date, phase, share. ``rounds``: month, date, rounds, share. ``sales``:
    month, date, mean_units, p99_units. ``flows``: payer, payee, kind, value (USD bn a year), circular. ``stories``:
    which, path, month, date, system, text. ``stress``: scenario, title, metric, unit, mean, p50, p95, low, high.
    ``tornado``: parameter, unit, value, step, down, up, effect, low, high, elasticity, told_apart. ``assumptions``
    and ``facts``: what, value, unit, basis, source, as_of.

    Dates are ``2026-01``; firms go by their names in the config. ``metric`` is what stories and tornado are about.
    ``used`` says what each table is of, by its name: ``"16,384 paths of base, seed 0"``. ``seconds`` by table.
    """

    metric: str = ""
    claims: pd.DataFrame | None = None
    survival: pd.DataFrame | None = None
    phases: pd.DataFrame | None = None
    rounds: pd.DataFrame | None = None
    sales: pd.DataFrame | None = None
    flows: pd.DataFrame | None = None
    stories: pd.DataFrame | None = None
    stress: pd.DataFrame | None = None
    tornado: pd.DataFrame | None = None
    assumptions: pd.DataFrame | None = None
    facts: pd.DataFrame | None = None
    used: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


TABLES = tuple(f.name for f in fields(Evidence) if f.type == "pd.DataFrame | None")
QUICK_PATHS = 1 << 12
"""Paths of the tables by month, and of the claims, of a quick report."""
_MONTHLY = ("survival", "phases", "rounds", "sales", "flows")
# what each part takes of a run of base, roughly: for the bar
_WEIGHTS = {"facts": 1, "stories": 10, "by month": 12, "claims": 40, "stress": 17, "tornado": 20}


def gather(result: Result, quick: bool = False, progress: Tell | None = None) -> Evidence:
    """The evidence of a run. ``quick`` leaves the tornado and the stresses out, and takes fewer paths.

    No part takes more paths than the run had. A part that this scenario, or this run, cannot have is left out with a
    reason; nothing is raised for it.
    """
    return _Gathering(result, quick, progress).all()


class _Gathering:
    def __init__(self, result: Result, quick: bool, progress: Tell | None) -> None:
        from .stories import headline

        self.result, self.quick, self.progress = result, quick, progress
        self.evidence = Evidence(metric=headline(result))
        weights = {k: w for k, w in _WEIGHTS.items() if not (quick and k in ("stress", "tornado"))}
        self.weights, self.done = weights, 0.0

    def all(self) -> Evidence:
        try:
            scenario = self.result.scenario
        except ConfigError as error:  # run from Python
            self.evidence.left_out = dict.fromkeys((t for t in TABLES if t != "facts"), _why(error))
            self._part("facts", ["facts"], lambda: self._facts(None))
            return self.evidence
        self._part("facts", ["assumptions", "facts"], lambda: self._facts(scenario))
        self._part("stories", ["stories"], self._stories)
        self._part("by month", _MONTHLY, self._by_month)
        self._part("claims", ["claims"], lambda: self._claims(scenario))
        for name, part in (("stress", self._stress), ("tornado", self._tornado)):
            if self.quick:
                self.evidence.left_out[name] = "left out of a quick report"
            else:
                self._part(name, [name], lambda part=part: part(scenario))  # type: ignore[misc]
        return self.evidence

    def _part(self, name: str, tables: Any, make: Callable[[], None]) -> None:
        """Make some tables, or say why there are none."""
        self._tell(name, 0.0)
        began = time.perf_counter()
        try:
            make()
        except (ConfigError, BackendError) as error:
            self.evidence.left_out |= dict.fromkeys(tables, _why(error))
        self.evidence.seconds[name] = time.perf_counter() - began
        self.done += self.weights.get(name, 0)
        self._tell(name, 0.0)

    def _tell(self, name: str, share: float) -> None:
        if self.progress is not None:
            whole = sum(self.weights.values())
            self.progress(name, min((self.done + share * self.weights.get(name, 0)) / whole, 1.0))

    def _bar(self, name: str) -> Callable[[int, int, float], None]:
        return lambda done, total, _: self._tell(name, done / max(total, 1))

    def _paths(self, most: int) -> int:
        most = min(most, QUICK_PATHS) if self.quick else most
        return max(min(most, self.result.path_count), 1)

    @property
    def _how(self) -> dict[str, Any]:
        """How the run was run, for parts that run something else."""
        from .source import backend_here

        r = self.result
        return {"seed": r.seed, "backend": backend_here(r), "dtype": r.dtype, "months": r.months}

    # ---- the parts
    def _facts(self, scenario: Scenario | None) -> None:
        from .assumptions import assumptions, facts_table

        self.evidence.facts = facts_table()
        if scenario is not None:
            self.evidence.assumptions = assumptions(scenario)

    def _stories(self) -> None:
        from .source import said
        from .stories import stories

        self.evidence.stories = stories(self.result, self.evidence.metric)
        self._say("stories", said(self.result.path_count, self.result.name, self.result.seed))

    def _by_month(self) -> None:
        from .by_month import PATHS, by_month, phases, rounds, sales, survival
        from .network import flows

        recorded = by_month(self.result, self._paths(PATHS))
        make: dict[str, Callable[[Recorded], pd.DataFrame]] = {
            "survival": survival, "phases": phases, "rounds": rounds, "sales": sales, "flows": flows,
        }  # fmt: skip
        for name, table in make.items():
            try:
                setattr(self.evidence, name, table(recorded))
                self._say(name, recorded.said)
            except ConfigError as error:
                self.evidence.left_out[name] = _why(error)

    def _claims(self, scenario: Scenario) -> None:
        from .claims import PATHS, beside, claims_table
        from .source import said

        paths = self._paths(PATHS)
        self.evidence.claims = claims_table(
            beside(scenario), paths, progress=self._bar("claims"), **self._how
        )
        self._say("claims", said(paths, "each scenario", self.result.seed))

    def _stress(self, scenario: Scenario) -> None:
        from .source import said
        from .stress import METRICS, PATHS, stress, stresses

        paths = self._paths(PATHS)
        wanted = stresses(scenario, self.result.months)
        metrics = tuple(dict.fromkeys([*METRICS, self.evidence.metric]))
        self.evidence.stress = stress(wanted, metrics, paths, **self._how)
        self._say("stress", said(paths, "each", self.result.seed))

    def _tornado(self, scenario: Scenario) -> None:
        from .tornado import PATHS, tornado

        paths = self._paths(PATHS)
        if paths < 2:
            raise ConfigError(["of one path nothing can be told apart from chance"])
        found = tornado(
            scenario, self.evidence.metric, paths, progress=self._bar("tornado"), **self._how
        )
        self.evidence.tornado = found.table
        self._say("tornado", found.said)

    def _say(self, table: str, text: str) -> None:
        self.evidence.used[table] = text


def _why(error: Exception) -> str:
    """In a line."""
    problems = error.problems if isinstance(error, ConfigError) else [str(error)]
    return problems[0] if problems else type(error).__name__
