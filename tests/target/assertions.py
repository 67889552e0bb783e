"""What must hold of every Login Request that is ever sent: A1 to A18.

Written against the octets and the standard, not against our own codec: it takes the headers apart
by itself. A login is the list of its requests, and of the responses they got.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

MAX_TEXT = 8192
FINAL = 0x80
CONTINUE = 0x40

IDENTITY = {"InitiatorName", "SessionType", "TargetName"}
SECURITY_STAGE = IDENTITY | {
    "TargetAddress",
    "TargetAlias",
    "InitiatorAlias",
    "TargetPortalGroupTag",
    "AuthMethod",
    "CHAP_A",
    "CHAP_I",
    "CHAP_C",
    "CHAP_N",
    "CHAP_R",
}
DECLARED_BY_TARGETS = {"TargetAlias", "TargetPortalGroupTag", "TargetAddress"}
NO_OFFERS = {"Reject", "Irrelevant", "NotUnderstood"}


@dataclass(frozen=True)
class Login:
    """Requests and responses in order; ``texts`` are the requests' texts, pieces joined."""

    requests: Sequence[bytes]
    responses: Sequence[bytes]

    @property
    def first(self) -> bytes:
        return self.requests[0]

    def number(self, request: bytes, at: int, size: int) -> int:
        return int.from_bytes(request[at : at + size], "big")

    def text(self, octets: bytes) -> bytes:
        return octets[48 : 48 + self.number(octets, 5, 3)]

    def pairs(self, octets: Sequence[bytes]) -> list[list[tuple[str, str]]]:
        """Return the pairs of every whole text."""
        texts: list[list[tuple[str, str]]] = []
        joined = b""
        for pdu in octets:
            joined += self.text(pdu)
            if not pdu[1] & CONTINUE:
                texts.append([_divide(pair) for pair in joined.split(b"\0")[:-1]])
                joined = b""
        return texts

    @property
    def sent_by_target(self) -> set[str]:
        readable = [each for each in self.responses if each[:1] == b"\x23"]
        return {name for text in self.pairs(readable) for name, _ in text}


def _divide(pair: bytes) -> tuple[str, str]:
    name, _, value = pair.decode(errors="replace").partition("=")
    return name, value


def a1(login: Login) -> None:
    assert all(each[0] == 0x43 for each in login.requests), "opcode 3, immediate"


def a2(login: Login) -> None:
    for each in login.requests:
        assert each[4] == 0, "TotalAHSLength is 0"
        assert each[1] & 0x30 == 0 and each[22:24] == bytes(2), "reserved bits are 0"
        assert each[32:48] == bytes(16), "reserved octets are 0"


def a3(login: Login) -> None:
    assert all(each[2:4] == bytes(2) for each in login.requests), "version 0"


def a4(login: Login) -> None:
    assert len({each[8:14] for each in login.requests}) == 1, "one ISID"
    assert login.first[8] >> 6 != 3, "ISID type 11b is reserved"


def a5(login: Login) -> None:
    assert all(each[14:16] == bytes(2) for each in login.requests), "TSIH 0: a new session"


def a6(login: Login) -> None:
    tags = {each[16:20] for each in login.requests}
    assert len(tags) == 1 and tags != {b"\xff" * 4}, "one Initiator Task Tag"


def a7(login: Login) -> None:
    assert len({each[20:22] for each in login.requests}) == 1, "one CID"


def a8(login: Login) -> None:
    assert len({each[24:28] for each in login.requests}) == 1, "one CmdSN"


def a9(login: Login) -> None:
    for request, response in zip(login.requests[1:], login.responses, strict=False):
        expected = (login.number(response, 24, 4) + 1) % 2**32
        assert login.number(request, 28, 4) == expected, "ExpStatSN is StatSN plus one"


def a10(login: Login) -> None:
    for each in login.requests:
        current, following = each[1] >> 2 & 3, each[1] & 3
        assert current in (0, 1), "CSG is a stage of the login"
        if each[1] & FINAL:
            assert (current, following) in {(0, 1), (0, 3), (1, 3)}, "a legal transition"
        else:
            assert following == 0, "NSG is 0 without T"


def a11(login: Login) -> None:
    assert not any(each[1] & FINAL and each[1] & CONTINUE for each in login.requests), "C, so no T"


def a12(login: Login) -> None:
    text = b""
    for each in login.requests:
        length = login.number(each, 5, 3)
        assert len(each) == 48 + length + -length % 4, "padded to four octets"
        assert not any(each[48 + length :]), "padding is 0"
        text += login.text(each)
        if not each[1] & CONTINUE:
            assert not text or text[-1] == 0, "the last pair ends in NUL"
            assert all(b"=" in pair for pair in text.split(b"\0")[:-1]), "pairs have a ="
            text = b""


def a13(login: Login) -> None:
    texts = login.pairs(login.requests)
    names = [name for text in texts for name, _ in text]
    first = dict(texts[0]) if texts else {}
    assert "InitiatorName" in first, "the first request names the initiator"
    is_discovery = first.get("SessionType") == "Discovery"
    assert ("TargetName" in first) is not is_discovery, "and the target of a normal session"
    assert all(names.count(name) <= 1 for name in IDENTITY), "and no other does so again"


def a14(login: Login) -> None:
    names = [name for text in login.pairs(login.requests) for name, _ in text]
    assert len(names) == len(set(names)), "no key twice"


def a15(login: Login) -> None:
    in_security = [each for each in login.requests if each[1] >> 2 & 3 == 0]
    for text in login.pairs(in_security):
        for name, _ in text:
            # What the target brought up must be answered wherever it did so.
            is_answer = name in login.sent_by_target
            assert name in SECURITY_STAGE or is_answer, f"{name} is no key of the security stage"


def a16(login: Login) -> None:
    assert all(len(login.text(each)) <= MAX_TEXT for each in login.requests), "at most 8192 octets"


def a17(login: Login) -> None:
    for text in login.pairs(login.requests):
        for name, value in text:
            assert name not in DECLARED_BY_TARGETS, f"{name} is a declaration: no answer"
            if name == "MaxRecvDataSegmentLength":
                assert value not in NO_OFFERS, f"{name} is a declaration: no answer"


def a18(login: Login) -> None:
    for number, each in enumerate(login.responses):
        is_final = each[:1] == b"\x23" and each[1] & 0x83 == 0x83 and each[36:38] == bytes(2)
        assert not is_final or len(login.requests) == number + 1, "nothing after the last response"


ASSERTIONS: tuple[Callable[[Login], None], ...] = (
    a1,
    a2,
    a3,
    a4,
    a5,
    a6,
    a7,
    a8,
    a9,
    a10,
    a11,
    a12,
    a13,
    a14,
    a15,
    a16,
    a17,
    a18,
)


def check_login(requests: Sequence[bytes], responses: Sequence[bytes]) -> None:
    """Hold a login against A1 to A18; an ``AssertionError`` names the one that does not hold."""
    login = Login(requests, responses)
    for assertion in ASSERTIONS:
        try:
            assertion(login)
        except AssertionError as error:
            raise AssertionError(f"{assertion.__name__.upper()}: {error}") from error
