"""Clearing against published networks, networks solved by hand, a linear programme and iterations run to the end.

Sources. Rogers and Veraart (2013), Management Science 59(4): example 3.3 and the ring of section 5.1, numbers and
formulas as restated in the public tests of ninagad/Greatest-Clearing-Vector-Algorithm. Eisenberg and Noe (2001),
Management Science 47(2): the two nodes of appendix 2, restated. Networks of siebenbrunner/NetworkValuation and of
the R package systemicrisk (both public) are inputs only: what they pay is solved by hand here. No numeric example of
Elsinger (2009) could be found, so seniority is tested by hand and against an iteration of his fixed point.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog

from overbuilt.engine.economy import clearing, clearing_arrays
from overbuilt.engine.economy.clearing import (
    Network,
    clear,
    clear_by_seniority,
    clear_contracts,
    components,
)
from overbuilt.engine.economy.clearing_arrays import (
    ClearingError,
    clearing_by_seniority,
    clearing_vector,
)
from overbuilt.kernels.arrays import ArrayNamespace
from overbuilt.kernels.backends.base import path_words
from overbuilt.kernels.namespace import Fields

from .helpers import VARIANTS, Array, FunctionModel, run, why_not

SEED = 20_261
BACKENDS = ("numpy", "jax", str(VARIANTS[0]))


# ---- what to compare with
def with_sink(liabilities: Any, outside_debt: Any) -> Array:
    """A last node that owes nothing stands for all outside the network."""
    due = np.pad(np.asarray(liabilities, float), ((0, 1), (0, 1)))
    due[:-1, -1] = outside_debt
    return due


def phi(due: Array, e: Array, p: Array, alpha: Any = 1.0, beta: Any = 1.0) -> Array:
    """What nodes pay once p is paid: Rogers and Veraart (2013), eq. 2, a negative e ranking first."""
    owed = due.sum(axis=1)
    share = np.divide(p, owed, out=np.zeros_like(p), where=owed > 0)
    got = share @ due
    rest = alpha * np.maximum(e, 0) + beta * got - np.maximum(-e, 0)
    return np.where(e + got >= owed, owed, np.clip(rest, 0, owed))


def picard(due: Array, e: Array, alpha: Any = 1.0, beta: Any = 1.0) -> tuple[Array, int]:
    """From full payment down until nothing moves: the greatest vector, and the sweeps that it takes."""
    p = due.sum(axis=1)
    for sweep in range(200_000):
        after = phi(due, e, p, alpha, beta)
        if np.abs(after - p).max() <= 1e-15 * p.max():
            return after, sweep
        p = after
    raise AssertionError("the iteration does not settle")


def programme(due: Array, e: Array) -> Array:
    """Eisenberg and Noe (2001), lemma 4: maximise what is paid, no node paying more than it owes or has."""
    owed = due.sum(axis=1)
    relative = np.divide(due, owed[:, None], out=np.zeros_like(due), where=owed[:, None] > 0)
    found = linprog(
        -np.ones(len(e)),
        A_ub=np.eye(len(e)) - relative.T,
        b_ub=e,
        bounds=np.column_stack([np.zeros_like(owed), owed]),
        method="highs",
    )
    assert found.success
    return np.asarray(found.x)


def ranked(due: Array, e: Array) -> Array:
    """Elsinger's (2009) fixed point for strict priority, from full payment down: (classes, n)."""
    owed = due.sum(axis=2)
    before = np.cumsum(owed, axis=0) - owed
    p = owed
    for _ in range(200_000):
        share = np.divide(p, owed, out=np.zeros_like(p), where=owed > 0)
        after = np.clip(e + np.einsum("ci,cij->j", share, due) - before, 0, owed)
        if np.abs(after - p).max() <= 1e-15 * owed.max():
            return np.asarray(after)
        p = after
    raise AssertionError("the iteration does not settle")


def random_network(
    rng: np.random.Generator, n: int, density: float = 0.3, leak: float = 0.3
) -> tuple[Array, Array]:
    """Liabilities (n + 1, n + 1) with a sink, some nodes without debts, and assets that leave many short."""
    due = rng.exponential(size=(n, n)) * (rng.random((n, n)) < density)
    np.fill_diagonal(due, 0)
    due[rng.random(n) < 0.1] = 0
    due = with_sink(due, leak * rng.random(n) * (1 + due.sum(axis=1)))
    need = np.maximum(due.sum(axis=1) - due.sum(axis=0), 0)
    return due, need * rng.uniform(0.6, 1.3, n + 1)


# ---- published networks
def test_two_nodes_of_eisenberg_and_noe() -> None:
    """Appendix 2: with nothing from outside every (t, t) clears; the greatest is full payment."""
    due = np.array([[0, 1.0], [1, 0]])
    for t in (0.0, 0.3, 1.0):
        assert np.array_equal(phi(due, np.zeros(2), np.full(2, t)), np.full(2, t))
    got = clearing_vector(due, [0, 0])
    assert got.payments.tolist() == [1, 1]
    assert not got.defaulted.any()
    assert got.rounds == 0
    assert clearing_vector(due, [0.01, 0]).payments.tolist() == [1, 1]


def test_three_banks_of_network_valuation() -> None:
    """Solved by hand: p1 = 10 + 5/29 p2 + 10, p2 = 10 + 2/3 p1.

    That repository's README prints the same second and third payment, and 19.5455 for the first, from which its
    second one does not follow.
    """
    got = clearing_vector([[0, 20, 10], [5, 0, 24], [10, 0, 0]], [10, 10, 10])
    assert np.allclose(got.payments, [270 / 11, 290 / 11, 10], rtol=1e-14)
    assert got.defaulted.tolist() == [True, True, False]
    assert got.rounds <= 3


def test_three_banks_of_systemicrisk() -> None:
    """Its example's input; by hand banks 1 and 2 default: p1 = 1 + p2/3, p2 = 9/8 + p1/5."""
    due = with_sink((np.ones((3, 3)) - np.eye(3)) / 2, [1.5, 0.5, 0.5])
    e = np.array([0.5, 0.625, 0.75, 0])
    got = clearing_vector(due, e)
    assert np.allclose(got.payments, [165 / 112, 159 / 112, 1.5, 0], rtol=1e-14)
    assert got.defaulted.tolist() == [True, True, False, False]
    # alpha 0.5, beta 0.7: all three default
    costly = clearing_vector(due, e, 0.5, 0.7)
    a = np.eye(3) - 0.7 * (due[:3, :3] / due[:3].sum(axis=1, keepdims=True)).T
    assert np.allclose(costly.payments[:3], np.linalg.solve(a, 0.5 * e[:3]), rtol=1e-14)
    assert costly.defaulted.tolist() == [True, True, True, False]


def test_two_banks_of_rogers_and_veraart() -> None:
    """Example 3.3: liabilities 2 and 2.2, assets 1 and 1, half of all lost in default; both banks can pay.

    From below the iteration comes to (1, 1), which is no clearing vector: with that bank 0 has 2 and can pay. If
    it owes 2.2 then (1, 1) is one, and the greatest is still full payment.
    """
    e = np.ones(2)
    for first, clears in ((2.0, False), (2.2, True)):
        due = np.array([[0, first], [2.2, 0]])
        low = np.zeros(2)
        for _ in range(40):
            low = phi(due, e, low, 0.5, 0.5)
        assert np.allclose(low, 1)
        assert np.array_equal(phi(due, e, np.ones(2), 0.5, 0.5), np.ones(2)) == clears
        got = clearing_vector(due, e, 0.5, 0.5)
        assert got.payments.tolist() == [first, 2.2]
        assert not got.defaulted.any()


def test_ring_of_rogers_and_veraart() -> None:
    """Section 5.1, gamma 0.4, epsilon 1, a 2, alpha = beta = 1/2: all default, the even banks first."""
    gamma, epsilon, a, alpha, beta = 0.4, 1.0, 2.0, 0.5, 0.5
    due = np.zeros((6, 6))
    for i in range(6):
        due[i, (i + 1) % 6] = a + epsilon * (i % 2)
    e = np.array([gamma * (1 - epsilon), gamma * (1 + epsilon)] * 3)
    got = clearing_vector(due, e, alpha, beta)
    scale = alpha * gamma / (1 - beta**2)
    odd = scale * ((1 - epsilon) + beta * (1 + epsilon))
    even = scale * (beta * (1 - epsilon) + (1 + epsilon))
    assert np.allclose(got.payments, [odd, even] * 3, rtol=1e-14)
    assert got.defaulted.all()
    assert got.rounds == 2


# ---- by hand
def test_classes_are_paid_in_turn() -> None:
    """Node 0 has 5, owes 4 before 6; node 1 has nothing, owes 3 before 3 and gets the 4: (4, 2), (3, 1)."""
    due = np.zeros((2, 3, 3))
    due[0, 0, 1], due[1, 0, 2] = 4, 6
    due[0, 1, 2], due[1, 1, 0] = 3, 3
    got = clearing_by_seniority(due, [5, 0, 0])
    assert np.allclose(got.payments, [[4, 3, 0], [2, 1, 0]], rtol=1e-14)
    assert got.defaulted.tolist() == [True, True, False]
    # in one class both would pay in proportion
    assert clearing_vector(due.sum(axis=0), [5, 0, 0]).payments[0] > 6


def test_classes_down_to_the_senior_one() -> None:
    """Two layers of NetworkValuation's example, assets cut to (1, 2, 3).

    By hand: bank 3 pays all its 20, the others only within the senior class, so that p1 = 1 + 5/29 p2 + 20 and
    p2 = 2 + 2/3 p1. In one class bank 1 would pay its junior debt too.
    """
    due = np.array(
        [[[0, 20, 10], [5, 0, 24], [10, 0, 0]], [[0, 0, 15], [15, 0, 24], [10, 0, 0]]], float
    )
    got = clearing_by_seniority(due, [1, 2, 3])
    assert np.allclose(got.payments, [[1857 / 77, 1392 / 77, 10], [0, 0, 10]], rtol=1e-13)
    assert got.defaulted.tolist() == [True, True, False]


def test_negative_assets_rank_first() -> None:
    """As Acemoglu, Ozdaglar and Tahbaz-Salehi (2015): bank 0 owes 3 outside before 2 to bank 1; by hand."""
    due = np.array([[0, 2.0, 0], [0, 0, 4], [1, 0, 0]])
    # bank 2 pays 1; bank 0 has less than its claim, pays nothing; bank 1 pays its own 1.5
    got = clearing_vector(due, [-3, 1.5, 2])
    assert np.allclose(got.payments, [0, 1.5, 1])
    assert got.defaulted.tolist() == [True, True, False]
    # the claim is not lessened by alpha: bank 0 keeps 1 - 0.25
    assert np.allclose(clearing_vector(due, [-0.25, 1.5, 2], 0.5).payments, [0.75, 1.5, 1])
    # a circle that lacks 0.1 with no other money loses everything
    assert clearing_vector([[0, 1], [1, 0]], [-0.1, 0]).payments.tolist() == [0, 0]
    # a node that owes nothing in the network is in no default there
    assert not clearing_vector([[0, 0], [1, 0]], [-5, 2]).defaulted.any()


def test_nodes_without_debts_and_alone() -> None:
    due = np.zeros((4, 4))
    due[0, 1] = 3
    got = clearing_vector(due, [2, 0, 0, 7])
    assert got.payments.tolist() == [2, 0, 0, 0]
    assert got.defaulted.tolist() == [True, False, False, False]
    assert clearing_vector(np.zeros((2, 2)), [0, 0]).payments.tolist() == [0, 0]


def test_rounding_is_no_default() -> None:
    """Each node owes what it is owed; only the order of the sums differs, and 0.1 + 0.2 + ... by rounding."""
    rng = np.random.default_rng(SEED)
    short = 0
    for n in (5, 10, 40):
        due = np.zeros((n, n))
        for shift in range(1, 5):
            due += np.roll(np.eye(n), shift, axis=1) * round(float(rng.random()), 2) / 3
        got = clearing_vector(due, np.zeros(n))
        assert not got.defaulted.any()
        short += int((np.add.reduce(due, axis=0) < np.add.reduce(due, axis=1)).sum())
    assert short > 0


# ---- random networks
@pytest.mark.parametrize(("n", "count"), [(5, 30), (12, 15), (60, 2), (200, 1)])
def test_against_a_linear_programme(n: int, count: int) -> None:
    rng = np.random.default_rng(SEED + n)
    defaults = 0
    for _ in range(count):
        due, e = random_network(rng, n)
        got = clearing_vector(due, e)
        assert np.allclose(got.payments, programme(due, e), atol=1e-7 * due.sum(axis=1).max())
        assert got.rounds <= n
        assert got.residual < 1e-12 * due.sum(axis=1).max()
        defaults += int(got.defaulted.sum())
    assert 0.05 < defaults / (n * count) < 0.95


@pytest.mark.parametrize(("n", "count"), [(5, 40), (12, 20), (60, 2), (200, 1)])
def test_against_an_iteration_with_default_costs(n: int, count: int) -> None:
    """alpha and beta by node; half of the nodes bear no costs, as firms in their grace period."""
    rng = np.random.default_rng(SEED - n)
    nets = [random_network(rng, n) for _ in range(count)]
    due, e = np.array([d for d, _ in nets]), np.array([v for _, v in nets])
    costs = np.where(
        rng.random((2, count, n + 1)) < 0.5, 1.0, rng.uniform(0.2, 1, (2, count, n + 1))
    )
    got = clearing_vector(due, e, *costs)
    for k in range(count):
        want, _ = picard(due[k], e[k], costs[0, k], costs[1, k])
        assert np.allclose(got.payments[k], want, atol=1e-11)
    assert (got.rounds <= n).all()
    assert got.defaulted.any()
    assert not got.defaulted.all()


def test_against_an_iteration_with_claims_that_rank_first() -> None:
    rng = np.random.default_rng(SEED)
    nothing = 0
    for n in (4, 4, 4, 8, 8, 8, 20, 20, 40):
        for _ in range(6):
            due, e = random_network(rng, n)
            e = e - (rng.random(n + 1) < 0.4) * rng.exponential(size=n + 1)
            alpha = rng.uniform(0.7, 1)
            got = clearing_vector(due, e, alpha, 0.9)
            assert np.allclose(got.payments, picard(due, e, alpha, 0.9)[0], atol=1e-11)
            nothing += int((got.defaulted & (got.payments == 0)).sum())
    assert nothing > 20


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_seniority_against_an_iteration(classes: int) -> None:
    rng = np.random.default_rng(SEED + classes)
    for n, count in ((4, 25), (12, 8), (40, 1)):
        for _ in range(count):
            nets = [random_network(rng, n) for _ in range(classes)]
            due, e = np.array([d for d, _ in nets]), np.sum([v for _, v in nets], axis=0)
            e = e * rng.random(n + 1) ** 0.5 - (rng.random(n + 1) < 0.2) * rng.random(n + 1)
            got = clearing_by_seniority(due, e)
            assert np.allclose(got.payments, ranked(due, e), atol=1e-11)
            # strict priority: nothing for a class before the one above it is paid
            open_ = got.payments < due.sum(axis=2) - 1e-9
            assert not (open_[:-1] & (got.payments[1:] > 1e-9)).any()
            rich = clearing_by_seniority(due, np.full(n + 1, 1e3))
            assert not rich.defaulted.any()
            assert np.allclose(rich.payments, due.sum(axis=2), rtol=1e-14)
            assert np.array_equal(got.defaulted, open_.any(axis=0))
            if classes == 1:
                assert np.allclose(got.payments[0], clearing_vector(due[0], e).payments)


def test_the_greatest_of_several() -> None:
    """Closed groups that owe only each other, with default costs: from below the iteration stops elsewhere."""
    rng = np.random.default_rng(SEED)
    apart = 0
    for _ in range(60):
        due = rng.random((4, 4)) + 0.5
        np.fill_diagonal(due, 0)
        e = np.maximum(due.sum(axis=1) - due.sum(axis=0), 0) + 0.2
        low = np.zeros(4)
        for _ in range(2000):
            low = phi(due, e, low, 0.5, 0.5)
        got = clearing_vector(due, e, 0.5, 0.5).payments
        assert np.allclose(got, picard(due, e, 0.5, 0.5)[0])
        assert np.allclose(phi(due, e, low, 0.5, 0.5), low)
        apart += int((got > low + 0.1).any())
    assert apart > 30


def test_rings_that_take_many_sweeps() -> None:
    """All default at once where each owes the next 1 and 0.01 outside: one round, not thousands of sweeps."""
    n = 30
    due = with_sink(np.roll(np.eye(n), 1, axis=1), 0.01)
    e = np.append(np.full(n, 0.005), 0)
    want, sweeps = picard(due, e)
    got = clearing_vector(due, e)
    assert sweeps > 2000
    assert got.rounds == 1
    # p = e + p/1.01
    assert np.allclose(got.payments[:n], 0.005 / (1 - 1 / 1.01), rtol=1e-11)
    assert np.allclose(got.payments, want, rtol=1e-9)


def test_ring_where_defaults_spread_one_by_one() -> None:
    """Only node 0 owes outside, so it drags down the next, and so on: n rounds, then exact."""
    n, leak = 25, 0.001
    due = with_sink(np.roll(np.eye(n), 1, axis=1), 0)
    due[0, -1] = leak
    e = np.zeros(n + 1)
    e[7] = 1e-4
    got = clearing_vector(due, e)
    # what enters at 7 goes round until it leaves at node 0: p0 leak / (1 + leak) = 1e-4
    first = 1e-4 * (1 + leak) / leak
    want = np.where((np.arange(n) > 0) & (np.arange(n) < 7), first / (1 + leak), first)
    assert np.allclose(got.payments[:n], want, rtol=1e-9)
    assert got.defaulted[:n].all()
    assert got.rounds <= n


@given(
    due=arrays(np.float64, (6, 6), elements=st.floats(0, 10).map(lambda x: round(x, 3))),
    e=arrays(np.float64, 6, elements=st.floats(-2, 10).map(lambda x: round(x, 3))),
    more=arrays(np.float64, 6, elements=st.floats(0, 5).map(lambda x: round(x, 3))),
    costs=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_more_assets_never_lower_a_payment(
    due: Array, e: Array, more: Array, costs: tuple[float, float]
) -> None:
    np.fill_diagonal(due, 0)
    before, after = (clearing_vector(due, v, *costs).payments for v in (e, e + more))
    owed = due.sum(axis=1)
    assert (after >= before - 1e-9 * max(owed.max(), 1)).all()
    assert (before >= 0).all()
    assert (after <= owed * (1 + 1e-15)).all()


# ---- what the caller sees
def test_a_batch_is_its_networks() -> None:
    rng = np.random.default_rng(SEED)
    nets = [random_network(rng, 7) for _ in range(9)]
    due, e = np.array([d for d, _ in nets]), np.array([v for _, v in nets])
    got = clearing_vector(due, e, 0.8)
    assert got.payments.shape == got.defaulted.shape == (9, 8)
    assert got.residual.shape == got.rounds.shape == (9,)
    for k in range(9):
        alone = clearing_vector(due[k], e[k], 0.8)
        assert np.array_equal(got.payments[k], alone.payments)
        assert got.rounds[k] == alone.rounds
    assert clearing_vector(due[0], e).payments.shape == (9, 8)
    assert clearing_vector(due, e[0]).payments.shape == (9, 8)
    ranks = np.stack([due, due[::-1]], axis=1)
    classes = clearing_by_seniority(ranks, e)
    assert classes.payments.shape == (9, 2, 8)
    assert np.allclose(classes.payments[3], clearing_by_seniority(ranks[3], e[3]).payments)


def test_a_batch_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(SEED)
    nets = [random_network(rng, 4) for _ in range(7)]
    due, e = np.array([d for d, _ in nets]), np.array([v for _, v in nets])
    whole, ranks = clearing_vector(due, e), np.stack([due, due], axis=1)
    whole_ranks = clearing_by_seniority(ranks, e)
    monkeypatch.setattr(clearing_arrays, "_CHUNK", 50)
    assert np.array_equal(clearing_vector(due, e).payments, whole.payments)
    assert np.array_equal(clearing_by_seniority(ranks, e).payments, whole_ranks.payments)


@pytest.mark.parametrize(
    ("due", "e", "costs", "message"),
    [
        ([[0, -1], [0, 0]], [1, 1], {}, r"liabilities[0, 1] = -1: should be 0 or more"),
        (
            [[0, 1], [1, 2]],
            [1, 1],
            {},
            "liabilities[1, 1] = 2: should be 0: a node does not owe itself",
        ),
        ([[0, np.nan], [1, 0]], [1, 1], {}, "liabilities[0, 1] = nan: should be a finite number"),
        (
            [[0, 1, 1], [1, 0, 1]],
            [1, 1],
            {},
            "liabilities have the shape (2, 3): should be (n, n) or",
        ),
        ([0, 1], [1, 1], {}, "liabilities have the shape (2,): should be (n, n) or (paths, n, n)"),
        ([[0, 1], [1, 0]], [1, 1, 1], {}, "outside_assets has the shape (3,): should be (2,) or"),
        ([[0, 1], [1, 0]], [1, np.inf], {}, "outside_assets[1] = inf: should be a finite number"),
        (
            [[0, 1], [1, 0]],
            1.0,
            {},
            "outside_assets has the shape (): should be (2,) or (paths, 2)",
        ),
        ([[0, 1], [1, 0]], [1, 1], {"alpha": 1.5}, "alpha[0] = 1.5: should be within [0, 1]"),
        ([[0, 1], [1, 0]], [1, 1], {"beta": [1, -0.1]}, "beta[1] = -0.1: should be within [0, 1]"),
        ([[0, 1], [1, 0]], [1, 1], {"beta": np.nan}, "beta[0] = nan: should be a finite number"),
        (np.zeros((2, 2, 2)), np.zeros((3, 2)), {}, "numbers of paths [2, 3]: should be the same"),
    ],
)
def test_bad_input(due: Any, e: Any, costs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        clearing_vector(due, e, **costs)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_bad_input_by_seniority() -> None:
    with pytest.raises(
        ValueError, match=r"\(2, 2\): should be \(classes, n, n\) or \(paths, classes"
    ):
        clearing_by_seniority([[0, 1], [1, 0]], [1, 1])


def test_residual_is_reported_and_never_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    due, e = random_network(np.random.default_rng(SEED), 30)
    got = clearing_vector(due, e)
    relative = np.abs(got.payments - phi(due, e, got.payments)).max()
    assert got.residual == pytest.approx(relative, abs=1e-14)
    with pytest.raises(
        ClearingError, match=r"payments miss the clearing rule by .* largest sum owed"
    ):
        clearing_vector(due, e, tolerance=0.0)
    solve = clearing._solve
    monkeypatch.setattr(clearing, "_solve", lambda r, d, s: 0.999 * solve(r, d, s))
    with pytest.raises(ClearingError):
        clearing_vector(due, e)
    with pytest.raises(ClearingError, match="on path 1"):
        clearing_vector([due, due], [1e3 * np.ones(31), e])
    with pytest.raises(ClearingError):
        clearing_by_seniority([due, due], e)


# ---- the order of payment
def test_components_against_reachability() -> None:
    rng = np.random.default_rng(SEED)
    for n in (1, 2, 5, 9, 30):
        for density in (0.0, 0.05, 0.1, 0.3):
            matrix = rng.random((n, n)) < density
            edges = [(int(i), int(j)) for i, j in np.argwhere(matrix)]
            reach = np.eye(n, dtype=bool) | matrix
            for k in range(n):
                reach |= reach[:, [k]] & reach[[k]]
            found = components(n, edges)
            assert sorted(i for p in found for i in p) == list(range(n))
            at = {i: k for k, p in enumerate(found) for i in p}
            same = np.array([[at[i] == at[j] for j in range(n)] for i in range(n)])
            assert np.array_equal(same, reach & reach.T)
            assert all(at[i] <= at[j] for i, j in edges)
    assert len(components(20_000, [(i, i + 1) for i in range(19_999)])) == 20_000
    with pytest.raises(ValueError, match=r"edge \(0, 3\): should join two of the nodes 0 to 2"):
        components(3, [(0, 3)])


def test_bad_contracts() -> None:
    with pytest.raises(ValueError, match="contract 1: node 2 owes itself"):
        Network([0, 2], [1, 2], 3)
    with pytest.raises(ValueError, match=r"edge \(0, 7\)"):
        Network([0], [7], 3)
    with pytest.raises(ValueError, match="1 payers and 2 payees"):
        Network([0], [1, 2], 3)


def contract_set(rng: np.random.Generator, kind: str, n: int = 12, count: int = 17) -> Any:
    """Payers and payees: a chain, mostly a chain, or with any circles."""
    pairs = set()
    rank = rng.permutation(n)
    while len(pairs) < count:
        i, j = (int(k) for k in rng.integers(n, size=2))
        if i != j and (kind == "any" or rank[i] < rank[j]):
            pairs.add((i, j))
    payer, payee = (list(side) for side in zip(*sorted(pairs), strict=True))
    if kind == "mixed":  # two circles, and a second contract between the same two
        by_rank = np.argsort(rank)
        back = [(by_rank[4], by_rank[2]), (by_rank[2], by_rank[4]), (by_rank[9], by_rank[8])]
        back += [(by_rank[8], by_rank[9]), (payer[0], payee[0])]
        payer += [int(i) for i, _ in back]
        payee += [int(j) for _, j in back]
    return payer, payee


@pytest.mark.parametrize("kind", ["chain", "mixed", "any"])
@pytest.mark.parametrize("always", [False, True])
def test_contracts_agree_with_the_matrix(kind: str, always: bool) -> None:
    rng = np.random.default_rng(SEED)
    paths, n, short = 40, 12, 0
    for _ in range(6):
        payer, payee = contract_set(rng, kind)
        network = Network(payer, payee, n)
        if kind != "any":
            assert any(end for *_, end in network.runs) == (kind == "mixed")
            assert kind == "mixed" or len(network.runs) == 1
        due = rng.exponential(size=(len(payer), paths)) * (rng.random((len(payer), paths)) < 0.8)
        matrix = np.zeros((paths, n, n))
        np.add.at(matrix, (slice(None), payer, payee), due.T)
        need = matrix.sum(axis=2) - matrix.sum(axis=1)
        e = np.maximum(need, 0) * rng.uniform(0.5, 1.4, (paths, n))
        e -= (rng.random((paths, n)) < 0.1) * rng.random((paths, n))
        costs = np.where(rng.random((2, paths, n)) < 0.6, 1.0, rng.uniform(0.3, 1, (2, paths, n)))
        xp = ArrayNamespace(np, True, path_words(0, paths), 0)
        got = clear_contracts(
            xp, network, Fields(network.columns()), due, e.T, costs[0].T, costs[1].T, always=always
        )
        dense = clear(
            xp, n, matrix.reshape(paths, -1).T, e.T, costs[0].T, costs[1].T, always=always
        )
        assert np.allclose(got.share, dense.share, atol=1e-10)
        assert np.allclose(got.received, dense.received, atol=1e-10)
        assert np.max(got.residual) < 1e-10
        short += int((dense.share < 1).sum())
        if not always:
            want = clearing_vector(matrix, e, *costs)
            owed = matrix.sum(axis=2)
            assert np.allclose(got.share.T * owed, want.payments, atol=1e-10)
            assert np.array_equal(got.share.T < 1, want.defaulted)
    assert short > 300


def test_declared_costs_fall_on_all_who_bear_them() -> None:
    """By hand: a node that has 10, loses half and owes 6 pays 5 once its default is declared, 6 before."""
    xp = ArrayNamespace(np, True, path_words(0, 1), 0)
    network = Network([0], [1], 2)
    args = (np.array([[6.0]]), np.array([[10.0], [0]]), np.array([[0.5], [1]]), np.ones((2, 1)))
    for always, share in ((False, 1.0), (True, 5 / 6)):
        got = clear_contracts(xp, network, Fields(network.columns()), *args, always=always)
        assert got.share[0, 0] == pytest.approx(share)
        assert got.received[1, 0] == pytest.approx(6 * share)


def test_no_contracts() -> None:
    xp = ArrayNamespace(np, True, path_words(0, 3), 0)
    network = Network([], [], 4)
    got = clear_contracts(xp, network, Fields(network.columns()), np.zeros((1, 3)), np.ones((4, 3)))
    assert (got.share == 1).all()
    assert (got.received == 0).all()
    assert all(c.dtype == np.int32 and c.size for c in network.columns().values())


# ---- in the kernels
NODES = 5


def drawn(xp: Any, name: str, length: int, low: float, high: float) -> Any:
    """A per-path array of uniforms between two bounds; alpha and beta are capped at 1."""

    def one(i: Any, c: Any) -> dict[str, Any]:
        u = low + (high - low) * xp.uniform(xp.philox(f"clearing.{name}", None, i)[0])
        u = xp.minimum(u, 1.0) if name in ("alpha", "beta") else u
        return {"x": xp.set(c.x, i, u)}

    return xp.loop(0, length, one, x=xp.array(length, 0.0)).x


def reported(xp: Any, **arrays: tuple[Any, int]) -> dict[str, Any]:
    return {f"{k}{i}": xp.get(a, i) for k, (a, size) in arrays.items() for i in range(size)}


def dense_model(costs: bool) -> FunctionModel:
    """Five nodes: four owe each other and the fifth; some have claims that rank first, some bear no costs."""

    def step(xp: Any, inputs: Any, state: Any, month: Any) -> dict[str, Any]:
        due = drawn(xp, "due", NODES * NODES, 0.2, 1.2)
        for i in range(NODES):
            due = xp.set(due, i * (NODES + 1), 0.0)
            due = xp.set(due, (NODES - 1) * NODES + i, 0.0)
        e = drawn(xp, "outside", NODES, -0.3, 1.6)
        alpha = drawn(xp, "alpha", NODES, 0.6, 1.4) if costs else 1.0
        beta = drawn(xp, "beta", NODES, 0.6, 1.4) if costs else 1.0
        got = clear(xp, NODES, due, e, alpha, beta)
        values = reported(xp, share=(got.share, NODES), received=(got.received, NODES))
        return values | {"rounds": got.rounds, "residual": got.residual}

    names = [f"{k}{i}" for k in ("share", "received") for i in range(NODES)]
    return FunctionModel(step, [*names, "rounds", "residual"])


PAYER = [0, 0, 1, 2, 3, 3, 4, 5, 5]
PAYEE = [1, 2, 3, 3, 4, 5, 3, 6, 4]  # 3 and 4 owe each other, and 3, 5, 4 are a circle


def contracts_model() -> FunctionModel:
    network = Network(PAYER, PAYEE, 7)

    def step(xp: Any, inputs: Any, state: Any, month: Any) -> dict[str, Any]:
        due = drawn(xp, "due", len(PAYER), 0.2, 1.2)
        e = drawn(xp, "outside", 7, 0.0, 0.8)
        alpha, beta = drawn(xp, "alpha", 7, 0.6, 1.4), drawn(xp, "beta", 7, 0.6, 1.4)
        got = clear_contracts(xp, network, Fields(inputs), due, e, alpha, beta)
        values = reported(xp, share=(got.share, 7), received=(got.received, 7))
        return values | {"rounds": got.rounds, "residual": got.residual}

    names = [f"{k}{i}" for k in ("share", "received") for i in range(7)]
    return FunctionModel(step, [*names, "rounds", "residual"], columns=network.columns())


def seniority_model() -> FunctionModel:
    n, classes = 4, 2

    def step(xp: Any, inputs: Any, state: Any, month: Any) -> dict[str, Any]:
        due = drawn(xp, "due", classes * n * n, 0.2, 1.2)
        for s in range(classes):
            for i in range(n):
                due = xp.set(due, s * n * n + i * (n + 1), 0.0)
                due = xp.set(due, s * n * n + (n - 1) * n + i, 0.0)
        e = drawn(xp, "outside", n, -0.3, 2.5)
        paid, rounds = clear_by_seniority(xp, n, classes, due, e)
        return reported(xp, paid=(paid, classes * n)) | {"rounds": rounds}

    return FunctionModel(step, [*(f"paid{i}" for i in range(classes * n)), "rounds"])


MODELS = {
    "dense": lambda: dense_model(True),
    "contracts": contracts_model,
    "seniority": seniority_model,
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MODELS)
def test_backends_agree(name: str, backend: str) -> None:
    if why_not(backend):
        pytest.skip(why_not(backend))
    model = MODELS[name]()
    shown = [k for k in model.metrics if k not in ("residual", "rounds")]
    rows = [model.metrics.index(k) for k in shown]
    want = run("numpy", model, "float64", 400).metrics
    rounds = want[model.metrics.index("rounds")]
    assert rounds.max() >= 2
    assert name == "seniority" or (rounds == 0).any()
    for dtype, tolerance in (("float64", 1e-10), ("float32", 1e-4)):
        out = run(backend, model, dtype, 400)
        assert not out.bad.any()
        assert np.abs(out.metrics[rows] - want[rows]).max() < tolerance, dtype
        if "residual" in model.metrics:
            assert out.metrics[model.metrics.index("residual")].max() < tolerance


def test_the_kernel_is_the_public_function() -> None:
    """The draws of the traced model, cleared by clearing_vector."""
    paths = 200
    xp = ArrayNamespace(np, True, path_words(0, paths), 1)
    due = drawn(xp, "due", NODES * NODES, 0.2, 1.2).T.reshape(paths, NODES, NODES).copy()
    due[:, np.arange(NODES), np.arange(NODES)] = 0
    due[:, -1] = 0
    e = drawn(xp, "outside", NODES, -0.3, 1.6).T
    want = clearing_vector(due, e)
    model = dense_model(False)
    got = run("numpy", model, "float64", paths, seed=1).metrics
    assert np.allclose(got[:NODES].T * due.sum(axis=2), want.payments, rtol=0, atol=1e-15)
    assert np.array_equal(got[model.metrics.index("rounds")], want.rounds)
    for k in range(20):
        assert np.allclose(picard(due[k], e[k])[0], want.payments[k], atol=1e-12)
