"""Sessions found in the kernel: what cannot be read or understood never ends one."""

from __future__ import annotations

import pytest

from iscsid import facts, orders
from iscsid.facts import KernelSession, TimerPurpose
from iscsid.jobs import LoginJob
from iscsid.orders import DestroySession, Order, StartWorker
from tests.support.harness import (
    DISK,
    HOST,
    OTHER,
    PORTAL,
    Harness,
    configuration,
    kernel_session,
    kinds,
    record,
)

LATER = [
    f"iscsid/2:0:0:80aabbcc0000@{PORTAL}",
    "iscsid:0:0:80aabbcc0000;colour=blue",
    "iscsid-sleeping:0:0:80aabbcc0000",
]


def destroyed(given: list[Order]) -> bool:
    return any(isinstance(order, DestroySession) for order in given)


def test_a_session_whose_connection_cannot_be_read_is_adopted_as_it_is() -> None:
    """On a kernel that does not show the state of a connection, or after one failed read."""
    harness = Harness()
    given = harness.begin(configuration(PORTAL), kernel_session(connection_state=""))
    assert kinds(given) == ["AdoptSession", "ApplyTimeouts", "DiscoveryJob"]
    assert harness.has_logged(DISK, "adopted, up")


@pytest.mark.parametrize("connection_state", ["failed", "bound", "down", None])
def test_a_session_that_is_certainly_broken_is_not_adopted_as_up(
    connection_state: str | None,
) -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL), kernel_session(connection_state=connection_state))
    assert not harness.has_logged(DISK, "adopted, up")


def test_a_session_without_a_name_is_not_removed_while_its_connection_may_be_up() -> None:
    harness = Harness()
    seen = kernel_session(name="", session_tag="", connection_state="", maker_is_gone=True)
    assert not destroyed(harness.begin(configuration(PORTAL), seen))


def test_a_connection_that_cannot_be_read_is_not_taken_as_lost() -> None:
    harness = Harness()
    harness.up()
    harness.wait(TimerPurpose.CHECK_KERNEL)
    assert harness.handle(facts.SessionsFound((kernel_session(connection_state=""),))) == []
    assert not harness.has_logged(DISK, "session is down")


def test_a_session_that_cannot_be_read_is_not_taken_as_lost() -> None:
    """A login would be begun for it, and end it."""
    harness = Harness()
    harness.up()
    harness.wait(TimerPurpose.CHECK_KERNEL)
    assert harness.handle(facts.SessionsFound((), unread=(1,))) == []
    assert not [t for t in harness.timers if t.purpose is TimerPurpose.RETRY_LOGIN]


def test_nothing_is_begun_before_every_session_of_the_kernel_was_read() -> None:
    harness = Harness()
    harness.handle(facts.ConfigurationRead(configuration(PORTAL), HOST), facts.BindingsRead(""))
    assert harness.handle(facts.SessionsFound((), unread=(1,))) == []
    assert kinds(harness.wait(TimerPurpose.CHECK_KERNEL)) == ["ListSessions"]
    given = harness.handle(facts.SessionsFound((kernel_session(),)))
    assert kinds(given) == ["AdoptSession", "ApplyTimeouts", "DiscoveryJob"]


def test_a_session_that_can_never_be_read_does_not_keep_all_others_waiting() -> None:
    harness = Harness()
    harness.handle(facts.ConfigurationRead(configuration(PORTAL), HOST), facts.BindingsRead(""))
    began = harness.now
    while not harness.jobs:
        harness.handle(facts.SessionsFound((), unread=(7,)))
        harness.wait(TimerPurpose.CHECK_KERNEL)
        assert harness.now < began + 60
    assert harness.has_logged("error", "session 7", "cannot be read")


# --- sessions that are left alone -----------------------------------------------------------------


def begin_with(seen: KernelSession) -> Harness:
    harness = Harness()
    given = harness.begin(configuration(PORTAL), seen)
    assert kinds(given) == ["DiscoveryJob"]
    return harness


@pytest.mark.parametrize("session_tag", LATER)
@pytest.mark.parametrize("connection_state", ["up", "failed", "down", None])
def test_a_tag_of_a_later_version_is_left_alone_and_no_login_is_begun_against_it(
    session_tag: str, connection_state: str | None
) -> None:
    seen = kernel_session(session_tag=session_tag, connection_state=connection_state)
    harness = begin_with(seen)
    assert harness.has_logged("error", DISK, "session 1 is left alone", "later version")
    given = harness.discovered(record(), record(OTHER))
    assert [login.login.target_name for login in logins(given)] == [OTHER]
    assert harness.has_logged("warning", DISK, "no login while session 1")
    assert not destroyed(harness.handle(facts.InterruptReceived()))


def test_a_login_begins_once_the_session_that_was_left_alone_is_gone() -> None:
    harness = begin_with(kernel_session(session_tag=LATER[0]))
    harness.discovered(record())
    harness.wait(TimerPurpose.CHECK_KERNEL)
    assert harness.handle(facts.SessionsFound((), unread=(1,))) == []
    harness.wait(TimerPurpose.CHECK_KERNEL)
    assert [job.login.target_name for job in logins(harness.handle(facts.SessionsFound(())))] == [
        DISK
    ]


def test_our_session_whose_portal_cannot_be_read_is_left_alone_and_no_login_is_begun() -> None:
    harness = begin_with(kernel_session(portal=None))
    assert harness.has_logged("error", DISK, "left alone", "its portal cannot be read")
    assert harness.discovered(record()) == []


# --- the initiator's name -------------------------------------------------------------------------


def test_an_adopted_session_is_revived_under_the_name_it_has_in_the_kernel() -> None:
    """Under another name the target takes the old ISID for a new session: its disks fail."""
    old = "iqn.2024-01.org.example:Old-Name"
    harness = Harness()
    seen = kernel_session(state="FAILED", connection_state="failed", initiator_name=old)
    harness.begin(configuration(PORTAL), seen)
    harness.wait(TimerPurpose.RETRY_LOGIN)
    (login,) = logins(harness.handle(facts.CmdSnLearned(1, 9)))
    assert login.login.initiator_name == old
    assert login.login.isid == bytes.fromhex("80aabbcc0000")
    (resume,) = harness.logged_in()
    assert isinstance(resume, orders.ResumeSession)
    assert resume.description.initiator_name == old


def logins(given: list[Order]) -> list[LoginJob]:
    jobs = [order.job for order in given if isinstance(order, StartWorker)]
    return [job for job in jobs if isinstance(job, LoginJob)]


@pytest.mark.parametrize("target_state", ["UNBINDING", "UNBOUND"])
def test_disks_that_an_earlier_daemon_was_removing_get_no_links(target_state: str) -> None:
    """The kernel goes on with that, and their names may be other disks' at any moment."""
    harness = Harness()
    harness.begin(configuration(PORTAL), kernel_session(target_state=target_state))
    disk = facts.Device(path="/sys/a/sda", sid=1, lun=0, link="disk", node="/dev/sda")
    assert harness.handle(facts.DeviceAppeared(disk)) == []
