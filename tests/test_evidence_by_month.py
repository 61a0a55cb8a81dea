"""Tables by month and of who pays whom: against the ordinary kernel, the reference's own record, scipy, and contracts."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from scipy.stats import binomtest

from overbuilt import ConfigError
from overbuilt.engine.economy.settlement import LEDGER
from overbuilt.engine.evidence.by_month import (
    PHASES,
    ROUNDS,
    Recorded,
    _Counting,
    _watching,
    by_month,
    phases,
    rounds,
    sales,
    survival,
)
from overbuilt.engine.evidence.network import flows
from overbuilt.engine.evidence.payments import IN, OUT, Edge, paying
from overbuilt.engine.record import record
from overbuilt.engine.scenario import Scenario, load
from overbuilt.engine.simulate import plan, simulate
from overbuilt.engine.system import Economy
from overbuilt.kernels.backends.base import Output

PATHS, MONTHS, SEED = 100, 24, 7
REFERENCE: dict[str, Any] = {"backend": "numpy", "dtype": "float64"}


@cache
def scenario() -> Scenario:
    return load("base", {"months": MONTHS})


@cache
def recorded() -> Recorded:
    return by_month(scenario(), PATHS, seed=SEED, **REFERENCE)


@cache
def reference() -> Output:
    """The same paths by the kernel of ordinary runs, with its series."""
    return plan(scenario(), **REFERENCE).run(SEED, 0, PATHS, series=True)


@cache
def months_seen() -> list[dict[str, NDArray[Any]]]:
    return [m.seen for m in record(scenario().economy, SEED, 0, PATHS, MONTHS)]


def series(name: str) -> NDArray[Any]:
    """(months, paths) of the ordinary kernel."""
    output = reference()
    assert output.series is not None
    return np.asarray(output.series[:, scenario().economy.series.index(name)])


# ---- survival, phases, forced sales
def test_who_is_alive_at_the_end_did_not_default() -> None:
    table: Any = survival(recorded()).set_index(["firm", "month"])
    economy = scenario().economy
    for k, name in enumerate(economy.metrics):
        if name.startswith("firms.defaulted_"):
            firm = name.removeprefix("firms.defaulted_")
            alive = 1.0 - reference().metrics[k].mean()
            assert table.loc[(firm, MONTHS), "alive"] == pytest.approx(alive, abs=1e-12)
    assert table.loc[("xai", MONTHS), "alive"] < 1.0  # else nothing was tested
    assert len(table) == 12 * MONTHS


def test_survival_never_rises_and_its_intervals_are_wilsons() -> None:
    table: Any = survival(recorded())
    for _, rows in table.groupby("firm"):
        assert (np.diff(rows["alive"]) <= 0.0).all()
    some = table[(table["alive"] > 0.0) & (table["alive"] < 1.0)].iloc[::37]
    assert len(some) > 3
    for row in some.itertuples():
        wanted = binomtest(round(row.alive * PATHS), PATHS).proportion_ci(0.95, "wilson")
        assert (row.low, row.high) == pytest.approx((wanted.low, wanted.high), rel=1e-6)


def test_dates_are_months_after_the_start() -> None:
    assert recorded().dates()[0] == "2026-01"
    assert recorded().dates()[MONTHS - 1] == "2027-12"
    assert survival(recorded())["date"].iloc[-1] == "2027-12"


def test_phases_are_those_of_the_series_and_sum_to_one() -> None:
    table = phases(recorded()).pivot(index="month", columns="phase", values="share")
    assert np.allclose(table.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    for code, name in enumerate(PHASES):
        assert np.allclose(table[name], (series("cycle.phase") == code).mean(axis=1))
    assert table["bust"].max() > 0.0


def test_rounds_and_units_are_those_of_the_series() -> None:
    found = rounds(recorded()).pivot(index="month", columns="rounds", values="share")[list(ROUNDS)]
    assert np.allclose(found.sum(axis=1), 1.0, rtol=0, atol=1e-12)
    number = series("gpu_loans.rounds")
    for name, low, high in (
        ("no sale", 0, 0),
        ("1", 1, 1),
        ("2", 2, 2),
        ("3 to 5", 3, 5),
        ("6 or more", 6, 999),
    ):
        assert np.allclose(found[name], ((number >= low) & (number <= high)).mean(axis=1))
    assert (found.max() > 0.0).sum() >= 3
    sold, table = series("gpu_loans.sold"), sales(recorded())
    assert np.allclose(table["mean_units"], sold.mean(axis=1))
    wanted = np.quantile(sold, 0.99, axis=1, method="inverted_cdf")
    assert np.allclose(table["p99_units"], wanted)


# ---- who pays whom
def test_adding_up_payments_changes_no_path() -> None:
    economy = scenario().economy
    other = plan(paying(economy), **REFERENCE).run(SEED, 0, 40)
    names = paying(economy).metrics
    for k, name in enumerate(economy.metrics):
        assert np.array_equal(other.metrics[names.index(name)], reference().metrics[k, :40]), name


def ledger(kind: str) -> NDArray[np.float64]:
    """By firm, what the record's ledger has of a kind, USD bn a year, mean over paths and months."""
    rows = slice(LEDGER.index(kind), None, len(LEDGER))
    found = sum(m["firms.ledger"][rows].mean(axis=1) for m in months_seen())
    return np.asarray(found * 12.0 / MONTHS)


def test_contracts_sum_to_what_the_ledgers_of_both_sides_say() -> None:
    table = flows(recorded())
    inner = table[
        ~table["payer"].str.startswith("outside") & ~table["payee"].str.startswith("outside")
    ]
    gifts = inner["kind"] == "equity"
    firms = [f.name for f in scenario().economy.systems["firms"].firm]
    for rows, given, got in (
        (inner[~gifts], "contracts_paid", "contracts"),
        (inner[gifts], "vendor_equity_given", "vendor_equity"),
    ):
        assert len(rows) > 1
        pays, receives = (rows.groupby(k)["value"].sum() for k in ("payer", "payee"))
        for i, firm in enumerate(firms):
            assert pays.get(firm, 0.0) == pytest.approx(ledger(given)[i], rel=1e-9, abs=1e-9)
            assert receives.get(firm, 0.0) == pytest.approx(ledger(got)[i], rel=1e-9, abs=1e-9)


def test_each_contract_alone_is_what_was_due_less_what_stayed_open() -> None:
    """On paths where both sides stand all along, what a contract paid is what the reference was asked for, less what it
    carries over at the end. What is asked for is known for compute at a flat price: its total over its months."""
    alive = np.logical_and.reduce(
        [
            m[f"firms.defaulted_{f}"] == 0.0
            for m in months_seen()
            for f in ("microsoft", "coreweave")
        ]
    )
    assert alive.sum() > PATHS / 3
    economy = paying(scenario().economy)
    got = plan(economy, **REFERENCE).run(SEED, 0, PATHS)
    row = next(
        k for k, n in enumerate(economy.metrics) if n.endswith("settled_microsoft_coreweave")
    )
    paid = got.metrics[row][alive]
    open_ = months_seen()[-1]["firms.short_microsoft_coreweave"][alive]
    assert np.allclose(paid + open_, 17.5 / 60 * MONTHS, rtol=1e-9)  # contracts.csv


def test_the_first_month_pays_what_the_contracts_say() -> None:
    """Before anything can happen: level amounts (contracts.csv), whatever their payers' revenue."""
    found = flows(by_month(load("base", {"months": 1}), 40, **REFERENCE))
    table = found.set_index(["payer", "payee"])["value"]
    assert table["microsoft", "coreweave"] == pytest.approx(17.5 / 5, rel=1e-9)
    assert table["meta", "nebius"] == pytest.approx(3 / 5, rel=1e-9)
    # a ramp of six months and 66 level ones: the first pays a sixth, of 14/(3.5 + 66) a month
    assert table["meta", "coreweave"] == pytest.approx(12 * 14 / 69.5 / 6, rel=1e-9)
    assert ("openai", "microsoft") not in table.index  # it begins in month 7


def test_flows_from_and_to_the_outside_are_the_ledgers() -> None:
    parties = {e.payer or e.payee for e in (*IN.values(), *OUT.values())}
    table = flows(recorded(), parties).groupby(["payer", "payee", "kind"])["value"].sum()
    firms = [f.name for f in scenario().economy.systems["firms"].firm]
    wanted: dict[Edge, float] = {}
    for kind, edge in (IN | OUT).items():
        for firm, value in zip(firms, ledger(kind), strict=True):
            whole = Edge(edge.payer or firm, edge.payee or firm, edge.kind)
            wanted[whole] = wanted.get(whole, 0.0) + value
    for edge, value in wanted.items():
        assert table.get(edge, 0.0) == pytest.approx(value, rel=1e-9, abs=1e-9), edge
    shown = flows(recorded())
    outside = [n for n in {*shown["payer"], *shown["payee"]} if n.startswith("outside")]
    assert sorted(outside) == ["outside customers", "outside lenders"]


def test_what_goes_round_is_a_strongly_connected_component() -> None:
    table = flows(recorded())
    inner = table[
        ~table["payer"].str.startswith("outside") & ~table["payee"].str.startswith("outside")
    ]
    names = sorted({*inner["payer"], *inner["payee"]})
    at = {n: i for i, n in enumerate(names)}
    graph = csr_matrix(
        (np.ones(len(inner)), ([at[n] for n in inner["payer"]], [at[n] for n in inner["payee"]])),
        shape=(len(names), len(names)),
    )
    _, part = connected_components(graph, connection="strong")
    for row in inner.itertuples():
        assert row.circular == (part[at[row.payer]] == part[at[row.payee]]), (row.payer, row.payee)
    round_trips = inner[inner["circular"]]
    assert {("openai", "oracle"), ("oracle", "nvidia"), ("nvidia", "openai")} <= set(
        zip(round_trips["payer"], round_trips["payee"], strict=True)
    )
    assert not inner["circular"].all()
    assert not table[~table.index.isin(inner.index)]["circular"].any()


def test_contracts_of_one_kind_between_two_firms_are_one_flow(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        """
        extends = "base"
        months = 1
        [[firms.contract]]
        name = "again"
        payer = "microsoft"
        payee = "coreweave"
        total = 17.5
        """
    )
    table = flows(by_month(load(tmp_path / "mine.toml"), 10, **REFERENCE))
    found = table.set_index(["payer", "payee", "kind"])["value"]
    assert found["microsoft", "coreweave", "compute"] == pytest.approx(7.0, rel=1e-9)
    assert found.index.is_unique


# ---- what is not there
def test_a_run_is_recorded_as_it_was_run() -> None:
    run = simulate(scenario(), 30, SEED, "numpy", "float64", months=3)
    found = by_month(run, 500)
    assert (found.paths, found.months, found.seed) == (30, 3, SEED)  # not more paths than the run
    assert found.said == "30 paths of base, seed 7"
    alive = survival(found).groupby("firm")["alive"].last()
    for firm, share in alive.items():
        assert share == pytest.approx(1.0 - run.metrics[f"firms.defaulted_{firm}"]["mean"])


def test_launches_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    short = load("base", {"months": 2})
    whole = by_month(short, 50, **REFERENCE)
    monkeypatch.setattr("overbuilt.engine.evidence.by_month.LAUNCH", 17)
    parts = by_month(short, 50, **REFERENCE)
    for table in (survival, phases, rounds, sales):
        assert table(parts).equals(table(whole)), table.__name__
    assert np.allclose(flows(parts)["value"], flows(whole)["value"], rtol=1e-12)


def test_a_model_without_firms_says_so() -> None:
    found = by_month(load("textbook"), 10, **REFERENCE)
    for table, what in (
        (survival, "firms"),
        (flows, "firms"),
        (phases, "cycle"),
        (rounds, "GPU"),
        (sales, "GPU"),
    ):
        with pytest.raises(ConfigError, match=f"textbook: has no {what}"):
            table(found)


def test_one_path_in_one_month() -> None:
    found = by_month(load("base", {"months": 1}), 1, **REFERENCE)
    assert set(survival(found)["alive"]) <= {0.0, 1.0}
    assert phases(found)["share"].sum() == rounds(found)["share"].sum() == 1.0
    assert len(sales(found)) == 1
    assert (flows(found)["value"] > 0.0).all()


def counted(bad: list[int]) -> tuple[Recorded, Recorded]:
    """Three paths of which some are bad, and the good ones alone."""
    watched, edges = _watching(load("base", {"months": 2}).economy)
    got = plan(watched, **REFERENCE).run(SEED, 0, 3, series=True)
    assert got.series is not None
    keep = [i for i, b in enumerate(bad) if not b]
    got.series[:, :, [i for i, b in enumerate(bad) if b]] = np.nan
    made = []
    for k, flags in ((slice(None), bad), (keep, [0] * len(keep))):
        counting = _Counting(watched, edges)
        counting.add(Output(got.metrics[:, k], got.series[:, :, k], np.array(flags, np.int32)))
        made.append(counting.found("some", "2025-12", SEED, 2))
    return made[0], made[1]


def test_paths_whose_state_is_not_finite_are_left_out() -> None:
    all_of_them, good = counted([0, 2, 0])
    assert (all_of_them.paths, all_of_them.bad) == (2, 1)
    for table in (survival, phases, rounds, sales, flows):
        assert table(all_of_them).equals(table(good)), table.__name__
    with pytest.raises(ConfigError, match="none of 3 paths"):
        counted([1, 1, 1])


def test_other_firms_make_other_lines() -> None:
    fewer = load("base", {"months": 1, "firms.contract.meta_nebius.remove": True})
    assert isinstance(fewer.economy, Economy)
    table = flows(by_month(fewer, 5, **REFERENCE))
    assert not ((table["payer"] == "meta") & (table["payee"] == "nebius")).any()
