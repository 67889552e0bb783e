"""Logins that take more than one connection: redirections, and the second try with MD5 alone."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from iscsid.errors import Retry
from iscsid.protocol.parameters import ChapAlgorithm
from tests.support.attempt_harness import ONE, failure_of, run, success_of
from tests.support.jobs import ALICE, login_job
from tests.support.scripted_portal import LoopbackPortal, scripted
from tests.target.script import Script
from tests.target.scripted import ScriptedTarget


@pytest.mark.parametrize(("status", "is_remembered"), [(0x0101, False), (0x0102, True)])
def test_a_redirection_is_followed_and_a_permanent_one_remembered(
    status: int, is_remembered: bool
) -> None:
    with scripted() as second:
        here = f"127.0.0.1:{second.portal.port}"
        with scripted(Script(statuses={0: status}, moved_to=(here,))) as first:
            job = replace(login_job(portal=first.portal), tcp_window_size=32768)
            harness = run(job, first, second)
        succeeded = success_of(harness)
        assert succeeded.portal == second.portal
        assert succeeded.moved_to == (second.portal if is_remembered else None)
        with harness.supervisor.take_socket(ONE) as connection:
            assert connection.getpeername()[1] == second.portal.port
            # Made without privileges, and of the size that was asked for all the same; the kernel
            # counts its own housekeeping in (socket(7)).
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 65536
        assert any(f"sent on from {first.portal} to {second.portal}" in x for x in harness.lines)


def test_of_several_addresses_the_first_that_answers_is_taken() -> None:
    with scripted() as second:
        here = f"127.0.0.1:{second.portal.port}"
        with scripted(Script(statuses={0: 0x0101}, moved_to=("127.0.0.1:1", here))) as first:
            harness = run(login_job(portal=first.portal), first, second)
        assert success_of(harness).portal == second.portal
        harness.supervisor.close_socket(ONE)


def test_a_redirection_to_a_dead_portal_names_it() -> None:
    with scripted(Script(statuses={0: 0x0101}, moved_to=("127.0.0.1:1", "127.0.0.2:1"))) as first:
        harness = run(login_job(portal=first.portal), first)
    assert failure_of(harness).what == (
        "connecting to 127.0.0.1:1: connection refused; "
        "connecting to 127.0.0.2:1: connection refused"
    )


def test_a_target_that_sends_us_in_a_circle_is_one_failed_attempt() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        here = f"127.0.0.1:{listener.getsockname()[1]}"
        script = Script(statuses={0: 0x0101}, moved_to=(here,))
        there = LoopbackPortal(listener, lambda: ScriptedTarget(script))
        harness = run(login_job(portal=there.portal), there)
        for connection, _ in there.links:
            connection.close()
    assert "in a circle" in failure_of(harness).what


def test_a_target_that_cannot_read_a_list_of_algorithms_is_asked_with_md5_alone() -> None:
    algorithms = (ChapAlgorithm.SHA256, ChapAlgorithm.MD5)
    script = Script(accounts={"alice": b"secret-alice-123"}, refuses_lists=True)
    with scripted(script) as there:
        job = login_job(portal=there.portal, authentication=replace(ALICE, algorithms=algorithms))
        harness = run(job, there)
        success_of(harness)
        harness.supervisor.close_socket(ONE)
        assert len(there.links) == 2
    assert any("retrying with CHAP MD5 only" in line for line in harness.lines)


def test_a_wrong_password_is_one_failed_attempt_on_one_connection() -> None:
    with scripted(Script(accounts={"alice": b"another-secret-1"})) as there:
        harness = run(login_job(portal=there.portal, authentication=ALICE), there)
        assert len(there.links) == 1
    failure = failure_of(harness)
    assert "authentication failure" in failure.what
    assert failure.retry is Retry.LATER
