"""What the GPU suite needs, what it makes use of where it is there, and the packages that bring them.

Usage: ``python bench/gpu_needs.py needed|wanted`` prints the packages of what is missing, one a line
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec

MODULES = ("numpy", "pydantic", "click", "rich", "pandas", "pyarrow", "scipy")
"""What a run and its replay import: all that a dry run needs."""
NVRTC, CURAND = "NVRTC for CuPy", "cuRAND for CuPy"
NEEDED = {
    **dict(zip(MODULES, MODULES, strict=True)),
    "cupy": "cupy-cuda13x>=14",
    NVRTC: "cuda-toolkit[cudart,nvrtc]=={major}.*",
}
WANTED = {
    "pytest": "pytest",
    "xdist": "pytest-xdist",
    "nvdisasm": "cuda-toolkit[nvdisasm]=={major}.*",
    CURAND: "cuda-toolkit[cccl,curand]=={major}.*",
    "jax": "", "numba": "", "torch": "", "warp": "",
}  # fmt: skip
"""No package: too large to be fetched within the suite's time."""


def _nvrtc() -> None:
    from cupy.cuda import nvrtc

    nvrtc.getVersion()


def _curand() -> None:
    from cupy_backends.cuda.libs import curand

    curand.getVersion()


def _disassembler() -> None:
    from gpu_compile import disassembler

    if disassembler() is None:
        raise ImportError("neither nvdisasm nor cuobjdump")


TRIED: dict[str, Callable[[], None]] = {NVRTC: _nvrtc, CURAND: _curand, "nvdisasm": _disassembler}


def has(name: str) -> bool:
    """Whether a library loads, a tool is on PATH or a module can be imported."""
    try:
        if name in TRIED:
            TRIED[name]()
            return True
        return shutil.which(name) is not None or find_spec(name) is not None
    except Exception:  # CuPy says in many ways that a library is missing
        return False


def packages(of: dict[str, str]) -> list[str]:
    """Of what is missing; for the CUDA version of a CuPy that is there, else for 13."""
    try:
        metadata.version("cupy-cuda12x")
        major = 12
    except metadata.PackageNotFoundError:
        major = 13
    return [package.format(major=major) for name, package in of.items() if package and not has(name)]  # fmt: skip


if __name__ == "__main__":
    tables = {"needed": NEEDED, "wanted": WANTED, "dry": {name: name for name in MODULES}}
    for line in packages(tables[sys.argv[1]]):
        print(line)
