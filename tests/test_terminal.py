"""What a terminal shows: progress that is alive and leaves nothing behind, tables that fit, lines of blocks."""

from __future__ import annotations

import io
import itertools
import math
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

import overbuilt
from overbuilt.cli import main
from overbuilt.engine import progress as progress_module
from overbuilt.engine.estimate import Estimate
from overbuilt.engine.live import Row, Running, chosen, digits, interval, label
from overbuilt.engine.plain_text import LOOKS
from overbuilt.engine.progress import Progress
from overbuilt.engine.sparkline import BLOCKS, sparkline
from overbuilt.engine.statistics import BLOCK, Statistics
from overbuilt.engine.table_fit import fitted
from overbuilt.engine.tables import GRID, console
from overbuilt.engine.validate import ConfigError

from .terminals import COLOUR, MOVES, PROGRAM, Shown, environment, on_terminal

SMALL = ("run", "textbook", "--paths", "500", "--backend", "numpy")
LONG = ("run", "textbook", "--paths", "1000000000", "--deadline", "3s")
SO_FAR = "so far, with 95 % intervals"


def piped(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """The command line with pipes for all streams."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        encoding=changes.get("PYTHONIOENCODING", "utf-8"),
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run of the base scenario, with long names, large numbers, small ones."""
    folder = tmp_path_factory.mktemp("stored") / "run"
    overbuilt.simulate(overbuilt.load("base"), 400, 3, "numpy", out=folder)
    return str(folder)


# ---- the bar
@pytest.fixture(scope="module")
def long_run() -> Shown:
    return on_terminal(*LONG)


def test_progress_is_shown_on_a_terminal_and_only_there() -> None:
    shown = on_terminal(*SMALL, stdout=False)
    assert shown.code == 0
    assert "simulating" in shown.raw
    assert "simulating" not in shown.out
    assert "digest" in shown.out
    done = piped(*SMALL)
    assert done.stderr == ""
    assert "simulating" not in done.stdout


def test_a_terminal_shows_rate_time_left_and_estimates(long_run: Shown) -> None:
    screens = ["\n".join(s) for s in long_run.screens()]
    assert any(
        re.search(r" [\d.]+[kM] of 1.0bn paths  [\d.]+[kMbn]+ a second  [\dhmins ]+ left", s)
        for s in screens
    )
    assert any(
        re.search(r"private_credit\.loss, mean +0\.9\d+  0\.\d+\.\.0\.\d+ ", s) for s in screens
    )
    assert any("private_credit.loss, ES 99 %" in s for s in screens)


def test_intervals_shrink_on_the_screen(long_run: Shown) -> None:
    rows = [
        line
        for screen in long_run.screens()
        for line in screen
        if "private_credit.loss, mean" in line and "┃" in line
    ]
    lengths = [len(re.findall("[━┃]", row)) for row in rows]
    assert lengths[0] == max(lengths)
    assert lengths[-1] <= 0.5 * lengths[0]


def test_nothing_is_left_of_the_bar(long_run: Shown) -> None:
    end = long_run.screen()
    assert end[0].startswith("textbook")
    assert not [line for line in end if "simulating" in line or SO_FAR in line or "━" in line]
    assert long_run.raw.rindex("\x1b[?25h") > long_run.raw.rindex("\x1b[?25l")


def test_the_display_stays_within_the_terminal(long_run: Shown) -> None:
    assert max(map(len, long_run.lines)) <= 80
    narrow = on_terminal(*LONG, columns=60)
    assert max(len(line) for line in narrow.lines if not line.startswith("warning:")) <= 60
    assert any(SO_FAR[:20] in line for line in narrow.lines)


def test_no_colour_where_none_is_wanted(long_run: Shown) -> None:
    assert COLOUR.search(on_terminal("backends").raw)
    assert COLOUR.search(long_run.raw)
    for arguments in (("backends",), SMALL):
        assert not COLOUR.search(on_terminal(*arguments, NO_COLOR="1").raw)
    assert "\x1b" not in piped("backends").stdout


@pytest.mark.parametrize("term", ["dumb", "unknown", ""])
def test_a_dumb_terminal_gets_plain_text(term: str, long_run: Shown) -> None:
    assert MOVES.search(long_run.raw)
    shown = on_terminal(*SMALL, TERM=term)
    assert "digest" in shown.raw
    assert not MOVES.search(shown.raw)
    assert "\x1b" not in shown.raw or not term


def test_a_dumb_terminal_gets_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(progress_module, "PLAIN", 0.0)
    with Progress(True) as bar:
        bar(100, 1000, 2.0)
        bar(500, 1000, 10.0)
    monkeypatch.setattr(progress_module, "PLAIN", 60.0)
    with Progress(True) as bar:
        bar(100, 1000, 2.0)
    assert capsys.readouterr().err.splitlines() == [
        "simulating: 100 of 1,000 paths, 50 a second, 18 s left",
        "simulating: 500 of 1,000 paths, 50 a second, 10 s left",
    ]


def test_the_rate_is_that_of_late() -> None:
    bar = Progress(False)
    bar.shown = True
    for second in range(1, 101):  # 10 a second, then 20
        bar(10 * second + 10 * max(second - 50, 0), 10_000, float(second))
        if second in (40, 100):
            assert bar._figures(100)[1] == f"{10 if second == 40 else 20} a second"


def test_parts_that_come_at_once_make_no_rate_of_their_own() -> None:
    bar = Progress(False)
    bar.shown = True
    bar(50, 1000, 10.0)
    bar(100, 1000, 10.001)  # of two workers
    assert bar._figures(100)[1] == "10 a second"


def test_what_was_done_before_does_not_count_into_the_rate() -> None:
    bar = Progress(False)
    bar.shown = True
    bar.before = 900
    bar(920, 1000, 2.0)
    assert bar._figures(100)[1:] == ("10 a second", "8 s left")
    bar(940, 1000, 3.0)
    assert bar._figures(100)[1] == "13 a second"


# ---- running estimates
def rows_of(**options: object) -> tuple[overbuilt.Result, list[tuple[int, list[Row]]]]:
    scenario = overbuilt.load("textbook")
    units = {n: scenario.economy.unit(n) for n in scenario.economy.metrics}
    running = Running(units, clock=itertools.count(0.0, 1e-9).__next__)
    seen: list[tuple[int, list[Row]]] = []

    def on_block(statistics: Statistics) -> None:
        running._due = -math.inf
        running(statistics)
        seen.append((running.paths, running.rows))

    result = overbuilt.simulate(scenario, 8 * BLOCK, 3, "native", on_block=on_block, **options)  # type: ignore[arg-type]
    return result, seen


def test_intervals_shrink_with_paths() -> None:
    result, seen = rows_of()
    assert [paths for paths, _ in seen] == [k * BLOCK for k in range(1, 9)]
    first, last = seen[0][1], seen[-1][1]
    assert [r.label for r in last] == ["private_credit.loss, mean", "private_credit.loss, ES 99 %"]
    for a, b in zip(first, last, strict=True):
        assert b.estimate.half / a.estimate.half == pytest.approx(math.sqrt(1 / 8), rel=0.1)
        lengths = [
            len(interval(r, 201).strip()) for _, rows in seen for r in rows if r.label == a.label
        ]
        assert lengths[0] == 201
        assert lengths[-1] < 0.5 * lengths[0]
    assert last[0].estimate == result.estimate("private_credit.loss")
    assert last[1].estimate == result.estimate("private_credit.loss.es99")


def test_a_run_that_goes_on_has_estimates_at_once(tmp_path: Path) -> None:
    asked = itertools.count()
    cut, seen = rows_of(out=tmp_path, interrupted=lambda: "SIGTERM" if next(asked) > 2 else "")
    assert 0 < cut.path_count < 8 * BLOCK
    assert seen[-1][0] == cut.path_count
    _, again = rows_of(out=tmp_path, resume=True)
    assert again[0][0] == cut.path_count
    assert again[-1][0] == 8 * BLOCK


def test_estimates_come_with_a_stop_rule() -> None:
    result, seen = rows_of(until=["private_credit.loss within 1%"])
    assert seen[-1][0] == result.path_count


def test_estimating_takes_no_more_than_its_share_of_the_time() -> None:
    now = 0.0

    def clock() -> float:  # each look at it is half a second: an estimate takes that
        nonlocal now
        now += 0.5
        return now

    statistics = Statistics(("x",))
    running = Running({"x": "1"}, clock=clock)
    taken, paths = 0, 0
    for block in range(2000):
        statistics.add(block, np.arange(4.0)[None, :], np.zeros(4, np.int32))
        before = running.paths
        running(statistics)
        taken += running.paths != before
        paths += 4
    assert taken >= 3
    assert 0.5 * (taken - 2) <= 0.01 * now


def test_what_is_shown_of_which_scenario() -> None:
    base = [q.text for q in chosen(overbuilt.load("base").economy.metrics)]
    assert base == [
        "rental.hopper.p50",
        "private_credit.loss",
        "private_credit.loss.es99",
        "cycle.bust",
    ]
    wanted = ["holders.loss.p99", "private_credit.loss > 200"]
    some = [q.text for q in chosen(overbuilt.load("base").economy.metrics, wanted)]
    assert some == [*wanted, "rental.hopper.p50", "private_credit.loss"]
    assert [q.text for q in chosen(("a.x", "b.y"))] == ["a.x", "b.y"]
    with pytest.raises(ConfigError):
        chosen(("a.x",), ["a.z"])
    labels = [
        label(q, "0 or 1" if q.metric == "cycle.bust" else "")
        for q in chosen(overbuilt.load("base").economy.metrics)
    ]
    assert labels == [
        "rental.hopper, median", "private_credit.loss, mean", "private_credit.loss, ES 99 %", "cycle.bust, share",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((78.391, 78.149, 78.632), ("78.39", "78.15..78.63")),
        ((1177.2, 1165.0, 1189.4), ("1,177", "1,165..1,189")),
        ((0.31, 0.31, 0.31), ("0.31", "")),
        ((0.5, -math.inf, math.inf), ("0.5", "no interval yet")),
        (
            (123456789012.0, 123456789000.0, 123456789024.0),
            ("1.2346e+11", "1.2346e+11..1.2346e+11"),
        ),
    ],
)
def test_digits_are_those_that_the_interval_leaves(
    ends: tuple[float, float, float], text: tuple[str, str]
) -> None:
    assert digits(Estimate(*ends, math.nan, 0.95, "")) == text


def test_an_interval_is_drawn_on_the_axis_of_the_first() -> None:
    def drawn(value: float, low: float, high: float, plain: bool = False) -> str:
        row = Row("x", "", Estimate(value, low, high, 1.0, 0.95, ""), (0.0, 10.0))
        return interval(row, 10, plain)

    assert drawn(5.0, 0.0, 10.0) == "━━━━━┃━━━━"
    assert drawn(5.0, 4.0, 6.5) == "    ━┃━   "
    assert drawn(9.5, 9.0, 12.0) == "         ┃"
    assert drawn(-1.0, -2.0, 1.0) == "┃━        "
    assert drawn(5.0, 3.0, 7.0, plain=True) == "   --|--  "
    assert (
        interval(Row("x", "", Estimate(1, 0, 2, 1, 0.95, ""), (math.nan, math.nan)), 5) == " " * 5
    )


# ---- tables
@pytest.mark.parametrize("columns", [60, 80])
def test_a_narrow_table_has_every_number_of_a_wide_one(stored: str, columns: int) -> None:
    wide = piped("show", stored).stdout
    narrow = on_terminal("show", stored, columns=columns)
    assert max(map(len, wide.splitlines())) <= 100
    # the last line names the run's folder, which is never cut: it is there to be copied
    assert max(len(line) for line in narrow.lines if stored not in line) <= columns
    missing = Counter(numbers(wide)) - Counter(numbers(narrow.raw))
    assert not missing


def numbers(text: str) -> list[str]:
    """The numbers of a text, without those of the years at the head of a table, which may be there twice."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return re.findall(r"(?<![\w.,…])-?\d[\d.,e-]*(?![\w…])", plain)


COMMANDS = [
    ("show", "RUN"),
    ("show", "RUN", "--intervals", "--stats", "mean,sd,skew,kurtosis,p50,p999,es99,es999"),
    ("run", "textbook", "--paths", "3000", "--probability", "private_credit.loss > 2", "--backend", "numpy"),
    ("run", "textbook", "--until", "private_credit.loss within 50%", "--backend", "numpy"),
    ("run", "textbook", "--paths", "500", "--months", "130", "--backend", "numpy"),
    ("backends",),
    ("claims", "base", "linear", "--paths", "20", "--months", "6", "--backend", "numpy"),
    ("compare", "RUN", "RUN", "--all"),
    ("explain",),
    ("explain", "rental"),
    ("replay", "RUN", "--path", "7"),
    ("replay", "RUN", "--path", "7", "--show", "rental.*"),
    ("replay", "RUN", "--worst", "1", "--metric", "private_credit.loss"),
    ("sensitivity", "textbook", "--metric", "private_credit.loss", "--paths", "200", "--backend", "numpy"),
    ("attribution", "textbook", "--metric", "private_credit.loss", "--paths", "200", "--backend", "numpy"),
    ("verify", "textbook", "--paths", "50", "--backends", "native"),
    ("verify", "RUN", "--paths", "10"),
    ("runs", "RUN"),
]  # fmt: skip


ON_TERMINAL = ("show", "claims", "explain")
"""On a terminal of their own; the others in this process, with COLUMNS, which is faster."""


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_every_table_fits_80_columns(arguments: tuple[str, ...], stored: str) -> None:
    words = [stored if a == "RUN" else a for a in arguments]
    if arguments[0] in ON_TERMINAL:
        shown = on_terminal(*words)
        code, lines = shown.code, shown.lines
    else:
        plain = dict.fromkeys(("NO_COLOR", "FORCE_COLOR"))
        done = CliRunner().invoke(main, words, env={**plain, "COLUMNS": "80"})
        code, lines = done.exit_code, done.stdout.splitlines()
    assert code in (0, 1), lines
    assert max(map(len, lines)) <= 80
    texts = [re.sub(r"\d open, 1…", "", line) for line in lines]  # a unit: 0 open, 1 tight, 2 shut
    assert not [line for line in texts if re.search(r"\d…(?!\w)|…\d", line)]


def test_tables_widen_to_100_columns_and_no_further(stored: str) -> None:
    at = {c: max(map(len, on_terminal("show", stored, columns=c).lines)) for c in (80, 100, 180)}
    assert 60 < at[80] <= 80 < at[100] <= 100
    assert at[180] == at[100]


def test_columns_says_how_wide_a_pipe_is(stored: str) -> None:
    def width(**changes: str) -> int:
        return max(map(len, piped("show", stored, **changes).stdout.splitlines()))

    assert 80 < width() <= 100
    assert width(COLUMNS="80") <= 80
    assert width(COLUMNS="300") == width() == width(COLUMNS="wide") == width(COLUMNS="0")


def table_of(names: list[str], values: list[list[float]]) -> tuple[Table, list[str]]:
    table = Table(**GRID)
    table.add_column("metric", no_wrap=True)
    table.add_column("unit", no_wrap=True, max_width=10, overflow="ellipsis")
    for k in range(len(values[0])):
        table.add_column(f"c{k}", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    cells = [[f"{x:,.6g}" for x in row] for row in values]
    for name, row in zip(names, cells, strict=True):
        table.add_row(name, "USD bn/year of all", *row, "██████░░░")
    return table, [x for row in cells for x in row]


@given(st.integers(40, 110), st.integers(1, 9), st.integers(1, 40), st.data())
@settings(max_examples=60, deadline=None)
def test_no_number_is_ever_cut(width: int, columns: int, letters: int, data: st.DataObject) -> None:
    number = st.floats(-1e12, 1e12, allow_nan=False)
    values = data.draw(
        st.lists(st.lists(number, min_size=columns, max_size=columns), min_size=1, max_size=4)
    )
    table, cells = table_of(["n" * letters] * len(values), values)
    screen = Console(width=width, file=io.StringIO(), legacy_windows=False)
    screen.print(fitted(table, width), highlight=False)
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    found = Counter(text.split())
    assert not Counter(cells) - found


def test_a_table_that_fits_is_left_alone() -> None:
    table, _ = table_of(["a.name"], [[1.0, 2.0]])
    assert fitted(table, 100) is table


def test_both_ends_of_a_long_name_stay() -> None:
    table = Table(**GRID)
    table.add_column("metric", no_wrap=True)
    table.add_column("mean", justify="right", no_wrap=True)
    table.add_row("structured.writedown_datacentre_senior", "0.123456")
    screen = Console(width=40, file=io.StringIO())
    screen.print(fitted(table, 40))
    line = screen.file.getvalue().splitlines()[1]  # type: ignore[attr-defined]
    name, mean = line.split()
    assert mean == "0.123456"
    assert len(name) == 31
    assert name.startswith("structured.wri")
    assert name.endswith("centre_senior")


# ---- lines of blocks
@pytest.mark.parametrize(
    ("values", "cells", "line"),
    [
        (range(8), 8, "▁▂▃▄▅▆▇█"),
        (range(7, -1, -1), 8, "█▇▆▅▄▃▂▁"),
        ([0.0, 1.0], 9, "▁█"),
        ([0, 0, 7, 7, 14, 14], 3, "▁▅█"),  # halfway is 3.5 of 7, to the even one
        ([5.0] * 6, 3, "▄▄▄"),
        ([5.0, 5.001, 5.002], 3, "▄▄▄"),
        ([1.0, math.nan, 2.0], 3, "▁ █"),
        ([1.0, math.nan, math.nan, 2.0], 2, "▁█"),
        ([math.nan] * 4, 2, "  "),
        ([-3.0, -2.0, -1.0], 3, "▁▅█"),
        ([], 5, ""),
    ],
)
def test_a_line_of_blocks(values: list[float], cells: int, line: str) -> None:
    assert sparkline(list(values), cells) == line


def test_the_line_of_a_fan_is_that_of_its_median(stored: str) -> None:
    text = piped("show", stored).stdout
    (row,) = [line for line in text.splitlines() if line.startswith("rental.hopper ")][:1]
    medians = overbuilt.load_run(stored).series("rental.hopper")["p50"].to_numpy()
    means = medians.reshape(15, 4).mean(axis=1)  # five years, four months a cell
    level = np.rint((means - means.min()) / (means.max() - means.min()) * 7).astype(int)
    assert row.split()[-1] == "".join(BLOCKS[k] for k in level)


def test_a_line_is_left_out_where_it_has_no_room(stored: str) -> None:
    assert not set(BLOCKS) & set(on_terminal("show", stored, columns=80).raw)
    assert set(BLOCKS) & set(on_terminal("show", stored, columns=100).raw)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_encoding_without_blocks_gets_look_alikes(stored: str, encoding: str) -> None:
    plain = piped("show", stored, PYTHONIOENCODING=encoding)
    assert plain.returncode == 0, plain.stderr
    wide = piped("show", stored).stdout
    looks = {k: v for k, v in LOOKS.items() if not can(k, encoding)}
    assert plain.stdout == wide.translate(str.maketrans(looks))


def can(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def test_look_alikes_are_ascii_and_as_wide() -> None:
    assert all(len(k) == len(v) == 1 and v.isascii() and not k.isascii() for k, v in LOOKS.items())


def test_a_screen_is_as_wide_as_columns_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    assert console().width == 72
    monkeypatch.setenv("COLUMNS", "7")
    assert console().width == 40
    monkeypatch.delenv("COLUMNS")
    assert console().width == 100
