"""Passes over a program: reciprocals, fold, common subexpressions, hoist to the host, dead code.

Each takes and returns a whole program; ``optimize`` verifies after each one.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from .ops import OPS
from .program import Block, Loop, Op, Program, Sparse, Statement, Value, While, verify

_NUMPY_KIND: dict[str, Any] = {"f": np.float64, "i": np.int32, "u": np.uint32, "m": np.bool_}


def evaluate(op: Op, args: list[Any]) -> Any:
    """One elementwise operation on NumPy scalars in float64: what the host computes."""
    with np.errstate(all="ignore"):
        if op.name == "to_real":
            return np.float64(args[0])
        if op.name == "uniform":
            return OPS["uniform"].array(np, args[0], np.float64)
        value = OPS[op.name].array(np, *args)
    return _NUMPY_KIND[op.results[0].kind](value)


class _Rewriter:
    """Rebuilds a block with values replaced; subclasses decide what becomes of each operation."""

    def __init__(self) -> None:
        self.names: dict[int, Value] = {}
        self.before: list[Statement] = []  # what an operation's replacement needs first

    def value(self, v: Value) -> Value:
        return self.names.get(v.id, v)

    def values(self, vs: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple(self.value(v) for v in vs)

    def block(self, block: Block) -> Block:
        statements: list[Statement] = []
        for s in block.statements:
            if isinstance(s, Op):
                kept: Statement | None = self.op(
                    Op(s.results, s.name, self.values(s.args), s.attr, s.line)
                )
            else:
                head = replace(s, init=self.values(s.init))
                if not isinstance(head, While):
                    head = replace(head, first=self.value(head.first), last=self.value(head.last))
                cond = None if head.cond is None else self.scope(head.cond)
                kept = replace(head, cond=cond, body=self.scope(head.body))  # type: ignore[arg-type]
            statements += self.before
            self.before = []
            if kept is not None:
                statements.append(kept)
        return Block(tuple(statements), self.values(block.outs))

    def scope(self, block: Block) -> Block:
        return self.block(block)

    def op(self, op: Op) -> Op | None:
        return op

    def program(self, program: Program) -> Program:
        init = self.block(program.init)
        return replace(program, init=init, step=self.block(program.step))


class _Reciprocal(_Rewriter):
    """Divide a per-path value by a uniform one as a product with its reciprocal.

    A division takes a vector unit ten times as long as a product; the reciprocal is one number, and that of a parameter
    is found on the host. The result may be off by an ulp more.
    """

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.fresh = max(_ids(program))

    def op(self, op: Op) -> Op | None:
        if op.name != "div" or op.args[1].varying or not op.args[0].varying:
            return op
        one, inverse = (Value(self.fresh + k, "f", False) for k in (1, 2))
        self.fresh += 2
        self.before += [
            Op((one,), "const", (), 1.0, op.line),
            Op((inverse,), "div", (one, op.args[1]), None, op.line),
        ]
        return replace(op, name="mul", args=(op.args[0], inverse))


class _Fold(_Rewriter):
    """Compute what depends on literals alone; drop multiplications by one and additions of minus nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[int, Any] = {}

    def op(self, op: Op) -> Op | None:
        if op.name == "const":
            self.known[op.results[0].id] = op.attr
            return op
        if op.name not in OPS:
            return op
        if op.args and all(a.id in self.known for a in op.args):
            args = [_NUMPY_KIND[a.kind](self.known[a.id]) for a in op.args]
            attr = evaluate(op, args).item()
            self.known[op.results[0].id] = attr
            return Op(op.results, "const", (), attr, op.line)
        same = self._identity(op)
        if same is not None and same.varying == op.results[0].varying:
            self.names[op.results[0].id] = same
            return None
        return op

    def _identity(self, op: Op) -> Value | None:
        # x + 0 is not among them (-0 + 0 = +0), nor x * 0 (NaN, infinities)
        if op.name in ("mul", "div") and self.known.get(op.args[1].id) == 1:
            return op.args[0]
        if op.name == "mul" and self.known.get(op.args[0].id) == 1:
            return op.args[1]
        if op.name == "sub":
            right = self.known.get(op.args[1].id)
            if right == 0 and math.copysign(1.0, right) > 0:
                return op.args[0]
        return None


class _Share(_Rewriter):
    """Common subexpressions: the same operation on the same values is computed once."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[dict[Any, tuple[Value, ...]]] = [{}]

    def scope(self, block: Block) -> Block:
        self.tables.append({})
        done = self.block(block)
        self.tables.pop()
        return done

    def op(self, op: Op) -> Op | None:
        if op.name in ("array", "set"):  # each is storage of its own
            return op
        attr = (
            type(op.attr).__name__,
            repr(op.attr),
        )  # so that 1, 1.0 and True stay apart, and -0.0 and 0.0
        key = (op.name, tuple(a.id for a in op.args), attr, tuple(v.kind for v in op.results))
        for table in self.tables:
            if key in table:
                for old, new in zip(op.results, table[key], strict=True):
                    self.names[old.id] = new
                return None
        self.tables[-1][key] = op.results
        return op


class _Hoist(_Rewriter):
    """Move what needs neither path nor month to the host: it becomes a parameter of the run."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.host: list[Op] = []
        self.on_host: dict[int, Value] = {}
        self.leaves: dict[int, Op] = {}
        self.reals: list[Value] = []
        self.ints: list[Value] = []
        self.start = {"f": len(program.reals), "i": len(program.ints)}
        self.fresh = max(_ids(program))

    def op(self, op: Op) -> Op | None:
        result = op.results[0]
        if op.name in ("const", "param", "iparam"):
            self.leaves[result.id] = op
            return op
        ready = all(a.id in self.on_host or a.id in self.leaves for a in op.args)
        if op.name not in OPS or result.varying or not ready:
            return op
        self.on_host[result.id] = self._add(replace(op, args=tuple(map(self._host, op.args))))
        if (
            result.kind not in "fi"
        ):  # masks and bits have no parameter array: the kernel repeats them
            return op
        slots = self.reals if result.kind == "f" else self.ints
        slots.append(self.on_host[result.id])
        index = self.start[result.kind] + len(slots) - 1
        return Op((result,), "param" if result.kind == "f" else "iparam", (), index, op.line)

    def _host(self, value: Value) -> Value:
        if value.id not in self.on_host:
            self.on_host[value.id] = self._add(self.leaves[value.id])
        return self.on_host[value.id]

    def _add(self, op: Op) -> Value:
        self.fresh += 1
        result = replace(op.results[0], id=self.fresh)
        self.host.append(replace(op, results=(result,)))
        return result

    def program(self, program: Program) -> Program:
        done = super().program(program)
        return replace(
            done, host=tuple(self.host), host_reals=tuple(self.reals), host_ints=tuple(self.ints)
        )


def _ids(program: Program) -> set[int]:
    ids = {v.id for v in program.state} | {program.month.id}

    def visit(block: Block) -> None:
        for s in block.statements:
            ids.update(v.id for v in s.results)
            if isinstance(s, Loop | Sparse):
                ids.add(s.index.id)
            if isinstance(s, Sparse):
                ids.add(s.event.id)
            if not isinstance(s, Op):
                ids.update(v.id for v in s.carry)
                visit(s.body)
                if s.cond is not None:
                    visit(s.cond)

    visit(program.init)
    visit(program.step)
    return ids


def _live(block: Block, wanted: set[int]) -> tuple[Block, set[int]]:
    """The block without statements that nobody reads, and what it reads from outside."""
    needed = set(wanted) | {v.id for v in block.outs}
    kept: list[Statement] = []
    for s in reversed(block.statements):
        if needed.isdisjoint([v.id for v in s.results]):
            continue
        if isinstance(s, Op):
            needed.update([a.id for a in s.args])
            kept.append(s)
            continue
        s = _without_sums(s, needed) if isinstance(s, Sparse) else _trim(s, needed)
        body, inner = _live(s.body, set())
        s = replace(s, body=body)
        if not isinstance(s, While):
            needed |= {s.first.id, s.last.id}
        if s.cond is not None:
            cond, inner_cond = _live(s.cond, set())
            s = replace(s, cond=cond)
            inner |= inner_cond
        needed |= inner | {v.id for v in s.init}
        kept.append(s)
    return Block(tuple(reversed(kept)), block.outs), needed


def _trim(s: Loop | While, needed: set[int]) -> Loop | While:
    """Drop carries that nothing after the loop reads and that feed only themselves."""
    keep = {i for i, v in enumerate(s.results) if v.id in needed}
    while True:
        outs = tuple(s.body.outs[i] for i in sorted(keep))
        _, inner = _live(Block(s.body.statements, outs), set())
        if s.cond is not None:
            _, cond = _live(s.cond, set())
            inner |= cond
        grown = keep | {i for i, v in enumerate(s.carry) if v.id in inner}
        if grown == keep:
            break
        keep = grown

    def pick(values: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple(values[i] for i in sorted(keep))

    return replace(
        s,
        results=pick(s.results),
        init=pick(s.init),
        carry=pick(s.carry),
        body=Block(s.body.statements, pick(s.body.outs)),
    )


def _without_sums(s: Sparse, needed: set[int]) -> Sparse:
    """Drop the sums that nothing after the loop reads."""
    n = s.arrays
    keep = [i for i, v in enumerate(s.results) if i < n or v.id in needed]

    def pick(values: tuple[Value, ...]) -> tuple[Value, ...]:
        return tuple(values[i] for i in keep)

    body = Block(s.body.statements, pick(s.body.outs))
    return replace(s, results=pick(s.results), init=pick(s.init), body=body)


def eliminate(program: Program, watch: bool = True) -> Program:
    """Dead code, states that nothing reads included; with ``watch``, float states stay all the same."""
    n = len(program.state)
    keep = set(range(n))
    reported = program.step.outs[n:]
    alive: set[int] = set()
    while True:  # a state lives if a report, or a living state, reads it
        outs = tuple(program.next_state()[i] for i in sorted(alive)) + reported
        _, needed = _live(Block(program.step.statements, outs), set())
        grown = alive | {i for i in keep if program.state[i].id in needed}
        if grown == alive:
            break
        alive = grown
    if watch:  # even when nobody reports it: a NaN in a float state must be seen
        alive |= {i for i in keep if program.state[i].kind == "f"}
    order = sorted(alive)
    step_outs = tuple(program.next_state()[i] for i in order) + reported
    step, needed = _live(Block(program.step.statements, step_outs), set())
    init = Block(program.init.statements, tuple(program.init.outs[i] for i in order))
    outer, _ = _live(init, needed)
    return replace(
        program,
        init=outer,
        step=step,
        state=tuple(program.state[i] for i in order),
        state_names=tuple(program.state_names[i] for i in order),
    )


def optimize(program: Program) -> Program:
    """Verify, then take reciprocals, fold, share, hoist, share again and drop dead code, verifying after each."""
    verify(program)
    for run in (
        lambda p: _Reciprocal(p).program(p),
        lambda p: _Fold().program(p),
        lambda p: _Share().program(p),
        lambda p: _Hoist(p).program(p),
        lambda p: _Share().program(p),
        eliminate,
    ):
        program = verify(run(program))
    return program


def host_values(
    program: Program, reals: list[float], ints: list[int]
) -> tuple[list[float], list[int]]:
    """The run's full parameter lists: the model's own values, then those that the host computes."""
    known: dict[int, Any] = {}
    for op in program.host:
        if op.name == "const":
            known[op.results[0].id] = _NUMPY_KIND[op.results[0].kind](op.attr)
        elif op.name == "param":
            known[op.results[0].id] = np.float64(reals[op.attr])
        elif op.name == "iparam":
            known[op.results[0].id] = np.int32(ints[op.attr])
        else:
            known[op.results[0].id] = evaluate(op, [known[a.id] for a in op.args])
    return (
        reals + [float(known[v.id]) for v in program.host_reals],
        ints + [int(known[v.id]) for v in program.host_ints],
    )
