"""Claims: both sides put to the test, in the run's scenario and in the three that the dispute is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..claims import ClaimsResult, evaluate
from ..economy.claim_language import parse, variables
from ..economy.claims import Claims, needed
from ..run_store import sha256
from ..runner import Progress
from ..scenario import Scenario, load
from ..system import Economy
from ..validate import ConfigError

if TYPE_CHECKING:
    import pandas as pd

READINGS = ("base", "exponential", "linear")
"""The shipped scenarios that stand beside the run's: how revenue may go, and the two sides of the dispute."""
PATHS = 1 << 16


def beside(scenario: Scenario) -> list[Scenario]:
    """The scenario, and those of READINGS that it is not; one of the same name with other values is renamed."""
    found = [scenario]
    for name in READINGS:
        shipped = load(name)
        if name != scenario.name:
            found.append(shipped)
        elif _model(shipped) != _model(scenario):
            found.append(replace(shipped, name=f"{name} as shipped"))
    return found


def _model(scenario: Scenario) -> dict[str, Any]:
    """What of a config its paths hang on, but for their length; claims are no part of it. A file counts by what is in
    it: a stored run keeps its own copy under another name."""
    but = ("title", "as_of", "months", "limits", "systems", Claims.key())
    found = {k: v for k, v in scenario.values.items() if k not in but}
    for (key, field), path in scenario.files().items():
        found[key] = found[key] | {field: sha256(path)}
    return found | {"systems": [s for s in scenario.values["systems"] if s != Claims.key()]}


def claims_table(
    scenarios: Sequence[Scenario],
    paths: int = PATHS,
    seed: int = 0,
    backend: str = "auto",
    dtype: str = "float32",
    months: int | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """claim, title, scenario, given, probability, low, high, paths: a row for each claim and scenario, and a second
    one, ``given``, where the claim is conditional; then the share is of ``paths`` on which the condition holds.

    Intervals are of 95 % (Wilson 1927). NaN where a scenario cannot decide the claim, and no paths; what none of them
    can decide is left out. The claims are those of the scenarios, or the shipped ones. Raises ConfigError where the
    first scenario decides none.
    """
    months = scenarios[0].months if months is None else months
    economies = _with_claims(scenarios)
    if not _decides(economies, months):
        raise ConfigError(
            [
                f"{scenarios[0].name}: no claim can be decided, as they read what it has no systems for, or name months "
                f"beyond {months}"
            ]
        )
    return _table(evaluate(economies, paths, seed, backend, dtype, progress, months=months))


def _decides(economies: Sequence[Economy], months: int) -> bool:
    """Whether the first has the systems, and the months, of some claim of any: before minutes are spent on others."""
    systems = set(economies[0].systems)
    claims = [
        c for e in economies if Claims.key() in e.systems for c in e.systems[Claims.key()].claim
    ]
    return any(
        needed(c) <= months
        and all(v.system in systems for text in c.texts().values() for v in variables(parse(text)))
        for c in claims
    )


def _with_claims(scenarios: Sequence[Scenario]) -> list[Economy]:
    """Their economies; the shipped claims go to the last, and so to all, where none has claims of its own."""
    economies = [s.economy for s in scenarios]
    if not any(Claims.key() in e.systems for e in economies):
        last = economies[-1]
        system = Claims()
        system.months = last.months
        economies[-1] = Economy(*last.systems.values(), system, months=last.months, name=last.name)
    return economies


def _table(found: ClaimsResult) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for c in found.claims:
        for name in found.scenarios:
            answer = found.answers.get((c.name, name))
            row = {"claim": c.name, "title": c.title, "scenario": name}
            tally = answer.tally if answer else None
            low, high = answer.interval if answer else (None, None)
            rows.append(
                row | {"given": False, "probability": answer and answer.probability, "low": low, "high": high,
                       "paths": tally.paths if tally else 0}
            )  # fmt: skip
            if c.given:
                low, high = (answer and answer.conditional_interval) or (None, None)
                share = answer and answer.conditional
                rows.append(
                    row | {"title": f"{c.title}, given {c.given_title or c.given}", "given": True,
                           "probability": share, "low": low if share is not None else None,
                           "high": high if share is not None else None, "paths": tally.given if tally else 0}
                )  # fmt: skip
    table = pd.DataFrame(rows)
    numbers = ["probability", "low", "high"]
    table[numbers] = table[numbers].astype(float)
    decided = table.groupby(["claim", "given"])["paths"].transform("max") > 0
    return table[decided].reset_index(drop=True)
