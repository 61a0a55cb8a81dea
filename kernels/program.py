"""The program: a traced model as an immutable tree of statements in static single assignment.

The whole grammar::

    Program  = init: Block, step: Block            two straight lines with structured loops inside
    Block    = statements, outs                    a scope
    Statement= Op | Loop | While | Sparse
    Op       = results, name, args, attr           a row of ops.py, or one of ops.SPECIAL
    Loop     = results, first, last, index, init, carry, body, cond      for index in [first, last);
               with a cond, a path stops for good at the first index where it fails
    While    = results, init, carry, cond, body    while any lane holds cond; idle lanes keep their carry
    Sparse   = results, first, last, most, index, event, init, carry, cond, body
               for index in [first, last), ``most`` of them, on the paths where cond holds (see below)

A Sparse is for events that few paths have: ``cond`` is asked for all indices first, then ``body`` runs once for each
pair of a path and an index where it held. A body may take pairs of any paths and indices together, so the ``event`` it is
given is a per-path index, and it reads and writes the arrays that it carries at this index alone. Its ``init`` are the
arrays of ``carry`` and, behind them, sums; its outs are the arrays, and what the event adds to each sum, in the
order of the indices.

A value is a real (``f``), 32-bit signed (``i``), unsigned (``u``) or a mask (``m``); it is uniform (the
same on every path) or varying; ``length`` > 0 makes it a small array of its own for each path.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from .ops import OPS, result_kind


class ProgramError(AssertionError):
    """The program breaks a rule of its grammar: a defect of the compiler, not of a model."""


class ArrayError(ProgramError):
    """A per-path array is used in a way that writing in place would break: the model's own mistake."""


@dataclass(frozen=True, slots=True)
class Value:
    """A name that is assigned once. Identity is ``id``."""

    id: int
    kind: str
    varying: bool
    length: int = 0

    def __str__(self) -> str:
        name = f"{self.kind}{self.id}"
        return name if self.varying else f"{name}'"


@dataclass(frozen=True, slots=True)
class Op:
    results: tuple[Value, ...]
    name: str
    args: tuple[Value, ...]
    attr: Any = None
    line: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    statements: tuple[Statement, ...] = ()
    outs: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class Loop:
    results: tuple[Value, ...]
    first: Value
    last: Value
    index: Value
    init: tuple[Value, ...]
    carry: tuple[Value, ...]
    body: Block
    line: str = ""
    cond: Block | None = None


@dataclass(frozen=True, slots=True)
class While:
    results: tuple[Value, ...]
    init: tuple[Value, ...]
    carry: tuple[Value, ...]
    cond: Block
    body: Block
    line: str = ""


@dataclass(frozen=True, slots=True)
class Sparse:
    results: tuple[Value, ...]
    first: Value
    last: Value
    most: int
    index: Value
    event: Value
    init: tuple[Value, ...]
    carry: tuple[Value, ...]
    cond: Block
    body: Block
    line: str = ""

    @property
    def arrays(self) -> int:
        """How many of ``init``, the outs and the results are arrays; the rest are sums."""
        return len(self.carry)


Statement = Op | Loop | While | Sparse


@dataclass(frozen=True, slots=True)
class Program:
    """A traced model.

    ``state`` are the step's views of last month's state; ``init.outs`` their values before the first
    month, ``step.outs`` this month's, followed by the metrics and the series in the order of their names.
    ``reals`` and ``ints`` name the run's parameters; the first ones are the model's own, the rest are
    computed once per run by ``host`` (statements without a path or a month in them).
    """

    init: Block
    step: Block
    state_names: tuple[str, ...]
    state: tuple[Value, ...]
    month: Value
    metrics: tuple[str, ...]
    series: tuple[str, ...]
    reals: tuple[str, ...]
    ints: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    host: tuple[Op, ...] = ()
    host_reals: tuple[Value, ...] = ()
    host_ints: tuple[Value, ...] = ()
    streams: tuple[tuple[str, int], ...] = field(default=())

    def next_state(self) -> tuple[Value, ...]:
        return self.step.outs[: len(self.state)]

    def metric_values(self) -> tuple[Value, ...]:
        return self.step.outs[len(self.state) : len(self.state) + len(self.metrics)]

    def series_values(self) -> tuple[Value, ...]:
        return self.step.outs[len(self.state) + len(self.metrics) :]

    def series_rows(self) -> tuple[slice, ...]:
        """The rows of the record that each series takes: one, or as many as its array is long."""
        rows, first = [], 0
        for v in self.series_values():
            rows.append(slice(first, first + max(v.length, 1)))
            first = rows[-1].stop
        return tuple(rows)

    def row_count(self) -> int:
        """Rows of the record in a month."""
        return sum(max(v.length, 1) for v in self.series_values())

    def __str__(self) -> str:
        lines = [
            "init:",
            *_show(self.init, 1),
            f"step month={self.month} state={_names(self.state)}:",
        ]
        lines += _show(self.step, 1)
        if self.host:
            lines += ["host:", *_show(Block(self.host, ()), 1)]
        return "\n".join(lines)


def _names(values: tuple[Value, ...]) -> str:
    return "(" + ", ".join(map(str, values)) + ")"


def _show(block: Block, depth: int) -> Iterator[str]:
    pad = "  " * depth
    for s in block.statements:
        note = f"    # {s.line}" if s.line else ""
        if isinstance(s, Op):
            attr = "" if s.attr is None else f" [{s.attr}]"
            yield f"{pad}{', '.join(map(str, s.results))} = {s.name}{_names(s.args)}{attr}{note}"
        elif isinstance(s, Loop):
            yield f"{pad}{_names(s.results)} = loop {s.index} in [{s.first}, {s.last}) {_names(s.carry)} <- {_names(s.init)}{note}"
            if s.cond is not None:
                yield from _show(s.cond, depth + 1)
                yield f"{pad}do"
            yield from _show(s.body, depth + 1)
        elif isinstance(s, Sparse):
            yield f"{pad}{_names(s.results)} = sparse {s.index} in [{s.first}, {s.last}) {_names(s.carry)} <- {_names(s.init)}{note}"
            yield from _show(s.cond, depth + 1)
            yield f"{pad}do {s.event}"
            yield from _show(s.body, depth + 1)
        else:
            yield f"{pad}{_names(s.results)} = while {_names(s.carry)} <- {_names(s.init)}{note}"
            yield from _show(s.cond, depth + 1)
            yield f"{pad}do"
            yield from _show(s.body, depth + 1)
    yield f"{pad}-> {_names(block.outs)}"


def walk(block: Block) -> Iterator[Statement]:
    """Every statement of the block and of the blocks inside it, outer ones first."""
    for s in block.statements:
        yield s
        if not isinstance(s, Op):
            if s.cond is not None:
                yield from walk(s.cond)
            yield from walk(s.body)


def verify(program: Program) -> Program:
    """Check every rule of the grammar; return the program, or raise ProgramError."""
    seen: set[int] = set()
    top: set[int] = set()
    for op in program.host:
        _verify_op(op, top, seen, program)
        top |= {v.id for v in op.results}
    _need(all(v.id in top for v in program.host_reals + program.host_ints), "host result undefined")
    scope: set[int] = set()
    arrays = _Arrays({}, set(), {})
    _verify_block(program.init, scope, seen, program, arrays)
    n = len(program.state)
    _need(
        len(program.init.outs) == n == len(program.state_names),
        "init gives another number of states",
    )
    for name, v, w in zip(program.state_names, program.state, program.init.outs, strict=True):
        _need((v.kind, v.length) == (w.kind, w.length), f"state {name} changes its kind")
        _need(v.varying, f"state {name} is not per path")
    arrays.distinct(program.init.outs, "init")
    for v in (*program.state, program.month):
        _need(v.id not in seen, f"{v} is assigned twice")
        seen.add(v.id)
    step_scope = scope | {v.id for v in program.state} | {program.month.id}
    arrays = arrays.inner(program.state)
    _verify_block(program.step, step_scope, seen, program, arrays)
    _need(
        len(program.step.outs) == n + len(program.metrics) + len(program.series),
        "step gives another number of values than states, metrics and series",
    )
    for v, w in zip(program.state, program.next_state(), strict=True):
        _need((v.kind, v.length) == (w.kind, w.length), f"state {v} changes its kind to {w}")
    arrays.returned(program.state, program.next_state(), "step")
    for v in program.metric_values() + program.series_values():
        _need(v.kind in "fi", f"reported value {v} is not a number")
    for v in program.metric_values():
        _need(not v.length, f"metric {v} is an array")
    return program


def _need(
    condition: bool, message: str, line: str = "", error: type[ProgramError] = ProgramError
) -> None:
    if not condition:
        _fail(message, line, error)


def _fail(message: str, line: str = "", error: type[ProgramError] = ProgramError) -> NoReturn:
    raise error(f"{line}: {message}" if line else message)


@dataclass(slots=True)
class _Arrays:
    """Where arrays live: ``set`` writes in place, so two values may be one storage, old and new.

    home: the storage of each array, named by the value that it began as. own: storage that this block may
    write: arrays made in it, and those that its loop carries. stale: values that were written over, and where.
    """

    home: dict[int, int]
    own: set[int]
    stale: dict[int, str]

    def inner(self, carry: tuple[Value, ...]) -> _Arrays:
        ids = [v.id for v in carry if v.length]
        return _Arrays(self.home | {i: i for i in ids}, set(ids), dict(self.stale))

    def write(self, array: Value, line: str) -> None:
        _need(
            self.home.get(array.id) in self.own,
            f"array {array} of an enclosing block is written: carry it through the loop",
            line,
            ArrayError,
        )
        self.stale[array.id] = line

    def distinct(self, values: tuple[Value, ...], line: str) -> None:
        homes = [self.home.get(v.id) for v in values if v.length]
        _need(
            len(set(homes)) == len(homes),
            "one array is carried under two names: make two",
            line,
            ArrayError,
        )

    def returned(self, carry: tuple[Value, ...], outs: tuple[Value, ...], line: str) -> None:
        for v, w in zip(carry, outs, strict=True):
            _need(
                not v.length or self.home.get(w.id) == v.id,
                f"array {w} is returned in the place of {v}: return the carried array itself, or what xp.set "
                "made of it",
                line,
                ArrayError,
            )


def _verify_block(
    block: Block, scope: set[int], seen: set[int], program: Program, arrays: _Arrays, line: str = ""
) -> None:
    """``line`` is that of the loop whose block it is."""

    def use(at: str, *values: Value) -> None:
        # every use of a program comes by here, several times: messages are made where one is due
        for v in values:
            if v.id not in scope:
                _fail(f"{v} is used before it is defined", at)
            if v.length and v.id in arrays.stale:
                _fail(
                    f"array {v} is used after it was written at {arrays.stale[v.id]}: use what xp.set or the loop "
                    "returned",
                    at,
                    ArrayError,
                )

    for s in block.statements:
        if isinstance(s, Op):
            use(s.line, *s.args)
            _verify_op(s, scope, seen, program)
            if s.name == "array":
                arrays.home[s.results[0].id] = s.results[0].id
                arrays.own.add(s.results[0].id)
            elif s.name == "set":
                arrays.write(s.args[0], s.line)
                arrays.home[s.results[0].id] = arrays.home[s.args[0].id]
        else:
            use(s.line, *s.init)
            inner = scope | {v.id for v in s.carry}
            for v in (*s.carry, *_indices(s)):
                _need(v.id not in seen, f"{v} is assigned twice", s.line)
                seen.add(v.id)
            arrays.distinct(s.init, s.line)
            for v in s.init:
                if v.length:
                    arrays.write(v, s.line)
            if not isinstance(s, While):
                use(s.line, s.first, s.last)
                _need(s.first.kind == s.last.kind == "i", "a loop's bounds are integers", s.line)
                _need(
                    not s.first.varying and not s.last.varying,
                    "a loop's bounds are the same on all paths",
                    s.line,
                )
                inner |= {v.id for v in _indices(s)}
            if s.cond is not None:
                reading = arrays.inner(s.carry)
                reading.own = set()
                _verify_block(s.cond, set(inner), seen, program, reading, s.line)
                _need(
                    len(s.cond.outs) == 1 and s.cond.outs[0].kind == "m",
                    "while needs one mask",
                    s.line,
                )
                _need(all(v.varying for v in s.carry), "a while loop's carry is per path", s.line)
            writing = arrays.inner(s.carry)
            _verify_block(s.body, set(inner), seen, program, writing, s.line)
            if isinstance(s, Sparse):
                _verify_sparse(s)
                writing.returned(s.carry, s.body.outs[: s.arrays], s.line)
            else:
                _verify_carry(s.init, s.carry, s.body.outs, s.results)
                writing.returned(s.carry, s.body.outs, s.line)
            for v, w in zip(s.init, s.results, strict=True):
                if v.length:
                    arrays.home[w.id] = arrays.home[v.id]
        for v in s.results:
            if v.id in seen:
                _fail(f"{v} is assigned twice", s.line)
            seen.add(v.id)
            scope.add(v.id)
    use(line, *block.outs)


def _indices(s: Loop | While | Sparse) -> tuple[Value, ...]:
    """The values that a statement gives its blocks beside the carry."""
    if isinstance(s, While):
        return ()
    return (s.index, s.event) if isinstance(s, Sparse) else (s.index,)


def _verify_sparse(s: Sparse) -> None:
    n = s.arrays
    _need(all(v.length for v in s.carry), "a sparse loop carries arrays alone", s.line)
    _verify_carry(s.init[:n], s.carry, s.body.outs[:n], s.results[:n])
    _need(len(s.init) == len(s.results) == len(s.body.outs), "a sparse loop loses a sum", s.line)
    for v, out, result in zip(s.init[n:], s.body.outs[n:], s.results[n:], strict=True):
        kinds = {(x.kind, x.length) for x in (v, out, result)}
        _need(kinds == {("f", 0)} and result.varying, "a sparse loop's sums are reals", s.line)
    own = {v.id for v in s.carry}
    for t in walk(s.body):
        _need(
            not isinstance(t, Sparse),
            "a sparse loop stands inside a sparse loop",
            s.line,
            ArrayError,
        )
        if isinstance(t, Op):
            if t.name in ("get", "set") and t.args[0].id in own:
                _need(
                    t.args[1].id == s.event.id,
                    "a sparse loop's array is read or written at another index than its event",
                    t.line,
                    ArrayError,
                )
                own |= {t.results[0].id} if t.name == "set" else set()
        else:  # what these carry, they may hand on
            _need(
                own.isdisjoint(v.id for v in t.init),
                "a loop inside a sparse loop carries one of its arrays: get the element, set it afterwards",
                t.line,
                ArrayError,
            )


def _verify_carry(*groups: tuple[Value, ...]) -> None:
    _need(
        len({len(g) for g in groups}) == 1,
        "a loop returns another number of values than it carries",
    )
    for init, carry, out, result in zip(*groups, strict=True):
        shapes = {(v.kind, v.length) for v in (init, carry, out, result)}
        _need(len(shapes) == 1, f"a loop changes the kind of {carry}")
        _need(carry.varying == result.varying, "a loop's carry and result differ")
        _need(
            carry.varying or not (init.varying or out.varying),
            f"uniform carry {carry} takes a per-path value",
        )


_FIXED = {
    "const": 0,
    "param": 0,
    "iparam": 0,
    "take": 1,
    "philox": 1,
    "array": 1,
    "get": 2,
    "set": 3,
}


_VARYING = ("philox", "array", "get", "set")  # per path whatever they are given


def _verify_op(op: Op, scope: set[int], seen: set[int], program: Program) -> None:
    varying, has_array = op.name in _VARYING, False
    for v in op.args:
        varying, has_array = varying or v.varying, has_array or v.length > 0
    if op.name in OPS:
        if has_array or len(op.results) != 1:
            _fail(f"{op.name} takes plain values")
        if result_kind(op.name, tuple([v.kind for v in op.args])) != op.results[0].kind:
            _fail(f"{op.name}{_names(op.args)} does not give {op.results[0]}")
    elif op.name == "philox" and len(op.args) == 2:  # with a salt
        salt = op.args[1]
        _need(salt.kind == "i" and not salt.varying, "a stream's salt is not one integer")
    else:
        _need(op.name in _FIXED, f"unknown operation {op.name}")
        _need(len(op.args) == _FIXED[op.name], f"{op.name} takes {_FIXED[op.name]} values")
        if op.name in ("get", "set"):
            _need(
                op.args[0].length > 0 and op.args[1].kind == "i",
                f"{op.name} needs an array and an index",
            )
    for v in op.results:
        if v.varying != varying:
            _fail(f"{op.name}: uniform and per-path confused")
