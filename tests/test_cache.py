"""The kernel cache and the debugging variable: content-addressed, safe, and never in the way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from overbuilt import DT, System, output, parameter
from overbuilt.engine.simulate import simulate
from overbuilt.engine.system import Economy
from overbuilt.kernels import cache
from overbuilt.kernels.backends import native
from overbuilt.kernels.passes import optimize
from overbuilt.kernels.trace import trace

pytestmark = pytest.mark.skipif(native.compiler() is None, reason="no C++ compiler here")


class Walk(System):
    """A drift and noise: small enough to compile in a moment."""

    drift = parameter(0.1, "1/year", "assumption: any")

    level = output("1", "where it stands")

    def init(self, xp, draw):  # type: ignore[no-untyped-def]
        return {"level": 0.0}

    def step(self, xp, s, up, draw):  # type: ignore[no-untyped-def]
        return {"level": s.level + self.drift * DT + 0.25 * draw.normal("noise")}


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder; the choice of folder is remembered by the process, so forget it."""
    place = tmp_path / "cache"
    place.mkdir(mode=0o700)
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(place))
    cache.folder.cache_clear()
    yield place
    cache.folder.cache_clear()


def test_a_parameter_recompiles_nothing_and_a_text_is_found_again(own_cache: Path) -> None:
    first = simulate(Walk(), 100, backend="native")
    assert len(list(own_cache.glob("*.so"))) == 1
    again = simulate(Walk(drift=0.5), 100, backend="native")
    assert len(list(own_cache.iterdir())) == 1, (
        "a value is no part of the text, and no file is left over"
    )
    assert first.digest != again.digest
    assert simulate(Walk(), 100, backend="native").digest == first.digest


def test_a_folder_that_others_may_write_is_not_used(
    own_cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own_cache.chmod(0o777)
    simulate(Walk(), 10, backend="native")
    assert not list(own_cache.iterdir())
    assert "is not used" in capfd.readouterr().err


def test_concurrent_runs_share_one_kernel(own_cache: Path) -> None:
    """Four processes compile the same text at once into one empty cache: all agree, one file stays."""
    program = "import overbuilt; r = overbuilt.simulate(overbuilt.load('textbook'), 1000); print(r.digest)"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, env=dict(os.environ)
        )
        for _ in range(4)
    ]
    digests = {run.communicate(timeout=300)[0] for run in runs}
    assert all(run.returncode == 0 for run in runs)
    assert len(digests) == 1
    assert [p.suffix for p in own_cache.iterdir()] == [".so"]


def test_the_debugging_variable_prints_keeps_and_reruns(
    own_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    place = tmp_path / "kernels"
    monkeypatch.setenv(cache.DEBUG_VARIABLE, str(place))
    plain = simulate(Walk(), 100, backend="native", months=1)
    said = capfd.readouterr().err
    assert "philox" in said
    kept = place / "native-float32.txt"
    text = kept.read_text()
    assert "R(0.25)" in text
    kept.write_text(text.replace("R(0.25)", "R(0.5)"))
    edited = simulate(Walk(), 100, backend="native", months=1)
    assert "the edited text" in capfd.readouterr().err
    # the drift is the same and the noise doubled
    assert edited.metrics["walk.level"]["sd"] == pytest.approx(
        2 * plain.metrics["walk.level"]["sd"], rel=1e-5
    )

    class Other(Walk):
        """Another model: the edited text belongs to the old one, and is set aside."""

        system_name = "walk"

        def step(self, xp, s, up, draw):  # type: ignore[no-untyped-def]
            return {"level": s.level + self.drift * DT + 0.125 * draw.normal("noise")}

    simulate(Other(), 100, backend="native", months=1)
    assert "R(0.125)" in kept.read_text()
    assert "R(0.5)" in kept.with_suffix(".old.txt").read_text()


# ---- kernels that somebody else put there
def planted(place: Path) -> Path:
    """The kernel of the walk, compiled but not loaded, with something else in its place: whoever loads it fails."""
    program = optimize(trace(Economy(Walk()), float64=False))
    kernel, _ = native.shared_library(program, "float32")
    kernel.write_bytes(b"\x7fELF" + b"not ours" * 100)
    cache.folder.cache_clear()
    return kernel


def runs() -> bool:
    """Whether the walk runs, with a kernel of its own."""
    return simulate(Walk(), 10, backend="native").path_count == 10


def test_a_kernel_that_is_ours_is_taken(own_cache: Path) -> None:
    """What the tests below rest on: a planted file is loaded, if it is trusted."""
    planted(own_cache)
    with pytest.raises(OSError, match=r"ELF|file too short|invalid"):
        runs()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_nothing_is_loaded_from_a_folder_that_others_may_write(
    own_cache: Path, mode: int, capfd: pytest.CaptureFixture[str]
) -> None:
    kernel = planted(own_cache)
    spoilt = kernel.read_bytes()
    own_cache.chmod(mode)
    assert runs()
    assert kernel.read_bytes() == spoilt
    assert "is not used" in capfd.readouterr().err


@pytest.mark.parametrize("mode", [0o702, 0o720])
def test_a_kernel_that_others_may_write_is_not_loaded(own_cache: Path, mode: int) -> None:
    """As they could, while the folder was open to them."""
    kernel = planted(own_cache)
    kernel.chmod(mode)
    assert runs()
    assert kernel.stat().st_mode & 0o777 == 0o700
    assert b"not ours" not in kernel.read_bytes()


def test_a_kernel_that_is_a_link_is_not_loaded(own_cache: Path, tmp_path: Path) -> None:
    kernel = planted(own_cache)
    kernel.rename(tmp_path / "planted.so")
    kernel.symlink_to(tmp_path / "planted.so")
    assert runs()
    assert not kernel.is_symlink()
    assert (tmp_path / "planted.so").read_bytes().startswith(b"\x7fELFnot ours")


def test_a_folder_below_one_that_anyone_may_write_is_not_used(
    own_cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """There anyone may put another folder in its place; not so with the sticky bit, as of /tmp."""
    planted(own_cache)
    own_cache.parent.chmod(0o777)
    assert runs()
    assert f"anyone may write {own_cache.parent}" in capfd.readouterr().err
    own_cache.parent.chmod(0o1777)
    cache.folder.cache_clear()
    assert cache.folder() == own_cache


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_another_user_owns_is_not_trusted(own_cache: Path, what: str) -> None:
    kernel = planted(own_cache)
    os.chown(own_cache if what == "folder" else kernel, 65534, 65534)
    assert runs()
    if what == "file":
        assert kernel.stat().st_uid == 0
