"""Stories of LUNs that come and go: who asks for a scan, and what may be removed after it."""

from __future__ import annotations

from iscsid import facts, orders
from iscsid.errors import Failure, Retry
from iscsid.facts import (
    Device,
    DeviceAppeared,
    TimerPurpose,
    UnitAttentionReported,
    UnitChange,
)
from iscsid.jobs import ScanJob
from iscsid.orders import Order, StartWorker
from tests.support.harness import PORTAL, Stage, configuration, kinds

PATH = "/sys/devices/platform/host2/session1/target2:0:0/2:0:0:3/block/sda"
DISK = Device(path=PATH, sid=1, lun=3, link="disk", node="/dev/sda", identity="naa.3")
LINK = "bus0/target0/lun3/disk"
MOUNTED = ("/dev/sda is mounted on /data",)


def scanned(stage: Stage, *missing: int) -> list[Order]:
    """The scan ordered last is over."""
    job = stage.job
    return stage.tell(facts.ScanFinished(job, missing), facts.WorkerEnded(job))


def rescanning(*devices: Device) -> Stage:
    """A session that is up and looks for its LUNs again."""
    stage = Stage()
    stage.up()
    stage.tell(*map(DeviceAppeared, devices))
    stage.reload(configuration(PORTAL))
    return stage


def last_scan(stage: Stage) -> ScanJob:
    job = stage.jobs[-1]
    assert isinstance(job, ScanJob)
    return job


def test_disk_of_a_lun_that_is_gone_is_removed_after_its_link() -> None:
    stage = rescanning(DISK)
    assert scanned(stage, 3) == [orders.CheckLunUsers(1, (3,))]
    given = stage.tell(facts.LunUsersChecked(1, ((3, ()),)))
    assert kinds(given) == ["RemoveLink", "AnnounceDevice", "ScanJob"]
    assert given[0] == orders.RemoveLink(LINK)
    assert last_scan(stage).drop == {3}
    assert stage.said("LUN 3 is gone at the target: removing it")


def test_disk_that_could_not_be_removed_keeps_its_link_and_is_not_tried_for_ever() -> None:
    stage = rescanning(DISK)
    scanned(stage, 3)
    stage.tell(facts.LunUsersChecked(1, ((3, ()),)))
    given = scanned(stage, 3)
    assert given[0] == orders.MakeLink(LINK, "/dev/sda", PATH)
    assert not {"CheckLunUsers", "ScanJob"} & set(kinds(given))


def test_link_comes_back_when_the_child_that_removes_its_disk_dies() -> None:
    stage = rescanning(DISK)
    scanned(stage, 3)
    stage.tell(facts.LunUsersChecked(1, ((3, ()),)))
    killed = Failure(Retry.SOON, "killed by SIGKILL")
    given = stage.tell(facts.WorkerEnded(stage.job, killed))
    assert orders.MakeLink(LINK, "/dev/sda", PATH) in given
    assert stage.said("scanning for LUNs failed", "SIGKILL")


def test_scan_that_fails_because_its_session_has_gone_is_no_trouble() -> None:
    stage = rescanning(DISK)
    job = last_scan(stage).id
    stage.tell(facts.SessionDestroyed(1))
    gone = Failure(Retry.SOON, "host2 cannot be scanned: No such file or directory")
    stage.tell(facts.ScanFailed(job, gone), facts.WorkerEnded(job))
    assert not [line for line in stage.log if line.startswith("warning") and "scanning" in line]
    assert not [timer for timer in stage.timers if timer.purpose is TimerPurpose.SCAN]


def test_lun_in_use_is_kept_and_said_once_until_it_was_there_again() -> None:
    stage = rescanning(DISK)
    for missing, lines in (((3,), 1), ((3,), 1), ((), 1), ((3,), 2)):
        scanned(stage, *missing)
        if missing:
            assert stage.tell(facts.LunUsersChecked(1, ((3, MOUNTED),))) == []
        said = [
            line for line in stage.log if "LUN 3 is gone" in line and "mounted on /data" in line
        ]
        assert len(said) == lines
        assert all(line.startswith("error") and "SIGHUP" in line for line in said)
        stage.reload(configuration(PORTAL))


def test_unused_luns_go_and_used_ones_stay() -> None:
    stage = rescanning()
    scanned(stage, 5, 3)
    stage.tell(facts.LunUsersChecked(1, ((3, MOUNTED), (5, ()))))
    assert last_scan(stage).drop == {5}


def test_nothing_is_removed_on_an_answer_that_is_older_than_the_scan_under_way() -> None:
    stage = rescanning(DISK)
    job = stage.job
    stage.reload(configuration(PORTAL))  # one more scan is due
    given = stage.tell(facts.ScanFinished(job, (3,)), facts.WorkerEnded(job))
    assert kinds(given) == ["CheckLunUsers", "ScanJob"]
    assert stage.tell(facts.LunUsersChecked(1, ((3, ()),))) == []
    assert last_scan(stage).drop == frozenset()


def test_nothing_is_removed_while_the_session_is_down() -> None:
    stage = rescanning(DISK)
    scanned(stage, 3)
    stage.tell(facts.ConnectionLost(1, "reset"))
    assert stage.tell(facts.LunUsersChecked(1, ((3, ()),))) == []


def test_answers_about_a_session_that_is_gone_are_passed_over() -> None:
    stage = rescanning(DISK)
    assert stage.tell(facts.LunUsersChecked(9, ((3, ()),))) == []
    assert stage.tell(UnitAttentionReported(9, 3, UnitChange.LUNS)) == []


def test_unit_attention_asks_for_a_scan_and_many_for_one_more() -> None:
    stage = Stage()
    stage.up()
    given = stage.tell(UnitAttentionReported(1, 3, UnitChange.LUNS))
    assert kinds(given) == ["ScanJob"]
    assert stage.said("LUN 3 says", "LUNs of the target have changed")
    changes = [UnitAttentionReported(1, lun, UnitChange.LUNS) for lun in range(256)]
    assert stage.tell(*changes) == []
    given = scanned(stage)
    assert isinstance(given[0], StartWorker) and kinds(given) == ["ScanJob"]
    assert scanned(stage) == []
    assert len([line for line in stage.log if "says" in line]) == 1


def test_reported_luns_changed_is_answered_with_a_scan() -> None:
    stage = Stage()
    stage.up()
    header = bytearray(48)
    header[0], header[1], header[36] = 0x32, 0x80, 0
    sense = bytes(12) + b"\x3f\x0e" + bytes(4)
    data = len(sense).to_bytes(2, "big") + sense
    header[5:8] = len(data).to_bytes(3, "big")
    assert kinds(stage.tell(facts.PduReceived(1, bytes(header), data))) == ["ScanJob"]
