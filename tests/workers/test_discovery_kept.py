"""A discovery that stays logged in, against targets behind real sockets; the test is the daemon."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from iscsid.config.settings import Timeouts
from iscsid.facts import DiscoveryCompleted, DiscoveryFailed, WorkerEnded
from iscsid.jobs import DiscoveryJob
from iscsid.protocol.codes import RESERVED_TAG, AsyncEvent, Opcode
from iscsid.protocol.pdu import AsyncMessage, LogoutRequest, NopIn, NopOut, TextRequest
from iscsid.workers import discovery_worker, sandbox
from tests.support.attempt_harness import ONE
from tests.support.discovery_fixtures import LISTED, completions, names_in, received
from tests.support.jobs import discovery_job
from tests.support.scripted_portal import LoopbackPortal, loopback_portal
from tests.support.supervisor_harness import WorkersHarness, status_of, until
from tests.target.profile import TGTD
from tests.target.scripted import ScriptedTarget


def keep(there: LoopbackPortal, job: DiscoveryJob | None = None) -> WorkersHarness:
    """Start a kept discovery and turn until it has answered."""
    harness = WorkersHarness()
    harness.others.append(there.serve)
    harness.start(job or discovery_job(portal=there.portal, keep=True))
    harness.until(lambda: harness.facts != [] and isinstance(harness.facts[-1], DiscoveryCompleted))
    assert harness.facts[-1] == DiscoveryCompleted(ONE, kept=True)
    return harness


def event(number: AsyncEvent) -> bytes:
    return AsyncMessage(stat_sn=99, exp_cmd_sn=2, max_cmd_sn=9, async_event=number).encode()


def ping(tag: int = 7) -> bytes:
    return NopIn(
        initiator_task_tag=RESERVED_TAG,
        target_transfer_tag=tag,
        stat_sn=99,
        exp_cmd_sn=2,
        max_cmd_sn=9,
    ).encode()


def keepalive_seconds(port: int, peer: int) -> float | None:
    """Return when TCP will ask on the connection from ``port`` to ``peer``; ``None`` if never."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ends = [[int(end.rpartition(":")[2], 16) for end in row[1:3]] for row in rows]
    # Connections of others may have one of the two ports, too.
    (timer,) = (row[5] for row, each in zip(rows, ends, strict=True) if each == [port, peer])
    kind, _, ticks = timer.partition(":")
    return int(ticks, 16) / os.sysconf("SC_CLK_TCK") if kind == "02" else None


@pytest.mark.parametrize(
    ("timeouts", "is_asked"),
    [
        (Timeouts(idle=5000, ping=5), True),
        (Timeouts(idle=0, ping=5), False),
        (Timeouts(idle=5000, ping=0), False),
    ],
)
def test_a_silent_target_is_asked_by_tcp_after_idle_timeout(
    timeouts: Timeouts, is_asked: bool
) -> None:
    with loopback_portal(lambda: ScriptedTarget(LISTED)) as there:
        harness = keep(there, discovery_job(portal=there.portal, keep=True, timeouts=timeouts))
        harness.wait_until_logged("waiting for the target to report changes")
        connection = there.links[-1][0]
        ends = (connection.getpeername()[1], connection.getsockname()[1])
        until(lambda: (keepalive_seconds(*ends) is not None) == is_asked)
        assert not is_asked or (keepalive_seconds(*ends) or 0) > 4000
        harness.supervisor.end_all()


def test_a_ping_is_answered() -> None:
    with loopback_portal(lambda: ScriptedTarget(LISTED)) as there:
        harness = keep(there)
        there.send(ping())
        harness.until(lambda: received(there, NopOut) == 1)
        assert len(harness.supervisor) == 1
        harness.supervisor.end_all()


def test_a_ping_in_pieces_is_answered() -> None:
    with loopback_portal(lambda: ScriptedTarget(LISTED)) as there:
        harness = keep(there)
        for octet in ping():
            there.send(bytes([octet]))
            harness.turn()
        harness.until(lambda: received(there, NopOut) == 1)
        harness.supervisor.end_all()


def test_a_flood_of_pings_keeps_no_worker_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the session in good order when it has used much processor time."""
    monkeypatch.setattr(sandbox, "PROCESSOR_SECONDS_USED", 0.2)
    with loopback_portal(lambda: ScriptedTarget(LISTED)) as there:
        harness = keep(there)

        def flood() -> None:
            with suppress(OSError):
                there.send(ping() * 50)

        harness.others.append(flood)
        harness.until(lambda: len(harness.supervisor) == 0)
    assert harness.facts[-1] == WorkerEnded(ONE)


def test_a_target_that_announces_changes_without_end_is_asked_ever_more_slowly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(discovery_worker, "BURST", 0.05)
    with loopback_portal(lambda: ScriptedTarget(LISTED)) as there:
        harness = keep(there)
        moments = [time.monotonic()]
        while len(moments) < 6:
            there.send(event(AsyncEvent.SCSI_EVENT))
            harness.until(lambda: completions(harness) == len(moments) + 1)
            moments.append(time.monotonic())
        pauses = [later - earlier for earlier, later in pairwise(moments)]
        assert pauses[-1] >= 0.4 and pauses[0] < pauses[-1]
        harness.supervisor.end_all()


def test_when_the_target_reports_a_change_it_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(discovery_worker, "BURST", 0.05)
    with loopback_portal(lambda: ScriptedTarget(LISTED)) as there:
        harness = keep(there)
        before = names_in(harness)
        there.send(event(AsyncEvent.SCSI_EVENT))
        harness.until(lambda: completions(harness) == 2)
        assert names_in(harness) == before * 2
        assert len(harness.supervisor) == 1
        harness.supervisor.end_all()


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_sent_in_whatever_order_is_borne_until_it_is_illegal(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Pings, events and questions of the daemon mixed; then one PDU that may not come."""
    monkeypatch.setattr(discovery_worker, "BURST", 0.02)
    monkeypatch.setattr(discovery_worker, "LONGEST_PAUSE", 0.1)
    random = Random(seed)
    pings, asked = 0, 1
    with loopback_portal(lambda: ScriptedTarget(LISTED)) as there:
        harness = keep(there)
        for _ in range(20):
            match random.choice(["ping", "pieces", "change", "no change", "question"]):
                case "ping":
                    there.send(ping(pings) * 3)
                    pings += 3
                case "pieces":
                    # Not amid them: the target answers each NOP-Out.
                    harness.until(lambda: received(there, NopOut) == pings)  # noqa: B023
                    for octet in ping(pings):
                        there.send(bytes([octet]))
                        harness.turn()
                    pings += 1
                case "change":
                    there.send(event(AsyncEvent.SCSI_EVENT))
                    harness.until(lambda: completions(harness) == asked + 1)  # noqa: B023
                    asked += 1
                case "no change":
                    there.send(event(AsyncEvent.TASKS_ABORTED))
                case "question":
                    harness.supervisor.ask_again(ONE)
                    harness.until(lambda: completions(harness) == asked + 1)  # noqa: B023
                    asked += 1
        harness.until(lambda: received(there, NopOut) == pings)
        assert received(there, TextRequest) == asked and len(harness.supervisor) == 1
        assert names_in(harness) == names_in(harness)[:2] * asked
        there.send(bytes([Opcode.SCSI_RESPONSE]) + bytes(47))
        harness.until(lambda: len(harness.supervisor) == 0)
    assert isinstance(harness.facts[-2], DiscoveryFailed)
    assert harness.facts[-1] == WorkerEnded(ONE) and completions(harness) == asked


def test_a_burst_of_events_asks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery_worker, "BURST", 0.3)
    with loopback_portal(lambda: ScriptedTarget(LISTED)) as there:
        harness = keep(there)
        for _ in range(20):
            there.send(event(AsyncEvent.SCSI_EVENT))
        harness.until(lambda: completions(harness) == 2)
        there.send(ping())
        harness.until(lambda: received(there, NopOut) == 1)
        assert received(there, TextRequest) == 2
        harness.supervisor.end_all()


def test_the_daemon_can_ask_again_and_several_times_is_once() -> None:
    with loopback_portal(lambda: ScriptedTarget(LISTED)) as there:
        harness = keep(there)
        harness.supervisor.ask_again(ONE)
        harness.until(lambda: completions(harness) == 2)
        there.send(ping())
        harness.until(lambda: received(there, NopOut) == 1)
        assert received(there, TextRequest) == 2
        harness.supervisor.end_all()


def test_a_target_that_does_not_keep_discovery_sessions_is_no_failure() -> None:
    with loopback_portal(lambda: ScriptedTarget(LISTED)) as there:
        harness = keep(there)
        there.hang_up()
        harness.until(lambda: len(harness.supervisor) == 0)
    assert harness.facts[-2:] == [DiscoveryCompleted(ONE, kept=True), WorkerEnded(ONE)]


def test_a_connection_that_breaks_is_a_failure() -> None:
    with loopback_portal(lambda: ScriptedTarget(LISTED)) as there:
        harness = keep(there)
        there.hang_up(reset=True)
        harness.until(lambda: len(harness.supervisor) == 0)
    failed = harness.facts[-2]
    assert isinstance(failed, DiscoveryFailed)
    assert failed.failure.what == "keeping the discovery session: the connection was reset"
    assert harness.facts[-1] == WorkerEnded(ONE)


@pytest.mark.parametrize(
    "number",
    [AsyncEvent.LOGOUT_REQUESTED, AsyncEvent.CONNECTION_DROPPED, AsyncEvent.SESSION_DROPPED],
)
def test_a_target_that_wants_us_out_gets_a_logout(number: AsyncEvent) -> None:
    with loopback_portal(lambda: ScriptedTarget(LISTED)) as there:
        harness = keep(there)
        there.send(event(number))
        harness.until(lambda: len(harness.supervisor) == 0)
        assert received(there, LogoutRequest) == 1
    assert harness.facts[-2:] == [DiscoveryCompleted(ONE, kept=True), WorkerEnded(ONE)]


def test_an_answer_that_breaks_off_later_is_a_failure() -> None:
    with loopback_portal(lambda: HangsUpAfter(1)) as there:
        harness = keep(there)
        harness.supervisor.ask_again(ONE)
        harness.until(lambda: len(harness.supervisor) == 0)
    failed = harness.facts[-2]
    assert isinstance(failed, DiscoveryFailed)
    assert failed.failure.what == "asking for targets: the target closed the connection"


class HangsUpAfter(ScriptedTarget):
    """Hangs up on the request after so many."""

    def __init__(self, questions: int) -> None:
        super().__init__(replace(LISTED, profile=TGTD))
        self._left = questions

    def receive_data(self, data: bytes) -> None:
        if data and data[0] & 0x3F == Opcode.TEXT_REQUEST:
            self._left -= 1
            if self._left < 0:
                self.is_closed = True
                return
        super().receive_data(data)


def test_a_kept_discovery_that_is_stopped_ends_without_a_failure() -> None:
    with loopback_portal(lambda: ScriptedTarget(LISTED)) as there:
        harness = keep(there)
        harness.supervisor.stop(ONE)
        harness.until(lambda: len(harness.supervisor) == 0)
    assert harness.facts[-1] == WorkerEnded(ONE)


def test_a_kept_discovery_whose_daemon_hangs_up_leaves() -> None:
    with loopback_portal(lambda: ScriptedTarget(LISTED)) as there:
        harness = keep(there)
        pid = harness.pid_of()
        harness.readers.clear()
        harness.worker_of().channel.close()
        until(lambda: status_of(pid) == {})
