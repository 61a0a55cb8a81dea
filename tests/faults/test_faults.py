"""The short form of the fault table: each kind a few times. ``python -m tests.faults`` has it in full."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from overbuilt.kernels.backends import native

from .kinds import KINDS, Reference, Unavailable

pytestmark = pytest.mark.skipif(native.compiler() is None, reason="no C++ compiler here")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return Reference.make(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("number", range(2))
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_survives(reference: Reference, kind: str, number: int, tmp_path: Path) -> None:
    try:
        assert KINDS[kind](reference, random.Random(f"{kind} {number}"), tmp_path / "run") == ""
    except Unavailable as error:
        pytest.skip(str(error))
