"""Verifies that every LUN of a session that is re-established is still the same logical unit.

The kernel sends waiting commands as soon as it has the new connection; if the target was set up
anew meanwhile, they would change the wrong disk. So between the last Login Response and the
hand-over each LUN in turn is asked for the page by which the kernel knows it.

A disk then gets a TEST UNIT READY, whose status is ignored: many targets answer the first command
after a login with a unit attention, and the kernel fails a command that gets one after it has
waited for six times its time limit, three minutes by default. The first write after a long outage
would be lost although ConnFailTimeout=0 promises otherwise. A tape keeps its unit attention: the
program that writes to it must learn that it may have been rewound.

Every query is an ordinary command with a CmdSN of its own: LIO rejects an INQUIRY for immediate
delivery. So the login begins with a CmdSN so much lower (``lower_cmd_sn``) that there are two
numbers for each LUN and a few to spare, for what must be asked twice. What is spare in the end is
used up by asking the last LUN again, and then the kernel's own number is due. The interface is that
of ``login_exchange``; pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from iscsid.errors import Failure, ProtocolError, Retry
from iscsid.protocol import serial
from iscsid.protocol.codes import RESERVED_TAG
from iscsid.protocol.digests import append_digest
from iscsid.protocol.parameters import LoginPlan, LoginResult
from iscsid.protocol.pdu import AsyncMessage, NopIn, Pdu, Reject, ResponsePdu, answer_to_ping
from iscsid.protocol.pdu_reader import PduReader
from iscsid.protocol.scsi import (
    ScsiCommand,
    ScsiDataIn,
    ScsiResponse,
    ScsiStatus,
    Sense,
    SenseKey,
    encode_lun,
    inquiry,
    parse_sense,
    scsi_pdu,
    test_unit_ready,
)
from iscsid.protocol.trace import Trace
from iscsid.protocol.vpd import (
    DEVICE_IDENTIFICATION,
    LunIdentity,
    ReplacedLun,
    best,
    changed_identity,
    designators,
    fingerprint,
    is_disk,
    is_identification_page,
    page_length,
)

QUESTIONS = 2
"""For each LUN: what it is, and whether it is ready."""
SPARE = 2
"""Queries beyond those: for LUNs that answer BUSY or NOT READY."""
USUAL_LENGTH = 255
"""The allocation length the kernel begins with: some devices heed the lower octet only."""
LONGEST = 0xFFFF
SHOWN = 3
"""LUNs that the failure describes; the others are counted."""

_NOT_NOW = {ScsiStatus.BUSY, ScsiStatus.TASK_SET_FULL, ScsiStatus.TASK_ABORTED}
_NOT_NOW_SENSE = {SenseKey.UNIT_ATTENTION, SenseKey.NOT_READY, SenseKey.ABORTED_COMMAND}
_NO_SUCH_LUN = (SenseKey.ILLEGAL_REQUEST, 0x25)

_ADVICE = "its disks stay blocked until the target is put right"
_OR_ACCEPT = "; if it is right as it is now, accept it with SIGHUP"


def lower_cmd_sn(plan: LoginPlan, identities: Sequence[LunIdentity]) -> LoginPlan:
    """Return the plan of a login after which these LUNs can be asked before the kernel goes on."""
    questions = QUESTIONS * len(identities) + SPARE if identities else 0
    return replace(plan, cmd_sn=serial.subtract(plan.cmd_sn, questions))


class LunIdentityExchange:
    """The SCSI commands on a normal session before the kernel gets its connection.

    ``login`` is the result of a login by ``lower_cmd_sn``; there is at least one identity, and all
    are ``comparable``. ``accepted`` are identities that a person has accepted in their place. An
    error of the target is a ``ProtocolError``; LUNs that are not what they were are a ``failure``,
    so that a logout may follow.
    """

    def __init__(
        self,
        login: LoginResult,
        identities: Sequence[LunIdentity],
        accepted: Collection[ReplacedLun] = (),
    ) -> None:
        agreed = login.parameters
        self._accepted = accepted
        self.replaced: list[ReplacedLun] = []
        """The LUNs with another identity than before that is not among the accepted ones."""
        self._login = login
        self._cmd_sn = login.cmd_sn
        self._exp_stat_sn = login.exp_stat_sn
        self._waiting = list(identities)
        self._spare = SPARE
        self._mismatches: list[str] = []
        self._may_recover = True
        self.trace = Trace()
        self._reader = PduReader(
            agreed.max_recv_data_segment_length,
            header_digest=agreed.header_digest,
            data_digest=agreed.data_digest,
        )
        self._output = bytearray()
        self._after_answer: Callable[[], None] | None = None
        """What follows the response whatever its status; ``None`` if its status matters."""
        self._is_over = False
        self._task_tag = 0
        self._ask_next()

    # --- the caller's interface -----------------------------------------------------------------

    @property
    def result(self) -> LoginResult | None:
        """The login with its numbers moved on; ``None`` while the target owes us an answer."""
        if not self._is_over:
            return None
        return replace(self._login, cmd_sn=self._cmd_sn, exp_stat_sn=self._exp_stat_sn)

    @property
    def failure(self) -> Failure | None:
        """Why the connection must not go to the kernel, once there is a result."""
        if not self._mismatches:
            return None
        shown = self._mismatches[:SHOWN]
        if len(self._mismatches) > SHOWN:
            shown.append(f"{len(self._mismatches) - SHOWN} more LUNs likewise")
        retry = Retry.SOON if self._may_recover else Retry.LATER
        advice = _ADVICE + _OR_ACCEPT if self.replaced else _ADVICE
        return Failure(retry, "; ".join(shown), advice)

    @property
    def is_between_pdus(self) -> bool:
        """Whether nothing of a PDU has come whose rest has not."""
        return self._reader.is_between_pdus

    @property
    def bytes_wanted(self) -> int:
        """How many octets may be read next: none once all has been asked."""
        return 0 if self._is_over else self._reader.bytes_wanted

    def data_to_send(self) -> bytes:
        """Return what is to be sent now, and forget it."""
        output = bytes(self._output)
        self._output.clear()
        return output

    def receive_data(self, data: bytes) -> None:
        """Take at most ``bytes_wanted`` octets from the target; raises ``ProtocolError``."""
        if self._is_over:
            raise RuntimeError("all LUNs have been asked")
        self._reader.receive_data(data)
        pdu = self._reader.next_pdu()
        if pdu is not None:
            self._receive_pdu(scsi_pdu(pdu))

    # --- asking ---------------------------------------------------------------------------------

    def _ask_next(self) -> None:
        if not self._waiting:
            self._skip_to_kernel_cmd_sn()
            return
        self._lun, self._known = self._waiting.pop(0)
        self._length = max(len(self._known), USUAL_LENGTH)
        self._after_answer = None
        self._ask()

    def _clear_unit_attention(self, page: bytes) -> None:
        """Take a disk's unit attention, so that the kernel's first command does not get it."""
        if is_disk(page) and not self._mismatches:
            self._after_answer = self._ask_next
            self._send_command(test_unit_ready(), 0)
        else:
            self._spare += 1
            self._ask_next()

    def _skip_to_kernel_cmd_sn(self) -> None:
        """Use up CmdSNs until the kernel's is next; not needed after a mismatch."""
        self._after_answer = self._skip_to_kernel_cmd_sn
        if self._spare and not self._mismatches:
            self._spare -= 1
            self._ask()
        else:
            self._is_over = True

    def _ask(self) -> None:
        self._send_command(inquiry(DEVICE_IDENTIFICATION, self._length), self._length)

    def _send_command(self, cdb: bytes, length: int) -> None:
        self._task_tag += 1
        self._data = b""
        self._send(
            ScsiCommand(
                immediate=False,
                read=length > 0,
                lun=encode_lun(self._lun),
                initiator_task_tag=self._task_tag,
                expected_data_transfer_length=length,
                cmd_sn=self._cmd_sn,
                exp_stat_sn=self._exp_stat_sn,
                cdb=cdb,
            )
        )
        self._cmd_sn = serial.add(self._cmd_sn)

    def _ask_again(self, why: str) -> None:
        if self._spare:
            self._spare -= 1
            self._ask()
        else:
            self._mismatch(f"its identity cannot be read: {why}", may_recover=True)

    def _send(self, pdu: Pdu) -> None:
        """Send a PDU, none of which has data here."""
        self._output += append_digest(pdu.encode(), self._login.parameters.header_digest)
        self.trace.sent(pdu)

    # --- PDUs from the target -------------------------------------------------------------------

    def _receive_pdu(self, pdu: Pdu) -> None:
        self.trace.received(pdu)
        row = _ROWS.get(type(pdu))
        if row is None or not isinstance(pdu, ResponsePdu):
            raise ProtocolError(f"a PDU ({pdu.opcode}) came as the answer to a SCSI command")
        self._acknowledge(pdu)
        row(self, pdu)

    def _acknowledge(self, pdu: ResponsePdu) -> None:
        """Keep ExpStatSN in step: the kernel goes on with it."""
        if isinstance(pdu, ScsiDataIn) and not pdu.has_status:
            return
        is_counted = not isinstance(pdu, NopIn) or pdu.initiator_task_tag != RESERVED_TAG
        following = serial.add(pdu.stat_sn) if is_counted else pdu.stat_sn
        if serial.is_later(following, self._exp_stat_sn):
            self._exp_stat_sn = following
        if serial.is_later(pdu.exp_cmd_sn, self._cmd_sn):
            # It would ignore the kernel's commands, without an error anywhere.
            raise ProtocolError("the target counts more commands than were sent", section="4.2.2.1")

    def _take_data(self, pdu: ScsiDataIn) -> None:
        self._check_task_tag(pdu)
        if pdu.buffer_offset != len(self._data):
            raise ProtocolError(
                "a SCSI Data-In PDU does not follow the one before", section="11.7.6"
            )
        self._data += pdu.data
        if len(self._data) > self._length:
            raise ProtocolError("more data came than was asked for", section="11.7.6")
        if pdu.has_status:
            self._take_status(pdu.status, None)

    def _take_response(self, pdu: ScsiResponse) -> None:
        self._check_task_tag(pdu)
        if pdu.response and self._after_answer is None:
            self._ask_again(f"the target failed, response {pdu.response:#04x}")
        else:
            self._take_status(pdu.status, parse_sense(pdu.data))

    def _take_status(self, status: ScsiStatus, sense: Sense | None) -> None:
        words = f"{status}, {sense}" if sense else f"{status}"
        if self._after_answer is not None:
            self._after_answer()
        elif status is ScsiStatus.GOOD:
            self._take_page()
        elif status in _NOT_NOW or (sense and sense.key in _NOT_NOW_SENSE):
            self._ask_again(words)
        elif sense and (sense.key, sense.code) == _NO_SUCH_LUN:
            self._miss()
        else:
            self._mismatch(f"its identity cannot be read any more: {words}")

    def _take_page(self) -> None:
        page = self._data
        if not is_identification_page(page):
            self._miss()
            return
        was, now = designators(self._known), designators(page)
        longest = min(page_length(page), LONGEST)
        if was <= now:
            self._clear_unit_attention(page)
        elif self._length < longest:
            self._length = longest
            self._ask_again("its page has grown")
        elif (found := ReplacedLun(self._lun, fingerprint(page))) in self._accepted:
            self._clear_unit_attention(page)
        else:
            self.replaced.append(found)
            self._mismatch(changed_identity(best(was - now), best(now - was) or best(now)))

    def _miss(self) -> None:
        was = best(designators(self._known))
        self._mismatch(f"no logical unit answers here any more: it was {was!r}", may_recover=True)

    def _mismatch(self, what: str, *, may_recover: bool = False) -> None:
        self._mismatches.append(f"LUN {self._lun}: {what}")
        self._may_recover = self._may_recover and may_recover
        self._ask_next()

    def _answer_ping(self, pdu: NopIn) -> None:
        answer = answer_to_ping(pdu, cmd_sn=self._cmd_sn, exp_stat_sn=self._exp_stat_sn)
        if answer is not None:
            self._send(answer)

    def _take_event(self, pdu: AsyncMessage) -> None:
        """Let it pass: a connection that ends is noticed, and a scan follows in any case."""

    def _take_rejection(self, pdu: Reject) -> None:
        raise ProtocolError(f"the target rejected a SCSI command: {pdu.reason}", section="11.17.1")

    def _check_task_tag(self, pdu: ResponsePdu) -> None:
        if pdu.initiator_task_tag != self._task_tag:
            raise ProtocolError(
                f"a PDU ({pdu.opcode}) has the task tag {pdu.initiator_task_tag:#x}, "
                f"ours has {self._task_tag:#x}"
            )


_ROWS: dict[type[Pdu], Callable[[LunIdentityExchange, Any], None]] = {
    ScsiDataIn: LunIdentityExchange._take_data,
    ScsiResponse: LunIdentityExchange._take_response,
    NopIn: LunIdentityExchange._answer_ping,
    AsyncMessage: LunIdentityExchange._take_event,
    Reject: LunIdentityExchange._take_rejection,
}
"""Which PDU is handled by what; any other is an error of the target."""
