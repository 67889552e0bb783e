"""The kernel's messages: built and read as a real kernel took and sent them."""

from __future__ import annotations

import errno
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iscsid.facts import (
    ConnectionLost,
    PduReceived,
    SessionDestroyed,
    SessionUnbound,
    SessionUnrecoverable,
)
from iscsid.kernel import iscsi_if
from iscsid.kernel.iscsi_if import Command, Reply, Request, StopFlag
from iscsid.protocol.codes import AsyncEvent
from iscsid.protocol.pdu import AsyncMessage, LogoutRequest, LogoutResponse, NopOut, decode
from tests.support.recorded_uevents import HANDLE, RECORDED

TARGET = "iqn.2004-09.org.example:disks"
LOGOUT = LogoutRequest(initiator_task_tag=0, cmd_sn=0, exp_stat_sn=0).encode()
NOP = NopOut(initiator_task_tag=0, cmd_sn=0, exp_stat_sn=0, data=b"abcde").encode()[:48]

# What was asked, the number its tag had, and what the kernel's answer means.
EXCHANGES: list[tuple[str, Request, int, int, tuple[int, int] | None]] = [
    ("create_session", iscsi_if.create_session(0xFFFFFFF0, 128, 32), 2, 0, (1, 6)),
    ("create_conn", iscsi_if.create_connection(1), 4, 0, (1, 0)),
    ("bind_bad_fd", iscsi_if.bind_connection(1, 999), 5, errno.EEXIST, None),
    ("bind_not_tcp", iscsi_if.bind_connection(1, 6), 6, errno.EINVAL, None),
    ("bind", iscsi_if.bind_connection(1, 8), 7, 0, None),
    ("set_param", iscsi_if.set_parameter(1, 15, "TARGET_NAME", TARGET), 8, 0, None),
    (
        "set_param_unsupported",
        iscsi_if.set_parameter(1, 33, "ISID", "800000"),
        9,
        errno.ENOSYS,
        None,
    ),
    ("start", iscsi_if.start_connection(1), 0x23, 0, None),
    ("send_nop", iscsi_if.send_pdu(1, NOP, b"abcde"), 0x25, errno.EPERM, None),
    ("send_logout", iscsi_if.send_pdu(1, LOGOUT), 0x26, 0, None),
    ("unbind", iscsi_if.unbind_session(1), 0x27, 0, None),
    ("stop_recover", iscsi_if.stop_connection(1, StopFlag.RECOVER), 0x28, 0, None),
    ("stop_term", iscsi_if.stop_connection(1, StopFlag.TERM), 0x29, 0, None),
    ("destroy_conn", iscsi_if.destroy_connection(1), 0x2A, 0, None),
    ("destroy_async", iscsi_if.destroy_session_async(1), 0x2B, 0, None),
    ("unbind_unknown_session", iscsi_if.unbind_session(1), 0x2C, errno.EINVAL, None),
    ("start_in_cleanup", iscsi_if.start_connection(2), 0x4A, errno.ENOTCONN, None),
]


@pytest.mark.parametrize(
    ("name", "request_", "tag"), [(name, req, tag) for name, req, tag, _, _ in EXCHANGES]
)
def test_request_is_what_the_kernel_accepted(name: str, request_: Request, tag: int) -> None:
    assert request_.pack(HANDLE, tag) == RECORDED[name, "request"]


@pytest.mark.parametrize(
    ("name", "tag", "error", "numbers"), [(name, *rest) for name, _, *rest in EXCHANGES]
)
def test_reply_means_what_the_kernel_sent(
    name: str, tag: int, error: int, numbers: tuple[int, int] | None
) -> None:
    reply = iscsi_if.unpack_reply(RECORDED[name, "reply"])
    assert reply is not None
    assert (reply.tag, reply.error) == (tag, error)
    if numbers is not None:
        assert (reply.sid, reply.host_no) == numbers


def test_every_recorded_exchange_is_in_the_table() -> None:
    recorded = {name for name, kind in RECORDED if kind == "reply"}
    assert recorded - {name for name, *_ in EXCHANGES} == {"set_param_without_connection"}


EVENTS = [
    ("session_created", None),
    ("session_unbound", SessionUnbound(1)),
    ("session_destroyed", SessionDestroyed(1)),
    ("connection_error", ConnectionLost(2, "the target closed the connection")),
]


@pytest.mark.parametrize(("name", "fact"), EVENTS)
def test_event_is_the_fact_it_reports(name: str, fact: iscsi_if.Event | None) -> None:
    assert iscsi_if.unpack_event(RECORDED[name, "event"]) == fact


def test_logout_response_comes_up_whole() -> None:
    fact = iscsi_if.unpack_event(RECORDED["pdu_logout_response", "event"])
    assert isinstance(fact, PduReceived) and fact.sid == 1
    assert isinstance(decode(fact.header, fact.data), LogoutResponse)


def test_padding_behind_the_data_of_a_pdu_is_cut_off() -> None:
    message = RECORDED["pdu_async_message", "event"]
    assert message.endswith(b"abcde\0\0\0")
    fact = iscsi_if.unpack_event(message)
    assert isinstance(fact, PduReceived) and fact.data == b"abcde"
    pdu = decode(fact.header, fact.data)
    assert isinstance(pdu, AsyncMessage) and pdu.async_event == AsyncEvent(255)


def test_pdu_whose_data_is_missing_is_passed_over() -> None:
    message = RECORDED["pdu_async_message", "event"]
    assert iscsi_if.unpack_event(message[:-4]) is None
    assert iscsi_if.unpack_event(message[:-9]) is None


def test_error_of_another_connection_than_ours_is_passed_over() -> None:
    message = bytearray(RECORDED["connection_error", "event"])
    message[16 + 44] = 1
    assert iscsi_if.unpack_event(bytes(message)) is None


def _connection_error(code: int) -> ConnectionLost | SessionUnrecoverable:
    message = bytearray(RECORDED["connection_error", "event"])
    message[16 + 48 : 16 + 52] = code.to_bytes(4, "little")
    fact = iscsi_if.unpack_event(bytes(message))
    assert isinstance(fact, (ConnectionLost, SessionUnrecoverable))
    return fact


def test_session_whose_host_is_being_removed_is_doomed_and_no_other() -> None:
    facts = {code: _connection_error(code) for code in range(1000, 1030)}
    doomed = {code: fact for code, fact in facts.items() if isinstance(fact, SessionUnrecoverable)}
    assert doomed == {1018: SessionUnrecoverable(2, "its SCSI host is being removed")}


def test_unlisted_connection_error_still_has_words() -> None:
    assert _connection_error(1077).reason == "the kernel's error 1077"


def test_get_stats_has_no_builder() -> None:
    assert 20 not in set(Command)
    builders = [
        member
        for _, member in inspect.getmembers(iscsi_if, inspect.isfunction)
        if inspect.signature(member, eval_str=True).return_annotation is Request
    ]
    assert len(builders) == len(Command)


def test_several_messages_in_one_datagram_come_out_one_by_one() -> None:
    requests = [iscsi_if.set_parameter(3, 17, "PERSISTENT_ADDRESS", "a" * n) for n in range(1, 9)]
    datagram = b"".join(request.pack(7, tag) for tag, request in enumerate(requests))
    replies = [iscsi_if.unpack_reply(message) for message in iscsi_if.split(datagram)]
    assert [reply.tag for reply in replies if reply] == list(range(8))


def test_datagram_cut_anywhere_yields_whole_messages_only() -> None:
    whole = RECORDED["bind", "reply"] + RECORDED["start", "reply"]
    for end in range(len(whole)):
        assert len(list(iscsi_if.split(whole[:end]))) == end // 72


def test_message_that_lies_about_its_length_ends_the_datagram() -> None:
    for length in (0, 15, 73, 0xFFFFFFFF):
        datagram = length.to_bytes(4, "little") + RECORDED["bind", "reply"][4:]
        assert list(iscsi_if.split(datagram)) == []


@given(st.binary(max_size=200))
def test_junk_does_no_harm(junk: bytes) -> None:
    for message in [junk, *iscsi_if.split(junk)]:
        iscsi_if.unpack_reply(message)
        iscsi_if.unpack_event(message)


@given(st.binary(min_size=64, max_size=64), st.sampled_from(sorted(RECORDED.values())))
def test_header_with_junk_behind_it_does_no_harm(junk: bytes, genuine: bytes) -> None:
    message = genuine[:20] + junk
    assert isinstance(iscsi_if.unpack_reply(message), Reply | None)
    assert isinstance(iscsi_if.unpack_event(message), iscsi_if.Event | None)


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF), st.integers(0, 2**64 - 1))
def test_tag_comes_back_in_the_reply(tag: int, sid: int, handle: int) -> None:
    for request in (
        iscsi_if.create_session(sid, 0xFFFF, 0xFFFF),
        iscsi_if.bind_connection(sid, 0x7FFFFFFF),
        iscsi_if.stop_connection(sid, StopFlag.TERM),
        iscsi_if.set_parameter(sid, 15, "TARGET_NAME", TARGET),
    ):
        reply = iscsi_if.unpack_reply(request.pack(handle, tag)[:72])
        assert reply is not None and reply.tag == tag
