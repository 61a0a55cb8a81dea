"""What only the native backend has to get right: the stack, the compiler, the flags."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from overbuilt.kernels.backends import BackendError, native

from .helpers import FunctionModel, compile_on

needs_compiler = pytest.mark.skipif(native.compiler() is None, reason="no C++ compiler here")


@needs_compiler
def test_arrays_larger_than_a_usual_stack() -> None:
    """200,000 numbers a path are 12.8 MB for a vector of 16 paths; a thread usually has 8 MB."""
    length = 200_000

    def step(xp: Any, inputs: dict[str, Any], state: dict[str, Any], month: Any) -> dict[str, Any]:
        filled = xp.loop(
            0, length, lambda i, c: {"a": xp.set(c.a, i, xp.to_real(i))}, a=xp.array(length, 0.0)
        ).a
        total = xp.loop(0, length, lambda i, c: {"t": c.t + xp.get(filled, i)}, t=0.0).t
        return {"total": total}

    model = FunctionModel(step, ["total"])
    total = compile_on("native", model, "float64").run(model, 0, 0, 40, 1, False).metrics
    assert np.array_equal(total, np.full((1, 40), length * (length - 1) / 2))


@needs_compiler
def test_lists_of_events_larger_than_a_usual_stack() -> None:
    """An event for every index and path: a list of 200,000 times 16 numbers, 12.8 MB."""
    most = 200_000

    def step(xp: Any, inputs: dict[str, Any], state: dict[str, Any], month: Any) -> dict[str, Any]:
        found = xp.sparse(
            0, most, most, lambda i, a: i >= 0, lambda i, a: {"n": 1.0}, arrays={}, sums={"n": 0.0}
        )
        return {"n": found.n}

    model = FunctionModel(step, ["n"])
    count = compile_on("native", model, "float32").run(model, 0, 0, 40, 1, False).metrics
    assert np.array_equal(count, np.full((1, 40), most))


@pytest.mark.parametrize("asked", ["no-such-compiler", '"', "/nowhere/g++"])
def test_a_compiler_that_is_not_there_is_named(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", asked)
    native.compiler.cache_clear()
    try:
        found = native.status()
        assert not found.works
        assert repr(asked) in found.why
        assert "C++ compiler" in found.why
    finally:
        native.compiler.cache_clear()


@needs_compiler
def test_flags_that_no_shell_could_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.TARGET_VARIABLE, '"')
    with pytest.raises(BackendError, match="should be compiler flags"):
        native.target_flags()
    assert not native.status().works


@needs_compiler
def test_flags_that_the_compiler_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.TARGET_VARIABLE, "-march=no-such-processor")
    model = FunctionModel(
        lambda xp, inputs, state, month: {"one": 1.0 * xp.to_real(month)}, ["one"]
    )
    with pytest.raises(BackendError, match="refused the kernel"):
        compile_on("native", model, "float32")
