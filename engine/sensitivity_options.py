"""What the command sensitivity is given, as text: shares, and ranges of parameters."""

from __future__ import annotations

import math

from .sobol import DESIGN, RANGE, Span
from .validate import ConfigError, near, shown

__all__ = ["DESIGN", "parse_range", "parse_share", "share_of", "spans_of"]


def parse_share(text: str, what: str) -> float:
    """``1%`` or ``0.01``. Raises ConfigError where it is neither."""
    plain = text.strip()
    try:
        value = float(plain.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError([f"{what} {shown(text)}: should be a share, as 1% or 0.01"])
    return value / 100.0 if plain.endswith("%") else value


def parse_range(text: str) -> tuple[str, tuple[float, float]]:
    """``NAME=LOW..HIGH``. Raises ConfigError where it is not that."""
    name, _, ends = text.partition("=")
    low, dots, high = ends.partition("..")
    try:
        found = (float(low), float(high)) if dots else (math.nan, math.nan)
    except ValueError:
        found = (math.nan, math.nan)
    if not name.strip() or not all(map(math.isfinite, found)):
        raise ConfigError(
            [f"--range {shown(text)}: should be NAME=LOW..HIGH, as rental.decline=0.1..0.2"]
        )
    return name.strip(), found


def share_of(text: str, what: str, problems: list[str]) -> float:
    """As ``parse_share``, adding to ``problems`` instead of raising."""
    try:
        return parse_share(text, what)
    except ConfigError as error:
        problems += error.problems
        return math.nan


def spans_of(
    sobol: str | None, ranges: tuple[str, ...], design: int | None, problems: list[str]
) -> dict[str, Span] | None:
    """The parameters of --sobol with their ranges; None where bumps are asked for."""
    if sobol is None:
        problems += [f"--range {shown(text)}: goes with --sobol" for text in ranges]
        if design is not None:
            problems.append(f"--design {design}: goes with --sobol")
        return None
    names = [name.strip() for name in sobol.split(",") if name.strip()]
    problems += [
        f"--sobol: {shown(n)} stands {names.count(n)} times; once is enough"
        for n in dict.fromkeys(names)
        if names.count(n) > 1
    ]
    common = [text for text in ranges if "=" not in text]
    if len(common) > 1:
        problems.append(f"--range: {' and '.join(common)} are for all; should be one of them")
    share = share_of(common[-1], "--range", problems) if common else RANGE
    spans: dict[str, Span] = dict.fromkeys(names, share)
    for text in ranges:
        if "=" not in text:
            continue
        try:
            name, span = parse_range(text)
        except ConfigError as error:
            problems += error.problems
            continue
        if name in spans:
            spans[name] = span
        else:
            problems.append(f"--range {shown(name)}: is not among --sobol{near(name, names)}")
    return spans
