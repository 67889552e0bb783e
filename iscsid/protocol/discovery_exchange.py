"""The PDU exchange of a discovery session, from SendTargets to Logout, without the socket.

The caller sends ``data_to_send()``, reads at most ``bytes_wanted`` octets, passes them to
``receive_data()``, and takes records, notes and events at any time, until there is an ``outcome``.
After ANSWERED it may ``ask_again()`` on a session that is kept, or ``log_out()``. An Asynchronous
Message (RFC 7143, section 11.9.1) becomes a ``DiscoveryEvent``; a target should not send one in a
discovery session, and may drop the connection instead (RFC 7143, section 7.4.3). Pure: the caller
limits the time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from iscsid.errors import ProtocolError
from iscsid.protocol import serial
from iscsid.protocol.codes import RESERVED_TAG, AsyncEvent, LogoutOutcome
from iscsid.protocol.names import DiscoveryRecord, Portal
from iscsid.protocol.parameters import Digest, LoginResult
from iscsid.protocol.pdu import (
    AsyncMessage,
    LogoutRequest,
    LogoutResponse,
    NopIn,
    Pdu,
    Reject,
    ResponsePdu,
    TextRequest,
    TextResponse,
    answer_to_ping,
    opcode_of,
)
from iscsid.protocol.pdu_reader import PduReader
from iscsid.protocol.printable import Notes
from iscsid.protocol.sendtargets import SendTargetsAnswer
from iscsid.protocol.text import format_pairs
from iscsid.protocol.trace import Trace


@dataclass(frozen=True, slots=True)
class LogoutRequested:
    """The target wants us to log out within so many seconds."""

    within: int


@dataclass(frozen=True, slots=True)
class ConnectionDropped:
    """The target drops the connection; it may be back after ``time2wait`` seconds."""

    time2wait: int
    time2retain: int


@dataclass(frozen=True, slots=True)
class SomethingChanged:
    """The target reports an event: asking again may bring another answer."""


DiscoveryEvent = LogoutRequested | ConnectionDropped | SomethingChanged


def event_of(pdu: AsyncMessage) -> DiscoveryEvent | None:
    """Return what an Asynchronous Message means for a discovery session."""
    match pdu.async_event:
        case AsyncEvent.LOGOUT_REQUESTED | AsyncEvent.NEGOTIATION_REQUESTED:
            # We never negotiate anew; logging out and in is the standard's other way.
            return LogoutRequested(pdu.parameter3)
        case AsyncEvent.CONNECTION_DROPPED | AsyncEvent.SESSION_DROPPED:
            return ConnectionDropped(pdu.parameter2, pdu.parameter3)
        case AsyncEvent.TASKS_ABORTED:
            return None
        case _:
            return SomethingChanged()


MAX_PDU_LENGTH = 2 << 20
"""Octets of data in one PDU. Far more than we declare, for istgt heeds no declaration and sends
its whole answer at once."""


class DiscoveryOutcome(Enum):
    """What has been reached; nothing is under way any more."""

    ANSWERED = "answered"
    LOGGED_OUT = "logged out"


class _Phase(Enum):
    ASKING = "while SendTargets is being answered"
    ANSWERED = "while nothing is asked"
    LEAVING = "after our Logout Request"
    LEFT = "after the Logout Response"


class DiscoveryExchange:
    """The PDU exchange of a discovery session after its login.

    It begins by asking; errors of the target's are ``ProtocolError``, after which the exchange is
    of no use any more. ``portal`` is where the session runs.
    """

    def __init__(self, login: LoginResult, portal: Portal) -> None:
        agreed = login.parameters
        if (agreed.header_digest, agreed.data_digest) != (Digest.NONE, Digest.NONE):
            raise ValueError("a discovery session has no digests")
        self._portal = portal
        self._cmd_sn = login.cmd_sn
        self._exp_stat_sn = login.exp_stat_sn
        self._initiator_task_tag = 0
        self.trace = Trace()
        self._reader = PduReader(MAX_PDU_LENGTH)
        self._output = bytearray()
        self._notes = Notes()
        self._events: dict[type[DiscoveryEvent], DiscoveryEvent] = {}
        self._phase = _Phase.ANSWERED
        self.ask_again()

    # --- the caller's interface -----------------------------------------------------------------

    @property
    def outcome(self) -> DiscoveryOutcome | None:
        """What has been reached; ``None`` while the target owes us a PDU."""
        return _OUTCOMES.get(self._phase)

    @property
    def is_between_pdus(self) -> bool:
        """Whether nothing of a PDU has come whose rest has not."""
        return self._reader.is_between_pdus

    @property
    def bytes_wanted(self) -> int:
        """How many octets may be read next; zero once we are logged out."""
        return 0 if self._phase is _Phase.LEFT else self._reader.bytes_wanted

    def data_to_send(self) -> bytes:
        """Return what is to be sent now, and forget it."""
        output = bytes(self._output)
        self._output.clear()
        return output

    def receive_data(self, data: bytes) -> None:
        """Take at most ``bytes_wanted`` octets from the target; raises ``ProtocolError``."""
        self._reader.receive_data(data)
        pdu = self._reader.next_pdu()
        if pdu is not None:
            self._receive_pdu(pdu)

    def take_records(self) -> tuple[DiscoveryRecord, ...]:
        """Return the targets listed since the last call; see ``SendTargetsAnswer``.

        After ``ask_again()`` every target of the new answer comes again.
        """
        return self._answer.take_records()

    @property
    def skipped_targets(self) -> int:
        """Targets of the current answer that cannot be used; ``take_notes`` has the reasons."""
        return self._answer.skipped

    def take_notes(self) -> tuple[str, ...]:
        """Return lines for the log: what was skipped, and what was odd."""
        return self._notes.take()

    def take_events(self) -> tuple[DiscoveryEvent, ...]:
        """Return events the target reported unasked; of each kind only the latest."""
        events = tuple(self._events.values())
        self._events.clear()
        return events

    def ask_again(self) -> None:
        """Ask SendTargets (once more); only when ANSWERED."""
        if self._phase is not _Phase.ANSWERED:
            raise RuntimeError(f"SendTargets cannot be asked {self._phase.value}")
        self._phase = _Phase.ASKING
        self._answer = SendTargetsAnswer(self._portal, self._notes)
        self._send(
            TextRequest(
                final=True,
                initiator_task_tag=self._next_task_tag(),
                cmd_sn=self._cmd_sn,
                exp_stat_sn=self._exp_stat_sn,
                data=format_pairs([("SendTargets", "All")]),
            )
        )

    def log_out(self) -> None:
        """Close the session, an unfinished answer notwithstanding."""
        if self._phase in (_Phase.LEAVING, _Phase.LEFT):
            raise RuntimeError(f"there is no logging out {self._phase.value}")
        self._phase = _Phase.LEAVING
        self._send(
            LogoutRequest(
                initiator_task_tag=self._next_task_tag(),
                cmd_sn=self._cmd_sn,
                exp_stat_sn=self._exp_stat_sn,
            )
        )

    # --- PDUs from the target -------------------------------------------------------------------

    def _receive_pdu(self, pdu: Pdu) -> None:
        self.trace.received(pdu)
        row = _ROWS[self._phase].get(type(pdu))
        if row is None or not isinstance(pdu, ResponsePdu):
            raise ProtocolError(f"a PDU ({pdu.opcode}) came {self._phase.value}")
        self._acknowledge(pdu)
        row(self, pdu)

    def _acknowledge(self, pdu: ResponsePdu) -> None:
        """Keep ExpStatSN and CmdSN in step.

        A gap in StatSN is harmless here, because one TCP connection delivers all in order; so it
        is only noted. CmdSN follows ExpCmdSN because istgt counts immediate requests, too, and
        drops the connection over a CmdSN that is past by its count.
        """
        is_counted = not isinstance(pdu, NopIn) or pdu.initiator_task_tag != RESERVED_TAG
        if pdu.stat_sn != self._exp_stat_sn:
            self._notes.add(f"StatSN was not the next one in a PDU ({pdu.opcode})")
        following = serial.add(pdu.stat_sn) if is_counted else pdu.stat_sn
        if serial.is_later(following, self._exp_stat_sn):
            self._exp_stat_sn = following
        if serial.is_later(pdu.exp_cmd_sn, self._cmd_sn):
            self._cmd_sn = pdu.exp_cmd_sn

    def _take_text(self, pdu: TextResponse) -> None:
        self._check_task_tag(pdu)
        is_last = pdu.final and not pdu.continue_
        names_next = pdu.target_transfer_tag != RESERVED_TAG
        if pdu.continue_ and not names_next:
            raise ProtocolError("the answer goes on without a Target Transfer Tag")
        self._answer.receive_text(pdu.data)
        if not is_last and names_next:
            self._continue_answer(pdu)
            return
        if not is_last:
            self._notes.add("the answer ended without the F bit")
        self._finish_answer()

    def _continue_answer(self, pdu: TextResponse) -> None:
        """Ask for the next piece: tgtd cuts without, LIO with the C bit; both want F=1 of us."""
        self._send(
            TextRequest(
                final=True,
                lun=pdu.lun,
                initiator_task_tag=pdu.initiator_task_tag,
                target_transfer_tag=pdu.target_transfer_tag,
                cmd_sn=self._cmd_sn,
                exp_stat_sn=self._exp_stat_sn,
            )
        )

    def _finish_answer(self) -> None:
        self._answer.finish()
        self._phase = _Phase.ANSWERED

    def _answer_ping(self, pdu: NopIn) -> None:
        answer = answer_to_ping(pdu, cmd_sn=self._cmd_sn, exp_stat_sn=self._exp_stat_sn)
        if answer is not None:
            self._send(answer)

    def _take_event(self, pdu: AsyncMessage) -> None:
        self._notes.add(f"the target reports: {pdu.async_event}")
        event = event_of(pdu)
        if event is not None:
            self._events[type(event)] = event

    def _fail_rejected(self, pdu: Reject) -> None:
        rejected = opcode_of(pdu.data) if pdu.data else "PDU"
        raise ProtocolError(f"the target rejected our {rejected}: {pdu.reason}", section="11.17.1")

    def _leave_rejected(self, pdu: Reject) -> None:
        self._notes.add(f"the target rejected our Logout Request: {pdu.reason}")
        self._phase = _Phase.LEFT

    def _leave(self, pdu: LogoutResponse) -> None:
        self._check_task_tag(pdu)
        if pdu.response != LogoutOutcome.CLOSED:
            self._notes.add(f"the target answered our Logout Request: {pdu.response}")
        self._phase = _Phase.LEFT

    def _ignore(self, pdu: Pdu) -> None:
        """Let pass what was on its way when we sent the Logout Request."""

    # --- helpers --------------------------------------------------------------------------------

    def _check_task_tag(self, pdu: ResponsePdu) -> None:
        if pdu.initiator_task_tag != self._initiator_task_tag:
            raise ProtocolError(
                f"a PDU ({pdu.opcode}) has the task tag {pdu.initiator_task_tag:#x}, "
                f"ours has {self._initiator_task_tag:#x}"
            )

    def _next_task_tag(self) -> int:
        self._initiator_task_tag = (self._initiator_task_tag + 1) % RESERVED_TAG
        return self._initiator_task_tag

    def _send(self, pdu: Pdu) -> None:
        self._output += pdu.encode()
        self.trace.sent(pdu)


_Row = Callable[[DiscoveryExchange, Any], None]

_ROWS: dict[_Phase, dict[type[Pdu], _Row]] = {
    _Phase.ASKING: {
        TextResponse: DiscoveryExchange._take_text,
        NopIn: DiscoveryExchange._answer_ping,
        AsyncMessage: DiscoveryExchange._take_event,
        Reject: DiscoveryExchange._fail_rejected,
    },
    _Phase.ANSWERED: {
        NopIn: DiscoveryExchange._answer_ping,
        AsyncMessage: DiscoveryExchange._take_event,
        Reject: DiscoveryExchange._fail_rejected,
    },
    _Phase.LEAVING: {
        LogoutResponse: DiscoveryExchange._leave,
        TextResponse: DiscoveryExchange._ignore,
        NopIn: DiscoveryExchange._ignore,
        AsyncMessage: DiscoveryExchange._take_event,
        Reject: DiscoveryExchange._leave_rejected,
    },
    _Phase.LEFT: {},
}
"""Which PDU may come when, and what it does; any other is an error of the target's."""

_OUTCOMES = {
    _Phase.ANSWERED: DiscoveryOutcome.ANSWERED,
    _Phase.LEFT: DiscoveryOutcome.LOGGED_OUT,
}
