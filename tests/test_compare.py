"""Comparing two runs: intervals of differences that hold as often as they say, verdicts, and the command.

References: closed forms of the lognormal law (mean, quantile; expected shortfall after McNeil, Frey and Embrechts
2015, section 2.3.4), Sheppard's (1899) correlation of signs, SciPy's exact binomial tests and intervals. Statistical
tests have fixed seeds. Of so many intervals a share alpha may miss; a test fails where a count would be as
far out with probability 1e-4 (``most`` and ``least``).
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from click.testing import Result as Done
from numpy.typing import NDArray
from rich.console import Console
from scipy import stats

from overbuilt import DT, ConfigError, Result, System, load, output, parameter, simulate
from overbuilt.engine import compare_intervals
from overbuilt.engine.commands.compare import compare as command
from overbuilt.engine.compare import Comparison, compare, needed, verdict
from overbuilt.engine.compare_config import changes, flatten
from overbuilt.engine.compare_intervals import Difference, lower_share, paired_shares, upper_share
from overbuilt.engine.compare_table import print_comparison, short
from overbuilt.engine.locate import CONFIGS
from overbuilt.engine.simulate import plan
from overbuilt.engine.statistics import BLOCK, Statistics
from overbuilt.engine.system import Economy

Array = NDArray[Any]
EVERY = 1 << 20


def result(
    values: dict[str, Any],
    *,
    seed: int = 0,
    sample: int = EVERY,
    units: dict[str, str] | None = None,
    bad: Array | None = None,
    events: tuple[tuple[str, str, float], ...] = (),
    tail: int = 1000,
    **more: Any,
) -> Result:
    """A run that found these values (paths,)."""
    table = np.array(list(values.values()))
    s = Statistics(tuple(values), tail, sample, events)
    for at in range(0, table.shape[1], BLOCK):
        part = table[:, at : at + BLOCK]
        none = np.zeros(part.shape[1], np.int32)
        s.add(at // BLOCK, part, none if bad is None else bad[at : at + BLOCK])
    how: dict[str, Any] = {
        "name": "made", "backend": "numpy", "dtype": "float64", "months": 12, "docs": {},
        "series_names": (), "seconds": {}, "stamp": {}, "path_count": table.shape[1],
    }  # fmt: skip
    return Result(
        **how | more, seed=seed, statistics=s, units=units or dict.fromkeys(values, "USD")
    )


def only(c: Comparison) -> Any:
    (row,) = c.rows
    return row


def half(a: Result, b: Result, statistic: str = "mean", **more: Any) -> float:
    return float(only(compare(a, b, stats=(statistic,), **more)).half)


def most(count: int, share: float) -> int:
    return int(stats.binom.ppf(1.0 - 1e-4, count, share))


def least(count: int, share: float) -> int:
    return int(stats.binom.ppf(1e-4, count, share))


# ---- intervals hold as often as they say
class Price(System):
    """A geometric Brownian motion, and whether it ends high."""

    drift = parameter(0.0, "1/year", "assumption: of the test")
    volatility = parameter(0.4, "1/year^0.5", "assumption: of the test", gt=0)
    x = output("USD", "the price")
    high = output("0 or 1", "whether it is above 1.3")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"log": 0.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        v = self.volatility
        log = s.log + (self.drift - v * v / 2.0) * DT + v * math.sqrt(DT) * draw.normal("z")
        x = xp.exp(log)
        return {"log": log, "x": x, "high": xp.where(x > 1.3, 1.0, 0.0)}


YEARS = 0.25


def lognormal(drift: float, volatility: float) -> dict[str, float]:
    """What a price of 1 is after YEARS: closed forms."""
    s = volatility * math.sqrt(YEARS)
    m = drift * YEARS - s * s / 2.0
    normal = stats.norm
    return {
        "mean": math.exp(drift * YEARS),
        "p50": math.exp(m),
        "p90": math.exp(m + s * normal.ppf(0.9)),
        "es90": math.exp(drift * YEARS) * normal.cdf(s - normal.ppf(0.9)) / 0.1,
        "sd": math.exp(drift * YEARS) * math.sqrt(math.expm1(s * s)),
        "high": normal.sf((math.log(1.3) - m) / s),
    }


RUNS, PATHS, ALPHA = 240, 1000, 0.05
BEFORE, AFTER = {"drift": 0.05, "volatility": 0.4}, {"drift": 0.10, "volatility": 0.5}


@pytest.fixture(scope="module")
def pairs() -> list[tuple[dict[str, Array], dict[str, Array]]]:
    """Runs of both prices on common draws, at 240 seeds."""
    plans = [plan(Economy(Price(**v), months=3), "numpy", "float64") for v in (BEFORE, AFTER)]
    found = []
    for seed in range(RUNS):
        values = [p.run(seed, 0, PATHS).metrics for p in plans]
        found.append(tuple(dict(zip(("x", "high"), v, strict=True)) for v in values))
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("sampled", [EVERY, PATHS // 4])
@pytest.mark.parametrize("common", [True, False])
@pytest.mark.parametrize("statistic", ["mean", "sd", "p50", "p90", "es90", "high"])
def test_intervals_hold_as_often_as_they_say(
    pairs: Any, statistic: str, common: bool, sampled: int
) -> None:
    """Of 240 differences at 95 %, on common random numbers or on others. Those of means are no wider than need be."""
    metric, text = ("high", "mean") if statistic == "high" else ("x", statistic)
    truth = lognormal(**AFTER)[statistic] - lognormal(**BEFORE)[statistic]
    missed = 0
    for k in range(RUNS):
        before, after = pairs[k][0], pairs[k if common else (k + 1) % RUNS][1]
        a = result({metric: before[metric]}, sample=sampled)
        b = result({metric: after[metric]}, sample=sampled, seed=0 if common else 1)
        row = only(compare(a, b, stats=(text,), level=1.0 - ALPHA))
        missed += not row.low <= truth <= row.high
    assert missed <= most(RUNS, ALPHA)
    if statistic in ("mean", "sd", "es90") and (not common or sampled == EVERY):
        assert missed >= least(RUNS, ALPHA)


def test_pairing_narrows_by_the_correlation() -> None:
    """Means of normals of correlation r: by sqrt(1 - r). Medians: their signs correlate by 2/pi asin r (Sheppard)."""
    rng = np.random.default_rng(1)
    x, z = rng.standard_normal((2, 40_000))
    for r in (0.5, 0.9, 0.99):
        a, b = {"m": x}, {"m": r * x + math.sqrt(1.0 - r * r) * z}
        ratios = {
            s: half(result(a), result(b), s) / half(result(a), result(b, seed=1), s)
            for s in ("mean", "p50")
        }
        assert ratios["mean"] == pytest.approx(math.sqrt(1.0 - r), rel=0.02)
        signs = math.sqrt(1.0 - 2.0 / math.pi * math.asin(r))
        assert signs < ratios["p50"] < 1.2 * signs  # of two ranks the worst is taken
        few = half(result(a, sample=8000), result(b, sample=8000)) / half(
            result(a), result(b, seed=1)
        )
        assert (
            math.sqrt(1.0 - r) < few < math.sqrt(1.0 - r) + 0.3
        )  # the sample may have missed some


def test_runs_that_overlap_in_part() -> None:
    """Equal paths but more of them in B: Var = sd^2 (1/n - 1/m), for the new ones alone."""
    x = np.random.default_rng(2).standard_normal(12_000)
    for sample in (EVERY, 3000):
        c = compare(
            result({"m": x[:4000]}, sample=sample), result({"m": x}, sample=sample), stats=("mean",)
        )
        wanted = stats.norm.ppf(0.975) * x.std() * math.sqrt(1 / 4000 - 1 / 12_000)
        assert c.pairing.common == 4000
        assert wanted * 0.98 < only(c).half < wanted * (1.02 if sample == EVERY else 1.3)


def test_paths_with_a_non_finite_state_are_in_no_pair() -> None:
    x = np.random.default_rng(3).standard_normal(5000)
    bad = np.zeros(5000, np.int32)
    bad[:7] = 3
    y = x + 0.01
    for sample in (EVERY, 1000):
        c = compare(result({"m": x}, sample=sample), result({"m": y}, bad=bad, sample=sample))
        assert c.pairing.common == 4993
        assert not c.pairing.same
        assert c.having("equal") == []
    assert (
        only(compare(result({"m": x}), result({"m": y}, bad=bad), stats=("mean",))).verdict
        == "moved"
    )


# ---- lumps of equal values
def test_a_quantile_between_two_values() -> None:
    """1 and 2 with probability one half each: sample medians are either, and that is no difference."""
    rng = np.random.default_rng(4)
    for _ in range(40):
        a, b = (result({"m": rng.integers(1, 3, 500).astype(float)}, seed=k) for k in (0, 1))
        assert only(compare(a, b, stats=("p50",), margin=0.0)).verdict != "moved"


def test_expected_shortfall_at_the_edge_of_a_lump() -> None:
    """5 with probability 0.98 % against 1.02 %, else 0: ES is 4.9 against 5, though a run may show 1 % or more in both.

    Of 200 intervals at 95 %; without the reference's far bound a third of them miss.
    """
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(200):
        a, b = (
            result({"m": 5.0 * (rng.random(20_000) < p)}, seed=k)
            for k, p in enumerate((0.0098, 0.0102))
        )
        row = only(compare(a, b, stats=("es99",)))
        missed += not row.low <= 0.1 <= row.high
    assert missed <= most(200, 0.05)


# ---- verdicts
def several(rng: np.random.Generator, n: int) -> dict[str, Array]:
    x = rng.standard_normal(n)
    return {
        "smooth": np.exp(x), "whole": np.floor(3.0 * np.abs(x)), "rare": np.where(x > 3.0, x, 0.0),
        "event": (x > 1.0).astype(float), "seldom": (x > 3.2).astype(float), "none": np.full(n, 2.0),
    }  # fmt: skip


def test_other_draws_of_one_law_move_nothing() -> None:
    """In 150 comparisons at 95 %, with no margin: how often any row errs."""
    rng = np.random.default_rng(6)
    alarms = 0
    for _ in range(150):
        a, b = (result(several(rng, 3000), seed=k) for k in (0, 1))
        c = compare(a, b, margin=0.0)
        alarms += bool(c.having("moved"))
        assert [r.metric for r in c.having("equal")].count("none") == 4
    assert alarms <= most(150, 0.05)


@pytest.mark.parametrize("sample", [EVERY, 100])
def test_a_run_is_equal_to_itself(sample: int) -> None:
    values = several(np.random.default_rng(7), 3000)
    c = compare(result(values, sample=sample), result(values, sample=sample))
    assert {r.verdict for r in c.rows} == {"equal"}
    assert all(r.difference == r.low == r.high == r.half == 0.0 for r in c.rows)
    assert c.judged == 0


def test_equal_metrics_beside_one_that_is_not() -> None:
    """Of samples that do not hold all paths, and one path of the other metric differs: the digests do too."""
    values = several(np.random.default_rng(8), 3000)
    other = values | {"smooth": values["smooth"].copy()}
    other["smooth"][1234] += 1e-3
    c = compare(result(values, sample=100, tail=50), result(other, sample=100, tail=50))
    assert {r.metric for r in c.rows if r.verdict != "equal"} == {"smooth"}
    assert c.judged == 4


def test_within_a_margin_and_beyond_it() -> None:
    """A factor of 1.002 on every path: within 3 %, surely beyond 0.1 %, and of 0.2 % it cannot be told."""
    x = np.exp(0.3 * np.random.default_rng(9).standard_normal(20_000))
    for sample in (EVERY, 5000):
        a, b = result({"m": x}, sample=sample), result({"m": 1.002 * x}, sample=sample)
        for row in compare(a, b, stats=("mean", "p50", "p99"), margin=0.03).rows:
            assert (row.verdict, row.beyond) == ("equivalent", False)
    a, b = result({"m": x}), result({"m": 1.002 * x})
    assert [r.beyond for r in compare(a, b, stats=("mean",), margin=0.001).having("moved")] == [
        True
    ]
    assert [r.beyond for r in compare(a, b, stats=("mean",), margin=0.002).having("moved")] == [
        False
    ]


def test_verdicts_follow_from_the_interval() -> None:
    assert verdict(-0.5, 0.5, 1.0) == "equivalent"
    assert verdict(0.2, 0.9, 1.0) == "equivalent"
    assert verdict(0.2, 1.1, 1.0) == "moved"
    assert verdict(-3.0, -2.0, 1.0) == "moved"
    assert verdict(-0.1, 1.1, 1.0) == "unclear"
    assert verdict(0.0, 0.0, 0.0) == "equivalent"
    assert verdict(-math.inf, math.inf, 1.0) == "unclear"


def test_how_many_paths_would_decide() -> None:
    """That many do: the interval is then as long as the difference, or as what is left of the margin."""
    rng = np.random.default_rng(10)
    x = 10.0 + rng.standard_normal(400_000)
    y = 10.005 + rng.standard_normal(400_000)
    short_run = (result({"m": x[:10_000]}), result({"m": y[:10_000]}, seed=1))
    row = only(compare(*short_run, stats=("mean",), margin=0.0))
    assert row.verdict == "unclear"
    assert row.needed == pytest.approx(10_000 * (row.half / abs(row.difference)) ** 2, rel=1e-9)
    assert needed(Difference(1.0, 1.0, -1.0, 1.0, ""), 0.5, 1000) == 4000
    assert needed(Difference(1.0, 1.5, 0.0, 1.0, ""), 0.5, 1000) == 1000
    assert needed(Difference(0.0, 0.0, -1.0, 1.0, ""), 0.0, 1000) == math.inf
    assert needed(Difference(0.0, 0.0, -math.inf, 1.0, ""), 1.0, 1000) == math.inf


def test_margins_of_a_unit() -> None:
    a = result({"m": np.zeros(100), "n": np.ones(100)}, units={"m": "USD bn", "n": "share"})
    y = np.zeros(100)
    y[::2] = 1e-3
    b = result({"m": y, "n": 1.0 + y}, units={"m": "USD bn", "n": "share"})
    found = {r.metric: r for r in compare(a, b, stats=("mean",), absolute={"USD bn": 0.01}).rows}
    assert (found["m"].margin, found["m"].verdict) == (0.01, "equivalent")
    assert (found["n"].margin, found["n"].verdict) == (0.01, "equivalent")
    assert compare(a, b, stats=("mean",)).rows[0].verdict == "moved"  # no share of 0 is above 0


# ---- what a sample of the pairs does not show
@pytest.mark.parametrize("noise", [0.0, 1e-9])
@pytest.mark.parametrize("statistic", ["mean", "sd", "p50", "p99", "es99"])
def test_flips_that_the_sample_missed(
    statistic: str, noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve of 40,000 paths differ, none of them sampled. Nothing of it is said to have moved, nor to be equal."""
    rng = np.random.default_rng(11)
    x = rng.standard_exponential(40_000)
    a = result({"m": x}, sample=2000, tail=100)
    left = np.setdiff1d(np.arange(len(x)), a.statistics.sample.paths.astype(int))
    y = x * (1.0 + noise * rng.standard_normal(len(x)))
    y[rng.choice(left, 12, replace=False)] += 4.0
    b = result({"m": y}, sample=2000, tail=100)
    row = only(compare(a, b, stats=(statistic,), margin=0.0))
    assert row.verdict == "unclear"
    if statistic in ("mean", "sd", "es99"):  # the pairs at hand alone would say otherwise
        monkeypatch.setattr(compare_intervals, "_unseen", lambda *_: 0.0)
        assert only(compare(a, b, stats=(statistic,), margin=0.0)).verdict == "moved"


def test_flips_of_an_event_that_the_sample_missed() -> None:
    x = np.zeros(40_000)
    x[:4000] = 1.0
    a = result({"m": x}, sample=2000)
    left = np.setdiff1d(np.arange(4000, len(x)), a.statistics.sample.paths.astype(int))
    y = x.copy()
    y[left[:12]] = 1.0
    assert only(compare(a, result({"m": y}, sample=2000), margin=0.0)).verdict == "unclear"
    # all twelve gained: McNemar's exact p-value is 2^-11, whatever the sample would hold
    assert only(compare(result({"m": x}), result({"m": y}), margin=0.0)).verdict == "moved"


# ---- arithmetic
@pytest.mark.parametrize("rows", [1, 2, 8])
def test_bonferroni_by_scipy(rows: int) -> None:
    """Half-widths are those of a normal at 5 % over the number of rows that differ; equal ones take no share."""
    rng = np.random.default_rng(12)
    x = rng.standard_normal((rows + 1, 30_000))
    y = x + rng.standard_normal((rows + 1, 30_000)) * np.array([0.0, *[1.0] * rows])[:, None]
    names = [f"m{k}" for k in range(rows + 1)]
    a, b = (result(dict(zip(names, v, strict=True))) for v in (x, y))
    c = compare(a, b, stats=("mean",))
    assert c.judged == rows
    for k, row in enumerate(c.rows[1:], start=1):
        se = (y[k] - x[k]).std() / math.sqrt(30_000)
        assert row.half == pytest.approx(stats.norm.ppf(1.0 - 0.025 / rows) * se, rel=0.01)


def test_two_ranks_by_scipy() -> None:
    """Medians of independent runs of evenly spaced values: ranks in the 95 % ellipse, of chi-squared with 2 degrees."""
    x = (np.arange(20_000) + 0.5) / 20_000
    row = only(compare(result({"m": x}), result({"m": x[::-1]}, seed=1), stats=("p50",)))
    wanted = math.sqrt(stats.chi2.ppf(0.95, 2)) * math.sqrt(2.0 * 0.25 / 20_000)
    assert row.high == pytest.approx(wanted, abs=3 / 20_000)
    assert row.low == pytest.approx(-wanted, abs=3 / 20_000)


def test_exact_bounds_by_scipy() -> None:
    for k, n in [(0, 10), (3, 50), (500, 1000), (10, 10), (7, 10**6)]:
        wanted = stats.binomtest(k, n).proportion_ci(0.99, "exact")
        assert lower_share(k, n, 0.005) == pytest.approx(wanted.low, rel=1e-7, abs=1e-15)
        assert upper_share(k, n, 0.005) == pytest.approx(wanted.high, rel=1e-7)


def test_pairs_of_events_by_scipy() -> None:
    """0 is left out exactly where McNemar's exact test would be significant at half the level."""
    for gained in range(0, 40, 3):
        for lost in range(0, 40, 3):
            low, high = paired_shares(gained, lost, 10_000, 0.02)
            p = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
            assert (low > 0.0 or high < 0.0) == (p < 0.01)
            assert low <= (gained - lost) / 10_000 <= high
            assert paired_shares(lost, gained, 10_000, 0.02) == pytest.approx((-high, -low))


def test_probabilities_that_both_runs_counted() -> None:
    x, y = np.random.default_rng(13).standard_normal((2, 4000))
    events = (("m", ">", 1.0), ("m", "<", -2.0))
    a = result({"m": x}, events=events)
    b = result({"m": x + 0.3 * y}, events=(*events, ("m", ">", 9.0)))
    rows = {r.statistic: r for r in compare(a, b, stats=("mean",)).rows}
    assert list(rows) == ["mean", "> 1", "< -2"]
    assert rows["> 1"].a == np.mean(x > 1.0)
    gained = int(np.sum((x + 0.3 * y > 1.0) & (x <= 1.0)))
    lost = int(np.sum((x + 0.3 * y <= 1.0) & (x > 1.0)))
    wanted = paired_shares(gained, lost, 4000, 0.05 / 3)
    assert (rows["> 1"].low, rows["> 1"].high) == pytest.approx(wanted)


# ---- what is asked
def test_globs_and_metrics_of_one_run_only() -> None:
    x = np.random.default_rng(14).standard_normal(500)
    a = result({"book.loss": x, "book.count": x, "old": x})
    b = result({"book.loss": x, "book.count": x + 1.0, "new": x})
    c = compare(a, b, metrics=("book.*",), stats=("mean", "mean", "p50"))
    assert [(r.metric, r.statistic) for r in c.rows] == [
        ("book.loss", "mean"), ("book.loss", "p50"), ("book.count", "mean"), ("book.count", "p50")
    ]  # fmt: skip
    assert (c.only_a, c.only_b) == (["old"], ["new"])
    assert list(c.frame().index.names) == ["metric", "statistic"]


def test_of_a_metric_that_is_0_or_1_only_the_mean() -> None:
    x = np.random.default_rng(15).random(500)
    a, b = result({"m": (x < 0.5) * 1.0}), result({"m": (x < 0.6) * 1.0})
    assert [r.statistic for r in compare(a, b).rows] == ["mean"]


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"margin": -1.0}, "margin = -1.0: should be 0 or above"),
        ({"level": 1.0}, "level = 1.0: should be from 0.5 to below 1"),
        ({"stats": ("skew",)}, "statistic 'skew': should be one with an interval"),
        ({"stats": ("p5x",)}, "statistic 'p5x': should be"),
        ({"stats": ()}, "statistics: none"),
        ({"metrics": ("loss.*",)}, "metric 'loss.*': unknown"),
        ({"absolute": {"USD b": 1.0}}, "margin of 'USD b': no metric has that unit; known are USD"),
        ({"absolute": {"USD": math.nan}}, "margin of 'USD' = nan: should be 0 or above"),
    ],
)
def test_bad_arguments(asked: dict[str, Any], line: str) -> None:
    a = result({"m": np.ones(3)})
    with pytest.raises(ConfigError) as caught:
        compare(a, a, **asked)
    assert caught.value.problems[0].startswith(line)


def test_units_that_differ_and_nothing_in_common() -> None:
    a = result({"m": np.ones(3)}, units={"m": "USD"})
    with pytest.raises(ConfigError, match="m: is in 'USD' in A and in 'EUR' in B"):
        compare(a, result({"m": np.ones(3)}, units={"m": "EUR"}))
    with pytest.raises(ConfigError, match="A and B: have no metric in common"):
        compare(a, result({"n": np.ones(3)}))
    with pytest.raises(ConfigError, match="metrics n: only one of A and B has them"):
        compare(a, result({"m": np.ones(3), "n": np.ones(3)}), metrics=("n",))


@pytest.mark.parametrize("paths", [1, 2, 5, 31])
def test_hardly_any_paths(paths: int) -> None:
    """Nothing breaks, and of other seeds nothing is claimed."""
    rng = np.random.default_rng(16)
    for sample in (EVERY, 1):
        a, b = (result({"m": rng.standard_normal(paths)}, seed=k, sample=sample) for k in (0, 1))
        assert not compare(a, b, stats=("mean", "sd", "p50", "p99", "es99")).having("moved")
    none = result({"m": np.ones(paths)}, bad=np.ones(paths, np.int32))
    assert {r.verdict for r in compare(none, a).rows} == {"unclear"}


# ---- configs
def test_flat_configs() -> None:
    config = {
        "a": 1,
        "b": {"rows": [{"name": "x", "p": 2}, {"name": "y", "p": [1, 2]}], "none": []},
    }
    assert flatten(config) == {"a": 1, "b.rows.x.p": 2, "b.rows.y.p": [1, 2], "b.none": []}


def test_changes_of_how_a_run_was_made(tmp_path: Path) -> None:
    base = load("textbook")
    other = load("textbook", {"private_credit.lgd": 0.6})
    a = simulate(base, 50, backend="numpy")
    b = simulate(other, 60, 3, backend="numpy", dtype="float64", months=6)
    found = {c.key: (c.a, c.b) for c in changes(a, b)}
    assert found == {
        "months": ("12", "6"), "seed": ("0", "3"), "paths": ("50", "60"),
        "dtype": ("'float32'", "'float64'"), "private_credit.lgd": ("0.45", "0.6"),
    }  # fmt: skip
    assert changes(a, simulate(base, 50, backend="numpy")) == []


def test_files_are_compared_by_what_they_hold(tmp_path: Path) -> None:
    """A run's folder calls its book by another name than the scenario does."""
    text = (CONFIGS / "book.csv").read_text()
    for name in ("mine", "same", "less"):
        (tmp_path / f"{name}.csv").write_text(
            text if name != "less" else text.rsplit("\n", 2)[0] + "\n"
        )
    runs = {}
    for name in ("mine", "same", "less"):
        model = load("base", {"private_credit.book": str(tmp_path / f"{name}.csv")})
        runs[name] = result({"m": np.ones(2)}, model=model, config=model.values)
    assert changes(runs["mine"], runs["same"]) == []
    (change,) = changes(runs["mine"], runs["less"])
    assert change.key == "private_credit.book"
    assert "SHA-256" in change.a
    assert change.a != change.b


# ---- the command
def run(*arguments: str, exit_code: int = 0) -> Done:
    done = CliRunner().invoke(command, list(arguments))
    assert done.exit_code == exit_code, done.output
    return done


SMALL = ("--paths", "2000", "--backend", "numpy")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    where = tmp_path_factory.mktemp("runs")
    made: dict[str, Any] = {
        "today": (load("textbook"), 2000, 5),
        "again": (load("textbook"), 2000, 5),
        "worse": (load("textbook", {"private_credit.lgd": 0.6}), 2000, 5),
        "other": (load("textbook"), 2000, 6),
    }
    for name, (scenario, paths, seed) in made.items():
        simulate(scenario, paths, seed, backend="numpy", dtype="float64").save(where / name)
    return {name: str(where / name) for name in made}


def test_two_scenarios(folders: dict[str, str]) -> None:
    assert "12 figures: 12 equal on every path" in run("textbook", "textbook", *SMALL).stdout
    done = run(
        "textbook", "textbook", *SMALL, "--format", "json", "--set", "private_credit.lgd=0.5"
    )
    assert json.loads(done.stdout)["verdicts"] == {
        "moved": 0,
        "unclear": 0,
        "equivalent": 0,
        "equal": 12,
    }


def test_runs(folders: dict[str, str]) -> None:
    run(folders["today"], folders["again"], "--fail-on", "unclear")
    done = run(folders["today"], folders["worse"], exit_code=1)
    assert "private_credit.lgd: 0.45 in A, 0.6 in B" in done.stdout
    assert "all 2,000 paths are paired" in done.stdout
    run(folders["today"], folders["worse"], "--fail-on", "never")
    done = run(folders["today"], folders["other"])
    assert "independent runs, seeds 5 and 6" in done.stdout
    run(folders["today"], folders["other"], "--fail-on", "unclear", exit_code=1)
    run(folders["today"], folders["worse"], "--margin", "100%")
    run(folders["today"], folders["worse"], "--metric", "*.defaults")


def test_a_scenario_beside_a_run(folders: dict[str, str]) -> None:
    """It takes the run's seed, paths, months and dtype unless told otherwise."""
    done = run(folders["today"], "textbook", "--backend", "numpy", "--format", "json")
    found = json.loads(done.stdout)
    for key in ("paths", "seed", "months", "dtype", "digest"):
        assert found["a"][key] == found["b"][key]
    assert found["verdicts"]["equal"] == 12
    assert found["differs"] == []
    done = run("textbook", folders["today"], *SMALL, "--months", "6", "--seed", "5", exit_code=1)
    assert "not of the same length: values after 6 months in A, after 12 in B" in done.stdout


def test_json_has_everything(folders: dict[str, str]) -> None:
    done = run(
        folders["today"], folders["worse"], "--format", "json", "--stats", "mean,es99", exit_code=1
    )
    found = json.loads(done.stdout)
    assert found["judged"] == 4  # the number of defaults is as it was
    assert {r["metric"] for r in found["rows"] if r["verdict"] == "moved"} == {
        "private_credit.loss", "private_credit.loss_share"
    }  # fmt: skip
    row = found["rows"][0]
    assert row["difference"] == row["b"] - row["a"]
    assert row["low"] < row["difference"] < row["high"]
    assert row["b"] == pytest.approx(row["a"] * 0.6 / 0.45)
    assert found["differs"] == [{"key": "private_credit.lgd", "a": "0.45", "b": "0.6"}]


def test_bad_input(folders: dict[str, str], tmp_path: Path) -> None:
    def refused(*arguments: str) -> list[str]:
        done = run(*arguments, exit_code=2)
        assert done.stdout == ""
        return done.stderr.splitlines()

    assert refused(folders["today"], folders["other"], "--paths", "5", "--set", "a=1", "--seed", "1") == [
        f"error: --{o}: is for scenarios; {folders['today']} and {folders['other']} are done" for o in ("paths", "seed", "set")
    ]  # fmt: skip
    assert refused(str(tmp_path), "textbook")[0] == (
        f"error: {tmp_path}: no run lies there; it should be a folder that --out wrote"
    )
    lines = refused("textbook", "textbok", "--margin", "3", "--level", "2", "--stats", "kurtosis")
    assert len(lines) == 4
    assert lines[0] == "error: --margin '3': should be like 1%, or '0.1 USD bn' with a unit"
    assert lines[1].startswith("error: scenario 'textbok': unknown; did you mean 'textbook'?")
    assert refused("textbook", "textbook", "--paths", "0")[0].startswith(
        "error: paths = 0: should be"
    )
    assert refused("textbook", "textbook", "--margin", "1 EUR")[0].startswith(
        "error: margin of 'EUR': no metric has that unit"
    )


# ---- the table
def table(c: Comparison, every: bool = False) -> list[str]:
    screen = Console(file=io.StringIO(), width=100)
    print_comparison(c, every, screen)
    return screen.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def test_the_table_fits_and_shows_what_matters() -> None:
    rng = np.random.default_rng(17)
    x, y = rng.standard_normal((2, 4000))
    values = {
        "a_metric_with_rather_a_long_name_of_its_own": 1e7 + 1e6 * x,
        "flat": np.full(4000, 2.0),
        "calm": 10 + 0.1 * x,
    }
    change = {"flat": 0.0, "calm": 1e-4 * y}
    moved = {k: v + change.get(k, 3e6 + 1e5 * y) for k, v in values.items()}
    c = compare(result(values), result(moved))
    lines = table(c)
    assert max(map(len, lines)) <= 100
    assert sum("moved" in line and "1.3e7" in line for line in lines) >= 2
    assert not any(line.startswith(("flat ", "calm ")) for line in lines)
    whole = table(c, every=True)
    assert sum(line.startswith("flat ") and line.rstrip().endswith("equal") for line in whole) == 4
    assert (
        sum(line.startswith("calm ") and line.rstrip().endswith("equivalent") for line in whole)
        == 4
    )
    assert max(map(len, whole)) <= 100


def test_numbers_of_paths() -> None:
    assert [short(n) for n in (999.0, 2_345.0, 3.12e6, 5e9, 2e13)] == [
        "999",
        "2.3k",
        "3.1M",
        "5G",
        "2e+13",
    ]
