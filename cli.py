"""The command line: parse, call the engine, print. No arithmetic here."""

from __future__ import annotations

import json
import os
import sys
from typing import Any, NoReturn

import click

from . import __version__

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


def _load(scenario: str, overrides: tuple[str, ...], problems: list[str]) -> Any:
    """The scenario, or None and ``problems``."""
    from .engine.scenario import load, parse_override
    from .engine.validate import ConfigError

    wanted = {}
    for text in overrides:
        try:
            key, value = parse_override(text)
            wanted[key] = value
        except ConfigError as error:
            problems += error.problems
    try:
        return load(scenario, wanted)
    except ConfigError as error:
        problems += error.problems
    return None


def _load_or_fail(scenario: str, overrides: tuple[str, ...] = ()) -> Any:
    problems: list[str] = []
    loaded = _load(scenario, overrides, problems)
    if problems:
        _fail(problems, BAD_INPUT)
    return loaded


def _load_to_run(
    scenario: str,
    overrides: tuple[str, ...],
    run: tuple[int, int, int | None, str, str],
    out: str | None,
) -> Any:
    """The scenario; exit with all that is wrong with it, with the run's arguments and its folder."""
    from .engine.result import check_writable
    from .engine.simulate import check_run
    from .engine.validate import ConfigError

    problems: list[str] = []
    loaded = _load(scenario, overrides, problems)
    paths, seed, months, dtype, backend = run
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
@click.option("--paths", default=100_000, show_default=True, help="How many paths.")
@click.option("--seed", default=0, show_default=True, help="Seed, 0 to 2^64 - 1.")
@click.option(
    "--backend", default="auto", show_default=True, metavar="NAME", help=", ".join(BACKENDS) + "."
)
@click.option(
    "--dtype", default="float32", show_default=True, metavar="TYPE", help="float32 or float64."
)
@click.option("--months", type=int, help="Horizon, 1 to 240 (default: the scenario's).")
@_set
@click.option(
    "--out", metavar="DIR", help="Write manifest.json, summary.csv and series.parquet there."
)
@click.option(
    "--format", "style", type=click.Choice(["table", "json"]), default="table", show_default=True
)
def run(
    scenario: str,
    paths: int,
    seed: int,
    backend: str,
    dtype: str,
    months: int | None,
    overrides: tuple[str, ...],
    out: str | None,
    style: str,
) -> None:
    """Simulate a scenario: a shipped one by name, or a TOML file.

    \b
    Examples:
      overbuilt run base --paths 1000000
      overbuilt run linear --set rental.war_rate=0.1 --out runs/linear
      overbuilt run my_book.toml --backend native --format json
    """
    from .engine.simulate import simulate
    from .engine.validate import ConfigError
    from .kernels.backends.base import BackendError
    from .kernels.trace import TraceError

    loaded = _load_to_run(scenario, overrides, (paths, seed, months, dtype, backend), out)
    try:
        with _Progress(style == "table") as progress:
            result = simulate(loaded, paths, seed, backend, dtype, months=months, progress=progress)
        if out is not None:
            result.save(out)
    except ConfigError as error:
        _fail(error.problems, BAD_INPUT)
    except (BackendError, TraceError) as error:
        _fail(str(error).splitlines(), BAD_INPUT)
    except OSError as error:
        _fail([f"{error.filename or out}: {error.strerror or error}"], FAILED)
    except KeyboardInterrupt:
        _fail(["interrupted"], INTERRUPTED)
    if style == "json":
        click.echo(json.dumps(result.as_json(), indent=2))
    else:
        from .engine.tables import print_result

        print_result(result, loaded.title, out)
    if result.bad_count:
        first = next(iter(result.bad_paths.items()), None)
        click.echo(
            f"warning: {result.bad_count} of {paths} paths had a non-finite state and are left out; "
            f"the first is path {first[0]} in month {first[1]}"
            if first
            else "",
            err=True,
        )


@main.command()
@click.argument("scenario")
@_set
def check(scenario: str, overrides: tuple[str, ...]) -> None:
    """Check a scenario and say everything that is wrong with it; nothing is run.

    \b
    Example:
      overbuilt check my_book.toml
    """
    from .engine.tables import print_scenario

    print_scenario(_load_or_fail(scenario, overrides))


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


class _Progress:
    """A progress bar on standard error: paths per second and time left. Silent when not a terminal."""

    def __init__(self, wanted: bool) -> None:
        self.shown = wanted and sys.stderr.isatty()
        self.bar: Any = None
        self.task: Any = None

    def __enter__(self) -> _Progress:
        if self.shown:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self.bar = Progress(
                TextColumn("simulating"),
                BarColumn(),
                TextColumn("{task.completed:,.0f} of {task.total:,.0f} paths"),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self.bar.start()
        return self

    def __call__(self, done: int, total: int, seconds: float) -> None:
        if self.bar is None:
            return
        rate = f"{done / seconds:,.0f} a second" if seconds else ""
        if self.task is None:
            self.task = self.bar.add_task("simulate", total=total, rate=rate)
        self.bar.update(self.task, completed=done, rate=rate)

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.stop()


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
