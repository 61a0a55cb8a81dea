"""A progress bar for the terminal."""

from __future__ import annotations

import sys
from typing import Any


class Progress:
    """A progress bar on standard error: paths per second and time left. Silent when not a terminal."""

    def __init__(self, wanted: bool, doing: str = "simulating", what: str = "paths") -> None:
        self.shown = wanted and sys.stderr.isatty()
        self.doing, self.what = doing, what
        self.bar: Any = None
        self.task: Any = None

    def __enter__(self) -> Progress:
        if self.shown:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self.bar = Bar(
                TextColumn(self.doing),
                BarColumn(),
                TextColumn("{task.completed:,.0f} of {task.total:,.0f} " + self.what),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[said]}", markup=False),
                console=Console(stderr=True),
                transient=True,
            )
            self.bar.start()
        return self

    def __call__(self, done: int, total: int, seconds: float) -> None:
        if self.bar is None:
            return
        rate = f"{done / seconds:,.0f} a second" if seconds else ""
        if self.task is None:
            self.task = self.bar.add_task("simulate", total=total, rate=rate, said="")
        self.bar.update(self.task, completed=done, total=total, rate=rate)

    def say(self, text: str) -> None:
        """A few words after the bar: how near a target is."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, said=text)

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.stop()
