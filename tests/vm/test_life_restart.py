"""A daemon that is started again takes its sessions over as they are, down to the last packet.

Quotations are from the manual page iscsid(8).
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.patience import wait_until
from tests.vm import disks, foreign_sessions, kernel_helpers, sessions, wire
from tests.vm.daemon import Daemon, show_tree
from tests.vm.tgtd import Tgtd

RED = "iqn.2003-02.org.example:red"
GREEN = "iqn.2003-02.org.example:green"
BLUE = "iqn.2003-02.org.example:blue"
NO_PINGS = "PingTimeout=0"


def state(sid: int) -> str:
    return sessions.attribute(sid, "state")


def wait_for_state(sid: int, wanted: str) -> None:
    wait_until(lambda: state(sid) == wanted, lambda: f"session {sid} is {state(sid)}")


@pytest.mark.both_kernels
def test_restart_touches_healthy_sessions_not_at_all_and_heals_the_others(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    """ "On healthy ones it sends nothing ...; for broken ones it logs in again at once. Sessions
    of other programs are not touched" """
    names = (RED, GREEN, BLUE)
    for name in (*names, kernel_helpers.TARGET):
        tgtd.add_target(name, {1: disks.make_file(tmp_path / name[-4:], 16)})
    foreign = foreign_sessions.make_session()
    not_ours = (f"TargetName={kernel_helpers.TARGET}", "    Enabled=no")
    daemon.configure(NO_PINGS, f"DiscoveryAddress={tgtd.address}", *not_ours)
    daemon.start()
    numbers = daemon.wait_for_bindings(*names)
    links = [daemon.link(*numbers[name], 1) for name in names]
    daemon.wait_for_links(*links)
    red, green, blue = (sessions.session_of(name) for name in names)
    green_port = wire.source_port(green)
    assert daemon.stop() == 0
    disks.run("udevadm", "settle", "--timeout=60")

    wire.cut(green)
    wait_for_state(green, "FAILED")
    foreign_sessions.begin_logout(blue)
    untouched = [wire.source_port(sid) for sid in (red, foreign)]
    with wire.captured() as capture:
        daemon.start()
        # The half-made logout is finished, and the target, still wanted, gets a new session.
        wait_until(lambda: len(daemon.lines_about(BLUE, "session is up")) == 2, daemon.log)
        wait_for_state(green, "LOGGED_IN")
        daemon.wait_for_links(*links)
        daemon.wait_for_line(RED, "adopted, up")
        daemon.wait_for_line(GREEN, "adopted, down")
        daemon.wait_for_line(str(foreign), "another program")
        # "Wait until the running daemon has tried every target once": adopted is tried.
        assert daemon.run("--wait=120").returncode == 0
        disks.run("udevadm", "settle", "--timeout=60")
        for port in untouched:
            assert capture.carried(port) == [], "a healthy session was touched"
        assert capture.carried(wire.source_port(green)), "the capture has nothing"
    assert [wire.source_port(sid) for sid in (red, foreign)] == untouched
    assert wire.source_port(green) != green_port
    assert sessions.session_of(RED) == red and sessions.session_of(GREEN) == green
    assert sessions.session_of(BLUE) != blue
    assert state(foreign) == "LOGGED_IN"
    for name, link in zip(names, links, strict=True):
        disks.write_at_start(link, name.encode())
        disks.assert_starts_with(tmp_path / name[-4:], name.encode())

    # "End, ... but first shut down all of the daemon's sessions": and none that is not.
    assert daemon.stop(signal.SIGINT) == 0
    assert sessions.session_ids() == [foreign] and state(foreign) == "LOGGED_IN"
    assert wire.source_port(foreign) == untouched[1]


@pytest.mark.parametrize("with_connection", [False, True], ids=["session", "connection"])
def test_what_a_killed_daemon_has_left_half_made_is_cleared_away(
    with_connection: bool, daemon: Daemon
) -> None:
    """A session without a target belongs to no one once the process that began it is gone."""
    sid = foreign_sessions.leave_half_made(with_connection=with_connection)
    daemon.configure()
    daemon.start()
    wait_until(lambda: sid not in sessions.session_ids(), lambda: f"session {sid} stays")
    daemon.wait_for_line(f"session {sid}")
    assert daemon.stop() == 0


def test_sigterm_ends_all_children_and_nothing_else(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    """ "End, together with all its processes. The kernel's sessions and the links under /dev/iscsi
    stay and work. This is how to restart the daemon ... under mounted file systems." """
    tgtd.add_target(RED, {1: disks.make_file(tmp_path / "red", 64)})
    daemon.configure(f"DiscoveryAddress={tgtd.address}")
    daemon.start()
    disk = daemon.link(0, 0, 1)
    daemon.wait_for_links(disk)
    disks.make_file_system(disk)
    tree = show_tree(daemon.tree)
    with disks.mounted(disk, tmp_path / "mount") as root:
        sid = sessions.session_of(RED)
        port = wire.source_port(sid)
        for start in (1, 2):
            children = daemon.workers()
            assert daemon.stop(signal.SIGTERM) == 0
            assert not daemon.pidfile.exists()
            assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []
            assert show_tree(daemon.tree) == tree
            written = disks.write_pattern(root / f"pattern{start}", 2, seed=f"start {start}")
            disks.forget_cache(disk)
            daemon.start()
            wait_until(
                lambda: len(daemon.lines_about(RED, "adopted")) == start,  # noqa: B023
                daemon.log,
            )
            assert disks.checksum(root / f"pattern{start}") == written
        assert sessions.session_of(RED) == sid and wire.source_port(sid) == port
    assert show_tree(daemon.tree) == tree
