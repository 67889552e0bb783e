"""LUNs that come and go: what starts a scan, and what may be removed after it."""

from __future__ import annotations

import pytest

from iscsid import facts, orders
from iscsid.bindings.binding import Binding
from iscsid.errors import Failure, Retry
from iscsid.facts import (
    Device,
    DeviceAppeared,
    TimerPurpose,
    UnitAttentionReported,
    UnitChange,
)
from iscsid.initiator import job_queue
from iscsid.jobs import JobId, ScanJob
from iscsid.orders import Order, StartWorker, StopWorker
from tests.support.harness import (
    OTHER,
    PORTAL,
    Harness,
    configuration,
    kernel_session,
    kinds,
)

PATH = "/sys/devices/platform/host2/session1/target2:0:0/2:0:0:3/block/sda"
DISK = Device(path=PATH, sid=1, lun=3, link="disk", node="/dev/sda", wwid="naa.3")
LINK = "bus0/target0/lun3/disk"
MOUNTED = ("/dev/sda is mounted on /data",)


def scanned(harness: Harness, *missing: int) -> list[Order]:
    """The scan ordered last is over."""
    job = harness.job
    return harness.handle(facts.ScanFinished(job, missing), facts.WorkerEnded(job))


def rescanning(*devices: Device) -> Harness:
    """A session that is up and looks for its LUNs again."""
    harness = Harness()
    harness.up()
    harness.handle(*map(DeviceAppeared, devices))
    harness.reload(configuration(PORTAL))
    return harness


def last_scan(harness: Harness) -> ScanJob:
    job = harness.jobs[-1]
    assert isinstance(job, ScanJob)
    return job


def test_disk_of_a_lun_that_is_gone_is_removed_after_its_link() -> None:
    harness = rescanning(DISK)
    assert scanned(harness, 3) == [orders.CheckLunUsers(1, (3,))]
    given = harness.handle(facts.LunUsersChecked(1, ((3, ()),)))
    assert kinds(given) == ["RemoveLink", "ScanJob"]
    assert given[0] == orders.RemoveLink(LINK)
    assert last_scan(harness).drop == {3}
    assert harness.has_logged("LUN 3 is gone at the target: removing it")


def test_disk_that_could_not_be_removed_keeps_its_link_and_is_not_tried_for_ever() -> None:
    harness = rescanning(DISK)
    scanned(harness, 3)
    harness.handle(facts.LunUsersChecked(1, ((3, ()),)))
    given = scanned(harness, 3)
    assert given[0] == orders.MakeLink(LINK, "/dev/sda", PATH)
    assert not {"CheckLunUsers", "ScanJob"} & set(kinds(given))


def test_link_comes_back_when_the_child_that_removes_its_disk_dies() -> None:
    harness = rescanning(DISK)
    scanned(harness, 3)
    harness.handle(facts.LunUsersChecked(1, ((3, ()),)))
    killed = Failure(Retry.SOON, "killed by SIGKILL")
    given = harness.handle(facts.WorkerEnded(harness.job, killed))
    assert orders.MakeLink(LINK, "/dev/sda", PATH) in given
    assert harness.has_logged("scanning for LUNs failed", "SIGKILL")


def test_no_link_comes_back_while_the_scan_that_removes_its_disk_is_being_stopped() -> None:
    """A worker that is stopped may be removing the disk in the kernel, and goes on with that."""
    for ended in (facts.InterruptReceived(), facts.SessionUnrecoverable(1, "stopped for good")):
        harness = rescanning(DISK)
        scanned(harness, 3)
        harness.handle(facts.LunUsersChecked(1, ((3, ()),)))
        given = kinds(harness.handle(ended))
        assert "StopWorker" in given and "MakeLink" not in given


def test_scan_that_fails_because_its_session_has_gone_is_no_trouble() -> None:
    harness = rescanning(DISK)
    job = last_scan(harness).id
    harness.handle(facts.SessionDestroyed(1))
    gone = Failure(Retry.SOON, "host2 cannot be scanned: No such file or directory")
    harness.handle(facts.ScanFailed(job, gone), facts.WorkerEnded(job))
    assert not [line for line in harness.log if line.startswith("warning") and "scanning" in line]
    assert not [timer for timer in harness.timers if timer.purpose is TimerPurpose.SCAN]


def test_lun_in_use_is_kept_and_logged_once_until_it_was_there_again() -> None:
    harness = rescanning(DISK)
    for missing, lines in (((3,), 1), ((3,), 1), ((), 1), ((3,), 2)):
        scanned(harness, *missing)
        if missing:
            assert harness.handle(facts.LunUsersChecked(1, ((3, MOUNTED),))) == []
        has_logged = [
            line for line in harness.log if "LUN 3 is gone" in line and "mounted on /data" in line
        ]
        assert len(has_logged) == lines
        assert all(line.startswith("error") and "SIGHUP" in line for line in has_logged)
        harness.reload(configuration(PORTAL))


def test_unused_luns_go_and_used_ones_stay() -> None:
    harness = rescanning()
    scanned(harness, 5, 3)
    harness.handle(facts.LunUsersChecked(1, ((3, MOUNTED), (5, ()))))
    assert last_scan(harness).drop == {5}


def test_nothing_is_removed_on_an_answer_that_is_older_than_the_scan_under_way() -> None:
    harness = rescanning(DISK)
    job = harness.job
    harness.reload(configuration(PORTAL))  # one more scan is due
    given = harness.handle(facts.ScanFinished(job, (3,)), facts.WorkerEnded(job))
    assert kinds(given) == ["CheckLunUsers", "ScanJob"]
    assert harness.handle(facts.LunUsersChecked(1, ((3, ()),))) == []
    assert last_scan(harness).drop == frozenset()


def test_nothing_is_removed_while_the_session_is_down() -> None:
    harness = rescanning(DISK)
    scanned(harness, 3)
    harness.handle(facts.ConnectionLost(1, "reset"))
    assert harness.handle(facts.LunUsersChecked(1, ((3, ()),))) == []


def test_answers_about_a_session_that_is_gone_are_passed_over() -> None:
    harness = rescanning(DISK)
    assert harness.handle(facts.LunUsersChecked(9, ((3, ()),))) == []
    assert harness.handle(UnitAttentionReported(9, 3, UnitChange.LUNS)) == []


def test_unit_attention_asks_for_a_scan_and_many_for_one_more() -> None:
    harness = Harness()
    harness.up()
    given = harness.handle(UnitAttentionReported(1, 3, UnitChange.LUNS))
    assert kinds(given) == ["ScanJob"]
    assert harness.has_logged("LUN 3: ", "LUNs of the target have changed")
    changes = [UnitAttentionReported(1, lun, UnitChange.LUNS) for lun in range(256)]
    assert harness.handle(*changes) == []
    given = scanned(harness)
    assert isinstance(given[0], StartWorker) and kinds(given) == ["ScanJob"]
    assert scanned(harness) == []
    assert len([line for line in harness.log if "LUN 3: the LUNs" in line]) == 1


def test_reported_luns_changed_is_answered_with_a_scan() -> None:
    harness = Harness()
    harness.up()
    header = bytearray(48)
    header[0], header[1], header[36] = 0x32, 0x80, 0
    sense = bytes(12) + b"\x3f\x0e" + bytes(4)
    data = len(sense).to_bytes(2, "big") + sense
    header[5:8] = len(data).to_bytes(3, "big")
    assert kinds(harness.handle(facts.PduReceived(1, bytes(header), data))) == ["ScanJob"]


def test_a_lun_of_the_file_that_the_target_does_not_have_is_reported_once() -> None:
    harness = rescanning()
    job = scan_job_last(harness)
    harness.handle(facts.ScanFinished(job, absent="7,300"), facts.WorkerEnded(job))
    assert harness.has_logged("warning", "no LUN 7,300")
    harness.log.clear()
    for absent, is_logged in (("7,300", False), ("7", True), ("", False), ("7", True)):
        harness.reload(configuration(PORTAL))
        job = scan_job_last(harness)
        harness.handle(facts.ScanFinished(job, absent=absent), facts.WorkerEnded(job))
        assert harness.has_logged("no LUN") == is_logged
        harness.log.clear()


def scan_job_last(harness: Harness) -> JobId:
    return next(job.id for job in reversed(harness.jobs) if isinstance(job, ScanJob))


# --- places -------------------------------------------------------------------------------------


@pytest.fixture
def two_sessions(monkeypatch: pytest.MonkeyPatch) -> Harness:
    """Two adopted sessions, of which only one can be scanned at a time: the second one waits."""
    monkeypatch.setattr(job_queue, "SCANS_AT_ONCE", 1)
    harness = Harness()
    second = f"iscsid:0:1:80aabbcc0001@{PORTAL}"
    harness.begin(
        configuration(PORTAL),
        kernel_session(1, target_state="ALLOCATED"),
        kernel_session(2, name=OTHER, session_tag=second, target_state="ALLOCATED"),
    )
    assert [job.sid for job in harness.jobs if isinstance(job, ScanJob)] == [1]
    return harness


def scans(harness: Harness, *new: facts.Fact) -> list[int]:
    """Return the sids of the scans that begin."""
    given = [order for order in harness.handle(*new) if isinstance(order, StartWorker)]
    return [order.job.sid for order in given if isinstance(order.job, ScanJob)]


def scan_job(harness: Harness) -> JobId:
    return next(job.id for job in harness.jobs if isinstance(job, ScanJob))


def test_a_scan_that_hangs_with_its_session_does_not_keep_its_place(two_sessions: Harness) -> None:
    """It ends when the session is logged in again, which may need a scan's place first."""
    assert scans(two_sessions, facts.ConnectionLost(1, "reset")) == [2]


@pytest.mark.parametrize(
    "end",
    [
        [facts.ConnectionLost(2, "reset")],
        [facts.SessionDestroyed(2)],
        [facts.SessionUnrecoverable(2, "its SCSI host is being removed")],
        [facts.SessionUnrecoverable(2, "its host"), facts.SessionDestroyed(2)],
    ],
)
def test_a_scan_that_waits_is_withdrawn_when_its_session_goes(
    end: list[facts.Fact], two_sessions: Harness
) -> None:
    """The host number may be that of another session when its turn comes."""
    assert scans(two_sessions, *end) == []
    job = scan_job(two_sessions)
    assert scans(two_sessions, facts.ScanFinished(job), facts.WorkerEnded(job)) == []


def test_a_session_that_is_logged_in_again_is_scanned_after_all(two_sessions: Harness) -> None:
    two_sessions.handle(facts.ConnectionLost(2, "reset"))
    job = scan_job(two_sessions)
    two_sessions.handle(facts.ScanFinished(job), facts.WorkerEnded(job))
    two_sessions.wait(TimerPurpose.RETRY_LOGIN)
    two_sessions.handle(facts.CmdSnLearned(2, 9))
    two_sessions.logged_in()
    two_sessions.handle(facts.SessionStarted(Binding(0, 1), 2, 3))
    (order,) = two_sessions.wait(TimerPurpose.SCAN)
    assert isinstance(order, StartWorker) and isinstance(order.job, ScanJob)


def test_a_session_begun_anew_gets_nothing_of_the_scan_of_the_one_before() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL), kernel_session(1, target_state="ALLOCATED"))
    job = scan_job(harness)
    assert StopWorker(job) in harness.handle(facts.SessionDestroyed(1))
    assert harness.handle(facts.ScanFinished(job, missing=(3,))) == []
