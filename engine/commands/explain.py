"""The commands explain and backends: what there is, and what can run it."""

from __future__ import annotations

import json

import click

from .shared import (
    attempt,
    format_option,
    load_or_fail,
    set_option,
)


@click.command()
@click.argument("system", required=False)
@click.option("--scenario", default="base", show_default=True, help="Whose values to show.")
@set_option
@click.option(
    "--graph", metavar="FILE", help="Draw who reads whom: to an SVG file, or as text with -."
)
@format_option
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
    from .. import explain as said
    from .. import graph as drawn
    from .. import tables_explain as shown

    loaded = load_or_fail(scenario, overrides, also=("claims",) if system == "claims" else ())

    def work() -> None:
        if graph == "-" and style == "json":
            click.echo(json.dumps({"reads": drawn.graph_json(loaded)}, indent=2))
        elif graph == "-":
            click.echo(drawn.graph_text(loaded))
        elif graph is not None:
            with open(graph, "w", encoding="utf-8") as file:
                file.write(drawn.graph_svg(loaded))
            click.echo(json.dumps({"written": graph}) if style == "json" else f"written to {graph}")
        elif style == "json":
            found = said.overview(loaded) if system is None else said.describe(loaded, system)
            click.echo(json.dumps(found, indent=2))
        elif system is None:
            shown.print_overview(loaded)
        else:
            shown.print_system(loaded, system)

    attempt(work, where=graph)


@click.command()
@click.option(
    "--scenario", default="base", show_default=True, help="Whose kernel to look for in the cache."
)
@format_option
def backends(scenario: str, style: str) -> None:
    """What can run here, what cannot and how to get it.

    \b
    Example:
      overbuilt backends
    """
    from ..tables import backend_rows, print_backends

    loaded = load_or_fail(scenario)
    if style == "json":
        click.echo(json.dumps({"backends": backend_rows(loaded)}, indent=2))
    else:
        print_backends(loaded)
