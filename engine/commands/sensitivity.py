"""The command sensitivity."""

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
    required=True,
    metavar="QUANTITY",
    help="A metric (its mean), private_credit.loss.es99, 'rental.hopper < 1.2'.",
)
@click.option(
    "--parameter",
    "parameters",
    multiple=True,
    metavar="GLOB",
    help="Move these only: 'firms.firm.*.cash' (repeatable; default: all).",
)
@click.option("--bump", default="1%", show_default=True, help="By how much of its value.")
@click.option(
    "--paths", default=8192, show_default=True, help="How many paths for each parameter set."
)
@click.option("--top", default=20, show_default=True, help="How many effects to show.")
@click.option(
    "--sobol",
    metavar="NAME,NAME",
    help="Sobol' indices of these parameters over their ranges, instead of bumps.",
)
@click.option(
    "--range",
    "ranges",
    multiple=True,
    metavar="RANGE",
    help="With --sobol: 10% to either side (the default), or NAME=LOW..HIGH (repeatable).",
)
@click.option(
    "--design",
    type=int,
    help="With --sobol: rows of the design, a power of two; a row is a run for each parameter and two.  [default: 256]",
)
@seed_option
@backend_option
@dtype_option
@months_option
@set_option
@event_option
@format_option
def sensitivity(
    scenario: str,
    metric: str,
    parameters: tuple[str, ...],
    bump: str,
    paths: int,
    top: int,
    sobol: str | None,
    ranges: tuple[str, ...],
    design: int | None,
    seed: int,
    backend: str,
    dtype: str,
    months: int | None,
    overrides: tuple[str, ...],
    events: tuple[str, ...],
    style: str,
) -> None:
    """How far does a quantity move with each parameter? On common random numbers, ranked, with intervals.

    With --sobol: which of a few parameters brings about how much of its variance over their ranges.

    \b
    Examples:
      overbuilt sensitivity base --metric private_credit.loss.es99
      overbuilt sensitivity base --metric "rental.hopper < 1.2" --parameter "rental.*" --bump 5%
      overbuilt sensitivity base --metric holders.loss --sobol rental.decline,revenue.volatility
    """
    from .. import sensitivity_options as given
    from ..sensitivity import sensitivity as measure
    from ..sobol import sobol as indices

    problems: list[str] = []
    share = given.share_of(bump, "--bump", problems)
    spans = given.spans_of(sobol, ranges, design, problems)
    if top < 1:
        problems.append(f"--top {top}: should be 1 or more")
    if sobol is not None and parameters:
        problems.append("--parameter: goes with bumps; --sobol names its parameters itself")
    loaded = load_to_run(
        scenario, overrides, events, (paths, seed, months, dtype, backend), before=problems
    )
    how: dict[str, Any] = {
        "paths": paths, "seed": seed, "backend": backend, "dtype": dtype, "months": months,
    }  # fmt: skip

    def work() -> Any:
        if spans is not None:
            with Progress(style == "table", "varying", "parameter sets") as progress:
                return indices(
                    loaded, metric, spans, design=design or given.DESIGN, progress=progress, **how
                )
        with Progress(style == "table", "moving", "parameters") as progress:
            return measure(
                loaded, metric, bump=share, parameters=parameters, progress=progress, **how
            )

    found = attempt(work)
    if style == "json":
        click.echo(json.dumps(found.as_json(), indent=2))
        return
    from .. import sensitivity_table as shown

    if spans is not None:
        shown.print_sobol(found)
    else:
        shown.print_sensitivity(found, top)
