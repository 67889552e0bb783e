"""Fuzz target: what logical units answer: identification pages, sense data, INQUIRY data.

``python -m tests.fuzz.vpd -max_total_time=60``. The oracle: never an exception, names in one
printable line, and octets behind the announced length change nothing.
"""

from __future__ import annotations

from iscsid.protocol.scsi import is_unit_there, parse_sense, read_sense
from iscsid.protocol.vpd import (
    HEADER_LENGTH,
    best,
    changed_identity,
    comparable,
    designators,
    fingerprint,
    is_disk,
    is_identification_page,
    page_length,
)
from tests.fuzz import engine


def test_one_input(data: bytes) -> None:
    """Read the octets as everything that a unit may answer."""
    for sense in (parse_sense(data), read_sense(data)):
        assert sense is None or str(sense).isprintable()
    for status in (0x00, 0x02):
        assert is_unit_there(status, data, data) in (True, False, None)
    if not is_identification_page(data):
        return
    is_disk(data)
    names = designators(data)
    assert best(names).isprintable() and len(best(names)) < 1000
    assert changed_identity(best(names), "").isprintable()
    assert bool(names) == bool(comparable([(0, data)]))
    fingerprint(data)
    if HEADER_LENGTH <= page_length(data) <= len(data):
        assert designators(data + b"\x01\x03\x00\x08abcdefgh") == names


if __name__ == "__main__":
    engine.run(__file__)
