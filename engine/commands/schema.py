"""The command schema."""

from __future__ import annotations

import json

import click

from .shared import attempt, format_option


@click.command()
@click.option("--out", metavar="FILE", help="Write it there.  [default: print it]")
@format_option
def schema(out: str | None, style: str) -> None:
    """The JSON Schema of a config, for editors: what may stand where, with units, bounds and sources.

    An editor with the Taplo language server (VS Code: Even Better TOML) takes the schema that the first line of a
    config names: #:schema ./overbuilt.schema.json

    \b
    Examples:
      overbuilt schema --out overbuilt.schema.json
    """
    from pathlib import Path

    from ..run_store import write_whole
    from ..schema import config_schema

    text = json.dumps(config_schema(), indent=2, allow_nan=False) + "\n"
    if out is None:
        click.echo(text, nl=False)
        return
    attempt(
        lambda: write_whole(Path(out), lambda p: Path(p).write_text(text, encoding="utf-8")),
        where=out,
    )
    click.echo(json.dumps({"written": out}) if style == "json" else f"written to {out}")
