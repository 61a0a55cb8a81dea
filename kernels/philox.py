"""Counter-based random numbers: Philox4x32-10 and what the model draws from it.

Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC 2011). The key is the 64-bit
seed; the counter is (path low word; path bits 32..47 and the month, 1 for the first, or 0 for draws made once per path;
stream; block). A draw is a pure function of these, so any path can be computed alone, anywhere, and a new
draw leaves all others as they were.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
MAX_PATHS = 1 << 48
MAX_MONTHS = (1 << 16) - 2


def philox4x32(
    np: Any, counter: tuple[Any, Any, Any, Any], seed: int | Any
) -> tuple[Any, Any, Any, Any]:
    """Four words for each counter. ``np`` is NumPy, or jax.numpy with 64-bit types enabled.

    Counter words are uint32 arrays or scalars that broadcast; ``seed`` is an integer below 2^64, or a
    pair of uint32 values.
    """
    c0, c1, c2, c3 = (c.astype(np.uint64) for c in counter)
    if isinstance(seed, tuple):
        k0, k1 = (k.astype(np.uint64) for k in seed)
    else:
        k0, k1 = np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)
    m0, m1 = np.uint64(MULTIPLIERS[0]), np.uint64(MULTIPLIERS[1])
    w0, w1 = np.uint64(WEYL[0]), np.uint64(WEYL[1])
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(ROUNDS):
        p0, p1 = m0 * c0, m1 * c2
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1 & low, (p0 >> half) ^ c3 ^ k1, p0 & low
        k0, k1 = (k0 + w0) & low, (k1 + w1) & low
    return tuple(c.astype(np.uint32) for c in (c0, c1, c2, c3))


def stream_id(name: str) -> int:
    """The stream of a draw, from its name ``system.draw``: its CRC-32."""
    return zlib.crc32(name.encode())


class Draws:
    """What a step draws: ``draw.uniform("war")``, ``draw.normal("shock", 3)``.

    A name is a stream of its own within its system. ``count`` numbers come at once, as a tuple when more
    than one; four share a block. ``index`` (an integer value) picks one of many blocks of the stream: a
    loan, or the k-th try of a loop. ``draw.once`` draws once per path: the same in every month.

    ``salts``: integer values by stream. A stream that has one is drawn as the stream of id XOR salt: other
    numbers, independent of its own, or the very same where the salt is 0.
    """

    def __init__(
        self, xp: Any, system: str, month: Any = None, salts: Mapping[str, Any] | None = None
    ) -> None:
        self._xp, self._system, self._month = xp, system, month
        self._salts = salts or {}

    @property
    def once(self) -> Draws:
        return Draws(self._xp, self._system, None, self._salts)

    def words(self, name: str, index: Any = 0) -> tuple[Any, Any, Any, Any]:
        """Four 32-bit words."""
        stream = f"{self._system}.{name}"
        words: tuple[Any, Any, Any, Any] = self._xp.philox(
            stream, self._month, index, self._salts.get(stream)
        )
        return words

    def uniform(self, name: str, count: int = 1, index: Any = 0) -> Any:
        """Uniforms (x + 1/2) 2^-32, inside (0, 1)."""
        xp = self._xp
        draws = tuple(xp.uniform(w) for block in self._blocks(name, count, index) for w in block)
        return draws[0] if count == 1 else draws[:count]

    def normal(self, name: str, count: int = 1, index: Any = 0) -> Any:
        """Standard normals, by Box and Muller (1958) on the words (0, 1) and (2, 3) of a block."""
        xp = self._xp
        draws: list[Any] = []
        for block in self._blocks(name, count, index):
            for radius, angle in ((block[0], block[1]), (block[2], block[3])):
                r = xp.sqrt(-2.0 * xp.log(xp.uniform(radius)))
                u = xp.uniform(angle)
                draws += [r * xp.cos2pi(u), r * xp.sin2pi(u)]
        return draws[0] if count == 1 else tuple(draws[:count])

    def mixed(self, name: str, index: Any = 0) -> tuple[Any, Any, Any, Any]:
        """Two uniforms and two standard normals, from one block: words 0 and 1, and the pair (2, 3)."""
        xp = self._xp
        words = self.words(name, index)
        r = xp.sqrt(-2.0 * xp.log(xp.uniform(words[2])))
        u = xp.uniform(words[3])
        return xp.uniform(words[0]), xp.uniform(words[1]), r * xp.cos2pi(u), r * xp.sin2pi(u)

    def _blocks(self, name: str, count: int, index: Any) -> list[tuple[Any, Any, Any, Any]]:
        blocks = -(-count // 4)
        if blocks == 1:
            return [self.words(name, index)]
        return [self.words(name, index * blocks + j) for j in range(blocks)]
