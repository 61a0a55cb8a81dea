"""Checks of a stored run that need no model: its files, its counts, and the tables that are made from the others."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .result import Result
from .statistics import BLOCK, Statistics

if TYPE_CHECKING:
    import pandas as pd

_NAMED = 5  # problems of a kind that are told


@dataclass(frozen=True)
class Check:
    """One thing that was checked. ``problems``: what is wrong, a line each; ``skipped``: why it could not be checked."""

    name: str
    what: str
    problems: tuple[str, ...] = ()
    skipped: str = ""

    @property
    def ok(self) -> bool:
        return not self.problems


def counts(result: Result) -> Check:
    """Whether blocks, moments, histograms, tails and sample are of the same paths."""
    s = result.statistics
    problems: list[str] = []
    blocks = sorted(s.hashes)
    if blocks != list(range(-(-s.paths // BLOCK))):
        problems.append(f"blocks.parquet: {len(blocks):,} blocks do not make {s.paths:,} paths")
    for name in s.names:
        problems += [f"{name}: {line}" for line in _metric_counts(s, name, s.paths - s.bad_count)]
    sample, paths = s.sample, s.sample.paths
    if len(paths) != min(s.sample_size, s.paths - s.bad_count):
        problems.append(f"sample.parquet: holds {len(paths):,} paths, not all that were kept")
    if len(paths) and (np.any(np.diff(paths.astype(np.int64)) <= 0) or int(paths[-1]) >= s.paths):
        problems.append("sample.parquet: its paths are not in order, or not of the run")
    if len(paths):
        problems += [
            line for k, name in enumerate(s.names) for line in _sampled(s, name, sample.values[k])
        ]
    what = f"{len(blocks):,} blocks, {len(s.names)} metrics with moments, histogram and tails, {len(paths):,} sampled"
    return Check("counts", what, tuple(problems[:_NAMED]))


def _metric_counts(s: Statistics, name: str, wanted: int) -> list[str]:
    metric, lines = s.metric(name), []
    h = metric.histogram
    for what, count in (("moments", metric.count), ("histogram", int(h.count.sum()))):
        if count != wanted:
            lines.append(f"its {what} count {count:,} paths, not {wanted:,}")
    if metric.tails is None:
        return lines
    ends = {"upper": h.most.max(initial=-math.inf), "lower": h.least.min(initial=math.inf)}
    for side, sign in (("upper", -1.0), ("lower", 1.0)):
        values, paths = getattr(metric.tails, side)
        if len(values) != min(s.tail, wanted) or len(np.unique(paths)) != len(paths):
            lines.append(f"its {side} tail does not hold {min(s.tail, wanted):,} paths")
        elif len(values) and (np.any(np.diff(sign * values) < 0) or values[0] != ends[side]):
            lines.append(f"its {side} tail does not begin with the extreme value of its histogram")
        if len(paths) and int(paths.max()) >= s.paths:
            lines.append(f"its {side} tail has a path that is not of the run")
    return lines


def _sampled(s: Statistics, name: str, values: Any) -> list[str]:
    """The sample lies within the histogram; where a path is in the sample and in a tail, both hold the same value."""
    tails, h = s.metric(name).tails, s.metric(name).histogram
    if len(h.count) and not (h.least.min() <= values.min() and values.max() <= h.most.max()):
        return [f"{name}: the sample goes beyond the histogram"]
    if tails is None:
        return []
    for side in ("upper", "lower"):
        in_tail, paths = getattr(tails, side)
        _, here, there = np.intersect1d(
            s.sample.paths, paths, assume_unique=True, return_indices=True
        )
        differ = np.flatnonzero(values[here].astype(np.float64) != in_tail[there])
        if len(differ):
            path = int(s.sample.paths[here[differ[0]]])
            return [f"{name}: path {path} has another value in the sample than in the {side} tail"]
    return []


def summaries(result: Result, folder: Path) -> Check:
    """Whether summary.csv and intervals.csv are what the statistics give."""
    problems = []
    for name, keys, made in (
        ("summary.csv", ["metric"], result.summary().reset_index()),
        ("intervals.csv", ["metric", "statistic"], result.intervals()),
    ):
        try:
            with (folder / name).open(newline="", encoding="utf-8") as file:
                stored = list(csv.reader(file))
        except (OSError, ValueError, csv.Error) as error:
            problems.append(f"{name}: cannot be read ({error})")
            continue
        problems += [f"{name}: {line}" for line in _unequal(stored, made, keys)]
    what = f"{len(result.statistics.names)} metrics in summary.csv and intervals.csv, from the statistics"
    return Check("summaries", what, tuple(problems[:_NAMED]))


def _unequal(stored: list[list[str]], made: pd.DataFrame, keys: list[str]) -> list[str]:
    """Cells of a file that are not those of the table; numbers must be equal to the last digit."""
    head, rows = stored[0] if stored else [], stored[1:]
    columns = [str(c) for c in made.columns]
    if head != columns or len(rows) != len(made) or any(len(r) != len(head) for r in rows):
        return [f"should have {len(made)} rows of {', '.join(columns)}"]
    lines = []
    for k, column in enumerate(columns):
        for i, y in enumerate(made[column].tolist()):
            if not _same(rows[i][k], y):
                row = " ".join(str(made[key].iloc[i]) for key in keys)
                lines.append(f"{column} of {row} is {rows[i][k]}; the statistics give {y}")
    return lines


def _same(text: str, value: Any) -> bool:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return text == ""
    try:
        return float(text) == float(value)
    except (TypeError, ValueError):
        return text == str(value)
