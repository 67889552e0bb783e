"""When the tree of names is complete: what ``iscsid --wait`` waits for, from the status alone.

Complete means that every DiscoveryAddress and every session has been tried once, and that each
disk of a session that is up has its link. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from iscsid.view.status import UP, SessionStatus, Status

LINKED_KIND = "Direct-Access"
"""Logical units of this kind always get a node, and so a link; others may lack a driver."""


def missing(status: Status) -> tuple[str, ...]:
    """Return in words what is still to come; empty when the tree is complete."""
    return tuple(_missing(status))


def progress(status: Status) -> str:
    """Return one line for whoever waits."""
    up = sum(session.state == UP for session in status.sessions)
    count = len(status.sessions)
    return f"{up} of {count} session{'' if count == 1 else 's'} up"


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
    for unit in session.luns:
        if unit.kind == LINKED_KIND and not unit.links and not unit.replaced:
            yield f"link to LUN {unit.lun} of {session.target_name}"
