"""Files that ship with the package, and where a config's files are looked for."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

CONFIGS = Path(str(files(__package__.rsplit(".", 1)[0]).joinpath("configs")))


def find_file(name: str, folder: Path | None) -> Path:
    """The file a config names: absolute, beside the config, or among the shipped ones (in this order)."""
    path = Path(name)
    if path.is_absolute():
        return path
    for base in (folder, CONFIGS):
        try:
            if base is not None and (base / path).exists():
                return base / path
        except (OSError, ValueError):  # a name too long, or one with a zero byte
            break
    return (folder or Path.cwd()) / path


def is_plain_file(path: Path) -> bool:
    """Whether a file lies there itself: no link to another place, no folder, no device."""
    try:
        return not path.is_symlink() and path.is_file()
    except (OSError, ValueError):  # a name too long, or one with a zero byte
        return False
