"""The daemon's own life: detaching and its pid file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vm import disks
from tests.vm.daemon import Daemon
from tests.vm.tgtd import Tgtd

NAME = "iqn.2003-02.org.example:disks"


def process_is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


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
