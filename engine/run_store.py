"""Runs on disk: a folder from which everything that the paths said can be read again, and checked.

manifest.json      how it was run, its whole config, its digest, and the SHA-256 of every other file
summary.csv        a row for each metric
intervals.csv      a row for each metric and statistic, with its interval
series.parquet     variables by month
moments.parquet    count and exact sums of each metric, by half of the blocks
histograms.parquet counts by bin, by half
tails.parquet      the extreme values of each metric with their paths
sample.parquet     the values of a random sample of the paths
blocks.parquet     the SHA-256 of every block's values
book.csv, ...      the files that the config names
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .export import COLUMNS, described, write_csv
from .locate import is_plain_file
from .scenario import Scenario, restore
from .statistics_tables import (
    DAMAGE,
    columns_of,
    head_of,
    parts_of,
    read_table,
    restore_statistics,
)
from .validate import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

    from .result import Result

FORMAT = 2
MANIFEST = "manifest.json"
RUNNING = "running"
UNFINISHED = (RUNNING, "stopped", "failed")
"""The states of a run that goes on with ``--resume``, and is not replaced."""
ROWS = 1 << 17
"""Rows of a group of Parquet, which is held in memory while it is written."""
MAX_MANIFEST = 1 << 26
_URL = re.compile(r"[a-z][a-z0-9+.-]*(::[a-z][a-z0-9+.-]*)*://")


def is_url(text: str) -> bool:
    """Whether this names a remote folder (see remote) rather than one here."""
    return _URL.match(text) is not None


def is_run(text: str) -> bool:
    """Whether this names the folder of a run, here or at a URL."""
    if is_url(text):
        from .remote import exists

        return exists(text)
    try:
        return (Path(text) / MANIFEST).is_file()
    except (OSError, ValueError):  # a name too long, or one with a zero byte
        return False


# ---- writing
def save(result: Result, folder: str | os.PathLike[str]) -> Path:
    """Write a run to a folder here; each file appears whole or not at all, the manifest last."""
    import pyarrow.parquet as pq

    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    config, books = own_files(scenario_of(result) if result.config is not None else None)
    written: dict[str, str] = {}

    def put(name: str, write: Callable[[str], Any]) -> None:
        write_whole(target / name, write)
        written[name] = sha256(target / name)

    put("summary.csv", lambda p: write_csv(result.summary(), p, index=True))
    put("intervals.csv", lambda p: write_csv(result.intervals(), p))
    if result.series_names:
        put("series.parquet", lambda p: pq.write_table(_series_table(result), p))
    for part in parts_of(result.statistics):
        told = _told(part.name, part.schema.empty_table(), result, result.statistics.names)
        put(f"{part.name}.parquet", partial(_write_parts, told.schema, part.batches))
    for name, source in books.items():
        put(name, partial(shutil.copyfile, source))
    manifest = result.manifest() | {
        "format": FORMAT,
        "status": result.status,
        "identity": result.identity,
        "config": config,
        "statistics": head_of(result.statistics),
        "files": written,
    }
    text = json.dumps(manifest, indent=2, allow_nan=False) + "\n"
    write_whole(target / MANIFEST, lambda p: Path(p).write_text(text, encoding="utf-8"))
    return target


def own_files(model: Scenario | None) -> tuple[dict[str, Any] | None, dict[str, Path]]:
    """The config as it is stored, with the files that it names beside it; and where they are now."""
    if model is None:
        return None, {}
    values: dict[str, Any] = json.loads(json.dumps(model.values))
    books = {}
    for (key, field), source in model.files().items():
        name = f"{field}{source.suffix}"
        values[key][field] = name
        books[name] = source
    return values, books


def _series_table(result: Result) -> pa.Table:
    import pandas as pd
    import pyarrow as pa

    parts = [
        result.series(name).reset_index().assign(variable=name) for name in result.series_names
    ]
    table = pa.Table.from_pandas(pd.concat(parts, ignore_index=True), preserve_index=False)
    return _told("series", table, result, result.series_names)


def _write_parts(schema: pa.Schema, batches: Iterator[pa.RecordBatch], path: str) -> None:
    """Parquet of a table in pieces, joined to row groups of ROWS rows or somewhat more."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        held: list[pa.RecordBatch] = []
        for batch in batches:
            held.append(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
            if sum(b.num_rows for b in held) >= ROWS:
                writer.write_table(pa.Table.from_batches(held))
                held.clear()
        if held:
            writer.write_table(pa.Table.from_batches(held))


def _told(name: str, table: pa.Table, result: Result, variables: tuple[str, ...]) -> pa.Table:
    """A table of a run that says what it is, with units."""
    about = {"scenario": result.name, "table": name}
    units, docs = ({v: told[v] for v in variables} for told in (result.units, result.docs))
    return described(table, COLUMNS[name], about, units, docs)


def write_whole(path: Path, write: Callable[[str], Any]) -> None:
    """Write a file so that it appears whole or not at all, and lasts."""
    temporary = path.parent / f".{path.name}.{os.getpid()}"
    try:
        write(str(temporary))
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# ---- reading
def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest of a run. Raises ConfigError where there is none, or it is of another format."""
    path = local_copy(folder) / MANIFEST
    try:
        if path.stat().st_size > MAX_MANIFEST:
            raise ConfigError([f"{path}: should be smaller than {MAX_MANIFEST:,} bytes"])
        text = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            [f"{folder}: no run lies there; it should be a folder that --out wrote"]
        ) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror or error})"]) from None
    return parse_manifest(text, str(path))


def parse_manifest(text: bytes, where: str) -> dict[str, Any]:
    """The manifest of a text, which lies at ``where``. Raises ConfigError where it is none, or of another format."""
    try:
        found = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        raise ConfigError([f"{where}: is damaged; it should be JSON"]) from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        kind = found.get("format") if isinstance(found, dict) else None
        raise ConfigError(
            [f"{where}: format = {kind!r}: should be {FORMAT}; run it again with this version"]
        )
    return found


def local_copy(folder: str | os.PathLike[str]) -> Path:
    """The folder; of one at a URL, its copy in the cache."""
    if not is_url(str(folder)):
        return Path(folder)
    from .remote import fetched

    return fetched(str(folder))


def check_files(folder: str | os.PathLike[str], manifest: dict[str, Any]) -> list[str]:
    """A line for each file that is missing or not as it was written; one that lies elsewhere is missing."""
    problems = []
    for name, digest in manifest["files"].items():
        path = Path(folder) / name
        if Path(name).name != name or not is_plain_file(path):
            problems.append(f"{path}: is missing; the run is not whole")
        elif sha256(path) != digest:
            problems.append(f"{path}: is damaged: its SHA-256 is not the manifest's")
    return problems


def load_run(folder: str | os.PathLike[str]) -> Result:
    """A run as it was saved, without its model's paths. Raises ConfigError where a file is missing or damaged."""
    import pyarrow as pa

    from .result import Result

    if is_url(str(folder)):
        from .remote import load_remote

        return load_remote(str(folder))
    manifest = read_manifest(folder)
    if manifest.get("status") == RUNNING:
        raise ConfigError(
            [f"{folder}: is not finished; go on with overbuilt run --resume {folder}"]
        )
    try:
        if problems := check_files(folder, manifest):
            raise ConfigError(problems)
        statistics = restore_statistics(
            manifest["statistics"],
            lambda name: columns_of(read_table(Path(folder) / f"{name}.parquet")),
        )
        names = manifest["series"]
        series = _series(Path(folder)) if names else {}
        result = Result(
            name=manifest["scenario"],
            path_count=manifest["paths"],
            seed=manifest["seed"],
            backend=manifest["backend"],
            dtype=manifest["dtype"],
            months=manifest["months"],
            statistics=statistics,
            units=manifest["units"],
            docs=manifest["docs"],
            series_names=tuple(names),
            seconds=manifest["seconds"],
            stamp=manifest["stamp"],
            passed_over=manifest["passed_over"],
            config=manifest["config"],
            by_month=series,
            stop=manifest.get("stop"),
            identity=manifest["identity"],
            lost=manifest.get("lost", []),
            failure=manifest.get("failure", ""),
            bad_policy=manifest.get("bad_policy", {}),
            cluster=manifest.get("cluster"),
            stored_bad=manifest.get("quarantined", []),
            folder=Path(folder),
        )
    except (*DAMAGE, pa.ArrowException) as error:
        if isinstance(error, ConfigError) or getattr(error, "errno", None):
            raise
        raise ConfigError([f"{Path(folder) / MANIFEST}: is damaged ({error!r:.200})"]) from None
    if result.digest != manifest.get("digest"):
        raise ConfigError([f"{Path(folder) / MANIFEST}: digest is not that of blocks.parquet"])
    return result


def scenario_of(result: Result) -> Scenario:
    """The scenario of a run. Raises ConfigError where it was run from Python, or its config is not sound."""
    if result.model is not None:
        return result.model
    manifest: dict[str, Any] = {"config": result.config, "scenario": result.name}
    if result.folder is not None:
        manifest["files"] = read_manifest(result.folder).get("files")
    return scenario_in(result.folder or Path(result.name), manifest)


def scenario_in(folder: str | os.PathLike[str], manifest: dict[str, Any]) -> Scenario:
    """The scenario of a run's manifest, with the files that lie beside it. Raises ConfigError as scenario_of."""
    if not isinstance(manifest.get("config"), dict):
        raise ConfigError([f"{folder}: was run from Python without a config"])
    here = local_copy(folder)
    scenario = restore(manifest["config"], str(manifest["scenario"]), here)
    listed = manifest.get("files")
    if isinstance(listed, dict):  # of a finished run, whose files have their digests there
        problems = [
            f"{path}: is no file of the run: its manifest does not list it"
            for path in scenario.files().values()
            if path.name not in listed
        ]
        if problems:
            raise ConfigError(problems)
    return scenario


def asked_of(folder: str | os.PathLike[str], manifest: dict[str, Any]) -> dict[str, Any]:
    """What ``simulate`` was asked for, as its arguments. Raises ConfigError where the manifest does not say."""
    from .quarantine import BadPaths

    wrong = []
    try:
        i, policy = manifest["identity"], manifest.get("bad_policy", {})
        if policy:
            wrong = BadPaths(policy["on_bad_path"], policy["max_bad"]).problems()
        asked = {
            "paths": i["paths_wanted"],
            "path_range": tuple(i["range"]) if i.get("range") else None,
            "until": tuple(i["until"]),
            "probabilities": tuple(f"{m} {sign} {t!r}" for m, sign, t in i["events"]),
            **{k: i[k] for k in ("seed", "backend", "dtype", "months", "tail", "sample")},
            **policy,
        }
    except (KeyError, TypeError, ValueError):
        raise ConfigError([f"{Path(folder) / MANIFEST}: is damaged; it has no identity"]) from None
    if wrong:
        raise ConfigError([f"{Path(folder) / MANIFEST}: {line}" for line in wrong])
    return asked


def _series(folder: Path) -> dict[str, list[dict[str, float]]]:
    found: dict[str, list[dict[str, float]]] = {}
    for row in read_table(folder / "series.parquet").to_pylist():
        found.setdefault(row.pop("variable"), []).append(row)
    return found
