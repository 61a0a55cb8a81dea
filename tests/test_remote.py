"""Runs at URLs: the same bytes as here, whole or no run at all, whatever fails on the way.

On fsspec's in-memory and local file systems, and looked at through fsspec's own calls.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from click.testing import Result as Done

import overbuilt
from overbuilt import ConfigError
from overbuilt.cli import main
from overbuilt.engine import remote
from overbuilt.engine.commands.compare import compare
from overbuilt.engine.commands.verify import verify
from overbuilt.engine.run_store import MANIFEST, is_run, is_url, load_run, read_manifest, sha256

SMALL = ("--backend", "native", "--paths", "3000")


def command(*arguments: str) -> Done:
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture(params=["memory", "file"])
def url(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    fsspec = pytest.importorskip("fsspec")
    cache = tmp_path / "cache"
    monkeypatch.setattr(remote, "cache_folder", lambda: cache)
    if request.param == "file":
        yield f"file://{tmp_path}/bucket/run"
        return
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    yield "memory://bucket/run"
    store.store.clear()


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def opened(url: str) -> tuple[Any, str]:
    import fsspec

    found: tuple[Any, str] = fsspec.core.url_to_fs(url)
    return found


def working(tmp_path: Path) -> list[Path]:
    """The working folders that are there."""
    place = tmp_path / "cache" / "runs"
    return list(place.iterdir()) if place.exists() else []


@pytest.mark.parametrize(
    ("text", "remotely"),
    [
        ("s3://bucket/run", True), ("memory://x", True), ("file:///x", True), ("simplecache::s3://b/r", True),
        ("runs/base", False), ("/runs/base", False), ("C:\\runs", False), ("base", False), ("a:b", False),
        ("./s3://x", False), ("", False), ("://x", False),
    ],
)  # fmt: skip
def test_what_is_a_url(text: str, remotely: bool) -> None:
    assert is_url(text) is remotely


def test_a_run_at_a_url_is_the_run_here(url: str, tmp_path: Path) -> None:
    here = tmp_path / "here"
    assert command("run", "textbook", *SMALL, "--out", str(here)).exit_code == 0
    assert not is_run(url)
    done = command("run", "textbook", *SMALL, "--out", url)
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"writtento{url}" in "".join(done.stdout.split())  # a long one is broken where lines end
    assert is_run(url)
    fs, root = opened(url)
    names = {Path(p).name for p in fs.find(root)}
    assert names == {p.name for p in here.iterdir() if not p.name.startswith(".")}
    for name in names - {MANIFEST}:
        assert fs.cat_file(f"{root}/{name}") == (here / name).read_bytes(), name
    assert working(tmp_path) == []
    again, same = load_run(url), load_run(here)
    assert again.digest == same.digest
    assert again.limits == same.limits
    assert again.scenario.values == same.scenario.values
    assert read_manifest(url)["digest"] == same.digest


def test_a_book_lies_beside_its_run(url: str, tmp_path: Path) -> None:
    scenario = overbuilt.load("textbook", {"private_credit.book": "book.csv"})
    result = overbuilt.simulate(scenario, 30, 1, "numpy", months=4, out=url)
    again = load_run(url).scenario
    assert again.folder is not None
    assert (again.folder / "book.csv").is_file()
    assert overbuilt.simulate(again, 30, 1, "numpy", months=4).digest == result.digest


def test_a_result_is_saved_to_a_url(url: str, tmp_path: Path) -> None:
    result = overbuilt.simulate(overbuilt.load("textbook"), 3000, 0, "native")
    stored = Path(result.save(tmp_path / "here"))
    assert result.save(url) == url
    again = Path(load_run(url).folder or "")
    for path in stored.iterdir():
        if path.name != MANIFEST:
            assert sha256(again / path.name) == sha256(path)


def test_commands_take_urls(url: str, tmp_path: Path) -> None:
    assert command("run", "textbook", *SMALL, "--out", url).exit_code == 0
    assert command("run", "textbook", *SMALL, "--out", str(tmp_path / "here")).exit_code == 0
    done = CliRunner().invoke(compare, [url, str(tmp_path / "here")])
    assert done.exit_code == 0, done.output
    options = ("--worst", "2", "--metric", "private_credit.loss", "--format", "json")
    there, here = (command("replay", x, *options) for x in (url, str(tmp_path / "here")))
    assert there.exit_code == 0, there.output
    ranks = [[p["ranked"] for p in json.loads(x.stdout)["paths"]] for x in (there, here)]
    assert ranks[0] == ranks[1]
    done = command("replay", f"{url}/none", "--path", "1")
    assert done.exit_code == 2
    assert "no run lies there" in done.stderr


def test_a_run_at_a_url_is_verified_and_the_verdicts_lie_there(url: str) -> None:
    assert command("run", "textbook", *SMALL, "--out", url).exit_code == 0
    fs, root = opened(url)
    for times in (1, 2):  # the second adds to the first
        done = CliRunner().invoke(verify, [url, "--paths", "8", "--format", "json"])
        assert done.exit_code == 0, done.output
        found = json.loads(fs.cat_file(f"{root}/verification.json"))
        assert len(found["verifications"]) == times
    assert command("run", "textbook", *SMALL, "--out", url).exit_code == 0
    assert not fs.exists(f"{root}/verification.json")


def broken_after(monkeypatch: pytest.MonkeyPatch, url: str, files: int) -> None:
    """Uploads fail once so many files are there."""
    fs, _ = opened(url)
    put, count = type(fs).put_file, [0]

    def failing(self: Any, *arguments: Any, **named: Any) -> Any:
        count[0] += 1
        if count[0] > files:
            raise RuntimeError(
                "the network\nis gone"
            )  # as some libraries do: no OSError, two lines
        return put(self, *arguments, **named)

    monkeypatch.setattr(type(fs), "put_file", failing)


@pytest.mark.parametrize("files", [0, 3])
def test_an_upload_that_fails_loses_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    with monkeypatch.context() as broken:
        broken_after(broken, url, files)
        done = command("run", "textbook", *SMALL, "--out", url, "--format", "json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    (line,) = done.stderr.splitlines()
    assert f"{url}: cannot be written (the network is gone)" in line
    assert f"--resume {url}" in line
    assert not is_run(url)
    assert len(working(tmp_path)) == 1
    done = command("run", "--resume", url, "--format", "json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["digest"] == found["digest"] == load_run(url).digest
    assert working(tmp_path) == []


def test_a_run_that_is_replaced_in_part_is_no_run(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("run", "textbook", *SMALL, "--out", url).exit_code == 0
    before = load_run(url)
    with monkeypatch.context() as broken:
        broken_after(broken, url, 3)
        assert command("run", "textbook", *SMALL, "--seed", "9", "--out", url).exit_code == 1
    assert not is_run(url)
    with pytest.raises(ConfigError, match="no run lies there"):
        load_run(url)
    assert command("run", "--resume", url).exit_code == 0
    assert load_run(url).seed == 9
    assert load_run(url).digest != before.digest


def test_files_of_the_run_before_go(url: str) -> None:
    book = ("--set", "private_credit.book=book.csv", "--paths", "20", "--backend", "numpy")
    assert command("run", "textbook", *book, "--out", url).exit_code == 0
    fs, root = opened(url)
    assert fs.exists(f"{root}/book.csv")
    assert command("run", "textbook", *SMALL, "--out", url).exit_code == 0
    assert not fs.exists(f"{root}/book.csv")
    assert load_run(url).name == "textbook"


def test_a_run_that_was_cut_off_goes_on_anywhere(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--backend", "native", "--paths", "200000")
    whole = overbuilt.simulate(overbuilt.load("textbook"), 200_000, 0, "native")
    cut = iter(["", "SIGTERM"])
    overbuilt.simulate(
        overbuilt.load("textbook"), 200_000, 0, "native", out=url, batch=65_536,
        interrupted=lambda: next(cut, "SIGTERM"),
    )  # fmt: skip
    assert read_manifest(url)["status"] == "stopped"
    assert load_run(url).path_count < 200_000
    done = command("run", "textbook", *options, "--out", url)
    assert done.exit_code == 2
    assert f"overbuilt run --resume {url}" in done.stderr
    monkeypatch.setattr(remote, "cache_folder", lambda: tmp_path / "elsewhere")
    done = command("run", "--resume", url)
    assert (done.exit_code, done.stderr) == (0, "")
    assert load_run(url).digest == whole.digest
    assert read_manifest(url)["status"] == "finished"


def test_two_processes_do_not_write_one_url(url: str) -> None:
    here = remote.working_folder(url)
    here.mkdir(parents=True)
    with (here / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = command("run", "textbook", *SMALL, "--out", url)
    assert done.exit_code == 2
    assert "is writing a run there" in done.stderr


def test_a_place_that_cannot_be_written_is_refused_before_the_run(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs, _ = opened(url)

    def denied(*arguments: Any, **named: Any) -> None:
        raise PermissionError(13, "Access Denied")

    monkeypatch.setattr(type(fs), "pipe_file", denied)
    done = command("run", "textbook", *SMALL, "--out", url)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr == f"error: --out {url}: cannot be written (Access Denied)\n"


def test_the_check_leaves_nothing_behind(url: str) -> None:
    remote.check_remote(url)
    fs, root = opened(url)
    assert not fs.exists(root)
    assert not [p for p in fs.find(root.rpartition("/bucket/")[0] or "/") if "writable" in p]


@pytest.mark.parametrize("how", ["flipped", "missing", "manifest", "no manifest"])
def test_damage_at_a_url_is_named(url: str, how: str) -> None:
    assert command("run", "textbook", *SMALL, "--out", url).exit_code == 0
    fs, root = opened(url)
    path = f"{root}/tails.parquet"
    if how == "missing":
        fs.rm_file(path)
    elif how == "no manifest":
        fs.rm_file(f"{root}/{MANIFEST}")
    else:
        path = f"{root}/{MANIFEST}" if how == "manifest" else path
        data = bytearray(fs.cat_file(path))
        data[len(data) // 2] ^= 1
        fs.pipe_file(path, bytes(data[: len(data) // 2] if how == "manifest" else data))
    with pytest.raises(ConfigError) as caught:
        load_run(url)
    (line,) = caught.value.problems
    assert line.startswith(url)
    if "manifest" not in how:
        assert f"{url}/tails.parquet" in line


def test_a_copy_in_the_cache_that_is_damaged_is_fetched_again(url: str) -> None:
    assert command("run", "textbook", *SMALL, "--out", url).exit_code == 0
    first = load_run(url)
    here = Path(first.folder or "")
    (here / "tails.parquet").write_bytes(b"PAR1")
    (here / "sample.parquet").unlink()
    assert load_run(url).digest == first.digest


def test_a_manifest_reaches_no_other_folder(url: str, tmp_path: Path) -> None:
    assert command("run", "textbook", *SMALL, "--out", url).exit_code == 0
    fs, root = opened(url)
    manifest = json.loads(fs.cat_file(f"{root}/{MANIFEST}"))
    fs.pipe_file(f"{root}/../evil", b"x")
    manifest["files"]["../evil"] = sha256_of(b"x")
    fs.pipe_file(f"{root}/{MANIFEST}", json.dumps(manifest).encode())
    with pytest.raises(ConfigError, match="evil: is missing"):
        load_run(url)
    assert not list((tmp_path / "cache").rglob("*evil*"))


def test_what_is_not_read_for_a_week_leaves_the_cache(url: str, tmp_path: Path) -> None:
    assert command("run", "textbook", *SMALL, "--out", url).exit_code == 0
    here = Path(load_run(url).folder or "")
    old, recent = (Path(shutil.copytree(here, here.parent / n)) for n in ("old", "recent"))
    day = 86_400
    for path, days in ((old, 8), (recent, 6), (here, 30)):
        at = path.stat().st_mtime - days * day
        os.utime(path, (at, at))
    load_run(url)
    assert not old.exists()
    assert recent.exists()
    assert here.exists()


@pytest.mark.parametrize(
    ("protocol", "folders"),
    [("s3", False), (("s3", "s3a"), False), (("gs", "gcs"), False), ("memory", True), (("file", "local"), True)],
)  # fmt: skip
def test_no_folder_is_made_where_that_would_make_a_bucket(protocol: Any, folders: bool) -> None:
    plain = SimpleNamespace(protocol=protocol)
    assert remote._has_folders(plain) is folders
    assert remote._has_folders(SimpleNamespace(protocol="simplecache", fs=plain)) is folders


@pytest.mark.parametrize(
    ("place", "named"),
    [("zzz://a/b", "zzz"), ("memory://", "should name a folder, like s3://bucket/run")],
)
def test_a_url_that_cannot_be_used_is_refused_in_a_line(place: str, named: str) -> None:
    pytest.importorskip("fsspec")
    for arguments in (("run", "textbook", "--out", place), ("run", "--resume", place)):
        done = command(*arguments)
        assert done.exit_code == 2
        (line,) = done.stderr.splitlines()
        assert named in line


def test_without_fsspec_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    for arguments in (
        ("run", "textbook", "--out", "s3://b/r"),
        ("replay", "s3://b/r", "--path", "1"),
    ):
        done = command(*arguments)
        assert done.exit_code == 2
        assert "pip install 'overbuilt[remote]'" in done.stderr
