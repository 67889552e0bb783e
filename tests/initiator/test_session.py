"""One session and what changes around it: names, settings, SIGHUP at the wrong moment, its end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from iscsid import facts, orders
from iscsid.config.configuration import Configuration
from iscsid.errors import Failure, Retry
from iscsid.facts import Device, DeviceAppeared, Fact, TimerPurpose
from iscsid.initiator.isid import session_isid
from iscsid.initiator.offers import kernel_timeouts
from iscsid.jobs import DiscoveryJob, LoginJob
from iscsid.orders import Order, StartWorker
from iscsid.protocol.names import IscsiName
from iscsid.protocol.parameters import Digest
from iscsid.protocol.vpd import ReplacedLun
from tests.support.harness import (
    DISK,
    HOST,
    PORTAL,
    SECOND,
    ZERO,
    Harness,
    configuration,
    kernel_session,
    kinds,
    record,
    settings,
)

CORRECTED = IscsiName("iqn.2024-01.org.example:corrected")
REFUSED = Failure(Retry.SOON, "connection refused")
FINAL = Failure(Retry.NEVER, "the target was removed")
DISK_1 = Device(path="/sys/a/sda", sid=1, lun=1, link="disk", node="/dev/sda", wwid="naa.1")
LOGOUT_RESPONSE = bytes([0x26, 0x80, *bytes(46)])
WITH_DIGESTS = settings(header_digest=settings().header_digest.ALWAYS)


def logins(given: list[Order]) -> list[LoginJob]:
    jobs = [order.job for order in given if isinstance(order, StartWorker)]
    return [job for job in jobs if isinstance(job, LoginJob)]


def reload(
    harness: Harness, configured: Configuration, name: IscsiName = HOST, alias: str = ""
) -> list[Order]:
    """SIGHUP, with this name in the file."""
    harness.handle(facts.HangupReceived())
    return harness.handle(
        facts.BindingsRead(harness.bindings), facts.ConfigurationRead(configured, name, alias)
    )


def logging_in() -> Harness:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    harness.discovered(record())
    return harness


def logging_in_again() -> Harness:
    """A session that the kernel keeps is logging in."""
    harness = Harness()
    harness.up()
    harness.now += 100
    harness.handle(facts.ConnectionLost(1, "reset"))
    harness.wait(TimerPurpose.RETRY_LOGIN)
    harness.handle(facts.CmdSnLearned(1, 9))
    return harness


# --- names --------------------------------------------------------------------------------------


def test_a_corrected_initiator_name_reaches_a_session_that_is_not_up() -> None:
    harness = logging_in()
    harness.handle(facts.LoginFailed(harness.job, FINAL), facts.WorkerEnded(harness.job))
    (login,) = logins(reload(harness, configuration(PORTAL), CORRECTED, "alias"))
    assert (login.login.initiator_name, login.login.initiator_alias) == (CORRECTED, "alias")
    assert login.login.isid == session_isid(CORRECTED, ZERO)


def test_a_login_that_is_under_way_begins_again_with_the_corrected_name() -> None:
    harness = logging_in()
    first = harness.job
    given = reload(harness, configuration(PORTAL), CORRECTED)
    assert orders.StopWorker(first) in given
    (login,) = logins(given)
    assert login.login.initiator_name == CORRECTED
    harness.logged_in()
    (start,) = (o for o in harness.given if isinstance(o, orders.StartSession))
    assert start.description.initiator_name == CORRECTED


def test_a_session_in_the_kernel_keeps_its_name_there_and_takes_the_alias() -> None:
    harness = logging_in_again()
    first = harness.job
    given = reload(harness, configuration(PORTAL), CORRECTED, "alias")
    assert orders.StopWorker(first) in given, "the login goes on without the alias"
    (login,) = logins(harness.handle(facts.CmdSnLearned(1, 9)))
    assert (login.login.initiator_name, login.login.initiator_alias) == (HOST, "alias")
    assert login.login.isid == session_isid(HOST, ZERO)


def test_a_session_that_the_kernel_has_lost_begins_anew_with_the_name_of_the_file() -> None:
    harness = Harness()
    harness.up()
    reload(harness, configuration(PORTAL), CORRECTED)
    harness.handle(facts.SessionDestroyed(1))
    (login,) = logins(harness.wait(TimerPurpose.RETRY_LOGIN))
    assert login.login.initiator_name == CORRECTED
    assert login.login.isid == session_isid(CORRECTED, ZERO)


# --- settings -----------------------------------------------------------------------------------


def test_settings_that_change_during_a_login_begin_it_again() -> None:
    harness = logging_in()
    first = harness.job
    given = harness.reload(configuration(PORTAL, settings=WITH_DIGESTS))
    assert orders.StopWorker(first) in given
    (login,) = logins(given)
    assert login.login.offer.header_digest == (Digest.CRC32C,)


def test_a_login_whose_settings_have_not_changed_goes_on() -> None:
    harness = logging_in()
    assert kinds(harness.reload(configuration(PORTAL))) == ["DiscoveryJob"]


def test_settings_that_change_while_the_kernel_starts_a_session_get_a_new_login() -> None:
    harness = logging_in()
    harness.logged_in()
    harness.reload(configuration(PORTAL, settings=WITH_DIGESTS))
    given = harness.handle(facts.SessionStarted(ZERO, 1, 2))
    assert kinds(given) == ["SendLogout"], "it stays up with the old settings"
    assert harness.has_logged(DISK, "need a new login")


def test_settings_that_change_while_the_kernel_resumes_a_session_get_a_new_login() -> None:
    harness = logging_in_again()
    harness.logged_in()
    harness.reload(configuration(PORTAL, settings=WITH_DIGESTS))
    assert kinds(harness.handle(facts.SessionStarted(ZERO, 1, 2))) == ["SendLogout"]


def test_settings_that_change_during_the_login_of_a_kept_session_begin_it_again() -> None:
    harness = logging_in_again()
    first = harness.job
    given = harness.reload(configuration(PORTAL, settings=WITH_DIGESTS))
    assert orders.StopWorker(first) in given and orders.LearnCmdSn(1) in given
    (login,) = logins(harness.handle(facts.CmdSnLearned(1, 10)))
    assert login.login.offer.header_digest == (Digest.CRC32C,)
    assert login.login.cmd_sn == 10


def test_settings_that_change_back_while_the_kernel_starts_a_session_need_no_new_login() -> None:
    harness = logging_in()
    harness.logged_in()
    harness.reload(configuration(PORTAL, settings=WITH_DIGESTS))
    harness.reload(configuration(PORTAL))
    assert "SendLogout" not in kinds(harness.handle(facts.SessionStarted(ZERO, 1, 2)))


def test_timeouts_that_change_while_the_kernel_starts_a_session_reach_it() -> None:
    harness = logging_in()
    harness.logged_in()
    longer = settings(conn_fail_timeout=90)
    harness.reload(configuration(PORTAL, settings=longer))
    given = harness.handle(facts.SessionStarted(ZERO, 1, 2))
    assert orders.ApplyTimeouts(1, kernel_timeouts(longer)) in given


# --- SIGHUP during an attempt -------------------------------------------------------------------


def test_sighup_during_a_login_that_then_fails_for_good_is_not_forgotten() -> None:
    harness = logging_in()
    harness.reload(configuration(PORTAL))
    login = next(job for job in harness.jobs if isinstance(job, LoginJob))
    harness.handle(facts.LoginFailed(login.id, FINAL), facts.WorkerEnded(login.id))
    assert not harness.has_logged("giving up")
    assert kinds(harness.wait(TimerPurpose.RETRY_LOGIN)) == ["LoginJob"]
    harness.handle(facts.LoginFailed(harness.job, FINAL), facts.WorkerEnded(harness.job))
    assert harness.has_logged(DISK, "giving up until SIGHUP")
    assert not [t for t in harness.timers if t.purpose is TimerPurpose.RETRY_LOGIN]


def test_sighup_before_a_login_begins_is_answered_by_that_login() -> None:
    harness = logging_in()
    harness.handle(facts.LoginFailed(harness.job, FINAL), facts.WorkerEnded(harness.job))
    harness.reload(configuration(PORTAL))
    login = next(job for job in reversed(harness.jobs) if isinstance(job, LoginJob))
    harness.handle(facts.LoginFailed(login.id, FINAL), facts.WorkerEnded(login.id))
    assert not [t for t in harness.timers if t.purpose is TimerPurpose.RETRY_LOGIN]


def test_sighup_during_a_discovery_that_then_fails_for_good_is_not_forgotten() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    first = harness.job
    assert harness.reload(configuration(PORTAL)) == []
    given = harness.handle(facts.DiscoveryFailed(first, FINAL))
    assert kinds(given) == ["DiscoveryJob"]
    assert not harness.has_logged("giving up")
    assert harness.handle(facts.WorkerEnded(first)) == []
    given = harness.handle(facts.DiscoveryFailed(harness.job, FINAL))
    assert given == [] and harness.has_logged("giving up until SIGHUP")


# --- disks that are not what they were ----------------------------------------------------------

EXCHANGED = Failure(Retry.LATER, "LUN 1: another logical unit than before answers here")
KNOWN = ((1, b"page"),)
NOW = (ReplacedLun(1, bytes(32)),)


def blocked() -> Harness:
    """A session whose disk answers with another identity since the target failed over."""
    harness = Harness()
    harness.up()
    harness.handle(DeviceAppeared(DISK_1), facts.ConnectionLost(1, "reset"))
    harness.wait(TimerPurpose.RETRY_LOGIN)
    harness.handle(facts.CmdSnLearned(1, 9, KNOWN))
    harness.handle(facts.LoginFailed(harness.job, EXCHANGED, NOW), facts.WorkerEnded(harness.job))
    return harness


def test_sighup_accepts_the_identity_that_was_refused_and_nothing_else() -> None:
    harness = blocked()
    harness.wait(TimerPurpose.RETRY_LOGIN)
    (login,) = logins(harness.handle(facts.CmdSnLearned(1, 9, KNOWN)))
    assert (login.identities, login.accepted) == (KNOWN, ()), "accepted without a word"
    harness.handle(facts.LoginFailed(harness.job, EXCHANGED, NOW), facts.WorkerEnded(harness.job))
    harness.reload(configuration(PORTAL))
    assert harness.has_logged(DISK, "SIGHUP accepts the identity that LUN 1 has now")
    (login,) = logins(harness.handle(facts.CmdSnLearned(1, 9, KNOWN)))
    assert (login.identities, login.accepted) == (KNOWN, NOW)


def test_sighup_accepts_nothing_of_a_session_that_was_only_unreachable() -> None:
    harness = logging_in_again()
    harness.handle(facts.LoginFailed(harness.job, REFUSED), facts.WorkerEnded(harness.job))
    harness.reload(configuration(PORTAL))
    (login,) = logins(harness.handle(facts.CmdSnLearned(1, 9, KNOWN)))
    assert (login.identities, login.accepted) == (KNOWN, ())


def test_sighup_accepts_nothing_of_a_session_that_the_kernel_has_lost() -> None:
    harness = blocked()
    harness.handle(facts.SessionDestroyed(1))
    (login,) = logins(harness.reload(configuration(PORTAL)))
    assert (login.identities, login.accepted) == ((), ())
    assert not harness.has_logged("SIGHUP accepts")


def test_the_links_of_an_accepted_disk_need_no_second_sighup() -> None:
    harness = blocked()
    harness.reload(configuration(PORTAL))
    harness.handle(facts.CmdSnLearned(1, 9, KNOWN))
    harness.logged_in()
    harness.handle(facts.SessionStarted(ZERO, 1, 2))
    given = harness.handle(DeviceAppeared(replace(DISK_1, wwid="naa.2")))
    assert "RemoveLink" not in kinds(given)
    given = harness.handle(DeviceAppeared(replace(DISK_1, wwid="naa.3")))
    assert "RemoveLink" in kinds(given), "whatever comes later is accepted, too"


# --- refusals and the end -----------------------------------------------------------------------


def test_an_unwanted_session_whose_start_the_kernel_refuses_is_forgotten() -> None:
    harness = logging_in()
    harness.logged_in()
    harness.reload(configuration())
    harness.handle(facts.SessionRefused(ZERO, REFUSED))
    assert not list(harness.initiator.reconciler.sessions)
    assert harness.handle(facts.InterruptReceived()) == [orders.Leave(0)]


def test_a_target_that_returns_after_the_kernel_refused_its_start_is_logged_in() -> None:
    harness = logging_in()
    harness.logged_in()
    harness.reload(configuration())
    harness.handle(facts.SessionRefused(ZERO, REFUSED))
    harness.reload(configuration(PORTAL))
    assert kinds(harness.discovered(record())) == ["LoginJob"]


def test_a_refused_change_of_a_timeout_is_not_the_reason_of_a_later_logout() -> None:
    harness = Harness()
    harness.up()
    harness.reload(configuration(PORTAL, settings=settings(conn_fail_timeout=90)))
    refused = Failure(Retry.SOON, "the kernel refused to set a parameter")
    harness.handle(facts.TimeoutsRefused(1, refused))
    assert harness.has_logged("warning", DISK, "timeouts", "refused to set a parameter")
    harness.handle(facts.PduReceived(1, bytes([0x32, 0x80, *bytes(34), 1, *bytes(11)]), b""))
    harness.handle(facts.PduReceived(1, LOGOUT_RESPONSE, b""))
    assert harness.has_logged("session is down: logged out to log in again")
    (session,) = harness.initiator.reconciler.sessions
    assert session.last_failure is None


@pytest.mark.parametrize(
    "late", [facts.RequestRefused(1, REFUSED), facts.CmdSnNotLearned(1, REFUSED)]
)
def test_a_refusal_that_means_nothing_any_more_is_not_shown_as_the_last_error(late: Fact) -> None:
    harness = Harness()
    harness.up()
    harness.handle(late)
    (session,) = harness.initiator.reconciler.sessions
    assert session.last_failure is None


def test_a_session_begun_afresh_has_not_been_scanned_yet() -> None:
    """Whatever waits for its disks waits for the new scan."""
    harness = Harness()
    harness.up()
    harness.reload(configuration(PORTAL))
    scan = harness.job
    (session,) = harness.initiator.reconciler.sessions
    assert session.lun_scanner.has_finished
    assert orders.StopWorker(scan) in harness.handle(facts.SessionDestroyed(1))
    assert not session.lun_scanner.has_finished
    harness.wait(TimerPurpose.RETRY_LOGIN)
    harness.logged_in()
    given = harness.handle(facts.SessionStarted(ZERO, 2, 3))
    assert kinds(given) == ["ScanJob"], "the scan of the former session is still waited for"


def test_a_full_bindings_table_leaves_the_running_sessions_of_the_target_alone() -> None:
    """One new path gets no number; the paths that have theirs stay."""
    multipath = settings(multipath=settings().multipath.PORTAL)
    configured = configuration(PORTAL, settings=multipath)
    full = "".join(f"{bus} 0 iqn.2024-01.org.example:b{bus}\n" for bus in range(1, 256))
    harness = Harness()
    tag = f"iscsid:0:0:80aabbcc0000/{PORTAL}@{PORTAL}"
    harness.begin(
        configured, kernel_session(session_tag=tag), bindings=f"0 0 {DISK} {PORTAL}\n{full}# end\n"
    )
    job = next(job for job in harness.jobs if isinstance(job, DiscoveryJob))
    given = harness.handle(
        facts.TargetDiscovered(job.id, record(DISK, PORTAL, SECOND)),
        facts.DiscoveryCompleted(job.id),
    )
    assert given == [], "the running path is given up"
    assert harness.has_logged(DISK, "no persistent number is left", "at 192.0.2.2")


DOUBT = ("could not be checked: no answer within 30 seconds",)


def test_a_check_of_disks_that_found_out_nothing_is_made_again() -> None:
    """A busy machine gave no answer in time, and the session stayed until the next SIGHUP."""
    harness = Harness()
    harness.up()
    harness.reload(configuration())
    harness.handle(facts.DiskUsersChecked(1, DOUBT))
    assert harness.has_logged(DISK, "no answer within 30 seconds")
    pauses = []
    for _ in range(8):
        before = harness.now
        assert kinds(harness.wait(TimerPurpose.CHECK_DISKS)) == ["CheckDiskUsers"]
        pauses.append(harness.now - before)
        harness.handle(facts.DiskUsersChecked(1, DOUBT))
    assert pauses[0] <= 1 and 45 <= pauses[-1] <= 60
    harness.wait(TimerPurpose.CHECK_DISKS)
    assert "UnbindSession" in kinds(harness.handle(facts.DiskUsersChecked(1, ())))


def test_disks_that_are_in_use_for_certain_are_not_checked_again_and_again() -> None:
    harness = Harness()
    harness.up()
    harness.reload(configuration())
    harness.handle(facts.DiskUsersChecked(1, ("/dev/sda is mounted on /data", *DOUBT)))
    assert not any(timer.purpose is TimerPurpose.CHECK_DISKS for timer in harness.timers)
