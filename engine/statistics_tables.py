"""Statistics as tables, of which a stored run and a checkpoint are made, and as they are read again.

What is read may be damaged, or made by somebody else: it is never larger in memory than its bytes allow, and nothing
in it is run.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .exact import ExactSum
from .histogram import Histogram
from .metric import Metric, Moments
from .statistics import BLOCK, Statistics
from .tails import Sample, Tail

if TYPE_CHECKING:
    import pyarrow as pa

TABLES = ("moments", "histograms", "tails", "sample", "blocks")
"""The tables of statistics, in the order in which they are written."""
DAMAGE = (
    KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError, MemoryError, OSError,
)  # fmt: skip
"""What comes of reading tables and JSON that are not what was written, beside the exceptions of Arrow."""
_FEW_CELLS, _CELLS_A_BYTE = 1 << 24, 64


# ---- writing
def tables_of(s: Statistics) -> Iterator[tuple[str, pa.Table]]:
    import pyarrow as pa

    pairs = [(h, n, half[n]) for h, half in enumerate(s.halves) for n in s.names]
    sums = list(Moments().sums)
    yield "moments", pa.table({
        "half": pa.array([h for h, _, _ in pairs], pa.int8()),
        "metric": [n for _, n, _ in pairs],
        "count": [m.moments.count for _, _, m in pairs],
        **{k: [m.moments.sums[k].text() for _, _, m in pairs] for k in sums},
    })  # fmt: skip
    sizes = [len(m.histogram.keys) for _, _, m in pairs]
    yield "histograms", pa.table({
        "half": np.repeat(np.array([h for h, _, _ in pairs], np.int8), sizes),
        "metric": _names([n for _, n, _ in pairs], sizes),
        **{k: np.concatenate([getattr(m.histogram, k) for _, _, m in pairs])
           for k in ("keys", "count", "least", "most")},
    })  # fmt: skip
    sides = [(n, side, *tail.found()) for n in s.names for side, tail in zip(
        ("upper", "lower"), s.tails[n], strict=True)]  # fmt: skip
    sizes = [len(values) for _, _, values, _ in sides]
    yield "tails", pa.table({
        "metric": _names([n for n, _, _, _ in sides], sizes),
        "side": _names([side for _, side, _, _ in sides], sizes),
        "path": np.concatenate([paths for _, _, _, paths in sides]),
        "value": np.concatenate([values for _, _, values, _ in sides]),
    })  # fmt: skip
    values = s.sample.values
    yield "sample", pa.table({"path": s.sample.paths, **dict(zip(s.names, values, strict=True))})
    blocks = sorted(s.hashes)
    yield "blocks", pa.table({"block": blocks, "sha256": [s.hashes[b] for b in blocks]})


def _names(names: list[str], sizes: list[int]) -> Any:
    import pyarrow as pa

    known = list(dict.fromkeys(names))
    index = np.repeat(np.array([known.index(n) for n in names], np.int32), sizes)
    return pa.DictionaryArray.from_arrays(pa.array(index), pa.array(known, pa.string()))


def head_of(s: Statistics) -> dict[str, Any]:
    """What of statistics is in none of their tables, as JSON holds it."""
    return {
        "tail": s.tail,
        "sample": s.sample_size,
        "events": [list(e) for e in s.events],
        "counted": [s.counted[e] for e in s.events],
        "paths": s.paths,
        "bad_paths": s.bad_count,
        "bad": {str(path): month for path, month in s.bad.items()},
        "backends": _stretches(s.backends),
    }


def _stretches(backends: dict[int, str]) -> list[list[Any]]:
    """Backends by block as [backend, first block, last block]."""
    found: list[list[Any]] = []
    for block in sorted(backends):
        if found and found[-1][0] == backends[block] and found[-1][2] + 1 == block:
            found[-1][2] = block
        else:
            found.append([backends[block], block, block])
    return found


# ---- reading
def restore_statistics(head: dict[str, Any], read: Callable[[str], dict[str, Any]]) -> Statistics:
    """Statistics of their head and tables; ``read`` gives the columns of the table of a name."""
    events = tuple((str(m), str(sign), float(t)) for m, sign, t in head["events"])
    sample = read("sample")
    paths = sample.pop("path")
    s = Statistics(tuple(sample), head["tail"], head["sample"], events)
    s.counted = dict(zip(events, head["counted"], strict=True))
    s.paths, s.bad_count = head["paths"], head["bad_paths"]
    s.bad = {int(path): int(month) for path, month in head["bad"].items()}
    s.sample = Sample.restored(s.sample_size, paths, np.stack(list(sample.values())))
    blocks = read("blocks")
    s.hashes = dict(zip(blocks["block"].tolist(), blocks["sha256"].tolist(), strict=True))
    if not 0 <= s.bad_count <= s.paths <= len(s.hashes) * BLOCK:
        raise ValueError(f"{s.paths} paths, {s.bad_count} of them bad, in {len(s.hashes)} blocks")
    known = sorted(s.hashes)
    for name, first, last in head.get("backends", []):
        here = known[bisect_left(known, int(first)) : bisect_right(known, int(last))]
        s.backends |= dict.fromkeys(here, str(name))
    moments = read("moments")
    rows = zip(moments["half"], moments["metric"], moments["count"], strict=True)
    histograms = _groups(read("histograms"), ("half", "metric"))
    for i, (half, name, count) in enumerate(rows):
        sums = {k: ExactSum.parse(moments[k][i]) for k in Moments().sums}
        h = histograms.get((half, name))
        s.halves[half][name] = Metric(
            Moments(int(count), sums),
            Histogram(h["keys"], h["count"], h["least"], h["most"]) if h else Histogram(),
        )
    tails = _groups(read("tails"), ("metric", "side"))
    for name in s.names:
        s.tails[name] = tuple(  # type: ignore[assignment]
            Tail.restored(s.tail, sign, t["value"], t["path"]) if t else Tail(s.tail, sign)
            for side, sign in (("upper", 1), ("lower", -1))
            for t in [tails.get((name, side))]
        )
    return s


def read_table(path: Path) -> pa.Table:
    """A Parquet file that does not hold more than its bytes can: a few can say that a value stands a billion times."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        cells = file.metadata.num_rows * file.metadata.num_columns
        if cells > max(_FEW_CELLS, _CELLS_A_BYTE * path.stat().st_size):
            raise ValueError(f"{path.name} has {cells:,} cells")
        return file.read()


def columns_of(table: pa.Table) -> dict[str, Any]:
    """A table's columns as NumPy arrays."""
    return {n: table.column(n).to_numpy() for n in table.column_names}


def _groups(
    columns: dict[str, Any], keys: tuple[str, ...]
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows of equal keys, which follow each other."""
    n = len(columns[keys[0]])
    change = np.zeros(n, bool)
    for k in keys:
        change[1:] |= columns[k][1:] != columns[k][:-1]
    starts = np.append(np.flatnonzero(change | (np.arange(n) == 0)), n)
    return {
        tuple(columns[k][a] for k in keys): {c: v[a:b] for c, v in columns.items()}
        for a, b in pairwise(starts)
    }
