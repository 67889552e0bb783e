"""The session tag that our sessions carry in the kernel."""

from __future__ import annotations

import pytest

from iscsid.bindings.binding import Binding
from iscsid.initiator.session_tag import SessionTag, parse_session_tag
from iscsid.kernel.kernel_parameters import MAX_SESSION_TAG
from iscsid.protocol.names import Portal
from iscsid.protocol.parameters import Isid

ISID = Isid(bytes.fromhex("80aabbcc0003"))

BOTH_WAYS = [
    (SessionTag(Binding(0, 3), ISID, None), "iscsid:0:3:80aabbcc0003"),
    (
        SessionTag(Binding(255, 255), ISID, Portal("192.0.2.1")),
        "iscsid:255:255:80aabbcc0003@192.0.2.1:3260",
    ),
    (
        SessionTag(Binding(1, 0), ISID, Portal("2001:db8::1", 3261)),
        "iscsid:1:0:80aabbcc0003@[2001:db8::1]:3261",
    ),
    (
        SessionTag(Binding(1, 0), ISID, Portal("san.example.org")),
        "iscsid:1:0:80aabbcc0003@san.example.org:3260",
    ),
    (
        SessionTag(Binding(1, 3), ISID, Portal("192.0.2.1"), "[2001:db8::1]:3261"),
        "iscsid:1:3:80aabbcc0003/[2001:db8::1]:3261@192.0.2.1:3260",
    ),
    (SessionTag(Binding(1, 3), ISID, None, "2"), "iscsid:1:3:80aabbcc0003/2"),
    (SessionTag(Binding(1, 3), ISID, None, "2;3"), "iscsid:1:3:80aabbcc0003/2;3"),
    (SessionTag(Binding(1, 3), ISID, None, ";2"), "iscsid:1:3:80aabbcc0003/;2"),
    (SessionTag(Binding(0, 3), ISID, None, is_logging_out=True), "iscsid-leaving:0:3:80aabbcc0003"),
    (SessionTag(Binding(1, 3), ISID, None, "?"), "iscsid:1:3:80aabbcc0003/?"),
]


@pytest.mark.parametrize(("session_tag", "text"), BOTH_WAYS)
def test_session_tags_are_written_and_read(session_tag: SessionTag, text: str) -> None:
    assert str(session_tag) == text
    assert parse_session_tag(text) == session_tag


@pytest.mark.parametrize(
    "text",
    [
        "",
        "default",
        "(null)",
        "iscsid:256:0:80aabbcc0003",
        "iscsid:0:0:80aabbcc00",
        "iscsid:0:0:80AABBCC0003",
        "iscsid:-1:0:80aabbcc0003",
        "iscsid:0:0:80aabbcc0003@",
        "iscsid:0:0:80aabbcc0003@a b",
        "iscsid:0:0:80aabbcc0003/",
        "iscsid:0:0:80aabbcc0003/#1",
        "iscsid:0:0:80aabbcc0003/a b",
        "iscsid:0:0:80aabbcc0003\n",
        "iscsid:٣:0:80aabbcc0003",
    ],
)
def test_any_other_text_is_no_session_tag(text: str) -> None:
    assert parse_session_tag(text) is None


def test_the_longest_session_tag_is_not_too_long_for_the_kernel() -> None:
    name = Portal(".".join(["x" * 62] * 4), 65535)
    path = f"={'e' * 64}/{name};32"
    session_tag = SessionTag(Binding(255, 255), ISID, name, path)
    assert len(str(session_tag)) <= MAX_SESSION_TAG
    assert parse_session_tag(str(session_tag)) == session_tag
