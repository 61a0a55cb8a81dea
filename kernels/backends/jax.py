"""The JAX backend: the program under jit, months in a fori_loop (scan when series are wanted)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..passes import host_values
from ..program import Program
from ..trace import Model
from .base import (
    BackendError,
    LaunchError,
    OutOfMemory,
    Output,
    Status,
    check_same,
    path_words,
    thread_count,
)

INSTALL = "pip install 'overbuilt[jax]'"
# Lanes packed at a time, of a chunk of paths: 2048 and 128 or 256 ran the five systems of bench/jax_economy.py as fast
# as any of 1024 and 64, 4096 and 256, to the same bytes. Packing was not tried on an accelerator.
CPU_CHUNK = 2048
CPU_BUSY = 128
ACCELERATOR_CHUNK = 65536
# Chunks of 32, 256, 1024 and 2048 paths gave the same bytes of `base` on a processor; one of 2 did not.
LEAST_CHUNK = 32


def status() -> Status:
    if importlib.util.find_spec("jax") is None:
        return Status("jax", False, f"JAX is not installed: {INSTALL}")
    try:
        import jax

        device = jax.devices()[0]
    except Exception as error:  # a broken install fails in many ways; each means "not here"
        return Status("jax", False, f"JAX does not start: {error}".splitlines()[0])
    return Status(
        "jax", True, f"JAX {jax.__version__} on {device.device_kind}", {"platform": device.platform}
    )


class JaxKernel:
    def __init__(self, program: Program, dtype: str, platform: str) -> None:
        import jax

        self.program, self.dtype = program, dtype
        self.chunk = CPU_CHUNK if platform == "cpu" else ACCELERATOR_CHUNK
        self.busy = CPU_BUSY if platform == "cpu" else 0
        self.threads = thread_count() if platform == "cpu" else 1
        self.stamp = {
            "backend": "jax",
            "library": f"jax {jax.__version__}",
            "target": jax.devices()[0].device_kind,
        }
        self._compiled: dict[Any, Any] = {}

    def run(
        self, model: Model, seed: int, first: int, count: int, months: int, series: bool
    ) -> Output:
        import jax

        with jax.enable_x64(True):
            function = self._function(model, months, series)
            inputs = self._inputs(model)
            key = (np.uint32(seed & 0xFFFFFFFF), np.uint32(seed >> 32))

        def one(at: int) -> tuple[Any, ...]:
            with jax.enable_x64(True):  # the setting belongs to a thread
                low, high = path_words(first + at, self.chunk)
                got = function(inputs, key, low, high, np.int32(months))
                keep = min(self.chunk, count - at)
                return tuple(np.asarray(part)[..., :keep] for part in got)

        starts = range(0, count, self.chunk)
        with self._device_errors(count):
            if self.threads > 1 and len(starts) > 1:
                with ThreadPoolExecutor(self.threads) as pool:
                    parts = list(pool.map(one, starts))
            else:
                parts = [one(at) for at in starts]
        metrics, bad = (np.concatenate([p[j] for p in parts], axis=-1) for j in (0, 1))
        record = np.concatenate([p[2] for p in parts], axis=-1) if series else None
        return Output(metrics, record, bad)

    def run_many(
        self, models: Sequence[Model], seed: int, first: int, count: int, months: int
    ) -> list[Output]:
        # the values are arguments of the jitted function: it is compiled once, for columns of one length
        check_same(self.program, models)
        return [self.run(model, seed, first, count, months, False) for model in models]

    @contextmanager
    def _device_errors(self, count: int) -> Iterator[None]:
        """What XLA raises in a launch of so many paths, as the errors of backends.

        A launch computes whole chunks, so where memory ends the chunk must be smaller too, for all that follow.
        """
        import jax

        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            first = str(error).splitlines()[0]
            if "RESOURCE_EXHAUSTED" not in first:
                raise LaunchError(f"JAX: the device failed: {first}") from error
            chunk = min(self.chunk, count)
            self.chunk = min(self.chunk, max(chunk // 2, LEAST_CHUNK))
            raise OutOfMemory(
                f"{chunk:,} paths do not fit in the device's memory: {first}"
            ) from error

    def _inputs(self, model: Model) -> dict[str, Any]:
        real = np.float64 if self.dtype == "float64" else np.float32
        reals, ints = host_values(self.program, [*model.reals.values()], [*model.ints.values()])
        columns = [
            np.asarray(model.columns[name], real if kind == "f" else np.int32)
            for name, kind in self.program.columns
        ]
        return {
            "reals": np.array([*reals, 0.0], real), "ints": np.array([*ints, 0], np.int32), "columns": columns
        }  # fmt: skip

    def _function(self, model: Model, months: int, series: bool) -> Any:
        """Compiled once for columns of one length and chunks of one size; with series, for a number of months."""
        import jax

        from .jax_cache import compiled

        shapes = tuple(np.shape(c) for c in model.columns.values())
        key = (shapes, self.chunk, months if series else 0)
        if key not in self._compiled:
            low, high = path_words(0, self.chunk)
            word = np.uint32(0)
            lowered = jax.jit(self._build(months, series)).lower(
                self._inputs(model), (word, word), low, high, np.int32(months)
            )
            self._compiled[key] = compiled(lowered)
        return self._compiled[key]

    def _build(self, months: int, series: bool) -> Callable[..., tuple[Any, ...]]:
        from jax import lax
        from jax import numpy as jnp

        from .jax_program import Evaluator, Lanes

        program = self.program
        real = np.float64 if self.dtype == "float64" else np.float32
        scalars = [k for k, v in enumerate(program.state) if v.kind == "f" and not v.length]
        arrays = [k for k, v in enumerate(program.state) if v.kind == "f" and v.length]

        def simulate(
            inputs: dict[str, Any], key: Any, low: Any, high: Any, last: Any
        ) -> tuple[Any, ...]:
            lanes = Lanes(low, high)
            evaluate = Evaluator(program, real, inputs, key, self.busy)
            env: dict[int, Any] = {}
            start = [lanes.wide(x) for x in evaluate.block(program.init, env, lanes)]

            def as_real(x: Any) -> Any:
                return lax.convert_element_type(lanes.wide(x), real)

            def finite(values: list[Any]) -> Any:
                """Whether all of them are, by path."""
                ok = jnp.ones(lanes.width, bool)
                for x in values:
                    ok &= jnp.isfinite(x) if x.ndim == 1 else jnp.isfinite(x).all(axis=0)
                return ok

            def month_step(month: Any, carry: Any) -> tuple[Any, Any]:
                state, bad, _ = carry
                here = env | {program.month.id: month}
                here |= {v.id: x for v, x in zip(program.state, state, strict=True)}
                outs = evaluate.block(program.step, here, lanes)
                n = len(state)
                state = [lanes.wide(x) for x in outs[:n]]
                metrics = [as_real(x) for x in outs[n : n + len(program.metrics)]]
                ok = finite([state[k] for k in scalars])
                bad = jnp.where((bad == 0) & ~ok, month, bad)
                rows = [jnp.atleast_2d(as_real(x)) for x in outs[n + len(metrics) :] if series]
                record = jnp.concatenate(rows) if rows else jnp.zeros((0, lanes.width), real)
                return (state, bad, metrics), record

            nothing = jnp.zeros(lanes.width, real)
            begin = (start, jnp.zeros(lanes.width, jnp.int32), [nothing] * len(program.metrics))
            if series:
                ticks = jnp.arange(1, months + 1, dtype=jnp.int32)
                done, record = lax.scan(lambda c, t: month_step(t, c), begin, ticks)
            else:
                done = lax.fori_loop(
                    jnp.int32(1), last + 1, lambda t, c: month_step(t, c)[0], begin
                )
                record = None
            state, bad, metrics = done
            ok = finite([state[k] for k in arrays] + metrics)
            bad = jnp.where((bad == 0) & ~ok, last, bad)
            table = jnp.stack(metrics)
            return (table, bad, record) if series else (table, bad)

        return simulate


def compile(model: Model, program: Program, dtype: str) -> JaxKernel:
    found = status()
    if not found.works:
        raise BackendError(found.why)
    return JaxKernel(program, dtype, found.detail["platform"])
