"""Charts of a result alone: what they say, against NumPy on the paths; and results that have little to show."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from altair.vegalite.v6.schema.core import Root
from scipy import stats

from overbuilt.engine.charts.fan import RENTALS, fan, fans
from overbuilt.engine.charts.figure import Figure
from overbuilt.engine.charts.holders import holders
from overbuilt.engine.charts.kinds import KINDS, draw, problems_of
from overbuilt.engine.charts.loss import exceedance, histogram, loss, steps
from overbuilt.engine.charts.states import states
from overbuilt.engine.charts.tranches import tranches
from overbuilt.engine.charts.words import as_of, labels, spoken, states_of
from overbuilt.engine.result import Result
from overbuilt.engine.run_store import load_run
from overbuilt.engine.scenario import load
from overbuilt.engine.simulate import simulate
from overbuilt.engine.validate import ConfigError

from .chart_results import Array, grey, pixels, result_of

LOSS = "private_credit.loss"
RNG = np.random.default_rng(20251124)
HEAVY = RNG.lognormal(3.0, 1.0, 40_000)
WALK = RNG.lognormal(0.0, 0.3, (24, 500)).cumprod(axis=0)
CALENDAR = {"as_of": "2025-12", "title": "made"}


def part(figure: Figure, name: str) -> pd.DataFrame:
    return figure.data[figure.data["part"] == name]


# ---- fans
def test_a_fan_holds_the_quantiles_of_the_paths() -> None:
    """The ceil(n q)-th smallest value (definition 1 of Hyndman and Fan 1996)."""
    data = fan(result_of({LOSS: HEAVY[:500]}, {"a.b": WALK}), "a.b").data
    assert list(data["month"]) == list(range(1, 25))
    for column, q in (
        ("5 %", 0.05),
        ("25 %", 0.25),
        ("median", 0.5),
        ("75 %", 0.75),
        ("95 %", 0.95),
    ):
        expected = np.quantile(WALK, q, axis=1, method="inverted_cdf")
        np.testing.assert_allclose(data[column], expected, rtol=1e-12)
    np.testing.assert_allclose(data["mean"], WALK.mean(axis=1), rtol=1e-12)


def test_a_fan_has_calendar_dates_where_the_run_has() -> None:
    dated = fan(result_of({LOSS: HEAVY[:500]}, {"a.b": WALK}, config=CALENDAR), "a.b")
    assert list(dated.data["date"][[0, 11, 23]]) == ["2026-01", "2026-12", "2027-12"]
    assert dated.caption.startswith("In December 2027 ")
    assert "2026" in dated.svg()
    bare = fan(result_of({LOSS: HEAVY[:500]}, {"a.b": WALK}), "a.b")
    assert set(bare.data["date"]) == {""}
    assert bare.caption.startswith("In month 24 ")


def test_a_share_is_drawn_in_per_cent() -> None:
    made = fan(result_of({LOSS: HEAVY[:500]}, {"a.b": 0.01 * WALK}, units={"a.b": "share"}), "a.b")
    np.testing.assert_allclose(made.data["mean"], WALK.mean(axis=1), rtol=1e-12)
    assert set(made.data["unit"]) == {"%"}


@pytest.mark.parametrize("count", [2, 3])
def test_results_beside_each_other_keep_their_names(count: int) -> None:
    made = [
        result_of({LOSS: [1.0, 2.0]}, {"a.b": WALK[:, :2] * k}, name="base", seed=k % 2)
        for k in range(1, count + 1)
    ]
    figure = fan(made[0], "a.b", others=made[1:])
    names = list(dict.fromkeys(figure.data["scenario"]))
    assert len(names) == count
    assert names[:2] == ["base, seed 1", "base, seed 0"]
    assert figure.panels == (1 if count == 2 else count)
    assert all(n in figure.svg() for n in names)
    assert labels([made[0]]) == ["base"]


def test_a_log_axis_is_of_positive_values_only() -> None:
    positive = result_of({LOSS: [1.0]}, {"a.b": WALK[:, :1]})
    assert fan(positive, "a.b").toggle == "y"
    assert '"log"' in str(fan(positive, "a.b", log=True).spec()).replace("'", '"')
    some = result_of({LOSS: [1.0]}, {"a.b": np.where(np.arange(24) < 3, 0.0, 1.0)[:, None]})
    refused = fan(some, "a.b", log=True)
    assert refused.toggle == ""
    assert "'log'" not in str(refused.spec())
    assert "not all values are positive" in refused.caption


def test_fans_are_the_generations_that_there_are() -> None:
    made = result_of({LOSS: [1.0]}, dict.fromkeys(RENTALS[:3], WALK[:, :1]))
    assert fans(made).panels == 3
    assert list(dict.fromkeys(fans(made).data["variable"])) == list(RENTALS[:3])
    with pytest.raises(ConfigError, match=r"reports none of rental.hopper"):
        fans(result_of({LOSS: [1.0]}, {"a.b": WALK[:, :1]}))


def test_an_unknown_variable_is_told_what_it_looks_like() -> None:
    made = result_of({LOSS: [1.0]}, {"rental.hopper": WALK[:, :1]})
    with pytest.raises(ConfigError, match=r"rental\.hoper.*rental\.hopper"):
        fan(made, "rental.hoper")
    with pytest.raises(ConfigError, match="after the last month only"):
        fan(made, LOSS)
    with pytest.raises(ConfigError, match=r"private_credit\.los.*no metric"):
        loss(made, "private_credit.los")


# ---- loss
def test_marks_are_mean_var_and_es_of_the_paths() -> None:
    """VaR: the ceil(n q)-th smallest; ES: the mean of the worst 1 % (Acerbi and Tasche 2002)."""
    figure = loss(result_of({LOSS: HEAVY}))
    worst = np.sort(HEAVY)[-len(HEAVY) // 100 :]
    expected = {
        "mean": HEAVY.mean(),
        "VaR 99 %": np.quantile(HEAVY, 0.99, method="inverted_cdf"),
        "ES 99 %": worst.mean(),
    }
    for name, value in expected.items():
        row = part(figure, name).iloc[0]
        assert row["value"] == pytest.approx(value, rel=1e-9)
        assert row["low 95 %"] < row["value"] < row["high 95 %"]


def test_the_bad_end_of_a_price_is_the_lower_one() -> None:
    figure = loss(result_of({"rental.hopper": HEAVY}), "rental.hopper")
    lowest = np.sort(HEAVY)[: len(HEAVY) // 100]
    assert part(figure, "VaR 1 %")["value"].iloc[0] == pytest.approx(lowest.max(), rel=1e-9)
    assert part(figure, "ES 1 %")["value"].iloc[0] == pytest.approx(lowest.mean(), rel=1e-9)
    curve = part(figure, "paths with this or less")
    np.testing.assert_allclose(
        curve["share of paths"], [(x >= HEAVY).mean() for x in curve["value"]], rtol=1e-3
    )


@pytest.mark.parametrize("tail", [10, 10_000])
def test_the_tail_is_that_of_the_paths(tail: int) -> None:
    """Exact as far as the extremes are stored; within a bin of the histogram beyond."""
    m = result_of({LOSS: HEAVY}, tail=tail).statistics.metric(LOSS)
    found = exceedance(m)
    assert found["share"].iloc[0] == 1.0
    assert found["share"].iloc[-1] == 1.0 / len(HEAVY)
    assert (np.diff(found["share"]) <= 0.0).all()
    over = np.searchsorted(np.sort(HEAVY), found["value"], side="left")
    expected = 1.0 - over / len(HEAVY)
    # elsewhere off by a few of the paths in the bin, which is 1/2048 of an octave wide
    np.testing.assert_allclose(found["share"], expected, rtol=5e-3, atol=1e-12)
    kept = found["share"] <= tail / len(HEAVY)
    np.testing.assert_allclose(found["share"][kept], expected[kept], rtol=1e-9)


def test_the_tail_holds_the_law_that_the_paths_are_of() -> None:
    """95 % intervals of 40,000 lognormal paths, at 40 points: 4 at most miss it but on 1 run in 2,000 if they were
    independent; neighbours move together, so the seed is fixed."""
    found = exceedance(result_of({LOSS: HEAVY}).statistics.metric(LOSS))[::4]
    truth = stats.lognorm(1.0, scale=math.exp(3.0)).sf(found["value"])
    missed = (truth < found["low"]) | (truth > found["high"])
    assert missed.sum() <= 4
    assert (found["low"] <= found["share"]).all()
    assert (found["share"] <= found["high"]).all()


def test_no_tail_goes_below_one_path_in_a_hundred_thousand() -> None:
    found = exceedance(result_of({LOSS: np.arange(300_000.0)}).statistics.metric(LOSS))
    assert found["share"].iloc[-1] == pytest.approx(1e-5, rel=0.2)
    assert found["share"].iloc[-1] >= 1e-5 * (1 - 1e-9)


def test_bars_count_the_paths() -> None:
    bars, spike = histogram(result_of({LOSS: HEAVY}).statistics.metric(LOSS))
    assert spike == 0.0
    inside = [
        ((bars["from"].iloc[k] <= HEAVY) & (bars["to"].iloc[k] > HEAVY)).mean()
        for k in range(len(bars))
    ]
    np.testing.assert_allclose(
        bars["share"], inside, atol=2e-3
    )  # a stored bin across an edge is counted whole
    assert 0.997 < bars["share"].sum() <= 1.0
    assert 15 <= len(bars) <= 60
    np.testing.assert_allclose(bars["from"].iloc[1:], bars["to"].iloc[:-1])


def test_paths_at_zero_are_told_apart() -> None:
    values = np.where(np.arange(40_000) % 4 == 0, HEAVY, 0.0)
    figure = loss(result_of({LOSS: values}))
    assert part(figure, "at exactly 0")["share of paths"].iloc[0] == 0.75
    assert part(figure, "bars")["share of paths"].sum() == pytest.approx(0.25, abs=1e-3)
    assert "75 % of paths end at exactly 0" in figure.caption
    assert "+ 75 % at 0" in figure.svg()


def test_few_values_have_a_bar_each() -> None:
    figure = loss(
        result_of({"firms.bankrupt": [0.0, 0.0, 1.0, 3.0]}, units={"firms.bankrupt": "count"}),
        "firms.bankrupt",
    )
    bars = part(figure, "bars")
    assert list(bars["from"]) == [0.0, 1.0, 3.0]
    assert list(bars["share of paths"]) == [0.5, 0.25, 0.25]


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (0.0, 1.0),
        (3.0, 251.7),
        (-1e-9, 2e-9),
        (1e15, 1e15 + 4.0),
        (5.0, 5.0),
        (1e-300, 1e300),
        (-4.0, -1.0),
    ],
)
def test_steps_are_round_and_hold_the_values(low: float, high: float) -> None:
    edges = steps(low, high)
    assert edges[0] <= low
    assert high <= edges[-1]
    assert (np.diff(edges) > 0.0).all()
    assert 2 <= len(edges) <= 62
    width = edges[1] - edges[0]
    if abs(low) < 1e6:
        assert round(width / 10.0 ** math.floor(math.log10(width * (1 + 1e-9))), 6) in (
            1.0,
            2.0,
            2.5,
            5.0,
        )


def test_states_are_counted() -> None:
    units = {"cycle.phase": "0 build-out, 1 late boom, 2 bust", "cycle.bust": "0 or 1"}
    values = {"cycle.phase": [0.0, 0.0, 2.0, 0.0], "cycle.bust": [0.0, 0.0, 1.0, 0.0]}
    made = result_of(values, units=units)
    phase = loss(made, "cycle.phase").data
    assert dict(zip(phase["state"], phase["share of paths"], strict=True)) == {
        "build-out": 0.75,
        "late boom": 0.0,
        "bust": 0.25,
    }
    assert list(states(made, "cycle.bust").data["state"]) == ["no", "yes"]
    assert states_of("USD bn") == {}
    assert states_of("0 open, 1 tight") == {0: "open", 1: "tight"}


# ---- results that have little to show
ODD: dict[str, tuple[Array, Array]] = {
    "zeros": (np.zeros(100), np.zeros((12, 100))),
    "one path": (np.array([3.7]), np.full((12, 1), 2.0)),
    "two paths": (np.array([1.0, 2.0]), RNG.normal(size=(3, 2))),
    "one month": (HEAVY[:100], HEAVY[None, :100]),
    "all NaN": (np.full(10, np.nan), np.full((12, 10), np.nan)),
    "NaN at first": (HEAVY[:100], np.where(np.arange(12)[:, None] < 6, np.nan, WALK[:12, :100])),
    "tiny": (1e-30 * HEAVY[:1000], 1e-30 * WALK[:, :100]),
    "huge": (1e30 * HEAVY[:1000], 1e30 * WALK[:, :100]),
    "negative": (-HEAVY[:1000], -WALK[:, :100]),
    "rare": (np.where(np.arange(5000) < 3, 5.0, 0.0), RNG.normal(size=(12, 100))),
    "far from zero": (1e9 + HEAVY[:1000], 1e9 + WALK[:, :100]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("case", "dated"), [*((c, False) for c in ODD), ("one month", True), ("two paths", True)]
)
def test_odd_results_are_drawn(case: str, dated: bool) -> None:
    values, series = ODD[case]
    made = result_of({LOSS: values}, {"a.b": series}, config=CALENDAR if dated else None)
    for figure in (fan(made, "a.b", log=True), loss(made)):
        spec = figure.spec()
        Root.from_dict(spec)
        json.dumps(spec, allow_nan=False)
        assert not any(word in figure.caption for word in ("nan", "inf"))
        small = grey(pixels(figure.png(scale=0.2)))
        assert 0.005 < (small < 0.85).mean() < 0.9
        assert len(pd.read_csv(io.StringIO(figure.csv()))) == len(figure.data)


def test_no_loss_is_said_in_words() -> None:
    figure = loss(result_of({LOSS: np.zeros(1000)}))
    assert figure.caption == "No losses on any of 1,000 paths."
    assert "no losses on any path" in figure.svg()
    assert loss(result_of({LOSS: [3.7]})).caption == "The only path ends at 3.7 USD bn."
    assert loss(result_of({LOSS: [np.nan]})).caption == "No path has a finite value."
    nothing = {f"holders.loss_{h}": np.zeros(10) for h in ("banks", "pensions")}
    assert holders(result_of(nothing)).caption.startswith("No holder has lost anything by month 1")


def test_names_from_a_config_stay_text() -> None:
    evil = "<script>alert(1)</script>"
    made = result_of(
        {LOSS: HEAVY[:100]},
        {"a.b": WALK[:, :100]},
        name=evil,
        docs={LOSS: evil, "a.b": evil},
        config={"title": evil},
    )
    for figure in (fan(made, "a.b"), loss(made), fan(made, "a.b", others=[made])):
        assert "<script" not in figure.svg()
        assert "<script>alert" not in figure.html()
    assert "<script" not in made._repr_html_()
    assert "&lt;script&gt;" in made._repr_html_()


# ---- the shipped economy
@pytest.fixture(scope="module")
def base() -> Result:
    return simulate(load("base"), 600, 7, months=36)


@pytest.fixture(scope="module")
def paths(base: Result) -> Any:
    return base.paths()


def test_holders_are_those_of_the_paths(base: Result, paths: Any) -> None:
    data = holders(base).data.set_index("holder")
    assert (np.diff(data["mean, USD bn"]) <= 0.0).all()
    capital = {h.name: h.capital for h in base.scenario.economy.systems["holders"].holder}
    assert set(data.index) == set(capital)
    for name, row in data.iterrows():
        values = paths[f"holders.loss_{name}"]
        assert row["mean, USD bn"] == pytest.approx(values.mean(), rel=1e-5)
        p95 = np.quantile(values, 0.95, method="inverted_cdf")
        assert row["95 %, USD bn"] == pytest.approx(p95, rel=1e-6)
        of = values.mean() / capital[str(name)] if capital[str(name)] else math.nan
        assert row["mean, share of capital"] == pytest.approx(of, rel=1e-5, nan_ok=True)


def test_tranches_are_those_of_the_paths(base: Result, paths: Any) -> None:
    data = tranches(base).data.set_index("tranche")
    system = base.scenario.economy.systems["structured"]
    assert set(data.index) == {t.name for t in system.tranche}
    for t in system.tranche:
        row, values = data.loc[t.name], paths[f"structured.writedown_{t.name}"]
        assert row["share of paths with a write-down"] == pytest.approx(
            (values > 1e-6).mean(), abs=1e-12
        )
        assert row["expected write-down, share of notional"] == pytest.approx(
            values.mean(), rel=1e-5, abs=1e-12
        )
        assert row["rating"] == t.rating
        promised = t.promised if t.promised > 0 else math.nan
        assert row["promised by the rating, five years"] == pytest.approx(promised, nan_ok=True)
    assert "The promise is for five years, the run ends in December 2028." in tranches(base).caption


def test_a_loaded_run_draws_the_same(base: Result, tmp_path: Any) -> None:
    base.save(tmp_path / "run")
    again = load_run(tmp_path / "run")
    for kind, variables in (
        ("fan", ["rental.hopper"]),
        ("fans", []),
        ("loss", []),
        ("tranches", []),
        ("holders", []),
        ("gdp", []),
    ):
        a, b = draw(kind, base, variables), draw(kind, again, variables)
        assert (a.title, a.caption, a.source) == (b.title, b.caption, b.source)
        pd.testing.assert_frame_equal(a.data, b.data)
    assert as_of(again) == "2025-12"
    assert spoken(as_of(again), 36) == "December 2028"


def test_every_chart_has_a_question_units_and_source(base: Result) -> None:
    made = [draw(k, base, ["compute.capex"] if k == "fan" else []) for k in list(KINDS)[:9]]
    assert len({f.name for f in made}) == len(made)
    for figure in made:
        assert figure.title.endswith("?")
        assert figure.caption.endswith(".")
        assert any(c.isdigit() for c in figure.caption)
        assert "600 paths of base, seed 7" in figure.source
        svg = figure.svg()
        assert "Source: " in svg
        assert any(unit in svg for unit in ("USD", "GW", "ratio", " %", "% a year", "probability"))
        Root.from_dict(figure.spec())


def test_a_result_draws_itself(base: Result) -> None:
    assert base.plot.fan("rental.hopper").name == "fan_rental_hopper"
    assert base.plot("loss").name == base.plot.loss().name
    for kind in KINDS:
        assert callable(getattr(base.plot, kind))
    with pytest.raises(ConfigError, match="did you mean 'tranches'"):
        base.plot("tranchs")
    with pytest.raises(ConfigError, match="holders: draws one run"):
        base.plot("holders", against=[base])
    with pytest.raises(ConfigError, match="axes are what they are"):
        base.plot("loss", log=True)
    with pytest.raises(ConfigError, match="takes 1 variable, not 0"):
        base.plot("fan")


def test_what_an_economy_lacks_is_said() -> None:
    textbook = simulate(load("textbook"), 50, 0, "numpy")
    for kind in ("tranches", "holders", "fans"):
        with pytest.raises(ConfigError):
            draw(kind, textbook)
    assert problems_of("gap", (), 0, False, [list(textbook.series_names)])
    assert loss(textbook).data is not None


def test_a_notebook_shows_the_headlines_with_intervals(base: Result) -> None:
    page = base._repr_html_()
    assert "base: revenue may go either way" in page
    assert "December 2028" in page
    e = base.estimate(LOSS)
    assert f"{e.value:.3g}" in page
    assert base.digest[:16] in page
    odd = result_of({f"m.x{k}": np.full(3, np.nan) for k in range(20)})
    assert "12 more metrics" in odd._repr_html_()
