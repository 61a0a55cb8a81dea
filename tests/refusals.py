"""What the tests of bad input share: a command that must refuse, and its lines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from overbuilt import ConfigError
from overbuilt.cli import main

JARGON = (
    "input should", "extra inputs", "valid number", "valid integer", "valid string", "valid list",
    "valid dictionary", "validation", "pydantic", "nonetype", "errno", "traceback", "_type", "instance of",
)  # fmt: skip


def overbuilt(*arguments: str, env: dict[str, str | None] | None = None) -> Result:
    """The command line, in this process."""
    return CliRunner().invoke(main, list(arguments), env=env)


def refused(*arguments: str, env: dict[str, str | None] | None = None) -> list[str]:
    """The problems of a command that must refuse its input and do nothing."""
    done = overbuilt(*arguments, env=env)
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines
    for line in lines:
        assert line.startswith("error: "), line
        assert not any(word in line.lower() for word in JARGON), line
    return [line.removeprefix("error: ") for line in lines]


def checked(folder: Path, content: str | bytes, *more: str) -> list[str]:
    """The problems of a config of this content."""
    path = folder / "mine.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    before = sorted(folder.rglob("*"))
    problems = refused("check", str(path), *more)
    assert (
        refused("run", str(path), "--paths", "10", *more, "--out", str(folder / "out")) == problems
    )
    assert sorted(folder.rglob("*")) == before
    return problems


ESCAPES = "\x1b[31mred\x1b]0;title\x07\x9b2J\u202e\r\x08"
"""What a terminal would obey."""


def harmless(text: str) -> bool:
    """Whether a terminal prints it, and obeys nothing in it."""
    return all(c.isprintable() or c == "\n" for c in text)


def refusal(work: Callable[[], Any]) -> list[str]:
    """The problems of what must raise ConfigError, each a line that may be shown to anyone."""
    with pytest.raises(ConfigError) as caught:
        work()
    for line in caught.value.problems:
        assert line.isprintable(), repr(line)
        assert len(line) <= 4000
    return caught.value.problems
