"""What holds for every test: the order of the suites, and where the machine's tests run.

Tests under the directories of ``SUITES`` are marked by their directory, unless one of these marks
is theirs already. The quick ones come first; those marked ``vm`` are run inside a virtual machine
by ``tests.vm.relay``.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import coverage_summary, durations
from tests.support.limits import Limits
from tests.vm import emulated
from tests.vm.boot import Kind, usual_kind
from tests.vm.guest import is_inside
from tests.vm.relay import Relay

TESTS = Path(__file__).parent
SUITES = ("loopback", "packaging", "vm")
"""In the order in which they run, after all others."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--elsewhere",
        action="append",
        default=[],
        metavar="FILE",
        help="leave out the tests of this file but for those marked emulated",
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    suite = item.path.relative_to(TESTS).parts[0]
    if suite in SUITES and not any(item.get_closest_marker(each) for each in SUITES):
        item.add_marker(suite)


def _suite(item: pytest.Item) -> int:
    return max(
        (1 + SUITES.index(name) for name in SUITES if item.get_closest_marker(name)), default=0
    )


def _kind(item: pytest.Item) -> Kind | None:
    """Return the kind of virtual machine that a test runs in, if any."""
    if item.get_closest_marker("vm") is None:
        return None
    return emulated if item.get_closest_marker("emulated") else usual_kind()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    elsewhere = {config.rootpath / file for file in config.option.elsewhere}
    here: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        is_here = item.path not in elsewhere or item.get_closest_marker("emulated")
        (here if is_here else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = here
    items.sort(key=lambda item: (_suite(item), _kind(item) is emulated))


class MachineTests:
    """Runs the tests marked ``vm`` in the virtual machine of their kind."""

    def __init__(self) -> None:
        self._relays: dict[Kind, Relay] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        if (kind := _kind(item)) is None:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._reports_of(item, kind):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _reports_of(self, item: pytest.Item, kind: Kind) -> list[pytest.TestReport]:
        if missing := kind.what_is_missing():
            return [_not_run(item, missing)]
        if kind not in self._relays:
            wanted = [each for each in item.session.items if _kind(each) is kind]
            self._relays[kind] = Relay(item.config, kind, wanted)
        return self._relays[kind].reports_of(item)

    def pytest_unconfigure(self) -> None:
        for relay in self._relays.values():
            relay.close()


def _not_run(item: pytest.Item, why: str) -> pytest.TestReport:
    """Skip where a person tries things out; in continuous integration that is a failure."""
    skipped = not os.environ.get("CI")
    file, line, _ = item.location
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={},
        outcome="skipped" if skipped else "failed",
        longrepr=(file, line or 0, f"Skipped: {why}") if skipped else why,
        when="setup",
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if summary := coverage_summary.summary():
        terminalreporter.section("coverage of the pure packages")
        terminalreporter.write_line(summary)


def _time_no_example() -> None:
    """How long an example takes depends on the machine, not on the daemon."""
    # Imported late, because the guest has no properties to test and a slow disk.
    from hypothesis import settings

    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Limits(), "iscsid-limits")
    if not is_inside():
        durations.register(config)
        _time_no_example()
        config.pluginmanager.register(MachineTests(), "iscsid-machine-tests")
