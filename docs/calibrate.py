"""Fit the engine's assumptions to real data and print each fit beside the value that ships.

    python docs/calibrate.py [--data DIR] [--write]

The data are described in the README.md of their folder; the text to the fits is docs/calibration.md, whose tables
``--write`` renews. Exit code 2 if a file is missing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from calibration import build_out, busts, credit, rentals, revenue, spreads
from calibration.report import Data, MissingDataError, Section, summary

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "calibration.md"
DATA = ROOT.parent / "shared" / "data"
PARTS = (rentals, busts, spreads, credit, revenue, build_out)


def sections(data: Data) -> list[Section]:
    """All fits, in the order of the page."""
    return [part.fit(data) for part in PARTS]


def with_tables(page: str, found: Sequence[Section]) -> str:
    """The page with its tables renewed: what stands between ``<!-- key -->`` and ``<!-- /key -->``."""
    for s in found:
        opening, closing = f"<!-- {s.key} -->", f"<!-- /{s.key} -->"
        if page.count(opening) != 1 or page.count(closing) != 1:
            raise ValueError(f"{PAGE.name} should have one {opening} and one {closing}")
        before, rest = page.split(opening)
        page = f"{before}{opening}\n{s.markdown()}\n{closing}{rest.split(closing)[1]}"
    return page


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=DATA, help="the data folder (default: ../shared/data)"
    )
    parser.add_argument(
        "--write", action="store_true", help="renew the tables of docs/calibration.md"
    )
    asked = parser.parse_args(arguments)
    try:
        found = sections(Data(asked.data))
    except MissingDataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n\n\n".join(s.text() for s in found))
    print("\n\n" + summary(found))
    if asked.write:
        PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
