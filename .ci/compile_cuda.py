"""Compile the CUDA text of the shipped scenario for several GPUs, without a GPU or a driver.

    python .ci/compile_cuda.py [--with nvrtc|nvcc] [--scenario NAME] [--keep DIR]

Prints for every architecture and precision what ptxas says of registers and spills. The compiler is
NVRTC (pip install cuda-bindings 'cuda-toolkit[nvrtc]'), with the flags that the backend passes and those
that CuPy adds; where it is missing, nvcc if it is on PATH. Exit status 1 if a compile fails, or if there is
no compiler.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from overbuilt.engine.scenario import load
from overbuilt.kernels.backends.cuda import FLAGS
from overbuilt.kernels.emit import emit, source
from overbuilt.kernels.passes import optimize
from overbuilt.kernels.trace import trace

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
DTYPES = ("float32", "float64")
CUPY_ADDS = ("-ftz=true", "--device-as-default-execution-space")
COLUMNS = ("arch", "dtype", "registers", "stack frame", "spill stores", "spill loads", "seconds")

Compiler = Callable[[str, str], str]
"""Compiles a text for an architecture and returns the log; RuntimeError holds the log of a failure."""


def nvrtc() -> tuple[str, Compiler] | None:
    try:
        from cuda.bindings import nvrtc as api

        error, major, minor = api.nvrtcVersion()
    except (ImportError, RuntimeError):  # RuntimeError: the bindings are there, the library is not
        return None
    if error != api.nvrtcResult.NVRTC_SUCCESS:
        return None

    def compile_text(text: str, arch: str) -> str:
        options = [*FLAGS, *CUPY_ADDS, f"-arch={arch}", "--ptxas-options=-v"]
        _, program = api.nvrtcCreateProgram(text.encode(), b"overbuilt.cu", 0, [], [])
        (result,) = api.nvrtcCompileProgram(program, len(options), [x.encode() for x in options])
        _, size = api.nvrtcGetProgramLogSize(program)
        log = b" " * size
        api.nvrtcGetProgramLog(program, log)
        if result == api.nvrtcResult.NVRTC_SUCCESS:
            result, size = api.nvrtcGetCUBINSize(program)  # says whether it is a cubin, not PTX
        api.nvrtcDestroyProgram(program)
        said = log.decode().strip("\0 \n")
        if result != api.nvrtcResult.NVRTC_SUCCESS or not size:
            raise RuntimeError(f"{result.name}\n{said}")
        return said

    return f"NVRTC {major}.{minor}", compile_text


def nvcc() -> tuple[str, Compiler] | None:
    found = shutil.which("nvcc")
    if found is None:
        return None

    def compile_text(text: str, arch: str) -> str:
        with tempfile.TemporaryDirectory() as folder:
            unit = Path(folder, "overbuilt.cu")
            unit.write_text(text, encoding="utf-8")
            options = [*FLAGS, "-ftz=true", f"-arch={arch}", "-cubin", "-Xptxas=-v"]
            to = str(unit.with_suffix(".cubin"))
            done = subprocess.run(
                [found, *options, str(unit), "-o", to], capture_output=True, text=True, check=False
            )
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return done.stderr.strip()

    version = subprocess.run(
        [found, "--version"], capture_output=True, text=True, check=True
    ).stdout
    release = re.search(r"release ([\d.]+)", version)
    return f"nvcc {release[1] if release else ''}".strip(), compile_text


def numbers(log: str) -> tuple[str, str, str, str]:
    """Registers, stack frame, spill stores and spill loads of the one entry function."""
    used = re.search(r"Used (\d+) registers", log)
    frame = re.search(
        r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log
    )
    if used is None or frame is None:
        raise RuntimeError(f"ptxas reported no registers or spills:\n{log}")
    return used[1], frame[1], frame[2], frame[3]


def row(cells: tuple[str, ...]) -> str:
    widths = [max(8, len(c)) for c in COLUMNS]
    pairs = list(zip(cells, widths, strict=True))
    return "  ".join([c.ljust(w) for c, w in pairs[:2]] + [c.rjust(w) for c, w in pairs[2:]])


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "--with", dest="chosen", choices=("nvrtc", "nvcc"), help="default: the first found"
    )
    parser.add_argument("--scenario", default="base")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="also write the CUDA texts there")
    asked = parser.parse_args()

    makers = {"nvrtc": nvrtc, "nvcc": nvcc}
    wanted = [makers[asked.chosen]] if asked.chosen else list(makers.values())
    found = next((c for c in (make() for make in wanted) if c is not None), None)
    if found is None:
        print(
            f"error: no CUDA compiler ({asked.chosen or 'NVRTC or nvcc'}): "
            "pip install cuda-bindings 'cuda-toolkit[nvrtc]==13.*', or put nvcc on PATH",
            file=sys.stderr,
        )
        return 1
    name, compile_text = found

    economy = load(asked.scenario).economy
    texts = {}
    for dtype in DTYPES:
        double = dtype == "float64"
        texts[dtype] = source(emit(optimize(trace(economy, double))), "cuda", double)
        if asked.keep:
            asked.keep.mkdir(parents=True, exist_ok=True)
            Path(asked.keep, f"{asked.scenario}-{dtype}.cu").write_text(
                texts[dtype], encoding="utf-8"
            )

    print(
        f"scenario {asked.scenario}, {name}, {' '.join(FLAGS)}; stack and spills in bytes a thread"
    )
    print(row(COLUMNS))
    failed = 0
    for arch in ARCHITECTURES:
        for dtype, text in texts.items():
            start = time.perf_counter()
            try:
                measured = numbers(compile_text(text, arch))
            except RuntimeError as error:
                failed += 1
                print(f"{arch} {dtype}: FAILED", flush=True)
                print(str(error)[:4000], file=sys.stderr)
                continue
            print(row((arch, dtype, *measured, f"{time.perf_counter() - start:.2f}")), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
