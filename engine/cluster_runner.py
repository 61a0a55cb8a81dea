"""A run's blocks on the workers of a cluster: ranges given out, answers taken in any order, stragglers overtaken.

As every block gives the same bytes wherever it is computed, and statistics merge exactly in any order, a range may be
computed twice, or again, and it does not matter who was faster.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

from ..kernels import backends
from ..kernels.backends.base import BackendError, Kernel, LaunchError, Output
from ..kernels.passes import optimize
from ..kernels.program import Program
from ..kernels.trace import trace
from .arguments import check_model
from .cluster import Call, Cluster, Gone, Worker, _why
from .cluster_worker import UNKNOWN, Answer, bounds_of, compute, name_bad, series
from .log import Observer
from .run_folder import identity_of
from .run_store import own_files
from .runner import Progress, missing
from .scenario import Scenario
from .series import Rows
from .simulate import Plan
from .statistics import BLOCK, Statistics
from .system import Economy

TASK = 8.0
"""Seconds of work that a worker is given at once: what its death costs, and a signal may have to wait for. Packing an
answer, and the statistics of its last block, are not hidden behind the simulation of others."""
SHARE = 0.25
"""Of the time, at most, that merging takes here: many workers are given more at once."""
LATE = 2.0
"""A range that takes so many times the median is given to another worker too, once one is free."""
LEAST_LATE = 1.0
"""Seconds that any range may take: the first that a process computes takes longer."""
FIRST_LATE = 60.0
"""Seconds, where there is no median yet."""
TRIES = 3
"""Workers that may fail at a range before the run ends."""
GRACE = 12.0
"""Seconds that a stop waits for what is being computed."""
POLL = 0.2
_FRESH = 1.25  # growth of the run after which the bounds are found anew


@dataclass(eq=False)
class Task:
    """Blocks first, ..., end - 1, until they are answered."""

    first: int
    end: int
    calls: dict[str, Call] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    @property
    def blocks(self) -> int:
        return self.end - self.first

    def __str__(self) -> str:
        return f"paths {self.first * BLOCK:,} to {self.end * BLOCK - 1:,}"


@dataclass(frozen=True, slots=True)
class Part:
    """What a worker found, as a Runner's Block."""

    statistics: Statistics
    merged: Callable[[Statistics, float], None]

    @property
    def bad_count(self) -> int:
        return self.statistics.bad_count

    def into(self, whole: Statistics) -> None:
        """Add it."""
        began = time.perf_counter()
        whole.merge(self.statistics)
        self.merged(whole, time.perf_counter() - began)


class WorkersKernel:
    """Stands for the kernel that the workers have. Asked for paths, it compiles one here, which has to be the same."""

    def __init__(self, economy: Economy, program: Program, dtype: str, answer: Answer) -> None:
        self._made = economy, program, dtype
        self._own: Kernel | None = None
        self.stamp: dict[str, str] = answer["identity"]["stamp"]
        self.chunk: int = answer["chunk"]

    def _here(self) -> Kernel:
        if self._own is None:
            kernel = backends.compile(self.stamp["backend"], *self._made)
            if kernel.stamp != self.stamp:
                raise BackendError(
                    f"these paths were computed with {_told(self.stamp)}; here is {_told(kernel.stamp)}"
                )
            self._own = kernel
        return self._own

    def run(self, *arguments: Any) -> Output:
        return self._here().run(*arguments)

    def run_many(self, *arguments: Any) -> list[Output]:
        return self._here().run_many(*arguments)


def _told(stamp: dict[str, str]) -> str:
    return ", ".join(f"{k} {v}" for k, v in stamp.items())


def join(
    text: str,
    model: Scenario,
    how: dict[str, Any],
    statistics: Statistics,
    interrupted: Callable[[], str] | None,
    on_event: Observer,
) -> tuple[Cluster, Plan]:
    """The cluster, once its workers have planned the run, and the plan as it is here: traced, not compiled.

    ``how``: paths, seed, backend, dtype, months, until, batch, as simulate has them. Raises ConfigError and LaunchError.
    """
    economy, dtype = model.economy, how["dtype"]
    check_model(economy, dtype)
    began = time.perf_counter()
    program = optimize(trace(economy, dtype == "float64"))
    seconds = {"trace": time.perf_counter() - began}
    config, files = own_files(model)
    books = {name: zlib.compress(path.read_bytes()) for name, path in files.items()}
    events = [list(e) for e in statistics.events]
    asked = json.dumps(
        how | {
            "config": config, "scenario": model.name, "until": list(how["until"]),
            "tail": statistics.tail, "sample": statistics.sample_size, "events": events,
        }
    )  # fmt: skip
    plans: list[Plan] = []

    def expected(answer: Answer) -> dict[str, Any]:
        kernel = WorkersKernel(economy, program, dtype, answer)
        spent = seconds | {"compile": answer["seconds"].get("compile", 0.0)}
        backend = how["backend"] if how["backend"] != "auto" else kernel.stamp["backend"]
        plans[:] = [
            Plan(
                economy,
                program,
                kernel,
                backend,
                dtype,
                how["months"],
                answer["passed_over"],
                spent,
            )
        ]
        return identity_of(plans[0], how["paths"], how["seed"], how["until"], statistics)

    cluster = Cluster(text, _key(asked, books), asked, books, expected, on_event)
    try:
        cluster.meet(interrupted or (lambda: ""))
    except BaseException:
        cluster.close()
        raise
    return cluster, plans[0]


def _key(asked: str, books: dict[str, bytes]) -> str:
    digest = hashlib.sha256(asked.encode())
    for name, data in sorted(books.items()):
        digest.update(f"\0{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


class ClusterRunner:
    """As Runner, on a cluster's workers. What a stop finds half done is waited for, GRACE seconds, then dropped.

    A worker that fails is given nothing more. ``lost`` has a line for each, and for each that died.
    """

    def __init__(
        self,
        cluster: Cluster,
        plan: Plan,
        paths: int,
        *,
        first: int = 0,
        progress: Progress | None = None,
        stop: Callable[[], str] = lambda: "",
    ) -> None:
        self.cluster, self.plan, self.paths = cluster, plan, paths
        self.first, self.size = first, paths - first
        self.progress, self.stop = progress, stop
        self.expected = self.size
        self.done = 0
        self.why = ""
        self.seconds = 0.0
        self.began = time.perf_counter()
        self._left: deque[tuple[int, int]] = deque()
        self._open: list[Task] = []
        self._parts: deque[Part] = deque()
        self._paces: deque[float] = deque(maxlen=256)  # seconds a block took, of late
        self._pace: dict[str, float] = {}  # the same, of a worker's last range
        self._cost = 0.0  # seconds that merging an answer took
        self._bounds: Answer | None = None
        self._bounded = 0

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self.began

    @property
    def lost(self) -> list[str]:
        return self.cluster.notes

    def blocks(self, finished: Collection[int], goal: int) -> Iterator[Part]:
        """Statistics of the blocks below path ``goal`` that are not finished; fewer where ``stop`` says so."""
        began = time.perf_counter()
        ranges = missing(finished, goal, self.first)
        self._left = deque((a // BLOCK, -(-min(b, goal) // BLOCK)) for a, b in ranges)
        stopped = math.inf
        try:
            while self._left or self._open:
                if not self.why:
                    self._give()
                self.cluster.turn(POLL)
                while self._parts:
                    yield self._parts.popleft()
                if not self.why and (why := self.stop()):
                    self.why, stopped = why, time.monotonic()
                if self.why and self._over(time.monotonic() - stopped):
                    return
        finally:
            for call in [c for t in self._open for c in t.calls.values()]:
                self.cluster.drop(call)
            self._open.clear()
            self.seconds += time.perf_counter() - began

    def _over(self, waited: float) -> bool:
        """Whether a stop need not wait any more. Raises LaunchError where nothing at all was done."""
        if any(t.calls for t in self._open) and waited < (GRACE if self.done else FIRST_LATE):
            return False
        if not self.done:
            raise LaunchError(f"stopped by {self.why} before a block was done")
        return True

    # ---- giving
    def _give(self) -> None:
        for worker in self.cluster.idle():
            task = self._next(worker)
            if task is None:
                return
            task.calls[worker.address] = self.cluster.ask(
                worker, compute, task.first, task.end, self._bounds,
                tell=partial(self._told, task, worker),
            )  # fmt: skip

    def _next(self, worker: Worker) -> Task | None:
        """What a free worker does: what another failed at, the next range, or what a straggler is at."""
        again = next((t for t in self._open if not t.calls), None)
        if again is not None:
            return again
        if self._left:
            task = Task(*self._cut(worker))
            self._open.append(task)
            return task
        usual = LATE * median(self._paces) if self._paces else FIRST_LATE
        late = [
            (call.seconds, t)
            for t in self._open
            for call in t.calls.values()
            if len(t.calls) == 1 and call.seconds > max(usual * t.blocks, LEAST_LATE)
        ]
        if not late:
            return None
        self.cluster.overtaken += 1
        return max(late, key=lambda found: found[0])[1]

    def _cut(self, worker: Worker) -> tuple[int, int]:
        """The next range: so many seconds of this worker's work, and at the end half its share of what is left.

        Guided self-scheduling (Polychronopoulos and Kuck 1987), so that all end at about the same time.
        """
        several = len(self.cluster.workers)
        left = sum(end - first for first, end in self._left)
        pace = self._pace.get(worker.address)
        most = 1
        if pace is not None:
            seconds = max(TASK, several * self._cost / SHARE)
            most = max(int(seconds / max(pace, 1e-6)), 1)
        first, end = self._left.popleft()
        cut = min(end, first + min(most, -(-left // (2 * several))))
        if cut < end:
            self._left.appendleft((cut, end))
        return first, cut

    # ---- taking
    def _told(self, task: Task, worker: Worker, answer: Answer | Exception) -> None:
        call = task.calls.pop(worker.address)
        if isinstance(answer, dict) and "statistics" in answer:
            return self._take(task, worker, call, answer)
        if isinstance(answer, dict) and answer["kind"] == UNKNOWN:
            return self.cluster.forget(worker.address)
        if isinstance(answer, Gone):
            line = f"worker {worker} was lost at {task}"
        else:
            said = "; ".join(answer["lines"]) if isinstance(answer, dict) else _why(answer)
            line = f"worker {worker}: {task}: {said}"
            self.cluster.set_aside(worker, line)
        task.failed.append(line)
        if len(task.failed) >= TRIES:
            raise LaunchError("\n".join([f"{task} failed on {TRIES} workers", *task.failed]))

    def _take(self, task: Task, worker: Worker, call: Call, answer: Answer) -> None:
        part: Statistics = answer["statistics"]
        if part.hashes.keys() != set(range(task.first, task.end)):
            raise LaunchError(f"worker {worker}: gave other paths than {task}")
        for other in task.calls.values():  # it goes on, and is not listened to
            other.wanted = False
        self._open.remove(task)
        self._paces.append(call.seconds / task.blocks)
        self._pace[worker.address] = answer["seconds"] / task.blocks
        self.done += part.paths
        self._parts.append(Part(part, partial(self._merged, answer["unpacking"])))
        if self.progress is not None:
            self.progress(self.done, max(self.expected, self.done), self.elapsed)

    def _merged(self, unpacking: float, whole: Statistics, merging: float) -> None:
        """What the answer cost here; and what answers need not hold any more, where the run has grown since."""
        self._cost = 0.5 * (self._cost + unpacking + merging)
        if whole.paths >= _FRESH * self._bounded:
            self._bounds, self._bounded = bounds_of(whole), whole.paths

    # ---- what is asked once
    def series(self) -> dict[str, Rows]:
        """The rows by month, as ``Result.by_month``; none where a stop does not wait for them."""
        answer = self._ask(series, self.paths) if self.plan.economy.series else {}
        rows: dict[str, Rows] = answer.get("rows", {})
        return rows

    def name_bad(self, bad: dict[int, int]) -> list[dict[str, Any]]:
        """The first bad paths with their variables, as ``Result.stored_bad``."""
        try:
            answer = self._ask(name_bad, bad, patience=FIRST_LATE) if bad else {}
        except LaunchError:  # that a run ends well does not hang on this
            return []
        found: list[dict[str, Any]] = answer.get("bad", [])
        return found

    def _ask(
        self, function: Callable[..., Answer], *arguments: Any, patience: float = math.inf
    ) -> Answer:
        """What any worker answers; another is asked too where one is slow, or fails. Empty where that took too long."""
        found: list[Answer] = []
        calls: list[Call] = []
        failed: list[str] = []
        told = 0
        began = asked = time.monotonic()

        def tell(worker: Worker, answer: Answer | Exception) -> None:
            nonlocal told
            told += 1
            if isinstance(answer, dict) and "lines" not in answer:
                found.append(answer)
            elif isinstance(answer, dict) and answer["kind"] == UNKNOWN:
                self.cluster.forget(worker.address)
            else:
                said = "; ".join(answer["lines"]) if isinstance(answer, dict) else _why(answer)
                failed.append(f"worker {worker}: {said}")

        while not found and len(failed) < TRIES:
            now = time.monotonic()
            idle = self.cluster.idle()
            if idle and (told == len(calls) or now - asked > FIRST_LATE):
                asked, worker = now, idle[0]
                calls.append(
                    self.cluster.ask(worker, function, *arguments, tell=partial(tell, worker))
                )
            self.cluster.turn(POLL)
            if now - began > (GRACE if self.why else patience):
                break
        for call in calls:
            self.cluster.drop(call)
        if len(failed) >= TRIES:
            raise LaunchError("\n".join(failed))
        return found[0] if found else {}
