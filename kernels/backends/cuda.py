"""The CUDA backend: the same kernel text, compiled by NVRTC through CuPy; one thread is one path."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from .. import cache
from ..emit import emit, source
from ..program import Program
from ..trace import Model
from .base import BackendError, LaunchError, OutOfMemory, Output, Status, check_same, pack_many

INSTALL = "pip install 'overbuilt[cuda]' (CUDA 13), or cupy-cuda12x for a CUDA 12 driver"
THREADS = 128
LAUNCH_BYTES = 1 << 30  # of results on the device, for several parameter sets in one launch
GRID_ROWS = 65_535  # what the device allows
OUT_OF_MEMORY = 2  # cudaErrorMemoryAllocation, and CUDA_ERROR_OUT_OF_MEMORY of the driver
# No fast math: NaN must survive, and a CPU must be able to check a result. Contraction is as on the CPU.
# CuPy adds -ftz=true (float32 subnormals become zero) and --device-as-default-execution-space.
FLAGS = ("-std=c++17", "--fmad=true", f"-DOB_THREADS={THREADS}")


def status() -> Status:
    if importlib.util.find_spec("cupy") is None:
        return Status("cuda", False, f"CuPy is not installed: {INSTALL}")
    try:
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
        if count < 1:
            return Status("cuda", False, "CuPy finds no CUDA device")
        properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
        capability = f"{properties['major']}.{properties['minor']}"
    except Exception as error:  # no driver, a wrong toolkit, no permission: each means "not here"
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Status("cuda", False, f"CuPy is installed but no CUDA device answers: {first}")
    name = properties["name"].decode()
    detail = {"capability": capability, "multiprocessors": str(properties["multiProcessorCount"])}
    return Status("cuda", True, f"{name}, compute capability {capability}", detail)


class CudaKernel:
    chunk = 1 << 20  # paths a launch: enough to fill the largest device several times over

    def __init__(self, program: Program, dtype: str) -> None:
        import cupy

        self.program, self.dtype = program, dtype
        text = cache.debug_text(f"cuda-{dtype}", str(program), emit(program))
        full = source(text, "cuda", dtype == "float64")
        # CuPy caches compiled kernels by content itself, in a folder that follows CUPY_CACHE_DIR
        module = cupy.RawModule(code=full, options=FLAGS, backend="nvrtc")
        self._kernel = module.get_function("ob_run")
        self._kernel.compile()
        device = cupy.cuda.Device()
        self._processors = device.attributes["MultiProcessorCount"]
        self.stamp = {
            "backend": "cuda",
            "library": f"cupy {cupy.__version__}, NVRTC {'.'.join(map(str, cupy.cuda.nvrtc.getVersion()))}",
            "target": f"sm_{device.compute_capability}",
            "registers": str(self._kernel.num_regs),
            "local_bytes": str(self._kernel.local_size_bytes),
        }

    def run(
        self, model: Model, seed: int, first: int, count: int, months: int, series: bool
    ) -> Output:
        return self._launch([model], seed, first, count, months, series)[0]

    def run_many(
        self, models: Sequence[Model], seed: int, first: int, count: int, months: int
    ) -> list[Output]:
        check_same(self.program, models)
        each = count * (len(self.program.metrics) * np.dtype(self.dtype).itemsize + 4)
        most = max(1, min(LAUNCH_BYTES // each, GRID_ROWS))
        return [
            output
            for at in range(0, len(models), most)
            for output in self._launch(models[at : at + most], seed, first, count, months, False)
        ]

    def _launch(
        self,
        models: Sequence[Model],
        seed: int,
        first: int,
        count: int,
        months: int,
        series: bool,
    ) -> list[Output]:
        """One launch, a row of the grid for each model; series only of a single one.

        Raises OutOfMemory where the device's memory does not hold it, LaunchError where the device fails.
        """
        with _device_errors(count):
            return self._launched(models, seed, first, count, months, series)

    def _launched(
        self,
        models: Sequence[Model],
        seed: int,
        first: int,
        count: int,
        months: int,
        series: bool,
    ) -> list[Output]:
        import cupy

        inputs = [cupy.asarray(a) for a in pack_many(self.program, models, self.dtype)]
        names = self.program.metrics
        metrics = cupy.empty((len(models), len(names), count), self.dtype)
        rows = self.program.row_count()
        record = cupy.empty((months, rows, count), self.dtype) if series else None
        bad = cupy.empty((len(models), count), cupy.int32)
        blocks = min(-(-count // THREADS), self._processors * 64)
        self._kernel(
            (blocks, len(models)),
            (THREADS,),
            (
                *inputs, np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32), np.uint64(first),
                np.int64(count), np.int32(months), metrics, record if record is not None else np.uint64(0),
                bad, np.int64(count), *(np.int32(a.shape[1]) for a in inputs), np.int64(len(names) * count),
            ),
        )  # fmt: skip
        on_host = None if record is None else cupy.asnumpy(record)
        return [
            Output(values, on_host, months_)
            for values, months_ in zip(cupy.asnumpy(metrics), cupy.asnumpy(bad), strict=True)
        ]


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
