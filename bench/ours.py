"""The engine's contenders, by name: what the cases time and what ``instructions`` counts."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overbuilt import Economy, System, load, output, setting
from overbuilt.engine.locate import CONFIGS
from overbuilt.engine.simulate import Plan, plan

FIRST = 256
"""Paths that ``first_paths`` keeps."""

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
    all_metrics: bool = False,
) -> Callable[[int, int], NDArray[np.floating]]:
    """Return ``simulate(paths, seed) -> a value of each path``, or all its metrics: (metrics, paths)."""
    found, row = made(what, dict(options), backend, dtype)

    def simulate(paths: int, seed: int) -> NDArray[np.floating]:
        metrics = found.run(seed, 0, paths).metrics
        return metrics if all_metrics else metrics[row]

    return simulate


def first_paths(values: NDArray[np.floating]) -> dict[str, NDArray[np.floating]]:
    """A contest's summary: all metrics of the first paths, to be compared value by value."""
    return {"first": values[:, :FIRST].copy()}


def with_loans(loans: int, folder: Path) -> dict[str, str]:
    """Overrides that give a scenario a book of so many loans and none to come; the book is written to the folder.

    Each of the shipped book's loans is split in equal ones, or every so many-th stands for all, so the exposure
    stays. Loans backed by GPUs stay outside the book.
    """
    shipped = [r for r in _rows("book.csv") if r["loss_computed_by"] == "private_credit"]
    chosen = [shipped[k * len(shipped) // loans] for k in range(loans)]
    scale = sum(map(_exposure, shipped)) / sum(map(_exposure, chosen))
    rows = [_changed(r, k, scale) for k, r in enumerate(chosen)]
    book = _written(folder / f"book_{loans}.csv", rows)
    outside = {f"gpu_loans.loan.{r['name']}.in_book": "none" for r in _rows("gpu_loans.csv")}
    return {"private_credit.book": book, "private_credit.new_book": ""} | outside


def shipped_loans() -> tuple[int, int]:
    """Loans of the shipped books, standing and to come: drawn in the book, and computed by gpu_loans."""
    rows = _rows("book.csv") + _rows("book_new.csv")
    own = sum(r["loss_computed_by"] == "private_credit" for r in rows)
    return own, len(rows) - own


def with_split(parts: int, folder: Path) -> dict[str, str]:
    """Overrides that split each loan of the shipped books in so many equal ones, but for those of gpu_loans."""
    found = {}
    for key, name in (("book", "book.csv"), ("new_book", "book_new.csv")):
        rows = []
        for r in _rows(name):
            own = r["loss_computed_by"] == "private_credit"
            rows += [_changed(r, k, 1.0 / parts) for k in range(parts)] if own else [r]
        found[f"private_credit.{key}"] = _written(folder / f"{parts}_{name}", rows)
    return found


def _changed(row: dict[str, str], number: int, scale: float) -> dict[str, str]:
    exposure = str(scale * _exposure(row))
    return row | {"loan": f"{row['loan']}-{number}", "exposure_usd_bn": exposure}


def _written(book: Path, rows: list[dict[str, str]]) -> str:
    with book.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(book)


def _rows(name: str) -> list[dict[str, str]]:
    with (CONFIGS / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _exposure(row: dict[str, str]) -> float:
    return float(row["exposure_usd_bn"])
