"""Runs that are meant to be interfered with, in processes of their own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import overbuilt

ROOT = Path(overbuilt.__file__).parent.parent
# Checkpoints every 50 ms of work instead of five seconds, so that a short run has many.
CODE = """
import sys
from overbuilt.engine import run_folder
run_folder.EVERY, run_folder.SHARE = 0.05, 1.0
from overbuilt.cli import main
main(prog_name="overbuilt")
"""
PATHS = 2_000_000
ARGUMENTS = (
    "run", "textbook", "--paths", str(PATHS), "--seed", "11", "--backend", "native", "--tail", "500",
)  # fmt: skip


@dataclass(frozen=True)
class Done:
    """How a process ended."""

    code: int
    out: str
    err: str


def start(*arguments: str) -> subprocess.Popen[str]:
    """The command line, in a process of its own."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> Done:
    """Wait for it."""
    out, err = process.communicate(timeout=300)
    return Done(process.returncode, out, err)


def run(*arguments: str) -> Done:
    """Start it and wait for it."""
    return finish(start(*arguments))


def new(folder: Path) -> tuple[str, ...]:
    """The arguments of the run that all faults happen to."""
    return (*ARGUMENTS, "--out", str(folder))


def go_on(folder: Path) -> Done:
    """Take the run up again; where it died before its folder said what it is, begin again."""
    if not (folder / "manifest.json").exists():
        return run(*new(folder))
    return run("run", "--resume", str(folder))


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file of a finished run that says what the paths said."""
    return {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.iterdir())
        if p.suffix in (".csv", ".parquet")
    }
