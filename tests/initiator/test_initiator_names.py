"""An InitiatorName below a DiscoveryAddress or TargetName is this machine's name there alone."""

from __future__ import annotations

from iscsid import facts, orders
from iscsid.config.configuration import Configuration, parse_configuration
from iscsid.errors import Failure, Retry
from iscsid.facts import TimerPurpose
from iscsid.initiator.isid import discovery_isid, session_isid
from iscsid.jobs import DiscoveryJob, LoginJob
from iscsid.protocol.names import IscsiName
from tests.support.harness import (
    DISK,
    HOST,
    OTHER,
    PORTAL,
    ZERO,
    Harness,
    kernel_session,
    kinds,
    record,
)

THERE = IscsiName("iqn.2024-01.org.example:Host-There")
FOR_DISK = IscsiName("iqn.2024-01.org.example:host-for-disk")


def configured(*, there: str = "", for_disk: str = "") -> Configuration:
    lines = [f"DiscoveryAddress={PORTAL}", *([f"  InitiatorName={there}"] if there else [])]
    if for_disk:
        lines += [f"TargetName={DISK}", f"  InitiatorName={for_disk}"]
    return parse_configuration("\n".join(lines), "f")


def logins(harness: Harness) -> list[LoginJob]:
    return [job for job in harness.jobs if isinstance(job, LoginJob)]


def test_it_is_sent_in_discovery_and_to_the_targets_found_there() -> None:
    harness = Harness()
    harness.begin(configured(there=THERE, for_disk=FOR_DISK))
    (discovery,) = harness.jobs
    assert isinstance(discovery, DiscoveryJob)
    assert discovery.login.initiator_name == THERE
    assert discovery.login.isid == discovery_isid(THERE, PORTAL)
    harness.discovered(record(), record(OTHER))
    assert {job.login.target_name: job.login.initiator_name for job in logins(harness)} == {
        DISK: FOR_DISK,
        OTHER: THERE,
    }
    disk = next(job for job in logins(harness) if job.login.target_name == DISK)
    assert disk.login.isid == session_isid(FOR_DISK, ZERO)


def test_the_kernel_gets_it_with_the_session() -> None:
    harness = Harness()
    harness.begin(configured(for_disk=FOR_DISK))
    harness.discovered(record())
    (start,) = harness.logged_in()
    assert isinstance(start, orders.StartSession)
    assert start.description.initiator_name == FOR_DISK


def test_a_change_reaches_a_session_that_waits_for_its_next_login() -> None:
    harness = Harness()
    harness.begin(configured(for_disk=FOR_DISK))
    harness.discovered(record())
    refused = Failure(Retry.NEVER, "authorization failure (status 0202)")
    harness.handle(facts.LoginFailed(harness.job, refused), facts.WorkerEnded(harness.job))
    harness.reload(configured(for_disk=THERE))
    assert logins(harness)[-1].login.initiator_name == THERE
    assert logins(harness)[-1].login.isid == session_isid(THERE, ZERO)


def test_a_change_begins_a_login_again_that_is_under_way() -> None:
    harness = Harness()
    harness.begin(configured())
    harness.discovered(record())
    assert logins(harness)[-1].login.initiator_name == HOST
    harness.reload(configured(there=THERE))
    assert [job.login.initiator_name for job in logins(harness)] == [HOST, THERE]


def test_a_session_that_is_up_keeps_its_name_until_the_kernel_has_it_no_more() -> None:
    harness = Harness()
    harness.begin(configured(for_disk=FOR_DISK))
    harness.discovered(record())
    harness.logged_in()
    harness.handle(facts.SessionStarted(ZERO, 1, 2))
    given = harness.reload(configured(for_disk=THERE))
    assert "SendLogout" not in kinds(given)
    assert harness.has_logged("warning", DISK, "the running session keeps the old one")
    assert sum("keeps the old one" in line for line in harness.log) == 1
    harness.handle(facts.ConnectionLost(1, "closed"))
    harness.wait(TimerPurpose.RETRY_LOGIN)
    harness.handle(facts.CmdSnLearned(1, 9))
    assert logins(harness)[-1].login.initiator_name == FOR_DISK
    harness.handle(facts.SessionDestroyed(1))
    harness.wait(TimerPurpose.RETRY_LOGIN)
    assert logins(harness)[-1].login.initiator_name == THERE


def test_an_adopted_session_keeps_the_name_that_the_kernel_shows() -> None:
    harness = Harness()
    seen = kernel_session(state="FAILED", connection_state="failed", initiator_name=FOR_DISK)
    harness.begin(configured(for_disk=THERE), seen)
    harness.wait(TimerPurpose.RETRY_LOGIN)
    harness.handle(facts.CmdSnLearned(1, 9))
    assert logins(harness)[-1].login.initiator_name == FOR_DISK
