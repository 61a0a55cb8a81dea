"""A chart's still picture for a page: SVG by vl-convert, cut to what a picture needs, its ids its own."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree

WIDTH = 820
"""Pixels for which a still picture is laid out."""
_SVG = "{http://www.w3.org/2000/svg}"
_TAGS = {
    "svg", "g", "path", "text", "tspan", "rect", "line", "circle", "ellipse", "polygon", "polyline", "defs", "clipPath",
    "linearGradient", "radialGradient", "stop", "title",
}  # fmt: skip
_NUMBER = re.compile(r"-?\d+\.\d{2,}(?:e-?\d+)?")
_REFERENCE = re.compile(r"url\(['\"]?#([^)'\"]+)['\"]?\)")
_NOTHING = "M0,0h0v0h0Z"
_DEFAULT = {("opacity", "1"), ("transform", "translate(0,0)"), ("stroke-width", "1"), ("text-anchor", "start")}  # fmt: skip
_DRAWN = {
    "d", "transform", "x", "y", "x1", "x2", "y1", "y2", "width", "height", "cx", "cy", "r", "points",
}  # fmt: skip
_LOOKS = _DRAWN | {
    "id", "viewBox", "clip-path", "fill", "fill-opacity", "fill-rule", "font-size", "font-style", "font-weight", "offset",
    "opacity", "rx", "ry", "stop-color", "stop-opacity", "stroke", "stroke-dasharray", "stroke-dashoffset",
    "stroke-linecap", "stroke-linejoin", "stroke-opacity", "stroke-width", "text-anchor", "gradientUnits",
    "dominant-baseline", "dx", "dy",
}  # fmt: skip


def still(spec: dict[str, Any], name: str) -> str:
    """The picture of a Vega-Lite spec as an element of HTML. Elements that a picture does not need are dropped:
    so no text of a config becomes a script or a link, whatever it says."""
    import vl_convert

    return clean(str(vl_convert.vegalite_to_svg(json.dumps(spec), allowed_base_urls=[])), name)


def clean(svg: str, name: str) -> str:
    """Only shapes and text; ids begin with ``name``, since a page holds many pictures, and are numbered in order of
    appearance; numbers to a tenth of a pixel."""
    root = ElementTree.fromstring(svg)
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    _clean(root, {str(old): f"{name}-{k}" for k, old in enumerate(ids)})
    width, height = root.get("width"), root.get("height")
    if "viewBox" not in root.attrib and width and height:
        root.set("viewBox", f"0 0 {width} {height}")
    root.set("aria-hidden", "true")  # the figure is labelled by its title and caption
    return ElementTree.tostring(root, encoding="unicode")


def _clean(element: ElementTree.Element, ids: dict[str, str]) -> None:
    element.tag = element.tag.removeprefix(_SVG)
    for key, value in list(element.attrib.items()):
        made = _attribute(key, value, ids)
        if made is None:
            del element.attrib[key]
        else:
            element.set(key, made)
    for child in list(element):
        if child.tag.removeprefix(_SVG) not in _TAGS or _unseen(child):
            element.remove(child)
            continue
        _clean(child, ids)
        if child.tag == "g" and not len(child):
            element.remove(child)


def _attribute(key: str, value: str, ids: dict[str, str]) -> str | None:
    """Its value on the page; None for one that is not needed there, or could be more than a look."""
    if key not in _LOOKS or (key, value) in _DEFAULT:
        return None
    if key == "id":
        return ids.get(value)
    if key in _DRAWN:
        return _NUMBER.sub(_rounded, value)
    if "url(" in value:
        found = _REFERENCE.fullmatch(value)
        return f"url(#{ids[found[1]]})" if found and found[1] in ids else None
    return value


def _unseen(element: ElementTree.Element) -> bool:
    """What only the live chart needs: marks that appear under the pointer, empty paths."""
    return (
        element.get("opacity") == "0"
        or element.get("display") == "none"
        or element.get("d") in ("", _NOTHING)
        or (
            element.get("fill") == "transparent"
            and element.get("stroke") in (None, "none", "transparent")
        )
    )


def _rounded(found: re.Match[str]) -> str:
    text = f"{float(found[0]):.1f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
