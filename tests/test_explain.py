"""Explain: what is recorded is what the code reads; the facts hold; the picture is sound XML."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from overbuilt.engine import explain
from overbuilt.engine.graph import graph_svg, graph_text
from overbuilt.engine.scenario import load, shipped
from overbuilt.engine.system import DT, Economy, Row, System, output, parameter, rows, setting
from overbuilt.engine.tables_explain import print_overview, print_system
from overbuilt.engine.validate import ConfigError

# figures that a fact backs but does not equal, each with the reason
NOT_AS_THE_FACT = {
    "rental.generation.hopper.volatility": "MODEL's 0.18, rounded below the measured 0.19",
}


# ---- a small economy whose reads are known
class News(System):
    """What happens. Each month anew.

    More about it.
    """

    title = "news"

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        return {"good": draw.normal("good"), "bad": draw.normal("bad")}


class Chip(Row):
    """A row."""

    price = parameter(1.0, "USD", "fact: h100_rental_now", gt=0)
    long_name_of_it = parameter(2.0, "GW", "assumption: none")
    kind = setting("used", "how it was bought", choices=("used", "new"))
    source = setting("", "where it comes from")


class Market(System):
    """Prices follow the news, and last month's credit."""

    title = "prices & <b>markets</b>"
    reads = ("news", "credit")
    weights = parameter([[1.0, 2.0], [3.0, 4.5]], "1/year", "assumption: a matrix")
    power = parameter(10.0, "GW/year", "fact: power_build_us", gt=0)
    off = parameter(99.0, "GW/year", "fact: power_build_us", gt=0)
    unknown = parameter(1.0, "1", "fact: no_such_fact")
    chip = rows(
        Chip, [{"name": "a", "price": 2.1, "source": "fact: no_such_source"}], "as they are"
    )
    price = output("USD", "the price")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"price": 1.0, "history": xp.array(7, 0.0), "unread": 0.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        hit = up.credit.loss if hasattr(up.credit, "loss") else 0.0

        def body(i: Any, a: Any) -> dict[str, Any]:  # never runs, and still it reads
            return {"x": a.x + up.news.bad}

        extra = xp.while_any(lambda a: a.x > 1e30, lambda a: body(0, a), x=0.0).x
        price = s.price + DT * (up.news.good - hit) + extra
        history = xp.set(s.history, 0, price)
        return {"price": price, "history": history, "unread": s.unread, "count": 3}


class Credit(System):
    """Losses."""

    title = "credit"
    reads = ("market", "news")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"loss": 0.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        fell = up.market.price < 1.0
        return {"loss": s.loss + xp.where(fell, 0.1, 0.0), "fell": fell}


def economy(**values: Any) -> Economy:
    return Economy(News(), Market(**values), Credit(), name="small")


def test_reads_are_what_the_code_reads() -> None:
    seen = explain.observe(economy())
    assert seen["news"] == explain.Traffic(outputs={"good": "real", "bad": "real"})
    assert seen["market"].above == {"news": ["bad", "good"]}
    assert seen["market"].below == {"credit": ["loss"]}
    assert seen["market"].state == {"price": "real", "history": "real[7]", "unread": "real"}
    assert seen["market"].outputs == {"count": "integer"}
    assert seen["credit"].above == {"market": ["price"]}
    assert seen["credit"].outputs == {"fell": "mask"}


def test_what_is_declared_and_not_read_is_found_and_the_reverse() -> None:
    assert explain.read_problems(economy()) == {"credit": "declares news and reads nothing of it"}

    class Silent(Market):
        system_name = "market"
        reads = ()

    found = explain.read_problems(Economy(News(), Silent(), Credit()))
    assert (
        found["market"]
        == "reads credit and does not declare it; reads news and does not declare it"
    )


def test_facts_that_do_not_back_their_figures_are_found() -> None:
    found = explain.fact_problems(economy())
    assert set(found) == {"market.off", "market.unknown", "market.chip.a.source"}
    assert "99 is not what power_build_us says" in found["market.off"]
    assert "no_such_fact is not in facts.csv" in found["market.unknown"]


@pytest.mark.parametrize(
    ("fact", "x", "backed"),
    [
        ("power_build_us", 8.0, True),  # 10, from 8 to 12
        ("power_build_us", 12.1, False),
        ("ai_spend_2025", 399.0, False),  # at most 400
        ("openai_oracle", 150.0, True),  # 300, from 100
        ("b200_rental_now", 4.7, True),
        ("amd_openai_equity", 1.0, False),  # a mechanism has no number
    ],
)
def test_a_fact_backs_its_value_and_its_range(fact: str, x: float, backed: bool) -> None:
    assert explain.facts()[fact].backs(x) is backed


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("fact: site_cost (USD m per MW)", ["site_cost"]),
        ("fact: coreweave_debt, no_such_id, and the rest", ["coreweave_debt", "no_such_id"]),
        ("coupon: fact no_such_id; in fact it is", ["no_such_id"]),
        ("openai_revenue_2025 (fact); others", ["openai_revenue_2025"]),
        ("assumption: a third (fleet_mix_newest)", ["fleet_mix_newest"]),
        ("assumption: as AWS did", []),
    ],
)
def test_citations_are_found_in_a_text(text: str, ids: list[str]) -> None:
    assert explain.cited(text) == ids


def test_names_that_go_through_a_table_are_shown_as_one() -> None:
    tables = {"firm": ["a", "bc", "d"], "pair": ["x", "y"]}
    names = ["cash_a", "cash_bc", "cash_d", "a", "bc", "d", "a_start", "x", "y", "a_b", "debt_a"]
    short = explain.short_names(names, tables)
    assert short == ["cash_<firm>", "<firm>", "a_start", "x", "y", "a_b", "debt_a"]


def test_a_description_says_all_and_is_json() -> None:
    about = explain.describe(economy(power=11.0), "market")
    json.dumps(about)
    by_name = {p["name"]: p for p in about["parameters"]}
    assert about["text"] == "Prices follow the news, and last month's credit."
    assert explain.describe(economy(), "news")["text"] == "What happens. Each month anew."
    assert (by_name["power"]["value"], by_name["power"]["default"]) == (11.0, 10.0)
    assert by_name["power"]["facts"][0]["as_of"] == "2025-11"
    assert "default" not in by_name["off"]
    assert about["tables"][0]["rows"][0]["price"] == 2.1
    assert about["reports"][0] == {
        "name": "price", "unit": "USD", "doc": "the price", "metric": True, "series": True,
    }  # fmt: skip
    assert about["below"] == {"credit": ["loss"]}


def test_rows_that_the_scenario_moved_are_marked() -> None:
    moved = [{"name": "a", "price": 3.0}, {"name": "b"}]
    table = explain.describe(economy(chip=moved), "market")["tables"][0]
    assert table["changed"]["a.price"] == 2.1
    assert table["changed"]["b.price"] is None
    assert "a.kind" not in table["changed"]
    gone = explain.describe(economy(chip=[{"name": "b"}]), "market")["tables"][0]
    assert gone["removed"] == ["a"]


def test_an_unknown_system_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'markt': not in small; did you mean 'market'"):
        explain.describe(economy(), "markt")


def test_tables_fit_a_hundred_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_overview(economy())
    print_system(economy(power=11.0), "market")
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    assert "prices & <b>markets</b>" in text
    assert "default 10" in text
    assert "US data-centre power brought online per year: 10 (8..12) GW/yr" in text
    assert "history (real[7])" in text


# ---- the picture
class Hostile(System):
    """x"""

    system_name = "hostile"
    title = "<script>alert('&')</script> [bold]\x00\x1b"

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        return {"<x>": draw.normal("x"), "]]>": 1.0}


class Reader(System):
    """x"""

    title = (
        "a title so long that it does not fit the three lines that a box of the picture has for it"
    )

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        return {"y": getattr(up.hostile, "<x>")}


def texts(svg: str) -> list[str]:
    return [
        "".join(e.itertext()) for e in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    ]


def test_the_picture_is_xml_with_every_system_and_label() -> None:
    found = texts(graph_svg(economy()))
    assert {"news", "market", "credit", "bad", "good", "loss", "price"} <= set(found)


def test_hostile_texts_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = Economy(Hostile(), Reader(), name="<&>")
    svg = graph_svg(hostile)
    assert "<script>" not in svg
    found = texts(svg)
    assert any(t.startswith("<script>") for t in found)
    assert "<x>" in found
    print_overview(hostile)
    print_system(hostile, "hostile")
    assert "[bold]" in capsys.readouterr().out
    assert "hostile" in graph_text(hostile)


def test_labels_stay_clear_of_boxes_and_of_each_other() -> None:
    """Every rectangle of the picture stands alone, whatever the names are."""
    for made in (economy(), load("base").economy):
        tree = ET.fromstring(graph_svg(made))
        boxes = [
            [float(e.attrib[k]) for k in ("x", "y", "width", "height")]
            for e in tree.iter("{http://www.w3.org/2000/svg}rect")
            if "x" in e.attrib
        ]
        for i, (x, y, w, h) in enumerate(boxes):
            for u, v, a, b in boxes[i + 1 :]:
                assert x + w <= u or u + a <= x or y + h <= v or v + b <= y


def test_the_text_for_the_terminal_marks_both_directions() -> None:
    lines = graph_text(economy()).splitlines()
    assert "  1  news    \\  v  ." in [x[:22] for x in lines]
    assert any(x.split()[:4] == ["v", "news", "bad,", "good"] for x in lines)
    assert any(x.split() == ["^", "credit", "loss"] for x in lines)
    assert max(map(len, lines)) <= 100


# ---- the shipped scenarios, whatever systems they have
def test_every_system_reads_what_it_declares() -> None:
    """Nothing undeclared in any scenario; what is declared is read in one of them, if not in all."""
    declared: set[tuple[str, str]] = set()
    seen: set[tuple[str, str]] = set()
    for name in shipped():
        economy = load(name).economy
        reads = {(k, r) for k, t in explain.observe(economy).items() for r in t.reads()}
        needs = {(k, r) for k, system in economy.systems.items() for r in system.needs()}
        assert reads <= needs, name
        declared |= needs
        seen |= reads
    assert declared - seen == set()


def test_facts_hold_but_for_known_exceptions() -> None:
    found = explain.fact_problems(load("base"))
    assert {k: v for k, v in found.items() if k not in NOT_AS_THE_FACT} == {}


@pytest.mark.parametrize("name", ["base", "textbook"])
def test_shipped_scenarios_can_be_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = load(name)
    systems = list(scenario.economy.systems)
    assert set(systems) <= set(texts(graph_svg(scenario)))
    assert [line["system"] for line in explain.overview(scenario)] == systems
    json.dumps(explain.describe(scenario, systems[-1]))
    print(graph_text(scenario))
    print_overview(scenario)
    for key in systems:
        print_system(scenario, key)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100
