"""What other programs read of a run: Parquet with units, CSV without formulas, JSON without NaN.

Readers that are not ours (pandas, PyArrow, DuckDB, Polars, the csv module) judge what was written.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from click.testing import Result as Done

import overbuilt
from overbuilt import Result, System, output
from overbuilt.cli import main
from overbuilt.engine.export import COLUMNS, as_text, write_csv

TABLES = ("series", "sample", "tails", "moments", "histograms", "blocks")


def command(*arguments: str) -> Done:
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture(scope="module")
def result() -> Result:
    return overbuilt.simulate(overbuilt.load("base"), 200, 3, "numpy", months=13)


@pytest.fixture(scope="module")
def stored(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(result.save(tmp_path_factory.mktemp("run") / "base"))


# ---- Parquet
@pytest.mark.parametrize("name", TABLES)
def test_a_table_carries_its_units(result: Result, stored: Path, name: str) -> None:
    schema = pq.read_schema(stored / f"{name}.parquet")
    meta = {k.decode(): v.decode() for k, v in schema.metadata.items()}
    assert (meta["scenario"], meta["table"]) == ("base", name)
    wanted = result.series_names if name == "series" else result.statistics.names
    assert json.loads(meta["units"]) == {v: result.units[v] for v in wanted}
    assert json.loads(meta["docs"]) == {v: result.docs[v] for v in wanted}
    for field in schema:
        assert field.metadata, field.name
        assert b"doc" in field.metadata or field.name in result.units


def test_a_column_that_is_a_metric_carries_its_unit_and_doc(result: Result, stored: Path) -> None:
    schema = pq.read_schema(stored / "sample.parquet")
    assert schema.names == ["path", *result.statistics.names]
    for name in result.statistics.names:
        found = schema.field(name).metadata
        assert found[b"unit"].decode() == result.units[name]
        assert found.get(b"doc", b"").decode() == result.docs[name]
    assert schema.field("path").metadata[b"unit"] == b"1"


def test_every_column_of_every_table_is_described(stored: Path) -> None:
    """And nothing is described that is in no table."""
    for name in TABLES:
        known = set(pq.read_schema(stored / f"{name}.parquet").names)
        assert set(COLUMNS[name]) <= known
        assert name == "sample" or set(COLUMNS[name]) == known


def test_a_replayed_path_carries_its_units(tmp_path: Path) -> None:
    path = tmp_path / "path.parquet"
    done = command("replay", "textbook", "--path", "3", "--out", str(path))
    assert done.exit_code == 0, done.output
    schema = pq.read_schema(path)
    assert schema.field("private_credit.loss").metadata[b"unit"] == b"USD bn"
    assert schema.field("month").metadata[b"unit"] == b"month"
    assert schema.metadata[b"scenario"] == b"textbook"


def ours(stored: Path, name: str) -> pd.DataFrame:
    return pq.read_table(stored / f"{name}.parquet").to_pandas()


@pytest.mark.parametrize("name", TABLES)
def test_pandas_reads_it(stored: Path, name: str) -> None:
    got = pd.read_parquet(stored / f"{name}.parquet")
    assert len(got)
    pd.testing.assert_frame_equal(got, ours(stored, name))


@pytest.mark.parametrize("name", TABLES)
def test_duckdb_reads_it(stored: Path, name: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    path, wanted = str(stored / f"{name}.parquet"), ours(stored, name)
    with duckdb.connect() as base:
        columns = base.execute("select * from read_parquet(?)", [path]).fetchnumpy()
        assert list(columns) == list(wanted.columns)
        for column in wanted:
            assert list(np.asarray(columns[column])) == list(wanted[column]), column
        found = base.execute("select key, value from parquet_kv_metadata(?)", [path]).fetchall()
    units = json.loads(dict(found)[b"units"])
    assert units["private_credit.loss"] == "USD bn"


@pytest.mark.parametrize("name", TABLES)
def test_polars_reads_it(stored: Path, name: str) -> None:
    polars = pytest.importorskip("polars")
    path, wanted = stored / f"{name}.parquet", ours(stored, name)
    got = polars.read_parquet(path)
    assert got.columns == list(wanted.columns)
    for column in wanted:
        assert got[column].to_list() == list(wanted[column]), column
    assert "USD bn" in polars.read_parquet_metadata(path)["units"]


# ---- CSV
FORMULAS = ("=1+1", "+1", "-1", "@sum", "\t=1", "\r=1", "\n=1", "  =1+1", "=HYPERLINK(\"x\";\"y\")")  # fmt: skip
PLAIN = ("", " ", "a=1", "private_credit.loss > 200", "3-4", "'=1", "µ", "é+")


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_text(text: str) -> None:
    assert as_text(text) == f"'{text}"
    assert as_text(as_text(text)) == f"'{text}"


@pytest.mark.parametrize("cell", [*PLAIN, -1.5, -7, None, True, float("-inf")])
def test_what_is_no_formula_stays(cell: Any) -> None:
    assert as_text(cell) is cell


def cells(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def is_formula(cell: str) -> bool:
    """As a spreadsheet sees it: a number is none."""
    try:
        float(cell)
    except ValueError:
        return cell.strip(" ")[:1] in ("=", "+", "-", "@", "\t", "\r", "\n")
    return False


def test_texts_names_of_rows_and_of_columns_are_no_formulas(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"=a": [-1.0, np.nan], "+b": ["=1", "x"], "n": [-3, 4], "c": ["-", -2.5], "f": [False, True]},
        index=pd.Index(["@r", "s"], name="=i"),
    )  # fmt: skip
    before = frame.copy()
    write_csv(frame, str(tmp_path / "x.csv"), index=True)
    assert cells(tmp_path / "x.csv") == [
        ["'=i", "'=a", "'+b", "n", "c", "f"],
        ["'@r", "-1.0", "'=1", "-3", "'-", "False"],
        ["s", "", "x", "4", "-2.5", "True"],
    ]
    pd.testing.assert_frame_equal(frame, before)


class Hostile(System):
    """A model whose unit is a formula."""

    system_name = "hostile"
    value = output("=1+1", "-2+3")

    def step(self, xp: object, s: object, up: object, draw: object) -> dict[str, float]:
        return {"value": -2.5}


def test_no_csv_of_a_run_has_a_formula(tmp_path: Path, stored: Path) -> None:
    hostile = overbuilt.simulate(Hostile(), 50, 0, "numpy", months=2)
    folder = Path(hostile.save(tmp_path / "hostile"))
    config = tmp_path / "=cmd.toml"
    config.write_text(
        'extends = "textbook"\ntitle = "=cmd|calc"\n[[limit]]\nname = "x"\nmetric = "private_credit.loss > 1"\nmax = 1\n'
    )
    named = overbuilt.simulate(overbuilt.load(config), 50, 0, "numpy", months=2)
    files = [*folder.glob("*.csv"), *Path(named.save(tmp_path / "named")).glob("*.csv")]
    files += [stored / "summary.csv", stored / "intervals.csv"]
    replayed = tmp_path / "path.csv"
    assert command("replay", str(config), "--path", "1", "--out", str(replayed)).exit_code == 0
    for path in [*files, replayed]:
        found = [c for row in cells(path) for c in row if is_formula(c)]
        assert not found, (path, found)
    assert "'=1+1" in (folder / "summary.csv").read_text()


def test_numbers_of_the_summary_are_numbers(result: Result, stored: Path) -> None:
    head, *rows = cells(stored / "summary.csv")
    wanted = result.summary()
    assert head == ["metric", *wanted.columns]
    assert [(r[0], r[1]) for r in rows] == list(wanted["unit"].items())
    got = np.array([[float(x or "nan") for x in r[2:]] for r in rows])
    assert (got < 0).any()
    np.testing.assert_array_equal(got, wanted.iloc[:, 1:].to_numpy(float))


# ---- JSON
def strict(text: str) -> Any:
    """JSON that has no NaN and no Infinity."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_every_command_has_json() -> None:
    for name, found in main.commands.items():
        assert any("--format" in p.opts for p in found.params), name


def test_check_says_in_json_what_it_checked(tmp_path: Path) -> None:
    config = tmp_path / "desk.toml"
    limit = {"name": "x", "metric": "private_credit.loss > 1", "max": 1.0}
    config.write_text(
        'extends = "textbook"\n[[limit]]\nname = "x"\nmetric = "private_credit.loss > 1"\nmax = 1\n'
    )
    done = command("check", str(config), "--format", "json")
    assert (done.exit_code, done.stderr) == (0, "")
    found = strict(done.stdout)
    scenario = overbuilt.load(config)
    assert found["scenario"] == "desk"
    assert (found["as_of"], found["months"]) == (scenario.as_of, scenario.months)
    assert found["systems"] == ["private_credit"]
    assert found["metrics"] == {m: scenario.economy.unit(m) for m in scenario.economy.metrics}
    assert found["parameters"] == len(scenario.economy.reals)
    assert found["limits"] == [limit]
    assert found["audit"] is None
    audited = strict(command("check", "textbook", "--paths", "5", "--format", "json").stdout)[
        "audit"
    ]
    assert (audited["paths"], audited["holds"], audited["violations"]) == (5, True, [])
    assert audited["checks"] > 5 * 12
    bad = command("check", "textbook", "--set", "months=0", "--format", "json")
    assert (bad.exit_code, bad.stdout) == (2, "")
    assert bad.stderr.startswith("error: months")


def test_an_audit_that_fails_is_json_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from overbuilt.engine import audit
    from overbuilt.engine.audit import AuditResult, Violation

    found = AuditResult("textbook", 5, 12, 0, ["cash"], 60, {"cash": 2})
    found.violations = [
        Violation("cash", "row", 3, 4, float("inf")),
        Violation("cash", "", 3, 5, 0.5),
    ]
    monkeypatch.setattr(audit, "audit", lambda *arguments: found)
    done = command("check", "textbook", "--paths", "5", "--format", "json")
    assert done.exit_code == 1
    told = strict(done.stdout)["audit"]
    assert told["holds"] is False
    assert told["violations"][0] == {
        "identity": "cash",
        "row": "row",
        "path": 3,
        "month": 4,
        "size": None,
    }
    assert told["violations"][1]["size"] == 0.5


def test_backends_in_json() -> None:
    from overbuilt.kernels import backends

    found = strict(command("backends", "--scenario", "textbook", "--format", "json").stdout)[
        "backends"
    ]
    assert [b["backend"] for b in found] == list(backends.NAMES)
    assert {b["backend"]: b["works"] for b in found} == {
        n: backends.status(n).works for n in backends.NAMES
    }
    assert [b["backend"] for b in found if b["chosen"]] == [backends.choose()[0]]
    table = command("backends", "--scenario", "textbook").stdout
    assert all(b["kernel"] in table for b in found)


def test_the_graph_in_json(tmp_path: Path) -> None:
    reads = strict(command("explain", "--graph", "-", "--format", "json").stdout)["reads"]
    assert list(reads) == list(overbuilt.load("base").economy.systems)
    assert "rental" in reads["fleet"]["this_month"]
    assert all(reader not in t["this_month"] for reader, t in reads.items())
    file = str(tmp_path / "x.svg")
    done = command("explain", "--graph", file, "--format", "json")
    assert strict(done.stdout) == {"written": file}
