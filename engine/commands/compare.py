"""The command compare."""

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
    dtype_option,
    event_option,
    fail,
    format_option,
    months_option,
    paths_option,
    seed_option,
    set_option,
    wanted_values,
)

PAIRED = 1 << 18
"""Paths of which a run for comparison keeps all values, so that they can be paired."""


@click.command()
@click.argument("a")
@click.argument("b")
@click.option(
    "--margin",
    "margins",
    multiple=True,
    metavar="SIZE",
    help="What counts as the same: 1% of A's value (default), or '0.1 USD bn' for metrics of a unit.",
)
@click.option(
    "--level", default=0.95, show_default=True, help="Probability that every verdict is right."
)
@click.option(
    "--stats",
    default="mean,p50,p99,es99",
    show_default=True,
    metavar="NAMES",
    help="What to compare: mean, sd, p05, var999, es975, ...; of a metric that is 0 or 1, its mean.",
)
@click.option(
    "--metric", "metrics", multiple=True, metavar="GLOB", help="Only these: 'private_credit.*'."
)
@click.option(
    "--fail-on",
    type=click.Choice(["moved", "unclear", "never"]),
    default="moved",
    show_default=True,
    help="Exit code 1 when something moved; or also when something is unclear.",
)
@click.option("--all", "every", is_flag=True, help="Also show what is equivalent or equal.")
@paths_option
@seed_option
@backend_option
@dtype_option
@months_option
@set_option
@event_option
@format_option
def compare(
    a: str,
    b: str,
    margins: tuple[str, ...],
    level: float,
    stats: str,
    metrics: tuple[str, ...],
    fail_on: str,
    every: bool,
    style: str,
    **options: Any,
) -> None:
    """Did anything move from A to B? Scenarios, or the folders of finished runs.

    Two scenarios, and runs of one seed, are compared path by path on common random numbers. --paths, --seed,
    --backend, --dtype, --months, --set and --event are for scenarios; one beside a run takes the run's
    paths, seed, months and dtype. Exit code 1 when something moved.

    \b
    Examples:
      overbuilt compare base linear --paths 200000
      overbuilt compare runs/today runs/yesterday --margin 2% --format json
      overbuilt compare runs/base base --metric "private_credit.*" --fail-on unclear
      overbuilt compare base funding_freeze --margin 1% --margin "0.1 USD bn"
    """
    from ..compare import compare as judge
    from .sides import load_sides

    problems: list[str] = []
    asked: dict[str, Any] = {
        **_margins(margins, problems),
        "level": level,
        "stats": tuple(s.strip() for s in stats.split(",") if s.strip()),
        "metrics": metrics or ("*",),
    }
    wanted = wanted_values(options["overrides"], options["events"], problems)
    sides = load_sides((a, b), options, wanted, problems)
    _check(sides, asked, problems)

    def work() -> Any:
        results = []
        for name, side in zip(("A", "B"), sides, strict=True):
            results.append(_simulated(side, style, name) if isinstance(side, dict) else side)
        return judge(results[0], results[1], **asked)

    found = attempt(work)
    if style == "json":
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        from ..compare_table import print_comparison

        print_comparison(found, every)
    failing = {"moved": ("moved",), "unclear": ("moved", "unclear"), "never": ()}[fail_on]
    if any(found.counts[verdict] for verdict in failing):
        sys.exit(FAILED)


def _margins(texts: tuple[str, ...], problems: list[str]) -> dict[str, Any]:
    """``1%`` is relative, ``0.1 USD bn`` for metrics of that unit."""
    found: dict[str, Any] = {"absolute": {}}
    for text in texts:
        number, _, unit = text.strip().partition(" ")
        relative = not unit and number.endswith("%")
        try:
            size = float(number.removesuffix("%") if relative else number)
        except ValueError:
            size = -1.0
        if not size >= 0.0 or not (relative or unit.strip()):
            problems.append(f"--margin {text!r}: should be like 1%, or '0.1 USD bn' with a unit")
        elif relative:
            found["margin"] = size / 100.0
        else:
            found["absolute"][unit.strip()] = size
    return found


def _check(sides: list[Any], asked: dict[str, Any], problems: list[str]) -> None:
    """Exit with everything that is wrong, before anything is simulated."""
    from ..compare import check, units_of
    from ..validate import ConfigError

    units = [
        {n: s["model"].economy.unit(n) for n in s["model"].economy.metrics}
        if isinstance(s, dict)
        else units_of(s)
        for s in sides
        if s is not None
    ]
    try:
        if units:  # where one side cannot be read, at least the other
            check(units[0], units[-1], **asked)
    except ConfigError as error:
        problems += error.problems
    if problems:
        fail(list(dict.fromkeys(problems)), BAD_INPUT)


def _simulated(side: dict[str, Any], style: str, name: str) -> Any:
    from ..simulate import simulate

    with Progress(style == "table", f"simulating {name}") as progress:
        return simulate(
            side["model"], side["paths"], side["seed"], side["backend"], side["dtype"],
            months=side["months"], progress=progress, sample=min(side["paths"], PAIRED),
        )  # fmt: skip
