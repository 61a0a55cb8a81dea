"""What the tests of the compiler share: small models, every backend, every way to compile native code."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overbuilt.kernels import backends
from overbuilt.kernels.backends import Kernel, Output, native
from overbuilt.kernels.passes import optimize
from overbuilt.kernels.trace import Model, trace

Array = NDArray[Any]
DTYPES = ("float32", "float64")


class FunctionModel:
    """A model of two plain functions.

    ``step(xp, inputs, state, month)`` returns one dict: the state's names in it are the new state, and
    the names in ``metrics`` and ``series`` are reported. Without ``init`` there is no state.
    """

    def __init__(
        self,
        step: Callable[..., dict[str, Any]],
        metrics: Sequence[str],
        *,
        init: Callable[..., dict[str, Any]] | None = None,
        series: Sequence[str] = (),
        reals: Mapping[str, float] | None = None,
        ints: Mapping[str, int] | None = None,
        columns: Mapping[str, Any] | None = None,
    ) -> None:
        self._step, self._init = step, init
        self.metrics, self.series = tuple(metrics), tuple(series)
        self.reals, self.ints = dict(reals or {}), dict(ints or {})
        self.columns = {k: np.asarray(v) for k, v in (columns or {}).items()}

    def init(self, xp: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        return {} if self._init is None else self._init(xp, inputs)

    def step(
        self, xp: Any, inputs: dict[str, Any], state: dict[str, Any], month: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        got = self._step(xp, inputs, state, month)
        return {k: got[k] for k in state}, got


def random_row(xp: Any, bits: int) -> Any:
    """A row number below 2^bits, another on each path: a model has no path counter, but it has draws."""
    return xp.from_bits(xp.shift_right(xp.philox("test.row", None, 0)[0], 32 - bits))


def halves(xp: Any, word: Any) -> tuple[Any, Any]:
    """A 32-bit word as two reals that even float32 holds exactly: what is reported are reals."""
    low = xp.bit_and(word, 0xFFFF)
    return xp.to_real(xp.from_bits(xp.shift_right(word, 16))), xp.to_real(xp.from_bits(low))


# ---- the ways to compile native code
TARGETS: dict[str, frozenset[str]] = {
    "-march=native": frozenset(),
    "-mavx2 -mfma": frozenset({"avx2", "fma"}),
    "-msse2": frozenset({"sse2"}),
}


@dataclass(frozen=True)
class Variant:
    """A compiler and the flags that say for what processor."""

    compiler: str
    target: str

    def __str__(self) -> str:
        return f"{self.compiler} {self.target}"

    def missing(self) -> str:
        """Why this machine cannot compile and run it; empty if it can."""
        if not shutil.which(self.compiler):
            return f"no {self.compiler} here"
        lacking = TARGETS[self.target] - processor_flags()
        return f"the processor lacks {', '.join(sorted(lacking))}" if lacking else ""


VARIANTS = (
    Variant("g++", "-march=native"),
    Variant("g++", "-mavx2 -mfma"),
    Variant("g++", "-msse2"),
    Variant("clang++", "-march=native"),
)


@cache
def processor_flags() -> frozenset[str]:
    """The instruction sets that the operating system lists; else what all processors of the kind have."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return frozenset()
    listed = Path("/proc/cpuinfo")
    return frozenset(listed.read_text().split() if listed.exists() else {"sse2"})


@contextmanager
def compiled_with(variant: Variant) -> Iterator[None]:
    """Within it the native backend uses this compiler and these flags."""
    wanted = {"CXX": variant.compiler, native.TARGET_VARIABLE: variant.target}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    _forget()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        _forget()


def _forget() -> None:
    native.compiler.cache_clear()
    native.compiler_identity.cache_clear()


# ---- running a model
@cache
def available() -> tuple[str, ...]:
    """Every backend that works here; of native, every variant. NumPy, the reference, comes first."""
    others = [name for name in ("jax", "cuda") if backends.status(name).works]
    return ("numpy", *others, *(str(v) for v in VARIANTS if not v.missing()))


EVERYWHERE = ("numpy", "jax", "cuda", *map(str, VARIANTS))
"""Every backend that a test may ask for, whether it works here or not."""


def why_not(backend: str) -> str:
    """Why a backend of EVERYWHERE cannot run here; empty if it can."""
    if backend in available():
        return ""
    variant = next((v for v in VARIANTS if str(v) == backend), None)
    return variant.missing() if variant else backends.status(backend).why


def compile_on(backend: str, model: Model, dtype: str, *, optimized: bool = True) -> Kernel:
    """The model's kernel on one backend: a name, or a native variant as text."""
    program = trace(model, dtype == "float64")
    if optimized:
        program = optimize(program)
    variant = next((v for v in VARIANTS if str(v) == backend), None)
    if variant is None:
        return backends.compile(backend, model, program, dtype)
    with compiled_with(variant):
        return backends.compile("native", model, program, dtype)


def run(
    backend: str,
    model: Model,
    dtype: str,
    paths: int = 64,
    months: int = 1,
    *,
    seed: int = 1,
    first: int = 0,
    series: bool = False,
    optimized: bool = True,
) -> Output:
    """The model compiled and run on one backend."""
    kernel = compile_on(backend, model, dtype, optimized=optimized)
    return kernel.run(model, seed, first, paths, months, series)


def run_everywhere(
    model: Model,
    dtype: str,
    paths: int = 64,
    months: int = 1,
    backends: Sequence[str] | None = None,
    **options: Any,
) -> dict[str, Output]:
    """The model on every backend that works here, or on those named."""
    names = available() if backends is None else backends
    return {name: run(name, model, dtype, paths, months, **options) for name in names}


def bits(values: Array) -> Array:
    """The bit patterns of reals, all NaNs made one: what must be equal is then equal as integers."""
    plain = np.ascontiguousarray(np.where(np.isnan(values), values.dtype.type(np.nan), values))
    return plain.view(np.uint32 if values.dtype.itemsize == 4 else np.uint64)


def assert_same(got: Output, want: Output, names: Sequence[str] = (), label: str = "") -> None:
    """Two outputs agree bit for bit."""
    for k, (a, b) in enumerate(zip(got.metrics, want.metrics, strict=True)):
        at = np.flatnonzero(bits(a) != bits(b))
        name = names[k] if names else k
        assert not len(at), f"{label} {name}: {a[at[0]]!r}, not {b[at[0]]!r}, on path {at[0]}"
    assert np.array_equal(got.bad, want.bad), label
    if got.series is not None and want.series is not None:
        assert np.array_equal(bits(got.series), bits(want.series)), label
