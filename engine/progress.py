"""Live progress for the terminal: a bar, and below it what is known so far."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .live import Row, Running

REFRESH = 3.0
"""Times a second that the display is painted."""
WINDOW = 30.0
"""Seconds that the rate is an average of."""
PLAIN = 10.0
"""Seconds between lines on a terminal that cannot move its cursor."""
LABEL, UNIT, LINE = 31, 12, 21
"""Characters at most, of a quantity's name, of its unit, of the line that is its interval."""


class Progress:
    """A bar on standard error, with the rate and the time left; below it what ``running`` estimates.

    Silent where standard error is no terminal. A terminal that cannot move its cursor (``TERM=dumb``) gets a line
    every PLAIN seconds. The display is erased when it ends.
    """

    def __init__(
        self,
        wanted: bool,
        doing: str = "simulating",
        what: str = "paths",
        running: Running | None = None,
    ) -> None:
        self.shown = wanted and sys.stderr.isatty()
        self.dumb = os.environ.get("TERM", "").lower() in ("", "dumb", "unknown")
        self.doing, self.what, self.running = doing, what, running
        self.said = ""
        self.before = 0
        """Paths that were done before this process took the run up."""
        self.done, self.total = 0, 0
        self._began = self._line_at = time.monotonic()
        self._seen: deque[tuple[float, int]] = deque()
        self._told_at = self._began
        self._live: Any = None

    def __enter__(self) -> Progress:
        if self.shown and not self.dumb:
            from rich.live import Live

            from .tables import console

            self._live = Live(
                console=console(stderr=True),
                get_renderable=self._painted,
                refresh_per_second=REFRESH,
                transient=True,
                redirect_stdout=sys.stdout.isatty(),  # else what is printed meanwhile would not reach its pipe
            )
            self._live.start(refresh=True)
        return self

    def __call__(self, done: int, total: int, seconds: float) -> None:
        """So much is done after so many seconds; 0 seconds where there is no rate."""
        if not self.shown:
            return
        self.done, self.total = done, total
        if seconds:
            if not self._seen:
                self._seen.append((0.0, self.before))
            self._seen.append((seconds, done))
            while len(self._seen) > 2 and self._seen[-1][0] - self._seen[1][0] > WINDOW:
                self._seen.popleft()
        self._told_at = now = time.monotonic()
        if self._live is None and now - self._line_at >= PLAIN:
            self._line_at = now
            print(f"{self.doing}: {', '.join(p for p in self._figures(100) if p)}", file=sys.stderr)

    def say(self, text: str) -> None:
        """A line below the bar: how near a target is."""
        self.said = text

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    # ---- painting
    def _rate(self) -> float:
        """Of what is done a second, of late; 0 where that is not known yet."""
        if not self._seen:
            return 0.0
        (t0, d0), (t1, d1) = self._seen[0], self._seen[-1]
        return (d1 - d0) / (t1 - t0) if t1 > t0 else 0.0

    def _figures(self, width: int) -> tuple[str, str, str]:
        """How much is done, how fast, how long it will take."""
        from .stop_table import count, duration

        short = width < 72 or self.total >= 10**8
        numbers = [count(n) if short else f"{n:,}" for n in (self.done, self.total)]
        rate = self._rate()
        speed = f"{count(int(rate)) if short else f'{rate:,.0f}'} a second" if rate >= 1.0 else ""
        left = ""
        if rate and self.total:  # it goes on between two reports
            seconds = (self.total - self.done) / rate - (time.monotonic() - self._told_at)
            left = f"{duration(max(seconds, 0.0))} left"
        return f"{numbers[0]} of {numbers[1]} {self.what}", speed, left

    def _painted(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        console = self._live.console if self._live is not None else None
        width = min(console.width, 100) - 1 if console is not None else 79
        plain = console is not None and not console.encoding.lower().startswith("utf")
        lines = [self._bar(width, plain)]
        if self.said:
            lines.append(Text(self.said, "dim"))
        rows = self.running.rows if self.running is not None else []
        if rows and self.running is not None:
            note = f"so far, with 95 % intervals, of {self.running.paths:,} {self.what}"
            lines.append(Text(note, "dim"))
            lines += _rows(rows, width, plain)
        for line in lines:
            line.truncate(width, overflow="ellipsis" if not plain else "crop")
        return Group(*lines)

    def _bar(self, width: int, plain: bool) -> Any:
        from rich.text import Text

        if not self.total:
            waited = int(time.monotonic() - self._began)
            return Text(f"{self.doing}: getting ready, {waited} s")
        figures = "  ".join(p for p in self._figures(width) if p)
        text = Text(f"{self.doing} ")
        cells = min(width - len(self.doing) - len(figures) - 3, 40)
        if cells >= 4:
            full = min(cells * self.done // self.total, cells)
            mark, rest = ("#", "-") if plain else ("━", "─")
            text.append(mark * full, "green" if full == cells else "cyan")
            text.append(rest * (cells - full) + "  ", "dim")
        return text.append(figures)


def _rows(rows: list[Row], width: int, plain: bool) -> list[Any]:
    """By quantity: its value, the ends of its interval, the unit, and the interval as a line that shrinks.

    Where it is narrow the line is left out, then the unit.
    """
    from rich.text import Text

    from .live import digits, interval

    cells = [(r.label[:LABEL], *digits(r.estimate), r.unit[:UNIT]) for r in rows]
    name, value, ends, unit = (max(map(len, column)) for column in zip(*cells, strict=True))
    room = width - (2 + name + 2 + value + 2 + ends)
    line = min(room - 4 - unit, LINE)
    line -= 1 - line % 2  # the value of the first estimate in the middle
    found = []
    for r, cell in zip(rows, cells, strict=True):
        text = Text(f"  {cell[0]:<{name}}  ")
        text.append(f"{cell[1]:>{value}}", "bold").append(f"  {cell[2]:<{ends}}")
        if room >= unit + 2:
            text.append(f"  {cell[3]:<{unit}}", "dim")
        if line >= 5:
            text.append("  ").append(interval(r, line, plain), "cyan")
        found.append(text)
    return found
