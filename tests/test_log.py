"""--log-json: a JSON object a line, whatever happens; and a log that cannot be written costs no run."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import overbuilt
from overbuilt import ConfigError
from overbuilt.cli import main
from overbuilt.engine import log as log_module
from overbuilt.engine import run_folder
from overbuilt.engine.commands import run as run_module
from overbuilt.engine.log import EVERY, JsonLog, exit_code
from overbuilt.engine.run_store import read_manifest

ES = "private_credit.loss.es99"
SMALL = ("run", "textbook", "--backend", "native", "--paths", "3000")


def command(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(x) for x in path.read_text(encoding="utf-8").splitlines()]


def events(done: Result) -> list[dict[str, Any]]:
    """What is on standard error: nothing but JSON."""
    return [json.loads(x) for x in done.stderr.splitlines()]


# ---- the log by itself
def test_a_line_has_its_time_in_utc(tmp_path: Path) -> None:
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    with JsonLog(str(tmp_path / "x.log")) as log:
        log("warning", {"message": 'a "quoted"\nline'})
    first, last = lines(tmp_path / "x.log")
    assert first["event"] == "warning"
    assert first["message"] == 'a "quoted"\nline'
    assert first["pid"] == os.getpid()
    assert first["time"].endswith("Z")
    at = datetime.fromisoformat(first["time"])
    assert before <= at <= datetime.fromisoformat(last["time"]) <= datetime.now(UTC)


def test_numbers_that_json_has_not_are_null(tmp_path: Path) -> None:
    found = {
        "a": [np.float32(np.nan), np.int64(3), float("inf")],
        "b": {"c": (-np.inf, True, None)},
        "d": tmp_path,
    }
    with JsonLog(str(tmp_path / "x.log")) as log:
        log("x", found)
    text = (tmp_path / "x.log").read_text(encoding="utf-8").splitlines()[0]
    got = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert got["a"] == [None, 3, None]
    assert got["b"] == {"c": [None, True, None]}
    assert got["d"] == str(tmp_path)


def test_progress_comes_every_ten_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(log_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    with JsonLog(str(tmp_path / "x.log")) as log:
        for step in range(250):  # 31.25 seconds
            log("progress", {"paths": step})
            log("look", {"paths": step})
            clock[0] += 0.125
    found = [e for e in lines(tmp_path / "x.log") if e["event"] == "progress"]
    assert EVERY == 10.0
    assert [e["paths"] for e in found] == [80, 160, 240]
    assert sum(e["event"] == "look" for e in lines(tmp_path / "x.log")) == 250
    assert lines(tmp_path / "x.log")[-1]["seconds"] == 31.25


def test_lines_of_threads_and_of_several_logs_do_not_mix(tmp_path: Path) -> None:
    path = str(tmp_path / "x.log")
    with JsonLog(path) as one, JsonLog(path) as two:
        work = [
            threading.Thread(
                target=lambda log=log: [log("x", {"a": "y" * 3000}) for _ in range(50)]
            )
            for log in (one, two, one, two)
        ]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
    assert len(lines(tmp_path / "x.log")) == 202


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0), (SystemExit(0), 0), (SystemExit(None), 0), (SystemExit(4), 4), (SystemExit("no"), 1),
        (KeyboardInterrupt(), 130), (ValueError("x"), 1),
    ],
)  # fmt: skip
def test_the_last_event_has_the_exit_code(
    tmp_path: Path, error: BaseException | None, code: int
) -> None:
    assert exit_code(error) == code
    with contextlib.suppress(BaseException), JsonLog(str(tmp_path / "x.log")):
        if error is not None:
            raise error
    with contextlib.suppress(BaseException), contextlib.ExitStack() as stack:
        stack.enter_context(JsonLog(str(tmp_path / "x.log")))
        try:
            if error is not None:
                raise error
        finally:
            stack.close()  # as click before 8.2 does: without the exception
    found = lines(tmp_path / "x.log")
    assert [e["exit_code"] for e in found] == [code, code]
    assert found[0]["status"] == ("failed" if code == 1 else "finished")


@pytest.mark.parametrize("name", ["", "none/x.log", ".", "x\0y"])
def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        JsonLog(f"{tmp_path}/{name}" if name else "")
    assert caught.value.problems[0].startswith("--log-json ")


# ---- of a run
def test_a_run_logs_from_start_to_end(tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = command(*SMALL, "--out", str(out), "--format", "json", "--log-json")
    assert done.exit_code == 0
    result, found = json.loads(done.stdout), events(done)
    assert [e["event"] for e in found] == ["start", "end"]
    start, end = found
    manifest = read_manifest(out)
    assert start["scenario"] == "textbook"
    assert start["identity"] == manifest["identity"]
    assert start["paths_done"] == 0
    assert (end["status"], end["exit_code"], end["paths"]) == ("finished", 0, 3000)
    assert end["digest"] == result["digest"] == manifest["digest"]
    assert end["seconds"] > 0.0


def test_a_file_is_added_to(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    for _ in range(2):
        done = command(*SMALL, f"--log-json={log}")
        assert (done.exit_code, done.stderr) == (0, "")
    assert [e["event"] for e in lines(log)] == ["start", "end", "start", "end"]


def test_looks_checkpoints_limits_and_warnings_are_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder, "EVERY", 0.0)
    monkeypatch.setattr(run_folder, "SHARE", 1e9)
    config = tmp_path / "desk.toml"
    config.write_text(f'extends = "textbook"\n[[limit]]\nmetric = "{ES}"\nmax = 1\n')
    options = (
        "--until",
        f"{ES} within 0.01%",
        "--max-paths",
        "140000",
        "--out",
        str(tmp_path / "r"),
    )
    done = command("run", str(config), "--backend", "native", *options, "--log-json=-")
    assert done.exit_code == 4
    found = events(done)
    kinds = [e["event"] for e in found]
    assert set(kinds) == {"start", "checkpoint", "look", "limit", "warning", "end"}
    looks = [e for e in found if e["event"] == "look"]
    assert [e["paths"] for e in looks] == [65_536, 131_072, 140_000]
    assert looks[0]["targets"][0]["target"] == f"{ES} within 0.01%"
    saved = [e["paths"] for e in found if e["event"] == "checkpoint"]
    assert saved == [65_536, 131_072, 140_000]
    (limit,) = (e for e in found if e["event"] == "limit")
    assert (limit["quantity"], limit["breached"], limit["max"]) == (ES, True, 1.0)
    (warning,) = (e for e in found if e["event"] == "warning")
    assert warning["message"].startswith("stopped by max paths after 140,000 paths")
    assert found[-1]["exit_code"] == 4


def test_progress_of_a_run_is_what_simulate_tells() -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    counts: list[int] = []
    overbuilt.simulate(
        overbuilt.load("textbook"), 140_000, 0, "native", batch=70_000,
        on_event=lambda event, fields: told.append((event, fields)),
        progress=lambda done, paths, seconds: counts.append(done),
    )  # fmt: skip
    found = [fields["paths"] for event, fields in told if event == "progress"]
    assert found == counts
    assert found[-1] == 140_000
    assert told[0][0] == "start"


def test_a_resumed_run_says_what_was_done(tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    options = ("--backend", "native", "--paths", "50000000", "--deadline", "0.2s", "--out", out)
    assert command("run", "textbook", *options).exit_code == 3
    done = command("run", "--resume", out, "--deadline", "0.2s", "--log-json")
    assert done.exit_code == 3
    assert events(done)[0]["paths_done"] >= 65_536
    assert events(done)[-1]["status"] == "stopped"


def test_errors_are_events_too() -> None:
    done = command(*SMALL, "--set", "months=0", "--seed", "-1", "--log-json")
    assert (done.exit_code, done.stdout) == (2, "")
    found = events(done)
    assert [e["event"] for e in found] == ["error", "error", "end"]
    assert found[0]["message"].startswith("months = 0")
    assert (found[-1]["status"], found[-1]["exit_code"]) == ("failed", 2)


def test_errors_stay_on_standard_error_beside_a_file(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    done = command(*SMALL, "--seed", "-1", f"--log-json={log}")
    assert done.stderr.startswith("error: seed = -1")
    assert [e["event"] for e in lines(log)] == ["error", "end"]


def test_a_log_that_cannot_be_opened_ends_the_run_before_it_begins(tmp_path: Path) -> None:
    done = command(*SMALL, f"--log-json={tmp_path / 'none' / 'x.log'}")
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: --log-json ")
    assert "No such file" in line


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_log_that_cannot_be_written_costs_no_run() -> None:
    done = command(*SMALL, "--log-json=/dev/full", "--format", "json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["paths"] == 3000
    (line,) = done.stderr.splitlines()
    assert "the run goes on" in line


def test_there_is_no_progress_bar_beside_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    bar = run_module.Progress
    monkeypatch.setattr(
        run_module, "Progress", lambda wanted, *rest: asked.append(wanted) or bar(False)
    )
    command(*SMALL)
    command(*SMALL, "--log-json")
    assert asked == [True, False]
