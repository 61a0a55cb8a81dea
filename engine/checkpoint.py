"""Checkpoints of a run: the statistics of the blocks done so far, in one file that appears whole or not at all.

The two newest are kept. The ledger names them with their SHA-256; it is written after the checkpoint and before an
older one goes, so whenever a run is killed, the ledger names a checkpoint that is whole.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from .run_store import sha256, write_whole
from .statistics import Statistics
from .statistics_tables import (
    DAMAGE,
    TABLES,
    columns_of,
    head_of,
    parts_of,
    restore_statistics,
)
from .validate import one_line

LEDGER = "ledger.json"
KEPT = 2
_MAX_LEDGER = 1 << 20
_NAME = re.compile(r"checkpoint-([0-9]{1,12})\.zip")


def write(statistics: Statistics, seconds: float, to: IO[bytes]) -> None:
    """Write statistics as a zip of a JSON head and an Arrow stream for each table, piece by piece.

    Its entries do not say when they were written: equal statistics and seconds are equal bytes.
    """
    import pyarrow as pa

    # threads of Arrow's own would each keep memory of their own
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    with zipfile.ZipFile(to, "w", zipfile.ZIP_STORED) as archive:
        head = head_of(statistics) | {"seconds": seconds}
        archive.writestr(zipfile.ZipInfo("head.json"), json.dumps(head))
        for part in parts_of(statistics):
            with (
                archive.open(
                    zipfile.ZipInfo(f"{part.name}.arrow"), "w", force_zip64=True
                ) as stream,
                pa.ipc.new_stream(stream, part.schema, options=options) as writer,
            ):
                for batch in part.batches:
                    writer.write_batch(batch)


def pack(statistics: Statistics, seconds: float) -> bytes:
    """Statistics as the bytes that ``write`` writes."""
    whole = io.BytesIO()
    write(statistics, seconds, whole)
    return whole.getvalue()


_PARTS = ("head.json", *(f"{name}.arrow" for name in TABLES))


def unpack(data: bytes) -> tuple[Statistics, float]:
    """What ``pack`` was given. Raises ValueError for anything else."""
    import pyarrow as pa

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_parts(archive, len(data))
            head = json.loads(archive.read("head.json"))

            def read(name: str) -> dict[str, Any]:
                with pa.ipc.open_stream(archive.read(f"{name}.arrow")) as reader:
                    return columns_of(reader.read_all())

            return restore_statistics(head, read), float(head["seconds"])
    except (
        *DAMAGE, zipfile.BadZipFile, struct.error, RuntimeError, EOFError, pa.ArrowException,
    ) as error:  # fmt: skip
        raise ValueError(f"no checkpoint: {one_line(str(error), 200)}") from None


def _check_parts(archive: zipfile.ZipFile, size: int) -> None:
    """Raise ValueError unless the parts are those that ``pack`` writes, as they are, before any of them is read.

    Nothing is ever written from an archive, and nothing in it is packed: it cannot become larger than it is.
    """
    parts = archive.infolist()
    if sorted(p.filename for p in parts) != sorted(_PARTS):
        raise ValueError("its parts are not those of a checkpoint")
    if any(p.compress_type != zipfile.ZIP_STORED or p.flag_bits & 1 for p in parts):
        raise ValueError("its parts should be stored as they are")
    if sum(p.file_size for p in parts) > size:
        raise ValueError("its parts claim to be larger than the whole")


def _text(entries: list[dict[str, Any]]) -> str:
    """The ledger of these checkpoints, closed by their SHA-256: a changed digit in it is seen."""
    digest = hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()
    return json.dumps({"checkpoints": entries, "sha256": digest}, indent=2) + "\n"


def _is_entry(e: dict[str, Any]) -> bool:
    """Whether an entry names a checkpoint of the folder itself, with its digest and sound numbers."""
    numbers = [e["number"], e.get("blocks", 0), e.get("paths", 0)]
    return (
        isinstance(e["file"], str)
        and _NAME.fullmatch(e["file"]) is not None
        and isinstance(e["sha256"], str)
        and re.fullmatch("[0-9a-f]{64}", e["sha256"]) is not None
        and all(type(n) is int and 0 <= n < 1 << 63 for n in numbers)
    )


@dataclass
class Ledger:
    """The checkpoints of a run's folder, the newest last."""

    folder: Path
    entries: list[dict[str, Any]] = field(default_factory=list)

    damage: list[str] = field(default_factory=list)
    """What was wrong with the ledger itself."""

    @classmethod
    def read(cls, folder: Path) -> Ledger:
        """The ledger of a folder, empty where there is none; a damaged one is made again of the checkpoints."""
        path = folder / LEDGER
        if not path.exists():
            return cls(folder)
        try:
            if path.stat().st_size > _MAX_LEDGER:
                raise ValueError("too large")
            text = path.read_bytes().decode()
            entries = json.loads(text)["checkpoints"]
            if not all(map(_is_entry, entries)):
                raise ValueError("an entry that is none")
            if text != _text(entries):
                raise ValueError("not as it was written")
            return cls(folder, entries)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError):
            found = {int(m[1]): p.name for p in folder.iterdir() if (m := _NAME.fullmatch(p.name))}
            entries = [{"number": n, "file": found[n], "sha256": ""} for n in sorted(found)]
            return cls(folder, entries, [f"{path}: is damaged"])

    def save(self, statistics: Statistics, seconds: float) -> None:
        """Write a checkpoint, then the ledger, then drop what is older than the last two."""
        number = 1 + max((int(e["number"]) for e in self.entries), default=0)
        name = f"checkpoint-{number}.zip"

        def put(path: str) -> None:
            with open(path, "wb") as file:
                write(statistics, seconds, file)

        write_whole(self.folder / name, put)
        entry = {
            "number": number,
            "file": name,
            "sha256": sha256(self.folder / name),
            "blocks": len(statistics.hashes),
            "paths": statistics.paths,
            "seconds": round(seconds, 3),
        }
        old, self.entries = self.entries, [*self.entries, entry][-KEPT:]
        self._write()
        for e in old:
            if e not in self.entries:
                (self.folder / e["file"]).unlink(missing_ok=True)

    def _write(self) -> None:
        text = _text(self.entries)
        write_whole(self.folder / LEDGER, lambda p: Path(p).write_text(text, encoding="utf-8"))

    def load(self) -> tuple[Statistics | None, float, list[str]]:
        """The newest checkpoint that is whole, its seconds, and a line for each that is not."""
        damage: list[str] = []
        for entry in reversed(self.entries):
            path = self.folder / entry["file"]
            try:
                # a ledger that was made again knows no digest; the archive checks its own parts
                if entry["sha256"] not in ("", sha256(path)):
                    raise ValueError("its SHA-256 is not the ledger's")
                statistics, seconds = unpack(path.read_bytes())
                return statistics, seconds, damage
            except FileNotFoundError:
                damage.append(f"{path}: is missing")
            except (OSError, ValueError, MemoryError) as error:
                damage.append(f"{path}: is damaged: {error}")
        return None, 0.0, damage

    def clear(self) -> None:
        """Drop the ledger, then all checkpoints: the run is finished and stored.

        A process that was killed between a checkpoint and the ledger left one that no ledger names.
        """
        (self.folder / LEDGER).unlink(missing_ok=True)
        for path in self.folder.iterdir():
            if _NAME.fullmatch(path.name):
                path.unlink(missing_ok=True)
        self.entries = []
