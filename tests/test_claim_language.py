"""The language of claims against its definition, path by path, and what it refuses.

The definition, by month t: a function over months has the value that it would have if the run ended in t; what a
path has not reached is unknown, and a condition is then true, false or neither (Kleene 1952, strong logic). The
references work on recorded series with NumPy and plain Python, and share no code with the engine.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from overbuilt import ConfigError
from overbuilt.engine.economy import claim_language
from overbuilt.engine.economy.claim_language import (
    FUNCTIONS,
    MAX_DEPTH,
    MAX_TEXT,
    ClaimError,
    months_needed,
    parse,
)
from overbuilt.engine.economy.claim_states import Machine
from overbuilt.engine.economy.claims import Claims, UnknownVariables

from .claim_model import (
    BACKENDS,
    MONTHS,
    PATHS,
    Array,
    Market,
    answers,
    claim,
    economy,
    record,
)


# ---- each function, by NumPy
def longest(hits: Array) -> Array:
    best = run = np.zeros(hits.shape[1], int)
    for hit in hits:
        run = np.where(hit, run + 1, 0)
        best = np.maximum(best, run)
    return best


def first(hits: Array) -> Array:
    """The month, from 1; beyond any horizon where there is none."""
    return np.where(hits.any(axis=0), hits.argmax(axis=0) + 1, 10**6)


def after(x: Array, hits: Array, k: int) -> tuple[Array, Array]:
    """x k months after the first hit, and whether the run has got there."""
    at = first(hits) + k
    reached = at <= len(x)
    return x[np.where(reached, at, 1) - 1, np.arange(x.shape[1])], reached


# event, and the same on the record r
BY_NUMPY: list[tuple[str, Callable[[dict[str, Array]], Array]]] = [
    ("market.x > 1", lambda r: r["x"][-1] > 1),
    ("market.state == 1", lambda r: r["state"][-1] == 1),
    ("market.calm > 0.5", lambda r: r["y"][-1] > -0.5),
    ("sum(market.x, 3, 14) >= 1.02", lambda r: r["x"][2:14].sum(axis=0) / 12 >= 1.02),
    ("sum(market.x) > 2", lambda r: r["x"].sum(axis=0) / 12 > 2),
    ("mean(market.x) > 1.02", lambda r: r["x"].mean(axis=0) > 1.02),
    ("mean(market.x, 3, 14) > 1.01", lambda r: r["x"][2:14].mean(axis=0) > 1.01),
    ("mean(market.x, 20, month) > 1", lambda r: r["x"][19:].mean(axis=0) > 1),
    ("min(market.x, 1, 12) >= 0.8", lambda r: r["x"][:12].min(axis=0) >= 0.8),
    ("max(market.x) > 1.3", lambda r: r["x"].max(axis=0) > 1.3),
    ("at(market.x, 7) > at(market.x, 5)", lambda r: r["x"][6] > r["x"][4]),
    ("ever(market.y > 2.5, 5, 20)", lambda r: (r["y"][4:20] > 2.5).any(axis=0)),
    ("always(market.y > -2)", lambda r: (r["y"] > -2).all(axis=0)),
    ("not always(market.x > 0.9)", lambda r: (r["x"] <= 0.9).any(axis=0)),
    ("count(market.state == 2) >= 6", lambda r: (r["state"] == 2).sum(axis=0) >= 6),
    ("longest(market.y > 0) >= 5", lambda r: longest(r["y"] > 0) >= 5),
    ("longest(market.y > 0, 4, 15) >= 4", lambda r: longest(r["y"][3:15] > 0) >= 4),
    ("first(market.x > 1.1) <= 9", lambda r: first(r["x"] > 1.1) <= 9),
    ("first(market.x > 1.1) < first(market.x < 0.9)", lambda r: first(r["x"] > 1.1) < first(r["x"] < 0.9)),
    ("first(market.x > 1.1) + 6 <= month", lambda r: first(r["x"] > 1.1) + 6 <= MONTHS),
    ("0.9 <= market.x <= 1.1", lambda r: (r["x"][-1] >= 0.9) & (r["x"][-1] <= 1.1)),
    ("market.x > 1 or market.y > 0 and market.y < 1",
     lambda r: (r["x"][-1] > 1) | ((r["y"][-1] > 0) & (r["y"][-1] < 1))),
    ("not (market.x > 1 and market.y != 0)", lambda r: ~((r["x"][-1] > 1) & (r["y"][-1] != 0))),
    ("log(market.x) + 2 * market.y - market.y / 4 > -(-0.1)",
     lambda r: np.log(r["x"][-1]) + 1.75 * r["y"][-1] > 0.1),
    ("exp(market.y) > 2 and abs(market.y) < 1.5", lambda r: (np.exp(r["y"][-1]) > 2) & (r["y"][-1] < 1.5)),
    # at and after what happened
    ("at(market.x, first(market.y > 1)) > 1", lambda r: (lambda v: (v[0] > 1) & v[1])(after(r["x"], r["y"] > 1, 0))),
    ("at(market.x, first(market.y > 1) + 6) > at(market.x, first(market.y > 1))",
     lambda r: (lambda a, b: (a[0] > b[0]) & a[1])(after(r["x"], r["y"] > 1, 6), after(r["x"], r["y"] > 1, 0))),
    # what was not reached is neither true nor false
    ("not at(market.x, first(market.y > 2) + 6) > 1",
     lambda r: (lambda v: (v[0] <= 1) & v[1])(after(r["x"], r["y"] > 2, 6))),
    ("ever(market.x > 1.2, first(market.y > 1.5), first(market.y > 1.5) + 12)",
     lambda r: np.array([(r["x"][f - 1 : f + 12, i] > 1.2).any() for i, f in enumerate(first(r["y"] > 1.5))])),
    ("always(market.x < 1.2, first(market.y > 1.5), 12 + first(market.y > 1.5))",
     lambda r: np.array([
         f + 12 <= MONTHS and (r["x"][f - 1 : f + 12, i] < 1.2).all() for i, f in enumerate(first(r["y"] > 1.5))
     ])),
    ("mean(market.x, 1, first(market.y > 1.5)) > 1",
     lambda r: np.array([
         f <= MONTHS and r["x"][:f, i].mean() > 1 for i, f in enumerate(first(r["y"] > 1.5))
     ])),
    # one inside another: as if the run ended there
    ("min(market.x / max(market.x)) <= 0.7",
     lambda r: (r["x"] / np.maximum.accumulate(r["x"], axis=0)).min(axis=0) <= 0.7),
    ("ever(market.x > 1.2 * at(market.x, 6))", lambda r: (r["x"][5:] > 1.2 * r["x"][5]).any(axis=0)),
    ("first(count(market.y > 0) >= 5) <= 8", lambda r: first(np.cumsum(r["y"] > 0, axis=0) >= 5) <= 8),
]  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_function_against_numpy(backend: str) -> None:
    found = answers(economy(*(claim(e, f"c{k}") for k, (e, _) in enumerate(BY_NUMPY))), backend)
    seen = record()
    for k, (event, by_numpy) in enumerate(BY_NUMPY):
        wanted = by_numpy(seen)
        assert 0 < wanted.mean() < 1, f"{event} decides nothing here"
        assert np.array_equal(found[f"c{k}"], wanted), event


# ---- random expressions against the definition
class Definition:
    """A random expression: its text, and its value on path p in month t by the definition above."""

    def __init__(self, seed: int, seen: dict[str, Array]) -> None:
        self.random, self.seen = random.Random(seed), seen

    def pick(self, *makers: Callable[[int], Any], depth: int) -> Any:
        return self.random.choice(makers)(depth)

    def number(self, depth: int) -> Any:
        plain = (self.variable, self.variable, self.month)
        deep = (self.arithmetic, self.fold, self.counted, self.at, self.first_month)
        return self.pick(*(plain + deep if depth else plain), depth=depth - 1)

    def condition(self, depth: int) -> Any:
        deep = (self.compare, self.junction, self.negation, self.ever)
        return self.pick(*(deep if depth else (self.compare,)), depth=depth - 1)

    def variable(self, depth: int) -> Any:
        name = self.random.choice(["x", "y", "state"])
        return f"market.{name}", lambda p, t: float(self.seen[name][t - 1, p])

    def month(self, depth: int) -> Any:
        return "month / 10", lambda p, t: t / 10

    def arithmetic(self, depth: int) -> Any:
        (a, f), (b, g), op = self.number(depth), self.number(depth), self.random.choice("+-*")

        def value(p: int, t: int) -> float | None:
            u, v = f(p, t), g(p, t)
            return None if u is None or v is None else {"+": u + v, "-": u - v, "*": u * v}[op]

        return f"({a} {op} {b})", value

    def compare(self, depth: int) -> Any:
        a, f = self.number(max(depth, 0))
        # what one of the paths has at the end, so that the others lie on both sides
        typical = f(self.random.randrange(PATHS), MONTHS)
        bar = round(self.random.uniform(-1, 2) if typical is None else typical, 3)

        def value(p: int, t: int) -> bool | None:
            u = f(p, t)
            return None if u is None else u > bar

        return f"({a} > {bar})", value

    def junction(self, depth: int) -> Any:
        (a, f), (b, g) = self.condition(depth), self.condition(depth)
        word, stops = self.random.choice([("and", False), ("or", True)])

        def value(p: int, t: int) -> bool | None:
            parts = (f(p, t), g(p, t))
            return stops if stops in parts else None if None in parts else not stops

        return f"({a} {word} {b})", value

    def negation(self, depth: int) -> Any:
        a, f = self.condition(depth)
        return f"(not {a})", lambda p, t: None if f(p, t) is None else not f(p, t)

    def first_month(self, depth: int) -> Any:
        text, f = self.condition(depth)

        def value(p: int, t: int) -> float:
            return next((m for m in range(1, t + 1) if f(p, m)), 1 << 20)

        return f"first({text})", value

    def window(self, depth: int) -> Any:
        """Text of the ends, and by path and month the first and last month."""
        kind = self.random.choice(["whole", "fixed", "now", "after", "until"])
        a = self.random.randint(1, MONTHS)
        b = self.random.randint(a, MONTHS)
        if kind == "whole":
            return "", lambda p, t: (1, t)
        if kind == "fixed":
            return f", {a}, {b}", lambda p, t: (a, b)
        if kind == "now":
            return f", {a}, month", lambda p, t: (a, t)
        text, f = self.first_month(min(depth, 1))
        k = self.random.randint(0, 6)
        if kind == "after":
            return f", {text}, {text} + {k}", lambda p, t: (f(p, t), f(p, t) + k)
        return f", {a}, {text} + {k}", lambda p, t: (a, f(p, t) + k)

    def over(self, depth: int, inner: Any) -> Any:
        """Text of argument and window; by path and month its values in the window so far, and whether it is over."""
        (text, f), (ends, window) = inner(depth), self.window(depth)

        def values(p: int, t: int) -> tuple[list[Any], bool]:
            a, b = window(p, t)
            return [f(p, m) for m in range(a, min(b, t) + 1)], a <= b <= t

        return f"{text}{ends}", values

    def fold(self, depth: int) -> Any:
        name = self.random.choice(["sum", "mean", "min", "max"])
        text, values = self.over(depth, self.number)
        how = {"sum": lambda v: math.fsum(v) / 12, "mean": np.mean, "min": min, "max": max}[name]

        def value(p: int, t: int) -> float | None:
            found, complete = values(p, t)
            return None if not complete or None in found else float(how(found))  # type: ignore[operator]

        return f"{name}({text})", value

    def counted(self, depth: int) -> Any:
        name = self.random.choice(["count", "longest"])
        text, values = self.over(depth, self.condition)

        def value(p: int, t: int) -> float | None:
            found, complete = values(p, t)
            if not complete or None in found:
                return None
            if name == "count":
                return float(sum(found))
            return float(longest(np.array(found)[:, None])[0])

        return f"{name}({text})", value

    def at(self, depth: int) -> Any:
        text, f = self.number(depth)
        m = self.random.randint(1, MONTHS)
        return f"at({text}, {m})", lambda p, t: f(p, m) if t >= m else None

    def ever(self, depth: int) -> Any:
        name, stops = self.random.choice([("ever", True), ("always", False)])
        text, values = self.over(depth, self.condition)

        def value(p: int, t: int) -> bool | None:
            found, complete = values(p, t)
            return stops if stops in found else None if None in found or not complete else not stops

        return f"{name}({text})", value


def test_random_expressions_against_the_definition() -> None:
    """Expressions of all kinds, nested three deep: on each of 25 paths they say what the definition says."""
    seen, count, paths = record(), 80, range(25)
    texts, wanted = [], []
    for seed in range(count):
        text, f = Definition(seed, seen).condition(3)
        texts.append(text)
        wanted.append([f(p, MONTHS) is True for p in paths])
    made = economy(*(claim(text, f"c{k}") for k, text in enumerate(texts)))
    for backend in ("numpy", "native"):
        found = answers(made, backend)
        for k, text in enumerate(texts):
            assert np.array_equal(found[f"c{k}"][list(paths)] > 0.5, wanted[k]), text
    assert sum(0 < np.mean(w) < 1 for w in wanted) > count / 3


def test_what_is_unknown_in_some_month_is_not_denied() -> None:
    """Before month 6 the comparison is unknown, so that it never held is not known; from there on it is."""
    bar = "market.x > 1.2 * at(market.x, 6)"
    texts = (
        f"not ever({bar})", f"not ever({bar}, 6, month)",
        f"count({bar}) >= 0", f"count({bar}, 6, month) >= 0",
        "mean(at(market.x, 6)) > 0", "mean(at(market.x, 6), 6, month) > 0",
    )  # fmt: skip
    made = economy(*(claim(text, f"c{k}") for k, text in enumerate(texts)))
    found, x = answers(made, "numpy"), record()["x"]
    for k in (0, 2, 4):
        assert not found[f"c{k}"].any()
    assert np.array_equal(found["c1"], ~(x[5:] > 1.2 * x[5]).any(axis=0))
    assert found["c3"].all()
    assert found["c5"].all()


def test_equal_parts_share_a_state() -> None:
    once = Machine([parse("ever(market.x > 1) and mean(market.y) > 0")])
    twice = Machine(
        [
            parse("ever(market.x > 1) and mean(market.y) > 0"),
            parse("not always(not market.x  >  1.0) or sum(market.y) > at(market.y, 3)"),
        ]
    )
    assert len(once.folds) == 2
    assert len(twice.folds) == 3


def test_months_that_an_event_needs() -> None:
    assert months_needed(parse("market.x > 1")) == 1
    assert months_needed(parse("at(market.x, 12) > at(market.x, first(market.y > 0) + 30)")) == 12
    assert months_needed(parse("ever(min(market.x, 2, 48) > 1)")) == 48


def test_the_description_names_every_word() -> None:
    assert claim_language.__doc__ is not None
    for name in (*FUNCTIONS, "month"):
        assert name in claim_language.__doc__


# ---- what is refused
WRONG = [
    ("", "is empty"),
    ("market.x >", "is no expression"),
    ("market.x > 1 # so it is", "should be the condition alone"),
    ("market.x", "is a number; should be a condition, such as ... > 0"),
    ("market.x and market.y > 0", "market.x is a number; should be a condition"),
    ("sum(market.x > 1) > 0", "market.x > 1 is a condition; should be a number"),
    ("ever(market.x)", "market.x is a number; should be a condition, such as market.x > 0"),
    ("maxx(market.x) > 1", "maxx is no function of the language; did you mean 'max'?"),
    ("rental > 1", "rental stands alone; should be system.variable"),
    ("min > 1", "min is a function; should be min(...)"),
    ("market.x.y > 1", "is no variable; should be like rental.hopper"),
    ("market.x ** 2 > 1", "should be written with x * x"),
    ("market.x // 2 > 1", "should be written with + - * /"),
    ("(market.x > 1) & (market.y > 1)", "should be written with and"),
    ("~market.x > 1", "should be written with not"),
    ("market.x is 1", "should compare with < <= > >= == !="),
    ("market.x in (1, 2)", "not part of the language"),
    ("1 < 2", "compares two numbers; should hold a variable"),
    ("mean(3) > 1", "is of a number alone"),
    ("min(market.x, 12) > 1", "has 2 arguments; should be min(x) or min(x, first month, last month)"),
    ("min(market.x, market.y, 3) > 1", "market.y is no month; should be a whole number from 1 to 240"),
    ("at(market.x) > 1", "has 1 arguments; should be at(x, month)"),
    ("at(market.x, 0) > 1", "0 is no month"),
    ("at(market.x, 241) > 1", "241 is no month"),
    ("at(market.x, 1.5) > 1", "1.5 is no month"),
    ("at(market.x, first(market.y > 1) - 1) > 1", "is no month"),
    ("at(market.x, count(market.y > 1)) > 1", "only first(...) gives one that differs by path"),
    ("mean(market.x, 12, 3) > 1", "ends before it begins"),
    ("mean(market.x, first(market.y > 1) + 3, first(market.y > 1)) > 1", "ends before it begins"),
    ("mean(x=market.x) > 1", "should take its arguments in order"),
    ("mean(*market.x) > 1", "should take its arguments in order"),
    ("market.x > 1 / 0", "1 / 0 is no finite number"),
    ("market.x / 0 > 1", "divides by 0"),
    ("market.x > log(-1)", "is no finite number"),
    ("market.x > 1e999", "a number is too large"),
    ("market.x > 1e15 * 10", "is no finite number up to 1e+15"),
    ("market.x > 10 if market.y > 0 else market.y > 1", "not part of the language"),
    ("market.x > True", "True is no number"),
    ("market.x > 'a'", "is no number"),
    ("market.x > None", "is no number"),
    ("market.x > 1j", "is no number"),
]  # fmt: skip
HOSTILE = [
    "__import__('os').system('true') > 0",
    "(lambda: market.x)() > 0",
    "market.__class__ > 0",
    "market._values > 0",
    "market.x.__class__ > 0",
    "[market.x for i in market.y] > 0",
    "(x := market.x) > 0",
    "f'{market.x}' > 0",
    "open('/etc/passwd') > 0",
    "market.x > 9" + "9" * 1500,
    "market.x > 9" + "9" * 10_000,
    "(" * 900 + "market.x > 0" + ")" * 900,
    "-" * 1900 + "market.x > 0",
    "not " * 400 + "market.x > 0",
    "market.x > " + "+".join(["1"] * 900),
    "min(" * 300 + "market.x" + ")" * 300 + " > 0",
    "market.x > 0 or " * 5000 + "market.x > 0",
    "market.\uff58 > 0",
    "market.x > 0\0",
    "\ud800 > 0",
    "market.x > 0; import os",
    "market.x > 0\nimport os",
]


@pytest.mark.parametrize(("event", "problem"), WRONG)
def test_a_wrong_event_says_what_would_be_right(event: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        economy(claim(event, "mine"))
    (line,) = error.value.problems
    assert line.startswith("claims.claim.mine.event = "), line
    assert problem in line
    assert "\n" not in line


@pytest.mark.parametrize("event", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_events_are_refused(event: str) -> None:
    with pytest.raises(ClaimError) as error:
        parse(event)
    assert len(str(error.value)) < 400


def test_limits_leave_room() -> None:
    parse("(" * (MAX_DEPTH - 10) + "market.x > 0" + ")" * (MAX_DEPTH - 10))
    parse(" or ".join(["market.x > 0"] * 100))
    assert len(" or ".join(["market.x > 0"] * 100)) < MAX_TEXT
    parse("  market.x >\n    0  ")  # as a text of several lines in TOML has it


def test_all_problems_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        economy(
            claim("x", "a"),
            claim("market.x > 0", "b", given="1 < 2"),
            claim("market.y > 0", "b_given"),
        )
    found = error.value.problems
    assert [line.split(" ")[0] for line in found] == [
        "claims.claim.a.event", "claims.claim.b_given:", "claims.claim.b.given",
    ]  # fmt: skip


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_an_unknown_variable(backend: str) -> None:
    made = economy(
        claim("market.xx > 0", "a"),
        claim("markt.x > 0", "b"),
        claim("ever(market.y > 0)", "c", given="market.table > 0"),
        claim("claims.a > 0", "d"),
    )
    with pytest.raises(UnknownVariables) as error:
        answers(made, backend)
    assert error.value.claims == {"a", "b", "c", "d"}
    a, b, c, d = error.value.problems
    assert a == "claims.claim.a.event = 'market.xx > 0': market gives no xx; did you mean 'x'?"
    assert (
        b
        == "claims.claim.b.event = 'markt.x > 0': there is no system markt here; did you mean 'market'?"
    )
    assert c.endswith("market.table is a table of its own, not a number a month")
    assert "there is no system claims here" in d


def test_fits_finds_unknown_variables_before_a_run() -> None:
    market, asked = (
        Market(),
        Claims(claim=[claim("market.x > 0"), claim("market.z > 0", "d", forced="boom")]),
    )
    found = asked.fits({"market": market, "claims": asked})
    assert len(found) == 2
    assert found[0].startswith("claims.claim.d.forced = 'boom': should be an event of stress")
    assert found[1].startswith("claims.claim.d.event = 'market.z > 0': market gives no z")
    good = Claims(claim=[claim("market.x > 0")])
    assert good.fits({"market": market, "claims": good}) == []
