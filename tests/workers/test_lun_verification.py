"""Logins of sessions that come back, against targets whose disks are the same or others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from iscsid.errors import Retry
from iscsid.facts import LoginFailed
from iscsid.jobs import LoginJob
from iscsid.orders import Level
from iscsid.protocol.lun_identity import QUESTIONS, SPARE
from iscsid.protocol.names import Portal
from iscsid.protocol.pdu import LogoutRequest, RawPdu
from iscsid.protocol.vpd import LunIdentity
from tests.support.attempt_harness import ONE, failure_of, run, success_of
from tests.support.jobs import IMPATIENT, login_job
from tests.support.scripted_portal import loopback_portal, scripted
from tests.support.supervisor_harness import WorkersHarness
from tests.target.script import Script
from tests.target.scripted import ScriptedTarget
from tests.target.scsi import identification_page, serial

SAME: tuple[LunIdentity, ...] = tuple((lun, identification_page(serial(lun))) for lun in (0, 1))
OTHERS = Script(serials={1: "ANOTHER DISK"})


def job_at(portal: Portal, identities: tuple[LunIdentity, ...] = SAME, cmd_sn: int = 1) -> LoginJob:
    job = login_job(portal=portal, timeouts=IMPATIENT)
    return replace(job, login=replace(job.login, cmd_sn=cmd_sn), identities=identities)


def received_after_the_login(target: ScriptedTarget) -> list[object]:
    return [each.pdu for each in target.received[len(target.login_requests) :]]


@pytest.mark.parametrize("cmd_sn", [0, 1, 0xFFFFFFFF])
def test_a_session_with_the_same_disks_is_handed_over_with_the_kernels_numbers(cmd_sn: int) -> None:
    with scripted() as there:
        harness = run(job_at(there.portal, cmd_sn=cmd_sn), there)
        succeeded = success_of(harness)
        (target,) = there.targets
        commands = received_after_the_login(target)
        assert len(commands) == 2 * QUESTIONS + SPARE and all(
            isinstance(each, RawPdu) for each in commands
        )
        assert succeeded.result.cmd_sn == cmd_sn
        assert succeeded.result.exp_stat_sn == target.login.stat_sn
        with harness.supervisor.take_socket(ONE) as connection:
            assert connection.gettimeout() is None


def test_another_disk_is_left_alone_and_the_session_logged_out() -> None:
    with scripted(OTHERS) as there:
        harness = run(job_at(there.portal), there)
        failure = failure_of(harness)
        assert failure.retry is Retry.LATER
        assert failure.what == (
            "LUN 1: another logical unit than before answers here: "
            "it was 't10.ISCSID  SCRIPTED0001' and is 't10.ISCSID  ANOTHER DISK'"
        )
        assert isinstance(received_after_the_login(there.targets[0])[-1], LogoutRequest)


def test_the_other_disk_is_reported_and_handed_over_once_it_is_accepted() -> None:
    with scripted(OTHERS) as there:
        harness = run(job_at(there.portal), there)
        failed = next(fact for fact in harness.facts if isinstance(fact, LoginFailed))
        assert [each.lun for each in failed.replaced] == [1]
    with scripted(OTHERS) as there:
        job = replace(job_at(there.portal), accepted=failed.replaced)
        success_of(harness := run(job, there))
        harness.supervisor.close_socket(ONE)


def test_a_missing_disk_is_waited_for() -> None:
    with scripted(Script(luns=(0,))) as there:
        failure = failure_of(run(job_at(there.portal), there))
    assert failure.retry is Retry.SOON
    assert failure.what.startswith("LUN 1: no logical unit answers here any more")


def test_disks_without_a_name_are_not_asked() -> None:
    with scripted(OTHERS) as there:
        nameless = ((0, b""), (1, b"\0\x83\0\0"))
        success_of(harness := run(job_at(there.portal, nameless), there))
        assert received_after_the_login(there.targets[0]) == []
        harness.supervisor.close_socket(ONE)


def test_a_target_that_falls_silent_after_the_login_is_given_up() -> None:
    class Silent(ScriptedTarget):
        def data_to_send(self) -> bytes:
            return (
                b"" if self.login.is_through and len(self.received) > 2 else super().data_to_send()
            )

    with loopback_portal(Silent) as there:
        failure = failure_of(run(job_at(there.portal), there))
    assert failure.what.startswith("asking the LUNs what they are: no answer within 1 s")


def test_success_is_reported_where_it_is_wanted() -> None:
    with scripted() as there:
        harness = run(job_at(there.portal), there, harness=WorkersHarness(level=Level.DEBUG))
        harness.supervisor.close_socket(ONE)
    assert "2 LUNs are what they were" in harness.lines
