"""The scan, on files that look like the kernel's; one of them blocks as the kernel's does."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from iscsid.devices.sysfs import ScsiDevice, Sysfs
from iscsid.errors import IscsidError
from iscsid.facts import ScanFailed, ScanFinished, WorkerEnded
from iscsid.jobs import Job, JobId, ScanJob
from iscsid.workers.reporter import Reporter
from iscsid.workers.scan_worker import scan
from tests.support.jobs import TARGET
from tests.support.recording_reporter import RecordingReporter
from tests.support.supervisor_harness import WorkersHarness
from tests.support.sysfs_tree import SysfsTree

HOST = "class/scsi_host/host4"
SESSION = "class/iscsi_session/session1/device/target4:0:0"


def job(luns: frozenset[int] | None = None, timeout: int = 0, deadline: float = 20) -> ScanJob:
    return ScanJob(
        id=JobId(1),
        sid=1,
        host_no=4,
        target_name=TARGET,
        luns=luns,
        disk_command_timeout=timeout,
        deadline=deadline,
    )


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    tree = SysfsTree(tmp_path)
    tree.add_session(1, 4)
    (tmp_path / HOST / "scan").touch()
    return tree.sysfs


def add_device(sysfs: Sysfs, lun: int, kind: str = "0") -> Path:
    path = sysfs.root / SESSION / f"4:0:0:{lun}"
    path.mkdir(parents=True)
    for name, text in (("type", f"{kind}\n"), ("timeout", "30\n"), ("rescan", "")):
        (path / name).write_text(text)
    return path


def run(sysfs: Sysfs, wanted: ScanJob) -> tuple[list[object], list[str]]:
    reporter = RecordingReporter()
    scan(wanted, reporter, sysfs)
    return list(reporter.facts), reporter.lines


def test_all_logical_units_are_looked_for_on_the_one_target_there_is(sysfs: Sysfs) -> None:
    """Channel 0 and id 0 are all that the driver has; the LUN is left open."""
    facts, _ = run(sysfs, job())
    assert facts == [ScanFinished(JobId(1))]
    assert (sysfs.root / HOST / "scan").read_text().strip() == "0 0 -"


class Target(Sysfs):
    """A target whose LUNs are found under these numbers of the kernel's."""

    def __init__(self, root: Path, *numbers: int) -> None:
        super().__init__(root)
        object.__setattr__(self, "numbers", numbers)
        object.__setattr__(self, "scanned", [])

    def scan(self, host_no: int, lun: int | None = None) -> None:
        self.scanned.append(lun)
        if lun in self.numbers:
            add_device(self, lun)

    numbers: tuple[int, ...]
    scanned: list[int | None]


def test_only_the_permitted_logical_units_are_looked_for(sysfs: Sysfs) -> None:
    target = Target(sysfs.root, 0, 5, 7, 255)
    facts, lines = run(target, job(luns=frozenset({5, 0, 255})))
    assert target.scanned == [0, 5, 255]
    assert facts == [ScanFinished(JobId(1))]
    assert lines[0] == "looking for LUN 0 on host4"


@pytest.mark.parametrize(
    ("lun", "number", "scanned"),
    [
        (300, 16684, [16684]),
        (300, 300, [16684, 300]),
        (5, 16389, [5, 16389]),
        (16684, 16684, [16684]),
    ],
)
def test_a_lun_is_looked_for_in_each_addressing_until_it_is_found(
    lun: int, number: int, scanned: list[int], sysfs: Sysfs
) -> None:
    target = Target(sysfs.root, number)
    assert run(target, job(luns=frozenset({lun})))[0] == [ScanFinished(JobId(1))]
    assert target.scanned == scanned


def test_luns_that_the_target_does_not_have_are_reported(sysfs: Sysfs) -> None:
    target = Target(sysfs.root, 1, 16684)
    (finished,), _ = run(target, job(luns=frozenset({1, 2, 3, 300, 301})))
    assert finished == ScanFinished(JobId(1), absent="2-3,301")


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


def add_generic(sysfs: Sysfs, lun: int) -> Path:
    """Add a device with a SCSI generic node, ``/dev/sg`` and its LUN."""
    path = add_device(sysfs, lun)
    generic = path / f"scsi_generic/sg{lun}"
    generic.mkdir(parents=True)
    (generic / "uevent").touch()
    (path / "wwid").write_text(f"naa.{lun}\n")
    (path / "delete").touch()
    return path


def run_asking(sysfs: Sysfs, wanted: ScanJob, answers: Mapping[str, bool | None]) -> ScanFinished:
    reporter = RecordingReporter()
    scan(wanted, reporter, sysfs, answers.__getitem__)
    (finished,) = reporter.facts
    assert isinstance(finished, ScanFinished)
    return finished


def test_a_lun_that_the_target_has_no_more_is_reported_and_left_alone(sysfs: Sysfs) -> None:
    """To read the size of what is gone would make it zero under a file system."""
    gone, silent, there = (add_generic(sysfs, lun) for lun in (1, 2, 3))
    answers = {"/dev/sg1": False, "/dev/sg2": None, "/dev/sg3": True}
    assert run_asking(sysfs, job(), answers).missing == (1,)
    assert (gone / "rescan").read_text() == "" and (gone / "delete").read_text() == ""
    assert (silent / "rescan").read_text() == (there / "rescan").read_text() == "1"


def test_a_lun_that_is_to_be_dropped_is_asked_once_more(sysfs: Sysfs) -> None:
    gone, back, other = (add_generic(sysfs, lun) for lun in (1, 2, 3))
    wanted = dataclasses.replace(job(), drop=frozenset({1, 2}))
    answers = {"/dev/sg1": False, "/dev/sg2": True, "/dev/sg3": False}
    run_asking(sysfs, wanted, answers)
    assert (gone / "delete").read_text() == "1"
    assert (back / "delete").read_text() == (other / "delete").read_text() == ""


def test_a_lun_without_a_generic_node_is_never_taken_for_gone(sysfs: Sysfs) -> None:
    path = add_device(sysfs, 1)
    (path / "delete").touch()
    finished = run_asking(sysfs, dataclasses.replace(job(), drop=frozenset({1})), {})
    assert finished.missing == () and (path / "delete").read_text() == ""


@pytest.mark.parametrize(("identity", "event"), [("naa.1", ""), ("naa.other", "change")])
def test_udev_learns_of_an_identity_that_has_changed(
    sysfs: Sysfs, identity: str, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel reads it anew, and sends no event."""
    path = add_generic(sysfs, 1)

    def rescan(device: ScsiDevice) -> None:
        (device.path / "wwid").write_text(f"{identity}\n")

    monkeypatch.setattr(ScsiDevice, "rescan", rescan)
    run_asking(sysfs, job(), {"/dev/sg1": True})
    assert (path / "scsi_generic/sg1/uevent").read_text() == event


def test_a_host_that_is_another_sessions_by_now_is_not_scanned(sysfs: Sysfs) -> None:
    """The worker starts after its session has ended; the kernel gives the number away at once."""
    with pytest.raises(IscsidError, match="session 7 on host4 has ended"):
        run(sysfs, dataclasses.replace(job(), sid=7))
    assert (sysfs.root / HOST / "scan").read_text() == ""


def test_a_host_that_is_gone_is_a_failure_with_words(sysfs: Sysfs) -> None:
    os.remove(sysfs.root / HOST / "scan")
    with pytest.raises(IscsidError, match="host4 cannot be scanned: No such file or directory"):
        run(sysfs, job())


def _forked(sysfs: Sysfs) -> WorkersHarness:
    def run_job(wanted: Job, reporter: Reporter) -> None:
        assert isinstance(wanted, ScanJob)
        scan(wanted, reporter, sysfs)

    return WorkersHarness(run_job)


def test_a_scan_that_blocks_does_not_block_the_daemon_and_is_ended(sysfs: Sysfs) -> None:
    """A pipe without a reader holds the writer, as the kernel does while the path is dead."""
    os.remove(sysfs.root / HOST / "scan")
    os.mkfifo(sysfs.root / HOST / "scan")
    harness = _forked(sysfs)
    harness.start(job(deadline=15))
    harness.wait_until_logged("looking for all logical units on host4")
    due = harness.supervisor.next_deadline()
    assert due is not None
    harness.supervisor.enforce_deadlines(due)
    harness.until(lambda: len(harness.supervisor) == 0)
    ending = harness.ending_of(JobId(1))
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
