"""What each system of ``base`` costs: ``overbuilt run base --profile``, on native."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from contest import Row, Say
from table import Column

from . import Found
from .start import kept_in, words_of

TITLE = "profile: the time of base with each system less the time with it held still"
COLUMNS = (
    Column("system", "system"),
    Column("ns", "ns per path-month", "number"),
    Column("share", "share", "percent"),
    Column("operations", "operations", "whole"),
    Column("best_s", "best without it", "seconds"),
    Column("compile_s", "compile without it", "seconds"),
)


def run(quick: bool, say: Say) -> Found:
    """A row for each system in the order of flow, and the whole, whose seconds are with all."""
    scenario, paths = ("textbook", 4_096) if quick else ("base", 16_384)
    command = f"overbuilt run {scenario} --paths {paths} --backend native --profile --format json"
    say(command)
    with tempfile.TemporaryDirectory(prefix="overbuilt-bench-") as folder:
        environment = kept_in(Path(folder))
        done = subprocess.run(words_of(command), capture_output=True, check=True, env=environment)
    found = json.loads(done.stdout)["profile"]
    per = 1e9 / (found["paths"] * found["months"])
    rows: list[Row] = [
        {
            "system": c["system"],
            "ns": c["seconds"] * per,
            "share": c["share"],
            "operations": c["operations"],
            "best_s": c["held"],
            "compile_s": c["compile"],
        }
        for c in found["costs"]
    ]
    rows.append(
        {
            "system": "the whole",
            "ns": found["seconds"] * per,
            "share": 1.0,
            "operations": found["operations"],
            "best_s": found["seconds"],
            "compile_s": found["compile"],
        }
    )
    notes = [
        f"`{command}`: best of {found['runs']} runs by turns; the whole's second best took "
        f"{100 * found['spread']:.1f} % more, so smaller shares say little."
    ]
    return Found(rows, [], notes)
