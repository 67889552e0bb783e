"""Asks real targets what their disks are: with a bare command, and as a worker does it."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from iscsid.errors import Failure
from iscsid.protocol.lun_identity import LunIdentityExchange, lower_cmd_sn
from iscsid.protocol.names import IscsiName, Portal
from iscsid.protocol.parameters import Digest, LoginPlan, Offer
from iscsid.protocol.scsi import ScsiCommand, ScsiDataIn, encode_lun, inquiry, scsi_pdu
from iscsid.protocol.serial import add
from iscsid.protocol.vpd import DEVICE_IDENTIFICATION, LunIdentity
from tests.loopback.driver import Session, TargetClosed, log_in
from tests.support.patience import PATIENCE
from tests.target.pairing import make_plan

CMD_SN = 1
"""The kernel's own, in these tests: so that our commands come from the other end of the circle."""
LENGTH = 255
RED, BLUE, GREEN = "c0ffee0000000001", "c0ffee0000000002", "c0ffee0000000003"
"""In tgtd's pages as text, and as the digits of an NAA designator."""
CRC = (Digest.CRC32C,)
NO = (Digest.NONE,)


def make(name: IscsiName, header: Sequence[Digest] = NO, data: Sequence[Digest] = NO) -> LoginPlan:
    offer = Offer(header_digest=tuple(header), data_digest=tuple(data))
    return replace(make_plan(offer=offer, cmd_sn=CMD_SN), target_name=name)


def ask(session: Session, lun: int) -> ScsiDataIn:
    """Ask one LUN for its page, without the exchange."""
    command = ScsiCommand(
        immediate=False,
        read=True,
        lun=encode_lun(lun),
        initiator_task_tag=0x77,
        expected_data_transfer_length=LENGTH,
        cmd_sn=session.result.cmd_sn,
        exp_stat_sn=session.result.exp_stat_sn,
        cdb=inquiry(DEVICE_IDENTIFICATION, LENGTH),
    )
    answer = scsi_pdu(session.ask(command))
    assert isinstance(answer, ScsiDataIn) and answer.has_status, answer
    exp_stat_sn = add(answer.stat_sn)
    session.result = replace(session.result, exp_stat_sn=exp_stat_sn, cmd_sn=answer.exp_cmd_sn)
    return answer


def pages(portal: Portal, plan: LoginPlan, *luns: int) -> tuple[LunIdentity, ...]:
    with log_in(portal, plan) as session:
        found = tuple((lun, ask(session, lun).data) for lun in luns)
        session.log_out()
    return found


@contextmanager
def identified(
    portal: Portal, plan: LoginPlan, identities: tuple[LunIdentity, ...]
) -> Iterator[tuple[Session, Failure | None]]:
    """A session on which all LUNs have been asked, and what came of it."""
    with log_in(portal, lower_cmd_sn(plan, identities)) as session:
        exchange = LunIdentityExchange(session.result, identities)
        while exchange.result is None:
            if data := exchange.data_to_send():
                session.connection.sendall(data)
            octets = session.connection.recv(exchange.bytes_wanted)
            if not octets:
                raise TargetClosed("the target closed the session")
            exchange.receive_data(octets)
        assert nothing_waits(session.connection)
        session.result = exchange.result
        yield session, exchange.failure


def nothing_waits(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    finally:
        connection.settimeout(PATIENCE)


def goes_on(session: Session) -> None:
    """The next command has the kernel's own number, and the status the number it expects."""
    assert session.result.cmd_sn == CMD_SN
    session.ping()
    session.log_out()
