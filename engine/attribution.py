"""Attribution: how much of a metric's variance comes from which random streams.

Streams are drawn in two independent worlds, A and B. For a group of streams g, y_A and y_B are a path's values in
the two worlds, and y_Ag is that of world A with the draws of g from B; y_Bg the other way round. Then, with means
over paths (Jansen 1999; the four values together as in Azzini, Mara and Rosati 2021):

    total effect  T = E[(y_A - y_Ag)^2 + (y_B - y_Bg)^2] / E[(y_A - y_B)^2 + (y_Ag - y_Bg)^2]
    first order   S = 2 E[(y_A - y_Ag)(y_Bg - y_B)]      / E[(y_A - y_B)^2 + (y_Ag - y_Bg)^2]

T = E Var(Y | all but g) / Var Y is what of the variance goes when g becomes known last; S = Var E(Y | g) / Var Y
what goes when it becomes known first. S is 1 - E[(y_A - y_Bg)^2 + (y_B - y_Ag)^2] over the same denominator: two
worlds that share nothing but g. As a product of two effects its error falls with T, so small shares are seen too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .arguments import check_run
from .estimate import LEVEL, Estimate, unknown, z_of
from .functionals import Quantity, parse_quantity
from .metric import Metric
from .redraw import Group, Redrawn, groups_by, streams_of, usual_groups
from .runner import Progress
from .scenario import Scenario
from .simulate import Plan, as_economy, plan
from .statistics import BLOCK, Statistics
from .system import Economy, System
from .validate import ConfigError

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

HEADLINE = ("private_credit.loss", "rental.hopper", "revenue.rate")
"""What is attributed where nothing is asked for: those of them that the model has."""
PATHS = 1 << 14
"""Of each run, where nothing is asked for: shares of the headline metrics within a point."""
LAUNCH = 1 << 13
"""Paths of a launch, each in all worlds."""
RARE = 30
"""Fewer paths than this, and what they say of a share is widened by the rule of three."""
FEWEST = 100
"""Paths, at least: below, an interval by the central limit theorem says nothing."""


# ---- what is found
@dataclass(frozen=True)
class Share:
    """A group's shares of the variance: ``first`` alone (S), and ``total`` with all that it interacts in (T)."""

    group: Group
    first: Estimate
    total: Estimate


@dataclass(frozen=True)
class Split:
    """The variance of one quantity by groups, the largest total effect first.

    ``sd`` is the metric's over paths; where the quantity is no mean, that of ``Functional.influence``. Either way
    sd^2 / n is the variance of the estimator from n paths, and that is what is split. ``paths`` were finite in
    all worlds. ``interaction`` is 1 - sum S: what no group explains alone. Without variance the shares are NaN.
    """

    quantity: Quantity
    unit: str
    paths: int
    sd: float
    shares: tuple[Share, ...]
    firsts: Estimate
    interaction: Estimate


@dataclass
class Attribution:
    """Splits in the order asked for. ``bad`` counts paths that were not finite in some world: they are left out."""

    name: str
    splits: list[Split]
    groups: list[Group]
    path_count: int
    bad: int
    runs: int
    seed: int
    months: int
    backend: str
    dtype: str
    seconds: dict[str, float] = field(default_factory=dict)
    stamp: dict[str, str] = field(default_factory=dict)
    passed_over: list[str] = field(default_factory=list)

    def split(self, text: str) -> Split:
        """The split of a quantity, as it was written."""
        return next(s for s in self.splits if s.quantity.text == text)

    def rows(self) -> list[dict[str, Any]]:
        """A flat row for each quantity and group, the largest total effect first."""
        return [
            {
                "metric": split.quantity.text,
                "group": s.group.name,
                "streams": list(s.group.streams),
                "meaning": s.group.meaning,
                **_flat("first", s.first),
                **_flat("total", s.total),
            }
            for split in self.splits
            for s in split.shares
        ]

    def frame(self) -> pd.DataFrame:
        """``rows`` as a table, indexed by metric and group."""
        import pandas as pd

        return pd.DataFrame(self.rows()).set_index(["metric", "group"])

    def as_json(self) -> dict[str, Any]:
        """What ``--format json`` prints."""
        return {
            "scenario": self.name,
            "paths": self.path_count,
            "bad_paths": self.bad,
            "runs": self.runs,
            "seed": self.seed,
            "months": self.months,
            "backend": self.backend,
            "dtype": self.dtype,
            "seconds": {k: round(v, 4) for k, v in self.seconds.items()},
            "metrics": [
                {
                    "metric": s.quantity.text,
                    "unit": s.unit,
                    "sd": _plain(s.sd),
                    **_flat("sum_first", s.firsts),
                    **_flat("interaction", s.interaction),
                }
                for s in self.splits
            ],
            "shares": self.rows(),
        }


def _flat(name: str, e: Estimate) -> dict[str, float | None]:
    return {name: _plain(e.value), f"{name}_low": _plain(e.low), f"{name}_high": _plain(e.high)}


def _plain(x: float) -> float | None:
    return x if math.isfinite(x) else None


# ---- the run
def attribute(
    model: Scenario | Economy | System,
    metrics: Sequence[str] = (),
    paths: int = PATHS,
    seed: int = 0,
    backend: str = "auto",
    dtype: str = "float32",
    progress: Progress | None = None,
    *,
    months: int | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    level: float = LEVEL,
) -> Attribution:
    """Split the variance of metrics, or of quantities such as ``private_credit.loss.es99``, by groups of streams.

    ``groups``: globs of streams by name, what is left being ``other``; without it, the groups of ``redraw.GROUPS``.
    ``paths`` are run 2 G + 2 times for G groups, once more where a quantity is no mean.
    ``progress(done, total, seconds)`` counts paths over all runs. Raises ConfigError, BackendError, TraceError.
    """
    economy = as_economy(model)
    horizon = economy.months if months is None else months
    check_run(paths, seed, horizon, dtype, backend)
    if paths < FEWEST:
        raise ConfigError([f"paths = {paths}: should be {FEWEST} at least, for an interval"])
    quantities = asked(economy, metrics)
    streams = streams_of(economy)
    if not streams:
        raise ConfigError([f"{economy.name}: draws nothing; there is no variance to attribute"])
    found = usual_groups(streams) if groups is None else groups_by(groups, streams)
    redrawn = Redrawn(economy, found, list(dict.fromkeys(q.metric for q in quantities)))
    made = plan(redrawn, backend, dtype, horizon)
    worlds = _Worlds(made, redrawn, seed, paths, progress)
    sums = _Sums(len(quantities), len(found))
    start = time.perf_counter()
    references = worlds.references(quantities)
    for values in worlds.blocks():
        for k, q in enumerate(quantities):
            table = values[:, redrawn.metrics.index(q.metric)].astype(np.float64)
            if q in references:
                table = np.stack([q.functional.influence(row, references[q]) for row in table])
            sums.add(k, table)
    made.seconds["simulate"] = time.perf_counter() - start
    splits = [sums.split(k, q, _unit(economy, q), found, level) for k, q in enumerate(quantities)]
    return Attribution(
        name=economy.name,
        splits=splits,
        groups=found,
        path_count=paths,
        bad=worlds.bad,
        runs=worlds.runs,
        seed=seed,
        months=horizon,
        backend=made.backend,
        dtype=dtype,
        seconds=made.seconds,
        stamp=made.kernel.stamp,
        passed_over=made.passed_over,
    )


def asked(economy: Economy, texts: Sequence[str]) -> list[Quantity]:
    """The quantities; ConfigError with all that is wrong with them."""
    if not texts:
        texts = [m for m in HEADLINE if m in economy.metrics] or list(economy.metrics[:1])
    found, problems = [], []
    for text in dict.fromkeys(texts):
        try:
            quantity = parse_quantity(text, economy.metrics)
        except ConfigError as error:
            problems += error.problems
            continue
        if quantity.functional.kind in ("skew", "kurtosis"):
            problems.append(
                f"{text}: {quantity.functional.kind} has no variance by path; should be a mean, sd, a quantile, "
                "ES or a probability"
            )
        found.append(quantity)
    if not (found or problems):
        problems.append(f"{economy.name}: has no metric to attribute")
    if problems:
        raise ConfigError(problems)
    return found


def _unit(economy: Economy, quantity: Quantity) -> str:
    return "1" if quantity.functional.kind == "probability" else economy.unit(quantity.metric)


class _Worlds:
    """Blocks of paths in all worlds: A, B, then for each group A with its draws from B, and B with those of A."""

    def __init__(
        self, made: Plan, economy: Redrawn, seed: int, paths: int, progress: Progress | None
    ) -> None:
        names = [g.name for g in economy.groups]
        self.plan, self.seed, self.paths, self.progress = made, seed, paths, progress
        self.economies = [economy, economy.with_redrawn(names)]
        for g in names:
            self.economies.append(economy.with_redrawn([g]))
            self.economies.append(economy.with_redrawn([n for n in names if n != g]))
        self.runs = len(self.economies)
        self.bad = 0
        self._done = 0
        self._began = time.perf_counter()

    def _ranges(self, size: int) -> Iterator[tuple[int, int]]:
        return ((at, min(size, self.paths - at)) for at in range(0, self.paths, size))

    def _tell(self, paths: int) -> None:
        self._done += paths
        if self.progress is not None:
            total = self.runs * self.paths
            self.progress(self._done, total, time.perf_counter() - self._began)

    def references(self, quantities: Sequence[Quantity]) -> dict[Quantity, Metric]:
        """The laws in world A that the influences of what is no mean are taken at; a run of its own."""
        other = [q for q in quantities if q.functional.kind != "mean"]
        if not other:
            return {}
        self.runs += 1
        metrics = self.economies[0].metrics
        statistics = Statistics(metrics)
        for number, (first, count) in enumerate(self._ranges(BLOCK)):
            output = self.plan.run(self.seed, first, count)
            statistics.add(number, output.metrics, output.bad)
            self._tell(count)
        return {q: statistics.metric(q.metric) for q in other}

    def blocks(self) -> Iterator[NDArray[Any]]:
        """(worlds, metrics, paths) of a block, without the paths that were not finite in some world."""
        for first, count in self._ranges(LAUNCH):
            outputs = self.plan.run_many(self.economies, self.seed, first, count)
            good: Any = np.all([o.bad == 0 for o in outputs], axis=0)
            self.bad += count - int(np.count_nonzero(good))
            self._tell(count * len(outputs))
            yield np.stack([o.metrics for o in outputs])[:, :, good]


class _Sums:
    """Sums over paths of the terms of all ratios, and of their products: what estimates and their errors need.

    Each quantity has three terms for each group: the numerators of S and of T, and the denominator. ``seen`` counts
    the paths that say that a share is not 0, (S and T, groups), and those that say that it is not 1.
    """

    def __init__(self, quantities: int, groups: int) -> None:
        self.groups = groups
        self.first = np.zeros((quantities, 3 * groups))
        self.second = np.zeros((quantities, 3 * groups, 3 * groups))
        self.seen = np.zeros((quantities, 2, 2, groups), np.int64)
        self.count = np.zeros(quantities, np.int64)

    def add(self, k: int, worlds: Array) -> None:
        """Values of a quantity, (worlds, paths), in the order of ``_Worlds``."""
        a, b = worlds[0], worlds[1]
        with_b, with_a = worlds[2::2], worlds[3::2]  # A with a group of B, B with the group of A
        on_a, on_b = a - with_b, with_a - b  # what the same change of draws does in either world
        whole = (a - b) ** 2 + (with_a - with_b) ** 2
        parts = np.stack([2.0 * on_a * on_b, on_a**2 + on_b**2])
        terms = np.concatenate([*parts, whole])
        self.first[k] += terms.sum(axis=1)
        self.second[k] += terms @ terms.T
        self.seen[k] += np.count_nonzero([parts, whole - parts], axis=-1)
        self.count[k] += terms.shape[1]

    def split(
        self, k: int, quantity: Quantity, unit: str, groups: list[Group], level: float
    ) -> Split:
        """The shares of a quantity, with their intervals."""
        n = int(self.count[k])
        bottom = self.first[k][2 * self.groups :] / max(n, 1)
        varies = n > 1 and bool((bottom > 0).all())
        shares: list[Share] = []
        if varies:
            for i, g in enumerate(groups):
                first, total = (self._share(k, kind, [i], level) for kind in (0, 1))
                if self.seen[k][0, 0, i] < RARE:  # S is part of T, which more paths speak of
                    first = replace(first, high=min(first.high, total.high))
                shares.append(Share(g, first, total))
            firsts = self._share(k, 0, range(self.groups), level)
        else:
            firsts = unknown(math.nan, level, "does not vary")
            shares = [Share(g, firsts, firsts) for g in groups]
        rest = replace(
            firsts, value=1.0 - firsts.value, low=1.0 - firsts.high, high=1.0 - firsts.low
        )
        return Split(
            quantity=quantity,
            unit=unit,
            paths=n,
            sd=math.sqrt(float(bottom.mean()) / 4.0),
            shares=tuple(sorted(shares, key=lambda s: -s.total.value if varies else 0.0)),
            firsts=firsts,
            interaction=rest,
        )

    def _share(self, k: int, kind: int, of: Sequence[int], level: float) -> Estimate:
        """The sum over the groups ``of`` of S (kind 0) or T (kind 1), by the delta method."""
        n, size = int(self.count[k]), self.groups
        means = self.first[k] / n
        value, slope = 0.0, np.zeros(3 * size)
        for g in of:
            top, bottom = float(means[kind * size + g]), float(means[2 * size + g])
            slope[kind * size + g] = 1.0 / bottom
            slope[2 * size + g] -= top / bottom**2
            value += top / bottom
        # the slope's terms have mean 0: their second moment is their variance
        se = math.sqrt(max(float(slope @ self.second[k] @ slope), 0.0)) / n
        low, high = _interval(value, se, level, positive=kind == 1)
        # where hardly a path says that a share is not 0, or not 1, its spread says little about its error
        rare = self._rare(k)
        seen, moved = self.seen[k][:, kind, list(of)], self.seen[k][0, 1, list(of)]
        if ((seen[0] < RARE) & ((moved > 0) | (len(of) == 1))).any():
            low, high = min(low, value - rare), max(high, value + rare)
        if len(of) == 1 and seen[1, 0] < RARE:
            low = min(low, value - rare)
        return Estimate(value, max(low, 0.0), min(high, 1.0), se, level, "delta method")

    def _rare(self, k: int) -> float:
        """The largest share that may be behind no path at all: the rule of three, for paths that weigh as those
        do that the variance is made of."""
        n, size = int(self.count[k]), self.groups
        whole = self.first[k][2 * size :] / n
        squares = np.diagonal(self.second[k])[2 * size :] / n
        return min(3.0 / n * float((squares / whole**2).max()), 1.0)


def _interval(value: float, se: float, level: float, positive: bool) -> tuple[float, float]:
    """Of a share that cannot be 0 through its log odds, which keeps it between 0 and 1; else symmetric."""
    z = z_of(level)
    if positive and 0.0 < value < 1.0:
        odds = value / (1.0 - value)
        factor = math.exp(min(z * se / (value * (1.0 - value)), 700.0))
        return odds / (factor + odds), odds * factor / (1.0 + odds * factor)
    return value - z * se, value + z * se
