"""The loan book with stress off: the one-factor models of the textbooks, whose laws are known.

Counts of defaults are compared with the exact mixture of binomials by Pearson's chi-square (1900), bins
pooled until each expects at least 20 paths, at level 1e-5: if the engine is right, a test with a fresh seed
fails with probability 1e-5. Means and standard deviations are held to four standard errors, 6.3e-5 a check.
All checks together (about 600) fail by chance in one run in a hundred; the seed is fixed, so a run that
passes keeps passing.

References come from SciPy and plain quadrature here, not from the engine: Vasicek, "Probability of loss on
loan portfolio" (1987), and "Loan portfolio value" (2002); for the Student t copula Demarta and McNeil, "The
t copula and related copulas" (2005); for the frailty Duffie, Eckner, Horel and Saita (2009).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, special, stats

import overbuilt
from overbuilt import DT, Result, Scenario
from overbuilt.kernels import backends

Array = NDArray[np.float64]

SEED = 7_919
LEVEL = 1e-5
STANDARD_ERRORS = 4.0
METHODS = ("order", "each")
COUNT, LOSS = "private_credit.defaults", "private_credit.loss"
NODES = np.linspace(-9.0, 9.0, 3001)
"""Of the common factor. The trapezoid rule on a smooth density that vanishes at both ends converges
exponentially (Trefethen and Weideman 2014)."""


# ---- the references
def binomials(n: int, log_p: Array, log_q: Array) -> Array:
    """P(k of n), a row for each k, a column for each log p and log(1 - p)."""
    k = np.arange(n + 1.0)[:, None]
    ways = special.gammaln(n + 1.0) - special.gammaln(k + 1.0) - special.gammaln(n - k + 1.0)
    # where a probability is 0 its logarithm is kept finite: 0 times it is then 0
    low, high = np.maximum(log_p, -1e30)[None, :], np.maximum(log_q, -1e30)[None, :]
    return np.asarray(np.exp(ways + k * low + (n - k) * high))


def binomial(n: int, p: float) -> Array:
    return binomials(n, np.array([math.log(p)]), np.array([math.log1p(-p)]))[:, 0]


def threshold_mixture(n: int, bounds: Array, weight: Array) -> Array:
    """P(k of n) when each loan defaults with probability Phi(a), a among ``bounds``."""
    cells = binomials(n, special.log_ndtr(bounds), special.log_ndtr(-bounds))
    return np.asarray(cells @ (weight / weight.sum()))


@cache
def gaussian_counts(n: int, p: float, rho: float) -> Array:
    """Vasicek (1987): Z < (c - sqrt(rho) M) / sqrt(1 - rho), c = Phi^-1(p)."""
    nodes = (special.ndtri(p) - math.sqrt(rho) * NODES) / math.sqrt(1.0 - rho)
    return threshold_mixture(n, nodes, stats.norm.pdf(NODES))


@cache
def student_counts(n: int, p: float, rho: float, nu: float) -> Array:
    """Z < (c S - sqrt(rho) M) / sqrt(1 - rho), c = T^-1(p), S = sqrt(W / nu), W chi-square.

    Two trapezoid rules, over log W and over the bound, whose density is a mixture of normals.
    """
    c = stats.t.ppf(p, nu)
    log_w = np.linspace(math.log(nu) - 36.0 / nu - 8.0, math.log(nu) + 4.0, 1501)
    weight = stats.chi2.pdf(np.exp(log_w), nu) * np.exp(log_w)
    weight /= weight.sum()
    scaled = c * np.exp(0.5 * log_w) / math.sqrt(nu)
    if rho == 0.0:
        return threshold_mixture(n, scaled, weight)
    low, high = scaled.min() - 9.0 * math.sqrt(rho), scaled.max() + 9.0 * math.sqrt(rho)
    nodes = np.linspace(max(low, -40.0), min(high, 40.0), 4001)
    density = np.zeros_like(nodes)
    for s, w in zip(scaled, weight, strict=True):
        if w > 1e-18:
            density += w * np.exp(-0.5 * (nodes - s) ** 2 / rho)
    return threshold_mixture(n, nodes / math.sqrt(1.0 - rho), density)


def frailty_counts(n: int, hazard: Array, weight: Array) -> Array:
    """P(k of n) when each loan defaults with probability 1 - exp(-hazard)."""
    cells = binomials(n, np.log(-np.expm1(-hazard)), -hazard)
    return np.asarray(cells @ (weight / weight.sum()))


# ---- running
@cache
def scenario(months: int = 12, **values: Any) -> Scenario:
    changed = {f"private_credit.{k}": v for k, v in values.items()}
    return overbuilt.load("textbook", {"months": months, **changed})


def run(
    model: Scenario, paths: int, dtype: str = "float32", seed: int = SEED, backend: str = "native"
) -> Result:
    found = backends.status(backend)
    if not found.works:
        pytest.skip(found.why)
    result = overbuilt.simulate(model, paths, seed, backend, dtype)
    assert result.bad_count == 0
    return result


def column(result: Result, metric: str) -> Array:
    return result.paths([metric])[metric].to_numpy(np.float64)


def counts_of(
    model: Scenario, paths: int, dtype: str = "float32", backend: str = "native"
) -> NDArray[np.int64]:
    """How many paths had k defaults, for each k."""
    got = column(run(model, paths, dtype, backend=backend), COUNT)
    assert np.array_equal(got, np.floor(got))
    return np.bincount(got.astype(np.int64))


# ---- comparing
def pooled(expected: Array, least: float = 20.0) -> NDArray[np.int64]:
    """The first cell of each bin: neighbours pooled until each bin expects enough."""
    firsts, held = [0], 0.0
    for k, e in enumerate(expected):
        if held >= least:
            firsts.append(k)
            held = 0.0
        held += e
    if held < least and len(firsts) > 1:
        firsts.pop()
    return np.array(firsts)


def assert_law(counted: NDArray[np.int64], law: Array) -> None:
    """Counts by k against P(k): chi-square, mean and standard deviation."""
    assert law.sum() == pytest.approx(1.0, abs=1e-9)
    paths = int(counted.sum())
    assert len(counted) <= len(law)
    seen = np.zeros(len(law))
    seen[: len(counted)] = counted
    firsts = pooled(paths * law)
    if len(firsts) > 1:
        got, want = np.add.reduceat(seen, firsts), np.add.reduceat(paths * law, firsts)
        chi = float(((got - want) ** 2 / want).sum())
        assert stats.chi2.sf(chi, len(firsts) - 1) > LEVEL, (chi, len(firsts))
    k = np.arange(len(law))
    mean = float(law @ k)
    spread = math.sqrt(law @ (k - mean) ** 2)
    got_mean = float(seen @ k) / paths
    got_square = float(seen @ (k - mean) ** 2) / paths
    assert abs(got_mean - mean) < STANDARD_ERRORS * spread / math.sqrt(paths), (got_mean, mean)
    fourth = float(law @ (k - mean) ** 4)
    assert abs(got_square - spread**2) < STANDARD_ERRORS * math.sqrt((fourth - spread**4) / paths)


def assert_same_law(a: NDArray[np.int64], b: NDArray[np.int64]) -> None:
    """Two independent samples of one law: the chi-square of homogeneity."""
    table = np.zeros((2, max(len(a), len(b))))
    table[0, : len(a)], table[1, : len(b)] = a, b
    firsts = pooled(table.sum(axis=0), 40.0)
    found = stats.chi2_contingency(np.add.reduceat(table, firsts, axis=1), correction=False)
    assert found.pvalue > LEVEL, found


def assert_uniform(counted: NDArray[np.int64]) -> None:
    assert stats.chisquare(counted).pvalue > LEVEL, counted


# ---- the Gaussian copula
GAUSSIAN = (
    (1, 0.02, 0.12),
    (1, 0.40, 0.0),
    (10, 0.001, 0.24),
    (10, 0.02, 0.0),
    (10, 0.20, 0.50),
    (100, 0.001, 0.05),
    (100, 0.02, 0.0),
    (100, 0.02, 0.12),
    (100, 0.05, 0.90),
    (400, 0.005, 0.24),
    (400, 0.02, 0.12),
    (400, 0.02, 0.0),
    (400, 0.10, 0.05),
)


def paths_for(n: int, method: str) -> int:
    """A uniform for each loan costs more than order statistics."""
    if method == "order" or n < 100:
        return 400_000 if n < 400 else 150_000
    return 60_000 if n < 400 else 20_000


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n", "pd", "rho"), GAUSSIAN)
def test_gaussian_counts(n: int, pd: float, rho: float, method: str) -> None:
    model = scenario(loans=n, pd=pd, rho=rho, method=method)
    assert_law(counts_of(model, paths_for(n, method)), gaussian_counts(n, pd, rho))


@pytest.mark.parametrize("method", METHODS)
def test_gaussian_counts_float64(method: str) -> None:
    model = scenario(loans=50, pd=0.02, rho=0.12, method=method)
    assert_law(counts_of(model, 100_000, "float64"), gaussian_counts(50, 0.02, 0.12))


@pytest.mark.parametrize("n", [64, 65, 128])
@pytest.mark.parametrize("method", METHODS)
def test_cut_groups(n: int, method: str) -> None:
    """Groups hold at most 64 loans; larger ones are cut, which the law does not show."""
    model = scenario(loans=n, pd=0.10, rho=0.20, method=method)
    assert_law(counts_of(model, 60_000), gaussian_counts(n, 0.10, 0.20))


@pytest.mark.parametrize("n", [10, 65])
def test_nearly_all_default(n: int) -> None:
    """Every victim of a group is drawn once: the count reaches n and stops there."""
    for method in METHODS:
        model = scenario(60, loans=n, pd=0.90, rho=0.10, method=method)
        counted = counts_of(model, 40_000)
        assert len(counted) == n + 1
        assert_law(counted, gaussian_counts(n, 1.0 - 0.1**5, 0.10))


@pytest.mark.parametrize("copula", ["gaussian", "student_t"])
def test_both_methods_have_one_law(copula: str) -> None:
    models = [scenario(loans=50, pd=0.05, rho=0.2, copula=copula, method=m) for m in METHODS]
    assert_same_law(counts_of(models[0], 100_000), counts_of(models[1], 100_000))


@pytest.mark.parametrize("method", METHODS)
def test_reference_backend(method: str) -> None:
    """NumPy; that the other backends agree with it path by path is tested elsewhere."""
    model = scenario(loans=10, pd=0.05, rho=0.2, method=method)
    assert_law(counts_of(model, 20_000, backend="numpy"), gaussian_counts(10, 0.05, 0.2))


# ---- the Student t copula
STUDENT = (
    (10, 0.02, 0.12, 3.0),
    (100, 0.02, 0.12, 3.0),
    (100, 0.001, 0.12, 3.0),
    (100, 0.02, 0.0, 3.0),
    (1, 0.05, 0.3, 8.0),
    (100, 0.02, 0.12, 8.0),
    (100, 0.10, 0.30, 8.0),
    (100, 0.02, 0.12, 30.0),
    (100, 0.005, 0.05, 30.0),
    (50, 0.02, 0.12, 2.0),
    (50, 0.02, 0.12, 200.0),
)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n", "pd", "rho", "nu"), STUDENT)
def test_student_counts(n: int, pd: float, rho: float, nu: float, method: str) -> None:
    model = scenario(loans=n, pd=pd, rho=rho, nu=nu, copula="student_t", method=method)
    paths = paths_for(n, method)
    assert_law(counts_of(model, paths), student_counts(n, pd, rho, nu))


def test_references_agree() -> None:
    """The references against each other: t tends to the Gaussian, and all have mean n p."""
    far = student_counts(50, 0.02, 0.12, 1e5)
    assert np.abs(far - gaussian_counts(50, 0.02, 0.12)).max() < 1e-4
    for n, pd, rho in GAUSSIAN:
        law = gaussian_counts(n, pd, rho)
        assert law @ np.arange(n + 1) == pytest.approx(n * pd, rel=1e-9)
    for n, pd, rho, nu in STUDENT:
        law = student_counts(n, pd, rho, nu)
        assert law @ np.arange(n + 1) == pytest.approx(n * pd, rel=1e-6)
    by_quad, _ = integrate.quad(
        lambda m: stats.binom.pmf(3, 100, special.ndtr((special.ndtri(0.02) - 0.6 * m) / 0.8)) * stats.norm.pdf(m),
        -9.0, 9.0, epsabs=1e-13, limit=200,
    )  # fmt: skip
    assert gaussian_counts(100, 0.02, 0.36)[3] == pytest.approx(by_quad, rel=1e-9)


# ---- the frailty
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n", "pd"), [(10, 0.2), (100, 0.02)])
def test_frailty_without_volatility_is_independence(n: int, pd: float, method: str) -> None:
    """A binomial, whatever rho is: under a frailty, given the path, loans are independent."""
    model = scenario(
        loans=n, pd=pd, rho=0.3, copula="frailty", frailty_volatility=0.0, method=method
    )
    assert_law(counts_of(model, 100_000), binomial(n, pd))


@pytest.mark.parametrize("method", METHODS)
def test_frailty_of_three_months(method: str) -> None:
    """Gauss-Hermite quadrature over the three months' log hazards, 48 nodes each."""
    reversion, volatility, pd, n = 0.8, 2.0, 0.5, 40
    model = scenario(
        3,
        loans=n,
        pd=pd,
        copula="frailty",
        frailty_reversion=reversion,
        frailty_volatility=volatility,
        method=method,
    )
    nodes, weights = np.polynomial.hermite_e.hermegauss(48)
    z = np.stack([g.ravel() for g in np.meshgrid(nodes, nodes, nodes)])
    weight = np.prod([g.ravel() for g in np.meshgrid(weights, weights, weights)], axis=0)
    keep = z[:0].sum(axis=0)
    total = np.zeros_like(weight)
    x, variance = keep, 0.0
    decay = math.exp(-reversion * DT)
    for month in range(3):
        fresh = volatility**2 * (1.0 - decay**2) / (2.0 * reversion)
        x = decay * x + math.sqrt(fresh) * z[month]
        variance = decay**2 * variance + fresh
        total += np.exp(x - 0.5 * variance) * DT
    heavy = weight > 1e-14
    law = frailty_counts(n, -math.log1p(-pd) * total[heavy], weight[heavy])
    assert_law(counts_of(model, 200_000), law)


@pytest.mark.parametrize("method", METHODS)
def test_frailty_of_five_years(method: str) -> None:
    """A simulation of its own for the hazard, exact binomials given it.

    The reference averages 50,000 conditional laws, so its own error adds to the sampling error; both are
    in the standard errors that each bin is held to (Bonferroni over the bins at level 1e-5).
    """
    reversion, volatility, pd, n, months = 0.5, 0.8, 0.03, 30, 60
    model = scenario(
        months, loans=n, pd=pd, copula="frailty", frailty_reversion=reversion, frailty_volatility=volatility,
        method=method,
    )  # fmt: skip
    rng = np.random.default_rng(11)
    decay = math.exp(-reversion * DT)
    fresh = volatility**2 * (1.0 - decay**2) / (2.0 * reversion)
    x, total = np.zeros(50_000), np.zeros(50_000)
    for month in range(1, months + 1):
        x = decay * x + math.sqrt(fresh) * rng.standard_normal(len(x))
        variance = (
            volatility**2 * (1.0 - math.exp(-2.0 * reversion * month * DT)) / (2.0 * reversion)
        )
        total += np.exp(x - 0.5 * variance) * DT
    hazard = -math.log1p(-pd) * total
    each = binomials(n, np.log(-np.expm1(-hazard)), -hazard)
    law, error = each.mean(axis=1), each.std(axis=1) / math.sqrt(len(x))
    paths = 200_000
    got = np.zeros(n + 1)
    counted = counts_of(model, paths)
    got[: len(counted)] = counted / paths
    wide = law * paths >= 20
    spread = np.sqrt(law * (1.0 - law) / paths + error**2)
    limit = stats.norm.isf(LEVEL / 2 / wide.sum())
    assert np.all(np.abs(got - law)[wide] < limit * spread[wide])


# ---- many periods
@pytest.mark.parametrize("copula", ["gaussian", "student_t", "frailty"])
@pytest.mark.parametrize("method", METHODS)
def test_defaults_by_month(copula: str, method: str) -> None:
    """E defaults by t is n p(t), p(t) = 1 - (1 - pd)^t: flat hazards, any copula, each month at 4 SE
    (the Student t, each twelfth).

    The series describe the first 16,384 paths. The frailty keeps E hazard, so only without volatility
    does it keep p(t).
    """
    n, pd, rho = 40, 0.05, 0.15
    model = scenario(
        60, loans=n, pd=pd, rho=rho, copula=copula, frailty_volatility=0.0, method=method
    )
    table = run(model, 16_384).series(COUNT)
    assert list(table.index) == list(range(1, 61))
    for month, mean in enumerate(table["mean"], start=1):
        p = 1.0 - (1.0 - pd) ** (month * DT)
        if copula == "gaussian":
            law = gaussian_counts(n, p, rho)
        elif copula == "frailty":
            law = binomial(n, p)
        elif month % 12 == 0:
            law = student_counts(n, p, rho, 8.0)
        else:  # its reference takes long
            continue
        variance = float(law @ (np.arange(n + 1) - n * p) ** 2)
        assert abs(mean - n * p) < STANDARD_ERRORS * math.sqrt(variance / 16_384), month


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("months", [1, 60])
def test_gaussian_counts_at_other_horizons(months: int, method: str) -> None:
    model = scenario(months, loans=30, pd=0.05, rho=0.2, method=method)
    p = 1.0 - 0.95 ** (months * DT)
    assert_law(counts_of(model, 100_000), gaussian_counts(30, p, 0.2))


# ---- the loss
def test_loss_is_a_multiple_of_the_count() -> None:
    model = scenario(loans=40, pd=0.05, lgd=0.45, exposure=80.0)
    table = run(model, 50_000, "float64").paths([COUNT, LOSS, "private_credit.loss_share"])
    assert np.allclose(table[LOSS], table[COUNT] * 2.0 * 0.45, rtol=1e-12)
    assert np.allclose(table["private_credit.loss_share"], table[LOSS] / 80.0, rtol=1e-12)


def test_large_book_quantile_is_the_basel_formula() -> None:
    """20,000 loans: the 99.9 % quantile of loss against Vasicek (2002), as in Basel II (2004).

    The formula must lie between the order statistics that hold the quantile with a certainty of
    1 - 6.3e-5. What a finite book adds to it (the granularity adjustment of Gordy 2003, below 0.1 % of
    the quantile here) is far inside those bounds; the same holds at the 99 % quantile.
    """
    n, pd, rho, lgd, paths = 20_000, 0.02, 0.12, 0.45, 40_000
    model = scenario(loans=n, pd=pd, rho=rho, lgd=lgd, exposure=1.0)
    result = run(model, paths)
    loss = np.sort(column(result, LOSS))
    for level, told in ((0.999, "p999"), (0.99, "p99")):
        factor = special.ndtri(level)
        want = lgd * special.ndtr(
            (special.ndtri(pd) + math.sqrt(rho) * factor) / math.sqrt(1.0 - rho)
        )
        low, high = (int(stats.binom.ppf(q, paths, level)) for q in (3.17e-5, 1.0 - 3.17e-5))
        assert loss[low - 1] <= want <= loss[high], (level, loss[low - 1], want, loss[high])
        assert loss[low - 1] <= result.metrics[LOSS][told] <= loss[high]
    mean, error = result.metrics[LOSS]["mean"], result.metrics[LOSS]["se"]
    assert abs(mean - pd * lgd) < STANDARD_ERRORS * error


# ---- books of one's own
COLUMNS = (
    "loan", "sector", "rating", "exposure_usd_bn", "pd_1y", "rho_residual", "lgd", "beta_rental",
    "beta_spread", "beta_window", "beta_displacement", "start_month", "end_month", "loss_computed_by",
)  # fmt: skip


def loan(name: str, exposure: float = 1.0, **changed: Any) -> dict[str, Any]:
    plain = {
        "loan": name, "sector": "any", "rating": "ANY", "exposure_usd_bn": exposure, "pd_1y": 0.05,
        "rho_residual": 0.15, "lgd": 1.0, "beta_rental": 0.0, "beta_spread": 0.0, "beta_window": 0.0,
        "beta_displacement": 0.0, "start_month": 0, "end_month": 600, "loss_computed_by": "private_credit",
    }  # fmt: skip
    return plain | changed


def book(
    folder: Path, loans: Iterable[dict[str, Any]], months: int = 12, **values: Any
) -> Scenario:
    """The textbook with loans from a file."""
    folder.mkdir(exist_ok=True)
    with (folder / "loans.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(loans)
    config = folder / "own.toml"
    config.write_text(
        'extends = "textbook"\n[private_credit]\nbook = "loans.csv"\n', encoding="utf-8"
    )
    changed = {f"private_credit.{k}": v for k, v in values.items()}
    return overbuilt.load(config, {"months": months, **changed})


def decoded(losses: Array, exposures: Sequence[float]) -> NDArray[np.bool_]:
    """Which loans defaulted, (paths, loans): exposures are powers of two times the least one."""
    unit = min(exposures)
    places = np.log2(np.array(exposures) / unit).astype(np.int64)
    sums = losses / unit
    assert np.array_equal(sums, np.floor(sums))
    return ((sums.astype(np.int64)[:, None] >> places[None, :]) & 1).astype(bool)


@pytest.mark.parametrize("method", METHODS)
def test_victims_are_uniform(tmp_path: Path, method: str) -> None:
    """Given how many default, each set of loans of a group is equally likely: all ones, twos, threes."""
    model = book(tmp_path, [loan(f"x{i}", 2.0**i) for i in range(8)], 60, method=method)
    table = run(model, 200_000).paths([LOSS, COUNT])
    sets = table[LOSS].to_numpy().astype(np.int64)
    sizes = np.bitwise_count(sets.astype(np.uint64))
    assert np.array_equal(sizes, table[COUNT])
    counted = np.bincount(sets, minlength=256)
    by_size = np.bitwise_count(np.arange(256, dtype=np.uint64))
    for size in range(1, 8):
        assert_uniform(counted[by_size == size])
    assert_law(np.bincount(sizes), gaussian_counts(8, 1.0 - 0.95**5, 0.15))


@pytest.mark.parametrize("method", METHODS)
def test_victims_of_a_large_group_are_uniform(tmp_path: Path, method: str) -> None:
    """50 loans, past the first word of 32 bits; 50 powers of two still add up exactly in float64."""
    exposures = [2.0 ** (i - 30) for i in range(50)]
    model = book(tmp_path, [loan(f"x{i}", e) for i, e in enumerate(exposures)], 60, method=method)
    table = run(model, 30_000, "float64").paths([LOSS, COUNT])
    gone = decoded(table[LOSS].to_numpy(), exposures)
    assert np.array_equal(gone.sum(axis=1), table[COUNT])
    one = gone[gone.sum(axis=1) == 1]
    assert_uniform(one.sum(axis=0))
    many = gone[gone.sum(axis=1) >= 2]
    # victims without replacement: by loan, the number of times is a sum of hypergeometric draws
    share = many.sum(axis=1) / 50.0
    spread = math.sqrt(float((share * (1.0 - share)).sum()))
    assert np.all(np.abs(many.sum(axis=0) - share.sum()) < 5.0 * spread)  # 50 checks, 2.9e-5 in all


def test_adding_a_loan_leaves_the_others_alone(tmp_path: Path) -> None:
    """With a uniform for each loan: more loans, another order, other groups, the same defaults."""
    names = [f"old{i}" for i in range(6)]
    old = [loan(name, 2.0**i, pd_1y=(0.05, 0.2)[i % 2]) for i, name in enumerate(names)]
    new = [
        loan("aaa", 2.0**6, pd_1y=0.05),
        *reversed(old),
        loan("new", 2.0**7, pd_1y=0.2),
        loan("other", 2.0**8, pd_1y=0.4, rho_residual=0.3),
        loan("later", 2.0**9, pd_1y=0.05, start_month=7),
    ]
    for copula in ("gaussian", "student_t"):
        a = run(book(tmp_path / "a", old, 60, method="each", copula=copula), 20_000)
        b = run(book(tmp_path / "b", new, 60, method="each", copula=copula), 20_000)
        before = column(a, LOSS).astype(np.int64)
        after = column(b, LOSS).astype(np.int64)
        assert np.array_equal(before, after & 63), copula
        for bit in (6, 7, 8, 9):
            assert (after >> bit & 1).any()


def joint(p: Array, rho: Array) -> Array:
    """P(i and j default) for i != j, by the trapezoid rule over the common factor."""
    a = special.ndtri(p)[:, None] - np.sqrt(rho)[:, None] * NODES
    conditional = special.ndtr(a / np.sqrt(1.0 - rho)[:, None])
    weight = stats.norm.pdf(NODES)
    return np.asarray((conditional * (weight / weight.sum())) @ conditional.T)


@pytest.mark.parametrize("method", METHODS)
def test_heterogeneous_book(tmp_path: Path, method: str) -> None:
    """E loss is the sum of exposure LGD pd, and its variance that of correlated Bernoulli variables."""
    rng = np.random.default_rng(3)
    loans = [
        loan(
            f"L{i}", round(float(rng.lognormal(0.0, 1.0)), 3), pd_1y=float(rng.choice([0.003, 0.02, 0.1])),
            rho_residual=float(rng.choice([0.0, 0.1, 0.4])), lgd=float(rng.choice([0.2, 0.45, 1.0])),
            sector=str(rng.choice(["any", "software", "neocloud_gpu"])), rating=str(rng.choice(["ANY", "BB"])),
        )
        for i in range(60)
    ]  # fmt: skip
    p, rho, weight = (
        np.array([float(x[k]) for x in loans]) for k in ("pd_1y", "rho_residual", "lgd")
    )
    weight = weight * np.array([x["exposure_usd_bn"] for x in loans])
    both = joint(p, rho)
    np.fill_diagonal(both, p)
    mean = float(weight @ p)
    variance = float(weight @ (both - np.outer(p, p)) @ weight)
    losses = column(run(book(tmp_path, loans, method=method), 300_000), LOSS)
    assert abs(losses.mean() - mean) < STANDARD_ERRORS * math.sqrt(variance / len(losses))
    off = losses - mean
    error = math.sqrt(float((off**4).mean() - variance**2) / len(losses))
    assert abs(float((off**2).mean()) - variance) < STANDARD_ERRORS * error


def assert_each_loan(gone: NDArray[np.bool_], chances: Sequence[float]) -> None:
    """How often each loan defaulted, at four standard errors."""
    for i, p in enumerate(chances):
        if p == 0.0:
            assert not gone[:, i].any()
        else:
            error = math.sqrt(p * (1.0 - p) / len(gone))
            assert abs(gone[:, i].mean() - p) < STANDARD_ERRORS * error, (i, p)


COPULAS = ("gaussian", "student_t", "frailty")


@pytest.mark.parametrize("copula", COPULAS)
@pytest.mark.parametrize("method", METHODS)
def test_matured_loans_lose_nothing(tmp_path: Path, method: str, copula: str) -> None:
    """A loan that ends in month e defaults with probability p(e), whenever the run ends."""
    ends = (6, 6, 24, 24, 35, 36, 37, 60)
    loans = [loan(f"x{i}", 2.0**i, pd_1y=0.1, end_month=e) for i, e in enumerate(ends)]
    model = book(tmp_path, loans, 36, method=method, copula=copula, frailty_volatility=0.0)
    table = run(model, 200_000).paths([LOSS, COUNT])
    gone = decoded(table[LOSS].to_numpy(np.float64), [2.0**i for i in range(8)])
    assert np.array_equal(gone.sum(axis=1), table[COUNT])
    assert_each_loan(gone, [1.0 - 0.9 ** (min(e, 36) * DT) for e in ends])


@pytest.mark.parametrize(
    ("method", "copula"), [*(("order", c) for c in COPULAS), ("each", "gaussian")]
)
def test_hazard_counts_from_the_start(tmp_path: Path, method: str, copula: str) -> None:
    """A loan that starts with month s has defaulted by t with probability p(t - s), and so by its end."""
    terms = ((0, 60), (0, 20), (1, 60), (12, 60), (12, 30), (12, 60), (35, 60), (36, 60), (50, 60))
    loans = [
        loan(f"x{i}", 2.0**i, pd_1y=0.2, start_month=s, end_month=e)
        for i, (s, e) in enumerate(terms)
    ]
    model = book(tmp_path, loans, 36, method=method, copula=copula, frailty_volatility=0.0)
    result = run(model, 200_000)
    gone = decoded(column(result, LOSS), [2.0**i for i in range(len(terms))])
    assert_each_loan(gone, [1.0 - 0.8 ** (max(min(e, 36) - s, 0) * DT) for s, e in terms])


@pytest.mark.parametrize("method", METHODS)
def test_starts_by_month(tmp_path: Path, method: str) -> None:
    """By month: no default of a loan before it starts, and p(t - s) after, many groups at once."""
    starts = [0] * 3 + [5] * 40 + [6] * 40 + [18] * 70
    loans = [
        loan(f"x{i}", pd_1y=0.3, rho_residual=0.0, start_month=s) for i, s in enumerate(starts)
    ]
    table = run(book(tmp_path, loans, 24, method=method), 16_384).series(COUNT)
    for month, mean in enumerate(table["mean"], start=1):
        age = np.maximum(month - np.array(starts), 0)
        p = 1.0 - 0.7 ** (age * DT)
        error = math.sqrt(float((p * (1.0 - p)).sum()) / 16_384)
        assert abs(mean - p.sum()) < STANDARD_ERRORS * error, month


@pytest.mark.parametrize("method", METHODS)
def test_many_groups_at_once(tmp_path: Path, method: str) -> None:
    """70 groups, more than two words of crossed bits: independent loans, a Poisson binomial count."""
    chances = [0.01 + 0.002 * i for i in range(70)]
    loans = [loan(f"x{i}", pd_1y=p, rho_residual=0.0) for i, p in enumerate(chances)]
    law = np.ones(1)
    for p in chances:
        law = np.convolve(law, [1.0 - p, p])
    assert_law(counts_of(book(tmp_path, loans, method=method), 100_000), law)
