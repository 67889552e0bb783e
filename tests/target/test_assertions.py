"""The judge of logins is itself judged: each of A1 to A18 notices what it is there for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from iscsid.protocol.parameters import Authentication, Credentials
from iscsid.secret import Secret
from tests.target.assertions import ASSERTIONS, check_login
from tests.target.pairing import log_in, make_plan
from tests.target.script import Script

Requests = list[bytearray]
PLAN = make_plan(authentication=Authentication(Credentials("alice", Secret(b"twelve octets"))))
SCRIPT = Script(accounts={"alice": b"twelve octets"})


def login() -> tuple[Requests, list[bytes]]:
    """Return a login nothing is wrong with: four requests and four responses."""
    _, target = log_in(SCRIPT, PLAN)
    return [bytearray(each) for each in target.login_requests], target.sent


def with_text(request: bytearray, text: bytes) -> bytearray:
    header = bytearray(request[:48])
    header[5:8] = len(text).to_bytes(3, "big")
    return header + text + bytes(-len(text) % 4)


def text_of(request: bytearray) -> bytes:
    return bytes(request[48 : 48 + int.from_bytes(request[5:8], "big")])


def put(number: int, at: int, value: int) -> Callable[[Requests], None]:
    def spoil(requests: Requests) -> None:
        requests[number][at] = value

    return spoil


def put_everywhere(at: int, *values: int) -> Callable[[Requests], None]:
    def spoil(requests: Requests) -> None:
        for request in requests:
            request[at : at + len(values)] = bytes(values)

    return spoil


def add_text(number: int, text: bytes) -> Callable[[Requests], None]:
    def spoil(requests: Requests) -> None:
        requests[number] = with_text(requests[number], text_of(requests[number]) + text)

    return spoil


def set_text(number: int, text: bytes) -> Callable[[Requests], None]:
    def spoil(requests: Requests) -> None:
        requests[number] = with_text(requests[number], text)

    return spoil


def dirty_padding(requests: Requests) -> None:
    set_text(3, b"HeaderDigest=None\0")(requests)
    requests[3][-1] = 1


def one_more(requests: Requests) -> None:
    requests.append(set_and_return(requests[3]))


def set_and_return(request: bytearray) -> bytearray:
    """Return an empty request that would follow ``request``."""
    following = with_text(request, b"")
    following[28:32] = (int.from_bytes(request[28:32], "big") + 1).to_bytes(4, "big")
    return following


FAULTS: list[tuple[str, Callable[[Requests], None]]] = [
    ("A1", put(0, 0, 0x03)),
    ("A1", put(1, 0, 0x44)),
    ("A2", put(0, 4, 1)),
    ("A2", put(2, 40, 1)),
    ("A2", put(2, 23, 1)),
    ("A3", put(0, 2, 1)),
    ("A3", put(3, 3, 1)),
    ("A4", put(1, 13, 0xEE)),
    ("A4", put_everywhere(8, 0xC0)),
    ("A5", put(0, 15, 1)),
    ("A6", put(1, 19, 9)),
    ("A6", put_everywhere(16, 0xFF, 0xFF, 0xFF, 0xFF)),
    ("A7", put(1, 21, 9)),
    ("A8", put(1, 27, 9)),
    ("A9", put(1, 31, 9)),
    ("A9", put(3, 31, 2)),
    ("A10", put(0, 1, 0x08)),
    ("A10", put(2, 1, 0x80)),
    ("A10", put(0, 1, 0x01)),
    ("A10", put(3, 1, 0x85)),
    ("A11", put(2, 1, 0xC1)),
    ("A12", add_text(0, b"X-a=1")),
    ("A12", add_text(0, b"nothing\0")),
    ("A12", dirty_padding),
    ("A13", set_text(0, b"SessionType=Normal\0TargetName=iqn.x\0")),
    ("A13", set_text(0, b"InitiatorName=iqn.x\0")),
    ("A13", set_text(0, b"InitiatorName=iqn.x\0SessionType=Discovery\0TargetName=iqn.y\0")),
    ("A13", add_text(1, b"InitiatorName=iqn.x\0")),
    ("A14", add_text(3, b"MaxBurstLength=512\0")),
    ("A15", add_text(0, b"X-com.example.key=512\0")),
    ("A16", add_text(3, b"X-a=" + b"1" * 8192 + b"\0")),
    ("A17", add_text(3, b"TargetPortalGroupTag=1\0")),
    ("A17", add_text(1, b"TargetAlias=NotUnderstood\0")),
    ("A18", one_more),
]


def test_a_login_nothing_is_wrong_with_passes() -> None:
    requests, responses = login()
    check_login([bytes(each) for each in requests], responses)


@pytest.mark.parametrize(("name", "spoil"), FAULTS, ids=[f"{each[0]}" for each in FAULTS])
def test_each_assertion_notices_its_fault(name: str, spoil: Callable[[Requests], None]) -> None:
    requests, responses = login()
    spoil(requests)
    with pytest.raises(AssertionError, match=f"^{name}:"):
        check_login([bytes(each) for each in requests], responses)


def test_every_assertion_has_a_fault_it_notices() -> None:
    assert {name for name, _ in FAULTS} == {each.__name__.upper() for each in ASSERTIONS}
