"""Every command that the pages in docs/ show is run, in the order of its page, in a folder of its own.

How a page is read (docs/README.md tells whoever writes one):

- ``console``: lines after ``$ `` are commands, the others what they print. A command ends with exit code 0, or with
  the one that ``$ echo $?`` after it shows. Each line shown is among those printed, numbers aside: paths are fewer
  here. ``...`` stands for lines left out.
- ``sh``: a script. ``python``: a script, run. ``toml`` and ``python`` that begin with ``# NAME`` are written to a file
  of that name instead.
- ``<!-- not run: WHY -->`` on the line above a block says why it cannot run here, ``<!-- slow -->`` leaves it to ``-m slow``.

Paths are capped, and native code is compiled without optimization, as it is run for a moment only.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from overbuilt.cli import main

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
RUN = ("console", "sh", "python", "toml")
PATHS = 2_000
FEWER = {"sensitivity": 64, "attribution": 256, "check": 8, "verify": 16}
"""Of commands that make a run for each parameter or group of draws, or use the reference: paths of each."""
QUICK = "report"
FENCE = re.compile(
    r"^(?:<!-- (?:not run: (?P<why>[^\n]+?)|(?P<slow>slow)) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.M | re.S,
)
SHELL = re.compile(r"[|<>;&`*]|\$[({\w]")  # what needs a shell


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    code: str
    why_not: str = ""
    slow: bool = False

    @property
    def name(self) -> str:
        """The file that it is written to; empty where its first line names none."""
        found = re.match(r"# ([\w./-]+\.(?:toml|py))\n", self.code)
        return found[1] if found and self.language in ("toml", "python") else ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, m.start()) + 1,
            m["language"],
            m["code"],
            m["why"] or "",
            bool(m["slow"]),
        )
        for m in FENCE.finditer(text)
    ]


def steps(console: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of a ``console`` block, each with the lines that it is said to print."""
    command, shown = "", list[str]()
    for line in console.splitlines():
        if command.endswith("\\"):
            command = f"{command[:-1].rstrip()} {line.strip()}"
        elif line.startswith("$ "):
            if command:
                yield command, shown
            command, shown = line[2:], []
        else:
            shown.append(line)
    if command:
        yield command, shown


# ---- commands as they are run here
def capped(command: str) -> str:
    """The same with no more paths than are needed to see that it runs."""
    words = shlex.split(command, comments=True) if command.startswith("overbuilt ") else []
    most = FEWER.get(words[1], PATHS) if len(words) > 1 else PATHS

    def fewer(m: re.Match[str]) -> str:
        return f"{m[1]}{min(int(m[2].replace('_', '')), most)}"

    command = re.sub(r"((?:--paths |\bpaths=))([\d_]+)", fewer, command)
    if len(words) > 1 and words[1] in ("sensitivity", "attribution") and "--paths" not in words:
        command += f" --paths {most}"
    command = re.sub(r"--top \d+", "--top 999", command)  # fewer paths rank otherwise
    if len(words) > 1 and words[1] == QUICK and "--quick" not in words:
        command += " --quick"
    return command


class Session:
    """A page's commands, one after the other in its folder."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "page"
        self.folder.mkdir()
        shims = folder / "bin"
        shims.mkdir()
        self._shim(shims / "overbuilt", "-c 'from overbuilt.cli import main; main()'")
        self._shim(shims / "python", "")
        self._shim(shims / "pytest", "-m pytest -p no:cacheprovider")
        monkeypatch.chdir(self.folder)
        monkeypatch.setenv("PATH", f"{shims}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("OVERBUILT_NATIVE_TARGET", "-march=native -O0")
        monkeypatch.setenv("NO_COLOR", "1")
        self.code = 0

    def _shim(self, file: Path, what: str) -> None:
        file.write_text(f'#!/bin/sh\nexec "{sys.executable}" {what} "$@"\n', encoding="utf-8")
        file.chmod(0o755)

    def run(self, command: str) -> str:
        """What it prints; ``code`` is its exit code."""
        if command.startswith("overbuilt ") and not SHELL.search(
            re.sub(r"'[^']*'|\"[^\"$`]*\"", "", command)
        ):
            done = CliRunner().invoke(main, shlex.split(command, comments=True)[1:])
            if done.exception is not None and not isinstance(done.exception, SystemExit):
                raise done.exception
            self.code = done.exit_code
            return done.output
        shell = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, stdin=subprocess.DEVNULL, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False,
        )  # fmt: skip
        self.code = shell.returncode
        return shell.stdout


def words(text: str) -> str:
    """Its words, without numbers and rules, a space apart."""
    found = re.findall(r"\S+", text)
    return " ".join(w for w in found if not re.search(r"\d", w) and re.search(r"[^\W_]", w))


def label(line: str) -> str:
    """What a line begins with, after a number and up to the next: the name of a row."""
    found = line.split()
    while found and re.match(r"[\d.,±<>+-]+\w?$|[\d-]+$", found[0]):
        found.pop(0)
    kept = []
    for word in found:
        if re.search(r"\d|^[-+<>±]", word):
            break
        kept.append(word)
    return words(" ".join(kept))


def play(session: Session, block: Block) -> None:
    """Run a block, and fail where it does not do what its page says."""
    if block.name:
        target = session.folder / block.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(capped(block.code), encoding="utf-8")
    elif block.language == "python":
        (session.folder / "block.py").write_text(capped(block.code), encoding="utf-8")
        printed = session.run("python block.py")
        assert session.code == 0, f"{block}: exit {session.code}\n{printed}"
    elif block.language == "sh":
        script = "\n".join(capped(line) for line in block.code.splitlines())
        printed = session.run(f"set -eu\n{script}")
        assert session.code == 0, f"{block}: exit {session.code}\n{printed}"
    elif block.language == "console":
        _converse(session, block)


def _converse(session: Session, block: Block) -> None:
    said = list(steps(block.code))
    for number, (command, shown) in enumerate(said):
        if command == "echo $?":
            continue
        after = said[number + 1] if number + 1 < len(said) else ("", [])
        want = int(after[1][0]) if after[0] == "echo $?" else 0
        printed = session.run(capped(command))
        assert session.code == want, f"{block}: {command}: exit {session.code}\n{printed}"
        for target in re.findall(r"(?:--out|-o|--graph) ([\w./-]+)", command):
            assert (session.folder / target).exists(), f"{block}: {command}: no {target}"
        there = words(printed)
        for line in shown:
            assert label(line) in there, f"{block}: {command}: prints no {label(line)!r}\n{printed}"


# ---- the tests
def runs(page: Path) -> bool:
    return any(b.language in RUN and not b.why_not for b in blocks(page))


@pytest.mark.parametrize("page", [p for p in PAGES if runs(p)], ids=lambda p: p.stem)
def test_the_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(tmp_path, monkeypatch)
    for block in blocks(page):
        if not block.why_not and not block.slow:
            play(session, block)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [p for p in PAGES if any(b.slow for b in blocks(p))], ids=lambda p: p.stem
)
def test_the_page_runs_with_what_is_slow(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(tmp_path, monkeypatch)
    for block in blocks(page):
        if not block.why_not:
            play(session, block)


def inline(text: str) -> list[str]:
    """Commands in the prose and in tables, as far as they are whole."""
    rest = FENCE.sub("", text)
    found = re.findall(r"`(overbuilt (?!is )[a-z][^`\n]*)`", rest)
    found = [line for line in found if "..." not in line]
    found = [re.sub(r" N$", " 0", line) for line in found]
    return [f"{line} X" if line.endswith(" --resume") else line for line in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_commands_in_the_prose_parse(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    unrun = [c for b in blocks(page) if b.why_not for c in b.code.splitlines()]
    unrun = [re.sub(r"^\$ |\s+&$", "", c) for c in unrun]
    for line in inline(text) + [c for c in unrun if re.match(r"overbuilt [a-z].*[^\\]$", c)]:
        _, name, *rest = shlex.split(line, comments=True)
        context = click.Context(main, info_name="overbuilt", **main.context_settings)
        command = main.get_command(context, name)
        assert command is not None, f"{page}: {line}"
        if rest:  # a command alone is a name
            command.make_context(name, rest, parent=context)


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    plain = re.sub(r"`|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return {slug(h) for h in re.findall(r"^#+ (.+)$", text, re.M)}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda p: p.stem)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.is_relative_to(ROOT), f"{page}: {link} leaves the repository"
        assert target.exists(), f"{page}: {link}"
        assert not anchor or anchor in anchors(target), f"{page}: {link}"


def test_every_page_is_reached() -> None:
    """From docs/README.md, which the README names."""
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert page.name == "README.md" or f"({page.relative_to(DOCS)})" in index, page


def test_pictures_are_small() -> None:
    pictures = [p for p in DOCS.rglob("*") if p.suffix in (".png", ".svg")]
    assert pictures
    assert all(p.stat().st_size < 100_000 for p in pictures)
    assert sum(p.stat().st_size for p in pictures) < 1_500_000


# ---- and the reading itself
@pytest.mark.parametrize(
    ("line", "want"),
    [
        (" 10 a fire sale feeds on itself   70.34 ±0.09", "a fire sale feeds on itself"),
        ("private_credit.loss mean     49.9    98.22", "private_credit.loss mean"),
        (" 12  2026-12  fleet   chips written down by 11.6 USD bn", "fleet chips written down by"),
        ("...", ""),
    ],
)
def test_the_name_of_a_row(line: str, want: str) -> None:
    assert label(line) == want


def test_a_page_that_is_wrong_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(tmp_path, monkeypatch)
    page = DOCS / "wrong.md"
    for code in (
        "$ overbuilt check nosuch\n",
        "$ overbuilt check textbook\n$ echo $?\n2\n",
        "$ overbuilt check textbook\ntextbook: broken\n",
        "$ false | true; exit 3\n",
    ):
        with pytest.raises(AssertionError):
            play(session, Block(page, 1, "console", code))
    play(session, Block(page, 1, "console", "$ overbuilt check nosuch\n$ echo $?\n2\n"))
    with pytest.raises(AssertionError):
        play(session, Block(page, 1, "python", "raise SystemExit(1)\n"))


def test_paths_are_capped() -> None:
    assert capped("overbuilt run base --paths 1000000") == f"overbuilt run base --paths {PATHS}"
    assert capped("overbuilt run base --paths 50") == "overbuilt run base --paths 50"
    assert capped("simulate(x, paths=100_000)") == f"simulate(x, paths={PATHS})"
    assert capped("overbuilt attribution base").endswith("--paths 256")
