"""A login as a worker does it, against targets behind real sockets; the test is the daemon."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from iscsid.errors import Retry
from iscsid.facts import LoginSucceeded
from iscsid.orders import Level
from iscsid.protocol.names import Portal
from iscsid.protocol.parameters import Authentication, Credentials
from iscsid.protocol.pdu import LoginResponse
from iscsid.secret import Secret
from iscsid.workers.sandbox import FIRST_USER
from tests.support.attempt_harness import (
    ONE,
    failure_of,
    needs_root,
    run,
    success_of,
    without_any_file,
)
from tests.support.jobs import ALICE, login_job
from tests.support.scripted_portal import AnswersOnce, loopback_portal, scripted
from tests.support.supervisor_harness import WorkersHarness, status_of
from tests.target.profile import LIO, PROFILES, Profile
from tests.target.script import Script
from tests.target.scripted import ScriptedTarget

# --- success ------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_login_hands_over_its_result_and_its_connection(profile: Profile) -> None:
    with scripted(Script(profile=profile)) as there:
        harness = run(login_job(portal=there.portal), there)
        succeeded = success_of(harness)
        assert succeeded.result.tsih == profile.tsih
        assert succeeded.portal == there.portal
        assert succeeded.moved_to is None
        with harness.supervisor.take_socket(ONE) as connection:
            far, _ = there.links[0]
            assert connection.getpeername() == far.getsockname()
            assert connection.getsockname() == far.getpeername()
            assert connection.gettimeout() is None


def test_what_follows_the_last_response_is_left_for_the_kernel() -> None:
    behind = b"\x20\x80" + bytes(46) + b"and more"

    def amend(_number: int, response: LoginResponse) -> LoginResponse | bytes:
        is_last = response.transit and response.next_stage == 3
        return response.encode() + behind if is_last else response

    with scripted(Script(amend=amend)) as there:
        harness = run(login_job(portal=there.portal), there)
        success_of(harness)
        with harness.supervisor.take_socket(ONE) as connection:
            assert connection.recv(100) == behind


def test_the_connection_outlives_the_worker() -> None:
    with scripted() as there:
        harness = run(login_job(portal=there.portal), there)
        with harness.supervisor.take_socket(ONE) as connection:
            connection.sendall(b"hello")
            far, _ = there.links[0]
            far.setblocking(True)
            assert far.recv(100) == b"hello"


def test_ipv6_is_as_good_as_ipv4() -> None:
    with loopback_portal(ScriptedTarget, "::1") as there:
        harness = run(login_job(portal=there.portal), there)
        assert success_of(harness).portal.host == "::1"
        harness.supervisor.close_socket(ONE)


def test_the_trace_reads_like_the_exchange_where_it_is_wanted() -> None:
    for level, is_there in ((Level.DEBUG, True), (Level.INFO, False)):
        with scripted() as there:
            harness = run(
                login_job(portal=there.portal), there, harness=WorkersHarness(level=level)
            )
            harness.supervisor.close_socket(ONE)
        assert any(line.startswith("> login request") for line in harness.lines) is is_there
        assert any(line.startswith("< login response") for line in harness.lines) is is_there


def test_a_secret_can_be_read_nowhere() -> None:
    with scripted(Script(accounts={"alice": b"secret-alice-123"})) as there:
        harness = run(login_job(portal=there.portal, authentication=ALICE), there)
        success_of(harness)
        harness.supervisor.close_socket(ONE)
    assert "secret-alice" not in repr(harness.facts) + repr(harness.lines)


# --- targets that misbehave ---------------------------------------------------------------------


def test_a_target_that_resets_is_one_that_closes() -> None:
    """Closing with our request unread resets the connection; it means the same."""
    with loopback_portal(AnswersOnce) as there:
        harness = WorkersHarness()
        harness.others.append(there.serve)
        harness.start(login_job(portal=there.portal))
        harness.until(lambda: there.links != [])
        there.hang_up(reset=True)
        harness.until(lambda: len(harness.supervisor) == 0)
    assert "closed the connection instead of answering" in failure_of(harness).what


def test_a_closed_port_is_one_failed_attempt() -> None:
    failure = failure_of(run(login_job()))
    assert failure.what == "connecting to 127.0.0.1:1: connection refused"
    assert failure.retry is Retry.SOON


def test_all_of_the_login_has_a_limit_of_its_own() -> None:
    """Each answer comes in time, and there is no end to them."""
    with loopback_portal(AnswersOnce) as there:
        harness = run(login_job(portal=there.portal, deadline=0.3), there)
    assert "no answer within the 0.3 s for all of the login" in failure_of(harness).what


def test_authentication_has_a_limit_of_its_own() -> None:
    timeouts = replace(login_job().timeouts, auth=1)
    with loopback_portal(AnswersOnce) as there:
        harness = run(login_job(portal=there.portal, timeouts=timeouts), there)
    assert "no answer within the 1 s for authentication" in failure_of(harness).what


@pytest.mark.parametrize("response", [0, 1, 2])
def test_a_worker_killed_at_any_step_of_the_login_is_one_failed_attempt(response: int) -> None:
    victims: list[int] = []

    def amend(number: int, answer: LoginResponse) -> LoginResponse | bytes:
        if number == response:
            os.kill(victims[0], signal.SIGKILL)
        return answer

    script = Script(amend=amend, operational_rounds=2)
    with loopback_portal(lambda: ScriptedTarget(script)) as there:
        harness = WorkersHarness()
        harness.others.append(there.serve)
        harness.start(login_job(portal=there.portal))
        victims.append(harness.pid_of())
        harness.until(lambda: len(harness.supervisor) == 0)
    ending = harness.ending_of(ONE)
    assert harness.facts == [ending] and ending.how is not None
    assert ending.how.what == "the worker was killed (SIGKILL) while logging in"


# --- privileges ---------------------------------------------------------------------------------


@needs_root
def test_privileges_are_dropped_before_the_first_octet_is_read() -> None:
    """And still are on the second connection, which a redirection makes."""
    pids: list[int] = []
    seen: list[tuple[str, str]] = []

    def look(_number: int, response: LoginResponse) -> LoginResponse:
        status = status_of(pids[0])
        seen.append((status["Uid"].split()[1], status["CapEff"]))
        return response

    with scripted(Script(amend=look)) as second:
        here = f"127.0.0.1:{second.portal.port}"
        with scripted(Script(amend=look, statuses={0: 0x0101}, moved_to=(here,))) as first:
            harness = WorkersHarness()
            harness.others += [first.serve, second.serve]
            harness.start(login_job(portal=first.portal))
            pids.append(harness.pid_of())
            harness.until(lambda: len(harness.supervisor) == 0)
            success_of(harness)
            harness.supervisor.close_socket(ONE)
    assert len(seen) >= 3
    assert set(seen) == {(str(FIRST_USER), "0" * 16)}


@needs_root
def test_privileges_are_dropped_before_a_name_is_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ "A worker that talks to a target has a user of its own without privileges": the answer of
    a name server comes from the network, too."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: bytes, port: int, **options: int) -> object:
        assert options["flags"] & socket.AI_NUMERICHOST or os.geteuid() != 0
        return resolve(host, port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with scripted(Script()) as found:
        portal = Portal("localhost", found.portal.port)
        harness = run(login_job(portal=portal), found)
    assert success_of(harness).portal == portal
    harness.supervisor.close_socket(ONE)


@needs_root
def test_a_login_needs_no_file(tmp_path: Path) -> None:
    """The disk with all files may be on the very session that is to be recovered."""
    both = Authentication(ALICE.outgoing, Credentials("array", Secret("secret-array-456")))
    script = Script(
        profile=LIO,
        accounts={"alice": b"secret-alice-123"},
        own_account=("array", b"secret-array-456"),
    )
    with scripted(script) as there:
        job = login_job(portal=there.portal, authentication=both)
        harness = run(job, there, harness=WorkersHarness(confine=without_any_file(tmp_path)))
        success_of(harness)
        harness.supervisor.close_socket(ONE)


@needs_root
@pytest.mark.parametrize(
    "make",
    [
        lambda: AnswersOnce(bytes(range(256)) * 4),
        lambda: AnswersOnce(hangs_up=True),
        lambda: ScriptedTarget(Script(edit=lambda _, pairs: (*pairs, ("X\x01Y", "\x02\xff")))),
        lambda: ScriptedTarget(Script(edit=lambda _, pairs: (*pairs, ("TargetAlias", "\x02")))),
        lambda: ScriptedTarget(Script(statuses={0: 0x0101}, moved_to=("127.0.0.1:1",))),
    ],
)
def test_a_failed_login_needs_no_file_for_its_reason(
    make: Callable[[], AnswersOnce | ScriptedTarget], tmp_path: Path
) -> None:
    with loopback_portal(make) as there:
        harness = run(
            login_job(portal=there.portal),
            there,
            harness=WorkersHarness(confine=without_any_file(tmp_path)),
        )
    if any(isinstance(fact, LoginSucceeded) for fact in harness.facts):
        harness.supervisor.close_socket(ONE)
    assert harness.ending_of(ONE).how is None
