"""Fuzz target: what comes from the kernel's iSCSI interface.

``python -m tests.fuzz.kernel_events -max_total_time=60``. The oracle: never an exception; messages
lie in the datagram one behind the other; a PDU has the length that its header announces.
"""

from __future__ import annotations

from iscsid.facts import PduReceived
from iscsid.kernel.iscsi_if import split, unpack_event, unpack_reply
from tests.fuzz import engine


def test_one_input(data: bytes) -> None:
    """Read the octets as one datagram, as the kernel's event socket does."""
    messages = list(split(data))
    assert sum(map(len, messages)) <= len(data)
    for message in messages:
        assert message in data
        reply = unpack_reply(message)
        if reply is not None:
            assert reply.error >= 0 and 0 <= reply.tag < 2**64
        event = unpack_event(message)
        if isinstance(event, PduReceived):
            assert len(event.header) == 48
            assert len(event.data) == int.from_bytes(event.header[5:8], "big")


if __name__ == "__main__":
    engine.run(__file__)
