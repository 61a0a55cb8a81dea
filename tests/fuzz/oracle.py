"""What a config should mean, worked out again: TOML by tomllib, parents underneath, rows by name, declared defaults.

It shares no code with the package but the declarations: fields, their defaults, the shipped files.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from overbuilt.engine.economy import FLOW, SYSTEMS
from overbuilt.engine.locate import CONFIGS
from overbuilt.engine.system import Rows

Values = dict[str, Any]


def meant(path: Path) -> Values:
    """The whole config of a file that is sound."""
    return filled(merged(path))


def merged(path: Path) -> Values:
    """A file over the one that it extends."""
    raw = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    for row in raw.get("limit", []):
        row.setdefault("name", row["metric"])
    parent = raw.pop("extends", None)
    if parent is None:
        return raw
    other = path.parent / parent if parent.endswith(".toml") else CONFIGS / f"{parent}.toml"
    return over(merged(other), raw)


def over(below: Any, above: Any) -> Any:
    """Tables by key, rows by name, anything else replaced."""
    if isinstance(below, dict) and isinstance(above, dict):
        keys = [*below, *(k for k in above if k not in below)]
        return {
            k: over(below[k], above[k]) if k in below and k in above else above.get(k, below.get(k))
            for k in keys
        }
    if is_rows(below) and is_rows(above):
        rows = {r["name"]: r for r in below}
        for row in above:
            rows[row["name"]] = over(rows.get(row["name"], {}), row)
        return list(rows.values())
    return above


def is_rows(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(r, dict) and "name" in r for r in value)


def filled(raw: Values) -> Values:
    """With the default of whatever is not set."""
    systems = raw.get("systems", [s.key() for s in FLOW if not s.on_request])
    whole: Values = {
        "title": raw.get("title", ""),
        "as_of": raw.get("as_of", "2025-12"),
        "months": raw.get("months", 60),
        "systems": systems,
    }
    for key in systems:
        whole[key] = _table(SYSTEMS[key], raw.get(key, {}))
    limits = [{k: v for k, v in r.items() if k != "remove"} for r in _kept(raw.get("limit", []))]
    return whole | ({"limit": limits} if limits else {})


def _table(system: Any, given: Values) -> Values:
    table = {}
    for name, declared in system.fields.items():
        if isinstance(declared, Rows):
            rows = over([dict(r) for r in declared.default], given.get(name, []))
            table[name] = [_row(declared.row, r) for r in _kept(rows)]
        else:
            table[name] = given.get(name, declared.default)
    return table


def _kept(rows: list[Values]) -> list[Values]:
    return [r for r in rows if r.get("remove") is not True]


def _row(kind: Any, given: Values) -> Values:
    return {name: given.get(name, declared.default) for name, declared in kind.fields.items()}


def differences(found: Any, wanted: Any, at: str = "") -> list[str]:
    """Where two configs differ, as dotted keys; rows go by name. A whole number and a float of its value are one."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        lines = [f"{at}.{k}" for k in found.keys() ^ wanted.keys()]
        shared = [k for k in found if k in wanted]
        return lines + [d for k in shared for d in differences(found[k], wanted[k], f"{at}.{k}")]
    if is_rows(found) and is_rows(wanted) and found and wanted:
        a, b = ({r["name"]: r for r in rows} for rows in (found, wanted))
        lines = [] if len(found) == len(a) and len(wanted) == len(b) else [at]
        return lines + differences(a, b, at)
    if isinstance(found, list | tuple) and isinstance(wanted, list | tuple):
        if len(found) != len(wanted):
            return [at]
        pairs = enumerate(zip(found, wanted, strict=True))
        return [d for k, (x, y) in pairs for d in differences(x, y, f"{at}[{k}]")]
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (found, wanted))
    same = float(found) == float(wanted) if numbers else type(found) is type(wanted) and found == wanted  # fmt: skip
    return [] if same else [at]
