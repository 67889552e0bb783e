"""A discovery as a worker does it, against targets behind real sockets; the test is the daemon."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from iscsid.facts import DiscoveryCompleted, DiscoveryFailed, TargetDiscovered, WorkerEnded
from iscsid.jobs import DiscoveryJob, JobId
from iscsid.protocol.bhs import BHS_LENGTH
from iscsid.protocol.codes import RESERVED_TAG, AsyncEvent, Opcode
from iscsid.protocol.names import DiscoveryRecord, Portal, TargetAddress
from iscsid.protocol.pdu import AsyncMessage, LogoutRequest, NopIn, NopOut, TextRequest
from iscsid.workers import discovery
from tests.target.profile import LIO, PROFILES, TGTD, Profile
from tests.target.script import Listed, Script
from tests.target.scripted import ScriptedTarget
from tests.workers.jobs import IMPATIENT, TARGET, discovery_job
from tests.workers.portals import Station, scripted, station
from tests.workers.ring import Ring, until
from tests.workers.test_login import without_any_file

ONE = JobId(1)
LISTED = Script(
    listed=(
        Listed(TARGET, ("192.0.2.1:3260,1", "[2001:db8::1]:3260,2")),
        Listed("iqn.2024-01.org.example:bare"),
    )
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")


def run(job: DiscoveryJob, there: Station, ring: Ring | None = None) -> Ring:
    ring = ring or Ring()
    ring.others.append(there.turn)
    ring.run(job)
    return ring


def names_in(ring: Ring) -> list[str]:
    return [fact.record.target_name for fact in ring.facts if isinstance(fact, TargetDiscovered)]


def completions(ring: Ring) -> int:
    return sum(isinstance(fact, DiscoveryCompleted) for fact in ring.facts)


def heard(there: Station, kind: type) -> int:
    return sum(isinstance(each.pdu, kind) for each in there.targets[-1].heard)


# --- asked once ---------------------------------------------------------------------------------


def test_every_target_is_reported_then_the_end_and_the_session_is_logged_out() -> None:
    with scripted(LISTED) as there:
        ring = run(discovery_job(portal=there.portal), there)
        assert ring.facts == [
            TargetDiscovered(
                ONE,
                DiscoveryRecord(
                    TARGET,
                    (
                        TargetAddress(Portal("192.0.2.1"), 1),
                        TargetAddress(Portal("2001:db8::1"), 2),
                    ),
                ),
            ),
            TargetDiscovered(
                ONE,
                DiscoveryRecord(
                    type(TARGET)("iqn.2024-01.org.example:bare"), (TargetAddress(there.portal),)
                ),
            ),
            DiscoveryCompleted(ONE),
            WorkerEnded(ONE),
        ]
        assert isinstance(there.targets[0].heard[-1].pdu, LogoutRequest)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_thousand_targets_are_all_reported_however_the_answer_is_cut(profile: Profile) -> None:
    listed = tuple(
        Listed(f"iqn.2024-01.org.example:t{number}", ("192.0.2.1:3260,1",))
        for number in range(1000)
    )
    with scripted(Script(profile=profile, listed=listed)) as there:
        ring = run(discovery_job(portal=there.portal), there)
    assert sorted(names_in(ring)) == sorted(each.name for each in listed)
    assert ring.facts[-2:] == [DiscoveryCompleted(ONE), WorkerEnded(ONE)]


def test_an_empty_answer_is_an_answer() -> None:
    with scripted() as there:
        ring = run(discovery_job(portal=there.portal), there)
    assert ring.facts == [DiscoveryCompleted(ONE), WorkerEnded(ONE)]


def test_what_was_skipped_is_noted() -> None:
    script = Script(listed=(Listed("../../etc/passwd"), Listed(TARGET, ("0.0.0.0:3260,1",))))
    with scripted(script) as there:
        ring = run(discovery_job(portal=there.portal), there)
    (completed,) = (fact for fact in ring.facts if isinstance(fact, DiscoveryCompleted))
    assert any("etc/passwd" in note for note in completed.notes)
    assert any("0.0.0.0" in note for note in completed.notes)


def test_a_refused_discovery_is_one_failed_attempt() -> None:
    with scripted(Script(statuses={0: 0x0201})) as there:
        failed, ended = run(discovery_job(portal=there.portal), there).facts
    assert isinstance(failed, DiscoveryFailed)
    assert "authentication required" in failed.failure.what
    assert ended == WorkerEnded(ONE)


class DeafTo(ScriptedTarget):
    """Says nothing to PDUs of one kind, or hangs up."""

    def __init__(self, kind: Opcode, *, hangs_up: bool = False, script: Script = LISTED) -> None:
        super().__init__(script)
        self._kind = kind
        self._hangs_up = hangs_up

    def receive_data(self, data: bytes) -> None:
        if data and data[0] & 0x3F == self._kind:
            self.is_closed = self._hangs_up
            return
        super().receive_data(data)


@pytest.mark.parametrize("hangs_up", [True, False])
def test_a_logout_that_is_not_answered_costs_nothing(
    hangs_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "LOGOUT", 0.2)
    with station(lambda: DeafTo(Opcode.LOGOUT_REQUEST, hangs_up=hangs_up)) as there:
        ring = run(discovery_job(portal=there.portal), there)
    assert ring.facts[-2:] == [DiscoveryCompleted(ONE), WorkerEnded(ONE)]
    assert any(line.startswith("logging out: ") for line in ring.lines)


@pytest.mark.parametrize(
    ("hangs_up", "words"),
    [
        (True, "asking for targets: the target closed the connection"),
        (False, "asking for targets: no answer within 1 s"),
    ],
)
def test_a_question_that_is_not_answered_is_one_failed_attempt(hangs_up: bool, words: str) -> None:
    with station(lambda: DeafTo(Opcode.TEXT_REQUEST, hangs_up=hangs_up)) as there:
        ring = run(discovery_job(portal=there.portal, timeouts=IMPATIENT, keep=True), there)
    failed, _ = ring.facts
    assert isinstance(failed, DiscoveryFailed)
    assert failed.failure.what == words
    assert ring.ending_of(ONE).how is None


@needs_root
def test_a_discovery_needs_no_file(tmp_path: Path) -> None:
    """The disk with all files may be on a session that is to be recovered."""
    script = replace(LISTED, profile=LIO, listed=(*LISTED.listed, Listed("\x01\u00e9", ("\x02",))))
    with scripted(script) as there:
        ring = run(discovery_job(portal=there.portal), there, Ring(without_any_file(tmp_path)))
    assert len(names_in(ring)) == 2
    assert ring.ending_of(ONE).how is None


# --- kept ---------------------------------------------------------------------------------------


def keep(there: Station, job: DiscoveryJob | None = None) -> Ring:
    """Start a kept discovery and turn until it has answered."""
    ring = Ring()
    ring.others.append(there.turn)
    ring.start(job or discovery_job(portal=there.portal, keep=True))
    ring.until(lambda: ring.facts != [] and isinstance(ring.facts[-1], DiscoveryCompleted))
    assert ring.facts[-1] == DiscoveryCompleted(ONE, kept=True)
    return ring


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


def test_a_ping_is_answered() -> None:
    with station(lambda: ScriptedTarget(LISTED)) as there:
        ring = keep(there)
        there.say(ping())
        ring.until(lambda: heard(there, NopOut) == 1)
        assert len(ring.keeper) == 1
        ring.keeper.end_all()


def test_a_ping_in_pieces_is_answered() -> None:
    with station(lambda: ScriptedTarget(LISTED)) as there:
        ring = keep(there)
        for octet in ping():
            there.say(bytes([octet]))
            ring.turn()
        ring.until(lambda: heard(there, NopOut) == 1)
        ring.keeper.end_all()


def test_when_the_target_says_that_something_changed_it_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(discovery, "BURST", 0.05)
    with station(lambda: ScriptedTarget(LISTED)) as there:
        ring = keep(there)
        before = names_in(ring)
        there.say(event(AsyncEvent.SCSI_EVENT))
        ring.until(lambda: completions(ring) == 2)
        assert names_in(ring) == before * 2
        assert len(ring.keeper) == 1
        ring.keeper.end_all()


def test_a_burst_of_events_asks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "BURST", 0.3)
    with station(lambda: ScriptedTarget(LISTED)) as there:
        ring = keep(there)
        for _ in range(20):
            there.say(event(AsyncEvent.SCSI_EVENT))
        ring.until(lambda: completions(ring) == 2)
        there.say(ping())
        ring.until(lambda: heard(there, NopOut) == 1)
        assert heard(there, TextRequest) == 2
        ring.keeper.end_all()


def test_the_daemon_can_ask_again_and_several_times_is_once() -> None:
    with station(lambda: ScriptedTarget(LISTED)) as there:
        ring = keep(there)
        ring.keeper.ask_again(ONE)
        ring.until(lambda: completions(ring) == 2)
        there.say(ping())
        ring.until(lambda: heard(there, NopOut) == 1)
        assert heard(there, TextRequest) == 2
        ring.keeper.end_all()


def test_a_target_that_does_not_keep_discovery_sessions_is_no_failure() -> None:
    with station(lambda: ScriptedTarget(LISTED)) as there:
        ring = keep(there)
        there.hang_up()
        ring.until(lambda: len(ring.keeper) == 0)
    assert ring.facts[-2:] == [DiscoveryCompleted(ONE, kept=True), WorkerEnded(ONE)]


def test_a_connection_that_breaks_is_a_failure() -> None:
    with station(lambda: ScriptedTarget(LISTED)) as there:
        ring = keep(there)
        there.hang_up(reset=True)
        ring.until(lambda: len(ring.keeper) == 0)
    failed = ring.facts[-2]
    assert isinstance(failed, DiscoveryFailed)
    assert failed.failure.what == "keeping the discovery session: the connection was reset"
    assert ring.facts[-1] == WorkerEnded(ONE)


@pytest.mark.parametrize(
    "number",
    [AsyncEvent.LOGOUT_REQUESTED, AsyncEvent.CONNECTION_DROPPED, AsyncEvent.SESSION_DROPPED],
)
def test_a_target_that_wants_us_out_gets_a_logout(number: AsyncEvent) -> None:
    with station(lambda: ScriptedTarget(LISTED)) as there:
        ring = keep(there)
        there.say(event(number))
        ring.until(lambda: len(ring.keeper) == 0)
        assert heard(there, LogoutRequest) == 1
    assert ring.facts[-2:] == [DiscoveryCompleted(ONE, kept=True), WorkerEnded(ONE)]


@pytest.mark.parametrize(
    "make",
    [
        lambda: bytes(BHS_LENGTH),
        lambda: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(BHS_LENGTH),
        lambda: b"\x23\x80" + bytes(BHS_LENGTH - 2),
        lambda: b"\x20\x80\0\0\0\xff\xff\xff" + bytes(40),
    ],
)
def test_nonsense_on_a_kept_session_is_one_failure(make: Callable[[], bytes]) -> None:
    with station(lambda: ScriptedTarget(LISTED)) as there:
        ring = keep(there)
        there.say(make())
        ring.until(lambda: len(ring.keeper) == 0)
    assert isinstance(ring.facts[-2], DiscoveryFailed)
    assert ring.facts[-1] == WorkerEnded(ONE)


def test_an_answer_that_breaks_off_later_is_a_failure() -> None:
    with station(lambda: DeafAfter(1)) as there:
        ring = keep(there)
        ring.keeper.ask_again(ONE)
        ring.until(lambda: len(ring.keeper) == 0)
    failed = ring.facts[-2]
    assert isinstance(failed, DiscoveryFailed)
    assert failed.failure.what == "asking for targets: the target closed the connection"


class DeafAfter(ScriptedTarget):
    """Hangs up on the second question."""

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
    with station(lambda: ScriptedTarget(LISTED)) as there:
        ring = keep(there)
        ring.keeper.stop(ONE)
        ring.until(lambda: len(ring.keeper) == 0)
    assert ring.facts[-1] == WorkerEnded(ONE)


def test_a_kept_discovery_whose_daemon_hangs_up_leaves() -> None:
    with station(lambda: ScriptedTarget(LISTED)) as there:
        ring = keep(there)
        ward = ring.keeper._wards[ONE]
        ring.ears.clear()
        ward.listener.close()
        until(lambda: ward.wait() is not None)
