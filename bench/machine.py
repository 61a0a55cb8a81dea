"""What a result is a result of: the machine, the versions, the commit."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LIBRARIES = ("numpy", "scipy", "numba", "jax", "jaxlib", "torch", "QuantLib", "warp-lang")


def machine() -> dict[str, Any]:
    """The processor, its cores that this process may use, and its widest vectors."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        info = []
    facts = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in info)}
    flags = facts.get("flags", facts.get("Features", "")).split()
    vectors = next((f for f in ("avx512f", "avx2", "sse2", "asimd") if f in flags), "")
    found = {
        "processor": facts.get("model name", platform.processor() or platform.machine()),
        "family": facts.get("cpu family"),
        "model": facts.get("model"),
        "cores": cores(),
        "vectors": vectors,
        "system": platform.system(),
    }
    return found | {"virtual": "hypervisor" in flags}


def cores() -> int:
    """Processors that this process may use: so many threads each contender gets."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def name(about: dict[str, Any]) -> str:
    """The machine's name as a file's: amd-epyc-25-17-avx512f-2-cores."""
    parts = ("processor", "family", "model", "vectors")
    text = " ".join(str(about[p]) for p in parts if about.get(p)) + f" {about['cores']} cores"
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def versions() -> dict[str, str]:
    """Of Python, of the libraries that are installed, and of the C++ compiler that native takes."""
    import overbuilt
    from overbuilt.kernels.backends import native

    found = {"python": platform.python_version(), "overbuilt": overbuilt.__version__}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    compiler = output(native.compiler() or "", "--version")
    return found | ({"compiler": compiler.splitlines()[0]} if compiler else {})


def commit() -> str | None:
    """The repository's commit, marked if files of the package differ from it."""
    number = output("git", "-C", str(HERE), "rev-parse", "--short=12", "HEAD")
    changed = output("git", "-C", str(HERE), "status", "--porcelain", "-uno", "--", ":/")
    return number and number + (" with changes" if changed else "")


def load() -> float | None:
    """How many processes were running, by the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def output(*command: str) -> str | None:
    """What a command prints, None if it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
