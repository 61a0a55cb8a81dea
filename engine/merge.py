"""Merge stored runs that are parts of one: different blocks, everything else the same.

Statistics merge exactly and in any order, so the files are those of one run of all their paths, byte for byte.
What no part has stays open, and ``run --resume`` computes it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .path_ranges import Range, gaps_of, ranges_of, told
from .quarantine import NAMED, QUARANTINE, BadPaths
from .remote import publish, working_folder
from .result import Result
from .run_folder import RunFolder, differences
from .run_store import (
    RUNNING,
    check_files,
    is_url,
    load_run,
    local_copy,
    own_files,
    read_manifest,
    scenario_of,
)
from .statistics import Statistics
from .statistics_tables import read_table
from .validate import ConfigError


@dataclass(frozen=True)
class Part:
    """A stored run: its name as given, its identity, and the SHA-256 of its blocks by number."""

    name: str
    identity: dict[str, Any]
    blocks: dict[int, str]


@dataclass(frozen=True)
class Merged:
    """The run that the parts make, and the paths that none of them has."""

    result: Result
    gaps: list[Range]


def merge(folders: Sequence[str | os.PathLike[str]], max_bad: float = 1.0) -> Merged:
    """One run of the stored ones. ``max_bad``: the share of non-finite paths above which it has failed.

    Raises ConfigError with everything that keeps them from being one: damage, another identity, paths in two.
    """
    problems: list[str] = BadPaths(most=max_bad).problems()
    parts = []
    for folder in folders:
        try:
            parts.append(_part(os.fspath(folder)))
        except ConfigError as error:
            problems += error.problems
    if not folders:
        problems.append("merge: should be given at least one run")
    problems += _strangers(parts) + _overlaps(parts)
    if problems:
        raise ConfigError(problems)
    return _merged(sorted(parts, key=lambda p: min(p.blocks)), max_bad)


def write(merged: Merged, out: str) -> None:
    """Store a merged run. Raises ConfigError where ``out`` is in use or holds an unfinished run, OSError."""
    result = merged.result
    config, books = own_files(scenario_of(result) if result.config is not None else None)
    here = working_folder(out)
    manifest = {"scenario": result.name, "config": config}
    folder = RunFolder.create(here, result.identity, manifest, books)
    try:
        result.save(here)
        publish(here, out)
    finally:
        folder.close()


def check_out(out: str, folders: Sequence[str]) -> None:
    """Raise ConfigError where the merged run would replace one of its parts."""
    if is_url(out):
        same = [f for f in folders if f.rstrip("/") == out.rstrip("/")]
    else:
        target = os.path.realpath(out)
        same = [f for f in folders if not is_url(f) and os.path.realpath(f) == target]
    if same:
        raise ConfigError([f"--out {out}: is one of the runs to merge; should be another folder"])


def _part(folder: str) -> Part:
    import pyarrow as pa

    manifest = read_manifest(folder)
    if manifest.get("status") == RUNNING:
        raise ConfigError(
            [f"{folder}: is not finished; go on with overbuilt run --resume {folder}"]
        )
    here = local_copy(folder)
    try:
        if problems := check_files(here, manifest):
            raise ConfigError(problems)
        identity = dict(manifest["identity"])
        table = read_table(here / "blocks.parquet")
        numbers, hashes = table.column("block").to_pylist(), table.column("sha256").to_pylist()
        int(identity["paths_wanted"])
    except (KeyError, TypeError, ValueError, AttributeError, pa.ArrowException) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError([f"{folder}: is damaged ({error!r})"]) from None
    if identity.get("until"):
        raise ConfigError([f"{folder}: ran until its targets held; should be a run of --paths"])
    if not numbers:
        raise ConfigError([f"{folder}: has no paths"])
    return Part(folder, identity, dict(zip(numbers, hashes, strict=True)))


def _strangers(parts: list[Part]) -> list[str]:
    """A line for each thing in which a part differs from the first."""
    return [
        f"{part.name}: is no part of the same run: {line}"
        for part in parts[1:]
        for line in differences(
            parts[0].identity, part.identity, (f"in {parts[0].name}", "here"), ("range",)
        )
    ]


def _overlaps(parts: list[Part]) -> list[str]:
    """A line for each two parts that have paths in common."""
    lines = []
    for i, second in enumerate(parts):
        for first in parts[:i]:
            both = first.blocks.keys() & second.blocks.keys()
            if not both:
                continue
            paths = told(ranges_of(both, second.identity["paths_wanted"]))
            other = any(first.blocks[b] != second.blocks[b] for b in both)
            lines.append(
                f"{first.name} and {second.name}: both have paths {paths}"
                + (", with other values" if other else "")
            )
    return lines


def _merged(parts: list[Part], max_bad: float) -> Merged:
    """Of parts that are known to fit, in the order of their blocks."""
    identity = {k: v for k, v in parts[0].identity.items() if k != "range"}
    wanted = int(identity["paths_wanted"])
    total: Statistics | None = None
    seconds: dict[str, float] = {}
    passed_over: dict[str, None] = {}
    lost: list[str] = []
    bad: list[dict[str, Any]] = []
    first = load_run(parts[0].name)  # the series by month are of the first block's paths
    for part in parts:
        run = load_run(part.name) if part is not parts[0] else first
        if total is None:
            s = run.statistics
            total = Statistics(s.names, s.tail, s.sample_size, s.events)
        total.merge(run.statistics)
        for phase, took in run.seconds.items():
            seconds[phase] = seconds.get(phase, 0.0) + took
        passed_over |= dict.fromkeys(run.passed_over)
        lost += run.lost
        bad += run.quarantined
    assert total is not None
    gaps = gaps_of(total.hashes, wanted)
    policy = BadPaths(QUARANTINE, max_bad)
    stop = {"held": False, "why": "gaps", "targets": [], "paths": total.paths, "max_paths": wanted}
    result = Result(
        name=first.name,
        path_count=total.paths,
        seed=first.seed,
        backend=first.backend,
        dtype=first.dtype,
        months=first.months,
        statistics=total,
        units=first.units,
        docs=first.docs,
        series_names=first.series_names,
        seconds=seconds,
        stamp=first.stamp,
        passed_over=list(passed_over),
        lost=lost,
        config=first.config,
        by_month=first.by_month,
        stop=stop if gaps else None,
        folder=Path(local_copy(parts[0].name)),
        identity=identity,
        failure=policy.failure(total),
        bad_policy=policy.as_json(),
        stored_bad=sorted(bad, key=lambda b: int(b["path"]))[:NAMED],
    )
    return Merged(result, gaps)
