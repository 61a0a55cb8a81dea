"""``xp.sparse``: events that few paths have at a time, which the kernels pack together.

What it should give is what a plain loop over all indices gives with ``xp.where``, to the byte on the same backend; how many
events there are is also counted by hand from each path's own number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from overbuilt.kernels.trace import TraceError, trace

from .helpers import DTYPES, EVERYWHERE, FunctionModel, compile_on, random_row, why_not

PATHS, SIZE, MONTHS = 500, 37, 3
SUMS = ("sum", "count", "drawn", "picked")
NAMES = ("row", "events", "first", "last", *SUMS)


def fires(xp: Any, row: Any, i: Any) -> Any:
    """None for the rows 0 to 2; for the others at every eighth index or so, never at the last."""
    return (xp.bit_and(xp.to_bits(i * 3 + row), 7) == 0) & (row > 2) & (i < SIZE - 1)


def step(dense: bool, xp: Any, month: Any) -> dict[str, Any]:
    row = random_row(xp, 4)
    odd = xp.bit_and(xp.to_bits(row), 1) != 0
    x = xp.loop(
        0, SIZE, lambda i, a: {"x": xp.set(a.x, i, 0.5 * xp.to_real(i))}, x=xp.array(SIZE, 0.0)
    ).x
    table = xp.loop(
        0, 4, lambda j, a: {"t": xp.set(a.t, j, xp.to_real(row + j))}, t=xp.array(4, 0.0)
    ).t

    def event(x: Any, n: Any, i: Any) -> dict[str, Any]:
        """Reads of the path's own: a number, a mask, an array at two places, a draw; and a loop by itself."""
        grown = xp.while_any(
            lambda d: d.k < row - i, lambda d: {"k": d.k + 1, "y": d.y * 0.75 + 1.0}, k=0, y=x
        ).y
        return {
            "x": grown,
            "n": n + 1,
            "sum": 0.25 * grown,  # exact, so that it is the same whether or not the sum is fused
            "count": 1.0,
            "drawn": xp.uniform(xp.philox("test.event", month, i)[2]),
            "picked": xp.where(odd, xp.get(table, 2), xp.get(table, i - row)),
        }

    def packed(i: Any, a: Any) -> dict[str, Any]:
        new = event(xp.get(a.x, i), xp.get(a.n, i), i)
        return new | {"x": xp.set(a.x, i, new["x"]), "n": xp.set(a.n, i, new["n"])}

    def every(i: Any, a: Any) -> dict[str, Any]:
        here, old = fires(xp, row, i), {"x": xp.get(a.x, i), "n": xp.get(a.n, i)}
        new = event(old["x"], old["n"], i)
        arrays = {k: xp.set(getattr(a, k), i, xp.where(here, new[k], old[k])) for k in old}
        return arrays | {k: xp.where(here, getattr(a, k) + new[k], getattr(a, k)) for k in SUMS}

    arrays = {"x": x, "n": xp.array(SIZE, xp.to_int(0.0))}
    sums = {k: xp.to_real(month) for k in SUMS}
    if dense:
        done = xp.loop(0, SIZE, every, **arrays, **sums)
    else:
        done = xp.sparse(
            0, SIZE, SIZE, lambda i, a: fires(xp, row, i), packed, arrays=arrays, sums=sums
        )
    counted = xp.loop(0, SIZE, lambda i, a: {"n": a.n + xp.get(done.n, i)}, n=0).n
    return {
        "row": xp.to_real(row),
        "events": xp.to_real(counted),
        "first": xp.get(done.x, 3),
        "last": xp.get(done.x, SIZE - 2),
        **{k: getattr(done, k) for k in SUMS},
    }


def model(dense: bool) -> FunctionModel:
    return FunctionModel(lambda xp, inputs, state, month: step(dense, xp, month), NAMES)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", EVERYWHERE)
def test_it_gives_what_a_loop_over_all_gives(backend: str, dtype: str) -> None:
    if why_not(backend):
        pytest.skip(why_not(backend))
    packed, dense = (
        compile_on(backend, model(d), dtype).run(model(d), 3, 0, PATHS, MONTHS, False).metrics
        for d in (False, True)
    )
    found = dict(zip(NAMES, packed, strict=True))
    if backend == "jax":  # XLA fuses the two in its own ways
        np.testing.assert_allclose(packed, dense, rtol=1e-6 if dtype == "float32" else 1e-14)
    else:
        assert packed.tobytes() == dense.tobytes()
    i = np.arange(SIZE - 1)
    by_row = [sum((3 * i + row) % 8 == 0) if row > 2 else 0 for row in range(16)]
    assert np.array_equal(found["events"], np.array(by_row)[found["row"].astype(int)])
    assert np.array_equal(found["count"], found["events"] + MONTHS)
    assert len(set(found["drawn"].tolist())) > PATHS / 2  # draws differ by path and event


@pytest.mark.parametrize("backend", ["numpy", "native", "jax"])
def test_inside_of_a_loop_only_the_paths_that_still_go_round_have_events(backend: str) -> None:
    if why_not(backend):
        pytest.skip(why_not(backend))

    def rounds(xp: Any, inputs: Any, state: Any, month: Any) -> dict[str, Any]:
        row = random_row(xp, 4)

        def turn(c: Any) -> dict[str, Any]:
            found = xp.sparse(
                2, inputs["last"], 4, lambda i, a: row > i,
                lambda i, a: {"a": xp.set(a.a, i, xp.get(a.a, i) + 1.0), "n": 1.0},
                arrays={"a": c.a}, sums={"n": 0.0},
            )  # fmt: skip
            return {"k": c.k + 1, "n": c.n + found.n, "a": found.a}

        done = xp.while_any(lambda c: c.k < row, turn, k=0, n=0.0, a=xp.array(9, 0.0))
        return {"row": xp.to_real(row), "n": done.n, "at": xp.get(done.a, 5)}

    made = FunctionModel(rounds, ("row", "n", "at"), ints={"last": 30})
    row, n, at = compile_on(backend, made, "float64").run(made, 3, 0, PATHS, 1, False).metrics
    # four indices at most, 2 to 5, though the loop would go on to 30; each in each of a path's rounds
    assert np.array_equal(n, row * np.clip(row - 2, 0, 4))
    assert np.array_equal(at, np.where(row > 5, row, 0))


def refused(body: Any, **more: Any) -> str:
    def function(xp: Any, inputs: Any, state: Any, month: Any) -> dict[str, Any]:
        given = {"arrays": {"a": xp.array(4, 0.0)}, "sums": {"n": 0.0}, "most": 4} | more
        done = xp.sparse(
            0, 4, given["most"], lambda i, a: xp.get(a.a, i) < 1.0,
            lambda i, a: body(xp, i, a), arrays=given["arrays"], sums=given["sums"],
        )  # fmt: skip
        return {"n": done.n}

    with pytest.raises(TraceError) as error:
        trace(FunctionModel(function, ("n",)), True)
    return str(error.value)


def test_an_event_keeps_to_its_own_index() -> None:
    def beside(xp: Any, i: Any, a: Any) -> dict[str, Any]:
        return {"a": xp.set(a.a, i + 1, 1.0), "n": 1.0}

    def looked(xp: Any, i: Any, a: Any) -> dict[str, Any]:
        return {"a": xp.set(a.a, i, xp.get(a.a, 0)), "n": 1.0}

    def carried(xp: Any, i: Any, a: Any) -> dict[str, Any]:
        turned = xp.loop(0, 2, lambda j, c: {"a": xp.set(c.a, j, 1.0)}, a=a.a)
        return {"a": turned.a, "n": 1.0}

    def nested(xp: Any, i: Any, a: Any) -> dict[str, Any]:
        inner = xp.sparse(
            0, 2, 2, lambda j, b: j < i, lambda j, b: {"n": 1.0}, arrays={}, sums={"n": 0.0}
        )
        return {"a": xp.set(a.a, i, 1.0), "n": inner.n}

    assert "stands inside a sparse loop" in refused(nested)
    assert "another index than its event" in refused(beside)
    assert "another index than its event" in refused(looked)
    assert "carries one of its arrays" in refused(carried)


def test_what_it_is_given_is_checked() -> None:
    def sound(xp: Any, i: Any, a: Any) -> dict[str, Any]:
        return {"a": xp.set(a.a, i, 1.0), "n": 1.0}

    assert "for most, not 0" in refused(sound, most=0)
    assert "sums are numbers" in refused(sound, arrays={"a": 1.0})
    assert "what xp.sparse sums up is a real" in refused(sound, sums={"n": 0})
