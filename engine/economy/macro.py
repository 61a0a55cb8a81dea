"""Macro: what the build-out adds to growth, what its end takes away, and whose work it displaces."""

from __future__ import annotations

from typing import Any

from ..system import DT, System, output, parameter, setting


class Macro(System):
    """Growth of the US economy, its level, productivity and displaced jobs.

    Growth = consumers and other investment + the change of AI capex, net of imports, over GDP + a wealth effect
    - a credit crunch + noise. Productivity follows AI revenue with a lag (the J-curve of Brynjolfsson, Rock and
    Syverson 2021); displacement follows it with a noise of its own, so that "a bubble" and "it takes
    everyone's job" may exclude each other or not.
    """

    title = "growth, productivity, jobs"
    reads = ("revenue", "compute", "holders", "funding")

    gdp_start = parameter(30_500.0, "USD bn/year", "assumption: US GDP at the end of 2025", gt=0)
    split = setting(
        "h1",
        "how growth of early 2025 divides: h1, 1 % consumers and 1 % business investment (gdp_consumers_h1); ex_it, "
        "a tenth of a percent without information technology (gdp_growth_ex_it)",
        choices=("h1", "ex_it"),
    )
    growth_h1 = parameter(0.02, "1/year", "fact: gdp_growth_h1")
    growth_ex_it = parameter(0.001, "1/year", "fact: gdp_growth_ex_it")
    tech_growth = parameter(0.20, "1/year", "fact: tech_invest_growth", ge=0)
    spend_2025 = parameter(400.0, "USD bn/year", "fact: datacenter_spend_2025", gt=0)
    us_share = parameter(0.70, "share", "assumption: of world AI capex spent in the US", ge=0, le=1)
    imports = parameter(0.50, "share", "assumption: of it imported, chiefly chips", ge=0, le=1)
    equity_wealth = parameter(
        20_000.0,
        "USD bn",
        "assumption: AI equity held by US households, directly and in funds",
        ge=0,
    )
    wealth_effect = parameter(
        0.03,
        "USD/year for USD",
        "assumption: consumption from wealth, 2 to 4 cents in most studies",
        ge=0,
    )
    crunch_losses = parameter(
        1.5,
        "USD for USD",
        "assumption: lending that a dollar of credit loss takes from spending",
        ge=0,
    )
    crunch_window = parameter(
        [0.0, 0.004, 0.02],
        "1/year",
        "assumption: growth lost while funding is open, tight, shut",
        ge=0,
    )
    noise = parameter(0.012, "1/year", "assumption: standard deviation of other growth", ge=0)
    noise_reversion = parameter(
        1.0, "1/year", "assumption: a shock to growth halves in eight months", gt=0
    )
    lag = parameter(
        2.0, "year", "assumption: from revenue to productivity and displaced work", gt=0
    )
    productivity_gain = parameter(
        0.8, "1", "assumption: output gained for each dollar spent on AI, once it is learnt", ge=0
    )
    displaced = parameter(
        0.35, "1", "assumption: share of jobs displaced by AI sales of one GDP", ge=0
    )
    displaced_noise = parameter(
        0.5, "log", "assumption: spread of that share, one draw a path", ge=0
    )

    growth = output("1/year", "of US GDP")
    gdp = output("ratio", "US GDP over its start")
    productivity = output("share", "output gained from AI")
    displacement = output("share", "of jobs displaced by AI")

    def prepare(self) -> dict[str, Any]:
        # the starting split: what is not AI capex and grows by itself
        ai = self.us_share * (1.0 - self.imports) * self.tech_growth
        return {"ai_start": ai}

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        z = draw.normal("displaced")
        spread = self.displaced_noise
        return {
            "log_gdp": 0.0,
            "other": 0.0,
            "capex": 0.0,
            "effect": 0.0,
            "learnt": 0.0,
            "loss_before": 0.0,
            "taste": xp.exp(spread * z - 0.5 * spread * spread),
            "displacement": 0.0,
        }

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        keep = xp.exp(-self.noise_reversion * DT)
        spread = self.noise * xp.sqrt(1.0 - keep * keep)
        other = s.other * keep + spread * draw.normal("other")

        # a year's change of capex, as an adaptive average, so that a month's delivery is not a boom
        first = up.month == 1
        capex = xp.where(first, up.compute.capex, s.capex + (up.compute.capex - s.capex) * DT)
        domestic = self.us_share * (1.0 - self.imports) / self.gdp_start
        building = domestic * (up.compute.capex - capex) * xp.exp(-s.log_gdp)
        base = self._base()

        effect = s.effect + (up.funding.log_equity - s.effect) * DT
        wealth = (
            self.wealth_effect
            * self.equity_wealth
            / self.gdp_start
            * (up.funding.log_equity - effect)
        )
        lost = (up.holders.loss - s.loss_before) / (self.gdp_start * DT)
        window = up.funding.window
        crunch = self.crunch_losses * lost + xp.where(
            window < 0.5,
            self.crunch_window[0],
            xp.where(window < 1.5, self.crunch_window[1], self.crunch_window[2]),
        )
        follow = 1.0 - xp.exp(-DT / self.lag)
        learnt = s.learnt + (up.revenue.rate - up.revenue.rate0 - s.learnt) * follow
        gained = self.productivity_gain * xp.maximum(learnt, 0.0) / self.gdp_start
        speed = self.productivity_gain * (learnt - s.learnt) / (self.gdp_start * DT)
        growth = base + building + wealth - crunch + other + speed
        # a factor of e a year at most: losses beyond all output stay finite
        growth = xp.clip(growth, -1.0, 1.0)
        log_gdp = s.log_gdp + growth * DT
        jobs = self.displaced * xp.maximum(learnt, 0.0) / self.gdp_start * s.taste
        return {
            "log_gdp": log_gdp,
            "other": other,
            "capex": capex,
            "effect": effect,
            "learnt": learnt,
            "loss_before": up.holders.loss,
            "taste": s.taste,
            "displacement": xp.minimum(jobs, 1.0),
            "growth": growth,
            "gdp": xp.exp(log_gdp),
            "productivity": gained,
        }

    def _base(self) -> Any:
        """Growth of all else: what the chosen reading leaves after AI capex growing as it did in 2025."""
        if self.split == "ex_it":
            return self.growth_ex_it
        return self.growth_h1 - self.ai_start * self.spend_2025 / self.gdp_start
