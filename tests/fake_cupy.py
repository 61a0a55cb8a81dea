"""CuPy as far as the CUDA backend uses it, on the CPU: the CUDA text is compiled by g++ and run thread by thread.

Streams are as late as they may be: what is queued on one is done when that one is waited for, and not before. A
result that is read too early, or left behind on a stream that nobody waits for, is then wrong.
"""

from __future__ import annotations

import ctypes
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

SHIM = r"""
#include <math.h>
#include <stdint.h>
#include <string.h>
#define __device__
#define __global__
#define __forceinline__ static inline
#define __launch_bounds__(...)
struct Dim { unsigned x, y; };
static Dim blockIdx, threadIdx, blockDim, gridDim;
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((uint64_t)a * b) >> 32); }
template <class T> static inline T __ldg(const T* p) { return *p; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline double sinpi(double x) {
  double r = remainder(x, 2.0);
  if (fabs(r) > 0.5) r = copysign(1.0, r) - r;
  return sin(M_PI * r);
}
static inline double cospi(double x) {
  const double r = fabs(remainder(x, 2.0));
  return r < 0.25 ? cos(M_PI * r) : sin(M_PI * (0.5 - r));
}
static inline int __float_as_int(float x) { int i; memcpy(&i, &x, 4); return i; }
static inline float __int_as_float(int i) { float x; memcpy(&x, &i, 4); return x; }
"""
LOOP = r"""
extern "C" void launch(unsigned gx, unsigned gy, unsigned bx, const real* P, const int* IP, const real* C,
                       const int* CI, unsigned k0, unsigned k1, unsigned long long first, long long count,
                       int months, real* m, real* s, int* bad, long long stride, int p0, int p1, int p2, int p3,
                       long long pm) {
  gridDim = {gx, gy}; blockDim = {bx, 1};
  for (blockIdx.y = 0; blockIdx.y < gy; ++blockIdx.y)
    for (blockIdx.x = 0; blockIdx.x < gx; ++blockIdx.x)
      for (threadIdx.x = 0; threadIdx.x < bx; ++threadIdx.x)
        ob_run(P, IP, C, CI, k0, k1, first, count, months, m, s, bad, stride, p0, p1, p2, p3, pm);
}
"""


class DeviceArray(np.ndarray[Any, Any]):
    """An array whose ``data`` has a pointer, as CuPy's."""

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.ctypes.data)


class CudaError(RuntimeError):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class RuntimeErrorOfCuda(CudaError):
    pass


class DriverErrorOfCuda(CudaError):
    pass


class DeviceMemoryError(MemoryError):
    pass


@dataclass
class Launch:
    """A launch as it was queued: the device's number and the stream's, and what of it tells its paths."""

    device: int
    stream: int
    grid: tuple[int, ...]
    threads: int
    first: int
    count: int


class Stream:
    def __init__(self, box: Box, device: int) -> None:
        self.box, self.device, self.queue = box, device, list[Callable[[], object]]()
        self.ptr = len(box.streams) + 1
        box.streams.append(self)

    def __enter__(self) -> Stream:
        assert self.box.device == self.device, "a stream is used while another device is current"
        self.box.current.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        self.box.current.pop()

    def synchronize(self) -> None:
        waiting, self.queue = self.queue, []
        for action in waiting:
            action()


@dataclass
class Box:
    """A machine with GPUs of these compute capabilities, so many multiprocessors each."""

    folder: Path
    kinds: list[str] = field(default_factory=lambda: ["90"])
    processors: int = 1
    blocks_held: int = 1
    device: int = 0
    texts: list[str] = field(default_factory=list)
    options: list[tuple[str, ...]] = field(default_factory=list)
    launches: list[Launch] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    current: list[Stream] = field(default_factory=list)
    loaded: list[int] = field(default_factory=list)
    kept: list[Any] = field(default_factory=list)
    limit: int = 0
    """Bytes of the largest array that there is room for; 0: any."""
    before_launch: Callable[[Launch], object] = lambda launch: None

    def do(self, action: Callable[[], object]) -> None:
        if self.current:
            self.current[-1].queue.append(action)
        else:
            action()

    def keep(self, array: Any) -> Any:
        if self.limit and array.nbytes > self.limit:
            raise DeviceMemoryError("Out of memory")
        made = array.view(DeviceArray)
        self.kept.append(made)  # a pointer to it may be queued
        return made

    def set_limit(self, size: int) -> None:
        self.limit = size

    def asnumpy(self, array: Any) -> Any:
        self.current[-1].synchronize()
        return np.array(array)

    def memcpy2d(
        self, to: int, to_pitch: int, source: int, pitch: int, width: int, height: int, kind: int, stream: int
    ) -> None:  # fmt: skip
        def copy() -> None:
            for row in range(height):
                ctypes.memmove(to + row * to_pitch, source + row * pitch, width)

        assert self.current[-1].ptr == stream
        assert width <= to_pitch
        self.do(copy)

    def module(self, code: str, options: tuple[str, ...], backend: str) -> Any:
        self.texts.append(code)
        self.options.append(options)
        return SimpleNamespace(get_function=lambda name: Kernel(self, code))


class Device:
    def __init__(self, box: Box, number: int = 0) -> None:
        self.box, self.id = box, number
        self.compute_capability = box.kinds[number]
        self.attributes = {"MultiProcessorCount": box.processors}
        self._before: list[int] = []

    def __enter__(self) -> Device:
        self._before.append(self.box.device)
        self.box.device = self.id
        return self

    def __exit__(self, *error: object) -> None:
        self.box.device = self._before.pop()


class Event:
    """The time when the host came by; waiting for it is waiting for the current stream."""

    def __init__(self, box: Box) -> None:
        self.box, self.at = box, 0.0

    def record(self) -> None:
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        self.box.current[-1].synchronize()
        self.at = time.perf_counter()


class Kernel:
    num_regs = local_size_bytes = 0

    def __init__(self, box: Box, code: str) -> None:
        self.box, self.code = box, code
        self._entry: Any = None

    def compile(self) -> None:
        pass

    @property
    def kernel(self) -> Any:
        self.box.loaded.append(self.box.device)
        return SimpleNamespace(ptr=0)

    @property
    def entry(self) -> Any:
        if self._entry is None:
            unit = self.box.folder / "cuda.cpp"
            library = self.box.folder / f"cuda{len(self.box.texts)}-{len(self.code)}.so"
            unit.write_text(SHIM + self.code + LOOP, encoding="utf-8")
            flags = ["-std=c++17", "-O1", "-w", "-fPIC", "-shared", "-ffp-contract=fast"]
            subprocess.run(["g++", *flags, str(unit), "-o", str(library)], check=True)
            self._entry = ctypes.CDLL(str(library)).launch
        return self._entry

    def __call__(self, grid: tuple[int, int], block: tuple[int], args: tuple[Any, ...]) -> None:
        assert all(a.flags.c_contiguous for a in args if isinstance(a, np.ndarray))
        kinds = {"uint32": ctypes.c_uint32, "uint64": ctypes.c_uint64, "int64": ctypes.c_int64}
        kinds["int32"] = ctypes.c_int32
        plain = [
            ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else kinds[a.dtype.name](a)
            for a in args
        ]
        launch = Launch(
            self.box.device, self.box.current[-1].ptr, grid, block[0], int(args[6]), int(args[7])
        )
        self.box.before_launch(launch)
        self.box.launches.append(launch)
        entry = self.entry
        self.box.do(lambda: entry(*grid, *block, *plain))


def fake(box: Box) -> ModuleType:
    """The module, to be put in ``sys.modules`` as cupy."""
    made: Any = ModuleType("cupy")
    made.__version__, made.RawModule = "0", box.module
    made.asarray = lambda a: box.keep(np.array(a, order="C"))
    made.asnumpy = box.asnumpy
    made.get_default_memory_pool = lambda: SimpleNamespace(
        used_bytes=lambda: 0, free_all_blocks=box.kept.clear, set_limit=box.set_limit
    )
    # a byte that no result is made of, so that one which is not written is seen
    made.empty = lambda shape, dtype: box.keep(np.full(shape, -7, dtype))
    made.cuda = SimpleNamespace(
        Device=lambda number=0: Device(box, number),
        Event=lambda: Event(box),
        get_elapsed_time=lambda start, end: 1e3 * (end.at - start.at),
        Stream=lambda non_blocking: Stream(box, box.device),
        alloc_pinned_memory=lambda size: bytearray(b"\xf9" * size),
        memory=SimpleNamespace(OutOfMemoryError=DeviceMemoryError),
        nvrtc=SimpleNamespace(getVersion=lambda: (13, 0)),
        driver=SimpleNamespace(
            CUDADriverError=DriverErrorOfCuda,
            occupancyMaxActiveBlocksPerMultiprocessor=lambda ptr, threads, shared: box.blocks_held,
        ),
        runtime=SimpleNamespace(
            CUDARuntimeError=RuntimeErrorOfCuda,
            getDeviceCount=lambda: len(box.kinds),
            getDeviceProperties=lambda n: {
                "name": b"Fake", "multiProcessorCount": box.processors, "major": int(box.kinds[n][:-1]), "minor": int(box.kinds[n][-1])
            },
            memcpy2DAsync=box.memcpy2d,
            memcpyDeviceToHost=2,
        ),
    )  # fmt: skip
    return made
