"""Stories of what the files say: configuration, bindings, links."""

from __future__ import annotations

from iscsid import facts, orders
from iscsid.config.settings import StaticTarget
from iscsid.errors import Failure, Retry
from iscsid.facts import TimerPurpose
from iscsid.protocol.names import TargetAddress
from tests.support.harness import (
    DISK,
    OTHER,
    PORTAL,
    ZERO,
    Stage,
    configuration,
    kinds,
    record,
    settings,
)

REFUSED = Failure(Retry.SOON, "connection refused")
FINAL = Failure(Retry.NEVER, "the target was removed")


def test_sighup_discovers_again_and_probes_all_luns() -> None:
    """iscsid(8) of Linux-iSCSI: restart all discovery processes, reprobe LUNs on all targets."""
    stage = Stage()
    stage.up()
    assert kinds(stage.reload(configuration(PORTAL))) == ["DiscoveryJob", "ScanJob"]


def test_a_target_that_left_file_and_discovery_is_logged_out_in_order() -> None:
    stage = Stage()
    stage.up()
    (check,) = [o for o in stage.reload(configuration()) if isinstance(o, orders.CheckDiskUsers)]
    assert check == orders.CheckDiskUsers(1, may_open=True)
    assert kinds(stage.tell(facts.DiskUsersChecked(1, ()))) == ["UnbindSession"]
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
    given = kinds(stage.tell(facts.DiskUsersChecked(1, ())))
    assert given.index("RemoveLink") < given.index("UnbindSession")


def test_a_configuration_with_errors_leaves_everything_as_it_was() -> None:
    stage = Stage()
    stage.up()
    stage.tell(facts.HangupReceived())
    assert stage.tell(facts.ConfigurationRefused(("iscsi.conf:3:1: no such keyword",))) == []
    assert stage.said("iscsi.conf:3:1") and stage.said("stays in force")


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
    assert "CheckDiskUsers" in kinds(stage.reload(configuration()))


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


def test_a_lun_that_is_no_longer_allowed_loses_its_links_at_sighup() -> None:
    stage = Stage()
    stage.up()
    disk = facts.Device(path="/sys/a/sda", sid=1, lun=3, link="disk", node="/dev/sda")
    stage.tell(facts.DeviceAppeared(disk))
    given = stage.reload(configuration(PORTAL, settings=settings(luns=frozenset({0}))))
    assert orders.RemoveLink("bus0/target0/lun3/disk") in given
