"""How a Dask cluster is reached: its name checked, a client connected, processes of this machine started."""

from __future__ import annotations

import importlib.util
import logging
import re
from contextlib import suppress
from typing import Any

from ..kernels.backends.base import LaunchError, thread_count
from .validate import ConfigError, shown

INSTALL = "pip install 'overbuilt[cluster]'"
MOST_LOCAL = 256
CONNECT = 15.0
"""Seconds that a scheduler may take to answer at first."""
STARTS = 3
"""Times that processes here are started, where one dies while it starts."""
PRELOAD = f"{__package__}.cluster_worker"

_LOCAL = re.compile(r"local:(\d{1,4})")
_REMOTE = re.compile(r"(tcp|tls)://[^\s/]+:\d{1,5}")


def check_cluster(text: Any) -> list[str]:
    """A line where this names no cluster, or there is nothing here to reach one with; None is no cluster."""
    if text is None:
        return []
    wanted = (
        "local:N, for N processes on this machine, or a Dask scheduler's address, tcp://HOST:PORT"
    )
    local = _LOCAL.fullmatch(text) if isinstance(text, str) else None
    if local is not None and not 1 <= int(local[1]) <= MOST_LOCAL:
        return [f"cluster = {shown(text)}: should be from 1 to {MOST_LOCAL} processes"]
    if local is None and not (isinstance(text, str) and _REMOTE.fullmatch(text)):
        return [f"cluster = {shown(text)}: should be {wanted}"]
    if importlib.util.find_spec("distributed") is None:
        return [f"cluster = {shown(text)}: needs dask.distributed, which is not here: {INSTALL}"]
    return []


def connected(text: str) -> tuple[Any, Any]:
    """A client of the cluster; and the cluster, where it is of processes that were started here.

    Raises ConfigError where no scheduler answers, LaunchError where the processes cannot be started.
    """
    import distributed

    client: Any = distributed.Client  # it has no types
    security: Any = distributed.Security
    secret = security().get_connection_args("client") if text.startswith("tls:") else {}
    if secret and secret.get("ssl_context") is None:
        raise ConfigError(
            [
                f"cluster {text}: there are no certificates in Dask's config here, distributed.comm.tls"
            ]
        )
    local = None
    try:
        if found := _LOCAL.fullmatch(text):
            local = _local_cluster(int(found[1]))
        how = {"timeout": CONNECT, "set_as_default": False, "name": "overbuilt"}
        return client(text if local is None else local, **how), local
    except BaseException as error:
        if local is not None:
            local.close(timeout=10)
        if isinstance(error, RuntimeError):  # a worker that died while it started
            raise LaunchError(f"cluster {text}: cannot be started ({error})") from error
        if not isinstance(error, OSError | ValueError):  # of the network; a port out of range
            raise
        why = str(error).splitlines()[0]
        if isinstance(error, TimeoutError) or "Timed out" in why:
            why = f"no scheduler answers there within {CONNECT:g} seconds"
        raise ConfigError([f"cluster {text}: {why}"]) from None


def _local_cluster(processes: int) -> Any:
    """Processes on this machine, started again where one died while it started. Raises RuntimeError."""
    import dask
    import distributed

    start: Any = distributed.LocalCluster  # it has no types
    how = {
        "n_workers": processes, "threads_per_worker": 1, "processes": True, "memory_limit": 0, "preload": [PRELOAD],
        "dashboard_address": "127.0.0.1:0", "silence_logs": logging.CRITICAL,
        "env": {"OVERBUILT_THREADS": str(max(thread_count() // processes, 1))},
    }  # fmt: skip
    # what Dask sets for its workers before they start, it sets in this process too
    with dask.config.set({"distributed.nanny.pre-spawn-environ": {}}):
        for _ in range(STARTS - 1):
            with suppress(RuntimeError):
                return start(**how)
        return start(**how)


def silenced() -> list[tuple[logging.Handler, int]]:
    """Keep Dask's own log off the terminal; what counts of it is said in lines of ours. Returns what to restore."""
    import distributed

    names = [n for n in logging.root.manager.loggerDict if n.startswith(distributed.__name__)]
    handlers = {h for n in names for h in logging.getLogger(n).handlers}
    before = [(h, h.level) for h in handlers]
    for handler in handlers:
        handler.setLevel(logging.CRITICAL + 1)
    return before
