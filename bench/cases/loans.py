"""What loans cost: ``base`` with 10 to 100,000 loans, by both methods, on one thread of native.

Books of a given number are made of the shipped standing loans, with none to come; the shipped books stand beside
themselves with each loan split in ten. The rest of the economy runs too.
"""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

from contest import Contender, Row, Say, agrees, contest
from table import Column

from . import Found

TITLE = "loans: base with a book of 10 to 100,000 loans, native, one thread; seconds"
COLUMNS = (
    Column("book", "book"),
    Column("method", "method"),
    Column("loans", "loans", "whole"),
    Column("compile_s", "compile", "seconds"),
    Column("paths", "paths", "whole"),
    Column("best_s", "best", "seconds"),
    Column("median_s", "median", "seconds"),
    Column("per_s", "paths/s", "count"),
    Column("over_fewer", "time over a tenth's", "ratio"),
    Column("of_limit", "of limit", "percent"),
    Column("agrees", "agrees", "yes"),
)
LOANS = {10: 16_384, 100: 16_384, 1_000: 16_384, 10_000: 4_096, 100_000: 512}
"""How many, and the paths of a timed call."""
COUNTED = (100, 1_000, 100_000)
"""Where instructions are counted: each takes a compilation."""
METHODS = ("order", "each")
SPLIT = {1: "shipped", 10: "shipped, split"}
"""Parts of each loan of the shipped books, by the shipped method."""


def run(quick: bool, say: Say) -> Found:
    """Rows by book, method and number; both methods of a book should give the same mean loss, and so should parts."""
    import instructions
    from ours import shipped_loans, with_loans, with_split

    wanted = {n: max(512, p // 8) for n, p in LOANS.items() if n <= 100} if quick else LOANS
    with tempfile.TemporaryDirectory() as folder:
        books = {n: with_loans(n, Path(folder)) for n in wanted}

        def options(method: str, loans: int) -> tuple[tuple[str, str], ...]:
            return (("private_credit.method", method), *books[loans].items())

        one = (("OVERBUILT_THREADS", "1"),)
        contenders = []
        for method, n in itertools.product(METHODS, wanted):
            row = {"book": "standing", "method": method, "loans": n, "algorithm": f"{method} {n}"}
            arguments = ("base", options(method, n), "native")
            contenders.append(Contender("our native", "ours", arguments, wanted[n], row, one))
        own, linked = shipped_loans()
        paths = 2_048 if quick else 16_384
        for parts, book in SPLIT.items():
            loans = own * parts + linked
            row = {"book": book, "method": "order", "loans": loans, "algorithm": book}
            changes = tuple(with_split(parts, Path(folder)).items())
            arguments = ("base", changes, "native")
            contenders.append(Contender("our native", "ours", arguments, paths, row, one))
        rows, skipped = contest(contenders, 1 if quick else 2, say)
        with instructions.Counter(1) as counter:
            for row in rows:
                method, n = row["method"], row["loans"]
                if n in COUNTED and (not quick or method == "order"):
                    say(f"counting instructions, {method}, {n:,} loans")
                    paths = min(512, row["paths"])
                    counter.add_fraction(row, "base", options(method, n), paths=paths)
    _compare([r for r in rows if r["book"] == "standing"])
    shipped = [r for r in rows if r["book"] != "standing"]
    for row in shipped:
        row["agrees"] = all(agrees(row, r) for r in shipped)  # in parts, the mean stays
    if len(shipped) == len(SPLIT):
        shipped[1]["over_fewer"] = shipped[0]["per_s"] / shipped[1]["per_s"]
    return Found(rows, skipped + counter.trouble)


def _compare(rows: list[Row]) -> None:
    """Each book with that of a tenth, and by both methods."""
    for row in rows:
        same = {r["loans"]: r for r in rows if r["method"] == row["method"]}
        if row["loans"] // 10 in same:
            row["over_fewer"] = same[row["loans"] // 10]["per_s"] / row["per_s"]
        row["agrees"] = all(agrees(row, r) for r in rows if r["loans"] == row["loans"])
