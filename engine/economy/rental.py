"""Rental: what a GPU-hour costs, for H100, Blackwell and what follows."""

from __future__ import annotations

import itertools
import math
from itertools import pairwise
from typing import Any

from ..system import DT, Output, Row, System, parameter, reserved, rows
from .reversion import decay


class Generation(Row):
    """A generation of chips. Rows stand in the order of release."""

    price = parameter(
        2.1, "USD/GPU-hour", "assumption: on-demand rental at its release, or now", gt=0
    )
    volatility = parameter(0.19, "1/year^0.5", "fact: h100_rental_vol", ge=0, le=5)
    efficiency = parameter(
        0.0,
        "log",
        "assumption: work per cost over the first row; a year's cadence brings 0.63",
        ge=0,
    )
    power = parameter(1.4, "kW", "assumption: a GPU with its share of the site", gt=0)
    installed = parameter(
        0.0, "share", "assumption: of the power installed at the start", ge=0, le=1
    )
    release = parameter(
        0.0, "month", "assumption: earliest month of its release; 0: on the market", ge=0
    )
    delay = parameter(0.0, "months", "assumption: mean of the exponential delay after that", ge=0)


_GENERATIONS = [
    {"name": "hopper", "price": 2.1, "volatility": 0.19, "installed": 0.60},
    {
        "name": "blackwell",
        "price": 4.7,
        "volatility": 0.30,
        "efficiency": 0.63,
        "power": 1.9,
        "installed": 0.40,
    },
    {
        "name": "rubin",
        "price": 8.8,
        "volatility": 0.30,
        "efficiency": 1.26,
        "power": 2.8,
        "release": 9.0,
        "delay": 4.0,
    },
    {
        "name": "next",
        "price": 16.5,
        "volatility": 0.30,
        "efficiency": 1.89,
        "power": 4.0,
        "release": 33.0,
        "delay": 5.0,
    },
]


# what the system itself calls so
_OWN = ("war", "wars", "shortfall", "log_per_kw", "newest_index", "newest_index0")


class Rental(System):
    """Log price by generation: reverting to a fair level that scarcity lifts and newer chips press down.

    f = ln P0 + theta ln(T/T0) - omega [L (1 - phi s) - L0 (1 - phi s0)] + j - chi impact, with L the log
    efficiency lead of the newest generation, s = clip((T - 1)/width, 0, 1) scarcity, j price wars, impact last month's forced sales. So when
    compute is scarce old chips hold their price; in a glut they collapse.
    """

    title = "price of a GPU-hour"
    reads = ("stress", "shocks", "compute", "gpu_loans")

    generation = rows(
        Generation, _GENERATIONS, "prices of Hopper and Blackwell are facts, the rest assumptions"
    )
    reversion = parameter(
        1.5, "1/year", "assumption: half-life of a price shock five and a half months", gt=0
    )
    scarcity_lift = parameter(
        0.8, "1", "assumption: theta, elasticity of price to tightness", ge=0, le=10
    )
    obsolescence = parameter(
        0.9,
        "1",
        "assumption: omega, share of a newer chip's lead that old prices lose",
        ge=0,
        le=10,
    )
    shelter = parameter(
        0.85, "share", "assumption: phi, of that loss that scarcity suspends", ge=0, le=1
    )
    scarcity_width = parameter(
        0.25, "ratio", "assumption: tightness above 1 at which scarcity is full", gt=0
    )
    common = parameter(
        0.6, "share", "assumption: of price variance that all generations share", ge=0, le=1
    )
    war_rate = parameter(
        0.04, "1/year", "assumption: price wars, one in 25 years while compute is short", ge=0
    )
    war_rate_glut = parameter(0.19, "1/year", "assumption: and in a glut", ge=0)
    war_size = parameter(
        -0.5, "log", "assumption: mean cut, as AWS's 44 % of June 2025", ge=-5, le=0
    )
    war_spread = parameter(0.25, "log", "assumption: standard deviation of the cut", ge=0, le=5)
    war_half_life = parameter(2.0, "year", "assumption: as oil stayed down after 2014", gt=0)
    sale_impact = parameter(
        0.5,
        "1",
        "assumption: chi, share of a fire sale's price impact that rentals follow",
        ge=0,
        le=1,
    )
    decline = parameter(
        0.12,
        "1/year",
        "assumption: the fall in rentals that lenders have already priced",
        ge=0,
        le=1,
    )

    def outputs(self) -> dict[str, Output]:
        found = {g.name: Output("USD/GPU-hour", f"rental of {g.name}") for g in self.generation}
        found["shortfall"] = Output(
            "log", "rentals below the decline that lenders priced", metric=False
        )
        found["wars"] = Output("count", "price wars so far")
        return found

    def check(self) -> list[str]:
        problems = reserved("rental.generation", self.generation, _OWN, ("log_",))
        first = self.generation[0]
        if first.release > 0:
            problems.append(
                f"rental.generation.{first.name}.release = {first.release}: the first row should be on the market (0)"
            )
        for a, b in pairwise(self.generation):
            for field in ("release", "efficiency"):
                was, now = getattr(a, field), getattr(b, field)
                if now < was:
                    problems.append(
                        f"rental.generation.{b.name}.{field} = {now}: follows {a.name} and should be at least {was}"
                    )
        total = sum(g.installed for g in self.generation)
        if abs(total - 1.0) > 1e-9:
            problems.append(
                f"rental.generation: installed sums to {total:g}; shares should sum to 1"
            )
        problems += [
            f"rental.generation.{g.name}.installed = {g.installed}: not on the market at the start; should be 0"
            for g in self.generation
            if g.release > 0 and g.installed > 0
        ]
        return problems

    def prepare(self) -> dict[str, Any]:
        now = [g for g in self.generation if g.release == 0]
        self.coming = [g.name for g in self.generation if g.release > 0]
        newest = max(g.efficiency for g in now)
        made: dict[str, Any] = {
            f"lead0_{g.name}": max(newest - g.efficiency, 0.0) for g in self.generation
        }
        made |= {
            f"odds_{k}": 1.0 - math.exp(-getattr(self, k) * DT)
            for k in ("war_rate", "war_rate_glut")
        }
        made["newest_index0"] = float(len(now) - 1)
        made["per_kw0"] = sum(g.installed * g.price / g.power for g in now)
        return made

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        state: dict[str, Any] = {"war": 0.0, "wars": 0.0, "log_per_kw": 0.0}
        later = [g for g in self.generation if g.name in self.coming]
        for i, g in enumerate(later):
            if i % 4 == 0:
                tries = draw.uniform("release", 4, index=i // 4)
            state[f"release_{g.name}"] = g.release - g.delay * xp.log(tries[i % 4])
        if later:
            self._in_order(xp, state, later)
        for g in self.generation:
            state[f"log_{g.name}"] = xp.log(g.price)
            state[f"power_{g.name}"] = g.installed
        return state

    def _in_order(self, xp: Any, state: dict[str, Any], later: list[Any]) -> None:
        # a successor never comes before its predecessor
        for a, b in itertools.pairwise(later):
            key = f"release_{b.name}"
            state[key] = xp.maximum(state[key], state[f"release_{a.name}"])

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        month = xp.to_real(up.month)
        tight = up.compute.tightness
        war, fought = self._wars(xp, s.war, tight, draw)
        out = self._on_market(xp, s, month)
        lead = self._newest(xp, out)
        scarce = xp.clip((tight - 1.0) / self.scarcity_width, 0.0, 1.0)
        scarce0 = xp.clip((up.compute.tight0 - 1.0) / self.scarcity_width, 0.0, 1.0)
        lift = self.scarcity_lift * xp.log(tight / up.compute.tight0) + war + up.stress.rental
        keep, spread = decay(xp, self.reversion)
        z = draw.normal("own", max(len(self.generation), 2))

        new: dict[str, Any] = {"war": war, "wars": s.wars + fought}
        new |= {f"release_{name}": getattr(s, f"release_{name}") for name in self.coming}
        for g, own in zip(self.generation, z, strict=False):
            behind = xp.maximum(lead - g.efficiency, 0.0) * (1.0 - self.shelter * scarce)
            start = getattr(self, f"lead0_{g.name}") * (1.0 - self.shelter * scarce0)
            fair = xp.log(g.price) + lift - self.obsolescence * (behind - start)
            fair = fair - self.sale_impact * getattr(up.gpu_loans, f"impact_{g.name}", 0.0)
            fair = fair + getattr(up.stress, f"rental_{g.name}", 0.0)
            shock = xp.sqrt(self.common) * up.shocks.rental + xp.sqrt(1.0 - self.common) * own
            last = getattr(s, f"log_{g.name}")
            moved = fair + (last - fair) * keep + g.volatility * spread * shock
            new[f"log_{g.name}"] = (
                moved if g.name not in out else xp.where(out[g.name], moved, last)
            )
            new[g.name] = xp.exp(new[f"log_{g.name}"])
            new[f"{g.name}_start"] = g.price
        new |= {"newest_index": self._newest_index(xp, out), "newest_index0": self.newest_index0}
        return new | self._mix(xp, s, up, out, new) | {"shortfall": self._shortfall(xp, new, month)}

    def _wars(self, xp: Any, war: Any, tight: Any, draw: Any) -> tuple[Any, Any]:
        odds = xp.where(tight < 1.0, self.odds_war_rate_glut, self.odds_war_rate)
        u, _, size, _ = draw.mixed("war")
        begins = u < odds
        cut = self.war_size + self.war_spread * size
        fading = war * xp.exp(-DT * math.log(2.0) / self.war_half_life)
        return fading + xp.where(begins, cut, 0.0), xp.where(begins, 1.0, 0.0)

    def _on_market(self, xp: Any, s: Any, month: Any) -> dict[str, Any]:
        """Masks of what has been released, for the generations that come later."""
        return {name: month >= getattr(s, f"release_{name}") for name in self.coming}

    def _newest(self, xp: Any, out: dict[str, Any]) -> Any:
        best: Any = self.generation[0].efficiency
        for g in self.generation[1:]:
            best = xp.where(out[g.name], g.efficiency, best) if g.name in out else g.efficiency
        return best

    def _newest_index(self, xp: Any, out: dict[str, Any]) -> Any:
        """The row of the newest generation on the market, as a real."""
        best: Any = self.newest_index0
        for i, g in enumerate(self.generation):
            best = xp.where(out[g.name], float(i), best) if g.name in out else best
        return best

    def _mix(
        self, xp: Any, s: Any, up: Any, out: dict[str, Any], new: dict[str, Any]
    ) -> dict[str, Any]:
        """Deliveries go to the newest generation; the rental per kW is weighted by what stands installed."""
        share = up.compute.delivery * DT / up.compute.installed
        fresh: Any = share
        power: dict[str, Any] = {}
        for g in reversed(self.generation):
            mine = xp.where(out[g.name], fresh, 0.0) if g.name in out else fresh
            fresh = fresh - mine
            power[f"power_{g.name}"] = getattr(s, f"power_{g.name}") * (1.0 - share) + mine
        total = sum(
            (power[f"power_{g.name}"] * (new[g.name] / g.power) for g in self.generation[1:]),
            power[f"power_{self.generation[0].name}"]
            * (new[self.generation[0].name] / self.generation[0].power),
        )
        return power | {"log_per_kw": xp.log(total / self.per_kw0)}

    def _shortfall(self, xp: Any, new: dict[str, Any], month: Any) -> Any:
        """How far rentals lie, in logs, under the decline that lenders priced; by power at the start."""
        total: Any = -self.decline * month * DT
        for g in self.generation:
            total = total - g.installed * (new[f"log_{g.name}"] - xp.log(g.price))
        return total
