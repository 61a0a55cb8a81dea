"""Profile: what each system costs, as the time of the economy with it less the time without it.

Without a system the others find nothing to read, so it is held instead: a stand-in keeps what others read
of it at the values of a first month, and its own work is gone from the kernel. The difference is the
system's marginal cost. Shares need not add to 100 %: work that two systems share leaves only with both, a
kernel with less in it is compiled otherwise, and a held system may spare the others work (nobody defaults
while rentals stand still) or cause it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from ..kernels.backends import native
from ..kernels.passes import optimize
from ..kernels.program import Op, Program, walk
from ..kernels.trace import trace
from .arguments import check_run
from .explain import Model, observe
from .record import record
from .simulate import Plan, as_economy, plan
from .system import Economy, Output, System
from .tables import GRID, console, number

SAMPLE = 63  # paths; odd, so that a median is a value that occurs: a mask, a regime
COMPILERS = 2  # at a time: each is a process of its own
MOST_PATHS = 1 << 14
"""Of a run: many short runs by turns find a quiet moment of the machine, one long run does not."""

Progress = Callable[[int, int, str], None]
"""``progress(done, total, what)``: steps of compiling and of running."""


# ---- a system that stands still
@dataclass(frozen=True)
class Still:
    """A variable's value: shape () or, for a per-path array, (length,). ``uniform``: the same on every path."""

    value: NDArray[Any]
    uniform: bool = False

    @property
    def is_number(self) -> bool:
        return not self.value.ndim and self.value.dtype.kind in "fi"


class Held(System):
    """A stand-in for a system: what others read of it stays at given values, and nothing is computed.

    Of ``values``, those named in ``read`` are kept as states, so that to the compiler they differ by path and
    may change by month, as in the system itself: those who read them still do all their work. Uniform
    ones become parameters. A per-path array is filled with its mean. Other variables are constants if they
    are reported, else they are gone.
    """

    def __init__(self, system: System, values: dict[str, Still], read: set[str]) -> None:
        self._values = {}
        self._outputs = system.outputs()
        self._reported = {k: float(values[k].value) for k in self._outputs if k not in read}
        kept = {k: v for k, v in values.items() if k in read}
        self._uniform = {k: v.value.item() for k, v in kept.items() if v.uniform and v.is_number}
        self._kept = {k: v for k, v in kept.items() if k not in self._uniform}

    def outputs(self) -> dict[str, Output]:
        return self._outputs

    def prepare(self) -> dict[str, Any]:
        return {"one": 1.0, "zero": 0} | {f"held_{k}": v for k, v in self._uniform.items()}

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {k: _start(xp, v.value) for k, v in self._kept.items()}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        moved = {k: self._still(getattr(s, k), v) for k, v in self._kept.items()}
        return moved | {k: getattr(self, f"held_{k}") for k in self._uniform} | self._reported

    def _still(self, x: Any, value: Still) -> Any:
        """x itself, times 1 or plus 0 where it is a number: that it never moves is only known at run time."""
        if not value.is_number:
            return x
        return x * self.one if value.value.dtype.kind == "f" else x + self.zero

    def operations(self) -> int:
        """Those of the stand-in's own."""
        return sum(v.is_number for v in self._kept.values())


def _start(xp: Any, value: NDArray[Any]) -> Any:
    """The value as the namespace makes it: a number, or a per-path array filled with the mean."""
    kind = value.dtype.kind
    if value.ndim:
        if kind == "u":
            return xp.bits_array(len(value))
        mean = float(value.mean())
        return xp.array(len(value), mean if kind == "f" else xp.to_int(mean))
    plain = value.item()
    return xp.to_bits(plain) if kind == "u" else plain


Values = dict[str, dict[str, Still]]
"""Values by system and variable."""


def hold(model: Model, key: str, values: Values | None = None) -> Economy:
    """The economy with one system held, at what it writes in a first month if no values are given."""
    economy = as_economy(model)
    given = first_month(economy) if values is None else values
    return _hold(economy, key, given, read_by_others(economy)[key])


def _hold(economy: Economy, key: str, values: Values, read: set[str]) -> Economy:
    stand_in = type("Held", (Held,), {"system_name": key})
    systems = [
        stand_in(s, values[key], read) if k == key else s for k, s in economy.systems.items()
    ]
    return Economy(*systems, months=economy.months, name=f"{economy.name} without {key}")


def read_by_others(economy: Economy) -> dict[str, set[str]]:
    """The variables of each system that others read."""
    found: dict[str, set[str]] = {key: set() for key in economy.systems}
    for traffic in observe(economy).values():
        for key, names in [*traffic.above.items(), *traffic.below.items()]:
            found[key] |= set(names)
    return found


def first_month(economy: Economy, seed: int = 0) -> Values:
    """What each system writes in a first month: the median of some paths, by the reference in float64.

    One path's draws, met again every month, would drive the economy far from where it lives.
    """
    month = next(record(economy, seed, 0, SAMPLE, 1))
    found: Values = {key: {} for key in economy.systems}
    for name, value in month.seen.items():
        key, _, own = name.partition(".")
        middle = np.sort(value, axis=-1)[..., SAMPLE // 2] if value.ndim else value
        found[key][own] = Still(middle, uniform=name not in month.before and not value.ndim)
    return found


# ---- what it costs
@dataclass(frozen=True)
class Cost:
    """One system: ``held`` seconds without it; ``seconds``, its cost, and its share of the whole.

    ``operations`` are the statements of a month that leave the program with it, loops' bodies counted once;
    ``compile`` the seconds to trace and compile the kernel without it.
    """

    system: str
    held: float
    seconds: float
    share: float
    operations: int
    compile: float


@dataclass(frozen=True)
class Profile:
    """The economy's best run, and the cost of each system in the order of flow.

    ``spread`` is by what share its second-best run took longer: smaller costs say little.
    """

    name: str
    backend: str
    dtype: str
    paths: int
    months: int
    seed: int
    runs: int
    seconds: float
    spread: float
    operations: int
    compile: float
    costs: tuple[Cost, ...]

    def nanoseconds(self, seconds: float) -> float:
        """Per path and month."""
        return seconds / (self.paths * self.months) * 1e9

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"costs": [asdict(c) for c in self.costs]}


def profile(
    model: Model,
    paths: int,
    seed: int = 0,
    backend: str = "auto",
    dtype: str = "float32",
    *,
    months: int | None = None,
    runs: int = 9,
    progress: Progress | None = None,
) -> Profile:
    """Time the economy, and with each system held in turn, on the same paths.

    Kernels are compiled first, two at a time where the compiler is a process of its own, and then run by
    turns, ``runs`` times each; the best run counts. Raises as ``simulate`` does: ConfigError for bad
    arguments, BackendError, TraceError.
    """
    economy = as_economy(model)
    check_run(paths, seed, economy.months if months is None else months, dtype, backend)
    values, read = first_month(economy, seed), read_by_others(economy)
    variants = {"": economy}
    variants |= {k: _hold(economy, k, values, read[k]) for k in economy.systems}
    tell = _Steps(len(variants) * (1 + runs), progress)
    plans, seconds = _compile(variants, backend, dtype, months, tell)
    times = _run(plans, paths, seed, runs, tell)
    best = {k: min(t) for k, t in times.items()}
    statements = {k: operations(p.program) for k, p in plans.items()}
    made, whole = plans[""], best[""]
    costs = []
    for key in economy.systems:
        own = variants[key].systems[key].operations()
        gone = statements[""] - statements[key] + own
        cost = whole - best[key]
        costs.append(Cost(key, best[key], cost, cost / whole, gone, seconds[key]))
    return Profile(
        economy.name, made.backend, dtype, paths, made.months, seed, runs, whole,
        sorted(times[""])[min(1, runs - 1)] / whole - 1.0, statements[""], seconds[""], tuple(costs),
    )  # fmt: skip


def operations(program: Program) -> int:
    """Statements that a month runs: operations of the step, those inside loops counted once."""
    return sum(isinstance(s, Op) and s.name not in _FREE for s in walk(program.step))


_FREE = ("const", "param", "iparam")  # no instructions of their own


class _Steps:
    def __init__(self, total: int, progress: Progress | None) -> None:
        self.done, self.total, self.progress = 0, total, progress

    def __call__(self, what: str) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total, what)


def _compile(
    variants: dict[str, Economy], backend: str, dtype: str, months: int | None, tell: _Steps
) -> tuple[dict[str, Plan], dict[str, float]]:
    """A plan of each variant, and the seconds that it took."""
    first = next(iter(variants))
    start = time.perf_counter()
    plans = {first: plan(variants[first], backend, dtype, months)}
    seconds = {first: time.perf_counter() - start}
    tell("compiled the whole economy")
    backend = plans[first].backend
    rest = [k for k in variants if k != first]
    ahead = backend == "native"
    with ThreadPoolExecutor(COMPILERS) as pool:
        waiting = [pool.submit(_ahead, variants[k], dtype) for k in rest] if ahead else []
        try:
            for i, key in enumerate(rest):
                spent = waiting[i].result() if ahead else 0.0
                start = time.perf_counter()
                plans[key] = plan(variants[key], backend, dtype, months)
                seconds[key] = spent + time.perf_counter() - start
                tell(f"compiled without {key}")
        finally:  # an interrupt should not wait for compilers that have not begun
            pool.shutdown(cancel_futures=True)
    return plans, seconds


def _ahead(economy: Economy, dtype: str) -> float:
    """Put a native kernel into the cache; seconds. The kernel itself starts threads: not here, not in a thread."""
    start = time.perf_counter()
    native.shared_library(optimize(trace(economy, dtype == "float64")), dtype)
    return time.perf_counter() - start


def _run(
    plans: dict[str, Plan], paths: int, seed: int, runs: int, tell: _Steps
) -> dict[str, list[float]]:
    """Seconds of each run; by turns, so that a busy spell of the machine meets all of them."""
    times: dict[str, list[float]] = {k: [] for k in plans}
    for _ in range(runs):
        for key, made in plans.items():
            start = time.perf_counter()
            made.run(seed, 0, paths)
            times[key].append(time.perf_counter() - start)
            tell(f"ran without {key}" if key else "ran the whole economy")
    return times


# ---- printed
def print_profile(found: Profile) -> None:
    """A line for each system in the order of flow, 100 columns, and what was measured."""
    screen = console()
    table = Table(**GRID)
    table.add_column("system", no_wrap=True)
    for name in ("seconds\nheld", "ns per\npath-month", "share\nof time", "opera-\ntions", "compile\nseconds"):  # fmt: skip
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    most = max((c.share for c in found.costs), default=0.0)
    for c in found.costs:
        bar = "█" * round(20 * max(c.share, 0.0) / most) if most > 0 else ""
        table.add_row(
            escape(c.system), number(c.held), number(found.nanoseconds(c.seconds), 3),
            f"{100 * c.share:.1f} %", f"{c.operations:,}", f"{c.compile:.1f}", f"[dim]{bar}[/]",
        )  # fmt: skip
    table.add_row(
        "the whole", number(found.seconds), number(found.nanoseconds(found.seconds), 3), "100 %",
        f"{found.operations:,}", f"{found.compile:.1f}", style="bold",
    )  # fmt: skip
    screen.print(f"{found.name}: what each system costs", style="bold", markup=False, highlight=False)  # fmt: skip
    screen.print(table)
    screen.print(
        f"\n{found.paths:,} paths, {found.months} months, seed {found.seed}, {found.backend} {found.dtype}; "
        f"best of {found.runs} runs; the whole's second best took {100 * found.spread:.1f} % more: smaller shares "
        "say little.",
        style="dim", markup=False, highlight=False,
    )  # fmt: skip
    screen.print(_NOTE, style="dim", markup=False, highlight=False)


_NOTE = (
    "Cost: the time of the whole less the time with the system held: what others read of it stays at the "
    "values of a first month, and its own work is gone. Operations: statements of a month that go with it. "
    "Shares need not add to 100 %: systems share work, and a system that stands still changes what the others "
    "have to do."
)
