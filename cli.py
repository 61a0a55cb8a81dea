"""The command line: the commands in the order in which a newcomer needs them. No arithmetic here."""

from __future__ import annotations

import atexit
import gc
import os
from typing import Any

import click

from . import __version__, _began
from .engine import process
from .engine.commands import (
    attribution,
    check,
    claims,
    compare,
    explain,
    plot,
    replay,
    report,
    run,
    runs,
    schema,
    sensitivity,
    verify,
)

# Nothing here multiplies matrices. With a thread for each core OpenBLAS takes tens of MiB each, and where a cap on
# memory refuses them it tries for ever.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


class _Commands(click.Group):
    """Commands in the order in which they were added, not by letter."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The command line itself, as its script calls it; other code that runs a command has ``main``."""
        process.began = _began
        gc.set_threshold(100_000)  # most objects of a command live as long as it does
        atexit.register(gc.freeze)  # nor is there a use in a last search for cycles
        return super().__call__(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> object:
        """Memory may end anywhere, and so may the user's patience, in an import too: that is one line, not a traceback."""
        try:
            _check_cap()
            return super().invoke(ctx)
        except MemoryError:
            click.echo(
                "error: out of memory; what a scenario needs does not grow with its paths: raise the cap",
                err=True,
            )
        except ImportError as error:
            if "failed to map segment" not in str(error):
                raise
            click.echo(f"error: out of memory: a library cannot be loaded ({error})", err=True)
        except KeyboardInterrupt:
            click.echo("error: interrupted", err=True)
            raise SystemExit(130) from None
        raise SystemExit(1)


LEAST = 768 << 20
"""Bytes of address space that a command needs: most of it are libraries."""


def _check_cap() -> None:
    """Refuse a cap on memory (``ulimit -v``) under which a library would hang, not fail."""
    try:
        from resource import RLIM_INFINITY, RLIMIT_AS, getrlimit
    except ImportError:  # not on this system
        return
    cap = getrlimit(RLIMIT_AS)[0]
    if cap == RLIM_INFINITY:
        return
    if cap < LEAST:
        click.echo(
            f"error: memory is capped at {cap >> 20} MiB (ulimit -v); it should be {LEAST >> 20} MiB at least",
            err=True,
        )
        raise SystemExit(1)
    import scipy.special  # noqa: F401 (while there is room: see above)


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
    report.report,
    plot.plot,
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
    # click keeps the help options of a command's first context, which need not be the group's
    _command.context_settings.setdefault("help_option_names", ["-h", "--help"])
    main.add_command(_command)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
