"""ConnFailTimeout: how long I/O waits for a session that is down, and what revives the disks.

iscsi.conf(5): "How long the disks of a session that is down wait, before their I/O fails. [...]
0 waits for ever."
"""

from __future__ import annotations

import errno
import time
from pathlib import Path

from tests.vm import faults
from tests.vm.conftest import needs_lio
from tests.vm.recovery import SETTINGS, Scenario, running

COMMAND_TIMEOUT = 3
"""Seconds; by default it would be 30."""
TRIES = 6
"""The kernel's for a disk's command: the first, and five more."""
FAILED = (errno.EIO, errno.ENOLINK, errno.ENODEV)
"""The error that a program gets, depending on how far its command had come."""


@needs_lio
def test_writes_fail_after_the_time_and_work_again_once_the_target_is_back(
    tmp_path: Path,
) -> None:
    with running(Scenario("lio", tmp_path, settings=(*SETTINGS, "ConnFailTimeout=5"))) as scenario:
        with scenario.writing(bears_errors=True) as workload:
            with scenario.storage.down():
                watch = faults.Stopwatch()
                note = workload.wait_for_error(after=watch.start)
                assert note.code in FAILED, errno.errorcode[note.code]
                watch.lap("the first write failed")
                scenario.wait_for_state("FREE")
            watch = faults.Stopwatch()
            workload.wait_for_progress()
            watch.lap("writes go on after the target's return")
        scenario.assert_nothing_has_moved()


def test_no_write_fails_however_long_it_has_waited(tmp_path: Path) -> None:
    """The kernel fails a command that has waited so long and then gets a unit attention, which is
    tgtd's first answer to an initiator that logs in again."""
    settings = (*SETTINGS, f"DiskCommandTimeout={COMMAND_TIMEOUT}")
    with running(Scenario("tgtd", tmp_path, settings=settings)) as scenario:
        with scenario.writing() as workload:
            with scenario.storage.down():
                scenario.wait_for_state("FAILED")
                time.sleep(TRIES * COMMAND_TIMEOUT + 1)
            workload.wait_for_progress()
            assert not workload.errors()
        scenario.assert_nothing_has_moved()
