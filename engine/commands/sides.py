"""What a comparison, a report or a plot is of: folders of runs, and scenarios to be simulated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .shared import load_scenario

OF_SCENARIOS = ("paths", "seed", "backend", "dtype", "months", "overrides", "events")
_SPELT = {"overrides": "set", "events": "event"}


def load_sides(
    names: tuple[str, ...], options: dict[str, Any], wanted: dict[str, Any], problems: list[str]
) -> list[Any]:
    """Each side: the result of a run's folder; or a dict of what to simulate; None where it is neither.

    A scenario beside a run takes the run's paths, seed, months and dtype where they are not given.
    """
    from ..arguments import check_run
    from ..run_store import is_url, load_run
    from ..validate import ConfigError

    folders = [is_url(n) or ("\0" not in n and Path(n).is_dir()) for n in names]
    sides: list[Any] = [None] * len(names)
    given = [o for o in OF_SCENARIOS if _given(o)]
    if all(folders):
        problems += [
            f"--{_SPELT.get(o, o)}: is for scenarios; {' and '.join(names)} {'are' if len(names) > 1 else 'is'} done"
            for o in given
        ]
    for k, name in enumerate(names):
        if folders[k]:
            try:
                sides[k] = load_run(name)
            except ConfigError as error:
                problems += error.problems
    how = {k: options[k] for k in ("paths", "seed", "backend", "dtype", "months")}
    run = next((s for s in sides if s is not None), None)
    if run is not None:
        as_run = {
            "paths": run.path_count,
            "seed": run.seed,
            "months": run.months,
            "dtype": run.dtype,
        }
        how |= {k: v for k, v in as_run.items() if k not in given}
    if how["months"] is not None and 1 <= how["months"] <= 240:
        wanted["months"] = how["months"]
    for k, name in enumerate(names):
        if folders[k]:
            continue
        loaded = load_scenario(name, wanted, problems)
        if loaded is None:
            continue
        months = loaded.months if how["months"] is None else how["months"]
        try:
            check_run(how["paths"], how["seed"], months, how["dtype"], how["backend"])
        except ConfigError as error:
            problems += error.problems
        sides[k] = {"model": loaded, **how}
    return sides


def _given(option: str) -> bool:
    """Whether the user said it, rather than left it at its default."""
    source = click.get_current_context().get_parameter_source(option)
    return source == click.core.ParameterSource.COMMANDLINE
