"""Rows that outlive the process that writes them: a JSON object a line, written as each is found."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

VARIABLE = "OVERBUILT_BENCH_ROWS"
Row = dict[str, Any]


def write(**row: Any) -> None:
    """Print the row, and append it to the file that the environment names."""
    line = json.dumps(row, default=float)
    print(line, flush=True)
    if place := os.environ.get(VARIABLE):
        with open(place, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def read(place: Path) -> list[Row]:
    """The rows of a file; a line that a process was killed in is left out."""
    rows = []
    for line in place.read_text(encoding="utf-8").splitlines() if place.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def each(actions: dict[str, Callable[[], object]], wanted: list[str], about: str) -> int:
    """Run some actions; one that fails is a row, and the others go on. Exit status 1 if any failed."""
    failed = 0
    for name in wanted or list(actions):
        try:
            actions[name]()
        except Exception as error:
            failed = 1
            where = traceback.extract_tb(error.__traceback__)[-1]
            at = f"{Path(where.filename).name}:{where.lineno}"
            write(**{about: name, "error": f"{type(error).__name__}: {error}"[:1500], "at": at})
    return failed
