"""The report as a file: it is sound HTML, holds what it should, and hostile texts stay text."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import overbuilt
from overbuilt.cli import main
from overbuilt.engine.estimate import Estimate
from overbuilt.engine.report import words
from overbuilt.engine.report.config_text import toml
from overbuilt.engine.report.how import again, how_rows
from overbuilt.engine.report.page import check_target, write_report
from overbuilt.engine.report.parts import inlined, plain
from overbuilt.engine.report.still import clean

from . import reports
from .reports import HOSTILE, Parsed

SMALL = ("textbook", "no defaults", "very large", "one path", "one month")
LARGEST = 3_000_000
"""Bytes of a report at most."""


@cache
def parsed(name: str) -> Parsed:
    return Parsed(text_of(name))


def text_of(name: str) -> str:
    made = {"page": reports.page, "comparison": reports.comparison}
    return made[name]() if name in made else reports.small(name)


@pytest.mark.parametrize("name", ["page", "comparison", *SMALL])
def test_is_sound_html_whose_anchors_resolve(name: str) -> None:
    p = parsed(name)
    assert not p.unclosed
    assert not p.open
    ids = [a["id"] for _, a in p.elements if "id" in a]
    assert len(ids) == len(set(ids))
    links = [a["href"] or "" for a in p.of("a")]
    anchors = [link[1:] for link in links if link.startswith("#")]
    assert len(anchors) > 5
    assert set(anchors) <= set(ids)
    assert {a["aria-labelledby"] for a in p.of("figure")} <= set(ids)
    # references within pictures are to ids of that picture
    for picture in re.findall(r"<svg.*?</svg>", text_of(name), re.DOTALL):
        for reference in re.findall(r"url\(#([^)]+)\)", picture):
            assert f'id="{reference}"' in picture


@pytest.mark.parametrize("name", ["page", "comparison", *SMALL])
def test_needs_nothing_and_stays_small(name: str) -> None:
    text, p = text_of(name), parsed(name)
    assert len(text.encode()) < LARGEST
    for tag, attributes in p.elements:
        for key in ("src", "href", "xlink:href", "data", "action", "srcset"):
            value = attributes.get(key) or ""
            assert not value or value.startswith(("#", "data:")), (tag, key, value[:80])
        assert not any(key.startswith("on") for key in attributes), (tag, attributes)
    assert not {"img", "iframe", "object", "embed", "form", "base"} & {t for t, _ in p.elements}


def test_the_policy_allows_these_scripts_and_no_others() -> None:
    p = parsed("page")
    policy = next(a["content"] or "" for a in p.of("meta") if a.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    allowed = re.findall(r"'sha256-([^']+)'", policy.partition("script-src")[2].partition(";")[0])
    scripts = re.findall(r"<script>(.*?)</script>", text_of("page"), re.DOTALL)
    found = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert found == allowed
    assert len(found) == 2


def test_hostile_texts_stay_text() -> None:
    p = parsed("page")
    kinds = [a.get("type") for a in p.of("script")]
    assert kinds.count(None) == 2
    assert set(kinds) == {None, "application/json"}
    for text in HOSTILE:
        assert text in p.said, text
    title = reports.base().config["title"]  # type: ignore[index]
    assert ("title", title) in p.texts
    assert any(tag == "h1" and title in text for tag, text in p.texts)


def test_every_chart_has_picture_spec_and_data() -> None:
    text = text_of("page")
    figures = re.findall(r"<figure.*?</figure>", text, re.DOTALL)
    assert len(figures) == 19
    for figure in figures:
        found = re.search(r'id="chart-([a-z0-9_-]+)"', figure)
        assert found
        assert len(re.findall(r"<(path|rect|line|circle|text)\b", figure)) > 5, found[1]
        spec = json.loads(
            re.findall(r'<script type="application/json">(.*?)</script>', figure, re.DOTALL)[0]
        )
        assert "$schema" in spec
        assert "NaN" not in json.dumps(spec)
        rows = csv_of(figure)
        assert len(rows) > 0, found[1]
        body = re.findall(r"<tbody>(.*?)</tbody>", figure, re.DOTALL)[0]
        assert body.count("<tr>") == min(len(rows), 60)
        assert re.findall(r"Source: (.*?)</span>", figure)[0] not in ("", "."), found[1]


def csv_of(figure: str) -> pd.DataFrame:
    link = re.findall(r'href="data:text/csv;charset=utf-8,([^"]*)"', figure)[0]
    return pd.read_csv(io.StringIO(unquote(link)))


def test_a_chart_s_data_are_the_run_s() -> None:
    figure = re.findall(
        r'<figure id="chart-fan_rental_hopper".*?</figure>', text_of("page"), re.DOTALL
    )[0]
    rows = csv_of(figure)
    wanted = reports.base().series("rental.hopper")
    np.testing.assert_allclose(rows["median"], wanted["p50"], rtol=1e-6)
    np.testing.assert_allclose(rows["95 %"], wanted["p95"], rtol=1e-6)
    claims = csv_of(
        re.findall(r'<figure id="chart-claims".*?</figure>', text_of("page"), re.DOTALL)[0]
    )
    assert "'" + HOSTILE[4] in set(claims["title"])  # for a spreadsheet, no formula


def test_contents_in_the_order_of_the_questions() -> None:
    ids = [a["id"] for a in parsed("page").of("section")]
    assert ids == [
        "short", "claims", "revenue", "compute", "credit", "firms", "network", "sales", "tranches", "holders", "cycle",
        "sensitivity", "stories", "stress", "data", "how",
    ]  # fmt: skip
    said = parsed("page").said
    assert f"{reports.PATHS:,} paths of the scenario" in said
    assert reports.base().digest in said
    assert "1 of 2 limits is breached" in said
    assert "private_credit.loss.es99" in said


def test_the_headline_numbers_are_the_estimates() -> None:
    e = reports.base().estimate("private_credit.loss")
    card = re.findall(r'<div class="card">.*?</div>', text_of("page"), re.DOTALL)[0]
    value = float(re.findall(r'class="value">([\d.]+)', card)[0])
    low, high = map(float, re.findall(r"([\d.]+) to ([\d.]+) \(95 % interval\)", card)[0])
    assert (value, low, high) == pytest.approx((e.value, e.low, e.high), abs=0.051)


@pytest.mark.parametrize("name", SMALL)
def test_edges_have_a_sound_report(name: str) -> None:
    p = parsed(name)
    assert len(p.of("section")) == 16
    assert len(p.of("figure")) >= (1 if name in ("textbook", "no defaults", "very large") else 8)
    for wrong in ("nan", "None", "inf "):
        assert not re.search(rf"\b{wrong}\b", p.said), wrong


def test_what_is_missing_is_said_in_a_line() -> None:
    said = parsed("textbook").said
    assert "This economy has no AI revenue." in said
    assert "Sensitivities: not shown (left out of a quick report)." in said
    assert len(re.findall(r"not shown \(", said)) >= 6


def test_a_comparison_overlays_and_judges() -> None:
    p, text = parsed("comparison"), text_of("comparison")
    assert [a["id"] for a in p.of("section")] == [
        "short",
        "differs",
        "fans",
        "distributions",
        "verdicts",
        "how",
    ]
    assert "base against linear" in p.said
    assert "revenue.reading" in p.said
    figure = re.findall(
        r'<figure id="chart-beyond_private_credit_loss".*?</figure>', text, re.DOTALL
    )[0]
    assert set(csv_of(figure)["run"]) == {"base", "linear"}
    fan = csv_of(re.findall(r'<figure id="chart-fan_revenue_rate.*?</figure>', text, re.DOTALL)[0])
    assert set(fan["scenario"]) == {"base", "linear"}
    verdicts = text[text.index('<section id="verdicts"') :]
    rows = csv_of(verdicts[verdicts.index("All ") :])
    assert set(rows["verdict"].str.split(";").str[0].str.split(",").str[0]) >= {"moved", "unclear"}
    moved = rows[(rows["metric"] == "revenue.rate") & (rows["statistic"] == "mean")].iloc[0]
    assert moved["B less A"] == pytest.approx(moved["B"] - moved["A"], rel=1e-5)


# ---- parts
def test_json_in_a_page_can_end_no_script_and_holds_finite_numbers() -> None:
    value = {"a": [HOSTILE[1], float("nan"), float("inf"), 1 / 3], "b": "<!--<script>&"}
    text = inlined(plain(value))
    assert not re.search(r"[<>&]", text)
    assert json.loads(text) == {"a": [HOSTILE[1], None, None, 0.3333333], "b": "<!--<script>&"}


def test_a_still_picture_has_shapes_and_text_only() -> None:
    drawn = clean(
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9" height="8">'
        '<script>window.pwned = 1</script><a xlink:href="javascript:1"><text>in a link</text></a>'
        '<image xlink:href="http://example.org/x.png"/><foreignObject><b>x</b></foreignObject>'
        '<g onclick="x()" style="fill:url(http://example.org)" clip-path="url(#clip0)">'
        '<text transform="translate(1.23456,2)">&lt;script&gt;</text></g>'
        '<clipPath id="clip0"><rect width="1" height="1"/></clipPath><path d="" /><rect opacity="0" width="3"/></svg>',
        "name",
    )
    assert {t for t, _ in Parsed(drawn).elements} == {"svg", "g", "text", "clippath", "rect"}
    assert "example.org" not in drawn
    assert "onclick" not in drawn
    assert "javascript" not in drawn
    assert 'clip-path="url(#name-0)"' in drawn
    assert 'id="name-0"' in drawn
    assert "translate(1.2,2)" in drawn
    assert "&lt;script&gt;" in drawn
    assert 'viewBox="0 0 9 8"' in drawn


@pytest.mark.parametrize(
    ("value", "low", "high", "unit", "wanted"),
    [
        (78.654, 77.02, 80.31, "USD bn", "78.7 USD bn; 77.0 to 80.3 (95 % interval)"),
        (105.13, 104.88, 105.38, "USD bn", "105.1 USD bn; 104.9 to 105.4 (95 % interval)"),
        (0.1099, 0.1005, 0.1197, "0 or 1", "11.0 %; 10.1 to 12.0 % (95 % interval)"),
        (1234567.0, 1230000.0, 1240000.0, "units", "1,234,567 units; 1,230,000 to 1,240,000 (95 % interval)"),
        (3.2e15, 3.1e15, 3.3e15, "USD bn", "3.2e15 USD bn; 3.1e15 to 3.3e15 (95 % interval)"),
        (4.56e-9, 4.0e-9, 5.0e-9, "ratio", "4.56e-9; 4e-9 to 5e-9 (95 % interval)"),
        (5.0, 5.0, 5.0, "count", "5; the same on every path"),
        (5.0, -np.inf, np.inf, "count", "5; no interval: told"),
        (np.nan, -np.inf, np.inf, "count", "-; no value: told"),
    ],
)  # fmt: skip
def test_estimates_in_words(value: float, low: float, high: float, unit: str, wanted: str) -> None:
    found = words.said(Estimate(value, low, high, 1.0, 0.95, "told"), words.unit_of(unit))
    assert f"{found}; {found.interval}" == wanted


@pytest.mark.parametrize("name", ["base", "price_war", "textbook"])
def test_the_config_that_a_report_holds_is_the_scenario(name: str, tmp_path: Path) -> None:
    values = json.loads(json.dumps(overbuilt.load(name).values))
    values["title"] = 'quotes " and \\ and \x7f and é and \U0001f600\n'
    assert tomllib.loads(toml(values)) == values
    file = tmp_path / "again.toml"
    file.write_text(toml(json.loads(json.dumps(overbuilt.load(name).values))), encoding="utf-8")
    assert json.dumps(overbuilt.load(str(file)).values) == json.dumps(overbuilt.load(name).values)


@pytest.mark.parametrize(
    ("overrides", "months", "custom"),
    [({}, None, False), ({"private_credit.pd": 0.03, "private_credit.stress": False}, 6, False),
     ({"limit": [{"name": "a", "metric": "private_credit.loss", "max": 1.0}]}, None, True)],
)  # fmt: skip
def test_the_command_gives_the_run_again(
    overrides: dict[str, Any],
    months: int | None,
    custom: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import shlex

    monkeypatch.chdir(tmp_path)
    result = overbuilt.simulate(
        overbuilt.load("textbook", overrides), 300, 7, "numpy", "float64", months=months
    )
    code = again(result)
    Path(code.file_name).write_text(unquote(code.file_href.partition(",")[2]), encoding="utf-8")
    assert ("textbook.toml" in code.code) is custom
    program, *arguments = shlex.split(code.code)
    assert program == "overbuilt"
    done = CliRunner().invoke(main, [*arguments, "--format", "json"])
    assert json.loads(done.stdout)["digest"] == result.digest


def test_how_it_was_computed() -> None:
    rows = dict(how_rows(reports.base()))
    assert rows["Digest (SHA-256 of every path's metrics)"] == reports.base().digest
    assert rows["Paths set aside"].startswith("No path")
    assert rows["Determinism"].startswith("Same bytes")
    assert "±" in rows["Precision reached"]


# ---- the commands
def command(*arguments: str) -> Any:
    return CliRunner().invoke(main, list(arguments))


def test_report_of_a_stored_run_and_beside_a_scenario(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result = overbuilt.simulate(overbuilt.load("textbook"), 300, 5, "numpy")
    result.save(folder)
    out = tmp_path / "one.html"
    done = command("report", str(folder), "--quick", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert result.digest in out.read_text(encoding="utf-8")
    both = tmp_path / "two.html"
    done = command("report", str(folder), "textbook", "--backend", "numpy", "--out", str(both))
    assert done.exit_code == 0, done.output
    assert "Nothing differs" in Parsed(both.read_text(encoding="utf-8")).said


def test_the_same_run_gives_the_same_report(tmp_path: Path) -> None:
    texts = []
    for name in ("a", "b"):
        result = overbuilt.simulate(overbuilt.load("textbook"), 300, 5, "numpy")
        result.seconds = {}
        path = write_report(tmp_path / f"{name}.html", result, quick=True, today=reports.DAY)
        texts.append(path.read_bytes())
    assert texts[0] == texts[1]


def test_bad_input_is_told_before_anything_runs(tmp_path: Path) -> None:
    for arguments, told in (
        (["nowhere"], "scenario 'nowhere': unknown"),
        (["textbook", "--out", str(tmp_path / "no" / "x.html")], "there is no folder"),
        (["textbook", "--out", str(tmp_path)], "should name a file"),
        (["textbook", "--paths", "0"], "paths"),
        (["textbook", str(tmp_path)], "no run lies there"),
        (["textbook", "--set", "private_credit.nothing=1"], "private_credit.nothing"),
    ):
        done = command("report", *arguments)
        assert done.exit_code == 2, (arguments, done.output)
        assert told in done.stderr, (arguments, done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_run_with_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = ("run", "textbook", "--paths", "200", "--backend", "numpy")
    for more, path in (
        (("--report",), "textbook.html"),
        (("--report=mine.html",), "mine.html"),
        (("--out", "runs/x", "--report"), "runs/x/report.html"),
    ):
        done = command(*small, *more)
        assert done.exit_code == 0, done.output
        assert (tmp_path / path).is_file()
    assert overbuilt.load_run("runs/x").path_count == 200  # the folder is a run still
    assert command("show", "runs/x").exit_code == 0
    done = command(*small, "--report=no/where.html")
    assert done.exit_code == 2
    assert "--report no/where.html: there is no folder" in done.stderr


def test_a_breached_limit_still_ends_with_its_code(tmp_path: Path) -> None:
    config = tmp_path / "tight.toml"
    config.write_text(
        'extends = "textbook"\n[[limit]]\nname = "a"\nmetric = "private_credit.loss"\nmax = 0.0\n'
    )
    out = tmp_path / "tight.html"
    done = command("run", str(config), "--paths", "200", "--backend", "numpy", f"--report={out}")
    assert done.exit_code == 4, done.output
    assert "1 of 1 limit is breached" in Parsed(out.read_text(encoding="utf-8")).said


def test_where_a_report_can_be_written(tmp_path: Path) -> None:
    assert check_target(tmp_path / "x.html") == tmp_path / "x.html"
    for wrong in (
        "",
        str(tmp_path),
        f"{tmp_path}/none/x.html",
        f"{tmp_path}/",
        "a\0b.html",
        f"{tmp_path}/{'x' * 300}",
    ):
        with pytest.raises(overbuilt.ConfigError):
            check_target(wrong)
