"""The command run."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from ..progress import Progress
from .shared import (
    BAD_INPUT,
    UNMET,
    attempt,
    backend_option,
    dtype_option,
    event_option,
    fail,
    format_option,
    load_to_run,
    months_option,
    paths_option,
    seed_option,
    set_option,
)


@click.command()
@click.argument("scenario", required=False)
@paths_option
@seed_option
@backend_option
@dtype_option
@months_option
@set_option
@event_option
@click.option(
    "--out", metavar="DIR", help="Write the run there, to be replayed, verified, compared."
)
@click.option("--resume", metavar="DIR", help="Go on with the run that was cut off there.")
@click.option(
    "--until",
    multiple=True,
    metavar="TARGET",
    help="Stop once this is known so well: 'private_credit.loss.es99 within 1%'.",
)
@click.option(
    "--max-paths",
    type=int,
    help="With --until: stop after so many in any case.  [default: 1000000000]",
)
@click.option("--deadline", metavar="TIME", help="Stop after so long: 90s, 30m, 2h.")
@click.option(
    "--stats",
    metavar="NAMES",
    help="Columns of the table: mean, se, sd, skew, kurtosis, p95, var999, es975, ...",
)
@click.option("--intervals", is_flag=True, help="Also show each figure's 95 % interval.")
@click.option(
    "--probability",
    "probabilities",
    multiple=True,
    metavar="EVENT",
    help="Also count an event: 'private_credit.loss > 200'.",
)
@click.option(
    "--tail",
    default=10_000,
    show_default=True,
    help="How many extreme paths of each metric to keep: VaR and ES of so many are exact.",
)
@click.option(
    "--profile", is_flag=True, help="Also time each system: the run with it and without it."
)
@format_option
def run(
    scenario: str | None,
    paths: int,
    seed: int,
    backend: str,
    dtype: str,
    months: int | None,
    overrides: tuple[str, ...],
    events: tuple[str, ...],
    out: str | None,
    resume: str | None,
    until: tuple[str, ...],
    max_paths: int | None,
    deadline: str | None,
    stats: str | None,
    intervals: bool,
    probabilities: tuple[str, ...],
    tail: int,
    profile: bool,
    style: str,
) -> None:
    """Simulate a scenario: a shipped one by name, or a TOML file.

    With --until it runs until every target holds, for all looks together with 95 % confidence; exit code
    3 where --max-paths or --deadline came first. With --out, what is done is saved every few seconds:
    a run that was killed, or ended by a signal, goes on with --resume, and ends with the same bytes.

    \b
    Examples:
      overbuilt run base --paths 1000000
      overbuilt run linear --set rental.war_rate=0.1 --out runs/linear
      overbuilt run base --event price_war@18 --event funding_freeze@20
      overbuilt run base --until "private_credit.loss.es99 within 1%" --deadline 30m
      overbuilt run --resume runs/linear
      overbuilt run base --stats mean,sd,p99,es999 --intervals
      overbuilt run base --probability "private_credit.loss > 200"
      overbuilt run my_book.toml --backend native --format json
    """
    from ..signals import Signals
    from ..simulate import check_asked, simulate

    problems: list[str] = []
    columns = _columns(stats, problems)
    seconds = _seconds(deadline, problems)
    if resume is not None and out is not None:
        problems.append(f"--out {out}: with --resume the run stays in its folder")
    if resume is not None and scenario is None:
        loaded, asked = _stored(resume, problems)
    elif scenario is None:
        raise click.UsageError("Missing argument 'SCENARIO', or --resume DIR.")
    else:
        if until and _given("paths"):
            problems.append(
                f"--paths {paths}: with --until the number is found; say --max-paths for the most"
            )
        if max_paths is not None and not until:
            problems.append(
                f"--max-paths {max_paths}: is the most that --until may take; say --paths"
            )
        most = (max_paths if max_paths is not None else MOST) if until else paths
        asked = {
            "paths": most, "seed": seed, "backend": backend, "dtype": dtype, "months": months,
            "until": until, "probabilities": probabilities, "tail": tail,
        }  # fmt: skip
        loaded = load_to_run(
            scenario, overrides, events, (most, seed, months, dtype, backend), out, problems,
            lambda s: check_asked(s.economy.metrics, until, probabilities, tail=tail),
        )  # fmt: skip
    signals = Signals()

    def work() -> Any:
        from ..stop_table import look_line

        with signals, Progress(style == "table") as progress:
            return simulate(
                loaded, **asked, progress=progress, deadline=seconds,
                on_look=lambda look: progress.say(look_line(look)),
                out=out if resume is None else resume, resume=resume is not None, interrupted=signals,
            )  # fmt: skip

    where = out if resume is None else resume
    result = attempt(work, where=where)
    costs = None
    if profile and not signals():
        costs = attempt(lambda: _profile(loaded, result, style))
    for line in result.damage:
        click.echo(f"warning: {line}; the run went on from what was whole", err=True)
    if style == "json":
        found = result.as_json() | ({"profile": costs.as_json()} if costs else {})
        click.echo(json.dumps(found, indent=2))
    else:
        from ..tables import print_result

        print_result(result, loaded.title, where, columns, intervals)
        if costs is not None:
            from ..profile import print_profile

            click.echo()
            print_profile(costs)
    if result.bad_count:
        first = next(iter(result.bad_paths.items()), None)
        click.echo(
            f"warning: {result.bad_count} of {result.path_count} paths had a non-finite state and are left out; "
            f"the first is path {first[0]} in month {first[1]}"
            if first
            else "",
            err=True,
        )
    if result.stop and not result.stop["held"]:
        again = f"; go on with overbuilt run --resume {where}" if where else ""
        click.echo(
            f"warning: stopped by {result.stop['why']} after {result.path_count:,} paths, before what was asked "
            f"for{again if result.status == 'stopped' else ''}",
            err=True,
        )
        sys.exit(signals.exit_code or UNMET)


MOST = 1_000_000_000
"""Paths that --until takes at most, unless told otherwise."""


def _given(parameter: str) -> bool:
    """Whether the user said it, rather than left it at its default."""
    source = click.get_current_context().get_parameter_source(parameter)
    return source == click.core.ParameterSource.COMMANDLINE


def _stored(folder: str, problems: list[str]) -> tuple[Any, dict[str, Any]]:
    """The scenario of a run that was cut off, and what was asked of it; options that say otherwise are refused."""
    from ..run_store import asked_of, read_manifest, scenario_in
    from ..validate import ConfigError

    mine = ("resume", "deadline", "stats", "intervals", "style", "profile", "out")
    given = [p for p in click.get_current_context().params if p not in mine and _given(p)]
    problems += [
        f"--{_OPTION.get(p, p).replace('_', '-')}: is stored with the run; --resume takes it from there"
        for p in given
    ]
    try:
        manifest = read_manifest(folder)
        loaded, asked = scenario_in(folder, manifest), asked_of(folder, manifest)
    except ConfigError as error:
        problems += error.problems
    if problems:
        fail(problems, BAD_INPUT)
    return loaded, asked


_OPTION = {"overrides": "set", "events": "event", "probabilities": "probability"}


def _columns(stats: str | None, problems: list[str]) -> tuple[str, ...]:
    from ..functionals import FORMS, parse_functional
    from ..tables import COLUMNS

    if stats is None:
        return COLUMNS
    columns = tuple(s.strip() for s in stats.split(",") if s.strip())
    problems += [
        f"--stats {s}: unknown; should be se, {FORMS}"
        for s in columns
        if s != "se" and parse_functional(s) is None
    ]
    if not 1 <= len(columns) <= 8:
        problems.append(f"--stats {stats!r}: names {len(columns)} statistics; should be 1 to 8")
    return columns


def _seconds(deadline: str | None, problems: list[str]) -> float | None:
    if deadline is None:
        return None
    from ..stop import parse_duration
    from ..validate import ConfigError

    try:
        return parse_duration(deadline)
    except ConfigError as error:
        problems += error.problems
    return None


def _profile(scenario: Any, result: Any, style: str) -> Any:
    from ..profile import MOST_PATHS, profile

    with Progress(style == "table", "timing the systems", "kernels") as progress:
        return profile(
            scenario, min(result.path_count, MOST_PATHS), result.seed, result.backend, result.dtype,
            progress=lambda done, total, _: progress(done, total, 0.0),
        )  # fmt: skip
