"""Many sessions at once: all of them come back, and neither log, machine nor wire is flooded.

16 sessions, or as many as the environment variable ISCSID_TEST_SESSIONS names. For 128 of them set
ISCSID_TEST_PATIENCE to 5, too: to make and to restart as many targets takes minutes by itself.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from iscsid.initiator.portal_backoff import HOLDOFF
from iscsid.initiator.retry import JITTER, longest_pause
from tests.support.patience import wait_until
from tests.vm import faults
from tests.vm.daemon import Daemon
from tests.vm.recovery import Scenario, running, states

COUNT = int(os.environ.get("ISCSID_TEST_SESSIONS", "16"))
SECONDS = max(200, 7 * COUNT)
CHILDREN = COUNT // 4
"""The value of --max-processes: many fewer than want one."""
KEPT = 1
"""The child that keeps the discovery session, which is not counted."""
LINES_FOR_EACH = 5
"""Down, why an attempt failed, two other reasons of a target that is starting, and up."""
FIRST_PAUSE = 0.75
"""Seconds between the first attempt and the second, at least; each later pause doubles it, and
an attempt that reaches the portal ends all of them, but not more often than every ``HOLDOFF``."""
LONGEST_PAUSE = (1 - JITTER) * longest_pause(COUNT)
CONNECTIONS_OF_AN_ATTEMPT = 2
"""That to the target, and the one within the daemon by which it learns the kernel's CmdSN."""

_HARD_OF_HEARING = """\
import sys
from iscsid.kernel import netlink
netlink._EVENT_BUFFER = 1
from iscsid.__main__ import main
sys.exit(main())
"""


class HardOfHearing(Daemon):
    """A daemon whose buffer for the kernel's events holds a handful, so that they get lost."""

    is_cured = False

    def command(self, *options: str) -> list[str]:
        words = super().command(f"--max-processes={CHILDREN}", *options)
        if self.is_cured:
            return words
        module = words.index("-m")
        return [*words[:module], "-c", _HARD_OF_HEARING, *words[module + 2 :]]


class Watch:
    """Looks at the daemon again and again; what it does at most, and in all, is printed."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._start = time.monotonic()
        self._lines = len(daemon.log().splitlines())
        self._connections = _connections_made()
        self.children = 0

    def look(self) -> None:
        self.children = max(self.children, len(self._daemon.workers_with_a_job()))

    def has_seen(self, wanted: set[str]) -> bool:
        """Whether the kernel's sessions are in these states; for ``wait_until``."""
        self.look()
        return states() == wanted

    def assert_nothing_was_flooded(self) -> None:
        lines = len(self._daemon.log().splitlines()) - self._lines
        connections = _connections_made() - self._connections
        seconds = time.monotonic() - self._start
        grow = math.log2(1 + seconds / FIRST_PAUSE)
        rounds = 3 + grow + seconds / LONGEST_PAUSE + seconds / HOLDOFF
        print(f"{lines} lines in the log, {connections} connections made, {self.children} children")
        assert self.children <= CHILDREN + KEPT, "--max-processes allows fewer"
        assert lines <= LINES_FOR_EACH * COUNT, self._daemon.log()
        assert connections <= CONNECTIONS_OF_AN_ATTEMPT * rounds * COUNT


def _connections_made() -> int:
    """Return how many TCP connections this machine has begun to make, ever."""
    lines = Path("/proc/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(values[names.index("ActiveOpens")])


def times_up(scenario: Scenario) -> int:
    return len(scenario.daemon.lines_about("session is up"))


@pytest.fixture
def scenario(tmp_path: Path) -> Iterator[Scenario]:
    directory = tmp_path
    daemon = HardOfHearing(directory)
    # The pauses between attempts are to be the daemon's own.
    with running(Scenario("tgtd", directory, settings=(), count=COUNT, daemon=daemon)) as scenario:
        yield scenario


@pytest.mark.limit(SECONDS)
def test_sessions_whose_events_were_lost_come_back_by_what_sysfs_shows(scenario: Scenario) -> None:
    words = "kernel events lost"
    before = len(scenario.daemon.lines_about(words))
    with scenario.writing(depth=1) as workload:
        scenario.daemon.send(signal.SIGSTOP)
        faults.reset_all()
        wait_until(lambda: states() == {"FAILED"}, lambda: f"states: {states()}")
        scenario.daemon.send(signal.SIGCONT)
        watch = faults.Stopwatch()
        workload.wait_for_progress(writes=1)
        watch.lap(f"{COUNT} disks work again after their events were lost")
    assert len(scenario.daemon.lines_about(words)) > before
    scenario.assert_nothing_has_moved()


@pytest.mark.limit(SECONDS)
def test_all_sessions_come_back_after_their_target_restarts(scenario: Scenario) -> None:
    scenario.daemon.end()
    assert isinstance(scenario.daemon, HardOfHearing)
    scenario.daemon.is_cured = True
    scenario.daemon.start()
    wait_until(lambda: states() == {"LOGGED_IN"}, lambda: f"states: {states()}")
    with scenario.writing(depth=1) as workload:
        watch = Watch(scenario.daemon)
        with scenario.storage.down():
            wait_until(lambda: watch.has_seen({"FAILED"}), lambda: f"states: {states()}")
        stopwatch = faults.Stopwatch()
        wait_until(
            lambda: watch.has_seen({"LOGGED_IN"}),
            lambda: f"states: {states()}\n{scenario.daemon.log()}",
        )
        workload.wait_for_progress(writes=1)
        stopwatch.lap(f"{COUNT} disks work again after the target's return")
        watch.assert_nothing_was_flooded()
    scenario.assert_nothing_has_moved()


@pytest.mark.limit(SECONDS)
def test_all_connections_that_are_reset_at_once_come_back(scenario: Scenario) -> None:
    with scenario.writing(depth=1) as workload:
        watch = Watch(scenario.daemon)
        stopwatch = faults.Stopwatch()
        before = times_up(scenario)
        faults.reset_all()
        wait_until(
            lambda: watch.has_seen({"LOGGED_IN"}) and times_up(scenario) >= before + COUNT,
            lambda: f"states: {states()}",
        )
        workload.wait_for_progress(writes=1)
        stopwatch.lap(f"{COUNT} disks work again after a reset")
        watch.assert_nothing_was_flooded()
    scenario.assert_nothing_has_moved()
