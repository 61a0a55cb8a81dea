"""The native backend: the kernel text compiled by the system's C++ compiler, run on threads.

The threads are Python's: a kernel call releases the interpreter lock, so no OpenMP runtime is needed (g++
and clang bring different ones, and other libraries in the process a third), and Ctrl-C is heard
between chunks.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache as memoize
from pathlib import Path

import numpy as np

from .. import cache
from ..emit import emit, source
from ..program import Op, Program, Sparse, walk
from ..trace import Model
from .base import BackendError, Output, Status, check_same, pack, thread_count

# Never -ffast-math or its parts -ffinite-math-only, -fassociative-math, -fno-signed-zeros: each of them
# hides NaN or breaks a result.
FLAGS = (
    "-std=c++17", "-O2", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast",
    "-fno-strict-aliasing", "-fwrapv", "-fvisibility=hidden", "-Wno-psabi", "-Wno-ignored-attributes",
)  # fmt: skip
TARGET_VARIABLE = "OVERBUILT_NATIVE_TARGET"
COMPILERS = (
    "clang++",
    "g++",
    "c++",
)  # clang compiles base faster, and to faster code
INSTALL = "install g++ or clang (Debian: apt install g++), or name one in CXX"
VECTOR_BYTES = 64  # of a per-path value, at the widest
STACK_UNIT = 1 << 16
PAD = 64  # output rows are padded to whole vectors of any target


@memoize
def compiler() -> str | None:
    """The C++ compiler: CXX if set, else the first of clang++, g++, c++."""
    asked = os.environ.get("CXX", "").strip()
    if asked:
        found = shutil.which(asked)
        if found is None:
            raise BackendError(f"CXX = {asked!r}: no such program; it should name a C++ compiler")
        return found
    return next(filter(None, map(shutil.which, COMPILERS)), None)


def target_flags() -> tuple[str, ...]:
    """What to compile for: this processor, or the flags in OVERBUILT_NATIVE_TARGET (``-mavx2 -mfma``)."""
    asked = os.environ.get(TARGET_VARIABLE)
    if asked is None:
        return ("-march=native",)
    try:
        return tuple(shlex.split(asked))
    except ValueError as error:
        raise BackendError(
            f"{TARGET_VARIABLE} = {asked!r}: should be compiler flags ({error})"
        ) from None


@memoize
def processor() -> str:
    """The processor's name and instruction sets, for the cache: -march=native depends on them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
        keep = sorted(
            x for x in lines.splitlines() if x.startswith(("model name", "flags", "Features"))
        )
        return platform.machine() + "\n".join(keep)
    except OSError:
        return platform.machine() + platform.processor()


def _needed() -> str:
    """The C++ compiler; BackendError where there is none."""
    found = compiler()
    if found is None:
        raise BackendError(f"no C++ compiler: {INSTALL}")
    return found


@memoize
def compiler_identity() -> str:
    path = os.path.realpath(_needed())
    info = os.stat(path)
    return f"{path} {info.st_size} {info.st_mtime_ns}"


def status() -> Status:
    try:
        found = compiler()
        target_flags()
    except BackendError as error:
        return Status("native", False, str(error))
    if found is None:
        return Status("native", False, f"no C++ compiler: {INSTALL}")
    sets = processor()
    best = next(
        (n for n in ("avx512f", "avx2", "sse2") if f" {n} " in f"{sets} "), platform.machine()
    )
    return Status(
        "native",
        True,
        f"{Path(found).name} on {thread_count()} threads, {best}",
        {"compiler": found},
    )


def shared_library(program: Program, dtype: str) -> tuple[Path, bool]:
    """The shared library of a program, and whether the cache had it; compiled if not, and never loaded.

    It may be called from several threads at once. Raises BackendError where it cannot be compiled.
    """
    found, flags = _needed(), _flags()
    text = cache.debug_text(f"native-{dtype}", program, emit(program))
    full = source(text, "native", dtype == "float64")
    return cache.fetch(_file_name(full), lambda to: _compile(found, flags, full, to))


def is_cached(program: Program, dtype: str) -> bool:
    """Whether the shared library of a program is in the cache."""
    return cache.has(_file_name(source(emit(program), "native", dtype == "float64")))


def _flags() -> tuple[str, ...]:
    return (*FLAGS, *target_flags())


def _file_name(text: str) -> str:
    """The name in the cache: all that the library hangs on goes into it."""
    return f"native-{cache.key(text, ' '.join(_flags()), compiler_identity(), processor())}.so"


class NativeKernel:
    def __init__(self, program: Program, dtype: str) -> None:
        self.program, self.dtype = program, dtype
        path, self.cached = shared_library(program, dtype)
        self.chunk = 4096
        self.threads = thread_count()
        self.stamp = {
            "backend": "native",
            "compiler": _version(_needed()),
            "target": " ".join(target_flags()),
            "processor": hashlib.sha256(processor().encode()).hexdigest()[:12],
        }
        self._run = ctypes.CDLL(str(path)).ob_run
        pointer = ctypes.c_void_p
        self._run.restype = None
        self._run.argtypes = [
            pointer, pointer, pointer, pointer, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint64,
            ctypes.c_int64, ctypes.c_int32, pointer, pointer, pointer, ctypes.c_int64,
        ]  # fmt: skip
        self._pool = _pool(self.threads, _stack_bytes(program))

    def run(
        self, model: Model, seed: int, first: int, count: int, months: int, series: bool
    ) -> Output:
        return self._launch([model], seed, first, count, months, series)[0]

    def run_many(
        self, models: Sequence[Model], seed: int, first: int, count: int, months: int
    ) -> list[Output]:
        check_same(self.program, models)
        return self._launch(models, seed, first, count, months, series=False)

    def _launch(
        self,
        models: Sequence[Model],
        seed: int,
        first: int,
        count: int,
        months: int,
        series: bool,
    ) -> list[Output]:
        """One pass of the threads over all chunks of all models."""
        below = (1 << 32) - (first & 0xFFFFFFFF)
        if below < count:  # a vector has one high word for all its paths
            parts = (
                self._launch(models, seed, first, below, months, series),
                self._launch(models, seed, first + below, count - below, months, series),
            )
            return [_joined(a, b) for a, b in zip(*parts, strict=True)]
        runs = [_Run(self, model, count, months, series) for model in models]

        def one(job: tuple[_Run, int]) -> None:
            run, at = job
            self._run(
                *run.inputs, seed & 0xFFFFFFFF, seed >> 32, first + at, min(self.chunk, count - at), months,
                *run.outputs(at), run.stride,
            )  # fmt: skip

        jobs = ((run, at) for run in runs for at in range(0, count, self.chunk))
        for _ in self._pool.map(one, jobs):
            pass
        return [run.output() for run in runs]


class _Run:
    """A model's inputs and outputs in memory, while threads compute it."""

    def __init__(
        self, kernel: NativeKernel, model: Model, count: int, months: int, series: bool
    ) -> None:
        program, dtype = kernel.program, kernel.dtype
        self.count, self.stride = count, -(-count // PAD) * PAD
        self.packed = pack(program, model, dtype)
        self.metrics = np.empty((len(model.metrics), self.stride), dtype)
        self.record = (
            np.empty((months, program.row_count(), self.stride), dtype) if series else None
        )
        self.bad = np.empty(self.stride, np.int32)
        p = self.packed
        self.inputs = [a.ctypes.data for a in (p.reals, p.ints, p.column_reals, p.column_ints)]

    def outputs(self, at: int) -> tuple[int, int | None, int]:
        """Where metrics, series and bad months of the paths from ``at`` on go."""
        bytes_ = at * self.metrics.itemsize
        return (
            self.metrics.ctypes.data + bytes_,
            None if self.record is None else self.record.ctypes.data + bytes_,
            self.bad.ctypes.data + at * self.bad.itemsize,
        )

    def output(self) -> Output:
        n = self.count
        record = None if self.record is None else self.record[:, :, :n]
        return Output(self.metrics[:, :n], record, self.bad[:n])


def _joined(a: Output, b: Output) -> Output:
    series = [o.series for o in (a, b) if o.series is not None]
    return Output(
        np.concatenate([a.metrics, b.metrics], axis=1),
        np.concatenate(series, axis=2) if series else None,
        np.concatenate([a.bad, b.bad]),
    )


def _stack_bytes(program: Program) -> int:
    """What a kernel call puts on its stack at most: its per-path arrays and its lists of events, for a vector of paths."""
    blocks = (*walk(program.init), *walk(program.step))
    arrays = sum(s.results[0].length for s in blocks if isinstance(s, Op) and s.name == "array")
    events = sum(s.most + 1 for s in blocks if isinstance(s, Sparse))
    return (1 << 20) + VECTOR_BYTES * (arrays + events)


def _pool(threads: int, stack: int) -> ThreadPoolExecutor:
    """Threads whose stacks hold the kernel's arrays, started now: later ones get the usual stack again."""
    before = threading.stack_size(max(-(-stack // STACK_UNIT) * STACK_UNIT, 8 << 20))
    pool, ready = ThreadPoolExecutor(threads), threading.Barrier(threads)
    try:
        list(pool.map(lambda _: ready.wait(), range(threads)))
    except (RuntimeError, MemoryError, threading.BrokenBarrierError) as error:
        ready.abort()  # those that did start must not wait for the others
        raise BackendError(
            f"native: {threads} threads with {stack >> 20} MiB of stack cannot be started ({error})"
        ) from None
    finally:
        threading.stack_size(before)
    return pool


@memoize
def _version(found: str) -> str:
    done = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[0] if done.stdout else found


def _compile(found: str, flags: tuple[str, ...], text: str, to: Path) -> None:
    unit = to.with_suffix(".cpp")
    unit.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [found, *flags, str(unit), "-o", str(to)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        first = next((x for x in done.stderr.splitlines() if "error" in x), done.stderr[:200])
        raise BackendError(
            f"{Path(found).name} refused the kernel (exit {done.returncode}): {first.strip() or 'no message'}"
        )


def compile(model: Model, program: Program, dtype: str) -> NativeKernel:
    return NativeKernel(program, dtype)
