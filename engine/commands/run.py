"""The command run."""

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
    paths_option,
    seed_option,
    set_option,
)


@click.command()
@click.argument("scenario")
@paths_option
@seed_option
@backend_option
@dtype_option
@months_option
@set_option
@event_option
@click.option(
    "--out", metavar="DIR", help="Write manifest.json, summary.csv and series.parquet there."
)
@click.option(
    "--profile", is_flag=True, help="Also time each system: the run with it and without it."
)
@format_option
def run(
    scenario: str,
    paths: int,
    seed: int,
    backend: str,
    dtype: str,
    months: int | None,
    overrides: tuple[str, ...],
    events: tuple[str, ...],
    out: str | None,
    profile: bool,
    style: str,
) -> None:
    """Simulate a scenario: a shipped one by name, or a TOML file.

    \b
    Examples:
      overbuilt run base --paths 1000000
      overbuilt run linear --set rental.war_rate=0.1 --out runs/linear
      overbuilt run base --event price_war@18 --event funding_freeze@20
      overbuilt run base --profile
      overbuilt run my_book.toml --backend native --format json
    """
    from ..simulate import simulate

    loaded = load_to_run(scenario, overrides, events, (paths, seed, months, dtype, backend), out)

    def work() -> Any:
        with Progress(style == "table") as progress:
            result = simulate(loaded, paths, seed, backend, dtype, months=months, progress=progress)
        if out is not None:
            result.save(out)
        return result, _profile(loaded, paths, seed, backend, dtype, style) if profile else None

    result, costs = attempt(work, where=out)
    if style == "json":
        found = result.as_json() | ({"profile": costs.as_json()} if costs else {})
        click.echo(json.dumps(found, indent=2))
    else:
        from ..tables import print_result

        print_result(result, loaded.title, out)
        if costs is not None:
            from ..profile import print_profile

            click.echo()
            print_profile(costs)
    if result.bad_count:
        first = next(iter(result.bad_paths.items()), None)
        click.echo(
            f"warning: {result.bad_count} of {paths} paths had a non-finite state and are left out; "
            f"the first is path {first[0]} in month {first[1]}"
            if first
            else "",
            err=True,
        )


def _profile(scenario: Any, paths: int, seed: int, backend: str, dtype: str, style: str) -> Any:
    from ..profile import MOST_PATHS, profile

    with Progress(style == "table", "timing the systems", "kernels") as progress:
        return profile(
            scenario, min(paths, MOST_PATHS), seed, backend, dtype,
            progress=lambda done, total, _: progress(done, total, 0.0),
        )  # fmt: skip
