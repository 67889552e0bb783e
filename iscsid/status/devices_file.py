"""/run/iscsid/devices: the columns of the Linux-iSCSI driver's /proc/scsi/iscsi. Pure.

One line per LUN: bus, target id, LUN, address and port of the connection, TargetName. Without
a connection, address and port are question marks, and so is the LUN of a session without any, so
that every line has the same number of fields for awk.
"""

from __future__ import annotations

from iscsid.status.model import UP, SessionStatus, Status

UNKNOWN = "?"


def format_devices(status: Status) -> str:
    """Return the text of the file."""
    lines = [
        f"# iscsid version: {status.version}",
        "#",
        "# SCSI:               iSCSI:",
        "# Bus Tgt LUN         IP address   Port  TargetName",
    ]
    for session in status.sessions:
        numbers = [str(lun.lun) for lun in session.luns] or [UNKNOWN]
        lines += [_line(session, number) for number in numbers]
    return "".join(f"{line}\n" for line in lines)


def _line(session: SessionStatus, lun: str) -> str:
    bus = UNKNOWN if session.bus is None else session.bus
    target = UNKNOWN if session.target is None else session.target
    host, port = UNKNOWN, UNKNOWN
    if session.state == UP:
        address = session.connected_to or session.portal
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
    return f"  {bus:>3} {target:>3} {lun:>3}    {host:>15}  {port:>5}  {session.target_name}"
