"""Discovery sessions that real targets had, played again octet by octet."""

from __future__ import annotations

import pytest

from iscsid.protocol import serial
from iscsid.protocol.discovery_exchange import DiscoveryExchange, DiscoveryOutcome
from iscsid.protocol.names import IscsiName, TargetAddress, parse_target_address
from iscsid.protocol.pdu import (
    LoginResponse,
    decode,
)
from tests.support import capture
from tests.support.scripted_discovery import PORTAL, login


class Replay:
    """A recorded session, from after its login, played to an exchange."""

    def __init__(self, name: str, at_most: int) -> None:
        _, response, *self.rest = capture.read(name)
        login_response = decode(response.octets[:48], _data(response.octets))
        assert isinstance(login_response, LoginResponse)
        self.exchange = DiscoveryExchange(
            login(cmd_sn=1, exp_stat_sn=serial.add(login_response.stat_sn)), PORTAL
        )
        self.at_most = at_most

    def run(self) -> None:
        """Play until there is an outcome; the exchange sends what it sent when it was recorded."""
        self.check_sent()
        while self.exchange.outcome is None:
            self.receive_one()

    def receive_one(self) -> None:
        stream = self.rest.pop(0).octets
        while stream:
            wanted = min(self.exchange.bytes_wanted, self.at_most)
            self.exchange.receive_data(stream[:wanted])
            stream = stream[wanted:]
        self.check_sent()

    def check_sent(self) -> None:
        if sent := self.exchange.data_to_send():
            recorded = self.rest.pop(0)
            assert recorded.is_sent
            assert sent == recorded.octets


def _data(octets: bytes) -> bytes:
    return octets[48 : 48 + int.from_bytes(octets[5:8], "big")]


def local(*texts: str) -> tuple[TargetAddress, ...]:
    return tuple(map(parse_target_address, texts))


@pytest.mark.parametrize("at_most", [1, 48, 1 << 20])
@pytest.mark.parametrize(
    "name, prefix, numbers, address",
    [
        ("tgtd-discovery", "iqn.2024-01.org.example:many.", range(3, 12), "127.0.0.1:13460,1"),
        ("lio-discovery", "iqn.2024-01.org.example:lio-target-", range(1, 13), "127.0.0.1,1"),
    ],
)
def test_tgtd_and_lio_are_asked_twice_and_left(
    name: str, prefix: str, numbers: range, address: str, at_most: int
) -> None:
    replay = Replay(name, at_most)
    for _ in range(2):
        replay.run()
        records = {r.target_name: r.addresses for r in replay.exchange.take_records()}
        assert {IscsiName(f"{prefix}{number}") for number in numbers} <= set(records)
        assert set(records.values()) == {local(address)}
        if replay.rest[0].octets[0] == 0x46:
            break
        replay.exchange.ask_again()
    replay.exchange.log_out()
    replay.run()
    assert replay.exchange.outcome is DiscoveryOutcome.LOGGED_OUT
    assert replay.exchange.take_notes() == ()
    assert replay.rest == []


def test_istgt_pings_and_is_asked_twice() -> None:
    replay = Replay("istgt-discovery", 100)
    replay.run()
    first = replay.exchange.take_records()
    assert [record.target_name for record in first] == [
        f"iqn.2007-09.jp.ne.peach.istgt:disk{number}" for number in range(1, 7)
    ]
    assert {record.addresses for record in first} == {
        local("127.0.0.1:13501,1", "[::1]:13501,1", "127.0.0.1:13502,2", "127.0.0.2:13502,2")
    }
    replay.receive_one()
    replay.exchange.ask_again()
    replay.run()
    assert replay.exchange.take_records() == first
    replay.exchange.log_out()
    replay.run()
    assert replay.exchange.take_notes() == ()
    assert replay.rest == []


def test_istgt_garbage_behind_its_answer_becomes_notes() -> None:
    replay = Replay("istgt-overlong", 1000)
    replay.run()
    records = replay.exchange.take_records()
    assert [record.target_name for record in records] == [
        f"iqn.2007-09.jp.ne.peach.istgt:disk{number}" for number in range(1, 49)
    ]
    assert [len(record.addresses) for record in records] == [4] * 47 + [2]
    notes = replay.exchange.take_notes()
    assert "ignored in the answer: TargetAd" in notes
    assert all(note.isprintable() for note in notes)
    replay.exchange.log_out()
    replay.run()
    assert replay.rest == []
