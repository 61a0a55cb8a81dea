"""The whole economy, ``base``: twelve systems, sixty months.

Nobody has written all of it by hand in another library, so the peers are the engine's own other backends, which
are held to NumPy value by value; five of the systems have been written by hand in JAX.
"""

from __future__ import annotations

from typing import Any

from contest import Contender, Row, Say, agrees, contest
from table import Column

from . import Found

TITLE = "base: the whole economy, and five systems of it, 60 months; seconds"
COLUMNS = (
    Column("systems", "systems"),
    Column("backend", "backend"),
    Column("dtype", "dtype"),
    Column("threads", "threads"),
    Column("compile_s", "compile", "seconds"),
    Column("best_s", "best", "seconds"),
    Column("median_s", "median", "seconds"),
    Column("per_s", "paths/s", "count"),
    Column("native_over_it", "over it", "ratio"),
    Column("vector", "vector ops", "whole"),
    Column("of_limit", "of limit", "percent"),
    Column("agreement", "agrees"),
)
OURS = (
    ("native", "float32", "all", 131_072, 32),
    ("native", "float32", "1", 65_536, 16),
    ("native", "float64", "all", 65_536, 16),
    ("jax", "float32", "all", 8_192, 4),
    ("numpy", "float64", "1", 256, 4),
)
"""Backend, dtype, threads, paths of a timed call, and how many times fewer in a quick run."""
FIVE = (("native", 131_072, 16), ("jax", 16_384, 4), ("by hand", 16_384, 4))
"""The same of five systems, in float32 on all threads."""


def run(quick: bool, say: Say) -> Found:
    """A row for each backend and dtype.

    All metrics of the first paths are compared with NumPy's; of the five systems, the mean loss of private credit.
    """
    import instructions

    cores = instructions.cores()
    contenders = []
    for backend, dtype, threads, paths, fewer in OURS:
        if quick and backend == "jax":  # it compiles for a quarter of a minute
            continue
        row = {"systems": "all", "backend": backend, "dtype": dtype, "threads": threads}
        environment = (("OVERBUILT_THREADS", threads),) if threads != "all" else ()
        count = paths // fewer if quick else paths
        arguments = ("base", (), backend, dtype, True)
        process = f"our {backend}"
        contenders.append(Contender(process, "ours", arguments, count, row, environment))
    rows, skipped = contest(contenders, 1 if quick else 3, say, "ours:first_paths")
    five, missing = contest(_five(quick), 1 if quick else 3, say)
    skipped += missing
    with instructions.Counter(cores) as counter:
        for row in rows:
            if row["backend"] == "native":
                say(f"counting instructions, {row['dtype']}")
                counter.add_fraction(row, "base", (), row["dtype"])
    for group in (rows, five):
        for row in group:
            row["native_over_it"] = group[0]["per_s"] / row["per_s"]
    _judge(rows)
    for row in five:
        row["agrees"] = agrees(row, five[0])
        row["agreement"] = "mean" if row["agrees"] else "NO: mean"
    return Found(
        rows + five,
        skipped + counter.trouble,
        [
            "Instructions: those of whole vectors that compute, of a path.",
            "Agrees: on so many of the first paths all metrics are NumPy's, by 1e-9 relative in float64 and 1e-4 in "
            "float32, where few paths may not be (engine/rounding.py); of five systems the mean loss of private "
            "credit, within four standard errors.",
        ],
    )


def _judge(rows: list[Row]) -> None:
    """Hold each row's ``first``, which goes, to NumPy's; ``agreement`` says what was seen."""
    firsts = [(row, row.pop("first")) for row in rows]
    reference = next((first for row, first in firsts if row["backend"] == "numpy"), None)
    for row, first in firsts:
        if reference is None:
            row["agrees"], row["agreement"] = False, "NO: no NumPy"
        elif first is reference:
            row["agreement"] = "reference"
        else:
            row["agrees"], row["agreement"] = within(first, reference, row["dtype"])


def within(first: Any, reference: Any, dtype: str) -> tuple[bool, str]:
    """Whether paths, (metrics, paths), are the reference's but for what rounding may do, and on how many they are."""
    from overbuilt.engine.agreement import scaled_difference
    from overbuilt.engine.rounding import ALLOWED, mean_sizes

    allowed = ALLOWED[dtype]
    count = min(first.shape[1], reference.shape[1])
    one, other = first[:, :count], reference[:, :count]
    worst = scaled_difference(one, other, mean_sizes(other)).max(axis=0)
    apart = int((worst > allowed.tolerance).sum())
    good = apart <= allowed.blurred_paths(count) + allowed.flipped_paths(count)
    return good, ("" if good else "NO: ") + f"{count - apart}/{count}"


def _five(quick: bool) -> list[Contender]:
    made = []
    for who, paths, fewer in FIVE:
        if quick and who != "native":
            continue
        backend = "jax, by hand" if who == "by hand" else who
        row = {"systems": "five", "backend": backend, "dtype": "float32", "threads": "all"}
        count = paths // fewer if quick else paths
        made.append(Contender(f"five {who}", "five_systems", (who,), count, row))
    return made
