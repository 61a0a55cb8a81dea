"""The sample of a nightly job, tried as a scheduler would: two nights, a breached limit, bad input, a run cut off."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest

from overbuilt.kernels.backends import native

NIGHTLY = Path(__file__).parent.parent / "docs" / "nightly"

pytestmark = pytest.mark.skipif(native.compiler() is None, reason="no C++ compiler here")


def night(place: Path, scenario: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """The script in a folder of its own, with the console command of this environment first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    told = {"TARGET": "private_credit.loss within 5%", "DEADLINE": "5m", "VERIFY": "20"} | settings
    return subprocess.run(
        ["sh", str(NIGHTLY / "nightly.sh"), scenario, "runs"],
        cwd=place, env={**os.environ, **told, "PATH": path}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def to_yesterday(place: Path) -> None:
    """Tonight's folder becomes last night's."""
    tonight = place / "runs" / f"{date.today()}"
    if not tonight.exists():  # midnight passed
        tonight = next((place / "runs").iterdir())
    tonight.rename(place / "runs" / f"{date.today() - timedelta(days=3)}")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("first")
    done = night(place, "textbook")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verify: exit 0" in done.stdout
    return place


@pytest.fixture
def place(first: Path, tmp_path: Path) -> Path:
    """A folder in which a night has been."""
    shutil.copytree(first, tmp_path / "copy")
    return tmp_path / "copy"


def test_the_second_night_is_compared_with_the_first(place: Path) -> None:
    to_yesterday(place)
    done = night(place, "textbook")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "compare: exit 0" in done.stdout


def test_figures_that_moved_are_news(place: Path) -> None:
    to_yesterday(place)
    (place / "worse.toml").write_text('extends = "textbook"\n[private_credit]\npd = 0.2\n')
    done = night(place, "worse.toml")
    assert "compare: exit 5" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 5


def test_a_breached_limit_is_graver_than_a_move(place: Path) -> None:
    to_yesterday(place)
    (place / "limited.toml").write_text(
        'extends = "textbook"\n[private_credit]\npd = 0.2\n'
        '[[limit]]\nmetric = "private_credit.loss"\nmax = 1e-3\n'
    )
    done = night(place, "limited.toml")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "compare: exit 5" in done.stdout
    assert "limit private_credit.loss" in done.stderr


def test_bad_input_ends_it(tmp_path: Path) -> None:
    done = night(tmp_path, "no_such_scenario")
    assert done.returncode == 2
    assert "error: " in done.stderr
    assert "verify" not in done.stdout


def test_a_run_that_was_cut_off_is_taken_up(first: Path, tmp_path: Path) -> None:
    target = {"TARGET": "private_credit.loss within 0.05%"}
    cut = night(tmp_path, "textbook", **target, DEADLINE="1s")
    assert cut.returncode == 3, cut.stdout + cut.stderr
    done = night(tmp_path, "textbook", TARGET="ignored: it is stored with the run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "targets held" in done.stdout
