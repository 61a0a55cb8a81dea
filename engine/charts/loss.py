"""The distribution of a metric after the last month, with VaR and ES, and its tail on a log axis.

Made of what the run stored: the histogram, whose bins are 1/2048 of an octave wide, and the extreme values, which are
exact. So it is the same for a run that was just simulated and one that was loaded.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..histogram import rank_of
from ..metric import Metric
from ..proportions import wilson
from ..validate import ConfigError, near, shown
from . import words
from .figure import Figure
from .loss_view import RAREST, WHOLE, Shown, bars_view, tail_view
from .states import states

if TYPE_CHECKING:
    import pandas as pd

    from ..result import Result

_BINS = 44
_POINTS = 160
_SPIKE = 0.02
"""Where more than this share of the paths ends at exactly 0, they are told apart from the bars."""


def loss(result: Result, metric: str = "private_credit.loss") -> Figure:
    """How a metric is distributed, VaR and ES marked; and beside it how rare its bad end is, on a log axis.

    The bad end of prices, revenue and growth is the lower one: VaR and ES at 1 %. A metric of states (0 or 1)
    has their shares. Raises ConfigError for what is no metric.
    """
    import altair as alt

    found = _metric(result, metric)
    if words.states_of(result.units.get(metric, "")):
        return states(result, metric)
    made = shown_of(result, metric, found)
    return Figure(
        name=words.stem("loss", metric),
        title=words.question(metric, "end"),
        caption=words.about(result, metric) + _caption(found.count, made),
        source=words.source([result]),
        data=_for_people(made, metric),
        chart=alt.concat(bars_view(made), tail_view(made), columns=2, spacing=20),
    )


def shown_of(result: Result, metric: str, found: Metric) -> Shown:
    """Everything that is drawn of it."""
    upper = not metric.startswith(words.LOW_IS_BAD)
    digits = "99" if upper else "01"
    bars, spike = histogram(found)
    h = found.histogram
    return Shown(
        unit=words.unit_of(result, metric),
        doc=result.docs.get(metric, ""),
        upper=upper,
        mean=result.estimate(metric),
        var=result.estimate(f"{metric}.p{digits}"),
        es=result.estimate(f"{metric}.es{digits}"),
        bars=bars,
        spike=spike,
        tail=exceedance(found, upper),
        flat=not len(h.keys) or bool(h.least[0] == h.most[-1]),
    )


def _metric(result: Result, name: str) -> Metric:
    known = list(result.statistics.names)
    if name not in known:
        hint = near(name, known, listed=len(known) <= 8)
        raise ConfigError([f"{shown(name)}: is no metric of {result.name}{hint}"])
    return result.statistics.metric(name)


# ---- what is drawn
def histogram(m: Metric) -> tuple[pd.DataFrame, float]:
    """Bars: from, to, share of the paths; and the share of paths at exactly 0, where they have no bar (0: they have).

    Few distinct values have a bar each. Else steps of a round width reach over all but one path in a thousand at
    either end; shares are of all paths. What a bin of the stored histogram holds is counted where its middle lies.
    """
    import pandas as pd

    h, n = m.histogram, m.count
    if not n:
        return pd.DataFrame(columns=["from", "to", "share"], dtype=float), 0.0
    single = bool((h.least == h.most).all())
    if single and len(h.keys) <= WHOLE:
        return pd.DataFrame({"from": h.least, "to": h.most, "share": h.count / n}), 0.0
    middle, count = 0.5 * h.least + 0.5 * h.most, h.count
    zero = (h.least == 0.0) & (h.most == 0.0)
    spike = float(count[zero].sum()) / n
    if spike > _SPIKE:
        middle, count = middle[~zero], count[~zero]
    edges = steps(*_reach(middle, count))
    inside, _ = np.histogram(middle, edges, weights=count)
    bars = pd.DataFrame({"from": edges[:-1], "to": edges[1:], "share": inside / n})
    return bars, spike if spike > _SPIKE else 0.0


def _reach(values: NDArray[np.float64], count: NDArray[np.int64]) -> tuple[float, float]:
    """From the 0.1 % to the 99.9 % point of values in ascending order."""
    upto = np.cumsum(count)
    total = int(upto[-1])
    at = [int(np.searchsorted(upto, rank_of(q, total))) for q in (0.001, 0.999)]
    return float(values[at[0]]), float(values[at[1]])


def steps(low: float, high: float) -> NDArray[np.float64]:
    """Edges of bins of a round width (1, 2, 2.5 or 5 times a power of ten) that hold low and high."""
    if not low < high:
        room = abs(low) * 0.05 or 0.5
        low, high = low - room, high + room
    # steps that floats of this size can tell apart
    raw = max((high - low) / _BINS, 8.0 * float(np.spacing(max(abs(low), abs(high)))))
    power = 10.0 ** math.floor(math.log10(raw))
    width = next((k * power for k in (1.0, 2.0, 2.5, 5.0) if k * power >= raw), 10.0 * power)
    first, last = math.floor(low / width), math.floor(high / width) + 1
    edges: NDArray[np.float64] = np.arange(first, last + 1).astype(np.float64) * width
    return edges


def exceedance(m: Metric, upper: bool = True) -> pd.DataFrame:
    """By value: the share of paths with so much or more (of a lower tail: so little or less), and its 95 % interval.

    Down to 1 in 100,000, or to the rarest path. Exact as far as the stored extremes reach.
    """
    import pandas as pd

    n = m.count
    rows = []
    if n:
        rarest = max(1.0 / n, RAREST)
        shares = np.geomspace(1.0, rarest, _POINTS) if n > 1 else np.ones(1)
        ranks = np.unique(np.clip(np.round(shares * n), 1, n).astype(np.int64))
        values = np.unique([m.rank(int(n - k + 1) if upper else int(k)) for k in ranks])
        for x in values:
            share = m.probability(">=" if upper else "<=", float(x))
            low, high = wilson(round(share * n), n)
            rows.append((float(x), share, low, high))
    table = pd.DataFrame(rows, columns=["value", "share", "low", "high"], dtype=float)
    return table[table["share"] > 0.0].reset_index(drop=True)


# ---- words
def _caption(count: int, s: Shown) -> str:
    if not count:
        return "No path has a finite value."
    if s.flat:
        value = s.mean.value
        if count == 1:
            return f"The only path ends at {s.unit.say(value)}."
        if value == 0.0:
            return f"No losses on any of {count:,} paths."
        return f"All {count:,} paths end at {s.unit.say(value)}."
    var, es = s.names
    zero = (
        f" {words.probability(s.spike)} of paths end at exactly 0 and have no bar."
        if s.spike
        else ""
    )
    return (
        f"Mean {words.interval(s.mean, s.unit)}. {var}, {'exceeded' if s.upper else 'undercut'} on one path in a "
        f"hundred: {words.interval(s.var, s.unit)}. {es}, the mean of the {'worst' if s.upper else 'lowest'} 1 % of "
        f"paths: {words.interval(s.es, s.unit)}.{zero} Right: how rare each value is; band: 95 % interval (Wilson)."
    )


def _for_people(s: Shown, metric: str) -> pd.DataFrame:
    """One table of all: what a row is of stands in ``part``. Values are in ``unit``, shares are shares."""
    import pandas as pd

    parts = [s.bars.rename(columns={"share": "share of paths"}).assign(part="bars")]
    if s.spike:
        row = {"from": [0.0], "to": [0.0], "share of paths": [s.spike]}
        parts.append(pd.DataFrame(row).assign(part="at exactly 0"))
    columns = {"share": "share of paths", "low": "share, low 95 %", "high": "share, high 95 %"}
    which = f"paths with this or {'more' if s.upper else 'less'}"
    parts.append(s.tail.rename(columns=columns).assign(part=which))
    for e, name in s.marks:
        row = {"value": [e.value], "low 95 %": [e.low], "high 95 %": [e.high]}
        parts.append(pd.DataFrame(row).assign(part=name))
    full = [p for p in parts if len(p)] or [parts[0]]
    made = pd.concat(full, ignore_index=True)
    made.insert(0, "unit", s.unit.name)
    made.insert(0, "metric", metric)
    made.insert(0, "part", made.pop("part"))
    return made
