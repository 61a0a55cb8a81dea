"""Compile the CUDA text of a shipped scenario for several GPUs, without a GPU or a driver.

    python .ci/compile_cuda.py [--with nvrtc|cupy|nvcc] [--scenario NAME] [--keep DIR]

Prints for every architecture and precision what ptxas says of registers and spills. The compiler is NVRTC
(pip install cuda-bindings 'cuda-toolkit[nvrtc]'), with the flags that the backend passes and those that CuPy adds;
where it is missing, nvcc if it is on PATH: see bench/gpu_compile.py. Exit status 1 if a compile fails, or if there is
no compiler.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

from gpu_compile import ARCHITECTURES, COMPILERS, DTYPES, compiler, cuda_text, numbers

from overbuilt.engine.scenario import load
from overbuilt.kernels.backends.cuda import FLAGS

COLUMNS = ("arch", "dtype", "registers", "stack", "spill stores", "spill loads", "seconds")


def row(cells: tuple[str, ...]) -> str:
    widths = [max(8, len(c)) for c in COLUMNS]
    pairs = list(zip(cells, widths, strict=True))
    return "  ".join([c.ljust(w) for c, w in pairs[:2]] + [c.rjust(w) for c, w in pairs[2:]])


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "--with", dest="chosen", choices=tuple(COMPILERS), help="default: the first found"
    )
    parser.add_argument("--scenario", default="base")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="also write the CUDA texts there")
    asked = parser.parse_args()
    found = compiler(asked.chosen)
    if found is None:
        print(
            f"error: no CUDA compiler ({asked.chosen or 'NVRTC or nvcc'}): "
            "pip install cuda-bindings 'cuda-toolkit[nvrtc]==13.*', or put nvcc on PATH",
            file=sys.stderr,
        )
        return 1
    name, compile_text = found
    texts = {dtype: cuda_text(load(asked.scenario).economy, dtype) for dtype in DTYPES}
    if asked.keep:
        asked.keep.mkdir(parents=True, exist_ok=True)
        for dtype, text in texts.items():
            Path(asked.keep, f"{asked.scenario}-{dtype}.cu").write_text(text, encoding="utf-8")

    print(
        f"scenario {asked.scenario}, {name}, {' '.join(FLAGS)}; stack and spills in bytes a thread"
    )
    print(row(COLUMNS))
    failed = 0
    for arch in ARCHITECTURES:
        for dtype, text in texts.items():
            start = time.perf_counter()
            try:
                measured = numbers(compile_text(text, arch, FLAGS)[1])
            except RuntimeError as error:
                failed += 1
                print(f"{arch} {dtype}: FAILED", flush=True)
                print(str(error)[:4000], file=sys.stderr)
                continue
            spent = f"{time.perf_counter() - start:.2f}"
            print(row((arch, dtype, *map(str, measured.values()), spent)), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
