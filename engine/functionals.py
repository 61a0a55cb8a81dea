"""What is asked of a metric: ``private_credit.loss.es99``, a mean, a quantile, ``rental.hopper < 1.2``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import estimate as estimates
from .estimate import LEVEL, Estimate
from .histogram import rank_of
from .metric import Metric
from .validate import ConfigError, near, shown

Array = NDArray[np.float64]
Values = NDArray[Any] | Metric

FORMS = "mean, sd, skew, kurtosis, p50, var99, es99 (digits after the point: es999 is 0.999)"


@dataclass(frozen=True)
class Functional:
    """A number that a law has: ``kind`` is mean, sd, skew, kurtosis, quantile, es or probability.

    ``level`` is that of a quantile or of ES; ES below one half is the mean of the lowest share. ``sign`` and
    ``threshold`` say of what the probability is.
    """

    kind: str
    level: float = math.nan
    sign: str = ""
    threshold: float = math.nan

    def of(self, values: NDArray[Any]) -> float:
        """Of plain values (paths,), one or more."""
        x = np.asarray(values, np.float64)
        if self.kind == "mean":
            return float(x.mean())
        if self.kind == "sd":
            return float(x.std(ddof=1)) if len(x) > 1 else math.nan
        if self.kind in ("skew", "kurtosis"):
            power = 3 if self.kind == "skew" else 4
            spread = float(x.std())
            return float((((x - x.mean()) / spread) ** power).mean()) if spread > 0 else math.nan
        if self.kind == "quantile":
            k = rank_of(self.level, len(x)) - 1
            return float(np.partition(x, k)[k])
        if self.kind == "es":
            return _shortfall(x, self.level)
        return float(self.holds(x).mean())

    def holds(self, x: Array) -> NDArray[np.bool_]:
        """By path, whether the event of a probability happened."""
        compare: dict[str, Any] = {
            ">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal,
        }  # fmt: skip
        held: NDArray[np.bool_] = compare[self.sign](x, self.threshold)
        return held

    def estimate(self, metric: Metric, level: float = LEVEL) -> Estimate:
        """The estimate from all paths of a run, with its interval."""
        if self.kind == "mean":
            return estimates.mean(metric, level)
        if self.kind == "sd":
            return estimates.sd(metric, level)
        if self.kind == "quantile":
            return estimates.quantile(metric, self.level, level)
        if self.kind == "es":
            return estimates.expected_shortfall(metric, self.level, level)
        if self.kind == "probability":
            return estimates.probability(metric, self.sign, self.threshold, level)
        value = metric.skew() if self.kind == "skew" else metric.kurtosis()
        return estimates.unknown(value, level, "given without an interval")

    def influence(self, values: NDArray[Any], metric: Metric | None = None) -> Array:
        """What each path adds to the estimate, times n (the influence function, Hampel 1974): (paths,).

        Its mean is about 0 and its variance over n that of the estimator; so the difference of two estimates on
        common paths has the variance of the difference of influences. The numbers it needs (mean, quantile,
        density) come from ``metric`` where given, else from the values.
        """
        x = np.asarray(values, np.float64)
        law: Values = x if metric is None else metric
        if self.kind == "mean":
            return x - _mean(law)
        if self.kind == "sd":
            centre, spread = _mean(law), _sd(law)
            return (
                ((x - centre) ** 2 - spread**2) / (2.0 * spread) if spread > 0 else np.zeros(len(x))
            )
        if self.kind == "quantile":
            slope = _slope(law, self.level)  # of the quantile function: one over the density
            below: Array = (x <= _rank(law, self.level)).astype(np.float64)
            return (self.level - below) * slope
        if self.kind == "es":
            return self._influence_of_shortfall(x, law)
        if self.kind == "probability":
            held = self.holds(x).astype(np.float64)
            share = held.mean() if metric is None else metric.probability(self.sign, self.threshold)
            return held - share
        raise ConfigError(
            [f"{self.kind}: has no standard error; ask for mean, sd, a quantile or ES"]
        )

    def _influence_of_shortfall(self, x: Array, law: Values) -> Array:
        q = _rank(law, self.level)
        if self.level >= 0.5:
            over, share = np.maximum(x - q, 0.0), 1.0 - self.level
        else:
            over, share = -np.maximum(q - x, 0.0), self.level
        value = (
            law.expected_shortfall(self.level)
            if isinstance(law, Metric)
            else _shortfall(law, self.level)
        )
        return q + over / share - value


def _mean(law: Values) -> float:
    return law.mean() if isinstance(law, Metric) else float(law.mean())


def _sd(law: Values) -> float:
    return law.sd() if isinstance(law, Metric) else float(law.std(ddof=1))


def _rank(law: Values, level: float) -> float:
    if isinstance(law, Metric):
        return law.quantile(level)
    k = rank_of(level, len(law)) - 1
    return float(np.partition(law, k)[k])


def _slope(law: Values, level: float) -> float:
    """dQ/dq, over as many standard errors of the rank as an interval of the quantile spans; 0 at an atom."""
    n = law.count if isinstance(law, Metric) else len(law)
    reach = 2.0 * math.sqrt(level * (1.0 - level) / n)
    low, high = max(level - reach, 0.5 / n), min(level + reach, 1.0 - 0.5 / n)
    return (_rank(law, high) - _rank(law, low)) / (high - low) if high > low else 0.0


def _shortfall(x: Array, level: float) -> float:
    """The mean of the worst 1 - level of values, the boundary value in part; of the lowest below one half."""
    upper = level >= 0.5
    wanted = len(x) * (1.0 - level if upper else level)
    whole = min(max(math.ceil(wanted), 1), len(x))
    signed = x if upper else -x
    worst = np.sort(np.partition(signed, len(x) - whole)[len(x) - whole :])
    part = wanted - (whole - 1)
    total = (float(worst[1:].sum()) + part * float(worst[0])) / wanted
    return total if upper else -total


# ---- as text
@dataclass(frozen=True)
class Quantity:
    """A functional of a metric, and how it was written."""

    metric: str
    functional: Functional
    text: str


_NAMED = re.compile(r"^(p|var|es)(\d{1,9})$")
_PROBABILITY = re.compile(r"^\s*(?P<metric>[\w.]+)\s*(?P<sign><=|>=|<|>)\s*(?P<threshold>\S+)\s*$")


def parse_functional(text: str) -> Functional | None:
    """``mean``, ``sd``, ``skew``, ``kurtosis``, ``p05``, ``var99``, ``es999``; None where it is none of them."""
    if text in ("mean", "sd", "skew", "kurtosis"):
        return Functional(text)
    found = _NAMED.match(text)
    level = float(f"0.{found[2]}") if found else 0.0
    if found is None or not 0.0 < level < 1.0:
        return None
    return Functional("es" if found[1] == "es" else "quantile", level)


def parse_quantity(text: str, names: Iterable[str]) -> Quantity:
    """``METRIC``, ``METRIC.es99``, ``METRIC > 200``. Raises ConfigError, with what would be right."""
    known = list(names)
    found = _PROBABILITY.match(text)
    if found is not None:
        metric, threshold = _known(found["metric"], known, text), found["threshold"]
        try:
            value = float(threshold)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ConfigError(
                [f"{shown(text)}: {shown(threshold)} is no number; should be like {metric} > 200"]
            )
        return Quantity(
            metric, Functional("probability", math.nan, found["sign"], value), text.strip()
        )
    name = text.strip()
    if name in known:
        return Quantity(name, Functional("mean"), name)
    metric, dot, last = name.rpartition(".")
    if metric in known:
        functional = parse_functional(last)
        if functional is None:
            raise ConfigError([f"{shown(text)}: {shown(last)} is no statistic; should be {FORMS}"])
        return Quantity(metric, functional, name)
    return Quantity(
        _known(metric if dot and parse_functional(last) else name, known, text),
        Functional("mean"),
        name,
    )


def _known(metric: str, names: list[str], text: str) -> str:
    if metric not in names:
        raise ConfigError(
            [f"{shown(text)}: metric {shown(metric)} is unknown{near(metric, names)}"]
        )
    return metric
