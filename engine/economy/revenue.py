"""Revenue: one fact read two ways, as a rate or as a slope."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..system import DT, Row, System, output, parameter, reserved, rows, setting
from .reversion import decay

REGIMES = ("exponential", "linear", "stall")


class Company(Row):
    """A seller of AI services, or a group of them."""

    revenue_2025 = parameter(
        1.0, "USD bn/year", "assumption: sums to revenue_2025 over the table", gt=0
    )
    volatility = parameter(
        0.25, "1/year^0.5", "assumption: of the score, around its start", ge=0, le=5
    )


_COMPANIES = [
    {"name": "openai", "revenue_2025": 10.0},
    {"name": "anthropic", "revenue_2025": 4.5},
    {"name": "clouds", "revenue_2025": 30.3, "volatility": 0.10},
    {"name": "others", "revenue_2025": 15.2, "volatility": 0.15},
]


# what the system itself calls so
_OWN = (
    "headline", "full", "cohorts", "promo", "slope", "regime", "year_so_far", "calendar_year",
    "rate", "wanted", "collected", "renewed", "rate0", "multiple0", "promo_kept", "promo_due",
)  # fmt: skip


class Revenue(System):
    """Direct AI revenue: headline run-rate A and what is collected of it, R = F + c Q.

    A grows exponentially towards a ceiling, linearly at its trailing slope, or stalls, by a
    continuous-time Markov chain. A share of new sales is promotional: cohorts Q pay a fraction and at
    their end renew at full price into F, or leave.
    """

    title = "exponential or linear"
    reads = ("stress", "shocks", "compute")

    revenue_2025 = parameter(60.0, "USD bn/year", "fact: ai_revenue_2025", gt=0)
    growth_2y = parameter(9.0, "multiple in two years", "fact: ai_revenue_growth_2y", gt=1)
    reading = setting(
        "exponential",
        "how the calendar year's sum becomes a rate at its end: exponential 98.9, linear 73.3",
        choices=("exponential", "linear"),
    )
    ceiling = parameter(
        3000.0,
        "USD bn/year",
        "assumption: headline sales that saturate the market, an eighth of US GDP",
        gt=0,
    )
    volatility = parameter(
        0.15,
        "1/year^0.5",
        "assumption: equal in all regimes, so that they differ by the law alone",
        ge=0,
    )
    stall_drift = parameter(
        -0.10, "1/year", "assumption: sales shrink by a tenth a year", ge=-5, le=0
    )
    start = parameter(
        [0.60, 0.40, 0.0],
        "probability",
        "assumption: exponential, linear, stall at the start; chosen for the sanity list (docs/calibration.md)",
        ge=0,
        le=1,
    )
    generator = parameter(
        [[-0.35, 0.30, 0.05], [0.10, -0.22, 0.12], [0.05, 0.25, -0.30]],
        "1/year",
        "assumption: rates of leaving a regime (row) for another (column); rows sum to zero",
    )
    cash_share = parameter(
        0.70,
        "share",
        "assumption: collected revenue over headline run-rate at the start",
        gt=0,
        lt=1,
    )
    promo_months = setting(9, "fact: arr_promo_months", ge=1, le=36)
    promo_collected = parameter(0.10, "share", "fact: arr_collected_low", ge=0, lt=1)
    renewal = parameter(
        [0.85, 0.65, 0.35],
        "share",
        "assumption: promotional sales renewed at full price, by regime",
        gt=0,
        lt=1,
    )
    renewal_noise = parameter(
        0.25, "logit", "assumption: month-to-month spread of the renewal share", ge=0, le=5
    )
    share_reversion = parameter(
        0.5, "1/year", "assumption: half-life of a market-share gain 17 months", gt=0
    )
    company = rows(
        Company,
        _COMPANIES,
        "openai_revenue_2025 (fact); anthropic, the clouds and others are assumptions that sum to 60",
    )

    rate = output("USD bn/year", "collected revenue, annual rate")
    headline = output("USD bn/year", "headline run-rate")
    calendar_year = output("USD bn", "collected in the last full calendar year", series=False)
    collected = output("share", "collected revenue over headline run-rate")
    regime = output("0 exponential, 1 linear, 2 stall", "regime of growth")
    renewed = output("share", "promotional sales renewed at full price this month", metric=False)

    def outputs(self) -> dict[str, Any]:
        from ..system import Output

        found = super().outputs()
        for c in self.company:
            found[c.name] = Output(
                "USD bn/year", f"collected revenue of {c.name}", metric=c.name == "openai"
            )
        return found

    def check(self) -> list[str]:
        problems = reserved("revenue.company", self.company, _OWN)
        if abs(sum(self.start) - 1.0) > 1e-9:
            problems.append(
                f"revenue.start = {self.start}: sums to {sum(self.start):g}; probabilities should sum to 1"
            )
        for i, row in enumerate(self.generator):
            if abs(sum(row)) > 1e-9 or any(x < 0 for j, x in enumerate(row) if j != i):
                problems.append(
                    f"revenue.generator[{i}] = {row}: should hold rates >= 0 beside the diagonal and sum to 0"
                )
        total = sum(c.revenue_2025 for c in self.company)
        if abs(total - self.revenue_2025) > 1e-6 * self.revenue_2025:
            problems.append(
                f"revenue.company: revenue_2025 sums to {total:g}; it should be revenue_2025 = {self.revenue_2025:g}"
            )
        lowest = (self.cash_share - self.promo_collected) / (1 - self.promo_collected)
        if not 0 < lowest < 1:
            problems.append(
                f"revenue.cash_share = {self.cash_share}: should lie between promo_collected "
                f"({self.promo_collected}) and 1"
            )
        if self.headline_start() >= self.ceiling:
            problems.append(
                f"revenue.ceiling = {self.ceiling}: should be above the headline run-rate at the start, "
                f"{self.headline_start():.1f}"
            )
        return problems

    def rate_start(self) -> float:
        """The annual rate at the start, from a calendar year's sum (MODEL: 98.9 or 73.3)."""
        if self.reading == "linear":
            return float(self.revenue_2025 + self.slope_of_revenue() / 2.0)
        g = self.growth()
        return float(self.revenue_2025 * g / (1.0 - math.exp(-g)))

    def headline_start(self) -> float:
        return self.rate_start() / float(self.cash_share)

    def growth(self) -> float:
        return math.log(self.growth_2y) / 2.0

    def slope_of_revenue(self) -> float:
        return float(self.revenue_2025 * (1.0 - 1.0 / self.growth_2y) / 2.0)

    def prepare(self) -> dict[str, Any]:
        g, c, months = self.growth(), self.promo_collected, self.promo_months
        headline = self.headline_start()
        promo = headline * (1.0 - self.cash_share) / (1.0 - c)
        # cohorts as steady growth at rate g would have left them, and the share of new sales that makes them
        age = np.exp(-g * DT * np.arange(months))
        newest = promo * age[0] / age.sum()
        leaving = (1.0 - self.renewal[0]) * newest * math.exp(-g * DT * months)
        sales = headline * (1.0 - math.exp(-g * DT)) + leaving
        month = monthly_transition(np.array(self.generator))
        upto = np.cumsum(month, axis=1)
        made: dict[str, Any] = {
            "rate0": self.rate_start(),
            "headline0": headline,
            "full0": headline - promo,
            "cohort0": newest * np.exp(-g * DT * ((-np.arange(months)) % months)),
            "promo_share": float(min(newest / sales, 1.0)),
            "slope0": self.slope_of_revenue() / self.cash_share,
            "g": g,
        }
        for i in range(3):
            made |= {f"to{i}0": float(upto[i, 0]), f"to{i}1": float(upto[i, 1])}
        return made

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        u = draw.uniform("start")
        regime = xp.where(u < self.start[0], 0, xp.where(u < self.start[0] + self.start[1], 1, 2))
        cohorts = xp.array(self.promo_months, 0.0)
        cohorts = xp.loop(
            0, self.promo_months, lambda i, c: {"q": xp.set(c.q, i, self.cohort0[i])}, q=cohorts
        ).q
        shares = {
            f"score_{c.name}": xp.log(c.revenue_2025 / self.revenue_2025) for c in self.company
        }
        return {
            "headline": self.headline0,
            "full": self.full0,
            "cohorts": cohorts,
            "promo": self.headline0 - self.full0,
            "slope": self.slope0,
            "regime": regime,
            "year_so_far": 0.0,
            "calendar_year": self.revenue_2025,
            **shares,
        }

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        u, _, noise, _ = draw.mixed("regime")
        regime = self._next_regime(xp, s.regime, u)
        slot = xp.clock(up.month, self.promo_months)
        ending = xp.get(s.cohorts, slot)
        # promotional sales run to their end, however far demand falls
        headline = xp.maximum(self._grow(xp, s, regime, up.shocks.revenue), s.promo - ending)
        moving = (headline - s.headline) / DT
        slope = xp.where(
            regime == 0, s.slope + (moving - s.slope) * (1.0 - xp.exp(-0.5 * DT)), s.slope
        )

        # the oldest cohort ends: part renews at full price, the rest leaves; sales make up the headline
        news = draw.normal("news", max(len(self.company), 2))
        renewed = xp.minimum(self._renewed(xp, regime, noise) * up.stress.renewals, 1.0)
        kept = ending * renewed
        sales = headline - (s.full + s.promo - (ending - kept))
        fresh = self.promo_share * xp.maximum(sales, 0.0)
        cohorts = xp.set(s.cohorts, slot, fresh)
        promo = s.promo - ending + fresh
        full = headline - promo
        collected = xp.maximum(full + self.promo_collected * promo, 0.0)
        rate = collected * up.compute.served

        year = s.year_so_far + rate * DT
        year_ends = xp.clock(up.month, 12) == 0
        sellers = self._companies(xp, s, rate, news)
        return {
            "headline": headline,
            "full": full,
            "cohorts": cohorts,
            "promo": promo,
            "slope": slope,
            "regime": regime,
            "year_so_far": xp.where(year_ends, 0.0, year),
            "calendar_year": xp.where(year_ends, year, s.calendar_year),
            "rate": rate,
            "wanted": collected / self.rate0,
            "collected": collected / headline,
            "renewed": renewed,
            "rate0": self.rate0,
            "multiple0": self.rate0 / self.revenue_2025,
            "promo_kept": kept,
            "promo_due": ending,
            **sellers,
        }

    def _next_regime(self, xp: Any, regime: Any, u: Any) -> Any:
        first = xp.where(regime == 0, self.to00, xp.where(regime == 1, self.to10, self.to20))
        second = xp.where(regime == 0, self.to01, xp.where(regime == 1, self.to11, self.to21))
        return xp.where(u < first, 0, xp.where(u < second, 1, 2))

    def _grow(self, xp: Any, s: Any, regime: Any, z: Any) -> Any:
        noise = xp.exp(
            self.volatility * (xp.sqrt(DT) * z) - 0.5 * self.volatility * self.volatility * DT
        )
        room = (1.0 - s.headline / self.ceiling) / (1.0 - self.headline0 / self.ceiling)
        drift = xp.where(regime == 0, self.g * room, self.stall_drift)
        grown = s.headline * xp.exp(drift * DT)
        # a slope that was negative when it froze would end below nothing: it falls no faster than a stall
        straight = xp.maximum(s.headline + s.slope * DT, grown)
        return xp.where(regime == 1, straight, grown) * noise

    def _renewed(self, xp: Any, regime: Any, noise: Any) -> Any:
        usual = xp.where(
            regime == 0, self.renewal[0], xp.where(regime == 1, self.renewal[1], self.renewal[2])
        )
        odds = usual / (1.0 - usual) * xp.exp(self.renewal_noise * noise)
        return odds / (1.0 + odds)

    def _companies(self, xp: Any, s: Any, rate: Any, news: tuple[Any, ...]) -> dict[str, Any]:
        keep, spread = decay(xp, self.share_reversion)
        scores, weights = {}, {}
        for company, z in zip(self.company, news, strict=False):
            key = f"score_{company.name}"
            home = xp.log(company.revenue_2025 / self.revenue_2025)
            scores[key] = home + (getattr(s, key) - home) * keep + company.volatility * spread * z
            weights[company.name] = xp.exp(scores[key])
        total = sum(list(weights.values())[1:], next(iter(weights.values())))
        rates = {name: rate * w / total for name, w in weights.items()}
        grown = {f"{c.name}_multiple": rates[c.name] / c.revenue_2025 for c in self.company}
        return scores | rates | grown


def monthly_transition(generator: np.ndarray) -> np.ndarray:
    """exp(Q dt): the chain's transition probabilities over a month, by scaling and squaring."""
    small = generator * (DT / 1024.0)
    step = np.eye(len(generator)) + small + small @ small / 2.0 + small @ small @ small / 6.0
    for _ in range(10):
        step = step @ step
    return step
