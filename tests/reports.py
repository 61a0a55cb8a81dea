"""Reports that the tests look at: a large one with hostile texts in it, and runs on the edge of what there is."""

from __future__ import annotations

import dataclasses
from datetime import date
from functools import cache
from html.parser import HTMLParser
from typing import Any

import pandas as pd

import overbuilt
from overbuilt.engine.evidence.gather import Evidence, gather
from overbuilt.engine.report.page import report
from overbuilt.engine.result import Result

DAY = date(2026, 1, 31)
PATHS = 3200
HOSTILE = (
    "<script>window.pwned = 1</script>",
    "</script><script>window.pwned = 1</script>",
    '"><img src=x onerror="window.pwned = 1">',
    "javascript:window.pwned=1",
    "=HYPERLINK('http://example.org')",
    "{{ 7 * 7 }} {% raw %} <!-- <script>",
)
"""Texts that would be something else than text on a page, in a template, in a spreadsheet."""


@cache
def base() -> Result:
    limits = [
        {"name": "credit", "metric": "private_credit.loss.es99", "max": 10.0},
        {"name": "bust", "metric": "cycle.bust > 0.5", "max": 0.99},
    ]
    scenario = overbuilt.load(
        "base", {"limit": limits, "title": f"base: {HOSTILE[0]} {HOSTILE[1]}"}
    )
    return overbuilt.simulate(scenario, PATHS, seed=3)


@cache
def evidence() -> Evidence:
    """What a quick report gathers, the tables that it leaves out, and hostile texts in all of them."""
    found = gather(base(), quick=True)
    found = dataclasses.replace(found, stress=_stress(), tornado=_tornado())
    found.left_out.clear()
    found.used |= dict.fromkeys(("stress", "tornado"), f"{PATHS:,} paths")
    for name, column in (
        ("claims", "title"), ("survival", "firm"), ("stories", "text"), ("facts", "source"), ("facts", "what"),
        ("assumptions", "source"),
    ):  # fmt: skip
        frame = getattr(found, name).copy()
        # a name in place of a name, wherever it stands
        names = list(dict.fromkeys(frame[column].astype(str)))
        frame[column] = frame[column].astype(str).replace(dict(zip(names, HOSTILE, strict=False)))
        setattr(found, name, frame)
    return found


def _stress() -> pd.DataFrame:
    rows = [
        (scenario, scenario, metric, unit, x, 0.8 * x, 2.0 * x, 0.9 * x, 1.1 * x)
        for scenario, factor in (("base", 1.0), ("price_war", 1.4), (HOSTILE[1], 2.0))
        for metric, unit, size in (
            ("private_credit.loss", "USD bn", 80.0),
            ("firms.bankrupt", "count", 2.0),
        )
        for x in (factor * size,)
    ]
    names = ["scenario", "title", "metric", "unit", "mean", "p50", "p95", "low", "high"]
    return pd.DataFrame(rows, columns=names)


def _tornado() -> pd.DataFrame:
    rows = [
        (name, "ratio", 1.0, 0.1, -x, x, 2 * x, 1.8 * x, 2.2 * x, x / 10, told)
        for name, x, told in (
            ("rental.decline", 4.0, True),
            (HOSTILE[2], 2.0, True),
            ("cycle.fading", 0.1, False),
        )
    ]
    names = [
        "parameter",
        "unit",
        "value",
        "step",
        "down",
        "up",
        "effect",
        "low",
        "high",
        "elasticity",
        "told_apart",
    ]
    return pd.DataFrame(rows, columns=names)


@cache
def page() -> str:
    return report(base(), evidence=evidence(), quick=True, today=DAY)


@cache
def small(name: str) -> str:
    """A quick report of a run on the edge: by what is special about it."""
    load, simulate = overbuilt.load, overbuilt.simulate
    made: dict[str, Any] = {
        "textbook": lambda: simulate(load("textbook"), 400, 1, "numpy"),
        "no defaults": lambda: simulate(
            load("textbook", {"private_credit.pd": 1e-15}), 400, 1, "numpy"
        ),
        "very large": lambda: simulate(
            load("textbook", {"private_credit.exposure": 1e15}), 400, 1, "numpy"
        ),
        "one path": lambda: simulate(load("base"), 1, 1),
        "one month": lambda: simulate(load("base"), 64, 1, months=1),
    }
    return report(made[name](), quick=True, today=DAY)


@cache
def comparison() -> str:
    runs = [overbuilt.simulate(overbuilt.load(n), 600, 1) for n in ("base", "linear")]
    return report(runs[0], runs[1], today=DAY)


class Parsed(HTMLParser):
    """Elements with their attributes, in order; text by element."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.unclosed: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unclosed.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def said(self) -> str:
        return " ".join(data for tag, data in self.texts if tag not in ("script", "style"))
