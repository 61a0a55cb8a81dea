"""The command run."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Any

import click

from ..progress import Progress
from .report import report_of_run, report_target
from .shared import (
    BAD_INPUT,
    BREACHED,
    FAILED,
    UNMET,
    attempt,
    backend_option,
    bad_path_option,
    columns_of,
    dtype_option,
    event_option,
    fail,
    format_option,
    intervals_option,
    load_to_run,
    max_bad_option,
    months_option,
    open_log,
    paths_option,
    say,
    seed_option,
    set_option,
    share_of,
    stats_option,
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
    "--range",
    "path_range",
    metavar="FIRST..LAST",
    help="Only these of the paths, whole blocks; overbuilt merge makes one run of all.",
)
@bad_path_option
@max_bad_option
@click.option(
    "--fallback", is_flag=True, help="Where a backend fails in the middle, let the next go on."
)
@click.option(
    "--cluster",
    metavar="WHERE",
    help="Compute on a Dask cluster: local:4, processes here, or its scheduler, tcp://HOST:8786.",
)
@stats_option
@intervals_option
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
@click.option(
    "--report",
    metavar="[FILE]",
    is_flag=False,
    flag_value="",
    help="Also write an HTML report: to FILE; or report.html in --out, SCENARIO.html without.",
)
@click.option(
    "--log-json",
    metavar="[FILE]",
    is_flag=False,
    flag_value="-",
    help="Log events, a JSON object a line: to FILE, at its end, or to standard error.",
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
    path_range: str | None,
    on_bad_path: str,
    max_bad: str,
    fallback: bool,
    cluster: str | None,
    stats: str | None,
    intervals: bool,
    probabilities: tuple[str, ...],
    tail: int,
    profile: bool,
    report: str | None,
    log_json: str | None,
    style: str,
) -> None:
    """Simulate a scenario: a shipped one by name, or a TOML file.

    With --until it runs until every target holds, for all looks together with 95 % confidence; exit code
    3 where --max-paths or --deadline came first; 4 where a limit of the config is breached; 1 where too many
    paths are not finite, or a device failed. With --out, what is done is saved every few seconds: a run that was
    killed, or ended by a signal, goes on with --resume, and ends with the same bytes.

    \b
    Examples:
      overbuilt run base --paths 1000000
      overbuilt run linear --set rental.war_rate=0.1 --out runs/linear
      overbuilt run base --event price_war@18 --event funding_freeze@20
      overbuilt run base --until "private_credit.loss.es99 within 1%" --deadline 30m
      overbuilt run --resume runs/linear
      overbuilt run base --paths 10000000 --cluster local:4 --out runs/base
      overbuilt run base --paths 1000000 --range 0..524287 --out runs/first
      overbuilt run base --stats mean,sd,p99,es999 --intervals
      overbuilt run base --probability "private_credit.loss > 200"
      overbuilt run base --paths 200000 --report
      overbuilt run my_book.toml --backend native --format json --log-json=run.log
    """
    from ..arguments import check_asked
    from ..signals import Signals
    from ..simulate import simulate

    problems: list[str] = []
    log = open_log(log_json, problems)
    columns = columns_of(stats, problems)
    seconds = _seconds(deadline, problems)
    policy = {"on_bad_path": on_bad_path, "max_bad": share_of(max_bad, problems)}
    problems += _check_cluster(cluster, profile, fallback)
    page = report_target(report, scenario, out if resume is None else resume, problems)
    if resume is not None and out is not None:
        problems.append(f"--out {out}: with --resume the run stays in its folder")
    if resume is not None and scenario is None:
        loaded, asked = _stored(resume, problems)
        asked |= {k: v for k, v in policy.items() if _given(k)}
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
            "until": until, "probabilities": probabilities, "tail": tail, **policy,
            "path_range": _range(path_range, most, until, problems),
        }  # fmt: skip
        loaded = load_to_run(
            scenario, overrides, events, (most, seed, months, dtype, backend), out, problems,
            lambda s: check_asked(s.economy.metrics, until, probabilities, tail=tail),
        )  # fmt: skip
    signals = Signals()
    progress = Progress(style == "table" and log_json is None)
    if progress.shown:
        from ..live import Running

        economy = loaded.economy
        units = {name: economy.unit(name) for name in economy.metrics}
        progress.running = Running(units, [t.rpartition(" within ")[0] for t in asked["until"]])

    def observe(event: str, fields: dict[str, Any]) -> None:
        log(event, fields)
        if event == "start":
            progress.before = fields["paths_done"]
        if cluster is not None and event == "warning" and log_json != "-":
            click.echo(f"warning: {fields['message']}", err=True)  # it may wait for long

    def work() -> Any:
        from ..stop_table import look_line

        with signals, progress:
            return simulate(
                loaded, **asked, progress=progress, deadline=seconds, cluster=cluster,
                on_look=lambda look: progress.say(look_line(look)), on_block=progress.running,
                out=out if resume is None else resume, resume=resume is not None, interrupted=signals,
                on_event=observe, fallback=fallback,
            )  # fmt: skip

    where = out if resume is None else resume
    result = attempt(work, where=where)
    costs = None
    if profile and not signals():
        costs = attempt(lambda: _profile(loaded, result, style if log_json is None else "json"))
    if log_json is not None:
        _log_end(log, result)
    for line in result.damage:
        say("warning", line)
    said = log_json == "-" or cluster is not None
    for line in () if said else result.lost:  # or it was said when it happened
        click.echo(f"warning: {line}", err=True)
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
        _say_bad(result)
    breached = said_of_limits(result, log_json == "-")
    reported = page is None or bool(signals()) or report_of_run(page, result)
    if result.unsaved:
        fail(
            [
                f"{result.unsaved}; what was found is above, what was saved before goes on with --resume {where}"
            ],
            FAILED,
        )
    if result.failure:
        again = f"; what was computed is in {where}" if where else ""
        path = next(iter(result.bad_paths))
        fail([f"{result.failure}{again}", f"see {_replay_of(path, scenario, where)}"], FAILED)
    if cut := result.stop is not None and not result.stop["held"]:
        again = f"; go on with overbuilt run --resume {where}" if where else ""
        say(
            "warning",
            f"stopped by {result.stop['why']} after {result.path_count:,} paths, before what was asked "
            f"for{again if result.status == 'stopped' else ''}",
        )
    sys.exit(exit_code(cut, signals.exit_code, breached) or (0 if reported else FAILED))


def _log_end(log: Any, result: Any) -> None:
    """What the last event says of the run, and an event for each limit."""
    log.ending = {"status": result.status, "paths": result.path_count, "digest": result.digest}
    for verdict in _judged(result):
        log("limit", verdict.as_json())


def said_of_limits(result: Any, logged: bool) -> bool:
    """A line for each limit that is breached, or not told apart; whether any is breached."""
    for verdict in _judged(result):
        if not logged and (verdict.breached or not verdict.told_apart):
            click.echo(verdict.line(), err=True)
    return any(v.breached for v in _judged(result))


def _judged(result: Any) -> list[Any]:
    """The verdicts that count: none of a part of a run, as the whole is judged when it is merged."""
    return [] if result.identity.get("range") else result.limits


def exit_code(cut: bool, signal: int, breached: bool) -> int:
    """What came first: a signal that cut the run; a breached limit; what was asked for and not reached.

    A run that failed has ended before. A limit is judged on what there is, but of a run that a signal cut, the
    whole may say otherwise: it goes on, and is judged again.
    """
    if cut and signal:
        return signal
    return BREACHED if breached else UNMET if cut else 0


MOST = 1_000_000_000
"""Paths that --until takes at most, unless told otherwise."""


def _check_cluster(cluster: str | None, profile: bool, fallback: bool) -> list[str]:
    """What is wrong with the cluster, and with options that do not go with one."""
    if cluster is None:
        return []
    from ..cluster_client import check_cluster

    problems = [f"--{line.replace(' = ', ' ', 1)}" for line in check_cluster(cluster)]
    if profile:
        problems.append(
            "--profile: times kernels in this process; should be left out with --cluster"
        )
    if fallback:
        problems.append(
            "--fallback: on a cluster another worker goes on where one fails; should be left out"
        )
    return problems


def _given(parameter: str) -> bool:
    """Whether the user said it, rather than left it at its default."""
    source = click.get_current_context().get_parameter_source(parameter)
    return source == click.core.ParameterSource.COMMANDLINE


_OF_RESUME = (
    "resume", "deadline", "stats", "intervals", "style", "profile", "out", "log_json", "fallback", "cluster",
    "on_bad_path", "max_bad", "report",
)  # fmt: skip
"""What may be said with --resume; the rest is stored with the run."""


def _stored(folder: str, problems: list[str]) -> tuple[Any, dict[str, Any]]:
    """The scenario of a run that was cut off, and what was asked of it; options that say otherwise are refused."""
    from ..remote import working_folder
    from ..run_store import asked_of, read_manifest, scenario_in
    from ..validate import ConfigError

    given = [p for p in click.get_current_context().params if p not in _OF_RESUME and _given(p)]
    problems += [
        f"--{_OPTION.get(p, p).replace('_', '-')}: is stored with the run; --resume takes it from there"
        for p in given
    ]
    try:
        here = working_folder(folder, resume=True)
        manifest = read_manifest(here)
        loaded, asked = scenario_in(here, manifest), asked_of(here, manifest)
    except ConfigError as error:
        problems += error.problems
    if problems:
        fail(problems, BAD_INPUT)
    return loaded, asked


_OPTION = {
    "overrides": "set",
    "events": "event",
    "probabilities": "probability",
    "path_range": "range",
}


def _range(
    text: str | None, paths: int, until: tuple[str, ...], problems: list[str]
) -> tuple[int, int] | None:
    from ..path_ranges import check_range, parse_range
    from ..validate import ConfigError

    if text is None:
        return None
    try:
        found = parse_range(text)
    except ConfigError as error:
        problems += error.problems
        return None
    if paths > 0:  # else that is the problem
        problems += check_range(found, paths, until)
    return found


def _say_bad(result: Any) -> None:
    from ..quarantine import line_of

    say(
        "warning",
        f"{result.bad_count} of {result.path_count} paths had a non-finite state and are left out; the first is "
        f"{line_of(result.quarantined[0])}",
    )


def _replay_of(path: int, scenario: str | None, where: str | None) -> str:
    """The command that replays a path of this run."""
    if where is not None:
        return shlex.join(["overbuilt", "replay", where, "--path", str(path)])
    words = ["overbuilt", "replay", str(scenario), "--path", str(path)]
    for name in ("seed", "backend", "dtype", "months", "overrides", "events"):
        given = click.get_current_context().params[name]
        for value in given if isinstance(given, tuple) else (given,):
            if _given(name):
                words += [f"--{_OPTION.get(name, name)}", str(value)]
    return shlex.join(words)


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
