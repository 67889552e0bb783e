"""Stories of the owner, to be read from top to bottom: what it is told, and what it orders."""

from __future__ import annotations

from typing import get_args

import pytest

from iscsid import facts, orders
from iscsid.binding import Binding
from iscsid.config.settings import StaticTarget
from iscsid.errors import Decision, Failure
from iscsid.facts import Fact, Timer, TimerPurpose
from iscsid.jobs import DiscoveryJob, JobId, LoginJob, ScanJob
from iscsid.orders import Order, StartWorker
from iscsid.protocol.names import TargetAddress
from tests.initiator.stage import (
    DISK,
    OTHER,
    PORTAL,
    SECOND,
    ZERO,
    Stage,
    configuration,
    kernel_session,
    record,
    settings,
)

REFUSED = Failure(Decision.RETRY, "connection refused")
FINAL = Failure(Decision.GIVE_UP, "the target was removed")


def kinds(given: list[Order]) -> list[str]:
    """Return the kinds of orders; of a StartWorker, the kind of job."""
    return [type(o.job if isinstance(o, StartWorker) else o).__name__ for o in given]


def test_every_fact_has_somebody_who_hears_it() -> None:
    stage = Stage()
    assert set(get_args(Fact)) == set(stage.owner._handlers)


def test_from_the_configuration_to_disks() -> None:
    stage = Stage()
    given = stage.begin(configuration(PORTAL))
    assert kinds(given) == ["DiscoveryJob"]
    given = stage.discovered(record())
    assert kinds(given) == ["LoginJob"]
    assert f"0\t0\t{DISK}" in stage.bindings.splitlines()
    given = stage.logged_in()
    assert kinds(given) == ["StartSession"]
    (start,) = given
    assert isinstance(start, orders.StartSession)
    assert start.description.marker.startswith("iscsid:0:0:")
    assert start.description.exp_stat_sn == 5
    given = stage.tell(facts.SessionStarted(ZERO, 1, 2))
    assert kinds(given) == ["ScanJob"]
    assert stage.said(DISK, "session is up")


def test_nothing_is_started_before_the_kernels_sessions_are_known() -> None:
    stage = Stage()
    assert stage.tell(facts.ConfigurationRead(configuration(PORTAL), DISK)) == []
    assert stage.tell(facts.BindingsRead("")) == []


def test_a_login_that_fails_makes_nothing_in_the_kernel_and_is_tried_again() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    stage.discovered(record())
    assert stage.tell(facts.LoginFailed(stage.job, REFUSED), facts.WorkerEnded(stage.job)) == []
    assert stage.said(DISK, str(PORTAL), "connection refused")
    assert kinds(stage.wait(TimerPurpose.RETRY_LOGIN)) == ["LoginJob"]


def test_a_child_that_dies_is_one_failed_attempt_of_one_target() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    given = stage.discovered(record(), record(OTHER))
    assert kinds(given) == ["LoginJob", "LoginJob"]
    killed = Failure(Decision.RETRY, "the child was killed by SIGSEGV")
    first = given[0]
    assert isinstance(first, StartWorker)
    assert stage.tell(facts.WorkerEnded(first.job.job, killed)) == []
    assert stage.said(DISK, "SIGSEGV") and not stage.said(OTHER, "SIGSEGV")
    assert kinds(stage.wait(TimerPurpose.RETRY_LOGIN)) == ["LoginJob"]


def test_a_final_refusal_waits_for_sighup() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    stage.discovered(record())
    stage.tell(facts.LoginFailed(stage.job, FINAL))
    assert not [t for t in stage.timers if t.purpose is TimerPurpose.RETRY_LOGIN]
    assert stage.said(DISK, "giving up until SIGHUP")
    assert "LoginJob" in kinds(stage.reload(configuration(PORTAL)))


def test_recovery_learns_the_cmd_sn_logs_in_with_it_and_resumes() -> None:
    stage = Stage()
    stage.up()
    stage.now += 100
    stage.tell(facts.ConnectionBroke(1, "the target closed the connection"))
    assert kinds(stage.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]
    (order,) = stage.tell(facts.CmdSnLearned(1, 0xFFFFFFF0))
    assert isinstance(order, StartWorker) and isinstance(order.job, LoginJob)
    assert order.job.login.cmd_sn == 0xFFFFFFF0
    (resume,) = stage.logged_in()
    assert isinstance(resume, orders.ResumeSession) and resume.sid == 1
    assert resume.description.cmd_sn == 0xFFFFFFF0
    assert kinds(stage.tell(facts.SessionStarted(ZERO, 1, 2))) == ["ScanJob"]


def test_every_attempt_of_a_recovery_learns_the_cmd_sn_anew() -> None:
    stage = Stage()
    stage.up()
    stage.tell(facts.ConnectionBroke(1, "reset"))
    for _ in range(5):
        assert kinds(stage.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]
        stage.tell(facts.CmdSnLearned(1, 9))
        stage.tell(facts.LoginFailed(stage.job, REFUSED), facts.WorkerEnded(stage.job))


def test_the_same_isid_is_used_for_every_login_of_a_session() -> None:
    stage = Stage()
    stage.up()
    stage.tell(facts.ConnectionBroke(1, "reset"))
    stage.wait(TimerPurpose.RETRY_LOGIN)
    stage.tell(facts.CmdSnLearned(1, 9))
    isids = {job.login.isid for job in stage.jobs if isinstance(job, LoginJob)}
    assert len(isids) == 1


def test_a_login_that_succeeds_too_late_is_closed_unused() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    stage.discovered(record())
    late = stage.job
    stage.reload(configuration())
    given = stage.logged_in()
    assert given == [orders.CloseSocket(late)]


def test_healthy_sessions_are_adopted_without_an_order_that_sends() -> None:
    stage = Stage()
    given = stage.begin(configuration(PORTAL), kernel_session())
    assert kinds(given) == ["AdoptSession", "DiscoveryJob"]
    assert stage.discovered(record()) == []
    assert stage.said(DISK, "adopted")


def test_failed_sessions_are_recovered_after_a_restart() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL), kernel_session(state="FAILED", connection_state="failed"))
    assert kinds(stage.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]


def test_a_logout_that_a_killed_daemon_began_is_finished() -> None:
    stage = Stage()
    stage.begin(configuration(), kernel_session(target_state="UNBOUND"))
    (look,) = stage.wait(TimerPurpose.CHECK_KERNEL)
    assert look == orders.LookAtKernel()
    given = stage.tell(facts.SessionsFound((kernel_session(target_state="UNBOUND"),)))
    assert kinds(given) == ["SendLogout"]


@pytest.mark.parametrize("marker", ["default", "", "iscsid:0:0:nonsense"])
def test_sessions_of_other_programs_are_left_alone(marker: str) -> None:
    stage = Stage()
    assert stage.begin(configuration(), kernel_session(marker=marker)) == []
    assert stage.said("belongs to another program")
    assert stage.tell(facts.ConnectionBroke(1, "reset")) == []
    stage.tell(facts.InterruptReceived())
    assert not any("DestroySession" in line for line in stage.log)


def test_a_session_whose_number_belongs_to_another_target_is_left_alone() -> None:
    stage = Stage()
    bindings = f"0 0 {OTHER}\n# end\n"
    given = stage.begin(configuration(), kernel_session(), bindings=bindings)
    assert given == [] and stage.said("the bindings file disagrees")


def test_sighup_discovers_again_and_probes_all_luns() -> None:
    """iscsid(8) of Linux-iSCSI: restart all discovery processes, reprobe LUNs on all targets."""
    stage = Stage()
    stage.up()
    assert kinds(stage.reload(configuration(PORTAL))) == ["DiscoveryJob", "ScanJob"]


def test_a_kept_discovery_session_is_asked_again_at_sighup() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    job = stage.job
    stage.discovered(record(), kept=True)
    assert orders.AskAgain(job) in stage.reload(configuration(PORTAL))


def test_a_kept_discovery_session_does_not_occupy_a_childs_place() -> None:
    stage = Stage(max_processes=1)
    stage.begin(configuration(PORTAL))
    assert kinds(stage.discovered(record(), kept=True)) == ["LoginJob"]


def test_a_target_that_left_file_and_discovery_is_logged_out_in_order() -> None:
    stage = Stage()
    stage.up()
    (check,) = [o for o in stage.reload(configuration()) if isinstance(o, orders.CheckDisks)]
    assert check == orders.CheckDisks(1, may_open=True)
    assert kinds(stage.tell(facts.DisksChecked(1, ()))) == ["UnbindSession"]
    assert kinds(stage.tell(facts.SessionUnbound(1))) == ["SendLogout"]
    response = bytes([0x26, 0x80]) + bytes(46)
    assert kinds(stage.tell(facts.PduReceived(1, response, b""))) == ["DestroySession"]
    assert stage.tell(facts.SessionDestroyed(1)) == []
    assert stage.said(DISK, "session is gone")


def test_links_go_before_the_kernel_frees_the_device_names() -> None:
    stage = Stage()
    stage.up()
    disk = facts.Device(path="/sys/a/sda", sid=1, lun=0, link="disk", node="/dev/sda")
    assert "MakeLink" in kinds(stage.tell(facts.DeviceAppeared(disk)))
    stage.reload(configuration())
    given = kinds(stage.tell(facts.DisksChecked(1, ())))
    assert given.index("RemoveLink") < given.index("UnbindSession")


def test_a_target_missing_from_a_later_answer_keeps_its_session_until_sighup() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    discovery = stage.job
    stage.discovered(record(), kept=True)
    stage.logged_in()
    stage.tell(facts.SessionStarted(ZERO, 1, 2))
    stage.tell(facts.DiscoveryCompleted(discovery, kept=True))
    assert stage.tell(facts.DiscoveryCompleted(discovery, kept=True)) == []
    stage.reload(configuration(PORTAL))
    given = stage.tell(facts.DiscoveryCompleted(discovery, kept=True))
    assert kinds(given) == ["CheckDisks"]


def test_a_discovery_that_fails_at_sighup_takes_no_session_away() -> None:
    stage = Stage()
    stage.up()
    given = stage.reload(configuration(PORTAL))
    job = next(o.job for o in given if isinstance(o, StartWorker))
    assert isinstance(job, DiscoveryJob)
    assert stage.tell(facts.DiscoveryFailed(job.job, REFUSED), facts.WorkerEnded(job.job)) == []


def test_a_configuration_with_errors_leaves_everything_as_it_was() -> None:
    stage = Stage()
    stage.up()
    stage.tell(facts.HangupReceived())
    assert stage.tell(facts.ConfigurationRefused(("iscsi.conf:3:1: no such keyword",))) == []
    assert stage.said("iscsi.conf:3:1") and stage.said("stays in force")


def test_sigterm_leaves_at_once_and_orders_nothing_of_the_kernel() -> None:
    stage = Stage()
    stage.up()
    assert stage.tell(facts.TerminateReceived()) == [orders.Leave(0)]


def test_sigint_without_sessions_leaves_at_once() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    given = stage.tell(facts.InterruptReceived())
    assert kinds(given) == ["StopWorker", "Leave"]


def test_events_that_were_lost_are_made_up_for_from_sysfs() -> None:
    stage = Stage()
    stage.up()
    assert stage.tell(facts.EventsLost()) == [orders.LookAtKernel()]
    failed = kernel_session(state="FAILED", connection_state="failed")
    stage.tell(facts.SessionsFound((failed,)))
    assert stage.said(DISK, "session is down")
    assert kinds(stage.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]


def test_a_look_that_is_older_than_a_recovery_does_not_undo_it() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    stage.discovered(record())
    stage.logged_in()
    stage.tell(facts.EventsLost())
    stage.tell(facts.SessionStarted(ZERO, 1, 2))
    assert stage.tell(facts.SessionsFound(())) == []
    assert not stage.said("lost the session")


def test_a_session_somebody_else_destroyed_is_made_afresh() -> None:
    stage = Stage()
    stage.up()
    stage.tell(facts.SessionDestroyed(1))
    given = stage.wait(TimerPurpose.RETRY_LOGIN)
    (order,) = given
    assert isinstance(order, StartWorker) and isinstance(order.job, LoginJob)
    assert kinds(stage.logged_in()) == ["StartSession"]


def test_the_target_may_ask_for_a_logout_and_gets_a_login_after_it() -> None:
    stage = Stage()
    stage.up()
    header = bytearray(48)
    header[0], header[1], header[36] = 0x32, 0x80, 1
    assert kinds(stage.tell(facts.PduReceived(1, bytes(header), b""))) == ["SendLogout"]
    stage.tell(facts.PduReceived(1, bytes([0x26, 0x80]) + bytes(46), b""))
    assert kinds(stage.wait(TimerPurpose.RETRY_LOGIN)) == ["LearnCmdSn"]


def test_reported_luns_changed_is_answered_with_a_scan() -> None:
    stage = Stage()
    stage.up()
    header = bytearray(48)
    header[0], header[1], header[36] = 0x32, 0x80, 0
    sense = bytes(12) + b"\x3f\x0e" + bytes(4)
    data = len(sense).to_bytes(2, "big") + sense
    header[5:8] = len(data).to_bytes(3, "big")
    (order,) = stage.tell(facts.PduReceived(1, bytes(header), data))
    assert isinstance(order, StartWorker) and isinstance(order.job, ScanJob)


def test_both_portals_of_a_target_are_tried_before_the_first_pause() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    stage.discovered(record(DISK, PORTAL, SECOND))
    stage.tell(facts.LoginFailed(stage.job, REFUSED), facts.WorkerEnded(stage.job))
    (order,) = stage.wait(TimerPurpose.RETRY_LOGIN)
    assert isinstance(order, StartWorker) and isinstance(order.job, LoginJob)
    assert order.job.portal == SECOND and stage.now == 1000.0


def test_changed_timeouts_reach_a_live_session_at_once_without_a_packet() -> None:
    stage = Stage()
    stage.up()
    longer = settings(conn_fail_timeout=90)
    given = stage.reload(configuration(PORTAL, settings=longer))
    assert kinds(given) == ["ApplyTimeouts", "DiscoveryJob", "ScanJob"]
    assert not [o for o in stage.discovered(record()) if isinstance(o, orders.SendLogout)]


def test_settings_that_need_a_new_login_get_it_and_the_log_says_so() -> None:
    stage = Stage()
    stage.up()
    stage.reload(configuration(PORTAL, settings=settings(immediate_data=False)))
    assert stage.said(DISK, "need a new login")


def test_static_targets_need_no_discovery_and_go_with_their_lines() -> None:
    stage = Stage()
    static = StaticTarget(DISK, (TargetAddress(PORTAL),))
    assert kinds(stage.begin(configuration(static=(static,)))) == ["LoginJob"]
    stage.logged_in()
    stage.tell(facts.SessionStarted(ZERO, 1, 2))
    assert "CheckDisks" in kinds(stage.reload(configuration()))


def test_a_target_found_at_two_addresses_gets_one_session_with_all_portals() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL, SECOND))
    first, second = (job.job for job in stage.jobs)
    stage.tell(facts.TargetDiscovered(first, record(DISK, PORTAL)), facts.DiscoveryCompleted(first))
    given = stage.tell(
        facts.TargetDiscovered(second, record(DISK, SECOND)), facts.DiscoveryCompleted(second)
    )
    assert given == []
    stage.tell(facts.LoginFailed(stage.job, REFUSED), facts.WorkerEnded(stage.job))
    (order,) = stage.wait(TimerPurpose.RETRY_LOGIN)
    assert isinstance(order, StartWorker) and isinstance(order.job, LoginJob)
    assert order.job.portal == SECOND


def test_bindings_that_cannot_be_saved_do_not_stop_anything_and_are_saved_later() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    stage.discovered(record())
    stage.tell(facts.BindingsNotSaved("no space left on device"))
    assert stage.said("no space left on device")
    assert kinds(stage.logged_in()) == ["StartSession"]
    stage.bindings = ""
    stage.wait(TimerPurpose.SAVE_BINDINGS)
    assert DISK in stage.bindings
    stage.tell(facts.BindingsSaved())
    assert not [t for t in stage.timers if t.purpose is TimerPurpose.SAVE_BINDINGS]


def test_lines_removed_from_the_bindings_free_their_numbers_but_not_those_in_use() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL), bindings=f"5 5 {OTHER}\n")
    stage.discovered(record())
    stage.bindings = ""
    stage.reload(configuration(PORTAL))
    assert OTHER not in stage.bindings and DISK in stage.bindings


def test_failures_that_repeat_are_counted_once_a_minute() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    for _ in range(4):
        stage.tell(facts.DiscoveryFailed(stage.job, REFUSED), facts.WorkerEnded(stage.job))
        stage.wait(TimerPurpose.RETRY_DISCOVERY)
    assert len([line for line in stage.log if "connection refused" in line]) == 1
    stage.wait(TimerPurpose.SUMMARY)
    assert stage.said("connection refused", "3 times more")


def test_a_second_sigint_and_a_late_sighup_change_nothing() -> None:
    stage = Stage()
    stage.up()
    stage.tell(facts.InterruptReceived())
    assert stage.tell(facts.InterruptReceived()) == []
    assert stage.tell(facts.HangupReceived()) == []


def test_a_link_that_cannot_be_made_is_named() -> None:
    stage = Stage()
    stage.up()
    stage.tell(facts.LinkNotMade("bus0/target0/lun0/disk", "a file is in the way"))
    stage.tell(facts.LinkNotRemoved("bus0/target0/lun0/disk", "read-only file system"))
    assert stage.said("bus0/target0/lun0/disk", "in the way") and stage.said("read-only")


def test_another_initiator_name_is_pointed_out() -> None:
    stage = Stage()
    stage.up()
    stage.tell(facts.ConfigurationRead(configuration(PORTAL), OTHER))
    assert stage.said("InitiatorName changed")


def test_unreadable_bindings_leave_those_known_in_force() -> None:
    stage = Stage()
    stage.up()
    stage.tell(facts.BindingsNotRead("input/output error"))
    assert stage.said("input/output error")


@pytest.mark.parametrize(
    "stray",
    [
        facts.SessionStarted(Binding(9, 9), 7, 8),
        facts.SessionRefused(Binding(9, 9), REFUSED),
        facts.CmdSnLearned(7, 1),
        facts.CmdSnNotLearned(7, REFUSED),
        facts.RequestRefused(7, REFUSED),
        facts.ConnectionBroke(7, "reset"),
        facts.DisksChecked(7, ()),
        facts.SessionUnbound(7),
        facts.SessionDestroyed(7),
        facts.TimerExpired(Timer(TimerPurpose.RETRY_LOGIN, Binding(9, 9))),
        facts.TimerExpired(Timer(TimerPurpose.RETRY_DISCOVERY, SECOND)),
        facts.ScanFinished(JobId(999)),
        facts.ScanFailed(JobId(999), REFUSED),
        facts.LoginFailed(JobId(999), REFUSED),
        facts.DiscoveryCompleted(JobId(999)),
        facts.WorkerEnded(JobId(999)),
    ],
    ids=lambda fact: type(fact).__name__,
)
def test_a_fact_about_nobody_changes_nothing(stray: Fact) -> None:
    stage = Stage()
    stage.up()
    assert stage.tell(stray) == []


def test_a_network_that_comes_up_ends_all_pauses_of_what_was_unreachable() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    stage.discovered(record())
    for _ in range(8):
        stage.tell(facts.LoginFailed(stage.job, REFUSED), facts.WorkerEnded(stage.job))
        stage.wait(TimerPurpose.RETRY_LOGIN)
    stage.tell(facts.LoginFailed(stage.job, REFUSED), facts.WorkerEnded(stage.job))
    began = stage.now
    assert stage.tell(facts.NetworkChanged()) == []
    assert kinds(stage.wait(TimerPurpose.NETWORK)) == ["LoginJob"]
    assert stage.now == began + 1


def test_a_network_that_flaps_does_not_hurry_more_than_every_ten_seconds() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    expired: list[float] = []
    for _ in range(600):
        stage.now += 0.1
        stage.tell(facts.NetworkChanged())
        due = [t for t in stage.timers if t.purpose is TimerPurpose.NETWORK]
        if due and stage.timers[due[0]] <= stage.now:
            stage.wait(TimerPurpose.NETWORK)
            expired.append(stage.now)
    gaps = [after - before for before, after in zip(expired, expired[1:], strict=False)]
    assert 5 <= len(expired) <= 7 and min(gaps) >= 9.9


def test_what_was_refused_for_another_reason_does_not_hurry_with_the_network() -> None:
    stage = Stage()
    stage.begin(configuration(PORTAL))
    stage.discovered(record())
    slow = Failure(Decision.RETRY_SLOWLY, "authentication failed")
    stage.tell(facts.LoginFailed(stage.job, slow), facts.WorkerEnded(stage.job))
    stage.tell(facts.NetworkChanged())
    assert stage.wait(TimerPurpose.NETWORK) == []


def test_a_lun_that_is_no_longer_allowed_loses_its_links_at_sighup() -> None:
    stage = Stage()
    stage.up()
    disk = facts.Device(path="/sys/a/sda", sid=1, lun=3, link="disk", node="/dev/sda")
    stage.tell(facts.DeviceAppeared(disk))
    given = stage.reload(configuration(PORTAL, settings=settings(luns=frozenset({0}))))
    assert orders.RemoveLink("bus0/target0/lun3/disk") in given
