"""The loan book: read from CSV or made homogeneous, checked, and laid out in groups for the kernels."""

from __future__ import annotations

import csv
import math
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .system import MAX_MONTHS
from .validate import MOST, shown

_MAX_BYTES = 1 << 28  # of a file: some two million loans
GROUP = 32  # loans in a group at most: the bits of a word say which have defaulted

COLUMNS = (
    "loan", "sector", "rating", "exposure_usd_bn", "pd_1y", "rho_residual", "lgd", "beta_rental",
    "beta_spread", "beta_window", "beta_displacement", "start_month", "end_month", "loss_computed_by",
)  # fmt: skip

COMPUTED_BY = ("private_credit", "gpu_loans", "structured")

_RANGES = {
    "exposure_usd_bn": (0.0, 1e6, "a number above 0"),
    "pd_1y": (0.0, 1.0, "a probability above 0 and below 1"),
    "rho_residual": (0.0, 1.0, "a share from 0 to below 1"),
    "lgd": (0.0, 1.0, "a share above 0, at most 1"),
    "beta_rental": (-10.0, 10.0, "a number from -10 to 10"),
    "beta_spread": (-10.0, 10.0, "a number from -10 to 10"),
    "beta_window": (-10.0, 10.0, "a number from -10 to 10"),
    "beta_displacement": (-10.0, 10.0, "a number from -10 to 10"),
}


@dataclass(frozen=True, slots=True)
class Loan:
    """One loan. Money is USD bn; months count from the start of the run.

    ``computed_by`` names the system that will know the loan's collateral and compute its loss; as long as
    an economy lacks that system, the loan is drawn with the others of its bucket.
    """

    loan: str
    sector: str
    rating: str
    exposure: float
    pd: float
    rho: float
    lgd: float
    betas: tuple[float, float, float, float]
    start: int
    end: int
    computed_by: str


@dataclass(frozen=True, slots=True)
class Layout:
    """A book in the order of its groups, as columns.

    Classes (``class_*``) share hazard, residual correlation, betas, LGD, sector and rating; ``class_first`` is a loan
    of each. Groups (``group_*``) are loans of a class with one start, at most 32; they stand in the order of their
    start: ``started[t]`` have started before month t. Patterns are the distinct betas. Loans follow the groups.
    ``maturity_loan`` lists loans by end month, and there by group. Those of a month and a group are a batch:
    they stand from ``batch_first[k]`` to ``batch_first[k + 1]``, and the batches of month t from ``matures[t]`` to
    ``matures[t + 1]``.
    """

    loans: list[Loan]
    group_first: NDArray[np.int32]
    group_size: NDArray[np.int32]
    group_class: NDArray[np.int32]
    class_first: NDArray[np.int32]
    class_pattern: NDArray[np.int32]
    patterns: NDArray[np.float64]
    group_start: NDArray[np.int32]
    started: NDArray[np.int32]
    matures: NDArray[np.int32]
    maturity_loan: NDArray[np.int32]
    batch_first: NDArray[np.int32]
    batch_group: NDArray[np.int32]


def homogeneous(loans: int, pd: float, rho: float, lgd: float, exposure: float) -> list[Loan]:
    """A book of equal loans that never mature."""
    never = 1 << 20
    betas = (0.0, 0.0, 0.0, 0.0)
    return [
        Loan(
            f"loan{i + 1}",
            "any",
            "ANY",
            exposure / loans,
            pd,
            rho,
            lgd,
            betas,
            0,
            never,
            "private_credit",
        )
        for i in range(loans)
    ]


def read_book(
    path: Path, sectors: set[str], ratings: set[str], key: str = "book"
) -> tuple[list[Loan], list[str]]:
    """The loans of a CSV file with the columns COLUMNS, and every problem found, a line each.

    ``key`` is the setting of private_credit that names the file.
    """
    asked = shown(str(path), 120)
    where = f"private_credit.{key} = {asked}"
    try:
        if path.exists() and not path.is_file():
            return [], [f"{where}: no file; it should name a CSV file"]
        with path.open(newline="", encoding="utf-8-sig") as file:
            if os.fstat(file.fileno()).st_size > _MAX_BYTES:
                return [], [f"{where}: should be smaller than {_MAX_BYTES:,} bytes"]
            # strict: a quote that never ends would swallow the loans behind it
            reader = csv.DictReader(file, strict=True)
            names = list(reader.fieldnames or [])
            if not names:
                return [], [f"{path.name}: empty; its first line should be {','.join(COLUMNS)}"]
            problems = _header(names, path.name)
            return ([], problems) if problems else _loans(reader, path.name, sectors, ratings)
    except FileNotFoundError:
        return [], [f"{where}: no such file; it should name a CSV file"]
    except UnicodeDecodeError:
        return [], [f"{where}: not text in UTF-8; it should be a CSV file"]
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        return [], [f"{where}: cannot be read ({reason}); it should be a CSV file"]


def _header(names: list[str], file: str) -> list[str]:
    """What is wrong with the names of the columns."""
    found = [
        f"{file}: column {c} missing; it should have {', '.join(COLUMNS)}"
        for c in COLUMNS
        if c not in names
    ]
    return found + [
        f"{file}: column {c} stands twice; it should stand once"
        for c in COLUMNS
        if names.count(c) > 1
    ]


def _loans(
    reader: csv.DictReader[str], file: str, sectors: set[str], ratings: set[str]
) -> tuple[list[Loan], list[str]]:
    """The loans of the rows that are sound, and what is wrong with the others."""
    width = len(reader.fieldnames or [])
    problems: list[str] = []
    loans: list[Loan] = []
    seen: dict[str, int] = {}
    for record in reader:
        where = f"{file} line {reader.line_num}"
        if len(problems) >= MOST:
            problems.append(
                f"{where}: reading stopped here; the file has more problems than {MOST}"
            )
            break
        if None in record:  # a decimal or thousands comma, most often
            problems.append(
                f"{where}: more than the header's {width} fields; numbers should have no commas"
            )
        elif None in record.values():
            problems.append(
                f"{where}: fewer than the header's {width} fields; it should have as many"
            )
        else:
            loan = _loan(record, where, sectors, ratings, problems)
            name = record["loan"].strip()
            if name and name in seen:
                problems.append(
                    f"{where}: loan = {shown(name)}: stands in line {seen[name]} already; ids should differ"
                )
            seen.setdefault(name, reader.line_num)
            if loan is not None:
                loans.append(loan)
    if not seen and not problems:
        problems.append(f"{file}: no loans; there should be at least one row")
    return loans, problems


def _loan(
    record: dict[str, str], where: str, sectors: set[str], ratings: set[str], problems: list[str]
) -> Loan | None:
    """The loan of a row with all its fields; None and ``problems`` where some are no value of theirs."""
    before = len(problems)
    name = record["loan"].strip()
    if not name:
        problems.append(f"{where}: loan = {name!r}: should be an id, which is not empty")
    for column, known in (("sector", sectors), ("rating", ratings)):
        if record[column] not in known:
            problems.append(
                f"{where}: {column} = {shown(record[column])}: unknown; known are {', '.join(sorted(known))} "
                f"(add a [[private_credit.{column}]])"
            )
    by = record["loss_computed_by"] or COMPUTED_BY[0]
    if by not in COMPUTED_BY:
        problems.append(
            f"{where}: loss_computed_by = {shown(by)}: should be {', '.join(COMPUTED_BY)} or nothing"
        )
    reals = {c: _real(record[c], c, where, problems) for c in _RANGES}
    start, end = (_month(record[c], c, where, problems) for c in ("start_month", "end_month"))
    if len(problems) == before and end <= start:
        problems.append(f"{where}: end_month = {end}: should be after start_month = {start}")
    if len(problems) > before:
        return None
    betas = (
        reals["beta_rental"], reals["beta_spread"], reals["beta_window"], reals["beta_displacement"],
    )  # fmt: skip
    return Loan(
        name, record["sector"], record["rating"], reals["exposure_usd_bn"], reals["pd_1y"],
        reals["rho_residual"], reals["lgd"], betas, start, end, by,
    )  # fmt: skip


# as other programs write numbers, and no more than that: Python would also read 1_0 as 10
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]{1,9}")


def _real(text: str, column: str, where: str, problems: list[str]) -> float:
    low, high, want = _RANGES[column]
    value = float(text) if _NUMBER.fullmatch(text.strip()) else math.nan
    open_low = column in ("exposure_usd_bn", "pd_1y", "lgd")
    open_high = column in ("pd_1y", "rho_residual")
    inside = (
        low <= value <= high
        and not (open_low and value == low)
        and not (open_high and value == high)
    )
    if not inside:
        problems.append(f"{where}: {column} = {shown(text)}: should be {want}")
    return value


def _month(text: str, column: str, where: str, problems: list[str]) -> int:
    value = int(text) if _WHOLE.fullmatch(text.strip()) else -1
    if not 0 <= value <= 10_000:
        problems.append(
            f"{where}: {column} = {shown(text)}: should be a whole month from 0 to 10000"
        )
    return value


def arrange(loans: list[Loan]) -> Layout:
    """Group the loans. Within a group they keep the file's order; large groups are cut evenly."""
    patterns = sorted({x.betas for x in loans})
    number_of = {betas: k for k, betas in enumerate(patterns)}
    buckets: dict[Any, list[Loan]] = {}
    for x in loans:
        alike = (x.start, number_of[x.betas], x.pd, x.rho, x.lgd, x.sector, x.rating)
        buckets.setdefault(alike, []).append(x)
    classes = {alike: k for k, alike in enumerate(sorted({key[1:] for key in buckets}))}
    first, size, kind, starts = [], [], [], []
    ordered: list[Loan] = []
    class_first = [0] * len(classes)
    for (start, *alike), members in sorted(buckets.items(), key=lambda item: item[0]):
        number = classes[tuple(alike)]
        class_first[number] = len(ordered)
        pieces = -(-len(members) // GROUP)
        for piece in np.array_split(np.arange(len(members)), pieces):
            first.append(len(ordered))
            size.append(len(piece))
            kind.append(number)
            starts.append(start)
            ordered += [members[i] for i in piece]
    group_of = np.repeat(np.arange(len(size)), size)
    ends = np.array([x.end for x in ordered])
    by_end = np.argsort(ends, kind="stable")
    end, group = ends[by_end], group_of[by_end]
    batches = np.flatnonzero(np.diff(end, prepend=-1) | np.diff(group, prepend=-1))
    ticks = np.arange(MAX_MONTHS + 2)
    return Layout(
        loans=ordered,
        group_first=np.array(first, np.int32),
        group_size=np.array(size, np.int32),
        group_class=np.array(kind, np.int32),
        class_first=np.array(class_first, np.int32),
        class_pattern=np.array([alike[0] for alike in classes], np.int32),
        patterns=np.array(patterns, np.float64),
        group_start=np.array(starts, np.int32),
        started=np.searchsorted(np.array(starts), ticks, side="left").astype(np.int32),
        matures=np.searchsorted(end[batches], ticks, side="left").astype(np.int32),
        maturity_loan=by_end.astype(np.int32),
        batch_first=np.append(batches, len(ordered)).astype(np.int32),
        batch_group=group[batches].astype(np.int32),
    )


def streams(names: list[str]) -> NDArray[np.int32]:
    """A number for each loan id, its CRC-32, so that a loan keeps its draws whatever book it stands in.

    Two ids with the same CRC-32 (one pair in a book of 100,000, on average) are told apart by a suffix.
    """
    taken: set[int] = set()
    numbers = []
    for name in names:
        number = zlib.crc32(name.encode())
        while number in taken:
            name += "'"
            number = zlib.crc32(name.encode())
        taken.add(number)
        numbers.append(number)
    return np.array(numbers, np.uint32).view(np.int32)
