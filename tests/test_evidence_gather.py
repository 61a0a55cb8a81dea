"""All evidence of a run: every table is there or said to be left out; assumptions are what the config and its facts say."""

from __future__ import annotations

import csv
import re
from functools import cache
from typing import Any

import numpy as np
import pytest

from overbuilt import Result, System, load, output, parameter, simulate
from overbuilt.engine.evidence.assumptions import COLUMNS, assumptions, facts_table
from overbuilt.engine.evidence.gather import TABLES, Evidence, gather
from overbuilt.engine.locate import CONFIGS
from overbuilt.engine.run_store import load_run

SAID = dict(
    re.findall(r"``(\w+)``: ([a-z0-9_, ()A-Z]+)\.", " ".join((Evidence.__doc__ or "").split()))
)
"""The columns of each table, as the docstring of Evidence promises them."""


def sound(found: Evidence) -> Evidence:
    """Each table is there, with rows and the columns it should have, or it is said why not; never both."""
    for name in TABLES:
        table = getattr(found, name)
        assert (table is None) == (name in found.left_out), name
        if table is None:
            assert found.left_out[name].strip(), name
            assert name not in found.used
            continue
        assert len(table), name
        assert name in found.used or name in ("assumptions", "facts"), name
        if name in SAID:
            columns = [c.partition(" (")[0] for c in SAID[name].split(", ")]
            assert list(table.columns) == columns, name
    return found


@cache
def textbook() -> Result:
    return simulate(load("textbook"), 60, 3, "numpy", "float64")


def test_the_docstring_names_columns() -> None:
    assert set(SAID) >= {"claims", "survival", "phases", "rounds", "stories", "stress"}


def test_a_run_of_private_credit_alone_has_stories_and_a_tornado() -> None:
    heard: list[tuple[str, float]] = []
    found = sound(gather(textbook(), progress=lambda what, share: heard.append((what, share))))
    assert {n for n in TABLES if n not in found.left_out} == {
        "stories",
        "tornado",
        "assumptions",
        "facts",
    }
    assert found.metric == "private_credit.loss"
    assert "no claim can be decided" in found.left_out["claims"]
    assert found.left_out["flows"] == "textbook: has no firms"
    shares = [share for _, share in heard]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert found.used["stories"] == "60 paths of textbook, seed 3"


def test_a_stored_run_gives_the_same(tmp_path: Any) -> None:
    textbook().save(tmp_path / "run")
    again, first = gather(load_run(tmp_path / "run"), quick=True), gather(textbook(), quick=True)
    for name in TABLES:
        a, b = getattr(again, name), getattr(first, name)
        assert (a is None and b is None) or a.equals(b), name
    assert again.left_out == first.left_out


def test_quick_leaves_the_long_parts_out() -> None:
    found = sound(gather(textbook(), quick=True))
    assert found.left_out["tornado"] == found.left_out["stress"] == "left out of a quick report"
    assert found.stories is not None


def test_base_for_a_month_on_one_path() -> None:
    run = simulate(load("base"), 1, 3, "numpy", "float64", months=1)
    found = sound(gather(run, quick=True))
    assert set(found.left_out) == {"stress", "tornado"}
    assert found.claims is not None
    assert found.claims["paths"].max() == 1
    assert found.survival is not None
    assert found.survival["month"].tolist() == [1] * 12
    assert found.used["flows"] == "1 path of base, seed 3"


def test_one_path_has_no_tornado() -> None:
    found = sound(gather(simulate(load("textbook"), 1, 3, "numpy", "float64")))
    assert found.left_out["tornado"] == "of one path nothing can be told apart from chance"


class Breaking(System):
    """A system of someone's own, written in Python, whose state is no number on half of the paths, or on all."""

    share = parameter(0.5, "share", "assumption: of paths that break")
    cost = output("USD bn", series=False)

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"cost": 0.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        u = draw.uniform("u")
        return {"cost": xp.where(u < self.share, xp.log(-u), s.cost + u)}


def test_a_run_from_python_has_facts_alone() -> None:
    run = simulate(Breaking(), 50, 1, "numpy", "float64", months=1)
    assert 0 < run.bad_count < 50
    found = sound(gather(run))
    assert [n for n in TABLES if n not in found.left_out] == ["facts"]
    assert "without a config" in found.left_out["stories"]


def test_a_run_none_of_whose_paths_stayed_finite_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    run = simulate(Breaking(share=1.0), 20, 1, "numpy", "float64", months=1)
    run.model = load("textbook")
    found = sound(gather(run, quick=True))
    assert found.left_out["stories"] == "breaking: no path had a state that stayed finite"


# ---- assumptions and facts
def test_facts_are_those_of_the_file() -> None:
    with (CONFIGS / "facts.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    table = facts_table()
    assert tuple(table.columns) == COLUMNS
    assert table["what"].tolist() == [r["quantity"] for r in rows]
    values = [float(r["value"]) if r["value"] else np.nan for r in rows]
    assert np.array_equal(table["value"], values, equal_nan=True)
    for text, row in zip(table["source"], rows, strict=True):
        assert text.startswith(row["source"])
        assert row["note"] in text
    assert set(table["basis"]) == {"fact"}


def test_assumptions_say_value_basis_and_source() -> None:
    table: Any = assumptions(load("base")).set_index("what")
    assert table.index.is_unique
    assert set(table["basis"]) == {"fact", "assumption"}
    known = table.loc["revenue.revenue_2025"]
    assert (known["value"], known["unit"], known["basis"], known["as_of"]) == (
        "60", "USD bn/year", "fact", "2025-12",
    )  # fmt: skip
    assert "atlantic" in known["source"]
    guess = table.loc["firms.grace"]
    assert (guess["value"], guess["unit"], guess["basis"]) == ("3", "month", "assumption")
    assert guess["source"] == "arrears beyond which a default is declared"
    assert table.loc["firms.appetite", "value"] == "1, 0.7, 0.15"
    assert table.loc["shocks.correlation", "value"] == "8 x 8 matrix"
    assert table.loc["firms.contract.meta_coreweave", "basis"] == "fact"
    assert table.loc["firms.contract.meta_nebius", "basis"] == "assumption"
    assert (table["source"].str.len() > 0).all()


def test_what_a_scenario_sets_says_so() -> None:
    own = load("base", {"firms.grace": 4.0, "firms.firm.openai.cash": 12.5})
    table: Any = assumptions(own).set_index("what")
    assert table.loc["firms.grace", "value"] == "4"
    assert table.loc["firms.grace", "source"].startswith("set by this scenario; the default is 3 (")
    assert table.loc["firms.firm.openai", "source"] == "set by this scenario: cash 12.5"
    changed = table["source"].str.startswith("set by this scenario")
    before = (
        assumptions(load("base")).set_index("what")["source"].str.startswith("set by this scenario")
    )
    assert set(table.index[changed]) - set(before.index[before]) == {
        "firms.grace",
        "firms.firm.openai",
    }
    linear: Any = assumptions(load("linear")).set_index("what")
    assert linear.loc["revenue.reading", "value"] == "linear"
    assert "the default is exponential" in linear.loc["revenue.reading", "source"]
