"""Clearing: who pays what when firms owe each other.

A node owes its row of the liabilities and owns outside assets. It pays all it owes if it can; in default it pays
what it has, in proportion (Eisenberg and Noe 2001), less the costs of default: it realises alpha of its outside
assets and beta of what it receives (Rogers and Veraart 2013). Several payment vectors may be consistent with
that; clearing takes the greatest. It is found by fictitious default: let all pay, see who cannot, solve for what
those pay, see who now cannot, ... at most n times, and each time exactly.

``clear``, ``clear_contracts`` and ``clear_by_seniority`` run in the kernels; ``clearing_vector`` and
``clearing_by_seniority`` of clearing_arrays are the same code on NumPy arrays.

Negative outside assets are a claim from outside that ranks first: the node pays max(0, received - claim), as in
Acemoglu, Ozdaglar and Tahbaz-Salehi (2015), and alpha does not lessen the claim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_FULL, _PART, _NONE = 0.0, 1.0, 2.0  # a node pays all, what it has, nothing
_KINDS = ("owed", "outside", "inflow", "alpha", "beta")

Carry = dict[str, Any]


class Cleared(NamedTuple):
    """What a kernel gets back: per-path arrays by node, and per-path numbers."""

    share: Any
    """Of what each node owes, the share it pays; 1 where it owes nothing. Below 1 it is in default."""
    received: Any
    """From other nodes, before the costs of default."""
    residual: Any
    """Largest distance, in money, between a payment and what the rule says for the payments received."""
    rounds: Any
    """Linear systems solved; 0 where all pay in full."""


# ---- in a kernel
def clear(
    xp: Any, n: int, liability: Any, outside: Any, alpha: Any = 1.0, beta: Any = 1.0, *,
    always: bool = False,
) -> Cleared:  # fmt: skip
    """The greatest clearing vector of n nodes. A path on which all can pay costs one sweep.

    liability: per-path array n * n, row payer, column payee, diagonal 0, and a node that owes nothing for all
    outside; outside: per-path array n; alpha, beta: numbers, or per-path arrays n. None of them is written.
    ``always``: a node with alpha or beta below 1 bears the costs even where it could pay without them. A shortfall
    that may be rounding (4 n eps of the need) is no default.
    """
    debts = _Matrix(n, liability)
    owed = debts.owed(xp, xp.array(n, 0.0), 0)
    return _greatest(_Rule(xp, n, owed, outside, None, alpha, beta, always), debts)


def _across(xp: Any, first: Any, last: Any, body: Callable[..., Carry], **carry: Any) -> Any:
    """A loop none of whose rounds reads what another wrote: NumPy may do them all at once."""
    return getattr(xp, "across", xp.loop)(first, last, body, **carry)


def _fill(xp: Any, n: int, array: Any, value: Callable[[Any, Any], Any]) -> Any:
    """The array with ``value(i, array)`` at each place i."""
    return _across(xp, 0, n, lambda i, c: {"x": xp.set(c.x, i, value(i, c.x))}, x=array).x


def _add(xp: Any, array: Any, i: Any, amount: Any) -> Any:
    return xp.set(array, i, xp.get(array, i) + amount)


def _at(xp: Any, value: Any, i: Any) -> Any:
    return float(value) if isinstance(value, int | float) else xp.get(value, i)


def rounding(n: int, float64: bool) -> float:
    """By what share of what n nodes need a shortfall may be rounding, and no default."""
    return max(16, 4 * n) * _eps(float64)


def _eps(float64: bool) -> float:
    return float(np.finfo(np.float64 if float64 else np.float32).eps)


class _Matrix:
    """Liabilities as a square array that starts at ``base`` of a longer one."""

    def __init__(self, n: int, liability: Any, base: int = 0) -> None:
        self.n, self.liability, self.base = n, liability, base

    def amount(self, xp: Any, i: Any, j: Any) -> Any:
        return xp.get(self.liability, i * self.n + j + self.base)

    def add(self, xp: Any, array: Any, place: Callable[..., Any], part: Callable[..., Any]) -> Any:
        """To ``array[place(i, j)]``, another for each payee j, adds ``part(i, j)`` of what i owes j."""

        def payer(i: Any, c: Any) -> Carry:
            def payee(j: Any, d: Any) -> Carry:
                return {"x": _add(xp, d.x, place(i, j), part(i, j) * self.amount(xp, i, j))}

            return {"x": _across(xp, 0, self.n, payee, x=c.x).x}

        return xp.loop(0, self.n, payer, x=array).x

    def owed(self, xp: Any, array: Any, base: int) -> Any:
        """To ``array[base + i]`` adds what i owes."""

        def payee(j: Any, c: Any) -> Carry:
            def payer(i: Any, d: Any) -> Carry:
                return {"x": _add(xp, d.x, i + base, self.amount(xp, i, j))}

            return {"x": _across(xp, 0, self.n, payer, x=c.x).x}

        return xp.loop(0, self.n, payee, x=array).x


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a node pays, given what it receives."""

    xp: Any
    n: int
    owed: Any
    outside: Any
    inflow: Any  # received from beyond the n nodes; None for nothing
    alpha: Any
    beta: Any
    always: bool

    def inflow_of(self, i: Any) -> Any:
        return 0.0 if self.inflow is None else self.xp.get(self.inflow, i)

    def own(self, i: Any) -> tuple[Any, Any]:
        """Outside assets, and the claim that ranks first."""
        e = self.xp.get(self.outside, i)
        return self.xp.maximum(e, 0.0), self.xp.maximum(-e, 0.0)

    def pays(self, i: Any, received: Any, owed: Any) -> tuple[Any, Any]:
        """Whether it falls short of what it owes, and what it pays then."""
        xp, (assets, claim) = self.xp, self.own(i)
        rest = _at(xp, self.alpha, i) * assets + _at(xp, self.beta, i) * received
        have = rest if self.always else assets + received
        least = 1.0 - rounding(self.n, xp.float64)
        short = (have < (owed + claim) * least) & (owed > 0.0)
        return short, xp.minimum(xp.maximum(rest - claim, 0.0), owed)


def _greatest(rule: _Rule, debts: Any) -> Cleared:
    """Fictitious default, from full payment down.

    A node with a claim before the network's may have nothing to pay. Which ones is found from below for the
    defaults of a round (Chandrasekaran 1970): they pay nothing until others' payments leave them something.
    """
    xp, n = rule.xp, rule.n

    def receive(share: Any, received: Any) -> Any:
        start = _fill(xp, n, received, lambda i, _: rule.inflow_of(i))
        return debts.add(xp, start, lambda i, j: j, lambda i, j: xp.get(share, i))

    def survey(share: Any, received: Any, state: Any) -> Any:
        def node(i: Any, c: Any) -> Carry:
            owed, now = xp.get(rule.owed, i), xp.get(state, i)
            short, means = rule.pays(i, xp.get(received, i), owed)
            gap = abs(xp.get(share, i) * owed - xp.where(short, means, owed))
            return {
                "fresh": c.fresh | ((now == _FULL) & short),
                "lift": c.lift | ((now == _NONE) & (means > 0.0)),
                "residual": xp.maximum(c.residual, gap),
            }

        return xp.loop(0, n, node, fresh=False, lift=False, residual=0.0)

    def next_round(c: Any) -> Carry:
        def become(i: Any, state: Any) -> Any:
            now, claim = xp.get(state, i), xp.get(rule.outside, i) < 0.0
            short, means = rule.pays(i, xp.get(c.received, i), xp.get(rule.owed, i))
            lifted = xp.where((now == _NONE) & (means > 0.0), _PART, now)
            lower = xp.where((now != _FULL) | short, xp.where(claim, _NONE, _PART), _FULL)
            return xp.where(c.lift, lifted, lower)

        state = _fill(xp, n, c.state, become)
        solved = _solve(rule, debts, state)
        share = _fill(xp, n, c.share, lambda i, _: xp.clip(xp.get(solved, i), 0.0, 1.0))
        received = receive(share, c.received)
        seen = survey(share, received, state)
        return {
            "share": share, "received": received, "state": state, "again": seen.fresh | seen.lift,
            "lift": seen.lift, "residual": seen.residual, "rounds": c.rounds + 1.0,
        }  # fmt: skip

    share, state = xp.array(n, 1.0), xp.array(n, _FULL)
    received = receive(share, xp.array(n, 0.0))
    seen = survey(share, received, state)
    most = float(n * (n + 2))  # without claims that rank first n rounds are enough
    done = xp.while_any(
        lambda c: c.again & (c.rounds < most), next_round,
        share=share, received=received, state=state, again=seen.fresh, lift=False,
        residual=seen.residual, rounds=0.0,
    )  # fmt: skip
    return Cleared(done.share, done.received, done.residual, done.rounds)


def _solve(rule: _Rule, debts: Any, state: Any) -> Any:
    """Shares, by Gaussian elimination: s_i owed_i = alpha e_i + beta sum_j L_ji s_j where i pays what it has.

    The other rows are s_i = 1 or 0. It is an M-matrix, diagonally dominant by columns: no pivoting is needed.
    """
    xp, n, eps = rule.xp, rule.n, _eps(rule.xp.float64)

    def per_owed(i: Any, x: Any) -> Any:
        part = xp.get(state, i) == _PART
        return xp.where(part, x / xp.where(part, xp.get(rule.owed, i), 1.0), 0.0)

    def right(i: Any, _: Any) -> Any:
        assets, claim = rule.own(i)
        rest = _at(xp, rule.alpha, i) * assets + _at(xp, rule.beta, i) * rule.inflow_of(i)
        return per_owed(i, rest - claim) + xp.where(xp.get(state, i) == _FULL, 1.0, 0.0)

    b = _fill(xp, n, xp.array(n, 0.0), right)
    beta = _fill(xp, n, xp.array(n, 0.0), lambda i, _: per_owed(i, -_at(xp, rule.beta, i)))
    a = xp.array(n * n, 0.0)
    a = _across(xp, 0, n, lambda i, c: {"a": xp.set(c.a, i * n + i, 1.0)}, a=a).a
    a = debts.add(xp, a, lambda i, j: j * n + i, lambda i, j: xp.get(beta, j))

    def eliminate(k: Any, c: Any) -> Carry:
        inverse = 1.0 / xp.maximum(xp.get(c.a, k * n + k), eps)

        def row(i: Any, d: Any) -> Carry:
            f = xp.get(d.a, i * n + k) * inverse

            def entry(j: Any, g: Any) -> Carry:
                return {"a": _add(xp, g.a, i * n + j, -f * xp.get(g.a, k * n + j))}

            a = _across(xp, k + 1, n, entry, a=d.a).a
            return {"a": a, "b": _add(xp, d.b, i, -f * xp.get(d.b, k))}

        done = _across(xp, k + 1, n, row, a=c.a, b=c.b)
        return {"a": done.a, "b": done.b}

    upper = xp.loop(0, n, eliminate, a=a, b=b)

    def substitute(step: Any, c: Any) -> Carry:
        k = (n - 1) - step
        x = xp.get(c.b, k) / xp.maximum(xp.get(upper.a, k * n + k), eps)

        def row(i: Any, d: Any) -> Carry:
            return {"b": _add(xp, d.b, i, -x * xp.get(upper.a, i * n + k))}

        return {"b": _across(xp, 0, k, row, b=xp.set(c.b, k, x)).b}

    return xp.loop(0, n, substitute, b=upper.b).b


def clear_by_seniority(
    xp: Any, n: int, classes: int, liability: Any, outside: Any
) -> tuple[Any, Any]:
    """Payments by class and node (per-path array classes * n), and rounds, by Elsinger's (2009) algorithm.

    liability: per-path array classes * n * n, most senior first. Each node has a class at its margin: those
    before it are paid in full, those after it get nothing. All start at the last; who cannot pay the classes before
    its margin moves up one. No default costs, no holdings of equity.
    """
    ranks, slack = range(classes), rounding(n * classes, xp.float64)
    debts = [_Matrix(n, liability, s * n * n) for s in ranks]
    dues = xp.array(classes * n, 0.0)
    for s in ranks:
        dues = debts[s].owed(xp, dues, s * n)

    def senior(i: Any, level: Any) -> Any:
        return sum(xp.where(level > float(s), xp.get(dues, i + s * n), 0.0) for s in ranks)

    def next_round(c: Any) -> Carry:
        own = _fill(
            xp, n, xp.array(n, 0.0), lambda i, _: xp.get(outside, i) - senior(i, xp.get(c.level, i))
        )
        margin = xp.array(n * n, 0.0)
        for s in ranks:
            before = lambda i, j, s=s: xp.where(xp.get(c.level, i) > float(s), 1.0, 0.0)  # noqa: E731
            at = lambda i, j, s=s: xp.where(xp.get(c.level, i) == float(s), 1.0, 0.0)  # noqa: E731
            own = debts[s].add(xp, own, lambda i, j: j, before)
            margin = debts[s].add(xp, margin, lambda i, j: i * n + j, at)
        got = clear(xp, n, margin, own)

        def node(i: Any, d: Any) -> Carry:
            level, paid = xp.get(d.level, i), d.paid
            need = senior(i, level) + abs(xp.get(outside, i))
            short = xp.get(own, i) + xp.get(got.received, i) < -slack * need
            broke = short & (level > 0.0)
            for s in ranks:
                part = xp.where(level == float(s), xp.get(got.share, i), 0.0)
                part = xp.where(level > float(s), 1.0, part)
                paid = xp.set(paid, i + s * n, part * xp.get(dues, i + s * n))
            level = xp.set(d.level, i, xp.where(broke, level - 1.0, level))
            return {"paid": paid, "again": d.again | broke, "level": level}

        after = xp.loop(0, n, node, paid=c.paid, level=c.level, again=False)
        rounds = c.rounds + got.rounds
        return {"paid": after.paid, "level": after.level, "again": after.again, "rounds": rounds}

    paid, level = xp.array(classes * n, 0.0), xp.array(n, float(classes - 1))
    done = xp.while_any(
        lambda c: c.again, next_round, paid=paid, level=level, again=True, rounds=0.0
    )
    return done.paid, done.rounds


# ---- contracts: the order of payment is fixed on the host
def components(n: int, edges: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Strongly connected components of nodes 0 ... n - 1, payers before payees.

    edges: pairs (payer, payee). A component of several nodes is a circle of debts. Raises ValueError where an edge
    does not join two of the nodes. Kosaraju's two searches: one that notes when a node is done, one backwards.
    """
    payees: list[list[int]] = [[] for _ in range(n)]
    payers: list[list[int]] = [[] for _ in range(n)]
    for i, j in edges:
        if not (0 <= i < n and 0 <= j < n):
            raise ValueError(f"edge ({i}, {j}): should join two of the nodes 0 to {n - 1}")
        payees[i].append(j)
        payers[j].append(i)
    seen: set[int] = set()

    def search(root: int, following: list[list[int]]) -> list[int]:
        """Nodes not seen before that can be reached from the root, in the order in which they are done."""
        if root in seen:
            return []
        seen.add(root)
        stack, done = [(root, iter(following[root]))], []
        while stack:
            w = next((w for w in stack[-1][1] if w not in seen), None)
            if w is None:
                done.append(stack.pop()[0])
            else:
                seen.add(w)
                stack.append((w, iter(following[w])))
        return done

    order = [v for root in range(n) for v in search(root, payees)]
    seen.clear()
    return [sorted(found) for root in reversed(order) if (found := search(root, payers))]


class Network:
    """Contracts among n nodes as ``clear_contracts`` takes them: payer by payer, members of a circle together."""

    def __init__(self, payer: Sequence[int], payee: Sequence[int], n: int) -> None:
        """payer, payee: nodes by contract. Raises ValueError where a contract does not join two nodes."""
        if len(payer) != len(payee):
            raise ValueError(f"{len(payer)} payers and {len(payee)} payees: should be as many")
        edges = [(int(i), int(j)) for i, j in zip(payer, payee, strict=True)]
        for k, (i, j) in enumerate(edges):
            if i == j:
                raise ValueError(f"contract {k}: node {i} owes itself; should owe another node")
        own = {i: [k for k, e in enumerate(edges) if e[0] == i] for i in range(n)}
        parts = [p for p in components(n, edges) if own[p[0]]]
        self.n, self.edges = n, edges
        self.node = [i for p in parts for i in p]
        self.order = [k for i in self.node for k in own[i]]
        self.first = np.cumsum([0, *(len(own[i]) for i in self.node)]).tolist()
        self.inner: list[tuple[int, int, int]] = []
        """Contracts inside circles: which, and the places of payer and payee in the circle."""
        self.runs: list[tuple[int, int, int, int]] = []
        """Places [first, last) of payers; and of a circle's contracts in ``inner``, (0, 0) if it is none."""
        at = 0
        for p in parts:
            start = len(self.inner)
            inside = [k for i in p for k in own[i] if edges[k][1] in p]
            self.inner += [(k, p.index(edges[k][0]), p.index(edges[k][1])) for k in inside]
            end = len(self.inner)
            if end > start:
                self.runs.append((at, at + len(p), start, end))
            elif self.runs and self.runs[-1][3] == 0:
                self.runs[-1] = (self.runs[-1][0], at + 1, 0, 0)
            else:
                self.runs.append((at, at + 1, 0, 0))
            at += len(p)

    def columns(self) -> dict[str, NDArray[np.int32]]:
        """The columns that ``clear_contracts`` reads, for ``System.prepare``."""
        found: dict[str, list[int]] = {
            "network_node": self.node,
            "network_first": self.first,
            "network_contract": self.order,
            "network_payee": [self.edges[k][1] for k in self.order],
        }
        for at, name in enumerate(("inner", "from", "to")):
            found[f"network_{name}"] = [row[at] for row in self.inner]
        return {k: np.array(v or [0], np.int32) for k, v in found.items()}


@dataclass(frozen=True, slots=True)
class _Circle:
    """The contracts among the members of one circle; nodes are places in it."""

    columns: Any
    due: Any
    first: int
    last: int

    def add(self, xp: Any, array: Any, place: Callable[..., Any], part: Callable[..., Any]) -> Any:
        c = self.columns

        def contract(q: Any, d: Any) -> Carry:
            i, j, amount = c.network_from[q], c.network_to[q], xp.get(self.due, c.network_inner[q])
            return {"x": _add(xp, d.x, place(i, j), part(i, j) * amount)}

        return xp.loop(self.first, self.last, contract, x=array).x


def clear_contracts(
    xp: Any, network: Network, columns: Any, due: Any, outside: Any, alpha: Any = 1.0,
    beta: Any = 1.0, *, always: bool = False,
) -> Cleared:  # fmt: skip
    """``clear`` for contracts: one division for each payer, and a linear system only for circles of debts.

    columns: what has ``network.columns()`` as attributes; due: per-path array by contract; outside, alpha, beta and
    ``always`` as in ``clear``. The residual is that of the circles: along a chain payments are the rule itself.
    """
    share, received = xp.array(network.n, 1.0), xp.array(network.n, 0.0)
    residual: Any = 0.0
    rounds: Any = 0.0

    def each(t: Any, array: Any, value: Callable[[Any, Any], Any]) -> Any:
        """Over the contracts of the payer at place t."""
        lo, hi = columns.network_first[t], columns.network_first[t + 1]
        return xp.loop(lo, hi, lambda q, c: {"x": value(q, c.x)}, x=array).x

    def owed_by(t: Any) -> Any:
        return each(t, 0.0, lambda q, x: x + xp.get(due, columns.network_contract[q]))

    def settle(t: Any, c: Any, part: Any) -> Carry:
        def pay(q: Any, x: Any) -> Any:
            amount = part * xp.get(due, columns.network_contract[q])
            return _add(xp, x, columns.network_payee[q], amount)

        share = xp.set(c.share, columns.network_node[t], part)
        return {"share": share, "received": each(t, c.received, pay)}

    line = _Rule(xp, network.n, None, outside, None, alpha, beta, always)

    def payer(t: Any, c: Any) -> Carry:
        i, owed = columns.network_node[t], owed_by(t)
        short, means = line.pays(i, xp.get(c.received, i), owed)
        return settle(t, c, xp.where(short, means / xp.maximum(owed, 1e-30), 1.0))

    for first, last, start, end in network.runs:
        if not end:
            done = xp.loop(first, last, payer, share=share, received=received)
            share, received = done.share, done.received
            continue

        def member(t: Any, c: Any, first: int = first, received: Any = received) -> Carry:
            i = columns.network_node[t + first]
            own, costs = (
                (xp.get(outside, i), xp.get(received, i)),
                (_at(xp, alpha, i), _at(xp, beta, i)),
            )
            values = dict(zip(_KINDS, (owed_by(t + first), *own, *costs), strict=True))
            return {k: xp.set(getattr(c, k), t, v) for k, v in values.items()}

        size = last - first
        m = xp.loop(0, size, member, **{k: xp.array(size, 0.0) for k in _KINDS})
        rule = _Rule(xp, size, m.owed, m.outside, m.inflow, m.alpha, m.beta, always)
        got = _greatest(rule, _Circle(columns, due, start, end))
        done = xp.loop(
            0, size,
            lambda t, c, first=first, got=got: settle(t + first, c, xp.get(got.share, t)),
            share=share, received=received,
        )  # fmt: skip
        share, received = done.share, done.received
        residual, rounds = xp.maximum(got.residual, residual), rounds + got.rounds
    return Cleared(share, received, residual, rounds)
