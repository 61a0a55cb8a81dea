"""A run's result: tables of metrics and series, per-path values on request, saved and loaded."""

from __future__ import annotations

import math
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .convergence import Drift, drifts
from .estimate import Estimate
from .functionals import FORMS, Functional, parse_functional, parse_quantity
from .limits import Verdict, judge, limits_of
from .path_ranges import Range, ranges_of
from .series import Rows
from .statistics import Statistics
from .validate import ConfigError, shown

if TYPE_CHECKING:
    import pandas as pd

    from .charts.accessor import Plot
    from .scenario import Scenario

JSON_COLUMNS = ("mean", "se", "sd", "skew", "kurtosis", "p05", "p50", "p95", "p99", "p999", "es99")
ESTIMATED = ("mean", "sd", "p05", "p50", "p95", "p99", "p999", "es99")
"""The statistics whose intervals are reported."""


@dataclass
class Result:
    """What a simulation found. ``seconds`` by phase: trace, compile, simulate, reduce."""

    name: str
    path_count: int
    seed: int
    backend: str
    dtype: str
    months: int
    statistics: Statistics
    units: dict[str, str]
    docs: dict[str, str]
    series_names: tuple[str, ...]
    seconds: dict[str, float]
    stamp: dict[str, str]
    passed_over: list[str] = field(default_factory=list)
    config: dict[str, Any] | None = field(default=None, repr=False)
    recompute: Callable[[list[str]], dict[str, NDArray[Any]]] | None = field(
        default=None, repr=False
    )
    model: Scenario | None = field(default=None, repr=False)
    by_month: dict[str, Rows] = field(default_factory=dict, repr=False)
    """Of each variable in ``series_names``: see series."""
    stop: dict[str, Any] | None = None
    """What the stop rule found: targets, which held, and why the run ended; None without one."""
    folder: Path | None = None
    """Where it was loaded from."""
    identity: dict[str, Any] = field(default_factory=dict, repr=False)
    """Everything that the run's bytes hang on."""
    lost: list[str] = field(default_factory=list)
    """A line for each backend that failed in the middle, where another went on; see ``used``."""
    failure: str = ""
    """Why the run failed: too many paths with a non-finite state, or any where none is borne; empty where it did not."""
    bad_policy: dict[str, Any] = field(default_factory=dict)
    """What was to be done about them, as ``on_bad_path`` and ``max_bad``."""
    name_bad: Callable[[], list[dict[str, Any]]] | None = field(default=None, repr=False)
    """Finds the variables of ``quarantined``; None where they were found before, or are not to be."""
    stored_bad: list[dict[str, Any]] = field(default_factory=list, repr=False)
    damage: list[str] = field(default_factory=list)
    """Checkpoints that were found damaged when the run was resumed, or could not be written."""
    cluster: dict[str, Any] | None = None
    """Which cluster computed it: its name, workers, hosts, and notes about workers that failed."""
    unsaved: str = ""
    """Why the run's folder could not be written in the end; empty where it was."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of every path's metrics: equal for equal runs on one backend, compiler and target."""
        return self.statistics.digest()

    @property
    def bad_paths(self) -> dict[int, int]:
        """Paths set aside for a non-finite state, and its month: the first hundred of ``bad_count``."""
        return self.statistics.bad

    @property
    def bad_count(self) -> int:
        return self.statistics.bad_count

    @cached_property
    def quarantined(self) -> list[dict[str, Any]]:
        """The first ten of them, with the variable that began it: path, month, variable, since (see quarantine)."""
        if self.stored_bad or not self.bad_count:
            return self.stored_bad
        if self.name_bad is not None:
            return self.name_bad()
        unknown = {"variable": None, "since": None}
        return [{"path": p, "month": m} | unknown for p, m in list(self.bad_paths.items())[:10]]

    @property
    def paths_wanted(self) -> int:
        """The paths of the whole run, of which this may be a part."""
        return int(self.identity.get("paths_wanted", self.path_count))

    @property
    def ranges(self) -> list[Range]:
        """The paths that it has, first and last of each stretch."""
        return ranges_of(self.statistics.hashes, self.paths_wanted)

    @property
    def last_path(self) -> int:
        """The number of its last path; -1 where it has none."""
        return self.ranges[-1][1] if self.ranges else -1

    @property
    def is_part(self) -> bool:
        """Whether it was asked for a range of the paths, or merged of some: it may lack any."""
        asked = self.identity.get("range") is not None
        return asked or len(self.ranges) > 1 or any(first for first, _ in self.ranges)

    @property
    def used(self) -> list[dict[str, Any]]:
        """Which backend gave which paths, where it was more than one: backend, first, paths."""
        given = self.statistics.backends
        found = []
        for name in sorted(set(given.values())):
            for first, last in ranges_of((b for b in given if given[b] == name), self.paths_wanted):
                found.append({"backend": name, "first": first, "paths": last - first + 1})
        several = len({u["backend"] for u in found}) > 1
        return sorted(found, key=lambda u: u["first"]) if several else []

    @property
    def status(self) -> str:
        """finished; stopped, by the clock or a signal; or failed. The last two can be resumed."""
        if self.failure:
            return "failed"
        cut = self.stop is not None and not self.stop["held"] and self.stop["why"] != "max paths"
        return "stopped" if cut else "finished"

    @property
    def scenario(self) -> Scenario:
        """What was run. Raises ConfigError where it was run from Python without a config."""
        from .run_store import scenario_of

        return scenario_of(self)

    @property
    def plot(self) -> Plot:
        """Its charts: ``result.plot.fan("rental.hopper")``; a notebook shows them, ``save`` writes them."""
        from .charts.accessor import Plot

        return Plot(self)

    def _repr_html_(self) -> str:
        """How a notebook shows it."""
        from .charts.notebook import as_html

        return as_html(self)

    @cached_property
    def metrics(self) -> dict[str, dict[str, float]]:
        """By metric: mean, se, sd, skew, kurtosis, p05, p50, p95, p99, p999, es99."""
        return self.statistics.summary()

    def summary(self) -> pd.DataFrame:
        """The metrics after the last month, a row each: unit, mean, standard error, quantiles, ES 99 %."""
        import pandas as pd

        table = pd.DataFrame.from_dict(self.metrics, orient="index")
        table.insert(0, "unit", [self.units[name] for name in table.index])
        table.index.name = "metric"
        return table

    def estimate(self, quantity: str, level: float = 0.95) -> Estimate:
        """With its interval: ``"private_credit.loss.es99"``, ``"rental.hopper < 1.2"``; see functionals."""
        found = parse_quantity(quantity, self.statistics.names)
        return found.functional.estimate(self.statistics.metric(found.metric), level)

    def estimates(
        self, statistics: Sequence[str] = ESTIMATED, level: float = 0.95
    ) -> dict[str, dict[str, Estimate]]:
        """By metric and statistic. Raises ConfigError for what is no statistic."""
        wanted = {text: _functional(text) for text in statistics}
        return {
            name: {t: f.estimate(self.statistics.metric(name), level) for t, f in wanted.items()}
            for name in self.statistics.names
        }

    @cached_property
    def probabilities(self) -> dict[str, Estimate]:
        """Of the events that the run was told to count, as ``"private_credit.loss > 200"``."""
        return {
            f"{m} {sign} {t:g}": self.estimate(f"{m} {sign} {t!r}")
            for m, sign, t in self.statistics.events
        }

    @cached_property
    def limits(self) -> list[Verdict]:
        """What the estimates say of each limit of the config."""
        return judge(limits_of(self.config, self.statistics.names), self.statistics)

    def intervals(self) -> pd.DataFrame:
        """A row for each metric and statistic: value, low and high at 95 %, standard error, method."""
        import pandas as pd

        rows = [
            {"metric": name, "statistic": text} | vars(e)
            for name, found in self.estimates().items()
            for text, e in found.items()
        ]
        rows += [
            {"metric": text, "statistic": "probability"} | vars(e)
            for text, e in self.probabilities.items()
        ]
        return pd.DataFrame(rows)

    @cached_property
    def drifts(self) -> list[Drift]:
        """Even blocks against odd ones, the largest difference first: has it settled? See convergence."""
        return drifts(self.statistics)

    def series_rows(self, variable: str) -> Rows:
        """By month: mean and quantiles over the first paths (see series). Raises ConfigError for what has none."""
        if variable not in self.by_month:
            known = ", ".join(self.by_month) or "none"
            raise ConfigError([f"series {variable!r}: unknown; known are {known}"])
        return self.by_month[variable]

    def series(self, variable: str) -> pd.DataFrame:
        """A variable by month, 1 to ``months``: mean and quantiles p05, p25, p50, p75, p95."""
        import pandas as pd

        return pd.DataFrame(self.series_rows(variable)).set_index("month")

    def paths(self, metrics: list[str] | None = None) -> pd.DataFrame:
        """Per-path values of metrics (default: all), a row a path, computed again from the seed."""
        import pandas as pd

        wanted = list(self.statistics.names) if metrics is None else list(metrics)
        unknown = [m for m in wanted if m not in self.statistics.names]
        if unknown:
            known = ", ".join(self.statistics.names)
            raise ConfigError([f"metric {m!r}: unknown; known are {known}" for m in unknown])
        if self.recompute is None:
            raise ConfigError(
                ["paths: a loaded result has no model to compute them with; run it again"]
            )
        table = pd.DataFrame(self.recompute(wanted))
        if self.is_part:
            table.index = pd.Index(
                np.concatenate([np.arange(first, last + 1) for first, last in self.ranges])
            )
        table.index.name = "path"
        return table

    def as_json(self) -> dict[str, Any]:
        """What ``--format json`` prints."""
        return {
            "scenario": self.name,
            "paths": self.path_count,
            "seed": self.seed,
            "months": self.months,
            "backend": self.backend,
            "dtype": self.dtype,
            "status": self.status,
            **({"failure": self.failure} if self.failure else {}),
            **({"ranges": self.ranges, "paths_wanted": self.paths_wanted} if self.is_part else {}),
            "digest": self.digest,
            "seconds": {k: round(v, 4) for k, v in self.seconds.items()},
            "bad_paths": self.bad_count,
            **({"quarantined": self.quarantined} if self.bad_count else {}),
            **({"stop": self.stop} if self.stop else {}),
            **({"used": self.used} if self.used else {}),
            **({"cluster": self.cluster} if self.cluster else {}),
            **({"lost": self.lost} if self.lost else {}),
            "metrics": {
                m: {c: _plain(v[c]) for c in JSON_COLUMNS} for m, v in self.metrics.items()
            },
            "intervals": {
                m: {c: [_plain(e.low), _plain(e.high)] for c, e in found.items()}
                for m, found in self.estimates().items()
            },
            "probabilities": {text: e.as_json() for text, e in self.probabilities.items()},
            "limits": [v.as_json() for v in self.limits],
        }

    def manifest(self) -> dict[str, Any]:
        """Everything needed to run it again, and how it was run."""
        return {
            **{
                k: v
                for k, v in self.as_json().items()
                if k not in ("metrics", "intervals", "probabilities")
            },
            "seconds": self.seconds,
            "bad": {str(path): month for path, month in self.bad_paths.items()},
            "bad_policy": self.bad_policy,
            "stamp": self.stamp,
            "passed_over": self.passed_over,
            "versions": _versions(),
            "units": self.units,
            "docs": self.docs,
            "series": list(self.series_names),
            "config": self.config,
        }

    def save(self, folder: str | os.PathLike[str]) -> Path | str:
        """Write the run's folder (see run_store), or to a URL (see remote); each file whole or not at all."""
        from .run_store import is_url, save

        if is_url(str(folder)):
            from .remote import save_remote

            return save_remote(self, str(folder))
        return save(self, folder)


def _functional(text: str) -> Functional:
    found = parse_functional(text)
    if found is None:
        raise ConfigError([f"statistic {shown(text)}: unknown; should be {FORMS}"])
    return found


def _plain(x: float) -> float | None:
    return x if math.isfinite(x) else None  # JSON has no NaN


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0], "platform": platform.platform()}
    for name in ("overbuilt", "numpy", "jax", "cupy-cuda13x", "cupy-cuda12x"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def check_writable(folder: str) -> None:
    """Raise ConfigError unless a run may be written to ``folder``; leaves nothing behind."""
    from .run_store import is_url

    if is_url(folder):
        from .remote import check_remote

        return check_remote(folder)
    target = Path(folder)
    standing = target
    while not standing.exists() and standing != standing.parent:
        standing = standing.parent
    if not standing.is_dir() or (target.exists() and not target.is_dir()):
        raise ConfigError([f"--out {folder}: {standing} is a file; it should be a folder"])
    try:
        with tempfile.NamedTemporaryFile(dir=standing):
            pass
    except OSError as error:
        raise ConfigError(
            [f"--out {folder}: {standing} cannot be written ({error.strerror})"]
        ) from None
