"""The status files are whole, readable by all, written only when there is something new."""

from __future__ import annotations

import os
import shutil
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from iscsid.devices import lun_details
from iscsid.devices.sysfs import Sysfs
from iscsid.facts import (
    Device,
    DeviceAppeared,
    DeviceVanished,
    UnitAttentionReported,
    UnitChange,
    WorkerEnded,
)
from iscsid.jobs import JobId, ScanJob
from iscsid.process.status_files import LOOK, REST, RETRY, StatusFiles, directory_for
from iscsid.status.model import LunStatus, Status, from_json
from tests.support.kill_at_step import killed_at_step
from tests.support.statuses import DISK, STATUS
from tests.support.sysfs_tree import SysfsTree


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "iscsid"


@pytest.fixture
def tree(tmp_path: Path) -> SysfsTree:
    return SysfsTree(tmp_path / "sys")


@pytest.fixture
def files(directory: Path, tree: SysfsTree) -> StatusFiles:
    return StatusFiles(str(directory), tree.sysfs)


def written(directory: Path) -> Status:
    return from_json((directory / "status.json").read_text())


def test_files_lie_beside_the_pid_file() -> None:
    assert directory_for("/var/run/iscsid.pid") == "/var/run/iscsid"
    assert directory_for("/run/other") == "/run/other.d"


def test_both_files_are_written_for_everybody_to_read(files: StatusFiles, directory: Path) -> None:
    before = os.umask(0o077)
    try:
        assert files.write(lambda: STATUS) == ""
    finally:
        os.umask(before)
    assert sorted(os.listdir(directory)) == ["devices", "status.json"]
    for path, mode in ((directory, 0o755), *((each, 0o644) for each in directory.iterdir())):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert written(directory) == STATUS
    assert "iqn.2003-02.org.example:red" in (directory / "devices").read_text()


def test_what_only_sysfs_knows_is_added(
    files: StatusFiles, directory: Path, tree: SysfsTree
) -> None:
    device = tree.add_session(1, 6)
    unit = tree.add_unit(device, 6, 1, "sda", "sda1")
    (unit / "vendor").write_text("ACME\n")
    (unit / "block/sda/size").write_text("2048\n")
    tree.add_unit(device, 6, 9, "sdb")
    files.write(lambda: STATUS)
    first, ninth, replaced = (written(directory).sessions[0].luns[n] for n in (0, 2, 1))
    assert (first.vendor, first.size) == ("ACME", 1 << 20)
    assert first.links == DISK.links, "the links that there are, not the nodes there might be"
    assert first.unlinked == [] and first.permitted
    assert ninth == LunStatus(lun=9, unlinked=["disk"]), "a unit that has no links yet"
    assert replaced == LunStatus(lun=5, replaced=True)


@pytest.mark.parametrize(
    "unit", [LunStatus(lun=1, replaced=True), LunStatus(lun=1, permitted=False)]
)
def test_links_of_a_unit_that_shall_have_none_are_not_still_to_come(
    files: StatusFiles, directory: Path, tree: SysfsTree, unit: LunStatus
) -> None:
    tree.add_unit(tree.add_session(1, 6), 6, 1, "sda")
    files.write(lambda: replace(STATUS, sessions=[replace(STATUS.sessions[0], luns=[unit])]))
    assert written(directory).sessions[0].luns == [unit]


def test_parameters_of_an_adopted_session_come_from_the_kernel(
    files: StatusFiles, directory: Path, tree: SysfsTree
) -> None:
    adopted = replace(STATUS.sessions[0], negotiated={})
    session = {"state": "LOGGED_IN", "erl": "0"}
    tree.add_session(1, 6, session=session)
    files.write(lambda: replace(STATUS, sessions=[adopted]))
    assert written(directory).sessions[0].negotiated == {"ErrorRecoveryLevel": 0}


def test_files_are_due_after_a_change_and_not_before_the_rest_is_over(files: StatusFiles) -> None:
    assert files.deadline() is None
    files.note_change()
    assert files.deadline() == 0.0, "at once"
    before = time.monotonic()
    files.write(lambda: STATUS)
    assert files.deadline() is None
    files.note_change()
    due = files.deadline()
    assert due is not None and due >= before + REST


def test_failure_is_logged_once_and_so_is_its_end(files: StatusFiles, directory: Path) -> None:
    again = "the status is written again"
    for _ in range(2):
        directory.write_text("in the way")
        assert (
            files.write(lambda: STATUS)
            == f"the status is not written: {directory}: Not a directory"
        )
        assert files.write(lambda: STATUS) == ""
        directory.unlink()
        assert files.write(lambda: STATUS) == again
        assert files.write(lambda: STATUS) == ""
        files.remove()


def test_what_could_not_be_written_is_due_again(files: StatusFiles, directory: Path) -> None:
    """A full /run kept an old status, or none, until something changed in a session."""
    directory.write_text("in the way")
    before = time.monotonic()
    files.write(lambda: STATUS)
    due = files.deadline()
    assert due is not None and due >= before + RETRY


@pytest.mark.parametrize("name", ["status.json", "devices", ""])
def test_files_that_are_gone_are_written_again(
    files: StatusFiles, directory: Path, name: str
) -> None:
    assert files.look_deadline() is None
    files.write(lambda: STATUS)
    due = files.look_deadline()
    assert due is not None and due >= time.monotonic() + LOOK - 5
    files.look()
    assert files.deadline() is None
    shutil.rmtree(directory) if not name else (directory / name).unlink()
    files.look()
    assert files.deadline() is not None
    files.write(lambda: STATUS)
    assert written(directory) == STATUS


def test_a_link_in_the_place_of_the_directory_is_not_followed(
    files: StatusFiles, directory: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "devices").write_text("precious")
    files.remove()
    directory.symlink_to(elsewhere)
    assert "a symbolic link, which is not followed" in files.write(lambda: STATUS)
    files.remove()
    assert [path.name for path in elsewhere.iterdir()] == ["devices"]


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
def test_directory_that_others_may_write_to_is_not_used(
    files: StatusFiles, directory: Path, mode: int
) -> None:
    """It could be exchanged for a link while files are written or removed."""
    directory.mkdir()
    directory.chmod(mode)
    (directory / "devices").write_text("theirs")
    assert "another user may write to it" in files.write(lambda: STATUS)
    files.remove()
    assert [path.name for path in directory.iterdir()] == ["devices"]


def test_planted_link_is_replaced_and_not_followed(files: StatusFiles, directory: Path) -> None:
    directory.mkdir()
    victim = directory.parent / "victim"
    victim.write_text("precious")
    (directory / ".status.json.new").symlink_to(victim)
    assert files.write(lambda: STATUS) == ""
    assert victim.read_text() == "precious" and written(directory) == STATUS


def test_planted_pipe_does_not_hold_the_daemon_up(files: StatusFiles, directory: Path) -> None:
    """Opened for writing it waited for a reader, for ever."""
    directory.mkdir()
    os.mkfifo(directory / ".devices.new")
    assert files.write(lambda: STATUS) == ""
    assert stat.S_ISREG((directory / "devices").stat().st_mode)


def test_at_the_end_nothing_is_left(files: StatusFiles, directory: Path) -> None:
    files.write(lambda: STATUS)
    files.remove()
    assert not directory.exists()
    files.remove()


def test_what_others_put_there_stays(files: StatusFiles, directory: Path) -> None:
    files.write(lambda: STATUS)
    (directory / "mine").write_text("")
    files.remove()
    assert os.listdir(directory) == ["mine"]


def test_killed_at_any_step_leaves_files_that_can_be_read(directory: Path) -> None:
    changed = replace(STATUS, bindings=3)
    StatusFiles(str(directory)).write(lambda: STATUS)
    step = 1
    while killed_at_step(step, lambda: write(directory, changed)):
        assert written(directory) in (STATUS, changed)
        step += 97
    assert step > 500


def write(directory: Path, status: Status) -> None:
    StatusFiles(str(directory)).write(lambda: status)


# --- many sessions ------------------------------------------------------------------------------


def many(tree: SysfsTree, number: int) -> Status:
    """Make sessions in /sys, and their status."""
    sessions = []
    for sid in range(1, number + 1):
        tree.add_unit(tree.add_session(sid, sid), sid, 1, f"sd{sid}")
        sessions.append(replace(STATUS.sessions[0], sid=sid, target=sid, luns=[]))
    return replace(STATUS, sessions=sessions)


def test_files_of_many_sessions_are_written_in_slices(
    files: StatusFiles, directory: Path, tree: SysfsTree
) -> None:
    """All of 1,000 sessions in one turn of the loop took a second."""
    status = many(tree, 20)
    files.note_change()
    turns = 0
    while files.deadline() == 0.0:
        assert files.write(lambda: status, 0.0) == ""
        turns += 1
    assert turns == 20
    assert [each.luns[0].lun for each in written(directory).sessions] == [1] * 20


def test_only_what_has_changed_is_read_again(
    files: StatusFiles, directory: Path, tree: SysfsTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = many(tree, 6)
    files.write(lambda: status)
    reads: list[int] = []
    real = lun_details.luns

    def counted(sysfs: Sysfs, sid: int) -> list[LunStatus]:
        reads.append(sid)
        return real(sysfs, sid)

    monkeypatch.setattr("iscsid.process.status_files.luns", counted)
    path = "/sys/devices/platform/host3/session3/target3:0:0/3:0:0:1/block/sd3"
    device = Device(path="/a", sid=2, lun=1, link="disk", node="/dev/sd2")
    files.note_scan(ScanJob(id=JobId(9), sid=4, host_no=4, target_name="iqn.a"))
    for fact in (
        DeviceAppeared(device),
        DeviceVanished(path),
        WorkerEnded(JobId(9)),
        UnitAttentionReported(5, 1, UnitChange.SIZE),
    ):
        files.note_change(fact)
    status.sessions[5] = replace(status.sessions[5], state="waiting")
    files.write(lambda: status)
    assert reads == [2, 3, 4, 5, 6]
    files.note_change()
    files.write(lambda: status)
    assert len(reads) == 5
    assert written(directory).sessions[5].state == "waiting"


def test_session_that_goes_is_not_shown_any_more(
    files: StatusFiles, directory: Path, tree: SysfsTree
) -> None:
    status = many(tree, 3)
    files.write(lambda: status)
    files.write(lambda: replace(status, sessions=status.sessions[1:]))
    assert [each.sid for each in written(directory).sessions] == [2, 3]
