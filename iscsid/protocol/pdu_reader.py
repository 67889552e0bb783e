"""Splits a stream of octets into PDUs without reading beyond the current one.

After the last Login Response the socket belongs to the kernel, and octets read past it would be
lost; so the reader states how much may be read next, and refuses more. Pure.
"""

from __future__ import annotations

from iscsid.errors import MalformedPdu
from iscsid.protocol.digests import check, digest_length
from iscsid.protocol.parameters import Digest
from iscsid.protocol.pdu import (
    BHS_LENGTH,
    Pdu,
    ahs_length,
    data_segment_length,
    decode,
    opcode_of,
    padding,
)

DEFAULT_MAX_DATA_SEGMENT_LENGTH = 8192
"""What a target may send before anything else is declared (RFC 7143, section 13.12)."""


class PduReader:
    """Collects one PDU at a time; digests are checked and taken off.

    ``max_data_segment_length`` bounds what a header may announce; it may be changed between PDUs.
    """

    def __init__(
        self,
        max_data_segment_length: int = DEFAULT_MAX_DATA_SEGMENT_LENGTH,
        *,
        header_digest: Digest = Digest.NONE,
        data_digest: Digest = Digest.NONE,
    ) -> None:
        self.max_data_segment_length = max_data_segment_length
        self._header_digest = digest_length(header_digest)
        self._data_digest = digest_length(data_digest)
        self._received = bytearray()
        self._length = BHS_LENGTH

    @property
    def bytes_wanted(self) -> int:
        """How many octets may be read next: never beyond the current PDU.

        Zero once the PDU is whole and waits to be taken by ``next_pdu()``.
        """
        return self._length - len(self._received)

    @property
    def is_between_pdus(self) -> bool:
        """Whether nothing of a PDU has come yet: the one place where a stream may end."""
        return not self._received

    def receive_data(self, data: bytes) -> None:
        """Take at most ``bytes_wanted`` octets; raises ``MalformedPdu`` on an impossible header."""
        if len(data) > self.bytes_wanted:
            raise ValueError(f"{len(data)} octets were read where {self.bytes_wanted} were wanted")
        self._received += data
        if len(self._received) == self._length == BHS_LENGTH:
            self._length += self._length_after_header()

    def next_pdu(self) -> Pdu | None:
        """Return the PDU once it is whole, and begin the next; ``None`` while it is not.

        Raises ``MalformedPdu`` for a wrong digest.
        """
        if self.bytes_wanted:
            return None
        received = bytes(self._received)
        self._received.clear()
        self._length = BHS_LENGTH
        header = received[:BHS_LENGTH]
        end = BHS_LENGTH + ahs_length(header)
        start = end + self._header_digest
        check(received[:end], received[end:start], "header")
        length = data_segment_length(header)
        end = start + length + padding(length)
        check(received[start:end], received[end:], "data")
        return decode(header, received[start : start + length])

    def _length_after_header(self) -> int:
        length = data_segment_length(self._received)
        if length > self.max_data_segment_length:
            raise MalformedPdu(
                f"a PDU ({opcode_of(self._received)}) announces {length} octets of data, "
                f"more than the {self.max_data_segment_length} that were allowed",
                section="13.12",
                advice="make sure that an iSCSI target listens at this address",
            )
        digests = self._header_digest + (self._data_digest if length else 0)
        return ahs_length(self._received) + length + padding(length) + digests
