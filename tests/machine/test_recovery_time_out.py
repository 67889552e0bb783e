"""ConnFailTimeout: how long I/O waits for a session that is down, and what revives the disks."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.machine import faults
from tests.machine.recovery import SETTINGS, Stage, staged

FAILED = (errno.EIO, errno.ENOLINK, errno.ENODEV)
"""What a program is told, depending on how far its command had come."""


@pytest.mark.parametrize("kind", ["tgtd", "lio"])
def test_writes_fail_after_the_time_and_work_again_once_the_target_is_back(
    kind: str, tmp_path: Path
) -> None:
    with staged(Stage(kind, tmp_path, settings=(*SETTINGS, "ConnFailTimeout=5"))) as stage:
        with stage.writing(bears_errors=True) as workload:
            with stage.storage.down():
                watch = faults.Stopwatch()
                note = workload.wait_for_error(after=watch.start)
                assert note.code in FAILED, errno.errorcode[note.code]
                watch.lap("the first write failed")
                stage.wait_for_state("FREE")
            watch = faults.Stopwatch()
            workload.wait_for_progress()
            watch.lap("writes go on after the target's return")
        stage.assert_nothing_has_moved()
