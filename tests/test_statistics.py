"""The statistics of a run: exact sums, histograms, merging, and digests that nothing but the model changes.

References: exact arithmetic on fractions; NumPy's sort for quantiles (the ceil(n q)-th smallest value, which
is Hyndman and Fan's (1996) definition 1) and for the expected shortfall (Acerbi and Tasche 2002: the mean of
the worst share, the boundary value counted in part). A bin holds values that agree in sign, exponent and 11
leading bits, so what is read from a histogram errs by less than 2^-11 of the value, and where all
values of a bin are equal, not at all. Nothing here is a statistical test: no check fails by chance.
"""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import overbuilt
from overbuilt import DT, Result, System, output
from overbuilt.engine.exact import ExactSum
from overbuilt.engine.histogram import Histogram
from overbuilt.engine.metric import Metric
from overbuilt.engine.statistics import BLOCK, Statistics
from overbuilt.engine.tails import PIECES, Tail
from overbuilt.kernels import backends

Array = NDArray[Any]

BIN = 2.0**-11
LEVELS = {"p05": "0.05", "p50": "0.5", "p95": "0.95", "p99": "0.99", "p999": "0.999"}


# ---- exact sums
def spread_numbers(rng: random.Random, count: int) -> list[float]:
    """Numbers of all sizes and both signs, some of which cancel."""
    plain = [
        rng.choice((-1.0, 1.0)) * math.ldexp(rng.random(), rng.randint(-300, 300))
        for _ in range(count)
    ]
    return plain + [-x for x in plain[: count // 2]] + [0.0, 5e-324, -1e300, 1e300]


@pytest.mark.parametrize("seed", range(20))
def test_exact_sum(seed: int) -> None:
    """The parts add up to the sum as fractions, and its value is the sum rounded once."""
    rng = random.Random(seed)
    numbers = spread_numbers(rng, 60)
    exact = sum(map(Fraction, numbers))
    for _ in range(5):
        rng.shuffle(numbers)
        total = ExactSum()
        for x in numbers:
            total.add(x)
        assert total.exact() == exact
        assert total.value() == float(exact)


@pytest.mark.parametrize("seed", range(10))
def test_exact_sum_merged(seed: int) -> None:
    """However it is cut and merged."""
    rng = random.Random(seed)
    numbers = spread_numbers(rng, 60)
    exact = sum(map(Fraction, numbers))
    rng.shuffle(numbers)
    parts = [ExactSum() for _ in range(7)]
    for x in numbers:
        rng.choice(parts).add(x)
    while len(parts) > 1:
        rng.shuffle(parts)
        parts[0].merge(parts.pop())
    assert parts[0].exact() == exact
    assert ExactSum.parse(parts[0].text()) == parts[0]
    assert parts[0].value() == float(exact)


@pytest.mark.parametrize("seed", range(5))
def test_exact_sum_of_products(seed: int) -> None:
    """Products are not rounded either."""
    rng = random.Random(seed)
    numbers = spread_numbers(rng, 40)
    total = ExactSum()
    for x in numbers:
        total.add(3, x, x, x)
    assert total.exact() == sum(3 * Fraction(x) ** 3 for x in numbers)
    assert ExactSum.parse(total.text()) == total


def test_exact_sum_of_what_is_not_finite() -> None:
    for x in (math.nan, math.inf, -math.inf):
        total = ExactSum()
        total.add(1.0)
        total.add(x, 2.0)
        assert math.isnan(total.value())
        assert ExactSum.parse(total.text()) == total


def test_exact_sum_by_hand() -> None:
    total = ExactSum()
    for x in (1e100, 1.0, -1e100, 2.0**-60):
        total.add(x)
    assert total.value() == 1.0
    total.add(-1.0)
    assert total.value() == 2.0**-60
    assert ExactSum().value() == 0.0


# ---- histograms
def histogram(values: Array, pieces: int = 3) -> Metric:
    """Made of a few pieces, as blocks are; it has no tails, so all is read from its histogram."""
    made = Metric()
    for piece in np.array_split(values, pieces):
        if len(piece):
            made.add(piece)
    return made


def ranked(values: Array, level: str) -> float:
    """The ceil(n q)-th smallest value, the rank in exact arithmetic."""
    rank = math.ceil(Fraction(level) * len(values))
    return float(np.sort(values)[max(rank, 1) - 1])


def shortfall(values: Array, level: str) -> float:
    """The mean of the worst (1 - q) n values, the last one in part."""
    tail = (1 - Fraction(level)) * len(values)
    whole = math.floor(tail)
    worst = np.sort(values.astype(np.float64))[::-1]
    total = math.fsum(worst[:whole])
    if whole < len(worst):
        total += float(tail - whole) * float(worst[whole])
    return total / float(tail)


LAWS: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "exponential": lambda rng, n: rng.exponential(3.0, n),
    "normal": lambda rng, n: rng.normal(0.0, 1.0, n),
    "far_normal": lambda rng, n: rng.normal(1e4, 1.0, n),
    "below_zero": lambda rng, n: -rng.exponential(2.0, n),
    "student_t": lambda rng, n: rng.standard_t(2.5, n),
    "huge_and_small": lambda rng, n: rng.choice([-1.0, 1.0], n) * 10.0 ** rng.uniform(-36, 36, n),
    "mostly_zero": lambda rng, n: np.where(rng.random(n) < 0.97, 0.0, rng.exponential(1.0, n)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("count", [1, 2, 7, 100, 1000, 150_001])
@pytest.mark.parametrize("law", LAWS)
def test_histogram_of_continuous_laws(law: str, count: int, dtype: str) -> None:
    """Quantiles and shortfalls within 2^-11 of NumPy's."""
    values = LAWS[law](np.random.default_rng(count), count).astype(dtype)
    made = histogram(values)
    for level in (*LEVELS.values(), "0", "1", "0.001", "0.3"):
        want = ranked(values, level)
        got = made.quantile(float(level))
        assert abs(got - want) <= BIN * abs(want), (level, got, want)
    worst = np.sort(np.abs(values.astype(np.float64)))
    for level in ("0.5", "0.95", "0.99", "0.999"):
        want = shortfall(values, level)
        # every value that counts errs by less than 2^-11 of itself
        tail = np.sort(values.astype(np.float64))[::-1][: math.ceil((1 - Fraction(level)) * count)]
        scale = max(abs(want), float(np.abs(tail).mean()))
        got = made.expected_shortfall(float(level))
        assert abs(got - want) <= BIN * scale + 1e-12 * worst[-1], (level, got, want)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "atoms",
    [
        np.arange(4096.0),
        np.array([-7.5, -1.0, 0.0, 0.1, 45.0, 1e6]),
        np.array([0.0, 1.0]),
        np.array([3.3]),
        np.array([0.0]),
        np.array([-2.7]),
        np.arange(1.0, 401.0) * (100.0 / 400.0) * 0.45,
    ],
    ids=["whole_numbers", "mixed", "two", "all_equal", "all_zero", "all_negative", "defaults"],
)
def test_atoms_are_exact(atoms: Array, dtype: str) -> None:
    """Losses that take few values, each alone in its bin: quantiles to the bit, shortfalls to rounding."""
    rng = np.random.default_rng(5)
    values = rng.choice(atoms.astype(dtype), 30_000)
    made = histogram(values, 4)
    for level in (*LEVELS.values(), "0.01", "0.25"):
        assert made.quantile(float(level)) == ranked(values, level)
    for level in ("0.5", "0.9", "0.99", "0.999"):
        want = shortfall(values, level)
        assert made.expected_shortfall(float(level)) == pytest.approx(want, rel=1e-12)


def bins(values: Array) -> list[tuple[int, int, float, float]]:
    """Key, count, least and greatest value of each bin, one value at a time."""
    found: dict[int, list[float]] = {}
    for value in values.tolist():
        (bits,) = struct.unpack("<i", struct.pack("<f", value + 0.0))
        key = (bits if bits >= 0 else -(2**31) - bits) // 2**12 + 2**19
        found.setdefault(key, []).append(value + 0.0)
    return [(k, len(v), min(v), max(v)) for k, v in sorted(found.items())]


def columns(h: Histogram) -> list[tuple[int, int, float, float]]:
    return list(zip(*(c.tolist() for c in (h.keys, h.count, h.least, h.most)), strict=True))


WIDE: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "two_of_one_bin": lambda rng, n: rng.choice([1.0, 1.0001], n),
    "two_signs": lambda rng, n: rng.choice([-3.0, 3.0], n),
    "zeros_and_tiny": lambda rng, n: rng.choice([0.0, -0.0, 1e-30, 1e-12, 2.0, 2.5, 7e4], n),
    "denormal": lambda rng, n: rng.choice([0.0, 1e-45, 1e-42, 5.0, 6.0], n),
    "whole_numbers": lambda rng, n: np.floor(rng.exponential(2.0, n)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("law", [*LAWS, *WIDE])
def test_bins_are_those_of_one_value_at_a_time(law: str, dtype: str) -> None:
    """However the values are cut into blocks and merged, and in memory as narrow as they may be."""
    rng = np.random.default_rng(3)
    values = (LAWS | WIDE)[law](rng, 9000).astype(dtype)
    want = bins(values)
    assert columns(histogram(values, 1).histogram) == want
    assert columns(histogram(values, 5).histogram) == want
    few = histogram(values[:7], 1)
    few.merge(histogram(values[7:], 3))
    assert columns(few.histogram) == want
    copy = few.histogram.copy()
    copy.add(values)
    assert columns(few.histogram) == want
    h = few.histogram
    again = Histogram.restored(h.keys, h.count, h.least, h.most)
    assert columns(again) == want
    if dtype == "float32":
        for made in (h, again):
            assert [c.itemsize for c in (made._keys, made._count, made._least, made._most)] == [
                4
            ] * 4


def test_a_bin_may_hold_more_than_four_billion() -> None:
    h = Histogram([1 << 19], [(1 << 32) - 2], [0.0], [0.0])
    h.add(np.zeros(1))
    h.add(np.zeros(3))
    h.merge(Histogram([1 << 19], [1 << 40], [0.0], [0.0]))
    assert columns(h) == [(1 << 19, (1 << 40) + (1 << 32) + 2, 0.0, 0.0)]


@pytest.mark.parametrize(
    ("keys", "count"),
    [([5, 5], [1, 1]), ([6, 5], [1, 1]), ([-1, 5], [1, 1]), ([5, 1 << 32], [1, 1]), ([5, 6], [1, 0]),
     ([5, 6], [1, -1]), ([5], [1, 1])],
)  # fmt: skip
def test_bins_that_cannot_be_are_refused(keys: list[int], count: list[int]) -> None:
    ends = np.zeros(2)
    with pytest.raises(ValueError, match=r"bin|columns"):
        Histogram.restored(np.array(keys), np.array(count), ends, ends)


def test_tails_and_sample_are_held_in_few_pieces() -> None:
    """A block that adds a path or two to each takes the room of these, however many blocks there are."""
    statistics = Statistics(("x",), tail=1000, sample_size=1000)
    rng = np.random.default_rng(2)
    for number in range(600):
        statistics.add(number, rng.normal(size=(1, 30)).astype(np.float32), np.zeros(30, np.int32))
        for kept in (*statistics.tails["x"], statistics.sample):
            assert len(kept._paths) <= PIECES + 1
            assert kept._held <= 1250 + 30


def test_shortfall_by_hand() -> None:
    """90 losses of 0, 7 of 10 and 3 of 100: the worst 5 are 100, 100, 100, 10, 10."""
    made = histogram(np.repeat([0.0, 10.0, 100.0], [90, 7, 3]))
    assert made.expected_shortfall(0.95) == pytest.approx(64.0, rel=1e-12)
    assert made.expected_shortfall(0.97) == pytest.approx(100.0, rel=1e-12)
    assert made.expected_shortfall(0.99) == 100.0
    # the worst 4.5: three of 100 and one and a half of 10
    assert made.expected_shortfall(0.955) == pytest.approx(315.0 / 4.5, rel=1e-12)
    # 150 losses at 99 %: the worst 1.5, that is 100 and half of 10
    made = histogram(np.repeat([0.0, 10.0, 100.0], [140, 9, 1]))
    assert made.expected_shortfall(0.99) == pytest.approx(105.0 / 1.5, rel=1e-12)
    # ten losses at 99 %: a tenth of the worst one
    assert histogram(np.arange(10.0)).expected_shortfall(0.99) == 9.0
    assert math.isnan(Metric().expected_shortfall(0.99))
    assert math.isnan(Metric().quantile(0.5))


@pytest.mark.parametrize("level", ["0.05", "0.5", "0.95", "0.99", "0.999"])
def test_ranks_are_exact(level: str) -> None:
    """ceil(n q) in floating point is that of exact arithmetic, for round n above all."""
    top = Fraction(level)
    for n in (
        *range(1, 3000),
        *range(1000, 2_000_000, 1000),
        10**7,
        10**8,
        10**9,
        10**9 + 1,
        1 << 30,
    ):
        assert math.ceil(n * float(level)) == math.ceil(n * top), n


# ---- blocks in any order
def some_blocks(dtype: str) -> list[tuple[int, Array, NDArray[np.int32]]]:
    """Blocks of five metrics, the last block short; some paths are bad."""
    rng = np.random.default_rng(8)
    made = []
    for number in range(9):
        n = 700 if number < 8 else 123
        values = np.stack(
            [
                rng.normal(0.0, 1.0, n),
                rng.choice([0.0, -0.0, 3.0], n),
                rng.choice([-1.0, 1.0], n) * 10.0 ** rng.uniform(-30, 30, n),
                rng.standard_t(2.0, n) * 1e5,
                np.full(n, 0.1),
            ]
        ).astype(dtype)
        bad = np.where(rng.random(n) < 0.03, rng.integers(1, 60, n), 0).astype(np.int32)
        values[0, bad > 0] = np.nan
        made.append((number, values, bad))
    return made


NAMES = ("normal", "zeros", "sizes", "tails", "equal")


def told(statistics: Statistics) -> str:
    """Everything that is reported, to the last bit and sign."""
    return repr(
        (
            statistics.summary(),
            statistics.digest(),
            statistics.bad,
            statistics.bad_count,
            statistics.paths,
            [
                [part.tobytes() for side in (m.tails.upper, m.tails.lower) for part in side]
                for m in map(statistics.metric, statistics.names)
                if m.tails
            ],
            statistics.sample.paths.tobytes(),
            statistics.sample.values.tobytes(),
            statistics.counted,
            [columns(m.histogram) for half in statistics.halves for m in half.values()],
            [
                sum_.text()
                for half in statistics.halves
                for m in half.values()
                for sum_ in m.moments.sums.values()
            ],
        )
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_merging_in_any_order_gives_the_same_bytes(dtype: str) -> None:
    blocks = some_blocks(dtype)
    kept: dict[str, Any] = {"tail": 300, "sample_size": 500, "events": (("normal", ">", 1.5),)}
    straight = Statistics(NAMES, **kept)
    for block in blocks:
        straight.add(*block)
    want = told(straight)
    rng = random.Random(4)
    for _ in range(40):
        rng.shuffle(blocks)
        parts = [Statistics(NAMES, **kept) for _ in range(rng.randint(1, 5))]
        for block in blocks:
            rng.choice(parts).add(*block)
        while len(parts) > 1:
            rng.shuffle(parts)
            parts[0].merge(parts.pop())
        assert told(parts[0]) == want


def test_negative_zero_is_zero() -> None:
    """Which zero comes first decides nothing."""
    texts = set()
    for values in ([-0.0, 0.0], [0.0, -0.0], [-0.0, -0.0], [0.0, 0.0]):
        statistics = Statistics(("x",))
        for number, value in enumerate(values):
            statistics.add(number, np.array([[value]]), np.zeros(1, np.int32))
        texts.add(repr(statistics.summary()))
    assert len(texts) == 1
    assert "-0.0" not in texts.pop()


def test_a_block_counts_once() -> None:
    a, b = Statistics(("x",)), Statistics(("x",))
    for part in (a, b):
        part.add(3, np.ones((1, 4)), np.zeros(4, np.int32))
    with pytest.raises(ValueError, match="block 3"):
        a.merge(b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_summary_against_numpy(dtype: str) -> None:
    blocks = some_blocks(dtype)
    statistics = Statistics(NAMES)
    for block in blocks:
        statistics.add(*block)
    kept = np.concatenate([v[:, bad == 0] for _, v, bad in blocks], axis=1).astype(np.float64)
    for row, name in zip(kept, NAMES, strict=True):
        got = statistics.summary()[name]
        size = float(np.abs(row).max())
        assert got["mean"] == pytest.approx(math.fsum(row) / len(row), rel=1e-12, abs=1e-15 * size)
        spread = float(np.std(row, ddof=1))
        assert got["sd"] == pytest.approx(spread, rel=1e-12, abs=1e-15 * size)
        assert got["se"] == pytest.approx(spread / math.sqrt(len(row)), rel=1e-12, abs=1e-15 * size)
        for key, level in LEVELS.items():
            assert abs(got[key] - ranked(row, level)) <= BIN * abs(ranked(row, level))
        assert abs(got["es99"] - shortfall(row, "0.99")) <= BIN * abs(shortfall(row, "0.99"))


def test_spread_far_from_zero() -> None:
    """The deviation keeps its digits when the mean is a million of it, also between uneven blocks."""
    rng = np.random.default_rng(2)
    for centre, bound in ((0.0, 1e-12), (1e6, 1e-10), (-1e9, 1e-7)):
        statistics = Statistics(("x",))
        values = np.sort(centre + rng.normal(0.0, 1.0, 200_000))
        for number, piece in enumerate(np.split(values, [7, 5_000, 70_001, 131_072])):
            statistics.add(number, piece[None, :], np.zeros(len(piece), np.int32))
        assert statistics.summary()["x"]["sd"] == pytest.approx(values.std(ddof=1), rel=bound)


def test_equal_values_have_no_spread() -> None:
    statistics = Statistics(("x",))
    for number in range(3):
        statistics.add(number, np.full((1, 1001), 0.1), np.zeros(1001, np.int32))
    got = statistics.summary()["x"]
    assert got["sd"] == pytest.approx(0.0, abs=1e-16)
    assert got["mean"] == pytest.approx(0.1, rel=1e-15)
    assert [got[k] for k in LEVELS] == [0.1] * 5


def test_one_path_has_no_spread() -> None:
    statistics = Statistics(("x",))
    statistics.add(0, np.full((1, 1), 2.5), np.zeros(1, np.int32))
    got = statistics.summary()["x"]
    assert got["mean"] == got["p05"] == got["es99"] == 2.5
    assert all(math.isnan(got[k]) for k in ("sd", "se"))


@pytest.mark.filterwarnings("error")
def test_beyond_float32() -> None:
    """float64 values that float32 does not hold: means and extremes stay, and nothing warns."""
    values = np.array([-1e300, -1e39, -1.0, 1e-300, 1e-46, 1.0, 1e39, 1e300])
    made = histogram(values, 1)
    assert [made.quantile(0.0), made.quantile(1.0)] == [-1e300, 1e300]
    assert made.quantile(0.625) == 1e-46
    statistics = Statistics(("x",))
    for number, value in enumerate((1e200, -1e200, 3.0)):
        statistics.add(number, np.full((1, 5), value), np.zeros(5, np.int32))
    got = statistics.summary()["x"]
    assert [got["mean"], got["p50"]] == [1.0, 3.0]
    assert all(math.isnan(got[k]) for k in ("sd", "se"))  # their squares are beyond float64


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1, 0.15, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_not_a_number_takes_no_place_in_a_tail(share: float, sign: int) -> None:
    rng = np.random.default_rng(8)
    x = rng.normal(size=BLOCK).astype(np.float32)
    x[rng.random(BLOCK) < share] = np.nan
    tail = Tail(10_000, sign)
    tail.add(x, np.arange(BLOCK, dtype=np.uint64))
    tail.add(x[:1000], np.arange(BLOCK, BLOCK + 1000, dtype=np.uint64))
    both = np.concatenate([x, x[:1000]])
    sound = np.sort(both[~np.isnan(both)])
    assert np.array_equal(tail.found()[0], (sound[::-1] if sign > 0 else sound)[:10_000])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_metric_that_is_not_a_number_or_infinite(dtype: str) -> None:
    """Its mean is not a number; every path is counted in a bin, and nothing warns."""
    rng = np.random.default_rng(6)
    for odd in (np.nan, -np.nan, np.inf, -np.inf):
        statistics = Statistics(("x", "y"))
        values = rng.normal(size=(2, 5000)).astype(dtype)
        values[0, ::100] = odd
        values[1] = odd
        for number in range(4):
            statistics.add(number, values, np.zeros(5000, np.int32))
        x = statistics.metric("x")
        assert math.isnan(x.mean())
        assert x.histogram.total() == 20_000
        assert x.quantile(0.5) == pytest.approx(0.0, abs=0.1)
        assert statistics.metric("y").histogram.total() == 20_000


# ---- bad paths
class Diverges(System):
    """From month 7 on, about a path in a thousand is infinite, and one in a thousand is not a number."""

    chance = output("1", "the path's uniform")
    value = output("1", "1, or what became of it")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"u": draw.uniform("which"), "x": 1.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        late = up.month >= 7
        infinite = xp.exp(xp.where(late & (s.u < 0.001), 1e5, 0.0))
        negative = xp.log(xp.where((up.month >= 9) & (s.u > 0.999), -1.0, 1.0))
        return {"u": s.u, "x": infinite + negative, "chance": s.u, "value": infinite + negative}


@pytest.mark.parametrize("backend", ["native", "numpy", "jax"])
def test_bad_paths_are_set_aside_and_named(backend: str) -> None:
    found = backends.status(backend)
    if not found.works:
        pytest.skip(found.why)
    paths = 100_000 if backend == "native" else 20_000
    result = overbuilt.simulate(Diverges(), paths, 5, backend, "float64", months=12)
    table = result.paths()
    u = table["diverges.chance"].to_numpy()
    month = np.where(u < 0.001, 7, np.where(u > 0.999, 9, 0))
    assert np.array_equal(table["first_bad_month"], month)
    bad = np.flatnonzero(month)
    assert result.bad_count == len(bad) > (100 if backend == "native" else 0)
    assert result.bad_paths == {int(i): int(month[i]) for i in bad[:100]}
    got = result.metrics["diverges.chance"]
    assert got["mean"] == pytest.approx(u[month == 0].mean(), rel=1e-12)
    assert got["p95"] == pytest.approx(ranked(u[month == 0], "0.95"), rel=BIN)
    assert result.metrics["diverges.value"]["sd"] == 0.0
    assert result.statistics.metric("diverges.value").count == paths - len(bad)


class AlwaysBad(System):
    value = output("1", "not a number")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"x": 0.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        x = xp.log(s.x - draw.uniform("below"))
        return {"x": x, "value": x}


def test_when_every_path_is_bad() -> None:
    result = overbuilt.simulate(AlwaysBad(), 300, 5, "numpy", months=3)
    assert result.bad_count == 300
    assert result.bad_paths == dict.fromkeys(range(100), 1)
    assert all(math.isnan(x) for x in result.metrics["always_bad.value"].values())


# ---- what does not change a run
class Walk(System):
    """A little of everything: state, draws and a loop whose length differs by path."""

    value = output("1", "a walk")
    length = output("count", "tries")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"x": draw.normal("start")}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        tries = xp.while_any(
            lambda a: draw.uniform("try", index=a.k) < 0.5, lambda a: {"k": a.k + 1}, k=0
        ).k
        x = s.x + math.sqrt(DT) * draw.normal("shock") * xp.exp(-0.1 * xp.to_real(tries))
        return {"x": x, "value": x, "length": xp.to_real(tries)}


def walk(paths: int, **options: Any) -> Result:
    return overbuilt.simulate(Walk(), paths, 77, "native", months=5, **options)


def assert_same_run(a: Result, b: Result) -> None:
    assert a.digest == b.digest
    assert told(a.statistics) == told(b.statistics)
    assert a.by_month
    assert a.by_month == b.by_month


PATHS = 3 * BLOCK + 12_345


@pytest.mark.parametrize("batch", [1000, 4097, BLOCK, 200_000, 10**9])
def test_batches_change_nothing(batch: int) -> None:
    assert_same_run(walk(PATHS, batch=batch), walk(PATHS))


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_batches_change_nothing_of_a_small_run(batch: int) -> None:
    assert_same_run(walk(300, batch=batch), walk(300))


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_batches_change_nothing_elsewhere(backend: str) -> None:
    found = backends.status(backend)
    if not found.works:
        pytest.skip(found.why)
    runs = [
        overbuilt.simulate(Walk(), 20_000, 77, backend, months=5, batch=batch)
        for batch in (None, 1000, 9999)
    ]
    for other in runs[1:]:
        assert_same_run(runs[0], other)


@pytest.mark.parametrize("threads", ["1", "2", "3"])
def test_threads_change_nothing(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = walk(PATHS)
    monkeypatch.setenv("OVERBUILT_THREADS", threads)
    assert_same_run(walk(PATHS), plain)
    model = overbuilt.load("textbook", {"private_credit.loans": 20})
    with monkeypatch.context() as inner:
        inner.delenv("OVERBUILT_THREADS")
        want = overbuilt.simulate(model, 100_000, 1, "native")
    assert_same_run(overbuilt.simulate(model, 100_000, 1, "native"), want)


def test_more_paths_leave_the_first_alone() -> None:
    """Blocks that both runs fill are the same; per-path values are a prefix."""
    few, many = walk(2 * BLOCK + 500), walk(PATHS)
    for block in (0, 1):
        assert few.statistics.hashes[block] == many.statistics.hashes[block]
    assert few.statistics.hashes[2] != many.statistics.hashes[2]
    assert sorted(many.statistics.hashes) == [0, 1, 2, 3]
    a, b = few.paths(), many.paths()
    assert a.to_numpy().tobytes() == b.iloc[: len(a)].to_numpy().tobytes()
    assert few.digest != many.digest


def test_the_seed_changes_everything() -> None:
    a = walk(1000)
    b = overbuilt.simulate(Walk(), 1000, 78, "native", months=5)
    assert a.digest != b.digest
    same = (a.paths()["walk.value"] == b.paths()["walk.value"]).mean()
    assert same < 0.01
