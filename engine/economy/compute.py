"""Compute: demand for and supply of AI data-centre power in the US, and what building it costs."""

from __future__ import annotations

import math
from typing import Any

from ..system import DT, System, output, parameter
from .reversion import decay

REPLACED_AFTER = 60  # months; MODEL section 2: chips five years old are replaced


class Compute(System):
    """Gigawatts demanded and installed, their ratio T (tightness), orders, deliveries, world capex.

    Work demanded is (R/R0)^eta p^-eps at the price of work p = rental per kW over efficiency, so demand
    for power is D0 (R/R0)^eta (P/P0)^-eps (E/E0)^-(1-eps) and noise.
    """

    title = "demand, supply, power"
    reads = ("stress", "shocks", "revenue", "rental", "funding", "cycle")

    installed_start = parameter(20.0, "GW", "assumption: US AI capacity at the end of 2025", gt=0)
    demand_start = parameter(
        30.0,
        "GW",
        "assumption: demand half above supply, as a panel that sees a shortage implies",
        gt=0,
    )
    income_elasticity = parameter(
        0.80,
        "1",
        "assumption: work grows slower than revenue; fitted to the power gap (docs/calibration.md)",
        ge=0,
        le=2,
    )
    price_elasticity = parameter(
        0.75, "1", "assumption: cheaper work is used more, but not in proportion", ge=0, le=2
    )
    efficiency_growth = parameter(
        0.30, "1/year", "assumption: work per GW, log, base rate", ge=0, le=2
    )
    efficiency_bust = parameter(
        0.15, "1/year", "assumption: added to it after a bust, when money is short", ge=0, le=2
    )
    demand_reversion = parameter(
        1.0, "1/year", "assumption: demand shocks halve in eight months", gt=0
    )
    demand_volatility = parameter(0.15, "1/year^0.5", "assumption: as revenue's", ge=0, le=5)
    pipeline_start = parameter(
        15.0, "GW", "assumption: under construction at the end of 2025", gt=0
    )
    build_time = parameter(1.0, "year", "assumption: order to power, once the grid allows", ge=0.1)
    trend_start = parameter(
        0.40, "1/year", "assumption: demand growth that builders see at the start", ge=-1, le=2
    )
    foresight = parameter(
        [-0.2, 0.6], "1/year", "assumption: growth that orders dare to follow, least and most"
    )
    ordering = parameter(
        [1.0, 0.6, 0.2], "share", "assumption: orders when funding is open, tight, shut", ge=0, le=1
    )
    power_cap = parameter(10.0, "GW/year", "fact: power_build_us", gt=0)
    power_growth = parameter(
        0.12, "1/year", "assumption: grid and turbines add an eighth a year", ge=0, le=1
    )
    power_urgency = parameter(
        0.10, "1/year", "assumption: faster by this where demand is e times supply", ge=0
    )
    power_volatility = parameter(
        0.08, "1/year^0.5", "assumption: permits and turbines come unevenly", ge=0
    )
    usable = parameter(
        0.95, "share", "assumption: utilisation that still serves customers", gt=0, le=1
    )
    rationing = parameter(
        0.3, "1", "assumption: elasticity of revenue to capacity that is short", ge=0, le=1
    )
    site_cost = parameter(32.0, "USD bn/GW", "fact: site_cost (USD m per MW)", gt=0)
    site_inflation = parameter(0.06, "1/year", "assumption: sites grow dearer", ge=-0.2, le=0.5)
    replaced_share = parameter(
        0.6, "share", "assumption: of a site's cost that is chips", ge=0, le=1
    )
    past_growth = parameter(
        0.70,
        "1/year",
        "assumption: growth of installed power before the start; Nvidia's in 2025",
        ge=0,
        le=2,
    )
    spend_2025 = parameter(400.0, "USD bn/year", "fact: datacenter_spend_2025, world", gt=0)

    demand = output("GW", "power that customers would use at today's price")
    installed = output("GW", "power installed")
    tightness = output("ratio", "demand over supply")
    gap = output("GW", "demand that finds no power")
    utilisation = output("share", "of what is installed")
    capex = output("USD bn/year", "world AI data-centre spending, annual rate", metric=False)
    capex_total = output("USD bn", "world spending since the start", series=False)

    def prepare(self) -> dict[str, Any]:
        tight = self.demand_start / self.installed_start
        delivery = min(self.pipeline_start / self.build_time, self.power_cap)
        old = self.installed_start * math.exp(-self.past_growth * REPLACED_AFTER * DT)
        us = self.site_cost * (delivery + self.replaced_share * old / 5.0)
        return {
            "delivery0": delivery,
            "tight0": tight,
            "served0": min(1.0, self.usable / tight) ** self.rationing,
            "world": self.spend_2025 / us,
        }

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {
            "noise": 0.0,
            "efficiency": 0.0,
            "log_demand": xp.log(self.demand_start),
            "trend": self.trend_start,
            "installed": self.installed_start,
            "history": xp.array(REPLACED_AFTER, 0.0),
            "pipeline": self.pipeline_start,
            "log_cap": xp.log(self.power_cap),
            "tightness": self.tight0,
            "served": 1.0,
            "capex_total": 0.0,
        }

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        years = xp.to_real(up.month) * DT
        noise, variance = self._noise(xp, s.noise, up.shocks.demand, years)
        efficiency = (
            s.efficiency + (self.efficiency_growth + self.efficiency_bust * up.cycle.bust) * DT
        )
        log_demand = (
            xp.log(self.demand_start)
            + self.income_elasticity * xp.log(xp.maximum(up.revenue.wanted, 1e-6))
            - self.price_elasticity * up.rental.log_per_kw
            - (1.0 - self.price_elasticity) * efficiency
            + up.stress.demand
            + noise
            - 0.5 * variance
        )
        demand = xp.exp(log_demand)
        trend = s.trend + ((log_demand - s.log_demand) / DT - s.trend) * (1.0 - xp.exp(-DT))

        built = s.installed
        log_cap = self._power(xp, s, up.shocks.power)
        delivery = xp.minimum(s.pipeline / self.build_time, xp.exp(log_cap + up.stress.power))
        installed = built + delivery * DT
        window = up.funding.window
        appetite = xp.where(
            window < 0.5,
            self.ordering[0],
            xp.where(window < 1.5, self.ordering[1], self.ordering[2]),
        )
        expected = demand * xp.exp(xp.clip(trend, self.foresight[0], self.foresight[1]))
        pipeline = s.pipeline - delivery * DT
        orders = appetite * xp.maximum(expected - installed - pipeline, 0.0)
        pipeline = pipeline + orders * DT

        # what was installed five years ago is replaced: before the start by its trend, later by the record
        slot = xp.clock(up.month, REPLACED_AFTER)
        past = self.installed_start * xp.exp(self.past_growth * (years - REPLACED_AFTER * DT))
        old = xp.where(up.month > REPLACED_AFTER, xp.get(s.history, slot), past)
        cost = self.world * self.site_cost * xp.exp(self.site_inflation * years)
        capex = cost * (delivery + self.replaced_share * old / 5.0)

        tightness = demand / installed
        served = (
            xp.exp(self.rationing * xp.minimum(xp.log(self.usable / tightness), 0.0)) / self.served0
        )
        return {
            "noise": noise,
            "efficiency": efficiency,
            "log_demand": log_demand,
            "trend": trend,
            "installed": installed,
            "history": xp.set(s.history, slot, installed),
            "pipeline": pipeline,
            "log_cap": log_cap,
            "tightness": tightness,
            "served": served,
            "capex_total": s.capex_total + capex * DT,
            "demand": demand,
            "gap": xp.maximum(demand - installed, 0.0),
            "utilisation": _utilisation(xp, tightness),
            "utilisation0": _utilisation(xp, self.tight0),
            "delivery": delivery,
            "delivery0": self.delivery0,
            "tight0": self.tight0,
            "capex": capex,
        }

    def _noise(self, xp: Any, x: Any, z: Any, years: Any) -> tuple[Any, Any]:
        """The demand shock, an Ornstein-Uhlenbeck process from 0, and its variance by now."""
        k, v = self.demand_reversion, self.demand_volatility
        keep, spread = decay(xp, k)
        x = x * keep + v * spread * z
        return x, v * v * (1.0 - xp.exp(-2.0 * k * years)) / (2.0 * k)

    def _power(self, xp: Any, s: Any, z: Any) -> Any:
        """The log of what the grid can take a year: growth, faster where compute is short, and noise."""
        urgency = xp.clip(xp.log(s.tightness), 0.0, 1.0)
        v = self.power_volatility
        drift = self.power_growth + self.power_urgency * urgency - 0.5 * v * v
        return s.log_cap + drift * DT + v * xp.sqrt(DT) * z


def _utilisation(xp: Any, tightness: Any) -> Any:
    """Of what is installed: (1 + T^-8)^(-1/8), near T in a glut and near 1 in scarcity."""
    return xp.exp(-0.125 * xp.log(1.0 + xp.exp(-8.0 * xp.log(tightness))))
