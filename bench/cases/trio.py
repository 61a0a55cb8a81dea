"""The workload "trio" against peers that are written by hand for it, in two tiers.

``plain``: what a good user of the library writes and ships. ``expert``: tuned by hand to the limit for this one
workload. Three algorithms have the same law: ``monthly`` draws a uniform for every loan and month, ``once`` (ours:
``each``) one for every loan, ``order`` the order statistics.
"""

from __future__ import annotations

from typing import Any

from contest import Contender, Row, Say, agrees, contest
from table import Column

from . import Found

TITLE = "trio: 400 loans against two prices and revenue, 60 months, float32"
COLUMNS = (
    Column("tier", "tier"),
    Column("peer", "library"),
    Column("algorithm", "algorithm"),
    Column("compile_s", "compile", "seconds"),
    Column("best_s", "best", "seconds"),
    Column("median_s", "median", "seconds"),
    Column("per_s", "paths/s", "count"),
    Column("as_shipped", "order over it", "ratio"),
    Column("same_algorithm", "same over it", "ratio"),
    Column("of_limit", "of limit", "percent"),
    Column("agrees", "agrees", "yes"),
)
MEASURES = ("mean", "var99", "es99")
SAME = {"order": "order", "once": "each", "each": "each", "monthly": "monthly"}
"""Our method that is a peer's algorithm."""
OURS = {
    ("native", "order"): 500_000,
    ("native", "each"): 400_000,
    ("native", "monthly"): 120_000,
    ("jax", "order"): 20_000,
    ("jax", "each"): 100_000,
}
PATHS: dict[tuple[str, str], dict[str, int]] = {
    ("plain", "numpy"): {"monthly": 20_000, "once": 80_000, "order": 60_000},
    ("plain", "numba"): {"monthly": 40_000, "once": 150_000, "order": 150_000},
    ("plain", "jax"): {"monthly": 15_000, "once": 130_000, "order": 15_000},
    ("plain", "torch"): {"monthly": 12_000, "once": 80_000, "order": 24_000},
    ("plain", "warp"): {"once": 40_000, "order": 40_000},
    ("part", "quantlib"): {"prices": 40_000},
    ("expert", "numpy"): {"monthly": 24_000, "once": 140_000, "order": 60_000, "binomial": 60_000},
    ("expert", "numba"): {"monthly": 400_000, "once": 1_600_000, "order": 1_000_000},
    ("expert", "jax"): {"monthly": 150_000, "once": 600_000},
    ("expert", "torch"): {"once": 300_000},
}
"""Paths of a timed call: about half a second. PyTorch's ``monthly`` is left out: a minute to compile, and a
quarter of the rate of JAX's."""
CHEAP = ("order", "once", "prices")  # algorithms of a quick run


def run(quick: bool, say: Say) -> Found:
    """Rows of ours and of every peer; each is checked against our native ``order``."""
    import instructions

    cores = instructions.cores()
    rows, skipped = contest(_contenders(quick), 1 if quick else 3, say, "trio_spec:summary")
    native = {r["algorithm"]: r for r in rows if r["tier"] == "ours" and r["peer"] == "native"}
    with instructions.Counter(cores) as counter:
        for method, row in native.items():
            say(f"counting instructions, {method}")
            counter.add_fraction(row, "trio", (("method", method),))
    if "order" in native:
        for row in rows:
            _judge(row, native)
    return Found(rows, skipped + counter.trouble, _notes(rows))


def _contenders(quick: bool) -> list[Contender]:
    shrink = 20 if quick else 1
    made = []
    for (backend, method), paths in OURS.items():
        row = {"tier": "ours", "peer": backend, "algorithm": method}
        arguments: tuple[Any, ...] = ("trio", (("method", method),), backend)
        count = max(2_000, paths // shrink)
        made.append(Contender(f"our {backend}", "ours", arguments, count, row))
    for (tier, library), algorithms in PATHS.items():
        head = "expert" if tier == "expert" else "peer"
        for algorithm, paths in algorithms.items():
            row = {"tier": tier, "peer": library, "algorithm": algorithm}
            count = max(2_000, paths // shrink)
            made.append(Contender(library, f"{head}_{library}", (algorithm,), count, row))
    if quick:  # what compiles fast
        slow = ("torch", "our jax")
        made = [c for c in made if c.process not in slow and c.row["algorithm"] in (*CHEAP, "each")]
    return made


def _judge(row: Row, native: dict[str, Row]) -> None:
    """Our paths a second over the row's, as shipped and with the row's algorithm; and whether they agree."""
    row["as_shipped"] = native["order"]["per_s"] / row["per_s"]
    if row["tier"] == "part":  # a price of mean 0
        row["agrees"] = agrees(row, {"mean": 0.0, "mean_se": 0.0})
        return
    same = native.get(SAME.get(row["algorithm"], ""))
    row["same_algorithm"] = same and same["per_s"] / row["per_s"]
    row["agrees"] = agrees(row, native["order"], MEASURES)


def _notes(rows: list[Row]) -> list[str]:
    """The fastest peer of each tier, and ours over it."""
    notes = []
    for tier in ("plain", "expert"):
        found = [r for r in rows if r["tier"] == tier and r.get("as_shipped")]
        if found:
            best = max(found, key=lambda r: r["per_s"])
            notes.append(
                f"Fastest {tier} peer: {best['peer']} {best['algorithm']}; native order is {best['as_shipped']:.2f} "
                "times as fast."
            )
    return notes
