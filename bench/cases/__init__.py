"""The cases of the suite, in the order in which they run: a module each.

A case has ``TITLE``, ``COLUMNS`` (see table) and ``run(quick, say) -> Found``. Importing one loads no library
but the standard one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

CASES = ("rng", "trio", "base", "loans", "scaling", "start", "statistics", "profile", "report")


@dataclass
class Found:
    """What a case found: rows, a line for each contender that was skipped, and what else to say."""

    rows: list[dict[str, Any]]
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
