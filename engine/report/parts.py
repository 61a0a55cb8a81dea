"""What a page is made of: sections, and in them charts, tables, headline numbers, stories and lines of text."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..charts.figure import Figure
from ..export import write_csv
from .still import WIDTH, still
from .words import cell

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 60
"""Rows of a chart's data that the page shows; the CSV has all of them."""
FIGURES = 7


@dataclass
class Text:
    """A line. ``style``: gap, where something is missing; lead, else."""

    text: str
    style: str = "lead"
    kind: str = field(default="text", init=False)


@dataclass
class Code:
    """Something to type, and what it does; with a file that it needs, if any."""

    text: str
    code: str
    file_name: str = ""
    file_href: str = ""
    kind: str = field(default="code", init=False)


@dataclass
class Card:
    """A headline number: what it is, its value and unit, its interval, and what it means."""

    label: str
    value: str
    unit: str
    interval: str
    note: str


@dataclass
class Cards:
    cards: list[Card]
    kind: str = field(default="cards", init=False)


@dataclass
class Row:
    cells: list[str]
    strong: bool = False


@dataclass
class Grid:
    """A table's cells as text; columns of numbers stand to the right."""

    label: str
    head: list[str]
    right: list[bool]
    rows: list[Row]
    more: str = ""
    style: str = ""
    """how: two columns of which the second is prose; else nothing."""


@dataclass
class Table:
    """``folded``: shown on request, and in print only where ``prints``."""

    title: str
    table: Grid
    folded: bool = False
    prints: bool = False
    csv_name: str = ""
    csv_href: str = ""
    kind: str = field(default="table", init=False)


@dataclass
class Event:
    when: str
    text: str


@dataclass
class Story:
    title: str
    note: str
    events: list[Event]


@dataclass
class Stories:
    stories: list[Story]
    kind: str = field(default="stories", init=False)


@dataclass
class Picture:
    """A figure as the page holds it: still picture, spec as JSON for a script element, data as a link and a table."""

    id: str
    title: str
    caption: str
    source: str
    toggle: str
    svg: Any
    spec: Any
    csv_name: str
    csv_href: str
    table: Grid
    kind: str = field(default="figure", init=False)


Part = Figure | Picture | Text | Code | Cards | Table | Stories


@dataclass
class Section:
    """``breaks``: begins a page in print."""

    id: str
    title: str
    parts: list[Part]
    lead: list[str] = field(default_factory=list)
    breaks: bool = True


def picture(figure: Figure) -> Picture:
    """Draw it. Takes about a tenth of a second."""
    from markupsafe import Markup

    return Picture(
        id=f"chart-{figure.name}",
        title=figure.title,
        caption=figure.caption,
        source=figure.source.rstrip("."),
        toggle=figure.toggle,
        svg=Markup(still(plain(_roomy(figure.spec(WIDTH))), figure.name)),
        spec=Markup(inlined(plain(figure.spec()))),
        csv_name=f"{figure.name}.csv",
        csv_href=data_link(replace(figure, data=rounded(figure.data)).csv()),
        table=grid(figure.data, figure.title, most=SHOWN),
    )


def _roomy(spec: dict[str, Any]) -> dict[str, Any]:
    """The still picture's letters may be wider on the reader's screen than where it was laid out."""
    return {"padding": {"left": 4, "top": 4, "bottom": 4, "right": 16}} | spec


def plain(value: Any) -> Any:
    """As JSON has it, where what is no finite number is null; numbers to seven figures, as float32 has."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.{FIGURES}g}") if math.isfinite(value) else None
    return value


def rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with as many figures as a page holds: seven, as float32 has."""
    made = frame.copy()
    for k, kind in enumerate(made.dtypes):
        if kind.kind == "f":
            made.isetitem(k, [plain(float(x)) for x in made.iloc[:, k]])
    return made


def inlined(value: Any) -> str:
    """JSON that may stand in a script element: it holds no ``<``, so it can neither end nor begin one."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def data_link(text: str, kind: str = "text/csv") -> str:
    """A link that holds the file itself, and works without a script."""
    return f"data:{kind};charset=utf-8,{quote(text, safe=',:;/()=_')}"


def grid(frame: pd.DataFrame, label: str, most: int = 10_000, strong: Sequence[bool] = ()) -> Grid:
    """A table's first rows as text."""
    import pandas as pd

    kinds = [
        pd.api.types.is_numeric_dtype(k) and not pd.api.types.is_bool_dtype(k) for k in frame.dtypes
    ]
    rows = [
        Row([cell(x) for x in values], bool(strong) and strong[k])
        for k, values in enumerate(frame.head(most).itertuples(index=False, name=None))
    ]
    more = (
        f"The first {most:,} of {len(frame):,} rows; the CSV has them all."
        if len(frame) > most
        else ""
    )
    return Grid(label, [str(c) for c in frame.columns], kinds, rows, more)


def table(
    frame: pd.DataFrame, title: str, name: str = "", *, folded: bool = False, prints: bool = False,
    most: int = 10_000, strong: Sequence[bool] = (), label: str = "",
) -> Table:  # fmt: skip
    """A table of its own; with ``name`` a CSV file of that stem goes with it."""
    made = Table(title, grid(frame, label or title, most, strong), folded, prints)
    if name:
        target: Any = io.StringIO()
        write_csv(rounded(frame), target)
        made.csv_name, made.csv_href = f"{name}.csv", data_link(str(target.getvalue()))
    return made
