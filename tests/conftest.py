"""How the tests are spread over processors.

All of them together run in a process for each processor, a file at a time, so that what a file keeps between its
tests is made once. What is picked by hand, by file or by ``-k``, runs at once in this process, where it can
be watched; ``-n 2`` or ``-n 0`` has its way over both. Processes share the cache of native kernels.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

MOST = 8
"""Processes at most: with more, the longest file alone decides how long it takes."""

FIRST = (
    "test_agreement", "test_guide", "test_report", "test_report_browser", "test_economy", "test_faults", "test_replay",
    "test_attribution", "test_probe",
)  # fmt: skip
"""The longest, begun first: else one process is left with them when the others are done."""

TOGETHER = {"test_report_browser.py": "test_report.py"}
"""Files that share what takes its time: the one goes where the other is."""

for name in ("COLUMNS", "LINES"):
    # pytest-xdist's processes inherit 80 columns from readline, and tables would be as wide as that
    os.environ.pop(name, None)


def picked(config: pytest.Config) -> bool:
    """Whether only some of the tests are asked for, or their output as it comes."""
    asked = config.option
    files = [a for a in asked.file_or_dir if not os.path.isdir(a)]
    return bool(files or asked.keyword or getattr(asked, "lf", False)) or asked.capture == "no"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many processes ``-n auto`` stands for; 0 is none but this one."""
    from overbuilt.kernels.backends.base import thread_count

    count = min(thread_count(), MOST)
    return 0 if count == 1 or picked(config) else count


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            folder, _, name = super()._split_scope(nodeid).rpartition("/")
            return f"{folder}/{TOGETHER.get(name, name)}"

    return Files(config, log) if config.option.dist == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: k for k, name in enumerate(FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(FIRST)))
