"""The command replay."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

import click
from click.core import ParameterSource

from .shared import (
    BACKENDS,
    BAD_INPUT,
    FAILED,
    attempt,
    backend_option,
    dtype_option,
    event_option,
    fail,
    format_option,
    load_scenario,
    months_option,
    seed_option,
    set_option,
    wanted_values,
)

MOST_SHOWN = 60
"""Columns that --show prints at most; --out has them all."""


@dataclass
class _Asked:
    """What the command line asks for."""

    source: str
    path: int | None
    worst: int | None
    metric: str | None
    least: bool
    against: str | None
    show: tuple[str, ...]
    out: str | None


@click.command()
@click.argument("source", metavar="SCENARIO|RUN")
@click.option("--path", type=int, metavar="N", help="Which path, 0 to 2^48 - 1.")
@click.option("--worst", type=int, metavar="K", help="Of a run: the K paths with most of --metric.")
@click.option("--metric", metavar="NAME", help="By which --worst ranks: private_credit.loss.")
@click.option("--least", is_flag=True, help="With --worst: the paths with least of --metric.")
@click.option(
    "--against",
    metavar="BACKEND[:DTYPE]",
    help="Where this backend parts from it, and by how much; exit code 1 if it does.",
)
@click.option("--show", multiple=True, metavar="GLOB", help="Variables by month: 'rental.*'.")
@click.option("--out", metavar="FILE", help="Every variable by month: FILE.csv or FILE.parquet.")
@seed_option
@backend_option
@dtype_option
@months_option
@set_option
@event_option
@format_option
@click.pass_context
def replay(
    context: click.Context,
    source: str,
    path: int | None,
    worst: int | None,
    metric: str | None,
    least: bool,
    against: str | None,
    show: tuple[str, ...],
    out: str | None,
    seed: int,
    backend: str,
    dtype: str,
    months: int | None,
    overrides: tuple[str, ...],
    events: tuple[str, ...],
    style: str,
) -> None:
    """One path again, month by month: its story, its variables, where two backends part.

    SCENARIO is a shipped one by name or a TOML file; RUN a folder that run --out wrote, whose seed, months,
    values, type and backend hold (--backend and --dtype may change the last two).

    \b
    Examples:
      overbuilt replay base --seed 1 --path 999999999
      overbuilt replay base --path 7 --show 'rental.*' --show funding.window
      overbuilt replay base --path 7 --backend native --dtype float64 --against numpy
      overbuilt replay base --path 7 --out path7.parquet
      overbuilt replay runs/base --worst 5 --metric private_credit.loss
    """
    from ..run_store import is_run

    asked = _Asked(source, path, worst, metric, least, against, show, out)
    given = {
        name
        for name in ("seed", "backend", "dtype", "months", "overrides", "events")
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    how = {"seed": seed, "backend": backend, "dtype": dtype, "months": months}
    problems = _argument_problems(asked)
    if is_run(source):
        model = _load_run(asked, given, problems)
        how = {k: v if k in given else None for k, v in how.items()}
    else:
        model = _load_scenario(asked, how, overrides, events, problems)
    _check(asked, model, how, problems)
    results = attempt(lambda: _replay(asked, model, how), where=out)
    if style == "json":
        click.echo(json.dumps({"paths": [_as_json(r, show) for r in results]}, indent=2))
    else:
        _print(asked, results)
    if any(r.agreement is not None and not r.agreement.holds for r in results):
        sys.exit(FAILED)


# ---- what is asked for
def _argument_problems(asked: _Asked) -> list[str]:
    """What is wrong whatever the source."""
    from ..replay import check_file, check_path
    from ..validate import ConfigError

    problems = []
    if asked.path is None and asked.worst is None:
        problems.append("--path: should be given, 0 to 2^48 - 1; or --worst K of a run")
    if asked.path is not None and asked.worst is not None:
        problems.append("--path and --worst: should be one or the other")
    if asked.worst is not None and asked.metric is None:
        problems.append("--worst: should come with --metric, for example private_credit.loss")
    if asked.worst is None and (asked.metric is not None or asked.least):
        problems.append("--metric and --least: should come with --worst K")
    try:
        if asked.path is not None:
            check_path(asked.path)
    except ConfigError as error:
        problems += error.problems
    try:
        if asked.out is not None:
            check_file(asked.out)
    except ConfigError as error:
        problems += error.problems
    if asked.against is not None:
        problems += _against_problems(asked.against)
    return problems


def _against_problems(text: str) -> list[str]:
    from ...kernels.backends.base import DTYPES
    from ..validate import near, shown

    backend, colon, dtype = text.partition(":")
    problems = []
    if backend not in BACKENDS[1:]:
        problems.append(
            f"--against {shown(text)}: {shown(backend)} is no backend{near(backend, list(BACKENDS[1:]))}"
        )
    if colon and dtype not in DTYPES:
        problems.append(f"--against {shown(text)}: {shown(dtype)} should be {' or '.join(DTYPES)}")
    return problems


def _load_run(asked: _Asked, given: set[str], problems: list[str]) -> Any:
    """The run; None where it cannot be read."""
    from ..replay import check_path, extremes
    from ..run_store import load_run
    from ..validate import ConfigError

    options = {"seed": "--seed", "months": "--months", "overrides": "--set", "events": "--event"}
    problems += [
        f"{text}: is the run's own; leave it out, or name a scenario"
        for name, text in options.items()
        if name in given
    ]
    try:
        result = load_run(asked.source)
    except ConfigError as error:
        problems += error.problems
        return None
    try:
        if asked.path is not None and asked.path >= 0:
            check_path(asked.path, result.last_path + 1)
        if asked.worst is not None and asked.metric is not None:
            extremes(result, asked.metric, asked.worst, asked.least)
    except ConfigError as error:
        problems += [p for p in error.problems if p not in problems]
    return result


def _load_scenario(
    asked: _Asked,
    how: dict[str, Any],
    overrides: tuple[str, ...],
    events: tuple[str, ...],
    problems: list[str],
) -> Any:
    """The scenario; None where it is not sound."""
    if asked.worst is not None:
        problems.append(
            f"--worst: {asked.source} is no run; it should be a folder that run --out wrote"
        )
    wanted = wanted_values(overrides, events, problems)
    if how["months"] is not None and 1 <= how["months"] <= 240:
        wanted["months"] = how["months"]  # events must lie within the horizon
    return load_scenario(asked.source, wanted, problems)


def _check(asked: _Asked, model: Any, how: dict[str, Any], problems: list[str]) -> None:
    """Exit with all problems, those of the run's arguments and of --show among them."""
    from ..arguments import check_run
    from ..replay import matches
    from ..validate import ConfigError, near, shown

    seed, months = how["seed"] or 0, how["months"] if how["months"] is not None else 1
    try:
        check_run(1, seed, months, how["dtype"] or "float32", how["backend"] or "auto")
    except ConfigError as error:
        problems += error.problems
    if asked.show and model is not None and not problems:
        columns = attempt(lambda: _columns(model))
        for pattern in asked.show:
            if not any(matches(c, pattern) for c in columns):
                names = list(dict.fromkeys(c.partition("[")[0] for c in columns))
                problems.append(
                    f"--show {shown(pattern)}: matches nothing{near(pattern, names, listed=False)}"
                )
        count = sum(any(matches(c, p) for p in asked.show) for c in columns)
        if count > MOST_SHOWN:
            problems.append(
                f"--show: matches {count:,} columns; should be {MOST_SHOWN} at most (--out has all)"
            )
    if problems:
        fail(list(dict.fromkeys(problems)), BAD_INPUT)


def _columns(model: Any) -> list[str]:
    """The columns that a replay of a scenario or a run will have."""
    from ..recording import recording
    from ..result import Result
    from ..simulate import as_economy

    whole = recording(as_economy(model.scenario if isinstance(model, Result) else model))
    return [
        f"{name}[{i}]" if shape.length else name
        for name, shape in whole.variables.items()
        for i in range(max(shape.length, 1))
    ]


# ---- the work
@dataclass
class _Found:
    """A path replayed; with --worst its rank, with --against the other replay and the comparison."""

    replayed: Any
    events: list[Any]
    ranked: Any = None
    other: Any = None
    agreement: Any = None


def _replay(asked: _Asked, model: Any, how: dict[str, Any]) -> list[_Found]:
    from ...kernels.backends.base import BackendError
    from ..replay import extremes, replayer, write_table
    from ..result import Result
    from ..story import story

    ranked: list[Any] = []
    if asked.worst is not None and asked.metric is not None:
        ranked = extremes(model, asked.metric, asked.worst, asked.least)
    numbers = [r.path for r in ranked] or [asked.path]
    try:
        made = replayer(model, **how)
    except BackendError as error:
        if isinstance(model, Result) and how["backend"] is None:
            raise BackendError(
                f"{error}\nthe run used it; --backend native or numpy replays it here"
            ) from None
        raise
    other = None
    if asked.against is not None:
        backend, _, dtype = asked.against.partition(":")
        same = {"backend": backend, "dtype": dtype or made.recorder.dtype}
        other = replayer(model, **(how | same))
    found = []
    for i, number in enumerate(numbers):
        replayed = made.path(number)
        one = _Found(replayed, story(replayed), ranked[i] if ranked else None)
        if other is not None:
            one.other = other.path(number)
            one.agreement = replayed.against(one.other)
        found.append(one)
    if asked.out is not None:
        write_table([f.replayed for f in found], asked.out)
    return found


def _print(asked: _Asked, results: list[_Found]) -> None:
    from ..replay_tables import print_agreement, print_ranks, print_shown, print_story

    first = results[0]
    if first.ranked is not None:
        side = "least" if asked.least else "most"
        print_ranks(
            [r.ranked for r in results],
            [r.replayed for r in results],
            first.replayed.units[first.ranked.metric],
            f"{asked.source}: the paths with {side} {first.ranked.metric}",
        )
    for i, r in enumerate(results):
        if i:
            click.echo()
        if r.agreement is not None:
            print_agreement(r.replayed, r.other, r.agreement)
        elif asked.show:
            print_shown(r.replayed, asked.show)
        else:
            print_story(r.replayed, r.events)
    if asked.out is not None:
        click.echo(f"written to {asked.out}")


def _as_json(found: _Found, show: tuple[str, ...]) -> dict[str, Any]:
    from ..replay import plain

    r = found.replayed
    made: dict[str, Any] = r.as_json()
    if found.ranked is not None:
        made["ranked"] = asdict(found.ranked)
    made["story"] = [
        asdict(e) | {"date": r.date(e.month), "value": plain(e.value)} for e in found.events
    ]
    if show:
        made["months_from_0"] = {k: [plain(x) for x in v] for k, v in r.shown(show).items()}
    if found.agreement is not None:
        a = found.agreement
        made["against"] = {
            "backend": found.other.backend,
            "dtype": found.other.dtype,
            "tolerance": a.tolerance,
            "agree": a.holds,
            "beyond": a.beyond,
            "parted": [_difference(d) for d in a.parted],
            "largest": _difference(a.largest) if a.largest is not None else None,
        }
    return made


def _difference(d: Any) -> dict[str, Any]:
    from ..replay import plain

    return {**asdict(d), **{k: plain(getattr(d, k)) for k in ("a", "b", "scaled")}}
