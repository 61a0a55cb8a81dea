#!/usr/bin/env python3
"""A C++ compiler that counts: as CXX, it builds kernels that say how often each of their instructions ran.

The real compiler (BENCH_CXX) makes assembly with the very flags it is given. At the start of every basic block
one counter is put in, by instructions that leave flags and registers as they were; then it is assembled and
linked. So the counts are of the instructions that run without counters, on any x86-64 machine, with no counter of
the processor. The library exports ``bench_counts``, a 64-bit number for each block, and ``bench_blocks``: a text
with a line for each block, its instructions by class (see ``CLASSES``). Counting is right on one thread only.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

CLASSES = ("arithmetic", "mask", "move", "gather", "divide", "narrow", "scalar")
"""Classes of instructions: of whole vectors arithmetic (with shuffles, conversions and blends), division and root,
gather and scatter, and moves (load, store, broadcast from memory, copy: spills among them); on mask registers; on a
single number in a vector register; and all others."""

_BLOCK_ENDS = re.compile(r"j\w+$|ret|call$|ud2")
_COUNT = """\tleaq -136(%rsp), %rsp
\tmovq %rax, (%rsp)
\tmovq {at}+bench_counts_here(%rip), %rax
\tleaq 1(%rax), %rax
\tmovq %rax, {at}+bench_counts_here(%rip)
\tmovq (%rsp), %rax
\tleaq 136(%rsp), %rsp
"""


def class_of(text: str) -> str:
    """The class of an instruction in AT&T syntax."""
    name, _, operands = text.strip().partition("\t")
    if not operands:
        name, _, operands = name.partition(" ")
    if name.startswith("k"):
        return "mask"
    wide = "%zmm" in operands or "%ymm" in operands
    if not name.startswith("v") or name == "vzeroupper":
        return "narrow" if "%xmm" in operands else "scalar"
    if "gather" in name or "scatter" in name:
        return "gather"
    if not wide:
        return "narrow"
    if "div" in name or "sqrt" in name:
        return "divide"
    memory = "(" in operands
    if name.startswith("vmov") and (memory or "{" not in operands):
        return "move"  # a masked copy between registers is a selection
    if name.startswith(("vbroadcast", "vpbroadcast")):
        return "move"
    return "arithmetic"


def instrumented(assembly: str) -> str:
    """The assembly with a counter in every basic block, and the table of blocks."""
    lines: list[str] = []
    blocks: list[Counter[str]] = []
    fresh = True
    for line in assembly.splitlines():
        text = line.partition("#")[0].strip()
        if text.endswith(":"):
            fresh = True
        elif text and not text.startswith("."):
            if fresh:
                lines.append(_COUNT.format(at=8 * len(blocks)).rstrip("\n"))
                blocks.append(Counter())
                fresh = False
            blocks[-1][class_of(text)] += 1
            fresh = bool(_BLOCK_ENDS.match(text.split()[0]))
        lines.append(line)
    table = "".join(",".join(str(block[c]) for c in CLASSES) + "\\n" for block in blocks)
    return "\n".join(
        [
            *lines,
            "\t.data",
            "\t.globl bench_counts, bench_blocks",
            "\t.balign 64",
            "bench_counts:",
            "bench_counts_here:",
            f"\t.zero {8 * len(blocks)}",
            "bench_blocks:",
            f'\t.asciz "{table}"',
            '\t.section .note.GNU-stack,"",@progbits',
            "",
        ]
    )


def main(arguments: list[str]) -> int:
    real = os.environ["BENCH_CXX"]
    sources = [a for a in arguments if a.endswith((".cpp", ".cc"))]
    if len(sources) != 1 or "-shared" not in arguments:
        return subprocess.run([real, *arguments], check=False).returncode
    to = Path(arguments[arguments.index("-o") + 1])
    flags = [a for a in arguments if a not in (sources[0], "-o", str(to), "-shared")]
    assembly = to.with_suffix(".bench.s")
    done = subprocess.run([real, *flags, "-S", sources[0], "-o", str(assembly)], check=False)
    if done.returncode:
        return done.returncode
    assembly.write_text(instrumented(assembly.read_text()))
    done = subprocess.run([real, "-shared", "-fPIC", str(assembly), "-o", str(to)], check=False)
    assembly.unlink()
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
