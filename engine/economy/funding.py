"""Funding: whether money still comes in from outside, and at what price."""

from __future__ import annotations

import math
from typing import Any

from ..system import DT, System, output, parameter
from .reversion import decay, rate_of_half_life

LOSS_MEMORY = 0.25  # years over which credit losses are felt: a quarter's accounts
TREND = 0.5  # years over which they become the trend that a bust is judged by


class Funding(System):
    """Short rate, credit spread, AI equity and the funding window: open, tight or shut.

    The rate is Vasicek's, the spread a log Ornstein-Uhlenbeck process with jumps, and equity earnings
    times a multiple, ln PE = ln PE0 + b (ge - ge0) - dur (r - r0) - c ln(s/s0), with ge an adaptive
    expectation of earnings growth. The window is a continuous-time Markov chain whose rates move with
    strain v = clip(1.5 ln(s/s0) + 3 (drawdown beyond 0.10) + 8 loss rate, -3, 3). What it finds is next month's funding: here
    the loop closes.
    """

    title = "is money still coming in?"
    reads = ("stress", "shocks", "revenue", "private_credit", "holders")

    rate_start = parameter(
        0.0388,
        "1/year",
        "assumption: federal funds before the meeting of December 2025",
        ge=0,
        le=1,
    )
    rate_mean = parameter(
        0.0325, "1/year", "assumption: the neutral rate that markets priced", ge=0, le=1
    )
    rate_reversion = parameter(0.25, "1/year", "assumption: half-life near three years", gt=0)
    rate_volatility = parameter(
        0.009, "1/year^0.5", "assumption: 90 basis points a year", ge=0, le=0.2
    )
    cut_odds = parameter(0.5, "probability", "fact: fed_cut_prob", ge=0, le=1)
    cut_size = parameter(
        0.0025, "1/year", "assumption: a quarter of a point, as usual", ge=0, le=0.1
    )
    spread_start = parameter(
        0.032,
        "1/year",
        "assumption: high-yield spread of December 2025, below its mean of 4.8 %",
        gt=0,
        le=1,
    )
    spread_mean = parameter(
        0.034,
        "1/year",
        "assumption: where it reverts to, near today's; the mean of 4.8 % holds 2002 and 2008",
        gt=0,
        le=1,
    )
    spread_half_life = parameter(
        1.667, "year", "assumption: 20 months, as the note of spread_vol says", gt=0
    )
    spread_volatility = parameter(0.36, "1/year^0.5", "fact: spread_vol", ge=0, le=3)
    jump_rate = parameter(
        0.10,
        "1/year",
        "assumption: sudden widening, once in ten years as in 2001, 2008, 2020",
        ge=0,
    )
    jump_mean = parameter(
        0.45, "log", "assumption: spreads half as high again and more", ge=-3, le=3
    )
    jump_spread = parameter(0.15, "log", "assumption: standard deviation of a jump", ge=0, le=3)
    multiple = parameter(26.0, "x", "fact: qqq_pe_now", gt=0)
    multiple_growth = parameter(
        2.5,
        "1",
        "assumption: a point of expected growth is worth 2.5 % of the multiple",
        ge=0,
        le=100,
    )
    duration = parameter(6.0, "year", "assumption: of the multiple to the short rate", ge=0, le=50)
    multiple_spread = parameter(
        0.25, "1", "assumption: elasticity of the multiple to the credit spread", ge=0, le=5
    )
    earnings_base = parameter(
        0.06, "1/year", "assumption: earnings growth without growth of AI revenue", ge=-0.1, le=1
    )
    earnings_start = parameter(0.20, "1/year", "fact: qqq_earnings_growth", ge=0, le=2)
    growth_memory = parameter(1.5, "year", "assumption: over which growth is learnt", gt=0)
    mood_volatility = parameter(
        0.20,
        "1/year^0.5",
        "assumption: of AI equity about its worth; NASDAQ 0.25 in all",
        ge=0,
        le=3,
    )
    mood_half_life = parameter(1.5, "year", "assumption: of a mood", gt=0)
    tighten = parameter(0.20, "1/year", "assumption: open to tight, times e^v", ge=0)
    shut = parameter(0.20, "1/year", "assumption: tight to shut, times e^v", ge=0)
    ease = parameter(1.5, "1/year", "assumption: tight to open, times e^-v", ge=0)
    reopen = parameter(
        1.5,
        "1/year",
        "assumption: shut to tight, times e^(-v/2); shut spells as long as in history",
        ge=0,
    )
    strain = parameter(
        [1.5, 3.0, 8.0], "1", "assumption: weight of log spread, equity drawdown, loss rate", ge=0
    )
    calm_drawdown = parameter(
        0.10,
        "share",
        "assumption: below a peak that troubles nobody",
        ge=0,
        lt=1,
    )
    strain_bounds = parameter([-3.0, 3.0], "1", "assumption: least and most strain")

    window_start = parameter(
        0.0, "0 open, 1 tight, 2 shut", "assumption: open, as in December 2025", ge=0, le=2
    )
    ai_growth_start = parameter(
        1.0986,
        "1/year",
        "assumption: growth of AI revenue that goes with those earnings, ln(9)/2",
        ge=0.1,
    )

    window = output("0 open, 1 tight, 2 shut", "funding window")
    rate = output("1/year", "short rate", metric=False)
    spread = output("1/year", "high-yield credit spread", metric=False)
    equity = output("ratio", "AI equity over its start")
    drawdown = output("share", "AI equity below its peak", metric=False)
    loss_rate = output("1/year", "credit losses over loans, lately", metric=False)

    def check(self) -> list[str]:
        problems = []
        low, high = self.strain_bounds
        if low >= high:
            problems.append(
                f"funding.strain_bounds = {self.strain_bounds}: the first should be the lower one"
            )
        if self.window_start != int(self.window_start):
            problems.append(
                f"funding.window_start = {self.window_start}: should be 0 (open), 1 (tight) or 2 (shut)"
            )
        return problems

    def prepare(self) -> dict[str, Any]:
        return {
            "spread_home": math.log(self.spread_mean / self.spread_start),
            "jump_odds": 1.0 - math.exp(-self.jump_rate * DT),
        }

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        cut = draw.uniform("cut") < self.cut_odds
        rate = self.rate_start - xp.where(cut, self.cut_size, 0.0)
        return {
            "calm_rate": rate,
            "rate": rate,
            "calm_spread": 0.0,
            "log_spread": 0.0,
            "window": self.window_start,
            "shut_run": 0.0,
            "expected": self.earnings_start,
            "earnings": 0.0,
            "mood": 0.0,
            "log_equity": 0.0,
            "peak": 0.0,
            "drawdown": 0.0,
            "log_revenue": 0.0,
            "growth": 0.0,
            "loss_before": 0.0,
            "loss_rate": 0.0,
            "loss_trend": 0.0,
        }

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        u_jump, u_window, size, _ = draw.mixed("month")
        rate = self._rate(xp, s.calm_rate, up.shocks.rate)
        jump = xp.where(u_jump < self.jump_odds, self.jump_mean + self.jump_spread * size, 0.0)
        calm_spread = self._spread(xp, s.calm_spread, up.shocks.spread) + jump
        felt_rate, felt_spread = rate + up.stress.rate, calm_spread + up.stress.spread
        equity = self._equity(xp, s, up, felt_rate, felt_spread)

        lost = (up.holders.loss - s.loss_before) / (xp.maximum(up.private_credit.lent, 1.0) * DT)
        remember = 1.0 - math.exp(-DT / LOSS_MEMORY)
        loss_rate = s.loss_rate + (lost - s.loss_rate) * remember
        window = self._window(xp, s.window, u_window, felt_spread, equity["drawdown"], loss_rate)
        felt_window = xp.maximum(window, up.stress.window)
        return {
            "calm_rate": rate,
            "rate": felt_rate,
            "calm_spread": calm_spread,
            "log_spread": felt_spread,
            "window": felt_window,
            "shut_run": xp.where(felt_window > 1.5, s.shut_run + 1.0, 0.0),
            **equity,
            "loss_before": up.holders.loss,
            "loss_rate": loss_rate,
            "loss_trend": s.loss_trend + (lost - s.loss_trend) * (1.0 - math.exp(-DT / TREND)),
            "spread": self.spread_start * xp.exp(felt_spread),
            "equity": xp.exp(equity["log_equity"]),
        }

    def _rate(self, xp: Any, r: Any, z: Any) -> Any:
        keep, spread = decay(xp, self.rate_reversion)
        return self.rate_mean + (r - self.rate_mean) * keep + self.rate_volatility * spread * z

    def _spread(self, xp: Any, x: Any, z: Any) -> Any:
        keep, spread = decay(xp, rate_of_half_life(self.spread_half_life))
        return (
            self.spread_home + (x - self.spread_home) * keep + self.spread_volatility * spread * z
        )

    def _equity(self, xp: Any, s: Any, up: Any, rate: Any, log_spread: Any) -> dict[str, Any]:
        log_revenue = xp.log(xp.maximum(up.revenue.rate, 1e-3) / up.revenue.rate0)
        growth = xp.clip((log_revenue - s.log_revenue) / DT, -2.0, 4.0)
        # earnings grow with AI revenue, so that today's growth of one gives today's growth of the other
        slope = (self.earnings_start - self.earnings_base) / self.ai_growth_start
        earned = self.earnings_base + slope * growth
        expected = s.expected + (earned - s.expected) * (1.0 - xp.exp(-DT / self.growth_memory))
        earnings = s.earnings + earned * DT
        keep, spread = decay(xp, rate_of_half_life(self.mood_half_life))
        mood = s.mood * keep + self.mood_volatility * spread * up.shocks.equity
        log_multiple = (
            self.multiple_growth * (expected - self.earnings_start)
            - self.duration * (rate - self.rate_start)
            - self.multiple_spread * log_spread
        )
        log_equity = earnings + log_multiple + mood
        peak = xp.maximum(s.peak, log_equity)
        return {
            "expected": expected,
            "earnings": earnings,
            "mood": mood,
            "log_equity": log_equity,
            "peak": peak,
            "drawdown": 1.0 - xp.exp(log_equity - peak),
            "log_revenue": log_revenue,
            "growth": growth,
        }

    def _window(
        self, xp: Any, window: Any, u: Any, log_spread: Any, drawdown: Any, loss_rate: Any
    ) -> Any:
        """The chain's next state: a month's chance of a move at rate q is 1 - e^(-q dt)."""
        a, b, c = self.strain
        v = xp.clip(
            a * log_spread + b * xp.maximum(drawdown - self.calm_drawdown, 0.0) + c * loss_rate,
            self.strain_bounds[0],
            self.strain_bounds[1],
        )
        worse = xp.exp(v)
        better = 1.0 / worse
        is_open, is_shut = window < 0.5, window > 1.5
        up_rate = xp.where(is_open, self.tighten * worse, xp.where(is_shut, 0.0, self.shut * worse))
        down_rate = xp.where(
            is_open, 0.0, xp.where(is_shut, self.reopen * xp.sqrt(better), self.ease * better)
        )
        # competing exits of a month: which comes first is decided by their rates
        total = up_rate + down_rate
        leaves = 1.0 - xp.exp(-total * DT)
        up_share = up_rate / xp.maximum(total, 1e-20)
        moved = xp.where(u < leaves * up_share, 1.0, xp.where(u < leaves, -1.0, 0.0))
        return xp.clip(xp.where(is_open, 0.0, xp.where(is_shut, 2.0, 1.0)) + moved, 0.0, 2.0)
