"""The daemon resumes the very session that its own program is on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from tests.support.patience import PATIENCE, wait_until
from tests.vm import disks, sessions, wire
from tests.vm.daemon import Daemon
from tests.vm.paths import CHECKOUT, DISTRIBUTION, PACKAGES
from tests.vm.tgtd import Tgtd

NAME = "iqn.2003-02.org.example:root"
PYTHON = Path("/usr/bin/python3")


def install(root: Path) -> list[str]:
    """Copy the program, its interpreter and its packages; return the words to start it with."""
    shutil.copytree(CHECKOUT / "iscsid", root / "iscsid")
    for name in PACKAGES:
        source = DISTRIBUTION / name
        if source.is_dir():
            shutil.copytree(source, root / name)
        elif source.exists():
            shutil.copy(source, root / name)
    shutil.copy(PYTHON.resolve(), root / "python3")
    # Every module that is read from now on is listed on standard error.
    options = ["-X", "importtime"]
    return ["env", "PYTHONHOME=/usr", f"PYTHONPATH={root}", str(root / "python3"), *options]


def test_it_recovers_the_disk_that_holds_its_own_program(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    """ "The daemon locks itself into memory ... so that it can recover the session that holds the
    root file system or the swap space." """
    tgtd.add_target(NAME, {1: disks.make_file(tmp_path / "disk", 128)})
    daemon.configure(f"DiscoveryAddress={tgtd.address}")
    daemon.start()
    disk = daemon.link(0, 0, 1)
    daemon.wait_for_links(disk)
    disks.make_file_system(disk)
    assert daemon.stop() == 0
    with disks.mounted(disk, tmp_path / "root") as root:
        words = install(root)
        checksum = disks.write_pattern(root / "data", 2, seed="data")
        command = [*words, "-m", "iscsid", *daemon.command("-n")[3:]]
        log = tmp_path / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stderr=output)
        try:
            check_recovery(process, log, daemon)
            assert disks.checksum(root / "data") == checksum
        finally:
            # What waits for the disk cannot be killed before the session is gone.
            process.send_signal(signal.SIGTERM)
            sessions_end_if_stuck(process)
        assert process.returncode == 0, log.read_text()


def check_recovery(process: subprocess.Popen[bytes], log: Path, daemon: Daemon) -> None:
    def has_logged(*words: str) -> bool:
        assert process.poll() is None, log.read_text()
        return any(all(word in line for word in words) for line in log.read_text().splitlines())

    wait_until(lambda: has_logged(NAME, "adopted"), log.read_text)
    assert os.readlink(f"/proc/{process.pid}/exe").startswith(str(daemon.pidfile.parents[1]))
    sid = sessions.session_of(NAME)
    for _ in range(2):
        port = wire.source_port(sid)
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
        wire.cut(sid)

        def is_back(port: int = port) -> bool:
            if sessions.attribute(sid, "state") != "LOGGED_IN":
                return False
            return wire.source_port(sid) != port

        wait_until(is_back, lambda: f"the session does not come back\n{log.read_text()}")
    assert "import time:" in log.read_text()
    late = log.read_text().partition("adopted")[2]
    assert "import time:" not in late, f"a module is read when its disk may be gone\n{late}"


def sessions_end_if_stuck(process: subprocess.Popen[bytes]) -> None:
    """Wait for the daemon; one that is stuck on its own disk gets the disk's end."""
    try:
        process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        sessions.destroy_all()
        process.kill()
        process.wait(timeout=PATIENCE)
