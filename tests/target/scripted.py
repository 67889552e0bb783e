"""The scripted target: octets in, octets out, and all that it received kept for inspection.

A correct target as far as its script lets it. Pure, so that a test can join it to an exchange in
memory; ``portal`` puts the same target behind a socket.
"""

from __future__ import annotations

from dataclasses import dataclass

from iscsid.protocol.codes import RESERVED_TAG, Opcode
from iscsid.protocol.pdu import (
    MAX_DATA_SEGMENT_LENGTH,
    LoginRequest,
    LogoutRequest,
    LogoutResponse,
    NopIn,
    NopOut,
    Pdu,
    RawPdu,
    RequestPdu,
    TextRequest,
    TextResponse,
)
from iscsid.protocol.pdu_reader import PduReader
from tests.target import scsi
from tests.target.discovery import Numbers, TargetListing
from tests.target.login import Silence, TargetLogin
from tests.target.script import Script


@dataclass(frozen=True, slots=True)
class ReceivedPdu:
    """One PDU of the initiator's: as it came, and decoded."""

    octets: bytes
    pdu: Pdu


class ScriptedTarget:
    """One connection's target."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()
        self.login = TargetLogin(self.script)
        self.received: list[ReceivedPdu] = []
        self.sent: list[bytes] = []
        self.is_closed = False
        self._listing = TargetListing(self.script)
        self._reader = PduReader(MAX_DATA_SEGMENT_LENGTH)
        self._octets = b""
        self._to_send = b""
        self._exp_cmd_sn = 0
        self._texts = 0

    @property
    def login_requests(self) -> list[bytes]:
        return [each.octets for each in self.received if isinstance(each.pdu, LoginRequest)]

    @property
    def diagnostics(self) -> list[str]:
        """What was wrong with what the initiator sent, in words."""
        return self.login.diagnostics + self._listing.diagnostics

    def data_to_send(self) -> bytes:
        data, self._to_send = self._to_send, b""
        return data

    def receive_data(self, data: bytes) -> None:
        """Take any number of octets."""
        while data and not self.is_closed:
            piece, data = data[: self._reader.bytes_wanted], data[self._reader.bytes_wanted :]
            self._reader.receive_data(piece)
            self._octets += piece
            pdu = self._reader.next_pdu()
            if pdu is not None:
                self.received.append(ReceivedPdu(self._octets, pdu))
                self._octets = b""
                self._receive(pdu)

    def _receive(self, pdu: Pdu) -> None:
        try:
            answer = self._answer(pdu)
        except Silence:
            self.is_closed = True
            return
        self.sent.append(answer if isinstance(answer, bytes) else answer.encode())
        self._to_send += self.sent[-1]
        self.is_closed = isinstance(pdu, LogoutRequest)

    def _answer(self, pdu: Pdu) -> Pdu | bytes:
        if isinstance(pdu, LoginRequest):
            self._exp_cmd_sn = pdu.cmd_sn
            return self.login.receive(pdu)
        if not self.login.is_through:
            self.login.diagnostics.append(f"a PDU ({pdu.opcode}) came before the login was through")
            raise Silence
        if isinstance(pdu, RequestPdu):
            self._count(pdu.cmd_sn, immediate=pdu.immediate)
            return self._answer_request(pdu)
        if isinstance(pdu, RawPdu) and pdu.opcode == Opcode.SCSI_COMMAND:
            cmd_sn = int.from_bytes(pdu.header[24:28], "big")
            self._count(cmd_sn, immediate=bool(pdu.header[0] & 0x40))
            numbers = self._numbers()
            luns = {lun: self.script.serials.get(lun, scsi.serial(lun)) for lun in self.script.luns}
            return scsi.answer(pdu.header, luns, numbers["stat_sn"], numbers["exp_cmd_sn"])
        self.login.diagnostics.append(f"no part of this target takes a PDU ({pdu.opcode})")
        raise Silence

    def _answer_request(self, pdu: RequestPdu) -> Pdu | bytes:
        match pdu:
            case TextRequest():
                declared = self.login.negotiator.declared
                limit = int(declared.get("MaxRecvDataSegmentLength", "8192"))
                return self._amended(self._listing.receive(pdu, self._numbers(), limit))
            case LogoutRequest():
                tag = pdu.initiator_task_tag
                return LogoutResponse(initiator_task_tag=tag, **self._numbers())
            case NopOut():
                return NopIn(
                    initiator_task_tag=pdu.initiator_task_tag,
                    target_transfer_tag=RESERVED_TAG,
                    data=pdu.data,
                    **self._numbers(),
                )
        raise Silence

    def _amended(self, response: TextResponse) -> TextResponse | bytes:
        number, self._texts = self._texts, self._texts + 1
        amended = self.script.amend_text(number, response)
        if amended is None:
            raise Silence
        return amended

    def _count(self, cmd_sn: int, *, immediate: bool) -> None:
        if cmd_sn != self._exp_cmd_sn:
            wanted = self._exp_cmd_sn
            self.login.diagnostics.append(f"CmdSN {cmd_sn} came where {wanted} was expected")
        if not immediate:
            self._exp_cmd_sn = (cmd_sn + 1) % 2**32

    def _numbers(self) -> Numbers:
        stat_sn, self.login.stat_sn = self.login.stat_sn, (self.login.stat_sn + 1) % 2**32
        window = (self._exp_cmd_sn + 31) % 2**32
        return {"stat_sn": stat_sn, "exp_cmd_sn": self._exp_cmd_sn, "max_cmd_sn": window}
