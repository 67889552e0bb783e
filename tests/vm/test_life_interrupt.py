"""SIGINT: the sessions are logged out, nothing that was written is lost, and what is in use stays.

Quotations are from the manual page iscsid(8).
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.patience import wait_until
from tests.vm import disks, sessions, wire
from tests.vm.daemon import Daemon
from tests.vm.tgtd import Tgtd

RED = "iqn.2003-02.org.example:red"
GREEN = "iqn.2003-02.org.example:green"


def write_unsynced(path: Path) -> str:
    """Write what stays in the cache for a while; return its checksum."""
    path.write_bytes(b"".join(number.to_bytes(8, "big") * 512 for number in range(256)))
    return disks.checksum(path)


@pytest.mark.both_kernels
def test_sigint_ends_what_is_idle_and_leaves_what_is_mounted(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    """ "caches are written back, a Logout Request is sent, the devices and their links disappear.
    A session whose disk is in use ... is left as it is; the log names it, and the exit status is
    3." """
    for name in (RED, GREEN):
        tgtd.add_target(name, {1: disks.make_file(tmp_path / name[-4:], 64)})
    daemon.configure("PingTimeout=0", f"DiscoveryAddress={tgtd.address}")
    daemon.start()
    numbers = daemon.wait_for_bindings(RED, GREEN)
    red, green = (daemon.link(*numbers[name], 1) for name in (RED, GREEN))
    daemon.wait_for_links(red, green)
    for link in (red, green):
        disks.make_file_system(link)
    with disks.mounted(green, tmp_path / "green-root") as green_root:
        disks.run("udevadm", "settle", "--timeout=60")
        with wire.captured() as capture:
            port = wire.source_port(sessions.session_of(RED))
            green_port = wire.source_port(sessions.session_of(GREEN))
            with disks.mounted(red, tmp_path / "red-root") as red_root:
                in_red = write_unsynced(red_root / "file")
            in_green = write_unsynced(green_root / "file")
            daemon.send(signal.SIGINT)
            assert daemon.wait() == 3
            requests, responses = capture.requests(port), capture.responses(port)
        commands = [each.command for each in requests if each.opcode == wire.SCSI_COMMAND]
        assert commands[-1] in wire.SYNCHRONIZE_CACHE, "the cache was not flushed at the end"
        assert requests[-1].opcode == wire.LOGOUT_REQUEST
        assert responses[-1].opcode == wire.LOGOUT_RESPONSE
        assert sessions.target_names() == [GREEN]
        assert not red.is_symlink() and not red.parents[1].exists()
        assert "mounted on" in daemon.wait_for_line(GREEN, "in use")
        assert green.exists() and wire.source_port(sessions.session_of(GREEN)) == green_port
        disks.write_pattern(green_root / "more", 1, seed="after the end")

    daemon.start()
    daemon.wait_for_links(red, green)
    for link, checksum in ((red, in_red), (green, in_green)):
        with disks.mounted(link, tmp_path / "again") as root:
            assert disks.checksum(root / "file") == checksum
    assert daemon.stop(signal.SIGINT) == 0
    assert sessions.session_ids() == []
    assert list(daemon.tree.glob("*")) == []


@pytest.mark.emulated("user-mode Linux has no kcmp(2): two openings that udev has count as one")
def test_sigint_ends_sessions_that_are_down_and_opened_disks_stay(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    """ "A session whose disk is in use (... used for swapping ...) ... is left as it is" """
    tgtd.add_target(RED, {1: disks.make_file(tmp_path / "red", 16)})
    daemon.configure(f"DiscoveryAddress={tgtd.address}")
    daemon.start()
    disk = daemon.link(0, 0, 1)
    daemon.wait_for_links(disk)
    disks.run("mkswap", disk)
    disks.run("swapon", disk)
    try:
        assert daemon.stop(signal.SIGINT) == 3
        assert "is swap" in daemon.wait_for_line(RED, "in use")
    finally:
        disks.run("swapoff", disk)
    tgtd.remove_target(RED)
    daemon.start()
    daemon.wait_for_line(RED, "adopted")
    assert daemon.stop(signal.SIGINT) == 0, daemon.log()
    assert sessions.session_ids() == []


def test_a_second_sigint_waits_for_no_target(tgtd: Tgtd, daemon: Daemon, tmp_path: Path) -> None:
    """ "A second SIGINT ends the daemon at once, with exit status 3; the sessions that are left
    stay, and the next start finishes the logouts that have begun." """
    tgtd.add_target(RED, {1: disks.make_file(tmp_path / "red", 16)})
    daemon.configure("PingTimeout=0", f"DiscoveryAddress={tgtd.address}")
    daemon.start()
    disk = daemon.link(0, 0, 1)
    daemon.wait_for_links(disk)
    (sid,) = sessions.session_ids()
    # A read of udev's that the target does not answer would keep the disk in use.
    disks.run("udevadm", "settle", "--timeout=60")
    with tgtd.frozen():
        daemon.send(signal.SIGINT)
        # The logout begins when the disks have been checked, which takes a worker a moment.
        wait_until(lambda: sessions.attribute(sid, "target_state") != "SCANNED", daemon.log)
        assert daemon.stop(signal.SIGINT) == 3
        assert daemon.wait_for_line("SIGINT again", "1 session stays")
        assert sessions.session_ids() == [sid]
    daemon.start()
    daemon.wait_for_line(RED, "adopted")
    daemon.wait_for_line(RED, "session is gone")
    daemon.wait_for_links(disk)
    assert daemon.stop(signal.SIGINT) == 0
    assert sessions.session_ids() == []


def test_sighup_and_sigint_that_come_together_end_the_daemon(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    """The daemon sees both when it goes on, and the files are read after SIGINT."""
    tgtd.add_target(RED, {1: disks.make_file(tmp_path / "red", 16)})
    daemon.configure(f"DiscoveryAddress={tgtd.address}")
    daemon.start()
    daemon.wait_for_links(daemon.link(0, 0, 1))
    for number in (signal.SIGSTOP, signal.SIGHUP, signal.SIGINT, signal.SIGCONT):
        daemon.send(number)
    assert daemon.wait() == 0
    assert daemon.wait_for_line("SIGHUP: reading") and daemon.wait_for_line("SIGINT: logging out")
    assert sessions.session_ids() == []


def test_a_removed_disk_that_is_still_open_keeps_no_session(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    """The kernel's count of openings is one for all sessions, and has this one in it."""
    for name in (RED, GREEN):
        tgtd.add_target(name, {1: disks.make_file(tmp_path / name[-4:], 16)})
    daemon.configure(f"DiscoveryAddress={tgtd.address}")
    daemon.start()
    numbers = daemon.wait_for_bindings(RED, GREEN)
    red, green = (daemon.link(*numbers[name], 1) for name in (RED, GREEN))
    daemon.wait_for_links(red, green)
    disks.run("udevadm", "settle", "--timeout=60")
    with red.open("rb"):
        Path(f"/sys/block/{red.resolve().name}/device/delete").write_text("1")
        wait_until(lambda: not red.is_symlink(), daemon.log)
        assert daemon.stop(signal.SIGINT) == 0, daemon.log()
    assert sessions.session_ids() == []
