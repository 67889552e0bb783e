"""Numbers, names and places that two targets want: each disk keeps its own, and none is held up."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from tests.support.patience import wait_until
from tests.vm import disks, faults, sessions, wire
from tests.vm.conftest import needs_lio
from tests.vm.daemon import Daemon
from tests.vm.lio import Lio
from tests.vm.tgtd import Tgtd

NAMES = [f"iqn.2003-02.org.example:whose{number}" for number in range(2)]
ADDRESSES = ("127.0.0.1:3260", "127.0.0.2:3260")
MARKS = (b"the first array's", b"the second array's")


def has_come_back(daemon: Daemon, name: str) -> Callable[[], bool]:
    return lambda: len(daemon.lines_about(name, "session is up")) == 2


def test_exchanged_numbers_leave_running_sessions_and_their_disks_alone(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    for name in NAMES:
        tgtd.add_target(name, {1: disks.make_file(tmp_path / name[-6:], 8)})
    daemon.configure(f"DiscoveryAddress={tgtd.address}")
    daemon.start()
    links = [daemon.link(0, 0, 1), daemon.link(0, 1, 1)]
    daemon.wait_for_links(*links)
    numbers = daemon.wait_for_bindings(*NAMES)
    nodes = [link.readlink() for link in links]
    text = daemon.bindings.read_text()
    exchanged = text.replace(NAMES[0], "?").replace(NAMES[1], NAMES[0]).replace("?", NAMES[1])
    daemon.bindings.write_text(exchanged)
    daemon.send(signal.SIGHUP)
    for name in NAMES:
        daemon.wait_for_line(name, "the running session keeps")
    wait_until(lambda: daemon.read_bindings() == numbers, daemon.log)
    assert len(sessions.session_ids()) == 2
    for name in NAMES:
        wire.cut(sessions.session_of(name))
        daemon.wait_for_line(name, "session is down")
        wait_until(has_come_back(daemon, name), daemon.log)
    assert [link.readlink() for link in links] == nodes
    assert len(sessions.session_ids()) == 2


@needs_lio
def test_two_arrays_with_one_factory_name_are_never_joined(daemon: Daemon, tmp_path: Path) -> None:
    arrays: tuple[Lio | Tgtd, ...] = (Lio(portals=ADDRESSES[:1]), Tgtd(ADDRESSES[1]))
    try:
        for array, mark in zip(arrays, MARKS, strict=True):
            file = disks.make_file(tmp_path / f"disk{array.address[8]}", 8)
            with file.open("r+b") as opened:
                opened.write(mark)
            array.add_target(NAMES[0], {1: file})
        entries = [f"DiscoveryAddress={address}" for address in ADDRESSES]
        daemon.configure(entries[0])
        daemon.start()
        first = daemon.link(0, 0, 1)
        daemon.wait_for_links(first)
        daemon.configure(*entries)
        daemon.send(signal.SIGHUP)
        daemon.wait_for_line(NAMES[0], ADDRESSES[1], "NetworkEntity")
        assert len(sessions.session_ids()) == 1
        daemon.configure(entries[0], f"{entries[1]}\n    NetworkEntity=second")
        daemon.send(signal.SIGHUP)
        links = [first, daemon.link(1, 0, 1)]
        daemon.wait_for_links(*links)
        for link, mark in zip(links, MARKS, strict=True):
            assert disks.read_start(link, len(mark)) == mark
        assert daemon.stop(signal.SIGINT) == 0
        # Whichever answers first: the names are the same.
        daemon.start()
        daemon.wait_for_links(*links)
        for link, mark in zip(links, MARKS, strict=True):
            assert disks.read_start(link, len(mark)) == mark
        assert daemon.stop(signal.SIGINT) == 0
    finally:
        daemon.end()
        sessions.destroy_all()
        for array in arrays:
            array.stop()


def test_a_lun_above_255_is_found_by_the_arrays_number(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    """tgtd uses flat space addressing for it: the kernel calls it 16684 (412Ch)."""
    tgtd.add_target(NAMES[0], {1: disks.make_file(tmp_path / "one", 8)})
    tgtd.add_lun(NAMES[0], 300, disks.make_file(tmp_path / "three-hundred", 8))
    daemon.configure(f"TargetName={NAMES[0]}", f"    Address={tgtd.address}", "    LUNs=300,301")
    daemon.start()
    daemon.wait_for_links(daemon.link(0, 0, 16684))
    daemon.wait_for_line(NAMES[0], "no LUN 301")
    assert not daemon.link(0, 0, 1).exists()


def test_scans_that_hang_do_not_keep_the_logins_that_would_end_them_waiting(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    """As many scans as --max-processes allows logins, and every connection is lost."""
    for name in NAMES:
        tgtd.add_target(name, {1: disks.make_file(tmp_path / name[-6:], 8)})
    static = [f"TargetName={name}\n    Address={tgtd.address}" for name in NAMES]
    daemon.configure("ActiveTimeout=1", "IdleTimeout=1", "PingTimeout=1", *static)
    daemon.start("--max-processes=2", "--login-timeout=5")
    daemon.wait_for_links(daemon.link(0, 0, 1), daemon.link(0, 1, 1))
    with faults.silence():
        daemon.send(signal.SIGHUP)
        for name in NAMES:
            daemon.wait_for_line(name, "session is down")
    for name in NAMES:
        wait_until(has_come_back(daemon, name), daemon.log)
    wait_until(lambda: not daemon.workers(), lambda: f"scans go on\n{daemon.log()}")
