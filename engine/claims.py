"""Answers to claims: probabilities by scenario, and what differs between scenarios beyond noise.

All scenarios run on the same random numbers, block by block, and only counts are kept: of each event, of what
it is conditional on, and of the paths on which a scenario and the first one disagree.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .arguments import check_run
from .economy.claims import Claim, Claims, UnknownVariables, needed
from .proportions import holm, paired_interval, sign_test, wilson
from .runner import Progress
from .scenario import Scenario
from .simulate import Plan, as_economy, plan
from .statistics import BLOCK
from .system import Economy, System
from .validate import ConfigError, near, shown

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.05
"""Differences are told apart at this level, over the whole table."""

Forcing = Callable[[Economy], Economy]


# ---- what is found
@dataclass
class Tally:
    """Exact counts of a claim in a scenario: they add over blocks, in any order."""

    paths: int = 0  # whose state stayed finite
    event: int = 0
    given: int = 0
    joint: int = 0
    pairs: int = 0  # finite in the first scenario too
    gained: int = 0  # of them: the event here only
    lost: int = 0  # in the first only

    def add(self, other: Tally) -> None:
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True)
class Answer:
    """A claim in a scenario. Intervals are of 95 %; a share of no paths at all is None.

    What is conditional is None without a ``given``, and where that never happens. ``difference`` is to the
    first scenario, None there and where it does not answer the claim. ``p_value`` is adjusted for the number of
    differences.
    """

    probability: float | None
    interval: tuple[float, float]
    joint: float | None
    conditional: float | None
    conditional_interval: tuple[float, float] | None
    difference: float | None
    difference_interval: tuple[float, float] | None
    p_value: float | None
    told_apart: bool | None
    tally: Tally

    @property
    def verdict(self) -> str:
        """'told apart' from the first scenario, 'noise', or '' where there is no difference to judge."""
        return {None: "", True: "told apart", False: "noise"}[self.told_apart]


@dataclass
class ClaimsResult:
    """Claims in order, scenarios in order, and the answers by (claim, scenario); what is missing has none.

    ``why`` says for such a pair why; ``bad`` counts paths with a non-finite state, by scenario. ``seconds`` by
    phase: trace, compile, simulate.
    """

    claims: list[Claim]
    scenarios: list[str]
    answers: dict[tuple[str, str], Answer]
    why: dict[tuple[str, str], str]
    path_count: int
    seed: int
    months: int
    backend: str
    dtype: str
    bad: dict[str, int]
    tests: int
    seconds: dict[str, float] = field(default_factory=dict)
    stamp: dict[str, str] = field(default_factory=dict)
    passed_over: list[str] = field(default_factory=list)

    def rows(self) -> list[dict[str, Any]]:
        """A flat row for each claim and scenario, as the JSON and the table of pandas hold them."""
        found = []
        for c in self.claims:
            for name in self.scenarios:
                row = {"claim": c.name, "number": c.number, "title": c.title, "scenario": name}
                found.append(row | _flat(self.answers.get((c.name, name))) | {
                    "why": self.why.get((c.name, name), "")
                })  # fmt: skip
        return found

    def frame(self) -> pd.DataFrame:
        """``rows`` as a table, indexed by claim and scenario."""
        import pandas as pd

        return pd.DataFrame(self.rows()).set_index(["claim", "scenario"])

    def as_json(self) -> dict[str, Any]:
        """What ``--format json`` prints."""
        return {
            "scenarios": self.scenarios,
            "paths": self.path_count,
            "seed": self.seed,
            "months": self.months,
            "backend": self.backend,
            "dtype": self.dtype,
            "bad_paths": self.bad,
            "differences_tested": self.tests,
            "seconds": {k: round(v, 4) for k, v in self.seconds.items()},
            "definitions": [c.values() for c in self.claims],
            "claims": self.rows(),
        }


def _flat(a: Answer | None) -> dict[str, Any]:
    low, high = a.interval if a else (None, None)
    c_low, c_high = (a and a.conditional_interval) or (None, None)
    d_low, d_high = (a and a.difference_interval) or (None, None)
    return {
        "probability": a and a.probability,
        "low": low,
        "high": high,
        "joint": a and a.joint,
        "conditional": a and a.conditional,
        "conditional_low": c_low,
        "conditional_high": c_high,
        "difference": a and a.difference,
        "difference_low": d_low,
        "difference_high": d_high,
        "p_value": a and a.p_value,
        "verdict": a.verdict if a else "",
        "paths": a and a.tally.paths,
        "event_paths": a and a.tally.event,
        "given_paths": a.tally.given if a and a.conditional is not None else None,
    }


# ---- the run
def evaluate(
    models: Sequence[Scenario | Economy],
    paths: int,
    seed: int = 0,
    backend: str = "auto",
    dtype: str = "float32",
    progress: Progress | None = None,
    *,
    months: int | None = None,
    batch: int | None = None,
    forcings: Mapping[str, Forcing] | None = None,
) -> ClaimsResult:
    """Put the claims of all models to each of them, on common random numbers.

    ``batch`` is the number of paths of a launch; no answer depends on it. ``forcings`` says what the forced
    events of claims do to a model; one that it does not name is switched on in the model's ``stress``.
    ``progress(done, total, seconds)`` counts paths over all runs. Raises ConfigError, BackendError, TraceError.
    """
    economies = [as_economy(m) for m in models]
    months = _horizon(economies, months)
    check_run(paths, seed, months, dtype, backend)
    if batch is not None and batch < 1:
        raise ConfigError([f"batch = {batch!r}: should be a whole number above 0"])
    claims = _all_claims(economies)
    why = {
        (c.name, e.name): f"names month {needed(c)}; the run has {months}"
        for c in claims
        for e in economies
        if needed(c) > months
    }
    asked = [c for c in claims if needed(c) <= months]
    runs = []
    for forced in dict.fromkeys(["", *(c.forced for c in asked)]):
        group = [c for c in asked if c.forced == forced]
        if group:
            how = {"backend": backend, "dtype": dtype, "months": months}
            runs.append(_Run(economies, group, forced, dict(forcings or {}), how, why))
    meter = _Meter(progress, paths * sum(len(r.plans) for r in runs))
    tallies: dict[tuple[str, str], Tally] = {}
    bad = {e.name: 0 for e in economies}
    for run in runs:
        run.play(paths, seed, batch, tallies, bad, meter)
    return _result(claims, economies, tallies, why, bad, runs, (paths, seed, months, dtype), meter)


def _horizon(economies: list[Economy], months: int | None) -> int:
    """The common horizon. Raises ConfigError where the models do not compare."""
    problems = []
    if not economies:
        raise ConfigError(["claims: should name at least one scenario"])
    names = [e.name for e in economies]
    problems += [
        f"scenario {shown(n)}: stands {names.count(n)} times; names should differ"
        for n in dict.fromkeys(names)
        if names.count(n) > 1
    ]
    first = economies[0]
    if months is None:
        problems += [
            f"{e.name}: months = {e.months}: should be {first.months} as in {first.name}, "
            "or say --months for all"
            for e in economies[1:]
            if e.months != first.months
        ]
    if not any(Claims.key() in e.systems for e in economies):
        problems.append(f"{first.name}: has no claims; add claims to its systems")
    if problems:
        raise ConfigError(problems)
    return first.months if months is None else months


def _all_claims(economies: list[Economy]) -> list[Claim]:
    """The claims of all models by name; ConfigError where two mean different things by one name."""
    found: dict[str, tuple[Claim, str]] = {}
    problems = []
    for e in economies:
        for c in _own(e):
            before, where = found.setdefault(c.name, (c, e.name))
            problems += [
                f"claims.claim.{c.name}.{k} = {shown(getattr(c, k))} in {e.name}: should be as in {where}, "
                f"{shown(getattr(before, k))}"
                for k in ("event", "given", "forced")
                if getattr(before, k) != getattr(c, k)
            ]
    if problems:
        raise ConfigError(problems)
    return [c for c, _ in found.values()]


def _own(economy: Economy) -> list[Any]:
    system = economy.systems.get(Claims.key())
    return list(system.claim) if system else []


def with_systems(economy: Economy, *systems: System) -> Economy:
    """The economy with these systems in the place of those of the same name, or at its end."""
    new = dict(economy.systems) | {type(s).key(): s for s in systems}
    return Economy(*new.values(), months=economy.months, name=economy.name)


def switch_on(event: str) -> Forcing:
    """A forcing that switches an event of the system ``stress`` on."""

    def force(economy: Economy) -> Economy:
        stress = economy.systems.get("stress")
        names = [e.name for e in stress.event] if stress else []
        if stress is None or event not in names:
            raise ConfigError(
                [f"{economy.name}: has no event {shown(event)} to force{near(event, names)}"]
            )
        values = stress.values()
        for row in values["event"]:
            row["on"] = row["on"] or row["name"] == event
        made = type(stress)(**values)
        made.folder, made.months = stress.folder, stress.months
        if problems := [*made.check(), *made.fits(economy.systems)]:
            raise ConfigError(problems)
        return with_systems(economy, made)

    return force


class _Meter:
    """Progress over all runs."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0
        self.began = time.perf_counter()

    def add(self, paths: int) -> None:
        self.done += paths
        if self.progress is not None:
            self.progress(self.done, self.total, time.perf_counter() - self.began)


class _Run:
    """Claims that share a forced event, or have none: compiled for each model that can answer some of them."""

    def __init__(
        self,
        economies: list[Economy],
        claims: list[Claim],
        forced: str,
        forcings: dict[str, Forcing],
        how: dict[str, Any],
        why: dict[tuple[str, str], str],
    ) -> None:
        self.first = economies[0].name
        self.plans: dict[str, Plan] = {}
        self.claims: dict[str, list[Claim]] = {}
        for economy in economies:
            if forced:
                try:
                    economy = forcings.get(forced, switch_on(forced))(economy)
                except ConfigError as error:
                    if any(c.forced == forced for c in _own(economy)):
                        raise
                    why |= {(c.name, economy.name): str(error) for c in claims}
                    continue
            self._compile(economy, claims, how, why)

    def _compile(
        self,
        economy: Economy,
        claims: list[Claim],
        how: dict[str, Any],
        why: dict[tuple[str, str], str],
    ) -> None:
        """With all claims that the model has the variables for; one of its own must be among them."""
        own = {c.name for c in _own(economy)}
        while claims:
            values = [c.values() | {"forced": ""} for c in claims]
            system = Claims(claim=values)
            system.months = how["months"]
            try:
                made = plan(with_systems(economy, system), **how)
            except UnknownVariables as error:
                if error.claims & own:
                    raise
                why |= {(n, economy.name): "reads what this scenario lacks" for n in error.claims}
                claims = [c for c in claims if c.name not in error.claims]
                continue
            self.plans[economy.name], self.claims[economy.name] = made, claims
            return

    def play(
        self,
        paths: int,
        seed: int,
        batch: int | None,
        tallies: dict[tuple[str, str], Tally],
        bad: dict[str, int],
        meter: _Meter,
    ) -> None:
        size = batch or max([BLOCK, *(p.kernel.chunk for p in self.plans.values())])
        for at in range(0, paths, size):
            count = min(size, paths - at)
            base: _Outcome | None = None
            for name, made in self.plans.items():
                outcome = _Outcome(made, self.claims[name], seed, at, count)
                bad[name] += count - _count(outcome.good)
                base = outcome if name == self.first else base
                for c in self.claims[name]:
                    tally = outcome.tally(c, base)
                    tallies.setdefault((c.name, name), Tally()).add(tally)
                meter.add(count)


def _count(mask: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(mask))


class _Outcome:
    """By path of a block: whether each event happened, and whether the state stayed finite."""

    def __init__(self, made: Plan, claims: list[Claim], seed: int, first: int, count: int) -> None:
        output = made.run(seed, first, count)
        self.good: NDArray[np.bool_] = output.bad == 0
        rows = {name: k for k, name in enumerate(made.economy.metrics)}

        def row(key: str) -> NDArray[np.bool_]:
            values: NDArray[np.bool_] = output.metrics[rows[f"{Claims.key()}.{key}"]] > 0.5
            return values & self.good

        self.event = {c.name: row(c.name) for c in claims}
        self.given = {c.name: row(f"{c.name}_given") for c in claims if c.given}

    def tally(self, claim: Claim, base: _Outcome | None) -> Tally:
        event = self.event[claim.name]
        found = Tally(paths=_count(self.good), event=_count(event))
        if claim.given:
            given = self.given[claim.name]
            found.given, found.joint = _count(given), _count(event & given)
        if base is not None and base is not self and claim.name in base.event:
            both, before = self.good & base.good, base.event[claim.name]
            found.pairs = _count(both)
            found.gained = _count(event & ~before & both)
            found.lost = _count(before & ~event & both)
        return found


def _result(
    claims: list[Claim],
    economies: list[Economy],
    tallies: dict[tuple[str, str], Tally],
    why: dict[tuple[str, str], str],
    bad: dict[str, int],
    runs: list[_Run],
    how: tuple[int, int, int, str],
    meter: _Meter,
) -> ClaimsResult:
    paths, seed, months, dtype = how
    first = economies[0].name
    compared = [
        key
        for key, t in tallies.items()
        if key[1] != first and (key[0], first) in tallies and t.pairs
    ]
    raw = [sign_test(tallies[key].gained, tallies[key].lost) for key in compared]
    adjusted = dict(zip(compared, holm(raw), strict=True))
    has_given = {c.name: bool(c.given) for c in claims}
    answers = {key: _answer(t, has_given[key[0]], adjusted.get(key)) for key, t in tallies.items()}
    plans = [p for r in runs for p in r.plans.values()]
    seconds = {k: sum(p.seconds[k] for p in plans) for k in ("trace", "compile")}
    return ClaimsResult(
        claims=claims,
        scenarios=[e.name for e in economies],
        answers=answers,
        why=why,
        path_count=paths,
        seed=seed,
        months=months,
        backend=plans[0].backend if plans else "",
        dtype=dtype,
        bad=bad,
        tests=len(compared),
        seconds=seconds | {"simulate": time.perf_counter() - meter.began},
        stamp=plans[0].kernel.stamp if plans else {},
        passed_over=plans[0].passed_over if plans else [],
    )


def _answer(t: Tally, has_given: bool, p_value: float | None) -> Answer:
    n = t.paths
    return Answer(
        probability=_share(t.event, n),
        interval=wilson(t.event, n),
        joint=_share(t.joint, n) if has_given else None,
        conditional=_share(t.joint, t.given) if has_given else None,
        conditional_interval=wilson(t.joint, t.given) if has_given else None,
        difference=(t.gained - t.lost) / t.pairs if p_value is not None else None,
        difference_interval=paired_interval(t.gained, t.lost, t.pairs)
        if p_value is not None
        else None,
        p_value=p_value,
        told_apart=p_value < LEVEL if p_value is not None else None,
        tally=t,
    )


def _share(k: int, n: int) -> float | None:
    return k / n if n else None
