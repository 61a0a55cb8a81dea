"""A terminal for the tests: a process on a pseudo-terminal of a size, and the screen that it would paint."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import overbuilt

ROOT = Path(overbuilt.__file__).parent.parent
PROGRAM = "from overbuilt.cli import main; main(prog_name='overbuilt')"
ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[()][A-Z0-9]|.)")
COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?(?:3[0-9]|4[0-9]|9[0-7]|10[0-7])(?:;[0-9;]*)?m")
MOVES = re.compile(r"\x1b\[[0-9;]*[A-HJKSTf]|\x1b\[\?25[lh]")
"""Escape codes that move the cursor, hide it, or erase."""
OURS = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "PYTHONIOENCODING")


@dataclass(frozen=True)
class Shown:
    """What a process wrote to its terminal, and to the pipe where only standard error was the terminal."""

    raw: str
    out: str
    code: int
    columns: int

    @property
    def lines(self) -> list[str]:
        """What was written line by line, without escape codes; what was painted over included."""
        return re.split(r"\r?\n|\r", ESCAPE.sub("", self.raw))

    def screens(self, height: int = 400) -> list[list[str]]:
        """The screen after each write that ended a line or moved the cursor up, as pyte paints it."""
        pyte: Any = pytest.importorskip("pyte")
        screen = pyte.Screen(self.columns, height)
        stream = pyte.Stream(screen)
        seen: list[list[str]] = []
        for part in re.split(r"(?=\x1b\[1A|\r)", self.raw):
            seen.append([line.rstrip() for line in screen.display if line.strip()])
            stream.feed(part)
        return [*seen, self._end(screen)]

    def screen(self, height: int = 400) -> list[str]:
        """The screen at the end."""
        pyte: Any = pytest.importorskip("pyte")
        screen = pyte.Screen(self.columns, height)
        pyte.Stream(screen).feed(self.raw)
        return self._end(screen)

    @staticmethod
    def _end(screen: Any) -> list[str]:
        return [line.rstrip() for line in screen.display if line.strip()]


def environment(**changes: str) -> dict[str, str]:
    """The environment of a fresh process, which finds the package where this one did."""
    kept = {k: v for k, v in os.environ.items() if k not in OURS}
    path = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH", "")]))
    return {**kept, "PYTHONPATH": path, "TERM": "xterm-256color", **changes}


def on_terminal(
    *arguments: str, columns: int = 80, rows: int = 50, stdout: bool = True, **changes: str
) -> Shown:
    """The command line on a terminal: both streams, or standard error alone."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    running = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=theirs if stdout else subprocess.PIPE,
        stderr=theirs,
        env=environment(**changes),
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux says so when the other side has closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    out = running.stdout.read().decode() if running.stdout else ""
    if running.stdout:
        running.stdout.close()
    return Shown(shown.decode(errors="replace"), out, running.wait(), columns)
