"""Variants of an economy: the same systems with a few parameters changed, and all that hangs on them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .places import Path, Place
from .system import Economy, Parameter, Row, System
from .validate import ConfigError, check_values

Ties = Iterator[tuple[str, dict[Place, float]]]
"""What moves with a parameter: in words, and to which values."""


@dataclass(frozen=True)
class Variant:
    """An economy with some parameters changed.

    ``tied`` says what moved with them, where they may not move alone. ``reshaped`` names what differs besides
    numbers (``gpu_loans.drawers``): where there is something, the variant is another program, and ``shape`` tells
    such programs apart.
    """

    economy: Economy
    tied: str = ""
    reshaped: tuple[str, ...] = ()
    shape: str = ""


class Variants:
    """Makes variants of one economy; what a change does not touch is shared."""

    def __init__(self, economy: Economy) -> None:
        self.economy = economy
        self.values = {key: s.values() for key, s in economy.systems.items()}
        self._alone = {key: _alone(s, economy) for key, s in economy.systems.items()}
        self._shapes = {key: _shape(s) for key, s in economy.systems.items()}
        self._judged_by = {key: _judges(s, economy.systems) for key, s in economy.systems.items()}

    def move(self, place: Place, value: float) -> Variant:
        """One parameter moved; others with it where it may not move alone (see ``_ties``).

        Raises ConfigError where neither is sound, with what is wrong with the parameter moved alone.
        """
        if not place.within(value):
            self.make({place: value})  # says which bound
        first: ConfigError | None = None
        for tied, changes in self.ties(place, value):
            try:
                made = self.make(changes)
            except ConfigError as error:
                first = first or error
                continue
            return replace(made, tied=tied)
        assert first is not None
        raise first

    def ties(self, place: Place, value: float) -> Iterator[tuple[str, dict[Place, float]]]:
        """Ways to move a parameter, as changes: alone, then with what a symmetry or a sum ties it to."""
        moved = {place: value}
        yield "", moved
        for changes in (self._in_matrix, self._in_vector, self._in_table):
            for tied, others in changes(place, value - place.value):
                yield tied, {**moved, **others}

    def _beside(self, place: Place, path: Path) -> Place:
        value = float(_get(self.values[place.system], path))
        return Place("", place.system, path, value, place.declared)

    def _in_matrix(self, place: Place, delta: float) -> Ties:
        """The mirror image where it is equal; the diagonal, which then keeps the row's sum."""
        if len(place.path) < 3:
            return
        *head, i, j = place.path
        if not isinstance(i, int) or not isinstance(j, int) or i == j:
            return
        matrix = _get(self.values[place.system], tuple(head))
        if len(matrix) == len(matrix[i]):
            mirror = self._beside(place, (*head, j, i))
            if mirror.value == place.value:
                yield mirrored(place), {mirror: place.value + delta}
            diagonal = self._beside(place, (*head, i, i))
            yield f"against [{i}][{i}]", {diagonal: diagonal.value - delta}

    def _in_vector(self, place: Place, delta: float) -> Ties:
        """The other elements, scaled so that the sum stays."""
        *head, k = place.path
        if isinstance(k, int):
            n = len(_get(self.values[place.system], tuple(head)))
            others = [self._beside(place, (*head, i)) for i in range(n) if i != k]
            yield from _scaled(others, delta, "elements")

    def _in_table(self, place: Place, delta: float) -> Ties:
        """The same field of all other rows, or of those that are alike in some setting, scaled likewise."""
        if len(place.path) < 3:
            return
        *head, row, field = place.path
        if not isinstance(row, int) or isinstance(field, int):
            return
        table = _get(self.values[place.system], tuple(head))
        rest = [k for k in range(len(table)) if k != row]
        alike = {"rows": rest} | {
            f"rows with {name} = {v}": [k for k in rest if table[k][name] == v]
            for name, v in table[row].items()
            if isinstance(v, str) and name != "name"
        }
        for what, ks in alike.items():
            others = [self._beside(place, (*head, k, field)) for k in ks]
            yield from _scaled(others, delta, what)

    def make(self, changes: Mapping[Place, float]) -> Variant:
        """The economy with these values. Raises ConfigError where it is not sound."""
        systems = dict(self.economy.systems)
        keys = list(dict.fromkeys(p.system for p in changes))
        for key in keys:
            values = copy.deepcopy(self.values[key])
            for place, value in changes.items():
                if place.system == key:
                    _get(values, place.path[:-1])[place.path[-1]] = float(value)
            systems[key] = _rebuilt(systems[key], values, key)
        problems = [line for key in keys for line in systems[key].check()]
        if not problems:
            again = [k for k in systems if k in keys or not self._judged_by[k].isdisjoint(keys)]
            problems = [line for key in again for line in systems[key].fits(systems)]
        if problems:
            raise ConfigError(problems)
        return self._composed(systems, keys)

    def _composed(self, systems: dict[str, System], keys: list[str]) -> Variant:
        base = self.economy
        made = copy.copy(base)
        made.systems = systems
        made.reals, made.ints = dict(base.reals), dict(base.ints)
        made.columns = dict(base.columns)
        reshaped, shapes = [], []
        for key in keys:
            alone, before = _alone(systems[key], base), self._alone[key]
            wrong = [k for k, v in {**alone.reals, **alone.columns}.items() if not _finite(v)]
            if wrong:
                raise ConfigError([f"{wrong[0]}: not finite as computed from {key}'s values"])
            gone = [m for m in base.metrics if m in before.reported and m not in alone.reported]
            if gone:
                raise ConfigError([f"{gone[0]}: not reported with these values of {key}"])
            shape, old = _shape(systems[key]), self._shapes[key]
            reshaped += [f"{key}.{k}" for k in {**old, **shape} if old.get(k) != shape.get(k)]
            if _names(alone) != _names(before):
                reshaped.append(f"{key}.prepare")
            shapes.append((shape, _names(alone)))
            made.reals |= alone.reals
            made.ints |= alone.ints
            made.columns |= alone.columns
        if not reshaped:
            return Variant(made)
        whole = Economy(*systems.values(), months=base.months, name=base.name)
        return Variant(reporting(whole, base.metrics), "", tuple(reshaped), repr(shapes))


def reporting(economy: Economy, metrics: Sequence[str]) -> Economy:
    """The economy, reporting these metrics alone and no series: the rest of what it computes falls away."""
    made = copy.copy(economy)
    made.metrics, made.series = tuple(metrics), ()
    made.reported = {name: economy.reported[name] for name in metrics}
    return made


def _get(values: Any, path: Path) -> Any:
    for part in path:
        values = values[part]
    return values


def _scaled(others: list[Place], delta: float, what: str) -> Ties:
    """The others scaled so that the sum stays; nothing where they sum to nothing."""
    total = sum(p.value for p in others)
    if total:
        factor = 1.0 - delta / total
        yield f"other {what} keep the sum", {p: p.value * factor for p in others}


def mirrored(place: Place) -> str:
    """How ``tied`` says that an element of a symmetric matrix moved with its mirror image."""
    return f"with [{place.path[-1]}][{place.path[-2]}]"


class _Noting(dict[str, System]):
    """The systems, and which of them were looked at."""

    def __init__(self, systems: dict[str, System]) -> None:
        super().__init__(systems)
        self.seen: set[str] = set()

    def __getitem__(self, key: str) -> System:
        self.seen.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.seen.add(key)
        return super().get(key, default)

    def _all(self) -> dict[str, System]:
        self.seen |= set(self)
        return dict(zip(self, map(super().__getitem__, self), strict=True))

    def values(self) -> Any:
        return self._all().values()

    def items(self) -> Any:
        return self._all().items()


def _judges(system: System, systems: dict[str, System]) -> set[str]:
    """The systems that ``fits`` looks at: as long as they and the system itself stay, it says the same.

    One that runs on request reads the others' variables, not their values: none.
    """
    if system.on_request:
        return set()
    noting = _Noting(systems)
    system.fits(noting)
    return noting.seen


def _rebuilt(old: System, values: dict[str, Any], key: str) -> System:
    made: System = type(old)._trusted(check_values(type(old), values, key))
    made.folder, made.months = old.folder, old.months
    return made


def _alone(system: System, economy: Economy) -> Economy:
    """The system by itself: its inputs, those that ``prepare`` computes among them."""
    key = type(system).key()
    try:
        with np.errstate(all="ignore"):
            return Economy(system, months=economy.months, name=economy.name)
    except ConfigError:
        raise
    except (ArithmeticError, ValueError) as error:
        raise ConfigError([f"{key}: its values give no finite start ({error})"]) from None


def _names(economy: Economy) -> tuple[Any, ...]:
    """The inputs of the program, in order."""
    kinds = {k: c.dtype.kind for k, c in economy.columns.items()}
    return tuple(economy.reals), tuple(economy.ints), kinds


def _finite(value: Any) -> bool:
    return bool(np.isfinite(value).all())


def _shape(system: System) -> dict[str, Any]:
    """What ``prepare`` left on the system besides its values: counts, names and lists that shape the program."""
    skipped = ("_values", "folder", "months")
    return {k: _plain(v) for k, v in vars(system).items() if k not in skipped}


def _plain(value: Any) -> Any:
    """A value as something that compares by content; of a row, what its parameters do not say."""
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes()
    if isinstance(value, Row):
        plain = value.values()
        return {
            k: _plain(v) for k, v in plain.items() if not isinstance(value.fields[k], Parameter)
        }
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in value]
    if hasattr(value, "__dict__") and not callable(value):
        return type(value).__qualname__, {k: _plain(v) for k, v in vars(value).items()}
    return repr(value)
