"""Sensitivity: how far a quantity moves with each parameter, on common random numbers.

Each parameter is moved up and down by a small share of itself, and half of the difference is what moving it up
does (central differences; Glasserman 2004, section 7.1). All runs draw the same numbers, so intervals are those
of paired differences. A parameter at a bound moves to one side. One that may not move alone takes others with
it: a correlation its mirror image, a probability or a share those that it sums with. One that is zero has no
share: it moves by the same share of what stands beside it, and has an effect but no elasticity.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .arguments import check_run
from .common_paths import KERNELS, CommonPaths, Values, check_paths, check_quantity
from .functionals import Functional, Quantity
from .paired import Change, change, standard_error
from .places import Place, chosen, places, scale
from .proportions import holm
from .runner import Progress
from .scenario import Scenario
from .simulate import as_economy
from .system import Economy, System
from .validate import ConfigError
from .variants import Variant, Variants, mirrored

if TYPE_CHECKING:
    import pandas as pd

BUMP = 0.01
PATHS = 8192
LEVEL = 0.05
"""Effects are told apart from zero at this level, over all that are tested."""

MOVED, STILL, UNREAD, REFUSED = "moved", "still", "unread", "refused"


@dataclass(frozen=True)
class Effect:
    """What moving one parameter does.

    ``status`` is ``moved``; ``still`` where no path's value changed; ``unread`` where nothing that the metric hangs
    on changed, so that the effect is zero and was not simulated; ``refused`` where the parameter cannot be moved.
    ``why`` says what keeps it from moving, or from moving to the other side. ``side`` is both, up or down, and
    ``tied`` what had to move with it.

    ``effect`` is what adding ``step`` to ``value`` does, with its 95 % interval; ``up`` and ``down`` what adding and
    taking it do, NaN where that is refused. ``elasticity`` is d log quantity / d log parameter; NaN where the
    parameter is zero or the quantity is not told apart from zero. ``p_value`` is that of no effect, adjusted for all
    effects tested.
    """

    parameter: str
    value: float
    unit: str
    step: float
    status: str
    side: str = ""
    tied: str = ""
    why: str = ""
    effect: float = 0.0
    low: float = 0.0
    high: float = 0.0
    se: float = 0.0
    p_value: float = 1.0
    told_apart: bool = False
    elasticity: float = math.nan
    elasticity_low: float = math.nan
    elasticity_high: float = math.nan
    up: float = math.nan
    down: float = math.nan
    paths_moved: int = 0
    left_out: int = 0


@dataclass
class Sensitivity:
    """The quantity itself, with its 95 % interval, and its effects: those told apart from zero first, by size.

    ``runs`` counts the parameter sets that were simulated, ``kernels`` the programs that they took, ``tests`` the
    effects that the p-values are adjusted for. ``seconds`` by phase.
    """

    name: str
    quantity: str
    unit: str
    value: float
    low: float
    high: float
    rows: list[Effect]
    bump: float
    path_count: int
    seed: int
    months: int
    backend: str
    dtype: str
    runs: int
    kernels: int
    tests: int
    bad: int
    seconds: dict[str, float] = field(default_factory=dict)
    stamp: dict[str, str] = field(default_factory=dict)
    passed_over: list[str] = field(default_factory=list)

    def __getitem__(self, parameter: str) -> Effect:
        """The effect of one parameter. Raises KeyError where it was not among those asked for."""
        for row in self.rows:
            if row.parameter == parameter:
                return row
        raise KeyError(parameter)

    def having(self, status: str) -> list[Effect]:
        return [r for r in self.rows if r.status == status]

    def frame(self) -> pd.DataFrame:
        """A row for each parameter, in order."""
        import pandas as pd

        return pd.DataFrame([asdict(r) for r in self.rows]).set_index("parameter")

    def as_json(self) -> dict[str, Any]:
        """What ``--format json`` prints: all parameters; null for what is no number."""
        plain = ("name", "quantity", "unit", "bump", "seed", "months", "backend", "dtype")
        counts = ("runs", "kernels", "tests", "bad")
        return {
            **{k: getattr(self, k) for k in plain},
            "paths": self.path_count,
            **{k: finite(getattr(self, k)) for k in ("value", "low", "high")},
            **{k: getattr(self, k) for k in counts},
            "seconds": {k: round(v, 4) for k, v in self.seconds.items()},
            "parameters": [{k: finite(v) for k, v in asdict(r).items()} for r in self.rows],
        }


def finite(value: Any) -> Any:
    """The value, or None for a float that JSON has no word for."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


# ---- the run
def sensitivity(
    model: Scenario | Economy | System,
    metric: str,
    *,
    paths: int = PATHS,
    seed: int = 0,
    bump: float = BUMP,
    parameters: Sequence[str] = (),
    backend: str = "auto",
    dtype: str = "float32",
    months: int | None = None,
    progress: Progress | None = None,
) -> Sensitivity:
    """How far a quantity (``private_credit.loss.es99``, ``rental.hopper < 1.2``) moves with each parameter.

    ``parameters`` are names, with ``*`` for any letters (``firms.firm.*.cash``); none for all, tables' rows
    included. ``bump`` is relative. ``progress(done, total, seconds)`` counts parameters. What happens on fewer than
    a few of the paths is not seen, and no interval allows for it. Raises ConfigError for bad arguments, BackendError,
    TraceError.
    """
    began = time.perf_counter()
    economy = as_economy(model)
    quantity, wanted, known = _check(
        economy, metric, parameters, bump, (paths, seed, months, dtype, backend)
    )
    common = CommonPaths(economy, quantity, paths, seed, backend, dtype, months)
    run = _Run(common, quantity.functional, bump)
    rows = run.effects(wanted, known, progress, began)
    value, reach = run.value, run.error[1]
    unit = "1" if quantity.functional.kind == "probability" else economy.unit(quantity.metric)
    made = common.plan
    spent = made.seconds["trace"] + made.seconds["compile"]
    return Sensitivity(
        name=economy.name, quantity=quantity.text, unit=unit, value=value, low=value - reach, high=value + reach,
        rows=ranked(rows), bump=bump, path_count=paths, seed=seed, months=made.months, backend=made.backend,
        dtype=dtype, runs=common.ran, kernels=common.kernels,
        tests=sum(r.status == MOVED for r in rows), bad=run.bad,
        seconds=made.seconds | {"simulate": time.perf_counter() - began - spent},
        stamp=made.kernel.stamp, passed_over=made.passed_over,
    )  # fmt: skip


def _check(
    economy: Economy, metric: str, parameters: Sequence[str], bump: float, how: tuple[Any, ...]
) -> tuple[Quantity, list[Place], list[Place]]:
    """The quantity, the parameters and all there are; ConfigError with everything that is wrong."""
    problems: list[str] = []
    quantity, known, wanted = None, places(economy), []
    paths, seed, months, dtype, backend = how
    try:
        check_run(paths, seed, economy.months if months is None else months, dtype, backend)
        problems += check_paths(paths)
    except ConfigError as error:
        problems += error.problems
    problems += check_bump(bump, dtype)
    try:
        quantity = check_quantity(metric, economy, paths)
    except ConfigError as error:
        problems += error.problems
    try:
        wanted = chosen(known, parameters)
        if not known:
            problems.append(f"{economy.name}: has no parameters to move")
    except ConfigError as error:
        problems += error.problems
    if problems or quantity is None:
        raise ConfigError(problems)
    return quantity, wanted, known


def check_bump(bump: Any, dtype: str) -> list[str]:
    """A line where a relative bump is no share that a number can be moved by."""
    least = 100.0 * float(np.finfo(np.float64 if dtype == "float64" else np.float32).eps)
    number = isinstance(bump, int | float) and not isinstance(bump, bool)
    if number and least <= bump < 1.0:
        return []
    return [f"bump = {bump!r}: should be from {least:.1g} (in {dtype}) to below 1, as 0.01 for 1 %"]


@dataclass(frozen=True)
class _Shift:
    """A parameter and the variants to either side; None where that is refused."""

    place: Place
    step: float
    up: Variant | None
    down: Variant | None
    why: str

    @property
    def variants(self) -> list[Variant]:
        return [v for v in (self.up, self.down) if v is not None]


class _Run:
    """The economy's own values, and the effect of one shift after another."""

    def __init__(self, common: CommonPaths, f: Functional, bump: float) -> None:
        self.common, self.f, self.bump = common, f, bump
        self.maker = Variants(common.economy)
        (self.base,) = common.run([Variant(common.economy)])
        self.bad = int(np.count_nonzero(self.base.bad))
        good = self.base.values[~self.base.bad]
        if len(good) < 2:
            raise ConfigError(
                [
                    f"{common.economy.name}: {self.bad:,} of {common.paths:,} paths had a non-finite state; fewer should"
                ]
            )
        self.value = f.of(good)
        self.error = standard_error(f.influence(good))

    def effects(
        self, wanted: list[Place], known: list[Place], progress: Progress | None, began: float
    ) -> list[Effect]:
        names = {p.name for p in wanted}
        rows: list[Effect] = []
        waiting: list[_Shift] = []
        for done, place in enumerate(wanted, 1):
            shift = self._shift(place, scale(place, known))
            if not self._is_shown_by_mirror(shift, names):
                if not any(self.common.changed(v) for v in shift.variants):
                    rows.append(_unmoved(shift))
                else:
                    waiting.append(shift)
            held = sum(len(s.variants) for s in waiting)
            if held >= self.common.together or (waiting and done == len(wanted)):
                rows += self._measure(waiting)
                waiting = []
            if progress is not None:
                progress(done, len(wanted), time.perf_counter() - began)
        return rows

    def _shift(self, place: Place, size: float) -> _Shift:
        step = math.copysign(self.bump * size, place.value)
        found: list[Variant | None] = []
        why = ""
        for value in (place.value + step, place.value - step):
            try:
                made: Variant | None = self.maker.move(place, value)
            except ConfigError as error:
                made, why = None, why or error.problems[0]
            if made is not None:
                refused = self._refused(place, made)
                made, why = (None, why or refused) if refused else (made, why)
            found.append(made)
        return _Shift(place, step, found[0], found[1], why)

    def _refused(self, place: Place, made: Variant) -> str:
        """Why a sound variant does not say what a small change does; empty where it does."""
        switched = ", ".join(self.common.switched(made))
        if switched and not place.value:
            return f"{place.name} = 0: turns something off; any other value would turn it on ({switched})"
        if not self.common.admits(made):
            return f"{place.name}: moving it makes another program ({switched}), and there are {KERNELS} already"
        return ""

    @staticmethod
    def _is_shown_by_mirror(shift: _Shift, names: set[str]) -> bool:
        """Whether this is the lower half of a symmetric matrix whose upper half is asked for too."""
        place = shift.place
        if not shift.variants or len(place.path) < 3:
            return False
        i, j = place.path[-2:]
        if not isinstance(i, int) or not isinstance(j, int) or i < j:
            return False
        image = f"{place.name.partition('[')[0]}[{j}][{i}]"
        return shift.variants[0].tied == mirrored(place) and image in names

    def _measure(self, shifts: list[_Shift]) -> list[Effect]:
        values = iter(self.common.run([v for s in shifts for v in s.variants]))
        return [
            self._effect(s, *(next(values) if v else None for v in (s.up, s.down))) for s in shifts
        ]

    def _effect(self, s: _Shift, up: Values | None, down: Values | None) -> Effect:
        """Over the paths that stayed finite in all of its runs."""
        good = ~self.base.bad
        for run in (up, down):
            good = good if run is None else good & ~run.bad
        if int(np.count_nonzero(good)) < 2:
            return _unmoved(s, f"{s.place.name}: moved, no path stays finite")
        base, above, below = (
            None if run is None else run.values[good] for run in (self.base, up, down)
        )
        assert base is not None
        own = self.f.of(base)
        to_up = self.f.of(above) - own if above is not None else math.nan
        to_down = self.f.of(below) - own if below is not None else math.nan
        both = above is not None and below is not None
        found = change(
            self.f, base if below is None else below, base if above is None else above, 0.5 if both else 1.0
        )  # fmt: skip
        ratio = self._elasticity(s, own, base, found)
        return Effect(
            parameter=s.place.name, value=s.place.value, unit=s.place.unit, step=s.step,
            status=MOVED if found.moved else STILL, side=_side(s), tied=s.variants[0].tied, why=s.why,
            effect=found.value, low=found.low, high=found.high, se=found.se, p_value=found.p_value,
            elasticity=ratio[0], elasticity_low=ratio[1], elasticity_high=ratio[2], up=to_up, down=to_down,
            paths_moved=found.moved, left_out=len(good) - len(base),
        )  # fmt: skip

    def _elasticity(
        self, s: _Shift, own: float, base: Any, found: Change
    ) -> tuple[float, float, float]:
        """(effect / quantity) / bump, and its interval: the quantity is estimated too, on the same paths."""
        if not s.place.value or not abs(own) > self.error[1]:
            return math.nan, math.nan, math.nan
        value = found.value / own / self.bump
        if not found.moved:
            return 0.0, 0.0, 0.0
        per_path = (found.per_path - found.value / own * self.f.influence(base)) / own / self.bump
        reach = standard_error(per_path)[1]
        return value, value - reach, value + reach


def _side(s: _Shift) -> str:
    if s.up is not None and s.down is not None:
        return "both"
    return "up" if s.up is not None else "down"


def _unmoved(s: _Shift, why: str = "") -> Effect:
    """Of a parameter whose moving was not simulated, or came to nothing."""
    refused = why or not s.variants
    found = Effect(
        parameter=s.place.name, value=s.place.value, unit=s.place.unit, step=s.step,
        status=REFUSED if refused else UNREAD, why=why or s.why,
    )  # fmt: skip
    if refused:
        nan = dict.fromkeys(("effect", "low", "high", "se", "p_value"), math.nan)
        return Effect(**{**asdict(found), **nan})
    zero = 0.0 if s.place.value else math.nan
    same = {"elasticity": zero, "elasticity_low": zero, "elasticity_high": zero}
    return Effect(**{**asdict(found), **same, "side": _side(s), "tied": s.variants[0].tied})


def ranked(rows: list[Effect]) -> list[Effect]:
    """With p-values adjusted (Holm 1979): effects told apart from zero by size, the others by size, then the rest."""
    tested = [r for r in rows if r.status == MOVED]
    adjusted = holm([r.p_value for r in tested])
    judged = [
        Effect(**{**asdict(r), "p_value": p, "told_apart": p < LEVEL})
        for r, p in zip(tested, adjusted, strict=True)
    ]
    order = (MOVED, STILL, UNREAD, REFUSED)
    rest = [r for r in rows if r.status != MOVED]

    def key(r: Effect) -> tuple[int, bool, float]:
        return order.index(r.status), not r.told_apart, -abs(r.effect) if r.status == MOVED else 0.0

    return sorted(judged + rest, key=key)


def parse_share(text: str, what: str) -> float:
    """``1%`` or ``0.01``. Raises ConfigError where it is neither."""
    plain = text.strip()
    percent = plain.endswith("%")
    try:
        value = float(plain.removesuffix("%"))
    except ValueError:
        raise ConfigError([f"{what} {text!r}: should be a share, as 1% or 0.01"]) from None
    return value / 100.0 if percent else value
