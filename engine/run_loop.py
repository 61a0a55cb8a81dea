"""The loop of a run: blocks in, statistics out, until all are done, targets hold, or something ends it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..kernels.backends.base import LaunchError
from .log import Observer, seen
from .quarantine import BadPaths
from .run_folder import RunFolder
from .runner import Block, Runner
from .statistics import Statistics

if TYPE_CHECKING:
    from .cluster_runner import ClusterRunner, Part
    from .stop import Look, StopRule


_BAD = "bad paths"


def work(
    runner: Runner | ClusterRunner,
    statistics: Statistics,
    rule: StopRule | None,
    folder: RunFolder | None,
    on_look: Callable[[Look], None] | None,
    on_event: Observer,
    policy: BadPaths,
    on_block: Callable[[Statistics], None] | None = None,
) -> float:
    """Run the blocks that are missing until all are done, a rule holds, or the runner is stopped.

    ``on_block`` is told the statistics after each block, by the thread that adds to them. Returns the seconds that
    the statistics took.
    """

    def reduce(block: Block | Part) -> float:
        start = time.perf_counter()
        block.into(statistics)
        spent = time.perf_counter() - start
        if on_block is not None:
            on_block(statistics)
        if folder is not None and folder.due():
            folder.checkpoint(
                statistics, runner.elapsed
            )  # a full disk is noted, and the run goes on
            on_event("checkpoint", {"paths": statistics.paths, "trouble": folder.trouble})
        return spent

    def looked() -> bool:
        assert rule is not None
        look = rule.look(statistics, statistics.paths, runner.elapsed)
        runner.expected = min(look.paths_needed or runner.paths, runner.paths)
        on_event("look", seen(look))
        if on_look is not None:
            on_look(look)
        return look.held

    def borne(bad: int) -> bool:
        runner.why = runner.why or (_BAD if policy.ends(bad, runner.size) else "")
        return runner.why != _BAD

    total, bad = 0.0, statistics.bad_count
    runner.done = statistics.paths
    if on_block is not None and runner.done:
        on_block(statistics)
    # a run that was cut off between the last block before a look and the look; or failed, and does so again
    due = rule is not None and _is_look(rule, statistics.paths)
    if (not borne(bad) or due) and rule is not None and looked():
        return total
    with ThreadPoolExecutor(1) as background:  # a block is reduced while the next is simulated
        while statistics.paths < runner.size and not runner.why:
            # blocks may be missing below others, but only of the round that was cut off
            goal = min(rule.next_look(statistics.paths), runner.paths) if rule else runner.paths
            pending: Future[float] | None = None
            for block in runner.blocks(statistics.hashes.keys(), goal):
                if pending is not None:
                    total += pending.result()
                pending = background.submit(reduce, block)
                bad += block.bad_count
                if not borne(bad):
                    break
            if pending is not None:
                total += pending.result()
            if rule is not None and looked():
                break
    return total


def saved(
    error: LaunchError,
    runner: Runner | ClusterRunner,
    statistics: Statistics,
    folder: RunFolder | None,
    out: str | os.PathLike[str] | None,
) -> LaunchError:
    """The error, once what was done before is safe, with how to go on."""
    lines = [str(error)]
    if folder is not None:
        if statistics.paths:
            folder.checkpoint(statistics, runner.elapsed)
        lines += folder.trouble
        lines.append(
            f"{statistics.paths:,} paths were done before; go on with overbuilt run --resume {out}"
        )
    return LaunchError("\n".join(lines))


def stopper(deadline: float | None, interrupted: Callable[[], str] | None) -> Callable[[], str]:
    began = time.perf_counter()

    def why() -> str:
        found = interrupted() if interrupted is not None else ""
        late = deadline is not None and time.perf_counter() - began > deadline
        return found or ("deadline" if late else "")

    return why


def outcome(
    rule: StopRule | None, runner: Runner | ClusterRunner, statistics: Statistics
) -> dict[str, Any] | None:
    """What ``result.stop`` says: of the targets, or of what came before all paths were done."""
    if rule is not None:
        found = rule.outcome(bool(runner.why)).as_json()
        whole = {} if not _gaps(statistics) else {"held": False}  # the run that goes on may differ
        return found | whole | ({"why": runner.why} if runner.why else {})
    if (done := statistics.paths) < (size := runner.size):
        return {"held": False, "why": runner.why, "targets": [], "paths": done, "max_paths": size}
    return None


def _is_look(rule: StopRule, paths: int) -> bool:
    return paths > 0 and rule.next_look(paths - 1) == paths


def _gaps(statistics: Statistics) -> bool:
    """Whether a block is missing below another: workers were cut off in the middle of a round."""
    return len(statistics.hashes) <= max(statistics.hashes, default=-1)
