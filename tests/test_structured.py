"""Structured finance: tranches against binomial mixtures, waterfalls to the cent, leases against hand computation.

Sampled means are held to four standard errors: if the engine is right, a check with a fresh seed fails with
probability 6.3e-5. The 55 checks make that one run in three hundred; the seed is fixed, so a run that passes
keeps passing. References use SciPy and plain sums here, not the engine's formulas.
"""

from __future__ import annotations

import itertools
import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special, stats

from overbuilt import ConfigError, Result, System, output, parameter, setting, simulate
from overbuilt.engine.economy.annuity import annuity, level_payment, outstanding
from overbuilt.engine.economy.leased_site import guarantee_due, leaves, site_value
from overbuilt.engine.economy.structured import Structured
from overbuilt.engine.economy.waterfall import Payments, tranche_loss, waterfall
from overbuilt.engine.simulate import plan
from overbuilt.engine.system import Economy, Row, rows
from overbuilt.kernels import backends

Array = NDArray[np.float64]

SEED = 5_077
STANDARD_ERRORS = 4.0
SPONSORS = ("meta", "xai", "oracle", "coreweave", "alphabet")


# ---- systems that stand in for the ones above and below: constants, and noise where asked for
class Compute(System):
    utilisation = parameter(0.0, "share", "assumption: a test; 0: as at the start")
    noise = parameter(0.0, "share", "assumption: a test")

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        tight0 = 1.5
        start = xp.exp(-0.125 * xp.log(1.0 + xp.exp(-8.0 * xp.log(tight0))))
        used = xp.where(self.utilisation > 0.0, self.utilisation, start)
        return {"tight0": tight0, "utilisation": used + self.noise * draw.uniform("used")}


class Rental(System):
    log_per_kw = parameter(0.0, "log", "assumption: a test")
    later = parameter(0.0, "log", "assumption: a test; from month 40 on")
    shortfall = parameter(0.0, "log", "assumption: a test")
    noise = parameter(0.0, "log", "assumption: a test")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"walk": 0.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        walk = s.walk + self.noise * draw.normal("walk")
        level = xp.where(up.month < 40, self.log_per_kw, self.later)
        return {"walk": walk, "log_per_kw": level + walk, "shortfall": self.shortfall - walk}


class Firm(Row):
    name = setting("", "a firm")


class Firms(System):
    firm = rows(Firm, [{"name": f} for f in SPONSORS], "a test")
    month = parameter(0.0, "month", "assumption: a test; when meta and coreweave default")
    rate = parameter(0.0, "probability", "assumption: a test; default of each firm in a month")

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        u = draw.uniform("default", len(SPONSORS))
        fixed = xp.abs(xp.to_real(up.month) - self.month) < 0.5
        out: dict[str, Any] = {"take_or_pay": 30.0, "reported_debt": 400.0}
        for i, f in enumerate(SPONSORS):
            forced = fixed if f in ("meta", "coreweave") else u[i] < 0.0
            out[f"defaults_now_{f}"] = xp.where(forced | (u[i] < self.rate), 1.0, 0.0)
        return out


class PrivateCredit(System):
    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"factor": draw.normal("factor")}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        return {"factor": s.factor}


class Funding(System):
    log_spread = parameter(0.0, "log", "assumption: a test")
    noise = parameter(0.0, "log", "assumption: a test")

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        shut = draw.uniform("window") < 0.2 * xp.minimum(self.noise, 1.0)
        spread = self.log_spread + self.noise * draw.normal("spread")
        return {"log_spread": spread, "window": xp.where(shut, 2.0, 0.0)}


def economy(
    structured: Structured, watch: bool = False, months: int = 60, **values: dict[str, float]
) -> Economy:
    kinds: dict[str, type[System]] = {
        "compute": Compute,
        "rental": Rental,
        "firms": Firms,
        "private_credit": PrivateCredit,
        "funding": Funding,
    }
    others = [kind(**values.get(name, {})) for name, kind in kinds.items()]
    return Economy(*others, structured, *([Watch()] if watch else []), months=months)


NOISY = {
    "compute": {"noise": 0.03},
    "rental": {"noise": 0.12},
    "firms": {"rate": 0.004},
    "funding": {"noise": 0.4},
}


class Watch(System):
    """Per path, the worst breach so far of each identity, USD bn; of the shipped pools and tranches."""

    cash = output("USD bn", "collected against paid")
    balances = output("USD bn", "pool against the sum of its tranches")
    losses = output("USD bn", "pool loss against write-downs by tranche")
    negative = output("USD bn", "a balance, arrears or cumulative loss below zero or falling")
    guarantees = output("USD bn", "guarantees by sponsor against their total")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        zero = dict.fromkeys((*self.outputs(), "abs_loss", "spv_loss", "called"), 0.0)
        return zero

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        u = up.structured
        model = Structured()
        new: dict[str, Any] = {k: getattr(s, k) for k in self.outputs()}

        def worst(name: str, breach: Any) -> None:
            new[name] = xp.maximum(new[name], breach)

        worst("cash", xp.abs(u.collected - u.paid))
        for p in model.pool:
            mine = [t for t in model.tranche if t.pool == p.name]
            total = sum(getattr(u, f"balance_{t.name}") for t in mine)
            worst("balances", xp.abs(total - getattr(u, f"balance_{p.name}")))
            size = {t.name: p.notional * (t.detach - t.attach) for t in mine}
            lost = sum(getattr(u, f"writedown_{t.name}") * size[t.name] for t in mine)
            worst("losses", xp.abs(lost - getattr(u, f"loss_{p.name}")))
            for t in mine:
                left = size[t.name] * (1.0 - getattr(u, f"writedown_{t.name}"))
                balance = getattr(u, f"balance_{t.name}")
                worst("losses", balance - left)
                worst("negative", xp.maximum(-balance, -getattr(u, f"owed_{t.name}")))
        worst("negative", xp.maximum(s.abs_loss - u.abs_loss, s.spv_loss - u.spv_loss))
        called = s.called + sum(
            getattr(u, f"guarantee_{f}") for f in ("meta", "oracle", "coreweave", "alphabet")
        )
        worst("guarantees", xp.abs(called - u.guarantees_paid))
        return new | {"abs_loss": u.abs_loss, "spv_loss": u.spv_loss, "called": called}


def run(model: Economy | Structured, paths: int, backend: str, dtype: str = "float64") -> Result:
    found = backends.status(backend)
    if not found.works:
        pytest.skip(found.why)
    whole = model if isinstance(model, Economy) else Economy(model, name="structured")
    whole.metrics = tuple(whole.reported)  # those that claims alone read are checked, too
    result = simulate(whole, paths, SEED, backend, dtype)
    assert result.bad_count == 0
    return result


def values(result: Result, *names: str) -> Any:
    table = result.paths([f"structured.{n}" for n in names])
    found = [table[f"structured.{n}"].to_numpy(np.float64) for n in names]
    return found[0] if len(found) == 1 else found


# ---- annuities
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_annuity_is_the_sum_of_discounted_payments(dtype: Any) -> None:
    rates = [0.0, 1e-12, 1e-7, 1e-4, 0.005, 0.0875, 1.0, -0.004]
    tolerance = 1e-13 if dtype == np.float64 else 1e-6
    for n in (0, 1, 5, 60, 360):
        want = [math.fsum((1.0 + r) ** -k for k in range(1, n + 1)) for r in rates]
        got = annuity(np.array(rates, dtype), n)
        assert got.dtype == dtype
        np.testing.assert_allclose(got, want, rtol=tolerance)
    assert annuity(0.05, 10) == pytest.approx((1 - 1.05**-10) / 0.05, rel=1e-14)


@given(st.floats(0.0, 0.03), st.integers(1, 400), st.floats(0.01, 1e6))
def test_level_payments_repay_the_debt(rate: float, periods: int, debt: float) -> None:
    payment, left = level_payment(debt, rate, periods), debt
    for k in range(periods + 1):
        assert outstanding(debt, rate, periods, k) == pytest.approx(left, rel=1e-7, abs=1e-7 * debt)
        left = left * (1.0 + rate) - payment
    assert outstanding(debt, rate, periods, periods + 5) == 0.0


class Annuities(System):
    """The same functions inside a step."""

    rates = parameter([0.0, 1e-9, 0.004, 0.02], "1/month", "assumption: a test")

    def outputs(self) -> dict[str, Any]:
        return {f"{k}_{i}": output("1") for i in range(4) for k in ("factor", "left")}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        n = 96.0 + 0.0 * draw.uniform("n")
        found = {f"factor_{i}": annuity(r, n, xp) for i, r in enumerate(self.rates)}
        return found | {
            f"left_{i}": outstanding(2.0, r, n, 36.0, xp) for i, r in enumerate(self.rates)
        }


@pytest.mark.parametrize("backend", ["numpy", "native", "jax"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 3e-6)])
def test_annuity_inside_a_step(backend: str, dtype: str, tolerance: float) -> None:
    if not backends.status(backend).works:
        pytest.skip(backends.status(backend).why)
    got = simulate(Annuities(), 4, 1, backend, dtype, months=1).metrics
    for i, r in enumerate((0.0, 1e-9, 0.004, 0.02)):
        factor = {n: math.fsum((1.0 + r) ** -k for k in range(1, n + 1)) for n in (96, 60)}
        assert got[f"annuities.factor_{i}"]["mean"] == pytest.approx(factor[96], rel=tolerance)
        left = 2.0 * factor[60] / factor[96]
        assert got[f"annuities.left_{i}"]["mean"] == pytest.approx(left, rel=tolerance)


# ---- tranches and waterfalls
@given(
    st.lists(st.floats(0.001, 0.999), min_size=1, max_size=8, unique=True),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
)
def test_tranche_losses_share_out_the_pool_loss(
    cuts: list[float], loss: float, more: float
) -> None:
    points = [0.0, *sorted(cuts), 1.0]
    parts = [tranche_loss(loss, a, d) for a, d in itertools.pairwise(points)]
    assert sum(parts) == pytest.approx(loss, abs=1e-12)
    for (a, d), part in zip(itertools.pairwise(points), parts, strict=True):
        assert 0.0 <= part <= d - a
        assert part == 0.0 or loss > a
        assert tranche_loss(max(loss, more), a, d) >= part
    table = tranche_loss(np.array([0.0, 0.05, 0.2, 1.0]), 0.03, 0.07)
    np.testing.assert_allclose(table, [0.0, 0.02, 0.04, 0.04])


def test_waterfall_by_hand() -> None:
    """Senior 80, mezzanine 15, equity 5. Amounts in USD, worked on paper."""
    balance, none = [80.0, 15.0, 5.0], [0.0, 0.0, 0.0]
    # interest 6 pays 4 + 1, the spread of 1 covers half of the loss of 2; principal 10 + 1 goes to the senior
    got = waterfall(balance, none, [4.0, 1.0, 0.0], 6.0, 10.0, 2.0)
    assert got == Payments(
        [4.0, 1.0, 0.0], [11.0, 0.0, 0.0], [0.0, 0.0, 1.0], [69.0, 15.0, 4.0], none, 0.0
    )
    # without cover the equity takes the spread, and the whole loss
    got = waterfall(balance, none, [4.0, 1.0, 0.0], 6.0, 10.0, 2.0, 0.0)
    assert got.residual == 1.0
    assert got.balance == [70.0, 15.0, 3.0]
    # a loss of 22 wipes out the equity and the mezzanine, and the senior loses 2
    got = waterfall(balance, none, [4.0, 1.0, 0.0], 3.0, 0.0, 22.0)
    assert got.interest == [3.0, 0.0, 0.0]
    assert got.owed == [1.0, 1.0, 0.0]
    assert got.writedown == [2.0, 15.0, 5.0]
    # next month what is owed comes before the spread
    got = waterfall([78.0, 0.0, 0.0], got.owed, [4.0, 0.0, 0.0], 7.0, 8.0, 0.5)
    assert got.interest == [5.0, 1.0, 0.0]
    assert got.owed == none
    assert got.principal == [8.5, 0.0, 0.0]
    assert got.residual == 0.5
    # at the end the equity's principal first pays the interest still owed above it
    got = waterfall([30.0, 10.0, 5.0], [0.0, 2.0, 0.0], [1.0, 1.0, 0.0], 1.0, 45.0, 0.0)
    assert got.interest == [1.0, 3.0, 0.0]
    assert got.principal == [30.0, 10.0, 2.0]
    assert got.writedown == [0.0, 0.0, 3.0]
    assert got.balance == none


@st.composite
def cents(draw: Any, most: int) -> dict[str, Any]:
    """A payment date in whole cents: what a pool pays, and at most what its tranches are worth."""
    n = draw(st.integers(1, 6))
    amounts = st.integers(0, most)
    balance = draw(st.lists(amounts, min_size=n, max_size=n))
    total = sum(balance)
    loss = draw(st.integers(0, total))
    return {
        "balance": balance,
        "owed": draw(st.lists(amounts, min_size=n, max_size=n)),
        "due": draw(st.lists(amounts, min_size=n, max_size=n)),
        "interest": draw(amounts),
        "principal": draw(st.integers(0, total - loss)),
        "loss": loss,
        "cover": draw(st.sampled_from([0.0, 1.0])),
    }


def check_payments(given_: dict[str, Any], got: Payments, tolerance: float) -> None:
    """The identities of a payment date, and who comes first."""
    inflow = given_["interest"] + given_["principal"]
    outflow = sum(got.interest) + sum(got.principal) + got.residual
    assert abs(inflow - outflow) <= tolerance
    parts = zip(given_["balance"], got.principal, got.writedown, got.balance, strict=True)
    for old, paid, written, new in parts:
        assert abs(old - paid - written - new) <= tolerance
        assert min(paid, written, new) >= 0.0
    for before, due, paid, owed in zip(
        given_["owed"], given_["due"], got.interest, got.owed, strict=True
    ):
        assert abs(before + due - paid - owed) <= tolerance
        assert min(paid, owed) >= 0.0
    fall = sum(given_["balance"]) - sum(got.balance)
    assert abs(fall - given_["principal"] - given_["loss"]) <= 2 * tolerance
    assert got.residual >= 0.0
    for k in range(len(got.balance)):
        below = slice(k + 1, None)
        if got.writedown[k] > tolerance:  # all below are gone
            assert sum(got.balance[below]) <= tolerance
        if sum(got.principal[below]) > tolerance:  # all above are repaid, before any write-down
            assert got.balance[k] + got.writedown[k] <= tolerance
    if (
        got.residual > tolerance and given_["cover"] == 1.0
    ):  # all interest is paid, all loss covered
        assert sum(got.owed) <= tolerance
        assert sum(got.writedown[:-1]) <= tolerance


@settings(max_examples=400, deadline=None)
@given(cents(10**12))
def test_waterfall_conserves_cash_to_the_cent(date: dict[str, Any]) -> None:
    """Up to USD 10 bn a tranche in float64: exact, not only to the cent."""
    real = {k: [float(x) for x in v] if isinstance(v, list) else float(v) for k, v in date.items()}
    check_payments(real, waterfall(**real), 0.0)


@settings(max_examples=400, deadline=None)
@given(cents(10**6))
def test_waterfall_conserves_cash_in_float32(date: dict[str, Any]) -> None:
    """Whole cents below 2^24 in all are exact in float32 as well."""
    f = np.float32
    real = {k: [f(x) for x in v] if isinstance(v, list) else f(v) for k, v in date.items()}
    got = waterfall(**real)
    assert all(x.dtype == f for x in (*got.balance, *got.interest, got.residual))
    check_payments(real, got, 0.0)


@settings(max_examples=200, deadline=None)
@given(cents(10**11), st.floats(0.0, 1.0), st.floats(0.001, 0.999))
def test_waterfall_of_any_amounts(date: dict[str, Any], cover: float, scale: float) -> None:
    """Amounts that are no whole cents: up to USD 1 bn a tranche, to the cent."""
    real = {
        k: [x * scale / 100 for x in v] if isinstance(v, list) else v * scale / 100
        for k, v in date.items()
    }
    check_payments(real | {"cover": cover}, waterfall(**(real | {"cover": cover})), 0.005)


def test_write_downs_are_the_tranche_losses_of_what_was_lost() -> None:
    """Over many dates of 500 pools at once: losses from the equity up, principal from the top down."""
    rng = np.random.default_rng(SEED)
    points = np.array([0.0, 0.05, 0.12, 0.3, 1.0])
    sizes = np.diff(points)[::-1] * 100.0
    balance = [np.full(500, x) for x in sizes]
    owed = [np.zeros(500)] * 4
    lost, written = np.zeros(500), [np.zeros(500)] * 4
    for _ in range(40):
        total = sum(balance)
        loss = rng.random(500) * 0.05 * total
        principal = rng.random(500) * 0.08 * (total - loss)
        due = [b * c for b, c in zip(balance, (0.004, 0.006, 0.01, 0.0), strict=True)]
        got = waterfall(balance, owed, due, 0.006 * total, principal, loss)
        balance, owed = got.balance, got.owed
        written = [a + b for a, b in zip(written, got.writedown, strict=True)]
        lost = lost + sum(got.writedown)
    for k, (a, d) in enumerate(zip(points[-2::-1], points[:0:-1], strict=True)):
        np.testing.assert_allclose(written[k], 100 * tranche_loss(lost / 100, a, d), atol=1e-11)


# ---- the shipped tranches, and Vasicek's large pool
LHP = [
    # attach, detach, pd, lgd, rho, P(any loss), expected loss: MODEL's table of tranches, abs_tranches.csv
    ("dc_senior", 0.22, 1.0, 0.09, 0.35, 0.20, 0.00013, 0.0),
    ("dc_mezz", 0.15, 0.22, 0.09, 0.35, 0.20, 0.00417, 0.00124),
    ("dc_junior", 0.08, 0.15, 0.09, 0.35, 0.20, 0.06535, 0.0229),
    ("dc_equity", 0.0, 0.08, 0.09, 0.35, 0.20, 1.0, 0.3723),
    ("gpu_senior", 0.38, 1.0, 0.28, 0.55, 0.25, 0.02121, 0.00125),
    ("gpu_mezz", 0.28, 0.38, 0.28, 0.55, 0.25, 0.1138, 0.05867),
    ("gpu_junior", 0.18, 0.28, 0.28, 0.55, 0.25, 0.34769, 0.21653),
    ("gpu_equity", 0.0, 0.18, 0.28, 0.55, 0.25, 1.0, 0.69786),
]


def test_shipped_tranches_and_the_large_pool_figures() -> None:
    """Vasicek (2002): conditional on m the pool loses lgd Phi((c - sqrt(rho) m) / sqrt(1 - rho)).

    The figures of the table are rounded to 1e-5, and integrated roughly: they lie up to 0.6 % low.
    """
    shipped = Structured()
    pools = {p.name: p for p in shipped.pool}
    rows_ = {t.name: t for t in shipped.tranche}
    nodes = np.linspace(-9.0, 9.0, 20_001)
    weight = stats.norm.pdf(nodes) / stats.norm.pdf(nodes).sum()
    for name, attach, detach, pd, lgd, rho, any_loss, expected in LHP:
        t = rows_[name]
        p = pools[t.pool]
        assert (t.attach, t.detach, p.pd_5y, p.lgd, p.rho) == (attach, detach, pd, lgd, rho)
        c, root = stats.norm.ppf(pd), math.sqrt(rho)
        loss = lgd * stats.norm.cdf((c - root * nodes) / math.sqrt(1.0 - rho))
        share = np.clip(loss - attach, 0.0, detach - attach) @ weight / (detach - attach)
        assert abs(share - expected) < 6e-6 + 0.006 * expected
        reached = stats.norm.ppf(attach / lgd) if attach > 0 else -math.inf
        beyond = stats.norm.cdf((c - math.sqrt(1.0 - rho) * reached) / root)
        assert abs(beyond - any_loss) < 6e-6 + 0.006 * any_loss
    # S&P, 1981-2016: five-year defaults of A, BBB and BB (sp_transition_1981_2016.csv)
    promised = {"A": 0.0057, "BBB": 0.0193, "BB": 0.0784, "NR": 0.0}
    assert all(t.promised == promised[t.rating] for t in shipped.tranche)


# ---- a pool of 125 names
RHOS = (0.0, 0.1, 0.2, 0.4)
POINTS = (0.0, 0.03, 0.06, 0.09, 0.12, 0.22, 1.0)  # the tranches of the iTraxx index
NAMES, PD, LGD = 125, 0.09, 0.58  # no number of defaults ends at an attachment point
PATHS = 400_000


def pool_of(name: str, **values_: Any) -> dict[str, Any]:
    return {"name": name, "notional": 1.0, "coupon": 0.0, **values_}


def tranches_of(pool: str, points: tuple[float, ...] = POINTS) -> list[dict[str, Any]]:
    pairs = itertools.pairwise(points)
    return [
        {"name": f"{pool}_{k}", "pool": pool, "attach": a, "detach": d, "promised": 0.01}
        for k, (a, d) in enumerate(pairs)
    ]


def index_pools() -> Structured:
    pools = [pool_of(f"rho{k}", names=NAMES, pd_5y=PD, lgd=LGD, rho=r) for k, r in enumerate(RHOS)]
    tranches = [t for p in pools for t in tranches_of(p["name"])]
    return Structured(pool=pools, tranche=tranches, stress=False, cover=0.0)


@cache
def index_run() -> Result:
    return run(index_pools(), PATHS, "native", "float32")


def default_counts(n: int, pd: float, rho: float) -> Array:
    """P(k of n): Gauss-Hermite quadrature of binomials over the factor, in 200 nodes."""
    if rho == 0.0:
        return np.asarray(stats.binom.pmf(np.arange(n + 1), n, pd))
    x, w = special.roots_hermitenorm(200)
    p = stats.norm.cdf((stats.norm.ppf(pd) - math.sqrt(rho) * x) / math.sqrt(1.0 - rho))
    law = stats.binom.pmf(np.arange(n + 1)[:, None], n, p[None, :])
    return np.asarray(law @ w / w.sum())


@pytest.mark.parametrize("pool", range(len(RHOS)))
def test_tranches_of_125_names_against_quadrature(pool: int) -> None:
    """Expected loss and chance of any loss of six tranches, four correlations: 48 checks."""
    law = default_counts(NAMES, PD, RHOS[pool])
    loss = np.arange(NAMES + 1) / NAMES * LGD
    for k, (a, d) in enumerate(itertools.pairwise(POINTS)):
        found = {
            m: index_run().metrics[f"structured.{m}_rho{pool}_{k}"]["mean"]
            for m in ("writedown", "hit")
        }
        hits = PATHS * float(law[loss > a].sum())
        if hits < 50.0:  # too few for the normal law: Poisson's, at the same level
            assert (
                stats.poisson.ppf(3e-5, hits)
                <= PATHS * found["hit"]
                <= stats.poisson.isf(3e-5, hits)
            )
            continue
        per_count = {"writedown": np.clip(loss - a, 0.0, d - a) / (d - a), "hit": 1.0 * (loss > a)}
        for m, x in per_count.items():
            error = math.sqrt(law @ (x - law @ x) ** 2 / PATHS)
            assert abs(found[m] - law @ x) < STANDARD_ERRORS * error + 1e-6, (
                m,
                a,
                found[m],
                law @ x,
            )


def test_defaults_arrive_over_time() -> None:
    """The four pools' expected loss after one, two and four years, from the 16,384 paths of the series."""
    series = index_run().series("structured.abs_loss")
    counts = np.arange(NAMES + 1)
    for years in (1, 2, 4):
        odds = 1.0 - (1.0 - PD) ** (years / 5.0)
        laws = [default_counts(NAMES, odds, rho) for rho in RHOS]
        # the pools share their factor, so their standard deviations at most add up
        spread = sum(math.sqrt(law @ (counts - NAMES * odds) ** 2) for law in laws) / NAMES * LGD
        error = abs(series.loc[12 * years, "mean"] - 4.0 * LGD * odds)
        assert error < STANDARD_ERRORS * spread / math.sqrt(16_384)


def test_stress_off_needs_no_other_system() -> None:
    assert Structured(stress=False).needs() == ()
    assert Structured().needs() == ("compute", "rental", "firms", "private_credit", "funding")
    got = run(Structured(stress=False), 2_000, "native")
    exits, loss, debt = values(got, "exits", "spv_loss", "spv_debt")
    assert np.ptp(debt) == 0.0
    assert not exits.any()
    assert not loss.any()


# ---- pools under stress
def test_neutral_stress_with_the_whole_correlation_is_the_textbook() -> None:
    """Hazards at y = 0 on the factor of private_credit: its law is that of a pool of the same correlation."""
    pool = pool_of("one", names=40, pd_5y=0.2, lgd=0.5, rho_residual=0.15, beta_rental=1.0)
    model = Structured(pool=[pool], tranche=tranches_of("one", (0.0, 0.1, 1.0)), cover=0.0)
    got = values(run(economy(model), 100_000, "native", "float32"), "abs_loss")
    law = default_counts(40, 0.2, 0.15)
    loss = np.arange(41) / 40 * 0.5
    mean = law @ loss
    error = math.sqrt(law @ (loss - mean) ** 2 / len(got))
    assert abs(got.mean() - mean) < STANDARD_ERRORS * error
    assert got.std() == pytest.approx(error * math.sqrt(len(got)), rel=0.03)


def test_stress_multiplies_hazards_and_lowers_recovery() -> None:
    """beta . y = 1.0 x 0.4 + 0.5 x 0.6, held at 0.5 by the bound; recovery 0.6 e^-0.4."""
    pool = pool_of("one", names=40, pd_5y=0.1, lgd=0.4, rho_residual=0.0, collateral=1.0)
    pool |= {"beta_rental": 1.0, "beta_spread": 0.5}
    tranche = [{"name": "all_of_it", "pool": "one"}]
    others = {"rental": {"shortfall": 0.4}, "funding": {"log_spread": 0.6}}
    for bound, y in ((2.5, 0.7), (0.5, 0.5)):
        model = Structured(pool=[pool], tranche=tranche, hazard_bounds=[-1.5, bound], cover=0.0)
        got = values(run(economy(model, **others), 100_000, "native", "float32"), "abs_loss")
        p = 1.0 - 0.9 ** math.exp(y)
        lgd = 1.0 - 0.6 * math.exp(-0.4)
        error = lgd * math.sqrt(p * (1.0 - p) / 40 / len(got))
        assert abs(got.mean() - lgd * p) < STANDARD_ERRORS * error


def test_lower_rentals_never_lower_a_loss() -> None:
    paths = [
        values(run(economy(Structured(), rental={"shortfall": x}), 4_000, "native"), "abs_loss")
        for x in (-0.2, 0.0, 0.2, 0.6)
    ]
    for calm, bad in itertools.pairwise(paths):
        assert np.all(bad >= calm - 1e-9)
        assert bad.mean() > calm.mean()


def test_one_loan_and_all_loans() -> None:
    """A pool of one name; and one in which every name defaults at once, after which nothing is left."""
    pools = [
        pool_of("one", names=1, pd_5y=0.3, lgd=0.5),
        pool_of("all", names=7, pd_5y=0.999999999),
    ]
    pools[1] |= {"rho": 0.9, "lgd": 1.0}
    tranches = [*tranches_of("one", (0.0, 0.5, 1.0)), *tranches_of("all", (0.0, 0.5, 1.0))]
    model = Structured(pool=pools, tranche=tranches, stress=False)
    result = run(model, 20_000, "native")
    low, high = values(result, "writedown_one_0", "writedown_one_1")
    assert set(np.unique(low)) == {0.0, 1.0}
    assert abs(low.mean() - 0.3) < STANDARD_ERRORS * math.sqrt(0.21 / 20_000)
    assert not high.any()
    assert values(result, "writedown_all_0").mean() > 0.99
    assert values(result, "abs_loss").max() == pytest.approx(1.5)


def test_identities_hold_every_month_on_every_path() -> None:
    """Cash in = cash out, balances and losses add up; USD bn, so 1e-11 is a cent. Random months, shipped tables."""
    model = economy(Structured(), watch=True, **NOISY)
    result = run(model, 60_000, "native")
    for name in ("cash", "balances", "losses", "negative", "guarantees"):
        assert result.paths([f"watch.{name}"])[f"watch.{name}"].max() < 1e-11, name
    assert values(result, "abs_owed").max() > 0.0  # the waterfall's rarer branches were visited
    assert values(result, "senior_hit").mean() > 0.05
    senior = values(result, "writedown_dc_senior", "writedown_gpu_senior")
    hit = values(result, "senior_hit") > 0
    assert np.array_equal(hit, (senior[0] > 1e-6) | (senior[1] > 1e-6))


def test_amortising_pools_lose_less_and_excess_spread_covers_losses() -> None:
    def losses(coupon: float, amortisation: float, cover: float, maturity: int = 60) -> float:
        pool = pool_of("one", names=50, pd_5y=0.2, lgd=0.5, coupon=coupon, maturity=maturity)
        pool["amortisation"] = amortisation
        tranches = tranches_of("one", (0.0, 0.1, 1.0))
        model = Structured(pool=[pool], tranche=tranches, stress=False, cover=cover)
        return float(values(run(model, 20_000, "native"), "abs_loss").mean())

    base = losses(0.1, 0.0, 0.0)
    assert base == pytest.approx(0.1, rel=0.03)
    assert losses(0.1, 0.2, 0.0) == pytest.approx(
        0.5 * base, rel=0.1
    )  # half is out at risk on average
    # a loan of 0.02 loses 0.01; a month's spread of 0.1 / 12 covers most of it, if one defaults alone
    covered = losses(0.1, 0.0, 1.0)
    assert 0.1 * base < covered < 0.5 * base
    assert losses(0.1, 0.0, 0.5) == pytest.approx(0.5 * (base + covered), rel=0.15)
    odds = 1.0 - 0.8 ** (30 / 60)
    assert losses(0.1, 0.0, 0.0, maturity=30) == pytest.approx(0.5 * odds, rel=0.03)


# ---- leased sites
SITE = {
    "name": "hall", "sponsor": "coreweave", "cost": 10.0, "debt": 8.0, "chips": 0.4, "rate": 0.06,
    "term": 120, "lease_start": 7, "exit": 43, "guarantee": 0.05,
}  # fmt: skip


def sites(*changes: dict[str, Any], **settings_: Any) -> Structured:
    rows_ = [SITE | c for c in (changes or ({},))]
    pool = [pool_of("one", names=1, pd_5y=1e-6)]
    return Structured(
        pool=pool, tranche=[{"name": "all_of_it", "pool": "one"}], spv=rows_, **settings_
    )


def discounted(payments: int, monthly: float) -> float:
    return math.fsum((1.0 + monthly) ** -k for k in range(1, payments + 1))


def by_hand(log_market: float, shortfall: float, month: int) -> tuple[float, float, float]:
    """Of SITE at the start of a month: debt, value, and the present value of the rent left."""
    paid = month - 7
    debt = 8.0 * discounted(120 - paid, 0.005) / discounted(120, 0.005)
    years = paid / 12.0
    shell = 10.0 * 0.6 * (1.0 - years / 30.0) * math.exp(0.5 * min(log_market, 0.0))
    chips = 10.0 * 0.4 * max(1.0 - years / 6.0, 0.0) * math.exp(-shortfall)
    rent = 10.0 / discounted(120, 0.005) * discounted(120 - paid, 0.005)
    return debt, 0.9 * (shell + chips), rent


def one(model: Structured, months: int = 60, backend: str = "native", **others: Any) -> Any:
    """The metrics of a run without randomness."""
    result = run(economy(model, months=months, **others), 2, backend)
    return {k.removeprefix("structured."): v["mean"] for k, v in result.metrics.items()}


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_no_stress_no_exit(backend: str) -> None:
    got = one(sites(), backend=backend)
    assert got["exits"] == got["spv_loss"] == got["guarantees_paid"] == 0.0
    assert got["spv_debt"] == pytest.approx(8.0 * discounted(66, 0.005) / discounted(120, 0.005))
    assert one(sites(), backend=backend, rental={"log_per_kw": 0.3})["exits"] == 0.0


@pytest.mark.parametrize("backend", ["numpy", "native", "jax"])
def test_forced_low_rental_exit_and_loss_by_hand(backend: str) -> None:
    """Rents per kW e^-0.9 of the contract's, chips 1.2 in logs below what lenders expected, in month 43."""
    log_market, shortfall = -0.9, 1.2
    debt, value, rent = by_hand(log_market, shortfall, 43)
    owed = min(0.05 * 8.0, debt - value)
    assert rent > rent * math.exp(log_market) + owed
    assert owed == 0.4 < debt - value
    others = {"rental": {"log_per_kw": log_market, "shortfall": shortfall, "later": log_market}}
    got = one(sites(), backend=backend, **others)
    assert got["exits"] == 1.0
    assert got["spv_loss"] == got["loss_hall"] == pytest.approx(debt - value - 0.4, rel=1e-12)
    assert got["guarantees_paid"] == pytest.approx(0.4)
    assert got["spv_debt"] == 0.0
    before = one(sites(), months=42, backend=backend, **others)
    assert before["exits"] == before["spv_loss"] == 0.0
    assert one(sites(), months=43, backend=backend, **others)["exits"] == 1.0


def test_lower_utilisation_lowers_the_market_rent() -> None:
    start = (1.0 + 1.5**-8) ** -0.125
    used = 0.5
    log_market = math.log(used / start)
    debt, value, _ = by_hand(log_market, 1.2, 43)
    others = {"rental": {"shortfall": 1.2}, "compute": {"utilisation": used}}
    got = one(sites(), **others)
    assert got["exits"] == 1.0
    assert got["spv_loss"] == pytest.approx(debt - value - 0.4, rel=1e-12)


def test_the_exit_is_at_the_edge_of_the_rule() -> None:
    """A guarantee just larger than the saving keeps the sponsor; just smaller lets it go."""
    log_market = -0.04
    debt, value, rent = by_hand(log_market, 3.0, 43)
    saving = rent * (1.0 - math.exp(log_market))
    assert saving < debt - value
    others = {"rental": {"log_per_kw": log_market, "shortfall": 3.0, "later": log_market}}
    for factor, exits in ((1.001, 0.0), (0.999, 1.0)):
        got = one(sites({"guarantee": factor * saving / 8.0}), **others)
        assert got["exits"] == exits
    # a guarantee beyond the debt that is uncovered costs no more than that: here the sponsor pays all of it
    others["rental"] |= {"log_per_kw": -0.9, "later": -0.9}
    got = one(sites({"guarantee": 0.5}), **others)
    debt, value, _ = by_hand(-0.9, 3.0, 43)
    assert got["guarantees_paid"] == pytest.approx(debt - value, rel=1e-12)
    assert got["spv_loss"] == pytest.approx(0.0, abs=1e-12)


def test_a_later_exit_date() -> None:
    """The rental falls in month 40: one date at 31 is missed, dates every nine months take the first after it."""
    others = {"rental": {"later": -0.9, "shortfall": 1.2}}
    assert one(sites({"exit": 31}), **others)["exits"] == 0.0
    got = one(sites({"exit": 31, "every": 9}), **others)
    debt, value, _ = by_hand(-0.9, 1.2, 40)
    assert got["exits"] == 1.0
    assert got["spv_loss"] == pytest.approx(debt - value - 0.4, rel=1e-12)
    # what counts is the rent to the next date: nine months of it save less than the guarantee costs
    others = {"rental": {"later": -0.4, "shortfall": 3.0}}
    assert one(sites({"exit": 31, "every": 9, "guarantee": 0.1}), **others)["exits"] == 0.0
    assert one(sites({"exit": 40, "guarantee": 0.1}), **others)["exits"] == 1.0


@pytest.mark.parametrize("month", [3, 20])
def test_a_sponsor_in_default(month: int) -> None:
    """Before the lease starts or after it: lenders get the site and 0.3 of the guarantee; others go on."""
    others = {"firms": {"month": float(month)}, "rental": {"shortfall": 1.2}}
    paid = max(month - 7, 0)
    debt, value, _ = by_hand(0.0, 1.2, 7 + paid)
    other = {"name": "other", "sponsor": "oracle"}
    got = one(sites({}, other), **others)
    called = 0.3 * min(0.4, debt - value)
    assert got["exits"] == 0.0
    assert got["guarantees_paid"] == pytest.approx(called, rel=1e-12)
    assert got["spv_loss"] == got["loss_hall"] == pytest.approx(debt - value - called, rel=1e-12)
    assert got["loss_other"] == 0.0
    assert got["spv_debt"] == pytest.approx(8.0 * discounted(66, 0.005) / discounted(120, 0.005))


def test_hidden_leverage_counts_linked_debt_that_loses_nothing_here() -> None:
    linked = {"name": "twin", "linked": True}
    got = one(sites({}, linked), months=20)
    debt = 8.0 * discounted(120 - 14, 0.005) / discounted(120, 0.005)
    assert got["spv_debt"] == pytest.approx(debt)
    assert got["hidden"] == pytest.approx((2.0 * debt + 0.4 + 30.0) / 400.0)
    bad = {
        "rental": {"log_per_kw": -0.9, "shortfall": 1.2, "later": -0.9},
        "firms": {"month": 20.0},
    }
    got = one(sites(linked), months=60, **bad)
    assert got["exits"] == got["spv_loss"] == got["spv_debt"] == 0.0


def test_functions_of_a_site_on_arrays() -> None:
    market = np.array([0.2, 0.0, -1.0])
    value = site_value(6.0, 2.0, market, np.array([0.1, 0.0, -1.0]), 0.5)
    want = [6.0 + 2.0 * math.exp(0.1), 8.0, 6.0 * math.exp(-0.5) + 2.0 * math.exp(-1.0)]
    np.testing.assert_allclose(value, want)
    np.testing.assert_allclose(guarantee_due(7.0, value, 1.5), np.clip(7.0 - value, 0.0, 1.5))
    assert list(leaves(10.0, np.exp(market), 1.0)) == [False, False, True]


# ---- one economy, one answer
@cache
def output_of(backend: str, dtype: str) -> Any:
    return plan(economy(Structured(), **NOISY), backend, dtype).run(SEED, 0, 4_096, series=True)


@pytest.mark.parametrize("backend", ["native", "jax"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-4)])
def test_backends_agree(backend: str, dtype: str, tolerance: float) -> None:
    """Random months with defaults and exits. In float32 paths on which a decision flipped are few, and counted."""
    if not backends.status(backend).works:
        pytest.skip(backends.status(backend).why)
    ours, reference = output_of(backend, dtype), output_of("numpy", "float64")
    names = economy(Structured()).metrics
    assert not reference.bad.any()
    assert np.array_equal(ours.bad, reference.bad)
    row = {n.removeprefix("structured."): k for k, n in enumerate(names)}
    assert reference.metrics[row["exits"]].mean() > 0.05
    decided = [row[n] for n in row if n.startswith("hit_") or n == "exits"]
    flipped = (ours.metrics[decided] != reference.metrics[decided]).any(axis=0)
    scale = np.abs(reference.metrics).mean(axis=1, keepdims=True) + 1e-12
    error = np.abs(ours.metrics - reference.metrics)
    error = error / np.maximum(np.abs(reference.metrics), scale)
    # a default on the edge moves a loss by far more than rounding does; a decision is a loan or a lease
    flipped |= (error[row["abs_loss"]] > 100 * tolerance) | (
        error[row["spv_loss"]] > 100 * tolerance
    )
    assert flipped.sum() <= (0 if dtype == "float64" else 1e-5 * 4_096 * 69 + 1)
    assert error[:, ~flipped].max() < tolerance


# ---- bad input
def test_problems_come_all_at_once() -> None:
    pool = [pool_of("a"), pool_of("b"), pool_of("c")]
    tranche = [
        {"name": "a_low", "pool": "a", "attach": 0.05, "detach": 0.2},
        {"name": "a_mid", "pool": "a", "attach": 0.15, "detach": 0.5},
        {"name": "a_top", "pool": "a", "attach": 0.6, "detach": 0.9},
        {"name": "b_all", "pool": "b", "attach": 0.0, "detach": 1.0},
        {"name": "b_thin", "pool": "b", "attach": 0.4, "detach": 0.4},
        {"name": "lost", "pool": "d", "attach": 0.0, "detach": 1.0},
        {"name": "b", "pool": "b", "attach": 0.0, "detach": 1.0},
    ]
    spv = [
        SITE | {"name": "early", "exit": 3},
        SITE | {"name": "late", "exit": 127},
        SITE | {"name": "dear", "debt": 10.5},
        SITE | {"name": "full", "debt": 9.0, "sponsor_share": 0.2},
        SITE | {"name": "a"},
    ]
    bad = Structured(pool=pool, tranche=tranche, spv=spv, hazard_bounds=[1.0, 1.0])
    assert sorted(bad.check()) == sorted(
        [
            "structured.hazard_bounds = [1.0, 1.0]: the first should be the lower one",
            "structured.tranche.a_low.attach = 0.05: the lowest of a should attach at 0",
            "structured.tranche.a_mid.attach = 0.15: overlaps a_low; should be 0.2",
            "structured.tranche.a_top.attach = 0.6: leaves a gap above a_mid; should be 0.5",
            "structured.tranche.a_top.detach = 0.9: the highest of a should detach at 1",
            "structured.tranche.b_thin.detach = 0.4: should be above its attach, 0.4",
            "structured.tranche.lost.pool = 'd': should be a pool; known are a, b, c",
            "structured.tranche.b.attach = 0: overlaps b_all; should be 1",
            "structured.pool.c: no tranche; tranches should cover it from 0 to 1",
            "structured.spv.early.exit = 3: before the lease starts; should be from 7 to 126",
            "structured.spv.late.exit = 127: after the last rent; should be from 7 to 126",
            "structured.spv.dear.debt = 10.5: above the cost; should be at most 10",
            "structured.spv.full.debt = 9: with sponsor_share = 0.2 above the cost, 10; should be at most 8",
            "structured.spv.a: 'a' is a pool as well; another name is needed",
            "structured.tranche.b: 'b' is a pool as well; another name is needed",
        ]
    )
    with pytest.raises(ConfigError, match="overlaps a_low"):
        Economy(bad)
    assert Structured().check() == []


def test_sponsors_are_firms() -> None:
    assert Structured().fits({"firms": Firms()}) == []
    assert sites({"sponsor": "core_weave"}).fits({}) == []
    assert sites({"sponsor": "core_weave"}).fits({"firms": Firms()}) == [
        "structured.spv.hall.sponsor = 'core_weave': should be a firm; did you mean 'coreweave'?"
    ]


@pytest.mark.parametrize(
    ("values_", "problem"),
    [
        ({"cover": 1.5}, "Structured.cover = 1.5: should be a finite number from 0 to 1"),
        ({"pool": [pool_of("a", names=0)]}, "pool.a.names = 0: should be a whole number from 1"),
        ({"pool": [pool_of("a", pd_5y=1.0)]}, "pool.a.pd_5y = 1.0: should be a finite number above 0"),
        ({"spv": [SITE | {"debt": -1.0}]}, "spv.hall.debt = -1.0: should be a finite number at least 0"),
        ({"tranche": [{"name": "t", "attach": 1.2}]}, "tranche.t.attach = 1.2: should be a finite"),
        ({"tranche": []}, "tranche = []: should be at least 1 row"),
    ],
)  # fmt: skip
def test_values_out_of_range(values_: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        Structured(**values_)
    assert len(error.value.problems) == 1
    assert problem in error.value.problems[0]
