"""The page: sections filled into one HTML file that needs nothing else, and lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..charts.figure import FIT, Figure
from .parts import Section, Text, picture
from .words import day

if TYPE_CHECKING:
    from ..evidence.gather import Evidence
    from ..result import Result

Tell = Callable[[str, float], None]
"""Told what is being made, and the share of all that is done."""
HERE = Path(__file__).parent


@dataclass
class Page:
    """What the template fills in. ``kind``: run report, or comparison of two runs."""

    kind: str
    title: str
    what: str
    made: str
    sections: list[Section]
    footer: str
    warnings: list[str] = field(default_factory=list)


def report(
    result: Result,
    other: Result | None = None,
    evidence: Evidence | None = None,
    *,
    quick: bool = False,
    progress: Tell | None = None,
    today: date | None = None,
) -> str:
    """A run as one HTML page; with ``other`` the two are compared.

    ``evidence`` is what the run did not store (see evidence.gather); it is computed where it is not given. ``quick``
    leaves out what takes longest. Raises ConfigError where the two runs cannot be compared.
    """
    from ..evidence.gather import gather
    from .comparison import compared
    from .sections import single

    tell = progress or (lambda what, share: None)
    when = day(today or date.today())
    if other is not None:
        page = compared(result, other, when, lambda what, share: tell(what, 0.4 * share))
        return render(page, lambda what, share: tell(what, 0.4 + 0.6 * share))
    if evidence is None:
        evidence = gather(result, quick=quick, progress=lambda what, share: tell(what, 0.7 * share))
    page = single(result, evidence, when, quick, lambda what: tell(what, 0.7))
    return render(page, lambda what, share: tell(what, 0.75 + 0.25 * share))


def write_report(
    path: str | os.PathLike[str], result: Result, other: Result | None = None, **options: Any
) -> Path:
    """Write the report of a run, or of two, to a file; it appears whole or not at all."""
    from ..run_store import write_whole

    target = check_target(path)
    text = report(result, other, **options)
    write_whole(target, lambda name: Path(name).write_text(text, encoding="utf-8"))
    return target


def check_target(path: str | os.PathLike[str], option: str = "--out") -> Path:
    """The path, where a report can be written; else ConfigError. Leaves nothing behind."""
    import tempfile

    from ..validate import ConfigError

    target = Path(path)
    folder = target.parent
    try:
        if (
            str(path) == ""
            or "\0" in str(path)
            or target.is_dir()
            or str(path).endswith(("/", os.sep))
        ):
            raise ConfigError([f"{option} {path!s}: should name a file, such as report.html"])
        if not folder.is_dir():
            raise ConfigError([f"{option} {path!s}: there is no folder {folder}"])
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
        target.exists()
    except OSError as error:
        raise ConfigError([f"{option} {path!s}: cannot be written ({error.strerror})"]) from None
    return target


def render(page: Page, tell: Tell = lambda what, share: None) -> str:
    """The HTML of a page: its charts are drawn here, one after the other."""
    import vl_convert
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from ... import __version__

    figures = [p for s in page.sections for p in s.parts if isinstance(p, Figure)]
    drawn: dict[int, Any] = {}
    for k, figure in enumerate(figures):
        tell(f"drawing {figure.name}", k / max(len(figures), 1))
        drawn[id(figure)] = picture(figure)
    shown = [
        replace(s, parts=[drawn.get(id(p), p) for p in s.parts], breaks=s.breaks and not _slight(s))
        for s in page.sections
    ]
    tell("writing the page", 1.0)
    scripts = (
        scripts_of(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")) if figures else []
    )
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("report.html").render(
        page=replace(page, sections=shown), css=_safe((HERE / "report.css").read_text(encoding="utf-8")),
        scripts=[_safe(s) for s in scripts], policy=policy(scripts), version=__version__,
    )  # fmt: skip


def _slight(section: Section) -> bool:
    """Whether it is of a few lines only, and needs no printed page of its own."""
    return all(isinstance(p, Text) for p in section.parts)


def scripts_of(bundle: str) -> list[str]:
    """The page's scripts: Vega and Vega-Lite, and ours. None of them holds anything of the run."""
    ours = (HERE / "report.js").read_text(encoding="utf-8")
    return [bundle.replace("</script", "<\\/script"), f"{FIT}\n{ours}"]


def policy(scripts: list[str]) -> str:
    """Content-Security-Policy: no network, no form, no frame; only the page's own scripts, and no text run as code."""
    allowed = " ".join(f"'sha256-{_sha(s)}'" for s in scripts) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _sha(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _safe(text: str) -> Any:
    """Text of our own files, which needs no escapes."""
    from markupsafe import Markup

    return Markup(text)
