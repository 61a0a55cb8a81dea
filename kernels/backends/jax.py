"""The JAX backend: the model's step under jit, months in a fori_loop (scan when series are wanted)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..arrays import ArrayColumn, ArrayNamespace
from ..namespace import Fields
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
# One noisy run each of 512, 2048 and 8192: bench/trio.py's `each` ran fastest with this, while `base` was
# about a fifth faster with 512.
CPU_CHUNK = 2048
ACCELERATOR_CHUNK = 65536
# Chunks of 32, 256, 1024 and 2048 paths gave the same bytes of `base` on a processor; one of 2 did not.
LEAST_CHUNK = 32
# indices are clamped before, and each path writes its own column
_IN_BOUNDS: dict[str, Any] = {"mode": "promise_in_bounds", "unique_indices": True}


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


class JaxNamespace(ArrayNamespace):
    """Loops and array updates in JAX's own terms."""

    def __init__(self, jax: Any, *args: Any) -> None:
        super().__init__(jax.numpy, *args)
        self.lax = jax.lax

    def _replace(self, array: Any, i: Any, x: Any) -> Any:
        # idle lanes of a while loop write what stood there, so the loop need not merge whole arrays
        active = self._enclosing[-1] if self._enclosing else None
        if i.ndim == 0:
            return array.at[i].set(x if active is None else self.np.where(active, x, array[i]))
        at = array.at[i, self.np.arange(self.paths)]
        if active is not None:
            x = self.np.where(active, x, at.get(**_IN_BOUNDS))
        return at.set(x, **_IN_BOUNDS)

    def merge(self, mask: Any, new: Any, old: Any) -> Any:
        return new if new.ndim == 2 else super().merge(mask, new, old)

    def get(self, array: Any, i: Any) -> Any:
        i = self._scalar(i, "i")
        if i.ndim == 0:
            return super().get(array, i)
        at = self.np.clip(i, 0, array.shape[0] - 1)
        return array.at[at, self.np.arange(self.paths)].get(**_IN_BOUNDS)

    def loop(
        self, first: Any, last: Any, body: Callable[..., dict[str, Any]], **carry: Any
    ) -> Fields:
        start = self._settled(self._carry(carry), lambda c: body(self.np.int32(0), Fields(c)))
        step = lambda i, c: self._like(body(i, Fields(c, "loop value")), start)  # noqa: E731
        values = self.lax.fori_loop(self.np.int32(first), self.np.int32(last), step, start)
        return Fields(values, "loop value")

    def loop_while(
        self,
        first: Any,
        last: Any,
        cond: Callable[[Any, Any], Any],
        body: Callable[[Any, Any], dict[str, Any]],
        **carry: Any,
    ) -> Fields:
        start = {k: self._wide(v) for k, v in self._carry(carry).items()}
        going = self._active(self.np.bool_(True))

        def test(i: Any, active: Any, c: dict[str, Any]) -> Any:
            return active & cond(i, Fields(c, "loop value"))

        def step(at: tuple[Any, Any, dict[str, Any]]) -> tuple[Any, Any, dict[str, Any]]:
            i, active, c = at
            self._enclosing.append(active)
            new = self._carry(body(i, Fields(c, "loop value")))
            self._enclosing.pop()
            c = {k: self.merge(active, new[k], v) for k, v in c.items()}
            return i + 1, test(i + 1, active, c), c

        end = self.np.int32(last)
        begin = (self.np.int32(first), test(self.np.int32(first), going, start), start)
        _, _, values = self.lax.while_loop(
            lambda at: (at[0] < end) & self.np.any(at[1]), step, begin
        )
        return Fields(values, "loop value")

    def while_any(
        self, cond: Callable[[Any], Any], body: Callable[[Any], dict[str, Any]], **carry: Any
    ) -> Fields:
        start = {k: self._wide(v) for k, v in self._carry(carry).items()}
        outer = self._enclosing[-1] if self._enclosing else None

        def active(c: dict[str, Any]) -> Any:
            mask = self.np.broadcast_to(cond(Fields(c, "loop value")), (self.paths,))
            return mask if outer is None else mask & outer

        def step(c: dict[str, Any]) -> dict[str, Any]:
            mask = active(c)
            self._enclosing.append(mask)
            new = self._carry(body(Fields(c, "loop value")))
            self._enclosing.pop()
            return {k: self.merge(mask, new[k], v) for k, v in c.items()}

        values = self.lax.while_loop(lambda c: self.np.any(active(c)), step, start)
        return Fields(values, "loop value")

    def _wide(self, x: Any) -> Any:
        return x if x.ndim else self.np.broadcast_to(x, (self.paths,))

    def _settled(
        self, start: dict[str, Any], once: Callable[[dict[str, Any]], Any]
    ) -> dict[str, Any]:
        """Start values with the shapes that the body returns: a carry keeps its shape in JAX."""
        import jax

        shapes = jax.eval_shape(lambda c: self._carry(once(c)), start)
        wide = {k: v if v.shape == shapes[k].shape else self._wide(v) for k, v in start.items()}
        if any(wide[k] is not start[k] for k in start):
            return self._settled(wide, once)
        return wide

    def _like(self, new: dict[str, Any], start: dict[str, Any]) -> dict[str, Any]:
        values = self._carry(new)
        return {k: self.np.broadcast_to(values[k], start[k].shape) for k in start}


class JaxKernel:
    def __init__(self, program: Program, dtype: str, platform: str) -> None:
        import jax

        self.program, self.dtype = program, dtype
        self.chunk = CPU_CHUNK if platform == "cpu" else ACCELERATOR_CHUNK
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
        flat: dict[str, Any] = {k: real(v) for k, v in model.reals.items()}
        flat |= {k: np.int32(v) for k, v in model.ints.items()}
        for name, data in model.columns.items():
            flat[name] = np.asarray(data, real if data.dtype.kind == "f" else np.int32)
        return flat

    def _function(self, model: Model, months: int, series: bool) -> Any:
        import jax

        shapes = tuple(np.shape(c) for c in model.columns.values())
        key = (shapes, months if series else 0)
        if key not in self._compiled:
            self._compiled[key] = jax.jit(self._build(jax, model, months, series))
        return self._compiled[key]

    def _build(
        self, jax: Any, model: Model, months: int, series: bool
    ) -> Callable[..., tuple[Any, ...]]:
        jnp = jax.numpy
        real = jnp.float64 if self.dtype == "float64" else jnp.float32

        def simulate(
            flat: dict[str, Any], key: Any, low: Any, high: Any, last: Any
        ) -> tuple[Any, ...]:
            xp = JaxNamespace(jax, self.dtype == "float64", (low, high), key)
            inputs = {k: flat[k] for k in (*model.reals, *model.ints)}
            inputs |= {k: ArrayColumn(jnp, flat[k]) for k in model.columns}
            state = {k: xp.full(v) for k, v in model.init(xp, inputs).items()}
            bad = jnp.zeros(xp.paths, jnp.int32)
            metrics = jnp.zeros((len(model.metrics), xp.paths), real)

            def month_step(month: Any, carry: Any) -> tuple[Any, Any]:
                state, bad, _ = carry
                new, seen = model.step(xp, inputs, state, month)
                state = {k: xp.full(new[k]).astype(state[k].dtype) for k in state}
                got = jnp.stack([xp.full(seen[k]).astype(real) for k in model.metrics])
                ok = jnp.ones(xp.paths, bool)
                for v in state.values():
                    if v.dtype == real and v.ndim == 1:
                        ok &= jnp.isfinite(v)
                end = jnp.isfinite(got).all(axis=0)
                for v in state.values():
                    if v.dtype == real and v.ndim == 2:
                        end &= jnp.isfinite(v).all(axis=0)
                ok &= (month < last) | end
                bad = jnp.where((bad == 0) & ~ok, month, bad)
                rows = [
                    jnp.atleast_2d(xp.full(seen[k])).astype(real) for k in model.series if series
                ]
                record = jnp.concatenate(rows) if rows else jnp.zeros((0, xp.paths), real)
                return (state, bad, got), record

            start = (state, bad, metrics)
            if series:
                ticks = jnp.arange(1, months + 1, dtype=jnp.int32)
                (_, bad, metrics), record = jax.lax.scan(
                    lambda c, t: month_step(t, c), start, ticks
                )
                return metrics, bad, record
            _, bad, metrics = jax.lax.fori_loop(
                jnp.int32(1), last + 1, lambda t, c: month_step(t, c)[0], start
            )
            return metrics, bad

        return simulate


def compile(model: Model, program: Program, dtype: str) -> JaxKernel:
    found = status()
    if not found.works:
        raise BackendError(found.why)
    return JaxKernel(program, dtype, found.detail["platform"])
