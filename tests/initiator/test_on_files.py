"""Scenarios: what follows from the configuration, the bindings file and the links."""

from __future__ import annotations

from dataclasses import replace

from iscsid import facts, orders
from iscsid.config.settings import StaticTarget
from iscsid.errors import Failure, Retry
from iscsid.facts import TimerPurpose
from iscsid.protocol.names import TargetAddress
from tests.support.harness import (
    DISK,
    HOST,
    OTHER,
    PORTAL,
    ZERO,
    Harness,
    configuration,
    kinds,
    record,
    settings,
)

REFUSED = Failure(Retry.SOON, "connection refused")
FINAL = Failure(Retry.NEVER, "the target was removed")


def test_sighup_discovers_again_and_probes_all_luns() -> None:
    """iscsid(8) of Linux-iSCSI: restart all discovery processes, reprobe LUNs on all targets."""
    harness = Harness()
    harness.up()
    assert kinds(harness.reload(configuration(PORTAL))) == ["DiscoveryJob", "ScanJob"]


def test_a_target_that_left_file_and_discovery_is_logged_out_in_order() -> None:
    harness = Harness()
    harness.up()
    (check,) = [o for o in harness.reload(configuration()) if isinstance(o, orders.CheckDiskUsers)]
    assert check == orders.CheckDiskUsers(1)
    given = harness.handle(facts.DiskUsersChecked(1, ()))
    assert kinds(given) == ["StopWorker", "UnbindSession"], "the scan goes on"
    assert kinds(harness.handle(facts.SessionUnbound(1))) == ["SendLogout"]
    response = bytes([0x26, 0x80]) + bytes(46)
    assert kinds(harness.handle(facts.PduReceived(1, response, b""))) == ["DestroySession"]
    assert harness.handle(facts.SessionDestroyed(1)) == []
    assert harness.has_logged(DISK, "session is gone")


def test_links_go_before_the_kernel_frees_the_device_names() -> None:
    harness = Harness()
    harness.up()
    disk = facts.Device(path="/sys/a/sda", sid=1, lun=0, link="disk", node="/dev/sda")
    assert "MakeLink" in kinds(harness.handle(facts.DeviceAppeared(disk)))
    harness.reload(configuration())
    given = kinds(harness.handle(facts.DiskUsersChecked(1, ())))
    assert given.index("RemoveLink") < given.index("UnbindSession")


def test_a_session_that_is_wanted_again_gets_no_link_while_its_disks_are_removed() -> None:
    """Twice SIGHUP: the name of a disk that the kernel removes may be another disk's at once."""
    harness = Harness()
    harness.up()
    disk = facts.Device(path="/sys/a/sda", sid=1, lun=0, link="disk", node="/dev/sda")
    harness.handle(facts.DeviceAppeared(disk))
    harness.reload(configuration())
    harness.handle(facts.DiskUsersChecked(1, ()))
    harness.reload(configuration(PORTAL))
    assert "MakeLink" not in kinds(harness.discovered(record()))
    assert "MakeLink" not in kinds(harness.handle(facts.SessionUnbound(1)))
    assert "MakeLink" not in kinds(harness.reload(configuration(PORTAL)))


def test_a_configuration_with_errors_leaves_everything_as_it_was() -> None:
    harness = Harness()
    harness.up()
    harness.handle(facts.HangupReceived())
    assert harness.handle(facts.ConfigurationRefused(("iscsi.conf:3:1: no such keyword",))) == []
    assert harness.has_logged("iscsi.conf:3:1") and harness.has_logged("stays in force")


def test_changed_timeouts_reach_a_live_session_at_once_without_a_packet() -> None:
    harness = Harness()
    harness.up()
    longer = settings(conn_fail_timeout=90)
    given = harness.reload(configuration(PORTAL, settings=longer))
    assert kinds(given) == ["ApplyTimeouts", "DiscoveryJob", "ScanJob"]
    assert not [o for o in harness.discovered(record()) if isinstance(o, orders.SendLogout)]


def test_settings_that_need_a_new_login_get_it_and_it_is_logged() -> None:
    harness = Harness()
    harness.up()
    harness.reload(configuration(PORTAL, settings=settings(immediate_data=False)))
    assert harness.has_logged(DISK, "need a new login")


def test_static_targets_need_no_discovery_and_go_with_their_lines() -> None:
    harness = Harness()
    static = StaticTarget(DISK, (TargetAddress(PORTAL),))
    assert kinds(harness.begin(configuration(static=(static,)))) == ["LoginJob"]
    harness.logged_in()
    harness.handle(facts.SessionStarted(ZERO, 1, 2))
    assert "CheckDiskUsers" in kinds(harness.reload(configuration()))


def test_bindings_that_cannot_be_saved_do_not_stop_anything_and_are_saved_later() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL))
    harness.discovered(record())
    harness.handle(facts.BindingsNotSaved("no space left on device"))
    assert harness.has_logged("no space left on device")
    assert not harness.has_logged("saved again")
    assert kinds(harness.logged_in()) == ["StartSession"]
    harness.bindings = ""
    harness.wait(TimerPurpose.SAVE_BINDINGS)
    assert DISK in harness.bindings
    harness.handle(facts.BindingsSaved())
    assert not [t for t in harness.timers if t.purpose is TimerPurpose.SAVE_BINDINGS]
    assert harness.has_logged("the bindings are saved again")


def test_a_reason_why_the_bindings_are_not_saved_is_logged_once() -> None:
    """A full file system was a line a minute."""
    harness = Harness()
    harness.begin(configuration(PORTAL))
    for reason in ("no space left", "no space left", "read-only", "read-only", "no space left"):
        harness.handle(facts.BindingsNotSaved(reason))
    lines = [line for line in harness.log if "going on without" in line]
    assert [line.rpartition(": ")[2] for line in lines] == [
        "no space left",
        "read-only",
        "no space left",
    ]


def test_lines_removed_from_the_bindings_free_their_numbers_but_not_those_in_use() -> None:
    harness = Harness()
    harness.begin(configuration(PORTAL), bindings=f"5 5 {OTHER}\n")
    harness.discovered(record())
    harness.bindings = ""
    harness.reload(configuration(PORTAL))
    assert OTHER not in harness.bindings and DISK in harness.bindings


def test_a_link_that_cannot_be_made_is_named() -> None:
    harness = Harness()
    harness.up()
    harness.handle(facts.LinkNotMade("bus0/target0/lun0/disk", "a file is in the way"))
    harness.handle(facts.LinkNotRemoved("bus0/target0/lun0/disk", "read-only file system"))
    assert harness.has_logged("bus0/target0/lun0/disk", "in the way") and harness.has_logged(
        "read-only"
    )


def test_a_link_that_could_not_be_made_is_made_later() -> None:
    """A shortage of descriptors, or a full /dev, cost a disk its name until the next SIGHUP."""
    harness = Harness()
    harness.up()
    path = "/sys/devices/platform/host2/session1/target2:0:0/2:0:0:0/block/sda"
    device = facts.Device(path=path, sid=1, lun=0, link="disk", node="/dev/sda", wwid="naa.1")
    harness.handle(facts.DeviceAppeared(device))
    failed = facts.LinkNotMade("bus0/target0/lun0/disk", "Too many open files")

    def lines() -> int:
        return sum("no link bus0/target0/lun0/disk" in line for line in harness.log)

    harness.handle(failed)
    for _ in range(3):
        ordered = harness.wait(TimerPurpose.MAKE_LINKS)
        assert [each.path for each in ordered if isinstance(each, orders.MakeLink)] == [failed.path]
        harness.handle(failed)
    assert lines() == 1, "each reason once"
    harness.wait(TimerPurpose.MAKE_LINKS)
    assert not harness.has_logged("is made, which could not be before")
    harness.wait(TimerPurpose.MAKE_LINKS)
    assert harness.has_logged(failed.path, "is made, which could not be before")
    assert not [t for t in harness.timers if t.purpose is TimerPurpose.MAKE_LINKS]


def test_another_initiator_name_is_pointed_out() -> None:
    harness = Harness()
    harness.up()
    harness.handle(facts.ConfigurationRead(configuration(PORTAL), OTHER))
    assert harness.has_logged("InitiatorName changed")


def test_remarks_about_the_initiator_name_are_logged() -> None:
    harness = Harness()
    harness.up()
    harness.handle(facts.ConfigurationRead(configuration(PORTAL), OTHER, "", ("it has capitals",)))
    assert harness.has_logged("it has capitals")


def test_unreadable_bindings_leave_those_known_in_force() -> None:
    harness = Harness()
    harness.up()
    harness.handle(facts.BindingsNotRead("input/output error"))
    assert harness.has_logged("input/output error")


def test_bindings_that_could_neither_be_saved_nor_read_again_are_saved_later() -> None:
    """The file was changed by another, and then could not be read."""
    harness = Harness()
    harness.begin(configuration(PORTAL))
    harness.discovered(record())
    harness.handle(facts.BindingsNotRead("input/output error"))
    harness.bindings = ""
    harness.wait(TimerPurpose.SAVE_BINDINGS)
    assert DISK in harness.bindings


def test_a_lun_that_is_no_longer_allowed_loses_its_links_at_sighup() -> None:
    harness = Harness()
    harness.up()
    disk = facts.Device(path="/sys/a/sda", sid=1, lun=3, link="disk", node="/dev/sda")
    harness.handle(facts.DeviceAppeared(disk))
    given = harness.reload(configuration(PORTAL, settings=settings(luns=frozenset({0}))))
    assert orders.RemoveLink("bus0/target0/lun3/disk") in given


def test_an_exchange_that_is_found_while_sighup_reads_the_files_is_not_accepted() -> None:
    """It is in the log only after the signal: it cannot have been meant."""
    harness = Harness()
    harness.up()
    disk = facts.Device(
        path="/sys/a/sda", sid=1, lun=0, link="disk", node="/dev/sda", wwid="naa.1", serial=""
    )
    harness.handle(facts.DeviceAppeared(disk))
    harness.handle(facts.HangupReceived())
    harness.handle(facts.DeviceAppeared(replace(disk, wwid="naa.2")))
    assert harness.has_logged("another logical unit than before")
    read = facts.ConfigurationRead(configuration(PORTAL), HOST)
    assert "MakeLink" not in kinds(harness.handle(facts.BindingsRead(harness.bindings), read))
    assert "MakeLink" in kinds(harness.handle(facts.HangupReceived()))
