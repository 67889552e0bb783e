"""What the facts of a trial add up to."""

from __future__ import annotations

from iscsid.errors import Failure, Retry
from iscsid.facts import (
    DiscoveryCompleted,
    DiscoveryFailed,
    Fact,
    LoginFailed,
    LoginSucceeded,
    TargetDiscovered,
    WorkerEnded,
)
from iscsid.jobs import JobId
from iscsid.login_check.report import Result
from iscsid.protocol.names import DiscoveryRecord, IscsiName, Portal
from iscsid.protocol.parameters import Isid, LoginResult

ONE = JobId(1)
RECORD = DiscoveryRecord(IscsiName("iqn.2003-02.org.example:red"), ())
REFUSED = Failure(Retry.SOON, "connection refused")
KILLED = Failure(Retry.SOON, "the worker was killed")
SUCCESS = LoginSucceeded(
    ONE, LoginResult(isid=Isid(bytes(6)), tsih=1, cmd_sn=1, exp_stat_sn=1), Portal("192.0.2.1")
)


def after(*facts: Fact) -> Result:
    result = Result()
    for fact in facts:
        assert not result.is_over
        result.take(fact)
    return result


def test_a_job_is_over_when_its_child_is_gone() -> None:
    assert not after(SUCCESS).is_over
    result = after(SUCCESS, WorkerEnded(ONE))
    assert (result.is_over, result.success, result.failure) == (True, SUCCESS, None)


def test_a_failure_is_the_child_s_own_word_and_else_its_end() -> None:
    assert after(LoginFailed(ONE, REFUSED), WorkerEnded(ONE)).failure == REFUSED
    assert after(DiscoveryFailed(ONE, REFUSED), WorkerEnded(ONE, KILLED)).failure == REFUSED
    assert after(WorkerEnded(ONE, KILLED)).failure == KILLED


def test_a_discovery_brings_records_and_notes() -> None:
    completed = DiscoveryCompleted(ONE, notes=("skipped 0.0.0.0",), skipped=3)
    result = after(TargetDiscovered(ONE, RECORD), completed, WorkerEnded(ONE))
    assert (result.records, result.notes) == ([RECORD], ["skipped 0.0.0.0"])
    assert result.skipped == 3
