"""Five systems of ``base`` by hand in JAX, beside the engine's jax backend on the very systems.

``python bench/jax_economy.py``: shocks, revenue, compute, rental and the shipped loan book of private credit, with
what they read of other systems held still (``quiet``). The hand-written one is what a good user of JAX writes for
this model: ``jax.random``, a ``scan`` over the months, all loans compared every month, jit, float32, chunks that fit
the cache. Its parameters are read from the engine's systems; its law is shown to be theirs, each metric's mean
within four standard errors (a right port fails with probability 6.3e-5 a metric). The engine draws Philox4x32-10
and default by default, as everywhere. Both are timed by turns in one process, in CPU seconds.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random
from jax.scipy.special import log_ndtr, ndtr, ndtri

from overbuilt import load
from overbuilt.engine.economy.shocks import NAMES
from overbuilt.engine.simulate import plan
from overbuilt.engine.system import DT, Economy, System

MONTHS = 60
METRICS = (
    "revenue.headline", "revenue.rate", "compute.tightness", "compute.installed", "rental.wars",
    "private_credit.loss", "private_credit.defaults",
)  # fmt: skip
QUIET = {
    "stress": {"renewals": 1.0, "demand": 0.0, "power": 0.0, "rental": 0.0, "recall": 0.0},
    "gpu_loans": {"loss_in_book": 0.0},
    "funding": {"window": 0.0, "log_spread": 0.0},
    "macro": {"displacement": 0.0},
    "cycle": {"bust": 0.0},
}


def quiet(name: str, values: dict[str, float]) -> System:
    """A system in the place of one that is left out: what others read of it stays as it is."""

    class Quiet(System):
        system_name = name

        def init(self, xp: Any, draw: Any) -> dict[str, Any]:
            return dict(values)

        def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
            return {k: getattr(s, k) for k in values}

    return Quiet()


def economy() -> Economy:
    """The five systems as shipped, with the loans of today alone."""
    found = load("base", {"private_credit.new_book": ""}).economy.systems
    kept = ("shocks", "revenue", "compute", "rental", "private_credit")
    chosen = [quiet("stress", QUIET["stress"]), *(found[k] for k in kept[:4])]
    chosen += [quiet("gpu_loans", QUIET["gpu_loans"]), found[kept[4]]]
    chosen += [quiet(k, QUIET[k]) for k in ("funding", "macro", "cycle")]
    return Economy(*chosen, months=MONTHS, name="five systems")


def reversion(kappa: float) -> tuple[float, float]:
    keep = math.exp(-kappa * DT)
    return keep, math.sqrt((1.0 - keep * keep) / (2.0 * kappa))


class Parameters:
    """A system's parameters, and what its ``prepare`` makes of them."""

    def __init__(self, system: System) -> None:
        self.system, self.made = system, system.prepare()

    def __getattr__(self, name: str) -> Any:
        return self.made[name] if name in self.made else getattr(self.system, name)


class ByHand:
    """The model for a chunk of n paths."""

    def __init__(self, model: Economy) -> None:
        self.shocks, self.revenue, self.compute, self.rental, self.credit = (
            Parameters(model.systems[k])
            for k in ("shocks", "revenue", "compute", "rental", "private_credit")
        )
        news = [NAMES.index(k) for k in ("revenue", "demand", "rental", "power")]
        matrix = np.array(self.shocks.correlation)[np.ix_(news, news)]
        self.factor = jnp.asarray(np.linalg.cholesky(matrix), jnp.float32)
        c = self.credit
        size = np.asarray(c.group_size, int)
        kind = np.repeat(np.asarray(c.group_class, int), size)
        # in order of class, a class is a slice: faster than to gather rows by loan
        order = np.argsort(kind, kind="stable")
        kind = kind[order]
        ends = np.cumsum(np.bincount(kind))
        self.slices = [slice(a, b) for a, b in zip([0, *ends], ends, strict=False) if b > a]
        self.kind = jnp.asarray(kind, jnp.int32)
        self.exposure = jnp.asarray(c.loan_exposure[order], jnp.float32)[:, None]
        self.end = jnp.asarray(c.loan_end[order], jnp.int32)[:, None]

    def by_class(self, name: str) -> Any:
        return jnp.asarray(np.asarray(getattr(self.credit, f"class_{name}")), jnp.float32)[:, None]

    def start(self, key: Any, n: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """The state of n paths, and what a path keeps."""
        r, c, g, b = self.revenue, self.compute, self.rental, self.credit
        keys = random.split(key, 4)
        u = random.uniform(keys[0], (n,))
        one = jnp.ones(n, jnp.float32)
        state = {
            "regime": jnp.where(u < r.start[0], 0, jnp.where(u < r.start[0] + r.start[1], 1, 2)),
            "headline": r.headline0 * one, "full": r.full0 * one, "slope": r.slope0 * one,
            "promo": (r.headline0 - r.full0) * one,
            "cohorts": jnp.asarray(r.cohort0, jnp.float32)[:, None] * one,
            "rate": r.rate0 * one, "served": one, "noise": 0.0 * one,
            "log_demand": math.log(c.demand_start) * one, "trend": c.trend_start * one,
            "installed": c.installed_start * one, "pipeline": c.pipeline_start * one,
            "log_cap": math.log(c.power_cap) * one, "tightness": c.tight0 * one,
            "war": 0.0 * one, "wars": 0.0 * one, "log_per_kw": 0.0 * one,
            "prices": jnp.stack([math.log(x.price) * one for x in g.generation]),
            "power": jnp.stack([x.installed * one for x in g.generation]),
            "clock": jnp.zeros((b.patterns, n), jnp.float32), "loss": 0.0 * one,
            "defaults": 0.0 * one,
        }  # fmt: skip
        delay = jnp.asarray([x.delay if x.release > 0 else 0.0 for x in g.generation])
        when = jnp.asarray([x.release for x in g.generation], jnp.float32)[:, None]
        waits = random.exponential(keys[1], (len(g.generation), n), jnp.float32)
        release = lax.cummax(when + delay.astype(jnp.float32)[:, None] * waits, axis=0)

        factor, opaque = random.normal(keys[2], (2, n), jnp.float32)
        log_opacity = b.opacity * opaque - 0.5 * b.opacity**2
        own = ndtri(random.uniform(keys[3], (len(self.kind), n), jnp.float32, minval=1e-9))
        x = self.by_class("own")[self.kind] * own + self.by_class("factor")[self.kind] * factor
        limit = -log_ndtr(-x) / (self.by_class("hazard")[self.kind] * jnp.exp(log_opacity))
        return state, {
            "release": release, "factor": factor, "log_opacity": log_opacity, "limit": limit
        }  # fmt: skip

    def month(self, kept: dict[str, Any], s: dict[str, Any], now: tuple[Any, ...]) -> Any:
        month, u, z = now
        years = month.astype(jnp.float32) * DT
        news = self.factor @ z[:4]
        by_name = dict(zip(("revenue", "demand", "rental", "power"), news, strict=True))
        new = self.sell(s, month, u[0], z[4], by_name["revenue"])
        new |= self.build(s, new, years, by_name["demand"], by_name["power"])
        new |= self.rent(kept, s, new, month, u[1], z[5], z[6:], by_name["rental"])
        shortfall = new.pop("shortfall")
        del new["delivery"]
        return new | self.lend(kept, s, month, shortfall), None

    def sell(self, s: Any, month: Any, u: Any, noise: Any, z: Any) -> dict[str, Any]:
        r = self.revenue

        def by_regime(regime: Any, values: Any) -> Any:
            return jnp.where(regime == 0, values[0], jnp.where(regime == 1, values[1], values[2]))

        first = by_regime(s["regime"], (r.to00, r.to10, r.to20))
        second = by_regime(s["regime"], (r.to01, r.to11, r.to21))
        regime = jnp.where(u < first, 0, jnp.where(u < second, 1, 2))
        slot = month % r.promo_months
        ending = s["cohorts"][slot]
        room = (1.0 - s["headline"] / r.ceiling) / (1.0 - r.headline0 / r.ceiling)
        grown = s["headline"] * jnp.exp(jnp.where(regime == 0, r.g * room, r.stall_drift) * DT)
        straight = jnp.maximum(s["headline"] + s["slope"] * DT, grown)
        wobble = jnp.exp(r.volatility * math.sqrt(DT) * z - 0.5 * r.volatility**2 * DT)
        headline = jnp.where(regime == 1, straight, grown) * wobble
        headline = jnp.maximum(headline, s["promo"] - ending)
        moving = (headline - s["headline"]) / DT
        smooth = 1.0 - math.exp(-0.5 * DT)
        slope = jnp.where(regime == 0, s["slope"] + (moving - s["slope"]) * smooth, s["slope"])

        usual = by_regime(regime, r.renewal)
        odds = usual / (1.0 - usual) * jnp.exp(r.renewal_noise * noise)
        kept = ending * (odds / (1.0 + odds))
        sales = headline - (s["full"] + s["promo"] - (ending - kept))
        fresh = r.promo_share * jnp.maximum(sales, 0.0)
        promo = s["promo"] - ending + fresh
        full = headline - promo
        collected = jnp.maximum(full + r.promo_collected * promo, 0.0)
        return {
            "regime": regime, "headline": headline, "slope": slope, "promo": promo, "full": full,
            "cohorts": s["cohorts"].at[slot].set(fresh), "rate": collected * s["served"],
        }  # fmt: skip

    def build(self, s: Any, new: Any, years: Any, z: Any, power: Any) -> dict[str, Any]:
        c, r = self.compute, self.revenue
        keep, spread = reversion(c.demand_reversion)
        k, v = c.demand_reversion, c.demand_volatility
        noise = s["noise"] * keep + v * spread * z
        variance = v * v * (1.0 - jnp.exp(-2.0 * k * years)) / (2.0 * k)
        wanted = jnp.maximum(new["full"] + r.promo_collected * new["promo"], 0.0) / r.rate0
        log_demand = math.log(c.demand_start) + noise - 0.5 * variance
        log_demand += c.income_elasticity * jnp.log(jnp.maximum(wanted, 1e-6))
        log_demand -= c.price_elasticity * s["log_per_kw"]
        log_demand -= (1.0 - c.price_elasticity) * c.efficiency_growth * years
        demand = jnp.exp(log_demand)
        moving = (log_demand - s["log_demand"]) / DT
        trend = s["trend"] + (moving - s["trend"]) * (1.0 - math.exp(-DT))

        urgency = jnp.clip(jnp.log(s["tightness"]), 0.0, 1.0)
        drift = c.power_growth + c.power_urgency * urgency - 0.5 * c.power_volatility**2
        log_cap = s["log_cap"] + drift * DT + c.power_volatility * math.sqrt(DT) * power
        delivery = jnp.minimum(s["pipeline"] / c.build_time, jnp.exp(log_cap))
        installed = s["installed"] + delivery * DT
        expected = demand * jnp.exp(jnp.clip(trend, *c.foresight))
        pipeline = s["pipeline"] - delivery * DT
        pipeline += c.ordering[0] * jnp.maximum(expected - installed - pipeline, 0.0) * DT
        tightness = demand / installed
        short = jnp.minimum(jnp.log(c.usable / tightness), 0.0)
        return {
            "noise": noise, "log_demand": log_demand, "trend": trend, "installed": installed,
            "pipeline": pipeline, "log_cap": log_cap, "tightness": tightness,
            "delivery": delivery, "served": jnp.exp(c.rationing * short) / c.served0,
        }  # fmt: skip

    def rent(
        self, kept: Any, s: Any, new: Any, month: Any, u: Any, size: Any, own: Any, z: Any
    ) -> dict[str, Any]:
        g, rows = self.rental, self.rental.generation

        def column(values: Any) -> Any:
            return jnp.asarray(list(values), jnp.float32)[:, None]

        tight = new["tightness"]
        begins = u < jnp.where(tight < 1.0, g.odds_war_rate_glut, g.odds_war_rate)
        fading = s["war"] * math.exp(-DT * math.log(2.0) / g.war_half_life)
        war = fading + jnp.where(begins, g.war_size + g.war_spread * size, 0.0)
        out = kept["release"] <= month
        efficiency, price = column(x.efficiency for x in rows), column(x.price for x in rows)
        lead = jnp.max(jnp.where(out, efficiency, 0.0), axis=0)
        tight0 = self.compute.tight0
        scarce, scarce0 = (
            jnp.clip((t - 1.0) / g.scarcity_width, 0.0, 1.0) for t in (tight, tight0)
        )
        behind = jnp.maximum(lead - efficiency, 0.0) * (1.0 - g.shelter * scarce)
        first = column(getattr(g, f"lead0_{x.name}") for x in rows)
        lift = g.scarcity_lift * jnp.log(tight / tight0) + war
        fair = (
            jnp.log(price) + lift - g.obsolescence * (behind - first * (1.0 - g.shelter * scarce0))
        )
        keep, spread = reversion(g.reversion)
        shock = math.sqrt(g.common) * z + math.sqrt(1.0 - g.common) * own
        moved = fair + (s["prices"] - fair) * keep
        moved += column(x.volatility for x in rows) * spread * shock
        prices = jnp.where(out, moved, s["prices"])

        share = new["delivery"] * DT / new["installed"]
        newest = out & ~jnp.concatenate([out[1:], jnp.zeros_like(out[:1])])
        power = s["power"] * (1.0 - share) + jnp.where(newest, share, 0.0)
        total = jnp.sum(power * jnp.exp(prices) / column(x.power for x in rows), axis=0)
        fallen = column(x.installed for x in rows) * (prices - jnp.log(price))
        return {
            "war": war, "wars": s["wars"] + begins, "prices": prices, "power": power,
            "log_per_kw": jnp.log(total / g.per_kw0),
            "shortfall": -g.decline * month * DT - jnp.sum(fallen, axis=0),
        }  # fmt: skip

    def lend(self, kept: Any, s: Any, month: Any, shortfall: Any) -> dict[str, Any]:
        c, by = self.credit, self.by_class
        beta = jnp.asarray(np.asarray(c.beta_rental), jnp.float32)[:, None]
        log_speed = jnp.clip(beta * shortfall, *c.hazard_bounds)
        clock = s["clock"] + jnp.exp(log_speed) * DT
        pattern = np.asarray(c.class_pattern, int)
        log_rate = by("log_hazard") + kept["log_opacity"] + log_speed[pattern]
        x = (ndtri(-jnp.expm1(-jnp.exp(log_rate))) - by("factor") * kept["factor"]) / by("own")
        x = jnp.maximum(x, -10.0)
        unsecured = ndtr(x - by("shift")) / ndtr(x)
        secured = 1.0 - (1.0 - by("lgd")) * jnp.exp(-by("collateral") * shortfall)
        lgd = jnp.where(by("collateral") == 0.0, unsecured, jnp.clip(secured, 0.0, 1.0))
        before, now = s["clock"][pattern], clock[pattern]
        lost = count = jnp.zeros_like(shortfall)
        for k, rows in enumerate(self.slices):
            limit = kept["limit"][rows]
            hit = (limit >= before[k]) & (limit < now[k]) & (self.end[rows] >= month)
            lost += lgd[k] * jnp.sum(jnp.where(hit, self.exposure[rows], 0.0), axis=0)
            count += jnp.sum(hit, axis=0, dtype=jnp.float32)
        return {"clock": clock, "loss": s["loss"] + lost, "defaults": s["defaults"] + count}

    def chunk(self, key: Any, n: int) -> Any:
        """The metrics (METRICS, n) of a chunk."""
        keys = random.split(key, 3)
        state, kept = self.start(keys[0], n)
        months = jnp.arange(1, MONTHS + 1, dtype=jnp.int32)
        u = random.uniform(keys[1], (MONTHS, 2, n), jnp.float32)
        z = random.normal(keys[2], (MONTHS, 6 + len(self.rental.generation), n), jnp.float32)
        end, _ = lax.scan(lambda s, now: self.month(kept, s, now), state, (months, u, z))
        return jnp.stack([end[name.split(".")[1]] for name in METRICS])


def by_hand(model: Economy, size: int, threads: int) -> Callable[[int, int], Any]:
    """``simulate(paths, seed) -> (METRICS, paths)``, in chunks of ``size``."""
    made = ByHand(model)
    chunk = jax.jit(lambda seed, k: made.chunk(random.fold_in(random.key(seed), k), size))
    pool = ThreadPoolExecutor(threads)

    def simulate(paths: int, seed: int) -> Any:
        calls = range(-(-paths // size))
        parts = pool.map(lambda k: np.asarray(chunk(np.uint32(seed), np.uint32(k))), calls)
        return np.concatenate(list(parts), axis=1)[:, :paths]

    return simulate


def by_engine(model: Economy) -> Callable[[int, int], Any]:
    made = plan(model, "jax")
    rows = [model.metrics.index(name) for name in METRICS]
    return lambda paths, seed: made.run(seed, 0, paths).metrics[rows]


def timed(function: Callable[[], Any]) -> tuple[float, float]:
    """CPU seconds and seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    function()
    return time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--paths", type=int, default=16_384)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--chunk", type=int, default=256, help="paths a chunk, by hand")
    asked = parser.parse_args()
    model = economy()
    both = {
        "by hand": by_hand(model, asked.chunk, 2),
        "engine": by_engine(model),
    }
    best: dict[str, tuple[float, float]] = {}
    for name, simulate in both.items():
        cpu, wall = timed(lambda run=simulate: run(1, 1))  # type: ignore[misc]
        print(f"{name}: first call, compile included, {cpu:.1f} CPU s, {wall:.1f} s")
    values = {}
    for _ in range(asked.rounds):
        for name, simulate in both.items():

            def call(name: str = name, run: Any = simulate) -> None:
                values[name] = run(asked.paths, 7)

            took = timed(call)
            best[name] = min(best.get(name, took), took)
    for name, (cpu, wall) in best.items():
        print(
            f"{name}: {asked.paths / cpu:,.0f} paths a CPU second, {asked.paths / wall:,.0f} a second"
        )
    print(f"engine over by hand: {best['by hand'][0] / best['engine'][0]:.2f} in CPU time")
    for k, name in enumerate(METRICS):
        a, b = (values[x][k].astype(np.float64) for x in ("by hand", "engine"))
        error = math.sqrt((a.var() + b.var()) / asked.paths)
        apart = (a.mean() - b.mean()) / error
        print(
            f"{name:24} by hand {a.mean():12.5f} engine {b.mean():12.5f} apart {apart:+.1f} standard errors"
            + ("" if abs(apart) <= 4.0 else "  NOT THE SAME LAW")
        )


if __name__ == "__main__":
    main()
