"""The trio workload on the engine: one system, written against the public interface.

``Trio`` has the law of ``trio_spec`` and three ways to draw the loans' defaults:

* ``order`` draws the loans' ordered uniforms by exponential gaps, and at each default a victim among
  the loans left: the shipped loan book's law, for one homogeneous group.
* ``each`` gives every loan a uniform once per path and compares it every month.
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
from overbuilt.engine.economy.thresholds import NEVER, gaussian_threshold
from overbuilt.engine.simulate import plan

METHODS: tuple[str, ...] = ("order", "each", "monthly")

S = TRIO
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

    def probability(self, xp: Any, market: Any, hazard: Any) -> Any:
        """The default probability given the market factor."""
        x = xp.ndtri(-xp.expm1(-hazard)) - math.sqrt(S.rho) * market
        return xp.ndtr(x * (1.0 / math.sqrt(1.0 - S.rho)))


class Order:
    """Order statistics: A_1 = E / n, A_{k+1} = A_k + E / (n - k), the k-th uniform 1 - exp(-A_k).

    The month's conditional probability p becomes a hazard, -log(1 - p), once; then a default costs one
    logarithm. The victim is the next entry of a Fisher-Yates shuffle of the exposures.
    """

    names = ("gap", "gone", "left")

    def __init__(self, trio: Trio) -> None:
        self.trio = trio

    def start(self, xp: Any, draw: Any, market: Any) -> Values:
        def loan(i: Any, a: Any) -> Values:
            return {"left": xp.set(a.left, i, self.trio.exposure[i])}

        left = xp.loop(0, S.loans, loan, left=xp.array(S.loans, 0.0)).left
        return {"gap": -xp.log(draw.uniform("first")) / float(S.loans), "gone": 0, "left": left}

    def month(self, xp: Any, draw: Any, market: Any, hazard: Any, lgd: Any, book: Values) -> Values:
        x = xp.ndtri(-xp.expm1(-hazard)) - math.sqrt(S.rho) * market
        reached = gaussian_threshold(xp, x * (1.0 / math.sqrt(1.0 - S.rho)))

        def default(d: Any) -> Values:
            left = S.loans - d.gone
            gap_word, victim_word, _, _ = draw.once.words("default", index=d.gone)
            rank = xp.to_int(xp.uniform(victim_word) * xp.to_real(left))
            i = d.gone + xp.minimum(rank, left - 1)
            lost = xp.get(d.left, i)
            gap = d.gap - xp.log(xp.uniform(gap_word)) / xp.to_real(xp.maximum(left - 1, 1))
            return {
                "gap": xp.where(left > 1, gap, NEVER),
                "gone": d.gone + 1,
                "left": xp.set(d.left, i, xp.get(d.left, d.gone)),
                "loss": d.loss + lost * lgd,
            }

        done = xp.while_any(lambda d: reached > d.gap, default, **book)
        return {k: getattr(done, k) for k in book}


class Each:
    """A uniform for each loan, kept; every month all are compared with the conditional probability."""

    names = ("uniform", "gone")

    def __init__(self, trio: Trio) -> None:
        self.trio = trio

    def start(self, xp: Any, draw: Any, market: Any) -> Values:
        def block(i: Any, a: Any) -> Values:
            uniforms = a.uniform
            for j, u in enumerate(draw.uniform("loan", 4, index=i)):
                uniforms = xp.set(uniforms, 4 * i + j, u)
            return {"uniform": uniforms}

        kept = xp.loop(0, S.loans // 4, block, uniform=xp.array(S.loans, 0.0)).uniform
        return {"uniform": kept, "gone": 0.0}

    def month(self, xp: Any, draw: Any, market: Any, hazard: Any, lgd: Any, book: Values) -> Values:
        """The exposure in default, cumulated in four sums that do not wait for each other."""
        p = self.trio.probability(xp, market, hazard)
        uniforms = book["uniform"]

        def four(i: Any, a: Any) -> Values:
            return {
                f"s{j}": getattr(a, f"s{j}")
                + xp.where(xp.get(uniforms, 4 * i + j) < p, self.trio.exposure[4 * i + j], 0.0)
                for j in range(4)
            }

        s = xp.loop(0, S.loans // 4, four, s0=0.0, s1=0.0, s2=0.0, s3=0.0)
        gone = (s.s0 + s.s1) + (s.s2 + s.s3)
        return {
            "uniform": uniforms,
            "gone": gone,
            "loss": book["loss"] + lgd * (gone - book["gone"]),
        }


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
