"""Hostile targets in the login phase: framing, text, negotiation, statuses, redirections."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

from iscsid.protocol.codes import Stage
from iscsid.protocol.parameters import Isid
from iscsid.protocol.pdu import LoginResponse
from tests.hostile.case import Case, MakeTarget, amends, cases, edits, plays
from tests.hostile.targets import (
    Pieces,
    Repeats,
    Sends,
    StopsReading,
    cut,
    octet,
    raw_text,
)
from tests.target.script import Script, add, change, hang_up, only, put
from tests.target.scripted import ScriptedTarget

FIRST, LAST = 0, 1
"""The responses of a login without CHAP: one in the security stage, one in the operational one."""
BOTH = {"first": FIRST, "last": LAST}

ANOTHER_KIND = "a PDU of another kind"
HALF = "and the rest not within"
NO_END = "the login came to no end|no answer within"

# --- headers ------------------------------------------------------------------------------------

OPCODES = {
    "nop-in": 0x20, "scsi-response": 0x21, "task-management-response": 0x22,
    "text-response": 0x24, "data-in": 0x25, "logout-response": 0x26, "r2t": 0x31,
    "async-message": 0x32, "vendor-specific": 0x3C, "reject": 0x3F, "nop-out": 0x00,
    "login-request": 0x03, "reserved": 0x1F,
}  # fmt: skip
"""What a target may answer a Login Request with, that is no Login Response."""

HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "version-1": (dict(version_active=1), "chose version 1"),
    "version-255": (dict(version_active=255), "chose version 255"),
    "another-isid": (dict(isid=Isid(bytes(6))), "has ISID 000000000000"),
    "another-task-tag": (dict(initiator_task_tag=1), "has Initiator Task Tag 1"),
    "reserved-task-tag": (dict(initiator_task_tag=0xFFFFFFFF), "has Initiator Task Tag"),
    "stage-2": (dict(current_stage=Stage(2)), "is of the"),
    "stage-3": (dict(current_stage=Stage.FULL_FEATURE_PHASE), "is of the"),
    "transit-to-stage-2": (dict(transit=True, next_stage=Stage(2)), "goes to the"),
    "transit-to-the-start": (dict(transit=True, next_stage=Stage(0)), "goes to the"),
    "transit-and-continue": (dict(transit=True, continue_=True), "while its text continues"),
    "status-class-4": (dict(status_class=4, status_detail=0), "(status 0400)"),
    "status-class-255": (dict(status_class=255, status_detail=255), "(status ffff)"),
    "moved-to-nowhere": (dict(status_class=1, status_detail=1, data=b""), "is of no use: nothing"),
    "initiator-error": (dict(status_class=2, status_detail=0), "(status 0200)"),
    "target-error": (dict(status_class=3, status_detail=0), "(status 0300)"),
}
ONLY_LAST: dict[str, tuple[dict[str, Any], str]] = {
    "stat-sn-left-out": (dict(stat_sn=77), "has StatSN 77, not 1"),
    "stat-sn-behind": (dict(stat_sn=0), "has StatSN 0, not 1"),
    "stat-sn-far-behind": (dict(stat_sn=0xFFFFFFFF), "has StatSN 4294967295, not 1"),
    "tsih-0": (dict(tsih=0), "ended the login with TSIH 0"),
    "back-to-security": (dict(current_stage=Stage(0)), "is of the"),
}
LENGTHS = {
    "data-of-16-mib": (5, 0xFF, "announces"),
    "data-of-64-kib": (5, 0x01, "announces"),
    "ahs-of-1020-octets": (4, 0xFF, HALF),
    "ahs-of-4-octets": (4, 0x01, HALF),
}

FRAMING = cases(
    {
        f"{where}-is-{name}": (amends(octet(at, 0, code)), ANOTHER_KIND)
        for (where, at), (name, code) in product(BOTH.items(), OPCODES.items())
    }
    | {
        f"{where}-has-{name}": (amends(change(at, **fields)), cause)
        for (where, at), (name, (fields, cause)) in product(BOTH.items(), HEADERS.items())
    }
    | {
        f"last-has-{name}": (amends(change(LAST, **fields)), cause)
        for name, (fields, cause) in ONLY_LAST.items()
    }
    | {
        f"{where}-has-{name}": (amends(octet(at, place, value)), cause)
        for (where, at), (name, (place, value, cause)) in product(BOTH.items(), LENGTHS.items())
    }
)

# --- text ---------------------------------------------------------------------------------------

TEXTS = {
    "without-nul": (b"TargetAlias=x", "text does not end in NUL"),
    "without-equals": (b"TargetAlias\0", "no key=value pair"),
    "only-equals": (b"=\0", "not the name of a key"),
    "no-key": (b"=x\0", "not the name of a key"),
    "key-in-small-letters": (b"targetalias=x\0", "not the name of a key"),
    "key-with-a-space": (b"Target Alias=x\0", "not the name of a key"),
    "key-with-escapes": (b"\x1b]0;Owned\x07=x\0", "not the name of a key"),
    "key-of-64-octets": (b"K" * 64 + b"=x\0", "not the name of a key"),
    "key-that-is-not-ascii": ("Schlüssel=x\0".encode(), "not the name of a key"),
    "key-of-8000-octets": (b"K" * 8000 + b"=x\0", "not the name of a key"),
    "value-of-256-octets": (b"TargetAlias=" + b"a" * 256 + b"\0", "more than 255"),
    "value-of-8000-octets": (b"X-a=" + b"a" * 8000 + b"\0", "more than 255"),
    "newlines": (b"a\nb\r\nc\0", "no key=value pair"),
    "octets-255": (b"\xff" * 100 + b"\0", "no key=value pair"),
    "the-same-key-twice": (b"X-a=1\0X-a=1\0", "came a second time"),
    "33-unknown-keys": (
        b"".join(b"X-%d=1\0" % number for number in range(33)), "more than 32 unknown keys"),
    "our-own-name": (b"InitiatorName=iqn.x:y\0", "only the initiator sends"),
    "another-target-name": (b"TargetName=iqn.x:y\0", "only the initiator sends"),
    "a-session-of-another-type": (b"SessionType=Discovery\0", "only the initiator sends"),
    "sendtargets": (b"SendTargets=All\0", "only the initiator sends"),
    "tag-of-a-group-too-large": (b"TargetPortalGroupTag=65536\0", "TargetPortalGroupTag"),
    "tag-of-a-group-below-0": (b"TargetPortalGroupTag=-1\0", "TargetPortalGroupTag"),
    "an-answer-to-nothing": (b"X-never-sent=NotUnderstood\0", "an answer to nothing"),
    "a-rejected-name": (b"TargetName=Reject\0", "the target does not take it"),
    "a-key-of-chap": (b"CHAP_N=mallory\0", "CHAP_N came"),
    "a-challenge": (b"CHAP_A=5\0CHAP_I=1\0CHAP_C=0x12\0", "CHAP_A came"),
}  # fmt: skip

ENDLESS = {
    "pieces-without-end": (
        amends(lambda _, response: replace(
            response, transit=False, continue_=True, data=b"X" * 8000)),
        NO_END),
    "empty-pieces-without-end": (
        amends(lambda _, response: replace(
            response, transit=False, continue_=True, data=b"")),
        "more than 16 pieces of text hold nothing"),
    "answers-without-end": (plays(operational_rounds=100000), NO_END),
    "no-transit-from-security": (plays(security_rounds=100000), NO_END),
    "answers-of-8-kib-without-end": (
        amends(lambda number, response: replace(
            response, transit=False, data=b"X-%d=" % number + b"a" * 200 + b"\0")),
        "more than 32 unknown keys"),
    "an-alias-at-every-answer": (
        amends(lambda _, response: replace(response, transit=False, data=b"TargetAlias=a\0")),
        "came a second time"),
}  # fmt: skip

TEXT = cases(
    {
        f"{where}-sends-{name}": (amends(raw_text(at, text)), cause)
        for (where, at), (name, (text, cause)) in product(BOTH.items(), TEXTS.items())
    }
    | ENDLESS
)

# --- negotiation --------------------------------------------------------------------------------

NUMBERS = "a number from"
VALUES: dict[str, dict[str, str]] = {
    "HeaderDigest": {
        "MD5": "HeaderDigest", "": "HeaderDigest", "None,CRC32C": "HeaderDigest",
        "Reject": "HeaderDigest", "none": "HeaderDigest"},
    "DataDigest": {
        "MD5": "DataDigest", "": "DataDigest", "Reject": "DataDigest"},
    "MaxConnections": {
        "0": "MaxConnections", "2": "MaxConnections", "65536": "MaxConnections",
        "one": "MaxConnections", "-1": "MaxConnections"},
    "InitialR2T": {"yes": "InitialR2T", "1": "InitialR2T", "": "InitialR2T", "Maybe": "InitialR2T"},
    "ImmediateData": {
        "true": "ImmediateData", "No,Yes": "ImmediateData", "YES": "ImmediateData"},
    "MaxBurstLength": {
        "0": NUMBERS, "511": NUMBERS, "16777216": NUMBERS, "many": NUMBERS, "1e6": NUMBERS,
        "0x": NUMBERS, " 512": NUMBERS, "+512": NUMBERS, "5_12": NUMBERS, "٥١٢": NUMBERS,
        "9" * 200: NUMBERS, "512~1024": NUMBERS},
    "FirstBurstLength": {
        "0": NUMBERS, "511": NUMBERS, "16777216": NUMBERS, "0x1000000": NUMBERS, "-512": NUMBERS},
    "DefaultTime2Wait": {"3601": NUMBERS, "-1": NUMBERS, "soon": NUMBERS},
    "DefaultTime2Retain": {"3601": NUMBERS, "-1": NUMBERS, "": NUMBERS},
    "MaxOutstandingR2T": {"0": NUMBERS, "65536": NUMBERS, "2": "MaxOutstandingR2T"},
    "DataPDUInOrder": {"No": "DataPDUInOrder", "maybe": "DataPDUInOrder"},
    "DataSequenceInOrder": {"No": "DataSequenceInOrder", "0": "DataSequenceInOrder"},
    "ErrorRecoveryLevel": {"1": "ErrorRecoveryLevel", "2": "ErrorRecoveryLevel", "3": NUMBERS},
    "MaxRecvDataSegmentLength": {
        "0": NUMBERS, "511": NUMBERS, "16777216": NUMBERS, "all": NUMBERS, "0x1000000": NUMBERS},
}  # fmt: skip

NEGOTIATION = cases(
    {
        f"{key}={value[:12]}": (edits(put(LAST, key, value)), cause)
        for key, values in VALUES.items()
        for value, cause in values.items()
    }
    | {
        f"{key}-twice": (edits(add(LAST, (key, value))), "the key came a second time")
        for key, value in {
            "HeaderDigest": "None", "MaxBurstLength": "65536", "InitialR2T": "No",
            "ErrorRecoveryLevel": "0", "MaxRecvDataSegmentLength": "8192",
        }.items()
    }
    | {
        "AuthMethod-in-the-operational-stage": (
            edits(add(LAST, ("AuthMethod", "None"))), "AuthMethod came"),
        "method-kerberos": (edits(only(FIRST, ("AuthMethod", "KRB5"))), "AuthMethod"),
        "method-of-ours-twice": (edits(only(FIRST, ("AuthMethod", "None,None"))), "AuthMethod"),
        "method-empty": (edits(only(FIRST, ("AuthMethod", ""))), "AuthMethod"),
        "method-chap-without-credentials": (
            edits(only(FIRST, ("AuthMethod", "CHAP"))), "authentication"),
        "method-reject": (edits(only(FIRST, ("AuthMethod", "Reject"))), "authentication"),
    }
)  # fmt: skip

# --- statuses and redirections ------------------------------------------------------------------

WORDS = {0x0201: "authentication required"}
"""What is logged of a status instead of its number."""
STATUSES = cases(
    {
        f"status-{status:04x}-in-the-{where}": (
            plays(statuses={at: status}), WORDS.get(status, f"{status:04x}"))
        for (where, at), status in product(
            BOTH.items(),
            (0x0201, 0x0202, 0x0203, 0x0204, 0x0205, 0x0206, 0x0207, 0x0208, 0x0209, 0x020A,
             0x020B, 0x02FF, 0x0301, 0x0302, 0x03FF),
        )
    }
)  # fmt: skip

NO_USE = "is of no use"
ADDRESSES = {
    "the-unspecified-address": "0.0.0.0:3260,1",
    "the-unspecified-address-of-ipv6": "[::]:3260,1",
    "a-multicast-address": "224.0.0.1:3260,1",
    "a-multicast-address-of-ipv6": "[ff02::1]:3260,1",
    "a-reserved-address": "240.0.0.1:3260,1",
    "broadcast": "255.255.255.255:3260,1",
    "port-0": "127.0.0.1:0,1",
    "port-65536": "127.0.0.1:65536,1",
    "a-negative-port": "127.0.0.1:-1,1",
    "an-empty-address": "",
    "a-path": "../../etc/passwd",
    "an-escape": "\x1b[2J:3260",
    "a-command": "$(reboot):3260",
    "a-host-of-250-octets": "a" * 250 + ":3260",
    "brackets-without-end": "[::1:3260",
    "an-octet-of-300": "127.0.0.300:3260",
}


def redirects(*addresses: str, status: int = 0x0101, at: int = FIRST) -> MakeTarget:
    """Send everybody on; ``PORT`` in an address is the target's own port."""

    def make(port: int) -> ScriptedTarget:
        to = tuple(each.replace("PORT", str(port)) for each in addresses)
        return ScriptedTarget(Script(statuses={at: status}, moved_to=to))

    return make


REDIRECTIONS = cases(
    {f"sent-to-{name}": (redirects(address), NO_USE) for name, address in ADDRESSES.items()}
    | {
        "sent-to-itself": (redirects("127.0.0.1:PORT,1"), "in a circle"),
        "sent-to-itself-for-good": (redirects("127.0.0.1:PORT", status=0x0102), "in a circle"),
        "sent-on-without-end": (
            redirects(*(f"127.0.0.{number}:PORT" for number in range(2, 40))), "127.0.0.1:"),
        "sent-to-a-closed-port": (redirects("127.0.0.1:1,1"), "connection refused"),
        "sent-to-20-closed-ports": (
            redirects(*(f"127.0.0.1:{port},1" for port in range(1, 21))), "connection refused"),
        "sent-to-a-name-that-is-none": (
            redirects("no-such-host.invalid:3260,1"), "no-such-host.invalid"),
        "sent-on-from-the-last-response": (
            redirects("127.0.0.1:PORT", at=LAST), "in a circle"),
    }
)  # fmt: skip

# --- streams ------------------------------------------------------------------------------------

LOGIN_RESPONSE = b"\x23\x87" + bytes(46)
SILENT = "no answer within"
NO_ISCSI = "make sure that an iSCSI target listens at this address"
NO_ISID = "has ISID 000000000000"
FOREIGN = {
    "http": b"HTTP/1.1 400 Bad Request\r\nServer: x\r\nContent-Length: 0\r\n\r\n" + b" " * 48,
    "ssh": b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n" + b"\0" * 48,
    "smtp": b"220 mail.example.org ESMTP Postfix ready, and waiting for a HELO\r\n",
    "tls-alert": b"\x15\x03\x03\x00\x02\x02\x46" + b"\0" * 48,
    "nbd": b"NBDMAGICIHAVEOPT\x00\x03" + b"\0" * 48,
    "zeros": bytes(4800),
    "ones": b"\xff" * 4800,
    "all-octets": bytes(range(256)) * 4,
    "text-with-escapes": b"\x1b]0;root@host\x07\x1b[2J" * 10,
    "its-own-request": b"\x43\x87" + bytes(46),
    "json": b'{"error": {"code": 400, "message": "Bad Request, and nothing else, sorry"}}',
    "mysql": b"\x4a\x00\x00\x00\x0a5.5.5-10.11.6-MariaDB-0+deb12u1" + b"\0" * 48,
}

STREAMS = cases(
    {f"speaks-{name}": (lambda _, octets=octets: Sends(octets), NO_ISCSI)
     for name, octets in FOREIGN.items()}
    | {
        "sends-nothing": (lambda _: Sends(), SILENT),
        "closes-at-once": (lambda _: Sends(closes=True), "closed the connection"),
        "resets-at-once": (lambda _: Sends(resets=True), "closed the connection"),
        "closes-after-half-a-header": (lambda _: Sends(LOGIN_RESPONSE[:20], closes=True), "closed"),
        "resets-after-half-a-header": (lambda _: Sends(LOGIN_RESPONSE[:20], resets=True), "closed"),
        "one-octet-and-nothing-more": (lambda _: Sends(b"\x23"), HALF),
        "47-octets-and-nothing-more": (lambda _: Sends(LOGIN_RESPONSE[:47]), HALF),
        "a-header-without-its-text": (
            lambda _: Sends(b"\x23\x87\0\0\0\0\x20\0" + bytes(40)), HALF),
        "an-octet-a-time-for-ever": (
            lambda _: Pieces(Script(), pause=0.25), HALF),
        "8-octets-a-time": (
            lambda _: Pieces(Script(statuses={1: 0x0203}), 0.0, piece=8), "0203"),
        "a-response-each-time-slowly": (
            lambda _: Pieces(Script(operational_rounds=1000), pause=0.3, piece=48),
            f"{NO_END}|{HALF}"),
        "zeros-without-end": (lambda _: Repeats(bytes(65536)), ANOTHER_KIND),
        "responses-without-end": (lambda _: Repeats(LOGIN_RESPONSE * 1000), NO_ISID),
        "responses-that-were-not-asked-for": (lambda _: Sends(LOGIN_RESPONSE * 3), NO_ISID),
        "text-of-8-kib-without-end": (
            lambda _: Repeats(b"X" * 65536, first=b"\x23\x40\0\0\0\0\x20\0" + bytes(40)), NO_ISID),
        "stops-after-the-first-response": (lambda _: StopsReading(Script(), after=1), SILENT),
        "closes-after-the-first-response": (
            lambda _: StopsReading(Script(), after=1, closes=True), "closed the connection"),
        "hangs-up-first": (amends(hang_up(FIRST)), "closed the connection"),
        "hangs-up-last": (amends(hang_up(LAST)), "closed the connection"),
        "first-response-cut-in-its-header": (amends(cut(FIRST, 30)), HALF),
        "last-response-cut-in-its-header": (amends(cut(LAST, 30)), HALF),
        "first-response-cut-in-its-text": (amends(cut(FIRST, 50)), HALF),
        "last-response-cut-in-its-text": (amends(cut(LAST, 60)), HALF),
        "last-response-without-its-padding": (
            amends(lambda number, response: _unpadded(response) if number == LAST else response),
            HALF),
    }
)  # fmt: skip


def _unpadded(response: LoginResponse) -> bytes:
    octets = replace(response, data=response.data + b"X-a=1\0").encode()
    return octets[:-1]


LOGIN_CASES: tuple[Case, ...] = FRAMING + TEXT + NEGOTIATION + STATUSES + REDIRECTIONS + STREAMS
