"""Stories: the worst and the median path of a run, told month by month."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..replay import Replayer, replayer
from ..result import Result
from ..story import story
from ..validate import ConfigError, near, shown
from .source import backend_here

if TYPE_CHECKING:
    import pandas as pd

LOSS = "private_credit.loss"


def headline(result: Result) -> str:
    """The metric that a report is about: the private-credit book's loss, else the first metric of a currency, else the
    first."""
    names = list(result.statistics.names)
    if LOSS in names or not names:
        return LOSS
    money = [n for n in names if result.units.get(n, "").startswith("USD")]
    return (money or names)[0]


def worst(result: Result, metric: str) -> int:
    """The path with the largest value; of equal ones the lowest. Raises ConfigError where no path stayed finite."""
    upper, _ = result.statistics.tails[_known(result, metric)]
    _, paths = upper.found()
    if not len(paths):
        raise ConfigError([f"{result.name}: no path had a state that stayed finite"])
    return int(paths[0])


def middle(result: Result, metric: str) -> int:
    """Of the run's random sample of paths, the one whose value is nearest to the run's median; of equal ones the
    lowest. Raises ConfigError where no path stayed finite."""
    sample = result.statistics.sample
    values = sample.values[result.statistics.names.index(_known(result, metric))]
    if not len(values):
        raise ConfigError([f"{result.name}: no path had a state that stayed finite"])
    median = result.statistics.metric(metric).quantile(0.5)
    return int(sample.paths[np.argmin(np.abs(values.astype(np.float64) - median))])


def _known(result: Result, metric: str) -> str:
    names = list(result.statistics.names)
    if metric not in names:
        raise ConfigError([f"metric {shown(metric)}: unknown{near(metric, names)}"])
    return metric


def stories(result: Result, metric: str | None = None) -> pd.DataFrame:
    """which, path, month, date, system, text: what happened on the path that is worst by the metric, and on one that is
    median (see ``worst``, ``middle``, ``headline``); only the first where they are the same path.

    Month 0 is before the first, and systems are also "start" and "end" (see story). Raises ConfigError as those do, and
    where the run has no config.
    """
    metric = metric or headline(result)
    chosen = {f"worst by {metric}": worst(result, metric)}
    if (path := middle(result, metric)) not in chosen.values():
        chosen[f"median by {metric}"] = path
    made = replayer(result, backend=backend_here(result))
    return _told(made, chosen)


def _told(made: Replayer, chosen: dict[str, int]) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for which, path in chosen.items():
        replayed = made.path(path)
        rows += [
            {"which": which, "path": path, "month": e.month, "date": replayed.date(e.month),
             "system": e.system, "text": e.text}
            for e in story(replayed)
        ]  # fmt: skip
    return pd.DataFrame(rows)
