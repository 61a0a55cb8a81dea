"""The workers of a Dask cluster: who is there, whether they would give the same bytes, and how they are asked.

What happens on the network happens in threads of its own, which put what they find in one queue; the run takes it
from there in ``turn``, so all that is kept about workers is touched by one thread.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pkgutil import resolve_name
from typing import Any

from .. import __version__
from ..kernels.backends.base import LaunchError
from .checkpoint import unpack
from .cluster_client import connected, silenced
from .cluster_worker import Answer, prepare
from .log import Observer
from .run_folder import differences
from .validate import ConfigError

LOOK = 1.0
"""Seconds between two looks at who is there: how late a dead worker is noticed at most."""
SILENCE = 60.0
"""Seconds after which a scheduler that does not answer is given up."""
WAITING = 5.0
"""Seconds without a worker after which that is said."""
LONELY = 120.0
"""Seconds that a run waits for a worker while there is none."""
RESTART = 10.0
"""As LONELY, where those that are there failed: others may just be starting."""
PATIENCE = 600.0
"""Seconds that a worker may take to compile, before the run starts without it."""
FETCH = 120.0
"""Seconds that an answer may take from a worker to here."""
NOTES = 20
"""Lines about workers that a run keeps."""
FETCHERS = 2
ROOM = 4
"""Answers that lie here at once: a run's memory does not grow with its workers."""

VERSION = f"{prepare.__module__}:__version__"
"""What a newcomer is asked for first; to say it, it has to import all that it needs."""


class Gone(Exception):
    """A worker that the scheduler does not have any more, or that was asked through one that is gone."""

    def __str__(self) -> str:
        return "was lost"


@dataclass(eq=False)
class Call:
    """What one worker was asked. ``tell`` gets its answer, or why there is none; ``wanted`` until another gave it."""

    address: str
    tell: Callable[[Any], None]
    since: float = field(default_factory=time.monotonic)
    wanted: bool = True
    future: Any = None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.since


@dataclass(eq=False)
class Worker:
    """A worker with the run's plan. ``call`` is what it computes; ``held`` counts its answers that are not here yet."""

    address: str
    host: str
    call: Call | None = None
    held: int = 0
    answers: int = 0

    def __str__(self) -> str:
        return f"{self.address} on {self.host}" if self.host else self.address


class Cluster:
    """A run's workers. ``expected`` gives, from the first worker's answer, the identity that all must have.

    ``asked`` and ``books`` are what ``cluster_worker.prepare`` takes. Raises ConfigError where no scheduler answers,
    or the processes cannot be started. It is to be closed, whatever happens.
    """

    def __init__(
        self,
        text: str,
        key: str,
        asked: str,
        books: dict[str, bytes],
        expected: Callable[[Answer], dict[str, Any]],
        on_event: Observer,
    ) -> None:
        self.text, self.key = text, key
        self.workers: dict[str, Worker] = {}
        self.served: list[Worker] = []
        """All that had the plan at some time."""
        self.refused: dict[str, list[str]] = {}
        self.overtaken = 0
        """Ranges that were given to a second worker, as the first was slow."""
        self._notes: list[str] = []
        self._asked, self._books, self._expected, self._on_event = asked, books, expected, on_event
        self._identity: dict[str, Any] | None = None
        self._first = ""
        self._strangers: dict[str, Call | None] = {}
        self._calls: set[Call] = set()
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._finished: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(ROOM)
        self._closed = threading.Event()
        self._saw = self._busy = time.monotonic()
        self._warned = self._begun = False
        self._loud = silenced()
        self._client: Any = None
        self._local: Any = None
        try:
            self._client, self._local = connected(text)
        except BaseException:
            self.close()
            raise
        for work in (self._watch, *[self._fetch] * FETCHERS):
            # a daemon dies with the process, whatever it waits for
            threading.Thread(target=work, daemon=True).start()

    # ---- beginning and end
    def close(self) -> None:
        """Let go of the cluster, and end its processes where they were started here."""
        self._closed.set()
        for _ in range(FETCHERS):
            self._finished.put(None)
        for closing in (self._client, self._local):
            if closing is not None:
                with suppress(Exception):  # what is closed may be gone already
                    closing.close(timeout=10)
        for handler, level in self._loud:
            handler.setLevel(level)

    def meet(self, interrupted: Callable[[], str]) -> None:
        """Wait until all workers that are there have planned the run.

        Raises ConfigError where one would not give the same bytes, or none comes; KeyboardInterrupt.
        """
        began = time.monotonic()
        while not self.workers or self._strangers:
            self.turn(0.1)
            if self.refused:
                raise ConfigError([line for lines in self.refused.values() for line in lines])
            waited = time.monotonic() - began
            if interrupted():
                raise KeyboardInterrupt
            if waited > LONELY and not self.workers and not self._strangers:
                raise ConfigError(
                    [f"cluster {self.text}: has no worker after {LONELY:.0f} seconds"]
                )
            if waited > PATIENCE and not self.workers:
                raise ConfigError(
                    [f"cluster {self.text}: no worker had planned the run after {waited:.0f} s"]
                )
            if waited > PATIENCE:  # the others join when they are ready
                break
        self._begun = True

    @property
    def notes(self) -> list[str]:
        """A line for each worker that was lost, or is not used any more; the first of them."""
        more = len(self._notes) - NOTES
        return self._notes[:NOTES] + ([f"and {more:,} more"] if more > 0 else [])

    # ---- asking
    def idle(self) -> list[Worker]:
        """The workers that have nothing to compute, and not two answers that wait to be fetched."""
        return [w for w in self.workers.values() if w.call is None and w.held < 2]

    def ask(
        self,
        worker: Worker,
        function: Callable[..., Answer],
        *arguments: Any,
        tell: Callable[[Answer | Exception], None],
    ) -> Call:
        """Have a worker compute ``function(key, *arguments)``."""
        call = worker.call = self._ask(worker.address, function, self.key, *arguments, tell=tell)
        return call

    def _ask(
        self,
        address: str,
        function: Callable[..., Any],
        *arguments: Any,
        tell: Callable[[Any], None],
    ) -> Call:
        call = Call(address, tell)
        try:
            call.future = self._client.submit(
                function, *arguments, workers=[address], allow_other_workers=False, pure=False,
                key=f"overbuilt-{function.__name__}-{uuid.uuid4().hex}",
            )  # fmt: skip
        except Exception as error:  # the client gave the scheduler up
            raise LaunchError(f"cluster {self.text}: {_why(error)}") from error
        self._calls.add(call)
        call.future.add_done_callback(lambda _: self._events.put(partial(self._ended, call)))
        return call

    def drop(self, call: Call) -> None:
        """Take a call back: if it did not begin yet, it never will."""
        call.wanted = False
        self._calls.discard(call)
        call.future.release()

    def forget(self, address: str) -> None:
        """A worker that lost its plan, as it was started again: it is asked to make it once more."""
        self.workers.pop(address, None)
        self._strangers[address] = None
        self._greet()

    def set_aside(self, worker: Worker, line: str) -> None:
        """Give a worker nothing more; the line says why. It may have been given a second range before that was known."""
        if self.workers.pop(worker.address, None) is None:
            return
        self.refused[worker.address] = [line]
        self._say(f"{line}; it is not used any more")

    # ---- what happens
    def turn(self, seconds: float) -> None:
        """Do what came up next; wait so long for it at most.

        Raises LaunchError where the scheduler is gone, or there has been no worker for long.
        """
        try:
            self._events.get(timeout=seconds)()
            return
        except queue.Empty:
            now = time.monotonic()
        if now - self._saw > SILENCE:
            raise LaunchError(
                f"cluster {self.text}: the scheduler has not answered for {SILENCE:.0f} s"
            )
        coming = any(c is None or c.seconds < PATIENCE for c in self._strangers.values())
        if self.workers or coming:
            self._busy, self._warned = now, False
        elif not self._warned and now - self._busy > WAITING:
            self._warned = True
            self._on_event("warning", {"message": f"cluster {self.text}: waits for a worker"})
        if self.served and now - self._busy > (RESTART if self.refused else LONELY):
            lines = [line for lines in self.refused.values() for line in lines]
            raise LaunchError("\n".join([f"cluster {self.text}: no worker is left", *lines]))

    def _watch(self) -> None:
        pause = 0.0
        while not self._closed.wait(pause):
            pause = LOOK
            try:
                found = set(self._client.nthreads())
            except Exception:  # the network has many ways to fail; what counts is for how long
                continue
            self._events.put(partial(self._see, found))

    def _see(self, there: set[str]) -> None:
        """Who came, and who went."""
        self._saw = time.monotonic()
        known = {*self.workers, *self._strangers, *self.refused}
        for address in known - there:
            self._lose(address)
        self._strangers |= dict.fromkeys(sorted(there - known))
        self._greet()

    def _lose(self, address: str) -> None:
        self._busy = time.monotonic()
        worker = self.workers.pop(address, None)
        self.refused.pop(address, None)
        self._strangers.pop(address, None)
        if worker is not None:
            self._say(f"worker {worker} was lost")
        for call in [c for c in self._calls if c.address == address]:
            wanted = call.wanted
            self.drop(call)
            if wanted:
                call.tell(Gone())

    def _greet(self) -> None:
        """Have newcomers plan the run; of a host's, one first: the others find the kernel in its cache."""
        ready = {_host(a) for a in self.workers}
        for address, call in self._strangers.items():
            asked = {_host(a) for a, c in self._strangers.items() if c is not None}
            if call is None and (_host(address) in ready or _host(address) not in asked):
                # a worker that cannot import what it is sent ends itself, so it is asked for a text first
                self._strangers[address] = self._ask(
                    address, resolve_name, VERSION, tell=partial(self._meet, address)
                )

    def _meet(self, address: str, answer: Any) -> None:
        """What a newcomer says of itself: its version, then its plan."""
        if answer == __version__:
            self._strangers[address] = self._ask(
                address, prepare, self.key, self._asked, self._books,
                tell=partial(self._meet, address),
            )  # fmt: skip
            return
        self._strangers.pop(address, None)
        if isinstance(answer, Gone):
            return
        worker = Worker(address, answer.get("host", "") if isinstance(answer, dict) else "")
        if lines := self._stranger(worker, answer):
            self.refused[address] = [f"worker {worker}: {line}" for line in lines]
            if self._begun:  # before that, it ends the run
                self._say("; ".join(self.refused[address]) + "; it is not used")
        else:
            self.workers[address] = worker
            self.served.append(worker)
        self._greet()

    def _stranger(self, worker: Worker, answer: Any) -> list[str]:
        """Why a worker cannot be used: a line for each reason."""
        if isinstance(answer, Exception):
            return [_why(answer)]
        if isinstance(answer, str):
            return [f"has overbuilt {answer}, and here is {__version__}; they should be the same"]
        if "lines" in answer:
            return list(answer["lines"])
        if self._identity is None:
            self._identity, self._first = self._expected(answer), worker.address
            where = ("here", f"on worker {worker}")
        else:
            where = (f"on {self._first}", f"on worker {worker}")
        return [
            f"would not give the same bytes: {line}"
            for line in differences(self._identity, answer["identity"], where)
        ]

    def _ended(self, call: Call) -> None:
        """A call has its answer, or never will; the worker is free for another."""
        worker = self.workers.get(call.address)
        free = worker is not None and worker.call is call
        if worker is not None and free:
            worker.call = None
        if call not in self._calls:
            return
        if worker is not None and free:
            worker.held += 1
        if call.wanted:
            self._finished.put(call)
        else:
            self._arrive(call, {})

    def _fetch(self) -> None:
        while (call := self._finished.get()) is not None:
            self._room.acquire()
            try:
                answer = call.future.result(timeout=FETCH)
                if isinstance(answer, dict) and "packed" in answer:
                    began = time.perf_counter()
                    answer["statistics"], _ = unpack(answer.pop("packed"))
                    answer["unpacking"] = time.perf_counter() - began
                self._events.put(partial(self._taken, call, answer))
            except CancelledError:  # the scheduler is gone, or began anew
                self._events.put(partial(self._taken, call, Gone()))
            except Exception as error:  # of the worker, of Dask, of the network: a line in the end
                self._events.put(partial(self._taken, call, error))

    def _taken(self, call: Call, answer: Answer | Exception) -> None:
        self._room.release()
        self._arrive(call, answer)

    def _arrive(self, call: Call, answer: Answer | Exception) -> None:
        if call not in self._calls:
            return
        worker = self.workers.get(call.address)
        if worker is not None:
            worker.held = max(worker.held - 1, 0)
            worker.answers += "statistics" in answer if isinstance(answer, dict) else 0
        wanted = call.wanted
        self.drop(call)
        if wanted:
            call.tell(answer)

    def _say(self, line: str) -> None:
        self._notes.append(line)
        self._on_event("warning", {"message": line})

    def as_json(self) -> dict[str, Any]:
        """Who computed a run, as its manifest has it."""
        useful = [w for w in self.served if w.answers]
        return {
            "cluster": self.text,
            "workers": len({w.address for w in useful}),
            "hosts": sorted({w.host for w in useful}),
            "overtaken": self.overtaken,
            "notes": self.notes,
        }


def _host(address: str) -> str:
    return address.rpartition(":")[0]


def _why(error: Exception) -> str:
    """An exception as a line."""
    text = next(iter(str(error).splitlines()), "")
    if isinstance(error, Gone):
        return text
    if isinstance(error, TimeoutError):
        return f"its answer did not come within {FETCH:.0f} s"
    if isinstance(error, ImportError):
        return f"overbuilt is not installed there as it is here ({text})"
    if "deserialization of the task graph" in text:
        return "the scheduler cannot read a task; overbuilt should be installed there as it is here"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
