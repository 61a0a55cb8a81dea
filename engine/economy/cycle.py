"""Cycle: which year of shale is it?"""

from __future__ import annotations

from typing import Any

from ..system import DT, System, output, parameter

BUILD_OUT, LATE_BOOM, BUST, EFFICIENCY = 0.0, 1.0, 2.0, 3.0


class Cycle(System):
    """The phase of the build-out, its bust, and the break-even rental that learns down after it.

    A bust is a halving of the rental per kW from its peak, where the peak itself fades by a fifth a year
    (a halving from the peak alone would measure obsolescence); or a window shut for three months while credit
    losses run at 4 % a year. After it the rental at which building pays falls, as shale's break-even did.
    """

    title = "which year of shale is it?"
    reads = ("rental", "firms", "funding")

    fading = parameter(0.20, "1/year", "assumption: of the peak; a normal decline of rentals", ge=0)
    halving = parameter(
        0.5, "ratio", "assumption: of the faded peak that counts as a bust", gt=0, lt=1
    )
    shut_months = parameter(3.0, "month", "assumption: a window shut so long, with losses", ge=1)
    bust_losses = parameter(0.04, "1/year", "assumption: credit losses that go with it", gt=0)
    learning = parameter(
        0.22, "1/year", "assumption: ln(100/35) in shale took five years from 2014 at most", ge=0
    )
    learning_spread = parameter(
        0.35, "log", "assumption: of the speed of learning, one draw a path", ge=0
    )
    floor = parameter(
        0.35, "ratio", "assumption: shale_breakeven_after over shale_breakeven_before", gt=0, le=1
    )
    bust_lasts = parameter(24.0, "month", "assumption: as 2014 to 2016 in oil", ge=1)
    debt_financed = parameter(
        0.5, "share", "assumption: of capex from outside, above which the boom is late", gt=0, le=1
    )

    phase = output("0 build-out, 1 late boom, 2 bust, 3 efficiency", "phase of the cycle")
    bust = output("0 or 1", "a bust has begun")
    bust_month = output("month", "of the first bust; 0: none", series=False)
    breakeven = output("ratio", "break-even rental over its start")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        z = draw.normal("learning")
        spread = self.learning_spread
        return {
            "peak": 1.0,
            "bust": 0.0,
            "bust_month": 0.0,
            "breakeven": 1.0,
            "speed": self.learning * xp.exp(spread * z - 0.5 * spread * spread),
        }

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        price = xp.exp(up.rental.log_per_kw)
        peak = xp.maximum(price, s.peak * xp.exp(-self.fading * DT))
        halved = price <= self.halving * peak
        starved = (up.funding.shut_run >= self.shut_months) & (
            up.funding.loss_trend >= self.bust_losses
        )
        bust = xp.where(halved | starved, 1.0, s.bust)
        month = xp.to_real(up.month)
        bust_month = xp.where((bust > 0.5) & (s.bust < 0.5), month, s.bust_month)
        learnt = xp.maximum(s.breakeven * xp.exp(-s.speed * DT), self.floor)
        recent = month - bust_month < self.bust_lasts
        late = up.firms.outside_share > self.debt_financed
        phase = xp.where(
            bust > 0.5,
            xp.where(recent, BUST, EFFICIENCY),
            xp.where(late, LATE_BOOM, BUILD_OUT),
        )
        return {
            "peak": peak,
            "bust": bust,
            "bust_month": bust_month,
            "breakeven": xp.where(s.bust > 0.5, learnt, s.breakeven),
            "speed": s.speed,
            "phase": phase,
        }
