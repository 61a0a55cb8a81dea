"""Output where the encoding lacks a character: one that looks like it is written instead, of the same width."""

from __future__ import annotations

import codecs
from typing import Any

LOOKS = {
    **dict(zip("▁▂▃▄▅▆▇█", "_.-:=+*#", strict=True)),
    "…": "~", "±": "~", "━": "=", "─": "-", "┃": "|", "│": "|", "░": "-", "▒": "=", "▓": "#", "●": "o",
    "→": ">", "↑": "^", "↓": "v", "–": "-", "—": "-", "“": '"', "”": '"', "‘": "'", "’": "'", "×": "x",  # noqa: RUF001
}  # fmt: skip
HANDLER = "overbuilt.plain"


def look_alike(error: UnicodeError) -> tuple[str, int]:
    """As an error handler of codecs."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(LOOKS.get(c, "?") for c in text), error.end


def make_plain(stream: Any) -> None:
    """Let a stream that cannot write every character write look-alikes, where it would raise."""
    encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("_", "-")
    reconfigure = getattr(stream, "reconfigure", None)
    if encoding.startswith(("utf-8", "utf8")) or reconfigure is None:
        return
    codecs.register_error(HANDLER, look_alike)
    reconfigure(errors=HANDLER)
