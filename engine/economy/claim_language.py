"""The language of claims: a condition on a whole path, as text, checked and made into per-path state.

    min(rental.hopper, 1, 12) >= 0.8 * rental.hopper_start
    at(revenue.rate, first(cycle.bust > 0) + 24) > at(revenue.rate, first(cycle.bust > 0))

Values are ``system.variable`` (this month's), numbers and ``month`` (1 for the first); ``+ - * /``, ``exp log abs``,
comparisons (chained as in mathematics), ``and or not``. Over the months a to b, or the whole run without them:

    sum(x, a, b)      flow: x a year, summed over the months, x dt
    mean min max      of x
    at(x, m)          x in month m
    ever(c, a, b)     in some month c holds; always: in every one; count: in how many
    longest(c, a, b)  most months in a row in which c holds
    first(c, a, b)    the first month in which c holds; a number beyond any horizon where there is none

A month is a number, or ``first(...)``, or ``first(...) + 3``; the last one may also be ``month``, up to now. Each
functional has a value in every month: that of the run so far, as if it ended there. So one may stand inside
another: ``min(x / max(x))`` is the worst month against the peak so far.

What a path has not reached is unknown: ``at(x, 12)`` in month 3, or ``first(...) + 24`` beyond the end. A comparison
with it is neither true nor false, and neither is its negation (Kleene's strong logic); the event has then not
happened. So ``always(x > at(x, 12))`` never holds, as it is unknown for a year; ``always(x > at(x, 12), 12, month)``
may.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..system import DT, MAX_MONTHS
from ..validate import near, shown

MAX_TEXT = 2000  # characters
MAX_DEPTH = 40  # of nesting
MAX_NODES = 400
LARGEST = 1e15  # number that may stand in an event

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_OVER_NUMBERS = ("sum", "mean", "min", "max", "at")
_OVER_CONDITIONS = ("ever", "always", "count", "longest", "first")
PLAIN: dict[str, Any] = {"exp": math.exp, "log": math.log, "abs": abs}
OPERATIONS: dict[str, Any] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
FUNCTIONS = (*_OVER_NUMBERS, *_OVER_CONDITIONS, *PLAIN)


class ClaimError(ValueError):
    """What is wrong with an event; the message ends with what would be right."""


# ---- the checked tree. Nodes are values: equal sub-expressions are equal nodes, and share one state.
@dataclass(frozen=True, slots=True)
class Number:
    value: float


@dataclass(frozen=True, slots=True)
class Variable:
    system: str
    name: str


@dataclass(frozen=True, slots=True)
class Month:
    """This month's number."""


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``+ - * /`` of two numbers, or exp, log, abs of one."""

    op: str
    args: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """A month: ``offset`` itself, or so many months after the first in which a condition holds."""

    first: Over | None
    offset: int


@dataclass(frozen=True, slots=True)
class Over:
    """A fold over the months from ``start`` to ``end``, None: up to now.

    ``kind``: total, min, max of a number; ever, count, longest, first of a condition.
    """

    kind: str
    x: Any
    start: Moment
    end: Moment | None


@dataclass(frozen=True, slots=True)
class Length:
    """How many months of a window are over."""

    start: Moment
    end: Moment | None


@dataclass(frozen=True, slots=True)
class Compare:
    op: str
    left: Any
    right: Any


@dataclass(frozen=True, slots=True)
class Junction:
    """All of the parts, or any."""

    every: bool
    parts: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Any


def is_condition(node: Any) -> bool:
    return isinstance(node, Compare | Junction | Not) or (
        isinstance(node, Over) and node.kind == "ever"
    )


def children(node: Any) -> tuple[Any, ...]:
    """What a node is made of, windows included."""
    if isinstance(node, Arithmetic):
        return node.args
    if isinstance(node, Compare):
        return (node.left, node.right)
    if isinstance(node, Junction):
        return node.parts
    if isinstance(node, Not):
        return (node.part,)
    if isinstance(node, Over | Length):
        ends = (node.start,) if node.end is None else (node.start, node.end)
        return (node.x, *ends) if isinstance(node, Over) else ends
    if isinstance(node, Moment):
        return () if node.first is None else (node.first,)
    return ()


def variables(node: Any) -> set[Variable]:
    """All that an event reads."""
    if isinstance(node, Variable):
        return {node}
    return set().union(*map(variables, children(node)))


def months_needed(node: Any) -> int:
    """The shortest run that decides an event: the last month that it names."""
    own = node.offset if isinstance(node, Moment) and node.first is None else 1
    return max([own, *map(months_needed, children(node))])


# ---- from text
@lru_cache(maxsize=4096)
def parse(text: str) -> Any:
    """The tree of an event. Raises ClaimError; nothing of the text is ever run."""
    if not text.strip():
        raise ClaimError("is empty; should be a condition, such as at(rental.hopper, 12) > 2")
    if len(text) > MAX_TEXT:
        raise ClaimError(f"has {len(text):,} characters; should have {MAX_TEXT:,} at most")
    if not text.isascii():
        raise ClaimError("holds other letters than ASCII; should be made of those")
    if "#" in text:
        raise ClaimError("holds a comment; should be the condition alone")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(" ".join(text.split()), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        why = error.msg if isinstance(error, SyntaxError) else "cannot be read"
        raise ClaimError(
            f"is no expression ({why}); should be like at(rental.hopper, 12) > 2"
        ) from None
    node = _Reader().read(tree, 0)
    if not is_condition(node):
        raise ClaimError("is a number; should be a condition, such as ... > 0")
    return node


_ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_COMPARISON = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
WHOLE_RUN = (Moment(None, 1), None)


def _said(tree: ast.AST) -> str:
    return shown(ast.unparse(tree), 40)[1:-1]


class _Reader:
    """Checks Python's syntax tree against the language and rebuilds it."""

    def __init__(self) -> None:
        self.nodes = 0

    def read(self, tree: ast.AST, depth: int) -> Any:
        self.nodes += 1
        if depth > MAX_DEPTH or self.nodes > MAX_NODES:
            raise ClaimError(
                f"is too large; should have {MAX_NODES} parts and be nested {MAX_DEPTH} deep at most"
            )
        reader = getattr(self, f"_{type(tree).__name__.lower()}", None)
        if reader is None:
            raise ClaimError(
                f"{_said(tree)} is not part of the language; should be made of system.variable, numbers, "
                f"+ - * /, comparisons, and, or, not, {', '.join(FUNCTIONS)}"
            )
        return reader(tree, depth + 1)

    def number(self, tree: ast.AST, depth: int) -> Any:
        node = self.read(tree, depth)
        if is_condition(node):
            raise ClaimError(f"{_said(tree)} is a condition; should be a number")
        return node

    def condition(self, tree: ast.AST, depth: int) -> Any:
        node = self.read(tree, depth)
        if not is_condition(node):
            raise ClaimError(
                f"{_said(tree)} is a number; should be a condition, such as {_said(tree)} > 0"
            )
        return node

    # ---- values
    def _constant(self, tree: ast.Constant, depth: int) -> Number:
        value = tree.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ClaimError(f"{_said(tree)} is no number; should be one")
        if not abs(value) <= LARGEST:
            raise ClaimError(f"a number is too large; should be at most {LARGEST:g}")
        return Number(float(value))

    def _name(self, tree: ast.Name, depth: int) -> Month:
        if tree.id == "month":
            return Month()
        if tree.id in FUNCTIONS:
            raise ClaimError(f"{tree.id} is a function; should be {tree.id}(...)")
        raise ClaimError(
            f"{_said(tree)} stands alone; should be system.variable, such as rental.hopper"
        )

    def _attribute(self, tree: ast.Attribute, depth: int) -> Variable:
        system = tree.value
        if not isinstance(system, ast.Name) or not all(
            _NAME.fullmatch(n) for n in (system.id, tree.attr)
        ):
            raise ClaimError(f"{_said(tree)} is no variable; should be like rental.hopper")
        return Variable(system.id, tree.attr)

    # ---- arithmetic
    def _unaryop(self, tree: ast.UnaryOp, depth: int) -> Any:
        if isinstance(tree.op, ast.Not):
            return negation(self.condition(tree.operand, depth))
        if isinstance(tree.op, ast.Invert):
            raise ClaimError(f"{_said(tree)}: should be written with not")
        node = self.number(tree.operand, depth)
        return (
            arithmetic("*", Number(-1.0), node, said=_said(tree))
            if isinstance(tree.op, ast.USub)
            else node
        )

    def _binop(self, tree: ast.BinOp, depth: int) -> Any:
        op = _ARITHMETIC.get(type(tree.op))
        if op is None:
            wanted = {ast.Pow: "x * x", ast.BitAnd: "and", ast.BitOr: "or"}.get(
                type(tree.op), "+ - * /"
            )
            raise ClaimError(f"{_said(tree)}: should be written with {wanted}")
        left, right = self.number(tree.left, depth), self.number(tree.right, depth)
        return arithmetic(op, left, right, said=_said(tree))

    # ---- conditions
    def _compare(self, tree: ast.Compare, depth: int) -> Any:
        sides = [tree.left, *tree.comparators]
        values = [self.number(side, depth) for side in sides]
        parts = []
        for op, a, b in zip(tree.ops, values, values[1:], strict=False):
            if type(op) not in _COMPARISON:
                raise ClaimError(
                    f"{_said(tree)}: should compare with {' '.join(_COMPARISON.values())}"
                )
            if isinstance(a, Number) and isinstance(b, Number):
                raise ClaimError(f"{_said(tree)} compares two numbers; should hold a variable")
            parts.append(Compare(_COMPARISON[type(op)], a, b))
        return parts[0] if len(parts) == 1 else Junction(True, tuple(parts))

    def _boolop(self, tree: ast.BoolOp, depth: int) -> Junction:
        parts = tuple(self.condition(part, depth) for part in tree.values)
        return Junction(isinstance(tree.op, ast.And), parts)

    # ---- functions
    def _call(self, tree: ast.Call, depth: int) -> Any:
        name = tree.func.id if isinstance(tree.func, ast.Name) else ""
        if name not in FUNCTIONS:
            what = _said(tree.func)
            raise ClaimError(f"{what} is no function of the language{near(what, list(FUNCTIONS))}")
        if tree.keywords or any(isinstance(a, ast.Starred) for a in tree.args):
            raise ClaimError(f"{_said(tree)}: should take its arguments in order, {_usage(name)}")
        if len(tree.args) not in ((1,) if name in PLAIN else (2,) if name == "at" else (1, 3)):
            raise ClaimError(
                f"{_said(tree)} has {len(tree.args)} arguments; should be {_usage(name)}"
            )
        if name in PLAIN:
            return arithmetic(name, self.number(tree.args[0], depth), said=_said(tree))
        inner = self.condition if name in _OVER_CONDITIONS else self.number
        x = inner(tree.args[0], depth)
        if isinstance(x, Number):
            raise ClaimError(f"{_said(tree)} is of a number alone; should be of a variable")
        return over(name, x, *self._window(name, tree, depth))

    def _window(self, name: str, tree: ast.Call, depth: int) -> tuple[Moment, Moment | None]:
        if len(tree.args) == 1:
            return WHOLE_RUN
        start = self._moment(tree.args[1], depth)
        if name == "at":
            return start, start
        last = tree.args[2]
        if isinstance(last, ast.Name) and last.id == "month":
            return start, None
        end = self._moment(last, depth)
        if start.first == end.first and start.offset > end.offset:
            raise ClaimError(
                f"{_said(tree)} ends before it begins; the last month should not come first"
            )
        return start, end

    def _moment(self, tree: ast.AST, depth: int) -> Moment:
        if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add):
            for at, more in ((tree.left, tree.right), (tree.right, tree.left)):
                if isinstance(at, ast.Call) and _whole(more, 0):
                    return Moment(self._first(at, depth), more.value)  # type: ignore[attr-defined]
        if isinstance(tree, ast.Call):
            return Moment(self._first(tree, depth), 0)
        if _whole(tree, 1):
            return Moment(None, tree.value)  # type: ignore[attr-defined]
        raise ClaimError(
            f"{_said(tree)} is no month; should be a whole number from 1 to {MAX_MONTHS}, first(...) or "
            "first(...) + 12"
        )

    def _first(self, tree: ast.Call, depth: int) -> Over:
        node = self.read(tree, depth)
        if not isinstance(node, Over) or node.kind != "first":
            raise ClaimError(
                f"{_said(tree)} is no month; only first(...) gives one that differs by path"
            )
        return node


def _whole(tree: ast.AST, least: int) -> bool:
    value = tree.value if isinstance(tree, ast.Constant) else None
    return type(value) is int and least <= value <= MAX_MONTHS


def _usage(name: str) -> str:
    if name in PLAIN:
        return f"{name}(x)"
    if name == "at":
        return "at(x, month)"
    x = "condition" if name in _OVER_CONDITIONS else "x"
    return f"{name}({x}) or {name}({x}, first month, last month)"


def arithmetic(op: str, *args: Any, said: str = "") -> Any:
    """The node, or the number where all arguments are numbers."""
    if not all(isinstance(a, Number) for a in args):
        if op == "/" and args[1] == Number(0.0):
            raise ClaimError(f"{said} divides by 0; should not")
        return Arithmetic(op, args)
    values = [a.value for a in args]
    try:
        result = PLAIN[op](*values) if op in PLAIN else OPERATIONS[op](*values)
    except (
        ArithmeticError,
        ValueError,
    ):  # overflow, a division by 0, the logarithm of what is not above it
        result = math.nan
    if not abs(result) <= LARGEST:
        raise ClaimError(f"{said} is no finite number up to {LARGEST:g}; should be one")
    return Number(float(result))


def negation(node: Any) -> Any:
    return node.part if isinstance(node, Not) else Not(node)


def over(name: str, x: Any, start: Moment, end: Moment | None) -> Any:
    """A function of the language in terms of the folds that have states."""
    if name == "always":
        return negation(Over("ever", negation(x), start, end))
    if name not in ("sum", "mean", "at"):
        return Over(name, x, start, end)
    total = Over("total", x, start, end)
    if name == "at":  # the total of a single month
        return total
    if name == "sum":
        return Arithmetic("*", (total, Number(DT)))
    return Arithmetic("/", (total, Length(start, end)))
