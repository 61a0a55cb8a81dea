"""The engine's contenders, by name: what the cases time and what ``instructions`` counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overbuilt import Economy, System, load, output, setting
from overbuilt.engine.simulate import Plan, plan

MONTHS, DRAWS = 64, 32
SUMMED = MONTHS * DRAWS
"""Random numbers of a path of ``Sums``."""


class Sums(System):
    """A path sums ``SUMMED`` random numbers, and does nothing else."""

    kind = setting("normal", "what is drawn", choices=("normal", "uniform"))

    total = output("number", "sum of the numbers", series=False)

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"total": 0.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        draws = list(getattr(draw, self.kind)("x", DRAWS))
        while len(draws) > 1:  # by pairs: none waits for all before it
            draws = [a + b for a, b in zip(draws[::2], draws[1::2], strict=True)]
        return {"total": s.total + draws[0]}


def model(what: str, options: dict[str, Any]) -> tuple[Any, str]:
    """An economy by name, and the metric by which it is compared.

    ``rng`` (kind), ``trio`` (method), or a scenario (overrides).
    """
    if what == "rng":
        return Economy(Sums(**options), months=MONTHS, name="rng"), "sums.total"
    if what == "trio":
        from trio import S, Trio

        return Economy(Trio(**options), months=S.months, name="trio"), "trio.loss"
    return load(what, options), "private_credit.loss"


def made(what: str, options: dict[str, Any], backend: str, dtype: str) -> tuple[Plan, int]:
    """A compiled plan, and the row of its metrics that is compared."""
    economy, metric = model(what, options)
    found = plan(economy, backend, dtype)
    return found, list(found.economy.metrics).index(metric)


def build(
    what: str,
    options: tuple[tuple[str, Any], ...] = (),
    backend: str = "native",
    dtype: str = "float32",
) -> Callable[[int, int], NDArray[np.floating]]:
    """Return ``simulate(paths, seed) -> a value of each path``."""
    found, row = made(what, dict(options), backend, dtype)

    def simulate(paths: int, seed: int) -> NDArray[np.floating]:
        return found.run(seed, 0, paths).metrics[row]

    return simulate


def split_book(folder: Path, loans: int) -> Path:
    """The shipped book with another number of loans, and the same exposure in all.

    Loans whose loss another system computes stay as they are; of the others each is split in equal ones, or every
    so many-th stands for those left out.
    """
    import csv

    from overbuilt.engine.locate import CONFIGS

    with (CONFIGS / "book.csv").open(newline="", encoding="utf-8") as file:
        shipped = list(csv.DictReader(file))
    fixed = [r for r in shipped if r["loss_computed_by"] != "private_credit"]
    free = [r for r in shipped if r["loss_computed_by"] == "private_credit"]
    wanted = loans - len(fixed)
    if wanted < 1:
        raise ValueError(f"{len(fixed)} loans stay as they are, so a book has more than {loans}")
    chosen = [free[k * len(free) // wanted] for k in range(wanted)]
    whole = sum(float(r["exposure_usd_bn"]) for r in free)
    scale = whole / sum(float(r["exposure_usd_bn"]) for r in chosen)
    target = folder / f"book_{loans}.csv"
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(shipped[0]))
        writer.writeheader()
        writer.writerows(fixed)
        for k, r in enumerate(chosen):
            exposure = scale * float(r["exposure_usd_bn"])
            writer.writerow(r | {"loan": f"{r['loan']}-{k}", "exposure_usd_bn": exposure})
    return target
