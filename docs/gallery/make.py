"""Make the pictures of docs/gallery.md again, with its own commands: ``python docs/gallery/make.py [FOLDER]``.

Runs stay in FOLDER, where one is named, and are not simulated again.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "gallery.md"
MOST = 100_000
"""Bytes of a picture."""
FONT = "Arial, 'Liberation Sans', Helvetica, sans-serif"
"""As wide as the one that the lines were broken for: in a wider one they would be cut off."""


def commands() -> list[list[str]]:
    return [
        shlex.split(line)
        for line in re.findall(r"^\$ (overbuilt .+)$", PAGE.read_text("utf-8"), re.M)
    ]


def smaller(svg: str) -> str:
    """Numbers to a tenth of a pixel, and no words for screen readers, which have the page's own."""
    svg = re.sub(r' (?:aria-[a-z]+|class|role|pointer-events)="[^"]*"', "", svg)
    svg = re.sub(r'<path [^>]*d="(?:M0,0h0v0h0Z)?"[^>]*/>', "", svg)  # backgrounds of nothing
    fonts = re.findall(r' font-family="[^"]*"', svg)
    if fonts:  # said once, at the top
        usual = max(set(fonts), key=fonts.count)
        svg = svg.replace(usual, "").replace("<svg ", f'<svg font-family="{FONT}" ', 1)
    return re.sub(
        r'\b(?:d|transform|x2|y2|x|y)="[^"]+"',
        lambda m: re.sub(r"-?\d+\.\d{2,}", lambda n: f"{float(n[0]):.1f}", m[0]),
        svg,
    )


def make(folder: Path) -> None:
    for command in commands():
        named = [b for a, b in pairwise(command) if a in ("-o", "--out")]
        if command[1] == "run" and (folder / named[0] / "manifest.json").exists():
            continue
        print(shlex.join(command), flush=True)
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        for name in named:
            if name.endswith(".svg"):
                text = smaller((folder / name).read_text("utf-8"))
                (HERE / name).write_text(text, "utf-8")
                print(f"    {name}: {len(text.encode()):,} bytes")
                if len(text.encode()) > MOST:
                    raise SystemExit(f"{name} has more than {MOST:,} bytes")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
        make(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder))
