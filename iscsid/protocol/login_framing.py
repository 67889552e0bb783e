"""Login Requests and Login Responses: headers, numbering, and text split with the C bit.

This module numbers and checks headers, splits and joins text, and bounds the number of responses
and octets, so that ``login_exchange`` gets complete answers only. It knows no key. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from iscsid.errors import MalformedPdu, ProtocolError
from iscsid.protocol import serial
from iscsid.protocol.codes import Stage
from iscsid.protocol.login_status import SUCCESS
from iscsid.protocol.parameters import LoginPlan
from iscsid.protocol.pdu import LoginRequest, LoginResponse, Pdu, Reject
from iscsid.protocol.pdu_reader import DEFAULT_MAX_DATA_SEGMENT_LENGTH, PduReader
from iscsid.protocol.text import (
    Pairs,
    TextAssembler,
    format_pairs,
    parse_pairs,
    split_text,
)
from iscsid.protocol.trace import Trace

INITIATOR_TASK_TAG = 0
"""One tag for all requests of a login phase; nothing else is outstanding that it could mean."""

CID = 0

MAX_TEXT_PER_REQUEST = DEFAULT_MAX_DATA_SEGMENT_LENGTH
"""What every target takes before it declared more (RFC 7143, section 13.12)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer of the target; with a status other than 0 nothing else was checked."""

    pairs: Pairs
    response: LoginResponse

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def transit(self) -> bool:
        return self.response.transit


class LoginFraming:
    """Sends requests with ``ask``, takes responses with ``receive_data``."""

    def __init__(self, plan: LoginPlan, trace: Trace, *, max_rounds: int, max_bytes: int) -> None:
        self._plan = plan
        self._trace = trace
        self._rounds_left = max_rounds
        self._bytes_left = max_bytes
        self._reader = PduReader()
        self._incoming = TextAssembler(max_bytes)
        self._pieces: list[bytes] = []
        self._stage = Stage.SECURITY_NEGOTIATION
        self._next_stage: Stage | None = None
        self._to_send = b""
        self.exp_stat_sn = 0
        """StatSN of the last response plus one; 0 before the first."""
        self.has_answered = False

    @property
    def bytes_wanted(self) -> int:
        return self._reader.bytes_wanted

    @property
    def is_between_pdus(self) -> bool:
        return self._reader.is_between_pdus

    def data_to_send(self) -> bytes:
        data, self._to_send = self._to_send, b""
        return data

    def ask(self, pairs: Pairs, stage: Stage, next_stage: Stage | None) -> None:
        """Send ``pairs`` in ``stage``, and ask for the transit to ``next_stage`` if there is one.

        A text too long for one request goes in pieces, each of which the target must acknowledge
        with an empty response (RFC 7143, section 6.2).
        """
        self._stage, self._next_stage = stage, next_stage
        self._pieces = list(split_text(format_pairs(pairs), MAX_TEXT_PER_REQUEST))
        self._send_piece()
        if pairs:
            self._trace.sent(pairs)

    def receive_data(self, data: bytes) -> Answer | None:
        """Take octets; return the target's answer once it is whole.

        Raises ``ProtocolError`` on whatever may not come as the answer to the last request.
        """
        self._reader.receive_data(data)
        pdu = self._reader.next_pdu()
        return None if pdu is None else self._receive(pdu)

    def _send_piece(self) -> None:
        piece = self._pieces.pop(0)
        next_stage = None if self._pieces else self._next_stage
        self._send(piece, next_stage, continues=bool(self._pieces))

    def _send(self, text: bytes, next_stage: Stage | None, *, continues: bool) -> None:
        request = LoginRequest(
            transit=next_stage is not None,
            continue_=continues,
            current_stage=self._stage,
            next_stage=next_stage or Stage.SECURITY_NEGOTIATION,
            isid=self._plan.isid,
            cid=CID,
            initiator_task_tag=INITIATOR_TASK_TAG,
            cmd_sn=self._plan.cmd_sn,
            exp_stat_sn=self.exp_stat_sn,
            data=text,
        )
        self._to_send += request.encode()
        self._trace.sent(request)

    def _receive(self, pdu: Pdu) -> Answer | None:
        self._trace.received(pdu)
        self._count(pdu)
        response = _login_response(pdu)
        # Before anything else: the other fields of an error response differ between targets.
        if response.status != SUCCESS:
            return self._refusal(response)
        self._check(response)
        self.exp_stat_sn = serial.add(response.stat_sn)
        self.has_answered = True
        if self._pieces:
            _check_acknowledgement(response)
            self._send_piece()
            return None
        text = self._incoming.add(response.data, continues=response.continue_)
        if text is None:
            self._send(b"", None, continues=False)
            return None
        return self._whole(response, text)

    def _whole(self, response: LoginResponse, text: bytes) -> Answer:
        pairs = parse_pairs(text)
        if pairs:
            self._trace.received(pairs)
        return Answer(pairs, response)

    def _refusal(self, response: LoginResponse) -> Answer:
        try:
            return self._whole(response, response.data)
        except ProtocolError:
            # The status is what matters; bad text beside it must not hide it.
            return Answer((), response)

    def _count(self, pdu: Pdu) -> None:
        self._rounds_left -= 1
        self._bytes_left -= len(pdu.data)
        if self._rounds_left < 0 or self._bytes_left < 0:
            raise ProtocolError(
                "the login came to no end within the number of answers and octets one may take",
                advice="look into the target's log",
            )

    def _check(self, response: LoginResponse) -> None:
        """Hold a response with status 0 against the request it must answer."""
        if response.version_active != 0:
            raise _broken(f"chose version {response.version_active}, offered was 0", "11.13.2")
        if response.isid != self._plan.isid:
            raise _broken(f"has ISID {response.isid.hex()}, not {self._plan.isid.hex()}", "11.13")
        if response.initiator_task_tag != INITIATOR_TASK_TAG:
            tag = response.initiator_task_tag
            raise _broken(f"has Initiator Task Tag {tag}, not {INITIATOR_TASK_TAG}", "11.12")
        if response.current_stage != self._stage:
            raise _broken(f"is of the {response.current_stage}, not {self._stage}", "6.3")
        if response.transit and response.continue_:
            raise _broken("ends the stage while its text continues", "11.13.7")
        # Without the T bit NSG means nothing; istgt fills it in all the same.
        if response.transit and self._next_stage not in (None, response.next_stage):
            asked = f"{self._next_stage} was asked for"
            raise _broken(f"goes to the {response.next_stage}, {asked}", "6.3")
        if self.has_answered and response.stat_sn != self.exp_stat_sn:
            raise _broken(f"has StatSN {response.stat_sn}, not {self.exp_stat_sn}", "11.13.4")


def _login_response(pdu: Pdu) -> LoginResponse:
    if isinstance(pdu, LoginResponse):
        return pdu
    kind = f"{pdu.opcode}, {pdu.reason}" if isinstance(pdu, Reject) else f"{pdu.opcode}"
    raise MalformedPdu(
        f"the target answered a Login Request with a PDU of another kind ({kind})",
        section="11.13",
        advice="make sure that an iSCSI target listens at this address",
    )


def _check_acknowledgement(response: LoginResponse) -> None:
    if response.data or response.transit or response.continue_:
        raise _broken("must be empty while our text continues", "6.2")


def _broken(how: str, section: str) -> ProtocolError:
    return ProtocolError(f"the target's Login Response {how}", section=section)
