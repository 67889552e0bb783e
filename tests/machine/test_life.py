"""The daemon's own life: detaching, its pid file, and what stays when it goes."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.machine import disks, sessions
from tests.machine.conftest import Target
from tests.machine.daemon import Daemon, show_tree
from tests.machine.tgtd import Tgtd

NAME = "iqn.2003-02.org.example:disks"


def process_is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_sigterm_ends_the_daemon_and_its_disk_goes_on_working(
    target: Target, daemon: Daemon, tmp_path: Path
) -> None:
    target.add_target(NAME, {1: disks.make_file(tmp_path / "disk", 64)})
    daemon.configure(f"DiscoveryAddress={target.address}")
    daemon.start()
    disk = daemon.link(0, 0, 1)
    daemon.wait_for_links(disk)
    disks.make_file_system(disk)
    tree = show_tree(daemon.tree)
    with disks.mounted(disk, tmp_path / "mount") as root:
        assert daemon.stop(signal.SIGTERM) == 0
        written = disks.write_pattern(root / "pattern", 4, seed="after the end")
    disks.forget_cache(disk)
    with disks.mounted(disk, tmp_path / "mount") as root:
        assert disks.checksum(root / "pattern") == written
    assert show_tree(daemon.tree) == tree
    assert not daemon.pidfile.exists()


def test_a_second_start_finds_the_session_and_leaves_it_alone(
    target: Target, daemon: Daemon, tmp_path: Path
) -> None:
    target.add_target(NAME, {1: disks.make_file(tmp_path / "disk", 16)})
    daemon.configure(f"DiscoveryAddress={target.address}")
    daemon.start()
    disk = daemon.link(0, 0, 1)
    daemon.wait_for_links(disk)
    sid = sessions.session_of(NAME)
    port = sessions.connection_attribute(sid, "local_port")
    daemon.stop()
    daemon.start()
    daemon.wait_for_line(NAME)
    daemon.wait_for_links(disk)
    assert sessions.session_of(NAME) == sid
    assert sessions.connection_attribute(sid, "local_port") == port


def test_a_detached_start_writes_the_pid_file_and_a_second_one_names_it(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    tgtd.add_target(NAME, {1: disks.make_file(tmp_path / "disk", 16)})
    daemon.configure(f"DiscoveryAddress={tgtd.address}")
    started = daemon.run()
    assert (started.returncode, started.stderr) == (0, "")
    pid = int(daemon.pidfile.read_text())
    assert process_is_there(pid)
    daemon.wait_for_links(daemon.link(0, 0, 1))

    second = daemon.run()
    assert second.returncode > 0
    (line,) = second.stderr.splitlines()
    assert str(pid) in line, line
    assert int(daemon.pidfile.read_text()) == pid and process_is_there(pid)

    daemon.stop_detached()
    assert not daemon.pidfile.exists()
    assert daemon.link(0, 0, 1).exists()


@pytest.mark.parametrize("content", ["999999999\n", ""], ids=["dead", "empty"])
def test_a_stale_pid_file_is_no_obstacle(daemon: Daemon, content: str) -> None:
    daemon.configure()
    daemon.pidfile.write_text(content)
    started = daemon.run()
    assert (started.returncode, started.stderr) == (0, "")
    pid = int(daemon.pidfile.read_text())
    assert process_is_there(pid)
    daemon.stop_detached()


def test_the_packages_that_debian_ships_are_enough(
    tgtd: Tgtd, make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = make_daemon(python="/usr/bin/python3")
    tgtd.add_target(NAME, {1: disks.make_file(tmp_path / "disk", 16)})
    daemon.configure(f"DiscoveryAddress={tgtd.address}")
    started = daemon.run()
    assert (started.returncode, started.stderr) == (0, "")
    daemon.wait_for_links(daemon.link(0, 0, 1))
    daemon.stop_detached()
