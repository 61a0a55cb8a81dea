"""The command verify."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Any

import click
from click.core import ParameterSource

from ..progress import Progress
from .shared import (
    BAD_INPUT,
    FAILED,
    attempt,
    event_option,
    fail,
    format_option,
    load_scenario,
    months_option,
    seed_option,
    set_option,
    wanted_values,
)

_OF_RUNS = {"dtype": "--dtype", "months": "--months", "overrides": "--set", "events": "--event"}


@click.command()
@click.argument("source", metavar="SCENARIO|RUN")
@click.option(
    "--paths", type=int, help="How many paths.  [default: 4096 of a scenario, 200 of a run]"
)
@click.option(
    "--backends",
    metavar="A,B",
    help="Which backends.  [default: all that work here; of a run: the reference, and its own]",
)
@click.option(
    "--dtype", default="float32", show_default=True, metavar="TYPE", help="float32 or float64."
)
@seed_option
@months_option
@set_option
@event_option
@click.option("--all", "everything", is_flag=True, help="List every variable, not the worst only.")
@format_option
@click.pass_context
def verify(
    context: click.Context,
    source: str,
    paths: int | None,
    backends: str | None,
    dtype: str,
    seed: int,
    months: int | None,
    overrides: tuple[str, ...],
    events: tuple[str, ...],
    everything: bool,
    style: str,
) -> None:
    """Do all backends compute the same? Every operation and every path, beside NumPy in float64.

    Of a RUN, a folder that run --out wrote, a random sample of the paths (--seed picks them) and the worst ones are
    computed again and compared with what is stored; the verdict is added to verification.json there.

    Exit code 1 where something is out of tolerance.

    \b
    Examples:
      overbuilt verify base
      overbuilt verify base --dtype float64 --backends native,jax
      overbuilt verify my_book.toml --paths 512 --all
      overbuilt verify runs/base --paths 200
    """
    from ..run_store import is_run

    names = [n.strip() for n in backends.split(",") if n.strip()] if backends is not None else None
    if is_run(source):
        problems = [
            f"{text}: is the run's own; leave it out, or name a scenario"
            for name, text in _OF_RUNS.items()
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        ]
        _verify_run(source, paths, names, seed, everything, style, problems)
    else:
        options = {"dtype": dtype, "seed": seed, "months": months}
        _verify_scenario(source, paths, names, options, (overrides, events), everything, style)


def _verify_scenario(
    source: str,
    paths: int | None,
    names: list[str] | None,
    options: dict[str, Any],
    changes: tuple[tuple[str, ...], tuple[str, ...]],
    everything: bool,
    style: str,
) -> None:
    from ..arguments import check_run
    from ..validate import ConfigError
    from ..verify import PATHS, choose
    from ..verify import verify as compared

    paths = PATHS if paths is None else paths
    dtype, seed, months = options["dtype"], options["seed"], options["months"]
    problems: list[str] = []
    wanted = wanted_values(*changes, problems)
    if months is not None and 1 <= months <= 240:  # events must lie within the horizon
        wanted["months"] = months
    loaded = load_scenario(source, wanted, problems)
    for check in (
        lambda: check_run(paths, seed, 1 if months is None else months, dtype, "auto"),
        lambda: choose(names, dtype),
    ):
        try:
            check()
        except ConfigError as error:
            problems += error.problems
    if problems:
        fail(list(dict.fromkeys(problems)), BAD_INPUT)

    def work() -> Any:
        with Progress(style == "table", "verifying") as progress:
            return compared(loaded, paths, seed, names, dtype, months=months, progress=progress)

    found = attempt(work)
    if style == "json":
        click.echo(json.dumps(found.as_json(), indent=2, allow_nan=False))
    else:
        from ..verify_table import print_verification

        print_verification(found, _as_typed(source, months, changes), everything)
    if not found.ok:
        sys.exit(FAILED)


def _as_typed(
    source: str, months: int | None, changes: tuple[tuple[str, ...], tuple[str, ...]]
) -> str:
    """The scenario and its changes, as a command line would name them again."""
    parts = [source]
    for option, texts in zip(("--set", "--event"), changes, strict=True):
        for text in texts:
            parts += [option, text]
    if months is not None:
        parts += ["--months", f"{months}"]
    return shlex.join(parts)


def _verify_run(
    source: str,
    paths: int | None,
    names: list[str] | None,
    seed: int,
    everything: bool,
    style: str,
    problems: list[str],
) -> None:
    from ..remote import to_verify
    from ..validate import ConfigError
    from ..verify_run import PATHS, check_arguments, verify_run

    paths = PATHS if paths is None else paths
    try:
        check_arguments(paths, seed, names)
    except ConfigError as error:
        problems += error.problems
    if problems:
        fail(problems, BAD_INPUT)

    def work() -> Any:
        with to_verify(source) as here, Progress(style == "table", "verifying") as progress:
            return verify_run(here, paths, seed, names, progress)

    found = attempt(work, where=source)
    if style == "json":
        click.echo(json.dumps(found.as_json(), indent=2, allow_nan=False))
    else:
        from ..verify_table import print_run_verification

        print_run_verification(found, everything)
    if not found.ok:
        sys.exit(FAILED)
