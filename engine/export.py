"""Tables for other programs: Parquet that says its units, CSV that a spreadsheet takes for text where it is text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Docs = Mapping[str, Mapping[str, str]]

_ROW = "in the unit of the row's {0}, which `units` of the schema names"
_SUMS = {
    "nc": "n c", "ncc": "n c^2", "nccc": "n c^3", "ncccc": "n c^4", "s2": "s2", "s2c": "s2 c",
    "s2cc": "s2 c^2", "s3": "s3", "s3c": "s3 c", "s4": "s4",
}  # fmt: skip
COLUMNS: dict[str, dict[str, dict[str, str]]] = {
    "series": {
        "month": {"unit": "month", "doc": "1 for the first"},
        "mean": {"doc": f"mean over the paths, {_ROW.format('variable')}"},
        **{p: {"doc": f"quantile over the paths, {_ROW.format('variable')}"}
           for p in ("p05", "p25", "p50", "p75", "p95")},
        "variable": {"doc": "name of a variable that is reported by month"},
    },
    "sample": {"path": {"unit": "1", "doc": "number of the path"}},
    "tails": {
        "metric": {"doc": "name of a metric: a variable after the last month"},
        "side": {"doc": "upper: the largest values, from the largest down; lower: the smallest"},
        "path": {"unit": "1", "doc": "number of the path"},
        "value": {"doc": f"the metric on that path, {_ROW.format('metric')}"},
    },
    "moments": {
        "half": {"unit": "1", "doc": "0: blocks of an even number, 1: of an odd one"},
        "metric": {"doc": "name of a metric: a variable after the last month"},
        "count": {"unit": "1", "doc": "paths with a finite state"},
        **{s: {"doc": f"sum of {what} over the blocks, exact: numerator / 2^shift in hexadecimal; n is a "
                      "block's count, c its mean, s2, s3, s4 its sums of powers about c"}
           for s, what in _SUMS.items()},
    },
    "histograms": {
        "half": {"unit": "1", "doc": "0: blocks of an even number, 1: of an odd one"},
        "metric": {"doc": "name of a metric: a variable after the last month"},
        "keys": {"unit": "1", "doc": "number of the bin: the leading bits of a float"},
        "count": {"unit": "1", "doc": "paths in the bin"},
        "least": {"doc": f"smallest value in the bin, {_ROW.format('metric')}"},
        "most": {"doc": f"largest value in the bin, {_ROW.format('metric')}"},
    },
    "blocks": {
        "block": {"unit": "1", "doc": "number of a block of 65,536 paths"},
        "sha256": {"doc": "SHA-256 of the metrics of its paths"},
    },
}  # fmt: skip
"""What the columns of a run's tables are, those apart that are metrics themselves."""


def described(
    table: pa.Table,
    columns: Docs,
    about: Mapping[str, str],
    units: Mapping[str, str] = {},
    docs: Mapping[str, str] = {},
) -> pa.Table:
    """The table with what it is about in its schema's metadata, and unit and doc in that of its fields.

    ``units`` and ``docs`` of variables go into the schema as JSON, and into the fields that are variables.
    """
    import pyarrow as pa

    fields = []
    for field in table.schema:
        name = field.name
        own = dict(columns.get(name, {}))
        if name in units and name not in columns:
            own = {"unit": units[name], **({"doc": docs[name]} if docs.get(name) else {})}
        fields.append(field.with_metadata(own) if own else field)
    told: dict[str, Any] = {
        **about,
        "units": json.dumps(dict(units)),
        "docs": json.dumps(dict(docs)),
    }
    meta = {**(table.schema.metadata or {}), **{k.encode(): v.encode() for k, v in told.items()}}
    return table.cast(pa.schema(fields, metadata=meta))


# and the wide forms of the first four, which some spreadsheets take for the same
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def as_text(cell: Any) -> Any:
    """A text that a spreadsheet would take for a formula, behind an apostrophe; anything else as it is."""
    if isinstance(cell, str) and cell.lstrip(" ").startswith(_FORMULA):
        return f"'{cell}"
    return cell


def write_csv(frame: pd.DataFrame, path: str, index: bool = False) -> None:
    """A table as CSV. Its texts, and the names of its rows and columns, are no formulas; its numbers stay numbers."""
    import pandas as pd

    plain = frame.copy()
    for number, kind in enumerate(plain.dtypes):
        if not pd.api.types.is_numeric_dtype(kind):
            plain.isetitem(number, [as_text(cell) for cell in plain.iloc[:, number]])
    plain.columns = pd.Index([as_text(name) for name in plain.columns])
    if index:
        plain.index = pd.Index(
            [as_text(name) for name in plain.index], name=as_text(plain.index.name)
        )
    plain.to_csv(path, index=index)
