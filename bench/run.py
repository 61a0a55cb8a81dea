"""The benchmark suite: the engine against other libraries and against the machine's limit.

Usage: ``python bench/run.py [CASE ...] [--quick] [--json [FILE]]``, ``--list``, ``--table [FILE ...]``

Without a name all cases run. ``--json`` puts each case's rows in FILE as soon as it is done, in place of what an
earlier run found (default: bench/results/MACHINE.json). ``--table`` runs nothing: it writes the tables of
bench/README.md from results.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import machine
import table
from cases import CASES

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
README = HERE / "README.md"
WIDTH = 100


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 if a case fails or a row disagrees, 2 for what cannot be asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--list", action="store_true", help="name the cases and what they are")
    parser.add_argument(
        "--quick", action="store_true", help="seconds a case: to try it, not to publish"
    )
    parser.add_argument(
        "--json", nargs="?", const="", metavar="FILE", help="keep the results there"
    )
    parser.add_argument("--table", nargs="*", metavar="FILE", help="write README.md from results")
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.cases if name not in CASES]:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    if asked.list:
        for name in CASES:
            print(f"{name:11} {importlib.import_module(f'cases.{name}').TITLE}")
        return 0
    if asked.table is not None:
        results = [Path(f) for f in asked.table] or sorted(RESULTS.glob("*.json"))
        README.write_text(
            with_tables(README.read_text(encoding="utf-8"), results), encoding="utf-8"
        )
        return 0
    return run(asked.cases or list(CASES), asked.quick, asked.json)


def run(names: list[str], quick: bool, to: str | None) -> int:
    """Run cases, print their tables, keep their rows."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    about = machine.machine()
    file = None if to is None else Path(to) if to else RESULTS / f"{machine.name(about)}.json"
    out, err = Console(width=WIDTH), Console(stderr=True)
    head = {"commit": machine.commit(), "versions": machine.versions()}
    out.print(
        f"{about['processor']}, {about['cores']} cores, {about['vectors']}; commit {head['commit']}"
    )
    good = True
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        bar = progress.add_task("start", total=None)
        for k, name in enumerate(names, 1):

            def say(text: str, name: str = name, k: int = k) -> None:
                progress.update(bar, description=f"{k}/{len(names)} {name}: {text}"[:WIDTH])

            if not err.is_terminal:
                print(f"{k}/{len(names)} {name} ...", file=sys.stderr, flush=True)
            case = importlib.import_module(f"cases.{name}")
            before, start = machine.load(), time.perf_counter()
            told = f"python bench/run.py {name}" + (" --quick" if quick else "")
            found: dict[str, Any] = head | {"command": told, "load_before": before}
            try:
                made = case.run(quick, say)
                found |= {"rows": made.rows, "skipped": made.skipped, "notes": made.notes}
            except Exception as error:  # the other cases go on
                found["error"] = f"{type(error).__name__}: {error}"
            found["took_s"] = round(time.perf_counter() - start, 1)
            good &= show(case, found, out)
            if file:
                keep(file, about, name, found)
    if file:
        out.print(f"results: {file}")
    return 0 if good else 1


def show(case: Any, found: dict[str, Any], out: Any) -> bool:
    """Print what a case found; whether all of it ran and agreed."""
    if "error" in found:
        out.print(f"\n{case.TITLE}\nFAILED: {found['error']}", markup=False)
        return False
    table.show(case.TITLE, case.COLUMNS, found["rows"], out)
    for line in (*found["notes"], *found["skipped"]):
        out.print(f"  {line}", markup=False, highlight=False)
    out.print(f"  {found['took_s']} s in all; load before: {found['load_before']}", highlight=False)
    return bool(found["rows"]) and all(row.get("agrees", True) for row in found["rows"])


def keep(file: Path, about: dict[str, Any], name: str, found: dict[str, Any]) -> None:
    """Put a case's result in the file; those of other cases stay, if they are of this machine."""
    old = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    cases = old.get("cases", {}) if old.get("machine") == about else {}
    cases = {n: found if n == name else cases[n] for n in CASES if n == name or n in cases}
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(
        json.dumps({"machine": about, "cases": cases}, indent=1) + "\n", encoding="utf-8"
    )
    part.replace(file)


def with_tables(text: str, results: list[Path]) -> str:
    """The page with the table of each case between its marks, ``<!-- rng -->`` and ``<!-- /rng -->``."""
    loaded = [json.loads(file.read_text(encoding="utf-8")) for file in results]
    for name in CASES:
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if start not in text or end not in text:
            raise SystemExit(f"bench/README.md has no {start.strip()} ... {end}")
        head, _, rest = text.partition(start)
        tail = rest.partition(end)[2]
        parts = [tables(name, r) for r in loaded if name in r.get("cases", {})]
        text = head + start + "\n".join(parts) + end + tail
    return text


def tables(name: str, result: dict[str, Any]) -> str:
    """A case's table on a machine, and with what it was made."""
    case, found, about = (
        importlib.import_module(f"cases.{name}"),
        result["cases"][name],
        result["machine"],
    )
    if "error" in found:
        return f"\n{about['processor']}: failed, {found['error']}\n"
    versions = ", ".join(f"{k} {v}" for k, v in found["versions"].items() if k != "compiler")
    lines = [
        "",
        f"`{found['command']}`, commit {found['commit']}; {about['processor']} (family {about['family']}, "
        f"model {about['model']}), {about['cores']} cores, {about['vectors']}"
        f"{', a virtual machine' if about['virtual'] else ''}; load before: {found['load_before']}.",
        f"{versions}; {found['versions'].get('compiler', 'no C++ compiler')}.",
        "",
        table.markdown(case.COLUMNS, found["rows"]),
        "",
        *(f"- {line}" for line in (*found["notes"], *found["skipped"])),
    ]
    return "\n".join(lines).rstrip("\n") + "\n\n"


if __name__ == "__main__":
    sys.exit(main())
