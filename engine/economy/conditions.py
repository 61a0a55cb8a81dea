"""Conditions: the state of funding and displacement, held constant until the systems that make them."""

from __future__ import annotations

from typing import Any

from ..system import System, parameter


class Conditions(System):
    """What funding and macro will feed: window, credit spread, displacement of labour."""

    title = "funding conditions, held constant"

    window = parameter(
        0.0, "0 open, 1 tight, 2 shut", "assumption: open, as in December 2025", ge=0, le=2
    )
    spread_ratio = parameter(
        1.0, "credit spread over today's", "assumption: spreads stay where they are", ge=0.1, le=20
    )
    displacement = parameter(
        0.0, "share of jobs", "assumption: none beyond what default rates already hold", ge=0, le=1
    )

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {
            "window": self.window,
            "log_spread": xp.log(self.spread_ratio),
            "displacement": self.displacement,
        }

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        return {"window": s.window, "log_spread": s.log_spread, "displacement": s.displacement}
