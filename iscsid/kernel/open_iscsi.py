"""Refuses to start beside open-iscsi's daemon, which takes over every session, ours included.

Touches the namespace of abstract sockets, and looks at /proc.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from iscsid.errors import AlreadyRunning

_ADDRESS = b"\0ISCSIADM_ABSTRACT_NAMESPACE"
_ROOT = 0


def refuse_open_iscsi(proc: Path = Path("/proc")) -> None:
    """Raise ``AlreadyRunning`` if open-iscsi's iscsid, or systemd for it, listens for iscsiadm.

    The address is tried by taking it for a moment: connecting would make systemd start the very
    daemon that must not run. One that only users without privileges have taken is not open-iscsi's:
    any of them can do that, and would keep this daemon from starting.
    """
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.bind(_ADDRESS)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            owners = set(_owners(proc))
            if owners and _ROOT not in owners:
                return
            raise AlreadyRunning(
                "open-iscsi's iscsid is running, or will be started by its socket",
                advice="stop it with 'systemctl disable --now iscsid.socket iscsid.service'",
            ) from error


def _owners(proc: Path) -> Iterator[int]:
    """Yield the users who have made the sockets at the address, as far as processes show them."""
    inodes = _inodes(proc)
    for process in proc.glob("[0-9]*"):
        with suppress(OSError):
            for name in os.listdir(process / "fd"):
                with suppress(OSError):
                    found = os.stat(process / "fd" / name)
                    if stat.S_ISSOCK(found.st_mode) and found.st_ino in inodes:
                        yield found.st_uid


def _inodes(proc: Path) -> set[int]:
    rows = (line.split() for line in (proc / "net/unix").read_text(errors="replace").splitlines())
    name = "@" + _ADDRESS[1:].decode()
    return {int(row[6]) for row in rows if row[7:] == [name]}
