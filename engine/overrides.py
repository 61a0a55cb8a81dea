"""Values from the command line: ``--set KEY=VALUE`` and ``--event NAME@MONTH`` over what a config file says."""

from __future__ import annotations

import tomllib
from typing import Any

from . import limits
from .config_file import MAX_NESTING, deeper, default_rows, is_table_of_rows, row_names
from .validate import ConfigError, near, shown

_LONG = 200  # characters of a key that are told
_MOST_DIGITS = 100  # of a month, so that any number that is typed is read, and told as what it is


def parse_override(text: str) -> tuple[str, Any]:
    """``key=value`` of the command line; the value is TOML, or a bare word taken as a string."""
    key, sign, value = text.partition("=")
    key = key.strip()
    if not sign or not key:
        raise ConfigError(
            [f"--set {shown(text)}: should be KEY=VALUE, for example revenue.volatility=0.2"]
        )
    try:
        parsed = tomllib.loads(f"value = {value}")
    except (ValueError, RecursionError):
        return key, value.strip()
    return key, parsed["value"] if len(parsed) == 1 else value.strip()


def parse_event(text: str) -> dict[str, Any]:
    """``NAME@MONTH`` or ``NAME@MONTH:SIZE`` of the command line, as overrides of the stress event of that name."""
    name, at, rest = text.partition("@")
    month, colon, size = rest.partition(":")
    example = "price_war@18, or price_war@18:-0.3 with a size"
    if not at or not name.strip() or not month.strip().isdecimal():
        raise ConfigError([f"--event {shown(text)}: should be NAME@MONTH, for example {example}"])
    if len(month.strip()) > _MOST_DIGITS:
        raise ConfigError([f"--event {shown(text)}: {shown(month)} is no month of a run"])
    event: dict[str, Any] = {"on": True, "month": int(month)}
    if colon:
        try:
            event["size"] = float(size)
        except ValueError:
            raise ConfigError(
                [f"--event {shown(text)}: {shown(size)} is no number; should be {example}"]
            ) from None
    return {f"stress.event.{name.strip()}": event}


def override(raw: dict[str, Any], key: str, value: Any, problems: list[str]) -> None:
    where, parts = f"--set {_told(key)}", key.split(".")
    if parts[0] == limits.KEY:
        parts = limits.split(key, raw.get(limits.KEY))
    if key == "extends":
        problems.append(f"{where}: only a file can extend another; run the other scenario instead")
        return
    if deeper(value, MAX_NESTING):
        problems.append(f"{where}: lists should be nested {MAX_NESTING} deep at most")
        return
    at: Any = raw
    for i, part in enumerate(parts[:-1]):
        so_far = _told(".".join(parts[: i + 1]))
        if isinstance(at, dict):
            if part not in at:
                at[part] = [] if is_table_of_rows(parts[: i + 1]) else {}
            at = at[part]
        else:
            row = _row(at, parts[:i], part)
            if row is None:
                rows = row_names(at, parts[:i])
                problems.append(f"{where}: there is no row {so_far}{near(part, rows)}")
                return
            at = row
        if not isinstance(at, dict) and not (
            isinstance(at, list) and is_table_of_rows(parts[: i + 1])
        ):
            problems.append(
                f"{where}: {so_far} is one value, not a table; set it whole, {so_far}=..."
            )
            return
    if isinstance(at, dict):
        at[parts[-1]] = value
        return
    rows = row_names(at, parts[:-1])
    if isinstance(value, dict):  # a whole row, merged into the one of that name
        row = _row(at, parts[:-1], parts[-1])
        if row is None:
            problems.append(f"{where}: there is no row {_told(key)}{near(parts[-1], rows)}")
        else:
            row.update(value)
        return
    example = _told(f"{'.'.join(parts[:-1])}.{rows[0] if rows else 'NAME'}.{parts[-1]}")
    problems.append(
        f"{where}: should name a row first, for example {example}; rows are {', '.join(rows)}"
    )


def _told(key: str) -> str:
    """A dotted key as it was typed, cut where it is long."""
    return key if len(key) <= _LONG else shown(key)


def _row(rows: list[Any], table: list[str], name: str) -> dict[str, Any] | None:
    """The named row; a default row that the config does not mention is added to be changed."""
    for row in rows:
        if isinstance(row, dict) and row.get("name") == name:
            return row
    if name not in default_rows(table):
        return None
    added: dict[str, Any] = {"name": name}
    rows.append(added)
    return added
