"""A pytest plugin for the inside of the virtual machine: send every report to the host.

One JSON object to a line, on the descriptor that the environment names. ``relay`` is the other
end, and ``{"test": ...}`` before each test names the test that is to blame if nothing follows.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

DESCRIPTOR = "ISCSID_REPORTS"
"""The environment variable that is set inside the virtual machine, and only there."""


def is_inside() -> bool:
    return DESCRIPTOR in os.environ


class Sender:
    """Writes what happens in this test session to ``descriptor``."""

    def __init__(self, config: pytest.Config, descriptor: int) -> None:
        self._config = config
        self._descriptor = descriptor
        os.set_inheritable(descriptor, False)

    def _send(self, **message: object) -> None:
        rest = memoryview(json.dumps(message).encode() + b"\n")
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._send(test=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._send(report=data)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._send(trouble=report.longreprtext)

    def pytest_internalerror(self, excrepr: object) -> None:
        self._send(trouble=str(excrepr))


def pytest_configure(config: pytest.Config) -> None:
    if is_inside():
        # The daemon under test must not take itself for a test session.
        descriptor = int(os.environ[DESCRIPTOR])
        config.pluginmanager.register(Sender(config, descriptor), "iscsid-sender")


def node_ids_file(directory: Path, node_ids: list[str]) -> Path:
    """Write ``node_ids`` as pytest reads them with ``@file``."""
    path = directory / "node-ids"
    path.write_text("".join(f"{node_id}\n" for node_id in node_ids))
    return path
