"""PDUs that the kernel hands up to user space, and what each asks of the session.

Pure. Asynchronous Messages: RFC 7143, section 11.9; Logout Response: section 11.15.
"""

from __future__ import annotations

from iscsid.errors import MalformedPdu
from iscsid.initiator.session import Session
from iscsid.initiator.session_fsm import Event
from iscsid.protocol.codes import AsyncEvent
from iscsid.protocol.pdu import AsyncMessage, LogoutResponse, Reject, decode

REPORTED_LUNS_CHANGED = (0x3F, 0x0E)
"""ASC and ASCQ of the unit attention "reported LUNs data has changed" (SPC)."""


def pdu_received(session: Session, header: bytes, data: bytes) -> None:
    """Act on one PDU the kernel did not keep for itself."""
    try:
        pdu = decode(header, data)
    except MalformedPdu as error:
        session.outbox.warn(session.log_prefix, str(error))
        return
    if isinstance(pdu, LogoutResponse):
        session.fire(Event.LOGGED_OUT)
    elif isinstance(pdu, AsyncMessage):
        _async_message(session, pdu)
    elif isinstance(pdu, Reject):
        session.outbox.warn(session.log_prefix, f"the target rejected a PDU: {pdu.reason}")
    else:
        session.outbox.debug(session.log_prefix, f"unexpected {type(pdu).__name__} from the target")


def _async_message(session: Session, message: AsyncMessage) -> None:
    match message.async_event:
        case AsyncEvent.SCSI_EVENT:
            _scsi_event(session, message.data)
        case AsyncEvent.LOGOUT_REQUESTED | AsyncEvent.NEGOTIATION_REQUESTED:
            # We do not renegotiate: to log out and in again is the standard's other way.
            session.outbox.info(
                session.log_prefix, "the target asks for a logout: logging in again"
            )
            session.fire(Event.LOGOUT_REQUESTED)
        case AsyncEvent.CONNECTION_DROPPED | AsyncEvent.SESSION_DROPPED:
            wait = message.parameter2
            session.outbox.info(
                session.log_prefix, f"the target will drop us; asks to wait {wait} s"
            )
            session.asked_to_stay_away(float(wait))
        case event:
            session.outbox.info(
                session.log_prefix, f"asynchronous message from the target: {event}"
            )


def _scsi_event(session: Session, data: bytes) -> None:
    """Look for LUNs again where the sense data says so (a length of two octets precedes it)."""
    sense = data[2:]
    if len(sense) > 13 and (sense[12], sense[13]) == REPORTED_LUNS_CHANGED:
        session.outbox.info(session.log_prefix, "the target's LUNs have changed: scanning")
        session.scan()
    else:
        session.outbox.info(session.log_prefix, "SCSI asynchronous event from the target")
