"""What is asked of a run, checked before anything is computed: everything that is wrong, a line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels import backends
from ..kernels.backends.base import DTYPES
from ..kernels.philox import MAX_PATHS
from .functionals import Quantity, parse_quantity
from .scenario import Scenario
from .statistics import Event
from .system import MAX_MONTHS, Economy
from .validate import ConfigError, shown

if TYPE_CHECKING:
    from .stop import Target


def check_run(paths: Any, seed: Any, months: Any, dtype: str, backend: str) -> None:
    """Raise ConfigError with everything that is wrong with a run's arguments."""
    problems = []
    if not _whole(paths) or not 1 <= paths <= MAX_PATHS:
        problems.append(f"paths = {paths!r}: should be a whole number from 1 to 2^48")
    if not _whole(seed) or not 0 <= seed < 1 << 64:
        problems.append(f"seed = {seed!r}: should be a whole number from 0 to 2^64 - 1")
    if not _whole(months) or not 1 <= months <= MAX_MONTHS:
        problems.append(f"months = {months!r}: should be a whole number from 1 to {MAX_MONTHS}")
    if dtype not in DTYPES:
        problems.append(f"dtype = {dtype!r}: should be {' or '.join(DTYPES)}")
    if backend not in ("auto", *backends.NAMES):
        problems.append(f"backend = {backend!r}: should be auto, {', '.join(backends.NAMES)}")
    if problems:
        raise ConfigError(problems)


def check_asked(
    names: tuple[str, ...],
    until: Sequence[str],
    probabilities: Sequence[str],
    deadline: float | None = None,
    **sizes: int | None,
) -> tuple[list[Target], tuple[Event, ...]]:
    """The targets, and the events to count. Raises ConfigError with everything that is wrong."""
    problems = [
        f"{name} = {size!r}: should be a whole number above 0"
        for name, size in sizes.items()
        if size is not None and (not _whole(size) or size < 1)
    ]
    if deadline is not None and not deadline > 0:
        problems.append(f"deadline = {deadline!r}: should be above 0 seconds")
    targets: list[Target] = []
    quantities: list[Quantity] = []
    for text in until:
        from .stop import parse_target

        try:
            targets.append(parse_target(text, names))
        except ConfigError as error:
            problems += error.problems
    for text in probabilities:
        try:
            quantities.append(parse_quantity(text, names))
        except ConfigError as error:
            problems += error.problems
    problems += [
        f"probability {shown(q.text)}: should be like {q.metric} > 200"
        for q in quantities
        if q.functional.kind != "probability"
    ]
    if problems:
        raise ConfigError(problems)
    counted = [
        (q.metric, q.functional.sign, q.functional.threshold)
        for q in [*quantities, *(t.quantity for t in targets)]
        if q.functional.kind == "probability"
    ]
    return targets, tuple(dict.fromkeys(counted))


def check_model(economy: Economy, dtype: str) -> None:
    """Raise ConfigError where nothing is reported, or a parameter is beyond what float32 holds."""
    if problems := economy.silent():
        raise ConfigError(problems)
    if dtype != "float32":
        return
    limits = np.finfo(np.float32)
    low, high = float(limits.smallest_normal), float(limits.max)
    given = {k: v for key, s in economy.systems.items() for k, v in s._flatten(key).items()}
    problems = [
        f"{name} = {value:g}: float32 holds 0 and sizes from {low:.2g} to {high:.2g}; should be one of them, or "
        "dtype float64"
        for name, value in given.items()
        if value and not low <= abs(value) <= high
    ]
    problems = problems or [
        f"{name}: computes to {value:.2g}, beyond float32's {high:.2g}; values should be less extreme, or dtype "
        "float64"
        for name, data in {**economy.reals, **economy.columns}.items()
        if name not in given and (value := float(np.abs(data).max())) > high
    ]
    if problems:
        raise ConfigError(problems)


def check_cluster(cluster: str | None, model: Any, fallback: bool) -> list[str]:
    """A line for each reason why this cannot run there."""
    if cluster is None:
        return []
    from .cluster_client import check_cluster as check_address

    problems = check_address(cluster)
    if not isinstance(model, Scenario):
        problems.append(
            f"cluster = {shown(cluster)}: takes a scenario, whose config is sent to the workers; should be left out for "
            "a model written in Python"
        )
    if fallback:
        problems.append(
            "fallback: on a cluster another worker goes on where one fails; should be left out"
        )
    return problems


def _whole(x: Any) -> bool:
    return isinstance(x, int | np.integer) and not isinstance(x, bool)
