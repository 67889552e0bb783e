"""PDUs that the kernel leaves to user space, and what each requests of the session.

Pure. It calls the session's methods and writes none of its attributes. Asynchronous Messages: RFC
7143, section 11.9; Logout Response: section 11.15.
"""

from __future__ import annotations

from iscsid.errors import MalformedPdu
from iscsid.initiator.outbox import Outbox
from iscsid.initiator.session import Session
from iscsid.initiator.session_fsm import Event
from iscsid.protocol.codes import AsyncEvent
from iscsid.protocol.pdu import AsyncMessage, LogoutResponse, Reject, decode

REPORTED_LUNS_CHANGED = (0x3F, 0x0E)
"""ASC and ASCQ of the unit attention "reported LUNs data has changed" (SPC)."""


def pdu_received(session: Session, outbox: Outbox, header: bytes, data: bytes) -> None:
    """Act on one PDU."""
    try:
        pdu = decode(header, data)
    except MalformedPdu as error:
        outbox.warn(session.log_prefix, str(error))
        return
    if isinstance(pdu, LogoutResponse):
        session.fire(Event.LOGGED_OUT)
    elif isinstance(pdu, AsyncMessage):
        _async_message(session, outbox, pdu)
    elif isinstance(pdu, Reject):
        outbox.warn(session.log_prefix, f"the target rejected a PDU: {pdu.reason}")
    else:
        outbox.debug(session.log_prefix, f"unexpected {type(pdu).__name__} from the target")


def _async_message(session: Session, outbox: Outbox, message: AsyncMessage) -> None:
    match message.async_event:
        case AsyncEvent.SCSI_EVENT:
            _scsi_event(session, outbox, message.data)
        case AsyncEvent.LOGOUT_REQUESTED | AsyncEvent.NEGOTIATION_REQUESTED:
            # iscsid does not negotiate in full feature phase: a logout and a new login are the
            # standard's other answer.
            outbox.info(session.log_prefix, "the target requests a logout: logging in again")
            session.fire(Event.LOGOUT_REQUESTED)
        case AsyncEvent.CONNECTION_DROPPED | AsyncEvent.SESSION_DROPPED:
            wait = message.parameter2
            outbox.info(
                session.log_prefix, f"the target will drop the connection; asks to wait {wait} s"
            )
            session.asked_to_wait(float(wait))
        case event:
            outbox.info(session.log_prefix, f"asynchronous message from the target: {event}")


def _scsi_event(session: Session, outbox: Outbox, data: bytes) -> None:
    """Scan if the sense data reports that the LUNs changed (a length of two octets precedes it)."""
    sense = data[2:]
    if len(sense) > 13 and (sense[12], sense[13]) == REPORTED_LUNS_CHANGED:
        outbox.info(session.log_prefix, "the target's LUNs have changed: scanning")
        session.scan()
    else:
        outbox.info(session.log_prefix, "SCSI asynchronous event from the target")
