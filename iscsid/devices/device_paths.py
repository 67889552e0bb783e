"""From a device's path in /sys to its link: which devices have one, and what it is called.

A device belongs to an iSCSI session if its path shows one:
``.../session12/target3:0:0/3:0:0:5/block/sda/sda1``. The links have the names of Linux-iSCSI. Pure.
"""

from __future__ import annotations

import re

from iscsid.facts import Device

SUBSYSTEMS = ("block", "scsi_generic", "scsi_tape")
"""The kernel's classes of devices that have links."""
LINK_DEPTH = 4
"""The parts of a link's path below the base directory: bus0/target0/lun1/disk."""

_UNIT = r"/session(?P<sid>\d+)/target[^/]+/\d+:\d+:\d+:(?P<lun>\d+)"
_UNIT_PATH = re.compile(f".*{_UNIT}")
_PATH = re.compile(
    rf"{_UNIT}/(?P<subsystem>{'|'.join(SUBSYSTEMS)})/(?P<name>[^/]+)(?:/(?P<part>[^/]+))?"
)
_TAPE = re.compile(r"(?P<no_rewind>n?)st\d+(?P<mode>[lma]?)")


def is_session_device(sys_path: str) -> bool:
    """Whether the path is that of a device node below an iSCSI session."""
    return _PATH.search(sys_path) is not None


def session_at(sys_path: str) -> int | None:
    """Return the sid of the session that the device at a path is of, ``None`` if it is of none."""
    match = re.search(_UNIT, sys_path)
    return int(match["sid"]) if match else None


def unit_at(sys_path: str) -> tuple[int, int] | None:
    """Return sid and LUN of a logical unit's own path; ``None`` if it is another device's."""
    match = _UNIT_PATH.fullmatch(sys_path)
    return None if match is None else (int(match["sid"]), int(match["lun"]))


def device_at(
    sys_path: str, node: str, wwid: str = "", serial: str = "", announced: str | None = None
) -> Device | None:
    """Return the device as the initiator knows it; ``None`` if it has no link in the tree.

    ``node`` is its path under /dev; ``wwid`` or ``serial`` name its logical unit; ``announced`` is
    the name that udev has for it.
    """
    match = _PATH.search(sys_path)
    if match is None or match.end() != len(sys_path):
        return None
    link = _link(match["subsystem"], match["name"], match["part"])
    if link is None:
        return None
    return Device(
        path=sys_path,
        sid=int(match["sid"]),
        lun=int(match["lun"]),
        link=link,
        node=node,
        wwid=wwid,
        serial=serial,
        announced=announced,
    )


def _link(subsystem: str, name: str, part: str | None) -> str | None:
    if part is not None:
        number = part.removeprefix(name).lstrip("p")
        return f"part{number}" if subsystem == "block" and number.isdecimal() else None
    if subsystem == "scsi_generic":
        return "generic"
    if subsystem == "scsi_tape":
        tape = _TAPE.fullmatch(name)
        return f"mt{tape['mode']}{tape['no_rewind']}" if tape else None
    if name.startswith("sr"):
        return "cd"
    return "disk" if name.startswith("sd") else None
