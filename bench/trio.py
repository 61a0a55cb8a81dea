"""The trio workload on the engine: one system, written against the public interface.

``Trio`` has the law of ``trio_spec`` and three ways to draw the loans' defaults:

* ``order`` draws the ordered default times of groups of loans by exponential gaps, in the scale of
  the cumulative hazard, and at each default a victim among the loans left: the shipped loan book's
  own method.
* ``each`` gives every loan a uniform once per path and keeps, by group, the least one not yet
  passed.
* ``monthly`` draws a fresh uniform for every loan and month: the literal algorithm of most peers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from trio_spec import TRIO, exposures

from overbuilt import Economy, System, output, setting
from overbuilt.engine.economy.loan_draws import pick_unset
from overbuilt.engine.economy.thresholds import NEVER, gaussian_threshold
from overbuilt.engine.simulate import plan

METHODS: tuple[str, ...] = ("order", "each", "monthly")

S = TRIO
GROUP = {"order": 50, "each": 4}  # loans of a group; ``each``: whole Philox blocks
Values = dict[str, Any]


class Trio(System):
    """Revenue, two prices, the hazard they drive, and 400 loans."""

    method = setting("order", "how the loans' defaults are drawn", choices=METHODS)

    loss = output("exposure", "loss of the loans, cumulative", series=False)

    def prepare(self) -> Values:
        return {"exposure": exposures()}

    @property
    def loans(self) -> Order | Each | Monthly:
        return {"order": Order, "each": Each, "monthly": Monthly}[self.method](self)

    def init(self, xp: Any, draw: Any) -> Values:
        market = draw.normal("market")
        factors = {"second": False, "revenue": 0.0, "x1": 0.0, "x2": 0.0, "hazard": 0.0}
        return {"market": market, **factors, "loss": 0.0, **self.loans.start(xp, draw, market)}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> Values:
        years = xp.to_real(up.month) * S.dt
        z = draw.normal("z", 3)
        u = draw.uniform("u", 3)
        jump1, jump2 = self._jumps(xp, draw, u[1], u[2])

        second = xp.where(u[0] < xp.where(s.second, *S.switch_prob()[::-1]), ~s.second, s.second)
        drift = [(g - S.revenue_vol * S.revenue_vol / 2.0) * S.dt for g in S.growth]
        revenue = s.revenue + xp.where(second, drift[1], drift[0])
        revenue = revenue + S.revenue_vol * math.sqrt(S.dt) * z[0]

        fair = S.revenue_beta * (revenue - S.revenue_trend * years) - S.price_decline * years
        decay, sd, chol = S.reversion(), S.price_step_sd(), S.cholesky().tolist()
        shock1 = chol[1][0] * z[0] + chol[1][1] * z[1]
        shock2 = chol[2][0] * z[0] + chol[2][1] * z[1] + chol[2][2] * z[2]
        x1 = fair + (s.x1 - fair) * decay + sd[0] * shock1 + jump1
        x2 = fair + (s.x2 - fair) * decay + sd[1] * shock2 + jump2

        stress = -0.5 * (x1 + x2) - S.price_decline * years
        response = xp.exp(xp.clip(S.stress_beta * stress, *S.stress_clip))
        hazard = s.hazard + S.hazard * S.dt * response
        lgd = xp.clip(S.lgd_base + S.lgd_slope * stress, *S.lgd_clip)
        names = self.loans.names
        book = {"loss": s.loss, **{k: getattr(s, k) for k in names}}
        book = self.loans.month(xp, draw, s.market, hazard, lgd, book)
        factors = {"second": second, "revenue": revenue, "x1": x1, "x2": x2, "hazard": hazard}
        return {"market": s.market, **factors, **book}

    def _jumps(self, xp: Any, draw: Any, u1: Any, u2: Any) -> tuple[Any, Any]:
        """Jumps are rare: their sizes are drawn where some path of a vector has one."""

        def sizes(c: Any) -> Values:
            one, two = draw.normal("jump", 2)
            return {
                "todo": c.todo & ~c.todo,
                "jump1": xp.where(u1 < S.jump_prob(), S.jump_mean + S.jump_sd * one, 0.0),
                "jump2": xp.where(u2 < S.jump_prob(), S.jump_mean + S.jump_sd * two, 0.0),
            }

        todo = (u1 < S.jump_prob()) | (u2 < S.jump_prob())
        after = xp.while_any(lambda c: c.todo, sizes, todo=todo, jump1=0.0, jump2=0.0)
        return after.jump1, after.jump2

    def threshold(self, xp: Any, market: Any, u: Any) -> Any:
        """The cumulative hazard at which a loan with uniform u defaults."""
        x = math.sqrt(1.0 - S.rho) * xp.ndtri(u) + math.sqrt(S.rho) * market
        return xp.minimum(gaussian_threshold(xp, x), NEVER)

    def probability(self, xp: Any, market: Any, hazard: Any) -> Any:
        """The default probability given the market factor: the threshold turned round."""
        x = xp.ndtri(-xp.expm1(-hazard)) - math.sqrt(S.rho) * market
        return xp.ndtr(x * (1.0 / math.sqrt(1.0 - S.rho)))


class _Groups:
    """Loans in groups; each group knows the hazard at which its next loan defaults."""

    names: tuple[str, ...]
    groups: int

    def __init__(self, trio: Trio) -> None:
        self.trio = trio

    def default(self, xp: Any, draw: Any, world: tuple[Any, Any, Any], g: Any, d: Any) -> Values:
        """The next default of group g, which differs by path: new values, "next" among them."""
        raise NotImplementedError

    def month(self, xp: Any, draw: Any, market: Any, hazard: Any, lgd: Any, book: Values) -> Values:
        """Find the groups that were crossed, 32 at a time; each lane works off its own list."""
        for base in range(0, self.groups, 32):
            book = self._word(xp, draw, (market, hazard, lgd), base, book)
        return book

    def _word(
        self, xp: Any, draw: Any, world: tuple[Any, Any, Any], base: int, book: Values
    ) -> Values:
        hazard = world[1]

        def look(g: Any, seen: Any) -> Values:
            bit = xp.shift_left(xp.to_bits(1), g - base)
            crossed = hazard > xp.get(book["next"], g)
            return {"bits": xp.where(crossed, seen.bits | bit, seen.bits)}

        def one(d: Any) -> Values:
            i = xp.lowest_bit(d.bits)
            new = self.default(xp, draw, world, base + i, d)
            limit = new["next"]
            rest = d.bits & ~xp.shift_left(xp.to_bits(1), i)
            new["next"] = xp.set(d.next, base + i, limit)
            return {"bits": xp.where(hazard > limit, d.bits, rest), **new}

        bits = xp.loop(base, min(base + 32, self.groups), look, bits=xp.to_bits(0)).bits
        done = xp.while_any(lambda d: d.bits != 0, one, bits=bits, **book)
        return {k: getattr(done, k) for k in book}


class Order(_Groups):
    """Order statistics: A_1 = E / n, A_{k+1} = A_k + E / (n - k), the k-th uniform 1 - exp(-A_k)."""

    names = ("next", "gap", "low", "high")
    groups = S.loans // GROUP["order"]

    def start(self, xp: Any, draw: Any, market: Any) -> Values:
        gaps, limits = (xp.array(self.groups, 0.0) for _ in range(2))
        for g, u in enumerate(draw.uniform("first", self.groups)):
            gap = -xp.log(u) / float(GROUP["order"])
            gaps = xp.set(gaps, g, gap)
            limits = xp.set(limits, g, self.trio.threshold(xp, market, -xp.expm1(-gap)))
        bits = {k: xp.bits_array(self.groups) for k in ("low", "high")}
        return {"next": limits, "gap": gaps, **bits}

    def default(self, xp: Any, draw: Any, world: tuple[Any, Any, Any], g: Any, d: Any) -> Values:
        market, _, lgd = world
        low, high = xp.get(d.low, g), xp.get(d.high, g)
        gone = xp.popcount(low) + xp.popcount(high)
        left = GROUP["order"] - gone
        gap_word, victim_word, _, _ = draw.once.words("default", index=g * 64 + gone)

        rank = xp.minimum(xp.to_int(xp.uniform(victim_word) * xp.to_real(left)), left - 1)
        in_high, place = pick_unset(xp, low, high, rank)
        bit = xp.shift_left(xp.to_bits(1), place)
        row = g * GROUP["order"] + xp.where(in_high, place + 32, place)

        rest = xp.to_real(xp.maximum(left - 1, 1))
        gap = xp.get(d.gap, g) - xp.log(xp.uniform(gap_word)) / rest
        limit = self.trio.threshold(xp, market, -xp.expm1(-gap))
        return {
            "next": xp.where(left > 1, limit, NEVER),
            "gap": xp.set(d.gap, g, gap),
            "low": xp.set(d.low, g, xp.where(in_high, low, low | bit)),
            "high": xp.set(d.high, g, xp.where(in_high, high | bit, high)),
            "loss": d.loss + self.trio.exposure[row] * lgd,
        }


class Each(_Groups):
    """A uniform for each loan; four loans share a Philox block, and a group is whole blocks."""

    names = ("next", "least")
    groups = S.loans // GROUP["each"]

    def start(self, xp: Any, draw: Any, market: Any) -> Values:
        def group(g: Any, a: Any) -> Values:
            least = self._above(xp, draw, g, 0.0)
            limit = self.trio.threshold(xp, market, least)
            return {"next": xp.set(a.next, g, limit), "least": xp.set(a.least, g, least)}

        empty = {k: xp.array(self.groups, 0.0) for k in self.names}
        filled = xp.loop(0, self.groups, group, **empty)
        return {k: getattr(filled, k) for k in self.names}

    def _uniforms(self, draw: Any, g: Any) -> list[tuple[Any, Any]]:
        """(loan, its uniform) of a group."""
        blocks = GROUP["each"] // 4
        return [
            (4 * (g * blocks + b) + j, u)
            for b in range(blocks)
            for j, u in enumerate(draw.once.uniform("loan", 4, index=g * blocks + b))
        ]

    def _above(self, xp: Any, draw: Any, g: Any, floor: Any) -> Any:
        """The least uniform of the group above ``floor``; 1 if there is none."""
        least: Any = 1.0
        for _, u in self._uniforms(draw, g):
            least = xp.where(u > floor, xp.minimum(least, u), least)
        return least

    def default(self, xp: Any, draw: Any, world: tuple[Any, Any, Any], g: Any, d: Any) -> Values:
        """The loan whose uniform was passed (two that drew the same both go), and the next one."""
        market, _, lgd = world
        passed = xp.get(d.least, g)
        loss = d.loss
        least: Any = 1.0
        for row, u in self._uniforms(draw, g):
            loss = loss + xp.where(u == passed, self.trio.exposure[row] * lgd, 0.0)
            least = xp.where(u > passed, xp.minimum(least, u), least)
        limit = xp.where(least < 1.0, self.trio.threshold(xp, market, least), NEVER)
        return {"next": limit, "least": xp.set(d.least, g, least), "loss": loss}


class Monthly:
    """A fresh uniform for each loan and month, against the month's conditional probability."""

    names = ("before", "left")

    def __init__(self, trio: Trio) -> None:
        self.trio = trio

    def start(self, xp: Any, draw: Any, market: Any) -> Values:
        """The exposures that are left, by loan."""

        def loan(i: Any, a: Any) -> Values:
            return {"left": xp.set(a.left, i, self.trio.exposure[i])}

        left = xp.loop(0, S.loans, loan, left=xp.array(S.loans, 0.0)).left
        return {"before": 0.0, "left": left}

    def month(self, xp: Any, draw: Any, market: Any, hazard: Any, lgd: Any, book: Values) -> Values:
        level = self.trio.probability(xp, market, hazard)
        odds = (level - book["before"]) / (1.0 - book["before"])

        def block(i: Any, a: Any) -> Values:
            left, dead = a.left, a.dead
            for j, u in enumerate(draw.uniform("loan", 4, index=i)):
                here = xp.get(left, 4 * i + j)
                hit = u < odds
                dead = dead + xp.where(hit, here, 0.0)
                left = xp.set(left, 4 * i + j, xp.where(hit, 0.0, here))
            return {"left": left, "dead": dead}

        after = xp.loop(0, S.loans // 4, block, left=book["left"], dead=0.0)
        return {"before": level, "left": after.left, "loss": book["loss"] + after.dead * lgd}


def build(
    method: str, backend: str = "native", dtype: str = "float32"
) -> Callable[[int, int], NDArray[np.floating]]:
    """Return ``simulate(paths, seed) -> losses``, compiled at the first call."""
    plans: list[Any] = []

    def simulate(paths: int, seed: int) -> NDArray[np.floating]:
        if not plans:
            economy = Economy(Trio(method=method), months=S.months, name="trio")
            plans.append(plan(economy, backend, dtype))
        return plans[0].run(seed, 0, paths).metrics[0]

    return simulate


def losses(
    method: str, backend: str, paths: int, seed: int, dtype: str = "float32"
) -> NDArray[np.floating]:
    """Loss of each path."""
    return build(method, backend, dtype)(paths, seed)
