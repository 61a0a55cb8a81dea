"""Profile: a held system leaves the others as they were, and what costs most is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overbuilt.engine.explain import observe
from overbuilt.engine.profile import (
    _ahead,
    first_month,
    hold,
    operations,
    print_profile,
    profile,
    read_by_others,
)
from overbuilt.engine.scenario import load
from overbuilt.engine.simulate import plan
from overbuilt.engine.system import Economy, System, output, parameter
from overbuilt.engine.validate import ConfigError
from overbuilt.kernels import backends, cache
from overbuilt.kernels.passes import optimize
from overbuilt.kernels.trace import trace

FAST = "native" if backends.status("native").works else "numpy"


# ---- a small economy of every kind of variable
class Source(System):
    """What others read: reals, integers, masks, bits, arrays, uniform values."""

    level = parameter(2.0, "1", "assumption: any")
    seen = output("1", "reported and read")
    alone = output("1", "reported only")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        bits = xp.bits_array(2)
        return {
            "x": 0.5, "count": 0, "flag": False, "row": xp.array(3, 0.5), "bits": bits,
            "private": xp.array(50, 1.0),
        }  # fmt: skip

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        z = draw.normal("z")
        x = 0.9 * s.x + z
        ints = xp.array(2, xp.to_int(7.0 + 0.0 * z))
        return {
            "x": x,
            "count": s.count + 1,
            "flag": x > 0.0,
            "row": xp.set(s.row, 1, x),
            "bits": xp.set(s.bits, 0, xp.to_bits(5)),
            "private": xp.set(s.private, 0, x),
            "seen": x * self.level,
            "alone": x - 1.0,
            "level": self.level,
            "ints": ints,
        }


class Sink(System):
    """Reads all of it, and is read back."""

    reads = ("source",)
    total = output("1", "of everything")

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        a = up.source
        small = xp.to_real(a.count + xp.get(a.ints, 1)) + xp.where(a.flag & (a.x > -9.0), 1.0, 0.0)
        word = xp.to_real(xp.from_bits(xp.get(a.bits, 0)))
        row = xp.loop(0, 3, lambda i, c: {"t": c.t + xp.get(a.row, i)}, t=0.0).t
        return {"total": a.x + a.seen + a.level + small + word + row + 0.1 * draw.normal("own")}


class Slow(System):
    """Much work for little."""

    out = output("1", "the result of it")

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        start = draw.uniform("u")
        return {"out": xp.loop(0, 400, lambda i, a: {"x": xp.exp(-a.x)}, x=start).x}


def small() -> Economy:
    return Economy(Source(), Sink(), Slow(), months=6)


def metrics(economy: Economy, backend: str = "numpy", paths: int = 64) -> dict[str, Any]:
    made = plan(economy, backend, "float64").run(3, 0, paths)
    assert not made.bad.any()
    return dict(zip(economy.metrics, made.metrics, strict=True))


def test_a_held_system_leaves_the_program() -> None:
    count = {k: operations(optimize(trace(hold(small(), k), True))) for k in small().systems}
    whole = operations(optimize(trace(small(), True)))
    assert all(left < whole for left in count.values())


def test_what_is_kept_is_what_others_read() -> None:
    assert read_by_others(small())["source"] == {
        "x", "count", "flag", "row", "bits", "seen", "level", "ints",
    }  # fmt: skip
    held = hold(small(), "source")
    program = optimize(trace(held, float64=True))
    assert "source.private" not in program.state_names
    assert "source.row" in program.state_names


def test_values_are_the_medians_of_a_first_month() -> None:
    found = first_month(small())["source"]
    assert abs(float(found["x"].value)) < 1.0
    assert (found["level"].uniform, float(found["level"].value)) == (True, 2.0)
    assert not found["count"].uniform  # a state differs by path
    assert found["row"].value.shape == (3,)
    assert found["ints"].value.tolist() == [7, 7]
    assert found["flag"].value.dtype == bool


@pytest.mark.parametrize("backend", dict.fromkeys(["numpy", FAST, "jax"]))
def test_held_values_of_every_kind_reach_their_readers(backend: str) -> None:
    if not backends.status(backend).works:
        pytest.skip(f"no {backend} here")
    held, values = hold(small(), "source"), first_month(small())["source"]
    got = metrics(held, backend)
    x, row = float(values["x"].value), float(values["row"].value.mean())
    seen, count = float(values["seen"].value), int(values["count"].value)
    flag, word = float(values["flag"].value), float(int(values["bits"].value[0]) * 0)
    mean = x + seen + 2.0 + count + 7 + flag + word + 3 * row
    assert got["sink.total"].mean() == pytest.approx(mean, abs=0.1)
    assert got["source.alone"] == pytest.approx(np.full(64, float(values["alone"].value)))
    assert got["source.seen"] == pytest.approx(np.full(64, seen))


@pytest.mark.parametrize("key", ["source", "sink", "slow"])
def test_systems_above_a_held_one_are_as_they_were(key: str) -> None:
    whole, held = metrics(small()), metrics(hold(small(), key))
    for name, values in whole.items():
        owner = name.partition(".")[0]
        if owner != key and not (key == "source" and owner == "sink"):
            assert np.array_equal(values, held[name]), name


# ---- the shipped economy, whatever systems it has
def depends(economy: Economy) -> dict[str, set[str]]:
    """What each system depends on, by however many steps, last month's reads among them; itself too."""
    reads = {k: t.reads() for k, t in observe(economy).items()}
    found = {k: {k} for k in reads}
    for _ in reads:
        found = {k: v.union(*(reads[r] for r in v)) for k, v in found.items()}
    return found


def test_each_system_can_be_held() -> None:
    """Finite results, and the same as before for whatever does not depend on the held system."""
    economy = load("base", {"months": 2}).economy
    values, needs = first_month(economy), depends(economy)

    def eagerly(made: Economy) -> dict[str, Any]:
        kernel = backends.compile("numpy", made, trace(made, float64=True), "float64")
        output = kernel.run(made, 3, 0, 4, 2, False)
        assert not output.bad.any(), made.name
        return dict(zip(made.metrics, output.metrics, strict=True))

    whole = eagerly(economy)
    for key in economy.systems:
        held = eagerly(hold(economy, key, values))
        for name, was in whole.items():
            if key not in needs[name.partition(".")[0]]:
                assert np.array_equal(was, held[name]), (key, name)


# ---- what it costs
def test_the_slow_system_costs_most(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[int, int, str]] = []
    found = profile(small(), 20_000, 1, FAST, months=3, progress=lambda *step: told.append(step))
    cost = {c.system: c for c in found.costs}
    assert list(cost) == ["source", "sink", "slow"]
    assert max(cost.values(), key=lambda c: c.seconds).system == "slow"
    assert cost["slow"].share > 0.4
    assert cost["source"].operations > cost["sink"].operations / 2 > 0
    assert found.seconds == pytest.approx(cost["slow"].held + cost["slow"].seconds)
    assert found.as_json()["costs"][2]["system"] == "slow"
    assert [t[0] for t in told] == list(range(1, told[0][1] + 1))
    assert told[0][1] == 4 * (1 + found.runs)
    print_profile(found)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    for word in ("source", "sink", "slow", "the whole", "need not add to 100 %"):
        assert word in text


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="paths"):
        profile(small(), 0)


@pytest.mark.skipif(FAST != "native", reason="no C++ compiler here")
def test_what_is_compiled_ahead_is_what_the_kernel_looks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "folder", lambda: tmp_path)
    _ahead(hold(small(), "slow"), "float32")
    assert plan(hold(small(), "slow"), "native").kernel.cached  # type: ignore[attr-defined]
