"""Simulate: paths in blocks, a backend for each, statistics of the metrics. The only caller of kernels/."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..kernels import backends
from ..kernels.backends.base import BackendError, Kernel, LaunchError, Output
from ..kernels.program import Program
from .arguments import check_asked, check_cluster, check_model, check_run
from .limits import events_of, limits_of
from .log import Observer, silent, telling
from .path_ranges import Range, check_range
from .program_cache import optimized
from .quarantine import QUARANTINE, BadPaths, named
from .remote import RemoteError, publish, working_folder
from .result import Result
from .run_folder import RunFolder, identity_of
from .run_loop import outcome, saved, stopper, work
from .run_store import own_files
from .runner import Progress, Runner
from .scenario import Scenario
from .statistics import BLOCK, SAMPLE, TAIL, Statistics
from .system import Economy, System
from .validate import ConfigError

if TYPE_CHECKING:
    from .cluster import Cluster
    from .cluster_runner import ClusterRunner
    from .stop import Look


@dataclass
class Plan:
    """A compiled model and what it cost to get there; ``seconds`` by phase."""

    economy: Economy
    program: Program
    kernel: Kernel
    backend: str
    dtype: str
    months: int
    passed_over: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, seed: int, first: int, count: int, series: bool = False) -> Output:
        """Paths first, ..., first + count - 1."""
        return self.kernel.run(self.economy, seed, first, count, self.months, series)

    def run_many(
        self, economies: Sequence[Economy], seed: int, first: int, count: int
    ) -> list[Output]:
        """The same paths of economies that differ from the plan's in parameters alone, in one launch."""
        return self.kernel.run_many(economies, seed, first, count, self.months)


def as_economy(model: Scenario | Economy | System) -> Economy:
    if isinstance(model, Scenario):
        return model.economy
    if isinstance(model, System):
        return Economy(model, name=type(model).key())
    return model


def plan(
    model: Scenario | Economy | System,
    backend: str = "auto",
    dtype: str = "float32",
    months: int | None = None,
) -> Plan:
    """Trace and compile. Raises BackendError where the backend cannot be used."""
    economy = as_economy(model)
    months = economy.months if months is None else months
    check_run(1, 0, months, dtype, backend)
    check_model(economy, dtype)
    passed: list[str] = []
    if backend == "auto":
        backend, skipped = backends.choose()
        passed = [f"{s.name}: {s.why}" for s in skipped]
    else:
        found = backends.status(backend)
        if not found.works:
            raise BackendError(f"backend {backend} cannot be used: {found.why}")
    start = time.perf_counter()
    program = optimized(economy, dtype == "float64")
    traced = time.perf_counter()
    kernel = backends.compile(backend, economy, program, dtype)
    seconds = {"trace": traced - start, "compile": time.perf_counter() - traced}
    return Plan(economy, program, kernel, backend, dtype, months, passed, seconds)


def simulate(
    model: Scenario | Economy | System,
    paths: int,
    seed: int = 0,
    backend: str = "auto",
    dtype: str = "float32",
    *,
    months: int | None = None,
    batch: int | None = None,
    progress: Progress | None = None,
    until: Sequence[str] = (),
    deadline: float | None = None,
    on_look: Callable[[Look], None] | None = None,
    on_block: Callable[[Statistics], None] | None = None,
    probabilities: Sequence[str] = (),
    tail: int = TAIL,
    sample: int = SAMPLE,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    interrupted: Callable[[], str] | None = None,
    fallback: bool = False,
    on_event: Observer = silent,
    path_range: Range | None = None,
    on_bad_path: str = QUARANTINE,
    max_bad: float = 1.0,
    cluster: str | None = None,
) -> Result:
    """Simulate ``paths`` paths of a scenario, an economy or a single system.

    With ``until``, as ``["private_credit.loss.es99 within 1%"]``, it stops at the first look at which every target
    holds, after ``paths`` paths at most; ``deadline`` ends it after so many seconds. ``result.stop`` then says what
    was reached, and ``on_look`` is told at each look; ``on_block`` the statistics so far after each block, in the
    background, only to be read. ``probabilities``, as ``["private_credit.loss > 200"]``, are
    counted exactly. ``tail`` is the number of extreme values kept of each metric, ``sample`` that of whole paths.

    ``out`` names a folder: checkpoints are written there every few seconds, the run when it ends; ``resume`` takes
    up the run of the same arguments that was cut off there. ``interrupted()`` is asked after each launch whether to
    stop, and why; ``fallback`` lets another backend go on where one fails in the middle.

    ``path_range`` simulates only these of the run's paths, first and last, whole blocks, to be merged with the others
    (see merge). A path with a non-finite state is set aside; ``on_bad_path="abort"`` ends the run at the first
    block that has one. That run has failed, as one with a larger share of them than ``max_bad``: see
    ``result.failure``.

    ``cluster`` names where the blocks are computed: ``"local:4"``, processes of this machine, or the address of a
    Dask scheduler, ``"tcp://scheduler:8786"``. It takes a scenario, and gives the bytes of one machine.

    ``batch`` is the number of paths a launch takes (default: the backend's choice); no result depends on
    it. ``progress(done, paths, seconds)`` is called as paths are done, ``on_event(event, fields)`` as something
    happens (see log), in the background for some. Raises ConfigError for bad
    arguments, BackendError where the backend cannot be used, TraceError where the model cannot be traced.
    """
    economy = as_economy(model)
    check_run(paths, seed, economy.months if months is None else months, dtype, backend)
    targets, events = check_asked(
        economy.metrics, until, probabilities, deadline, batch=batch, tail=tail, sample=sample
    )
    policy = BadPaths(on_bad_path, max_bad)
    problems = [*check_range(path_range, paths, until), *policy.problems()]
    if problems := [*problems, *check_cluster(cluster, model, fallback)]:
        raise ConfigError(problems)
    first, last = path_range or (0, paths - 1)
    if isinstance(model, Scenario):  # a limited probability is counted exactly too
        limited = events_of(limits_of(model.values, economy.metrics))
        events = tuple(dict.fromkeys([*events, *limited]))
    rule = None
    if targets:
        from .stop import StopRule

        rule = StopRule(targets, max_paths=paths, deadline_seconds=deadline)
    statistics = Statistics(economy.metrics, tail, sample, events)
    folder: RunFolder | None = None
    workers: Cluster | None = None
    damage: list[str] = []
    try:
        if cluster is not None:
            from .cluster_runner import ClusterRunner, join

            assert isinstance(model, Scenario)
            told = {
                "paths": paths, "seed": seed, "backend": backend, "dtype": dtype, "batch": batch, "until": until,
                "months": economy.months if months is None else months,
            }  # fmt: skip
            workers, made = join(cluster, model, told, statistics, interrupted, on_event)
        else:
            made = plan(model, backend, dtype, months)
        identity = identity_of(made, paths, seed, until, statistics)
        if last - first + 1 < paths:
            identity["range"] = [first, last]
        if out is not None:
            here = working_folder(out, resume)
            folder, statistics, damage = _open(
                made, model, here, resume, identity, statistics, policy
            )
        on_event(
            "start",
            {"scenario": economy.name, "identity": identity, "paths_done": statistics.paths},
        )
        stop, tell = stopper(deadline, interrupted), telling(progress, on_event)
        runner: Runner | ClusterRunner
        if workers is not None:
            runner = ClusterRunner(workers, made, last + 1, first=first, progress=tell, stop=stop)
        else:
            runner = Runner(
                made, seed, last + 1, batch or max(made.kernel.chunk, BLOCK), first=first,
                progress=tell, stop=stop, on_lost=_next_backend(made, model, on_event) if fallback else None,
            )  # fmt: skip
        try:
            reduce = work(runner, statistics, rule, folder, on_look, on_event, policy, on_block)
            rows = runner.series() if 0 in statistics.hashes else {}
        except LaunchError as error:
            raise saved(error, runner, statistics, folder, out) from error
        made.seconds |= {"simulate": runner.seconds, "reduce": reduce}
        how = {"seed": seed, "backend": runner.plan.backend, "dtype": dtype, "months": made.months}
        cut = interrupted is not None and interrupted()  # then there is no time to replay paths
        result = Result(
            name=economy.name,
            path_count=statistics.paths,
            seed=seed,
            backend=made.backend,
            dtype=dtype,
            months=made.months,
            statistics=statistics,
            units={name: o.unit for name, o in economy.reported.items()},
            docs={name: o.doc for name, o in economy.reported.items()},
            series_names=economy.series if rows else (),
            by_month=rows,
            seconds=made.seconds,
            stamp=made.kernel.stamp,
            passed_over=made.passed_over,
            lost=runner.lost,
            config=model.values if isinstance(model, Scenario) else None,
            model=model if isinstance(model, Scenario) else None,
            recompute=_recompute(made, seed, statistics, paths),
            stop=outcome(rule, runner, statistics),
            identity=identity,
            failure=policy.failure(statistics),
            bad_policy=policy.as_json(),
            name_bad=None if cut else lambda: named(model, how, statistics.bad),
            stored_bad=[] if cut else runner.name_bad(statistics.bad),
            cluster=workers.as_json() if workers is not None else None,
            damage=damage,
        )
        if folder is not None:
            result.damage += folder.trouble
            try:
                result.save(folder.path)
                folder.ledger.clear()
                publish(folder.path, str(out))
            except OSError as error:  # what was found is not lost: the caller has it
                why = error.strerror or str(error)
                remote = isinstance(error, RemoteError)  # it names the place itself
                result.unsaved = why if remote else f"{folder.path}: {why}"
        return result
    finally:
        if folder is not None:
            folder.close()
        if workers is not None:
            workers.close()


def _next_backend(
    made: Plan, model: Scenario | Economy | System, on_event: Observer
) -> Callable[[BackendError], Plan]:
    """What goes on where a backend fails: the next of those that work, never one before it."""
    # a device that is lost to CuPy is lost to JAX too, which is slower than native on a processor
    order = ["cuda", "native", "jax", "numpy"]
    left = order[order.index(made.backend) + 1 :]

    def another(error: BackendError) -> Plan:
        while left:
            name = left.pop(0)
            if backends.status(name).works:
                try:
                    found = plan(model, name, made.dtype, made.months)
                except BackendError:  # no compiler that works, say
                    continue
                on_event("warning", {"message": f"a launch failed ({error}); {name} goes on"})
                return found
        raise error

    return another


def _open(
    made: Plan,
    model: Scenario | Economy | System,
    path: Path,
    resume: bool,
    identity: dict[str, Any],
    empty: Statistics,
    policy: BadPaths,
) -> tuple[RunFolder, Statistics, list[str]]:
    """The run's folder, what was done before, and a line for each damaged checkpoint."""
    if resume:
        folder, found, damage = RunFolder.resume(path, identity)
        return folder, found if found is not None else empty, damage
    config, books = own_files(model if isinstance(model, Scenario) else None)
    reported = made.economy.reported
    manifest = {
        "scenario": made.economy.name,
        "config": config,
        "units": {name: o.unit for name, o in reported.items()},
        "docs": {name: o.doc for name, o in reported.items()},
        "bad_policy": policy.as_json(),
    }
    return RunFolder.create(path, identity, manifest, books), empty, []


def _recompute(
    plan: Plan, seed: int, statistics: Statistics, paths: int
) -> Callable[[list[str]], dict[str, NDArray[Any]]]:
    """Per-path values of some metrics, computed again: cheaper than keeping them all for everyone."""

    def values(names: list[str]) -> dict[str, NDArray[Any]]:
        rows = [plan.economy.metrics.index(name) for name in names]
        parts = []
        for block in sorted(statistics.hashes):
            first = block * BLOCK
            output = plan.run(seed, first, min(BLOCK, paths - first))
            parts.append(
                np.concatenate([output.metrics[rows], output.bad[None, :].astype(plan.dtype)])
            )
        table = np.concatenate(parts, axis=1)
        return dict(zip([*names, "first_bad_month"], table, strict=True))

    return values
