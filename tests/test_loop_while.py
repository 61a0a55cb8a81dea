"""``xp.loop_while``: a counted loop that each path leaves for good where its condition first fails.

The expected values are counted by hand for each path from its own stopping place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from .helpers import DTYPES, EVERYWHERE, FunctionModel, compile_on, random_row, why_not

PATHS, ROUNDS, SIZE = 500, 11, 6


def model() -> FunctionModel:
    """Every path stops at a row of its own, 0 to 15; the loop has ROUNDS rounds."""

    def step(xp: Any, inputs: dict[str, Any], state: dict[str, Any], month: Any) -> dict[str, Any]:
        stop = random_row(xp, 4)

        def body(i: Any, c: Any) -> dict[str, Any]:
            # the array is longer than some paths run and shorter than others: indices are clamped
            marks = xp.set(c.marks, i, xp.get(c.marks, i) + 1.0)
            return {"total": c.total + xp.to_real(i), "marks": marks}

        # "not equal" holds again after the stop: a path that has left must not come back
        once = xp.loop_while(
            0, ROUNDS, lambda i, c: stop != i, body, total=0.0, marks=xp.array(SIZE, 0.0)
        )

        def again(c: Any) -> dict[str, Any]:
            inner = xp.loop_while(
                2, inputs["rounds"], lambda i, d: stop > i, lambda i, d: {"n": d.n + 1.0}, n=0.0
            )
            return {"n": c.n + inner.n, "turns": c.turns + 1.0}

        # nested: only paths with an odd stop go round, and idle ones must not run the inner loop
        odd = xp.bit_and(xp.to_bits(stop), 1) != 0
        nested = xp.while_any(lambda c: odd & (c.turns < 2.0), again, n=0.0, turns=0.0)
        none = xp.loop_while(5, 5, lambda i, c: i < 100, lambda i, c: {"n": c.n + 1.0}, n=0.0)
        return {
            "stop": xp.to_real(stop),
            "total": once.total,
            "first": xp.get(once.marks, 0),
            "last": xp.get(once.marks, SIZE - 1),
            "nested": nested.n,
            "none": none.n,
        }

    names = ("stop", "total", "first", "last", "nested", "none")
    return FunctionModel(step, names, ints={"rounds": ROUNDS})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("backend", EVERYWHERE)
def test_each_path_stops_for_good(backend: str, dtype: str) -> None:
    if why_not(backend):
        pytest.skip(why_not(backend))
    made = model()
    stop, total, first, last, nested, none = (
        compile_on(backend, made, dtype).run(made, 3, 0, PATHS, 1, False).metrics
    )
    rounds = np.minimum(stop, ROUNDS)
    assert set(np.unique(stop)) == set(range(16))
    assert np.array_equal(total, rounds * (rounds - 1) / 2)
    assert np.array_equal(first, (rounds > 0) * 1.0)
    assert np.array_equal(last, np.maximum(rounds - (SIZE - 1), 0))
    assert np.array_equal(nested, np.where(stop % 2 == 1, 2 * np.maximum(rounds - 2, 0), 0))
    assert not none.any()
