"""The whole economy, ``base``: twelve systems, sixty months.

Nobody has written all of it by hand in another library, so the peers are the engine's own other backends; five of
the systems have been written by hand in JAX.
"""

from __future__ import annotations

from contest import Contender, Say, agrees, contest
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
    Column("agrees", "agrees", "yes"),
)
OURS = (
    ("native", "float32", "all", 131_072, 32),
    ("native", "float32", "1", 65_536, 16),
    ("native", "float64", "all", 65_536, 16),
    ("jax", "float32", "all", 8_192, 4),
    ("numpy", "float64", "1", 512, 8),
)
"""Backend, dtype, threads, paths of a timed call, and how many times fewer in a quick run."""
FIVE = (("native", 131_072, 16), ("jax", 16_384, 4), ("by hand", 16_384, 4))
"""The same of five systems, in float32 on all threads."""


def run(quick: bool, say: Say) -> Found:
    """A row for each backend and dtype; the mean loss of private credit is compared."""
    import instructions

    cores = instructions.cores()
    contenders = []
    for backend, dtype, threads, paths, fewer in OURS:
        if quick and backend == "jax":  # it compiles for a quarter of a minute
            continue
        row = {"systems": "all", "backend": backend, "dtype": dtype, "threads": threads}
        environment = (("OVERBUILT_THREADS", threads),) if threads != "all" else ()
        count = paths // fewer if quick else paths
        arguments = ("base", (), backend, dtype)
        process = f"our {backend}"
        contenders.append(Contender(process, "ours", arguments, count, row, environment))
    rows, skipped = contest(contenders, 1 if quick else 4, say)
    five, missing = contest(_five(quick), 1 if quick else 4, say)
    skipped += missing
    with instructions.Counter(cores) as counter:
        for row in rows:
            if row["backend"] == "native":
                say(f"counting instructions, {row['dtype']}")
                counter.add_fraction(row, "base", (), row["dtype"])
    for group in (rows, five):
        for row in group:
            row["native_over_it"] = group[0]["per_s"] / row["per_s"]
            row["agrees"] = agrees(row, group[0])
    return Found(
        rows + five,
        skipped + counter.trouble,
        ["Instructions: those of whole vectors that compute, of a path."],
    )


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
