"""The CUDA backend: the same kernel text, compiled by NVRTC through CuPy; one thread is one path.

A run of paths is cut in pieces, which go to the streams of all devices in turn: while one stream copies its results
to the host, another simulates. No result depends on the cut, as a path is a function of its number alone.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import cache
from ..emit import emit, source
from ..program import Program
from ..trace import Model
from .base import BackendError, LaunchError, OutOfMemory, Output, Status, check_same, pack_many

INSTALL = "pip install 'overbuilt[cuda]' (CUDA 13), or cupy-cuda12x for a CUDA 12 driver"
DEVICES_VARIABLE = "OVERBUILT_DEVICES"
THREADS = 128
PIECE = 1 << 16  # pieces are multiples of it, but for the last: a block of the statistics
FILL = 2  # times the paths that a device holds at once: the least that a piece should be
STREAMS = 2  # of a device: one copies while the other simulates
PINNED_BYTES = 1 << 32  # of results; more are copied through pageable memory
GRID_ROWS = 65_535  # what the device allows
OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation, and CUDA_ERROR_OUT_OF_MEMORY of the driver


def flags(threads: int = THREADS, residents: int = 0) -> tuple[str, ...]:
    """What NVRTC is told. ``residents``: blocks that a multiprocessor should hold, 0 for the compiler's choice.

    No fast math: NaN must survive, and a CPU must be able to check a result. Contraction is as on the CPU. CuPy adds
    -ftz=true (float32 subnormals become zero) and --device-as-default-execution-space.
    """
    shape = (f"-DOB_THREADS={threads}", *([f"-DOB_RESIDENTS={residents}"] if residents else []))
    return ("-std=c++17", "--fmad=true", *shape)


FLAGS = flags()


def status() -> Status:
    if importlib.util.find_spec("cupy") is None:
        return Status("cuda", False, f"CuPy is not installed: {INSTALL}")
    try:
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
        if count < 1:
            return Status("cuda", False, "CuPy finds no CUDA device")
        used = devices()
        properties = cupy.cuda.runtime.getDeviceProperties(used[0])
        capability = f"{properties['major']}.{properties['minor']}"
    except BackendError as error:
        return Status("cuda", False, str(error))
    except Exception as error:  # no driver, a wrong toolkit, no permission: each means "not here"
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Status("cuda", False, f"CuPy is installed but no CUDA device answers: {first}")
    name = properties["name"].decode()
    detail = {"capability": capability, "multiprocessors": str(properties["multiProcessorCount"])}
    several = f"{len(used)} devices, the first " if len(used) > 1 else ""
    return Status("cuda", True, f"{several}{name}, compute capability {capability}", detail)


def devices() -> tuple[int, ...]:
    """The numbers of the devices that a run uses: those that OVERBUILT_DEVICES lists ("0,2"), or all.

    All are those of the first one's compute capability: another kind runs other instructions, and could give other
    last digits. Raises BackendError where the list is none of devices that are there and of one kind.
    """
    import cupy

    there = range(cupy.cuda.runtime.getDeviceCount())
    asked = os.environ.get(DEVICES_VARIABLE, "").strip()

    def kind(number: int) -> str:
        return str(cupy.cuda.Device(number).compute_capability)

    if asked in ("", "all"):
        return tuple(n for n in there if n == 0 or kind(n) == kind(0))
    words = [w.strip() for w in asked.split(",")]
    found = [int(w) for w in words if w.isdecimal() and int(w) in there]
    if len(found) < len(words) or len(set(found)) < len(found):
        raise BackendError(
            f"{DEVICES_VARIABLE} is {asked!r}; it should list devices from 0 to {len(there) - 1}, each once, "
            "as 0,1, or be all"
        )
    if len(kinds := sorted({kind(n) for n in found})) > 1:
        raise BackendError(
            f"{DEVICES_VARIABLE} is {asked!r}: these are of compute capabilities {', '.join(kinds)}; one run needs "
            "devices of one kind"
        )
    return tuple(found)


@dataclass(frozen=True)
class _Lane:
    """A stream of a device."""

    device: int
    stream: Any

    @contextmanager
    def current(self) -> Iterator[None]:
        import cupy

        with cupy.cuda.Device(self.device), self.stream:
            yield

    def wait(self) -> None:
        with self.current():
            self.stream.synchronize()


@dataclass(frozen=True)
class _Piece:
    """What one launch does: models from ``row`` on, a row of the grid each, and their paths from offset ``at`` on."""

    row: int
    rows: int
    at: int
    count: int


class CudaKernel:
    """``residents``: see flags; both it and ``threads`` are for measurements, and change no result."""

    def __init__(
        self, program: Program, dtype: str, threads: int = THREADS, residents: int = 0
    ) -> None:
        import cupy

        self.program, self.dtype, self.threads = program, dtype, threads
        text = cache.debug_text(f"cuda-{dtype}", program, emit(program))
        full = source(text, "cuda", dtype == "float64")
        used = devices()
        device = cupy.cuda.Device(used[0])
        with device:
            # CuPy caches compiled kernels by content itself, in a folder that follows CUPY_CACHE_DIR
            module = cupy.RawModule(code=full, options=flags(threads, residents), backend="nvrtc")
            self._kernel = module.get_function("ob_run")
            self._kernel.compile()
            held = cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(
                self._kernel.kernel.ptr, threads, 0
            )
            at_once = device.attributes["MultiProcessorCount"] * max(held, 1) * threads
            self.stamp = {
                "backend": "cuda",
                "library": f"cupy {cupy.__version__}, NVRTC {'.'.join(map(str, cupy.cuda.nvrtc.getVersion()))}",
                "target": f"sm_{device.compute_capability}",
                "registers": str(self._kernel.num_regs),
                "local_bytes": str(self._kernel.local_size_bytes),
            }
        self.piece = -(-FILL * at_once // PIECE) * PIECE
        # what a launch of the engine takes: enough for each stream of each device
        self.chunk = max(1 << 20, STREAMS * self.piece) * len(used)
        self._lanes = [lane for _ in range(STREAMS) for lane in self._open(used)]

    def _open(self, used: tuple[int, ...]) -> list[_Lane]:
        """A stream on each device, the kernel loaded there."""
        import cupy

        lanes = []
        for number in used:
            with cupy.cuda.Device(number):
                _ = self._kernel.kernel  # from CuPy's cache, but on the first device
                lanes.append(_Lane(number, cupy.cuda.Stream(non_blocking=True)))
        return lanes

    def run(
        self, model: Model, seed: int, first: int, count: int, months: int, series: bool
    ) -> Output:
        with _device_errors(count):
            if series:
                return self._recorded(model, seed, first, count, months)
            return self._run([model], seed, first, count, months)[0]

    def run_many(
        self, models: Sequence[Model], seed: int, first: int, count: int, months: int
    ) -> list[Output]:
        check_same(self.program, models)
        with _device_errors(count):
            return self._run(models, seed, first, count, months)

    def _run(
        self, models: Sequence[Model], seed: int, first: int, count: int, months: int
    ) -> list[Output]:
        """A launch for each piece, all under way at once; then the streams are waited for.

        Raises OutOfMemory where the device's memory does not hold it, LaunchError where the device fails.
        """
        import cupy

        metrics = _on_host((len(models), len(self.program.metrics), count), self.dtype)
        bad = _on_host((len(models), count), "int32")
        packed: tuple[NDArray[Any], ...] = ()
        held: dict[int, list[Any]] = {}  # by lane, the inputs of a group of models
        group = -1
        with _settled(self._lanes):
            for k, piece in zip(
                cycle(range(len(self._lanes))), self._pieces(len(models), count), strict=False
            ):
                if piece.row != group:
                    group, held = piece.row, {}
                    those = models[piece.row : piece.row + piece.rows]
                    packed = pack_many(self.program, those, self.dtype)
                lane = self._lanes[k]
                with lane.current():
                    if k not in held:
                        held[k] = [cupy.asarray(a) for a in packed]
                    # freed as soon as the copies are queued: CuPy gives the memory to this stream's next piece alone
                    found, flagged = self._launch(held[k], seed, first, piece, months)
                    rows = slice(piece.row, piece.row + piece.rows)
                    columns = slice(piece.at, piece.at + piece.count)
                    _copy(found, metrics[rows, :, columns], lane.stream)
                    _copy(flagged, bad[rows, columns], lane.stream)
        return [Output(values, None, months_) for values, months_ in zip(metrics, bad, strict=True)]

    def _recorded(self, model: Model, seed: int, first: int, count: int, months: int) -> Output:
        """One launch, with a record of all months."""
        import cupy

        lane = self._lanes[0]
        with _settled([lane]), lane.current():
            inputs = [cupy.asarray(a) for a in pack_many(self.program, [model], self.dtype)]
            record = cupy.empty((months, self.program.row_count(), count), self.dtype)
            piece = _Piece(0, 1, 0, count)
            found, flagged = self._launch(inputs, seed, first, piece, months, record)
            on_host = [cupy.asnumpy(a) for a in (found, record, flagged)]
        return Output(on_host[0][0], on_host[1], on_host[2][0])

    def _pieces(self, models: int, count: int) -> Iterator[_Piece]:
        """Each model's paths once: a large run in pieces, and of small ones several models in one."""
        rows = max(1, min(self.piece // count, GRID_ROWS))
        for row in range(0, models, rows):
            for at in range(0, count, self.piece):
                yield _Piece(
                    row, min(rows, models - row), at, min(self.piece, count - at)
                )  # fmt: skip

    def _launch(
        self,
        inputs: list[Any],
        seed: int,
        first: int,
        piece: _Piece,
        months: int,
        record: Any = None,
    ) -> tuple[Any, Any]:
        """Queue a piece on the current stream; its metrics (models, metrics, paths) and bad (models, paths)."""
        import cupy

        n, names = piece.count, len(self.program.metrics)
        metrics = cupy.empty((piece.rows, names, n), self.dtype)
        bad = cupy.empty((piece.rows, n), "int32")
        self._kernel(
            (-(-n // self.threads), piece.rows),
            (self.threads,),
            (
                *inputs, np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32), np.uint64(first + piece.at),
                np.int64(n), np.int32(months), metrics, record if record is not None else np.uint64(0),
                bad, np.int64(n), *(np.int32(a.shape[1]) for a in inputs), np.int64(names * n),
            ),
        )  # fmt: skip
        return metrics, bad


def _on_host(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Room for results; page-locked, so that a copy goes on beside a kernel, unless it is too much of that."""
    import cupy

    size = int(np.prod(shape))
    if not 0 < (wanted := size * np.dtype(dtype).itemsize) <= PINNED_BYTES:
        return np.empty(shape, dtype)
    locked = cupy.cuda.alloc_pinned_memory(wanted)  # given back once no array looks at it
    return np.frombuffer(locked, dtype, size).reshape(shape)


def _copy(device: Any, host: NDArray[Any], stream: Any) -> None:
    """Queue a copy of a whole array into some columns of the host's rows."""
    import cupy

    width = host.shape[-1] * host.itemsize
    cupy.cuda.runtime.memcpy2DAsync(
        host.ctypes.data, host.strides[-2], device.data.ptr, width, width, host.size // host.shape[-1],
        cupy.cuda.runtime.memcpyDeviceToHost, stream.ptr,
    )  # fmt: skip


@contextmanager
def _settled(lanes: Sequence[_Lane]) -> Iterator[None]:
    """All lanes are waited for, whatever fails: no copy may be under way to memory that is given back."""
    errors: list[BaseException] = []

    def tried(action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:
            errors.append(error)

    try:
        yield
    except BaseException as error:
        errors.append(error)
    for lane in lanes:
        tried(lane.wait)
    if errors:
        raise errors[0]


@contextmanager
def _device_errors(count: int) -> Iterator[None]:
    """What CuPy raises in a launch of so many paths, as the errors of backends."""
    import cupy

    try:
        yield
    except cupy.cuda.memory.OutOfMemoryError as error:
        raise OutOfMemory(f"{count:,} paths do not fit in the device's memory: {error}") from error
    except (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError) as error:
        # a kernel's stack is reserved at its launch, beside CuPy's own pool
        if error.status == OUT_OF_MEMORY:
            raise OutOfMemory(f"{count:,} paths do not fit on the device: {error}") from error
        raise LaunchError(f"the CUDA device failed: {error}") from error


def compile(model: Model, program: Program, dtype: str) -> CudaKernel:
    found = status()
    if not found.works:
        raise BackendError(found.why)
    return CudaKernel(program, dtype)
