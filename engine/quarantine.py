"""Paths with a non-finite state: how many a run bears, and which variable of which month began it.

Such a path is set aside: counted, named, and in no statistic. A loss that is not a number would otherwise hide in a
mean of a million others, or in a comparison that is false.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels.backends.base import BackendError
from ..kernels.symbol import TraceError
from .validate import ConfigError, shown

if TYPE_CHECKING:
    from .replay import Replayed
    from .scenario import Scenario
    from .statistics import Statistics
    from .system import Economy, System

NAMED = 10
"""Bad paths that are replayed for their variable; the first ones."""
ABORT, QUARANTINE = "abort", "quarantine"


@dataclass(frozen=True)
class BadPaths:
    """What is done about them: ``how`` abort, at the first block that has one, or quarantine, up to a share."""

    how: str = QUARANTINE
    most: float = 1.0

    def as_json(self) -> dict[str, Any]:
        return {"on_bad_path": self.how, "max_bad": self.most}

    def problems(self) -> list[str]:
        """A line for each of the two that is none."""
        found = []
        if self.how not in (ABORT, QUARANTINE):
            found.append(f"on_bad_path = {shown(self.how)}: should be {ABORT} or {QUARANTINE}")
        try:
            sound = 0.0 <= self.most <= 1.0
        except TypeError:
            sound = False
        if not sound:
            found.append(f"max_bad = {shown(self.most)}: should be a share from 0 to 1")
        return found

    def ends(self, bad: int, size: int) -> bool:
        """Whether a run of ``size`` paths that has found so many already need not go on: it fails in any case."""
        return bad > 0 if self.how == ABORT else bad > self.most * size

    def failure(self, statistics: Statistics) -> str:
        """Why a run fails; empty where it does not."""
        bad, paths = statistics.bad_count, statistics.paths
        if not self.ends(bad, paths):
            return ""
        if self.how == ABORT:
            path, month = next(iter(statistics.bad.items()))
            return (
                f"path {path} had a non-finite state in month {month}, and --on-bad-path is abort"
            )
        return (
            f"{bad:,} of {paths:,} paths ({share_text(bad / paths)}) had a non-finite state, more than --max-bad "
            f"{share_text(self.most)}"
        )


def parse_share(text: str) -> float:
    """``0.1%`` or ``0.001``. Raises ConfigError."""
    plain = text.strip()
    try:
        share = float(plain[:-1]) / 100.0 if plain.endswith("%") else float(plain)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise ConfigError([f"share {shown(text)}: should be from 0 to 100%, as 0.1% or 0.001"])
    return share


def share_text(share: float) -> str:
    """``0.1 %``; four figures."""
    return f"{100.0 * share:.4g} %"


# ---- which variable
def named(
    model: Scenario | Economy | System,
    run: Mapping[str, Any],
    bad: Mapping[int, int],
) -> list[dict[str, Any]]:
    """The first bad paths as {path, month, variable, since}: replayed on the backend, type and seed of the run.

    ``variable`` is the first, in the order of flow, that was not finite in month ``since``, where that of the path
    began; None where the path cannot be replayed, or is finite when replayed alone.
    """
    from .replay import replayer

    chosen = sorted(bad.items())[:NAMED]
    try:
        made = replayer(model, **run)
        found = [culprit(made.path(path), month) for path, month in chosen]
    except (BackendError, TraceError, ConfigError, MemoryError):
        found = [(None, None)] * len(chosen)  # that a run ends well does not hang on this
    return [
        {"path": path, "month": month, "variable": variable, "since": since}
        for (path, month), (variable, since) in zip(chosen, found, strict=True)
    ]


def culprit(path: Replayed, month: int) -> tuple[str | None, int | None]:
    """What became non-finite first of what made a path bad in a month, and when; (None, None) where nothing is.

    A path is bad for a state, or in the last month for a metric; arrays are only looked at in the last month, and
    may have been so for long.
    """
    wrong = {
        name: ~np.isfinite(values).reshape(path.months, -1)
        for name, values in path.values.items()
        if values.dtype.kind == "f"
    }
    watched = {*path.start, *path.metrics}
    rows = [w for name, w in wrong.items() if name in watched and w[month - 1].any()]
    if not rows:
        return None, None
    since = min(int(np.argmax(w.any(axis=1))) for w in rows)
    for name, w in wrong.items():
        if w[since].any() and not w[:since].any():
            element = f"[{int(np.argmax(w[since]))}]" if path.values[name].ndim == 2 else ""
            return name + element, since + 1
    return None, None


def line_of(found: Mapping[str, Any]) -> str:
    """``path 7 in month 9 (rental.hopper)``."""
    variable, since = found.get("variable"), found.get("since")
    text = f"path {found['path']} in month {found['month']}"
    if not variable:
        return text
    later = f", from month {since} on" if since != found["month"] else ""
    return f"{text} ({variable}{later})"
