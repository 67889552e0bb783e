"""tgtd, the target of Debian's package tgt: a daemon without a kernel module.

Lenient where LIO is strict. Its logical unit 0 is always the controller, so disks begin at 1.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.patience import PATIENCE
from tests.vm.lio import Account

BUSY = "still active"
CONTROL_PORT = 7
"""Distinguishes several tgtd on one machine; it names no TCP port."""


class Tgtd:
    """One tgtd and its targets, on the ``portals`` given."""

    def __init__(self, *portals: str) -> None:
        self.portals = portals or ("127.0.0.1:3260",)
        self._directory = tempfile.TemporaryDirectory(prefix="tgtd-")
        self._environment = {
            **os.environ,
            "TGT_IPC_SOCKET": str(Path(self._directory.name) / "socket"),
        }
        self._log = Path(self._directory.name) / "log"
        self._targets: dict[str, int] = {}
        self._users: set[str] = set()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["tgtd", "-f", "-C", str(CONTROL_PORT), "--iscsi", f"portal={self.portals[0]}"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait_until_ready()
        for portal in self.portals[1:]:
            self._change("portal", "new", "--param", f"portal={portal}")

    @property
    def address(self) -> str:
        return self.portals[0]

    def add_target(
        self,
        name: str,
        luns: Mapping[int, Path],
        *,
        account: Account | None = None,
        open_to_all: bool = True,
        initiator: str = "",
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        """Export the files ``luns``; without ``open_to_all`` no initiator may log in but
        ``initiator``, if it is named."""
        tid = self._targets[name] = 1 + max(self._targets.values(), default=0)
        self._change("target", "new", "--tid", str(tid), "-T", name)
        for lun, file in luns.items():
            self.add_lun(name, lun, file)
        for key, value in (parameters or {}).items():
            self._change("target", "update", "--tid", str(tid), "--name", key, "--value", value)
        if account is not None:
            self._bind_account(tid, account)
        if initiator:
            self._change("target", "bind", "--tid", str(tid), "--initiator-name", initiator)
        else:
            address = "ALL" if open_to_all else "192.0.2.1"
            self._change("target", "bind", "--tid", str(tid), "-I", address)

    def _bind_account(self, tid: int, account: Account) -> None:
        self._add_user(account.user, account.password)
        self._change("account", "bind", "--tid", str(tid), "--user", account.user)
        if account.mutual_user:
            self._add_user(account.mutual_user, account.mutual_password)
            binding = ["--tid", str(tid), "--user", account.mutual_user, "--outgoing"]
            self._change("account", "bind", *binding)

    def _add_user(self, user: str, password: str) -> None:
        if user not in self._users:
            self._change("account", "new", "--user", user, "--password", password)
            self._users.add(user)

    def add_lun(
        self, name: str, lun: int, file: Path, *, kind: str = "disk", serial: str = ""
    ) -> None:
        """Export one file more as logical unit ``lun`` of a target: a disk, a cd or a tape.

        Without ``serial`` the unit is known by its number: another file there is the same disk.
        """
        where = ["--tid", str(self._targets[name]), "--lun", str(lun)]
        self._change("logicalunit", "new", *where, "-b", str(file), "--device-type", kind)
        if serial:
            names = f"scsi_id={serial},scsi_sn={serial}"
            self._change("logicalunit", "update", *where, "--params", names)

    def remove_lun(self, name: str, lun: int) -> None:
        self._change("logicalunit", "delete", "--tid", str(self._targets[name]), "--lun", str(lun))

    def remove_target(self, name: str) -> None:
        """Close the target's sessions and forget it; its files stay."""
        self._change("target", "delete", "--force", "--tid", str(self._targets.pop(name)))

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it answer nothing for a while; the connections stay."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it at once; every connection breaks."""
        self._process.kill()
        self._process.wait(timeout=PATIENCE)
        self._directory.cleanup()

    def _wait_until_ready(self) -> None:
        limit = time.monotonic() + PATIENCE
        while self._try("system", "show").returncode:
            assert self._process.poll() is None, f"tgtd ended:\n{self._log.read_text()}"
            assert time.monotonic() < limit, f"tgtd does not answer:\n{self._log.read_text()}"
            time.sleep(0.1)

    def _change(self, mode: str, operation: str, *arguments: str) -> None:
        limit = time.monotonic() + PATIENCE
        while (done := self._try(mode, operation, *arguments)).returncode:
            # A command is being answered by what is to be deleted.
            is_busy = BUSY in done.stderr and time.monotonic() < limit
            assert is_busy, f"tgtadm {mode} {operation} {arguments}: {done.stderr}"
            time.sleep(0.1)

    def _try(self, mode: str, operation: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["tgtadm", "-C", str(CONTROL_PORT), "--lld", "iscsi", "--mode", mode]
        return subprocess.run(
            [*command, "--op", operation, *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
