"""Simulate: paths in blocks, a backend for each, statistics of the metrics. The only caller of kernels/."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..kernels import backends
from ..kernels.backends.base import DTYPES, BackendError, Kernel, LaunchError, Output
from ..kernels.passes import optimize
from ..kernels.philox import MAX_PATHS
from ..kernels.program import Program
from ..kernels.trace import trace
from .functionals import Quantity, parse_quantity
from .limits import events_of, limits_of
from .log import Observer, seen, silent, telling
from .path_ranges import Range, check_range
from .quarantine import QUARANTINE, BadPaths, named
from .remote import RemoteError, publish, working_folder
from .result import Result
from .run_folder import RunFolder
from .run_store import own_files
from .runner import Block, Progress, Runner
from .scenario import Scenario
from .statistics import BLOCK, SAMPLE, TAIL, Event, Statistics
from .system import MAX_MONTHS, Economy, System
from .validate import ConfigError, shown

if TYPE_CHECKING:
    from .cluster import Cluster
    from .cluster_runner import ClusterRunner, Part
    from .stop import Look, StopRule, Target


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


def check_run(paths: Any, seed: Any, months: Any, dtype: str, backend: str) -> None:
    """Raise ConfigError with everything that is wrong with a run's arguments."""
    problems = []
    if not _whole(paths) or not 1 <= paths <= MAX_PATHS:
        problems.append(f"paths = {paths!r}: should be a whole number from 1 to 2^48")
    if not _whole(seed) or not 0 <= seed < 1 << 64:
        problems.append(f"seed = {seed!r}: should be a whole number from 0 to 2^64 - 1")
    if not _whole(months) or not 1 <= months <= MAX_MONTHS:
        problems.append(f"months = {months!r}: should be a whole number from 1 to {MAX_MONTHS}")
    if dtype not in DTYPES:
        problems.append(f"dtype = {dtype!r}: should be {' or '.join(DTYPES)}")
    if backend not in ("auto", *backends.NAMES):
        problems.append(f"backend = {backend!r}: should be auto, {', '.join(backends.NAMES)}")
    if problems:
        raise ConfigError(problems)


def _whole(x: Any) -> bool:
    return isinstance(x, int | np.integer) and not isinstance(x, bool)


def _check_model(economy: Economy, dtype: str) -> None:
    """Raise ConfigError where nothing is reported, or a parameter is beyond what float32 holds."""
    if problems := economy.silent():
        raise ConfigError(problems)
    if dtype != "float32":
        return
    limits = np.finfo(np.float32)
    low, high = float(limits.smallest_normal), float(limits.max)
    given = {k: v for key, s in economy.systems.items() for k, v in s._flatten(key).items()}
    problems = [
        f"{name} = {value:g}: float32 holds 0 and sizes from {low:.2g} to {high:.2g}; should be one of them, or "
        "dtype float64"
        for name, value in given.items()
        if value and not low <= abs(value) <= high
    ]
    problems = problems or [
        f"{name}: computes to {value:.2g}, beyond float32's {high:.2g}; values should be less extreme, or dtype "
        "float64"
        for name, data in {**economy.reals, **economy.columns}.items()
        if name not in given and (value := float(np.abs(data).max())) > high
    ]
    if problems:
        raise ConfigError(problems)


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
    _check_model(economy, dtype)
    passed: list[str] = []
    if backend == "auto":
        backend, skipped = backends.choose()
        passed = [f"{s.name}: {s.why}" for s in skipped]
    else:
        found = backends.status(backend)
        if not found.works:
            raise BackendError(f"backend {backend} cannot be used: {found.why}")
    start = time.perf_counter()
    program = optimize(trace(economy, dtype == "float64"))
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
    was reached, and ``on_look`` is told at each look. ``probabilities``, as ``["private_credit.loss > 200"]``, are
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
    if problems := [*problems, *_check_cluster(cluster, model, fallback)]:
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
        identity = _identity(made, paths, seed, until, statistics)
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
        stop, tell = _stopper(deadline, interrupted), telling(progress, on_event)
        runner: Runner | ClusterRunner
        if workers is not None:
            runner = ClusterRunner(workers, made, last + 1, first=first, progress=tell, stop=stop)
        else:
            runner = Runner(
                made, seed, last + 1, batch or max(made.kernel.chunk, BLOCK), first=first,
                progress=tell, stop=stop, on_lost=_next_backend(made, model, on_event) if fallback else None,
            )  # fmt: skip
        try:
            reduce = _work(runner, statistics, rule, folder, on_look, on_event, policy)
            record, rows = runner.series() if 0 in statistics.hashes else (None, {})
        except LaunchError as error:
            raise _saved(error, runner, statistics, folder, out) from error
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
            series_names=economy.series if record is not None or rows else (),
            record=record,
            stored_series=rows,
            seconds=made.seconds,
            stamp=made.kernel.stamp,
            passed_over=made.passed_over,
            lost=runner.lost,
            config=model.values if isinstance(model, Scenario) else None,
            model=model if isinstance(model, Scenario) else None,
            recompute=_recompute(made, seed, statistics, paths),
            stop=_outcome(rule, runner, statistics),
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


def _check_cluster(cluster: str | None, model: Any, fallback: bool) -> list[str]:
    """A line for each reason why this cannot run there."""
    if cluster is None:
        return []
    from .cluster_client import check_cluster

    problems = check_cluster(cluster)
    if not isinstance(model, Scenario):
        problems.append(
            f"cluster = {shown(cluster)}: takes a scenario, whose config is sent to the workers; should be left out for "
            "a model written in Python"
        )
    if fallback:
        problems.append(
            "fallback: on a cluster another worker goes on where one fails; should be left out"
        )
    return problems


def _work(
    runner: Runner | ClusterRunner,
    statistics: Statistics,
    rule: StopRule | None,
    folder: RunFolder | None,
    on_look: Callable[[Look], None] | None,
    on_event: Observer,
    policy: BadPaths,
) -> float:
    """Run the blocks that are missing until all are done, a rule holds, or the runner is stopped.

    Returns the seconds that the statistics took.
    """

    def reduce(block: Block | Part) -> float:
        start = time.perf_counter()
        block.into(statistics)
        spent = time.perf_counter() - start
        if folder is not None and folder.due():
            folder.checkpoint(
                statistics, runner.elapsed
            )  # a full disk is noted, and the run goes on
            on_event("checkpoint", {"paths": statistics.paths, "trouble": folder.trouble})
        return spent

    def looked() -> bool:
        assert rule is not None
        look = rule.look(statistics, statistics.paths, runner.elapsed)
        runner.expected = min(look.paths_needed or runner.paths, runner.paths)
        on_event("look", seen(look))
        if on_look is not None:
            on_look(look)
        return look.held

    def borne(bad: int) -> bool:
        runner.why = runner.why or (_BAD if policy.ends(bad, runner.size) else "")
        return runner.why != _BAD

    total, bad = 0.0, statistics.bad_count
    runner.done = statistics.paths
    # a run that was cut off between the last block before a look and the look; or failed, and does so again
    due = rule is not None and _is_look(rule, statistics.paths)
    if (not borne(bad) or due) and rule is not None and looked():
        return total
    with ThreadPoolExecutor(1) as background:  # a block is reduced while the next is simulated
        while statistics.paths < runner.size and not runner.why:
            # blocks may be missing below others, but only of the round that was cut off
            goal = min(rule.next_look(statistics.paths), runner.paths) if rule else runner.paths
            pending: Future[float] | None = None
            for block in runner.blocks(statistics.hashes.keys(), goal):
                if pending is not None:
                    total += pending.result()
                pending = background.submit(reduce, block)
                bad += block.bad_count
                if not borne(bad):
                    break
            if pending is not None:
                total += pending.result()
            if rule is not None and looked():
                break
    return total


_BAD = "bad paths"


def _saved(
    error: LaunchError,
    runner: Runner | ClusterRunner,
    statistics: Statistics,
    folder: RunFolder | None,
    out: str | os.PathLike[str] | None,
) -> LaunchError:
    """The error, once what was done before is safe, with how to go on."""
    lines = [str(error)]
    if folder is not None:
        if statistics.paths:
            folder.checkpoint(statistics, runner.elapsed)
        lines += folder.trouble
        lines.append(
            f"{statistics.paths:,} paths were done before; go on with overbuilt run --resume {out}"
        )
    return LaunchError("\n".join(lines))


def _is_look(rule: StopRule, paths: int) -> bool:
    return paths > 0 and rule.next_look(paths - 1) == paths


def _gaps(statistics: Statistics) -> bool:
    """Whether a block is missing below another: workers were cut off in the middle of a round."""
    return len(statistics.hashes) <= max(statistics.hashes, default=-1)


def _stopper(deadline: float | None, interrupted: Callable[[], str] | None) -> Callable[[], str]:
    began = time.perf_counter()

    def why() -> str:
        found = interrupted() if interrupted is not None else ""
        late = deadline is not None and time.perf_counter() - began > deadline
        return found or ("deadline" if late else "")

    return why


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


def _identity(
    made: Plan, paths: int, seed: int, until: Sequence[str], statistics: Statistics
) -> dict[str, Any]:
    """Everything that the bytes of a run hang on."""
    inputs = hashlib.sha256()
    e = made.economy
    for name, value in {**e.reals, **e.ints, **e.columns}.items():
        inputs.update(name.encode() + b"\0" + np.ascontiguousarray(value).tobytes())
    return {
        "inputs_sha256": inputs.hexdigest(),
        "program": hashlib.sha256(str(made.program).encode()).hexdigest(),
        "seed": seed,
        "months": made.months,
        "dtype": made.dtype,
        "backend": made.backend,
        "stamp": made.kernel.stamp,
        "version": __version__,
        "paths_wanted": paths,
        "until": list(until),
        "events": [list(event) for event in statistics.events],
        "tail": statistics.tail,
        "sample": statistics.sample_size,
    }


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


def check_asked(
    names: tuple[str, ...],
    until: Sequence[str],
    probabilities: Sequence[str],
    deadline: float | None = None,
    **sizes: int | None,
) -> tuple[list[Target], tuple[Event, ...]]:
    """The targets, and the events to count. Raises ConfigError with everything that is wrong."""
    problems = [
        f"{name} = {size!r}: should be a whole number above 0"
        for name, size in sizes.items()
        if size is not None and (not _whole(size) or size < 1)
    ]
    if deadline is not None and not deadline > 0:
        problems.append(f"deadline = {deadline!r}: should be above 0 seconds")
    targets: list[Target] = []
    quantities: list[Quantity] = []
    for text in until:
        from .stop import parse_target

        try:
            targets.append(parse_target(text, names))
        except ConfigError as error:
            problems += error.problems
    for text in probabilities:
        try:
            quantities.append(parse_quantity(text, names))
        except ConfigError as error:
            problems += error.problems
    problems += [
        f"probability {shown(q.text)}: should be like {q.metric} > 200"
        for q in quantities
        if q.functional.kind != "probability"
    ]
    if problems:
        raise ConfigError(problems)
    counted = [
        (q.metric, q.functional.sign, q.functional.threshold)
        for q in [*quantities, *(t.quantity for t in targets)]
        if q.functional.kind == "probability"
    ]
    return targets, tuple(dict.fromkeys(counted))


def _outcome(
    rule: StopRule | None, runner: Runner | ClusterRunner, statistics: Statistics
) -> dict[str, Any] | None:
    """What ``result.stop`` says: of the targets, or of what came before all paths were done."""
    if rule is not None:
        found = rule.outcome(bool(runner.why)).as_json()
        whole = {} if not _gaps(statistics) else {"held": False}  # the run that goes on may differ
        return found | whole | ({"why": runner.why} if runner.why else {})
    if (done := statistics.paths) < (size := runner.size):
        return {"held": False, "why": runner.why, "targets": [], "paths": done, "max_paths": size}
    return None


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
