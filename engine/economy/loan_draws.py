"""Two ways to draw the defaults of a book; one law.

``Order`` (fast) draws, per group of n <= 64 loans, the gaps between the order statistics of their
uniforms: A_1 = E/n, A_{k+1} = A_k + E/(n - k), U_(k) = 1 - e^-A_k, and at each default picks the victim
among the loans left. ``Each`` gives every loan a uniform of its own, found by the loan's id: adding or
removing a loan leaves all the others alone. Neither draws more than about one block for each loan.

A strategy keeps its own part of the state, per-path arrays by group; ``next`` is the stress-weighted time
at which the group's next loan defaults.
"""

from __future__ import annotations

from typing import Any

from .thresholds import NEVER

Book = dict[str, Any]


class Order:
    def __init__(self, credit: Any) -> None:
        self.credit = credit

    def start(self, xp: Any, draw: Any, path: Any) -> Book:
        """Four groups share a block; arrays are padded to whole blocks."""
        c = self.credit
        blocks = -(-c.groups // 4)
        empty = {k: xp.array(4 * blocks, 0.0) for k in ("next", "gap")}

        def block(i: Any, a: Any) -> Book:
            new = {"next": a.next, "gap": a.gap}
            for j, u in enumerate(draw.uniform("first", 4, index=i)):
                g = 4 * i + j
                gap = -xp.log(u) / xp.to_real(c.group_size[g])
                new["gap"] = xp.set(new["gap"], g, gap)
                new["next"] = xp.set(new["next"], g, c.threshold(xp, path, g, -xp.expm1(-gap), gap))
            return new

        filled = xp.loop(0, blocks, block, **empty)
        bits = {k: xp.bits_array(4 * blocks) for k in ("low", "high")}
        return {"next": filled.next, "gap": filled.gap, **bits}

    def month(self, xp: Any, draw: Any, market: Any, book: Book) -> Book:
        """Find the groups that were crossed, 32 at a time; each lane then works off its own list."""
        c = self.credit
        words = -(-c.groups // 32)

        def word(w: Any, b: Any) -> Book:
            base = 32 * w
            last = xp.minimum(base + 32, market.started)

            def look(g: Any, seen: Any) -> Book:
                passed = xp.get(market.hazard, c.group_pattern[g]) > xp.get(b.next, g)
                bit = xp.shift_left(xp.to_bits(1), g - base)
                return {"bits": xp.where(passed, seen.bits | bit, seen.bits)}

            crossed = xp.loop(base, last, look, bits=xp.to_bits(0)).bits
            done = xp.while_any(
                lambda d: d.bits != 0,
                lambda d: self._default(xp, draw, market, base, d),
                bits=crossed,
                **{k: getattr(b, k) for k in book},
            )
            return {k: getattr(done, k) for k in book}

        after = xp.loop(0, words, word, **book)
        return {k: getattr(after, k) for k in book}

    def _default(self, xp: Any, draw: Any, market: Any, base: Any, d: Any) -> Book:
        """The next default of the first crossed group of each lane."""
        c = self.credit
        i = xp.lowest_bit(d.bits)
        g = base + i
        low, high = xp.get(d.low, g), xp.get(d.high, g)
        size = c.group_size[g]
        gone = xp.popcount(low) + xp.popcount(high)
        left = size - gone
        gap_word, victim_word, _, _ = draw.once.words("default", index=g * 64 + gone)

        rank = xp.minimum(xp.to_int(xp.uniform(victim_word) * xp.to_real(left)), left - 1)
        in_high, place = pick_unset(xp, low, high, rank)
        bit = xp.shift_left(xp.to_bits(1), place)
        row = c.group_first[g] + xp.where(in_high, place + 32, place)
        alive = c.loan_end[row] >= market.month
        lost = xp.where(alive, c.loan_exposure[row] * c.stressed_lgd(xp, market, row, g), 0.0)

        rest = xp.to_real(xp.maximum(left - 1, 1))
        gap = xp.get(d.gap, g) - xp.log(xp.uniform(gap_word)) / rest
        limit = (xp.get(d.since, g) if c.vintages else 0.0) + c.threshold(
            xp, market.path, g, -xp.expm1(-gap), gap
        )
        limit = xp.where(left > 1, limit, NEVER)
        more = xp.get(market.hazard, c.group_pattern[g]) > limit
        return {
            "bits": xp.where(more, d.bits, d.bits & ~xp.shift_left(xp.to_bits(1), i)),
            "next": xp.set(d.next, g, limit),
            "gap": xp.set(d.gap, g, gap),
            "low": xp.set(d.low, g, xp.where(in_high, low, low | bit)),
            "high": xp.set(d.high, g, xp.where(in_high, high | bit, high)),
            **({"since": d.since} if c.vintages else {}),
            "loss": d.loss + lost,
            "defaults": d.defaults + xp.where(alive, 1.0, 0.0),
        }

    def is_gone(self, xp: Any, draw: Any, book: Book, row: Any, g: Any) -> Any:
        """Whether a loan has defaulted."""
        place = row - self.credit.group_first[g]
        high = place >= 32
        word = xp.where(high, xp.get(book["high"], g), xp.get(book["low"], g))
        bit = xp.shift_left(xp.to_bits(1), xp.where(high, place - 32, place))
        return (word & bit) != 0


class Each:
    def __init__(self, credit: Any) -> None:
        self.credit = credit

    def start(self, xp: Any, draw: Any, path: Any) -> Book:
        c = self.credit

        def group(g: Any, a: Any) -> Book:
            u = self._above(xp, draw, g, 0.0)
            return {
                "least": xp.set(a.least, g, u),
                "next": xp.set(a.next, g, self._limit(xp, path, g, u)),
            }

        empty = {k: xp.array(c.groups, 0.0) for k in ("least", "next")}
        filled = xp.loop(0, c.groups, group, **empty)
        return {"least": filled.least, "next": filled.next}

    def month(self, xp: Any, draw: Any, market: Any, book: Book) -> Book:
        c = self.credit

        def group(g: Any, b: Any) -> Book:
            reached = xp.get(market.hazard, c.group_pattern[g])
            done = xp.while_any(
                lambda d: reached > xp.get(d.next, g),
                lambda d: self._default(xp, draw, market, g, d),
                **{k: getattr(b, k) for k in book},
            )
            return {k: getattr(done, k) for k in book}

        after = xp.loop(0, market.started, group, **book)
        return {k: getattr(after, k) for k in book}

    def _default(self, xp: Any, draw: Any, market: Any, g: Any, d: Any) -> Book:
        """The loan whose uniform was passed (two that drew the same both go), and the next one."""
        c = self.credit
        passed = xp.get(d.least, g)

        def loan(row: Any, a: Any) -> Book:
            hit = (self._uniform(draw, row) == passed) & (c.loan_end[row] >= market.month)
            lost = c.loan_exposure[row] * c.stressed_lgd(xp, market, row, g)
            return {
                "loss": a.loss + xp.where(hit, lost, 0.0),
                "defaults": a.defaults + xp.where(hit, 1.0, 0.0),
            }

        first = c.group_first[g]
        sums = xp.loop(first, first + c.group_size[g], loan, loss=d.loss, defaults=d.defaults)
        least = self._above(xp, draw, g, passed)
        limit = (xp.get(d.since, g) if c.vintages else 0.0) + self._limit(xp, market.path, g, least)
        return {
            "least": xp.set(d.least, g, least),
            "next": xp.set(d.next, g, limit),
            **({"since": d.since} if c.vintages else {}),
            "loss": sums.loss,
            "defaults": sums.defaults,
        }

    def _uniform(self, draw: Any, row: Any) -> Any:
        return draw.once.uniform("loan", index=self.credit.loan_stream[row])

    def _above(self, xp: Any, draw: Any, g: Any, floor: Any) -> Any:
        """The least uniform of the group's loans above ``floor``; 1 if there is none."""
        c = self.credit

        def loan(row: Any, a: Any) -> Book:
            u = self._uniform(draw, row)
            return {"least": xp.where(u > floor, xp.minimum(a.least, u), a.least)}

        first = c.group_first[g]
        return xp.loop(first, first + c.group_size[g], loan, least=1.0).least

    def _limit(self, xp: Any, path: Any, g: Any, u: Any) -> Any:
        limit = self.credit.threshold(xp, path, g, u, -xp.log1p(-u))
        return xp.where(u < 1.0, limit, NEVER)

    def is_gone(self, xp: Any, draw: Any, book: Book, row: Any, g: Any) -> Any:
        return self._uniform(draw, row) < xp.get(book["least"], g)


def pick_unset(xp: Any, low: Any, high: Any, rank: Any) -> tuple[Any, Any]:
    """The ``rank``-th (from 0) unset bit of 64: whether it lies in the high word, and its place there."""
    free = 32 - xp.popcount(low)
    in_high = rank >= free
    word = xp.where(in_high, ~high, ~low)
    rank = xp.where(in_high, rank - free, rank)
    place = rank * 0
    for width in (16, 8, 4, 2, 1):
        count = xp.popcount(word & ((1 << width) - 1))
        above = rank >= count
        word = xp.where(above, xp.shift_right(word, width), word)
        rank = xp.where(above, rank - count, rank)
        place = xp.where(above, place + width, place)
    return in_high, place
