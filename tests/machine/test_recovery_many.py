"""Many sessions at once: all of them come back, and neither log nor machine is flooded.

32 sessions; the environment variable ISCSID_TEST_SESSIONS says otherwise, 128 for instance.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machine import faults
from tests.machine.daemon import Daemon, wait_until
from tests.machine.recovery import Stage, staged, states

pytestmark = pytest.mark.draft

COUNT = int(os.environ.get("ISCSID_TEST_SESSIONS", "32"))
CHILDREN = 30
"""The daemon's own limit (--max-processes), and no more than that at any time."""
LINES_FOR_EACH = 4
"""Down, why an attempt failed, another reason, and up."""

_HARD_OF_HEARING = """\
import sys
from iscsid.system import netlink
netlink._EVENT_BUFFER = 1
from iscsid.__main__ import main
sys.exit(main())
"""


class HardOfHearing(Daemon):
    """A daemon whose buffer for the kernel's events holds a handful, so that they get lost."""

    is_cured = False

    def command(self, *options: str) -> list[str]:
        words = super().command(*options)
        if self.is_cured:
            return words
        module = words.index("-m")
        return [*words[:module], "-c", _HARD_OF_HEARING, *words[module + 2 :]]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("many")
    daemon = HardOfHearing(directory)
    with staged(Stage("tgtd", directory, count=COUNT, daemon=daemon)) as stage:
        yield stage


def children(daemon: Daemon) -> int:
    return len(Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split())


@pytest.mark.machine(seconds=600)
def test_sessions_whose_events_were_lost_come_back_by_what_sysfs_says(stage: Stage) -> None:
    words = "events from the kernel were lost"
    before = len(stage.daemon.lines_about(words))
    with stage.writing(depth=1) as workload:
        stage.daemon.send(signal.SIGSTOP)
        faults.reset_all()
        wait_until(lambda: states() == {"FAILED"}, lambda: f"states: {states()}")
        stage.daemon.send(signal.SIGCONT)
        watch = faults.Stopwatch()
        workload.wait_for_progress()
        watch.lap(f"{COUNT} disks work again after their events were lost")
    assert len(stage.daemon.lines_about(words)) > before
    stage.assert_nothing_has_moved()


@pytest.mark.machine(seconds=600)
def test_all_sessions_come_back_after_their_target_restarts(stage: Stage) -> None:
    stage.daemon.end()
    assert isinstance(stage.daemon, HardOfHearing)
    stage.daemon.is_cured = True
    stage.daemon.start()
    wait_until(lambda: states() == {"LOGGED_IN"}, lambda: f"states: {states()}")
    most = 0

    def all_are_back() -> bool:
        nonlocal most
        most = max(most, children(stage.daemon))
        return states() == {"LOGGED_IN"}

    with stage.writing(depth=1) as workload:
        lines = len(stage.daemon.log().splitlines())
        with stage.storage.down():
            wait_until(lambda: states() == {"FAILED"}, lambda: f"states: {states()}")
        watch = faults.Stopwatch()
        wait_until(all_are_back, lambda: f"states: {states()}\n{stage.daemon.log()}")
        workload.wait_for_progress()
        watch.lap(f"{COUNT} disks work again after the target's return")
    lines = len(stage.daemon.log().splitlines()) - lines
    print(f"{lines} lines in the log, {most} children at once")
    assert most <= CHILDREN
    assert lines <= LINES_FOR_EACH * COUNT, stage.daemon.log()
    stage.assert_nothing_has_moved()


@pytest.mark.machine(seconds=600)
def test_all_connections_that_are_reset_at_once_come_back(stage: Stage) -> None:
    with stage.writing(depth=1) as workload:
        faults.reset_all()
        watch = faults.Stopwatch()
        workload.wait_for_progress()
        watch.lap(f"{COUNT} disks work again after a reset")
    stage.assert_nothing_has_moved()
