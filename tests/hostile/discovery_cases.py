"""Hostile targets in discovery: the answer to SendTargets, and sessions that are kept after it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from iscsid.protocol.codes import RESERVED_TAG, AsyncEvent, RejectReason
from iscsid.protocol.pdu import AsyncMessage, NopIn, Reject
from iscsid.protocol.printable import MAX_NOTES
from iscsid.workers.log_quota import BURST
from tests.hostile.case import Case, Kind, MakeTarget, cases, plays
from tests.hostile.targets import Afterwards, Pieces, Repeats, Sends, StopsReading, answers
from tests.target.script import AmendText, Listed, Script
from tests.target.scripted import ScriptedTarget

UNUSED = "iqn.2024-01.org.example:unused"
"""Targets without Enabled=yes: no login follows."""
NAME = f"TargetName={UNUSED}\0".encode()
SILENT = "no answer within"
HALF = "and the rest not within"
SLOW = f"{SILENT}|{HALF}|not finished within|has no end"
UNASKED = "came while"
FOREIGN = f"{UNASKED}|announces"


MANY = tuple(Listed(f"{UNUSED}-of-many-{number}") for number in range(1000))


def lists(text: bytes, **fields: Any) -> MakeTarget:
    return plays(amend_text=answers(text, **fields))


def texts(amend: AmendText) -> MakeTarget:
    return plays(amend_text=amend)


def octets_instead(octets: bytes) -> MakeTarget:
    return texts(lambda _number, _response: octets)


def many(count: int, addresses: int = 0) -> bytes:
    """Return an answer that lists so many targets, none of which can be used."""
    address = b"".join(b"TargetAddress=127.0.0.1:%d,1\0" % (port + 1) for port in range(addresses))
    return b"".join(b"TargetName=iqn.x:%d\0" % number + address for number in range(count))


# --- what is skipped or refused in an answer ----------------------------------------------------

SKIPPED: dict[str, tuple[bytes, str]] = {
    "a-path-as-a-name": (b"TargetName=../../etc/passwd\0", "is no iSCSI name"),
    "a-name-with-escapes": (
        b"TargetName=iqn.2024-01.org.example:\x1b]0;x\x07\0", r"\\x1b\]0;x\\x07' is no iSCSI name"),
    "a-name-with-newlines": (
        b"TargetName=iqn.2024-01.org.example:a\niscsid: all is well\0", "is no iSCSI name"),
    "an-empty-name": (b"TargetName=\0", "is no iSCSI name"),
    "a-name-of-224-octets": (
        b"TargetName=iqn.2024-01.org.example:" + b"a" * 224 + b"\0", "more than 223 octets"),
    "a-name-of-100-kib": (
        b"TargetName=iqn." + b"a" * 100_000 + b"\0", "the pair has more than 512 octets"),
    "a-name-of-no-type": (b"TargetName=disk\0", "against the rules"),
    "an-address-without-a-target": (
        b"TargetAddress=127.0.0.1:3260,1\0", "ignored without a target"),
    "a-pair-without-equals": (b"TargetName\0", "no key=value pair"),
    "an-unknown-key": (NAME + b"X-com.example=1\0", "ignored in the answer"),
    "binary-octets": (bytes(range(1, 256)) + b"\0", "ignored in the answer"),
    "no-nul-at-the-end": (b"TargetName=iqn.2024-01.org.example:cut", "does not end in NUL"),
}  # fmt: skip
ADDRESSES = {
    "all-zeros": (b"0.0.0.0:3260,1", "is unspecified"),
    "all-zeros-of-ipv6": (b"[::]:3260,1", "is unspecified"),
    "multicast": (b"224.0.0.1:3260,1", "multicast group"),
    "multicast-of-ipv6": (b"[ff02::1]:3260,1", "multicast group"),
    "reserved": (b"240.0.0.1:3260,1", "is reserved"),
    "broadcast": (b"255.255.255.255:3260,1", "broadcast address"),
    "port-0": (b"127.0.0.1:0,1", "a port is a number"),
    "port-65536": (b"127.0.0.1:65536,1", "a port is a number"),
    "a-tag-of-65536": (b"127.0.0.1:3260,65536", "no portal group tag"),
    "escapes": (b"\x1b[2J:3260,1", "is no portal"),
    "600-octets": (b"a" * 600 + b":3260,1", "more than 512 octets"),
    "a-path": (b"../../etc/passwd", "is no portal"),
    "nothing": (b"", "is no portal"),
}
ANSWERS = (
    cases({name: (lists(text), cause) for name, (text, cause) in SKIPPED.items()}, Kind.DISCOVERY)
    + cases(
        {
            f"address-{name}": (lists(NAME + b"TargetAddress=" + address + b"\0"), cause)
            for name, (address, cause) in ADDRESSES.items()
        }
        | {
            "257-addresses": (
                lists(NAME + b"".join(
                    b"TargetAddress=127.0.0.1:%d,1\0" % port for port in range(1, 258))),
                "more than 256 of them"),
        },
        Kind.DISCOVERY,
        lines=2,  # about the address, and about the target that has no other
    )
    + cases(
        {
            "a-thousand-faults": (
                lists(b"".join(b"TargetName=\x1b%d\0" % number for number in range(1000))),
                "further remarks are left out"),
            "10-names-against-the-rules": (lists(many(10)), "against the rules"),
        },
        Kind.DISCOVERY,
        lines=MAX_NOTES + 1,
    )
)  # fmt: skip

# --- answers that fail --------------------------------------------------------------------------

FAILURES = cases(
    {
        "another-task-tag": (lists(b"", initiator_task_tag=99), "task tag"),
        "the-reserved-task-tag": (lists(b"", initiator_task_tag=0xFFFFFFFF), "task tag"),
        "goes-on-without-a-tag": (
            lists(b"", final=False, continue_=True), "without a Target Transfer Tag"),
        "pieces-without-end": (
            lists(b"", final=False, target_transfer_tag=1), "has no end"),
        "megabytes-without-end": (
            lists(b"X" * 1_000_000, final=False, target_transfer_tag=1), SLOW),
        "targets-without-end": (
            texts(lambda number, response: replace(
                response, data=many(20_000), final=False, target_transfer_tag=1)), SLOW),
        "a-pdu-of-3-mib": (octets_instead(b"\x24\x80\0\0\0\x30\0\0" + bytes(40)), "announces"),
        "a-pdu-of-16-mib": (octets_instead(b"\x24\x80\0\0\0\xff\xff\xff" + bytes(40)), "announces"),
        "an-ahs-of-1020-octets": (
            octets_instead(b"\x24\x80\0\0\xff\0\0\0" + bytes(40)), HALF),
        "a-login-response": (octets_instead(b"\x23\x87" + bytes(46)), UNASKED),
        "a-logout-response": (octets_instead(b"\x26\x80" + bytes(46)), UNASKED),
        "a-scsi-response": (octets_instead(b"\x21\x80" + bytes(46)), UNASKED),
        "an-opcode-that-is-reserved": (octets_instead(b"\x1f\x80" + bytes(46)), FOREIGN),
        "its-own-request": (octets_instead(b"\x44\x80" + bytes(46)), FOREIGN),
        "a-reject": (
            octets_instead(Reject(
                reason=RejectReason.INVALID_PDU_FIELD, stat_sn=1, exp_cmd_sn=1, max_cmd_sn=9,
                data=b"").encode()),
            "rejected our"),
        "http": (octets_instead(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b" " * 48), FOREIGN),
        "zeros": (octets_instead(bytes(480)), FOREIGN),
        "nothing": (octets_instead(b""), SILENT),
        "half-a-header": (octets_instead(b"\x24\x80" + bytes(20)), HALF),
        "a-header-without-its-text": (octets_instead(b"\x24\x80\0\0\0\0\x20\0" + bytes(40)), HALF),
        "hangs-up": (texts(lambda _number, _response: None), "closed the connection"),
        "hangs-up-in-the-middle": (
            lambda _: StopsReading(Script(listed=MANY), after=3, closes=True), "closed"),
        "an-octet-a-time-for-ever": (
            lambda _: Pieces(Script(listed=MANY), pause=0.25), HALF),
        "pings-without-end-instead-of-an-answer": (
            lambda _: _Floods(ping), SLOW),
        "events-without-end-instead-of-an-answer": (
            lambda _: _Floods(lambda: event(AsyncEvent.SCSI_EVENT)), SLOW),
        "login-refused": (plays(statuses={0: 0x0202}), "(status 0202)"),
        "login-wants-chap": (plays(accounts={"x": b"another-secret-1"}), "authentication"),
        "login-sends-nothing": (lambda _: Sends(), SILENT),
        "login-closes": (lambda _: Sends(closes=True), "closed the connection"),
        "login-zeros-without-end": (lambda _: Repeats(bytes(65536)), "another kind"),
        "login-with-a-digest": (plays(values={"HeaderDigest": "CRC32C"}), "HeaderDigest"),
    },
    Kind.DISCOVERY,
)  # fmt: skip


# --- a session that is kept ---------------------------------------------------------------------


def ping(tag: int = 7, data: bytes = b"") -> bytes:
    return NopIn(
        initiator_task_tag=RESERVED_TAG, target_transfer_tag=tag, stat_sn=99, exp_cmd_sn=2,
        max_cmd_sn=9, data=data,
    ).encode()  # fmt: skip


def event(kind: AsyncEvent, **fields: Any) -> bytes:
    return AsyncMessage(stat_sn=99, exp_cmd_sn=2, max_cmd_sn=9, async_event=kind, **fields).encode()


class _Floods(ScriptedTarget):
    """Logs in, and then sends PDUs without end instead of the answer to SendTargets."""

    def __init__(self, make: Callable[[], bytes]) -> None:
        super().__init__(Script())
        self._make = make

    def receive_data(self, data: bytes) -> None:
        if not self.login.is_through:
            super().receive_data(data)

    def data_to_send(self) -> bytes:
        octets = super().data_to_send()
        return octets or (self._make() * 20 if self.login.is_through else b"")


def after(octets: bytes, **how: Any) -> MakeTarget:
    return lambda _: Afterwards(lambda: octets, **how)


KEPT = cases(
    {
        "zeros": (after(bytes(48)), FOREIGN),
        "http": (after(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(48)), FOREIGN),
        "a-login-response": (after(b"\x23\x80" + bytes(46)), UNASKED),
        "a-logout-response": (after(b"\x26\x80" + bytes(46)), UNASKED),
        "an-answer-to-nothing": (after(b"\x24\x80" + bytes(46)), UNASKED),
        "a-scsi-response": (after(b"\x21\x80" + bytes(46)), UNASKED),
        "a-data-in": (after(b"\x25\x80" + bytes(46)), UNASKED),
        "a-pdu-of-16-mib": (after(b"\x20\x80\0\0\0\xff\xff\xff" + bytes(40)), "announces"),
        "an-ahs": (after(b"\x20\x80\0\0\xff\0\0\0" + bytes(40)), HALF),
        "an-opcode-that-is-reserved": (after(b"\x1f\x80" + bytes(46)), FOREIGN),
        "a-reject": (
            after(Reject(
                reason=RejectReason.PROTOCOL_ERROR, stat_sn=1, exp_cmd_sn=1, max_cmd_sn=9,
                data=b"").encode()),
            "rejected our"),
        "half-a-ping": (after(ping()[:30]), HALF),
        "a-ping-without-its-data": (after(ping(data=b"x" * 8000)[:100]), HALF),
        "a-reset": (after(b"", resets=True), "reset"),
        "resets-within-a-pdu": (after(ping()[:30], resets=True), "reset"),
        "closes-within-a-pdu": (after(ping()[:30], closes=True), ""),
        "closes": (after(b"", closes=True), ""),
        "an-octet-a-time-without-end": (after(b"\0", times=0, every=0.25), HALF),
        "pings-without-end": (after(ping() * 20, times=0), ""),
        "pings-of-8-kib-without-end": (after(ping(data=b"x" * 8000), times=0), ""),
        "pings-of-1-mib-without-end": (after(ping(data=b"x" * 1_000_000), times=0), ""),
        "answers-to-no-ping-without-end": (after(ping(tag=RESERVED_TAG) * 20, times=0), ""),
        "events-of-no-meaning-without-end": (
            after(event(AsyncEvent.TASKS_ABORTED) * 20, times=0), ""),
        "a-logout-request": (after(event(AsyncEvent.LOGOUT_REQUESTED, parameter3=0)), ""),
        "a-dropped-connection": (
            after(event(AsyncEvent.CONNECTION_DROPPED, parameter2=65535, parameter3=65535)), ""),
        "a-dropped-session": (after(event(AsyncEvent.SESSION_DROPPED)), ""),
        "a-negotiation": (after(event(AsyncEvent.NEGOTIATION_REQUESTED, parameter3=1)), ""),
    },
    Kind.KEPT,
)  # fmt: skip
ASKED_AGAIN = "the target reports|no answer within"
"""The daemon asks again, at a pace of its own, and the answer may be stuck behind the events."""
EVENTS = cases(
    {
        "events-without-end": (after(event(AsyncEvent.SCSI_EVENT) * 20, times=0), ASKED_AGAIN),
        "vendor-events-without-end": (after(event(AsyncEvent(255)) * 20, times=0), ASKED_AGAIN),
        "sense-data-of-8-kib-without-end": (
            after(AsyncMessage(
                stat_sn=99, exp_cmd_sn=2, max_cmd_sn=9, async_event=AsyncEvent.SCSI_EVENT,
                data=b"\x1b" * 8000).encode(), times=0), ASKED_AGAIN),
    },
    Kind.KEPT,
    lines=4,
) + cases(
    {
        "events-of-all-numbers-without-end": (
            after(b"".join(event(AsyncEvent(number)) for number in range(6, 255)), times=0),
            ASKED_AGAIN),
    },
    Kind.KEPT,
    lines=BURST,
)  # fmt: skip

DISCOVERY_CASES: tuple[Case, ...] = ANSWERS + FAILURES + KEPT + EVENTS
