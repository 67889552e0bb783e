"""Fuzz target: PDUs from any stream of octets.

``python -m tests.fuzz.pdu_reader -max_total_time=60``. The oracle: the reader never wants more than
the current PDU, ends in a PDU or ``MalformedPdu``, and a PDU that is encoded is read again as it
was.
"""

from __future__ import annotations

from iscsid.errors import MalformedPdu
from iscsid.protocol.parameters import Digest
from iscsid.protocol.pdu import BHS_LENGTH, decode
from iscsid.protocol.pdu_reader import PduReader
from iscsid.protocol.scsi import scsi_pdu
from tests.fuzz import engine

LONGEST = 1024


def test_one_input(data: bytes) -> None:
    """Read all PDUs there are; the first octet determines the digests and how it is cut."""
    choice, stream = data[:1].ljust(1, b"\0")[0], data[1:]
    digests = (Digest.NONE, Digest.CRC32C)
    reader = PduReader(
        LONGEST, header_digest=digests[choice & 1], data_digest=digests[choice >> 1 & 1]
    )
    step = (choice >> 2) + 1
    while stream:
        wanted = reader.bytes_wanted
        assert 0 < wanted <= BHS_LENGTH + 1020 + LONGEST + 3 + 8
        piece = stream[: min(step, wanted)]
        stream = stream[len(piece) :]
        try:
            reader.receive_data(piece)
            pdu = reader.next_pdu()
        except MalformedPdu as error:
            assert str(error).isprintable()
            return
        if pdu is not None:
            assert reader.is_between_pdus
            octets = pdu.encode()
            assert decode(octets[:BHS_LENGTH], pdu.data).encode() == octets
            scsi_pdu(pdu).encode()
            assert f"{pdu.opcode}".isprintable()


if __name__ == "__main__":
    engine.run(__file__)
