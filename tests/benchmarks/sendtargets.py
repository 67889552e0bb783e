"""Measures the reading of long SendTargets answers; prints figures, asserts nothing.

Run it from the repository's root: ``python -m tests.benchmarks.sendtargets``. The answer comes in
pieces of 8192 octets, as from a target to which nothing else was declared, through the whole
exchange: PDU reader, continuation, pairs, names, addresses, records. Memory is what Python's own
objects take at most, the records of one piece included, which the caller takes away at once.
"""

from __future__ import annotations

import time
import tracemalloc

from iscsid.protocol.codes import RESERVED_TAG
from iscsid.protocol.discovery_exchange import DiscoveryExchange
from iscsid.protocol.names import Portal
from iscsid.protocol.parameters import Isid, LoginResult
from iscsid.protocol.pdu import TextResponse
from iscsid.protocol.text import split_text

SIZES = (1250, 2500, 5000, 10_000)
PORTALS = 2
PIECE = 8192


def answer_pdus(targets: int) -> list[bytes]:
    """Return the Text Responses that list so many targets, each at two portals."""
    text = b"".join(
        b"TargetName=iqn.2024-01.org.example:storage.disk%06d\0" % number
        + b"".join(b"TargetAddress=192.0.2.%d:3260,1\0" % (portal + 1) for portal in range(PORTALS))
        for number in range(targets)
    )
    pieces = split_text(text, PIECE)
    return [
        TextResponse(
            final=number == len(pieces),
            continue_=number < len(pieces),
            initiator_task_tag=1,
            target_transfer_tag=RESERVED_TAG if number == len(pieces) else 1,
            stat_sn=number,
            exp_cmd_sn=1,
            max_cmd_sn=1,
            data=piece,
        ).encode()
        for number, piece in enumerate(pieces, 1)
    ]


def read(pdus: list[bytes]) -> int:
    """Play an answer to an exchange, as a driver would; return how many records came of it."""
    login = LoginResult(isid=Isid(bytes(6)), tsih=1, cmd_sn=1, exp_stat_sn=1)
    exchange = DiscoveryExchange(login, Portal("192.0.2.1"))
    records = 0
    for pdu in pdus:
        exchange.data_to_send()
        while pdu:
            wanted = exchange.bytes_wanted
            exchange.receive_data(pdu[:wanted])
            pdu = pdu[wanted:]
        records += len(exchange.take_records())
    return records


def main() -> None:
    print(f"{'targets':>8} {'octets':>9} {'seconds':>8} {'targets/s':>10} {'peak MiB':>9}")
    for targets in SIZES:
        pdus = answer_pdus(targets)
        started = time.perf_counter()
        records = read(pdus)
        seconds = time.perf_counter() - started
        tracemalloc.start()
        read(pdus)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        octets = sum(map(len, pdus))
        print(
            f"{records:>8} {octets:>9} {seconds:>8.3f} {records / seconds:>10.0f} "
            f"{peak / (1 << 20):>9.1f}"
        )


if __name__ == "__main__":
    main()
