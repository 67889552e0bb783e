"""A discovery that is asked once, against targets behind real sockets; the test is the daemon."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from iscsid.facts import DiscoveryCompleted, DiscoveryFailed, TargetDiscovered, WorkerEnded
from iscsid.orders import Level
from iscsid.protocol.codes import Opcode
from iscsid.protocol.names import DiscoveryRecord, Portal, TargetAddress
from iscsid.protocol.pdu import LogoutRequest
from iscsid.workers import discovery_worker
from tests.support.attempt_harness import ONE, needs_root, run, without_any_file
from tests.support.discovery_fixtures import LISTED, names_in
from tests.support.jobs import TARGET, discovery_job
from tests.support.scripted_portal import loopback_portal, scripted
from tests.support.supervisor_harness import WorkersHarness
from tests.target.profile import LIO, PROFILES, Profile
from tests.target.script import Listed, Script
from tests.target.scripted import ScriptedTarget


def test_every_target_is_reported_then_the_end_and_the_session_is_logged_out() -> None:
    with scripted(LISTED) as there:
        harness = run(discovery_job(portal=there.portal), there)
        assert harness.facts == [
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
        assert isinstance(there.targets[0].received[-1].pdu, LogoutRequest)


def test_the_trace_shows_every_pdu_of_a_discovery() -> None:
    """ "Also the exchange with the target as it goes, until the kernel takes over: every PDU" """
    with scripted(LISTED) as there:
        harness = run(
            discovery_job(portal=there.portal), there, harness=WorkersHarness(level=Level.DEBUG)
        )
    passed = [line.split(",")[0] for line in harness.lines if line[:2] in ("> ", "< ")]
    pdus = [line for line in passed if "=" not in line]
    assert pdus[-4:] == [
        "> text request",
        "< text response",
        "> logout request",
        "< logout response",
    ]
    assert "> login request" in pdus and "< login response" in pdus
    assert ">     SessionType=Discovery" in passed
    (answer,) = (line for line in harness.lines if line.startswith("< text response"))
    assert re.search(r", ITT 0x1, StatSN \d+, ExpCmdSN \d+, MaxCmdSN \d+, \d+ octets$", answer)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_thousand_targets_are_all_reported_however_the_answer_is_cut(profile: Profile) -> None:
    listed = tuple(
        Listed(f"iqn.2024-01.org.example:t{number}", ("192.0.2.1:3260,1",))
        for number in range(1000)
    )
    with scripted(Script(profile=profile, listed=listed)) as there:
        harness = run(discovery_job(portal=there.portal), there)
    assert sorted(names_in(harness)) == sorted(each.name for each in listed)
    assert harness.facts[-2:] == [DiscoveryCompleted(ONE), WorkerEnded(ONE)]


def test_an_empty_answer_is_an_answer() -> None:
    with scripted() as there:
        harness = run(discovery_job(portal=there.portal), there)
    assert harness.facts == [DiscoveryCompleted(ONE), WorkerEnded(ONE)]


def test_what_was_skipped_is_noted() -> None:
    script = Script(listed=(Listed("../../etc/passwd"), Listed(TARGET, ("0.0.0.0:3260,1",))))
    with scripted(script) as there:
        harness = run(discovery_job(portal=there.portal), there)
    (completed,) = (fact for fact in harness.facts if isinstance(fact, DiscoveryCompleted))
    assert any("etc/passwd" in note for note in completed.notes)
    assert any("0.0.0.0" in note for note in completed.notes)


def test_a_refused_discovery_is_one_failed_attempt() -> None:
    with scripted(Script(statuses={0: 0x0201})) as there:
        failed, ended = run(discovery_job(portal=there.portal), there).facts
    assert isinstance(failed, DiscoveryFailed)
    assert "authentication required" in failed.failure.what
    assert ended == WorkerEnded(ONE)


class DoesNotAnswer(ScriptedTarget):
    """Does not answer PDUs of one kind, or hangs up."""

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
    monkeypatch.setattr(discovery_worker, "LOGOUT", 0.2)
    with loopback_portal(lambda: DoesNotAnswer(Opcode.LOGOUT_REQUEST, hangs_up=hangs_up)) as there:
        harness = run(discovery_job(portal=there.portal), there)
    assert harness.facts[-2:] == [DiscoveryCompleted(ONE), WorkerEnded(ONE)]
    assert any(line.startswith("logging out: ") for line in harness.lines)


@needs_root
def test_a_discovery_needs_no_file(tmp_path: Path) -> None:
    """The disk with all files may be on a session that is to be recovered."""
    script = replace(LISTED, profile=LIO, listed=(*LISTED.listed, Listed("\x01\u00e9", ("\x02",))))
    with scripted(script) as there:
        harness = run(
            discovery_job(portal=there.portal),
            there,
            harness=WorkersHarness(confine=without_any_file(tmp_path)),
        )
    assert len(names_in(harness)) == 2
    assert harness.ending_of(ONE).how is None
