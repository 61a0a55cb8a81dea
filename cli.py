"""The command line: parse, call the engine, print. No arithmetic here."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, NoReturn

import click

from . import __version__
from .engine.progress import Progress

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130
BACKENDS = ("auto", "cuda", "jax", "native", "numpy")


class _Commands(click.Group):
    """Commands in the order in which a newcomer needs them, not by letter."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def _fail(lines: list[str], code: int) -> NoReturn:
    for line in lines:
        click.echo(f"error: {line}", err=True)
    sys.exit(code)


def _wanted(
    overrides: tuple[str, ...], events: tuple[str, ...], problems: list[str]
) -> dict[str, Any]:
    """What ``--set`` and ``--event`` ask for, by dotted key."""
    from .engine.scenario import parse_event, parse_override
    from .engine.validate import ConfigError

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


def _load(
    scenario: str, wanted: dict[str, Any], problems: list[str], also: tuple[str, ...] = ()
) -> Any:
    """The scenario, or None and ``problems``."""
    from .engine.scenario import load
    from .engine.validate import ConfigError

    try:
        return load(scenario, wanted, also=also)
    except ConfigError as error:
        problems += error.problems
    return None


def _load_or_fail(
    scenario: str,
    overrides: tuple[str, ...] = (),
    events: tuple[str, ...] = (),
    also: tuple[str, ...] = (),
) -> Any:
    problems: list[str] = []
    loaded = _load(scenario, _wanted(overrides, events, problems), problems, also)
    if problems:
        _fail(list(dict.fromkeys(problems)), BAD_INPUT)
    return loaded


def _load_to_run(
    scenario: str,
    overrides: tuple[str, ...],
    events: tuple[str, ...],
    run: tuple[int, int, int | None, str, str],
    out: str | None,
) -> Any:
    """The scenario; exit with all that is wrong with it, with the run's arguments and its folder."""
    from .engine.result import check_writable
    from .engine.simulate import check_run
    from .engine.validate import ConfigError

    problems: list[str] = []
    paths, seed, months, dtype, backend = run
    wanted = _wanted(overrides, events, problems)
    if months is not None and 1 <= months <= 240:  # events must lie within the horizon that is run
        wanted["months"] = months
    loaded = _load(scenario, wanted, problems)
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
    if out == "":
        problems.append("--out '': should name a folder")
    if problems:
        _fail(problems, BAD_INPUT)
    return loaded


_set = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a value: revenue.volatility=0.2.",
)
_event = click.option(
    "--event",
    "events",
    multiple=True,
    metavar="NAME@MONTH",
    help="Force a stress event: price_war@18, or price_war@18:-0.3 with a size.",
)
_paths = click.option("--paths", default=100_000, show_default=True, help="How many paths.")
_seed = click.option("--seed", default=0, show_default=True, help="Seed, 0 to 2^64 - 1.")
_backend = click.option(
    "--backend", default="auto", show_default=True, metavar="NAME", help=", ".join(BACKENDS) + "."
)
_dtype = click.option(
    "--dtype", default="float32", show_default=True, metavar="TYPE", help="float32 or float64."
)
_months = click.option("--months", type=int, help="Horizon, 1 to 240 (default: the scenario's).")
_style = click.option(
    "--format", "style", type=click.Choice(["table", "json"]), default="table", show_default=True
)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="overbuilt")
def main() -> None:
    """Is the AI build-out overbuilt, and who loses if it is?

    A Monte Carlo engine for AI revenue, GPU rental prices and private credit, on a CUDA GPU or on
    CPUs.

    \b
    Example:
      overbuilt run base --paths 1000000
    """


@main.command()
@click.argument("scenario")
@_paths
@_seed
@_backend
@_dtype
@_months
@_set
@_event
@click.option(
    "--out", metavar="DIR", help="Write manifest.json, summary.csv and series.parquet there."
)
@click.option(
    "--profile", is_flag=True, help="Also time each system: the run with it and without it."
)
@_style
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
    from .engine.simulate import simulate

    loaded = _load_to_run(scenario, overrides, events, (paths, seed, months, dtype, backend), out)

    def work() -> Any:
        with Progress(style == "table") as progress:
            result = simulate(loaded, paths, seed, backend, dtype, months=months, progress=progress)
        if out is not None:
            result.save(out)
        return result, _profile(loaded, paths, seed, backend, dtype, style) if profile else None

    result, costs = _attempt(work, where=out)
    if style == "json":
        found = result.as_json() | ({"profile": costs.as_json()} if costs else {})
        click.echo(json.dumps(found, indent=2))
    else:
        from .engine.tables import print_result

        print_result(result, loaded.title, out)
        if costs is not None:
            from .engine.profile import print_profile

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
    from .engine.profile import MOST_PATHS, profile

    with Progress(style == "table", "timing the systems", "kernels") as progress:
        return profile(
            scenario, min(paths, MOST_PATHS), seed, backend, dtype,
            progress=lambda done, total, _: progress(done, total, 0.0),
        )  # fmt: skip


@main.command()
@click.argument("scenarios", nargs=-1, required=True)
@_paths
@_seed
@_backend
@_dtype
@_months
@_set
@_event
@_style
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
    from .engine.claims import evaluate
    from .engine.simulate import check_run
    from .engine.validate import ConfigError

    problems: list[str] = []
    wanted = _wanted(overrides, events, problems)
    loaded = [_load(name, wanted, problems, also=("claims",)) for name in scenarios]
    try:
        check_run(paths, seed, 1 if months is None else months, dtype, backend)
    except ConfigError as error:
        problems += error.problems
    if problems:
        _fail(list(dict.fromkeys(problems)), BAD_INPUT)

    def work() -> Any:
        with Progress(style == "table") as progress:
            return evaluate(loaded, paths, seed, backend, dtype, progress, months=months)

    found = _attempt(work)
    if style == "json":
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        from .engine.claims_table import print_claims

        print_claims(found)


@main.command()
@click.argument("system", required=False)
@click.option("--scenario", default="base", show_default=True, help="Whose values to show.")
@_set
@click.option(
    "--graph", metavar="FILE", help="Draw who reads whom: to an SVG file, or as text with -."
)
@_style
def explain(
    system: str | None, scenario: str, overrides: tuple[str, ...], graph: str | None, style: str
) -> None:
    """What a system reads, computes and writes; every parameter with its unit, value and source.

    Without SYSTEM, an overview of all.

    \b
    Examples:
      overbuilt explain
      overbuilt explain rental --scenario linear
      overbuilt explain --graph systems.svg
    """
    from .engine import explain as said
    from .engine import graph as drawn
    from .engine import tables_explain as shown

    loaded = _load_or_fail(scenario, overrides, also=("claims",) if system == "claims" else ())

    def work() -> None:
        if graph == "-":
            click.echo(drawn.graph_text(loaded))
        elif graph is not None:
            with open(graph, "w", encoding="utf-8") as file:
                file.write(drawn.graph_svg(loaded))
            click.echo(f"written to {graph}")
        elif style == "json":
            found = said.overview(loaded) if system is None else said.describe(loaded, system)
            click.echo(json.dumps(found, indent=2))
        elif system is None:
            shown.print_overview(loaded)
        else:
            shown.print_system(loaded, system)

    _attempt(work, where=graph)


@main.command()
@click.option("--paths", default=200_000, show_default=True, help="Paths for each world.")
@_seed
@_backend
@_set
@_style
def sanity(paths: int, seed: int, backend: str, overrides: tuple[str, ...], style: str) -> None:
    """Are the shipped worlds where they should be? A row for each figure, in its range or out of it.

    Exit code 1 where a row is out of range.

    \b
    Example:
      overbuilt sanity --paths 200000
    """
    from .engine.sanity import as_json
    from .engine.sanity import sanity as judge
    from .engine.simulate import check_run
    from .engine.validate import ConfigError

    problems: list[str] = []
    wanted = _wanted(overrides, (), problems)
    try:
        check_run(paths, seed, 1, "float32", backend)
    except ConfigError as error:
        problems += error.problems
    if problems:
        _fail(problems, BAD_INPUT)

    def work() -> Any:
        with Progress(style == "table") as progress:
            return judge(paths, seed, backend, wanted, progress)

    findings = _attempt(work)
    if style == "json":
        click.echo(json.dumps(as_json(findings), indent=2))
    else:
        from .engine.tables import print_sanity

        print_sanity(findings, paths, seed)
    if not all(f.holds for f in findings):
        sys.exit(FAILED)


def _attempt(work: Any, where: str | None = None) -> Any:
    """What ``work`` returns; its errors as lines, with the exit code that each kind has."""
    from .engine.validate import ConfigError
    from .kernels.backends.base import BackendError
    from .kernels.trace import TraceError

    try:
        return work()
    except ConfigError as error:
        _fail(error.problems, BAD_INPUT)
    except (BackendError, TraceError) as error:
        _fail(str(error).splitlines(), BAD_INPUT)
    except OSError as error:
        _fail([f"{error.filename or where}: {error.strerror or error}"], FAILED)
    except KeyboardInterrupt:
        _fail(["interrupted"], INTERRUPTED)


@main.command()
@click.argument("scenario")
@_set
@_event
@click.option(
    "--paths",
    default=0,
    show_default=True,
    help="Also audit so many paths: every month's accounts, in float64 on the reference.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the audited paths.")
def check(
    scenario: str, overrides: tuple[str, ...], events: tuple[str, ...], paths: int, seed: int
) -> None:
    """Check a scenario and say everything that is wrong with it.

    With --paths its accounts are audited: cash in = cash out, losses borne = losses suffered, and so on,
    for every month of every path. Exit code 1 where an identity fails.

    \b
    Examples:
      overbuilt check my_book.toml
      overbuilt check base --paths 256
    """
    from .engine.tables import print_scenario

    loaded = _load_or_fail(scenario, overrides, events)
    print_scenario(loaded)
    if not paths:
        return
    from .engine.audit import audit, print_audit

    found = _attempt(lambda: audit(loaded, paths, seed))
    print_audit(found)
    if found.violations:
        sys.exit(FAILED)


@main.command()
@click.option(
    "--scenario", default="base", show_default=True, help="Whose kernel to look for in the cache."
)
def backends(scenario: str) -> None:
    """What can run here, what cannot and how to get it.

    \b
    Example:
      overbuilt backends
    """
    from .engine.tables import print_backends

    print_backends(_load_or_fail(scenario))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
