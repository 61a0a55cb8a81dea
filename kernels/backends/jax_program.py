"""A program in JAX's terms: each statement an operation on arrays of lanes, a lane for each path.

XLA runs a loop as often as the busiest of its lanes asks for, on all lanes each time. A ``While`` is therefore
computed for the lanes that still have work alone, so many at a time (``Lanes.some``): of a thousand paths few meet
a default or a fire sale in a month.
"""
# ruff: noqa: TID253 -- imported where jax.py has work to do, not before

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..ops import OPS
from ..philox import philox4x32
from ..program import Block, Loop, Op, Program, Sparse, Value, While, walk

GATHERED = 64
"""Arrays up to this length are copied for the lanes at work; a ``While`` that carries a longer one is not packed."""

Env = dict[int, Any]
_IN_BOUNDS: dict[str, Any] = {"mode": "promise_in_bounds", "unique_indices": True}


@dataclass(frozen=True)
class Lanes:
    """The paths that a block is computed for.

    ``low``, ``high``: their numbers' words, (width,). ``active``: those that a loop around still works on, None for
    all. ``at``: where each one stands among all paths of the chunk, the chunk's width for a lane without a path;
    None where the lanes are the chunk.
    """

    low: Any
    high: Any
    active: Any = None
    at: Any = None

    @property
    def width(self) -> int:
        return int(self.low.shape[0])

    def wide(self, x: Any) -> Any:
        return x if np.ndim(x) else lax.broadcast(x, (self.width,))

    def among(self, mask: Any) -> Lanes:
        """The same lanes, of which only these are active."""
        return replace(self, active=mask if self.active is None else mask & self.active)

    def some(self, at: Any) -> Lanes:
        """The lanes at these places."""
        return Lanes(pick(self.low, at), pick(self.high, at), at < self.width, at)


class Marked:
    """The places of a mask, in order, to be had some at a time: a word for each 32, and how many there are up to its end."""

    def __init__(self, mask: Any) -> None:
        bits = mask.reshape(-1, 32).astype(np.uint32) << jnp.arange(32, dtype=np.uint32)
        self.size = mask.size
        self.words = bits.sum(axis=1, dtype=np.uint32)
        self.ends = jnp.cumsum(_ones(self.words), dtype=np.int32)

    @property
    def count(self) -> Any:
        return self.ends[-1]

    def places(self, first: Any, count: int) -> Any:
        """Those numbered from ``first`` on, so many; ``size`` for what is beyond the last."""
        k = first + jnp.arange(count, dtype=np.int32)
        w = jnp.searchsorted(self.ends, k, side="right", method="scan_unrolled").astype(np.int32)
        word, end = pick(self.words, w), pick(self.ends, w)
        rank, bit = k - (end - _ones(word)), jnp.zeros(count, np.uint32)
        for step in (16, 8, 4, 2, 1):
            below = _ones((word >> bit) & np.uint32((1 << step) - 1))
            beyond = rank >= below
            rank = jnp.where(beyond, rank - below, rank)
            bit = jnp.where(beyond, bit + np.uint32(step), bit)
        places = jnp.where(k < self.count, 32 * w + bit.astype(np.int32), self.size)
        # in order as they are: but what a sort gives, XLA does not compute again for each of its readers
        return lax.sort(places)


def _ones(words: Any) -> Any:
    return lax.population_count(words).astype(np.int32)


def pick(x: Any, at: Any) -> Any:
    """The lanes ``at`` of a value or an array, any lane for a place beyond the last."""
    return jnp.take(x, at, axis=-1, mode="clip")


def place(x: Any, at: Any, new: Any) -> Any:
    """The value or array with lanes replaced; places beyond the last are dropped."""
    return x.at[..., at].set(new, mode="drop", unique_indices=True)


class Evaluator:
    """Computes a program's blocks. ``busy``: how many lanes a ``While`` takes up at a time, 0 for all."""

    def __init__(self, program: Program, real: Any, inputs: dict[str, Any], key: Any, busy: int):
        self.program, self.real, self.inputs, self.key, self.busy = program, real, inputs, key, busy
        self._kinds = {"f": real, "i": np.int32, "u": np.uint32, "m": np.bool_}

    def block(self, block: Block, env: Env, lanes: Lanes) -> list[Any]:
        """The values of ``block.outs``; ``env`` gains what the statements define."""
        for s in block.statements:
            if isinstance(s, Op):
                results = self._op(s, env, lanes)
            else:
                with jax.named_scope(s.line):  # so that a profile names the model's line
                    if isinstance(s, Loop):
                        results = self._loop(s, env, lanes)
                    elif isinstance(s, While):
                        results = self._while(s, env, lanes)
                    else:
                        results = self._sparse(s, env, lanes)
            env.update(zip((v.id for v in s.results), results, strict=True))
        return [env[v.id] for v in block.outs]

    def _op(self, op: Op, env: Env, lanes: Lanes) -> Sequence[Any]:
        args = [env[a.id] for a in op.args]
        match op.name:
            case "const":
                return (self._kinds[op.results[0].kind](op.attr),)
            case "param":
                return (self.inputs["reals"][op.attr],)
            case "iparam":
                return (self.inputs["ints"][op.attr],)
            case "take":
                return (_take(self.inputs["columns"][op.attr], args[0]),)
            case "philox":
                return self._philox(op, env, lanes)
            case "array":
                return (jnp.broadcast_to(args[0], (op.results[0].length, lanes.width)),)
            case "get":
                return (_get(args[0], args[1], lanes),)
            case "set":
                return (_set(args[0], args[1], args[2], lanes),)
            case "to_real":
                return (lax.convert_element_type(args[0], self.real),)
            case "uniform":
                return (OPS["uniform"].array(jnp, args[0], self.real),)
        return (OPS[op.name].array(jnp, *args),)

    def _philox(self, op: Op, env: Env, lanes: Lanes) -> Sequence[Any]:
        stream, monthly = op.attr
        index, *salt = (lax.convert_element_type(env[a.id], np.uint32) for a in op.args)
        tick = env[self.program.month.id] if monthly else np.uint32(0)
        word = np.uint32(stream) ^ salt[0] if salt else np.uint32(stream)
        high = (lanes.high << np.uint32(16)) | lax.convert_element_type(tick, np.uint32)
        return philox4x32(jnp, (lanes.low, high, word, index), self.key)

    # ---- loops
    def _loop(self, s: Loop, env: Env, lanes: Lanes) -> Sequence[Any]:
        start = _start(s, env, lanes)
        first, last = (lax.convert_element_type(env[v.id], np.int32) for v in (s.first, s.last))

        def inside(i: Any, carry: Sequence[Any]) -> Env:
            return env | {s.index.id: i} | _named(s.carry, carry)

        if s.cond is None:

            def step(i: Any, carry: Any) -> Any:
                new = self.block(s.body, inside(i, carry), lanes)
                return [
                    lanes.wide(x) if c.varying else x for x, c in zip(new, s.carry, strict=True)
                ]

            done: Sequence[Any] = lax.fori_loop(first, last, step, start)
            return done

        cond = s.cond
        every = lanes.among(jnp.ones(lanes.width, bool))

        def going(i: Any, active: Any, carry: Any) -> Any:
            return active & self.block(cond, inside(i, carry), replace(lanes, active=active))[0]

        def turn(at: Any) -> Any:
            i, active, carry = at
            new = self._masked(
                s.body, inside(i, carry), s.carry, carry, replace(lanes, active=active)
            )
            return i + 1, going(i + 1, active, new), new

        begin = (first, going(first, every.active, start), start)
        _, _, carry = lax.while_loop(lambda at: (at[0] < last) & at[1].any(), turn, begin)
        return carry

    def _while(self, s: While, env: Env, lanes: Lanes) -> Sequence[Any]:
        start = _start(s, env, lanes)
        todo = self._wanted(s, env, start, lanes)
        # a longer array is not copied for some lanes, and XLA copies the whole of it for each batch
        if not self._packs(lanes) or any(c.length > GATHERED for c in s.carry):
            return self._rounds(s, env, todo, start, lanes)

        def copied(x: Any) -> bool:
            return bool(x.ndim == 1 or x.shape[0] <= GATHERED)

        read = [v.id for v in _reads(s) if v.varying and v.id in env and copied(env[v.id])]
        work = Marked(todo)

        def turn(first: Any, carry: Any) -> Any:
            few = lanes.some(work.places(first, self.busy))
            outside = env | {k: pick(env[k], few.at) for k in read}
            own = [pick(x, few.at) for x in carry]
            done = self._rounds(s, outside, few.active, own, few)
            return [place(x, few.at, new) for x, new in zip(carry, done, strict=True)]

        done: Sequence[Any] = self._batches(work.count, turn, start)
        return done

    def _packs(self, lanes: Lanes) -> bool:
        """Whether lanes that have work are packed together here: not among lanes that are packed already."""
        return 0 < 2 * self.busy <= lanes.width and lanes.at is None and lanes.width % 32 == 0

    def _batches(self, count: Any, turn: Callable[[Any, Any], Any], carry: Any) -> Any:
        """``carry = turn(first, carry)`` for each batch of a number of places."""
        busy = np.int32(self.busy)
        return lax.fori_loop(
            np.int32(0), (count + busy - 1) // busy, lambda k, c: turn(k * busy, c), carry
        )

    def _sparse(self, s: Sparse, env: Env, lanes: Lanes) -> Sequence[Any]:
        n = s.arrays
        held = [env[v.id] for v in s.init[:n]]
        start = held + [lanes.wide(env[v.id]) for v in s.init[n:]]
        first = lax.convert_element_type(env[s.first.id], np.int32)
        indices = first + jnp.arange(s.most, dtype=np.int32)

        def holds(i: Any) -> Any:
            here = env | {s.index.id: i} | _named(s.carry, held)
            mask = lanes.among(lanes.wide(self.block(s.cond, here, lanes)[0])).active
            return mask & (i < env[s.last.id])

        waiting = jax.vmap(holds)(indices)
        if not self._packs(lanes):
            return self._in_turn(s, env, waiting, first, start, lanes)
        read = [v.id for v in _reads(s) if v.varying and v.id in env and env[v.id].ndim == 1]
        events = Marked(waiting)

        def turn(done: Any, carry: Any) -> Any:
            event = events.places(done, self.busy)
            index, lane = event // lanes.width, event % lanes.width
            at = jnp.where(event < events.size, lane, lanes.width)
            few = lanes.some(at)
            outside = env | {k: pick(env[k], at) for k in read}
            outside |= {s.event.id: first + index} | _named(s.carry, carry[:n])
            new = self.block(s.body, outside, few)
            # one after the other where a path has several, so in the order of the indices
            sums = [
                total.at[at].add(few.wide(x), mode="drop")
                for total, x in zip(carry[n:], new[n:], strict=True)
            ]
            return new[:n] + sums

        return self._batches(events.count, turn, start)  # type: ignore[no-any-return]

    def _in_turn(
        self, s: Sparse, env: Env, waiting: Any, first: Any, start: Sequence[Any], lanes: Lanes
    ) -> Sequence[Any]:
        """In each round every path takes up the first of its events that are left."""
        n = s.arrays

        def turn(at: Any) -> Any:
            waiting, carry = at
            event = waiting.argmax(axis=0).astype(np.int32)
            inner = replace(lanes, active=waiting.any(axis=0))
            here = env | {s.event.id: first + event} | _named(s.carry, carry[:n])
            new = self.block(s.body, here, inner)
            sums = [
                jnp.where(inner.active, total + x, total)
                for total, x in zip(carry[n:], new[n:], strict=True)
            ]
            waiting &= jnp.arange(s.most)[:, None] != event
            return waiting, new[:n] + sums

        return lax.while_loop(lambda at: at[0].any(), turn, (waiting, start))[1]

    def _wanted(self, s: While, env: Env, carry: Sequence[Any], lanes: Lanes) -> Any:
        (mask,) = self.block(s.cond, env | _named(s.carry, carry), lanes)
        return lanes.among(lanes.wide(mask)).active

    def _rounds(
        self, s: While, env: Env, todo: Any, start: Sequence[Any], lanes: Lanes
    ) -> Sequence[Any]:
        """Rounds of a while until it has no lane left. A lane that is done stays so."""

        def turn(at: Any) -> Any:
            active, carry = at
            inner = replace(lanes, active=active)
            new = self._masked(s.body, env | _named(s.carry, carry), s.carry, carry, inner)
            return self._wanted(s, env, new, inner), new

        _, carry = lax.while_loop(lambda at: at[0].any(), turn, (todo, start))
        return carry

    def _masked(
        self, body: Block, env: Env, carry: Sequence[Value], old: Sequence[Any], lanes: Lanes
    ) -> list[Any]:
        """What the body makes of the carry, on the active lanes; ``set`` has left the others' arrays alone."""
        new = self.block(body, env, lanes)
        return [
            x if c.length else jnp.where(lanes.active, x, y)
            for c, x, y in zip(carry, new, old, strict=True)
        ]


def _named(values: Sequence[Value], given: Sequence[Any]) -> Env:
    return {v.id: x for v, x in zip(values, given, strict=True)}


def _start(s: Loop | While, env: Env, lanes: Lanes) -> list[Any]:
    """What a loop begins with, in the shapes that it keeps."""
    return [
        lanes.wide(env[v.id]) if c.varying else env[v.id]
        for v, c in zip(s.init, s.carry, strict=True)
    ]


def _reads(s: While | Sparse) -> Iterator[Value]:
    """What is read inside of a loop, its own values among them."""
    found: dict[int, Value] = {}
    for block in (s.cond, s.body):
        found |= {v.id: v for v in block.outs}
        for t in walk(block):
            inner = t.args if isinstance(t, Op) else (*t.init, *t.body.outs)
            cond = () if isinstance(t, Op) or t.cond is None else t.cond.outs
            found |= {v.id: v for v in (*inner, *cond)}
    return iter(found.values())


# ---- tables and per-path arrays; an index is held within them
def _take(column: Any, i: Any) -> Any:
    if np.ndim(i):
        return column.at[jnp.clip(i, 0, column.shape[0] - 1)].get(mode="promise_in_bounds")
    return lax.dynamic_index_in_dim(column, i, keepdims=False, allow_negative_indices=False)


def _get(array: Any, i: Any, lanes: Lanes) -> Any:
    whole = array.shape[1] != lanes.width
    if not np.ndim(i):
        row = lax.dynamic_index_in_dim(array, i, keepdims=False, allow_negative_indices=False)
        return pick(row, lanes.at) if whole else row
    at = jnp.minimum(lanes.at, array.shape[1] - 1) if whole else jnp.arange(lanes.width)
    return array.at[jnp.clip(i, 0, array.shape[0] - 1), at].get(mode="promise_in_bounds")


def _set(array: Any, i: Any, x: Any, lanes: Lanes) -> Any:
    i = jnp.clip(i, 0, array.shape[0] - 1)
    if array.shape[1] != lanes.width:
        at = jnp.where(lanes.active, lanes.at, array.shape[1])
        return array.at[i, at].set(x, mode="drop", unique_indices=True)
    if lanes.active is not None:  # idle lanes write what stood there: no whole arrays are merged
        x = jnp.where(lanes.active, x, _get(array, i, lanes))
    if not np.ndim(i):
        return lax.dynamic_update_index_in_dim(
            array, lanes.wide(x), i, 0, allow_negative_indices=False
        )
    return array.at[i, jnp.arange(lanes.width)].set(x, **_IN_BOUNDS)
