"""What the tracer refuses, what the verifier refuses, and what the passes do to a program."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from overbuilt.engine.scenario import load
from overbuilt.engine.simulate import plan
from overbuilt.engine.system import Economy, EconomyError, System, output, parameter
from overbuilt.kernels import cache, passes
from overbuilt.kernels.backends import cuda, native
from overbuilt.kernels.emit import emit, source
from overbuilt.kernels.passes import host_values, optimize
from overbuilt.kernels.program import (
    Block,
    Loop,
    Op,
    Program,
    ProgramError,
    Value,
    While,
    verify,
    walk,
)
from overbuilt.kernels.symbol import TraceError
from overbuilt.kernels.trace import trace

from .fake_cupy import Box, fake
from .helpers import (
    DTYPES,
    VARIANTS,
    FunctionModel,
    assert_same,
    available,
    bits,
    compile_on,
    random_row,
    run,
)
from .test_ops import MODELS

HERE = Path(__file__).name


# ---- refusals: each line below is a step that a kernel cannot run
class Wrong(System):
    """A system whose step does one thing, given when it is made."""

    p = parameter(1.0, "1", "assumption: none")
    y = output("1")

    def __init__(self, wrong: Callable[..., Any]) -> None:
        super().__init__()
        self.wrong = wrong

    def prepare(self) -> dict[str, Any]:
        return {"three": 3, "table": np.arange(4.0)}

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"x": 0.5, "i": 2, "a": xp.array(4, 1.0)}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        v = SimpleNamespace(x=s.x, i=s.i, a=s.a, m=s.x < 1.0, p=self.p, three=self.three)
        v.table, v.draw, v.month = self.table, draw, up.month
        v.bits = draw.words("w")[0]
        return {"x": s.x, "i": s.i, "a": s.a, "y": self.wrong(xp, v)}


def reuse(xp: Any, v: Any) -> Any:
    b = xp.set(v.a, 0, 2.0)
    return xp.get(b, 0) + xp.get(v.a, 0)  # here


def reuse_after_loop(xp: Any, v: Any) -> Any:
    got = xp.loop(0, 2, lambda j, c: {"b": xp.set(c.b, j, 1.0)}, b=v.a)
    return xp.get(got.b, 0) + xp.get(v.a, 0)  # here


def write_without_carrying(xp: Any, v: Any) -> Any:
    a = xp.array(3, 0.0)

    def body(j: Any, c: Any) -> dict[str, Any]:
        b = xp.set(a, j, 1.0)  # here
        return {"s": c.s + xp.get(b, 0)}

    return xp.loop(0, 3, body, s=0.0).s


def write_in_a_condition(xp: Any, v: Any) -> Any:
    a = xp.array(3, 0.0)

    def running(c: Any) -> Any:
        b = xp.set(c.a, 0, 9.0)  # here
        return xp.get(b, 0) < c.n

    got = xp.while_any(running, lambda c: {"a": c.a, "n": c.n - 1.0}, a=a, n=20.0)
    return got.n + xp.get(got.a, 0)


def swap_arrays(xp: Any, v: Any) -> Any:
    a, b = xp.array(3, 0.0), xp.array(3, 1.0)
    got = xp.loop(0, 3, lambda j, c: {"a": c.b, "b": c.a}, a=a, b=b)  # here
    return xp.get(got.a, 0)


def replace_an_array(xp: Any, v: Any) -> Any:
    a = xp.array(3, 0.0)
    got = xp.loop(0, 3, lambda j, c: {"a": xp.array(3, 1.0)}, a=a)  # here
    return xp.get(got.a, 0)


def carry_one_array_twice(xp: Any, v: Any) -> Any:
    a = xp.array(3, 0.0)
    got = xp.loop(0, 3, lambda j, c: {"a": xp.set(c.a, 0, 1.0), "b": c.b}, a=a, b=a)  # here
    return xp.get(got.b, 0)


def loop(xp: Any, body: Callable[..., Any], first: Any = 0, last: Any = 3, start: Any = 0.0) -> Any:
    return xp.loop(first, last, body, z=start).z  # loop


# What is wrong, and words that its message has. A lambda stands on one line, the one to be named.
REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "if": (lambda xp, v: 1.0 if v.x > 0 else 2.0, "xp.where"),
    "while": (lambda xp, v: [0.0 for _ in iter(lambda: bool(v.m), True)], "xp.where"),
    "and": (lambda xp, v: xp.where((v.x > 0) and v.m, 1.0, 0.0), "`&`"),
    "or": (lambda xp, v: xp.where(v.m or (v.x > 0), 1.0, 0.0), "`&`"),
    "not": (lambda xp, v: xp.where(not v.m, 1.0, 0.0), "`~`"),
    "max": (lambda xp, v: max(v.x, 0.0), "xp.minimum"),
    "sorted": (lambda xp, v: sorted([v.x, v.p])[0], "truth"),
    "in": (lambda xp, v: 1.0 if v.x in (1.0, 2.0) else 0.0, "truth"),
    "chain": (lambda xp, v: xp.where(0 < v.x < 1, 1.0, 0.0), r"\(a < b\) & \(b < c\)"),
    "np.exp": (lambda xp, v: np.exp(v.x), r"np\.exp.*xp\.exp"),
    "np.where": (lambda xp, v: np.where(v.m, 1.0, 0.0), r"np\.where.*xp\.where"),
    "np.asarray": (lambda xp, v: np.asarray(v.x), r"xp\.exp"),
    "math.exp": (lambda xp, v: math.exp(v.x), r"instead of math"),
    "math.floor": (lambda xp, v: math.floor(v.x), "xp"),
    "power": (lambda xp, v: v.x**2, r"xp\.pow"),
    "to the power": (lambda xp, v: 2.0**v.x, r"xp\.pow"),
    "modulo": (lambda xp, v: v.i % 2, r"xp\.floor"),
    "floor division": (lambda xp, v: v.i // 2, r"xp\.floor"),
    "divided floor": (lambda xp, v: 7 // v.i, r"xp\.floor"),
    "float": (lambda xp, v: float(v.x), "no Python number"),
    "int": (lambda xp, v: int(v.x), r"xp\.to_int"),
    "round": (lambda xp, v: round(v.x), "no Python number"),
    "range": (lambda xp, v: sum(v.x for _ in range(v.i)), r"xp\.to_int"),
    "list index": (lambda xp, v: [1.0, 2.0][v.i], r"xp\.to_int"),
    "index": (lambda xp, v: v.x[0], r"xp\.get"),
    "array index": (lambda xp, v: v.a[0], r"xp\.get"),
    "write": (lambda xp, v: v.a.__setitem__(0, 1.0), r"xp\.set"),
    "iterate": (lambda xp, v: [e for e in v.a], "sequence"),  # noqa: C416
    "unpack": (lambda xp, v: (lambda a, b: a)(*v.x), "sequence"),
    "integer and real": (lambda xp, v: v.i + v.x, r"add\(integer, real\).*xp\.to_real"),
    "real function of integer": (lambda xp, v: xp.exp(v.i), r"exp\(integer\).*to_real"),
    "mixed where": (lambda xp, v: xp.where(v.m, v.i, v.x), r"where\(mask, integer, real\)"),
    "where without a mask": (lambda xp, v: xp.where(v.x, 1.0, 0.0), r"where\(real"),
    "mask in arithmetic": (lambda xp, v: v.m + 1.0, r"mask"),
    "sum of masks": (lambda xp, v: v.m + v.m, r"add\(mask, mask\)"),
    "and of reals": (lambda xp, v: v.x & v.m, r"logical_and\(real, mask\)"),
    "fraction meets integer": (lambda xp, v: v.i + 0.5, r"0\.5 meets an integer"),
    "large meets integer": (lambda xp, v: v.i + 2**31, "meets an integer"),
    "negative meets bits": (lambda xp, v: v.bits & -1, "meets 32 bits"),
    "number for mask": (lambda xp, v: xp.where(1.0, v.x, 0.0), "mask belongs"),
    "NumPy array": (lambda xp, v: v.x + np.ones(3), r"np\.add"),
    "array of NumPy first": (lambda xp, v: np.ones(3) * v.x, r"np\.multiply"),
    "NumPy number": (lambda xp, v: v.x + np.float64(1), "float64"),
    "NumPy float32": (lambda xp, v: v.x * np.float32(1), r"np\.multiply"),
    "NumPy in where": (lambda xp, v: xp.where(v.m, np.float32(1), v.x), "float32"),
    "text": (lambda xp, v: xp.exp("1"), "no value of the model"),
    "None": (lambda xp, v: xp.minimum(v.x, None), "no value of the model"),
    "array as number": (lambda xp, v: v.a + 1.0, r"xp\.get"),
    "get of a number": (lambda xp, v: xp.get(v.x, 0), r"xp\.array"),
    "set of a number": (lambda xp, v: xp.set(v.x, 0, 1.0), r"xp\.array"),
    "set another kind": (lambda xp, v: xp.set(v.a, 0, v.i), "another kind"),
    "get at a real": (lambda xp, v: xp.get(v.a, v.x), "integer"),
    "set at a real": (lambda xp, v: xp.get(xp.set(v.a, v.x, 1.0), 0), "integer"),
    "set at a fraction": (lambda xp, v: xp.set(v.a, 0.5, 1.0), "integer"),
    "array length": (lambda xp, v: xp.array(0), "above 0"),
    "array of traced length": (lambda xp, v: xp.array(v.i), "above 0"),
    "table at a real": (lambda xp, v: v.table[v.x], r"xp\.to_int"),
    "draw at a real": (lambda xp, v: v.draw.uniform("u", index=v.x), "integer"),
    "body without a key": (lambda xp, v: loop(xp, lambda j, c: {}), r"carries, \['z'\]"),
    "body with another key": (lambda xp, v: loop(xp, lambda j, c: {"z": c.z, "w": 1.0}), "w"),
    "body without a dict": (lambda xp, v: loop(xp, lambda j, c: c.z), "Symbol"),
    "body of another kind": (lambda xp, v: loop(xp, lambda j, c: {"z": j}), "changes the kind of 'z'"),
    "real bound": (lambda xp, v: loop(xp, lambda j, c: {"z": c.z}, last=v.p), "while_any"),
    "bound by path": (lambda xp, v: loop(xp, lambda j, c: {"z": c.z}, last=v.i), "while_any"),
    "start by path": (lambda xp, v: loop(xp, lambda j, c: {"z": c.z}, first=v.i), "while_any"),
    "condition": (lambda xp, v: xp.while_any(lambda c: c.z, lambda c: {"z": c.z}, z=0.0), "mask"),
    "array after set": (reuse, "used after it was written at .*: use what xp.set"),
    "array after a loop": (reuse_after_loop, "used after it was written"),
    "array of outside written": (write_without_carrying, "carry it through the loop"),
    "array written in a condition": (write_in_a_condition, "carry it through the loop"),
    "arrays swapped": (swap_arrays, "in the place of"),
    "array replaced": (replace_an_array, "in the place of"),
    "one array carried twice": (carry_one_array_twice, "two names"),
}  # fmt: skip
SOURCE = Path(__file__).read_text(encoding="utf-8").splitlines()
IN_LOOP = next(k for k, line in enumerate(SOURCE, 1) if line.endswith("# loop"))


def wrong_line(name: str, function: Callable[..., Any]) -> int:
    """The line that the message names: of a lambda its own, or the helper's loop; of a function ``# here``."""
    first = function.__code__.co_firstlineno
    if function.__name__ != "<lambda>":
        return next(k for k in range(first, first + 12) if SOURCE[k - 1].endswith("# here"))
    return (
        IN_LOOP
        if "loop(xp" in SOURCE[first - 1] and "while_any(" not in SOURCE[first - 1]
        else first
    )


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_file_and_line(name: str) -> None:
    function, words = REFUSED[name]
    with pytest.raises(TraceError) as caught:
        trace(Economy(Wrong(function)), False)
    message = str(caught.value)
    assert message.split(": ")[0] == f"tests/{HERE}:{wrong_line(name, function)}", message
    assert re.search(words, message, re.DOTALL), message


def test_what_a_step_returns() -> None:
    """These have no line of their own: the message names the system and the key."""

    class Lacking(Wrong):
        system_name = "lacking"

        def step(self, xp: Any, s: Any, up: Any, draw: Any) -> Any:
            return self.wrong(s)

    def refusal(step: Callable[..., Any]) -> str:
        with pytest.raises((TraceError, EconomyError)) as caught:
            trace(Economy(Lacking(step)), False)
        return str(caught.value)

    rest = lambda s: {"i": s.i, "a": s.a}  # noqa: E731
    assert re.search(r"lacking.*\bx\b", refusal(lambda s: rest(s) | {"y": 1.0}))
    assert re.search(r"lacking\.y", refusal(lambda s: rest(s) | {"x": s.x}))
    assert re.search(r"lacking\.step returns a dict", refusal(lambda s: s.x))
    assert re.search(r"lacking\.x.*kind", refusal(lambda s: rest(s) | {"x": s.i, "y": 1.0}))
    assert re.search(r"lacking\.y.*number", refusal(lambda s: rest(s) | {"x": s.x, "y": s.x < 0}))
    assert re.search(r"lacking\.y.*number", refusal(lambda s: rest(s) | {"x": s.x, "y": s.a}))
    assert re.search(r"^lacking\.x: NoneType", refusal(lambda s: rest(s) | {"x": None, "y": 1.0}))
    assert re.search(r"^lacking\.y: str", refusal(lambda s: rest(s) | {"x": s.x, "y": "1"}))


@pytest.mark.parametrize("case", ["fresh", "shared", "old"])
def test_arrays_of_the_state(case: str) -> None:
    """An array of the state is written in place: a step returns that array, and init makes one for each."""

    def init(xp: Any, inputs: Any) -> dict[str, Any]:
        a = xp.array(2, 0.0)
        return {"a": a, "b": a if case == "shared" else xp.array(2, 1.0)}

    def step(xp: Any, inputs: Any, state: Any, month: Any) -> dict[str, Any]:
        new = dict(state)
        if case == "fresh":
            new["a"] = xp.array(2, 3.0)
        written = xp.set(state["b"], 0, 4.0)
        if case != "old":
            new["b"] = written
        return {**new, "y": xp.get(new["a"], 0) + xp.get(written, 0)}

    words = {"fresh": "in the place of", "shared": "two names", "old": f"written at tests/{HERE}:"}[
        case
    ]
    with pytest.raises(TraceError, match=words):
        trace(FunctionModel(step, ["y"], init=init), False)


def test_what_is_unknown_names_what_there_is() -> None:
    for wrong, words in (
        (lambda xp, v: xp.sinh(v.x), r"no 'sinh'.*exp"),
        (lambda xp, v: v.x >> 2, "unsupported operand"),
        (
            lambda xp, v: xp.loop(0, 2, lambda j, c: {"z": c.w}, z=0.0),
            "no loop value called 'w'.*z",
        ),
    ):
        with pytest.raises((AttributeError, TypeError), match=words):
            trace(Economy(Wrong(wrong)), False)


# ---- the verifier, on programs made by hand
P, X, T, Y = Value(1, "f", False), Value(2, "f", True), Value(3, "i", False), Value(4, "f", True)
INTEGER, M, A = Value(5, "i", True), Value(7, "m", True), Value(8, "f", True, 3)
LOOP_CARRY, LOOP_RESULT, INDEX = Value(20, "f", True), Value(21, "f", True), Value(22, "i", False)
NEW = Value(30, "f", True)
MULTIPLY = Op((Y,), "mul", (X, P))


def program(*statements: Any, outs: tuple[Value, ...] = (Y, Y), **changes: Any) -> Program:
    """x = x * p, unless told otherwise."""
    made = Program(
        init=Block((Op((P,), "param", (), 0),), (P,)),
        step=Block(statements or (MULTIPLY,), outs),
        state_names=("x",),
        state=(X,),
        month=T,
        metrics=("y",),
        series=(),
        reals=("p",),
        ints=(),
        columns=(),
    )
    return replace(made, **changes)


def looped(**changes: Any) -> Program:
    body = Block((Op((NEW,), "add", (LOOP_CARRY, X)),), (NEW,))
    made = Loop((LOOP_RESULT,), T, T, INDEX, (X,), (LOOP_CARRY,), body)
    return program(replace(made, **changes), outs=(LOOP_RESULT, LOOP_RESULT))


def repeated(**changes: Any) -> Program:
    cond = Block((Op((M,), "lt", (LOOP_CARRY, X)),), (M,))
    body = Block((Op((NEW,), "add", (LOOP_CARRY, X)),), (NEW,))
    made = While((LOOP_RESULT,), (X,), (LOOP_CARRY,), cond, body)
    return program(replace(made, **changes), outs=(LOOP_RESULT, LOOP_RESULT))


ARRAY = Op((A,), "array", (P,), 3)
UNIFORM_CARRY, UNIFORM_RESULT = (
    replace(LOOP_CARRY, varying=False),
    replace(LOOP_RESULT, varying=False),
)
BROKEN: dict[str, tuple[Program, str]] = {
    "undefined": (program(Op((Y,), "mul", (X, Value(99, "f", True)))), "f99 is used before"),
    "defined later": (program(Op((Y,), "neg", (NEW,)), Op((NEW,), "neg", (X,))), "used before"),
    "undefined result": (program(outs=(Y, NEW)), "f30 is used before"),
    "twice": (program(MULTIPLY, MULTIPLY), "f4 is assigned twice"),
    "twice in a loop": (looped(index=X), "assigned twice"),
    "kinds": (program(Op((Y,), "add", (X, T))), r"add.*does not give"),
    "result kind": (program(Op((INTEGER,), "mul", (X, P)), outs=(X, X)), "does not give"),
    "uniform result": (program(Op((replace(Y, varying=False),), "mul", (X, P))), "confused"),
    "per-path result": (program(Op((Y,), "mul", (P, P))), "confused"),
    "unknown": (program(Op((Y,), "sinh", (X,))), "unknown operation sinh"),
    "count": (program(Op((Y,), "neg", (X, X))), "does not give"),
    "count of a special": (program(Op((Y,), "take", (), 0)), "takes 1"),
    "array as number": (program(ARRAY, Op((Y,), "neg", (A,))), "plain values"),
    "get of a number": (program(Op((Y,), "get", (X, T))), "needs an array"),
    "state count": (program(state=(X, NEW)), "number of states"),
    "state kind": (program(outs=(T, Y)), "changes its kind"),
    "init kind": (program(state=(replace(X, kind="i"),), outs=(T, T)), "state x changes"),
    "uniform state": (program(state=(replace(X, varying=False),)), "not per path"),
    "output count": (program(outs=(Y,)), "number of values"),
    "output mask": (program(Op((M,), "lt", (X, X)), outs=(X, M)), "not a number"),
    "host": (program(host_reals=(NEW,)), "host result"),
    "bound kind": (looped(first=P), "bounds are integers"),
    "bound by path": (looped(last=replace(T, varying=True)), "the same on all paths"),
    "carry count": (looped(init=(X, X)), "number of values than it carries"),
    "carry kind": (looped(init=(T,)), "changes the kind"),
    "carry widened": (looped(results=(UNIFORM_RESULT,)), "carry and result differ"),
    "uniform carry": (
        looped(carry=(UNIFORM_CARRY,), results=(UNIFORM_RESULT,), init=(P,)),
        "takes a per-path value|confused",
    ),
    "loop's inside": (program(*looped().step.statements, outs=(NEW, NEW)), "used before"),
    "index outside": (program(*looped().step.statements, Op((Y,), "to_real", (INDEX,))), "used before"),
    "condition kind": (repeated(cond=Block((), (LOOP_CARRY,))), "one mask"),
    "condition count": (repeated(cond=Block((), ())), "one mask"),
    "uniform while": (
        repeated(carry=(UNIFORM_CARRY,), results=(UNIFORM_RESULT,), init=(P,),
                 cond=Block((Op((M,), "lt", (X, X)),), (M,)), body=Block((), (P,))),
        "per path",
    ),
    "condition's value in the body": (
        repeated(body=Block((Op((NEW,), "where", (M, X, X)),), (NEW,))), "used before"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_programs_are_rejected(name: str) -> None:
    made, words = BROKEN[name]
    with pytest.raises(ProgramError, match=words):
        verify(made)


def test_whole_programs_are_accepted() -> None:
    for made in (program(), looped(), repeated()):
        assert verify(made) is made
        assert "step" in str(made)


# ---- passes
def names(made: Program) -> list[str]:
    """The operations of the step, constants and parameters left out."""
    found = [s.name for s in walk(made.step) if isinstance(s, Op)]
    return [n for n in found if n not in ("const", "param", "iparam")]


def constants(made: Program) -> list[Any]:
    return [s.attr for s in walk(made.step) if isinstance(s, Op) and s.name == "const"]


def traced(f: Callable[..., Any], **inputs: Any) -> Program:
    """A step with one state x and one result y = f(xp, x, inputs)."""
    return trace(model_of(f, **inputs), True)


def model_of(f: Callable[..., Any], **inputs: Any) -> FunctionModel:
    def init(xp: Any, given: Any) -> dict[str, Any]:
        return {"x": xp.uniform(xp.philox("x", None, 0)[0])}

    def step(xp: Any, given: Any, state: Any, month: Any) -> dict[str, Any]:
        return {"x": state["x"], "y": f(xp, state["x"], given)}

    return FunctionModel(step, ["y"], init=init, **inputs)


def test_fold() -> None:
    fold = lambda f: verify(passes._Fold().program(traced(f)))  # noqa: E731

    made = fold(lambda xp, x, p: x + xp.exp(xp.maximum(xp._symbol(0.0, "f"), -3.0)) * 6.0)
    assert names(made) == ["add"]
    assert 6.0 in constants(made)
    made = fold(lambda xp, x, p: xp.to_real(xp.to_int(xp._symbol(2.75, "f")) + 1) * x)
    assert names(made) == ["mul"]
    assert 3.0 in constants(made)
    for same in (
        lambda xp, x, p: x * 1,
        lambda xp, x, p: 1.0 * x,
        lambda xp, x, p: x / 1.0,
        lambda xp, x, p: x - 0.0,
        lambda xp, x, p: (x * 1 - 0.0) / 1,
    ):
        assert names(fold(same)) == []
    # each of these differs from x, or from 0, for some x: -0, NaN, infinity
    for other in (
        lambda xp, x, p: x + 0.0,
        lambda xp, x, p: x - -0.0,
        lambda xp, x, p: x * 0.0,
        lambda xp, x, p: 0.0 / x,
        lambda xp, x, p: x - x,
        lambda xp, x, p: x / x,
        lambda xp, x, p: x * -1.0,
        lambda xp, x, p: xp.where(x == x, 1.0, 0.0),
    ):
        assert len(names(fold(other))) >= 1


def test_identity_keeps_a_uniform_value_apart() -> None:
    """``1 * p`` in a per-path place stays what the verifier wants: the rewrite is for like uniformity."""
    made = optimize(traced(lambda xp, x, p: x + p["p"] * 1.0, reals={"p": 2.0}))
    assert names(made) == ["add"]
    assert not made.host


def test_share() -> None:
    share = lambda f: verify(passes._Share().program(traced(f)))  # noqa: E731

    made = share(lambda xp, x, p: xp.exp(x + 1.0) * xp.exp(x + 1.0))
    assert names(made) == ["add", "exp", "mul"]
    # the once-per-path draw of init is the step's too; its month is not in it
    made = share(lambda xp, x, p: xp.uniform(xp.philox("x", None, 0)[0]) + x)
    assert names(made) == ["add"]
    made = share(lambda xp, x, p: xp.uniform(xp.philox("x", 1, 0)[0]) + x)
    assert "philox" in names(made)
    # equal arrays are two: each may be written
    made = share(lambda xp, x, p: xp.get(xp.set(xp.array(2), 0, x), 0) + xp.get(xp.array(2), 0))
    assert names(made).count("array") == 2
    # 0.0 and -0.0, 1 and 1.0 and True are equal in Python and are other constants
    made = share(lambda xp, x, p: xp.where(xp.to_int(x) == 1, x * 0.0, x * -0.0) + x * 1.0)
    assert sorted(map(repr, constants(made))) == ["-0.0", "0.0", "1", "1.0"]
    # what one branch of the blocks computed is not another's: a loop may run no round
    made = share(
        lambda xp, x, p: xp.loop(0, 3, lambda j, c: {"z": c.z + xp.exp(x)}, z=0.0).z + xp.exp(x)
    )
    assert names(made).count("exp") == 2
    made = share(
        lambda xp, x, p: xp.exp(x) + xp.loop(0, 3, lambda j, c: {"z": c.z + xp.exp(x)}, z=0.0).z
    )
    assert names(made).count("exp") == 1


def test_hoist() -> None:
    def f(xp: Any, x: Any, p: Any) -> Any:
        scale = xp.exp(p["a"] * 2.0) + xp.sqrt(p["b"])
        n = p["n"] * 3 + 1
        summed = xp.loop(0, n, lambda j, c: {"z": c.z + x * (p["a"] - p["b"])}, z=0.0).z
        return x * scale + xp.where(p["a"] < p["b"], summed, xp.to_real(n))

    inputs = {"reals": {"a": 0.25, "b": 4.0}, "ints": {"n": 2}}
    made = optimize(traced(f, **inputs))
    assert set(names(made)) == {"mul", "add", "lt", "where"}  # a mask has no parameter: it stays
    reals, ints = host_values(made, [0.25, 4.0], [2])
    assert reals[:2] == [0.25, 4.0]
    assert {math.exp(0.5) + 2.0, 0.25 - 4.0, 7.0} <= set(reals)
    assert ints[0] == 2
    assert 7 in ints
    # other parameters, the same kernel
    other = {"reals": {"a": -1.5, "b": 9.0}, "ints": {"n": 0}}
    assert emit(optimize(traced(f, **other))) == emit(made)
    for backend in available():
        kernel = compile_on(backend, model_of(f, **inputs), "float64")
        for given in (inputs, other):
            model = model_of(f, **given)
            got = kernel.run(model, 1, 0, 40, 1, False).metrics
            want = run("numpy", model, "float64", 40).metrics
            # exp is of another library on the host than in the kernel; the rest is exact
            np.testing.assert_allclose(got, want, rtol=1e-14, err_msg=backend)


def test_hoisting_is_of_what_a_run_fixes() -> None:
    """Neither the month's nor a path's value goes to the host."""

    def step(xp: Any, inputs: Any, state: Any, month: Any) -> dict[str, Any]:
        return {"y": inputs["p"] * xp.to_real(month) + inputs["t"][month]}

    model = FunctionModel(step, ["y"], reals={"p": 2.0}, columns={"t": np.arange(3.0)})
    made = optimize(trace(model, True))
    assert not made.host
    assert names(made) == ["to_real", "mul", "take", "add"]


def test_dead_code() -> None:
    def init(xp: Any, inputs: Any) -> dict[str, Any]:
        return {"x": 1.0, "n": 0, "used": 0, "chain": 0, "real": 2.0, "a": xp.bits_array(3)}

    def step(xp: Any, inputs: Any, state: Any, month: Any) -> dict[str, Any]:
        x = state["x"]
        xp.exp(x)
        xp.philox("unused", month, 0)
        xp.set(xp.array(4, x), 0, 1.0)
        looped = xp.loop(0, 3, lambda j, c: {"z": c.z + x, "w": c.w + xp.sqrt(x)}, z=0.0, w=0.0)
        xp.while_any(lambda c: c.k < x, lambda c: {"k": c.k + 1.0}, k=0.0)
        new = {"x": x + looped.z, "n": state["n"] + 1, "used": state["used"] + state["chain"]}
        new |= {"chain": state["chain"] + 1, "real": xp.log(state["real"]), "a": state["a"]}
        return new | {"y": xp.to_real(state["used"])}

    made = optimize(trace(FunctionModel(step, ["y"], init=init), True))
    # n feeds itself alone; real does too, but a NaN in it must be seen
    assert set(made.state_names) == {"x", "used", "chain", "real"}
    assert sorted(names(made)) == ["add"] * 4 + ["log", "to_real"]
    (loop_left,) = [s for s in made.step.statements if isinstance(s, Loop)]
    assert len(loop_left.carry) == 1
    assert not [s for s in made.step.statements if isinstance(s, While)]


def test_dead_code_keeps_what_a_loop_needs() -> None:
    """A carry that only the condition, or only another carry, reads."""

    def f(xp: Any, x: Any, p: Any) -> Any:
        counted = xp.while_any(
            lambda c: c.k < 3,
            lambda c: {"k": c.k + 1, "z": c.z + c.w, "w": c.w * 2.0},
            k=0,
            z=x,
            w=x,
        )
        return counted.z

    for backend in available():
        got = run(backend, model_of(f), "float64", 20).metrics
        x = run(backend, model_of(lambda xp, x, p: x), "float64", 20).metrics
        np.testing.assert_allclose(got, 8 * x, rtol=1e-15)


def fold_model() -> FunctionModel:
    """Work for every pass, on exact operations, with NaN, infinities and zeros of both signs."""
    points = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -2.5, 1e300])

    def step(xp: Any, inputs: Any, state: Any, month: Any) -> dict[str, Any]:
        x = inputs["points"][random_row(xp, 3)]
        p, q, n = inputs["p"], inputs["q"], inputs["n"]
        seen = {
            "zero": x * 0.0,
            "plus": x + 0.0,
            "minus": x - 0.0,
            "minus minus": x - -0.0,
            "one": 1.0 * x / 1.0,
            "self": x - x,
            "nothing": (p - p) * x,
            "same": xp.where(x == x, 1.0, 2.0),
            "folded": x * (xp.maximum(p, q) + 0.125),
            "hoisted": x + xp.sqrt(p * p + q) * (p - 0.75),
            "mask": xp.where((p < q) & (x > 0), xp.floor(p * 3.0), x),
            "int": xp.to_real(n * 7 - 3 + xp.to_int(q * 2.0)) * x,
            "loop": xp.loop(0, n + 1, lambda j, c: {"z": c.z + xp.minimum(x, p * q)}, z=0.0).z,
            "twice": (x + p) * (x + p) - (x + p),
            "divided": xp.abs(x) / (p - p),
        }
        return seen

    columns = {"points": points}
    keys = [
        "zero",
        "plus",
        "minus",
        "minus minus",
        "one",
        "self",
        "nothing",
        "same",
        "folded",
        "hoisted",
    ]
    keys += ["mask", "int", "loop", "twice", "divided"]
    reals = {"p": 0.1875, "q": 2.5}
    return FunctionModel(step, keys, columns=columns, reals=reals, ints={"n": 2})


EXACT: dict[str, Callable[[], FunctionModel]] = {"fold": fold_model, **MODELS}


@pytest.mark.parametrize("name", EXACT)
def test_passes_keep_every_bit(name: str) -> None:
    """Optimized, not optimized, and NumPy's own run of the model, which knows no passes.

    In float64: folding and hoisting compute in float64, so in float32 they are more exact than the
    kernel. The models' operations are exact or correctly rounded, so the host's agree with the kernel's.
    """
    native_backend = next((b for b in available() if b in map(str, VARIANTS)), None)
    if native_backend is None:
        pytest.skip("; ".join(v.missing() for v in VARIANTS))
    model = EXACT[name]()
    want = run("numpy", model, "float64", 300, 3, series=True)
    for optimized in (True, False):
        got = run(native_backend, model, "float64", 300, 3, series=True, optimized=optimized)
        assert_same(got, want, model.metrics, f"optimized={optimized}")


def test_nan_and_infinity_pass_through() -> None:
    model = fold_model()
    for backend in available():
        got = dict(zip(model.metrics, run(backend, model, "float64", 300).metrics, strict=True))
        x = got["one"]
        special = ~np.isfinite(x)
        assert special.any()
        for name in ("zero", "self", "nothing"):
            assert np.isnan(got[name][special]).all(), (backend, name)
        assert (got["same"][np.isnan(x)] == 2.0).all()
        if backend == "jax":
            continue  # XLA drops `+ 0.0`, sign of zero or not
        minus_zero = (x == 0) & np.signbit(x)
        assert minus_zero.any()
        assert not np.signbit(got["plus"][minus_zero]).any()
        assert np.signbit(got["minus"][minus_zero]).all()
        assert not np.signbit(got["minus minus"][minus_zero]).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_state_that_is_not_finite_is_dated(dtype: str) -> None:
    """The month of the first NaN or infinity of a path's state, even if nothing reports that state."""

    def init(xp: Any, inputs: Any) -> dict[str, Any]:
        return {"x": 1.0, "row": random_row(xp, 3)}

    def step(xp: Any, inputs: Any, state: Any, month: Any) -> dict[str, Any]:
        row = state["row"]
        bad = xp.where(row == 2, xp.log(state["x"] * 0.0 - 1.0), 1.0 / (state["x"] - 1.0))
        x = xp.where((month >= row) & (row > 0), bad, 0.5)
        return {"x": x, "row": row, "y": xp.to_real(row)}

    model = FunctionModel(step, ["y"], init=init)
    for backend in available():
        got = run(backend, model, dtype, 200, 5)
        row = got.metrics[0]
        # from month 1 on x is 0.5, and 1 / (x - 1) finite: only rows 1 (in its first month) and 2 go wrong
        assert np.array_equal(got.bad, np.where(row == 1, 1, np.where(row == 2, 2, 0))), backend


# ---- the text
def jump_model() -> FunctionModel:
    """A price with normal shocks and rare jumps, and the highest of a year's last months."""

    def init(xp: Any, inputs: Any) -> dict[str, Any]:
        return {"x": 0.0, "seen": xp.array(3, 1.0)}

    def step(xp: Any, inputs: Any, state: Any, month: Any) -> dict[str, Any]:
        w = xp.philox("jump.shock", month, 0)
        sigma = inputs["sigma"] * xp.sqrt(inputs["dt"])
        z = xp.sqrt(-2.0 * xp.log(xp.uniform(w[0]))) * xp.cos2pi(xp.uniform(w[1]))
        hit = xp.uniform(w[2]) < inputs["rate"] * inputs["dt"]
        size = inputs["sizes"][xp.to_int(xp.uniform(w[3]) * 4.0)]
        x = state["x"] + sigma * z + xp.where(hit, size, 0.0)
        price = xp.exp(x)
        seen = xp.set(state["seen"], xp.clock(month, 3), price)
        top = xp.loop(0, 3, lambda j, c: {"top": xp.maximum(c.top, xp.get(seen, j))}, top=0.0).top
        halvings = xp.while_any(
            lambda c: c.p > 1.0, lambda c: {"p": c.p * 0.5, "n": c.n + 1}, p=top, n=0
        )
        return {"x": x, "seen": seen, "price": price, "top": top, "halvings": halvings.n}

    return FunctionModel(
        step,
        ["price", "top", "halvings"],
        init=init,
        series=["price"],
        reals={"sigma": 0.3, "dt": 1 / 12, "rate": 0.5},
        columns={"sizes": np.array([-0.5, -0.25, 0.25, 0.5])},
    )


GOLDEN = Path(__file__).with_name("golden") / "jump.txt"
UPDATE = "OVERBUILT_UPDATE_GOLDEN"


def test_golden_text() -> None:
    """The text of a small model, to be read in review. ``OVERBUILT_UPDATE_GOLDEN=1 pytest`` writes it anew.

    Lines of this file are given from the model's first line on, so that edits above it change nothing.
    """
    start = jump_model.__code__.co_firstlineno
    text = emit(optimize(trace(jump_model(), False)))
    shown = re.sub(rf"tests/{HERE}:(\d+)", lambda m: f"jump_model+{int(m[1]) - start}", text)
    if os.environ.get(UPDATE):
        GOLDEN.write_text(shown, encoding="utf-8")
    assert shown == GOLDEN.read_text(encoding="utf-8"), (
        f"if the change is meant, run with {UPDATE}=1"
    )


def test_the_text_is_the_same_every_time_and_in_both_precisions() -> None:
    first = emit(optimize(trace(jump_model(), False)))
    assert emit(optimize(trace(jump_model(), False))) == first
    assert emit(optimize(trace(jump_model(), True))) == first


def test_the_text_does_not_tell_who_traced() -> None:
    """Parameters, constants of the state and of what is reported belong to no line of the model."""

    def step(xp: Any, inputs: Any, state: Any, month: Any) -> dict[str, Any]:
        x = state["x"] + inputs["a"] * inputs["n"]
        return {"x": x, "fixed": 2.0, "price": 3.0}

    init = lambda xp, inputs: {"x": inputs["a"], "fixed": 1.0}  # noqa: E731
    model = FunctionModel(step, ["price", "fixed"], init=init, reals={"a": 1.0, "n": 2.0})
    raw = trace(model, False)
    elsewhere = trace(model, False)
    assert str(raw) == str(elsewhere)
    assert emit(optimize(raw)) == emit(optimize(elsewhere))
    lines = {s.line for b in (raw.init, raw.step) for s in b.statements}
    own = step.__code__.co_firstlineno + 1
    assert lines == {"", f"tests/{HERE}:{own}"}


def test_a_shipped_scenario_is_named_alike_wherever_it_is_traced() -> None:
    """What ``overbuilt backends`` looks for in the cache is what ``simulate`` compiles."""
    economy = load("textbook").economy
    here = emit(optimize(trace(economy, False)))
    assert here == emit(plan(economy, "numpy").program)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_compiles_the_text_that_native_runs(
    dtype: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if native.compiler() is None:
        pytest.skip("no C++ compiler here")
    made = optimize(trace(jump_model(), dtype == "float64"))
    box = Box(tmp_path)
    monkeypatch.setitem(sys.modules, "cupy", fake(box))
    cuda.CudaKernel(made, dtype)

    class Compiled(Exception):
        pass

    def capture(found: str, flags: Any, text: str, to: Path) -> None:
        raise Compiled(text)

    monkeypatch.setattr(native, "_compile", capture)
    monkeypatch.setattr(cache, "fetch", lambda name, make: make(Path(name)))
    with pytest.raises(Compiled) as caught:
        native.NativeKernel(made, dtype)
    on_cpu, (on_gpu,) = str(caught.value), box.texts
    kernel = emit(made)
    frame = Path(native.__file__).parents[1].joinpath("frame.h").read_text(encoding="utf-8")
    for text, dialect in ((on_cpu, "native"), (on_gpu, "cuda")):
        assert text == source(kernel, dialect, dtype == "float64")
        assert text.endswith(f"{frame}\n{kernel}")
        assert text.startswith(f"#define OB_DOUBLE {int(dtype == 'float64')}\n")
    assert on_cpu != on_gpu


def test_literals_survive_the_text() -> None:
    """Every constant reaches the kernel as the same number."""
    numbers = [
        0.1,
        1e-300,
        1e300,
        5e-324,
        -0.0,
        1 / 3,
        123456789.123,
        math.inf,
        -math.inf,
        math.nan,
    ]
    whole = [0, -1, 2**31 - 1, -(2**31)]

    def step(xp: Any, inputs: Any, state: Any, month: Any) -> dict[str, Any]:
        x = random_row(xp, 2)
        seen = {f"f{k}": xp.where(x < 9, v, 7.0) for k, v in enumerate(numbers)}
        seen |= {
            f"i{k}": xp.to_real(xp.where(x < 9, xp.minimum(x * 0 + v, v), 7))
            for k, v in enumerate(whole)
        }
        word = xp.bit_or(xp.shift_right(xp.philox("w", None, 0)[0], 31), 0xFFFFFFFE)
        return seen | {"u": xp.to_real(xp.from_bits(xp.shift_right(word, 16)))}

    keys = [f"f{k}" for k in range(len(numbers))] + [f"i{k}" for k in range(len(whole))] + ["u"]
    for backend in available():
        if backend in ("jax",):
            continue  # flushes the subnormal; it takes the numbers as Python gives them
        got = run(backend, FunctionModel(step, keys), "float64", 8).metrics
        want = np.array([*numbers, *whole, 65535.0])
        assert np.array_equal(bits(got), bits(np.repeat(want[:, None], 8, axis=1))), backend
