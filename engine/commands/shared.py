"""What the commands share: their options, how a scenario is loaded, how an error ends a command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click

BAD_INPUT, FAILED, UNMET, BREACHED, INTERRUPTED = 2, 1, 3, 4, 130
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


stats_option = click.option(
    "--stats",
    metavar="NAMES",
    help="Columns of the table: mean, se, sd, skew, kurtosis, p95, var999, es975, ...",
)
intervals_option = click.option(
    "--intervals", is_flag=True, help="Also show each figure's 95 % interval."
)
bad_path_option = click.option(
    "--on-bad-path",
    type=click.Choice(["abort", "quarantine"]),
    default="quarantine",
    show_default=True,
    help="At a path with a non-finite state: end the run, or leave the path out.",
)
max_bad_option = click.option(
    "--max-bad",
    default="0.1%",
    show_default=True,
    metavar="SHARE",
    help="Fail where more of the paths than this have a non-finite state.",
)


def fail(lines: list[str], code: int) -> NoReturn:
    for line in lines:
        say("error", line)
    sys.exit(code)


_LOG = "overbuilt.log"


def open_log(target: str | None, problems: list[str]) -> Any:
    """What is told of events: this command's log, which ends with it; or, without one, nobody."""
    from ..log import JsonLog, silent
    from ..validate import ConfigError

    if target is None:
        return silent
    context = click.get_current_context()
    try:
        log = JsonLog(target)
    except ConfigError as error:
        problems += error.problems
        return silent
    context.meta[_LOG] = context.with_resource(log)
    return log


def say(kind: str, line: str) -> None:
    """An error or a warning on standard error, and in the log; only there where that is standard error."""
    from ..validate import one_line

    context = click.get_current_context(silent=True)
    log = context.meta.get(_LOG) if context is not None else None
    if log is not None:
        log(kind, {"message": line})
    if log is None or not log.on_stderr:
        click.echo(f"{kind}: {one_line(line)}", err=True)


def columns_of(stats: str | None, problems: list[str]) -> tuple[str, ...]:
    """The columns that ``--stats`` names, or the usual ones."""
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


def share_of(text: str, problems: list[str]) -> float:
    """The share that ``--max-bad`` says."""
    from ..quarantine import parse_share
    from ..validate import ConfigError

    try:
        return parse_share(text)
    except ConfigError as error:
        problems += [f"--max-bad: {p}" for p in error.problems]
    return 0.0


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
    from ..arguments import check_run
    from ..result import check_writable
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
    from ...kernels.backends.base import BackendError, LaunchError
    from ...kernels.symbol import TraceError
    from ..validate import ConfigError

    try:
        return work()
    except ConfigError as error:
        fail(error.problems, BAD_INPUT)
    except LaunchError as error:  # it could be used, and then failed
        fail(str(error).splitlines(), FAILED)
    except (BackendError, TraceError) as error:
        fail(str(error).splitlines(), BAD_INPUT)
    except OSError as error:
        fail([f"{error.filename or where}: {error.strerror or error}"], FAILED)
    except KeyboardInterrupt:
        fail(["interrupted"], INTERRUPTED)
