"""The command plot."""

from __future__ import annotations

import json
from typing import Any

import click

from ..charts.kinds import KINDS
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
    seed_option,
    set_option,
    wanted_values,
)


class _Kinds(click.Command):
    """Its help lists the kinds, an example each."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Kinds, each with an example of what follows 'overbuilt plot base'"):
            rows = [(n, k.answers, k.example) for n, k in KINDS.items()]
            formatter.write_dl(
                [row for n, answers, example in rows for row in ((n, answers), ("", example))]
            )


@click.command(cls=_Kinds)
@click.argument("run")
@click.argument("kind")
@click.argument("variables", nargs=-1, metavar="[VARIABLE]...")
@click.option(
    "-o", "--out", "outs", multiple=True, required=True, metavar="FILE",
    help="Write it there: .png, .svg, .html (opens offline), .csv (its data) or .json (Vega-Lite); may be repeated.",
)  # fmt: skip
@click.option(
    "--against", multiple=True, metavar="RUN", help="Draw this one beside it; may be repeated."
)
@click.option("--log", is_flag=True, help="Make the axis logarithmic.")
@click.option(
    "--width", default=720, show_default=True, metavar="PIXELS", help="Of the picture, 320 to 2400."
)
@paths_option
@seed_option
@backend_option
@dtype_option
@months_option
@set_option
@event_option
@format_option
def plot(
    run: str,
    kind: str,
    variables: tuple[str, ...],
    outs: tuple[str, ...],
    against: tuple[str, ...],
    log: bool,
    width: int,
    style: str,
    **options: Any,
) -> None:
    """Draw a chart of a run: PNG, SVG, a page, or its data.

    RUN is the folder of a finished run, or a scenario, which is then simulated; --paths, --seed, --backend, --dtype,
    --months, --set and --event are for scenarios. From claims on, kinds are computed when they are asked for.

    \b
    Examples:
      overbuilt plot runs/base fan rental.hopper -o h100.png
      overbuilt plot base revenue --against linear -o revenue.svg
      overbuilt plot runs/base loss private_credit.loss -o loss.png -o loss.csv
    """
    from ..charts.figure import check_target
    from ..charts.kinds import draw, problems_of
    from ..validate import ConfigError
    from .sides import load_sides

    problems: list[str] = []
    if kind not in KINDS:
        problems += problems_of(kind, variables, 0, False)
    for out in outs:
        try:
            check_target(out)
        except ConfigError as error:
            problems += [f"-o {p}" for p in error.problems]
    if not 320 <= width <= 2400:
        problems.append(f"--width {width}: should be 320 to 2400")
    wanted = wanted_values(options["overrides"], options["events"], problems)
    sides = load_sides((run, *against), options, wanted, problems)
    if kind in KINDS:
        known = [_names(s, KINDS[kind].of) for s in sides if s is not None]
        problems += problems_of(kind, variables, len(against), log, known)
    if problems:
        fail(list(dict.fromkeys(problems)), BAD_INPUT)

    def work() -> Any:
        results = [_simulated(side) if isinstance(side, dict) else side for side in sides]
        made = draw(kind, results[0], variables, results[1:], log)
        for out in outs:
            made.save(out, width)
        return made

    figure = attempt(work)
    if style == "json":
        told = {k: getattr(figure, k) for k in ("name", "title", "caption", "source")}
        click.echo(json.dumps({**told, "files": list(outs)}, indent=2))
        return
    click.echo(f"{figure.title}\n{figure.caption}\nSource: {figure.source}")
    click.echo(f"written to {', '.join(outs)}", err=True)


def _names(side: Any, of: str) -> list[str]:
    """What a run, or a scenario that is yet to be run, reports by month or after the last one."""
    if isinstance(side, dict):
        economy = side["model"].economy
        return list(economy.series if of == "series" else economy.metrics)
    return list(side.series_names if of == "series" else side.statistics.names)


def _simulated(side: dict[str, Any]) -> Any:
    from ..simulate import simulate

    with Progress(True, f"simulating {side['model'].name}") as progress:
        return simulate(
            side["model"], side["paths"], side["seed"], side["backend"], side["dtype"],
            months=side["months"], progress=progress,
        )  # fmt: skip
