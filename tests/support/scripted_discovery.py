"""A discovery exchange, and a target whose answers the test writes."""

from __future__ import annotations

from typing import TypedDict

from iscsid.protocol import serial
from iscsid.protocol.codes import (
    RESERVED_TAG,
    AsyncEvent,
)
from iscsid.protocol.discovery_exchange import DiscoveryExchange
from iscsid.protocol.names import Portal
from iscsid.protocol.parameters import Isid, LoginResult
from iscsid.protocol.pdu import (
    AsyncMessage,
    Pdu,
    TextResponse,
)
from iscsid.protocol.pdu_reader import PduReader

PORTAL = Portal("127.0.0.1", 3260)
ISID = Isid(bytes.fromhex("80a1b2c30001"))
LUN = bytes.fromhex("4001000000000000")
ANSWER = b"TargetName=iqn.2024-01.org.example:a\0TargetAddress=10.0.0.1:3260,1\0"
EXP_STAT_SN = 0xFFFFFFFE
"""So that StatSN wraps in nearly every test."""


def login(cmd_sn: int = 7, exp_stat_sn: int = EXP_STAT_SN) -> LoginResult:
    return LoginResult(isid=ISID, tsih=1, cmd_sn=cmd_sn, exp_stat_sn=exp_stat_sn)


class Numbers(TypedDict):
    """What every response of a target has."""

    stat_sn: int
    exp_cmd_sn: int
    max_cmd_sn: int


class Conversation:
    """An exchange, and a target whose answers the test writes."""

    def __init__(self, portal: Portal = PORTAL) -> None:
        self.exchange = DiscoveryExchange(login(), portal)
        self.stat_sn = EXP_STAT_SN
        self.exp_cmd_sn = 7

    def sent(self) -> list[Pdu]:
        """Return what the exchange wants to be sent."""
        stream = self.exchange.data_to_send()
        reader = PduReader()
        pdus = []
        while stream:
            wanted = reader.bytes_wanted
            reader.receive_data(stream[:wanted])
            stream = stream[wanted:]
            if pdu := reader.next_pdu():
                pdus.append(pdu)
        assert reader.is_between_pdus
        return pdus

    def deliver(self, pdu: Pdu) -> None:
        octets = pdu.encode()
        while octets:
            wanted = self.exchange.bytes_wanted
            assert wanted
            self.exchange.receive_data(octets[:wanted])
            octets = octets[wanted:]

    def numbers(self) -> Numbers:
        """Return the next StatSN, and the rest that every response has."""
        stat_sn = self.stat_sn % serial.MODULUS
        self.stat_sn = serial.add(stat_sn)
        return Numbers(stat_sn=stat_sn, exp_cmd_sn=self.exp_cmd_sn, max_cmd_sn=self.exp_cmd_sn)

    def answer(
        self, data: bytes, *, tag: int = RESERVED_TAG, final: bool = True, more: bool = False
    ) -> None:
        """Send a Text Response to the request the exchange sent last."""
        self.deliver(
            TextResponse(
                final=final,
                continue_=more,
                lun=LUN,
                initiator_task_tag=1,
                target_transfer_tag=tag,
                data=data,
                **self.numbers(),
            )
        )

    def event(
        self, event: AsyncEvent, parameter1: int = 0, parameter2: int = 0, parameter3: int = 0
    ) -> None:
        """Send an Asynchronous Message."""
        self.deliver(
            AsyncMessage(
                async_event=event,
                parameter1=parameter1,
                parameter2=parameter2,
                parameter3=parameter3,
                **self.numbers(),
            )
        )

    def names(self) -> list[str]:
        return [record.target_name for record in self.exchange.take_records()]


def asked() -> Conversation:
    """Return a conversation whose SendTargets has been sent."""
    conversation = Conversation()
    conversation.sent()
    return conversation


def answered() -> Conversation:
    """Return a conversation whose SendTargets has been answered."""
    conversation = asked()
    conversation.answer(ANSWER)
    conversation.exchange.take_records()
    return conversation
