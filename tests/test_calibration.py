"""The fits of docs/calibrate.py: against simulated data and closed forms, and the shipped values against the fits."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from overbuilt.engine.economy.rental import Rental

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))

import calibrate  # noqa: E402
from calibration import build_out, credit, rentals, report, revenue, spreads  # noqa: E402
from calibration import estimators as est  # noqa: E402

sys.path.remove(str(ROOT / "docs"))

needs_data = pytest.mark.skipif(
    not calibrate.DATA.is_dir(),
    reason="the data are not shipped: no folder shared/data beside the repository",
)


@pytest.fixture(scope="module")
def sections() -> list[report.Section]:
    return calibrate.sections(report.Data(calibrate.DATA))


# ---- estimators, on data whose law is known


def simulated_ou(kappa: float, sigma: float, years: int, paths: int, seed: int) -> np.ndarray:
    """Paths x months, stationary from the start."""
    rng = np.random.default_rng(seed)
    keep = np.exp(-kappa / 12)
    stationary = sigma / np.sqrt(2 * kappa)
    x = np.empty((paths, 12 * years + 1))
    x[:, 0] = stationary * rng.standard_normal(paths)
    for i in range(1, x.shape[1]):
        x[:, i] = x[:, i - 1] * keep + stationary * np.sqrt(1 - keep**2) * rng.standard_normal(
            paths
        )
    return 0.7 + x


def test_ou_fit_recovers_what_was_simulated() -> None:
    kappa, sigma, paths = 1.5, 0.18, 400
    found = [est.fit_ou(x, 1 / 12) for x in simulated_ou(kappa, sigma, 40, paths, seed=1)]
    corrected = np.array([f.kappa for f in found])
    # four standard errors of a mean over the paths, so one in 16,000 seeds would fail
    assert abs(corrected.mean() - kappa) < 4 * corrected.std() / np.sqrt(paths)
    # without its correction the estimate is off by about 4/T, many standard errors
    raw = np.array([f.kappa_ml for f in found])
    assert (raw.mean() - kappa) / (raw.std() / np.sqrt(paths)) > 4
    assert np.mean([f.sigma for f in found]) == pytest.approx(sigma, rel=0.01)
    assert np.mean([f.mean for f in found]) == pytest.approx(0.7, abs=0.01)
    # two standard errors cover 95 % of paths; 400 trials lie below 91.5 % once in 10,000
    inside = np.mean([f.interval[0] <= kappa <= f.interval[1] for f in found])
    assert inside > stats.binom.ppf(1e-4, paths, 0.95) / paths


def test_ou_fit_finds_little_reversion_in_a_random_walk() -> None:
    walks = np.cumsum(np.random.default_rng(2).standard_normal((300, 120)), axis=1)
    found = [est.fit_ou(x, 1 / 12) for x in walks]
    assert np.mean([f.kappa_ml for f in found]) > 0.3  # biased up: about 5/T
    assert np.mean([f.interval[0] == 0.0 for f in found]) > 0.8
    assert max(f.half_life for f in found) == np.inf


def test_ou_fit_refuses_alternating_data() -> None:
    with pytest.raises(ValueError, match="autoregression"):
        est.fit_ou(np.array([1.0, -1.0] * 10), 1 / 12)


def test_diffusion_with_uneven_spacing() -> None:
    rng = np.random.default_rng(3)
    years = np.cumsum(rng.uniform(0.01, 0.3, 4000))
    steps = 0.2 * np.diff(years) + 0.35 * np.sqrt(np.diff(years)) * rng.standard_normal(3999)
    fit = est.fit_diffusion(years, np.concatenate([[0.0], np.cumsum(steps)]))
    assert fit.sigma == pytest.approx(0.35, rel=4 / np.sqrt(2 * 3999))  # four standard errors
    assert abs(fit.drift - 0.2) < 4 * fit.drift_error
    assert fit.low < fit.sigma < fit.high


def test_averaging_hides_a_third_of_the_variance() -> None:
    days = np.cumsum(np.random.default_rng(4).standard_normal(21 * 20_000)).reshape(-1, 21)
    true = np.diff(days[:, -1]).var()
    assert true / np.diff(days.mean(axis=1)).var() == pytest.approx(est.AVERAGED, rel=0.03)


def test_a_chain_index_does_not_move_when_a_series_joins_or_leaves() -> None:
    dates = pd.date_range("2025-01-01", periods=6)
    prices = pd.DataFrame(
        {"a": [1.0, 1.1, 1.2, 1.2, 1.2, 1.2], "dear": [np.nan, np.nan, 9.0, 9.0, 9.2, np.nan]},
        index=dates,
    )
    assert est.chain_index(prices).to_list() == pytest.approx([0.0, 0.1, 0.2, 0.2, 0.3, 0.3])


def test_intervals_against_tables() -> None:
    assert est.poisson_interval(1, 1.0) == pytest.approx((0.0253, 5.572), abs=5e-4)
    assert est.poisson_interval(0, 2.0) == pytest.approx((0.0, 3.689 / 2), abs=5e-4)
    low, high = est.volatility_interval(1.0, 10)
    assert (low, high) == pytest.approx((0.6987, 1.7549), abs=5e-4)


def test_within_slope_ignores_levels() -> None:
    t = np.array([0.0, 1.0, 2.0, 5.0, 6.0])
    y = np.array([1.0, 0.9, 0.8, 7.0, 6.9])
    assert est.within_slope(["a", "a", "a", "b", "b"], t, y) == pytest.approx(-0.1)


def test_episodes_and_recovery() -> None:
    dates = list(pd.to_datetime(["2001-01-01", "2001-03-01", "2008-10-01"]))
    assert est.episodes(dates, [-0.3, -0.5, -0.4], 0.5) == [-0.5, -0.4]
    assert est.half_recovery(np.array([0.0, -0.4, -0.8, -0.6, -0.4, -0.9]), within=3) == 2
    assert est.half_recovery(np.array([0.0, -0.8, -0.7]), within=3) == np.inf


# ---- credit and the window


@pytest.mark.parametrize("lgd", [0.4, 0.6])
def test_cds_against_an_integral(lgd: float) -> None:
    hazard, rate = 0.11, 0.035
    density = lambda t: hazard * np.exp(-(hazard + rate) * t)  # noqa: E731
    paid = lgd * integrate.quad(density, 0, 5)[0]
    premium = sum(
        0.25 * np.exp(-(hazard + rate) * (a + 0.25))
        + integrate.quad(lambda t, a=a: (t - a) * density(t), a, a + 0.25)[0]
        for a in np.arange(20) / 4
    )
    spread = credit.par_spread(hazard, lgd, rate)
    assert spread == pytest.approx(paid / premium, rel=1e-9)
    assert credit.flat_hazard(spread, lgd, rate) == pytest.approx(hazard, rel=1e-9)
    assert spread / lgd == pytest.approx(hazard, rel=0.01)  # the credit triangle


def test_yearly_default_rate_varies_as_vasicek_says() -> None:
    rate, rho = 0.0376, 0.06

    def conditional(m: float) -> float:
        return float(stats.norm.cdf((stats.norm.ppf(rate) - np.sqrt(rho) * m) / np.sqrt(1 - rho)))

    second = integrate.quad(lambda m: conditional(m) ** 2 * stats.norm.pdf(m), -9, 9)[0]
    assert credit.year_to_year(rate, rho) == pytest.approx(np.sqrt(second - rate**2), rel=1e-3)


def test_regimes_count_moves_over_time_in_a_state() -> None:
    ratio = np.array([1.0] * 12 + [1.6] * 6 + [2.5] * 3 + [1.6] * 3 + [1.0] * 12)
    found = spreads.regimes(ratio, 1.5, 2.0)
    assert found["tighten"] == pytest.approx(12 / 23)  # one move in 23 months
    assert found["shut"] == found["ease"] == pytest.approx(12 / 9)
    assert found["reopen"] == pytest.approx(12 / 3)
    assert found["share 2"] == pytest.approx(3 / 35)


# ---- the script


def test_a_missing_file_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate.main(["--data", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert re.fullmatch(r"error: \S+\.csv: no such file; .*\n", said.err)


def test_shipped_values_come_from_the_classes() -> None:
    assert report.shipped("rental.reversion") == Rental.fields["reversion"].default_value()
    rows = Rental.fields["generation"].default_value()
    assert report.shipped("rental.generation.blackwell.efficiency") == rows[1]["efficiency"]
    assert report.shipped("shocks.correlation[5][6]") == report.shipped("shocks.correlation[6][5]")


def test_a_page_without_its_table_is_refused() -> None:
    section = report.Section("rental", "", [])
    assert calibrate.with_tables("a <!-- rental --> old <!-- /rental --> b", [section]).endswith(
        "<!-- /rental --> b"
    )
    with pytest.raises(ValueError, match="rental"):
        calibrate.with_tables("no table", [section])


# ---- the shipped values against the fits


@needs_data
def test_each_shipped_value_lies_in_its_range_or_says_why_not(
    sections: list[report.Section],
) -> None:
    fits = [f for s in sections for f in s.fits]
    assert len(fits) > 50
    for f in fits:
        assert f.low <= f.estimate <= f.high, f.parameter
        assert np.isfinite([f.low, f.estimate, f.high]).all(), f.parameter
        assert f.agrees or f.because, "\n".join(f.lines())
    assert sum(not f.agrees for f in fits) <= 6  # exceptions stay exceptions


@needs_data
def test_the_page_holds_the_tables_that_the_script_makes(sections: list[report.Section]) -> None:
    page = calibrate.PAGE.read_text(encoding="utf-8")
    number = r"-?\d+(?:[.,]\d+)*"
    for ours, theirs in zip(
        page.splitlines(), calibrate.with_tables(page, sections).splitlines(), strict=True
    ):
        message = f"python docs/calibrate.py --write renews this row\n{ours}\n{theirs}"
        assert re.sub(number, "#", ours) == re.sub(number, "#", theirs), message
        # optimisers and bootstraps may end in another last digit elsewhere
        a, b = (
            [float(x.replace(",", "")) for x in re.findall(number, row)] for row in (ours, theirs)
        )
        assert a == pytest.approx(b, rel=0.03, abs=0.011), message
    for section in sections:
        for f in section.fits:
            last = f.parameter.rsplit(".", 1)[-1]
            assert f.agrees or f"{last}`" in page.split("## Values outside")[1], f.parameter


@needs_data
def test_figures_that_the_facts_quote(sections: list[report.Section]) -> None:
    notes = "\n".join(note for s in sections for note in s.notes)
    assert "107.95 to 26.19 USD/bbl, ratio 0.243, 20 months" in notes  # fact oil_bust
    assert "ratio 0.221" in notes  # fact dotcom_bust
    assert "12.29 to 6.88 in one step on 2025-06-05, 44 %" in notes  # fact h100_rental_hyperscaler
    fits = {f.parameter: f for s in sections for f in s.fits}
    assert fits["compute.site_cost"].estimate == pytest.approx(32, abs=0.1)  # fact site_cost
    assert (
        fits["rental.generation.hopper.volatility"].low
        < 0.19
        < fits["rental.generation.hopper.volatility"].high
    )


@needs_data
def test_stale_rows_and_averages_are_left_out() -> None:
    data = report.Data(calibrate.DATA)
    stale = rentals.load(data)
    same = stale[stale["source"] == "fsdl"].groupby("key")[rentals.PRICE]
    assert not (same.shift() == stale.loc[stale["source"] == "fsdl", rentals.PRICE]).any()
    openai = revenue.run_rates(data)["OpenAI"]
    assert openai.is_monotonic_increasing
    assert openai["2024-12-31"] == pytest.approx(5.5)  # not the calendar year's 3.7
    stock = build_out.installed(build_out.chips(data))
    assert (stock.diff().dropna() >= 0).all().all()


@needs_data
def test_the_script_prints_every_fit(
    capsys: pytest.CaptureFixture[str], sections: list[report.Section]
) -> None:
    assert calibrate.main([]) == 0
    printed = capsys.readouterr().out
    for f in (f for s in sections for f in s.fits):
        assert f.lines()[0] in printed
    assert "shipped values beside a fit" in printed
