"""Two ways to draw the defaults of a book; one law.

``Order`` (fast) draws, per group of n <= 64 loans, the gaps between the order statistics of their
uniforms: A_1 = E/n, A_{k+1} = A_k + E/(n - k), U_(k) = 1 - e^-A_k, with the victim of each chosen among the
loans left. ``Each`` gives every loan a uniform of its own, found by the loan's id: adding or removing a
loan leaves all the others alone. Neither draws more than about one block for each loan and path.

A strategy keeps its own part of the state, per-path arrays. Thresholds are in stress-weighted time, by
group: a default happens in the month in which the group's clock passes its threshold.
"""

from __future__ import annotations

from typing import Any

from .thresholds import NEVER

Book = dict[str, Any]
END_BITS = 9  # of a slot's tag: the loan's end month; the rest is its row
LAST_END = (1 << END_BITS) - 1
_MOVING = ("gap", "next", "beyond", "low", "high")  # what defaults change; the slots stay


class Order:
    """Each group's first defaults are drawn ahead, all paths in step: ``depth`` slots with threshold,
    exposure and tag, in the order of default. Months then only compare. The few paths that use up
    their slots draw on, one default at a time.
    """

    def __init__(self, credit: Any) -> None:
        self.credit = credit

    def start(self, xp: Any, draw: Any, path: Any) -> Book:
        c = self.credit

        def group(g: Any, a: Any) -> Book:
            size = c.group_size[g]
            gap = -xp.log(draw.uniform("first", index=g)) / xp.to_real(size)
            low, high = xp.to_bits(0), xp.to_bits(0)

            def pair(j: Any, d: Any) -> Book:
                words = draw.words("default", index=g * 32 + j)
                new = {k: getattr(d, k) for k in ("at", "exposure", "tag", "gap", "low", "high")}
                for half in (0, 1):
                    slot, k = c.group_slot[g] + 2 * j + half, 2 * j + half
                    limit = xp.where(k < size, self._limit(xp, path, g, new["gap"]), NEVER)
                    row, new["low"], new["high"] = self._victim(
                        xp, g, size - k, new["low"], new["high"], words[2 * half]
                    )
                    tag = xp.to_bits(row * (LAST_END + 1) + c.loan_end[row])
                    new["at"] = xp.set(new["at"], slot, limit)
                    new["exposure"] = xp.set(new["exposure"], slot, c.loan_exposure[row])
                    new["tag"] = xp.set(new["tag"], slot, tag)
                    new["gap"] = self._further(xp, new["gap"], size - k - 1, words[2 * half + 1])
                return new

            slots = {k: getattr(a, k) for k in ("at", "exposure", "tag")}
            d = xp.loop(0, c.group_pairs[g], pair, **slots, gap=gap, low=low, high=high)
            beyond = xp.where(2 * c.group_pairs[g] < size, self._limit(xp, path, g, d.gap), NEVER)
            return {
                **{k: getattr(d, k) for k in slots},
                "gap": xp.set(a.gap, g, d.gap),
                "next": xp.set(a.next, g, xp.get(d.at, c.group_slot[g])),
                "beyond": xp.set(a.beyond, g, beyond),
                "low": xp.set(a.low, g, d.low),
                "high": xp.set(a.high, g, d.high),
            }

        empty = {
            "at": xp.array(c.slots, NEVER),
            "exposure": xp.array(c.slots, 0.0),
            "tag": xp.bits_array(c.slots),
            "gap": xp.array(c.groups, 0.0),
            "next": xp.array(c.groups, NEVER),
            "beyond": xp.array(c.groups, NEVER),
            "low": xp.bits_array(c.groups),
            "high": xp.bits_array(c.groups),
        }
        filled = xp.loop(0, c.groups, group, **empty)
        return {k: getattr(filled, k) for k in empty}

    def month(self, xp: Any, draw: Any, market: Any, book: Book) -> Book:
        """A comparison for each group; those that some path passed are settled."""
        c = self.credit
        moving = {k: book[k] for k in (*_MOVING, "drawn", "defaults")}

        def group(g: Any, b: Any) -> Book:
            before, now = c.clock(xp, market, book, g)
            done = xp.while_any(
                lambda d: xp.get(d.next, g) < now,
                lambda d: self._settle(xp, draw, market, book, g, before, now, d),
                **{k: getattr(b, k) for k in moving},
            )
            return {k: getattr(done, k) for k in moving}

        after = xp.loop(0, market.started, group, **moving)
        return book | {k: getattr(after, k) for k in moving}

    def _settle(
        self, xp: Any, draw: Any, market: Any, book: Book, g: Any, before: Any, now: Any, d: Any
    ) -> Book:
        """All defaults of group g this month: from its slots, then beyond them; and the next threshold."""
        c = self.credit
        first, last = c.group_slot[g], c.group_slot[g] + 2 * c.group_pairs[g]
        at, beyond = book["at"], xp.get(d.beyond, g)

        def passed(k: Any, a: Any) -> Book:
            alive = xp.from_bits(xp.get(book["tag"], k) & LAST_END) >= market.month
            hit = (xp.get(at, k) >= before) & alive
            return {
                "lost": a.lost + xp.where(hit, xp.get(book["exposure"], k), 0.0),
                "hits": a.hits + xp.where(hit, 1.0, 0.0),
                "next": xp.where(k + 1 < last, xp.get(at, k + 1), beyond),
            }

        slots = xp.loop_while(
            first, last, lambda k, a: xp.get(at, k) < now, passed, lost=0.0, hits=0.0, next=beyond
        )
        more = xp.while_any(
            lambda a: a.next < now,
            lambda a: self._default(xp, draw, market, g, a),
            **{k: getattr(d, k) for k in ("gap", "low", "high")},
            next=slots.next,
            lost=slots.lost,
            hits=slots.hits,
        )
        ended = more.next > beyond
        return {
            "gap": more.gap,
            "low": more.low,
            "high": more.high,
            "next": xp.set(d.next, g, more.next),
            "beyond": xp.set(d.beyond, g, xp.where(ended, more.next, beyond)),
            "drawn": d.drawn + more.lost * c.loss_rate(xp, market, book, g),
            "defaults": d.defaults + more.hits,
        }

    def _limit(self, xp: Any, path: Any, g: Any, gap: Any) -> Any:
        return self.credit.threshold(xp, path, g, -xp.expm1(-gap), gap)

    def _further(self, xp: Any, gap: Any, left: Any, word: Any) -> Any:
        """The next order statistic's exponential, when ``left`` loans stand above the last one."""
        return gap - xp.log(xp.uniform(word)) / xp.to_real(xp.maximum(left, 1))

    def _victim(
        self, xp: Any, g: Any, left: Any, low: Any, high: Any, word: Any
    ) -> tuple[Any, Any, Any]:
        """A row of the group chosen among the ``left`` that are not taken, and the bits with it taken."""
        rank = xp.minimum(xp.to_int(xp.uniform(word) * xp.to_real(left)), left - 1)
        in_high, place = pick_unset(xp, low, high, xp.maximum(rank, 0))
        bit = xp.shift_left(xp.to_bits(1), place)
        row = self.credit.group_first[g] + xp.where(in_high, place + 32, place)
        return row, xp.where(in_high, low, low | bit), xp.where(in_high, high | bit, high)

    def _default(self, xp: Any, draw: Any, market: Any, g: Any, d: Any) -> Book:
        """A default beyond the slots, and the threshold of the one after it."""
        c = self.credit
        low, high = xp.get(d.low, g), xp.get(d.high, g)
        gone = xp.popcount(low) + xp.popcount(high)
        left = c.group_size[g] - gone
        turn = xp.shift_right(xp.to_bits(gone), 1)
        w = draw.once.words("default", index=g * 32 + xp.from_bits(turn))
        odd = (xp.to_bits(gone) & 1) != 0
        row, low, high = self._victim(xp, g, left, low, high, xp.where(odd, w[2], w[0]))
        alive = c.loan_end[row] >= market.month
        gap = self._further(xp, xp.get(d.gap, g), left - 1, xp.where(odd, w[3], w[1]))
        limit = xp.where(left > 1, self._limit(xp, market.path, g, gap), NEVER)
        return {
            "gap": xp.set(d.gap, g, gap),
            "low": xp.set(d.low, g, low),
            "high": xp.set(d.high, g, high),
            "next": limit,
            "lost": d.lost + xp.where(alive, c.loan_exposure[row], 0.0),
            "hits": d.hits + xp.where(alive, 1.0, 0.0),
        }

    def refinancing(self, i: Any) -> Any:
        """Which draw the i-th loan to mature refinances by."""
        return i

    def is_gone(self, xp: Any, draw: Any, market: Any, book: Book, row: Any, g: Any) -> Any:
        """Whether a loan has defaulted: it is taken, and does not wait in a slot."""
        c = self.credit
        _, now = c.clock(xp, market, book, g)
        slot = c.group_slot[g]

        def waits(k: Any, a: Any) -> Book:
            mine = xp.from_bits(xp.shift_right(xp.get(book["tag"], k), END_BITS)) == row
            return {"waiting": a.waiting | (mine & (xp.get(book["at"], k) >= now))}

        waiting = xp.loop(slot, slot + 2 * c.group_pairs[g], waits, waiting=False).waiting
        place = row - c.group_first[g]
        far = place >= 32
        word = xp.where(far, xp.get(book["high"], g), xp.get(book["low"], g))
        bit = xp.shift_left(xp.to_bits(1), xp.where(far, place - 32, place))
        return ((word & bit) != 0) & ~waiting


class Each:
    """A threshold for every loan, from a uniform of its own; ``next`` is each group's least to come."""

    def __init__(self, credit: Any) -> None:
        self.credit = credit

    def start(self, xp: Any, draw: Any, path: Any) -> Book:
        c = self.credit

        def group(g: Any, a: Any) -> Book:
            def loan(row: Any, d: Any) -> Book:
                u = draw.uniform("loan", index=c.loan_stream[row])
                limit = c.threshold(xp, path, g, u, -xp.log1p(-u))
                return {"at": xp.set(d.at, row, limit), "least": xp.minimum(d.least, limit)}

            first = c.group_first[g]
            d = xp.loop(first, first + c.group_size[g], loan, at=a.at, least=NEVER)
            return {"at": d.at, "next": xp.set(a.next, g, d.least)}

        empty = {"at": xp.array(c.count, NEVER), "next": xp.array(c.groups, NEVER)}
        filled = xp.loop(0, c.groups, group, **empty)
        return {"at": filled.at, "next": filled.next}

    def month(self, xp: Any, draw: Any, market: Any, book: Book) -> Book:
        """A comparison for each group; the loans of those that some path passed are looked through."""
        c = self.credit
        moving = {k: book[k] for k in ("next", "drawn", "defaults")}

        def group(g: Any, b: Any) -> Book:
            before, now = c.clock(xp, market, book, g)
            done = xp.while_any(
                lambda d: xp.get(d.next, g) < now,
                lambda d: self._settle(xp, market, book, g, before, now, d),
                **{k: getattr(b, k) for k in moving},
            )
            return {k: getattr(done, k) for k in moving}

        after = xp.loop(0, market.started, group, **moving)
        return book | {k: getattr(after, k) for k in moving}

    def _settle(
        self, xp: Any, market: Any, book: Book, g: Any, before: Any, now: Any, d: Any
    ) -> Book:
        c = self.credit

        def loan(row: Any, a: Any) -> Book:
            at = xp.get(book["at"], row)
            alive = c.loan_end[row] >= market.month
            waits = at >= now
            hit = (at >= before) & ~waits
            return {
                "lost": a.lost + xp.where(hit, xp.where(alive, c.loan_exposure[row], 0.0), 0.0),
                "hits": a.hits + xp.where(hit, xp.where(alive, 1.0, 0.0), 0.0),
                "least": xp.where(waits & (at < a.least), at, a.least),
            }

        first = c.group_first[g]
        sums = xp.loop(first, first + c.group_size[g], loan, lost=0.0, hits=0.0, least=NEVER)
        return {
            "next": xp.set(d.next, g, sums.least),
            "drawn": d.drawn + sums.lost * c.loss_rate(xp, market, book, g),
            "defaults": d.defaults + sums.hits,
        }

    def refinancing(self, i: Any) -> Any:
        """Which draw the i-th loan to mature refinances by: its own, whatever else matures."""
        return self.credit.loan_stream[self.credit.maturity_loan[i]]

    def is_gone(self, xp: Any, draw: Any, market: Any, book: Book, row: Any, g: Any) -> Any:
        """Whether a loan has defaulted."""
        _, now = self.credit.clock(xp, market, book, g)
        return xp.get(book["at"], row) < now


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
