"""The loan book: read from CSV or made homogeneous, checked, and laid out in groups for the kernels."""

from __future__ import annotations

import csv
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .system import MAX_MONTHS
from .validate import shown

GROUP = 64  # loans in a group at most: two words of bits say which have defaulted

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

    Groups (``group_*``) share hazard, residual correlation, betas, LGD, bucket and start, of 64 loans at most;
    they stand in the order of their start. Patterns are the distinct betas. Loans follow the groups;
    ``maturity_*`` list loans by end month: those that end in month t stand from ``matures[t]`` to
    ``matures[t + 1]``, and ``started[t]`` groups have started before month t.
    """

    loans: list[Loan]
    group_first: NDArray[np.int32]
    group_size: NDArray[np.int32]
    group_pd: NDArray[np.float64]
    group_rho: NDArray[np.float64]
    group_pattern: NDArray[np.int32]
    patterns: NDArray[np.float64]
    group_start: NDArray[np.int32]
    started: NDArray[np.int32]
    matures: NDArray[np.int32]
    maturity_loan: NDArray[np.int32]
    maturity_group: NDArray[np.int32]


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
    try:
        if path.exists() and not path.is_file():
            return [], [f"private_credit.{key} = {asked}: no file; it should name a CSV file"]
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or [])
            if not names:
                return [], [f"{path.name}: empty; its first line should be {','.join(COLUMNS)}"]
            missing = [c for c in COLUMNS if c not in names]
            twice = [c for c in COLUMNS if names.count(c) > 1]
            if missing or twice:
                found = [
                    f"{path.name}: column {c} missing; it should have {', '.join(COLUMNS)}"
                    for c in missing
                ]
                return [], found + [
                    f"{path.name}: column {c} stands twice; it should stand once" for c in twice
                ]
            records = [(reader.line_num, record) for record in reader]
    except FileNotFoundError:
        return [], [f"private_credit.{key} = {asked}: no such file; it should name a CSV file"]
    except UnicodeDecodeError:
        return [], [f"private_credit.{key} = {asked}: not text in UTF-8; it should be a CSV file"]
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        return [], [
            f"private_credit.{key} = {asked}: cannot be read ({reason}); it should be a CSV file"
        ]
    problems: list[str] = []
    if not records:
        problems.append(f"{path.name}: no loans; there should be at least one row")
    loans: list[Loan] = []
    seen: dict[str, int] = {}
    for number, record in records:
        where = f"{path.name} line {number}"
        before = len(problems)
        if None in record:  # a decimal or thousands comma, most often
            problems.append(
                f"{where}: more than the header's {len(names)} fields; numbers should have no commas"
            )
            continue
        if None in record.values():
            problems.append(
                f"{where}: fewer than the header's {len(names)} fields; it should have as many"
            )
            continue
        name = (record["loan"] or "").strip()
        if not name:
            problems.append(f"{where}: loan = {name!r}: should be an id, which is not empty")
        elif name in seen:
            problems.append(
                f"{where}: loan = {shown(name)}: stands in line {seen[name]} already; ids should differ"
            )
        seen.setdefault(name, number)
        for column, known in (("sector", sectors), ("rating", ratings)):
            if record[column] not in known:
                problems.append(
                    f"{where}: {column} = {_cell(record[column])}: unknown; known are {', '.join(sorted(known))} "
                    f"(add a [[private_credit.{column}]])"
                )
        by = record["loss_computed_by"] or COMPUTED_BY[0]
        if by not in COMPUTED_BY:
            problems.append(
                f"{where}: loss_computed_by = {by!r}: should be {', '.join(COMPUTED_BY)} or nothing"
            )
        reals = {c: _real(record[c], c, where, problems) for c in _RANGES}
        months = {c: _month(record[c], c, where, problems) for c in ("start_month", "end_month")}
        if len(problems) == before and months["end_month"] <= months["start_month"]:
            problems.append(
                f"{where}: end_month = {months['end_month']}: should be after start_month = {months['start_month']}"
            )
        if len(problems) == before:
            betas = tuple(
                reals[f"beta_{k}"] for k in ("rental", "spread", "window", "displacement")
            )
            loans.append(
                Loan(
                    name, record["sector"], record["rating"], reals["exposure_usd_bn"], reals["pd_1y"],
                    reals["rho_residual"], reals["lgd"], betas, months["start_month"], months["end_month"],  # type: ignore[arg-type]
                    by,
                )
            )  # fmt: skip
    return loans, problems


def _cell(text: str | None) -> str:
    return "nothing" if text is None else shown(text)


def _real(text: str | None, column: str, where: str, problems: list[str]) -> float:
    low, high, want = _RANGES[column]
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    open_low = column in ("exposure_usd_bn", "pd_1y", "lgd")
    open_high = column in ("pd_1y", "rho_residual")
    inside = (
        low <= value <= high
        and not (open_low and value == low)
        and not (open_high and value == high)
    )
    if not inside:
        problems.append(f"{where}: {column} = {_cell(text)}: should be {want}")
    return value


def _month(text: str | None, column: str, where: str, problems: list[str]) -> int:
    try:
        value = int(text or "")
    except ValueError:
        value = -1
    if not 0 <= value <= 10_000:
        problems.append(
            f"{where}: {column} = {_cell(text)}: should be a whole month from 0 to 10000"
        )
    return value


def arrange(loans: list[Loan]) -> Layout:
    """Group the loans. Within a group they keep the file's order; large groups are cut evenly."""
    patterns = sorted({x.betas for x in loans})
    buckets: dict[Any, list[Loan]] = {}
    for x in loans:
        alike = (x.start, patterns.index(x.betas), x.pd, x.rho, x.lgd, x.sector, x.rating)
        buckets.setdefault(alike, []).append(x)
    first, size, pds, rhos, kind, starts = [], [], [], [], [], []
    ordered: list[Loan] = []
    for (start, pattern, pd, rho, *_), members in sorted(buckets.items(), key=lambda item: item[0]):
        pieces = -(-len(members) // GROUP)
        for piece in np.array_split(np.arange(len(members)), pieces):
            first.append(len(ordered))
            size.append(len(piece))
            pds.append(pd)
            rhos.append(rho)
            kind.append(pattern)
            starts.append(start)
            ordered += [members[i] for i in piece]
    group_of = np.repeat(np.arange(len(size)), size)
    ends = np.array([x.end for x in ordered])
    by_end = np.argsort(ends, kind="stable")
    ticks = np.arange(MAX_MONTHS + 2)
    return Layout(
        loans=ordered,
        group_first=np.array(first, np.int32),
        group_size=np.array(size, np.int32),
        group_pd=np.array(pds),
        group_rho=np.array(rhos),
        group_pattern=np.array(kind, np.int32),
        patterns=np.array(patterns, np.float64),
        group_start=np.array(starts, np.int32),
        started=np.searchsorted(np.array(starts), ticks, side="left").astype(np.int32),
        matures=np.searchsorted(ends[by_end], ticks, side="left").astype(np.int32),
        maturity_loan=by_end.astype(np.int32),
        maturity_group=group_of[by_end].astype(np.int32),
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
