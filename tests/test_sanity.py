"""The sanity list on few paths: what it judges, how it prints, and that a world out of range fails."""

from __future__ import annotations

import json
from functools import cache

import pytest
from click.testing import CliRunner

from overbuilt.cli import main
from overbuilt.engine.sanity import CHECKS, SCENARIOS, as_json, sanity
from overbuilt.engine.validate import ConfigError

PATHS = 16384
# the widest 95 % interval of a row at so many paths is a point; the shipped worlds lie further inside


@cache
def findings() -> tuple:  # type: ignore[type-arg]
    return tuple(sanity(PATHS, seed=3, backend="native"))


def test_the_shipped_worlds_are_in_range() -> None:
    assert [f.check.title for f in findings() if not f.holds] == []


def test_every_check_has_a_range_and_a_world() -> None:
    for check in CHECKS:
        assert check.low < check.high
        assert check.scenario in (*SCENARIOS, "both")


def test_the_record_says_what_the_table_says() -> None:
    for record, found in zip(as_json(list(findings())), findings(), strict=True):
        assert record["holds"] == (record["low"] <= record["value"] <= record["high"])
        assert record["value"] == found.value


def test_a_world_out_of_range_fails() -> None:
    asked = ["sanity", "--paths", "2048", "--set", "firms.firm.coreweave.hazard=0.9"]
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 1
    (line,) = [x for x in done.output.splitlines() if x.startswith("CoreWeave")]
    assert "OUT OF RANGE" in line
    assert f"{len(CHECKS) - 1} of" in done.output or "of 16 in range" in done.output
    rows = json.loads(CliRunner().invoke(main, [*asked, "--format", "json"]).output)
    assert not next(r for r in rows if r["title"] == "CoreWeave defaults")["holds"]


def test_a_list_that_cannot_be_judged_is_refused() -> None:
    with pytest.raises(ConfigError, match="60 months"):
        sanity(100, overrides={"months": 36})
    done = CliRunner().invoke(main, ["sanity", "--paths", "0", "--set", "firms.grace"])
    assert done.exit_code == 2
    assert "paths = 0" in done.output
    assert "firms.grace" in done.output
