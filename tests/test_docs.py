"""What the README says holds: its commands parse, its example scenario loads, its names are there."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import click
import pytest

import overbuilt
from overbuilt.cli import main
from overbuilt.engine.locate import CONFIGS

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"


def readme() -> str:
    return README.read_text(encoding="utf-8")


def blocks(text: str) -> list[tuple[str, str]]:
    """Code blocks as (language, code): fenced ones, and those indented by four spaces."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return fenced + [("", code) for code in re.findall(r"(?:^ {4}.*\n)+", rest, re.MULTILINE)]


def command_lines(text: str) -> list[str]:
    """Every ``overbuilt ...`` of the README's code blocks, of its tables and of its prose."""
    lines = [line for _, code in blocks(text) for line in code.splitlines()]
    parts = [part for line in lines for part in re.split(r"&&|\|\||;", line)]
    parts += re.findall(r"`(overbuilt [^`\n]+)`", text)
    plain = [re.sub(r"^\s*(\$\s+)?", "", part).split("  #")[0].strip() for part in parts]
    return [line for line in plain if re.match(r"overbuilt\s+[a-z]", line)]


def parse(line: str) -> click.Context:
    """Parse a line with the command line's own parser, and run nothing."""
    _, name, *rest = shlex.split(line)
    # with the group's own settings: click remembers a command's help option from its first context
    context = click.Context(main, info_name="overbuilt", **main.context_settings)
    command = main.get_command(context, name)
    if command is None:
        raise click.UsageError(f"no command {name!r}")
    return command.make_context(name, rest, parent=context)


def test_the_readme_names_every_command() -> None:
    for name in main.list_commands(click.Context(main)):
        assert f"overbuilt {name}" in readme()


def test_the_readme_names_every_option_of_run() -> None:
    for option in main.commands["run"].params:
        if isinstance(option, click.Option):
            assert option.opts[0] in readme()


def test_the_readme_has_command_lines() -> None:
    assert len(command_lines(readme())) >= 5


@pytest.mark.parametrize("number", range(len(command_lines(readme())) if README.exists() else 0))
def test_a_command_of_the_readme_parses(number: int) -> None:
    parse(command_lines(readme())[number])


def test_the_commands_in_help_parse() -> None:
    texts = [main.help or "", *(command.help or "" for command in main.commands.values())]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    found = [line for line in lines if line.startswith("overbuilt ")]
    assert len(found) >= 4
    for line in found:
        parse(line)


@pytest.mark.parametrize(
    "line",
    ["overbuilt rnu base", "overbuilt run base --path 3", "overbuilt claims", "overbuilt run a b"],
)
def test_a_line_that_would_not_run_does_not_parse(line: str) -> None:
    with pytest.raises(click.UsageError):
        parse(line)


def test_the_scenario_of_the_readme_loads(tmp_path: Path) -> None:
    examples = [code for language, code in blocks(readme()) if language == "toml"]
    assert examples
    for number, code in enumerate(examples):
        for book in re.findall(r'book = "(.+?)"', code):
            shutil.copy(CONFIGS / "book.csv", tmp_path / book)
        path = tmp_path / f"example{number}.toml"
        path.write_text(code, encoding="utf-8")
        assert overbuilt.load(path).title == tomllib.loads(code).get("title", "")


def test_the_python_of_the_readme_uses_what_there_is() -> None:
    examples = [
        code for language, code in blocks(readme()) if language == "python" and "@@" not in code
    ]
    assert examples
    for code in examples:
        for node in ast.walk(ast.parse(code)):
            if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
                continue
            if node.value.id == "overbuilt":
                assert node.attr in overbuilt.__all__
            if node.value.id == "result":
                fields = overbuilt.Result.__dataclass_fields__
                assert hasattr(overbuilt.Result, node.attr) or node.attr in fields


def test_the_readme_names_every_shipped_scenario() -> None:
    for name in overbuilt.shipped():
        assert f"`{name}`" in readme()


def test_the_files_that_the_readme_names_are_there() -> None:
    text = readme()
    named = re.findall(r"`((?:configs|tests|bench|docs)/[\w./]+)`", text) + re.findall(
        r"\]\(([\w./]+)\)", text
    )
    assert named
    for name in named:
        assert (ROOT / name).exists(), name


def test_the_variables_that_the_readme_names_are_read() -> None:
    source = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "kernels").rglob("*.py"))
    for name in set(re.findall(r"OVERBUILT_\w+", readme())):
        assert f'"{name}"' in source, name


def test_the_readme_has_no_gaps() -> None:
    assert "@@" not in readme()
    assert "TODO" not in readme()


def test_the_package_and_its_metadata_have_one_version() -> None:
    root = Path(overbuilt.__file__).parent
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == overbuilt.__version__
