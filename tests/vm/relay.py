"""Run tests inside the virtual machine as if they ran here.

The first test that is asked for boots the machine, which gets the list of all that are still to be
run; the machine's pytest sends a report for each (``guest``), which goes to the host's pytest as it
comes. A test that hangs or kills the machine is the one that failed; the tests after it get a
new machine. Used on the host only.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.support.limits import limit_of
from tests.support.patience import EMULATED, FACTOR, VARIABLE, scaled
from tests.vm import guest
from tests.vm.boot import Kind, Machine, MachineSilent, find_oops, last_words

BOOT_LIMIT = scaled(600.0)
"""Seconds until the machine's pytest has started its first test."""
GRACE = scaled(60.0)
"""Seconds over a test's limit after which the machine is taken to hang: its own pytest should have
ended the test (``limits``)."""

WISHES = "ISCSID_TEST_"
"""Environment variables with this prefix change what a test does, inside as well."""

Phase = Literal["setup", "call", "teardown"]

BASE = "/run/tests"
"""The parent of all ``tmp_path``: what pytest keeps of earlier runs in /tmp is the host's."""

SCRIPT = """\
exec 3>&1 1>&2
{wishes} {guest.DESCRIPTOR}=3 exec {python} -X faulthandler -m pytest -p tests.vm.guest \\
    -p no:cacheprovider -p no:hypothesispytest -p no:terminalreporter --basetemp={BASE} \\
    {options} @{node_ids}
"""


def _wishes() -> str:
    wishes = {name: value for name, value in os.environ.items() if name.startswith(WISHES)}
    wishes[VARIABLE] = f"{FACTOR * EMULATED:.1f}"
    return " ".join(f"{name}={shlex.quote(value)}" for name, value in wishes.items())


class Relay:
    """The host's end, of one kind of machine. ``items`` are all tests that may be asked for, in
    their order.
    """

    def __init__(self, config: pytest.Config, kind: Kind, items: list[pytest.Item]) -> None:
        self._config = config
        self._kind = kind
        self._waiting = {item.nodeid: item for item in items}
        self._directory = tempfile.TemporaryDirectory(prefix="iscsid-relay-")
        self._console = Path(self._directory.name) / "console.log"
        self._console.touch()
        self._machine: Machine | None = None
        self._hopeless = ""

    def reports_of(self, item: pytest.Item) -> list[pytest.TestReport]:
        """Wait until ``item`` has run inside, and return its reports."""
        start = self._console.stat().st_size
        if self._hopeless:
            return [self._blame(item, "setup", self._hopeless, start)]
        try:
            reports = self._read_reports(item)
        except MachineSilent as end:
            reports = [self._blame(item, "call", str(end), start)]
            self._stop_machine()
        del self._waiting[item.nodeid]
        oops = find_oops(self._console_text(start))
        if oops and not any(report.failed for report in reports):
            reports.append(self._blame(item, "teardown", f"a fault of the kernel:\n{oops}", start))
        return reports

    def _boot(self) -> Machine:
        node_ids = guest.node_ids_file(Path(self._directory.name), list(self._waiting))
        script = SCRIPT.format(
            guest=guest,
            BASE=BASE,
            wishes=_wishes(),
            python=shlex.quote(sys.executable),
            options=shlex.join(self._options()),
            node_ids=shlex.quote(str(node_ids)),
        )
        self._hopeless = "the virtual machine did not get as far as a test"
        return Machine(script, console=self._console, kind=self._kind)

    def _options(self) -> list[str]:
        option = self._config.option
        chosen = [f"--tb={option.tbstyle}", f"--maxfail={option.maxfail or 0}"]
        return chosen + (["--showlocals"] if option.showlocals else [])

    def _read_reports(self, item: pytest.Item) -> list[pytest.TestReport]:
        reports: list[pytest.TestReport] = []
        limit = BOOT_LIMIT if self._machine is None else self._limit_of(item)
        machine = self._machine = self._machine or self._boot()
        while not reports or reports[-1].when != "teardown":
            message = self._read_message(machine, limit)
            if "trouble" in message:
                self._hopeless = message["trouble"]
                raise MachineSilent(self._hopeless)
            if "test" in message:
                self._hopeless = ""
                limit = self._limit_of(item)
            elif "report" in message:
                reports.append(self._report(message["report"]))
        return reports

    def _report(self, data: dict[str, Any]) -> pytest.TestReport:
        hook = self._config.hook.pytest_report_from_serializable
        report = hook(config=self._config, data=data)
        assert isinstance(report, pytest.TestReport)
        if report.skipped and isinstance(report.longrepr, list):
            # JSON has no tuples, and pytest recognizes the reason of a skip by being one.
            report.longrepr = tuple(report.longrepr)
        return report

    def _read_message(self, machine: Machine, seconds: float) -> dict[str, Any]:
        line = machine.read_line(seconds=seconds)
        if line is None:
            raise MachineSilent("the virtual machine ended before the test did")
        message = json.loads(line)
        assert isinstance(message, dict)
        return message

    def _limit_of(self, item: pytest.Item) -> float:
        return EMULATED * limit_of(item) + GRACE

    def _blame(self, item: pytest.Item, when: Phase, why: str, start: int) -> pytest.TestReport:
        console = last_words(self._console_text(start))
        return pytest.TestReport(
            nodeid=item.nodeid,
            location=item.location,
            keywords={},
            outcome="failed",
            longrepr=why,
            when=when,
            sections=[("end of the virtual machine's console", console)],
        )

    def _console_text(self, start: int) -> str:
        text = self._console.read_bytes()[start:].decode(errors="replace")
        return text.replace("\r", "")

    def _stop_machine(self) -> None:
        if self._machine is not None:
            self._machine.stop()
            self._machine = None

    def close(self) -> None:
        """End the machine, if one runs, and leave nothing behind."""
        self._stop_machine()
        self._directory.cleanup()
