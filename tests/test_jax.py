"""The jax backend alone: lanes packed for work that few paths have, and what XLA compiled, kept and found again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overbuilt.kernels import cache

from .helpers import FunctionModel, compile_on, random_row, run, why_not

pytestmark = pytest.mark.skipif(bool(why_not("jax")), reason=why_not("jax") or "it works")

LENGTH = 80
"""Above what is copied for the lanes at work."""


def walks(length: int) -> FunctionModel:
    """Each path walks as many steps as it drew, over an array of its own; few walk far."""

    def init(xp: Any, inputs: Any) -> dict[str, Any]:
        return {"trail": xp.array(length, 1.0), "total": 0.0}

    def step(xp: Any, inputs: Any, s: Any, month: Any) -> dict[str, Any]:
        row = random_row(xp, 5)
        steps = xp.where(row > 28, row - 20 + month, 0)
        factor = xp.to_real(row) + 0.5

        def walk(c: Any) -> dict[str, Any]:
            trail = xp.set(c.trail, 3, xp.get(c.trail, 3) + factor)
            at = c.done * 7
            trail = xp.set(trail, at, xp.get(trail, at) * 1.25 + xp.get(trail, 3))
            return {"trail": trail, "done": c.done + 1, "total": c.total + xp.get(trail, at)}

        c = xp.while_any(lambda c: c.done < steps, walk, trail=s["trail"], done=0, total=s["total"])
        return {"trail": c.trail, "total": c.total, "done": xp.to_real(c.done)}

    return FunctionModel(step, ["total", "done"], init=init)


def events(length: int) -> FunctionModel:
    """Events of paths and indices, several of a path among them, each with a loop of its own."""

    def init(xp: Any, inputs: Any) -> dict[str, Any]:
        def fill(i: Any, c: Any) -> dict[str, Any]:
            word = xp.philox("test.fill", None, i)[0]
            return {"due": xp.set(c.due, i, xp.to_real(xp.from_bits(xp.shift_right(word, 26))))}

        due = xp.loop(0, length, fill, due=xp.array(length, 0.0)).due
        return {"due": due, "sum": 0.0, "least": 0.0}

    def step(xp: Any, inputs: Any, s: Any, month: Any) -> dict[str, Any]:
        now, scale = xp.to_real(month) * 4.0, xp.to_real(random_row(xp, 3)) + 1.0

        def happens(i: Any, a: Any) -> dict[str, Any]:
            due = xp.get(a.due, i)
            c = xp.while_any(
                lambda c: c.next < now, lambda c: {"next": c.next + scale + 1.0}, next=due
            )
            # not associative: the order in which events are summed shows
            return {"due": xp.set(a.due, i, c.next), "sum": due * 0.1 + xp.to_real(i) * 1e-3}

        done = xp.sparse(
            1, length, length, lambda i, a: xp.get(a.due, i) < now, happens,
            arrays={"due": s["due"]}, sums={"sum": s["sum"]},
        )  # fmt: skip
        return {"due": done.due, "sum": done.sum, "least": xp.get(done.due, 5)}

    return FunctionModel(step, ["sum", "least"], init=init)


@pytest.mark.parametrize(
    ("make", "length", "dtype"),
    [
        (walks, 40, "float32"),
        (walks, LENGTH, "float64"),
        (events, 40, "float64"),
        (events, LENGTH, "float32"),
    ],
)
def test_packed_lanes_give_what_whole_chunks_give(make: Any, length: int, dtype: str) -> None:
    model = make(length)
    want = run("numpy", model, dtype, 700, 5)
    assert len(np.unique(want.metrics[1])) >= 4
    found = {}
    for busy, chunk in ((0, 512), (32, 256), (128, 1024)):
        kernel: Any = compile_on("jax", model, dtype)
        kernel.busy, kernel.chunk = busy, chunk
        found[busy] = kernel.run(model, 1, 0, 700, 5, False)
        near = {"float32": 1e-5, "float64": 1e-12}[dtype]
        np.testing.assert_allclose(found[busy].metrics, want.metrics, rtol=near)
        assert np.array_equal(found[busy].bad, want.bad)
    packed = {found[busy].metrics.tobytes() for busy in (32, 128)}
    assert len(packed) == 1, "the bytes hang on how many lanes work at a time"


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path))
    cache.folder.cache_clear()
    yield tmp_path
    cache.folder.cache_clear()


def drift(by: float) -> FunctionModel:
    return FunctionModel(
        lambda xp, p, s, month: {"x": xp.to_real(random_row(xp, 9)) * p["by"]},
        ["x"],
        reals={"by": by},
    )


def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one with each function that XLA compiles."""
    from jax.stages import Lowered

    found: list[str] = []
    compile_ = Lowered.compile

    def counted(self: Any, *given: Any, **named: Any) -> Any:
        found.append("compiled")
        return compile_(self, *given, **named)

    monkeypatch.setattr(Lowered, "compile", counted)
    return found


def test_what_was_compiled_is_found_again(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = compilations(monkeypatch)
    first = run("jax", drift(0.5), "float32", 100)
    assert len(compiled) == 1
    (kept,) = own_cache.iterdir()
    assert kept.suffix == ".xla"
    assert kept.stat().st_mode & 0o077 == 0
    again = run("jax", drift(0.5), "float32", 100)
    other = run("jax", drift(0.25), "float32", 100)
    assert len(compiled) == 1
    assert again.metrics.tobytes() == first.metrics.tobytes()
    assert np.array_equal(other.metrics, first.metrics / 2)
    run("jax", drift(0.5), "float64", 100)
    assert len(compiled) == 2


@pytest.mark.parametrize("damage", ["cut", "foreign", "open"])
def test_a_file_that_is_damaged_or_not_to_be_trusted_is_made_again(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    first = run("jax", drift(0.5), "float32", 100)
    (kept,) = own_cache.iterdir()
    whole = kept.read_bytes()
    if damage == "open":
        kept.chmod(0o666)
    else:
        kept.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"nothing of XLA's")
    compiled = compilations(monkeypatch)
    again = run("jax", drift(0.5), "float32", 100)
    assert len(compiled) == 1
    assert again.metrics.tobytes() == first.metrics.tobytes()
    assert kept.stat().st_mode & 0o077 == 0
    run("jax", drift(0.5), "float32", 100)
    assert len(compiled) == 1
