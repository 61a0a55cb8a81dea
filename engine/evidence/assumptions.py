"""Assumptions: what a scenario takes as given, and on whose word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..explain import Fact, cited, facts, plain
from ..scenario import Scenario
from ..system import Declared, Parameter, Rows, Setting, System

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("what", "value", "unit", "basis", "source", "as_of")
FACT, ASSUMPTION = "fact", "assumption"


def facts_table() -> pd.DataFrame:
    """what, value, unit, basis, source, as_of: the facts of configs/facts.csv, all of basis ``fact``. The source also
    has the range and the note of each; a fact without a number has NaN."""
    import pandas as pd

    rows = [
        {"what": f.quantity, "value": f.value, "unit": f.unit, "basis": FACT, "source": _told(f), "as_of": f.as_of}
        for f in facts().values()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"value": float})


def _told(fact: Fact) -> str:
    """Source, range and note of a fact."""
    ends = [
        (word, x) for word, x in (("at least", fact.low), ("at most", fact.high)) if x is not None
    ]
    span = " and ".join(f"{word} {plain(x)}" for word, x in ends)
    return "; ".join(part for part in (fact.source, span, fact.note) if part)


def assumptions(scenario: Scenario) -> pd.DataFrame:
    """what, value, unit, basis, source, as_of: what the scenario's systems take as given, in the order of flow.

    A line for each parameter and setting, and for each row of a table, whose value is how many figures it has. Values are
    text, as a config would spell them. The basis is ``fact`` where it rests on one of configs/facts.csv, which
    source and date are then of, else ``assumption``. What the scenario sets otherwise than the default says so.
    """
    import pandas as pd

    rows = []
    for key, system in scenario.economy.systems.items():
        for name, declared in system.fields.items():
            if isinstance(declared, Rows):
                rows += list(_of_table(f"{key}.{name}", declared, system._values[name]))
            else:
                rows.append(_of_field(f"{key}.{name}", declared, system))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(str)


def _of_field(what: str, declared: Declared, system: System) -> dict[str, Any]:
    assert isinstance(declared, Parameter | Setting)
    value, default = system._values[declared.name], declared.default_value()
    line = _based(declared.basis)
    if value != default:
        line = {
            "basis": ASSUMPTION,
            "source": f"set by this scenario; the default is {_spelt(default)} ({declared.basis})",
            "as_of": "",
        }
    unit = declared.unit if isinstance(declared, Parameter) else ""
    return {"what": what, "value": _spelt(value), "unit": unit, **line}


def _of_table(what: str, declared: Rows, rows: list[Any]) -> Iterator[dict[str, Any]]:
    """A line for each row: its source tells it apart from others, not each of its figures."""
    before = {r["name"]: r for r in declared.default}
    for row in rows:
        values = row.values()
        figures = sum(isinstance(d, Parameter) for d in declared.row.fields.values())
        line = _based(str(values.get("source") or declared.basis))
        default = before.get(row.name)
        moved = [k for k, v in (default or {}).items() if k in values and values[k] != v]
        if default is None or moved:
            changed = ", ".join(f"{k} {_spelt(values[k])}" for k in moved) or "the row"
            line = {"basis": ASSUMPTION, "as_of": "", "source": f"set by this scenario: {changed}"}
        yield {"what": f"{what}.{row.name}", "value": f"{figures} figures", "unit": "", **line}


def _based(text: str) -> dict[str, str]:
    """Basis, source and date of a text that may cite facts: ``fact: id``, ``assumption: half-life of five months``."""
    named = [facts()[i] for i in cited(text) if i in facts()]
    if text.startswith("fact:") and named:
        return {
            "basis": FACT,
            "source": "; ".join(f.text() for f in named),
            "as_of": max(f.as_of for f in named),
        }
    return {"basis": ASSUMPTION, "source": text.removeprefix("assumption:").strip(), "as_of": ""}


def _spelt(value: Any) -> str:
    """A value in few figures; a vector's elements one after another, of a matrix how large it is."""
    if isinstance(value, list | tuple):
        if value and isinstance(value[0], list | tuple):
            return f"{len(value)} x {len(value[0])} matrix"
        return ", ".join(_spelt(v) for v in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    return plain(value) if isinstance(value, int | float) else str(value)
