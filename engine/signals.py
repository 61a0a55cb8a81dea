"""Signals that end a run: the first lets it finish its block and save, the second ends it at once."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM)
ONE = 0.5
"""Seconds within which two are one: timeout(1) signals its child, and then its whole group."""


class Signals:
    """While it lasts, SIGINT and SIGTERM are noted; called, it gives the name of the one that came, or ''."""

    def __init__(self) -> None:
        self.came: signal.Signals | None = None
        self._when = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        for number in ENDING:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def __call__(self) -> str:
        return "" if self.came is None else self.came.name

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that this signal ended: 130, 143."""
        return 0 if self.came is None else 128 + int(self.came)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.came is None:
            self.came, self._when = signal.Signals(number), now
        elif (
            now - self._when > ONE
        ):  # every file appears whole or not at all, so it may end anywhere
            os._exit(128 + number)
