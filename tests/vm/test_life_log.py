"""What the daemon sends to syslog and to systemd, and what it must not send.

Quotations are from the manual page iscsid(8).
"""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.patience import wait_until
from tests.support.processes import is_alive
from tests.support.scripted_portal import loopback_portal
from tests.target.script import Listed, Script
from tests.target.scripted import ScriptedTarget
from tests.vm import disks
from tests.vm.daemon import Daemon
from tests.vm.lio import Account
from tests.vm.portals import serve_until
from tests.vm.tgtd import Tgtd

NAME = "iqn.2003-02.org.example:disks"
ACCOUNT = Account("alice", "very-secret-word", "storage", "mutual-secret-word")
SECRETS = (ACCOUNT.password, ACCOUNT.mutual_password)
FORGED = "iqn.2003-02.org.example:a\x1b[2J\nNov 20 forged"
SYSLOG = Path("/dev/log")


class ParentEnd:
    """A datagram socket at ``path``: syslog's, or systemd's."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._path = path
        self._socket.bind(str(path))
        self._received: list[str] = []

    def received(self) -> list[str]:
        """Return everything that came so far."""
        while True:
            try:
                self._received.append(self._socket.recv(65536).decode())
            except BlockingIOError:
                return self._received

    def wait_for(self, *words: str) -> str:
        """Wait for a message that holds all ``words``, and return the first."""

        def found() -> list[str]:
            return [text for text in self.received() if all(word in text for word in words)]

        wait_until(lambda: bool(found()), lambda: f"no {words} in\n" + "\n".join(self.received()))
        return found()[0]

    def close(self) -> None:
        self._socket.close()
        self._path.unlink()


@contextmanager
def listening(path: Path) -> Iterator[ParentEnd]:
    listener = ParentEnd(path)
    try:
        yield listener
    finally:
        listener.close()


def secrets_in_processes() -> list[str]:
    """Return the files under /proc that show a secret in a command line or an environment."""
    found = []
    processes = [path for path in Path("/proc").iterdir() if path.name.isdigit()]
    for path in (
        process / name for process in processes for name in ("cmdline", "environ", "comm")
    ):
        try:
            text = path.read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        if any(secret.encode() in text for secret in SECRETS):
            found.append(f"{path}: {text!r}")
    return found


def test_the_log_and_the_supervisor_of_a_detached_daemon(
    tgtd: Tgtd, daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ "The daemon writes to syslog(3) with the facility daemon ... Every event is one line ... If
    nobody takes the lines, the daemon keeps up to a thousand of them and goes on; when they get
    through again, a line says how many were late or lost. ... No level shows a secret." """
    tgtd.add_target(NAME, {1: disks.make_file(tmp_path / "disk", 16)}, account=ACCOUNT)
    evil = Script(listed=(Listed(FORGED, ("127.0.0.1:3260,1",)),))
    assert not SYSLOG.exists(), "this machine has a syslog, and the test would be in its way"
    supervisor_path = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(supervisor_path))
    with (
        loopback_portal(lambda: ScriptedTarget(evil)) as portal,
        listening(supervisor_path) as supervisor,
    ):
        daemon.configure(
            f"DiscoveryAddress={portal.portal}",
            f"TargetName={NAME}\n    Address={tgtd.address}",
            f"    OutgoingUsername={ACCOUNT.user}\n    OutgoingPassword={ACCOUNT.password}",
            f"    IncomingUsername={ACCOUNT.mutual_user}",
            f"    IncomingPassword={ACCOUNT.mutual_password}",
        )
        assert daemon.run("--log-level=9").returncode == 0
        pid = int(daemon.pidfile.read_text())
        # Nothing listens yet, and the daemon does not wait for it.
        serve_until(portal, lambda: not secrets_in_processes() and has_link(daemon), "the link")
        with listening(SYSLOG) as syslog:
            os.kill(pid, signal.SIGHUP)
            serve_until(portal, lambda: has_forged(syslog), "the line about a name with an escape")
            check_lines(syslog, pid)
            check_supervisor(supervisor)
        # It goes away again, with the daemon in the middle of its sentences.
        os.kill(pid, signal.SIGHUP)
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not is_alive(pid), "it goes on")
        assert supervisor.wait_for("STOPPING=1") == "STOPPING=1"


def has_link(daemon: Daemon) -> bool:
    return daemon.link(0, 0, 1).exists()


def has_forged(syslog: ParentEnd) -> bool:
    return any("forged" in line for line in syslog.received())


def check_lines(syslog: ParentEnd, pid: int) -> None:
    late = syslog.wait_for("the log could not be reached since")
    assert re.search(r"[0-9]+ late, 0 lost", late), late
    syslog.wait_for(NAME, "session is up")
    syslog.wait_for("SIGHUP: reading")
    stamp = r"[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8}"
    form = re.compile(rf"<(2[4-9]|30|31)>{stamp} iscsid\[{pid}\]: [ -~]+")
    for line in syslog.received():
        assert form.fullmatch(line), f"not one line of printable text: {line!r}"
        assert len(line) <= 1024
        assert not any(secret in line for secret in SECRETS), line
    for words in ("CHAP_R=", "> login request", "> text request", "< text response"):
        assert any(words in line for line in syslog.received()), f"no {words} in the trace"
    assert r"\x1b" in syslog.wait_for("forged")


def check_supervisor(supervisor: ParentEnd) -> None:
    """ "The socket of systemd to which the daemon reports that it is ready, is reading its
    configuration again, or is ending, and how many sessions are up" """
    supervisor.wait_for("STATUS=1 of 1 session up")
    supervisor.wait_for("RELOADING=1", "MONOTONIC_USEC=")
    wait_until(
        lambda: supervisor.received().count("READY=1") == 2, lambda: f"{supervisor.received()}"
    )
    received = [
        text.split("=")[0] for text in supervisor.received() if not text.startswith("STATUS")
    ]
    assert received == ["READY", "RELOADING", "READY"]
