"""The command attribution."""

from __future__ import annotations

import json
from typing import Any

import click

from ..progress import Progress
from .shared import (
    attempt,
    backend_option,
    dtype_option,
    event_option,
    format_option,
    load_to_run,
    months_option,
    seed_option,
    set_option,
)


@click.command()
@click.argument("scenario")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="QUANTITY",
    help="A metric, or private_credit.loss.es99, 'rental.hopper < 1.2' (repeatable; default: the headline ones).",
)
@click.option(
    "--group",
    "named",
    multiple=True,
    metavar="NAME=GLOB,GLOB",
    help="Streams to draw again together (repeatable); what is in no group is other.",
)
@click.option(
    "--groups", "file", metavar="FILE", help='Groups from a TOML file: prices = ["rental.*"].'
)
@click.option("--paths", default=1 << 14, show_default=True, help="Paths of each run.")
@seed_option
@backend_option
@dtype_option
@months_option
@set_option
@event_option
@format_option
def attribution(
    scenario: str,
    metrics: tuple[str, ...],
    named: tuple[str, ...],
    file: str | None,
    paths: int,
    seed: int,
    backend: str,
    dtype: str,
    months: int | None,
    overrides: tuple[str, ...],
    events: tuple[str, ...],
    style: str,
) -> None:
    """Where does the variance come from? Each group of random streams is drawn again, all others kept.

    Each group takes two runs of --paths. Without --group and --groups: the groups of the model's own table.

    \b
    Examples:
      overbuilt attribution base
      overbuilt attribution base --metric private_credit.loss.es99 --paths 262144
      overbuilt attribution base --group 'prices=rental.*,shocks.*' --group 'firms=firms.*'
    """
    from ..attribution import asked, attribute

    problems: list[str] = []
    groups = _groups(named, file, problems)
    loaded = load_to_run(
        scenario,
        overrides,
        events,
        (paths, seed, months, dtype, backend),
        before=problems,
        also_check=lambda found: asked(found.economy, metrics),
    )

    def work() -> Any:
        with Progress(style == "table") as progress:
            return attribute(
                loaded, metrics, paths, seed, backend, dtype, progress, months=months, groups=groups
            )

    found = attempt(work)
    if style == "json":
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        from ..attribution_table import print_attribution

        print_attribution(found)


def _groups(
    named: tuple[str, ...], file: str | None, problems: list[str]
) -> dict[str, list[str]] | None:
    """The groups asked for, those of the file first; None where none are. What is wrong goes to ``problems``."""
    from ..redraw import parse_group, read_groups
    from ..validate import ConfigError

    found: dict[str, list[str]] = {}
    try:
        found = read_groups(file) if file is not None else {}
    except ConfigError as error:
        problems += error.problems
    for text in named:
        try:
            name, globs = parse_group(text)
        except ConfigError as error:
            problems += error.problems
            continue
        if name in found:
            problems.append(f"group {name}: stands twice; names should differ")
        found[name] = globs
    return found or None
