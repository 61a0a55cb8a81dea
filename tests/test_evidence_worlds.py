"""Stresses and claims of a report: against runs of their own."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overbuilt import ConfigError
from overbuilt.engine.evidence.claims import beside, claims_table
from overbuilt.engine.evidence.stress import stress, stresses
from overbuilt.engine.run_store import load_run
from overbuilt.engine.scenario import load
from overbuilt.engine.simulate import simulate

REFERENCE: dict[str, Any] = {"backend": "numpy", "dtype": "float64"}
LOSS = "private_credit.loss"


# ---- stress
@cache
def stressed() -> Any:
    scenario = load("base", {"months": 25})
    wanted = [s for s in stresses(scenario) if s.event in ("", "price_war", "openai_default")]
    return stress(wanted, (LOSS, "firms.bankrupt", "rental.hopper"), 40, 5, **REFERENCE)


@pytest.mark.parametrize("name", ["base", "price_war", "openai_default"])
def test_a_stress_is_the_run_of_its_scenario(name: str) -> None:
    run = simulate(load(name, {"months": 25}), 40, 5, "numpy", "float64")
    paths = run.paths([LOSS, "firms.bankrupt", "rental.hopper"])
    rows = stressed()[stressed()["scenario"] == name].set_index("metric")
    for metric, row in rows.iterrows():
        values = paths[metric]
        assert row["mean"] == pytest.approx(values.mean(), rel=1e-9)
        assert row["p50"] == pytest.approx(
            np.quantile(values, 0.5, method="inverted_cdf"), rel=1e-9
        )
        assert row["p95"] == pytest.approx(
            np.quantile(values, 0.95, method="inverted_cdf"), rel=1e-9
        )
        half = 1.959964 * values.std(ddof=1) / 40**0.5
        assert (row["low"], row["high"]) == pytest.approx(
            (row["mean"] - half, row["mean"] + half), rel=1e-6
        )
        assert row["unit"] == run.units[str(metric)]
    assert rows["title"].iloc[0] == load(name).title


def test_stresses_move_what_they_should() -> None:
    means = stressed().pivot(index="scenario", columns="metric", values="mean")
    assert means.loc["price_war", "rental.hopper"] < means.loc["base", "rental.hopper"]
    assert means.loc["openai_default", "firms.bankrupt"] > means.loc["base", "firms.bankrupt"]
    assert list(dict.fromkeys(stressed()["scenario"])) == ["base", "price_war", "openai_default"]


def test_stresses_are_the_events_that_are_off_and_fit_the_horizon() -> None:
    names = [s.name for s in stresses(load("price_war"))]
    assert names[0] == "price_war"
    assert names.count("price_war") == 1
    assert "openai_default" in names
    short = [s.event for s in stresses(load("base"), months=6)]
    assert short == ["", "power_crunch", "window_shut"]  # events.csv: those of months 1 to 6
    titles = [s.title for s in stresses(load("base"))]
    assert "price war: all rentals fall by two fifths after a year" in titles
    assert not any("fact:" in t for t in titles)
    with pytest.raises(ConfigError, match="no stress event"):
        stresses(load("textbook"))


def test_an_event_keeps_the_probability_that_its_row_gives_it() -> None:
    half = load("base", {"months": 13, "stress.event.price_war.probability": 0.5})
    wanted = [s for s in stresses(half) if s.event in ("", "price_war")]
    table = stress(wanted, ("rental.hopper",), 60, 5, **REFERENCE)
    forced = simulate(
        load("base", {"months": 13, "stress.event.price_war.probability": 0.5, "stress.event.price_war.on": True}),
        60, 5, "numpy", "float64",
    )  # fmt: skip
    assert table["mean"].iloc[1] == pytest.approx(forced.metrics["rental.hopper"]["mean"], rel=1e-9)
    assert table["mean"].iloc[1] < table["mean"].iloc[0]


# ---- claims
def test_claims_are_the_shares_of_a_run_with_claims() -> None:
    months, paths = 12, 24
    table = claims_table([load("base"), load("linear")], paths, 2, months=months, **REFERENCE)
    run = simulate(load("base", also=("claims",)), paths, 2, "numpy", "float64", months=months)
    rows = table[(table["scenario"] == "base") & ~table["given"]].set_index("claim")
    compared = 0
    for name, row in rows.iterrows():
        metric = f"claims.{name}"
        if metric in run.metrics and row["paths"]:
            assert row["probability"] == pytest.approx(run.metrics[metric]["mean"]), name
            assert 0.0 <= row["low"] <= row["probability"] <= row["high"] <= 1.0
            compared += 1
    assert compared > 10
    assert rows["probability"].between(0.01, 0.99).sum() > 1
    assert set(table["scenario"]) == {"base", "linear"}
    assert (
        table.groupby(["claim", "given"])["probability"].count().min() > 0
    )  # what none decides is not there
    conditional = table[table["given"]]
    assert (conditional["paths"] < paths).all()
    assert conditional["title"].str.contains(", given ").all()


def test_a_scenario_stands_beside_the_three_readings(tmp_path: Path) -> None:
    def names(scenario: Any) -> list[str]:
        return [s.name for s in beside(scenario)]

    assert names(load("base")) == ["base", "exponential", "linear"]
    assert names(load("base", {"months": 12})) == ["base", "exponential", "linear"]
    assert names(load("base", {"fleet.scrap": 0.01})) == [
        "base",
        "base as shipped",
        "exponential",
        "linear",
    ]
    assert names(load("linear")) == ["linear", "base", "exponential"]
    file = tmp_path / "mine.toml"
    file.write_text('extends = "base"\ntitle = "<script>"\n')
    assert names(load(file)) == ["mine", "base", "exponential", "linear"]


def test_a_stored_run_of_base_is_base(tmp_path: Path) -> None:
    simulate(load("base"), 32, 0, "numpy", months=1).save(tmp_path / "run")
    stored = load_run(tmp_path / "run").scenario
    assert [s.name for s in beside(stored)] == ["base", "exponential", "linear"]


def test_claims_of_a_scenario_that_decides_none_are_not_run() -> None:
    with pytest.raises(ConfigError, match="textbook: no claim can be decided"):
        claims_table(beside(load("textbook")), 10**9, **REFERENCE)
