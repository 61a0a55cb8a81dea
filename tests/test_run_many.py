"""Several parameter sets of one program in one launch: each gives what it gives alone, to the byte."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from overbuilt.engine.scenario import load
from overbuilt.engine.simulate import plan
from overbuilt.kernels import backends
from overbuilt.kernels.backends import BackendError
from overbuilt.kernels.passes import optimize
from overbuilt.kernels.trace import trace

from .helpers import DTYPES, FunctionModel, assert_same, available, compile_on, run

MONTHS = 5


def walker(drift: float, start: int, steps: list[float], marks: list[int]) -> FunctionModel:
    """A walk whose steps come from a table of reals, with an offset from a table of whole numbers."""

    def step(xp: Any, inputs: Any, state: Any, month: Any) -> dict[str, Any]:
        u = xp.uniform(xp.philox("walk.step", month, 0)[0])
        sizes, offsets = inputs["m.steps"], inputs["m.marks"]
        row = xp.to_int(u * xp.to_real(xp.minimum(month, 4)) * 2.0)
        x = state["x"] + inputs["m.drift"] + sizes[row] * u
        n = state["n"] + offsets[row]
        return {"x": x, "n": n, "both": x + xp.to_real(n + inputs["m.start"])}

    return FunctionModel(
        step,
        ["both", "x"],
        init=lambda xp, inputs: {"x": inputs["m.drift"] * 2.0, "n": inputs["m.start"]},
        reals={"m.drift": drift},
        ints={"m.start": start},
        columns={"m.steps": np.array(steps), "m.marks": np.array(marks, np.int32)},
    )


def models() -> list[FunctionModel]:
    """One program; parameters, whole numbers and columns differ, and the columns' lengths do too."""
    return [
        walker(0.25, 3, [1.0, -2.0, 4.0], [5, 7]),
        walker(-1.5, -4, [0.125], [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        walker(0.25, 3, list(np.linspace(-1.0, 1.0, 50)), [11]),
        walker(float("nan"), 0, [1.0, 2.0], [0, 0]),
    ]


def assert_each_is_alone(kernel: Any, many: list[Any], seed: int, first: int, count: int) -> None:
    together = kernel.run_many(many, seed, first, count, MONTHS)
    assert len(together) == len(many)
    for k, (got, model) in enumerate(zip(together, many, strict=True)):
        want = kernel.run(model, seed, first, count, MONTHS, False)
        assert got.series is None
        assert got.metrics.shape == (len(model.metrics), count)
        assert_same(got, want, model.metrics, f"model {k}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", available())
def test_each_model_gives_what_it_gives_alone(backend: str, dtype: str) -> None:
    kernel = compile_on(backend, models()[1], dtype)
    for count in (1, 77, 5000):  # less than a vector, not a whole one, more than a chunk
        assert_each_is_alone(kernel, models(), 9, 40, count)
    assert kernel.run_many([], 9, 0, 10, MONTHS) == []


@pytest.mark.parametrize("backend", available())
def test_the_models_differ(backend: str) -> None:
    """The test above could pass with one model run four times."""
    kernel = compile_on(backend, models()[0], "float64")
    outputs = kernel.run_many(models(), 9, 0, 64, MONTHS)
    want = [run("numpy", m, "float64", 64, MONTHS, seed=9) for m in models()]
    for got, reference in zip(outputs, want, strict=True):
        np.testing.assert_allclose(got.metrics, reference.metrics, rtol=1e-12)
        assert np.array_equal(got.bad, reference.bad)
    values = [o.metrics[0] for o in outputs]
    assert all((a != b).any() for k, a in enumerate(values) for b in values[k + 1 :])
    assert (outputs[3].bad == 1).all()
    assert not outputs[0].bad.any()


def test_native_splits_where_the_high_word_changes() -> None:
    if not backends.status("native").works:
        pytest.skip("no C++ compiler here")
    native = backends.compile("native", models()[0], optimize(trace(models()[0], True)), "float64")
    reference = compile_on("numpy", models()[0], "float64")
    first = (1 << 33) - 100
    for got, want in zip(
        native.run_many(models(), 2, first, 4200, MONTHS),
        reference.run_many(models(), 2, first, 4200, MONTHS),
        strict=True,
    ):
        assert got.metrics.shape == (2, 4200)
        np.testing.assert_allclose(got.metrics, want.metrics, rtol=1e-12)
        assert np.array_equal(got.bad, want.bad)
    assert_each_is_alone(native, models(), 2, first, 4200)


def test_jax_compiles_once_for_values_that_differ() -> None:
    if "jax" not in available():
        pytest.skip("JAX is not installed")
    kernel: Any = compile_on("jax", models()[0], "float32")
    several = [walker(d, k, [d, 1.0, 2.0], [k, 1]) for k, d in enumerate((0.1, 0.2, 0.3))]
    kernel.run_many(several, 1, 0, 10, MONTHS)
    assert len(kernel._compiled) == 1


@pytest.mark.parametrize("backend", ["numpy", "jax", "g++ -march=native"])
def test_a_model_of_another_program_is_refused(backend: str) -> None:
    if backend not in available():
        pytest.skip(f"no {backend} here")
    kernel = compile_on(backend, models()[0], "float32")
    for part, name in (("reals", "m.drift"), ("ints", "m.start"), ("columns", "m.steps")):
        other = models()[0]
        values = getattr(other, part)
        values["m.other"] = values.pop(name)
        with pytest.raises(BackendError, match=r"^model 1 of 2: its .* are not those .*m\.other"):
            kernel.run_many([models()[0], other], 1, 0, 4, MONTHS)
    other = models()[0]
    other.metrics = ("x",)
    with pytest.raises(BackendError, match=r"model 0 of 1: its metrics .*: both"):
        kernel.run_many([other], 1, 0, 4, MONTHS)
    other = models()[0]
    other.columns["m.steps"] = np.array([1, 2], np.int32)
    with pytest.raises(BackendError, match="model 0 of 1: its columns"):
        kernel.run_many([other], 1, 0, 4, MONTHS)
    swapped = models()[0]
    swapped.columns = dict(reversed(swapped.columns.items()))
    with pytest.raises(BackendError, match="another order"):
        kernel.run_many([swapped], 1, 0, 4, MONTHS)


def test_scenarios_of_one_program_in_one_launch() -> None:
    """A book whose loans depend on each other more is another parameter set of the same program."""
    made = plan(load("textbook"), "native" if backends.status("native").works else "numpy")
    others = [load("textbook", {"private_credit.rho": v}).economy for v in (0.05, 0.4)]
    outputs = made.run_many([made.economy, *others], 7, 0, 3000)
    assert_same(outputs[0], made.run(7, 0, 3000))
    for economy, got in zip(others, outputs[1:], strict=True):
        assert_same(got, plan(economy, made.backend).run(7, 0, 3000))
    row = made.economy.metrics.index("private_credit.loss")
    low, high = (np.std(o.metrics[row]) for o in outputs[1:])
    assert low < 0.5 * high
