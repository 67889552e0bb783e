"""Fuzz target: a SendTargets answer.

``python -m tests.fuzz.sendtargets -max_total_time=60``. The oracle: records with usable portals and
safe names, the same however the text is cut, or ``ProtocolError``; notes are bounded lines.
"""

from __future__ import annotations

from iscsid.errors import ProtocolError
from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal, parse_iscsi_name, why_unusable
from iscsid.protocol.printable import MAX_NOTES, Notes
from iscsid.protocol.sendtargets import SendTargetsAnswer
from tests.fuzz import engine

PORTAL = Portal("fe80::1%eth0")

Read = tuple[dict[IscsiName, DiscoveryRecord], tuple[str, ...], int]


def read(pieces: list[bytes]) -> Read:
    notes = Notes()
    answer = SendTargetsAnswer(PORTAL, notes)
    records: list[DiscoveryRecord] = []
    for piece in pieces:
        answer.receive_text(piece)
        records += answer.take_records()
    answer.finish()
    records += answer.take_records()
    return {record.target_name: record for record in records}, notes.take(), answer.skipped


def test_one_input(data: bytes) -> None:
    """Read the text whole and in pieces; the first octet determines how long they are."""
    step, text = data[:1].ljust(1, b"\0")[0] + 1, data[1:]
    pieces = [text[at : at + step] for at in range(0, len(text), step)]
    try:
        whole = read([text] if text else [])
    except ProtocolError as error:
        assert str(error).isprintable()
        return
    assert read(pieces) == whole
    records, notes, skipped = whole
    assert skipped >= 0 and len(notes) <= MAX_NOTES + 1
    assert all(note.isprintable() and len(note) < 1000 for note in notes)
    for name, record in records.items():
        assert parse_iscsi_name(record.name_to_send) == name == record.target_name
        assert not set(name) & set("/ \t\n\\'\"") and name.isprintable()
        assert record.addresses
        assert not any(why_unusable(address.portal) for address in record.addresses)


if __name__ == "__main__":
    engine.run(__file__)
