"""What sysfs shows of sessions, and what becomes of files that are not there."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from iscsid.devices.sysfs import entries
from iscsid.errors import IscsidError, Retry
from iscsid.facts import KernelSession
from iscsid.protocol.names import Portal
from tests.support.sysfs_tree import CONNECTION, SESSION, SysfsTree


@pytest.fixture
def tree(tmp_path: Path) -> SysfsTree:
    return SysfsTree(tmp_path)


def test_session_is_described_with_its_connection(tree: SysfsTree) -> None:
    tree.add_session(12, 3)
    assert tree.sysfs.sessions() == (
        KernelSession(
            sid=12,
            host_no=3,
            target_name="iqn.2004-09.org.example:disks",
            session_tag="iscsid:0:3:800000000003",
            state="LOGGED_IN",
            target_state="SCANNED",
            connection_state="up",
            persistent_portal=Portal("192.0.2.1", 3260),
            portal_group_tag=1,
        ),
    )


def test_sessions_come_in_the_order_of_their_sids(tree: SysfsTree) -> None:
    for sid in (10, 9, 100):
        tree.add_session(sid, sid)
    assert [session.sid for session in tree.sysfs.sessions()] == [9, 10, 100]


def test_sessions_of_other_transports_are_left_out(tree: SysfsTree) -> None:
    tree.add_session(1, 1, driver="qla4xxx")
    tree.add_session(2, 2)
    assert [session.sid for session in tree.sysfs.sessions()] == [2]


def test_session_without_a_connection_is_seen_as_such(tree: SysfsTree) -> None:
    tree.add_session(1, 1, connection=None)
    (session,) = tree.sysfs.sessions()
    assert (session.connection_state, session.persistent_portal) == (None, None)


@pytest.mark.parametrize(("creator", "is_gone"), [("1201", False), ("-993672480", True)])
def test_session_whose_maker_has_no_socket_any_more_has_lost_it(
    creator: str, is_gone: bool, tree: SysfsTree
) -> None:
    tree.add_session(1, 1, session=SESSION | {"creator": creator})
    (session,) = tree.sysfs.sessions({0, 1201})
    assert session.maker_is_gone == is_gone


def test_port_beyond_the_signed_numbers_is_found_among_the_open_ones(tree: SysfsTree) -> None:
    tree.add_session(1, 1, session=SESSION | {"creator": "-993672480"})
    (session,) = tree.sysfs.sessions({3301294816})
    assert not session.maker_is_gone


def test_text_that_was_never_set_is_no_text(tree: SysfsTree) -> None:
    session = SESSION | {"ifacename": "(null)", "targetname": "(null)"}
    tree.add_session(
        1, 1, session=session, connection=CONNECTION | {"persistent_address": "(null)"}
    )
    (found,) = tree.sysfs.sessions()
    assert (found.session_tag, found.target_name, found.persistent_portal) == ("", "", None)


@pytest.mark.parametrize("missing", ["target_state", "tpgt"])
def test_attribute_that_is_not_there_spoils_nothing_else(missing: str, tree: SysfsTree) -> None:
    """Not every kernel has target_state."""
    session = {name: text for name, text in SESSION.items() if name != missing}
    tree.add_session(1, 1, session=session)
    (found,) = tree.sysfs.sessions()
    assert found.connection_state == "up"


@pytest.mark.parametrize("junk", ["", "x", "-", "1 2", "\ufffd"])
def test_number_that_is_none_is_left_out(junk: str, tree: SysfsTree) -> None:
    tree.add_session(1, 1, session=SESSION | {"tpgt": junk})
    (found,) = tree.sysfs.sessions()
    assert found.portal_group_tag is None


def test_session_that_vanishes_while_being_read_is_left_out(tree: SysfsTree) -> None:
    device = tree.add_session(1, 1)
    tree.add_session(2, 2)
    shutil.rmtree(device)
    assert [session.sid for session in tree.sysfs.sessions()] == [2]
    assert tree.sysfs.host_no(1) is None
    assert not tree.sysfs.has_session(1)
    assert tree.sysfs.devices(1) == []
    assert tree.sysfs.target_state(1) == ""


@pytest.mark.parametrize("missing", ["state", "targetname", "ifacename"])
def test_session_that_cannot_be_read_is_not_taken_for_gone(missing: str, tree: SysfsTree) -> None:
    tree.add_session(1, 1, session={name: SESSION[name] for name in SESSION if name != missing})
    tree.add_session(2, 2)
    found = tree.sysfs.look()
    assert found.unread == (1,) and [session.sid for session in found.sessions] == [2]


def test_session_whose_host_cannot_be_read_is_not_taken_for_gone(tree: SysfsTree) -> None:
    tree.add_session(1, 1)
    (tree.root / "class/scsi_host/host1").unlink()
    assert tree.sysfs.look().unread == (1,)


def test_connection_whose_state_cannot_be_read_is_not_taken_for_missing(tree: SysfsTree) -> None:
    connection = {name: text for name, text in CONNECTION.items() if name != "state"}
    tree.add_session(1, 1, connection=connection)
    (found,) = tree.sysfs.sessions()
    assert found.connection_state == ""
    assert found.persistent_portal == Portal("192.0.2.1", 3260)


def test_session_has_the_initiator_name_that_it_logged_in_with(tree: SysfsTree) -> None:
    tree.add_session(1, 1, session=SESSION | {"initiatorname": "iqn.2004-09.org.example:Me"})
    (found,) = tree.sysfs.sessions()
    assert found.initiator_name == "iqn.2004-09.org.example:Me"


def test_machine_without_iscsi_has_no_sessions(tmp_path: Path) -> None:
    assert SysfsTree(tmp_path).sysfs.sessions() == ()


def test_transport_handle_is_a_number_of_64_bits(tree: SysfsTree) -> None:
    assert tree.sysfs.transport_handle() == 0xFFFF888012345678


def test_missing_transport_names_the_module_to_load(tree: SysfsTree) -> None:
    shutil.rmtree(tree.root / "class/iscsi_transport")
    """A module that is taken out while the daemon runs may come back at any time."""
    with pytest.raises(IscsidError, match="modprobe iscsi_tcp") as error:
        tree.sysfs.transport_handle()
    assert error.value.retry is Retry.LATER


def test_logical_units_are_found_with_their_luns_and_disks(tree: SysfsTree) -> None:
    device = tree.add_session(7, 5)
    for lun, nodes in ((10, ()), (2, ("sdb", "sdb1", "sdb2")), (0, ("sda",))):
        tree.add_unit(device, 5, lun, *nodes)
    units = tree.sysfs.devices(7)
    assert [unit.lun for unit in units] == [0, 2, 10]
    assert [[path.name for path in unit.block_devices()] for unit in units] == [
        ["sda"],
        ["sdb", "sdb1", "sdb2"],
        [],
    ]


def test_unit_is_deleted_rescanned_and_timed_through_its_own_files(tree: SysfsTree) -> None:
    path = tree.add_unit(tree.add_session(7, 5), 5, 1, "sda")
    (unit,) = tree.sysfs.devices(7)
    unit.delete()
    unit.rescan()
    unit.set_command_timeout(60)
    assert [(path / name).read_text()[:2] for name in ("delete", "rescan", "timeout")] == [
        "1",
        "1",
        "60",
    ]


def test_unit_that_is_gone_is_an_error_and_no_new_file(tree: SysfsTree) -> None:
    path = tree.add_unit(tree.add_session(7, 5), 5, 1, "sda")
    (unit,) = tree.sysfs.devices(7)
    (path / "delete").unlink()
    with pytest.raises(FileNotFoundError):
        unit.delete()
    assert not (path / "delete").exists()


@pytest.mark.parametrize(("lun", "text"), [(None, "0 0 -"), (0, "0 0 0"), (255, "0 0 255")])
def test_scan_names_the_only_target_and_the_lun(
    lun: int | None, text: str, tree: SysfsTree
) -> None:
    tree.add_session(7, 5)
    scan = tree.root / "class/scsi_host/host5/scan"
    scan.touch()
    tree.sysfs.scan(5, lun)
    assert scan.read_text() == text


def test_identities_are_the_pages_of_the_units_that_have_one(tree: SysfsTree) -> None:
    device = tree.add_session(4, 2)
    page = bytes.fromhex("0083000c01030008") + bytes(8)
    (tree.add_unit(device, 2, 16640, "sdb") / "vpd_pg83").write_bytes(page)
    (tree.add_unit(device, 2, 1, "sda") / "vpd_pg83").write_bytes(page + b"\n\0")
    (tree.add_unit(device, 2, 7) / "vpd_pg83").write_bytes(b"")
    tree.add_unit(device, 2, 5, "sdc")
    assert tree.sysfs.identities(4) == ((1, page + b"\n\0"), (16640, page))


def test_session_that_is_gone_has_no_identities(tree: SysfsTree) -> None:
    assert tree.sysfs.identities(4) == ()


def test_directory_that_vanishes_while_one_looks_around_is_left_out(
    tree: SysfsTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that was destroyed from outside did this in the middle of a look at its disks."""
    device = tree.add_session(1, 5)
    tree.add_unit(device, 5, 2, "sda", "sda1")
    listdir = os.listdir

    def vanishing(path: Path) -> list[str]:
        names = listdir(path)
        if path.name == "device":
            shutil.rmtree(path / "target5:0:0")
        return names

    monkeypatch.setattr(os, "listdir", vanishing)
    assert tree.sysfs.devices(1) == []


def test_what_cannot_be_looked_at_is_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk whose users cannot be found out must not be taken for unused."""

    def exhausted(_: Path) -> list[str]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "listdir", exhausted)
    (tmp_path / "holders").mkdir()
    with pytest.raises(OSError, match="Too many open files"):
        entries(tmp_path, "holders/*")


def test_entries_are_found_on_every_level_in_order(tmp_path: Path) -> None:
    for name in ("sdb/sdb1", "sda/sda2", "sda/sda1"):
        (tmp_path / "block" / name).mkdir(parents=True)
        (tmp_path / "block" / name / "partition").touch()
    (tmp_path / "block/sda/size").touch()
    found = [str(path.relative_to(tmp_path)) for path in entries(tmp_path, "block/*/*/partition")]
    parts = ("sda/sda1", "sda/sda2", "sdb/sdb1")
    assert found == [f"block/{part}/partition" for part in parts]
    assert entries(tmp_path, "nothing/*") == []
