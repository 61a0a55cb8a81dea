"""What XLA compiled, kept in the cache folder: an economy takes it half a minute and more."""
# ruff: noqa: TID253 -- imported where jax.py has work to do, not before

from __future__ import annotations

import os
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable

from .. import cache
from .native import processor


def executable(lowered: Any, device: str) -> Any:
    """A lowered function compiled, or as it was compiled before, for this processor and device and by this XLA.

    Whatever stands in the way of keeping or of loading it, it is compiled.
    """
    name = _name(lowered, device)
    if cache.has(name):
        try:
            kept = (cache.folder() / name).read_bytes()
            return serialize_executable.deserialize_and_load(
                kept, lowered.in_tree, lowered.out_tree
            )
        except Exception:  # a damaged file fails in many ways; it is replaced below
            (cache.folder() / name).unlink(missing_ok=True)
    made = lowered.compile()
    with suppress(Exception):  # not every executable can be kept, nor is there always room
        payload = serialize_executable.serialize(made)[0]
        cache.fetch(name, lambda path: _write(path, payload))
    return made


def _name(lowered: Any, device: str) -> str:
    """The name in the cache: all that the executable hangs on goes into it."""
    made_by = (jax.__version__, version("jaxlib"), os.environ.get("XLA_FLAGS", ""))
    return f"jax-{cache.key(*made_by, processor(), device, lowered.as_text())}.xla"


def _write(path: Path, payload: bytes) -> None:
    path.write_bytes(payload)
