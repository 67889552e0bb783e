"""The logout of a session that is not handed to the kernel.

The caller sends ``data_to_send()``, reads at most ``bytes_wanted`` octets and passes them to
``receive_data()`` until it ``is_over``. A discovery session has a logout of its own in
``discovery_exchange``, because an answer may be incomplete then. Pure: the caller limits the time.
"""

from __future__ import annotations

from iscsid.errors import ProtocolError
from iscsid.protocol.codes import LogoutOutcome
from iscsid.protocol.digests import append_digest
from iscsid.protocol.parameters import LoginResult
from iscsid.protocol.pdu import AsyncMessage, LogoutRequest, LogoutResponse, NopIn, Pdu, Reject
from iscsid.protocol.pdu_reader import PduReader
from iscsid.protocol.trace import Trace

INITIATOR_TASK_TAG = 1


class LogoutExchange:
    """One Logout Request that closes the session, and the PDUs until its response."""

    def __init__(self, login: LoginResult) -> None:
        agreed = login.parameters
        self.is_over = False
        self.diagnostic = ""
        """Why the logout failed; empty if it did not."""
        self._reader = PduReader(
            agreed.max_recv_data_segment_length,
            header_digest=agreed.header_digest,
            data_digest=agreed.data_digest,
        )
        request = LogoutRequest(
            initiator_task_tag=INITIATOR_TASK_TAG,
            cmd_sn=login.cmd_sn,
            exp_stat_sn=login.exp_stat_sn,
        )
        self._output = append_digest(request.encode(), agreed.header_digest)
        self.trace = Trace()
        self.trace.sent(request)

    @property
    def is_between_pdus(self) -> bool:
        """Whether nothing of a PDU has come whose rest has not."""
        return self._reader.is_between_pdus

    @property
    def bytes_wanted(self) -> int:
        """How many octets may be read next; zero once it is over."""
        return 0 if self.is_over else self._reader.bytes_wanted

    def data_to_send(self) -> bytes:
        """Return what is to be sent now, and forget it."""
        output, self._output = self._output, b""
        return output

    def receive_data(self, data: bytes) -> None:
        """Take at most ``bytes_wanted`` octets from the target; raises ``ProtocolError``."""
        self._reader.receive_data(data)
        pdu = self._reader.next_pdu()
        if pdu is not None:
            self._receive(pdu)

    def _receive(self, pdu: Pdu) -> None:
        self.trace.received(pdu)
        match pdu:
            case LogoutResponse():
                self._finish(pdu)
            case Reject():
                self._end(f"the target rejected our Logout Request: {pdu.reason}")
            case NopIn() | AsyncMessage():
                pass  # it was on its way when we sent the Logout Request
            case _:
                raise ProtocolError(f"a PDU ({pdu.opcode}) came after our Logout Request")

    def _finish(self, pdu: LogoutResponse) -> None:
        if pdu.initiator_task_tag != INITIATOR_TASK_TAG:
            raise ProtocolError(
                f"the Logout Response has the task tag {pdu.initiator_task_tag:#x}, "
                f"ours has {INITIATOR_TASK_TAG:#x}"
            )
        if pdu.response == LogoutOutcome.CLOSED:
            self._end("")
        else:
            self._end(f"the target answered our Logout Request: {pdu.response}")

    def _end(self, diagnostic: str) -> None:
        self.is_over, self.diagnostic = True, diagnostic
