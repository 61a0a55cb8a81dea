"""The ledger of a run: any changed or missing byte is noticed, and the checkpoints are found without it."""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overbuilt import ConfigError
from overbuilt.engine.checkpoint import LEDGER, Ledger, pack, unpack, write
from overbuilt.engine.run_store import asked_of
from overbuilt.engine.statistics import Statistics


def _folder(place: Path) -> Path:
    ledger = Ledger(place)
    for _ in range(2):
        statistics = Statistics(("a",), tail=4)
        values = np.arange(8.0)[None]
        statistics.add(0, values, np.zeros(8, np.int32))
        ledger.save(statistics, 1.0)
    return place


def test_a_flipped_bit_anywhere_is_noticed(tmp_path: Path) -> None:
    path = _folder(tmp_path) / LEDGER
    whole = path.read_bytes()
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1 << at % 8
        path.write_bytes(changed)
        found = Ledger.read(tmp_path)
        assert found.damage, (at, bytes(changed[max(0, at - 9) : at + 9]))
        assert found.load()[0] is not None


def test_nothing_is_left_of_a_finished_run(tmp_path: Path) -> None:
    """Nor of a process that was killed between its third checkpoint and the ledger."""
    ledger = Ledger.read(_folder(tmp_path))
    (tmp_path / "checkpoint-3.zip").write_bytes(b"begun")
    (tmp_path / "summary.csv").write_bytes(b"kept")
    ledger.clear()
    assert [p.name for p in tmp_path.iterdir()] == ["summary.csv"]


def test_a_ledger_cut_short_is_noticed(tmp_path: Path) -> None:
    path = _folder(tmp_path) / LEDGER
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        assert Ledger.read(tmp_path).damage, end
    path.write_bytes(whole)
    assert not Ledger.read(tmp_path).damage


def _some(blocks: int) -> Statistics:
    rng = np.random.default_rng(1)
    statistics = Statistics(tuple("abcdefgh"), tail=500, sample_size=100)
    for number in range(blocks):
        values = rng.normal(size=(8, 3000)).astype(np.float32)
        statistics.add(number, values, np.zeros(3000, np.int32), "numpy")
    return statistics


def test_a_checkpoint_is_the_same_bytes_after_it_was_read() -> None:
    """And so is one of what a resumed run goes on to."""
    whole = _some(6)
    data = pack(whole, 2.0)
    assert pack(unpack(data)[0], 2.0) == data
    part = unpack(pack(_some(4), 1.0))[0]
    rng = np.random.default_rng(1)
    rng.normal(size=(4, 8, 3000))
    for number in (4, 5):
        values = rng.normal(size=(8, 3000)).astype(np.float32)
        part.add(number, values, np.zeros(3000, np.int32), "numpy")
    assert pack(part, 2.0) == data


class _Pieces(io.BytesIO):
    """A file that remembers the size of what it was given at once, and holds so much."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.most, self.room = 0, room

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.most = max(self.most, size)
        if self.tell() + size > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_a_checkpoint_is_written_in_pieces() -> None:
    """Not one of its tables is ever held whole: a piece is a column of one metric."""
    file = _Pieces(1 << 30)
    write(_some(3), 1.0, file)
    size = len(file.getvalue())
    assert file.most < size / 30
    for room in range(0, size, size // 23):
        with pytest.raises(OSError, match="No space left"):
            write(_some(3), 1.0, _Pieces(room))


def test_a_policy_that_is_none_is_told_of_its_file(tmp_path: Path) -> None:
    identity = {"paths_wanted": 1, "until": [], "events": [], "seed": 0, "backend": "native"}
    rest = {"dtype": "float32", "months": 1, "tail": 1, "sample": 1}
    manifest = {
        "identity": identity | rest,
        "bad_policy": {"on_bad_path": "quara~tine", "max_bad": 0.1},
    }
    with pytest.raises(ConfigError, match=r"manifest\.json: on_bad_path = 'quara~tine'"):
        asked_of(tmp_path, manifest)
