"""The audit: what it says when a system is broken on purpose, that no identity is idle, and how it reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from overbuilt.engine import audit as module
from overbuilt.engine.audit import AuditResult, audit, print_audit, readings, title
from overbuilt.engine.economy import firms
from overbuilt.engine.economy.firms import Firms
from overbuilt.engine.economy.funding import Funding
from overbuilt.engine.economy.gpu_loans import GpuLoans
from overbuilt.engine.economy.holders import Holders
from overbuilt.engine.economy.private_credit import PrivateCredit
from overbuilt.engine.economy.structured import Structured
from overbuilt.engine.figures import Identity, Reading
from overbuilt.engine.identities import FINITE, IDENTITIES
from overbuilt.engine.scenario import Scenario, load
from overbuilt.engine.validate import ConfigError
from overbuilt.kernels.namespace import Fields

PATH, MONTH = 3, 4


@cache
def base() -> Scenario:
    return load("base")


def small(months: int = MONTH + 1) -> AuditResult:
    return audit(base(), 8, months=months)


# ---- broken on purpose
def spoil(
    monkeypatch: pytest.MonkeyPatch, system: Any, change: Callable[[dict[str, Any], Any], None]
) -> None:
    """On path PATH in month MONTH, what the system gives is changed."""
    step = system.step

    def spoilt(self: Any, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        got = dict(step(self, xp, s, up, draw))
        if int(up.month) == MONTH:
            hit = np.arange(xp.paths) == PATH
            change(got, hit)
        return got

    monkeypatch.setattr(system, "step", spoilt)


def add(name: str, amount: float, row: int | None = None) -> Callable[[dict[str, Any], Any], None]:
    def change(got: dict[str, Any], hit: Any) -> None:
        value = np.array(
            np.broadcast_to(got[name], np.shape(hit) if row is None else np.shape(got[name]))
        )
        value[... if row is None else row] += np.where(hit, amount, 0.0)
        got[name] = value

    return change


BROKEN = {
    "cash is negative": (Firms, add("cash", -1e6, 3), "firms: cash is never negative", "meta"),
    "debt appears": (Firms, add("debt", 1.0, 5),
                     "firms: debt = debt before - maturing - GPU loans repaid + new debt; none after default", "coreweave"),
    "a payment gets lost": (Firms, add("ledger", 1.0, 16 * 4 + 1),
                            "firms: payments made on contracts = payments received", ""),
    "a loss that no loan suffered": (Holders, add("loss_banks", 2.5), "holders: losses borne = losses suffered", ""),
    "a share above one": (Funding, add("drawdown", 1.5), "shares and probabilities are at most 1", "funding.drawdown"),
    "no number": (Funding, add("equity", np.nan), FINITE, "funding.equity"),
    "a window half open": (Funding, add("window", 0.5), "funding: window is a whole number from 0 to 2", ""),
    "a balance below nothing": (GpuLoans, add("owed", -1e3, 1), "gpu_loans: owed is never negative", "coreweave_ddtl_2"),
    "units that nobody sold": (GpuLoans, add("units", -1e5, 0),
                               "gpu_loans: units = units before - sold + bought, and bought is not negative", ""),
    "half a default": (PrivateCredit, add("defaults", 0.5), "private_credit: defaults are whole", ""),
    "a tranche out of turn": (Structured, add("writedown_dc_senior", 0.1), "structured: losses come from the equity up",
                              "dc_senior"),
    "cash that nobody is paid": (Structured, add("collected", 1e-6), "structured: what pools collect is paid out", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_named_with_its_path_and_month(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, change, identity, row = BROKEN[case]
    spoil(monkeypatch, system, change)
    result = small(MONTH)
    found = [v for v in result.violations if v.identity == identity]
    assert [(v.row, v.path, v.month) for v in found] == [(row, PATH, MONTH)]
    assert all((v.path, v.month) == (PATH, MONTH) for v in result.violations)
    assert not result.holds


def test_a_settlement_that_loses_money_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A millionth of every firm's cash vanishes: the one identity that money obeys is broken everywhere."""
    settle = firms.settle

    def leaky(*given: Any) -> Any:
        done = settle(*given)
        kept = {k: getattr(done, k) for k in dir(done)}
        return Fields(kept | {"cash": kept["cash"] * (1.0 - 1e-6)})

    monkeypatch.setattr(firms, "settle", leaky)
    result = audit(base(), 4, months=2)
    identity = "firms: cash = cash before + what came in - what went out"
    assert result.counts[identity] == 4 * 2 * 12
    first = next(v for v in result.violations if v.identity == identity)
    assert (first.path, first.month, first.row) == (0, 1, "microsoft")
    assert 5e-5 < first.size < 5e-4
    assert len([v for v in result.violations if v.identity == identity]) == module.KEPT


def test_small_errors_pass_and_larger_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """1e-9 of the figure: a relative error of 2e-10 is rounding, one of 1e-8 is none."""
    for error, holds in ((2e-10, True), (1e-8, False)):
        with monkeypatch.context() as patch:
            spoil(
                patch,
                Holders,
                lambda got, hit, e=error: got.update(loss=got["loss"] * (1.0 + e * hit)),
            )
            assert small(MONTH).holds is holds


# ---- no identity is idle
ABSENT = ("gpu_loans.", "structured.guarantee_", "structured.loss_colossus_2")


@cache
def reading() -> Reading:
    """A month in which some firm is in default, loans are drawn, and debts are open."""
    changed = {
        "firms.firm.openai.cash": 0.1, "firms.firm.openai.capacity": 1.0, "firms.firm.xai.hazard": 1.0,
        "structured.pool.data_centre.pd_5y": 0.99, "private_credit.refinancing": [0.5, 0.5, 0.5],
    }  # fmt: skip
    return list(readings(load("base", changed).economy, 3, 0, 64, 9))[-1]


def test_identities_ask_for_what_there_is() -> None:
    """A name with a slip would read as 0: only what a firm may lack is asked for in vain."""
    m = reading()
    for identity in IDENTITIES:
        assert identity.applies(m.economy)
        identity.gap(m)
    firms_ = {f.name for f in m.rows("firms.firm")}
    for name in m.missing:
        assert name.startswith(ABSENT)
        assert name in ABSENT or name.rpartition("_")[2] in firms_, name


def _changed(m: Reading, name: str, by: float) -> Reading:
    """Another value, by another amount in each row."""
    value = np.array(np.broadcast_to(np.asarray(m.month.seen[name], np.float64), m.now(name).shape))
    rows = 1.0 + np.arange(len(value))[:, None] if value.ndim > 1 else 1.0
    changed = {name: value + by * rows * (1.0 + abs(value))}
    return replace(m, month=replace(m.month, seen=m.month.seen | changed), missing=set())


def test_every_identity_can_fail() -> None:
    """Each holds in a month as it is, and fails when some variable of that month is another."""
    m = reading()
    assert all(not i.gap(m)[1].any() for i in IDENTITIES)
    idle = {title(i): i for i in IDENTITIES}
    for name in m.month.seen:
        for by in (0.5, -0.5, 1e4, -1e4):
            other = _changed(m, name, by)
            idle = {k: i for k, i in idle.items() if not i.gap(other)[1].any()}
    assert not idle, list(idle)


def test_titles_differ() -> None:
    assert len({title(i) for i in IDENTITIES}) == len(IDENTITIES)


# ---- what it says
def test_systems_that_are_missing_are_skipped() -> None:
    result = audit(load("textbook"), 16)
    assert result.holds
    assert any(i.startswith("private_credit: ") for i in result.identities)
    assert not any(i.startswith(("firms: ", "holders: ", "funding: ")) for i in result.identities)
    assert result.checks > 16 * 12 * len(result.identities)


def test_paths_in_blocks_are_the_same_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, Holders, add("loss", 1.0))
    whole = small(MONTH)
    monkeypatch.setattr(module, "BLOCK", 3)
    assert audit(base(), 4, months=MONTH).holds
    # the spoilt path is the sixth of each block: of 8 paths in blocks of 7 it is path 5
    monkeypatch.setattr(module, "BLOCK", 7)
    parts = audit(base(), 8, months=MONTH)
    assert parts.violations == whole.violations
    assert parts.checks == whole.checks


@pytest.mark.parametrize(
    ("change", "message"),
    [({"paths": 0}, "paths = 0: should be"), ({"seed": -1}, "seed = -1: should be"), ({"months": 241}, "months = 241: should be")],
)  # fmt: skip
def test_bad_arguments_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        audit(base(), **({"paths": 4} | change))


def test_the_table_names_identity_row_path_and_month(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    print_audit(small(1))
    good = capsys.readouterr().out
    assert "base: " in good
    assert "8 paths, 1 months, seed 0, float64" in good
    assert "all hold" in good
    spoil(monkeypatch, Firms, add("cash", -1e6, 3))
    result = small(MONTH)
    print_audit(result)
    bad = capsys.readouterr().out
    assert "all hold" not in bad
    assert "firms: cash is never negative" in bad
    assert "meta" in bad
    line = next(x for x in bad.splitlines() if "cash is never negative" in x)
    assert line.split()[-4:] == [f"{PATH}", f"{MONTH}", "1e6", "1"]
    said = str(next(v for v in result.violations if v.identity == "firms: cash is never negative"))
    assert (
        said == f"firms: cash is never negative, meta: off by 1e+06 on path {PATH} in month {MONTH}"
    )


def test_an_identity_of_nothing_holds() -> None:
    """A table without rows gives figures without rows."""
    m = reading()
    empty = Identity("firms", "none", *_sides(np.zeros((0, m.paths))))
    gap, bad = empty.gap(m)
    assert not bad.any()
    assert gap.shape == (0, m.paths)


def _sides(values: Any) -> Any:
    from overbuilt.engine.figures import Figure

    same = Figure(lambda m: values)
    return same, "=", same
