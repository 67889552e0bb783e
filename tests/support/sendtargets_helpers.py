"""SendTargets answers as text, and what becomes of them."""

from __future__ import annotations

from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal
from iscsid.protocol.printable import Notes
from iscsid.protocol.sendtargets import SendTargetsAnswer

PORTAL = Portal("192.0.2.1", 3260)
"""Where the discovery session runs."""


def text(*pairs: str) -> bytes:
    """Return pairs as they go over the wire."""
    return b"".join(pair.encode() + b"\0" for pair in pairs)


def read(
    *pieces: bytes, portal: Portal = PORTAL
) -> tuple[dict[IscsiName, DiscoveryRecord], tuple[str, ...]]:
    """Return the last record of each target, and the notes."""
    notes = Notes()
    answer = SendTargetsAnswer(portal, notes)
    records: list[DiscoveryRecord] = []
    for piece in pieces:
        answer.receive_text(piece)
        records.extend(answer.take_records())
    answer.finish()
    records.extend(answer.take_records())
    return {record.target_name: record for record in records}, notes.take()
