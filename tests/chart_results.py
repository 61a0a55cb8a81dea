"""What the tests of charts share: results made of given values, and the pixels of a PNG."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overbuilt.engine.result import Result
from overbuilt.engine.series import series_rows
from overbuilt.engine.statistics import BLOCK, Statistics

Array = NDArray[Any]


def result_of(
    metrics: Mapping[str, Any],
    series: Mapping[str, Any] | None = None,
    *,
    name: str = "made",
    units: Mapping[str, str] | None = None,
    docs: Mapping[str, str] | None = None,
    config: dict[str, Any] | None = None,
    tail: int = 10_000,
    seed: int = 0,
) -> Result:
    """A result whose paths end at these values: ``metrics`` (paths,), ``series`` (months, paths); USD bn if not told.

    A path with a value that is not finite is left out.
    """
    names = tuple(metrics)
    values = np.array([metrics[m] for m in names], np.float64)
    bad = np.where(np.isfinite(values).all(axis=0), 0, 1).astype(np.int32)
    statistics = Statistics(names, tail=tail)
    for start in range(0, values.shape[1], BLOCK):
        part = slice(start, start + BLOCK)
        statistics.add(start // BLOCK, values[:, part], bad[part])
    series = {k: np.asarray(v, np.float64) for k, v in (series or {}).items()}
    record = np.stack(list(series.values()), axis=1) if series else None
    return Result(
        name=name,
        path_count=values.shape[1],
        seed=seed,
        backend="numpy",
        dtype="float64",
        months=len(record) if record is not None else 1,
        statistics=statistics,
        units=dict.fromkeys((*names, *series), "USD bn") | dict(units or {}),
        docs=dict(docs or {}),
        series_names=tuple(series),
        by_month=series_rows(tuple(series), [record]) if record is not None else {},
        seconds={"simulate": 1.0},
        stamp={},
        config=config,
    )


def pixels(png: bytes) -> Array:
    """A PNG of eight bits a channel, decoded: (height, width, channels). W3C PNG, 3rd edition, sections 9 and 10."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed, head = 8, b"", b""
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        head = body if kind == b"IHDR" else head
        packed += body if kind == b"IDAT" else b""
        at += 12 + size
    width, height, depth, colour = struct.unpack(">IIBB", head[:10])
    assert depth == 8
    step = {2: 3, 6: 4}[colour]
    raw = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, 1 + width * step)
    rows: list[Sequence[int]] = []
    above: Sequence[int] = [0] * (width * step)
    for line in raw:
        above = _unfiltered(int(line[0]), line[1:].tolist(), above, step)
        rows.append(above)
    return np.array(rows, np.uint8).reshape(height, width, step)


def _unfiltered(kind: int, line: list[int], above: Sequence[int], step: int) -> list[int]:
    for i in range(len(line)):
        a = line[i - step] if i >= step else 0
        b = above[i]
        c = above[i - step] if i >= step else 0
        p = a + b - c
        nearest = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
        line[i] = (line[i] + (0, a, b, (a + b) // 2, nearest)[kind]) % 256
    return line


def grey(image: Array) -> Array:
    """Its lightness, 0 to 1, as a black and white print shows it (ITU-R BT.709)."""
    colours = image[..., :3].astype(np.float64) / 255.0
    return colours @ np.array([0.2126, 0.7152, 0.0722])
