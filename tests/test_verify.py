"""Verify: nothing is found where nothing is wrong; what is bent on purpose is named, counted, and fails.

Backends are bent in three places: an operation's spelling, what a kernel returns for chosen paths, and how that hangs on
the launch. Differences that are put in by hand must be counted exactly.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from overbuilt.engine import verify as verifying
from overbuilt.engine.commands.verify import verify as command
from overbuilt.engine.rounding import ALLOWED, Tally, decides, lines_of, mean_sizes
from overbuilt.engine.scenario import Scenario, load
from overbuilt.engine.simulate import plan
from overbuilt.engine.system import Economy, System, output
from overbuilt.engine.validate import ConfigError
from overbuilt.engine.verify import Verification, choose, cut_problems, verify
from overbuilt.kernels import backends, cache, ops
from overbuilt.kernels.backends import Output
from overbuilt.kernels.probe import Fault, Probe

Bend = Callable[[Output, int], None]

NAMES = (
    "private_credit.loss",
    "private_credit.loss_share",
    "private_credit.stated",
    "private_credit.defaults",
)
LOSS, SHARE, STATED, DEFAULTS = range(4)


@pytest.fixture(scope="module")
def textbook() -> Scenario:
    found = load("textbook")
    assert found.economy.series == NAMES
    return found


@pytest.fixture
def unprobed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations have tests of their own, which take their time."""
    monkeypatch.setattr(verifying, "probe", lambda name, dtype: Probe(name, dtype, tried=("add",)))


def needs(backend: str) -> None:
    found = backends.status(backend)
    if not found.works:
        pytest.skip(found.why)


@dataclass
class Bent:
    """A kernel whose output is bent: ``bend(output, first)`` for each launch, writable."""

    kernel: Any
    bend: Bend

    def __getattr__(self, name: str) -> Any:
        return getattr(self.kernel, name)

    def run(self, model: Any, seed: int, first: int, *rest: Any) -> Output:
        got = self.kernel.run(model, seed, first, *rest)
        assert got.series is not None
        made = Output(got.metrics.copy(), got.series.copy(), got.bad.copy())
        self.bend(made, first)
        for k, name in enumerate(model.metrics):  # a metric is its series' last month
            made.metrics[k] = made.series[-1, model.series.index(name)]
        return made


def bent(
    monkeypatch: pytest.MonkeyPatch, bend: Bend, backend: str = "numpy", dtype: str = "float32"
) -> None:
    """Let verify compile this backend to a bent kernel."""

    def compiled(model: Any, name: str, kind: str, months: int | None = None) -> Any:
        made = plan(model, name, kind, months)
        return (
            replace(made, kernel=Bent(made.kernel, bend))
            if (name, kind) == (backend, dtype)
            else made
        )

    monkeypatch.setattr(verifying, "plan", compiled)


def at(path: int, first: int, output: Output) -> int | None:
    """The column of a path in a launch."""
    return path - first if first <= path < first + output.metrics.shape[1] else None


def of(found: Verification, variable: str) -> Any:
    return next(r for r in found.checked[0].rows if r.variable == variable)


# ---- nothing is wrong
@pytest.mark.parametrize(
    ("backend", "dtype"), [("native", "float32"), ("native", "float64"), ("numpy", "float32")]
)
def test_the_textbook_agrees(textbook: Scenario, backend: str, dtype: str) -> None:
    needs(backend)
    found = verify(textbook, 700, 3, [backend], dtype)
    assert found.ok, found.lines()
    (c,) = found.checked
    assert (c.paths, c.flipped, c.blurred, c.problems) == (700, 0, 0, [])
    assert {r.variable for r in c.rows} == set(NAMES)
    assert c.rows[0].largest < (1e-6 if dtype == "float32" else 1e-12)
    assert not found.lines()


@pytest.mark.usefixtures("unprobed")
def test_base_agrees_and_says_where_variables_come_from() -> None:
    """A year of the whole economy; the probe of its operations is in the textbook's test."""
    needs("native")
    found = verify(load("base"), 48, 5, ["native"], "float32", months=12)
    assert found.ok, found.lines()
    (c,) = found.checked
    assert len(c.rows) > 100
    lines = {r.variable: r.line for r in c.rows}
    assert lines["rental.hopper"].startswith("economy/rental.py:")
    assert found.yardstick > 0.0
    assert 0.2 < c.typical / found.yardstick < 4.0


@pytest.mark.usefixtures("unprobed")
def test_chunks_change_nothing(textbook: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = verify(textbook, 600, 1, ["numpy"])
    monkeypatch.setattr(verifying, "_RECORD_BYTES", 0)  # chunks of 256
    done: list[tuple[int, int]] = []
    parts = verify(textbook, 600, 1, ["numpy"], progress=lambda a, b, _: done.append((a, b)))
    at_worst = [
        {r.variable: (r.path, r.month, str(r.value), r.beyond) for r in v.checked[0].rows}
        for v in (whole, parts)
    ]
    assert at_worst[0] == at_worst[1]
    assert done == [(256, 1200), (512, 1200), (768, 1200), (1024, 1200), (1112, 1200), (1200, 1200)]


# ---- a broken operation
def test_a_broken_operation_is_named_and_the_backend_not_run(
    textbook: Scenario, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The command, from the outside: exit code 1, the operation and the backend on one line."""
    needs("native")
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    broken = replace(ops.OPS["lt"], c="{p}le({0}, {1})")
    monkeypatch.setitem(ops.OPS, "lt", broken)
    done = CliRunner().invoke(command, ["textbook", "--paths", "64", "--backends", "native"])
    assert done.exit_code == 1
    assert "operation lt on native float32: 1, not 0, at x = " in done.stdout
    assert "NOT RUN" in done.stdout


def test_a_slightly_wrong_operation_is_named_and_the_variables_shown(
    textbook: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something wrong with numbers only does not keep the paths from being compared."""
    fault = Fault(
        "exp", "operation", "numpy", "float32", "x = 1.25", 3.5, 3.49, 3.4e-3, 2e-7, False
    )
    monkeypatch.setattr(
        verifying,
        "probe",
        lambda name, dtype: Probe(name, dtype, [fault] if dtype == "float32" else []),
    )
    found = verify(textbook, 64, 0, ["numpy"])
    assert not found.ok
    assert found.lines() == [
        "operation exp on numpy float32: 0.0034 off at x = 1.25 (allowed 2e-7)"
    ]
    assert found.checked[0].rows


def test_a_broken_reference_is_no_reference(
    textbook: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = Fault("add", "operation", "numpy", "float64", "x = 1", 3.0, 2.0, 0.5, 0.0)
    monkeypatch.setattr(
        verifying,
        "probe",
        lambda name, dtype: Probe(name, dtype, [fault] if dtype == "float64" else []),
    )
    found = verify(textbook, 64, 0, ["numpy"])
    assert not found.ok
    assert not found.checked[0].rows


# ---- paths that are bent by hand
@pytest.mark.usefixtures("unprobed")
def test_a_variable_out_of_tolerance_is_named_with_path_and_month(
    textbook: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bend(o: Output, first: int) -> None:
        for path in range(100, 120):  # 20 of 400: more than 2 + 1 %
            if (j := at(path, first, o)) is not None:
                o.series[3:, LOSS, j] = o.series[3:, LOSS, j] * (1 + 1e-3) + 1e-3  # type: ignore[index]
        if (j := at(107, first, o)) is not None:
            o.series[5, LOSS, j] += 0.01 * o.series[5, LOSS].mean()  # type: ignore[index,union-attr]

    bent(monkeypatch, bend)
    found = verify(textbook, 400, 1, ["numpy"])
    assert not found.ok
    (c,) = found.checked
    assert (c.blurred, c.flipped) == (20, 0)
    worst = of(found, "private_credit.loss")
    assert (worst.path, worst.month, worst.beyond, worst.flips) == (107, 6, 20, 0)
    assert of(found, "private_credit.loss_share").beyond == 0
    assert found.lines()[0] == "numpy float32: 20 of 400 paths are more than 0.0001 off; 6 may be"
    assert found.lines()[1].startswith("private_credit.loss on numpy float32: ")
    assert "on path 107 in month 6" in found.lines()[1]
    assert c.replay == "--seed 1 --path 107 --backend numpy --dtype float32 --against numpy:float64"


@pytest.mark.usefixtures("unprobed")
def test_flips_are_counted_and_what_follows_them_is_not(
    textbook: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On three paths one default more from some month on, and a loss that follows from it: within 2 + 0.5 %."""
    flips = {11: 4, 200: 9, 399: 1}

    def bend(o: Output, first: int) -> None:
        for path, month in flips.items():
            if (j := at(path, first, o)) is not None:
                o.series[month - 1 :, DEFAULTS, j] += 1.0  # type: ignore[index]
                o.series[month - 1 :, LOSS, j] += 5.0  # type: ignore[index]

    bent(monkeypatch, bend)
    found = verify(textbook, 400, 1, ["numpy"])
    (c,) = found.checked
    assert found.ok, found.lines()
    assert (c.flipped, c.blurred) == (3, 0)
    assert [(f.path, f.month, f.variable) for f in sorted(c.flips, key=lambda f: f.path)] == [
        (path, month, "private_credit.defaults") for path, month in sorted(flips.items())
    ]
    assert all(f.value == f.reference + 1.0 for f in c.flips)
    assert of(found, "private_credit.defaults").flips == 3
    assert c.rows[0].largest < 1e-6
    assert "--path " in c.replay


@pytest.mark.usefixtures("unprobed")
def test_many_flips_fail(textbook: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    def bend(o: Output, first: int) -> None:
        for path in (1, 2, 3, 40, 50):  # 4 of 400 may
            if (j := at(path, first, o)) is not None:
                o.series[7:, DEFAULTS, j] += 1.0  # type: ignore[index]

    bent(monkeypatch, bend)
    found = verify(textbook, 400, 1, ["numpy"])
    assert not found.ok
    assert (
        found.lines()[0]
        == "numpy float32: on 5 of 400 paths a decision fell the other way; on 4 it may"
    )
    assert "private_credit.defaults on numpy float32: " in found.lines()[1]


@pytest.mark.usefixtures("unprobed")
def test_float64_allows_no_flip_and_no_blur(
    textbook: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("native")

    def one_default(o: Output, first: int) -> None:
        if (j := at(9, first, o)) is not None:
            o.series[7:, DEFAULTS, j] += 1.0  # type: ignore[index]

    def a_little(o: Output, first: int) -> None:
        if (j := at(9, first, o)) is not None:
            o.series[7, LOSS, j] += 2e-9 * o.series[7, LOSS].mean()  # type: ignore[index,union-attr]

    for bend, what in (
        (one_default, "a decision fell"),
        (a_little, "1 of 400 paths are more than 1e-09 off; 0 may be"),
    ):
        bent(monkeypatch, bend, "native", "float64")
        found = verify(textbook, 400, 1, ["native"], "float64")
        assert not found.ok
        assert what in found.lines()[0]


@pytest.mark.usefixtures("unprobed")
def test_a_bias_below_the_tolerance_shows_in_the_median_path(
    textbook: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every path 2e-5 off: no value is out of tolerance, yet rounding does not do that."""
    needs("native")

    def bend(o: Output, first: int) -> None:
        assert o.series is not None
        o.series[:, LOSS] *= 1 + 2e-5

    bent(monkeypatch, bend, "native")
    found = verify(textbook, 400, 1, ["native"])
    assert (found.checked[0].blurred, found.checked[0].flipped) == (0, 0)
    (line,) = found.lines()
    assert line.startswith("native float32: the median path is ")
    assert line.endswith("more than rounding does")


@pytest.mark.usefixtures("unprobed")
def test_not_a_number_on_one_side_is_found(
    textbook: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bend(o: Output, first: int) -> None:
        if (j := at(5, first, o)) is not None:
            o.series[3:, LOSS, j] = np.nan  # type: ignore[index]
            o.bad[j] = 4

    bent(monkeypatch, bend)
    found = verify(textbook, 100, 1, ["numpy"])
    assert found.lines() == [
        "numpy float32: 1 paths have a state that is not finite on one side only"
    ]
    json.dumps(found.as_json(), allow_nan=False)


# ---- the tally alone
class Two(System):
    """What is reported in three ways: by month only, after the last month only, and both."""

    count = output("1", "a whole number")
    only_series = output("1", "by month", metric=False)
    only_metric = output("1", "after the last month", series=False)

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        u = draw.uniform("u")
        return {
            "count": xp.floor(u * 3.0),
            "only_series": u,
            "only_metric": u * 2.0,
        }


def test_metrics_that_are_no_series_are_compared_after_the_last_month() -> None:
    economy = Economy(Two(), months=3)
    made = plan(economy, "numpy", "float64")
    right = made.run(1, 0, 50, series=True)
    got = Output(right.metrics.copy(), right.series, right.bad)
    k = economy.metrics.index("two.only_metric")
    got.metrics[k, 7] *= 1 + 1e-6
    tally = Tally(economy, 3, ALLOWED["float64"])
    rows = [tally.rows_of(right, m) for m in (1, 2, 3)]
    assert [len(r) for r in rows] == [2, 2, 3]
    assert right.series is not None
    whole = np.append(decides(right.series), False)
    assert whole.tolist() == [True, False, False]
    tally.add(100, got, right, [mean_sizes(r) for r in rows], whole)
    worst = tally.rows("numpy", lines_of(made.program))[0]
    assert (worst.variable, worst.path, worst.month, worst.beyond) == ("two.only_metric", 107, 3, 1)
    assert worst.line.startswith("tests/test_verify.py:")
    assert tally.blurred == 1


# ---- bytes
@pytest.mark.parametrize(
    ("bend", "line"),
    [
        (lambda o, first: o.series.__setitem__((0, LOSS, 0), 1e-7 * (first == 17) + o.series[0, LOSS, 0] + 1e-6 * (first == 17)),
         "paths 17 to 55 computed apart give other series than in one launch"),
        (lambda o, first: o.series.__iadd__(o.series.shape[2] == 1),
         "path 37 computed apart give other series than in one launch"),
        (lambda o, first: o.bad.__iadd__(first == 17), "paths 17 to 55 computed apart give other bad than in one launch"),
    ],
)  # fmt: skip
def test_a_byte_that_hangs_on_the_launch_is_found(
    textbook: Scenario, bend: Bend, line: str
) -> None:
    made = plan(textbook, "numpy", "float32")
    whole = made.run(2, 0, 100, series=True)
    assert cut_problems(made, 2, whole) == []
    crooked = replace(made, kernel=Bent(made.kernel, bend))
    assert f"numpy float32: {line}" in cut_problems(crooked, 2, whole)


def test_a_metric_that_is_not_its_series_is_found(textbook: Scenario) -> None:
    made = plan(textbook, "numpy", "float32")
    whole = made.run(2, 0, 100, series=True)
    whole.metrics[0, 99] += 1
    (line,) = cut_problems(made, 2, whole)
    assert (
        line
        == "numpy float32: private_credit.loss after the last month is not the metric private_credit.loss"
    )


# ---- which backends
def test_backends_that_cannot_be_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        backends.cuda, "status", lambda: backends.Status("cuda", False, "no CUDA here")
    )
    cases: list[tuple[Sequence[str], str, str]] = [
        (["nativ"], "float32", "--backends 'nativ': unknown; did you mean 'native'?"),
        (["numpy", "numpy"], "float32", "--backends numpy: is named 2 times; once will do"),
        (["numpy"], "float64", "--backends numpy: is the reference in float64; name others, or say --dtype float32"),
        (["cuda"], "float32", "--backends cuda: cannot be used here: no CUDA here"),
        ([], "float32", "--backends: should name at least one backend"),
    ]  # fmt: skip
    for names, dtype, line in cases:
        with pytest.raises(ConfigError) as raised:
            choose(names, dtype)
        assert raised.value.problems == [line]
    assert choose(["numpy"], "float32") == ["numpy"]


def test_where_only_the_reference_works(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (backends.cuda, backends.jax, backends.native):
        monkeypatch.setattr(module, "status", lambda: backends.Status("x", False, "not here"))
    assert choose(None, "float32") == ["numpy"]
    with pytest.raises(ConfigError, match="none but the reference works here"):
        choose(None, "float64")


# ---- the command
def test_the_command_says_all_that_is_wrong_with_its_arguments() -> None:
    options = [
        "--paths",
        "0",
        "--seed",
        "-1",
        "--backends",
        "tpu",
        "--dtype",
        "half",
        "--months",
        "0",
    ]
    done = CliRunner().invoke(command, ["textbok", *options, "--set", "x"])
    assert done.exit_code == 2
    lines = done.stderr.splitlines()
    for part in (
        "'textbok': unknown",
        "paths = 0",
        "seed = -1",
        "months = 0",
        "'half'",
        "'tpu': unknown",
        "x",
    ):
        assert sum(part in line for line in lines) >= 1, part
    assert all(line.startswith("error: ") for line in lines)


@pytest.mark.usefixtures("unprobed")
def test_the_command_as_json_and_as_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = CliRunner()
    options = [
        "textbook",
        "--paths",
        "90",
        "--backends",
        "numpy",
        "--set",
        "private_credit.nu=5.0",
    ]
    done = runner.invoke(command, [*options, "--format", "json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["ok"] is True
    assert found["backends"][0]["paths"] == 90
    assert {v["variable"] for v in found["backends"][0]["variables"]} == set(NAMES)

    def bend(o: Output, first: int) -> None:
        assert o.series is not None
        o.series[:, LOSS] += 1.0

    bent(monkeypatch, bend)
    done = runner.invoke(command, options)
    assert done.exit_code == 1
    assert "DIFFERS" in done.stdout
    assert "overbuilt replay textbook --set private_credit.nu=5.0 --seed 0 --path " in done.stdout
    tables = [
        line
        for line in done.stdout.splitlines()
        if not line.startswith(("private_credit.", "to see one"))
    ]
    assert max(map(len, tables)) <= 100
