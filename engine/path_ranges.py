"""Ranges of path numbers, FIRST..LAST, both ends included: whole blocks, so that parts of a run can be merged."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from .statistics import BLOCK
from .validate import ConfigError, shown

Range = tuple[int, int]

_RANGE = re.compile(r"\s*(\d{1,15})\s*\.\.\s*(\d{1,15})\s*")


def parse_range(text: str) -> Range:
    """``65536..131071``. Raises ConfigError."""
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ConfigError([f"range {shown(text)}: should be FIRST..LAST, as 0..{BLOCK - 1}"])
    return int(found[1]), int(found[2])


def check_range(wanted: Any, paths: int, until: Collection[str] = ()) -> list[str]:
    """A line where this is no range of whole blocks of a run of so many paths; None is all of them."""
    if wanted is None:
        return []
    if until:
        return [
            "range: does not go with until, which finds the number of paths; should be one or the other"
        ]
    try:
        first, last = wanted
        whole = all(isinstance(x, int) and not isinstance(x, bool) for x in (first, last))
    except (TypeError, ValueError):
        whole = False
    if not whole or not 0 <= first <= last:
        return [f"range = {shown(wanted)}: should be two path numbers, the first and the last"]
    if last >= paths:
        return [f"range {first}..{last}: should end at {paths - 1}, the last of {paths:,} paths"]
    if first % BLOCK or ((last + 1) % BLOCK and last + 1 != paths):
        near = "{}..{}".format(*_nearest(first, last, paths))
        return [
            f"range {first}..{last}: should begin and end with a block of {BLOCK:,} paths; the nearest is {near}"
        ]
    return []


def _nearest(first: int, last: int, paths: int) -> Range:
    """Whole blocks that begin and end closest to a range, at least one."""
    begin = min(round(first / BLOCK), (paths - 1) // BLOCK) * BLOCK
    end = max(round((last + 1) / BLOCK) * BLOCK, begin + BLOCK)
    # the last block of a run may be short, so its end may be closer than a multiple
    closer = paths - (last + 1) <= abs(end - (last + 1))
    return begin, (paths if closer else min(end, paths)) - 1


def ranges_of(blocks: Iterable[int], paths: int) -> list[Range]:
    """The paths of these blocks of a run of so many paths, adjacent blocks as one."""
    found: list[Range] = []
    for block in sorted(blocks):
        first, last = block * BLOCK, min((block + 1) * BLOCK, paths) - 1
        if found and found[-1][1] + 1 == first:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found


def gaps_of(blocks: Collection[int], paths: int) -> list[Range]:
    """The paths of a run of so many that are in none of these blocks."""
    found: list[Range] = []
    free = 0
    for first, last in [*ranges_of(blocks, paths), (paths, paths)]:
        if free < first:
            found.append((free, first - 1))
        free = last + 1
    return found


def told(ranges: Iterable[Range]) -> str:
    """As the command line takes them: ``0..65535, 131072..196607``."""
    return ", ".join(f"{first}..{last}" for first, last in ranges)
