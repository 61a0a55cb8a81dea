"""The ledger of a run: any changed or missing byte is noticed, and the checkpoints are found without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from overbuilt import ConfigError
from overbuilt.engine.checkpoint import LEDGER, Ledger
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


def test_a_policy_that_is_none_is_told_of_its_file(tmp_path: Path) -> None:
    identity = {"paths_wanted": 1, "until": [], "events": [], "seed": 0, "backend": "native"}
    rest = {"dtype": "float32", "months": 1, "tail": 1, "sample": 1}
    manifest = {
        "identity": identity | rest,
        "bad_policy": {"on_bad_path": "quara~tine", "max_bad": 0.1},
    }
    with pytest.raises(ConfigError, match=r"manifest\.json: on_bad_path = 'quara~tine'"):
        asked_of(tmp_path, manifest)
