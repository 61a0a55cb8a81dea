"""Hostile runs: stored folders and checkpoints that somebody made to read, write, run or exhaust what is not theirs.

Whoever can write a file of a run can write its digest too; nothing here rests on digests. No statistical tests.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import overbuilt
from overbuilt import ConfigError, load, simulate
from overbuilt.engine import checkpoint
from overbuilt.engine.run_store import MANIFEST, check_files, load_run, sha256

from .refusals import ESCAPES, harmless, refusal
from .refusals import overbuilt as command

PACKAGE = Path(overbuilt.__file__).parent


# ---- stored runs
@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a book of its own."""
    place = tmp_path_factory.mktemp("hostile")
    lines = (PACKAGE / "configs" / "book.csv").read_text().splitlines(keepends=True)
    (place / "loans.csv").write_text("".join(lines[:9]))
    path = place / "mine.toml"
    path.write_text('extends = "textbook"\n[private_credit]\nbook = "loans.csv"\n')
    return Path(simulate(load(path), 60, 1, "numpy", months=2).save(place / "run"))


@pytest.fixture
def run(stored: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stored, tmp_path / "run"))


def change(run: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    found = json.loads((run / MANIFEST).read_text())
    edit(found)
    (run / MANIFEST).write_text(json.dumps(found))


def test_the_run_is_sound(run: Path) -> None:
    """What is changed below is what makes it refused."""
    assert load_run(run).scenario.values["private_credit"]["book"] == "book.csv"


@pytest.mark.parametrize("name", ["../outside.csv", "/etc/hostname", "..", ".", "", "a/../book.csv", "x\x00", "x" * 300])  # fmt: skip
def test_a_manifest_that_lists_a_file_outside_is_refused(run: Path, name: str) -> None:
    (run.parent / "outside.csv").write_text("x")
    there = run / name if name and "\x00" not in name and len(name) < 255 else run / MANIFEST
    digest = sha256(there) if there.is_file() else "0" * 64
    change(run, lambda m: m["files"].update({name: digest}))
    (line,) = refusal(lambda: load_run(run))
    assert "is missing" in line


def test_a_file_of_a_run_that_is_a_link_is_refused(run: Path) -> None:
    """Though what it leads to has the very bytes that the manifest promises."""
    outside = run.parent / "outside.csv"
    shutil.move(run / "summary.csv", outside)
    (run / "summary.csv").symlink_to(outside)
    (line,) = refusal(lambda: load_run(run))
    assert "summary.csv: is missing" in line


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside.csv", "a/../book.csv", "..", "linked.csv"])  # fmt: skip
def test_a_stored_config_that_names_a_book_outside_is_refused(run: Path, name: str) -> None:
    """Even a book that is sound: it is not the run's."""
    shutil.copy(run / "book.csv", run.parent / "outside.csv")
    (run / "linked.csv").symlink_to(run.parent / "outside.csv")
    change(run, lambda m: m["config"]["private_credit"].update(book=name))
    (line,) = refusal(lambda: load_run(run).scenario)
    assert line.startswith(f"private_credit.book = '{name}': should be a file that lies in ")


def test_a_stored_book_that_the_manifest_does_not_list_is_refused(run: Path) -> None:
    """Its bytes have no digest there: anybody could have put it."""
    change(run, lambda m: m["files"].pop("book.csv"))
    (line,) = refusal(lambda: load_run(run).scenario)
    assert "book.csv: is no file of the run" in line


def test_a_stored_book_that_is_gone_is_not_replaced_by_the_shipped_one(run: Path) -> None:
    change(run, lambda m: m["files"].pop("book.csv"))
    (run / "book.csv").unlink()
    (line,) = refusal(lambda: load_run(run).scenario)
    assert line.startswith("private_credit.book = 'book.csv': should be a file that lies in ")


@pytest.mark.parametrize("name", ["../../etc/cron", "/tmp/x", "..", "", ESCAPES, "a\nb"])
def test_a_stored_scenario_with_a_name_that_is_none_is_refused(run: Path, name: str) -> None:
    change(run, lambda m: m.update(scenario=name))
    lines = refusal(lambda: load_run(run).scenario)
    assert lines[0].startswith("scenario ")


BOMBS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "paths": lambda m: m["statistics"].update(paths=10**18),
    "backends": lambda m: m["statistics"].update(backends=[["numpy", 0, 10**15]], paths=10**18),
    "tail": lambda m: m["statistics"].update(tail="x"),
    "bad": lambda m: m["statistics"].update(bad_paths=-1),
}


@pytest.mark.parametrize("what", BOMBS)
def test_counts_that_a_manifest_makes_up_are_refused(run: Path, what: str) -> None:
    change(run, BOMBS[what])
    (line,) = refusal(lambda: load_run(run))
    assert "is damaged" in line


def test_a_deep_manifest_is_refused(run: Path) -> None:
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    change(run, lambda m: m["config"]["private_credit"].update(pd=deep))
    (line,) = refusal(lambda: load_run(run).scenario)
    assert "nested" in line
    (run / MANIFEST).write_text('{"a":' * 200_000)
    (line,) = refusal(lambda: load_run(run))
    assert "is damaged" in line


def replace(run: Path, name: str, data: bytes) -> None:
    """A file of the run, with the digest that the manifest then has: whoever can write one can write both."""
    (run / name).write_bytes(data)
    change(run, lambda m: m["files"].update({name: sha256(run / name)}))


def test_a_parquet_bomb_is_not_unpacked(run: Path) -> None:
    """A thousand million equal values are a few kilobytes of Parquet."""
    sink = io.BytesIO()
    digests = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1 << 20, np.int8)), pa.array(["0"]))
    group = pa.table({"block": np.zeros(1 << 20, np.int64), "sha256": digests})
    with pq.ParquetWriter(sink, group.schema, compression="zstd") as writer:
        for _ in range(40):
            writer.write_table(group)
    assert len(sink.getvalue()) < 1 << 20
    replace(run, "blocks.parquet", sink.getvalue())
    (line,) = refusal(lambda: load_run(run))
    assert "cells" in line


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" * 100, b"x" * 1000])
def test_a_file_that_is_no_parquet_is_refused(run: Path, data: bytes) -> None:
    replace(run, "moments.parquet", data)
    (line,) = refusal(lambda: load_run(run))
    assert "damaged" in line


def test_a_huge_number_in_a_manifest_is_refused(run: Path) -> None:
    text = (run / MANIFEST).read_text()
    (run / MANIFEST).write_text(text.replace('"seed": 1,', f'"seed": {"9" * 5000},', 1))
    (line,) = refusal(lambda: load_run(run))
    assert "is damaged" in line


@pytest.mark.parametrize("arguments", [["show", "RUN"], ["runs", "."], ["runs", ".", "--format", "json"], ["show", "RUN", "--format", "json"], ["compare", "RUN", "RUN"], ["verify", "RUN"]])  # fmt: skip
def test_names_in_a_manifest_are_not_obeyed(
    run: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = run.with_name("evil\x1b[2J")
    run.rename(evil)
    change(evil, lambda m: m.update(scenario=ESCAPES))
    change(evil, lambda m: m["config"].update(title=ESCAPES))
    monkeypatch.chdir(evil.parent)
    done = command(*(str(evil) if a == "RUN" else a for a in arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert done.output
    assert harmless(done.output), repr(done.output)


def test_check_files_follows_nothing(run: Path) -> None:
    (run / "up").symlink_to("..")
    found = check_files(run, {"files": {"up": "0" * 64, "up/run/manifest.json": "0" * 64}})
    assert len(found) == 2
    assert all("is missing" in line for line in found)


# ---- pickles
class Trap:
    """Whoever unpickles it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def trapped(mark: Path) -> pa.Table:
    """A table whose extension type is a pickle, as PyArrow before 14.0.1 would load (CVE-2023-47248)."""
    import pickle

    told = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Trap(mark)),
    }
    table = pa.table({"block": [0], "sha256": ["0" * 64]})
    fields = [field.with_metadata(told) for field in table.schema]
    return table.cast(pa.schema(fields))


def test_an_extension_type_in_a_file_is_not_unpickled(run: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    sink = io.BytesIO()
    pq.write_table(trapped(mark), sink)
    replace(run, "blocks.parquet", sink.getvalue())
    with pytest.raises(ConfigError):
        load_run(run)
    assert not mark.exists()


def test_an_extension_type_in_a_checkpoint_is_not_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    stream = io.BytesIO()
    table = trapped(mark)
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    with contextlib.suppress(ValueError):
        checkpoint.unpack(repacked(lambda name, data: stream.getvalue() if name == "blocks.arrow" else data))  # fmt: skip
    assert not mark.exists()


@pytest.mark.parametrize("code", [2_000_000_000, 1000, 5, -1])
def test_a_label_that_no_dictionary_holds_is_refused(code: int) -> None:
    """Arrow does not check a stream as it reads it: an index beyond the dictionary reads memory that is not ours."""
    stream = io.BytesIO()
    whole = zipfile.ZipFile(io.BytesIO(_packed())).read("moments.arrow")
    table = pa.ipc.open_stream(whole).read_all()
    row = table.column_names.index("metric")
    batches = []
    for codes, names in (([0] * len(table), ["a"]), ([code] * len(table), ["b", "c"])):
        labels = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), names, safe=False)
        batches += table.set_column(row, "metric", labels).to_batches()
    with pa.ipc.new_stream(stream, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    with pytest.raises(ValueError, match="no checkpoint"):
        checkpoint.unpack(repacked(lambda name, data: stream.getvalue() if name == "moments.arrow" else data))  # fmt: skip


# ---- checkpoints
def _packed() -> bytes:
    statistics = simulate(load("textbook", {"private_credit.loans": 5}), 40, 1, "numpy", months=2).statistics  # fmt: skip
    return checkpoint.pack(statistics, 1.0)


def repacked(
    edit: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED, more: str = ""
) -> bytes:
    whole = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(_packed())) as old,
        zipfile.ZipFile(whole, "w", compression) as new,
    ):
        for name in old.namelist():
            new.writestr(name, edit(name, old.read(name)))
        if more:
            new.writestr(more, b"x")
    return whole.getvalue()


def test_a_checkpoint_is_read_again() -> None:
    assert checkpoint.unpack(repacked(lambda name, data: data))[1] == 1.0


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "extra.arrow", "head.json"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_checkpoint_with_another_part_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not those of a checkpoint"):
        checkpoint.unpack(repacked(lambda name, data: data, more=name))


def test_a_packed_checkpoint_is_not_unpacked() -> None:
    """A gigabyte of zeros is a megabyte of zip; nothing of it is read."""
    zeros = bytes(1 << 24)
    data = repacked(lambda n, d: zeros if n == "moments.arrow" else d, zipfile.ZIP_DEFLATED)
    assert len(data) < 1 << 20
    with pytest.raises(ValueError, match="stored as they are"):
        checkpoint.unpack(data)


def test_a_part_that_claims_to_be_larger_than_the_whole_is_not_read() -> None:
    data = bytearray(_packed())
    at = data.rindex(b"PK\x01\x02")  # the last entry of the central directory
    data[at + 24 : at + 28] = (1 << 30).to_bytes(4, "little")
    with pytest.raises(ValueError, match="larger than the whole"):
        checkpoint.unpack(bytes(data))


@pytest.mark.parametrize("name", ["../checkpoint-1.zip", "/tmp/checkpoint-1.zip", "checkpoint-1.zip/..", "checkpoint-\u0661.zip"])  # fmt: skip
def test_a_ledger_names_no_file_outside(tmp_path: Path, name: str) -> None:
    entry = {"number": 1, "file": name, "sha256": "0" * 64, "blocks": 1, "paths": 1, "seconds": 1.0}
    (tmp_path / checkpoint.LEDGER).write_text(checkpoint._text([entry]))
    found = checkpoint.Ledger.read(tmp_path)
    assert found.damage
    assert not found.entries
