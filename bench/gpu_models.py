"""The models that the GPU suite compiles, checks and times, by name."""

from __future__ import annotations

from typing import Any

from overbuilt import Economy, System, load, output, setting

MONTHS, DRAWS = 64, 32
SUMMED = MONTHS * DRAWS
"""Random numbers of a path of ``Draws``."""
THRESHOLD = 0.01


class Draws(System):
    """A path draws ``SUMMED`` random numbers and adds them up; ``below`` counts uniforms under a threshold."""

    kind = setting("normal", "what is drawn", choices=("normal", "uniform", "below"))

    total = output("number", "sum of the numbers", series=False)

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"total": 0.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        if self.kind == "below":
            hits = [xp.where(u < THRESHOLD, 1.0, 0.0) for u in draw.uniform("x", DRAWS)]
        else:
            hits = list(getattr(draw, self.kind)("x", DRAWS))
        while len(hits) > 1:  # by pairs: none waits for all before it
            hits = [a + b for a, b in zip(hits[::2], hits[1::2], strict=True)]
        return {"total": s.total + hits[0]}


def model(what: str, options: dict[str, Any]) -> Economy:
    """``rng`` (kind), ``trio`` (method), or a scenario (overrides)."""
    if what == "rng":
        return Economy(Draws(**options), months=MONTHS, name="rng")
    if what == "trio":
        from trio import S, Trio

        return Economy(Trio(**options), months=S.months, name="trio")
    return load(what, options).economy
