"""What the tests of claims share: a market to make claims about, and what it did."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from overbuilt import System, output, parameter
from overbuilt.engine.economy.claims import Claims
from overbuilt.engine.simulate import plan
from overbuilt.engine.system import DT, Economy
from overbuilt.kernels import backends

Array = NDArray[Any]
BACKENDS = [name for name in ("numpy", "native", "jax") if backends.status(name).works]
MONTHS, PATHS, SEED = 24, 400, 5


class Market(System):
    """Two prices, an index of three states, and a switch: a stand-in for the systems above."""

    drift = parameter(0.0, "1/year", "assumption: of the test")
    x = output("USD", "a random walk")
    y = output("1", "news", metric=False)
    state = output("0, 1, 2", "as an integer", metric=False)

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"log": 0.0, "table": xp.array(3, 0.0)}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        z, news = draw.normal("z", 2)
        log = s.log + self.drift * DT + 0.1 * z
        state = xp.where(news < -0.8, 0, xp.where(news < 0.8, 1, 2))
        return {
            "log": log, "table": s.table, "x": xp.exp(log), "y": news, "state": state, "calm": news > -0.5,
        }  # fmt: skip


def claim(event: str, name: str = "c", **more: str) -> dict[str, str]:
    return {"name": name, "title": f"claim {name}", "event": event, **more}


def economy(
    *claims: dict[str, str], name: str = "one", months: int = MONTHS, **market: float
) -> Economy:
    asked = Claims(claim=list(claims))
    asked.months = months
    return Economy(Market(**market), asked, months=months, name=name)


def record(months: int = MONTHS, paths: int = PATHS) -> dict[str, Array]:
    """What the market did: by variable (months, paths)."""
    made = Economy(Market(), months=months)
    series = plan(made, "numpy", "float64").run(SEED, 0, paths, series=True).series
    assert series is not None
    return {name.partition(".")[2]: series[:, k] for k, name in enumerate(made.series)}


def answers(
    made: Economy, backend: str, dtype: str = "float64", months: int = MONTHS
) -> dict[str, Array]:
    got = plan(made, backend, dtype, months).run(SEED, 0, PATHS)
    assert not got.bad.any()
    return {m.partition(".")[2]: got.metrics[k] for k, m in enumerate(made.metrics)}
