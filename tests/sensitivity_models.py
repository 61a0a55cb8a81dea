"""Small systems whose sensitivities are known in closed form."""

from __future__ import annotations

import math
from typing import Any

from scipy.stats import norm

from overbuilt.engine.system import DT, Row, System, output, parameter, rows, setting


class Gbm(System):
    """A geometric Brownian motion, and a call on it: undiscounted Black and Scholes (1973)."""

    spot = parameter(100.0, "USD", "assumption: round", gt=0)
    drift = parameter(0.06, "1/year", "assumption: round")
    volatility = parameter(0.25, "1/year^0.5", "assumption: round", gt=0)
    strike = parameter(110.0, "USD", "assumption: round", gt=0)
    idle = parameter(3.0, "1", "assumption: feeds another metric alone")

    price = output("USD", "the price")
    call = output("USD", "what the call pays")
    other = output("1", "reads what the rest does not")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"x": 0.0, "memory": 0.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        z = draw.normal("shock")
        mean = (self.drift - 0.5 * self.volatility * self.volatility) * DT
        x = s.x + mean + self.volatility * math.sqrt(DT) * z
        price = self.spot * xp.exp(x)
        memory = s.memory + self.idle * z
        call = xp.maximum(price - self.strike, 0.0)
        return {"x": x, "memory": memory, "price": price, "call": call, "other": memory}


def gbm_values(spot: float, drift: float, volatility: float, strike: float) -> dict[str, float]:
    """After a year (12 months): the numbers that Gbm estimates, by quantity."""
    centre = math.log(spot) + drift - 0.5 * volatility**2
    d2 = (centre - math.log(strike)) / volatility
    forward = spot * math.exp(drift)
    z95 = float(norm.ppf(0.95))
    return {
        "gbm.price": forward,
        "gbm.price.sd": forward * math.sqrt(math.expm1(volatility**2)),
        "gbm.call": forward * float(norm.cdf(d2 + volatility)) - strike * float(norm.cdf(d2)),
        "gbm.price.p95": math.exp(centre + volatility * z95),
        "gbm.price.es95": forward * float(norm.cdf(volatility - z95)) / 0.05,
        "gbm.price > 110": float(norm.cdf((centre - math.log(110.0)) / volatility)),
    }


class Pool(System):
    """A one-factor Gaussian book of infinitely many loans (Vasicek 2002): loss as a share."""

    pd = parameter(0.02, "share", "assumption: round", gt=0, lt=1)
    rho = parameter(0.15, "1", "assumption: round", gt=0, lt=1)
    lgd = parameter(0.45, "share", "assumption: round", ge=0, le=1)

    loss = output("share", "of exposure")

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        m = draw.normal("factor")
        level = (xp.ndtri(self.pd) - xp.sqrt(self.rho) * m) / xp.sqrt(1.0 - self.rho)
        return {"loss": self.lgd * xp.ndtr(level)}


class Turn(System):
    """A normal metric whose law no angle changes, though each of them changes every path."""

    angle = parameter([0.7] * 12, "1", "assumption: any")
    size = output("1", "standard normal")

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        total = 0.0
        for k, u in enumerate(self.angle):
            a, b = draw.normal(f"pair_{k}", 2)
            total = total + a * xp.cos2pi(u) + b * xp.sin2pi(u)
        return {"size": total / math.sqrt(len(self.angle))}


class Part(Row):
    """A share of a whole."""

    kind = setting("a", "which whole it is a part of")
    share = parameter(0.5, "share", "assumption: any", ge=0, le=1)
    weight = parameter(0.0, "1", "assumption: any", ge=0)


class Tied(System):
    """Parameters that checks tie to each other: a correlation matrix, rates, probabilities, shares of wholes."""

    correlation = parameter([[1.0, 0.4], [0.4, 1.0]], "1", "assumption: any", ge=-1, le=1)
    rates = parameter([[-0.5, 0.5], [0.25, -0.25]], "1/year", "assumption: any")
    start = parameter([0.2, 0.3, 0.5], "probability", "assumption: any", ge=0, le=1)
    full = parameter(1.0, "share", "assumption: at its bound", ge=0, le=1)
    whole = parameter(2.0, "1", "assumption: any", ge=0)
    free = parameter([3.0, 0.0, -5.0], "1", "assumption: any")
    part = rows(
        Part,
        [
            {"name": "one", "kind": "a", "share": 0.25, "weight": 4.0},
            {"name": "two", "kind": "a", "share": 0.75},
            {"name": "three", "kind": "b", "share": 0.4, "weight": 1.0},
            {"name": "four", "kind": "b", "share": 0.6},
        ],
        "assumption: any",
    )

    total = output("1", "a sum of all")

    def check(self) -> list[str]:
        wrong = [
            f"tied.correlation[{i}][{j}]: should be symmetric, with 1 on the diagonal"
            for i in (0, 1)
            for j in (0, 1)
            if self.correlation[i][j] != self.correlation[j][i] or self.correlation[i][i] != 1.0
        ]
        wrong += [
            f"tied.rates[{i}]: should sum to 0" for i in (0, 1) if abs(sum(self.rates[i])) > 1e-9
        ]
        if abs(sum(self.start) - 1.0) > 1e-9:
            wrong.append("tied.start: should sum to 1")
        if self.whole != 2.0:
            wrong.append("tied.whole: should be 2")
        for kind in ("a", "b"):
            if abs(sum(p.share for p in self.part if p.kind == kind) - 1.0) > 1e-9:
                wrong.append(f"tied.part: shares of {kind} should sum to 1")
        return wrong

    def prepare(self) -> dict[str, Any]:
        return {"on": int(self.free[1] != 0.0)}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        z = draw.normal("z")
        total = self.full + 0.0 * self.whole
        numbers = [*self.correlation[0], *self.rates[0], *self.start, *self.free]
        numbers += [p.share for p in self.part] + [p.weight for p in self.part]
        for k, x in enumerate(numbers):
            total = total + (k + 1.0) * x
        return {"total": total + 0.1 * z + xp.to_real(self.on)}


class Pipes(System):
    """As many terms as ``pipes`` says: its size shapes the program."""

    pipes = parameter(2.5, "1", "assumption: any", gt=0)
    load = parameter(1.0, "1", "assumption: any")
    flow = output("1", "a sum over pipes")

    def prepare(self) -> dict[str, Any]:
        self.number = math.ceil(self.pipes)
        return {"each": [self.pipes / self.number] * self.number}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        flow = 0.0
        for k in range(self.number):
            flow = flow + self.each[k] * xp.exp(0.1 * draw.normal(f"pipe_{k}"))
        return {"flow": flow * self.load}


class Edge(System):
    """A logarithm that has no value on some paths once ``reach`` is larger."""

    reach = parameter(1.0, "1", "assumption: at the edge")
    value = output("1", "a logarithm")

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        return {"value": xp.log(1.001 - self.reach * draw.uniform("u"))}
