"""Optimized programs kept in the kernel cache, so that a command that is run again need not trace.

A program is what the sources make of an economy's structure. Its name in the cache is the SHA-256 of both: of all
files of the package that a trace may read, and of all that a system holds apart from the numbers of its parameters,
which are symbols while it is traced. What cannot be named so is traced: an economy with a system that the package
does not ship, one that holds an object of unknown kind, a package whose files have changed since the process began.
A program is kept only by the command line, where no code but the package's own runs.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..kernels import cache
from ..kernels.backends.native import processor
from ..kernels.passes import optimize
from ..kernels.program import Program
from ..kernels.program_text import from_text, to_text
from ..kernels.trace import trace
from . import process
from .economy import SYSTEMS
from .locate import find_file
from .system import Economy, Parameter, Rows, _Declaring

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("*.py", "configs/*.csv", "engine/*.py", "engine/economy/*.py", "kernels/**/*.py")
"""What a trace may read of the package."""
OURS = f"{__package__}."
_SETTLED = 1.0
"""Seconds before the process began in which a file must not have changed: clocks are coarse."""


def optimized(economy: Economy, float64: bool) -> Program:
    """The program of an economy: read where the cache has it, else traced and optimized.

    Raises TraceError where the economy cannot be traced.
    """
    name = _name(economy, float64)
    if name is None:
        return optimize(trace(economy, float64))
    if cache.has(name):
        try:
            return _read(cache.folder() / name)
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            with suppress(OSError):
                cache.discard(name)  # damaged: the disk was full, say
    program = optimize(trace(economy, float64))
    if _name(economy, float64) == name:  # else something changed meanwhile: whose program is it?
        with suppress(OSError):  # a full disk keeps nothing, and costs nothing but the next trace
            cache.fetch(name, lambda to: _write(to, program))
    return program


def _write(to: Path, program: Program) -> None:
    text = to_text(program)
    to.write_text(f"{cache.key(text)}\n{text}", encoding="utf-8")


def _read(file: Path) -> Program:
    """Raises OSError where it cannot be read, ValueError where its text is not that which was written."""
    said, _, text = file.read_text(encoding="utf-8").partition("\n")
    if said != cache.key(text):
        raise ValueError(f"{file}: damaged")
    return from_text(text)


def _name(economy: Economy, float64: bool) -> str | None:
    """The file's name, or None where the program must be traced."""
    if process.began is None or type(economy) is not Economy:
        return None
    if any(type(s) is not SYSTEMS.get(key) for key, s in economy.systems.items()):
        return None
    try:
        parts = [_sources(), repr(float64), *_structure(economy)]
    except (_UnknownError, OSError, RecursionError):
        return None
    return f"program-{cache.key(*parts)}.json"


class _UnknownError(Exception):
    """Something that has no text which says all of it."""


def _sources() -> str:
    """What the package's files are, and what runs them. Raises _UnknownError where a file may not be what was imported."""
    assert process.began is not None
    latest = (process.began - _SETTLED) * 1e9
    digest = hashlib.sha256()
    for file in sorted(f for pattern in SOURCES for f in ROOT.glob(pattern)):
        info = file.stat()
        # unlike the time of modification nobody can set this one
        if info.st_ctime_ns >= latest:
            raise _UnknownError
        # Python takes compiled code for a file's own by its size and time, so these are part of what it is
        digest.update(f"{file.relative_to(ROOT)} {info.st_size} {info.st_mtime_ns}\n".encode())
        digest.update(file.read_bytes())
    # constants are folded by NumPy, whose functions differ in the last bit between processors
    return f"{digest.hexdigest()} {sys.version} {np.__version__} {processor()}"


def _structure(economy: Economy) -> Iterator[str]:
    """Texts that together say all of an economy that its program depends on."""
    yield repr((tuple(economy.reals), tuple(economy.ints), economy.metrics, economy.series))
    yield repr([(name, c.dtype.str) for name, c in economy.columns.items()])
    for key, system in economy.systems.items():
        yield key
        yield from _bound(system)
        for field, name in system.files().items():
            file = find_file(name, system.folder)
            yield f"{field} {hashlib.sha256(file.read_bytes()).hexdigest()}"


def _bound(x: _Declaring) -> Iterator[str]:
    """As ``_told``, of a system or a row of its tables, whose parameters are symbols in a step: without their numbers."""
    yield f"{type(x).__module__}.{type(x).__qualname__}"
    for name, value in x._values.items():
        yield name
        declared = x.fields.get(name)
        if isinstance(declared, Rows):
            for row in value:
                yield from _bound(row)
        else:
            yield from _told(_form(value) if isinstance(declared, Parameter) else value)
    yield from _told({k: v for k, v in vars(x).items() if k != "_values"})


def _form(value: Any) -> Any:
    """The nesting of a parameter, without its numbers."""
    return [_form(v) for v in value] if isinstance(value, list | tuple) else None


def _told(x: Any) -> Iterator[str]:
    """Texts that say all of a value. Raises _UnknownError where there is something of another kind in it."""
    if x is None or isinstance(x, bool | int | float | str | Path):
        yield f"{type(x).__name__} {x!r}"
    elif isinstance(x, np.ndarray) and x.dtype.kind in "biuf":
        yield f"array {x.dtype.str} {x.shape} {hashlib.sha256(x.tobytes()).hexdigest()}"
    elif isinstance(x, list | tuple):
        yield f"{type(x).__name__} {len(x)}"
        for element in x:
            yield from _told(element)
    elif isinstance(x, dict):
        yield f"dict {len(x)}"
        for key, value in x.items():
            yield from _told(key)
            yield from _told(value)
    elif type(x).__module__.startswith(OURS):
        yield f"{type(x).__module__}.{type(x).__qualname__}"
        yield from _told(_held(x))
    else:
        raise _UnknownError


def _held(x: Any) -> dict[str, Any]:
    """All attributes of an object."""
    slots = [s for c in type(x).__mro__ for s in getattr(c, "__slots__", ())]
    return {s: getattr(x, s) for s in slots if hasattr(x, s)} | getattr(x, "__dict__", {})
