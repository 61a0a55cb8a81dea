"""One metric on the same paths for many variants of an economy, many of them in a launch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.reach import inputs_read
from .estimate import FEWEST
from .functionals import Functional, Quantity, parse_quantity
from .simulate import Plan, plan
from .system import Economy
from .validate import ConfigError, shown
from .variants import Variant, reporting

MOST_PATHS = 1 << 24
"""All values of a few variants are held at a time."""
LAUNCH = 1 << 18  # paths of a launch, over its variants: seconds on a processor
TOGETHER = 256  # variants of a launch, at most
KERNELS = 8
"""How many variants that are programs of their own are compiled, at most."""


def check_quantity(text: str, economy: Economy, paths: int) -> Quantity:
    """The quantity; ConfigError where it is unknown, has no standard error, or takes more paths."""
    quantity = parse_quantity(text, economy.metrics)
    f = quantity.functional
    if f.kind in ("skew", "kurtosis"):
        raise ConfigError(
            [f"{shown(text)}: has no standard error; ask for mean, sd, p95, es99 or a probability"]
        )
    if f.kind in ("quantile", "es"):
        least = round(FEWEST / min(f.level, 1.0 - f.level))
        if paths < least:
            raise ConfigError([f"paths = {paths}: too few for {text}; should be {least:,} or more"])
    return quantity


def check_paths(paths: int) -> list[str]:
    """A line where so many paths of several variants would not fit."""
    if 2 <= paths <= MOST_PATHS:
        return []
    return [f"paths = {paths}: should be from 2 to {MOST_PATHS:,}: all of a few variants are held"]


@dataclass(frozen=True)
class Values:
    """A variant's values by path (paths,), and the paths whose state was not finite."""

    values: NDArray[Any]
    bad: NDArray[np.bool_]


class CommonPaths:
    """Paths 0, 1, ... of a seed, run for the economy of ``quantity`` and for its variants."""

    def __init__(
        self,
        economy: Economy,
        quantity: Quantity,
        paths: int,
        seed: int,
        backend: str,
        dtype: str,
        months: int | None,
    ) -> None:
        self.economy = reporting(economy, [quantity.metric])
        self.plan = plan(self.economy, backend, dtype, months)
        self.read = inputs_read(self.plan.program)
        self.paths, self.seed = paths, seed
        self.ran = 0
        self._others: dict[str, Plan] = {}
        self._shapes: set[str] = set()
        self._block = max(LAUNCH, self.plan.kernel.chunk)
        self.together = max(1, min(TOGETHER, self._block // paths))

    @property
    def kernels(self) -> int:
        """Programs compiled."""
        return 1 + len(self._others)

    def changed(self, variant: Variant) -> list[str]:
        """The inputs that the metric hangs on and that differ: where there are none, neither does the metric."""
        a, b = self.economy, variant.economy
        pairs: list[tuple[dict[str, Any], dict[str, Any]]] = [
            (a.reals, b.reals),
            (a.ints, b.ints),
            (a.columns, b.columns),
        ]
        return list(variant.reshaped) or [
            k
            for old, new in pairs
            for k in old
            if k in self.read and old[k] is not new[k] and not np.array_equal(old[k], new[k])
        ]

    def switched(self, variant: Variant) -> list[str]:
        """Of those the ones that are no sizes: whole numbers, or what makes it another program."""
        columns = self.economy.columns
        return [
            k
            for k in self.changed(variant)
            if k not in self.economy.reals and (k not in columns or columns[k].dtype.kind != "f")
        ]

    def admits(self, variant: Variant) -> bool:
        """Whether it is of this program, or of another for which there is still room."""
        if variant.shape and len(self._shapes) < KERNELS:
            self._shapes.add(variant.shape)
        return not variant.shape or variant.shape in self._shapes

    def run(self, variants: Sequence[Variant]) -> list[Values]:
        """Their values, in order; those of the economy itself are ``run([Variant(self.economy)])``."""
        groups: dict[str, list[int]] = {}
        for k, v in enumerate(variants):
            groups.setdefault(v.shape, []).append(k)
        found: dict[int, Values] = {}
        for shape, ks in groups.items():
            made = self._plan(shape, variants[ks[0]])
            for at in range(0, len(ks), self.together):
                some = ks[at : at + self.together]
                done = self._run(made, [variants[k].economy for k in some])
                found |= dict(zip(some, done, strict=True))
        return [found[k] for k in range(len(variants))]

    def _plan(self, shape: str, variant: Variant) -> Plan:
        if not shape:
            return self.plan
        if shape not in self._others:
            p = self.plan
            self._others[shape] = plan(variant.economy, p.backend, p.dtype, p.months)
            for phase in ("trace", "compile"):
                p.seconds[phase] += self._others[shape].seconds[phase]
        return self._others[shape]

    def _run(self, made: Plan, economies: list[Economy]) -> list[Values]:
        parts = []
        for first in range(0, self.paths, self._block):
            count = min(self._block, self.paths - first)
            parts.append(made.run_many(economies, self.seed, first, count))
        self.ran += len(economies)
        return [
            Values(
                np.concatenate([o.metrics[0] for o in outputs]),
                np.concatenate([o.bad != 0 for o in outputs]),
            )
            for outputs in zip(*parts, strict=True)
        ]


def without_bad(f: Functional, values: Values) -> float:
    """The quantity over the paths that stayed finite; NaN where none did."""
    good = values.values[~values.bad]
    return f.of(good) if len(good) else float("nan")
