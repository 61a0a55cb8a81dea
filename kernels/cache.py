"""Compiled kernels on disk, named by their content, safe against concurrent runs.

A file's name is the SHA-256 of everything that went into it, so a stale hit cannot be; it appears by an
atomic rename, so a half-written one cannot be either. A folder that others may write is not used, nor a file
that another user owns, or others may write: a library from there would run with our rights.
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
        if not (_is_ours(wanted.stat()) and os.access(wanted, os.W_OK)):
            reason = "belongs to another user, or others may write it"
        elif open_to_all := _open_to_all(wanted):
            reason = f"anyone may write {open_to_all}, and so replace it"
        else:
            return wanted
    except OSError as error:
        reason = error.strerror or str(error)
    print(
        f"overbuilt: kernel cache {wanted} is not used ({reason}); compiling afresh",
        file=sys.stderr,
    )
    private = Path(tempfile.mkdtemp(prefix="overbuilt-kernels-"))
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    return private


def _is_ours(info: os.stat_result) -> bool:
    """Whether only this user may change it."""
    return info.st_uid == os.getuid() and not info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _open_to_all(place: Path) -> Path | None:
    """A folder above it in which anyone may rename what others made; /tmp is none, as it has the sticky bit."""
    for above in place.resolve().parents:
        mode = above.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return above
    return None


def _trusted(file: Path) -> bool:
    """Whether a file of the cache is there, and this user put it there."""
    try:
        info = file.lstat()  # a link is not followed: it may lead anywhere
    except FileNotFoundError:
        return False
    return stat.S_ISREG(info.st_mode) and _is_ours(info)


def key(*parts: str) -> str:
    """The name of what these parts make."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:".encode())
        digest.update(part.encode())
    return digest.hexdigest()[:40]


def fetch(name: str, make: Callable[[Path], None]) -> tuple[Path, bool]:
    """The file ``name`` of the cache and whether it was there; ``make(temporary)`` writes a missing one.

    One that is there, but is not to be trusted, is made again in its place.
    """
    target = folder() / name
    if _trusted(target):
        return target, True
    with tempfile.TemporaryDirectory(dir=folder()) as work:
        fresh = Path(work) / name
        make(fresh)
        fresh.chmod(0o700)  # whatever the umask is, else it would not be trusted next time
        os.replace(fresh, target)  # two runs at once write the same bytes: either may win
    return target, False


def has(name: str) -> bool:
    return _trusted(folder() / name)


def discard(name: str) -> None:
    """Let the file be made again: what is in it is damaged."""
    (folder() / name).unlink(missing_ok=True)


def debug_text(label: str, program: object, text: str) -> str:
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


def _kept_text(place: Path, label: str, program: object, text: str) -> str:
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
