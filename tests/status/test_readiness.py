"""When the tree of names is complete."""

from __future__ import annotations

from dataclasses import replace

from iscsid.status.model import DiscoveryStatus, LunStatus, SessionStatus, Status
from iscsid.status.readiness import missing, progress

NAME = "iqn.2024-01.org.example:disk"


def discovery(targets: int | None = 1, error: str = "") -> DiscoveryStatus:
    return DiscoveryStatus(
        address="192.0.2.1:3260", state="waiting", since=0, targets=targets, last_error=error
    )


def session(*luns: LunStatus, state: str = "up", is_tried: bool = True) -> SessionStatus:
    return SessionStatus(
        bus=0, target=0, target_name=NAME, state=state, is_tried=is_tried, luns=list(luns)
    )


def status(*parts: DiscoveryStatus | SessionStatus) -> Status:
    return Status(
        version="4",
        pid=1,
        written=0,
        discoveries=[part for part in parts if isinstance(part, DiscoveryStatus)],
        sessions=[part for part in parts if isinstance(part, SessionStatus)],
    )


DISK = LunStatus(lun=1, kind="Direct-Access", links={"disk": "/dev/sda"})


def test_nothing_configured_is_complete() -> None:
    assert missing(status()) == ()


def test_a_discovery_that_has_not_answered_or_failed_yet_is_waited_for() -> None:
    assert missing(status(discovery(None))) == ("discovery at 192.0.2.1:3260",)
    assert missing(status(discovery(None, "connection refused"))) == ()
    assert missing(status(discovery(0))) == ()


def test_a_session_that_was_never_tried_is_waited_for_and_a_dead_one_is_not() -> None:
    untried = session(state="logging in", is_tried=False)
    assert missing(status(untried)) == (f"session with {NAME}",)
    assert missing(status(session(state="waiting"))) == ()


def test_a_disk_without_a_link_is_waited_for() -> None:
    unlinked = LunStatus(lun=1, kind="Direct-Access")
    assert missing(status(session(DISK, unlinked))) == (f"disk at LUN 1 of {NAME}",)
    only_generic = LunStatus(lun=1, kind="Direct-Access", links={"generic": "/dev/sg1"})
    assert missing(status(session(only_generic))) == (f"disk at LUN 1 of {NAME}",)
    assert missing(status(session(DISK))) == ()


def test_a_partition_or_tape_without_a_link_is_waited_for() -> None:
    disk = replace(DISK, unlinked=["part1", "part2"])
    assert missing(status(session(disk))) == (f"link part1, part2 to LUN 1 of {NAME}",)
    tape = LunStatus(lun=3, kind="Sequential-Access", links={"mt": "/dev/st0"}, unlinked=["mtn"])
    assert missing(status(session(tape))) == (f"link mtn to LUN 3 of {NAME}",)


def test_a_unit_that_is_not_permitted_is_not_waited_for() -> None:
    assert missing(status(session(replace(DISK, links={}, permitted=False)))) == ()


def test_a_replaced_unit_and_one_without_a_driver_are_not_waited_for() -> None:
    replaced = LunStatus(lun=1, kind="Direct-Access", replaced=True)
    controller = LunStatus(lun=0, kind="type 12")
    assert missing(status(session(replaced, controller))) == ()


def test_progress_counts_sessions() -> None:
    assert progress(status(session(), session(state="down")), ()) == "1 of 2 sessions up"
    assert progress(status(session()), ()) == "1 of 1 session up"


def test_progress_names_what_is_missing() -> None:
    assert progress(status(), ("disk a",)) == "0 of 0 sessions up, waiting for disk a"
    assert progress(status(), ("a", "b", "c")).endswith("waiting for a and 2 more")
