"""What ``iscsid --wait`` still waits for, from the status alone. Pure.

The tree of links is complete when every DiscoveryAddress and every session has been tried once,
each disk of a session that is up exists, and each device node, a partition's for instance, has
its link.
"""

from __future__ import annotations

from collections.abc import Iterator

from iscsid.status.model import UP, LunStatus, SessionStatus, Status

DISK_KIND = "Direct-Access"
"""Logical units of this kind always become disks; others may lack a driver."""


def missing(status: Status) -> tuple[str, ...]:
    """Return what is missing, in words; empty when the tree is complete."""
    return tuple(_missing(status))


def progress(status: Status, lacking: tuple[str, ...]) -> str:
    """Return one line that shows how far it is, and what is ``lacking``."""
    up = sum(session.state == UP for session in status.sessions)
    count = len(status.sessions)
    sessions = f"{up} of {count} session{'' if count == 1 else 's'} up"
    if not lacking:
        return sessions
    more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    return f"{sessions}, waiting for {lacking[0]}{more}"


def _missing(status: Status) -> Iterator[str]:
    for discovery in status.discoveries:
        if discovery.targets is None and not discovery.last_error:
            yield f"discovery at {discovery.address}"
    for session in status.sessions:
        if not session.is_tried:
            yield f"session with {session.target_name}"
        elif session.state == UP:
            yield from _missing_links(session)


def _missing_links(session: SessionStatus) -> Iterator[str]:
    for lun in session.luns:
        where = f"LUN {lun.lun} of {session.target_name}"
        if lun.unlinked:
            yield f"link {', '.join(lun.unlinked)} to {where}"
        elif _lacks_disk(lun):
            yield f"disk at {where}"


def _lacks_disk(lun: LunStatus) -> bool:
    """Whether the kernel has yet to make the disk; with the disk, it makes its partitions."""
    return lun.may_have_links and lun.kind == DISK_KIND and "disk" not in lun.links
