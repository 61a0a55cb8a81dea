"""The systems as a picture: down the diagonal, and what one reads of another where row and column meet."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from html import escape

from .explain import Model, Traffic, observe, row_names, short_names
from .simulate import as_economy
from .system import Economy
from .tables import WIDTH

_NOW, _FED = "#27598c", "#b0531a"  # in grey they are told apart by the dashes
_BOX, _INK, _SOFT = "#e6eef7", "#1b2733", "#5c6873"
_SHOWN = 3  # variables that a label names at most
_WIDTHS = (("fijlrtI.,:;'|!() ", 0.34), ("mwMW@%", 0.9), ("ABCDEFGHKLNOPQRSTUVXYZ", 0.7))
_LEFT, _BOLD = ' text-anchor="start"', ' font-weight="bold"'
_HOW = (
    "A month runs from the top left to the bottom right. A system writes along its row and reads along its "
    "column; lines that cross without a label do not meet."
)
_STYLE = "font-family:Helvetica,Arial,'Liberation Sans',sans-serif"


def graph_svg(model: Model) -> str:
    """The systems as an SVG picture, light, and wide rather than high.

    Boxes stand on the diagonal in the order of flow. What a system writes leaves along its row, to the
    right for systems that run later this month and, dashed, to the left for those that read it next month;
    what a system reads comes along its column. A label where the two meet names the variables.
    """
    economy = as_economy(model)
    return _Picture(economy, observe(economy)).svg()


class _Picture:
    """Places first, then text: columns as wide and rows as high as what stands in them."""

    def __init__(self, economy: Economy, traffic: dict[str, Traffic]) -> None:
        self.economy, self.keys = economy, list(economy.systems)
        self.cells: dict[tuple[int, int], list[str]] = {}  # (writer, reader)
        self.lines: dict[tuple[int, int], list[str]] = {}  # what its label shows
        for reader, t in enumerate(traffic.values()):
            for writer, names in {**t.above, **t.below}.items():
                at = self.keys.index(writer), reader
                self.cells[at] = names
                self.lines[at] = _lines(short_names(names, row_names(economy, writer)))
        self.titles = [_wrap(s.title, 20, 3) for s in economy.systems.values()]
        self.box = list(map(_box, self.keys, self.titles))
        self.label = {at: _size(lines, 14, 7) for at, lines in self.lines.items()}
        wide = self._spans(0, 1, 16)
        high = self._spans(1, 0, 14)
        self.x = [24 + sum(wide[:i]) + w / 2 for i, w in enumerate(wide)]
        self.y = [92 + sum(high[:i]) + h / 2 for i, h in enumerate(high)]
        self.width, self.height = 48 + max(sum(wide), _room(_HOW, 11)), 104 + sum(high)

    def _spans(self, side: int, along: int, gap: float) -> list[float]:
        """How wide each column is (side 0, along 1), or how high each row (1, 0)."""
        spans = [size[side] for size in self.box]
        for at, size in self.label.items():
            spans[at[along]] = max(spans[at[along]], size[side])
        return [span + gap for span in spans]

    def svg(self) -> str:
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:.0f} {self.height:.0f}" '
            f'width="{self.width:.0f}" height="{self.height:.0f}" style="{_STYLE}">',
            '<rect width="100%" height="100%" fill="white"/>',
            *self._head(),
            *(line for i in range(len(self.keys)) for line in self._wires(i)),
            *(line for at in self.cells for line in self._label(at)),
            *(line for i in range(len(self.keys)) for line in self._system(i)),
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    def _head(self) -> list[str]:
        name = self.economy.name
        return [
            _text(24, 34, f"{name}: what each system reads", 19, _INK, _LEFT + _BOLD),
            _text(24, 53, _HOW, 11, _SOFT, _LEFT),
            _line([(24, 72), (58, 72)], _NOW) + _tip(58, 72, _NOW, 0),
            _text(68, 76, "written this month, read further down", 11, _INK, _LEFT),
            _line([(310, 72), (344, 72)], _FED, dashed=True) + _tip(344, 72, _FED, 0),
            _text(354, 76, "fed back: the state of last month, read further up", 11, _INK, _LEFT),
        ]

    def _wires(self, i: int) -> Iterator[str]:
        """The row that system i writes along and the column that it reads along, on either side of its box."""
        x, y, (w, h) = self.x[i], self.y[i], self.box[i]
        readers = [j for a, j in self.cells if a == i]
        writers = [a for a, j in self.cells if j == i]
        if any(j > i for j in readers):
            yield _line([(x + w / 2, y), (self.x[max(readers)], y)], _NOW)
        if any(j < i for j in readers):
            yield _line([(x - w / 2, y), (self.x[min(readers)], y)], _FED, dashed=True)
        if any(a < i for a in writers):
            yield _line([(x, self.y[min(writers)]), (x, y - h / 2 - 6)], _NOW)
            yield _tip(x, y - h / 2, _NOW, 90)
        if any(a > i for a in writers):
            yield _line([(x, self.y[max(writers)]), (x, y + h / 2 + 6)], _FED, dashed=True)
            yield _tip(x, y + h / 2, _FED, -90)

    def _label(self, at: tuple[int, int]) -> Iterator[str]:
        (writer, reader), names = at, self.cells[at]
        (w, h), x, y = self.label[at], self.x[reader], self.y[writer]
        now = reader > writer
        colour, fill = (_NOW, "#f5f9fd") if now else (_FED, "#fdf6f0")
        when = "of this month" if now else "of last month"
        hint = f"{self.keys[reader]} reads {self.keys[writer]}, {when}: {', '.join(names)}"
        yield f"<g><title>{_safe(hint)}</title>"
        dash = "" if now else ' stroke-dasharray="4 2"'
        look = f'fill="{fill}" stroke="{colour}" stroke-width="0.8"{dash}'
        yield _rect((x, y), (w, h), h / 2 if h < 20 else 8, look)
        lines = self.lines[at]
        for k, line in enumerate(lines):
            yield _text(x, y + 3.3 + 11 * (k - (len(lines) - 1) / 2), line, 9.5, colour)
        yield "</g>"

    def _system(self, i: int) -> Iterator[str]:
        x, y, (w, h) = self.x[i], self.y[i], self.box[i]
        yield _rect((x, y), (w, h), 5, f'fill="{_BOX}" stroke="{_NOW}" stroke-width="1.4"')
        top = y - h / 2 + 17
        yield _text(x, top, self.keys[i], 12.5, _INK, _BOLD)
        for k, line in enumerate(self.titles[i]):
            yield _text(x, top + 12 + 11 * k, line, 9.5, _SOFT)


def _lines(names: list[str]) -> list[str]:
    if len(names) <= _SHOWN:
        return [_cut(n, 22) for n in names]
    return [*(_cut(n, 22) for n in names[: _SHOWN - 1]), f"and {len(names) - _SHOWN + 1} more"]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _wrap(text: str, width: int, most: int) -> list[str]:
    lines = textwrap.wrap(text, width)
    return lines if len(lines) <= most else [*lines[: most - 1], _cut(lines[most - 1] + "…", width)]


def _room(text: str, size: float) -> float:
    """The width of a text, near enough; fonts that stand in for Helvetica are wider."""
    return size * sum(next((w for set_, w in _WIDTHS if c in set_), 0.6) for c in text)


def _size(lines: list[str], across: float, down: float) -> tuple[float, float]:
    return max((_room(line, 9.5) for line in lines), default=0.0) + across, 11 * len(lines) + down


def _box(key: str, title: list[str]) -> tuple[float, float]:
    w, h = _size(title, 18, 26)
    return max(w, 1.12 * _room(key, 12.5) + 18, 78), h


def _safe(text: str) -> str:
    """Text for XML: escaped, and without the characters that XML has not."""
    return escape(re.sub("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text))


def _text(x: float, y: float, text: str, size: float, fill: str = _INK, more: str = "") -> str:
    """Centred on x, unless ``more`` says otherwise."""
    anchor = "" if "text-anchor" in more else ' text-anchor="middle"'
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}"{anchor}{more}>{_safe(text)}</text>'


def _line(points: list[tuple[float, float]], colour: str, *, dashed: bool = False) -> str:
    way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dash = ' stroke-dasharray="5 3"' if dashed else ""
    return f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="1.3" stroke-opacity="0.75"{dash}/>'


def _tip(x: float, y: float, colour: str, turn: int) -> str:
    return f'<path d="M0,0 L-8,-4 L-8,4 Z" fill="{colour}" transform="translate({x:.1f} {y:.1f}) rotate({turn})"/>'


def _rect(at: tuple[float, float], size: tuple[float, float], round: float, look: str) -> str:
    """Centred on ``at``."""
    (x, y), (w, h) = at, size
    place = f'x="{x - w / 2:.1f}" y="{y - h / 2:.1f}" width="{w:.1f}" height="{h:.1f}"'
    return f'<rect {place} rx="{round:.1f}" {look}/>'


def graph_json(model: Model) -> dict[str, dict[str, dict[str, list[str]]]]:
    """The same by reader, then writer: the variables that are read of this month, and of last month."""
    traffic = observe(as_economy(model))
    return {
        reader: {"this_month": dict(t.above), "last_month": dict(t.below)}
        for reader, t in traffic.items()
    }


def graph_text(model: Model) -> str:
    """The same for a terminal: a matrix of who reads whom, then the variables; 100 columns."""
    economy = as_economy(model)
    traffic, keys = observe(economy), list(economy.systems)
    wide = max(map(len, keys))
    lines = [
        f"{economy.name}: a row's system is read by the columns' systems",
        "v what it wrote this month, ^ fed back: its state of last month",
        "",
        " " * (wide + 5) + "".join(f"{j + 1:>3}" for j in range(len(keys))),
    ]
    for i, writer in enumerate(keys):
        marks = [_mark(writer, reader, t) for reader, t in traffic.items()]
        lines.append(f"{i + 1:>3}  {writer:<{wide}}" + "".join(f"{m:>3}" for m in marks))
    for i, (reader, t) in enumerate(traffic.items()):
        lines += ["", f"{i + 1:>3}  {reader}"]
        for writer, names in {**t.above, **t.below}.items():
            head = f"     {_mark(writer, reader, t)} {writer:<{wide}}  "
            text = head + ", ".join(short_names(names, row_names(economy, writer)))
            lines += textwrap.wrap(text, WIDTH, subsequent_indent=" " * len(head))
    return "\n".join(lines) + "\n"


def _mark(writer: str, reader: str, traffic: Traffic) -> str:
    if writer == reader:
        return "\\"
    return "v" if writer in traffic.above else "^" if writer in traffic.below else "."
