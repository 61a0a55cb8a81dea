"""What the GPU kernels compile to: registers, stack, spills, and the instructions of their month.

Usage: ``python bench/gpu_compile.py [--json FILE] [--table] [--only base trio] [--arch sm_90] [--dtype float32]``

Needs no GPU. The compiler is NVRTC (by cuda-bindings, or by CuPy), with the flags of the backend and those that CuPy
adds; where there is none, nvcc. The instructions are those that nvdisasm or cuobjdump lists (pip install
nvidia-cuda-nvdisasm); without one they are those that compile_sm.json has for the same text and architecture.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results" / "gpu"
COMPILED = RESULTS / "compile_sm.json"
ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
DTYPES = ("float32", "float64")
CUPY_ADDS = ("-ftz=true", "--device-as-default-execution-space")
KERNELS: dict[str, tuple[str, dict[str, Any]]] = {
    "base": ("base", {}),
    "trio": ("trio", {"method": "order"}),
    "loans": ("trio", {"method": "monthly"}),
    "rng normal": ("rng", {"kind": "normal"}),
    "rng uniform": ("rng", {"kind": "uniform"}),
    "rng below": ("rng", {"kind": "below"}),
}
"""What is compiled and timed: the model's name and options (see gpu_models)."""
WHOLE_MONTH = 0.2  # a loop is the months' if it holds so much of the kernel

Compiler = Callable[[str, str, tuple[str, ...]], tuple[bytes, str]]
"""Compiles a text for an architecture with flags: the cubin, and the log; RuntimeError holds that of a failure."""


# ---- compilers
def by_bindings() -> tuple[str, Compiler] | None:
    try:
        from cuda.bindings import nvrtc as api

        error, major, minor = api.nvrtcVersion()
    except (ImportError, RuntimeError):  # RuntimeError: the bindings are there, the library is not
        return None
    if error != api.nvrtcResult.NVRTC_SUCCESS:
        return None

    def compiled(text: str, arch: str, flags: tuple[str, ...]) -> tuple[bytes, str]:
        options = [*flags, *CUPY_ADDS, f"-arch={arch}", "--ptxas-options=-v"]
        _, program = api.nvrtcCreateProgram(text.encode(), b"overbuilt.cu", 0, [], [])
        (result,) = api.nvrtcCompileProgram(program, len(options), [x.encode() for x in options])
        _, size = api.nvrtcGetProgramLogSize(program)
        log = b" " * size
        api.nvrtcGetProgramLog(program, log)
        cubin = b""
        if result == api.nvrtcResult.NVRTC_SUCCESS:
            result, size = api.nvrtcGetCUBINSize(program)  # 0 where it made PTX
            cubin = b" " * size
            api.nvrtcGetCUBIN(program, cubin)
        api.nvrtcDestroyProgram(program)
        said = log.decode().strip("\0 \n")
        if result != api.nvrtcResult.NVRTC_SUCCESS or not cubin:
            raise RuntimeError(f"{result.name}\n{said}")
        return cubin, said

    return f"NVRTC {major}.{minor}", compiled


def by_cupy() -> tuple[str, Compiler] | None:
    try:
        from cupy.cuda import nvrtc as api

        version = ".".join(map(str, api.getVersion()))
    except Exception:  # CuPy says in many ways that a library is missing
        return None

    def compiled(text: str, arch: str, flags: tuple[str, ...]) -> tuple[bytes, str]:
        program = api.createProgram(text, "overbuilt.cu", (), ())
        options = (*flags, *CUPY_ADDS, f"-arch={arch}", "--ptxas-options=-v")
        try:
            api.compileProgram(program, options)
        except Exception as error:
            raise RuntimeError(f"{error}\n{api.getProgramLog(program)}") from error
        cubin, log = api.getCUBIN(program), api.getProgramLog(program)
        api.destroyProgram(program)
        return cubin, log

    return f"NVRTC {version}", compiled


def by_nvcc() -> tuple[str, Compiler] | None:
    found = shutil.which("nvcc")
    if found is None:
        return None

    def compiled(text: str, arch: str, flags: tuple[str, ...]) -> tuple[bytes, str]:
        with tempfile.TemporaryDirectory() as folder:
            unit, to = Path(folder, "overbuilt.cu"), Path(folder, "overbuilt.cubin")
            unit.write_text(text, encoding="utf-8")
            options = [*flags, "-ftz=true", f"-arch={arch}", "-cubin", "-Xptxas=-v"]
            command = [found, *options, str(unit), "-o", str(to)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(done.stderr.strip())
            return to.read_bytes(), done.stderr.strip()

    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    release = re.search(r"release ([\d.]+)", said)
    return f"nvcc {release[1] if release else ''}".strip(), compiled


COMPILERS = {"nvrtc": by_bindings, "cupy": by_cupy, "nvcc": by_nvcc}


def compiler(chosen: str | None = None) -> tuple[str, Compiler] | None:
    """The first that is here, or the one that is asked for; None where there is none."""
    wanted = [COMPILERS[chosen]] if chosen else list(COMPILERS.values())
    return next((c for c in (make() for make in wanted) if c is not None), None)


def numbers(log: str) -> dict[str, int]:
    """Registers, stack frame, spill stores and spill loads of the one entry function, in bytes a thread."""
    used = re.search(r"Used (\d+) registers", log)
    frame = re.search(
        r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log
    )
    if used is None or frame is None:
        raise RuntimeError(f"ptxas reported no registers or spills:\n{log}")
    stack, stores, loads = map(int, frame.groups())
    return {"registers": int(used[1]), "stack": stack, "spill stores": stores, "spill loads": loads}


# ---- instructions
@cache
def disassembler() -> tuple[str, ...] | None:
    """The command that lists a cubin's instructions, with labels."""
    places = [Path(p) for p in sys.path if p.endswith("-packages")]
    for name, options in (("nvdisasm", ("-c",)), ("cuobjdump", ("-sass",))):
        wheels = [
            f for p in places for f in p.glob(f"nvidia/**/bin/{name}") if os.access(f, os.X_OK)
        ]
        found = wheels[0] if wheels else shutil.which(name)
        if found:
            return (str(found), *options)
    return None


@dataclass(frozen=True)
class Instruction:
    address: int
    name: str
    target: int | None
    """The address that a branch goes to."""


KINDS = (
    ("local", ("LDL", "STL")),
    ("memory", ("LDG", "STG", "LD", "ST", "LDC", "LDS", "STS", "ULDC", "LDCU", "ATOM", "RED")),
    ("float32", ("FADD", "FMUL", "FFMA", "FMNMX", "FMNMX3", "FSEL", "FSETP", "FSET", "FCHK", "FADD2", "FMUL2", "FFMA2", "HFMA2")),
    ("float64", ("DADD", "DMUL", "DFMA", "DSETP", "DMNMX")),
    ("special", ("MUFU",)),
    ("wide multiply", ("IMAD.WIDE", "IMAD.HI", "UIMAD.WIDE")),
    ("conversion", ("I2F", "I2FP", "F2I", "F2F", "FRND", "F2FP", "I2I")),
    ("control", ("BRA", "BRX", "BSSY", "BSYNC", "CALL", "RET", "EXIT", "WARPSYNC", "BREAK", "JMP", "NOP", "YIELD", "BMOV")),
)  # fmt: skip


def kind(name: str) -> str:
    """The class of an instruction; integer is what no other has, moves and selects among it."""
    parts = name.split(".")
    for title, members in KINDS:
        if parts[0] in members or ".".join(parts[:2]) in members:
            return title
    return "integer"


def listed(text: str) -> list[Instruction]:
    """The instructions of the kernel, in order; the subroutines that follow it are among them."""
    labels: dict[str, int] = {}
    found: list[tuple[int, str, str | None]] = []
    waiting: list[str] = []
    for line in text.splitlines():
        if label := re.match(r"\s*(\.L_\w+|\$?\w+):\s*$", line):
            waiting.append(label[1])
            continue
        code = re.match(
            r"\s*/\*([0-9a-f]{4,})\*/\s+(?:\{\s*)?(?:@!?U?P\w+\s+)?([A-Z][\w.]*)(.*)", line
        )
        if code is None:
            continue
        address = int(code[1], 16)
        labels |= dict.fromkeys(waiting, address)
        waiting = []
        to = re.search(r"`\((\.L_\w+)\)|\b0x([0-9a-f]+)\s*;?\s*(?:/\*|$)", code[3])
        where = (to[1] or f"0x{to[2]}") if to and code[2].startswith(("BRA", "JMP")) else None
        found.append((address, code[2], where))

    def target(where: str | None) -> int | None:
        if where is None:
            return None
        return int(where, 16) if where.startswith("0x") else labels.get(where)

    return [Instruction(a, name, target(where)) for a, name, where in found]


def month(instructions: list[Instruction]) -> list[Instruction]:
    """Those of the loop over the months: the innermost loop that holds most of the kernel.

    Each is counted once, loops inside it too: the true number of a month is larger by the rounds of those, smaller
    by what branches skip. In a month without either it is exact.
    """
    loops = [
        (i.target, i.address) for i in instructions if i.target is not None and i.target < i.address
    ]
    inside = [[i for i in instructions if low <= i.address <= high] for low, high in loops]
    large = [body for body in inside if len(body) >= WHOLE_MONTH * len(instructions)]
    return min(large, key=len, default=[])


def disassembled(cubin: bytes) -> dict[str, Any]:
    """Instructions of the kernel and of its month, in all and by class; empty without a disassembler."""
    command = disassembler()
    if command is None:
        return {}
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run([*command, file.name], capture_output=True, text=True, check=False)
    if done.returncode:
        return {}
    instructions = listed(done.stdout)
    body = month(instructions)
    counted = Counter(kind(i.name) for i in body)
    return {
        "instructions": len(instructions),
        "month": len(body),
        "by class": dict(sorted(counted.items())),
    }


def known(row: dict[str, Any], report: Path) -> dict[str, Any]:
    """What a report counted in the same text for the same architecture; empty where it has none."""
    try:
        rows = json.loads(report.read_text(encoding="utf-8"))["rows"]
    except (OSError, ValueError, LookupError):
        return {}
    same = [r for r in rows if "month" in r and all(r.get(k) == row[k] for k in SAME)]
    counts = {k: same[0][k] for k in ("instructions", "month", "by class")} if same else {}
    return counts and counts | {"counted": report.name}


SAME = ("text", "arch", "dtype", "threads", "residents")


# ---- the report
def cuda_text(economy: Any, dtype: str) -> str:
    """The whole CUDA text of a model."""
    from overbuilt.kernels.emit import emit, source
    from overbuilt.kernels.passes import optimize
    from overbuilt.kernels.trace import trace

    double = dtype == "float64"
    return source(emit(optimize(trace(economy, double))), "cuda", double)


def compiled(
    kernel: str, arch: str, dtype: str, shape: tuple[int, int] = (128, 0), chosen: str | None = None
) -> tuple[bytes, dict[str, Any]]:
    """A kernel's cubin and its row; ``shape`` is threads a block and blocks a multiprocessor (0: free)."""
    from gpu_models import model

    from overbuilt.kernels.backends.cuda import flags

    found = compiler(chosen)
    if found is None:
        raise RuntimeError("no CUDA compiler is here")
    row: dict[str, Any] = {
        "kernel": kernel,
        "arch": arch,
        "dtype": dtype,
        "threads": shape[0],
        "residents": shape[1],
    }
    text = cuda_text(model(*KERNELS[kernel]), dtype)
    row["text"] = hashlib.sha256(text.encode()).hexdigest()[:16]
    start = time.perf_counter()
    cubin, log = found[1](text, arch, flags(*shape))
    seconds = time.perf_counter() - start
    row |= numbers(log) | (disassembled(cubin) or known(row, COMPILED))
    return cubin, row | {"seconds": round(seconds, 1)}


def row_of(what: tuple[str, str, str]) -> dict[str, Any]:
    """The row, or why there is none: for a process of its own."""
    try:
        return compiled(*what)[1]
    except RuntimeError as error:
        return dict(zip(("kernel", "arch", "dtype"), what, strict=True)) | {
            "error": str(error)[:2000]
        }


COLUMNS = ("kernel", "arch", "dtype", "registers", "stack", "spill stores", "spill loads", "instructions", "month", "local", "special")  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """In Markdown; ``local`` and ``special`` are those of the month."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * 3 + "|---:" * (len(COLUMNS) - 3) + "|"]
    for row in rows:
        flat = row | row.get("by class", {})
        if "error" in row:
            flat |= {"registers": "failed"}
        cells = [f"{v:,}" if isinstance(v := flat.get(c, ""), int) else str(v) for c in COLUMNS]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the report there")
    parser.add_argument("--table", action="store_true", help="only print the table of --json FILE")
    parser.add_argument("--only", nargs="+", choices=KERNELS, default=list(KERNELS))
    parser.add_argument("--arch", nargs="+", default=list(ARCHITECTURES))
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=list(DTYPES))
    asked = parser.parse_args()
    if asked.table:
        print(table(json.loads(asked.json.read_text(encoding="utf-8"))["rows"]))
        return 0
    found = compiler()
    if found is None:
        print("error: no CUDA compiler: pip install cuda-bindings 'cuda-toolkit[nvrtc]==13.*'", file=sys.stderr)  # fmt: skip
        return 1
    wanted = [(k, a, d) for k in asked.only for a in asked.arch for d in asked.dtype]
    with ProcessPoolExecutor(min(len(wanted), os.cpu_count() or 1)) as pool:
        rows = list(pool.map(row_of, wanted))
    from machine import commit

    about = {"commit": commit(), "compiler": found[0], "command": "python " + " ".join(sys.argv)}
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n", encoding="utf-8")
    print(f"{found[0]}, commit {about['commit']}\n\n{table(rows)}")
    for row in rows:
        if "error" in row:
            print(f"{row['kernel']} {row['arch']} {row['dtype']}: {row['error']}", file=sys.stderr)
    return 1 if any("error" in row for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
