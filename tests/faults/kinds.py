"""The faults: each interferes with a run once, and says what went wrong, or nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from .runs import CODE, digests, finish, go_on, new, run, start


@dataclass
class Reference:
    """The run that nothing happened to: its files, and the seconds that it took."""

    folder: Path
    seconds: float
    files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path) -> Reference:
        run(*new(folder / "warm"))  # compiles the kernel
        shutil.rmtree(folder / "warm")
        began = time.perf_counter()
        done = run(*new(folder / "whole"))
        assert done.code == 0, done.err
        return cls(folder, time.perf_counter() - began, digests(folder / "whole"))


def _same(reference: Reference, folder: Path) -> str:
    found = digests(folder)
    wrong = [n for n in reference.files if found.get(n) != reference.files[n]]
    left = [
        p.name
        for p in folder.iterdir()
        if p.name.startswith((".", "checkpoint")) and p.name != ".lock"
    ]
    if wrong:
        return f"other bytes in {', '.join(wrong)}"
    return f"left behind: {', '.join(left)}" if left else ""


def _resumed(reference: Reference, folder: Path) -> str:
    done = go_on(folder)
    return _same(reference, folder) if done.code == 0 else f"exit {done.code}: {done.err[-200:]}"


def kill(
    reference: Reference, rng: random.Random, folder: Path, number: int = signal.SIGKILL
) -> str:
    """The signal at a random moment, perhaps again at a random moment of the resumed run; then to the end.

    A run that was done before the first signal came does not count: another takes its place.
    """
    process = start(*new(folder))
    for again in range(rng.choice((1, 1, 2))):
        try:
            process.communicate(timeout=rng.random() * reference.seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        done = finish(process)
        if done.code not in (0, -number, 128 + number):
            return f"exit {done.code}: {done.err[-200:]}"
        if done.code == 0 and not again:
            shutil.rmtree(folder)
            return kill(reference, rng, folder, number)
        if done.code == 0 or not (folder / "manifest.json").exists():
            break
        process = start("run", "--resume", str(folder))
    finish(process)
    return _resumed(reference, folder)


def terminate(reference: Reference, rng: random.Random, folder: Path) -> str:
    """SIGTERM, likewise."""
    return kill(reference, rng, folder, signal.SIGTERM)


def twice(reference: Reference, rng: random.Random, folder: Path) -> str:
    """Two SIGINT, the second at once: it ends there, and what it had saved is whole."""
    process = start(*new(folder))
    time.sleep((0.4 + 0.5 * rng.random()) * reference.seconds)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.6 * rng.random())
    done = finish(process)
    if done.code == 0:  # it was faster: that counts as no try
        shutil.rmtree(folder)
        return twice(reference, rng, folder)
    if done.code not in (130, -signal.SIGINT):
        return f"exit {done.code}: {done.err[-200:]}"
    return _resumed(reference, folder)


def _cut_off(reference: Reference, rng: random.Random, folder: Path) -> bool:
    """Kill a run once it has two checkpoints; False where it was faster."""
    process = start(*new(folder))
    ledger = folder / "ledger.json"
    while process.poll() is None:
        try:
            if len(json.loads(ledger.read_text())["checkpoints"]) > 1:
                time.sleep(0.1 * rng.random() * reference.seconds)
                process.kill()
        except (OSError, ValueError):
            time.sleep(0.005)
    finish(process)
    return ledger.exists()


def _damage(path: Path, rng: random.Random, how: str) -> None:
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data))
    if how == "flipped":
        data[at] ^= 1 << rng.randrange(8)
    path.write_bytes(data if how == "flipped" else data[:at])


def _checkpoint(reference: Reference, rng: random.Random, folder: Path, how: str) -> str:
    """Damage a file of a run that was cut off: it is named, and the run ends with the same bytes, or is refused."""
    while not _cut_off(reference, rng, folder):
        shutil.rmtree(folder)
    names = [p for p in folder.iterdir() if p.name.startswith(("checkpoint", "ledger"))]
    victim = rng.choice(sorted(names))
    # one that was written when the process died, and that no ledger names yet, is not looked at
    newest = folder / json.loads((folder / "ledger.json").read_text())["checkpoints"][-1]["file"]
    _damage(victim, rng, how)
    done = go_on(folder)
    if done.code:
        return f"exit {done.code}: {done.err[-200:]}"
    if victim in (newest, folder / "ledger.json") and victim.name not in done.err:
        return f"{victim.name} was damaged, and is not named"
    return _same(reference, folder)


def flipped(reference: Reference, rng: random.Random, folder: Path) -> str:
    """A bit of a checkpoint or of the ledger."""
    return _checkpoint(reference, rng, folder, "flipped")


def truncated(reference: Reference, rng: random.Random, folder: Path) -> str:
    """A checkpoint or the ledger cut short."""
    return _checkpoint(reference, rng, folder, "truncated")


def stored(reference: Reference, rng: random.Random, folder: Path) -> str:
    """A bit of any file of a finished run, or its end: whoever reads the run is told which file."""
    shutil.copytree(reference.folder / "whole", folder)
    victim = rng.choice(sorted(p for p in folder.iterdir() if p.name != ".lock"))
    _damage(victim, rng, rng.choice(("flipped", "truncated")))
    done = run("run", "--resume", str(folder))
    if done.code == 0 and victim.name == "manifest.json":
        return _same(reference, folder)  # a bit of a figure that nothing hangs on, such as seconds
    if done.code != 2 or victim.name not in done.err or "Traceback" in done.err:
        return f"{victim.name}: exit {done.code}: {done.err[-200:]}"
    return ""


def full_disk(reference: Reference, rng: random.Random, folder: Path) -> str:
    """A disk with room for a part of the run: it says so, loses nothing, and goes on once there is room."""
    size = rng.choice((16, 64, 256, 512))
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        raise Unavailable("no tmpfs can be mounted here")
    try:
        target = folder / "run"
        done = run(*new(target))
        if done.code not in (0, 1) or "Traceback" in done.err:
            return f"{size} KiB: exit {done.code}: {done.err[-200:]}"
        if done.code == 1 and "space" not in done.err:
            return f"{size} KiB: does not say why: {done.err[-200:]}"
        subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
        return _resumed(reference, target)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def memory(reference: Reference, rng: random.Random, folder: Path) -> str:
    """A cap on memory: the run ends with the same bytes, or says that it cannot, and no traceback is seen."""
    cap = rng.choice((300, 550, 700, 770, 800, 900, 1200, 2000))
    command = " ".join(f"'{a}'" for a in new(folder))
    script = f"ulimit -v {cap * 1024}; exec {sys.executable} -c '{CODE}' {command}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=300)
    if done.returncode == 0:
        return _same(reference, folder)
    if done.returncode < 0 or "Traceback" in done.stderr:
        return f"{cap} MiB: exit {done.returncode}: {done.stderr[-300:]}"
    return ""


def locked(reference: Reference, rng: random.Random, folder: Path) -> str:
    """Two processes on one folder: one is refused and names the other; the other ends as if alone."""
    first = start(*new(folder))
    while not (folder / "manifest.json").exists() and first.poll() is None:
        time.sleep(0.005)
    second = run(*rng.choice((new(folder), ("run", "--resume", str(folder)))))
    ended = finish(first)
    if ended.code:
        return f"the first: exit {ended.code}: {ended.err[-200:]}"
    if second.code != 0 and (second.code != 2 or str(first.pid) not in second.err):
        return f"the second: exit {second.code}: {second.err[-200:]}"
    return _same(reference, folder)


def workers(reference: Reference, rng: random.Random, folder: Path) -> str:
    """Two of the workers of a Dask run at random moments, from their start on: others take their place."""
    if importlib.util.find_spec("distributed") is None:
        raise Unavailable("dask.distributed is not installed here")
    process = start(*new(folder), "--cluster", "local:2")
    killed: list[int] = []
    while len(killed) < 2 and process.poll() is None:
        alive = [p for p in _workers_of(process.pid) if p not in killed]
        if alive and rng.random() < 0.02:
            killed.append(rng.choice(alive))
            with suppress(ProcessLookupError):
                os.kill(killed[-1], signal.SIGKILL)
        time.sleep(0.02)
    done = finish(process)
    if done.code or "Traceback" in done.err:
        return f"exit {done.code}, {len(killed)} killed: {done.err[-300:]}"
    wrong = _same(reference, folder)
    if len(killed) < 2 and not wrong:  # it was faster: that counts as no try
        shutil.rmtree(folder)
        return workers(reference, rng, folder)
    return wrong


def _workers_of(parent: int) -> list[int]:
    """The worker processes that a run has started."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdecimal() or b"spawn_main" not in (entry / "cmdline").read_bytes():
                continue
            if f"\nPPid:\t{parent}\n" in (entry / "status").read_text():
                found.append(int(entry.name))
        except OSError:  # it ended meanwhile
            continue
    return found


class Unavailable(Exception):
    """This machine cannot have such a fault; the message says why."""


KINDS: dict[str, Callable[[Reference, random.Random, Path], str]] = {
    "kill -9": kill,
    "SIGTERM": terminate,
    "two SIGINT": twice,
    "flipped bit in a checkpoint": flipped,
    "truncated checkpoint": truncated,
    "damaged file of a stored run": stored,
    "full disk": full_disk,
    "capped memory": memory,
    "two processes, one folder": locked,
    "two workers killed in a Dask run": workers,
}
