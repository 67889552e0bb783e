"""An identity exchange, and a target whose answers the test writes."""

from __future__ import annotations

from typing import Any

from iscsid.errors import Failure
from iscsid.protocol.digests import append_digest
from iscsid.protocol.lun_identity import LunIdentityExchange, lower_cmd_sn
from iscsid.protocol.parameters import AgreedParameters, Digest, Isid, LoginResult
from iscsid.protocol.pdu import Pdu
from iscsid.protocol.pdu_reader import PduReader
from iscsid.protocol.scsi import (
    ScsiCommand,
    ScsiDataIn,
    ScsiResponse,
    ScsiStatus,
    scsi_pdu,
    test_unit_ready,
)
from iscsid.protocol.serial import MODULUS
from iscsid.protocol.vpd import LunIdentity, ReplacedLun
from tests.target.pairing import make_plan

K = 1
"""The kernel's CmdSN."""
EXP_STAT_SN = 0xFFFFFFFF
ISID = Isid(bytes.fromhex("80a1b2c30001"))
UNIT_ATTENTION = bytes.fromhex("0012 700006000000000a00000000 2901 00000000")
NO_SUCH_LUN = bytes.fromhex("0012 700005000000000a00000000 2500 00000000")
NO_SUCH_FIELD = bytes.fromhex("0012 700005000000000a00000000 2400 00000000")
MEDIUM_ERROR = bytes.fromhex("0012 700003000000000a00000000 1100 00000000")


class Talk:
    """An exchange, and a target whose answers the test writes."""

    def __init__(
        self,
        *identities: LunIdentity,
        digest: Digest = Digest.NONE,
        accepted: tuple[ReplacedLun, ...] = (),
    ) -> None:
        agreed = AgreedParameters(header_digest=digest, data_digest=digest)
        self.digest = digest
        plan = lower_cmd_sn(make_plan(cmd_sn=K), identities)
        self.exp_cmd_sn = plan.cmd_sn
        self.stat_sn = EXP_STAT_SN
        login = LoginResult(
            isid=ISID, tsih=1, cmd_sn=plan.cmd_sn, exp_stat_sn=EXP_STAT_SN, parameters=agreed
        )
        self.exchange = LunIdentityExchange(login, identities, accepted)
        self.cleared: list[bytes] = []
        """The LUNs that were asked whether they are ready."""
        self.readiness: dict[str, Any] = {
            "status": ScsiStatus.CHECK_CONDITION,
            "sense": UNIT_ATTENTION,
        }

    def received(self) -> list[Pdu]:
        """Return what the exchange wants to be sent, and count its commands."""
        stream = self.exchange.data_to_send()
        reader = PduReader(header_digest=self.digest, data_digest=self.digest)
        pdus: list[Pdu] = []
        while stream:
            wanted = reader.bytes_wanted
            reader.receive_data(stream[:wanted])
            stream = stream[wanted:]
            if pdu := reader.next_pdu():
                pdus.append(scsi_pdu(pdu))
        for pdu in pdus:
            if isinstance(pdu, ScsiCommand):
                assert (pdu.cmd_sn, pdu.immediate) == (self.exp_cmd_sn, False)
                self.exp_cmd_sn = (self.exp_cmd_sn + 1) % MODULUS
                self.task_tag = pdu.initiator_task_tag
        return pdus

    def question(self) -> ScsiCommand:
        """Return the next INQUIRY; a TEST UNIT READY before it is answered with GOOD."""
        (asked,) = self.received()
        assert isinstance(asked, ScsiCommand)
        if asked.cdb != test_unit_ready():
            return asked
        assert not asked.read and asked.expected_data_transfer_length == 0
        self.cleared.append(asked.lun)
        self.status(**self.readiness)
        return self.question()

    def numbers(self, *, counts: bool = True) -> dict[str, Any]:
        stat_sn = self.stat_sn
        self.stat_sn = (stat_sn + counts) % MODULUS
        return {"stat_sn": stat_sn, "exp_cmd_sn": self.exp_cmd_sn, "max_cmd_sn": self.exp_cmd_sn}

    def deliver(self, pdu: Pdu, spoilt: int | None = None) -> None:
        """Send a PDU, with the octet number ``spoilt`` changed on the way."""
        header, data = pdu.encode()[:48], pdu.encode()[48:]
        octets = bytearray(
            append_digest(header, self.digest) + (data and append_digest(data, self.digest))
        )
        if spoilt is not None:
            octets[spoilt] ^= 0x10
        while octets:
            wanted = self.exchange.bytes_wanted
            assert wanted, "the exchange stopped reading"
            self.exchange.receive_data(bytes(octets[:wanted]))
            octets = octets[wanted:]

    def data(self, octets: bytes, *, last: bool = True, offset: int = 0, **more: Any) -> None:
        """Send a part of the answer, or all of it with its status."""
        fields = {"initiator_task_tag": self.task_tag} | self.numbers(counts=last) | more
        self.deliver(
            ScsiDataIn(final=last, has_status=last, buffer_offset=offset, data=octets, **fields)
        )

    def answer(self, octets: bytes) -> ScsiCommand:
        """Answer the next request."""
        asked = self.question()
        self.data(octets)
        return asked

    def status(self, status: ScsiStatus, sense: bytes = b"", **more: Any) -> None:
        fields = {"initiator_task_tag": self.task_tag} | self.numbers() | more
        self.deliver(ScsiResponse(status=status, data=sense, **fields))

    @property
    def failure(self) -> Failure:
        assert self.exchange.result is not None and self.exchange.bytes_wanted == 0
        failure = self.exchange.failure
        assert failure is not None
        return failure

    def use_up(self) -> int:
        """Answer what is asked for the sake of its number alone; return how often that was."""
        asked = 0
        while self.exchange.result is None:
            self.question()
            self.status(ScsiStatus.BUSY)
            asked += 1
        return asked

    def is_confirmed(self) -> bool:
        """Whether all is well and the kernel's numbers are due."""
        self.use_up()
        result = self.exchange.result
        assert result is not None and self.exchange.bytes_wanted == 0
        assert self.exchange.data_to_send() == b""
        assert (result.cmd_sn, result.exp_stat_sn) == (K, self.stat_sn)
        return self.exchange.failure is None
