"""/etc/init.d/iscsid with the daemon it was written for, and the statuses of the LSB."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE, wait_until
from tests.support.processes import is_alive
from tests.vm import disks, sessions, wire
from tests.vm.daemon import Daemon
from tests.vm.paths import CHECKOUT, SYSTEM_PATH
from tests.vm.tgtd import Tgtd

NAME = "iqn.2003-02.org.example:disks"
SCRIPT = CHECKOUT / "etc" / "init.d" / "iscsid"


class Service:
    """The script, and a file of defaults that leads it to the files of a test."""

    def __init__(self, daemon: Daemon) -> None:
        self.pidfile = daemon.pidfile
        directory = daemon.pidfile.parent
        program = directory / "iscsid"
        program.write_text(
            f'#!/bin/sh\nPYTHONPATH={CHECKOUT} exec {sys.executable} -m iscsid "$@"\n'
        )
        program.chmod(0o755)
        settings = {
            "DAEMON": program,
            "OPTIONS": f"--config={daemon.configuration} --bindings={daemon.bindings}",
            "PIDFILE": daemon.pidfile,
            "BASEDIR": daemon.tree,
            "INITIATORNAME": daemon.initiatorname,
            "STOP_SECONDS": 90,
            "SERVICE": CHECKOUT / "etc" / "iscsid-service",
            "CONFIG": daemon.configuration,
        }
        self._defaults = directory / "default"
        self._defaults.write_text("".join(f'{name}="{text}"\n' for name, text in settings.items()))

    def call(self, verb: str) -> tuple[int, str]:
        """Return the exit status, and all output."""
        done = subprocess.run(
            ["/bin/sh", str(SCRIPT), verb],
            env={"PATH": SYSTEM_PATH, "ISCSID_DEFAULTS": str(self._defaults)},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def expect(self, verb: str, status: int, *words: str) -> None:
        found, output = self.call(verb)
        assert found == status, (verb, found, output)
        assert all(word in output for word in words), (verb, output)

    @property
    def pid(self) -> int:
        return int(self.pidfile.read_text())


@pytest.fixture
def service(daemon: Daemon) -> Iterator[Service]:
    service = Service(daemon)
    yield service
    if service.pidfile.exists():
        os.kill(service.pid, signal.SIGKILL)


def test_the_whole_life_of_the_service(
    tgtd: Tgtd, daemon: Daemon, service: Service, tmp_path: Path
) -> None:
    tgtd.add_target(NAME, {1: disks.make_file(tmp_path / "disk", 64)})
    daemon.configure("PingTimeout=0", f"DiscoveryAddress={tgtd.address}")
    service.expect("status", 3, "not running")
    service.expect("reload", 7)
    service.expect("stop", 0)
    disks.run("modprobe", "-r", "iscsi_tcp")
    service.expect("start", 0, "started")
    pid = service.pid
    service.expect("status", 0, f"pid {pid}")
    service.expect("start", 0, "running already")
    assert service.pid == pid
    disk = daemon.link(0, 0, 1)
    daemon.wait_for_links(disk)
    disks.make_file_system(disk)
    mount = tmp_path / "a mount"
    mount.mkdir()
    # Such that a file system at rest writes nothing of its own accord.
    disks.run("mount", "-o", "noinit_itable,noatime", disk, mount)
    disks.run("udevadm", "settle", "--timeout=60")

    port = wire.source_port(sessions.session_of(NAME))
    written = disks.write_pattern(mount / "before", 1, seed="before the restart")
    disks.run("sync")
    with wire.captured() as capture:
        service.expect("restart", 0, "started")
        assert service.pid != pid
        daemon.wait_for_links(disk)
        assert capture.carried(port) == [], "restarting touched the session"
    assert wire.source_port(sessions.session_of(NAME)) == port
    tgtd.add_lun(NAME, 2, disks.make_file(tmp_path / "second", 16))
    service.expect("reload", 0)
    daemon.wait_for_links(daemon.link(0, 0, 2))

    # A process keeps the file system busy: the session stays, and the script reports it.
    with (mount / "busy").open("w"):
        service.expect("stop", 1, "in use")
        assert sessions.target_names() == [NAME] and mount.is_mount()
    service.expect("status", 3)
    service.expect("restart", 0, "started")
    assert disks.checksum(mount / "before") == written
    os.kill(pid := service.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), "it goes on")
    service.expect("status", 1, "pid file")
    service.expect("start", 0, "started")
    daemon.wait_for_links(disk)
    service.expect("stop", 0, "no session is left")
    assert not mount.is_mount()
    assert sessions.session_ids() == []
    service.expect("status", 3)
