"""Bad input in the tables of the economy: firms, contracts, loans, tranches, holders, events, claims.

Each problem has a line that names row, field and value and says what would be right; all of a file come at once,
and nothing is run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from overbuilt import ConfigError, load, simulate
from overbuilt.engine.economy import SYSTEMS
from overbuilt.engine.economy.shocks import Shocks
from overbuilt.engine.locate import CONFIGS
from overbuilt.engine.system import Declared, Parameter, Rows, Setting
from overbuilt.kernels.backends import native
from overbuilt.kernels.trace import trace

from .refusals import checked, overbuilt, refused

BASE = 'extends = "base"\n'
FIRMS = "known are microsoft, alphabet, amazon, meta, oracle, coreweave, nebius, openai, anthropic, xai, nvidia, amd"


def row(table: str, name: str, **fields: Any) -> str:
    """A row of a table as TOML."""
    values = {"name": name, **fields}
    return f"[[{table}]]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items())


def removed(table: str, *names: str) -> str:
    return "".join(row(table, n, remove=True) for n in names)


# ---- firms
CONTRACT = "firms.contract"
FIRM_TABLES = [
    (
        row(CONTRACT, "c", payer="opneai", payee="orcale", total=3.0),
        [
            "firms.contract.c.payer = 'opneai': should be a firm; did you mean 'openai'?",
            "firms.contract.c.payee = 'orcale': should be a firm; did you mean 'oracle'?",
        ],
    ),
    (
        row(CONTRACT, "c", total=3.0),
        [
            f"firms.contract.c.payer = '': should be a firm; {FIRMS}",
            f"firms.contract.c.payee = '': should be a firm; {FIRMS}",
        ],
    ),
    (
        row(CONTRACT, "c", payer="openai", payee="openai", total=3.0),
        [
            "firms.contract.c.payee = 'openai': a firm cannot owe itself; should be another firm",
        ],
    ),
    (
        row(CONTRACT, "openai_oracle", ramp=61),
        ["firms.contract.openai_oracle.ramp = 61: should be at most lasting = 60"],
    ),
    (
        row(CONTRACT, "openai_oracle", total=-1.0),
        [
            "firms.contract.openai_oracle.total = -1.0: should be a finite number at least 0 (USD bn)"
        ],
    ),
    (
        row("firms.ladder", "notes_2030", balance=5.0),
        [
            "firms.ladder: the rungs of coreweave (filings) sum to 7 and its GPU loans to 10; together they should "
            "be its debt, 14"
        ],
    ),
    (
        row("firms.firm", "coreweave", debt=20.0),
        [
            "firms.ladder: the rungs of coreweave (filings) sum to 4 and its GPU loans to 10; together they should "
            "be its debt, 20"
        ],
    ),
    (
        row("firms.ladder", "other", firm="corewave"),
        ["firms.ladder.other.firm = 'corewave': should be a firm; did you mean 'coreweave'?"],
    ),
    (
        row("firms.ladder", "notes_2030", first_month=60, last_month=50),
        ["firms.ladder.notes_2030.last_month = 50: should be first_month = 60 or later"],
    ),
    (
        row("firms.firm", "oracle", seller="cloud"),
        [
            "firms.firm.oracle.seller = 'cloud': should be a row of revenue.company; did you mean 'clouds'?"
        ],
    ),
    (
        row("firms.firm", "oracle", ai_revenue=50.0),
        [
            "firms.firm: ai_revenue of the sellers in clouds sums to 79.3; it should be at most "
            "revenue.company.clouds.revenue_2025 = 30.3"
        ],
    ),
    (
        row("firms.firm", "coreweave", leases_due=50.0),
        ["firms.firm.coreweave.leases_due = 50.0: should be at most leases = 34.0"],
    ),
    (
        'firms.backstop_firm = "openia"',
        ["firms.backstop_firm = 'openia': should be a firm; did you mean 'openai'?"],
    ),
    (
        "firms.distress_bounds = [1.0, 1.0]",
        ["firms.distress_bounds = [1.0, 1.0]: the first should be the lower one"],
    ),
]

# ---- chips and the loans on them
GPU_TABLES = [
    (
        row("rental.generation", "next", release=3.0),
        ["rental.generation.next.release = 3.0: follows rubin and should be at least 9.0"],
    ),
    (
        row("rental.generation", "after", release=50.0, efficiency=2.5),
        [
            "fleet.chip: no row for the generation 'after'; add [[fleet.chip]] name = 'after'",
        ],
    ),
    (
        removed("rental.generation", "next"),
        [
            "fleet.chip.next: no such generation in rental.generation; known are hopper, blackwell, rubin",
            "gpu_loans.market = ['hopper', 'blackwell', 'rubin', 'next']: should be the first rows of "
            "rental.generation, in their order: hopper, blackwell, rubin",
        ],
    ),
    (
        row("gpu_loans.loan", "lambda_gpu", balance=0.8),
        [
            "gpu_loans.loan.lambda_gpu.ltv_covenant = 0.9: impossible at the unit values of the start; should be "
            "above 1, the loan to value there",
        ],
    ),
    (
        row("gpu_loans.loan", "lambda_gpu", ltv_covenant=0.74),
        [
            "gpu_loans.loan.lambda_gpu.ltv_new = 0.75: new debt would be in breach at once; should be below "
            "ltv_covenant, 0.74",
            "gpu_loans.loan.lambda_gpu.ltv_covenant = 0.74: impossible at the unit values of the start; should be "
            "above 0.7501, the loan to value there",
        ],
    ),
    (
        row("gpu_loans.loan", "lambda_gpu", ltv_covenant=1.2),
        [
            "gpu_loans.loan.lambda_gpu.ltv_covenant = 1.2: should be a finite number above 0 and below 1 (share)"
        ],
    ),
    (
        row("gpu_loans.loan", "lambda_gpu", in_book="none"),
        [
            "gpu_loans.loan: balances in the book sum to 27.9; they should be the 28.5 of the loans with "
            "loss_computed_by = gpu_loans in book.csv and book_new.csv; or set in_book = 'none' for those that it "
            "does not hold"
        ],
    ),
    (
        row("gpu_loans.loan", "lambda_gpu", lender="banks"),
        [
            "gpu_loans.loan.lambda_gpu.in_book = 'legacy': the book is private credit's, and banks lend; should be "
            "'none'"
        ],
    ),
    (
        row("gpu_loans.loan", "fresh", borrower="openai"),
        ["gpu_loans.loan.fresh: no collateral; add [[gpu_loans.pledge]] with loan = 'fresh'"],
    ),
    (
        row("gpu_loans.loan", "xai_colossus_2", borrower="xia"),
        [
            "gpu_loans.loan.xai_colossus_2.borrower = 'xia': should be a row of firms.firm, or have a hazard; did "
            "you mean 'xai'?"
        ],
    ),
    (
        row("gpu_loans.loan", "xai_colossus_2", borrower=""),
        [
            "gpu_loans.loan.xai_colossus_2.borrower = '': should be a firm, or hazard above 0",
        ],
    ),
    (
        row("gpu_loans.loan", "xai_colossus_2", hazard=0.1, spv=False),
        [
            "gpu_loans.loan.xai_colossus_2.hazard = 0.1: firms decides when xai defaults; should be 0"
        ],
    ),
    (
        row("gpu_loans.pledge", "lambda_gpu_hopper", generation="H100"),
        [
            "gpu_loans.pledge.lambda_gpu_hopper.generation = 'H100': should be a row of gpu_loans.market; known are "
            "hopper, blackwell, rubin, next"
        ],
    ),
    (
        row("gpu_loans.pledge", "lambda_gpu_hopper", loan="lamda"),
        [
            "gpu_loans.pledge.lambda_gpu_hopper.loan = 'lamda': should be a row of gpu_loans.loan; did you mean "
            "'lambda_gpu'?",
            "gpu_loans.loan.lambda_gpu: no collateral; add [[gpu_loans.pledge]] with loan = 'lambda_gpu'",
        ],
    ),
]

# ---- tranches, sites, holders
TRANCHE, SHARE, INSTRUMENT = "structured.tranche", "holders.share", "holders.instrument"
FINANCE_TABLES = [
    (
        row(TRANCHE, "dc_mezz", attach=0.10),
        ["structured.tranche.dc_mezz.attach = 0.1: overlaps dc_junior; should be 0.15"],
    ),
    (
        row(TRANCHE, "dc_mezz", attach=0.20),
        ["structured.tranche.dc_mezz.attach = 0.2: leaves a gap above dc_junior; should be 0.15"],
    ),
    (
        row(TRANCHE, "dc_mezz", detach=0.10),
        ["structured.tranche.dc_mezz.detach = 0.1: should be above its attach, 0.15"],
    ),
    (
        row(TRANCHE, "dc_senior", detach=0.9),
        [
            "structured.tranche.dc_senior.detach = 0.9: the highest of data_centre should detach at 1"
        ],
    ),
    (
        row(TRANCHE, "dc_equity", attach=0.01),
        [
            "structured.tranche.dc_equity.attach = 0.01: the lowest of data_centre should attach at 0"
        ],
    ),
    (
        row(TRANCHE, "dc_equity", pool="data_center"),
        [
            "structured.tranche.dc_equity.pool = 'data_center': should be a pool; did you mean 'data_centre'?",
            "structured.tranche.dc_junior.attach = 0.08: the lowest of data_centre should attach at 0",
        ],
    ),
    (
        row("structured.pool", "fresh"),
        ["structured.pool.fresh: no tranche; tranches should cover it from 0 to 1"],
    ),
    (
        row("structured.spv", "hyperion", sponsor="Meta"),
        ["structured.spv.hyperion.sponsor = 'Meta': should be a firm; did you mean 'meta'?"],
    ),
    (
        row("structured.spv", "hyperion", exit=10),
        ["structured.spv.hyperion.exit = 10: before the lease starts; should be from 40 to 279"],
    ),
    (
        row("structured.spv", "hyperion", debt=40.0),
        ["structured.spv.hyperion.debt = 40: above the cost; should be at most 27"],
    ),
    (
        row(SHARE, "pc_insurers", share=0.5),
        ["holders.share: shares of private_credit sum to 1.2; they should sum to 1"],
    ),
    (
        row(SHARE, "pc_savers", drift=0.02),
        ["holders.share: drifts of private_credit sum to 0.01; they should sum to 0"],
    ),
    (
        row(SHARE, "pc_savers", drift=-0.02),
        [
            "holders.share.pc_savers.drift = -0.02: makes the share -0.07 at the horizon; it should stay from 0 to 1",
            "holders.share: drifts of private_credit sum to -0.03; they should sum to 0",
        ],
    ),
    (
        row(SHARE, "pc_insurers", holder="insurer"),
        [
            "holders.share.pc_insurers.holder = 'insurer': should be a row of holders.holder; did you mean 'insurers'?"
        ],
    ),
    (
        row(SHARE, "gb_banks", instrument="gpu_loans"),
        [
            "holders.share.gb_banks.instrument = 'gpu_loans': should be a row of holders.instrument; did you mean "
            "'gpu_bank_loans'?",
            "holders.share: shares of gpu_bank_loans sum to 0; they should sum to 1",
        ],
    ),
    (
        row(INSTRUMENT, "abs", loss="structured.abs_los"),
        [
            "holders.instrument.abs.loss = 'structured.abs_los': structured gives no 'abs_los'; did you mean "
            "'abs_loss'?"
        ],
    ),
    (
        row(INSTRUMENT, "abs", loss="structred.abs_loss"),
        [
            "holders.instrument.abs.loss = 'structred.abs_loss': no system 'structred'; did you mean 'structured'?"
        ],
    ),
    (
        row(INSTRUMENT, "abs", loss="abs_loss"),
        ["holders.instrument.abs.loss = 'abs_loss': should be system.variable"],
    ),
    (
        row(INSTRUMENT, "spv", loss="structured.abs_loss"),
        [
            "holders.instrument.spv.loss = 'structured.abs_loss': is that of abs already; should be another, as a loss "
            "is borne once"
        ],
    ),
    (
        'holders.lender = "bank"',
        ["holders.lender = 'bank': should be a row of holders.holder; did you mean 'banks'?"],
    ),
]

# ---- events
EVENT = "stress.event"
EVENT_TABLES = [
    (
        row(EVENT, "price_war", on=True, month=61),
        ["stress.event.price_war.month = 61: after the horizon; should be at most 60"],
    ),
    (
        "months = 11\n" + row(EVENT, "price_war", on=True),
        ["stress.event.price_war.month = 12: after the horizon; should be at most 11"],
    ),
    (
        row(EVENT, "price_war", on=True, target="hoper"),
        [
            "stress.event.price_war.target = 'hoper': should be a generation of rental, or nothing for all; did you "
            "mean 'hopper'?"
        ],
    ),
    (
        row(EVENT, "openai_default", on=True, target="opneai"),
        ["stress.event.openai_default.target = 'opneai': should be a firm; did you mean 'openai'?"],
    ),
    (
        row(EVENT, "openai_default", target=""),
        ["stress.event.openai_default.target = '': should be a firm"],
    ),
    (
        row(EVENT, "rate_shock", target="openai"),
        ["stress.event.rate_shock.target = 'openai': an event of 'rate' has none; should be empty"],
    ),
    (
        row(EVENT, "rate_shock", size=2.0),
        [
            "stress.event.rate_shock.size = 2.0: should be a change of the annual rate from -0.1 to 0.2"
        ],
    ),
    (
        row(EVENT, "funding_freeze", size=1.5),
        ["stress.event.funding_freeze.size = 1.5: should be 0 (open), 1 (tight) or 2 (shut)"],
    ),
    (
        row(EVENT, "mine", what="price"),
        [
            "stress.event.mine.what = 'price': should be 'rental' or 'demand' or 'power' or 'renewals' or 'rate' or "
            "'spread' or 'window' or 'recall' or 'default'"
        ],
    ),
    (
        "funding.window_start = 0.5",
        ["funding.window_start = 0.5: should be 0 (open), 1 (tight) or 2 (shut)"],
    ),
]

TABLES = [*FIRM_TABLES, *GPU_TABLES, *FINANCE_TABLES, *EVENT_TABLES]


@pytest.mark.parametrize(
    ("content", "problems"), TABLES, ids=[problems[0][:50] for _, problems in TABLES]
)
def test_a_table_that_is_wrong(tmp_path: Path, content: str, problems: list[str]) -> None:
    assert checked(tmp_path, BASE + content) == problems


def test_all_problems_of_all_tables_come_at_once(tmp_path: Path) -> None:
    """One fault of each kind in one file: as many lines as the faults have one by one."""
    wanted = [
        (row(CONTRACT, "a", payer="opneai", payee="oracle"), "firms.contract.a.payer"),
        (row(CONTRACT, "b", payer="meta", payee="meta"), "firms.contract.b.payee"),
        (row("firms.ladder", "notes_2030", balance=5.0), "firms.ladder: the rungs of coreweave"),
        (row("firms.firm", "oracle", seller="cloud"), "firms.firm.oracle.seller"),
        (row("rental.generation", "next", release=3.0), "rental.generation.next.release"),
        (row(TRANCHE, "dc_mezz", attach=0.10), "structured.tranche.dc_mezz.attach"),
        (row(TRANCHE, "gpu_mezz", attach=0.30), "structured.tranche.gpu_mezz.attach"),
        (row("structured.spv", "hyperion", sponsor="Meta"), "structured.spv.hyperion.sponsor"),
        (row(SHARE, "pc_insurers", share=0.5), "holders.share: shares of private_credit"),
        (row(INSTRUMENT, "abs", loss="structured.abs_los"), "holders.instrument.abs.loss"),
        (row(EVENT, "price_war", on=True, month=61), "stress.event.price_war.month"),
        (
            row(EVENT, "openai_default", on=True, target="xyz"),
            "stress.event.openai_default.target",
        ),
        (
            row("gpu_loans.pledge", "lambda_gpu_hopper", generation="H100"),
            "gpu_loans.pledge.lambda_gpu_hopper.generation",
        ),
        (
            row("gpu_loans.loan", "crusoe_gpu", ltv_covenant=0.75, ltv_new=0.7),
            "gpu_loans.loan.crusoe_gpu.ltv_covenant",
        ),
    ]
    found = checked(tmp_path, BASE + "".join(content for content, _ in wanted))
    assert len(found) == len(wanted)
    for _, start in wanted:
        assert sum(line.startswith(start) for line in found) == 1, start


def test_values_and_tables_that_are_wrong_come_at_once(tmp_path: Path) -> None:
    """A value that cannot be read hides what its table owes to others, and nothing else."""
    content = row("firms.firm", "openai", cash="much") + row(TRANCHE, "dc_mezz", attach=0.10)
    starts = ("firms.firm.openai.cash = 'much'", "structured.tranche.dc_mezz.attach = 0.1")
    found = checked(tmp_path, BASE + content)
    assert [line.startswith(s) for line, s in zip(found, starts, strict=True)] == [True, True]


# ---- loans of the two books
def test_a_loan_in_two_books(tmp_path: Path) -> None:
    head, *loans = (CONFIGS / "book_new.csv").read_text(encoding="utf-8").splitlines()
    old = (CONFIGS / "book.csv").read_text(encoding="utf-8").splitlines()[1]
    name = old.partition(",")[0]
    (tmp_path / "new.csv").write_text("\n".join([head, *loans, old]))
    content = BASE + '[private_credit]\nnew_book = "new.csv"'
    assert checked(tmp_path, content) == [
        f"new.csv: loan = '{name}': stands in book.csv already; ids should differ"
    ]


def test_a_book_to_come_that_is_the_book(tmp_path: Path) -> None:
    assert checked(tmp_path, BASE + '[private_credit]\nnew_book = "book.csv"') == [
        "private_credit.new_book = 'book.csv': is the book already; should be another file, or '' for none"
    ]


def test_a_book_to_come_that_is_not_there(tmp_path: Path) -> None:
    (found,) = checked(tmp_path, BASE + '[private_credit]\nnew_book = "none.csv"')
    assert found.startswith("private_credit.new_book = ")
    assert found.endswith("none.csv': no such file; it should name a CSV file")


# ---- claims
CLAIM = "claims.claim"
CLAIMS = [
    ("ever(rental.hoper < 1)", "rental gives no hoper; did you mean 'hopper'?"),
    ("ever(rentl.hopper < 1)", "rentl is no system; did you mean 'rental'?"),
    ("any(rental.hopper < 1)", "any is no function of the language; known are sum, mean,"),
    ("ever(rental.hopper < 1", "is no expression ("),
    ("", "is empty; should be a condition, such as at(rental.hopper, 12) > 2"),
]


@pytest.mark.parametrize(("event", "problem"), CLAIMS)
def test_a_claim_that_is_wrong(tmp_path: Path, event: str, problem: str) -> None:
    content = BASE + row(CLAIM, "mine", event=event)
    (found,) = checked(tmp_path, content)
    assert found.startswith(f"claims.claim.mine.event = {event!r}: {problem}")
    assert refused("claims", str(tmp_path / "mine.toml"), "--paths", "10") == [found]


def test_all_problems_of_claims_come_at_once(tmp_path: Path) -> None:
    content = row(CLAIM, "a", event="ever(rental.hoper < 1)", forced="window_sht")
    content += row(CLAIM, "b", event="at(funding.windw, 12) > 1", given="ever(macro.gpd < 1)")
    found = checked(tmp_path, BASE + content)
    starts = (
        "claims.claim.a.forced = 'window_sht': should be an event of stress; did you mean 'window_shut'?",
        "claims.claim.a.event = 'ever(rental.hoper < 1)': rental gives no hoper",
        "claims.claim.b.event = 'at(funding.windw, 12) > 1': funding gives no windw",
        "claims.claim.b.given = 'ever(macro.gpd < 1)': macro gives no gpd",
    )
    assert len(found) == len(starts)
    for start in starts:
        assert sum(line.startswith(start) for line in found) == 1, start


# ---- systems left out
ORDER = [key for key, system in SYSTEMS.items() if not system.on_request]


@pytest.mark.parametrize("dropped", ORDER)
def test_a_scenario_that_drops_a_system_says_who_reads_it(tmp_path: Path, dropped: str) -> None:
    base = load("base").economy.systems
    kept = [key for key in ORDER if key != dropped]
    readers = [key for key in kept if dropped in base[key].needs()]
    content = f"systems = {kept}\n".replace("'", '"')
    if not readers:
        (tmp_path / "mine.toml").write_text(content)
        assert overbuilt("check", str(tmp_path / "mine.toml")).exit_code == 0
        return
    assert checked(tmp_path, content) == [
        f"systems: {key} reads {dropped}, which is missing; add it to systems" for key in readers
    ]


def test_every_system_but_the_last_is_read() -> None:
    """So that the test above refuses something for all but a few."""
    base = load("base").economy.systems
    read = {need for system in base.values() for need in system.needs()}
    assert set(ORDER) - read <= {"claims", "cycle"}


def test_claims_without_their_systems(tmp_path: Path) -> None:
    found = checked(tmp_path, 'systems = ["shocks", "claims"]')
    assert "systems: claims reads rental, which is missing; add it to systems" in found
    assert all(line.startswith("systems: claims reads ") for line in found)


def test_systems_that_report_nothing(tmp_path: Path) -> None:
    for name in ("shocks", "stress"):
        assert checked(tmp_path, f'systems = ["{name}"]') == [
            f"systems = [{name}]: report nothing; add one that does"
        ]
    with pytest.raises(ConfigError, match=r"systems = \[shocks\]: report nothing"):
        simulate(Shocks(), 10, backend="numpy")


# ---- events on the command line
@pytest.mark.parametrize(
    ("event", "problem"),
    [
        ("price_war", "--event 'price_war': should be NAME@MONTH, for example price_war@18"),
        ("price_war@x", "--event 'price_war@x': should be NAME@MONTH"),
        ("@", "--event '@': should be NAME@MONTH"),
        (
            "price_war@61",
            "stress.event.price_war.month = 61: after the horizon; should be at most 60",
        ),
        ("price_war@12:9", "stress.event.price_war.size = 9.0: should be a finite number from -5"),
        ("rate_shock@5:0.5", "stress.event.rate_shock.size = 0.5: should be a change of"),
    ],
)
def test_an_event_that_is_wrong(event: str, problem: str) -> None:
    (found,) = refused("run", "base", "--paths", "10", "--event", event)
    assert found.startswith(problem)


def test_an_unknown_event_is_offered_the_nearest() -> None:
    (found,) = refused("run", "base", "--paths", "10", "--event", "price_wr@12")
    assert "did you mean 'price_war'?" in found


def test_an_event_lies_within_the_months_that_are_run() -> None:
    (found,) = refused("run", "base", "--paths", "10", "--months", "12", "--event", "price_war@18")
    assert found == "stress.event.price_war.month = 18: after the horizon; should be at most 12"


# ---- values that are extreme
@pytest.mark.parametrize(
    ("key", "value"),
    [("revenue.ceiling", 1e300), ("compute.usable", 1e-300), ("firms.firm.openai.cash", 1e39)],
)
def test_a_value_beyond_float32_is_named(key: str, value: float) -> None:
    (found,) = refused("run", "base", "--paths", "10", "--set", f"{key}={value}")
    assert found.startswith(f"{key} = {value:g}: float32 holds 0 and sizes from 1.2e-38 to 3.4e+38")
    if key == "firms.firm.openai.cash":
        assert (
            simulate(load("base", {key: value}), 4, 1, "numpy", "float64", months=2).bad_count == 0
        )


EXTREMES = [
    {"compute.pipeline_start": 1e-3},
    {"compute.build_time": 0.1},
    {"compute.spend_2025": 1e6},
    {"compute.demand_volatility": 5.0},
    {"revenue.company.openai.volatility": 5.0},
    {"revenue.renewal_noise": 5.0},
    {"revenue.stall_drift": -5.0},
    {"rental.generation.hopper.volatility": 5.0},
    {"rental.scarcity_lift": 10.0},
    {"rental.obsolescence": 10.0},
    {"rental.war_size": -5.0, "rental.war_spread": 5.0},
    {"firms.firm.microsoft.debt": 1e6},
    {"firms.capacity_life": 0.1},
    {"firms.firm.openai.hazard": 1.0},
    {"gpu_loans.loan.coreweave_ddtl_1.ltv_covenant": 1.0 - 1e-9},
    {"gpu_loans.most_rounds": 1e6, "gpu_loans.tolerance": 1e-5},
    {"gpu_loans.floor": 0.0, "gpu_loans.market.hopper.impact": 5.0},
    {"structured.pool.data_centre.pd_5y": 1.0 - 1e-9},
    {"holders.dispersion": 1e-6},
    {"holders.cushion": 1e-6},
    {"funding.spread_volatility": 3.0},
    {"funding.jump_mean": 3.0, "funding.jump_rate": 1e6},
    {"funding.rate_volatility": 0.2},
    {"funding.mood_volatility": 3.0},
    {"funding.ai_growth_start": 0.1},
    {"funding.multiple_growth": 100.0},
    {"macro.crunch_losses": 1e6},
    {"macro.noise": 100.0},
]


@pytest.mark.skipif(native.compiler() is None, reason="no C++ compiler here")
@pytest.mark.parametrize("overrides", EXTREMES, ids=str)
def test_an_extreme_value_gives_finite_results(overrides: dict[str, Any]) -> None:
    """At the bounds that are declared, five years on 500 paths: not one that is not finite."""
    result = simulate(load("base", overrides), 500, 11, "native")
    assert result.bad_count == 0, dict(list(result.bad_paths.items())[:5])


def leaves() -> Iterator[tuple[str, Declared, Any]]:
    """Every value of base that a config can set: its key, its declaration, and what it is."""
    values = load("base").values
    for key in ORDER:
        for name, declared in SYSTEMS[key].fields.items():
            if not isinstance(declared, Rows):
                yield f"{key}.{name}", declared, values[key][name]
                continue
            for r in values[key][name]:
                for column, kind in declared.row.fields.items():
                    if column not in ("name", "source"):
                        yield f"{key}.{name}.{r['name']}.{column}", kind, r[column]


LEAVES = list(leaves())
NUMBERS = (0.0, 1e-300, 1e-12, 0.01, 1.0, -1.0, 3.0, -3.0, 1e4, -1e4, 1e12, 1e300, -1e300)
WORDS = ("", "base", "openai", "hopper", "coreweave", "book.csv", "x")


@st.composite
def mutations(draw: st.DrawFn) -> dict[str, Any]:
    """A value of base replaced by one of its kind, more often a bound or beyond than not; or a row removed."""
    key, declared, value = draw(st.sampled_from(LEAVES))
    table, _, row_of = key.rpartition(".")[0].rpartition(".")
    if "." in table and draw(st.integers(0, 9)) == 0:
        return {f"{table}.{row_of}.remove": True}
    if isinstance(declared, Setting):
        kinds: dict[type, Any] = {bool: st.booleans(), int: st.integers(-2, 2000)}
        other = st.sampled_from(declared.choices or WORDS)
        return {key: draw(kinds.get(type(declared.default), other))}
    assert isinstance(declared, Parameter)
    bounds = [float(b) for b in declared.bounds.values()]
    number = st.sampled_from([*NUMBERS, *bounds, *(b * (1 + 1e-9) for b in bounds)]) | st.floats(
        -1e3, 1e3
    )
    if not isinstance(value, list):
        return {key: draw(number)}
    flat = [x for r in value for x in r] if isinstance(value[0], list) else list(value)
    flat[draw(st.integers(0, len(flat) - 1))] = draw(number)
    width = len(value[0]) if isinstance(value[0], list) else 0
    return {key: [flat[i : i + width] for i in range(0, len(flat), width)] if width else flat}


@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(overrides=mutations())
def test_any_value_of_a_table_loads_and_traces_or_says_why(overrides: dict[str, Any]) -> None:
    problems: list[str] | None = None
    try:
        economy = load("base", overrides).economy
    except ConfigError as error:
        problems = error.problems
    if problems is None:
        assert trace(economy, float64=False).metrics == economy.metrics
    else:
        assert problems
        assert all(line.strip() and line.isprintable() for line in problems)
