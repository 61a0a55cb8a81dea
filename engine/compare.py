"""Two runs side by side: what moved, what is the same within a margin, and what is too noisy to say.

Every row has an interval of its difference; together they hold the truth with probability ``level`` (Bonferroni
1936), so every verdict that follows from them is then right. Rows on which no path differs are no
statements about chance, and take no part of that probability.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np

from .compare_config import Change, changes
from .compare_intervals import Difference, difference
from .compare_pairs import Pairing, Sides, pair
from .estimate import LEVEL
from .functionals import Functional, parse_functional
from .metric import Metric
from .result import Result
from .validate import ConfigError, near, shown

if TYPE_CHECKING:
    import pandas as pd

STATISTICS = ("mean", "p50", "p99", "es99")
MARGIN = 0.01
VERDICTS = ("moved", "unclear", "equivalent", "equal")
_YES = Functional("probability", math.nan, ">", 0.5)  # of a metric that is 0 or 1: its mean


# ---- what is found
@dataclass(frozen=True)
class Row:
    """A statistic of a metric in A and B. ``low`` and ``high`` bound B - A, together with all other rows.

    ``verdict``: ``equal`` where no path differs; ``equivalent`` where the bounds are within the margin;
    ``moved`` where they leave out 0, ``beyond`` then says whether also the whole margin; else ``unclear``, and
    ``needed`` is about how many paths a run would take to say, infinite where that cannot be told.
    """

    metric: str
    statistic: str
    unit: str
    a: float
    b: float
    low: float
    high: float
    margin: float
    verdict: str
    beyond: bool
    needed: float
    how: str

    @property
    def difference(self) -> float:
        return self.b - self.a

    @property
    def half(self) -> float:
        """The longer arm of the interval."""
        reach = max(self.high - self.difference, self.difference - self.low)
        return reach if math.isfinite(reach) else math.inf

    @property
    def relative(self) -> float:
        """The difference as a share of A's value; NaN where that is 0."""
        return self.difference / abs(self.a) if self.a else math.nan

    def as_json(self) -> dict[str, Any]:
        found = asdict(self) | {"difference": self.difference, "relative": self.relative}
        return {
            k: v if not isinstance(v, float) or math.isfinite(v) else None for k, v in found.items()
        }


@dataclass(frozen=True)
class Comparison:
    """All rows in the order of the metrics, how the runs are paired, and what else differs between them.

    ``judged`` rows share the error 1 - level; ``only_a`` and ``only_b`` are metrics that the other lacks.
    """

    a: Result
    b: Result
    rows: list[Row]
    level: float
    margin: float
    absolute: dict[str, float]
    judged: int
    pairing: Pairing
    only_a: list[str]
    only_b: list[str]
    changes: list[Change]

    def having(self, verdict: str) -> list[Row]:
        return [r for r in self.rows if r.verdict == verdict]

    @property
    def counts(self) -> dict[str, int]:
        return {v: len(self.having(v)) for v in VERDICTS}

    def frame(self) -> pd.DataFrame:
        """The rows as a table, indexed by metric and statistic."""
        import pandas as pd

        return pd.DataFrame([r.as_json() for r in self.rows]).set_index(["metric", "statistic"])

    def as_json(self) -> dict[str, Any]:
        """What ``--format json`` prints."""
        p = self.pairing
        return {
            "a": _run(self.a),
            "b": _run(self.b),
            "common_paths": p.common,
            "sampled_pairs": p.sampled,
            "level": self.level,
            "margin": self.margin,
            "absolute_margins": self.absolute,
            "judged": self.judged,
            "verdicts": self.counts,
            "only_a": self.only_a,
            "only_b": self.only_b,
            "differs": [asdict(c) for c in self.changes],
            "rows": [r.as_json() for r in self.rows],
        }


def _run(r: Result) -> dict[str, Any]:
    return {
        "scenario": r.name,
        "folder": str(r.folder) if r.folder else None,
        "paths": r.path_count,
        "seed": r.seed,
        "months": r.months,
        "backend": r.backend,
        "dtype": r.dtype,
        "digest": r.digest,
        "bad_paths": r.bad_count,
    }


# ---- what is asked
def check(
    a: Mapping[str, str],
    b: Mapping[str, str],
    *,
    margin: float = MARGIN,
    absolute: Mapping[str, float] | None = None,
    level: float = LEVEL,
    stats: Sequence[str] = STATISTICS,
    metrics: Sequence[str] = ("*",),
) -> list[str]:
    """The metrics to compare, of two runs whose metrics have these units.

    Raises ConfigError with everything that is wrong with what is asked, and where a unit differs.
    """
    problems = []
    if not 0.0 <= margin < math.inf:
        problems.append(f"margin = {margin!r}: should be 0 or above, such as 0.01 for 1%")
    units = list(dict.fromkeys([*a.values(), *b.values()]))
    for unit, size in (absolute or {}).items():
        if unit not in units:
            problems.append(f"margin of {shown(unit)}: no metric has that unit{near(unit, units)}")
        if not 0.0 <= size < math.inf:
            problems.append(f"margin of {shown(unit)} = {size!r}: should be 0 or above")
    if not 0.5 <= level < 1.0:
        problems.append(f"level = {level!r}: should be from 0.5 to below 1, such as 0.95")
    for text in stats:
        found = parse_functional(text)
        if found is None or found.kind in ("skew", "kurtosis"):
            problems.append(
                f"statistic {shown(text)}: should be one with an interval: mean, sd, p50, var99, es99"
            )
    if not stats:
        problems.append("statistics: none; should name at least one, such as mean")
    names = [name for name in a if name in b]
    if not names:
        problems.append("A and B: have no metric in common; should be runs of like models")
    known = list(dict.fromkeys([*a, *b]))
    problems += [
        f"metric {shown(glob)}: unknown{near(glob, known)}"
        for glob in metrics
        if not any(fnmatchcase(name, glob) for name in known)
    ]
    wanted = [n for n in names if any(fnmatchcase(n, glob) for glob in metrics)]
    problems += [
        f"{n}: is in {shown(a[n])} in A and in {shown(b[n])} in B; units should be the same"
        for n in wanted
        if a[n] != b[n]
    ]
    if names and not wanted and not problems:
        problems.append(f"metrics {', '.join(metrics)}: only one of A and B has them")
    if problems:
        raise ConfigError(problems)
    return wanted


def units_of(r: Result) -> dict[str, str]:
    """The unit of each metric of a run."""
    return {name: r.units[name] for name in r.statistics.names}


# ---- the comparison
def compare(
    a: Result,
    b: Result,
    *,
    margin: float = MARGIN,
    absolute: Mapping[str, float] | None = None,
    level: float = LEVEL,
    stats: Sequence[str] = STATISTICS,
    metrics: Sequence[str] = ("*",),
) -> Comparison:
    """Compare what two runs found. Runs of one seed are on common random numbers and are compared path by path.

    ``margin`` is what counts as the same, relative to A's value; ``absolute`` raises it for metrics of a
    unit, as {"USD bn": 0.1}, which values near 0 need. ``metrics`` are names or globs. Also compared are
    the probabilities that both runs counted. Of a metric that is 0 or 1 only the mean is: the rest
    follows from it. Raises ConfigError for bad arguments and for units that differ.
    """
    wanted = check(
        units_of(a), units_of(b), margin=margin, absolute=absolute, level=level, stats=stats,
        metrics=metrics,
    )  # fmt: skip
    stats = tuple(dict.fromkeys(stats))
    pairing = pair(a.statistics, b.statistics, a.seed == b.seed)
    asked: list[tuple[str, str, Functional]] = []
    sides = {name: _sides(a, b, name, pairing) for name in wanted}
    for name in wanted:
        asked += [(name, text, f) for text, f in _of(a, b, sides[name], name, stats)]
    same = {name: _equal(a, b, sides[name], name) for name in wanted}
    judged = sum(not same[name] for name, _, _ in asked)
    rows = []
    for name, text, f in asked:
        if same[name]:
            found = _no_difference(f, sides[name])
        else:
            found = difference(f, sides[name], (1.0 - level) / judged)
        allowed = max(margin * abs(found.a), (absolute or {}).get(a.units[name], 0.0))
        paths = min(s.count for s in (sides[name].a, sides[name].b))
        rows.append(_row(name, text, a.units[name], found, allowed, same[name], paths))
    return Comparison(
        a, b, rows, level, margin, dict(absolute or {}), judged, pairing,
        [n for n in a.statistics.names if n not in b.statistics.names],
        [n for n in b.statistics.names if n not in a.statistics.names],
        changes(a, b),
    )  # fmt: skip


def _sides(a: Result, b: Result, name: str, pairing: Pairing) -> Sides:
    x, y = (
        r.statistics.sample.values[r.statistics.names.index(name)].astype(np.float64)
        for r in (a, b)
    )
    return Sides(a.statistics.metric(name), b.statistics.metric(name), x, y, pairing)


def _of(
    a: Result, b: Result, sides: Sides, name: str, stats: Iterable[str]
) -> list[tuple[str, Functional]]:
    """What is compared of a metric, as text and as a functional."""
    found: list[tuple[str, Functional]] = []
    if _zero_or_one(sides.a) and _zero_or_one(sides.b):
        found += [("mean", _YES)] if "mean" in stats else []
    else:
        for text in stats:
            f = parse_functional(text)
            assert f is not None, text  # checked
            found.append((text, f))
    events = [e for e in a.statistics.events if e in b.statistics.events and e[0] == name]
    return found + [
        (f"{sign} {t:g}", Functional("probability", math.nan, sign, t)) for _, sign, t in events
    ]


def _zero_or_one(m: Metric) -> bool:
    ends = np.concatenate([m.histogram.least, m.histogram.most])
    return bool(len(ends)) and bool(np.isin(ends, (0.0, 1.0)).all())


def _equal(a: Result, b: Result, sides: Sides, name: str) -> bool:
    """Whether no path of the two runs differs in this metric.

    Where the samples are not the runs: if their digests are equal; or all that is kept of them, which is
    exact sums of four powers, every count of the histograms, the extreme values with their paths, the sample.
    """
    m, n = sides.a, sides.b
    constant = [float(s.histogram.least[0]) for s in (m, n) if _constant(s)]
    if len(constant) == 2:
        return constant[0] == constant[1]
    p = sides.pairing
    if not p.same:
        return False
    if a.statistics.names == b.statistics.names and a.digest == b.digest:
        return True
    x, y = sides.paired(sides.x, sides.y)
    if not np.array_equal(x, y) or p.complete:
        return p.complete and np.array_equal(x, y)
    return m.moments == n.moments and _kept(m, n)


def _constant(m: Metric) -> bool:
    h = m.histogram
    return len(h.keys) == 1 and bool(h.least[0] == h.most[0])


def _kept(m: Metric, n: Metric) -> bool:
    """Whether histograms and extreme values, with their paths, are the same."""
    pairs = [
        (getattr(m.histogram, k), getattr(n.histogram, k))
        for k in ("keys", "count", "least", "most")
    ]
    if m.tails is not None and n.tails is not None:
        pairs += [*zip(m.tails.upper, n.tails.upper, strict=True)]
        pairs += [*zip(m.tails.lower, n.tails.lower, strict=True)]
    return all(np.array_equal(u, v) for u, v in pairs)


def _row(
    name: str, text: str, unit: str, d: Difference, margin: float, same: bool, paths: int
) -> Row:
    said = "equal" if same else verdict(d.low, d.high, margin)
    beyond = said == "moved" and (d.low > margin or d.high < -margin)
    missing = needed(d, margin, paths) if said == "unclear" else 0.0
    return Row(name, text, unit, d.a, d.b, d.low, d.high, margin, said, beyond, missing, d.how)


def _no_difference(f: Functional, sides: Sides) -> Difference:
    value = f.estimate(sides.a).value
    return Difference(value, value, 0.0, 0.0, "no path differs")


def verdict(low: float, high: float, margin: float) -> str:
    """What an interval of the difference says: ``equivalent``, ``moved`` or ``unclear``."""
    if -margin <= low and high <= margin:
        return "equivalent"
    return "moved" if low > 0.0 or high < 0.0 else "unclear"


def needed(d: Difference, margin: float, paths: int) -> float:
    """About how many paths would decide: the interval shrinks with their square root, its centre stays.

    As it stands the difference would be found to have moved, or be within the margin; whichever comes first.
    """
    reach = max(d.high - d.value, d.value - d.low)
    room = max(abs(d.value), margin - abs(d.value))
    if not (math.isfinite(reach) and room > 0.0):
        return math.inf
    return paths * max((reach / room) ** 2, 1.0)
