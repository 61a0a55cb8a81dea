"""The command claims."""

from __future__ import annotations

import json
from typing import Any

import click

from ..progress import Progress
from .shared import (
    BAD_INPUT,
    attempt,
    backend_option,
    dtype_option,
    event_option,
    fail,
    format_option,
    load_scenario,
    months_option,
    paths_option,
    seed_option,
    set_option,
    wanted_values,
)


@click.command()
@click.argument("scenarios", nargs=-1, required=True)
@paths_option
@seed_option
@backend_option
@dtype_option
@months_option
@set_option
@event_option
@format_option
def claims(
    scenarios: tuple[str, ...],
    paths: int,
    seed: int,
    backend: str,
    dtype: str,
    months: int | None,
    overrides: tuple[str, ...],
    events: tuple[str, ...],
    style: str,
) -> None:
    """How probable are the claims of both sides? In each scenario, on the same random numbers.

    \b
    Examples:
      overbuilt claims base exponential linear --paths 1000000
      overbuilt claims base funding_freeze --format json
    """
    from ..arguments import check_run
    from ..claims import evaluate
    from ..validate import ConfigError

    problems: list[str] = []
    wanted = wanted_values(overrides, events, problems)
    loaded = [load_scenario(name, wanted, problems, also=("claims",)) for name in scenarios]
    try:
        check_run(paths, seed, 1 if months is None else months, dtype, backend)
    except ConfigError as error:
        problems += error.problems
    if problems:
        fail(list(dict.fromkeys(problems)), BAD_INPUT)

    def work() -> Any:
        with Progress(style == "table") as progress:
            return evaluate(loaded, paths, seed, backend, dtype, progress, months=months)

    found = attempt(work)
    if style == "json":
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        from ..claims_table import print_claims

        print_claims(found)
