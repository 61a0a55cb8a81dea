"""A figure: a question, the chart that answers it, the answer in words, where it is from, and its data."""

from __future__ import annotations

import io
import json
import math
import os
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..export import write_csv
from ..validate import ConfigError
from . import style

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

WIDTH = 720
"""Pixels of a picture, where nothing else is asked for."""
SUFFIXES = (".png", ".svg", ".csv", ".html", ".json")
PANEL, MARGIN = 330, 92
"""Of small multiples: the least width of one, and what its axis takes of it."""
_NAME = re.compile(r"[a-z0-9_-]+")


@dataclass(frozen=True)
class Figure:
    """A chart with all that belongs to it.

    ``chart`` has no title of its own, and is a single or layered view, which fits any width; or ``alt.concat(...)``
    of such views, small multiples that are laid out in as many columns as the width has room for.
    """

    name: str
    """Stem of files and id of elements: a-z, 0-9, _ and -."""
    title: str
    """A question."""
    caption: str
    """One or two sentences that answer it with numbers, and what the marks are."""
    source: str
    """What the data are of: ``200,000 paths of base, seed 0``."""
    data: pd.DataFrame
    """What is drawn, its columns named for people, each unit in its name or in a column of units."""
    chart: alt.TopLevelMixin
    toggle: str = ""
    """``x`` or ``y`` where the reader may switch that axis between linear and log: all of it is positive."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"figure {self.name!r}: should be a-z, 0-9, _ and -")
        if self.toggle not in ("", "x", "y"):
            raise ValueError(
                f"figure {self.name}: toggle {self.toggle!r}; should be x, y or nothing"
            )

    @property
    def panels(self) -> int:
        """How many views it is of: 1, or the small multiples."""
        return len(self.chart.to_dict(validate=False).get("concat", [0]))

    def spec(self, width: int | None = None) -> dict[str, Any]:
        """Vega-Lite as JSON, its data within; without title, caption and source.

        As wide as its container where no ``width`` in pixels is given. Small multiples cannot be: they are laid
        out for ``width``, by default 720; ``FIT`` is how a page lays them out again.
        """
        found: dict[str, Any] = _finite(self.chart.to_dict())
        # altair writes its own default theme; ours replaces it
        found["config"] = style.CONFIG
        if "concat" in found:
            columns, each = columns_of(width or WIDTH, len(found["concat"]))
            found["columns"] = columns
            for view in found["concat"]:
                view["width"] = each
        else:
            found["width"] = width or "container"
            found["autosize"] = {"type": "fit-x", "contains": "padding"}
        return found

    def titled(self, width: int = WIDTH) -> dict[str, Any]:
        """The same with title, caption and source, as a picture has that stands alone."""
        import vl_convert

        made = self._titled(width, 0)
        # what stands beside a plot, its labels, is known only once it is drawn
        drawn = vl_convert.vegalite_to_svg(made, allowed_base_urls=[])
        found = re.search(r'<svg[^>]* width="([0-9.]+)"', drawn)
        over = round(float(found[1])) - width if found else 0
        return self._titled(width, over) if over else made

    def _titled(self, width: int, over: int) -> dict[str, Any]:
        """Plots narrower by ``over`` pixels in all."""
        found = self.spec(width)
        whole = ("$schema", "config", "datasets", "padding")
        kept: dict[str, Any] = {k: found.pop(k) for k in whole if k in found}
        if "concat" in found:
            for view in found["concat"]:
                view["width"] = max(60, view["width"] - math.ceil(over / found["columns"]))
        else:
            found.pop("autosize")  # a view within another cannot be fitted
            found["width"] = max(60, width - MARGIN - over)
        found["title"] = {
            "text": textwrap.wrap(self.title, width // 9) or [""],
            "subtitle": textwrap.wrap(self.caption, int((width - 24) / 6.0)),
        }
        return {
            **kept,
            "padding": 12,
            "vconcat": [found],
            "title": {
                "text": textwrap.wrap(f"Source: {self.source}", int((width - 24) / 5.2)),
                "orient": "bottom",
                "anchor": "start",
                "fontSize": 11,
                "fontWeight": "normal",
                "color": style.FAINT,
            },
        }

    def svg(self, width: int = WIDTH) -> str:
        """The picture, with title, caption and source."""
        import vl_convert

        drawn = str(vl_convert.vegalite_to_svg(self.titled(width), allowed_base_urls=[]))
        # ids are counted on from picture to picture: from 0 in each, so that equal charts are equal files
        ids = {
            name: f"clip{k}"
            for k, name in enumerate(dict.fromkeys(re.findall(r'id="(clip\d+)"', drawn)))
        }
        return re.sub(r'(id="|url\(#)(clip\d+)', lambda m: m[1] + ids.get(m[2], m[2]), drawn)

    def png(self, scale: float = 2, width: int = WIDTH) -> bytes:
        """The same as PNG, ``scale`` pixels for each of its width."""
        import vl_convert

        return bytes(
            vl_convert.vegalite_to_png(self.titled(width), scale=scale, allowed_base_urls=[])
        )

    def csv(self) -> str:
        """Its data. A text that a spreadsheet would take for a formula stays text."""
        target: Any = io.StringIO()
        write_csv(self.data, target)
        return str(target.getvalue())

    def html(self) -> str:
        """A page with the chart, which opens offline: hover shows values, and the axis can be switched."""
        import vl_convert

        bundle: Any = vl_convert.javascript_bundle  # its stub asks for an argument that is optional
        return _PAGE.format(
            title=escape(self.title),
            caption=escape(self.caption),
            source=escape(self.source),
            font=style.FONT,
            bundle=bundle(),
            fit=FIT,
            spec=json.dumps(self.spec()).replace("<", "\\u003c"),
            toggle=json.dumps(self.toggle),
            hidden="" if self.toggle else "hidden",
        )

    def save(self, path: str | os.PathLike[str], width: int = WIDTH) -> Path:
        """Write it, as the suffix says: .png, .svg, .csv, .html, or .json (Vega-Lite); whole or not at all.

        ``width`` is that of a picture. Raises ConfigError for another suffix, or where it cannot be written.
        """
        from ..run_store import write_whole

        target = check_target(path)
        make: Callable[[], bytes] = {
            ".png": lambda: self.png(width=width),
            ".svg": lambda: self.svg(width).encode(),
            ".csv": lambda: self.csv().encode(),
            ".html": lambda: self.html().encode(),
            ".json": lambda: json.dumps(self.titled(width), indent=1).encode(),
        }[target.suffix.lower()]
        content = make()
        write_whole(target, lambda name: Path(name).write_bytes(content))
        return target

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """How a notebook shows it: SVG, which stays sharp; where that is not shown, PNG."""
        import base64

        return {
            "text/plain": f"{self.title}\n{self.caption}\nSource: {self.source}",
            "image/svg+xml": self.svg(),
            "image/png": base64.b64encode(self.png()).decode(),
        }


def _finite(value: Any) -> Any:
    """The same with null for each number that is not finite: JSON has none."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def columns_of(width: int, panels: int) -> tuple[int, int]:
    """Of small multiples: how many beside each other, and the width of the plot in each."""
    columns = max(1, min(panels, 3, (width + 20) // PANEL))
    return columns, max(60, (width - 20 * (columns - 1)) // columns - MARGIN)


def check_target(path: str | os.PathLike[str]) -> Path:
    """The path, if a figure can be written there; else ConfigError. Leaves nothing behind."""
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            [f"{path}: ends in {target.suffix or 'no suffix'}; should be {', '.join(SUFFIXES)}"]
        )
    if target.is_dir():
        raise ConfigError([f"{path}: is a folder; should be a file"])
    folder = target.parent
    if not folder.is_dir():
        raise ConfigError([f"{path}: there is no folder {folder}"])
    if not os.access(folder, os.W_OK):
        raise ConfigError([f"{path}: cannot be written (folder {folder} is read-only)"])
    return target


FIT = """
const overbuiltPanel = PANEL, overbuiltMargin = MARGIN;
function overbuiltFit(spec, width) {
  if (!spec.concat) return spec;
  const columns = Math.max(1, Math.min(spec.concat.length, 3, Math.floor((width + 20) / overbuiltPanel)));
  const each = Math.max(60, Math.floor((width - 20 * (columns - 1)) / columns) - overbuiltMargin);
  return {...spec, columns, concat: spec.concat.map(view => ({...view, width: each}))};
}
function overbuiltIsLog(spec, axis) {
  const found = v => v !== null && typeof v === "object" && (
    (v.encoding && v.encoding[axis] && v.encoding[axis].scale && v.encoding[axis].scale.type === "log") ||
    Object.entries(v).some(([k, x]) => k !== "datasets" && found(x)));
  return !!found(spec);
}
function overbuiltLog(spec, axis, log) {
  if (log === overbuiltIsLog(spec, axis)) return spec;
  const walk = v => {
    if (Array.isArray(v)) return v.map(walk);
    if (v === null || typeof v !== "object") return v;
    const made = Object.fromEntries(Object.entries(v).map(([k, x]) => [k, k === "datasets" ? x : walk(x)]));
    const at = made.encoding && made.encoding[axis];
    if (at && at.field !== undefined && at.scale !== null) {
      at.scale = log ? {type: "log", nice: false} : {type: "linear", zero: true, nice: false};
      if (at.axis) at.axis = {...at.axis, values: null};
    }
    return made;
  };
  return walk(spec);
}
""".replace("= PANEL", f"= {PANEL}").replace("= MARGIN", f"= {MARGIN}")
"""JavaScript for a page: ``overbuiltFit(spec, width)`` lays small multiples out, ``overbuiltLog(spec, "y", true)``
switches an axis; each gives another spec."""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font-family: {font}; color: #222; margin: 1.5rem auto; max-width: 60rem; padding: 0 1rem; }}
h1 {{ font-size: 1.3rem; margin: 0 0 .4rem; }}
p {{ margin: .3rem 0 1rem; line-height: 1.4; color: #595959; }}
#chart {{ width: 100%; }}
label {{ font-size: .9rem; }}
</style></head><body>
<h1>{title}</h1><p>{caption}</p>
<label {hidden}><input type="checkbox" id="log"> log axis</label>
<div id="chart"></div><p>Source: {source}</p>
<script>{bundle}</script>
<script>{fit}
const spec = {spec}, axis = {toggle}, box = document.getElementById("log");
box.checked = axis !== "" && overbuiltIsLog(spec, axis);
function draw() {{
  let made = axis ? overbuiltLog(spec, axis, box.checked) : spec;
  made = overbuiltFit(made, document.getElementById("chart").clientWidth);
  vegaEmbed("#chart", made, {{actions: false, renderer: "svg"}});
}}
box.addEventListener("change", draw);
if (spec.concat) window.addEventListener("resize", later(draw));
function later(f) {{ let t; return () => {{ clearTimeout(t); t = setTimeout(f, 150); }}; }}
draw();
</script></body></html>
"""
