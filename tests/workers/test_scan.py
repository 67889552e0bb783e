"""The scan, on files that look like the kernel's; one of them blocks as the kernel's does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from iscsid.errors import IscsidError
from iscsid.facts import ScanFailed, ScanFinished, WorkerEnded
from iscsid.jobs import Job, JobId, ScanJob
from iscsid.orders import Level
from iscsid.system.sysfs import Sysfs
from iscsid.workers.notebook import Notebook
from iscsid.workers.reporter import Reporter
from iscsid.workers.sandbox import Confine
from iscsid.workers.scan import scan
from tests.workers.jobs import TARGET
from tests.workers.ring import Ring

HOST = "class/scsi_host/host4"
SESSION = "class/iscsi_session/session1/device/target4:0:0"


def job(luns: frozenset[int] | None = None, timeout: int = 0, deadline: float = 20) -> ScanJob:
    return ScanJob(
        job=JobId(1),
        sid=1,
        host_no=4,
        target_name=TARGET,
        luns=luns,
        disk_command_timeout=timeout,
        deadline=deadline,
    )


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    (tmp_path / HOST).mkdir(parents=True)
    (tmp_path / HOST / "scan").touch()
    return Sysfs(tmp_path)


def add_device(sysfs: Sysfs, lun: int, kind: str = "0") -> Path:
    path = sysfs.root / SESSION / f"4:0:0:{lun}"
    path.mkdir(parents=True)
    for name, text in (("type", f"{kind}\n"), ("timeout", "30\n"), ("rescan", "")):
        (path / name).write_text(text)
    return path


def run(sysfs: Sysfs, wanted: ScanJob) -> tuple[list[object], list[str]]:
    said: list[str] = []
    notebook = Notebook(wanted, lambda _job, _level, text: said.append(text), Level.DEBUG)
    scan(wanted, notebook, sysfs)
    return list(notebook.facts), said


def test_all_logical_units_are_looked_for_on_the_one_target_there_is(sysfs: Sysfs) -> None:
    """Channel 0 and id 0 are all that the driver has; the LUN is left open."""
    facts, _ = run(sysfs, job())
    assert facts == [ScanFinished(JobId(1))]
    assert (sysfs.root / HOST / "scan").read_text().strip() == "0 0 -"


def test_only_the_permitted_logical_units_are_looked_for(sysfs: Sysfs) -> None:
    os.remove(sysfs.root / HOST / "scan")
    written: list[str] = []

    class Recorded(Sysfs):
        def scan(self, host_no: int, lun: int | None = None) -> None:
            written.append(f"{host_no} {lun}")

    _, said = run(Recorded(sysfs.root), job(luns=frozenset({5, 0, 255})))
    assert written == ["4 0", "4 5", "4 255"]
    assert said[0] == "looking for LUN 0 on host4"


def test_an_empty_list_of_permitted_ones_looks_for_none(sysfs: Sysfs) -> None:
    assert run(sysfs, job(luns=frozenset()))[0] == [ScanFinished(JobId(1))]
    assert (sysfs.root / HOST / "scan").read_text() == ""


def test_known_logical_units_are_looked_at_again(sysfs: Sysfs) -> None:
    device = add_device(sysfs, 3)
    run(sysfs, job())
    assert (device / "rescan").read_text().strip() == "1"


def test_only_disks_get_the_time_limit_for_commands(sysfs: Sysfs) -> None:
    disk, tape = add_device(sysfs, 1), add_device(sysfs, 2, kind="1")
    run(sysfs, job(timeout=45))
    assert (disk / "timeout").read_text().strip() == "45"
    assert (tape / "timeout").read_text() == "30\n"


def test_without_a_limit_the_kernels_own_stays(sysfs: Sysfs) -> None:
    disk = add_device(sysfs, 1)
    run(sysfs, job(timeout=0))
    assert (disk / "timeout").read_text() == "30\n"


@pytest.mark.parametrize("name", ["rescan", "timeout", "type"])
def test_a_logical_unit_that_vanishes_meanwhile_is_no_failure(sysfs: Sysfs, name: str) -> None:
    gone, there = add_device(sysfs, 1), add_device(sysfs, 2)
    os.remove(gone / name)
    (gone / name).mkdir()
    facts, _ = run(sysfs, job(timeout=45))
    assert facts == [ScanFinished(JobId(1))]
    assert (there / "timeout").read_text().strip() == "45"


def test_a_host_that_is_gone_is_a_failure_with_words(sysfs: Sysfs) -> None:
    os.remove(sysfs.root / HOST / "scan")
    os.rmdir(sysfs.root / HOST)
    with pytest.raises(IscsidError, match="host4 cannot be scanned: No such file or directory"):
        run(sysfs, job())


def _forked(sysfs: Sysfs) -> Ring:
    def perform(wanted: Job, reporter: Reporter, _confine: Confine) -> None:
        assert isinstance(wanted, ScanJob)
        scan(wanted, reporter, sysfs)

    return Ring(perform)


def test_a_scan_that_blocks_does_not_block_the_daemon_and_is_ended(sysfs: Sysfs) -> None:
    """A pipe nobody reads holds the writer, as the kernel does while the path is dead."""
    os.remove(sysfs.root / HOST / "scan")
    os.mkfifo(sysfs.root / HOST / "scan")
    ring = _forked(sysfs)
    ring.start(job(deadline=15))
    ring.until_said("looking for all logical units on host4")
    due = ring.keeper.next_deadline()
    assert due is not None
    ring.keeper.enforce_deadlines(due)
    ring.until(lambda: len(ring.keeper) == 0)
    ending = ring.ending_of(JobId(1))
    assert ending.how is not None
    assert ending.how.what == (
        "not finished within 15 s, ended while looking for all logical units on host4"
    )


def test_a_failed_scan_is_a_fact(sysfs: Sysfs) -> None:
    os.remove(sysfs.root / HOST / "scan")
    os.mkdir(sysfs.root / HOST / "scan")
    failed, ended = _forked(sysfs).run(job())
    assert isinstance(failed, ScanFailed)
    assert ended == WorkerEnded(JobId(1))
