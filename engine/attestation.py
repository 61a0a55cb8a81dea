"""Attestation: what verified a run, kept beside it as a chain of hashes.

verification.json holds a list. Each entry says what was checked and found, names the manifest by its SHA-256 (which
names every other file of the run by theirs), and the entry before it; its own SHA-256 closes it. So an entry cannot be
altered, dropped or put in later without a trace in the last one. Who wrote it is not proven: for that, sign the file.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Any

from .run_store import MANIFEST, sha256, write_whole
from .validate import ConfigError

FILE = "verification.json"
FORMAT = 1
_MOST_BYTES = 1 << 26


def digest_of(entry: dict[str, Any]) -> str:
    """The SHA-256 of an entry but for the hash itself, as canonical JSON."""
    rest = {k: v for k, v in entry.items() if k != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The entries, the oldest first; none where there is no file. Raises ConfigError where one was altered."""
    path = Path(folder) / FILE
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigError([f"{path}: should be smaller than {_MOST_BYTES:,} bytes"])
        found = json.loads(path.read_text(encoding="utf-8"))
        entries = found["verifications"]
        if found["format"] != FORMAT:
            raise ConfigError([f"{path}: format = {found['format']!r}: should be {FORMAT}"])
        before = None
        for number, entry in enumerate(entries, start=1):
            if entry["sha256"] != digest_of(entry) or entry["previous"] != before:
                raise ConfigError([f"{path}: entry {number} is not as it was written"])
            before = entry["sha256"]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror or error})"]) from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            [f"{path}: is damaged; it should be what overbuilt verify wrote"]
        ) from None
    return list(entries)


def add(folder: str | os.PathLike[str], found: dict[str, Any]) -> dict[str, Any]:
    """Close an entry, add it to the chain, and write the file so that it appears whole or not at all.

    Raises ConfigError where the chain that stands there was altered, OSError where the file cannot be written.
    """
    entries = read(folder)
    entry = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "manifest_sha256": sha256(Path(folder) / MANIFEST),
        **found,
        "previous": entries[-1]["sha256"] if entries else None,
    }
    entry["sha256"] = digest_of(entry)
    whole = {"format": FORMAT, "verifications": [*entries, entry]}
    text = json.dumps(whole, indent=2, allow_nan=False) + "\n"
    write_whole(Path(folder) / FILE, lambda p: Path(p).write_text(text, encoding="utf-8"))
    return entry
