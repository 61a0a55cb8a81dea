"""Runs in remote folders, through fsspec: ``s3://bucket/run``, ``gs://``, ``abfs://``, ``file://``, ``memory://``.

A run is computed in a working folder of the user's cache, with its lock and its checkpoints, as object stores have
no locks and no renames. When it ends it is uploaded: its files first, its manifest last, so that whoever finds a
manifest finds the run whole. Then the working folder goes. Where the upload fails it stays, and ``--resume URL``
tries again; a run that was uploaded before it was finished goes on anywhere.

Reading fetches a run into the cache, a folder for each of its versions. Every file is checked against the manifest.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..kernels.cache import folder as cache_folder
from .attestation import FILE as VERDICTS
from .run_store import (
    MANIFEST,
    MAX_MANIFEST,
    UNFINISHED,
    is_url,
    load_run,
    parse_manifest,
    read_manifest,
    save,
    sha256,
)
from .validate import ConfigError

if TYPE_CHECKING:
    from .result import Result

KEPT_DAYS = 7
"""A fetched run that was not read for so long is dropped from the cache."""


class RemoteError(OSError):
    """A remote folder that cannot be read or written; ``strerror`` says why."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.EIO, why)


# ---- writing
def check_remote(url: str) -> None:
    """Raise ConfigError unless a run may be written there; leaves nothing behind."""
    fs, place = _opened(url, "--out ")
    with _asked(), _speaking(f"--out {url}", "cannot be written"):
        while _has_folders(fs) and place and not fs.exists(place):
            place = place.rpartition("/")[0]
        mark = f"{place}/.writable-{os.getpid()}"
        fs.pipe_file(mark, b"")
        fs.rm_file(mark)


def working_folder(place: str | os.PathLike[str], resume: bool = False) -> Path:
    """Where a run to be stored at a place is computed: there; or, for a URL, in the cache.

    With ``resume`` a run that lies only at the URL is fetched. Raises ConfigError where a new run would replace one
    that is not finished, or there is none to resume.
    """
    url = str(place)
    if not is_url(url):
        return Path(place)
    here = cache_folder() / "runs" / _name(url)
    if resume:
        if not (here / MANIFEST).is_file():
            _fetch(url, here)
        return here
    fs, root = _opened(url, "--out ")
    stored = [read_manifest(here)] if (here / MANIFEST).is_file() else []
    with _asked():
        there = _manifest(fs, root, url)
    stored += [parse_manifest(there, f"{url}/{MANIFEST}")] if there is not None else []
    if any(m.get("status") in UNFINISHED for m in stored):
        raise ConfigError(
            [
                f"--out {url}: holds a run that is not finished; go on with overbuilt run --resume {url}, or name "
                "another folder"
            ]
        )
    return here


def publish(here: Path, place: str | os.PathLike[str]) -> None:
    """Upload a run from its working folder, and drop that; nothing where it is computed in its place.

    Raises RemoteError, and leaves the working folder, where it cannot be written whole.
    """
    url = str(place)
    if not is_url(url):
        return
    upload(here, url)
    shutil.rmtree(here, ignore_errors=True)


def upload(here: Path, url: str) -> None:
    """Copy a stored run to a URL; one that lies there is replaced, and is none until the new one is whole."""
    try:
        fs, root = _opened(url)
    except ConfigError as error:
        raise RemoteError(error.problems[0]) from None
    names = list(read_manifest(here)["files"])
    with _speaking(url, "cannot be written"):
        if _has_folders(fs):
            fs.makedirs(root, exist_ok=True)
        old = _manifest(fs, root, url)
        if old is not None:
            fs.rm_file(f"{root}/{MANIFEST}")
        for name in names:
            fs.put_file(str(here / name), f"{root}/{name}")
            size = fs.info(f"{root}/{name}")["size"]
            if size != (here / name).stat().st_size:
                raise RemoteError(f"{url}/{name}: has {size} bytes after it was written")
        for name in [*_files(old), VERDICTS]:
            if name not in names and fs.exists(f"{root}/{name}"):
                fs.rm_file(f"{root}/{name}")
        fs.pipe_file(f"{root}/{MANIFEST}", (here / MANIFEST).read_bytes())


def save_remote(result: Result, url: str) -> str:
    """Write a run to a URL. Raises ConfigError for one that cannot be used, RemoteError where writing fails."""
    _opened(url)
    with tempfile.TemporaryDirectory(prefix="overbuilt-run-") as here:
        save(result, here)
        upload(Path(here), url)
    return url


# ---- reading
def exists(url: str) -> bool:
    """Whether a run lies there; true too where nobody can tell, as reading it then says why."""
    try:
        fs, root = _opened(url)
        return bool(fs.exists(f"{root}/{MANIFEST}"))
    except Exception:
        return True


def fetched(url: str) -> Path:
    """A run's folder in the cache, fetched as far as it is not there yet. Raises ConfigError where there is none."""
    here = cache_folder() / "fetched"
    fs, root = _opened(url)
    with _asked():
        there = _manifest(fs, root, url)
    digest = hashlib.sha256(there or b"").hexdigest()
    target = here / f"{_name(url)}-{digest[:12]}"
    _fetch(url, target, there)
    for other in here.iterdir():
        if time.time() - other.stat().st_mtime > KEPT_DAYS * 86_400.0:
            shutil.rmtree(other, ignore_errors=True)
    return target


@contextmanager
def to_verify(place: str | os.PathLike[str]) -> Iterator[Path]:
    """The folder of a run, to write what verify finds to; of one at a URL a copy, whose verdicts are uploaded after.

    Raises ConfigError where there is none, RemoteError where the verdicts cannot be uploaded.
    """
    url = str(place)
    if not is_url(url):
        yield Path(place)
        return
    here = fetched(url)
    fs, root = _opened(url)
    with _asked(), _speaking(url, "cannot be read"):
        (here / VERDICTS).unlink(missing_ok=True)
        if fs.exists(f"{root}/{VERDICTS}"):
            fs.get_file(f"{root}/{VERDICTS}", str(here / VERDICTS))
    yield here
    if (here / VERDICTS).is_file():
        with _speaking(url, "cannot be written"):
            fs.put_file(str(here / VERDICTS), f"{root}/{VERDICTS}")


def load_remote(url: str) -> Result:
    """The run at a URL. Raises ConfigError where there is none, or a file is missing or damaged."""
    here = fetched(url)
    try:
        return load_run(here)
    except ConfigError as error:
        raise ConfigError([p.replace(str(here), url) for p in error.problems]) from None


def _fetch(url: str, target: Path, manifest: bytes | None = None) -> None:
    """Fetch a run: what is missing in ``target``, or is not as its manifest says."""
    fs, root = _opened(url)
    with _asked():
        text = _manifest(fs, root, url) if manifest is None else manifest
    if text is None:
        raise ConfigError([f"{url}: no run lies there; it should be a folder that --out wrote"])
    names = parse_manifest(text, f"{url}/{MANIFEST}").get("files", {})
    target.mkdir(parents=True, exist_ok=True)
    with _asked(), _speaking(url, "cannot be read"):
        for name, digest in names.items():
            path = target / name
            plain = Path(name).name == name  # another file is not ours to touch
            if not plain or (path.is_file() and sha256(path) == digest):
                continue
            if fs.exists(f"{root}/{name}"):
                temporary = target / f".{name}.{os.getpid()}"
                fs.get_file(f"{root}/{name}", str(temporary))
                os.replace(temporary, path)
    # written each time, so that the folder is as new as it was last read
    temporary = target / f".{MANIFEST}.{os.getpid()}"
    temporary.write_bytes(text)
    os.replace(temporary, target / MANIFEST)


def _manifest(fs: Any, root: str, url: str) -> bytes | None:
    """The manifest at a URL; None where there is none. Raises RemoteError."""
    path = f"{root}/{MANIFEST}"
    with _speaking(url, "cannot be read"):
        if not fs.exists(path):
            return None
        if fs.info(path)["size"] > MAX_MANIFEST:
            raise RemoteError(f"{url}/{MANIFEST}: is too large to be a run's")
        return bytes(fs.cat_file(path))


def _files(manifest: bytes | None) -> list[str]:
    """The names of the files of a run, as far as they are plain and its manifest is one."""
    try:
        names = parse_manifest(manifest or b"", MANIFEST)["files"]
        return [n for n in names if Path(n).name == n]
    except (ConfigError, KeyError, TypeError):
        return []


# ---- file systems
def _opened(url: str, told_by: str = "") -> tuple[Any, str]:
    """The file system of a URL, and the path of its folder there. Raises ConfigError."""
    try:
        import fsspec
    except ImportError:
        raise ConfigError(
            [f"{told_by}{url}: needs fsspec; pip install 'overbuilt[remote]'"]
        ) from None
    try:
        fs, root = fsspec.core.url_to_fs(url)
    except ImportError as error:  # the file system's own library
        raise ConfigError([f"{told_by}{url}: {error}"]) from None
    except Exception as error:  # whatever that library raises
        raise ConfigError([f"{told_by}{url}: cannot be used ({_said(error)})"]) from None
    fs.invalidate_cache()  # of listings: another machine may have written there
    root = str(root).rstrip("/")
    if not root:
        raise ConfigError([f"{told_by}{url}: should name a folder, like s3://bucket/run"])
    return fs, root


_BUCKETS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "tos"}


def _has_folders(fs: Any) -> bool:
    """Whether folders have to be made: object stores have none, and making one there could make a bucket."""
    names = getattr(fs, "fs", fs).protocol  # of what a chain ends in
    return not _BUCKETS.intersection({names} if isinstance(names, str) else names)


@contextmanager
def _speaking(url: str, what: str) -> Iterator[None]:
    """Whatever a file system raises, as one RemoteError that names the URL."""
    try:
        yield
    except (RemoteError, ConfigError):
        raise
    except Exception as error:  # each library has exceptions of its own
        raise RemoteError(f"{url}: {what} ({_said(error)})") from None


@contextmanager
def _asked() -> Iterator[None]:
    """A RemoteError where a user asked for what cannot be had, as a ConfigError."""
    try:
        yield
    except RemoteError as error:
        raise ConfigError([str(error.strerror)]) from None


def _said(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


def _name(url: str) -> str:
    """A folder's name for a URL: readable, and another for each."""
    plain = url.rstrip("/")
    last = re.sub(r"[^A-Za-z0-9_]+", "-", plain.rpartition("/")[2])[-40:]
    return f"{last}-{hashlib.sha256(plain.encode()).hexdigest()[:12]}"
