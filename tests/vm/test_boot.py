"""What tests in the virtual machine can rely on."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from tests.vm import disks
from tests.vm.daemon import Daemon
from tests.vm.tgtd import Tgtd

NAME = "iqn.2003-02.org.example:disks"


def devices_of_9p() -> set[str]:
    """Return the device number of each mounted 9p, as /proc/PID/maps writes it."""
    rows = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    numbers = [row[2].split(":") for row in rows if row[row.index("-") + 1] == "9p"]
    return {f"{int(major):02x}:{int(minor):02x}" for major, minor in numbers}


def files_mapped(pid: int) -> set[tuple[str, str]]:
    """Return device and path of each file that a process has mapped."""
    rows = [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    return {(row[3], row[5]) for row in rows if len(row) > 5 and row[5].startswith("/")}


def processes_called(name: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        with suppress(FileNotFoundError, ProcessLookupError):
            found += [int(path.parent.name)] if path.read_text().strip() == name else []
    return found


def test_nothing_is_written_to_the_files_of_the_host(tmp_path: Path) -> None:
    rows = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    of_the_host = {row[4] for row in rows if row[row.index("-") + 1] in ("9p", "hostfs")}
    assert of_the_host
    for directory in of_the_host:
        with pytest.raises(OSError):
            (Path(directory) / "iscsid-test").touch()
    for directory in ("/etc", "/usr", "/var/lib", str(tmp_path)):
        (Path(directory) / "iscsid-test").touch()


@pytest.mark.emulated("what is read through 9p has to be waited for")
def test_no_process_that_a_test_may_kill_hangs_on_the_files_of_the_host(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    """The reason, and what such a process may need, is in ``memory``."""
    tgtd.add_target(NAME, {1: disks.make_file(tmp_path / "disk", 16)})
    daemon.configure(f"DiscoveryAddress={tgtd.address}")
    daemon.start()
    daemon.wait_for_links(daemon.link(0, 0, 1))
    servers = processes_called("tgtd")
    assert servers
    on_the_host = devices_of_9p()
    assert on_the_host, "the machine's root file system is 9p"
    for pid in [daemon.pid, os.getpid(), *servers]:
        mapped = files_mapped(pid)
        assert mapped
        assert [path for device, path in mapped if device in on_the_host] == [], pid
    assert daemon.stop() == 0
