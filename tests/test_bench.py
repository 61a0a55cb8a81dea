"""The benchmark suite: it names its cases, its cheap cases run, and its page is made of what they found.

No number of a benchmark is tested, only that there is one.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from overbuilt.kernels.backends import native

BENCH = Path(__file__).resolve().parents[1] / "bench"
RESULTS = sorted((BENCH / "results").glob("*.json"))
needs_compiler = pytest.mark.skipif(native.compiler() is None, reason="no C++ compiler here")


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Modules of the suite by name, forgotten afterwards."""
    monkeypatch.syspath_prepend(str(BENCH))
    before = set(sys.modules)

    def named(name: str) -> ModuleType:
        __import__(name)
        return sys.modules[name]

    yield named
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(BENCH)):
            del sys.modules[name]


def result(rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """What the suite keeps of a case, with some rows."""
    about = {"processor": "P", "family": "1", "model": "2", "cores": 2, "vectors": "avx2"}
    found = {
        "commit": "abc", "versions": {"python": "3.11"}, "command": "python bench/run.py start", "load_before": 0.1,
        "rows": rows, "skipped": ["jax skipped: no jax"], "notes": ["A note."],
    }  # fmt: skip
    return {"machine": about | {"virtual": True}, "cases": {"start": found | more}}


def page() -> str:
    names = bench("--list").stdout.split("\n")
    marks = [line.split()[0] for line in names if line]
    return "".join(f"## {m}\n<!-- {m} -->\nold\n<!-- /{m} -->\nprose\n" for m in marks)


def test_list_names_every_case() -> None:
    done = bench("--list")
    assert done.returncode == 0
    named = {line.split()[0] for line in done.stdout.splitlines()}
    assert named == {f.stem for f in (BENCH / "cases").glob("*.py")} - {"__init__"}


def test_an_unknown_case_is_refused() -> None:
    done = bench("trioo")
    assert done.returncode == 2
    assert "no case trioo" in done.stderr


@needs_compiler
def test_cheap_cases_run_and_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "new" / "found.json"
    done = bench("start", "statistics", "--quick", "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    cases = json.loads(file.read_text())["cases"]
    assert list(cases) == ["start", "statistics"]
    assert [r["cache"] for r in cases["start"]["rows"]] == ["", "", "empty", "warm"]
    assert len(cases["statistics"]["rows"]) == 4
    assert all(r["share"] > 0 for r in cases["statistics"]["rows"][1:])
    for found in cases.values():
        assert found["command"].endswith("--quick")
        assert found["commit"]
        assert all(r["best_s"] > 0 for r in found["rows"])


def test_a_case_that_fails_leaves_the_others(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, start, report = (module(name) for name in ("run", "cases.start", "cases.report"))

    def fails(quick: bool, say: Any) -> Any:
        raise RuntimeError("no such luck")

    monkeypatch.setattr(start, "run", fails)
    row = {"command": "c", "best_s": 1.5, "cpu_s": 1.0}
    monkeypatch.setattr(report, "run", lambda quick, say: module("cases").Found([row]))
    file = tmp_path / "found.json"
    assert run.main(["start", "report", "--json", str(file)]) == 1
    cases = json.loads(file.read_text())["cases"]
    assert cases["start"]["error"] == "RuntimeError: no such luck"
    assert cases["report"]["rows"] == [row]
    assert "FAILED: RuntimeError: no such luck" in capsys.readouterr().out
    monkeypatch.setattr(start, "run", lambda quick, say: module("cases").Found([row]))
    assert run.main(["start", "--json", str(file)]) == 0
    cases = json.loads(file.read_text())["cases"]
    assert list(cases) == ["start", "report"]  # the other stays
    assert "error" not in cases["start"]


def test_tables_are_made_of_results(module: Any, tmp_path: Path) -> None:
    run = module("run")
    row = {
        "command": "overbuilt --help",
        "cache": "",
        "best_s": 0.1234,
        "median_s": 0.2,
        "cpu_s": 0.1,
    }
    file = tmp_path / "one.json"
    file.write_text(json.dumps(result([row])))
    text = run.with_tables(page(), [file])
    assert "| overbuilt --help | 0.123 | 0.2 | 0.1 |" in text
    assert "`python bench/run.py start`, commit abc; P" in text
    assert "- A note." in text
    assert "- jax skipped: no jax" in text
    assert text.count("prose\n") == page().count("prose\n")
    assert "old" not in text
    assert run.with_tables(text, [file]) == text  # again gives the same
    file.write_text(json.dumps(result([row], error="RuntimeError: x")))
    assert "P: failed, RuntimeError: x" in run.with_tables(text, [file])


def test_a_page_without_marks_is_refused(module: Any) -> None:
    with pytest.raises(SystemExit, match="has no <!-- trio -->"):
        module("run").with_tables(page().replace("<!-- trio -->", ""), [])


def test_the_page_shows_the_results_that_are_kept(module: Any) -> None:
    text = (BENCH / "README.md").read_text(encoding="utf-8")
    assert module("run").with_tables(text, RESULTS) == text
    kept = [json.loads(f.read_text(encoding="utf-8")) for f in RESULTS]
    shown = [(m, r) for r in kept for m in r.get("cases", {})]
    assert shown
    for case, found in shown:
        part = text.partition(f"<!-- {case} -->")[2].partition(f"<!-- /{case} -->")[0]
        assert found["cases"][case]["command"] in part
        assert part.count("\n|") >= len(found["cases"][case].get("rows", []))


def test_kept_tables_fit_a_terminal(module: Any) -> None:
    from rich.console import Console

    for file in RESULTS:
        for name, found in json.loads(file.read_text(encoding="utf-8")).get("cases", {}).items():
            case, console = module(f"cases.{name}"), Console(width=100, record=True, quiet=True)
            module("table").show(case.TITLE, case.COLUMNS, found.get("rows", []), console)
            lines = console.export_text().splitlines()
            assert max(map(len, lines), default=0) <= 100
            assert not any("…" in line for line in lines), name


def test_a_library_that_is_missing_is_skipped(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    contest = module("contest")
    broken = contest.Contender("none", "no_such_module", (), 10, {"algorithm": "a"})
    rows, skipped = contest.contest([broken], 1, lambda text: None)
    assert rows == []
    assert skipped == ["none a skipped: No module named 'no_such_module'"]


def test_agreement_is_within_four_standard_errors(module: Any) -> None:
    agrees = module("contest").agrees
    one = {"mean": 1.0, "mean_se": 0.03}
    assert agrees(one, {"mean": 1.19, "mean_se": 0.04})
    assert not agrees(one, {"mean": 1.21, "mean_se": 0.04})


def test_paths_are_held_to_the_reference_value_by_value(module: Any) -> None:
    within = module("cases.base").within
    right = np.random.default_rng(1).uniform(1.0, 2.0, (3, 512))

    def wrong(paths: int, by: float) -> Any:
        return right * np.where(np.arange(512) < paths, [[1.0 + by], [1.0], [1.0]], 1.0)

    assert within(wrong(512, 1e-10), right, "float64") == (True, "512/512")
    assert within(wrong(1, 1e-8), right, "float64") == (False, "NO: 511/512")
    assert within(wrong(512, 3e-5), right, "float32") == (True, "512/512")
    assert within(wrong(11, 1e-3), right, "float32") == (True, "501/512")
    assert within(wrong(12, 1e-3), right, "float32") == (False, "NO: 500/512")
    assert within(wrong(1, float("nan")), right, "float64") == (False, "NO: 511/512")
    assert within(wrong(0, 0.0), right[:, :64], "float64") == (True, "64/64")


_LOOP = """
#include <immintrin.h>
extern "C" __attribute__((visibility("default"))) float work(long n) {
  __m256 x = _mm256_set1_ps(1.0f), y = x;
  for (long i = 0; i < n; ++i) {
    __asm__ volatile("vaddps %1, %0, %0" : "+x"(x) : "x"(y));
    if (i % 4 == 0) __asm__ volatile("vdivps %1, %0, %0" : "+x"(x) : "x"(y));
  }
  return x[0];
}
"""


@needs_compiler
def test_instructions_are_counted_exactly(module: Any, tmp_path: Path) -> None:
    import ctypes
    import os
    import platform

    if platform.machine() != "x86_64":
        pytest.skip("x86-64 only")
    unit, to = tmp_path / "loop.cpp", tmp_path / "loop.so"
    unit.write_text(_LOOP)
    command = [
        str(BENCH / "counting_cxx.py"),
        "-O2",
        "-mavx",
        "-fPIC",
        "-shared",
        str(unit),
        "-o",
        str(to),
    ]
    real = {"BENCH_CXX": native.compiler() or "g++"}
    subprocess.run([sys.executable, *command], check=True, env=os.environ | real)
    counted = module("instructions").Counted(str(to))
    work = ctypes.CDLL(str(to)).work
    work.argtypes, work.restype = [ctypes.c_long], ctypes.c_float
    found = []
    for n in (1000, 3000):
        counted.clear()
        assert work(n) == n + 1.0  # the counters disturb nothing
        found.append(counted.read())
    assert found[1]["arithmetic"] - found[0]["arithmetic"] == 2000
    assert found[1]["divide"] - found[0]["divide"] == 500


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("\tvfmadd132ps\t%zmm0, %zmm1, %zmm2", "arithmetic"),
        ("\tvaddps\t(%rax), %ymm1, %ymm2", "arithmetic"),
        ("\tvmovaps\t%zmm3, %zmm4{%k1}", "arithmetic"),
        ("\tvmovaps\t%zmm3, 64(%rsp)", "move"),
        ("\tvbroadcastss\t(%rax), %zmm0", "move"),
        ("\tkortestw\t%k1, %k1", "mask"),
        ("\tvgatherdps\t(%rax,%zmm1,4), %zmm0{%k1}", "gather"),
        ("\tvdivps\t%zmm0, %zmm1, %zmm2", "divide"),
        ("\tvaddss\t%xmm0, %xmm1, %xmm2", "narrow"),
        ("\taddq\t$1, %rax", "scalar"),
        ("\tret", "scalar"),
    ],
)
def test_classes_of_instructions(module: Any, text: str, name: str) -> None:
    assert module("counting_cxx").class_of(text) == name


@needs_compiler
def test_a_book_of_so_many_loans(module: Any, tmp_path: Path) -> None:
    from overbuilt import load

    ours = module("ours")
    for loans in (10, 1000):
        overrides = ours.with_loans(loans, tmp_path)
        lines = Path(overrides["private_credit.book"]).read_text().splitlines()
        assert len(lines) == loans + 1
        exposure = sum(float(re.split(",", line)[3]) for line in lines[1:])
        assert exposure == pytest.approx(434.0, rel=1e-3)
        load("base", overrides)  # raises where it does not fit


def test_the_shipped_books_in_parts(module: Any, tmp_path: Path) -> None:
    from overbuilt import load

    ours = module("ours")
    own, linked = ours.shipped_loans()
    totals = []
    for parts in (1, 10):
        overrides = ours.with_split(parts, tmp_path)
        economy = load("base", overrides).economy  # raises where they do not fit
        credit = economy.systems["private_credit"]
        loans, outside, problems = credit._split()
        assert not problems
        assert (len(loans), len(outside)) == (own * parts, linked)
        totals.append(sum(x.exposure for x in loans))
    assert totals[1] == pytest.approx(totals[0], rel=1e-9)
