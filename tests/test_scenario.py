"""Scenarios: what extends, overrides and defaults mean, and what the shipped files promise."""

from __future__ import annotations

import csv
import re
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overbuilt import Scenario, load, shipped
from overbuilt.engine.book import COLUMNS, arrange, homogeneous, read_book
from overbuilt.engine.economy import FLOW, SYSTEMS
from overbuilt.engine.locate import CONFIGS
from overbuilt.engine.scenario import parse_override
from overbuilt.engine.system import Parameter, Row, Rows, Setting
from overbuilt.engine.validate import ConfigError, shown
from overbuilt.kernels.emit import emit
from overbuilt.kernels.passes import optimize
from overbuilt.kernels.trace import trace


def to_toml(values: dict[str, Any]) -> str:
    """A config dict as TOML: tables inline below the first level."""
    return "".join(f"{text(k)} = {text(v)}\n" for k, v in values.items())


def text(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return (
            '"'
            + "".join(f"\\U{ord(c):08x}" if c in '"\\' or not c.isprintable() else c for c in value)
            + '"'
        )
    if isinstance(value, list):
        return f"[{', '.join(map(text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{text(k)} = {text(v)}' for k, v in value.items())}}}"
    return repr(value)


def write(folder: Path, content: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def row(scenario: Scenario, system: str, table: str, name: str) -> dict[str, Any]:
    (found,) = (r for r in scenario.values[system][table] if r["name"] == name)
    return dict(found)


def names(scenario: Scenario, system: str, table: str) -> list[str]:
    return [r["name"] for r in scenario.values[system][table]]


# a generation stands in three tables: its rentals, its chips, and the market for used ones
GENERATION = ("rental.generation", "fleet.chip", "gpu_loans.market")


def without(name: str) -> dict[str, Any]:
    """Overrides that remove a generation of chips."""
    return {f"{table}.{name}.remove": True for table in GENERATION}


# ---- shipped scenarios
STRESSES = (
    "price_war", "funding_freeze", "hopper_glut", "power_crunch", "rate_shock", "openai_default", "renewal_cliff",
)  # fmt: skip


def test_the_shipped_scenarios() -> None:
    assert shipped() == sorted(["base", "exponential", "linear", "textbook", *STRESSES])


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_scenario_loads_and_is_described(name: str) -> None:
    scenario = load(name)
    assert scenario.name == name
    assert scenario.title.lower().replace(" ", "_").startswith(name)
    assert list(scenario.economy.systems) == scenario.values["systems"]
    assert scenario.economy.months == scenario.months


@pytest.mark.parametrize("name", STRESSES)
def test_a_stress_scenario_is_base_with_its_event(name: str) -> None:
    scenario, base = load(name), load("base")
    assert [e["name"] for e in scenario.values["stress"]["event"] if e["on"]] == [name]
    changed = {k for k in base.values if scenario.values[k] != base.values[k]}
    assert changed == {"title", "stress"}
    assert row(scenario, "stress", "event", name) == row(base, "stress", "event", name) | {
        "on": True
    }


def test_no_event_is_forced_where_a_scenario_names_none() -> None:
    for name in ("base", "exponential", "linear"):
        assert not any(e["on"] for e in load(name).values["stress"]["event"])


@pytest.mark.parametrize("name", shipped())
def test_a_scenario_resolved_twice_is_equal(name: str) -> None:
    first = load(name)
    first.economy  # noqa: B018 - made and kept, and no part of what is compared
    assert first == load(name)


@pytest.mark.parametrize("name", shipped())
def test_resolved_values_written_out_load_to_the_same_values(name: str, tmp_path: Path) -> None:
    values = load(name).values
    again = load(write(tmp_path, to_toml(values), f"{name}.toml"))
    assert again.values == values
    assert again.economy.reals == load(name).economy.reals


def test_every_default_is_filled_in() -> None:
    values = load("base", {"systems": list(SYSTEMS)}).values
    for key, system in SYSTEMS.items():
        assert list(values[key]) == list(system.fields)


def test_a_system_on_request_is_in_no_scenario_that_does_not_ask() -> None:
    asked = [key for key, system in SYSTEMS.items() if not system.on_request]
    assert load("base").values["systems"] == asked
    assert asked != list(SYSTEMS)


@pytest.mark.parametrize(("name", "regime"), [("exponential", 0), ("linear", 1)])
def test_a_pure_scenario_never_leaves_its_regime(name: str, regime: int) -> None:
    from overbuilt import simulate

    result = simulate(load(name), paths=300, seed=3, months=24)
    found = result.series("revenue.regime")
    assert (found == regime).all().all()
    metric = result.metrics["revenue.regime"]
    assert metric["mean"] == regime
    assert metric["sd"] == 0


def test_the_base_scenario_leaves_its_regime() -> None:
    from overbuilt import simulate

    metric = simulate(load("base"), paths=300, seed=3, months=24).metrics["revenue.regime"]
    assert metric["sd"] > 0.3


# ---- extends
def test_extends_merges_tables_key_by_key(tmp_path: Path) -> None:
    write(
        tmp_path,
        'extends = "linear"\nmonths = 24\n[revenue]\nvolatility = 0.2\n[rental]\nwar_rate = 0.1',
        "a.toml",
    )
    scenario = load(write(tmp_path, 'extends = "a.toml"\n[revenue]\nstall_drift = -0.2'))
    assert scenario.months == 24
    assert scenario.values["revenue"]["reading"] == "linear"  # from linear
    assert scenario.values["revenue"]["volatility"] == 0.2  # from a
    assert scenario.values["revenue"]["stall_drift"] == -0.2  # its own
    assert scenario.values["rental"]["war_rate"] == 0.1
    assert scenario.title == load("linear").title


def test_extends_replaces_vectors_whole(tmp_path: Path) -> None:
    scenario = load(write(tmp_path, 'extends = "linear"\n[revenue]\nstart = [0.2, 0.3, 0.5]'))
    assert scenario.values["revenue"]["start"] == [0.2, 0.3, 0.5]


def test_the_file_extended_is_looked_for_beside_the_one_that_extends(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path, 'extends = "deep/b.toml"', "a.toml")
    write(tmp_path / "deep", 'extends = "c.toml"', "b.toml")
    write(tmp_path / "deep", 'title = "c"', "c.toml")
    assert load(tmp_path / "a.toml").title == "c"


def test_rows_merge_by_name(tmp_path: Path) -> None:
    write(
        tmp_path, '[[rental.generation]]\nname = "hopper"\nprice = 2.5\nvolatility = 0.2', "a.toml"
    )
    scenario = load(
        write(
            tmp_path,
            'extends = "a.toml"\n[[rental.generation]]\nname = "hopper"\nvolatility = 0.25',
        )
    )
    default = row(load("base"), "rental", "generation", "hopper")
    assert row(scenario, "rental", "generation", "hopper") == default | {
        "price": 2.5,
        "volatility": 0.25,
    }
    assert names(scenario, "rental", "generation") == ["hopper", "blackwell", "rubin", "next"]


def test_a_new_name_adds_a_row(tmp_path: Path) -> None:
    added = '[[private_credit.sector]]\nname = "bakeries"\ncollateral = 0.1'
    scenario = load(write(tmp_path, added))
    assert names(scenario, "private_credit", "sector")[-1] == "bakeries"
    assert (
        len(names(scenario, "private_credit", "sector"))
        == len(names(load("base"), "private_credit", "sector")) + 1
    )


def test_remove_drops_a_row(tmp_path: Path) -> None:
    def content(remove: str) -> str:
        rows = (f'[[{table}]]\nname = "next"\nremove = {remove}\n' for table in GENERATION)
        return 'extends = "base"\n' + "".join(rows)

    scenario = load(write(tmp_path, content("true")))
    assert names(scenario, "rental", "generation") == ["hopper", "blackwell", "rubin"]
    assert "rental.next" in load("base").economy.metrics
    assert "rental.next" not in scenario.economy.metrics
    assert load(write(tmp_path, content("false"))).values == load("base").values


def test_a_child_removes_a_row_that_its_parent_added(tmp_path: Path) -> None:
    write(tmp_path, '[[private_credit.sector]]\nname = "bakeries"', "a.toml")
    scenario = load(
        write(
            tmp_path,
            'extends = "a.toml"\n[[private_credit.sector]]\nname = "bakeries"\nremove = true',
        )
    )
    assert "bakeries" not in names(scenario, "private_credit", "sector")


# ---- overrides
def test_overrides_by_dotted_keys() -> None:
    scenario = load(
        "base",
        {
            "revenue.volatility": 0.3,
            "months": 12,
            "rental.generation.hopper.price": 2.5,
            "title": "mine",
        },
    )
    assert scenario.values["revenue"]["volatility"] == 0.3
    assert (scenario.months, scenario.title) == (12, "mine")
    assert row(scenario, "rental", "generation", "hopper")["price"] == 2.5
    assert row(scenario, "rental", "generation", "blackwell") == row(
        load("base"), "rental", "generation", "blackwell"
    )


def test_an_override_reaches_a_default_row_that_the_file_does_not_mention(tmp_path: Path) -> None:
    path = write(tmp_path, '[[rental.generation]]\nname = "hopper"\nprice = 2.5')
    scenario = load(path, {"rental.generation.blackwell.price": 5.0})
    assert row(scenario, "rental", "generation", "hopper")["price"] == 2.5
    assert row(scenario, "rental", "generation", "blackwell")["price"] == 5.0


def test_an_override_removes_a_row() -> None:
    scenario = load("base", without("next"))
    assert "next" not in names(scenario, "rental", "generation")


def test_an_override_wins_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "[revenue]\nvolatility = 0.2")
    assert load(path, {"revenue.volatility": 0.4}).values["revenue"]["volatility"] == 0.4


def test_overrides_are_left_as_they_were() -> None:
    overrides = {"revenue": {"volatility": 0.2}, "revenue.ceiling": 4000.0}
    load("base", overrides)
    assert overrides == {"revenue": {"volatility": 0.2}, "revenue.ceiling": 4000.0}


@pytest.mark.parametrize(
    ("given", "key", "value"),
    [
        ("revenue.volatility=0.2", "revenue.volatility", 0.2),
        ("months=36", "months", 36),
        (" months = 36 ", "months", 36),
        ("private_credit.stress=false", "private_credit.stress", False),
        ("revenue.reading=linear", "revenue.reading", "linear"),
        ('revenue.reading="linear"', "revenue.reading", "linear"),
        ("revenue.start=[1.0, 0.0, 0.0]", "revenue.start", [1.0, 0.0, 0.0]),
        ("private_credit.book=", "private_credit.book", ""),
        ("private_credit.book=my book.csv", "private_credit.book", "my book.csv"),
        ("title=a=b", "title", "a=b"),
        ("title=1\nmonths = 2", "title", "1\nmonths = 2"),
        pytest.param("months=" + "9" * 5000, "months", "9" * 5000, id="digits"),
        pytest.param("months=" + "[" * 5000, "months", "[" * 5000, id="brackets"),
    ],
)
def test_the_value_of_an_override_is_toml_or_a_bare_word(given: str, key: str, value: Any) -> None:
    assert parse_override(given) == (key, value)


# ---- declarations
def declaring() -> Iterator[type]:
    """Every system and every row."""
    for system in FLOW:
        yield system
        yield from (d.row for d in system.fields.values() if isinstance(d, Rows))


def facts() -> set[str]:
    with (CONFIGS / "facts.csv").open(newline="", encoding="utf-8") as file:
        ids = [r["id"] for r in csv.DictReader(file)]
    assert len(ids) == len(set(ids))
    return set(ids)


@pytest.mark.parametrize("cls", list(declaring()), ids=lambda c: c.__name__)
def test_every_field_has_a_unit_and_a_basis(cls: type) -> None:
    known = facts()
    for name, declared in cls.fields.items():  # type: ignore[attr-defined]
        assert isinstance(declared, Parameter | Setting | Rows)
        assert len(declared.basis) > 10, name
        if isinstance(declared, Parameter):
            assert declared.unit, name
            assert declared.basis.startswith(("fact: ", "assumption: ")), name
        cited = re.findall(r"fact: *(\w+)", declared.basis) + re.findall(
            r"(\w+) \(fact\)", declared.basis
        )
        assert set(cited) <= known, name


@pytest.mark.parametrize("system", FLOW, ids=lambda s: s.key())
def test_every_output_has_a_unit_and_a_text(system: Any) -> None:
    everything = load("base", {"systems": list(SYSTEMS)})
    for name, output in everything.economy.systems[system.key()].outputs().items():
        assert output.unit, name
        assert output.doc, name


@pytest.mark.parametrize("cls", list(declaring()), ids=lambda c: c.__name__)
def test_every_default_lies_within_its_own_bounds(cls: type) -> None:
    cls(**({"name": "x"} if issubclass(cls, Row) else {}))


# ---- the book
def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_shipped_book() -> None:
    rows = rows_of(CONFIGS / "book.csv")
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 400
    assert len({r["loan"] for r in rows}) == 400
    assert sum(float(r["exposure_usd_bn"]) for r in rows) == pytest.approx(450.0, abs=1e-6)
    # lent at the start, the loans that gpu_loans computes included
    assert load("base").economy.reals["private_credit.lent_start"] == pytest.approx(450.0, abs=1e-6)


def test_the_shipped_book_to_come() -> None:
    rows = rows_of(CONFIGS / "book_new.csv")
    assert tuple(rows[0]) == COLUMNS
    ids = [r["loan"] for r in (*rows, *rows_of(CONFIGS / "book.csv"))]
    assert len(ids) == len(set(ids))
    assert all(int(r["start_month"]) > 0 for r in rows)
    drawn = [r for r in rows if r["loss_computed_by"] == "private_credit"]
    columns = load("base").economy.columns
    assert len(columns["private_credit.loan_exposure"]) == len(drawn) + sum(
        r["loss_computed_by"] == "private_credit" for r in rows_of(CONFIGS / "book.csv")
    )


@pytest.mark.parametrize("book", ["book", "book_new"])
def test_a_shipped_book_keeps_the_totals_of_its_buckets(book: str) -> None:
    rows = rows_of(CONFIGS / f"{book}.csv")
    buckets = rows_of(CONFIGS / f"{book}_buckets.csv")
    left = list(rows)
    for bucket in buckets:  # in the order of the book
        count = int(bucket["count"])
        mine, left = left[:count], left[count:]
        assert len(mine) == count
        assert sum(float(r["exposure_usd_bn"]) for r in mine) == pytest.approx(
            float(bucket["exposure_usd_bn"]), abs=1e-6
        )
        for column in (
            "sector",
            "rating",
            "pd_1y",
            "rho_residual",
            "lgd",
            "beta_rental",
            "beta_spread",
        ):
            assert {r[column] for r in mine} == {bucket[column]}
    assert left == []


def test_the_shipped_books_are_what_their_script_makes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in ("make_book.py", "book_buckets.csv", "book_new_buckets.csv"):
        shutil.copy(CONFIGS / file, tmp_path)
    runpy.run_path(str(tmp_path / "make_book.py"), run_name="__main__")
    assert "400 loans, USD 450.00000 bn" in capsys.readouterr().out
    for book in ("book.csv", "book_new.csv"):
        assert (tmp_path / book).read_bytes() == (CONFIGS / book).read_bytes()


def test_a_book_is_laid_out_in_groups_without_losing_a_loan() -> None:
    ratings = {"BBB", "BB", "B", "CCC"}
    sectors = {r["sector"] for r in rows_of(CONFIGS / "book.csv")}
    loans, problems = read_book(CONFIGS / "book.csv", sectors, ratings)
    assert problems == []
    layout = arrange(loans)
    assert sorted(x.loan for x in layout.loans) == sorted(x.loan for x in loans)
    assert layout.group_size.max() <= 32
    assert layout.group_size.sum() == 400
    group = np.repeat(np.arange(len(layout.group_size)), layout.group_size)
    kind = layout.group_class[group]
    for field in ("pd", "rho", "lgd", "sector", "rating", "betas"):
        heads = [getattr(layout.loans[i], field) for i in layout.class_first]
        assert [heads[k] for k in kind] == [getattr(x, field) for x in layout.loans]
    assert [tuple(layout.patterns[layout.class_pattern[k]]) for k in kind] == [
        x.betas for x in layout.loans
    ]
    month = next(m for m in range(1, 61) if layout.matures[m + 1] > layout.matures[m])
    batches = range(layout.matures[month], layout.matures[month + 1])
    ending = [
        (k, i)
        for k in batches
        for i in layout.maturity_loan[layout.batch_first[k] : layout.batch_first[k + 1]]
    ]
    assert {layout.loans[i].end for _, i in ending} == {month}
    assert all(group[i] == layout.batch_group[k] for k, i in ending)
    assert len(ending) == sum(x.end == month for x in loans)


def test_a_homogeneous_book() -> None:
    loans = homogeneous(200, 0.02, 0.1, 0.45, 50.0)
    assert sum(x.exposure for x in loans) == pytest.approx(50.0)
    assert {(x.pd, x.rho, x.lgd) for x in loans} == {(0.02, 0.1, 0.45)}


def test_a_book_beside_the_config_comes_before_the_shipped_one(tmp_path: Path) -> None:
    head, *loans = (CONFIGS / "book.csv").read_text(encoding="utf-8").splitlines()
    # the loans that gpu_loans computes have to be there: their balances stand in gpu_loans.loan
    drawn, linked = ([x for x in loans if x.endswith(by)] for by in ("private_credit", "gpu_loans"))
    lines = [head, *drawn[:10], *linked]
    (tmp_path / "book.csv").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    scenario = load(write(tmp_path, 'extends = "base"\n[private_credit]\nnew_book = ""'))
    assert len(scenario.economy.columns["private_credit.loan_exposure"]) == 10


# ---- what compiles anew
def kernel(overrides: dict[str, Any] | None = None, name: str = "base") -> str:
    return emit(optimize(trace(load(name, overrides).economy, float64=False)))


@pytest.fixture(scope="module")
def base_kernel() -> str:
    return kernel()


@pytest.mark.parametrize(
    "overrides",
    [
        {"revenue.volatility": 0.3, "revenue.ceiling": 5000.0, "revenue.start": [0.2, 0.3, 0.5]},
        {
            "revenue.generator": [[-1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.5, 0.5, -1.0]],
            "rental.war_size": -0.7,
        },
        {
            "rental.generation.hopper.price": 2.5,
            "rental.generation.rubin.release": 12.0,
            "months": 36,
        },
        {
            "compute.price_elasticity": 1.0,
            "compute.usable": 1.0,
            "rental.common": 0.0,
            "private_credit.opacity": 0.0,
        },
        {
            "funding.window_start": 2.0,
            "private_credit.refinancing": [0.1, 0.2, 0.3],
            "title": "other",
        },
        {
            "fleet.chip.hopper.opex": 0.5,
            "firms.firm.openai.cash": 10.0,
            "firms.contract.openai_oracle.total": 200.0,
            "gpu_loans.loan.xai_colossus_2.ltv_covenant": 0.95,
            "gpu_loans.pledge.lambda_gpu_hopper.units": 50_000.0,
            "structured.pool.data_centre.pd_5y": 0.2,
            "structured.tranche.dc_senior.coupon": 0.04,
            "structured.spv.hyperion.guarantee": 0.5,
            "holders.holder.banks.capital": 1000.0,
            "macro.noise": 0.0,
        },
        {
            "revenue.volatility": 0.0,
            "compute.power_cap": 1e-3,
            "shocks.correlation": np.eye(8).tolist(),
        },
    ],
)
def test_numbers_do_not_change_the_kernel(base_kernel: str, overrides: dict[str, Any]) -> None:
    assert kernel(overrides) == base_kernel


@pytest.mark.parametrize(
    "overrides",
    [
        {"revenue.promo_months": 6},
        {"private_credit.method": "each"},
        {"private_credit.copula": "frailty"},
        {"private_credit.copula": "student_t"},
        {"private_credit.stress": False},
        {"gpu_loans.impact_law": "linear"},
        {"stress.event.price_war.on": True},
        {"firms.contract.meta_nebius.remove": True},
        without("next"),
    ],
)
def test_settings_change_the_kernel(base_kernel: str, overrides: dict[str, Any]) -> None:
    assert kernel(overrides) != base_kernel


def test_the_scenarios_share_one_kernel(base_kernel: str) -> None:
    assert kernel(name="linear") == kernel(name="exponential") == base_kernel


def test_an_event_moves_without_another_kernel() -> None:
    name = "stress.event.price_war"
    later = {
        f"{name}.month": 20,
        f"{name}.lasting": 3,
        f"{name}.size": -0.2,
        f"{name}.probability": 0.5,
    }
    assert kernel(name="price_war") == kernel(later, name="price_war")


# ---- how values are shown in messages
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "true"),
        (float("nan"), "nan"),
        ("two\nlines", r"'two\nlines'"),
        ([1, True, "x"], "[1, true, 'x']"),
        ({"a": {"b": False}}, "{a = {b = false}}"),
    ],
)
def test_values_are_shown_as_toml_spells_them(value: Any, expected: str) -> None:
    assert shown(value) == expected


def test_long_values_are_cut() -> None:
    assert shown(10**5000) == "a whole number of 16610 bits"  # Python itself would not print it
    nested: list[Any] = []
    for _ in range(10_000):
        nested = [nested]
    for value in ("x" * 10**6, list(range(10**6)), {str(i): i for i in range(10**5)}, nested):
        assert len(shown(value)) <= 60


def test_a_config_error_holds_one_line_for_each_problem() -> None:
    error = ConfigError(["a\nb", "c\x1b[31m"])
    assert error.problems == [r"a\nb", r"c\x1b[31m"]
    assert str(error) == "a\\nb\nc\\x1b[31m"
