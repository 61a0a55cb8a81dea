"""The command report."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from ..progress import Progress
from .shared import (
    BAD_INPUT,
    attempt,
    backend_option,
    dtype_option,
    event_option,
    fail,
    format_option,
    months_option,
    paths_option,
    say,
    seed_option,
    set_option,
    wanted_values,
)


@click.command()
@click.argument("run")
@click.argument("other", metavar="[RUN2]", required=False)
@click.option("--out", metavar="FILE", help="Write it there.  [default: RUN.html here]")
@click.option("--open", "show", is_flag=True, help="Show it in the browser.")
@click.option(
    "--quick", is_flag=True, help="Leave out what takes longest: sensitivities and stresses."
)
@paths_option
@seed_option
@backend_option
@dtype_option
@months_option
@set_option
@event_option
@format_option
def report(
    run: str,
    other: str | None,
    out: str | None,
    show: bool,
    quick: bool,
    style: str,
    **options: Any,
) -> None:
    """Write a run as one HTML page, or compare two.

    RUN is the folder of a finished run, or a scenario, which is then simulated; --paths, --seed, --backend, --dtype,
    --months, --set and --event are for scenarios. The page opens offline, loads nothing and prints.

    \b
    Examples:
      overbuilt report runs/base
      overbuilt report base --paths 200000 --out base.html --open
      overbuilt report runs/today runs/yesterday --out moved.html
      overbuilt report base linear --quick
    """
    from ..report.page import check_target
    from ..validate import ConfigError
    from .sides import load_sides

    problems: list[str] = []
    names = (run,) if other is None else (run, other)
    wanted = wanted_values(options["overrides"], options["events"], problems)
    sides = load_sides(names, options, wanted, problems)
    target = Path(out) if out is not None else Path(default_name(names))
    try:
        check_target(target if out is None else out)
    except ConfigError as error:
        problems += error.problems
    if other is not None and not problems:
        try:
            check_pair(sides)
        except ConfigError as error:
            problems += error.problems
    if problems:
        fail(list(dict.fromkeys(problems)), BAD_INPUT)

    def work() -> Path:
        results = [_done(side, name) for side, name in zip(sides, ("A", "B"), strict=False)]
        return written(target, results, quick)

    path = attempt(work)
    if style == "json":
        click.echo(json.dumps({"file": str(path), "bytes": path.stat().st_size}))
    else:
        click.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB", err=True)
    if show:
        _open(path)


def default_name(names: tuple[str, ...]) -> str:
    """The file's name where none is given: after the runs."""
    stems = [Path(n.rstrip("/")).name.removesuffix(".toml") or "run" for n in names]
    return f"{'-'.join(stems)}.html"


def check_pair(sides: list[Any]) -> None:
    """Raise ConfigError where the two cannot be compared, before anything is simulated."""
    from ..compare import check, units_of

    units = [
        {n: s["model"].economy.unit(n) for n in s["model"].economy.metrics}
        if isinstance(s, dict)
        else units_of(s)
        for s in sides
    ]
    check(units[0], units[1])


def _done(side: Any, name: str) -> Any:
    """A side's result, simulated where it is none yet."""
    from ..simulate import simulate

    if not isinstance(side, dict):
        return side
    with Progress(True, f"simulating {side['model'].name}") as progress:
        return simulate(
            side["model"], side["paths"], side["seed"], side["backend"], side["dtype"],
            months=side["months"], progress=progress,
        )  # fmt: skip


def written(target: Path, results: list[Any], quick: bool = False) -> Path:
    """Write the report, with a bar over its steps."""
    from ..report.page import write_report

    with Progress(True, "report", "%") as progress:

        def tell(what: str, share: float) -> None:
            progress(round(100 * share), 100, 0.0)
            progress.say(what)

        return write_report(target, *results, quick=quick, progress=tell)


# ---- of the command run
def report_target(
    report: str | None, scenario: str | None, folder: str | None, problems: list[str]
) -> Path | None:
    """Where ``run --report`` writes, None where it is not given: FILE, else report.html in the run's folder, else a
    file here named after the scenario."""
    from ..report.page import check_target
    from ..run_store import is_url
    from ..validate import ConfigError

    if report is None:
        return None
    if not report and folder and not is_url(folder):
        return Path(folder) / "report.html"  # the folder is checked with --out
    named = report or default_name((scenario or folder or "run",))
    try:
        return check_target(named, "--report")
    except ConfigError as error:
        problems += error.problems
    return None


def report_of_run(target: Path, result: Any) -> bool:
    """Write the report of a run that has just ended. Where that fails, a line says why: the run itself stands."""
    from ...kernels.backends.base import BackendError, LaunchError
    from ..validate import ConfigError

    try:
        path = written(target, [result])
    except (ConfigError, BackendError, LaunchError, OSError) as error:
        say("error", f"--report {target}: could not be written ({error})")
        return False
    click.echo(f"report written to {path} ({path.stat().st_size / 1e6:.1f} MB)", err=True)
    return True


def _open(path: Path) -> None:
    import webbrowser

    if not webbrowser.open(path.resolve().as_uri()):
        click.echo(f"warning: no browser could be opened; the report is {path}", err=True)
        sys.exit(0)
