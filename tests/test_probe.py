"""The probe: it finds nothing where nothing is wrong, and names what is broken where one thing is.

Its right answers are checked against mpmath, SciPy and the published vectors of Philox. Then operations are broken one
at a time, on purpose, in one backend: the probe must name that one and no other.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.special

from overbuilt.kernels import answers, arrays, backends, cache, ops, philox, special
from overbuilt.kernels import probe as probing
from overbuilt.kernels.answers import Where
from overbuilt.kernels.namespace import Namespace
from overbuilt.kernels.probe import ROWS, Fault, Probe, Trials, operands, probe
from overbuilt.kernels.trials import (
    Trial,
    composites,
    draws,
    loops,
    operations,
    while_loops,
)
from overbuilt.kernels.trials import arrays as array_trials

from .helpers import DTYPES


def works(backend: str) -> None:
    found = backends.status(backend)
    if not found.works:
        pytest.skip(found.why)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken kernels stay out of the user's cache."""
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)


def names(found: Probe) -> list[str]:
    return [f.name for f in found.faults]


# ---- the right answers
def test_philox_gives_the_published_words() -> None:
    """Random123's known answers (kat_vectors, philox4x32 10): counter and key all zeros, all ones, digits of pi."""
    known = {
        ((0, 0, 0, 0), (0, 0)): (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2): (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
        ): (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    }
    for (counter, key), words in known.items():
        path = counter[0] + ((counter[1] >> 16) << 32)
        where = Where(np.array([path], np.uint64), 1, key[0] + (key[1] << 32), np.float64)
        salt = philox.stream_id("any") ^ counter[2]
        index = np.array([counter[3]], np.uint32)
        got = answers.philox(where, "any", counter[1] & 0xFFFF, index, salt)
        assert tuple(int(w[0]) for w in got) == words


@pytest.mark.parametrize(
    ("ours", "exact", "points"),
    [
        (answers.normal, mpmath.ncdf, (-37.0, -12.7, -5.3, -0.7, -1e-5, 0.0, 0.3, 2.9, 8.1)),
        (answers.log_normal, lambda x: mpmath.log(mpmath.ncdf(x)), (-36.0, -8.4, -0.9, 0.1, 5.5, 7.7)),
        (
            answers.quantile,
            lambda p: mpmath.sqrt(2) * mpmath.erfinv(2 * p - 1),
            (1e-300, 1e-40, 3e-9, 0.02, 0.4999, 0.61, 0.99999),
        ),
    ],
)  # fmt: skip
def test_answers_are_right_to_two_ulp(ours: Any, exact: Any, points: tuple[float, ...]) -> None:
    for x in points:
        with mpmath.workdps(700):  # 2 p - 1 must hold 1e-300
            want = float(exact(mpmath.mpf(x)))
        assert abs(ours(x) - want) <= 2.0 * np.spacing(abs(want)), x


def test_answers_at_the_ends() -> None:
    assert [answers.normal(x) for x in (-np.inf, np.inf)] == [0.0, 1.0]
    assert [answers.quantile(p) for p in (0.0, 1.0)] == [-np.inf, np.inf]
    assert np.isnan([answers.normal(np.nan), answers.quantile(-0.1), answers.quantile(1.5)]).all()
    assert np.array_equal(
        answers.lowest_bit(np.array([0, 1, 12, 2**31], np.uint32)), [32, 0, 2, 31]
    )


def test_answers_agree_with_scipy_over_all_operands() -> None:
    with np.errstate(all="ignore"):
        for column, ours, theirs in (
            ("deviate", answers.normal, scipy.special.ndtr),
            ("deviate", answers.log_normal, scipy.special.log_ndtr),
            ("share", answers.quantile, scipy.special.ndtri),
        ):
            x = operands("float64")[column]
            np.testing.assert_allclose(answers.each(ours)(x), theirs(x), rtol=1e-12)


# ---- what is tried
def every_trial() -> list[Trial]:
    groups = (operations(ops.OPS), composites(), draws(), array_trials(), loops(), while_loops())
    return [t for group in groups for t in group]


def test_nothing_is_left_untried() -> None:
    """Every row of the table with every kind, every composite, draw, array and loop that a model may call."""
    tried = {t.name for t in every_trial()}
    assert set(ops.OPS) <= tried
    public = {
        n for n in vars(Namespace) if not n.startswith("_") and callable(getattr(Namespace, n))
    }
    assert public <= tried
    assert {
        "loop",
        "loop_while",
        "sparse",
        "while_any",
        "array",
        "bits_array",
        "get",
        "set",
        "take",
        "philox",
    } <= tried
    drawn = {n for n in vars(philox.Draws) if not n.startswith("_")} - {"once", "words"}
    assert {f"draw.{n}" for n in drawn} <= tried
    where = {"".join(k for _, k in t.operands) for t in every_trial() if t.name == "where"}
    assert {"mii", "muu", "mmm"} < where


def test_right_answers_are_not_those_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """An array spelling that is broken breaks NumPy, and must not break what NumPy is judged by."""
    for name, op in ops.OPS.items():
        monkeypatch.setitem(ops.OPS, name, replace(op, array=lambda *a: 1 / 0))
    where = Where(np.arange(4, dtype=np.uint64), 1, 0, np.float64)
    stored = operands("float64")
    for t in operations(ops.OPS):
        taken = [probing._typed(stored[c][:4], kind, np.float64) for c, kind in t.operands]
        with np.errstate(all="ignore"):
            assert len(t.right(where, *taken)) == 4, t.name


@pytest.mark.parametrize("dtype", DTYPES)
def test_operands_are_what_the_precision_holds(dtype: str) -> None:
    for name, column in operands(dtype).items():
        assert len(column) == ROWS, name
        if column.dtype.kind == "f":
            assert np.array_equal(column, column.astype(dtype).astype(float), equal_nan=True), name


def test_hardly_a_row_of_operands_is_missed() -> None:
    model = Trials([], "float64")
    kernel = backends.compile("numpy", model, probing.trace(model, True), "float64")
    rows = kernel.run(model, probing.SEED, probing.FIRST, probing.PATHS, 1, False).metrics[0]
    assert len(np.unique(rows)) > 0.99 * ROWS


# ---- nothing is broken
@pytest.mark.parametrize(
    ("backend", "dtype"),
    [("numpy", "float32"), ("numpy", "float64"), ("native", "float32"), ("native", "float64"),
     ("jax", "float32"), ("cuda", "float32"), ("cuda", "float64")],
)  # fmt: skip
def test_a_sound_backend_has_no_fault(backend: str, dtype: str) -> None:
    works(backend)
    found = probe(backend, dtype)
    assert not found.faults, "\n".join(map(str, found.faults))
    assert set(found.tried) == {t.name for t in every_trial()}
    assert not found.unjudged


def test_a_backend_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = backends.Status("native", False, "no C++ compiler")
    monkeypatch.setattr(backends.native, "status", lambda: gone)
    with pytest.raises(backends.BackendError, match="native cannot be used: no C"):
        probe("native", "float32")


# ---- one thing is broken
BROKEN_IN_C = {
    "exp": "({p}exp({0}) * R(1.0034))",
    "minimum": "({0} < {1} ? {0} : {1})",  # loses a NaN on the left
    "sqrt": "({p}sqrt({0}) + R(1e-30))",  # wrong at zero alone
    "lt": "{p}le({0}, {1})",  # wrong where both are equal
    "where": "{p}sel({0}, {2}, {1})",
    "to_int": "{p}int({p}floor({0}))",  # down, not towards zero
    "shift_right": "{p}shr({0}, {1} & 15)",
    "uniform": "({p}uniform({0}) - R(1.1641532182693481e-10))",  # x 2^-32, without the half
}


@pytest.mark.parametrize("name", BROKEN_IN_C)
@pytest.mark.usefixtures("own_cache")
def test_the_broken_operation_of_native_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    works("native")
    monkeypatch.setitem(ops.OPS, name, replace(ops.OPS[name], c=BROKEN_IN_C[name]))
    dtype = "float64" if name == "uniform" else "float32"  # float32 rounds the half away
    found = probe("native", dtype)
    assert names(found) == [name], list(map(str, found.faults))
    assert str(found.faults[0]).startswith(f"operation {name} on native {dtype}: ")
    assert name not in found.unjudged


@pytest.mark.usefixtures("own_cache")
def test_a_uniform_spelling_that_alone_is_broken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Operands that are the same on all paths go through code of their own."""
    works("native")
    made = ops.OPS["exp"].c
    broken = f"(sizeof({{0}}) == sizeof(real) ? {made} * R(1.01) : {made})"
    monkeypatch.setitem(ops.OPS, "exp", replace(ops.OPS["exp"], c=broken))
    assert names(probe("native", "float32")) == ["exp"]


def test_the_broken_operation_of_jax_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    works("jax")
    wrong = lambda np_, a: np_.exp(a) * (1.0034 if "jax" in np_.__name__ else 1.0)  # noqa: E731
    monkeypatch.setitem(ops.OPS, "exp", replace(ops.OPS["exp"], array=wrong))
    found = probe("jax", "float32")
    assert names(found) == ["exp"]
    assert set(found.unjudged) >= {"ndtr", "pow", "expm1"}
    assert not probe("numpy", "float32").faults


@pytest.mark.usefixtures("own_cache")
def test_an_operation_that_the_compiler_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    works("native")
    monkeypatch.setitem(ops.OPS, "popcount", replace(ops.OPS["popcount"], c="nonsense({0})"))
    few = ("popcount", "add", "lowest_bit")
    monkeypatch.setattr(
        probing, "operations", lambda table: [t for t in operations(table) if t.name in few]
    )
    monkeypatch.setattr(probing, "composites", lambda: [t for t in composites() if t.name in few])
    for group in ("draws", "arrays", "loops"):
        monkeypatch.setattr(probing, group, list)
    found = probe("native", "float32")
    assert names(found) == ["popcount"]
    assert "refused" in str(found.faults[0])
    assert "nonsense" in str(found.faults[0])
    assert found.unjudged == ("lowest_bit",)


def wrong_words(*a: Any) -> tuple[Any, ...]:
    words = philox.philox4x32(*a)
    return (*words[:3], words[3] ^ np.uint32(1))


GET, REPLACE = arrays.ArrayNamespace.get, arrays.ArrayNamespace._replace
TAKE = arrays.ArrayColumn.__getitem__
NORMAL, EXPM1 = philox.Draws.normal, special.expm1

ELSEWHERE: dict[str, tuple[Any, str, Any, list[str]]] = {
    "generator": (arrays, "philox4x32", wrong_words, ["philox"]),
    "get": (arrays.ArrayNamespace, "get", lambda s, a, i: GET(s, a, i + 1), ["get", "set"]),
    "set": (arrays.ArrayNamespace, "_replace", lambda s, a, i, x: REPLACE(s, a, i, x + 1), ["get", "set"]),
    "mask of a loop": (arrays.ArrayNamespace, "merge", lambda s, mask, new, old: new, ["loop_while"]),
    "table": (arrays.ArrayColumn, "__getitem__", lambda s, i: TAKE(s, i + 1), ["take"]),
    "composite": (
        special, "expm1", lambda xp, x: EXPM1(xp, x) * 1.001, ["expm1", "tanh"],
    ),
    "normals": (
        philox.Draws, "normal", lambda s, *a: tuple(1.001 * z for z in NORMAL(s, *a)), ["draw.normal"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", ELSEWHERE)
def test_what_is_broken_outside_the_table_is_named(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An array can only be filled by ``set`` and read by ``get``: those two go together."""
    where, attribute, broken, expected = ELSEWHERE[what]
    monkeypatch.setattr(where, attribute, broken)
    assert sorted(names(probe("numpy", "float32"))) == sorted(expected)


def test_two_broken_operations_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, by in (("log", 1.001), ("floor", 2.0)):
        made = ops.OPS[name].array
        wrong = lambda np_, a, made=made, by=by: made(np_, a) * a.dtype.type(by)  # noqa: E731
        monkeypatch.setitem(ops.OPS, name, replace(ops.OPS[name], array=wrong))
    found = probe("numpy", "float64")
    assert sorted(names(found)) == ["floor", "log"]
    assert [f.name for f in found.faults if f.grave] == ["floor"]
    assert found.grave


# ---- the words
@pytest.fixture
def fault() -> Fault:
    return Fault(
        "exp", "operation", "native", "float32", "x = 1.25", 3.502, 3.49, 3.4e-3, 2e-7, False
    )


def test_the_message_has_the_operands_the_error_and_what_is_allowed(fault: Fault) -> None:
    head = "operation exp on native float32: "
    assert str(fault) == head + "0.0034 off at x = 1.25 (allowed 2e-7)"
    assert str(replace(fault, allowed=0.0)) == head + "3.502, not 3.49, at x = 1.25"
    assert str(replace(fault, off=np.inf, got=np.nan)) == head + "nan, not 3.49, at x = 1.25"
    assert str(replace(fault, refusal="no such thing")) == head + "refused: no such thing"
