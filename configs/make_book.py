"""Draw the loans of book.csv and book_new.csv from their buckets: ``python configs/make_book.py``.

Each bucket's exposures follow its law, lognormal with sigma 0.8 capped at five times the mean, scaled to
the bucket's total; end months are uniform in the standing book (book_buckets.csv), and five years after the
start in the book to come (book_new_buckets.csv: eight quarterly vintages). Seeds are fixed, so the files are functions
of the buckets. Loans of a bucket that another system will compute (``loss_computed_by``) are of equal size.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

SEED = 20251231
SIGMA, CAP = 0.8, 5.0
FIRST_END, LAST_END = 6, 60
VINTAGES, TERM = range(1, 23, 3), 60
HERE = Path(__file__).parent
COPIED = (
    "pd_1y", "rho_residual", "lgd", "beta_rental", "beta_spread", "beta_window", "beta_displacement",
)  # fmt: skip


def exposures(rng: np.random.Generator, count: int, total: float, equal: bool) -> list[float]:
    """``count`` exposures that sum to ``total`` to the cent of a million (USD bn, five decimals)."""
    sizes = np.ones(count) if equal else np.exp(SIGMA * rng.standard_normal(count))
    for _ in range(100):  # capping lowers the mean, which lowers the cap
        sizes = np.minimum(sizes, CAP * sizes.mean())
    rounded = np.round(sizes * (total / sizes.sum()), 5)
    rounded[np.argmax(rounded)] += total - rounded.sum()
    return [float(x) for x in np.round(rounded, 5)]


def starts(bucket: dict[str, str], count: int) -> list[int]:
    """Start month of each loan of a bucket: now, in one month, or spread evenly over the vintages."""
    text = bucket.get("start_months", "")
    if text.startswith("8 quarterly vintages"):
        return [VINTAGES[i % len(VINTAGES)] for i in range(count)]
    return [1 if text == "month 1" else 0] * count


def draw(source: str, target: str, prefix: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    with (HERE / source).open(newline="", encoding="utf-8") as file:
        buckets = list(csv.DictReader(file))
    rows = []
    for bucket in buckets:
        count, total = int(bucket["count"]), float(bucket["exposure_usd_bn"])
        other = not bucket["loss_computed_by"].startswith("private_credit")
        sizes = exposures(rng, count, total, equal=other)
        begins = starts(bucket, count)
        ends = rng.integers(FIRST_END, LAST_END + 1, count)
        for size, begin, end in zip(sizes, begins, ends, strict=True):
            rows.append(
                {
                    "loan": f"{prefix}{len(rows) + 1:04d}",
                    "sector": bucket["sector"],
                    "rating": bucket["rating"],
                    "exposure_usd_bn": f"{size:.5f}",
                    **{k: bucket[k] for k in COPIED},
                    "start_month": begin,
                    "end_month": begin + TERM if begin else int(end),
                    "loss_computed_by": "gpu_loans" if other else "private_credit",
                }
            )
    with (HERE / target).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    total = sum(float(r["exposure_usd_bn"]) for r in rows)
    print(f"{len(rows)} loans, USD {total:.5f} bn, written to {HERE / target}")


if __name__ == "__main__":
    draw("book_buckets.csv", "book.csv", "PC", SEED)
    draw("book_new_buckets.csv", "book_new.csv", "PN", SEED + 1)
