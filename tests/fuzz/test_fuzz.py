"""The fuzz suite: a few hundred cases here; all of them with ``-m slow``, or ``python -m tests.fuzz``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from overbuilt import ConfigError, load

from . import cases
from .campaign import Found, campaign
from .oracle import differences, meant

BOUNDED = 300
ALL = 10_500


def judge(found: list[Found], wanted: int) -> None:
    problems = [f"{f.kind}: {x['why']}\n{x['case']}" for f in found for x in f.failures]
    assert not problems, f"{len(problems)} failures, the first:\n{problems[0]}"
    assert sum(f.tried for f in found) >= wanted
    # what is always refused would prove nothing of what is accepted
    accepted = {f.kind for f in found if f.accepted}
    assert {"config", "config bytes", "extends", "--set", "book", "table"} <= accepted
    assert "misspelt key" not in accepted


def test_a_few_hundred_cases() -> None:
    judge(list(campaign(BOUNDED)), 0.9 * BOUNDED)


@pytest.mark.slow
def test_ten_thousand_cases() -> None:
    judge(list(campaign(ALL)), 10_000)


# ---- that a defect would be found
def test_a_value_that_was_not_written_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "price_war"\n[revenue]\nvolatility = 0.25\n')
    values = load(path).values
    assert differences(values, meant(path)) == []
    changed = {**values, "revenue": {**values["revenue"], "volatility": 0.2}}
    assert differences(changed, meant(path)) == [".revenue.volatility"]
    rows = values["rental"]["generation"]
    fewer = {**values, "rental": {**values["rental"], "generation": rows[1:]}}
    assert differences(fewer, meant(path)) == [f".rental.generation.{rows[0]['name']}"]


@pytest.mark.parametrize(
    "line",
    ["", "title: a\nb", "title: \x1b[2J", f"title: {'x' * 2000}", "no field", "frobnicate: is wrong",
     "title: Input should be a valid string"],
)  # fmt: skip
def test_a_bad_line_is_seen(line: str) -> None:
    error = ConfigError(["title: fine"])
    error.problems = [line]
    error.args = (line,)
    with pytest.raises(AssertionError):
        cases.sound_lines(error)


@pytest.mark.parametrize("kind", ["config", "misspelt key", "--set"])
def test_a_loader_that_accepts_too_much_is_seen(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that ignores what it does not know, and takes the base world for whatever it is given."""
    monkeypatch.setattr(cases, "load", lambda *arguments: load("base"))
    case: Any = {
        "config": ({"revenue": {"volatility": 0.25}}, []),
        "misspelt key": ({"revenue": {"volatlity": 0.25}}, "volatlity"),
        "--set": ("revenue.volatility", "=", "0.25"),
    }[kind]
    with pytest.raises(AssertionError):
        cases.KINDS[kind].check(case, tmp_path)
