"""Stories and tornado of a report: against the run, its replayed paths, and what is known in closed form."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from overbuilt import ConfigError, System, output, parameter
from overbuilt.engine.evidence.stories import headline, middle, stories, worst
from overbuilt.engine.evidence.tornado import COLUMNS, tornado
from overbuilt.engine.replay import replay
from overbuilt.engine.result import Result
from overbuilt.engine.scenario import load
from overbuilt.engine.simulate import simulate
from overbuilt.engine.story import story

REFERENCE: dict[str, Any] = {"backend": "numpy", "dtype": "float64"}
LOSS = "private_credit.loss"


@cache
def textbook(paths: int = 400) -> Result:
    return simulate(load("textbook"), paths, 3, "numpy", "float64")


# ---- stories
def test_the_worst_path_is_the_run_s_worst_and_the_other_is_nearest_its_median() -> None:
    values = textbook().paths([LOSS])[LOSS].to_numpy()
    assert worst(textbook(), LOSS) == int(np.argmax(values))
    away = np.abs(values - np.quantile(values, 0.5, method="inverted_cdf"))
    assert middle(textbook(), LOSS) == int(np.argmin(away))


def test_of_a_sample_the_median_path_is_one_of_it() -> None:
    run = simulate(load("textbook"), 400, 3, "numpy", "float64", sample=20)
    values = textbook().paths([LOSS])[LOSS].to_numpy()
    sampled = run.statistics.sample.paths.astype(int)
    away = np.abs(values[sampled] - np.quantile(values, 0.5, method="inverted_cdf"))
    assert middle(run, LOSS) == sampled[int(np.argmin(away))]


def test_stories_are_those_of_replayed_paths() -> None:
    table = stories(textbook())
    assert list(table.columns) == ["which", "path", "month", "date", "system", "text"]
    groups = dict(list(table.groupby("which")))
    assert set(groups) == {f"worst by {LOSS}", f"median by {LOSS}"}
    for rows in groups.values():
        path = int(rows["path"].iloc[0])
        wanted = story(replay(textbook(), path))
        assert rows["text"].tolist() == [e.text for e in wanted]
        assert rows["month"].tolist() == [e.month for e in wanted]
    lost = replay(textbook(), worst(textbook(), LOSS)).metrics[LOSS]
    assert f"{lost:.3g} USD bn" in groups[f"worst by {LOSS}"]["text"].iloc[-1]
    assert table["date"].iloc[0] == "2025-12"


def test_one_path_has_one_story() -> None:
    assert set(stories(textbook(1))["which"]) == {f"worst by {LOSS}"}


class Mine(System):
    """A system of someone's own: hours, and money that moves with nothing that is set."""

    wage = parameter(2.0, "USD/hour", "assumption: none")
    hours = output("hour", series=False)
    cost = output("USD bn", series=False)

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"hours": 0.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        return {"hours": s.hours + self.wage, "cost": draw.uniform("cost")}


def test_the_headline_is_the_book_s_loss_or_the_first_sum_of_money() -> None:
    assert headline(textbook(1)) == LOSS
    assert headline(simulate(Mine(), 2, 0, "numpy", "float64", months=1)) == "mine.cost"


def test_unknown_metrics_are_named() -> None:
    with pytest.raises(ConfigError, match=r"metric 'private_credit.los': unknown; did you mean"):
        stories(textbook(1), "private_credit.los")


# ---- tornado
def test_the_textbook_s_tornado_is_its_formula() -> None:
    """The loss is exposure times LGD times defaults: proportional to both, on each path."""
    found = tornado(load("textbook"), LOSS, 200, 1, **REFERENCE)
    assert tuple(found.table.columns) == COLUMNS
    rows: Any = found.table.set_index("parameter")
    for name in ("private_credit.exposure", "private_credit.lgd"):
        assert rows.loc[name, "effect"] == pytest.approx(0.1 * found.value, rel=1e-9)
        assert rows.loc[name, "up"] == pytest.approx(-rows.loc[name, "down"], rel=1e-9)
        assert rows.loc[name, "elasticity"] == pytest.approx(1.0, rel=1e-9)
        assert rows.loc[name, "step"] == pytest.approx(0.1 * rows.loc[name, "value"])
        assert rows.loc[name, "told_apart"]
    assert rows.loc["private_credit.pd", "effect"] > 0.0
    plain = simulate(load("textbook"), 200, 1, "numpy", "float64").metrics[LOSS]["mean"]
    assert found.value == pytest.approx(plain, rel=1e-12)
    assert "200 paths" in found.said


def test_nothing_to_move_is_said() -> None:
    with pytest.raises(ConfigError, match=r"none of 1 parameters moves mine\.cost"):
        tornado(Mine(), "mine.cost", 20, 1, months=2, **REFERENCE)
    moved = tornado(Mine(), "mine.hours", 20, 1, months=2, **REFERENCE).table
    assert moved["effect"].tolist() == pytest.approx(
        [2 * 0.1 * 2.0]
    )  # a tenth more, in each of two months
