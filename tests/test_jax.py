"""The jax backend alone: lanes packed for work that few paths have, and what XLA compiled, kept and found again."""

from __future__ import annotations

import os
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


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """Grows by one with each function that XLA compiles into JAX's cache, or that is found there."""
    import jax

    found: list[str] = []
    events = {"/jax/compilation_cache/cache_hits": "found", "/jax/compilation_cache/cache_misses": "made"}  # fmt: skip

    def listener(event: str, **_: Any) -> None:
        if event in events and here:
            found.append(events[event])

    here = True  # a listener cannot be taken away
    jax.monitoring.register_event_listener(listener)
    yield found
    here = False


def entries(place: Path) -> list[Path]:
    return list(place.rglob("jit_simulate-*-cache"))


def test_what_was_compiled_is_found_again(own_cache: Path, compiled: list[str]) -> None:
    import jax

    first = run("jax", drift(0.5), "float32", 100)
    assert compiled == ["made"]
    (place,) = own_cache.iterdir()
    assert place.stat().st_mode & 0o077 == 0
    (kept,) = entries(place)
    assert {p.name for p in place.iterdir()} == {kept.name, f"{kept.name}.sha256"}
    again = run("jax", drift(0.5), "float32", 100)
    other = run("jax", drift(0.25), "float32", 100)
    assert compiled == ["made", "found", "found"]
    assert again.metrics.tobytes() == first.metrics.tobytes()
    assert np.array_equal(other.metrics, first.metrics / 2)
    run("jax", drift(0.5), "float64", 100)
    assert compiled[3:] == ["made"]
    jax.jit(lambda x: x + 1)(np.float32(1))
    assert len(list(place.rglob("*-cache"))) == 2, "the caller's own functions are not kept"
    config: Any = jax.config
    assert config.jax_compilation_cache_dir is None


@pytest.mark.parametrize("damage", ["cut", "foreign", "a bit", "no hash", "other hash"])
def test_an_entry_that_is_damaged_is_made_again(
    own_cache: Path, compiled: list[str], damage: str
) -> None:
    first = run("jax", drift(0.5), "float32", 100)
    (kept,) = entries(own_cache)
    whole, note = kept.read_bytes(), kept.with_name(f"{kept.name}.sha256")
    middle = len(whole) // 2
    if damage == "no hash":
        note.unlink()
    elif damage == "other hash":
        note.write_text("0" * 64)
    else:
        turned = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        kept.write_bytes({"cut": whole[:middle], "foreign": b"not XLA's", "a bit": turned}[damage])
    for _ in range(2):
        again = run("jax", drift(0.5), "float32", 100)
        assert again.metrics.tobytes() == first.metrics.tobytes()
    assert compiled == ["made", "made", "found"]


@pytest.mark.parametrize("flaw", ["open", "readable", "foreign", "link", "file"])
def test_a_folder_that_others_may_have_written_is_not_used(
    own_cache: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch, flaw: str
) -> None:
    first = run("jax", drift(0.5), "float32", 100)
    (place,) = own_cache.iterdir()
    if flaw in ("open", "readable"):
        place.chmod(0o777 if flaw == "open" else 0o755)
    elif flaw == "foreign":
        me = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: me + 1)
    else:
        place.rename(own_cache / "elsewhere")
        place.symlink_to("elsewhere") if flaw == "link" else place.touch()
    again = run("jax", drift(0.5), "float32", 100)
    assert compiled == ["made"], "neither read nor written"
    assert again.metrics.tobytes() == first.metrics.tobytes()


def test_a_directory_that_the_user_set_is_used(
    own_cache: Path, compiled: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    import jax
    from jax.experimental.compilation_cache.compilation_cache import reset_cache

    his = tmp_path_factory.mktemp("his")
    config: Any = jax.config
    least = config.jax_persistent_cache_min_compile_time_secs
    config.update("jax_compilation_cache_dir", str(his))
    config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    try:
        run("jax", drift(0.5), "float32", 100)
        assert config.jax_compilation_cache_dir == str(his)
    finally:
        config.update("jax_compilation_cache_dir", None)
        config.update("jax_persistent_cache_min_compile_time_secs", least)
        reset_cache()
    assert entries(his)
    assert not entries(own_cache)
