"""The CUDA backend's schedule, on a CuPy that computes on the CPU: pieces, streams, devices, and what fails.

That the text is right on a GPU is not shown here: bench/gpu_check.py does that, on a machine that has one.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overbuilt.kernels import backends
from overbuilt.kernels.backends import BackendError, Output, cuda
from overbuilt.kernels.backends.base import LaunchError, OutOfMemory
from overbuilt.kernels.passes import optimize
from overbuilt.kernels.probe import probe
from overbuilt.kernels.trace import trace

from .fake_cupy import Box, DeviceMemoryError, DriverErrorOfCuda, Launch, RuntimeErrorOfCuda, fake
from .helpers import DTYPES, FunctionModel, assert_same, random_row, run
from .test_run_many import MONTHS, models

COUNT = 3 * 256 + 40  # four pieces of a device that holds 128 paths at once, the last one short


@pytest.fixture
def make_box(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Box]:
    """A box of GPUs in the place of this machine; pieces are multiples of 64 paths."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ here")
    monkeypatch.delenv(cuda.DEVICES_VARIABLE, raising=False)
    monkeypatch.setattr(cuda, "PIECE", 64)

    def make(*kinds: str, **fields: Any) -> Box:
        box = Box(tmp_path, list(kinds or ("90",)), **fields)
        monkeypatch.setitem(sys.modules, "cupy", fake(box))
        monkeypatch.setattr(cuda.importlib.util, "find_spec", lambda name: object())
        return box

    return make


def kernel_of(model: FunctionModel, dtype: str = "float64", **shape: int) -> cuda.CudaKernel:
    return cuda.CudaKernel(optimize(trace(model, dtype == "float64")), dtype, **shape)


def reference(model: FunctionModel, count: int = COUNT, dtype: str = "float64") -> Output:
    return run("numpy", model, dtype, count, MONTHS, seed=9, first=5)


def assert_near(got: Output, want: Output, dtype: str = "float64") -> None:
    np.testing.assert_allclose(
        got.metrics, want.metrics, rtol=1e-12 if dtype == "float64" else 1e-5
    )
    assert np.array_equal(got.bad, want.bad)


# ---- pieces and streams
@pytest.mark.parametrize("dtype", DTYPES)
def test_pieces_go_to_two_streams_in_turn(make_box: Callable[..., Box], dtype: str) -> None:
    box = make_box()
    kernel = kernel_of(models()[0], dtype)
    got = kernel.run(models()[0], 9, 5, COUNT, MONTHS, False)
    assert_near(got, reference(models()[0], dtype=dtype), dtype)
    assert got.metrics.dtype == dtype
    assert kernel.piece == 256
    assert [(x.first, x.count) for x in box.launches] == [
        (5, 256), (261, 256), (517, 256), (773, 40)
    ]  # fmt: skip
    one, two = (s.ptr for s in box.streams)
    assert [x.stream for x in box.launches] == [one, two, one, two]
    assert not any(s.queue for s in box.streams)


def test_a_piece_fills_the_device_twice(make_box: Callable[..., Box]) -> None:
    """In whole multiples of PIECE, which no result depends on."""
    want = None
    for processors, held, threads, piece in ((1, 1, 128, 256), (3, 2, 32, 384), (5, 1, 7, 128)):
        make_box(processors=processors, blocks_held=held)
        kernel = kernel_of(models()[0], threads=threads)
        assert kernel.piece == piece
        assert kernel.chunk == 1 << 20
        got = kernel.run(models()[0], 9, 5, COUNT, MONTHS, False)
        want = want or got
        assert_same(got, want)


def test_every_thread_has_a_path(make_box: Callable[..., Box]) -> None:
    box = make_box()
    kernel_of(models()[0], threads=32).run(models()[0], 9, 5, 100, MONTHS, False)
    assert [(x.grid, x.threads) for x in box.launches] == [((2, 1), 32), ((2, 1), 32)]
    assert box.options[-1][-1] == "-DOB_THREADS=32"
    kernel_of(models()[0], threads=64, residents=3)
    assert box.options[-1][-2:] == ("-DOB_THREADS=64", "-DOB_RESIDENTS=3")


def test_a_record_of_all_months_is_one_launch(make_box: Callable[..., Box]) -> None:
    def step(xp: Any, inputs: Any, state: Any, month: Any) -> dict[str, Any]:
        x = state["x"] + xp.to_real(random_row(xp, 8)) * xp.to_real(month)
        return {"x": x}

    model = FunctionModel(step, ["x"], init=lambda xp, inputs: {"x": 0.0}, series=["x"])
    box = make_box()
    kernel = kernel_of(model)
    got = kernel.run(model, 9, 5, 300, MONTHS, True)
    want = run("numpy", model, "float64", 300, MONTHS, seed=9, first=5)
    assert [(x.first, x.count) for x in box.launches] == [(5, 300)]
    assert got.series is not None
    assert got.series.shape == (MONTHS, 1, 300)
    assert_same(got, want)
    assert np.array_equal(got.series[-1], got.metrics)
    assert np.all(np.diff(got.series[:, 0], axis=0) >= 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_of_the_grid_is_a_model(make_box: Callable[..., Box], dtype: str) -> None:
    """The text that a GPU runs reads each model's own inputs and writes its own outputs."""
    box = make_box(processors=64)
    kernel = kernel_of(models()[0], dtype)
    count = 300  # not a multiple of a block's threads
    outputs = kernel.run_many(models(), 9, 5, count, MONTHS)
    assert [x.grid for x in box.launches] == [(3, len(models()))]
    for got, model in zip(outputs, models(), strict=True):
        assert_same(got, kernel.run(model, 9, 5, count, MONTHS, False), model.metrics)
        assert_near(got, reference(model, count, dtype), dtype)


@pytest.mark.parametrize(
    ("processors", "grids"),
    [(1, [(1, 2), (1, 2)]), (2, [(1, 4)]), (64, [(1, 4)])],
)
def test_models_share_a_launch_as_far_as_it_has_room(
    make_box: Callable[..., Box], processors: int, grids: list[tuple[int, int]]
) -> None:
    box = make_box(processors=processors)
    outputs = kernel_of(models()[0]).run_many(models(), 9, 5, 120, MONTHS)
    assert [x.grid for x in box.launches] == grids
    for got, model in zip(outputs, models(), strict=True):
        assert_near(got, reference(model, 120))


def test_models_with_more_paths_than_a_launch(make_box: Callable[..., Box]) -> None:
    box = make_box("90", "90")
    outputs = kernel_of(models()[0]).run_many(models(), 9, 5, 300, MONTHS)
    assert [(x.grid[1], x.count) for x in box.launches] == [(1, 256), (1, 44)] * len(models())
    for got, model in zip(outputs, models(), strict=True):
        assert_near(got, reference(model, 300))


# ---- several devices
def test_the_pieces_of_several_devices(
    make_box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes on one, on three, on two of them in any order; each gets its share."""
    make_box()
    want = kernel_of(models()[0]).run(models()[0], 9, 5, COUNT, MONTHS, False)
    for asked, turns in (("", [0, 1, 2, 0]), ("all", [0, 1, 2, 0]), ("2,1", [2, 1, 2, 1]), (" 1 ", [1] * 4)):  # fmt: skip
        monkeypatch.setenv(cuda.DEVICES_VARIABLE, asked)
        box = make_box("90", "90", "90")
        kernel = kernel_of(models()[0])
        assert_same(kernel.run(models()[0], 9, 5, COUNT, MONTHS, False), want)
        assert [x.device for x in box.launches] == turns
        used = dict.fromkeys(turns)
        assert kernel.chunk == (1 << 20) * len(used)
        assert set(box.loaded) == set(used)
        assert len(box.streams) == cuda.STREAMS * len(used)


def test_only_devices_of_one_kind(
    make_box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_box("90", "80", "90")
    assert cuda.devices() == (0, 2)
    assert cuda.status().why == "2 devices, the first Fake, compute capability 9.0"
    for asked in ("0,1", "3", "-1", "0,0", "0;2", "first", "0,"):
        monkeypatch.setenv(cuda.DEVICES_VARIABLE, asked)
        with pytest.raises(BackendError, match=f"{cuda.DEVICES_VARIABLE} is '{asked}'"):
            cuda.devices()
        assert not cuda.status().works
    monkeypatch.setenv(cuda.DEVICES_VARIABLE, "1")
    assert cuda.devices() == (1,)
    assert cuda.status().detail["capability"] == "8.0"
    monkeypatch.setattr(sys.modules["cupy"].cuda.runtime, "getDeviceCount", lambda: 0)
    model = models()[0]
    with pytest.raises(BackendError, match="CuPy finds no CUDA device"):
        backends.compile("cuda", model, optimize(trace(model, True)), "float64")


# ---- what fails
def test_what_cupy_raises(make_box: Callable[..., Box]) -> None:
    """Its errors become ours; and no stream is left with a copy to memory that nobody holds any more."""
    box = make_box("90", "90")
    kernel = kernel_of(models()[0])

    def third(launch: Launch) -> None:
        if launch.first == 5 + 2 * kernel.piece:
            raise raised[-1]

    raised: list[BaseException] = []
    box.before_launch = third
    for error, wanted, match in (
        (DeviceMemoryError("Out of memory allocating 1,024 bytes"), OutOfMemory, "808 paths do not fit"),
        (RuntimeErrorOfCuda(2, "cudaErrorMemoryAllocation: out of memory"), OutOfMemory, "808 paths do not fit"),
        (DriverErrorOfCuda(2, "CUDA_ERROR_OUT_OF_MEMORY: out of memory"), OutOfMemory, "808 paths do not fit"),
        (RuntimeErrorOfCuda(719, "cudaErrorLaunchFailure"), LaunchError, "the CUDA device failed: cudaErrorLaunchF"),
        (DriverErrorOfCuda(700, "CUDA_ERROR_ILLEGAL_ADDRESS"), LaunchError, "the CUDA device failed: .*ILLEGAL"),
        (ZeroDivisionError(), ZeroDivisionError, None),  # not a device's
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ):  # fmt: skip
        raised.append(error)
        with pytest.raises(wanted, match=match) as caught:
            kernel.run(models()[0], 9, 5, COUNT, MONTHS, False)
        assert isinstance(caught.value, OutOfMemory) == (wanted is OutOfMemory)
        assert not any(s.queue for s in box.streams)
    assert len(box.launches) == 2 * 7  # those before the one that failed
    box.before_launch = lambda launch: None
    assert_near(kernel.run(models()[0], 9, 5, COUNT, MONTHS, False), reference(models()[0]))


def test_a_device_that_fails_while_it_is_waited_for(
    make_box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    box = make_box("90", "90")
    kernel = kernel_of(models()[0])

    def lost() -> None:
        box.streams[0].queue.clear()
        raise RuntimeErrorOfCuda(719, "cudaErrorLaunchFailure")

    monkeypatch.setattr(box.streams[0], "synchronize", lost)
    with pytest.raises(LaunchError, match="the CUDA device failed"):
        kernel.run(models()[0], 9, 5, COUNT, MONTHS, False)
    assert not any(s.queue for s in box.streams)


def test_results_larger_than_page_locked_memory(
    make_box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_box()
    monkeypatch.setattr(cuda, "PINNED_BYTES", 100)
    monkeypatch.delattr(sys.modules["cupy"].cuda, "alloc_pinned_memory")
    got = kernel_of(models()[0]).run(models()[0], 9, 5, COUNT, MONTHS, False)
    assert_near(got, reference(models()[0]))


# ---- the dialect
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_operation_of_the_dialect(make_box: Callable[..., Box], dtype: str) -> None:
    """cuda.h as plain C++: its own logarithm and turn in float32 are as near as ``verify`` wants them."""
    make_box()
    found = probe("cuda", dtype)
    assert not found.faults, "\n".join(map(str, found.faults))
    assert not found.unjudged
    assert {"log", "sin2pi", "cos2pi", "sqrt"} <= set(found.tried)
