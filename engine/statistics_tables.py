"""Statistics as tables, of which a stored run and a checkpoint are made, and as they are read again.

What is read may be damaged, or made by somebody else: it is never larger in memory than its bytes allow, and nothing
in it is run.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

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
@dataclass(frozen=True)
class Part:
    """A table in pieces, each made when it is asked for: the memory of a whole one is never needed."""

    name: str
    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


def parts_of(s: Statistics) -> Iterator[Part]:
    """The tables of statistics, in the order of TABLES."""
    import pyarrow as pa

    moments = _moments(s)
    yield Part("moments", moments.schema, iter(moments.to_batches()))
    label = pa.dictionary(pa.int32(), pa.string())
    yield Part("histograms", pa.schema({
        "half": pa.int8(), "metric": label, "keys": pa.int64(), "count": pa.int64(), "least": pa.float64(),
        "most": pa.float64(),
    }), _histograms(s))  # fmt: skip
    schema = {"metric": label, "side": label, "path": pa.uint64(), "value": pa.float64()}
    yield Part("tails", pa.schema(schema), _tails(s))
    sample = pa.table({"path": s.sample.paths, **dict(zip(s.names, s.sample.values, strict=True))})
    yield Part("sample", sample.schema, iter(sample.to_batches()))
    del sample
    known = sorted(s.hashes)
    blocks = pa.table({"block": known, "sha256": [s.hashes[b] for b in known]})
    yield Part("blocks", blocks.schema, iter(blocks.to_batches()))


def _moments(s: Statistics) -> pa.Table:
    import pyarrow as pa

    pairs = [(h, n, half[n].moments) for h, half in enumerate(s.halves) for n in s.names]
    return pa.table({
        "half": pa.array([h for h, _, _ in pairs], pa.int8()),
        "metric": [n for _, n, _ in pairs],
        "count": [m.count for _, _, m in pairs],
        **{k: [m.sums[k].text() for _, _, m in pairs] for k in Moments().sums},
    })  # fmt: skip


def _histograms(s: Statistics) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    names = pa.array(s.names, pa.string())
    for number, half in enumerate(s.halves):
        for at, name in enumerate(s.names):
            h = half[name].histogram
            if size := len(h):
                yield pa.record_batch({
                    "half": np.full(size, number, np.int8),
                    "metric": _label(at, size, names),
                    **{k: getattr(h, k) for k in ("keys", "count", "least", "most")},
                })  # fmt: skip


def _tails(s: Statistics) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    names, sides = pa.array(s.names, pa.string()), pa.array(["upper", "lower"])
    for at, name in enumerate(s.names):
        for side, tail in enumerate(s.tails[name]):
            values, paths = tail.found()
            if size := len(values):
                yield pa.record_batch({
                    "metric": _label(at, size, names),
                    "side": _label(side, size, sides),
                    "path": paths,
                    "value": values,
                })  # fmt: skip


def _label(which: int, size: int, names: pa.Array) -> pa.DictionaryArray:
    """A column that says one of the names in every row."""
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(np.full(size, which, np.int32)), names)


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
            Histogram.restored(h["keys"], h["count"], h["least"], h["most"]) if h else Histogram(),
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


@dataclass(frozen=True)
class Labels:
    """A column of a few names: ``codes`` say which of ``names`` stands in each row."""

    codes: NDArray[np.int32]
    names: list[str]

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, row: int) -> str:
        return self.names[int(self.codes[row])]


def columns_of(table: pa.Table) -> dict[str, Any]:
    """A table's columns as NumPy arrays, or Labels. Raises pyarrow's ArrowInvalid for one that is not sound."""
    import pyarrow as pa

    table.validate(
        full=True
    )  # a stream is not checked as it is read, and what follows takes it at its word
    table, found = table.unify_dictionaries(), {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_dictionary(column.type) and column.num_chunks:
            codes = [chunk.indices.to_numpy() for chunk in column.chunks]
            found[name] = Labels(np.concatenate(codes), column.chunk(0).dictionary.to_pylist())
        else:
            found[name] = column.to_numpy()
    return found


def _groups(
    columns: dict[str, Any], keys: tuple[str, ...]
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The other columns by rows of equal keys, which follow each other."""
    n = len(columns[keys[0]])
    change = np.zeros(n, bool)
    change[:1] = True
    for k in keys:
        values = columns[k].codes if isinstance(columns[k], Labels) else columns[k]
        change[1:] |= values[1:] != values[:-1]
    starts = np.append(np.flatnonzero(change), n)
    return {
        tuple(columns[k][a] for k in keys): {c: v[a:b] for c, v in columns.items() if c not in keys}
        for a, b in pairwise(starts)
    }
