"""The folder of a run that is being computed: its lock, its identity, its checkpoints; how it is taken up again."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from .checkpoint import Ledger
from .run_store import (
    FORMAT,
    MANIFEST,
    RUNNING,
    UNFINISHED,
    load_run,
    read_manifest,
    write_whole,
)
from .statistics import Statistics
from .validate import ConfigError, shown

if TYPE_CHECKING:
    from .simulate import Plan

LOCK = ".lock"
EVERY = 5.0
"""Seconds of work that a checkpoint may be late by: what a kill can cost."""
SHARE = 0.05
"""Of the time, at most, that checkpoints take: where writing one is slow, there are fewer."""

# What must be the same for a run to go on, and how a difference is called.
_SAME = {
    "inputs_sha256": "parameters and books",
    "seed": "seed",
    "months": "months",
    "dtype": "dtype",
    "backend": "backend",
    "program": "compiled program",
    "stamp": "compiler and target",
    "version": "version of overbuilt",
    "paths_wanted": "paths",
    "range": "range of paths",
    "until": "targets",
    "events": "events",
    "tail": "tail",
    "sample": "sample",
}


def sha256_of(value: Any) -> str:
    """The SHA-256 of a value as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def identity_of(
    made: Plan, paths: int, seed: int, until: Sequence[str], statistics: Statistics
) -> dict[str, Any]:
    """Everything that the bytes of a run hang on."""
    inputs = hashlib.sha256()
    e = made.economy
    for name, value in {**e.reals, **e.ints, **e.columns}.items():
        inputs.update(name.encode() + b"\0" + np.ascontiguousarray(value).tobytes())
    return {
        "inputs_sha256": inputs.hexdigest(),
        "program": hashlib.sha256(str(made.program).encode()).hexdigest(),
        "seed": seed,
        "months": made.months,
        "dtype": made.dtype,
        "backend": made.backend,
        "stamp": made.kernel.stamp,
        "version": __version__,
        "paths_wanted": paths,
        "until": list(until),
        "events": [list(event) for event in statistics.events],
        "tail": statistics.tail,
        "sample": statistics.sample_size,
    }


def differences(
    ours: dict[str, Any],
    theirs: dict[str, Any],
    where: tuple[str, str] = ("now", "in the stored run"),
    but: tuple[str, ...] = (),
) -> list[str]:
    """A line for each thing that keeps two identities from being one; ``but`` names what may differ."""
    here, there = where
    return [
        f"{what}: {shown(ours.get(key))} {here}, {shown(theirs.get(key))} {there}"
        for key, what in _SAME.items()
        if ours.get(key) != theirs.get(key) and key not in but
    ]


@dataclass
class RunFolder:
    """A folder that this process alone writes a run to.

    ``identity`` says what the run is: everything that its bytes hang on.
    """

    path: Path
    identity: dict[str, Any]
    ledger: Ledger
    _lock: IO[str] = field(repr=False)
    _last: float = field(default_factory=time.monotonic)
    _cost: float = 0.0
    trouble: list[str] = field(default_factory=list)
    """Checkpoints that could not be written, a line each."""

    @classmethod
    def create(
        cls,
        path: Path,
        identity: dict[str, Any],
        manifest: dict[str, Any],
        books: dict[str, Path],
    ) -> RunFolder:
        """Take a folder for a new run; a finished run that lies there is replaced.

        Raises ConfigError where another process writes there, or an unfinished run lies there.
        """
        path.mkdir(parents=True, exist_ok=True)
        lock = _locked(path)
        standing = _status(path)
        if standing in UNFINISHED:
            lock.close()
            raise ConfigError(
                [
                    f"--out {path}: holds a run that is not finished; go on with overbuilt run --resume {path}, "
                    "or name another folder"
                ]
            )
        (path / MANIFEST).unlink(missing_ok=True)
        ledger = Ledger.read(path)
        ledger.clear()
        made = cls(path, identity, ledger, lock)
        for name, source in books.items():
            write_whole(path / name, partial(shutil.copyfile, source))
        made.write_manifest(manifest | {"status": RUNNING})
        return made

    @classmethod
    def resume(
        cls, path: Path, identity: dict[str, Any]
    ) -> tuple[RunFolder, Statistics | None, list[str]]:
        """Take up a run that was cut off: its folder, what was done, and a line for each damaged checkpoint.

        Raises ConfigError where another process writes there, or the run is not the same.
        """
        lock = _locked(path)
        try:
            manifest = read_manifest(path)
            found = differences(identity, manifest.get("identity", {}))
            if found:
                raise ConfigError([f"--resume {path}: is another run: {line}" for line in found])
            ledger = Ledger.read(path)
            statistics, _, damage = ledger.load()
            damage = [*ledger.damage, *damage]
            if statistics is None and manifest.get("status") != RUNNING:
                statistics = load_run(path).statistics
        except BaseException:
            lock.close()
            raise
        return cls(path, identity, ledger, lock), statistics, damage

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Say what is being computed, while it is."""
        whole = {"format": FORMAT, "identity": self.identity} | manifest
        text = json.dumps(whole, indent=2, allow_nan=False) + "\n"
        write_whole(self.path / MANIFEST, lambda p: Path(p).write_text(text, encoding="utf-8"))

    def due(self) -> bool:
        """Whether a checkpoint is due: EVERY seconds after the last, or later where writing is slow."""
        return time.monotonic() - self._last >= max(EVERY, self._cost / SHARE)

    def checkpoint(self, statistics: Statistics, seconds: float) -> None:
        """Write one now; where it cannot be written, that is noted and tried again when the next is due."""
        began = time.monotonic()
        try:
            self.ledger.save(statistics, seconds)
        except OSError as error:
            line = f"{self.path}: a checkpoint could not be written ({error.strerror or error})"
            self.trouble = list(dict.fromkeys([*self.trouble, line]))
        self._last = time.monotonic()
        self._cost = self._last - began

    def close(self) -> None:
        """Let go of the folder."""
        self._lock.close()


def _status(path: Path) -> str:
    """finished, running, stopped, failed; empty where there is no run, or a damaged or older one."""
    try:
        return str(read_manifest(path).get("status", "finished"))
    except ConfigError:
        return ""


def is_held(path: Path) -> bool:
    """Whether a process has the lock of a run's folder, and so is writing there."""
    try:
        with open(path / LOCK, encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EAGAIN)
    return False


def _lock(lock: IO[str]) -> None:
    """Take a lock that is free, or is so in a moment: whoever asks whether it is held has it for that long."""
    for wait in (0.02, 0.1, None):
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if wait is None:
                raise
            time.sleep(wait)


def _locked(path: Path) -> IO[str]:
    """The folder's lock, which the system takes back from a process that dies. Raises ConfigError."""
    try:
        lock = open(path / LOCK, "a+", encoding="utf-8")  # noqa: SIM115 (held while the run lasts)
    except FileNotFoundError:
        raise ConfigError(
            [f"{path}: no run lies there; it should be a folder that --out wrote"]
        ) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be written ({error.strerror or error})"]) from None
    try:
        _lock(lock)
    except OSError:
        lock.seek(0)
        owner = lock.read(40).strip()
        lock.close()
        raise ConfigError(
            [
                f"{path}: process {owner or 'unknown'} is writing a run there; wait for it, or name another folder"
            ]
        ) from None
    for left in path.glob(".*"):  # of a process that was killed while it wrote a file
        if re.fullmatch(r"\..+\.\d+", left.name):
            left.unlink(missing_ok=True)
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock
