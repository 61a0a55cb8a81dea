"""The commands check and sanity: is a scenario sound, are the shipped worlds plausible?"""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from ..progress import Progress
from .shared import (
    BAD_INPUT,
    FAILED,
    attempt,
    backend_option,
    event_option,
    fail,
    format_option,
    load_or_fail,
    seed_option,
    set_option,
    wanted_values,
)


@click.command()
@click.argument("scenario")
@set_option
@event_option
@click.option(
    "--paths",
    default=0,
    show_default=True,
    help="Also audit so many paths: every month's accounts, in float64 on the reference.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the audited paths.")
@format_option
def check(
    scenario: str,
    overrides: tuple[str, ...],
    events: tuple[str, ...],
    paths: int,
    seed: int,
    style: str,
) -> None:
    """Check a scenario and say everything that is wrong with it.

    With --paths its accounts are audited: cash in = cash out, losses borne = losses suffered, and so on,
    for every month of every path. Exit code 1 where an identity fails.

    \b
    Examples:
      overbuilt check my_book.toml
      overbuilt check base --paths 256 --format json
    """
    from ..tables import print_scenario, scenario_json

    loaded = load_or_fail(scenario, overrides, events)
    if style == "table":
        print_scenario(loaded)
    found = None
    if paths:
        from ..audit import audit, print_audit

        found = attempt(lambda: audit(loaded, paths, seed))
        if style == "table":
            print_audit(found)
    if style == "json":
        told = scenario_json(loaded) | {"audit": found.as_json() if found else None}
        click.echo(json.dumps(told, indent=2, allow_nan=False))
    if found and found.violations:
        sys.exit(FAILED)


@click.command()
@click.option("--paths", default=200_000, show_default=True, help="Paths for each world.")
@seed_option
@backend_option
@set_option
@format_option
def sanity(paths: int, seed: int, backend: str, overrides: tuple[str, ...], style: str) -> None:
    """Are the shipped worlds where they should be? A row for each figure, in its range or out of it.

    Exit code 1 where a row is out of range.

    \b
    Example:
      overbuilt sanity --paths 200000
    """
    from ..arguments import check_run
    from ..sanity import as_json
    from ..sanity import sanity as judge
    from ..validate import ConfigError

    problems: list[str] = []
    wanted = wanted_values(overrides, (), problems)
    try:
        check_run(paths, seed, 1, "float32", backend)
    except ConfigError as error:
        problems += error.problems
    if problems:
        fail(problems, BAD_INPUT)

    def work() -> Any:
        with Progress(style == "table") as progress:
            return judge(paths, seed, backend, wanted, progress)

    findings = attempt(work)
    if style == "json":
        click.echo(json.dumps(as_json(findings), indent=2))
    else:
        from ..tables import print_sanity

        print_sanity(findings, paths, seed)
    if not all(f.holds for f in findings):
        sys.exit(FAILED)
