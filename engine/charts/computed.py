"""Charts of what a run does not store: computed again from its scenario, on its first paths, when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from ..evidence.by_month import Recorded
    from ..result import Result
    from .figure import Figure

Draw = Callable[["Result", Sequence["Result"], Sequence[str]], "Figure"]


def _how(result: Result) -> dict[str, Any]:
    from ..evidence.source import backend_here

    return {
        "seed": result.seed,
        "backend": backend_here(result),
        "dtype": result.dtype,
        "months": result.months,
    }


def _claims(result: Result, others: Sequence[Result], _: Sequence[str]) -> Figure:
    from ..evidence.claims import PATHS, beside, claims_table
    from .claims import forest

    paths = max(min(PATHS, result.path_count), 1)
    scenarios = [r.scenario for r in (result, *others)] if others else beside(result.scenario)
    table = claims_table(scenarios, paths, **_how(result))
    return forest(table, f"{paths:,} paths of each scenario, seed {result.seed}")


def _monthly(
    result: Result,
    table: Callable[[Recorded], pd.DataFrame],
    draw: Callable[[pd.DataFrame, str], Figure],
) -> Figure:
    """A chart of a table of the run that records every month."""
    from ..evidence.by_month import PATHS, by_month

    recorded = by_month(result, max(min(PATHS, result.path_count), 1))
    return draw(table(recorded), recorded.said)


def _survival(result: Result, _: Sequence[Result], __: Sequence[str]) -> Figure:
    from ..evidence.by_month import survival as table
    from .survival import survival

    return _monthly(result, table, survival)


def _network(result: Result, _: Sequence[Result], __: Sequence[str]) -> Figure:
    from ..evidence.network import flows
    from .network import network

    return _monthly(result, flows, network)


def _phases(result: Result, _: Sequence[Result], __: Sequence[str]) -> Figure:
    from ..evidence.by_month import phases as table
    from .phases import phases

    return _monthly(result, table, phases)


def _rounds(result: Result, _: Sequence[Result], __: Sequence[str]) -> Figure:
    from ..evidence.by_month import rounds as table
    from .fire_sale import rounds

    return _monthly(result, table, rounds)


def _sales(result: Result, _: Sequence[Result], __: Sequence[str]) -> Figure:
    from ..evidence.by_month import sales as table
    from .fire_sale import sales

    return _monthly(result, table, sales)


def _tornado(result: Result, _: Sequence[Result], variables: Sequence[str]) -> Figure:
    from ..evidence.stories import headline
    from ..evidence.tornado import PATHS, tornado
    from .tornado import tornado as draw

    metric = variables[0] if variables else headline(result)
    paths = max(min(PATHS, result.path_count), 1)
    found = tornado(result.scenario, metric, paths, **_how(result))
    return draw(found.table, found.metric, found.unit, found.said)


def _stress(result: Result, _: Sequence[Result], __: Sequence[str]) -> Figure:
    from ..evidence.stress import PATHS, stress, stresses
    from .stress import stress as draw

    paths = max(min(PATHS, result.path_count), 1)
    table = stress(stresses(result.scenario, result.months), paths=paths, **_how(result))
    return draw(table, f"{paths:,} paths of each, seed {result.seed}")


COMPUTED: dict[str, Draw] = {
    "claims": _claims,
    "survival": _survival,
    "network": _network,
    "phases": _phases,
    "rounds": _rounds,
    "sales": _sales,
    "tornado": _tornado,
    "stress": _stress,
}
"""By kind: of a result, those beside it, and the variables named."""
