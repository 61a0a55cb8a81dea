"""What the tables are of: which backend computes them, and how that is said in a few words."""

from __future__ import annotations

from ...kernels import backends
from ..result import Result


def backend_here(result: Result) -> str:
    """The backend of the run, so that its paths are the same; auto where it does not work on this machine."""
    return result.backend if backends.status(result.backend).works else "auto"


def said(paths: int, name: str, seed: int) -> str:
    """``16,384 paths of base, seed 0``."""
    return f"{counted(paths)} of {name}, seed {seed}"


def counted(paths: int) -> str:
    """``1 path``, ``16,384 paths``."""
    return f"{paths:,} path{'' if paths == 1 else 's'}"
