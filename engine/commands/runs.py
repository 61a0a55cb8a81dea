"""The commands runs, show and merge: what lies in run folders."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from .run import exit_code, said_of_limits
from .shared import (
    BAD_INPUT,
    FAILED,
    attempt,
    columns_of,
    fail,
    format_option,
    intervals_option,
    max_bad_option,
    say,
    share_of,
    stats_option,
)


@click.command()
@click.argument("folder", default=".")
@format_option
def runs(folder: str, style: str) -> None:
    """List the runs in FOLDER and below it: how far they are, what they found.

    A run that is computed now is running; one whose process died is cut off, one that a signal or a deadline ended
    is stopped: both go on with overbuilt run --resume. Damaged ones are named below, with what is wrong.

    \b
    Examples:
      overbuilt runs
      overbuilt runs /data/nightly --format json
    """
    from ..run_list import HEADLINE, find_runs, runs_table

    entries = attempt(lambda: find_runs(folder))
    if style == "json":
        click.echo(json.dumps({"runs": [e.as_json() for e in entries]}, indent=2))
        return
    from ..tables import console
    from ..validate import one_line

    screen = console()
    sound = [e for e in entries if not e.problem]
    if sound:
        screen.print(runs_table(entries))
        legend = f"\nmean and ES 99 % of {HEADLINE}, or of a run's first metric"
        screen.print(legend, highlight=False, style="dim")
    elif not entries:
        screen.print(f"no runs in {folder}", highlight=False, markup=False)
    for e in entries:
        if e.problem:
            click.echo(one_line(f"cannot be read: {e.folder}: {e.problem}"))


@click.command()
@click.argument("run")
@stats_option
@intervals_option
@format_option
def show(run: str, stats: str | None, intervals: bool, style: str) -> None:
    """Show a stored RUN as overbuilt run printed it; or, of one that is being computed, what there is so far.

    \b
    Examples:
      overbuilt show runs/linear
      overbuilt show runs/linear --stats mean,sd,p99,es999 --intervals
    """
    from ..run_list import newest

    problems: list[str] = []
    columns = columns_of(stats, problems)
    if problems:
        fail(problems, BAD_INPUT)
    result, line = attempt(lambda: newest(run))
    if style == "json":
        found = result.as_json()
        if line:
            found |= {"status": result.stop["why"], "checkpoint": line}
        click.echo(json.dumps(found, indent=2))
        return
    from ..tables import print_result

    if line:
        click.echo(f"{line}\n")
    title = (result.config or {}).get("title", "")
    print_result(result, title, None if line else run, columns, intervals)


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--out", required=True, metavar="DIR", help="Write the merged run there.")
@max_bad_option
@stats_option
@intervals_option
@format_option
def merge(
    runs: tuple[str, ...],
    out: str,
    max_bad: str,
    stats: str | None,
    intervals: bool,
    style: str,
) -> None:
    """Merge stored runs into one: parts that run --range computed, on any machines of one kind.

    They must be of one scenario, seed, type, backend, compiler and number of paths, and have no paths in common. In
    whatever order they are named, the result's files are those of one run of all. Exit code 3 where paths are
    in none of them; overbuilt run --resume computes those.

    \b
    Examples:
      overbuilt merge runs/first runs/second --out runs/whole
    """
    from ..merge import check_out, write
    from ..merge import merge as merged_of
    from ..result import check_writable

    problems: list[str] = []
    columns = columns_of(stats, problems)
    share = share_of(max_bad, problems)
    for check in (lambda: check_writable(out), lambda: check_out(out, runs)):
        problems += _problems_of(check)
    if problems:
        fail(problems, BAD_INPUT)
    merged = attempt(lambda: merged_of(runs, share))
    attempt(lambda: write(merged, out), where=out)
    result = merged.result
    if style == "json":
        click.echo(json.dumps(result.as_json() | {"gaps": merged.gaps}, indent=2))
    else:
        from ..tables import print_result

        print_result(result, (result.config or {}).get("title", ""), out, columns, intervals)
    breached = said_of_limits(result, False)
    if result.failure:
        fail([f"{result.failure}; the runs are merged in {out}"], FAILED)
    if merged.gaps:
        _say_gaps(merged.gaps, result.paths_wanted, out)
    sys.exit(exit_code(bool(merged.gaps), 0, breached))


def _problems_of(check: Any) -> list[str]:
    from ..validate import ConfigError

    try:
        check()
    except ConfigError as error:
        return error.problems
    except OSError as error:  # a name too long, a folder that may not be looked into
        return [f"--out {error.filename}: cannot be written ({error.strerror or error})"]
    return []


def _say_gaps(gaps: list[tuple[int, int]], paths: int, out: str) -> None:
    """Which paths are in no part, and what computes them."""
    from ..path_ranges import told

    say("warning", f"paths {told(gaps)} of {paths:,} are in none of the runs")
    ranges = " and ".join(f"--range {first}..{last}" for first, last in gaps[:5])
    say(
        "warning",
        f"overbuilt run --resume {out} computes them here; elsewhere, what computed the others with {ranges}",
    )
