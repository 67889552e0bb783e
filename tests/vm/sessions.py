"""The kernel's iSCSI sessions as a test sees them, and how those left by a test are removed.

Nothing of iscsid is used here: what cleans up after the daemon must not share its faults. The
numbers are those of the kernel's include/scsi/iscsi_if.h.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
from pathlib import Path

from tests.support.patience import PATIENCE, scaled

NETLINK_ISCSI = 8
STOP_CONN, DESTROY_CONN, DESTROY_SESSION = 18, 14, 12
STOP_CONN_TERM = 1
FLUSH = 20.0
"""Seconds for a target to take what is written at the end."""
SESSIONS = Path("/sys/class/iscsi_session")
CONNECTIONS = Path("/sys/class/iscsi_connection")


def session_ids() -> list[int]:
    """Return the number of every session, oldest first."""
    if not SESSIONS.exists():
        return []
    return sorted(int(path.name.removeprefix("session")) for path in SESSIONS.iterdir())


def attribute(sid: int, name: str) -> str:
    """Return one of the session's values, ``targetname`` or ``state`` for instance."""
    return (SESSIONS / f"session{sid}" / name).read_text().strip()


def connection_attribute(sid: int, name: str) -> str:
    return (CONNECTIONS / f"connection{sid}:0" / name).read_text().strip()


def session_of(target_name: str) -> int:
    """Return the one session with this target."""
    found = [sid for sid in session_ids() if attribute(sid, "targetname") == target_name]
    assert len(found) == 1, f"{len(found)} sessions with {target_name}, not one"
    return found[0]


def target_names() -> list[str]:
    """Return the TargetName of every session, sorted; one may vanish while it is looked at."""
    names = []
    for sid in session_ids():
        with contextlib.suppress(OSError):
            names.append(attribute(sid, "targetname"))
    return sorted(names)


def transport_handle() -> int:
    """Return the number that names iSCSI over TCP in every request."""
    return int(Path("/sys/class/iscsi_transport/tcp/handle").read_text())


def delete_devices(sid: int) -> subprocess.Popen[bytes]:
    """Make the kernel flush and forget a session's logical units, in a process of its own.

    With a target that does not answer it ends when the session is destroyed.
    """
    units = (SESSIONS / f"session{sid}" / "device").glob("target*/*:*:*:*/delete")
    # One may be going already.
    script = 'for unit; do echo 1 >"$unit"; done 2>/dev/null; true'
    return subprocess.Popen(["sh", "-c", script, "delete", *units])


def destroy_all() -> None:
    """End every session in the kernel. Their disks must not be mounted."""
    for sid in session_ids():
        destroy(sid)
    assert not session_ids(), f"sessions {session_ids()} cannot be destroyed"


def destroy(sid: int) -> None:
    """End one session in the kernel, whatever its state; nothing is sent to the target."""
    handle = transport_handle()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ISCSI) as kernel:
        kernel.bind((0, 0))
        kernel.settimeout(PATIENCE)
        deletion = delete_devices(sid)
        with contextlib.suppress(subprocess.TimeoutExpired):
            deletion.wait(timeout=scaled(FLUSH))
        _request(kernel, handle, STOP_CONN, struct.pack("=IIQI", sid, 0, 0, STOP_CONN_TERM))
        _request(kernel, handle, DESTROY_CONN, struct.pack("=II", sid, 0))
        _request(kernel, handle, DESTROY_SESSION, struct.pack("=I", sid))
    deletion.wait(timeout=PATIENCE)


def _request(kernel: socket.socket, handle: int, event: int, arguments: bytes) -> None:
    body = struct.pack("=IIQ", event, 0, handle) + arguments.ljust(24, b"\0") + bytes(16)
    kernel.send(struct.pack("=IHHII", 16 + len(body), event, 0, 0, 0) + body)
    with contextlib.suppress(TimeoutError):
        kernel.recv(4096)
