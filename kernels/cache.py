"""Compiled kernels on disk, named by their content, safe against concurrent runs.

A file's name is the SHA-256 of everything that went into it, so a stale hit cannot be; it appears by an
atomic rename, so a half-written one cannot be either. A folder that others may write is not used: a
library from there would run with our rights.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

DEBUG_VARIABLE = "OVERBUILT_KERNEL_DEBUG"
CACHE_VARIABLE = "OVERBUILT_CACHE"
_KEEPING = threading.Lock()  # one file by label, whichever thread compiles


@cache
def folder() -> Path:
    """The cache folder: OVERBUILT_CACHE, else the user's cache; a private temporary one if that is unsafe."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    wanted = Path(os.environ.get(CACHE_VARIABLE) or os.path.join(base, "overbuilt"))
    try:
        wanted.mkdir(parents=True, exist_ok=True, mode=0o700)
        info = wanted.stat()
        safe = info.st_uid == os.getuid() and not info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if safe and os.access(wanted, os.W_OK):
            return wanted
        reason = "belongs to another user, or others may write it"
    except OSError as error:
        reason = error.strerror or str(error)
    print(
        f"overbuilt: kernel cache {wanted} is not used ({reason}); compiling afresh",
        file=sys.stderr,
    )
    private = Path(tempfile.mkdtemp(prefix="overbuilt-kernels-"))
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    return private


def key(*parts: str) -> str:
    """The name of what these parts make."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:".encode())
        digest.update(part.encode())
    return digest.hexdigest()[:40]


def fetch(name: str, make: Callable[[Path], None]) -> tuple[Path, bool]:
    """The file ``name`` of the cache and whether it was there; ``make(temporary)`` writes a missing one."""
    target = folder() / name
    if target.exists():
        return target, True
    with tempfile.TemporaryDirectory(dir=folder()) as work:
        fresh = Path(work) / name
        make(fresh)
        os.replace(fresh, target)  # two runs at once write the same bytes: either may win
    return target, False


def has(name: str) -> bool:
    return (folder() / name).exists()


def debug_text(label: str, program: str, text: str) -> str:
    """The text to compile. With OVERBUILT_KERNEL_DEBUG=FOLDER: print the program to standard error, keep
    the text in FOLDER, and take an edited copy in place of the generated one.

    The kept file begins with the hash of the generated text. While that still matches, the rest of the
    file is what runs, edited or not; when the model has changed, the file is set aside and written anew.
    """
    where = os.environ.get(DEBUG_VARIABLE)
    if not where:
        return text
    with _KEEPING:
        return _kept_text(Path(where), label, program, text)


def _kept_text(place: Path, label: str, program: str, text: str) -> str:
    place.mkdir(parents=True, exist_ok=True)
    print(f"---- overbuilt kernel {label}\n{program}", file=sys.stderr)
    head = f"// generated {key(text)}; edit below and run again: this file is compiled while the model is unchanged\n"
    kept = place / f"{label}.txt"
    if kept.exists():
        old = kept.read_text(encoding="utf-8")
        if old.startswith(head):
            body = old[len(head) :]
            note = "the edited text" if body != text else "the generated text"
            print(f"overbuilt: compiling {note} of {kept}", file=sys.stderr)
            return body
        kept.rename(kept.with_suffix(".old.txt"))
    kept.write_text(head + text, encoding="utf-8")
    print(f"overbuilt: kernel text kept in {kept}", file=sys.stderr)
    return text
