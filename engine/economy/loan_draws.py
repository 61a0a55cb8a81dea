"""Two ways to draw the defaults of a book; one law.

``Order`` (fast) draws, per group of n <= 32 loans, the gaps between the order statistics of their
uniforms: A_1 = E/n, A_{k+1} = A_k + E/(n - k), U_(k) = 1 - e^-A_k, with the victim of each chosen among the
loans left. ``Each`` gives every loan a uniform of its own, found by the loan's id: adding or removing a
loan leaves all the others alone. Neither draws more than about one block for each loan and path.

A strategy keeps its own part of the state, per-path arrays. Thresholds are in stress-weighted time, by
group: a default happens in the month in which the clock of the group's pattern passes its threshold. They count
from the group's start; once it has started, the clock's reading of then is added.
"""

from __future__ import annotations

from typing import Any

from ..book import GROUP
from .thresholds import NEVER

Book = dict[str, Any]
LAST_END = 511  # of a loan's end month: no run is as long


class Order:
    """The next default of each group is drawn ahead, so a month costs a comparison for each group, and work only
    where a path's clock has passed it.
    """

    def __init__(self, credit: Any) -> None:
        self.credit = credit

    def start(self, xp: Any, draw: Any, path: Any) -> Book:
        c = self.credit

        def four(q: Any, a: Any) -> Book:
            words = draw.words("first", index=q)
            next_, gap = a.next, a.gap
            for j in (0, 1, 2, 3):
                g = 4 * q + j
                first = -xp.log(xp.uniform(words[j])) / xp.to_real(c.group_size[g])
                next_ = xp.set(next_, g, self._limit(xp, path, c.group_class[g], first))
                gap = xp.set(gap, g, first)
            return {"next": next_, "gap": gap}

        # whole blocks of draws: up to three groups that there are not, and that never start
        length = -(-c.groups // 4) * 4
        empty = {"next": xp.array(length, NEVER), "gap": xp.array(length, 0.0)}
        filled = xp.loop(0, length // 4, four, **empty)
        return {"next": filled.next, "gap": filled.gap, "taken": xp.bits_array(c.groups)}

    def enter(self, xp: Any, book: Book, g: Any, so_far: Any) -> Book:
        """Group g starts, at this reading of its clock."""
        return book | {"next": xp.set(book["next"], g, xp.get(book["next"], g) + so_far)}

    def month(self, xp: Any, draw: Any, market: Any, book: Book) -> Book:
        """All defaults of a month."""
        c = self.credit
        done = xp.sparse(
            0,
            market.started,
            c.groups,
            lambda g, a: xp.get(a.next, g) < xp.get(market.hazard, c.group_pattern[g]),
            lambda g, a: self._settle(xp, draw, market, book, g, a),
            arrays={k: book[k] for k in ("next", "gap", "taken")},
            sums={k: book[k] for k in ("drawn", "defaults")},
        )
        return book | {k: getattr(done, k) for k in ("next", "gap", "taken", "drawn", "defaults")}

    def _settle(self, xp: Any, draw: Any, market: Any, book: Book, g: Any, a: Any) -> Book:
        """The defaults of group g, which differs by path, and its next threshold."""
        c = self.credit
        kind, first, size = c.group_class[g], c.group_first[g], c.group_size[g]
        now, since = xp.get(market.hazard, c.class_pattern[kind]), c.since(xp, book, g)

        def default(d: Any) -> Book:
            gone = xp.popcount(d.taken)
            left = size - gone
            words = draw.once.words("default", index=g * GROUP + gone)
            place = self._victim(xp, d.taken, left, words[0])
            gap = d.gap - xp.log(xp.uniform(words[1])) / xp.to_real(xp.maximum(left - 1, 1))
            limit = since + self._limit(xp, market.path, kind, gap)
            alive = c.loan_end[first + place] >= market.month
            return {
                "next": xp.where(left > 1, limit, NEVER),
                "gap": gap,
                "taken": d.taken | xp.shift_left(xp.to_bits(1), place),
                "lost": d.lost + xp.where(alive, c.loan_exposure[first + place], 0.0),
                "hits": d.hits + xp.where(alive, 1.0, 0.0),
            }

        at_first = {k: xp.get(getattr(a, k), g) for k in ("next", "gap", "taken")}
        d = xp.while_any(lambda d: d.next < now, default, **at_first, lost=0.0, hits=0.0)
        return {
            **{k: xp.set(getattr(a, k), g, getattr(d, k)) for k in at_first},
            "drawn": d.lost * c.loss_rate(xp, market, book, g, kind),
            "defaults": d.hits,
        }

    def _limit(self, xp: Any, path: Any, kind: Any, gap: Any) -> Any:
        return self.credit.threshold(xp, path, kind, gap, xp.ndtri(-xp.expm1(-gap)))

    def _victim(self, xp: Any, taken: Any, left: Any, word: Any) -> Any:
        """The place in its group of a loan chosen among the ``left`` that are not taken."""
        rank = xp.minimum(xp.to_int(xp.uniform(word) * xp.to_real(left)), left - 1)
        return pick_unset(xp, taken, xp.maximum(rank, 0))

    def refinancing(self, i: Any) -> Any:
        """Which draw the i-th loan to mature refinances by."""
        return i

    def is_gone(self, xp: Any, market: Any, book: Book, row: Any, g: Any) -> Any:
        """Whether a loan has defaulted."""
        place = row - self.credit.group_first[g]
        bit = xp.shift_left(xp.to_bits(1), place)
        return (xp.get(book["taken"], g) & bit) != 0


class Each:
    """A threshold for every loan, from a uniform of its own; ``next`` is each group's least to come."""

    def __init__(self, credit: Any) -> None:
        self.credit = credit

    def start(self, xp: Any, draw: Any, path: Any) -> Book:
        c = self.credit

        def group(g: Any, a: Any) -> Book:
            def loan(row: Any, d: Any) -> Book:
                u = draw.uniform("loan", index=c.loan_stream[row])
                limit = c.threshold(xp, path, c.group_class[g], -xp.log1p(-u), xp.ndtri(u))
                return {"at": xp.set(d.at, row, limit), "least": xp.minimum(d.least, limit)}

            d = xp.loop(*self._rows(g), loan, at=a.at, least=NEVER)
            return {"at": d.at, "next": xp.set(a.next, g, d.least)}

        empty = {"at": xp.array(c.count, NEVER), "next": xp.array(c.groups, NEVER)}
        filled = xp.loop(0, c.groups, group, **empty)
        return {"at": filled.at, "next": filled.next}

    def enter(self, xp: Any, book: Book, g: Any, so_far: Any) -> Book:
        """Group g starts, at this reading of its clock."""

        def loan(row: Any, a: Any) -> Book:
            return {"at": xp.set(a.at, row, xp.get(a.at, row) + so_far)}

        at = xp.loop(*self._rows(g), loan, at=book["at"]).at
        return book | {"at": at, "next": xp.set(book["next"], g, xp.get(book["next"], g) + so_far)}

    def month(self, xp: Any, draw: Any, market: Any, book: Book) -> Book:
        """A comparison for each group; the loans of those that some path passed are looked through."""
        c = self.credit
        moving = {k: book[k] for k in ("next", "drawn", "defaults")}

        def group(g: Any, b: Any) -> Book:
            now = xp.get(market.hazard, c.group_pattern[g])
            done = xp.while_any(
                lambda d: xp.get(d.next, g) < now,
                lambda d: self._settle(xp, market, book, g, now, d),
                **{k: getattr(b, k) for k in moving},
            )
            return {k: getattr(done, k) for k in moving}

        after = xp.loop(0, market.started, group, **moving)
        return book | {k: getattr(after, k) for k in moving}

    def _settle(self, xp: Any, market: Any, book: Book, g: Any, now: Any, d: Any) -> Book:
        """The defaults of group g this month, and its next threshold."""
        c = self.credit
        due = xp.get(d.next, g)

        def loan(row: Any, a: Any) -> Book:
            at = xp.get(book["at"], row)
            hit = (at >= due) & (at < now)
            real = hit & (c.loan_end[row] >= market.month)
            return {
                "lost": a.lost + xp.where(real, c.loan_exposure[row], 0.0),
                "hits": a.hits + xp.where(real, 1.0, 0.0),
                "least": xp.where((at >= now) & (at < a.least), at, a.least),
            }

        sums = xp.loop(*self._rows(g), loan, lost=0.0, hits=0.0, least=NEVER)
        return {
            "next": xp.set(d.next, g, sums.least),
            "drawn": d.drawn + sums.lost * c.loss_rate(xp, market, book, g, c.group_class[g]),
            "defaults": d.defaults + sums.hits,
        }

    def _rows(self, g: Any) -> tuple[Any, Any]:
        first = self.credit.group_first[g]
        return first, first + self.credit.group_size[g]

    def refinancing(self, i: Any) -> Any:
        """Which draw the i-th loan to mature refinances by: its own, whatever else matures."""
        return self.credit.loan_stream[self.credit.maturity_loan[i]]

    def is_gone(self, xp: Any, market: Any, book: Book, row: Any, g: Any) -> Any:
        """Whether a loan has defaulted."""
        return xp.get(book["at"], row) < xp.get(market.hazard, self.credit.group_pattern[g])


def pick_unset(xp: Any, word: Any, rank: Any) -> Any:
    """The place of the ``rank``-th (from 0) unset bit of a word."""
    word, place = ~word, rank * 0
    for width in (16, 8, 4, 2, 1):
        count = xp.popcount(word & ((1 << width) - 1))
        above = rank >= count
        word = xp.where(above, xp.shift_right(word, width), word)
        rank = xp.where(above, rank - count, rank)
        place = xp.where(above, place + width, place)
    return place
