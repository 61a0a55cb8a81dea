"""Claims on the paths: the state that an event needs, and its value month by month."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .claim_language import (
    OPERATIONS,
    PLAIN,
    WHOLE_RUN,
    Compare,
    Junction,
    Length,
    Moment,
    Month,
    Not,
    Number,
    Over,
    Variable,
    children,
    is_condition,
)

NEVER = 1 << 20
"""The month of what did not happen: after any horizon."""

_EXTREME = 1e30  # no value of an economy: where a minimum starts


@dataclass(slots=True)
class Reading:
    """A number on each path, and where it is known: a mask, or True for everywhere."""

    value: Any
    known: Any = True


@dataclass(slots=True)
class Truth:
    """Where a condition holds, and where it does not; on the rest it is unknown."""

    yes: Any
    no: Any


class Machine:
    """The states that a list of events needs, and a month's step of them."""

    def __init__(self, events: list[Any]) -> None:
        self.folds: dict[Over, str] = {}
        for event in events:
            self._collect(event)

    def _collect(self, node: Any) -> None:
        for child in children(node):
            self._collect(child)
        if isinstance(node, Over) and node not in self.folds:
            # no claim can be called so: names begin with a small letter
            self.folds[node] = f"S{len(self.folds)}"

    def start(self) -> dict[str, Any]:
        """The states before the first month."""
        state: dict[str, Any] = {}
        for fold, name in self.folds.items():
            state[name] = {
                "total": 0.0, "min": _EXTREME, "max": -_EXTREME, "ever": False, "count": 0,
                "longest": 0, "first": NEVER,
            }[fold.kind]  # fmt: skip
            if fold.kind == "longest":
                state[f"{name}_run"] = 0
            if fold.kind != "first" and not sure(fold.x):
                state[f"{name}_unknown"] = False
        return state


def sure(node: Any) -> bool:
    """Whether a node is known in every month, on every path."""
    if isinstance(node, Over):
        return node.kind == "first" or ((node.start, node.end) == WHOLE_RUN and sure(node.x))
    if isinstance(node, Length):
        return (node.start, node.end) == WHOLE_RUN
    return all(map(sure, children(node)))


def both(a: Any, b: Any) -> Any:
    """a and b, where True stands for a mask that holds everywhere."""
    return b if a is True else a if b is True else a & b


class Evaluation:
    """A month of a machine: ``read`` gives a variable's value, ``month`` is the month's number.

    After ``truth`` of every event, ``new`` holds the states.
    """

    def __init__(self, machine: Machine, xp: Any, state: Any, read: Any, month: Any) -> None:
        self.machine, self.xp, self.state, self.read, self.month = machine, xp, state, read, month
        self.new: dict[str, Any] = {}
        self.done: dict[Any, Any] = {}

    def truth(self, node: Any) -> Truth:
        if node not in self.done:
            self.done[node] = self._truth(node)
        found: Truth = self.done[node]
        return found

    def number(self, node: Any) -> Reading:
        if node not in self.done:
            self.done[node] = self._number(node)
        found: Reading = self.done[node]
        return found

    def _truth(self, node: Any) -> Truth:
        if isinstance(node, Not):
            part = self.truth(node.part)
            return Truth(part.no, part.yes)
        if isinstance(node, Junction):
            yes, no = self.truth(node.parts[0]).yes, self.truth(node.parts[0]).no
            for part in node.parts[1:]:
                more = self.truth(part)
                yes, no = (
                    (yes & more.yes, no | more.no) if node.every else (yes | more.yes, no & more.no)
                )
            return Truth(yes, no)
        if isinstance(node, Compare):
            a, b = self.number(node.left), self.number(node.right)
            known, holds = both(a.known, b.known), OPERATIONS[node.op](a.value, b.value)
            return Truth(both(known, holds), both(known, ~holds))
        return self._ever(node)

    def _number(self, node: Any) -> Reading:
        if isinstance(node, Number):
            return Reading(node.value)
        if isinstance(node, Variable):
            return Reading(self.read(node))
        if isinstance(node, Month):
            return Reading(self.xp.to_real(self.month))
        if isinstance(node, Length):
            return self._length(node)
        if isinstance(node, Over):
            return self._fold(node)
        parts = [self.number(a) for a in node.args]
        values = [p.value for p in parts]
        if node.op in PLAIN:
            return Reading(getattr(self.xp, node.op)(values[0]), parts[0].known)
        return Reading(OPERATIONS[node.op](*values), both(parts[0].known, parts[1].known))

    # ---- windows
    def _at(self, moment: Moment) -> Any:
        """The month's number: an integer, for each path where it hangs on what happened."""
        if moment.first is None:
            return moment.offset
        self.number(moment.first)
        month = self.new[self.machine.folds[moment.first]]
        return month + moment.offset if moment.offset else month

    def _window(self, start: Moment, end: Moment | None) -> tuple[Any, Any]:
        """Masks: whether this month lies in the window, and whether all of the window is over.

        A window that ends before it begins is never over: what it would hold stays unknown.
        """
        opened = True if start == WHOLE_RUN[0] else self.month >= self._at(start)
        if end is None:
            return opened, opened
        first, last = self._at(start), self._at(end)
        complete = both(opened, self.month >= last)
        if start.first != end.first and start != WHOLE_RUN[0]:
            complete = complete & (first <= last)
        return both(opened, self.month <= last), complete

    def _length(self, node: Length) -> Reading:
        month, first = self.month, self._at(node.start)
        if node.end is not None:
            month = self.xp.minimum(month, self._at(node.end))
        _, complete = self._window(node.start, node.end)
        return Reading(self.xp.to_real(month - first + 1), complete)

    # ---- folds
    def _unknown(self, node: Over, inside: Any, known: Any) -> Any:
        """Where the window has held a month in which the argument was unknown, so far; None: nowhere."""
        if sure(node.x):
            return None
        name = f"{self.machine.folds[node]}_unknown"
        missing = getattr(self.state, name) | both(inside, ~known)
        self.new[name] = missing
        return missing

    def _ever(self, node: Over) -> Truth:
        name, x = self.machine.folds[node], self.truth(node.x)
        inside, complete = self._window(node.start, node.end)
        seen = getattr(self.state, name) | both(inside, x.yes)
        self.new[name] = seen
        missing = self._unknown(node, inside, x.yes | x.no)
        no = ~seen if missing is None else ~(seen | missing)
        return Truth(seen, both(complete, no))

    def _fold(self, node: Over) -> Reading:
        inside, complete = self._window(node.start, node.end)
        if is_condition(node.x):
            x = self.truth(node.x)
            value = self._counted(node, both(inside, x.yes))
            if node.kind == "first":
                return Reading(value)
            missing = self._unknown(node, inside, x.yes | x.no)
        else:
            reading = self.number(node.x)
            value = self._folded(node, reading.value, both(inside, reading.known))
            missing = self._unknown(node, inside, reading.known)
        return Reading(value, complete if missing is None else both(complete, ~missing))

    def _folded(self, node: Over, x: Any, inside: Any) -> Any:
        xp, name = self.xp, self.machine.folds[node]
        old = getattr(self.state, name)
        fold = {"total": lambda a, b: a + b, "min": xp.minimum, "max": xp.maximum}[node.kind]
        new = fold(old, x)
        self.new[name] = new if inside is True else xp.where(inside, new, old)
        return self.new[name]

    def _counted(self, node: Over, hit: Any) -> Any:
        xp, name = self.xp, self.machine.folds[node]
        old = getattr(self.state, name)
        if node.kind == "first":
            new = xp.minimum(old, xp.where(hit, self.month, NEVER))
        elif node.kind == "count":
            new = xp.where(hit, old + 1, old)
        else:
            run = xp.where(hit, getattr(self.state, f"{name}_run") + 1, 0)
            self.new[f"{name}_run"] = run
            new = xp.maximum(old, run)
        self.new[name] = new
        return xp.to_real(new)
