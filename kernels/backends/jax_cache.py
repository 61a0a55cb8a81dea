"""What XLA compiled, kept in the cache folder: an economy takes it half a minute and more.

JAX's persistent compilation cache keeps it, an entry for each program, version and set of options: XLA's own
serialization under zlib or zstd, and no pickle. It holds machine code, and zstd has no checksum there: one bit turned
over ended the process. So an entry is taken from a folder alone that nobody else can open, and beside it lies its hash.
"""
# ruff: noqa: TID253 -- imported where jax.py has work to do, not before

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from .. import cache
from .native import processor

_COMPILING = threading.Lock()  # JAX's settings belong to the process
_HASH = ".sha256"
_CONFIG: Any = jax.config  # its settings are made at run time


def compiled(lowered: Any) -> Any:
    """A lowered function compiled, or as it was compiled before.

    A directory that the user has set for JAX (jax_compilation_cache_dir) is used as he set it, and not ours.
    """
    with _COMPILING:
        place = _folder()
        if place is None or _CONFIG.jax_compilation_cache_dir is not None:
            return lowered.compile()
        for entry in _entries(place):
            if not _is_whole(entry):  # JAX would read it, and replaces no entry
                entry.unlink(missing_ok=True)
                _hash_of(entry).unlink(missing_ok=True)
        with _kept_in(place):
            made = lowered.compile()
        with suppress(OSError):  # there is not always room
            for entry in _entries(place):
                if not _hash_of(entry).exists():
                    _hash_of(entry).write_text(_digest(entry), encoding="ascii")
        return made


def _folder() -> Path | None:
    """The folder for this kind of processor; None where others may have put something into it."""
    place = cache.folder() / f"jax-{cache.key(processor())}"
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        info = place.lstat()  # a link is not followed: it may lead anywhere
    except OSError:
        return None
    ours = info.st_uid == os.getuid() and not info.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    return place if stat.S_ISDIR(info.st_mode) and ours else None


def _entries(place: Path) -> list[Path]:
    return [p for p in place.iterdir() if p.suffix != _HASH and p.is_file()]


def _hash_of(entry: Path) -> Path:
    return entry.with_name(entry.name + _HASH)


def _digest(entry: Path) -> str:
    return hashlib.sha256(entry.read_bytes()).hexdigest()


def _is_whole(entry: Path) -> bool:
    try:
        return _hash_of(entry).read_bytes() == _digest(entry).encode()
    except OSError:  # half written by another run, or just removed
        return False


@contextmanager
def _kept_in(place: Path) -> Iterator[None]:
    """What is compiled meanwhile goes into JAX's cache there; the caller's own functions, before and after, do not."""
    ours = {
        "jax_compilation_cache_dir": str(place),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(_CONFIG, name) for name in ours}
    try:
        for name, value in ours.items():
            _CONFIG.update(name, value)
        yield
    finally:
        for name, value in before.items():
            _CONFIG.update(name, value)
        reset_cache()
