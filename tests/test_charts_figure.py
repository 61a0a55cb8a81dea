"""Figures: what they hold, how they are written, and the look that they share."""

from __future__ import annotations

import base64
import csv
import io
import itertools
import json
import os
import re
import struct
from dataclasses import replace
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import pytest
from altair.vegalite.v6.schema.core import Root

from overbuilt.engine.charts import style
from overbuilt.engine.charts.axes import Span
from overbuilt.engine.charts.figure import Figure, columns_of
from overbuilt.engine.charts.words import Unit, ladder, written
from overbuilt.engine.validate import ConfigError

from .chart_results import grey, pixels

TABLE = pd.DataFrame({"firm": ["=1+1", "b"], "loss, USD bn": [1.0, 2.5]})


def chart(data: pd.DataFrame = TABLE) -> alt.Chart:
    loss = alt.Y("loss, USD bn:Q", title="USD bn")
    return alt.Chart(data).mark_bar().encode(x="firm:N", y=loss)


def figure(**changes: object) -> Figure:
    made = Figure("bars", "Who loses?", "b loses 2.5 USD bn.", "2 paths of made", TABLE, chart())
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "a b", "A", "a/b", "a.b", "ä"])
def test_a_name_is_fit_for_files_and_ids(name: str) -> None:
    with pytest.raises(ValueError, match="should be a-z"):
        figure(name=name)


def test_a_toggle_is_an_axis() -> None:
    with pytest.raises(ValueError, match="toggle"):
        figure(toggle="z")


def test_a_view_is_as_wide_as_what_holds_it() -> None:
    spec = figure().spec()
    assert spec["width"] == "container"
    assert figure().spec(400)["width"] == 400
    assert spec["config"] == style.CONFIG
    assert "title" not in spec
    for found in (spec, figure().spec(400), figure().titled()):
        Root.from_dict(found)  # raises where it is not Vega-Lite


@pytest.mark.parametrize(("width", "columns"), [(320, 1), (639, 1), (641, 2), (720, 2), (1200, 3)])
def test_small_multiples_take_the_columns_that_there_is_room_for(width: int, columns: int) -> None:
    four = figure(chart=alt.concat(*(chart() for _ in range(4))))
    spec = four.spec(width)
    assert four.panels == 4
    assert spec["columns"] == columns == columns_of(width, 4)[0]
    widths = {view["width"] for view in spec["concat"]}
    assert len(widths) == 1
    assert widths.pop() * columns < width
    Root.from_dict(spec)


@pytest.mark.parametrize("width", [360, 720, 1000])
def test_a_picture_is_as_wide_as_asked_for(width: int) -> None:
    long = chart().encode(text=alt.value("a label beside the plot")).mark_text(dx=40)
    for each in (figure(), figure(chart=long + chart()), figure(chart=alt.concat(chart(), long))):
        found = re.search(r'<svg[^>]* width="([\d.]+)"', each.svg(width))
        assert found is not None
        assert abs(float(found[1]) - width) < 12


def test_a_picture_says_question_answer_source_and_units() -> None:
    svg = figure(title="Who loses <script>?").svg()
    for text in (
        "Who loses &lt;script&gt;?",
        "b loses 2.5 USD bn.",
        "Source: 2 paths of made",
        "USD bn",
    ):
        assert text in svg
    assert "<script" not in svg


def test_a_png_has_twice_the_pixels_and_is_not_blank() -> None:
    width, height = struct.unpack(">II", figure().png()[16:24])
    small = pixels(figure().png(scale=0.25))
    assert width == pytest.approx(8 * small.shape[1], abs=8)
    assert height == pytest.approx(8 * small.shape[0], abs=8)
    dark = (grey(small) < 0.9).mean()
    assert 0.05 < dark < 0.9


def test_csv_holds_the_data_and_no_formula() -> None:
    rows = list(csv.reader(io.StringIO(figure().csv())))
    assert rows == [["firm", "loss, USD bn"], ["'=1+1", "1.0"], ["b", "2.5"]]


def test_a_page_loads_nothing_and_runs_no_text() -> None:
    evil = "</script><script>alert(1)</script>"
    data = pd.DataFrame({"firm": [evil], "loss, USD bn": [1.0]})
    page = figure(title=evil, caption=evil, source=evil, data=data, chart=chart(data)).html()
    assert "<script>alert" not in page
    own = page.replace(re.findall(r"<script>(.*?)</script>", page, re.DOTALL)[0], "")
    assert not re.search(r"(src|href)\s*=", own)
    assert page.count("<script>") == 2


@pytest.mark.parametrize("suffix", [".png", ".svg", ".csv", ".html", ".json", ".SVG"])
def test_save_goes_by_the_suffix(tmp_path: Path, suffix: str) -> None:
    path = figure().save(tmp_path / f"chart{suffix}")
    begins = {
        ".png": b"\x89PNG",
        ".svg": b"<svg",
        ".csv": b"firm,",
        ".html": b"<!doctype",
        ".json": b"{",
    }
    assert path.read_bytes().startswith(begins[suffix.lower()])
    assert os.listdir(tmp_path) == [path.name]
    if suffix == ".json":
        Root.from_dict(json.loads(path.read_text()))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("chart.gif", "ends in .gif; should be .png, .svg"),
        ("chart", "ends in no suffix"),
        ("none/chart.png", "there is no folder"),
        ("folder.png", "is a folder"),
    ],
)
def test_where_it_cannot_be_saved(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ConfigError, match=problem):
        figure().save(tmp_path / name)
    assert os.listdir(tmp_path) == ["folder.png"]


def test_a_notebook_is_given_svg_and_png() -> None:
    shown = figure()._repr_mimebundle_()
    assert shown["image/svg+xml"].startswith("<svg")
    assert base64.b64decode(shown["image/png"]).startswith(b"\x89PNG")
    assert shown["text/plain"].startswith("Who loses?\n")


# ---- the look
def _luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2.2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255.0 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a: str, b: str) -> float:
    high, low = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_labels_can_be_read_on_white() -> None:
    """WCAG 2.2, criterion 1.4.3: a contrast of 4.5 at least."""
    texts = [style.look(k).text for k in range(8)] + [style.INK, style.FAINT]
    assert min(_contrast(t, style.PAPER) for t in texts) >= 4.5


def test_the_first_colours_differ_in_grey() -> None:
    looks = [style.look(k) for k in range(4)]
    for a, b in itertools.pairwise(looks):
        assert _contrast(a.colour, b.colour) > 1.5
    assert len({tuple(style.look(k).dash) for k in range(8)}) == 8


def test_a_ninth_look_is_none_of_the_first_eight() -> None:
    looks = [style.look(k) for k in range(16)]
    assert len({(x.colour, tuple(x.dash)) for x in looks}) == 16


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (0.0, "0"), (1234.5, "1,230"), (0.8671, "0.867"), (99.96, "100"), (9.996, "10"), (-0.05, "-0.05"),
        (1.234e-9, "1.23e-9"), (2e15, "2e15"), (123456789.0, "123,000,000"),
        (float("nan"), "-"), (float("-inf"), "-infinity"),
    ],
)  # fmt: skip
def test_numbers_are_written_with_three_figures(x: float, text: str) -> None:
    assert written(x) == text


def test_units_are_said() -> None:
    assert Unit("USD/GPU-hour").say(1.5) == "1.5 USD/GPU-hour"
    assert Unit("share", True).say(0.0432) == "4.32 %"
    assert Unit("1/year", True).say(0.02) == "2 % a year"
    assert Unit("ratio").say(1.25) == "1.25"
    assert Unit("ratio").title_of("demand over supply") == "ratio (demand over supply)"


def test_ticks_of_a_log_axis() -> None:
    assert ladder(80.0, 3000.0) == [100.0, 200.0, 500.0, 1000.0, 2000.0]
    assert 1 <= len(ladder(1e-30, 1e30)) <= 14
    assert ladder(1.1, 1.2) == []


@pytest.mark.parametrize(
    "values",
    [
        [],
        [np.nan],
        [0.0],
        [0.0, 0.0],
        [5.0],
        [-5.0],
        [1e-300, 2e-300],
        [1e300, 3e300],
        [-2.0, 3.0],
        [7.0, 8.0],
    ],
)
@pytest.mark.parametrize("log", [False, True])
def test_a_span_holds_what_is_drawn(values: list[float], log: bool) -> None:
    span = Span.of(values, log)
    assert np.isfinite([span.low, span.high]).all()
    assert span.low < span.high
    assert not log or span.low > 0.0
    for x in values:
        if np.isfinite(x) and (x > 0.0 or not log):
            assert span.low <= x <= span.high
            assert -1e-9 <= span.place(x) <= 1.0 + 1e-9


def test_a_linear_axis_begins_at_zero_unless_all_is_far_from_it() -> None:
    assert Span.of([1.0, 10.0]).low == 0.0
    assert Span.of([-1.0, -10.0]).high == 0.0
    assert Span.of([9.0, 10.0]).low > 8.0
    assert Span.of([9.0, 10.0], zero=True).low == 0.0
