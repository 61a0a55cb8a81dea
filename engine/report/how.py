"""How a run was computed: the rows of the report's last table, and the command that gives the run again."""

from __future__ import annotations

import math
import re
import shlex
from typing import TYPE_CHECKING, Any

from ..charts.words import written
from ..compare_config import flatten
from ..path_ranges import told
from .config_text import toml
from .parts import Code, data_link
from .words import counted, listed

if TYPE_CHECKING:
    from ..result import Result

_FILE = re.compile(r"[^A-Za-z0-9_-]+")
_NOT_STATED = ("title", "systems", "months", "as_of")


def how_rows(result: Result) -> list[tuple[str, str]]:
    """What was computed, by what, how exact it is, and what came of checks: name and text."""
    r = result
    rows = [
        ("Paths", _paths(r)),
        ("Seed", f"{r.seed}"),
        ("Backend", f"{r.backend}, {r.dtype}"),
        ("Compiled by", _stamp(r)),
        ("Determinism", determinism(r)),
        ("Digest (SHA-256 of every path's metrics)", r.digest),
        ("Precision reached", precision(r)),
        ("Even against odd blocks", settled(r)),
        ("Paths set aside", quarantine(r)),
        ("Status", r.status if not r.failure else f"failed: {r.failure}"),
        ("Time", ", ".join(f"{k} {written(v, 2)} s" for k, v in r.seconds.items()) or "not kept"),
    ]
    if r.stop and r.stop.get("targets"):
        rows.append(("Stop rule", _stop(r.stop)))
    if r.used:
        rows.append(("Backends by path", "; ".join(_used(u) for u in r.used)))
    if r.cluster:
        rows.append(
            ("Cluster", f"{counted(r.cluster['workers'], 'worker')} of {r.cluster['cluster']}")
        )
    for name, lines in (("Passed over", r.passed_over), ("Failed in the middle", r.lost)):
        if lines:
            rows.append((name, "; ".join(lines)))
    rows += [("Versions", _versions(r)), ("Charts drawn with", _drawn_with())]
    return rows


def _paths(r: Result) -> str:
    part = f" (paths {told(r.ranges)} of {r.paths_wanted:,})" if r.is_part else ""
    return f"{counted(r.path_count, 'path')}{part}, {counted(r.months, 'month')} each"


def _stamp(r: Result) -> str:
    return (
        ", ".join(f"{k} {v}" for k, v in r.stamp.items() if k != "backend" and v) or "no compiler"
    )


def determinism(r: Result) -> str:
    """The level of equality that the stamp promises."""
    if r.used:
        return (
            "Several backends gave paths. Each gives the same bytes again; together they agree with any one of them "
            "within rounding."
        )
    parts = [f"backend {r.backend}"]
    for key, name in (
        ("compiler", "this compiler"),
        ("target", "this target"),
        ("processor", "this kind of processor"),
    ):
        if r.stamp.get(key):
            parts.append(name)
    return (
        f"Same bytes: the same digest on {listed(parts)}, however the paths are split over launches, workers or "
        "restarts. On other backends each path agrees within rounding; decisions that rounding turns are counted by "
        "overbuilt verify."
    )


def precision(r: Result, metric: str = "private_credit.loss") -> str:
    """How wide the interval of a mean and of a tail are, as shares of the values."""
    name = metric if metric in r.statistics.names else r.statistics.names[0]
    told_ = []
    for label, quantity in (("mean", name), ("ES 99 %", f"{name}.es99")):
        e = r.estimate(quantity)
        if math.isfinite(e.half) and e.value:
            told_.append(f"{label} of {name} ±{written(100 * e.half / abs(e.value), 2)} %")
        elif e.half == 0.0:
            told_.append(f"{label} of {name} exact")
        else:
            told_.append(f"{label} of {name}: no interval ({e.how})")
    return f"{'; '.join(told_)}; 95 % intervals"


def settled(r: Result) -> str:
    """Whether halves of the run agree."""
    from ..convergence import ALARM, limit

    found = r.drifts
    if not found:
        return "Not compared: the run has a single block of paths."
    bound = limit(len(found))
    over = [d for d in found if abs(d.z) > bound]
    largest = f"{abs(found[0].z):.1f} standard errors"
    if not over:
        return (
            f"They agree: {len(found)} statistics differ by {largest} at most; noise stays below {bound:.1f} in "
            f"{1 - ALARM:.0%} of sound runs."
        )
    names = listed([f"{d.metric}.{d.statistic}" for d in over[:5]])
    return f"They do not agree on {names}: {largest}, where noise stays below {bound:.1f}. Run more paths."


def quarantine(r: Result) -> str:
    """How many paths are left out, and the first of them."""
    from ..quarantine import line_of, share_text

    if not r.bad_count:
        return "No path: every value stayed finite."
    first = "; ".join(line_of(q) for q in r.quarantined[:3])
    share = share_text(r.bad_count / max(r.path_count, 1))
    return f"{counted(r.bad_count, 'path')} ({share}) had a value that is no finite number and are in no figure: {first}"


def _stop(stop: dict[str, Any]) -> str:
    held = "; ".join(
        f"{t['target']}: {'held' if t['held'] else 'not held'}" for t in stop["targets"]
    )
    return f"{held} ({stop['why']})"


def _used(u: dict[str, Any]) -> str:
    return f"{u['backend']} {u['first']:,} to {u['first'] + u['paths'] - 1:,}"


def _versions(r: Result) -> str:
    """Those that the run was made with, where its folder says so; else of what is here."""
    from ..result import _versions as here
    from ..run_store import read_manifest

    found = read_manifest(r.folder).get("versions") if r.folder is not None else here()
    return (
        ", ".join(f"{k} {v}" for k, v in found.items()) if isinstance(found, dict) else "not kept"
    )


def _drawn_with() -> str:
    from importlib import metadata

    return ", ".join(f"{name} {metadata.version(name)}" for name in ("altair", "vl-convert-python"))


def again(r: Result) -> Code:
    """The command that gives the run again, with its config."""
    base, changes = _changes(r)
    name = f"{_FILE.sub('_', r.name)[:60] or 'config'}.toml"
    target = base if changes is not None else name
    words = ["overbuilt", "run", target, "--paths", str(r.paths_wanted), "--seed", str(r.seed)]
    words += ["--backend", r.backend, "--dtype", r.dtype]
    for key, text in changes or ():
        words += ["--set", f"{key}={text}"]
    if r.months != (_horizon(base) if changes is not None else (r.config or {}).get("months")):
        words += ["--months", str(r.months)]
    if r.is_part and r.ranges:
        words += ["--range", f"{r.ranges[0][0]}..{r.ranges[-1][1]}"]
    if r.config is None:
        return Code(
            "This run was made in Python, from a model that has no config. A config of it would run as:",
            shlex.join(words),
        )
    before = "This command gives the same run again:"
    if changes is None:
        before = "With its config, which the link holds, this command gives the same run again:"
    try:
        config = data_link(toml(r.config), "application/toml")
    except TypeError:  # made in Python, of values that no file has
        return Code(before, shlex.join(words))
    return Code(before, shlex.join(words), name, config)


MOST = 12
"""Values that differ from a shipped scenario's and still fit a command."""


def _changes(r: Result) -> tuple[str, list[tuple[str, str]] | None]:
    """The shipped scenario that the run is of, and what was set otherwise; None where it is of no shipped one."""
    from ..scenario import load, shipped
    from ..validate import ConfigError

    if r.name not in shipped() or r.config is None:
        return r.name, None
    try:
        known, mine = (flatten(_plain(v)) for v in (load(r.name).values, r.config))
    except ConfigError:
        return r.name, None
    names = {k for k, v in known.items() if isinstance(v, str) and v.endswith(".csv")}
    differs = [k for k in {**known, **mine} if k not in names and known.get(k) != mine.get(k)]
    if len(differs) > MOST or any(k not in mine or k not in known for k in differs):
        return r.name, None
    return r.name, [(k, _toml(mine[k])) for k in differs]


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    import json

    return {k: v for k, v in json.loads(json.dumps(values)).items() if k not in _NOT_STATED}


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _horizon(name: str) -> int:
    from ..scenario import load

    return load(name).months
