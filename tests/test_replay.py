"""Replay: one path alone is the path of the block, with all that its systems gave; where two runs of it part."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from overbuilt.engine.agreement import (
    LEAST,
    compare,
    is_decision,
    scaled_difference,
    tolerance,
    typical_size,
)
from overbuilt.engine.commands.replay import replay as command
from overbuilt.engine.record import record
from overbuilt.engine.recording import recording
from overbuilt.engine.replay import Replayer, calendar, extremes, replay, replayer
from overbuilt.engine.scenario import load
from overbuilt.engine.simulate import as_economy, plan, simulate
from overbuilt.engine.system import Economy, System, output
from overbuilt.engine.validate import ConfigError
from overbuilt.kernels import arrays, backends
from overbuilt.kernels.emit import emit
from overbuilt.kernels.ops import OPS
from overbuilt.kernels.passes import optimize
from overbuilt.kernels.symbol import TraceError
from overbuilt.kernels.trace import trace

from .helpers import DTYPES, FunctionModel, bits, run_everywhere

Array = np.ndarray[Any, Any]
FAR = (1 << 32) + 5
"""A path whose number does not fit a word."""
LAST = (1 << 48) - 1
BACKENDS = ("numpy", "native", "jax")


def needs(backend: str) -> None:
    found = backends.status(backend)
    if not found.works:
        pytest.skip(found.why)


# ---- series that are arrays
class Shelves(FunctionModel):
    """Reports numbers and arrays: of the state, made in the month, of integers, and untouched."""

    array_series = True

    def __init__(self, **changes: Any) -> None:
        options = {
            "init": self._start, "series": ("total", "state", "fresh", "counts", "kept", "month"), **changes,
        }  # fmt: skip
        super().__init__(self._month, ("total",), **options)

    def _start(self, xp: Any, inputs: Any) -> dict[str, Any]:
        return {"state": xp.array(5, 1.0), "kept": xp.array(3, 2.5)}

    def _month(self, xp: Any, inputs: Any, state: Any, month: Any) -> dict[str, Any]:
        u = xp.uniform(xp.philox("shelves.u", month, 0)[0])
        at = xp.to_int(5.0 * u)  # another element on each path
        drawn = xp.set(state["state"], at, 0.5 + u)
        fresh = xp.loop(
            0, 4, lambda i, a: {"f": xp.set(a.f, i, u * xp.to_real(i))}, f=xp.array(4, 0.0)
        ).f
        counts = xp.set(xp.array(2, xp.to_int(1.0 + 0.0 * u)), 1, month)
        total = xp.loop(0, 5, lambda i, a: {"t": a.t + xp.get(drawn, i)}, t=0.0).t
        return {
            "state": drawn, "kept": state["kept"], "fresh": fresh, "counts": counts, "total": total, "month": month,
        }  # fmt: skip


ROWS = {"total": 0, "state": slice(1, 6), "fresh": slice(6, 10), "counts": slice(10, 12), "kept": slice(12, 15), "month": 15}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_series_may_be_an_array_on_every_backend(dtype: str) -> None:
    """Its rows are its elements by month; sums and products of these numbers round alike everywhere."""
    got = run_everywhere(Shelves(), dtype, 40, 7, series=True)
    want = got["numpy"].series
    assert want is not None
    assert want.shape == (7, 16, 40)
    for name, done in got.items():
        assert done.series is not None
        close = np.isclose(done.series, want, rtol=1e-6 if dtype == "float32" else 1e-14, atol=0.0)
        assert close.all(), name
    for done in got.values():  # and the elements are where the rows say
        table = done.series
        assert table is not None
        assert np.array_equal(table[:, ROWS["kept"]], np.full((7, 3, 40), 2.5))
        assert np.array_equal(
            table[:, ROWS["month"]], np.broadcast_to(np.arange(1, 8)[:, None], (7, 40))
        )
        assert np.array_equal(table[:, ROWS["counts"]][:, 0], np.ones((7, 40)))
        assert np.array_equal(table[:, ROWS["counts"]][:, 1], table[:, ROWS["month"]])
        assert np.allclose(table[:, ROWS["state"]].sum(axis=1), table[:, ROWS["total"]], rtol=1e-6)
        u = table[:, ROWS["fresh"]][:, 1]
        assert np.allclose(table[:, ROWS["fresh"]], u[:, None] * np.arange(4)[:, None], rtol=1e-6)
        state = table[:, ROWS["state"]]
        changed = (np.diff(state, axis=0) != 0).sum(axis=1)
        assert (changed == 1).all(), "one element a month, in its place"
        assert np.array_equal(table[-1, ROWS["total"]], done.metrics[0])


def test_the_rows_of_a_program() -> None:
    program = optimize(trace(Shelves(), float64=False))
    found = dict(zip(program.series, program.series_rows(), strict=True))
    want = {k: v if isinstance(v, slice) else slice(v, v + 1) for k, v in ROWS.items()}
    assert found == want
    assert program.row_count() == 16


def test_arrays_are_reported_where_the_model_says_so_and_never_as_metrics() -> None:
    plain = Shelves()
    plain.array_series = False  # type: ignore[misc]
    with pytest.raises(TraceError, match="state: what is reported is a number"):
        trace(plain, False)
    wrong = Shelves()
    wrong.metrics = ("fresh",)
    with pytest.raises(TraceError, match="fresh: what is reported is a number"):
        trace(wrong, False)


def test_an_array_that_is_written_over_cannot_be_reported() -> None:
    class Late(Shelves):
        def _month(self, xp: Any, inputs: Any, state: Any, month: Any) -> dict[str, Any]:
            return super()._month(xp, inputs, state, month) | {"before": state["state"]}

    with pytest.raises(TraceError, match="before: this array is written over later in the month"):
        trace(Late(series=("before",)), False)
    trace(Late(series=("state",)), False)


def test_numbers_alone_are_emitted_as_ever() -> None:
    """Kernels are cached by their text: one that has no arrays to report keeps it."""
    text = emit(optimize(trace(Shelves(series=("total", "month")), False)))
    assert "v_store(series + ((month" not in text
    lines = [line.strip() for line in text.splitlines() if "v_store(series" in line]
    month = lines[0].split("((")[1].split(" - 1)")[0]
    assert lines == [
        f"v_store(series + (({month} - 1) * 2LL + {k}) * stride + i, {value});"
        for k, value in enumerate([lines[0].split("+ i, ")[1][:-2], f"v_real(v_spread({month}))"])
    ]


# ---- recording
@cache
def ready(name: str, backend: str, dtype: str, months: int | None = None) -> Replayer:
    needs(backend)
    return replayer(load(name), seed=11, backend=backend, dtype=dtype, months=months)


def recorded(name: str, path: int, months: int) -> list[Any]:
    return list(record(load(name).economy, 11, path, 1, months))


@pytest.mark.parametrize(("name", "months", "path"), [("base", 4, FAR), ("textbook", 12, LAST)])
def test_the_reference_replays_what_record_says(name: str, months: int, path: int) -> None:
    """Every variable of every month exactly, arrays and words of bits included, and the start."""
    got = ready(name, "numpy", "float64", months).path(path)
    want = recorded(name, path, months)
    assert set(got.values) == set(want[0].seen)
    for name_, values in got.values.items():
        expected = np.stack([np.broadcast_to(m.seen[name_].T, m.seen[name_].T.shape) for m in want])
        expected = expected.reshape(values.shape)
        assert np.array_equal(values, expected), name_
        assert (values.dtype == np.uint32) == (expected.dtype == np.uint32), name_
    assert set(got.start) == set(want[0].before)
    for name_, value in got.start.items():
        assert np.array_equal(value, want[0].before[name_][..., 0]), name_
    assert got.bad_month == 0
    assert got.rounding == ("", 0.0)


def test_the_words_of_a_float32_record_are_whole() -> None:
    """Which loans default is kept in words of 32 bits, which float32 does not hold: every one must be exact."""
    path = (
        1 << 32
    ) + 8  # the first beyond 2^32 with a word of more than the 24 bits that float32 holds
    got = ready("textbook", "native", "float32").path(path)
    want = recorded("textbook", path, 12)
    names = [k for k, v in got.values.items() if v.dtype == np.uint32]
    assert names == ["private_credit.taken"]
    for name in names:
        assert np.array_equal(got.values[name], np.stack([m.seen[name][:, 0] for m in want])), name
    assert max(int(got.values[n].max()) for n in names) > 1 << 24


@pytest.mark.parametrize(
    ("backend", "dtype"),
    [
        ("numpy", "float32"),
        ("numpy", "float64"),
        ("native", "float32"),
        ("native", "float64"),
        ("jax", "float32"),
    ],
)
def test_a_path_alone_is_the_path_of_a_block(backend: str, dtype: str) -> None:
    """Metrics and all series, to the byte; and those of an ordinary run."""
    made = ready("textbook", backend, dtype)
    first = FAR - 3
    block = made.recorder.run(11, first, 8, series=True)
    run = made.ordinary.run(11, first, 8)
    assert block.series is not None
    for k in (0, 3, 7):
        got = made.path(first + k)
        want = made.economy.unpack(made.recorder.program, block.series[:, :, k])
        for name, values in got.values.items():
            assert values.dtype == (np.uint32 if want[name].dtype == np.uint32 else dtype)
            assert np.array_equal(values, want[name]), name
        names = made.economy.metrics
        for found, whole in ((got.metrics, block.metrics), (got.kernel_metrics, run.metrics)):
            mine = np.array([found[n] for n in names], dtype)
            assert np.array_equal(bits(mine), bits(np.ascontiguousarray(whole[:, k])))
        assert got.rounding == ("", 0.0)


def test_the_path_of_another_seed_is_another() -> None:
    at = ready("textbook", "numpy", "float64")
    other = replay(load("textbook"), 5, seed=12, backend="numpy", dtype="float64")
    assert not np.array_equal(
        at.path(5).values["private_credit.factor"], other.values["private_credit.factor"]
    )


def test_every_variable_of_base_on_native_is_that_of_the_reference() -> None:
    got = ready("base", "native", "float64").path(FAR)
    want = ready("base", "numpy", "float64", 18).path(FAR)
    found = got.against(want)
    assert found.holds, found.parted[:5]
    assert found.variables > 450
    assert found.months == 18
    assert found.largest is None or found.largest.scaled < 1e-10
    assert np.isfinite(got.rounding[1])
    assert got.rounding[1] < 1e-10


class Mixed(System):
    """Gives a mask, an integer, an array of masks, and an array that it writes over."""

    rising = output("1", "a number")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"held": xp.array(3, 0.0), "count": 0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        late = up.month > 2
        flags = xp.set(xp.array(2, late), 0, up.month > 1)
        new = xp.set(s.held, 1, xp.to_real(up.month))
        return {
            "held": new, "before": s.held, "late": late, "flags": flags, "count": s.count + 2,
            "rising": xp.get(new, 1) * draw.uniform("u"),
        }  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
def test_masks_and_integers_are_reals_and_an_array_written_over_is_left_out(backend: str) -> None:
    needs(backend)
    got = replay(Mixed(), 3, backend=backend, months=4)
    assert got.left_out == ("mixed.before",)
    assert list(got.values) == [
        "mixed.held",
        "mixed.count",
        "mixed.late",
        "mixed.flags",
        "mixed.rising",
    ]
    want = {
        "held": [[0, 1, 0], [0, 2, 0], [0, 3, 0], [0, 4, 0]],
        "count": [2, 4, 6, 8],
        "late": [0, 0, 1, 1],
        "flags": [[0, 0], [1, 0], [1, 1], [1, 1]],
    }
    for name, values in want.items():
        assert np.array_equal(got.values[f"mixed.{name}"], np.array(values, float)), name
    assert got.start["mixed.count"] == 0


def test_states_come_first_in_the_order_of_flow() -> None:
    whole = recording(load("base").economy)
    systems = [k.partition(".")[0] for k in whole.variables]
    assert systems == sorted(systems, key=list(whole.systems).index)
    for key in whole.systems:
        own = [k in whole.states for k in whole.variables if k.startswith(f"{key}.")]
        assert own == sorted(own, reverse=True), key


# ---- the table
def test_the_table_has_a_row_a_month_and_every_number() -> None:
    got = ready("textbook", "numpy", "float64").path(4)
    table = got.frame()
    assert list(table.index) == list(range(13))
    assert table.shape[1] == sum(int(np.prod(v.shape[1:])) for v in got.values.values())
    assert np.array_equal(table["private_credit.loss"][1:], got.values["private_credit.loss"])
    assert np.array_equal(
        table["private_credit.taken[1]"][1:], got.values["private_credit.taken"][:, 1]
    )
    assert table["private_credit.factor"][0] == got.start["private_credit.factor"]
    assert np.isnan(
        table["private_credit.loss"][0]
    )  # no state: it has no value before the first month
    assert got.units["private_credit.loss"] == "USD bn"


def test_the_calendar() -> None:
    assert [calendar("2025-12", m) for m in (0, 1, 12, 13, 15)] == [
        "2025-12", "2026-01", "2026-12", "2027-01", "2027-03",
    ]  # fmt: skip
    assert calendar("2026-01", 11) == "2026-12"
    assert calendar("", 3) == ""


# ---- agreement
def test_scaled_differences() -> None:
    a = np.array([1.0, 0.0, np.nan, np.inf, 1.0, 0.0, -2.0, np.inf])
    b = np.array([1.1, 0.0, np.nan, np.inf, np.nan, 1e-9, 2.0, -np.inf])
    want = [0.1 / 1.1, 0.0, 0.0, 0.0, np.inf, 1.0, 2.0, np.inf]
    assert np.allclose(scaled_difference(a, b), want, rtol=1e-12)
    assert scaled_difference(0.0, 1e-9, 10.0) == pytest.approx(1e-10)  # type: ignore[arg-type]


def test_typical_sizes() -> None:
    assert typical_size(np.array([1.0, -7.0, 3.0])) == 7.0
    assert typical_size(np.zeros(3)) == LEAST
    table = np.array([[0.01, 5.0, 3.0, 0.0, 1e30], [0.02, -9.0, 2.0, 0.0, 1e30]])
    # elements' own: 0.02, 9, 3, nothing, never; the median of the amounts, 3, is the least
    assert np.array_equal(typical_size(table), [3.0, 9.0, 3.0, 3.0, 1e30])


def test_decisions_are_whole_numbers_and_large_reals_are_none() -> None:
    assert is_decision(np.array([0.0, 1.0, 3.0]), np.array([1, 2, 3]))
    assert is_decision(np.array([1 << 31], np.uint32))
    assert not is_decision(np.array([0.0, 0.5]))
    assert not is_decision(np.array([0.0, np.nan]))
    assert not is_decision(np.array([1.184e9], np.float32))
    assert tolerance("float64", "float32") == 1e-4
    assert tolerance("float64") == 1e-9


def test_a_comparison_lists_what_parts_by_month_then_flow() -> None:
    a = {
        "a.quiet": np.linspace(1.0, 2.0, 6), "a.late": np.ones(6), "b.array": np.ones((6, 3)),
        "b.count": np.array([0.0, 0, 0, 1, 1, 2]), "c.early": np.ones(6),
    }  # fmt: skip
    b = {k: v.copy() for k, v in a.items()}
    b["a.quiet"][2] += 1e-7  # within
    b["a.late"][4:] += 0.01
    b["b.array"][3, 2] = 1.5
    b["b.count"][3] = 0.0
    b["c.early"][1] = 1.001
    found = compare(a, b, 1e-6)
    assert [(d.month, d.variable) for d in found.parted] == [
        (2, "c.early"), (4, "b.array[2]"), (4, "b.count"), (5, "a.late"),
    ]  # fmt: skip
    assert found.beyond == 5
    assert [d.variable for d in found.flips] == ["b.count"]
    assert found.largest is not None
    assert (found.largest.variable, found.largest.month) == ("b.count", 4)
    assert not found.holds
    assert compare(a, a, 0.0).holds
    assert compare(a, a, 0.0).largest is None


# ---- planted deviations are found where they are
class Quiet(System):
    """Uses no square root."""

    level = output("1", "a number")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"level": 1.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        return {"level": 0.9 * s.level + draw.uniform("u")}


class Rooted(System):
    """Takes a square root, which matters from month 5 on; an array follows it."""

    root = output("1", "a number")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"book": xp.array(4, 1.0)}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        plain = up.quiet.level
        root = xp.where(up.month >= 5, xp.sqrt(plain), plain)
        return {"book": xp.set(s.book, 2, root), "plain": plain, "root": root}


@pytest.mark.parametrize(("error", "dtype", "found"), [
    (1e-7, "float64", True), (1e-3, "float32", True), (1e-11, "float64", False), (1e-6, "float32", False),
])  # fmt: skip
def test_a_broken_operation_is_found_in_its_month_and_variable(
    monkeypatch: pytest.MonkeyPatch, error: float, dtype: str, found: bool
) -> None:
    """The reference's square root is wrong by a little more than the tolerance, or a little less."""
    needs("native")
    economy = Economy(Quiet(), Rooted(), months=9)
    ours = replay(economy, 2, backend="native", dtype=dtype)
    wrong = replace(OPS["sqrt"], array=lambda np, a: np.sqrt(a) * a.dtype.type(1.0 + error))
    monkeypatch.setitem(arrays.OPS, "sqrt", wrong)
    agreement = ours.against(replay(economy, 2, backend="numpy", dtype=dtype))
    assert agreement.holds is not found
    if found:
        assert [(d.month, d.variable) for d in agreement.parted] == [
            (5, "rooted.book[2]"), (5, "rooted.root"),
        ]  # fmt: skip
        assert agreement.parted[0].scaled == pytest.approx(error, rel=0.5)


def test_a_forced_event_parts_from_its_month_on() -> None:
    """The same draws with a price war from month 3: stress itself says so first, then what reads it."""
    event = {"on": True, "month": 3, "size": -0.3, "lasting": 2}
    changed = replay(
        load("base", {"stress.event.price_war": event}), 1, seed=11, backend="numpy", dtype="float64", months=4
    )  # fmt: skip
    found = ready("base", "numpy", "float64", 4).path(1).against(changed)
    assert (found.parted[0].month, found.parted[0].variable) == (3, "stress.rental")
    assert found.parted[0].decision is False
    assert {d.month for d in found.parted} == {3, 4}
    assert next(d.variable for d in found.parted if d.variable.startswith("rental.")) == "rental.log_hopper"  # fmt: skip


# ---- bad input
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"path": -1}, "path = -1: should be a whole number from 0 to 2^48 - 1"),
        ({"path": 1 << 48}, "should be a whole number from 0 to 2^48 - 1"),
        ({"path": 1.5}, "path = 1.5"),
        ({"path": True}, "path = true"),
        ({"path": 1, "seed": -1}, "seed = -1"),
        ({"path": 1, "dtype": "half"}, "dtype = 'half'"),
        ({"path": 1, "months": 0}, "months = 0"),
        ({"path": 1, "backend": "gpu"}, "backend = 'gpu'"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("^", r"\^").replace("1.5", r"1\.5")):
        replay(load("textbook"), **arguments)


# ---- runs
@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = simulate(load("textbook"), 3000, seed=4, backend="numpy")
    return result.save(tmp_path_factory.mktemp("runs") / "textbook")


def values_of(paths: int = 3000) -> Array:
    """The loss of each path, by another way: one block."""
    made = plan(load("textbook"), "numpy")
    row = made.economy.metrics.index("private_credit.loss")
    return made.run(4, 0, paths).metrics[row]


@pytest.mark.parametrize("least", [False, True])
def test_the_extremes_of_a_run(run_folder: Path, least: bool) -> None:
    """As sorting all paths gives them; of equal losses the lowest path first."""
    from overbuilt.engine.run_store import load_run

    loss = values_of()
    order = np.lexsort((np.arange(len(loss)), loss if least else -loss))[:7]
    result = load_run(run_folder)
    found = extremes(result, "private_credit.loss", 7, least)
    assert [r.path for r in found] == order.tolist()
    assert [r.value for r in found] == loss[order].tolist()
    again = replay(result, found[0].path)
    assert again.kernel_metrics["private_credit.loss"] == found[0].value
    assert (again.seed, again.backend, again.dtype, again.months) == (4, "numpy", "float32", 12)
    for count, metric, said in ((0, "private_credit.loss", "from 1 to 3,000"), (3, "x.loss", "unknown")):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            extremes(result, metric, count)
    with pytest.raises(ConfigError, match="from 0 to 2,999, as the run has"):
        replay(result, 3000)


def test_a_run_in_memory_replays_its_model() -> None:
    result = simulate(load("textbook", {"private_credit.nu": 5.0}), 100, seed=9, backend="numpy")
    got = replay(result, 42)
    row = plan(as_economy(result.scenario), "numpy").run(9, 42, 1).metrics[:, 0]
    assert list(got.metrics.values()) == row.tolist()


# ---- the command
def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def printed(*arguments: str) -> str:
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    return done.stdout


SMALL = ("textbook", "--seed", "3", "--path", "5", "--backend", "numpy")


def test_the_command_tells_the_path() -> None:
    text = printed(*SMALL)
    assert "textbook, path 5 of seed 3" in text
    assert "2026-01" in text
    assert "metrics equal those of a run, to the byte" in text
    assert max(map(len, text.splitlines())) <= 100


def test_json_has_the_story_the_metrics_and_what_is_shown() -> None:
    got = json.loads(printed(*SMALL, "--show", "private_credit.*", "--format", "json"))["paths"][0]
    want = replay(load("textbook"), 5, seed=3, backend="numpy")
    assert got["metrics"] == {k: pytest.approx(v) for k, v in want.metrics.items()}
    assert (got["scenario"], got["path"], got["seed"], got["backend"]) == (
        "textbook",
        5,
        3,
        "numpy",
    )
    assert got["equal_to_run"] is True
    assert [e["month"] for e in got["story"]] == sorted(e["month"] for e in got["story"])
    shown = got["months_from_0"]
    assert shown["private_credit.loss"][0] is None
    assert shown["private_credit.loss"][1:] == want.values["private_credit.loss"].tolist()
    assert (
        shown["private_credit.taken[0]"][1:] == want.values["private_credit.taken"][:, 0].tolist()
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_table_is_written(tmp_path: Path, suffix: str) -> None:
    to = tmp_path / f"path.{suffix}"
    read: Callable[[Path], pd.DataFrame] = pd.read_csv if suffix == "csv" else pd.read_parquet  # type: ignore[assignment]
    assert f"written to {to}" in printed(*SMALL, "--out", str(to))
    got = read(to)
    want = replay(load("textbook"), 5, seed=3, backend="numpy").frame()
    assert list(got.columns) == ["path", "month", "date", *want.columns]
    assert got["path"].tolist() == [5] * 13
    assert got["date"].iloc[1] == "2026-01"
    for name in want.columns:
        assert np.array_equal(
            got[name].to_numpy(np.float32), want[name].to_numpy(np.float32), equal_nan=True
        ), name
    assert sorted(p.name for p in tmp_path.iterdir()) == [to.name]


def test_variables_by_month() -> None:
    text = printed(*SMALL, "--show", "private_credit.loss*", "--show", "private_credit.hazard[0]")
    rows = [line.split() for line in text.splitlines() if re.match(r" *\d+ +\d{4}-\d\d ", line)]
    assert [int(r[0]) for r in rows] == list(range(13))
    want = replay(load("textbook"), 5, seed=3, backend="numpy")
    last = [float(x) for x in rows[-1][2:]]
    hazard, loss, share = (
        want.columns()[f"private_credit.{n}"][-1] for n in ("hazard[0]", "loss", "loss_share")
    )
    assert last == pytest.approx([hazard, loss, share], rel=1e-3)
    assert max(map(len, text.splitlines())) <= 100


def test_against_says_that_backends_agree_and_where_they_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs("native")
    at = ("textbook", "--path", "5", "--backend", "native")
    assert "they agree" in printed(*at, "--against", "numpy")
    assert "native float32 against numpy float64" in printed(*at, "--against", "numpy:float64")
    wrong = replace(OPS["exp"], array=lambda np, a: np.exp(a) * a.dtype.type(1.001))
    monkeypatch.setitem(arrays.OPS, "exp", wrong)
    done = invoke(*at, "--against", "numpy")
    assert done.exit_code == 1
    assert "they part in month 1 (private_credit." in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    found = invoke(*at, "--against", "numpy", "--format", "json")
    assert found.exit_code == 1
    against = json.loads(found.stdout)["paths"][0]["against"]
    assert against["agree"] is False
    assert against["parted"][0]["month"] == 1


def test_the_worst_paths_of_a_run(run_folder: Path, tmp_path: Path) -> None:
    to = tmp_path / "worst.csv"
    at = (str(run_folder), "--worst", "3", "--metric", "private_credit.loss")
    text = printed(*at, "--out", str(to))
    loss = values_of()
    order = np.lexsort((np.arange(len(loss)), -loss))[:3]
    rows = [line.split() for line in text.splitlines() if line.endswith("the same")]
    assert [int(r[1].replace(",", "")) for r in rows] == order.tolist()
    assert [float(r[2]) for r in rows] == pytest.approx(loss[order].tolist(), rel=1e-8)
    assert text.count("of seed 4") == 3
    table = pd.read_csv(to)
    assert table["path"].unique().tolist() == order.tolist()
    assert len(table) == 3 * 13
    got = json.loads(printed(*at, "--least", "--format", "json"))["paths"]
    assert [p["ranked"]["rank"] for p in got] == [1, 2, 3]
    assert got[0]["ranked"]["value"] == loss.min()


def test_a_path_of_a_run(run_folder: Path) -> None:
    text = printed(str(run_folder), "--path", "7", "--backend", "numpy", "--dtype", "float64")
    assert "textbook, path 7 of seed 4" in text
    assert "numpy float64" in text


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (("textbook",), ["--path: should be given, 0 to 2^48 - 1; or --worst K of a run"]),
        (("textbook", "--path", "-3"), ["path = -3: should be a whole number from 0 to 2^48 - 1"]),
        (("textbook", "--path", f"{1 << 48}"), [f"path = {1 << 48}: should be"]),
        (("textbok", "--path", "1"), ["scenario 'textbok': unknown; did you mean 'textbook'?"]),
        (("textbook", "--path", "1", "--out", "x.xlsx"), ["--out 'x.xlsx': should be a file that ends in .csv or .parquet"]),
        (("textbook", "--path", "1", "--out", "/nowhere/x.csv"), ["--out '/nowhere/x.csv': there is no folder"]),
        (("textbook", "--path", "1", "--show", "private_credit.los"), ["matches nothing; did you mean 'private_credit.loss'?"]),
        (("base", "--path", "1", "--show", "*"), ["--show: matches 1,946 columns; should be 60 at most"]),
        (("textbook", "--path", "1", "--against", "nmpy:half"), ["'nmpy' is no backend; did you mean 'numpy'?", "'half' should be float32 or float64"]),
        (("textbook", "--worst", "3"), ["--worst: should come with --metric", "textbook is no run"]),
        (("textbook", "--path", "1", "--metric", "x"), ["--metric and --least: should come with --worst K"]),
        (("textbook", "--path", "1", "--seed", "-1", "--dtype", "half", "--months", "0"), ["seed = -1", "dtype = 'half'", "months = 0"]),
        (("textbook", "--path", "1", "--set", "private_credit.nu=x"), ["private_credit.nu = 'x'"]),
        (("RUN", "--path", "3000"), ["path = 3000: should be a whole number from 0 to 2,999, as the run has"]),
        (("RUN", "--path", "1", "--seed", "4", "--set", "months=3"), ["--seed: is the run's own", "--set: is the run's own"]),
        (("RUN", "--worst", "3", "--metric", "private_credit.los"), ["--metric 'private_credit.los': unknown; did you mean 'private_credit.loss'?"]),
        (("RUN", "--worst", "4000", "--metric", "private_credit.loss"), ["--worst 4000: should be from 1 to 3,000"]),
    ],
)  # fmt: skip
def test_bad_input_is_refused_line_by_line(
    run_folder: Path, arguments: tuple[str, ...], lines: list[str]
) -> None:
    done = invoke(*(str(run_folder) if a == "RUN" else a for a in arguments))
    assert done.exit_code == 2
    assert done.stdout == ""
    said = done.stderr.splitlines()
    assert len(said) == len(lines)
    for line in lines:
        assert any(line in found for found in said), said


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overbuilt.engine.replay.replayer", None)  # nothing may be compiled
    (tmp_path / "x.csv").mkdir()
    done = invoke(*SMALL, "--out", str(tmp_path / "x.csv"))
    assert done.exit_code == 2
    assert "is a folder; it should be a file" in done.stderr
