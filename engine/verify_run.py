"""Verify a stored run: some of its paths are computed again, and must be what the run says they were.

A run from the GPU box can so be checked on any machine. A random sample of the paths and the worst ones of each metric
are computed on the reference; a value that is further off than rounding goes must be what rounding can do on that very
path, or it is an error. Where the run's own backend, compiler and target are here, every byte must come again.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.backends.numpy import NumpyKernel
from ..kernels.probe import probe
from . import attestation
from .agreement import is_decision, scaled_difference
from .result import Result
from .rounding import ALLOWED, Row, lines_of, mean_sizes
from .run_store import check_files, load_run, read_manifest
from .runner import Progress
from .same_bytes import block_again, own_plan, series_again
from .series import SERIES_PATHS
from .simulate import Plan, plan
from .stored_checks import Check, counts, summaries
from .system import Economy
from .validate import ConfigError
from .verify import REFERENCE, backend_problems, plain

Array = NDArray[Any]

PATHS = 200
WORST = 3
"""Paths of each metric's upper tail that are computed again, beside one of its lower tail."""
MOVES = 16
"""How often a path is computed again with all inputs moved, to see what rounding can do to it.

Of 270 paths out of tolerance among 200,000 of base and two stresses, all but four were then within what was seen.
"""
RARE = 1e-4
"""On so many paths rounding turns a decision in float32: 12 of the same 200,000 by the last month."""
_MOVED = 16.0  # by how many units in the last place of the run's precision: what rounding adds up to in a run
_LAUNCHES = 24  # of JAX, which computes whole chunks
_NAMED = 5


@dataclass
class RunVerification:
    """What was found about a stored run. ``rows``: each metric on each backend; ``signed``: the entry in verification.json."""

    folder: str
    run: Result | None
    paths_asked: int
    sample_seed: int
    sampled: int = 0
    worst: int = 0
    checks: list[Check] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    out: dict[str, int] = field(default_factory=dict)
    explained: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    signed: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return all(c.ok for c in self.checks)

    def lines(self) -> list[str]:
        """What is wrong, a line each."""
        return [p for c in self.checks for p in c.problems]

    def as_json(self) -> dict[str, Any]:
        """What ``--format json`` prints: what was signed, and every metric."""
        numbers = ("largest", "value", "reference")
        rows = [asdict(r) | {k: plain(getattr(r, k)) for k in numbers} for r in self.rows]
        return {"run": self.folder, "ok": self.ok, "signed": self.signed, "variables": rows}


def verify_run(
    folder: str | os.PathLike[str],
    paths: int = PATHS,
    seed: int = 0,
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> RunVerification:
    """Compute ``paths`` random paths of a stored run again, picked by ``seed``, and the worst of each metric.

    ``names``: the backends, in float64 (default: the reference). The verdict is added to the run's verification.json.
    Raises ConfigError for bad arguments, or where there is no finished run, or no config to compute it from;
    BackendError where a backend cannot be used; OSError where the verdict cannot be written.
    """
    check_arguments(paths, seed, names)
    began = time.perf_counter()
    manifest = read_manifest(folder)
    if manifest.get("status", "finished") == "running":
        raise ConfigError(
            [f"{folder}: is not finished; go on with overbuilt run --resume {folder}"]
        )
    attestation.read(folder)
    found = RunVerification(os.fspath(folder), None, paths, seed)
    _load(found, manifest)
    if found.run is not None:
        found.checks += [counts(found.run), summaries(found.run, Path(folder))]
        if found.ok:
            _Again(found, found.run, list(names or REFERENCE[:1]), progress).run()
    found.seconds = time.perf_counter() - began
    found.signed = attestation.add(folder, _entry(found, manifest))
    return found


def check_arguments(paths: int, seed: int, names: Sequence[str] | None) -> None:
    """Raise ConfigError with all that is wrong."""
    problems = []
    if paths < 1:
        problems.append(f"paths = {paths}: should be a whole number above 0")
    if not 0 <= seed < 1 << 64:
        problems.append(f"seed = {seed}: should be a whole number from 0 to 2^64 - 1")
    if names is not None:
        problems += backend_problems(names)
    if problems:
        raise ConfigError(problems)


def _load(found: RunVerification, manifest: dict[str, Any]) -> None:
    """Whether the files are as they were written; the run, if they are."""
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise ConfigError(
            [f"{found.folder}: its manifest names no files; it should be a folder that --out wrote"]
        )
    problems = check_files(found.folder, manifest)
    if not problems:
        try:
            found.run = load_run(found.folder)
        except ConfigError as error:
            problems = error.problems
    what = f"{len(files)} files, by their SHA-256 in the manifest"
    found.checks.append(Check("files", what, tuple(problems)))


def _entry(found: RunVerification, manifest: dict[str, Any]) -> dict[str, Any]:
    """What is written of it."""
    from .result import _versions as versions

    worst = max(found.rows, key=lambda r: r.largest, default=None)
    return {
        "ok": found.ok,
        "run_digest": manifest.get("digest"),
        "sample_seed": found.sample_seed,
        "sampled_paths": found.sampled,
        "worst_paths": found.worst,
        "out_of_tolerance": found.out,
        "explained_by_rounding": found.explained,
        "largest": worst and {
            "backend": worst.backend, "metric": worst.variable, "scaled": plain(worst.largest),
            "path": worst.path, "stored": plain(worst.value), "computed": plain(worst.reference),
        },
        "checks": [
            asdict(c) | {"ok": c.ok, "problems": list(c.problems)} for c in found.checks
        ],
        "versions": versions(),
        "seconds": round(found.seconds, 3),
    }  # fmt: skip


# ---- which paths
@dataclass(frozen=True)
class Picked:
    """Paths, ascending, and what the run says of them: ``values`` (metrics, paths), NaN where it says nothing."""

    paths: NDArray[np.uint64]
    values: Array
    sampled: int
    worst: int


def pick(result: Result, paths: int, seed: int) -> Picked:
    """A random choice of the run's sample, and the worst of each metric."""
    s = result.statistics
    rng = np.random.default_rng(seed)
    at = np.sort(rng.permutation(len(s.sample.paths))[:paths])
    chosen = s.sample.paths[at]
    told: list[tuple[int, Array, NDArray[np.uint64]]] = []
    for k, name in enumerate(s.names):
        tails = s.metric(name).tails
        if tails is not None:
            for (values, numbers), most in ((tails.upper, WORST), (tails.lower, 1)):
                told.append((k, values[:most], numbers[:most]))
    worst = np.unique(np.concatenate([p for _, _, p in told] or [np.zeros(0, np.uint64)]))
    every = np.union1d(chosen, worst)
    values = np.full((len(s.names), len(every)), np.nan)
    values[:, np.searchsorted(every, chosen)] = s.sample.values[:, at]
    for k, row, numbers in told:
        values[k, np.searchsorted(every, numbers)] = row
    return Picked(every, values, len(chosen), len(worst))


# ---- computing them again
class _Again:
    """The picked paths on each backend."""

    def __init__(
        self, found: RunVerification, run: Result, names: list[str], progress: Progress | None
    ) -> None:
        self.found, self.run_, self.names, self.progress = found, run, names, progress
        self.economy = run.scenario.economy
        self.allowed = ALLOWED[run.dtype]
        self.picked = pick(run, found.paths_asked, found.sample_seed)
        found.sampled, found.worst = self.picked.sampled, self.picked.worst
        sample = run.statistics.sample.values
        self.sizes = (
            mean_sizes(sample.astype(np.float64))
            if sample.shape[1]
            else np.full((len(sample), 1), 1e-30)
        )
        self.whole = np.array([bool(len(row)) and is_decision(row) for row in sample])
        self.done, self.began = 0, time.perf_counter()

    def run(self) -> None:
        if self.economy.metrics != self.run_.statistics.names:
            line = "the model reports other metrics now than when it was run"
            self.found.checks.append(
                Check("model", "metrics that the config's model reports", (line,))
            )
            return
        if not len(self.picked.paths):
            line = "no path of the run has a finite state: there is nothing to compute again"
            self.found.checks.append(Check("paths", "random and worst ones", (line,)))
            return
        for name in self.names:
            self.found.checks.append(self._beside(name))
        self.found.checks.append(self._bytes())

    def _progress(self, count: int) -> None:
        self.done += count
        total = len(self.picked.paths) * (len(self.names) + 1)
        if self.progress is not None:
            self.progress(min(self.done, total), total, time.perf_counter() - self.began)

    def _compute(
        self, made: Plan, paths: NDArray[np.uint64], series: bool = False
    ) -> tuple[Array, Array]:
        """(metrics, bad) of any paths; those with series are computed as a run computes its first ones."""
        if isinstance(made.kernel, NumpyKernel):
            got = made.kernel.run_paths(made.economy, self.run_.seed, paths, made.months, False)
            self._progress(len(paths))
            return got.metrics.astype(np.float64), got.bad
        outputs = []
        for path in paths.tolist():
            first_ones = series and bool(made.economy.series) and path < SERIES_PATHS
            outputs.append(made.run(self.run_.seed, path, 1, series=first_ones))
            self._progress(1)
        metrics = np.concatenate([o.metrics for o in outputs], axis=1)
        return metrics.astype(np.float64), np.concatenate([o.bad for o in outputs])

    # ---- beside a backend in float64
    def _beside(self, name: str) -> Check:
        faults = probe(name, REFERENCE[1]).faults
        if faults:
            return Check(
                f"{name} {REFERENCE[1]}", "its operations", tuple(map(str, faults[:_NAMED]))
            )
        run, picked = self.run_, self.picked
        made = plan(self.economy, name, REFERENCE[1], run.months)
        if made.backend == "jax":
            made.kernel.chunk = 32  # it computes whole chunks
        right, bad = self._compute(made, picked.paths)
        stored = np.isfinite(picked.values)
        scaled = np.where(stored, scaled_difference(picked.values, right, self.sizes), 0.0)
        scaled[:, bad != 0] = np.inf
        flips = self.whole[:, None] & stored & (np.abs(picked.values - right) >= 0.5)
        over = (scaled > self.allowed.tolerance) | flips
        out = np.flatnonzero(over.any(axis=0))
        self.found.rows += self._rows(made, scaled, right, over, flips)
        problems, explained = self._judge(made, out, right, scaled)
        self.found.out[name], self.found.explained[name] = len(out), explained
        worst = scaled.max(initial=0.0)
        what = f"{len(picked.paths):,} paths of {len(self.whole)} metrics, up to {worst:.1e} off"
        if explained:
            what += f"; {explained} by more than {self.allowed.tolerance:g}, as rounding can"
        return Check(f"{name} {REFERENCE[1]}", what, tuple(problems))

    def _judge(self, made: Plan, out: Array, right: Array, scaled: Array) -> tuple[list[str], int]:
        """Paths out of tolerance: each must be what rounding can do to it; and there may not be many."""
        run, count = self.run_, len(self.picked.paths)
        head = f"{run.backend} {run.dtype} beside {made.backend} {made.dtype}"
        most = int(self.allowed.blurred_paths(count) + self.allowed.flipped_paths(count))
        if len(out) > most:
            left, explained = out, 0
            problems = [
                f"{head}: {len(out):,} of {count:,} paths are out of tolerance; {most} may be"
            ]
        else:
            left = np.array([j for j in out if not self._explains(made, int(j), right[:, j])], int)
            explained = len(out) - len(left)
            problems = []
        for j in left[:_NAMED].tolist():
            k, path = int(scaled[:, j].argmax()), int(self.picked.paths[j])
            problems.append(
                f"{run.statistics.names[k]} on path {path}: {self.picked.values[k, j]:.9g} is stored, {head} computes "
                f"{right[k, j]:.9g}"
                + ("" if len(out) > most else "; rounding does not explain it")
                + f"; overbuilt replay {self.found.folder} --path {path}"
            )
        return problems, explained

    def _explains(self, made: Plan, j: int, right: Array) -> bool:
        """Whether what is stored of a path lies within what comes of moving all inputs by a few units in the last
        place of the run's precision: near a threshold, or where a fire sale blurs, that is far."""
        stored = self.picked.values[:, j]
        slack = self.allowed.tolerance * np.maximum(np.abs(right), self.sizes[:, 0])
        low, high = right - slack, right + slack
        rng = np.random.default_rng(int(self.picked.paths[j]))
        by = _MOVED * float(np.finfo(self.run_.dtype).eps)
        for _ in range(MOVES):
            if not self._outside(stored, low, high, right, slack):
                return True
            near_by = copy.copy(made)
            near_by.economy = moved(self.economy, by, rng)
            got, _bad = self._compute(near_by, self.picked.paths[j : j + 1])
            low, high = np.fmin(low, got[:, 0] - slack), np.fmax(high, got[:, 0] + slack)
        return not self._outside(stored, low, high, right, slack)

    def _outside(self, stored: Array, low: Array, high: Array, right: Array, slack: Array) -> bool:
        """Whether a metric lies outside, other than one that hardly a path of the run has away from ``right``: there
        the worst paths are those on which rounding turned a decision."""
        out = np.flatnonzero(np.isfinite(stored) & ~((stored >= low) & (stored <= high)))
        most = self.allowed.spare + RARE * self.run_.path_count if self.allowed.flipped else -1.0
        return any(
            self._elsewhere(int(k), right[k] - slack[k], right[k] + slack[k]) > most for k in out
        )

    def _elsewhere(self, k: int, low: float, high: float) -> int:
        """How many of the run's paths have metric ``k`` outside the bins of low to high."""
        metric = self.run_.statistics.metric(self.run_.statistics.names[k])
        h = metric.histogram
        return metric.count - int(h.count[(h.least <= high) & (low <= h.most)].sum())

    def _rows(
        self, made: Plan, scaled: Array, right: Array, over: Array, flips: Array
    ) -> list[Row]:
        lines, rows = lines_of(made.program), []
        for k, name in enumerate(self.run_.statistics.names):
            j = int(scaled[k].argmax())
            differs = scaled[k, j] > 0.0
            rows.append(
                Row(
                    made.backend, name, float(scaled[k, j]), int(self.picked.paths[j]) if differs else -1,
                    made.months, float(self.picked.values[k, j]), float(right[k, j]),
                    int(over[k].sum()), int(flips[k].sum()), lines.get(name, ""),
                )
            )  # fmt: skip
        return sorted(rows, key=lambda r: -r.largest)

    # ---- on the run's own backend
    def _bytes(self) -> Check:
        """Where backend, compiler and target are those of the run, every byte comes again."""
        run = self.run_
        name = f"{run.backend} {run.dtype}, to the byte"
        made, why = own_plan(run, self.economy)
        if made is None:
            return Check(name, "", skipped=why)
        paths = self.picked.paths
        if made.backend == "jax" and len(paths) > _LAUNCHES:
            chosen = np.random.default_rng(self.found.sample_seed).choice(
                len(paths), _LAUNCHES, replace=False
            )
            paths = paths[np.sort(chosen)]
        got, _ = self._compute(made, paths, series=True)
        stored = self.picked.values[:, np.searchsorted(self.picked.paths, paths)]
        differ = np.isfinite(stored) & (got != stored)
        problems = [
            f"{run.statistics.names[k]} on path {int(paths[j])}: {stored[k, j]:.9g} is stored, {run.backend} computes "
            f"{got[k, j]:.9g} again"
            for k, j in np.argwhere(differ)[:_NAMED].tolist()
        ]
        what = f"{len(paths):,} paths"
        if made.backend in ("native", "cuda"):  # a block costs them seconds
            number, line = block_again(made, run, self.found.sample_seed)
            what += f", all of block {number}"
            problems += [line] if line else []
            if run.series_names:
                what += f", {len(run.series_names)} variables by month"
                problems += series_again(made, run)
        return Check(name, what, tuple(problems))


def moved(economy: Economy, by: float, rng: np.random.Generator) -> Economy:
    """The economy with every real input multiplied by 1 + ``by`` z, z standard normal."""
    made = copy.copy(economy)
    made.reals = {k: v * (1.0 + by * rng.standard_normal()) for k, v in economy.reals.items()}
    made.columns = {
        k: c * (1.0 + by * rng.standard_normal(len(c))) if c.dtype.kind == "f" else c
        for k, c in economy.columns.items()
    }
    return made
