"""What a run does when something fails: paths that are not finite, memory that ends, devices that are lost.

A run that went through any of it must give the bytes of one to which nothing happened, or say what it cannot do and
keep what was done. Kernels that fail are real ones behind a wrapper that raises. Nothing here is a statistical test.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

import overbuilt
from overbuilt import ConfigError, Economy, Result, System, output
from overbuilt.engine import simulate
from overbuilt.engine.commands.runs import show
from overbuilt.engine.economy import SYSTEMS
from overbuilt.engine.log import silent
from overbuilt.engine.quarantine import BadPaths, parse_share
from overbuilt.engine.run_store import MANIFEST, load_run, read_manifest, sha256
from overbuilt.engine.series import SERIES_PATHS
from overbuilt.engine.statistics import BLOCK
from overbuilt.kernels import backends
from overbuilt.kernels.backends import Status
from overbuilt.kernels.backends.base import BackendError, LaunchError, OutOfMemory

from .helpers import FunctionModel, compile_on, random_row
from .refusals import overbuilt as command


def files_of(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file but the manifest, which says how long it took."""
    return {p.name: sha256(p) for p in folder.iterdir() if p.name not in (MANIFEST, ".lock")}


def same_files(a: Path, b: Path) -> bool:
    return files_of(a) == files_of(b)


# ---- paths that are not finite
class Diverges(System):
    """From month 7 on, about a path in a thousand is infinite, and one in a thousand is not a number."""

    chance = output("1", "the path's uniform")
    value = output("1", "1, or what became of it")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"u": draw.uniform("which"), "x": 1.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        late = up.month >= 7
        infinite = xp.exp(xp.where(late & (s.u < 0.001), 1e5, 0.0))
        negative = xp.log(xp.where((up.month >= 9) & (s.u > 0.999), -1.0, 1.0))
        return {"u": s.u, "x": infinite + negative, "chance": s.u, "value": infinite + negative}


PATHS = 2 * BLOCK + 1000


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config of a system that diverges."""
    monkeypatch.setitem(SYSTEMS, "diverges", Diverges)
    path = tmp_path / "bad.toml"
    path.write_text('title = "Diverges"\nas_of = "2025-12"\nmonths = 12\nsystems = ["diverges"]\n')
    return path


@pytest.mark.parametrize(
    ("text", "share"),
    [("0.1%", 0.001), ("0.001", 0.001), ("0", 0.0), ("100%", 1.0), (" 5 % ", 0.05)],
)
def test_shares(text: str, share: float) -> None:
    assert parse_share(text) == pytest.approx(share, rel=1e-15)


@pytest.mark.parametrize("text", ["", "%", "-1%", "101%", "1.1", "nan", "nan%", "inf", "a few"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(ConfigError, match="0 to 100%"):
        parse_share(text)


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_a_bad_path_is_named_with_its_variable(backend: str, tmp_path: Path) -> None:
    result = overbuilt.simulate(Diverges(), 9000, 5, backend, months=12, out=tmp_path)
    first = list(result.bad_paths.items())[:10]
    want = [{"path": p, "month": m, "variable": "diverges.x", "since": m} for p, m in first]
    assert result.quarantined == want
    assert {m for _, m in first} == {7, 9}
    assert read_manifest(tmp_path)["quarantined"] == want
    assert load_run(tmp_path).quarantined == want
    assert result.as_json()["quarantined"] == want


class Upstream(System):
    """Its ratio is infinite in each month; its price from month 4 on, on the path's ill luck."""

    chance = output("1")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"u": draw.uniform("which")}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        price = 1.0 / xp.where((up.month >= 4) & (s.u < 0.05), 0.0, 1.0)
        return {"u": s.u, "ratio": 1.0 / (s.u - s.u), "price": price, "chance": s.u}


class Downstream(System):
    total = output("1")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"sum": 0.0}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        total = s.sum + up.upstream.price
        return {"sum": total, "total": total}


def test_what_was_not_finite_first_is_named_not_what_it_made_so() -> None:
    """A ratio that is infinite on every path, in every month, is innocent: nothing of it is carried on."""
    result = overbuilt.simulate(Economy(Upstream(), Downstream(), months=6), 200, 3, "numpy")
    assert result.bad_count > 2
    for found in result.quarantined:
        assert found["variable"] == "upstream.price"
        assert found["month"] == found["since"] == 4


class Pots(System):
    """Five pots a path; the third is not a number from month 3 on, where the path has ill luck; others follow."""

    total = output("1")

    def init(self, xp: Any, draw: Any) -> dict[str, Any]:
        return {"u": draw.uniform("which"), "echo": xp.array(2, 1.0), "pot": xp.array(5, 1.0)}

    def step(self, xp: Any, s: Any, up: Any, draw: Any) -> dict[str, Any]:
        gone = xp.log(xp.where((up.month >= 3) & (s.u < 0.05), -1.0, 1.0))
        echo = xp.set(s.echo, 1, xp.where(up.month >= 5, xp.get(s.pot, 2), 1.0))
        pot = xp.set(s.pot, 2, xp.get(s.pot, 2) + gone)
        return {"u": s.u, "echo": echo, "pot": pot, "total": xp.get(pot, 0)}


def test_an_array_is_named_with_its_element_and_its_first_month() -> None:
    """It is looked at after the last month alone, and went wrong before."""
    result = overbuilt.simulate(Pots(), 200, 3, "numpy", months=6)
    assert result.bad_count > 2
    for found in result.quarantined:
        assert (found["variable"], found["month"], found["since"]) == ("pots.pot[2]", 6, 3)


def test_a_path_that_cannot_be_replayed_is_named_without_a_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = overbuilt.simulate(Diverges(), 3000, 5, "numpy", months=12)
    monkeypatch.setattr("overbuilt.engine.replay.replayer", Failing(BackendError("gone")))
    assert result.bad_count > 0
    assert {q["variable"] for q in result.quarantined} == {None}


class Failing:
    """Raises whatever it is called with."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, *given: Any, **more: Any) -> Any:
        raise self.error


def test_the_count_is_in_every_output(scenario: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    given = ("run", str(scenario), "--paths", "3000", "--seed", "5", "--backend", "numpy")
    done = command(*given, "--max-bad", "1%", "--out", str(out))
    assert done.exit_code == 0, done.output
    manifest = read_manifest(out)
    count = manifest["bad_paths"]
    assert 0 < count == load_run(out).bad_count
    said = f"left out, as not finite: {count} paths"
    assert said in done.stdout
    assert "(diverges.x)" in done.stdout
    assert f"{count} of 3000 paths had a non-finite state" in done.stderr
    shown = CliRunner().invoke(show, [str(out)])
    assert shown.stdout == done.stdout
    told = json.loads(command(*given, "--max-bad", "1%", "--format", "json").stdout)
    assert told["bad_paths"] == count
    assert told["quarantined"] == manifest["quarantined"]


def test_abort_ends_at_the_first_block_with_a_bad_path(scenario: Path, tmp_path: Path) -> None:
    """Exit code 1, the path is named, the command that is named replays it, and the run can still go on."""
    out = tmp_path / "run"
    given = ("run", str(scenario), "--paths", str(PATHS), "--seed", "5", "--backend", "native")
    done = command(*given, "--on-bad-path", "abort", "--out", str(out))
    assert done.exit_code == 1, done.output
    whole = overbuilt.simulate(overbuilt.load(scenario), PATHS, 5, "native", out=tmp_path / "whole")
    path, month = next(iter(whole.bad_paths.items()))
    stored = load_run(out)
    assert (stored.status, stored.path_count) == ("failed", BLOCK)
    errors = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
    assert f"path {path} had a non-finite state in month {month}" in errors[0]
    replay = errors[1].removeprefix("error: see overbuilt ")
    again = command(*shlex.split(replay), "--format", "json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["paths"][0]["bad_month"] == month
    assert command("run", "--resume", str(out)).exit_code == 1
    assert load_run(out).path_count == BLOCK
    went_on = ("run", "--resume", str(out), "--on-bad-path", "quarantine", "--max-bad", "1%")
    assert command(*went_on).exit_code == 0
    assert same_files(out, tmp_path / "whole")


def test_abort_without_a_folder_names_a_command_that_replays_the_path(scenario: Path) -> None:
    given = ["run", str(scenario), "--paths", "3000", "--seed", "5", "--backend", "numpy"]
    done = command(*given, "--dtype", "float64", "--on-bad-path", "abort", "--months", "8")
    assert done.exit_code == 1, done.output
    replay = done.stderr.splitlines()[-1].removeprefix("error: see overbuilt ")
    again = json.loads(command(*shlex.split(replay), "--format", "json").stdout)
    (path,) = again["paths"]
    assert (path["dtype"], path["months"], path["bad_month"]) == ("float64", 8, 7)


def test_too_many_bad_paths_fail_the_run(scenario: Path, tmp_path: Path) -> None:
    """As soon as it is certain, whatever is computed stays, and the run goes on where more are borne."""
    out = tmp_path / "run"
    given = ("run", str(scenario), "--paths", str(PATHS), "--seed", "5", "--backend", "native")
    done = command(*given, "--out", str(out))
    assert done.exit_code == 1, done.output
    assert "more than --max-bad 0.1 %" in done.stderr
    manifest = read_manifest(out)
    assert manifest["status"] == "failed"
    assert manifest["failure"] in done.stderr
    assert manifest["bad_paths"] > 0.001 * manifest["paths"]
    refused = command(*given, "--out", str(out))
    assert (refused.exit_code, "--resume" in refused.stderr) == (2, True)
    done = command("run", "--resume", str(out), "--max-bad", "0.5%")
    assert done.exit_code == 0, done.output
    assert (read_manifest(out)["status"], read_manifest(out)["paths"]) == ("finished", PATHS)
    overbuilt.simulate(overbuilt.load(scenario), PATHS, 5, "native", out=tmp_path / "whole")
    assert same_files(out, tmp_path / "whole")


def test_a_run_that_fails_ends_early() -> None:
    """All its paths are bad: after a block that is certain for a run of a hundred of them, were 1 % borne."""
    result = overbuilt.simulate(Diverges(), 100 * BLOCK, 5, "native", months=12, max_bad=1e-5)
    assert result.path_count < 10 * BLOCK
    assert result.status == "failed"
    assert result.stop is not None
    assert result.stop["why"] == "bad paths"
    many = overbuilt.simulate(Diverges(), 3000, 5, "numpy", months=12, max_bad=0.002)
    share = many.bad_count / 3000
    assert bool(many.failure) == (share > 0.002)


@pytest.mark.parametrize(("bad", "fails"), [(0, False), (10, False), (11, True)])
def test_the_bound_itself_is_borne(bad: int, fails: bool) -> None:
    assert BadPaths("quarantine", 0.01).ends(bad, 1000) == fails
    assert BadPaths("abort", 0.01).ends(bad, 1000) == (bad > 0)


def test_what_is_no_policy_is_refused() -> None:
    with pytest.raises(ConfigError, match="on_bad_path") as caught:
        overbuilt.simulate(Diverges(), 10, on_bad_path="ignore", max_bad=2.0)
    assert len(caught.value.problems) == 2


# ---- memory that ends
class Wrapped:
    """A kernel that may fail: ``before(launch, first, count)`` is called before each launch."""

    def __init__(self, kernel: Any, before: Callable[[int, int, int], None]) -> None:
        self.kernel, self.before = kernel, before
        self.stamp, self.chunk = kernel.stamp, kernel.chunk
        self.launches: list[int] = []

    def run(self, model: Any, seed: int, first: int, count: int, *more: Any) -> Any:
        self.launches.append(count)
        self.before(len(self.launches), first, count)
        return self.kernel.run(model, seed, first, count, *more)


Break = Callable[..., list[Wrapped]]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Break:
    """Puts ``before`` in front of every launch of a backend; gives the kernels made since."""

    def install(before: Callable[[int, int, int], None], backend: str = "native") -> list[Wrapped]:
        made: list[Wrapped] = []
        original = backends.compile

        def compile_(name: str, *given: Any) -> Any:
            kernel = original(name, *given)
            if name != backend:
                return kernel
            made.append(Wrapped(kernel, before))
            return made[-1]

        monkeypatch.setattr(backends, "compile", compile_)
        return made

    return install


def walk(out: Path, paths: int = PATHS, **options: Any) -> Result:
    model = overbuilt.load("textbook")
    return overbuilt.simulate(model, paths, 9, "native", out=out, **options)


def bounded(most: int, error: Exception) -> Callable[[int, int, int], None]:
    def before(launch: int, first: int, count: int) -> None:
        if count > most:
            raise error

    return before


@pytest.mark.parametrize("error", [OutOfMemory("full"), MemoryError()])
@pytest.mark.parametrize(("most", "batch"), [(40_000, None), (3000, 50_000), (BLOCK, 10**9)])
def test_a_launch_that_does_not_fit_is_halved(
    broken: Break, tmp_path: Path, most: int, batch: int | None, error: Exception
) -> None:
    """To the same files, the series among them."""
    walk(tmp_path / "plain")
    kernels = broken(bounded(most, error))
    result = walk(tmp_path / "short", batch=batch)
    assert same_files(tmp_path / "plain", tmp_path / "short")
    (kernel,) = kernels
    tried = [n for n in kernel.launches if n > most]
    assert tried
    assert len(tried) <= 18  # it halves, and stays small
    assert not result.used


def test_a_record_that_does_not_fit_makes_no_other_launch_small(
    broken: Break, tmp_path: Path
) -> None:
    """What all months of a path take says nothing of what its last month does."""
    walk(tmp_path / "plain")

    def before(launch: int, first: int, count: int) -> None:
        if first < SERIES_PATHS and count > 1000:
            raise OutOfMemory("full")

    kernels = broken(before)
    walk(tmp_path / "short")
    assert same_files(tmp_path / "plain", tmp_path / "short")
    (kernel,) = kernels
    assert BLOCK in kernel.launches
    assert len(kernel.launches) < 50


def test_memory_that_does_not_hold_a_path_ends_the_run(broken: Break, tmp_path: Path) -> None:
    broken(bounded(0, OutOfMemory("full")))
    with pytest.raises(LaunchError, match="does not hold a single path"):
        walk(tmp_path / "run")


# ---- devices that are lost
def dying(at: int, error: Exception) -> Callable[[int, int, int], None]:
    def before(launch: int, first: int, count: int) -> None:
        if launch >= at:
            raise error

    return before


ARGUMENTS = ("textbook", "--paths", str(PATHS), "--seed", "9", "--backend", "native")


def test_a_lost_device_ends_the_run_and_loses_nothing(
    broken: Break, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1, what was done before is saved, and the run goes on to the bytes of one that was not cut."""
    whole, out = tmp_path / "whole", tmp_path / "run"
    walk(whole)
    with monkeypatch.context():
        broken(dying(3, BackendError("fell off the bus")))
        done = command("run", *ARGUMENTS, "--out", str(out))
    assert done.exit_code == 1, done.output
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert f"backend native failed at path {BLOCK:,} (fell off the bus)" in lines[0]
    assert f"{BLOCK:,} paths were done before" in lines[1]
    assert lines[1].endswith(f"overbuilt run --resume {out}")
    monkeypatch.undo()
    done = command("run", "--resume", str(out))
    assert done.exit_code == 0, done.output
    assert same_files(whole, out)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_with_fallback_the_next_backend_goes_on(
    broken: Break, no_jax: None, tmp_path: Path, at: int
) -> None:
    """Every block is of one backend, and is what that backend gives; which, is in all outputs."""
    paths = BLOCK + 300
    alone = {
        name: overbuilt.simulate(overbuilt.load("textbook"), paths, 9, name).statistics.hashes
        for name in ("native", "numpy")
    }
    broken(dying(at, BackendError("fell off the bus")))
    out = tmp_path / "run"
    done = command("run", *ARGUMENTS, "--paths", str(paths), "--fallback", "--out", str(out))
    assert done.exit_code == 0, done.output
    stored = load_run(out)
    first = "native" if at == 3 else "numpy"
    assert stored.statistics.backends == {0: first, 1: "numpy"}
    assert stored.statistics.hashes == {0: alone[first][0], 1: alone["numpy"][1]}
    used = [
        {"backend": "native", "first": 0, "paths": BLOCK},
        {"backend": "numpy", "first": BLOCK, "paths": 300},
    ]
    assert stored.used == (used if at == 3 else [])
    (line,) = stored.lost
    assert f"backend native failed at path {BLOCK if at == 3 else 16384 * (at - 1):,}" in line
    assert f"warning: {line}" in done.stderr
    assert read_manifest(out)["lost"] == [line]
    if at == 3:
        text = " ".join(done.stdout.split())
        assert f"paths by backend: native 0..{BLOCK - 1}; numpy {BLOCK}..{paths - 1}" in text
        assert read_manifest(out)["used"] == used


@pytest.fixture
def no_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend after native is then the reference."""
    status = backends.status

    def without(name: str) -> Status:
        return Status("jax", False, "not here") if name == "jax" else status(name)

    monkeypatch.setattr(backends, "status", without)


def test_a_block_that_was_begun_is_computed_again(broken: Break, no_jax: None) -> None:
    """A device that is lost within a block leaves no path of it."""
    model = overbuilt.load("textbook")
    want = overbuilt.simulate(model, 30_000, 9, "numpy")
    broken(dying(4, LaunchError("fell off the bus")))
    got = overbuilt.simulate(model, 30_000, 9, "native", batch=5000, fallback=True)
    assert got.digest == want.digest
    assert got.by_month
    assert got.by_month == want.by_month


def test_a_record_that_was_begun_is_made_again(broken: Break, no_jax: None) -> None:
    """The launches of the backend that goes on need not begin where those of the lost one did."""
    model = overbuilt.load("textbook")
    want = overbuilt.simulate(model, 20_000, 9, "numpy")
    broken(dying(3, LaunchError("fell off the bus")))
    broken(bounded(1300, OutOfMemory("full")), "numpy")
    got = overbuilt.simulate(model, 20_000, 9, "native", batch=5001, fallback=True)
    assert got.digest == want.digest
    assert got.by_month
    assert got.by_month == want.by_month


def test_no_backend_that_can_go_on(broken: Break) -> None:
    broken(dying(2, BackendError("fell off the bus")), "numpy")
    with pytest.raises(LaunchError, match="no other that works"):
        overbuilt.simulate(overbuilt.load("textbook"), 20_000, 9, "numpy", fallback=True)


def test_only_later_backends_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def plan(model: Any, name: str, *more: Any) -> Any:
        tried.append(name)
        if name == "native":
            raise BackendError("no compiler that works")
        return SimpleNamespace(backend=name)

    monkeypatch.setattr(simulate, "plan", plan)
    monkeypatch.setattr(backends, "status", lambda name: SimpleNamespace(works=name != "jax"))
    for lost, want in (("cuda", ["native", "numpy"]), ("native", ["numpy"]), ("jax", ["numpy"])):
        tried.clear()
        made = SimpleNamespace(backend=lost, dtype="float32", months=3)
        another = simulate._next_backend(made, Diverges(), silent)  # type: ignore[arg-type]
        assert another(BackendError("lost")).backend == "numpy"
        assert tried == want
        with pytest.raises(BackendError, match="lost"):
            another(BackendError("lost"))


def test_a_disk_that_is_full_then_is_said_too(
    broken: Break, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    broken(dying(3, BackendError("fell off the bus")))
    monkeypatch.setattr("overbuilt.engine.checkpoint.Ledger.save", full)
    with pytest.raises(LaunchError, match="No space left on device"):
        walk(tmp_path / "run")


# ---- what the libraries raise; for CuPy see test_cuda
def test_what_jax_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory ends the chunk is halved too, as each launch computes whole chunks; to the same bytes."""
    jax = pytest.importorskip("jax")
    model = FunctionModel(lambda xp, p, s, month: {"x": xp.to_real(random_row(xp, 20))}, ["x"])
    kernel: Any = compile_on("jax", model, "float32")
    want = kernel.run(model, 1, 0, 5000, 2, False)
    function = kernel._function

    def small(*given: Any) -> Any:
        made = function(*given)

        def call(inputs: Any, key: Any, low: Any, *more: Any) -> Any:
            if len(low) > 700:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nmore")
            return made(inputs, key, low, *more)

        return call

    monkeypatch.setattr(kernel, "_function", small)
    for chunk in (1024, 512):
        with pytest.raises(OutOfMemory, match=r"RESOURCE_EXHAUSTED: Out of memory$"):
            kernel.run(model, 1, 0, 5000, 2, False)
        assert kernel.chunk == chunk
    got = kernel.run(model, 1, 0, 5000, 2, False)
    assert got.metrics.tobytes() == want.metrics.tobytes()
    lost = Failing(jax.errors.JaxRuntimeError("INTERNAL: device lost"))
    monkeypatch.setattr(kernel, "_function", lambda *given: lost)
    with pytest.raises(LaunchError, match="INTERNAL: device lost") as caught:
        kernel.run(model, 1, 0, 10, 2, False)
    assert not isinstance(caught.value, OutOfMemory)
