"""Groups of random streams that can be drawn again while all others stay as they are.

Every draw is a stream with a name, ``system.draw``. A group's streams take a salt: an integer input of the
program, 0 for the draws of the plain run. So one kernel serves every group, and other groups' draws do not move.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path
from typing import Any

from ..kernels.philox import Draws, stream_id
from ..kernels.trace import trace
from .system import Economy
from .validate import ConfigError, near, shown

OTHER = "other"
"""The group of the streams that are in no other."""

# group, its streams as globs, what they decide
GROUPS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("market shocks", ("shocks.*",), "correlated monthly news of demand, prices, rates, spreads"),
    ("revenue regime", ("revenue.start", "revenue.regime"), "growth, stall or fall; renewals"),
    ("company shares", ("revenue.news",), "which company sells it"),
    ("rental prices", ("rental.own",), "what moves one generation's price alone"),
    ("price wars", ("rental.war",), "when one breaks out, and how deep it cuts"),
    ("chip releases", ("rental.release",), "how late each generation comes"),
    ("funding", ("funding.*",), "spread jumps, the window, the first rate cut"),
    ("firm defaults", ("firms.default", "firms.patience"), "thresholds of firms and of their lenders"),
    ("firm news", ("firms.assets",), "what moves one firm's assets alone"),
    ("GPU borrowers", ("gpu_loans.*",), "thresholds of those outside the network"),
    (
        "credit factor",
        tuple(f"private_credit.{x}" for x in ("factor", "frailty", "chi_square")),
        "what all borrowers share: factor, opacity, frailty",
    ),
    ("loan defaults", ("private_credit.*",), "which loans of the book default, and when"),
    ("ABS pools", ("structured.*",), "which loans of the pools default"),
    ("stress events", ("stress.*",), "whether an event happens"),
    ("macro", ("macro.*",), "growth outside AI, jobs displaced"),
    ("learning", ("cycle.*",), "how fast costs fall after a bust"),
)  # fmt: skip


@dataclass(frozen=True)
class Group:
    """Streams that are drawn again together; ``meaning`` says what they decide, where that is known."""

    name: str
    streams: tuple[str, ...]
    meaning: str = ""


def streams_of(economy: Economy) -> tuple[str, ...]:
    """Every stream that the economy draws. Raises TraceError where it cannot be traced."""
    return tuple(name for name, _ in trace(economy, float64=False).streams)


# ---- groups
def usual_groups(streams: Iterable[str]) -> list[Group]:
    """The groups of the table ``GROUPS`` that have a stream here; a stream is in the first that fits."""
    left = list(streams)
    found = []
    for name, globs, meaning in GROUPS:
        inside = tuple(s for s in left if any(fnmatchcase(s, g) for g in globs))
        left = [s for s in left if s not in inside]
        if inside:
            found.append(Group(name, inside, meaning))
    return found + ([Group(OTHER, tuple(left))] if left else [])


def groups_by(wanted: Mapping[str, Sequence[str]], streams: Sequence[str]) -> list[Group]:
    """Groups by the globs that a user gives; what no glob matches is ``other``.

    Raises ConfigError for a glob that matches nothing, a stream in two groups, a name that is taken.
    """
    problems: list[str] = []
    owner: dict[str, str] = {}
    for name, globs in wanted.items():
        problems += _named(name, globs)
        for glob in globs:
            inside = [s for s in streams if fnmatchcase(s, glob)]
            if not inside:
                problems.append(f"group {name}: {shown(glob)} is no stream{near(glob, [*streams])}")
            for s in inside:
                if owner.setdefault(s, name) != name:
                    problems.append(
                        f"stream {s}: is in {owner[s]} and in {name}; should be in one group"
                    )
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    found = [Group(n, tuple(s for s in streams if owner.get(s) == n)) for n in wanted]
    left = tuple(s for s in streams if s not in owner)
    return found + ([Group(OTHER, left)] if left else [])


def _named(name: str, globs: Sequence[str]) -> list[str]:
    if not name.strip() or name == OTHER:
        return [f"group {shown(name)}: should have a name of its own, other than {OTHER}"]
    return [] if globs else [f"group {name}: has no streams; should be like {name}=rental.*"]


def parse_group(text: str) -> tuple[str, list[str]]:
    """``NAME=glob,glob``. Raises ConfigError, with what would be right."""
    name, equals, globs = text.partition("=")
    found = [g.strip() for g in globs.split(",") if g.strip()]
    if not equals or not name.strip() or not found:
        raise ConfigError(
            [f"--group {shown(text)}: should be NAME=glob,glob, like prices=rental.*"]
        )
    return name.strip(), found


def read_groups(file: str) -> dict[str, list[str]]:
    """A TOML file of lines ``NAME = ["glob", "glob"]``. Raises ConfigError where it is none."""
    import tomllib

    try:
        read = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([f"{file}: cannot be read ({error.strerror})"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{file}: is no TOML: {error}"]) from None
    problems = [
        f'{file}: {name} = {shown(value)}: should be a list of streams, like ["rental.*"]'
        for name, value in read.items()
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value)
    ]
    if problems:
        raise ConfigError(problems)
    if not read:
        raise ConfigError([f'{file}: has no groups; should have lines like prices = ["rental.*"]'])
    return read


# ---- salts
def clash(streams: Iterable[str], salt: int) -> str | None:
    """A line where a salted stream is another one of these, salted or not; None where all differ."""
    ids = {stream_id(s): s for s in streams}
    for number, name in ids.items():
        other = ids.get(number ^ salt)
        if other is not None:
            return f"salt {salt:#x} makes the stream {name} draw as {other}"
    return None


def free_salt(streams: Collection[str]) -> int:
    """The first of a fixed list of salts that sends no stream onto another; below 2^31."""
    for k in count():
        salt = zlib.crc32(f"redrawn {k}".encode()) & 0x7FFFFFFF
        if clash(streams, salt) is None:
            return salt
    raise AssertionError("unreachable")


class Redrawn(Economy):
    """An economy that reports some metrics only, and whose groups of streams have a salt each.

    All are drawn as in the plain run, until ``with_redrawn`` says which are not; that compiles nothing.
    Raises ConfigError where a stream is in two groups.
    """

    def __init__(self, economy: Economy, groups: Sequence[Group], metrics: Sequence[str]) -> None:
        self.__dict__ |= economy.__dict__
        self.metrics, self.series = tuple(metrics), ()
        self.groups = tuple(groups)
        self._salt_of = {s: _salt_name(g.name) for g in groups for s in g.streams}
        if len(self._salt_of) != sum(len(g.streams) for g in groups):
            raise ConfigError(["groups: a stream is in two of them; should be in one"])
        self.salt = free_salt(self._salt_of)
        self.ints = economy.ints | {_salt_name(g.name): 0 for g in groups}

    def with_redrawn(self, names: Collection[str]) -> Redrawn:
        """The same program, with these groups drawn anew."""
        made = copy.copy(self)
        made.ints = self.ints | {
            _salt_name(g.name): self.salt if g.name in names else 0 for g in self.groups
        }
        return made

    def draws(self, xp: Any, key: str, inputs: dict[str, Any], month: Any = None) -> Draws:
        return Draws(xp, key, month, {s: inputs[name] for s, name in self._salt_of.items()})


def _salt_name(group: str) -> str:
    return f"salt of {group}"  # no name of a system's own: those have a point
