"""Random numbers: uniforms and normals in float32, drawn and summed, against other libraries' generators."""

from __future__ import annotations

from typing import Any

from contest import Contender, Say, agrees, contest
from table import Column

from . import Found

TITLE = "rng: float32 random numbers, drawn and summed; seconds; native's rate over theirs"
COLUMNS = (
    Column("kind", "numbers"),
    Column("peer", "library"),
    Column("generator", "generator"),
    Column("compile_s", "compile", "seconds"),
    Column("best_s", "best", "seconds"),
    Column("median_s", "median", "seconds"),
    Column("numbers_per_s", "numbers/s", "count"),
    Column("native_over_it", "over it", "ratio"),
    Column("of_limit", "of limit", "percent"),
    Column("agrees", "agrees", "yes"),
)
SUMMED = 64 * 32  # by path, ours and theirs
PEERS = (
    ("numpy SFC64", "SFC64", 16_384, 65_536),
    ("numpy Philox", "Philox4x64", 8_192, 32_768),
    ("numba", "np.random", 4_096, 32_768),
    ("numba Philox", "Philox4x32, libm", 16_384, 131_072),
    ("numba expert", "hash, polynomials", 131_072, 131_072),
    ("jax", "threefry2x32", 8_192, 16_384),
    ("torch", "mt19937", 16_384, 32_768),
    ("quantlib", "xoshiro256**", 2_048, 2_048),
    ("warp", "PCG", 8_192, 16_384),
)
"""Library, its generator, paths of a timed call: normals, uniforms (about half a second)."""
LAW = {"normal": (0.0, 1.0), "uniform": (0.5, 1.0 / 12.0)}


def run(quick: bool, say: Say) -> Found:
    """Rows by kind; each library's sums are checked against the law's mean and variance."""
    import instructions

    cores = instructions.cores()
    shrink, rounds = (32, 1) if quick else (1, 3)
    found = Found([])
    for kind in LAW:
        rows, missing = contest(_contenders(kind, shrink), rounds, say, "contest:moments")
        found.skipped += missing
        for row in rows:
            _judge(row)
        if rows and rows[0]["peer"] == "ours, native":
            for row in rows:
                row["native_over_it"] = rows[0]["per_s"] / row["per_s"]
            say(f"counting instructions, {kind}")
            with instructions.Counter(cores) as counter:
                counter.add_fraction(rows[0], "rng", (("kind", kind),))
            found.skipped += counter.trouble
            if "of_limit" in rows[0]:
                found.notes.append(_note(rows[0], counter.peak))
        found.rows += rows
    return found


def _contenders(kind: str, shrink: int) -> list[Contender]:
    made = []
    for backend, paths in (("native", 524_288), ("jax", 65_536)):
        row = {"kind": kind, "peer": f"ours, {backend}", "generator": "Philox4x32"}
        arguments = ("rng", (("kind", kind),), backend)
        count = max(256, paths // shrink)
        made.append(Contender(f"our {backend}", "ours", arguments, count, row))
    for library, generator, *paths in PEERS:
        row = {"kind": kind, "peer": library.split()[0], "generator": generator}
        count = max(256, paths[kind == "uniform"] // shrink)
        made.append(Contender(row["peer"], "rng_peers", (library, kind), count, row))
    return made


def _judge(row: dict[str, Any]) -> None:
    mean, variance = (SUMMED * x for x in LAW[row["kind"]])
    law = {"mean": mean, "variance": variance, "mean_se": 0.0, "variance_se": 0.0}
    row["agrees"] = agrees(row, law, ("mean", "variance"))
    row["numbers_per_s"] = SUMMED * row["per_s"]


def _note(row: dict[str, Any], peak: float) -> str:
    per_core = SUMMED * row["paths"] / row["cpu_s"]
    return (
        f"{row['kind']}: native runs {32 * row['vector'] / SUMMED:.0f} vector instructions for 32 numbers, and gives "
        f"{per_core / 1e9:.2f} billion numbers in a second of a core; "
        f"a core can run {peak / 1e9:.2f} billion vector instructions a second."
    )
