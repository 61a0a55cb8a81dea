"""The runs below a folder, and a run that is still being written."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoint import LEDGER, Ledger
from .result import Result
from .run_folder import is_held
from .run_store import MANIFEST, RUNNING, check_files, is_url, load_run, read_manifest
from .statistics import Statistics
from .validate import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

HEADLINE = "private_credit.loss"
"""The metric that a list shows; of a run without it, its first."""
CUT_OFF = "cut off"
_MARKS = (MANIFEST, LEDGER, "blocks.parquet")


@dataclass(frozen=True)
class Entry:
    """A run as a list shows it. ``problem`` says why it cannot be read; the rest then is what is known.

    ``wanted`` are the paths that it will have, where that is known; ``written`` is the time of its newest file, in
    seconds since 1970; ``size`` in bytes; ``mean`` and ``es99`` are of ``metric``.
    """

    folder: str
    problem: str = ""
    scenario: str = ""
    status: str = ""
    paths: int = 0
    wanted: int = 0
    bad_paths: int = 0
    seed: int = 0
    backend: str = ""
    dtype: str = ""
    written: float = 0.0
    size: int = 0
    metric: str = ""
    mean: float | None = None
    es99: float | None = None

    def as_json(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if k != "problem" or v}


def find_runs(folder: str) -> list[Entry]:
    """The runs in a folder and below it, by name; those that cannot be read among them. Raises ConfigError."""
    if is_url(folder):
        raise ConfigError(
            [f"{folder}: should be a folder here; overbuilt show reads one run at a URL"]
        )
    if not os.path.isdir(folder):
        raise ConfigError([f"{folder}: no such folder"])
    return sorted(_below(Path(folder)), key=lambda e: e.folder)


def _below(top: Path) -> Iterator[Entry]:
    shut: list[Entry] = []

    def refused(error: OSError) -> None:
        name = os.path.relpath(error.filename or top, top)
        shut.append(Entry(name, f"cannot be read ({error.strerror or error})"))

    for place, folders, files in os.walk(top, onerror=refused):
        folders[:] = [f for f in folders if not f.startswith(".")]
        if any(mark in files for mark in _MARKS):
            folders.clear()  # what lies within a run is its own
            yield _entry(Path(place), os.path.relpath(place, top))
    yield from shut


def _entry(here: Path, name: str) -> Entry:
    known: dict[str, Any] = {}
    try:
        known |= _files_of(here)
        held = is_held(here)
        manifest = read_manifest(here)
        problem = _read(here, manifest, held, known)
    except ConfigError as error:
        problem = error.problems[0]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = f"{here / MANIFEST}: is damaged ({error!r})"
    except OSError as error:
        problem = f"{error.filename or here}: cannot be read ({error.strerror or error})"
    return Entry(name, problem, **known)


def _files_of(here: Path) -> dict[str, Any]:
    found = []
    for name in os.listdir(here):
        with suppress(FileNotFoundError):  # a run that is being written replaces its files
            found.append(os.stat(here / name))
    return {
        "size": sum(s.st_size for s in found),
        "written": max((s.st_mtime for s in found), default=0.0),
    }


def _read(here: Path, manifest: dict[str, Any], held: bool, known: dict[str, Any]) -> str:
    """What a manifest and the newest checkpoint say, into ``known``; and what is wrong with the run's files."""
    identity, status = manifest["identity"], manifest.get("status", "finished")
    newest = Ledger.read(here).entries[-1:] if held or status != "finished" else []
    done = int(newest[0].get("paths", 0)) if newest else 0
    going_on = done > int(manifest.get("paths", 0))
    part = identity.get("range")
    wanted = part[1] - part[0] + 1 if part else int(identity["paths_wanted"])
    known |= {
        "scenario": str(manifest["scenario"]),
        "status": RUNNING if held else CUT_OFF if status == RUNNING else str(status),
        "paths": max(done, int(manifest.get("paths", 0))),
        "wanted": int(manifest["paths"]) if status == "finished" else wanted,
        "bad_paths": int(manifest.get("bad_paths", 0)),
        "seed": int(identity["seed"]),
        "backend": str(identity["backend"]),
        "dtype": str(identity["dtype"]),
    }
    if status == RUNNING or going_on:
        statistics, _, damage = Ledger.read(here).load()
        if statistics is not None:
            known |= _headline_of(statistics) | {"bad_paths": statistics.bad_count}
        return damage[0] if damage and not held else ""
    # a run that goes on replaces its files one by one
    problems = [] if held else check_files(here, manifest)
    if not problems:
        known |= _headline_in(here / "summary.csv")
    return problems[0] if problems else ""


def _headline_of(statistics: Statistics) -> dict[str, Any]:
    name = HEADLINE if HEADLINE in statistics.names else statistics.names[0]
    metric = statistics.metric(name)
    return {
        "metric": name,
        "mean": _finite(metric.mean()),
        "es99": _finite(metric.expected_shortfall(0.99)),
    }


def _headline_in(summary: Path) -> dict[str, Any]:
    with open(summary, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    row = next((r for r in rows if r["metric"] == HEADLINE), rows[0])
    numbers = {k: _finite(float(row[k] or "nan")) for k in ("mean", "es99")}
    return {"metric": row["metric"], **numbers}


def _finite(x: float) -> float | None:
    return x if abs(x) < float("inf") else None


# ---- a run as far as it is
def newest(folder: str) -> tuple[Result, str]:
    """A run as it was saved; or, where its newest checkpoint has more, as of that, with a line that says so.

    Raises ConfigError where there is no run, a file is missing or damaged, or it has no checkpoint yet.
    """
    if is_url(folder):
        return load_run(folder), ""
    manifest = read_manifest(folder)
    ledger = Ledger.read(Path(folder))
    saved = int(manifest.get("paths", 0)) if manifest.get("status") != RUNNING else 0
    if saved and not any(int(e.get("paths", 0)) > saved for e in ledger.entries):
        return load_run(folder), ""
    statistics, seconds, damage = ledger.load()
    if statistics is None:
        if read_manifest(folder).get("status") != RUNNING:  # it has ended meanwhile
            return load_run(folder), ""
        raise ConfigError(damage or [f"{folder}: has no checkpoint yet; there is nothing to show"])
    try:
        return _unfinished(Path(folder), manifest, statistics, seconds)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError([f"{Path(folder) / MANIFEST}: is damaged ({error!r})"]) from None


def _unfinished(
    folder: Path, manifest: dict[str, Any], statistics: Statistics, seconds: float
) -> tuple[Result, str]:
    identity = manifest["identity"]
    status = RUNNING if is_held(folder) else CUT_OFF
    result = Result(
        name=manifest["scenario"],
        path_count=statistics.paths,
        seed=identity["seed"],
        backend=identity["backend"],
        dtype=identity["dtype"],
        months=identity["months"],
        statistics=statistics,
        units=manifest["units"],
        docs=manifest["docs"],
        series_names=(),
        seconds={"simulate": seconds},
        stamp=identity["stamp"],
        config=manifest["config"],
        stop={"held": False, "why": status, "targets": [], "paths": statistics.paths},
        identity=identity,
        bad_policy=manifest.get("bad_policy", {}),
        folder=folder,
    )
    part = identity.get("range")
    wanted = part[1] - part[0] + 1 if part else result.paths_wanted
    age = time.time() - (folder / LEDGER).stat().st_mtime
    how = "at most " if identity["until"] else ""
    line = (
        f"{status}: as of its newest checkpoint, {age_text(age)} ago: {statistics.paths:,} of {how}{wanted:,} paths; "
        "no series by month yet"
    )
    return result, line


# ---- as text
def runs_table(entries: list[Entry]) -> Table:
    """A row for each run that can be read."""
    from rich.markup import escape
    from rich.table import Table

    from .stop_table import count
    from .tables import GRID, number

    table = Table(**GRID)
    for name, right in (
        ("run", False), ("scenario", False), ("paths", True), ("status", False), ("seed", True),
        ("backend", False), ("age", True), ("size", True), ("mean", True), ("ES 99 %", True),
    ):  # fmt: skip
        fold = name in ("run", "scenario")
        table.add_column(
            name, justify="right" if right else "left", no_wrap=not fold,
            overflow="fold", max_width=30 if name == "run" else 20,
        )  # fmt: skip
    for e in entries:
        if e.problem:
            continue
        paths = count(e.paths) + (f" of {count(e.wanted)}" if e.wanted != e.paths else "")
        status = e.status if e.status == "finished" else f"[bold]{e.status}[/]"
        numbers = ["-" if x is None else number(x) for x in (e.mean, e.es99)]
        table.add_row(
            escape(e.folder), escape(e.scenario), paths, status, str(e.seed), escape(e.backend),
            age_text(time.time() - e.written), size_text(e.size), *numbers,
        )  # fmt: skip
    return table


def age_text(seconds: float) -> str:
    """To the whole unit: 40 s, 12 min, 3 h, 5 d."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(int(seconds), 0)} s"


def size_text(size: float) -> str:
    """To two figures: 950 B, 12 kB, 3.4 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if size >= 9.95 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000.0
    return f"{size:,.1f} TB"
