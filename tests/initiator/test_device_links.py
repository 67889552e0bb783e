"""A name under the base directory means one logical unit, at every moment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from iscsid.bindings.binding import Binding
from iscsid.facts import (
    Device,
    DeviceAppeared,
    DevicesEnumerated,
    DeviceVanished,
    LinkNotMade,
    LinkNotRemoved,
    LinksFound,
)
from iscsid.initiator.device_links import DeviceLinks
from iscsid.orders import AnnounceDevice, Level, Log, MakeLink, Order, RemoveLink

FIRST, SECOND = Binding(0, 0), Binding(0, 1)


def device(sid: int, lun: int, link: str, node: str, identity: str = "") -> Device:
    """Make a device with a path of its own for each session, LUN and node."""
    path = f"/sys/devices/platform/host{sid}/session{sid}/{sid}:0:0:{lun}/{node}"
    return Device(path=path, sid=sid, lun=lun, link=link, node=f"/dev/{node}", wwid=identity)


SDA = device(1, 0, "disk", "sda", "naa.1")
SDA1 = device(1, 0, "part1", "sda1", "naa.1")
SG0 = device(1, 0, "generic", "sg0", "naa.1")


def linked(*devices: Device) -> DeviceLinks:
    device_links = DeviceLinks()
    device_links.session_started(1, FIRST)
    for one in devices:
        device_links.handle(DeviceAppeared(one))
    return device_links


def made(one: Device, directory: str) -> list[Order]:
    return [MakeLink(f"{directory}/{one.link}", one.node, one.path)]


# --- devices come and go ------------------------------------------------------------------------


def test_device_of_a_session_is_linked_before_udev_has_looked_at_it() -> None:
    device_links = DeviceLinks()
    assert device_links.session_started(1, FIRST) == []
    assert device_links.handle(DeviceAppeared(SDA)) == [
        MakeLink("bus0/target0/lun0/disk", "/dev/sda", SDA.path),
    ]
    assert device_links.links_of(FIRST) == {0: {"disk": "/dev/sda"}}


def test_device_that_came_before_its_session_is_linked_with_it() -> None:
    device_links = DeviceLinks()
    assert device_links.handle(DeviceAppeared(SG0)) == []
    assert device_links.session_started(1, SECOND) == made(SG0, "bus0/target1/lun0")


def test_device_of_a_foreign_session_is_never_linked() -> None:
    device_links = linked()
    assert device_links.handle(DeviceAppeared(device(7, 0, "disk", "sdz"))) == []
    assert device_links.handle(DevicesEnumerated()) == []


def test_reporting_a_device_again_changes_nothing() -> None:
    device_links = linked(SDA, SDA1)
    for one in (SDA, SDA1, SDA):
        assert device_links.handle(DeviceAppeared(one)) == []


def test_link_goes_with_its_device_and_only_once() -> None:
    device_links = linked(SDA, SDA1)
    assert device_links.handle(DeviceVanished(SDA1.path)) == [RemoveLink("bus0/target0/lun0/part1")]
    assert device_links.handle(DeviceVanished(SDA1.path)) == []
    assert device_links.handle(DeviceVanished("/sys/devices/never/seen/before")) == []
    assert device_links.links_of(FIRST) == {0: {"disk": "/dev/sda"}}


def test_device_that_was_renamed_has_its_link_replaced() -> None:
    device_links = linked(SDA)
    renamed = Device(path=SDA.path, sid=1, lun=0, link="disk", node="/dev/sdb", wwid="naa.1")
    assert device_links.handle(DeviceAppeared(renamed)) == [
        MakeLink("bus0/target0/lun0/disk", "/dev/sdb", SDA.path),
    ]


def test_only_the_luns_that_are_allowed_are_linked() -> None:
    device_links = DeviceLinks()
    device_links.session_started(1, FIRST, frozenset({2}))
    assert device_links.handle(DeviceAppeared(SG0)) == []
    two = device(1, 2, "generic", "sg2")
    assert device_links.handle(DeviceAppeared(two)) == made(two, "bus0/target0/lun2")


def test_changed_lun_filter_takes_links_and_gives_links() -> None:
    two = device(1, 2, "disk", "sdb")
    device_links = linked(SDA, two)
    assert device_links.session_started(1, FIRST, frozenset({0})) == [
        RemoveLink("bus0/target0/lun2/disk"),
    ]
    assert device_links.session_started(1, FIRST, frozenset({2})) == [
        RemoveLink("bus0/target0/lun0/disk"),
        MakeLink("bus0/target0/lun2/disk", "/dev/sdb", two.path),
    ]


# --- what udev has announced --------------------------------------------------------------------


def seen(one: Device, name: str = "") -> DeviceAppeared:
    """udev has looked at a device, and has announced it by this name."""
    return DeviceAppeared(replace(one, announced=name))


def test_udev_that_saw_the_link_need_not_look_again() -> None:
    """Each look costs udev as much as a new disk."""
    device_links = linked(SDA, SDA1)
    for one in (SDA, SDA1):
        assert device_links.handle(seen(one, f"bus0/target0/lun0/{one.link}")) == []


def test_udev_looks_again_if_it_came_before_the_link() -> None:
    """systemd would wait for the name until its job times out."""
    device_links = linked(SDA)
    assert device_links.handle(seen(SDA)) == [AnnounceDevice(SDA.path)]
    assert device_links.handle(seen(SDA, "bus0/target0/lun0/disk")) == []
    device_links = DeviceLinks()
    device_links.handle(seen(SDA1))
    assert device_links.session_started(1, FIRST) == [
        *made(SDA1, "bus0/target0/lun0"),
        AnnounceDevice(SDA1.path),
    ]


def test_udev_without_the_rule_is_not_asked_for_ever() -> None:
    """It reports the device after each look, without a name."""
    device_links = linked(SDA)
    assert device_links.handle(seen(SDA)) == [AnnounceDevice(SDA.path)]
    for _ in range(3):
        assert device_links.handle(seen(SDA)) == []
    device_links.handle(DeviceVanished(SDA.path))
    device_links.handle(DeviceAppeared(SDA))
    assert device_links.handle(seen(SDA)) == [AnnounceDevice(SDA.path)], "a new one"


@pytest.mark.parametrize("link", ["generic", "mt", "mtn", "mtln", "mtan"])
def test_device_that_cannot_be_mounted_needs_no_announcement(link: str) -> None:
    tape = device(1, 3, link, "nst0l")
    assert linked().handle(seen(tape)) == made(tape, "bus0/target0/lun3")


def test_udev_withdraws_the_name_of_a_link_that_has_gone() -> None:
    """Another disk would be mounted by it when it comes."""
    device_links = linked(SDA)
    device_links.handle(seen(SDA, "bus0/target0/lun0/disk"))
    assert device_links.session_started(1, FIRST, frozenset({2})) == [
        RemoveLink("bus0/target0/lun0/disk"),
        AnnounceDevice(SDA.path),
    ]
    assert device_links.session_started(1, FIRST, None) == made(SDA, "bus0/target0/lun0"), (
        "the look that was asked for may find it"
    )
    assert device_links.handle(seen(SDA)) == [AnnounceDevice(SDA.path)], "it has not"


def test_name_that_is_late_is_withdrawn_as_well() -> None:
    """udev looked while the link was there, and reports it when it is gone."""
    device_links = linked(SDA)
    device_links.unit_leaves(1, 0)
    assert device_links.handle(seen(SDA, "bus0/target0/lun0/disk")) == [AnnounceDevice(SDA.path)]


def test_link_that_cannot_be_made_does_not_keep_udev_busy() -> None:
    """udev reports the device after each look, and each report was a reason for another look."""
    device_links = linked(SDA)
    asked = []
    for _ in range(4):
        device_links.handle(LinkNotMade("bus0/target0/lun0/disk", "something is in the way"))
        make, *others = device_links.handle(seen(SDA))
        assert [make] == made(SDA, "bus0/target0/lun0")
        asked += others
    assert asked == [AnnounceDevice(SDA.path)]


@pytest.mark.parametrize("is_made_at_a_report", [False, True])
def test_link_that_is_made_late_is_announced(is_made_at_a_report: bool) -> None:
    """udev was asked when it could not be made, and knows no name: the mount would wait for it."""
    device_links, link = linked(SDA), made(SDA, "bus0/target0/lun0")
    failed = LinkNotMade("bus0/target0/lun0/disk", "something is in the way")
    device_links.handle(failed)
    assert device_links.handle(seen(SDA)) == [*link, AnnounceDevice(SDA.path)]
    device_links.handle(failed)
    if is_made_at_a_report:
        assert device_links.handle(seen(SDA)) == link
    assert device_links.relink()[-1:] == [AnnounceDevice(SDA.path)]
    assert device_links.handle(seen(SDA, "bus0/target0/lun0/disk")) == []
    assert device_links.relink() == []


# --- never a link to another target's disk ------------------------------------------------------


def test_all_links_go_when_the_session_ends_and_none_comes_back() -> None:
    device_links = linked(SDA, SDA1)
    assert device_links.session_ended(1) == [
        RemoveLink("bus0/target0/lun0/disk"),
        RemoveLink("bus0/target0/lun0/part1"),
    ]
    assert device_links.handle(DeviceAppeared(SDA)) == [], (
        "an event of a disk that is being removed"
    )
    assert device_links.handle(DeviceVanished(SDA.path)) == []
    assert device_links.session_ended(1) == []


def test_reused_node_is_taken_from_the_old_link_before_the_new_one_is_made() -> None:
    device_links = linked(SDA)
    device_links.session_started(2, SECOND)
    reused = device(2, 0, "disk", "sda")
    assert device_links.handle(DeviceAppeared(reused)) == [
        RemoveLink("bus0/target0/lun0/disk"),
        MakeLink("bus0/target1/lun0/disk", "/dev/sda", reused.path),
    ]
    assert device_links.handle(DeviceVanished(SDA.path)) == [], "the late end of the old device"


def test_reused_node_of_a_foreign_session_takes_the_link_away() -> None:
    device_links = linked(SDA)
    foreign = device(9, 0, "disk", "sda")
    assert device_links.handle(DeviceAppeared(foreign)) == [RemoveLink("bus0/target0/lun0/disk")]


def test_second_device_in_the_same_place_replaces_the_first() -> None:
    device_links = linked(SDA)
    again = device(1, 0, "disk", "sdc", "naa.1")
    assert device_links.handle(DeviceAppeared(again))[0] == MakeLink(
        "bus0/target0/lun0/disk", "/dev/sdc", again.path
    )
    assert device_links.handle(DeviceVanished(SDA.path)) == []
    assert device_links.links_of(FIRST) == {0: {"disk": "/dev/sdc"}}


def test_new_session_with_the_same_number_ends_the_old_one_first() -> None:
    device_links = linked(SG0)
    device_links.handle(DeviceAppeared(device(2, 0, "generic", "sg1")))
    assert device_links.session_started(2, FIRST)[:2] == [
        RemoveLink("bus0/target0/lun0/generic"),
        MakeLink("bus0/target0/lun0/generic", "/dev/sg1", device(2, 0, "generic", "sg1").path),
    ]
    assert device_links.handle(DeviceAppeared(SG0)) == []


def test_session_that_changes_its_number_leaves_no_link_behind() -> None:
    device_links = linked(SG0)
    assert device_links.session_started(1, SECOND) == [
        RemoveLink("bus0/target0/lun0/generic"),
        *made(SG0, "bus0/target1/lun0"),
    ]
    assert device_links.links_of(FIRST) == {}


# --- a logical unit replaced behind its number --------------------------------------------------

OTHER = device(1, 0, "disk", "sda", "naa.2")


def test_replaced_unit_loses_all_links_and_is_logged_as_an_error_once() -> None:
    device_links = linked(SDA, SDA1)
    log, *orders = device_links.handle(DeviceAppeared(OTHER))
    assert isinstance(log, Log) and log.level is Level.ERROR
    assert "naa.1" in log.text and "naa.2" in log.text and "bus0/target0/lun0" in log.text
    assert orders == [
        RemoveLink("bus0/target0/lun0/disk"),
        RemoveLink("bus0/target0/lun0/part1"),
    ]
    assert device_links.handle(DeviceAppeared(OTHER)) == []
    assert device_links.handle(DeviceAppeared(device(1, 0, "generic", "sg0", "naa.2"))) == []
    assert device_links.replaced_luns(FIRST) == [0] and device_links.links_of(FIRST) == {0: {}}


def test_replaced_unit_is_linked_again_when_the_administrator_accepts_it() -> None:
    device_links = linked(SDA)
    device_links.handle(DeviceAppeared(OTHER))
    assert device_links.accept()[0] == MakeLink("bus0/target0/lun0/disk", "/dev/sda", OTHER.path)
    assert device_links.replaced_luns(FIRST) == []
    assert device_links.handle(DeviceAppeared(SDA))[0].__class__ is Log, (
        "and back is an exchange, too"
    )


def test_exchange_that_shows_after_sighup_waits_for_the_next() -> None:
    device_links = linked(SDA)
    assert device_links.accept() == []
    assert RemoveLink("bus0/target0/lun0/disk") in device_links.handle(DeviceAppeared(OTHER))


def test_sighup_accepts_nothing_of_a_session_that_is_not_known() -> None:
    """Nothing about its units is shown at that time, so that they are not what is accepted."""
    device_links = linked(SDA)
    device_links.handle(DeviceAppeared(replace(SDA, wwid="naa.2")))
    device_links.session_ended(1)
    device_links.accept()
    assert device_links.session_started(1, FIRST) == []
    assert device_links.replaced_luns(FIRST) == [0]


def test_old_unit_that_comes_back_gets_its_links_back() -> None:
    device_links = linked(SDA)
    device_links.handle(DeviceAppeared(OTHER))
    assert device_links.handle(DeviceAppeared(SDA))[0] == MakeLink(
        "bus0/target0/lun0/disk", "/dev/sda", SDA.path
    )
    assert isinstance(device_links.handle(DeviceAppeared(OTHER))[0], Log), "logged again"


def test_unit_that_went_and_came_as_another_is_a_replaced_one() -> None:
    device_links = linked(SDA)
    device_links.handle(DeviceVanished(SDA.path))
    other = device(1, 0, "disk", "sdq", "naa.2")
    orders = device_links.handle(DeviceAppeared(other))
    assert [type(order) for order in orders] == [Log]


def test_device_that_reports_no_identity_is_believed() -> None:
    device_links = linked(SDA)
    assert device_links.handle(DeviceAppeared(device(1, 0, "disk", "sda"))) == []
    anonymous = linked(device(1, 0, "disk", "sda"))
    assert anonymous.handle(DeviceAppeared(SDA)) == [], "the first with one sets it"
    assert isinstance(anonymous.handle(DeviceAppeared(OTHER))[0], Log)


def test_next_session_takes_the_unit_as_it_is() -> None:
    device_links = linked(SDA)
    device_links.handle(DeviceAppeared(OTHER))
    device_links.session_ended(1)
    device_links.handle(DeviceVanished(OTHER.path))
    device_links.session_started(2, FIRST)
    fresh = device(2, 0, "disk", "sda", "naa.2")
    assert device_links.handle(DeviceAppeared(fresh))[0] == MakeLink(
        "bus0/target0/lun0/disk", "/dev/sda", fresh.path
    )


# --- a logical unit that its target has no more ---------------------------------------------------


def test_unit_that_leaves_loses_its_links_before_its_devices_go() -> None:
    device_links = linked(SDA, SG0)
    assert device_links.unit_leaves(1, 0) == [
        RemoveLink("bus0/target0/lun0/disk"),
        RemoveLink("bus0/target0/lun0/generic"),
    ]
    assert device_links.handle(DeviceAppeared(SDA)) == [], (
        "an event of a disk that is being removed"
    )
    assert device_links.handle(DeviceVanished(SDA.path)) == []
    assert device_links.unit_left(1, 0) == made(SG0, "bus0/target0/lun0"), (
        "this one was not removed"
    )


def test_unknown_unit_leaves_without_orders() -> None:
    assert linked(SDA).unit_leaves(1, 7) == []
    assert DeviceLinks().unit_left(1, 0) == []


# --- what an earlier life has left --------------------------------------------------------------


def test_links_of_an_earlier_life_are_checked_and_stale_ones_are_swept() -> None:
    device_links = DeviceLinks()
    device_links.handle(
        LinksFound(
            (
                ("bus0/target0/lun0/disk", "/dev/sda"),
                ("bus0/target0/lun0/part1", "/dev/sda1"),
                ("bus0/target0/lun0/part9", "/dev/sda9"),
                ("bus0/target7/lun0/disk", "/dev/sdx"),
            )
        )
    )
    assert device_links.session_started(1, FIRST) == []
    for one in (SDA, SDA1):
        assert device_links.handle(DeviceAppeared(one)) == made(one, "bus0/target0/lun0")
        assert device_links.handle(DeviceAppeared(one)) == []
    assert device_links.handle(DevicesEnumerated()) == [
        RemoveLink("bus0/target0/lun0/part9"),
        RemoveLink("bus0/target7/lun0/disk"),
    ]
    assert device_links.handle(DevicesEnumerated()) == []


def test_link_of_an_earlier_life_is_checked_if_its_device_went_before_it_was_reported() -> None:
    """The kernel's report of a removal comes before all that waits, and is of no use there."""
    device_links = DeviceLinks()
    device_links.handle(DeviceVanished(SDA.path))
    device_links.handle(LinksFound((("bus0/target0/lun0/disk", "/dev/sda"),)))
    device_links.session_started(1, FIRST)
    assert device_links.handle(DeviceAppeared(SDA)) == made(SDA, "bus0/target0/lun0")
    # What carries this out finds no such device.
    assert device_links.handle(DeviceVanished(SDA.path)) == [RemoveLink("bus0/target0/lun0/disk")]


def test_stale_links_to_a_node_go_before_its_new_owner_is_linked() -> None:
    device_links = DeviceLinks()
    stale = ("bus0/target7/lun0/disk", "bus0/target8/lun0/disk")
    device_links.handle(LinksFound(tuple((path, "/dev/sda") for path in stale)))
    device_links.session_started(1, FIRST)
    assert device_links.handle(DeviceAppeared(SDA))[:3] == [
        *map(RemoveLink, stale),
        MakeLink("bus0/target0/lun0/disk", "/dev/sda", SDA.path),
    ]


def test_wrong_link_of_an_earlier_life_is_replaced() -> None:
    device_links = DeviceLinks()
    device_links.handle(LinksFound((("bus0/target0/lun0/generic", "/dev/sg9"),)))
    device_links.session_started(1, FIRST)
    assert device_links.handle(DeviceAppeared(SG0)) == made(SG0, "bus0/target0/lun0")
    assert device_links.handle(DevicesEnumerated()) == []


# --- what could not be done ---------------------------------------------------------------------


def test_link_that_could_not_be_made_is_tried_at_the_next_occasion() -> None:
    device_links = linked(SG0)
    failed = LinkNotMade("bus0/target0/lun0/generic", "a file is in the way")
    assert device_links.handle(failed) == []
    assert device_links.links_of(FIRST) == {0: {}}
    assert device_links.accept() == made(SG0, "bus0/target0/lun0")
    device_links.handle(failed)
    assert device_links.handle(DeviceAppeared(SG0)) == made(SG0, "bus0/target0/lun0")


def test_link_that_may_not_have_been_made_is_removed_all_the_same() -> None:
    device_links = linked(SG0)
    device_links.handle(LinkNotMade("bus0/target0/lun0/generic", "interrupted"))
    assert device_links.session_ended(1) == [RemoveLink("bus0/target0/lun0/generic")]


def test_link_that_could_not_be_removed_is_tried_again() -> None:
    device_links = linked(SG0)
    device_links.handle(DeviceVanished(SG0.path))
    device_links.handle(LinkNotRemoved("bus0/target0/lun0/generic", "read-only"))
    assert device_links.accept() == [RemoveLink("bus0/target0/lun0/generic")]
    assert device_links.accept() == []


# --- two kinds of identity ----------------------------------------------------------------------


def known_by(wwid: str = "", serial: str = "") -> DeviceAppeared:
    return DeviceAppeared(replace(SDA, wwid=wwid, serial=serial))


def test_a_disk_first_known_by_its_serial_keeps_its_links_when_its_wwid_appears() -> None:
    device_links = DeviceLinks()
    device_links.session_started(1, FIRST)
    device_links.handle(known_by(serial="0QEMU_disk-1"))
    assert removed(device_links.handle(known_by(wwid="naa.1"))) == []
    assert device_links.links_of(FIRST) == {0: {"disk": "/dev/sda"}}
    assert removed(device_links.handle(known_by(serial="3600140500000001"))) == []
    assert removed(device_links.handle(known_by(wwid="naa.2"))) == ["bus0/target0/lun0/disk"]


def test_a_disk_without_a_wwid_is_replaced_if_its_serial_changes() -> None:
    device_links = DeviceLinks()
    device_links.session_started(1, FIRST)
    device_links.handle(known_by(serial="one"))
    assert removed(device_links.handle(known_by(serial="two"))) == ["bus0/target0/lun0/disk"]
    assert device_links.replaced_luns(FIRST) == [0]
    device_links.accept()
    assert device_links.links_of(FIRST) == {0: {"disk": "/dev/sda"}}


def removed(orders: list[Order]) -> list[str]:
    return [order.path for order in orders if isinstance(order, RemoveLink)]


# --- LUNs as the array calls them ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "luns", "is_linked"),
    [
        (16684, {300}, True),
        (16684, {16684}, True),
        (16389, {5}, True),
        (300, {300}, True),
        (5, {5}, True),
        (16684, {5, 301}, False),
        (49152 + 300, {300}, False),
        (1 << 16 | 300, {300}, False),
    ],
)
def test_a_lun_in_the_file_is_the_arrays_whatever_its_addressing(
    number: int, luns: set[int], is_linked: bool
) -> None:
    """The kernel's number of a LUN in flat space addressing has its method in the bits above."""
    device_links = DeviceLinks()
    device_links.session_started(1, FIRST, frozenset(luns))
    orders = device_links.handle(DeviceAppeared(device(1, number, "disk", "sda")))
    links = [order.path for order in orders if isinstance(order, MakeLink)]
    assert links == ([f"bus0/target0/lun{number}/disk"] if is_linked else [])
