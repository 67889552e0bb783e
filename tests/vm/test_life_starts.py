"""How the daemon starts, and what the shell gets if it cannot.

Quotations are from the manual page iscsid(8).
"""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.vm import disks, sessions
from tests.vm.daemon import Daemon
from tests.vm.paths import CHECKOUT
from tests.vm.tgtd import Tgtd

NAME = "iqn.2003-02.org.example:disks"
NOBODY = 65534


@contextmanager
def module_unloaded() -> Iterator[None]:
    disks.run("modprobe", "-r", "iscsi_tcp")
    try:
        yield
    finally:
        disks.run("modprobe", "iscsi_tcp")


@contextmanager
def open_iscsi_listens() -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(b"\0ISCSIADM_ABSTRACT_NAMESPACE")
        yield


def refuse(daemon: Daemon, *options: str) -> str:
    """Start in the background; return the one line with which that is refused."""
    done = daemon.run(*options)
    assert done.returncode == 1, (done.returncode, done.stderr)
    (line,) = done.stderr.splitlines()
    assert line.startswith("iscsid: "), line
    return line


def test_a_start_that_fails_is_reported_to_the_shell(daemon: Daemon) -> None:
    """ "In the background, the command returns when the daemon is ready or has failed to
    start" """
    daemon.configure()
    daemon.bindings.mkdir()
    before = sorted(path.name for path in daemon.pidfile.parent.iterdir())
    line = refuse(daemon)
    assert "bindings" in line and "not a regular file" in line, line
    after = sorted(path.name for path in daemon.pidfile.parent.iterdir())
    assert after == before, "a start that failed left something behind, or removed it"


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (module_unloaded, ["modprobe iscsi_tcp"]),
        (open_iscsi_listens, ["open-iscsi", "iscsid.socket"]),
    ],
    ids=["no module", "open-iscsi"],
)
def test_a_kernel_that_is_not_free_is_reported_with_its_cure(
    daemon: Daemon, trouble: Callable[[], AbstractContextManager[None]], words: list[str]
) -> None:
    """ "iscsid and the daemon of the same name of the open-iscsi project must not run at the same
    time." """
    daemon.configure()
    with trouble():
        line = refuse(daemon)
    assert all(word in line for word in words), line
    assert not daemon.pidfile.exists()


def test_only_root_can_start_it() -> None:
    """It reports this, not the first step that needs root."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        daemon = Daemon(Path(name))
        daemon.configure()
        for path in (daemon.configuration, daemon.initiatorname):
            path.chmod(0o644)
        os.chown(name, NOBODY, NOBODY)
        done = subprocess.run(
            ["setpriv", f"--reuid={NOBODY}", "--clear-groups", *daemon.command()],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    assert done.returncode == 1 and "run as root" in done.stderr, done.stderr


def test_the_options_of_the_classic_do_what_they_did(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    """ "The permissions, in octal, of the directories in that tree." And: pid file, bindings,
    configuration and tree are where they were asked for, from whatever directory, without a
    standard stream and under a strange umask."""
    tgtd.add_target(NAME, {1: disks.make_file(tmp_path / "disk", 16)})
    daemon.configure(f"DiscoveryAddress={tgtd.address}")
    gone = tmp_path / "gone"
    gone.mkdir()
    words = " ".join(daemon.command("-m", "0700", "-d", "-t", "30", "--max-processes=3"))
    script = f"umask 0; cd {gone}; rmdir {gone}; PYTHONPATH={CHECKOUT} exec {words} 0<&- 1>&- 2>&-"
    assert subprocess.run(["sh", "-c", script], check=False).returncode == 0
    pid = int(daemon.pidfile.read_text())
    daemon.wait_for_links(daemon.link(0, 0, 1))
    directories = [daemon.tree, *(path for path in daemon.tree.rglob("*") if path.is_dir())]
    assert directories[-1].name.startswith("lun")
    assert {stat.S_IMODE(path.stat().st_mode) for path in directories} == {0o700}
    assert daemon.wait_for_bindings(NAME) == {NAME: (0, 0)}
    assert stat.S_IMODE(daemon.pidfile.stat().st_mode) == 0o644
    assert stat.S_IMODE(daemon.bindings.stat().st_mode) & 0o022 == 0
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)} == {"/dev/null"}
    assert os.getsid(pid) != os.getsid(0), "it is still in the shell's session"
    daemon.stop_detached()
    assert not daemon.pidfile.exists() and daemon.link(0, 0, 1).exists()


def test_once_handles_one_connection_and_exits_with_its_outcome(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path
) -> None:
    """ "Handle one connection and exit with its outcome: in the foreground, one step after
    another, with debug level 1 unless another is given." """
    tgtd.add_target(NAME, {1: disks.make_file(tmp_path / "disk", 16)})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        unused = f"127.0.0.1:{listener.getsockname()[1]}"
    daemon.configure(f"TargetName={NAME}\n    Address={unused}")
    failed = daemon.run("--once")
    assert failed.returncode == 1
    assert "refused" in failed.stderr and unused in failed.stderr, failed.stderr
    daemon.configure(f"DiscoveryAddress={tgtd.address}")
    done = daemon.run("--once", "-dd")
    assert done.returncode == 0, done.stderr
    assert "session is up" in done.stderr and "> login request" in done.stderr, done.stderr
    assert sessions.target_names() == [NAME]
    assert not daemon.pidfile.exists()
