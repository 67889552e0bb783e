"""Debian's open-iscsi, to be measured beside iscsid: fetched and unpacked, never installed.

``fetch`` runs on the host; the rest runs inside the virtual machine only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.patience import wait_until
from tests.vm import disks
from tests.vm.paths import CHECKOUT

DIRECTORY = CHECKOUT / ".cache" / "open-iscsi"
PACKAGES = ("open-iscsi", "libopeniscsiusr", "libisns0")
SOCKET = "@ISCSIADM_ABSTRACT_NAMESPACE"


def fetch() -> None:
    """Unpack Debian's packages into the cache, unless they are there.

    Raises ``OSError`` or ``CalledProcessError``, without a network for instance.
    """
    if DIRECTORY.exists():
        return
    with tempfile.TemporaryDirectory(dir=DIRECTORY.parent) as name:
        directory = Path(name)
        download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *PACKAGES]
        subprocess.run(download, cwd=directory, check=True, timeout=300)
        for package in directory.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, directory / "unpacked"], check=True, timeout=60)
        (directory / "unpacked").rename(DIRECTORY)


@contextmanager
def running_daemon() -> Iterator[int]:
    """Start its daemon with an empty database and yield its process id when it listens."""
    shutil.rmtree("/etc/iscsi", ignore_errors=True)
    shutil.copytree(DIRECTORY / "etc/iscsi", "/etc/iscsi")
    Path("/etc/iscsi/initiatorname.iscsi").write_text("InitiatorName=iqn.2003-02.org.example:o\n")
    daemon = subprocess.Popen(
        [DIRECTORY / "sbin/iscsid", "-f"], env=_environment(), stderr=subprocess.DEVNULL
    )
    try:
        wait_until(
            lambda: SOCKET in Path("/proc/net/unix").read_text(),
            lambda: "open-iscsi's daemon does not listen",
        )
        yield daemon.pid
    finally:
        daemon.kill()
        daemon.wait()


def iscsiadm(*words: str) -> None:
    """Run one command to its end."""
    environment = [f"{name}={value}" for name, value in _environment().items()]
    disks.run("env", *environment, DIRECTORY / "sbin/iscsiadm", *words)


def start_iscsiadm(*words: str) -> subprocess.Popen[bytes]:
    """Start one command; its output is of no interest."""
    return subprocess.Popen(
        [DIRECTORY / "sbin/iscsiadm", *words],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "LD_LIBRARY_PATH": str(DIRECTORY / "usr/lib/x86_64-linux-gnu")}
