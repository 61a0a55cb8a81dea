"""The command line: the commands in the order in which a newcomer needs them. No arithmetic here."""

from __future__ import annotations

import os

import click

from . import __version__
from .engine.commands import (
    attribution,
    check,
    claims,
    compare,
    explain,
    replay,
    run,
    runs,
    schema,
    sensitivity,
    verify,
)


class _Commands(click.Group):
    """Commands in the order in which they were added, not by letter."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> object:
        """Memory may end anywhere, in an import too: that is one line, not a traceback."""
        try:
            return super().invoke(ctx)
        except MemoryError:
            click.echo(
                "error: out of memory; it needs a few hundred MiB, however many the paths", err=True
            )
        except ImportError as error:
            if "failed to map segment" not in str(error):
                raise
            click.echo(f"error: out of memory: a library cannot be loaded ({error})", err=True)
        raise SystemExit(1)


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


for _command in (
    run.run,
    runs.runs,
    runs.show,
    runs.merge,
    claims.claims,
    replay.replay,
    verify.verify,
    compare.compare,
    sensitivity.sensitivity,
    attribution.attribution,
    explain.explain,
    check.sanity,
    check.check,
    schema.schema,
    explain.backends,
):
    main.add_command(_command)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
