"""The story of a path: what it says is what the record says, each event once and in its month."""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any

import numpy as np
import pytest

from overbuilt.engine.replay import Replayed, Replayer, replay, replayer
from overbuilt.engine.scenario import load
from overbuilt.engine.story import Event, story
from overbuilt.engine.system import Economy, System, output
from overbuilt.engine.watches import (
    WATCHES,
    below_a_year_before,
    clause,
    counted,
    crosses,
    falls_due,
    figure,
    halves,
    heaviest,
    moves,
    rises,
    starts_or_ends,
    swings,
)
from overbuilt.kernels import backends

PATHS = tuple(range(40, 60))


@cache
def made() -> Replayer:
    if not backends.status("native").works:
        pytest.skip("needs a C++ compiler")
    return replayer(load("base"), seed=2, backend="native", dtype="float64")


@cache
def path(number: int) -> Replayed:
    return made().path(number)


@cache
def told(number: int) -> tuple[Event, ...]:
    return tuple(story(path(number)))


def of(number: int, variable: str) -> list[Event]:
    return [e for e in told(number) if e.variable == variable]


def months_of(number: int, variable: str) -> list[int]:
    return [e.month for e in of(number, variable)]


def series(number: int, variable: str, before: float) -> Any:
    """Month 0 and all that follow."""
    return np.concatenate([[before], path(number).values[variable]])


# ---- each event once, in its month
@pytest.mark.parametrize("number", PATHS)
def test_every_default_is_told_once_in_its_month(number: int) -> None:
    firms = [f.name for f in path(number).economy.systems["firms"].firm]
    for firm in firms:
        variable = f"firms.defaulted_{firm}"
        dead = path(number).values[variable]
        want = [int(np.argmax(dead > 0.5)) + 1] if dead.any() else []
        assert months_of(number, variable) == want, firm
    total = sum(e.variable.startswith("firms.defaulted_") for e in told(number))
    assert total == path(number).metrics["firms.bankrupt"]


@pytest.mark.parametrize("number", PATHS)
def test_releases_wars_regimes_windows_phases_and_breaches_are_told(number: int) -> None:
    r = path(number)
    for name in ("rubin", "next"):
        release = float(r.values[f"rental.release_{name}"][0])
        want = [math.ceil(release)] if release <= r.months else []
        assert months_of(number, f"rental.release_{name}") == want
    assert len(of(number, "rental.wars")) == r.values["rental.wars"][-1]
    for variable in ("revenue.regime", "funding.window"):
        values = series(number, variable, float(r.start[variable]))
        assert months_of(number, variable) == (np.flatnonzero(np.diff(values)) + 1).tolist()
    breaches = r.values["gpu_loans.breaches"]
    assert months_of(number, "gpu_loans.breaches") == (np.flatnonzero(breaches) + 1).tolist()
    bust = r.values["cycle.bust_month"][-1]
    assert months_of(number, "cycle.bust") == ([int(bust)] if bust else [])
    assert len(of(number, "holders.systemic")) == r.metrics["holders.systemic"]
    late = (series(number, "firms.arrears_xai", 0.0) > 0.0).astype(int)
    begun = (np.flatnonzero(np.diff(late) > 0) + 1).tolist()
    said = [e.month for e in of(number, "firms.arrears_xai") if "is in arrears" in e.text]
    assert said == begun


def test_forced_events_are_told_from_their_month_to_their_end() -> None:
    changes: dict[str, Any] = {}
    for name, month in (("openai_default", 4), ("funding_freeze", 3), ("loan_recall", 5), ("renewal_cliff", 2)):  # fmt: skip
        changes |= {f"stress.event.{name}.on": True, f"stress.event.{name}.month": month}
        changes |= {f"stress.event.{name}.lasting": 2} if name != "loan_recall" else {}
    r = replay(load("base", changes), 3, seed=2, backend="numpy", dtype="float64", months=6)
    found: dict[str, list[tuple[int, str]]] = {}
    for e in story(r):
        found.setdefault(e.variable, []).append((e.month, e.text))
    assert found["stress.window"] == [
        (3, "forced: funding no better than shut"), (5, "the forced event is over: funding as usual"),
    ]  # fmt: skip
    assert found["stress.renewals"] == [
        (2, "forced: renewals at 40 % of usual"), (4, "the forced event is over: renewals as usual"),
    ]  # fmt: skip
    assert found["stress.recall"] == [(5, "forced: lenders call 30 % of private loans")]
    assert [m for m, _ in found["firms.defaulted_openai"]] == [4]
    assert found["firms.defaulted_openai"][0][1].startswith("OpenAI defaults, as forced, owing ")
    window = next(text for month, text in found["funding.window"] if month == 3)
    assert window.startswith("funding turns from open to shut, as forced; credit spread ")


def test_something_of_every_kind_is_told() -> None:
    """The paths above are enough for the tests to have seen what they test."""
    kinds = {re.sub(r"_(hopper|rubin|next|\w+)$", "", e.variable) for n in PATHS for e in told(n)}
    want = {
        "rental.release", "rental.wars", "revenue.regime", "firms.defaulted", "firms.arrears", "gpu_loans.breaches",
        "funding.window", "cycle.bust", "structured.writedown", "private_credit.loss", "holders.systemic",
        "structured.exits", "fleet.impairment", "compute.tightness",
    }  # fmt: skip
    assert want <= kinds


# ---- the numbers
@pytest.mark.parametrize("number", PATHS)
def test_every_value_is_the_record_s(number: int) -> None:
    r = path(number)
    for e in told(number)[1:-1]:
        assert e.value == float(r.values[e.variable][e.month - 1]), e
        assert e.system == e.variable.partition(".")[0]


def numbers(text: str) -> list[float]:
    return [float(x.replace(",", "")) for x in re.findall(r"-?\d[\d,]*\.?\d*", text)]


@pytest.mark.parametrize("number", PATHS)
def test_the_numbers_in_the_sentences_are_the_record_s(number: int) -> None:
    """Three figures of them; here against the variables that the sentences are about."""
    r = path(number)

    def at(variable: str, month: int) -> float:
        return float(r.values[variable][month - 1])

    for e in told(number):
        m = e.month
        if e.variable.startswith("rental.release_"):
            name = e.variable.removeprefix("rental.release_")
            assert numbers(e.text)[-1] == pytest.approx(at(f"rental.{name}", m), abs=0.006)
        if e.variable.startswith("firms.defaulted_"):
            name = e.variable.removeprefix("firms.defaulted_")
            place = [f.name for f in r.economy.systems["firms"].firm].index(name)
            debt, late = (float(r.value(f"firms.{k}", m - 1)[place]) for k in ("debt", "late"))
            lost = at("firms.debt_loss", m) - float(r.value("firms.debt_loss", m - 1))
            found = re.search(r"owing ([\d.,]+) USD bn; ([\d.,]+) USD bn lost on firm debt", e.text)
            assert found is not None, e.text
            assert numbers(found[1])[0] == pytest.approx(debt, rel=0.006)
            assert numbers(found[2])[0] == pytest.approx(lost, rel=0.006, abs=1e-3)
            assert (f"after {late:.0f} month" in e.text) == (
                late > 0.5 and "as forced" not in e.text
            )
        if e.variable == "gpu_loans.breaches":
            sold = at("gpu_loans.sold", m)
            assert numbers(e.text)[0] == at("gpu_loans.breaches", m)
            assert (f"{sold:,.0f} GPUs" in e.text) == (sold > 0.0)
            assert ("cured with cash" in e.text) == (sold == 0.0)
        if e.variable == "private_credit.loss" and e.system == "private_credit":
            lost = e.value - (at(e.variable, m - 1) if m > 1 else 0.0)
            assert numbers(e.text)[0] == pytest.approx(lost, rel=0.006)
        if e.variable == "funding.window":
            states = ("open", "tight", "shut")
            before = float(r.value("funding.window", m - 1))
            assert f"from {states[int(before)]} to {states[int(e.value)]}" in e.text


def test_the_start_and_the_end() -> None:
    for number in PATHS[:5]:
        r, first, last = path(number), told(number)[0], told(number)[-1]
        assert (first.month, first.system) == (0, "start")
        assert "revenue 98.9 USD bn a year" in first.text
        assert "H100 2.10 USD/hour" in first.text
        assert (last.month, last.system) == (60, "end")
        assert figure(r.metrics["revenue.rate"]) in last.text
        assert f"H100 {r.metrics['rental.hopper']:.2f} USD/hour" in last.text
        assert f"private credit lost {figure(r.metrics['private_credit.loss'])} USD bn" in last.text
        assert counted(r.metrics["firms.bankrupt"], "firm") in last.text


def test_events_come_by_month_and_then_in_the_order_of_flow() -> None:
    flow = list(made().economy.systems)
    for number in PATHS:
        places = [(e.month, flow.index(e.system)) for e in told(number)[1:-1]]
        assert places == sorted(places)
        assert len({(e.month, e.variable) for e in told(number)[1:-1]}) == len(places)
        assert all(e.text and not re.search(r"\bnan\b|\binf\b", e.text) for e in told(number))


# ---- any economy
def test_the_textbook_tells_its_losses() -> None:
    r = replay(load("textbook"), 5, seed=3, backend="numpy")
    events = story(r)
    loss = np.concatenate([[0.0], r.values["private_credit.loss"]])
    want = (np.flatnonzero(np.diff(loss) > 0) + 1).tolist()
    assert [e.month for e in events if e.variable == "private_credit.loss"][:-1] == want
    assert {e.system for e in events} == {"start", "private_credit", "end"}
    assert math.isnan(events[0].value)


class Alarm(System):
    """A system that no watch knows."""

    ringing = output("0 or 1", "the alarm rings")
    level = output("1", "a level, which is no switch")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"level": 0.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        on = (up.month > 2) & (up.month < 5)
        return {"level": s.level + 0.25, "ringing": xp.where(on, 1.0, 0.0)}


def test_a_system_without_a_watch_tells_its_switches() -> None:
    events = story(replay(Economy(Alarm(), months=6), 0, backend="numpy"))
    assert [(e.month, e.text) for e in events] == [
        (0, "it starts"),
        (3, "the alarm rings: 0 to 1"),
        (5, "the alarm rings: 1 to 0"),
        (6, "alarm.ringing 0 0 or 1, alarm.level 1.5 1"),
    ]


def test_every_watch_names_a_variable_of_the_economy() -> None:
    """A watch that fits nothing is a watch that says nothing: names may not drift apart."""
    import fnmatch

    names = list(path(PATHS[0]).values)
    # what only some scenarios have
    rare = {"stress.rental_*"}
    assert [w.variable for w in WATCHES if not fnmatch.filter(names, w.variable)] == sorted(rare)


# ---- when
def when(condition: Any, *values: float) -> list[int]:
    """The months picked of values that begin with the start's."""
    return (np.flatnonzero(condition(np.array(values, float))) + 1).tolist()


def test_when_a_watch_counts() -> None:
    nan = math.nan
    assert when(rises(), 0, 0, 1, 1, 3, 2) == [2, 4]
    assert when(rises(0.3), 1.0, 1.2, 1.6) == [2]
    assert when(rises(0.0), 0.0, 0.0, 0.1) == [2]
    assert when(moves, 0, 0, 2, 2, 1) == [2, 4]
    assert when(moves, nan, 1, 1, 2) == [3]  # what was before the start is not known
    assert when(crosses(10, 20), 5, 9, 12, 8, 25, 30, 3, 40) == [2, 4]
    assert when(crosses(10), nan, 12, 13) == [1]
    assert when(swings(0.9, 1.1), 1.5, 1.0, 0.95, 0.8, 1.0, 1.05, 1.2, 0.7) == [3, 6, 7]
    assert when(heaviest(2), 0, 1, 4, 4, 9, 9) == [2, 4]
    assert when(heaviest(5), 0, 0, 1, 1) == [2]
    assert when(starts_or_ends(), 0, 1, 2, 0, 0, 3) == [1, 3, 5]
    assert when(falls_due, 3.2, 3.2, 3.2, 3.2, 3.2, 3.2) == [4]
    assert when(falls_due, 3.0, 3.0, 3.0, 3.0, 3.0) == [3]
    assert when(falls_due, 9.5, 9.5, 9.5) == []
    assert when(halves, nan, 8.0, 5.0, 4.0, 6.0, 3.0, 1.9, 0.9) == [3, 6, 7]
    year = [1.0] * 12
    assert when(below_a_year_before, *year, 1.01, 0.99, 0.98) == [13]
    assert when(below_a_year_before, *year, 1.01, 1.02) == []


def test_numbers_in_words() -> None:
    assert figure(0.8791, "%") == "0.879 %"
    assert figure(1234.5, "bp") == "1,234 bp"
    assert counted(1, "loan") == "1 loan"
    assert counted(1200, "loan") == "1,200 loans"
    assert counted(2, "leaf", "leaves") == "2 leaves"
    assert clause("; at {} and {}", 1.0, 2.0) == "; at 1 and 2"
    assert clause("; at {} and {}", 1.0, math.nan) == ""
