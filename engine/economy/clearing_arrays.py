"""Clearing on NumPy arrays: the payments of one network, or of a batch of them, by the code of the kernels.

    from overbuilt.engine.economy.clearing_arrays import clearing_vector

    clearing_vector([[0, 2], [0, 0]], [1, 0]).payments    # node 0 owes 2 and has 1: it pays 1

``clearing_vector`` clears debts of one rank, with costs of default; ``clearing_by_seniority`` debts that rank. The
rule and its sources stand in clearing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...kernels.arrays import ArrayNamespace
from ...kernels.backends.base import path_words
from ...kernels.namespace import Fields
from .clearing import Carry, clear, clear_by_seniority, rounding

_CHUNK = 1 << 22  # liabilities that NumPy solves at a time: what its work arrays may hold

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Clearing:
    """A clearing vector. With a batch of networks every field has a leading axis of paths."""

    payments: Floats
    """(n,), or (classes, n) by seniority."""
    defaulted: NDArray[np.bool_]
    """(n,): the node does not pay all it owes in the network."""
    residual: Any
    """Largest |p - Phi(p)|, Phi what the rule says when p is paid; computed apart from the solution."""
    rounds: Any
    """Linear systems solved."""


class ClearingError(ArithmeticError):
    """The payments found do not clear the network within the tolerance."""


class _Whole(ArrayNamespace):
    """NumPy in float64; rounds of ``across`` stand on leading axes, so that 200 banks take no n^3 calls."""

    def __init__(self, paths: int) -> None:
        super().__init__(np, True, path_words(0, paths), 0)
        self._depth = 0

    def across(self, first: Any, last: Any, body: Callable[..., Carry], **carry: Any) -> Fields:
        self._depth += 1
        i = np.arange(first, last, dtype=np.int32).reshape((-1,) + (1,) * self._depth)
        done = body(i, Fields(carry))
        self._depth -= 1
        return Fields(done)

    def get(self, array: Any, i: Any) -> Any:
        return array[i[..., 0]] if np.ndim(i) > 1 else super().get(array, i)

    def set(self, array: Any, i: Any, x: Any) -> Any:
        if np.ndim(i) < 2:
            return super().set(array, i, x)
        new = array.copy()
        new[i[..., 0]] = x
        return new


def clearing_vector(
    liabilities: ArrayLike, outside_assets: ArrayLike, alpha: ArrayLike = 1.0,
    beta: ArrayLike = 1.0, *, tolerance: float = 1e-9,
) -> Clearing:  # fmt: skip
    """The greatest clearing vector: Eisenberg and Noe (2001), with default costs Rogers and Veraart (2013).

    liabilities: (n, n) or (paths, n, n), row owes column; a node that owes nothing may stand for all outside.
    outside_assets: (n,) or (paths, n); alpha, beta: a number, or as these. Negative outside assets are a claim
    that ranks first. Raises ValueError for input that is no network, ClearingError where the residual is above
    ``tolerance`` times the largest sum that a node owes.
    """
    due = _liabilities(liabilities, "")
    by_node = [_by_node(due, "outside_assets", outside_assets)]
    by_node += [_by_node(due, k, v) for k, v in (("alpha", alpha), ("beta", beta))]
    batch, (due, e, a, b) = _batched(due, 2, *by_node)
    n = due.shape[-1]
    share, rounds = np.empty(e.shape), np.empty(len(e))
    for part in _parts(due):
        columns = [np.ascontiguousarray(v[part].T) for v in (e, a, b)]
        got = clear(_Whole(len(e[part])), n, _flat(due[part]), *columns)
        share[part], rounds[part] = got.share.T, got.rounds
    owed, received = due.sum(axis=2), np.einsum("pi,pij->pj", share, due)
    assets, claim = np.maximum(e, 0.0), np.maximum(-e, 0.0)
    short = (owed > 0.0) & (assets + received < (owed + claim) * (1.0 - rounding(n, True)))
    rest = np.clip(a * assets + b * received - claim, 0.0, owed)
    gap = np.abs(share * owed - np.where(short, rest, owed))
    return _result(share * owed, share < 1.0, gap, owed, rounds, tolerance, batch)


def clearing_by_seniority(
    liabilities: ArrayLike, outside_assets: ArrayLike, *, tolerance: float = 1e-9
) -> Clearing:
    """The greatest clearing payments when debts rank (Elsinger 2009): a class is paid once those before it are.

    liabilities: (classes, n, n) or (paths, classes, n, n), most senior class first, row owes column; otherwise as
    in ``clearing_vector``. Elsinger's cross-holdings of equity are left out, and so are default costs.
    """
    due = _liabilities(liabilities, "classes, ")
    batch, (due, e) = _batched(due, 3, _by_node(due, "outside_assets", outside_assets))
    paths, classes, n, _ = due.shape
    payments, rounds = np.empty((paths, classes, n)), np.empty(paths)
    for part in _parts(due):
        xp = _Whole(len(e[part]))
        outside = np.ascontiguousarray(e[part].T)
        paid, rounds[part] = clear_by_seniority(xp, n, classes, _flat(due[part]), outside)
        payments[part] = paid.T.reshape(-1, classes, n)
    owed = due.sum(axis=3)
    share = np.divide(payments, owed, out=np.ones_like(owed), where=owed > 0.0)
    have = e + np.einsum("pci,pcij->pj", share, due)
    before = np.cumsum(owed, axis=1) - owed
    gap = np.abs(payments - np.clip(have[:, None] - before, 0.0, owed)).reshape(paths, -1)
    defaulted = (payments < owed * (1.0 - rounding(n * classes, True))).any(axis=1)
    return _result(payments, defaulted, gap, owed.sum(axis=1), rounds, tolerance, batch)


def _result(
    payments: Floats, defaulted: Any, gap: Floats, owed: Floats, rounds: Floats, tolerance: float,
    batch: bool,
) -> Clearing:  # fmt: skip
    residual, most = gap.max(axis=1), owed.max(axis=1)
    for p in np.flatnonzero(~(residual <= tolerance * most))[:1]:
        where = f" on path {p}" if batch else ""
        raise ClearingError(
            f"payments miss the clearing rule by {residual[p]:.3g}{where}: "
            f"should be at most {tolerance:g} of {most[p]:g}, the largest sum owed"
        )
    count = rounds.astype(np.int64)
    if batch:
        return Clearing(payments, defaulted, residual, count)
    return Clearing(payments[0], defaulted[0], float(residual[0]), int(count[0]))


def _liabilities(given: ArrayLike, classes: str) -> Floats:
    due = np.asarray(given, np.float64)
    axes = 3 if classes else 2
    if due.ndim not in (axes, axes + 1) or due.shape[-1] != due.shape[-2] or 0 in due.shape:
        want = f"({classes}n, n) or (paths, {classes}n, n)"
        raise ValueError(f"liabilities have the shape {due.shape}: should be {want}")
    _refuse(due, np.isfinite(due), "liabilities", "a finite number")
    _refuse(due, due >= 0.0, "liabilities", "0 or more")
    other = ~np.eye(due.shape[-1], dtype=bool)
    _refuse(due, other | (due == 0.0), "liabilities", "0: a node does not owe itself")
    return due


def _by_node(due: Floats, name: str, given: ArrayLike) -> Floats:
    n, value, cost = due.shape[-1], np.asarray(given, np.float64), name != "outside_assets"
    if value.ndim == 0 and cost:
        value = np.full(n, value)
    if value.ndim not in (1, 2) or value.shape[-1] != n or 0 in value.shape:
        raise ValueError(f"{name} has the shape {value.shape}: should be ({n},) or (paths, {n})")
    _refuse(value, np.isfinite(value), name, "a finite number")
    _refuse(value, not cost or ((value >= 0.0) & (value <= 1.0)), name, "within [0, 1]")
    return value


def _refuse(value: Floats, good: Any, name: str, want: str) -> None:
    for at in np.argwhere(~np.broadcast_to(good, value.shape))[:1]:
        where = ", ".join(str(i) for i in at)
        raise ValueError(f"{name}[{where}] = {value[tuple(at)]:g}: should be {want}")


def _batched(due: Floats, axes: int, *by_node: Floats) -> tuple[bool, list[Floats]]:
    """Whether there is an axis of paths, and all with one."""
    heads = {due.shape[:-axes], *(v.shape[:-1] for v in by_node)} - {()}
    if len(heads) > 1:
        counts = sorted(h[0] for h in heads)
        raise ValueError(f"numbers of paths {counts}: should be the same in all arguments")
    paths = next(iter(heads), (1,))
    found = [np.broadcast_to(due, paths + due.shape[-axes:])]
    return bool(heads), found + [np.broadcast_to(v, paths + v.shape[-1:]) for v in by_node]


def _parts(due: Floats) -> list[slice]:
    """Paths that are solved together."""
    size = max(1, _CHUNK // due[0].size)
    return [slice(at, at + size) for at in range(0, len(due), size)]


def _flat(due: Floats) -> Floats:
    """As the kernels hold it: (places, paths)."""
    return np.ascontiguousarray(due.reshape(len(due), -1).T)
