"""A daemon that is started again takes its sessions over, and clears away what is half-made.

Quotations are from the manual page iscsid(8).
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.machine import disks, sessions, strangers, wire
from tests.machine.conftest import Target
from tests.machine.daemon import Daemon, wait_until

RED = "iqn.2003-02.org.example:red"


@pytest.mark.parametrize("with_connection", [False, True], ids=["session", "connection"])
def test_what_a_killed_daemon_has_left_half_made_is_cleared_away(
    with_connection: bool, daemon: Daemon
) -> None:
    """A session without a target is nobody's, once the process that began it is gone."""
    sid = strangers.leave_half_made(with_connection=with_connection)
    daemon.configure()
    daemon.start()
    wait_until(lambda: sid not in sessions.session_ids(), lambda: f"session {sid} stays")
    daemon.wait_for_line(f"session {sid}")
    assert daemon.stop() == 0


@pytest.mark.parametrize("target", ["lio"], indirect=True)
def test_sigterm_ends_all_children_and_nothing_else(
    target: Target, daemon: Daemon, tmp_path: Path
) -> None:
    """ "End, together with all children. The kernel's sessions and the links under /dev/iscsi stay
    and work. This is how to restart the daemon ... under mounted file systems." """
    target.add_target(RED, {1: disks.make_file(tmp_path / "red", 64)})
    daemon.configure(f"DiscoveryAddress={target.address}")
    daemon.start()
    disk = daemon.link(0, 0, 1)
    daemon.wait_for_links(disk)
    disks.make_file_system(disk)
    with disks.mounted(disk, tmp_path / "mount") as root:
        port = wire.source_port(sessions.session_of(RED))
        for turn in range(3):
            children = daemon.children()
            assert daemon.stop(signal.SIGTERM) == 0
            assert not daemon.pidfile.exists()
            assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []
            written = disks.write_pattern(root / f"pattern{turn}", 2, seed=f"turn {turn}")
            daemon.start()
            wait_until(
                lambda: len(daemon.lines_about(RED, "adopted")) == turn + 1,  # noqa: B023
                daemon.log,
            )
            assert disks.checksum(root / f"pattern{turn}") == written
        assert wire.source_port(sessions.session_of(RED)) == port
    daemon.wait_for_links(disk)
