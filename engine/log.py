"""Logs for a collector: a JSON object a line, each with its time in UTC and the process that wrote it.

start       what is run, and everything that its bytes hang on; how many paths a resumed run has already
progress    paths done, and how many are expected; every 10 seconds at most
look        how near each target of --until is
checkpoint  what is safe on disk
warning     a line, as it stands on standard error otherwise
limit       a limit of the config and whether it is breached
error       why there is no result: a line
end         how it ended: status, seconds, digest, exit code
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .validate import ConfigError

if TYPE_CHECKING:
    from .runner import Progress
    from .stop import Look

Observer = Callable[[str, dict[str, Any]], None]
"""Is told what happens as it happens: the name of the event, and its fields."""

EVERY = 10.0
"""Seconds between two events of progress."""


def silent(event: str, fields: dict[str, Any]) -> None:
    """An observer that looks away."""


def telling(progress: Progress | None, on_event: Observer) -> Progress:
    """What a run calls as paths are done: ``progress``, and the observer."""

    def told(done: int, expected: int, seconds: float) -> None:
        if progress is not None:
            progress(done, expected, seconds)
        on_event("progress", {"paths": done, "expected": expected, "seconds": round(seconds, 3)})

    return told


def seen(look: Look) -> dict[str, Any]:
    """A look of a stop rule, as an event has it."""
    return {
        "paths": look.paths,
        "held": look.held,
        "paths_needed": look.paths_needed,
        "seconds_left": look.seconds_left,
        "targets": [row.as_json() for row in look.rows],
    }


class JsonLog:
    """Writes events to a file, at its end, or to standard error where ``target`` is ``-``.

    As a context it writes the last event itself, with the exit code of what ends it. A log that cannot be written
    costs no run: that is said once on standard error, and the run goes on. Raises ConfigError where the file cannot
    be opened.
    """

    def __init__(self, target: str = "-") -> None:
        self.on_stderr = target == "-"
        self.target = target
        self.ending: dict[str, Any] = {}
        self._began = self._last = time.monotonic()
        self._lock = threading.Lock()
        self._lost = 0
        self._file = -1
        if not self.on_stderr:
            try:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
                self._file = os.open(target, flags, 0o644)
            except (OSError, ValueError) as error:  # a name with a zero byte
                why = getattr(error, "strerror", None) or error
                raise ConfigError([f"--log-json {target}: cannot be written ({why})"]) from None

    def __call__(self, event: str, fields: dict[str, Any]) -> None:
        now = time.monotonic()
        with self._lock:
            if event == "progress":
                if now - self._last < EVERY:
                    return
                self._last = now
            stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            whole = {"time": stamp, "event": event, "pid": os.getpid(), **fields}
            self._write(json.dumps(_plain(whole), allow_nan=False) + "\n")

    def _write(self, line: str) -> None:
        try:
            if self.on_stderr:
                sys.stderr.write(line)
                sys.stderr.flush()
            else:
                _write_whole(self._file, line.encode())
        except (OSError, ValueError) as error:  # ValueError: standard error was closed
            self._lost += 1
            if self._lost == 1 and not self.on_stderr:
                why = getattr(error, "strerror", None) or error
                text = f"warning: {self.target}: cannot be written ({why}); the run goes on"
                print(text, file=sys.stderr)

    def __enter__(self) -> JsonLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # a click before 8.2 closes its resources without saying why
        code = exit_code(sys.exception() if error is None else error)
        status = "failed" if code in (1, 2) else self.ending.get("status", "finished")
        lost = {"lines_lost": self._lost} if self._lost else {}
        seconds = round(time.monotonic() - self._began, 3)
        told = {**self.ending, "status": status, "seconds": seconds, "exit_code": code}
        self("end", told | lost)
        if self._file >= 0:
            os.close(self._file)


def exit_code(error: BaseException | None) -> int:
    """The code with which a process ends that such an exception ends."""
    if error is None:
        return 0
    if isinstance(error, KeyboardInterrupt):
        return 130
    code = getattr(error, "code", getattr(error, "exit_code", 1))  # SystemExit; click's own
    return code if isinstance(code, int) else 0 if code is None else 1


def _write_whole(file: int, data: bytes) -> None:
    """One call for a line, so that lines of several processes do not mix; more where the disk is slow."""
    while data:
        data = data[os.write(file, data) :]


def _plain(value: Any) -> Any:
    """A value as JSON holds it: nothing that is not finite, no types of NumPy."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
