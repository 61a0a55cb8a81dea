"""Layout of a Sankey diagram of two sides: who pays on the left, who is paid on the right.

A firm that pays and is paid stands on both sides, so that money may go round. All heights are one scale: a link's
width and a node's bar are its value times ``scale`` pixels. The order of the nodes is that of barycentres (Sugiyama,
Tagawa and Toda 1981), kept where links cross least, weighted by what they carry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROOM = 18.0
"""Pixels that the label of a node needs."""
SWEEPS = 6
POINTS = 24
"""Along a ribbon."""


@dataclass(frozen=True)
class Link:
    payer: str
    payee: str
    value: float


@dataclass(frozen=True)
class Node:
    """A bar, from ``top`` to ``bottom`` pixels; ``middle`` is where its label stands."""

    name: str
    side: str
    value: float
    top: float
    bottom: float

    @property
    def middle(self) -> float:
        return (self.top + self.bottom) / 2.0


@dataclass(frozen=True)
class Layout:
    """Nodes; and for each link the top of its ribbon at the payer and at the payee, in pixels."""

    nodes: list[Node]
    starts: list[float]
    ends: list[float]
    scale: float
    height: float


def lay_out(links: Sequence[Link], ribbons: float) -> Layout:
    """``ribbons``: pixels that all links together are high. Values are above 0."""
    total = sum(k.value for k in links)
    scale = ribbons / total
    left = _by_size([(k.payer, k.value) for k in links])
    right = _by_size([(k.payee, k.value) for k in links])
    best = (_crossings(links, left, right), list(left), list(right))
    for _ in range(SWEEPS):
        right = _barycentres(links, right, left, paying=False)
        left = _barycentres(links, left, right, paying=True)
        best = min(best, (_crossings(links, left, right), list(left), list(right)))
    _, left, right = best
    value = {"left": _sums((k.payer, k.value) for k in links)}
    value["right"] = _sums((k.payee, k.value) for k in links)
    heights = [_height(value[s], scale) for s in ("left", "right")]
    height = max(heights)
    nodes = [
        *_stack("left", left, value["left"], scale, (height - heights[0]) / 2.0),
        *_stack("right", right, value["right"], scale, (height - heights[1]) / 2.0),
    ]
    top = {(n.side, n.name): n.top for n in nodes}
    starts = _tops(links, scale, lambda k: ("left", k.payer), lambda k: right.index(k.payee), top)
    ends = _tops(links, scale, lambda k: ("right", k.payee), lambda k: left.index(k.payer), top)
    return Layout(nodes, starts, ends, scale, height)


def ribbon(start: float, end: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points of its upper edge from payer to payee: x from 0 to 1, y in pixels; level at both ends."""
    t = np.linspace(0.0, 1.0, POINTS)
    return t, start + (end - start) * t * t * (3.0 - 2.0 * t)


def _sums(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in pairs:
        found[name] = found.get(name, 0.0) + value
    return found


def _by_size(pairs: Iterable[tuple[str, float]]) -> list[str]:
    sums = _sums(pairs)
    return sorted(sums, key=lambda n: (-sums[n], n))


def _room(value: float, scale: float) -> float:
    return max(value * scale + 5.0, ROOM)


def _height(value: dict[str, float], scale: float) -> float:
    return sum(_room(v, scale) for v in value.values())


def _stack(
    side: str, order: list[str], value: dict[str, float], scale: float, top: float
) -> list[Node]:
    found = []
    for name in order:
        room, bar = _room(value[name], scale), value[name] * scale
        found.append(
            Node(name, side, value[name], top + (room - bar) / 2.0, top + (room + bar) / 2.0)
        )
        top += room
    return found


def _tops(
    links: Sequence[Link],
    scale: float,
    node: Callable[[Link], tuple[str, str]],
    rank: Callable[[Link], int],
    top: dict[tuple[str, str], float],
) -> list[float]:
    """Ribbons leave and reach a bar in the order of what is at their other end, without a gap."""
    found = [0.0] * len(links)
    filled = dict(top)
    for i in sorted(range(len(links)), key=lambda i: (rank(links[i]), i)):
        found[i] = filled[node(links[i])]
        filled[node(links[i])] += links[i].value * scale
    return found


def _barycentres(
    links: Sequence[Link], own: list[str], other: list[str], paying: bool
) -> list[str]:
    place = {name: k for k, name in enumerate(other)}
    weight: dict[str, list[float]] = {name: [0.0, 0.0] for name in own}
    for k in links:
        mine, theirs = (k.payer, k.payee) if paying else (k.payee, k.payer)
        weight[mine][0] += k.value * place[theirs]
        weight[mine][1] += k.value
    return sorted(own, key=lambda n: (weight[n][0] / weight[n][1], own.index(n)))


def _crossings(links: Sequence[Link], left: list[str], right: list[str]) -> float:
    """Sum over crossing pairs of the lesser value of the two."""
    at = [(left.index(k.payer), right.index(k.payee), k.value) for k in links]
    return sum(
        min(a[2], b[2])
        for i, a in enumerate(at)
        for b in at[:i]
        if (a[0] - b[0]) * (a[1] - b[1]) < 0
    )
