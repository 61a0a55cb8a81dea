"""The probe: is every operation right on a backend? A small model tries each, and the broken ones are named.

All trials are metrics of one kernel. Each path reports which row of the operands it took, so that what it gives can
be judged even where draws or tables are broken. An operation is named only where nothing that its trial is
made of is broken: a broken ``exp`` spoils ``ndtr`` too, and is the one to name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import answers, backends
from .answers import Array, Where
from .ops import OPS
from .passes import optimize
from .program import Op, walk
from .trace import trace
from .trials import Trial, arrays, composites, draws, loops, operations, while_loops

ROW_BITS = 9
ROWS = 1 << ROW_BITS
PATHS = 4096  # a path takes a given row with probability 1/512: hardly a row is missed
UNIFORM_ROWS = 48  # tried with the same operands on all paths: a launch each
FIRST = (5 << 32) - PATHS // 2  # the low word of the path number wraps in between
SEED = 0x9E3779B97F4A7C15  # both halves of the key are at work
MONTHS = 2
GRAVE = 1e-2


@dataclass(frozen=True, slots=True)
class Fault:
    """A broken operation, where it errs most.

    ``off``: relative to the right answer, as is ``allowed``. ``refusal``: what the backend said instead of an answer.
    ``grave``: so wrong, or about what steers a loop, that a model which uses it had better not be run.
    """

    name: str
    what: str
    backend: str
    dtype: str
    operands: str = ""
    got: float = 0.0
    right: float = 0.0
    off: float = 0.0
    allowed: float = 0.0
    grave: bool = True
    refusal: str = ""

    def __str__(self) -> str:
        head = f"{self.what} {self.name} on {self.backend} {self.dtype}:"
        if self.refusal:
            return f"{head} refused: {self.refusal}"
        if self.allowed and np.isfinite(self.off):
            by = f"{_short(self.off)} off at {self.operands} (allowed {_short(self.allowed)})"
            return f"{head} {by}"
        return f"{head} {_short(self.got, 9)}, not {_short(self.right, 9)}, at {self.operands}"


def _short(x: float, figures: int = 2) -> str:
    return f"{x:.{figures}g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


@dataclass
class Probe:
    """What was found on a backend: ``tried`` names, of them ``unjudged`` ones which a fault spoils."""

    backend: str
    dtype: str
    faults: list[Fault] = field(default_factory=list)
    tried: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()

    @property
    def grave(self) -> bool:
        return any(f.grave for f in self.faults)


def probe(backend: str, dtype: str) -> Probe:
    """Try everything on a backend. Raises BackendError where the backend is not here."""
    found = backends.status(backend)
    if not found.works:
        raise backends.BackendError(f"backend {backend} cannot be used: {found.why}")
    trials = [*operations(OPS), *composites(), *draws(), *arrays(), *loops()]
    results = _attempt(trials, backend, dtype)
    if not any(r.failed for r in results):
        # a broken comparison could keep these going for ever
        last = while_loops()
        results += _attempt(last, backend, dtype)
        trials += last
    made = Probe(backend, dtype, tried=tuple(dict.fromkeys(t.name for t in trials)))
    _blame(results, made)
    return made


# ---- the model
class Trials:
    """A model whose metrics are the trials: the row that a path took, then each trial in each of its ways."""

    series: tuple[str, ...] = ()

    def __init__(self, trials: Sequence[Trial], dtype: str, rows_by_path: bool = True) -> None:
        self.trials, self.rows_by_path = tuple(trials), rows_by_path
        self.cells = tuple((t, way) for t in trials for way in t.ways)
        self.metrics = ("row", *(f"{k}.{t.name}.{way}" for k, (t, way) in enumerate(self.cells)))
        self.reals: dict[str, float] = {}
        self.ints = {"at": 0}
        self.columns = operands(dtype)

    def init(self, xp: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        return {}

    def step(
        self, xp: Any, inputs: dict[str, Any], state: dict[str, Any], month: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        row = inputs["at"]
        if self.rows_by_path:
            word = xp.philox("probe.row", None, 0)[0]
            row = xp.from_bits(xp.shift_right(word, 32 - ROW_BITS))
        seen = {"row": row}
        for name, (t, way) in zip(self.metrics[1:], self.cells, strict=True):
            at = row if way == "path" else inputs["at"]
            taken = [_as_kind(xp, inputs[column][at], kind) for column, kind in t.operands]
            seen[name] = _as_number(xp, t.build(xp, month, *taken), t.result)
        return {}, seen


def _as_kind(xp: Any, value: Any, kind: str) -> Any:
    return value != 0 if kind == "m" else xp.to_bits(value) if kind == "u" else value


def _as_number(xp: Any, value: Any, kind: str) -> Any:
    if kind == "m":
        return xp.where(value, 1.0, 0.0)
    return xp.from_bits(value) if kind == "u" else value


@cache
def operands(dtype: str) -> dict[str, Array]:
    return answers.operands(dtype, ROWS)


def needs(t: Trial) -> frozenset[str]:
    """The operations that a trial is made of, but for the one that it tries."""
    if t.needs is not None:
        return t.needs
    try:
        program = trace(Trials([t], "float64", rows_by_path=False), True)
    except Exception:  # the trial then fails on its own, with a reason
        return frozenset()
    used = {s.name for s in walk(program.step) if isinstance(s, Op)}
    return frozenset(used - {t.name, "const", "param", "iparam"})


# ---- running it
@dataclass
class _Result:
    """A trial in one of its ways: its worst error, as a fault that may be another's doing."""

    trial: Trial
    way: str
    fault: Fault | None = None

    @property
    def failed(self) -> bool:
        return self.fault is not None


def _attempt(trials: list[Trial], backend: str, dtype: str) -> list[_Result]:
    """All trials in one kernel. Where that is refused, in two, and so on, until it is known which ones are refused."""
    try:
        return _run(trials, backend, dtype)
    except Exception as error:  # a compiler's message, a trace that fails, a library's own refusal
        if len(trials) > 1:
            half = len(trials) // 2
            return _attempt(trials[:half], backend, dtype) + _attempt(trials[half:], backend, dtype)
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        t = trials[0]
        fault = Fault(t.name, t.what, backend, dtype, refusal=reason)
        return [_Result(t, way, fault) for way in t.ways]


def _run(trials: list[Trial], backend: str, dtype: str) -> list[_Result]:
    model = Trials(trials, dtype)
    program = optimize(trace(model, dtype == "float64"))
    kernel = backends.compile(backend, model, program, dtype)
    by_path = kernel.run(model, SEED, FIRST, PATHS, MONTHS, False).metrics
    chosen = np.random.default_rng(6).choice(ROWS, UNIFORM_ROWS, replace=False)
    launches = []
    for row in chosen if any("uniform" in t.ways for t in trials) else ():
        model.ints["at"] = int(row)
        launches.append(kernel.run(model, SEED, FIRST, 1, MONTHS, False).metrics[:, 0])
    uniform = np.array(launches).T
    real = np.dtype(dtype).type
    reported = np.nan_to_num(by_path[0].astype(np.float64))
    path_rows = np.clip(reported, 0, ROWS - 1).astype(np.int64)
    ranges = {
        "path": (np.arange(FIRST, FIRST + PATHS, dtype=np.uint64), path_rows, by_path),
        "uniform": (np.full(len(chosen), FIRST, np.uint64), chosen, uniform),
    }
    results = []
    for k, (t, way) in enumerate(model.cells, start=1):
        paths, rows, got = ranges[way]
        where = Where(paths, MONTHS, SEED, real)
        results.append(_Result(t, way, _judge(t, where, rows, got[k], backend, dtype)))
    return results


# ---- judging
def _judge(
    t: Trial, where: Where, rows: NDArray[np.int64], got: Array, backend: str, dtype: str
) -> Fault | None:
    """The worst error of a trial beyond what is allowed."""
    stored = operands(dtype)
    exact = [_typed(stored[column][rows], kind, where.real) for column, kind in t.operands]
    nearly = not isinstance(t.ulps, float) or t.ulps > 0.0
    taken = [a.astype(np.float64) if nearly and a.dtype.kind == "f" else a for a in exact]
    with np.errstate(all="ignore"):
        right = _reported(np.asarray(t.right(where, *taken)), where.real)
        ulps = t.ulps if isinstance(t.ulps, float) else np.asarray(t.ulps(*taken))
        wide = got.astype(np.float64)
        off = np.abs(wide - right) / np.abs(right)  # any other number is infinitely far from 0
    rounded = right.astype(where.real).astype(np.float64)
    off[(wide == rounded) | (np.isnan(wide) & np.isnan(rounded))] = 0.0
    off[np.isnan(off)] = np.inf  # NaN on one side alone, or infinities of both signs
    allowed = np.broadcast_to(ulps * float(np.finfo(where.real).eps), off.shape)
    off[_subnormal(rounded, where.real) & (np.abs(wide) < np.finfo(where.real).tiny)] = 0.0
    for a in exact:
        off[_subnormal(a, where.real)] = 0.0
    beyond = np.where(off > allowed, off, -1.0)
    at = int(np.argmax(beyond))
    if beyond[at] < 0.0:
        return None
    texts = ", ".join(f"{name} = {a[at]!s}" for name, a in zip("xyzuvw", exact, strict=False))
    return Fault(
        t.name, t.what, backend, dtype, texts, float(got[at]), float(rounded[at]), float(off[at]),
        float(allowed[at]), bool(t.result != "f" or off[at] > GRAVE),
    )  # fmt: skip


def _typed(values: Array, kind: str, real: Any) -> Array:
    if kind == "f":
        return values.astype(real)
    return values != 0 if kind == "m" else values.view(np.uint32) if kind == "u" else values


def _reported(value: Array, real: Any) -> Array:
    """The right answer as it is reported: words as signed integers, integers as reals, masks as 1 and 0."""
    if value.dtype == np.uint32:
        value = value.view(np.int32)
    return value.astype(np.float64 if value.dtype.kind == "f" else real).astype(np.float64)


def _subnormal(x: Array, real: Any) -> Array:
    """Numbers that JAX and, in float32, CUDA take for zero."""
    if x.dtype.kind != "f":
        return np.zeros(x.shape, bool)
    return np.asarray((x != 0.0) & (np.abs(x) < np.finfo(real).tiny))


def _blame(results: list[_Result], made: Probe) -> None:
    """Sort failures into faults and what only follows from them: operations made of fewer others come first."""
    passed = {(r.trial.chance, r.way) for r in results if r.trial.chance and not r.failed}
    failed = [
        r for r in results if r.fault and not (r.trial.chance and (r.trial.chance, r.way) in passed)
    ]
    parts = {id(r.trial): needs(r.trial) for r in failed}
    broken: dict[str, Fault] = {}
    spoiled: list[str] = []
    for r in sorted(failed, key=lambda r: len(parts[id(r.trial)])):
        assert r.fault is not None
        name = r.trial.name
        if parts[id(r.trial)] & (broken.keys() - {name}):
            spoiled.append(name)
        elif name not in broken or (r.fault.off > broken[name].off and not broken[name].refusal):
            broken[name] = r.fault
    made.faults = list(broken.values())
    made.unjudged = tuple(n for n in dict.fromkeys(spoiled) if n not in broken)
