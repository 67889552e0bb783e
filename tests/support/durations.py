"""Records how long each test took, in the file that the environment names."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

VARIABLE = "ISCSID_DURATIONS"
EMULATED = " (emulated)"
"""Ends the name of a test that was run in the emulated machine."""


class Durations:
    """A pytest plugin; set-up and clean-up of a test count as the test's."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self._taken: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        where = EMULATED if "emulated" in report.keywords else ""
        self._taken[report.nodeid + where] += report.duration

    def pytest_sessionfinish(self) -> None:
        self._record.write_text(json.dumps(self._taken))


def register(config: pytest.Config) -> None:
    """Record this session if it is asked for."""
    if name := os.environ.get(VARIABLE):
        config.pluginmanager.register(Durations(Path(name)), "iscsid-durations")


def by_file(taken: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds of all tests of each file together but for the emulated ones."""
    files: dict[str, float] = {}
    for test, seconds in taken.items():
        if not test.endswith(EMULATED):
            file = test.partition("::")[0]
            files[file] = files.get(file, 0.0) + seconds
    return files
