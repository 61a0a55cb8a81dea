"""What the commands share: their options, how a scenario is loaded, how an error ends a command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click

BAD_INPUT, FAILED, UNMET, INTERRUPTED = 2, 1, 3, 130
BACKENDS = ("auto", "cuda", "jax", "native", "numpy")


set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a value: revenue.volatility=0.2.",
)
event_option = click.option(
    "--event",
    "events",
    multiple=True,
    metavar="NAME@MONTH",
    help="Force a stress event: price_war@18, or price_war@18:-0.3 with a size.",
)
paths_option = click.option("--paths", default=100_000, show_default=True, help="How many paths.")
seed_option = click.option("--seed", default=0, show_default=True, help="Seed, 0 to 2^64 - 1.")
backend_option = click.option(
    "--backend", default="auto", show_default=True, metavar="NAME", help=", ".join(BACKENDS) + "."
)
dtype_option = click.option(
    "--dtype", default="float32", show_default=True, metavar="TYPE", help="float32 or float64."
)
months_option = click.option(
    "--months", type=int, help="Horizon, 1 to 240 (default: the scenario's)."
)
format_option = click.option(
    "--format", "style", type=click.Choice(["table", "json"]), default="table", show_default=True
)


def fail(lines: list[str], code: int) -> NoReturn:
    for line in lines:
        click.echo(f"error: {line}", err=True)
    sys.exit(code)


def wanted_values(
    overrides: tuple[str, ...], events: tuple[str, ...], problems: list[str]
) -> dict[str, Any]:
    """What ``--set`` and ``--event`` ask for, by dotted key."""
    from ..scenario import parse_event, parse_override
    from ..validate import ConfigError

    wanted: dict[str, Any] = {}
    for text in overrides:
        try:
            key, value = parse_override(text)
            wanted[key] = value
        except ConfigError as error:
            problems += error.problems
    for text in events:
        try:
            wanted |= parse_event(text)
        except ConfigError as error:
            problems += error.problems
    return wanted


def load_scenario(
    scenario: str, wanted: dict[str, Any], problems: list[str], also: tuple[str, ...] = ()
) -> Any:
    """The scenario, or None and ``problems``."""
    from ..scenario import load
    from ..validate import ConfigError

    try:
        return load(scenario, wanted, also=also)
    except ConfigError as error:
        problems += error.problems
    return None


def load_or_fail(
    scenario: str,
    overrides: tuple[str, ...] = (),
    events: tuple[str, ...] = (),
    also: tuple[str, ...] = (),
) -> Any:
    problems: list[str] = []
    loaded = load_scenario(scenario, wanted_values(overrides, events, problems), problems, also)
    if problems:
        fail(list(dict.fromkeys(problems)), BAD_INPUT)
    return loaded


def load_to_run(
    scenario: str,
    overrides: tuple[str, ...],
    events: tuple[str, ...],
    run: tuple[int, int, int | None, str, str],
    out: str | None = None,
    before: list[str] | None = None,
    also_check: Callable[[Any], Any] | None = None,
) -> Any:
    """The scenario; exit with all that is wrong with it, with the run's arguments and its folder.

    ``before`` are problems found already; ``also_check`` raises ConfigError for a scenario that does not suit.
    """
    from ..result import check_writable
    from ..simulate import check_run
    from ..validate import ConfigError

    problems = list(before or [])
    paths, seed, months, dtype, backend = run
    wanted = wanted_values(overrides, events, problems)
    if months is not None and 1 <= months <= 240:  # events must lie within the horizon that is run
        wanted["months"] = months
    loaded = load_scenario(scenario, wanted, problems)
    if months is None:
        months = loaded.months if loaded else 1
    try:
        check_run(paths, seed, months, dtype, backend)
    except ConfigError as error:
        problems += error.problems
    try:
        if out is not None:
            check_writable(out)
    except ConfigError as error:
        problems += error.problems
    except OSError as error:  # a name too long, a folder that may not be looked into
        problems.append(f"--out {out}: cannot be written ({error.strerror})")
    try:
        if loaded is not None and also_check is not None:
            also_check(loaded)
    except ConfigError as error:
        problems += error.problems
    if out == "":
        problems.append("--out '': should name a folder")
    if problems:
        fail(problems, BAD_INPUT)
    return loaded


def attempt(work: Any, where: str | None = None) -> Any:
    """What ``work`` returns; its errors as lines, with the exit code that each kind has."""
    from ...kernels.backends.base import BackendError
    from ...kernels.trace import TraceError
    from ..validate import ConfigError

    try:
        return work()
    except ConfigError as error:
        fail(error.problems, BAD_INPUT)
    except (BackendError, TraceError) as error:
        fail(str(error).splitlines(), BAD_INPUT)
    except OSError as error:
        fail([f"{error.filename or where}: {error.strerror or error}"], FAILED)
    except KeyboardInterrupt:
        fail(["interrupted"], INTERRUPTED)
