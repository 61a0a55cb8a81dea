"""Start-up: what a command imports, and that a program from the cache is the one that a trace would give."""

from __future__ import annotations

import copy
import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

import overbuilt
from overbuilt import Economy
from overbuilt.engine import process, program_cache
from overbuilt.engine.economy import SYSTEMS
from overbuilt.engine.program_cache import optimized
from overbuilt.engine.system import System
from overbuilt.kernels import cache
from overbuilt.kernels.passes import optimize
from overbuilt.kernels.program_text import from_text, to_text
from overbuilt.kernels.trace import trace

HEAVY = ("altair", "jax", "matplotlib", "pandas", "pyarrow", "scipy", "vl_convert")


def imported(code: str, *names: str) -> set[str]:
    """Which of these modules a fresh process has imported after ``code``."""
    tell = f"{code}\nimport sys; print('imported', *(m for m in {names!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", tell], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


# ---- imports
def test_what_is_imported_is_seen() -> None:
    """What the tests below rest on."""
    assert imported("import scipy", "numpy", *HEAVY) == {"numpy", "scipy"}


def test_the_package_alone_imports_none_of_its_libraries() -> None:
    assert not imported("import overbuilt", "click", "numpy", "pydantic", "rich", *HEAVY)


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"]])
def test_help_does_not_wait_for_libraries(words: list[str]) -> None:
    code = f"from overbuilt.cli import main\nmain({words!r}, standalone_mode=False)"
    assert not imported(code, "numpy", "pydantic", "rich", *HEAVY)


def test_a_run_imports_no_library_that_it_does_not_use() -> None:
    words = ["run", "textbook", "--paths", "64", "--backend", "numpy"]
    code = f"from overbuilt.cli import main\ntry: main({words!r})\nexcept SystemExit as e: assert not e.code"
    assert not imported(code, *HEAVY)


# ---- programs as texts
@pytest.mark.parametrize("name", ["base", "textbook"])
def test_a_program_is_the_same_after_it_was_a_text(name: str) -> None:
    program = optimize(trace(overbuilt.load(name).economy, float64=True))
    # the texts of two programs tell 1 from 1.0 and from True, and 0.0 from -0.0, unlike ==
    assert repr(from_text(to_text(program))) == repr(program)


# ---- the cache of programs
@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder, in a process as of the command line that began after all files were written."""
    place = tmp_path / "cache"
    place.mkdir(mode=0o700)
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(place))
    monkeypatch.setattr(process, "began", time.time() + 60)
    cache.folder.cache_clear()
    yield place
    cache.folder.cache_clear()


def named(economy: Economy) -> str | None:
    return program_cache._name(economy, float64=False)


def textbook(**overrides: Any) -> Economy:
    return overbuilt.load("textbook", overrides).economy


def refused(*_: object) -> NoReturn:
    raise AssertionError("traced")


def test_a_program_in_the_cache_is_not_traced_again(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = optimized(textbook(), float64=False)
    assert [p.name for p in own_cache.iterdir()] == [named(textbook())]
    monkeypatch.setattr(program_cache, "trace", refused)
    assert repr(optimized(textbook(), float64=False)) == repr(first)
    with pytest.raises(AssertionError, match="traced"):
        optimized(textbook(), float64=True)


def test_the_command_line_keeps_programs(own_cache: Path) -> None:
    begin = "import overbuilt; overbuilt._began += 60; from overbuilt.cli import main"
    words = ["run", "textbook", "--paths", "64", "--backend", "numpy"]
    untraced = "import overbuilt.engine.program_cache as c; c.trace = None"
    said = [
        subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
        for code in (f"{begin}; main()", f"{begin}; {untraced}; main()")
    ]  # fmt: skip
    assert [p.name for p in own_cache.iterdir()] == [named(textbook())]
    # but for the last line, which holds seconds
    tables = [s.stdout.partition("64 paths")[0] for s in said]
    assert tables[0] == tables[1]
    assert "after the last month" in tables[0]


def test_a_command_that_other_code_calls_keeps_none(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That code may have changed what the package does."""
    monkeypatch.setattr(process, "began", None)
    overbuilt.simulate(overbuilt.load("textbook"), 64, backend="numpy")
    assert not list(own_cache.iterdir())


def test_a_parameter_is_no_part_of_the_name_and_a_setting_is(own_cache: Path) -> None:
    base = overbuilt.load("base")
    assert named(base.economy) is not None
    other = overbuilt.load("base", {"revenue.volatility": 0.31}).economy
    assert named(other) == named(base.economy)
    for key, value in (("revenue.reading", "linear"), ("macro.split", "ex_it"), ("months", 48)):
        changed = overbuilt.load("base", {key: value}).economy
        assert named(changed) not in (None, named(base.economy)), key


def nudged(value: Any) -> Any:
    """Other numbers, as of a parameter; what is whole stays so, as ranges end at 1."""
    if isinstance(value, list | tuple):
        return [nudged(v) for v in value]
    return value if value == 1.0 else value * 0.9990234375


def with_other_numbers(system: System) -> System:
    """The system with every parameter changed, those of its rows too."""
    made = copy.copy(system)
    made._values = dict(system._values)
    for name, declared in system.fields.items():
        value = made._values[name]
        if isinstance(declared, program_cache.Parameter):
            made._values[name] = nudged(value)
        elif isinstance(declared, program_cache.Rows):
            made._values[name] = [with_other_numbers(row) for row in value]
    return made


def test_no_number_that_the_name_leaves_out_decides_the_program(own_cache: Path) -> None:
    """A system at a time: where the economy with other numbers has the same name, it has the same program."""
    economy = overbuilt.load("base").economy
    name, program = named(economy), str(optimize(trace(economy, float64=False)))
    alike = []
    for key, system in economy.systems.items():
        changed = economy.systems | {key: with_other_numbers(system)}
        other = Economy(*changed.values(), months=economy.months, name=economy.name)
        if named(other) == name:
            alike.append(key)
            assert str(optimize(trace(other, float64=False))) == program, key
    assert len(alike) > len(economy.systems) // 2, "else the test compares next to nothing"


def test_scenarios_of_one_name_have_one_program(own_cache: Path) -> None:
    known: dict[str | None, str] = {}
    found = 0
    for scenario in overbuilt.shipped():
        economy = overbuilt.load(scenario).economy
        if (name := named(economy)) in known:
            found += 1
            again = str(optimize(trace(economy, float64=False)))
            assert again == str(optimize(trace(overbuilt.load(known[name]).economy, float64=False)))
        known.setdefault(name, scenario)
    assert None not in known
    assert found, "else nothing was compared"


# ---- what must not be taken from the cache
class Walk(System):
    """A user's own system."""

    level = overbuilt.output("1", "where it stands")

    def init(self, xp, draw):  # type: ignore[no-untyped-def]
        return {"level": 0.0}

    def step(self, xp, s, up, draw):  # type: ignore[no-untyped-def]
        return {"level": s.level + 1.0}


def test_a_system_that_the_package_does_not_ship_is_always_traced(own_cache: Path) -> None:
    assert named(Economy(Walk())) is None
    key, system = next(iter(textbook().systems.items()))

    class Own(type(system)):  # type: ignore[misc]
        """A shipped one, changed by the user, under the same name."""

        system_name = key

    others = textbook().systems | {key: Own._trusted(system._values)}
    assert named(Economy(*others.values())) is None
    optimized(Economy(Walk()), float64=False)
    assert not list(own_cache.iterdir())


def test_an_economy_of_another_class_is_always_traced(own_cache: Path) -> None:
    class Watching(Economy):
        pass

    assert named(Watching(*textbook().systems.values())) is None


def test_an_object_of_unknown_kind_has_no_name(own_cache: Path) -> None:
    economy = textbook()
    next(iter(economy.systems.values())).__dict__["held"] = lambda: 1.0
    assert named(economy) is None


def test_what_a_system_worked_out_is_part_of_the_name(own_cache: Path) -> None:
    economy = textbook()
    before = named(economy)
    next(iter(economy.systems.values())).__dict__["held"] = {"count": 3}
    assert named(economy) not in (None, before)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files that the name is made of, taken in the place of the package's."""
    place = tmp_path / "copy"
    for pattern in program_cache.SOURCES:
        for file in program_cache.ROOT.glob(pattern):
            to = place / file.relative_to(program_cache.ROOT)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, to)
    monkeypatch.setattr(program_cache, "ROOT", place)
    return place


@pytest.mark.parametrize(
    "file", ["engine/economy/annuity.py", "engine/system.py", "kernels/passes.py", "configs/firms.csv"]
)  # fmt: skip
def test_a_changed_file_gives_another_name(own_cache: Path, sources: Path, file: str) -> None:
    before = named(textbook())
    changed = sources / file
    text = changed.read_text(encoding="utf-8")
    changed.write_text(f"{text}\n", encoding="utf-8")
    assert named(textbook()) not in (None, before)
    changed.unlink()
    assert named(textbook()) not in (None, before)


def test_files_that_changed_since_the_process_began_have_no_name(
    own_cache: Path, sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is imported may be the old text, or the new one."""
    assert named(textbook()) is not None
    monkeypatch.setattr(process, "began", time.time() - 60)
    assert named(textbook()) is None


def test_a_file_that_is_set_back_in_time_is_seen(
    own_cache: Path, sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "began", time.time() - 60)
    for file in sources.rglob("*.*"):
        os.utime(file, (0, 0))
    assert named(textbook()) is None


def test_every_module_that_a_trace_imports_is_a_source() -> None:
    code = (
        "import sys, overbuilt.engine.economy, overbuilt.engine.book, overbuilt.kernels.trace, "
        "overbuilt.kernels.passes\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.partition('.')[0] == 'overbuilt'), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    known = {f for p in program_cache.SOURCES for f in program_cache.ROOT.glob(p)}
    found = {Path(line).resolve() for line in done.stdout.split()}
    assert found <= known
    assert len(found) > len(SYSTEMS)


def test_a_damaged_program_is_traced_again(own_cache: Path) -> None:
    program = optimized(textbook(), float64=False)
    (file,) = own_cache.iterdir()
    whole = file.read_text(encoding="utf-8")
    for damaged in (whole[: len(whole) // 2], "", whole.replace("0.5", "0.4", 1), "x\n[]"):
        file.write_text(damaged, encoding="utf-8")
        assert repr(optimized(textbook(), float64=False)) == repr(program)
        assert file.read_text(encoding="utf-8") == whole


def test_a_full_disk_costs_no_more_than_the_trace(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache.tempfile, "TemporaryDirectory", full)
    assert optimized(textbook(), float64=False).metrics == textbook().metrics
    assert not list(own_cache.iterdir())


@pytest.mark.parametrize("mode", [0o702, 0o720])
def test_a_program_that_others_may_write_is_not_read(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    optimized(textbook(), float64=False)
    (file,) = own_cache.iterdir()
    file.chmod(mode)
    monkeypatch.setattr(program_cache, "trace", refused)
    with pytest.raises(AssertionError, match="traced"):
        optimized(textbook(), float64=False)
