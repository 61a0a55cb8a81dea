"""Write bench/gpu.md: the tables of the compile report, and of each GPU that was measured.

Usage: ``python bench/gpu_page.py``
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gpu_compile import COMPILED, RESULTS
from gpu_compile import table as compiled

PAGE = Path(__file__).resolve().parent / "gpu.md"
HEAD = """# GPU

    $ bench/gpu.sh            # on a machine with a CUDA GPU: checks, figures, peers; eight minutes at most
    $ bench/gpu.sh --dry-run  # anywhere: the plan, and what the kernels compile to
    $ python bench/gpu_page.py  # write this page from bench/results/gpu/

The limit is what a GPU can issue: 32 threads for each of four schedulers of each multiprocessor and each cycle, 3.345e13
thread instructions a second on an H200. *Month* is the number of instructions of the loop over months, each counted once: more
are run where there are loops inside it, fewer where a branch skips some. *Share* of the limit is that number times the
path-months a second, for the kernels whose month is straight code: those of `rng`. base, trio and loans have loops and
branches in a month, so their count says nothing of what ran, and no share is given. `month`, `local` (loads and stores of the
stack) and `special` are counts of that loop.

*Timed*: `kernel` is by CUDA events, results stay on the GPU; `to the host` is by the clock, until the results are in the
host's memory. JAX has streams of its own and is timed that way only: *our run over it* is the fair column for JAX, *our kernel
over it* for the others. All contestants of trio, and all of loans, have the same number of paths, and each is timed by turns with
ours. A peer that is not installed is left out.

Of random numbers, ours adds up in registers. `cuRAND in a kernel` and Warp do the same work. JAX and PyTorch compiled are asked
for the sum, and their compiler decides whether the numbers go through memory. `written` peers (CuPy, cuRAND's host API, PyTorch)
can only fill an array, so they pay for memory too: they are no equal work. They, JAX and PyTorch draw 2^28 numbers, the others 2^32.
"""
NONE = "\n## Measured\n\n**Nothing yet**: no GPU was at hand. No figure on this page is a measured speed.\n"


def number(x: Any) -> str:
    """In three figures; empty for what is not there."""
    return "" if x is None else f"{x:.3g}" if abs(x) < 1e4 else f"{x:.3e}"


def compile_part(report: dict[str, Any]) -> str:
    about = f"{report['compiler']}, commit {report['commit']}, `{report['command']}`."
    return f"\n## Compiled\n\n{about} Stack and spills are bytes a thread.\n\n{compiled(report['rows'])}\n"


def result_part(result: dict[str, Any]) -> str:
    """What a GPU did: its checks in a line, its cases in a table."""
    gpu = (result["machine"]["gpus"] or [{}])[0]
    about = ", ".join(f"{k} {v}" for k, v in gpu.items() if k in ("driver_version", "clocks.max.sm", "power.limit"))  # fmt: skip
    rows = [r for s in result["steps"] for r in s.get("rows", ())]
    checks = [r for r in rows if "check" in r]
    failed = [f"{r['check']} {r.get('model', '')}".strip() for r in checks if not r.get("passed")]
    late = [s["step"] for s in result["steps"] if s.get("late")]
    out = [f"{s['step']} ({s['left out']})" for s in result["steps"] if "left out" in s]
    broken = [f"{s['step']} (exit {s['exit']})" for s in result["steps"] if s.get("exit") and not s["late"]]  # fmt: skip
    which = f" ({', '.join(failed)})" if failed else ""
    lines = [
        f"\n## {gpu.get('name', 'No GPU')}\n",
        f"{about}; commit {result['commit']}; `{result['command']}`. Checks: {len(checks) - len(failed)} passed, "
        f"{len(failed)} failed{which}.",
        *([f"\n**Failed steps:** {'; '.join(broken)}."] if broken else []),
        *([f"\nOut of time: {'; '.join(late)}."] if late else []),
        *([f"\nLeft out: {'; '.join(out)}."] if out else []),
        "\n| case | contestant | timed | best ms | a second | of | our kernel over it | our run over it | share |",
        "|---|---|---|---:|---:|---|---:|---:|---:|",
    ]
    for r in (r for r in rows if "case" in r and "contestant" in r):
        if why := r.get("error") or r.get("left_out"):
            said = ("" if "error" in r else "left out: ") + why.splitlines()[0][:60]
            lines.append(f"| {r['case']} | {r['contestant']} | {said} | | | | | | |")
            continue
        share = f"{100 * r['share']:.0f} %" if "share" in r else ""
        cells = (r["case"], r["contestant"], r.get("timed", ""), number(r.get("ms")), number(r["rate"]), r["unit"].removesuffix("/s"), number(r.get("ours_over_it")), number(r.get("our_run_over_it")), share)  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def page(folder: Path = RESULTS) -> str:
    found = {f.name: json.loads(f.read_text(encoding="utf-8")) for f in sorted(folder.glob("*.json"))}  # fmt: skip
    report = found.pop(COMPILED.name, None)
    parts = [HEAD, *(result_part(r) for r in found.values())] if found else [HEAD, NONE]
    return "".join([*parts, *([compile_part(report)] if report else [])])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
